"""The magics: the only rooms that know IPython. This one registers them all, without importing any of them."""

from __future__ import annotations

import contextlib
import importlib
import re
import threading
import tokenize
import warnings
from typing import TYPE_CHECKING, Any

from IPython.core.magic import no_var_expand

from .settings import FastMagic

if TYPE_CHECKING:
    from .magic import Magic

# Name of each magic and the module that holds it, imported the first time the magic is used.
MAGICS = {
    "images": "images",
    "datablock": "data",
    "check": "data",
    "train": "learning",
    "models": "learning",
    "predict": "learning",
    "results": "learning",
    "confusion": "panels",
    "clean": "cleaning",
    "pixels": "panels",
    "export": "exporting",
    "cups": "teaching",
    "dot": "diagrams",
    "diagram": "diagrams",
    "slides": "presenting",
    "app": "serving",
}

_preload: threading.Thread | None = None


def load(shell: Any) -> None:
    """Register every magic, its Tab completion and the settings on an IPython shell.

    Nothing heavier than traitlets is imported. In a kernel a background thread then imports fastai
    while the user is still reading; `c.FastMagic.preload = False` in an IPython configuration file turns that off.
    """
    settings = FastMagic.attach(shell)
    # What fastai's imports warn of (torch.jit.script is deprecated, tqdm would like ipywidgets) is nothing that a
    # reader of the notebook can act on. The filters stay: fastai may be imported by a thread, at any time.
    for message in (r".*torch\.jit\.script", "IProgress not found"):
        warnings.filterwarnings("ignore", message=message)
    for name in MAGICS:
        shell.register_magic_function(_stub(shell, name), magic_kind="line_cell", magic_name=name)
        for prefix in ("%", "%%"):
            shell.set_hook("complete_command", _complete, str_key=f"{prefix}{name}")
    for transform in (comments_above_magic, assigned_magic):
        if transform not in shell.input_transformers_cleanup:
            shell.input_transformers_cleanup.append(transform)
    _no_python_names(shell)
    if settings.preload and hasattr(shell, "kernel"):
        preload()


def unload(shell: Any) -> None:
    """Take the magics and the input transformers away again; settings stay."""
    for name in MAGICS:
        for kind in ("line", "cell"):
            shell.magics_manager.magics[kind].pop(name, None)
    for transform in (comments_above_magic, assigned_magic):
        if transform in shell.input_transformers_cleanup:
            shell.input_transformers_cleanup.remove(transform)
    for name in MAGICS:
        for prefix in ("%", "%%"):
            shell.strdispatchers["complete_command"].strs.pop(f"{prefix}{name}", None)
    _python_names_again(shell)


def find(name: str) -> Magic:
    """Return the magic called `name`, importing the module it lives in."""
    return getattr(importlib.import_module(f"{__name__}.{MAGICS[name]}"), name)


def _stub(shell: Any, name: str) -> Any:
    @no_var_expand
    def magic(line: str, cell: str | None = None) -> None:
        find(name)(shell, line, cell)

    magic.__name__ = name
    magic.__doc__ = f"%{name} --help shows the options and examples of this magic."
    magic.getdoc = lambda: find(name).help()  # type: ignore[attr-defined]  # what `%train?` shows
    return magic


def _no_python_names(shell: Any) -> None:
    """Keep jedi's Python names out of the completions of a magic line; IPython mixes them in whatever a hook answers."""
    python_names = getattr(shell.Completer, "_jedi_matches", None)
    if python_names is None or getattr(python_names, "fastmagic", False):
        return

    def elsewhere(cursor_column: int, cursor_line: int, text: str) -> Any:
        lines = text.splitlines()
        line = lines[cursor_line] if cursor_line < len(lines) else ""
        word = line.lstrip("%").split(None, 1)[:1] if line.startswith("%") else []
        return () if word and word[0] in MAGICS else python_names(cursor_column, cursor_line, text)

    elsewhere.fastmagic = True  # type: ignore[attr-defined]
    shell.Completer._jedi_matches = elsewhere


def _python_names_again(shell: Any) -> None:
    if getattr(getattr(shell.Completer, "_jedi_matches", None), "fastmagic", False):
        del shell.Completer._jedi_matches  # what hides the class's own method


def _complete(shell: Any, event: Any) -> list[str]:
    """Answer IPython's `complete_command` hook, the one completion interface that 7.34 and 9 share."""
    from .complete import completions

    return completions(shell, find(event.command.lstrip("%")), event)


_ASSIGNED = re.compile(rf"^(\s*)([A-Za-z_]\w*)\s*=\s*%({'|'.join(MAGICS)})\b")


def assigned_magic(lines: list[str]) -> list[str]:
    """Read `learn = %train dls` as `%train --into learn dls`: a magic binds a name itself and returns nothing.

    Not inside of strings, nor in the body of a cell magic, which may be a file to write; one that runs its body as a
    cell (`%%time`) asks again.
    """
    if not any(map(_ASSIGNED.match, lines)) or next((line for line in lines if line.strip()), "").startswith("%%"):
        return lines
    quoted = _rows_in_strings(lines)
    return [
        line if row in quoted else _ASSIGNED.sub(r"\1%\3 --into \2", line) for row, line in enumerate(lines, start=1)
    ]


def _rows_in_strings(lines: list[str]) -> set[int]:
    """Return the numbers of the lines (from 1) that begin inside of a string."""
    rows: set[int] = set()
    begun: list[int] = []
    with contextlib.suppress(tokenize.TokenError, SyntaxError):  # what is not Python; what comes before it counts
        for token in tokenize.generate_tokens(iter(lines).__next__):
            kind = tokenize.tok_name[token.type]
            if kind.endswith("STRING_START"):  # an f-string, from Python 3.12 on
                begun.append(token.start[0])
            elif kind == "STRING" or kind.endswith("STRING_END"):
                first = token.start[0] if kind == "STRING" else begun.pop()
                rows.update(range(first + 1, token.end[0] + 1))
    return rows


def comments_above_magic(lines: list[str]) -> list[str]:
    """Let `%%datablock` stand below comment lines, and let its body be empty; IPython itself allows neither.

    Comments move below the magic line, so that every line of the body keeps its number.
    """
    for i, line in enumerate(lines):
        if line.startswith("%%") and line[2:].split(None, 1)[:1] and line[2:].split(None, 1)[0] in MAGICS:
            magic_line = line if line.endswith("\n") else line + "\n"
            body = lines[:i] + lines[i + 1 :]
            return [magic_line, *body] if "".join(body) else [magic_line, "\n"]
        if line.strip() and not line.lstrip().startswith("#"):
            break
    return lines


def preload() -> threading.Thread:
    """Start importing fastai in the background, once, and return the thread that does it."""
    global _preload
    if _preload is None:
        _preload = threading.Thread(target=_import_fastai, name="fastmagic-preload", daemon=True)
        _preload.start()
    return _preload


def wait_for_preload() -> None:
    """Wait for a background import that is under way; return at once where there is none."""
    if _preload is not None and _preload is not threading.current_thread():
        _preload.join()


def _import_fastai() -> None:
    # An import that fails here fails again, with its message, in the cell that needs it.
    try:
        importlib.import_module("fastai.vision.all")
        importlib.import_module("fastmagic.learning.turn")  # from here on a training is seen by those who ask its model
    except Exception:
        return
