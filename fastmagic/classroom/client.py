"""Whoever speaks to a server of the cups from Python: makes a room, and acts in it as its teacher."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..data.decisions import user_folder
from ..errors import AnswerError, FastmagicError, RefusedError
from .serve import PORT, STORE, told_in

TIMEOUT = 10.0  # seconds that a server may take to answer
STARTS_WITHIN = 60.0  # seconds in which a server of our own is there
IDLE = 3600  # seconds without anybody after which it ends
SECRETS, HERE = "cups-rooms.json", "this machine"


@dataclass(frozen=True)
class Lesson:
    """A room on a server, and the secret by which one is its teacher.

    Attributes:
        server: its address, ending in "/".
        room: its name.
        secret: the teacher's.
    """

    server: str
    room: str
    secret: str

    @property
    def link(self) -> str:
        """The address for students."""
        return f"{self.server}{self.room}/"

    @property
    def board(self) -> str:
        """The address of the teacher's board. What stands behind its # is sent to no server and stands in no log."""
        return f"{self.link}teacher#{self.secret}"

    def act(self, do: str, value: Any = None) -> int:
        """Do what a teacher can (see `Event`), and return its place in the room.

        Raises:
            FastmagicError: the server cannot be reached, or refuses.
        """
        return int(_ask(f"{self.link}act", {"do": do, "value": value}, self.secret)["seq"])

    def look(self, at: float | None = None) -> dict[str, Any]:
        """Return what the board shows now, or what it showed at an earlier time, in seconds since 1970.

        Raises:
            FastmagicError: the server cannot be reached, or refuses.
        """
        return _ask(f"{self.link}board{'' if at is None else f'?at={at:.3f}'}", None, self.secret)

    def events(self) -> list[list[Any]]:
        """Return all that happened in the room, in order: kind, seat, value and seconds since 1970 of each.

        Raises:
            FastmagicError: the server cannot be reached, or refuses.
        """
        found: list[list[Any]] = _ask(f"{self.link}events", None, self.secret)
        return found


def address_of(text: str) -> str:
    """Return the address of a server as it is used here, ending in "/".

    >>> address_of("cups.example.org"), address_of("http://10.0.0.5:8765")
    ('https://cups.example.org/', 'http://10.0.0.5:8765/')

    Raises:
        FastmagicError: it is none.
    """
    name = text.partition("/")[0].partition(":")[0]
    scheme = "" if "://" in text else "http://" if name in ("localhost", "127.0.0.1") else "https://"
    try:
        parts = urlsplit(scheme + text)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.query and not parts.fragment
    except ValueError:
        fine = False
    if not fine:
        raise AnswerError(f"{text!r} is no address of a server.", "Give one such as https://cups.example.org")
    return f"{scheme}{text}".rstrip("/") + "/"


def make_room(server: str, name: str | None = None, key: str | None = None) -> Lesson:
    """Make a room on a server.

    Args:
        server: its address.
        name: of the room; by default the server makes one up that is quick to say.
        key: what the server wants of those who make rooms, where it wants something.

    Raises:
        FastmagicError: the server cannot be reached, or refuses.

    Example:
        >>> make_room("http://127.0.0.1:8765", "my-class").link                      # doctest: +SKIP
        'http://127.0.0.1:8765/my-class/'
    """
    server = address_of(server)
    made = _ask(f"{server}rooms", {"room": name, "key": key})
    return Lesson(server, made["room"], made["secret"])


# ---------------------------------------------------------------- a server on this machine


def local_server(lan: bool = False) -> str:
    """Return the address of the server on this machine, started where none is running.

    Args:
        lan: phones in the network must reach it; one that they do not reach is started anew. Its rooms stay.

    Raises:
        FastmagicError: it does not start.
    """
    store = user_folder() / STORE
    found = _running(store)
    if found is not None and (found["reach"] or not lan):
        return str(found["address"])
    port = PORT
    if found is not None:
        port = urlsplit(found["address"]).port or PORT
        end_local_server()
    store.parent.mkdir(parents=True, exist_ok=True)
    log, host = store.with_name("cups.log"), "0.0.0.0" if lan else "127.0.0.1"
    command = [sys.executable, "-m", "fastmagic.cli", "cups", "serve", "--host", host, "--idle", str(IDLE), "--port"]
    for wanted in (port, 0):  # another program may have that port
        with open(log, "wb") as out:
            process = subprocess.Popen([*command, str(wanted)], stdout=out, stderr=out, start_new_session=True)
        _until(lambda process=process: _running(store) is not None or process.poll() is not None)
        found = _running(store)
        if found is not None:
            return str(found["address"])
    said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    raise FastmagicError(
        f"The server of the cups did not start: {said[0] if said else 'it says nothing'}", f"See '{log}'."
    )


def end_local_server() -> bool:
    """End the server on this machine, and tell whether there was one. Its rooms stay."""
    store = user_folder() / STORE
    found = _running(store)
    if found is None:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(found["pid"], signal.SIGTERM)
    _until(lambda: _running(store) is None)
    told_in(store).unlink(missing_ok=True)
    return True


def _running(store: Path) -> dict[str, Any] | None:
    """Return what the server that has a store says of itself, where it answers."""
    with contextlib.suppress(OSError, ValueError, KeyError, FastmagicError):
        told = json.loads(told_in(store).read_text(encoding="utf-8"))
        with socket.create_connection((urlsplit(told["address"]).hostname, urlsplit(told["address"]).port), 2):
            return dict(told)
    return None


def _until(done: Any) -> None:
    end = time.monotonic() + STARTS_WITHIN
    while not done() and time.monotonic() < end:
        time.sleep(0.1)


# ---------------------------------------------------------------- secrets of one's own rooms


def save_secret(lesson: Lesson, server: str | None) -> None:
    """Keep a room's secret for the next time, readable to this user alone; where nothing can be kept, nothing is.

    Args:
        server: its address; `None` for the one of this machine, whose address may be another one next time.
    """
    file = user_folder() / SECRETS
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        known = _secrets()
        known.setdefault(server or HERE, {})[lesson.room] = lesson.secret
        part = file.with_name(f"{file.name}.{os.getpid()}")
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as out:
            json.dump(known, out)
        os.replace(part, file)


def saved_secret(server: str | None, room: str) -> str | None:
    """Return the secret of a room that was made from here, where it is known; see `save_secret`."""
    found = _secrets().get(server or HERE, {}).get(room)
    return found if isinstance(found, str) else None


def known_rooms() -> list[tuple[str | None, str, str]]:
    """Return (server, room, secret) of the rooms that were made from here; `None` is the server of this machine."""
    return [
        (None if server == HERE else server, room, secret)
        for server, rooms in _secrets().items()
        for room, secret in rooms.items()
    ]


def _secrets() -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        found = json.loads((user_folder() / SECRETS).read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return found
    return {}


def _ask(address: str, body: dict[str, Any] | None, secret: str | None = None) -> Any:
    import requests

    headers = {"Authorization": f"Bearer {secret}"} if secret else {}
    try:
        if body is None:
            answer = requests.get(address, headers=headers, timeout=TIMEOUT)
        else:
            answer = requests.post(address, json.dumps(body), headers=headers, timeout=TIMEOUT)
        found = answer.json()
    except requests.exceptions.JSONDecodeError as error:
        raise FastmagicError(f"What answers at {address} is no server of the cups.", "Look at its address.") from error
    except requests.RequestException as error:
        server = "/".join(address.split("/")[:3])
        raise FastmagicError(f"{server} does not answer.", "Start one: fastmagic cups serve") from error
    if answer.status_code >= 400:
        why = str(found.get("error", answer.reason)) if isinstance(found, dict) else answer.reason
        raise RefusedError(why)
    return found
