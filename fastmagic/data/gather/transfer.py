"""One photo over the wire: bounded in bytes, time and hops, polite to each host, and never to a private address unasked.

Many requests are under way at once. A host that takes its time gives its place to another, so that slow hosts hold
nothing up; one that never answers is not asked again.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
import zlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit
from urllib.request import url2pathname

from ...errors import AnswerError
from ..download import is_public
from .shrink import Rejected
from .web import LONGEST_WAIT, USER_AGENT, Web, is_address, no_answer, retry_after

AT_ONCE = 32  # requests that are being answered
WAITING = 256  # requests whose hosts have not begun to answer, at most
A_HOST = 8  # requests to one host
# https://wikitech.wikimedia.org/wiki/Robot_policy
FEWER: dict[str, int] = {"upload.wikimedia.org": 2}
PATIENCE = 1.0  # seconds without an answer after which a request gives its place to another
REDIRECTS = 5
PAUSE = 0.5  # seconds before a host that failed to answer one photo is asked once more
DEAD_AFTER = 2  # connections to a host that failed, after which it is not asked again
# What an owner writes into X-Robots-Tag who does not want a picture to be trained on, or copied at all; the words that
# img2dataset heeds: https://github.com/rom1504/img2dataset#opt-out-directives
OPT_OUTS = ("noai", "noimageai", "noindex", "noimageindex")


class Transfer:
    """Fetches addresses; one for a whole run, used inside `async with`.

    Args:
        web: proxy and certificates.
        max_bytes: the largest body read, unpacked.
        timeout: seconds for one photo; a host that sends nothing for a third of it is given up.
        public_only: refuse addresses of this machine and of the local network, which a search result must not
            reach (https://owasp.org/www-community/attacks/Server_Side_Request_Forgery). Behind a proxy, names are
            resolved by the proxy, and only addresses written as numbers can be refused.
    """

    def __init__(self, web: Web, max_bytes: int = 20_000_000, timeout: float = 20.0, public_only: bool = True):
        self.web, self.max_bytes, self.timeout, self.public_only = web, max_bytes, timeout, public_only
        self.places = asyncio.Semaphore(AT_ONCE)
        self.waiting = asyncio.Semaphore(WAITING)
        self.hosts: dict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(A_HOST))
        self.hosts.update({host: asyncio.Semaphore(most) for host, most in FEWER.items()})
        self.answered: set[str] = set()
        self.quiet_until: dict[str, float] = {}
        self.failures: dict[str, int] = defaultdict(int)
        self._direct: Any = None
        self._proxied: Any = None

    async def __aenter__(self) -> Transfer:
        import aiohttp

        certificates = self.web.certificates()

        def session(resolver: Any = None) -> Any:
            return aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ssl=certificates, resolver=resolver, ttl_dns_cache=300),
                headers={"User-Agent": USER_AGENT, "Accept": "image/*,*/*;q=0.5", "Accept-Encoding": "identity"},
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self.timeout / 3, sock_read=self.timeout / 3),
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                read_bufsize=1 << 18,
            )

        self._direct = session(_PublicResolver() if self.public_only else None)
        self._proxied = session()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._direct.close()
        await self._proxied.close()

    @contextlib.asynccontextmanager
    async def get(self, url: str, begin: Callable[[], None] = lambda: None) -> AsyncIterator[bytes]:
        """Give the body of an http(s) address, or the bytes of a local `file://` one.

        The photo keeps its place among those under way until the `async with` block ends, so that no more bodies
        lie in memory than there are places. `begin` is called when it has got that place.

        Raises:
            Rejected: whatever went wrong, in words.
        """
        async with _Place(self.places) as place:
            begin()
            if url.startswith("file://"):
                yield await asyncio.to_thread(self._local, url)
            else:
                yield await self._follow(url, place)

    def _local(self, url: str) -> bytes:
        path = Path(url2pathname(urlsplit(url).path))
        try:
            if path.stat().st_size > self.max_bytes:
                raise Rejected("refused", f"larger than {self.max_bytes / 1e6:g} MB")
            return path.read_bytes()
        except OSError as error:
            raise Rejected("broken", error.strerror or str(error)) from error

    async def _follow(self, url: str, place: _Place) -> bytes:
        seen = {url}
        for _ in range(REDIRECTS + 1):
            try:
                found = await self._ask(url, place)
            except Rejected as error:
                path = urlsplit(url).path if error.reason.startswith("answers 404") else ""
                if "+" not in path:
                    raise
                # ddgs writes a blank in a path as a plus sign, which means a blank only behind the question mark.
                found = await self._ask(url.replace(path, path.replace("+", "%20")), place)
            if isinstance(found, bytes):
                return found
            try:
                url = urljoin(url, found)
            except ValueError as error:
                raise Rejected("broken", "redirects to what is no address") from error
            if url in seen:
                raise Rejected("refused", "redirects in a circle")
            seen.add(url)
        raise Rejected("refused", f"redirects more than {REDIRECTS} times")

    async def _ask(self, text: str, place: _Place) -> bytes | str:
        """Return the body, or the address that the answer redirects to.

        What may pass is tried once more: a line that hiccups, a server that fails (5xx), and a host that answered
        others and not this one. Who never answered is not waited for twice.
        """
        import aiohttp

        url = _address(text)
        host = url.raw_host or ""
        if self.public_only:
            _refuse_private(host)
        for attempt in (1, 2):
            if self.failures[host] >= DEAD_AFTER:
                raise Rejected("broken", "the host does not answer", passing=True)
            try:
                return await self._once(url, host, place)
            except _Failing as error:
                if attempt == 2:
                    raise Rejected("broken", error.reason, passing=True) from None
                await asyncio.sleep(PAUSE)
            except (aiohttp.ServerTimeoutError, asyncio.TimeoutError):
                self.failures[host] += 1
                if attempt == 2 or host not in self.answered:
                    raise Rejected("broken", "the host does not answer in time", passing=True) from None
            except aiohttp.InvalidURL as error:
                raise Rejected("broken", "no address") from error
            except aiohttp.ClientPayloadError as error:
                if attempt == 2:
                    raise Rejected("broken", "cut short: the host hung up", passing=True) from error
            except (aiohttp.ClientConnectorError, OSError) as error:
                if isinstance(error, _Private) or isinstance(getattr(error, "os_error", None), _Private):
                    raise Rejected("refused", "a private address") from None
                self.failures[host] += 1
                raise Rejected("broken", f"the host {no_answer(error).reason}", passing=True) from error
            except aiohttp.ClientHttpProxyError as error:
                raise Rejected("broken", f"the proxy answers {error.status}", passing=True) from error
            except aiohttp.ClientError as error:  # the host hung up before it answered, or speaks no HTTP
                if attempt == 2:
                    raise Rejected("broken", "the host hangs up", passing=True) from error
        raise AssertionError("both attempts return or raise")

    async def _once(self, url: Any, host: str, place: _Place) -> bytes | str:
        proxy = self.web.proxy_for(str(url))
        session = self._proxied if proxy else self._direct
        place.leave_after(PATIENCE)  # also while this host has its hands full with others
        async with self.waiting, self.hosts[host]:
            for attempt in (1, 2, 3):
                rest = self.quiet_until.get(host, 0.0) - time.monotonic()
                if rest > LONGEST_WAIT:
                    raise Rejected("broken", f"the host is busy (asks to wait {rest:.0f} s)", passing=True)
                await asyncio.sleep(max(0.0, rest))
                # The limit is for all of it: a proxy that never opens, a name that is looked up, headers drop by drop.
                asked = session.get(url, allow_redirects=False, proxy=proxy)
                async with await asyncio.wait_for(asked, self.timeout) as answer:
                    self.failures[host] = 0
                    self.answered.add(host)
                    if answer.status in (429, 503):
                        seconds = retry_after(answer.headers.get("Retry-After"), 2.0**attempt)
                        self.quiet_until[host] = time.monotonic() + seconds
                        if attempt == 3 or seconds > LONGEST_WAIT:
                            raise Rejected("broken", f"the host is busy (answers {answer.status})", passing=True)
                        continue
                    if answer.status in (301, 302, 303, 307, 308) and answer.headers.get("Location"):
                        return str(answer.headers["Location"])
                    if answer.status != 200:
                        what = f"answers {answer.status} {answer.reason or ''}".rstrip()
                        if answer.status >= 500:
                            raise _Failing(what)
                        raise Rejected("broken", what)
                    if word := opt_out(answer.headers.getall("X-Robots-Tag", [])):
                        raise Rejected("refused", f"its owner does not want it used (X-Robots-Tag: {word})")
                    await place.take()
                    try:
                        return await asyncio.wait_for(self._body(answer), self.timeout)
                    except asyncio.TimeoutError:
                        raise Rejected("broken", f"slower than {self.timeout:g} s", passing=True) from None
        raise AssertionError("every attempt returns or raises")

    async def _body(self, answer: Any) -> bytes:
        too_large = Rejected("refused", f"larger than {self.max_bytes / 1e6:g} MB")
        promised = answer.content_length
        if promised is not None and promised > self.max_bytes:
            raise too_large
        encoding = answer.headers.get("Content-Encoding", "identity").lower()
        if encoding in ("identity", ""):
            data = bytearray()
            async for chunk in answer.content.iter_any():
                data += chunk
                if len(data) > self.max_bytes:
                    raise too_large
            return bytes(data)
        if encoding not in ("gzip", "x-gzip", "deflate"):
            raise Rejected("broken", f"is packed in a way nobody asked for ({encoding[:20]})")
        unpacked, unpacker = bytearray(), zlib.decompressobj(47)  # 47: gzip or zlib, by its head
        try:
            async for chunk in answer.content.iter_any():
                unpacked += unpacker.decompress(chunk, self.max_bytes + 1 - len(unpacked))
                if len(unpacked) > self.max_bytes:
                    raise too_large
        except zlib.error as error:
            raise Rejected("broken", "its compressed body is damaged") from error
        return bytes(unpacked)


class _Place:
    """A place among the photos under way, given up while a host takes its time."""

    def __init__(self, places: asyncio.Semaphore):
        self.places, self.held = places, False
        self.timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> _Place:
        await self.take()
        return self

    async def take(self) -> None:
        """Take the place, again where it was given up."""
        if self.timer is not None:
            self.timer.cancel()
        if not self.held:
            await self.places.acquire()
            self.held = True

    def leave_after(self, seconds: float) -> None:
        """Give the place up after some seconds, unless it is taken again before."""
        if self.timer is not None:
            self.timer.cancel()
        self.timer = asyncio.get_running_loop().call_later(seconds, self._leave)

    def _leave(self) -> None:
        if self.held:
            self.held = False
            self.places.release()

    async def __aexit__(self, *error: object) -> None:
        if self.timer is not None:
            self.timer.cancel()
        self._leave()


class _Failing(Exception):
    """A server that answers with an error of its own (5xx).

    Args:
        reason: in words.
    """

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


class _Private(OSError):
    """A name that leads to an address of this machine or of the local network."""


class _PublicResolver:
    """Resolves names, and refuses those with a private address; the connection is made to what was checked here."""

    def __init__(self) -> None:
        from aiohttp import ThreadedResolver

        self._inner = ThreadedResolver()

    async def resolve(self, host: str, port: int = 0, family: Any = socket.AF_INET) -> Any:
        found = await self._inner.resolve(host, port, family)
        if not all(is_public(entry["host"]) for entry in found):
            raise _Private(f"{host} is a private address")
        return found

    async def close(self) -> None:
        await self._inner.close()


def _address(text: str) -> Any:
    """Return an address as the client will read it, whatever digits and dots it is written with."""
    import yarl

    try:
        url = yarl.URL(text)
    except ValueError as error:
        raise Rejected("broken", "no address") from error
    if url.scheme not in ("http", "https") or not url.raw_host:
        raise Rejected("refused", "no http or https address")
    return url


def _refuse_private(host: str) -> None:
    """Refuse a private address written as a number, which no resolver sees, and this machine's own name.

    Numbers in odd forms (2130706433, 127.1, 0177.0.0.1) are refused: the system reads them as addresses.
    """
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        raise Rejected("refused", "a private address")
    if ":" in name or name.replace(".", "").isdigit():
        try:
            public = is_public(name)
        except ValueError:
            public = False
        if not public:
            raise Rejected("refused", "a private address")


def opt_out(headers: Iterable[str]) -> str | None:
    """Return the word by which the `X-Robots-Tag` headers of an answer keep a picture from us, or `None`.

    A header may be meant for one robot alone (`otherbot: noai`).

    >>> opt_out(["nosnippet, NoAI"]), opt_out(["otherbot: noai"]), opt_out(["fastmagic: noimageai"]), opt_out([])
    ('noai', None, 'noimageai', None)
    """
    for header in headers:
        robot, _, words = header.lower().rpartition(":")
        if robot.strip() in ("", "fastmagic"):
            found = {word.strip() for word in words.split(",")}
            if word := next((word for word in OPT_OUTS if word in found), None):
                return word
    return None


def addresses(urls: object) -> list[str]:
    """Return a list of addresses as it should be.

    Raises:
        FastmagicError: something else than a list of http(s) addresses.
    """
    if isinstance(urls, (str, bytes)) or not hasattr(urls, "__iter__"):
        raise AnswerError("A list of addresses is needed here.", "For a file of addresses: `images(source=FILE)`")
    found = [str(url) for url in urls]
    if not found:
        raise AnswerError("The list of addresses is empty.")
    for url in found:
        if not is_address(url):
            raise AnswerError(f"{url[:80]!r} is no http or https address.")
    return found
