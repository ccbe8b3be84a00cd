"""Checks of the files: missing, empty, left out, broken, stored otherwise than the rest, larger than needed."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...errors import few, number
from ...render import short_path
from ..folders import SNIFFED, image_format
from ..image_files import ImageFile
from ..listing import Listing, common_folder
from ..opening import DEEP
from ..report import Finding
from .labels import clean

# A picture this many times the model's input on its shorter side: 9 of 10 decoded pixels are thrown away.
LARGE = 3
USUAL_SIZE = 224  # px, where nothing is known of the model: what most pretrained models were trained on


def missing_files(listing: Listing) -> Iterator[Finding]:
    """Find rows without a file, files that are not there and empty files; one `stat` a file."""
    if not listing.are_images:
        return
    blank = [name for name, file in zip(listing.names, listing.paths, strict=True) if file is None]
    if blank:
        said = number(len(blank), "row names no file", "rows name no file")
        yield Finding("missing-file", "error", f"{said}.", "Drop these rows.", blank)
    gone: list[Path] = []
    empty: list[Path] = []
    for path in filter(None, listing.paths):
        try:
            if os.stat(path).st_size == 0:
                empty.append(path)
        except OSError:
            gone.append(path)
    if gone:
        fix = _found_elsewhere(gone[0])
        if not fix and listing.kind == "table" and len(gone) == len(listing):
            fix = f"Say which folder the names are relative to (now '{listing.root}'): `path=FOLDER`"
        gone = list(dict.fromkeys(gone))
        said = number(len(gone), "listed file does", "listed files do")
        yield Finding(
            "missing-file",
            "error",
            f"{said} not exist: training stops with FileNotFoundError.",
            fix
            or (
                f"Leave them out, and build again: {listing.leave_out}"
                if listing.leave_out
                else "Build the DataLoaders again from the files that are there."
            ),
            list(gone),
        )
    if empty:
        yield _broken_finding(listing, "zero-byte", list(dict.fromkeys(empty)), {})


def _found_elsewhere(file: Path) -> str:
    """Say where a missing file seems to be, when it lies one folder below or lacks its suffix only."""
    folder, name = file.parent, glob.escape(file.name)
    if not file.suffix and (found := sorted(folder.glob(f"{name}.*"))):
        return f"'{found[0].name}' does exist: give this name its suffix, too."
    if found := sorted(folder.glob(f"*/{name}")):
        return f"'{file.name}' does exist in '{found[0].parent}': give `path={str(found[0].parent)!r}`."
    return ""


def left_out(listing: Listing, others: list[Path]) -> Iterator[Finding]:
    files = [file for file in others[:SNIFFED] if image_format(file)]
    if files:
        suffixes = sorted({file.name[file.name.rfind(".") :] if "." in file.name else "none" for file in files})
        yield Finding(
            "left-out",
            # A stray download or two is worth knowing; one in twenty changes the data set.
            "warning" if len(files) > len(listing) / 20 else "note",
            f"{number(len(files), 'picture is', 'pictures are')} left out in silence: get_image_files does "
            f"not take the suffix {few(map(repr, map(_short, suffixes)), 3)}.",
            "Rename them to end in .jpg (or whatever they are), or leave them out knowingly.",
            list(files),
            details={file: image_format(file) for file in files},
        )


def broken(listing: Listing, photos: dict[Path, ImageFile]) -> Iterator[Finding]:
    for problem in ("unreadable", "truncated"):
        bad = [photo for photo in photos.values() if photo.problem == problem]
        if bad:
            yield _broken_finding(
                listing, problem, [photo.path for photo in bad], {photo.path: photo.detail for photo in bad}
            )


def _broken_finding(listing: Listing, problem: str, files: list[Path], details: dict[Any, str]) -> Finding:
    said = {
        "zero-byte": ("file is empty (0 bytes)", "files are empty (0 bytes)"),
        "unreadable": ("file is no picture", "files are no pictures"),
        "truncated": ("picture is cut off or damaged", "pictures are cut off or damaged"),
    }[problem]
    it = "it" if len(files) == 1 else "the first of them"
    return Finding(
        problem,
        "error",
        f"{number(len(files), *said)}: training stops at {it}.",
        f"Move to quarantine with {listing.check_with('fix')}, or fetch again.",
        list(files),
        details=details,
    )


def storage(listing: Listing, photos: dict[Path, ImageFile]) -> Iterator[Finding]:
    """Find pictures stored otherwise than the rest: suffix, frames, gray, alpha, CMYK, EXIF rotation."""
    whole = [photo for photo in photos.values() if not photo.problem]
    wrong = [photo for photo in whole if _wrong_suffix(photo)]
    if wrong:
        yield Finding(
            "wrong-suffix",
            "note",
            f"{number(len(wrong), 'file is', 'files are')} of another format than the suffix says: fastai "
            "opens them all the same, other tools may not.",
            "Rename them if they are to leave fastai.",
            [photo.path for photo in wrong],
            details={photo.path: f"is {photo.format}" for photo in wrong},
        )
    kinds: list[tuple[str, str, list[ImageFile], tuple[str, str], str, str]] = [
        (
            "animated",
            "note",
            [p for p in whole if p.frames > 1],
            ("file has several frames", "files have several frames"),
            "only the first is seen",
            "Save the frame that shows the subject, or leave the file out.",
        ),
        (
            "rotated",
            "warning",
            [p for p in whole if p.turned],
            ("photo is stored turned", "photos are stored turned"),
            "its EXIF tag says so, which fastai ignores, so the model sees it on its side",
            "Save them upright: PIL.ImageOps.exif_transpose(image).save(file).",
        ),
        (
            "cmyk",
            "note",
            [p for p in whole if p.mode == "CMYK"],
            ("picture is CMYK, made for print", "pictures are CMYK, made for print"),
            "converted to RGB without a colour profile, their colours are off",
            "Convert them with their colour profile (PIL.ImageCms), or leave them out.",
        ),
        (
            "alpha",
            "note",
            [p for p in whole if p.transparent],
            ("picture has transparent parts", "pictures have transparent parts"),
            "fastai drops the transparency, and whatever colour lies underneath shows",
            "Paste them on one background colour, such as white.",
        ),
        (
            "sixteen-bit",
            "warning",
            [p for p in whole if p.mode.startswith("I")],
            *_deep("I"),
            "Scale them to 0 … 255 and save them again.",
        ),
        (
            "float",
            "warning",
            [p for p in whole if p.mode == "F"],
            *_deep("F"),
            "Scale them to 0 … 255 and save them again.",
        ),
    ]
    gray = [p for p in whole if p.mode in ("L", "LA", "1")]
    if len(gray) < len(whole):  # where all are gray nothing is mixed
        kinds.append(
            (
                "grayscale",
                "note",
                gray,
                ("picture is grayscale", "pictures are grayscale"),
                f"among {len(whole) - len(gray):,} in colour",
                "Harmless when spread over all classes; otherwise make all grayscale.",
            )
        )
    for kind, severity, found, said, consequence, fix in kinds:
        if found:
            yield Finding(
                kind,
                severity,
                f"{number(len(found), *said)}: {consequence}.{_in_one_class(listing, found)}",
                fix,
                [photo.path for photo in found],
                details={photo.path: photo.mode for photo in found} if kind != "animated" else {},
            )


def _deep(mode: str) -> tuple[tuple[str, str], str]:
    one, several, lost = DEEP[mode]
    return (one, several), lost


def _in_one_class(listing: Listing, photos: list[ImageFile]) -> str:
    """Warn when pictures stored in a special way all bear one label: a model may learn that instead."""
    if listing.labels is None or listing.multi or len(photos) < 3:
        return ""
    label_of = dict(zip(listing.paths, clean(listing.labels), strict=True))
    labels = {label_of[photo.path] for photo in photos}
    if len(labels) > 1 or len(set(label_of.values())) < 2:
        return ""
    return f" All are '{labels.pop()}': the model may learn this instead of the subject."


def _wrong_suffix(photo: ImageFile) -> bool:
    from PIL import Image

    declared = Image.registered_extensions().get(photo.path.suffix.lower())
    # A phone's MPO is a JPEG with a second picture behind it.
    return declared is not None and {"MPO": "JPEG"}.get(photo.format, photo.format) != {"MPO": "JPEG"}.get(
        declared, declared
    )


def too_large(listing: Listing, photos: dict[Path, ImageFile], size: tuple[int, int] | None) -> Iterator[Finding]:
    whole = [photo for photo in photos.values() if not photo.problem]
    shapes = {(photo.width, photo.height) for photo in whole}
    if not listing.resizes and len(shapes) > 1:
        yield Finding(
            "no-resize",
            "error",
            f"The pictures have {len(shapes):,} different sizes and no item transform makes them alike: "
            "fastai cannot stack them into a batch.",
            "Add item_tfms=Resize(224).",
        )
    height, width = size or listing.size or (USUAL_SIZE, USUAL_SIZE)
    side = max(height, width)
    large = [photo for photo in whole if min(photo.width, photo.height) > LARGE * side]
    decoded, needed = sum(photo.pixels for photo in whole), len(whole) * height * width
    # A few large ones among many cost next to nothing.
    if not large or len(large) < len(whole) / 20:
        return
    known = "the model's input" if size or listing.size else "the usual input"
    yield Finding(
        "large",
        "note",
        f"{number(len(large), 'photo is', 'photos are')} much larger than {known} of {side} px: every "
        f"epoch decodes {decoded / 1e6:,.0f} million pixels to use {needed / 1e6:,.0f}.",
        f"Make them smaller once: resize_images(path, max_size={2 * side}, dest=…), and train on those.",
        [photo.path for photo in large],
        details={photo.path: f"{photo.width}×{photo.height}" for photo in large},
    )


def folders(listing: Listing) -> Iterator[Finding]:
    """Find what folders leave unclear: images without a class, classes that cannot be told, circles."""
    if listing.unlabelled:
        place = short_path(common_folder(listing.unlabelled) or listing.unlabelled[0].parent)
        yield Finding(
            "unlabelled",
            "note",
            f"{number(len(listing.unlabelled), 'image')} in '{place}' left out: no class is known.",
            f"Ask a model about them when it is trained: `predict({place!r}, learn)`.",
            list(listing.unlabelled),
        )
    if listing.unclear is not None:
        yield Finding("classes-unknown", "note", *listing.unclear)
    if listing.circular:
        yield Finding(
            "circular-link",
            "warning",
            "A link leads back to a folder that holds it: get_image_files finds every image dozens of times.",
            "Remove the link.",
        )


def _short(text: str) -> str:
    return text if len(text) <= 16 else f"{text[:14]}…"
