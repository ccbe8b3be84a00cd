"""`mask_results`: the one pass over pictures with masks; pixels counted batch by batch, so that memory stays bounded.

A mask model answers classes × height × width numbers a picture: kept like those of a classifier, a thousand pictures would
take gigabytes. What is kept is, by picture, how many pixels of each class were taken for which, and the masks compressed.
"""

from __future__ import annotations

import contextlib
import zlib
from pathlib import Path
from typing import Any

from ..data.items import holds_masks, item_list, item_source
from ..errors import FastmagicError, UnreadableError
from ..progress import Progress, reporting
from .forward import Transforms, each_batch
from .learner_file import as_learner

# The compressed masks that are kept for looking at; beyond it, pictures are shown without their wrong pixels.
KEPT_BYTES = 200_000_000
_UNLABELLED = ("void", "unlabeled", "unlabelled", "ignore", "ignored")


class MaskResults:
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
        import numpy as np
        from PIL import Image

        transforms = self._transforms
        try:
            batch = transforms.batch([transforms.sample(transforms.open(self._raw[position], with_target=True))])
        except (OSError, SyntaxError):
            return None
        image = transforms.loader.decode(batch)[0][0].cpu().float().numpy()
        image = np.clip(image if image.max() > 1.5 else image * 255, 0, 255).astype("uint8")
        return Image.fromarray(image[0] if len(image) == 1 else image[:3].transpose(1, 2, 0)).convert("RGB")

    def __repr__(self) -> str:
        wrong = self.pixels - int(self.matrix.trace())
        share = wrong / max(self.pixels, 1)
        return f"{self.split}: {share:.1%} of {self.pixels:,} pixels wrong in {len(self)} pictures, " + (
            f"mean loss {self.losses.mean():.4f}"
        )


def draws_masks(learn: Any) -> bool:
    """Tell whether a learner's targets are masks."""
    dataset = learn.dls.loaders[-1].dataset
    lists = getattr(dataset, "tls", None) or []
    return any(holds_masks(target) for target in lists[getattr(dataset, "n_inp", 1) :])


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
    found = {i for i, name in enumerate(vocab) if str(name).strip().lower() in _UNLABELLED}
    return found | ({int(index)} if isinstance(index, int) else set())


def _threshold(learn: Any) -> float:
    """Return the raw output above which a pixel of a one-output model is given: probabilities meet it at their half."""
    import math

    share = float(getattr(learn.loss_func, "thresh", 0.5) or 0.5)
    return math.log(share / (1 - share))
