"""What a visitor's kernel runs: a predictor panel that asks the process which holds the model. It imports no PyTorch."""

from __future__ import annotations

import atexit
import http.client
import json
import os
import socket
from typing import Any

from ..panels.panel import Panel, Still
from . import frames

SOCKET = "FASTMAGIC_APP_SOCKET"


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("app", timeout=120)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Visit(Panel):
    """A predictor panel whose model is in another process."""

    module = "predictor"

    def __init__(self, path: str | None = None) -> None:
        self._path = path or os.environ[SOCKET]
        self._name = json.loads(self._post("/visitors", b""))["id"]
        atexit.register(self._leave)
        super().__init__()

    def still(self) -> Still:
        sentence = "Give this panel a picture where its app runs."
        return Still(f"<p>{sentence}</p>", sentence)

    def _answer(self, message: dict[str, Any], buffers: Any) -> None:
        try:
            frame = self._post(f"/visitors/{self._name}", frames.pack([(message, buffers or [])]))
        except OSError:
            self.send({"re": message.get("id"), "error": "The model does not answer.\nReload the page in a moment."})
            return
        for told, parts in frames.unpack(frame):
            self.send(told, parts)

    def _post(self, path: str, body: bytes, method: str = "POST") -> bytes:
        connection = _Connection(self._path)
        try:
            connection.request(method, path, body)
            response = connection.getresponse()
            data = response.read()
        finally:
            connection.close()
        if response.status == 503:
            raise RuntimeError(json.loads(data)["error"])
        if response.status != 200:
            raise OSError(f"the model's process said {response.status}")
        return data

    def _leave(self) -> None:
        try:
            self._post(f"/visitors/{self._name}", b"", "DELETE")
        except OSError:
            pass
