"""Rooms in Redis, shared by several servers: each event is an entry of a list, and its place in the list is its number.

`RPUSH` gives an event its place and keeps it in one step, so that no two servers give the same. The channel of the room then
wakes those who follow it; who missed a message reads on from where they were.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

from .room import Event
from .store import Kept, Made, StoreError

PREFIX = "fastmagic:cups:"
LOOK = 2.0  # seconds after which who follows a room looks by itself
TOGETHER = 0.02  # seconds in which events are gathered that come in a burst


class RedisStore:
    """A store for several servers. What Redis itself loses in a crash is a matter of its `appendonly`.

    Args:
        url: of the Redis server, such as "redis://127.0.0.1:6379/0".

    Raises:
        StoreError: the package `redis` is missing, or the address is none.
    """

    def __init__(self, url: str):
        try:
            import redis.asyncio as redis
        except ImportError as error:
            raise StoreError("the package redis is missing: pip install 'fastmagic[redis]'") from error
        try:
            self._redis: Any = redis.Redis.from_url(
                url, decode_responses=True, socket_timeout=5, socket_connect_timeout=5, max_connections=1000
            )
        except ValueError as error:
            raise StoreError(str(error)) from error

    async def create(self, kept: Kept, most: int) -> Made:
        name = f"{PREFIX}room:{kept.name}"
        with _told():
            if await self._redis.zcard(f"{PREFIX}rooms") >= most:
                return "full"
            if not await self._redis.hsetnx(name, "secret", kept.secret):
                return "taken"
            async with self._redis.pipeline() as work:
                work.hset(name, mapping={"created": kept.created, "expires": kept.expires})
                work.expireat(name, int(kept.expires) + 1)
                work.zadd(f"{PREFIX}rooms", {kept.name: kept.expires})
                await work.execute()
            return "made"

    async def find(self, name: str) -> Kept | None:
        with _told():
            found = await self._redis.hgetall(f"{PREFIX}room:{name}")
        if "expires" not in found:  # none, or one that is being made just now
            return None
        return Kept(name, found["secret"], float(found["created"]), float(found["expires"]))

    async def append(self, room: str, event: Event) -> int:
        with _told():
            async with self._redis.pipeline(transaction=False) as work:
                work.rpush(f"{PREFIX}events:{room}", event.line())
                work.publish(f"{PREFIX}news:{room}", "")
                seq = int((await work.execute())[0])
            if seq == 1:  # the events end with their room
                expires = await self._redis.hget(f"{PREFIX}room:{room}", "expires")
                await self._redis.expireat(f"{PREFIX}events:{room}", int(float(expires or 0)) + 1)
        return seq

    async def events(self, room: str, since: int = 0) -> list[Event]:
        with _told():
            lines = await self._redis.lrange(f"{PREFIX}events:{room}", since, -1)
        return [Event.parse(line, since + i) for i, line in enumerate(lines, 1)]

    async def follow(self, room: str, since: int = 0) -> AsyncIterator[list[Event]]:
        with _told():
            async with self._redis.pubsub(ignore_subscribe_messages=True) as heard:
                await heard.subscribe(f"{PREFIX}news:{room}")
                first = True
                while True:
                    events = await self.events(room, since)
                    if events or first:
                        yield events
                    first, since = False, events[-1].seq if events else since
                    if events:  # more may have come while these were read
                        await asyncio.sleep(TOGETHER)
                        continue
                    await heard.get_message(timeout=LOOK)
                    while await heard.get_message(timeout=0):
                        pass

    async def forget(self, now: float) -> int:
        with _told():  # Redis itself takes away what has expired
            return int(await self._redis.zremrangebyscore(f"{PREFIX}rooms", "-inf", now))

    async def close(self) -> None:
        with contextlib.suppress(Exception):
            await self._redis.aclose()


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Turn what the client raises into `StoreError`."""
    from redis.exceptions import RedisError

    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        raise StoreError(str(error)) from error
