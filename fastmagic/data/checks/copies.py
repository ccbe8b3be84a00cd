"""Checks for the same photo twice: contradicting labels, both sides of the split, spare files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ...errors import number
from ..image_files import ImageFile, same_image
from ..listing import Listing
from ..report import Finding
from .labels import clean


def same_items(listing: Listing, photos: dict[Path, ImageFile] | None) -> list[list[int]]:
    """Group the items that show the same picture: by content where pictures were read, else by file name."""
    if photos is not None:
        return same_image([photos[path] if path is not None else NO_FILE for path in listing.paths])
    where: dict[str, list[int]] = defaultdict(list)
    for i, path in enumerate(listing.paths):
        if path is not None:
            where[str(path)].append(i)
    return [group for group in where.values() if len(group) > 1]


NO_FILE = ImageFile(Path(), "missing")


def copy_checks(listing: Listing, photos: dict[Path, ImageFile] | None) -> Iterator[Finding]:
    groups = same_items(listing, photos)
    if not groups:
        return
    yield from _conflicts(listing, groups)
    yield from _leaks(listing, groups)
    rows = groups if photos is None else same_items(listing, None)
    if rows:
        extra = sum(len(group) - 1 for group in rows)
        yield _group_finding(
            listing,
            "listed-twice",
            "note",
            f"{number(len(rows), 'file is', 'files are')} listed more than once ({number(extra, 'spare row')}).",
            "Drop the spare rows, unless they are there to draw a rare class more often.",
            rows,
        )
    if photos is not None:
        yield from _spare_files(listing, photos, groups)


def _conflicts(listing: Listing, groups: list[list[int]]) -> Iterator[Finding]:
    if listing.labels is None:
        return
    labels = clean(listing.labels)
    torn = [group for group in groups if len({labels[i] for i in group}) > 1]
    if torn:
        yield _group_finding(
            listing,
            "conflicting-labels",
            "error",
            f"{number(len(torn), 'photo bears', 'photos bear')} two labels at once: copies of the same "
            "picture contradict each other.",
            f"Decide which label is right and remove the other copy: {listing.check_with('fix')} leaves these alone.",
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
    trained = [group for group in across if any(splits[i] == "train" for i in group)]
    leaked = sum(splits[i] == "valid" for group in trained for i in group)
    where = "both sides of the split" if trained else "the validation side and in the test set"
    share = (
        f" {leaked:,} of {len(listing.where('valid')):,} validation photos were seen in training, so "
        "error_rate looks better than it is."
    )
    one_file = all(len({listing.paths[i] for i in group}) == 1 for group in across)
    fix = "Drop the spare rows" if one_file else f"Move the spare copies away with {listing.check_with('fix')}"
    yield _group_finding(
        listing,
        "both-sides",
        "error",
        f"{number(len(across), 'photo is', 'photos are')} on {where}.{share if leaked else ''}",
        f"{fix} and build the DataLoaders again.",
        across,
        splits,
    )


def _spare_files(listing: Listing, photos: dict[Path, ImageFile], groups: list[list[int]]) -> Iterator[Finding]:
    exact: list[list[int]] = []
    near: list[list[int]] = []
    for group in groups:
        files = list({listing.paths[i]: i for i in group}.values())
        if len(files) > 1:
            contents = {_image(listing, photos, i).sha256 for i in files}
            (exact if len(contents) == 1 else near).append(files)
    look = "Look at them, and remove those that are copies (without labels to compare, `fix` leaves them)."
    move = f"Keep one of each: {listing.check_with('fix')} moves the others to quarantine."
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
                f"{number(len(found), 'photo is', 'photos are')} there more than once "
                f"({number(extra, 'spare file')}, {how}).{_would_leak(listing, found)}",
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
    named = [list(dict.fromkeys(listing.item(i) for i in group)) for group in groups]
    said: dict[Any, list[str]] = defaultdict(list)
    for i in (i for group in groups for i in group if details):
        if details[i] not in said[listing.item(i)]:
            said[listing.item(i)].append(details[i])
    items = [item for group in named for item in group]
    return Finding(kind, severity, message, fix, items, named, {k: " and ".join(v) for k, v in said.items()})


def _label_text(label: Any) -> str:
    return " + ".join(map(str, label)) if isinstance(label, tuple) else str(label)


def _image(listing: Listing, photos: dict[Path, ImageFile], i: int) -> ImageFile:
    path = listing.paths[i]
    return NO_FILE if path is None else photos[path]
