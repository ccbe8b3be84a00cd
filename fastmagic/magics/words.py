"""What the floors below say in Python, put into the words of a magic: `bs=8` is --bs 8 on its line.

Errors and reports are read by people who call functions, who use magics and who visit an app. Below this room they
speak Python, in backticks; what has a magic word for it is said with that word where a magic shows it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection

from . import MAGICS
from .settings import FastMagic

# Where the word of a magic is not that of the function.
_OPTIONS = {("datablock", 0): "from", ("images", "source"): "from", ("train", "checks"): "check"}
_QUOTED = re.compile(r"`([^`\n]+)`")


def in_words_of(name: str, options: Collection[str], text: str, cell: bool = False) -> str:
    """Return a text with its pieces of Python in the words of a magic; what has none stays as it is.

    Args:
        name: of the magic that shows the text.
        options: of that magic, as they are typed ("--bs").
        text: with Python in backticks.
        cell: the magic has a body, where questions are answered.

    >>> in_words_of("train", ["--bs"], "Try `bs=8`, or `check(dls, fix=True)`; see `learn.summary()`.")
    'Try --bs 8, or %check dls --fix; see `learn.summary()`.'
    """
    return _QUOTED.sub(lambda found: _said(name, options, found[1], cell) or found[0], text)


def _said(name: str, options: Collection[str], code: str, cell: bool) -> str:
    """Return how a piece of Python is said, empty where there is no word for it."""
    if code.isidentifier():
        if f"--{_word(code)}" in options:
            return f"--{_word(code)}"
        return f"%{code}" if code in MAGICS else "--explain" if code == "explain" else ""
    try:
        call = ast.parse(code, mode="eval").body
    except SyntaxError:
        try:
            call = ast.parse(f"{name}({code})", mode="eval").body
        except SyntaxError:
            return ""
        return _options(name, options, call, cell) if isinstance(call, ast.Call) and not call.args else ""
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)):
        return ""
    called = call.func.id
    if called == "code":
        return "--code"
    if called == "explain":
        return "%datablock … --explain"
    if called not in MAGICS:
        return ""
    sign = "%%" if cell and called == name else "%"
    words = [
        f"--{_OPTIONS[called, i]} {_value(a)}" if (called, i) in _OPTIONS else _value(a)
        for i, a in enumerate(call.args)
    ]
    return " ".join([f"{sign}{called}", *words, *(_option(called, keyword) for keyword in call.keywords)])


def _options(name: str, options: Collection[str], call: ast.Call, cell: bool) -> str:
    """Return keywords as options, as settings of the suite, or as answers in the body of a cell."""
    said = []
    for keyword in call.keywords:
        option, key = _option(name, keyword), str(keyword.arg)
        if option.split()[0] in options:
            said.append(option)
        elif key in FastMagic.class_trait_names():
            said.append(f"%config FastMagic.{key} = {ast.unparse(keyword.value)}")
        elif key in _questions(name):
            here = cell and name == "datablock"
            said.append(f"{key} = {ast.unparse(keyword.value)}" + ("" if here else " in a %%datablock cell"))
        else:
            return ""
    return " ".join(said)


def _questions(name: str) -> Collection[str]:
    """Return what is answered in a `%%datablock` cell; the batch size and its like are no advice for another magic."""
    from ..data.answers import LOADER, QUESTIONS

    return (*QUESTIONS, *LOADER) if name == "datablock" else QUESTIONS


def _option(name: str, keyword: ast.keyword) -> str:
    word = _OPTIONS.get((name, str(keyword.arg)), _word(str(keyword.arg)))
    value = keyword.value
    if isinstance(value, ast.Constant) and isinstance(value.value, bool):
        return f"--{word}" if value.value else f"--no-{word}"
    return f"--{word} {_value(value)}"


def _word(key: str) -> str:
    return key.replace("_", "-")


def _value(node: ast.expr) -> str:
    """Return a value as it is typed on a magic line: text without its quotes, unless it has blanks or wildcards."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return repr(node.value) if re.search(r"[\s*?\[]", node.value) else node.value
    return ast.unparse(node)
