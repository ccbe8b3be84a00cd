"""What a folder, a table of files or a `DataLoaders` holds: file, label and split of each item, none opened.

`%check` looks at three kinds of source; here they become one, so that every check is written once. Labels are
read up to the category transform only, 5 µs an item instead of the 50 µs of decoding a target through fastai.
"""

from __future__ import annotations

import math
import mimetypes
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import FastmagicError, did_you_mean, few
from .items import _opens_something, vocab

# The folder names of fastai's GrandparentSplitter, and what else people call them.
SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "val": "valid",
    "validation": "valid",
    "test": "test",
}
LABEL_COLUMNS = (
    "label",
    "labels",
    "class",
    "classes",
    "category",
    "categories",
    "target",
    "tags",
    "tag",
    "species",
    "breed",
    "y",
)
SEVERAL_LABELS = ("labels", "classes", "categories", "tags")
VALID_COLUMNS = ("is_valid", "valid", "split", "set", "subset", "fold_name")


@dataclass(frozen=True)
class Listing:
    """The items of a source, as columns of equal length.

    `paths` holds `None` for an item that is no file. `labels` is `None` where nothing is known about labels;
    a multi-label item has a tuple. `splits` is `None` before a split. `size` is the model's input as (height,
    width) px. `frame` is the table that the items are rows of, in their order; `label_column` holds its labels, joined
    by `delimiter` where there are several; `source` is the file it was read from.
    """

    kind: str  # "folder", "table" or "dls"
    paths: list[Path | None]
    names: list[Any]
    labels: list[Any] | None = None
    splits: list[str] | None = None
    root: Path | None = None
    pictures: bool = True
    multi: bool = False
    left_out: list[Path] = field(default_factory=list)
    size: tuple[int, int] | None = None
    resizes: bool = True
    bs: int | None = None
    steps: int | None = None
    frame: Any = None
    label_column: Any = None
    delimiter: str | None = None
    source: Path | None = None

    def __len__(self) -> int:
        return len(self.names)

    def where(self, split: str) -> list[int]:
        """Return the positions of the items of one split, or of all items where there is no split."""
        if self.splits is None:
            return list(range(len(self)))
        return [i for i, value in enumerate(self.splits) if value == split]

    def without(self, gone: set[Path]) -> Listing:
        """Return the same listing less the items whose files are in `gone`."""
        keep = [i for i, path in enumerate(self.paths) if path not in gone]

        def pick(column: list[Any] | None) -> Any:
            return None if column is None else [column[i] for i in keep]

        return replace(
            self,
            paths=pick(self.paths),
            names=pick(self.names),
            labels=pick(self.labels),
            splits=pick(self.splits),
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
        if place.is_dir():
            return list_folder(place)
        if place.is_file() and place.suffix.lower() in (".csv", ".tsv"):
            import pandas as pd

            frame = pd.read_csv(place, sep="\t" if place.suffix.lower() == ".tsv" else ",")
            return replace(list_table(frame, Path(path) if path is not None else place.parent), source=place)
        if place.exists():
            raise FastmagicError(f"'{place}' is a file, and only a CSV file can be checked.", "Give its folder.")
        raise FastmagicError(f"There is no folder or CSV file '{place}'.", _sibling(place))
    if hasattr(source, "loaders"):  # asked first: a tabular DataLoaders hands on `iloc` from its table
        return list_dls(source)
    if hasattr(source, "iloc"):
        return list_table(source, Path(path) if path is not None else Path())
    raise FastmagicError(
        f"A {type(source).__name__} cannot be checked.",
        "Give a folder, a CSV file, a DataFrame or a DataLoaders.",
    )


def _sibling(place: Path) -> str:
    """Say which folder or file beside a missing `place` may have been meant."""
    parent = place.parent
    while not parent.is_dir() and parent != parent.parent:
        place, parent = parent, parent.parent
    if not parent.is_dir():
        return ""
    beside = sorted(entry.name for entry in parent.iterdir() if not entry.name.startswith("."))
    folder = "this folder" if parent == Path() else f"'{parent}'"
    return did_you_mean(place.name, beside, n=1) or (
        f"In {folder} there is {few(beside)}." if beside else f"{folder} is empty."
    )


# Folders


def image_suffixes() -> set[str]:
    """Return the suffixes that fastai's `get_image_files` picks up, without importing fastai.

    The set depends on the machine's MIME tables (`.webp` is missing on some), so once fastai is loaded its
    own is used.
    """
    transforms = sys.modules.get("fastai.data.transforms")
    if transforms is not None:
        return set(transforms.image_extensions)
    mimetypes.guess_type("a.jpg")  # reads the machine's tables once, as an import behind fastai does
    return {suffix for suffix, kind in mimetypes.types_map.items() if kind.startswith("image/")}


def walk(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yield every sub-folder and its file names as `get_image_files` goes: through links, past dot names."""
    for place, folders, files in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield Path(place), sorted(name for name in files if not name.startswith("."))


def is_image_name(name: str, suffixes: set[str]) -> bool:
    """Tell whether `get_image_files` takes a file of that name (what stands behind the last dot decides)."""
    return f".{name.rsplit('.', 1)[-1].lower()}" in suffixes


def list_folder(folder: Path) -> Listing:
    """List a folder of class folders, of `train` and `valid` with class folders inside, or of pictures."""
    # Segmentation: the masks beside the photos are targets, not photos.
    masks = (folder / "codes.txt").is_file() and (folder / "images").is_dir()
    suffixes = image_suffixes()
    split_names = {entry.name for entry in os.scandir(folder) if entry.is_dir() and entry.name in SPLIT_FOLDERS}
    has_split = "train" in {SPLIT_FOLDERS[name] for name in split_names}
    paths: list[Path | None] = []
    labels: list[Any] = []
    splits: list[str] = []
    left_out: list[Path] = []
    for place, names in walk(folder / "images" if masks else folder):
        parts = place.relative_to(folder).parts
        split = SPLIT_FOLDERS.get(parts[0], "other") if parts and has_split else "other"
        # `train/dog.jpg` and `dog.jpg` lie in no class folder.
        label = place.name if len(parts) > (1 if split != "other" else 0) else None
        images = [name for name in names if is_image_name(name, suffixes)]
        paths += [place / name for name in images]
        labels += [label] * len(images)
        splits += [split] * len(images)
        left_out += [place / name for name in names if not is_image_name(name, suffixes)]
    classes = not masks and any(label is not None for label in labels)
    if classes:
        # What lies loose beside class folders is labelled with the folder's own name by `parent_label`.
        labels = [
            path.parent.resolve().name if label is None and path else label
            for label, path in zip(labels, paths, strict=True)
        ]
    return Listing(
        kind="folder",
        paths=paths,
        names=[str(path) for path in paths],
        labels=labels if classes else None,
        splits=splits if has_split else None,
        root=folder,
        left_out=left_out,
    )


def nearest_images(folder: Path) -> tuple[Path, int] | None:
    """Return the folder nearest to `folder` that holds image files, and how many; `None` when none is near.

    Near is few steps away below the parent or the parent's parent. The search stops after 2,000 folders.
    """
    suffixes = image_suffixes()
    here = folder.resolve()
    for above in (here.parent, here.parent.parent):
        found = []
        for seen, (place, names) in enumerate(walk(above)):
            count = sum(is_image_name(name, suffixes) for name in names)
            if count:
                found.append((len(Path(os.path.relpath(place, here)).parts), -count, place))
            if seen >= 2000:
                break
        if found:
            _, count, place = min(found)
            return place, -count
    return None


def left_out_beside(files: Iterable[Path | None]) -> list[Path]:
    """Return the files in the same folders as `files` whose suffix `get_image_files` does not take."""
    suffixes = image_suffixes()
    found = []
    for folder in sorted({file.parent for file in files if file is not None}):
        if folder.is_dir():
            names = sorted(entry.name for entry in os.scandir(folder) if entry.is_file())
            found += [folder / n for n in names if not n.startswith(".") and not is_image_name(n, suffixes)]
    return found


# Tables


def list_table(frame: Any, base: Path) -> Listing:
    """List a DataFrame with a column of file names and, where there are such, of labels and of the split."""
    column = _file_column(frame, base)
    others = [name for name in frame.columns if name != column]
    by_lower = {str(name).lower(): name for name in others}
    valid_column = next((by_lower[name] for name in VALID_COLUMNS if name in by_lower), None)
    others = [name for name in others if name != valid_column]
    label_column = next((by_lower[name] for name in LABEL_COLUMNS if by_lower.get(name) in others), None)
    if label_column is None and others:
        after = list(frame.columns)[list(frame.columns).index(column) + 1 :]
        label_column = next((name for name in after if name in others), others[0])

    labels, multi, delimiter = None, False, None
    if label_column is not None and not _is_float(frame[label_column]):
        labels = frame[label_column].tolist()
        delimiter = _delimiter(labels) if str(label_column).lower() in SEVERAL_LABELS else None
        if delimiter:
            multi = True
            labels = [tuple(label.split(delimiter)) if isinstance(label, str) else label for label in labels]
    splits = None
    if valid_column is not None:
        splits = [_split_name(value) for value in frame[valid_column]]
    files = [base / value if isinstance(value, (str, Path)) and str(value) else None for value in frame[column]]
    return Listing(
        kind="table",
        paths=files,
        names=list(frame.index),
        labels=labels,
        splits=splits,
        root=common_folder(files),
        multi=multi,
        frame=frame,
        label_column=label_column,
        delimiter=delimiter,
    )


def _file_column(frame: Any, base: Path) -> Any:
    """Return the column that names files: the one with most image suffixes or existing files near its top."""
    suffixes = image_suffixes()
    best, column = 0, None
    for name in frame.columns:
        values = [value for value in frame[name].head(200) if isinstance(value, (str, Path)) and str(value)]
        score = sum((is_image_name(str(v), suffixes) and "." in str(v)) or (base / v).is_file() for v in values)
        if score > best:
            best, column = score, name
    if column is None:
        raise FastmagicError(
            f"No column of this table names image files (columns: {few(frame.columns)}).",
            "Build the DataLoaders first and check those, or give the table a column of file names with suffix.",
        )
    return column


def _is_float(series: Any) -> bool:
    # A column of whole numbers with gaps is float too, but still holds classes.
    return series.dtype.kind == "f" and not (series.dropna() % 1 == 0).all()


def _delimiter(labels: Iterable[Any]) -> str | None:
    texts = [label for label in labels if isinstance(label, str)]
    return next((mark for mark in (";", ",", "|", " ") if any(mark in text for text in texts)), None)


def _split_name(value: Any) -> str:
    if isinstance(value, str):
        return SPLIT_FOLDERS.get(value.strip().lower(), "valid" if value.strip().lower() in ("true", "1") else "train")
    return "valid" if value else "train"


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
    for split, loader in zip(("train", "valid"), loaders, strict=False):
        dataset = loader.dataset
        files, are_pictures = _files(dataset)
        labels, multi = _labels(dls, dataset)
        columns["paths"] += files
        columns["names"] += _names(dataset, files)
        columns["labels"] += labels or []
        columns["splits"] += [split] * len(files)
        pictures, known = pictures and are_pictures, known and (labels is not None or not files)
    try:
        steps = len(loaders[0])
    except TypeError:  # an iterable dataset has no length
        steps = None
    root = common_folder(columns["paths"])
    size = _input_size(loaders[0])
    frame, label_column, delimiter = _table_behind(loaders)
    return Listing(
        kind="dls",
        paths=columns["paths"],
        names=columns["names"],
        labels=columns["labels"] if known and columns["labels"] else None,
        splits=columns["splits"],
        root=root,
        pictures=pictures,
        multi=multi,
        size=size,
        resizes=_resizes(loaders[0]),
        bs=getattr(loaders[0], "bs", None),
        steps=steps,
        frame=frame,
        label_column=label_column,
        delimiter=delimiter,
    )


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
    values, pictures = dataset.items, False
    for transform in _transforms(dataset, 0):
        if _opens_something(transform):
            pictures = "PIL" in f"{transform!r} {getattr(transform, 'name', '')}"
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
    return (files, True) if pictures else ([None] * len(files), False)


def _labels(dls: Any, dataset: Any) -> tuple[list[Any] | None, bool]:
    """Return the label of every item (a tuple when there may be several) and whether there may be several."""
    if hasattr(dataset, "y_names"):  # tabular: the targets are codes already
        names = vocab(dls)
        if not names or len(dataset.y_names) != 1 or dataset.ys.iloc[:, 0].dtype.kind not in "iu":
            return None, False
        # A class that is only in the validation set has a code, but no name.
        return [names[code] if 0 <= code < len(names) else None for code in dataset.ys.iloc[:, 0]], False
    n_inp = getattr(dataset, "n_inp", 1)
    if not hasattr(dataset, "tls") or len(dataset.tls) <= n_inp:
        return None, False
    values: Any = dataset.items
    for transform in _transforms(dataset, n_inp):
        kind = type(transform).__name__
        if kind == "Categorize":
            return list(values), False
        if kind == "MultiCategorize":
            return [
                tuple(value)
                if isinstance(value, (list, tuple)) or (hasattr(value, "__iter__") and not isinstance(value, str))
                else value
                for value in values
            ], True
        if kind == "EncodedMultiCategorize":
            return [
                tuple(name for name, on in zip(transform.vocab, value, strict=False) if on) for value in values
            ], True
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

    >>> [is_blank(label) for label in (None, float("nan"), " ", "None", "bird", 0)]
    [True, True, True, True, False, False]
    """
    if label is None or (isinstance(label, float) and math.isnan(label)):
        return True
    return str(label).strip().lower() in ("", "none", "nan", "null", "<na>", "nat")


def count_labels(labels: Iterable[Any], multi: bool) -> Counter[Any]:
    """Count the items of every class; an item with several labels counts for each of them."""
    if not multi:
        return Counter(labels)
    return Counter(name for label in labels for name in (label if isinstance(label, tuple) else (label,)))
