"""`%models`: the architectures that fit a pattern, how large and fast they are, and where their pretrained weights are."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from html import escape
from typing import Any

from ..errors import NotFoundError, did_you_mean, few
from ..progress import Progress, reporting
from ..render import Displayed, Shown, html_table, text_table
from .architectures import find, known_names
from .at_hand import at_hand as where_at_hand
from .at_hand import names_at_hand
from .speed import SIZE, kept_speed, parameters
from .speed import speed as measured_speed

WHERE = {"box": "in the box", "cache": "on this machine", "package": "on this machine (package)", "": "to download"}


def models(
    pattern: str = "*",
    limit: int | None = None,
    at_hand: bool = False,
    speed: bool = False,
    progress: Progress | bool | None = True,
) -> Models:
    """List the architectures that fit a pattern: where they come from, parameters, and whether weights are at hand.

    Args:
        pattern: shell wildcards, as in `convnext*`; a word without wildcards matches anywhere in a name.
        limit: list at most this many.
        at_hand: only those whose weights are on this machine.
        speed: measure how many pictures a second this machine predicts and trains on with those that are shown, some
            seconds each. Without, what was measured before is shown.
        progress: of measuring: a bar, a function called with (done, all), or `None`.

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
    found = Models(names[:limit], len(names))
    if speed:
        found.measure(progress)
    return found


class Models(Displayed, Sequence[str]):
    """Names of architectures; looks like a table. `names` is the plain list."""

    SHOWN = 40

    def __init__(self, names: list[str], total: int):
        self.names, self.total = names, total
        self.failed: dict[str, str] = {}

    def measure(self, progress: Progress | bool | None = None) -> None:
        """Measure the speed of those that are shown; what one does not bear is no reason to stop."""
        shown = self.names[: self.SHOWN]
        with reporting(progress, "Measuring") as report:
            for i, arch in enumerate(map(find, shown)):
                if report is not None:
                    report(i, len(shown))
                try:
                    measured_speed(arch)
                except Exception as error:
                    self.failed[arch.name] = (str(error).splitlines() or [type(error).__name__])[0][:100]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, i: Any) -> Any:
        return self.names[i]

    def _shown(self) -> Shown:
        header = ["name", "from", "parameters", "pretrained weights"]
        rows = []
        for arch in map(find, self.names[: self.SHOWN]):
            where, count = where_at_hand(arch), parameters(arch)
            has = WHERE[where] if where or arch.pretrained else "none"
            rows.append([arch.name, arch.library, f"{count / 1e6:.1f} M" if count is not None else "–", has])
        notes = []
        speeds = [kept_speed(find(name)) for name in self.names[: self.SHOWN]]
        if any(speeds):
            header[3:3] = ["predicts", "trains"]
            for row, found in zip(rows, speeds, strict=True):
                row[3:3] = [f"{value:,.0f}/s" for value in found] if found else ["–", "–"]
            notes.append(f"Pictures of {SIZE} px a second on this machine, measured once.")
        notes += [f"{name} could not be measured: {why}" for name, why in self.failed.items()]
        more = self.total - len(rows)
        notes += [f"… and {more} more: narrow the pattern."] if more > 0 else []
        return Shown(
            html_table(header, rows) + "".join(f"<p>{escape(note)}</p>" for note in notes),
            "\n".join([text_table(header, rows), *notes]),
        )

    def __repr__(self) -> str:
        return str(self._shown())

    def forms(self) -> dict[str, Any]:
        return self._shown().forms()
