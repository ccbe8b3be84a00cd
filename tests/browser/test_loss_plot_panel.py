"""The live loss plot in real front ends: it draws and steers while the cell runs, and stays readable where nothing lives."""

from __future__ import annotations

import re
import time

import pytest
from front_ends import PATIENCE, FrontEnd, exported
from playwright.sync_api import expect

SETUP = """%load_ext fastmagic
%config FastMagic.show = 0
from fastai.vision.all import Callback, get_image_files
import fastmagic, time
dls = fastmagic.datablock(fastmagic.digits(), get_items=lambda folder: sorted(get_image_files(folder))[::5], bs=64)
class Slow(Callback):
    def after_batch(self): time.sleep(0.05)"""
LONG = "%train dls tiny --epochs 100 --no-check --cbs Slow()"
SHORT = "%train dls tiny --epochs 1 --no-check"
AFTER = "print('then', len(learn.recorder.losses) > 0)"


def head(panel):
    return panel.locator(".fm-head")


def batches_drawn(panel) -> int:
    plot = panel.locator(".fm-plot")
    expect(plot).to_have_attribute("aria-label", re.compile(r"over \d+ training"))
    return int(re.search(r"over (\d+) training", plot.get_attribute("aria-label") or "").group(1))


def steer(panel):
    """Pauses, resumes, re-rates and stops a running training by its buttons."""
    expect(head(panel)).to_contain_text("training batch")
    panel.get_by_role("button", name="Pause").click()
    expect(head(panel)).to_contain_text("paused")
    panel.get_by_role("button", name="Resume").click()
    expect(head(panel)).not_to_contain_text("paused")
    panel.get_by_label("Learning rate").select_option("0.1")
    panel.get_by_role("button", name="+1 epoch").click()
    expect(head(panel)).to_contain_text("+1 epoch asked for")


def test_it_draws_and_steers_while_the_cell_runs(front_end: FrontEnd):
    voila = front_end.name == "voila"
    shown = front_end.open([SETUP, SHORT if voila else LONG, AFTER])
    shown.run(0)
    shown.run(1, wait=False)
    panel = shown.output(1).locator(".fm-loss")
    if not voila:  # it shows its page when all cells have run
        steer(panel)
        shown.screenshot("loss-plot-running")
        panel.get_by_role("button", name="Stop").click()
    expect(head(panel)).to_contain_text("batches in")
    shown.wait_idle()
    expect(panel.get_by_role("button", name="Stop")).to_be_hidden()
    panel.get_by_role("button", name="log").click()
    expect(panel.get_by_role("button", name="log")).to_have_attribute("aria-pressed", "true")
    shown.screenshot("loss-plot")
    shown.run(2)
    shown.show(2)
    expect(shown.output(2)).to_contain_text("then True")
    assert shown.foreign == []
    assert shown.console == []


@pytest.mark.parametrize("name", ["lab", "nbclassic"])
def test_every_kernel_hears_the_buttons(front_ends, name: str, kernel: str):
    shown = front_ends[name].open([SETUP, LONG, AFTER], kernel=kernel)
    shown.run_all(wait=False)
    panel = shown.output(1).locator(".fm-loss")
    steer(panel)
    panel.get_by_role("button", name="Stop").click()
    expect(head(panel)).to_contain_text("stopped")
    expect(shown.output(2)).to_contain_text("then True")


def test_a_training_that_a_button_starts_is_steered_in_an_app(voila: FrontEnd):
    button = f"""import ipywidgets
go, out = ipywidgets.Button(description="Go"), ipywidgets.Output()
def train(_):
    with out:
        get_ipython().run_line_magic("train", {LONG.removeprefix("%train ")!r})
go.on_click(train)
ipywidgets.VBox([go, out])"""
    shown = voila.open([SETUP, button])
    shown.page.get_by_role("button", name="Go").click()
    panel = shown.output(1).locator(".fm-loss")
    steer(panel)
    panel.get_by_role("button", name="Stop").click()
    expect(head(panel)).to_contain_text("stopped")
    assert shown.foreign == []


def test_the_kernels_stop_button_stops_it_too(lab: FrontEnd):
    shown = lab.open([SETUP, LONG, AFTER])
    shown.run(0)
    shown.run(1, wait=False)
    panel = shown.output(1).locator(".fm-loss")
    expect(head(panel)).to_contain_text("training batch")
    shown.page.get_by_role("button", name=re.compile("Interrupt the kernel")).click()
    expect(head(panel)).to_contain_text("stopped")
    shown.wait_idle()
    shown.run(2)
    expect(shown.output(2)).to_contain_text("then True")


@pytest.mark.parametrize("name", ["lab", "nbclassic"])
def test_a_reloaded_page_shows_the_curve_so_far_and_steers_it(front_ends, name: str):
    shown = front_ends[name].open([SETUP, LONG])
    shown.run(0)
    shown.save()
    shown.run(1, wait=False)
    panel = shown.output(1).locator(".fm-loss")
    expect(head(panel)).to_contain_text("training batch")
    before = batches_drawn(panel)
    shown.save()
    shown.reload(wait=False)
    expect(head(panel)).to_contain_text("training batch")
    assert batches_drawn(panel) >= before > 0
    panel.get_by_role("button", name="Stop").click()
    expect(head(panel)).to_contain_text("stopped")


def test_closing_the_tab_does_not_stop_it(lab: FrontEnd):
    cell = "%train dls tiny --epochs 5 --no-check --cbs Slow()\nopen('done.txt', 'w').write(str(len(learn.recorder.losses)))"
    shown = lab.open([SETUP, cell])
    shown.run(0)
    shown.run(1, wait=False)
    expect(head(shown.output(1).locator(".fm-loss"))).to_contain_text("training batch")
    shown.save()
    shown.page.close()
    end = time.monotonic() + PATIENCE / 1000
    while not (lab.root / "done.txt").is_file() and time.monotonic() < end:
        time.sleep(0.2)
    assert int((lab.root / "done.txt").read_text()) > 10


@pytest.mark.parametrize("name", ["lab", "notebook", "nbclassic"])
def test_a_saved_notebook_shows_its_picture_without_a_kernel(front_ends, name: str):
    shown = front_ends[name].open([SETUP, SHORT])
    shown.run_all()
    expect(head(shown.output(1).locator(".fm-loss"))).to_contain_text("batches in")
    wait_for_still(shown)
    shown.reopen()
    output = shown.output(1)
    expect(output.locator("img")).to_be_visible()
    expect(output).to_contain_text("valid_loss")
    expect(output.locator(".fm-loss")).to_have_count(0)
    shown.screenshot("loss-plot-reopened")


def wait_for_still(shown):
    """Saves until the notebook holds the still alone, which follows when the panel has been quiet for a moment."""
    end = time.monotonic() + PATIENCE / 1000
    while True:
        data = [output.get("data", {}) for output in shown.save().cells[1].outputs]
        stills = [d for d in data if "image/png" in d]
        if stills and not any("widget-view" in key for key in stills[-1]):
            assert sum(len(str(part)) for part in stills[-1].values()) < 200_000
            return
        assert time.monotonic() < end, data
        time.sleep(0.3)


@pytest.mark.parametrize("form", ["html", "slides"])
def test_a_page_made_by_nbconvert_shows_it(lab: FrontEnd, browser, tmp_path, form: str):
    shown = lab.open([SETUP, SHORT])
    shown.run_all()
    wait_for_still(shown)
    with exported(shown.path, form, tmp_path, browser) as tab:
        image = tab.locator("[data-fastmagic-panel] img")
        expect(image).to_be_attached()
        assert image.evaluate("image => image.naturalWidth") > 300


def test_where_widgets_are_not_shown_the_picture_is(lab_rise_wrong: FrontEnd):
    shown = lab_rise_wrong.open([SETUP, SHORT])
    shown.run_all()
    shown.show(1)
    expect(shown.output(1)).to_contain_text("valid_loss")
    shown.screenshot("loss-plot-wrong-widgets")


@pytest.mark.parametrize("name", ["lab", "notebook"])
def test_it_is_readable_in_the_dark_and_on_a_phone(front_ends, name: str):
    shown = front_ends[name].open([SETUP, SHORT, SHORT], dark=True, **({"width": 400} if name == "notebook" else {}))
    shown.run_all()
    panel = shown.output(2).locator(".fm-loss")
    expect(head(panel)).to_contain_text("batches in")
    expect(panel.get_by_label("earlier runs")).to_be_checked()
    expect(shown.page.locator(".fm-panel.fm-dark").last).to_be_visible()
    shown.show(2)
    shown.screenshot("loss-plot-phone" if name == "notebook" else "loss-plot")
    box, outer = panel.bounding_box(), shown.output(2).bounding_box()
    assert box["width"] <= outer["width"]


def test_it_is_read_and_zoomed_by_keyboard(lab: FrontEnd):
    shown = lab.open([SETUP, SHORT])
    shown.run_all()
    plot = shown.output(1).locator(".fm-plot")
    plot.focus()
    for key in ("Home", "ArrowRight", "ArrowRight"):
        plot.press(key)
    expect(plot.locator(".fm-tip")).to_contain_text("batch 3, epoch 1")
    plot.press("+")
    expect(shown.output(1).get_by_role("button", name="Whole")).to_be_visible()
    plot.press("0")
    expect(shown.output(1).get_by_role("button", name="Whole")).to_be_hidden()
    expect(plot).to_be_focused()
