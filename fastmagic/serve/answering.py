"""One process that holds a model and answers all visitors of an app: their kernels import neither PyTorch nor fastai.

Each visitor has a predictor panel here, which speaks with the browser through the visitor's kernel (`visiting.py`). One
prediction runs at a time, on all cores; the others wait in line and are told how many are before them, and beyond
`SECONDS` of waiting, or `IN_LINE`, a visitor is told that the app is busy. What runs longer than `SECONDS` is given up; where it does not end even
then, the process ends, and `app.py` begins a new one.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import io
import json
import logging
import os
import secrets
import sys
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from aiohttp import web

from ..errors import FastmagicError
from ..panels.predictor import Predictor
from . import frames

IN_LINE, SECONDS, STUCK = 200, 30, 90
TOLD_EVERY = 0.5  # seconds between two messages to whoever waits
MOST_PIXELS, LARGEST_TEXT = 50_000_000, 100_000
UPLOADED = 200_000_000  # bytes of files that are on their way, of all visitors
IDLE, MOST_VISITORS = 3600, 1000
WORK = ("judge", "url", "text", "row", "example")
log = logging.getLogger(__name__)


class Answered(Predictor):
    """A predictor whose messages are collected instead of sent, and which keeps no pictures."""

    module = "predictor"
    largest_upload = 20_000_000
    uploads_at_once = 1

    def __init__(self, *args: Any, **options: Any) -> None:
        self.told: deque[frames.Message] = deque()  # filled by one thread and emptied by another
        self.seen = time.monotonic()
        self.at_work = False
        super().__init__(*args, **options)

    @property
    def uploading(self) -> int:
        """Bytes of files that are on their way."""
        return sum(map(len, self._uploads.values()))

    def open(self) -> None:
        """Open nothing: the comm is in the visitor's kernel."""

    def send(self, content: Any, buffers: Any = None) -> None:
        self.told.append((content, list(buffers or [])))

    def told_of(self, error: Exception) -> dict[str, str]:
        number = secrets.token_hex(3)
        log.error("[%s] %s", number, self.module, exc_info=error)
        return {
            "error": f"Something went wrong here.\nTry again. Whoever runs this app finds what it was in its log, under {number}."
        }

    def on_text(self, text: str) -> None:
        if len(text) > LARGEST_TEXT:
            raise FastmagicError(
                f"This text has {len(text):,} letters; {LARGEST_TEXT:,} are taken.", "Give a part of it."
            )
        super().on_text(text)

    def _said(self, item: Any) -> Any:
        if isinstance(item, bytes):
            from PIL import Image

            try:
                with Image.open(io.BytesIO(item)) as picture:
                    wide, high = picture.size
            except Exception:
                wide = high = 0  # the panel says better what is wrong with it
            if wide * high > MOST_PIXELS:
                raise FastmagicError(
                    f"This picture has {wide * high / 1e6:.0f} million pixels; {MOST_PIXELS / 1e6:g} are taken.",
                    "Give a smaller one.",
                )
        return super()._said(item)

    def _add(self, *args: Any, **options: Any) -> Any:
        entry = super()._add(*args, **options)
        for said in (entry.prediction, entry.stored):
            if said is not None:
                said.image = None  # what the browser shows of it is enough
        return entry


class _Ticket:
    """A place in the line."""

    def __init__(self) -> None:
        self.began: float | None = None


class Answering:
    """The visitors of a model, and their line.

    Args:
        learn: a fastai `Learner`.
        pool: the one thread in which it predicts.
        options: as of `fastmagic.predictor`.
    """

    def __init__(self, learn: Any, pool: ThreadPoolExecutor | None = None, **options: Any) -> None:
        given = {"top": 5, "title": "", "description": "", "examples": None, "allow_url": None, "upright": True}
        self._learn, self._options = learn, {**given, **options}
        self._visitors: dict[str, Answered] = {}
        self._pool = pool or ThreadPoolExecutor(1)
        self._line: list[_Ticket] = []
        self._took = 0.0  # seconds of a prediction, of late
        self._title = ""

    def application(self) -> web.Application:
        made = web.Application(client_max_size=frames.MOST)
        made.add_routes([
            web.get("/health", self._health), web.post("/visitors/{id}", self._ask), web.delete("/visitors/{id}", self._go),
        ])  # fmt: skip
        return made

    def warm_up(self) -> None:
        """Read what it says of itself, and predict an example, so that the first visitor does not wait for what PyTorch does once."""
        visitor = Answered(self._learn, **self._options)
        self._title = visitor.state()["title"]
        if visitor._examples:
            with contextlib.suppress(Exception):
                visitor.on_example(0)

    async def _health(self, _: web.Request) -> web.Response:
        return web.json_response({"visitors": len(self._visitors), "line": len(self._line), "title": self._title})

    async def _go(self, request: web.Request) -> web.Response:
        if visitor := self._visitors.pop(request.match_info["id"], None):
            visitor.close()
        return web.Response()

    def _visitor(self, name: str) -> Answered:
        if name not in self._visitors:
            now = time.monotonic()
            for old in [old for old, visitor in self._visitors.items() if now - visitor.seen > IDLE]:
                self._visitors.pop(old).close()
            if len(self._visitors) >= MOST_VISITORS:
                raise web.HTTPServiceUnavailable
            self._visitors[name] = Answered(self._learn, **self._options)
        return self._visitors[name]

    async def _ask(self, request: web.Request) -> web.StreamResponse:
        try:
            ((message, buffers),) = frames.unpack(await request.read())
            asked, content = message["ask"], message.get("content")
        except (ValueError, TypeError, KeyError, AttributeError):
            raise web.HTTPBadRequest from None
        visitor = self._visitor(request.match_info["id"])
        visitor.seen = time.monotonic()
        answer = web.StreamResponse()
        await answer.prepare(request)

        async def tell(*more: frames.Message) -> None:
            told = [visitor.told.popleft() for _ in range(len(visitor.told))]
            if told or more:
                await answer.write(frames.pack([*told, *more]))

        if refusal := self._refusal(visitor, asked, content):
            await tell(({"re": message.get("id"), "error": refusal}, []))
        elif asked in WORK:
            await self._work(request, visitor, message, buffers, tell)
        else:
            visitor._receive(None, message, buffers)
        await tell()
        await answer.write_eof()
        return answer

    def _refusal(self, visitor: Answered, asked: Any, content: Any) -> str:
        if visitor.at_work:
            return "The last one is not finished.\nTry again in a moment."
        if asked in WORK and (len(self._line) >= IN_LINE or len(self._line) * self._took > SECONDS):
            return f"Many people use this app just now: {len(self._line)} are in line.\nTry again in a moment."
        if asked == "upload" and isinstance(content, dict):
            size = content.get("size")
            others = sum(other.uploading for other in self._visitors.values() if other is not visitor)
            if isinstance(size, int) and others + size > UPLOADED:
                return "Many people send files just now.\nTry again in a moment."
        return ""

    async def _work(self, request: web.Request, visitor: Answered, message: Any, buffers: Any, tell: Any) -> None:
        ticket = _Ticket()

        def do() -> None:
            try:
                if request.transport is not None:  # else the visitor went away while waiting
                    ticket.began = time.monotonic()
                    visitor._receive(None, message, buffers)
                    took = time.monotonic() - ticket.began
                    self._took = 0.8 * self._took + 0.2 * took if self._took else took
            finally:
                visitor.at_work = False

        self._line.append(ticket)
        visitor.at_work = True
        work = asyncio.get_running_loop().run_in_executor(self._pool, do)
        work.add_done_callback(functools.partial(self._done, ticket))
        while not (await asyncio.wait([work], timeout=TOLD_EVERY))[0]:
            before = self._line.index(ticket)
            if ticket.began is None:
                await tell(({"event": "waiting", "content": {"before": before}}, []))
            elif time.monotonic() - ticket.began > SECONDS:
                late = f"It took longer than {SECONDS} seconds, and was given up.\nTry a smaller one."
                await tell(({"re": message.get("id"), "error": late}, []))
                asyncio.get_running_loop().call_later(STUCK - SECONDS, self._end_if_stuck, ticket)
                return

    def _done(self, ticket: _Ticket, _: Any) -> None:
        self._line.remove(ticket)

    def _end_if_stuck(self, ticket: _Ticket) -> None:
        if ticket in self._line:
            log.error("A prediction does not end after %d seconds: the model's process begins anew.", STUCK)
            os._exit(70)


def answer(model: str, socket: str, options: dict[str, Any]) -> None:
    """Load a model and answer its visitors at a Unix socket, until whoever began this process ends.

    Args:
        model: a bundle, or what `learn.export` wrote.
        socket: where; its folder keeps others out.
        options: as of `fastmagic.predictor`.
    """
    from ..learning.learner_file import as_learner

    pool = ThreadPoolExecutor(1)  # PyTorch keeps threads of its own for each thread that it runs in
    learn = pool.submit(as_learner, model).result()
    answering = Answering(learn, pool, **options)
    pool.submit(answering.warm_up).result()
    threading.Thread(target=lambda: (os.read(0, 1), os._exit(0)), daemon=True).start()
    web.run_app(answering.application(), path=socket, print=None, access_log=None)


if __name__ == "__main__":
    try:
        answer(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))
    except FastmagicError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
