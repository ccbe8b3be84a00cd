"""What is left of the panels where widgets are not: pages and slides by nbconvert, a JupyterLab that cannot show them, reruns."""

from __future__ import annotations

from pathlib import Path

import nbformat
from front_ends import SCREENSHOTS, WIDGET, FrontEnd, Shown, exported
from playwright.sync_api import expect
from test_confusion_panel import SIX

# A cell for each panel but the loss plot, which has tests of its own, and what its still says.
PANELS = {
    "%confusion learn": "9 of 36 wrong (25.0%)",
    "%pixels 'six/bright 00/00.png'": "20 × 20 × 3 numbers",
    "fastmagic.clean('six')": "six: 72 items",
    "%predict learn": "Nothing has been predicted yet",
}
CELLS = [SIX, *PANELS]
MOST = 200_000  # characters that a panel adds to a notebook


def saved(shown: Shown) -> Path:
    """Run all cells, and return the notebook once it holds the stills alone."""
    shown.run_all()
    for i in range(1, len(CELLS)):
        data = shown.save_until(i, lambda data: "text/html" in data and WIDGET not in data)
        assert sum(len(str(part)) for part in data.values()) < MOST, CELLS[i]
    return shown.path


def test_pages_and_slides_by_nbconvert_show_every_panel(lab: FrontEnd, browser, tmp_path):
    notebook = saved(lab.open(CELLS, name="stills"))
    for form in ("html", "slides"):
        with exported(notebook, form, tmp_path, browser) as tab:
            stills = tab.locator("[data-fastmagic-panel]")
            expect(stills).to_have_count(len(PANELS))
            for i, (cell, words) in enumerate(PANELS.items()):
                assert words in stills.nth(i).text_content(), (form, cell)
                for image in stills.nth(i).locator("img").all():
                    assert image.evaluate("image => image.naturalWidth") > 0, (form, cell)
            tab.screenshot(path=SCREENSHOTS / f"stills-{form}.png", full_page=form == "html")


def test_where_widgets_are_not_shown_every_still_is(lab_rise_wrong: FrontEnd):
    shown = lab_rise_wrong.open(CELLS)
    shown.run_all()
    for i, words in enumerate(PANELS.values(), 1):
        shown.show(i)
        expect(shown.output(i)).to_contain_text(words)


def test_twenty_reruns_leave_the_notebook_as_large_as_one(lab: FrontEnd):
    shown = lab.open([SIX, "fastmagic.clean('six')"], name="reruns")
    shown.run_all()
    shown.save_until(1, lambda data: "text/html" in data and WIDGET not in data)
    once = shown.path.stat().st_size
    for _ in range(20):
        shown.run(1)
    shown.save_until(1, lambda data: "text/html" in data and WIDGET not in data)
    assert shown.path.stat().st_size < 1.1 * once + 5000
    assert len(nbformat.read(shown.path, 4).cells[1].outputs) == 1
    expect(shown.output(1).locator(".fm-panel")).to_have_count(1)
