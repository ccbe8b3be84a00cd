"""What a server in public meets: kills under load, floods of nonsense, sockets that say nothing."""

from __future__ import annotations

import contextlib
import json
import random
import socket as sockets
import threading
import time
from collections import defaultdict
from pathlib import Path

import psutil
import pytest
import requests
from cups_server import Server, bearer, run, token
from websockets.asyncio.client import connect

CUPS = ("green", "yellow", "red")


def test_no_acknowledged_tap_is_lost_in_twenty_kills_under_load(server: Server):
    made = server.make("owl")
    stop = threading.Event()
    acknowledged: dict[str, str] = {}
    open_: defaultdict[str, set[str]] = defaultdict(set)  # sent after the last acknowledged one, fate unknown

    def taps(seed: int) -> None:
        dice, people = random.Random(seed), [token() for _ in range(150)]
        session = requests.Session()
        while not stop.is_set():
            who, cup = dice.choice(people), dice.choice(CUPS)
            open_[who].add(cup)
            body = json.dumps({"do": "cup", "cup": cup, "token": who})
            try:
                answer = session.post(f"{server.address}owl/do", body, timeout=5)
            except requests.RequestException:
                session = requests.Session()
                time.sleep(0.02)
                continue
            if answer.status_code == 200:
                acknowledged[who] = cup
                open_[who].clear()

    threads = [threading.Thread(target=taps, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    dice, before = random.Random(7), 0
    try:
        for _ in range(20):
            end = time.monotonic() + 30
            while len(acknowledged) <= before + 3 and len(acknowledged) < 400 and time.monotonic() < end:
                time.sleep(0.01)
            time.sleep(dice.random() * 0.15)
            before = len(acknowledged)
            server.kill()
            server.start()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert len(acknowledged) > 100
    wrong = []
    for who, cup in acknowledged.items():
        kept = server.post("owl/state", {"token": who})["cup"]
        if kept != cup and kept not in open_[who]:
            wrong.append((cup, kept))
    assert wrong == []
    assert sum(server.board(made)["counts"].values()) >= len(acknowledged)


def _nonsense(dice: random.Random) -> bytes | str:
    """A message as nobody should send one: of the right shape with wrong parts, cut, doubled, or of noise."""
    parts = [
        None,
        True,
        -1,
        2**70,
        1e308,
        "",
        "red",
        "x" * 300,
        "\u202e\x00",
        [],
        {},
        [["red"]],
        {"do": "cup"},
        "cup",
        "vote",
        "note",
        "look",
    ]
    names = ["do", "cup", "text", "token", "poll", "answer", "id", "value", "secret", "room", "key"]
    message = {dice.choice(names): dice.choice(parts) for _ in range(dice.randrange(6))}
    text = json.dumps(message)
    how = dice.randrange(5)
    if how == 0:
        return dice.randbytes(dice.randrange(200))
    if how == 1:
        return text[: dice.randrange(len(text) + 1)]
    if how == 2:
        return text * 2
    if how == 3:
        return text.replace('"', dice.choice(["'", '"', "\\"]))
    return text


def test_ten_thousand_pieces_of_nonsense_break_nothing_and_reach_no_other_room(server: Server):
    made, other = server.make("owl"), server.make("lark")
    server.tap("lark", token(), "green")
    dice = random.Random(0)
    statuses: set[int] = set()
    session = requests.Session()
    for i in range(2000):
        path = dice.choice(
            ["rooms", "owl/do", "owl/state", "owl/enter", "owl/act", "nothing/do", "owl/%00", "..%2f/do"]
        )
        answer = session.post(server.address + path, data=_nonsense(dice), timeout=20)
        statuses.add(answer.status_code)
        if i % 10 == 0:
            method = dice.choice(["GET", "PUT", "DELETE", "HEAD"])
            statuses.add(session.request(method, server.address + path, timeout=20).status_code)
    assert max(statuses) < 500, statuses

    async def frames() -> None:
        address = f"{server.address.replace('http', 'ws')}owl/"
        for path, headers in (("socket", {}), ("board-socket", bearer(made))):
            async with connect(address + path, additional_headers=headers, max_size=None) as web:
                for _ in range(4000):
                    frame = _nonsense(dice)
                    await web.send(frame)
                await web.send(json.dumps({"do": "look", "token": token(), "id": "last"}))
                while True:
                    told = json.loads(await web.recv())
                    if told["type"] == "state" or told.get("of") == "last":
                        break

    run(frames())
    assert server.board(other)["counts"] == {"green": 1, "yellow": 0, "red": 0}
    assert server.board(other)["notes"] == []
    assert server.stop() == 0


def test_sockets_that_say_nothing_keep_nobody_out(server: Server):
    server.make("owl")
    silent = [sockets.create_connection(("127.0.0.1", server.port), 20) for _ in range(300)]
    for i, one in enumerate(silent):
        one.sendall(
            b"POST /owl/do HTTP/1.1\r\nHost: x\r\nContent-Length: 4000\r\n\r\n{" if i % 2 else b"GET /owl/socket HTT"
        )
    server.tap("owl", token(), "red")
    for one in silent:
        one.close()
    server.tap("owl", token(), "red")


def test_redis_may_restart_and_what_was_acknowledged_is_there(tmp_path: Path, store: str):
    if store != "redis":
        pytest.skip("of Redis alone")
    with contextlib.closing(Server(tmp_path, store=store)) as server:
        made, ann = server.make("owl"), token()
        server.tap("owl", ann, "red")
        assert server.redis is not None
        server.redis.kill()
        assert "cannot keep anything just now" in server.tap("owl", ann, "green", 503)["error"]
        server.redis.start()
        assert server.board(made)["counts"] == {"green": 0, "yellow": 0, "red": 1}
        server.tap("owl", ann, "yellow")
        end = time.monotonic() + 60
        while server.board(made)["counts"]["yellow"] != 1:  # it follows the room again
            assert time.monotonic() < end
            time.sleep(0.05)


def test_workers_share_rooms_and_one_may_die(tmp_path: Path, store: str):
    if store != "redis":
        pytest.skip("of Redis alone")
    with contextlib.closing(Server(tmp_path, "--workers", "2", "--newcomers", "1000", store=store)) as server:
        made = server.make("owl")
        people = [token() for _ in range(40)]
        for i, who in enumerate(people):  # each request a connection of its own: they reach both workers
            server.tap("owl", who, CUPS[i % 2])
        seats = {server.board(made)["seats"] for _ in range(20)}
        end = time.monotonic() + 60
        while seats != {40}:
            assert time.monotonic() < end, seats
            seats = {server.board(made)["seats"] for _ in range(20)}
        children = psutil.Process(server.process.pid).children(recursive=True)
        working = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
        assert len(working) == 2
        working[0].kill()
        while True:  # the next connection may still reach the one that is gone
            try:
                server.tap("owl", people[0], "red")
                break
            except requests.RequestException:
                assert time.monotonic() < end
        assert server.board(made)["seats"] == 40
        server.stop()
