"""`%%datablock`: answers in fastai's own names, worked out where they are missing, wrong ones answered with their line."""

from __future__ import annotations

import subprocess
import sys

import pandas as pd
import pytest
from PIL import Image

import fastmagic
from fastmagic.data.items import item_source, targets, vocab
from fastmagic.errors import FastmagicError
from fastmagic.kinds import IMAGE


@pytest.fixture
def data(shell, shapes):
    shell.user_ns["photos"] = shapes
    return shell


# ---------------------------------------------------------------- what the body says


def test_the_body_of_the_lesson_makes_ordinary_dataloaders(data):
    data.run("""%%datablock dls --from photos --bs 64 --show 0
blocks    = ImageBlock, CategoryBlock
get_items = get_image_files
splitter  = RandomSplitter(0.2, seed=42)
get_y     = parent_label
item_tfms = Resize(32, method='squish')""")
    dls = data.user_ns["dls"]
    assert type(dls).__module__ == "fastai.data.core"
    assert (dls.bs, len(dls.train_ds), len(dls.valid_ds), list(dls.vocab)) == (64, 96, 24, ["disc", "square"])
    assert dls.one_batch()[0].shape == (64, 3, 32, 32)


def test_the_users_functions_and_variables_work_and_helpers_do_not_leak(data):
    data.run("names = {'disc': 'round', 'square': 'angular'}\ndef label(p):\n    return names[p.parent.name]")
    data.run("%%datablock dls --from photos --show 0\nside = 24\nget_y = label\nitem_tfms = Resize(side)")
    assert list(data.user_ns["dls"].vocab) == ["angular", "round"]
    assert "side" not in data.user_ns
    assert "item_tfms" not in data.user_ns


def test_the_users_names_win_over_fastais(data):
    data.run("def parent_label(p):\n    return 'all' + p.parent.name")
    data.run("%%datablock dls --from photos --show 0\nget_y = parent_label")
    assert list(data.user_ns["dls"].vocab) == ["alldisc", "allsquare"]


@pytest.mark.parametrize(
    ("line", "cause", "fix"),
    [
        ("spliter = RandomSplitter()", "asks no question 'spliter'", "'splitter'"),
        ("splitter = RandomSpliter(0.2)", "no 'RandomSpliter'", "'RandomSplitter'"),
        ("splitter = RandomSplitter", "call it", "RandomSplitter(0.2, seed=42)"),
        ("splitter = 0.2", "not a float", "RandomSplitter(0.2, seed=42)"),
        ("get_y = parent_label()", "TypeError", "parent_label, not parent_label()"),
        ("get_y = 'label'", "a function, not text", "ColReader('label')"),
        ("get_y = ColReader", "call it", ""),
        ("get_items = get_image_files('.')", "not a L", "get_items = get_image_files"),
        ("blocks = 'image'", "not a str", "ImageBlock, CategoryBlock"),
        ("item_tfms = 192", "not a int", "Resize(192"),
        ("bs = 0", "whole number above 0", ""),
        ("bs: 16", "Only assignments", "bs = 16"),
        ("blocks = (ImageBlock,", "was never closed", ""),
        ("def f(): pass", "Only assignments", "cell above"),
        ("import os", "Only assignments", "cell above"),
        ("print(3)", "Only assignments", ""),
        ("path = 'x'", "asks no question 'path'", "datablock(PATH)"),
        ("valid_pct = 0.2", "asks no question", "RandomSplitter"),
        ("batch_size = 3", "asks no question", "bs"),
        ("splitter = 1/0", "ZeroDivisionError", ""),
    ],
)
def test_a_wrong_answer_is_told_with_its_line_and_the_right_one(data, line, cause, fix):
    with pytest.raises(FastmagicError) as caught:
        data.run(f"%%datablock dls --from photos --show 0\n# a comment\n{line}")
    message = str(caught.value)
    assert message.startswith(f"line 3: {line}")
    assert cause in message
    assert fix in message


def test_answering_twice_is_refused(data):
    with pytest.raises(FastmagicError, match=r"answered twice \(first on line 2\)"):
        data.run("%%datablock dls --from photos\nbs = 8\nbs = 16")


def test_an_answer_that_raises_shows_the_users_own_line_and_the_item(data):
    with pytest.raises(FastmagicError) as caught:
        data.run("%%datablock dls --from photos --show 0\nget_y = lambda p: {'disc': 1}[p.parent.name]")
    assert str(caught.value).startswith(
        "line 2: get_y = lambda p: {'disc': 1}[p.parent.name]\nKeyError: 'square', for "
    )
    data.run("def label(p):\n    return p.parent.nme")
    with pytest.raises(FastmagicError, match=r"in label: return p.parent.nme\nAttributeError"):
        data.run("%%datablock dls --from photos --show 0\nget_y = label")


# ---------------------------------------------------------------- what is worked out


def test_class_folders_are_worked_out_and_the_block_printed_ready_to_paste(data, capsys):
    data.run("%datablock dls --from photos --show 0")
    printed = capsys.readouterr().out
    body = printed[printed.index("blocks") : printed.index("split  ")]
    data.run(f"%%datablock again --from photos --show 0\n{body}")
    first, again = data.user_ns["dls"], data.user_ns["again"]
    assert list(first.valid_ds.items) == list(again.valid_ds.items)
    assert first.bs == again.bs
    assert "disc" in printed
    assert "48" in printed


def folder_of(tmp_path, *names):
    for i, name in enumerate(names):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), (i * 9 % 255, 80, 120)).save(tmp_path / name)
    return tmp_path


@pytest.mark.parametrize(("train", "valid"), [("train", "valid"), ("Train", "val"), ("training", "test")])
def test_train_and_valid_folders_give_the_split(tmp_path, train, valid):
    names = [f"{split}/{label}/{i}.png" for split, n in ((train, 6), (valid, 2)) for label in "ab" for i in range(n)]
    dls = fastmagic.datablock(folder_of(tmp_path, *names))
    assert (len(dls.train_ds), len(dls.valid_ds), list(dls.vocab)) == (12, 4, ["a", "b"])
    assert all(valid in item.parts for item in dls.valid_ds.items)


def test_a_labels_csv_beside_images_gives_file_and_label(tmp_path):
    folder_of(tmp_path, *[f"photos/{i}.png" for i in range(12)])
    rows = [{"file": f"{i}.png", "label": "ab"[i % 2]} for i in range(12)]
    pd.DataFrame(rows).to_csv(tmp_path / "labels.csv", index=False)
    dls = fastmagic.datablock(tmp_path)
    assert list(dls.vocab) == ["a", "b"]
    same = fastmagic.datablock(tmp_path / "labels.csv")
    assert targets(same.valid_ds) == targets(dls.valid_ds)
    assert item_source(dls.train_ds, dls.train_ds.items.iloc[0]).is_file()


def test_a_dataframe_with_ids_a_suffix_and_a_split_column(tmp_path, monkeypatch):
    monkeypatch.chdir(folder_of(tmp_path, *[f"pics/{i}.jpg" for i in range(10)]))
    frame = pd.DataFrame(
        {
            "image_id": [str(i) for i in range(10)],
            "species": list("ababababab"),
            "is_valid": [i > 6 for i in range(10)],
        }
    )
    dls = fastmagic.datablock(frame)
    assert (len(dls.train_ds), len(dls.valid_ds), list(dls.vocab)) == (7, 3, ["a", "b"])


def test_a_batch_is_never_larger_than_the_training_set(tmp_path):
    dls = fastmagic.datablock(folder_of(tmp_path, *[f"{label}/{i}.png" for label in "ab" for i in range(3)]))
    assert len(dls.train) >= 1


def test_what_cannot_be_worked_out_says_what_to_write(tmp_path):
    with pytest.raises(FastmagicError, match="classes cannot be told"):
        fastmagic.datablock(folder_of(tmp_path, "one/a.png", "one/b.png"))
    frame = pd.DataFrame({"a": ["x"], "b": ["y"]})
    with pytest.raises(
        FastmagicError, match=r"No column names image files, so the rows themselves are learned. Which column"
    ):
        fastmagic.datablock(frame)
    frame["file"] = "nowhere.jpg"
    with pytest.raises(FastmagicError, match="No column of the table names image files that exist"):
        fastmagic.datablock(frame)


def test_a_missing_source_names_the_closest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bird_or_not").mkdir()
    with pytest.raises(FastmagicError, match="Did you mean 'bird_or_not'"):
        fastmagic.datablock("bird_or_nott")


def test_no_images_names_the_nearest_folder_that_has_some(tmp_path):
    folder_of(tmp_path, "right/a/1.png", "right/b/1.png")
    (tmp_path / "wrong").mkdir()
    with pytest.raises(FastmagicError, match="right"):
        fastmagic.datablock(tmp_path / "wrong")


# ---------------------------------------------------------------- Python, other kinds, code


def test_python_users_answer_by_keyword(shapes):
    from fastai.vision.all import RandomSplitter, Resize

    dls = fastmagic.datablock(shapes, item_tfms=Resize(20), splitter=RandomSplitter(0.5, seed=1), bs=4)
    assert (dls.bs, len(dls.valid_ds), dls.one_batch()[0].shape[-1]) == (4, 60, 20)
    with pytest.raises(FastmagicError, match="Did you mean 'item_tfms'"):
        fastmagic.datablock(shapes, item_tfm=Resize(20))


def test_other_kinds_of_data_are_left_to_their_own_answers(data):
    data.run("""%%datablock dls --from photos --show 0
blocks = ImageBlock, MultiCategoryBlock
get_items = get_image_files
get_y = lambda p: [p.parent.name, 'shape']
item_tfms = Resize(32)""")
    assert vocab(data.user_ns["dls"]) == ["disc", "shape", "square"]


def test_code_prints_a_program_that_runs_in_a_fresh_process_with_the_same_split(data, capsys, tmp_path):
    data.run(
        "import string\nletters = {'disc': string.ascii_lowercase[0], 'square': 'z'}\ndef label(p):\n    return letters[p.parent.name]"
    )
    cell = "%%datablock dls --from photos --show 0 {}\nside = 24\nget_y = label\nitem_tfms = [Resize(side), FlipItem()]"
    data.run(cell.format(""))
    capsys.readouterr()
    data.run(cell.format("--code"))
    program = capsys.readouterr().out
    assert "fastmagic" not in program
    file = tmp_path / "program.py"
    file.write_text(program + "\nprint(list(dls.vocab), dls.bs, [p.name for p in dls.valid_ds.items])")
    done = subprocess.run([sys.executable, "-W", "ignore", str(file)], capture_output=True, text=True, timeout=300)
    dls = data.user_ns["dls"]
    assert done.stdout.strip() == f"{list(dls.vocab)} {dls.bs} {[p.name for p in dls.valid_ds.items]}", done.stderr


def test_looking_does_not_change_the_order_of_training(data):
    data.run("%datablock dls --from photos --show 0")
    dls = data.user_ns["dls"]
    dls.rng.seed(1)
    plain = dls.train.get_idxs()
    dls.rng.seed(1)
    picture = IMAGE.grid(dls, 6)
    assert picture.png.startswith(b"\x89PNG")
    assert dls.train.get_idxs() == plain


# ---------------------------------------------------------------- explain


def test_explain_walks_an_item_through_every_step_with_pictures(shapes):
    from fastai.vision.all import Resize, aug_transforms

    shown = fastmagic.explain(shapes, item="square_001", item_tfms=Resize(24), batch_tfms=aug_transforms())
    steps = [
        "get_image_files",
        "RandomSplitter",
        "PILImage.create",
        "parent_label",
        "Categorize",
        "Resize",
        "ToTensor",
        "collate",
        "Flip",
    ]
    places = [shown.text.index(step) for step in steps]
    assert places == sorted(places)
    assert "PILImage 48 × 48 px" in shown.text
    assert "TensorImage 1 × 3 × 24 × 24, float32" in shown.text
    assert shown.html.count("<img") >= 4


def test_explain_names_the_item_and_the_step_that_broke(shapes):
    shown = fastmagic.explain(shapes, get_y=lambda p: {"disc": 1}[p.parent.name])
    assert "✗ broke here" in shown.text
    assert "item square/" in shown.text
    assert "KeyError: 'square'" in shown.text


def test_explain_of_an_unreadable_picture(tmp_path):
    folder_of(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / "a" / "2.png").write_bytes(b"not a picture")
    shown = fastmagic.explain(tmp_path, item="2.png")
    assert "PILImage.create" in shown.text
    assert "UnidentifiedImageError" in shown.text


def test_explain_of_an_item_that_is_not_there(shapes):
    with pytest.raises(FastmagicError, match="There is no item 1000"):
        fastmagic.explain(shapes, item=1000)


def test_the_embedded_digits_are_a_folder_of_ten_classes(tmp_path):
    path = fastmagic.digits(tmp_path / "digits")
    assert sorted(p.name for p in path.iterdir()) == list("0123456789")
    assert len(list(path.rglob("*.png"))) == 1797


def test_a_real_folder_of_photos_is_worked_out(shared_data):
    dls = fastmagic.datablock(shared_data / "bird_or_not")
    assert (len(dls.train_ds), len(dls.valid_ds), list(dls.vocab)) == (553, 138, ["bird", "forest"])


# ---------------------------------------------------------------- more of what people do


def test_explain_works_as_a_magic_on_a_source_a_body_and_existing_dataloaders(data, capsys):
    data.run("%datablock dls --from photos --explain --item square_003")
    assert "square_003" in capsys.readouterr().out
    assert "dls" not in data.user_ns
    data.run("%%datablock dls --from photos --explain\nget_y = lambda p: p.parent.nme")
    assert "✗ broke here" in capsys.readouterr().out
    data.run("%%datablock dls --from photos --show 0\nitem_tfms = Resize(20)")
    capsys.readouterr()
    data.run("%datablock dls --explain")
    assert "20 × 20" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("item_tfms = Resize", "has to be called"),
        ("batch_tfms = aug_transforms", "has to be called"),
        ("item_tfms = Resize(64, method='sqush')", "Did you mean 'squish'"),
        ("item_tfms = RandomResizedCrop(64, ratio='a')", "TypeError"),
    ],
)
def test_answers_that_fail_only_while_building_are_told_with_their_line(data, line, cause):
    with pytest.raises(FastmagicError) as caught:
        data.run(f"%%datablock dls --from photos --show 0\n\n{line}")
    assert str(caught.value).startswith(f"line 3: {line}")
    assert cause in str(caught.value)


def test_class_folders_win_over_a_table_without_labels(tmp_path):
    folder_of(tmp_path, *[f"{label}/{i}.png" for label in "ab" for i in range(6)])
    rows = [{"file": f"a/{i}.png", "url": "https://example.org", "license": "cc0"} for i in range(6)]
    pd.DataFrame(rows).to_csv(tmp_path / "manifest.csv", index=False)
    assert list(fastmagic.datablock(tmp_path).vocab) == ["a", "b"]


def test_the_program_of_a_dataframe_and_of_odd_answers_runs_in_a_fresh_process(data, capsys, tmp_path, shapes):
    files = sorted(str(p) for p in shapes.rglob("*.png"))
    pd.DataFrame({"file": files, "label": [p.split("/")[-2] for p in files]}).to_csv(tmp_path / "t.csv", index=False)
    data.run("import pandas\nfrom functools import partial\nfrom fastai.vision.all import Resize")
    data.run("frame = pandas.read_csv('t.csv')\nsmall=Resize(24)\nlower = lambda row: row.label.lower()\nlabel = lower")
    data.run("%%datablock dls --from frame --show 0\nget_y = label\nitem_tfms = small")
    capsys.readouterr()
    data.run("%%datablock dls --from frame --code\nget_y = label\nitem_tfms = small")
    file = tmp_path / "program.py"
    file.write_text(
        capsys.readouterr().out + "\nprint(list(dls.vocab), len(dls.valid_ds), dls.one_batch()[0].shape[-1])"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", str(file)], capture_output=True, text=True, timeout=300)
    assert done.stdout.strip() == "['disc', 'square'] 24 24", done.stderr
