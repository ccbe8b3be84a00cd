"""Checks of ratings: of whom and what nothing is learned, what was rated twice, numbers that are no ratings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...errors import few, number
from ..listing import Listing
from ..report import Finding

SENTINEL = 2  # a value this many times the span of all others away from them is a code, not a rating
ZEROS = 0.4  # of the ratings; then 0 seldom means "the worst"


def rating_checks(listing: Listing) -> Iterator[Finding]:
    frame = listing.ratings
    if frame is None or not len(frame):
        return
    user, item, rating = frame.columns[:3]
    for column in (user, item):
        kinds = {type(value).__name__ for value in frame[column]} if frame[column].dtype.kind == "O" else set()
        both = set(map(str, frame[column].unique()))
        if len(kinds) > 1 and len(both) < frame[column].nunique():
            yield Finding(
                "two-spellings",
                "error",
                f"Column {column!r} holds the same names as text and as numbers: each is learned apart.",
                f"Make text of all: df[{column!r}] = df[{column!r}].astype(str)",
            )
    yield from _unseen(listing, frame, user, item)
    twice = frame.duplicated([user, item], keep=False)
    if twice.any():
        pairs = int((twice & ~frame.duplicated([user, item])).sum())
        apart = (
            frame[twice].assign(split=[listing.splits[i] for i in twice.to_numpy().nonzero()[0]])
            if listing.splits
            else None
        )
        leak = apart is not None and int((apart.groupby([user, item])["split"].nunique() > 1).sum())
        on_both = f", {leak:,} of them on both sides of the split" if leak else ""
        yield Finding(
            "rated-twice",
            "warning" if leak else "note",
            f"{number(pairs, 'item was', 'items were')} rated more than once by the same user{on_both}.",
            f"Keep the last: df = df.drop_duplicates([{user!r}, {item!r}], keep='last')",
        )
    yield from _codes(frame, rating)


def _unseen(listing: Listing, frame: Any, user: Any, item: Any) -> Iterator[Finding]:
    train, valid = listing.where("train"), listing.where("valid")
    if not train or not valid:
        return
    for column in (user, item):
        learned = set(frame[column].iloc[train])
        only = [value for value in frame[column].iloc[valid] if value not in learned]
        if only:
            names = list(dict.fromkeys(only))
            yield Finding(
                f"unseen-{'user' if column == user else 'item'}",
                "note" if len(only) < len(valid) / 20 else "warning",
                f"{number(len(only), 'validation rating is', 'validation ratings are')} of {number(len(names), f'{column} value')} that "
                f"the training set has not ({few(map(repr, names), 3)}): the model answers as to any it does not know.",
                f"More ratings of each, or leave out what is rated once: df[df.groupby({column!r})[{column!r}].transform('size') > 1]",
                names,
            )


def _codes(frame: Any, rating: Any) -> Iterator[Finding]:
    values = sorted(float(value) for value in frame[rating].unique())
    for value, nearest, others in ((values[-1], values[-2:-1], values[:-1]), (values[0], values[1:2], values[1:])):
        span = others[-1] - others[0] if others else 0
        if nearest and span > 0 and abs(value - nearest[0]) > SENTINEL * span:
            count = int((frame[rating] == value).sum())
            yield Finding(
                "no-rating",
                "warning",
                f"{number(count, 'rating')} of {value:g} {'lies' if count == 1 else 'lie'} far from all others ({others[0]:g} to "
                f"{others[-1]:g}): often a code for 'not rated', and the range of the answers stretches to it.",
                f"Leave them out: df = df[df[{rating!r}] != {value:g}]",
            )
    zeros = float((frame[rating] == 0).mean())
    if values[0] == 0 and zeros > ZEROS:
        yield Finding(
            "no-rating",
            "warning",
            f"{zeros:.0%} of the ratings are 0, which often means 'read or bought, not rated'.",
            f"If so, leave them out: df = df[df[{rating!r}] > 0]",
        )
