"""Pointer tracks: how they are recognised, cut, checked, drawn, learned and asked about."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from IPython.utils.capture import capture_output

import fastmagic
from fastmagic.data.track import RecordingSplitter, Track, drawn
from fastmagic.data.track_files import read_track, recording_of, track_columns, track_windows
from fastmagic.errors import FastmagicError
from fastmagic.kinds import IMAGE, SERIES, TRACK, kind_of, kind_of_source


def track(hand: str, n: int, seed: int, screen: tuple[int, int] = (800, 600)) -> pd.DataFrame:
    """Return a recording: round hands go in circles, straight ones in lines from edge to edge; both click now and then."""
    random = np.random.default_rng(seed)
    step = np.arange(n)
    if hand == "round":
        place = np.stack([np.cos(step / 9), np.sin(step / 9)], axis=1) * 0.4 + 0.5
    else:
        place = np.stack([abs((step / 40) % 2 - 1), abs((step / 171) % 2 - 1)], axis=1)
    place = (place + random.normal(0, 0.01, (n, 2))).clip(0, 1) * screen
    events = np.where(step % 37 == 5, "Pressed", np.where(step % 37 == 6, "Released", "Move"))
    return pd.DataFrame({
        "client timestamp": (step * 0.05).round(3), "button": np.where(events == "Move", "NoButton", "Left"), "state": events,
        "x": place[:, 0].astype(int), "y": place[:, 1].astype(int),
    })  # fmt: skip


def make(folder: Path, recordings: int = 4, n: int = 1800) -> Path:
    for i in range(recordings):
        for hand in ("round", "straight"):
            (folder / hand).mkdir(parents=True, exist_ok=True)
            track(hand, n + 20 * i, i).to_csv(folder / hand / f"session_{i}.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def hands(tmp_path_factory):
    return make(tmp_path_factory.mktemp("tracks") / "hands")


@pytest.fixture(scope="module")
def learn(hands):
    return fastmagic.train(fastmagic.datablock(hands, num_workers=0))


def planned(source, **answers):
    from fastmagic.data.datablock import plan as plan_block

    more = {name: answers.pop(name) for name in ("label", "target") if name in answers}
    return plan_block(source, given=answers, **more)


def planned_kind(folder, **answered):
    from fastmagic.data.source import resolve_source

    return kind_of_source(resolve_source(folder), answered)


# ---------------------------------------------------------------- reading


@pytest.mark.parametrize(
    "names",
    [
        ["timestamp", "x", "y"],
        ["t", "clientX", "clientY", "type"],
        ["time", "mouse_x", "mouse_y", "event"],
        ["Timestamp", "Button", "X", "Y"],
        ["timeStamp", "clientX", "clientY", "type"],
        ["time_ms", "x", "y"],
        ["record timestamp", "client timestamp", "button", "state", "x", "y"],
    ],
)
def test_columns_of_a_track(names):
    assert track_columns(names) is not None


@pytest.mark.parametrize("names", [["x", "y"], ["time", "x", "y", "z"], ["time", "x", "weight"], ["time", "ax", "ay"]])
def test_columns_of_something_else(names):
    assert track_columns(names) is None


@pytest.mark.parametrize(
    ("column", "values", "clicks"),
    [
        ("state", ["Move", "Pressed", "Drag", "Released", "Down"], [1]),  # Down is the wheel there
        ("type", ["mousemove", "mousedown", "mousemove", "mouseup", "mousedown"], [1, 4]),
        ("event", ["move", "click", "move", "move", "Click"], [1, 4]),
        ("button", ["NoButton", "Left", "Left", "NoButton", "Left"], [1, 4]),
        ("pressed", [0, 1, 1, 0, 1], [1, 4]),
    ],
)
def test_where_a_button_went_down(tmp_path, column, values, clicks):
    frame = pd.DataFrame({"time": range(5), "x": range(5), "y": range(5), column: values})
    frame.to_csv(tmp_path / "a.csv", index=False)
    assert list(np.flatnonzero(read_track(tmp_path / "a.csv")["click"])) == clicks


def test_what_lies_outside_is_left_out_and_times_are_seconds(tmp_path):
    (tmp_path / "a.csv").write_text("time,x,y,state\n100,1,2,Move\n200,65535,65535,Move\n300,3,4,Move\n,5,5,Move\n")
    found = read_track(tmp_path / "a.csv")
    assert found["x"].tolist() == [1, 3]
    assert found["time"].tolist() == pytest.approx([0, 0.2])  # they were milliseconds
    (tmp_path / "b.csv").write_text("time,x,y\n2026-01-01 10:00:00,1,2\n2026-01-01 10:00:01.5,3,4\n")
    assert read_track(tmp_path / "b.csv")["time"].tolist() == [0, 1.5]
    (tmp_path / "z.csv").write_text("timestamp,x,y\n2026-01-01T10:00:00.250Z,1,2\n2026-01-01T10:00:01.500Z,3,4\n")
    assert read_track(tmp_path / "z.csv")["time"].tolist() == pytest.approx([0, 1.25], abs=1e-3)
    fast = "".join(f"{i},{i},{i}\n" for i in range(50))  # a thousand events a second
    (tmp_path / "fast.csv").write_text(f"time,x,y\n{fast}")
    assert read_track(tmp_path / "fast.csv")["time"].iloc[-1] == pytest.approx(0.049)
    (tmp_path / "c.csv").write_text("a,b\n1,2\n")
    with pytest.raises(FastmagicError, match="is no pointer track: it has a, b"):
        read_track(tmp_path / "c.csv")


def test_windows(hands, tmp_path):
    windows = track_windows(hands, events=300)
    of = [recording_of(window) for window in windows if "round/session_1" in str(window)]
    assert [(start, stop) for _, start, stop in of] == [(i, i + 300) for i in range(0, 1800, 300)]  # 20 are left over
    assert windows == track_windows(sorted(hands.rglob("*.csv")))
    for hand in "ab":
        track("round", 100, 0).to_csv(tmp_path / f"{hand}.csv", index=False)
    assert [str(window.name) for window in track_windows(tmp_path, 300)] == ["a.csv#0-100", "b.csv#0-100"]
    assert [w.name for w in track_windows(tmp_path, 60)][:2] == ["a.csv#0-60", "a.csv#60-100"]
    assert len(Track.create(windows[1])) == 300
    with pytest.raises(FastmagicError, match="show no track"):
        track_windows(tmp_path, 1)


def test_a_file_may_have_such_a_name(tmp_path):
    assert recording_of("a#b.csv") == (Path("a#b.csv"), 0, None)


# ---------------------------------------------------------------- the pictures


def test_path_speed_and_clicks():
    #            from (0, 0) to the right edge at 8 px/s, down at 800 px/s, a click in the corner
    given = Track.create([[0, 0, 0, 0], [1, 8, 0, 0], [1.01, 8, 8, 1]])
    plane = drawn(given, 9, screen=(8, 8), fastest=800)
    assert plane[0, 0].tolist() == [1] * 9
    assert plane[0, :, 8].tolist() == [1] * 9
    assert plane[0].sum() == 17
    assert plane[1, 5, 8] == pytest.approx(1)
    assert 0 < plane[1, 0, 4] < 0.25  # a hundredth of the fastest
    assert plane[2].sum() == 4  # a dot, cut at the corner
    assert plane[2, 8, 8] == 1


def test_a_pause_breaks_the_line():
    given = Track.create([[0, 0, 0], [1, 2, 0], [60, 6, 0], [61, 8, 0]])
    assert drawn(given, 9)[0, 0].tolist() == [1, 1, 1, 0, 0, 0, 1, 1, 1]
    assert np.isnan(given.speeds()).tolist() == [False, True, False]


def test_a_screen_keeps_the_place_and_without_one_it_is_lost():
    here, there = ([[0, x, x], [1, x + 50, x]] for x in (100, 500))
    assert (drawn(Track.create(here), 32) == drawn(Track.create(there), 32)).all()
    screen = (800, 600)
    assert (drawn(Track.create(here), 32, screen) != drawn(Track.create(there), 32, screen)).any()
    assert drawn(Track.create([[0, 5, 5]]), 8).sum() == 0
    with pytest.raises(FastmagicError, match="no pointer track"):
        Track.create([[1, 2]])


# ---------------------------------------------------------------- what is worked out


def test_folders_of_recordings(hands):
    found = planned(hands)
    assert found.kind is TRACK
    assert "2 folders are the classes: round, straight" in found.why
    assert "of the whole screen, 800 × 600" in found.why
    dls = found.build()
    assert kind_of(dls) is TRACK
    assert tuple(dls.one_batch()[0].shape[1:]) == (3, 64, 64)
    sides = [{recording_of(item)[0] for item in loader.dataset.items} for loader in dls.loaders]
    assert not sides[0] & sides[1]
    assert {file.parent.name for file in sides[1]} == {"round", "straight"}
    names: dict = {}
    exec(fastmagic.code(dls), names)
    assert list(names["dls"].valid_ds.items) == list(dls.valid_ds.items)


def test_screens_that_differ_are_not_shown(tmp_path):
    folder = make(tmp_path / "it", 2, 400)
    for i in range(2):
        track("straight", 400, i, (1600, 1000)).to_csv(folder / f"straight/session_{i}.csv", index=False)
    found = planned(folder)
    assert "screen=" not in found.cell()
    assert "the screens differ" in found.why
    report = fastmagic.check(folder)
    assert "straight from 1600" in report["hardware"].message


def test_names_tell_the_class_and_the_split_asks_them_too(tmp_path):
    for i in range(3):
        for hand in ("round", "straight"):
            track(hand, 700, i).to_csv(tmp_path / f"{hand}_{i}.csv", index=False)
    with pytest.raises(FastmagicError, match="nothing says whose"):
        fastmagic.datablock(tmp_path)
    dls = planned(tmp_path, label="^([a-z]+)_").build()
    assert list(dls.vocab) == ["round", "straight"]
    assert len({recording_of(item)[0] for item in dls.valid_ds.items}) == 2


def test_one_recording_cannot_be_on_both_sides(tmp_path):
    folder = make(tmp_path / "it", 2, 700)
    (folder / "round/session_1.csv").unlink()
    with pytest.raises(FastmagicError, match=r"Of 'round' there is one recording, session_0\.csv"):
        fastmagic.datablock(folder)
    from fastai.data.transforms import RandomSplitter

    assert len(fastmagic.datablock(folder, splitter=RandomSplitter(0.3, seed=1)).train_ds) > 2


def test_folders_of_train_and_valid_give_the_split(tmp_path):
    for side in ("train", "valid"):
        make(tmp_path / side, 2, 400)
    found = planned(tmp_path)
    assert "RecordingSplitter" not in found.cell()
    dls = found.build()
    assert {item.parent.parent.name for item in dls.valid_ds.items} == {"valid"}


def test_a_splitter_by_recording():
    items = [Path(f"{who}/{day}.csv#{i}-{i + 9}") for who in "ab" for day in range(10) for i in (0, 9, 18)]
    train, valid = RecordingSplitter(0.2, seed=3)(items)
    assert sorted(train + valid) == list(range(60))
    assert len(valid) == 12
    assert RecordingSplitter(0.2, seed=3)(items) == (train, valid)
    assert RecordingSplitter(0.2, seed=4)(items) != (train, valid)


def test_what_is_no_track(tmp_path, hands):
    for i in range(10):
        (tmp_path / "ab"[i % 2]).mkdir(exist_ok=True)
        pd.DataFrame(np.random.default_rng(i).normal(0, 1, (40, 4)), columns=["time", "x", "y", "z"]).to_csv(
            tmp_path / "ab"[i % 2] / f"{i}.csv", index=False
        )
    assert planned_kind(tmp_path) is SERIES
    for file in tmp_path.rglob("*.csv"):  # of two directions, and no whole numbers
        pd.read_csv(file).drop(columns="z").to_csv(file, index=False)
    assert planned_kind(tmp_path) is SERIES
    for file in tmp_path.rglob("*.csv"):
        pd.read_csv(file).assign(type="walking").to_csv(file, index=False)
    assert planned_kind(tmp_path) is SERIES
    for file in tmp_path.rglob("*.csv"):  # whole numbers, and still no mouse
        pd.DataFrame({"time": range(40), "x": range(40), "y": range(40), "type": "retail", "price": 1.5}).to_csv(
            file, index=False
        )
    assert planned_kind(tmp_path) is SERIES
    assert planned_kind(hands, blocks="SeriesBlock, CategoryBlock") is SERIES
    assert planned_kind(hands, blocks="ImageBlock, CategoryBlock") is IMAGE


def test_a_table_beside_is_refused_with_what_to_do(tmp_path):
    for i in range(8):
        track("round", 400, i).to_csv(tmp_path / f"session_{i}.csv", index=False)
    names = [f"session_{i}.csv" for i in range(8)]
    pd.DataFrame({"file": names, "label": ["a", "b"] * 4}).to_csv(tmp_path / "labels.csv", index=False)
    with pytest.raises(FastmagicError, match=r"label=|sub-folder"):
        fastmagic.datablock(tmp_path)


# ---------------------------------------------------------------- checks, learning and asking


def test_checks(tmp_path):
    folder = make(tmp_path / "it", 5, 700)
    dls = fastmagic.datablock(folder, num_workers=0)
    straight = sorted((folder / "straight").iterdir())
    straight[0].write_text(straight[0].read_text().splitlines()[0])
    straight[1].write_text("a,b\n1,2\n")
    frame = pd.read_csv(straight[2])
    frame.loc[5:7, "x"] = 65535
    frame.loc[20, "client timestamp"] = 0
    frame.to_csv(straight[2], index=False)
    pd.read_csv(straight[3]).head(20).to_csv(straight[3], index=False)
    report = fastmagic.check(dls)
    assert report["empty-track"].items == [straight[0]]
    assert report["unreadable"].items == [straight[1]]
    assert report["outside"].details == {straight[2]: "3 events"}
    assert report["time-backwards"].details == {straight[2]: "1 times"}
    assert report["short-track"].items == [straight[3]]
    assert "hardware" not in report
    assert "10 tracks, 2 classes" in fastmagic.check(folder).headline()


def test_it_learns_and_answers(learn, hands):
    assert fastmagic.results(learn).correct.mean() >= 0.9
    file = hands / "round/session_0.csv"
    whole = fastmagic.predict(file, learn)
    assert len(whole) == 6
    assert whole.headline.startswith("session_0.csv as a whole: round (")
    assert "the mean of 6 windows" in repr(whole).splitlines()[0]
    assert whole.forms()["text/html"].count("as a whole: round") == 1
    one = fastmagic.predict(f"{file}#0-300", learn)
    assert one.label == "round"
    assert one.image is not None
    assert len(fastmagic.predict(hands / "straight", learn)) == 24
    rows = read_track(file).iloc[:300][["time", "x", "y", "click"]].to_numpy("float64")
    assert fastmagic.predict(rows, learn).label == "round"
    with pytest.raises(FastmagicError, match="No file"):
        fastmagic.predict(hands / "round/session_9.csv", learn)


def test_fastai_shows_them(learn):
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    learn.dls.show_batch(max_n=4)
    learn.show_results(max_n=4)
    Track.create(learn.dls.train.items[0]).show(title="one")
    plt.close("all")


def test_the_magics(shell, hands):
    shell.user_ns["hands"] = hands
    with capture_output() as out:
        shell.run("%datablock dls --from hands")
        shell.run("%train --epochs 2")
        shell.run("%results --worst 2")
        shell.run(f"%predict {hands}/round/session_1.csv --into many")
        shell.run("%check dls")
    assert "whole recordings are kept for validation" in out.stdout
    with capture_output() as out:
        shell.run(f"%predict {hands}/round/session_1.csv --code")
    names: dict = {}
    exec(out.stdout, {"learn": shell.user_ns["learn"]}, names)
    assert list(names["frame"]["label"]) == list(shell.user_ns["many"].label)


def test_mouse_sessions(shared_data):
    folder = shared_data / "mouse_sessions"
    found = planned(folder)
    assert "3 folders are the classes: user12, user35, user7" in found.why
    assert "the screens differ" in found.why
    report = fastmagic.check(folder)
    assert "screens of different sizes" in report["hardware"].message
    assert report["outside"].details[folder / "user35/session_6820312264.csv"] == "1 event"
