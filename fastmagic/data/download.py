"""Fetching a file from an http(s) address, bounded in bytes, time and hops; can refuse private addresses."""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Callable
from typing import Any, Literal
from urllib.parse import urljoin, urlsplit

from ..errors import AnswerError, FastmagicError, NotFoundError, RefusedError, UnreadableError

Policy = Literal["any", "public"] | Callable[[str], None]

_USER_AGENT = "fastmagic/0.1 (a Jupyter extension; Python requests)"


def is_url(text: object) -> bool:
    """Tell whether `text` is an address such as `https://…` rather than a path.

    >>> is_url("https://example.org/bird.jpg"), is_url("c:/bird.jpg")
    (True, False)
    """
    return isinstance(text, str) and "://" in text[:10]


def fetch(
    url: str,
    policy: Policy = "any",
    max_bytes: int = 50_000_000,
    timeout: float = 20,
    max_redirects: int = 5,
) -> bytes:
    """Return the body of an http(s) address.

    Args:
        url: the address.
        policy: "any" follows the environment's proxies; "public" refuses private, loopback, link-local and
            reserved addresses and connects without a proxy, which is what a public app needs against
            server-side request forgery (https://owasp.org/www-community/attacks/Server_Side_Request_Forgery);
            a function gets every address before it is asked, redirects too, and raises to refuse it.
        max_bytes: the largest body read.
        timeout: seconds for everything together.
        max_redirects: hops followed.

    Raises:
        FastmagicError: refused, not found, too large, too slow, or no http(s) address.
    """
    import requests

    deadline = time.monotonic() + timeout
    with requests.Session() as session:
        session.headers.update(
            {"User-Agent": _USER_AGENT, "Accept": "image/*,*/*;q=0.5", "Accept-Encoding": "identity"}
        )
        if policy == "public":
            session.trust_env = False  # behind a proxy, the proxy resolves the name and the check below means nothing
            adapter = _public_adapter()
            session.mount("http://", adapter)
            session.mount("https://", adapter)
        try:
            for _ in range(max_redirects + 1):
                _refuse_unless_allowed(url, policy)
                left = max(deadline - time.monotonic(), 0.1)
                with session.get(url, timeout=left, stream=True, allow_redirects=False) as response:
                    if not response.is_redirect:
                        return _body(response, url, max_bytes, deadline)
                    url = urljoin(url, response.headers["location"])
        except requests.exceptions.Timeout as error:
            raise UnreadableError(f"{_host(url)} did not answer within {timeout:g} seconds.") from error
        except requests.exceptions.RequestException as error:
            raise UnreadableError(
                f"Cannot reach {url}: {_reason(error)}.", "Check the address and the connection."
            ) from error
    raise UnreadableError(f"{_host(url)} redirects more than {max_redirects} times.", "Give the picture's own address.")


def is_public(address: str) -> bool:
    """Tell whether an IP address belongs to the open internet, looking inside IPv6 forms of IPv4 addresses.

    >>> is_public("8.8.8.8"), is_public("127.0.0.1"), is_public("::ffff:10.0.0.1")
    (True, False, False)
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        nat64 = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF) if ip in ipaddress.ip_network("64:ff9b::/96") else None
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo and ip.teredo[1]) or nat64
        if inner and not is_public(str(inner)):
            return False
        if ip.ipv4_mapped:  # newer Pythons call the mapped form itself private
            return True
    return ip.is_global and not ip.is_multicast


def _refuse_unless_allowed(url: str, policy: Policy) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise AnswerError(f"'{url}' is no http or https address.")
    if callable(policy):
        policy(url)
    elif policy == "public":
        try:
            found = socket.getaddrinfo(parts.hostname, None, type=socket.SOCK_STREAM)
        except OSError as error:
            raise NotFoundError(f"No such host: {parts.hostname}.") from error
        if not all(is_public(str(entry[4][0])) for entry in found):
            raise _private(parts.hostname)


def _private(host: str) -> FastmagicError:
    return RefusedError(f"'{host}' is a private address; only public ones are fetched here.")


def _public_adapter() -> Any:
    """Return a requests adapter that hangs up, before a byte is sent, on a connection to a private address.

    A name may resolve to another address between the check and the connection (DNS rebinding); the peer of
    the open socket cannot.
    """
    from requests.adapters import HTTPAdapter
    from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
    from urllib3.connection import HTTPConnection, HTTPSConnection

    class CheckedPeer:
        def _new_conn(self) -> socket.socket:
            sock: socket.socket = super()._new_conn()  # type: ignore[misc]
            if not is_public(sock.getpeername()[0]):
                sock.close()
                raise _private(self.host)  # type: ignore[attr-defined]
            return sock

    class CheckedHTTP(CheckedPeer, HTTPConnection):
        pass

    class CheckedHTTPS(CheckedPeer, HTTPSConnection):
        pass

    class HTTPPool(HTTPConnectionPool):
        ConnectionCls = CheckedHTTP

    class HTTPSPool(HTTPSConnectionPool):
        ConnectionCls = CheckedHTTPS

    adapter = HTTPAdapter()
    adapter.poolmanager.pool_classes_by_scheme = {"http": HTTPPool, "https": HTTPSPool}
    return adapter


def _body(response: Any, url: str, max_bytes: int, deadline: float) -> bytes:
    if response.status_code != 200:
        raise UnreadableError(f"{_host(url)} answered {response.status_code} {response.reason} for {url}.")
    body = bytearray()
    for chunk in response.iter_content(65536):
        body += chunk
        if len(body) > max_bytes:
            raise UnreadableError(f"{url} is larger than {max_bytes / 1e6:g} MB.", "Give a smaller picture.")
        if time.monotonic() > deadline:
            raise UnreadableError(f"{_host(url)} is too slow: {len(body) / 1e6:.1f} MB so far.")
    return bytes(body)


def _host(url: str) -> str:
    return urlsplit(url).hostname or url


def _reason(error: BaseException) -> str:
    """Return the innermost cause: requests wraps 'Connection refused' in four layers."""
    while (inner := error.__context__ or (error.args[0] if error.args else None)) is not None:
        if not isinstance(inner, BaseException):
            break
        error = inner
    return str(getattr(error, "strerror", None) or error)
