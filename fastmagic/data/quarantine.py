"""Where rejected files go: a hidden folder beside the data, with a journal that brings each of them back.

`get_image_files` does not look into folders whose name begins with a dot, so what lies here is out of the
data set. Each move is written to the journal, and the journal to the disk, before the file moves: after a
crash every file is either where it was or in quarantine, and the journal knows both places.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ..errors import FastmagicError

HOME = Path(".fastmagic") / "quarantine"
JOURNAL = "journal.jsonl"


def quarantine(folder: Path, files: Sequence[tuple[Path, str]]) -> list[tuple[Path, Path]]:
    """Move files of a data folder into its quarantine, class sub-folders and all; `restore` brings them back.

    Files that are gone already, lie outside `folder` or are links are left alone, so doing it twice does no
    harm.

    Args:
        folder: the data folder.
        files: (file, reason) for each file to move.

    Returns:
        (old place, new place) of each file that moved.

    Raises:
        FastmagicError: the folder cannot be written to, or a move failed half-way (`restore` still works).

    Example:
        >>> quarantine(Path("birds"), [(Path("birds/owl/7.jpg"), "truncated")])  # doctest: +SKIP
        [(Path('birds/owl/7.jpg'), Path('birds/.fastmagic/quarantine/owl/7.jpg'))]
    """
    home = folder / HOME
    batch = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    taken: set[Path] = set()
    records, moves = [], []
    for file, reason in files:
        inside = _inside(file, folder)
        if inside is None or not file.is_file():
            continue
        target = _free(home / inside, taken)
        taken.add(target)
        moves.append((file, target))
        records.append(
            {
                "op": "move",
                "batch": batch,
                "from": inside.as_posix(),
                "to": target.relative_to(folder).as_posix(),
                "reason": reason,
                "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
                "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            }
        )
    if not records:
        return []
    try:
        for _, target in moves:
            target.parent.mkdir(parents=True, exist_ok=True)
        _append(home / JOURNAL, records)
        for file, target in moves:
            os.rename(file, target)
    except OSError as error:
        raise FastmagicError(
            f"Files cannot be moved out of '{folder}': {error.strerror or error}.",
            "Copy the data to a folder you may write to. What has moved already comes back with --undo.",
        ) from error
    return moves


def restore(folder: Path) -> list[tuple[Path, Path]]:
    """Bring back what the last `quarantine` of this folder moved, each file to its own place.

    A place that has been taken since is left as it is; the file then comes back beside it under a free name.

    Returns:
        (place in quarantine, place it went back to) of each file.

    Raises:
        FastmagicError: nothing is in quarantine, or the folder cannot be written to.
    """
    journal = folder / HOME / JOURNAL
    records = _read(journal)
    # A batch counts as long as a file of it is in quarantine; one that crashed before its first move is not.
    batches = [r["batch"] for r in records if r["op"] == "move" and os.path.lexists(folder / r["to"])]
    if not batches:
        raise FastmagicError(f"Nothing is in quarantine in '{folder}'.", "There is nothing to undo.")
    back = []
    try:
        for record in reversed(records):
            if record["op"] != "move" or record["batch"] != batches[-1]:
                continue
            stored, place = folder / record["to"], folder / record["from"]
            if not os.path.lexists(stored):  # it never moved (a crash came first), or it is back already
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            place = _free(place, set())
            os.rename(stored, place)
            back.append((stored, place))
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        _append(journal, [{"op": "undo", "batch": batches[-1], "time": now}])
    except OSError as error:
        raise FastmagicError(
            f"Files cannot be moved back into '{folder}': {error.strerror or error}.",
            "Make the folder writable and undo again: what is back already stays back.",
        ) from error
    return back


def _inside(file: Path, folder: Path) -> Path | None:
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


def _append(journal: Path, records: Sequence[dict[str, Any]]) -> None:
    """Add records to the journal and wait until they are on the disk."""
    text = "".join(json.dumps(record) + "\n" for record in records)
    with open(journal, "a+b") as file:
        if file.tell() and not _ends_line(file):
            text = "\n" + text
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())


def _ends_line(file: Any) -> bool:
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def _read(journal: Path) -> list[dict[str, Any]]:
    """Read the journal, less a last line torn by a crash: its batch had not begun to move."""
    if not journal.is_file():
        return []
    records = []
    for line in journal.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return records
