"""The search services: DuckDuckGo and Bing through `ddgs`, Openverse, Wikimedia Commons, and iNaturalist for species."""

from __future__ import annotations

import html
import re
from typing import Any

from .search import Ask, Engine, Hit
from .web import SearchError, Web, no_answer, retry_after

# The licences of "free cultural works" (https://creativecommons.org/public-domain/freeworks/): no NC, no ND.
OPEN = ("cc0", "pdm", "by", "by-sa")


class Ddgs:
    """A web search through the `ddgs` package, which looks like a browser to the service and knows its answers.

    `ddgs` says only "No results found" when a service refuses; what the service answered is read from the
    engine's own HTTP client where that can be reached (ddgs ≥ 9).
    """

    knows_licenses = False

    def __init__(self, name: str, title: str, address: str):
        self.name, self.title, self.address = name, title, address

    def search(self, ask: Ask, web: Web) -> list[Hit]:
        try:
            from ddgs import DDGS
            from ddgs.exceptions import DDGSException
        except ImportError as error:
            raise SearchError("needs the package ddgs (pip install ddgs)", "shape") from error
        client = DDGS(proxy=web.proxy_for(self.address), timeout=10, verify=web.ca_bundle or True)
        answers = _watch(client, self.name)
        try:
            found = client.images(ask.query, backend=self.name, page=ask.page, max_results=None)
        except DDGSException as error:
            raise_for(answers)
            if "No results found" in str(error):
                return []
            if not answers:
                raise no_answer(error) from error
            raise SearchError(
                "answers in a form that ddgs does not understand (a newer one may: pip install -U ddgs)", "shape"
            ) from error
        return [
            Hit(url=hit.get("image") or "", page=hit.get("url") or "", title=hit.get("title") or "") for hit in found
        ]


def _watch(client: Any, name: str) -> list[tuple[int, str | None]]:
    """Note (status, Retry-After) of every answer that an engine of ddgs gets; nothing where its insides differ."""
    answers: list[tuple[int, str | None]] = []
    try:
        engine = client._get_engines("images", name)[0]
        inner = engine.http_client
        request = inner.request

        def noted(*args: Any, **options: Any) -> Any:
            answer = request(*args, **options)
            headers = getattr(getattr(answer, "_resp", None), "headers", None) or {}
            answers.append((answer.status_code, headers.get("retry-after")))
            return answer

        inner.request = noted
    except (AttributeError, IndexError, TypeError):
        return []
    return answers


def raise_for(answers: list[tuple[int, str | None]]) -> None:
    """Raise what the last of some (status, Retry-After) answers means, if it is no 200."""
    if not answers or answers[-1][0] == 200:
        return
    status, wait = answers[-1]
    if status in (429, 503):
        seconds = retry_after(wait, 0)
        raise SearchError(f"is busy (answers {status}{f'; asks to wait {seconds:.0f} s' if seconds else ''})", "busy")
    if status in (202, 401, 403, 418):  # DuckDuckGo says 202 or 403 to those it takes for robots
        raise SearchError(f"refuses requests from here (answers {status})")
    raise SearchError(f"answers {status}")


class Openverse:
    """Openverse, 800 million openly licensed works: https://api.openverse.org/v1/ (20 a page without a key)."""

    name, title, knows_licenses = "openverse", "Openverse", True
    address = "https://api.openverse.org/v1/images/"

    def search(self, ask: Ask, web: Web) -> list[Hit]:
        params = {"q": ask.subject, "page": ask.page, "page_size": 20}
        if ask.open_only:
            params["license"] = ",".join(OPEN)
        try:
            # Without a key: one request a second, and no more than twenty a minute.
            found = _list(web.json(self.address, params, pause=1.0 if ask.page <= 8 else 3.0), "results")
        except SearchError as problem:
            if ask.page > 1 and problem.status in (400, 401, 404):  # its way of saying that there are no more pages
                return []
            raise
        return [
            Hit(
                url=_text(work.get("url")),
                page=_text(work.get("foreign_landing_url")),
                title=_text(work.get("title")),
                author=_text(work.get("creator")),
                license=license_name(_text(work.get("license")), _text(work.get("license_version"))),
                license_url=_text(work.get("license_url")),
            )
            for work in found
            if not ask.open_only or work.get("license") in OPEN
        ]


class Commons:
    """Wikimedia Commons: https://commons.wikimedia.org/w/api.php, `generator=search` with `prop=imageinfo`."""

    name, title, knows_licenses = "commons", "Wikimedia Commons", True
    address = "https://commons.wikimedia.org/w/api.php"
    page_size = 50
    widths = (
        500,
        960,
        1280,
        1920,
    )  # the sizes Wikimedia keeps ready: https://www.mediawiki.org/wiki/Common_thumbnail_sizes

    def search(self, ask: Ask, web: Web) -> list[Hit]:
        params: dict[str, Any] = {
            "action": "query",
            "format": "json",
            "formatversion": 2,
            "generator": "search",
            "gsrsearch": f"filetype:bitmap {ask.subject}",
            "gsrnamespace": 6,
            "gsrlimit": self.page_size,
            "gsroffset": self.page_size * (ask.page - 1),
            "prop": "imageinfo",
            "iiprop": "url|size|mime|extmetadata",
            "iiextmetadatafilter": "Artist|LicenseShortName|LicenseUrl|ObjectName",
            "iiurlwidth": next((width for width in self.widths if width >= 2 * ask.size), self.widths[-1]),
        }
        answer = web.json(self.address, params, pause=0.5)
        if isinstance(answer, dict) and "error" in answer:
            code = _text((answer["error"] or {}).get("code"))
            raise SearchError(
                f"answers with an error ({code})", "busy" if code in ("ratelimited", "maxlag") else "shape"
            )
        if isinstance(answer, dict) and "query" not in answer and "batchcomplete" in answer:
            return []  # its way of saying that nothing was found
        pages = _list(answer.get("query") if isinstance(answer, dict) else None, "pages")
        found = []
        for page in sorted(pages, key=lambda page: page.get("index", 0)):
            info = (page.get("imageinfo") or [{}])[0]
            if not _text(info.get("mime")).startswith("image/"):
                continue
            data = {name: _text((value or {}).get("value")) for name, value in (info.get("extmetadata") or {}).items()}
            name = license_name(plain(data.get("LicenseShortName", "")))
            if ask.open_only and not is_open(name):
                continue
            found.append(
                Hit(
                    url=_text(info.get("thumburl") or info.get("url")),
                    page=_text(info.get("descriptionurl")),
                    title=plain(data.get("ObjectName", "")) or _text(page.get("title")).removeprefix("File:"),
                    author=plain(data.get("Artist", "")),
                    license=name,
                    license_url=data.get("LicenseUrl", ""),
                )
            )
        return found


class INaturalist:
    """iNaturalist's observations of one species (or family, order, …): https://api.inaturalist.org/v1/docs/."""

    name, title, knows_licenses = "inaturalist", "iNaturalist", True
    address = "https://api.inaturalist.org/v1"

    def __init__(self) -> None:
        self._taxa: dict[str, int | None] = {}

    def search(self, ask: Ask, web: Web) -> list[Hit]:
        if ask.subject not in self._taxa:
            self._taxa[ask.subject] = self._taxon(ask.subject, web)
        taxon = self._taxa[ask.subject]
        if taxon is None:
            raise SearchError(f"knows no species called {ask.subject!r}", "empty")
        params: dict[str, Any] = {
            "taxon_id": taxon,
            "photos": "true",
            "quality_grade": "research",
            "per_page": 100,
            "page": ask.page,
        }
        if ask.open_only:
            params["photo_license"] = "cc0,cc-by,cc-by-sa"
        found = []
        # One photo of an observation: the others show the same animal a second later.
        for observation in _list(web.json(f"{self.address}/observations", params, pause=1.0), "results"):
            photo = (observation.get("photos") or [{}])[0]
            code = _text(photo.get("license_code")).removeprefix("cc-")
            if not photo.get("url") or (ask.open_only and code not in OPEN):
                continue
            user = observation.get("user") or {}
            species = (observation.get("taxon") or {}).get("name")
            found.append(
                Hit(
                    url=re.sub(r"/square\.", "/large." if ask.size <= 1024 else "/original.", photo["url"]),
                    page=_text(observation.get("uri")),
                    title=_text(species),
                    author=_text(user.get("name") or user.get("login")),
                    license=license_name(code) if code else "all rights reserved",
                )
            )
        return found

    def _taxon(self, words: str, web: Web) -> int | None:
        answer = web.json(f"{self.address}/taxa/autocomplete", {"q": words, "per_page": 5}, pause=1.0)
        for taxon in _list(answer, "results"):
            names = (taxon.get("name"), taxon.get("preferred_common_name"), taxon.get("matched_term"))
            if any(_singular(_text(name)) == _singular(words) for name in names) and isinstance(taxon.get("id"), int):
                return int(taxon["id"])
        return None


ENGINES: tuple[Engine, ...] = (
    Ddgs("duckduckgo", "DuckDuckGo", "https://duckduckgo.com/i.js"),
    Ddgs("bing", "Bing", "https://www.bing.com/images/async"),
    Openverse(),
    Commons(),
    INaturalist(),
)


def license_name(code: str, version: str = "") -> str:
    """Return a licence under its usual name.

    >>> license_name("by-sa", "2.0"), license_name("cc0", "1.0"), license_name("pdm"), license_name("CC BY 4.0")
    ('CC BY-SA 2.0', 'CC0 1.0', 'public domain', 'CC BY 4.0')
    """
    low = code.lower().strip()
    if low in ("pdm", "pd", "public domain", "no restrictions", "copyrighted free use"):
        return "public domain"
    if low == "cc0":
        return f"CC0 {version}".strip()
    if re.fullmatch(r"by(-nc)?(-nd|-sa)?", low):
        return f"CC {low.upper()} {version}".strip()
    return code.strip()


def is_open(name: str) -> bool:
    """Tell whether a licence lets anybody use and change the work: public domain, CC0, CC BY, CC BY-SA.

    >>> [is_open(name) for name in ("CC BY-SA 4.0", "CC0", "public domain", "CC BY NC 2.0", "", "GFDL")]
    [True, True, True, False, False, False]
    """
    words = re.split(r"[\s-]+", name.lower().strip())
    if words[0] in ("cc0", "pd") or words[:2] == ["public", "domain"]:
        return True
    return words[:2] == ["cc", "by"] and not {"nc", "nd"} & set(words)


def plain(text: str) -> str:
    """Return text without HTML, on one line: Commons gives authors as links.

    >>> plain('<a href="//example.org/u">Ann &amp; Bob</a>')
    'Ann & Bob'
    """
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", text)).split())[:300]


def _singular(name: str) -> str:
    return name.strip().lower().removesuffix("s")


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""


def _list(answer: Any, name: str) -> list[dict[str, Any]]:
    found = answer.get(name) if isinstance(answer, dict) else None
    if not isinstance(found, list):
        raise SearchError(f"answers in a form that is not understood (no list of {name})", "shape")
    return [entry for entry in found if isinstance(entry, dict)]
