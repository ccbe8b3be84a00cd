"""One pass over the files of a data set, in the background: thumbnails, hashes, brightness and sharpness, kept on disk.

What a person looks at comes first: thumbnails asked for are made at once, and the pass waits meanwhile. A file is
decoded once, for everything, and only anew when its size or time of change differ.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import sqlite3
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from ..progress import Progress
from .digits import cache_folder
from .image_files import THUMB, ImageFile, open_image_file

SIDE, QUALITY = 160, 75  # a thumbnail's longer side in px, and its quality as JPEG
SMALL = 64  # px: what has no longer side is kept as it is, without loss
SHARP_SIDE = 224  # px: sharpness is measured on a grey picture of at most that side
BATCH = 32  # files read between two writes
REST = 0.15  # s that the background waits after something that a person waited for
VERSION = 1  # of what is measured and how; another one begins a new cache

# What of a photo is stored, as columns. Files are named in bytes, which need not be text. The thumbnails have a table of their own, so that these rows stay short.
_COLUMNS = tuple(field.name for field in fields(ImageFile) if field.name not in ("path", "thumb"))
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS photos (file BLOB PRIMARY KEY, bytes INTEGER, changed INTEGER, {", ".join(_COLUMNS)})
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS thumbnails (file BLOB PRIMARY KEY, bytes INTEGER, changed INTEGER, picture BLOB);
"""


class _Stamp(NamedTuple):
    """What tells that a file is still the one that was read."""

    bytes: int
    changed: int


class Scan:
    """What is known about the files of a data set, from this session or an earlier one.

    Kept in one SQLite file a data folder in the user's cache, which several notebooks and threads may use at once. A
    cache that is damaged is begun anew; one that cannot be written to is replaced by a temporary one.

    Args:
        folder: the data folder, which names the cache; `None` for files that share none.

    Example:
        >>> scan = Scan(Path("birds"))                                                  # doctest: +SKIP
        >>> scan.start(paths, progress=lambda done, total: None, done=lambda: None)     # doctest: +SKIP
        >>> scan.thumbnails(paths[:60])                                                 # doctest: +SKIP
    """

    def __init__(self, folder: Path | None):
        place = os.path.abspath(folder) if folder is not None else ""
        key = hashlib.sha256(f"{VERSION}{place}".encode(errors="surrogateescape")).hexdigest()[:12]
        self._file = cache_folder() / "cleaner" / f"{os.path.basename(place) or 'files'}-{key}.sqlite"
        self._temporary: Any = None
        self._pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1), "fastmagic-thumbnails")
        self._waiting = threading.Condition()
        self._foreground, self._rest = 0, 0.0  # requests under way, and until when another one is likely to follow
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    # ------------------------------------------------------------ what is asked for

    def thumbnails(self, paths: Sequence[Path | None]) -> list[bytes | None]:
        """Return pictures of at most 160 px a side as JPEG, small ones as PNG; `None` for what is no picture.

        They are not turned by EXIF: a model sees them so.
        """
        with self._first():
            stamps = {os.fsencode(path): _stamp(path) for path in paths if path is not None}
            found: dict[bytes, bytes] = {}
            rows = self._read("SELECT file, bytes, changed, picture FROM thumbnails", list(stamps))
            for file, size, changed, picture in rows:
                if stamps[file] == (size, changed):
                    found[file] = picture
            missing = [file for file, stamp in stamps.items() if stamp is not None and file not in found]
            if missing:
                quieten("PIL")
                made = dict(zip(missing, self._pool.map(_thumbnail_of, missing), strict=True))
                self._write("thumbnails", [(file, *(stamps[file] or ()), picture) for file, picture in made.items()])
                found |= made
            return [found.get(os.fsencode(path)) or None if path is not None else None for path in paths]

    def photos(self, paths: Sequence[Path | None]) -> list[ImageFile | None]:
        """Return what is known so far, `None` for files not read yet. Without thumbnails: see `thumbs`."""
        columns = ", ".join(_COLUMNS)
        files = [os.fsencode(path) for path in paths if path is not None]
        known = {row[0]: row[1:] for row in self._read(f"SELECT file, {columns} FROM photos", files)}
        return [
            None if path is None or (row := known.get(os.fsencode(path))) is None else _image(path, row)
            for path in paths
        ]

    def thumbs(self, paths: Sequence[Path | None]) -> list[Any]:
        """Return pictures as arrays, 32 × 32 × 3, such as confirm a near copy; `None` for what is no picture."""
        import numpy as np
        from PIL import Image

        def small(data: bytes | None) -> Any:
            if data is None:
                return None
            with Image.open(io.BytesIO(data)) as image:
                return np.asarray(image.convert("RGB").resize((THUMB, THUMB), Image.Resampling.BOX))

        return [small(data) for data in self.thumbnails(paths)]

    # ------------------------------------------------------------ in the background

    def start(
        self,
        paths: Sequence[Path | None],
        progress: Progress | None = None,
        done: Callable[[], object] = lambda: None,
    ) -> None:
        """Read in the background what is not known yet; what was begun before is stopped.

        Args:
            paths: the files.
            progress: called from the background with (files known, files in all), after each batch is stored.
            done: called from there at the end, not when it was stopped.
        """
        self.stop()
        stopped = self._stopped = threading.Event()
        files = list(dict.fromkeys(os.fsencode(path) for path in paths if path is not None))
        self._thread = threading.Thread(
            target=self._scan, args=(files, stopped, progress, done), name="fastmagic-scan", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop reading; what has been read is kept."""
        self._stopped.set()
        with self._waiting:
            self._waiting.notify_all()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=10)

    @property
    def running(self) -> bool:
        """Whether files are being read."""
        return self._thread is not None and self._thread.is_alive()

    def _scan(
        self,
        files: list[bytes],
        stopped: threading.Event,
        progress: Progress | None,
        done: Callable[[], object],
    ) -> None:
        quieten("PIL")
        left = self._unknown(files, stopped)
        if progress is not None:
            progress(len(files) - len(left), len(files))

        def look(file: bytes) -> tuple[Any, ...] | None:
            self.give_way(stopped)
            return None if stopped.is_set() else _looked_at(file)

        # One core is left to whoever works in the notebook.
        with ThreadPoolExecutor(max(1, min(4, (os.cpu_count() or 1) - 1)), "fastmagic-scan") as pool:
            for start in range(0, len(left), BATCH):
                try:
                    rows = [row for row in pool.map(look, left[start : start + BATCH]) if row is not None]
                except RuntimeError:  # Python is ending, and takes no more work
                    return
                self._write("photos", [row[:-1] for row in rows])
                self._write("thumbnails", [(*row[:3], row[-1]) for row in rows if row[1] is not None])
                if stopped.is_set():
                    return
                if progress is not None:
                    progress(len(files) - len(left) + start + len(rows), len(files))
        done()

    def _unknown(self, files: list[bytes], stopped: threading.Event) -> list[bytes]:
        """Return the files not read yet, or changed since; what was known of the latter is forgotten."""
        known = {file: (size, changed) for file, size, changed in self._read("SELECT file, bytes, changed FROM photos")}
        left, stale = [], []
        for file in files:
            if stopped.is_set():
                return []
            stamp = _stamp(file)
            # A missing file is known to be missing as long as it is; its row has no stamp.
            if file not in known or known[file] != (stamp or (None, None)):
                left.append(file)
                if file in known:
                    stale.append((file,))
        if stale:
            self._do(lambda connection: connection.executemany("DELETE FROM photos WHERE file = ?", stale))
        return left

    def give_way(self, stopped: threading.Event) -> None:
        """Wait, in the background, while a person waits for something, and a moment longer: who scrolls asks again."""
        with self._waiting:
            while not stopped.is_set() and (self._foreground or (rest := self._rest - time.monotonic()) > 0):
                self._waiting.wait(None if self._foreground else rest)

    @contextlib.contextmanager
    def _first(self) -> Iterator[None]:
        """Let the background wait while something is done that a person waits for."""
        with self._waiting:
            self._foreground += 1
        try:
            yield
        finally:
            with self._waiting:
                self._foreground -= 1
                self._rest = time.monotonic() + REST
                self._waiting.notify_all()

    # ------------------------------------------------------------ on disk

    def _read(self, query: str, files: list[bytes] | None = None) -> list[tuple[Any, ...]]:
        """Return the rows of a query, of these files where given."""

        def read(connection: sqlite3.Connection) -> list[tuple[Any, ...]]:
            if files is None or len(files) > 20_000:
                rows = connection.execute(query)
                wanted = None if files is None else set(files)
                return rows.fetchall() if wanted is None else [row for row in rows if row[0] in wanted]
            found = []
            for start in range(0, len(files), 500):
                some = files[start : start + 500]
                found += connection.execute(f"{query} WHERE file IN ({','.join('?' * len(some))})", some).fetchall()
            return found

        return self._do(read) or []

    def _write(self, table: str, rows: list[tuple[Any, ...]]) -> None:
        if rows:
            marks = ",".join("?" * len(rows[0]))
            self._do(
                lambda connection: connection.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", rows)
            )

    def _do(self, work: Callable[[sqlite3.Connection], Any]) -> Any:
        """Do something with the database and commit it; `None` where even a new one does not work."""
        for _ in range(3):
            file = self._file
            try:
                with contextlib.closing(_connected(file)) as connection, connection:
                    return work(connection)
            except (sqlite3.Error, OSError) as error:
                self._give_up(file, error)
        return None

    def _give_up(self, file: Path, error: Exception) -> None:
        """Begin a damaged cache anew; where it cannot be written to (no rights, a full disk), take a temporary one."""
        damaged = not isinstance(error, (OSError, sqlite3.OperationalError))
        with self._waiting:
            if self._file != file or str(error) == "database is locked":
                return
            try:
                if not damaged:
                    raise error
                for end in ("", "-wal", "-shm"):
                    Path(f"{file}{end}").unlink(missing_ok=True)
            except (OSError, sqlite3.Error):
                if self._temporary is None:
                    self._temporary = tempfile.TemporaryDirectory(prefix="fastmagic-")
                    self._file = Path(self._temporary.name) / "scan.sqlite"


def _connected(file: Path) -> sqlite3.Connection:
    file.parent.mkdir(parents=True, exist_ok=True)
    new = not file.exists()
    connection = sqlite3.connect(file, timeout=10)
    try:
        if new:
            connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = OFF")  # the disk is not waited for: what is damaged is begun anew
        connection.executescript(_SCHEMA)
    except BaseException:
        connection.close()
        raise
    return connection


# ---------------------------------------------------------------- one file


def _stamp(path: Path | bytes) -> _Stamp | None:
    try:
        stat = os.stat(path)
    except (OSError, ValueError):
        return None
    return _Stamp(stat.st_size, stat.st_mtime_ns)


def _looked_at(file: bytes) -> tuple[Any, ...]:
    """Return the row of a file: name, stamp, columns, thumbnail."""
    stamp = _stamp(file)
    photo, image = open_image_file(Path(os.fsdecode(file)), SHARP_SIDE)
    picture = b""
    if image is not None:
        photo = replace(photo, **measures(image))
        picture = _encoded(image, (photo.width, photo.height))
    values = {name: getattr(photo, name) for name in _COLUMNS}
    # SQLite's integers have a sign.
    values["phash"] -= (values["phash"] >> 63) << 64
    values["turned"], values["transparent"] = int(photo.turned), int(photo.transparent)
    return (file, *(stamp or (None, None)), *values.values(), picture)


def _image(path: Path, row: tuple[Any, ...]) -> ImageFile:
    values = dict(zip(_COLUMNS, row, strict=True))
    values["phash"] &= (1 << 64) - 1
    values["turned"], values["transparent"] = bool(values["turned"]), bool(values["transparent"])
    for name in ("brightness", "highlights", "sharpness"):
        values[name] = float("nan") if values[name] is None else values[name]  # SQLite stores NaN as NULL
    return ImageFile(path, **values)


def measures(image: Any) -> dict[str, Any]:
    """Return what is measured on a picture: `brightness`, `highlights` and `sharpness` of `ImageFile`.

    Sharpness is the variance of the Laplacian (Pech-Pacheco et al. 2000, "Diatom autofocusing in brightfield
    microscopy", https://doi.org/10.1109/ICPR.2000.903548), of the picture reduced to 224 px at most, which is what a
    model looks at: so photos of different size compare. A smaller picture is not enlarged.
    """
    import numpy as np

    grey = image.convert("L")
    grey.thumbnail((SHARP_SIDE, SHARP_SIDE))
    pixels = np.asarray(grey, dtype="f4")
    inner = pixels[1:-1, 1:-1]
    laplacian = pixels[:-2, 1:-1] + pixels[2:, 1:-1] + pixels[1:-1, :-2] + pixels[1:-1, 2:] - 4 * inner
    return {
        "brightness": float(pixels.mean()),
        "highlights": float(np.searchsorted(np.cumsum(grey.histogram()), 0.95 * pixels.size)),
        "sharpness": float(laplacian.var()) if laplacian.size else 0.0,
    }


def _thumbnail_of(file: bytes) -> bytes:
    """Return the thumbnail of a file, a JPEG decoded no larger than needed; empty for what is no picture."""
    from PIL import Image

    try:
        with Image.open(file) as image:
            size = image.size
            share = SIDE / max(size)
            image.draft("RGB", (max(1, int(size[0] * share)), max(1, int(size[1] * share))))
            return _encoded(image.convert("RGB"), size)
    except Exception:  # Pillow's plugins raise whatever their parser raised
        return b""


def _encoded(image: Any, size: tuple[int, int]) -> bytes:
    """Return an RGB picture as a thumbnail; `size` is that of the file it came from."""
    data = io.BytesIO()
    if max(size) <= SMALL:
        image.save(data, "PNG")
    else:
        image.thumbnail((SIDE, SIDE))
        image.save(data, "JPEG", quality=QUALITY)
    return data.getvalue()


def quieten(module: str) -> None:
    """Silence a library's warnings, which from a thread land below whatever cell runs.

    Not with `catch_warnings`: left in a thread, it would put back the filters that another thread had set meanwhile.
    """
    warnings.filterwarnings("ignore", module=rf"{module}(\.|$)")
