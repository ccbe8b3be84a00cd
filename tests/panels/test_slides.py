"""The panel of a notebook's slides: what it proposes, changes, finds and saves."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nbformat
import nbformat.v4 as v4
import pytest

import fastmagic
from fastmagic.errors import AnswerError, FastmagicError, NotFoundError, RefusedError
from fastmagic.serve import audit, deck


def saved(file: Path, *cells: Any) -> Path:
    nbformat.write(v4.new_notebook(cells=list(cells)), file)
    return file


def code(source: str, count: int | None = None, *outputs: Any) -> Any:
    return v4.new_code_cell(source, execution_count=count, outputs=list(outputs))


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    return saved(
        tmp_path / "talk.ipynb",
        code("import torch", 1),
        v4.new_markdown_cell("# Birds\n![](bird.png) and `![](no.png)`\n<img src='a.png'>\n<img src='b.png' alt='b'>"),
        code("%train dls", 3),
        v4.new_markdown_cell("## Next"),
        code("1 / 0", 2, v4.new_output("error", ename="ZeroDivisionError", evalue="division by zero", traceback=[])),
        code("late"),
    )


def test_it_proposes_takes_changes_and_saves(talk: Path):
    before = nbformat.read(talk, 4)
    panel = fastmagic.slides(talk)
    assert (panel.types, panel.proposed, panel.saved) == (
        ["skip", "slide", "fragment", "slide", "fragment", "fragment"], True, False
    )  # fmt: skip
    assert [cell["label"] for cell in panel.state()["cells"]] == ["", "1", "", "2", "", ""]
    assert nbformat.read(talk, 4) == before
    panel.set(3, "subslide")
    panel.set(5, "notes")
    assert [cell["label"] for cell in panel.state()["cells"]] == ["", "1", "", "1.1", "", ""]
    panel.save()
    assert panel.saved
    after = nbformat.read(talk, 4)
    assert [deck.slide_type(cell) for cell in after.cells] == panel.types
    again = fastmagic.slides(talk)
    assert (again.types, again.proposed, again.saved) == (panel.types, False, True)
    again.propose()
    assert again.types[3] == "slide"
    assert not again.saved
    with pytest.raises(AnswerError, match="no 'slyde'"):
        panel.set(0, "slyde")
    with pytest.raises(AnswerError):
        panel.set(6, "slide")
    saved(talk, v4.new_markdown_cell("# Another"))
    with pytest.raises(RefusedError, match="other cells by now"):
        again.save()
    assert len(nbformat.read(talk, 4).cells) == 1


def test_what_will_go_wrong_is_found(talk: Path):
    panel = fastmagic.slides(talk)
    panel.set(5, "fragment")
    measured = [{"height": 900, "width": 1280, "cells": [100, 780]}, {"height": 700, "width": 1400, "cells": [1, 2, 3]}]
    assert panel.report(measured) == [
        (1, "2 pictures have no text for those who do not see it: ![what it shows](picture.png)"),
        (1, "Its slide is 180 px higher than a screen of 1280 x 720, and scrolls. Cell 3 takes 780 px; begin a slide in between."),
        (3, "Its slide is 120 px too wide."),
        (4, "It ended with an error: ZeroDivisionError: division by zero"),
        (4, "It ran before cell 3, which stands above it. Restart the kernel and run all."),
        (5, "It has not run."),
    ]  # fmt: skip
    assert "⚠ Its slide is 180 px" in panel.still().html
    assert "! It has not run." in panel.still().text
    panel.set(1, "subslide")
    assert panel.remarks is None  # what was found is of other slides
    panel.set(4, "skip")
    assert not [one for one in panel.report() if "error" in one.text]
    never = v4.new_notebook(cells=[v4.new_markdown_cell("# A"), code("1")])
    assert [one.cell for one in audit.audit(never, ["slide", ""])] == [1]
    assert "No cell of this notebook has run" in audit.audit(never, ["slide", ""])[0].text


def test_which_notebook_this_is(talk: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(talk.parent)
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    with pytest.raises(NotFoundError, match=r"not known here. Here lie talk.ipynb"):
        fastmagic.slides()
    monkeypatch.setenv("JPY_SESSION_NAME", str(talk))
    assert fastmagic.slides().file == talk
    with pytest.raises(FastmagicError, match="has no cells"):
        fastmagic.slides(saved(talk.parent / "empty.ipynb"))


@pytest.mark.skipif(find_spec("sphinx_revealjs") is None, reason="fastmagic[slides] is not installed")
def test_the_page_that_is_measured_is_not_what_is_on_the_disk(talk: Path):
    panel = fastmagic.slides(talk)
    before = talk.read_bytes()
    page = panel.page()
    assert "fastmagicSlides" in page
    assert "import torch" not in page[page.index("<body") :]
    assert talk.read_bytes() == before
    assert deck.slide_type(panel.notebook.cells[1]) == ""
