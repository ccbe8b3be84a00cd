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
from cups_server import Server, bearer, token
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from websockets.sync.client import connect

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


JSON = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=300), st.sampled_from(["red", "cup"])
    ),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(max_size=9), inside, max_size=4),
    max_leaves=8,
)
NAMES = ("do", "cup", "text", "token", "poll", "answer", "id", "value", "secret", "room", "key")
WHAT = ("cup", "vote", "note", "look", "ask", "settings", "drop", "mark", "answered", "reveal", "_fade", "__class__")
MESSAGES = st.one_of(
    JSON,
    st.fixed_dictionaries({}, optional=dict.fromkeys(NAMES, JSON)),
    st.fixed_dictionaries({"do": st.sampled_from(WHAT), "token": st.integers(0, 999).map("seat-of-somebody-{}".format)}, optional=dict.fromkeys(NAMES[1:3] + NAMES[4:], JSON)),
).map(lambda message: json.dumps(message))  # fmt: skip
# What nobody should send: noise; messages of the right shape with wrong parts; the same cut off, or twice.
NONSENSE = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=200),
    MESSAGES,
    MESSAGES.map(lambda text: text[: len(text) // 2]),
    MESSAGES.map(lambda text: text * 2),
)
PATHS = st.sampled_from(
    ["rooms", "owl/do", "owl/state", "owl/enter", "owl/act", "owl/board?at=nan", "nothing/do", "owl/%00", "..%2f/do"]
)
MANY = settings(
    deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate]
)


def test_ten_thousand_pieces_of_nonsense_break_nothing_and_reach_no_other_room(server: Server, store: str):
    if store != "sqlite":
        pytest.skip("no nonsense gets as far as the store")
    made, other = server.make("owl"), server.make("lark")
    server.tap("lark", token(), "green")
    session = requests.Session()
    session.headers.update(bearer(made))

    @settings(MANY, max_examples=2000)
    @given(st.sampled_from(["POST"] * 9 + ["GET", "PUT", "DELETE", "HEAD"]), PATHS, NONSENSE)
    def requests_(method: str, path: str, body: bytes | str) -> None:
        data = body if isinstance(body, bytes) else body.encode("utf-8", "surrogatepass")
        assert session.request(method, server.address + path, data=data, timeout=20).status_code < 500

    requests_()
    address = f"{server.address.replace('http', 'ws')}owl/"

    @settings(MANY, max_examples=500)
    @given(st.sampled_from(["socket", "board-socket"]), st.lists(NONSENSE, min_size=16, max_size=16))
    def frames(path: str, nonsense: list[bytes | str]) -> None:
        with connect(address + path, additional_headers=bearer(made), max_queue=None) as web:
            web.send(json.dumps({"do": "look", "token": token()}))  # a seat of its own: it may say some things at once
            for frame in nonsense:
                web.send(frame if isinstance(frame, bytes) else frame.encode("utf-8", "replace").decode())
            web.send(json.dumps({"do": "cup", "cup": "none", "id": "the last"}))
            while json.loads(web.recv(60)).get("of") != "the last":  # each of them got through, or an answer
                pass

    frames()
    assert server.board(other)["counts"] == {"green": 1, "yellow": 0, "red": 0}
    assert server.board(other)["notes"] == []
    assert server.stop() == 0


def test_who_talks_and_never_reads_is_heard_no_more_and_keeps_nobody_waiting(server: Server, store: str):
    if store != "sqlite":
        pytest.skip("nothing of it gets as far as the store")
    made = server.make("owl")
    before = psutil.Process(server.process.pid).memory_info().rss
    asked = json.dumps({"do": "look", "token": token()}).encode()
    frames = (b"\x81" + bytes([0x80 | len(asked)]) + bytes(4) + asked) * 1000
    talkers = [sockets.create_connection(("127.0.0.1", server.port), 5) for _ in range(2)]
    for one in talkers:
        one.sendall(
            f"GET /owl/socket HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
        )
        said = 0
        with contextlib.suppress(OSError):  # nobody takes more of it, or it is cut off
            one.settimeout(2)
            while said < 100e6:
                one.sendall(frames)
                said += len(frames)
        assert said < 100e6
    server.tap("owl", token(), "red")
    assert server.board(made)["counts"]["red"] == 1
    assert psutil.Process(server.process.pid).memory_info().rss - before < 50e6
    for one in talkers:
        one.close()


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
