"""What it costs to open and to scroll the dataset cleaner, in a real JupyterLab, beside fastai's `ImagesCleaner`.

`python -m benchmarks.bench_clean` does 100, 1,000, 5,000 and 100,000 pictures, some half an hour on two cores;
`… 100 5000` those alone. Pictures are made once a size, in the folder for temporary files, and are there for the next
run: up to 5,000 of them 400 × 300 px, whose thumbnails weigh as much as those of photos from the web, more of them
96 × 72 px.

`learn` is a learner of one small layer with 512 features, as a resnet18 has, whose predictions `results` knows before
the cleaner is opened; `FOLDER` has none. All is measured in the page, from running the cell to the frame in which a
picture is there, on a fresh panel each round: medians, but for the first round, which has nothing loaded and no thumbnail
in its cache. Reading the files in the background, which opening starts, goes on while the rest is measured.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

BROWSER = Path(__file__).resolve().parent.parent / "tests" / "browser"
SIZES = (100, 1_000, 5_000, 100_000)
PEER = 1_000  # pictures that ImagesCleaner is asked to show at most: each more costs it 12 ms
PATIENCE = 5_000  # pictures until which the end of the background work is waited for
ROUNDS = 5
CLASSES = "abcdefghij"
DRAG, JUMPS, REST = 20_000, 200, 350  # ms from end to end; places jumped to, and ms at each

SETUP = """
import contextlib, ctypes, gc, os, warnings
os.environ["XDG_CACHE_HOME"] = {cache!r}
os.environ.pop("OMP_NUM_THREADS", None)  # the tests' kernels have it; who works in one has all cores
warnings.filterwarnings("ignore")
%load_ext fastmagic
import fastmagic
from pathlib import Path
Path("kernel").write_text(str(os.getpid()))
"""
LEARNER = """
from fastai.vision.all import *
dls = ImageDataLoaders.from_folder({folder!r}, valid_pct=0.2, seed=1, bs=256, num_workers=0)
model = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 512), nn.ReLU(), nn.Linear(512, 10))
learn = Learner(dls, model, loss_func=CrossEntropyLossFlat())
for split in ("train", "valid"):
    fastmagic.results(learn, split)
"""
FOLDER = """
import fastai.vision.all
"""
CLOSE = "cleaner.close()"
# What is free goes back to the system: what is left is held.
COLLECT = """
gc.collect()
with contextlib.suppress(OSError):
    ctypes.CDLL("libc.so.6").malloc_trim(0)
"""
PEER_SETUP = """
from fastai.vision.all import *
from fastai.vision.widgets import ImagesCleaner
from ipywidgets import Widget
files = get_image_files({folder!r})
"""
PEER_OPEN = f"""
peer = ImagesCleaner(opts=list("{CLASSES}"), max_n={PEER})
peer.set_fns(files)
peer
"""
PEER_CLOSE = "del peer; Widget.close_all()"

# Counts messages and objects, and looks at each frame. What scrolls has been drawn anew when a frame's callbacks run.
PAGE = """
window.bench = {
  messages: 0, bytes: 0, blobs: new Map(),
  frame: () => new Promise(requestAnimationFrame),
  rest: ms => new Promise(done => setTimeout(done, ms)),

  /** Boxes of pictures in sight, and how many of them show theirs. */
  look(boxes) {
    const look = { boxes: [], ready: 0, shown: 0, top: Infinity, bottom: -Infinity };
    for (const box of boxes) {
      const place = box.getBoundingClientRect();
      if (!place.width) continue;
      const clip = box.closest('.fm-cl-scroll')?.getBoundingClientRect() ?? { top: 0, bottom: innerHeight };
      const [top, bottom] = [Math.max(clip.top, 0), Math.min(clip.bottom, innerHeight)];
      if (place.bottom <= top + 1 || place.top >= bottom - 1 || place.right <= 0 || place.left >= innerWidth) continue;
      const picture = box.matches('img') ? box : box.querySelector('img');
      const shown = !picture.hidden && picture.complete && picture.naturalWidth > 0;
      const ready = shown && !box.classList.contains('fm-cl-wait'); // else it is there in passing, of another item
      look.boxes.push({ box, ready });
      look.ready += ready;
      look.shown += shown;
      look.top = Math.min(look.top, place.top);
      look.bottom = Math.max(look.bottom, place.bottom);
    }
    return look;
  },

  /** Run a cell; tell ms until the first of its pictures is in sight, and until all in sight are there. */
  async open(cell, boxes) {
    const [old, began] = [new Set(document.querySelectorAll(boxes)), performance.now()];
    const before = { messages: bench.messages, bytes: bench.bytes };
    fm.run(cell);
    for (let first = 0; performance.now() - began < 120_000;) {
      await bench.frame();
      const { boxes: seen, ready } = bench.look([...document.querySelectorAll(boxes)].filter(box => !old.has(box)));
      if (ready && !first) first = performance.now() - began;
      if (!ready || ready < seen.length) continue;
      bench.watch(began);
      return { first, full: performance.now() - began, before };
    }
    throw new Error('no picture came in two minutes');
  },

  /** Note when nothing is looked for in the background any more. */
  async watch(began) {
    bench.took = 0;
    while (bench.last().querySelector('.fm-cl-busy')) await bench.rest(50);
    bench.took = performance.now() - began;
  },

  since: before => ({ messages: bench.messages - before.messages, bytes: bench.bytes - before.bytes }),

  /** Scroll by `move(t)`, which says where to be after t ms, until it says nothing; tell how long what was blank. */
  async scroll(move) {
    const grid = [...document.querySelectorAll('.fm-cl-scroll')].at(-1);
    const since = {};  // when it began: a box in sight is blank; all are; one and the same item is
    const spans = { some: [], all: [], item: [] };
    const gaps = [];
    const note = (kind, key, blank, now) => {
      if (blank) since[key] ??= now;
      else if (key in since) {
        spans[kind].push(now - since[key]);
        delete since[key];
      }
    };
    const began = performance.now();
    for (let last = began, over = 0; ; ) {
      await bench.frame();
      const now = performance.now();
      gaps.push(now - last);
      last = now;
      const { boxes, ready, shown, top, bottom } = bench.look(grid.querySelectorAll('.fm-cl-tile'));
      const clip = grid.getBoundingClientRect();
      const hole = top > clip.top + 30 || bottom < Math.min(clip.bottom, innerHeight) - 30;
      note('some', 'some', hole || ready < boxes.length, now);
      note('all', 'all', !shown, now);
      const blank = new Set(boxes.filter(({ ready }) => !ready).map(({ box }) => `rank ${box.dataset.rank}`));
      for (const key of blank) note('item', key, true, now);
      for (const key of Object.keys(since)) if (key.startsWith('rank') && !blank.has(key)) note('item', key, false, now);
      const to = move(now - began);
      if (to !== null) grid.scrollTop = to * (grid.scrollHeight - grid.clientHeight);
      else if (!('some' in since) || (over ||= now) < now - 10_000) break;
    }
    note('some', 'some', false, performance.now());
    note('all', 'all', false, performance.now());
    return { ...spans, gap: Math.max(...gaps), frames: gaps.length };
  },

  drag: ms => bench.scroll(t => t < ms ? t / ms : null),
  jumps: (places, ms) => bench.scroll(t => t < ms * places.length ? places[Math.floor(t / ms)] : null),
  last: () => [...document.querySelectorAll('.fm-panel')].at(-1) ?? document,
  alive: () => [bench.blobs.size, [...bench.blobs.values()].reduce((sum, size) => sum + size, 0)],
};
{
  const Socket = window.WebSocket;
  window.WebSocket = class extends Socket {
    constructor(...how) {
      super(...how);
      this.addEventListener('message', ({ data }) => {
        bench.messages++;
        bench.bytes += data.byteLength ?? data.size ?? data.length;
      });
    }
  };
  const [make, revoke] = [URL.createObjectURL, URL.revokeObjectURL];
  URL.createObjectURL = what => {
    const url = make.call(URL, what);
    bench.blobs.set(url, what.size ?? 0);
    return url;
  };
  URL.revokeObjectURL = url => {
    bench.blobs.delete(url);
    revoke.call(URL, url);
  };
}
"""


def pictures(count: int) -> Path:
    """Return a folder of ten classes with so many pictures, each like no other; made where it is not there yet."""
    import numpy as np
    from PIL import Image

    folder = Path(tempfile.gettempdir()) / "fastmagic-bench-clean" / f"{count}"
    size = (400, 300) if count <= 5_000 else (96, 72)
    for name in CLASSES:
        (folder / name).mkdir(parents=True, exist_ok=True)
    there = {entry.name for name in CLASSES for entry in os.scandir(folder / name)}
    for i in range(count):
        if f"{i:06}.jpg" in there:
            continue
        random = np.random.default_rng(i)
        blocks = Image.fromarray(random.integers(0, 255, (6, 8, 3), dtype="uint8"))
        grain = random.integers(-20, 21, (size[1], size[0], 1), dtype="int16")
        cloud = np.asarray(blocks.resize(size, Image.Resampling.BICUBIC)) + grain
        file = folder / CLASSES[i % len(CLASSES)] / f"{i:06}.jpg"
        Image.fromarray(cloud.clip(0, 255).astype("uint8")).save(f"{file}.part", "JPEG", quality=80)
        os.replace(f"{file}.part", file)
    # What earlier runs left beside the data would be something to read, too.
    (folder / ".fastmagic" / "decisions.jsonl").unlink(missing_ok=True)
    return folder


class Opened:
    """A notebook in JupyterLab with a kernel of its own: cells that set up, open, close and collect garbage."""

    def __init__(self, lab: Any, setup: str, opens: str, closes: str, boxes: str):
        import psutil

        self.boxes = boxes
        self.shown = lab.open([setup, opens, closes, COLLECT])
        self.page = self.shown.page
        self.page.add_init_script(PAGE)
        self.shown.reload()
        self.shown.run(0, timeout=3600)
        self.kernel = psutil.Process(int((lab.root / "kernel").read_text()))
        self.devtools = self.page.context.new_cdp_session(self.page)
        self.devtools.send("Performance.enable")
        self.shown.show(1)
        self.page.wait_for_timeout(1000)
        self.before = self.memory()

    def open(self) -> dict[str, float]:
        """Run the cell that opens; return seconds, and what came over the WebSocket until two seconds after."""
        self.shown.show(1)
        self.page.wait_for_timeout(500)
        told = self.page.evaluate("boxes => bench.open(1, boxes)", self.boxes)
        self.shown.wait_idle()
        self.page.wait_for_timeout(2000)
        came = self.page.evaluate("before => bench.since(before)", told["before"])
        return {
            "first": told["first"] / 1e3,
            "full": told["full"] / 1e3,
            "messages": came["messages"],
            "MB": came["bytes"] / 1e6,
        }

    def close(self) -> None:
        self.shown.run(2)

    def memory(self) -> dict[str, float]:
        """Return MB and counts: the kernel's and the page's, after a garbage collection."""
        self.shown.run(3)
        self.devtools.send("HeapProfiler.collectGarbage")
        metrics = {m["name"]: m["value"] for m in self.devtools.send("Performance.getMetrics")["metrics"]}
        blobs, size = self.page.evaluate("bench.alive()")
        return {
            "kernel": self.kernel.memory_info().rss / 1e6,
            "page": metrics["JSHeapUsedSize"] / 1e6,
            "nodes": metrics["Nodes"],
            "blobs": blobs,
            "blob MB": size / 1e6,
        }

    def scroll(self, how: str) -> dict[str, Any]:
        """Scroll through all items; return how long what was blank, and what memory has grown by."""
        before = self.memory()
        told = self.page.evaluate(how)
        return {**told, **{name: value - before[name] for name, value in self.memory().items()}}

    def added(self) -> dict[str, float]:
        """Return what memory has grown by since before the first opening; of blobs how many there are."""
        now = self.memory()
        return {name: value - self.before[name] for name, value in now.items()}


def run(sizes: Sequence[int] = SIZES) -> Iterator[dict[str, Any]]:
    """Yield rows: the cleaner beside `ImagesCleaner` where that is asked for as many pictures."""
    for count in sizes:
        pictures(count)
    with _lab() as lab, tempfile.TemporaryDirectory(prefix="fastmagic-bench-") as caches:
        for count in sizes:
            peer = _peer(lab, count, caches) if count <= PEER else {}
            for word in ("learn", "FOLDER"):
                yield from _rows(count, word, _ours(lab, count, word, f"{caches}/{word}-{count}"), peer)


def _ours(lab: Any, count: int, word: str, cache: str) -> dict[str, Any]:
    """Return what was measured of the cleaner on so many pictures."""
    folder = str(pictures(count))
    setup = SETUP.format(cache=cache) + (LEARNER.format(folder=folder) if word == "learn" else FOLDER)
    opened = Opened(lab, setup, f"%clean {word if word == 'learn' else folder}", CLOSE, ".fm-cl-tile")
    try:
        found: dict[str, Any] = {"cold": opened.open(), "open": opened.added()}
        if word == "FOLDER" and count <= PATIENCE:
            opened.page.wait_for_function("bench.took", timeout=1_800_000, polling=200)
            found["background"] = opened.page.evaluate("bench.took") / 1e3
        rounds = []
        for _ in range(ROUNDS):
            opened.close()
            rounds.append(opened.open())
        found["warm"] = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
        found["again"] = opened.added()
        if word == "learn" and count > PEER:
            opened.page.get_by_role("tab").filter(has_text="Highest loss").click()
            opened.page.wait_for_timeout(3000)
            found["drag"] = opened.scroll(f"bench.drag({DRAG})")
            places = f"Array.from({{length: {JUMPS}}}, () => Math.random())"
            found["jumps"] = opened.scroll(f"bench.jumps({places}, {REST})")
    finally:
        opened.shown.close()
    return found


def _peer(lab: Any, count: int, caches: str) -> dict[str, Any]:
    """Return what was measured of `ImagesCleaner`."""
    setup = SETUP.format(cache=caches) + PEER_SETUP.format(folder=str(pictures(count)))
    opened = Opened(lab, setup, PEER_OPEN, PEER_CLOSE, ".jupyter-widgets img")
    try:
        found: dict[str, Any] = {"cold": opened.open(), "open": opened.added()}
        rounds = []
        for _ in range(ROUNDS):
            opened.close()
            rounds.append(opened.open())
        found["warm"] = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
    finally:
        opened.shown.close()
    return found


def _rows(count: int, word: str, ours: dict[str, Any], peer: dict[str, Any]) -> Iterator[dict[str, Any]]:
    def row(what: str, unit: str, *path: str) -> dict[str, Any]:
        mine, other = ours, peer
        for name in path:
            mine, other = mine[name], other.get(name, {})
        theirs = other if isinstance(other, (int, float)) else None
        ratio = mine / theirs if theirs else None  # type: ignore[operator]
        return {"what": f"{count:,} {word}: {what}", "ours": mine, "other": theirs, "ratio": ratio, "unit": unit}

    yield row("first picture", "s", "warm", "first")
    yield row("all pictures in sight", "s", "warm", "full")
    yield row("the same, first time", "s", "cold", "full")
    yield row("messages", "", "warm", "messages")
    yield row("over the wire", "MB", "warm", "MB")
    yield row("kernel memory for it", "MB", "open", "kernel")
    yield row("page memory for it", "MB", "open", "page")
    yield row("DOM nodes for it", "", "open", "nodes")
    if "background" in ours:
        yield row("work in the background", "s", "background")
    for name, what in (("drag", "drag"), ("jumps", f"{JUMPS} jumps")):
        if name not in ours:
            continue
        told = ours[name]
        for kind, blank in (("some", "some blank"), ("all", "all blank"), ("item", "one item blank")):
            spans = told[kind] or [0]
            told[f"{kind} worst"], told[f"{kind} median"] = max(spans), statistics.median(spans)
            yield row(f"{what}, {blank}, worst", "ms", name, f"{kind} worst")
            yield row(f"{what}, {blank}, median of {len(told[kind])}", "ms", name, f"{kind} median")
        yield row(f"{what}, longest frame", "ms", name, "gap")
        yield row(f"{what}, kernel memory", "MB", name, "kernel")
        yield row(f"{what}, page memory", "MB", name, "page")
        yield row(f"{what}, DOM nodes", "", name, "nodes")
        yield row(f"{what}, pictures kept", "", name, "blobs")


@contextlib.contextmanager
def _lab() -> Iterator[Any]:
    """A JupyterLab in Chromium, as the tests have it."""
    sys.path.insert(0, str(BROWSER))
    from front_ends import CHROMIUM, CHROMIUM_FLAGS, FrontEnd
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory(prefix="fastmagic-bench-") as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        lab = FrontEnd("lab", browser, Path(folder))
        try:
            yield lab
        finally:
            lab.stop()
            browser.close()


if __name__ == "__main__":
    for row in run([int(size) for size in sys.argv[1:]] or SIZES):
        print(row)
