"""What a confusion view computes beside the counts: classes in order of likeness, and what a retrain has changed."""

from __future__ import annotations

import re
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

ORDERS = ("vocab", "name", "confusion")


def orders(vocab: Sequence[Any], matrix: Any) -> dict[str, list[int]]:
    """Return the positions of the classes in each of `ORDERS`: as given, by name, and similar ones side by side.

    Args:
        matrix: classes × classes counts.
    """
    return {
        "vocab": list(range(len(vocab))),
        "name": sorted(range(len(vocab)), key=lambda i: _natural(str(vocab[i]))),
        "confusion": similar(matrix),
    }


def similar(matrix: Any) -> list[int]:
    """Return an order of classes in which those taken for each other are neighbours; the others follow as given.

    Average linkage of the shares confused either way, leaves in the order that brings neighbours closest
    (Bar-Joseph et al. 2001, https://doi.org/10.1093/bioinformatics/17.suppl_1.S22).

    >>> similar([[5, 0, 3], [0, 8, 0], [2, 0, 6]])
    [0, 2, 1]
    """
    import numpy as np
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    counts = np.asarray(matrix, dtype=float)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    likeness = shares + shares.T
    np.fill_diagonal(likeness, 0)
    confused = np.flatnonzero(likeness.any(1))
    rest = [int(i) for i in np.flatnonzero(~likeness.any(1))]
    if len(confused) < 3:
        return [int(i) for i in confused] + rest
    likeness = likeness[np.ix_(confused, confused)]
    distance = 1 - likeness / likeness.max()
    np.fill_diagonal(distance, 0)
    # Finding the best order of leaves takes the cube of their number: 0.1 s for 200, minutes for thousands.
    tree = linkage(squareform(distance, checks=False), "average", optimal_ordering=len(confused) <= 500)
    return [int(i) for i in confused[leaves_list(tree)]] + rest


def rates(matrix: Any) -> Any:
    """Return precision, recall, F1, IoU and support of each class of a square matrix of counts; NaN where unknown."""
    import numpy as np

    counts = np.asarray(matrix, dtype=float)
    hits, support, given = counts.diagonal(), counts.sum(1), counts.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.stack(
            [hits / given, hits / support, 2 * hits / (given + support), hits / (given + support - hits), support], 1
        )


@dataclass
class Snapshot:
    """What a later view compares itself with: counts, and what became of each item; neither learner nor pictures.

    Attributes:
        outcomes: (label, prediction) by item key; empty for masks.
    """

    kind: str
    split: str
    vocab: list[Any]
    matrix: Any
    outcomes: dict[Any, tuple[Any, Any]]
    made: datetime = field(default_factory=datetime.now)
    learner: int = 0
    source: Any = None  # a weak reference to the results it was taken of

    @classmethod
    def of(cls, results: Any, learner: Any = None) -> Snapshot:
        """Take one of `Results` or `MaskResults`."""
        matrix = None if results.kind == "numbers" else results.confusion_matrix()
        outcomes: dict[Any, tuple[Any, Any]] = {}
        if results.kind != "pixels":
            outcomes = dict(zip(keys(results), zip(results.targets, results.predictions, strict=True), strict=True))
        vocab = list(results.vocab)
        return cls(
            results.kind, results.split, vocab, matrix, outcomes,
            learner=id(learner) if learner is not None else 0, source=weakref.ref(results),
        )  # fmt: skip


# The last views of this session, newest last, so that after a retrain the matrix before it is at hand.
_seen: list[Snapshot] = []


def seen_before(now: Snapshot) -> Snapshot | None:
    """Remember a snapshot, and return the last one before it that it can be compared with: same classes, same items.

    Looking twice at the same results changes nothing: what was before them stays.
    """
    results = now.source()
    others = [s for s in _seen if s.source is None or s.source() is not results]
    _seen[:] = [*others[-7:], now]
    for other in reversed(others):
        if other.kind == now.kind and other.split == now.split and other.vocab == now.vocab:
            common = len(other.outcomes.keys() & now.outcomes.keys())
            same = common * 2 >= max(len(now.outcomes), 1) if now.kind != "pixels" else other.learner == now.learner
            if same:
                return other
    return None


def keys(results: Any) -> list[Any]:
    """Return what tells each item again in a later pass: its file, its row, or else its place."""
    return [
        str(item) if isinstance(item, (str, Path)) else ("row", item.name) if hasattr(item, "iloc") else ("place", i)
        for i, item in enumerate(results.items)
    ]


def _natural(name: str) -> list[Any]:
    """Return a sorting key in which 'a2' comes before 'a10'."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part.casefold()) for part in re.split(r"(\d+)", name)]


def confusion_code(kind: str, learn_expr: str = "learn", split: str = "valid", normalize: str | None = None) -> str:
    """Return the plain fastai program that a confusion view stands for.

    >>> print(confusion_code("class"))
    from fastai.vision.all import *
    <BLANKLINE>
    interp = ClassificationInterpretation.from_learner(learn)
    interp.plot_confusion_matrix()
    """
    learn = learn_expr if learn_expr.isidentifier() else "learn"
    metrics = ["import sklearn.metrics as skm"] if kind in ("classes", "pixels") else []
    lines = [
        "from fastai.vision.all import *",
        *metrics,
        "",
        *([] if learn == learn_expr else [f"learn = {learn_expr}"]),
    ]
    part = "" if split == "valid" else ", ds_idx=0"
    if kind == "class":
        how = "normalize=True" if normalize == "actual" else ""
        lines += [f"interp = ClassificationInterpretation.from_learner({learn}{part})"]
        lines += [f"interp.plot_confusion_matrix({how})"]
    elif kind == "pixels":
        # fastai's own interpretation keeps every output; counts of one batch after another need no memory.
        lines += [
            f"dl = {learn}.dls.test_dl({learn}.dls.{split}_ds.items, with_labels=True)",
            "matrix = 0",
            f"{learn}.model.eval()",
            "for images, masks in dl:",
            "    with torch.no_grad():",
            f"        scores = {learn}.model(images)",
            "    matrix = matrix + skm.confusion_matrix(",
            "        masks.flatten().cpu(), scores.argmax(1).flatten().cpu(), labels=range(scores.shape[1])",
            "    )",
            "print(matrix)",
        ]
    else:
        lines += [f"dl = {learn}.dls.test_dl({learn}.dls.{split}_ds.items, with_labels=True)"]
        lines += [f"outputs, targets = {learn}.get_preds(dl=dl)"]
        if kind == "classes":
            lines += [
                f"predicted = outputs > getattr({learn}.loss_func, 'thresh', 0.5)",
                "print(skm.multilabel_confusion_matrix(targets, predicted))",
            ]
        else:
            lines += ["plt.scatter(targets, outputs, s=4)", "plt.xlabel('actual')", "plt.ylabel('predicted')"]
    return "\n".join(lines)
