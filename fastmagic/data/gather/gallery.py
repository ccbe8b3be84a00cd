"""What `%images` shows while it runs: a row of photos a class, filling up, with counts of what became of the others."""

from __future__ import annotations

import base64
import io
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from ...render import Shown, escape, html_table, text_table
from .pipeline import SHOWN, Shelf

HEIGHT = 64  # px
MOST = 32  # photos in all
MANY_CLASSES = 12


class Gathering(Shown):
    """How far a run is: counts, and the first photos of each class. Made anew for every look, drawn when shown.

    Args:
        shelves: the classes.
        folder: where the photos go.
        seconds: since the start.
        running: whether more is coming.
        notes: what the search services had to say.
    """

    def __init__(
        self, shelves: Sequence[Shelf], folder: Path, seconds: float, running: bool, notes: Sequence[str] = ()
    ):
        self.notes = list(notes)
        self.shelves = list(shelves[:MANY_CLASSES])
        self.folder, self.running, self.seconds = folder, running, seconds
        left = len(shelves) - len(self.shelves)
        more = f" and {left} more classes" if left > 0 else ""
        where = f"{seconds:.0f} s" if running else f"'{folder}'"
        self.line = f"{', '.join(_kept(shelf) for shelf in self.shelves)}{more} ({where})"
        self.reasons = _reasons(shelves)

    @property
    def html(self) -> str:  # type: ignore[override]
        header, rows = self._table()
        each = max(2, min(SHOWN, MOST // max(1, len(self.shelves))))
        pictures = "".join(_row(shelf, each) for shelf in self.shelves)
        below = "<br>".join(escape(line) for line in [*self.notes, self._below()])
        return f'{html_table(header, rows)}{pictures}<p class="dim" style="margin-top:.5em">{below}</p>'

    @property
    def text(self) -> str:  # type: ignore[override]
        return "\n".join([text_table(*self._table()), *self.notes, self._below()])

    def _table(self) -> tuple[list[str], list[list[object]]]:
        rejected = [s for s in ("duplicate", "broken", "refused") if any(shelf.counts[s] for shelf in self.shelves)]
        rows: list[list[object]] = []
        for shelf in self.shelves:
            wanted = f" of {shelf.wanted}" if shelf.wanted else ""
            counts = [shelf.counts[s] for s in rejected]
            rows.append([shelf.label or "photos", f"{shelf.counts['kept']}{wanted}", *counts])
        return ["class", "kept", *rejected], rows

    def _below(self) -> str:
        reasons = f"Not kept{' so far' if self.running else ''}: {self.reasons}." if self.reasons else ""
        if self.running:
            coming = sum(shelf.prospects for shelf in self.shelves)
            return f"{self.seconds:.0f} s, {coming} on the way. {reasons}".strip()
        where = f"In '{self.folder}'." if any(shelf.counts["kept"] for shelf in self.shelves) else ""
        return f"{where} {reasons}".strip()


def _kept(shelf: Shelf) -> str:
    wanted = f" of {shelf.wanted}" if shelf.wanted else ""
    return f"{shelf.label or 'photos'} {shelf.counts['kept']}{wanted}"


def _reasons(shelves: Sequence[Shelf]) -> str:
    found: Counter[str] = Counter()
    hosts: dict[str, Counter[str]] = defaultdict(Counter)
    for shelf in shelves:
        found.update(dict(shelf.reasons))
        for reason, counts in list(shelf.hosts.items()):
            hosts[reason].update(dict(counts))
    listed = [f"{count} × {reason}{_from(hosts[reason], count)}" for reason, count in found.most_common(4)]
    rest = sum(found.values()) - sum(count for _, count in found.most_common(4))
    return ", ".join(listed) + (f" and {rest} others" if rest else "")


def _from(hosts: Counter[str], count: int) -> str:
    """Name the host that most of some photos came from, where there is one: it is that host's doing."""
    for host, most in hosts.most_common(1):
        if host and count >= 3 and most > count / 2:
            return f" ({'all' if most == count else most} from {host})"
    return ""


def _row(shelf: Shelf, count: int) -> str:
    tiles = "".join(_tile(str(file), shelf.label) for file in shelf.first[:count])
    if not tiles:
        return ""
    name = f'<div style="font-weight:600;margin:.5em 0 .25em">{escape(shelf.label)}</div>' if shelf.label else ""
    return f'{name}<div style="display:flex;flex-wrap:wrap;gap:4px">{tiles}</div>'


@lru_cache(maxsize=512)
def _tile(file: str, label: str) -> str:
    from PIL import Image

    try:
        with Image.open(file) as image:
            image.draft("RGB", (HEIGHT * 3, HEIGHT))
            small = image.convert("RGB")
    except OSError:  # taken away meanwhile
        return ""
    small.thumbnail((HEIGHT * 3, HEIGHT))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    data = base64.b64encode(buffer.getvalue()).decode()
    name = escape(f"{label or 'photo'}: {Path(file).name}")
    return f'<img src="data:image/jpeg;base64,{data}" alt="{name}" title="{name}" style="height:{HEIGHT}px;width:auto">'
