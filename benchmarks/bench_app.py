"""Apps beside what a user would write: a Voila notebook that calls `load_learner` in each kernel, and Gradio.

`python -m benchmarks.bench_app [PYTHON] [SECONDS]`: a Python that has fastai and gradio (default: this one; without gradio its
lines are left out), and how long each load lasts (10 s). The same resnet18 at 224 px and the same two photos (scikit-learn's,
640 × 427) for all; servers, clients and browser share this machine over loopback. Memory is what the system counts once for
all processes that share a page (PSS).
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
from app_visitor import Visitor, served, visiting  # noqa: E402

CHROMIUM = next((path for path in ("/usr/bin/chromium", "/usr/bin/chromium-browser") if Path(path).exists()), None)
GRADIO = """
import gradio as gr
from fastai.vision.all import PILImage, load_learner
learn = load_learner('model.pkl')
def predict(file):
    _, _, probabilities = learn.predict(PILImage.create(file))
    return dict(zip(learn.dls.vocab, map(float, probabilities)))
gr.Interface(predict, gr.Image(type='filepath'), gr.Label()).queue().launch(server_port={port}, quiet=True)
"""
Judge = Callable[[bytes], Awaitable[Any]]


def _make(folder: Path) -> list[bytes]:
    """Write a bundle, a pickle and a notebook, and return two photos."""
    import nbformat
    from fastai.vision.all import ImageDataLoaders, Resize, resnet18, vision_learner
    from PIL import Image
    from sklearn.datasets import load_sample_images

    from fastmagic.bundles.learner import export
    from fastmagic.panels.predictor import predictor_code

    for name, photo in zip(("temple", "flower"), load_sample_images().images, strict=True):
        (folder / "photos" / name).mkdir(parents=True)
        for number in range(8):
            Image.fromarray(photo).save(folder / "photos" / name / f"{number}.jpg", quality=90)
    dls = ImageDataLoaders.from_folder(
        folder / "photos", valid_pct=0.25, seed=0, item_tfms=Resize(224), bs=4, num_workers=0
    )
    learn = vision_learner(dls, resnet18, pretrained=False)
    learn.model.eval()
    learn.export((folder / "model.pkl").resolve())
    export(learn, folder / "model.fastmagic")
    cell = nbformat.v4.new_code_cell(predictor_code("load_learner('model.pkl')"))
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), folder / "plain.ipynb")
    return [next((folder / "photos" / name).iterdir()).read_bytes() for name in ("temple", "flower")]


# ---------------------------------------------------------------- the three


class Plain(Visitor):
    """A visitor of the plain notebook: sets its FileUpload's value, and waits until the kernel is idle again."""

    async def judge(self, data: bytes, name: str = "photo.jpg") -> dict[str, Any]:
        if not self.model or self.model not in self.uploads:
            self.model = self.uploads[0]
        file = {"name": name, "type": "image/jpeg", "size": len(data), "last_modified": int(time.time() * 1000)}
        update = {"method": "update", "state": {"value": [file]}, "buffer_paths": [["value", 0, "content"]]}
        number = await self.send("comm_msg", {"comm_id": self.model, "data": update}, (data,))
        said = b""
        while True:
            message = await self.receive()
            said += self.heard[-1]
            self.heard.clear()
            mine = message["parent"].get("msg_id") == number
            if mine and message["header"]["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                assert b"temple" in said, said[-2000:]
                return {}

    uploads: tuple[str, ...] = ()


@contextlib.contextmanager
def _plain(folder: Path) -> Iterator[tuple[str, int]]:
    port = _free_port()
    command = [sys.executable, "-m", "voila", "plain.ipynb", "--no-browser", f"--port={port}", "--Voila.port_retries=0"]
    with _process(command, folder, f"http://127.0.0.1:{port}/voila/static/voila.js") as process:
        yield f"http://127.0.0.1:{port}/", process.pid


@contextlib.asynccontextmanager
async def _plain_visitor(address: str) -> AsyncIterator[Plain]:
    timeout = aiohttp.ClientTimeout(total=300)
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True), timeout=timeout) as session:
        async with session.get(address) as answer:
            visitor = Plain(session, address, await answer.text())
        await visitor.connect()
        # The page names the box alone; the kernel knows what is in it
        visitor.uploads = await _upload_of(visitor)
        yield visitor
        await visitor._socket.close()


async def _upload_of(visitor: Visitor) -> tuple[str, ...]:
    number = await visitor.send("comm_info_request", {"target_name": "jupyter.widget"})
    known: list[str] = []
    while not known:
        message = await visitor.receive()
        if message["header"]["msg_type"] == "comm_info_reply" and message["parent"].get("msg_id") == number:
            known = list(message["content"]["comms"])
    for comm in known:
        number = await visitor.send("comm_msg", {"comm_id": comm, "data": {"method": "request_state"}})
        while True:
            message = await visitor.receive()
            if message["parent"].get("msg_id") != number:
                continue
            state = message["content"].get("data", {}).get("state", {})
            if state.get("_model_name") == "FileUploadModel":
                return (comm,)
            if message["header"]["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                break
    raise AssertionError("no FileUpload")


@contextlib.contextmanager
def _gradio(folder: Path, python: str) -> Iterator[tuple[str, int]]:
    port = _free_port()
    (folder / "gradio_app.py").write_text(GRADIO.replace("{port}", str(port)))
    with _process([python, "gradio_app.py"], folder, f"http://127.0.0.1:{port}/config") as process:
        yield f"http://127.0.0.1:{port}/", process.pid


@contextlib.asynccontextmanager
async def _gradio_visitor(address: str) -> AsyncIterator[Any]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=300)) as session:

        class One:
            async def judge(self, data: bytes) -> None:
                form = aiohttp.FormData()
                form.add_field("files", data, filename="photo.jpg", content_type="image/jpeg")
                async with session.post(f"{address}gradio_api/upload", data=form) as answer:
                    (path,) = await answer.json()
                given = {"path": path, "meta": {"_type": "gradio.FileData"}}
                joined = {"data": [given], "fn_index": PREDICT[address], "session_hash": uuid.uuid4().hex}
                async with session.post(f"{address}gradio_api/queue/join", json=joined) as answer:
                    assert answer.status == 200, await answer.text()
                where = f"{address}gradio_api/queue/data?session_hash={joined['session_hash']}"
                async with session.get(where) as answer:
                    async for line in answer.content:
                        if b"process_completed" in line:
                            assert json.loads(line[5:])["success"], line
                            return

        if address not in PREDICT:
            async with session.get(f"{address}config") as answer:
                known = (await answer.json())["dependencies"]
            PREDICT[address] = next(one["id"] for one in known if one["api_name"] == "predict")
        yield One()


PREDICT: dict[str, int] = {}


def _free_port() -> int:
    import socket

    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        return int(tried.getsockname()[1])


@contextlib.contextmanager
def _process(command: list[str], folder: Path, ready: str) -> Iterator[subprocess.Popen[bytes]]:
    import urllib.request

    with (folder / "process.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, stdout=log, stderr=log, env={**os.environ, "GRADIO_ANALYTICS_ENABLED": "0"}
        )
    try:
        while True:
            try:
                urllib.request.urlopen(ready, timeout=5).close()
                break
            except OSError:
                assert process.poll() is None, (folder / "process.log").read_text()
                time.sleep(0.2)
        yield process
    finally:
        for one in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
            with contextlib.suppress(psutil.Error):
                one.kill()
        process.wait()


# ---------------------------------------------------------------- what is measured


def _memory(pid: int) -> float:
    """Megabytes of a process and all below it."""
    found = 0
    for one in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            found += one.memory_full_info().pss
    return found / 1e6


async def _load(visit: Callable[[], Any], pid: int, many: int, seconds: float, photos: list[bytes]) -> dict[str, float]:
    """What so many visitors get, who give one photo after the other; and what each of them takes."""
    before = _memory(pid)
    times: list[float] = []
    async with contextlib.AsyncExitStack() as stack:
        visitors = [await stack.enter_async_context(visit()) for _ in range(many)]
        for visitor in visitors:
            await visitor.judge(photos[0])
        each = (_memory(pid) - before) / many
        end = time.perf_counter() + seconds

        async def give(visitor: Any, turn: int) -> None:
            while time.perf_counter() < end:
                began = time.perf_counter()
                while "error" in (await visitor.judge(photos[turn % 2]) or {}):
                    await asyncio.sleep(1)  # it is busy; that is waiting, too
                times.append(time.perf_counter() - began)
                turn += 1

        began = time.perf_counter()
        await asyncio.gather(*(give(visitor, turn) for turn, visitor in enumerate(visitors)))
        took = time.perf_counter() - began
    times.sort()
    return {
        "a second": len(times) / took,
        "p50": statistics.median(times),
        "p95": times[int(0.95 * len(times))],
        "MB": each,
    }


def _paints(address: str, selector: str, times: int) -> list[float]:
    """Seconds until a visitor's page can be used, one after the other."""
    from playwright.sync_api import sync_playwright

    found = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for _ in range(times):
            page = browser.new_page()
            began = time.perf_counter()
            page.goto(address)
            page.locator(selector).first.wait_for(timeout=120_000)
            found.append(time.perf_counter() - began)
            page.goto("about:blank")
            page.close()
            time.sleep(3)
        browser.close()
    return found


def run(python: str, seconds: float) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        photos = _make(folder)
        from fastmagic.learning.learner_file import as_learner
        from fastmagic.learning.predict import predict

        learn = as_learner(folder / "model.fastmagic")
        bare = []
        for turn in range(40):
            began = time.perf_counter()
            predict(photos[turn % 2], learn)
            bare.append(time.perf_counter() - began)
        middle = statistics.median(bare[5:])
        print(f"the bare model, in this process: {1000 * middle:.1f} ms a photo", flush=True)
        print(f"{'':<38}{'a second':>9} {'p50 ms':>8} {'p95 ms':>8} {'MB each':>8}", flush=True)

        def report(name: str, visit: Callable[[str], Any], address: str, pid: int, counts: tuple[int, ...]) -> None:
            for many in counts:
                got = asyncio.run(_load(lambda: visit(address), pid, many, seconds, photos))
                print(
                    f"{f'{name}, {many} at a time':<38}{got['a second']:>9.1f} {1000 * got['p50']:>8.1f} "
                    f"{1000 * got['p95']:>8.1f} {got['MB']:>8.1f}",
                    flush=True,
                )

        def painted(name: str, address: str, selector: str, times: int = 3) -> None:
            first, *more = _paints(address, selector, times)
            print(f"{name}: first page {first:.1f} s, then {statistics.median(more):.1f} s", flush=True)

        cores = psutil.cpu_count(logical=True) or 1
        photo_words = (folder / "model.fastmagic", "--visitors", 60)
        with served(folder, *photo_words, threads=cores) as app:
            time.sleep(5)
            report("fastmagic app", visiting, app.address, app.process.pid, (1, 10, 50))
            painted("fastmagic app, preheated", app.address, ".fm-pr-controls")
        with served(folder, *photo_words, "--preheat", 0, threads=cores) as app:
            painted("fastmagic app, --preheat 0", app.address, ".fm-pr-controls")
        with _plain(folder) as (address, pid):
            report("load_learner in a Voila notebook", _plain_visitor, address, pid, (1, 10))
            painted("load_learner in a Voila notebook", address, ".widget-upload")
        if subprocess.run([python, "-c", "import gradio"], capture_output=True).returncode == 0:
            with _gradio(folder, python) as (address, pid):
                report("Gradio", _gradio_visitor, address, pid, (1, 10, 50))
                painted("Gradio", address, "button:has-text('Submit')")


if __name__ == "__main__":
    arguments = sys.argv[1:]
    assert importlib.util.find_spec("voila"), "pip install 'fastmagic[app]'"
    run(arguments[0] if arguments else sys.executable, float(arguments[1]) if len(arguments) > 1 else 10)
