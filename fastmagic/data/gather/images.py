"""`fastmagic.images` and `fastmagic.fetch`: from words, or a list of addresses, to a clean, documented folder of photos."""

from __future__ import annotations

import difflib
import inspect
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from ...errors import AnswerError, FastmagicError, RefusedError, UnreadableError, few
from . import manifest
from .engines import is_open
from .gallery import Gathering
from .manifest import Record
from .pipeline import Candidate, Pass, Shelf
from .search import Search, choose
from .sources import class_name, folder_of, shelves_from
from .transfer import addresses
from .web import Web, advice

WANTED = 200  # photos a class, where a search is asked
EVERY = 0.5  # seconds between two looks at the progress

Update = Callable[[Gathering], None]


def images(
    *classes: str | Sequence[str] | Mapping[str, str | Sequence[str]],
    n: int | None = None,
    to: str | Path | None = None,
    suffix: str = "photo",
    source: str | Path | None = None,
    engine: str | Sequence[str] | None = None,
    license: str = "any",
    max_size: int = 400,
    keep_duplicates: bool = False,
    max_bytes: int = 20_000_000,
    max_pixels: int = 100_000_000,
    timeout: float = 20.0,
    proxy: str | None = None,
    ca_bundle: str | Path | None = None,
    fallback: str | Path | None = None,
    update: Update | None = None,
    say: Callable[[str], None] = print,
    **queries: str | Sequence[str],
) -> Path:
    """Search for photos of each class and return a folder of them, one sub-folder a class, with a manifest.

    One pass: each photo is fetched, decoded once, checked, turned upright, compared with those already kept and
    written as a JPEG, while the next ones are on the wire. What was rejected lies in `.fastmagic/quarantine/images`.
    `manifest.jsonl` says of each photo where it came from and what became of it; `CREDITS.md` names the authors
    where licences are known. Run again, it goes on where it stopped and asks nobody for what it has.

    Args:
        classes: names ("bird", "forest"), or `{"bird": ["bird photo", "robin photo"]}`.
        n: photos a class; by default 200 from a search, all from a `source`.
        to: the folder; by default named after the classes ("bird_or_forest").
        suffix: a word that is added to each class's name for the search; "" for none.
        source: no search: a text file of addresses, a CSV with columns such as url and label, a folder of photos, or
            the `manifest.jsonl` of an earlier set, which is fetched again and compared.
        engine: one or several of "duckduckgo", "bing", "openverse", "commons", "inaturalist" (and those of entry
            points), in order; by default all, one after another until there are enough.
        license: "any", or "open" for public domain, CC0, CC BY and CC BY-SA only, as the search or a manifest says.
        max_size: px of the longer side of a stored photo; photos are never enlarged.
        keep_duplicates: keep photos that show the same as one that is there. Else the same photo is kept once, and one
            that the searches for two classes find is in neither.
        max_bytes, max_pixels: larger photos are refused.
        timeout: seconds for one photo.
        proxy, ca_bundle: see `Web`; by default from the environment.
        fallback: a folder to return where no photo can be had, or "digits".
        update: gets what to show while it runs, twice a second; by default one line of text.
        say: gets one line for each thing worth knowing; `print` by default.
        queries: searches of a class by its name, separated by `;`: `bird="bird photo; bird sun photo"`.

    Returns:
        The folder. After an interrupt, with what had come by then.

    Raises:
        FastmagicError: no photo of some class could be had and there is no fallback, the disk is full, or an
            argument makes no sense.

    Example:
        >>> path = fastmagic.images("bird", "forest", n=100, to="bird_or_not")  # doctest: +SKIP
    """
    if license not in ("any", "open"):
        raise AnswerError(f"license is {license!r}.", "It can be any or open.")
    if n is not None and n < 1:
        raise AnswerError(f"{n} photos are too few: at least 1.")
    if not 16 <= max_size <= 20_000:
        raise AnswerError(f"A longer side of {max_size} px makes no sense.", "Give 16 to 20,000; 400 is usual.")
    wanted = searches(classes, suffix, queries)
    web = Web(proxy, ca_bundle)
    notes = _Notes()
    asked: list[Search] = []
    again = source is not None and str(source).endswith((".jsonl", ".ndjson"))
    if source is None:
        if not wanted:
            raise FastmagicError(
                "Which photos? No class was named.", 'Name some: bird forest, or bird="robin photo; owl photo"'
            )
        engines = choose(engine, license == "open")
        shelves = []
        for label, words in wanted.items():
            search = Search(label, words, engines, web, notes.add, license == "open", max_size)
            asked.append(search)
            shelves.append(Shelf(label, _candidates(search), n or WANTED, searched=True))
    else:
        shelves = shelves_from(source, list(wanted), n)
        if license == "open":
            if not again:
                raise FastmagicError(
                    "Licences are told by a search only, and by the manifest.jsonl that it leaves.",
                    "Leave license out, and see to it yourself that the photos may be used.",
                )
            shelves = [replace(shelf, candidates=_free(shelf)) for shelf in shelves]
    folder = Path(to).expanduser() if to is not None else folder_of([shelf.label for shelf in shelves], source)
    if source is not None:
        here = Path(source).expanduser().resolve()
        if folder.resolve() == (here.parent if again else here) or (here.is_dir() and here in folder.resolve().parents):
            raise RefusedError(
                f"'{folder}' is, or lies in, what the photos come from.", "Give another folder with `to`."
            )
    if license == "open":
        _refuse_others(folder, [shelf.label for shelf in shelves])
    job = Pass(
        folder,
        shelves,
        web,
        max_size=max_size,
        max_bytes=max_bytes,
        max_pixels=max_pixels,
        timeout=timeout,
        keep_duplicates=keep_duplicates or again,
        public_only=source is None,
    )
    if _run(job, update or _one_line(say), notes):
        try:
            _tell(job, asked, again, say)
        except FastmagicError as error:
            if fallback is None:
                raise
            return _fall_back(fallback, error, say)
    else:
        _say_stopped(job, say)
    return folder


def fetch(
    urls: Sequence[str],
    to: str | Path,
    max_size: int = 400,
    keep_duplicates: bool = False,
    max_bytes: int = 20_000_000,
    max_pixels: int = 100_000_000,
    timeout: float = 20.0,
    proxy: str | None = None,
    ca_bundle: str | Path | None = None,
    update: Update | None = None,
    say: Callable[[str], None] = print,
) -> Path:
    """Fetch photos from a list of addresses into a folder: checked, upright, small, each once, with a manifest.

    What fastai's `download_images`, `verify_images` and `resize_images` do together, in one pass.

    Args:
        urls: http(s) addresses.
        to: the folder; the photos lie in it directly.
        max_size, keep_duplicates, max_bytes, max_pixels, timeout, proxy, ca_bundle, update, say: as for `images`.

    Returns:
        The folder.

    Raises:
        FastmagicError: no photo could be had, `urls` is no list of addresses, or the disk is full.

    Example:
        >>> path = fastmagic.fetch(["https://example.org/bird.jpg"], "birds")  # doctest: +SKIP
    """
    shelf = Shelf("", (Candidate(Record(url=url)) for url in addresses(urls)))
    job = Pass(
        Path(to).expanduser(),
        [shelf],
        Web(proxy, ca_bundle),
        max_size=max_size,
        max_bytes=max_bytes,
        max_pixels=max_pixels,
        timeout=timeout,
        keep_duplicates=keep_duplicates,
        public_only=False,
    )
    if _run(job, update or _one_line(say), _Notes()):
        _tell(job, [], False, say)
    else:
        _say_stopped(job, say)
    return job.folder


def searches(
    classes: Sequence[str | Sequence[str] | Mapping[str, str | Sequence[str]]],
    suffix: str,
    named: Mapping[str, str | Sequence[str]] | None = None,
) -> dict[str, list[tuple[str, str]]]:
    """Return (query, subject) pairs by class name, from all the ways in which they can be given."""
    given: list[tuple[str, str | Sequence[str] | None]] = []
    for entry in classes:
        if isinstance(entry, str):
            given.append((entry, None))
        elif isinstance(entry, Mapping):
            given += entry.items()
        elif isinstance(entry, Iterable):
            given += [(name, None) for name in entry]
        else:
            raise AnswerError(f"{entry!r} is no name of a class.", "Give words, such as 'bird'.")
    for name, value in (named or {}).items():
        # 'licence' and 'max_sise' are slips; 'toy' and 'engineer' are classes.
        options = [o for o in inspect.signature(images).parameters if len(o) >= 5 and abs(len(o) - len(name)) <= 1]
        meant = difflib.get_close_matches(name, options, 1, 0.8)
        if meant or not isinstance(value, (str, list, tuple)):
            hint = (
                f"Did you mean {meant[0]!r}?"
                if meant
                else 'Searches of a class are text: bird="bird photo; robin photo"'
            )
            raise AnswerError(f"images has no option {name!r}.", hint)
        given.append((name, value))
    found: dict[str, list[tuple[str, str]]] = {}
    for name, words in given:
        if not isinstance(name, str):
            raise AnswerError(f"{name!r} is no name of a class.", "Give words, such as 'bird'.")
        if not isinstance(words, (str, list, tuple, type(None))):
            raise AnswerError(f"{words!r} is no search for {name!r}.", 'Give text: {"bird": "bird photo; robin photo"}')
        texts = words.split(";") if isinstance(words, str) else list(words or ())
        texts = [" ".join(text.split()) for text in texts if text.strip()]
        queries = [(text, _subject(text, suffix)) for text in texts] or [(f"{name} {suffix}".strip(), name)]
        label = class_name(name)
        if label in found:
            raise AnswerError(f"The class {label!r} is named twice.")
        found[label] = queries
    return found


def _subject(query: str, suffix: str) -> str:
    words = query.split()
    while len(words) > 1 and words[-1].lower() in {suffix.lower(), "photo", "photos", "picture", "image"}:
        words.pop()
    return " ".join(words)


def _free(shelf: Shelf) -> Iterator[Candidate]:
    """Return the candidates of a class of which a manifest says that they are freely licensed.

    Raises:
        FastmagicError: there are none.
    """
    free = (candidate for candidate in shelf.candidates if is_open(candidate.record.license))
    first = next(free, None)
    if first is None:
        raise AnswerError(
            f"No photo of {shelf.label!r} is freely licensed, as far as the manifest says.",
            f"Search for such photos: `images({shelf.label!r}, license='open')`",
        )
    return chain([first], free)


def _candidates(search: Search) -> Iterator[Candidate]:
    for found in search:
        hit = found.hit
        yield Candidate(
            Record(
                label=search.label,
                query=found.query,
                engine=found.engine,
                url=hit.url,
                page=hit.page,
                title=hit.title,
                author=hit.author,
                license=hit.license,
                license_url=hit.license_url,
            )
        )


class _Notes(list[str]):
    """What the search services had to say, each line once: several classes meet the same refusals."""

    def add(self, line: str) -> None:
        if line not in self:
            self.append(line)


def _run(job: Pass, update: Update, notes: _Notes) -> bool:
    """Run in a thread of its own, show how far it is, and return whether it came to its end; Ctrl-C stops it cleanly."""
    failed: list[BaseException] = []

    def work() -> None:
        try:
            job.run()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work, name="fastmagic-images", daemon=True)
    started = time.monotonic()
    interrupted = False
    try:
        thread.start()
        while thread.is_alive():
            thread.join(EVERY)
            if thread.is_alive():
                update(Gathering(job.shelves, job.folder, time.monotonic() - started, True, notes))
    except KeyboardInterrupt:
        interrupted = True
        job.web.stop.set()
        thread.join(15)  # what is being written is finished; a second Ctrl-C ends the wait
    except BaseException:
        job.web.stop.set()
        raise
    if failed:
        raise failed[0]
    update(Gathering(job.shelves, job.folder, time.monotonic() - started, False, notes))
    return not interrupted


def _one_line(say: Callable[[str], None]) -> Update:
    """Return an update that writes one line over and over where there is somebody to see it, and says each note once."""
    told: set[str] = set()
    width = 0

    def show(progress: Gathering) -> None:
        nonlocal width
        for note in progress.notes:
            if note not in told:
                told.add(note)
                say(note)
        if not progress.running:
            if width:
                print("\r" + " " * width, end="\r", file=sys.stderr, flush=True)
            say(progress.line)
        elif sys.stderr is not None and (sys.stderr.isatty() or "ipykernel" in sys.modules):
            print("\r" + progress.line.ljust(width), end="", file=sys.stderr, flush=True)
            width = len(progress.line)

    return show


def _say_stopped(job: Pass, say: Callable[[str], None]) -> None:
    kept = ", ".join(f"{shelf.counts['kept']} {shelf.label or 'photos'}" for shelf in job.shelves)
    busy = any(thread.name == "fastmagic-images" for thread in threading.enumerate())
    then = "It is still finishing; then run the same again to go on." if busy else "Run the same again to go on."
    say(f"Stopped: {kept} in '{job.folder}'. {then}")


def _refuse_others(folder: Path, labels: Sequence[str]) -> None:
    """Refuse to add freely licensed photos to a folder that has others: the whole would look free and not be it."""
    others = [r for r in manifest.read(folder) if r.status == "kept" and r.label in labels and not is_open(r.license)]
    if others:
        raise RefusedError(
            f"'{folder}' holds {len(others)} photos that are not freely licensed, or of which it is not known.",
            "Give another folder with `to`.",
        )


def _tell(job: Pass, searches: Sequence[Search], again: bool, say: Callable[[str], None]) -> None:
    """Say what is worth knowing at the end.

    Raises:
        FastmagicError: a class has no photo.
    """
    empty = [shelf for shelf in job.shelves if not shelf.counts["kept"]]
    if empty:
        raise _nothing(job, empty, searches)
    for shelf in job.shelves:
        kept = shelf.counts["kept"]
        if shelf.wanted is not None and kept < shelf.wanted:
            name = f" of {shelf.label!r}" if shelf.label else ""
            say(f"Only {kept} of {shelf.wanted} photos{name}: there were no more.{_removed(job, [shelf])}")
    if again:
        _tell_changes(job, say)
    elif job.credits:
        say(f"Authors and licences of {job.credits} photos: {job.folder / 'CREDITS.md'}")


def _tell_changes(job: Pass, say: Callable[[str], None]) -> None:
    records = list(manifest.read(job.folder))
    vanished = [r for r in records if r.status == "broken" and not r.passing]
    passing = [r for r in records if r.passing]
    other = [r for r in records if r.status == "refused"]
    changed = [r for r in records if r.status == "kept" and r.reason.startswith("changed")]
    same = sum(r.status == "kept" for r in records) - len(changed)
    say(
        f"{same} photos are the same as then, {len(changed)} have other bytes but show the same, "
        f"{len(other)} show something else, {len(vanished)} have vanished."
    )
    for title, found in (("Vanished", vanished), ("Something else", other), ("Could not be had just now", passing)):
        if found:
            say(f"{title}: {few((f'{r.url} ({r.reason})' for r in found), 3)}")


def _nothing(job: Pass, empty: Sequence[Shelf], searches: Sequence[Search]) -> FastmagicError:
    names = few(repr(shelf.label) for shelf in empty if shelf.label)
    cause = f"No photo of {names} could be had" if names else "No photo could be had"
    problems = [p for search in searches if any(s.label == search.label for s in empty) for p in search.problems]
    reasons = sum((shelf.reasons for shelf in empty), start=Counter())
    total = sum(sum(s.counts.values()) for s in empty)
    ambiguous = reasons[manifest.AMBIGUOUS]
    if ambiguous and ambiguous > reasons.total() / 2:
        return FastmagicError(
            f"{cause}: {ambiguous} were {manifest.AMBIGUOUS}.",
            "Search for words that set the classes apart; with `keep_duplicates=True` such photos stay in each.",
        )
    if removed := _removed(job, empty):
        return FastmagicError(f"{cause}.", removed.strip())
    if total and not reasons:
        return FastmagicError(f"{cause}: all {total} are in another class already.", "Search for other words.")
    if reasons:
        most = few((f"{count} × {reason}" for reason, count in reasons.most_common(3)), 3)
        return FastmagicError(
            f"{cause}: {total} were tried ({most}).",
            f"`manifest.jsonl` in the folder says it of each. {_fix(reasons, job.web)}".strip(),
        )
    kinds = {problem.kind for problem in problems} - {"empty", "stopped"}
    if any(problem.kind == "empty" for problem in problems) and not kinds & {"proxy", "certificate"}:
        kinds.discard("unreachable")
    if not kinds:
        return FastmagicError(f"{cause}: no search found any.", advice(set(), job.web))
    if kinds <= {"unreachable", "proxy", "certificate"}:
        return UnreadableError(f"{cause}: no search service can be reached from here.", advice(kinds, job.web))
    return UnreadableError(f"{cause}: every search service refused, or had nothing.", advice(kinds, job.web))


def _removed(job: Pass, shelves: Sequence[Shelf]) -> str:
    """Say how many photos somebody took away: they are not fetched again, which who wants to start anew must know."""
    count = sum(job.known.removed[shelf.label] for shelf in shelves)
    if not count:
        return ""
    return f" {count} that were taken away are not fetched again; delete '{job.folder / manifest.NAME}' to start anew."


def _fix(reasons: Any, web: Web) -> str:
    if all("reached" in reason or "does not answer" in reason for reason in reasons):
        return advice({"unreachable"}, web)
    return ""


def _fall_back(fallback: str | Path, error: FastmagicError, say: Callable[[str], None]) -> Path:
    if str(fallback) == "digits":
        from ..digits import digits

        path, what = digits(), "the handwritten digits that come with fastmagic"
    else:
        path = Path(fallback).expanduser()
        what = f"'{path}'"
        if not path.is_dir():
            raise FastmagicError(f"{error.cause} And there is no folder {what} to fall back on.", error.fix) from error
    say(f"{error.cause}\nGoing on with {what} instead.")
    return path
