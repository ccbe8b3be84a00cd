"""Texts: which column of a table holds them and which says what they are, and folders of text files as a table."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .folders import Layout, read_folder
from .names import image_suffixes, is_image_name
from .sound_files import is_sound_name
from .tables import Columns, is_table_name, rank, read_columns

SUFFIXES = (".txt",)
TEXT_COLUMNS = (
    "text", "review", "sentence", "comment", "comment text", "tweet", "message", "utterance", "question", "question text", "headline",
    "body", "content", "description", "abstract", "summary", "phrase", "post", "article", "document", "v2",
)  # fmt: skip
SAMPLE = 500  # rows that are looked at
WORDS, SHORT = 4, 2  # words that half of the values have at least: of a column of any name, and of one that says so
DIFFERENT = 0.5  # of the texts are
LOOKED_INTO = 10  # files: boxes and landmarks of photos are .txt too, and no texts
LEAST = 8  # text files make a set; fewer are notes beside something else


@dataclass(frozen=True)
class TextColumns:
    """The columns of a table of texts.

    Attributes:
        text: the column of texts.
        columns: what the others mean; its `label` is `None` where none says what the texts are.
        candidates: columns that may be the label, where several may.
    """

    text: Any
    columns: Columns
    candidates: tuple[Any, ...] = ()


def text_columns(frame: Any, target: Any = None, text: Any = None) -> TextColumns | None:
    """Tell whether the rows of a table are texts: one column of prose, beside what says what each is.

    Args:
        frame: a DataFrame.
        target: the column that is to be predicted, where that was said.
        text: the column of texts, where that was said.

    Returns:
        Its columns; `None` where there is no prose, or where it stands among other columns that a model may learn from.

    Example:
        >>> text_columns(pd.read_csv("reviews.csv")).text  # doctest: +SKIP
        'review'
    """
    prose = (
        [text] if text is not None else [name for name in frame.columns if name != target and _is_prose(frame, name)]
    )
    prose.sort(key=lambda name: rank(name, TEXT_COLUMNS))
    if not prose:
        return None
    found = prose[0]
    rest = frame.drop(columns=[found])
    columns = read_columns(rest, Path(), target)
    others = [name for name in rest.columns if name != columns.split and not _is_id(frame, name) and name not in prose]
    named = rank(found, TEXT_COLUMNS) < len(TEXT_COLUMNS)
    if text is None and not named and len([name for name in others if name != columns.label]) > 1:
        return None
    if columns.label is None and len(others) == 1:
        columns = read_columns(rest, Path(), others[0])
    return TextColumns(found, columns, tuple(others) if columns.label is None else ())


def _is_prose(frame: Any, name: Any) -> bool:
    series = frame[name]
    if series.dtype.kind in "iufbmM" or str(series.dtype) == "category":
        return False
    values = series.dropna()
    some = values.iloc[:: max(1, len(values) // SAMPLE)]
    if not len(some) or not all(isinstance(value, str) for value in some) or some.nunique() < DIFFERENT * len(some):
        return False
    words = WORDS if rank(name, TEXT_COLUMNS) == len(TEXT_COLUMNS) else SHORT
    return bool(some.str.split().str.len().median() >= words)


def _is_id(frame: Any, name: Any) -> bool:
    """Tell whether a column numbers or names the rows."""
    series = frame[name]
    return str(name).startswith("Unnamed") or (
        len(series) > 1 and series.dtype.kind not in "fb" and series.nunique() == len(series)
    )


# ---------------------------------------------------------------- folders


def text_layout(folder: Path) -> Layout | None:
    """Return how the text files of a folder are laid out, `None` where it holds other things rather than texts."""
    layout = read_folder(folder, SUFFIXES)
    if len(layout.images) < LEAST:
        return None
    suffixes = image_suffixes()
    places = {file.parent for file in layout.images}
    others = sum(
        is_image_name(name, suffixes) or is_sound_name(name) or is_table_name(name)
        for place in places
        for name in os.listdir(place)
    )
    some = read_texts(layout.images[:: max(1, len(layout.images) // LOOKED_INTO)])
    said = [text for text in some if len(text.split()) >= WORDS and 2 * sum(map(str.isalpha, text)) > len(text)]
    return layout if others < len(layout.images) and 2 * len(said) > len(some) else None


def read_texts(files: Sequence[Path]) -> list[str]:
    """Return what text files say; letters that are no UTF-8 are replaced."""
    return [file.read_text(encoding="utf-8", errors="replace") for file in files]


def folder_table(folder: Path, layout: Layout) -> tuple[Any, list[str], str]:
    """Return the texts of a folder as a DataFrame, the lines of a program that make it, and a sentence on it.

    Columns are `text`, `label` where folders say it, and `is_valid` where they give the split.
    """
    import pandas as pd

    files = sorted(layout.images)
    lines = [
        f"path = Path({str(folder)!r})",
        f"files = sorted(get_files(path, extensions={list(SUFFIXES)!r}{_folders(layout)}))",
        "df = pd.DataFrame({'text': [file.read_text(encoding='utf-8', errors='replace') for file in files]})",
    ]
    frame = pd.DataFrame({"text": read_texts(files)})
    said = ""
    if layout.kind == "split":
        train, valid = layout.folder_of("train"), layout.folder_of("valid")
        files = [file for file in files if layout.split_of(file) in ("train", "valid")]
        frame = pd.DataFrame({"text": read_texts(files)})
        lines[1] = f"files = sorted(get_files(path, extensions={list(SUFFIXES)!r}, folders={[train, valid]!r}))"
        frame["label"] = [file.parent.name for file in files]
        frame["is_valid"] = [file.relative_to(folder).parts[0] == valid for file in files]
        lines += [
            "df['label'] = [file.parent.name for file in files]",
            f"df['is_valid'] = [file.relative_to(path).parts[0] == {valid!r} for file in files]",
        ]
        said = f"folders {train!r} and {valid!r} give the split, their sub-folders the classes"
    elif layout.kind == "classes":
        frame["label"] = [file.parent.name for file in files]
        lines.append("df['label'] = [file.parent.name for file in files]")
        said = f"{len(set(frame['label']))} folders are the classes"
    return frame, lines, said


def _folders(layout: Layout) -> str:
    return f", folders={layout.folders!r}" if layout.folders else ""


# ---------------------------------------------------------------- tokens


def sentence(tokens: str) -> str:
    """Return fastai's tokens as people write: its marks for capitals applied, those for begin and padding left out.

    >>> sentence("xxbos xxmaj so xxup ok , xxunk xxpad")
    'So OK , xxunk'
    """
    words: list[str] = []
    change: Callable[[str], str] = str
    for token in tokens.split(" "):
        if token in ("xxmaj", "xxup"):
            change = str.capitalize if token == "xxmaj" else str.upper
        elif token not in ("xxbos", "xxeos", "xxpad", ""):
            words.append(change(token))
            change = str
    return " ".join(words)
