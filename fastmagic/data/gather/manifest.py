"""`manifest.jsonl`: one line for each photo that was asked for, what became of it and why, in the order of decision.

It is only ever appended to, a line at a time, so that a run that is killed leaves a record of all it decided; a line torn
by the kill is dropped by the next run, which decides that photo again. Read it with
`pandas.read_json("bird_or_not/manifest.jsonl", lines=True)`.
"""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

NAME = "manifest.jsonl"
CREDITS = "CREDITS.md"
AMBIGUOUS = "found for several classes"  # the reason for which a photo is in none of them


@dataclass
class Record:
    """What is known of one photo.

    Attributes:
        label: its class; empty where there are none.
        status: "kept", "duplicate", "broken" (could not be had, or is damaged) or "refused" (no photo, too large, …).
        file: where it lies, relative to the folder, with `/`; for what was rejected, its place in quarantine; empty
            where there was nothing to keep.
        reason: why it is not kept, or what is worth knowing of a kept one.
        of: for a duplicate, the file that was kept; for a photo that was kept until another class found it too, what
            its file was.
        query, engine: the words and the service that found it.
        url, page: the address of the photo and of the page it stands on.
        title, author, license, license_url: as the service says.
        sha256: of the bytes as they were fetched.
        phash: perceptual hash, 64 bits as 16 hex digits (`imagehash.phash`).
        width, height, bytes: of the photo as it was fetched.
        stored_width, stored_height, stored_bytes: of the file.
        passing: 1 for a photo that could not be had this time; the next run that needs photos tries it again.
        fetched: when, UTC.
    """

    label: str = ""
    status: str = ""
    file: str = ""
    reason: str = ""
    of: str = ""
    query: str = ""
    engine: str = ""
    url: str = ""
    page: str = ""
    title: str = ""
    author: str = ""
    license: str = ""
    license_url: str = ""
    sha256: str = ""
    phash: str = ""
    width: int = 0
    height: int = 0
    bytes: int = 0
    stored_width: int = 0
    stored_height: int = 0
    stored_bytes: int = 0
    passing: int = 0
    fetched: str = ""

    @property
    def rejected(self) -> bool:
        return self.status in ("broken", "refused")

    @property
    def ambiguous(self) -> bool:
        return self.reason == AMBIGUOUS

    def line(self) -> str:
        """Return the record as one line of JSON; texts that are empty are left out, numbers are not."""
        known = {name: value for name, value in vars(self).items() if value != "" and (name != "passing" or value)}
        return json.dumps(known, ensure_ascii=False)

    @classmethod
    def parse(cls, text: str) -> Record:
        """Return the record of a line; unknown names are left out.

        Raises:
            ValueError: the line is no JSON object.
        """
        found = json.loads(text)
        if not isinstance(found, dict):
            raise ValueError("no object")
        record = cls(**{name: value for name, value in found.items() if name in _NAMES and type(value) in (str, int)})
        for name, kind in _NAMES.items():
            if type(getattr(record, name)) is not kind:
                setattr(record, name, kind())
        return record


_NAMES = {field.name: int if field.type == "int" else str for field in fields(Record)}


def read(folder: Path) -> Iterator[Record]:
    """Yield the records of a folder's manifest in order; none where there is no manifest, and not a torn line."""
    yield from read_file(folder / NAME)


def read_file(file: Path) -> Iterator[Record]:
    """Yield the records of a manifest file, line by line: 20,000 photos take no more memory than one."""
    if not file.is_file():
        return
    with open(file, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                yield Record.parse(line)
            except (ValueError, TypeError):
                continue


def compact(folder: Path, passing: bool = True) -> None:
    """Take out of a folder's manifest what later lines make void, and with `passing` the photos that may be tried again."""
    moved = {(record.label, record.url) for record in read(folder) if record.ambiguous}

    def holds(record: Record) -> bool:
        return not (passing and record.passing) and not (
            record.status == "kept" and (record.label, record.url) in moved
        )

    if all(map(holds, read(folder))):
        return
    part = folder / f".{NAME}.part"
    with open(part, "w", encoding="utf-8") as out:
        out.writelines(record.line() + "\n" for record in filter(holds, read(folder)))
    os.replace(part, folder / NAME)


def of_files(files: Iterable[Path]) -> list[Record]:
    """Return what manifests know of picture files: that of the files' own folder, or of one of the two above it."""
    wanted: dict[Path, set[str]] = {}
    for file in files:
        file = file.absolute()
        for folder in list(file.parents)[:3]:
            wanted.setdefault(folder, set()).add(file.relative_to(folder).as_posix())
    found = {}
    for folder, names in wanted.items():
        for record in read(folder):
            if record.status == "kept" and record.file in names:
                found[folder / record.file] = record
    return list(found.values())


class Writer:
    """Appends records to a file of lines, from any thread; each is in the file when `add` returns."""

    def __init__(self, file: Path):
        self._file = open(file, "a+b", buffering=0)  # noqa: SIM115  closed by `close`
        self._mend_end()

    def add(self, record: Record) -> None:
        # One write, so that lines of several threads do not mix; web pages name things in broken Unicode.
        line = (record.line() + "\n").encode("utf-8", "replace")
        if self._file.write(line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def close(self) -> None:
        self._file.close()

    def _mend_end(self) -> None:
        """Cut off a last line torn by a kill; end a whole one that lacks its end."""
        end = start = self._file.seek(0, os.SEEK_END)
        tail = b""
        while start > 0 and b"\n" not in tail:
            block = max(0, start - 65536)
            self._file.seek(block)
            tail = self._file.read(start - block) + tail
            start = block
        last = tail[tail.rfind(b"\n") + 1 :]
        if not last:
            return
        try:
            Record.parse(last.decode())
            self._file.write(b"\n")
        except (ValueError, TypeError):
            self._file.truncate(end - len(last))


def write_credits(folder: Path) -> int:
    """Write `CREDITS.md`, one line for each kept photo whose licence is known, and return how many there are.

    A file of that name that is not ours is left alone, and ours is then called `CREDITS.fastmagic.md`.
    """
    count = 0
    heading = "# Credits of the photos\n\nWritten anew by every run of fastmagic.\n\n"
    place = folder / CREDITS
    if place.is_file() and not place.read_text(encoding="utf-8", errors="replace").startswith(heading):
        place = folder / "CREDITS.fastmagic.md"
    part = folder / f".{CREDITS}.part"
    with open(part, "w", encoding="utf-8") as out:
        out.write(heading)
        for record in read(folder):
            if record.status == "kept" and record.license:
                license_ = _link(record.license, record.license_url)
                title = _link(record.title or "untitled", record.page or record.url)
                out.write(f"- `{record.file}`: {title} by {_plain(record.author or 'unknown author')}, {license_}\n")
                count += 1
    if count:
        os.replace(part, place)
    else:
        part.unlink()
    return count


def _plain(text: str) -> str:
    """Return text from a web page so that Markdown takes it for nothing else."""
    return re.sub(r"([\\`*_\[\]<>!|#])", r"\\\1", " ".join(text.split()))


def _link(text: str, address: str) -> str:
    fine = re.fullmatch(r"https?://[^\s<>()\[\]\"']+", address)
    return f"[{_plain(text)}]({address})" if fine else _plain(text)
