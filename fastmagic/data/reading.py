"""A file that holds a table, read as it was meant: separator, encoding, heading, and names of files that are there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
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
    for column in sorted(named, key=lambda name: rank(name, FILE_COLUMNS)):
        for values, code, note in _other_names(frame[column], column, folder):
            mended = frame.assign(**{str(column): values})
            columns = read_columns(mended, folder)
            if columns.file == column and columns.exist > before:
                key = str(column) if str(column).isidentifier() else ""
                code = f".assign({key}={code})" if key else f".assign(**{{{column!r}: {code}}})"
                return Table(mended, code, [note])
    return None


def found_fix(frame: Any, folder: Path, name: str) -> str:
    """Return what to write so that a DataFrame of that name names files that are there, "" where nothing helps."""
    found = found_otherwise(frame, folder)
    return f"{found.notes[0][0].upper()}{found.notes[0][1:]}: {name} = {name}{found.code}" if found is not None else ""


def _other_names(values: Any, column: Any, folder: Path) -> Iterator[tuple[Any, str, str]]:
    """Yield other ways to read a column that may name files: the values, the code, and what is said of it."""
    if not isinstance(column, str) or values.dtype.kind not in "Oiu":
        return
    here = f"lambda df: df[{column!r}]"
    some = few_of(values, 20)
    if values.dtype.kind in "iu":
        if values.min() >= 0:
            for width in range(len(str(values.max())), 13):
                form = f"{{:0{width}d}}"
                yield values.map(form.format), f"{here}.map({form!r}.format)", f"{column!r} with {width} digits"
        texts = values.astype(str)
        here += ".astype(str)"
    else:
        if any("\\" in str(value) for value in some):
            slashes = values.str.replace("\\", "/", regex=False)
            yield slashes, f"{here}.str.replace('\\\\', '/', regex=False)", "backslashes are those of Windows"
        texts = values
    for part in ("name", "stem"):
        files = _files_below(folder, part, set(texts.dropna()))
        if files is None:
            continue
        by = f"{{file.{part}: str(file) for file in get_image_files({str(folder)!r})}}"
        missing = sum(1 for text in texts if text not in files)
        rest = f".fillna(df[{column!r}])" if missing else ""
        found = texts.map(files)
        yield (
            found.fillna(texts) if missing else found,
            f"{here}.map({by}){rest}",
            f"the files lie in {number(len({os.path.dirname(f) for f in files.values()}), 'folder')} below {str(folder)!r}",
        )


def _files_below(folder: Path, part: str, wanted: set[str]) -> dict[str, str] | None:
    """Return the image of each of some names, by name or by stem, below a folder; `None` where two have the same."""
    suffixes = image_suffixes()
    found: dict[str, str] = {}
    seen = 0
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        seen += len(names)
        if seen > IMAGES:
            return None
        for name in names:
            key = name if part == "name" else name.rpartition(".")[0]
            if key in wanted and is_image_name(name, suffixes) and not name.startswith("."):
                if key in found:
                    return None
                found[key] = os.path.join(place, name)
    return found or None
