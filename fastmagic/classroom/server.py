"""The server of the cups: pages, WebSocket and plain HTTP for students and the teacher, over a store.

Every address is relative to the room's, so that it works at `/`, behind `/proxy/8765/` and under a Hub's `/user/x/`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import itertools
import json
import math
import re
import secrets
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from .limits import NEWCOMERS, Addresses, Buckets
from .room import CUPS, MOST_ANSWERS, MOST_LABEL, MOST_NOTE, MOST_QUESTION, MOST_SEATS, Alert, Event, Poll, Room
from .store import Kept, Store, StoreError

PAGES = Path(__file__).with_name("pages")
NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{1,30}[a-z0-9])")
TOKEN = re.compile(r"[A-Za-z0-9_-]{16,64}")
KEPT_DAYS = 30
MOST_ROOMS = 1000
MOST_BODY = 4096  # bytes of a request
A_SECOND = 10  # times that a board is told at most
POINTS = 400  # of the history on a board
IDLE = 120.0  # seconds after which a room that nobody looks at is put away
AGAIN, PATIENCE = 0.5, 10.0  # seconds until a store that failed is asked again, and that who opens a room waits for it
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


AWAY = "The server cannot keep anything just now. Try again in some seconds."


class Refused(Exception):
    """A request that is answered with an error.

    Args:
        status: of HTTP.
        why: for the person, in a sentence.
    """

    def __init__(self, status: int, why: str):
        super().__init__(why)
        self.status, self.why = status, why


@dataclass(frozen=True)
class Secret:
    """A teacher's secret. The server keeps two hashes of it: for itself, and for the cookie made from it.

    Example:
        >>> secret = Secret("s3cret")
        >>> secret.kept.count(":"), Secret.opens(secret.kept, "s3cret"), Secret.opens(secret.kept, secret.cookie)
        (1, True, True)
        >>> Secret.opens(secret.kept, "wrong")
        False
    """

    text: str

    @property
    def cookie(self) -> str:
        return hmac.new(self.text.encode(), b"fastmagic cups cookie", "sha256").hexdigest()

    @property
    def kept(self) -> str:
        return f"{_hash(self.text)}:{_hash(self.cookie)}"

    @staticmethod
    def opens(kept: str, given: str) -> bool:
        """Tell, in a time that says nothing, whether what was given is the secret or its cookie."""
        found = _hash(given)
        return sum(hmac.compare_digest(one, found) for one in kept.split(":")) > 0


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def seat_of(room: str, token: str) -> str:
    """Return a student's seat: a hash, so that no store knows a token, and no two rooms the same seat."""
    return hashlib.blake2b(f"{room}\n{token}".encode(), digest_size=9).hexdigest()


class Live:
    """A room that somebody looks at: its fold, kept up with the store, and who is to be told."""

    def __init__(self, kept: Kept, store: Store, clock: Callable[[], float], reach: str | None):
        self.kept, self.store, self.clock, self.reach = kept, store, clock, reach
        self.room = Room(kept.name)
        self.alert = Alert()
        self.ready = asyncio.Event()
        self.students: dict[Outbox, str] = {}
        self.teachers: set[Outbox] = set()
        self.taps = Buckets(burst=8, rate=2)
        self.touched = clock()
        self._state = self._student_state()
        self._task = asyncio.create_task(self._follow())
        self._beat = asyncio.create_task(self._tell())
        self._moved, self._folded = asyncio.Event(), asyncio.Event()

    async def _follow(self) -> None:
        while True:
            with contextlib.suppress(StoreError):  # it goes on where it was, once the store is back
                async for events in self.store.follow(self.kept.name, self.room.seq):
                    self._take(events)
            await asyncio.sleep(AGAIN)

    def _take(self, events: list[Event]) -> None:
        for event in events:
            self.room.fold(event)
        self.ready.set()
        self._moved.set()
        self._folded.set()
        self._folded = asyncio.Event()
        state = self._student_state()
        if state != self._state or any(event.kind in ("reset", "drop") for event in events):
            self._state = state
            for outbox, seat in list(self.students.items()):
                outbox.put(self.student(seat))

    async def keep(self, event: Event) -> int:
        """Keep an event and return its place, once the fold has it: who taps and then looks sees the tap."""
        seq = await self.store.append(self.kept.name, event)
        with contextlib.suppress(asyncio.TimeoutError):
            while self.room.seq < seq:
                await asyncio.wait_for(self._folded.wait(), PATIENCE)
        return seq

    async def _tell(self) -> None:
        """Tell the boards what has changed, some times a second, and every second that time goes by."""
        while True:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._moved.wait(), 1.0)
            self._moved.clear()
            if self.teachers:
                board = self.board()
                for outbox in list(self.teachers):
                    outbox.put(board)
            await asyncio.sleep(1 / A_SECOND)

    def _student_state(self) -> dict[str, Any]:
        """What is the same for all students."""
        room, poll = self.room, self.room.poll
        shown = None
        if poll is not None and (poll.open or poll.revealed):
            shown = {"id": poll.id, "question": poll.question, "answers": poll.answers, "open": poll.open}
            if poll.revealed:
                shown["counts"] = poll.counts()
        return {"paused": room.paused, "closed": room.closed, "poll": shown}

    def student(self, seat: str) -> dict[str, Any]:
        """What a student's page shows. No counts: what others feel would sway them."""
        found, poll = self.room.seats.get(seat), self.room.poll
        return {
            "type": "state",
            "cup": found.cup if found else None,
            "since": found.time if found else None,
            "note": found.note if found else "",
            "fade": self.room.settings.fade,
            "vote": poll.votes.get(seat) if poll else None,
            "now": self.clock(),
            **self._student_state(),
        }

    def board(self) -> dict[str, Any]:
        """What the teacher's board shows. No seat: nobody is told who."""
        now = self.clock()
        told = _board(self.room, now)
        alert = self.alert.look(told["counts"], self.room.settings, now)
        return told | {"reach": self.reach, "here": len(set(self.students.values())), "alert": alert}

    async def past(self, at: float) -> dict[str, Any]:
        """What the board showed at an earlier time, in seconds since 1970."""
        events = await self.store.events(self.kept.name)

        def work() -> dict[str, Any]:
            return _board(Room(self.kept.name, itertools.takewhile(lambda event: event.time <= at, events)), at)

        told = await asyncio.to_thread(work)
        return told | {"type": "past", "reach": self.reach, "here": 0, "alert": False}

    @property
    def idle(self) -> bool:
        return not self.students and not self.teachers and self.clock() - self.touched > IDLE

    async def close(self) -> None:
        for task in (self._task, self._beat):
            task.cancel()
        await asyncio.gather(self._task, self._beat, return_exceptions=True)


def _board(room: Room, now: float) -> dict[str, Any]:
    """What a room comes to at a time, for its teacher."""
    poll = room.poll
    return {
        "type": "board",
        "room": room.name,
        "now": now,
        "seq": room.seq,
        "counts": room.counts(now),
        "seats": len(room.seats),
        "settings": vars(room.settings),
        "paused": room.paused,
        "closed": room.closed,
        "locked": room.locked,
        "notes": [{"id": id, "cup": cup, "text": text, "time": when} for id, cup, text, when in room.notes()[:50]],
        "marks": room.marks[-200:],
        "history": _thinned(room.history),
        "poll": None if poll is None else _asked(poll),
        "polls": [_asked(earlier) for earlier in room.polls[-20:]],
    }


def _asked(poll: Poll) -> dict[str, Any]:
    return {name: value for name, value in vars(poll).items() if name != "votes"} | {"counts": poll.counts()}


def _thinned(points: list[Any], most: int = POINTS) -> list[Any]:
    """Return at most that many of the points, the last of each stretch: a board is hardly wider.

    >>> _thinned([1, 2, 3, 4, 5, 6, 7], 3)
    [3, 6, 7]
    """
    every = -(-len(points) // most) or 1
    return [*points[every - 1 :: every], *(points[-1:] if len(points) % every else [])]


class Outbox:
    """The newest message for one socket: who is slow gets the last state, not all states in a row."""

    def __init__(self) -> None:
        self._newest: dict[str, dict[str, Any]] = {}
        self._come = asyncio.Event()

    def put(self, message: dict[str, Any]) -> None:
        self._newest[message["type"]] = message
        self._come.set()

    async def get(self) -> list[dict[str, Any]]:
        await self._come.wait()
        self._come.clear()
        found, self._newest = list(self._newest.values()), {}
        return found


class Hall:
    """All rooms that this process serves.

    Args:
        store: where rooms are kept.
        key: who makes a room must give it; `None` lets anybody.
        newcomers: how many may join a room from one address at once; then two a second. A school comes through one.
        reach: the address at which phones reach this server, where its own is good for this machine alone.
        most_rooms: of the store.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        store: Store,
        key: str | None = None,
        newcomers: int = NEWCOMERS,
        reach: str | None = None,
        most_rooms: int = MOST_ROOMS,
        clock: Callable[[], float] = time.time,
    ):
        self.store, self.key, self.reach, self.most_rooms, self.clock = store, key, reach, most_rooms, clock
        self.addresses = Addresses()
        self.makers = Buckets(burst=100, rate=100 / 3600)
        self.newcomers = Buckets(burst=newcomers, rate=2.0)
        self.guesses = Buckets(burst=10, rate=0.1)
        self._began = clock()
        self._rooms: dict[str, Live] = {}
        self._locks: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def open(self, name: str) -> Live:
        """Return a room with its fold up to now.

        Raises:
            Refused: there is none of that name.
        """
        if not NAME.fullmatch(name):
            raise Refused(404, "There is no such room. Look at the address again.")
        async with self._locks[name]:
            live = self._rooms.get(name)
            if live is None:
                kept = await self.store.find(name)
                if kept is None or kept.expires < self.clock():
                    self._locks.pop(name, None)
                    raise Refused(404, "There is no such room. Look at the address again.")
                live = self._rooms[name] = Live(kept, self.store, self.clock, self.reach)
        try:
            await asyncio.wait_for(live.ready.wait(), PATIENCE)
        except asyncio.TimeoutError:
            raise StoreError("no events") from None
        live.touched = self.clock()
        return live

    async def make(self, name: str | None, address: str, key: str | None) -> tuple[str, Secret]:
        """Make a room and return its name and the teacher's secret.

        Raises:
            Refused: the name is taken or none, there are too many rooms, or the key is not the one.
        """
        if self.key is not None and not hmac.compare_digest(_hash(self.key), _hash(key or "")):
            raise Refused(403, "This server makes rooms for those alone who have its key.")
        if not self.makers.take(address, self.clock()):
            raise Refused(429, "That many rooms have been made from your address. Try again in some minutes.")
        if name is not None and not NAME.fullmatch(name):
            raise Refused(400, "A room's name is 3 to 32 small letters, digits and hyphens.")
        secret, now = Secret(secrets.token_hex(24)), self.clock()  # hex: none begins with a "-", as an option does
        for _ in range(8):
            chosen = name or _short_name()
            made = await self.store.create(Kept(chosen, secret.kept, now, now + KEPT_DAYS * 86400), self.most_rooms)
            if made == "made":
                return chosen, secret
            if made == "full":
                raise Refused(409, "There are too many rooms here. Some end every day.")
            if name:
                raise Refused(409, f"There is a room {name!r} already. Choose another name.")
        raise Refused(409, "No free name was found. Give one.")

    @property
    def quiet(self) -> float:
        """For how many seconds nobody has been here."""
        if any(live.students or live.teachers for live in self._rooms.values()):
            return 0.0
        return self.clock() - max([self._began, *(live.touched for live in self._rooms.values())])

    async def rest(self) -> None:
        """Put away rooms that nobody looks at, and forget those that have expired; runs for ever."""
        while True:
            await asyncio.sleep(30)
            self._began = max([self._began, *(live.touched for live in self._rooms.values())])
            for name, live in list(self._rooms.items()):
                if live.idle:
                    del self._rooms[name]
                    self._locks.pop(name, None)
                    await live.close()
            with contextlib.suppress(StoreError):
                await self.store.forget(self.clock())

    async def close(self) -> None:
        for live in self._rooms.values():
            await live.close()
        await self.store.close()


def _short_name() -> str:
    """Return a name that is quick to say and to type: consonants and vowels in turn, and two digits."""
    pick = secrets.choice
    return "".join(pick("bdfgklmnprstvz") + pick("aeiou") for _ in range(3)) + pick("23456789") + pick("23456789")


# ---------------------------------------------------------------- what people ask for


def _text(value: Any, most: int) -> str:
    """Return a line of text without control characters.

    Raises:
        Refused: it is none, or too long.
    """
    if not isinstance(value, str):
        raise Refused(400, "Text is needed here.")
    line = " ".join("".join(c if c.isprintable() else " " for c in value).split())
    if len(line) > most:
        raise Refused(400, f"That is longer than {most} letters.")
    return line


async def student(hall: Hall, live: Live, seat: str, address: str, asked: dict[str, Any]) -> dict[str, Any]:
    """Do what a student asks for, and return what is acknowledged once it is kept.

    Raises:
        Refused: it makes no sense, or comes too often.
    """
    room, now = live.room, hall.clock()
    if not live.taps.take(seat, now):
        raise Refused(429, "That was quick. Wait a moment.")
    if room.closed:
        raise Refused(409, "The room is closed.")
    kind = asked.get("do")
    if kind == "cup":
        if asked.get("cup") not in CUPS:
            raise Refused(400, "A cup is green, yellow or red.")
        if room.paused:
            raise Refused(409, "The teacher has paused the cups.")
        _let_in(hall, live, seat, address, room.seats)
        event = Event("cup", seat, asked["cup"], now)
    elif kind == "note":
        if seat not in room.seats or room.seats[seat].cup != "red":
            raise Refused(409, "Only a red cup carries a line.")
        event = Event("note", seat, _text(asked.get("text"), MOST_NOTE), now)
    elif kind == "vote":
        id, answer = asked.get("poll"), asked.get("answer")
        poll = room.poll
        if poll is None or poll.id != id or not poll.open:
            raise Refused(409, "That question is closed.")
        if type(answer) is not int or not 0 <= answer < len(poll.answers):
            raise Refused(400, "There is no such answer.")
        if seat not in room.seats:
            _let_in(hall, live, seat, address, poll.votes)
        event = Event("vote", seat, [id, answer], now)
    else:
        raise Refused(400, "A cup, a note or a vote is needed.")
    seq = await live.keep(event)
    return {"type": "kept", "seq": seq, "of": asked.get("id")}


def _let_in(hall: Hall, live: Live, seat: str, address: str, known: Collection[str]) -> None:
    """Return where a seat is among those that are known, or may become one of them.

    Raises:
        Refused: the door is locked, the room full, or too many come from one address at once.
    """
    if seat in known:
        return
    if live.room.locked:
        raise Refused(403, "The room takes no more students just now.")
    if len(known) >= MOST_SEATS:
        raise Refused(403, "The room is full.")
    if not hall.newcomers.take(f"{live.room.name} {address}", hall.clock()):
        raise Refused(429, "Many have joined from this network at once. Try again in some seconds.")


async def teacher(hall: Hall, live: Live, asked: dict[str, Any]) -> dict[str, Any]:
    """Do what the teacher asks for, and return what is acknowledged once it is kept.

    Raises:
        Refused: it makes no sense.
    """
    kind, value = asked.get("do"), asked.get("value")
    if kind in ("reset", "pause", "go", "close", "lock", "unlock"):
        value = None
    elif kind == "mark":
        value = _text(value, MOST_LABEL)
    elif kind in ("answered", "reveal"):
        if type(value) is not int:
            raise Refused(400, "A number is needed.")
    elif kind == "drop":
        if type(value) not in (int, float):
            raise Refused(400, "A time is needed.")
    elif kind == "settings":
        if not isinstance(value, dict):
            raise Refused(400, "Settings are red, seconds and fade.")
        value = vars(live.room.settings.changed(value))
    elif kind == "ask":
        value = value if isinstance(value, dict) else {}
        answers = value.get("answers")
        if not isinstance(answers, list) or not 2 <= len(answers) <= MOST_ANSWERS:
            raise Refused(400, f"A question has two to {MOST_ANSWERS} answers.")
        texts = [_text(answer, MOST_LABEL) for answer in answers]
        question = _text(value.get("question"), MOST_QUESTION)
        if not question or not all(texts):
            raise Refused(400, "Question and answers need words.")
        value = {"question": question, "answers": texts}
    else:
        raise Refused(400, f"Nothing is called {str(kind)[:40]!r}.")
    seq = await live.keep(Event(str(kind), "", value, hall.clock()))
    return {"type": "kept", "seq": seq, "of": asked.get("id")}


# ---------------------------------------------------------------- routes


def app(hall: Hall) -> Starlette:
    """Return the application of a hall.

    Example:
        >>> import asyncio, tempfile
        >>> from fastmagic.classroom.store import SqliteStore
        >>> app(Hall(SqliteStore(tempfile.mkdtemp() + "/rooms.db"))).routes[0].path
        '/'
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        resting = asyncio.create_task(hall.rest())
        yield
        resting.cancel()
        await hall.close()

    def page(file: str, kind: str) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            return FileResponse(PAGES / file, media_type=kind, headers=HEADERS)

        return answer

    def asked(work: Callable[[Request, Live | None], Awaitable[Response]], room: bool = True) -> Any:
        async def answer(request: Request) -> Response:
            try:
                _same_origin(request)
                live = await hall.open(request.path_params["room"]) if room else None
                response = await work(request, live)
            except (Refused, StoreError) as error:
                told = _told(error)
                response = JSONResponse(told, told["status"])
            response.headers.update(HEADERS)
            return response

        return answer

    async def make(request: Request, _: Live | None) -> Response:
        body = await _body(request)
        name = body.get("room") or None
        if name is not None and not isinstance(name, str):
            raise Refused(400, "A room's name is text.")
        made, secret = await hall.make(name, _address(hall, request), body.get("key"))
        return JSONResponse({"room": made, "secret": secret.text}, 201)

    async def student_page(request: Request) -> Response:
        try:
            await hall.open(request.path_params["room"])
        except Refused:
            return FileResponse(PAGES / "nowhere.html", 404, headers=HEADERS)
        except StoreError:
            pass  # the page says so itself, and tries again
        return FileResponse(PAGES / "student.html", headers=HEADERS)

    async def slash(request: Request) -> Response:
        return RedirectResponse(request.url.path.rstrip("/").rpartition("/")[2] + "/", 307)

    async def tap(request: Request, live: Live | None) -> Response:
        assert live is not None
        body = await _body(request)
        seat = seat_of(live.room.name, _token(body.get("token")))
        done = await student(hall, live, seat, _address(hall, request), body)
        return JSONResponse(done)

    async def state(request: Request, live: Live | None) -> Response:
        assert live is not None
        body = await _body(request)
        return JSONResponse(live.student(seat_of(live.room.name, _token(body.get("token")))))

    async def enter(request: Request, live: Live | None) -> Response:
        assert live is not None
        secret = (await _body(request)).get("secret")
        if not hall.guesses.take(f"{live.room.name} {_address(hall, request)}", hall.clock()):
            raise Refused(429, "Too many tries. Wait a minute.")
        if not isinstance(secret, str) or not Secret.opens(live.kept.secret, secret):
            raise Refused(403, "That is not this room's secret.")
        response = JSONResponse({"entered": True})
        secure = request.headers.get("x-forwarded-proto", request.url.scheme) == "https"
        # No path: the room's own, also behind a proxy that takes a prefix away.
        response.set_cookie(
            f"cups-{live.room.name}", Secret(secret).cookie, httponly=True, samesite="strict", secure=secure, path=""
        )
        return response

    async def code(request: Request, live: Live | None) -> Response:
        """The QR code of the room's address, as the browser that asks for it knows the address."""
        import io

        import segno

        link = request.query_params.get("of", "")
        if not re.fullmatch(r"https?://[^\s\"'<>]{1,300}", link):
            raise Refused(400, "Of which address?")
        out = io.BytesIO()
        segno.make(link, error="m").save(out, kind="svg", scale=8, border=2)
        return Response(out.getvalue(), media_type="image/svg+xml")

    async def board(request: Request, live: Live | None) -> Response:
        assert live is not None
        _is_teacher(request, live)
        at = request.query_params.get("at")
        if at is None:
            return JSONResponse(live.board())
        try:
            when = float(at)
        except ValueError:
            when = math.nan
        if not math.isfinite(when):
            raise Refused(400, "A time is seconds since 1970.")
        return JSONResponse(await live.past(when))

    async def act(request: Request, live: Live | None) -> Response:
        assert live is not None
        _is_teacher(request, live)
        return JSONResponse(await teacher(hall, live, await _body(request)))

    async def export(request: Request, live: Live | None) -> Response:
        assert live is not None
        _is_teacher(request, live)
        events = await hall.store.events(live.room.name)
        return JSONResponse([json.loads(event.line()) for event in events])

    async def student_socket(socket: WebSocket) -> None:
        await _socket(hall, socket, False)

    async def teacher_socket(socket: WebSocket) -> None:
        await _socket(hall, socket, True)

    def get(path: str, endpoint: Any) -> Route:
        return Route(path, endpoint, methods=["GET"])

    def post(path: str, endpoint: Any) -> Route:
        return Route(path, endpoint, methods=["POST"])

    script, style = "text/javascript", "text/css"
    return Starlette(
        routes=[
            get("/", page("hall.html", "text/html")),
            *(get(f"/{name}", page(name, script if name.endswith("js") else style)) for name in _files()),
            post("/rooms", asked(make, room=False)),
            get("/{room}", slash),
            get("/{room}/", student_page),
            get("/{room}/teacher", page("teacher.html", "text/html")),
            post("/{room}/do", asked(tap)),
            post("/{room}/state", asked(state)),
            post("/{room}/enter", asked(enter)),
            get("/{room}/board", asked(board)),
            post("/{room}/act", asked(act)),
            get("/{room}/events", asked(export)),
            get("/{room}/qr.svg", asked(code)),
            WebSocketRoute("/{room}/socket", student_socket),
            WebSocketRoute("/{room}/board-socket", teacher_socket),
        ],
        lifespan=lifespan,
    )


def _files() -> list[str]:
    return sorted(file.name for file in PAGES.iterdir() if file.suffix in (".js", ".css"))


async def _socket(hall: Hall, socket: WebSocket, teaches: bool) -> None:
    """Serve one page over a WebSocket: its messages are done one after another, states are sent as they change."""
    try:
        _same_origin(socket)
        live = await hall.open(socket.path_params["room"])
        if teaches:
            _is_teacher(socket, live)
    except (Refused, StoreError) as error:
        # Accepted first: a browser tells nothing of a handshake that is refused.
        await socket.accept()
        await socket.send_json(_told(error))
        await socket.close(1008)
        return
    await socket.accept()
    outbox, address, seat = Outbox(), _address(hall, socket), ""
    sender = asyncio.create_task(_send(socket, outbox))
    try:
        if teaches:
            live.teachers.add(outbox)
            outbox.put(live.board())
        while True:
            message = await _message(socket)
            try:
                if teaches:
                    answer = await teacher(hall, live, message)
                else:
                    if not seat:
                        seat = seat_of(live.room.name, _token(message.get("token")))
                        live.students[outbox] = seat
                    if message.get("do") == "look":
                        answer = live.student(seat)
                    else:
                        answer = await student(hall, live, seat, address, message)
            except (Refused, StoreError) as error:
                answer = {**_told(error), "of": message.get("id")}
            await socket.send_json(answer)
    except (WebSocketDisconnect, RuntimeError):
        pass
    finally:
        live.students.pop(outbox, None)
        live.teachers.discard(outbox)
        live.touched = hall.clock()
        sender.cancel()


def _told(error: Refused | StoreError) -> dict[str, Any]:
    """Return what a page is told of an error."""
    status, why = (error.status, error.why) if isinstance(error, Refused) else (503, AWAY)
    return {"type": "refused", "status": status, "error": why}


async def _send(socket: WebSocket, outbox: Outbox) -> None:
    with contextlib.suppress(WebSocketDisconnect, RuntimeError):
        while True:
            for message in await outbox.get():
                await socket.send_json(message)


async def _message(socket: WebSocket) -> dict[str, Any]:
    """Return the next message; what is none is answered and passed over."""
    while True:
        event = await socket.receive()
        if event["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(event.get("code", 1000))
        text = event.get("text")
        found = _parsed(text.encode()) if isinstance(text, str) and len(text) <= MOST_BODY else None
        if found is not None:
            return found
        await socket.send_json({"type": "refused", "status": 400, "error": "That is no message of the cups."})


def _parsed(data: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


async def _body(request: Request) -> dict[str, Any]:
    """Return the JSON object of a request.

    Raises:
        Refused: it is none, or too long.
    """
    data = b""
    async for chunk in request.stream():
        data += chunk
        if len(data) > MOST_BODY:
            raise Refused(413, "That is too long.")
    found = _parsed(data)
    if found is None:
        raise Refused(400, "That is no message of the cups.")
    return found


def _token(value: Any) -> str:
    if not isinstance(value, str) or not TOKEN.fullmatch(value):
        raise Refused(400, "A token is needed: reload the page.")
    return value


def _address(hall: Hall, connection: HTTPConnection) -> str:
    """Return a name for the address that a request comes from; uvicorn has read the proxies' headers."""
    return hall.addresses.name(connection.client.host if connection.client else "")


def _same_origin(connection: HTTPConnection) -> None:
    """Refuse what a page of another origin asks for in a visitor's name.

    Raises:
        Refused: the request says that it comes from elsewhere.
    """
    origin = connection.headers.get("origin")
    if origin is None:
        return  # no browser's page, or a plain GET
    hosts = {connection.headers.get("host"), connection.headers.get("x-forwarded-host")} - {None, ""}
    try:
        here = urlsplit(origin).netloc in hosts  # "null", that of a page in a sandbox, has none
    except ValueError:
        here = False
    if not here:
        raise Refused(403, "That comes from another site.")


def _is_teacher(connection: HTTPConnection, live: Live) -> None:
    """Refuse who has neither the secret nor the cookie made from it.

    Raises:
        Refused: 403.
    """
    given = connection.headers.get("authorization", "").removeprefix("Bearer ")
    given = given or connection.cookies.get(f"cups-{live.room.name}", "")
    if not given or not Secret.opens(live.kept.secret, given):
        raise Refused(403, "This is for the teacher: open the link with the secret.")
