"""What a `DataLoaders` holds, to look at: items and classes per split, and a grid of its pictures."""

from __future__ import annotations

from collections import Counter
from typing import Any

from ..render import Picture, Shown, figure_png, html_table, new_figure, text_table
from .items import targets

MANY_CLASSES = 12


def summary(dls: Any) -> Shown:
    """Return a table of the splits: how many items, and how many of each class (the largest where there are many)."""
    counts = {name: Counter(_names(dl.dataset)) for name, dl in zip(("train", "valid"), dls.loaders, strict=False)}
    classes = sorted({c for counter in counts.values() for c in counter}, key=str)
    if len(classes) > MANY_CLASSES or not classes:
        header = ["split", "items", "classes"]
        rows = [[name, len(dl.dataset), len(counts[name])] for name, dl in zip(counts, dls.loaders, strict=False)]
    else:
        header = ["split", "items", *[str(c) for c in classes]]
        rows = [
            [name, len(dl.dataset), *[counts[name][c] for c in classes]]
            for name, dl in zip(counts, dls.loaders, strict=False)
        ]
    return Shown(html_table(header, rows), text_table(header, rows))


def _names(dataset: Any) -> list[str]:
    names: list[str] = []
    for target in targets(dataset):
        if isinstance(target, str):
            names.append(target)
        elif isinstance(target, (list, tuple)) or type(target).__name__ in ("L", "MultiCategory"):
            names += [str(t) for t in target]
    return names


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
