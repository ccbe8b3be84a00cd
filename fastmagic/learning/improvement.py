"""What cleaning bought: an old and a new learner on the same cleaned validation items."""

from __future__ import annotations

import weakref
from typing import Any

from .results import results

# The learner whose data were cleaned, by the DataLoaders that came of it.
_before: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()


def remember(dls: Any, learn: Any) -> None:
    """Keep which learner's data were cleaned into `dls`."""
    _before[dls] = learn


def improvement(learn: Any, dls: Any) -> str:
    """Return in a sentence how a learner trained on cleaned `dls` compares with the one before; "" where none was.

    Both are asked about the same items, with the labels they have now: the number of before is not what it said then.
    """
    before = _before.get(dls)
    if before is None:
        return ""
    if list(before.dls.vocab or []) != list(dls.vocab or []):
        return "The classes are not those of before, so the error rates do not compare."
    after: Any = results(learn, "valid")
    own = before.dls
    try:
        before.dls = learn.dls
        then: Any = results(before, "valid")
    finally:
        before.dls = own
    items = f"{len(after):,} cleaned validation items"
    if getattr(after, "correct", None) is None or getattr(then, "correct", None) is None:
        return f"Mean loss on the {items}: {then.losses.mean():.4f} before, {after.losses.mean():.4f} now."
    wrong = [f"{int((~right).sum())} ({1 - right.mean():.1%})" for right in (then.correct, after.correct)]
    # McNemar's test: only items that one of the two gets right tell them apart.
    better = int((after.correct & ~then.correct).sum())
    worse = int((then.correct & ~after.correct).sum())
    unsure = (better - worse) ** 2 < 4 * (better + worse) or better == worse
    doubt = "; so few differ that this may be chance" if unsure else ""
    return f"Wrong on the {items}: {wrong[0]} before, {wrong[1]} now{doubt}."
