"""How the network is reached: proxy, certificates, patience with rate limits; one place for all of it.

`requests` asks the search services, `aiohttp` fetches the photos and `ddgs` has a client of its own; all three get
proxy and certificates from here.
"""

from __future__ import annotations

import json
import os
import ssl
import threading
import time
import urllib.request
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ... import __version__
from ...errors import AnswerError, NotFoundError, UnreadableError

# Wikimedia and iNaturalist ask clients to say who they are, and where they can be reached:
# https://foundation.wikimedia.org/wiki/Policy:Wikimedia_Foundation_User-Agent_Policy
USER_AGENT = f"Mozilla/5.0 (compatible; fastmagic/{__version__}; +https://pypi.org/project/fastmagic/)"
LONGEST_WAIT = 20.0  # seconds; a service that wants more is passed over
LONGEST_ANSWER, LARGEST_ANSWER = 20.0, 20_000_000  # seconds and bytes of one page of search results
TRIES = 3


class SearchError(Exception):
    """A search service gave no answer.

    Args:
        reason: what happened, as the end of a sentence that begins with the service's name.
        kind: "refused", "busy", "unreachable", "proxy", "certificate", "shape" or "empty", for advice on what to do next.
        status: of its answer, where there was one.
    """

    def __init__(self, reason: str, kind: str = "refused", status: int = 0):
        super().__init__(reason)
        self.reason, self.kind, self.status = reason, kind, status


class Web:
    """The way to the internet of one run.

    Args:
        proxy: address of a proxy, `http://user:password@host:port`; by default the environment's
            (`HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`).
        ca_bundle: a PEM file of certificates to trust; by default `REQUESTS_CA_BUNDLE`, `CURL_CA_BUNDLE` or
            `SSL_CERT_FILE`, else the usual public ones.
        stop: set to end every wait.

    Raises:
        FastmagicError: the bundle is no file of certificates, or the proxy no address.
    """

    def __init__(
        self, proxy: str | None = None, ca_bundle: str | Path | None = None, stop: threading.Event | None = None
    ):
        self.stop = stop or threading.Event()
        found = {"all": proxy} if proxy else urllib.request.getproxies()
        self._proxies = {
            scheme: _proxy(address) for scheme, address in found.items() if scheme in ("http", "https", "all")
        }
        variables = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
        variable = next((name for name in variables if os.environ.get(name)), None)
        bundle = ca_bundle or (os.environ[variable] if variable else None)
        self._bundle_from = "the setting ca_bundle" if ca_bundle or not variable else f"the variable {variable}"
        self.ca_bundle = str(Path(bundle).expanduser()) if bundle else None
        if self.ca_bundle and not os.path.exists(self.ca_bundle):
            raise NotFoundError(f"There is no file of certificates {self.ca_bundle!r}.", f"Mend {self._bundle_from}.")
        self._session: Any = None
        self._free_at: dict[str, float] = {}
        self._lock = threading.Lock()

    def proxy_for(self, url: str) -> str | None:
        """Return the proxy that a request to `url` goes through, `None` for a direct one."""
        parts = urlsplit(url)
        if not self._proxies or (parts.hostname and urllib.request.proxy_bypass(parts.hostname)):
            return None
        return self._proxies.get(parts.scheme) or self._proxies.get("all")

    def certificates(self) -> ssl.SSLContext:
        """Return what TLS connections trust.

        Raises:
            FastmagicError: the file of certificates cannot be read.
        """
        import certifi

        path = self.ca_bundle or certifi.where()
        try:
            if os.path.isdir(path):
                return ssl.create_default_context(capath=path)
            return ssl.create_default_context(cafile=path)
        except (OSError, ssl.SSLError) as error:
            raise UnreadableError(f"{path!r} holds no certificates ({error}).", f"Mend {self._bundle_from}.") from error

    def wait(self, seconds: float) -> None:
        """Wait, but no longer than until the run is stopped."""
        self.stop.wait(seconds)

    def json(self, url: str, params: dict[str, Any], pause: float = 0.0) -> Any:
        """Return what a service answers, parsed, with respect for its limits.

        A 429 or 503 is asked again after its `Retry-After`, or after 1, 2, … seconds without one, at most
        `TRIES` times and never with a wait of more than `LONGEST_WAIT` seconds.

        Args:
            url, params: the request.
            pause: seconds to leave between two requests to this service.

        Raises:
            SearchError: no answer, a refusal, or something that is no JSON.
        """
        import requests

        if self._session is None:
            self._session = requests.Session()
            self._session.headers["User-Agent"] = USER_AGENT
        host = urlsplit(url).hostname or url
        proxy = self.proxy_for(url)
        for attempt in range(TRIES):
            # Classes are searched side by side: the pause is between all requests to a service.
            with self._lock:
                now = time.monotonic()
                turn = max(now, self._free_at.get(host, now))
                self._free_at[host] = turn + pause
            if turn - now > LONGEST_WAIT + TRIES * pause:
                raise SearchError(f"is busy (asks to wait {turn - now:.0f} s)", "busy")
            self.wait(turn - now)
            if self.stop.is_set():
                raise SearchError("was not asked: stopped", "stopped")
            try:
                answer = self._session.get(
                    url,
                    params=params,
                    timeout=(5, 15),
                    stream=True,
                    verify=self.ca_bundle or True,
                    proxies={"http": proxy, "https": proxy} if proxy else None,
                )
                body = self._read(answer)
            except requests.exceptions.RequestException as error:
                raise no_answer(error) from error
            if answer.status_code in (429, 503):
                seconds = retry_after(answer.headers.get("Retry-After"), 2.0**attempt)
                with self._lock:
                    self._free_at[host] = max(self._free_at[host], time.monotonic() + seconds)
                if attempt + 1 < TRIES and seconds <= LONGEST_WAIT:
                    continue
                raise SearchError(f"is busy (answers {answer.status_code}; asks to wait {seconds:.0f} s)", "busy")
            if answer.status_code in (401, 403):
                raise SearchError(
                    f"refuses requests from here (answers {answer.status_code})", status=answer.status_code
                )
            if answer.status_code != 200:
                what = f"answers {answer.status_code} {answer.reason}".rstrip()
                raise SearchError(what, status=answer.status_code)
            try:
                return json.loads(body)
            except ValueError as error:
                raise SearchError("answers in a form that is not understood (no JSON)", "shape") from error
        raise AssertionError("every attempt returns or raises")

    def _read(self, answer: Any) -> bytes:
        """Return the body of an answer, which may come drop by drop.

        Raises:
            SearchError: it takes too long, or is too large to be a page of search results.
        """
        body, began = bytearray(), time.monotonic()
        with answer:
            for chunk in answer.iter_content(1 << 16):
                body += chunk
                if len(body) > LARGEST_ANSWER:
                    raise SearchError("answers in a form that is not understood (far too long)", "shape")
                if time.monotonic() - began > LONGEST_ANSWER:
                    raise SearchError("does not answer in time", "unreachable")
                if self.stop.is_set():
                    raise SearchError("was not asked to the end: stopped", "stopped")
        return bytes(body)


def is_address(text: object) -> bool:
    """Tell whether a text is an http(s) address.

    >>> is_address(" https://example.org/bird.jpg"), is_address("bird.jpg"), is_address(None)
    (True, False, False)
    """
    return isinstance(text, str) and len(text) < 4000 and text.strip().startswith(("http://", "https://"))


def _proxy(address: str) -> str:
    """Return the address of a proxy with its scheme, as curl reads it.

    Raises:
        FastmagicError: it is none, or one for SOCKS, which the client for photos does not speak.
    """
    text = address if "://" in address else f"http://{address}"
    parts = urlsplit(text)
    if parts.scheme.startswith("socks"):
        fix = "Set an http proxy: `proxy='http://host:port'`"
        raise AnswerError(f"{address!r} is a SOCKS proxy, and photos cannot be fetched through one.", fix)
    if parts.scheme not in ("http", "https") or not parts.hostname or ("://" not in address and ":" not in address):
        raise AnswerError(f"{address!r} is no address of a proxy.", "Write http://host:port.")
    return text


def retry_after(header: str | None, default: float) -> float:
    """Return the seconds that a `Retry-After` header asks for: a number, or a date (RFC 9110, 10.2.3).

    >>> retry_after("120", 1), retry_after(None, 1), retry_after("soon", 1)
    (120.0, 1, 1)
    """
    if not header:
        return default
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        when = parsedate_to_datetime(header)
    except ValueError:
        return default
    when = when if when.tzinfo else when.replace(tzinfo=timezone.utc)
    return max(0.0, (when - datetime.now(timezone.utc)).total_seconds())


def no_answer(error: BaseException) -> SearchError:
    """Return why a request never got an answer, in words, from whatever a client library raised."""
    names = " ".join(kind.__name__ for kind in type(error).__mro__)  # not the repr: aiohttp's speaks of proxy=None
    text = f"{names} {error} {error.__cause__ or ''}".lower()
    if "certificate" in text or "unknownissuer" in text or "sslerror" in text or "sslcertverification" in text:
        return SearchError("shows a certificate that is not trusted here", "certificate")
    if "proxy" in text or "407" in text or "tunnel" in text:
        return SearchError("cannot be reached through the proxy", "proxy")
    if "timeout" in text or "timed out" in text:
        return SearchError("does not answer in time", "unreachable")
    return SearchError("cannot be reached", "unreachable")


def advice(kinds: set[str], web: Web) -> str:
    """Return what to do next when no service gave a photo, from the kinds of `SearchError` they met."""
    if "certificate" in kinds:
        return "Behind a proxy that opens TLS, name its certificates: `ca_bundle='/path/to/ca.pem'`"
    if "proxy" in kinds:
        return "Check the proxy: `proxy='http://user:password@host:port'`, or the variable HTTPS_PROXY"
    if kinds <= {"unreachable"} and kinds:
        if "KAGGLE_KERNEL_RUN_TYPE" in os.environ:
            return "Kaggle: turn on Settings → Internet at the right (it asks for a verified phone number), and run this again."
        return "Check the connection. A proxy is set with: `proxy='http://host:port'`"
    if "busy" in kinds or "refused" in kinds:
        return "Wait some minutes, or name another: `engine='openverse,commons'`. A list of addresses works too: `source='urls.txt'`"
    return 'Try other words, or several searches for a class: bird="bird photo; robin photo"'
