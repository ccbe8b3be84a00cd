"""Pointer tracks for fastai: `TrackBlock` draws a window of one as a picture, which a model of images learns from.

An ordinary `TransformBlock`, for any `DataBlock`:

    from fastai.vision.all import *
    from fastmagic import RecordingSplitter, TrackBlock, track_windows

    block = DataBlock(
        blocks=(TrackBlock(size=64), CategoryBlock),
        get_items=track_windows, splitter=RecordingSplitter(seed=42), get_y=parent_label,
    )
    learn = vision_learner(block.dataloaders('mouse_sessions'), resnet18, pretrained=False)
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from fastai.data.block import TransformBlock
from fastai.data.transforms import parent_label
from fastai.torch_basics import Transform
from fastai.vision.core import TensorImage

from ..errors import AnswerError, RefusedError
from .track_files import WINDOWS, read_track, recording_of

STEEP = 100  # of the logarithm: how many times slower than the fastest a pointer is still told from one at rest
DOT = 1  # px around a click that its dot takes
PAUSE = 2.0  # s without an event, after which a track begins anew


class Track:
    """A window of a pointer track.

    Attributes:
        time: s, float64 array of as many values as there are events.
        x, y: px from the left and from the top, float64 arrays.
        click: where a button went down, bool array.
        file: where it came from, with the window: `a.csv#300-600`; `None` for an array.
    """

    def __init__(self, time: Any, x: Any, y: Any, click: Any, file: Path | None = None):
        self.time, self.x, self.y, self.click, self.file = time, x, y, click, file

    @classmethod
    def create(cls, source: Any) -> Track:
        """Open a file, a window of one (`a.csv#300-600`), or take an array of events × (seconds, x, y[, click]).

        Raises:
            FastmagicError: it is not there, or is no pointer track.
        """
        if isinstance(source, Track):
            return source
        if isinstance(source, (str, Path)):
            file, start, stop = recording_of(source)
            part = read_track(file).iloc[start:stop]
            time, x, y, click = (part[name].to_numpy() for name in ("time", "x", "y", "click"))
            return cls(time, x, y, click, Path(source))
        rows = np.asarray(source, dtype="float64")
        if rows.ndim != 2 or rows.shape[1] not in (3, 4):
            raise AnswerError(
                f"An array of shape {rows.shape} is no pointer track.",
                "It takes a row an event: seconds, x, y[, click].",
            )
        click = rows[:, 3] > 0 if rows.shape[1] == 4 else np.zeros(len(rows), dtype=bool)
        return cls(rows[:, 0], rows[:, 1], rows[:, 2], click)

    def __len__(self) -> int:
        return len(self.time)

    @property
    def seconds(self) -> float:
        return float(self.time[-1] - self.time[0]) if len(self) else 0.0

    def speeds(self) -> Any:
        """Return the speed on the way to each event but the first, px/s; NaN after a pause."""
        with np.errstate(divide="ignore", invalid="ignore"):
            steps = np.diff(self.time)
            speeds = np.hypot(np.diff(self.x), np.diff(self.y)) / np.maximum(steps, 1e-3)
        return np.where(steps > PAUSE, np.nan, speeds)

    def picture(self) -> Any:
        """Return its path as a PIL image: the faster, the lighter; clicks as dots."""
        import io

        from PIL import Image

        from ..render import figure_png, new_figure

        figure, axes = new_figure(1, 1, 2.0)
        self.show(axes[0])
        return Image.open(io.BytesIO(figure_png(figure))).convert("RGB")

    def show(self, ctx: Any = None, title: str | None = None, **kwargs: Any) -> Any:
        """Draw its path into matplotlib axes: the faster, the lighter; clicks as red dots."""
        from matplotlib.collections import LineCollection

        if ctx is None:
            import matplotlib.pyplot as plt

            _, ctx = plt.subplots()
        speeds = self.speeds()
        places = np.stack([self.x, self.y], axis=1)
        moved = ~np.isnan(speeds)
        lines = LineCollection(np.stack([places[:-1], places[1:]], axis=1)[moved], linewidth=1, cmap="viridis")
        lines.set_array(np.log1p(speeds[moved]))
        ctx.add_collection(lines)
        ctx.scatter(*places[self.click].T, s=12, color="tab:red", zorder=3)
        ctx.autoscale()
        ctx.set_aspect("equal", adjustable="datalim")
        ctx.invert_yaxis()  # a screen's y grows downwards
        ctx.set_xticks([])
        ctx.set_yticks([])
        if title is not None:
            ctx.set_title(title)
        return ctx

    def __repr__(self) -> str:
        return f"Track {len(self)} events, {self.seconds:.0f} s, {int(self.click.sum())} clicks"


class TensorTrackImage(TensorImage):
    """A track as a picture: path, speed along it, clicks; 3 × size × size, 0 to 1."""


class OpenTrack(Transform):
    """Opens what `get_items` or `get_x` gives as a `Track`."""

    opens_files = True  # who lists items stops here
    input_types = (Path, str, np.ndarray)  # where fastai's `predict` begins

    def __init__(self, events: int | None = None):
        self.events = events
        super().__init__()

    def encodes(self, source: Path | str | np.ndarray) -> Track:
        return Track.create(source)


class ToTrackImage(Transform):
    """Draws a `Track` as a picture."""

    order = 1

    def __init__(self, size: int = 64, screen: tuple[float, float] | None = None, fastest: float = 3000):
        self.size, self.screen, self.fastest = size, screen, fastest
        super().__init__()

    def encodes(self, track: Track) -> TensorTrackImage:
        import torch

        return TensorTrackImage(torch.from_numpy(drawn(track, self.size, self.screen, self.fastest)))


def TrackBlock(
    size: int = 64, screen: tuple[float, float] | None = None, fastest: float = 3000, events: int = WINDOWS
) -> TransformBlock:
    """Return a `TransformBlock` for windows of pointer tracks, drawn as pictures.

    Red is the path, green the speed along it, blue the clicks: a slow path is red, a fast one yellow, a click a blue dot
    (after Chong et al. 2019, https://doi.org/10.1109/TIFS.2019.2930429, who let a network of images tell users by pictures
    of their tracks).

    Args:
        size: side of the picture in px.
        screen: (width, height) in px, which the picture shows whole; without, each window is shown as large as fits, and
            where on the screen it was is lost.
        fastest: speed in px/s from which on all is as bright; brightness grows with the logarithm of speed.
        events: how many a window has, as `track_windows` cuts them; a whole recording is predicted in such windows.

    Returns:
        A block whose items are `Track` and, for the model, `TensorTrackImage` (3 × size × size, 0 to 1).

    Example:
        >>> TrackBlock(size=64, screen=(1920, 1080))  # doctest: +SKIP
    """
    return TransformBlock(type_tfms=OpenTrack(events), item_tfms=ToTrackImage(size, screen, fastest))


def drawn(track: Track, size: int, screen: tuple[float, float] | None = None, fastest: float = 3000) -> Any:
    """Return a track as a picture: float32 array of 3 × size × size, 0 to 1.

    Args:
        track: of at least one event.
        size, screen, fastest: as of `TrackBlock`.

    Example:
        >>> drawn(Track.create([[0, 0, 0], [1, 2, 2]]), 3)[0].tolist()
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    plane = np.zeros((3, size, size), dtype="float32")
    if not len(track):
        return plane
    if screen is None:
        left, top = track.x.min(), track.y.min()
        across = max(track.x.max() - left, track.y.max() - top, 1.0)
    else:
        left = top = 0.0
        across = float(max(screen))
    places = np.clip(np.stack([track.y - top, track.x - left]) / across, 0, 1) * (size - 1)  # rows, columns
    speeds = track.speeds()
    ends = ~np.isnan(speeds)
    begin, end = places[:, :-1][:, ends], places[:, 1:][:, ends]
    counts = np.ceil(np.abs(end - begin).max(axis=0)).astype(int) + 1 if ends.any() else np.zeros(0, dtype=int)
    which = np.repeat(np.arange(len(counts)), counts)
    share = (np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts)) / np.maximum(counts[which] - 1, 1)
    rows, columns = np.round(begin[:, which] + (end - begin)[:, which] * share).astype(int)
    plane[0, rows, columns] = 1
    bright = np.clip(np.log1p(STEEP * speeds[ends] / fastest) / np.log1p(STEEP), 0, 1).astype("float32")
    np.maximum.at(plane[1], (rows, columns), bright[which])
    for row, column in np.round(places[:, track.click]).astype(int).T:
        plane[2, max(0, row - DOT) : row + DOT + 1, max(0, column - DOT) : column + DOT + 1] = 1
    return plane


def RecordingSplitter(
    valid_pct: float = 0.2, seed: int | None = None, label: Callable[[Any], Any] = parent_label
) -> Callable[[Sequence[Any]], tuple[list[int], list[int]]]:
    """Return a splitter that keeps all windows of a recording on one side: of each class, some recordings for validation.

    Windows of one recording are more alike than those of another day, so that a random split says too much.

    Args:
        valid_pct: share of the recordings of each class, one at least.
        seed: of the choice.
        label: gives the class of a window.

    Returns:
        What a `DataBlock` takes as `splitter`.

    Raises:
        FastmagicError: when it splits, and a class has one recording alone.
    """

    def _inner(items: Sequence[Any]) -> tuple[list[int], list[int]]:
        recordings: dict[Any, dict[Path, list[int]]] = defaultdict(lambda: defaultdict(list))
        for i, item in enumerate(items):
            recordings[label(item)][recording_of(item)[0]].append(i)
        chosen = random.Random(seed)
        train: list[int] = []
        valid: list[int] = []
        for name in sorted(recordings, key=str):
            files = sorted(recordings[name])
            if len(files) < 2:
                raise RefusedError(
                    f"Of {name!r} there is one recording, {files[0].name}: it cannot be trained and validated on at once.",
                    "Add another, leave the class out, or split its windows (a kinder figure): "
                    "`splitter=RandomSplitter(0.2, seed=42)`",
                )
            kept = set(chosen.sample(files, max(1, round(valid_pct * len(files)))))
            for file in files:
                (valid if file in kept else train).extend(recordings[name][file])
        return train, valid

    return _inner
