"""The plain fastai program behind what fastmagic makes: kept beside each object, printed by `--code`.

The text is what ran: questions of a data block are evaluated from the very expressions printed here, so program and
result cannot drift apart. Names from the user's own cells are carried along as source.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import inspect
import sys
import textwrap
import types
import weakref
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any

from .errors import FastmagicError

IMPORT = "from fastai.vision.all import *"

_programs: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()


def remember(made: Any, program: str) -> None:
    """Keep the program that makes an object for as long as the object lives."""
    _programs[made] = program


def code(made: Any) -> str:
    """Return the plain fastai program that makes `made`, a `DataLoaders` or `Learner` from fastmagic.

    Raises:
        FastmagicError: the object was not made by fastmagic.

    Example:
        >>> print(fastmagic.code(learn))  # doctest: +SKIP
    """
    program = _programs.get(made)
    if program is None:
        raise FastmagicError(
            f"This {type(made).__name__} was not made by fastmagic, so its program is not known.",
            "It is the code you made it with.",
        )
    return program


def known(made: Any) -> str | None:
    """Return the program of an object, or `None` where the user made it without fastmagic."""
    return _programs.get(made)


def rename(program: str, old: str, new: str) -> str:
    """Return a program with a variable of its own renamed, comments and layout kept."""
    if old == new:
        return program
    names = [node for node in ast.walk(ast.parse(program)) if isinstance(node, ast.Name) and node.id == old]
    lines = program.splitlines()
    for node in sorted(names, key=lambda n: (n.lineno, n.col_offset), reverse=True):
        line, start = lines[node.lineno - 1].encode(), node.col_offset
        end = start + len(old.encode())
        # Before Python 3.12 the names inside an f-string have no true place: leave those.
        if line[start:end] == old.encode():
            lines[node.lineno - 1] = (line[:start] + new.encode() + line[end:]).decode()
    return "\n".join(lines)


def definitions(expressions: Iterable[str], namespace: Mapping[str, Any], vocabulary: Mapping[str, Any]) -> list[str]:
    """Return the source of every user-defined name that the expressions use, in an order that runs.

    Functions and classes come as source, modules as imports, plain values as literals, anything else as the line of
    the cell that assigned it; what cannot be found is named in a comment.

    Args:
        expressions: Python source.
        namespace: the user's variables.
        vocabulary: names the program has from its first import.
    """
    found: dict[str, str] = {}

    def visit(source: str) -> None:
        for name in free_names(source):
            if name in found or name not in namespace or vocabulary.get(name, _MISSING) is namespace[name]:
                continue
            text = _definition(name, namespace[name], namespace)
            if not text.startswith(("#", "import ", "from ")):
                found[name] = ""  # a recursive function must not be visited again
                visit(text)
                del found[name]
            found[name] = text

    for expression in expressions:
        visit(expression)
    return list(found.values())


_MISSING = object()


def free_names(source: str) -> list[str]:
    """Return the names a piece of source reads without binding them itself."""
    try:
        tree = ast.parse(textwrap.dedent(source))
    except SyntaxError:
        return []
    read: dict[str, None] = {}
    bound: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            if isinstance(node.ctx, ast.Load):
                read[node.id] = None
            else:
                bound.add(node.id)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            bound.add(node.name)
    return [name for name in read if name not in bound and not hasattr(builtins, name)]


def _definition(name: str, value: Any, namespace: Mapping[str, Any]) -> str:
    if isinstance(value, types.ModuleType):
        shown = "os.path" if value.__name__ in ("posixpath", "ntpath") else value.__name__
        return f"import {shown}" if shown == name else f"import {shown} as {name}"
    literal = literal_source(value)
    if literal is not None:
        return f"{name} = {literal}"
    module = getattr(value, "__module__", None)
    own = getattr(value, "__qualname__", "")
    if own and module not in (None, "__main__", "builtins") and own.isidentifier() and module in sys.modules:
        return f"from {module} import {own}" + ("" if own == name else f" as {name}")
    if own == name and not getattr(value, "__closure__", None):
        with contextlib.suppress(OSError, TypeError):
            source = textwrap.dedent(inspect.getsource(value)).rstrip()
            if _parses(source) and source.startswith(("def ", "class ", "@", "async ")):
                return source
    return (
        _assigned(name, namespace) or f"# {name}: a {type(value).__name__} of your notebook, which this program lacks"
    )


def _assigned(name: str, namespace: Mapping[str, Any]) -> str | None:
    """Return the last assignment of a name among the cells that were run (IPython keeps them in `In`)."""
    for cell in reversed(namespace.get("In", ())):
        if name not in cell or not _parses(cell):
            continue
        for statement in reversed(ast.parse(cell).body):
            targets = statement.targets if isinstance(statement, ast.Assign) else []
            if any(isinstance(target, ast.Name) and target.id == name for target in targets):
                return ast.get_source_segment(cell, statement)
    return None


def _parses(source: str) -> bool:
    try:
        ast.parse(source)
    except SyntaxError:
        return False
    return True


def literal_source(value: Any) -> str | None:
    """Return the source of a plain value (numbers, text, paths, lists and dicts of these), else `None`."""
    if isinstance(value, PurePath):
        return f"Path({str(value)!r})"
    if isinstance(value, (list, tuple, set)) and type(value) in (list, tuple, set):
        parts = [literal_source(v) for v in value]
        if any(part is None for part in parts) or (isinstance(value, set) and not value):
            return None
        inner = ", ".join(str(part) for part in parts)
        if isinstance(value, tuple):
            return f"({inner},)" if len(parts) == 1 else f"({inner})"
        return f"[{inner}]" if isinstance(value, list) else f"{{{inner}}}"
    if type(value) is dict:
        pairs = [(literal_source(k), literal_source(v)) for k, v in value.items()]
        return (
            None if any(k is None or v is None for k, v in pairs) else f"{{{', '.join(f'{k}: {v}' for k, v in pairs)}}}"
        )
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        return repr(value)
    return None
