"""`%check`: find what fastai lets pass in silence before a model is built on it, and mend what can be mended.

Every check is a small function from what is known (`Listing`, and `Photo` by file where pictures were opened)
to findings. The fast ones read names, labels and file sizes only; `%train` runs them each time.
"""

from __future__ import annotations

import glob
import math
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ..errors import FastmagicError, few
from .folders import left_out_beside, nearest_images
from .listing import Listing, count_labels, is_blank, list_folder, read_source
from .photos import Photo, is_copy, is_exact_copy, read_photos, same_photo, surplus
from .quarantine import HOME, home_of, quarantine, restore
from .report import Finding, Report

# Measured on 691 photos, resnet18 with random weights: 27 steps (9 an epoch) are no better than tossing a coin.
FEW_STEPS, FEW_STEPS_BS = 10, 8
# From here on one more or one fewer mistake moves error_rate by less than four points.
SMALL_VALID = 25
# The largest class over the smallest: who sees ten times as many birds mostly learns to say "bird".
IMBALANCE = 10
# A picture this many times the model's input on its shorter side: 9 of 10 decoded pixels are thrown away.
LARGE = 3
USUAL_SIZE = 224  # px, where nothing is known of the model: what most pretrained models were trained on
BROKEN = ("zero-byte", "unreadable", "truncated")
SNIFFED = 200  # files with a strange suffix whose first bytes are looked at


def check(
    source: Any,
    *,
    fast: bool = False,
    fix: bool = False,
    undo: bool | Sequence[Path | str] = False,
    size: int | tuple[int, int] | None = None,
    bs: int | None = None,
    path: Path | str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Find what will go wrong in a set of pictures, and how to mend it.

    Args:
        source: a folder, a CSV file or DataFrame with a column of file names, or fastai `DataLoaders` (of any
            kind; what is no picture gets the checks of labels and split).
        fast: open no picture: names, labels, split and file sizes only. 100,000 items take about a second.
        fix: move broken files and spare copies of a photo to `.fastmagic/quarantine` beside the data. Nothing
            is deleted; copies whose labels contradict each other stay for a person to decide.
        undo: bring back what the last `fix` moved, and check nothing; also when the fix was given a folder above or
            below this one. A list of files brings back these alone.
        size: the model's input in px, one side or (height, width); a `DataLoaders` tells its own.
        bs: the batch size; a `DataLoaders` tells its own.
        path: the folder that the file names of a table are relative to; the CSV's own, else the current one.
        progress: called with (photos read, photos in all) during a full check.

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
        raise FastmagicError("--fix and --undo are opposites.", "Give one of them.")
    listing = read_source(source, path)
    if undo:
        return _undo(listing, undo)
    return check_listing(listing, fast=fast, fix=fix, size=size, bs=bs, progress=progress)


def check_listing(
    listing: Listing,
    *,
    fast: bool = False,
    fix: bool = False,
    size: int | tuple[int, int] | None = None,
    bs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Check items that are listed already; see `check`."""
    photos = None
    if listing.pictures and not fast:
        photos = read_photos([path for path in listing.paths if path is not None], progress)
    sizes = (_pair(size), bs)
    moved: dict[Path, Path] = {}
    if fix:
        moved = dict(quarantine(_home(listing), list(_rejects(listing, photos))))
    kept = listing.without(set(moved)) if moved else listing
    findings = list(_findings(kept, photos, *sizes))
    if fix:
        findings.append(_moved(listing, moved))
        if moved and listing.kind != "folder":
            findings.append(_stale(listing, moved))
    scope = "fast checks" if photos is None and listing.pictures else ""
    return Report(_subject(kept), findings, scope, listing.root, moved)


def _findings(
    listing: Listing, photos: dict[Path, Photo] | None, size: tuple[int, int] | None, bs: int | None
) -> Iterator[Finding]:
    if not len(listing):
        yield _no_items(listing)
        return
    yield from _files(listing)
    if listing.kind == "folder":
        yield from _left_out(listing, listing.left_out)
    elif listing.kind == "dls" and photos is not None:  # not before every training: that would be nagging
        yield from _left_out(listing, left_out_beside(listing.paths))
    yield from _labels(listing)
    yield from _split(listing)
    yield from _batches(listing, bs)
    if listing.kind == "dls" and photos is not None:  # %train says it of the training that it plans
        yield from _few_steps(listing)
    if listing.pictures:
        yield from _copies(listing, photos)
    if photos is not None:
        photos = {path: photos[path] for path in listing.paths if path is not None}
        yield from _broken(photos)
        yield from _storage(listing, photos)
        yield from _large(listing, photos, size)


def _subject(listing: Listing) -> str:
    """Say in a few words what was looked at: "553 + 138 photos, 2 classes"."""
    what = "photo" if listing.pictures else "item"
    counts = [len(listing)]
    if listing.splits is not None:
        counts = [len(listing.where(split)) for split in ("train", "valid")]
    subject = f"{' + '.join(f'{n:,}' for n in counts)} {what}{'' if counts == [1] else 's'}"
    if listing.labels is None:
        return subject
    n = len([label for label in _counts(listing) if not is_blank(label)])
    several = f" (column {listing.label_column!r}, split at {listing.delimiter!r})" if listing.delimiter else ""
    return f"{subject}, {_number(n, 'class', 'classes')}{several}"


# Nothing there


def _no_items(listing: Listing) -> Finding:
    if listing.kind != "folder" or listing.root is None:
        return Finding("no-images", "error", "There is not one item.", "Look at what get_items returns.")
    folder = listing.root
    pictures = [file for file in listing.left_out[:SNIFFED] if _is_picture(file)]
    if pictures:
        return Finding(
            "no-images",
            "error",
            f"get_image_files finds no image in '{folder}', though "
            f"{_number(len(pictures), 'file is a picture', 'files are pictures')} under another suffix.",
            "Rename them to end in .jpg or .png.",
            list(pictures),
        )
    near = nearest_images(folder)
    message = f"There is no image in '{folder}' or below it"
    if near is None:
        return Finding("no-images", "error", f"{message}.", "Give the folder that holds your pictures.")
    place, n = near
    shown = os.path.relpath(place)
    shown = str(place) if shown.startswith(os.pardir) else shown
    return Finding(
        "no-images",
        "error",
        f"{message}; the nearest folder with some is '{shown}' ({_number(n, 'image')}).",
        f"Give '{shown}', or the folder above it.",
    )


def _files(listing: Listing) -> Iterator[Finding]:
    """Find rows without a file, files that are not there and empty files; one `stat` a file."""
    if not listing.pictures:
        return
    blank = [name for name, file in zip(listing.names, listing.paths, strict=True) if file is None]
    if blank:
        said = _number(len(blank), "row names no file", "rows name no file")
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
            fix = f"Say which folder the names are relative to (now '{listing.root}'): path=…"
        gone = list(dict.fromkeys(gone))
        said = _number(len(gone), "listed file does", "listed files do")
        yield Finding(
            "missing-file",
            "error",
            f"{said} not exist: training stops with FileNotFoundError.",
            fix or "Drop these rows, or build the DataLoaders again from the files that are there.",
            list(gone),
        )
    if empty:
        yield _broken_finding("zero-byte", list(dict.fromkeys(empty)), {})


def _found_elsewhere(file: Path) -> str:
    """Say where a missing file seems to be, when it lies one folder below or lacks its suffix only."""
    folder, name = file.parent, glob.escape(file.name)
    if not file.suffix and (found := sorted(folder.glob(f"{name}.*"))):
        return f"'{found[0].name}' does exist: give this name its suffix, too."
    if found := sorted(folder.glob(f"*/{name}")):
        return f"'{file.name}' does exist in '{found[0].parent}': give path='{found[0].parent}'."
    return ""


def _left_out(listing: Listing, others: list[Path]) -> Iterator[Finding]:
    files = [file for file in others[:SNIFFED] if _is_picture(file)]
    if files:
        suffixes = sorted({file.name[file.name.rfind(".") :] if "." in file.name else "none" for file in files})
        yield Finding(
            "left-out",
            # A stray download or two is worth knowing; one in twenty changes the data set.
            "warning" if len(files) > len(listing) / 20 else "note",
            f"{_number(len(files), 'picture is', 'pictures are')} left out in silence: get_image_files does "
            f"not take the suffix {few(map(repr, map(_short, suffixes)), 3)}.",
            "Rename them to end in .jpg (or whatever they are), or leave them out knowingly.",
            list(files),
            details={file: _format(file) for file in files},
        )


def _is_picture(file: Path) -> bool:
    return bool(_format(file))


def _format(file: Path) -> str:
    """Return the format Pillow sees in the first bytes of a file, "" where it sees none."""
    from PIL import Image

    try:
        with Image.open(file) as image:
            return image.format or ""
    except Exception:  # Pillow's plugins raise whatever their parser raised
        return ""


# Labels and split


def _clean(labels: Iterable[Any]) -> list[Hashable]:
    """Return labels with every kind of missing value as `None`, lists as tuples."""
    return [
        None if isinstance(label, float) and math.isnan(label) else tuple(label) if isinstance(label, list) else label
        for label in labels
    ]


def _counts(listing: Listing, split: str | None = None) -> Counter[Any]:
    """Count the items of each class, of one split or of all that are trained or validated on."""
    assert listing.labels is not None
    labels = _clean(listing.labels)
    if listing.splits is not None:
        wanted = ("train", "valid") if split is None else (split,)
        labels = [label for label, where in zip(labels, listing.splits, strict=True) if where in wanted]
    return count_labels(labels, listing.multi)


def _labels(listing: Listing) -> Iterator[Finding]:
    if listing.labels is None:
        if listing.kind == "table" and listing.label_column is None and len(listing.frame.columns) > 2:
            yield Finding(
                "no-label-column",
                "note",
                f"Labels were not checked: no column says that it holds them ({few(listing.frame.columns, 8)}).",
                "Call the column 'label', or check the DataLoaders that are made from the table.",
            )
        return
    counts = _counts(listing)
    total = sum(listing.splits.count(split) for split in ("train", "valid")) if listing.splits else len(listing)
    blank = [label for label in counts if is_blank(label)]
    if blank:
        items = [
            _item(listing, i)
            for i, label in enumerate(_clean(listing.labels))
            if (any(map(is_blank, label)) if isinstance(label, tuple) else is_blank(label))
        ]
        shown = few([repr(label) for label in blank])
        yield Finding(
            "blank-class",
            "error",
            f"{_number(len(items), 'item has', 'items have')} no label but {shown}: it becomes a class of "
            "its own, or training stops at it.",
            "Give them a label, or leave them out of get_items.",
            items,
        )
    named = {label: n for label, n in counts.items() if not is_blank(label)}
    if len(named) == 1 and not listing.multi:
        only = next(iter(named))
        how = f"all {total:,} pictures lie in the one class folder" if listing.kind == "folder" else "every item is"
        yield Finding(
            "one-class",
            "error",
            f"There is one class only: {how} '{only}', so there is nothing to tell apart.",
            "Add pictures of something else, or label them in another way (get_y).",
            [only],
        )
    elif not listing.multi and (len(named) == total > 1 or (total >= 10 and len(named) > total / 2)):
        example = next(iter(named))
        yield Finding(
            "class-per-item",
            "error",
            f"There are {len(named):,} classes for {total:,} items (such as '{example}'): almost every item "
            "is a class of its own.",
            "get_y returns something of each file alone, such as its name: use parent_label, or RegexLabeller.",
            list(named),
        )
    else:
        yield from _imbalance(named, total, listing.multi)
    if listing.kind == "folder":
        yield from _stray(listing)


def _imbalance(counts: dict[Any, int], total: int, multi: bool) -> Iterator[Finding]:
    if len(counts) < 2:
        return
    largest, smallest = max(counts, key=lambda k: counts[k]), min(counts, key=lambda k: counts[k])
    if counts[largest] < IMBALANCE * counts[smallest]:
        return
    rare = sorted((k for k in counts if counts[largest] >= IMBALANCE * counts[k]), key=lambda k: counts[k])
    share = counts[largest] / total
    baseline = "" if multi else f" Always answering '{largest}' would be right {share:.0%} of the time."
    yield Finding(
        "imbalance",
        "warning",
        f"The classes are far from balanced: {counts[largest]:,} of '{largest}', {counts[smallest]:,} of "
        f"'{smallest}'.{baseline}",
        "Gather more of the rare ones, or draw them more often (weighted_dataloaders); read the confusion "
        "matrix, not the accuracy.",
        rare,
        details={k: _number(counts[k], "item") for k in rare},
    )


def _stray(listing: Listing) -> Iterator[Finding]:
    """Find pictures beside the class folders: `parent_label` takes the name of the whole for their class."""
    if listing.splits is not None:
        outside = [path for path, split in zip(listing.paths, listing.splits, strict=True) if split == "other" and path]
        if outside:
            yield Finding(
                "stray",
                "warning",
                f"{_number(len(outside), 'picture lies', 'pictures lie')} in no class folder of a side of the split: "
                "GrandparentSplitter leaves them out.",
                "Move them into a class folder, or leave them out knowingly.",
                list(outside),
            )
        return
    loose = [path for path in listing.paths if path is not None and path.parent == listing.root]
    if loose and listing.root is not None:
        yield Finding(
            "stray",
            "warning",
            f"{_number(len(loose), 'picture lies', 'pictures lie')} beside the class folders: parent_label "
            f"makes '{listing.root.resolve().name}' their class.",
            "Move them into a class folder.",
            loose,
        )


def _split(listing: Listing) -> Iterator[Finding]:
    if listing.splits is None or (listing.kind == "folder" and "valid" not in listing.splits):
        return
    n_train, n_valid = len(listing.where("train")), len(listing.where("valid"))
    if not n_train:
        yield Finding(
            "empty-train",
            "error",
            "The training set is empty.",
            "Look at the splitter: it puts everything aside.",
        )
    if not n_valid:
        yield Finding(
            "empty-valid",
            "error",
            "The validation set is empty: nothing will tell whether the model learns or memorizes.",
            "Give the splitter a share, such as RandomSplitter(0.2, seed=42).",
        )
    elif n_valid < SMALL_VALID:
        weight = f"each mistake moves error_rate by {100 / n_valid:.0f} points"
        if listing.labels is None:
            weight = f"each one makes up {100 / n_valid:.0f}% of every metric"
        yield Finding(
            "tiny-valid",
            "warning",
            f"The validation set has {_number(n_valid, 'item')}: {weight}.",
            f"Set aside more (at least {SMALL_VALID}), or gather more pictures; do not compare runs by a point or two.",
        )
    if listing.labels is None or not n_train or not n_valid:
        return
    train, valid = _counts(listing, "train"), _counts(listing, "valid")
    unseen = sorted((label for label in valid if label not in train and not is_blank(label)), key=str)
    if unseen:
        yield Finding(
            "class-not-in-train",
            "error",
            f"{_number(len(unseen), 'class is', 'classes are')} in the validation set only "
            f"({few(map(repr, unseen))}): it cannot be learned, and fastai stops at its label.",
            "Split so that every class is trained on: another seed, TrainTestSplitter(stratify=…), or more pictures.",
            unseen,
        )
    untested = sorted((label for label in train if label not in valid and not is_blank(label)), key=str)
    if untested:
        yield Finding(
            "class-not-in-valid",
            "warning",
            f"{_number(len(untested), 'class is', 'classes are')} missing from the validation set "
            f"({few(map(repr, untested))}): how well it is told is never measured.",
            "Set aside more, or split each class alike: TrainTestSplitter(stratify=…).",
            untested,
        )


def _batches(listing: Listing, bs: int | None) -> Iterator[Finding]:
    n = len(listing.where("train")) if listing.splits is not None else len(listing)
    bs = bs or listing.bs
    none = listing.steps == 0 if listing.steps is not None else bs is not None and n < bs
    if none and n:
        yield Finding(
            "no-batch",
            "error",
            f"{_number(n, 'training item does', 'training items do')} not fill one batch of {bs}: fastai "
            "drops it and trains on nothing, without a word.",
            f"Take a smaller batch: bs={max(1, 2 ** int(math.log2(max(1, n // 4))))}.",
        )


def _few_steps(listing: Listing) -> Iterator[Finding]:
    """Say when the lesson's three epochs are too few steps to learn from."""
    n, steps, bs = len(listing.where("train")), listing.steps, listing.bs
    if not steps or not bs or bs <= FEW_STEPS_BS or steps >= FEW_STEPS:
        return
    smaller = next((b for b in (32, 16, 8) if b < bs and n // b >= FEW_STEPS), 8)
    hardly = 3 * steps < 8
    yield Finding(
        "few-steps",
        "warning" if hardly else "note",
        f"Batches of {bs} make {_number(steps, 'step', 'steps')} an epoch: in three epochs "
        + ("next to nothing is learned." if hardly else "pretrained weights adapt, random ones stay at chance."),
        f"Take smaller batches: bs={smaller}"
        + ("." if hardly else ", for a training from scratch (%train --no-pretrained does so by itself)."),
    )


# Files


def _broken(photos: dict[Path, Photo]) -> Iterator[Finding]:
    for problem in ("unreadable", "truncated"):
        bad = [photo for photo in photos.values() if photo.problem == problem]
        if bad:
            yield _broken_finding(problem, [photo.path for photo in bad], {photo.path: photo.detail for photo in bad})


def _broken_finding(problem: str, files: list[Path], details: dict[Any, str]) -> Finding:
    said = {
        "zero-byte": ("file is empty (0 bytes)", "files are empty (0 bytes)"),
        "unreadable": ("file is no picture", "files are no pictures"),
        "truncated": ("picture is cut off or damaged", "pictures are cut off or damaged"),
    }[problem]
    it = "it" if len(files) == 1 else "the first of them"
    return Finding(
        problem,
        "error",
        f"{_number(len(files), *said)}: training stops at {it}.",
        "Move to quarantine with %check --fix, or fetch again.",
        list(files),
        details=details,
    )


def _storage(listing: Listing, photos: dict[Path, Photo]) -> Iterator[Finding]:
    """Find pictures stored otherwise than the rest: suffix, frames, gray, alpha, CMYK, EXIF rotation."""
    whole = [photo for photo in photos.values() if not photo.problem]
    wrong = [photo for photo in whole if _wrong_suffix(photo)]
    if wrong:
        yield Finding(
            "wrong-suffix",
            "note",
            f"{_number(len(wrong), 'file is', 'files are')} of another format than the suffix says: fastai "
            "opens them all the same, other tools may not.",
            "Rename them if they are to leave fastai.",
            [photo.path for photo in wrong],
            details={photo.path: f"is {photo.format}" for photo in wrong},
        )
    kinds: list[tuple[str, str, list[Photo], tuple[str, str], str, str]] = [
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
            [p for p in whole if p.mode.startswith("I") or p.mode == "F"],
            ("picture has more than 8 bits a pixel", "pictures have more than 8 bits a pixel"),
            "converted to RGB all but the darkest values are cut to white",
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
                f"{_number(len(found), *said)}: {consequence}.{_in_one_class(listing, found)}",
                fix,
                [photo.path for photo in found],
                details={photo.path: photo.mode for photo in found} if kind != "animated" else {},
            )


def _in_one_class(listing: Listing, photos: list[Photo]) -> str:
    """Warn when pictures stored in a special way all bear one label: a model may learn that instead."""
    if listing.labels is None or listing.multi or len(photos) < 3:
        return ""
    label_of = dict(zip(listing.paths, _clean(listing.labels), strict=True))
    labels = {label_of[photo.path] for photo in photos}
    if len(labels) > 1 or len(set(label_of.values())) < 2:
        return ""
    return f" All are '{labels.pop()}': the model may learn this instead of the subject."


def _wrong_suffix(photo: Photo) -> bool:
    from PIL import Image

    declared = Image.registered_extensions().get(photo.path.suffix.lower())
    # A phone's MPO is a JPEG with a second picture behind it.
    return declared is not None and {"MPO": "JPEG"}.get(photo.format, photo.format) != {"MPO": "JPEG"}.get(
        declared, declared
    )


def _large(listing: Listing, photos: dict[Path, Photo], size: tuple[int, int] | None) -> Iterator[Finding]:
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
        f"{_number(len(large), 'photo is', 'photos are')} much larger than {known} of {side} px: every "
        f"epoch decodes {decoded / 1e6:,.0f} million pixels to use {needed / 1e6:,.0f}.",
        f"Make them smaller once: resize_images(path, max_size={2 * side}, dest=…), and train on those.",
        [photo.path for photo in large],
        details={photo.path: f"{photo.width}×{photo.height}" for photo in large},
    )


# The same photo twice


def _same(listing: Listing, photos: dict[Path, Photo] | None) -> list[list[int]]:
    """Group the items that show the same picture: by content where pictures were read, else by file name."""
    if photos is not None:
        return same_photo([photos[path] if path is not None else _NO_FILE for path in listing.paths])
    where: dict[str, list[int]] = defaultdict(list)
    for i, path in enumerate(listing.paths):
        if path is not None:
            where[str(path)].append(i)
    return [group for group in where.values() if len(group) > 1]


_NO_FILE = Photo(Path(), "missing")


def _copies(listing: Listing, photos: dict[Path, Photo] | None) -> Iterator[Finding]:
    groups = _same(listing, photos)
    if not groups:
        return
    yield from _conflicts(listing, groups)
    yield from _leaks(listing, groups)
    rows = groups if photos is None else _same(listing, None)
    if rows:
        extra = sum(len(group) - 1 for group in rows)
        yield _group_finding(
            listing,
            "listed-twice",
            "note",
            f"{_number(len(rows), 'file is', 'files are')} listed more than once ({_number(extra, 'spare row')}).",
            "Drop the spare rows, unless they are there to draw a rare class more often.",
            rows,
        )
    if photos is not None:
        yield from _spare_files(listing, photos, groups)


def _conflicts(listing: Listing, groups: list[list[int]]) -> Iterator[Finding]:
    if listing.labels is None:
        return
    labels = _clean(listing.labels)
    torn = [group for group in groups if len({labels[i] for i in group}) > 1]
    if torn:
        yield _group_finding(
            listing,
            "conflicting-labels",
            "error",
            f"{_number(len(torn), 'photo bears', 'photos bear')} two labels at once: copies of the same "
            "picture contradict each other.",
            "Decide which label is right and remove the other copy: --fix leaves these alone.",
            torn,
            [_label_text(label) for label in labels],
        )


def _leaks(listing: Listing, groups: list[list[int]]) -> Iterator[Finding]:
    if listing.splits is None:
        return
    splits = listing.splits
    across = [_one_of_each_side(group, splits) for group in groups]
    across = [group for group in across if len({splits[i] for i in group} - {"other"}) > 1]
    if not across:
        return
    leaked = sum(splits[i] == "valid" for group in across for i in group)
    share = (
        f" {leaked:,} of {len(listing.where('valid')):,} validation photos were seen in training, so "
        "error_rate looks better than it is."
    )
    one_file = all(len({listing.paths[i] for i in group}) == 1 for group in across)
    fix = "Drop the spare rows" if one_file else "Move the spare copies away with %check --fix"
    yield _group_finding(
        listing,
        "both-sides",
        "error",
        f"{_number(len(across), 'photo is', 'photos are')} on both sides of the split.{share if leaked else ''}",
        f"{fix} and build the DataLoaders again.",
        across,
        splits,
    )


def _spare_files(listing: Listing, photos: dict[Path, Photo], groups: list[list[int]]) -> Iterator[Finding]:
    exact: list[list[int]] = []
    near: list[list[int]] = []
    for group in groups:
        files = list({listing.paths[i]: i for i in group}.values())
        if len(files) > 1:
            contents = {_photo(listing, photos, i).sha256 for i in files}
            (exact if len(contents) == 1 else near).append(files)
    look = "Look at them, and remove those that are copies (without labels to compare, --fix leaves them)."
    move = "Keep one of each: %check --fix moves the others to quarantine."
    for kind, found, how, fix in (
        ("duplicate", exact, "exact copies", move),
        (
            "near-duplicate",
            near,
            "the same photo saved, resized or edited again",
            look if listing.labels is None else move,
        ),
    ):
        if found:
            extra = sum(len(group) - 1 for group in found)
            yield _group_finding(
                listing,
                kind,
                "warning",
                f"{_number(len(found), 'photo is', 'photos are')} there more than once "
                f"({_number(extra, 'spare file')}, {how}).{_would_leak(listing, found)}",
                fix,
                found,
            )


def _one_of_each_side(group: list[int], splits: list[str]) -> list[int]:
    """Put an item of each split first, so that the first few shown tell what is wrong."""
    firsts: dict[str, int] = {}
    for i in group:
        if splits[i] != "other":
            firsts.setdefault(splits[i], i)
    return [*firsts.values(), *(i for i in group if i not in firsts.values())]


def _would_leak(listing: Listing, groups: list[list[int]]) -> str:
    """Say how many of `groups` a random split of one in five would tear apart."""
    if listing.splits is not None:
        return ""
    expected = sum(1 - 0.8 ** len(group) - 0.2 ** len(group) for group in groups)
    return f" A random split of 20% puts about {expected:.0f} of them on both sides." if expected >= 1 else ""


def _group_finding(
    listing: Listing,
    kind: str,
    severity: str,
    message: str,
    fix: str,
    groups: list[list[int]],
    details: Sequence[str] = (),
) -> Finding:
    """Make a finding of groups of positions; `details` says a word on every item of the listing."""
    named = [list(dict.fromkeys(_item(listing, i) for i in group)) for group in groups]
    said: dict[Any, list[str]] = defaultdict(list)
    for i in (i for group in groups for i in group if details):
        if details[i] not in said[_item(listing, i)]:
            said[_item(listing, i)].append(details[i])
    items = [item for group in named for item in group]
    return Finding(kind, severity, message, fix, items, named, {k: " and ".join(v) for k, v in said.items()})


def _label_text(label: Any) -> str:
    return " + ".join(map(str, label)) if isinstance(label, tuple) else str(label)


# Mending


def _rejects(listing: Listing, photos: dict[Path, Photo] | None) -> Iterator[tuple[Path, str]]:
    """Yield the files to move to quarantine and why: broken ones, and copies of which another one is kept."""
    if photos is None:
        for finding in _files(listing):
            if finding.kind == "zero-byte":
                yield from ((file, finding.kind) for file in finding.items)
        return
    for photo in photos.values():
        if photo.problem in BROKEN:
            yield photo.path, photo.problem
    labels = _clean(listing.labels) if listing.labels is not None else [None] * len(listing)
    splits = listing.splits or [""] * len(listing)
    # Near copies may have targets of their own (masks, points) where there are no labels to compare.
    same = is_copy if listing.labels is not None else is_exact_copy
    for group in _same(listing, photos):
        if len({labels[i] for i in group}) > 1:
            continue  # which label is right, a person has to say
        paths = [path for path in (listing.paths[i] for i in group) if path is not None]
        if any(path.is_symlink() for path in paths):
            continue  # moving what a link points to would break the link
        files = {path.resolve(): path for path in paths}  # one file that is listed twice is one file
        side = {listing.paths[i]: splits[i] for i in group}

        def prefer(photo: Photo, side: dict[Any, str] = side) -> tuple[bool, str]:
            # The smaller set keeps its copy; then the first by name.
            return side[photo.path] == "train", str(photo.path)

        for copy, kept in surplus([photos[path] for path in files.values()], prefer, same):
            yield copy.path, f"copy of {kept.path.name}"


def _home(listing: Listing) -> Path:
    if listing.root is None:
        raise FastmagicError(
            "The files share no folder, so there is no place for a quarantine.",
            "Check their folders one by one.",
        )
    return listing.root


def _moved(listing: Listing, moved: dict[Path, Path]) -> Finding:
    if not moved:
        return Finding("moved", "note", "There was no file to move to quarantine.")
    return Finding(
        "moved",
        "note",
        f"{_number(len(moved), 'file was', 'files were')} moved to '{_home(listing) / HOME}'; none was deleted.",
        "%check --undo brings them back.",
        list(moved),
    )


def _stale(listing: Listing, moved: dict[Path, Path]) -> Finding:
    if listing.kind == "dls":
        message = "The DataLoaders still list the files that were moved, and stop at them."
        fix = "Build the dls again (and drop the moved rows if it is built from a table)."
    else:
        message = "The table still lists the files that were moved."
        fix = "Drop those rows, then build the dls again."
    return Finding("stale", "error", message, fix, list(moved))


def _undo(listing: Listing, what: bool | Sequence[Path | str]) -> Report:
    back = restore(home_of(_home(listing)), only=None if isinstance(what, bool) else what)
    renamed = [place for stored, place in back if place.name != stored.name]
    finding = Finding(
        "restored",
        "note",
        f"{_number(len(back), 'file is', 'files are')} back from quarantine"
        + (f", {len(renamed)} under a new name because the place was taken." if renamed else ", each in its place."),
        "Build the dls again to train on them.",
        [place for _, place in back],
    )
    listing = list_folder(_home(listing)) if listing.kind == "folder" else listing  # with what is back
    return Report(_subject(listing), [finding], "", listing.root)


# Words


def _item(listing: Listing, i: int) -> Any:
    path = listing.paths[i]
    return listing.names[i] if path is None else path


def _photo(listing: Listing, photos: dict[Path, Photo], i: int) -> Photo:
    path = listing.paths[i]
    return _NO_FILE if path is None else photos[path]


def _pair(size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    return (size, size) if isinstance(size, int) else size


def _number(n: int, one: str, many: str = "") -> str:
    """Return a count with its noun in the right number: "1 file is", "1,200 files are"."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def _short(text: str) -> str:
    return text if len(text) <= 16 else f"{text[:14]}…"
