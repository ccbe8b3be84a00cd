"""Working out DataBlock's five questions from the source, as the expressions a person would have written."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from ..errors import FastmagicError, few

TRAIN_NAMES = ("train", "training")
VALID_NAMES = ("valid", "val", "validation", "test", "testing")
LABEL_COLUMNS = ("label", "labels", "class", "category", "target", "y", "breed", "species", "name")
FILE_COLUMNS = ("file", "filename", "file_name", "fname", "image", "image_id", "path", "id", "name")


@dataclass
class Source:
    """Where the items come from.

    Attributes:
        value: what `DataBlock.dataloaders` gets: a `Path` or a DataFrame (or the user's own object).
        lines: source lines that make it, ending in the variable called `name`.
        name: the variable's name in the program.
        folder: the folder that files lie in, where there is one.
    """

    value: Any
    lines: list[str]
    name: str
    folder: Path | None = None

    @property
    def is_table(self) -> bool:
        return hasattr(self.value, "columns") and hasattr(self.value, "iloc")


@dataclass
class Worked:
    """What was worked out: a source expression for each open question, and a sentence on how it was told."""

    answers: dict[str, str] = field(default_factory=dict)
    why: str = ""
    source: Source = field(kw_only=True)


def infer(source: Source, seed: int | None, wanted: set[str]) -> Worked:
    """Work out the questions in `wanted` for photos: class folders, train and valid folders, or a table of labels.

    Args:
        source: the folder or table.
        seed: seed of the random split.
        wanted: names of the open questions, of blocks, get_items, get_x, get_y, splitter and item_tfms.

    Raises:
        FastmagicError: no layout fits, with what was found and what to write.
    """
    labels = {"blocks", "get_items", "get_x", "get_y", "splitter"} & wanted
    worked = Worked(source=source)
    if labels:
        worked = _from_table(source, seed, wanted) if source.is_table else _from_folder(source, seed, wanted)
    if worked.source is not source:
        # A table of labels beside the images took the folder's place: it names the files itself.
        wanted = wanted - {"get_items"} | {"get_x"}
    if "item_tfms" in wanted:
        worked.answers["item_tfms"] = _resize(worked.source, worked.answers.get("get_x"))
    worked.answers = {name: text for name, text in worked.answers.items() if name in wanted}
    return worked


def default_bs(n_train: int) -> int:
    """Return a batch size that leaves a small set enough steps: fastai's 64 from 1,600 items on, 32, 16, then 8.

    fastai drops the last incomplete training batch, so a batch larger than the set would train on nothing at all.
    """
    for bs, least in ((64, 1600), (32, 320), (16, 64), (8, 8)):
        if n_train >= least:
            return bs
    return max(1, n_train)


def _split(seed: int | None) -> str:
    return f"RandomSplitter(0.2, seed={seed})" if seed is not None else "RandomSplitter(0.2)"


def _from_folder(source: Source, seed: int | None, wanted: set[str]) -> Worked:
    from fastai.data.transforms import get_image_files

    folder = source.value
    files = get_image_files(folder)
    if not files:
        if "get_items" not in wanted:
            answers = {
                "blocks": "ImageBlock, CategoryBlock",
                "splitter": _split(seed),
                "get_y": "parent_label",
            }
            return Worked(answers, source=source)
        from .check import check

        report = check(folder, fast=True)
        finding = next(iter(report), None)
        raise FastmagicError(*(finding.message, finding.fix) if finding else (f"There are no images in {folder}.", ""))
    answers = {"blocks": "ImageBlock, CategoryBlock", "get_items": "get_image_files"}
    named = _train_and_valid(folder, files)
    if named:
        train, valid = named
        arguments = "" if (train, valid) == ("train", "valid") else f"train_name={train!r}, valid_name={valid!r}"
        answers |= {"splitter": f"GrandparentSplitter({arguments})", "get_y": "parent_label"}
        return Worked(
            answers,
            f"folders {train!r} and {valid!r} give the split, their sub-folders the classes",
            source=source,
        )
    table = _labels_table(folder, files)
    if table is not None:
        if "get_y" in wanted and "get_items" in wanted:
            return _from_table(table, seed, wanted)
        return Worked({"blocks": answers["blocks"], "splitter": _split(seed)}, source=source)
    parents = Counter(file.parent.name for file in files)
    if len(parents) == 1 and "get_y" in wanted:
        raise FastmagicError(
            f"{len(files)} images lie in one folder ({folder}), so their classes cannot be told from folders.",
            "Put each class in a sub-folder, add a labels.csv (file,label), or answer get_y in a %%datablock cell.",
        )
    answers |= {"splitter": _split(seed), "get_y": "parent_label"}
    return Worked(answers, f"{len(parents)} folders are the classes: {few(sorted(parents))}", source=source)


def _train_and_valid(folder: Path, files: Any) -> tuple[str, str] | None:
    grandparents = Counter(file.parent.parent.name for file in files)
    train = next((name for name in grandparents if name.lower() in TRAIN_NAMES), None)
    # In the order of VALID_NAMES: where there are both 'valid' and 'test', the test set stays out.
    valid = next((name for word in VALID_NAMES for name in grandparents if name.lower() == word), None)
    return (train, valid) if train and valid else None


def _labels_table(folder: Path, files: Any) -> Source | None:
    """Return the table of labels that lies beside images, if one does: labels.csv first, else the only CSV there."""
    tables = sorted(folder.glob("*.csv"), key=lambda p: (not p.stem.lower().startswith(("label", "train")), p.name))
    for file in tables[:5]:
        table = read_table(file)
        column = _file_column(table) if table is not None else None
        if table is not None and column is not None and _label_column(table.value, column[0]) is not None:
            return table
    return None


def read_table(file: Path) -> Source | None:
    """Return a CSV file as a source, or `None` where it cannot be read as a table."""
    import pandas as pd

    try:
        frame = pd.read_csv(file)
    except (ValueError, OSError, pd.errors.ParserError):
        return None
    return Source(frame, [f"df = pd.read_csv({str(file)!r})"], "df", file.parent)


def _from_table(source: Source, seed: int | None, wanted: set[str]) -> Worked:
    frame = source.value
    column = _file_column(source)
    if column is None:
        if not {"get_x"} & wanted:
            return Worked({"blocks": "ImageBlock, CategoryBlock", "splitter": _split(seed)}, source=source)
        raise FastmagicError(
            f"No column of the table names image files that exist (columns: {few(frame.columns, 8)}).",
            "Give the folder with --from FOLDER_OR_CSV, or answer get_x in a %%datablock cell: ColReader('file', pref='photos/').",
        )
    name, pref, suff = column
    label = _label_column(frame, name)
    if label is None and "get_y" in wanted:
        raise FastmagicError(
            f"Which column holds the label? The table has {few(frame.columns, 8)}.",
            "Name it in a %%datablock cell: get_y = ColReader('…').",
        )
    arguments = [repr(name)] + ([f"pref={pref!r}"] if pref else []) + ([f"suff={suff!r}"] if suff else [])
    answers = {
        "blocks": "ImageBlock, CategoryBlock",
        "get_x": f"ColReader({', '.join(arguments)})",
        "splitter": "ColSplitter('is_valid')" if "is_valid" in frame.columns else _split(seed),
        "get_y": f"ColReader({label!r})",
    }
    return Worked(answers, f"column {name!r} names the files, column {label!r} the class", source=source)


def _file_column(source: Source) -> tuple[str, str, str] | None:
    """Return the column that names existing files, with the prefix and suffix that complete the names."""
    frame, folder = source.value, source.folder or Path()
    columns = [c for c in frame.columns if isinstance(c, str)]
    columns.sort(key=lambda c: FILE_COLUMNS.index(c.lower()) if c.lower() in FILE_COLUMNS else len(FILE_COLUMNS))
    folders = (
        [folder, *sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))[:50]]
        if folder.is_dir()
        else []
    )
    for column in columns:
        values = [str(v) for v in frame[column].dropna().head(20)]
        if not values:
            continue
        if all(Path(v).is_file() for v in values[:5]):
            return column, "", ""
        for place in folders:
            for suffix in ("", ".jpg", ".jpeg", ".png"):
                hits = sum((place / f"{v}{suffix}").is_file() for v in values)
                # A few missing files are for %check to name; they do not make it another column.
                if hits >= max(1, 0.8 * len(values)):
                    return column, f"{place}/", suffix
    return None


def _label_column(frame: Any, file_column: str) -> str | None:
    others = [c for c in frame.columns if c not in (file_column, "is_valid") and not str(c).startswith("Unnamed")]
    for name in LABEL_COLUMNS:
        for column in others:
            if str(column).lower() == name:
                return column
    return others[0] if len(others) == 1 else None


def _resize(source: Source, get_x: str | None) -> str:
    """Return a `Resize` for the pictures of a source: 192 px as in the lesson, less where the pictures are smaller."""
    sides = [min(size) for size in _sample_sizes(source, get_x)]
    size = 192
    if sides and median(sides) < 192:
        size = max(32, min(192, -(-int(median(sides)) // 32) * 32))
    return f"Resize({size}, method='squish')"


def _sample_sizes(source: Source, get_x: str | None, n: int = 40) -> list[tuple[int, int]]:
    from PIL import Image

    if source.is_table:
        if get_x is None:
            return []
        import fastai.vision.all as vision

        reader = eval(get_x, dict(vars(vision)))
        rows = source.value.sample(min(n, len(source.value)), random_state=0)
        files = [reader(row) for row in rows.itertuples()]
    elif isinstance(source.value, Path):
        from fastai.data.transforms import get_image_files

        every = sorted(get_image_files(source.value))
        files = every[:: max(1, len(every) // n)]
    else:
        return []
    sizes = []
    for file in files:
        try:
            with Image.open(file) as picture:
                sizes.append(picture.size)
        except (OSError, Image.DecompressionBombError):
            continue
    return sizes
