"""What a folder, a table of files or a `DataLoaders` holds: file, label and split of each item, none opened.

`%check` looks at three kinds of source; here they become one, so that every check is written once. Labels are
read up to the category transform only, 5 µs an item instead of the 50 µs of decoding a target through fastai.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import AnswerError, NotFoundError, few
from ..kinds import MASK, RATING, SERIES, SOUND, TABLE, TEXT, TRACK, Kind, kind_of_source
from ..kinds.image import Image
from ..kinds.mask import codes_of, ignored_by
from ..render import short_path
from .digits import digits
from .folders import classes_unknown, read_folder
from .items import _opens_something, item_list, source_in, vocab
from .mask_files import MaskSet, masks_beside
from .plan import plan_of
from .ratings import movielens, rating_columns
from .reading import Table, found_fix, read_table
from .series_files import series_in
from .sound_files import is_sound_name
from .source import Source, beside, rows_that_are_there, source_of_table
from .tables import Columns, is_table_name, read_by, read_columns
from .texts import TextColumns, folder_table, sentence, text_columns, text_files, text_layout
from .track_files import recording_of

# What the items are that a block of ours draws.
DRAWN: dict[Kind, str] = {SOUND: "recording", SERIES: "series", TRACK: "track"}


@dataclass(frozen=True)
class Listing:
    """The items of a source, as columns of equal length.

    `paths` holds `None` for an item that is no file. `labels` is `None` where nothing is known about labels;
    a multi-label item has a tuple. `splits` is `None` before a split. `size` is the model's input as (height,
    width) px. `frame` is the table that the items are rows of, in their order; `label_column` holds its labels, joined
    by `delimiter` where there are several, `split_column` tells training from validation; `source` is its file.
    `unclear` says of a folder why its classes are not known, and what to do. `untold` are the positions of items without
    the number that is to be predicted. `leave_out` is the line that keeps the rows of a table `df` whose files are there.
    `vocab` are the classes of a `DataLoaders`. `masks` are those of the photos, where there are some. `ratings` are the
    columns of user, item and rating. `thing` is what a block of ours draws: "recording", "series" or "track", of which the
    items of a `DataLoaders` are windows. `texts` are those of texts, and `text_column` where they stand. `rows` are the columns
    of a table that is learned row by row, of which `target_columns` are to be predicted.
    """

    kind: str  # "folder", "table" or "dls"
    paths: list[Path | None]
    names: list[Any]
    labels: list[Any] | None = None
    splits: list[str] | None = None
    root: Path | None = None
    are_images: bool = True
    multi: bool = False
    left_out: list[Path] = field(default_factory=list)
    unlabelled: list[Path] = field(default_factory=list)
    unclear: tuple[str, str] | None = None
    circular: bool = False
    untold: list[int] = field(default_factory=list)
    size: tuple[int, int] | None = None
    resizes: bool = True
    bs: int | None = None
    steps: int | None = None
    frame: Any = None
    label_column: Any = None
    delimiter: str | None = None
    split_column: Any = None
    source: Path | None = None
    leave_out: str = ""
    vocab: list[Any] | None = None
    masks: MaskSet | None = None
    ratings: Any = None
    thing: str = ""
    texts: list[Any] | None = None
    text_column: Any = None
    rows: Any = None
    target_columns: list[Any] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.names)

    def where(self, split: str) -> list[int]:
        """Return the positions of the items of one split, or of all items where there is no split."""
        if self.splits is None:
            return list(range(len(self)))
        return [i for i, value in enumerate(self.splits) if value == split]

    def item(self, i: int) -> Any:
        """Return what an item is called in a report: its file, or its name where it is none."""
        path = self.paths[i]
        return self.names[i] if path is None else path

    def check_with(self, option: str) -> str:
        """Return how these items are checked again with an option: "`check(dls, fix=True)`"."""
        if self.kind == "dls":
            return f"`check(dls, {option}=True)`"
        place = self.root if self.kind == "folder" else self.source
        return f"`check({repr(short_path(place)) if place is not None else 'df'}, {option}=True)`"

    def without(self, gone: set[Path]) -> Listing:
        """Return the same listing less the items whose files are in `gone`."""
        keep = [i for i, path in enumerate(self.paths) if path not in gone]

        def pick(column: list[Any] | None) -> Any:
            return None if column is None else [column[i] for i in keep]

        masks = self.masks
        if masks is not None:
            masks = replace(masks, of=lambda i, of=masks.of: of(keep[i]))  # type: ignore[misc]
        return replace(
            self,
            masks=masks,
            paths=pick(self.paths),
            names=pick(self.names),
            labels=pick(self.labels),
            splits=pick(self.splits),
            untold=[after for after, before in enumerate(keep) if before in self.untold],
            frame=None if self.frame is None else self.frame.iloc[keep],
        )


def read_source(source: Any, path: Path | str | None = None) -> Listing:
    """List what `source` holds: a folder, a CSV file, a DataFrame or a fastai `DataLoaders`.

    Args:
        source: see `fastmagic.check`.
        path: the folder that the file names of a table are relative to; the CSV's own folder when left out.

    Raises:
        FastmagicError: nothing of that name exists, or it is of no kind that can be checked.
    """
    if isinstance(source, (str, os.PathLike)):
        place = Path(source).expanduser()
        if str(source) == "digits" and not place.exists():
            place = digits()
        if place.is_dir():
            _no_table(path)
            return list_folder(place)
        if place.is_file() and is_table_name(place):
            table = read_table(place)
            columns = read_columns(table.frame, Path(path) if path is not None else place.parent)
            return _list_file(place, table, columns)
        if place.exists():
            raise AnswerError(f"'{place}' is a file, and only a CSV file can be checked.", "Give its folder.")
        raise NotFoundError(f"There is no folder or CSV file '{place}'.", beside(place))
    if hasattr(source, "loaders"):  # asked first: a tabular DataLoaders hands on `iloc` from its table
        _no_table(path)
        return list_dls(source)
    if hasattr(source, "iloc"):
        return list_table(source, Path(path) if path is not None else Path())
    raise AnswerError(
        f"A {type(source).__name__} cannot be checked.",
        "Give a folder, a CSV file, a DataFrame or a DataLoaders.",
    )


def list_files(source: Any, path: Path | str | None = None) -> Listing:
    """List a source as `read_source` does, one of items that are files.

    Raises:
        FastmagicError: also where a table names no files, or a folder holds texts.
    """
    listing = read_source(source, path)
    if listing.frame is not None and listing.kind != "dls" and len(listing) and not any(listing.paths):
        raise no_files(listing.frame, "Build the DataLoaders first, and give those.")
    return listing


def no_files(frame: Any, fix: str) -> NotFoundError:
    return NotFoundError(f"No column of the table names image files (columns: {few(frame.columns, 8)}).", fix)


def _no_table(path: Any) -> None:
    if path is not None:
        raise AnswerError("`path` is where the file names of a table begin, and this is no table.", "Leave it out.")


def list_folder(folder: Path) -> Listing:
    """List a folder of class folders, of `train` and `valid` with class folders inside, of images with a table, …"""
    kind = kind_of_source(Source(folder, [], "path", folder), {})
    if kind is RATING and (rated := movielens(folder)) is not None:
        return replace(_list_ratings(rated.frame), root=folder)
    if kind is TEXT and (layout := text_layout(folder)) is not None:
        frame, _, _ = folder_table(folder, layout)
        found = text_columns(frame, text="text")
        assert found is not None
        files: list[Path | None] = [*text_files(folder, layout)]
        listing = _list_texts(frame, found)
        return replace(listing, root=folder, paths=files, names=[str(file) for file in files], text_column=None)
    series = series_in(folder) if kind is SERIES else None
    if series is not None and series.table is not None:
        frame, _, columns = series.table
        return replace(list_table(frame, folder, columns), root=folder, are_images=False, thing="series")
    drawn = DRAWN.get(kind, "")
    layout = kind.layout(folder) if isinstance(kind, Image) else read_folder(folder)
    if layout.table is not None:
        file, table, columns = layout.table
        return replace(_list_file(file, table, columns), root=folder)
    images = layout.images
    labels: list[Any] | None = None
    # As text: the parents of 100,000 paths take a second.
    parents = [os.path.basename(os.path.dirname(image)) for image in images]
    if layout.kind in ("classes", "split", "flat"):
        # What lies loose beside class folders is labelled with the folder's own name by `parent_label`.
        own = folder.resolve().name
        loose = str(folder)
        labels = [own if os.path.dirname(image) == loose else name for image, name in zip(images, parents, strict=True)]
        if layout.kind == "flat" and images[0].parent == folder:
            labels = None
    elif layout.kind == "upper":
        labels = [image.parents[1].name for image in images]
    splits = [layout.split_of(image) for image in images] if layout.sides else None
    return Listing(
        kind="folder",
        masks=masks_beside(folder, layout) if layout.kind == "masks" else None,
        are_images=not drawn,
        thing=drawn,
        paths=list(images),
        names=[str(path) for path in images],
        labels=labels,
        splits=splits,
        root=folder,
        left_out=layout.left_out,
        unlabelled=layout.unlabelled,
        unclear=classes_unknown(folder, layout, drawn or "image"),
        circular=layout.circular,
    )


def _list_file(file: Path, table: Table, columns: Columns) -> Listing:
    """List a table that was read from a file."""
    leave_out = rows_that_are_there(source_of_table(file, table), columns)
    return replace(list_table(table.frame, file.parent, columns), source=file, leave_out=leave_out)


def list_table(frame: Any, base: Path, columns: Columns | None = None) -> Listing:
    """List a DataFrame with a column of file names and, where there are such, of labels and of the split.

    Raises:
        FastmagicError: no column names image files.
    """
    columns = columns or read_columns(frame, base)
    if columns.file is None and rating_columns(frame) is not None:
        return _list_ratings(frame)
    if columns.file is None and (found := text_columns(frame)) is not None:
        return _list_texts(frame, found)
    if columns.file is None:
        if fix := found_fix(frame, base, "df"):
            raise no_files(frame, fix)
        return _list_rows(frame, columns)
    files = columns.files(frame)
    sounds = any(file is not None for file in files) and all(is_sound_name(file) for file in files if file is not None)
    return Listing(
        kind="table",
        are_images=not sounds,
        thing="recording" if sounds else "",
        paths=files,
        names=list(frame.index),
        labels=columns.labels(frame),
        splits=columns.splits(frame),
        root=common_folder(files),
        multi=columns.delimiter is not None,
        frame=frame,
        label_column=columns.label,
        delimiter=columns.delimiter,
        split_column=columns.split,
        untold=[i for i, gone in enumerate(frame[columns.label].isna()) if gone] if columns.numbers else [],
        leave_out=columns.leave_out("df"),
    )


def _list_ratings(frame: Any) -> Listing:
    """List a table of ratings: rows of user, item and rating."""
    found = rating_columns(frame)
    assert found is not None
    return Listing(
        kind="table",
        paths=[None] * len(frame),
        names=list(frame.index),
        are_images=False,
        frame=frame,
        ratings=frame[[found.user, found.item, found.rating]],
    )


def _list_rows(frame: Any, columns: Columns) -> Listing:
    """List a table whose rows are learned from themselves."""
    return Listing(
        kind="table",
        paths=[None] * len(frame),
        names=list(frame.index),
        are_images=False,
        thing="row",
        labels=columns.labels(frame),
        splits=columns.splits(frame),
        frame=frame,
        label_column=columns.label,
        split_column=columns.split,
        untold=[i for i, gone in enumerate(frame[columns.label].isna()) if gone] if columns.numbers else [],
        rows=frame,
        target_columns=[columns.label] if columns.label is not None else [],
    )


def _list_texts(frame: Any, found: TextColumns) -> Listing:
    """List a table of texts."""
    columns = found.columns
    return Listing(
        kind="table",
        paths=[None] * len(frame),
        names=list(frame.index),
        are_images=False,
        thing="text",
        texts=frame[found.text].tolist(),
        text_column=found.text,
        labels=columns.labels(frame),
        splits=columns.splits(frame),
        multi=columns.delimiter is not None,
        frame=frame,
        label_column=columns.label,
        delimiter=columns.delimiter,
        split_column=columns.split,
    )


def common_folder(files: Iterable[Path | None]) -> Path | None:
    """Return the folder that holds all of `files`; `None` when they share none but the root."""
    # As text: hashing 100,000 paths as `Path` takes half a second.
    parents = {os.path.dirname(file) for file in files if file is not None}
    if not parents:
        return None
    try:
        folder = Path(os.path.commonpath([os.path.abspath(parent) for parent in parents]))
    except ValueError:  # different drives
        return None
    return None if folder == folder.parent else folder


# DataLoaders


def list_dls(dls: Any) -> Listing:
    """List a fastai `DataLoaders` of any kind: vision, text, tabular; what cannot be known is left `None`."""
    loaders = list(dls.loaders)[:2]
    columns: dict[str, list[Any]] = {"paths": [], "names": [], "labels": [], "splits": []}
    pictures, known, multi = True, True, False
    untold: list[int] = []
    for split, loader in zip(("train", "valid"), loaders, strict=False):
        dataset = loader.dataset
        files, are_images = _files(dataset)
        labels, multi = _labels(dls, dataset)
        columns["paths"] += files
        columns["names"] += _names(dataset, files)
        columns["labels"] += labels or []
        untold += [len(columns["splits"]) + i for i in _untold(dls, dataset)]
        columns["splits"] += [split] * len(files)
        pictures, known = pictures and are_images, known and (labels is not None or not files)
    try:
        steps = len(loaders[0])
    except TypeError:  # an iterable dataset has no length
        steps = None
    thing = next((thing for kind, thing in DRAWN.items() if kind.holds(dls)), "")
    if TEXT.holds(dls):
        thing = "text"
    if thing == "track":  # an item is a window of one
        columns["paths"] = [path and recording_of(path)[0] for path in columns["paths"]]
    if (rows := _rows(dls)) is not None:
        thing = "row"
    root = common_folder(columns["paths"])
    size = _input_size(loaders[0])
    frame, label_column, delimiter = _table_behind(loaders)
    read = read_by(next(iter(_transforms(loaders[0].dataset, 0)), None)) if hasattr(loaders[0].dataset, "tls") else None
    return Listing(
        kind="dls",
        paths=columns["paths"],
        names=columns["names"],
        labels=columns["labels"] if known and columns["labels"] else None,
        splits=columns["splits"] if not (thing == "text" and TEXT.writes(dls)) else None,
        root=root,
        are_images=pictures,
        multi=multi,
        size=size,
        resizes=_resizes(loaders[0]),
        bs=getattr(loaders[0], "bs", None),
        steps=steps,
        frame=frame,
        label_column=label_column,
        delimiter=delimiter,
        untold=untold,
        vocab=vocab(dls) if not TABLE.holds(dls) else None,
        masks=_masks(dls),
        ratings=_ratings(dls),
        thing=thing,
        texts=_texts(dls),
        text_column=TEXT.column(dls) if thing == "text" else None,
        rows=rows,
        target_columns=list(dls.train.dataset.y_names) if rows is not None else [],
        leave_out=_leave_out(dls, read) if read is not None else "",
    )


def _masks(dls: Any) -> MaskSet | None:
    """Return the masks of a `DataLoaders`, training items first; `None` without."""
    if not MASK.holds(dls):
        return None
    datasets = [loader.dataset for loader in list(dls.loaders)[:2]]
    items = [(dataset, item) for dataset in datasets for item in item_list(dataset)]

    def of(i: int) -> Any:
        dataset, item = items[i]
        return source_in(dataset.tls[dataset.n_inp].tfms.fs, item)

    # A function of somebody's own may give the pixels in place of the file.
    first = of(0) if items else None
    return MaskSet(
        of=of,
        codes=codes_of(dls),
        divide=next((t.div_mask for t in dls.train.after_batch.fs if hasattr(t, "div_mask")), 1),
        ignored=ignored_by(dls),
        are_files=isinstance(first, (str, Path)),
    )


def _ratings(dls: Any) -> Any:
    """Return user, item and rating of every row, training first, as they were given; `None` for other data."""
    if not RATING.holds(dls):
        return None
    datasets = [loader.dataset for loader in list(dls.loaders)[:2]]
    columns = [*datasets[0].cat_names[:2], *datasets[0].y_names]
    index = [row for dataset in datasets for row in dataset.items.index]
    plan = plan_of(dls)
    if plan is not None and plan.source.value.index.is_unique:
        return plan.source.value.loc[index, columns]
    import pandas as pd

    # Without the table: encoded, in which all that is not in the training set looks alike.
    return pd.concat([dataset.items[columns] for dataset in datasets])


def _rows(dls: Any) -> Any:
    """Return the columns that a model of tables learns from and predicts, training first, as they were given."""
    if not TABLE.holds(dls) or RATING.holds(dls) or (plan := plan_of(dls)) is None:
        return None
    datasets = [loader.dataset for loader in list(dls.loaders)[:2]]
    index, frame = [row for dataset in datasets for row in dataset.items.index], plan.source.value
    if not frame.index.is_unique:
        return None
    names = [name for name in [*datasets[0].cat_names, *datasets[0].cont_names, *datasets[0].y_names] if name in frame]
    return frame.loc[index, names]


def _texts(dls: Any) -> list[str] | None:
    """Return the texts of a `DataLoaders` as it reads them, training first; `None` for other data."""
    if not TEXT.holds(dls) or TEXT.writes(dls):
        return None
    plan, datasets = plan_of(dls), [loader.dataset for loader in list(dls.loaders)[:2]]
    index = [row for dataset in datasets if hasattr(dataset.items, "iloc") for row in dataset.items.index]
    column = TEXT.column(dls)
    if (
        index
        and plan is not None
        and plan.source.is_table
        and column in plan.source.value
        and plan.source.value.index.is_unique
    ):
        return plan.source.value.loc[index, column].tolist()
    lists = [dataset.tls[0] for dataset in datasets]
    return [sentence(str(tokens.decode(tokens[i]))) for tokens in lists for i in range(len(tokens))]


def _leave_out(dls: Any, columns: Columns) -> str:
    plan = plan_of(dls)
    return columns.leave_out("df") if plan is None else rows_that_are_there(plan.source, columns)


def _untold(dls: Any, dataset: Any) -> list[int]:
    """Return the positions of the items whose number to predict is missing."""
    from fastai.data.transforms import RegressionSetup

    n_inp = getattr(dataset, "n_inp", 1)
    if TABLE.holds(dls) or not hasattr(dataset, "tls") or len(dataset.tls) <= n_inp:
        return []
    transforms = _transforms(dataset, n_inp)
    if not any(isinstance(transform, RegressionSetup) for transform in transforms):
        return []
    values: Any = dataset.items
    for transform in transforms:
        if isinstance(transform, RegressionSetup):
            break
        values = _apply(transform, values)
    return [i for i, value in enumerate(values) if value is None or (isinstance(value, float) and value != value)]


def _table_behind(loaders: Sequence[Any]) -> tuple[Any, Any, str | None]:
    """Return the rows that the items are, and the column and delimiter of their labels, where a `ColReader` reads them."""
    tables = [getattr(loader.dataset, "items", None) for loader in loaders]
    lists = getattr(loaders[0].dataset, "tls", [])
    n_inp = getattr(loaders[0].dataset, "n_inp", 1)
    reader = next(iter(_transforms(loaders[0].dataset, n_inp)), None) if len(lists) > n_inp else None
    columns = list(getattr(reader, "cols", None) or [])
    if not all(hasattr(table, "iloc") for table in tables) or len(columns) != 1:
        return None, None, None
    import pandas as pd

    frame = pd.concat(tables)
    column = frame.columns[columns[0]] if isinstance(columns[0], int) else columns[0]
    return frame, column, getattr(reader, "label_delim", None)


def _transforms(dataset: Any, position: int) -> list[Any]:
    return [t for t in dataset.tls[position].tfms.fs if getattr(t, "name", "") != "noop"]


def _apply(transform: Any, items: Any) -> list[Any]:
    """Run a getter over all items; a reader of one column of a DataFrame gets that column, 10 × faster."""
    if hasattr(items, "iloc"):
        columns = getattr(transform, "cols", None)
        if columns is not None and len(columns) == 1:
            column = columns[0]
            values = items.iloc[:, column] if isinstance(column, int) else items[column]
            return [_quietly(transform, {column: value}) for value in values]
        return [_quietly(transform, row) for _, row in items.iterrows()]
    return [_quietly(transform, item) for item in items]


def _quietly(transform: Any, item: Any) -> Any:
    # A label function that fails on one item must not stop the report, which says the item has no label.
    try:
        return transform(item)
    except Exception:
        return None


def _files(dataset: Any) -> tuple[list[Path | None], bool]:
    """Return the file of every item and whether they are pictures."""
    if not hasattr(dataset, "tls"):
        return [None] * len(dataset), False
    values, pictures, known = dataset.items, False, False
    for transform in _transforms(dataset, 0):
        if _opens_something(transform):
            pictures = "PIL" in f"{transform!r} {getattr(transform, 'name', '')}"
            known = getattr(type(transform), "opens_files", False)
            break
        first = _apply(transform, values[:1])
        if first and not isinstance(first[0], (str, Path)):  # no getter of a path: it opens the file itself
            from PIL import Image

            pictures = isinstance(first[0], Image.Image)
            break
        values = _apply(transform, values)
    if hasattr(values, "iloc"):
        return [None] * len(values), False
    files = [v if isinstance(v, Path) else Path(v) if isinstance(v, str) else None for v in values]
    if files and not any(files):  # arrays, say
        pictures = False
    return (files, pictures) if pictures or known else ([None] * len(files), False)


def _labels(dls: Any, dataset: Any) -> tuple[list[Any] | None, bool]:
    """Return the label of every item (a tuple when there may be several) and whether there may be several."""
    if TABLE.holds(dls):
        return TABLE.labels(dls, dataset), False
    n_inp = getattr(dataset, "n_inp", 1)
    if not hasattr(dataset, "tls") or len(dataset.tls) <= n_inp:
        return None, False
    from fastai.data.transforms import Categorize, EncodedMultiCategorize, MultiCategorize

    values: Any = dataset.items
    for transform in _transforms(dataset, n_inp):
        if isinstance(transform, EncodedMultiCategorize):
            return [
                tuple(name for name, on in zip(transform.vocab, value, strict=False) if on) for value in values
            ], True
        if isinstance(transform, MultiCategorize):
            return [
                tuple(value)
                if isinstance(value, (list, tuple)) or (hasattr(value, "__iter__") and not isinstance(value, str))
                else value
                for value in values
            ], True
        if isinstance(transform, Categorize):
            return list(values), False
        if _opens_something(transform):
            return None, False
        values = _apply(transform, values)
    return None, False


def _names(dataset: Any, files: Sequence[Path | None]) -> list[Any]:
    items = getattr(dataset, "items", dataset)
    if hasattr(items, "index") and hasattr(items, "iloc"):
        return list(items.index)
    return [i if file is None else str(file) for i, file in enumerate(files)]


def _input_size(loader: Any) -> tuple[int, int] | None:
    """Return the (height, width) that the transforms resize to: those of the batch come last and win."""
    size = None
    for group in (getattr(loader, "after_item", None), getattr(loader, "after_batch", None)):
        for transform in getattr(group, "fs", []):
            value = getattr(transform, "size", None)
            if isinstance(value, int):
                size = (value, value)
            elif isinstance(value, (tuple, list)) and len(value) == 2 and all(isinstance(v, int) for v in value):
                size = (value[0], value[1])
    return size


def _resizes(loader: Any) -> bool:
    """Tell whether an item transform brings pictures to one size, as stacking them into a batch needs."""
    # A transform nobody knows may well resize: better silent than wrong.
    never = (
        "ToTensor",
        "FlipItem",
        "DihedralItem",
        "PointScaler",
        "BBoxLabeler",
        "AddMaskCodes",
        "RatioResize",
    )
    fs = getattr(getattr(loader, "after_item", None), "fs", [])
    return any(type(transform).__name__ not in never for transform in fs)


def is_blank(label: Any) -> bool:
    """Tell whether a label is missing: `None`, NaN, an empty text, or the text a missing value turns into.

    A class may well be called "none" or "NA"; that is not how Python writes a missing value.

    >>> [is_blank(label) for label in (None, float("nan"), " ", "None", "none", 0)]
    [True, True, True, True, False, False]
    """
    if label is None or (isinstance(label, float) and math.isnan(label)):
        return True
    return str(label).strip() in ("", "None", "nan", "<NA>", "NaT")


def count_labels(labels: Iterable[Any], multi: bool) -> Counter[Any]:
    """Count the items of every class; an item with several labels counts for each of them."""
    if not multi:
        return Counter(labels)
    return Counter(name for label in labels for name in (label if isinstance(label, tuple) else (label,)))
