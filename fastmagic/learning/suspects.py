"""What of a data set deserves a look: queues of items, worst first, each with how it was found.

Found in what a model says of the items, in features (its own, or those of a pretrained network), and in what the scan
of the files measured. Nothing here opens a file.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data.image_files import MAX_BITS, MIN_SIDE, Groups, ImageFile, alike, are_near, signs
from ..data.listing import is_blank
from ..data.scan import quieten
from ..progress import Progress

if TYPE_CHECKING:
    from .embed import Backbone

FOLDS, COMPONENTS = 5, 128
# Of the backbone that comes with fastmagic. EfficientNet-Lite0 finds no more planted copies in three times the time, and takes
# shapes on noise for copies, which ours does not. Measured on 691 photos of web search: every pair of embeddings at 0.95 or
# more shows the same photo (saved again, cropped, mirrored), between 0.94 and 0.92 most do not. Where all pictures are alike
# (video), the bar is higher: a pair must be ten times as close as two pictures taken at random.
SIMILARITY, CLOSER = 0.95, 10
# Of that many items the nearest of all are looked for, beyond that the nearest of so many taken at random.
NEIGHBOURS = 20_000
MOST_ODD = 0.05
# Pairs with close hashes. Where there are more (scanned pages, say), hashes tell little, and confirming them would take hours.
MOST_CONFIRMED = 200_000

# cleanlab hands its arrays from one function to the next as globals.
_one_cleanlab = threading.Lock()


@dataclass(frozen=True, eq=False)
class Queue:
    """Items that deserve a look, worst first.

    Attributes:
        name: short, for programs: "loss", "label", "same", …
        title: short, for people.
        about: one sentence: how these were found, and in what.
        positions: int32, which items of the data set.
        scores: float32, what they are sorted by; `None` where nothing is measured.
        groups: int32, the group that each belongs to; `None` where they stand alone.
        why: of each, in a few words; `None` where there is nothing to add.
        keep: of each, whether it is the one of its group to keep; `None` where they stand alone.
    """

    name: str
    title: str
    about: str
    positions: Any
    scores: Any = None
    groups: Any = None
    why: list[str] | None = None
    keep: Any = None

    def __len__(self) -> int:
        return len(self.positions)


def _queue(
    name: str, title: str, about: str, positions: Any, scores: Any = None, why: list[str] | None = None, **more: Any
) -> Queue:
    import numpy as np

    if scores is not None:
        scores = np.asarray(scores, "f4")
    return Queue(name, title, about, np.asarray(positions, "i4").reshape(-1), scores, why=why, **more)


# ---------------------------------------------------------------- what a model says


def loss_queue(losses: Any) -> Queue:
    """Return all items whose loss is known, highest first.

    Args:
        losses: one a item, NaN where it is not known.
    """
    import numpy as np

    losses = np.asarray(losses, "f8").reshape(-1)
    known = np.flatnonzero(~np.isnan(losses))
    order = known[np.argsort(-losses[known], kind="stable")]
    return _queue("loss", "Highest loss", "The learner's own loss of each item, highest first.", order, losses[order])


def label_queue(labels: Any, probabilities: Any, vocab: Sequence[Any], how: str) -> Queue:
    """Return the items whose label is likely wrong, by confident learning (Northcutt et al. 2021, `cleanlab`).

    Of what cleanlab offers its default filter, sorted by the probability of the given label, had the best precision at
    the number of labels that were swapped in photos and in digits (benchmarks/bench_faults.py).

    Args:
        labels: encoded, -1 for none; with several labels an item, booleans, items × classes.
        probabilities: items × classes, by a model that has not seen the label; rows of NaN where not known.
        vocab: the names of the classes.
        how: where the probabilities come from, as in "out-of-fold probabilities of …".
    """
    import numpy as np

    labels, probabilities = np.asarray(labels), np.asarray(probabilities, "f4")
    title, about = "Likely mislabelled", f"Confident learning (cleanlab) over {how}, least likely label first."
    several = labels.ndim == 2
    if not len(labels) or probabilities.ndim != 2 or probabilities.shape[1] < (1 if several else 2):
        return _queue("label", title, about, [], [], [])
    known = np.isfinite(probabilities).all(axis=1)
    if not several:
        known &= labels >= 0
    rows = np.flatnonzero(known)
    found, scores = (_wrong_sets if several else _wrong)(labels[rows], probabilities[rows])
    positions = rows[found]
    names = [str(name) for name in vocab]
    if several:
        why = [_differences(labels[i], probabilities[i], names) for i in positions]
    else:
        best = [int(row.argmax()) for row in probabilities[positions]]
        why = [f"{names[c]}? {_share(probabilities[i, c])}" for i, c in zip(positions, best, strict=True)]
    return _queue("label", title, about, positions, scores, why)


def _wrong(labels: Any, probabilities: Any) -> tuple[Any, Any]:
    """Return which labels are likely wrong, worst first, with the probability of each."""
    import numpy as np

    nothing = np.zeros(0, dtype=int), np.zeros(0)
    if len(np.unique(labels)) < 2:
        return nothing
    from cleanlab.filter import find_label_issues

    # Classes without items have no threshold to be estimated; their share is left to the others.
    order = _by_cleanlab(
        find_label_issues, labels, _normalised(probabilities), return_indices_ranked_by="self_confidence", n_jobs=1
    )
    if order is None:
        return nothing
    order = np.asarray(order, dtype=int)
    order = order[probabilities[order].argmax(axis=1) != labels[order]]
    scores = probabilities[order, labels[order]]
    # cleanlab saw as equal what is next to nothing.
    by_score = np.argsort(scores, kind="stable")
    return order[by_score], scores[by_score]


def _wrong_sets(hot: Any, probabilities: Any) -> tuple[Any, Any]:
    """Return which items of several labels likely have one too many or too few, worst first, with cleanlab's score."""
    import numpy as np
    from cleanlab.multilabel_classification.filter import find_label_issues
    from cleanlab.multilabel_classification.rank import get_label_quality_scores

    given = [np.flatnonzero(row).tolist() for row in hot]
    probabilities = probabilities.clip(1e-6, 1 - 1e-6)
    wrong = _by_cleanlab(find_label_issues, given, probabilities, n_jobs=1)
    scores = _by_cleanlab(get_label_quality_scores, given, probabilities)
    if wrong is None or scores is None:
        return np.zeros(0, dtype=int), np.zeros(0)
    order = np.flatnonzero(wrong)
    order = order[np.argsort(scores[order], kind="stable")]
    return order, scores[order]


def _differences(given: Any, row: Any, names: list[str]) -> str:
    """Return the label that most likely is missing or too much: "bird? 0.97", "not bird? 0.98"."""
    import numpy as np

    surprise = np.where(given, 1 - row, row)
    c = int(surprise.argmax())
    return f"{'not ' if given[c] else ''}{names[c]}? {_share(surprise[c])}"


def _share(value: float) -> str:
    # 1.00 would claim what nothing here can know.
    return f"{min(value, 0.99):.2f}"


def _normalised(probabilities: Any) -> Any:
    import numpy as np

    positive = np.clip(probabilities, 1e-12, None)
    return positive / positive.sum(axis=1, keepdims=True)


def _by_cleanlab(work: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Return what a function of cleanlab's says; `None` where the data are too odd for it."""
    quieten("cleanlab")
    with _one_cleanlab:
        try:
            return work(*args, **options)
        except (ValueError, IndexError, ZeroDivisionError, AssertionError):
            return None


# ---------------------------------------------------------------- probabilities by a model that has not seen the label


def out_of_fold(
    vectors: Any,
    labels: Any,
    groups: Any = None,
    seed: int = 0,
    classes: int | None = None,
    progress: Progress | None = None,
) -> Any:
    """Return the probabilities of every class for every item, by a probe that has not seen the item or a copy of it.

    The probe is linear discriminant analysis with Ledoit-Wolf shrinkage, of at most 128 principal components, over
    features that were learned elsewhere. Beside multinomial logistic regression, measured on swapped labels of photos and
    digits, it finds as many or more, in a tenth of the time. On all features, without the components, it is as sure
    of what is wrong as of what is right.

    Args:
        vectors: items × numbers; rows of NaN for items without.
        labels: encoded, -1 for none; with several labels an item, booleans, items × classes.
        groups: items with the same number are copies and stay in one fold.
        seed: draws the folds.
        classes: how many there are; by default as many as occur.
        progress: called with (folds done, folds in all).

    Returns:
        float32, items × classes; a row of NaN where it cannot be known: no vector, or no other item of its class.
        Unlabelled items are told by a probe of all the others.
    """
    import numpy as np

    vectors, labels = np.asarray(vectors, "f4"), np.asarray(labels)
    several = labels.ndim == 2
    if classes is None:
        classes = labels.shape[1] if several else int(labels.max(initial=-1)) + 1
    told = np.full((len(labels), classes), np.nan, "f4")
    usable = np.isfinite(vectors).all(axis=1) if len(vectors) else np.zeros(0, bool)
    labelled = usable if several else usable & (labels >= 0)
    rows = np.flatnonzero(labelled)
    vectors = _components(vectors, usable)
    fold = np.full(len(labels), -1)
    fold[rows] = _folds(labels[rows], None if groups is None else np.asarray(groups)[rows], seed)
    for number in range(FOLDS + (not several)):
        inside = rows[fold[rows] != number]
        outside = rows[fold[rows] == number] if number < FOLDS else np.flatnonzero(usable & ~labelled)
        if len(outside) and len(inside):
            told[outside] = _probe(vectors[inside], labels[inside], vectors[outside], classes)
            if not several and number < FOLDS:
                # A class that is not among the others has no probability, be it the right one.
                told[outside[~np.isin(labels[outside], labels[inside])]] = np.nan
        if progress is not None:
            progress(number + 1, FOLDS + (not several))
    return told


def _components(vectors: Any, usable: Any) -> Any:
    """Return the principal components of vectors: at most one for four items, which is as many as a probe can weigh."""
    import numpy as np

    number = min(COMPONENTS, vectors.shape[1], max(2, int(usable.sum()) // 4))
    if usable.sum() < 2:
        return vectors
    centred = vectors - vectors[usable].mean(axis=0)
    _, axes = np.linalg.eigh(centred[usable].T @ centred[usable])
    return centred @ axes[:, -number:]


def _folds(labels: Any, groups: Any, seed: int) -> Any:
    """Return a fold for each item: groups stay whole, classes are dealt out evenly.

    scikit-learn's `StratifiedGroupKFold` does so with a loop over groups, minutes for 100,000.
    """
    import numpy as np

    if groups is None:
        groups = np.arange(len(labels))
    _, firsts, group = np.unique(groups, return_index=True, return_inverse=True)
    shuffled = np.random.default_rng(seed).permutation(len(firsts))
    if labels.ndim == 1:
        shuffled = shuffled[np.argsort(labels[firsts[shuffled]], kind="stable")]
    fold = np.empty(len(firsts), dtype=int)
    fold[shuffled] = np.arange(len(firsts)) % FOLDS
    return fold[group]


def _probe(known: Any, labels: Any, asked: Any, classes: int) -> Any:
    """Return the probabilities of what is asked about, items × classes, by a probe of what is known."""
    import numpy as np
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    quieten("sklearn")  # of classes with one item, and of features that are all the same

    def fitted(target: Any) -> Any:
        with np.errstate(all="ignore"):
            return LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(known, target).predict_proba(asked)

    told = np.zeros((len(asked), classes), "f4")
    columns = (
        [(np.unique(labels), labels)] if labels.ndim == 1 else [(np.array([c]), labels[:, c]) for c in range(classes)]
    )
    for present, target in columns:
        values = len(np.unique(target))
        if values == 1:
            told[:, present] = 1 if labels.ndim == 1 else target[0]
        elif len(target) <= values:  # nothing to tell what is usual within a class
            told[:, present] = np.nan
        else:
            told[:, present] = fitted(target)[:, -len(present) :]
    return told


# ---------------------------------------------------------------- pictures that show the same


def embedded(
    photos: Sequence[ImageFile | None], progress: Progress | None = None, backbone: Backbone | None = None
) -> Any:
    """Return the vectors of pictures (`fastmagic.embed`), float32, items × features; rows of NaN for what is no picture.

    Files whose content was embedded before are not read again. By default by the backbone that comes with fastmagic, whose
    vectors `same_queue` takes.
    """
    import numpy as np

    from .embed import OWN, embed, network_id, store

    backbone = backbone or OWN
    vectors = np.full((len(photos), backbone.features), np.nan, "f4")
    whole = [i for i, photo in enumerate(photos) if photo is not None and not photo.problem]
    network = network_id(backbone)
    keys = {i: photos[i].sha256 + network for i in whole}  # type: ignore[union-attr]
    with store() as disk:
        known = disk.read(list(keys.values()))
    missing = []
    for i, key in keys.items():
        if key in known:
            vectors[i] = known[key]
        else:
            missing.append(i)
    if missing:
        made = embed([photos[i].path for i in missing], progress, backbone)  # type: ignore[union-attr]
        failed = {path for path, _ in made.failed}
        vectors[[i for i in missing if photos[i].path not in failed]] = made.vectors  # type: ignore[union-attr]
    return vectors


def same_queue(
    photos: Sequence[ImageFile | None],
    thumbs: Callable[[Sequence[Path]], list[Any]],
    vectors: Any = None,
    splits: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Queue:
    """Return the groups of photos that show the same: exact copies, near copies, and mirrored or cropped ones.

    Groups with a photo in train and one in valid come first, then those of exact copies, of near ones, of the others.
    Where `progress` raises, the search ends.

    Args:
        photos: what the scan found in each file, `None` where it is not known.
        thumbs: gives the thumbnails that confirm a near copy (`Scan.thumbs`).
        vectors: of `embedded`, by the backbone that comes with fastmagic; without them mirrored and cropped copies are not found.
        splits: "train" or "valid" of each.
        progress: called with (steps done, steps in all).
    """
    import numpy as np

    search = _Copies(photos, thumbs, vectors, progress)
    groups = search.groups()
    about = "Files with the same bytes; near copies by perceptual hash, confirmed on thumbnails"
    about += f"; others by embeddings, cosine ≥ {search.least:.3g}." if search.vectors is not None else "."

    def sides(group: list[int]) -> set[str]:
        return {splits[i] for i in group} & {"train", "valid"} if splits is not None else set()

    def rank(group: list[int]) -> tuple[bool, int, int]:
        return len(sides(group)) < 2, min(search.relation[i] for i in group), group[0]

    positions: list[int] = []
    numbers: list[int] = []
    why: list[str] = []
    keep: list[bool] = []
    for number, group in enumerate(sorted(groups, key=rank)):
        straddles = ", in train and valid" if len(sides(group)) == 2 else ""
        kept = search.kept(group, splits)
        for i in sorted(group, key=lambda i: i not in kept):
            positions.append(i)
            numbers.append(number)
            why.append(_RELATIONS[search.relation[i]] + straddles)
            keep.append(i in kept)
    return _queue(
        "same",
        "The same photo",
        about,
        positions,
        why=why,
        groups=np.asarray(numbers, "i4"),
        keep=np.asarray(keep, bool),
    )


_RELATIONS = ("exact copy", "near copy", "mirrored or cropped")
_ALONE = len(_RELATIONS)


class _Copies:
    """The search for photos that show the same.

    Attributes:
        relation: of each photo, its closest relation to another: a position in `_RELATIONS`.
        vectors: of the photos that are large enough to be compared; `None` without.
        least: the least cosine similarity of a pair.
    """

    def __init__(self, photos: Sequence[ImageFile | None], thumbs: Any, vectors: Any, progress: Progress | None):
        import numpy as np

        self.photos, self._thumbs, self._progress = photos, thumbs, progress
        self.relation = [_ALONE] * len(photos)
        self._join = Groups(len(photos))
        self._cache: dict[int, Any] = {}
        whole = [(i, photo) for i, photo in enumerate(photos) if photo is not None and not photo.problem]
        by_content: dict[str, int] = {}
        firsts: list[int] = []
        for i, photo in whole:
            first = by_content.setdefault(photo.sha256, i)
            if first != i:
                self._joined(first, i, 0)
            elif min(photo.width, photo.height) >= MIN_SIDE:
                firsts.append(i)
        # Of exact copies one is compared, for all of them.
        self._firsts = np.array(firsts, dtype=int)
        self._place = {i: k for k, i in enumerate(firsts)}
        self._first = {i: by_content[photo.sha256] for i, photo in whole}
        self._signs = signs([photos[i] for i in firsts]) if firsts else np.zeros((0, 64), "f4")  # type: ignore[misc]
        self.vectors = None
        self.least = SIMILARITY
        if vectors is not None and firsts:
            chosen = np.asarray(vectors, "f4")[self._firsts]
            self.vectors = np.nan_to_num(chosen / np.linalg.norm(chosen, axis=1, keepdims=True).clip(1e-12))
            self.least = max(SIMILARITY, 1 - (1 - _usual_likeness(self.vectors)) / CLOSER)

    def groups(self) -> list[list[int]]:
        self._find_near()
        if self.vectors is not None:
            self._find_similar()
        return self._join.groups()

    def kept(self, group: list[int], splits: Sequence[str] | None) -> set[int]:
        """Return which of a group to keep: the one with most pixels, and what is no copy of one that is kept.

        Between equally large ones the smaller set keeps its photo, then the first by name decides.
        """
        photos: Any = self.photos

        def order(i: int) -> tuple[int, bool, str]:
            return -photos[i].pixels, splits is not None and splits[i] == "train", str(photos[i].path)

        kept: list[int] = []
        contents: set[int] = set()
        places: list[int] = []
        for i in sorted(group, key=order):
            first = self._first[i]
            if first not in contents and not self._is_near(self._place.get(first), places):
                kept.append(i)
                contents.add(first)
                places += [self._place[first]] if first in self._place else []
        return set(kept)

    def _is_near(self, place: int | None, others: list[int]) -> bool:
        """Tell whether a photo is a near, mirrored or cropped copy of one of others; all by their place in `_firsts`."""
        import numpy as np

        if place is None or not others:
            return False
        if self.vectors is not None and (self.vectors[others] @ self.vectors[place] >= self.least).any():
            return True
        close = np.array(others)[self._signs[others] @ self._signs[place] >= 64 - 2 * MAX_BITS]
        return bool(len(close)) and bool(self._confirmed(np.full(len(close), place), close).any())

    def _find_near(self) -> None:
        confirmed = 0
        for first, second, _ in alike(self._signs, 64 - 2 * MAX_BITS, self._part(0)):
            # Thousands of frames of one video: once joined, there is nothing more to confirm.
            while len(first) and confirmed < MOST_CONFIRMED:
                a, b = first[:2048], second[:2048]
                near = self._confirmed(a, b)
                self._join_all(a[near], b[near], 1)
                confirmed += len(a)
                first, second = self._apart(first[2048:], second[2048:])

    def _find_similar(self) -> None:
        for first, second, _ in alike(self.vectors, self.least, self._part(1)):
            self._join_all(first, second, 2)

    def _part(self, number: int) -> Progress | None:
        if self._progress is None:
            return None
        parts = 1 if self.vectors is None else 2
        progress = self._progress
        return lambda done, total: progress(number * total + done, parts * total)

    def _join_all(self, first: Any, second: Any, relation: int) -> None:
        if len(first) > 4096:  # a crowd: a pair a photo is enough to join it
            first, second = _spanning(first, second)
        for a, b in zip(self._firsts[first].tolist(), self._firsts[second].tolist(), strict=True):
            self._joined(a, b, relation)

    def _joined(self, a: int, b: int, relation: int) -> None:
        self._join(a, b)
        for i in (a, b):
            self.relation[i] = min(self.relation[i], relation)

    def _apart(self, first: Any, second: Any) -> tuple[Any, Any]:
        """Return the pairs that are not joined, be it by way of others."""
        import numpy as np

        items, places = np.unique(np.concatenate([first, second]), return_inverse=True)
        roots = np.array([self._join._root(i) for i in self._firsts[items].tolist()], dtype=int)[places]
        apart = roots[: len(first)] != roots[len(first) :]
        return first[apart], second[apart]

    def _confirmed(self, first: Any, second: Any) -> Any:
        """Tell of pairs whose hashes are close which are near copies, by their thumbnails."""
        import numpy as np

        wanted = dict.fromkeys(np.concatenate([first, second]).tolist())
        new = [k for k in wanted if k not in self._cache]
        if len(self._cache) + len(new) > 20_000:  # 3 KB each
            self._cache.clear()
            new = list(wanted)
        photos: Any = self.photos
        thumbs = self._thumbs([photos[self._firsts[k]].path for k in new])
        self._cache.update(zip(new, thumbs, strict=True))
        there = np.array([self._cache[a] is not None and self._cache[b] is not None for a, b in _pairs(first, second)])
        near = np.zeros(len(first), bool)
        if there.any():
            a, b = (np.stack([self._cache[int(k)] for k in side[there]]) for side in (first, second))
            near[there] = are_near(a, b)
        return near


def _pairs(first: Any, second: Any) -> Any:
    return zip(first.tolist(), second.tolist(), strict=True)


def _spanning(first: Any, second: Any) -> tuple[Any, Any]:
    """Return pairs that join what these many pairs join: each item with the first of its crowd."""
    import numpy as np
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    items, places = np.unique(np.concatenate([first, second]), return_inverse=True)
    edges = places[: len(first)], places[len(first) :]
    matrix = coo_matrix((np.ones(len(first), bool), edges), (len(items), len(items)))
    _, crowd = connected_components(matrix, directed=False)
    _, heads = np.unique(crowd, return_index=True)
    others = np.setdiff1d(np.arange(len(items)), heads)
    return items[heads[crowd[others]]], items[others]


def _usual_likeness(vectors: Any) -> float:
    """Return the median cosine similarity of two pictures taken at random."""
    import numpy as np

    random = np.random.default_rng(0)
    some = vectors[random.choice(len(vectors), min(1000, len(vectors)), replace=False)]
    if len(some) < 3:
        return 0.0
    return float(np.median((some @ some.T)[np.triu_indices(len(some), 1)]))


# ---------------------------------------------------------------- odd ones out


def odd_queue(features: Any, how: str, k: int = 10, progress: Progress | None = None) -> Queue:
    """Return the items farthest from their nearest neighbours (Ramaswamy et al. 2000), at most 5 % of all.

    Odd is a mean cosine distance to the `k` nearest above the median by three robust standard deviations or more. Among
    more than 20,000 items the neighbours are looked for in 20,000 of them, taken at random.

    Args:
        features: items × numbers; rows of NaN for items without.
        how: whose features these are, as in "the model's own features".
        k: how many neighbours.
        progress: called with (items done, items in all); where it raises, the search ends.
    """
    import numpy as np

    title = "Odd ones out"
    about = f"Mean distance to the {k} nearest neighbours in {how}, farthest first."
    features = np.asarray(features)
    rows = np.flatnonzero(np.isfinite(features).all(axis=1)) if features.ndim == 2 else np.zeros(0, int)
    if len(rows) < 2 * k:
        return _queue("odd", title, about, [], [])
    points = features[rows].astype("f4")
    points /= np.linalg.norm(points, axis=1, keepdims=True).clip(1e-12)
    distances = _neighbour_distances(points, k, progress)
    middle = np.median(distances)
    spread = 1.4826 * np.median(np.abs(distances - middle))
    odd = np.flatnonzero(distances > middle + 3 * max(spread, 1e-6))
    odd = odd[np.argsort(-distances[odd], kind="stable")][: int(MOST_ODD * len(rows))]
    return _queue("odd", title, about, rows[odd], distances[odd])


def _neighbour_distances(points: Any, k: int, progress: Progress | None) -> Any:
    import numpy as np
    import torch

    asked, number = points, np.arange(len(points))
    if len(points) > NEIGHBOURS:
        number = np.random.default_rng(0).choice(len(points), NEIGHBOURS, replace=False)
    place = np.full(len(points), -1)
    place[number] = np.arange(len(number))
    others = torch.from_numpy(np.ascontiguousarray(points[number].T))
    distances = np.empty(len(points), "f4")
    for start in range(0, len(points), 256):
        likeness = torch.from_numpy(asked[start : start + 256]) @ others
        own = place[start : start + 256]
        rows = np.flatnonzero(own >= 0)
        likeness[rows, own[rows]] = -1  # nobody is a neighbour of their own
        distances[start : start + 256] = 1 - likeness.topk(k, dim=1).values.mean(dim=1).numpy()
        if progress is not None:
            progress(min(start + 256, len(points)), len(points))
    return distances


# ---------------------------------------------------------------- quality


def quality_queues(photos: Sequence[ImageFile | None]) -> list[Queue]:
    """Return the queues of pictures that are too dark, blurred, tiny, of strange shape, or cannot be read.

    Each limit is a number beyond which a picture is of little use, or a share of what is usual in these data where that
    is less: of a set of night photos or of icons not all are faults.

    Args:
        photos: what the scan found in each file, `None` where it is not known.
    """
    import numpy as np

    whole = [(i, photo) for i, photo in enumerate(photos) if photo is not None and not photo.problem]
    place = np.array([i for i, _ in whole], dtype=int)

    def column(value: Callable[[ImageFile], float]) -> Any:
        return np.array([value(photo) for _, photo in whole], dtype="f8")

    def queue(name: str, title: str, about: str, chosen: Any, score: Any, why: Callable[[ImageFile], str]) -> Queue:
        order = np.flatnonzero(chosen)
        order = order[np.argsort(score[order], kind="stable")]
        return _queue(name, title, about, place[order], score[order], [why(whole[k][1]) for k in order])

    def usual(values: Any) -> float:
        return float(np.nanmedian(values)) if np.isfinite(values).any() else 0.0

    highlights, sharpness = column(lambda photo: photo.highlights), column(lambda photo: photo.sharpness)
    side = column(lambda photo: min(photo.width, photo.height))
    shape = np.log(column(lambda photo: photo.width / photo.height))
    # Not the mean: a bird before a black background is not too dark.
    least_light = min(80.0, usual(highlights) / 2)
    dark = highlights < least_light
    # Photos of 400 px blurred by 3 px are below 60, by 2 px two thirds of them; of 700 sharp ones two.
    least_sharp = min(60.0, usual(sharpness) / 5)
    # A model that looks at 192 px is shown more made-up pixels than real ones.
    least_side = min(96.0, usual(side) / 2)
    strange = (np.abs(shape) > np.log(3)) & (np.abs(shape - usual(shape)) > np.log(2))
    broken = [(i, photo) for i, photo in enumerate(photos) if photo is not None and photo.problem]
    return [
        queue(
            "dark",
            "Too dark",
            f"95 % of the pixels are darker than {least_light:.0f} of 255.",
            dark,
            highlights,
            lambda photo: f"brightness {photo.brightness:.0f} of 255",
        ),
        queue(
            "blurred",
            "Blurred",
            f"The variance of the Laplacian at 224 px is below {least_sharp:.0f}; {usual(sharpness):.0f} is usual here.",
            (sharpness < least_sharp) & ~dark,
            sharpness,
            lambda photo: f"sharpness {photo.sharpness:.0f}",
        ),
        queue(
            "tiny",
            "Tiny",
            f"The shorter side has fewer than {least_side:.0f} px.",
            side < least_side,
            side,
            lambda photo: f"{photo.width} × {photo.height} px",
        ),
        queue(
            "shape",
            "Strange shape",
            "Beyond 3 : 1, and twice as wide or tall as is usual here.",
            strange,
            -np.abs(shape - usual(shape)),
            lambda photo: f"{photo.width} × {photo.height} px",
        ),
        _queue(
            "unreadable",
            "Unreadable",
            "Files that do not open as a picture, or not to their end.",
            [i for i, _ in broken],
            why=[f"{photo.problem}: {photo.detail}" if photo.detail else photo.problem for _, photo in broken],
        ),
    ]


def unlabelled_queue(labels: Sequence[Any] | None) -> Queue:
    """Return the items without a label.

    Args:
        labels: as in `Listing.labels`; `None` where nothing is known about labels.
    """
    blank = [
        i
        for i, label in enumerate(labels or [])
        if (not len(label) if isinstance(label, (list, tuple)) else is_blank(label))
    ]
    return _queue("unlabelled", "Unlabelled", "Items without a label.", blank)
