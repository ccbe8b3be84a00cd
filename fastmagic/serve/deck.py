"""What a notebook says about its slides, in the `slideshow` metadata that RISE, JupyterLab and nbconvert share."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import FastmagicError, NotFoundError, UnreadableError, unwritable

TYPES = ("slide", "subslide", "fragment", "skip", "notes")
# A cell that only prepares what comes: nothing for the room to look at.
SET_UP = re.compile(r"(%load_ext|%pip|!pip|%matplotlib|%config|%reload_ext|%autoreload|import |from |warnings\.)")


def read(file: str | Path) -> Any:
    """Read a notebook.

    Raises:
        NotFoundError: there is none of that name; those that are there are named.
        UnreadableError: it is no notebook.
    """
    import nbformat

    from ..data.opening import no_such_file

    file = Path(file).expanduser()
    if file.is_dir() or (not file.exists() and not file.suffix):
        found = sorted(one.name for one in (file if file.is_dir() else file.parent).glob("*.ipynb"))
        raise NotFoundError(
            f"'{file}' is a folder." if file.is_dir() else f"There is no notebook '{file}'.",
            f"Name a notebook: {', '.join(found[:6])}." if found else "Name a notebook, a file that ends in .ipynb.",
        )
    if not file.exists():
        raise no_such_file(file.absolute())
    try:
        return nbformat.read(file, as_version=4)
    except Exception as error:  # nbformat raises what its parsers raise
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise UnreadableError(f"'{file}' is not a notebook: {reason}", "Name a file that ends in .ipynb.") from None


def write(notebook: Any, file: str | Path) -> None:
    """Write a notebook in place of the old one: whole, or not at all.

    Raises:
        FastmagicError: it cannot be written.
    """
    import nbformat

    file = Path(file).expanduser()
    half = file.with_name(f".{file.name}.half")
    try:
        half.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
        half.replace(file)
    except OSError as error:
        half.unlink(missing_ok=True)
        raise unwritable(file, error) from error


def slide_type(cell: Any) -> str:
    """Return what a cell is on the slides, one of `TYPES`, or "" where it goes on with the slide before it."""
    said = (cell.metadata.get("slideshow") or {}).get("slide_type") or ""
    return said if said in TYPES else ""


def is_deck(notebook: Any) -> bool:
    """Tell whether a cell begins a slide."""
    return any(slide_type(cell) in ("slide", "subslide") for cell in notebook.cells)


def require_deck(notebook: Any, file: str | Path) -> None:
    """Raise unless a cell of the notebook begins a slide.

    Raises:
        FastmagicError: it is empty, or has no slides.
    """
    name = Path(file).name
    if not notebook.cells:
        raise FastmagicError(f"'{name}' has no cells.", "Write some, and save it.")
    if not is_deck(notebook):
        raise FastmagicError(
            f"No cell of '{name}' begins a slide.",
            f"Let them be proposed, and saved in it: fastmagic slides {name} --propose",
        )


def proposed(notebook: Any) -> list[str]:
    """Propose what each cell is on the slides.

    A heading of the first or second level begins a slide, a deeper one a slide below it. What follows is shown a step at a
    time: code with its output, and text after code. Cells that only prepare (imports, `%pip`, `%load_ext`), and empty ones,
    are skipped. Where a notebook has no headings, each text begins a slide.

    Returns:
        one of `TYPES`, or "" (goes on with what is before it), for each cell.

    Example:
        >>> import nbformat.v4 as v4
        >>> cells = [v4.new_markdown_cell("# Birds"), v4.new_code_cell("import torch"), v4.new_code_cell("%train dls")]
        >>> proposed(v4.new_notebook(cells=cells))
        ['slide', 'skip', 'fragment']
    """
    heads = any(cell.cell_type == "markdown" and _level(cell.source) for cell in notebook.cells)
    found: list[str] = []
    begun = False
    for cell in notebook.cells:
        level = _level(cell.source) if cell.cell_type == "markdown" else 0
        text = cell.source.strip()
        if not text or cell.cell_type == "raw" or (cell.cell_type == "code" and _prepares(cell)):
            kind = "skip"
        elif not begun or level in (1, 2) or (not heads and cell.cell_type == "markdown"):
            kind, begun = "slide", True
        elif level:
            kind = "subslide"
        else:
            kind = "fragment"
        found.append(kind)
    return found


def _level(text: str) -> int:
    """Return the level of the heading that a text begins with, 0 for none."""
    found = re.match(r"(#{1,6})\s+\S", text.lstrip())
    return len(found[1]) if found else 0


def _prepares(cell: Any) -> bool:
    lines = [line.strip() for line in cell.source.splitlines() if line.strip() and not line.strip().startswith("#")]
    return bool(lines) and all(SET_UP.match(line) for line in lines) and not cell.get("outputs")


def set_types(notebook: Any, types: Sequence[str]) -> None:
    """Write slide types into the metadata of the cells, one each; "" takes it away."""
    for cell, kind in zip(notebook.cells, types, strict=True):
        if kind:
            cell.metadata["slideshow"] = {**(cell.metadata.get("slideshow") or {}), "slide_type": kind}
        else:
            cell.metadata.pop("slideshow", None)
    notebook.metadata.setdefault("rise", {}).setdefault("scroll", True)


def sections(types: Sequence[str]) -> list[list[int]]:
    """Return the cells of each slide, in the order in which reveal.js has them; skipped cells and notes are in none."""
    found: list[list[int]] = []
    for index, kind in enumerate(types):
        if kind in ("skip", "notes"):
            continue
        if kind in ("slide", "subslide") or not found:
            found.append([])
        found[-1].append(index)
    return found


def labels(types: Sequence[str]) -> list[str]:
    """Return the number of the slide that each cell begins, such as "2" or "2.1" (below it); "" where it begins none.

    >>> labels(["skip", "slide", "fragment", "subslide"])
    ['', '1', '', '1.1']
    """
    begins = {cells[0] for cells in sections(types)}
    slide = below = 0
    found = []
    for index, kind in enumerate(types):
        if index not in begins:
            found.append("")
            continue
        if kind == "subslide" and slide:
            below += 1
        else:
            slide, below = slide + 1, 0
        found.append(f"{slide}.{below}" if below else str(slide))
    return found


def counted(slides: int) -> str:
    """Return a number of slides in words: "1 slide", "9 slides"."""
    return f"{slides} slide{'' if slides == 1 else 's'}"


def first_line(cell: Any) -> str:
    """Return the line by which one knows a cell."""
    line = next((line.strip() for line in cell.source.splitlines() if line.strip(" #")), "")
    return (line.lstrip("# ") if cell.cell_type == "markdown" else line) or "(empty)"


def outline(notebook: Any) -> str:
    """Return the slides as lines of text: number, then the beginning of each cell with what it is."""
    marks = {"fragment": "then", "skip": "skipped", "notes": "notes", "": "with it"}
    lines: list[str] = []
    types = [slide_type(cell) for cell in notebook.cells]
    for cell, kind, label in zip(notebook.cells, types, labels(types), strict=True):
        first = first_line(cell)
        shown = first if len(first) <= 70 else first[:69] + "…"
        slide, _, below = label.partition(".")
        number = f"{slide:>3}{f'.{below}' if below else '  '}"
        lines.append(f"{number}  {shown}" if label else f"       {marks[kind]}: {shown}")
    return "\n".join(lines)
