"""Searching: each service's real answers are understood, failures are told in a line, and nobody is asked twice."""

from __future__ import annotations

import itertools
import os
import time

import pytest
import standin as net

from fastmagic.data.gather.engines import license_name
from fastmagic.data.gather.search import Ask, Search, choose, engines
from fastmagic.data.gather.web import SearchError, Web, advice
from fastmagic.errors import FastmagicError

HOSTS = {
    "duckduckgo": "duckduckgo.com",
    "bing": "www.bing.com",
    "openverse": "api.openverse.org",
    "commons": "commons.wikimedia.org",
    "inaturalist": "api.inaturalist.org",
}


def search(names, web=None, query="bird photo", subject="bird", **options):
    said = []
    found = Search(
        "bird", [(query, subject)], choose(names, options.get("open_only", False)), web or Web(), said.append, **options
    )
    return found, said


@pytest.mark.parametrize("name", HOSTS)
def test_every_service_is_understood_page_after_page_each_photo_once(internet, name):
    found, said = search(name)
    urls = [hit.hit.url for hit in found]
    wanted = internet.urls("bird")
    if name == "inaturalist":  # its photos are named by their size
        wanted = [url.replace(".jpg", "/large.jpeg") for url in wanted]
    assert urls == wanted
    assert said == []
    assert len(internet.requests_to(HOSTS[name])) >= 2


def test_services_say_where_a_photo_comes_from_and_who_made_it(internet):
    by_name = {name: engines()[name].search(Ask("bird photo", "bird"), Web())[0] for name in HOSTS}
    assert (
        by_name["duckduckgo"].page
        == by_name["bing"].page.replace("1.html", "0.html")
        == "https://pages.example.org/0.html"
    )
    assert (by_name["openverse"].author, by_name["openverse"].license) == ("Photographer 0", "CC BY 2.0")
    assert (by_name["commons"].author, by_name["commons"].license) == ("Ann & 0", "CC BY-SA 4.0")
    assert by_name["commons"].page == "https://commons.wikimedia.org/wiki/File:Photo_0.jpg"
    assert (by_name["inaturalist"].author, by_name["inaturalist"].license) == ("Nicolas Noé", "CC BY")


@pytest.mark.parametrize("name", ["openverse", "commons", "inaturalist"])
def test_open_only_leaves_out_what_may_not_be_used_by_anybody(internet, name):
    found, _ = search(name, open_only=True)
    licences = {hit.hit.license for hit in found}
    assert licences
    assert all(not any(word in licence for word in ("NC", "ND", "GFDL", "reserved")) for licence in licences)


@pytest.mark.parametrize("name", HOSTS)
@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (net.status(403), "refused", "refuses requests from here (answers 403)"),
        (net.status(429, Retry_After="3600"), "busy", "asks to wait 3600 s"),
        (net.status(500), "refused", "answers 500"),
    ],
)
def test_a_refusal_is_told_with_the_services_name_and_the_next_one_is_asked(internet, name, answer, kind, words):
    internet.faults[HOSTS[name]] = answer
    other = "commons" if name != "commons" else "openverse"
    found, said = search(f"{name},{other}")
    assert next(iter(found)).engine == other
    assert [problem.kind for problem in found.problems] == [kind]
    assert len(said) == 1
    assert said[0].startswith(engines()[name].title)
    assert words in said[0]


@pytest.mark.parametrize("name", ["openverse", "commons", "inaturalist"])
@pytest.mark.parametrize("body", [b"<html>Hello</html>", b'{"something": "else"}', b"[1, 2]"])
def test_an_answer_of_another_shape_is_said_to_be_one(internet, name, body):
    internet.faults[HOSTS[name]] = net.body(body, "application/json")
    with pytest.raises(SearchError, match="not understood"):
        engines()[name].search(Ask("bird photo", "bird"), Web())


def test_a_page_that_ddgs_cannot_read_is_said_to_be_one(internet):
    internet.faults["duckduckgo.com"] = net.body(b"<html>a new front page</html>", "text/html")
    with pytest.raises(SearchError, match="a newer one may"):
        engines()["duckduckgo"].search(Ask("bird photo", "bird"), Web())


def test_commons_own_way_of_saying_slow_down(internet):
    internet.faults["commons.wikimedia.org"] = net.body(
        b'{"error": {"code": "ratelimited", "info": "slow down"}}', "application/json"
    )
    with pytest.raises(SearchError, match="ratelimited") as caught:
        engines()["commons"].search(Ask("bird photo", "bird"), Web())
    assert caught.value.kind == "busy"


@pytest.mark.parametrize("name", ["openverse", "commons"])
def test_a_service_that_answers_drop_by_drop_is_given_up(internet, monkeypatch, name):
    monkeypatch.setattr("fastmagic.data.gather.web.LONGEST_ANSWER", 1.0)
    internet.faults[HOSTS[name]] = net.slow(b" " * 1_000_000, 20)
    started = time.monotonic()
    with pytest.raises(SearchError, match="does not answer in time"):
        engines()[name].search(Ask("bird photo", "bird"), Web())
    assert time.monotonic() - started < 10  # of the twenty that the whole answer takes


def test_a_service_that_answers_without_end_is_given_up(internet, monkeypatch):
    monkeypatch.setattr("fastmagic.data.gather.web.LARGEST_ANSWER", 100_000)
    internet.faults["api.openverse.org"] = net.body(b" " * 1_000_000, "application/json")
    with pytest.raises(SearchError, match="far too long"):
        engines()["openverse"].search(Ask("bird photo", "bird"), Web())


def test_services_are_told_who_asks_and_where_to_complain(internet):
    agents = []

    def answer(handler):
        agents.append(handler.headers["User-Agent"])
        net.commons(handler)

    internet.faults["commons.wikimedia.org"] = answer
    assert engines()["commons"].search(Ask("bird photo", "bird"), Web())
    assert all("fastmagic/" in agent and "+https://" in agent for agent in agents)


def test_a_short_wait_that_a_service_asks_for_is_waited(internet):
    internet.faults["api.openverse.org"] = net.busy_then(1, net.openverse, wait="1")
    started = time.monotonic()
    assert len(engines()["openverse"].search(Ask("bird photo", "bird"), Web())) == 20
    assert time.monotonic() - started >= 1


def test_the_end_of_openverses_pages_is_no_failure(internet):
    def answer(handler):
        return net.status(404)(handler) if handler.one("page") == "3" else net.openverse(handler)

    internet.faults["api.openverse.org"] = answer
    found, said = search("openverse")
    assert len(list(found)) == 40
    assert said == []


def test_classes_searched_side_by_side_share_a_services_patience(internet):
    import threading

    web, turns = Web(), []
    web.wait = lambda seconds: turns.append(time.monotonic() + seconds)
    threads = [
        threading.Thread(target=web.json, args=("https://api.openverse.org/v1/images/", {"q": f"bird {i}"}, 5.0))
        for i in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    turns.sort()
    assert len(turns) == 4
    assert all(later - sooner > 4 for sooner, later in itertools.pairwise(turns))


def test_no_hits_is_told_for_each_service(internet):
    found, said = search(None, query="zebra photo", subject="zebra")
    assert list(found) == []
    assert len(said) == 5
    assert "DuckDuckGo has nothing for 'zebra photo'." in said
    assert "iNaturalist knows no species called 'zebra'." in said


def test_a_second_search_asks_nobody(internet):
    first = [hit.hit for hit in search("bing")[0]]
    before = len(internet.asked)
    assert [hit.hit for hit in search("bing")[0]] == first
    assert len(internet.asked) == before


def test_a_refusal_is_not_remembered(internet):
    internet.faults["www.bing.com"] = net.status(403)
    assert list(search("bing")[0]) == []
    internet.faults.clear()
    assert len(list(search("bing")[0])) == 40


def test_an_empty_page_may_be_a_refusal_and_is_asked_for_again_after_an_hour(internet, tmp_path):
    real = net.ROUTES["www.bing.com"]

    def first_page_alone(handler):
        return real(handler) if int(handler.one("first", "1")) == 1 else handler.send(b"<div></div>")

    internet.faults["www.bing.com"] = first_page_alone
    assert len(list(search("bing")[0])) < 40
    internet.faults.clear()
    for file in (tmp_path / "cache" / "fastmagic" / "search").iterdir():
        os.utime(file, (time.time() - 3700,) * 2)
    before = len(internet.asked)
    assert len(list(search("bing")[0])) == 40
    assert all("first=1&" not in path for _, path in internet.asked[before:])  # what was found is kept


def test_a_damaged_answer_on_disk_is_asked_for_again(internet, tmp_path):
    list(search("bing")[0])
    for file in (tmp_path / "cache" / "fastmagic" / "search").iterdir():
        file.write_text('{"torn": ')
    assert len(list(search("bing")[0])) == 40


def test_several_searches_for_a_class_are_mixed_and_each_photo_comes_once(internet):
    asked = [("bird photo", "bird"), ("forest photo", "forest"), ("bird in a tree", "bird in a tree")]
    found = list(Search("bird", asked, choose("duckduckgo", False), Web(), print))
    assert [hit.query for hit in found[:4]] == ["bird photo", "forest photo", "bird photo", "forest photo"]
    assert len(found) == len({hit.hit.url for hit in found}) == 80


def test_a_service_of_an_installed_package_is_found(internet, tmp_path, monkeypatch):
    package = tmp_path / "site"
    (package / "mine-1.0.dist-info").mkdir(parents=True)
    (package / "mine-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (package / "mine-1.0.dist-info" / "entry_points.txt").write_text("[fastmagic.search]\nmine = mine_engine:Mine\n")
    (package / "mine_engine.py").write_text(
        "from fastmagic.data.gather.search import Hit\n"
        "class Mine:\n"
        "    name, title, knows_licenses = 'mine', 'My own', False\n"
        "    def search(self, ask, web):\n"
        "        return [Hit('https://photos0.example.org/bird/0.jpg')] if ask.page == 1 else []\n"
    )
    monkeypatch.syspath_prepend(str(package))
    assert [hit.hit.url for hit in search("mine")[0]] == ["https://photos0.example.org/bird/0.jpg"]
    assert list(engines())[-1] == "mine"


def test_a_service_that_breaks_down_is_told_and_the_next_one_is_asked(internet):
    class Broken:
        name, title, knows_licenses = "broken", "My own", False

        def search(self, ask, web):
            raise KeyError("image")

    said = []
    found = list(Search("bird", [("bird photo", "bird")], [Broken(), *choose("bing", False)], Web(), said.append))
    assert len(found) == 40
    assert said == ["My own fails (KeyError: 'image')."]


def test_an_unknown_service_is_answered_with_the_closest(internet):
    with pytest.raises(FastmagicError, match="Did you mean 'openverse'"):
        choose("openvers", False)
    with pytest.raises(FastmagicError, match="does not say licences"):
        choose("bing", True)


def test_without_a_way_out_the_cause_is_told(tmp_path, monkeypatch):
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SearchError) as proxy:
        Web(proxy="http://127.0.0.1:9").json("https://api.openverse.org/v1/images/", {})
    assert proxy.value.kind == "proxy"
    with pytest.raises(SearchError) as nobody:
        Web().json("https://nobody.invalid/", {})
    assert nobody.value.kind == "unreachable"


def test_a_certificate_that_is_not_trusted_is_told_as_such(internet, monkeypatch):
    for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name)
    with pytest.raises(SearchError) as caught:
        engines()["openverse"].search(Ask("bird photo", "bird"), Web())
    assert caught.value.kind == "certificate"
    assert "ca_bundle" in advice({"certificate"}, Web())
    # The setting mends it.
    assert engines()["openverse"].search(Ask("bird photo", "bird"), Web(ca_bundle=internet.ca_file))


def test_on_kaggle_the_switch_is_named(monkeypatch):
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Interactive")
    assert "Settings → Internet" in advice({"unreachable"}, Web())


def test_licences_have_one_name_each():
    assert license_name("by", "4.0") == "CC BY 4.0"
    assert license_name("Public domain") == license_name("pdm", "1.0") == "public domain"
