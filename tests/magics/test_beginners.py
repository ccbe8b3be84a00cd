"""What a beginner types, and what is answered: always a next step."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastmagic.errors import FastmagicError


@pytest.fixture
def room(shell, shapes):
    """A shell beside a folder `small` of class folders, an empty one, and one with blanks in its name."""
    Path("small").symlink_to(shapes)
    Path("my photos").symlink_to(shapes)
    Path("flat").symlink_to(shapes / "disc")
    Path("empty").mkdir()
    return shell


def answer(shell, line: str) -> str:
    """Return what the cell shows of its error."""
    with pytest.raises(FastmagicError) as caught:
        shell.run(line)
    return "".join(caught.value._render_traceback_())


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("%datablock my dls --from small", "Names have no blanks: my_dls"),
        ("%datablock dls --from small --into my model", "Names have no blanks: --into my_model"),
        ("%%datablock dls small\nget_y = parent_label", "--from small"),
        ("%datablock dls --from my photos", '--from "my photos"'),
        ("%datablock dls --from /a/my birds", '--from "/a/my birds"'),
        ("%datablock dls --from small --size 64", "item_tfms = Resize(64)"),
        ("%datablock dls --from small --get-y parent_label", "Write get_y = …"),
        ("%datablock dls --from small --batch-size 8", "--bs"),
        ("%datablock dls --from photos.zip", "There is no folder or file"),
        ("%datablock dls --from nowhere/at/all", "In this folder there is empty, flat, my photos, small"),
        ("%datablock dls --from empty", "Give 'flat', or the folder above it."),
        ("%datablock dls --from flat", "--label ^(.+)_\\d+"),
        ("%check dls", "%datablock dls --from FOLDER"),
        ("%check smal", "Did you mean 'small'?"),
        ("%train dls resnet18", "%datablock dls --from FOLDER"),
        ("%train", "%datablock dls --from FOLDER"),
        ("%predict bird.jpg", "Train one first: %train dls"),
        ("%predict bird.jpg --learn modle", "Train one first: %train dls"),
        ("%train --epochs one", "For instance --epochs 3"),
        ("%train --lr fast", "For instance --lr 1e-3"),
        ("%train --model resnet18", "%train dls resnet18"),
    ],
)
def test_before_there_are_data(room, typed, said):
    assert said in answer(room, typed)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("%train dls resnet18 3", "Did you mean --epochs 3?"),
        ("%train dls resnet18 epochs=3", "--epochs 3"),
        ("%results dls", "Train one first: %train dls"),
        ("%confusion dls", "Train one first: %train dls"),
        ("%datablock dls --from empty", "dls is still what it was before."),
    ],
)
def test_with_data(room, typed, said):
    room.run("%datablock dls --from small --show 0")
    assert said in answer(room, typed)


def test_check_answers_what_datablock_answers(room, capsys):
    for place in ("flat", "empty"):
        refused = answer(room, f"%datablock dls --from {place}").splitlines()[0]
        room.run(f"%check {place}")
        assert refused in str(room.user_ns["report"])
    room.run("%check digits")
    assert "1,797 photos, 10 classes" in str(room.user_ns["report"])


@pytest.mark.parametrize("name", ["convnext_tiny", "efficientnet_b0", "vit_b_16", "mobilenet_v3_small"])
def test_a_name_means_the_same_after_the_star_import(room, capsys, name):
    room.run("%datablock dls --from small --show 0")
    capsys.readouterr()
    room.run(f"%train dls {name} --no-pretrained --code")
    before = capsys.readouterr().out
    room.run("from fastai.vision.all import *")
    room.run(f"%train dls {name} --no-pretrained --code")
    assert capsys.readouterr().out == before


def test_the_best_of_all_epochs_is_kept_though_it_was_a_frozen_one(room):
    """At a rate that ruins the second fit the frozen epoch is the best; the file and the learner end with it."""
    from fastai.vision.all import Callback

    seen = []

    class Note(Callback):
        order = 70  # after the recorder

        def after_epoch(self):
            seen.append(float(self.recorder.log[2]))

    room.user_ns["note"] = Note()
    room.run("%datablock dls --from small --show 0")
    room.run("%train dls tiny --epochs 2 --freeze-epochs 1 --lr 3 --save best --cbs note")
    learn = room.user_ns["learn"]
    assert len(seen) == 3
    assert min(seen) == seen[0] < seen[1]  # else nothing is tested
    with learn.no_bar(), learn.no_logging():
        assert float(learn.validate()[0]) == pytest.approx(seen[0], rel=1e-4)


# ---------------------------------------------------------------- what goes wrong while it trains


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """40 images of noise in two class folders."""
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(1)
    root = tmp_path_factory.mktemp("noise")
    for name in "ab":
        (root / name).mkdir()
        for i in range(20):
            Image.fromarray(random.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(root / name / f"{i}.jpg")
    return root


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<!DOCTYPE html><html><body>404</body></html>", "a web page"),
        (None, "truncated"),
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic", "HEIC"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_what_it_is(shell, pictures, content, said):
    import shutil

    shutil.copytree(pictures, "set")
    shell.run("%datablock dls --from set --show 0 --bs 4")
    broken = Path("set/a/3.jpg")
    broken.write_bytes(broken.read_bytes()[:800] if content is None else content)
    shown = answer(shell, "%train dls tiny --epochs 1 --no-check")
    assert "'set/a/3.jpg' cannot be read" in shown
    assert said in shown
    assert "%check set --fix" in shown
    shell.run("%check set --fix")
    shell.run("%datablock dls --from set --show 0 --bs 4")
    shell.run("%train dls tiny --epochs 1")


def test_pictures_of_several_sizes_are_told_as_check_tells(shell, pictures):
    from PIL import Image

    for i, name in enumerate(["a", "b"] * 8):
        file = Path("set", name, f"{i}.png")
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40 + i, 50), (i * 9, 0, 0)).save(file)
    shell.run("%%datablock dls --from set --show 0 --bs 4\nitem_tfms = ToTensor()\nnum_workers = 0")
    assert "Add item_tfms=Resize(224)." in answer(shell, "%train dls tiny --epochs 1")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--metrics F1Score", "F1Score makes a metric: call it."),
        ("--metrics accuracy_multi", "accuracy_multi does not fit data with one of 2 classes"),
        ("--metrics mse", "mse does not fit"),
        ("--metrics RocAuc()", "--metrics RocAucBinary()"),
        ("--bs 1", "Take larger ones: --bs 8"),
    ],
)
def test_what_would_fail_after_an_epoch_is_refused_before(shell, pictures, line, said):
    shell.user_ns["photos"] = pictures
    shell.run("%datablock dls --from photos --show 0 --bs 8")
    assert said in answer(shell, f"%train dls tiny --epochs 1 {line}")
    assert "learn" not in shell.user_ns


@pytest.mark.parametrize("metric", ["RocAucBinary()", "F1Score()", "accuracy,Precision()", "Perplexity()"])
def test_metrics_that_fit_are_taken(shell, pictures, metric):
    shell.user_ns["photos"] = pictures
    shell.run("%datablock dls --from photos --show 0 --bs 8")
    shell.run(f"%train dls tiny --epochs 1 --metrics {metric}")


def test_a_loss_that_runs_away_is_pointed_out(shell, pictures, capsys):
    shell.user_ns["photos"] = pictures
    shell.run("%datablock dls --from photos --show 0 --bs 8")
    shell.run("%train dls tiny --epochs 1 --lr 1000")
    assert "The loss ran away" in capsys.readouterr().out
    shell.run("%train dls tiny --epochs 1")
    assert "ran away" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("splitter = RandomSplitter(20)", "valid_pct is a share between 0 and 1"),
        ("splitter = GrandparentSplitter()", "leaves none of the 40 items for training"),
        ("item_tfms = Resize()", "Give what it needs: Resize(224)."),
        ("item_tfms = RandomResizedCrop(min_scale=.3)", "RandomResizedCrop(224)"),
        ("item_tfms = aug_transforms()", "batch_tfms = aug_transforms()"),
        ("item_tfms = Resize('192')", "takes a number of pixels, not text"),
        ("get_items = lambda path: []", "lambda path: [] finds nothing in"),
    ],
)
def test_an_answer_that_cannot_work_names_the_cause(shell, pictures, line, said, capsys):
    shell.user_ns["photos"] = pictures
    assert said in answer(shell, f"%%datablock dls --from photos\n{line}")
    assert "stack trace" not in capsys.readouterr().out


def test_a_column_that_is_not_there_and_a_list_of_files(shell, pictures):
    import pandas as pd

    shell.user_ns["files"] = sorted(pictures.rglob("*.jpg"))
    shell.user_ns["df"] = pd.DataFrame({"file": shell.user_ns["files"], "label": ["a"] * 20 + ["b"] * 20})
    assert "Did you mean 'label'?" in answer(shell, "%%datablock dls --from df\nget_y = ColReader('lbl')")
    assert "pd.DataFrame({'file': files, 'label': labels})" in answer(shell, "%datablock dls --from files")


@pytest.mark.parametrize("option", ["--save best", "--lr auto"])
def test_a_place_for_weights_that_cannot_be_written_is_told_before_training(room, option):
    room.run("%datablock dls --from small --show 0")
    room.user_ns["dls"].path = Path("/proc/nothing")
    said = answer(room, f"%train dls tiny --epochs 1 {option}")
    assert "'/proc/nothing/models' cannot be written" in said
    assert "dls.path = Path(" in said


def test_a_table_goes_into_a_folder_that_is_made_or_the_place_is_named(room, capsys):
    room.run("%datablock dls --from small --show 0")
    room.run("%train dls tiny --epochs 1 --no-pretrained --no-check")
    room.run("%predict flat --csv out/new/table.csv")
    assert Path("out/new/table.csv").is_file()
    assert "'/proc/table.csv' cannot be written" in answer(room, "%predict flat --csv /proc/table.csv")


def test_a_rate_that_lr_find_cannot_tell(room, monkeypatch):
    """A loss that rises at once ends `lr_find` after a step or two."""
    import torch
    from fastai.vision.all import BaseLoss

    room.run("%datablock dls --from small --show 0")
    calls = []

    class Rising(torch.nn.Module):
        reduction = "mean"

        def forward(self, outputs, targets):
            calls.append(1)
            return outputs.sum() * 0 + 10.0 ** len(calls)

    room.user_ns["dls"].train_ds.loss_func = BaseLoss(Rising, flatten=False)
    said = answer(room, "%train dls tiny --epochs 1 --lr auto --no-check")
    assert "lr_find broke off before there was a valley" in said
    assert "--lr 0.003" in said
