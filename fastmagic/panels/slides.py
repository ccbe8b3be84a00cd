"""The slides of a notebook as a strip of cards: what begins one is proposed, changed, checked by rendering, and saved."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

from ..errors import AnswerError, FastmagicError, NotFoundError, RefusedError
from ..render import escape
from ..serve import audit, deck, written
from .panel import Panel, Still

LINES = 4  # of a cell that are shown
NAMES = {"slide": "slide", "subslide": "below", "fragment": "step", "": "with it", "skip": "skipped", "notes": "notes"}
# Goes behind the page: every slide is shown once, with all that is on it, and measured.
MEASURE = """<script>
addEventListener("load", async () => {
  await Promise.all([...document.images].map(image => image.decode().catch(() => {})));
  await document.fonts.ready;
  const told = Reveal.getSlides().map(slide => {
    const {h, v} = Reveal.getIndices(slide);
    Reveal.slide(h, v);
    const cells = [...slide.querySelectorAll(".jp-Cell")].filter(cell => !cell.closest("aside"));
    return {height: slide.scrollHeight, width: slide.scrollWidth, cells: cells.map(cell => cell.offsetHeight)};
  });
  parent.postMessage({fastmagicSlides: told}, "*");
});
</script></body>"""


def slides(file: str | Path | None = None, *, check: bool = False) -> Slides:
    """Return a panel of a notebook's slides: adjust what begins one, check them, save that in the notebook.

    Where no cell says what it is on the slides, that is proposed (`serve.deck.proposed`). What is saved is the
    `slideshow` metadata of RISE, JupyterLab and nbconvert, nothing of our own. It is read from the disk: save first.

    Args:
        file: the notebook; by default this one.
        check: look at once for what will go wrong: slides higher than a screen of 1280 x 720, cells that failed or
            did not run in order, pictures without a text.

    Raises:
        FastmagicError: there is no such notebook, or this one's name is not known here.

    Example:
        >>> slides("notebooks/01_first_model.ipynb")                               # doctest: +SKIP
    """
    return Slides(this_notebook() if file is None else file, check=check)


def this_notebook() -> Path:
    """Return the file of the notebook whose kernel this is, as the Jupyter server told it at its start.

    Raises:
        NotFoundError: it was not told.
    """
    said = os.environ.get("JPY_SESSION_NAME", "")
    if said.endswith(".ipynb") and Path(said).is_file():
        return Path(said)
    found = sorted(one.name for one in Path().glob("*.ipynb"))
    here = f" Here lie {', '.join(found[:5])}." if found else ""
    raise NotFoundError(f"The name of this notebook is not known here.{here}", "Name it: `slides('talk.ipynb')`")


class Slides(Panel):
    """A panel of the slides of a notebook. `types` has what each cell is on them, `remarks` what was found."""

    module = "slides"

    def __init__(self, file: str | Path, *, check: bool = False) -> None:
        self.file = Path(file).expanduser().absolute()
        self.notebook = deck.read(self.file)
        if not self.notebook.cells:
            raise FastmagicError(f"'{self.file.name}' has no cells.", "Write some, and save it.")
        self.proposed = not deck.is_deck(self.notebook)
        kept = [deck.slide_type(cell) for cell in self.notebook.cells]
        self.types = deck.proposed(self.notebook) if self.proposed else kept
        self.saved = not self.proposed
        self.remarks: list[audit.Remark] | None = None
        self._check_at_once = check
        super().__init__()

    def state(self) -> dict[str, Any]:
        labels = deck.labels(self.types)
        cells = [
            {
                "kind": cell.cell_type,
                "lines": [
                    deck.first_line(cell),
                    *[line for line in cell.source.strip().splitlines()[1:] if line.strip()],
                ][:LINES],
                "heading": cell.cell_type == "markdown" and cell.source.lstrip().startswith("#"),
                "outputs": len(cell.get("outputs", [])),
                "type": kind,
                "label": label,
                "remarks": [remark.text for remark in self.remarks or [] if remark.cell == index],
            }
            for index, (cell, kind, label) in enumerate(zip(self.notebook.cells, self.types, labels, strict=True))
        ]
        return {
            "file": self.file.name, "cells": cells, "saved": self.saved, "proposed": self.proposed,
            "checked": self.remarks is not None, "check": self._check_at_once, "slides": len(deck.sections(self.types)),
        }  # fmt: skip

    def set(self, cell: int, kind: str) -> None:
        """Say what a cell is on the slides.

        Args:
            cell: counted from 0.
            kind: "slide", "subslide" (below the one before), "fragment" (shown a step later), "" (with the one before),
                "skip" or "notes".

        Raises:
            AnswerError: there is no such cell or kind.
        """
        if kind not in NAMES or not 0 <= cell < len(self.types):
            raise AnswerError(f"There is no {kind!r} for cell {cell}.", f"Kinds: {', '.join(filter(None, NAMES))}.")
        if self.types[cell] != kind:
            self.types[cell], self.saved, self.remarks = kind, False, None

    def propose(self) -> None:
        """Put what would be proposed in place of what is said."""
        proposed = deck.proposed(self.notebook)
        if proposed != self.types:
            self.types, self.saved, self.remarks = proposed, False, None

    def save(self) -> None:
        """Write the types into the notebook on the disk, and nothing else.

        Raises:
            RefusedError: its cells are others by now.
            FastmagicError: it cannot be read or written.
        """
        now = deck.read(self.file)
        if [cell.source for cell in now.cells] != [cell.source for cell in self.notebook.cells]:
            raise RefusedError(
                f"'{self.file.name}' has other cells by now.", "Save it, and run `slides()` again; nothing was written."
            )
        deck.set_types(now, self.types)
        deck.write(now, self.file)
        self.notebook, self.saved = now, True

    def page(self) -> str:
        """Return the slides as a page that measures itself, and tells the page around it."""
        notebook = deck.read(self.file) if self.file.exists() else self.notebook
        if [cell.source for cell in notebook.cells] == [cell.source for cell in self.notebook.cells]:
            self.notebook = notebook  # its outputs may be newer
        shown = copy.deepcopy(self.notebook)
        deck.set_types(shown, self.types)
        page = written.page_of(shown, self.file).replace("hash: true", "hash: false", 1)  # a frame has no address
        at = page.rindex("</body>")
        return page[:at] + MEASURE + page[at + len("</body>") :]

    def report(self, measured: list[dict[str, Any]] | None = None) -> list[audit.Remark]:
        """Return what will go wrong, by the notebook alone, and by what its slides measured in a browser."""
        found = audit.audit(self.notebook, self.types)
        if measured is not None:
            found += audit.too_high(self.notebook, self.types, measured)
        self.remarks = sorted(found)
        return self.remarks

    def on_set(self, cell: int, kind: str) -> dict[str, Any]:
        self.set(cell, kind)
        return self.state()

    def on_propose(self) -> dict[str, Any]:
        self.propose()
        return self.state()

    def on_save(self) -> dict[str, Any]:
        self.save()
        return self.state()

    def on_page(self) -> dict[str, Any]:
        return {"page": self.page()}

    def on_measured(self, slides: list[dict[str, Any]]) -> dict[str, Any]:
        self._check_at_once = False
        self.report(slides)
        self.keep_still_later()
        return self.state()

    def still(self) -> Still:
        rows, lines = [], [f"{self.file.name}: {deck.counted(len(deck.sections(self.types)))}"]
        for index, (cell, label) in enumerate(zip(self.notebook.cells, deck.labels(self.types), strict=True)):
            name, first = NAMES[self.types[index]], deck.first_line(cell)[:80]
            told = [remark.text for remark in self.remarks or [] if remark.cell == index]
            lines.append(f"{label:>5}  {name:8} {first}")
            lines += [f"       ! {text}" for text in told]
            notes = "".join(f'<div style="color:#b85c00">⚠ {escape(text)}</div>' for text in told)
            rows.append(
                f'<tr><td class="number">{label}</td><td class="dim">{name}</td><td class="wide">{escape(first)}{notes}</td></tr>'
            )
        if self.remarks == []:
            lines.append("Nothing will go wrong that could be seen from here.")
        head = f"<p><b>{escape(self.file.name)}</b>: {deck.counted(len(deck.sections(self.types)))}</p>"
        return Still(f"{head}<table>{''.join(rows)}</table>", "\n".join(lines))
