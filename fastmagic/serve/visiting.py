"""What a visitor's kernel runs: a predictor panel that asks the process which holds the model. It imports no PyTorch."""

from __future__ import annotations

import atexit
import contextlib
import http.client
import os
import secrets
import socket
from typing import Any

from ..panels.panel import Panel, Still
from . import frames

SOCKET = "FASTMAGIC_APP_SOCKET"
PATIENCE = 300  # seconds without a word; whoever is in line is told so twice a second


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("app", timeout=PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Visit(Panel):
    """A predictor panel whose model is in another process.

    Args:
        path: the Unix socket at which that process answers; default: what `fastmagic app` says to its kernels.
    """

    module = "predictor"

    def __init__(self, path: str | None = None) -> None:
        self._path = path or os.environ[SOCKET]
        self._name = secrets.token_urlsafe(16)
        atexit.register(self._leave)
        super().__init__()

    def still(self) -> Still:
        sentence = "Give this panel something where its app runs."
        return Still(f"<p>{sentence}</p>", sentence)

    def _answer(self, message: dict[str, Any], buffers: Any) -> None:
        try:
            self._relay(message, buffers)
        except (OSError, ValueError, http.client.HTTPException):
            error = "The model does not answer: it is being started anew.\nTry again in a few seconds."
            self.send({"re": message.get("id"), "error": error})

    def _relay(self, message: dict[str, Any], buffers: Any) -> None:
        with contextlib.closing(_Connection(self._path)) as connection:
            connection.request("POST", f"/visitors/{self._name}", frames.pack([(message, buffers or [])]))
            response = connection.getresponse()
            if response.status != 200:
                raise OSError(f"the model's process said {response.status}")
            while (found := frames.read(response)) is not None:
                for told, parts in found:
                    self.send(told, parts)

    def _leave(self) -> None:
        with (
            contextlib.suppress(OSError, http.client.HTTPException),
            contextlib.closing(_Connection(self._path)) as gone,
        ):
            gone.request("DELETE", f"/visitors/{self._name}")
            gone.getresponse().read()
