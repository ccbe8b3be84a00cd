"""Texts: which column of a table holds them and which says what they are, and folders of text files as a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .folders import Layout, read_folder, walk
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
LONG = 20  # words, of prose that is more than a name or a remark
DIFFERENT = 0.5  # of the texts are
LOOKED_INTO = 10  # files: boxes and landmarks of photos are .txt too, and no texts
OTHERS = 10  # texts for each picture, recording or table beside them: captions and licences are .txt too
LEAST = 8  # text files make a set; fewer are notes beside something else


@dataclass(frozen=True)
class TextColumns:
    """The columns of a table of texts.

    Attributes:
        text: the column of texts.
        columns: what the others mean; its `label` is `None` where none says what the texts are.
        candidates: columns that may be the label, where several may.
        unused: columns that are neither.
    """

    text: Any
    columns: Columns
    candidates: tuple[Any, ...] = ()
    unused: tuple[Any, ...] = ()


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
    strings = [name for name in frame.columns if isinstance(name, str)]  # fastai reads a column called 0 by its place
    prose = [text] if text is not None else [name for name in strings if name != target and _is_prose(frame, name)]
    prose.sort(key=lambda name: rank(name, TEXT_COLUMNS))
    if not prose:
        return None
    found = prose[0]
    rest = frame.drop(columns=[found])
    columns = read_columns(rest, Path(), target)
    others = [name for name in rest.columns if name != columns.split and name not in prose and not _is_id(frame, name)]
    if columns.label is None and len(others) == 1:
        columns = read_columns(rest, Path(), others[0])
    unused = [name for name in [*others, *prose[1:]] if name != columns.label]
    # Among features that a table learns from, prose has to be long.
    features = [name for name in others if name != columns.label]
    most = 3 if columns.label is None else 1 if rank(found, TEXT_COLUMNS) < len(TEXT_COLUMNS) else 0
    if text is None and len(features) > most and _words_of(frame, found) < LONG:
        return None
    return TextColumns(found, columns, tuple(others) if columns.label is None else (), tuple(unused))


def _words_of(frame: Any, name: Any) -> float:
    """Return how many words half of the texts of a column have at least."""
    values = frame[name].dropna()
    return float(values.iloc[:: max(1, len(values) // SAMPLE)].str.split().str.len().median())


def _is_prose(frame: Any, name: Any) -> bool:
    series = frame[name]
    if series.dtype.kind in "iufbmM" or str(series.dtype) == "category":
        return False
    values = series.dropna()
    some = values.iloc[:: max(1, len(values) // SAMPLE)]
    if not len(some) or not all(isinstance(value, str) for value in some) or some.nunique() < DIFFERENT * len(some):
        return False
    words = WORDS if rank(name, TEXT_COLUMNS) == len(TEXT_COLUMNS) else SHORT
    return _words_of(frame, name) >= words


def _is_id(frame: Any, name: Any) -> bool:
    """Tell whether a column numbers or names the rows."""
    series = frame[name]
    return str(name).startswith("Unnamed") or (len(series) > 1 and series.dtype.kind not in "fb" and _is_unique(series))


def _is_unique(series: Any) -> bool:
    try:
        return bool(series.is_unique)
    except TypeError:  # lists and the like
        return False


# ---------------------------------------------------------------- folders


def text_layout(folder: Path) -> Layout | None:
    """Return how the text files of a folder are laid out, `None` where it holds other things rather than texts."""
    layout = read_folder(folder, SUFFIXES)
    if len(layout.images) < LEAST:
        return None
    suffixes = image_suffixes()
    others = sum(
        is_image_name(name, suffixes) or is_sound_name(name) or is_table_name(name)
        for _, names in walk(folder)
        for name in names
    )
    some = read_texts(layout.images[:: max(1, len(layout.images) // LOOKED_INTO)])
    said = [text for text in some if len(text.split()) >= WORDS and 2 * sum(map(str.isalpha, text)) > len(text)]
    return layout if OTHERS * others <= len(layout.images) and 2 * len(said) > len(some) else None


def read_texts(files: Sequence[Path]) -> list[str]:
    """Return what text files say; letters that are no UTF-8 are replaced."""
    return [file.read_text(encoding="utf-8", errors="replace") for file in files]


def text_files(folder: Path, layout: Layout) -> list[Path]:
    """Return the text files that `folder_table` makes rows of, in their order."""
    files = sorted(layout.images)
    return [file for file in files if layout.split_of(file) in ("train", "valid")] if layout.kind == "split" else files


def folder_table(folder: Path, layout: Layout) -> tuple[Any, list[str], str]:
    """Return the texts of a folder as a DataFrame, the lines of a program that make it, and a sentence on it.

    Columns are `text`, `label` where folders say it, and `is_valid` where they give the split.
    """
    import pandas as pd

    files = text_files(folder, layout)
    lines = [
        f"path = Path({str(folder)!r})",
        f"files = sorted(get_files(path, extensions={list(SUFFIXES)!r}{_folders(layout)}))",
        "df = pd.DataFrame({'text': [file.read_text(encoding='utf-8', errors='replace') for file in files]})",
    ]
    frame = pd.DataFrame({"text": read_texts(files)})
    said = ""
    if layout.kind == "split":
        train, valid = layout.folder_of("train"), layout.folder_of("valid")
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
