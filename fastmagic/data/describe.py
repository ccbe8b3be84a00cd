"""What a `DataLoaders` holds, to look at: items and classes per split, and a grid of its pictures."""

from __future__ import annotations

from typing import Any

from ..render import Picture, Shown, figure_png, html_table, new_figure, text_table
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


def grid(dls: Any, n: int) -> Picture | None:
    """Return `n` items as the model will get them: fastai's `show_batch`, without touching any random state."""
    from fastai.torch_core import no_random

    n = min(n, dls.train.bs, len(dls.train.dataset))
    if n < 1 or len(dls.train) == 0:
        return None
    columns = min(n, 6)
    figure, axes = new_figure(-(-n // columns), columns)
    state = dls.train.rng.getstate()
    with no_random():
        dls.show_batch(max_n=n, ctxs=axes[:n])
    # show_batch moves the loader's own generator on; a training must not depend on who looked first.
    dls.train.rng.setstate(state)
    return Picture(figure_png(figure), f"[{n} pictures of the training set, with their labels]")
