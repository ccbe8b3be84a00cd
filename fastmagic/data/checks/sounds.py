"""Checks of recordings: what cannot be opened, what is silent or clipped, what is much longer than the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...errors import FastmagicError, few, number
from ..listing import Listing
from ..report import Finding

FAST = 40  # recordings whose heads the fast checks read
SILENT = 1e-3  # of the largest that a sample can be: 60 dB below
CLIPPED = 0.001  # of the samples at the very end of the range
LONG = 4  # times the median


def sound_checks(listing: Listing, full: bool) -> Iterator[Finding]:
    """Find what is wrong with recordings; the fast checks read the heads of some of them."""
    if listing.thing != "recording":
        return
    from ..sound_files import about

    files = [path for path in listing.paths if path is not None]
    gone = [file for file in files if not file.is_file()]  # one `stat` a file
    if gone:
        said = number(len(gone), "listed file does", "listed files do")
        yield Finding(
            "missing-file", "error", f"{said} not exist: training stops there.", "Build the DataLoaders again.", gone
        )
    there = [file for file in files if file not in set(gone)] if gone else files
    heads: dict[Path, tuple[float, int, int]] = {}
    broken: dict[Any, str] = {}
    for file in there if full else there[:: max(1, len(there) // FAST)]:
        try:
            heads[file] = about(file)
        except FastmagicError as error:
            if "missing" in error.cause:
                raise
            broken[file] = error.cause.partition(": it is ")[2].rstrip(".") or error.cause
    quiet: dict[Any, str] = {}
    loud: dict[Any, str] = {}
    for file in list(heads) if full else []:
        try:
            peak, share = _levels(file)
        except Exception as error:  # a head that promises what does not follow
            broken[file] = f"cut off ({type(error).__name__})"
            continue
        if peak < SILENT:
            quiet[file] = "silent"
        elif share > CLIPPED:
            loud[file] = f"{share:.1%} of its samples"
    if broken:
        yield Finding(
            "unreadable",
            "error",
            f"{number(len(broken), 'recording')} cannot be read: training stops there.",
            "Take these files out of the folder.",
            list(broken),
            details=broken,
        )
    empty = [file for file, head in heads.items() if head[0] <= 0.02]
    if empty:
        yield Finding(
            "empty-sound",
            "error",
            f"{number(len(empty), 'recording')} of less than 20 ms: nothing is heard.",
            "Leave them out.",
            empty,
        )
    if quiet:
        yield Finding(
            "silent", "warning", f"{number(len(quiet), 'recording is', 'recordings are')} silent: any label would do.",
            "Listen to them, and leave them out.", list(quiet),
        )  # fmt: skip
    if loud:
        yield Finding(
            "clipped",
            "note",
            f"{number(len(loud), 'recording is', 'recordings are')} clipped: the loudest parts are cut off.",
            "Record again at a lower level, or live with it; where one class is clipped alone, the model learns that.",
            list(loud),
            details=loud,
        )
    yield from _unlike(heads)


def _unlike(heads: dict[Path, tuple[float, int, int]]) -> Iterator[Finding]:
    if len(heads) < 2:
        return
    rates = Counter(head[1] for head in heads.values())
    channels = Counter(head[2] for head in heads.values())
    if len(rates) > 1 or len(channels) > 1:
        said = [f"{n} at {rate:,} Hz" for rate, n in rates.most_common(4)] if len(rates) > 1 else []
        said += (
            [f"{n} of {number(count, 'channel')}" for count, n in channels.most_common(3)] if len(channels) > 1 else []
        )
        yield Finding(
            "mixed-sounds",
            "note",
            f"The recordings are not alike: {few(said, 6)}. SoundBlock brings them to one rate and one channel.",
            "Where a class has a rate of its own, the model may learn the microphone.",
        )
    lengths = sorted(head[0] for head in heads.values())
    middle = lengths[len(lengths) // 2]
    long = {file: f"{head[0]:.1f} s" for file, head in heads.items() if head[0] > LONG * middle}
    if long:
        yield Finding(
            "long-sound",
            "warning" if len(long) > len(heads) / 20 else "note",
            f"{number(len(long), 'recording is', 'recordings are')} more than {LONG} times as long as the others ({middle:.1f} s): what "
            "lies behind SoundBlock's seconds is not heard.",
            "Cut them into pieces, or give SoundBlock more seconds.",
            list(long),
            details=long,
        )


def _levels(file: Path) -> tuple[float, float]:
    """Return the largest sample of a recording (0…1), and the share of samples at the end of the range."""
    import numpy as np
    import soundfile

    peak, ends, count = 0.0, 0, 0
    for block in soundfile.blocks(str(file), blocksize=1 << 16, dtype="float32", always_2d=True):
        size = np.abs(block)
        peak, count = max(peak, float(size.max(initial=0))), count + size.size
        ends += int((size >= 0.999).sum())
    return peak, ends / max(count, 1)
