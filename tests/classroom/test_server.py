"""The server over real HTTP and WebSockets: who may do what, what is acknowledged, and what survives."""

from __future__ import annotations

import json
import re

import pytest
import requests
from cups_server import FASTMAGIC, Server, bearer, run, token
from websockets.asyncio.client import connect


def socket(server: Server, path: str, **options):
    return connect(server.address.replace("http", "ws") + path, **options)


async def until(web, wanted):
    """Receive until a message is as wanted."""
    while True:
        message = json.loads(await web.recv())
        if wanted(message):
            return message


def test_a_tap_reaches_the_board_and_a_second_one_moves_it(shared: Server):
    made, ann, ben = shared.make(), token(), token()
    room = made["room"]
    shared.tap(room, ann, "green")
    shared.tap(room, ben, "red")
    shared.post(f"{room}/do", {"do": "note", "text": " what is\na batch? ", "token": ben})
    board = shared.board(made)
    assert board["counts"] == {"green": 1, "yellow": 0, "red": 1}
    assert [note["text"] for note in board["notes"]] == ["what is a batch?"]
    shared.tap(room, ben, "yellow")
    assert shared.board(made)["counts"] == {"green": 1, "yellow": 1, "red": 0}
    assert shared.board(made)["notes"] == []


def test_sockets_hear_each_other_and_students_hear_no_counts(shared: Server):
    made = shared.make()

    async def work():
        async with (
            socket(shared, f"{made['room']}/board-socket", additional_headers=bearer(made)) as board,
            socket(shared, f"{made['room']}/socket") as student,
        ):
            await student.send(json.dumps({"do": "look", "token": token()}))
            state = await until(student, lambda m: m["type"] == "state")
            assert state["cup"] is None
            assert not {"counts", "seats", "here", "history"} & set(state)
            await student.send(json.dumps({"do": "cup", "cup": "red", "id": 7}))
            assert (await until(student, lambda m: m["type"] == "kept"))["of"] == 7
            seen = await until(board, lambda m: m.get("counts", {}).get("red") == 1)
            assert seen["here"] == 1
            await board.send(json.dumps({"do": "reset"}))
            assert (await until(student, lambda m: m["type"] == "state" and m["cup"] == "green"))["since"]

    run(work())


def test_a_poll_is_hidden_until_it_is_revealed(shared: Server):
    made, ann = shared.make(), token()
    asked = shared.act(made, "ask", {"question": "Which loss?", "answers": ["MSE", "cross entropy"]})
    shared.post(f"{made['room']}/do", {"do": "vote", "poll": asked["seq"], "answer": 1, "token": ann})
    state = shared.post(f"{made['room']}/state", {"token": ann})
    assert (state["vote"], state["poll"]["answers"]) == (1, ["MSE", "cross entropy"])
    assert "counts" not in state["poll"]
    shared.act(made, "reveal", asked["seq"])
    assert shared.post(f"{made['room']}/state", {"token": token()})["poll"]["counts"] == [0, 1]
    answer = {"do": "vote", "poll": asked["seq"], "answer": 0, "token": ann}
    assert "closed" in shared.post(f"{made['room']}/do", answer, 409)["error"]


def test_the_board_can_be_had_as_it_was_at_any_time(shared: Server):
    made, ann = shared.make(), token()
    before = shared.board(made)["now"]
    shared.tap(made["room"], ann, "red")
    shared.post(f"{made['room']}/do", {"do": "note", "text": "what is a batch?", "token": ann})
    then = shared.board(made)["now"]
    shared.tap(made["room"], ann, "green")

    def at(time: object, status: int = 200):
        answer = requests.get(f"{shared.address}{made['room']}/board?at={time}", headers=bearer(made), timeout=20)
        assert answer.status_code == status, answer.text
        return answer.json()

    assert at(before)["counts"] == {"green": 0, "yellow": 0, "red": 0}
    past = at(then)
    assert (past["type"], past["counts"]["red"], past["notes"][0]["text"]) == ("past", 1, "what is a batch?")
    assert at(then + 1e6)["notes"] == []
    for nonsense in ("nan", "inf", "yesterday", ""):
        assert "seconds since 1970" in at(nonsense, 400)["error"]
    assert requests.get(f"{shared.address}{made['room']}/board?at=1", timeout=20).status_code == 403


def test_acknowledged_taps_survive_a_kill(server: Server):
    made = server.make("owl")
    tokens = [token() for _ in range(30)]
    for i, one in enumerate(tokens):
        server.tap("owl", one, ("green", "red")[i % 2])
    server.kill()
    server.start()
    assert server.board(made)["counts"] == {"green": 15, "yellow": 0, "red": 15}
    assert server.post("owl/state", {"token": tokens[1]})["cup"] == "red"
    assert server.stop() == 0


TEACHERS = [("GET", "board"), ("GET", "events"), ("POST", "act")]


@pytest.mark.parametrize(("method", "path"), TEACHERS)
def test_the_teachers_addresses_want_the_secret(shared: Server, method: str, path: str):
    made, other = shared.make(), shared.make()
    address = f"{shared.address}{made['room']}/{path}"
    cookie = {f"cups-{made['room']}": "x" * 64}
    for options in ({}, {"headers": bearer(other)}, {"headers": {"Authorization": "Bearer "}}, {"cookies": cookie}):
        assert requests.request(method, address, data="{}", timeout=20, **options).status_code == 403


def test_the_secret_becomes_a_cookie_that_scripts_do_not_see(shared: Server):
    made = shared.make()
    with requests.Session() as session:
        wrong = session.post(f"{shared.address}{made['room']}/enter", data=json.dumps({"secret": "no"}), timeout=20)
        assert (wrong.status_code, dict(session.cookies)) == (403, {})
        answer = session.post(
            f"{shared.address}{made['room']}/enter", data=json.dumps({"secret": made["secret"]}), timeout=20
        )
        header = answer.headers["Set-Cookie"]
        assert "HttpOnly" in header
        assert "SameSite=strict" in header
        assert made["secret"] not in header
        assert session.get(f"{shared.address}{made['room']}/board", timeout=20).status_code == 200


def test_the_secret_is_in_no_page_and_guessing_is_slow(shared: Server):
    made = shared.make()
    for path in ("", f"{made['room']}/", f"{made['room']}/teacher", "student.js", "teacher.js", "board.js", "cups.css"):
        page = requests.get(shared.address + path, timeout=20)
        assert page.status_code == 200
        assert made["secret"] not in page.text
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    answers = [
        requests.post(f"{shared.address}{made['room']}/enter", data='{"secret": "x"}', timeout=20).status_code
        for _ in range(12)
    ]
    assert answers[:3] == [403] * 3
    assert answers[-1] == 429


def test_another_sites_page_can_do_nothing(shared: Server):
    made = shared.make()
    evil = {"Origin": "https://evil.example"}
    shared.tap(made["room"], token(), "red", 403, headers=evil)
    shared.post("rooms", {}, 403, headers=evil)
    for origin in ("null", "", "https://", "http://127.0.0.1:1"):
        shared.tap(made["room"], token(), "red", 403, headers={"Origin": origin})
    shared.tap(made["room"], token(), "red", headers={"Origin": shared.address.rstrip("/")})

    async def work():
        async with socket(shared, f"{made['room']}/socket", origin="https://evil.example") as web:
            assert json.loads(await web.recv())["status"] == 403

    run(work())


def test_a_class_behind_one_address_gets_in_and_a_flood_does_not(shared: Server):
    made = shared.make()
    for _ in range(60):
        shared.tap(made["room"], token(), "green")
    statuses = []
    with requests.Session() as session:
        for _ in range(150):
            body = json.dumps({"do": "cup", "cup": "red", "token": token()})
            statuses.append(session.post(f"{shared.address}{made['room']}/do", data=body, timeout=20).status_code)
    assert set(statuses) == {200, 429}
    assert statuses[-1] == 429
    board = shared.board(made)
    # What came since can be thrown out, and the door locked.
    shared.act(made, "lock")
    assert "no more students" in shared.tap(made["room"], token(), "red", 403)["error"]
    shared.act(made, "drop", board["history"][-1][0] - 3600)
    assert sum(shared.board(made)["counts"].values()) == 0


def test_a_flood_of_votes_is_no_way_in_either(shared: Server):
    made = shared.make()
    asked = shared.act(made, "ask", {"question": "Which?", "answers": ["a", "b"]})
    statuses = []
    with requests.Session() as session:
        for _ in range(200):
            body = json.dumps({"do": "vote", "poll": asked["seq"], "answer": 0, "token": token()})
            statuses.append(session.post(f"{shared.address}{made['room']}/do", data=body, timeout=20).status_code)
    assert statuses[:60] == [200] * 60
    assert statuses[-1] == 429
    shared.act(made, "lock")
    body = {"do": "vote", "poll": asked["seq"], "answer": 0, "token": token()}
    assert "no more students" in shared.post(f"{made['room']}/do", body, 403)["error"]


def test_one_seat_does_not_tap_for_all(shared: Server):
    made, ann = shared.make(), token()
    answers = []
    with requests.Session() as session:
        for i in range(30):
            body = json.dumps({"do": "cup", "cup": ("red", "green")[i % 2], "token": ann})
            answers.append(session.post(f"{shared.address}{made['room']}/do", data=body, timeout=20).status_code)
    assert answers[:5] == [200] * 5
    assert 429 in answers
    assert shared.board(made)["seats"] == 1


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"do": "cup", "cup": "blue"}, 400), ({"do": "cup"}, 400), ({"do": "steal"}, 400), ({"do": "note", "text": "x"}, 409),
        ({"do": "vote", "poll": 1, "answer": 0}, 409), ({"do": None}, 400), ({"do": "cup", "cup": ["red"]}, 400),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_in_words(shared: Server, body, status: int):
    room = shared.make()["room"]
    assert shared.post(f"{room}/do", {**body, "token": token()}, status)["error"].endswith(".")


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff\xfe", b"[" * 4000, b"{" * 100, b'"x"', b"nul", b"{}" * 9000])
def test_what_is_no_message_is_refused(shared: Server, data: bytes):
    made = shared.make()
    for path in ("rooms", f"{made['room']}/do", f"{made['room']}/state", f"{made['room']}/enter"):
        answer = requests.post(shared.address + path, data=data, timeout=20)
        assert answer.status_code in (400, 413)
        assert answer.json()["error"]


def test_rooms_have_names_that_can_be_said_and_taken_ones_are_told(shared: Server):
    assert re.fullmatch(r"[a-z]{6}[2-9]{2}", shared.make()["room"])
    assert shared.make("my-class")["room"] == "my-class"
    assert "already" in shared.make("my-class", 409)["error"]
    for name in ("A", "ab", "-ab", "a/b", "x" * 40, "../etc", 5):
        shared.make(name, 400)  # type: ignore[arg-type]
    assert requests.get(f"{shared.address}no-such-room/", timeout=20).status_code == 404
    assert requests.get(f"{shared.address}my-class", timeout=20).url.endswith("/my-class/")


def test_texts_of_students_are_data(shared: Server):
    made, ann = shared.make(), token()
    shared.tap(made["room"], ann, "red")
    text = "<script>alert(1)</script>\u202e\x00"
    shared.post(f"{made['room']}/do", {"do": "note", "text": text, "token": ann})
    assert shared.board(made)["notes"][0]["text"] == "<script>alert(1)</script>"
    page = requests.get(f"{shared.address}{made['room']}/teacher", timeout=20).text
    assert "alert(1)" not in page


def test_nothing_personal_is_kept(server: Server):
    made, ann = server.make(), token()
    server.tap(made["room"], ann, "red")
    server.stop()
    kept = b"".join(file.read_bytes() for file in server.folder.rglob("*") if file.is_file())
    assert ann.encode() not in kept
    assert b"127.0.0.1" not in kept
    assert made["secret"].encode() not in kept


def test_a_key_keeps_strangers_from_making_rooms(tmp_path):
    server = Server(tmp_path, "--key", "s3cret")
    try:
        assert "key" in server.make(None, 403)["error"]
        assert server.make(None, key="s3cret")["secret"]
    finally:
        server.close()


def test_the_public_address_is_the_one_that_phones_are_told(tmp_path):
    import subprocess

    server = Server(tmp_path, "--public", "https://cups.example.org")
    try:
        made = server.make("owl")
        assert server.board(made)["reach"] == "https://cups.example.org/"
        command = [*FASTMAGIC, "cups", "room", "lark", "--server", server.address]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert "Students: https://cups.example.org/lark/" in done.stdout
    finally:
        server.close()


def test_a_port_that_is_taken_is_told(shared: Server, tmp_path):
    import subprocess

    command = [*FASTMAGIC, "cups", "serve", "--port", str(shared.port), "--store", str(tmp_path / "x.db")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "cannot be had" in done.stderr
    assert "--port" in done.stderr


def test_the_classroom_imports_neither_torch_nor_fastai():
    import subprocess
    import sys

    code = "import sys, fastmagic.classroom.server, fastmagic.classroom.serve; print([m for m in ('torch', 'fastai', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]"
