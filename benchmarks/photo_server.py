"""A lean server of photos on loopback for `bench_images`: latency, broken photos, slow hosts; little work of its own.

`python -m benchmarks.photo_server FOLDER` listens on a free port of all of 127.0.0.0/8 and prints the port. `/SEED/I.jpg`
answers the photo I (modulo their number) after 50 ms; 3 % are broken: not found, cut in half, a web page, and as many of
each. `/slow/I.jpg` is the same, but a twentieth of the photos comes drop by drop or never.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import ClassVar

LATENCY = 0.05
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


class Connection(asyncio.Protocol):
    photos: ClassVar[list[bytes]] = []
    dripping: ClassVar[set[asyncio.Task[None]]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        self.received = b""

    def data_received(self, data: bytes) -> None:
        self.received += data
        while b"\r\n\r\n" in self.received:
            head, _, self.received = self.received.partition(b"\r\n\r\n")
            _, kind, name = head.split(b" ", 2)[1].decode().split("/")
            number = int(name.partition(".")[0])
            # A fixed shuffle, so that what is broken or slow is spread and the same for everybody.
            lot = number * 2654435761 % 1000
            loop = asyncio.get_running_loop()
            if kind == "slow" and lot < 25:
                continue  # never answers
            if kind == "slow" and lot < 50:
                task = loop.create_task(self.drip(self.photos[number % len(self.photos)]))
                self.dripping.add(task)
                task.add_done_callback(self.dripping.discard)
                continue
            loop.call_later(LATENCY, self.answer, number, 1000 - lot)

    def answer(self, number: int, lot: int) -> None:
        if self.transport.is_closing():
            return
        body = self.photos[number % len(self.photos)]
        if lot <= 10:
            self.transport.write(NOT_FOUND)
            return
        if lot <= 20:
            body = body[: len(body) // 2]
        elif lot <= 30:
            body = b"<!DOCTYPE html><html><body>Forbidden</body></html>"
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(body))
        self.transport.write(body)

    async def drip(self, body: bytes) -> None:
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(body))
        for start in range(0, len(body), max(1, len(body) // 60)):
            await asyncio.sleep(0.5)
            if self.transport.is_closing():
                return
            self.transport.write(body[start : start + max(1, len(body) // 60)])


async def main(folder: str) -> None:
    Connection.photos = [file.read_bytes() for file in sorted(Path(folder).rglob("*.*")) if file.is_file()]
    server = await asyncio.get_running_loop().create_server(Connection, "0.0.0.0", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
