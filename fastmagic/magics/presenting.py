"""The magic that makes a notebook a talk: `%slides`."""

from __future__ import annotations

from typing import Any

from .magic import Call, Option, magic
from .values import FileName


@magic(
    Option("notebook", "the notebook, saved; default: this one", FileName()),
    Option("--check", "look for what will go wrong: slides too high, cells that failed or ran out of order"),
    Option("--save", "write what is proposed into the notebook at once"),
    examples="""
        %slides                         # of this notebook: cards to click, or go through by arrow keys and letters
        %slides talk.ipynb --check      # every slide is drawn on 1280 x 720, and measured
    """,
    gives="deck",
)
def slides(call: Call) -> Any:
    """
    Say what begins a slide in a notebook, as RISE, JupyterLab and nbconvert read it; where nothing is said, propose it.

    The panel shows the slides as cards. Click a cell, or go to it by the arrow keys, and choose: S slide, B below, F a step
    later, W with what is before, X skipped, N notes. NAME holds it: `.types`, `.remarks`, `.save()`.
    """
    from ..panels.slides import slides as made

    panel = made(call.options["notebook"], check=call.options["check"])
    if call.options["code"]:
        print(_program(panel))
        return None
    if call.options["save"] and not panel.saved:
        panel.save()
        print(f"Saved in {panel.file.name}.")
    call.show(panel)
    return panel


def _program(panel: Any) -> str:
    return f"""import nbformat

notebook = nbformat.read({panel.file.name!r}, 4)
types = {panel.types!r}
for cell, kind in zip(notebook.cells, types):
    cell.metadata['slideshow'] = {{'slide_type': kind or '-'}}
nbformat.write(notebook, {panel.file.name!r})"""
