"""A stand-in for the internet on loopback: search services and photo hosts behind a proxy that opens TLS with a test CA.

Clients reach it by the environment of `StandIn.environment()` alone, so that `ddgs`, `requests` and `aiohttp` run
unmodified and really speak TLS to `duckduckgo.com`. The answers have the shapes of the real services, taken from:

- DuckDuckGo's page and `i.js`, Bing's `images/async`: what ddgs and searxng parse.
- Openverse: the recorded API answers in WordPress/openverse, `frontend/test/tapes`.
- Commons: api.php of MediaWiki with `generator=search` and `formatversion=2`.
- iNaturalist: the recorded answers in pyinat/pyinaturalist, `test/sample_data/v1`.

`python tests/standin.py FOLDER` runs it by hand and prints the environment to set.
"""

from __future__ import annotations

import contextlib
import gzip
import html
import io
import json
import socket
import ssl
import sys
import threading
import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

HOSTS = 8  # photos are spread over that many hosts, as a web search's are


class StandIn:
    """The stand-in, running while the `with` block does.

    Args:
        photos: class name → files (or bytes) that a search for that word finds.
        folder: where certificates are written.

    Attributes:
        faults: host → function (handler) that answers in the host's place; see `status`, `hang`, ….
        latency: seconds before a photo is answered.
        asked: (host, path) of every request in order.
    """

    def __init__(self, photos: dict[str, list[Path | bytes]], folder: Path):
        import trustme

        self.photos = photos
        self.faults: dict[str, Callable[[Handler], None]] = {}
        self.extra: dict[str, Callable[[Handler], None]] = {}
        self.latency = 0.0
        self.asked: list[tuple[str, str]] = []
        self.tries: dict[str, int] = defaultdict(int)
        self._authority = trustme.CA()
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._lock = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)
        self.ca_file = folder / "ca.pem"
        self._authority.cert_pem.write_to_path(self.ca_file)
        # A bundle with the usual certificates too, as a company's would be.
        import certifi

        self.ca_file.write_bytes(self.ca_file.read_bytes() + Path(certifi.where()).read_bytes())
        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.standin = self  # type: ignore[attr-defined]
        self.port = self._server.server_address[1]

    def __enter__(self) -> StandIn:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def proxy(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def environment(self) -> dict[str, str]:
        """Return the variables that send a program here."""
        return {
            "HTTPS_PROXY": self.proxy,
            "HTTP_PROXY": self.proxy,
            "https_proxy": self.proxy,
            "http_proxy": self.proxy,
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
            "REQUESTS_CA_BUNDLE": str(self.ca_file),
            "SSL_CERT_FILE": str(self.ca_file),
        }

    def urls(self, label: str) -> list[str]:
        """Return the addresses of a class's photos, in the order in which a search gives them."""
        return [f"https://photos{i % HOSTS}.example.org/{quote(label)}/{i}.jpg" for i in range(len(self.photos[label]))]

    def found(self, words: str) -> list[str]:
        """Return what a search for some words finds: the photos of the first class that the words name."""
        label = next((name for name in self.photos if name.lower() in words.lower()), None)
        return self.urls(label) if label else []

    def requests_to(self, *hosts: str) -> list[tuple[str, str]]:
        return [(host, path) for host, path in self.asked if any(name in host for name in hosts)]

    def context(self, host: str) -> ssl.SSLContext:
        with self._lock:
            if host not in self._contexts:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                self._authority.issue_cert(host).configure_cert(context)
                context.set_alpn_protocols(["http/1.1"])
                self._contexts[host] = context
            return self._contexts[host]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: object, address: object) -> None:
        return  # clients that hang up are part of the tests


class Handler(BaseHTTPRequestHandler):
    """One connection: `CONNECT` opens TLS, then requests are answered for the host that was named."""

    protocol_version = "HTTP/1.1"
    timeout = 60
    host = ""

    @property
    def standin(self) -> StandIn:
        return self.server.standin  # type: ignore[attr-defined]

    def log_message(self, *words: object) -> None:
        return

    def do_CONNECT(self) -> None:
        self.host = self.path.rpartition(":")[0]
        self.connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        self.connection = self.standin.context(self.host).wrap_socket(self.connection, server_side=True)
        self.rfile = self.connection.makefile("rb", self.rbufsize)
        self.wfile = _Wire(self.connection)
        self.close_connection = False

    def finish(self) -> None:
        super().finish()
        if self.connection is not self.request:  # the server closes only what it accepted, not what TLS made of it
            self.connection.close()

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        host, self.parameters = self.host or parts.hostname or "", parse_qs(parts.query)
        self.where = parts.path
        self.standin.asked.append((host, parts.path + (f"?{parts.query}" if parts.query else "")))
        self.standin.tries[f"{host}{parts.path}"] += 1
        answer = self.standin.faults.get(host) or self.standin.extra.get(f"{host}{parts.path}") or ROUTES.get(host)
        if answer is None and host.endswith(".example.org"):
            answer = photo
        (answer or status(404))(self)

    def one(self, name: str, default: str = "") -> str:
        return self.parameters.get(name, [default])[0]

    def send(self, body: bytes, kind: str = "text/html; charset=utf-8", code: int = 200, **headers: str) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", headers.pop("length", str(len(body))))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def json(self, value: object, code: int = 200, **headers: str) -> None:
        self.send(json.dumps(value).encode(), "application/json", code, **headers)


class _Wire(io.RawIOBase):
    def __init__(self, connection: socket.socket):
        self.connection = connection

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.connection.sendall(data)
        return len(data)


# ---------------------------------------------------------------- the search services


def duckduckgo(handler: Handler) -> None:
    words = handler.one("q")
    if handler.where != "/i.js":
        page = (
            f"<!DOCTYPE html><html><head><title>{html.escape(words)} at DuckDuckGo</title></head><body>"
            f'<script type="text/javascript">vqd="4-31415926535897932384626433832795028841";</script></body></html>'
        )
        return handler.send(page.encode())
    if not handler.one("vqd") or "duckduckgo.com" not in handler.headers.get("Referer", ""):
        return handler.send(b"", code=403)
    start = int(handler.one("s", "0"))
    found = handler.standin.found(words)[start : start + 100]
    results = [
        {
            "height": 1200,
            "image": url,
            "image_token": "0123456789abcdef",
            "source": "Bing",
            "thumbnail": f"https://tse{i % 4 + 1}.mm.bing.net/th?id=OIP.{i}&pid=Api",
            "thumbnail_token": "fedcba9876543210",
            "title": f"{words} number {i}",
            "url": f"https://pages.example.org/{i}.html",
            "width": 1600,
        }
        for i, url in enumerate(found, start)
    ]
    answer = {"ads": None, "query": words, "queryEncoded": quote(words), "results": results, "vqd": {words: "4-3141"}}
    if len(found) == 100:
        answer["next"] = f"i.js?q={quote(words)}&o=json&p=1&s={start + 100}&u=bing&f=,,,&l=us-en"
    return handler.json(answer)


def bing(handler: Handler) -> None:
    words, first, count = handler.one("q"), int(handler.one("first", "1")), int(handler.one("count", "35"))
    items = []
    for i, url in enumerate(handler.standin.found(words)[first - 1 : first - 1 + count], first):
        data = {
            "sid": "",
            "cturl": "",
            "cid": f"Q{i}",
            "purl": f"https://pages.example.org/{i}.html",
            "murl": url,
            "turl": f"https://ts1.mm.bing.net/th?id=OIP.{i}&pid=15.1",
            "md5": "0123456789abcdef0123456789abcdef",
            "t": f"{words} number {i}",
            "mid": f"M{i}",
            "desc": "",
        }
        items.append(
            f'<li data-idx="{i}"><div class="iuscp isv smallheight"><div class="imgpt">'
            f'<a class="iusc" style="height:180px;width:240px" m="{html.escape(json.dumps(data))}" '
            f'href="/images/search?view=detailV2&amp;id={i}"><div class="img_cont hoff"><img class="mimg" alt=""></div></a>'
            f'<div class="img_info hon"><span class="nowrap">1600 x 1200 · jpeg</span></div></div>'
            f'<div class="infopt"><div class="infpd"><div class="lnkw"><a href="#">pages.example.org</a></div></div></div>'
            f"</div></li>"
        )
    handler.send(f'<div class="dgControl"><ul class="dgControl_list">{"".join(items)}</ul></div>'.encode())


def openverse(handler: Handler) -> None:
    size, page = int(handler.one("page_size", "20")), int(handler.one("page", "1"))
    if size > 20:
        return handler.json({"detail": "Page size must be at most 20 for unauthenticated requests."}, 401)
    wanted = handler.one("license").split(",") if handler.one("license") else None
    codes = ("by", "by-nc", "cc0", "by-sa", "by-nc-nd", "pdm")
    works = [
        {
            "id": f"da5cb478-c093-4d62-b721-{i:012d}",
            "title": f"{handler.one('q')} {i}",
            "indexed_on": "2020-01-11T10:55:57.471430Z",
            "foreign_landing_url": f"https://www.flickr.com/photos/8488209@N07/{i}",
            "url": url,
            "creator": f"Photographer {i % 7}",
            "creator_url": "https://www.flickr.com/photos/8488209@N07",
            "license": codes[i % len(codes)],
            "license_version": "1.0" if codes[i % len(codes)] in ("cc0", "pdm") else "2.0",
            "license_url": f"https://creativecommons.org/licenses/{codes[i % len(codes)]}/2.0/",
            "provider": "flickr",
            "source": "flickr",
            "category": None,
            "filesize": None,
            "filetype": None,
            "tags": [{"name": "bird", "accuracy": None}],
            "attribution": None,
            "fields_matched": ["title"],
            "mature": False,
            "height": 683,
            "width": 1024,
            "thumbnail": f"https://api.openverse.org/v1/images/{i}/thumb/",
        }
        for i, url in enumerate(handler.standin.found(handler.one("q")))
    ]
    works = [work for work in works if wanted is None or work["license"] in wanted]
    return handler.json(
        {
            "result_count": len(works),
            "page_count": -(-len(works) // size),
            "page_size": size,
            "page": page,
            "results": works[(page - 1) * size : page * size],
        }
    )


def commons(handler: Handler) -> None:
    if "fastmagic" not in handler.headers.get("User-Agent", ""):
        return handler.send(b"Please set a user-agent", "text/plain", 403)
    limit, offset = int(handler.one("gsrlimit", "10")), int(handler.one("gsroffset", "0"))
    found = handler.standin.found(handler.one("gsrsearch"))
    licences = ("CC BY-SA 4.0", "Public domain", "CC BY 2.0", "GFDL")
    pages = [
        {
            "pageid": 1000 + i,
            "ns": 6,
            "title": f"File:Photo {i}.jpg",
            "index": i + 1,
            "imagerepository": "local",
            "imageinfo": [
                {
                    "size": 3000000,
                    "width": 4000,
                    "height": 3000,
                    "thumburl": url,
                    "thumbwidth": int(handler.one("iiurlwidth", "960")),
                    "thumbheight": 720,
                    "url": f"https://upload.wikimedia.org/wikipedia/commons/a/ab/Photo_{i}.jpg",
                    "descriptionurl": f"https://commons.wikimedia.org/wiki/File:Photo_{i}.jpg",
                    "descriptionshorturl": f"https://commons.wikimedia.org/w/index.php?curid={1000 + i}",
                    "mime": "image/jpeg",
                    "extmetadata": {
                        "LicenseShortName": {
                            "value": licences[i % 4],
                            "source": "commons-desc-page",
                            "hidden": "",
                        },
                        "Artist": {
                            "value": f'<a href="//commons.wikimedia.org/wiki/User:U{i}" title="U">Ann &amp; {i}</a>',
                            "source": "commons-desc-page",
                        },
                        "LicenseUrl": {"value": "https://creativecommons.org/licenses/by-sa/4.0"},
                    },
                }
            ],
        }
        for i, url in enumerate(found[offset : offset + limit], offset)
    ]
    if not pages:
        return handler.json({"batchcomplete": True})
    answer: dict[str, object] = {"batchcomplete": True, "query": {"pages": pages[::-1]}}
    if offset + limit < len(found):
        answer["continue"] = {"gsroffset": offset + limit, "continue": "gsroffset||"}
    return handler.json(answer)


def inaturalist(handler: Handler) -> None:
    page, size = int(handler.one("page", "1")), int(handler.one("per_page", "30"))
    labels = list(handler.standin.photos)
    if handler.where.endswith("/taxa/autocomplete"):
        words = handler.one("q").lower()
        taxa = [
            {
                "id": 100 + labels.index(label),
                "name": f"Species {label}",
                "rank": "species",
                "is_active": True,
                "preferred_common_name": label.title(),
                "matched_term": label.title(),
                "default_photo": {"license_code": "cc-by-nc-sa"},
            }
            for label in labels
            if label.lower() in words
        ]
        return handler.json({"total_results": len(taxa), "page": 1, "per_page": size, "results": taxa})
    wanted = handler.one("photo_license").split(",") if handler.one("photo_license") else None
    codes = ("cc-by", "cc-by-nc", "cc0", None)
    urls = handler.standin.urls(labels[int(handler.one("taxon_id")) - 100])
    kept = [(i, url) for i, url in enumerate(urls) if wanted is None or codes[i % 4] in wanted]
    results = [
        {
            "id": 16227955 + i,
            "uri": f"https://www.inaturalist.org/observations/{16227955 + i}",
            "quality_grade": "research",
            "license_code": "cc0",
            "taxon": {"id": 100, "name": "Erithacus rubecula", "rank": "species"},
            "user": {"id": 886482, "login": "niconoe", "name": "Nicolas Noé"},
            "photos": [
                {
                    "id": 24355315 + i,
                    "license_code": codes[i % 4],
                    "attribution": "(c) Nicolas Noé, some rights reserved (CC BY)",
                    "flags": [],
                    "original_dimensions": {"width": 1445, "height": 1057},
                    "url": url.rpartition("/")[0] + f"/{i}/square.jpeg",
                }
            ],
        }
        for i, url in kept[(page - 1) * size : page * size]
    ]
    return handler.json({"total_results": len(kept), "page": page, "per_page": size, "results": results})


ROUTES: dict[str, Callable[[Handler], None]] = {
    "duckduckgo.com": duckduckgo,
    "www.bing.com": bing,
    "api.openverse.org": openverse,
    "commons.wikimedia.org": commons,
    "api.inaturalist.org": inaturalist,
}


# ---------------------------------------------------------------- photos, and what goes wrong with them


def photo(handler: Handler) -> None:
    """Answer a photo: `/LABEL/I.jpg`, or `/LABEL/I/large.jpeg` as iNaturalist names them."""
    from urllib.parse import unquote

    parts = [unquote(part) for part in handler.where.strip("/").split("/")]
    files = handler.standin.photos.get(parts[0])
    number = parts[1].partition(".")[0] if len(parts) > 1 else ""
    if files is None or not number.isdigit() or int(number) >= len(files):
        return handler.send(b"<html><body>Not found</body></html>", code=404)
    if handler.standin.latency:
        time.sleep(handler.standin.latency)
    source = files[int(number)]
    return handler.send(source if isinstance(source, bytes) else source.read_bytes(), "image/jpeg")


def status(code: int, **headers: str) -> Callable[[Handler], None]:
    """Answer with a status and nothing else."""
    return lambda handler: handler.send(b"", code=code, **headers)


def body(data: bytes, kind: str = "image/jpeg", **headers: str) -> Callable[[Handler], None]:
    """Answer with these bytes, whatever they are."""
    return lambda handler: handler.send(data, kind, **headers)


def hang(handler: Handler) -> None:
    """Take the request and never answer."""
    with contextlib.suppress(OSError):
        handler.connection.settimeout(60)
        while handler.connection.recv(4096):
            pass
    handler.close_connection = True


def slow(data: bytes, seconds: float) -> Callable[[Handler], None]:
    """Answer the first byte at once and the rest drop by drop."""

    def answer(handler: Handler) -> None:
        handler.send(b"", "image/jpeg", length=str(len(data)))
        step = max(1, len(data) // 20)
        for start in range(0, len(data), step):
            handler.wfile.write(data[start : start + step])
            time.sleep(seconds / 20)

    return answer


def cut(data: bytes) -> Callable[[Handler], None]:
    """Promise all bytes, send half, hang up."""

    def answer(handler: Handler) -> None:
        handler.send(data[: len(data) // 2], "image/jpeg", length=str(len(data)))
        handler.close_connection = True
        handler.connection.close()

    return answer


def redirect(to: str) -> Callable[[Handler], None]:
    return lambda handler: handler.send(b"", code=302, Location=to)


def gzip_bomb(megabytes: int) -> Callable[[Handler], None]:
    """Answer a few kB of gzip that unfold to many MB."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    packed = b"".join(packer.compress(bytes(1_000_000)) for _ in range(megabytes)) + packer.flush()
    return lambda handler: handler.send(packed, "image/jpeg", Content_Encoding="gzip")


def gzipped(data: bytes) -> Callable[[Handler], None]:
    packed = gzip.compress(data)
    return lambda handler: handler.send(packed, "image/jpeg", Content_Encoding="gzip")


def first(fault: Callable[[Handler], None], then: Callable[[Handler], None]) -> Callable[[Handler], None]:
    """Answer in one way the first time, and in another from then on."""
    answers = [fault]
    return lambda handler: (answers.pop() if answers else then)(handler)


def busy_then(times: int, then: Callable[[Handler], None], wait: str = "1") -> Callable[[Handler], None]:
    """Answer 429 some times, then properly."""
    left = [times]

    def answer(handler: Handler) -> None:
        if left[0] > 0:
            left[0] -= 1
            return handler.send(b"Too many requests", "text/plain", 429, Retry_After=wait)
        return then(handler)

    return answer


# ---------------------------------------------------------------- photos to serve


def class_photos(shared: Path, count: int = 60) -> dict[str, list[Path | bytes]]:
    """Return birds and forests of the real data where they are at hand, else digits: ones as birds, sevens as forests."""
    real = shared / "bird_or_not"
    if real.is_dir():
        return {name: list(sorted((real / name).iterdir())[:count]) for name in ("bird", "forest")}
    return {"bird": list(_digits(1, count)), "forest": list(_digits(7, count))}


def pictures(count: int, seed: int = 0, size: tuple[int, int] = (480, 360)) -> list[Path | bytes]:
    """Return JPEGs that look alike to nobody: clouds of noise, each its own."""
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(seed)
    made: list[Path | bytes] = []
    for _ in range(count):
        noise = Image.fromarray(random.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        buffer = io.BytesIO()
        noise.resize(size, Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
        made.append(buffer.getvalue())
    return made


def _digits(digit: int, count: int) -> Iterator[bytes]:
    from PIL import Image
    from sklearn.datasets import load_digits

    data = load_digits()
    for picture in data.images[data.target == digit][:count]:
        image = Image.fromarray((picture * 255 / 16).astype("uint8")).convert("RGB")
        buffer = io.BytesIO()
        image.resize((256, 256), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
        yield buffer.getvalue()


def main(folder: str) -> None:
    import tempfile

    photos: dict[str, list[Path | bytes]] = {
        place.name: sorted(file for file in place.iterdir() if file.is_file())
        for place in sorted(Path(folder).iterdir())
        if place.is_dir()
    }
    with StandIn(photos, Path(tempfile.mkdtemp())) as standin:
        for name, value in standin.environment().items():
            print(f"export {name}={value}", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main(sys.argv[1])
