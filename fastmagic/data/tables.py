"""What the columns of a table of files mean: which one names the file, which the label, which the split.

Everybody who is given a table asks here, so that `%check`, `%datablock` and the cleaner read the same one alike.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from ..errors import NotFoundError, UnreadableError, did_you_mean, few
from .names import image_suffixes, is_image_name, sides

SUFFIXES = (".csv", ".tsv")
FILE_COLUMNS = ("file", "filename", "file name", "fname", "image", "image id", "image index", "path", "id", "name")
LABEL_COLUMNS = ("label", "class", "category", "target", "tag", "species", "breed", "y")
SEVERAL = {"labels": "label", "classes": "class", "categories": "category", "targets": "target", "tags": "tag"}
ASKS_VALID = ("is valid", "valid", "is val", "validation")
SPLIT_COLUMNS = (*ASKS_VALID, "split", "set", "subset", "partition", "fold name")
SAMPLE = 20  # rows whose files are looked for
FOLDERS = 50  # sub-folders that they are looked for in


@dataclass(frozen=True)
class Columns:
    """What the columns of a table mean; `None` for what it has no column for.

    Attributes:
        file: the column that names files.
        prefix, suffix: what completes a name to a path.
        exist: whether the files are there (four of five of the first rows).
        label: the column of labels.
        delimiter: what separates several labels of one item; `None` where an item has one.
        numbers: the labels are measurements, not classes.
        split: the column that tells training from validation.
        sides: "train", "valid" or "test" for every value of that column.
    """

    file: Any = None
    prefix: str = ""
    suffix: str = ""
    exist: bool = False
    label: Any = None
    delimiter: str | None = None
    numbers: bool = False
    split: Any = None
    sides: dict[Hashable, str] | None = None

    def files(self, frame: Any) -> list[Path | None]:
        """Return the file of every row, `None` for a row that names none."""
        return [
            None if _missing(value) or value == "" else Path(self.prefix) / f"{value}{self.suffix}"
            for value in frame[self.file]
        ]

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


def read_table(file: Path) -> tuple[Any, str]:
    """Read a CSV or TSV file; semicolons, as spreadsheets write in half of Europe, are told from the heading.

    Returns:
        The DataFrame, and the line of Python that reads it.

    Raises:
        FastmagicError: it is no table, or in no encoding that pandas expects.
    """
    import pandas as pd

    arguments: dict[str, Any] = {"sep": "\t"} if file.suffix.lower() == ".tsv" else {}
    try:
        frame = pd.read_csv(file, **arguments)
        if len(frame.columns) == 1 and (mark := next((m for m in ";\t|" if m in str(frame.columns[0])), "")):
            arguments = {"sep": mark}
            frame = pd.read_csv(file, **arguments)
    except (ValueError, OSError) as error:
        raise UnreadableError(
            f"'{file}' cannot be read as a table: {str(error).strip() or type(error).__name__}",
            "Try pd.read_csv on it (encoding='latin-1', sep=';'), and give the DataFrame.",
        ) from error
    more = "".join(f", {name}={value!r}" for name, value in arguments.items())
    line = f"pd.read_csv({str(file)!r}{more})"
    texts = _labels_as_they_stand(frame, file, arguments)
    if texts is not None:  # a class may well be called "none"
        frame = frame.assign(**texts)
        line += f".assign(**pd.read_csv({str(file)!r}, usecols={list(texts)!r}, keep_default_na=False{more}))"
    return frame, f"df = {line}"


def _labels_as_they_stand(frame: Any, file: Path, arguments: dict[str, Any]) -> Any:
    """Return the columns of labels as text, where pandas took labels such as "none", "null" or "NA" for missing ones."""
    import pandas as pd

    names = [n for n in label_columns(frame.columns) if frame[n].dtype.kind == "O" and frame[n].isna().any()]
    if not names:
        return None
    texts = pd.read_csv(file, usecols=names, keep_default_na=False, **arguments)
    taken = [name for name in names if (texts[name][frame[name].isna()].astype(str).str.strip() != "").any()]
    return texts[taken] if taken else None


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
    return Columns(file, prefix, suffix, exist, label, delimiter, numbers, split, sides_)


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


def _file_column(frame: Any, folder: Path) -> tuple[Any, str, str, bool]:
    """Return the column that names files, what completes the names, and whether the files are there."""
    columns = sorted(frame.columns, key=lambda name: _rank(name, FILE_COLUMNS))
    inside = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")) if folder.is_dir() else []
    for column in columns:
        values = [str(value) for value in _some(frame[column], SAMPLE)]
        if not values or frame[column].dtype.kind in "fbM":
            continue
        # First as a name says: from here, or from the root.
        for place in ("", *(f"{one}/" for one in ([folder] if folder.is_dir() else []) + inside[:FOLDERS])):
            for suffix in ("", ".jpg", ".jpeg", ".png"):
                if not any((Path(place) / f"{value}{suffix}").is_file() for value in values[:5]):
                    continue
                hits = sum((Path(place) / f"{value}{suffix}").is_file() for value in values)
                # A few missing files are for %check to name; they do not make it another column.
                if hits >= 0.8 * len(values):
                    absolute = all(Path(value).is_absolute() for value in values)
                    return column, "" if absolute else place, suffix, True
    # None is there. Names with the suffix of a picture tell the column all the same, or some files that exist.
    suffixes = image_suffixes()
    best, found = 0, None
    for column in columns:
        names = [str(value) for value in _some(frame[column], 200) if isinstance(value, (str, PurePath)) and str(value)]
        score = sum((is_image_name(name, suffixes) and "." in name) or (folder / name).is_file() for name in names)
        if score > best:
            best, found = score, column
    absolute = found is not None and all(Path(str(value)).is_absolute() for value in _some(frame[found], SAMPLE))
    return found, "" if absolute else f"{folder}/", "", False


def _some(series: Any, n: int) -> Any:
    return series.dropna().head(n)


# ---------------------------------------------------------------- the split


def _split_column(columns: list[Any], frame: Any) -> tuple[Any, dict[Hashable, str] | None]:
    """Return the column that tells training from validation, and what its values say.

    A column of that name whose values say something else is none; nor is one that says "train" of every row, since
    that tells where the table comes from.
    """
    for column in sorted(columns, key=lambda name: _rank(name, SPLIT_COLUMNS)):
        if _rank(column, SPLIT_COLUMNS) == len(SPLIT_COLUMNS):
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


def _rank(name: Any, known: tuple[str, ...]) -> int:
    words = _words(name)
    return known.index(words) if words in known else len(known)


def _missing(value: Any) -> bool:
    return value is None or value != value


def label_columns(names: Iterable[str]) -> Iterator[str]:
    """Yield those of some column names that say that they hold labels, the surest first."""
    ranked = sorted((_label_rank(name), i, name) for i, name in enumerate(names))
    return (name for rank, _, name in ranked if rank < 2 * len(LABEL_COLUMNS))
