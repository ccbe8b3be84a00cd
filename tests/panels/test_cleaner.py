"""The cleaner without a browser: what it sends, remembers and writes, and how it looks where it cannot live."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import fastmagic
from fastmagic.errors import FastmagicError
from fastmagic.panels.panel import Encoded


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def data(shapes, tmp_path, monkeypatch) -> Path:
    shutil.copytree(shapes, tmp_path / "shapes")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "shapes"


@pytest.fixture
def cleaner(data):
    cleaner = fastmagic.clean(data, background=False)
    yield cleaner
    cleaner.close()


def decide(cleaner, *ranks: int, action: str, to=None, queue: str = "all"):
    view = cleaner.on_view(queue=queue)
    return cleaner.on_decide(view["view"], [[rank, rank] for rank in ranks], action, to)


def test_what_a_browser_gets_first_is_enough_to_paint(cleaner):
    state = cleaner.state()
    assert (state["source"], state["kind"], state["total"], state["vocab"]) == (
        "shapes",
        "class",
        120,
        ["disc", "square"],
    )
    tiles = state["window"]["tiles"]
    assert (state["window"]["count"], len(tiles)) == (120, 60)
    assert all(isinstance(tile["picture"], Encoded) for tile in tiles)
    assert {tile["label"] for tile in tiles} <= {"disc", "square"}
    assert state["journal"] == {"file": "shapes/.fastmagic/decisions.jsonl", "beside": True}
    assert not (Path("shapes") / ".fastmagic").exists()  # looking leaves no trace


def test_windows_are_parts_of_the_view_and_old_ones_are_not_answered(cleaner):
    view = cleaner.on_view(label="square")
    assert (view["count"], view["start"]) == (60, 0)
    window = cleaner.on_window(view["view"], 50, 100)
    assert [tile["name"] for tile in window["tiles"]] == [f"square/square_{i:03}.png" for i in range(101, 120, 2)]
    newer = cleaner.on_view(label="disc")
    assert cleaner.on_window(view["view"], 0, 10) == {"view": newer["view"], "start": 0, "tiles": []}
    there = cleaner.on_view(label="", at=100)
    assert (there["rank"], there["start"]) == (100, 60)
    with pytest.raises(FastmagicError, match="has changed meanwhile"):
        cleaner.on_decide(view["view"], [[0, 3]], "aside")


def test_a_decision_is_on_the_disk_before_the_answer(cleaner):
    answer = decide(cleaner, 0, 2, action="relabel", to="square")
    assert answer["changed"] == [[0, {"action": "relabel", "to": "square"}], [2, {"action": "relabel", "to": "square"}]]
    lines = [json.loads(line) for line in Path("shapes/.fastmagic/decisions.jsonl").read_text().splitlines()]
    assert [(line["path"], line["from"], line["to"]) for line in lines] == [
        ("disc/disc_000.png", "disc", "square"), ("disc/disc_004.png", "disc", "square"),
    ]  # fmt: skip
    assert (answer["said"], answer["counts"]["undo"]) == ("2 relabelled.", "2 relabelled")
    assert cleaner.on_undo()["counts"] == {"relabel": 0, "aside": 0, "keep": 0, "undo": "", "redo": "2 relabelled"}
    assert cleaner.on_redo()["counts"]["relabel"] == 2
    assert list(cleaner.decisions.path) == ["disc/disc_000.png", "disc/disc_004.png"]


def test_the_next_undecided_item_is_found_however_far_it_is(cleaner):
    view = cleaner.on_view()
    cleaner.on_decide(view["view"], [[0, 99]], "keep")
    assert cleaner.on_next_open(view["view"], 1) == {"rank": 100}
    cleaner.on_decide(view["view"], [[100, 119]], "keep")
    assert cleaner.on_next_open(view["view"], 1) == {"rank": -1}


def test_many_at_once_are_one_decision(cleaner):
    view = cleaner.on_view()
    answer = cleaner.on_decide(view["view"], [[0, 49], [60, 119]], "aside")
    assert answer["said"] == "110 set aside."
    assert [queue["left"] for queue in answer["queues"] if queue["name"] == "all"] == [10]
    assert cleaner.on_undo()["counts"]["aside"] == 0


def test_what_is_chosen_wrongly_is_said_and_nothing_noted(cleaner):
    with pytest.raises(FastmagicError, match="Nothing is chosen"):
        decide(cleaner, action="aside")
    with pytest.raises(FastmagicError, match="No decision 'shred'"):
        decide(cleaner, 0, action="shred")
    assert not (Path("shapes") / ".fastmagic").exists()


def test_the_view_and_the_decisions_are_there_after_a_reload_and_in_another_panel(cleaner, data):
    cleaner.on_view(queue="all", label="disc", sort="name", text="1")
    decide_view = cleaner.on_view()
    cleaner.on_decide(decide_view["view"], [[0, 0]], "keep")
    assert {k: v for k, v in cleaner.state()["view"].items() if v} == {
        "queue": "all", "label": "disc", "sort": "name", "text": "1",
    }  # fmt: skip
    other = fastmagic.clean(data, background=False)
    assert other.state()["counts"]["keep"] == 1
    told = []
    cleaner.tell = lambda event, **content: told.append((event, content))
    decide(other, 5, action="aside")
    (event, content) = told[-1]
    assert (event, content["changed"], content["counts"]["aside"]) == (
        "decided",
        [[5, {"action": "aside", "to": None}]],
        1,
    )
    other.close()


def test_what_another_kernel_decides_is_told_without_being_asked_for(cleaner, data):
    told, heard = [], threading.Event()

    def tell(event, **content):
        told.append((event, content))
        heard.set()

    cleaner.tell = tell
    program = f"import fastmagic; fastmagic.clean({str(data)!r}, background=False).decide([5], 'aside')"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=data.parent, timeout=120)
    assert heard.wait(60)
    ((event, content),) = told
    assert (event, content["changed"]) == ("decided", [[5, {"action": "aside", "to": None}]])
    assert cleaner.decisions.action.tolist() == ["aside"]


def test_what_apply_would_do_is_shown_and_done_and_taken_back(cleaner, data):
    decide(cleaner, 0, action="relabel", to="square")
    decide(cleaner, 1, action="aside")
    plan = cleaner.on_plan()
    assert (plan["how"], plan["nothing"], plan["problem"]) == ("move", False, "")
    assert plan["examples"] == [["disc/disc_000.png", "square/disc_000.png"], ["disc/disc_002.png", "set aside"]]
    answer = cleaner.on_apply()
    assert answer["said"] == ["1 file went into the folder of another class. 1 file went to quarantine."]
    assert answer["train"] == "%datablock dls --from shapes"
    assert (answer["state"]["window"]["count"], answer["state"]["revert"]) == (119, True)
    assert (data / "square/disc_000.png").is_file()
    back = cleaner.on_revert()
    assert (back["said"], back["state"]["window"]["count"]) == (
        "2 files are back in place; the decisions count again.",
        120,
    )
    assert cleaner.apply() == answer["said"][0]
    assert cleaner.revert() == back["said"]


def test_a_picture_enlarged_comes_with_what_is_known_and_a_living_loupe(cleaner):
    large = cleaner.on_large(0)
    assert isinstance(large["picture"], Encoded)
    assert large["place"] == "shapes/disc/disc_000.png"
    assert dict(large["facts"])["file"].endswith("kB")
    assert cleaner._inspector.panel_id == large["pixels"]
    cleaner.on_close_large()
    assert cleaner._inspector is None


def test_queues_come_as_tables_too(data):
    shutil.copy(data / "disc/disc_000.png", data / "disc/again.png")
    cleaner = fastmagic.clean(data)
    same = cleaner.queue("same")
    assert list(same.item)[:2] == ["disc/again.png", "disc/disc_000.png"]
    assert list(same.why)[:2] == ["exact copy", "exact copy"]
    with pytest.raises(FastmagicError, match="There are label, loss"):
        cleaner.queue("nonsense")
    cleaner.close()


def test_background_work_is_told_and_its_troubles_too(data, monkeypatch):
    from fastmagic.learning import suspects

    def broken(*args, **kwargs):
        raise RuntimeError("no such luck")

    monkeypatch.setattr(suspects, "quality_queues", broken)
    cleaner = fastmagic.clean(data, background=False)
    told = []
    cleaner.tell = lambda event, **content: told.append(content)
    cleaner.curation.look(cleaner._looked)
    with pytest.raises(FastmagicError, match="no such luck"):
        cleaner.curation.wait()
    assert "no such luck" in told[-1]["trouble"]
    assert cleaner.state()["window"]["count"] == 120  # all else goes on
    cleaner.close()


def test_the_still_is_the_contact_sheet_of_what_was_decided(cleaner):
    still = cleaner.still()
    assert (still.text, still.png) == ("shapes: 120 items, nothing decided yet", None)
    view = cleaner.on_view()
    cleaner.on_decide(view["view"], [[0, 29]], "relabel", "square")
    decide(cleaner, 40, action="aside")
    still = cleaner.still()
    assert still.text.splitlines()[0] == "shapes: 120 items, 30 to relabel, 1 set aside"
    assert "disc/disc_000.png: → square" in still.text
    assert "and 7 more" in still.text
    assert still.html.count("<img") == 24
    assert len(still.html) + len(still.png) * 4 / 3 < 200_000
    assert "disc → square" in still.html


def test_one_hundred_thousand_items_open_and_answer_with_what_is_shown_only(tmp_path, monkeypatch):
    """A list of 100,000 paths, of which 60 exist: what is not shown is not touched."""
    import pandas as pd
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    for i in range(60):
        Image.new("RGB", (40, 30), (i, 90, 200)).save(tmp_path / f"{i:06}.png")
    frame = pd.DataFrame({"file": [f"{i:06}.png" for i in range(100_000)], "label": ["a", "b"] * 50_000})
    cleaner = fastmagic.clean(frame, path=tmp_path, background=False)
    window = cleaner.state()["window"]
    assert (window["count"], sum(tile["picture"] is not None for tile in window["tiles"])) == (100_000, 60)
    last = cleaner.on_window(window["view"], 99_990, 60)["tiles"]
    assert [tile["gone"] for tile in last] == [True] * 10
    cleaner.close()


def test_counts_of_the_background_are_as_new_as_when_they_are_sent(cleaner, monkeypatch):
    sent, decided, began = [], threading.Event(), threading.Event()
    monkeypatch.setattr(cleaner, "send", lambda message, buffers=None: sent.append(message))
    counts = cleaner._counts
    monkeypatch.setattr(cleaner, "_counts", lambda: (counts(), began.set(), decided.wait(1))[0])
    with cleaner._lock:  # as while a browser is answered
        background = threading.Thread(target=cleaner._looked)
        background.start()
        began.wait(0.5)  # counts now only who may send now
        cleaner.curation.decide([0], "aside")
        decided.set()
    background.join()
    assert sent[-1]["content"]["counts"]["aside"] == 1


def test_in_a_real_kernel_it_is_a_widget_that_answers(kernel, data):
    kernel.run(f"import os; os.chdir({str(data.parent)!r})")
    kernel.run("%clean shapes")
    panel = kernel.run("print(cleaner.model_id)").strip()
    answer = kernel.ask(panel, "hello", host="page")["answer"]
    assert (answer["total"], len(answer["window"]["tiles"])) == (120, 60)
    view = answer["window"]["view"]
    answer = kernel.ask(panel, "decide", view=view, ranges=[[0, 0]], action="aside")["answer"]
    assert answer["counts"]["aside"] == 1
    wrong = kernel.ask(panel, "decide", view=view, ranges=[[0, 0]], action="relabel", to="..")
    assert "cannot be the name of a class folder" in wrong["error"]
    # The kernel dies the moment the answer is out: the decision is there.
    assert "1 to set aside" in kernel.run("%clean shapes --status")
    end = time.monotonic() + 60
    while "False" not in kernel.run("print(bool(cleaner.curation.busy))") and time.monotonic() < end:
        time.sleep(0.3)
    # A loop draws the still once, at the end of its cell.
    before = len(kernel.heard)
    kernel.run("for i in range(1, 6): cleaner.decide([i], 'keep')")
    drawn = [m["content"]["data"] for m in kernel.heard[before:] if m["msg_type"] == "update_display_data"]
    assert len(drawn) == 1
    assert "5 kept" in drawn[0]["text/plain"]
    told = [event for event in kernel.events(panel) if event["event"] == "queues"]
    assert told
    assert not any(queue["busy"] for queue in told[-1]["content"]["queues"])
