"""How the masks of a folder belong to its images, and what their values mean: codes, 0 and 255, indices of a palette.

Everybody who is given a folder of images with masks asks here, so that `%check` and `%datablock` read the same one alike.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import AnswerError, FastmagicError, NotFoundError, RefusedError, UnreadableError, few, number
from .folders import MASKS, Layout, images_with_masks
from .items import source_in
from .names import image_suffixes, is_image_name

SAMPLE = 40  # masks that are opened to tell what their values mean
MOST = 64  # different values in a mask; beyond, they are shades and no classes
VOID = ("void", "unlabeled", "unlabelled", "ignore", "ignored")
NO_LABEL = 255  # what many data sets write where they know no class


@dataclass(frozen=True)
class MaskFile:
    """What was found in a mask: its size as (width, height) px, its different values, how the file keeps them.

    Attributes:
        mode: Pillow's: "L" and the like, "P" with a palette, "RGB" in colours.
        problem: why it is no mask, "" where it is one.
    """

    size: tuple[int, int] = (0, 0)
    values: tuple[int, ...] = ()
    mode: str = ""
    problem: str = ""


@dataclass(kw_only=True)
class MaskLayout:
    """The images of a folder and the masks that belong to them.

    Attributes:
        folder: that holds both.
        images, masks: the names of the folders of either in it.
        pairs: image and mask, `None` where there is none.
        alone: masks without an image.
        suffix: what a mask's name has behind its image's: "_P.png".
        depth: folders between `images` and an image.
        codes: the classes' names by value, as codes.txt says; empty without one.
        listed: the file that they stand in.
    """

    folder: Path
    images: str
    masks: str
    pairs: list[tuple[Path, Path | None]] = field(default_factory=list)
    alone: list[Path] = field(default_factory=list)
    suffix: str = ".png"
    depth: int = 0
    codes: list[str] = field(default_factory=list)
    listed: Path | None = None

    @property
    def get_y(self) -> str:
        """How a program finds the mask of an image."""
        inside = "" if not self.depth else f" / file.relative_to(file.parents[{self.depth}]).parent"
        return f"file.parents[{self.depth + 1}] / {self.masks!r}{inside} / f'{{file.stem}}{self.suffix}'"


@dataclass(frozen=True, kw_only=True)
class Meaning:
    """What the values of masks mean.

    Attributes:
        codes: the classes' names by value, after the division.
        divide: what values are divided by: 255 where a mask holds 0 and 255.
        indices: a palette gives the values their colours, so that they are read as they stand.
        ignored: the value that counts for nothing; `None` where each counts.
        said: what is said of it.
    """

    codes: list[str]
    divide: int = 1
    indices: bool = False
    ignored: int | None = None
    said: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class MaskSet:
    """The masks of a list of photos, to be checked.

    Attributes:
        of: gives the file of the mask of a photo by its position, or its pixels; `None` where there is none.
        codes: the classes' names by value.
        divide, ignored, indices: as of `Meaning`.
        are_files: `of` gives files.
        alone: masks without a photo.
    """

    of: Callable[[int], Any]
    codes: list[str]
    divide: int = 1
    ignored: int | None = None
    indices: bool = False
    are_files: bool = True
    alone: list[Path] = field(default_factory=list)


def masks_beside(folder: Path, layout: Layout) -> MaskSet | None:
    """Return the masks of a folder's images; `None` where it cannot be told which belongs to which."""
    try:
        found = read_masks(folder, layout)
    except FastmagicError:  # said where the data are built
        return None
    codes, divide, ignored, indices = found.codes, 1, void(found.codes), False
    with contextlib.suppress(FastmagicError):
        means = meaning(found)
        codes, divide, ignored, indices = means.codes, means.divide, means.ignored, means.indices
    masks = [mask for _, mask in found.pairs]
    return MaskSet(
        of=masks.__getitem__, codes=codes, divide=divide, ignored=ignored, indices=indices, alone=found.alone
    )


def read_masks(folder: Path, layout: Layout) -> MaskLayout:
    """Tell which masks belong to the images of a folder; none is opened.

    Args:
        folder: that holds both.
        layout: of its images, of kind "masks".

    Raises:
        FastmagicError: there are no masks, or none that belongs to an image.
    """
    images = images_with_masks(folder)
    assert images is not None
    suffixes = image_suffixes()
    inside = {entry.name.lower(): entry.path for entry in os.scandir(folder) if entry.is_dir()}
    places = [Path(inside[name]) for name in MASKS if name in inside]
    found: dict[Path, list[Path]] = {}
    for place in places:
        files = (Path(at) / name for at, _, names in os.walk(place) for name in names if not name.startswith("."))
        found[place] = sorted(file for file in files if is_image_name(file.name, suffixes))
    if not any(found.values()):
        beside = [one.name for one in places[:1]] or [MASKS[0]]
        raise NotFoundError(
            f"Beside the {number(len(layout.images), 'image')} of '{images}' there are no masks: "
            + (f"'{beside[0]}' holds no picture." if places else "no folder 'labels' or 'masks'."),
            f"Put a mask for each image into '{folder / beside[0]}': a PNG of the image's size, a class index a pixel.",
        )
    place = max(found, key=lambda place: len(found[place]))
    said = MaskLayout(folder=folder, images=images.name, masks=place.name)
    depths = {len(image.relative_to(images).parts) - 1 for image in layout.images}
    by_name = {str(mask.relative_to(place).with_suffix("")): mask for mask in found[place]}
    stems = [str(image.relative_to(images).with_suffix("")) for image in layout.images]
    suffix = _suffix(stems, by_name)
    said.pairs = [(image, by_name.get(f"{stem}{suffix}")) for image, stem in zip(layout.images, stems, strict=True)]
    taken = {mask for _, mask in said.pairs}
    said.alone = [mask for mask in found[place] if mask not in taken]
    ends = Counter(mask.suffix for mask in taken if mask is not None)
    if not ends or len(depths) > 1 or len(ends) > 1:
        first = layout.images[0].relative_to(folder)
        raise AnswerError(
            "Which mask belongs to which image? "
            + (
                f"Some images lie in sub-folders of '{images.name}', some do not."
                if len(depths) > 1
                else f"The masks are {few(ends, 3)} files."
                if ends
                else f"An image is called '{first}', a mask '{found[place][0].relative_to(folder)}'."
            ),
            f"Say so: `get_y=lambda file: …`, which gets an image and returns its mask in '{place}'",
        )
    said.suffix, said.depth = f"{suffix}{next(iter(ends))}", depths.pop()
    said.codes, said.listed = _codes(folder, place)
    return said


def _suffix(stems: Sequence[str], masks: dict[str, Path]) -> str:
    """Return what the masks' names have behind those of the images: that by which most find theirs."""
    some = stems[:: max(1, len(stems) // 20)]
    ends = Counter(mask[len(stem) :] for stem in some for mask in masks if mask.startswith(stem))
    return min(ends, key=lambda end: (-ends[end], len(end)), default="")


def _codes(*places: Path) -> tuple[list[str], Path | None]:
    """Return the names of the classes in the order of their values, and the file they stand in."""
    for place in places:
        file = place / "codes.txt"
        if file.is_file():
            lines = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines()]
            names = [line for line in lines if line]
            numbered = [re.fullmatch(rf"{i}\s*[:,;=\t ]\s*(.+)", name) for i, name in enumerate(names)]
            return [
                match[1] if all(numbered) and match else name for match, name in zip(numbered, names, strict=True)
            ], file
    return [], None


def masks_of(loader: Any, most: int | None = None) -> dict[int, MaskFile]:
    """Open the masks of a fastai loader's items, at most so many from all over it, and tell what the loss gets of each.

    Returns:
        By position in the dataset; values are divided as the loader's `IntToFloatTensor` does.
    """
    dataset = loader.dataset
    items, transforms = dataset.items, dataset.tls[dataset.n_inp].tfms.fs
    divide = next((t.div_mask for t in loader.after_batch.fs if hasattr(t, "div_mask")), 1)
    found = {}
    for i in range(0, len(items), max(1, len(items) // most) if most else 1):
        one = read_mask(source_in(transforms, items.iloc[i] if hasattr(items, "iloc") else items[i]))
        found[i] = replace(one, values=tuple(sorted({int(value / divide) for value in one.values})))
    return found


def read_mask(file: Any) -> MaskFile:
    """Open a mask, the path of a file or an array, and tell what is in it."""
    import numpy as np
    from PIL import Image

    try:
        with Image.fromarray(file) if isinstance(file, np.ndarray) else Image.open(file) as mask:
            mode, size = mask.mode, mask.size
            if mode == "P" and _grey(mask):
                mode = "L"
            pixels = np.asarray(mask.convert("L") if mode == "L" else mask)
    except Exception as error:  # whatever a decoder raises
        return MaskFile(problem=f"cannot be read ({type(error).__name__})")
    if mode in ("RGB", "RGBA"):
        if bool((pixels[..., :3] == pixels[..., :1]).all()):
            pixels, mode = pixels[..., 0], "L"
        else:
            return MaskFile(size, (), "RGB", "is in colours, not in class numbers")
    if pixels.dtype == bool:
        pixels = pixels.astype("uint8") * 255
    if pixels.ndim != 2:
        return MaskFile(size, (), mode, f"has {pixels.shape[-1]} channels")
    return MaskFile(size, tuple(int(value) for value in np.unique(pixels)), mode)


def _grey(mask: Any) -> bool:
    """Tell whether a palette gives every value its own grey."""
    palette = mask.getpalette() or []
    return all(palette[3 * i : 3 * i + 3] == [i, i, i] for i in range(len(palette) // 3))


def meaning(layout: MaskLayout, named: Sequence[str] = ()) -> Meaning:
    """Tell what the values of the masks mean, by opening some of them.

    Args:
        layout: of the folder.
        named: the names of the classes, where they were given.

    Raises:
        FastmagicError: they are colours, or shades, or do not fit the names.
    """
    masks = [mask for _, mask in layout.pairs if mask is not None]
    some = masks[:: max(1, len(masks) // SAMPLE)]
    read = {mask: read_mask(mask) for mask in some}
    codes = [str(name) for name in named] or list(layout.codes)
    for mask, one in read.items():
        if one.mode == "RGB":
            raise RefusedError(
                f"The mask '{mask}' is in colours; fastai takes the number of a class a pixel.",
                "Write them as numbers once: a colour's place in your list of colours, 0 first, as PNG of mode 'L'.",
            )
        if one.problem:
            raise UnreadableError(
                f"The mask '{mask}' {one.problem}.", f"`check({str(layout.folder)!r})` finds all such files."
            )
    values = sorted({value for one in read.values() for value in one.values})
    shades = max(read, key=lambda mask: len(read[mask].values))
    most = len(read[shades].values)
    blurred = shades.suffix.lower() in (".jpg", ".jpeg") and most > max(2, len(codes))
    if blurred or most > max(MOST, 2 * len(codes)):
        why = "JPEG blurs them" if blurred else "they are shades, not classes"
        raise RefusedError(
            f"The mask '{shades}' has {most} different values: {why}.",
            "Save masks as PNG, with the number of a class a pixel, and resize them with the nearest pixel only.",
        )
    indices = any(one.mode == "P" for one in read.values())
    said = ["their values are indices of a palette, read as they stand"] if indices else []
    above = [value for value in values if value >= len(codes)]
    divide = next((d for d in range(255, 1, -1) if [value // d for value in values] == list(range(len(values)))), None)
    spread = divide is not None and len(values) == len(codes) > 1 and values[-1] == NO_LABEL  # 0 and 255 of two classes
    if codes and above in ([], [NO_LABEL]) and not spread:
        return Meaning(codes=codes, indices=indices, ignored=_ignored(codes, above), said=said)
    if not codes and values[-1] < len(values) + 8:
        return Meaning(
            codes=[str(value) for value in range(values[-1] + 1)], indices=indices,
            said=[*said, f"the classes are their values, 0 to {values[-1]}: codes.txt beside the images would name them"],
        )  # fmt: skip
    if divide is not None and len(values) > 1 and len(codes) in (0, len(values)):
        names = codes or (["background", "object"] if len(values) == 2 else [str(i) for i in range(len(values))])
        return Meaning(
            codes=names, divide=divide, indices=indices,
            said=[*said, f"masks hold {', '.join(map(str, values))}, which become 0 to {len(values) - 1} (div_mask)"],
        )  # fmt: skip
    without = [value for value in values if value != NO_LABEL]
    if not codes and NO_LABEL in values and without and without[-1] < len(without) + 8:
        return Meaning(
            codes=[str(value) for value in range(without[-1] + 1)], indices=indices, ignored=NO_LABEL,
            said=[*said, f"the classes are their values, 0 to {without[-1]}; {NO_LABEL} counts for nothing"],
        )  # fmt: skip
    if codes:
        where = f"'{layout.listed.name}'" if layout.listed is not None and not named else "codes"
        raise AnswerError(
            f"{where} names {number(len(codes), 'class', 'classes')}, 0 to {len(codes) - 1}, and masks hold {few(above)} too.",
            "Name them too, or mend the masks.",
        )
    raise AnswerError(
        f"What do the values of the masks mean? They are {few(values, 12)}.",
        f"Name the classes, one a line, in '{layout.folder / 'codes.txt'}', from 0 on; masks hold the number of the line.",
    )


def _ignored(codes: Sequence[str], above: Sequence[int]) -> int | None:
    """Return the value that counts for nothing: one that is no class, or the class that is called Void."""
    return above[0] if above else void(codes)


def void(codes: Sequence[Any]) -> int | None:
    """Return the position of the class that means "not labelled", `None` without one.

    >>> void(["Sky", "Road", "Void"])
    2
    """
    return next((i for i, name in enumerate(codes) if str(name).strip().lower() in VOID), None)
