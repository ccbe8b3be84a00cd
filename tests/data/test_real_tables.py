"""Tables as people have them: no heading, another encoding, backslashes, lost zeros, files elsewhere or missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import fastmagic
from fastmagic.errors import AnswerError, FastmagicError, NotFoundError

NAMES = [f"{i:03}.jpg" for i in range(20)]
LABELS = ["bird" if i % 2 else "cat" for i in range(20)]


@pytest.fixture
def images(tmp_path, monkeypatch):
    """Make images of some names in a folder of the current one, which has the data in `set`."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)

    def make(names=NAMES, where="images"):
        place = Path("set", where)
        place.mkdir(parents=True, exist_ok=True)
        for name in names:
            Image.fromarray(random.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(place / name)

    return make


def write(names=NAMES, labels=LABELS, sep=",", heading="file,label", encoding="utf-8"):
    rows = [f"{name}{sep}{label}" for name, label in zip(names, labels, strict=True)]
    head = [heading.replace(",", sep)] if heading else []
    Path("set/labels.csv").write_text("\n".join([*head, *rows, ""]), encoding=encoding)


def alike(n: int = 20) -> list[str]:
    """Read the table all the ways there are, the program among them, and return the classes, which are the same."""
    found = []
    for source in ("set", "set/labels.csv"):
        dls = fastmagic.datablock(source, bs=4)
        namespace: dict = {}
        exec(fastmagic.code(dls), namespace)
        assert namespace["dls"].valid_ds.items.equals(dls.valid_ds.items)
        assert len(dls.train_ds) + len(dls.valid_ds) == n
        assert fastmagic.check(source).ok, fastmagic.check(source)
        found.append(list(dls.vocab))
    assert found[0] == found[1]
    return found[0]


@pytest.mark.parametrize("heading", ["file,label", "Image Index,class", "1st,2nd", "name,my label"])
@pytest.mark.parametrize("sep", [",", ";", "\t"])
def test_headings_and_separators(images, heading, sep):
    images()
    write(heading=heading, sep=sep)
    assert alike() == ["bird", "cat"]


def test_a_table_without_a_heading(images):
    images([f"img_{name}" for name in NAMES])
    write([f"img_{name}" for name in NAMES], heading="")
    assert alike() == ["bird", "cat"]
    write([f"img_{name[:3]}" for name in NAMES], heading="")  # without their suffix
    assert alike() == ["bird", "cat"]


def test_a_table_of_three_columns_without_a_heading_is_asked_which_holds_the_label(images):
    images()
    write([f"{i},{name}" for i, name in enumerate(NAMES)], heading="")
    for source in ("set", "set/labels.csv"):
        with pytest.raises(AnswerError, match="Which column holds the label"):
            fastmagic.datablock(source)
        assert list(fastmagic.datablock(source, target="column 3", bs=4).vocab) == ["bird", "cat"]


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "utf-8-sig", "utf-8"])
def test_encodings(images, encoding):
    images()
    write(labels=["möwe" if i % 2 else "käfer" for i in range(20)], encoding=encoding)
    assert alike() == ["käfer", "möwe"]


def test_another_encoding_is_said(shell, images, capsys):
    images()
    write(labels=["möwe" if i % 2 else "käfer" for i in range(20)], encoding="cp1252")
    shell.run("%datablock dls --from set/labels.csv --show 0")
    assert "the file is not UTF-8, and was read as cp1252" in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"\xff\xfe\x00\x01,\xff", b"PK\x03\x04\x00\xff\x00\n", b""])
def test_what_is_no_text_is_no_table(images, content):
    images()
    Path("set/labels.csv").write_bytes(content)
    for reader in (fastmagic.check, fastmagic.datablock):
        with pytest.raises(FastmagicError, match="cannot be read as a table"):
            reader("set/labels.csv")


def test_backslashes_of_windows(images):
    images()
    write([f"images\\{name}" for name in NAMES])
    assert alike() == ["bird", "cat"]


def test_ids_whose_zeros_pandas_drops(images):
    images()
    write([name[:3] for name in NAMES], heading="id,label")
    assert alike() == ["bird", "cat"]


def test_names_without_their_suffix(images):
    images([f"img_{name}" for name in NAMES])
    write([f"img_{name[:3]}" for name in NAMES], heading="image,label")
    assert alike() == ["bird", "cat"]


@pytest.mark.parametrize("where", ["a/b", "a/b/c", "a/b/c/d/e"])
def test_files_some_folders_down(images, where):
    images(where=where)
    write()
    assert alike() == ["bird", "cat"]


@pytest.mark.parametrize("names", [NAMES, [name[:3] for name in NAMES]])
def test_files_in_several_folders(images, names):
    images(NAMES[:8], "part 1")
    images(NAMES[8:], "part 2")
    write([f"x{name}" for name in names], heading="image_id,label")
    for file in [*Path("set").rglob("*.jpg")]:
        file.rename(file.with_name(f"x{file.name}"))
    assert alike() == ["bird", "cat"]


def test_files_of_the_same_name_in_several_folders_are_not_guessed(images):
    for where in ("left/a", "right/a"):
        images(NAMES[:10] if where == "left/a" else NAMES, where)
    write()
    assert "pref='set/right/a/'" in fastmagic.code(fastmagic.datablock("set/labels.csv", bs=4))  # where all of them are
    for name in NAMES[:10]:
        Path("set/right/a", name).rename(Path("set/right/a") / f"other {name}")
    images(NAMES[5:10], "right/a")
    with pytest.raises(AnswerError, match="listed files do not exist"):  # neither folder has all, and some are in both
        fastmagic.datablock("set/labels.csv", bs=4)


@pytest.mark.parametrize(
    ("gone", "fastai_can_begin"), [(slice(15, 20), True), (slice(0, 10), False), (slice(3, 20), True)]
)
def test_some_files_are_missing(images, gone, fastai_can_begin):
    images([name for name in NAMES if name not in NAMES[gone]])
    write()
    n = len(NAMES[gone])
    found = fastmagic.check("set/labels.csv")["missing-file"]
    assert f"{n} listed files do not exist" in found.message
    fixes = [found.fix.split(": ", 1)[1]]
    if fastai_can_begin:
        fixes.append(fastmagic.check(fastmagic.datablock("set/labels.csv", bs=2))["missing-file"].fix.split(": ", 1)[1])
    else:  # it opens the first item of each side
        with pytest.raises(AnswerError, match=f"{n} of 20 listed files do not exist") as caught:
            fastmagic.datablock("set/labels.csv", bs=2)
        fixes.append(caught.value.fix.split(": ", 1)[1])
    for fix in fixes:
        namespace = {"Path": Path, "pd": pd}  # what is advised begins with the file: nobody has a `df` yet
        exec(fix, namespace)
        assert len(namespace["df"]) == 20 - n
    df = pd.read_csv("set/labels.csv").assign(file=lambda df: "set/images/" + df["file"])
    found = fastmagic.check(df)["missing-file"].fix.split(": ", 1)[1]
    namespace = {"Path": Path, "df": df}
    exec(found, namespace)
    assert len(namespace["df"]) == 20 - n


def test_a_dataframe_is_told_the_line_that_mends_it(images):
    images()
    write([name[:3] for name in NAMES], heading="id,label")
    df = pd.read_csv("set/labels.csv")
    with pytest.raises(NotFoundError) as caught:
        fastmagic.check(df)
    namespace = {"df": df}
    exec(caught.value.fix.partition(": ")[2], namespace)
    assert fastmagic.check(namespace["df"]).ok
    df = pd.DataFrame({"file": [f"set\\images\\{name}" for name in NAMES], "label": LABELS})
    with pytest.raises(NotFoundError) as caught:
        fastmagic.datablock(df)
    namespace = {"df": df}
    exec(caught.value.fix.partition(": ")[2], namespace)
    assert list(fastmagic.datablock(namespace["df"], bs=4).vocab) == ["bird", "cat"]


def test_a_dataframe_that_was_read_without_its_first_row(shell, images, capsys):
    images()
    write([f"set/images/{name}" for name in NAMES], heading="")
    shell.run("import pandas as pd\ndf = pd.read_csv('set/labels.csv')")
    shell.run("%datablock dls --from df --show 0")
    assert "the heading 'set/images/000.jpg' names a file itself" in capsys.readouterr().out


def test_a_table_that_names_none_of_the_images_is_named(images):
    images()
    write([f"IMG_{i}" for i in range(20)], heading="id,label")
    with pytest.raises(FastmagicError, match=r"No column of 'labels.csv' \(id, label\) names the 20 images") as caught:
        fastmagic.datablock("set")
    assert "'000.jpg', while 'id' says 'IMG_0'" in caught.value.cause
    with pytest.raises(NotFoundError, match="No column is left to predict 'label' from; left out: 'id'"):
        fastmagic.datablock("set/labels.csv")


def test_numbers_that_are_names_of_photos_by_accident(images):
    """Ages, with photos called 00000025.jpg somewhere near: a table of rows all the same."""
    images([f"{i:08}.jpg" for i in range(15, 90)])
    random = np.random.default_rng(0)
    table = {"age": random.integers(15, 90, 60), "hours": random.random(60), "salary": ["high", "low"] * 30}
    pd.DataFrame(table).to_csv("set/census.csv", index=False)
    dls = fastmagic.datablock("set/census.csv", target="salary", bs=8)
    assert dls.cont_names == ["age", "hours"]


def test_mostly_nought_and_a_photo_called_nought(images):
    images([f"{i}.jpg" for i in range(8)])
    random = np.random.default_rng(0)
    gain = np.where(random.random(60) < 0.9, 0, random.integers(1000, 9000, 60))
    table = {
        "gain": gain,
        "rooms": random.integers(0, 8, 60),
        "hours": random.random(60),
        "salary": ["high", "low"] * 30,
    }
    pd.DataFrame(table).to_csv("set/census.csv", index=False)
    dls = fastmagic.datablock("set/census.csv", target="salary", bs=8)
    assert {"gain", "rooms", "hours"} == {*dls.cat_names, *dls.cont_names}


def test_a_layout_of_kaggle(images):
    images(where="train_images")
    images([f"9{name}" for name in NAMES], "test_images")
    for name, ids in (("train.csv", NAMES), ("sample_submission.csv", [f"9{name}" for name in NAMES])):
        pd.DataFrame({"image_id": ids, "label": LABELS if name == "train.csv" else 4}).to_csv(
            f"set/{name}", index=False
        )
    dls = fastmagic.datablock("set", bs=4)
    assert list(dls.vocab) == ["bird", "cat"]
    assert {*dls.train_ds.items["image_id"], *dls.valid_ds.items["image_id"]} == set(NAMES)
    assert fastmagic.check("set").ok


def test_check_looks_where_it_is_told(shell, images, capsys):
    images(where="../elsewhere")
    Path("set").mkdir(exist_ok=True)
    write()
    shell.run("%check set/labels.csv")
    assert "--path FOLDER" in capsys.readouterr().out
    shell.run("%check set/labels.csv --path elsewhere")
    assert "nothing wrong" in str(shell.user_ns["report"])
    with pytest.raises(AnswerError, match="this is no table"):
        fastmagic.check("elsewhere", path="set")
