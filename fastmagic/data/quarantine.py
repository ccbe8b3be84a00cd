"""Moving files of a data set so that each can come back: to quarantine, or into the folder of another class.

Quarantine is a hidden folder beside the data; `get_image_files` does not look into folders whose name begins with a dot,
so what lies there is out of the data set. Each move is written to a journal, and the journal to the disk, before the
file moves: after a crash every file is either where it was or where it was to go, and the journal knows both places.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ..errors import FastmagicError, did_you_mean, few
from .folders import walk

HOME = Path(".fastmagic") / "quarantine"
JOURNAL = "journal.jsonl"


def quarantine(folder: Path, files: Sequence[tuple[Path, str]], by: str = "check") -> list[tuple[Path, Path]]:
    """Move files of a data folder into its quarantine, class sub-folders and all; `restore` brings them back.

    Files that are gone already, lie outside `folder` or are links are left alone, so doing it twice does no
    harm.

    Args:
        folder: the data folder.
        files: (file, reason) for each file to move.
        by: who moves them; `restore` asks for it.

    Returns:
        (old place, new place) of each file that moved.

    Raises:
        FastmagicError: the folder cannot be written to, or a move failed half-way (`restore` still works).

    Example:
        >>> quarantine(Path("birds"), [(Path("birds/owl/7.jpg"), "truncated")])  # doctest: +SKIP
        [(Path('birds/owl/7.jpg'), Path('birds/.fastmagic/quarantine/owl/7.jpg'))]
    """
    return relocate(folder, [(file, None, reason) for file, reason in files], by)


def relocate(folder: Path, moves: Sequence[tuple[Path, Path | None, str]], by: str) -> list[tuple[Path, Path]]:
    """Move files of a data folder to other places in it, as one batch; otherwise as `quarantine`.

    A place that is taken is left alone: the file then goes beside it under a free name.

    Args:
        folder: the data folder.
        moves: (file, its new place or `None` for quarantine, reason).
        by: who moves them.
    """
    _finish(folder)
    batch = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    taken: set[Path] = set()
    records, planned = [], []
    for file, place, reason in moves:
        inside = inside_of(file, folder)
        if inside is None or not file.is_file():
            continue
        target = _free(folder / HOME / inside if place is None else place, taken)
        taken.add(target)
        planned.append((file, target))
        records.append(
            {
                "op": "move",
                "by": by,
                "batch": batch,
                "from": inside.as_posix(),
                "to": Path(os.path.relpath(target, folder)).as_posix(),
                "reason": reason,
                "sha256": _sha256(file),
                "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            }
        )
    if not records:
        return []
    try:
        (folder / HOME).mkdir(parents=True, exist_ok=True)
        for _, target in planned:
            target.parent.mkdir(parents=True, exist_ok=True)
        append_lines(folder / HOME / JOURNAL, records)
        for file, target in planned:
            _shift(file, target)
        append_lines(folder / HOME / JOURNAL, [{"op": "done", "batch": batch}])
    except OSError as error:
        raise FastmagicError(
            f"Files cannot be moved out of their places in '{folder}': {error.strerror or error}.",
            "Copy the data to a folder you may write to. What has moved already can be brought back.",
        ) from error
    return planned


def restore(folder: Path, by: str = "check", only: Iterable[Path | str] | None = None) -> list[tuple[Path, Path]]:
    """Bring back what was moved last, each file to its own place.

    A place that has been taken since is left as it is; the file then comes back beside it under a free name. A file
    that was changed after it moved into another class stays there.

    Args:
        folder: the data folder.
        by: who moved them.
        only: the places of single files, as paths or as names below `folder`, whenever they were moved.

    Returns:
        (place it was moved to, place it went back to) of each file.

    Raises:
        FastmagicError: nothing is there to bring back, or the folder cannot be written to.
    """
    _finish(folder)
    journal = folder / HOME / JOURNAL
    batch = last_batch(folder, by) if only is None else _moved_from(folder, by, only)
    if not batch:
        raise FastmagicError(f"Nothing is in quarantine in '{folder}'.", "There is nothing to undo.")
    back = []
    try:
        for record in reversed(batch):
            stored, place = folder / record["to"], folder / record["from"]
            if not _is_ours(folder, record):  # it never moved (a crash came first), or it is back already
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            if _is_copied(stored, place):  # to another device, and then a crash
                stored.unlink()
            else:
                place = _free(place, set())
                _shift(stored, place)
            back.append((stored, place))
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        if only is None:
            append_lines(journal, [{"op": "undo", "batch": batch[0]["batch"], "time": now}])
        else:
            append_lines(journal, [{"op": "back", "batch": r["batch"], "to": r["to"], "time": now} for r in batch])
    except OSError as error:
        raise FastmagicError(
            f"Files cannot be moved back into '{folder}': {error.strerror or error}.",
            "Make the folder writable and undo again: what is back already stays back.",
        ) from error
    return back


def last_batch(folder: Path, by: str) -> list[dict[str, Any]]:
    """Return the records of the last batch that `restore` would bring back; empty where there is none."""
    # A batch that crashed before its first move is none.
    return next((b for b in reversed(_batches(folder, by)) if any(_is_ours(folder, record) for record in b)), [])


def home_of(folder: Path, by: str = "check") -> Path:
    """Return the folder whose quarantine holds what was last moved out of `folder`, and `folder` where none does.

    That is the folder itself, one below it, or one above it, whichever a fix was given.
    """
    above = [place for place in folder.resolve().parents if (place / HOME / JOURNAL).is_file()]
    below = [place for place, _ in walk(folder) if (place / HOME / JOURNAL).is_file()]
    found = []
    for place in [*below, *above]:
        batch = last_batch(place, by)
        if batch and (place in below or any(_is_inside(place / record["from"], folder) for record in batch)):
            found.append((batch[0]["batch"], place))
    return max(found, default=("", folder))[1]


def _is_inside(file: Path, folder: Path) -> bool:
    return file.resolve().is_relative_to(folder.resolve())


def _batches(folder: Path, by: str) -> list[list[dict[str, Any]]]:
    """Return the records of every batch that has not been brought back, in the order of their moves."""
    moves: dict[str, list[dict[str, Any]]] = {}
    for record in read_lines(folder / HOME / JOURNAL):
        if record["op"] == "move" and record.get("by", "check") == by:
            moves.setdefault(record["batch"], []).append(record)
        elif record["op"] == "undo":
            moves.pop(record["batch"], None)
        elif record["op"] == "back" and record["batch"] in moves:
            moves[record["batch"]] = [move for move in moves[record["batch"]] if move["to"] != record["to"]]
    return list(moves.values())


def _moved_from(folder: Path, by: str, places: Iterable[Path | str]) -> list[dict[str, Any]]:
    """Return the record of the last move away from each of some places.

    Raises:
        FastmagicError: nothing was moved away from one of them.
    """
    last = {record["from"]: record for batch in _batches(folder, by) for record in batch if _is_ours(folder, record)}
    found = []
    for place in places:
        here = Path(os.path.relpath(os.path.abspath(place), os.path.abspath(folder))).as_posix()
        record = last.get(here) or last.get(Path(place).as_posix())
        if record is None:
            hint = did_you_mean(here, last) or (f"There is {few(last)}." if last else "")
            raise FastmagicError(f"'{place}' is not in the quarantine of '{folder}'.", hint)
        found.append(record)
    return found


def _is_ours(folder: Path, record: dict[str, Any]) -> bool:
    """Tell whether the file at the place that a record names is the one that was moved there."""
    stored = folder / record["to"]
    if Path(record["to"]).is_relative_to(HOME):
        return os.path.lexists(stored)
    try:
        return _sha256(stored) == record["sha256"] and not stored.is_symlink()
    except OSError:
        return False


def _finish(folder: Path) -> None:
    """After a crash in a move to another device, take away the copy that was left at the old place."""
    records = read_lines(folder / HOME / JOURNAL)
    closed = {record["batch"] for record in records if record["op"] in ("done", "undo")}
    for record in records:
        if record["op"] != "move" or record["batch"] in closed:
            continue
        old, new = folder / record["from"], folder / record["to"]
        part = _part(new)
        if part.exists():
            part.unlink()
        if _is_copied(old, new):
            old.unlink()


def _is_copied(old: Path, new: Path) -> bool:
    """Tell whether a file was copied whole to another device, and not yet taken away here."""
    if not (old.is_file() and new.is_file()) or os.stat(old).st_dev == os.stat(new).st_dev:
        return False
    return _sha256(old) == _sha256(new)


def _shift(file: Path, target: Path) -> None:
    """Move a file to a free place, on another device too; at no time is there less than one whole file."""
    try:
        os.rename(file, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        part = _part(target)
        shutil.copy2(file, part)
        with open(part, "rb+") as copied:
            os.fsync(copied.fileno())
        if _sha256(part) != _sha256(file):
            part.unlink()
            raise OSError(errno.EIO, f"the copy of '{file}' differs") from error
        os.rename(part, target)
        os.unlink(file)


def _part(target: Path) -> Path:
    return target.with_name(f".{target.name}.part")


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def inside_of(file: Path, folder: Path) -> Path | None:
    """Return `file` relative to `folder`; `None` for a link, and for a file that really lies elsewhere."""
    if file.is_symlink():
        return None
    try:
        inside = file.resolve().relative_to(folder.resolve())
    except ValueError:
        return None
    return None if inside.is_relative_to(HOME) else inside


def _free(place: Path, taken: set[Path]) -> Path:
    candidate, number = place, 2
    while candidate in taken or os.path.lexists(candidate):
        candidate = place.with_name(f"{place.stem} ({number}){place.suffix}")
        number += 1
    return candidate


def append_lines(journal: Path, records: Sequence[dict[str, Any]]) -> None:
    """Add records to the journal and wait until they are on the disk."""
    text = "".join(_line(record) + "\n" for record in records)
    with open(journal, "a+b") as file:
        if file.tell() and not _ends_line(file):
            text = "\n" + text
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())


def _line(record: dict[str, Any]) -> str:
    """Return a record as a line that a person can read, in ASCII where a name is no text at all."""
    line = json.dumps(record, ensure_ascii=False)
    try:
        line.encode()
    except UnicodeEncodeError:
        return json.dumps(record)
    return line


def _ends_line(file: Any) -> bool:
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def read_lines(journal: Path) -> list[dict[str, Any]]:
    """Read the journal, less a last line torn by a crash: its batch had not begun to move."""
    if not journal.is_file():
        return []
    records = []
    for line in journal.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return records
