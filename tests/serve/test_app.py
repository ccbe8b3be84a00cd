"""Apps, as strangers use and abuse them: a real server, real kernels, the model in its own process."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import signal
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import nbformat
import nbformat.v4 as v4
import pytest
from yarl import URL

pytest.importorskip("voila")

from app_visitor import FORM, PATIENCE, Served, served, visiting

from fastmagic import cli
from fastmagic.bundles.learner import export
from fastmagic.errors import FastmagicError
from fastmagic.panels.predictor import predictor
from fastmagic.serve import app, frames


@pytest.fixture(scope="session")
def bundle(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of discs and squares, as good as untrained: apps do not care."""
    from fastai.vision.all import ImageDataLoaders, Resize, vision_learner
    from torchvision.models import squeezenet1_1

    dls = ImageDataLoaders.from_folder(shapes, valid_pct=0.2, seed=0, item_tfms=Resize(64), bs=16, num_workers=0)
    learn = vision_learner(dls, squeezenet1_1, pretrained=False)
    file = tmp_path_factory.mktemp("model") / "shapes.fastmagic"
    export(learn, file, title="Disc or <square>?", description="Tells two shapes apart.")
    return file


@pytest.fixture(scope="session")
def running(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """An app that tests share, with places for six."""
    folder = tmp_path_factory.mktemp("app")
    (folder / ".env").write_text("PASSWORD=hunter2")
    with served(folder, bundle, "--visitors", 6) as found:
        yield found


def picture(shapes: Path) -> bytes:
    return next(iter(sorted((shapes / "disc").iterdir()))).read_bytes()


def until(check: Callable[[], Any], what: str) -> Any:
    """Waits for a state, and returns it."""
    end = time.monotonic() + PATIENCE
    while not (found := check()):
        assert time.monotonic() < end, what
        time.sleep(0.1)
    return found


async def getting(address: str, path: str, **options: Any) -> tuple[int, str]:
    place = URL(address + path, encoded=True)  # as it is written: no client may tidy ".." away
    async with aiohttp.ClientSession() as session, session.get(place, allow_redirects=False, **options) as answer:
        return answer.status, answer.headers.get("Location", "") + await answer.text(errors="replace")


def health(address: str) -> dict[str, int]:
    return json.loads(asyncio.run(getting(address, "health"))[1])


# ---------------------------------------------------------------- what it is for


def test_a_visitor_gives_pictures_and_gets_what_the_model_says(running: Served, bundle: Path, shapes: Path):
    async def visit() -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        async with visiting(running.address) as visitor:
            state = (await visitor.ask("hello", {"host": "page"}))["answer"]
            said = await visitor.judge(picture(shapes), "disc.png")
            await visitor.ask("example", {"index": 0})
            assert b"fastmagic.serve" not in visitor.page.encode()
            assert not any(b"fastmagic.serve" in heard for heard in visitor.heard)
            await visitor.leave()
            return state, said, visitor.shown()

    state, said, example = asyncio.run(visit())
    assert (state["title"], state["description"]) == ("Disc or <square>?", "Tells two shapes apart.")
    assert state["classes"] == ["disc", "square"]
    assert not state["urls"]
    bare = predictor(bundle, examples=[]).predict(picture(shapes))
    assert said["shown"]["decision"] == bare.label
    assert said["shown"]["probability"] == pytest.approx(bare.probability, abs=1e-5)
    assert example["number"] == 2
    assert "Disc or" not in running.said


def test_the_model_is_loaded_once_and_kernels_hold_no_pytorch(running: Served, shapes: Path):
    async def visit() -> list[str]:
        async with visiting(running.address) as one, visiting(running.address) as two:
            for visitor in (one, two):
                await visitor.judge(picture(shapes))
            holding = []
            for number, command in running.children().items():
                if "libtorch" in Path(f"/proc/{number}/maps").read_text():
                    holding.append(command)
            await one.leave()
            await two.leave()
            return holding

    (holding,) = asyncio.run(visit())
    assert "fastmagic.serve.answering" in holding


def test_two_visitors_share_nothing(running: Served, shapes: Path):
    async def visit() -> list[Any]:
        async with visiting(running.address) as one, visiting(running.address) as two:
            await one.judge(picture(shapes), "mine.png")
            await one.ask("settings", {"top": 1})
            states = [(await visitor.ask("hello", {"host": "page"}))["answer"] for visitor in (one, two)]
            await one.leave()
            await two.leave()
            return states

    one, two = asyncio.run(visit())
    assert [entry["name"] for entry in one["history"]] == ["mine.png"]
    assert (two["history"], two["shown"]) == ([], None)
    assert (one["top"], two["top"]) == (1, 5)


def test_pages_that_close_leave_no_kernels_and_probes_start_none(running: Served):
    async def visits() -> None:
        for _ in range(8):  # more than there are places
            async with visiting(running.address) as visitor:
                await visitor.ask("hello", {"host": "page"})
                await visitor.leave()

    asyncio.run(visits())
    before = until(
        lambda: health(running.address) if health(running.address)["ready"] == 2 else None, "the pool is full again"
    )
    assert before == {"visitors": 0, "places": 6, "ready": 2}
    for _ in range(5):
        assert asyncio.run(getting(running.address, "health"))[0] == 200
    assert sum("ipykernel_launcher" in command for command in running.children().values()) == 2


# ---------------------------------------------------------------- attackers


OUTWARD = [
    "static/etc/passwd", "voila/static/../../../../../../../../etc/passwd", "voila/static/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    "voila/static//etc/passwd", "voila/files//etc/passwd", "voila/files/../../../etc/passwd", "voila/files/..%2f..%2f..%2fetc%2fpasswd",
    "voila/files/app.ipynb", "voila/files/.env", "voila/files/x.png", "voila/files/model.socket", "app.ipynb", ".env", "voila/render/app.ipynb",
    "voila/tree", "voila/api/contents", "api/contents", "api/contents/app.ipynb", "api/kernels", "api/sessions", "api/terminals",
    "api/kernels/00000000-0000-0000-0000-000000000000", "voila/templates/lab/static/../../../../../../../etc/passwd",
    "voila/templates/x", "voila/templates/../x/y/z", "voila/labextensions/../../../../../../etc/passwd", "voila/api/themes/../../../../../../etc/passwd",
    "voila/api/themes//etc/passwd", "login?next=//evil.example/",
]  # fmt: skip


@pytest.mark.parametrize("path", OUTWARD)
def test_no_address_leads_outside(running: Served, path: str):
    status, text = asyncio.run(getting(running.address, path))
    assert status in (302, 400, 403, 404, 500), (status, text[:200])
    for secret in ("root:x:", "hunter2", "Traceback", "fastmagic.serve", ".py", "evil.example"):
        assert secret not in text


def test_code_cannot_be_run_and_odd_messages_stop_nobody(running: Served, shapes: Path):
    code = {
        "code": "import os; os._exit(3)",
        "silent": False,
        "store_history": False,
        "user_expressions": {},
        "allow_stdin": False,
    }
    odd = [b"", b"\xff" * 8, b"\xff" * 64, struct.pack("<QQ", 6, 10**15), struct.pack("<Q", 2) + bytes(16), b"x" * 1000]

    async def visit() -> list[str]:
        async with visiting(running.address) as visitor:
            await visitor.send("execute_request", code)
            for what in ("__init__", "_answer", "predict", "close", "keep_still", None, 3, ["judge"], {"a": 1}):
                assert "does not know" in (await visitor.ask(what))["error"]
            for content in ({"top": "x"}, {"nonsense": 1}, "text", [1, 2]):
                assert "Something went wrong here" in (await visitor.ask("settings", content))["error"]
            for data in odd:
                async with visiting(running.address) as other:
                    await other._socket.send_bytes(data)
                    assert await other.closed() is not None, data[:20]
                    await other.leave()
            # The older form of messages, in which one buffer stopped the server
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await visitor.session.ws_connect(f"{running.address}api/kernels/{visitor.kernel}/channels?session_id=x")
            said = await visitor.judge(picture(shapes))
            assert said["shown"]["decision"] in ("disc", "square")
            heard = b"".join(visitor.heard).decode(errors="replace")
            await visitor.leave()
            return [word for word in ("Traceback", "predictor.py", "site-packages") if word in heard]

    assert asyncio.run(visit()) == []
    assert "ValueError" in running.said  # whoever runs the app finds the cause


def png_of(width: int, height: int) -> bytes:
    """A small file that unpacks to a large picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compressobj(9)
    packed = b"".join(rows.compress(bytes(width // 8 + 1)) for _ in range(height)) + rows.flush()
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def test_what_is_given_is_bounded_and_names_no_file_of_the_machine(running: Served, shapes: Path):
    here = next(iter((shapes / "disc").iterdir()))

    async def visit() -> dict[str, str]:
        async with visiting(running.address) as visitor:
            errors = {
                "path": await visitor.ask("text", {"text": str(here)}),
                "row": await visitor.ask("row", {"row": {"path": str(here)}}),
                "address": await visitor.ask("url", {"url": "http://127.0.0.1:1/x.png"}),
                "file": await visitor.ask("url", {"url": here.as_uri()}),
                "size": await visitor.ask("upload", {"upload": "a", "at": 0, "size": 20_000_001}, b"x"),
                "outside": await visitor.ask("upload", {"upload": "b", "at": 90, "size": 10}, b"x"),
                "pixels": await visitor.judge(png_of(8_000, 7_000)),
                "nonsense": await visitor.judge(b"no picture"),
                "cut": await visitor.judge(picture(shapes)[:200]),
            }
            assert (await visitor.judge(picture(shapes)))["shown"]["decision"] in ("disc", "square")
            await visitor.leave()
            return {name: reply["error"] for name, reply in errors.items()}

    said = asyncio.run(visit())
    assert "takes a picture, and this is a text" in said["path"]
    assert "takes a picture" in said["row"]
    assert "not fetched" in said["address"]
    assert "not fetched" in said["file"]
    assert "20 MB" in said["size"]
    assert "56 million pixels; 50 are taken" in said["pixels"]
    assert "not a picture" in said["nonsense"]
    for error in said.values():
        assert str(here.parent) not in error
        assert "Something went wrong" not in error


def test_one_more_than_there_are_places_is_told_and_gets_in_when_one_leaves(bundle: Path, tmp_path: Path):
    async def visit(app: Served) -> None:
        async with visiting(app.address) as one, visiting(app.address):
            async with one.session.get(app.address) as answer:
                text = await answer.text()
                assert (answer.status, answer.headers["Retry-After"]) == (503, "10")
            assert "All places are taken" in text
            assert "is used by 2 people" in text
            await one.leave()
            async with visiting(app.address) as third:
                assert "answer" in await third.ask("hello", {"host": "page"})
        # Both pages are gone without a word, as when a phone dies: their places are free soon
        end = time.monotonic() + PATIENCE
        while True:
            status, _ = await getting(app.address, "")
            if status == 200:
                return
            assert time.monotonic() < end
            await asyncio.sleep(0.5)

    with served(tmp_path, bundle, "--visitors", 2, "--preheat", 0, "--title", "Shapes") as app:
        asyncio.run(visit(app))
        assert health(app.address)["visitors"] <= 2


def test_a_crowd_at_once_gets_no_more_than_the_places(bundle: Path, tmp_path: Path):
    async def crowd(app: Served) -> list[int]:
        return [status for status, _ in await asyncio.gather(*(getting(app.address, "") for _ in range(8)))]

    with served(tmp_path, bundle, "--visitors", 2, "--preheat", 0) as app:
        assert sorted(asyncio.run(crowd(app))) == [200] * 2 + [503] * 6
        assert health(app.address)["visitors"] == 2


def test_a_kernel_that_is_being_begun_is_no_abandoned_one():
    """Jupyter Server lists it a moment before it knows when it was last used: the next visitor got an error page."""
    from jupyter_client.manager import AsyncKernelManager

    from fastmagic.serve.voila_app import Kernels

    kernels = Kernels(visitors=1)
    kernels._kernels["begun"] = AsyncKernelManager()
    assert asyncio.run(kernels.make_room()) is False


def test_without_the_token_there_is_no_page_and_no_kernel(bundle: Path, tmp_path: Path):
    async def visit(app: Served) -> None:
        for path in ("", "?token=wrong"):
            status, text = await getting(app.address, path)
            assert status in (302, 401, 403), status
            assert "kernelId" not in text
        async with visiting(app.address, app.token) as visitor:
            assert "answer" in await visitor.ask("hello", {"host": "page"})
            async with aiohttp.ClientSession() as other:
                place = f"{app.address}api/kernels/{visitor.kernel}"
                async with other.get(place) as answer:
                    assert answer.status == 403
                with pytest.raises(aiohttp.WSServerHandshakeError):
                    await other.ws_connect(f"{place}/channels?session_id=x", protocols=[FORM])
                async with other.post(f"{app.address}voila/api/shutdown/{visitor.kernel}") as answer:
                    assert answer.status == 403
            assert "answer" in await visitor.ask("hello", {"host": "page"})

    with served(tmp_path, bundle, "--token", "--preheat", 1) as app:
        assert len(app.token) > 16
        asyncio.run(visit(app))


def test_a_model_that_dies_is_begun_anew_and_all_ends_with_the_app(bundle: Path, shapes: Path, tmp_path: Path):
    def model(app: Served) -> list[int]:
        return [number for number, command in app.children().items() if "serve.answering" in command]

    async def visit(app: Served) -> None:
        async with visiting(app.address) as visitor:
            assert "shown" in await visitor.judge(picture(shapes))
            (old,) = model(app)
            os.kill(old, signal.SIGKILL)
            said: dict[str, Any] = {}
            end = time.monotonic() + PATIENCE
            seen = set()
            while "shown" not in said and time.monotonic() < end:
                said = await visitor.judge(picture(shapes))
                seen.add(said.get("error", "").split("\n")[0])
                await asyncio.sleep(0.2)
            assert said["shown"]["decision"] in ("disc", "square")
            assert "The model does not answer: it is being started anew." in seen

    with served(tmp_path, bundle, "--preheat", 1) as app:
        asyncio.run(visit(app))
        assert "it is begun anew" in app.said
        below = [*app.children()]
        app.process.send_signal(signal.SIGKILL)  # no time to tidy up
        app.process.wait()
        (still,) = [number for number in below if _runs(number, "serve.answering")] or [0]
        until(lambda: not still or not _runs(still, "serve.answering"), "the model's process ends with the app")


def _runs(number: int, what: str) -> bool:
    with contextlib.suppress(OSError):
        return what in Path(f"/proc/{number}/cmdline").read_bytes().decode()
    return False


# ---------------------------------------------------------------- the line of those who wait


def test_the_line_is_told_bounded_and_given_up_on(bundle: Path, shapes: Path, monkeypatch):
    from aiohttp.test_utils import TestClient, TestServer

    from fastmagic.serve import answering

    monkeypatch.setattr(answering, "IN_LINE", 2)
    monkeypatch.setattr(answering, "SECONDS", 1)
    monkeypatch.setattr(answering, "TOLD_EVERY", 0.05)
    goes_on = threading.Event()
    at_once = answering.Answered.on_example

    def when_told(self: Any, index: int) -> None:
        goes_on.wait(PATIENCE)
        at_once(self, index)

    monkeypatch.setattr(answering.Answered, "on_example", when_told)

    async def ask(client: Any, who: str, what: str = "example", **content: Any) -> list[dict[str, Any]]:
        frame = frames.pack([({"id": who, "ask": what, "content": content or {"index": 0}}, [])])
        async with client.post(f"/visitors/{who}", data=frame) as answer:
            assert answer.status == 200
            stream, found = io.BytesIO(await answer.read()), []
            while (part := frames.read(stream)) is not None:
                found += [told for told, _ in part]
            return found

    async def scene() -> None:
        answers = answering.Answering(app_learner(bundle), examples=[picture(shapes)])
        async with TestClient(TestServer(answers.application())) as client:
            first = asyncio.create_task(ask(client, "a"))
            await _until_line(answers, 1)
            second = asyncio.create_task(ask(client, "b"))
            await _until_line(answers, 2)
            (busy,) = await ask(client, "c")
            assert busy["error"].startswith("Many people use this app just now: 2 are in line.")
            assert (
                "answer" in (await ask(client, "c", "hello", host="page"))[-1]
            )  # what needs no model is answered at once
            assert (await ask(client, "b"))[0]["error"].startswith("The last one is not finished.")
            assert "took longer than 1 seconds" in (await first)[-1]["error"]
            goes_on.set()
            told = await second
            assert told[0] == {"event": "waiting", "content": {"before": 1}}
            assert told[-1].get("answer") == {}
            assert "answer" in (await ask(client, "a"))[-1]

    asyncio.run(scene())


def app_learner(bundle: Path) -> Any:
    from fastmagic.learning.learner_file import as_learner

    return as_learner(bundle)


async def _until_line(answers: Any, many: int) -> None:
    while len(answers._line) < many:
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("frame", [b"", b"xx", b"\0\0\0\4\0\0\0\0", frames.pack([]), frames.pack([({}, [])]), frames.pack([("x", [])]),
                                   b"\0\0\0\x08\0\0\0\4[[1]", frames.pack([({"ask": 1}, [b"abc"])])[:-1]])  # fmt: skip
def test_frames_that_are_none_are_refused(bundle: Path, frame: bytes):
    from aiohttp.test_utils import TestClient, TestServer

    from fastmagic.serve import answering

    async def scene() -> int:
        server = TestServer(answering.Answering(app_learner(bundle)).application())
        async with TestClient(server) as client, client.post("/visitors/x", data=frame) as answer:
            return answer.status

    assert asyncio.run(scene()) == 400


# ---------------------------------------------------------------- notebooks


def test_a_notebook_is_served_without_its_code_and_its_errors_without_their_trace(tmp_path: Path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(b"a picture")
    (tmp_path / "pictures" / ".hidden.png").write_bytes(b"hidden")
    for name in ("secret.csv", "export.pkl", ".env", "other.ipynb", "code.py"):
        (tmp_path / name).write_text("secret")
    cells = [
        v4.new_markdown_cell("# A page"),
        v4.new_code_cell("marker_of_the_source = 6 * 7\nprint('it is', marker_of_the_source)"),
        v4.new_code_cell("import sys; print('whispered', file=sys.stderr); raise ValueError('inner secret')"),
    ]
    nbformat.write(v4.new_notebook(cells=cells), tmp_path / "page.ipynb")
    with served(tmp_path, tmp_path / "page.ipynb") as app:
        _, page = asyncio.run(getting(app.address, ""))
        assert "it is 42" in page
        assert "Whoever runs this app finds the error in its log" in page
        for secret in ("marker_of_the_source", "inner secret", "whispered", "Traceback", str(tmp_path)):
            assert secret not in page
        assert "inner secret" in app.said
        assert asyncio.run(getting(app.address, "voila/files/pictures/a.png")) == (200, "a picture")
        for name in (
            "pictures/.hidden.png",
            "secret.csv",
            "export.pkl",
            ".env",
            "other.ipynb",
            "code.py",
            "page.ipynb",
        ):
            assert asyncio.run(getting(app.address, f"voila/files/{name}"))[0] in (403, 404), name
        assert asyncio.run(getting(app.address, "other.ipynb"))[0] == 404


def test_it_lives_below_a_path(bundle: Path, shapes: Path, tmp_path: Path):
    async def visit(app: Served) -> None:
        async with visiting(app.address) as visitor:
            assert "shown" in await visitor.judge(picture(shapes))
            await visitor.leave()

    with served(tmp_path, bundle, "--base-url", "a/b", "--preheat", 1) as app:
        assert app.address.endswith("/a/b/")
        asyncio.run(visit(app))


# ---------------------------------------------------------------- what a beginner types


def test_what_cannot_be_served_is_said(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "notes.txt").write_text("no model")
    (tmp_path / "empty.ipynb").write_text("{")

    def told(*words: Any) -> str:
        assert cli.main(["app", *map(str, words), "--no-open"]) == 1
        return capsys.readouterr().err

    assert "No file 'shapes.fastmagc'" in told(tmp_path / "shapes.fastmagc")
    assert "is a folder" in told(tmp_path)
    assert "is not an exported learner" in told(tmp_path / "notes.txt", "--port", 0)
    assert "empty.ipynb" in told(tmp_path / "empty.ipynb", "--port", 0)
    assert "--title: only for models" in told(tmp_path / "empty.ipynb", "--title", "x")
    assert "at least one visitor" in told(bundle, "--visitors", 0)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert "--port 0 takes a free one" in told(bundle, "--port", taken.getsockname()[1])


def test_what_is_not_installed_or_not_safe_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(app.importlib.metadata, "version", lambda name: "0.5.5")
    with pytest.raises(FastmagicError, match=r"lets visitors read files.*\n.*fastmagic\[app\]"):
        app.installation()

    def missing(name: str) -> str:
        raise app.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(app.importlib.metadata, "version", missing)
    with pytest.raises(FastmagicError, match=r"not installed.*\n.*fastmagic\[app\]"):
        app.installation()


def test_a_visitor_that_vanishes_keeps_no_pictures(bundle: Path, shapes: Path):
    from fastmagic.serve import answering

    panel = answering.Answered(
        app_learner(bundle), top=5, title="", description="", examples=[], allow_url=None, upright=True
    )
    for _ in range(3):
        panel._add(picture(shapes), "a.png")
    assert [entry.prediction.image for entry in panel._entries] == [None] * 3
