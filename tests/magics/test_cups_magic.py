"""`%cups` through a shell: a server on this machine, a room that is found again, marks, files, and what cannot be."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import requests
from cups_server import Server, token
from IPython.utils.capture import capture_output

from fastmagic.classroom.client import make_room
from fastmagic.errors import FastmagicError
from fastmagic.panels import cups as panel


@pytest.fixture(autouse=True)
def own_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder of its own for rooms; the server that a test starts ends with it."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(panel, "_last", None)
    yield
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        os.kill(json.loads((tmp_path / "data/fastmagic/cups.db.json").read_text())["pid"], signal.SIGKILL)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path, "--key", "s3cret")
    yield server
    server.close()


@pytest.fixture
def run(shell):
    shell.run("%load_ext fastmagic")

    def run(line: str) -> str:
        with capture_output() as out:
            shell.run(line)
        return out.stdout + "".join(one.data.get("text/plain", "") for one in out.outputs)

    yield run
    found = shell.user_ns.get("cups")
    if found is not None:
        found.close()


def tap(view: panel.Cups, cup: str, who: str = "") -> None:
    body = json.dumps({"do": "cup", "cup": cup, "token": who or token()})
    assert requests.post(f"{view.lesson.link}do", body, timeout=20).status_code == 200


def seen(view: panel.Cups, wanted) -> None:
    """Wait until the panel has seen something; it looks once a second."""
    end = time.monotonic() + 60
    while not wanted(view.board):
        assert time.monotonic() < end, view.board
        time.sleep(0.05)


def test_a_room_is_made_seen_marked_written_and_found_again(run, shell):
    assert "0 fine, 0 not sure, 0 lost" in run("%cups my-class")
    view = shell.user_ns["cups"]
    tap(view, "red")
    tap(view, "green")
    run("# Batches\nx = 1")
    seen(view, lambda board: sum(board["counts"].values()) == 2 and board["marks"])
    assert view.board["counts"] == {"green": 1, "yellow": 0, "red": 1}
    assert [mark[1] for mark in view.board["marks"]] == ["Batches"]
    run("%cups")
    assert shell.user_ns["cups"] is view, "the same again"
    still = view.still()
    assert "1 fine, 0 not sure, 1 lost" in still.text
    assert still.png
    assert view.lesson.secret not in still.html + still.text
    assert "Written" in run("%cups --export lesson.csv")
    frame = pd.read_csv("lesson.csv")
    assert list(frame.columns) == ["time", "green", "yellow", "red"]
    assert list(frame.iloc[-1][["green", "yellow", "red"]]) == [1, 0, 1]
    run("%cups --export lesson.json")
    kept = json.loads(Path("lesson.json").read_text())
    assert kept["marks"][0][1] == "Batches"
    assert view.lesson.secret not in Path("lesson.json").read_text()
    view.close()
    run("%cups my-class --into again")  # as after a restart of the kernel
    again = shell.user_ns["again"]
    assert again is not view
    assert again.lesson == view.lesson
    assert again.board["counts"]["red"] == 1
    again.close()


def test_the_server_ends_when_that_is_said_and_its_rooms_stay(run, shell):
    assert "No server was running" in run("%cups --end")
    run("%cups my-class")
    view = shell.user_ns["cups"]
    tap(view, "red")
    assert "has ended" in run("%cups --end")
    assert view.closed
    with pytest.raises(requests.ConnectionError):
        requests.get(view.link, timeout=20)
    run("%cups my-class")
    assert shell.user_ns["cups"].board["counts"]["red"] == 1


@pytest.mark.parametrize("line", ["%cups my-class --lan", "%cups --lan"])
def test_phones_in_the_network_are_let_in_when_that_is_said(run, shell, line: str):
    run("%cups my-class")
    alone = shell.user_ns["cups"]
    assert "%cups --lan" in alone.state()["alone"], "the panel says what to type"
    tap(alone, "yellow")
    run(line)
    view = shell.user_ns["cups"]
    assert (view.lesson.room, view.lesson.secret) == ("my-class", alone.lesson.secret)
    assert view.board["counts"]["yellow"] == 1, "the room stays"
    if view.board["reach"]:  # a machine without a network has no other address
        assert alone.closed, "its address leads nowhere"
        assert view.link.startswith(view.board["reach"])
        assert view.state()["alone"] == ""


def test_the_same_room_again_is_the_same_panel_and_another_is_another(run, shell):
    run("%cups my-class")
    view = shell.user_ns["cups"]
    run("%cups my-class")
    assert shell.user_ns["cups"] is view, "twenty reruns look once a second, not twenty times"
    run("%cups owls --into owls")
    assert shell.user_ns["owls"] is not view
    assert not view.closed
    shell.user_ns["owls"].close()


def test_the_rooms_that_were_made_from_here_are_listed(run, shell, elsewhere: Server):
    assert "No room has been made from here yet" in run("%cups --rooms")
    run("%cups my-class")
    tap(shell.user_ns["cups"], "red")
    tap(shell.user_ns["cups"], "green")
    run(f"%cups owls --server {elsewhere.address} --key s3cret --into owls")
    shell.user_ns["owls"].close()
    frame = panel.rooms()
    assert list(frame.room) == ["my-class", "owls"]
    assert list(frame.students) == [2, 0]
    assert list(frame.state) == ["open", "open"]
    assert abs(frame["last"][0].timestamp() - time.time()) < 100
    elsewhere.kill()
    assert "its server does not answer" in run("%cups --rooms")


def test_a_server_elsewhere_its_key_and_a_room_of_somebody_elses(run, shell, elsewhere: Server):
    with pytest.raises(FastmagicError, match="have its key"):
        run(f"%cups owls --server {elsewhere.address}")
    run(f"%cups owls --server {elsewhere.address} --key s3cret")
    view = shell.user_ns["cups"]
    assert view.link == f"{elsewhere.address}owls/"
    other = make_room(elsewhere.address, "larks", "s3cret")
    with pytest.raises(FastmagicError, match="already"):
        run(f"%cups larks --server {elsewhere.address} --key s3cret --into larks")
    with pytest.raises(FastmagicError, match="for the teacher"):
        run(f"%cups larks --server {elsewhere.address} --secret wrong --into larks")
    run(f"%cups larks --server {elsewhere.address} --secret {other.secret} --into larks")
    assert shell.user_ns["larks"].lesson == other
    shell.user_ns["larks"].close()
    elsewhere.kill()
    end = time.monotonic() + 60
    while not view.trouble:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert "does not answer" in view.trouble
    with pytest.raises(FastmagicError, match="does not answer"):
        view.on_act("reset")


def test_what_the_teacher_does_reaches_the_room(run, shell):
    run("%cups")
    view = shell.user_ns["cups"]
    tap(view, "red")
    assert view.on_act("reset")["board"]["counts"] == {"green": 1, "yellow": 0, "red": 0}
    view.ask("Which loss?", "MSE", "cross entropy")
    seen(view, lambda board: board["poll"])
    assert view.board["poll"]["answers"] == ["MSE", "cross entropy"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("%cups My-Class", "small letters"),
        ("%cups --server ftp://here", "no address of a server"),
        ("%cups --secret x", "none is named"),
        ("%cups --export lesson.txt", "neither CSV nor JSON"),
    ],
)
def test_mistakes_name_cause_and_next_step(run, line: str, said: str):
    with pytest.raises(FastmagicError, match=said):
        run(line)


def test_where_no_phone_could_reach_the_kernel_it_says_what_to_do(run, monkeypatch):
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Interactive")
    with pytest.raises(FastmagicError, match=r"Kaggle's machines[\s\S]*server="):
        run("%cups")


def test_the_program_of_it(run):
    text = run("%cups my-class --lan --key secret --code")
    assert "fastmagic.cups('my-class', lan=True)" in text
    assert "secret" not in text
