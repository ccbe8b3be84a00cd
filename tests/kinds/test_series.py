"""Time series: how they are recognised, checked, drawn, learned and asked about."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from IPython.utils.capture import capture_output

import fastmagic
from fastmagic.data.series import Series, ToSeriesImage, drawn, resized
from fastmagic.errors import FastmagicError
from fastmagic.kinds import IMAGE, SERIES, kind_of


def wave(random, kind: str, n: int) -> pd.DataFrame:
    """Return three channels of a slow or a fast wave, with noise."""
    turns = {"slow": 1, "fast": 4}[kind]
    time = np.linspace(0, turns * 2 * np.pi, n)
    shift = random.uniform(0, 6)
    channels = {f"c{i}": np.sin(time + shift + i) + random.normal(0, 0.1, n) for i in range(3)}
    return pd.DataFrame(channels)


def make(folder: Path, n=60, classes=True) -> Path:
    random = np.random.default_rng(0)
    for i in range(n):
        kind = ("slow", "fast")[i % 2]
        place = folder / kind if classes else folder / "series"
        place.mkdir(parents=True, exist_ok=True)
        wave(random, kind, int(random.integers(30, 120))).to_csv(place / f"gesture_{i + 1}.csv", index=False)
    if not classes:
        labels = pd.DataFrame({"#id": range(1, n + 1), "class": ["slow", "fast"] * (n // 2)})
        labels.to_csv(folder / "labels.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def gestures(tmp_path_factory):
    return make(tmp_path_factory.mktemp("series") / "gestures")


@pytest.fixture(scope="module")
def learn(gestures):
    return fastmagic.train(fastmagic.datablock(gestures, num_workers=0))


def planned(source, **answers):
    from fastmagic.data.datablock import plan as plan_block

    more = {name: answers.pop(name) for name in ("label", "target") if name in answers}
    return plan_block(source, given=answers, **more)


# ---------------------------------------------------------------- the pictures


def test_fields_are_what_their_formulas_say():
    values = [0.1, 0.9, 0.4, 0.6]
    angles = [math.acos(2 * (v - 0.1) / 0.8 - 1) for v in values]
    summation = drawn(values, "gramian", 4)
    difference = drawn(values, "difference", 4)
    near = drawn(values, "recurrence", 4)
    for i in range(4):
        for j in range(4):
            assert summation[i, j] == pytest.approx((math.cos(angles[i] + angles[j]) + 1) / 2, abs=1e-6)
            assert difference[i, j] == pytest.approx((math.sin(angles[i] - angles[j]) + 1) / 2, abs=1e-6)
            assert near[i, j] == pytest.approx(1 - abs(values[i] - values[j]) / 0.8, abs=1e-6)
    np.testing.assert_allclose(summation, summation.T)


def test_lines_are_drawn_from_edge_to_edge():
    plane = drawn([0, 1, 0], "lines", 9)
    assert plane[8, 0] == plane[0, 4] == plane[8, 8] == 1
    assert (plane.sum(0) > 0).all()
    assert drawn([3, 3, 3], "lines", 9).sum() == 9


def test_any_length_becomes_one():
    assert len(resized(np.arange(500.0), 64)) == 64
    assert resized(np.arange(500.0), 64).mean() == pytest.approx(249.5)
    assert resized(np.array([5.0]), 4).tolist() == [5.0] * 4
    # A range of one's own keeps how large values are.
    assert drawn([0, 1], "recurrence", 2, -1, 1)[0, 1] == pytest.approx(0.5)


def test_gaps_are_filled_and_headings_told(tmp_path):
    (tmp_path / "gap.csv").write_text("a,b,name\n1,2,x\n,4,y\n3,,z\n")
    series = Series.create(tmp_path / "gap.csv")
    np.testing.assert_allclose(series.values, [[1, 2, 3], [2, 4, 4]])
    assert series.names == ["a", "b"]
    (tmp_path / "bare.csv").write_text("1,2\n3,4\n")
    assert Series.create(tmp_path / "bare.csv").steps == 2
    (tmp_path / "words.csv").write_text("a,b\nx,y\n")
    with pytest.raises(FastmagicError, match="holds no numbers"):
        Series.create(tmp_path / "words.csv")
    with pytest.raises(FastmagicError, match="Did you mean 'gramian'"):
        ToSeriesImage("gramain")
    assert Series.create(np.arange(5)).values.shape == (1, 5)
    assert tuple(ToSeriesImage("gramian", size=16)(Series.create(np.zeros((2, 5)))).shape) == (2, 16, 16)


# ---------------------------------------------------------------- what is worked out


def test_class_folders_of_series(gestures):
    found = planned(gestures)
    assert found.kind is SERIES
    assert "2 folders are the classes: fast, slow" in found.why
    assert "3 channels are planes of a picture" in found.why
    assert re.search(r"SeriesBlock\('lines', size=64, low=-1\.[2-5], high=1\.[2-5]\)", found.cell())
    dls = found.build()
    assert kind_of(dls) is SERIES
    assert tuple(dls.one_batch()[0].shape[1:]) == (3, 64, 64)
    assert [len(loader.dataset) for loader in dls.loaders] == [48, 12]


def test_a_table_beside_names_them_by_number(tmp_path):
    folder = make(tmp_path / "it", 40, classes=False)
    found = planned(folder)
    assert "column '#id' names the files, column 'class' the class" in found.why
    dls = found.build()
    assert list(dls.vocab) == ["fast", "slow"]
    names: dict = {}
    exec(fastmagic.code(dls), names)
    assert list(names["dls"].valid_ds.items["#id"]) == list(dls.valid_ds.items["#id"])
    assert fastmagic.check(folder).headline().startswith("✓ 40 series")


def test_what_they_are_has_to_be_said_somewhere(tmp_path):
    folder = make(tmp_path / "it", 20, classes=False)
    (folder / "labels.csv").unlink()
    with pytest.raises(FastmagicError, match="nothing says what they are"):
        fastmagic.datablock(folder)
    for file in (folder / "series").iterdir():
        file.rename(file.with_name(f"{('slow', 'fast')[int(file.stem.split('_')[1]) % 2]}_{file.name}"))
    assert list(planned(folder, label="^(slow|fast)_").build().vocab) == ["fast", "slow"]


def test_series_of_other_channels_are_refused(tmp_path):
    folder = make(tmp_path / "it", 20)
    pd.read_csv(folder / "slow/gesture_1.csv")[["c0"]].to_csv(folder / "slow/gesture_1.csv", index=False)
    with pytest.raises(FastmagicError, match=r"have 1.* 3 columns"):
        fastmagic.datablock(folder)


def test_tables_beside_photos_and_sounds_are_no_series(tmp_path, shapes):
    import shutil

    shutil.copytree(shapes, tmp_path / "photos")
    (tmp_path / "photos/boxes").mkdir()
    for i in range(12):
        (tmp_path / f"photos/boxes/{i}.csv").write_text("x,y,w,h\n1,2,3,4\n")
    found = planned(tmp_path / "photos")
    assert found.kind is IMAGE
    assert "2 folders are the classes" in found.why
    assert "recordings" not in fastmagic.check(tmp_path / "photos").headline()
    assert "120 photos" in fastmagic.check(tmp_path / "photos").headline()
    few_files = make(tmp_path / "few", 6)
    assert planned_kind(few_files) is IMAGE


def planned_kind(folder):
    from fastmagic.data.source import resolve_source
    from fastmagic.kinds import kind_of_source

    return kind_of_source(resolve_source(folder), {})


def test_other_blocks_make_it_another_kind(gestures):
    from fastmagic.data.source import resolve_source
    from fastmagic.kinds import kind_of_source

    source = resolve_source(gestures)
    assert kind_of_source(source, {"blocks": "SeriesBlock('gramian'), CategoryBlock"}) is SERIES
    assert kind_of_source(source, {"blocks": "ImageBlock, CategoryBlock"}) is IMAGE


def test_a_table_at_the_top_is_no_class(tmp_path):
    folder = make(tmp_path / "it", 40)
    pd.DataFrame({"id": [1, 2], "note": ["x", "y"]}).to_csv(folder / "index.csv", index=False)
    dls = planned(folder).build()
    assert list(dls.vocab) == ["fast", "slow"]
    assert len(dls.train_ds) + len(dls.valid_ds) == 40


def test_a_table_among_the_series_names_them(tmp_path):
    folder = make(tmp_path / "it", 40, classes=False) / "series"
    (folder.parent / "labels.csv").rename(folder / "labels.csv")
    dls = planned(folder).build()
    assert list(dls.vocab) == ["fast", "slow"]
    assert fastmagic.check(folder).headline().startswith("✓ 40 series")


def test_series_may_be_called_train(tmp_path):
    for i in range(12):
        (tmp_path / "ab"[i % 2]).mkdir(exist_ok=True)
        wave(np.random.default_rng(i), "slow", 40).to_csv(tmp_path / "ab"[i % 2] / f"train_{i}.csv", index=False)
    assert len(planned(tmp_path).build().train_ds) == 10


def test_three_folders_of_few_each_are_series_too(tmp_path):
    for i in range(12):
        place = tmp_path / "abc"[i % 3]
        place.mkdir(exist_ok=True)
        wave(np.random.default_rng(i), "slow", 40).to_csv(place / f"{i}.csv", index=False)
    assert list(planned(tmp_path).build().vocab) == ["a", "b", "c"]


def test_channels_of_other_sizes_have_ranges_of_their_own_and_clocks_are_left_out(tmp_path):
    random = np.random.default_rng(0)
    for i in range(16):
        (tmp_path / "ab"[i % 2]).mkdir(exist_ok=True)
        frame = pd.DataFrame({
            "time": 1_700_000_000 + np.arange(40), "warmth": random.normal(20, 1, 40), "pressure": random.normal(101_300, 50, 40),
        })  # fmt: skip
        frame.to_csv(tmp_path / "ab"[i % 2] / f"{i}.csv", index=False)
    found = planned(tmp_path)
    assert "left out: time, counting the steps alone" in found.why
    assert "columns=['warmth', 'pressure']" in found.cell()
    assert "each in a range of its own" in found.why
    x = found.build().one_batch()[0]
    assert tuple(x.shape[1:3]) == (2, 48)
    # Both channels move over many rows of their planes.
    assert all((x[:, i].amax(-1) > 0).float().mean() > 0.5 for i in (0, 1))


def test_large_numbers_keep_their_digits(tmp_path):
    random = np.random.default_rng(0)
    for i in range(10):
        (tmp_path / "ab"[i % 2]).mkdir(exist_ok=True)
        frame = pd.DataFrame({"value": 1_700_000_000 + random.normal(0, 300, 40)})
        frame.to_csv(tmp_path / "ab"[i % 2] / f"{i}.csv", index=False)
    assert (planned(tmp_path).build().one_batch()[0][:, 0].amax(-1) > 0).float().mean() > 0.4


def test_a_first_row_of_equal_numbers_is_no_heading(tmp_path):
    (tmp_path / "bare.csv").write_text("0.0,0.0,0.5\n" + "0.1,0.2,0.3\n" * 9)
    assert Series.create(tmp_path / "bare.csv").values.shape == (3, 10)


def test_indoor_movement(shared_data):
    found = planned(shared_data / "indoor_movement")
    assert "4 channels are planes of a picture" in found.why
    assert "values -1 to 1" in found.why
    assert fastmagic.check(shared_data / "indoor_movement").ok


# ---------------------------------------------------------------- checks, learning and asking


def test_checks(tmp_path):
    folder = make(tmp_path / "it", 60)
    slow = sorted((folder / "slow").iterdir())
    dls = fastmagic.datablock(folder, num_workers=0)
    frame = pd.read_csv(slow[0])
    frame.loc[3:6, "c1"] = np.nan
    frame.to_csv(slow[0], index=False)
    pd.read_csv(slow[1]).assign(c2=7).to_csv(slow[1], index=False)
    pd.read_csv(slow[2]).head(3).to_csv(slow[2], index=False)
    pd.read_csv(slow[3])[["c0"]].to_csv(slow[3], index=False)
    slow[4].write_text("nothing")
    report = fastmagic.check(dls)
    assert report["gaps"].items == [slow[0]]
    assert report["gaps"].details[slow[0]].startswith("4 values of")
    assert report["constant-channel"].items == [slow[1]]
    assert report["short-series"].items == [slow[2]]
    assert report["other-channels"].items == [slow[3]]
    assert report["unreadable"].items == [slow[4]]


def test_it_learns_and_answers(learn, gestures):
    assert fastmagic.results(learn).correct.mean() >= 0.9
    assert "vision_learner(dls, resnet18, pretrained=False, metrics" in fastmagic.code(learn)
    assert "Normalize" not in fastmagic.code(learn)
    one = fastmagic.predict(gestures / "slow/gesture_1.csv", learn)
    assert one.label == "slow"
    assert one.image is not None
    array = pd.read_csv(gestures / "slow/gesture_1.csv").to_numpy().T
    assert fastmagic.predict(array, learn).label == "slow"
    assert len(fastmagic.predict(gestures, learn)) == 60
    assert fastmagic.results(learn).show(3).png[:4] == b"\x89PNG"


def test_fastai_shows_them(learn):
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    learn.dls.show_batch(max_n=4)
    learn.show_results(max_n=4)
    plt.close("all")


def test_the_magics(shell, gestures):
    shell.user_ns["gestures"] = gestures
    with capture_output() as out:
        shell.run("%%datablock dls --from gestures\nblocks = SeriesBlock('recurrence', size=32), CategoryBlock")
        shell.run("%train --epochs 3")
        shell.run("%results --worst 2")
        shell.run(f"%predict {gestures}/fast/gesture_2.csv --into one")
        shell.run("%check dls")
    assert "What a block draws is no photo" in out.stdout
    with capture_output() as out:
        shell.run(f"%predict {gestures}/fast/gesture_2.csv --code")
    names: dict = {}
    exec(out.stdout, names)
    assert names["label"] == shell.user_ns["one"].label
