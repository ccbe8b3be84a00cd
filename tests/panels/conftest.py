"""A real kernel that tests talk to as a front end does: cells, widget messages, what it shows."""

from __future__ import annotations

import os
import queue
import time
from collections.abc import Iterator
from typing import Any

import pytest


class Kernel:
    """A running kernel; `run` for a cell, `start` for one that goes on while `ask` talks to a panel."""

    def __init__(self, watched: bool = True) -> None:
        from jupyter_client.manager import start_new_kernel

        session = {"JPY_SESSION_NAME": "notebook.ipynb"} if watched else {}  # as a Jupyter server says it
        self.manager, self.client = start_new_kernel(kernel_name="python3", env={**os.environ, **session})
        self.heard: list[dict[str, Any]] = []

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)

    def start(self, code: str) -> str:
        """Start a cell, and return when it runs: a message that comes before may be read by the kernel, and wait."""
        while True:
            request = self.client.execute(code)
            seen = self.until(lambda m: _of(m, request) and (m["msg_type"] == "execute_input" or _idle(m)))  # noqa: B023
            if not _idle(seen):
                return request
            # Idle without having begun: the cell before has just failed, and ipykernel 6 aborted this one with it.

    def queue(self, code: str) -> str:
        """Send a cell that has to wait for the running one."""
        return self.client.execute(code)

    def run(self, code: str, timeout: float = 120) -> str:
        """Run a cell and return what it printed; fails on an error."""
        request = self.queue(code)
        while (reply := self.reply(request, timeout))["status"] == "aborted":  # the cell before has just failed
            request = self.queue(code)
        return self._printed(request, reply, timeout)

    def finish(self, request: str, timeout: float = 120) -> str:
        return self._printed(request, self.reply(request, timeout), timeout)

    def _printed(self, request: str, reply: dict[str, Any], timeout: float) -> str:
        assert reply["status"] == "ok", reply
        self.until_idle(request, timeout)
        return "".join(m["content"]["text"] for m in self.heard if _of(m, request) and m["msg_type"] == "stream")

    def until_idle(self, request: str, timeout: float = 120) -> None:
        self.until(lambda m: _of(m, request) and _idle(m), timeout)

    def reply(self, request: str, timeout: float = 120) -> dict[str, Any]:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            message = self.client.get_shell_msg(timeout=timeout)
            if message["parent_header"].get("msg_id") == request:
                return message["content"]
        raise AssertionError("no reply")

    def until(self, found: Any, timeout: float = 60) -> dict[str, Any]:
        """Return the first message the kernel published for which `found` holds, heard already or to come."""
        for message in self.heard:
            if found(message):
                return message
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            try:
                message = self.client.get_iopub_msg(timeout=1)
            except queue.Empty:
                continue
            self.heard.append(message)
            if found(message):
                return message
        raise AssertionError("the kernel did not say what was waited for")

    def send(self, kind: str, content: dict[str, Any]) -> str:
        message = self.client.session.msg(kind, content)
        self.client.shell_channel.send(message)
        return message["header"]["msg_id"]

    def tell(self, panel: str, what: str, **content: Any) -> None:
        """Send a panel what its browser side would send."""
        data = {"method": "custom", "content": {"id": what, "ask": what, "content": content}}
        self.send("comm_msg", {"comm_id": panel, "data": data})

    def ask(self, panel: str, what: str, **content: Any) -> dict[str, Any]:
        """Return a panel's answer."""
        before = len(self.heard)
        self.tell(panel, what, **content)
        found = self.until(lambda m: m in self.heard[before:] and _custom(m).get("re") == what)
        return _custom(found)

    def events(self, panel: str) -> list[dict[str, Any]]:
        return [_custom(m) for m in self.heard if m["content"].get("comm_id") == panel and "event" in _custom(m)]


def _of(message: dict[str, Any], request: str) -> bool:
    return message["parent_header"].get("msg_id") == request


def _idle(message: dict[str, Any]) -> bool:
    return message["content"].get("execution_state") == "idle"


def _custom(message: dict[str, Any]) -> dict[str, Any]:
    data = message["content"].get("data") if message["msg_type"] == "comm_msg" else None
    content = data.get("content") if isinstance(data, dict) else None
    return content if isinstance(content, dict) else {}


@pytest.fixture
def new_kernel() -> type[Kernel]:
    """What makes a kernel, for a test that ends it itself."""
    return Kernel


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    running = Kernel()
    try:
        running.run("%load_ext fastmagic\n%config FastMagic.show = 0")
        yield running
    finally:
        running.close()
