"""Checks of pointer tracks: empty and broken ones, times that run backwards, and what tells a class without its hand."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...errors import FastmagicError, number
from ..listing import Listing
from ..report import Finding
from ..track_files import ALIKE, OUTSIDE, WINDOWS, read_track, screen_of

SHORT = WINDOWS // 2  # events; fewer make no window of their own


def track_checks(listing: Listing) -> Iterator[Finding]:
    """Find what is wrong with pointer tracks; all of them are read."""
    if listing.thing != "track":
        return
    empty: dict[Any, str] = {}
    broken: dict[Any, str] = {}
    short: dict[Any, str] = {}
    back: dict[Any, str] = {}
    outside: dict[Any, str] = {}
    told: dict[Any, list[tuple[float, float, float]]] = defaultdict(list)  # of each class: width, height, rate
    labels = listing.labels or [None] * len(listing)
    for path, label in dict(zip(listing.paths, labels, strict=True)).items():
        if path is None:
            continue
        try:
            track = read_track(path)
        except FastmagicError as error:
            broken[path] = error.cause
            continue
        if track.attrs.get("outside"):
            outside[path] = number(track.attrs["outside"], "event")
        if len(track) < 2:
            empty[path] = number(len(track), "event")
            continue
        if len(track) < SHORT:
            short[path] = number(len(track), "event")
        steps = track["time"].diff().iloc[1:]
        if (steps < 0).any():
            back[path] = f"{int((steps < 0).sum()):,} times"
        told[label].append((*screen_of(track["x"], track["y"]), 1 / max(1e-3, float(steps[steps > 0].median()))))
    findings: list[tuple[str, str, dict[Any, str], str, str]] = [
        ("unreadable", "error", broken, "cannot be read: `datablock` stops there", "Take these files out of the folder."),
        ("empty-track", "warning", empty, "without a track: no window comes from them", "Record them again, or take them out."),
        ("short-track", "note", short, f"of fewer than {SHORT} events", "Each is one window, with less in it than the others."),
        ("time-backwards", "warning", back, "whose time runs backwards: speeds are wrong there", "Sort the rows by time."),
        ("outside", "note", outside, f"with events at {OUTSIDE}, which stands for a pointer outside the screen", "They are left out."),
    ]  # fmt: skip
    for kind, severity, items, said, fix in findings:
        if items:
            yield Finding(kind, severity, f"{number(len(items), 'track')} {said}.", fix, list(items), details=items)
    yield from _hardware(told)


def _hardware(told: Mapping[Any, Sequence[tuple[float, float, float]]]) -> Iterator[Finding]:
    """Find classes that the screen or the mouse tells apart, whoever holds it."""
    if len(told) < 2:
        return
    for what, columns, unit, factor, fix in (
        ("screens of different sizes", (0, 1), "px", 1 + ALIKE, "Leave `screen` out of TrackBlock: each window is shown as large as fits."),
        ("mice or browsers of different rates", (2,), "events a second", 2, "Record them on one machine, or say so beside the accuracy."),
    ):  # fmt: skip
        for column in columns:
            ranges = sorted(
                (min(found[column] for found in of), max(found[column] for found in of), str(name))
                for name, of in told.items()
            )
            apart = [(low, high) for low, high in itertools.pairwise(ranges) if high[0] > low[1] * factor]
            if apart:
                low, high = apart[0]
                yield Finding(
                    "hardware",
                    "warning",
                    f"The classes come from {what}: {low[2]} has up to {low[1]:.0f} {unit}, {high[2]} from {high[0]:.0f}. "
                    "A model may tell the machine, and not the hand.",
                    fix,
                )
                break
