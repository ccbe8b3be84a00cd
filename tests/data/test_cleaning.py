"""Carrying out decisions: files move and come back, tables are corrected, new DataLoaders read old files differently."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import fastmagic
from fastmagic.data.cleaning import Cleaning, cleaned
from fastmagic.data.decisions import Journal, Made
from fastmagic.data.listing import list_dls, read_source
from fastmagic.errors import FastmagicError


def picture(file: Path, seed: int) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (24, 24, 3)).astype("uint8")
    Image.fromarray(pixels).save(file)
    return file


@pytest.fixture
def owls(tmp_path) -> Path:
    """Ten owls and ten tits of random pixels."""
    for i in range(20):
        picture(tmp_path / "set" / ("owl", "tit")[i % 2] / f"{i:02}.png", i)
    return tmp_path / "set"


def cleaning(source, dls=None, to=None) -> Cleaning:
    listing = read_source(source if dls is None else dls)
    return Cleaning(listing, list(listing.paths), Journal(listing.root), dls, to)


def decide(clean: Cleaning, **decisions: str) -> None:
    """Relabels (`_03="tit"`) or sets aside (`_03="aside"`) files by number."""
    made = []
    for name, to in decisions.items():
        i = next(i for i, path in enumerate(clean.listing.paths) if path.stem == name[1:])
        action = "aside" if to == "aside" else "relabel"
        made.append(Made(clean.listing.paths[i], action, clean.listing.labels[i], None if to == "aside" else to))
    clean.journal.note(made)


def files(folder: Path) -> set[str]:
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*.png")}


def pixels(folder: Path) -> Counter:
    """What all pictures hold, quarantine and all: the same before and after, or something was lost or doubled."""
    return Counter(file.read_bytes() for file in folder.rglob("*.png"))


# ---------------------------------------------------------------- moving


def test_a_plan_says_what_will_happen_and_touches_nothing(owls):
    before, clean = files(owls), cleaning(owls)
    assert clean.plan().sentences(owls) == ["There is nothing to do: no item is relabelled or set aside."]
    decide(clean, _00="tit", _02="lynx", _04="aside")
    plan = clean.plan()
    assert plan.how == "move"
    assert plan.sentences(owls) == [
        "2 files go into the folder of another class.",
        "1 file goes to quarantine: set/.fastmagic/quarantine.",
        "Nothing is deleted or overwritten; it can all be brought back.",
    ]
    assert files(owls) == before


def test_files_move_and_come_back_and_none_is_lost(owls):
    picture(owls / "tit/00.png", 99)  # in the way of the owl of the same name
    before, whole, clean = files(owls), pixels(owls), cleaning(owls)
    owl, tit = clean.listing.paths.index(owls / "owl/00.png"), owls / "tit/00.png"
    clean.journal.note([Made(clean.listing.paths[owl], "relabel", "owl", "tit")])
    decide(clean, _02="lynx", _04="aside")
    done = clean.apply()
    assert str(done) == "2 files went into the folder of another class. 1 file went to quarantine."
    assert files(owls) == before - {"owl/00.png", "owl/02.png", "owl/04.png"} | {
        "tit/00 (2).png", "lynx/02.png", ".fastmagic/quarantine/owl/04.png",
    }  # fmt: skip
    assert pixels(owls) == whole
    assert tit.read_bytes() in whole
    assert clean.reverts == 3
    # What was relabelled by a person is not asked about again.
    assert {file.name: d.action for file, d in Journal(owls).current().items()} == {
        "00 (2).png": "keep",
        "02.png": "keep",
    }
    assert len(clean.revert()) == 3
    assert (files(owls), pixels(owls)) == (before, whole)
    assert Counter(d.action for d in clean.journal.current().values()) == {"relabel": 2, "aside": 1}
    with pytest.raises(FastmagicError, match="Nothing was moved"):
        clean.revert()


def test_what_was_carried_out_goes_to_an_uncleaned_copy_as_it_was_decided(owls, tmp_path):
    shutil.copytree(owls, tmp_path / "copy")
    clean = cleaning(owls)
    decide(clean, _00="tit", _02="aside", _03="owl")
    clean.journal.note([Made(owls / "owl/04.png", "keep", "owl")])
    clean.apply()
    clean.journal.export(tmp_path / "d.csv")
    there = Journal(tmp_path / "copy")
    assert there.replay(tmp_path / "d.csv").missing == []
    now = {file.relative_to(tmp_path / "copy").as_posix(): (d.action, d.to) for file, d in there.current().items()}
    assert now == {
        "owl/00.png": ("relabel", "tit"),
        "owl/02.png": ("aside", None),
        "tit/03.png": ("relabel", "owl"),
        "owl/04.png": ("keep", None),
    }


def test_names_stand_in_the_journals_as_they_are_written(owls):
    picture(owls / "Käuzchen/1.png", 77)
    clean = cleaning(owls)
    decide(clean, _1="owl")
    clean.apply()
    assert "Käuzchen/1.png" in clean.journal.file.read_text("utf8")
    assert "Käuzchen/1.png" in (owls / ".fastmagic/quarantine/journal.jsonl").read_text("utf8")
    clean.revert()
    assert (owls / "Käuzchen/1.png").is_file()


def test_a_second_application_does_only_what_is_new(owls):
    clean = cleaning(owls)
    decide(clean, _00="tit")
    clean.apply()
    assert cleaning(owls).plan().steps == []
    again = cleaning(owls)
    decide(again, _02="aside")
    assert len(again.apply().moved) == 1


def test_links_and_what_lies_outside_stay_and_are_named(owls, tmp_path):
    (owls / "owl/link.png").symlink_to(picture(tmp_path / "elsewhere.png", 77))
    clean = cleaning(owls)
    clean.journal.note([Made(owls / "owl/link.png", "aside", "owl")])
    done = clean.apply()
    assert "1 file stayed (links, or outside the folder): link.png." in str(done)
    assert (owls / "owl/link.png").is_symlink()


def test_the_program_does_what_apply_does(owls, tmp_path):
    clean = cleaning(owls)
    decide(clean, _00="tit", _02="lynx", _04="aside")
    program = clean.code()
    copy = tmp_path / "copy"
    shutil.copytree(owls, copy)
    subprocess.run([sys.executable, "-c", program.replace(str(owls), str(copy))], check=True)
    clean.apply()
    assert files(copy) == files(owls)


# ---------------------------------------------------------------- fresh DataLoaders


def labels(dls) -> list[str]:
    """The labels as the model gets them: by decoding, not by looking at folders."""
    return [str(ds.vocab[int(ds[i][1])]) for ds in (dls.train_ds, dls.valid_ds) for i in range(len(ds))]


def test_fresh_loaders_keep_the_split_and_have_the_new_labels(owls):
    dls = fastmagic.datablock(owls, bs=4)
    before = {path.name: split for path, split in zip(list_dls(dls).paths, list_dls(dls).splits, strict=True)}
    clean = cleaning(owls, dls)
    decide(clean, _00="tit", _02="lynx", _04="aside", _06="aside")
    fresh = clean.apply().dls
    listing = list_dls(fresh)
    assert {path.name: split for path, split in zip(listing.paths, listing.splits, strict=True)} == {
        name: split for name, split in before.items() if name not in ("04.png", "06.png")
    }
    assert list(fresh.vocab) == ["owl", "tit", "lynx"]
    assert labels(fresh) == [path.parent.name for path in listing.paths]
    assert list(dls.vocab) == ["owl", "tit"]
    x, y = fresh.one_batch()
    assert (len(x), len(y)) == (4, 4)


def test_a_class_that_nobody_is_left_in_is_gone_from_the_vocab(owls):
    dls = fastmagic.datablock(owls, bs=4)
    clean = cleaning(owls, dls)
    decide(clean, **{f"_{i:02}": "tit" for i in range(0, 20, 2)})
    fresh = clean.apply().dls
    assert list(fresh.vocab) == ["tit"]
    assert set(labels(fresh)) == {"tit"}


def test_everything_of_one_side_set_aside_is_an_error_that_says_so(owls):
    dls = fastmagic.datablock(owls, bs=4)
    with pytest.raises(FastmagicError, match="Everything of one side"):
        cleaned(dls, set(range(len(dls.train_ds))), {}, {})


@pytest.fixture
def read_only(owls, tmp_path, monkeypatch) -> Path:
    """The folder as on Kaggle: it can be read only. Root may write anywhere, so the question is answered for it."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "mine"))
    really = os.access
    monkeypatch.setattr(os, "access", lambda p, mode: not Path(p).is_relative_to(owls) and really(p, mode))
    return owls


def test_read_only_data_are_left_alone_and_read_differently(read_only):
    before, dls = files(read_only), fastmagic.datablock(read_only, bs=4)
    clean = cleaning(read_only, dls)
    decide(clean, _00="tit", _02="lynx", _04="aside")
    plan = clean.plan()
    assert (plan.how, plan.why) == ("map", "The data's folder cannot be written to.")
    done = clean.apply()
    assert str(done) == "2 relabelled and 1 left out in the new DataLoaders."
    assert files(read_only) == before
    assert not (read_only / ".fastmagic").exists()
    listing = list_dls(done.dls)
    by_name = {path.stem: label for path, label in zip(listing.paths, labels(done.dls), strict=True)}
    assert (by_name["00"], by_name["02"], by_name["08"], "04" in by_name) == ("tit", "lynx", "owl", False)
    assert {path.stem: label for path, label in zip(listing.paths, listing.labels, strict=True)} == by_name
    # Cleaned again, the earlier changes stay.
    again = Cleaning(listing, list(listing.paths), clean.journal, done.dls)
    decide(again, _08="tit")
    twice = again.apply().dls
    assert {p.stem: x for p, x in zip(list_dls(twice).paths, labels(twice), strict=True)} == by_name | {"08": "tit"}


def test_a_folder_that_may_only_be_read_gives_loaders_too(read_only):
    clean = cleaning(read_only)
    decide(clean, _00="tit", _04="aside")
    fresh = clean.apply().dls
    assert {p.stem: x for p, x in zip(list_dls(fresh).paths, labels(fresh), strict=True)} == {
        f"{i:02}": "tit" if i % 2 or i == 0 else "owl" for i in range(20) if i != 4
    }


def test_a_learner_of_cleaned_data_can_be_exported_and_loaded(read_only, tmp_path):
    from fastai.vision.all import load_learner, vision_learner

    dls = fastmagic.datablock(read_only, bs=4)
    clean = cleaning(read_only, dls)
    decide(clean, _00="tit")
    learn = vision_learner(clean.apply().dls, fastmagic.tiny, pretrained=False)
    try:
        learn.export(tmp_path / "x.pkl")
    except TypeError as error:  # fastai 2.8.7 with the newest plum-dispatch cannot
        pytest.skip(str(error))
    assert load_learner(tmp_path / "x.pkl").predict(read_only / "owl/08.png")[0] in ("owl", "tit")


def test_the_program_for_read_only_data_gives_the_same_labels(read_only):
    dls = fastmagic.datablock(read_only, bs=4)
    clean = cleaning(read_only, dls)
    decide(clean, _00="tit", _04="aside")
    names: dict = {}
    exec(clean.code(), names)
    found = {f.stem: names["clean_label"](f) for f in names["get_clean_files"](read_only)}
    listing = list_dls(clean.apply().dls)
    assert found == {path.stem: label for path, label in zip(listing.paths, listing.labels, strict=True)}


# ---------------------------------------------------------------- tables


@pytest.fixture
def table(owls) -> Path:
    rows = [(file.relative_to(owls).as_posix(), file.parent.name) for file in sorted(owls.rglob("*.png"))]
    pd.DataFrame(rows, columns=["file", "label"]).to_csv(owls / "labels.csv", index=False)
    return owls / "labels.csv"


def test_a_table_is_corrected_in_a_new_file(table, owls):
    before, text = files(owls), table.read_text()
    clean = cleaning(table)
    decide(clean, _00="tit", _04="aside")
    done = clean.apply()
    assert done.plan.file == owls / "labels_cleaned.csv"
    corrected = pd.read_csv(done.plan.file).set_index("file").label
    assert (corrected["owl/00.png"], len(corrected), "owl/04.png" in corrected) == ("tit", 19, False)
    assert (files(owls), table.read_text()) == (before, text)
    assert cleaning(table).plan().file == owls / "labels_cleaned_2.csv"  # nothing is overwritten
    names: dict = {}
    exec(clean.code().replace("labels_cleaned_2", "by_program"), names)
    assert (owls / "by_program.csv").read_text() == done.plan.file.read_text()


def test_loaders_of_a_table_are_made_anew(table, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dls = fastmagic.datablock(table, bs=4)
    clean = cleaning(None, dls, to=tmp_path / "out" / "mine.csv")
    decide(clean, _00="tit", _02="lynx", _04="aside")
    fresh = clean.apply().dls
    assert len(pd.read_csv(tmp_path / "out" / "mine.csv")) == 19
    listing = list_dls(fresh)
    assert labels(fresh) == listing.labels
    assert Counter(listing.labels) == {"owl": 7, "tit": 11, "lynx": 1}
    fresh.one_batch()


def test_several_labels_are_joined_as_they_were(owls, tmp_path, monkeypatch):
    from fastai.vision.all import ColReader, ColSplitter, DataBlock, ImageBlock, MultiCategoryBlock, Resize

    monkeypatch.chdir(tmp_path)
    rows = [(str(f), "owl;night" if i % 2 else "tit", i % 5 == 0) for i, f in enumerate(sorted(owls.rglob("*.png")))]
    frame = pd.DataFrame(rows, columns=["file", "tags", "is_valid"])
    block = DataBlock(
        (ImageBlock, MultiCategoryBlock), get_x=ColReader("file"), get_y=ColReader("tags", label_delim=";"),
        splitter=ColSplitter(), item_tfms=Resize(24),
    )  # fmt: skip
    dls = block.dataloaders(frame, bs=4)
    listing = list_dls(dls)
    clean = Cleaning(listing, list(listing.paths), Journal(owls), dls)
    clean.journal.note([Made(listing.paths[0], "relabel", None, ["tit", "night"]), Made(listing.paths[1], "aside")])
    done = clean.apply()
    written = pd.read_csv(done.plan.file)
    assert written.tags[0] == "tit;night"
    assert list_dls(done.dls).labels[0] == ("tit", "night")
    _, y = done.dls.train_ds[0]
    assert y.sum() == 2
    done.dls.one_batch()


def test_numbers_stay_numbers(owls, tmp_path):
    frame = pd.DataFrame(
        [(str(f), i % 2) for i, f in enumerate(sorted(owls.rglob("*.png")))], columns=["file", "label"]
    )
    listing = read_source(frame)
    clean = Cleaning(listing, list(listing.paths), Journal(owls), to=tmp_path / "x.csv")
    clean.journal.note([Made(listing.paths[0], "relabel", "0", "1")])
    clean.apply()
    assert pd.read_csv(tmp_path / "x.csv").label.tolist()[:2] == [1, 1]


def test_a_table_that_cannot_be_written_says_which(table, tmp_path):
    (tmp_path / "file").write_text("in the way")
    clean = cleaning(table, to=tmp_path / "file" / "x.csv")
    decide(clean, _00="tit")
    with pytest.raises(FastmagicError, match="cannot be written"):
        clean.apply()


def test_rows_of_a_table_are_left_out_and_relabelled():
    from fastai.tabular.all import Categorify, CategoryBlock, Normalize, TabularDataLoaders

    random = np.random.default_rng(0)
    frame = pd.DataFrame({"a": random.normal(size=60), "b": random.choice(["x", "y"], 60)})
    frame["out"] = np.where(frame.a > 0, "yes", "no")
    dls = TabularDataLoaders.from_df(
        frame, procs=[Categorify, Normalize], cat_names=["b"], cont_names=["a"], y_names="out", y_block=CategoryBlock(),
        valid_idx=list(range(12)), bs=8,
    )  # fmt: skip
    first = list_dls(dls).labels[0]
    other = "no" if first == "yes" else "yes"
    fresh = cleaned(dls, {1, 2}, {0: other}, {})
    assert len(fresh.train_ds) == 46
    assert list_dls(fresh).labels[0] == other
    assert list_dls(dls).labels[0] == first
    fresh.one_batch()
