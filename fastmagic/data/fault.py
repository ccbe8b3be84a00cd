"""Whose fault an error from inside fastai is: the line the user wrote, and the item it was given."""

from __future__ import annotations

import linecache
import types
from collections.abc import Iterable
from pathlib import PurePath
from typing import Any

from ..errors import did_you_mean


def told(error: BaseException, names: Iterable[str] = ()) -> tuple[str, str, str, int | None]:
    """Say where in the user's own code an exception comes from, what it says and of which item, and what was meant.

    Args:
        error: as it was raised.
        names: the user's variables, for a name that does not exist.

    Returns:
        where ("line 3: get_y = label_of", empty where none of the user's lines ran), cause, hint ("" without), and the line
        of the cell (`None` where it was none of the body's).
    """
    text = str(error).strip()
    cause = f"{type(error).__name__}: {text.splitlines()[0] if text else 'no message'}"
    frame = _user_frame(error)
    if frame is None:
        return "", cause, "", None
    code, number, local = frame
    line = linecache.getline(code.co_filename, number).strip()
    in_body = code.co_filename.startswith("<%%datablock")
    where = f"line {number}: {line}" if in_body else f"in {code.co_name}: {line}"
    argument = local.get(code.co_varnames[0]) if code.co_argcount else None
    item = f", for {_short(argument)}" if argument is not None else ""
    known = [name for name in (*names, *local) if not name.startswith("_")]
    hint = did_you_mean(error.name, known) if isinstance(error, NameError) and error.name else ""
    return where, cause + item, hint, number if in_body else None


def _user_frame(error: BaseException) -> tuple[types.CodeType, int, dict[str, Any]] | None:
    """Return code, line and variables of the innermost frame the user wrote: in a body, a cell or `__main__`."""
    found = None
    traceback = error.__traceback__
    while traceback is not None:
        frame = traceback.tb_frame
        file_name = frame.f_code.co_filename
        if file_name.startswith("<%%datablock") or (
            frame.f_globals.get("__name__") == "__main__" and frame.f_code.co_name != "<module>"
        ):
            found = (frame.f_code, traceback.tb_lineno, dict(frame.f_locals))
        traceback = traceback.tb_next
    return found


def _short(value: Any, width: int = 90) -> str:
    text = str(value) if isinstance(value, PurePath) else repr(value)
    text = " ".join(text.split())
    return text if len(text) <= width else "…" + text[-width:] if isinstance(value, PurePath) else text[:width] + "…"
