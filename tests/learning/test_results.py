"""`results`: one pass, right for every kind of dataloaders, computed again only when something changed."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import random
import warnings
import weakref
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fastmagic.errors import FastmagicError
from fastmagic.learning import results as results_module
from fastmagic.learning.results import results, results_code

Image = pytest.importorskip("PIL.Image")
COLOURS = {"blue": (40, 40, 190), "green": (40, 170, 40), "red": (200, 40, 40)}


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results_photos")
    for name, colour in COLOURS.items():
        (folder / name).mkdir()
        for i in range(14):
            pixels = np.random.default_rng(i).normal(colour, 80, (32, 40, 3)).clip(0, 255).astype("uint8")
            Image.fromarray(pixels).save(folder / name / f"{i:02}.png")
    return folder


@pytest.fixture(scope="session")
def frame(photos):
    rows = []
    for path in sorted(photos.rglob("*.png")):
        odd = int(path.stem) % 2
        labels = f"{path.parent.name} odd" if odd else path.parent.name
        row = {"name": str(path.relative_to(photos)), "colour": path.parent.name, "labels": labels}
        rows.append({**row, "size": float(path.stem)})
    return pd.DataFrame(rows)


def loaders(factory, *args, **kwargs):
    from fastai.vision.all import Resize, aug_transforms

    common = {"item_tfms": Resize(24), "batch_tfms": aug_transforms(), "seed": 1, "bs": 8, "num_workers": 0}
    return factory(*args, **{**common, **kwargs})


def small_learner(dls, n_out: int, epochs: int = 1, **kwargs):
    """Make a small net with batch normalisation and dropout, so that a wrong mode shows."""
    from fastai.vision.all import Learner, set_seed
    from torch import nn

    set_seed(0)
    layers = [nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(2)]
    model = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.5), nn.Linear(32, n_out))
    learn = Learner(dls, model, lr=0.003, **kwargs)
    with quiet(learn):
        learn.fit(epochs)
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


def from_folder(photos):
    from fastai.vision.all import ImageDataLoaders

    return loaders(ImageDataLoaders.from_folder, photos, valid_pct=0.4)


def from_csv(photos, frame):
    from fastai.vision.all import ImageDataLoaders

    frame.to_csv(photos / "labels.csv", index=False)
    return loaders(ImageDataLoaders.from_csv, photos, csv_fname="labels.csv", label_col="colour")


def from_block(photos, frame, target, **kwargs):
    from fastai.vision.all import ColReader, DataBlock, ImageBlock, RandomSplitter, Resize

    block = DataBlock(
        blocks=(ImageBlock, target),
        get_x=ColReader("name", pref=photos),
        splitter=RandomSplitter(0.3, seed=2),
        item_tfms=Resize(24),
        **kwargs,
    )
    return block.dataloaders(frame, bs=8, num_workers=0)


@pytest.fixture(scope="session")
def learn(photos):
    return small_learner(from_folder(photos), 3)


@pytest.fixture(scope="session")
def learn_several(photos, frame):
    from fastai.vision.all import ColReader, MultiCategoryBlock

    return small_learner(
        from_block(photos, frame, MultiCategoryBlock, get_y=ColReader("labels", label_delim=" ")), 4, 3
    )


@pytest.fixture(scope="session")
def learn_number(photos, frame):
    from fastai.vision.all import ColReader, RegressionBlock

    return small_learner(from_block(photos, frame, RegressionBlock, get_y=ColReader("size")), 1)


def fastai_pass(learn, split: str):
    """Return fastai's probabilities, targets and losses, validation transforms, in the order of the items."""
    dataset = {"train": learn.dls.train_ds, "valid": learn.dls.valid_ds}[split]
    with quiet(learn):
        dl = learn.dls.test_dl(dataset.items, with_labels=True)
        return [tensor.numpy() for tensor in learn.get_preds(dl=dl, with_loss=True)]


class TestTheNumbersAreFastais:
    @pytest.mark.parametrize("split", ["train", "valid"])
    @pytest.mark.parametrize("kind", ["folder", "csv", "several", "number"])
    def test_probabilities_targets_and_losses_item_by_item(self, request, photos, frame, kind, split):
        if kind == "csv":
            learn = small_learner(from_csv(photos, frame), 3)
        else:
            learn = request.getfixturevalue({"folder": "learn"}.get(kind, f"learn_{kind}"))
        found = results(learn, split)
        probabilities, targets, losses = fastai_pass(learn, split)
        np.testing.assert_allclose(found.probabilities, probabilities.reshape(len(losses), -1), atol=1e-5, rtol=1e-5)
        np.testing.assert_allclose(found.losses, losses, atol=1e-5, rtol=1e-5)
        assert len(found) == len(losses) == {"train": len(learn.dls.train_ds), "valid": len(learn.dls.valid_ds)}[split]
        colours = [path.parent.name for path in found.items]
        if kind in ("folder", "csv"):
            assert found.targets == colours == [found.vocab[i] for i in targets]
        elif kind == "several":
            odd = [["odd"] if int(path.stem) % 2 else [] for path in found.items]
            assert [set(t) for t in found.targets] == [{c, *o} for c, o in zip(colours, odd, strict=True)]
        else:
            assert found.targets == [float(path.stem) for path in found.items]

    def test_class_weights_and_smoothing_of_the_loss_are_in_the_losses(self, photos):
        import torch
        from fastai.vision.all import CrossEntropyLossFlat, LabelSmoothingCrossEntropy

        weighted = CrossEntropyLossFlat(weight=torch.tensor([1.0, 5.0, 0.2]))
        for loss in (weighted, LabelSmoothingCrossEntropy(eps=0.3)):
            learn = small_learner(from_folder(photos), 3, loss_func=loss)
            reduction = loss.reduction
            np.testing.assert_allclose(results(learn).losses, fastai_pass(learn, "valid")[2], atol=1e-5)
            assert loss.reduction == reduction

    def test_the_loss_as_fastai_averages_it_is_said_where_it_is_another(self, photos):
        import torch
        from fastai.vision.all import CrossEntropyLossFlat

        learn = small_learner(
            from_folder(photos), 3, loss_func=CrossEntropyLossFlat(weight=torch.tensor([1.0, 5.0, 0.2]))
        )
        with learn.no_bar(), learn.no_logging():
            valid_loss = float(learn.validate()[0])
        found = results(learn)
        assert found.loss == pytest.approx(valid_loss, rel=0.02)  # its batches are of another size
        assert f"mean loss {found.losses.mean():.4f} an item, {found.loss:.4f} as fastai averages it" in repr(found)
        plain = results(small_learner(from_folder(photos), 3))
        assert plain.loss == pytest.approx(plain.losses.mean(), rel=1e-4)
        assert "as fastai averages it" not in repr(plain)

    def test_classes_without_an_item_are_one_row(self, photos):
        from fastai.vision.all import (
            CategoryBlock,
            DataBlock,
            FuncSplitter,
            ImageBlock,
            Resize,
            get_image_files,
            parent_label,
        )

        block = DataBlock(
            (ImageBlock, CategoryBlock), get_items=get_image_files, get_y=parent_label, item_tfms=Resize(32),
            splitter=FuncSplitter(lambda file: file.parent.name == min(p.name for p in photos.iterdir()) and file.stem < "05"),
        )  # fmt: skip
        dls = block.dataloaders(photos, bs=8, num_workers=0)
        shown = repr(results(small_learner(dls, 3)))
        assert "2 classes without an item" in shown
        assert sum(name in shown.split("precision")[1].split("Most")[0] for name in dls.vocab) == 1

    def test_a_loss_that_only_knows_the_mean_is_taken_item_by_item(self, photos):
        from torch.nn.functional import cross_entropy

        def own_loss(outputs, targets):
            return cross_entropy(outputs, targets) * 2

        learn = small_learner(from_folder(photos), 3, loss_func=own_loss)
        twice = results(learn).losses
        learn.loss_func = cross_entropy
        np.testing.assert_allclose(twice, results(learn).losses * 2, atol=1e-5)

    def test_a_table_of_numbers_and_categories_works_too(self):
        from fastai.tabular.all import Categorify, Normalize, TabularDataLoaders, tabular_learner

        rng = np.random.default_rng(0)
        table = pd.DataFrame({"x": rng.normal(size=120), "kind": rng.choice(list("ab"), 120)})
        table["sign"] = np.where(table["x"] > 0, "plus", "minus")
        dls = TabularDataLoaders.from_df(
            table, procs=[Categorify, Normalize], cat_names="kind", cont_names="x", y_names="sign", bs=16
        )
        learn = tabular_learner(dls, layers=[8])
        with quiet(learn):
            learn.fit(1)
            probabilities, targets, losses = [t.numpy() for t in learn.get_preds(with_loss=True)]
        found = results(learn)
        np.testing.assert_allclose(found.probabilities, probabilities, atol=1e-5)
        np.testing.assert_allclose(found.losses, losses, atol=1e-5)
        assert found.targets == [found.vocab[i] for i in targets.ravel()]


def hot(labels, vocab) -> np.ndarray:
    """Return labels, or lists of them, as items × classes."""
    return np.array(
        [[name in label if isinstance(label, list) else name == label for name in vocab] for label in labels]
    )


class TestViews:
    def test_the_confusion_matrix_and_most_confused_count_the_same_pairs(self, learn):
        found = results(learn, "train")
        matrix = found.confusion_matrix()
        assert matrix.shape == (3, 3)
        assert matrix.sum() == len(found)
        assert np.trace(matrix) == found.correct.sum()
        for actual, predicted, count in found.most_confused():
            pairs = zip(found.targets, found.predictions, strict=True)
            assert count == sum(pair == (actual, predicted) for pair in pairs) > 0
            assert matrix[found.vocab.index(actual), found.vocab.index(predicted)] == count
        counts = [count for *_, count in found.most_confused()]
        assert counts == sorted(counts, reverse=True)
        assert sum(counts) == (~found.correct).sum() > 0
        assert all(count >= 3 for *_, count in found.most_confused(min=3))

    def test_per_class_agrees_with_scikit_learn(self, learn, learn_several):
        from sklearn.metrics import precision_recall_fscore_support

        for one in (learn, learn_several):
            found = results(one, "train")
            actual, predicted = hot(found.targets, found.vocab), hot(found.predictions, found.vocab)
            expected = np.array(precision_recall_fscore_support(actual, predicted, zero_division=np.nan)).T
            table = found.per_class()
            assert list(table.index) == found.vocab
            np.testing.assert_allclose(table[["precision", "recall", "support"]], expected[:, [0, 1, 3]])

    def test_several_labels_have_a_two_by_two_matrix_each_and_no_confusion(self, learn_several):
        found = results(learn_several)
        matrices = found.confusion_matrix()
        assert matrices.shape == (4, 2, 2)
        for name, ((tn, fp), (fn, tp)) in zip(found.vocab, matrices, strict=True):
            actual = np.array([name in labels for labels in found.targets])
            predicted = np.array([name in labels for labels in found.predictions])
            assert (tn, fp) == ((~actual & ~predicted).sum(), (~actual & predicted).sum())
            assert (fn, tp) == ((actual & ~predicted).sum(), (actual & predicted).sum())
        with pytest.raises(FastmagicError, match="per_class"):
            found.most_confused()

    def test_top_losses_come_worst_first_and_filter_by_label(self, learn):
        found = results(learn, "train")
        top = found.top_losses(5)
        assert list(top["loss"]) == sorted(found.losses, reverse=True)[:5]
        assert [found.items[i] for i in top.index] == [Path(item) for item in top["item"]]
        assert set(found.top_losses(99, actual="red")["actual"]) == {"red"}
        assert set(found.top_losses(99, predicted="blue")["predicted"]) == {"blue"}
        with pytest.raises(FastmagicError, match=r"No class 'rde'.*\n?.*'red'"):
            found.top_losses(actual="rde")

    def test_the_frame_has_a_row_an_item_and_a_column_a_class(self, learn):
        found = results(learn)
        table = found.to_frame()
        columns = [
            "item",
            "actual",
            "predicted",
            "probability",
            "loss",
            "correct",
            "p(blue)",
            "p(green)",
            "p(red)",
        ]
        assert list(table.columns) == columns
        assert list(table["correct"]) == list(table["actual"] == table["predicted"])
        np.testing.assert_allclose(table["probability"], table[columns[-3:]].max(axis=1))

    def test_numbers_have_losses_and_predictions_but_no_confusion(self, learn_number):
        found = results(learn_number)
        np.testing.assert_allclose(found.losses, (np.array(found.targets) - found.predictions) ** 2, rtol=1e-4)
        for view in (found.confusion_matrix, found.per_class, found.most_confused):
            with pytest.raises(FastmagicError, match="numbers"):
                view()
        assert "mean loss" in repr(found)

    def test_the_summary_counts_what_is_wrong(self, learn):
        found = results(learn)
        wrong = int((~found.correct).sum())
        for form in found._repr_mimebundle_().values():
            assert f"{wrong} of {len(found)} wrong ({wrong / len(found):.1%})" in form
            assert "recall" in form

    def test_show_draws_a_picture_and_marks_right_and_wrong_in_words_too(self, learn):
        found = results(learn)
        shown = found.show(6, rows=found.top_losses(6))
        image = Image.open(io.BytesIO(shown.png))
        assert min(image.size) > 200
        assert np.array(image.convert("L")).std() > 10
        assert "✗" in repr(shown)
        assert len(repr(found.show(4)).splitlines()) == 5

    def test_show_leaves_a_gap_for_a_file_that_is_gone(self, photos, tmp_path):
        copied = copy_photos(photos, tmp_path)
        found = results(small_learner(from_folder(copied), 3))
        found.items[0].unlink()
        assert found.show(3).png.startswith(b"\x89PNG")


def copy_photos(photos: Path, to: Path) -> Path:
    import shutil

    return Path(shutil.copytree(photos, to / "copy"))


@pytest.fixture
def passes(monkeypatch):
    """Count the passes over a dataset."""
    count = []
    real = results_module.run_pass
    monkeypatch.setattr(results_module, "run_pass", lambda *a, **k: count.append(1) or real(*a, **k))
    return count


class TestComputedOnce:
    def test_asked_again_the_same_object_comes_back_for_each_split(self, photos, passes):
        learn = small_learner(from_folder(photos), 3)
        assert results(learn) is results(learn, "valid")
        assert results(learn, "train") is results(learn, "train")
        assert results(learn) is not results(learn, "train")
        assert len(passes) == 2

    def test_a_training_step_a_new_loss_and_an_edited_weight_each_count_as_a_change(self, photos, passes):
        import torch
        from fastai.vision.all import LabelSmoothingCrossEntropy

        learn = small_learner(from_folder(photos), 3)
        results(learn)
        with quiet(learn):
            learn.fit(1)
        results(learn)
        learn.model[-1].bias.data[0] += 0.25  # through .data, as optimizers do
        results(learn)
        learn.loss_func = LabelSmoothingCrossEntropy(eps=0.2)
        results(learn)
        learn.loss_func.eps = 0.4
        results(learn)
        with torch.no_grad():
            learn.model[1].running_mean += 1
        results(learn)
        assert len(passes) == 6
        results(learn)
        assert len(passes) == 6

    def test_a_rewritten_file_other_labels_and_other_transforms_count_as_a_change(self, photos, tmp_path, passes):
        from fastai.vision.all import (
            CategoryBlock,
            DataBlock,
            ImageBlock,
            RandomSplitter,
            Resize,
            get_image_files,
        )

        copied = copy_photos(photos, tmp_path)
        names = {path: path.parent.name for path in get_image_files(copied)}
        block = DataBlock(
            blocks=(ImageBlock, CategoryBlock),
            get_items=get_image_files,
            get_y=lambda path: names[path],
            splitter=RandomSplitter(0.3, seed=1),
            item_tfms=Resize(24),
        )
        learn = small_learner(block.dataloaders(copied, bs=8, num_workers=0), 3)
        first = results(learn)
        os.utime(first.items[0], ns=(1, 1))
        results(learn)
        names[first.items[0]] = "blue" if first.targets[0] != "blue" else "red"
        changed = results(learn)
        assert changed.targets[0] == names[first.items[0]] != first.targets[0]
        learn.dls = from_folder(copied)
        assert len(results(learn)) != len(first)
        assert len(passes) == 4

    def test_results_do_not_keep_the_learner_alive(self, photos):
        learn = small_learner(from_folder(photos), 3)
        kept, reference = results(learn), weakref.ref(learn)
        del learn
        gc.collect()
        assert reference() is None
        assert len(kept)


class TestTheLearnerIsLeftAlone:
    def test_training_after_results_gives_the_losses_of_training_without(self, photos):
        from fastai.vision.all import set_seed

        def losses(look: bool) -> list[float]:
            set_seed(3)
            learn = small_learner(from_folder(photos), 3)
            if look:
                results(learn)
                results(learn, "train")
            with quiet(learn):
                learn.fit(2)
            return [float(loss) for loss in learn.recorder.losses] + [float(v) for v in learn.recorder.values[-1]]

        assert losses(look=True) == losses(look=False)

    def test_recorder_modes_and_random_numbers_are_as_before(self, photos):
        import torch

        learn = small_learner(from_folder(photos), 3)
        learn.model.train()
        learn.model[1].eval()
        modes = [module.training for module in learn.model.modules()]
        values = list(learn.recorder.values)
        before = (random.getstate(), torch.get_rng_state().tolist(), learn.dls.train.rng.getstate())
        results(learn, "train")
        assert [module.training for module in learn.model.modules()] == modes
        assert list(learn.recorder.values) == values
        assert (random.getstate(), torch.get_rng_state().tolist(), learn.dls.train.rng.getstate()) == before


class TestMistakesAreSaid:
    def test_an_item_that_cannot_be_opened_is_named(self, photos, tmp_path):
        copied = copy_photos(photos, tmp_path)
        learn = small_learner(from_folder(copied), 3)
        bad = learn.dls.valid_ds.items[3]
        bad.write_text("no picture")
        with pytest.raises(FastmagicError, match=f"Item 3 of the valid set, {bad}, cannot be opened"):
            results(learn)

    def test_no_validation_set_an_exported_learner_and_a_wrong_split_are_said(self, photos):
        from fastai.vision.all import ImageDataLoaders

        learn = small_learner(loaders(ImageDataLoaders.from_folder, photos, valid_pct=0.4), 3, epochs=0)
        with pytest.raises(FastmagicError, match=r"No split 'vaild'.\nDid you mean 'valid'"):
            results(learn, "vaild")
        empty = small_learner(learn.dls.new_empty(), 3, epochs=0)  # what an exported learner holds
        with pytest.raises(FastmagicError, match="carries no data"):
            results(empty)
        learn.dls.loaders = learn.dls.loaders[:1]
        with pytest.raises(FastmagicError, match=r"no validation set.*\n.*RandomSplitter"):
            results(learn)


@pytest.mark.parametrize("split", ["train", "valid"])
def test_the_program_gives_the_same_losses(learn, split):
    namespace = {"learn": learn}
    with quiet(learn):
        exec(results_code("learn", split), namespace)
    np.testing.assert_allclose(namespace["losses"].numpy(), results(learn, split).losses, atol=1e-5)
