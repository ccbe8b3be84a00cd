"""The confusion view without a browser: what it counts, orders, compares, shows and notes, for every kind of learner."""

from __future__ import annotations

import base64
import contextlib
import io
import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

import fastmagic
from fastmagic.errors import FastmagicError
from fastmagic.learning.confusion import confusion_code, orders, similar
from fastmagic.learning.masks import mask_results
from fastmagic.panels.confusion import ConfusionView

# Colours; lime and moss are nearly one, and so are pink and rose.
CLASSES = {
    "blue": (40, 40, 200),
    "lime": (60, 200, 60),
    "moss": (60, 184, 60),
    "pink": (220, 90, 120),
    "rose": (212, 90, 112),
}


@contextlib.contextmanager
def quiet(learn):
    with learn.no_bar(), learn.no_logging(), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(scope="module")
def colours(tmp_path_factory) -> Path:
    random, folder = np.random.default_rng(0), tmp_path_factory.mktemp("confusion") / "colours"
    for name, colour in CLASSES.items():
        (folder / name).mkdir(parents=True)
        for i in range(16):
            pixels = random.normal(colour, 20, (24, 30, 3)) + random.normal(0, 9, 3)
            Image.fromarray(pixels.clip(0, 255).astype("uint8")).save(folder / name / f"{i:02}.png")
    return folder


def by_mean_colour(dls, centres, sharpness: float = 60.0, **kwargs):
    """A learner that tells the nearest of some colours: logistic regression on the mean colour, weights set by hand."""
    from fastai.vision.all import Learner

    centres = torch.tensor(centres, dtype=torch.float32) / 255
    last = nn.Linear(3, len(centres))
    with torch.no_grad():
        last.weight.copy_(2 * sharpness * centres)
        last.bias.copy_(-sharpness * (centres**2).sum(1))
    return Learner(dls, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), last), **kwargs)


@pytest.fixture
def learn(colours):
    from fastai.vision.all import ImageDataLoaders

    dls = ImageDataLoaders.from_folder(colours, valid_pct=0.5, seed=3, bs=16, num_workers=0)
    return by_mean_colour(dls, list(CLASSES.values()))


def retrained(learn):
    """Change the model so that some answers change: everything that was moss is now lime."""
    with torch.no_grad():
        learn.model[-1].bias[learn.dls.vocab.o2i["moss"]] -= 50
    return learn


def cell(view: ConfusionView, actual: str, predicted: str, **more):
    index = list(view.results.vocab).index
    return {"kind": "cell", "actual": index(actual), "predicted": index(predicted), **more}


def names(answer) -> list[str]:
    return [item["name"] for item in answer["items"]]


# ---------------------------------------------------------------- the matrix


def test_the_matrix_is_scikit_learns_with_names(learn):
    from sklearn.metrics import confusion_matrix

    view = fastmagic.confusion(learn)
    found = fastmagic.results(learn)
    assert view.results is found  # no second pass
    expected = confusion_matrix(found.targets, found.predictions, labels=found.vocab)
    assert view.matrix.loc["lime", "moss"] == expected[1, 2] > 0
    np.testing.assert_array_equal(view.matrix.to_numpy(), expected)
    assert list(view.matrix.index) == list(view.matrix.columns) == list(CLASSES)
    rates = view.state()["rates"]
    np.testing.assert_allclose(rates[:, [0, 1, 2, 4]], found.per_class().to_numpy())


def test_similar_classes_stand_side_by_side():
    shuffled = [[20, 0, 0, 9, 0], [0, 20, 0, 0, 8], [0, 0, 20, 1, 0], [7, 0, 0, 20, 0], [0, 9, 0, 0, 20]]
    order = similar(shuffled)
    assert sorted(order) == [0, 1, 2, 3, 4]
    for pair in ((0, 3), (1, 4)):
        assert abs(order.index(pair[0]) - order.index(pair[1])) == 1
    assert similar(np.diag([5, 6, 7])) == [0, 1, 2]  # no mistakes: as given
    assert orders(["a10", "a2", "B1"], np.eye(3))["name"] == [1, 0, 2]


def test_two_hundred_classes_are_ordered_and_drawn_in_seconds_and_fit_a_notebook(tmp_path):
    from fastai.vision.all import CategoryBlock, DataBlock, ImageBlock, IndexSplitter

    random = np.random.default_rng(0)
    shades = random.integers(0, 255, (200, 3))
    arrays = [
        np.tile(np.clip(shades[i % 200] + random.normal(0, 25, 3), 0, 255).astype("uint8"), (6, 6, 1))
        for i in range(600)
    ]
    block = DataBlock(
        (ImageBlock, CategoryBlock), get_x=lambda i: arrays[i], get_y=lambda i: f"shade {i % 200:03}",
        splitter=IndexSplitter(range(200, 600)),
    )  # fmt: skip
    learn = by_mean_colour(block.dataloaders(list(range(600)), bs=64, num_workers=0), shades.tolist(), 200)
    view = fastmagic.confusion(learn, order="confusion")
    assert view.matrix.shape == (200, 200)
    still = view.still()
    assert len(base64.b64encode(still.png)) + len(still.html) < 200_000
    picture = np.asarray(Image.open(io.BytesIO(still.png)).convert("RGB")).reshape(-1, 3).astype(int)
    assert ((picture[:, 0] - picture[:, 2]) > 100).sum() > 100  # orange: mistakes can be seen
    assert "taken for" in still.text
    # Items that are no files are shown, but nothing can be noted about them.
    item = view.on_items({"kind": "worst"})["items"][0]
    assert item["picture"].data
    assert not item["decides"]
    assert view.journal is None


def test_options_that_do_not_exist_are_said(learn):
    with pytest.raises(FastmagicError, match="No order 'size'"):
        fastmagic.confusion(learn, order="size")
    with pytest.raises(FastmagicError, match="No normalize 'row'"):
        fastmagic.confusion(learn, normalize="row")
    with pytest.raises(FastmagicError, match="cannot be compared"):
        fastmagic.confusion(learn, before=3)


# ---------------------------------------------------------------- items


def test_a_cell_has_its_pictures_worst_loss_first_in_pages(learn):
    view = fastmagic.confusion(learn, "train")
    found = view.results
    selection = cell(view, "lime", "lime")
    answer = view.on_items(selection, count=3)
    expected = [
        i for i in np.argsort(-found.losses, kind="stable") if found.targets[i] == found.predictions[i] == "lime"
    ]
    assert answer["total"] == view.matrix.loc["lime", "lime"] == len(expected) > 3
    more = view.on_items(selection, start=3, count=24)
    assert [item["position"] for item in [*answer["items"], *more["items"]]] == expected
    item = answer["items"][0]
    assert item["name"] == f"lime/{found.items[expected[0]].name}"
    assert item["loss"] == pytest.approx(found.losses[expected[0]])
    assert item["top"][0] == ("lime", pytest.approx(found.probabilities[expected[0]].max()))
    assert len(item["top"]) == 3
    assert Image.open(io.BytesIO(item["picture"].data)).size == (30, 24)
    large = view.on_large(item["position"])
    assert large["place"] == str(found.items[expected[0]])
    assert len(large["top"]) == 5


def test_a_class_lists_what_was_missed_and_what_was_taken_for_it(learn):
    view = fastmagic.confusion(learn)
    found = view.results
    answer = view.on_items({"kind": "class", "class": found.vocab.index("lime")})
    wrong = [
        i for i in range(len(found)) if not found.correct[i] and "lime" in (found.targets[i], found.predictions[i])
    ]
    assert {item["position"] for item in answer["items"]} == set(wrong) != set()


def test_a_file_that_is_gone_leaves_a_gap(learn, tmp_path):
    view = fastmagic.confusion(learn)
    view.results.items[0] = view.results.items[0].with_name("gone.png")
    view.results._raw[0] = view.results.items[0]
    item = view.on_large(0)
    assert item["gone"]
    assert "picture" not in item


# ---------------------------------------------------------------- before and after


def test_a_second_view_after_a_retrain_compares_itself_with_the_first(learn):
    first = fastmagic.confusion(learn)
    old = first.matrix
    second = fastmagic.confusion(retrained(learn))
    state = second.state()["before"]
    assert "this learner" in state["label"]
    np.testing.assert_array_equal(state["matrix"], old.to_numpy())
    before, after = first.results, second.results
    assert after is not before
    right = [i for i in range(len(after)) if after.correct[i] and not before.correct[i]]
    wrong = [i for i in range(len(after)) if before.correct[i] and not after.correct[i]]
    assert (state["changed"]["right"], state["changed"]["wrong"]) == (len(right), len(wrong))
    answer = second.on_items({"kind": "changed", "how": "wrong"})
    assert {item["position"] for item in answer["items"]} == set(wrong) != set()
    assert all(item["before"] == "moss" for item in answer["items"])
    assert f"{len(wrong)} newly wrong" in second.still().text
    # Looked at again, nothing retrained: still compared with the first.
    again = fastmagic.confusion(learn)
    np.testing.assert_array_equal(again.state()["before"]["matrix"], old.to_numpy())


def test_a_cell_of_the_difference_shows_what_came_and_what_left(learn):
    first = fastmagic.confusion(learn)
    second = fastmagic.confusion(retrained(learn), before=first)
    moss = [i for i in range(len(first.results)) if first.results.targets[i] == "moss"]
    was = {i for i in moss if first.results.predictions[i] == "lime"}
    now = {i for i in moss if second.results.predictions[i] == "lime"}
    answer = second.on_items(cell(second, "moss", "lime", which="difference"))
    assert {item["position"] for item in answer["items"]} == was ^ now != set()
    assert f"{len(now - was)} came, {len(was - now)} left" in answer["title"]
    answer = second.on_items(cell(second, "moss", "lime", which="before"))
    assert {item["position"] for item in answer["items"]} == was


def test_classes_that_were_not_there_before_count_nothing_then(learn, colours, tmp_path):
    import shutil

    from fastai.vision.all import ImageDataLoaders

    shutil.copytree(colours, tmp_path / "fewer")
    shutil.rmtree(tmp_path / "fewer" / "rose")
    dls = ImageDataLoaders.from_folder(tmp_path / "fewer", valid_pct=0.5, seed=3, bs=16, num_workers=0)
    fewer = fastmagic.confusion(by_mean_colour(dls, list(CLASSES.values())[:4]))
    view = fastmagic.confusion(learn, before=fewer)
    state = view.state()
    assert state["before"]["matrix"][4].sum() == 0
    np.testing.assert_array_equal(state["before"]["matrix"][:4, :4], fewer.matrix.to_numpy())
    assert any("rose new" in note for note in state["notes"])


# ---------------------------------------------------------------- decisions


def test_decisions_are_noted_beside_the_data_and_shown_again(learn, colours):
    view = fastmagic.confusion(learn)
    (first, second) = [item["position"] for item in view.on_items({"kind": "worst"}, count=2)["items"]]
    answer = view.on_decide([first], "relabel", "moss")
    assert answer["decisions"] == [{"action": "relabel", "to": "moss"}]
    view.on_decide([second], "aside")
    journal = colours / ".fastmagic" / "decisions.jsonl"
    assert journal.is_file()
    file = view.results.items[first]
    assert file.is_file()  # nothing is moved
    assert file.parent.name != "moss"
    again = fastmagic.confusion(learn)
    item, other = again.on_items({"kind": "worst"}, count=2)["items"]
    assert (item["decision"], other["decision"]["action"]) == ({"action": "relabel", "to": "moss"}, "aside")
    assert again.state()["journal"]["relabel"] == 1
    assert "relabel to moss" in again.still().html
    again.on_decide([first], "undo")
    assert view.on_items({"kind": "worst"}, count=1)["items"][0]["decision"] is None
    with pytest.raises(FastmagicError, match=r"No class 'mos'.\nDid you mean 'moss'"):
        view.on_decide([first], "relabel", "mos")
    journal.unlink()


# ---------------------------------------------------------------- several labels, masks, tables, numbers


def test_several_labels_have_a_matrix_each_and_their_mistakes(colours):
    from fastai.vision.all import DataBlock, ImageBlock, MultiCategoryBlock, RandomSplitter, get_image_files

    wanted = {"blue": ["cold"], "lime": ["green", "light"], "moss": ["green"], "pink": ["light"], "rose": []}
    block = DataBlock(
        (ImageBlock, MultiCategoryBlock), get_items=get_image_files, get_y=lambda p: wanted[p.parent.name],
        splitter=RandomSplitter(0.5, seed=1),
    )  # fmt: skip
    learn = by_mean_colour(
        block.dataloaders(colours, bs=16, num_workers=0), [[0, 0, 255], [0, 255, 0], [255, 255, 255]], 3
    )
    view = fastmagic.confusion(learn)
    found = view.results
    counts = view.matrix
    mistakes = counts["false negatives"] + counts["false positives"]
    assert view.state()["orders"]["confusion"][0] == list(found.vocab).index(mistakes.idxmax())
    for name in found.vocab:
        missed = [i for i, t in enumerate(found.targets) if name in t and name not in found.predictions[i]]
        assert counts.loc[name, "false negatives"] == len(missed)
        answer = view.on_items({"kind": "cell", "class": list(found.vocab).index(name), "actual": 0, "predicted": 1})
        assert {item["position"] for item in answer["items"]} == set(missed[:24])
    assert mistakes.sum() > 0
    answer = view.on_decide([0], "relabel", ["cold", "light"])
    assert answer["decisions"][0]["to"] == "cold;light"
    view.on_decide([0], "undo")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> Path:
    """Pictures of a bright square on dark ground; the uppermost rows are labelled Void."""
    random, folder = np.random.default_rng(1), tmp_path_factory.mktemp("scenes")
    for part in ("images", "labels"):
        (folder / part).mkdir()
    for k in range(10):
        mask = np.zeros((24, 32), np.uint8)
        y, x = random.integers(4, 12, 2)
        mask[y : y + 8, x : x + 8] = 1
        picture = np.where(mask, 190, 60)[..., None] + random.normal(0, 30, (24, 32, 3))
        mask[:2] = 2
        Image.fromarray(picture.clip(0, 255).astype("uint8")).save(folder / "images" / f"{k}.png")
        Image.fromarray(mask).save(folder / "labels" / f"{k}.png")
    return folder


def mask_learner(scenes, **kwargs):
    from fastai.vision.all import CrossEntropyLossFlat, Learner, SegmentationDataLoaders, get_image_files

    codes = ["ground", "square", "Void"]
    dls = SegmentationDataLoaders.from_label_func(
        scenes, get_image_files(scenes / "images"), lambda p: scenes / "labels" / p.name, codes=codes, bs=3, seed=1,
        valid_pct=0.5, num_workers=0,
    )  # fmt: skip
    torch.manual_seed(0)
    learn = Learner(dls, nn.Conv2d(3, 3, 3, padding=1), loss_func=CrossEntropyLossFlat(axis=1, **kwargs))
    with quiet(learn):
        learn.fit(3, 0.1)
    return learn


def test_masks_are_counted_pixel_by_pixel_without_void(scenes):
    from sklearn.metrics import confusion_matrix

    learn = mask_learner(scenes)
    view = fastmagic.confusion(learn)
    with quiet(learn):
        outputs, masks = learn.get_preds(dl=learn.dls.test_dl(learn.dls.valid_ds.items, with_labels=True))
    actual, predicted = masks.numpy().ravel(), outputs.argmax(1).numpy().ravel()
    labelled = actual != 2
    expected = confusion_matrix(actual[labelled], predicted[labelled], labels=[0, 1, 2])
    np.testing.assert_array_equal(view.matrix.to_numpy(), expected)
    assert any("320 pixels labelled Void" in note for note in view.state()["notes"])
    assert mask_results(learn) is view.results  # kept
    answer = view.on_items(cell(view, "square", "ground"))
    pixels = [item["pixels"] for item in answer["items"]]
    assert pixels == sorted(pixels, reverse=True)
    assert sum(pixels) == view.matrix.loc["square", "ground"] > 0
    overlay = np.asarray(Image.open(io.BytesIO(answer["items"][0]["picture"].data)).convert("RGB")).astype(int)
    marked = (overlay[..., 0] - overlay[..., 1]) > 100
    actual, predicted = view.results.masks(answer["items"][0]["position"])
    np.testing.assert_array_equal(marked, (actual == 1) & (predicted == 0))
    assert [part["caption"] for part in view.on_large(0)["more"]] == ["as the model saw it", "actual", "predicted"]
    assert "pixels" in view.still().text


def test_what_the_loss_ignores_is_left_out_of_masks(scenes):
    view = fastmagic.confusion(mask_learner(scenes, ignore_index=0))
    assert view.matrix.loc["ground"].sum() == 0
    assert "labelled ground or Void" in view.results.why_left_out


def test_masks_do_not_stay_in_memory_as_outputs(scenes):
    """Every batch's outputs are gone before long: at most two of five batches are alive."""
    import weakref

    learn = mask_learner(scenes)
    outputs: list[weakref.ref] = []
    alive: list[int] = []

    def seen(model, inputs, output):
        outputs.append(weakref.ref(output))
        alive.append(sum(ref() is not None for ref in outputs))

    learn.model.register_forward_hook(seen)
    learn.dls.valid.bs = 1
    fastmagic.confusion(learn)
    assert len(alive) == 5
    assert max(alive) <= 2


def tabular(target: str):
    from fastai.tabular.all import Categorify, Normalize, RegressionBlock, TabularDataLoaders, tabular_learner

    random = np.random.default_rng(0)
    table = pd.DataFrame({"age": random.integers(18, 90, 200), "town": random.choice(["Bern", "Chur"], 200)})
    table["old"] = np.where(table["age"] + random.normal(0, 9, 200) > 50, "yes", "no")
    table["pay"] = table["age"] * 2.0 + random.normal(0, 5, 200)
    block = {"y_block": RegressionBlock()} if target == "pay" else {}
    dls = TabularDataLoaders.from_df(
        table, procs=[Categorify, Normalize], cat_names=["town"], cont_names=["age"], y_names=target, bs=32,
        valid_idx=list(range(150, 200)), **block,
    )  # fmt: skip
    learn = tabular_learner(dls, layers=[8], lr=0.03)
    with quiet(learn):
        learn.fit(3)
    return table, learn


def test_rows_of_a_table_are_shown_as_they_were_before_normalizing(capsys):
    table, learn = tabular("old")
    view = fastmagic.confusion(learn)
    item = view.on_items({"kind": "worst"}, count=1)["items"][0]
    row = table.loc[int(re.search(r"\d+", item["name"])[0])]
    shown = dict(item["row"])
    assert shown["town"] == row["town"]
    assert float(shown["age"]) == pytest.approx(row["age"], rel=1e-3)
    assert not item["decides"]
    assert not view.state()["relabel"]
    with pytest.raises(FastmagicError, match="no files"):
        view.on_decide([0], "aside")


def test_numbers_get_a_scatter_with_r2_and_its_items():
    from sklearn.metrics import mean_absolute_error, r2_score

    _, learn = tabular("pay")
    view = fastmagic.confusion(learn)
    state = view.state()
    found = view.results
    np.testing.assert_allclose(state["actual"], found.targets, rtol=1e-6)
    assert state["fit"]["r2"] == pytest.approx(r2_score(found.targets, found.predictions), abs=1e-4)
    assert state["fit"]["mae"] == pytest.approx(mean_absolute_error(found.targets, found.predictions), rel=1e-4)
    assert view.matrix is None
    answer = view.on_items({"kind": "points", "positions": [4, 7]})
    assert {item["position"] for item in answer["items"]} == {4, 7}
    assert "R² " in view.still().text
    assert view.still().png.startswith(b"\x89PNG")


def test_each_of_several_numbers_can_be_looked_at(colours):
    from fastai.vision.all import DataBlock, ImageBlock, RandomSplitter, RegressionBlock, get_image_files

    block = DataBlock(
        (ImageBlock, RegressionBlock(n_out=3)), get_items=get_image_files, splitter=RandomSplitter(0.5, seed=1),
        get_y=lambda p: [c / 255 for c in CLASSES[p.parent.name]],
    )  # fmt: skip
    learn = by_mean_colour(block.dataloaders(colours, bs=16, num_workers=0), [[9, 9, 9]] * 3)
    view = fastmagic.confusion(learn)
    assert view.state()["outputs"] == 3
    second = view.on_numbers(1)
    np.testing.assert_allclose(second["actual"], [target[1] for target in view.results.targets], rtol=1e-5)


def test_sentences_are_shown_as_sentences():
    from fastai.text.all import TextDataLoaders
    from fastai.vision.all import CrossEntropyLossFlat, Learner

    class Bag(nn.Module):
        def __init__(self, words: int):
            super().__init__()
            self.words = nn.EmbeddingBag(words, 2)

        def forward(self, x):
            return self.words(torch.as_tensor(x))

    table = pd.DataFrame(
        {"text": ["A fine film", "What a bore", "Truly FINE"] * 8, "label": ["good", "bad", "good"] * 8}
    )
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dls = TextDataLoaders.from_df(
            table, text_col="text", label_col="label", bs=8, seed=1, valid_pct=0.5, num_workers=0
        )
    learn = Learner(dls, Bag(100), loss_func=CrossEntropyLossFlat())
    view = fastmagic.confusion(learn)
    texts = {item["text"] for item in view.on_items({"kind": "worst"})["items"]}
    assert "fine" in " ".join(texts).lower()
    assert not any("xx" in text.replace("xxunk", "") for text in texts)


# ---------------------------------------------------------------- what is kept in a notebook, and the magic


def test_the_still_shows_what_was_looked_at_last(learn):
    view = fastmagic.confusion(learn)
    view.on_look(order="name", percent="actual")
    view.on_items(cell(view, "lime", "moss"))
    bundle = view._repr_mimebundle_()
    count = view.matrix.loc["lime", "moss"]
    assert f"lime taken for moss: {count}" in bundle["text/plain"]
    assert "% of the actual class" in bundle["text/html"]
    share = 100 * count / view.matrix.loc["lime"].sum()
    assert re.search(rf">{share:.0f}</td>", bundle["text/html"])
    assert bundle["text/html"].count("<img ") == min(count, 6) > 0
    assert sum(map(len, bundle.values())) < 200_000
    assert view.state()["look"]["selection"] == cell(view, "lime", "moss")  # a reloaded page opens it again


def test_the_magic_binds_the_view_and_takes_its_options(shell, learn, capsys):
    shell.push({"learn": learn})
    shell.run("%confusion learn --order confusion --percent row --into view")
    view = shell.user_ns["view"]
    assert isinstance(view, ConfusionView)
    assert (view.state()["look"]["order"], view.state()["look"]["percent"]) == ("confusion", "actual")
    retrained(learn)
    shell.run("%confusion --before view")
    assert shell.user_ns["conf"].before.matrix.tolist() == view.matrix.to_numpy().tolist()
    capsys.readouterr()


def test_code_prints_a_fastai_program_that_runs(shell, learn, capsys):
    import matplotlib

    matplotlib.use("Agg")
    shell.push({"learn": learn})
    shell.run("%confusion learn --percent row --code")
    program = capsys.readouterr().out
    assert "ClassificationInterpretation.from_learner(learn)" in program
    with quiet(learn):
        exec(program, {"learn": learn})


def test_the_program_for_masks_counts_the_same_pixels(scenes):
    learn = mask_learner(scenes)
    program = confusion_code("pixels")
    namespace = {"learn": learn}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(program, namespace)
    np.testing.assert_array_equal(namespace["matrix"][:2], mask_results(learn).matrix[:2])
