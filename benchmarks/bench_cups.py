"""The cups under load: many students, many taps, one board. How long until the teacher sees it, and is anything lost?

`python -m benchmarks.bench_cups [STUDENTS] [TAPS a second] [SECONDS] [WORKERS]`; 5,000, 500, 300 and 1 by default. More than one
worker share their rooms through a Redis server that is started for it. Client and server share
this machine over loopback. A tap counts as seen when a board with its place in the room, or a later one, has come.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import resource
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil
import requests
from websockets.asyncio.client import connect

COMMAND = [sys.executable, "-m", "fastmagic.cli", "cups", "serve", "--port", "0", "--newcomers", "100000"]
CUPS = ("green", "yellow", "red")


def run(students: int, rate: int, seconds: int, workers: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as running:
        store = f"{folder}/cups.db"
        if workers > 1:
            store = f"unix://{folder}/redis"
            options = ["--port", "0", "--unixsocket", f"{folder}/redis", "--dir", folder, "--appendonly", "yes"]
            redis = subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL)
            running.callback(redis.kill)
            while not Path(f"{folder}/redis").exists():
                time.sleep(0.05)
        command = [*COMMAND, "--store", store, "--workers", str(workers)]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        running.callback(server.terminate)
        address = server.stdout.readline().split()[-1]  # type: ignore[union-attr]
        time.sleep(3 if workers > 1 else 0)
        asyncio.run(_load(address, server.pid, students, rate, seconds))


async def _load(address: str, pid: int, students: int, rate: int, seconds: int) -> None:
    made = requests.post(f"{address}rooms", data="{}", timeout=20).json()
    place = f"{address.replace('http', 'ws')}{made['room']}"
    before = _memory(pid)
    webs, last = [], {}
    for start in range(0, students, 50):
        webs += await asyncio.gather(*(_join(place) for _ in range(start, min(start + 50, students))))
    print(f"{len(webs):,} students are in; {(_memory(pid) - before) / len(webs):.1f} kB each in the server", flush=True)
    sent: dict[int, float] = {}
    seen: list[float] = []
    acknowledged: dict[int, tuple[int, str]] = {}
    board: dict = {}

    async def watch() -> None:
        nonlocal board
        headers = {"Authorization": f"Bearer {made['secret']}"}
        async with connect(f"{place}/board-socket", additional_headers=headers, max_size=None) as web:
            async for text in web:
                board, now = json.loads(text), time.perf_counter()
                for seq in [seq for seq in sent if seq <= board.get("seq", 0)]:
                    seen.append(now - sent.pop(seq))

    async def tap(i: int) -> None:
        web, lock = webs[i]
        cup = random.choice(CUPS)
        began = time.perf_counter()
        async with lock:
            await web.send(json.dumps({"do": "cup", "cup": cup, "id": 1}))
            while True:
                answer = json.loads(await web.recv())
                if answer["type"] in ("kept", "refused"):
                    break
        if answer["type"] == "kept":
            sent[answer["seq"]] = began
            acknowledged[answer["seq"]] = (i, cup)

    watching = asyncio.create_task(watch())
    began, tasks = time.perf_counter(), set()
    for n in range(rate * seconds):
        await asyncio.sleep(max(0.0, began + n / rate - time.perf_counter()))
        task = asyncio.create_task(tap(random.randrange(students)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    took = time.perf_counter() - began
    await asyncio.sleep(2)
    for seq in sorted(acknowledged):
        i, cup = acknowledged[seq]
        last[i] = cup
    wanted = Counter(last.values())
    q = statistics.quantiles(seen, n=100)
    print(f"{len(acknowledged):,} of {rate * seconds:,} taps acknowledged, {len(acknowledged) / took:.0f} a second")
    print(f"tap to board: p50 {1e3 * q[49]:.0f} ms, p95 {1e3 * q[94]:.0f} ms, p99 {1e3 * q[98]:.0f} ms")
    print(f"board equals the replay: {board['counts'] == {cup: wanted[cup] for cup in CUPS}}; not seen: {len(sent)}")
    print(f"server: {_memory(pid) / 1e3:.0f} MB")
    watching.cancel()


async def _join(place: str) -> tuple:
    web = await connect(f"{place}/socket", ping_interval=None, compression=None)
    await web.send(json.dumps({"do": "look", "token": secrets.token_urlsafe(18)}))
    await web.recv()
    return web, asyncio.Lock()


def _memory(pid: int) -> float:
    """Return the kB that a process and its children hold."""
    process = psutil.Process(pid)
    return sum(one.memory_info().rss for one in [process, *process.children(recursive=True)]) / 1024


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:]]
    run(*(given + [5000, 500, 300, 1][len(given) :]))
