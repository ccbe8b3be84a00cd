"""kill -9 at any moment: no decision that was answered is lost, and no file is lost or doubled."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

import fastmagic
from fastmagic.data.decisions import Journal

FILES = 400
MOVED = 300  # half of them into another class, half into quarantine
KILLS = 25  # of each sort


@pytest.fixture
def data(tmp_path, monkeypatch) -> Path:
    """400 files in two class folders; each holds something else, and nobody opens them."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for i in range(FILES):
        file = tmp_path / "set" / ("owl", "tit")[i % 2] / f"{i:03}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(f"photo {i}".encode() * 500)
    return tmp_path / "set"


def contents(folder: Path) -> Counter:
    """How often each content is there, quarantine and all, whatever the file is called."""
    files = (file for file in folder.rglob("*") if file.is_file() and file.suffix not in (".jsonl", ".csv"))
    return Counter(hashlib.sha256(file.read_bytes()).hexdigest() for file in files)


def run_and_kill(work, folder: Path, enough) -> None:
    """Runs `work(folder)` in a process, and kills it as soon as `enough()`, wherever in its work it then is."""
    process = multiprocessing.get_context("fork").Process(target=work, args=(folder,))
    process.start()
    end = time.monotonic() + 120
    while process.is_alive() and not enough():
        time.sleep(0.0005)
        assert time.monotonic() < end, "it does not get on"
    process.kill()
    process.join()


def killed_at(call: int) -> None:
    """Ends this process without a word at its nth call that opens, moves, links, makes or removes a file."""
    left = [call]

    def watch(event: str, args: object) -> None:
        if event == "open" or event in ("os.rename", "os.link", "os.mkdir", "os.remove", "os.rmdir"):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def deciding(folder: Path) -> None:
    """Decides item after item as the browser asks it to, and writes down each answer it got."""
    told = answers_of(folder)
    cleaner = fastmagic.clean(folder, background=False)
    view, pick = cleaner.on_view(queue="all")["view"], random.Random(time.time_ns())
    with open(told, "a") as answers:
        while True:
            rank, action = pick.randrange(FILES), pick.choice(["aside", "keep", "relabel"])
            answer = cleaner.on_decide(view, [[rank, rank]], action, "lynx" if action == "relabel" else None)
            answers.write(json.dumps([cleaner.curation.name(answer["changed"][0][0]), answer["changed"][0][1]]) + "\n")
            answers.flush()


def answers_of(folder: Path) -> Path:
    return folder.with_name("answers.jsonl")


def carrying_out(folder: Path, call: int) -> None:
    """Applies what is decided, or brings it back where it is applied already, up to a call for a file."""
    cleaner = fastmagic.clean(folder, background=False)
    there = [file for file in folder.glob("*/*.jpg") if file.parent.name != "lynx"]
    killed_at(call)
    if len(there) > FILES - MOVED:
        cleaner.apply()
    else:
        cleaner.revert()


def test_no_decision_is_lost_when_the_process_is_killed(data):
    fastmagic.clean(data, background=False).close()  # imports once what every forked process needs
    chance = random.Random(1)
    last: dict[str, dict] = {}
    told = answers_of(data)
    for _ in range(KILLS):
        told.unlink(missing_ok=True)
        many = chance.randint(1, 40)
        run_and_kill(deciding, data, lambda many=many: told.exists() and told.read_bytes().count(b"\n") >= many)
        lines = [line for line in told.read_text().splitlines() if line.endswith("]")]
        assert len(lines) >= many
        last |= dict(map(json.loads, lines))
        now = {file.relative_to(data).as_posix(): d for file, d in Journal(data).current().items()}
        # The one that was being made when it died may be there too, or not.
        differs = [n for n, d in last.items() if n not in now or (now[n].action, now[n].to) != (d["action"], d["to"])]
        assert len(differs) <= 1, differs
        for name in differs:
            assert name in now
            last[name] = {"action": now[name].action, "to": now[name].to}


def test_no_file_is_lost_or_doubled_when_applying_and_reverting_are_killed(data):
    chance, before = random.Random(2), contents(data)
    places = {file.relative_to(data).as_posix() for file in data.rglob("*.jpg")}
    cleaner = fastmagic.clean(data, background=False)
    view = cleaner.on_view(queue="all")["view"]
    cleaner.on_decide(view, [[0, MOVED // 2 - 1]], "relabel", "lynx")
    cleaner.on_decide(view, [[MOVED // 2, MOVED - 1]], "aside")
    cleaner.close()
    halfway = 0
    for _ in range(KILLS):
        process = multiprocessing.get_context("fork").Process(
            target=carrying_out, args=(data, chance.randint(1, 3 * MOVED))
        )
        process.start()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
        assert contents(data) == before
        moved = sum(file.parent.name == "lynx" or ".fastmagic" in file.parts for file in data.rglob("*.jpg"))
        halfway += 0 < moved < MOVED
    assert halfway >= KILLS // 5, "hardly a kill fell into the moving"
    # Whatever happened, the next ones finish it.
    cleaner = fastmagic.clean(data, background=False)
    cleaner.apply()
    assert contents(data) == before
    assert len(list(data.rglob("lynx/*.jpg"))) == MOVED // 2
    while cleaner.curation.cleaning.reverts:
        cleaner.revert()
    assert contents(data) == before
    assert {file.relative_to(data).as_posix() for file in data.rglob("*.jpg")} == places


def test_a_killed_kernel_leaves_every_answered_decision(data, monkeypatch, new_kernel):
    monkeypatch.chdir(data.parent)
    for round_ in range(3):
        kernel = new_kernel()
        try:
            kernel.run(
                f"import os; os.chdir({str(data.parent)!r}); os.environ['XDG_CACHE_HOME'] = {str(data.parent / 'c')!r}"
            )
            kernel.run("import fastmagic; cleaner = fastmagic.clean('set', background=False)")
            panel = kernel.run("print(cleaner.model_id)").strip()
            state = kernel.ask(panel, "hello", host="page")["answer"]
            assert state["counts"]["aside"] == 10 * round_
            first = 20 * round_
            for rank in range(first, first + 10):
                kernel.ask(panel, "decide", view=state["window"]["view"], ranges=[[rank, rank]], action="aside")
            kernel.manager.signal_kernel(signal.SIGKILL)
        finally:
            kernel.close()
    assert len(Journal(data).current()) == 30
