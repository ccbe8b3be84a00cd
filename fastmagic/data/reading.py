"""A file that holds a table, read as it was meant: separator, encoding, heading, and names of files that are there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import UnreadableError, number
from .names import image_suffixes, is_image_name
from .tables import FILE_COLUMNS, MOST, few_of, label_columns, rank, read_columns

IMAGES = 200_000  # files that are looked through for those that a table names


@dataclass(frozen=True)
class Table:
    """A table and how it was read.

    Attributes:
        frame: the DataFrame.
        code: the expression of Python that reads it.
        notes: what is worth saying of that.
    """

    frame: Any
    code: str
    notes: list[str] = field(default_factory=list)


def read_table(file: Path) -> Table:
    """Read a CSV or TSV file as it was meant.

    Semicolons, as spreadsheets write in half of Europe, are told from the heading; a file that is no UTF-8 is read as
    Windows writes it; a first row that names a file is no heading; a class may be called "none" or "NA". Where the
    files that a column names are not there, they are looked for: with slashes for backslashes, with leading zeros, and
    below the folder of the table.

    Raises:
        FastmagicError: it is no table.
    """
    import pandas as pd

    given: dict[str, Any] = {"sep": "\t"} if file.suffix.lower() == ".tsv" else {}
    notes = []
    try:
        try:
            frame = pd.read_csv(file, **given)
        except UnicodeDecodeError:
            given["encoding"] = _encoding(file)
            notes.append(f"the file is not UTF-8, and was read as {given['encoding']}")
            frame = pd.read_csv(file, **given)
        if len(frame.columns) == 1 and (mark := next((m for m in ";\t|" if m in str(frame.columns[0])), "")):
            given["sep"] = mark
            frame = pd.read_csv(file, **given)
        columns = read_columns(frame, file.parent)
        if columns.heads:
            given.update(header=None, names=_names(frame.columns, columns.file))
            notes.append("there is no heading: the first row names a file")
            frame = pd.read_csv(file, **given)
    except (ValueError, OSError) as error:
        raise UnreadableError(
            f"'{file}' cannot be read as a table: {str(error).strip() or type(error).__name__}",
            "Open it in an editor: a table has a heading and a row a line. Or read it with pandas, and give the DataFrame.",
        ) from error
    more = "".join(f", {name}={value!r}" for name, value in given.items())
    code = f"pd.read_csv({str(file)!r}{more})"
    texts = _labels_as_they_stand(frame, file, given)
    if texts is not None:  # a class may well be called "none"
        frame = frame.assign(**texts)
        code += f".assign(**pd.read_csv({str(file)!r}, usecols={list(texts)!r}, keep_default_na=False{more}))"
    found = found_otherwise(frame, file.parent)
    if found is not None:
        frame, code = found.frame, code + found.code
        notes += found.notes
    return Table(frame, code, notes)


def _encoding(file: Path) -> str:
    """Return the encoding of a text that is not UTF-8: UTF-16 says so itself; else Windows' own, which most are in.

    Raises:
        ValueError: it is no text.
    """
    content = file.read_bytes()
    for encoding in ("utf-16",) if content[:2] in (b"\xff\xfe", b"\xfe\xff") else ("cp1252", "latin-1"):
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text and "\n" in text:
            return encoding
    raise ValueError("it is no text")


def _names(first_row: Any, file: Any) -> list[str]:
    """Return names for the columns of a table without a heading."""
    others = len(first_row) - 1
    return [
        "file" if name == file else "label" if others == 1 else f"column {i}" for i, name in enumerate(first_row, 1)
    ]


def _labels_as_they_stand(frame: Any, file: Path, given: dict[str, Any]) -> Any:
    """Return the columns of labels as text, where pandas took labels such as "none", "null" or "NA" for missing ones."""
    import pandas as pd

    names = [n for n in label_columns(frame.columns) if frame[n].dtype.kind == "O" and frame[n].isna().any()]
    if not names:
        return None
    texts = pd.read_csv(file, usecols=names, keep_default_na=False, **given)
    taken = [name for name in names if (texts[name][frame[name].isna()].astype(str).str.strip() != "").any()]
    return texts[taken] if taken else None


# ---------------------------------------------------------------- files that are not where the table says


def found_otherwise(frame: Any, folder: Path) -> Table | None:
    """Return a table whose files are there, where those that `frame` names are not; `None` where nothing helps.

    Its `code` is what stands behind the table's name: `.assign(…)`.
    """
    before = read_columns(frame, folder).exist
    if before >= MOST:
        return None
    named = [c for c in frame.columns if rank(c, FILE_COLUMNS) < len(FILE_COLUMNS)]
    named = named or [c for c in frame.columns[:1] if frame[c].dtype.kind == "O"]
    some = frame.iloc[:: max(1, len(frame) // 100)]
    for column in sorted(named, key=lambda name: rank(name, FILE_COLUMNS)):
        for mend, code, note in _other_names(frame[column], column, folder):
            columns = read_columns(some.assign(**{str(column): mend(some[column])}), folder)
            if columns.file == column and columns.exist > before:
                key = f"{column}=" if str(column).isidentifier() else ""
                code = f".assign({key}{code})" if key else f".assign(**{{{column!r}: {code}}})"
                return Table(frame.assign(**{str(column): mend(frame[column])}), code, [note])
    return None


def found_fix(frame: Any, folder: Path, name: str) -> str:
    """Return what to write so that a DataFrame of that name names files that are there, "" where nothing helps."""
    found = found_otherwise(frame, folder)
    return f"{found.notes[0][0].upper()}{found.notes[0][1:]}: {name} = {name}{found.code}" if found is not None else ""


def _other_names(values: Any, column: Any, folder: Path) -> Iterator[tuple[Callable[[Any], Any], str, str]]:
    """Yield other ways to read a column that may name files: what it is put through, the code, and what is said."""
    if not isinstance(column, str) or values.dtype.kind not in "Oiu" or not len(values):
        return
    here = f"lambda df: df[{column!r}]"
    if values.dtype.kind in "iu":
        if values.min() >= 0:
            for width in range(len(str(values.max())), 13):
                form = f"{{:0{width}d}}"
                yield (
                    partial(_formatted, form),
                    f"{here}.map({form!r}.format)",
                    f"{column!r} with {width} digits",
                )
        here += ".astype(str)"
    elif any("\\" in str(value) for value in few_of(values, 20)):
        code = f"{here}.str.replace('\\\\', '/', regex=False)"
        yield _slashed, code, "backslashes are those of Windows"
    if not any(_files_below(folder, set(few_of(values, 200).astype(str)))):
        return
    texts = set(values.dropna().astype(str))
    for part, files in zip(("name", "stem"), _files_below(folder, texts), strict=True):
        if not files:
            continue
        by = f"{{file.{part}: str(file) for file in get_image_files({str(folder)!r})}}"
        rest = f".fillna(df[{column!r}])" if texts - files.keys() else ""
        places = len({os.path.dirname(file) for file in files.values()})
        yield (
            partial(_placed, files),
            f"{here}.map({by}){rest}",
            f"the files lie in {number(places, 'folder')} below {str(folder)!r}",
        )


def _formatted(form: str, values: Any) -> Any:
    return values.map(form.format)


def _slashed(values: Any) -> Any:
    return values.str.replace("\\", "/", regex=False)


def _placed(files: dict[str, str], values: Any) -> Any:
    return values.astype(str).map(files).fillna(values)


def _files_below(folder: Path, wanted: set[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the images below a folder that have some names, by name and by stem; none where two have the same."""
    suffixes = image_suffixes()
    names: dict[str, str] = {}
    stems: dict[str, str] = {}
    seen, twice = 0, [False, False]
    for place, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        seen += len(files)
        if seen > IMAGES:
            return {}, {}
        for name in files:
            for i, (found, key) in enumerate(((names, name), (stems, name.rpartition(".")[0]))):
                if key in wanted and is_image_name(name, suffixes):
                    twice[i] |= key in found
                    found[key] = os.path.join(place, name)
    return {} if twice[0] else names, {} if twice[1] else stems
