"""Checks of masks: one for each photo, of its size, class numbers and nothing else in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...errors import few, number
from ..listing import Listing
from ..mask_files import SAMPLE, MaskFile, read_mask
from ..report import Finding


def mask_checks(listing: Listing, full: bool) -> Iterator[Finding]:
    """Find what is wrong with masks; the fast checks open some of them, from all over the set."""
    masks = listing.masks
    if masks is None:
        return
    n = len(listing)
    opened: dict[int, MaskFile] = {}
    missing: list[int] = []
    if masks.alone:
        said = number(len(masks.alone), "mask has no photo", "masks have no photo")
        yield Finding("mask-alone", "note", f"{said} of that name: left out.", "", list(masks.alone))
    some = set(range(n)) if full else set(range(0, n, max(1, n // SAMPLE)))
    for i in range(n):
        # An array was read from a file by somebody's own function: only where it is to be looked at.
        if i not in some and not masks.are_files:
            continue
        mask = masks.of(i)
        if mask is None or (isinstance(mask, (str, Path)) and not Path(mask).is_file()):
            missing.append(i)
        elif i in some:
            opened[i] = read_mask(mask)
    if missing:
        left_out = listing.kind == "folder"
        said = number(len(missing), "photo has no mask", "photos have no mask")
        yield Finding(
            "no-mask",
            "warning" if left_out else "error",
            f"{said}: {'left out of the training' if left_out else 'training stops there'}.",
            "Draw it, or leave the photo out knowingly." if left_out else "Leave these photos out of get_items.",
            [listing.item(i) for i in missing],
        )
    yield from _unusable(listing, opened)
    yield from _sizes(listing, opened)
    yield from _values(listing, opened, full)


def _unusable(listing: Listing, opened: dict[int, MaskFile]) -> Iterator[Finding]:
    assert listing.masks is not None
    problems = {listing.item(i): one.problem for i, one in opened.items() if one.problem}
    if problems:
        yield Finding(
            "mask-unreadable",
            "error",
            f"{number(len(problems), 'mask')} cannot be used: {few(sorted(set(problems.values())), 3)}.",
            "A mask is a PNG of the photo's size with the number of a class a pixel.",
            list(problems),
            details=problems,
        )
    palettes = [listing.item(i) for i, one in opened.items() if one.mode == "P" and not one.problem]
    if palettes and listing.masks.are_files and not listing.masks.indices:
        yield Finding(
            "mask-palette",
            "error",
            f"{number(len(palettes), 'mask has', 'masks have')} a palette of colours: fastai's PILMask reads how bright these are, "
            "not the class numbers behind them.",
            "Read the numbers: get_y = lambda file: np.array(Image.open(MASK OF file)).",
            palettes,
        )


def _sizes(listing: Listing, opened: dict[int, MaskFile]) -> Iterator[Finding]:
    from PIL import Image

    other: dict[Any, str] = {}
    for i, one in opened.items():
        photo = listing.paths[i]
        if photo is None or one.problem:
            continue
        try:
            with Image.open(photo) as image:
                size = image.size
        except Exception:  # which is found elsewhere
            continue
        if size != one.size:
            other[listing.item(i)] = f"{size[0]}×{size[1]}, its mask {one.size[0]}×{one.size[1]}"
    if other:
        yield Finding(
            "mask-size",
            "error",
            f"{number(len(other), 'mask has', 'masks have')} another size than the photo: their pixels do not belong together.",
            "Make the mask again from that photo; resize masks with the nearest pixel only.",
            list(other),
            details=other,
        )


def _values(listing: Listing, opened: dict[int, MaskFile], full: bool) -> Iterator[Finding]:
    masks = listing.masks
    assert masks is not None
    count = len(masks.codes)
    if not count:
        return
    beyond: dict[Any, str] = {}
    seen: set[int] = set()
    for i, one in opened.items():
        values = {int(value / masks.divide) for value in one.values}
        seen |= values if listing.splits is None or listing.splits[i] == "train" else set()
        wrong = sorted(value for value in values if value >= count and value != masks.ignored)
        if wrong:
            beyond[listing.item(i)] = few(wrong, 3)
    if beyond:
        yield Finding(
            "mask-values",
            "error",
            f"{number(len(beyond), 'mask holds', 'masks hold')} values beyond the {number(count, 'class', 'classes')} (0 to {count - 1}): "
            "training stops with an IndexError, or a CUDA error that says nothing.",
            "Name all classes in codes.txt, or mend these masks; a value between two classes comes of resizing or JPEG.",
            list(beyond),
            details=beyond,
        )
    if full and opened:
        unseen = [name for i, name in enumerate(masks.codes) if i not in seen and i != masks.ignored]
        if unseen:
            yield Finding(
                "class-not-in-train",
                "warning",
                f"{number(len(unseen), 'class has', 'classes have')} no pixel in any mask"
                f"{' of the training set' if listing.splits is not None else ''} ({few(map(repr, unseen))}): not learned.",
                "Leave it out of the codes, or add photos of it.",
                unseen,
            )
