"""What a person is told when something is wrong: one cause, one next step, the closest right name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class FastmagicError(Exception):
    """A mistake a person can mend, told in a few lines: the cause, then the next step.

    Args:
        cause: what is wrong, one or two sentences.
        fix: what to do next, in the imperative; shown on a line of its own. It speaks Python, in backticks
            (`bs=8`, `check(dls, fix=True)`), which a magic puts into its own words (--bs 8, %check dls --fix).

    >>> print(FastmagicError("No folder 'brids'.", "Did you mean 'birds'?"))
    No folder 'brids'.
    Did you mean 'birds'?
    """

    def __init__(self, cause: str, fix: str = ""):
        self.cause, self.fix = cause, fix
        super().__init__(cause if not fix else f"{cause}\n{fix}")


class NotFoundError(FastmagicError):
    """There is no such file, folder, address, variable, column, class or name."""


class UnreadableError(FastmagicError):
    """It is there, and cannot be opened, read or fetched: broken, of another kind, refused by its host."""


class AnswerError(FastmagicError):
    """An answer, option or argument cannot be used as it was given.

    Args:
        cause, fix: as of every `FastmagicError`.
        line: the line of the cell that it stands on, from 1; `None` where it stands in none.
    """

    def __init__(self, cause: str, fix: str = "", line: int | None = None):
        self.line = line
        super().__init__(cause, fix)


class WeightsError(FastmagicError):
    """Weights cannot be had, or do not fit the model."""


class OutOfMemoryError(FastmagicError):
    """A batch did not fit into memory; what was held is free again."""


class RefusedError(FastmagicError):
    """It could be begun and is not: it would go wrong later, or end in a result that means nothing."""


def unwritable(
    place: object, error: OSError, fix: str = "Name a place of yours that can be written."
) -> FastmagicError:
    """Return what is told of a file or folder that cannot be written.

    >>> print(unwritable("/proc/out.csv", PermissionError(13, "Permission denied")))
    '/proc/out.csv' cannot be written: Permission denied.
    Name a place of yours that can be written.
    """
    return FastmagicError(f"'{place}' cannot be written: {error.strerror or error}.", fix)


def closest(word: str, names: Iterable[str], n: int = 3) -> list[str]:
    """Return up to `n` of `names` that `word` may have been meant for, best first.

    Case does not count: `difflib`'s ratio is taken over lower-case forms.

    >>> closest("spliter", ["splitter", "blocks", "get_y"])
    ['splitter']
    """
    by_lower: dict[str, str] = {}
    for name in names:
        by_lower.setdefault(name.lower(), name)
    lower = word.lower()
    scored = sorted(((difflib.SequenceMatcher(None, name, lower).ratio(), name) for name in by_lower), reverse=True)
    # What is far behind the best match is not what was meant.
    least = max(0.6, scored[0][0] - 0.15) if scored else 1.0
    matches = [name for score, name in scored[:n] if score >= least]
    # A long name that contains the word ('convnext' for 'convnext_tiny') scores low in difflib but is meant.
    if len(lower) >= 4 and len(matches) < n:
        matches += [low for low in sorted(by_lower, key=len) if lower in low and low not in matches][: n - len(matches)]
    return [by_lower[match] for match in matches]


def did_you_mean(word: str, names: Iterable[str], n: int = 3) -> str:
    """Return "Did you mean …?" for the closest names, or an empty string where nothing is close.

    >>> did_you_mean("RandomSpliter", ["RandomSplitter", "GrandparentSplitter"], n=1)
    "Did you mean 'RandomSplitter'?"
    """
    found = closest(word, names, n)
    return f"Did you mean {' or '.join(repr(name) for name in found)}?" if found else ""


def few(items: Iterable[object], n: int = 5) -> str:
    """Join the first `n` items with commas and count the rest.

    >>> few(["a", "b", "c"], n=2)
    'a, b and 1 more'
    """
    names = [str(item) for item in items]
    return ", ".join(names) if len(names) <= n else f"{', '.join(names[:n])} and {len(names) - n} more"


def number(n: int, one: str, many: str = "") -> str:
    """Return a count with its noun in the right number.

    >>> number(1, "file is", "files are"), number(1200, "file is", "files are"), number(3, "photo")
    ('1 file is', '1,200 files are', '3 photos')
    """
    return f"{n:,} {one if n == 1 else many or one + 's'}"
