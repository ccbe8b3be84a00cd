"""Checks of time series: gaps, channels that never change, series that are too short or of other channels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...errors import FastmagicError, few, number
from ..listing import Listing
from ..report import Finding

SHORT = 8  # steps


def series_checks(listing: Listing) -> Iterator[Finding]:
    """Find what is wrong with series; all of them are read."""
    import numpy as np

    if listing.thing != "series":
        return
    from ..series import read_steps

    gaps: dict[Any, str] = {}
    flat: dict[Any, str] = {}
    broken: dict[Any, str] = {}
    short: dict[Any, str] = {}
    channels: dict[Path, int] = {}
    for path in listing.paths:
        if path is None:
            continue
        try:
            frame = read_steps(path)
        except FastmagicError as error:
            broken[path] = error.cause
            continue
        channels[path] = len(frame.columns)
        if len(frame) < SHORT:
            short[path] = f"{number(len(frame), 'step')}"
        values = frame.to_numpy("float64")
        missing = int((~np.isfinite(values)).sum())
        if missing:
            gaps[path] = f"{number(missing, 'value')} of {values.size:,}"
        still = [str(name) for name in frame.columns if frame[name].nunique() <= 1]
        if still:
            flat[path] = few(still, 3)
    usual = Counter(channels.values()).most_common(1)[0][0] if channels else 0
    odd = {path: number(n, "channel") for path, n in channels.items() if n != usual}
    told: list[tuple[str, str, dict[Any, str], str, str]] = [
        ("unreadable", "error", broken, "cannot be read: training stops there", "Take these files out of the folder."),
        ("other-channels", "error", odd, f"not of {number(usual, 'channel')} as the others: they fit into no batch", "Leave them out."),
        ("gaps", "warning", gaps, "with gaps, which are filled by straight lines", "Look at how many; a class with more gaps is told by them."),
        ("constant-channel", "note", flat, "with a channel that never changes", "Where it is so in all, leave the channel out."),
        ("short-series", "warning", short, f"of fewer than {SHORT} steps", "Stretched to a picture they show little."),
    ]  # fmt: skip
    for kind, severity, items, said, fix in told:
        if items:
            yield Finding(kind, severity, f"{len(items):,} series {said}.", fix, list(items), details=items)
