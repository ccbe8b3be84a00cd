"""An app as `fastmagic app` serves it, and a visitor of it without a browser: the page, the websocket, the panel's messages."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import aiohttp
from jupyter_server.services.kernels.connection.base import deserialize_msg_from_ws_v1, serialize_msg_to_ws_v1
from yarl import URL

PATIENCE = 60
FORM = "v1.kernel.websocket.jupyter.org"


class Served:
    """A running app: its address, its process, what it has said so far."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process, self._log = process, log
        end = time.monotonic() + PATIENCE
        while not (found := re.search(r"Serving .*?: (http://\S+)", self.said)):
            assert process.poll() is None, self.said
            assert time.monotonic() < end, self.said
            time.sleep(0.05)
        self.address, _, token = found[1].partition("?token=")
        self.token = token

    @property
    def said(self) -> str:
        return self._log.read_text(errors="replace")

    def children(self) -> dict[int, str]:
        """The processes below it, by number, with their command lines."""
        told = subprocess.run(["ps", "-wweo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
        rows = [line.split(None, 2) for line in told.splitlines()[1:]]
        return {int(pid): args for pid, parent, args in rows if int(parent) == self.process.pid}


@contextlib.contextmanager
def served(folder: Path, *words: Any, threads: int = 1) -> Iterator[Served]:
    """Runs `fastmagic app …` at a free port until it is left."""
    log = folder / f"app-{uuid.uuid4().hex}.log"
    # Its own copy of the code, wherever this test runs it
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent), "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-m", "fastmagic.cli", "app", *map(str, words), "--port", "0", "--no-open"]
    with log.open("w") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, text=True, env=environment, cwd=folder
        )
    try:
        yield Served(process, log)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Visitor:
    """Somebody who looks at an app's page: asks its panel, as the browser would."""

    def __init__(self, session: aiohttp.ClientSession, address: str, page: str) -> None:
        self.session, self.address, self.page = session, address, page
        self.kernel = re.search(r'"kernelId": "([\w-]+)"', page)[1]  # type: ignore[index]
        found = re.search(r'"model_id": "(\w+)"', page)
        self.model = found[1] if found else ""
        self.events: list[dict[str, Any]] = []
        self.heard: list[bytes] = []
        self._name = uuid.uuid4().hex
        self._socket: Any = None
        self._queue: asyncio.Queue[Any] = asyncio.Queue()

    async def connect(self) -> Visitor:
        self._socket = await self.session.ws_connect(
            f"{self.address}api/kernels/{self.kernel}/channels?session_id={self._name}",
            protocols=[FORM],
            max_msg_size=0,
        )
        self._reading = asyncio.create_task(self._read())  # by itself, so that the server's pings are answered
        return self

    async def _read(self) -> int | None:
        async for got in self._socket:
            await self._queue.put(got)
        await self._queue.put(None)
        return self._socket.close_code

    async def closed(self) -> int | None:
        """Waits until the server closes the connection, and returns its code."""
        return await asyncio.wait_for(self._reading, PATIENCE)

    async def send(self, kind: str, content: dict[str, Any], buffers: tuple[bytes, ...] = ()) -> str:
        """Sends a message of Jupyter's, and returns its number."""
        number = uuid.uuid4().hex
        header = {"msg_id": number, "msg_type": kind, "session": self._name, "username": "", "version": "5.3"}
        header["date"] = datetime.now(timezone.utc).isoformat()
        parts = [json.dumps(part).encode() for part in (header, {}, {}, content)]
        await self._socket.send_bytes(serialize_msg_to_ws_v1([*parts, *buffers], "shell"))
        return number

    async def receive(self) -> dict[str, Any]:
        """The next message, whatever it is."""
        got = await asyncio.wait_for(self._queue.get(), 5 * PATIENCE)
        assert got is not None, f"the server closed the connection with {self._socket.close_code}"
        assert got.type == aiohttp.WSMsgType.BINARY, got
        self.heard.append(got.data)
        _, (header, parent, _, content, *buffers) = deserialize_msg_from_ws_v1(got.data)
        return {
            "header": json.loads(header),
            "parent": json.loads(parent),
            "content": json.loads(content),
            "buffers": buffers,
        }

    async def ask(self, what: Any, content: Any = None, *buffers: bytes) -> dict[str, Any]:
        """Asks the panel, and returns the whole reply: `answer` or `error`; events that come first are kept."""
        number = uuid.uuid4().hex
        asked = {"id": number, "ask": what, "content": content or {}}
        data = {"method": "custom", "content": asked}
        await self.send("comm_msg", {"comm_id": self.model, "data": data}, buffers)
        while True:
            message = await self.receive()
            told = message["content"].get("data", {}) if message["header"]["msg_type"] == "comm_msg" else {}
            if told.get("method") != "custom":
                continue
            if told["content"].get("re") == number:
                return told["content"]
            self.events.append(told["content"])

    async def judge(self, data: bytes, name: str = "photo.png") -> dict[str, Any]:
        """Gives a file to the panel, as the browser would; returns the reply, or what it shows of it."""
        upload, part = uuid.uuid4().hex, 1 << 20
        if len(data) <= part:
            reply = await self.ask("judge", {"upload": upload, "name": name}, data)
            return reply if "error" in reply else {**reply, "shown": self.shown()}
        for at in range(0, len(data), part):
            reply = await self.ask("upload", {"upload": upload, "at": at, "size": len(data)}, data[at : at + part])
            if "error" in reply:
                return reply
        reply = await self.ask("judge", {"upload": upload, "name": name})
        return reply if "error" in reply else {**reply, "shown": self.shown()}

    def shown(self) -> Any:
        """What the panel shows, of the last event that said so."""
        return next(event["content"]["shown"] for event in reversed(self.events) if "shown" in event.get("content", {}))

    async def leave(self) -> None:
        """Closes the page as browsers do."""
        await self._socket.close()
        async with self.session.post(
            f"{self.address}voila/api/shutdown/{self.kernel}", headers=await self._xsrf()
        ) as gone:
            assert gone.status == 204, await gone.text()

    async def _xsrf(self) -> dict[str, str]:
        cookies = self.session.cookie_jar.filter_cookies(URL(self.address))
        return {"X-XSRFToken": cookies["_xsrf"].value} if "_xsrf" in cookies else {}


@contextlib.asynccontextmanager
async def visiting(address: str, token: str = "") -> AsyncIterator[Visitor]:
    """Opens an app's page and connects to its kernel."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        async with session.get(f"{address}?token={token}" if token else address) as answer:
            page = await answer.text()
            assert answer.status == 200, page
        visitor = await Visitor(session, address, page).connect()
        yield visitor
        if not visitor._socket.closed:
            await visitor._socket.close()
