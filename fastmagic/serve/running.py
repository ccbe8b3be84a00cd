"""An app begun from a notebook: a process beside its kernel, which ends with it."""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..errors import FastmagicError
from ..render import escape
from .app import ENDS_WITH_STDIN, PATIENCE, TOKEN, installation
from .live import stop

RUNNING: list[RunningApp] = []


def app(
    learn: Any,
    *,
    title: str = "",
    description: str = "",
    examples: Iterable[str | Path] | None = None,
    allow_url: bool = False,
    host: str = "127.0.0.1",
    port: int = 0,
    token: str | None = None,
    visitors: int | None = None,
    theme: str = "light",
) -> RunningApp:
    """Serve a model as an app beside this notebook, until it is stopped or the notebook's kernel ends.

    The predictor panel (upload, paste, camera), by Voila, for people who have no Jupyter. To serve without a notebook:
    `fastmagic app birds.fastmagic`, which has more to choose.

    Args:
        learn: a fastai `Learner`, which is exported to a bundle for it; or the file of a bundle, of `learn.export`, or a
            notebook.
        title, description: plain text above the panel; default: of the bundle.
        examples: files of pictures, or texts, offered as "Try one".
        allow_url: whether visitors may give addresses of pictures; only public ones are fetched.
        host: "0.0.0.0" so that other machines reach it.
        port: 0 for a free one.
        token: what visitors must give; "" makes one up, `None` asks for none.
        visitors: how many at a time.
        theme: "light" or "dark".

    Returns:
        A `RunningApp`: `address`, `stop()`.

    Raises:
        FastmagicError: Voila is missing, the model cannot be exported, or the port is taken.

    Example:
        >>> served = fastmagic.app(learn, title="Bird or forest?")  # doctest: +SKIP
        >>> served.stop()                                           # doctest: +SKIP
    """
    installation()
    kept: tempfile.TemporaryDirectory[str] | None = None
    if not isinstance(learn, (str, Path)):
        from ..bundles.learner import export

        kept = tempfile.TemporaryDirectory(prefix="fastmagic-model-")
        learn = export(learn, Path(kept.name) / "model.fastmagic").file
    words = [
        *("app", str(learn), "--no-open", f"--host={host}", f"--port={port}", f"--theme={theme}"),
        *([f"--title={title}"] if title else []),
        *([f"--description={description}"] if description else []),
        *(["--allow-url"] if allow_url else []),
        *([f"--visitors={visitors}"] if visitors is not None else []),
        *(["--examples", *map(str, examples)] if examples is not None else []),
    ]
    return RunningApp(words, secrets.token_urlsafe(16) if token == "" else token, kept)


class RunningApp:
    """An app that runs beside this notebook.

    Attributes:
        address: where it is, with its token.
        reach: where other machines reach it; `None` where it listens to this one alone.
    """

    def __init__(self, words: list[str], token: str | None, kept: tempfile.TemporaryDirectory[str] | None) -> None:
        self._kept = kept
        self._said: list[str] = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "fastmagic.cli", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            # The token in the environment: the command line is for every user of this machine to see
            env={**os.environ, ENDS_WITH_STDIN: "1", **({TOKEN: token} if token else {})},
            start_new_session=True,  # the notebook's Stop button is not for it
        )
        self._hearing = threading.Thread(target=self._hear, daemon=True)
        self._hearing.start()
        self.address = self._begun()
        others = re.search(r"^Other machines reach it at (http://\S+)", self.log, re.M)
        self.reach = others[1] if others else None
        RUNNING.append(self)

    def _hear(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._said = [*self._said[-200:], line]

    def _begun(self) -> str:
        end = time.monotonic() + PATIENCE
        while not (found := re.search(r"^Serving .*: (http://\S+)", "".join(self._said), re.M)):
            if self._process.poll() is not None or time.monotonic() > end:
                self.stop()
                self._hearing.join(5)
                said = "".join(self._said).strip() or "The app did not start."
                cause, _, fix = said.rpartition("\n")
                raise FastmagicError(cause or fix, fix if cause else "")
            time.sleep(0.05)
        return found[1]

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def log(self) -> str:
        """What it has said so far: errors that visitors were told the number of are in here."""
        return "".join(self._said)

    def stop(self) -> None:
        """End it, with the kernels of its visitors."""
        stop(self._process)
        if self in RUNNING:
            RUNNING.remove(self)
        if self._kept:
            self._kept.cleanup()

    def __repr__(self) -> str:
        if not self.running:
            return "App: ended."
        return f"App: {self.address}" + (f"\nOther machines reach it at {self.reach}" if self.reach else "")

    def _repr_html_(self) -> str:
        def linked(line: str) -> str:
            return re.sub(r"http://\S+", r'<a href="\g<0>" target="_blank" rel="noopener">\g<0></a>', escape(line))

        return f'<div class="fastmagic">{"<br>".join(map(linked, repr(self).splitlines()))}</div>'


def stop_all() -> int:
    """End the apps that were begun from this process, and return how many there were."""
    many = len(RUNNING)
    for running in [*RUNNING]:
        running.stop()
    return many


def _at_exit() -> None:
    with contextlib.suppress(Exception):
        stop_all()


atexit.register(_at_exit)
