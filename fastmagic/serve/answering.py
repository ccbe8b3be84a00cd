"""One process that holds a model and answers all visitors of an app: their kernels import neither PyTorch nor fastai.

Each visitor has a predictor panel here, which speaks with the browser through the visitor's kernel (`visiting.py`). One
prediction runs at a time, on all cores; the others wait in line, and beyond `IN_LINE` a visitor is told that it is busy.
"""

from __future__ import annotations

import asyncio
import io
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from aiohttp import web

from ..errors import FastmagicError
from ..panels.predictor import Predictor
from . import frames

IN_LINE, SECONDS = 32, 30
MOST_PIXELS = 50_000_000
IDLE, MOST_VISITORS = 3600, 500
WORK = ("judge", "url", "text", "example")


class Answered(Predictor):
    """A predictor whose messages are collected instead of sent."""

    module = "predictor"

    def __init__(self, *args: Any, **options: Any) -> None:
        self.told: list[tuple[Any, list[Any]]] = []
        self.seen = time.monotonic()
        super().__init__(*args, **options)

    def send(self, content: Any, buffers: Any = None) -> None:
        self.told.append((content, list(buffers or [])))

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


class Answering:
    """The visitors of a model."""

    def __init__(self, learn: Any, **options: Any) -> None:
        given = {"top": 5, "title": "", "description": "", "examples": None, "allow_url": "public", "upright": True}
        self._learn, self._options = learn, {**given, **options}
        self._visitors: dict[str, Answered] = {}
        self._pool = ThreadPoolExecutor(1)
        self._waiting = 0

    def application(self) -> web.Application:
        made = web.Application(client_max_size=frames.MOST)
        made.add_routes([
            web.post("/visitors", self._come), web.post("/visitors/{id}", self._ask), web.delete("/visitors/{id}", self._go),
        ])  # fmt: skip
        return made

    async def _come(self, _: web.Request) -> web.Response:
        now = time.monotonic()
        for name in [name for name, visitor in self._visitors.items() if now - visitor.seen > IDLE]:
            self._visitors.pop(name).close()
        if len(self._visitors) >= MOST_VISITORS:
            return web.json_response(
                {"error": "Too many people use this app just now. Try again in a while."}, status=503
            )
        name = secrets.token_urlsafe(16)
        loop = asyncio.get_running_loop()
        self._visitors[name] = await loop.run_in_executor(None, lambda: Answered(self._learn, **self._options))
        return web.json_response({"id": name})

    async def _go(self, request: web.Request) -> web.Response:
        visitor = self._visitors.pop(request.match_info["id"], None)
        if visitor:
            visitor.close()
        return web.Response()

    async def _ask(self, request: web.Request) -> web.Response:
        visitor = self._visitors.get(request.match_info["id"])
        if visitor is None:
            raise web.HTTPNotFound
        visitor.seen = time.monotonic()
        try:
            ((message, buffers),) = frames.unpack(await request.read())
        except ValueError:
            raise web.HTTPBadRequest from None
        if message.get("ask") not in WORK:
            visitor._receive(None, message, buffers)
        elif self._waiting >= IN_LINE:
            busy = f"Many people use this app just now: {self._waiting} pictures are in line.\nTry again in a moment."
            visitor.send({"re": message.get("id"), "error": busy})
        else:
            self._waiting += 1
            work = asyncio.get_running_loop().run_in_executor(self._pool, visitor._receive, None, message, buffers)
            work.add_done_callback(self._done)
            try:
                await asyncio.wait_for(asyncio.shield(work), SECONDS)
            except asyncio.TimeoutError:
                late = f"It took longer than {SECONDS} seconds, and was given up.\nTry a smaller picture."
                visitor.send({"re": message.get("id"), "error": late})
        told, visitor.told = visitor.told, []
        return web.Response(body=frames.pack(told), content_type="application/octet-stream")

    def _done(self, _: Any) -> None:
        self._waiting -= 1


def answer(model: str | Path, socket: str | Path, **options: Any) -> None:
    """Load a model and answer its visitors at a Unix socket until the process is ended.

    Args:
        model: a bundle, or what else `as_learner` takes.
        socket: where; only its owner may come.
        options: as of `fastmagic.predictor`.
    """
    from ..learning.learner_file import as_learner

    learn = as_learner(str(model))
    web.run_app(Answering(learn, **options).application(), path=str(socket), print=None)
