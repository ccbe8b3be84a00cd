"""Hearing the browser while a cell runs: the kernel's widget messages, read by hand from the busy main thread.

A kernel runs one cell at a time, and a button pressed meanwhile waits for its end: always in ipykernel 6, in ipykernel 7
wherever the message does not come in on a subshell, and in 7.4 even then (it answers on the shell that opened the comm).
jupyter-ui-poll (github.com/Kirill888/jupyter-ui-poll) lets a cell take messages from the queue itself; this does the
same for all kernels at once, one level lower: it reads the socket from which the main shell is fed, handles what belongs
to widgets, and gives the rest (cells of "Run All") back in order.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import re
import sys
import threading
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

# What a page needs to show and use panels: their messages, and what a reloaded page asks first.
_ANSWERED = ("comm_open", "comm_msg", "comm_close", "comm_info_request", "kernel_info_request")


class Pump:
    """Handles widget messages while the main thread is busy; made by `pumping`."""

    def __init__(self, kernel: Any):
        self._kernel = kernel
        self._stream, self._reply = _main_shell(kernel)
        self._later: list[Any] = []
        self._inside = False

    def __call__(self, wait: float = 0.0) -> None:
        """Handle what has come in, after waiting at most `wait` seconds for it. Only for the main thread.

        Never raises but `KeyboardInterrupt`: what a handler raises is logged by the kernel, as ever.
        """
        import zmq

        if self._inside:  # a handler that runs code which pumps
            return
        self._inside = True
        try:
            if wait and not self._stream.socket.poll(int(wait * 1000)):
                return
            while True:
                try:
                    frames = self._stream.socket.recv_multipart(zmq.NOBLOCK, copy=False)
                except zmq.Again:
                    return
                self._take(frames)
        finally:
            self._inside = False

    def _take(self, frames: list[Any]) -> None:
        import zmq

        session = self._kernel.session
        try:
            idents, rest = session.feed_identities(frames, copy=False)
            # Only looked at: what is read whole counts as read, and the kernel would take it for a replay later.
            header = session.deserialize(rest, content=False, copy=False)["header"]
            if header["msg_type"] not in _ANSWERED:
                self._later.append(frames)
                return
            message = session.deserialize(rest, content=True, copy=False)
        except Exception:  # not a message: the kernel's own reader says so
            self._later.append(frames)
            return
        handler = self._kernel.shell_handlers.get(header["msg_type"])
        if handler is None:
            return
        try:
            result = handler(self._reply, idents, message)
            if inspect.iscoroutine(result):
                with contextlib.suppress(StopIteration):
                    result.send(None)  # these handlers are coroutines that wait for nothing
        except Exception:
            self._kernel.log.error("Exception in a message handler", exc_info=True)
        if hasattr(self._reply, "flush"):
            self._reply.flush(zmq.POLLOUT)

    def give_back(self) -> None:
        """Hand the messages that were not ours to the kernel, in the order they came."""
        callback = self._stream._recv_callback
        waiting, self._later = self._later, []
        for frames in waiting:
            handled = callback(frames)
            if inspect.isawaitable(handled):  # ipykernel 7; 6 puts them in its queue
                task = asyncio.ensure_future(handled)
                _given_back.add(task)  # asyncio itself holds its tasks weakly
                task.add_done_callback(_given_back.discard)
        # The stream hears of new messages by an edge, which reading by hand may have used up.
        self._kernel.io_loop.add_callback(self._stream.flush)


def _main_shell(kernel: Any) -> tuple[Any, Any]:
    """Return the stream that feeds the main shell, and what replies go to."""
    thread = getattr(kernel, "shell_channel_thread", None)
    if thread is None:
        return kernel.shell_stream, kernel.shell_stream
    manager = thread.manager
    stream = manager.get_shell_channel_to_subshell_pair(None).to_stream
    return stream, manager.get_subshell_to_shell_channel_socket(None)


@contextlib.contextmanager
def pumping() -> Iterator[Pump | None]:
    """Let a `with` block hear the browser: call what it gives again and again.

    Gives `None` where there is nothing to hear: no kernel, not its main thread, a kernel made otherwise, or a block
    inside another that listens already.
    """
    kernel = _kernel()
    if kernel is None or threading.current_thread() is not threading.main_thread() or getattr(_active, "pump", None):
        yield getattr(_active, "pump", None)
        return
    try:
        pump = Pump(kernel)
        if not callable(getattr(pump._stream, "_recv_callback", None)):
            raise AttributeError("no callback to give messages back to")
    except AttributeError:  # a kernel with other insides: the cell runs as cells do, unheard
        yield None
        return
    _active.pump = pump
    try:
        yield pump
    finally:
        _active.pump = None
        pump.give_back()


_active = threading.local()
_given_back: set[Any] = set()


def _kernel() -> Any:
    module = sys.modules.get("ipykernel.kernelapp")
    if module is None or not module.IPKernelApp.initialized():
        return None
    return getattr(module.IPKernelApp.instance(), "kernel", None)


@lru_cache
def watched() -> bool:
    """Tell whether somebody may be looking at what this kernel shows.

    Nobody is where a program runs a notebook from end to end (nbconvert, papermill, nbval). It would keep the state of
    live widgets in the notebook, and a page made of that loads them from the internet: there, panels are stills.
    """
    if not in_kernel() or "JPY_SESSION_NAME" in os.environ or any(name.startswith("VOILA_") for name in os.environ):
        return True
    try:
        import psutil

        command = " ".join(psutil.Process(int(os.environ["JPY_PARENT_PID"])).cmdline())
    except Exception:  # another launcher, no psutil, no permission: then better live than not
        return True
    return not re.search(r"nbconvert|nbclient|papermill|jupyter-execute|jupyter execute|pytest|quarto", command)


def in_kernel() -> bool:
    """Tell whether this process is a Jupyter kernel."""
    return _kernel() is not None


def cell_events() -> Any:
    """Return IPython's events where this is called by a running cell of a kernel, `None` elsewhere."""
    kernel = _kernel()
    if kernel is None or threading.current_thread() is not threading.main_thread():
        return None
    parent = kernel.get_parent("shell") or {}
    return kernel.shell.events if parent.get("header", {}).get("msg_type") == "execute_request" else None
