"""Real front ends for tests: starts each server on a free port and drives its notebooks in Chromium."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import nbformat
import pytest

from fastmagic.serve import live

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Locator, Page, ViewportSize

ROOT = Path(__file__).resolve().parents[2]
SCREENSHOTS = ROOT / "screenshots"
FAILURES = SCREENSHOTS / "failures"
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
WIDGET = "application/vnd.jupyter.widget-view+json"
PATIENCE = 90_000  # ms for the state that a test waits for: much on a busy machine, and nothing where it is there
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-sync",
    "--no-first-run",
    "--disable-component-update",
]

# The environment of the tests, and those beside it that tests/browser/environments makes.
HERE = Path(sys.executable)
LAB_RISE = ROOT / ".venv-lab-rise" / "bin" / "python"
KERNELS = {
    "python3": HERE,
    "ipykernel-6.17.1": ROOT / ".venv-ipykernel617" / "bin" / "python",  # as on Kaggle: ipywidgets 8.1.5
    "ipykernel-7.3": ROOT / ".venv-ipykernel73" / "bin" / "python",
    "ipykernel-7.4": HERE,  # as python3, but started as users start it: that one is forked (see Forks)
    # As on Colab: ipywidgets 7.7.1, which JupyterLab with ipywidgets 8 refuses to show; nbclassic shows it.
    "oldest": ROOT / ".venv-oldest" / "bin" / "python",
}

# One small language for all front ends, `fm`, here as JupyterLab and Notebook 7 speak it ...
LAB_JS = """
window.fm = {
  pending: 0,
  panel: () => [...(window.jupyterapp?.shell?.widgets('main') ?? [])].find(w => w.context && w.content?.widgets),
  kernel: () => fm.panel()?.sessionContext.session?.kernel,
  cells: () => fm.panel().content.widgets,
  code: () => fm.cells().filter(cell => cell.model.type === 'code'),
  open: () => !!fm.panel()?.context.isReady && fm.panel().isVisible && fm.cells().length > 0,
  idle: () => fm.pending === 0 && fm.kernel()?.status === 'idle' && fm.kernel().connectionStatus === 'connected',
  start: command => { fm.pending++; jupyterapp.commands.execute(command).finally(() => fm.pending--); },
  runAll: () => fm.start('notebook:run-all-cells'),
  run: i => {
    fm.panel().content.activeCellIndex = fm.cells().indexOf(fm.code()[i]);
    fm.start('notebook:run-cell');
  },
  show: i => fm.code()[i].node.scrollIntoView(),
  save: () => fm.panel().context.save(),
  nudge: () => fm.kernel()?.requestKernelInfo(),
  // The next notebook in the same page: the application takes seconds to load.
  next: path => {
    for (const panel of [...jupyterapp.shell.widgets('main')].filter(w => w.context && w.content?.widgets)) {
      panel.context.model.dirty = false;
      panel.dispose();
    }
    fm.pending = 0;
    return jupyterapp.commands.execute('docmanager:open', {path, factory: 'Notebook'}).then(() => null);
  },
};
"""
# ... as nbclassic does ...
CLASSIC_JS = """
window.fm = {
  notebook: () => window.Jupyter?.notebook,
  code: () => fm.notebook().get_cells().filter(cell => cell.cell_type === 'code'),
  open: () => !!fm.notebook()?._fully_loaded && fm.code().length > 0,
  looked: false,
  kernel: () => fm.notebook().kernel,
  // A cell is done when both the reply to its last message and the end of its outputs are here.
  done: cell => {
    const {shell_done = true, iopub_done = true} = fm.kernel()._msg_callbacks[cell.last_msg_id] ?? {};
    return cell.input_prompt_number !== '*' && shell_done && iopub_done;
  },
  idle: () => fm.looked && !!fm.kernel()?.info_reply.banner && !fm.notebook().kernel_busy && fm.code().every(fm.done),
  runAll: () => fm.notebook().execute_all_cells(),
  run: i => fm.notebook().execute_cells([fm.notebook().find_cell_index(fm.code()[i])]),
  show: i => fm.code()[i].element[0].scrollIntoView(),
  save: () => fm.notebook().save_notebook().then(() => null),
  nudge: () => fm.kernel()?.kernel_info(),
};
// The first look of ipywidgets for widgets in the kernel ends with drawing all outputs anew: no cell may run before that.
const looking = setInterval(() => {
  if (!fm.notebook()) return;
  clearInterval(looking);
  const kind = Object.getPrototypeOf(fm.notebook());
  const get_cells = kind.get_cells;
  kind.get_cells = function () {
    fm.looked ||= new Error().stack.includes('jupyter-js-widgets');
    return get_cells.call(this);
  };
}, 5);
"""
# ... and RISE on it, which begins by itself as `fastmagic slides` starts it ...
RISE_JS = f"""{CLASSIC_JS}
fm.classic = {{...fm}};
fm.open = () => fm.classic.open() && document.querySelector('section.present') !== null;
fm.show = i => window.Reveal.slide(i);
fm.run = i => {{ fm.show(i); fm.classic.run(i); }};
"""
# ... jupyterlab-rise, whose page shows its application to nobody, by address, keys and the server's word ...
LAB_RISE_JS = """
window.fm = {
  sleep: ms => new Promise(done => setTimeout(done, ms)),
  code: () => [...document.querySelectorAll('.jp-Notebook .jp-CodeCell')],
  open: () => document.querySelector('.jp-Notebook section.present') !== null,
  idle: async () => {
    const sessions = await (await fetch('/api/sessions')).json();
    const here = decodeURIComponent(location.pathname).replace('/rise/', '');
    return sessions.some(s => s.path === here && s.kernel.execution_state === 'idle' && s.kernel.connections > 0) &&
      !fm.code().some(cell => cell.querySelector('.jp-InputPrompt')?.textContent.includes('*'));
  },
  press: (i, how) => {
    const editor = fm.code()[i].querySelector('.cm-content');
    editor.focus();
    editor.dispatchEvent(new KeyboardEvent('keydown', {...how, bubbles: true, cancelable: true}));
  },
  current: () => fm.code().findIndex(cell => cell.closest('section').classList.contains('present')),
  show: async i => {
    for (let n = 0; fm.current() !== i && n < 50; n++) {
      location.hash = n % 2 ? `#/slide-${i}-0` : `#/${i}`;
      await fm.sleep(50);
    }
    const place = () => JSON.stringify(fm.code()[i].getBoundingClientRect());
    for (let before = ''; before !== place(); await fm.sleep(100)) before = place();
  },
  prompt: i => fm.code()[i].querySelector('.jp-InputPrompt')?.textContent,
  run: async i => {  // by Shift-Enter, which works a moment after all else and also goes to the next slide: come back
    await fm.show(i);
    const before = fm.prompt(i);
    for (let n = 0; fm.prompt(i) === before && n < 50; n++) {
      fm.press(i, {key: 'Enter', code: 'Enter', keyCode: 13, shiftKey: true});
      await fm.sleep(100);
    }
    document.activeElement.blur();  // or the first click would only leave the editor
    await fm.show(i);
  },
  runAll: async () => {
    for (const i of fm.code().keys()) await fm.run(i);
    await fm.show(0);
  },
  save: () => fm.press(fm.current(), {key: 's', code: 'KeyS', keyCode: 83, ctrlKey: true}),
};
"""
# ... and Voila, which has run everything before it shows anything.
VOILA_JS = """
window.fm = {
  open: () => document.querySelector('#main #rendered_cells') !== null,
  idle: () => true,
  runAll: () => null,
  run: () => null,
  show: i => document.querySelectorAll('.jp-CodeCell')[i].scrollIntoView(),
};
"""

JUPYTER = (
    "--ServerApp.root_dir={root}",
    "--ServerApp.ip=127.0.0.1",
    "--ServerApp.port={port}",
    "--ServerApp.port_retries=0",
    "--ServerApp.disable_check_xsrf=True",
    "--ServerApp.open_browser=False",
    "--IdentityProvider.token=",
    "--LabApp.expose_app_in_browser=True",
    "--JupyterNotebookApp.expose_app_in_browser=True",
    "--allow-root",
)
VOILA = (
    "{root}",
    "--Voila.ip=127.0.0.1",
    "--Voila.port_retries=0",
    "--port={port}",
    "--token=",
    "--no-browser",
    "--VoilaConfiguration.allow_theme_override=YES",
)


SLIDES = ("rise", "lab_rise", "lab_rise_wrong")


@dataclass(frozen=True)
class Kind:
    """What tells one front end from another: its program, its page, how to drive it."""

    program: str
    address: str
    script: str
    options: tuple[str, ...] = JUPYTER
    python: Path = HERE
    needs: tuple[str, ...] = ()
    cell: str = ".jp-CodeCell"
    output: str = ".jp-Cell-outputWrapper"
    # Whether its page opens another notebook without loading anew.
    stays: bool = False
    # The answer "no kernel" to the question which one to use instead of one that is missing.
    no_kernel: str = ".jp-Dialog button:has-text('No Kernel')"
    # Addresses it asks for and errors it makes by itself, whatever the notebook.
    own: str = "(?!)"


CLASSIC = {"cell": ".code_cell", "output": ".output_wrapper", "no_kernel": ".modal-dialog button:has-text('Without')"}
CLASSIC_OWN = r"nbextensions/(voila|widgets)/|font at 'about:blank'|\(about:blank\)"
RISE_OWN = r"/css\?family=|/(rise|[\w-]+-\d+)\.css"  # a theme's fonts, a presenter's own style
LAB_RISE_OWN = f"{RISE_OWN}|Maximum call stack size exceeded"

KINDS = {
    "lab": Kind("jupyterlab", "lab/tree/{}?reset", LAB_JS, stays=True),
    "notebook": Kind("notebook", "notebooks/{}", LAB_JS, own="reading 'schema'"),
    "nbclassic": Kind("nbclassic", "nbclassic/notebooks/{}", CLASSIC_JS, **CLASSIC, own=CLASSIC_OWN),
    "rise": Kind(
        "nbclassic",
        "nbclassic/notebooks/{}",
        RISE_JS,
        **CLASSIC,
        needs=("rise",),
        own=f"{CLASSIC_OWN}|{RISE_OWN}",
    ),
    "lab_rise": Kind(
        "jupyterlab", "rise/{}", LAB_RISE_JS, python=LAB_RISE, needs=("jupyterlab_rise",), own=LAB_RISE_OWN
    ),
    # With a jupyterlab_widgets that jupyterlab-rise does not fit: widgets are not shown, stills must be.
    "lab_rise_wrong": Kind("jupyterlab", "rise/{}", LAB_RISE_JS, needs=("jupyterlab_rise",), own=LAB_RISE_OWN),
    "voila": Kind(
        "voila", "voila/render/{}?theme={theme}", VOILA_JS, VOILA, own="@fortawesome/|shared module is not a function"
    ),
}


class Forks:
    """The process that kernels are forked from: they have imported fastai, which takes others six seconds, when they begin."""

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp()
        self._command = [str(HERE), str(Path(__file__).with_name("forked_kernels.py")), f"{self._folder}/socket"]
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, cwd=self._folder, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )

    def kernel(self) -> list[str]:
        """The command that a Jupyter server starts such a kernel with."""
        return [*self._command, "-f", "{connection_file}"]

    def stop(self) -> None:
        """Ends the process, not the kernels."""
        self._process.communicate()
        shutil.rmtree(self._folder)


@contextlib.contextmanager
def exported(notebook: Path, form: str, folder: Path, browser: Browser) -> Iterator[Page]:
    """Gives the page, or the slides, that nbconvert makes of a notebook, opened where there is no network."""
    command = ["jupyter", "nbconvert", "--to", form, "--output", str(folder / form), str(notebook)]
    subprocess.run([sys.executable, "-m", *command], check=True, capture_output=True)
    written = next(folder.glob(f"{form}*.html"))
    assert "widget-view" not in written.read_text()
    with browser.new_context() as context:
        tab = context.new_page()
        tab.route(re.compile("^http"), lambda route: route.abort())
        tab.goto(f"file://{written}")
        yield tab


class ServerEnded(RuntimeError):
    """A server ended before it answered."""


class FrontEnd:
    """A running server of one kind, with a folder of its own for notebooks and settings."""

    def __init__(self, name: str, browser: Browser, folder: Path, forks: Forks | None = None) -> None:
        self.name, self.kind, self.browser = name, KINDS[name], browser
        self.root = folder / "notebooks"
        self.settings = folder / "config"
        self.log = folder / "server.log"
        self.shown: list[Shown] = []
        self.idle: list[Page] = []  # loaded, and shown by nobody
        self._contexts: dict[Browser, BrowserContext] = {}
        self.ending: list[threading.Thread] = []
        self._numbers = itertools.count(1)
        kernels = folder / "data" / "kernels"
        for kernel, python in KERNELS.items():
            argv = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
            if forks and kernel == "python3":
                argv = forks.kernel()
            spec = {"argv": argv, "display_name": kernel, "language": "python", "env": {"OMP_NUM_THREADS": "1"}}
            _write(kernels / kernel / "kernel.json", spec)
        self._setting("apputils-extension/notification", fetchNews="false", checkForUpdates=False)
        self._setting("extensionmanager-extension/plugin", enabled=False)
        self.root.mkdir()
        port = _free_port()
        self.url = f"http://127.0.0.1:{port}/"
        own = {f"JUPYTER_{of.upper()}_DIR": str(folder / of) for of in ("config", "data", "runtime")}
        if name == "rise":
            own |= live.settings(folder)
        self._log = self.log.open("wb")
        self._process = subprocess.Popen(
            [
                self.kind.python,
                "-m",
                self.kind.program,
                *(o.format(root=self.root, port=port) for o in self.kind.options),
            ],
            env={**os.environ, **own, "JUPYTER_PREFER_ENV_PATH": "0", "IPYTHONDIR": str(folder / "ipython")},
            cwd=self.root,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            _wait(self._answers, PATIENCE / 1000, lambda: f"{name} did not start:\n{self.log.read_text()[-2000:]}")
        except BaseException:
            self.stop()
            raise

    def open(
        self,
        cells: Sequence[str],
        *,
        kernel: str = "python3",
        dark: bool = False,
        width: int = 1280,
        height: int = 900,
        name: str = "notebook",
        own: bool = False,
    ) -> Shown:
        """Writes a notebook of these code cells, each a slide of its own, and opens it; nothing has run yet.

        What loads its page anew wants one of its `own`: in one taken over, other notebooks may come back to the front.
        """
        need(KERNELS[kernel], ("ipykernel",))
        slide = {"slideshow": {"slide_type": "slide"}}
        notebook = nbformat.v4.new_notebook(metadata={"kernelspec": {"name": kernel, "display_name": kernel}})
        notebook.cells = [nbformat.v4.new_code_cell(source, metadata=slide) for source in cells]
        if self.name in SLIDES:
            notebook.metadata["rise"] = {"transition": "none", "center": False}  # nothing moves under the mouse
            notebook.cells.append(nbformat.v4.new_markdown_cell("The end", metadata=slide))
        path = self.root / f"{name}-{next(self._numbers)}.ipynb"  # a session of its name would be taken over
        nbformat.write(notebook, path)
        shown = Shown(self, path, kernel, dark, width, height, own)
        self.shown.append(shown)
        shown.arrive()
        return shown

    def context(self) -> BrowserContext:
        """Where its pages open: one for all, so that what the application is made of is fetched and compiled once."""
        if self.browser not in self._contexts:
            context = self._contexts[self.browser] = self.browser.new_context()
            context.set_default_timeout(PATIENCE)
            context.add_init_script(self.kind.script)
        return self._contexts[self.browser]

    def theme(self, dark: bool) -> None:
        """Sets the theme for pages opened from now on."""
        self._setting("apputils-extension/themes", theme="JupyterLab Dark" if dark else "JupyterLab Light")

    def api(self, path: str, method: str = "GET", body: Any = None) -> Any:
        """Asks the server's REST interface."""
        data = None if body is None else json.dumps(body).encode()
        return json.loads(self._get("api/" + path, data, method) or b"null")

    def stop(self, wait: bool = True) -> None:
        """Ends kernels, then the server, then whatever of its process group is left."""
        for shown in list(self.shown):
            shown.close()
        for context in self._contexts.values():
            with contextlib.suppress(Exception):  # its browser may have ended
                context.close()
        self._contexts.clear()
        for thread in self.ending:
            thread.join()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        if wait:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(15)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._log.close()

    def _answers(self) -> bool:
        if self._process.poll() is not None:
            raise ServerEnded(f"{self.name} ended:\n{self.log.read_text()[-2000:]}")
        try:
            return bool(self._get("voila/tree" if self.name == "voila" else "api/status"))
        except OSError:
            return False

    def _get(self, path: str, data: bytes | None = None, method: str = "GET") -> bytes:
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
            return bytes(answer.read())

    def _setting(self, plugin: str, **values: Any) -> None:
        _write(self.settings / "lab/user-settings/@jupyterlab" / f"{plugin}.jupyterlab-settings", values)


class Shown:
    """A notebook open in a front end."""

    def __init__(
        self, front_end: FrontEnd, path: Path, kernel: str, dark: bool, width: int, height: int, own: bool
    ) -> None:
        self.front_end, self.path, self.dark = front_end, path, dark
        # Up to 7.3, ipykernel may leave a request unread that comes in while it sends a reply, until the next one
        # comes (7.4's SubshellManager tells how): a person clicks again, a test asks the kernel who it is.
        self._nudges = kernel == "ipykernel-7.3"
        self.foreign: list[str] = []
        self.console: list[str] = []  # errors alone, without the front end's own
        self.heard: list[str] = []  # all of it
        self._size: ViewportSize = {"width": width, "height": height}
        # A page that somebody may have folded or coloured otherwise is nobody else's.
        self._passed_on = front_end.kind.stays and not dark and width >= 1000 and not own
        self._listeners: dict[Any, Callable[[Any], None]] = {
            "request": lambda request: self._asked(request.url),
            "websocket": lambda socket: self._asked(socket.url),
            "dialog": lambda dialog: dialog.accept(),  # "Leave this page?"
            "pageerror": lambda error: self._told(str(error)),
            "console": lambda told: self._told(f"{told.text} ({told.location['url']})", told.type),
        }
        idle = [page for page in front_end.idle if page.context is front_end.context()]
        if self._passed_on and idle:
            self.page = idle[0]
            front_end.idle.remove(self.page)
            self._look_through(self.page)
        else:
            self.page = self._new_page()

    def arrive(self, *, kernel: bool = True) -> None:
        """Goes to the notebook and waits until it is there, with a kernel or without."""
        if self.page.url != "about:blank":
            self.page.evaluate("path => fm.next(path)", self.path.name)
        else:
            self.front_end.theme(self.dark)
            address = self.front_end.kind.address.format(self.path.name, theme="dark" if self.dark else "light")
            self.page.goto(self.front_end.url + address, timeout=300_000)
        self._there(kernel)

    def run_all(self, wait: bool = True, timeout: float = 240) -> None:
        """Runs all cells."""
        self._start("fm.runAll()")
        if wait:
            self.wait_idle(timeout)

    def run(self, i: int, wait: bool = True, timeout: float = 240) -> None:
        """Runs the i-th code cell; in a slide show, goes to its slide first."""
        self._start(f"fm.run({i})")
        if wait:
            self.wait_idle(timeout)

    def _start(self, script: str) -> None:
        self.page.evaluate(script)
        self._nudge()

    def _nudge(self) -> None:
        if self._nudges:
            again = (
                "setTimeout(async () => { try { await fm.nudge?.(); } catch { /* not connected yet */ } }, 1000 * s)"
            )
            self.page.evaluate(f"for (const s of [1, 3, 9]) {again}")

    def wait_idle(self, timeout: float = 240) -> None:
        """Waits until the kernel has nothing to do."""
        self.page.wait_for_function("fm.idle()", timeout=timeout * 1000)

    def show(self, i: int) -> None:
        """Brings the i-th code cell into view: its slide, or by scrolling."""
        self.page.evaluate(f"fm.show({i})")

    def output(self, i: int) -> Locator:
        """The output area of the i-th code cell."""
        return self.page.locator(self.front_end.kind.cell).nth(i).locator(self.front_end.kind.output)

    def save(self) -> nbformat.NotebookNode:
        """Saves the notebook as its front end does, and reads what is on disk then."""
        before = self.path.stat().st_mtime_ns
        self.page.evaluate("fm.save()")
        _wait(lambda: self.path.stat().st_mtime_ns != before, PATIENCE / 1000, lambda: "the notebook was not saved")
        return nbformat.read(self.path, 4)

    def save_until(self, i: int, holds: Callable[[Any], bool]) -> Any:
        """Saves until the i-th cell's first output is as wanted, and returns its data: a still follows its panel."""
        data: list[Any] = [None]

        def held() -> bool:
            outputs = self.save().cells[i].outputs
            data[0] = outputs[0].get("data", {}) if outputs else {}
            return holds(data[0])

        _wait(held, 60, lambda: f"the saved output of cell {i} stayed {str(data[0])[:2000]}")
        return data[0]

    def reload(self, wait: bool = True) -> None:
        """Loads the page anew; the kernel lives (but Voila starts another)."""
        self._passed_on = False
        self.front_end.theme(self.dark)  # that of the last page that was opened may be another
        self.page.reload()
        if wait:
            self._there(kernel=True)

    def reopen(self, *, kernel: bool = False) -> None:
        """Ends the kernel and opens the notebook as it was saved in a new page, without a kernel or with a fresh one."""
        self.page.close()
        self._passed_on = False
        self.end_kernel()
        if not kernel:  # One that nobody has: the front end asks, and the answer is "none".
            notebook = self.front_end.api(f"contents/{self.path.name}")
            notebook["content"]["metadata"]["kernelspec"] = {"name": "none", "display_name": "none"}
            self.front_end.api(f"contents/{self.path.name}", "PUT", notebook)
        self.page = self._new_page()
        self.arrive(kernel=kernel)

    def end_kernel(self) -> None:
        """Shuts this notebook's kernel down (Voila's ends with its page)."""
        if self.front_end.name != "voila":
            for session in self.front_end.api("sessions"):
                if session["path"] == self.path.name:
                    self.front_end.api(f"sessions/{session['id']}", "DELETE")

    def screenshot(self, label: str, **options: Any) -> Path:
        """Takes a picture of the page into screenshots/ at the root of the repository."""
        SCREENSHOTS.mkdir(exist_ok=True)
        path = SCREENSHOTS / f"{self.front_end.name}-{label}{'-dark' * self.dark}.png"
        self.page.screenshot(path=path, **options)
        return path

    def evidence(self, folder: Path) -> None:
        """Leaves what a failed test is understood by: the page as a picture, its console, its server's log."""
        self._passed_on = False  # whatever went wrong there is nobody else's
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{self.front_end.name}-{self.path.stem}"
        with contextlib.suppress(Exception):  # a page that hangs or is gone must not hide the failure itself
            self.page.screenshot(path=folder / f"{name}.png", timeout=10_000)
        (folder / f"{name}-console.txt").write_text("\n".join(self.heard), encoding="utf-8")
        shutil.copy(self.front_end.log, folder / f"{self.front_end.name}-server.log")

    def close(self) -> None:
        """Closes the page and ends the kernel, which takes it seconds: nobody waits for that."""
        if self in self.front_end.shown:
            self.front_end.shown.remove(self)
            if self._passed_on and not self.page.is_closed():
                for event, listener in self._listeners.items():
                    self.page.remove_listener(event, listener)
                self.front_end.idle.append(self.page)
            else:
                self.page.close()
            ending = threading.Thread(target=self._end_quietly)
            self.front_end.ending.append(ending)
            ending.start()

    def _end_quietly(self) -> None:
        with contextlib.suppress(OSError):
            self.end_kernel()

    def __enter__(self) -> Shown:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _there(self, kernel: bool) -> None:
        if not kernel:
            self.page.locator(self.front_end.kind.no_kernel).click()
        self.page.wait_for_function("window.fm?.open()")
        if kernel:
            self._nudge()
            self.wait_idle()

    def _new_page(self) -> Page:
        return self._look_through(self.front_end.context().new_page())

    def _look_through(self, page: Page) -> Page:
        page.set_viewport_size(self._size)
        page.emulate_media(color_scheme="dark" if self.dark else "light")
        for event, listener in self._listeners.items():
            page.on(event, listener)
        return page

    def _asked(self, url: str) -> None:
        address = urlsplit(url)
        outside = address.scheme in ("http", "https", "ws", "wss") and address.hostname != "127.0.0.1"
        if outside and not re.search(self.front_end.kind.own, url):
            self.foreign.append(url)

    def _told(self, text: str, kind: str = "error") -> None:
        self.heard.append(f"{kind}: {text}")
        if kind == "error" and not re.search(self.front_end.kind.own, text):
            self.console.append(text)


def need(python: Path, modules: tuple[str, ...]) -> None:
    """Skips the test where this environment or one of these modules is missing; in CI, that is a failure."""
    if not _has(python, modules):
        missing(
            f"{python.parent.parent.name} with {' and '.join(modules)} is not here (bash tests/browser/environments makes it)"
        )


def missing(told: str) -> None:
    """Something that a test needs is not here: skips it, but fails it in CI."""
    if os.environ.get("CI"):
        pytest.fail(told)
    pytest.skip(told)


@functools.cache
def _has(python: Path, modules: tuple[str, ...]) -> bool:
    look = "import sys, importlib.util; sys.exit(not all(map(importlib.util.find_spec, sys.argv[1:])))"
    return python.exists() and subprocess.run([python, "-c", look, *modules]).returncode == 0


def _write(path: Path, values: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values), encoding="utf-8")


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _wait(done: Callable[[], bool], seconds: float, told: Callable[[], str]) -> None:
    until = time.monotonic() + seconds
    while not done():
        if time.monotonic() > until:
            raise TimeoutError(told())
        time.sleep(0.1)
