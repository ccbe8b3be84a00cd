"""Slides live: a Jupyter server of its own on this machine, and the notebook opened as RISE's slide show in it."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..errors import FastmagicError, RefusedError
from . import deck

RISE, LAB_WIDGETS = "5.7.1", "3.0.10"
PATIENCE = 60  # seconds until a server that does not answer has failed
HERE = Path(__file__).parent


def installation(lab: bool = False) -> list[str]:
    """Look whether this installation can show slides.

    Args:
        lab: by jupyterlab-rise, not by RISE on nbclassic.

    Returns:
        what will not be as it should, a sentence each.

    Raises:
        FastmagicError: it cannot; with what to install.
    """
    extra = "slides-lab" if lab else "slides"
    install = f"pip install 'fastmagic[{extra}]'"
    for package in ("jupyterlab", "jupyterlab-rise") if lab else ("nbclassic", "rise"):
        if _version(package) is None:
            raise FastmagicError(f"Slides need {package}, which is not installed.", f"Install it with: {install}")
    if not lab and _version("rise") != RISE:
        raise FastmagicError(
            f"RISE {_version('rise')} is installed, which does not run here; {RISE} does.",
            f"Install it with: {install}",
        )
    for package in ("jupyter-collaboration", "jupyter-docprovider"):
        if _version(package):
            raise RefusedError(
                f"{package} is installed, with which slides stay empty.",
                "Show them from an environment without it, or write them as one file: --static",
            )
    told = []
    widgets = _version("jupyterlab-widgets")
    if lab and widgets != LAB_WIDGETS:
        told.append(
            f"jupyterlab-rise shows no widgets with jupyterlab_widgets {widgets}: panels will be pictures, and sliders "
            f"text. For live ones, in an environment of its own: {install}"
        )
    if not lab and _version("widgetsnbextension") is None:
        told.append("Widgets will be text: install widgetsnbextension.")
    return told


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


@contextlib.contextmanager
def server(
    notebook_file: str | Path, *, lab: bool = False, port: int = 0
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run a Jupyter server for one notebook's slides; at the end it is stopped, with its kernels.

    It listens on this machine alone, wants a token, and sees the notebook's folder. Your settings of RISE and those in
    the notebook hold.

    Args:
        notebook_file: the notebook.
        lab: jupyterlab-rise instead of RISE on nbclassic.
        port: 0 for a free one.

    Yields:
        the address that shows the slides, with its token, and the server's process.

    Raises:
        FastmagicError: the port is taken, or it did not start; with its last words.
    """
    file = Path(notebook_file).expanduser().absolute()
    token = secrets.token_hex(16)
    with tempfile.TemporaryDirectory() as kept, (Path(kept) / "server.log").open("wb") as log:
        port = _port(port)
        # The token in the environment: the command line is for every user of this machine to see.
        environment = {**os.environ, **settings(Path(kept)), "JUPYTER_TOKEN": token}
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "jupyterlab" if lab else "nbclassic", "--no-browser", "--allow-root"),
                f"--ServerApp.root_dir={file.parent}",
                *("--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--ServerApp.port_retries=0"),
                "--ServerApp.base_url=/",
            ],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for us, and the server gets its end from here
        )
        try:
            base = f"http://127.0.0.1:{port}/"
            _wait_for(f"{base}api/status?token={token}", process, Path(log.name))
            page = "rise/" if lab else "nbclassic/notebooks/"
            yield f"{base}{page}{urllib.parse.quote(file.name)}?token={token}", process
        finally:
            stop(process)


def stop(process: subprocess.Popen[Any]) -> None:
    """End a server's process, by force where it takes longer than 20 seconds."""
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def settings(folder: Path) -> dict[str, str]:
    """Write settings, which those of the user and of the notebook precede, and return the environment that makes them known.

    The show begins by itself, on the first slide; slides begin at the top, scroll where they are higher than the screen, and
    show panels larger (`nbextensions/fastmagic_slides`).
    """
    from jupyter_core.paths import jupyter_config_path

    said: dict[str, dict[str, Any]] = {
        "rise": {
            "autolaunch": False,
            "start_slideshow_at": "beginning",
            "center": False,
            "scroll": False,
            "margin": 0.03,
        },
        # It loads RISE when the notebook is there: by itself, RISE may read the notebook's settings before.
        "notebook": {"load_extensions": {"rise/main": False, "fastmagic_slides/main": True}},
    }
    for place in reversed(jupyter_config_path()):
        with contextlib.suppress(OSError, ValueError):
            said["rise"].update(json.loads((Path(place) / "nbconfig" / "rise.json").read_text("utf8")))
    (folder / "nbconfig").mkdir()
    for section, values in said.items():
        (folder / "nbconfig" / f"{section}.json").write_text(json.dumps(values))

    def behind(variable: str, place: Path) -> str:
        known = os.environ.get(variable)
        return os.pathsep.join([*([known] if known else []), str(place)])

    return {"JUPYTER_CONFIG_PATH": behind("JUPYTER_CONFIG_PATH", folder), "JUPYTER_PATH": behind("JUPYTER_PATH", HERE)}


def _port(wanted: int, host: str = "127.0.0.1") -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: one that ended just now frees it
        try:
            tried.bind((host, wanted))
        except OSError as error:
            raise FastmagicError(
                f"Port {wanted} cannot be had: {error.strerror}.", "--port 0 takes a free one."
            ) from error
        return int(tried.getsockname()[1])


def _wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + PATIENCE
    direct = urllib.request.build_opener(
        urllib.request.ProxyHandler({})
    )  # it is on this machine, whatever $http_proxy says
    while True:
        try:
            with direct.open(address, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            if process.poll() is None and time.monotonic() < end:
                time.sleep(0.1)
                continue
        last = "\n".join(log.read_text(errors="replace").strip().splitlines()[-5:])
        raise FastmagicError(f"The Jupyter server did not start:\n{last}", "Try it alone: jupyter nbclassic")


def present(
    notebook_file: str | Path,
    *,
    lab: bool = False,
    port: int = 0,
    show: Callable[[str], object] | None = None,
    say: Callable[[str], object] = print,
) -> None:
    """Present a notebook's slides until Ctrl-C.

    Args:
        notebook_file: the notebook; its cells say what begins a slide.
        lab: by jupyterlab-rise instead of RISE on nbclassic.
        port: 0 for a free one.
        show: opens an address in a browser; default: it is only said.
        say: is told the address, and what will not be as it should.

    Raises:
        FastmagicError: the installation, the notebook or the server is at fault.
    """
    for remark in installation(lab):
        say(remark)
    deck.require_deck(deck.read(notebook_file), notebook_file)
    for name in ("SIGTERM", "SIGHUP"):  # a closed terminal ends the server too
        if hasattr(signal, name) and threading.current_thread() is threading.main_thread():
            signal.signal(getattr(signal, name), signal.default_int_handler)
    with server(notebook_file, lab=lab, port=port) as (address, process):
        say(f"Presenting {Path(notebook_file).name}: {address}")
        say("Space turns the page, Shift-Enter runs a cell, Alt-R ends the show; Ctrl-C here ends the server.")
        if show:
            show(address)
        with contextlib.suppress(KeyboardInterrupt):
            process.wait()
            raise FastmagicError("The Jupyter server ended by itself.", "Start it again.")
