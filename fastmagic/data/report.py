"""What `%check` says: findings in order of weight, as text, as a table, and with the pictures in question."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..render import CSS, Displayed, escape, image_tag

SEVERITIES = ("error", "warning", "note")
SIGNS = {"error": "✗", "warning": "!", "note": "i"}
# Okabe and Ito's vermilion, orange and blue; the sign and the word say the same.
COLOURS = {"error": "#d55e00", "warning": "#e69f00", "note": "#0072b2"}

SHOWN_ITEMS = 5  # names in a line of text, fewer where they are long
LINE = 110  # characters
SHOWN_IMAGES = 6  # pictures (or groups of copies) in a finding
HTML_BUDGET = 180_000  # characters; what a report may add to a saved notebook


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong or worth knowing.

    Attributes:
        kind: what was found, as a stable name to look it up by ("duplicate", "truncated", …).
        severity: "error" (training fails, or its result is wrong), "warning" or "note".
        message: one sentence on what was found.
        fix: the way to mend it.
        items: the files, index labels or classes in question.
        groups: for copies, the items that belong together, the one to keep first.
        details: what is known of an item in a few words, by item.
    """

    kind: str
    severity: str
    message: str
    fix: str = ""
    items: list[Any] = field(default_factory=list)
    groups: list[list[Any]] = field(default_factory=list)
    details: dict[Any, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.message} {self.fix}".strip()


class Report(Displayed):
    """All that `check` found, the gravest first.

    `report.ok` is true where nothing graver than a note was found, `report["duplicate"]` is the finding of
    that kind (`None` without), `"truncated" in report` asks for one (or for a finding), `for finding in report` goes through
    them, and `report.to_frame()` is a table with one row an item.

    Args:
        subject: what was looked at ("691 photos, 2 classes").
        findings: in any order.
        scope: how closely it was looked at ("fast checks").
        root: the folder to name items relative to.
        moved: old place → new place of files in quarantine, so that their pictures can still be shown.

    Attributes:
        words: how messages and fixes are put where it is shown; they speak Python, a magic has words of its own.
    """

    def __init__(
        self,
        subject: str,
        findings: list[Finding],
        scope: str = "",
        root: Path | None = None,
        moved: dict[Path, Path] | None = None,
    ):
        self.subject, self.scope, self.root, self.moved = subject, scope, root, moved or {}
        self.words: Callable[[str], str] = str
        self.findings = sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))

    @property
    def ok(self) -> bool:
        """Whether nothing was found that needs mending."""
        return all(finding.severity == "note" for finding in self.findings)

    @property
    def kinds(self) -> list[str]:
        """The kinds that were found, the gravest first."""
        return [finding.kind for finding in self.findings]

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __len__(self) -> int:
        return len(self.findings)

    def __bool__(self) -> bool:  # a report without findings is still a report
        return True

    def __contains__(self, kind: object) -> bool:
        return kind in self.kinds or kind in self.findings

    def __getitem__(self, kind: str) -> Finding | None:
        return next((finding for finding in self.findings if finding.kind == kind), None)

    def to_frame(self) -> Any:
        """Return a pandas DataFrame: kind, severity, item, group, detail and message, one row an item."""
        import pandas as pd

        rows = []
        for finding in self.findings:
            group_of = {item: number for number, group in enumerate(finding.groups) for item in group}
            for item in finding.items or [None]:
                rows.append(
                    (
                        finding.kind,
                        finding.severity,
                        item,
                        group_of.get(item),
                        finding.details.get(item, ""),
                        finding.message,
                    )
                )
        return pd.DataFrame(rows, columns=["kind", "severity", "item", "group", "detail", "message"])

    def name(self, item: Any) -> str:
        """Return how an item is called here: a file relative to the data folder."""
        if isinstance(item, Path) and self.root is not None and not _outside(item, self.root):
            return os.path.relpath(item, self.root)
        return str(item)

    def headline(self) -> str:
        """Return the one line that says how it stands."""
        scope = f" ({self.scope})" if self.scope else ""
        if not self.findings:
            return f"✓ {self.subject}: nothing wrong found{scope}"
        counts = [(sum(f.severity == severity for f in self.findings), severity) for severity in SEVERITIES]
        said = ", ".join(f"{n} {severity}{'s' if n > 1 else ''}" for n, severity in counts if n)
        worst = next((SIGNS[s] for n, s in counts if n), "✓")
        return f"{'✓' if self.ok else worst} {self.subject}: {said}{scope}"

    def __str__(self) -> str:
        lines = [self.headline()]
        for finding in self.findings:
            lines.append(f"  {SIGNS[finding.severity]} {self.words(finding.message)}")
            shown = self._item_line(finding)
            if shown:
                lines.append(f"      {shown}")
            if finding.fix:
                lines.append(f"      → {self.words(finding.fix)}")
        return "\n".join(lines)

    __repr__ = __str__

    def _item_line(self, finding: Finding) -> str:
        """Return the first items, or the first groups of copies, as far as they fit on a line."""
        if finding.groups:
            texts = [
                " = ".join(self._with_detail(item, finding) for item in group[:3])
                + (f" = {len(group) - 3} more" if len(group) > 3 else "")
                for group in finding.groups[:SHOWN_ITEMS]
            ]
        else:
            texts = [self._with_detail(item, finding) for item in finding.items[:SHOWN_ITEMS]]
        n = next((n for n in range(len(texts), 1, -1) if len(", ".join(texts[:n])) <= LINE), 1)
        total = len(finding.groups or finding.items)
        return "" if not total else ", ".join(texts[:n]) + (f" and {total - n:,} more" if total > n else "")

    def _with_detail(self, item: Any, finding: Finding) -> str:
        detail = finding.details.get(item)
        return _short(self.name(item), 32) + (f" ({detail})" if detail else "")

    def forms(self) -> dict[str, Any]:
        return {"text/html": f'{CSS}<div class="fastmagic">{self._html()}</div>', "text/plain": str(self)}

    def _html(self) -> str:
        parts = [f"<p><b>{escape(self.headline())}</b></p>"]
        room = HTML_BUDGET - sum(len(f.message) + len(f.fix) + 4000 for f in self.findings)
        for finding in self.findings:
            pictures = self._pictures(finding, room)
            room -= len(pictures)
            badge = f"<b>{SIGNS[finding.severity]} {finding.severity}</b>"
            fix = f'<p class="dim">→ {escape(self.words(finding.fix))}</p>' if finding.fix else ""
            style = f"margin:.7em 0;padding-left:.8em;border-left:3px solid {COLOURS[finding.severity]}"
            parts.append(
                f'<div style="{style}"><p>{badge} {escape(self.words(finding.message))}</p>{pictures}{fix}</div>'
            )
        return "".join(parts)

    def _pictures(self, finding: Finding, room: int) -> str:
        """Return the first pictures of a finding with names, copies side by side, in `room` characters."""
        groups = finding.groups or [[item] for item in finding.items]
        cells, shown = [], 0
        for group in groups[:SHOWN_IMAGES]:
            tags = "".join(self._picture(item, finding, len(finding.groups) > 0) for item in group[:3])
            if len(tags) > room:
                break
            room -= len(tags)
            shown += 1
            frame = "border:1px solid #9995;border-radius:4px;padding:3px;" if finding.groups else ""
            cells.append(f'<div style="display:flex;gap:3px;{frame}">{tags}</div>')
        if not cells:
            return ""
        more = len(groups) - shown
        rest = f'<span class="dim">and {more:,} more</span>' if more else ""
        style = "display:flex;flex-wrap:wrap;gap:8px;align-items:flex-end;margin:.3em 0"
        return f'<div style="{style}">{"".join(cells)}{rest}</div>'

    def _picture(self, item: Any, finding: Finding, grouped: bool) -> str:
        name, detail = self.name(item), finding.details.get(item, "")
        caption = _short(os.path.basename(name) if grouped and not detail else name, 22)
        tag = self._thumbnail(item, name)
        text = escape(caption) + (f"<br>{escape(detail)}" if detail else "")
        style = "font-size:10px;line-height:1.25;overflow-wrap:anywhere"
        return (
            f'<figure style="margin:0;max-width:150px" title="{escape(name)}">{tag}'
            f'<figcaption style="{style}">{text}</figcaption></figure>'
        )

    def _thumbnail(self, item: Any, name: str) -> str:
        if not isinstance(item, Path):
            return ""
        from PIL import Image

        try:
            with Image.open(self.moved.get(item, item)) as image:
                image.draft(None, (144, 144))
                return image_tag(image, height=72, alt=name)
        except Exception:  # the picture may be the very one that does not open
            return ""


def _short(name: str, length: int = 40) -> str:
    return name if len(name) <= length else f"{name[: length // 2 - 1]}…{name[-(length // 2) :]}"


def _outside(item: Path, root: Path) -> bool:
    return os.path.relpath(item, root).startswith(os.pardir)
