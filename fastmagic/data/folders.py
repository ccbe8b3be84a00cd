"""How the images of a folder are laid out: class folders, folders for the split, masks, or a table of labels beside.

Everybody who is given a folder asks here, so that `%check`, `%datablock` and the cleaner read the same one alike.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import few, number
from .names import TEST, TRAIN, UNLABELLED, VALID, image_suffixes, is_image_name, sides
from .reading import Table, read_table
from .tables import MOST, Columns, is_table_name, read_columns

IMAGES = ("images", "image", "imgs", "img")
SNIFFED = 200  # files with a strange suffix whose first bytes are looked at
MASKS = ("labels", "masks", "mask", "annotations", "segmentation", "segmentations")


@dataclass(kw_only=True)
class Layout:
    """The images of a folder and how they are laid out.

    Attributes:
        kind: "classes" (each in a folder of its class), "split" (class folders within `train` and `valid`), "upper" (`train`
            and `valid` within class folders), "sides" (`train` and `valid` without class folders), "crossed" (folders of the
            same names within several others: either may be the classes), "masks" (images and the masks that belong to
            them), "table" (labels in a table beside), "flat" (all in one folder) or "none" (no image).
        images: in the order of their folders and names.
        left_out: the other files, which `get_image_files` does not take.
        unlabelled: images in a folder called `test` and the like that is no class: they are not among `images`.
        sides: "train", "valid" or "test" by name of folder, of kinds "split", "upper" and "sides".
        table: the table's file, the table and its columns, of kind "table".
        unused: a table beside whose files are not there.
        folders: the folders at the top that hold the images, where others there hold the unlabelled.
        circular: a link leads back to a folder that holds it, so that links are not followed.
    """

    kind: str = "none"
    images: list[Path] = field(default_factory=list)
    left_out: list[Path] = field(default_factory=list)
    unlabelled: list[Path] = field(default_factory=list)
    sides: dict[str, str] = field(default_factory=dict)
    table: tuple[Path, Table, Columns] | None = None
    unused: tuple[Path, Table] | None = None
    folders: list[str] = field(default_factory=list)
    circular: bool = False

    def split_of(self, image: Path) -> str:
        """Return the side of the split that an image lies on; "other" for one on neither."""
        folder = image.parent.parent if self.kind == "split" else image.parent
        return self.sides.get(folder.name, "other")

    def folder_of(self, side: str) -> str:
        """Return the name of the folder of a side."""
        return next(name for name, is_side in self.sides.items() if is_side == side)


def read_folder(folder: Path, suffixes: Collection[str] | None = None) -> Layout:
    """Tell how the images of a folder are laid out; none is opened.

    Args:
        folder: that holds them.
        suffixes: of other files that are looked for in place of images.

    Example:
        >>> read_folder(Path("bird_or_not")).kind  # doctest: +SKIP
        'classes'
    """
    masks = images_with_masks(folder) if suffixes is None else None
    suffixes = image_suffixes() if suffixes is None else set(suffixes)
    found, back = Layout(), list[str]()
    listed = list(walk(masks or folder, back))
    if back:
        found.circular, listed = True, list(walk(masks or folder, links=False))
    for place, names in listed:
        for name in names:
            (found.images if is_image_name(name, suffixes) else found.left_out).append(place / name)
    if masks is not None and found.images:
        found.kind = "masks"
        return found
    if not found.images:
        return found
    # As text: taking the parents of 100,000 paths takes a second.
    places = list(dict.fromkeys(os.path.dirname(image) for image in found.images))
    inside = {place: Path(os.path.relpath(place, folder)).parts for place in places}
    aside = _unlabelled([parts for parts in inside.values() if parts])
    if aside is not None:
        out = {place for place, parts in inside.items() if parts[:1] == (aside,)}
        found.unlabelled = [image for image in found.images if os.path.dirname(image) in out]
        found.images = [image for image in found.images if os.path.dirname(image) not in out]
        inside = {place: parts for place, parts in inside.items() if place not in out}
        found.folders = sorted({parts[0] if parts else "." for parts in inside.values()})
    found.kind, found.sides = _kind_of(list(inside.values()), folder)
    if found.kind != "split":
        found.table, found.unused = _labels_beside(folder, found.kind not in ("flat", "sides"))
        if found.table is not None:
            found.kind, found.sides = "table", {}
    return found


def _kind_of(places: Sequence[tuple[str, ...]], folder: Path) -> tuple[str, dict[str, str]]:
    """Return the kind of a layout and the sides of its split, by where its folders with images lie within `folder`."""
    names = {parts[-1] if parts else folder.name for parts in places}
    above = {(parts[-2] if len(parts) > 1 else folder.name) for parts in places if parts}
    found = _sides_among(above)
    if found:
        return "split", found
    found = _sides_among(names)
    if found and len(found) == len(names):
        several = len({parts[:-1] for parts in places}) > 1 and all(len(parts) > 1 for parts in places)
        return ("upper" if several else "sides"), found
    pairs = {parts[-2:] for parts in places if len(parts) > 1}
    uppers = {upper for upper, _ in pairs}
    if (
        len(uppers) > 1
        and len(names) > 1
        and len(pairs) == len(places)
        and len({lower for _, lower in pairs}) < len(pairs)
    ):
        return "crossed", {}
    return ("classes" if len(names) > 1 else "flat"), {}


def _unlabelled(places: Sequence[tuple[str, ...]]) -> str | None:
    """Return the folder at the top that holds images without a class beside folders of two classes at least."""
    for top in sorted({parts[0] for parts in places}):
        here = {parts[-1] for parts in places if parts[0] == top}
        classes = {parts[-1] for parts in places if parts[0] != top}
        if UNLABELLED.fullmatch(top) and len(classes) > 1 and len(here) == 1 and not here & classes:
            return top
    return None


def _sides_among(names: Iterable[str]) -> dict[str, str]:
    """Return the folder of each side of a split among some folders; the surest name where several fit."""
    lower: dict[str, str] = {}
    for name in sorted(names):
        lower.setdefault(name.lower(), name)
    chosen = [next((lower[word] for word in words if word in lower), None) for words in (TRAIN, VALID, TEST)]
    found = sides([name for name in chosen if name is not None]) or {}
    both = {"train", "valid"} <= set(found.values())
    return {str(name): side for name, side in found.items()} if both else {}


def images_with_masks(folder: Path) -> Path | None:
    """Return the folder of the images where another one beside it holds masks of them."""
    if not folder.is_dir():
        return None
    inside = {entry.name.lower(): Path(entry.path) for entry in os.scandir(folder) if entry.is_dir()}
    images = next((inside[name] for name in IMAGES if name in inside), None)
    masks = any(name in inside for name in MASKS) or (folder / "codes.txt").is_file()
    return images if masks else None


def _labels_beside(folder: Path, classes: bool) -> tuple[tuple[Path, Table, Columns] | None, tuple[Path, Table] | None]:
    """Return the table of labels that lies beside images, if one does, and one called labels.csv or so that names no file.

    labels.csv comes first, else any that names files. Where folders tell the classes, the table has to name most of its
    files and their labels; else some files do, and whoever asks for the label says that it is not told.
    """
    unused = None
    tables = [Path(entry.path) for entry in os.scandir(folder) if entry.is_file() and is_table_name(entry.name)]
    tables = [file for file in tables if not file.name.startswith(".")]
    tables.sort(key=lambda file: (not file.stem.lower().startswith(("label", "train")), file.name))
    for file in tables[:5]:
        try:
            table = read_table(file)
        except Exception:  # whatever it is, it is no table of labels
            continue
        if any(str(name).startswith("p(") for name in table.frame.columns):  # what a model said: `%predict … --csv`
            continue
        columns = read_columns(table.frame, folder)
        named = file.stem.lower().startswith(("label", "train"))
        enough = columns.exist >= MOST if classes else columns.exist > 0
        if enough and (columns.label is not None or (named and not classes)):
            return (file, table, columns), None
        if named:
            unused = unused or (file, table)
    return None, unused


def walk(folder: Path, back: list[str] | None = None, links: bool = True) -> Iterator[tuple[Path, list[str]]]:
    """Yield every sub-folder and its file names as `get_image_files` goes: through links, past dot names.

    Args:
        folder: where to begin.
        back: gets the links that lead back to a folder above them; these are not followed, while fastai goes round and
            round until the path is too long.
        links: follow the others.
    """
    back = [] if back is None else back
    for place, folders, files in os.walk(folder, followlinks=links):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found = [name for name in folders if _leads_back(os.path.join(place, name))] if links else []
        back += [os.path.join(place, name) for name in found]
        folders[:] = [name for name in folders if name not in found]
        yield Path(place), sorted(name for name in files if not name.startswith("."))


def _leads_back(place: str) -> bool:
    """Tell whether a folder is a link to one that holds it."""
    if not os.path.islink(place):
        return False
    target = os.path.realpath(place)
    holder = os.path.realpath(os.path.dirname(place))
    return holder == target or holder.startswith(os.path.join(target, ""))


def no_images(folder: Path, others: Sequence[Path]) -> tuple[str, str, list[Any]]:
    """Say of a folder without images what is there instead: cause, fix, and the images under another suffix.

    Args:
        folder: where there is none.
        others: the files that were found and left out.
    """
    images: list[Any] = [file for file in others[:SNIFFED] if image_format(file)]
    if images:
        said = number(len(images), "file is a picture", "files are pictures")
        cause = f"get_image_files finds no image in '{folder}', though {said} under another suffix."
        return cause, "Rename them to end in .jpg or .png.", images
    near = nearest_images(folder)
    cause = f"There is no image in '{folder}' or below it"
    if near is None:
        return f"{cause}.", "Give the folder that holds your pictures.", []
    place, n = near
    shown = os.path.relpath(place)
    shown = str(place) if shown.startswith(os.pardir) else shown
    cause += f"; the nearest folder with some is '{shown}' ({number(n, 'image')})."
    return cause, f"Give '{shown}', or the folder above it.", []


def classes_unknown(folder: Path, layout: Layout, thing: str = "image") -> tuple[str, str] | None:
    """Say why the classes cannot be told from the folders, and what to do; `None` where they can."""
    if layout.kind == "crossed":
        lower, upper = (sorted({image.parents[i].name for image in layout.images}) for i in (0, 1))
        return (
            f"Which folders are the classes: {few(upper, 4)}, or {few(lower, 4)}? Those lie in several of these.",
            r"The upper ones: `get_y=RegexLabeller(r'([^/]+)/[^/]+/[^/]+$')`. The lower ones: `get_y=parent_label`",
        )
    if layout.kind not in ("flat", "sides"):
        return None
    if layout.unused is not None:
        file, table = layout.unused
        column = next(iter(table.frame.columns))
        return (
            f"No column of '{file.name}' ({few(table.frame.columns, 4)}) names the {number(len(layout.images), thing)}: "
            f"one is called {layout.images[0].name!r}, while {str(column)!r} says {str(table.frame[column].iloc[0])!r}."
            if len(table.frame)
            else f"'{file.name}' has no rows.",
            f"Write in one how they are called, below '{folder}' or with the whole path.",
        )
    where = f"one folder ({layout.images[0].parent})"
    if layout.kind == "sides":
        where = f"the folders {few(map(repr, layout.sides), 3)} themselves"
    return (
        f"{number(len(layout.images), f'{thing} lies', f'{thing}s lie')} in {where}, so their classes cannot be told from folders.",
        "Put each class in a sub-folder, add a labels.csv (file,label), or let the name tell it: `label=r'^(.+)_\\d+'`",
    )


def image_format(file: Path) -> str:
    """Return the format Pillow sees in the first bytes of a file, "" where it sees none."""
    from PIL import Image

    try:
        with Image.open(file) as image:
            return image.format or ""
    except Exception:  # Pillow's plugins raise whatever their parser raised
        return ""


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


def left_out_beside(files: Sequence[Path | None]) -> list[Path]:
    """Return the files in the same folders as `files` whose suffix `get_image_files` does not take."""
    suffixes = image_suffixes()
    found = []
    for folder in sorted({file.parent for file in files if file is not None}):
        if folder.is_dir():
            names = sorted(entry.name for entry in os.scandir(folder) if entry.is_file())
            found += [folder / n for n in names if not n.startswith(".") and not is_image_name(n, suffixes)]
    return found
