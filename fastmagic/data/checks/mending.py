"""Mending: which files `fix` moves to quarantine, what is said of it, and the way back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ...errors import RefusedError, number
from ..image_files import ImageFile, is_copy, is_exact_copy, surplus
from ..listing import Listing
from ..quarantine import HOME, home_of, restore
from ..report import Finding
from .copies import same_items
from .files import missing_files
from .labels import clean

BROKEN = ("zero-byte", "unreadable", "truncated")


def rejects(listing: Listing, photos: dict[Path, ImageFile] | None) -> Iterator[tuple[Path, str]]:
    """Yield the files to move to quarantine and why: broken ones, and copies of which another one is kept."""
    if photos is None:
        for finding in missing_files(listing):
            if finding.kind == "zero-byte":
                yield from ((file, finding.kind) for file in finding.items)
        return
    for photo in photos.values():
        if photo.problem in BROKEN:
            yield photo.path, photo.problem
    labels = clean(listing.labels) if listing.labels is not None else [None] * len(listing)
    splits = listing.splits or [""] * len(listing)
    # Near copies may have targets of their own (masks, points) where there are no labels to compare.
    same = is_copy if listing.labels is not None else is_exact_copy
    for group in same_items(listing, photos):
        if len({labels[i] for i in group}) > 1:
            continue  # which label is right, a person has to say
        paths = [path for path in (listing.paths[i] for i in group) if path is not None]
        if any(path.is_symlink() for path in paths):
            continue  # moving what a link points to would break the link
        files = {path.resolve(): path for path in paths}  # one file that is listed twice is one file
        side = {listing.paths[i]: splits[i] for i in group}

        def prefer(photo: ImageFile, side: dict[Any, str] = side) -> tuple[bool, str]:
            # The smaller set keeps its copy; then the first by name.
            return side[photo.path] == "train", str(photo.path)

        for copy, kept in surplus([photos[path] for path in files.values()], prefer, same):
            yield copy.path, f"copy of {kept.path.name}"


def home(listing: Listing) -> Path:
    if listing.root is None:
        raise RefusedError(
            "The files share no folder, so there is no place for a quarantine.",
            "Check their folders one by one.",
        )
    return listing.root


def moved_finding(listing: Listing, moved: dict[Path, Path]) -> Finding:
    if not moved:
        return Finding("moved", "note", "There was no file to move to quarantine.")
    return Finding(
        "moved",
        "note",
        f"{number(len(moved), 'file was', 'files were')} moved to '{home(listing) / HOME}'; none was deleted.",
        f"{listing.check_with('undo')} brings them back.",
        list(moved),
    )


def stale(listing: Listing, moved: dict[Path, Path]) -> Finding:
    if listing.kind == "dls":
        message = "The DataLoaders still list the files that were moved, and stop at them."
        fix = "Build the dls again (and drop the moved rows if it is built from a table)."
    else:
        message = "The table still lists the files that were moved."
        fix = "Drop those rows, then build the dls again."
    return Finding("stale", "error", message, fix, list(moved))


def restored(listing: Listing, what: bool | Sequence[Path | str]) -> Finding:
    """Bring back what a fix moved (all of it, or the files given), and say so."""
    back = restore(home_of(home(listing)), only=None if isinstance(what, bool) else what)
    renamed = [place for stored, place in back if place.name != stored.name]
    return Finding(
        "restored",
        "note",
        f"{number(len(back), 'file is', 'files are')} back from quarantine"
        + (f", {len(renamed)} under a new name because the place was taken." if renamed else ", each in its place."),
        "Build the dls again to train on them.",
        [place for _, place in back],
    )
