"""The folders and tables of real people, as public reports tell of them: read right, or refused in a sentence."""

from __future__ import annotations

import os
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import fastmagic
from fastmagic.errors import AnswerError, FastmagicError, RefusedError

RANDOM = np.random.default_rng(0)


def image(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RANDOM.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(file)


def folder(root: Path, *places: str, n: int = 6) -> Path:
    """Make `n` images in each of some places."""
    for place in places:
        for i in range(n):
            image(root / place / f"{i}.png")
    return root


def labels_of(dls) -> list[str]:
    return sorted({dls.vocab[int(y)] for loader in (dls.train_ds, dls.valid_ds) for _, y in loader})


@pytest.mark.parametrize(
    ("places", "aside"),
    [
        (["train/bird", "train/cat", "test"], "test"),
        (["train/bird", "train/cat", "test_images"], "test_images"),
        (["train/bird", "train/cat", "Test Set"], "Test Set"),
        (["bird", "cat", "test"], "test"),
        (["bird", "cat", "unlabelled"], "unlabelled"),
        (["train/bird", "train/cat", "test/unknown"], "test"),
    ],
)
def test_images_that_nobody_labelled_are_no_class(tmp_path, capsys, places, aside):
    folder(tmp_path / "set", *places)
    dls = fastmagic.datablock(tmp_path / "set", bs=4)
    assert list(dls.vocab) == ["bird", "cat"]
    assert len(dls.train_ds) + len(dls.valid_ds) == 12
    report = fastmagic.check(tmp_path / "set")
    assert "6 images in" in report["unlabelled"].message
    assert aside in report["unlabelled"].message
    assert report.subject == "12 photos, 2 classes"
    namespace: dict = {}
    exec(fastmagic.code(dls), namespace)
    assert namespace["dls"].train_ds.items == dls.train_ds.items


def test_of_many_classes_the_one_folder_that_stays_out_is_named(tmp_path):
    folder(tmp_path / "set", *[f"class {i}" for i in range(30)], "test", n=2)
    dls = fastmagic.datablock(tmp_path / "set", bs=4)
    assert len(dls.vocab) == 30
    assert len(fastmagic.code(dls)) < 700
    namespace: dict = {}
    exec(fastmagic.code(dls), namespace)
    assert namespace["dls"].train_ds.items == dls.train_ds.items


def test_what_stays_out_is_said_where_it_is_worked_out(shell, tmp_path, capsys):
    folder(tmp_path / "set", "train/bird", "train/cat", "test")
    shell.run("%datablock dls --from set --show 0")
    assert "6 images in 'test' left out" in capsys.readouterr().out


def test_a_class_called_test_beside_one_other_is_a_class(tmp_path):
    dls = fastmagic.datablock(folder(tmp_path, "real", "test"), bs=4)
    assert list(dls.vocab) == ["real", "test"]


def test_test_folders_with_the_same_classes_are_a_side_of_the_split(tmp_path):
    dls = fastmagic.datablock(folder(tmp_path, "train/a", "train/b", "test/a", "test/b"), bs=4)
    assert {file.parent.parent.name for file in dls.valid_ds.items} == {"test"}


def test_sides_within_the_classes(tmp_path, export):
    dls = fastmagic.datablock(folder(tmp_path, *[f"{c}/{s}" for c in ("bird", "cat") for s in ("train", "test")]), bs=4)
    assert labels_of(dls) == ["bird", "cat"]
    assert {file.parent.name for file in dls.valid_ds.items} == {"test"}
    assert {file.parent.name for file in dls.train_ds.items} == {"train"}
    assert fastmagic.check(tmp_path).subject == "12 + 12 photos, 2 classes"
    learn = fastmagic.train(dls, "tiny", epochs=1, checks=False)
    export(learn, tmp_path / "export.pkl")  # no lambda among what is kept


def test_three_sides_within_the_classes_leave_the_test_out(tmp_path):
    places = [f"{c}/{s}" for c in ("bird", "cat") for s in ("train", "val", "test")]
    dls = fastmagic.datablock(folder(tmp_path, *places), bs=4)
    assert {file.parent.name for file in dls.valid_ds.items} == {"val"}
    assert {file.parent.name for file in dls.train_ds.items} == {"train"}


def test_folders_of_the_same_names_within_several_are_a_question(tmp_path):
    folder(tmp_path, *[f"{c}/{s}" for c in ("bird", "cat") for s in ("near", "far")])
    with pytest.raises(RefusedError, match="bird, cat, or far, near"):
        fastmagic.datablock(tmp_path)
    assert "Which folders are the classes" in fastmagic.check(tmp_path)["classes-unknown"].message
    from fastai.vision.all import RegexLabeller, parent_label

    upper = fastmagic.datablock(tmp_path, get_y=RegexLabeller(r"([^/]+)/[^/]+/[^/]+$"), bs=4)
    lower = fastmagic.datablock(tmp_path, get_y=parent_label, bs=4)
    assert (list(upper.vocab), list(lower.vocab)) == (["bird", "cat"], ["far", "near"])


def test_folders_of_names_of_their_own_within_others_are_the_classes(tmp_path):
    dls = fastmagic.datablock(folder(tmp_path, "dog/poodle", "dog/beagle", "cat/siamese"), bs=4)
    assert list(dls.vocab) == ["beagle", "poodle", "siamese"]


def test_capitals_and_testing_are_sides_and_a_photo_that_validation_shares_with_the_test_is_no_leak(tmp_path):
    root = folder(tmp_path, *[f"{s}/{c}" for s in ("Train", "Val", "testing") for c in "ab"])
    shutil.copy(root / "testing/a/0.png", root / "Val/a/copy.png")
    dls = fastmagic.datablock(root, bs=4)
    assert {file.parent.parent.name for file in dls.train_ds.items} == {"Train"}
    assert {file.parent.parent.name for file in dls.valid_ds.items} == {"Val"}
    message = fastmagic.check(root)["both-sides"].message
    assert message == "1 photo is on the validation side and in the test set."


def test_images_outside_of_the_sides_are_counted(shell, tmp_path, capsys):
    folder(tmp_path / "set", "train/a", "train/b", "valid/a", "valid/b", "more/c")
    shell.run("%datablock dls --from set --show 0")
    assert "6 images in other folders left out" in capsys.readouterr().out


def test_a_link_to_the_folder_itself_does_not_multiply_it(tmp_path):
    root = folder(tmp_path / "set", "a", "b", n=24)
    os.symlink("..", root / "a" / "loop")
    dls = fastmagic.datablock(root)
    assert len(dls.train_ds) + len(dls.valid_ds) == 48
    report = fastmagic.check(root)
    assert report.subject == "48 photos, 2 classes"
    assert "circular-link" in report
    assert "duplicate" not in report


def test_a_link_to_another_folder_is_followed(tmp_path):
    root = folder(tmp_path / "set", "a")
    os.symlink(folder(tmp_path / "elsewhere", "cats") / "cats", root / "b")
    assert fastmagic.check(root).subject == "12 photos, 2 classes"


def test_the_split_does_not_depend_on_the_order_of_the_disk(tmp_path, monkeypatch):
    """Another file system hands out names in another order; the same seed is to validate on the same photos."""
    root = folder(tmp_path, "bird", "cat", n=20)
    here = fastmagic.datablock(root, bs=4).valid_ds.items
    walk = os.walk

    def backwards(*args, **kwargs):
        for place, folders, files in walk(*args, **kwargs):
            folders.sort(reverse=True)
            yield place, folders, sorted(files, reverse=True)

    monkeypatch.setattr(os, "walk", backwards)
    assert [str(f) for f in fastmagic.datablock(root, bs=4).valid_ds.items] == [str(f) for f in here]


@pytest.mark.parametrize("get_items", ["get_image_files", "partial(get_image_files, folders=['bird', 'cat'])"])
def test_files_that_one_finds_oneself_are_sorted_too(tmp_path, monkeypatch, get_items):
    root = folder(tmp_path, "bird", "cat", n=20)
    splitter = "\nsplitter = RandomSplitter(0.2, seed=7)\nbs = 4"
    dls = fastmagic.datablock(root, body=f"find = {get_items}\nget_items = find{splitter}")
    here = [str(file) for file in dls.valid_ds.items]
    namespace: dict = {}
    exec(fastmagic.code(dls), namespace)
    assert [str(file) for file in namespace["dls"].valid_ds.items] == here
    scan = os.walk
    monkeypatch.setattr(
        os, "walk", lambda *a, **k: ((p, d.sort(reverse=True) or d, sorted(f)[::-1]) for p, d, f in scan(*a, **k))
    )
    again = fastmagic.datablock(root, body=f"get_items = {get_items}{splitter}")
    assert [str(file) for file in again.valid_ds.items] == here


def test_a_get_items_of_ones_own_keeps_its_order(tmp_path):
    root = folder(tmp_path, "bird", "cat")
    backwards = sorted(root.rglob("*.png"), reverse=True)
    dls = fastmagic.datablock(
        root, get_items=lambda path: backwards, splitter=lambda items: (range(8), range(8, 12)), bs=4
    )
    assert list(dls.train_ds.items) == backwards[:8]


@pytest.mark.parametrize(
    "names",
    [
        ("bird", "Bird", "cat"),
        ("bird", "bird ", "cat"),
        ("great white", "great_white", "cat"),
        (unicodedata.normalize("NFC", "café"), unicodedata.normalize("NFD", "café"), "bar"),
    ],
)
def test_classes_that_are_spelled_alike_are_pointed_out(tmp_path, names):
    report = fastmagic.check(folder(tmp_path, *names))
    assert sorted(report["alike-classes"].items) == sorted(names[:2])


def test_letters_of_two_cases_may_be_classes(tmp_path):
    assert "alike-classes" not in fastmagic.check(folder(tmp_path, "a", "A", "b"))


@pytest.mark.parametrize("names", [("none", "null", "NaN"), ("NA", "na", "None of these")])
def test_a_class_may_be_called_none(tmp_path, names):
    root = folder(tmp_path / "set", *names)
    assert list(fastmagic.datablock(root, bs=4).vocab) == sorted(names)
    assert "blank-class" not in fastmagic.check(root)
    rows = [(f"set/{name}/{i}.png", name) for name in names for i in range(6)]
    pd.DataFrame(rows, columns=["file", "label"]).to_csv(tmp_path / "labels.csv", index=False)
    dls = fastmagic.datablock(tmp_path / "labels.csv", bs=4)
    assert list(dls.vocab) == sorted(names)
    assert "blank-class" not in fastmagic.check(tmp_path / "labels.csv")
    namespace: dict = {}
    exec(fastmagic.code(dls), namespace)
    assert list(namespace["dls"].vocab) == sorted(names)


# ---------------------------------------------------------------- tables


def table(root: Path, **columns) -> pd.DataFrame:
    """Make a table of ten images with more columns."""
    folder(root, ".", n=10)
    return pd.DataFrame({"file": [str(root / f"{i}.png") for i in range(10)], **columns})


def test_rows_without_a_label_are_counted_and_the_lines_that_leave_them_out_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table(tmp_path, label=["a", None, "b", "none", "a", "b", None, "a", "b", "b"]).to_csv("labels.csv", index=False)
    with pytest.raises(RefusedError, match="2 of 10 rows have no 'label'") as caught:
        fastmagic.datablock("labels.csv")
    lines = caught.value.fix.splitlines()[1:]
    namespace = {"pd": pd}
    exec("\n".join(lines), namespace)
    dls = fastmagic.datablock(namespace["df"], bs=2)
    assert list(dls.vocab) == ["a", "b", "none"]
    assert len(dls.train_ds) + len(dls.valid_ds) == 8


def test_a_number_that_is_missing_would_make_every_loss_nan(tmp_path):
    from fastai.vision.all import ColReader, ImageBlock, RegressionBlock

    df = table(tmp_path, age=[1.5, None, 2.5, 3.5, 1.0, 2.0, 3.0, 1.2, 2.2, 3.2])
    with pytest.raises(RefusedError, match="1 of 10 rows have no 'age'"):
        fastmagic.datablock(df, target="age")
    answers = {"blocks": (ImageBlock, RegressionBlock), "get_x": ColReader("file"), "get_y": ColReader("age")}
    dls = fastmagic.datablock(df, bs=2, **answers)
    assert "1 item has no number to predict" in fastmagic.check(dls, fast=True)["no-target"].message
    with pytest.raises(RefusedError, match="every loss would be nan"):
        fastmagic.train(dls, "tiny", epochs=1)
    assert fastmagic.check(df.rename(columns={"age": "target"}))["no-target"].items == [Path(df["file"][1])]


@pytest.mark.parametrize(
    "valid", [["yes", "no"], ["True", "False"], [True, False], [1, 0], ["Y", "N"], ["valid", "train"], [True, None]]
)
def test_a_column_of_the_split_is_obeyed_with_ones_own_get_x(tmp_path, valid):
    from fastai.vision.all import ColReader

    df = table(tmp_path, label=list("abababbaba"), is_valid=[valid[i % 5 != 0] for i in range(10)])
    dls = fastmagic.datablock(df, get_x=ColReader("file"), bs=2)
    assert dls.valid_ds.items.index.tolist() == [0, 5]


@pytest.mark.parametrize(
    ("values", "said", "on"),
    [([0, 1, 2, 3, 4], "0, 1, 2, 3, 4", "on=0"), (["yes", "no"] * 2 + ["no"], "'yes', 'no'", "on='yes'"),
     ([True, None, False, False, None], "blank cells", "on=True")],
)  # fmt: skip
def test_col_splitter_that_would_validate_by_accident_is_refused(tmp_path, values, said, on):
    df = table(tmp_path, label=list("ab") * 5, fold=values * 2)
    with pytest.raises(AnswerError) as caught:
        fastmagic.datablock(df, body="get_x = ColReader('file')\nsplitter = ColSplitter('fold')")
    assert said in caught.value.cause
    assert on in caught.value.fix
    assert caught.value.line == 2


def test_col_splitter_of_zeros_and_ones_is_what_it_says(tmp_path):
    df = table(tmp_path, label=list("ab") * 5, fold=[0, 1, 0, 0, 0] * 2)
    dls = fastmagic.datablock(df, body="get_x = ColReader('file')\nsplitter = ColSplitter('fold')\nbs = 2")
    assert dls.valid_ds.items.index.tolist() == [1, 6]


def test_several_labels_in_a_column_are_several_labels(tmp_path):
    df = table(tmp_path, labels=["car person", "car", "person", "car dog", "dog"] * 2)
    dls = fastmagic.datablock(df, bs=2)
    assert list(dls.vocab) == ["car", "dog", "person"]


@pytest.mark.parametrize(
    ("get_y", "fix"),
    [("ColReader('labels')", "label_delim=' '"), ("ColReader(['car', 'dog'])", "encoded=True, vocab=['car', 'dog']")],
)
def test_letters_and_digits_are_no_labels(tmp_path, get_y, fix):
    df = table(tmp_path, labels=["car dog", "car", "dog", "car dog", "dog"] * 2)
    for name in ("car", "dog"):
        df[name] = df["labels"].str.contains(name).astype(int)
    body = f"blocks = ImageBlock, MultiCategoryBlock\nget_x = ColReader('file')\nget_y = {get_y}\nbs = 2"
    with pytest.raises(AnswerError) as caught:
        fastmagic.datablock(df, body=body)
    assert fix in caught.value.fix
    assert caught.value.line == 3
    answer = caught.value.fix.split("`")[1]
    name, _, value = answer.partition("=")
    rest = [line for line in body.splitlines() if not line.startswith(f"{name} ")]
    dls = fastmagic.datablock(df, body="\n".join([*rest, f"{name} = {value}"]))  # what is advised works
    assert list(dls.vocab) == ["car", "dog"]


def test_parent_label_gives_one_label_an_item(tmp_path):
    folder(tmp_path, "bird", "cat")
    with pytest.raises(AnswerError, match="its letters would be the classes"):
        fastmagic.datablock(
            tmp_path, body="blocks = ImageBlock, MultiCategoryBlock\nget_items = get_image_files\nget_y = parent_label"
        )


@pytest.mark.parametrize(
    ("source", "cause", "fix"),
    [
        ("https://example.com/photos.zip", "is an address", "untar_data"),
        ("photos.zip", "is an archive", "shutil.unpack_archive('photos.zip', 'photos')"),
        ("nowhere/at/all", "no folder or file", "In this folder there is set"),
        ("sett", "no folder or file", "Did you mean 'set'?"),
    ],
)
def test_what_is_no_source_has_a_next_step(tmp_path, monkeypatch, source, cause, fix):
    monkeypatch.chdir(tmp_path)
    folder(Path("set"), "a", "b")
    Path("photos.zip").write_bytes(b"PK")
    with pytest.raises(FastmagicError) as caught:
        fastmagic.datablock(source)
    assert cause in caught.value.cause
    assert fix in caught.value.fix


@pytest.mark.parametrize("block", ["CategoryBlock", "MultiCategoryBlock"])
def test_a_vocabulary_that_lacks_a_label(tmp_path, block):
    folder(tmp_path, "bird", "cat")
    get_y = "parent_label" if block == "CategoryBlock" else "lambda file: [file.parent.name]"
    answers = f"blocks = ImageBlock, {block}(vocab=['bird', 'dog'])\nget_y = {get_y}\nbs = 4"
    report = fastmagic.check(fastmagic.datablock(tmp_path, body=answers), fast=True)
    assert "6 items are labelled 'cat', which the vocabulary ('bird', 'dog') lacks" in report["not-in-vocab"].message
    assert report["unused-class"].items == ["dog"]
    with pytest.raises(RefusedError, match="the vocabulary"):
        fastmagic.train(fastmagic.datablock(tmp_path, body=answers), "tiny", epochs=1)
    whole = fastmagic.check(fastmagic.datablock(tmp_path, body=answers.replace("dog", "cat")), fast=True)
    assert "not-in-vocab" not in whole
    assert "unused-class" not in whole


def test_a_label_in_validation_only_is_named_whatever_get_y(tmp_path):
    folder(tmp_path, "bird", "cat")
    splitter = (
        "splitter = FuncSplitter(lambda file: file.parent.name == 'cat')\nget_y = lambda file: file.parent.name\nbs = 4"
    )
    report = fastmagic.check(fastmagic.datablock(tmp_path, body=splitter), fast=True)
    assert report["class-not-in-train"].items == ["cat"]
    assert "not-in-vocab" not in report


def test_a_get_y_that_gives_no_label(tmp_path):
    folder(tmp_path, "bird", "cat")
    get_y = "lambda file: None if file.stem in '34' else file.parent.name"
    with pytest.raises(AnswerError, match=r"line 1: get_y gives None for .*3.png: a label is missing in 4 of 12 items"):
        fastmagic.datablock(tmp_path, body=f"get_y = {get_y}")


def test_a_label_that_is_missing_among_several(tmp_path):
    folder(tmp_path, "bird", "cat")
    get_y = "lambda file: ['a', float('nan')] if file.stem in '34' else ['b']"
    dls = fastmagic.datablock(tmp_path, body=f"blocks = ImageBlock, MultiCategoryBlock\nget_y = {get_y}\nbs = 4")
    assert "4 items have no label but nan" in fastmagic.check(dls, fast=True)["blank-class"].message
    with pytest.raises(RefusedError, match="no label but nan"):
        fastmagic.train(dls, "tiny", epochs=1)
