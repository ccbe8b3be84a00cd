"""What a `DataLoaders` holds, to look at: items and classes per split."""

from __future__ import annotations

from ..render import Shown, html_table, text_table
from .listing import Listing, count_labels

MANY_CLASSES = 12


def summary(listing: Listing) -> Shown:
    """Return a table of the splits: how many items, and how many of each class (the largest where there are many).

    Args:
        listing: of a `DataLoaders`, made once for all who ask.
    """
    splits = ("train", "valid")
    header, rows = ["split", "items"], [[split, len(listing.where(split))] for split in splits]
    if listing.labels is not None:
        counts = [count_labels([listing.labels[i] for i in listing.where(s)], listing.multi) for s in splits]
        classes = sorted(set().union(*counts), key=str)
        if len(classes) > MANY_CLASSES:
            header.append("classes")
            rows = [[*row, len(counter)] for row, counter in zip(rows, counts, strict=True)]
        else:
            header += [str(c) for c in classes]
            rows = [[*row, *[counter[c] for c in classes]] for row, counter in zip(rows, counts, strict=True)]
    return Shown(html_table(header, rows), text_table(header, rows))
