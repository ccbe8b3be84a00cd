"""What will go wrong with slides: cells that failed or did not run in order, pictures without a text, slides too high."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from .deck import sections

SCREEN = (1280, 720)


class Remark(NamedTuple):
    """Something to mend. `cell` counts from 0."""

    cell: int
    text: str


def audit(notebook: Any, types: Sequence[str]) -> list[Remark]:
    """Look through a notebook whose cells are of `types` on the slides, without rendering it.

    Returns:
        cells that failed, cells that have not run or ran before one above them, pictures without an alternative text.
    """
    return [*_errors(notebook, types), *_order(notebook, types), *_pictures(notebook, types)]


def _shown(notebook: Any, types: Sequence[str]) -> Iterator[tuple[int, Any]]:
    for index, (cell, kind) in enumerate(zip(notebook.cells, types, strict=True)):
        if kind not in ("skip", "notes"):
            yield index, cell


def _errors(notebook: Any, types: Sequence[str]) -> Iterator[Remark]:
    for index, cell in _shown(notebook, types):
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                yield Remark(index, f"It ended with an error: {output.ename}: {output.evalue.splitlines()[0][:80]}")


def _order(notebook: Any, types: Sequence[str]) -> Iterator[Remark]:
    """Cells that would not have run so from top to bottom; skipped ones run too."""
    highest, above = 0, 0
    codes = [(i, c) for i, c in enumerate(notebook.cells) if c.cell_type == "code" and c.source.strip()]
    if not any(cell.execution_count for _, cell in codes):
        if codes:
            yield Remark(
                codes[0][0], "No cell of this notebook has run: its slides have no outputs. Run all of them, and save."
            )
        return
    for index, cell in codes:
        count = cell.execution_count
        if not count:
            yield Remark(index, "It has not run.")
        elif count < highest:
            yield Remark(
                index, f"It ran before cell {above + 1}, which stands above it. Restart the kernel and run all."
            )
        else:
            highest, above = count, index


def _pictures(notebook: Any, types: Sequence[str]) -> Iterator[Remark]:
    for index, cell in _shown(notebook, types):
        if cell.cell_type != "markdown":
            continue
        text = re.sub(r"```.*?```|`[^`]*`", "", cell.source, flags=re.S)
        bare = len(re.findall(r"!\[\s*\]\(", text))
        bare += sum(
            not re.search(r"""\balt\s*=\s*(["'])\s*\S""", tag) for tag in re.findall(r"<img\b[^>]*>", text, flags=re.I)
        )
        if bare:
            what = "A picture has" if bare == 1 else f"{bare} pictures have"
            yield Remark(index, f"{what} no text for those who do not see it: ![what it shows](picture.png)")


def too_high(notebook: Any, types: Sequence[str], measured: Sequence[dict[str, Any]]) -> list[Remark]:
    """Say which slides do not fit the screen.

    Args:
        notebook: the notebook.
        types: of its cells.
        measured: of each slide, in their order, `height` and `width` in CSS px on a screen of 1280 x 720, and `cells`,
            the heights of its cells.
    """
    found = []
    for cells, slide in zip(sections(types), measured, strict=False):
        over = round(slide["height"] - SCREEN[1])
        if over > 0:
            heights = dict(zip(cells, slide["cells"], strict=False))
            tallest = max(heights, key=lambda index: heights[index], default=cells[0])
            if len(cells) == 1:
                fix = "Show less of it, or make two cells of it."
            else:
                fix = f"Cell {tallest + 1} takes {heights.get(tallest, 0):.0f} px; begin a slide in between."
            found.append(
                Remark(cells[0], f"Its slide is {over} px higher than a screen of 1280 x 720, and scrolls. {fix}")
            )
        if slide["width"] - SCREEN[0] > 1:
            found.append(Remark(cells[0], f"Its slide is {slide['width'] - SCREEN[0]:.0f} px too wide."))
    return found
