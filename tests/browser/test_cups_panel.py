"""The cups beside the cells, in every front end: phones and the teacher's panel see each other."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from front_ends import WIDGET, FrontEnd
from playwright.sync_api import Locator, Page, expect

from fastmagic.classroom.client import Lesson

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The user's folder of all kernels here: they share one server, which ends with the last test."""
    folder = tmp_path_factory.mktemp("data")
    yield folder
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        os.kill(json.loads((folder / "fastmagic/cups.db.json").read_text())["pid"], signal.SIGKILL)


@pytest.fixture
def phones(browser: Browser) -> Iterator[list[Page]]:
    contexts = [browser.new_context(viewport={"width": 390, "height": 760}) for _ in range(3)]
    yield [context.new_page() for context in contexts]
    for context in contexts:
        context.close()


def cells(data: Path, *more: str) -> list[str]:
    return [f"%load_ext fastmagic\nimport os\nos.environ['XDG_DATA_HOME'] = {str(data)!r}", *more]


def counts(output: Locator, *wanted: int) -> None:
    expect(output.locator(".count b")).to_have_text([str(count) for count in wanted])


def tap(page: Page, words: str) -> None:
    button = page.get_by_role("radio", name=re.compile(re.escape(words)))
    button.click()
    expect(button).to_contain_text("✓ arrived")


def test_phones_and_the_panel_see_each_other_everywhere(front_end: FrontEnd, data: Path, phones: list[Page]):
    room = f"class-{front_end.name.replace('_', '-')}"
    shown = front_end.open(cells(data, f"%cups {room}"))
    shown.run_all()
    shown.show(1)
    output = shown.output(1)
    counts(output, 0, 0, 0)
    link = output.locator(".join").get_by_text(re.compile(f"/{room}/")).inner_text()
    for page, words in zip(phones, ("I'm fine", "Not sure", "I'm lost"), strict=True):
        page.goto(link)
        tap(page, words)
    counts(output, 1, 1, 1)
    phones[2].get_by_label(re.compile("What lost you")).fill("<b>batches</b>")
    phones[2].get_by_role("button", name="Send").click()
    expect(output.locator(".notes li")).to_contain_text("<b>batches</b>")
    assert output.locator(".join img").evaluate("async e => { await e.decode(); return e.naturalWidth }") > 50
    shown.screenshot("cups")
    output.get_by_role("button", name="All green").click()
    counts(output, 3, 0, 0)
    expect(phones[2].get_by_role("radio", name=re.compile("I'm fine"))).to_have_attribute("aria-checked", "true")
    assert [url for url in shown.foreign if not url.startswith(link)] == []
    assert shown.console == []


def test_a_question_is_typed_into_the_panel_and_the_whole_page_opens(lab: FrontEnd, data: Path, phones: list[Page]):
    shown = lab.open(cells(data, "%cups asking"), dark=True)
    shown.run_all()
    output = shown.output(1)
    counts(output, 0, 0, 0)
    output.get_by_role("button", name="Ask a question").click()
    for words, text in (("Question", "Which?"), ("Answer 1", "x"), ("Answer 2", "d d")):
        output.get_by_label(words).click()
        shown.page.keyboard.type(text)  # single letters are shortcuts of the notebook
    output.get_by_role("button", name="Ask", exact=True).click()
    phones[0].goto(output.locator(".join").get_by_text(re.compile("/asking/")).inner_text())
    phones[0].get_by_role("radio", name="d d").click()
    expect(output.get_by_text("1 of 1 have answered")).to_be_visible()
    output.get_by_role("button", name="End and show").click()
    expect(output.locator(".bar-row .share")).to_have_text(["0 · 0 %", "1 · 100 %"])
    tap(phones[0], "I'm lost")
    counts(output, 0, 0, 1)
    shown.screenshot("cups-asking")
    with output.page.context.expect_page() as opened:
        output.get_by_role("link", name="Whole page").click()
    counts(opened.value.locator("body"), 0, 0, 1)
    opened.value.close()
    assert shown.console == []


@pytest.mark.parametrize("kind", ["rise", "lab_rise"])
def test_a_slide_that_is_turned_to_becomes_a_mark(front_ends, kind: str, data: Path, phones: list[Page]):
    heading = "from IPython.display import HTML\nHTML('<h2>What a batch is</h2>')"
    shown = front_ends[kind].open(cells(data, f"%cups slides-{kind.replace('_', '-')}", heading))
    shown.run_all()
    shown.show(1)
    counts(shown.output(1), 0, 0, 0)
    shown.show(2)
    expect(shown.output(2).get_by_text("What a batch is")).to_be_visible()
    shown.show(1)
    output = shown.output(1)
    phones[0].goto(output.locator(".join").get_by_text(re.compile("/slides-")).inner_text())
    tap(phones[0], "I'm lost")
    counts(output, 0, 0, 1)
    output.get_by_role("button", name="Look back").click()
    expect(output.get_by_text(re.compile("As it was at"))).to_be_visible()
    assert "What a batch is" in marks(output, data)


def marks(output: Locator, data: Path) -> list[str]:
    """The marks in the history of the room that a panel shows."""
    link = output.locator(".join div").first.inner_text()
    server, room = link.removesuffix("/").rsplit("/", 1)
    kept = json.loads((data / "fastmagic/cups-rooms.json").read_text())
    return [mark[1] for mark in Lesson(f"{server}/", room, kept["this machine"][room]).look()["marks"]]


def test_the_saved_notebook_tells_how_it_went(lab: FrontEnd, data: Path, phones: list[Page]):
    shown = lab.open(cells(data, "%cups saved"))
    shown.run_all()
    output = shown.output(1)
    counts(output, 0, 0, 0)
    phones[0].goto(output.locator(".join").get_by_text(re.compile("/saved/")).inner_text())
    tap(phones[0], "I'm lost")
    counts(output, 0, 0, 1)
    shown.save_until(1, lambda kept: "1 lost" in kept["text/plain"] and WIDGET not in kept)
    shown.reopen()
    output = shown.output(1)
    expect(output).to_contain_text("Room saved")
    assert output.locator("img").first.evaluate("e => e.naturalWidth") > 0
