"""How the house is built: lower floors know nothing of higher ones, no circles, and tables that name what exists."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import fastmagic
from fastmagic.magics import MAGICS, find
from fastmagic.magics.values import Place, Variable
from fastmagic.render import Shown

ROOT = Path(fastmagic.__file__).parent
FILES = {
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
    for file in ROOT.rglob("*.py")
}


def imported(name: str, everywhere: bool = False) -> set[str]:
    """Return the modules of fastmagic that one imports when it is loaded, or anywhere in it; not for types alone."""
    file = FILES[name]
    tree = ast.parse(file.read_text(encoding="utf-8"))
    typing = [node for node in tree.body if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)]
    only_types = {id(inner) for node in typing for inner in ast.walk(node)}
    found = set()
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.ImportFrom) and node.level and id(node) not in only_types:
            package = file.relative_to(ROOT).parent.parts
            base = [*package[: len(package) - node.level + 1], *(node.module or "").split(".")]
            room = ".".join(part for part in base if part)
            found |= {f"{room}.{alias.name}" if f"{room}.{alias.name}" in FILES else room for alias in node.names}
    return found & set(FILES)


def test_no_circle_of_imports():
    order = list(TopologicalSorter({name: imported(name) for name in FILES}).static_order())  # raises CycleError
    assert len(order) == len(FILES)


@pytest.mark.parametrize(
    ("floor", "above"),
    [
        ("data", ("learning", "panels", "magics")),
        ("kinds", ("panels", "magics")),
        ("learning", ("panels", "magics")),
        ("panels", ("magics",)),
    ],
)
def test_a_floor_knows_nothing_of_those_above(floor, above):
    for name in (name for name in FILES if name.split(".")[0] == floor):
        assert not [other for other in imported(name, everywhere=True) if other.split(".")[0] in above], name


def test_the_lazy_tables_name_things_that_exist():
    tree = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8"))
    told = {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    for name in fastmagic._PUBLIC:
        assert getattr(fastmagic, name).__name__ == name
        assert name in told, f"type checkers are not told of {name}"
    for name in MAGICS:
        assert find(name).name == name


def test_variables_are_told_by_the_names_of_classes_that_exist():
    import fastai.vision.all as fastai
    import pandas as pd

    from fastmagic.learning import masks, predictions, results
    from fastmagic.panels import confusion

    rooms = (fastai, pd, results, masks, predictions, confusion, __import__("builtins"), __import__("pathlib"))
    for name in MAGICS:
        for option in find(name).options:
            if isinstance(option.takes, (Place, Variable)):
                for wanted in option.takes.type_names:
                    assert any(hasattr(room, wanted) for room in rooms), f"%{name}: {wanted}"


def test_a_front_end_gets_the_forms_it_asks_for():
    shown = Shown("<p>6</p>", "6")
    assert set(shown._repr_mimebundle_()) == {"text/html", "text/plain"}
    assert set(shown._repr_mimebundle_(include={"text/plain"})) == {"text/plain"}
    assert set(shown._repr_mimebundle_(exclude={"text/plain"})) == {"text/html"}
