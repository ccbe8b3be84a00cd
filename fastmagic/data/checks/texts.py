"""Checks of texts: empty ones, the same text twice or on both sides of the split, texts cut or too long."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from ...errors import few, number
from ..listing import Listing, is_blank
from ..report import Finding

TOO_LONG = 1_000_000  # letters: spaCy reads no more at once
LONG = 72 * 20  # words, of which fastai's classifier looks at the last ones alone
ONE_WORD = 200  # letters without a blank are no word


def text_checks(listing: Listing) -> Iterator[Finding]:
    """Find what is wrong with texts."""
    if listing.texts is None:
        return
    texts = [" ".join(text.split()) if isinstance(text, str) else "" for text in listing.texts]
    labels = listing.labels or [None] * len(listing)
    empty = {listing.item(i): "" for i, text in enumerate(texts) if not text}
    if empty:
        yield Finding(
            "empty-text", "error", f"{number(len(empty), 'row has', 'rows have')} no text.", "Leave them out: `datablock` says how.",
            list(empty),
        )  # fmt: skip
    yield from _copies(listing, texts, labels)
    endless = {
        listing.item(i): f"{len(word):,} letters"
        for i, text in enumerate(texts)
        if len(word := max(text.split(" "), key=len)) > ONE_WORD
    }
    if endless:
        yield Finding(
            "endless-word", "warning", f"{number(len(endless), 'text holds', 'texts hold')} a word of more than {ONE_WORD} letters.",
            "An address or an encoded file, it may be: take it out.", list(endless), details=endless,
        )  # fmt: skip
    large = {listing.item(i): f"{len(text):,} letters" for i, text in enumerate(texts) if len(text) > TOO_LONG}
    if large:
        yield Finding(
            "too-long", "error", f"{number(len(large), 'text has', 'texts have')} more than {TOO_LONG:,} letters, which spaCy does not read.",
            "Cut them into parts.", list(large), details=large,
        )  # fmt: skip
    long = sum(text.count(" ") >= LONG for text in texts)
    if long:
        yield Finding(
            "long-text", "note", f"{number(long, 'text has', 'texts have')} more than {LONG:,} words.",
            f"fastai's classifier remembers the last {LONG:,} of each (max_len).",
        )  # fmt: skip


def _copies(listing: Listing, texts: list[str], labels: list[Any]) -> Iterator[Finding]:
    places: dict[str, list[int]] = defaultdict(list)
    for i, text in enumerate(texts):
        if text:
            places[text.casefold()].append(i)
    twice = [found for found in places.values() if len(found) > 1]
    if not twice:
        return
    apart = [f for f in twice if len({str(labels[i]) for i in f if not is_blank(labels[i])}) > 1]
    if apart:
        yield Finding(
            "contradicting-texts", "warning", f"{number(len(apart), 'text stands', 'texts stand')} there with different labels.",
            "Look which one is right.", [listing.item(i) for found in apart for i in found],
            details={listing.item(i): f"{texts[i][:60]!r}: {labels[i]}" for found in apart for i in found},
        )  # fmt: skip
    splits, column = listing.splits, listing.text_column
    keep = f"Keep the first: df = df.drop_duplicates({column!r})" if column is not None else "Keep one of each."
    both = [f for f in twice if splits is not None and len({splits[i] for i in f}) > 1]
    if both:
        yield Finding(
            "text-on-both-sides", "warning",
            f"{number(len(both), 'text is', 'texts are')} both trained and validated on: the figure is too good.",
            keep, [listing.item(f[0]) for f in both],
            details={listing.item(f[0]): few([repr(texts[f[0]][:60])], 1) for f in both},
        )  # fmt: skip
    spare = sum(len(found) - 1 for found in twice)
    if not both:
        yield Finding(
            "same-text", "note", f"{number(spare, 'text is', 'texts are')} the same as another one.",
            keep, [listing.item(found[0]) for found in twice],
        )  # fmt: skip
