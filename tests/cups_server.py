"""A server of the cups in a process of its own, and people who talk to it over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import requests

FASTMAGIC = [sys.executable, "-m", "fastmagic.cli"]


class Server:
    """`fastmagic cups serve`, which can be killed and started again on the same store and port."""

    def __init__(self, folder: Path, *options: str):
        self.folder, self.options, self.port = folder, options, 0
        self.start()

    def start(self) -> None:
        command = [*FASTMAGIC, "cups", "serve", "--port", str(self.port)]
        command += ["--store", str(self.folder / "cups.db"), *self.options]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}
        )
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().split()[-1]
        self.port = int(self.address.rstrip("/").rpartition(":")[2])

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(20)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.process.kill()
        self.process.communicate()

    def post(self, path: str, body: Any = None, status: int = 200, **options: Any) -> Any:
        data = body if isinstance(body, (bytes, str)) else json.dumps(body or {})
        answer = requests.post(self.address + path, data=data, timeout=20, **options)
        assert answer.status_code == status, answer.text
        return answer.json()

    def make(self, name: str | None = None, status: int = 201, **more: Any) -> Any:
        return self.post("rooms", {"room": name, **more}, status)

    def tap(self, room: str, token: str, cup: str, status: int = 200, **options: Any) -> Any:
        return self.post(f"{room}/do", {"do": "cup", "cup": cup, "token": token}, status, **options)

    def act(self, made: dict[str, str], do: str, value: Any = None, status: int = 200) -> Any:
        return self.post(f"{made['room']}/act", {"do": do, "value": value}, status, headers=bearer(made))

    def board(self, made: dict[str, str]) -> Any:
        return requests.get(f"{self.address}{made['room']}/board", headers=bearer(made), timeout=20).json()


def bearer(made: dict[str, str]) -> dict[str, str]:
    return {"Authorization": f"Bearer {made['secret']}"}


def token() -> str:
    return secrets.token_urlsafe(18)


def run(work: Any) -> Any:
    return asyncio.run(asyncio.wait_for(work, 60))
