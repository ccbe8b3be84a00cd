"""Searching for photos: what a search service is, which there are, and asking one after another until there is enough.

A service is a small object (`Engine`); others plug in by the entry point group `fastmagic.search`. Answers are kept on
disk for a week, so that a second run asks nobody.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from importlib.metadata import entry_points
from itertools import zip_longest
from pathlib import Path
from typing import Protocol

from ...errors import AnswerError, NotFoundError, did_you_mean
from ..digits import cache_folder
from .web import SearchError, Web, is_address

KEPT_DAYS = 7
MOST_PAGES = 60  # of one service for one query; none of them gives more than some thousand photos


@dataclass(frozen=True)
class Hit:
    """One photo that a service names: its address, and what is known of where it comes from."""

    url: str
    page: str = ""
    title: str = ""
    author: str = ""
    license: str = ""
    license_url: str = ""


@dataclass(frozen=True)
class Ask:
    """What a service is asked for.

    Attributes:
        query: the words, as for a web search ("bird photo").
        subject: the same without the word for a photograph ("bird"), for services that have only photos.
        page: 1, 2, ….
        open_only: only freely licensed photos.
        size: px that the longer side should have at least, where a service offers several sizes.
    """

    query: str
    subject: str
    page: int = 1
    open_only: bool = False
    size: int = 400


class Engine(Protocol):
    """A search service.

    Attributes:
        name: the word for `--engine`.
        title: its name, for people.
        knows_licenses: its hits say licence and author, so that `--license open` can use it.
    """

    name: str
    title: str
    knows_licenses: bool

    def search(self, ask: Ask, web: Web) -> list[Hit]:
        """Return one page of hits, best first; none where there are no more.

        Raises:
            SearchError: it cannot be reached, refuses, is busy, or answers in an unknown form.
        """
        ...


def engines() -> dict[str, Engine]:
    """Return the services by name, in the order in which they are tried; those of entry points come last.

    >>> list(engines())[:5]
    ['duckduckgo', 'bing', 'openverse', 'commons', 'inaturalist']
    """
    from .engines import ENGINES

    found: dict[str, Engine] = {engine.name: engine for engine in ENGINES}
    for point in entry_points(group="fastmagic.search"):
        if point.name not in found:
            made = point.load()
            found[point.name] = made() if isinstance(made, type) else made
    return found


def choose(names: str | Sequence[str] | None, open_only: bool) -> list[Engine]:
    """Return the services that `--engine` names ("openverse,commons"), or all.

    Raises:
        FastmagicError: an unknown name, or one that does not know licences where only open ones are wanted.
    """
    known = engines()
    if not names:
        return [engine for engine in known.values() if engine.knows_licenses or not open_only]
    wanted = [n for n in re.split(r"[,\s]+", names) if n] if isinstance(names, str) else list(names)
    for name in wanted:
        if name.lower() not in known:
            hint = did_you_mean(name, known, 1) or f"There are {', '.join(known)}."
            raise NotFoundError(f"There is no search engine {name!r}.", hint)
        if open_only and not known[name.lower()].knows_licenses:
            able = ", ".join(n for n, e in known.items() if e.knows_licenses)
            raise AnswerError(f"{known[name.lower()].title} does not say licences.", f"With `license='open'`: {able}.")
    return [known[name.lower()] for name in wanted]


@dataclass
class Searched:
    """A hit with the words and the service that found it."""

    hit: Hit
    query: str
    engine: str


class Search:
    """All photos for one class, best first, each address once, asked for a page at a time.

    Args:
        label: the class.
        queries: (query, subject) pairs; their hits are mixed, rank by rank.
        engines: the services, in order; the next is asked when one has no more.
        web: the network.
        say: called with one quiet line for each failure.
        open_only, size: see `Ask`.
    """

    def __init__(
        self,
        label: str,
        queries: Sequence[tuple[str, str]],
        engines: Sequence[Engine],
        web: Web,
        say: Callable[[str], None],
        open_only: bool = False,
        size: int = 400,
    ):
        self.label, self.queries, self.engines = label, queries, engines
        self.web, self.say, self.open_only, self.size = web, say, open_only, size
        self.problems: list[SearchError] = []

    def __iter__(self) -> Iterator[Searched]:
        seen: set[str] = set()
        for engine in self.engines:
            for found in self._of_engine(engine):
                if found.hit.url not in seen:
                    seen.add(found.hit.url)
                    yield found

    def _of_engine(self, engine: Engine) -> Iterator[Searched]:
        open_queries = list(self.queries)
        seen: set[str] = set()
        for page in range(1, MOST_PAGES + 1):
            pages: list[list[Searched]] = []
            for query, subject in list(open_queries):
                if self.web.stop.is_set():
                    return
                ask = Ask(query, subject, page, self.open_only, self.size)
                try:
                    hits = ask_once(engine, ask, self.web)
                    if not hits and page == 1:
                        raise SearchError(f"has nothing for {(subject if engine.knows_licenses else query)!r}", "empty")
                except SearchError as problem:
                    self._tell(engine, problem)
                    if problem.kind != "empty":
                        yield from _mixed(pages)
                        return
                    hits = []
                fresh = [hit for hit in hits if hit.url not in seen]
                seen.update(hit.url for hit in fresh)
                if not fresh:
                    open_queries.remove((query, subject))
                pages.append([Searched(hit, query, engine.name) for hit in fresh])
            yield from _mixed(pages)
            if not open_queries:
                return

    def _tell(self, engine: Engine, problem: SearchError) -> None:
        if problem.kind != "stopped":
            self.problems.append(problem)
            self.say(f"{engine.title} {problem.reason}.")


def _mixed(pages: list[list[Searched]]) -> Iterator[Searched]:
    for rank in zip_longest(*pages):
        yield from (found for found in rank if found is not None)


def ask_once(engine: Engine, ask: Ask, web: Web) -> list[Hit]:
    """Return a page of hits from the disk, or ask the service and keep what it answers.

    Raises:
        SearchError: the service gave no answer, for whatever reason.
    """
    key = hashlib.sha256(json.dumps([engine.name, asdict(ask)]).encode()).hexdigest()[:32]
    file = cache_folder() / "search" / f"{key}.json"
    hits = _kept(file)
    if hits is None:
        try:
            answer = engine.search(ask, web)
        except SearchError:
            raise
        except (
            Exception
        ) as error:  # a package of the wrong version, a service of somebody else's: the next one is asked
            raise SearchError(f"fails ({type(error).__name__}: {error})"[:200], "shape") from error
        hits = [hit for hit in answer if is_address(hit.url)]
        # An empty first page may be a refusal in disguise.
        if (hits or ask.page > 1) and not web.stop.is_set():
            _keep(file, hits)
    return hits


def _kept(file: Path) -> list[Hit] | None:
    try:
        age = time.time() - file.stat().st_mtime
        names = {field.name for field in fields(Hit)}
        found = json.loads(file.read_text(encoding="utf-8"))
        # An empty later page is the end, or a refusal in disguise: for that it counts an hour.
        if age > (KEPT_DAYS * 86400 if found else 3600):
            return None
        return [Hit(**{k: str(v) for k, v in hit.items() if k in names}) for hit in found]
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def _keep(file: Path, hits: Sequence[Hit]) -> None:
    part = file.with_suffix(f".part{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps([asdict(hit) for hit in hits]), encoding="utf-8")
        part.replace(file)
    except OSError:
        return  # without a place to keep answers, the next run asks again
