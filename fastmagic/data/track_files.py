"""Folders of pointer tracks, one CSV a recording: how they are told, read and cut into windows. Imports no fastai."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import AnswerError, UnreadableError, few
from .opening import no_such_file
from .series_files import heading, series_in

SUFFIXES = (".csv",)
OUTSIDE = 65535  # what a 16-bit screen protocol says of a pointer that is nowhere
WINDOW = re.compile(r"(.+)#(\d+)-(\d+)$", re.S)
# The words that may stand beside x or y: clientX, pos_x, "Screen X".
BESIDE = {"client", "page", "screen", "mouse", "cursor", "pointer", "pos", "position", "coord", "coordinate", "px"}
CLOCKS = (
    "client timestamp", "client time stamp", "timestamp", "time stamp", "time", "t", "ms", "time ms", "timestamp ms", "seconds", "datetime",
    "record timestamp",
)  # fmt: skip
EVENTS = ("state", "event", "event type", "type", "action", "buttons", "button", "click", "clicks", "pressed", "down")
PRESSED = re.compile(r"(mouse|pointer|button|left|right)?[ _]?(pressed|press|clicked|click|touch ?start)$", re.I)
DOWN = re.compile(r"(mouse|pointer|button|left|right)?[ _]?down$", re.I)
WINDOWS = 300  # events; measured: with 200 more windows are taken for another's, with 500 there are few
ALIKE = 0.1  # screens differ by less
MOUSE = re.compile(
    r"mov|press|releas|drag|scroll|wheel|click|down|up$|enter|leave|over$|out$|touch|pointer|mouse|button|left$|right$",
    re.I,
)
MOST = 0.9  # of the events speak of a mouse
LEAST = 2  # recordings make a set of tracks
MOST_STEP = 4.0  # between two events of a moved pointer lie no 4 s: these are milliseconds
NOTHING = re.compile(r"|0|0\.0|false|none|nobutton|no ?button|up|released", re.I)


@dataclass(frozen=True)
class TrackColumns:
    """The columns of a pointer track: time, place, and what says that a button was pressed (`None` without)."""

    time: str
    x: str
    y: str
    event: str | None = None


def track_columns(names: Sequence[Any]) -> TrackColumns | None:
    """Tell by their names which columns make a pointer track; `None` where they do not.

    A third direction (z) makes it the track of something else: of a phone in a pocket, say.

    >>> track_columns(["client timestamp", "button", "state", "x", "y"])
    TrackColumns(time='client timestamp', x='x', y='y', event='state')
    >>> track_columns(["t", "clientX", "clientY"])
    TrackColumns(time='t', x='clientX', y='clientY', event=None)
    >>> track_columns(["time", "x", "y", "z"]) is None
    True
    """
    words = {str(name): _words(str(name)) for name in names}
    axes: dict[str, list[str]] = {
        axis: [name for name, said in words.items() if axis in said and set(said) - {axis} <= BESIDE] for axis in "xyz"
    }
    clocks = _ranked(words, CLOCKS)
    if axes["z"] or not axes["x"] or not axes["y"] or not clocks:
        return None
    events = _ranked(words, EVENTS)
    return TrackColumns(clocks[0], axes["x"][0], axes["y"][0], events[0] if events else None)


def holds_tracks(folder: Path) -> bool:
    """Tell whether a folder holds pointer tracks: CSV files alike whose headings name a time, x and y.

    Unless they are called `clientX` or the like, the places must be whole numbers, as pixels are, and what stands beside them must
    speak of a mouse.
    """
    found = series_in(folder, read=False, least=LEAST)
    if found is None:
        return False
    first = Counter(heading(file) for file in found.files[:: max(1, len(found.files) // 40)]).most_common(1)[0][0]
    columns = track_columns(first)
    if columns is None:
        return False
    if set(_words(columns.x)) & {"client", "page", "screen", "mouse", "cursor", "pointer"}:
        return True
    try:
        table, track = _table(found.files[0]), read_track(found.files[0])
    except UnreadableError:
        return False
    if not len(track) or not (track[["x", "y"]] % 1 == 0).all(axis=None):
        return False
    if columns.event is not None and table[columns.event].dtype.kind not in "iufb":
        return bool(table[columns.event].dropna().astype(str).str.contains(MOUSE).mean() > MOST)
    known = {columns.time, columns.x, columns.y, columns.event}
    return all(name in known or _ranked({name: _words(name)}, (*CLOCKS, *EVENTS)) for name in map(str, table.columns))


def read_track(file: Path) -> Any:
    """Return a recording as a DataFrame of `time` (s), `x`, `y` (px) and `click`, without what lies outside the screen.

    Times are seconds; where they are so large that they cannot be, milliseconds. They begin at 0.

    Raises:
        FastmagicError: it is not there, is no table, or has no such columns.
    """
    if not file.is_file():
        raise no_such_file(file.absolute())
    stat = file.stat()
    return _read(str(file), stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=512)  # each window of a recording is an item of its own
def _read(file: str, changed: int, size: int) -> Any:
    import pandas as pd

    name, table = Path(file).name, _table(Path(file))
    columns = track_columns(list(table.columns))
    if columns is None:
        raise UnreadableError(
            f"'{name}' is no pointer track: it has {few(table.columns, 8)}.", "It takes columns of a time, x and y."
        )
    time = pd.to_numeric(table[columns.time], errors="coerce")
    if time.isna().all():
        moments = pd.to_datetime(table[columns.time], errors="coerce", format="ISO8601", utc=True)
        time = (moments - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(milliseconds=1)
    track = pd.DataFrame(
        {
            "time": time,
            "x": pd.to_numeric(table[columns.x], errors="coerce"),
            "y": pd.to_numeric(table[columns.y], errors="coerce"),
            "click": _clicks(table[columns.event]) if columns.event is not None else False,
        }
    )
    outside = (track["x"] == OUTSIDE) | (track["y"] == OUTSIDE)
    track = track[track.notna().all(axis=1) & ~outside].reset_index(drop=True)
    track.attrs["outside"] = int(outside.sum())
    if len(track) > 1:
        thousandths = _milliseconds(columns.time, track["time"])
        track["time"] = (track["time"] - track["time"].iloc[0]) / (1000 if thousandths else 1)
    return track


def _table(file: Path) -> Any:
    import pandas as pd

    try:
        return pd.read_csv(file, skipinitialspace=True)
    except (ValueError, OSError) as error:
        raise UnreadableError(
            f"'{file.name}' cannot be read as a table: {error}", "A pointer track is a CSV, a row an event."
        ) from error


def _milliseconds(name: str, times: Any) -> bool:
    """Tell whether times are milliseconds: called so, of this century, in whole steps, or in steps too long for seconds."""
    steps = times.diff().iloc[1:]
    usual = steps[steps > 0].median()
    whole = bool((times % 1 == 0).all()) and usual >= 1
    return "ms" in _words(name) or times.iloc[0] > 1e11 or whole or usual > MOST_STEP


def _clicks(events: Any) -> Any:
    """Return where a button went down."""
    if events.dtype.kind in "iufb":
        pressed = events.fillna(0) > 0
        return pressed & ~pressed.shift(fill_value=False)
    texts = events.astype(str).str.strip()
    for meant in (PRESSED, DOWN):
        found = texts.str.fullmatch(meant)
        if found.any():
            return found
    pressed = ~texts.str.fullmatch(NOTHING) & ~texts.str.fullmatch(
        "(mouse|pointer)?_?(move|drag|scroll|wheel|nan)d?", case=False
    )
    return pressed & ~pressed.shift(fill_value=False)


# ---------------------------------------------------------------- windows


def track_windows(source: Path | str | Sequence[Path], events: int = WINDOWS) -> list[Path]:
    """Cut pointer tracks into windows: what `get_items` gives fastai.

    Args:
        source: a folder, looked through with those in it; or the files.
        events: of each window; what is left over at the end of a recording is a window too, if it has half as many.

    Returns:
        A path for each window, in order: `user7/session_1.csv#300-600` are the events 300 to 600 of that file, so that
        `parent_label` and fastai's other labellers work as they do on files.

    Example:
        >>> block = DataBlock(blocks=(TrackBlock(), CategoryBlock), get_items=track_windows, get_y=parent_label)  # doctest: +SKIP
    """
    if events < 2:
        raise AnswerError(f"Windows of {events} events show no track.", "For instance events=300.")
    if isinstance(source, (str, Path)):
        found = series_in(Path(source), read=False, least=LEAST)
        source = found.files if found is not None else []
    return [window for file in source for window in windows_of(Path(file), events)]


def windows_of(file: Path, events: int) -> list[Path]:
    """Return the windows of one recording; one of all there is where it is shorter than a window."""
    count = len(read_track(file))
    least = max(2, min(count, events // 2))
    starts = [start for start in range(0, count, events) if count - start >= least]
    return [file.with_name(f"{file.name}#{start}-{min(count, start + events)}") for start in starts]


def recording_of(window: Path | str) -> tuple[Path, int, int | None]:
    """Return the file of a window, its first event and the one after its last; a file is a window of all it has.

    >>> file, start, stop = recording_of("user7/a.csv#300-600")
    >>> str(file), start, stop
    ('user7/a.csv', 300, 600)
    """
    found = WINDOW.match(str(window))
    if found is None:
        return Path(window), 0, None
    return Path(found[1]), int(found[2]), int(found[3])


def screen_of(x: Any, y: Any) -> tuple[float, float]:
    """Return how much of a screen a recording shows: (width, height), as far as the pointer went.

    >>> screen_of([3, 640.5], [0, 12])
    (641.0, 12.0)
    """
    return float(math.ceil(max(x))), float(math.ceil(max(y)))


def screens_alike(screens: Sequence[tuple[float, float]]) -> bool:
    """Tell whether recordings may come from screens of one size.

    >>> screens_alike([(1919, 1079), (1840, 1079)]), screens_alike([(1919, 1079), (1366, 767)])
    (True, False)
    """
    return all(max(side) - min(side) <= ALIKE * abs(max(side)) for side in zip(*screens, strict=True))


# ---------------------------------------------------------------- names


def _words(name: str) -> tuple[str, ...]:
    return tuple(word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name))


def _ranked(words: dict[str, tuple[str, ...]], known: Sequence[str]) -> list[str]:
    """Return the columns of some names, those named first in `known` before the others."""
    said = {name: " ".join(words[name]) for name in words}
    return sorted((name for name in said if said[name] in known), key=lambda name: known.index(said[name]))
