"""One reader of sources: what `%check` says of a folder or table is what `%datablock` makes of it, and what it prints runs."""

import shutil
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

import fastmagic
from fastmagic.data.datablock import plan
from fastmagic.data.items import item_source
from fastmagic.data.listing import list_dls, read_source
from fastmagic.errors import FastmagicError


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def images(folder: Path, *names: str) -> Path:
    for i, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), (i * 9 % 255, 80, 120)).save(folder / name)
    return folder


def rows(n: int, **columns: object) -> pd.DataFrame:
    """A table of `n` images `pics/0.jpg` …, with further columns."""
    images(Path(), *[f"pics/{i}.jpg" for i in range(n)])
    return pd.DataFrame({"file": [f"{i}.jpg" for i in range(n)], **columns})


def read(listing) -> dict[str, tuple]:
    """Return label and side of each file by its name; without a split, or outside of it, the side is "other"."""
    labels = listing.labels or [None] * len(listing)
    splits = listing.splits or ["other"] * len(listing)
    return {path.name: (label, side) for path, label, side in zip(listing.paths, labels, splits, strict=True)}


def both(source) -> tuple[dict, dict]:
    """Return what `%check` and `%datablock` read of a source, of the items that are trained and validated on."""
    checked, built = read(read_source(source)), read(list_dls(fastmagic.datablock(source)))
    if any(side != "other" for _, side in checked.values()):
        checked = {name: one for name, one in checked.items() if one[1] in ("train", "valid")}
    else:
        built = {name: (label, "other") for name, (label, _) in built.items()}
    return checked, built


def sides(read_: dict) -> Counter:
    return Counter(side for _, side in read_.values())


# ---------------------------------------------------------------- the split


@pytest.mark.parametrize(
    ("name", "train", "valid"),
    [
        ("split", "train", "valid"),
        ("split", "Training", "Testing"),
        ("Set", "TRAIN", "val"),
        ("is_valid", False, True),
        ("is_valid", "False", "True"),
        ("is valid", 0, 1),
        ("is_valid", 0.0, 1.0),
        ("is_valid", None, True),
    ],
)
def test_a_split_column_means_the_same_to_every_reader(here, name, train, valid):
    frame = rows(20, label=list("ab") * 10, **{name: [train] * 14 + [valid] * 6})
    checked, built = both(frame)
    assert checked == built
    assert sides(built) == {"train": 14, "valid": 6}


@pytest.mark.parametrize("through_a_file", [False, True])
def test_rows_of_a_test_set_stay_out_where_there_is_a_validation_set(here, through_a_file):
    source = rows(20, label=list("ab") * 10, split=["train"] * 12 + ["valid"] * 4 + ["test"] * 4)
    if through_a_file:
        source.to_csv("labels.csv", index=False)
        source = "labels.csv"
    checked, built = both(source)
    assert checked == built
    assert sides(built) == {"train": 12, "valid": 4}
    planned = plan(source)
    assert "4 rows of 'test' stay out" in planned.why
    names = {"df": source} if not through_a_file else {}
    exec(planned.code_for("dls"), names)
    assert read(list_dls(names["dls"])) == built


@pytest.mark.parametrize("values", [["red", "green"], ["train", "red"], ["train", "train"]])
def test_a_column_that_is_called_a_split_but_says_something_else_is_none(here, values):
    frame = rows(20, label=list("ab") * 10, set=values * 10)
    assert read_source(frame).splits is None
    assert sides(read(list_dls(fastmagic.datablock(frame)))) == {"train": 16, "valid": 4}


@pytest.mark.parametrize(("train", "valid"), [("train", "valid"), ("Train", "Valid"), ("training", "testing")])
def test_folders_of_a_split_mean_the_same_to_every_reader(here, train, valid):
    names = [
        f"{side}/{label}/{side}{label}{i}.png"
        for side, n in ((train, 6), (valid, 3))
        for label in "ab"
        for i in range(n)
    ]
    checked, built = both(images(here / "data", *names))
    assert checked == built
    assert sides(built) == {"train": 12, "valid": 6}


def test_folders_of_a_split_one_level_down_and_a_test_set_that_stays_out(here):
    names = [
        f"all/{side}/{label}/{side}{label}{i}.png"
        for side in ("train", "val", "test")
        for label in "ab"
        for i in range(4)
    ]
    checked, built = both(images(here / "data", *names))
    assert checked == built
    assert sides(built) == {"train": 8, "valid": 8}
    images(here / "data", "all/train/loose.png")
    assert fastmagic.check("data", fast=True)["stray"].items == [Path("data/all/train/loose.png")]


def test_a_split_without_class_folders_is_no_pair_of_classes(here):
    images(here / "data", *[f"{side}/{side}{i}.png" for side in ("train", "valid") for i in range(8)])
    with pytest.raises(FastmagicError, match="folders 'train', 'valid' themselves"):
        fastmagic.datablock("data")
    listing = read_source("data")
    assert listing.labels is None
    assert Counter(listing.splits) == {"train": 8, "valid": 8}


def test_classes_called_like_a_split_among_others_are_classes(here):
    images(here / "data", *[f"{label}/{label}{i}.png" for label in ("train", "car", "plane") for i in range(8)])
    checked, built = both("data")
    assert checked == built
    assert {label for label, _ in built.values()} == {"train", "car", "plane"}


# ---------------------------------------------------------------- labels


@pytest.mark.parametrize(
    ("name", "values", "labels"),
    [
        ("labels", ["sun sea", "sun", "sea"], {("sun", "sea"), ("sun",), ("sea",)}),
        ("labels", ["great white", "hammerhead"], {"great white", "hammerhead"}),
        ("label", ["sun sea", "sun", "sea"], {"sun sea", "sun", "sea"}),
        ("label", ["sun, clouds", "rain"], {"sun, clouds", "rain"}),
        ("label", ["sun;sea", "sun"], {("sun", "sea"), ("sun",)}),
        ("Finding Labels", ["Mass|Hernia", "Mass"], {("Mass", "Hernia"), ("Mass",)}),
        ("classes", ["a, b", "b"], {("a", "b"), ("b",)}),
        ("tags", ["one day", "two nights"], {("one", "day"), ("two", "nights")}),
    ],
)
def test_one_or_several_labels_by_one_rule(here, name, values, labels):
    frame = rows(24, **{name: [values[i % len(values)] for i in range(24)]})
    checked, built = both(frame)
    assert checked == built
    assert {label for label, _ in built.values()} == labels
    if any(isinstance(label, tuple) for label in labels):
        assert "split at" in str(fastmagic.check(frame, fast=True))
        assert "separated by" in plan(frame).why


def test_who_asks_for_one_category_gets_the_whole_text(here):
    from fastai.vision.all import CategoryBlock, ImageBlock

    frame = rows(12, labels=["sun sea", "sun", "sea"] * 4)
    assert set(fastmagic.datablock(frame, blocks=(ImageBlock, CategoryBlock)).vocab) == {"sun sea", "sun", "sea"}


def test_numbers_are_learned_as_numbers(here):
    frame = rows(12, target=[i / 7 for i in range(12)])
    dls = fastmagic.datablock(frame)
    assert dls.one_batch()[1].dtype.is_floating_point
    assert dls.c == 1
    assert read_source(frame).labels is None


def test_a_label_column_that_no_name_tells_is_asked_for_and_not_guessed(here):
    frame = rows(12, photographer=list("xyz") * 4, kind=list("ab") * 6)
    with pytest.raises(FastmagicError, match="Which column holds the label"):
        fastmagic.datablock(frame)
    report = fastmagic.check(frame, fast=True)
    assert report.kinds == ["no-label-column"]
    assert "photographer, kind" in str(report)


# ---------------------------------------------------------------- files


def test_ids_without_suffix_and_names_with_blanks_work_everywhere(here):
    images(here, *[f"scans/p{i}.png" for i in range(12)])
    frame = pd.DataFrame({"Finding Labels": ["Mass|Hernia", "Mass"] * 6, "Image Index": [f"p{i}" for i in range(12)]})
    frame.to_csv("Data Entry.csv", index=False)
    for source in (frame, "Data Entry.csv", "."):
        checked, built = both(source)
        assert checked == built
        assert len(built) == 12
    assert fastmagic.check(frame)["missing-file"] is None
    dls = fastmagic.datablock(frame)
    assert item_source(dls.train_ds, dls.train_ds.items.iloc[0]).is_file()


def test_a_table_of_labels_beside_images_is_read_by_check_too(here):
    rows(12, label=list("ab") * 6).to_csv("labels.csv", index=False)
    checked, built = both(here)
    assert checked == built
    assert str(fastmagic.check(here, fast=True)).startswith("✓ 12 photos, 2 classes")


def test_what_a_model_said_of_images_is_no_table_of_their_labels(here):
    images(here / "data", *[f"{label}/{label}{i}.png" for label in "ab" for i in range(8)])
    files = sorted(str(file.relative_to("data")) for file in Path("data").rglob("*.png"))
    pd.DataFrame({"item": files, "label": "b", "probability": 0.9, "p(a)": 0.1, "p(b)": 0.9}).to_csv("data/preds.csv")
    checked, built = both("data")
    assert checked == built
    assert {label for label, _ in built.values()} == {"a", "b"}


def test_a_dataframes_own_index_is_kept(here):
    frame = rows(12, label=list("ab") * 6, split=["train", "train", "valid"] * 4)
    frame.index = [f"row {i}" for i in range(12)]
    frame = frame.sample(frac=1, random_state=1)
    assert read_source(frame).names == list(frame.index)
    dls = fastmagic.datablock(frame)
    assert list(dls.train_ds.items.index) == list(frame.index[frame.split == "train"])
    assert list_dls(dls).names == [*dls.train_ds.items.index, *dls.valid_ds.items.index]


@pytest.mark.parametrize("mark", [";", "\t"])
def test_a_table_of_a_european_spreadsheet_is_read(here, mark):
    rows(12, label=list("ab") * 6).to_csv("labels.csv", index=False, sep=mark)
    checked, built = both("labels.csv")
    assert checked == built
    assert len(built) == 12
    names: dict = {}
    exec(plan("labels.csv").code_for("dls"), names)
    assert read(list_dls(names["dls"])).keys() == built.keys()


def test_what_is_no_table_is_refused_alike(here):
    Path("labels.csv").write_bytes(b"\xff\xfe\x00\x01,\xff")
    for reader in (fastmagic.check, fastmagic.datablock):
        with pytest.raises(FastmagicError, match="cannot be read as a table"):
            reader("labels.csv")


def test_images_with_masks_are_no_classifier(shared_data):
    from fastai.vision.all import CategoryBlock, ImageBlock

    with pytest.raises(FastmagicError, match="masks of them, which are no classes") as error:
        fastmagic.datablock(shared_data / "camvid_small", blocks=(ImageBlock, CategoryBlock))
    assert len(error.value.cause.split(". ")) == 1
    listing = read_source(shared_data / "camvid_small")
    assert listing.labels is None
    assert len(listing) == 210


# ---------------------------------------------------------------- undo, digits


@pytest.fixture
def bad(here):
    """A split folder with a broken image on each side."""
    names = [f"{side}/{label}/{i}.png" for side in ("train", "valid") for label in "ab" for i in range(8)]
    folder = images(here / "photos", *names)
    for side in ("train", "valid"):
        (folder / side / "a/0.png").write_text("no image")
    return folder


def test_what_was_set_aside_is_found_from_below_and_whatever_the_place_is_called(bad, here):
    before = sorted(bad.rglob("*.png"))
    for source in ("photos/train", here / "photos" / "valid" / ".." / "train"):
        assert len(fastmagic.check("photos", fix=True).moved) >= 2
        assert sorted(bad.rglob("*.png")) != before
        dls = fastmagic.datablock(source)
        fastmagic.check(dls, undo=True)
        assert sorted(path for path in bad.rglob("*.png") if ".fastmagic" not in path.parts) == before


def test_what_was_set_aside_below_is_found_from_above(bad):
    before = sorted(bad.rglob("*.png"))
    fastmagic.check("photos/train", fix=True)
    fastmagic.check("photos", undo=True)
    assert sorted(path for path in bad.rglob("*.png") if ".fastmagic" not in path.parts) == before


def test_what_somebody_set_aside_in_a_folder_above_is_not_brought_back(bad, here):
    shutil.copytree(bad, here / "other")
    fastmagic.check(here, fix=True)
    (here / "new" / "a").mkdir(parents=True)
    images(here / "new", "a/1.png", "b/1.png")
    with pytest.raises(FastmagicError, match="nothing to undo"):
        fastmagic.check("new", undo=True)


def test_single_files_come_back(bad):
    fastmagic.check("photos", fix=True)
    report = fastmagic.check("photos", undo=["train/a/0.png"])
    assert report["restored"].items == [Path("photos/train/a/0.png")]
    assert (bad / "train/a/0.png").exists()
    assert not (bad / "valid/a/0.png").exists()
    with pytest.raises(FastmagicError, match="not in the quarantine"):
        fastmagic.check("photos", undo=["train/a/0.png"])
    with pytest.raises(FastmagicError, match=r"Did you mean 'valid/a/0\.png'"):
        fastmagic.check("photos", undo=[bad / "valid/a/00.png"])
    fastmagic.check("photos", undo=True)
    assert (bad / "valid/a/0.png").exists()


def test_an_empty_folder_is_filled_with_digits_and_another_is_refused(here):
    Path("empty").mkdir()
    assert len(list(fastmagic.digits("empty").rglob("*.png"))) == 1797
    images(here / "mine", "a/1.png")
    with pytest.raises(FastmagicError, match="holds something else"):
        fastmagic.digits("mine")


def test_the_summary_of_a_data_block_lists_its_items_once(shell, here, monkeypatch):
    from fastmagic.data import listing

    made, labels = [], listing._labels
    monkeypatch.setattr(listing, "_labels", lambda dls, dataset: (made.append(1), labels(dls, dataset))[1])
    images(here / "photos", *[f"{label}/{i}.png" for label in "ab" for i in range(8)])
    shell.run("%datablock dls --from photos --show 0")
    assert len(made) == 2  # once for each side of the split
