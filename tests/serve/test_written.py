"""Slides as one file: nothing from outside, formulas, stills, and what has no picture."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import nbformat.v4 as v4
import pytest

from fastmagic import cli
from fastmagic.errors import FastmagicError
from fastmagic.serve import written

SLIDE = {"slideshow": {"slide_type": "slide"}}
WIDGET = {"application/vnd.jupyter.widget-view+json": {"model_id": "x", "version_major": 2, "version_minor": 0}}


def made(folder: Path, *cells: Any, **options: Any) -> tuple[written.Written, str]:
    nbformat.write(v4.new_notebook(cells=list(cells), metadata={"widgets": {}}), folder / "talk.ipynb")
    done = written.write(folder / "talk.ipynb", **options)
    return done, done.file.read_text("utf8")


def body(page: str) -> str:
    return page[page.index("<body") : page.index("<script>", page.index("<body"))]


def test_formulas_are_mathml_and_dollars_are_dollars(tmp_path: Path):
    sympy = v4.new_output("execute_result", {"text/latex": r"$\displaystyle \frac{1}{2}$", "text/plain": "1/2"})
    _, page = made(
        tmp_path,
        v4.new_markdown_cell(
            "Loss $L = x^2$ and\n\n$$\\sum_i a_i < 3$$\n\ncosts \\$5, `$HOME`, $\\nonsense{$", metadata=SLIDE
        ),
        v4.new_code_cell("half", outputs=[sympy]),
    )
    shown = body(page)
    assert len(re.findall(r"<math[^>]*>", shown)) >= 3
    assert "<mfrac>" in shown
    assert "<code>$HOME</code>" in shown
    assert "$5" in shown
    assert "mathjax" not in page.lower()
    assert written.mathml(r"\frac{1}").startswith("<")  # whatever it makes of it, it is no error


def test_controls_without_a_picture_are_named(tmp_path: Path):
    slider = v4.new_output("display_data", {**WIDGET, "text/plain": "IntSlider(value=3, <b>)"})
    panel = v4.new_output("display_data", {**WIDGET, "text/plain": "a panel", "text/html": "<p>still</p>"})
    cells = [v4.new_code_cell("s", outputs=[slider], metadata=SLIDE), v4.new_code_cell("p", outputs=[panel])]
    done, page = made(tmp_path, *cells)
    assert done.remarks == ["Controls of cell 1 have no picture; they are named in words."]
    assert "Only live, in a notebook: <code>IntSlider(value=3, &lt;b&gt;)</code>" in page
    assert "<p>still</p>" in page
    assert "widget-view" not in page


def test_pictures_lie_inside_and_those_of_the_network_are_named(tmp_path: Path):
    from PIL import Image

    Image.new("RGB", (4, 4), "red").save(tmp_path / "red.png")
    attached = v4.new_markdown_cell(
        "# A\n![red](red.png)\n![net](https://example.org/a.png)\n![at](attachment:b.png)", metadata=SLIDE
    )
    attached["attachments"] = {"b.png": {"image/png": "iVBORw0KGgo="}}
    tricky = v4.new_code_cell("print('</script><!--')", outputs=[v4.new_output("stream", text="</script><script>x")])
    done, page = made(tmp_path, attached, tricky, theme="dark")
    assert page.count('src="data:image/png;base64,') == 2
    assert done.remarks == [
        "Loaded from the network when it is shown: https://example.org/a.png. Save it beside the notebook, and use that."
    ]
    assert '<body class="jp-Notebook" data-jp-theme-light="false">' in page
    assert "&lt;/script&gt;&lt;script&gt;x" in page


def test_notes_and_skipped_cells(tmp_path: Path):
    def of(kind: str, text: str) -> Any:
        return v4.new_markdown_cell(text, metadata={"slideshow": {"slide_type": kind}})

    done, page = made(
        tmp_path, of("skip", "NOT-SHOWN"), of("slide", "# A"), of("notes", "whispered"), of("subslide", "B")
    )
    assert done.slides == 2
    assert "NOT-SHOWN" not in page
    assert re.search(r'<aside class="notes">.*whispered.*</aside>', page, flags=re.S)
    assert "whispered" not in written.write(done.file.with_name("talk.ipynb"), notes=False).file.read_text("utf8")


def test_where_it_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    cell = v4.new_markdown_cell("# A", metadata=SLIDE)
    done, _ = made(tmp_path, cell)
    assert done.file == tmp_path / "talk.slides.html"
    (tmp_path / "out").mkdir()
    assert made(tmp_path, cell, to=tmp_path / "out")[0].file == tmp_path / "out" / "talk.slides.html"
    assert (
        cli.main(["slides", str(tmp_path / "talk.ipynb"), "--static", "--no-open", "-o", str(tmp_path / "it.html")])
        == 0
    )
    assert "it.html (1 slide," in capsys.readouterr().out
    with pytest.raises(FastmagicError, match="no folder"):
        made(tmp_path, cell, to=tmp_path / "nowhere" / "it.html")


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(FastmagicError, match=r"reveal\.js.*\n.*fastmagic\[slides\]"):
        made(tmp_path, v4.new_markdown_cell("# A", metadata=SLIDE))
    monkeypatch.setitem(__import__("sys").modules, "latex2mathml.converter", None)
    with pytest.raises(FastmagicError, match=r"Formulas.*latex2mathml"):
        written.mathml("x")
