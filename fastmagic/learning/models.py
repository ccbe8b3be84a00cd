"""`%models`: the architectures that fit a pattern, and where their pretrained weights are."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from typing import Any

from ..errors import NotFoundError, did_you_mean, few
from ..render import Displayed, Shown, html_table, text_table
from .architectures import find, known_names
from .at_hand import at_hand as where_at_hand
from .at_hand import names_at_hand

WHERE = {"box": "in the box", "cache": "on this machine", "package": "on this machine (package)", "": "to download"}


def models(pattern: str = "*", limit: int | None = None, at_hand: bool = False) -> Models:
    """List the architectures that fit a pattern, with where they come from and whether weights are at hand.

    Args:
        pattern: shell wildcards, as in `convnext*`; a word without wildcards matches anywhere in a name.
        limit: list at most this many.
        at_hand: only those whose weights are on this machine.

    Raises:
        FastmagicError: nothing fits; names the closest.

    Example:
        >>> models("resnet1*").names[:2]
        ['resnet18', 'resnet101']
    """
    wild = pattern if any(c in pattern for c in "*?[") else f"*{pattern}*"
    known = names_at_hand() if at_hand else known_names()
    names = [name for name in known if fnmatch.fnmatch(name.lower(), wild.lower())]
    if not names and at_hand:
        raise NotFoundError(f"No weights on this machine fit {pattern!r}.", f"There are those of {few(known, 8)}.")
    if not names:
        raise NotFoundError(f"No architecture fits {pattern!r}.", did_you_mean(pattern.strip("*"), known_names()))
    return Models(names[:limit], len(names))


class Models(Displayed, Sequence[str]):
    """Names of architectures; looks like a table. `names` is the plain list."""

    SHOWN = 40

    def __init__(self, names: list[str], total: int):
        self.names, self.total = names, total

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, i: Any) -> Any:
        return self.names[i]

    def _shown(self) -> Shown:
        header = ["name", "from", "pretrained weights"]
        rows = []
        for name in self.names[: self.SHOWN]:
            found = find(name)
            where = where_at_hand(found)
            rows.append([name, found.library, WHERE[where] if where or found.pretrained else "none"])
        more = self.total - len(rows)
        note = f"… and {more} more: narrow the pattern." if more > 0 else ""
        return Shown(
            html_table(header, rows) + (f"<p>{note}</p>" if note else ""),
            text_table(header, rows) + ("\n" + note if note else ""),
        )

    def __repr__(self) -> str:
        return str(self._shown())

    def forms(self) -> dict[str, Any]:
        return self._shown().forms()
