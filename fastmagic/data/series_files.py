"""Folders of time series, one CSV a series: where they lie, and which table says what they are. Imports no fastai."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .folders import walk
from .tables import Columns, read_columns

SUFFIXES = (".csv",)
LEAST = 8  # files of one kind make a set of series; fewer are tables
MOST = 0.8  # of the rows have to name a file


@dataclass
class SeriesFolder:
    """The series of a folder.

    Attributes:
        files: in the order of their folders and names.
        heading: of the columns of one of them.
        table: the table that says what they are, how a program reads it, and what its columns mean; `None` without one.
    """

    files: list[Path]
    heading: tuple[str, ...]
    table: tuple[Any, str, Columns] | None = None
    others: list[Path] = field(default_factory=list)


def series_in(folder: Path, target: Any = None) -> SeriesFolder | None:
    """Tell which CSV files of a folder are series: many with the same heading of several rows; `None` where there are none.

    Args:
        folder: to look through.
        target: the column of the table beside them that is to be predicted.
    """
    found: dict[str, list[Path]] = {}
    for place, names in walk(folder):
        files = [place / name for name in names if name.lower().endswith(SUFFIXES)]
        if files:
            found[str(place)] = files
    many = {place: files for place, files in found.items() if len(files) >= LEAST}
    if not many:
        return None
    headings = Counter(_heading(files[len(files) // 2]) for files in many.values())
    heading, _ = headings.most_common(1)[0]
    if not heading:
        return None
    files = [file for place in sorted(many) for file in many[place]]
    some = files[:: max(1, len(files) // 20)]
    if sum(len(_heading(file)) == len(heading) for file in some) < MOST * len(some):
        return None
    others = [file for place, there in found.items() if place not in many for file in there]
    said = SeriesFolder(files, heading, None, others)
    if len(many) == 1:
        said.table = _table(files, others, target)
    return said


def _heading(file: Path) -> tuple[str, ...]:
    """Return the names of a CSV's columns, () where a second row is missing or holds no number."""
    try:
        with open(file, encoding="utf-8", errors="replace") as lines:
            first, second = lines.readline(), lines.readline()
    except OSError:
        return ()
    if not re.search(r"\d", second):
        return ()
    return tuple(part.strip().strip("#").strip() for part in first.strip().split(","))


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
