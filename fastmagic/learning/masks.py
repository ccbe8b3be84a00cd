"""`mask_results`: the one pass over pictures with masks; pixels counted batch by batch, so that memory stays bounded.

A mask model answers classes × height × width numbers a picture: kept like those of a classifier, a thousand pictures would
take gigabytes. What is kept is, by picture, how many pixels of each class were taken for which, and the masks compressed.
"""

from __future__ import annotations

import contextlib
import time
import zlib
from pathlib import Path
from typing import Any

from ..data.items import holds_masks, item_list, item_source
from ..data.mask_files import VOID
from ..data.targets import Target
from ..errors import FastmagicError, NotFoundError, UnreadableError, did_you_mean, few, number
from ..overlay import overlays, picture_of
from ..progress import Progress, reporting
from ..render import Displayed, Drawing, Shown, escape, html_table, item_name, text_table
from .confusion import rates
from .forward import Model, Transforms, activation_of, each_batch, inputs_of, undisturbed
from .learner_file import as_learner
from .mask_predictions import MaskPrediction, mask_of

# The compressed masks that are kept for looking at; beyond it, pictures are shown without their wrong pixels.
KEPT_BYTES = 200_000_000


class MaskResults(Displayed):
    """What a segmentation model says about every pixel of a dataset.

    Attributes:
        split: "train" or "valid".
        vocab: the codes, in the order of the model's outputs.
        items: where each picture came from.
        losses: array, the learner's own loss of each picture.
        matrix: classes × classes array of pixel counts, rows actual; without the pixels left out.
        pixels: pixels with a label that counts.
        left_out: pixels without one.
        why_left_out: which those are, in words; empty where there are none.
        size: (height, width) of the masks that the model saw, of the first picture.
    """

    kind = "pixels"

    def __init__(self, split: str, vocab: list[Any], raw: list[Any], transforms: Transforms):
        self.split, self.vocab = split, vocab
        self.items: list[Any] = list(raw)
        self.matrix: Any = None
        self.losses: Any = None
        self.left_out, self.why_left_out = 0, ""
        self.size = (0, 0)
        self._raw, self._transforms = raw, transforms
        self._counts: Any = None
        self._masks: list[tuple[tuple[int, int], bytes, bytes] | None] = [None] * len(raw)

    def __len__(self) -> int:
        return len(self.items)

    @property
    def pixels(self) -> int:
        return int(self.matrix.sum())

    def confusion_matrix(self) -> Any:
        """Return the pixel counts: classes × classes, rows actual, columns predicted."""
        return self.matrix

    def counts(self, actual: int, predicted: int) -> Any:
        """Return how many pixels of class `actual` were taken for `predicted` in each picture."""
        return self._counts[:, actual * len(self.vocab) + predicted].toarray().ravel()

    def errors(self, position: int | None = None) -> Any:
        """Return how many wrong pixels each picture has, of one class (as actual or predicted) or of all."""
        import numpy as np

        wanted = ~np.eye(len(self.vocab), dtype=bool)
        if position is not None:
            wanted[[i for i in range(len(self.vocab)) if i != position]] &= np.arange(len(self.vocab)) == position
        return np.asarray(self._counts @ wanted.ravel().astype(np.int64)).ravel()

    def of(self, position: int) -> int:
        """Return how many labelled pixels a picture has."""
        return int(self._counts[position].sum())

    def masks(self, position: int) -> tuple[Any, Any] | None:
        """Return (actual, predicted) of a picture, height × width arrays; `None` where they were not kept."""
        import numpy as np

        kept = self._masks[position]
        if kept is None:
            return None
        shape, actual, predicted = kept
        return tuple(np.frombuffer(zlib.decompress(m), np.int16).reshape(shape) for m in (actual, predicted))  # type: ignore[return-value]

    def image(self, position: int) -> Any:
        """Return a picture as the model saw it, as a PIL image of the masks' size; `None` for a file that is gone."""
        transforms = self._transforms
        try:
            batch = transforms.batch([transforms.sample(transforms.open(self._raw[position], with_target=True))])
        except (OSError, SyntaxError):
            return None
        return picture_of(transforms.loader.decode(batch)[0][0])

    def per_class(self) -> Any:
        """Return a DataFrame by class name: precision, recall, F1 and IoU (0…1), and pixels with that label.

        IoU is the share of the pixels that are of the class or were taken for it, in which both is so. What cannot be known
        is NaN.
        """
        import pandas as pd

        columns = ["precision", "recall", "F1", "IoU", "pixels"]
        frame = pd.DataFrame(rates(self.matrix), columns=columns, index=pd.Index(self.vocab, name="class"))
        return frame.astype({"pixels": "int64"})

    def to_frame(self) -> Any:
        """Return one row a picture: item, loss, pixels with a label that counts, and the share of them that is wrong."""
        import numpy as np
        import pandas as pd

        pixels, wrong = np.asarray(self._counts.sum(1)).ravel(), self.errors()
        items = [str(item) if isinstance(item, Path) else f"item {i}" for i, item in enumerate(self.items)]
        share = np.where(pixels > 0, wrong / np.maximum(pixels, 1), np.nan)
        return pd.DataFrame({"item": items, "loss": self.losses, "pixels": pixels, "wrong": share})

    def top_losses(self, k: int = 9, actual: Any = None) -> Any:
        """Return the rows of `to_frame` with the largest losses, worst first; the index points into `items`.

        Args:
            k: how many.
            actual: those with the most wrong pixels of this class instead, given or taken for it.
        """
        frame = self.to_frame()
        if actual is None:
            return frame.sort_values("loss", ascending=False, kind="stable").head(k)
        if actual not in self.vocab:
            fix = did_you_mean(str(actual), map(str, self.vocab)) or f"There are {few(self.vocab)}."
            raise NotFoundError(f"No class '{actual}'.", fix)
        errors = self.errors(self.vocab.index(actual))
        frame = frame.assign(errors=errors)[errors > 0]
        return frame.sort_values("errors", ascending=False, kind="stable").head(k).drop(columns="errors")

    def show(self, k: int = 6, rows: Any = None) -> Drawing:
        """Return photos in pairs: their own mask over them, and beside it what the model drew.

        Args:
            k: how many photos, spread evenly over the items.
            rows: these instead: part of `to_frame`, such as `top_losses(4)`.
        """
        if rows is None:
            count = min(k, len(self))
            rows = self.to_frame().iloc[[i * len(self) // count for i in range(count)]]
        drawn: list[tuple[Any, Any, str]] = []
        for position, row in rows.iterrows():
            picture, masks = self.image(position), self.masks(position)
            if picture is None or masks is None:
                continue
            said = f"{item_name(row['item'])}\n{row['wrong']:.1%} wrong · loss {row['loss']:.2f}"
            drawn += [(picture, masks[0], said), (picture, masks[1], "what the model drew\n")]
        lines = [[item_name(row["item"]), f"{row['loss']:.3f}", f"{row['wrong']:.1%}"] for _, row in rows.iterrows()]
        text = text_table(["photo", "loss", "wrong"], lines)
        return Drawing(overlays(drawn, [str(name) for name in self.vocab], columns=4), text)

    def __repr__(self) -> str:
        return "\n".join(filter(None, [self._summary(), text_table(*self._class_table()), self.why_left_out]))

    def forms(self) -> dict[str, Any]:
        left_out = f'<p class="dim">{escape(self.why_left_out)}</p>' if self.why_left_out else ""
        html = f"<p><b>{escape(self._summary())}</b></p>{html_table(*self._class_table())}{left_out}"
        return Shown(html, repr(self)).forms()

    def _summary(self) -> str:
        right = int(self.matrix.trace()) / max(self.pixels, 1)
        return (
            f"{self.split}: {right:.1%} of {self.pixels:,} pixels right in {number(len(self), 'photo')}, "
            f"mean IoU {self.per_class()['IoU'].mean():.1%}, mean loss {self.losses.mean():.4f}"
        )

    def _class_table(self) -> tuple[list[str], list[list[Any]]]:
        table = self.per_class()
        table = table[table["pixels"] > 0].sort_values("IoU", kind="stable", na_position="first")
        rows = [
            [name, *("–" if share != share else f"{share:.1%}" for share in row[:4]), f"{int(row[4]):,}"]
            for name, *row in table.itertuples()
        ]
        return ["class", "precision", "recall", "F1", "IoU", "pixels"], rows


def mask_results_code(learn: Any, learn_expr: str = "learn", split: str = "valid") -> str:
    """Return the plain fastai program that `results` stands for, of a segmentation model."""
    name = learn_expr if learn_expr.isidentifier() else "learn"
    vocab = [str(one) for one in _codes(learn) or []]
    ignored = [i for i in sorted(_ignored(learn, vocab)) if 0 <= i < len(vocab)]
    return "\n".join(
        [
            "from fastai.vision.all import *",
            "import sklearn.metrics as skm",
            "",
            *([] if name == learn_expr else [f"{name} = {learn_expr}"]),
            f"dl = {name}.dls.test_dl({name}.dls.{split}_ds.items, with_labels=True)",
            f"matrix, names = 0, {vocab}",
            f"{name}.model.eval()",
            "for photos, masks in dl:",
            "    with torch.no_grad():",
            f"        scores = {name}.model(photos)",
            *([f"    scores[:, {_void(vocab)}] = -np.inf  # nothing is called Void"] if _void(vocab) else []),
            "    drawn = scores.argmax(1)",
            "    matrix = matrix + skm.confusion_matrix(",
            "        masks.flatten().cpu(), drawn.flatten().cpu(), labels=range(len(names))",
            "    )",
            *[f"matrix[{i}] = 0  # {vocab[i]} counts for nothing" for i in ignored],
            "hits = matrix.diagonal()",
            "print(f'{hits.sum() / matrix.sum():.1%} of the pixels right')",
            "print(pd.Series(hits / (matrix.sum(0) + matrix.sum(1) - hits), names, name='IoU'))",
        ]
    )


def draws_masks(learn: Any) -> bool:
    """Tell whether a learner's targets are masks."""
    dataset = learn.dls.loaders[-1].dataset
    lists = getattr(dataset, "tls", None) or []
    return any(holds_masks(target) for target in lists[getattr(dataset, "n_inp", 1) :])


def mask_target(learn: Any) -> Target:
    """Return what the outputs of a segmentation model mean."""
    names = [str(name) for name in _codes(learn) or []]
    if not names:  # masks of numbers
        names = [str(i) for i in range(int(getattr(learn, "n_out", 0) or 0))]
    return Target("pixels", names, float(getattr(learn.loss_func, "thresh", 0.5) or 0.5))


def draw(
    learn: Any, target: Target, transforms: Transforms, opened: tuple[Any, ...], source: str, top: int, note: str = ""
) -> MaskPrediction:
    """Return the mask of an opened photo, of the photo's own size where its item transforms show all of it.

    Args:
        transforms: of the learner's loaders.
        opened: the photo, as `transforms.open` gives it.
        source, top, note: as of `MaskPrediction`.
    """
    started = time.perf_counter()
    scores, batch = scores_of(learn, transforms, opened)
    names = list(target.classes)
    _name_codes(names, len(scores) if len(scores) > 1 else 2)
    image, size = opened[0], (opened[0].height, opened[0].width)
    if cut := _cuts(transforms):
        image = picture_of(transforms.loader.decode(batch)[0][0])
        size = (image.height, image.width)
        note = "; ".join(filter(None, [note, f"{cut} shows the model a part of the photo: the mask is of that part"]))
    mask = mask_of(scores, size, names, target.threshold)
    return MaskPrediction(mask, names, image, source, time.perf_counter() - started, top, note)


def scores_of(learn: Any, transforms: Transforms, opened: tuple[Any, ...]) -> tuple[Any, Any]:
    """Return the probabilities of an opened photo, classes × height × width as the model saw it, and the batch it went in as."""
    with undisturbed(learn):
        batch = transforms.batch([transforms.sample(opened)])
        outputs = Model(learn).outputs(inputs_of(batch, transforms.n_inp))
        return activation_of(learn.loss_func)(outputs)[0], batch


def _cuts(transforms: Transforms) -> str:
    """Return the name of an item transform that cuts or pads a photo, "" where the model sees all of it and no more."""
    for transform in transforms.loader.after_item.fs:
        name = type(transform).__name__
        if name in ("CropPad", "RandomCrop", "RandomResizedCrop", "OldRandomCrop"):
            return name
        if name == "Resize" and str(getattr(transform, "method", "squish")) != "squish":
            return f"Resize(method='{transform.method}')"
    return ""


def mask_results(learn: Any, split: str = "valid", *, progress: Progress | bool | None = None) -> MaskResults:
    """Run a segmentation model over a dataset once, counting pixels; kept like `results` until something changes.

    Pixels whose label the loss ignores (`ignore_index`), whose code is named Void, or whose value is no code are left
    out, and counted as such.

    Args:
        learn: a fastai `Learner` with masks as targets.
        split: "valid" or "train".
        progress: `True` for a bar, or a function called with (items done, items in all).

    Raises:
        FastmagicError: no such dataset, or a picture or mask that cannot be opened (says which).
    """
    from .results import once

    learn = as_learner(learn)
    with reporting(progress, "Predicting") as report:
        return once(learn, split, lambda dataset, loader: _compute(learn, split, dataset, report))


def _compute(learn: Any, split: str, dataset: Any, progress: Progress | None) -> MaskResults:
    import numpy as np
    from scipy.sparse import csr_matrix

    raw = item_list(dataset)
    found = MaskResults(split, list(_codes(learn) or []), raw, Transforms(learn.dls))
    sources = [item_source(dataset, item) for item in raw]
    found.items = [source if isinstance(source, Path) else item for source, item in zip(sources, raw, strict=True)]

    def stop(index: int, error: Exception) -> None:
        why = f"{type(error).__name__}: {error}".splitlines()[0]
        where = f"Item {index} of the {split} set, {found.items[index]}, or its mask cannot be opened"
        raise UnreadableError(f"{where} ({why}).", "Mend or remove it; `check` finds all such files.") from error

    columns, values, lengths, losses = [], [], [0], []
    ignored: set[int] = set()
    kept = 0
    with contextlib.closing(each_batch(learn, raw, on_error=stop, progress=progress)) as batches:
        for indices, outputs, targets, batch_losses in batches:
            several = outputs.shape[1] > 1
            if several:  # as in a prediction, nothing is called Void
                outputs[:, [i for i in _void(found.vocab) if i < outputs.shape[1]]] = -float("inf")
            predicted = (outputs.argmax(1) if several else outputs[:, 0] > _threshold(learn)).cpu().numpy()
            actual = targets.reshape(predicted.shape).cpu().numpy()
            if lengths == [0]:
                _name_codes(found.vocab, outputs.shape[1] if several else 2)
                found.size = predicted.shape[1:]
                ignored = _ignored(learn, found.vocab)
            size = len(found.vocab)
            labelled = (actual >= 0) & (actual < size) & ~np.isin(actual, list(ignored))
            for position, one_actual, one_predicted, counts in zip(indices, actual, predicted, labelled, strict=True):
                cells = np.bincount(
                    one_actual[counts].astype(np.int64) * size + one_predicted[counts], minlength=size**2
                )
                columns.append(np.flatnonzero(cells))
                values.append(cells[columns[-1]])
                lengths.append(lengths[-1] + len(columns[-1]))
                found.left_out += int((~counts).sum())
                if kept < KEPT_BYTES:
                    marked = np.where(counts, one_actual, -1)
                    packed = [zlib.compress(m.astype(np.int16).tobytes(), 1) for m in (marked, one_predicted)]
                    kept += sum(map(len, packed))
                    found._masks[position] = one_predicted.shape, packed[0], packed[1]
            losses.append(batch_losses.float().cpu().numpy())
    size = len(found.vocab)
    found._counts = csr_matrix(
        (np.concatenate(values), np.concatenate(columns), np.array(lengths)), shape=(len(raw), size**2)
    ).tocsc()
    found.matrix = np.asarray(found._counts.sum(0)).reshape(size, size).astype(np.int64)
    found.losses = np.concatenate(losses)
    if found.left_out:
        names = [str(found.vocab[i]) for i in sorted(ignored) if 0 <= i < size]
        what = f"labelled {' or '.join(names)}" if names else "without a label that counts"
        share = found.left_out / (found.left_out + found.pixels)
        found.why_left_out = f"{found.left_out:,} pixels {what} ({share:.1%} of all) are left out"
    return found


def _codes(learn: Any) -> Any:
    """Return the codes of a learner's masks, `None` where none are known."""
    for transform in getattr(learn.dls.loaders[-1], "after_item", None) or ():
        if type(transform).__name__ == "AddMaskCodes":
            return transform.codes if transform.codes is not None else ()
    return None


def _name_codes(vocab: list[Any], size: int) -> None:
    if vocab and len(vocab) != size:
        raise FastmagicError(
            f"The model gives {size} classes a pixel for {len(vocab)} codes.", "Build it with `n_out=len(codes)`."
        )
    vocab += [str(i) for i in range(size)] if not vocab else []


def _ignored(learn: Any, vocab: list[Any]) -> set[int]:
    loss = getattr(learn.loss_func, "func", learn.loss_func)
    index = getattr(loss, "ignore_index", None)
    return set(_void(vocab)) | ({int(index)} if isinstance(index, int) else set())


def _void(vocab: list[Any]) -> list[int]:
    """Return the positions of classes that mean "not labelled"."""
    return [i for i, name in enumerate(vocab) if str(name).strip().lower() in VOID]


def _threshold(learn: Any) -> float:
    """Return the raw output above which a pixel of a one-output model is given: probabilities meet it at their half."""
    import math

    share = float(getattr(learn.loss_func, "thresh", 0.5) or 0.5)
    return math.log(share / (1 - share))
