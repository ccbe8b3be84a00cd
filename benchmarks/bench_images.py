"""What `fastmagic.fetch` gives beside the lesson's own three calls, on 75 web photos served from loopback.

`python -m benchmarks.bench_images` prints all of it in some ten minutes; `… speed`, `tail`, `memory` or `quality` one part.
It needs `../shared/data/bears_raw` and, for the peer, a few minutes to install img2dataset in an environment of its own.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

PHOTOS = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "bears_raw"
HOSTS = 8  # names for the one server, as a web search's photos lie on many
COUNT = 600
ROUNDS = 3
SIZE = 400


@contextlib.contextmanager
def server() -> Iterator[Callable[[int, str], list[str]]]:
    """Serve the photos; gives a function that returns some number of addresses."""
    command = [sys.executable, "-m", "benchmarks.photo_server", str(PHOTOS)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).resolve().parent.parent)
    assert process.stdout is not None
    port = process.stdout.readline().strip()
    try:
        yield lambda count, kind="ok": [f"http://127.0.0.{1 + i % HOSTS}:{port}/{kind}/{i}.jpg" for i in range(count)]
    finally:
        process.kill()


# ---------------------------------------------------------------- the contenders: each fills a folder and leaves it


def ours(urls: list[str], folder: Path) -> None:
    from fastmagic import fetch

    # The 75 photos come again and again: the lesson's calls keep copies, so these are kept too.
    fetch(urls, folder, max_size=SIZE, keep_duplicates=True, update=lambda progress: None)


def lesson(urls: list[str], folder: Path) -> None:
    """Do what the lesson's notebook does."""
    from fastai.vision.all import download_images, get_image_files, resize_images, verify_images

    download_images(folder, urls=urls, max_pics=len(urls))
    resize_images(folder, max_size=SIZE, dest=folder)
    failed = verify_images(get_image_files(folder))
    failed.map(Path.unlink)


def verify_first(urls: list[str], folder: Path) -> None:
    """Do the same in the order of their names in fastai's tutorials: broken files go before the rest is made small."""
    from fastai.vision.all import download_images, get_image_files, resize_images, verify_images

    download_images(folder, urls=urls, max_pics=len(urls))
    failed = verify_images(get_image_files(folder))
    failed.map(Path.unlink)
    resize_images(folder, max_size=SIZE, dest=folder)


def img2dataset(urls: list[str], folder: Path) -> None:
    """Run img2dataset in its own environment; its start counts, as it does for who uses it."""
    python = peer("img2dataset")
    listed = folder / "urls.txt"
    listed.write_text("\n".join(urls))
    program = (
        "from img2dataset import download\n"
        "if __name__ == '__main__':\n"
        f"    download(url_list={str(listed)!r}, output_folder={str(folder / 'out')!r}, output_format='files',\n"
        f"        image_size={SIZE}, resize_mode='keep_ratio_largest', resize_only_if_bigger=True, processes_count=2,\n"
        "        thread_count=32, number_sample_per_shard=300, enable_wandb=False)\n"
    )
    script = folder / "run.py"
    script.write_text(program)
    subprocess.run(
        [python, str(script)], check=True, capture_output=True, env={**os.environ, "NO_ALBUMENTATIONS_UPDATE": "1"}
    )
    listed.unlink()
    script.unlink()


def peer(name: str) -> str:
    """Return the Python of an environment that has the package, made on first use."""
    place = Path(__file__).resolve().parent / f".venv-{name}"
    python = place / "bin" / "python"
    if not (place / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
        subprocess.run(
            [str(python), "-m", "pip", "install", "-q", name, "setuptools<81"], check=True, capture_output=True
        )
        (place / "ready").touch()
    return str(python)


# ---------------------------------------------------------------- the parts


def speed() -> None:
    """Photos a second, in turn; median of the rounds and of the ratios of runs that stood side by side."""
    contenders = {
        "fastmagic.fetch": ours,
        "download, resize, verify (as in the lesson)": lesson,
        "download, verify, resize": verify_first,
        "img2dataset": img2dataset,
    }
    print(f"\nPhotos a second: {COUNT} addresses, {HOSTS} hosts, 50 ms latency, 3 % broken, {ROUNDS} rounds in turn")
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    with server() as addresses:
        urls = addresses(COUNT, "ok")
        warm(addresses(20, "ok"))
        for _ in range(ROUNDS):
            for name, contender in list(contenders.items()):
                with scratch() as folder, quiet():
                    started = time.perf_counter()
                    try:
                        contender(urls, folder)
                    except (subprocess.CalledProcessError, OSError) as error:
                        contenders.pop(name)
                        rates.pop(name)
                        problem = (getattr(error, "stderr", b"") or str(error).encode()).decode()[-300:]
                        print(f"  {name}: could not be run here ({problem})", file=sys.__stdout__)
                        continue
                    rates[name].append(len(photos_in(folder)) / (time.perf_counter() - started))
    for name, found in rates.items():
        ratio = statistics.median(a / b for a, b in zip(rates["fastmagic.fetch"], found, strict=True))
        listed = ", ".join(f"{rate:.1f}" for rate in found)
        print(f"  {name:<44} {statistics.median(found):6.1f}   fastmagic × {ratio:.2f}   ({listed})")


def tail() -> None:
    """Time until 95 % of the photos that can be had are there, checked and small, with a long tail of slow hosts."""
    print(f"\nSeconds to 95 % of the photos: {COUNT} addresses of which 2.5 % never answer and 2.5 % take 30 s")
    with server() as addresses:
        urls = addresses(COUNT, "slow")
        warm(addresses(20, "ok"))
        times = {}
        for name, contender in (("fastmagic.fetch", ours), ("download, resize, verify", lesson)):
            with scratch() as folder, quiet():
                watch = Watch(folder, small=True)
                contender(urls, folder)
                times[name] = watch.stop()
    enough = 0.95 * min(seen[-1][1] for seen in times.values())
    reached = {name: next(at for at, count in seen if count >= enough) for name, seen in times.items()}
    for name, seen in times.items():
        print(f"  {name:<28} {reached[name]:6.1f} s to 95 %, {seen[-1][0]:6.1f} s to the end ({seen[-1][1]} photos)")
    print(f"  ratio {reached['fastmagic.fetch'] / reached['download, resize, verify']:.3f}")


class Watch:
    """Counts small photos in a folder ten times a second."""

    def __init__(self, folder: Path, small: bool):
        self.folder, self.seen = folder, [(0.0, 0)]
        self.done = threading.Event()
        self.started = time.perf_counter()
        self.known: set[str] = set()
        self.thread = threading.Thread(target=self._look, daemon=True)
        self.thread.start()

    def _look(self) -> None:
        while not self.done.wait(0.1):
            self._count()

    def _count(self) -> None:
        from PIL import Image

        for file in photos_in(self.folder):
            if str(file) not in self.known:
                with contextlib.suppress(OSError), Image.open(file) as image:
                    if max(image.size) <= SIZE:
                        self.known.add(str(file))
        self.seen.append((time.perf_counter() - self.started, len(self.known)))

    def stop(self) -> list[tuple[float, int]]:
        self.done.set()
        self.thread.join()
        self._count()
        return self.seen


def memory() -> None:
    """Peak memory of a process of its own for more and more addresses."""
    print("\nPeak memory by number of addresses")
    program = (
        "import resource, sys\n"
        "from fastmagic import fetch\n"
        "port, count, folder = sys.argv[1:]\n"
        "urls = (f'http://127.0.0.{1 + i % 8}:{port}/ok/{i}.jpg' for i in range(int(count)))\n"
        "fetch(urls, folder, update=lambda progress: None, keep_duplicates=True)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)\n"
    )
    with server() as addresses:
        port = re.search(r":(\d+)/", addresses(1, "ok")[0])
        assert port is not None
        for count in (1_000, 5_000, 20_000):
            with scratch() as folder:
                started = time.perf_counter()
                command = [sys.executable, "-W", "ignore", "-c", program, port.group(1), str(count), str(folder)]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                seconds = time.perf_counter() - started
                kept = len(photos_in(folder))
                print(
                    f"  {count:>6} addresses: {done.stdout.split()[-1]:>5} MB, {kept} photos in {seconds:.0f} s",
                    flush=True,
                )


def quality() -> None:
    """PSNR against a full decode with Lanczos, and milliseconds a photo: ours beside Pillow's reduced decode."""
    import numpy as np
    from PIL import Image

    from fastmagic.data.gather import shrink

    def pillow(data: bytes, quality: int, reduced: bool = True) -> bytes:
        image = Image.open(io.BytesIO(data))
        size = shrink.fit(*image.size, SIZE)
        if reduced:
            image.draft("RGB", size)
        buffer = io.BytesIO()
        image.convert("RGB").resize(size, Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=quality)
        return buffer.getvalue()

    def fastmagic(data: bytes, quality: int) -> bytes:
        shrink.QUALITY = quality
        return shrink.shrink(data, SIZE).jpeg

    ways: dict[str, Callable[[bytes, int], bytes]] = {
        "fastmagic": fastmagic,
        "Pillow: draft + Lanczos": pillow,
        "Pillow: full decode + Lanczos": lambda data, quality: pillow(data, quality, reduced=False),
    }
    files = [file.read_bytes() for file in sorted(PHOTOS.glob("*/*"))]
    references = []
    for data in files:
        image = Image.open(io.BytesIO(data)).convert("RGB")
        small = image.resize(shrink.fit(*image.size, SIZE), Image.Resampling.LANCZOS)
        references.append(np.asarray(small).astype("f4"))
    for quality in (90, 100):
        stored_as = "as stored (JPEG, quality 90)" if quality == 90 else "stored as well as JPEG can (quality 100)"
        print(f"\n{len(files)} photos at {SIZE} px {stored_as}: PSNR against a full decode and Lanczos, not stored")
        for name, way in ways.items():
            way(files[0], quality)
            started = time.perf_counter()
            stored = [way(data, quality) for data in files]
            cost = (time.perf_counter() - started) / len(files) * 1e3
            found = []
            for jpeg, reference in zip(stored, references, strict=True):
                pixels = np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB")).astype("f4")
                found.append(10 * np.log10(255**2 / max(float(((pixels - reference) ** 2).mean()), 1e-9)))
            print(
                f"  {name:<30} median {np.median(found):.1f} dB, worst {min(found):.1f} dB; {cost:.1f} ms a photo, one core"
            )
    shrink.QUALITY = 90


# ---------------------------------------------------------------- helpers


def photos_in(folder: Path) -> list[Path]:
    return [
        file
        for file in folder.rglob("*")
        if file.suffix in (".jpg", ".jpeg", ".webp", ".png") and ".fastmagic" not in file.parts
    ]


def warm(urls: list[str]) -> None:
    """Import everything and make every pool once."""
    for contender in (ours, lesson):
        with scratch() as folder, quiet():
            contender(urls, folder)


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="bench-images-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


PARTS = {"speed": speed, "tail": tail, "memory": memory, "quality": quality}

if __name__ == "__main__":
    import warnings

    warnings.filterwarnings("ignore")
    if not PHOTOS.is_dir():
        sys.exit("bench_images needs the photos in ../shared/data/bears_raw")
    wrong = [name for name in sys.argv[1:] if name not in PARTS]
    if wrong:
        sys.exit(f"No part {wrong[0]!r}; there are {', '.join(PARTS)}.")
    for name in sys.argv[1:] or PARTS:
        PARTS[name]()
