"""What deserves a look and what is decided about it, for every kind of data, without a panel."""

from __future__ import annotations

import shutil
import threading
import wave
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageFilter

import fastmagic
from fastmagic.errors import FastmagicError
from fastmagic.learning.curation import Curation, curate


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def data(shapes, tmp_path) -> Path:
    shutil.copytree(shapes, tmp_path / "shapes")
    return tmp_path / "shapes"


@pytest.fixture
def faulty(data) -> Path:
    """The shapes with faults: a swapped label, copies of three sorts, a dark, a blurred, a tiny, a long, a torn one."""
    disc, square = data / "disc", data / "square"
    shutil.move(disc / "disc_000.png", square / "swapped.png")
    shutil.copy(disc / "disc_002.png", disc / "exact.png")
    big = Image.open(disc / "disc_004.png").resize((192, 192), Image.Resampling.NEAREST)
    big.save(disc / "big.png")
    big.save(disc / "again.jpg", quality=60)
    Image.open(square / "square_001.png").point(lambda v: v // 12).save(square / "dark.png")
    Image.open(square / "square_003.png").filter(ImageFilter.GaussianBlur(6)).save(square / "blurred.png")
    Image.open(square / "square_005.png").resize((8, 8)).save(square / "tiny.png")
    Image.open(square / "square_007.png").resize((400, 40)).save(square / "long.png")
    (square / "torn.png").write_bytes((square / "square_009.png").read_bytes()[:500])
    return data


def names(found: Curation, queue: str) -> list[str]:
    return [Path(found.name(int(i))).name for i in found.positions(queue)]


def test_a_folder_without_a_model_shows_what_is_wrong_with_it(faulty):
    found = curate(faulty)
    assert (found.kind, found.media, found.vocab, len(found)) == ("class", "picture", ["disc", "square"], 128)
    told = []
    found.look(lambda: told.append(dict(found.busy)))
    found.wait()
    assert told[-1] == {}
    copies = names(found, "same")
    assert {"exact.png", "disc_002.png", "big.png", "again.jpg"} <= set(copies)
    assert found.group(found.names.index("disc/exact.png")) == sorted(
        found.names.index(f"disc/{name}") for name in ("exact.png", "disc_002.png")
    )
    assert names(found, "dark") == ["dark.png"]
    assert "blurred.png" in names(found, "blurred")
    assert names(found, "tiny") == ["tiny.png"]
    assert names(found, "shape") == ["long.png"]
    assert names(found, "unreadable") == ["torn.png"]
    assert "out-of-fold" in found.queues["label"].about
    assert "loss" not in found.queues


def test_a_learner_brings_losses_and_its_validation_probabilities(data):
    shutil.move(data / "disc/disc_000.png", data / "square/swapped.png")
    dls = fastmagic.datablock(data, bs=16)
    learn = fastmagic.train(dls, "tiny", epochs=3, checks=False)
    found = curate(learn)
    assert set(found.found) == {"train", "valid"}
    assert found.source_dls is dls
    for split in ("train", "valid"):
        results = fastmagic.results(learn, split)
        for i, item in enumerate(results.items[:5]):
            position = found.listing.paths.index(item)
            assert found.losses[position] == pytest.approx(results.losses[i])
            assert found.prediction(position) == results.predictions[i]
            assert found.at(position) == (results, i)
    found.look(background=False)
    assert len(found.queues["loss"]) == len(data_files(data))
    assert found.losses[found.positions("loss")[0]] == np.nanmax(found.losses)
    assert found.queues["label"].about.startswith(
        "Confident learning (cleanlab) over the learner's probabilities of valid"
    )
    assert "own features" in found.queues["odd"].about
    found.look()
    found.wait()
    assert "training items by a linear probe" in found.queues["label"].about
    only = curate(learn, "valid")
    assert (set(only.found), len(only)) == ({"valid"}, len(found))


def data_files(folder: Path) -> list[Path]:
    return list(folder.rglob("*.png"))


def test_views_filter_and_sort(data):
    found = curate(data)
    discs = found.view(label="disc")
    assert {found.label(int(i)) for i in discs} == {"disc"}
    assert len(discs) == 60
    assert [found.name(int(i)) for i in found.view(text="DISC_00", sort="name")] == [
        f"disc/disc_{i:03}.png" for i in range(0, 10, 2)
    ]
    found.decide([3, 4], "aside")
    assert len(found.view(open=True)) == 118
    assert found.view("decided").tolist() == [3, 4]
    assert [found.label(int(i)) for i in found.view(sort="label")] == ["disc"] * 60 + ["square"] * 60
    assert len(found.view("no such queue")) == 0


def test_names_are_paths_in_the_data_folder_however_it_was_named(data, monkeypatch):
    monkeypatch.chdir(data.parent)
    for what in (data, "shapes", "./shapes/", Path("shapes")):
        assert curate(what).name(0) == "disc/disc_000.png"
    monkeypatch.chdir(data)
    found = curate(".")
    assert found.name(0) == "disc/disc_000.png"
    found.decide([0], "aside")
    assert set(curate(data).decided) == {0}


def test_decisions_are_checked_and_on_the_disk(data):
    found = curate(data)
    assert found.decide([0], "relabel", "square") == [0]
    assert found.decided[0].to == "square"
    assert found.decide([1], "relabel", found.label(1)) == [1]
    assert found.decided[1].action == "keep"  # the label it has
    assert set(curate(data).decided) == {0, 1}
    with pytest.raises(FastmagicError, match="cannot be the name of a class folder"):
        found.decide([0], "relabel", "../away")
    with pytest.raises(FastmagicError, match="Which label"):
        found.decide([0], "relabel", "")
    found.decide([0], "relabel", "ring")  # a class that is not there yet
    assert found.undo() == ("Taken back: 1 relabelled", [0])
    assert found.decided[0].to == "square"
    assert found.redo()[0] == "Done again: 1 relabelled"
    assert found.redo()[0] == "There is nothing to do again."
    assert found.counts() == {"relabel": 1, "keep": 1}


def test_of_copies_one_is_kept(faulty):
    found = curate(faulty)
    found.look()
    found.wait()
    exact, first = found.names.index("disc/exact.png"), found.names.index("disc/disc_002.png")
    assert set(found.keep_one(exact)) == {exact, first}
    assert (found.decided[exact].action, found.decided[first].action) == ("keep", "aside")
    found.keep_best()
    by_name = {Path(found.name(i)).name: d.action for i, d in found.decided.items()}
    assert {by_name["big.png"], by_name["again.jpg"]} == {"keep", "aside"}
    assert found.decided[exact].action == "keep"  # decided groups are left alone
    with pytest.raises(FastmagicError, match="no group"):
        found.keep_one(found.names.index("square/square_011.png"))


def test_copies_that_bear_different_labels_are_left_to_a_person(data):
    shutil.copy(data / "disc/disc_000.png", data / "square/same.png")
    found = curate(data)
    found.look()
    found.wait()
    queue = found.queues["same"]
    why = {found.name(int(i)): word for i, word in zip(queue.positions, queue.why, strict=True)}
    assert why["square/same.png"] == why["disc/disc_000.png"] == "exact copy, labels differ"
    found.keep_best()
    assert found.names.index("square/same.png") not in found.decided


def test_two_views_of_the_same_data_agree(data):
    one, other = curate(data), curate(data)
    heard = []
    other.journal.on_change = lambda: heard.append(other.sync())
    one.decide([5, 6], "aside")
    assert heard == [[5, 6]]
    assert set(other.decided) == {5, 6}
    other.undo()
    one.sync()
    assert one.decided == {}


def test_after_applying_the_items_are_where_they_went(data):
    found = curate(data)
    disc = found.names.index("disc/disc_000.png")
    square = found.names.index("square/square_001.png")
    found.decide([disc], "relabel", "square")
    found.decide([square], "aside")
    done = found.apply()
    assert len(done.moved) == 2
    assert (found.name(disc), found.label(disc)) == ("square/disc_000.png", "square")
    assert square not in found.positions("all")
    assert found.decided[disc].action == "keep"
    assert len(found.revert()) == 2
    assert (found.name(disc), found.label(disc)) == ("disc/disc_000.png", "disc")
    assert square in found.positions("all")
    assert found.decided[disc].to == "square"


def holds(dls) -> dict[str, str]:
    """Label by file name of all that can be read from `dls`; every file is opened."""
    found = {}
    for part in (dls.train_ds, dls.valid_ds):
        for i, file in enumerate(part.items):
            found[Path(file).name] = str(dls.vocab[int(part[i][1])])
    return found


def test_the_data_stay_usable_after_a_second_application_and_after_bringing_back(data):
    found = curate(fastmagic.datablock(data, bs=16))
    first = holds(found.source_dls)
    disc = [i for i in range(len(found)) if found.label(i) == "disc"]
    names = [Path(found.name(i)).name for i in disc[:3]]
    found.decide(disc[:1], "aside")
    found.decide(disc[1:2], "relabel", "ring")
    found.apply()
    found.decide(disc[2:3], "aside")
    found.apply()
    now = {name: label for name, label in first.items() if name not in (names[0], names[2])}
    assert holds(found.dls) == now | {names[1]: "ring"}
    found.revert()
    assert holds(found.dls) == now | {names[1]: "ring", names[2]: "disc"}
    found.revert()
    assert holds(found.dls) == first


def test_all_of_one_side_cannot_be_set_aside_and_nothing_moves(data):
    found = curate(fastmagic.datablock(data, bs=16))
    found.decide([i for i in range(len(found)) if found.listing.splits[i] == "valid"], "aside")
    with pytest.raises(FastmagicError, match="one side of the split"):
        found.apply()
    assert len(list(data.glob("*/*.png"))) == 120


def test_a_file_in_two_rows_has_one_decision_that_goes_for_both(data, tmp_path):
    rows = [(f"shapes/{file.parent.name}/{file.name}", file.parent.name) for file in sorted(data.rglob("*.png"))[:9]]
    table = tmp_path / "labels.csv"
    pd.DataFrame([*rows, rows[0]], columns=["file", "label"]).to_csv(table, index=False)
    found = curate(table)
    found.decide([0], "aside")
    assert set(found.decided) == {0, 9}
    found.decide([1], "relabel", "ring")
    found.apply()
    cleaned = curate(tmp_path / "labels_cleaned.csv")
    assert (len(cleaned), cleaned.label(0)) == (8, "ring")
    assert cleaned.cleaning.plan().steps == []  # what was carried out is not due again


def test_a_class_that_comes_up_while_labels_are_judged_does_no_harm(data):
    found = curate(data)
    found.probabilities = np.tile(np.float32([0.3, 0.7]), (len(found), 1))
    found.told = found.probabilities
    found.decide([0], "relabel", "ring")
    found.apply()
    assert found.vocab == ["disc", "square", "ring"]
    found._put(found._label_queue())
    assert len(found.positions("label"))


def test_deciding_and_counting_at_once_does_no_harm(data):
    found = curate(data)
    ended, trouble = threading.Event(), []

    def count():
        while not ended.is_set():
            try:
                found.counts()
            except RuntimeError as error:
                trouble.append(error)

    counting = threading.Thread(target=count)
    counting.start()
    for i in range(len(found)):
        found.decide([i], "keep")
    ended.set()
    counting.join()
    assert trouble == []
    assert found.counts()["keep"] == len(found)


@pytest.fixture
def several(data):
    from fastai.vision.all import ColReader, ColSplitter, DataBlock, ImageBlock, MultiCategoryBlock, Resize

    files = sorted(data.rglob("*.png"))
    frame = pd.DataFrame(
        [(str(f), f"{f.parent.name};{'even' if i % 2 else 'odd'}", i % 4 == 0) for i, f in enumerate(files)],
        columns=["file", "tags", "is_valid"],
    )
    return DataBlock(
        (ImageBlock, MultiCategoryBlock), get_x=ColReader("file"), get_y=ColReader("tags", label_delim=";"),
        splitter=ColSplitter(), item_tfms=Resize(32),
    ).dataloaders(frame, bs=16)  # fmt: skip


def test_several_labels_are_given_and_taken_one_by_one(several, data):
    found = curate(fastmagic.train(several, "tiny", epochs=1, checks=False))
    assert found.kind == "classes"
    before = found.label(0)
    other = "even" if "even" not in before else "odd"
    found.decide([0], "toggle", other)
    assert set(found.decided[0].to) == {*before, other}
    found.decide([0], "toggle", before[0])
    assert before[0] not in found.decided[0].to
    found.decide([0], "relabel", list(before))
    assert found.decided[0].action == "keep"
    found.look(background=False)
    assert len(found.view(label="even")) == 60
    assert found.queues["label"].name == "label"


def test_rows_of_a_table_are_seen_without_a_model_too(tmp_path):
    rows = pd.DataFrame({"age": [20, 20, 31, 31] * 5, "job": ["cook", "nurse"] * 10, "pay": ["low", "high"] * 10})
    rows.to_csv(tmp_path / "rows.csv", index=False)
    found = curate(fastmagic.datablock(tmp_path / "rows.csv", target="pay", bs=4))
    for i in range(len(found)):
        was = rows.loc[int(found.name(i).removeprefix("row "))]
        assert dict(found.row(i) or []) == {"age": f"{was.age}", "job": was.job}


def test_rows_of_a_table_are_decided_about(tmp_path, monkeypatch):
    from fastai.tabular.all import Categorify, CategoryBlock, Normalize, TabularDataLoaders, tabular_learner

    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"a": random.normal(size=200), "b": random.choice(["x", "y"], 200)})
    frame["out"] = np.where(frame.a > 0, "yes", "no")
    dls = TabularDataLoaders.from_df(
        frame, procs=[Categorify, Normalize], cat_names=["b"], cont_names=["a"], y_names="out", y_block=CategoryBlock(),
        valid_idx=list(range(40)), bs=16,
    )  # fmt: skip
    learn = tabular_learner(dls, layers=[8])
    with learn.no_bar(), learn.no_logging():
        learn.fit_one_cycle(2, 1e-2)
    found = curate(learn)
    assert (found.kind, found.media, found.vocab) == ("class", "row", ["no", "yes"])
    found.look()
    assert len(found.queues["loss"]) == 200
    other = "no" if found.label(3) == "yes" else "yes"
    found.decide([3], "relabel", other)
    found.decide([4], "aside")
    assert (tmp_path / ".fastmagic/decisions.jsonl").is_file()
    again = curate(learn)
    assert {i: d.action for i, d in again.decided.items()} == {3: "relabel", 4: "aside"}
    done = again.apply()
    assert done.plan.how == "map"
    assert len(done.dls.train_ds) + len(done.dls.valid_ds) == 199


def test_masks_can_be_set_aside_only(shared_data, tmp_path):
    from fastai.vision.all import SegmentationDataLoaders, unet_learner
    from torchvision.models import resnet18

    folder = tmp_path / "camvid"
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
        for file in sorted((shared_data / "camvid_small" / name).iterdir())[:12]:
            shutil.copy(file, folder / name)
    codes = (shared_data / "camvid_small/codes.txt").read_text().split()
    dls = SegmentationDataLoaders.from_label_func(
        folder,
        sorted((folder / "images").iterdir()),
        lambda f: folder / "labels" / f"{f.stem}_P.png",
        codes=codes,
        bs=2,
    )
    found = curate(unet_learner(dls, resnet18, pretrained=False))
    assert (found.kind, found.media) == ("pixels", "picture")
    found.look(background=False)
    assert len(found.queues["loss"]) == 12
    with pytest.raises(FastmagicError, match="cannot be changed here"):
        found.decide([0], "relabel", "Car")
    found.decide([0], "aside")
    done = found.apply()
    assert done.plan.how == "move"
    assert len(list((folder / "images").glob("*.jpg"))) == 11
    assert len(done.dls.train_ds) + len(done.dls.valid_ds) == 11
    done.dls.one_batch()


def test_a_folder_of_sounds(tmp_path):
    for i in range(6):
        file = tmp_path / "sounds" / ("one", "two")[i % 2] / f"{i}.wav"
        file.parent.mkdir(parents=True, exist_ok=True)
        with wave.open(str(file), "wb") as sound:
            sound.setnchannels(1), sound.setsampwidth(2), sound.setframerate(8000)
            sound.writeframes((np.sin(np.arange(800) * (i + 1) / 9) * 9000).astype("<i2").tobytes())
    found = curate(tmp_path / "sounds")
    assert (found.kind, found.media, found.vocab, len(found)) == ("class", "sound", ["one", "two"], 6)
    found.look()
    found.decide([0], "relabel", "two")
    found.apply()
    assert len(list((tmp_path / "sounds/two").iterdir())) == 4


def test_what_cannot_be_cleaned_says_so(tmp_path):
    with pytest.raises(FastmagicError, match="There is no folder or CSV file"):
        curate(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FastmagicError, match="holds no pictures"):
        curate(tmp_path / "empty")
    with pytest.raises(FastmagicError, match="cannot be"):
        curate(42)
