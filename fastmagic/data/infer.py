"""Working out DataBlock's five questions from the source, as the expressions a person would have written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from ..errors import FastmagicError, few
from .folders import Layout, read_folder
from .tables import Columns, read_columns, read_table


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
    """What was worked out: a source expression for each open question, and a sentence on how it was told.

    `source` is another one than was given where a table of labels lies beside images, or rows stay out.
    """

    answers: dict[str, str]
    why: str
    source: Source
    images: list[Path] = field(default_factory=list)  # some of the files, to measure


def source_of_table(file: Path) -> Source:
    """Return a CSV file as a source.

    Raises:
        FastmagicError: it cannot be read.
    """
    frame, line = read_table(file)
    return Source(frame, [line], "df", file.parent)


def infer(source: Source, seed: int | None, wanted: set[str]) -> Worked:
    """Work out the questions in `wanted` for images: class folders, train and valid folders, or a table of labels.

    Args:
        source: the folder or table.
        seed: seed of the random split.
        wanted: names of the open questions, of blocks, get_items, get_x, get_y, splitter and item_tfms.

    Raises:
        FastmagicError: no layout fits, with what was found and what to write.
    """
    if source.is_table:
        worked = _from_table(source, read_columns(source.value, source.folder or Path()), seed, wanted)
    elif isinstance(source.value, Path):
        worked = _from_folder(source, seed, wanted)
    else:
        worked = Worked({"splitter": _split(seed)}, "", source)
    if worked.source.is_table and not source.is_table:
        # A table of labels beside the images took the folder's place: it names the files itself.
        wanted = wanted - {"get_items"} | {"get_x"}
    if "item_tfms" in wanted:
        worked.answers["item_tfms"] = _resize(worked.images)
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


# ---------------------------------------------------------------- folders


def _from_folder(source: Source, seed: int | None, wanted: set[str]) -> Worked:
    layout = read_folder(source.value)
    asked = "get_y" in wanted
    # Where the user's own get_items finds the files, only the split can be told from them.
    own = "get_items" not in wanted
    if layout.table is not None and asked and not own:
        file, frame, line, columns = layout.table
        return _from_table(Source(frame, [line], "df", file.parent), columns, seed, wanted)
    if asked and not own:
        _refuse(source.value, layout)
    answers = {
        "blocks": "ImageBlock, CategoryBlock",
        "get_items": "get_image_files",
        "splitter": _split(seed),
        "get_y": "parent_label",
    }
    why = ""
    if layout.kind == "split":
        train, valid = layout.folder_of("train"), layout.folder_of("valid")
        arguments = "" if (train, valid) == ("train", "valid") else f"train_name={train!r}, valid_name={valid!r}"
        answers["splitter"] = f"GrandparentSplitter({arguments})"
        why = f"folders {train!r} and {valid!r} give the split, their sub-folders the classes"
    elif layout.kind == "classes":
        names = sorted({image.parent.name for image in layout.images})
        why = f"{len(names)} folders are the classes: {few(names)}"
    return Worked(answers, why, source, layout.images)


def _refuse(folder: Path, layout: Layout) -> None:
    """Raise where the classes cannot be told from the folders."""
    if layout.kind == "none":
        from .check import check

        finding = next(iter(check(folder, fast=True)), None)
        raise FastmagicError(*(finding.message, finding.fix) if finding else (f"There are no images in {folder}.", ""))
    if layout.kind == "masks":
        raise FastmagicError(
            f"Beside the images in '{folder}' lie masks of them, which are no classes; masks are not worked out yet.",
            "Answer blocks = ImageBlock, MaskBlock(codes) with get_items and get_y in a %%datablock cell.",
        )
    if layout.kind in ("flat", "sides"):
        where = f"one folder ({layout.images[0].parent})"
        if layout.kind == "sides":
            where = f"the folders {few(map(repr, layout.sides), 3)} themselves"
        raise FastmagicError(
            f"{len(layout.images)} images lie in {where}, so their classes cannot be told from folders.",
            "Put each class in a sub-folder, add a labels.csv (file,label), or answer get_y in a %%datablock cell.",
        )


# ---------------------------------------------------------------- tables


def _from_table(source: Source, columns: Columns, seed: int | None, wanted: set[str]) -> Worked:
    frame = source.value
    if not columns.exist and {"get_x", "get_items"} & wanted:
        raise FastmagicError(
            f"No column of the table names image files that exist (columns: {few(frame.columns, 8)}).",
            "Give the folder with --from FOLDER_OR_CSV, or answer get_x in a %%datablock cell: "
            "ColReader('file', pref='photos/').",
        )
    if columns.label is None and "get_y" in wanted:
        raise FastmagicError(
            f"Which column holds the label? The table has {few(frame.columns, 8)}.",
            "Name it in a %%datablock cell: get_y = ColReader('…').",
        )
    # Who asks for one category gets the whole text, whatever stands between its words.
    delimiter = columns.delimiter if "blocks" in wanted else None
    target = "RegressionBlock" if columns.numbers else "MultiCategoryBlock" if delimiter else "CategoryBlock"
    answers = {
        "blocks": f"ImageBlock, {target}",
        "get_x": _reader(columns.file, pref=columns.prefix, suff=columns.suffix),
        "splitter": _split(seed),
        "get_y": _reader(columns.label, label_delim=delimiter),
    }
    what = "a number" if columns.numbers else f"the classes, separated by {delimiter!r}" if delimiter else "the class"
    why = f"column {columns.file!r} names the files, column {columns.label!r} {what}"
    if columns.split is not None and "splitter" in wanted:
        source, answers["splitter"], left_out = _split_by(source, columns)
        why += f", column {columns.split!r} the split{left_out}"
    images = columns.files(source.value.sample(min(SAMPLE, len(source.value)), random_state=0)) if columns.exist else []
    return Worked(answers, why, source, [image for image in images if image is not None])


def _split_by(source: Source, columns: Columns) -> tuple[Source, str, str]:
    """Return the rows that are trained and validated on, the splitter, and what stays out."""
    sides = columns.sides or {}
    by_side = {side: [value for value in sides if sides[value] == side] for side in ("valid", "test")}
    column = source.value[columns.split]
    if column.dtype.kind == "b" or (column.dtype.kind in "iu" and by_side["valid"] == [1]):
        splitter = f"ColSplitter({columns.split!r})"
    else:
        splitter = f"ColSplitter({columns.split!r}, on={_one_or_list(by_side['valid'])})"
    if not by_side["test"]:
        return source, splitter, ""
    out = column.isin(by_side["test"])
    line = f"{source.name} = {source.name}[~{source.name}[{columns.split!r}].isin({by_side['test']!r})]"
    rest = Source(source.value[~out], [*source.lines, line], source.name, source.folder)
    return rest, splitter, f" (the {int(out.sum()):,} rows of {few(map(repr, by_side['test']))} stay out)"


def _one_or_list(values: list[Any]) -> str:
    return repr(values[0]) if len(values) == 1 else repr(values)


def _reader(column: Any, **arguments: str | None) -> str:
    given = "".join(f", {name}={value!r}" for name, value in arguments.items() if value)
    return f"ColReader({column!r}{given})"


# ---------------------------------------------------------------- sizes

SAMPLE = 40


def _resize(images: list[Path]) -> str:
    """Return a `Resize` for some images: 192 px as in the lesson, less where the images are smaller."""
    images = sorted(images)
    sides = [min(size) for size in _sizes(images[:: max(1, len(images) // SAMPLE)])]
    size = 192
    if sides and median(sides) < 192:
        size = max(32, min(192, -(-int(median(sides)) // 32) * 32))
    return f"Resize({size}, method='squish')"


def _sizes(images: Iterable[Path]) -> Iterable[tuple[int, int]]:
    from PIL import Image

    for file in images:
        try:
            with Image.open(file) as picture:
                yield picture.size
        except (OSError, Image.DecompressionBombError):
            continue
