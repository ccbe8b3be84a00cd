"""Time series for fastai: `SeriesBlock` draws a series of one or several channels as a picture, which a model of images learns from.

An ordinary `TransformBlock`, for any `DataBlock`:

    from fastai.vision.all import *
    from fastmagic import SeriesBlock

    block = DataBlock(
        blocks=(SeriesBlock(size=64), CategoryBlock),
        get_items=partial(get_files, extensions=['.csv']), get_y=parent_label,
    )
    learn = vision_learner(block.dataloaders('gestures'), resnet18, n_in=3, pretrained=False)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from fastai.data.block import TransformBlock
from fastai.torch_basics import Transform
from fastai.vision.core import TensorImage

from ..errors import AnswerError, UnreadableError, did_you_mean, few
from .opening import no_such_file

METHODS = ("lines", "gramian", "difference", "recurrence")


class Series:
    """A time series: one or several channels of as many values.

    Attributes:
        values: float32 array, channels × steps; gaps are filled by straight lines.
        names: of the channels.
        file: where it came from, `None` for an array.
    """

    def __init__(self, values: Any, names: list[str], file: Path | None = None):
        self.values, self.names, self.file = values, names, file

    @classmethod
    def create(cls, source: Any, columns: Sequence[str] | None = None) -> Series:
        """Open a CSV file (a row a step, a column a channel; columns that are no numbers are left out), or take an array.

        Args:
            source: a path; or an array of steps, or of channels × steps.
            columns: of a file, those that are its channels; without, all that hold numbers.

        Raises:
            FastmagicError: it is not there, or holds no numbers.
        """
        if isinstance(source, Series):
            return source
        if isinstance(source, (str, Path)):
            frame = read_steps(Path(source), columns)
            values, names, file = frame.to_numpy("float32").T, [str(name) for name in frame.columns], Path(source)
        else:
            values, file = np.atleast_2d(np.asarray(source, dtype="float32")), None
            names = [f"channel {i}" for i in range(len(values))]
        return cls(np.stack([_filled(channel) for channel in values]), names, file)

    @property
    def steps(self) -> int:
        return int(self.values.shape[1])

    def picture(self) -> Any:
        """Return its lines as a PIL image, one colour a channel."""
        import io

        from PIL import Image

        from ..render import figure_png, new_figure

        figure, axes = new_figure(1, 1, 2.0)
        self.show(axes[0])
        return Image.open(io.BytesIO(figure_png(figure))).convert("RGB")

    def show(self, ctx: Any = None, title: str | None = None, **kwargs: Any) -> Any:
        """Draw its lines into matplotlib axes."""
        if ctx is None:
            import matplotlib.pyplot as plt

            _, ctx = plt.subplots()
        for channel in self.values:
            ctx.plot(channel, linewidth=1)
        if title is not None:
            ctx.set_title(title)
        return ctx

    def __repr__(self) -> str:
        return f"Series {len(self.values)} × {self.steps}"


class TensorSeriesImage(TensorImage):
    """A series as a picture: channels × size × size, 0 to 1."""

    _show_args = {"cmap": "viridis"}  # noqa: RUF012

    def show(self, ctx: Any = None, **kwargs: Any) -> Any:
        """Draw the first channel, or three of them as red, green and blue."""
        shown = self[:3] if len(self) >= 3 else self[:1]
        return TensorImage(shown).show(ctx=ctx, **{**self._show_args, **kwargs})


class OpenSeries(Transform):
    """Opens what `get_items` or `get_x` gives as a `Series`."""

    opens_files = True  # who lists items stops here
    input_types = (Path, str, np.ndarray)  # where fastai's `predict` begins

    def __init__(self, columns: Sequence[str] | None = None):
        self.columns = columns
        super().__init__()

    def encodes(self, source: Path | str | np.ndarray) -> Series:
        return Series.create(source, self.columns)


class ToSeriesImage(Transform):
    """Draws a `Series` as a picture, each channel a plane of its own."""

    order = 1

    def __init__(self, method: str = "lines", size: int = 64, low: Any = None, high: Any = None):
        if method not in METHODS:
            raise AnswerError(
                f"There is no method {method!r}.", did_you_mean(method, METHODS) or f"There are {few(METHODS)}."
            )
        self.method, self.size, self.low, self.high = method, size, low, high
        super().__init__()

    def encodes(self, series: Series) -> TensorSeriesImage:
        import torch

        lows, highs = (_each(end, len(series.values)) for end in (self.low, self.high))
        planes = [
            drawn(channel, self.method, self.size, low, high)
            for channel, low, high in zip(series.values, lows, highs, strict=True)
        ]
        return TensorSeriesImage(torch.from_numpy(np.stack(planes).astype("float32")))


def SeriesBlock(
    method: str = "lines",
    size: int = 64,
    low: float | Sequence[float] | None = None,
    high: float | Sequence[float] | None = None,
    columns: Sequence[str] | None = None,
) -> TransformBlock:
    """Return a `TransformBlock` for time series, drawn as pictures with a plane for each channel.

    Args:
        method: "lines", the plain plot; "gramian", the Gramian angular summation field: cos(φᵢ + φⱼ) of the values as angles;
            "difference", the difference field: sin(φᵢ − φⱼ) (both Wang and Oates 2015, https://arxiv.org/abs/1506.00327); or
            "recurrence", how near the values of two times are (Eckmann et al. 1987,
            https://doi.org/10.1209/0295-5075/4/9/004), not cut at a threshold.
        size: side of the picture in px. Series of any length are first resized to as many steps: shorter ones by straight
            lines between their values, longer ones by means.
        low, high: the range of values, or a list with one for each channel; without, each channel of each series has its own,
            and how large it is is lost.
        columns: the columns that are channels; without, all that hold numbers.

    Returns:
        A block whose items are `Series` and, for the model, `TensorSeriesImage` (channels × size × size, 0 to 1).

    Example:
        >>> SeriesBlock("recurrence", size=48, low=-1, high=1)  # doctest: +SKIP
    """
    return TransformBlock(type_tfms=OpenSeries(columns), item_tfms=ToSeriesImage(method, size, low, high))


def drawn(values: Any, method: str, size: int, low: float | None = None, high: float | None = None) -> Any:
    """Return one channel as a picture: size × size, 0 to 1.

    Args:
        values: one dimension.
        method, size, low, high: as of `SeriesBlock`.

    Example:
        >>> drawn([0, 1], "gramian", 2).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    values = resized(np.asarray(values, dtype="float64"), size)
    low = float(values.min()) if low is None else low
    high = float(values.max()) if high is None else high
    unit = np.clip((values - low) / (high - low), 0, 1) if high > low else np.full(size, 0.5)
    if method == "recurrence":
        return 1 - np.abs(unit[:, None] - unit[None])
    if method == "lines":
        plane, rows = np.zeros((size, size)), np.round((1 - unit) * (size - 1)).astype(int)
        for column, row in enumerate(rows):
            before = rows[max(0, column - 1)]
            plane[min(before, row) : max(before, row) + 1, column] = 1
        return plane
    cosine = 2 * unit - 1
    sine = np.sqrt(np.clip(1 - cosine**2, 0, 1))
    if method == "gramian":
        field = np.outer(cosine, cosine) - np.outer(sine, sine)
    else:
        field = np.outer(sine, cosine) - np.outer(cosine, sine)
    return np.clip((field + 1) / 2, 0, 1)


def resized(values: Any, steps: int) -> Any:
    """Return a series of another length: by straight lines between its values, or by means where it is longer.

    >>> resized(np.array([0.0, 2.0]), 3).tolist(), resized(np.array([1.0, 3.0, 5.0, 7.0]), 2).tolist()
    ([0.0, 1.0, 2.0], [2.0, 6.0])
    """
    n = len(values)
    if n == 0:
        return np.zeros(steps)
    if n <= steps:
        return np.interp(np.linspace(0, n - 1, steps), np.arange(n), values)
    ends = np.linspace(0, n, steps + 1)
    total = np.concatenate([[0.0], np.cumsum(values)])
    return np.diff(np.interp(ends, np.arange(n + 1), total)) / np.diff(ends)


def _each(end: Any, count: int) -> list[float | None]:
    """Return an end of the range for each channel."""
    if not isinstance(end, (list, tuple)):
        return [end] * count
    if len(end) != count:
        raise AnswerError(
            f"low and high name {len(end)} channels, and a series has {count}.", "Give one for each, or a number."
        )
    return list(end)


def read_steps(file: Path, columns: Sequence[str] | None = None) -> Any:
    """Return a CSV of steps as a DataFrame of numbers, gaps as NaN.

    Args:
        file: a row a step.
        columns: those that are wanted; without, all that hold numbers.

    Raises:
        FastmagicError: it is not there, or holds no column of numbers.
    """
    import pandas as pd

    if not file.is_file():
        raise no_such_file(file.absolute())
    try:
        first = pd.read_csv(file, skipinitialspace=True, header=None, nrows=1, dtype=str)
        bare = (
            pd.to_numeric(first.iloc[0], errors="coerce").notna().all()
        )  # numbers in the first row: there is no heading
        frame = pd.read_csv(file, skipinitialspace=True, header=None if bare else "infer")
    except (ValueError, OSError) as error:
        raise UnreadableError(
            f"'{file.name}' cannot be read as a table: {error}", "A series is a CSV, a row a step."
        ) from error
    if columns is not None:
        lacking = [name for name in columns if name not in frame.columns]
        if lacking:
            raise UnreadableError(f"'{file.name}' has no column {lacking[0]!r}.", f"It has {few(frame.columns, 8)}.")
        frame = frame[list(columns)]
    frame = frame.select_dtypes("number")
    if not len(frame.columns) or not len(frame):
        raise UnreadableError(
            f"'{file.name}' holds no numbers.", "A series is a CSV: a row a step, a column a channel."
        )
    return frame


def _filled(channel: Any) -> Any:
    good = np.isfinite(channel)
    if good.all():
        return channel
    if not good.any():
        return np.zeros_like(channel)
    places = np.arange(len(channel))
    return np.interp(places, places[good], channel[good]).astype("float32")
