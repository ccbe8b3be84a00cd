"""Diagrams in Graphviz's language, drawn for light and dark pages, and the four of the first lesson: what a model is.

Graphviz comes with `pip install 'fastmagic[diagrams]'` (pygraphviz, whose wheels hold it), or is the machine's own `dot`.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from .errors import AnswerError, FastmagicError, did_you_mean, unwritable
from .render import CSS, Displayed, escape

LAYOUTS = ("dot", "neato", "fdp", "sfdp", "circo", "twopi")
# After Samuel's words of 1962, as chapter 1 of "Deep Learning for Coders" draws them.
FOUR = {
    "program": """
        program [shape=box3d width=1.2 height=0.8]
        inputs -> program -> results
    """,
    "model": """
        model [shape=box3d width=1.2 height=0.8]
        inputs -> model -> results
        weights -> model
    """,
    "training": """
        architecture [shape=box3d width=1.4 height=0.8]
        inputs -> architecture -> predictions
        parameters -> architecture
        labels -> loss
        predictions -> loss
        loss -> parameters [constraint=false label=update]
    """,
    "deployed": """
        model [shape=box3d width=1.2 height=0.8]
        inputs -> model -> results
    """,
}
ABOUT = {
    "program": "A program: somebody wrote how results come from inputs.",
    "model": "A model: a program whose results depend on weights too.",
    "training": "Training: the loss compares predictions with labels, and says how the parameters are updated.",
    "deployed": "Deployed: with its weights fixed, a trained model is a program again.",
}
PATIENCE = 60  # seconds that a layout may take
SVG = "{http://www.w3.org/2000/svg}"
# The label is Graphviz's own default, which pygraphviz forgets where one node has another.
_MORE = (
    'graph [bgcolor=transparent fontname="Helvetica,Arial,sans-serif"]; node [label="\\N" fontname="Helvetica,Arial,sans-serif"]; '
    'edge [fontname="Helvetica,Arial,sans-serif"]; '
)


class Diagram(Displayed):
    """A drawn graph.

    Attributes:
        source: in Graphviz's language.
        svg: the drawing, black on nothing.
        text: its edges in words.
    """

    def __init__(self, source: str, svg: str, text: str):
        self.source, self.svg, self.text = source, svg, text

    def __repr__(self) -> str:
        return self.text

    def forms(self) -> dict[str, Any]:
        inner = _in_the_pages_ink(self.svg).replace("<svg ", f'<svg role="img" aria-label="{escape(self.text)}" ', 1)
        html = f'{CSS}<div class="fastmagic">{inner}</div>'
        return {"text/html": html, "image/svg+xml": self.svg, "text/plain": self.text}

    def save(self, file: str | Path) -> Path:
        """Write it as an SVG file, and return that.

        Raises:
            FastmagicError: the file cannot be written.
        """
        file = Path(file).expanduser()
        try:
            file.write_text(self.svg, encoding="utf-8")
        except OSError as error:
            raise unwritable(file, error) from error
        return file


def dot(source: str, layout: str = "dot") -> Diagram:
    """Draw a graph that is written in Graphviz's language.

    Args:
        source: `digraph { a -> b }`; or what stands in the braces alone, which is drawn from left to right.
        layout: Graphviz's program: dot, neato, fdp, sfdp, circo or twopi.

    Raises:
        FastmagicError: Graphviz is not here, or does not understand it; says at which line.

    Example:
        >>> dot("inputs -> model -> results")  # doctest: +SKIP
        inputs → model → results
    """
    if layout not in LAYOUTS:
        raise AnswerError(
            f"There is no layout {layout!r}.", did_you_mean(layout, LAYOUTS, 1) or f"Choose from {', '.join(LAYOUTS)}."
        )
    if not source.strip():
        raise AnswerError("There is nothing to draw.", "Write edges: inputs -> model -> results")
    graph = whole(source)
    svg = _only_svg(_drawn(graph, layout))
    return Diagram(source, svg, _in_words(svg))


def diagram(name: str) -> Diagram:
    """Draw one of the four diagrams of the first lesson: "program", "model", "training" or "deployed".

    Raises:
        FastmagicError: there is none of that name, or Graphviz is not here.

    Example:
        >>> diagram("model")  # doctest: +SKIP
        A model: a program whose results depend on weights too.
        inputs → model → results
        weights → model
    """
    if name not in FOUR:
        raise AnswerError(
            f"There is no diagram {name!r}.", did_you_mean(name, FOUR, 1) or f"Choose from {', '.join(FOUR)}."
        )
    drawn = dot(FOUR[name])
    return Diagram(drawn.source, drawn.svg, f"{ABOUT[name]}\n{drawn.text}")


# ---------------------------------------------------------------- to Graphviz and back


def whole(source: str) -> str:
    """Return a graph around what stands in the braces alone, with a font and no background unless it says its own.

    >>> whole("a -> b").startswith("digraph { rankdir=LR; graph [bgcolor=transparent")
    True
    """
    bare = re.sub(r"/\*.*?\*/|//[^\n]*|^#[^\n]*", lambda match: " " * len(match[0]), source, flags=re.S | re.M)
    start = re.match(r"\s*(strict\s+)?(di)?graph\b[^{]*\{", bare, re.I)
    if start is None:
        kind = "graph" if "--" in bare and "->" not in bare else "digraph"
        return f"{kind} {{ rankdir=LR; {_MORE}{source}\n}}"
    return f"{source[: start.end()]} {_MORE}{source[start.end() :]}"


# In a process of its own: Graphviz's library tells what is wrong to stderr alone, and a large graph can be given up.
_BY_PYGRAPHVIZ = """
import sys, pygraphviz
sys.stdin.reconfigure(encoding="utf-8")
sys.stdout.buffer.write(pygraphviz.AGraph(string=sys.stdin.read()).draw(format="svg", prog=sys.argv[1]))
"""


def _drawn(source: str, layout: str) -> str:
    """Return what Graphviz makes of a graph, as an SVG file.

    Raises:
        FastmagicError: it is not here, does not understand it, or takes too long.
    """
    if importlib.util.find_spec("pygraphviz") is not None:
        command = [sys.executable, "-c", _BY_PYGRAPHVIZ, layout]
    elif (program := shutil.which(layout)) is not None:
        command = [program, "-Tsvg"]
    else:
        raise FastmagicError(
            "Graphviz, which draws diagrams, is not here.",
            "pip install 'fastmagic[diagrams]' brings it (Colab has it; on Debian: apt-get install graphviz).",
        )
    try:
        done = subprocess.run(command, input=source.encode(), capture_output=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired as error:
        raise FastmagicError(
            f"{layout} took longer than {PATIENCE} s.",
            "Draw fewer nodes, or take another layout: sfdp is for large graphs.",
        ) from error
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise _misunderstood(next((line for line in said if "rror:" in line), said[-1] if said else "it says nothing"))
    return done.stdout.decode("utf-8")


def _misunderstood(said: str) -> AnswerError:
    said = said.removeprefix("Error: ").removeprefix("<stdin>: ")
    return AnswerError(
        f"Graphviz does not understand that: {said}.", 'Edges are written a -> b, attributes a [label="A b"].'
    )


def _only_svg(text: str) -> str:
    """Return an SVG element from an SVG file, which shrinks where there is less room."""
    svg = text[text.index("<svg") :].strip()
    svg = re.sub(r"<!--.*?-->\n?", "", svg, flags=re.S)
    return svg.replace("<svg ", '<svg style="max-width:100%;height:auto" ', 1)


def _in_the_pages_ink(svg: str) -> str:
    """Return an SVG element that is drawn in the colour of the text around it; what has a colour of its own keeps that."""
    ElementTree.register_namespace("", SVG[1:-1])
    ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")
    root = ElementTree.fromstring(svg)
    groups = list(root.iter(f"{SVG}g"))
    if any(group.get("class") in ("graph", "cluster") and _is_filled(group) for group in groups):
        root.set("style", f"{root.get('style')};background:#fff;color:#000")  # it brings a background: black on that
        return ElementTree.tostring(root, encoding="unicode")
    for group in groups:
        paper = group.get("class") == "node" and _is_filled(group)
        for part in group:
            if part.tag == f"{SVG}text" and part.get("fill") is None and not paper:
                part.set("fill", "currentColor")
            for name in ("stroke", "fill"):
                if part.get(name) == "black" and not paper:
                    part.set(name, "currentColor")
    return ElementTree.tostring(root, encoding="unicode")


def _is_filled(group: ElementTree.Element) -> bool:
    shapes = (part for part in group if part.tag in (f"{SVG}polygon", f"{SVG}ellipse", f"{SVG}path"))
    return any(part.get("fill") not in (None, "none", "transparent", "black") for part in shapes)


def _in_words(svg: str) -> str:
    """Return the edges of a drawn graph in words: chains as chains, then what has a label, then nodes without an edge."""
    nodes: dict[str, str] = {}
    edges: list[tuple[str, str, str, str]] = []
    for group in ElementTree.fromstring(svg).iter(f"{SVG}g"):
        title = group.findtext(f"{SVG}title") or ""
        text = " ".join("".join(part.itertext()) for part in group.findall(f".//{SVG}text"))
        if group.get("class") == "node":
            nodes[title] = " ".join(text.split()) or title
        elif group.get("class") == "edge":
            arrow = "->" if "->" in title else "--"
            tail, head = (part.split(":")[0] for part in title.split(arrow, 1))
            edges.append((tail, head, " ".join(text.split()), "→" if arrow == "->" else "–"))
    plain = [edge for edge in edges if not edge[2]]
    heads = {head for _, head, _, _ in plain}
    plain.sort(key=lambda edge: edge[0] in heads)  # from where chains begin
    lines = []
    while plain:
        tail, head, _, arrow = plain.pop(0)
        chain = [nodes.get(tail, tail), nodes.get(head, head)]
        while (following := next((edge for edge in plain if edge[0] == head), None)) is not None:
            plain.remove(following)
            head = following[1]
            chain.append(nodes.get(head, head))
        lines.append(f" {arrow} ".join(chain))
    lines += [f"{nodes.get(t, t)} {arrow} {nodes.get(h, h)} ({label})" for t, h, label, arrow in edges if label]
    joined = {name for tail, head, _, _ in edges for name in (tail, head)}
    return "\n".join([*lines, *(label for name, label in nodes.items() if name not in joined)])
