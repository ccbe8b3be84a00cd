"""The cups' pages in a real browser: three phones and a board that see each other, offline and back, keys, small screens."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from cups_server import Server, token
from front_ends import SCREENSHOTS
from playwright.sync_api import Page, expect

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PHONE = {"width": 390, "height": 760}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("cups"))
    yield server
    server.close()


class People:
    """Visitors, each with a browser of their own; what their pages complain of is kept."""

    def __init__(self, browser: Browser, server: Server):
        self.browser, self.server, self.made = browser, server, server.make()
        self.contexts: list[Any] = []
        self.complaints: list[str] = []
        self.asked: list[str] = []

    def open(self, path: str, size: dict[str, int] = PHONE, **options: Any) -> Page:
        context = self.browser.new_context(viewport=size, **options)
        self.contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: said.type == "error" and self.complaints.append(said.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))
        page.goto(self.server.address + path)
        return page

    def student(self, **options: Any) -> Page:
        page = self.open(f"{self.made['room']}/", **options)
        expect(cup(page, "I'm fine")).to_be_enabled()
        return page

    def teacher(self, size: tuple[int, int] = (1280, 720), **options: Any) -> Page:
        width, height = size
        path = f"{self.made['room']}/teacher#{self.made['secret']}"
        return self.open(path, {"width": width, "height": height}, **options)


@pytest.fixture
def people(browser: Browser, server: Server) -> Iterator[People]:
    people = People(browser, server)
    yield people
    for context in people.contexts:
        context.close()


def cup(page: Page, words: str) -> Any:
    return page.get_by_role("radio", name=re.compile(re.escape(words)))


def counts(board: Page, *wanted: int) -> None:
    expect(board.locator(".count b")).to_have_text([str(count) for count in wanted])


def accessible(page: Page) -> None:
    """Contrast, names, roles: what axe-core finds wrong by the rules of WCAG 2.1 A and AA."""
    rules = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"], "resultTypes": ["violations"]}
    found = Axe().run(page, options=rules).response["violations"]
    assert [(one["id"], node["html"], node["failureSummary"]) for one in found for node in one["nodes"]] == []


def picture(page: Page, name: str) -> None:
    SCREENSHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"cups-{name}.png", full_page=True)


def test_three_phones_and_the_board_see_each_other(people: People):
    board = people.teacher()
    counts(board, 0, 0, 0)
    assert people.made["secret"] not in board.url, "the secret does not stay in the address"
    ann, ben, cem = (people.student() for _ in range(3))
    cup(ann, "I'm fine").click()
    cup(ben, "Not sure").click()
    cup(cem, "I'm lost").click()
    for page, words in ((ann, "I'm fine"), (ben, "Not sure"), (cem, "I'm lost")):
        expect(cup(page, words)).to_contain_text("✓ arrived")
    counts(board, 1, 1, 1)
    cem.get_by_label(re.compile("What lost you")).fill("What is <b>a batch</b>?")
    cem.get_by_role("button", name="Send").click()
    expect(cem.get_by_text("Sent.")).to_be_visible()
    expect(board.locator(".notes li")).to_contain_text("What is <b>a batch</b>?")
    picture(board, "board")
    cup(cem, "I'm fine").click()
    expect(board.locator(".notes li")).to_have_count(0)
    counts(board, 2, 1, 0)
    board.get_by_role("button", name="Pause").click()
    expect(cup(ann, "Not sure")).to_be_disabled()
    expect(ann.get_by_text("The teacher has paused the cups.")).to_be_visible()
    board.get_by_role("button", name="Go on").click()
    expect(cup(ann, "Not sure")).to_be_enabled()
    board.get_by_role("button", name="All green").click()
    counts(board, 3, 0, 0)
    expect(cup(ben, "I'm fine")).to_have_attribute("aria-checked", "true")
    assert people.complaints == []
    assert {url.split("/")[2] for url in people.asked} == {people.server.address.split("/")[2]}


def test_too_many_red_cups_shout_and_stop_shouting(people: People):
    board, ann, ben = people.teacher(permissions=["notifications"]), people.student(), people.student()
    board.get_by_text("When it shouts").click()
    for words, value in (("More than", "40"), ("for", "0")):
        field = board.get_by_label(words)
        field.fill(value)
        field.press("Enter")
    board.get_by_role("button", name="Sound").click()
    board.evaluate("""() => {
        window.shouts = [];
        window.Notification = class { static permission = "granted"; constructor(text) { shouts.push(text); } };
    }""")
    cup(ann, "I'm lost").click()
    expect(board.get_by_text("⚠ 1 of 1 are lost")).to_be_visible()
    expect(board.locator("#board")).to_have_class(re.compile("alert"))
    assert board.evaluate("shouts") == ["1 of 1 are lost"]
    picture(board, "alert")
    cup(ben, "I'm fine").click()
    cup(ann, "I'm fine").click()
    expect(board.locator("#board")).not_to_have_class(re.compile("alert"))


def test_the_lesson_is_looked_back_at(people: People):
    ann = token()
    for name in ("Tensors", "Batches"):
        people.server.act(people.made, "mark", name)
    people.server.tap(people.made["room"], ann, "red")
    people.server.post(f"{people.made['room']}/do", {"do": "note", "text": "what is a batch?", "token": ann})
    people.server.act(people.made, "ask", {"question": "Which?", "answers": ["a", "b"]})
    board = people.teacher()
    counts(board, 0, 0, 1)
    board.wait_for_timeout(2100)  # of the lesson: the second tap is another point of the history
    people.server.tap(people.made["room"], ann, "green")
    counts(board, 1, 0, 0)
    board.get_by_role("button", name="Look back").click()
    handle = board.get_by_role("slider", name="Time of the lesson")
    handle.press("Home")
    for _ in range(20):
        handle.press("ArrowRight")
    counts(board, 0, 0, 1)
    expect(board.get_by_text(re.compile("As it was at .*: 1 of 1 cup active"))).to_be_visible()
    expect(board.locator(".notes li")).to_have_text(["what is a batch?"])  # and no button in the past
    people.server.tap(people.made["room"], token(), "yellow")
    picture(board, "back")
    accessible(board)
    board.get_by_role("button", name="Play").click()
    counts(board, 1, 0, 0)  # it comes to the second tap by itself, and to the third
    counts(board, 1, 1, 0)
    board.get_by_role("button", name="Look back").click()
    counts(board, 1, 1, 0)
    expect(board.get_by_role("button", name="New question")).to_be_visible()
    box = board.locator("canvas").bounding_box()
    board.mouse.click(box["x"] + 3, box["y"] + 50)
    counts(board, 0, 0, 1)
    assert people.complaints == []


def test_a_reload_and_a_lost_connection_keep_the_cup(people: People):
    ann, board = people.student(), people.teacher()
    cup(ann, "Not sure").click()
    expect(cup(ann, "Not sure")).to_contain_text("✓ arrived")
    ann.reload()
    expect(cup(ann, "Not sure")).to_have_attribute("aria-checked", "true")
    people.server.kill()
    expect(ann.get_by_text("Connection lost. Reconnecting…")).to_be_visible()
    expect(cup(ann, "I'm lost")).to_be_disabled()
    expect(board.get_by_text("Connection lost. Reconnecting…")).to_be_visible()
    picture(ann, "offline")
    people.server.start()
    expect(cup(ann, "I'm lost")).to_be_enabled()
    expect(cup(ann, "Not sure")).to_have_attribute("aria-checked", "true")
    cup(ann, "I'm lost").click()
    counts(board, 0, 0, 1)


def test_where_no_websocket_comes_about_plain_requests_do(people: People):
    ann = people.browser.new_context(viewport=PHONE)
    people.contexts.append(ann)
    page = ann.new_page()
    page.add_init_script(
        "window.WebSocket = class { constructor() { setTimeout(() => this.onclose?.(), 1); } close() {} };"
    )
    page.goto(f"{people.server.address}{people.made['room']}/")
    expect(cup(page, "I'm lost")).to_be_enabled()
    cup(page, "I'm lost").click()
    expect(cup(page, "I'm lost")).to_contain_text("✓ arrived")
    assert people.server.board(people.made)["counts"]["red"] == 1
    people.server.act(people.made, "reset")
    expect(cup(page, "I'm fine")).to_have_attribute("aria-checked", "true")


def test_by_keys_alone_and_as_a_screen_reader_tells_it(people: People):
    page = people.student()
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(cup(page, "I'm lost")).to_have_attribute("aria-checked", "true")
    expect(cup(page, "I'm lost")).to_contain_text("arrived")
    page.keyboard.press("Tab")
    page.keyboard.type("the loss")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").filter(has_text="Sent.")).to_be_visible()
    assert people.server.board(people.made)["notes"][0]["text"] == "the loss"
    expect(page.get_by_role("radiogroup", name="Your cup").get_by_role("radio")).to_have_count(3)


def test_a_question_is_asked_answered_and_shown_when_it_ends(people: People):
    board, ann, ben = people.teacher(), people.student(), people.student()
    board.get_by_role("button", name="Ask a question").click()
    board.get_by_label("Question").fill("Which loss?")
    board.get_by_label("Answer 1").fill("MSE")
    board.get_by_label("Answer 2").fill("cross entropy")
    people.server.tap(people.made["room"], "x" * 20, "green")  # what moves on the board meanwhile wipes no draft
    counts(board, 1, 0, 0)
    board.get_by_role("button", name="Ask", exact=True).click()
    for page in (ann, ben):
        page.get_by_role("radio", name="cross entropy").click()
        expect(page.locator(".answer .share")).to_have_count(0)
    expect(board.get_by_text("2 of 2 have answered")).to_be_visible()
    ann.get_by_role("radio", name="MSE").click()
    expect(ann.get_by_role("radio", name="MSE")).to_have_attribute("aria-checked", "true")
    expect(board.locator(".bar-row .share")).to_have_count(0)
    board.get_by_role("button", name="End and show").click()
    for page, bars in ((ben, ".answer .share"), (board, ".bar-row .share")):
        expect(page.locator(bars)).to_have_text(["1 · 50 %", "1 · 50 %"])
    expect(ben.get_by_role("radio", name="MSE")).to_be_disabled()
    picture(ben, "poll")
    picture(board, "board-poll")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_fit_small_and_large_screens(people: People, scheme: str):
    for width in (320, 390, 1280):
        page = people.student(size={"width": width, "height": 640}, color_scheme=scheme)
        cup(page, "I'm lost").click()
        expect(cup(page, "I'm lost")).to_contain_text("arrived")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert (
            page.evaluate(
                "Math.min(...[...document.querySelectorAll('.cup')].map(e => e.getBoundingClientRect().height))"
            )
            >= 64
        )
        accessible(page)
        picture(page, f"student-{scheme}-{width}")
    for size in ((390, 800), (1280, 720)):
        board = people.teacher(size, color_scheme=scheme)
        counts(board, 0, 0, 3)
        assert board.evaluate("document.documentElement.scrollWidth") <= size[0]
        accessible(board)
        picture(board, f"board-{scheme}-{size[0]}")


def test_what_a_phone_loads_is_small(people: People):
    sizes: list[int] = []
    context = people.browser.new_context(viewport=PHONE)
    people.contexts.append(context)
    page = context.new_page()
    page.on("response", lambda response: sizes.append(len(response.body())))
    page.goto(f"{people.server.address}{people.made['room']}/")
    expect(cup(page, "I'm fine")).to_be_enabled()
    assert 3 <= len(sizes) <= 6
    assert sum(sizes) < 30_000


def test_a_room_that_is_not_there_says_so(people: People):
    page = people.open("no-such-room/")
    expect(page.get_by_role("heading", name="There is no such room")).to_be_visible()
    page = people.open("")
    page.get_by_label("The teacher says its name.").fill(people.made["room"].upper())
    page.get_by_role("button", name="Enter").click()
    expect(cup(page, "I'm fine")).to_be_enabled()
    page = people.open(f"{people.made['room']}/teacher#wrong")
    expect(page.get_by_text("not this room's secret")).to_be_visible()
