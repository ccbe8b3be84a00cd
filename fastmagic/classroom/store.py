"""Where rooms are kept: SQLite for one process. An event that was acknowledged is on the disk.

Many taps arrive at once and a commit takes milliseconds, so one thread writes all that has come since its last commit
together. `append` returns when the event is in the file: a server that is killed then loses nothing that it promised.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from filelock import FileLock, Timeout

from .room import Event

MOST_AT_ONCE = 2000  # writes in one transaction
GOING = 5.0  # seconds that a server which ends may still have its file


class StoreError(Exception):
    """A store that cannot keep or tell what it is asked just now: a full disk, a server that is away."""


@dataclass(frozen=True)
class Kept:
    """What a store knows of a room beside its events.

    Attributes:
        name: of the room.
        secret: the teacher's, hashed.
        created, expires: seconds since 1970.
    """

    name: str
    secret: str
    created: float
    expires: float


Made = Literal["made", "taken", "full"]


class Store(Protocol):
    """What a server needs of a place to keep rooms. Each raises `StoreError` where it cannot."""

    async def create(self, kept: Kept, most: int) -> Made:
        """Keep a new room, unless its name is taken or there are `most` already."""
        ...

    async def find(self, name: str) -> Kept | None:
        """Return a room, or `None`."""
        ...

    async def append(self, room: str, event: Event) -> int:
        """Keep an event and return its place in the room. It survives the server."""
        ...

    async def events(self, room: str, since: int = 0) -> list[Event]:
        """Return the events after a place, in order."""
        ...

    def follow(self, room: str, since: int = 0) -> AsyncIterator[list[Event]]:
        """Yield the events after a place, and those that come from then on, in batches; some may come twice."""
        ...

    async def forget(self, now: float) -> int:
        """Take away what has expired, and return how many rooms that were."""
        ...

    async def close(self) -> None:
        """Write what waits, and let go."""
        ...


class SqliteStore:
    """A store in one file, for one process.

    Args:
        file: of the database; made where missing.

    Raises:
        StoreError: it cannot be opened, is no database, or another process has it.
    """

    def __init__(self, file: str | Path):
        self._lock = FileLock(f"{file}.lock")
        try:
            self._lock.acquire(timeout=GOING)
            connection = _opened(file)
        except Timeout:
            raise StoreError("another server of the cups uses it") from None
        except (OSError, sqlite3.Error) as error:
            self._lock.release()
            raise StoreError(str(error)) from error
        self._queue: queue.SimpleQueue[tuple[Callable[[sqlite3.Connection], Any], asyncio.Future[Any]] | None]
        self._queue = queue.SimpleQueue()
        self._followers: dict[str, set[_Follower]] = defaultdict(set)
        self._lasts: dict[str, int] = {}
        self._thread = threading.Thread(
            target=self._write, args=(connection,), name="fastmagic-cups-store", daemon=True
        )
        self._thread.start()

    async def create(self, kept: Kept, most: int) -> Made:
        def work(connection: sqlite3.Connection) -> Made:
            if connection.execute("SELECT COUNT(*) FROM rooms").fetchone()[0] >= most:
                return "full"
            row = (kept.name, kept.secret, kept.created, kept.expires)
            new = connection.execute("INSERT OR IGNORE INTO rooms VALUES (?, ?, ?, ?)", row).rowcount == 1
            return "made" if new else "taken"

        made: Made = await self._do(work)
        return made

    async def find(self, name: str) -> Kept | None:
        def work(connection: sqlite3.Connection) -> Kept | None:
            row = connection.execute("SELECT name, secret, created, expires FROM rooms WHERE name = ?", (name,))
            found = row.fetchone()
            return Kept(*found) if found else None

        found: Kept | None = await self._do(work)
        return found

    async def append(self, room: str, event: Event) -> int:
        placed: _Placed = await self._do(lambda connection: self._append(connection, room, event))
        return placed.event.seq

    async def events(self, room: str, since: int = 0) -> list[Event]:
        def work(connection: sqlite3.Connection) -> list[Event]:
            rows = connection.execute(
                "SELECT line, seq FROM events WHERE room = ? AND seq > ? ORDER BY seq", (room, since)
            )
            return [Event.parse(line, seq) for line, seq in rows]

        found: list[Event] = await self._do(work)
        return found

    async def follow(self, room: str, since: int = 0) -> AsyncIterator[list[Event]]:
        follower = _Follower()
        self._followers[room].add(follower)
        try:
            yield await self.events(room, since)
            while True:
                yield await follower.get()
        finally:
            self._followers[room].discard(follower)
            if not self._followers[room]:
                del self._followers[room]

    async def forget(self, now: float) -> int:
        def work(connection: sqlite3.Connection) -> int:
            gone = "SELECT name FROM rooms WHERE expires < ?"
            connection.execute(f"DELETE FROM events WHERE room IN ({gone})", (now,))
            return connection.execute("DELETE FROM rooms WHERE expires < ?", (now,)).rowcount

        return int(await self._do(work))

    async def close(self) -> None:
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)
        self._lock.release()

    def _append(self, connection: sqlite3.Connection, room: str, event: Event) -> _Placed:
        if room not in self._lasts:
            row = connection.execute("SELECT MAX(seq) FROM events WHERE room = ?", (room,)).fetchone()
            self._lasts[room] = row[0] or 0
        seq = self._lasts[room] + 1
        connection.execute("INSERT INTO events VALUES (?, ?, ?)", (room, seq, event.line()))
        self._lasts[room] = seq
        return _Placed(room, event._replace(seq=seq))

    def _do(self, work: Callable[[sqlite3.Connection], Any]) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._queue.put((work, future))
        return future

    def _write(self, connection: sqlite3.Connection) -> None:
        open_ = True
        while open_:
            jobs = [self._queue.get()]
            while len(jobs) < MOST_AT_ONCE and not self._queue.empty():
                jobs.append(self._queue.get())
            jobs_done: list[tuple[asyncio.Future[Any], Any]] = []
            failed: BaseException | None = None
            lasts = dict(self._lasts)
            try:
                connection.execute("BEGIN IMMEDIATE")
                for job in jobs:
                    if job is None:
                        open_ = False
                    else:
                        jobs_done.append((job[1], job[0](connection)))
                connection.execute("COMMIT")
            except sqlite3.Error as error:  # a full disk: none of these was kept, and all are told so
                failed, self._lasts = error, lasts
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                jobs_done = [(job[1], None) for job in jobs if job is not None]
            if jobs_done:
                # The loop is closed where nobody waits any more.
                with contextlib.suppress(RuntimeError):
                    jobs_done[0][0].get_loop().call_soon_threadsafe(self._settle, jobs_done, failed)
        connection.close()

    def _settle(self, done: list[tuple[asyncio.Future[Any], Any]], failed: BaseException | None) -> None:
        """Tell those who wait, and those who follow, in the order in which it was written; runs in the loop."""
        for future, value in done:
            if isinstance(value, _Placed):
                for follower in self._followers.get(value.room, ()):
                    follower.put(value.event)
            if future.done():
                continue
            if failed is not None:
                future.set_exception(StoreError(str(failed)))
            else:
                future.set_result(value)


def _opened(file: str | Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")  # outlives a kill; FULL would outlive a power cut
    connection.execute("PRAGMA busy_timeout = 5000")
    connection.execute(
        "CREATE TABLE IF NOT EXISTS rooms (name TEXT PRIMARY KEY, secret TEXT, created REAL, expires REAL)"
    )
    connection.execute(
        "CREATE TABLE IF NOT EXISTS events (room TEXT, seq INTEGER, line TEXT, PRIMARY KEY (room, seq)) WITHOUT ROWID"
    )
    return connection


class _Placed(NamedTuple):
    """An event that has got its place in a room."""

    room: str
    event: Event


class _Follower:
    """Events that wait for one who follows a room."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._come = asyncio.Event()

    def put(self, event: Event) -> None:
        self._events.append(event)
        self._come.set()

    async def get(self) -> list[Event]:
        await self._come.wait()
        self._come.clear()
        found, self._events = self._events, []
        return found
