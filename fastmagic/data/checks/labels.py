"""Checks of labels, split and batches: what makes a training fail, or its result wrong, without a word."""

from __future__ import annotations

import math
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator
from typing import Any

from ...errors import few, number
from ..listing import Listing, count_labels, is_blank
from ..report import Finding

# Measured on 691 photos, resnet18 with random weights: 27 steps (9 an epoch) are no better than tossing a coin.
FEW_STEPS, FEW_STEPS_BS = 10, 8
# From here on one more or one fewer mistake moves error_rate by less than four points.
SMALL_VALID = 25
# The largest class over the smallest: who sees ten times as many birds mostly learns to say "bird".
IMBALANCE = 10


def clean(labels: Iterable[Any]) -> list[Hashable]:
    """Return labels with every kind of missing value as `None`, lists as tuples."""
    return [
        None if isinstance(label, float) and math.isnan(label) else tuple(label) if isinstance(label, list) else label
        for label in labels
    ]


def counts_of(listing: Listing, split: str | None = None) -> Counter[Any]:
    """Count the items of each class, of one split or of all that are trained or validated on."""
    assert listing.labels is not None
    labels = clean(listing.labels)
    if listing.splits is not None:
        wanted = ("train", "valid") if split is None else (split,)
        labels = [label for label, where in zip(labels, listing.splits, strict=True) if where in wanted]
    return count_labels(labels, listing.multi)


def label_checks(listing: Listing) -> Iterator[Finding]:
    if listing.untold:
        yield Finding(
            "no-target",
            "error",
            f"{number(len(listing.untold), 'item has', 'items have')} no number to predict: every loss would be nan.",
            "Leave them out, or give them one.",
            [listing.item(i) for i in listing.untold],
        )
    if listing.labels is None:
        if listing.kind == "table" and listing.label_column is None and len(listing.frame.columns) > 2:
            yield Finding(
                "no-label-column",
                "note",
                f"Labels were not checked: no column says that it holds them ({few(listing.frame.columns, 8)}).",
                "Call the column 'label', or check the DataLoaders that are made from the table.",
            )
        return
    counts = counts_of(listing)
    total = sum(listing.splits.count(split) for split in ("train", "valid")) if listing.splits else len(listing)
    blank = [label for label in counts if is_blank(label)]
    if blank:
        items = [
            listing.item(i)
            for i, label in enumerate(clean(listing.labels))
            if (any(map(is_blank, label)) if isinstance(label, tuple) else is_blank(label))
        ]
        shown = few([repr(label) for label in blank])
        yield Finding(
            "blank-class",
            "error",
            f"{number(len(items), 'item has', 'items have')} no label but {shown}: it becomes a class of "
            "its own, or training stops at it.",
            "Give them a label, or leave them out of get_items.",
            items,
        )
    named = {label: n for label, n in counts.items() if not is_blank(label)}
    yield from _vocabulary(listing, named)
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
    yield from _alike(listing, named)
    if listing.kind == "folder":
        yield from _stray(listing)


def _vocabulary(listing: Listing, named: dict[Any, int]) -> Iterator[Finding]:
    """Find labels that a vocabulary of somebody's own has not, and classes of it that no item has."""
    if listing.vocab is None:
        return
    classes = set(map(str, listing.vocab))
    train = counts_of(listing, "train")
    unknown = sorted((label for label in named if str(label) not in classes), key=str)
    if any(label in train for label in unknown):  # one that fastai made of the training labels has all of these
        n = sum(named[label] for label in unknown)
        yield Finding(
            "not-in-vocab",
            "error",
            f"{number(n, 'item is', 'items are')} labelled {few(map(repr, unknown), 4)}, which the vocabulary "
            f"({few(map(repr, listing.vocab), 6)}) lacks: training stops at such a label.",
            "Add them to it, or leave vocab out: the training labels make one.",
            unknown,
        )
    unused = sorted(classes - set(map(str, named)) - {"#na#"})
    if unused:
        yield Finding(
            "unused-class",
            "warning",
            f"No item is labelled {few(map(repr, unused), 4)}, which the vocabulary has.",
            "Look for a class that is spelled in another way, or leave it out of vocab.",
            unused,
        )


def _alike(listing: Listing, named: dict[Any, int]) -> Iterator[Finding]:
    """Find classes that differ in blanks, in capitals or in how their letters are composed: most likely they are one."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in named:
        if isinstance(name, str):
            groups[" ".join(unicodedata.normalize("NFC", name).casefold().replace("_", " ").split())].append(name)
    # Letters of two cases may well be classes of their own: "a" and "A".
    same = [sorted(names) for key, names in groups.items() if len(names) > 1 and len(key) > 1]
    if same:
        said = "; ".join(" and ".join(map(ascii, names)) for names in same[:3])
        where = "folders" if listing.kind == "folder" else "labels"
        yield Finding(
            "alike-classes",
            "warning",
            f"{number(len(same), 'class is', 'classes are')} spelled in several ways, each of which is a class of its own: {said}.",
            f"Give the {where} one spelling."
            + (
                ""
                if listing.label_column is None
                else f" df[{listing.label_column!r}].str.strip().str.lower() does it."
            ),
            [name for names in same for name in names],
            same,
        )


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
        details={k: number(counts[k], "item") for k in rare},
    )


def _stray(listing: Listing) -> Iterator[Finding]:
    """Find pictures beside the class folders: `parent_label` takes the name of the whole for their class."""
    if listing.splits is not None:
        outside = [path for path, split in zip(listing.paths, listing.splits, strict=True) if split == "other" and path]
        if outside:
            yield Finding(
                "stray",
                "warning",
                f"{number(len(outside), 'picture lies', 'pictures lie')} in no class folder of a side of the split: "
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
            f"{number(len(loose), 'picture lies', 'pictures lie')} beside the class folders: parent_label "
            f"makes '{listing.root.resolve().name}' their class.",
            "Move them into a class folder.",
            loose,
        )


def split_checks(listing: Listing) -> Iterator[Finding]:
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
            f"The validation set has {number(n_valid, 'item')}: {weight}.",
            f"Set aside more (at least {SMALL_VALID}), or gather more pictures; do not compare runs by a point or two.",
        )
    if listing.labels is None or not n_train or not n_valid:
        return
    train, valid = counts_of(listing, "train"), counts_of(listing, "valid")
    unseen = sorted((label for label in valid if label not in train and not is_blank(label)), key=str)
    if unseen:
        yield Finding(
            "class-not-in-train",
            "error",
            f"{number(len(unseen), 'class is', 'classes are')} in the validation set only "
            f"({few(map(repr, unseen))}): {'it' if len(unseen) == 1 else 'they'} cannot be learned, and fastai stops at "
            f"{'its label' if len(unseen) == 1 else 'their labels'}.",
            "Split so that every class is trained on: another seed, TrainTestSplitter(stratify=…), or more pictures.",
            unseen,
        )
    untested = sorted((label for label in train if label not in valid and not is_blank(label)), key=str)
    if untested:
        yield Finding(
            "class-not-in-valid",
            "warning",
            f"{number(len(untested), 'class is', 'classes are')} missing from the validation set "
            f"({few(map(repr, untested))}): how well {'it is' if len(untested) == 1 else 'they are'} told is never measured.",
            "Set aside more, or split each class alike: TrainTestSplitter(stratify=…).",
            untested,
        )


def batch_checks(listing: Listing, bs: int | None) -> Iterator[Finding]:
    n = len(listing.where("train")) if listing.splits is not None else len(listing)
    bs = bs or listing.bs
    none = listing.steps == 0 if listing.steps is not None else bs is not None and n < bs
    if none and n:
        yield Finding(
            "no-batch",
            "error",
            f"{number(n, 'training item does', 'training items do')} not fill one batch of {bs}: fastai "
            "drops it and trains on nothing, without a word.",
            f"Take a smaller batch: bs={max(1, 2 ** int(math.log2(max(1, n // 4))))}.",
        )


def few_steps(listing: Listing) -> Iterator[Finding]:
    """Say when the lesson's three epochs are too few steps to learn from."""
    n, steps, bs = len(listing.where("train")), listing.steps, listing.bs
    if not steps or not bs or bs <= FEW_STEPS_BS or steps >= FEW_STEPS:
        return
    smaller = next((b for b in (32, 16, 8) if b < bs and n // b >= FEW_STEPS), 8)
    hardly = 3 * steps < 8
    yield Finding(
        "few-steps",
        "warning" if hardly else "note",
        f"Batches of {bs} make {number(steps, 'step', 'steps')} an epoch: in three epochs "
        + ("next to nothing is learned." if hardly else "pretrained weights adapt, random ones stay at chance."),
        f"Take smaller batches: bs={smaller}"
        + ("." if hardly else ", for a training from scratch (`train(dls, pretrained=False)` does so by itself)."),
    )
