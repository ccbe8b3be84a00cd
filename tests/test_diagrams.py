"""Diagrams: what is drawn, in words, in the page's colours, and what is said where Graphviz cannot."""

from __future__ import annotations

import importlib.util
import os
import re
import stat
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from fastmagic import diagrams
from fastmagic.diagrams import diagram, dot
from fastmagic.errors import FastmagicError

needs_graphviz = pytest.mark.skipif(
    importlib.util.find_spec("pygraphviz") is None and not os.environ.get("CI"), reason="pygraphviz is not installed"
)


@needs_graphviz
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("program", "inputs → program → results"),
        ("model", "weights → model"),
        ("training", "loss → parameters (update)"),
        ("deployed", "inputs → model → results"),
    ],
)
def test_the_four_of_the_lesson(name: str, said: str):
    drawn = diagram(name)
    assert said in drawn.text.splitlines()
    assert "<text" in drawn.svg
    ElementTree.fromstring(drawn.svg)


@needs_graphviz
@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("a -> b -> c", "a → b → c"),
        ("digraph {\n a -> b\n b -> a }", "a → b → a"),
        ("graph { a -- b -- c }", "a – b – c"),
        ("a -- b", "a – b"),
        ("a -> b [label=\"x y\"]\nlonely", "a → b (x y)\nlonely"),
        ('a [label="größe & <breite>"]\na -> b', "größe & <breite> → b"),
        ("// digraph { \na -> b  /* graph { */", "a → b"),
        ("strict digraph G { rankdir=TB; a:n -> b:s }", "a → b"),
        ("lonely", "lonely"),
    ],
)  # fmt: skip
def test_what_is_drawn_is_also_said(source: str, text: str):
    assert dot(source).text == text


@needs_graphviz
def test_a_node_without_a_label_beside_one_that_has_one_shows_its_name():
    svg = ElementTree.fromstring(dot('a [label="first"]\na -> b').svg)
    assert {text.text for text in svg.iter(f"{diagrams.SVG}text")} == {"first", "b"}


@needs_graphviz
def test_it_takes_the_colour_of_the_page_except_where_it_has_one():
    html = dot("a [style=filled fillcolor=lightblue]\nb [fontcolor=red color=green]\na -> b -> c").forms()["text/html"]
    svg = ElementTree.fromstring(html[html.index("<svg") : html.index("</svg>") + 6])
    ink = {}
    for group in svg.iter(f"{diagrams.SVG}g"):
        title = group.findtext(f"{diagrams.SVG}title")
        ink[title] = {part.get("fill") or "black" for part in group if part.tag == f"{diagrams.SVG}text"}
    assert ink["a"] == {"black"}, "on light blue"
    assert ink["b"] == {"red"}
    assert ink["c"] == {"currentColor"}
    assert 'stroke="green"' in html
    whole = dot("digraph { bgcolor=yellow a -> b }").forms()["text/html"]
    assert "currentColor" not in whole
    assert re.search(r'role="img" aria-label="a → b"', whole)


@needs_graphviz
def test_a_file_of_it_is_black_on_nothing(tmp_path: Path):
    file = dot("a -> b").save(tmp_path / "it.svg")
    assert "currentColor" not in file.read_text()
    ElementTree.parse(file)
    with pytest.raises(FastmagicError, match="cannot be written"):
        dot("a -> b").save(tmp_path / "nowhere" / "it.svg")


@needs_graphviz
@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("a -> b\nb -> -> c", "syntax error in line 2 near '->'"),
        ("digraph { a -> ", "syntax error"),
        ("  \n", "nothing to draw"),
    ],
)
def test_what_graphviz_does_not_understand_is_told_with_its_line(source: str, said: str):
    with pytest.raises(FastmagicError, match=re.escape(said)):
        dot(source)


def test_where_graphviz_is_not_it_says_how_to_have_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(FastmagicError, match=r"pip install 'fastmagic\[diagrams\]'"):
        diagram("model")
    with pytest.raises(FastmagicError, match="Did you mean 'training'"):
        diagram("trainning")
    with pytest.raises(FastmagicError, match="Choose from"):
        dot("a -> b", "xyz")


def test_the_machines_own_program_is_taken_where_the_package_is_not(tmp_path: Path, monkeypatch):
    program = tmp_path / "dot"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nsource = sys.stdin.read()\nassert sys.argv[1] == '-Tsvg'\n"
        "if 'wrong' in source:\n    sys.exit('Error: <stdin>: syntax error in line 1 near wrong')\n"
        'print(\'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9pt"><g class="node"><title>a</title></g></svg>\')\n'
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert dot("a").text == "a"
    with pytest.raises(FastmagicError, match="syntax error in line 1 near wrong"):
        dot("wrong")


@needs_graphviz
def test_a_layout_that_takes_too_long_is_given_up(monkeypatch):
    monkeypatch.setattr(diagrams, "PATIENCE", 0.001)
    with pytest.raises(FastmagicError, match="another layout"):
        dot("a -> b")
