"""Killed at any moment, and run again: the folder is that of a run that nobody disturbed, and nothing is fetched twice."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
import standin as net

KILLS = 20
# Forks a run for each line it reads: what a run imports is imported once.
PROGRAM = """
import os, sys
import torch, torchvision.io, aiohttp, simplejpeg, imagehash, ddgs, fastmagic
import fastmagic.data.gather.images, fastmagic.data.gather.gallery, fastmagic.data.gather.engines
for folder in sys.stdin:
    run = os.fork()
    if not run:
        fastmagic.images("bird", "forest", n=230, to=folder.strip(), update=lambda progress: None)
        os._exit(0)
    print(run, flush=True)
    print(os.waitpid(run, 0)[1], flush=True)
"""


class Runs:
    """Starts runs of `fastmagic.images`, one after another, each in a process of its own."""

    def __init__(self) -> None:
        self._parent = subprocess.Popen(
            [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def start(self, folder: Path) -> int:
        self._parent.stdin.write(f"{folder}\n")
        self._parent.stdin.flush()
        return int(self._parent.stdout.readline())

    def running(self, run: int) -> bool:
        try:
            os.kill(run, 0)
        except ProcessLookupError:
            return False
        return True

    def wait(self) -> int:
        """The status of the run that was started last: 0 at its own end, 9 where it was killed."""
        return int(self._parent.stdout.readline())

    def close(self) -> None:
        self._parent.kill()
        self._parent.communicate()


@pytest.fixture
def runs(internet):
    runs = Runs()
    yield runs
    runs.close()


def lines(file: Path) -> list[dict]:
    """Read a JSON lines file that may end in a torn line."""
    found = []
    for line in file.read_text().splitlines() if file.is_file() else []:
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return found


def decided(folder: Path) -> int:
    return len(lines(folder / "manifest.jsonl"))


def contents(folder: Path) -> dict[str, str]:
    return {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and "incoming" not in file.parts and file.name != "manifest.jsonl"
    }


def test_killed_again_and_again_and_finished_it_equals_an_undisturbed_run(internet, runs, tmp_path):
    for seed, label in ((11, "bird"), (12, "forest")):
        photos = net.pictures(270, seed=seed)
        for i in range(5, 270, 23):  # copies of photos before, some of them in the other class
            photos[i] = photos[i - 4]
        photos[50:54] = internet.photos["bird"][:4]
        for i in range(9, 270, 31):
            photos[i] = photos[i][: len(photos[i]) // 2]
        photos[20] = b"<html>no photo</html>"
        internet.photos[label] = photos
    internet.extra["photos7.example.org/bird/63.jpg"] = net.status(404)
    internet.latency = 0.06

    runs.start(tmp_path / "whole")
    assert runs.wait() == 0
    wanted = contents(tmp_path / "whole")
    assert len([name for name in wanted if name.startswith(("bird/", "forest/"))]) == 460
    assert any(name.startswith(".fastmagic/quarantine") for name in wanted)

    folder, dice = tmp_path / "killed", random.Random(0)
    kills, fetched_again = 0, []
    while kills < KILLS:
        begun = len(internet.asked)
        done = {row["url"] for row in lines(folder / "manifest.jsonl")}
        done |= {row["url"] for row in lines(folder / ".fastmagic/incoming/journal.jsonl")}
        run = runs.start(folder)
        if kills % 2:  # early: while it starts, searches or fetches, after so many requests
            enough, so_far = begun + dice.randint(0, 12), lambda: len(internet.asked)
        else:  # in the middle of the work, after so many photos more
            enough, so_far = decided(folder) + dice.randint(4, 12), lambda: decided(folder)
        while so_far() < enough and runs.running(run):
            time.sleep(0.001)
        with contextlib.suppress(ProcessLookupError):
            os.kill(run, 9)
        if runs.wait() != 9:
            break  # it came to its end
        kills += 1
        fetched_again += [
            url
            for host, path in internet.asked[begun:]
            if (url := f"https://{host}{path}") in done and "example.org" in host
        ]
    assert kills >= KILLS // 2, "too quick to be killed that often"  # a busy machine kills late
    decided_by_then = decided(folder)
    runs.start(folder)
    assert runs.wait() == 0

    assert contents(folder) == wanted
    assert fetched_again == []
    assert 20 <= decided_by_then < len(lines(folder / "manifest.jsonl")), "the kills did not fall in the work"

    def rows(place):
        return [{k: v for k, v in row.items() if k != "fetched"} for row in lines(place / "manifest.jsonl")]

    assert rows(folder) == rows(tmp_path / "whole")
    assert len(rows(folder)) == len({(row["label"], row["url"]) for row in rows(folder)})
