"""The one streaming pass: fetched, decoded, checked, deduplicated and written, while the next photos are on the wire.

Photos arrive in any order and are decided in the order of the search, the classes in turn. So the folder depends on what
the hosts serve, not on which was quicker, and a run that was killed and run again ends with the same folder as one that
was not. Only a photo whose host keeps everybody waiting (`LATE` seconds, while others that were asked for later have come)
loses its turn and is decided when it comes. Between arrival and decision a photo waits in `.fastmagic/incoming`, with a line
in the journal there: it is not fetched again.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import time
import warnings
from array import array
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ...errors import AnswerError, FastmagicError, RefusedError
from ..digits import cache_folder
from ..image_files import MAX_BITS, is_copy, read_image
from . import manifest
from .manifest import AMBIGUOUS, Record
from .shrink import Rejected, sha256, shrink
from .transfer import Transfer
from .web import Web

LATE, OVERTAKEN = 2.0, 8  # seconds on the wire and photos that came sooner, after which a photo loses its turn
GRACE = 1.0  # seconds at the end for photos that are on the wire: the next run need not fetch them again
AHEAD = 2000  # photos of a class under way or waiting for their turn
SHOWN = 16  # photos of a class that a gallery may show
INCOMING = Path(".fastmagic") / "incoming"
JOURNAL = INCOMING / "journal.jsonl"
REJECTS = Path(".fastmagic") / "quarantine" / "images"


@dataclass
class Candidate:
    """A photo to fetch.

    Attributes:
        record: what is known of it: label, url, where it was found.
        then: the record of an earlier fetch, where the very same photo is wanted.
    """

    record: Record
    then: Record | None = None


@dataclass
class Shelf:
    """One class while it is being filled.

    Attributes:
        label: the class; empty for photos without one.
        candidates: photos, best first.
        searched: drawing a candidate may ask a search service, so that it must be done in a thread.
        wanted: how many to keep; `None` for all that come.
        counts: decided so far, by status.
        reasons: why photos were rejected, by how often.
        hosts: by reason, which hosts they came from, in this run.
        first: the files kept first.
        prospects: photos under way or waiting for their turn that may yet be kept.
        ahead: how many of these there are at most.
    """

    label: str
    candidates: Iterable[Candidate]
    wanted: int | None = None
    searched: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    hosts: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    first: list[Path] = field(default_factory=list)
    prospects: int = 0
    ahead: int = AHEAD

    @property
    def full(self) -> bool:
        return self.wanted is not None and self.counts["kept"] >= self.wanted

    @property
    def has_enough_under_way(self) -> bool:
        """Whether, with a tenth more for duplicates, enough photos are coming."""
        if self.wanted is not None and self.counts["kept"] + self.prospects >= self.wanted * 1.1 + 4:
            return True
        return self.prospects >= self.ahead


@dataclass
class Arrival:
    """What came of a candidate, before its turn: its record and, where there is one, the file."""

    record: Record
    file: Path | None = None


class Pass:
    """One run into one folder.

    Args:
        folder: the folder of the data set; made where missing.
        shelves: the classes.
        web: the network of this run; setting `web.stop` ends it after what is being decided.
        max_size, max_bytes, max_pixels: limits of a photo, see `shrink` and `Transfer`.
        timeout: seconds for a photo.
        keep_duplicates: keep photos that the folder holds already.
        public_only: see `Transfer`.
    """

    def __init__(
        self,
        folder: Path,
        shelves: list[Shelf],
        web: Web,
        max_size: int = 400,
        max_bytes: int = 20_000_000,
        max_pixels: int = 100_000_000,
        timeout: float = 20.0,
        keep_duplicates: bool = False,
        public_only: bool = True,
    ):
        self.folder, self.shelves, self.web = folder, shelves, web
        self.max_size, self.max_bytes, self.max_pixels = max_size, max_bytes, max_pixels
        self.timeout, self.keep_duplicates, self.public_only = timeout, keep_duplicates, public_only
        self.known = Known(folder)
        self.credits = 0

    def run(self) -> None:
        """Fill the shelves; returns when all are full, nothing more comes, or `web.stop` is set.

        Runs an event loop, so it must be called in a thread that has none (in a notebook: a thread of its own).

        Raises:
            FastmagicError: the folder cannot be written to, another run fills it, the disk is full, or certificates
                cannot be read.
        """
        with _only_one(self.folder), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of odd EXIF blocks and the like: the manifest says it better
            self._run()

    def _run(self) -> None:
        self._decoders = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="fastmagic-decode")
        self._searchers = ThreadPoolExecutor(len(self.shelves), thread_name_prefix="fastmagic-search")
        try:
            for shelf in self.shelves:
                (self.folder / shelf.label).mkdir(parents=True, exist_ok=True)
            (self.folder / INCOMING).mkdir(parents=True, exist_ok=True)
            self.known.read()
            for shelf in self.shelves:
                shelf.ahead = max(8, AHEAD // len(self.shelves))
                shelf.counts.update(self.known.counts[shelf.label])
                shelf.reasons.update(self.known.reasons[shelf.label])
                shelf.first += [self.folder / file for file in self.known.first[shelf.label]]
            if not all(shelf.full for shelf in self.shelves):
                self._manifest = manifest.Writer(self.folder / manifest.NAME)
                self._journal = manifest.Writer(self.folder / JOURNAL)
                # Not `asyncio.run`, which would wait for the last name that is being looked up.
                loop = asyncio.new_event_loop()
                try:
                    loop.run_until_complete(self._fill())
                    loop.run_until_complete(loop.shutdown_asyncgens())
                finally:
                    loop.close()
                    self._decoders.shutdown(wait=True, cancel_futures=True)  # they still write
                    self._journal.close()
                    self._manifest.close()
                self.known.tidy()
                manifest.compact(self.folder, passing=False)
            self.credits = manifest.write_credits(self.folder)
        except OSError as error:
            raise disk_error(error, self.folder) from error
        finally:
            self.web.stop.set()  # a search that is still under way need not go on
            self._remove_empty()
            self._decoders.shutdown(wait=False, cancel_futures=True)
            self._searchers.shutdown(wait=False, cancel_futures=True)

    def _remove_empty(self) -> None:
        """Take away the folders that were made for photos which did not come."""
        inside = [self.folder / shelf.label for shelf in self.shelves]
        for place in [*inside, self.folder / INCOMING, self.folder / INCOMING.parent, self.folder]:
            with contextlib.suppress(OSError):
                if (self.folder / manifest.NAME).is_file() and not (self.folder / manifest.NAME).stat().st_size:
                    (self.folder / manifest.NAME).unlink()
                place.rmdir()

    async def _fill(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._decided = asyncio.Event()
        async with Transfer(self.web, self.max_bytes, self.timeout, self.public_only) as transfer:
            lines = [_Line(shelf) for shelf in self.shelves]
            for line in lines:
                line.launcher = self._task(self._launch(line, transfer))
                line.changed = self._decided.set
            work = self._task(self._decide(lines))
            try:
                while not work.done() and not self.web.stop.is_set():
                    await asyncio.wait({work}, timeout=0.1)
                if work.done():
                    work.result()
                    if self._tasks:
                        await asyncio.wait(self._tasks, timeout=GRACE)
            finally:
                for task in list(self._tasks):
                    task.cancel()
                await asyncio.gather(*self._tasks, return_exceptions=True)

    def _task(self, coroutine: Any) -> asyncio.Task[Any]:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # The first error ends the run; of the same in the others asyncio would complain on the screen.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task

    async def _launch(self, line: _Line, transfer: Transfer) -> None:
        """Start fetching a class's candidates, never many more than are needed."""
        candidates = iter(line.shelf.candidates)
        loop, place = asyncio.get_running_loop(), 0
        try:
            while True:
                while line.shelf.full or line.shelf.has_enough_under_way:
                    self._decided.clear()
                    await self._decided.wait()
                if line.shelf.searched:
                    candidate = await loop.run_in_executor(self._searchers, next, candidates, None)
                else:
                    candidate = next(candidates, None)
                    await asyncio.sleep(0)
                if candidate is None:
                    break
                place += 1
                if self.known.is_new(candidate.record):
                    turn = _Turn(place)
                    turn.task = self._task(self._arrive(turn, candidate, transfer))
                    line.put(turn)
        except Exception as error:
            line.end(error)
        else:
            line.end()

    async def _arrive(self, turn: _Turn, candidate: Candidate, transfer: Transfer) -> Arrival:
        return self.known.waiting(candidate.record) or await self._fetch(turn, candidate, transfer)

    async def _fetch(self, turn: _Turn, candidate: Candidate, transfer: Transfer) -> Arrival:
        loop = asyncio.get_running_loop()
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        record = replace(candidate.record, fetched=now)
        try:
            async with transfer.get(record.url, turn.begin) as data:
                return await loop.run_in_executor(self._decoders, self._take_in, record, candidate.then, data)
        except Rejected as rejected:
            why = rejected
        except OSError:  # the disk's: the network's are told as rejections
            raise
        except Exception as error:  # one photo, whatever it holds, must not end the run
            why = Rejected("broken", f"{type(error).__name__}: {error}"[:200], passing=True)
        return await loop.run_in_executor(self._decoders, self._take_rejected, record, why)

    def _take_in(self, record: Record, then: Record | None, data: bytes) -> Arrival:
        """Decode, check and shrink; runs in a thread. The photo and its record wait in `incoming` for their turn."""
        record.bytes, record.sha256 = len(data), sha256(data)
        small = shrink(data, self.max_size, self.max_pixels)
        record.width, record.height, record.phash = small.width, small.height, small.phash
        record.stored_width, record.stored_height = small.stored_width, small.stored_height
        record.stored_bytes = len(small.jpeg)
        if then is not None and then.sha256 != record.sha256:
            record.reason = "changed: other bytes than then, the same picture"
            if bits(then.phash, record.phash) > MAX_BITS:
                raise Rejected("refused", "changed: it shows another picture than then", data)
        return self._wait(record, small.jpeg, ".jpg")

    def _take_rejected(self, record: Record, rejected: Rejected) -> Arrival:
        record.status, record.reason, record.passing = rejected.status, rejected.reason, int(rejected.passing)
        # A local file is where it was; its bytes have no business elsewhere.
        return self._wait(record, b"" if record.url.startswith("file:") else rejected.data, ".bin")

    def _wait(self, record: Record, data: bytes, suffix: str) -> Arrival:
        file = None
        if data:
            file = self.folder / INCOMING / f"{key(record)}{suffix}"
            file.write_bytes(data)
        # The line comes last, in one write: a photo that the journal knows is whole.
        self._journal.add(record)
        return Arrival(record, file)

    async def _decide(self, lines: list[_Line]) -> None:
        """Decide photo after photo in the order of the search, the classes in turn."""
        open_lines = list(lines)
        # A class that is full waits for the others: a photo that one of them finds too leaves it.
        while lacking := [line for line in open_lines if not line.shelf.full]:
            for line in list(lacking):
                for arrival in line.late_arrivals():
                    if not line.shelf.full:
                        await self._settle(line.shelf, arrival)
                if not line.shelf.full and not await line.has_next():
                    line.close()
                    open_lines.remove(line)
            lacking = [line for line in lacking if line in open_lines and not line.shelf.full]
            if lacking:
                line = min(lacking, key=lambda line: line.place)
                next_one = await line.pop()
                if next_one is not None:
                    await self._settle(line.shelf, next_one)
        for line in open_lines:
            line.close()

    async def _settle(self, shelf: Shelf, arrival: Arrival) -> None:
        """Decide what becomes of a photo, put it where it belongs and write its line."""
        record = arrival.record
        if not record.status:
            twin = None
            if not self.keep_duplicates:
                twin = await asyncio.get_running_loop().run_in_executor(self._decoders, self.known.twin, arrival)
            record.status = "duplicate" if twin else "kept"
            if twin and shelf.searched and self._set_apart(twin, record.label):
                record.status, record.reason = "refused", AMBIGUOUS
            elif twin:
                record.of, record.reason = twin, "the same photo"
        if arrival.file is not None:
            target = self.folder / goal(record)
            if arrival.file != target:
                target.parent.mkdir(parents=True, exist_ok=True)
                target = _not_over(target, arrival.file)
                os.replace(arrival.file, target)
            record.file = target.relative_to(self.folder).as_posix()
        self._manifest.add(record)
        self.known.add(record)
        shelf.counts[record.status] += 1
        if record.status == "kept" and len(shelf.first) < SHOWN:
            shelf.first.append(self.folder / record.file)
        if record.rejected:
            shelf.reasons[record.reason] += 1
            with contextlib.suppress(ValueError):  # no address at all
                shelf.hosts[record.reason][urlsplit(record.url).hostname or ""] += 1
        self._decided.set()

    def _set_apart(self, twin: str, label: str) -> bool:
        """Take a photo that another class finds too out of the one it is in; returns whether it is in none now.

        Args:
            twin: the file that shows the same photo.
            label: the class that it is found for now.
        """
        if Path(twin).is_relative_to(REJECTS):
            return True
        if twin.rpartition("/")[0] == label or not (self.folder / twin).is_file():
            return False
        kept = (r for r in manifest.read(self.folder) if r.status == "kept" and r.file == twin)
        record = next(kept, None)
        shelf = next((s for s in self.shelves if record is not None and s.label == record.label and s.searched), None)
        if record is None or shelf is None:
            return False
        record = replace(record, status="refused", reason=AMBIGUOUS, of=twin)
        record.file = goal(record).as_posix()
        # The line comes first: after a kill in between, `Known.read` moves the file.
        self._manifest.add(record)
        self.known.leave(twin, record)
        shelf.counts["kept"] -= 1
        shelf.counts["refused"] += 1
        shelf.reasons[AMBIGUOUS] += 1
        if self.folder / twin in shelf.first:
            shelf.first.remove(self.folder / twin)
        return True


class _Turn:
    """A photo's place in the search, and the task that fetches it."""

    def __init__(self, place: int):
        self.place = place
        self.task: asyncio.Task[Arrival]
        self.begun: float | None = None
        self.late = False

    def begin(self) -> None:
        """Note that it is among the photos under way, no longer in the queue for that."""
        self.begun = time.monotonic()


class _Line:
    """The photos of one class in the order of the search."""

    def __init__(self, shelf: Shelf):
        self.shelf = shelf
        self.launcher: asyncio.Task[Any] | None = None
        self.changed: Callable[[], None] = lambda: None  # what to call when there may be room for another photo
        self._waiting: deque[_Turn] = deque()
        self._late: list[_Turn] = []
        self._moved = asyncio.Event()
        self._ended = False
        self._error: Exception | None = None

    def put(self, turn: _Turn) -> None:
        self.shelf.prospects += 1
        self._waiting.append(turn)
        turn.task.add_done_callback(lambda task: self._came(turn))
        self._moved.set()

    def _came(self, turn: _Turn) -> None:
        if (
            not turn.late
            and not turn.task.cancelled()
            and not turn.task.exception()
            and turn.task.result().record.rejected
        ):
            self.shelf.prospects -= 1
            self.changed()
        self._moved.set()

    def end(self, error: Exception | None = None) -> None:
        self._error, self._ended = error, True
        self._moved.set()

    async def has_next(self) -> bool:
        """Wait until a photo is there whose turn it is, or a late one has come; tell whether any can still come."""
        while not self._waiting:
            if self._error is not None:
                raise self._error
            if self._ended or any(turn.task.done() for turn in self._late):
                return bool(self._late)
            await self._move()
        return True

    @property
    def place(self) -> float:
        """The next photo's place in the search; late ones have none and come last."""
        return self._waiting[0].place if self._waiting else float("inf")

    async def pop(self) -> Arrival | None:
        """Wait for the next photo and return it; `None` where it lost its turn, or a late one has come instead."""
        if not self._waiting:
            await asyncio.wait([turn.task for turn in self._late], return_when=asyncio.FIRST_COMPLETED)
            return None
        turn = self._waiting[0]
        while not turn.task.done():
            waits = turn.begun is not None and time.monotonic() - turn.begun >= LATE
            if waits and sum(other.task.done() for other in self._waiting) >= OVERTAKEN:
                turn.late = True
                self._late.append(self._waiting.popleft())
                self.shelf.prospects -= 1
                self.changed()
                return None
            await self._move()
        self._waiting.popleft()
        arrival = turn.task.result()
        if not arrival.record.rejected:
            self.shelf.prospects -= 1
        return arrival

    def late_arrivals(self) -> list[Arrival]:
        """Return the late photos that have come by now, each once."""
        come = [turn.task.result() for turn in self._late if turn.task.done()]
        self._late = [turn for turn in self._late if not turn.task.done()]
        return come

    async def _move(self) -> None:
        self._moved.clear()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._moved.wait(), 0.25)

    def close(self) -> None:
        """Start no more for this class; what is on the wire is kept for another day."""
        if self.launcher is not None:
            self.launcher.cancel()


class Known:
    """What a folder holds from this run and those before: addresses decided, and the photos kept.

    Some hundred bytes a photo: addresses as 64-bit hashes, perceptual hashes in one array.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.counts: dict[str, Counter[str]] = {}
        self.reasons: dict[str, Counter[str]] = {}
        self.first: dict[str, list[str]] = {}
        self.removed: Counter[str] = Counter()
        self._decided: set[int] = set()
        self._launched: set[int] = set()
        self._waiting: dict[str, str] = {}
        self._by_sha: dict[int, int] = {}
        self._files: list[str] = []
        self._hashes = array("Q")

    def read(self) -> None:
        """Read the manifest. A kept file that is gone was taken away by somebody: it is neither fetched again nor counted."""
        self.counts, self.reasons = defaultdict(Counter), defaultdict(Counter)
        self.first = defaultdict(list)
        manifest.compact(self.folder)
        for record in manifest.read(self.folder):
            if record.status == "kept":
                try:
                    lost = not (self.folder / record.file).stat().st_size
                except OSError:
                    self._decided.add(_number(key(record)))
                    self.removed[record.label] += 1
                    continue
                if lost:  # in a power cut
                    continue
                if len(self.first[record.label]) < SHOWN:
                    self.first[record.label].append(record.file)
            elif record.ambiguous and record.of and not (self.folder / record.file).is_file():
                with contextlib.suppress(FileNotFoundError):  # somebody took it away
                    self._set_aside(record)  # killed before it was moved
            self.counts[record.label][record.status] += 1
            if record.rejected:
                self.reasons[record.label][record.reason] += 1
            self.add(record)
        self._read_journal()

    def is_decided(self, record: Record) -> bool:
        return _number(key(record)) in self._decided

    def is_new(self, record: Record) -> bool:
        """Tell, once, that an address is neither decided nor asked for in this run: lists name some twice."""
        number = _number(key(record))
        if number in self._decided or number in self._launched:
            return False
        self._launched.add(number)
        return True

    def add(self, record: Record) -> None:
        self._decided.add(_number(key(record)))
        if (record.status == "kept" or record.ambiguous) and record.sha256 and record.phash:
            self._by_sha[_number(record.sha256)] = len(self._files)
            self._files.append(record.file)
            self._hashes.append(int(record.phash, 16))

    def leave(self, file: str, record: Record) -> None:
        """Set a kept file aside whose record has changed; what shows the same photo is still found."""
        self._set_aside(record)
        self._files[self._files.index(file)] = record.file

    def _set_aside(self, record: Record) -> None:
        target = self.folder / record.file
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(self.folder / record.of, target)

    def waiting(self, record: Record) -> Arrival | None:
        """Return the photo that an earlier run fetched and did not come to decide."""
        line = self._waiting.pop(key(record), None)
        if line is None:
            return None
        found = Record.parse(line)
        place = self.folder / INCOMING / key(found)
        # Killed between moving the photo and writing the line, the run left it where it belongs.
        for file in (
            Path(f"{place}{'.bin' if found.rejected else '.jpg'}"),
            self.folder / goal(replace(found, status=found.status or "kept")),
            self.folder / goal(replace(found, status=found.status or "duplicate")),
            self.folder / goal(replace(found, reason=found.reason or AMBIGUOUS)),
        ):
            if file.is_file():
                return Arrival(found, file)
        return Arrival(found) if found.rejected and not found.sha256 else None

    def _read_journal(self) -> None:
        for found in manifest.read_file(self.folder / JOURNAL):
            if not found.passing and not self.is_decided(found):
                self._waiting[key(found)] = found.line()

    def tidy(self) -> None:
        """Leave in the journal, and in the folder of what waits, only what is not decided; nothing where all is."""
        incoming = self.folder / INCOMING
        part = self.folder / f"{JOURNAL}.part"
        left: set[str] = set()
        with open(part, "w", encoding="utf-8") as out:
            for found in manifest.read_file(self.folder / JOURNAL):
                if not found.passing and not self.is_decided(found) and key(found) not in left:
                    left.add(key(found))
                    out.write(found.line() + "\n")
        os.replace(part, self.folder / JOURNAL)
        for file in list(incoming.iterdir()):
            if file.suffix in (".jpg", ".bin") and file.stem not in left:
                file.unlink()  # written by a run that was killed before it wrote the line
        if not left:
            (self.folder / JOURNAL).unlink()
            with contextlib.suppress(OSError):  # somebody else's file is in there
                incoming.rmdir()

    def twin(self, arrival: Arrival) -> str | None:
        """Return the kept file that shows the same photo, or `None`: the same bytes, or as `%check` finds near copies."""
        same = self._by_sha.get(_number(arrival.record.sha256))
        if same is not None:
            return self._files[same]
        near = self._near(int(arrival.record.phash, 16))
        if not near or arrival.file is None:
            return None
        photo = read_image(arrival.file)
        return next((self._files[i] for i in near if is_copy(photo, read_image(self.folder / self._files[i]))), None)

    def _near(self, phash: int) -> list[int]:
        import numpy as np

        if not self._hashes:
            return []
        differing = np.frombuffer(self._hashes, dtype="u8") ^ np.uint64(phash)
        counts = np.unpackbits(differing.view("u1").reshape(-1, 8), axis=1).sum(axis=1)
        # Two bits more than for a near copy: the hash was taken before the photo was stored.
        found = np.flatnonzero(counts <= MAX_BITS + 2)
        return [int(i) for i in found[np.argsort(counts[found], kind="stable")][:20]]


@contextlib.contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Keep other runs out of a folder while the block runs; the system lets go of the lock of a run that was killed.

    Raises:
        FastmagicError: another run is at work there.
    """
    from filelock import FileLock, Timeout

    name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    locks = cache_folder() / "locks"
    try:
        locks.mkdir(parents=True, exist_ok=True)
        lock = FileLock(locks / f"{name}.lock")
        lock.acquire(timeout=0)
    except Timeout:
        raise RefusedError(
            f"Another run is filling '{folder}' just now.", "Wait until it is done, or stop it."
        ) from None
    except OSError:  # no cache folder to write to: then nobody is kept out
        yield
        return
    try:
        yield
    finally:
        lock.release()


def key(record: Record) -> str:
    """Return the name of a photo's files: 16 hex digits made from its class and address."""
    return hashlib.sha256(f"{record.label}\n{record.url}".encode("utf-8", "surrogatepass")).hexdigest()[:16]


def goal(record: Record) -> Path:
    """Return where a decided photo belongs, relative to the folder."""
    if record.status == "kept":
        return Path(record.label) / f"{record.label.replace(' ', '_') or 'photo'}_{key(record)[:12]}.jpg"
    suffix = ".jpg" if record.status == "duplicate" or record.ambiguous else ".bin"
    return REJECTS / record.label / f"{key(record)}{suffix}"


def _not_over(target: Path, file: Path) -> Path:
    """Return where a file can go without overwriting what somebody put there: its target, or a free name beside it."""
    number, place = 2, target
    while place.exists() and place.stat().st_size and place.read_bytes() != file.read_bytes():
        place = target.with_name(f"{target.stem}_{number}{target.suffix}")
        number += 1
    return place


def bits(a: str, b: str) -> int:
    """Return in how many of 64 bits two perceptual hashes differ.

    >>> bits("ff00000000000000", "fe00000000000001")
    2
    """
    return (int(a or "0", 16) ^ int(b or "0", 16)).bit_count()


def disk_error(error: OSError, folder: Path) -> FastmagicError:
    """Return what to tell of a folder that cannot be written to."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return FastmagicError(
            f"The disk is full: '{folder}' can take no more photos.",
            "Free some room, or give another folder with `to`. Run the same again to go on: what is there stays.",
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return FastmagicError(f"'{folder}' cannot be written to.", "Give a folder of yours with `to`.")
    if error.errno in (errno.EEXIST, errno.ENOTDIR):
        return AnswerError(f"'{folder}' is a file, or stands below one.", "Give another folder with `to`.")
    return FastmagicError(f"'{folder}': {error.strerror or error}.", "Give another folder with `to`.")


def _number(text: str) -> int:
    return int(text[:16] or "0", 16)
