"""The plain fastai program behind what fastmagic makes: kept beside each object, printed by `--code`.

The text is what ran: questions of a data block are evaluated from the very expressions printed here, so program and
result cannot drift apart. Names from the user's own cells are carried along as source.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import inspect
import itertools
import linecache
import math
import sys
import textwrap
import types
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import PurePath
from typing import Any

from .errors import FastmagicError

VISION = "fastai.vision.all"
IMPORT = f"from {VISION} import *"


@dataclass
class Program:
    """A plain fastai program in parts: `str` puts them in an order that runs.

    Attributes:
        before: what the user's names stand for: imports, definitions, and a comment for what cannot be written down,
            which comes first of all.
        body: what follows, a paragraph an entry.
        module: what everything is imported from.
    """

    before: list[str] = field(default_factory=list)
    body: list[str] = field(default_factory=list)
    module: str = VISION

    def __str__(self) -> str:
        missing = [text for text in self.before if text.startswith("#")]
        imports = [text for text in self.before if text.startswith(("import ", "from "))]
        rest = [text for text in self.before if text not in missing and text not in imports]
        head = "\n".join([*missing, f"from {self.module} import *", *imports])
        return "\n\n".join(part for part in (head, "\n".join(rest), *self.body) if part)

    def renamed(self, old: str, new: str) -> Program:
        """Return the same program with a variable of its body under another name."""
        return replace(self, before=list(self.before), body=[rename(text, old, new) for text in self.body])

    def then(self, before: Iterable[str], *body: str) -> Program:
        """Return this program with more to follow."""
        more = [text for text in before if text not in self.before]
        return replace(self, before=[*self.before, *more], body=[*self.body, *body])


@dataclass
class _Kept:
    program: Program
    state: Any


_programs: weakref.WeakKeyDictionary[Any, _Kept] = weakref.WeakKeyDictionary()


def remember(made: Any, program: Program) -> None:
    """Keep the program that makes an object for as long as the object lives."""
    _programs[made] = _Kept(program, _state(made))


def _state(made: Any) -> Any:
    """Return what changes when a learner is trained: how often it was, which `learning.turn` counts."""
    return vars(made).get("_fits", 0)


def code(made: Any) -> str:
    """Return the plain fastai program that makes `made`, a `DataLoaders` or `Learner` from fastmagic.

    A learner that was trained on by other means says at the top that its program is older.

    Raises:
        FastmagicError: the object was not made by fastmagic.

    Example:
        >>> print(fastmagic.code(learn))  # doctest: +SKIP
    """
    found = known(made)
    if found is None:
        raise FastmagicError(
            f"This {type(made).__name__} was not made by fastmagic, so its program is not known.",
            "It is the code you made it with.",
        )
    return str(found)


def known(made: Any) -> Program | None:
    """Return the program of an object, or `None` where the user made it without fastmagic."""
    try:
        kept = _programs.get(made)
    except TypeError:  # a DataFrame, which has no hash
        return None
    if kept is None:
        return None
    if kept.state != _state(made):
        return kept.program.then(["# Older than the learner, which has been trained on since."])
    return kept.program


def preceded(text: str, names: Mapping[str, Any], namespace: Mapping[str, Any]) -> str:
    """Return a program after those that make what it uses.

    Args:
        text: the program, its first line that of `IMPORT`.
        names: the variables that it uses, and what they are.
        namespace: the user's variables, for what fastmagic did not make.
    """
    import fastai.vision.all as vision

    whole = Program()
    for name, value in names.items():
        made = known(value)
        if made is None:
            made = Program(definitions([name], {**namespace, name: value}, vars(vision)))
        else:
            made = made.renamed("learn" if hasattr(value, "model") else "dls", name)
        whole = replace(whole.then(made.before, *made.body), module=made.module)
    return str(whole.then([], text.removeprefix(IMPORT).strip("\n")))


def run(text: str, names: dict[str, Any], title: str) -> None:
    """Run lines under a file name of their own, so that tracebacks and debuggers show them."""
    file = f"<{title} {next(_runs)}>"
    linecache.cache[file] = (len(text), None, text.splitlines(True), file)
    exec(compile(text, file, "exec"), names)


_runs = itertools.count(1)


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


def names_in(texts: Iterable[str]) -> set[str]:
    """Return every name that stands in some source, read or bound."""
    nodes = [node for text in texts if _parses(text) for node in ast.walk(ast.parse(text))]
    found = {node.id for node in nodes if isinstance(node, ast.Name)}
    found |= {node.name for node in nodes if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    return found | {(a.asname or a.name) for n in nodes if isinstance(n, (ast.Import, ast.ImportFrom)) for a in n.names}


def free_name(name: str, taken: Iterable[str]) -> str:
    """Return a name, or one like it that is not taken."""
    taken = set(taken)
    while name in taken:
        name = {"path": "folder", "df": "table", "block": "data_block"}.get(name, f"{name}_")
    return name


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
            text = _definition(name, namespace[name], namespace, vocabulary)
            if not text.startswith(("#", "import ", "from ")):
                found[name] = ""  # a recursive function must not be visited again
                visit(text)
                del found[name]
            found[name] = text

    for expression in expressions:
        visit(expression)
    return list(found.values())


_MISSING = object()


def free_names(source: str, bound: bool = True) -> list[str]:
    """Return the names a piece of source reads without binding them itself.

    Args:
        source: Python.
        bound: leave out names that are bound anywhere in it; else only those of arguments and loops.
    """
    try:
        tree = ast.parse(textwrap.dedent(source))
    except SyntaxError:
        return []
    read: dict[str, None] = {}
    own: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            if isinstance(node.ctx, ast.Load):
                read[node.id] = None
            elif bound:
                own.add(node.id)
        elif isinstance(node, ast.arg):
            own.add(node.arg)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            own.add(node.name)
    return [name for name in read if name not in own and not hasattr(builtins, name)]


def _definition(name: str, value: Any, namespace: Mapping[str, Any], vocabulary: Mapping[str, Any]) -> str:
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
    statements = _made_by(name, namespace)
    if statements is None and (written := constructed(value, vocabulary)):
        statements = f"{name} = {written}"
    return statements or f"# {name}: a {type(value).__name__} of your notebook, which this program lacks"


def _made_by(name: str, namespace: Mapping[str, Any]) -> str | None:
    """Return the statements of the cells that made a name what it is (IPython keeps the cells in `In`).

    From the last one that binds it without reading it, all that bind it again or change it in place.
    """
    found: list[str] = []
    for cell in namespace.get("In", ()):
        if name not in cell or not _parses(cell):
            continue
        for statement in ast.parse(cell).body:
            if not _changes(statement, name):
                continue
            text = ast.get_source_segment(cell, statement) or ""
            if isinstance(statement, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)):
                decorators = [f"@{ast.unparse(decorator)}\n" for decorator in statement.decorator_list]
                found = ["".join(decorators) + text]
            elif _binds(statement, name) and name not in free_names(text, bound=False):
                found = [text]
            elif found:
                found.append(text)
    return "\n".join(found) or None


def _binds(statement: ast.stmt, name: str) -> bool:
    """Tell whether a statement gives a name a value as a whole."""
    if isinstance(statement, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)):
        return statement.name == name
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    names = [node for target in targets if target is not None for node in ast.walk(target)]
    return any(isinstance(n, ast.Name) and n.id == name and isinstance(n.ctx, ast.Store) for n in names)


def _changes(statement: ast.stmt, name: str) -> bool:
    """Tell whether a statement binds a name, a part of it (`df['label'] = …`), or changes it by a call."""
    if isinstance(statement, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)):
        return statement.name == name
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and node.id == name and not isinstance(node.ctx, ast.Load):
            return True
        part = isinstance(node, (ast.Subscript, ast.Attribute)) and not isinstance(node.ctx, ast.Load)
        if part and _root(node) == name:
            return True
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and _root(node.value.func) == name:
            method = getattr(node.value.func, "attr", "")
            in_place = any(k.arg == "inplace" and ast.unparse(k.value) == "True" for k in node.value.keywords)
            if in_place or method in ("insert", "pop", "update", "append", "extend", "add", "remove", "sort"):
                return True
    return False


def _root(node: ast.AST) -> str:
    while isinstance(node, (ast.Subscript, ast.Attribute)):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def constructed(value: Any, vocabulary: Mapping[str, Any]) -> str | None:
    """Return a call that makes such a value: of a class or a factory of fastai's, or a lambda; `None` if none is sure.

    >>> import fastai.vision.all as vision
    >>> constructed(vision.Resize(96, method="squish"), vars(vision))
    "Resize(size=(96, 96), method='squish')"
    >>> constructed(vision.RandomSplitter(0.3, seed=1), vars(vision))
    'RandomSplitter(valid_pct=0.3, seed=1)'
    """
    if isinstance(value, types.FunctionType):
        if value.__name__ == "<lambda>":
            return _lambda(value)
        factory = vocabulary.get(value.__qualname__.partition(".<locals>")[0])
        held = inspect.getclosurevars(value).nonlocals
        if factory is None or not all(name in held for name in inspect.signature(factory).parameters):
            return None
        return _call(factory, held)
    cls = type(value)
    if vocabulary.get(cls.__name__) is not cls or not hasattr(value, "__dict__"):
        return None
    text = _call(cls, vars(value))
    if text is None:
        return None
    try:
        made = vars(eval(text, dict(vocabulary)))
    except Exception:
        return None
    return text if all(_alike(made[name], vars(value).get(name, _MISSING)) for name in made) else None


def _call(function: Callable[..., Any], held: Mapping[str, Any]) -> str | None:
    """Return a call with the arguments that are held under the names of its parameters, defaults left out."""
    arguments = []
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    for parameter in parameters:
        if parameter.name not in held or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        value = held[parameter.name]
        if parameter.default is not parameter.empty and _alike(value, parameter.default):
            continue
        written = literal_source(list(value) if type(value).__name__ == "L" else value)
        if written is None:
            return None
        arguments.append(f"{parameter.name}={written}")
    return f"{function.__name__}({', '.join(arguments)})"


def _alike(one: Any, other: Any) -> bool:
    if literal_source(one) is not None or literal_source(other) is not None:
        return literal_source(one) == literal_source(other)
    return one is other or (type(one) is type(other) and repr(one) == repr(other) and " at 0x" not in repr(one))


def _lambda(function: types.FunctionType) -> str | None:
    """Return the source of a lambda that uses nothing from around it, where it is the only one on its lines."""
    if function.__closure__:
        return None
    try:
        lines, _ = inspect.getsourcelines(function)
    except (OSError, TypeError):
        return None
    text = textwrap.dedent("".join(lines))
    for cut in (text, f"({text.strip()})", f"({text.strip().rstrip(',')})", f"f({text.strip()})"):
        if _parses(cut):
            found = [node for node in ast.walk(ast.parse(cut)) if isinstance(node, ast.Lambda)]
            return ast.get_source_segment(cut, found[0]) if len(found) == 1 else None
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
    if type(value).__name__ == "fastuple":  # fastcore's, which its transforms keep sizes in
        value = tuple(value)
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
    if isinstance(value, Enum):  # some are numbers or text as well
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return f"float('{float(value)}')"
    if value is None or isinstance(value, (bool, bytes)):
        return repr(value)
    base = next((kind for kind in (int, float, str) if isinstance(value, kind)), None)
    return None if base is None else repr(base(value))
