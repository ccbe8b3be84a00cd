"""Folders of time series, one CSV a series: where they lie, and which table says what they are. Imports no fastai."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .folders import Layout, read_folder, walk
from .names import image_suffixes, is_image_name
from .sound_files import is_sound_name
from .tables import Columns, read_columns

SUFFIXES = (".csv",)
TABLE = re.compile(
    r"(labels?|targets?|class(es)?|meta(data)?|index|train|test|valid|annotations?)([_ .-].*)?$|.*[_ .-](labels?|targets?|class(es)?|meta(data)?)$",
    re.I,
)
TABLES = 5  # beside series, at most
LEAST = 8  # files of one kind make a set of series; fewer are tables
MOST = 0.8  # of the rows have to name a file


@dataclass
class SeriesFolder:
    """The series of a folder.

    Attributes:
        files: in the order of their folders and names.
        table: the table that says what they are, how a program reads it, and what its columns mean; `None` without one.
    """

    files: list[Path]
    table: tuple[Any, str, Columns] | None = None


def series_in(folder: Path, target: Any = None, read: bool = True, least: int = LEAST) -> SeriesFolder | None:
    """Tell which CSV files of a folder are series: many with one heading, and more of them than pictures and recordings.

    Args:
        folder: to look through.
        target: the column of the table beside them that is to be predicted.
        read: look for that table.
        least: files of one heading that make a set.

    Returns:
        What was found, `None` where there are no series.
    """
    found: dict[str, list[Path]] = {}
    suffixes, others = image_suffixes(), 0
    for place, names in walk(folder):
        files = [place / name for name in names if name.lower().endswith(SUFFIXES)]
        others += sum(is_image_name(name, suffixes) or is_sound_name(name) for name in names)
        if files:
            found[str(place)] = files
    everything = [file for files in found.values() for file in files]
    if len(everything) < least or others >= len(everything):
        return None
    apart = [file for file in everything if TABLE.match(file.stem)]  # called labels.csv, index.csv and the like
    if len(apart) > TABLES:
        apart = []  # train_0001.csv and the like are the series
    some = [file for file in everything if file not in set(apart)]
    headings = Counter(heading(file) for file in some[:: max(1, len(some) // 40)])
    headings.pop((), None)
    if not headings:
        return None
    usual = headings.most_common(1)[0][0]
    if headings[usual] < MOST * sum(headings.values()):
        return None
    files = [file for file in everything if file not in set(apart)]
    if len(files) < least:
        return None
    said = SeriesFolder(files)
    if read and len({file.parent for file in files}) == 1:
        said.table = _table(files, apart, target)
    return said


def series_layout(folder: Path) -> Layout:
    """Return how the series of a folder are laid out, tables beside them left out."""
    layout = read_folder(folder, SUFFIXES)
    found = series_in(folder, read=False)
    if found is None or layout.table is not None:
        return layout
    inside = set(found.files)
    if all(image in inside for image in layout.images):
        return layout
    layout.images = [image for image in layout.images if image in inside]
    layout.folders = sorted({image.relative_to(folder).parts[0] for image in layout.images if image.parent != folder})
    names = {image.parent.name for image in layout.images}
    if layout.kind in ("classes", "flat"):
        layout.kind = "classes" if len(names) > 1 else "flat"
    return layout


def heading(file: Path) -> tuple[str, ...]:
    """Return the names of a CSV's columns, () where a second row is missing or holds no number."""
    try:
        with open(file, encoding="utf-8", errors="replace") as lines:
            first, second = lines.readline(), lines.readline()
    except OSError:
        return ()
    if not re.search(r"\d", second):
        return ()
    return tuple(part.strip().strip("#").strip() for part in first.strip().split(","))


def _hits(column: Any, prefixes: Iterable[str], names: set[str]) -> bool:
    return any(
        f"{prefix}{value}{suffix}" in names for value in column for prefix in prefixes for suffix in (".csv", "")
    )


def _table(files: Sequence[Path], tables: Sequence[Path], target: Any) -> tuple[Any, str, Columns] | None:
    """Return the table whose rows name the series, by their whole names or by the numbers in them."""
    import pandas as pd

    folder = files[0].parent
    names = {file.name for file in files}
    common = os.path.commonprefix([file.name for file in files])  # noqa: RUF071  letter by letter is what is wanted
    prefixes = dict.fromkeys([common.rstrip("0123456789"), common, ""])
    for table in sorted(tables):
        code = f"pd.read_csv({str(table)!r}, skipinitialspace=True)"
        try:
            few_rows = pd.read_csv(table, skipinitialspace=True, nrows=200)
            if not any(_hits(few_rows[name], prefixes, names) for name in few_rows.columns):
                continue
            frame = pd.read_csv(table, skipinitialspace=True)
        except (ValueError, OSError):
            continue
        for column in frame.columns:
            for prefix in prefixes:
                for suffix in (".csv", ""):
                    hits = sum(f"{prefix}{value}{suffix}" in names for value in frame[column])
                    if not hits or hits < MOST * len(frame):
                        continue
                    rest = frame[[name for name in frame.columns if name != column]]
                    label = read_columns(rest, Path("."), target)
                    return frame, code, Columns(
                        file=column, prefix=f"{folder}/{prefix}", suffix=suffix, exist=hits / len(frame), label=label.label,
                        delimiter=label.delimiter, numbers=label.numbers, split=label.split, sides=label.sides,
                    )  # fmt: skip
    return None
