"""The journal of what people decide about items: one log beside the data, written by every view that lets them decide.

A decision is a line of JSON, on the disk before the view says so. Lines are only ever added: undo and redo are lines too.
Nothing is moved or relabelled by noting it; `cleaning` does that.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import os
import threading
import time
import uuid
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import FastmagicError, NotFoundError, UnreadableError
from .folders import walk
from .quarantine import HOME, append_lines

JOURNAL = Path(".fastmagic") / "decisions.jsonl"
ACTIONS = ("relabel", "aside", "keep", "clear")
ROW = "row:"  # how names of rows begin; all other names are paths
COLUMNS = ("path", "action", "from", "to", "by", "time", "sha256")
LOOK = 2.0  # seconds between two looks for what other processes have written


class Row(NamedTuple):
    """A row of a table, for items that are no files; what it holds tells whether it is still the same.

    Attributes:
        table: the name of the table.
        index: the row's index label.
        sha256: of its content.
    """

    table: str
    index: Any
    sha256: str


Item = Path | Row


class Decision(NamedTuple):
    """What is decided about an item.

    Attributes:
        action: "relabel", "aside" (out of the data) or "keep" (looked at, and right as it is).
        was: its label at that time: a name, a list of names, or `None`.
        to: the new label of "relabel".
        by: the view it was made in.
        time: when, in ISO 8601, UTC.
    """

    action: str
    was: Any
    to: Any
    by: str
    time: str


class Made(NamedTuple):
    """A decision to be noted: about which item, what, its label now, and the new label of "relabel"."""

    item: Item
    action: str
    was: Any = None
    to: Any = None


@dataclass
class Batch:
    """What was decided at once, and is taken back at once.

    Attributes:
        id: its name in the journal.
        by, time: the view and the moment.
        names: of the items, in the journal's words.
        actions: how many of each action.
        undone: whether it was taken back.
    """

    id: str
    by: str
    time: str
    names: list[str] = field(default_factory=list)
    actions: dict[str, int] = field(default_factory=dict)
    undone: bool = False

    def __str__(self) -> str:
        verbs = {"relabel": "relabelled", "aside": "set aside", "keep": "kept", "clear": "cleared"}
        return ", ".join(f"{count:,} {verbs[action]}" for action, count in self.actions.items())


class _Entry(NamedTuple):
    batch: Batch
    decision: Decision
    content: dict[str, Any]


class Journal:
    """The decisions about the items of a data folder, in `.fastmagic/decisions.jsonl` in it.

    Where that folder cannot be written to (Kaggle's inputs), the journal is in the user's own data folder, and names
    files by their whole path. A decision belongs to what a file holds: written anew with other content, it has none;
    gone (moved away, say), it has none until it is back. About a file that is missing or unreadable it can be decided
    too; that holds as long as it is.

    Attributes:
        folder: the data folder.
        file: the journal, there or not yet.
        beside: whether it lies in the data folder.
        on_change: called when somebody else has written to the same journal; see `listen`.

    Example:
        >>> journal = Journal(Path("birds"))                                                  # doctest: +SKIP
        >>> journal.note([Made(Path("birds/owl/7.jpg"), "relabel", "owl", "kestrel")])        # doctest: +SKIP
        >>> journal.current()                                                                 # doctest: +SKIP
        {Path('birds/owl/7.jpg'): Decision(action='relabel', was='owl', to='kestrel', …)}
    """

    def __init__(self, folder: Path):
        self.folder = Path(os.path.abspath(folder))
        self.file = self.folder / JOURNAL
        nearest = next(place for place in (self.file, *self.file.parents) if place.exists())
        self.beside = os.access(nearest, os.W_OK)
        if not self.beside:
            name = f"{self.folder.name}-{hashlib.sha256(str(self.folder).encode()).hexdigest()[:8]}.jsonl"
            self.file = user_folder() / "decisions" / name
        self.on_change: Callable[[], object] | None = None
        self._lock = threading.RLock()
        self._changed: set[Any] = set()
        self._forget()
        _open.add(self)

    def _forget(self) -> None:
        self._read: tuple[Any, int] = (None, 0)  # which file, and how far
        self._batches: dict[str, Batch] = {}
        self._undone: list[Batch] = []
        self._entries: defaultdict[str, list[_Entry]] = defaultdict(list)
        self._current: dict[Item | str, Decision] = {}

    # ------------------------------------------------------------ writing

    def note(self, made: Iterable[Made], by: str = "") -> Batch:
        """Write decisions made at once; they are on the disk when this returns.

        Args:
            made: the decisions; "clear" leaves an item undecided again.
            by: the name of the view.

        Returns:
            The batch, which `undo` takes back as a whole.

        Raises:
            FastmagicError: the journal cannot be written.
        """
        made = list(made)
        for one in made:
            if one.action not in ACTIONS:
                raise NotFoundError(f"No decision {one.action!r}.", f"There are {', '.join(ACTIONS)}.")
        contents = _in_threads(_content, [one.item for one in made])
        head = {"by": by, "time": _now(), "batch": uuid.uuid4().hex[:12]}
        records = []
        for one, content in zip(made, contents, strict=True):
            labels = {"from": one.was} | ({"to": one.to} if one.action == "relabel" else {})
            records.append({"path": self.name(one.item), "action": one.action, **labels, **head, **content})
        with self._lock:
            self._append(records)
            return self._batches.get(head["batch"], Batch(head["batch"], by, head["time"]))

    def undo(self, by: str = "") -> Batch | None:
        """Take back what was decided last; return it, or `None` where there is nothing."""
        with self._lock:
            self.refresh()
            batch = self.undoable
            if batch is not None:
                self._append([{"action": "undo", "by": by, "time": _now(), "batch": batch.id}])
            return batch

    def redo(self, by: str = "") -> Batch | None:
        """Decide again what `undo` took back last, as long as nothing else was decided since."""
        with self._lock:
            self.refresh()
            batch = self.redoable
            if batch is not None:
                self._append([{"action": "redo", "by": by, "time": _now(), "batch": batch.id}])
            return batch

    def _append(self, records: Sequence[dict[str, Any]]) -> None:
        if not records:
            return
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            append_lines(self.file, records)
        except OSError as error:
            raise FastmagicError(f"'{self.file}' cannot be written: {error.strerror or error}.") from error
        self.refresh()
        for other in list(_open):
            if other is not self and other.file == self.file and other.on_change is not None:
                other.on_change()

    # ------------------------------------------------------------ reading

    def listen(self, told: Callable[[], object] | None) -> None:
        """Call `told` when another view has written to the journal: one of this process at once, of another within seconds."""
        global _watching
        self.on_change = told
        with _starting:
            if told is not None and not _watching:
                _watching = True
                threading.Thread(target=_watch, name="fastmagic-decisions", daemon=True).start()

    def is_behind(self) -> bool:
        """Tell whether the file is another, or of another size, than when it was last read."""
        which, offset = self._read
        try:
            stat = self.file.stat()
        except OSError:
            return which is not None
        return (which, offset) != ((stat.st_dev, stat.st_ino), stat.st_size)

    def current(self) -> dict[Any, Decision]:
        """Return what is decided now, by file (`Path`) or `Row` name; whatever others have written since is in it."""
        self.refresh()
        return self._current

    def changed(self) -> set[Any]:
        """Return the keys (see `key`) of what has another decision than when this was last asked, and forget them."""
        self.refresh()
        with self._lock:
            changed, self._changed = self._changed, set()
        return changed

    def of(self, item: Item) -> Decision | None:
        """Return what is decided about an item, as of the last `current`."""
        return self._current.get(self.key(item))

    @property
    def batches(self) -> list[Batch]:
        """Everything ever decided, oldest first, taken back or not."""
        self.refresh()
        return list(self._batches.values())

    @property
    def undoable(self) -> Batch | None:
        """What `undo` would take back."""
        return next((batch for batch in reversed(self._batches.values()) if not batch.undone), None)

    @property
    def redoable(self) -> Batch | None:
        """What `redo` would do again."""
        return self._undone[-1] if self._undone else None

    def refresh(self, again: bool = False) -> None:
        """Read what was added to the journal since.

        Args:
            again: also look again at every file that has a decision: it may have changed, gone or come back.
        """
        with self._lock:
            try:
                stat = self.file.stat()
            except OSError:
                if self._read[0] is not None:
                    self._changed |= set(self._current)
                    self._forget()
                return
            which, offset = self._read
            if which != (stat.st_dev, stat.st_ino) or stat.st_size < offset:
                self._changed |= set(self._current)
                self._forget()  # another file in its place: a checkout, a restored copy
                offset = 0
            touched: set[str] = set()
            if stat.st_size > offset:
                with open(self.file, "rb") as file:
                    file.seek(offset)
                    text = file.read()
                whole = text.rfind(b"\n") + 1  # a line that is being written is read next time
                offset += whole
                for line in text[:whole].splitlines():
                    touched |= self._take(line)
            self._read = (stat.st_dev, stat.st_ino), offset
            names = list(self._entries) if again else list(touched)
            self._settle(names)

    def _take(self, line: bytes) -> set[str]:
        """Take in one line; return the names of the items it is about."""
        try:
            record = json.loads(line)
        except ValueError:  # torn by a crash
            return set()
        if not isinstance(record, dict):
            return set()
        action, batch_id = record.get("action"), str(record.get("batch"))
        batch = self._batches.get(batch_id)
        if action in ("undo", "redo"):
            if batch is None or batch.undone == (action == "undo"):
                return set()
            batch.undone = action == "undo"
            if batch.undone:
                self._undone.append(batch)
            else:
                self._undone.remove(batch)
            return set(batch.names)
        name = record.get("path")
        if action not in ACTIONS or not isinstance(name, str):
            return set()  # of a newer fastmagic
        if batch is None:
            batch = self._batches[batch_id] = Batch(batch_id, record.get("by", ""), record.get("time", ""))
            self._undone.clear()
        batch.names.append(name)
        batch.actions[action] = batch.actions.get(action, 0) + 1
        decision = Decision(action, record.get("from"), record.get("to"), batch.by, batch.time)
        content = {key: record.get(key) for key in ("sha256", "size", "mtime_ns")}
        self._entries[name].append(_Entry(batch, decision, content))
        return {name}

    def _settle(self, names: Sequence[str]) -> None:
        """Bring `_current` up to date for some items."""
        last = [next((e for e in reversed(self._entries[name]) if not e.batch.undone), None) for name in names]
        asked = [(name, e) for name, e in zip(names, last, strict=True) if e and e.decision.action != "clear"]
        same = dict(zip((name for name, _ in asked), _in_threads(self._is_same, asked), strict=True))
        for name, entry in zip(names, last, strict=True):
            key = self._key(name)
            if entry is not None and same.get(name):
                self._current[key] = entry.decision
            else:
                self._current.pop(key, None)
            self._changed.add(key)

    def _is_same(self, named: tuple[str, _Entry]) -> bool:
        name, entry = named
        key, content = self._key(name), entry.content
        if isinstance(key, str):  # a row's name says what it holds
            return True
        if content["sha256"] is None:
            return _hash_or_none(key) is None
        try:
            stat = os.stat(key)
        except OSError:
            return False
        if stat.st_size != content["size"]:
            return False
        return stat.st_mtime_ns == content["mtime_ns"] or sha256_of(key) == content["sha256"]

    def name(self, item: Item) -> str:
        """Return an item as the journal names it."""
        if isinstance(item, Row):
            return f"{ROW}{item.table}#{item.index}@{item.sha256[:16]}"
        absolute = Path(os.path.abspath(item))
        if self.beside and absolute.is_relative_to(self.folder):
            return absolute.relative_to(self.folder).as_posix()
        return absolute.as_posix()

    def key(self, item: Item) -> Any:
        """Return what `current` knows an item by."""
        return self.name(item) if isinstance(item, Row) else Path(os.path.abspath(item))

    def _key(self, name: str) -> Any:
        if name.startswith(ROW):
            return name
        return Path(os.path.normpath(self.folder / name))

    # ------------------------------------------------------------ as a table

    def table(self) -> list[dict[str, Any]]:
        """Return what is decided now, and what was set aside and is in quarantine, a row an item, by name: `COLUMNS`."""
        self.refresh(again=True)
        rows = []
        for name in sorted(self._entries):
            key = self._key(name)
            decision = self._current.get(key)
            entry = next((e for e in reversed(self._entries[name]) if not e.batch.undone), None)
            if decision is None and entry is not None and entry.decision.action == "aside" and isinstance(key, Path):
                # Carried out: in quarantine it is as much out of the data as before.
                inside = Path(os.path.relpath(key, self.folder))
                decision = entry.decision if not key.exists() and (self.folder / HOME / inside).exists() else None
            if decision is None or entry is None:
                continue
            here = isinstance(key, Path) and key.is_relative_to(self.folder)
            rows.append(
                {
                    "path": key.relative_to(self.folder).as_posix() if here else name,
                    "action": decision.action,
                    "from": decision.was,
                    "to": decision.to,
                    "by": decision.by,
                    "time": decision.time,
                    "sha256": entry.content["sha256"],
                }
            )
        return rows

    def export(self, to: str | Path) -> int:
        """Write what is decided now as a CSV file, for `replay` on another copy of the data; return how many rows."""
        rows = self.table()
        to = Path(to).expanduser()
        try:
            to.parent.mkdir(parents=True, exist_ok=True)
            part = to.with_name(f".{to.name}.part")
            with open(part, "w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
                writer.writeheader()
                for row in rows:
                    writer.writerow(row | {key: _cell(row[key]) for key in ("from", "to")})
            os.replace(part, to)
        except OSError as error:
            raise FastmagicError(f"'{to}' cannot be written: {error.strerror or error}.") from error
        return len(rows)

    def replay(self, file: str | Path, by: str = "replay") -> Replayed:
        """Decide here what was decided about another copy of the data.

        A file is found by its path where it holds the same, else by its content wherever it lies now. One that lies in
        the folder of another class than the one it was moved to there is to be relabelled here. Of exact copies each
        decision takes one that no other has taken.

        Args:
            file: what `export` wrote.
            by: the name noted with the decisions.

        Returns:
            What was noted, and what could not be.

        Raises:
            FastmagicError: there is no such file, or it is no table of decisions.
        """
        rows = _read_csv(Path(file).expanduser())
        found = Replayed([], [], [], 0)
        made: list[Made] = []
        lost: list[dict[str, Any]] = []
        now = self.current()
        items = [self._item(row) for row in rows]
        hashes = _in_threads(_hash_or_none, items)
        for row, item, sha in zip(rows, items, hashes, strict=True):
            if (sha or "") == row["sha256"]:
                made.append(Made(item, row["action"], row["from"], row["to"]))
            else:
                lost.append(row | {"there": sha is not None})
        if lost:
            elsewhere = self._by_content({self.key(one.item) for one in made})
            for row in lost:
                places = elsewhere.get(row["sha256"])
                if places:
                    made.append(_of_another_folder(row, places.pop(0)))
                    found.elsewhere.append(row["path"])
                else:
                    (found.changed if row["there"] else found.missing).append(row["path"])
        decided = [now.get(self.key(one.item)) for one in made]
        new = [m for m, d in zip(made, decided, strict=True) if d is None or (d.action, d.to) != (m.action, m.to)]
        if new:
            self.note(new, by)
        return found._replace(noted=len(new))

    def _item(self, row: dict[str, Any]) -> Item:
        name = row["path"]
        if not name.startswith(ROW):
            return Path(os.path.normpath(self.folder / name))
        table, _, rest = name.removeprefix(ROW).partition("#")
        return Row(table, rest.rpartition("@")[0], row["sha256"])

    def _by_content(self, taken: set[Any]) -> dict[str, list[Path]]:
        files = sorted(place / name for place, names in walk(self.folder) for name in names)
        found: dict[str, list[Path]] = {}
        for file, sha in zip(files, _in_threads(_hash_or_none, files), strict=True):
            if sha is not None and self.key(file) not in taken:
                found.setdefault(sha, []).append(file)
        return found


def _of_another_folder(row: dict[str, Any], place: Path) -> Made:
    """Return a decision for a file that lies elsewhere here: moved there already into its class, it is still to be moved."""
    action, was, to, here = row["action"], row["from"], row["to"], place.parent.name
    if action == "keep" and was == Path(row["path"]).parent.name and was != here:
        return Made(place, "relabel", here, was)
    if action == "relabel" and to == here:
        return Made(place, "keep", here)
    return Made(place, action, was, to)


# The journals of this process, so that views of the same data hear of each other.
_open: weakref.WeakSet[Journal] = weakref.WeakSet()
_starting = threading.Lock()
_watching = False


def _watch() -> None:
    """Tell the views of this process, for ever, what those of other kernels write."""
    while True:
        time.sleep(LOOK)
        with contextlib.suppress(Exception):  # whoever asks next is told what is wrong
            for journal in list(_open):
                if journal.on_change is not None and journal.is_behind():
                    journal.on_change()


class Replayed(NamedTuple):
    """What became of a table of decisions on another copy of the data.

    Attributes:
        elsewhere: names of files that lay at another place here.
        changed: names of files that hold something else here; nothing is noted about them.
        missing: names of files that are not here.
        noted: how many decisions are new here.
    """

    elsewhere: list[str]
    changed: list[str]
    missing: list[str]
    noted: int


def data_folder(files: Iterable[Path], labels: Iterable[Any] = ()) -> Path | None:
    """Return the folder that a data set's files lie in, above the folders named like labels; `None` for none.

    >>> data_folder([Path("/d/birds/owl/1.jpg"), Path("/d/birds/owl/2.jpg")], ["owl", "tit"]).as_posix()
    '/d/birds'
    """
    parents = {os.path.dirname(os.path.abspath(file)) for file in files}
    if not parents:
        return None
    try:
        folder = Path(os.path.commonpath(parents))
    except ValueError:  # on two drives
        return None
    if folder.name in {str(label) for label in labels}:
        folder = folder.parent
    # A part of a data set whose whole has a journal already: one log for both.
    for above in list(folder.parents)[:2]:
        if not (folder / JOURNAL).exists() and (above / JOURNAL).exists():
            return above
    return folder


def user_folder() -> Path:
    """Return fastmagic's folder among the user's data (`XDG_DATA_HOME`, else `~/.local/share`): kept, unlike a cache."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "fastmagic"


def sha256_of(file: Path) -> str:
    """Return the SHA-256 of a file's content.

    Raises:
        OSError: it cannot be read.
    """
    digest = hashlib.sha256()
    with open(file, "rb") as opened:
        while chunk := opened.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _hash_or_none(item: Item) -> str | None:
    try:
        return item.sha256 if isinstance(item, Row) else sha256_of(item)
    except OSError:
        return None


def _content(item: Item) -> dict[str, Any]:
    """Return what tells an item's content: its hash, `None` of a file that cannot be read; size and time answer faster."""
    if isinstance(item, Row):
        return {"sha256": item.sha256}
    try:
        stat = item.stat()
        return {"sha256": sha256_of(item), "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
    except OSError:
        return {"sha256": None, "size": None, "mtime_ns": None}


def _in_threads(work: Any, items: Sequence[Any]) -> list[Any]:
    """Return `work` of each item, in threads where they are many: hashing lets go of Python's lock."""
    if len(items) < 64:
        return [work(item) for item in items]
    with ThreadPoolExecutor(min(8, 2 * (os.cpu_count() or 1))) as pool:
        return list(pool.map(work, items, chunksize=16))


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def _cell(label: Any) -> str:
    return "" if label is None else label if isinstance(label, str) else json.dumps(label, ensure_ascii=False)


def _label(cell: str) -> Any:
    """Return a label from its cell: lists are written as JSON, all else is a name."""
    if cell.startswith("["):
        try:
            return json.loads(cell)
        except ValueError:
            return cell
    return cell or None


def _read_csv(file: Path) -> list[dict[str, Any]]:
    try:
        with open(file, newline="", encoding="utf-8") as opened:
            rows = list(csv.DictReader(opened))
    except FileNotFoundError:
        raise NotFoundError(f"There is no file '{file}'.", "`%clean --export FILE` writes one.") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UnreadableError(f"'{file}' cannot be read: {error}.") from error
    lacking = [name for name in ("path", "action", "sha256") if rows and name not in rows[0]]
    wrong = next((row["action"] for row in rows if not lacking and row["action"] not in ACTIONS), None)
    if lacking or not rows or wrong is not None:
        why = (
            f"it lacks {', '.join(lacking)}" if lacking else f"action {wrong!r}" if wrong is not None else "it is empty"
        )
        raise UnreadableError(f"'{file}' is no table of decisions ({why}).", "`%clean --export FILE` writes one.")
    return [row | {"from": _label(row.get("from") or ""), "to": _label(row.get("to") or "")} for row in rows]
