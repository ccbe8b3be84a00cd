"""What every panel is: a widget with requests and answers, and an output that reads well where no widget can live."""

from __future__ import annotations

import base64
import html
import io
import logging
import os
import re
import sys
import threading
import traceback
import uuid
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import anywidget
import traitlets

from ..errors import FastmagicError
from ..render import CSS, chosen
from .kernel import cell_events, watched

WIDGET = "application/vnd.jupyter.widget-view+json"
HERE = Path(__file__).parent
STYLES = 'const STYLES = "";'  # where shared.js leaves room for them
IMPORT = re.compile(r'^import\s*(\{[^}]*\})\s*from "(\.[^"]+)";\n', flags=re.M)


class Still(NamedTuple):
    """How a panel looks where it cannot live: in a saved notebook, on GitHub, in a page made by nbconvert.

    Attributes:
        html: what goes inside a `<div>`; together with `png` at most some 200 KB.
        text: the same in words, for a terminal and for a screen reader.
        png: the same as a picture, for what shows only pictures; `None` while there is nothing to see.
    """

    html: str
    text: str
    png: bytes | None = None


class Encoded(NamedTuple):
    """A picture or a sound for the browser, sent as it is."""

    data: bytes
    mime: str = "image/jpeg"


class Panel(anywidget.AnyWidget):
    """A panel: its browser side in `<module>.js` and `<module>.css` beside this file, its data in the kernel.

    The browser asks, the kernel answers: `panel.ask("tile", {row: 3})` in JavaScript calls `on_tile(row=3)` here, and
    what that returns (a dict; arrays and `Encoded` pictures travel as binary buffers) settles the browser's promise. What
    it raises is shown in the panel. `tell` sends what nobody asked for. The pattern is quak's (github.com/manzt/quak).

    An output carries the live widget and the still. JupyterLab prefers the widget even when it is gone, so a saved
    notebook would show "model not found": once a front end has said that it is a page (`on_settled`), the output keeps
    the still alone, and the browser side puts the living panel in its place.

    Subclasses set `module` and write `state`, `still` and the `on_…` methods.
    """

    module = ""
    panel_id = traitlets.Unicode().tag(sync=True)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        # anywidget makes a class of each instance's own and puts the module's text there, as a trait.
        if "module" in vars(cls):
            cls._esm = source_of(cls.module)
        super().__init_subclass__(**kwargs)

    def __init__(self) -> None:
        self._displays: list[str] = []
        self._at_cell_end = False  # whether the stills are drawn anew then
        self._host = "frame" if _always_framed() else ""
        self._lock = threading.RLock()
        super().__init__(panel_id=uuid.uuid4().hex)

    # ------------------------------------------------------------ what a subclass writes

    def state(self) -> dict[str, Any]:
        """Return what a browser needs that sees the panel for the first time, or again after a reload."""
        return {}

    def still(self) -> Still:
        """Return how the panel looks as it is now."""
        raise NotImplementedError

    # ------------------------------------------------------------ talking with the browser

    def tell(self, event: str, **content: Any) -> None:
        """Send an event to every browser that shows the panel; it arrives at `panel.on(event, …)`.

        A front end that cannot be reached is logged and costs nothing else: a training goes on.
        """
        buffers: list[Any] = []
        message = {"event": event, "content": _packed(content, buffers)}
        with self._lock:
            try:
                self.send(message, buffers)
            except Exception:
                logging.getLogger(__name__).warning("'%s' could not be sent to the browser", event, exc_info=True)

    def _receive(self, _: Any, message: Any, buffers: Any) -> None:
        if not isinstance(message, dict) or "ask" not in message:
            return
        # One at a time, until the answer is out: an event sent meanwhile would be one that the answer does not hold.
        with self._lock:
            self._answer(message, buffers)

    def _answer(self, message: dict[str, Any], buffers: Any) -> None:
        reply: dict[str, Any] = {"re": message.get("id")}
        packed: list[Any] = []
        try:
            name = f"on_{message['ask']}"
            # Only what panels define: widgets have methods of such names too (`on_msg`).
            handler = (
                getattr(self, name)
                if any(name in vars(c) for c in type(self).__mro__ if issubclass(c, Panel))
                else None
            )
            if handler is None:
                raise FastmagicError(f"This panel does not know {message['ask']!r}.", "Reload the page.")
            arguments = dict(message.get("content") or {})
            if buffers:
                arguments["buffers"] = [bytes(buffer) for buffer in buffers]
            reply["answer"] = _packed(handler(**arguments) or {}, packed)
        except FastmagicError as error:
            reply["error"] = str(error)
        except Exception as error:
            reply |= self.told_of(error)
        self.send(reply, packed)

    def told_of(self, error: Exception) -> dict[str, str]:
        """Return what the browser is told of an error that nobody foresaw; called where it is being handled."""
        told = {"error": f"{type(error).__name__}: {error}"}
        if "JPY_SESSION_NAME" in os.environ or _always_framed():  # in an app strangers look on
            told["details"] = traceback.format_exc()
        return told

    def on_hello(self, host: str) -> dict[str, Any]:
        """Answer a browser that begins to show the panel.

        Args:
            host: "page" where outputs and widgets share a document, "frame" where each output has its own.
        """
        if not _always_framed():
            self._host = host
        return self.state()

    def on_settled(self) -> None:
        """Keep the panel's looks in the notebook: the browser says so when nothing has happened for a moment."""
        self.keep_still()

    # ------------------------------------------------------------ showing

    def open(self) -> None:
        """Open the comm to the browser, where there may be one."""
        # Before: a kernel with subshells (ipykernel 7) answers in another thread, and a quick browser asks at once.
        self.on_msg(self._receive)
        if watched():
            super().open()

    def _ipython_display_(self, **kwargs: Any) -> None:
        display_id = uuid.uuid4().hex
        bundle = self.forms()
        self._displays.append(display_id)
        _publish(bundle, display_id, update=False)

    def keep_still(self) -> None:
        """Bring the still in every output of this panel up to date."""
        if not self._displays:
            return
        bundle = self.forms()
        for display_id in self._displays:
            _publish(bundle, display_id, update=True)

    def keep_still_later(self) -> None:
        """Bring the stills up to date at the end of the running cell, at once where none runs.

        A loop that decides about a hundred items draws once.
        """
        events = cell_events()
        if events is None:
            self.keep_still()
        elif not self._at_cell_end:
            self._at_cell_end = True

            def ended(_: Any) -> None:
                events.unregister("post_run_cell", ended)
                self._at_cell_end = False
                self.keep_still()

            events.register("post_run_cell", ended)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:  # type: ignore[override]
        return chosen(self.forms(), include, exclude)

    def forms(self) -> dict[str, Any]:
        """Return the forms of the panel: HTML, text, PNG, and the widget unless the output does without."""
        still = self.still()
        label = html.escape(still.text.splitlines()[0] if still.text else "panel")
        bundle: dict[str, Any] = {
            "text/plain": still.text,
            "text/html": f'{CSS}<div class="fastmagic fastmagic-panel" data-fastmagic-panel="{self.panel_id}" '
            f'data-fastmagic-module="{self.module}" aria-label="{label}"><div class="fastmagic-still">{still.html}</div></div>',
        }
        if still.png is not None:
            bundle["image/png"] = base64.b64encode(still.png).decode()
        if watched() and self._host != "page":
            bundle[WIDGET] = {"version_major": 2, "version_minor": 0, "model_id": self.model_id}
        return bundle

    def __repr__(self) -> str:
        return self.still().text


def small_png(png: bytes, colours: int = 128) -> bytes:
    """Return a drawing as a PNG of few colours: a third of its size, and next to no difference to be seen."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(colours).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def png_tag(png: bytes, alt: str, width: int | None = None) -> str:
    """Return an `<img>` that holds a PNG, `width` CSS px wide."""
    data = base64.b64encode(png).decode()
    size = f' width="{width}"' if width else ""
    return f'<img src="data:image/png;base64,{data}" alt="{html.escape(alt, quote=True)}"{size}>'


@lru_cache
def source_of(module: str) -> str:
    """Return the ES module of a panel in one piece: what it imports, its styles and its own code.

    Front ends get a module as text and cannot follow imports of files, so `import … from "./shared.js"`, which editors
    and `tsc` need, gives way to what it imports.
    """
    styles = (HERE / "shared.css").read_text("utf8") + _styles(HERE / f"{module}.css")
    escaped = styles.replace("\\", "\\\\").replace("`", "\\`")
    return _code(HERE / f"{module}.js", set()).replace(STYLES, f"const STYLES = `{escaped}`;", 1)


def _code(file: Path, taken: set[Path], top: bool = True) -> str:
    """Return a module with what it imports, each once, in front of it; only the topmost exports anything."""
    code, before = file.read_text("utf8"), ""
    for _, name in IMPORT.findall(code):
        other = (file.parent / name).resolve()
        if other not in taken:
            taken.add(other)
            before += _code(other, taken, top=False)
    code = IMPORT.sub("", code)
    return (
        before
        + (code if top else re.sub(r"^export (?=(?:async )?(?:function|class|const))", "", code, flags=re.M))
        + "\n"
    )


def _styles(file: Path) -> str:
    """Return a style sheet with those that it imports in their place."""
    return re.sub(r'@import "([^"]+)";\n', lambda found: _styles(file.parent / found[1]), file.read_text("utf8"))


def _packed(value: Any, buffers: list[Any]) -> Any:
    """Return a value as JSON has it; arrays and `Encoded` move to the buffers, and `$buffer` says which one."""
    if isinstance(value, Encoded):
        buffers.append(value.data)
        return {"$buffer": len(buffers) - 1, "mime": value.mime}
    if isinstance(value, dict):
        return {str(key): _packed(part, buffers) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_packed(part, buffers) for part in value]
    if hasattr(value, "dtype") and hasattr(value, "tobytes"):
        if not value.shape:
            return value.item()
        buffers.append(value.tobytes())
        return {"$buffer": len(buffers) - 1, "dtype": str(value.dtype), "shape": list(value.shape)}
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None  # JSON has no NaN
    return value


def _publish(bundle: dict[str, Any], display_id: str, update: bool) -> None:
    from IPython.core.getipython import get_ipython
    from IPython.display import display

    if get_ipython() is None:
        if not update:
            print(bundle["text/plain"])
        return
    display(bundle, raw=True, display_id=display_id, update=update)


def _always_framed() -> bool:
    """Tell whether this is a front end that shows each output in a frame of its own, or one never seen from inside."""
    return "google.colab" in sys.modules or any(
        name in os.environ
        for name in ("VSCODE_PID", "VSCODE_CWD", "KAGGLE_KERNEL_RUN_TYPE", "DATABRICKS_RUNTIME_VERSION")
    )
