"""`predict`: one item and many, against fastai's own answers, and what is said when something is wrong."""

from __future__ import annotations

import contextlib
import copy
import importlib
import io
import os
import sys
import threading
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fastmagic.data.download import fetch, is_public
from fastmagic.errors import FastmagicError
from fastmagic.learning.predict import predict, predict_code

Image = pytest.importorskip("PIL.Image")
COLOURS = {"blue": (40, 40, 190), "green": (40, 170, 40), "red": (200, 40, 40)}


def write_image(path: Path, colour: tuple[int, int, int], seed: int, mode: str = "RGB") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).normal(colour, 30, (40, 48, 3)).clip(0, 255).astype("uint8")
    Image.fromarray(pixels).convert(mode).save(path)
    return path


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for name, colour in COLOURS.items():
        for i in range(14):
            write_image(folder / name / f"{i:02}.jpg", colour, i)
    return folder


@pytest.fixture(scope="session")
def frame(photos):
    rows = []
    for path in sorted(photos.rglob("*.jpg")):
        odd = int(path.stem) % 2
        labels = f"{path.parent.name} odd" if odd else path.parent.name
        rows.append({"name": str(path.relative_to(photos)), "colour": path.parent.name, "labels": labels, "size": odd})
    return pd.DataFrame(rows)


def small_learner(dls, n_out: int, channels: int = 3, **kwargs):
    """Train a small net with batch normalisation and dropout, so that a wrong mode shows."""
    from fastai.vision.all import Learner, set_seed
    from torch import nn

    set_seed(0)
    model = nn.Sequential(
        nn.Conv2d(channels, 8, 3, stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(32, n_out),
    )
    learn = Learner(dls, model, lr=0.01, **kwargs)
    with quiet(learn):
        learn.fit(2)
    return learn


@contextlib.contextmanager
def quiet(learn):
    with (
        learn.no_bar(),
        learn.no_logging(),
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        yield


def loaders(factory, *args, **kwargs):
    from fastai.vision.all import Resize, aug_transforms

    kwargs = {
        "item_tfms": Resize(24),
        "batch_tfms": aug_transforms(),
        "seed": 1,
        "bs": 8,
        "num_workers": 0,
        **kwargs,
    }
    return factory(*args, **kwargs)


@pytest.fixture(scope="session")
def learn(photos):
    from fastai.vision.all import ImageDataLoaders

    return small_learner(loaders(ImageDataLoaders.from_folder, photos, valid_pct=0.3), 3)


@pytest.fixture(scope="session")
def learn_from_frame(photos, frame):
    from fastai.vision.all import ImageDataLoaders

    return small_learner(loaders(ImageDataLoaders.from_df, frame, photos, label_col="colour"), 3)


@pytest.fixture(scope="session")
def learn_several(photos, frame):
    from fastai.vision.all import ImageDataLoaders

    return small_learner(loaders(ImageDataLoaders.from_df, frame, photos, label_col="labels", label_delim=" "), 4)


@pytest.fixture(scope="session")
def learn_number(photos, frame):
    from fastai.vision.all import ImageDataLoaders, RegressionBlock

    return small_learner(loaders(ImageDataLoaders.from_df, frame, photos, label_col="size", y_block=RegressionBlock), 1)


def fastai_probabilities(learn, item) -> np.ndarray:
    with quiet(learn):
        return learn.predict(item)[2].numpy()


def in_vocab_order(prediction, learn) -> np.ndarray:
    return np.array([prediction.probabilities[name] for name in learn.dls.vocab])


class TestOneItem:
    def test_a_file_gets_the_label_and_probabilities_of_learn_predict(self, learn, photos):
        for path in sorted(photos.rglob("0[01].jpg")):
            prediction = predict(str(path), learn)
            expected = fastai_probabilities(learn, path)
            np.testing.assert_allclose(in_vocab_order(prediction, learn), expected, atol=1e-5)
            assert prediction.label == learn.dls.vocab[expected.argmax()]
            assert prediction.probability == pytest.approx(expected.max(), abs=1e-5)

    @pytest.mark.parametrize(
        ("suffix", "mode"), [("png", "RGBA"), ("png", "P"), ("png", "L"), ("png", "1"), ("jpg", "CMYK")]
    )
    def test_pictures_of_every_mode_are_read_as_fastai_reads_them(self, learn, tmp_path, suffix, mode):
        path = write_image(tmp_path / f"{mode}.{suffix}", COLOURS["red"], 50, mode)
        np.testing.assert_allclose(
            in_vocab_order(predict(path, learn), learn), fastai_probabilities(learn, path), atol=1e-5
        )

    def test_a_turned_photo_is_not_turned_back_because_fastai_does_not(self, learn, tmp_path):
        image = Image.open(write_image(tmp_path / "flat.png", COLOURS["red"], 51))
        image.paste((0, 0, 0), (0, 0, 24, 20))
        exif = image.getexif()
        exif[0x0112] = 6
        image.save(tmp_path / "turned.jpg", exif=exif, quality=95)
        np.testing.assert_allclose(
            in_vocab_order(predict(tmp_path / "turned.jpg", learn), learn),
            fastai_probabilities(learn, tmp_path / "turned.jpg"),
            atol=1e-5,
        )

    def test_the_same_picture_as_file_bytes_array_float_array_and_tensor_gets_the_same_answer(self, learn, photos):
        import torch

        path = photos / "red" / "03.jpg"
        image = Image.open(path)
        pixels = np.array(image)
        expected = in_vocab_order(predict(path, learn), learn)
        forms = [
            path.read_bytes(),
            memoryview(path.read_bytes()),
            image,
            pixels,
            pixels / 255,
            torch.tensor(pixels).permute(2, 0, 1),
            io.BytesIO(path.read_bytes()),
        ]
        for form in forms:
            np.testing.assert_allclose(in_vocab_order(predict(form, learn), learn), expected, atol=1e-5)
        assert type(image).__module__ != "fastai.vision.core", "the caller's picture changed its class"

    @pytest.mark.parametrize(
        ("values", "name", "said"),
        [
            (np.full((20, 20), 40_000, "uint16"), "deep.png", "has more than 8 bits a pixel"),
            (np.full((20, 20), 0.4, "float32"), "parts.tiff", "holds fractions"),
            (np.full((20, 20), 40, "uint8"), "plain.png", ""),
        ],
    )
    def test_what_is_lost_in_opening_is_said(self, learn, tmp_path, values, name, said):
        Image.fromarray(values).save(tmp_path / name)
        for item in (tmp_path / name, Image.open(tmp_path / name), (tmp_path / name).read_bytes()):
            found = predict(item, learn)
            for form in found._repr_mimebundle_().values():
                assert said in form
            assert bool(found.note) == bool(said)
        several = predict([tmp_path / name, tmp_path / name], learn)
        assert several.note.startswith("⚠ 2 pictures") if said else not several.note
        assert not said or "⚠ 2 pictures" in str(several)

    def test_a_grey_model_sees_grey(self, photos):
        from fastai.vision.all import (
            CategoryBlock,
            DataBlock,
            ImageBlock,
            PILImageBW,
            Resize,
            get_image_files,
            parent_label,
        )

        block = DataBlock(
            blocks=(ImageBlock(PILImageBW), CategoryBlock),
            get_items=get_image_files,
            get_y=parent_label,
            item_tfms=Resize(24),
        )
        grey = small_learner(block.dataloaders(photos, bs=8, num_workers=0), 3, channels=1)
        path = photos / "red" / "00.jpg"
        expected = fastai_probabilities(grey, path)
        np.testing.assert_allclose(in_vocab_order(predict(path, grey), grey), expected, atol=1e-5)
        np.testing.assert_allclose(in_vocab_order(predict(Image.open(path), grey), grey), expected, atol=1e-5)

    def test_a_row_goes_through_the_getters_of_a_model_built_from_a_frame(self, learn_from_frame, frame):
        prediction = predict(frame.iloc[5], learn_from_frame)
        expected = fastai_probabilities(learn_from_frame, frame.iloc[5])
        np.testing.assert_allclose(in_vocab_order(prediction, learn_from_frame), expected, atol=1e-5)

    def test_a_file_is_that_file_also_for_a_model_built_from_a_frame(self, learn_from_frame, photos):
        path = photos / "red" / "07.jpg"
        expected = fastai_probabilities(learn_from_frame, path)
        np.testing.assert_allclose(
            in_vocab_order(predict(path, learn_from_frame), learn_from_frame), expected, atol=1e-5
        )

    def test_several_labels_are_those_above_the_threshold(self, learn_several, photos):
        path = photos / "red" / "01.jpg"
        prediction = predict(path, learn_several)
        expected = fastai_probabilities(learn_several, path)
        np.testing.assert_allclose(in_vocab_order(prediction, learn_several), expected, atol=1e-5)
        assert prediction.label == [n for n, p in zip(learn_several.dls.vocab, expected, strict=True) if p > 0.5]
        assert prediction.probability is None

    def test_a_number_is_the_model_s_number(self, learn_number, photos):
        path = photos / "red" / "01.jpg"
        assert predict(path, learn_number).label == pytest.approx(
            float(fastai_probabilities(learn_number, path)[0]), abs=1e-5
        )

    def test_logits_of_a_plain_pytorch_loss_become_probabilities(self, photos):
        from fastai.vision.all import ImageDataLoaders
        from torch import nn

        plain = small_learner(
            loaders(ImageDataLoaders.from_folder, photos, valid_pct=0.3), 3, loss_func=nn.CrossEntropyLoss()
        )
        assert sum(predict(photos / "red" / "00.jpg", plain).probabilities.values()) == pytest.approx(1, abs=1e-5)

    def test_text_and_html_name_the_decision_and_every_class(self, learn, photos):
        prediction = predict(photos / "red" / "00.jpg", learn)
        bundle = prediction._repr_mimebundle_()
        for form in (bundle["text/plain"], bundle["text/html"]):
            assert f"{prediction.label} ({prediction.probability:.1%})" in form
            assert all(name in form for name in COLOURS)
        assert "data:image/jpeg;base64," in bundle["text/html"]
        assert bundle["text/plain"].count("█") > 5

    def test_only_the_top_classes_are_shown_and_the_rest_counted(self, learn, photos):
        assert "and 2 more classes" in repr(predict(photos / "red" / "00.jpg", learn, top=1))


class TestMany:
    def test_a_folder_gives_the_table_of_get_preds(self, learn, photos):
        predictions = predict(photos, learn)
        files = sorted(photos.rglob("*.jpg"))
        with quiet(learn):
            expected = learn.get_preds(dl=learn.dls.test_dl(files))[0].numpy()
        table = predictions.frame
        assert list(table.columns) == ["item", "label", "probability", "p(blue)", "p(green)", "p(red)"]
        assert list(table["item"]) == [str(path) for path in files]
        np.testing.assert_allclose(table[["p(blue)", "p(green)", "p(red)"]], expected, atol=1e-5)
        assert list(table["label"]) == [learn.dls.vocab[i] for i in expected.argmax(1)]

    def test_a_pattern_a_list_and_mixed_members_give_their_files_in_order(self, learn, photos):
        assert len(predict(str(photos / "red" / "*.jpg"), learn)) == 14
        assert len(predict(str(photos / "**" / "00.jpg"), learn)) == 3
        mixed = [
            photos / "red" / "01.jpg",
            np.zeros((8, 8), dtype="uint8"),
            photos / "blue",
            str(photos / "green" / "0*.jpg"),
        ]
        items = predict(mixed, learn).frame["item"]
        assert len(items) == 1 + 1 + 14 + 10
        assert items[1] == "array 1"

    def test_a_batch_of_arrays_is_many(self, learn):
        assert len(predict(np.zeros((5, 20, 20, 3), dtype="uint8"), learn)) == 5

    def test_unreadable_items_are_listed_and_the_rest_predicted(self, learn, photos, tmp_path):
        good = photos / "red" / "00.jpg"
        whole = good.read_bytes()
        (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
        (tmp_path / "page.jpg").write_text("<!DOCTYPE html><p>Not found</p>")
        (tmp_path / "empty.jpg").touch()
        broken = [tmp_path / "cut.jpg", tmp_path / "page.jpg", tmp_path / "empty.jpg", tmp_path / "gone.jpg"]
        predictions = predict([broken[0], good, *broken[1:], good, np.zeros(7), None], learn)
        assert list(predictions.frame["item"]) == [str(good)] * 2
        reasons = dict(predictions.failed)
        assert [str(path) for path in broken] == list(reasons)[:4]
        assert "truncated" in reasons[str(broken[0])]
        assert "a web page" in reasons[str(broken[1])]
        assert "an empty file" in reasons[str(broken[2])]
        assert "No file 'gone.jpg'" in reasons[str(broken[3])]
        assert "shape 7" in reasons["array 6"]
        assert "Skipped 6" in repr(predictions)

    def test_a_folder_without_pictures_and_a_row_its_getter_fails_on_stop_nothing(
        self, learn, learn_from_frame, photos, frame, tmp_path
    ):
        (tmp_path / "empty").mkdir()
        predictions = predict([tmp_path / "empty", tmp_path / "*.jpg", photos / "red"], learn)
        assert len(predictions) == 14
        assert "No pictures" in predictions.failed[0][1]
        rows = frame.iloc[:4].assign(name=["gone.jpg", None, *frame["name"][2:4]])
        predictions = predict(rows, learn_from_frame)
        assert list(predictions.frame.index) == [2, 3]
        assert len(predictions.failed) == 2

    def test_a_column_of_a_frame_is_many_files(self, learn, photos):
        table = pd.DataFrame({"file": sorted(photos.rglob("*.jpg"))})
        assert len(predict(table["file"][table.index % 2 == 1], learn)) == 21

    def test_when_nothing_at_all_can_be_read_that_is_an_error(self, learn, tmp_path):
        (tmp_path / "a.jpg").touch()
        with pytest.raises(FastmagicError, match=r"None of the 1 items could be read\. .*a\.jpg"):
            predict([tmp_path / "a.jpg"], learn)

    def test_a_frame_goes_through_the_model_s_getters_and_keeps_its_index(self, learn_from_frame, frame):
        some = frame.set_index(np.arange(len(frame)) * 10).iloc[3:12]
        predictions = predict(some, learn_from_frame)
        with quiet(learn_from_frame):
            expected = learn_from_frame.get_preds(dl=learn_from_frame.dls.test_dl(some))[0].numpy()
        np.testing.assert_allclose(predictions.frame[["p(blue)", "p(green)", "p(red)"]], expected, atol=1e-5)
        assert list(predictions.frame.index) == list(some.index)
        assert "p(red)" in some.join(predictions.frame)

    def test_a_frame_of_files_works_for_a_model_built_from_a_folder(self, learn, photos):
        files = [str(path) for path in sorted(photos.rglob("00.jpg"))]
        table = pd.DataFrame({"n": range(3), "file": files, "other": files[::-1]})
        assert list(predict(table, learn).frame["item"]) == files
        assert list(predict(table, learn, column="other").frame["item"]) == files[::-1]
        with pytest.raises(FastmagicError, match=r"No column 'fiel'.\nDid you mean 'file'"):
            predict(table, learn, column="fiel")

    def test_several_labels_come_as_lists_and_are_joined_in_csv(self, learn_several, photos, tmp_path):
        predictions = predict(photos, learn_several)
        assert "probability" not in predictions.frame
        assert all(isinstance(label, list) for label in predictions.frame["label"])
        written = pd.read_csv(predictions.to_csv(tmp_path / "out.csv"), keep_default_na=False)
        assert list(written["label"]) == [";".join(label) for label in predictions.frame["label"]]

    def test_the_csv_holds_every_item_failed_ones_with_their_reason(self, learn, photos, tmp_path):
        (tmp_path / "bad.jpg").write_text("hello")
        written = pd.read_csv(predict([photos / "red", tmp_path / "bad.jpg"], learn).to_csv(tmp_path / "out.csv"))
        assert len(written) == 15
        assert "a text file" in written["error"].iloc[-1]
        assert written["p(red)"].notna().sum() == 14

    def test_progress_counts_up_to_all_of_them(self, learn, photos):
        calls = []
        predict(photos, learn, progress=lambda done, total: calls.append((done, total)))
        assert calls[-1] == (42, 42)
        assert [done for done, _ in calls] == sorted(done for done, _ in calls)
        assert len(calls) > 2

    def test_pictures_of_different_sizes_are_predicted_one_by_one_where_nothing_resizes(self, photos, tmp_path):
        from fastai.vision.all import ImageDataLoaders

        unsized = small_learner(
            loaders(ImageDataLoaders.from_folder, photos, valid_pct=0.3, item_tfms=None, batch_tfms=None), 3
        )
        for size in (20, 30):
            Image.new("RGB", (size, size), COLOURS["red"]).save(tmp_path / f"{size}.png")
        assert len(predict(tmp_path, unsized)) == 2

    def test_html_shows_thumbnails_and_counts(self, learn, photos):
        html = predict(photos, learn)._repr_mimebundle_()["text/html"]
        assert html.count("data:image/jpeg") == 10
        assert "32 more" in html


class TestTheLearnerIsLeftAlone:
    def test_modes_recorder_and_random_numbers_are_as_before(self, learn, photos):
        import random

        import torch

        learn.model.train()
        learn.model[1].eval()
        modes = [module.training for module in learn.model.modules()]
        weights = {name: tensor.clone() for name, tensor in learn.model.state_dict().items()}
        before = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
        values, attributes = list(learn.recorder.values), set(vars(learn))
        transforms = [dict(vars(f)) for f in learn.dls.valid.after_item.fs]
        predict(photos / "red" / "00.jpg", learn)
        predict(photos, learn)
        assert [module.training for module in learn.model.modules()] == modes
        assert all(torch.equal(weights[name], tensor) for name, tensor in learn.model.state_dict().items())
        assert (
            random.getstate(),
            np.random.get_state()[1].tolist(),
            torch.get_rng_state().tolist(),
        ) == before
        assert list(learn.recorder.values) == values
        assert set(vars(learn)) == attributes
        assert [dict(vars(f)) for f in learn.dls.valid.after_item.fs] == transforms

    def test_a_model_that_fails_is_put_back_in_training_mode(self, learn, photos):
        learn.model.train()
        handle = learn.model[0].register_forward_hook(lambda *_: 1 / 0)
        try:
            with pytest.raises(ZeroDivisionError):
                predict(photos / "red" / "00.jpg", learn)
        finally:
            handle.remove()
        assert learn.model.training

    def test_a_callback_that_changes_the_input_is_heard(self, learn, photos):
        from fastai.vision.all import Callback

        class Darken(Callback):
            def before_batch(self):
                self.learn.xb = (self.xb[0] * 0.2,)

        path = photos / "red" / "00.jpg"
        without = in_vocab_order(predict(path, learn), learn)
        with learn.added_cbs(Darken()):
            expected = fastai_probabilities(learn, path)
            found = in_vocab_order(predict(path, learn), learn)
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert abs(found - without).max() > 1e-3


class TestAnExportedFile:
    @pytest.fixture
    def exported(self, learn, tmp_path):
        path, learn.path = learn.path, tmp_path
        try:
            learn.export("model.pkl")
        except TypeError as error:
            pytest.skip(f"fastai itself cannot export here (plum-dispatch 2.10 with older fasttransform): {error}")
        finally:
            learn.path = path
        return tmp_path / "model.pkl"

    def test_it_predicts_as_the_learner_and_is_read_once(self, exported, learn, photos, monkeypatch):
        import fastai.learner

        loads = []
        real = fastai.learner.load_learner
        monkeypatch.setattr(fastai.learner, "load_learner", lambda *a, **k: loads.append(1) or real(*a, **k))
        path = photos / "green" / "02.jpg"
        expected = in_vocab_order(predict(path, learn), learn)
        for _ in range(2):
            np.testing.assert_allclose(in_vocab_order(predict(path, exported), learn), expected, atol=1e-6)
        assert len(predict(photos, str(exported))) == 42
        assert len(loads) == 1
        os.utime(exported, ns=(1, 1))
        predict(path, exported)
        assert len(loads) == 2

    def test_a_module_that_is_missing_is_named(self, learn, photos, tmp_path, monkeypatch, export):
        (tmp_path / "my_metrics.py").write_text("def mine(given, wanted):\n    return 0.0\n")
        monkeypatch.syspath_prepend(tmp_path)
        other = copy.copy(learn)
        other.path, other.my_metric = tmp_path, importlib.import_module("my_metrics").mine
        export(other, "model.pkl")
        (tmp_path / "my_metrics.py").unlink()
        sys.modules.pop("my_metrics")
        with pytest.raises(
            FastmagicError, match=r"needs the module my_metrics, which is not here\.\nPut my_metrics\.py"
        ):
            predict(photos / "red" / "00.jpg", tmp_path / "model.pkl")

    def test_weights_alone_and_other_files_are_refused_with_what_to_do(self, learn, photos, tmp_path):
        import torch

        torch.save(learn.model.state_dict(), tmp_path / "weights.pth")
        (tmp_path / "notes.pkl").write_text("hello")
        for name in ("weights.pth", "notes.pkl"):
            with pytest.raises(FastmagicError, match=r"learn\.export"):
                predict(photos / "red" / "00.jpg", tmp_path / name)
        with pytest.raises(FastmagicError, match=r"Did you mean 'notes.pkl'"):
            predict(photos / "red" / "00.jpg", tmp_path / "note.pkl")


class TestMistakesAreSaid:
    def test_a_missing_file_names_the_closest(self, learn, photos):
        with pytest.raises(FastmagicError, match=r"No file '00.jpeg' in .*\nDid you mean '00.jpg'"):
            predict(photos / "red" / "00.jpeg", learn)
        with pytest.raises(FastmagicError, match=r"No folder 'rde' in .*\nDid you mean 'red'"):
            predict(photos / "rde" / "00.jpg", learn)

    def test_a_folder_without_pictures_names_the_nearest_that_has_some(self, learn, tmp_path):
        write_image(tmp_path / "full" / "a.jpg", COLOURS["red"], 0)
        (tmp_path / "empty").mkdir()
        with pytest.raises(FastmagicError, match=r"No pictures in .*\nThe nearest folder with pictures is .*full"):
            predict(tmp_path / "empty", learn)

    def test_a_pattern_that_matches_nothing_says_what_is_there(self, learn, photos):
        with pytest.raises(FastmagicError, match=r"No file matches .*\n.*14 \.jpg"):
            predict(str(photos / "red" / "*.png"), learn)

    def test_what_is_no_picture_is_called_what_it_is(self, learn, tmp_path):
        for content, name in (
            (b"%PDF-1.4 ", "a PDF"),
            (b"a,b\n1,2\n", "a text file"),
            (b"\0\0\0\x18ftypheic", "a HEIC photo"),
        ):
            (tmp_path / "file.jpg").write_bytes(content)
            with pytest.raises(FastmagicError, match=f"'file.jpg' is not a picture but {name}"):
                predict(tmp_path / "file.jpg", learn)

    @pytest.mark.parametrize(("array", "said"), [
        (np.zeros((2, 2, 7)), "shape 2×2×7"),
        (np.zeros((9,)), "shape 9"),
        (np.full((4, 4, 3), -1.0), "go from -1 to -1"),
        (np.full((4, 4, 3), 300), "go from 300 to 300"),
        (np.full((4, 4, 3), np.nan), "nan"),
        (np.array([["a", "b"]]), "<U1"),
    ])  # fmt: skip
    def test_an_array_that_is_no_picture_is_told_what_is_accepted(self, learn, array, said):
        with pytest.raises(FastmagicError, match=said) as error:
            predict(array, learn)
        assert "H×W×3" in str(error.value)

    def test_no_learner_and_no_item_are_said(self, learn, photos):
        with pytest.raises(FastmagicError, match="no learner"):
            predict(photos, None)
        with pytest.raises(FastmagicError, match="int is no fastai learner"):
            predict(photos, 3)
        with pytest.raises(FastmagicError, match="nothing to predict"):
            predict(None, learn)
        with pytest.raises(FastmagicError, match="dict is nothing this model can look at"):
            predict({}, learn)

    def test_a_head_that_does_not_fit_the_classes_is_said(self, photos, learn):
        from fastai.vision.all import ImageDataLoaders, Learner

        odd = Learner(loaders(ImageDataLoaders.from_folder, photos, valid_pct=0.3), learn.model[:-1])
        with pytest.raises(FastmagicError, match="32 numbers for 3 classes"):
            predict(photos / "red" / "00.jpg", odd)


@pytest.fixture(scope="module")
def server(photos):
    jpeg = (photos / "red" / "00.jpg").read_bytes()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            places = {"/loop": "/loop", "/file": "file:///etc/hostname", "/moved": "/bird.jpg"}
            if self.path in places:
                self.send_response(302)
                self.send_header("Location", places[self.path])
                self.end_headers()
            elif self.path == "/missing.jpg":
                self.send_error(404)
            elif self.path == "/page.jpg":
                self.answer(b"<html><body>Please log in</body></html>")
            elif self.path == "/huge.jpg":
                self.answer(b"\0" * 300_000)
            elif self.path == "/bomb.png":
                buffer = io.BytesIO()
                Image.new("1", (20_000, 20_000)).save(buffer, "PNG")
                self.answer(buffer.getvalue())
            else:
                self.answer(jpeg)

        def answer(self, body):
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


class TestAddresses:
    def test_a_picture_is_fetched_redirects_followed(self, server, learn, photos):
        expected = in_vocab_order(predict(photos / "red" / "00.jpg", learn), learn)
        for path in ("bird.jpg", "moved"):
            prediction = predict(f"{server}/{path}", learn)
            np.testing.assert_allclose(in_vocab_order(prediction, learn), expected, atol=1e-6)
            assert prediction.source == f"{server}/{path}"

    @pytest.mark.parametrize(("path", "said"), [
        ("missing.jpg", "answered 404"),
        ("page.jpg", "not a picture but a web page"),
        ("loop", "redirects more than 5 times"),
        ("file", "'file:///etc/hostname' is no http or https address"),
        ("bomb.png", "too large"),
    ])  # fmt: skip
    def test_what_goes_wrong_is_said(self, server, learn, path, said):
        with pytest.raises(FastmagicError, match=said):
            predict(f"{server}/{path}", learn)

    def test_many_addresses_skip_the_broken_one(self, server, learn):
        predictions = predict([f"{server}/a.jpg", f"{server}/missing.jpg", f"{server}/b.jpg"], learn)
        assert list(predictions.frame["item"]) == [f"{server}/a.jpg", f"{server}/b.jpg"]
        assert "404" in predictions.failed[0][1]

    def test_too_many_bytes_are_refused(self, server):
        with pytest.raises(FastmagicError, match=r"larger than 0\.1 MB"):
            fetch(f"{server}/huge.jpg", max_bytes=100_000)

    def test_a_closed_port_and_a_foreign_scheme_are_said(self, server, learn):
        with pytest.raises(FastmagicError, match=r"Cannot reach http://127.0.0.1:9/x: Connection refused"):
            predict("http://127.0.0.1:9/x", learn)
        with pytest.raises(FastmagicError, match="is no http or https address"):
            predict("ftp://example.org/bird.jpg", learn)

    def test_the_public_policy_refuses_private_addresses_by_number_and_by_name(self, server, learn):
        port = server.rpartition(":")[2]
        for host in ("127.0.0.1", "localhost", "2130706433", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"):
            with pytest.raises(FastmagicError, match=r"private address|No such host"):
                predict(f"http://{host}:{port}/bird.jpg", learn, allow_url="public")

    def test_a_name_that_changes_its_address_after_the_check_is_still_refused(self, server, learn, monkeypatch):
        # DNS rebinding: the first look-up is public, the one that connects is not.
        from fastmagic.data import download

        monkeypatch.setattr(download.socket, "getaddrinfo", rebinding(download.socket.getaddrinfo))
        with pytest.raises(FastmagicError, match=r"'rebind.test' is a private address"):
            predict(f"http://rebind.test:{server.rpartition(':')[2]}/bird.jpg", learn, allow_url="public")

    def test_a_function_may_refuse_and_sees_every_hop(self, server, learn):
        seen = []
        predict(f"{server}/moved", learn, allow_url=seen.append)
        assert seen == [f"{server}/moved", f"{server}/bird.jpg"]

    @pytest.mark.parametrize("address", [
        "10.0.0.1", "169.254.169.254", "192.168.1.1", "100.64.0.1", "224.0.0.1", "::1",
        "fe80::1%eth0", "fc00::1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::",
    ])  # fmt: skip
    def test_addresses_that_are_not_the_open_internet(self, address):
        assert not is_public(address)

    def test_addresses_that_are(self):
        assert is_public("1.1.1.1")
        assert is_public("2606:4700::1111")
        assert is_public("::ffff:1.1.1.1")


def rebinding(real):
    """Return a `getaddrinfo` that says 'rebind.test' is public the first time and loopback afterwards."""
    answers = iter(["93.184.215.14"])

    def look_up(host, *args, **kwargs):
        return real(next(answers, "127.0.0.1") if host == "rebind.test" else host, *args, **kwargs)

    return look_up


class TestCode:
    def test_the_program_for_one_item_prints_what_predict_says(self, learn, photos, capsys):
        path = photos / "red" / "00.jpg"
        with learn.no_bar(), learn.no_logging():
            exec(predict_code(repr(str(path)), "learn", many=False), {"learn": learn})
        assert capsys.readouterr().out.strip().startswith(predict(path, learn).label)

    def test_the_program_for_many_gives_the_same_table(self, learn, photos):
        namespace = {"learn": learn}
        with quiet(learn):
            exec(predict_code(f"sorted(get_image_files({str(photos)!r}))", "learn", many=True), namespace)
        expected = predict(photos, learn).frame
        assert list(namespace["frame"]["label"]) == list(expected["label"])
        np.testing.assert_allclose(namespace["frame"]["red"], expected["p(red)"], atol=1e-5)


# ------------------------------------------------------------------------------------------------------ tables


@pytest.fixture(scope="module")
def table():
    """A model of a table, and the table."""
    from fastai.tabular.all import Categorify, Normalize, TabularDataLoaders, tabular_learner

    frame = pd.DataFrame({"colour": list("xyzw") * 10, "size": range(40), "y": ["big", "small"] * 20})
    dls = TabularDataLoaders.from_df(
        frame, procs=[Categorify, Normalize], cat_names=["colour"], cont_names=["size"], y_names="y", bs=16
    )
    return tabular_learner(dls, layers=[8]), frame


def test_rows_of_a_table_are_predicted_however_they_come(table, tmp_path):
    learn, frame = table
    frame[:4].to_csv(tmp_path / "rows.csv", index=False)
    rows = [row for _, row in frame[:4].iterrows()]
    expected = predict(frame[:4], learn).frame
    for given in (tmp_path / "rows.csv", str(tmp_path / "rows.csv"), rows, frame[:4].to_dict("records")):
        found = predict(given, learn).frame
        assert found.drop(columns="item").equals(expected.drop(columns="item"))
    assert predict(rows[1], learn).label == expected.iloc[1]["label"]
    assert predict(dict(rows[1]), learn).label == expected.iloc[1]["label"]


def test_what_is_no_row_of_a_table_is_said(table, tmp_path):
    learn, _ = table
    with pytest.raises(FastmagicError, match=r"No file 'rows\.csv'"):
        predict(tmp_path / "rows.csv", learn)
    with pytest.raises(FastmagicError, match="int is no row"):
        predict([1, 2], learn)
    with pytest.raises(FastmagicError, match="lacks what the model was trained on"):
        predict({"colour": "x"}, learn)


@pytest.mark.parametrize("special", ["weighted", "partial"])
def test_loaders_that_choose_items_otherwise_change_no_prediction(shapes, special):
    """One array was taken for 64 items, a row of pixels each; a picture and a folder were raw errors."""
    import fastai.callback.data  # noqa: F401  adds weighted_dataloaders
    from fastai.vision.all import (
        CategoryBlock,
        DataBlock,
        ImageBlock,
        PILImage,
        RandomSplitter,
        Resize,
        get_image_files,
        parent_label,
        vision_learner,
    )

    import fastmagic

    block = DataBlock(
        (ImageBlock, CategoryBlock),
        get_items=get_image_files,
        splitter=RandomSplitter(0.2, seed=1),
        get_y=parent_label,
        item_tfms=Resize(48),
    )
    files = get_image_files(shapes).sorted()
    if special == "weighted":
        dls = block.weighted_dataloaders(shapes, np.ones(len(files)), bs=8)
    else:
        dls = block.datasets(shapes).partial_dataloaders(
            partial_n=16, bs=8, after_item=block.item_tfms, after_batch=block.batch_tfms
        )
    learn = vision_learner(dls, fastmagic.tiny)
    with learn.no_bar(), learn.no_logging():
        expected = learn.predict(files[0])[2].tolist()
    picture = PILImage.create(files[0])
    for item in (files[0], picture, np.array(picture), files[0].read_bytes()):
        found = predict(item, learn)
        assert [found.probabilities[name] for name in dls.vocab] == pytest.approx(expected, abs=1e-5)
    assert len(predict(shapes / "disc", learn).frame) == 60
