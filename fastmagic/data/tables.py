"""What the columns of a table of files mean: which one names the file, which the label, which the split.

Everybody who is given a table asks here, so that `%check`, `%datablock` and the cleaner read the same one alike.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from ..errors import NotFoundError, did_you_mean, few
from .names import image_suffixes, is_image_name, sides

SUFFIXES = (".csv", ".tsv")
FILE_COLUMNS = ("file", "filename", "file name", "fname", "image", "image id", "image index", "path", "id", "name")
LABEL_COLUMNS = ("label", "class", "category", "target", "tag", "species", "breed", "y")
SEVERAL = {"labels": "label", "classes": "class", "categories": "category", "targets": "target", "tags": "tag"}
ASKS_VALID = ("is valid", "valid", "is val", "validation")
SPLIT_COLUMNS = (*ASKS_VALID, "split", "set", "subset", "partition", "fold name")
SAMPLE = 20  # rows whose files are looked for
FOLDERS, DEEP = 50, 3  # sub-folders that they are looked for in, and how deep these lie
MOST = 0.8  # of the files named have to be there, or other columns and places are tried


@dataclass(frozen=True)
class Columns:
    """What the columns of a table mean; `None` for what it has no column for.

    Attributes:
        file: the column that names files.
        prefix, suffix: what completes a name to a path.
        exist: how many of the files are there, from 0 (none) to 1 (all of some rows).
        heads: the heading of that column names a file, so that it is none.
        label: the column of labels.
        delimiter: what separates several labels of one item; `None` where an item has one.
        numbers: the labels are measurements, not classes.
        split: the column that tells training from validation.
        sides: "train", "valid" or "test" for every value of that column.
    """

    file: Any = None
    prefix: str = ""
    suffix: str = ""
    exist: float = 0.0
    heads: bool = False
    label: Any = None
    delimiter: str | None = None
    numbers: bool = False
    split: Any = None
    sides: dict[Hashable, str] | None = None

    def files(self, frame: Any) -> list[Path | None]:
        """Return the file of every row, `None` for a row that names none."""
        return [
            None if _missing(value) or value == "" else Path(f"{self.prefix}{value}{self.suffix}")
            for value in frame[self.file]
        ]

    def leave_out(self, name: str) -> str:
        """Return the line that keeps the rows of a DataFrame called `name` whose files are there."""
        place = f"{self.prefix}{{file}}{self.suffix}"
        return f"{name} = {name}[[Path(f{place!r}).exists() for file in {name}[{self.file!r}]]]"

    def labels(self, frame: Any) -> list[Any] | None:
        """Return the label of every row, a tuple where an item may have several; `None` for measurements."""
        if self.label is None or self.numbers:
            return None
        values = frame[self.label].tolist()
        if self.delimiter is None:
            return values
        return [tuple(value.split(self.delimiter)) if isinstance(value, str) else value for value in values]

    def splits(self, frame: Any) -> list[str] | None:
        """Return "train", "valid" or "test" for every row; a row that says nothing is trained on."""
        if self.split is None or self.sides is None:
            return None
        return [self.sides.get(value, "train") for value in frame[self.split].tolist()]


def is_table_name(file: str | PurePath) -> bool:
    """Tell whether a file is a table by its name."""
    return PurePath(file).suffix.lower() in SUFFIXES


def read_columns(frame: Any, folder: Path, target: Any = None) -> Columns:
    """Tell what the columns of a table mean.

    Args:
        frame: a DataFrame.
        folder: where its file names may start: there, or in a sub-folder, without their suffix even.
        target: the column of labels, where somebody said so.

    Raises:
        FastmagicError: there is no column `target`; names the closest that there is.

    Example:
        >>> read_columns(pd.read_csv("train.csv"), Path(".")).label  # doctest: +SKIP
        'Finding Labels'
    """
    file, prefix, suffix, exist = _file_column(frame, folder)
    split, sides_ = _split_column([name for name in frame.columns if name != file], frame)
    others = [name for name in frame.columns if name not in (file, split) and not str(name).startswith("Unnamed")]
    label = _label_column(others) if target is None else column_named(frame, target)
    delimiter, numbers = None, False
    if label is not None:
        numbers = measures(frame[label])
        delimiter = None if numbers else _delimiter(label, frame[label])
    return Columns(file, prefix, suffix, exist, _heads(file, prefix, suffix), label, delimiter, numbers, split, sides_)


def column_named(frame: Any, name: Any) -> Any:
    """Return a column's name.

    Raises:
        FastmagicError: the table has no such column; names the closest that it has.
    """
    if name in frame.columns:
        return name
    hint = did_you_mean(str(name), map(str, frame.columns)) or f"There are {few(frame.columns, 8)}."
    raise NotFoundError(f"The table has no column {str(name)!r}.", hint)


# ---------------------------------------------------------------- the file


def read_by(getter: Any) -> Columns | None:
    """Return which files a `ColReader` names; `None` where it is none, or reads several columns."""
    columns = list(getattr(getter, "cols", None) or [])
    if len(columns) != 1 or not isinstance(columns[0], str) or not isinstance(getattr(getter, "pref", None), str):
        return None
    return Columns(file=columns[0], prefix=getter.pref, suffix=getter.suff)


def _file_column(frame: Any, folder: Path) -> tuple[Any, str, str, float]:
    """Return the column that names files, what completes the names, and how many of the files are there."""
    columns = sorted(frame.columns, key=lambda name: rank(name, FILE_COLUMNS))
    inside: list[Path] | None = None
    best: tuple[Any, str, str, float] = (None, "", "", 0.0)
    for column in columns:
        rows = [str(value) for value in few_of(frame[column], SAMPLE)]
        values = list(dict.fromkeys(rows))
        if not values or frame[column].dtype.kind in "fbM":
            continue
        # Numbers that come again and again count or sort something, and 0.jpg may be there by accident.
        if (
            frame[column].dtype.kind in "iu"
            and 2 * len(values) < len(rows)
            and rank(column, FILE_COLUMNS) == len(FILE_COLUMNS)
        ):
            continue
        if inside is None:
            inside = list(itertools.islice(_folders(folder), FOLDERS)) if folder.is_dir() else []
        # First as a name says: from here, or from the root.
        for place in ("", *(f"{one}/" for one in inside)):
            for suffix in ("", ".jpg", ".jpeg", ".png"):
                if not any(_is_file(Path(place) / f"{value}{suffix}") for value in values[::4]):
                    continue
                found = sum(_is_file(Path(place) / f"{value}{suffix}") for value in values) / len(values)
                absolute = all(Path(value).is_absolute() for value in values)
                this = (column, "" if absolute else place, suffix, found)
                if found >= MOST:
                    return this
                # A number may be the name of a photo by accident: an age is.
                sure = frame[column].dtype.kind == "O" or rank(column, FILE_COLUMNS) < len(FILE_COLUMNS)
                best = this if sure and found > best[3] else best
    if best[3]:
        return best
    # None is there. Names with the suffix of a picture tell the column all the same.
    suffixes = image_suffixes()
    most, named = 0, None
    for column in columns:
        names = [
            str(value) for value in few_of(frame[column], 200) if isinstance(value, (str, PurePath)) and str(value)
        ]
        score = sum(is_image_name(name, suffixes) and "." in name for name in names)
        if score > most:
            most, named = score, column
    absolute = named is not None and all(Path(str(value)).is_absolute() for value in few_of(frame[named], SAMPLE))
    return named, "" if absolute else f"{folder}/", "", 0.0


def _folders(folder: Path) -> Iterator[Path]:
    """Yield a folder and those in it, the nearest first."""
    level = [folder]
    for depth in range(DEEP + 1):
        yield from level
        if depth < DEEP:
            level = [Path(one) for place in level for one in _inside(place)]


def _inside(folder: Path) -> list[str]:
    try:
        return sorted(entry.path for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    except OSError:  # not ours to look into
        return []


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a text too long for a name
        return False


def _heads(file: Any, prefix: str, suffix: str) -> bool:
    """Tell whether the heading of the column of files is one of these itself."""
    return isinstance(file, str) and (
        ("." in file and is_image_name(file, image_suffixes())) or _is_file(Path(prefix) / f"{file}{suffix}")
    )


def few_of(series: Any, n: int) -> Any:
    """Return at most `n` values of a column, from all over it."""
    values = series.dropna()
    return values.iloc[:: max(1, -(-len(values) // n))]


# ---------------------------------------------------------------- the split


def _split_column(columns: list[Any], frame: Any) -> tuple[Any, dict[Hashable, str] | None]:
    """Return the column that tells training from validation, and what its values say.

    A column of that name whose values say something else is none; nor is one that says "train" of every row, since
    that tells where the table comes from.
    """
    for column in sorted(columns, key=lambda name: rank(name, SPLIT_COLUMNS)):
        if rank(column, SPLIT_COLUMNS) == len(SPLIT_COLUMNS):
            break
        found = sides(frame[column].dropna().unique().tolist())
        if found is not None and (len(set(found.values())) > 1 or _words(column) in ASKS_VALID):
            return column, found
    return None, None


# ---------------------------------------------------------------- the label


def _label_column(columns: list[Any]) -> Any:
    """Return the column of labels by its name ('label', 'Finding Labels'), or the only one there is."""
    known = {column: _label_rank(column) for column in columns}
    best = min(known, key=lambda column: known[column], default=None)
    if best is not None and known[best] < 2 * len(LABEL_COLUMNS):
        return best
    return columns[0] if len(columns) == 1 else None


def _label_rank(column: Any) -> int:
    words = _words(column)
    for more, text in ((0, words), (len(LABEL_COLUMNS), words.rpartition(" ")[2])):
        text = SEVERAL.get(text, text)
        if text in LABEL_COLUMNS:
            return more + LABEL_COLUMNS.index(text)
    return 2 * len(LABEL_COLUMNS)


def measures(series: Any) -> bool:
    """Tell whether a column holds measurements rather than classes."""
    # A column of whole numbers with gaps is float too, but still holds classes.
    return series.dtype.kind == "f" and not (series.isna().any() and (series.dropna() % 1 == 0).all())


def _delimiter(column: Any, series: Any) -> str | None:
    """Return what separates several labels of one item.

    A semicolon or a bar is in no class name. A comma or a blank may be ("great white shark"), so these separate only
    in a column whose name says that there are several; and a blank, other than between tags, only where there are no
    more different words than different labels: words that come again and again are labels.
    """
    texts = {value for value in series.dropna().unique() if isinstance(value, str)}
    name = _words(column).rpartition(" ")[2]
    marks = [";", "|"]
    if name in SEVERAL:
        marks += [","]
        words = {word for text in texts for word in text.split(" ")}
        if name == "tags" or len(words) <= len(texts):
            marks += [" "]
    for mark in marks:
        having = [text for text in texts if mark in text]
        if having:
            spaced = f"{mark} "
            return spaced if mark != " " and all(t.count(mark) == t.count(spaced) for t in having) else mark
    return None


# ---------------------------------------------------------------- names


def _words(name: Any) -> str:
    """Return a column's name in lower case, its words separated by blanks: 'image_ID' is 'image id'."""
    return re.sub(r"[\W_]+", " ", str(name)).strip().lower()


def rank(name: Any, known: tuple[str, ...]) -> int:
    """Return how surely a column's name says that it is one of a sort: its place among the known names, best first."""
    words = _words(name)
    return known.index(words) if words in known else len(known)


def _missing(value: Any) -> bool:
    return value is None or value != value


def label_columns(names: Iterable[str]) -> Iterator[str]:
    """Yield those of some column names that say that they hold labels, the surest first."""
    ranked = sorted((_label_rank(name), i, name) for i, name in enumerate(names))
    return (name for surety, _, name in ranked if surety < 2 * len(LABEL_COLUMNS))
