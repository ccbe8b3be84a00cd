"""`%check`: find what fastai lets pass in silence before a model is built on it, and mend what can be mended.

Every check is a small function from what is known (`Listing`, and `ImageFile` by file where pictures were opened)
to findings; they live in `checks`. The fast ones read names, labels and file sizes only; `%train` runs them each time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..errors import AnswerError, number
from ..progress import Progress, reporting
from .checks.copies import copy_checks
from .checks.files import broken, folders, left_out, missing_files, storage, too_large
from .checks.labels import batch_checks, counts_of, few_steps, label_checks, split_checks
from .checks.masks import mask_checks
from .checks.mending import home, moved_finding, rejects, restored, stale
from .checks.ratings import rating_checks
from .checks.series import series_checks
from .checks.sounds import sound_checks
from .checks.tables import table_checks
from .checks.texts import text_checks
from .checks.tracks import track_checks
from .folders import left_out_beside, no_images
from .image_files import ImageFile, read_images
from .listing import Listing, is_blank, list_folder, read_source
from .quarantine import quarantine
from .report import Finding, Report


def check(
    source: Any,
    *,
    fast: bool = False,
    fix: bool = False,
    undo: bool | Sequence[Path | str] = False,
    size: int | tuple[int, int] | None = None,
    bs: int | None = None,
    path: Path | str | None = None,
    progress: Progress | bool | None = None,
) -> Report:
    """Find what will go wrong in a set of pictures, and how to mend it.

    Args:
        source: a folder, a CSV file or DataFrame (of file names, texts, ratings, or rows that are learned from themselves),
            or fastai `DataLoaders` of any kind.
        fast: open no picture, but some 40 masks: names, labels, split and file sizes only. 100,000 items take about a second.
        fix: move broken files and spare copies of a photo to `.fastmagic/quarantine` beside the data. Nothing
            is deleted; copies whose labels contradict each other stay for a person to decide.
        undo: bring back what the last `fix` moved, and check nothing; also when the fix was given a folder above or
            below this one. A list of files brings back these alone.
        size: the model's input in px, one side or (height, width); a `DataLoaders` tells its own.
        bs: the batch size; a `DataLoaders` tells its own.
        path: the folder that the file names of a table are relative to; the CSV's own, else the current one.
        progress: `True` for a bar, or a function called with (photos read, photos in all) during a full check.

    Returns:
        A `Report`: prints as a few lines, shows the pictures in a notebook, `.ok` when nothing needs mending.

    Raises:
        FastmagicError: there is no such source, or files cannot be moved.

    Example:
        >>> report = check("bird_or_not")                       # doctest: +SKIP
        >>> report["duplicate"].groups[0]                       # doctest: +SKIP
        [Path('bird_or_not/bird/001.jpg'), Path('bird_or_not/bird/742.jpg')]
    """
    if fix and undo:
        raise AnswerError("`fix` and `undo` are opposites.", "Give one of them.")
    listing = read_source(source, path)
    if undo:
        finding = restored(listing, undo)
        listing = list_folder(home(listing)) if listing.kind == "folder" else listing  # with what is back
        return Report(_subject(listing), [finding], "", listing.root)
    return check_listing(listing, fast=fast, fix=fix, size=size, bs=bs, progress=progress)


def check_listing(
    listing: Listing,
    *,
    fast: bool = False,
    fix: bool = False,
    size: int | tuple[int, int] | None = None,
    bs: int | None = None,
    progress: Progress | bool | None = None,
) -> Report:
    """Check items that are listed already; see `check`."""
    photos = None
    if listing.are_images and not fast:
        with reporting(progress) as report:
            photos = read_images([path for path in listing.paths if path is not None], report)
    sizes = (_pair(size), bs)
    moved: dict[Path, Path] = {}
    if fix:
        moved = dict(quarantine(home(listing), list(rejects(listing, photos))))
    kept = listing.without(set(moved)) if moved else listing
    findings = list(_findings(kept, photos, *sizes, fast=fast))
    if fix:
        findings.append(moved_finding(listing, moved))
        if moved and listing.kind != "folder":
            findings.append(stale(listing, moved))
    scope = "fast checks" if photos is None and listing.are_images else ""
    return Report(_subject(kept), findings, scope, listing.root, moved)


def _findings(
    listing: Listing,
    photos: dict[Path, ImageFile] | None,
    size: tuple[int, int] | None,
    bs: int | None,
    *,
    fast: bool = False,
) -> Iterator[Finding]:
    if not len(listing):
        yield _no_items(listing)
        return
    yield from missing_files(listing)
    if listing.kind == "folder":
        yield from left_out(listing, listing.left_out)
        yield from folders(listing)
    elif listing.kind == "dls" and photos is not None:  # not before every training: that would be nagging
        yield from left_out(listing, left_out_beside(listing.paths))
    yield from label_checks(listing)
    yield from split_checks(listing)
    yield from batch_checks(listing, bs)
    if listing.kind == "dls" and photos is not None:  # %train says it of the training that it plans
        yield from few_steps(listing)
    yield from mask_checks(listing, photos is not None)
    yield from rating_checks(listing)
    yield from sound_checks(listing, not fast)
    if not fast:
        yield from series_checks(listing)
        yield from track_checks(listing)
    yield from text_checks(listing)
    yield from table_checks(listing, fast)
    if listing.are_images:
        yield from copy_checks(listing, photos)
    if photos is not None:
        photos = {path: photos[path] for path in listing.paths if path is not None}
        yield from broken(listing, photos)
        yield from storage(listing, photos)
        yield from too_large(listing, photos, size)


def _subject(listing: Listing) -> str:
    """Say in a few words what was looked at: "553 + 138 photos, 2 classes"."""
    what = "photo" if listing.are_images else listing.thing or "item"
    if what == "track" and listing.kind == "dls":
        what = "window"
    counts = [len(listing)]
    if listing.splits is not None:
        counts = [len(listing.where(split)) for split in ("train", "valid")]
    subject = f"{' + '.join(f'{n:,}' for n in counts)} {what}{'' if counts == [1] or what == 'series' else 's'}"
    if listing.labels is None:
        return subject
    n = len([label for label in counts_of(listing) if not is_blank(label)])
    several = f" (column {listing.label_column!r}, split at {listing.delimiter!r})" if listing.delimiter else ""
    return f"{subject}, {number(n, 'class', 'classes')}{several}"


def _no_items(listing: Listing) -> Finding:
    if listing.kind != "folder" or listing.root is None:
        return Finding("no-images", "error", "There is not one item.", "Look at what get_items returns.")
    cause, fix, files = no_images(listing.root, listing.left_out)
    return Finding("no-images", "error", cause, fix, files)


def _pair(size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    return (size, size) if isinstance(size, int) else size
