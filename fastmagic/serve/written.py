"""Slides as one HTML file: reveal.js inside, pictures inside, formulas as MathML; nothing is loaded from anywhere."""

from __future__ import annotations

import html
import importlib.util
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import FastmagicError, NotFoundError, unwritable
from . import deck, in_page

HERE = Path(__file__).parent
EXTRA = "Install it with: pip install 'fastmagic[slides]'"
LARGE = 25_000_000  # bytes of a page, which is what some hosts take
WIDGET = "application/vnd.jupyter.widget-view+json"


class Written(NamedTuple):
    """Slides that were written.

    Attributes:
        file: where.
        slides: how many there are.
        remarks: what is not as it is in the notebook, a sentence each: controls without a kernel, pictures from the network.
    """

    file: Path
    slides: int
    remarks: list[str]


def write(
    notebook_file: str | Path,
    to: str | Path | None = None,
    *,
    theme: str = "light",
    notes: bool = True,
    live: str | Path | None = None,
) -> Written:
    """Write a notebook's slides as one HTML file that opens without internet, a kernel or an installation.

    The outputs are those that the notebook was saved with; panels are their last picture. The slides are
    reveal.js's (https://revealjs.com): arrow keys, O for all of them, S for the speaker's notes, `?print-pdf` after the
    address for a PDF. Formulas become MathML, which browsers draw themselves.

    Args:
        notebook_file: the notebook; its cells say what begins a slide (`fastmagic slides NOTEBOOK --propose`).
        to: the file; default: beside the notebook, `NAME.slides.html`.
        theme: "light" or "dark".
        notes: put the speaker's notes inside, which S shows to whoever has the file.
        live: a bundle of pictures that the page predicts with by itself, in the browser: the predictor panel among its slides
            comes to life, or a slide with one is added. "" takes the one that the notebook exports.

    Raises:
        FastmagicError: a part of Jupyter is missing, it has no slides, or the file cannot be written.

    Example:
        >>> write("notebooks/01_first_model.ipynb").file  # doctest: +SKIP
        PosixPath('notebooks/01_first_model.slides.html')
    """
    notebook_file = Path(notebook_file).expanduser()
    notebook = deck.read(notebook_file)
    deck.require_deck(notebook, notebook_file)
    to = Path(to).expanduser() if to else notebook_file.with_suffix(".slides.html")
    if to.is_dir():
        to = to / notebook_file.with_suffix(".slides.html").name
    if not to.parent.is_dir():
        raise NotFoundError(f"There is no folder '{to.parent}' to write to.", "Make it, or name another file.")
    if not notes:
        notebook.cells = [cell for cell in notebook.cells if deck.slide_type(cell) != "notes"]
    scripts = ""
    if live is not None:
        model = live or in_page.model_of(notebook, notebook_file)
        scripts = in_page.scripts_of(model, in_page.place(notebook))
    remarks = list(_without_kernel(notebook))
    page = page_of(notebook, notebook_file, theme, scripts)
    remarks += _from_elsewhere(page)
    if len(page) > LARGE:
        remarks.append(f"It has {len(page) / 1e6:.0f} MB; some hosts take files up to {LARGE / 1e6:.0f}.")
    try:
        to.write_text(page, encoding="utf-8")
    except OSError as error:
        raise unwritable(to, error) from error
    return Written(to, len(deck.sections(list(map(deck.slide_type, notebook.cells)))), remarks)


def page_of(notebook: Any, file: Path, theme: str = "light", scripts: str = "") -> str:
    """Return the page of a notebook's slides.

    Args:
        notebook: the notebook; it is changed.
        file: where it lies, for the pictures beside it.
        theme: "light" or "dark".
        scripts: what else the page runs.

    Raises:
        FastmagicError: a part of Jupyter is missing.
    """
    try:
        from nbconvert.exporters import SlidesExporter
        from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
    except ImportError as error:
        raise FastmagicError(f"Slides in one file need {error.name}.", EXTRA) from error
    from jinja2 import pass_context

    class Renderer(IPythonRenderer):
        """Markdown whose formulas are MathML."""

        def block_math(self, body: str) -> str:
            return mathml(body, display=True)

        def inline_math(self, body: str) -> str:
            return mathml(body)

        def latex_environment(self, name: str, body: str) -> str:
            return mathml(rf"\begin{{{name}}}{body}\end{{{name}}}", display=True)

    class Exporter(SlidesExporter):
        @pass_context
        def markdown2html(self, context: Any, source: str) -> str:
            renderer = Renderer(
                escape=False,
                attachments=(context.get("cell") or {}).get("attachments", {}),
                embed_images=True,
                path=str(file.absolute().parent),
                exclude_anchor_links=True,
            )
            return MarkdownWithMath(renderer=renderer).render(source)

    exporter = Exporter(template_name="fastmagic_slides", extra_template_basedirs=[str(HERE / "templates")])
    exporter.theme = theme
    exporter.register_filter("mathml", lambda text: mathml(text.strip().strip("$"), display=True))
    resources = {
        "metadata": {"name": file.stem, "path": str(file.absolute().parent)},
        "deck": {
            **_reveal(),
            "css": (HERE / "deck.css").read_text("utf8"),
            "scripts": scripts,
            "turning_js": (HERE / "nbextensions" / "fastmagic_slides" / "high_slides.js").read_text("utf8"),
        },
    }
    notebook.metadata.pop("widgets", None)
    page, _ = exporter.from_notebook_node(notebook, resources)
    return page


def _reveal() -> dict[str, str]:
    """Return reveal.js and its notes as text: they are in the wheel of sphinx-revealjs, of which nothing else is used."""
    spec = importlib.util.find_spec("sphinx_revealjs")
    if spec is None or spec.origin is None:
        raise FastmagicError("Slides in one file need reveal.js, which comes with sphinx-revealjs.", EXTRA)
    root = Path(spec.origin).parent / "_static" / "revealjs"

    def text(name: str) -> str:
        return (root / name).read_text("utf8")

    def script(name: str) -> str:
        # Within <script>, its own end tag and the beginning of a comment would be read as HTML.
        return re.sub(r"<(?=/script|!--|script)", r"\\x3c", text(name), flags=re.I)

    return {
        "reveal_js": script("dist/reveal.js"),
        "notes_js": script("plugin/notes/notes.js"),
        "reveal_css": text("dist/reset.css") + text("dist/reveal.css"),
    }


def mathml(latex: str, display: bool = False) -> str:
    """Return a formula as MathML; as its source where it is not understood.

    Raises:
        FastmagicError: what makes MathML is not installed.

    Example:
        >>> mathml("x^2").startswith("<math")
        True
    """
    try:
        from latex2mathml.converter import convert
    except ImportError as error:
        raise FastmagicError(f"Formulas in slides need {error.name}.", EXTRA) from error
    try:
        return convert(latex, display="block" if display else "inline")
    except Exception:  # it raises many kinds, of no common base
        return f"<code>{html.escape(latex)}</code>"


def _without_kernel(notebook: Any) -> Iterator[str]:
    """Put what can be seen in place of controls that live in a kernel, and tell of those that have no picture."""
    lost = []
    for number, cell in enumerate(notebook.cells, 1):
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if data.pop(WIDGET, None) is None:
                continue
            if not set(data) - {"text/plain"}:
                text = html.escape(str(data.get("text/plain", ""))[:300])
                data["text/html"] = f'<p class="only-live">Only live, in a notebook: <code>{text}</code></p>'
                lost.append(str(number))
    if lost:
        places = f"cell {lost[0]}" if len(lost) == 1 else f"cells {', '.join(lost)}"
        yield f"Controls of {places} have no picture; they are named in words."


class _Outside(HTMLParser):
    """Collects what a page loads from the network."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        wanted = {"img": "src", "script": "src", "link": "href", "iframe": "src", "video": "src", "audio": "src"}.get(
            tag
        )
        for name, value in attrs:
            if wanted and name == wanted and re.match(r"(https?:)?//", value or "", flags=re.I):
                self.found.append(str(value))


def _from_elsewhere(page: str) -> list[str]:
    outside = _Outside()
    outside.feed(page)
    return [
        f"Loaded from the network when it is shown: {address}. Save it beside the notebook, and use that."
        for address in dict.fromkeys(outside.found)
    ]
