"""A server of the cups in a process of its own, and people who talk to it over real sockets."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import json
import os
import secrets
import shutil
import signal
import socket as sockets
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import requests

FASTMAGIC = [sys.executable, "-m", "fastmagic.cli"]


class Redis:
    """A real Redis server on a socket of its own, which can be killed and started again on what it has kept."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.socket = Path(tempfile.mkdtemp(prefix="cups-")) / "redis"  # short: a socket's path has 107 bytes at most
        self.start()
        atexit.register(self.close)  # a test that fails with it in hand leaves no server running

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def start(self) -> None:
        command = ["redis-server", "--port", "0", "--unixsocket", str(self.socket), "--dir", str(self.folder)]
        command += ["--appendonly", "yes", "--save", "", "--daemonize", "no"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        while True:
            with contextlib.suppress(OSError), sockets.socket(sockets.AF_UNIX) as asking:
                asking.connect(str(self.socket))
                asking.sendall(b"PING\r\n")
                if asking.recv(64).startswith(b"+PONG"):  # not while it still reads what it had kept
                    return
            assert self.process.poll() is None, "redis-server has ended"
            time.sleep(0.02)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        atexit.unregister(self.close)
        self.kill()
        shutil.rmtree(self.socket.parent)


class Server:
    """`fastmagic cups serve`, which can be killed and started again on the same store and port."""

    def __init__(self, folder: Path, *options: str, store: str = "sqlite"):
        self.folder, self.options, self.port = folder, options, 0
        self.redis = Redis(folder) if store == "redis" else None
        self.store = self.redis.url if self.redis else str(folder / "cups.db")
        self.start()

    def start(self) -> None:
        command = [*FASTMAGIC, "cups", "serve", "--port", str(self.port)]
        command += ["--store", self.store, *self.options]
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
        with contextlib.suppress(psutil.NoSuchProcess):
            for worker in psutil.Process(self.process.pid).children(recursive=True):
                worker.kill()
        self.process.kill()
        self.process.communicate()
        if self.redis:
            self.redis.close()

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
