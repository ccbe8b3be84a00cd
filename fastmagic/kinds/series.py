"""Time series, drawn as lines, Gramian fields or recurrence plots: `SeriesBlock`, `vision_learner`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from ..data.folders import Layout
from ..data.series_files import SUFFIXES, SeriesFolder, series_in, series_layout
from ..data.source import Source, Worked
from ..errors import FastmagicError, RefusedError, few
from .image import Image, from_table
from .kind import other_block

APART = 5  # times the span of the smallest channel; beyond, each gets a range of its own
CLOCKS = ("t", "time", "timestamp", "date", "index", "step", "frame", "seconds", "s", "ms", "0")
SAMPLE = 50  # series that are opened to tell lengths, channels and range


class Series(Image):
    """Time series, a CSV file each."""

    name = "time series"
    thing = "series"
    finds = f"partial(get_files, extensions={list(SUFFIXES)!r})"
    imports = ("from fastmagic import SeriesBlock",)
    lighter = "smaller pictures: SeriesBlock(size=32)"
    suffixes = SUFFIXES

    def vocabulary(self) -> dict[str, Any]:
        from ..data.series import SeriesBlock

        return {**super().vocabulary(), "SeriesBlock": SeriesBlock}

    def recognises(self, source: Source, answered: Mapping[str, Any]) -> bool:
        if other_block(answered, "SeriesBlock", "OpenSeries") or not isinstance(source.value, Path):
            return False
        return source.value.is_dir() and series_in(source.value, read=False) is not None

    def infer(self, source: Source, answered: Mapping[str, Any], seed: int | None, target: str | None) -> Worked | None:
        found = series_in(source.value, target)
        assert found is not None
        wanted = {"blocks", "splitter", "get_y", "get_items"} - set(answered)
        if "getters" in answered:
            wanted &= {"splitter"}
        if not wanted:
            return None
        if found.table is not None and {"get_items", "get_y"} <= wanted:
            frame, code, columns = found.table
            wanted = wanted - {"get_items"} | {"get_x"}
            worked = from_table(Source(frame, [f"df = {code}"], "df", source.value), columns, seed, wanted)
        else:
            worked = self._from_folder(source, seed, wanted, target)
        if "blocks" in wanted:
            block, said = _block(found)
            worked.answers["blocks"] = worked.answers["blocks"].replace("ImageBlock", block)
            worked.why = "; ".join(filter(None, [worked.why, said]))
        worked.answers = {name: text for name, text in worked.answers.items() if name in wanted}
        return worked

    def layout(self, folder: Path) -> Layout:
        return series_layout(folder)

    def _refuse(self, folder: Path, layout: Layout) -> None:
        if layout.kind == "flat":
            raise RefusedError(
                f"{len(layout.images):,} series lie in '{layout.images[0].parent}', and nothing says what they are.",
                "Put each class in a sub-folder, a table beside them that names each (a number in its name is enough), or "
                r"let the name tell it: `label=r'^([^_]+)_'`",
            )
        super()._refuse(folder, layout)

    def holds(self, dls: Any) -> bool:
        lists: Any = getattr(getattr(dls.train, "dataset", None), "tls", None)
        return bool(lists) and any(type(step).__name__ == "OpenSeries" for step in lists[0].tfms.fs)


def _block(found: SeriesFolder) -> tuple[str, str]:
    """Return a `SeriesBlock` that fits some series, and what is told of them."""
    from ..data.series import Series as Opened

    opened = []
    for file in found.files[:: max(1, len(found.files) // SAMPLE)]:
        try:
            opened.append(Opened.create(file))
        except FastmagicError:
            continue
    if not opened:
        raise RefusedError("None of the series can be opened.", "`check(FOLDER)` tells why.")
    lengths = [one.steps for one in opened]
    channels = sorted({len(one.values) for one in opened})
    if len(channels) > 1:
        raise RefusedError(
            f"The series have {few(channels)} columns of numbers: a model wants as many channels of each.",
            "Leave out the odd ones, or give get_x a function that returns an array of the same channels.",
        )
    size = max(32, min(64, 16 * math.ceil(median(lengths) / 16)))
    names = opened[0].names
    kept = [i for i in range(channels[0]) if not _counts(names[i], [one.values[i] for one in opened])] or list(
        range(channels[0])
    )
    ranges = [
        _outwards(min(float(one.values[i].min()) for one in opened), max(float(one.values[i].max()) for one in opened))
        for i in kept
    ]
    spans = [high - low for low, high in ranges]
    low: Any = min(low for low, _ in ranges)
    high: Any = max(high for _, high in ranges)
    given, values = f"low={low!r}, high={high!r}", f"values {low:g} to {high:g}"
    if max(spans) > APART * min(spans):  # in one range, the small ones would be flat
        given = f"low={[low for low, _ in ranges]!r}, high={[high for _, high in ranges]!r}"
        values = "each in a range of its own"
    said = [f"series of {min(lengths)} to {max(lengths)} steps are brought to {size}"]
    said.append(f"{len(kept)} channels are planes of a picture" if len(kept) > 1 else "one channel")
    if len(kept) < channels[0]:
        given += f", columns={[names[i] for i in kept]!r}"
        said.append(
            f"left out: {few([names[i] for i in range(channels[0]) if i not in kept])}, counting the steps alone"
        )
    return f"SeriesBlock('lines', size={size}, {given})", ", ".join([*said, values])


def _counts(name: str, columns: Sequence[Any]) -> bool:
    """Tell whether a column is the time or the number of a step: called so, and rising in every series."""
    import numpy as np

    last = re.split(r"[\W_]+", name.strip().strip("#").strip().lower())[-1]
    return last in CLOCKS and all(bool((np.diff(column) >= 0).all()) for column in columns)


def _outwards(low: float, high: float) -> tuple[float, float]:
    """Return a range of round numbers around another."""
    span = high - low or abs(high) or 1.0
    step = 10.0 ** (math.floor(math.log10(span)) - 1)
    return round(math.floor(low / step) * step, 12), round(math.ceil(high / step) * step, 12)
