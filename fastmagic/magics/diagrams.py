"""The magics that draw: `%%dot` and `%diagram`."""

from __future__ import annotations

from typing import Any

from ..errors import AnswerError
from .magic import Call, Option, magic
from .values import Choice, FileName

LAYOUTS = ("dot", "neato", "fdp", "sfdp", "circo", "twopi")


@magic(
    Option("--layout", "how Graphviz places the nodes (default: dot)", Choice(*LAYOUTS)),
    Option("--save", "write it to this SVG file", FileName()),
    examples="""
        %%dot
        inputs -> model -> results -> loss
        labels -> loss
        loss -> model [label=update constraint=false]
    """,
    gives="",
    body=True,
)
def dot(call: Call) -> Any:
    """
    Draw a graph in Graphviz's language, in the colours of the page; what stands in the braces of digraph { … } is enough.
    """
    from .. import diagrams

    if not call.body:
        raise AnswerError("There is nothing to draw.", "Write %%dot, and below it edges: inputs -> model -> results")
    layout = call.options["layout"] or "dot"
    if call.options["code"]:
        print(_program(diagrams.whole(call.body), layout))
        return None
    return _shown(call, diagrams.dot(call.body, layout))


@magic(
    Option("name", "program, model, training or deployed", Choice("program", "model", "training", "deployed")),
    Option("--save", "write it to this SVG file", FileName()),
    examples="""
        %diagram program                # somebody wrote how results come from inputs
        %diagram model                  # ... and weights
        %diagram training               # the loss updates them
        %diagram deployed               # a program again
    """,
    gives="",
)
def diagram(call: Call) -> Any:
    """Draw one of the four diagrams of the first lesson: what a program, a model, training and a deployed model are."""
    from .. import diagrams

    name = call.options["name"]
    if name is None:
        raise AnswerError("Which diagram?", "Name one: program, model, training or deployed.")
    if call.options["code"]:
        print(_program(diagrams.whole(diagrams.FOUR[name]), "dot"))
        return None
    return _shown(call, diagrams.diagram(name))


def _shown(call: Call, drawn: Any) -> Any:
    call.show(drawn)
    if call.options["save"]:
        print(f"Written: {drawn.save(call.options['save'])}")
    return drawn


def _program(source: str, layout: str) -> str:
    return f"import graphviz  # and the machine's own Graphviz\n\ngraphviz.Source({source!r}, engine={layout!r})"
