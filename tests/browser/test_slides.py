"""Slides, as `fastmagic slides` shows them: live in RISE and jupyterlab-rise, and as one file that opens without a network."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
import nbformat.v4 as v4
import pytest
from front_ends import LAB_RISE, PATIENCE, ROOT, need
from playwright.sync_api import Page, Route, expect

from fastmagic.serve import deck, written

if TYPE_CHECKING:
    from playwright.sync_api import Browser

LESSONS = sorted(ROOT.glob("notebooks/0*.ipynb"))


def cell(source: str, kind: str, make: Any = v4.new_code_cell) -> Any:
    return make(source, metadata={"slideshow": {"slide_type": kind}})


def talk(folder: Path, **rise: Any) -> Path:
    """A talk of a heading, code with long output, a widget, and a formula."""
    cells = [
        cell("# Numbers", "slide", v4.new_markdown_cell),
        cell("for i in range(80): print('line', i)", "fragment"),
        cell("import ipywidgets\nslider = ipywidgets.IntSlider(3)\nslider", "slide"),
        cell("print('it is', slider.value)", "slide"),
        cell("## The end", "slide", v4.new_markdown_cell),
    ]
    nbformat.write(v4.new_notebook(cells=cells, metadata={"rise": rise} if rise else {}), folder / "my talk.ipynb")
    return folder / "my talk.ipynb"


# ---------------------------------------------------------------- as one file


@contextlib.contextmanager
def opened(file: Path, browser: Browser, query: str = "", width: int = 1280, height: int = 720) -> Iterator[Page]:
    """Gives written slides, opened where there is no network; nothing may be asked for, and no error be made."""
    asked: list[str] = []
    wrong: list[str] = []
    with browser.new_context(viewport={"width": width, "height": height}, offline=True) as context:
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda told: wrong.append(told.text) if told.type == "error" else None)
        page.goto(f"{file.as_uri()}{query}")
        page.wait_for_function("Reveal.isReady() || document.documentElement.matches('.as-page')")
        yield page
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    assert wrong == []


@pytest.fixture(scope="module", params=LESSONS, ids=lambda file: file.stem)
def lesson(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> written.Written:
    return written.write(request.param, tmp_path_factory.mktemp("slides") / "it.html")


def test_every_slide_of_a_lesson_is_there_to_its_end(lesson: written.Written, browser: Browser):
    with opened(lesson.file, browser) as page:
        assert page.evaluate("Reveal.getTotalSlides()") == lesson.slides
        for number in range(lesson.slides):
            slide = page.locator("section.present:not(.stack)")
            expect(slide).to_be_visible()
            assert slide.inner_text().strip()
            here = page.evaluate("JSON.stringify(Reveal.getIndices(Reveal.getCurrentSlide()))")
            room = "Reveal.getCurrentSlide().scrollHeight - Reveal.getCurrentSlide().clientHeight - Reveal.getCurrentSlide().scrollTop"
            while page.evaluate(f"Reveal.availableFragments().next || {room} > 1"):
                page.keyboard.press(
                    "Space"
                )  # shows what comes next, and goes through to the end, before it turns the page
            assert page.evaluate("JSON.stringify(Reveal.getIndices(Reveal.getCurrentSlide()))") == here
            expect(slide.locator(".jp-Cell").last).to_be_in_viewport()
            wide, screen = slide.evaluate("s => [s.scrollWidth - s.clientWidth, s.clientHeight]")
            assert wide <= 0, number
            assert screen <= 720
            small = slide.evaluate("""slide => [...slide.querySelectorAll('p, li, pre, code, td, th')]
                .filter(e => e.innerText.trim() && !e.closest('.dim, .fastmagic-still'))
                .map(e => [parseFloat(getComputedStyle(e).fontSize), e.innerText]).filter(([size]) => size < 18)""")
            assert small == [], number
            if number < lesson.slides - 1:
                page.keyboard.press("Space")
        page.wait_for_function("location.hash.split('/')[1] === String(Reveal.getIndices().h)")  # said a moment later
        page.wait_for_function("(location.hash.split('/')[2] ?? '0') === String(Reveal.getIndices().v)")
        page.reload()
        page.wait_for_function("Reveal.isReady()")
        assert page.evaluate("Reveal.isLastSlide()")  # a reload keeps its place


def test_a_slide_is_a_page_of_paper_and_a_phone_shows_all_below_each_other(
    lesson: written.Written, browser: Browser, tmp_path: Path
):
    with opened(lesson.file, browser, "?print-pdf") as page:
        page.wait_for_selector(".pdf-page")
        paper = page.pdf(prefer_css_page_size=True, print_background=True)
        assert page.locator(".pdf-page").count() == lesson.slides
        sheets = "[...document.querySelectorAll('.pdf-page')].map(page => Math.round(page.offsetHeight / 720))"
        assert len(re.findall(rb"/Type\s*/Page\b(?!s)", paper)) == sum(page.evaluate(sheets))
        assert page.evaluate("[...document.querySelectorAll('.pdf-page')].every(page => page.innerText.trim())")
    with opened(lesson.file, browser, width=390, height=844) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        slides = page.locator("section section")
        assert slides.count() == lesson.slides
        for one in slides.all():
            one.scroll_into_view_if_needed()
            expect(one).to_be_in_viewport()
        text = page.locator(".jp-MarkdownOutput p, .jp-RenderedMarkdown p").first
        assert float(text.evaluate("p => getComputedStyle(p).fontSize").removesuffix("px")) >= 16
        shown = (
            "[...document.querySelectorAll('.fragment')].every(one => getComputedStyle(one).visibility === 'visible')"
        )
        assert page.evaluate(shown)


def test_the_speaker_sees_notes_and_the_next_slide(browser: Browser, tmp_path: Path):
    cells = [
        cell("# One", "slide", v4.new_markdown_cell),
        cell("whispered", "notes", v4.new_markdown_cell),
        cell("# Two", "slide", v4.new_markdown_cell),
    ]
    nbformat.write(v4.new_notebook(cells=cells), tmp_path / "talk.ipynb")
    with opened(written.write(tmp_path / "talk.ipynb").file, browser) as page:
        with page.context.expect_page() as window:
            page.keyboard.press("s")
        expect(window.value.locator(".speaker-controls-notes")).to_contain_text("whispered")
        following = window.value.frame_locator("#upcoming-slide iframe").locator("section.present:not(.stack) h1")
        expect(following).to_have_text("Two")
        window.value.close()


# ---------------------------------------------------------------- live


@contextlib.contextmanager
def presented(file: Path, *words: str, python: str = sys.executable, end: int = signal.SIGINT) -> Iterator[str]:
    """Runs `fastmagic slides` as people do, and gives the address that it says; a signal ends it, and all it has started."""
    folder = file.parent
    own = {name: value for name, value in os.environ.items() if not name.startswith("JUPYTER")}
    own |= {f"JUPYTER_{of.upper()}_DIR": str(folder / of) for of in ("config", "data", "runtime")}
    own |= {"PYTHONPATH": str(ROOT), "IPYTHONDIR": str(folder / "ipython"), "JUPYTER_PREFER_ENV_PATH": "0"}
    command = [python, "-m", "fastmagic.cli", "slides", str(file), "--no-open", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=own, cwd=folder)
    try:
        assert process.stdout
        assert process.stderr
        told = ""
        while "http://" not in told:
            told = process.stdout.readline()
            assert told, process.stderr.read()
        yield "http://" + told.split("http://")[1].strip()
        process.send_signal(end)
        assert process.wait(PATIENCE / 1000) == 0
        assert process.stderr.read() == ""
        left = [file.read_bytes() for file in Path("/proc").glob("[0-9]*/cmdline") if file.exists()]
        assert not [line for line in left if str(folder).encode() in line]  # no server, no kernel
    finally:
        process.terminate()  # which ends the server too, whatever happened
        process.wait(PATIENCE / 1000)


def test_a_talk_is_given_in_rise(browser: Browser, tmp_path: Path):
    file = talk(tmp_path)
    with presented(file) as address, browser.new_context(viewport={"width": 1280, "height": 720}) as context:
        page = context.new_page()
        page.goto(address)
        slide = page.locator("section.present:not(.stack)")
        expect(slide.locator("h1")).to_have_text(re.compile("Numbers"))  # it has begun by itself, on the first slide
        page.wait_for_function("Jupyter.notebook.kernel?.is_connected() && !Jupyter.notebook.kernel_busy")
        top = slide.locator("h1").bounding_box()
        assert top
        assert top["y"] < 120
        assert slide.evaluate("slide => slide.scrollHeight <= slide.clientHeight")  # no scrollbar where all fits
        page.keyboard.press("Space")
        code = slide.locator(".code_cell")
        expect(code).to_be_visible()
        code.locator(".CodeMirror").click()
        page.keyboard.press("Control+Enter")
        expect(code.locator(".output_wrapper")).to_contain_text("line 79")
        while slide.evaluate("slide => slide.scrollHeight - slide.clientHeight - slide.scrollTop") > 1:
            page.keyboard.press("Space")
        bottom = code.locator("pre", has_text="line 79").bounding_box()
        assert bottom
        assert bottom["y"] + bottom["height"] <= 720  # the last line is reached, without leaving the slide

        page.keyboard.press("Space")
        page.wait_for_function("Reveal.getIndices().h === 1")
        widget = page.locator(".code_cell").nth(1)
        widget.locator(".CodeMirror").click()
        page.keyboard.press("Control+Enter")
        handle = widget.locator(".noUi-handle, .ui-slider-handle")
        expect(handle).to_be_visible()
        handle.focus()
        page.keyboard.press("ArrowRight")
        assert page.evaluate("Reveal.getIndices().h") == 1  # the key has moved the slider, not the deck
        page.evaluate("Reveal.slide(2)")
        asked = page.locator(".code_cell").nth(2)
        asked.locator(".CodeMirror").click()
        page.keyboard.press("Control+End")
        page.keyboard.type("; print('typed on a slide')")
        page.keyboard.press("Control+Enter")
        expect(asked.locator(".output_wrapper")).to_contain_text("it is 4\ntyped on a slide")
        page.keyboard.press("Control+S")
        page.wait_for_function("!Jupyter.notebook.dirty")
        kept = nbformat.read(file, 4).cells[3]
        assert kept.source.endswith("; print('typed on a slide')")
        assert kept.outputs[0].text == "it is 4\ntyped on a slide\n"
        page.reload()
        expect(page.locator("section.present:not(.stack) .code_cell")).to_contain_text("typed on a slide")
        page.evaluate("Reveal.slide(0, 0, -1)")
        page.keyboard.press("Space")  # shows a fragment higher than the screen, and moves nothing but the slide
        expect(slide.get_by_text("line 1", exact=False).first).to_be_in_viewport()
        moved = (
            "[...document.querySelectorAll('.reveal, .reveal .slides, section.stack, #notebook, #site, body, html')]"
        )
        assert page.evaluate(f"{moved}.every(element => !element.scrollTop && !element.scrollLeft)")


def test_the_notebooks_own_settings_hold_however_late_it_comes(browser: Browser, tmp_path: Path):
    file = talk(tmp_path, transition="zoom")
    with presented(file) as address, browser.new_context() as context:
        page = context.new_page()

        def late(route: Route):
            time.sleep(
                1
            )  # a slow disk, not a wait: RISE, where it does not wait for the notebook, has read all else by then
            route.continue_()

        page.route("**/api/contents/**", late)
        page.goto(address)
        expect(page.locator("section.present:not(.stack)")).to_be_visible()
        assert page.evaluate("Reveal.getConfig().transition") == "zoom"
        expect(page.locator("#RISE")).to_have_count(1)  # its button: loaded once


def test_a_talk_is_given_in_jupyterlab_rise(browser: Browser, tmp_path: Path):
    need(LAB_RISE, ("jupyterlab_rise",))
    file = talk(tmp_path)
    with (
        presented(file, "--lab", python=str(LAB_RISE), end=signal.SIGTERM) as address,
        browser.new_context(viewport={"width": 1280, "height": 720}) as context,
    ):
        page = context.new_page()
        page.goto(address)
        expect(page.locator(".jp-Notebook section.present h1")).to_have_text(re.compile("Numbers"))


def test_a_deck_that_was_proposed_is_given(browser: Browser, tmp_path: Path):
    file = tmp_path / "new.ipynb"
    cells = [v4.new_code_cell("import os"), v4.new_markdown_cell("# One"), v4.new_code_cell("6 * 7")]
    notebook = v4.new_notebook(cells=cells)
    deck.set_types(notebook, deck.proposed(notebook))
    deck.write(notebook, file)
    with opened(written.write(file).file, browser) as page:
        assert page.evaluate("Reveal.getTotalSlides()") == 1
        expect(page.locator("section.present:not(.stack)")).not_to_contain_text("import os")


# ---------------------------------------------------------------- the panel

LONG = "for i in range(80): print('line', i)"
OPEN = "%load_ext fastmagic\n%slides talk.ipynb"


def strip_of(front_end: Any, **options: Any) -> Any:
    outputs = [v4.new_output("stream", text="".join(f"line {i}\n" for i in range(80)))]
    cells = [
        v4.new_code_cell("import os", execution_count=1),
        v4.new_markdown_cell("# One"),
        v4.new_code_cell(LONG, execution_count=2, outputs=outputs),
        v4.new_markdown_cell("## Two\n![](bird.png)"),
    ]
    nbformat.write(v4.new_notebook(cells=cells), front_end.root / "talk.ipynb")
    return front_end.open([OPEN], **options)


@pytest.mark.parametrize("name", ["lab", "nbclassic"])
def test_the_strip_is_changed_by_mouse_and_keys_checked_and_saved(front_ends: Any, name: str):
    shown = strip_of(front_ends[name])
    shown.run(0)
    panel = shown.output(0).locator(".fm-panel")
    expect(panel).to_contain_text("talk.ipynb: 2 slides")
    expect(panel).to_contain_text("this is a proposal")
    shown.screenshot("slides-strip")
    cells = panel.get_by_role("option")
    cells.nth(2).click()
    panel.get_by_role("button", name="Below").click()
    expect(panel.get_by_role("group", name="Slide 1.1")).to_contain_text("line")
    cells.nth(2).press("ArrowDown")
    expect(cells.nth(3)).to_be_focused()
    cells.nth(3).press("x")
    expect(cells.nth(3)).to_have_accessible_name(re.compile("Cell 4, Skip"))
    expect(panel).to_contain_text("2 slides")
    cells.nth(3).press("s")
    expect(panel).to_contain_text("3 slides")
    panel.get_by_role("button", name="Check").click()
    expect(panel.get_by_role("status").last).to_contain_text("2 things to mend")
    expect(cells.nth(2)).to_contain_text(
        re.compile(r"Its slide is \d{3,4} px higher than a screen of 1280 x 720, and scrolls\.")
    )
    expect(cells.nth(3)).to_contain_text("no text for those who do not see it")
    shown.screenshot("slides-checked")
    panel.get_by_role("button", name="Save in talk.ipynb").click()
    expect(panel.get_by_role("button", name="Saved")).to_be_disabled()
    kept = nbformat.read(front_ends[name].root / "talk.ipynb", 4)
    assert [deck.slide_type(cell) for cell in kept.cells] == ["skip", "slide", "subslide", "slide"]
    nbformat.validate(kept)
    assert shown.foreign == []
    assert shown.console == []
