"""Errors as a cell shows them: cause and next step in five lines; `%tb` shows the rest."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from typing import Any

from ..errors import FastmagicError


def shorten(error: BaseException, shell: Any, words: Callable[[str], str], end: str = "") -> None:
    """Make IPython show an error in at most five lines; it still fails the cell, and `%tb` shows all of it.

    IPython prints what `_render_traceback_` of an exception returns (`InteractiveShell.showtraceback`). It may ask more
    than once, so the full form is given when `%tb` is the one that asks, not on the second call. `words` puts what
    speaks Python into the words of the magic; `end` is said last.
    """

    def render() -> list[str]:
        if _asked_by_tb():
            return list(shell.InteractiveTB.structured_traceback(type(error), error, error.__traceback__))
        return [short_message(error, words, end)]

    error._render_traceback_ = render  # type: ignore[attr-defined]


def short_message(error: BaseException, words: Callable[[str], str] = str, end: str = "") -> str:
    """Return what a person is told: cause and next step, and where in their own code it happened, in five lines."""
    if isinstance(error, FastmagicError):
        what, fix = words(error.cause).splitlines(), words(error.fix).splitlines()
        last = " ".join([*(["%tb shows more."] if error.__cause__ else []), *([end] if end else [])])
        more = [last] if last else []
        # What is too long loses lines of its cause, never the next step.
        return "\n".join([*what[: max(1, 5 - len(fix) - len(more))], *fix, *more])
    if isinstance(error, KeyboardInterrupt):
        return "Interrupted."
    first = (str(error).strip() or "no message").splitlines()
    cause = f"{type(error).__name__}: {first[0][:300]}"
    lines = [cause, *(line[:300] for line in first[1:3] if line.strip())]
    return "\n".join([*lines, f"%tb shows the full traceback. {end}".strip()])


def _asked_by_tb() -> bool:
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "tb" and "IPython" in frame.f_code.co_filename:
            return True
        frame = frame.f_back
    return False
