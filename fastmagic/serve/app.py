"""Apps: a model's predictor panel, or a notebook, served by Voila to people who have no Jupyter.

The model is loaded once, in a process of its own (`answering.py`); a visitor has a kernel with a panel that asks it
(`visiting.py`). `voila_app.py` says what Voila may and may not.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..classroom.serve import addresses
from ..data.opening import no_such_file
from ..errors import AnswerError, FastmagicError
from .live import HERE, _port, stop

INSTALL = "pip install 'fastmagic[app]'"
SAFE = (0, 5, 6)  # before, one GET read any file of the machine (GHSA-2q59-h24c-w6fg)
PATIENCE = 300  # seconds until a model that does not answer has failed; large ones come from slow disks
TOKEN = "FASTMAGIC_APP_TOKEN"
ENDS_WITH_STDIN = "FASTMAGIC_APP_ENDS_WITH_STDIN"  # set by `running.py`: who begins it holds its standard input
VISITORS, PREHEAT, PORT = 50, 2, 8866
OF_NOTEBOOK = {"visitors": 10, "preheat": 1}


def installation() -> None:
    """Look whether this installation can serve apps.

    Raises:
        FastmagicError: it cannot; with what to install.
    """
    if sys.platform == "win32":
        raise FastmagicError(
            "Apps need Unix sockets, which Python has not on Windows.", "Serve them from WSL or Docker."
        )
    try:
        found = importlib.metadata.version("voila")
        import ipykernel  # noqa: F401
    except (importlib.metadata.PackageNotFoundError, ImportError) as error:
        raise FastmagicError(
            "Apps need Voila and ipykernel, which are not installed.", f"Install them with: {INSTALL}"
        ) from error
    if tuple(int("".join(filter(str.isdigit, part)) or 0) for part in found.split(".")[:3]) < SAFE:
        raise FastmagicError(
            f"Voila {found} is installed, which lets visitors read files of this machine.",
            f"Install a safe one with: {INSTALL}",
        )


class Model:
    """The process that holds a model; begun anew where it ends by itself.

    Args:
        file: a bundle, or what `learn.export` wrote.
        socket: where it answers.
        options: as of `fastmagic.predictor`.
    """

    def __init__(self, file: Path, socket: Path, options: dict[str, Any]) -> None:
        self._command = [sys.executable, "-m", "fastmagic.serve.answering", str(file), str(socket), json.dumps(options)]
        self._socket, self._closing = socket, False
        self._said: list[str] = []
        self._ready = False
        self.process = self._begin()

    def _begin(self) -> subprocess.Popen[str]:
        # Apps show no tracebacks: panels do where this variable says that they are in a notebook.
        environment = {name: value for name, value in os.environ.items() if name != "JPY_SESSION_NAME"}
        process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace", env=environment
        )
        self._hearing = threading.Thread(target=self._hear, args=(process,), daemon=True)
        self._hearing.start()
        return process

    def _hear(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        for line in process.stderr:
            self._said = [*self._said[-20:], line]
            if self._ready:
                print(line, end="", file=sys.stderr, flush=True)

    def wait(self) -> dict[str, Any]:
        """Wait until it answers, and return what it says of itself.

        Raises:
            FastmagicError: the model cannot be loaded; says why.
        """
        end = time.monotonic() + PATIENCE
        while (told := answers(self._socket)) is None:
            if self.process.poll() is None and time.monotonic() < end:
                time.sleep(0.05)
                continue
            self.close()
            self._hearing.join(5)
            cause, _, fix = "".join(self._said).strip().rpartition("\n")
            raise FastmagicError(cause or fix or "The model's process ended.", fix if cause else "")
        self._ready = True
        threading.Thread(target=self._watch, daemon=True).start()
        return told

    def _watch(self) -> None:
        while True:
            began = time.monotonic()
            self.process.wait()
            if self._closing:
                return
            print(
                f"The model's process ended with {self.process.returncode}; it is begun anew.",
                file=sys.stderr,
                flush=True,
            )
            time.sleep(max(0, 5 - (time.monotonic() - began)))
            if not self._closing:
                self.process = self._begin()

    def close(self) -> None:
        self._closing = True
        stop(self.process)


def answers(path: Path) -> dict[str, Any] | None:
    """Return what a model's process says of itself at a socket, `None` where it does not answer."""
    from .visiting import _Connection

    try:
        with contextlib.closing(_Connection(str(path))) as connection:
            connection.request("GET", "/health")
            return json.loads(connection.getresponse().read())
    except OSError:
        return None


@contextlib.contextmanager
def _holding(model: Path, options: dict[str, Any]) -> Iterator[tuple[Path, str, dict[str, str]]]:
    """Hold a model; yield the notebook of its panel, its title, and what its kernels find in their environment."""
    import nbformat

    from .visiting import SOCKET

    with tempfile.TemporaryDirectory(prefix="fastmagic-app-") as place:
        socket = Path(place) / "model.socket"
        held = Model(model, socket, options)
        try:
            title = held.wait()["title"] or model.stem
            cells = [nbformat.v4.new_code_cell("from fastmagic.serve.visiting import Visit\n\nVisit()")]
            kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
            (Path(place) / "app").mkdir()
            notebook = Path(place) / "app" / "app.ipynb"
            nbformat.write(
                nbformat.v4.new_notebook(cells=cells, metadata={"title": title, "kernelspec": kernel}), notebook
            )
            yield notebook, title, {SOCKET: str(socket)}
        finally:
            held.close()


def checked(target: str | Path) -> Path:
    """Return the file that is to be an app.

    Raises:
        FastmagicError: there is none.
    """
    file = Path(target).expanduser().absolute()
    if not file.exists():
        raise no_such_file(file)
    if file.is_dir():
        raise AnswerError(f"'{file}' is a folder.", "Give a model (birds.fastmagic, export.pkl) or a notebook.")
    return file


def serve(
    target: str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = PORT,
    base_url: str = "/",
    token: str | None = None,
    visitors: int | None = None,
    preheat: int | None = None,
    theme: str = "light",
    title: str = "",
    description: str = "",
    examples: list[str] | None = None,
    allow_url: bool = False,
    show: Callable[[str], object] | None = None,
    say: Callable[[str], object] = print,
) -> None:
    """Serve an app until Ctrl-C or SIGTERM.

    Args:
        target: a bundle or an exported learner, whose predictor panel is served; or a notebook.
        host, port: where it listens; port 0 for a free one.
        base_url: the path before its addresses, behind a proxy.
        token: what visitors must give; "" makes one up, `None` asks for none.
        visitors: how many at a time; default 50, of a notebook 10.
        preheat: kernels that are begun before their visitors come; default 2, of a notebook 1.
        theme: "light" or "dark".
        title, description: plain text above the panel; default: of the bundle.
        examples: pictures, or texts, offered as "Try one"; default: of the bundle.
        allow_url: whether visitors may give addresses of pictures; only public ones are fetched.
        show: opens an address in a browser; default: it is only said.
        say: is told the address.

    Raises:
        FastmagicError: the installation, the model or the port is at fault.
    """
    installation()
    file = checked(target)
    notebook = file.suffix == ".ipynb"
    given = {
        "title": title,
        "description": description,
        "examples": examples,
        "allow_url": "public" if allow_url else None,
    }
    options = {name: value for name, value in given.items() if value}
    if notebook and options:
        raise AnswerError(
            f"{', '.join('--' + name.replace('_', '-') for name in options)}: only for models.",
            "What a notebook shows is said in its cells.",
        )
    places = visitors if visitors is not None else OF_NOTEBOOK["visitors"] if notebook else VISITORS
    ahead = preheat if preheat is not None else OF_NOTEBOOK["preheat"] if notebook else PREHEAT
    if places < 1 or ahead < 0:
        raise AnswerError(
            "An app needs a place for at least one visitor.", "Give --visitors 1 or more, --preheat 0 or more."
        )
    port = _port(port, host)
    base_url = f"/{base_url.strip('/')}/".replace("//", "/")
    token = secrets.token_urlsafe(16) if token == "" else token or ""
    for name in ("SIGTERM", "SIGHUP"):
        if threading.current_thread() is threading.main_thread():
            signal.signal(getattr(signal, name), signal.default_int_handler)
    if os.environ.pop(ENDS_WITH_STDIN, ""):
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    os.environ["JUPYTER_PATH"] = os.pathsep.join([*filter(None, [os.environ.get("JUPYTER_PATH")]), str(HERE)])
    for name in ("JPY_SESSION_NAME", TOKEN):  # nothing that kernels need, or should have
        os.environ.pop(name, None)
    with _given(file) if notebook else _holding(file, options) as (page, name, environment):
        os.environ.update(environment)
        from .voila_app import App, configured

        app = App.instance(  # so that all of Voila's parts log where it does
            config=configured(
                title=name,
                host=host,
                port=port,
                base_url=base_url,
                token=token,
                visitors=places,
                preheat=ahead,
                theme=theme,
                files=notebook,
            )
        )
        app.initialize([str(page)])
        here, others = addresses(host, port)
        behind = base_url.lstrip("/") + (f"?token={token}" if token else "")

        def tell() -> None:
            if others:
                say(f"Other machines reach it at {others}{behind}")
                if not token:
                    say("Whoever reaches it may use it; --token asks for one.")
            say(f"Serving {file.name}: {here}{behind}")
            say("Ctrl-C ends it.")
            if show:
                show(here + behind)

        app.when_listening = tell
        app.start()


def _end_with_stdin() -> None:
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)


@contextlib.contextmanager
def _given(notebook: Path) -> Iterator[tuple[Path, str, dict[str, str]]]:
    from . import deck

    found = deck.read(notebook)
    yield notebook, str(found.metadata.get("title") or notebook.stem), {}
