"""`fastmagic cups serve`: the server of the cups as a process."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..data.decisions import user_folder
from ..errors import AnswerError, FastmagicError, RefusedError
from .limits import NEWCOMERS

PORT = 8765
STORE = "cups.db"  # in the user's folder
GIVEN = "FASTMAGIC_CUPS_WORKER"  # the environment variable that tells workers what was given


def serve(
    host: str = "127.0.0.1",
    port: int = PORT,
    store: str | Path | None = None,
    key: str | None = None,
    newcomers: int = NEWCOMERS,
    proxies: str = "127.0.0.1",
    public: str | None = None,
    idle: float = 0,
    workers: int = 1,
    say: Callable[[str], None] = print,
) -> None:
    """Serve rooms of cups until interrupted.

    Args:
        host: the address to listen on; "0.0.0.0" for all of this machine's, so that phones can reach it.
        port: 0 for a free one.
        store: the file that keeps the rooms, by default in the user's data folder; or the address of a Redis server, by
            which several servers share them.
        key: what a person must give who makes a room; by default anybody may.
        newcomers: how many may join a room from one address at once; then two a second.
        proxies: addresses whose `X-Forwarded-For` and `-Proto` are believed, with commas.
        public: the address by which people reach it, where a proxy or a container has another than the one it listens on.
        idle: end after that many seconds in which nobody was here; 0 for never.
        workers: processes; more than one share their rooms through Redis.
        say: gets the address that it serves at.

    Raises:
        FastmagicError: the port is taken, or the file cannot be used.
    """
    import uvicorn

    from .server import MOST_BODY

    if newcomers < 1:
        raise AnswerError(f"--newcomers {newcomers} lets nobody in.", "Give how many may join a room at once: 150")
    place = store if store is not None else user_folder() / STORE
    if workers > 1 and not _is_redis(place):
        raise AnswerError(
            "Several processes share their rooms through Redis alone.", "Give one: --store redis://127.0.0.1:6379"
        )
    listening = _listen(host, port)
    address, reach = addresses(*listening.getsockname()[:2])
    reach = public.rstrip("/") + "/" if public else reach
    given: dict[str, Any] = {"store": str(place), "key": key, "newcomers": newcomers, "reach": reach}
    settings: dict[str, Any] = {
        "access_log": False,  # addresses are nobody's business
        "log_level": "warning",
        "server_header": False,
        "forwarded_allow_ips": proxies,
        "ws_max_size": 2 * MOST_BODY,
        "ws_ping_interval": 20,
        "ws_ping_timeout": 20,
        "timeout_graceful_shutdown": 3,
        "limit_concurrency": 20_000,
    }
    if workers > 1:
        _hall(**given)  # what is wrong is told here, not by each of them
        os.environ[GIVEN] = json.dumps(given)
        _say_where(say, address, reach, host)
        uvicorn.run(f"{__name__}:worker", factory=True, workers=workers, fd=listening.fileno(), **settings)
        return
    from .server import app

    hall = _hall(**given)
    server = uvicorn.Server(uvicorn.Config(app(hall), **settings))
    if idle:
        _end_when_quiet(server, hall, idle)
    _say_where(say, address, reach, host)
    with contextlib.suppress(KeyboardInterrupt), _told_where(place, address, reach):
        server.run(sockets=[listening])  # it has been shut down in good order when Ctrl-C is raised


def worker() -> Any:
    """Return the application of one of several processes; see `serve`."""
    from .server import app

    return app(_hall(**json.loads(os.environ[GIVEN])))


def _hall(store: str, key: str | None, newcomers: int, reach: str | None) -> Any:
    from .server import Hall

    return Hall(_store(store), key, newcomers, reach)


def _say_where(say: Callable[[str], None], address: str, reach: str | None, host: str) -> None:
    say(f"Cups: {address}")
    if reach:
        say(f"Phones reach it at {reach}")
    elif host in ("127.0.0.1", "::1", "localhost"):
        say("Only this machine reaches it; with --host 0.0.0.0 the phones in its network do too.")
    say(f"Make a room: fastmagic cups room --server {address}   (Ctrl-C ends the server, rooms stay)")


@contextlib.contextmanager
def _told_where(store: str | Path, address: str, reach: str | None) -> Iterator[None]:
    """Say beside a store on this machine where its server is, while that runs."""
    if _is_redis(store):
        yield
        return
    told = told_in(Path(store).expanduser())
    told.write_text(json.dumps({"address": address, "reach": reach, "pid": os.getpid()}), encoding="utf-8")
    try:
        yield
    finally:
        told.unlink(missing_ok=True)


def told_in(store: Path) -> Path:
    """Return the file in which the server that has a store says where it is."""
    return store.with_name(f"{store.name}.json")


def _end_when_quiet(server: Any, hall: Any, idle: float) -> None:
    def look() -> None:
        while not server.should_exit:
            time.sleep(min(5.0, idle / 4))
            server.should_exit = server.should_exit or hall.quiet > idle

    threading.Thread(target=look, name="fastmagic-cups-idle", daemon=True).start()


def addresses(name: str, port: int) -> tuple[str, str | None]:
    """Return the address on this machine, and the one that others reach where the server listens to all of them."""
    if name not in ("0.0.0.0", "::"):
        return f"http://{f'[{name}]' if ':' in name else name}:{port}/", None
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.connect(("192.0.2.1", 9))  # sends nothing; the system chooses the network it would go by (RFC 5737)
        return f"http://127.0.0.1:{port}/", f"http://{asking.getsockname()[0]}:{port}/"
    return f"http://127.0.0.1:{port}/", None


def _listen(host: str, port: int) -> socket.socket:
    if not 0 <= port <= 65535:
        raise AnswerError(f"{port} is no port.", "Give one from 1024 to 65535.")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(2048)  # now: who reads the address may come at once
    except OSError as error:
        listening.close()
        raise RefusedError(
            f"Port {port} of {host} cannot be had: {error.strerror}.", "Give another: --port 8766"
        ) from error
    return listening


def _is_redis(store: str | Path) -> bool:
    return str(store).startswith(("redis://", "rediss://", "unix://"))


def _store(where: str) -> Any:
    from .store import SqliteStore, StoreError

    try:
        if _is_redis(where):
            from .redis_store import RedisStore

            return RedisStore(where)
        place = Path(where).expanduser()
        place.parent.mkdir(parents=True, exist_ok=True)
        return SqliteStore(place)
    except (OSError, StoreError) as error:
        raise FastmagicError(
            f"Rooms cannot be kept in '{where}': {error}.", "Give another place: --store FILE"
        ) from error
