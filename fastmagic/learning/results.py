"""`fastmagic.results`: the one prediction pass over a dataset that every view of it shares.

fastai's interpretation classes guess at the items behind a loader and break on DataFrames and several
labels; here items, targets and predictions come from one pass in the order of the items.
"""

from __future__ import annotations

import itertools
import math
import pickle
import weakref
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data.items import SPLITS, holds_masks, item_list, item_source, source_in
from ..data.opening import thumbnail
from ..data.texts import sentence
from ..errors import FastmagicError, NotFoundError, RefusedError, UnreadableError, did_you_mean, few, number
from ..kinds import TABLE
from ..progress import Progress, reporting
from ..render import Displayed, Drawing, Shown, escape, figure_png, html_table, item_name, new_figure, text_table
from .forward import (
    Outputs,
    Target,
    Transforms,
    run_loader,
    run_pass,
    runs_on_transforms,
    target_of,
)
from .learner_file import as_learner
from .predictions import check_width, label_of, label_text, short

if TYPE_CHECKING:
    from fastai.learner import Learner

    from .masks import MaskResults


COLUMNS = 4  # of a table are shown beside what was said of its rows

# By learner, so that results go when the learner goes; `Results` must not hold the learner, or it never does.
# With each, the checksums of the model and of the items that it is of.
_cache: weakref.WeakKeyDictionary[Any, dict[str, tuple[tuple[int, int], Any]]] = weakref.WeakKeyDictionary()


class Results(Displayed):
    """What a model says about every item of a dataset, and how that compares with the labels.

    All attributes are in the order of the dataset's items.

    Attributes:
        split: "train" or "valid".
        vocab: the class names, in the order of the columns; empty for models that answer numbers.
        items: where each item came from: a `Path` where a file stands behind it, else the raw item.
        targets: the labels: class names, lists of class names, or numbers.
        predictions: the same, as the model has it.
        probabilities: array, items × classes (items × outputs for numbers).
        losses: array, the learner's own loss of each item, with its class weights and smoothing.
        loss: fastai's `valid_loss`, which weighs classes in another way than the mean of `losses` where the loss has weights.
        features: array, float16, what goes into the model's last linear layer; `None` where that is not a row an item.
        correct: boolean array; several labels are correct when all are. `None` for numbers.
    """

    def __init__(
        self,
        split: str,
        target: Target,
        raw: list[Any],
        items: list[Any],
        outputs: Outputs,
        transforms: Any,
        dataset: Any = None,
    ):
        import numpy as np

        self.split, self.vocab, self.items = split, target.classes, items
        self.probabilities, self.losses, self.features = outputs.activations, outputs.losses, outputs.features
        self.loss = outputs.loss
        self.predictions = [label_of(target, row) for row in outputs.activations]
        self.targets = [_decoded(target, encoded) for encoded in outputs.targets]
        self.correct = None
        if target.kind != "numbers":
            self.correct = np.array([a == p for a, p in zip(self.targets, self.predictions, strict=True)], dtype=bool)
        self._target, self._raw, self._transforms, self._dataset = target, raw, transforms, dataset

    @property
    def kind(self) -> str:
        """What the labels are: "class" (one of `vocab`), "classes" (any number of them) or "numbers"."""
        return self._target.kind

    @property
    def threshold(self) -> float:
        """The probability above which a label of "classes" is given."""
        return self._target.threshold

    def __len__(self) -> int:
        return len(self.items)

    def confusion_matrix(self) -> Any:
        """Return the counts: classes × classes, rows actual, columns predicted, both in the order of `vocab`.

        For several labels, classes × 2 × 2 as in `sklearn.metrics.multilabel_confusion_matrix`:
        `[[true negatives, false positives], [false negatives, true positives]]` of each class.

        Raises:
            FastmagicError: the model answers numbers.
        """
        from sklearn.metrics import confusion_matrix, multilabel_confusion_matrix

        self._need_classes("A confusion matrix")
        if self._target.kind == "classes":
            return multilabel_confusion_matrix(self._hot(self.targets), self._hot(self.predictions))
        actual, predicted = self._encoded(self.targets), self._encoded(self.predictions)
        return confusion_matrix(actual, predicted, labels=range(len(self.vocab)))

    def most_confused(self, min: int = 1) -> list[tuple[Any, Any, int]]:
        """Return (actual, predicted, count) of the wrong pairs, most frequent first.

        Args:
            min: leave out pairs seen less often.

        Raises:
            FastmagicError: the model gives several labels, or numbers.
        """
        if self._target.kind == "classes":
            raise FastmagicError("With several labels no class is taken for another.", "Look at `per_class()`.")
        matrix = self.confusion_matrix()
        pairs = [
            (actual, predicted, int(matrix[i, j]))
            for i, actual in enumerate(self.vocab)
            for j, predicted in enumerate(self.vocab)
            if i != j and matrix[i, j] >= min
        ]
        return sorted(pairs, key=lambda pair: -pair[2])

    def top_losses(self, k: int = 9, actual: Any = None, predicted: Any = None) -> Any:
        """Return the rows of `to_frame` with the largest losses, worst first; the index points into `items`.

        Args:
            k: how many.
            actual, predicted: only items with this label; for several labels, with it among them.
        """
        frame = self.to_frame()
        for column, label in (("actual", actual), ("predicted", predicted)):
            if label is not None:
                if label not in self.vocab:
                    fix = did_you_mean(str(label), map(str, self.vocab)) or f"There are {few(self.vocab)}."
                    raise NotFoundError(f"No class '{label}'.", fix)
                frame = frame[
                    [label in value if isinstance(value, list) else label == value for value in frame[column]]
                ]
        return frame.sort_values("loss", ascending=False, kind="stable").head(k)

    def per_class(self) -> Any:
        """Return a DataFrame by class name: precision, recall, F1 (0…1) and support (items with that label).

        What cannot be known is NaN: the precision of a class that was never predicted, the recall of one that
        has no items.

        Raises:
            FastmagicError: the model answers numbers.
        """
        import numpy as np
        import pandas as pd

        self._need_classes("Precision and recall")
        actual, predicted = self._hot(self.targets), self._hot(self.predictions)
        hits, support, given = (actual & predicted).sum(0), actual.sum(0), predicted.sum(0)
        with np.errstate(invalid="ignore"):
            columns = {
                "precision": hits / given,
                "recall": hits / support,
                "F1": 2 * hits / (given + support),
                "support": support,
            }
        return pd.DataFrame(columns, index=pd.Index(self.vocab, name="class"))

    def to_frame(self) -> Any:
        """Return one row an item: item, actual, predicted, its probability, loss, correct, p(NAME)…"""
        import pandas as pd

        columns: dict[str, Any] = {
            "item": [str(item) if isinstance(item, Path) else _row_name(item, i) for i, item in enumerate(self.items)],
            "actual": self.targets,
            "predicted": self.predictions,
        }
        if self._target.kind == "class":
            columns["probability"] = self.probabilities.max(axis=1)
        columns["loss"] = self.losses
        if self.correct is not None:
            columns["correct"] = self.correct
        columns.update({f"p({name})": self.probabilities[:, i] for i, name in enumerate(self.vocab)})
        return pd.DataFrame(columns)

    def show(self, k: int = 9, rows: Any = None) -> Drawing | Shown:
        """Return pictures with what they are and what the model said; ✗ and red where that differs.

        Args:
            k: how many pictures, spread evenly over the items.
            rows: these instead: part of `to_frame`, such as `top_losses(16)`.
        """
        count = len(self)
        frame = self.to_frame() if rows is None else rows
        if rows is None:
            frame = frame.iloc[[i * count // min(k, count) for i in range(min(k, count))]]
        header = ["item", *self._columns(), "actual", "predicted", ""]
        text = text_table(header, self._lines(frame))
        pictures = [self._picture(position) for position in frame.index]
        if not any(pictures):
            return Shown(html_table(header, self._lines(frame)), text)
        columns = min(len(frame), 3 if len(frame) <= 9 else 5)
        figure, axes = new_figure(-(-len(frame) // columns), columns)
        for axis, picture, (_, row) in zip(axes, pictures, frame.iterrows(), strict=False):
            if picture is None:
                axis.text(0.5, 0.5, "gone", ha="center", va="center", transform=axis.transAxes)
            else:
                axis.imshow(picture, cmap="gray")
            mark = self._mark(row)
            title = (
                f"is {label_text(row['actual'])}\n{mark} said {label_text(row['predicted'])} · loss {row['loss']:.2f}"
            )
            color = {"✗": "#c1121f", "✓": "#10652f"}.get(mark, "black")
            axis.set_title(title.replace("$", r"\$"), fontsize=9, color=color)
        return Drawing(figure_png(figure), text)

    def look(self, position: int, size: int = 160) -> Any:
        """Return an item as it is shown to people.

        A PIL image of at most `size` px a side (pictures, and what fastai draws: spectrograms, series), a text, the row
        of a table as a list of (column, value), or `None` for a file that is gone.
        """
        item = self.items[position]
        if self._transforms is not None:
            if isinstance(item, Path) and (small := thumbnail(item, size)) is not None:
                return small
            try:
                opened = self._transforms.open(self._raw[position], with_target=True)[0]
            except (OSError, SyntaxError):
                return None
            if hasattr(opened, "picture"):
                opened = opened.picture()
            if hasattr(opened, "convert"):
                return thumbnail(opened, size)
            return _drawn(opened, size) if hasattr(opened, "show") else str(opened)
        if self._dataset is None:
            return str(item)
        if hasattr(self._dataset, "decode_row"):
            return TABLE.row(self._dataset, self._raw[position])
        tokens = self._dataset.tls[0]
        return sentence(str(tokens.decode(tokens[position])))

    def __repr__(self) -> str:
        parts = [self._summary()]
        if self.correct is not None:
            parts.append(text_table(*self._class_table()))
        if self._target.kind == "class" and self.most_confused():
            parts.append("Most confused: " + few(self._confused_lines(), 5))
        return "\n".join(parts)

    def forms(self) -> dict[str, Any]:
        parts = [f"<p><b>{escape(self._summary())}</b></p>"]
        if self.correct is not None:
            parts.append(html_table(*self._class_table()))
        if self._target.kind == "class" and self.most_confused():
            parts.append(f"<p>Most confused: {escape(few(self._confused_lines(), 5))}</p>")
        return Shown("".join(parts), repr(self)).forms()

    def _summary(self) -> str:
        loss = f"mean loss {self.losses.mean():.4f}"
        if self.loss is not None and not math.isclose(self.loss, self.losses.mean(), rel_tol=1e-3):
            loss += f" an item, {self.loss:.4f} as fastai averages it (valid_loss)"
        if self.correct is None:
            return f"{self.split}: {len(self)} items, {loss}"
        wrong = int((~self.correct).sum())
        what = "wrong" if self._target.kind == "class" else "with a wrong or missing label"
        return f"{self.split}: {wrong} of {len(self)} {what} ({wrong / len(self):.1%}), {loss}"

    def _class_table(self) -> tuple[list[str], list[list[Any]]]:
        table = self.per_class()
        none = int((table["support"] == 0).sum())
        table = table[table["support"] > 0].sort_values("F1", kind="stable", na_position="first")
        rows = [
            [name, *("–" if share != share else f"{share:.1%}" for share in (precision, recall, f1)), support]
            for name, precision, recall, f1, support in table.itertuples()
        ]
        most = 20
        if len(rows) > most:
            rows = [*rows[:most], [f"… {len(rows) - most} more in .per_class()", "", "", "", ""]]
        if none:
            rows.append([f"{number(none, 'class', 'classes')} without an item", "–", "–", "–", 0])
        return ["class", "precision", "recall", "F1", "support"], rows

    def _confused_lines(self) -> list[str]:
        return [f"{actual} taken for {predicted} ({count} ×)" for actual, predicted, count in self.most_confused()]

    def _picture(self, position: int) -> Any:
        """Return the opened picture of an item, `None` where it is none or is no longer there."""
        if self._transforms is None:
            return None
        try:
            opened = self._transforms.open(self._raw[position], with_target=True)[0]
        except (OSError, SyntaxError):
            return None
        if hasattr(opened, "picture"):  # what a block of ours draws
            return opened.picture()
        return opened if hasattr(opened, "convert") else None

    def _lines(self, frame: Any) -> list[list[str]]:
        return [
            [
                short(item_name(row["item"])),
                *self._cells(position),
                label_text(row["actual"]),
                label_text(row["predicted"]),
                self._mark(row),
            ]
            for position, row in frame.iterrows()
        ]

    def _columns(self) -> list[str]:
        """Return the first columns of a table, which tell what its rows are; none of other data."""
        if self._transforms is not None or not hasattr(self._dataset, "decode_row"):
            return []
        return [str(name) for name in list(self._dataset.x_names)[:COLUMNS]]

    def _cells(self, position: int) -> list[str]:
        """Return what a row says in these columns."""
        names = self._columns()
        return (
            [short(text, 32) for _, text in TABLE.row(self._dataset, self._raw[position])[: len(names)]]
            if names
            else []
        )

    def _mark(self, row: Any) -> str:
        return "" if self.correct is None else "✓" if row["correct"] else "✗"

    def _need_classes(self, what: str) -> None:
        if self._target.kind == "numbers":
            raise FastmagicError(
                f"{what} needs classes; this model answers numbers.", "Look at `to_frame()` and `losses`."
            )

    def _encoded(self, labels: list[Any]) -> list[int]:
        position = {name: i for i, name in enumerate(self.vocab)}
        return [position[label] for label in labels]

    def _hot(self, labels: list[Any]) -> Any:
        """Return labels as a boolean array, items × classes."""
        import numpy as np

        position = {name: i for i, name in enumerate(self.vocab)}
        hot = np.zeros((len(labels), len(self.vocab)), dtype=bool)
        for i, label in enumerate(labels):
            for name in label if self._target.kind == "classes" else [label]:
                hot[i, position[name]] = True
        return hot


def results(
    learn: Learner | str | Path, split: str = "valid", *, progress: Progress | bool | None = None
) -> Results | MaskResults:
    """Run the model over a dataset once, and return everything views of it need.

    Validation transforms, no shuffling, no dropped batch, also for "train". Asked again, the same `Results`
    comes back until the weights, the loss, the items (files by their size and time), their labels or the
    transforms change. The learner is left as it was: a training after `results` gives the same losses as
    one without.

    Args:
        learn: a fastai `Learner` with its data.
        split: "valid" or "train".
        progress: `True` for a bar, or a function called with (items done, items in all).

    Returns:
        `Results`; of a segmentation model `MaskResults`, which counts pixels.

    Raises:
        FastmagicError: no such dataset, no labels, or an item that cannot be opened (says which).

    Example:
        >>> r = fastmagic.results(learn)   # doctest: +SKIP
        >>> r.most_confused()              # doctest: +SKIP
        [('forest', 'bird', 5), ('bird', 'forest', 2)]
    """
    from .masks import draws_masks, mask_results

    learn = as_learner(learn)
    if draws_masks(learn):
        return mask_results(learn, split, progress=progress)
    if target_of(learn).kind == "words":
        raise RefusedError(
            "A language model answers with a text, which is neither right nor wrong.",
            "How surprised it is by a next word stands beside its training (perplexity); `predict('The', learn)` lets it write.",
        )
    with reporting(progress, "Predicting") as report:
        return once(learn, split, lambda dataset, loader: _compute(learn, split, dataset, loader, report))


def once(learn: Any, split: str, compute: Callable[[Any, Any], Any]) -> Any:
    """Return what `compute(dataset, loader)` gave, computed anew when something that a pass depends on has changed."""
    dataset, loader = _dataset(learn, split)
    state = _model_state(learn, dataset, loader), _items_state(dataset)
    found = _cache.setdefault(learn, {}).get(split)
    if found is None or found[0] != state:
        found = state, compute(dataset, loader)
        _cache[learn][split] = found
    return found[1]


def kept(learn: Any, split: str) -> Any:
    """Return what the last pass gave if the model is still the same, without a look at the items; else `None`.

    Looking takes a second for 20,000 items; `holds` does it.
    """
    dataset, loader = _dataset(learn, split)
    found = _cache.get(learn, {}).get(split)
    return found[1] if found is not None and found[0][0] == _model_state(learn, dataset, loader) else None


def holds(learn: Any, split: str) -> bool:
    """Tell whether what the last pass gave still holds for the items, their files and their labels."""
    found = _cache.get(learn, {}).get(split)
    return found is not None and found[0][1] == _items_state(_dataset(learn, split)[0])


def results_code(learn_expr: str = "learn", split: str = "valid") -> str:
    """Return the plain fastai program that `results` stands for.

    >>> print(results_code("learn", "valid"))
    from fastai.vision.all import *
    <BLANKLINE>
    items = learn.dls.valid_ds.items
    dl = learn.dls.test_dl(items, with_labels=True)
    probabilities, targets, losses = learn.get_preds(dl=dl, with_loss=True)
    predictions = learn.loss_func.decodes(probabilities)
    print(f"{len(items)} items, mean loss {losses.mean().item():.4f}")
    """
    learn = learn_expr if learn_expr.isidentifier() else "learn"
    lines = [
        "from fastai.vision.all import *",
        "",
        *([] if learn == learn_expr else [f"learn = {learn_expr}"]),
        f"items = {learn}.dls.{split}_ds.items",
        # A test loader, so that the training items get no augmentation and keep their order.
        f"dl = {learn}.dls.test_dl(items, with_labels=True)",
        f"probabilities, targets, losses = {learn}.get_preds(dl=dl, with_loss=True)",
        f"predictions = {learn}.loss_func.decodes(probabilities)",
        'print(f"{len(items)} items, mean loss {losses.mean().item():.4f}")',
    ]
    return "\n".join(lines)


def _dataset(learn: Any, split: str) -> tuple[Any, Any]:
    if split not in SPLITS:
        raise NotFoundError(f"No split '{split}'.", did_you_mean(split, SPLITS, 1) or "There are 'train' and 'valid'.")
    loaders = learn.dls.loaders
    sizes = [len(loader.dataset) for loader in loaders]
    number = SPLITS.index(split)
    if not any(sizes):
        raise RefusedError("This learner carries no data, as exported ones do not.", "Set `learn.dls` first.")
    if number >= len(sizes) or not sizes[number]:
        name = "validation" if split == "valid" else "training"
        fix = "Split one off where the data are built: `splitter = RandomSplitter(0.2, seed=42)`."
        raise FastmagicError(f"There is no {name} set.", fix)
    dataset = loaders[number].dataset
    if len(getattr(dataset, "tls", [])) == getattr(dataset, "n_inp", None):
        raise RefusedError("These items have no labels to compare with.", "Use `predict`.")
    return dataset, loaders[number]


def _compute(learn: Any, split: str, dataset: Any, loader: Any, progress: Progress | None) -> Results:
    target = target_of(learn)
    raw = item_list(dataset)
    if runs_on_transforms(learn.dls):
        items = [_source(dataset, item) for item in raw]

        def stop(index: int, error: Exception) -> None:
            where = f"Item {index} of the {split} set, {_row_name(items[index], index)}, cannot be opened"
            why = f"{type(error).__name__}: {error}".splitlines()[0]
            raise UnreadableError(f"{where} ({why}).", "Mend or remove it; `check` finds all such files.") from error

        outputs = run_pass(learn, raw, with_target=True, on_error=stop, progress=progress)
        transforms = Transforms(learn.dls)
    else:
        items, transforms = raw, None
        outputs = run_loader(learn, loader, with_target=True, progress=progress)
    check_width(target, outputs.activations.shape[1])
    return Results(split, target, raw, items, outputs, transforms, None if transforms else dataset)


def _source(dataset: Any, item: Any) -> Any:
    source = item_source(dataset, item)
    return source if isinstance(source, Path) else item


def _model_state(learn: Any, dataset: Any, loader: Any) -> int:
    """Return a checksum of everything a pass depends on but the items: weights, loss, transforms.

    Of the weights' bytes, because optimizers write through `p.data`, which leaves tensor versions alone: 13
    ms for the 12 million of a resnet18.
    """
    checksum = zlib.crc32(repr(learn.model).encode())
    for tensor in itertools.chain(learn.model.parameters(), learn.model.buffers()):
        checksum = zlib.crc32(_bytes_of(tensor), checksum)
    pipelines = [getattr(loader, name).fs for name in ("after_item", "before_batch", "after_batch")]
    pipelines += [tl.tfms.fs for tl in getattr(dataset, "tls", [])]
    parts: list[Any] = [_loss_state(learn.loss_func)]
    parts += [(id(transform), repr(transform)) for fs in pipelines for transform in fs]
    return _checksum(parts, checksum)


def _items_state(dataset: Any) -> int:
    """Return a checksum of a dataset's items: where they are, when they were changed, how they are labelled."""
    return _checksum(_data_state(dataset))


def _checksum(parts: Iterable[Any], checksum: int = 0) -> int:
    for part in parts:
        checksum = zlib.crc32(repr(part).encode(errors="replace"), checksum)
    return checksum


def _bytes_of(tensor: Any) -> Any:
    import torch

    flat = tensor.detach().as_subclass(torch.Tensor).cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy()


def _loss_state(loss: Any) -> Any:
    try:
        return zlib.crc32(pickle.dumps(loss))
    except Exception:  # a function of one's own, say: then which one it is
        return id(loss)


def _data_state(dataset: Any) -> Iterator[Any]:
    lists = getattr(dataset, "tls", None)
    if lists is None:  # a table
        import pandas as pd

        yield zlib.crc32(pd.util.hash_pandas_object(dataset.items).to_numpy().tobytes())
        return
    yield getattr(dataset, "vocab", None)
    for item in item_list(dataset):
        source = _source(dataset, item)
        if isinstance(source, Path):
            try:
                stat = source.stat()
                yield source, stat.st_mtime_ns, stat.st_size
            except OSError:
                yield source, "missing"
        else:
            yield zlib.crc32(item.tobytes()) if hasattr(item, "tobytes") else tuple(item) if _is_row(item) else item
        # Labels by running their getters: a labelling function may read what has changed since.
        yield from (_label_state(tl, item) for tl in lists[dataset.n_inp :])


def _label_state(target: Any, item: Any) -> Any:
    if not holds_masks(target):
        label = target.tfms(item)
        return label.tolist() if hasattr(label, "tolist") else label  # ten times as fast as a tensor's repr
    item = source_in(target.tfms.fs, item)  # a mask is not opened: its file's time tells whether it has changed
    try:
        stat = Path(item).stat()
        return item, stat.st_mtime_ns, stat.st_size
    except (OSError, TypeError):
        return item


def _decoded(target: Target, encoded: Any) -> Any:
    if target.kind == "class":
        return target.classes[int(encoded.item())]  # a table's targets are arrays of one
    if target.kind == "classes":
        return [name for name, given in zip(target.classes, encoded, strict=True) if given > 0.5]
    numbers = encoded.reshape(-1)
    return float(numbers[0]) if len(numbers) == 1 else [float(number) for number in numbers]


def _drawn(opened: Any, size: int) -> Any:
    """Return what an item's own `show` draws as a PIL image."""
    import io

    from PIL import Image

    figure, axes = new_figure(1, 1, size / 80)
    opened.show(ctx=axes[0])
    return Image.open(io.BytesIO(figure_png(figure))).convert("RGB")


def _is_row(item: Any) -> bool:
    return hasattr(item, "iloc")


def _row_name(item: Any, position: int) -> str:
    if isinstance(item, (str, Path)):
        return str(item)
    return f"row {item.name}" if _is_row(item) else f"item {position}"
