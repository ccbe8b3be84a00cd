"""The numbers of a training as it runs, batch by batch, and honest views of them however many there are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

BUCKETS = 2048  # what a curve is drawn from, at most; a plot is some 800 px wide


class Curve:
    """A series of numbers that grows, and its view in at most `BUCKETS` buckets of equal width.

    A bucket keeps lowest, highest and mean of its batches, so that no spike is lost; when there are too many, neighbours
    are merged and the width doubles. Every number is kept besides, for a look at a part.

    Attributes:
        width: batches a bucket, a power of two.
    """

    def __init__(self) -> None:
        self._values = np.empty(1024, np.float32)
        self._count = 0
        self.width = 1
        self._low = np.empty(BUCKETS * 2, np.float32)
        self._high = np.empty(BUCKETS * 2, np.float32)
        self._mean = np.empty(BUCKETS * 2, np.float32)

    def __len__(self) -> int:
        return self._count

    @property
    def values(self) -> np.ndarray:
        """All numbers, one a batch (float32)."""
        return self._values[: self._count]

    @property
    def buckets(self) -> int:
        """How many buckets there are; the last may be filling up."""
        return -(-self._count // self.width)

    def extend(self, values: np.ndarray) -> int:
        """Append numbers, and return the first bucket that has changed (0 after buckets were merged)."""
        start, end = self._count, self._count + len(values)
        if end > len(self._values):
            grown = np.empty(max(end, 2 * len(self._values)), np.float32)
            grown[:start] = self._values[:start]
            self._values = grown
        self._values[start:end] = values
        self._count = end
        first = start // self.width
        while -(-end // self.width) > BUCKETS:
            self.width *= 2
            first = 0
        self._fill(first)
        return first

    def _fill(self, first: int) -> None:
        low, high, mean = summary(self._values[first * self.width : self._count], self.width)
        span = slice(first, first + len(low))
        self._low[span], self._high[span], self._mean[span] = low, high, mean

    def view(self, first: int = 0) -> dict[str, np.ndarray]:
        """Return lowest, highest and mean of the buckets from `first` on (float32; NaN where no number is finite)."""
        span = slice(first, self.buckets)
        return {"low": self._low[span], "high": self._high[span], "mean": self._mean[span]}

    def part(self, start: int, end: int, most: int = BUCKETS) -> dict[str, Any]:
        """Return the view of the batches `start` … `end` alone, as fine as `most` buckets allow."""
        start, end = max(0, min(start, self._count)), max(0, min(end, self._count))
        width = 1
        while (end - start) / width > most:
            width *= 2
        start -= start % width
        low, high, mean = summary(self._values[start:end], width)
        return {"start": start, "width": width, "low": low, "high": high, "mean": mean}


def summary(values: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return lowest, highest and mean of every `width` numbers; what is not finite does not count, NaN where nothing is.

    >>> low, high, mean = summary(np.array([1, 9, 2, 4, 3], np.float32), 2)
    >>> low.tolist(), high.tolist(), mean.tolist()
    ([1.0, 2.0, 3.0], [9.0, 4.0, 3.0], [5.0, 3.0, 3.0])
    """
    if width == 1:
        clean = np.where(np.isfinite(values), values, np.nan).astype(np.float32)
        return clean, clean, clean
    rows = -(-len(values) // width)
    padded = np.full(rows * width, np.nan, np.float32)
    padded[: len(values)] = values
    table = padded.reshape(rows, width)
    finite = np.isfinite(table)
    counts = finite.sum(1)
    low = np.where(finite, table, np.inf).min(1)
    high = np.where(finite, table, -np.inf).max(1)
    mean = np.where(finite, table, 0).sum(1, dtype=np.float64) / np.maximum(counts, 1)
    empty = counts == 0
    for column in (low, high, mean):
        column[empty] = np.nan
    return low.astype(np.float32), high.astype(np.float32), mean.astype(np.float32)


@dataclass
class History:
    """What a training did: its loss, learning rate and momentum batch by batch, and its epochs.

    Attributes:
        name: what it is called in a legend.
        loss, lr, mom: one number a training batch.
        header: the names of the columns of `epochs`.
        epochs: one dict an epoch: `number` (from 1 in each fit), `batch` (training batches done by then), `values` (numbers
            in the order of `header`, `None` where there is none), `time`, `frozen`.
        phases: (batch, text) where a fit began: the body frozen, or all layers.
        first_bad: the first batch whose loss is not a number, or infinite.
        seconds: how long it has trained, pauses left out.
        items: training items seen.
    """

    name: str = ""
    loss: Curve = field(default_factory=Curve)
    lr: Curve = field(default_factory=Curve)
    mom: Curve = field(default_factory=Curve)
    header: list[str] = field(default_factory=list)
    epochs: list[dict[str, Any]] = field(default_factory=list)
    phases: list[tuple[int, str]] = field(default_factory=list)
    first_bad: int | None = None
    seconds: float = 0.0
    items: int = 0

    def extend(self, loss: np.ndarray, lr: np.ndarray, mom: np.ndarray) -> int:
        """Append what happened in some batches, and return the first bucket that changed."""
        if self.first_bad is None:
            bad = np.flatnonzero(~np.isfinite(loss))
            if len(bad):
                self.first_bad = len(self.loss) + int(bad[0])
        self.lr.extend(lr)
        self.mom.extend(mom)
        return self.loss.extend(loss)

    @property
    def smooth(self) -> np.ndarray:
        """The buckets' means, smoothed as fastai's recorder does (factor 0.98 a batch, without its bias at the start)."""
        return smoothed(self.loss.view()["mean"], 0.98**self.loss.width)


class Recording:
    """Writes what the fits of a learner do into a `History`; a callback that watches them passes their events on.

    Args:
        history: what is written into.
    """

    def __init__(self, history: History):
        self.history = history
        self._losses: list[Any] = []
        self._lrs: list[float] = []
        self._moms: list[float] = []

    def before_fit(self, learn: Any) -> None:
        if searching(learn):
            return
        phases = self.history.phases
        text = "body frozen" if frozen(learn) else "all layers"
        again = bool(phases) and phases[-1][1] in (text, "another fit")
        phases.append((len(self.history.loss), "another fit" if again else text))
        self.history.header = [str(name) for name in list(learn.recorder.metric_names)[1:] if str(name) != "time"]

    def after_batch(self, learn: Any) -> None:
        if learn.training and not searching(learn):
            self._losses.append(learn.loss.detach())
            hyper = learn.opt.hypers[-1]
            self._lrs.append(hyper["lr"])
            self._moms.append(hyper.get("mom", 0.0))
            self.history.items += len(learn.xb[0]) if learn.xb else 0

    def after_epoch(self, learn: Any) -> None:
        if searching(learn):
            return
        self.flush()
        log = list(learn.recorder.log)
        timed = str(list(learn.recorder.metric_names)[-1]) == "time"
        self.history.epochs.append(
            {
                "number": learn.epoch + 1,
                "batch": len(self.history.loss),
                "values": [None if v is None else float(v) for v in (log[1:-1] if timed else log[1:])],
                "time": str(log[-1]) if timed else "",
                "frozen": frozen(learn),
            }
        )

    def flush(self) -> int:
        """Move the batches since the last time into the history, and return the first bucket that changed."""
        first = max(0, self.history.loss.buckets - 1)
        if self._losses:
            import torch

            # One transfer for all of them; on a GPU, one wait.
            losses = torch.stack([loss.as_subclass(torch.Tensor) for loss in self._losses]).float().cpu().numpy()
            first = self.history.extend(losses, np.array(self._lrs, np.float32), np.array(self._moms, np.float32))
            self._losses, self._lrs, self._moms = [], [], []
        return first


def searching(learn: Any) -> bool:
    """Tell whether this is a fit of `lr_find`, whose epochs are none."""
    return hasattr(learn, "lr_finder")


def frozen(learn: Any) -> bool:
    """Tell whether the body is frozen."""
    return getattr(learn, "opt", None) is not None and learn.opt.frozen_idx > 0


def running_step(learn: Any) -> dict[str, Any]:
    """Return where a fit is: `epoch` of `n_epoch`, `part` ("training" or "validating"), `batch` of `n_batch`, from 1."""
    return {
        "epoch": learn.epoch + 1,
        "n_epoch": learn.n_epoch,
        "part": "training" if learn.training else "validating",
        "batch": getattr(learn, "iter", 0) + 1,
        "n_batch": getattr(learn, "n_iter", 0),
    }


def smoothed(values: np.ndarray, beta: float) -> np.ndarray:
    """Return the exponential moving average of `values`, unbiased at the start; NaN are passed over."""
    result = np.empty(len(values), np.float64)
    average, weight = 0.0, 0.0
    for i, value in enumerate(values.tolist()):
        if value == value:
            average = beta * average + (1 - beta) * value
            weight = beta * weight + (1 - beta)
        result[i] = average / weight if weight else np.nan
    return result
