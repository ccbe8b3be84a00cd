"""The confusion view in real front ends: cells, classes, decisions, before and after, many classes, keys, a saved notebook."""

from __future__ import annotations

import json
import re

import pytest
from front_ends import WIDGET, FrontEnd, Shown
from playwright.sync_api import Locator, expect

# Pictures of one colour each and a learner that tells the nearest; neighbours in colour are taken for each other.
LEARNER = """
%load_ext fastmagic
import colorsys
import numpy as np
import torch
from PIL import Image
from fastai.vision.all import *
import fastmagic

def colours(n, folder, near=2.0):
    random, folder = np.random.default_rng(0), Path(folder)
    centres = [[round(255 * part) for part in colorsys.hsv_to_rgb(i // 2 / n * near, 0.7, 0.85 - 0.06 * (i % 2))] for i in range(n)]
    names = [f"{'bright' if i % 2 == 0 else 'dark'} {i // 2:02}" for i in range(n)]
    for name, centre in zip(names, centres):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for k in range(12):
            pixels = random.normal(centre, 20, (20, 20, 3)) + random.normal(0, 12, 3)
            Image.fromarray(pixels.clip(0, 255).astype("uint8")).save(folder / name / f"{k:02}.png")
    dls = ImageDataLoaders.from_folder(folder, valid_pct=0.5, seed=3, bs=64, num_workers=0)
    centres = torch.tensor([centres[names.index(name)] for name in dls.vocab]) / 255
    last = nn.Linear(3, n)
    with torch.no_grad():
        last.weight.copy_(120 * centres)
        last.bias.copy_(-60 * (centres**2).sum(1))
    return Learner(dls, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), last))
"""
SIX = f"{LEARNER}\nlearn = colours(6, 'six')"


def opened(shown: Shown, i: int = 1) -> Locator:
    output = shown.output(i)
    expect(output.locator(".fm-confusion")).to_be_visible()
    return output


def mistake(output: Locator) -> Locator:
    """The first wrong cell with something in it."""
    return output.locator(".fm-cell:not(.fm-diagonal):not(.fm-zero)").first


def test_a_click_on_a_cell_shows_its_pictures_and_notes_what_is_decided_everywhere(front_end: FrontEnd):
    shown = front_end.open([SIX, "%confusion learn"])
    shown.run_all()
    shown.show(1)
    output = opened(shown)
    expect(output.locator(".fm-cell")).to_have_count(36)
    cell = mistake(output)
    count = int(cell.inner_text())
    cell.click()
    tiles = output.locator(".fm-tile")
    expect(tiles).to_have_count(count)
    expect(output.locator(".fm-title")).to_contain_text(re.compile(rf"taken for .*: {count} item"))
    expect(output.locator(".fm-readout")).to_contain_text(re.compile(rf"actual .* → predicted .*: {count} of \d+"))
    assert tiles.first.locator("img").evaluate("async e => { await e.decode(); return e.naturalWidth }") == 20
    losses = [float(re.search(r"loss ([\d.]+)", text)[1]) for text in tiles.all_inner_texts()]
    assert losses == sorted(losses, reverse=True)
    tiles.first.get_by_role("button", name="Set aside").click()
    expect(tiles.first.locator(".fm-noted")).to_have_text("Set aside")
    expect(output.locator(".fm-journal")).to_contain_text("1 set aside. Nothing is moved yet.")
    (line,) = (front_end.root / "six/.fastmagic/decisions.jsonl").read_text().splitlines()
    assert json.loads(line)["action"] == "aside"
    shown.screenshot("confusion")
    tiles.first.get_by_role("button", name="Undo").click()
    expect(tiles.first.get_by_role("button", name="Set aside")).to_be_visible()
    (front_end.root / "six/.fastmagic/decisions.jsonl").unlink()
    assert shown.foreign == []
    assert shown.console == []


def test_keys_walk_the_matrix_and_open_a_cell(lab: FrontEnd):
    shown = lab.open([SIX, "%confusion learn --percent row --order name"])
    shown.run_all()
    output = opened(shown)
    cells = output.locator(".fm-cell")
    cells.first.focus()
    for key in ("ArrowRight", "ArrowDown", "End", "Home"):
        shown.page.keyboard.press(key)
    expect(cells.nth(6)).to_be_focused()
    expect(output.locator(".fm-readout")).to_contain_text("actual bright 01 → predicted bright 00")
    assert cells.nth(6).get_attribute("aria-label").startswith("actual bright 01 → predicted bright 00: ")
    assert output.locator(".fm-cell[tabindex='0'], .fm-cell:not([tabindex='-1'])").count() == 1
    for key in ("ArrowRight", "Enter"):
        shown.page.keyboard.press(key)
    expect(cells.nth(7)).to_have_attribute("aria-selected", "true")
    expect(output.locator(".fm-title")).to_contain_text("bright 01, rightly seen")
    assert output.locator(".fm-matrix th[scope=row]").count() == output.locator(".fm-matrix th[scope=col]").count() == 6


def test_a_class_marks_its_row_and_column_and_the_table_sorts(lab: FrontEnd):
    shown = lab.open([SIX, "%confusion learn"])
    shown.run_all()
    output = opened(shown)
    table = output.locator(".fm-classes")
    table.get_by_role("button", name="recall").click()
    expect(table.locator("th[aria-sort=ascending]")).to_have_text(re.compile("recall"))
    shares = [float(text.split()[0]) for text in table.locator("tbody td:nth-child(3)").all_inner_texts()]
    assert shares == sorted(shares)
    name = table.locator("tbody button").first.inner_text()
    table.locator("tbody button").first.click()
    expect(output.locator(".fm-matrix tr.fm-marked th")).to_have_text(name)
    expect(output.locator(".fm-matrix thead th.fm-marked")).to_have_text(name)
    expect(output.locator(".fm-title")).to_contain_text(f"Mistakes about {name}")
    expect(output.locator(".fm-tile").first).to_contain_text(name)


def test_relabelling_several_at_once_survives_a_reload_and_is_undone(lab: FrontEnd):
    shown = lab.open([SIX, "conf = fastmagic.confusion(learn)\nconf"], own=True)
    shown.run_all()
    output = opened(shown)
    output.get_by_role("button", name="Highest losses").click()
    tiles = output.locator(".fm-tile")
    expect(tiles).to_have_count(24)
    for k in (1, 3):
        tiles.nth(k).get_by_role("checkbox").check()
    output.locator(".fm-picked").get_by_role("button", name="Relabel to…").click()
    shown.page.keyboard.type("dark 01")
    shown.page.keyboard.press("Enter")
    expect(output.locator(".fm-noted")).to_have_text(["Relabel to dark 01"] * 2)
    shown.page.keyboard.press("Escape")
    shown.save()
    shown.reload()
    output = opened(shown)
    expect(output.locator(".fm-noted")).to_have_text(["Relabel to dark 01"] * 2)  # the selection comes back too
    expect(output.locator(".fm-journal")).to_contain_text("2 to relabel")
    tiles.nth(1).get_by_role("button", name="Undo").click()
    expect(output.locator(".fm-noted")).to_have_count(1)
    tiles.nth(0).get_by_role("button", name="Relabel to…").click()
    shown.page.keyboard.type("no such")
    shown.page.keyboard.press("Enter")
    expect(output.get_by_role("alert")).to_contain_text("No class 'no such'.")
    (lab.root / "six/.fastmagic/decisions.jsonl").unlink()


def test_more_items_come_as_one_scrolls(lab: FrontEnd):
    shown = lab.open([f"{LEARNER}\nlearn = colours(12, 'twelve')", "%confusion learn"])
    shown.run_all()
    output = opened(shown)
    output.get_by_role("button", name="Highest losses").click()
    expect(output.locator(".fm-title")).to_contain_text("72 items")
    expect(output.locator(".fm-tile")).to_have_count(24)
    output.locator(".fm-gallery").evaluate("e => e.scrollTo(0, e.scrollHeight)")
    expect(output.locator(".fm-tile")).to_have_count(48)
    tile = output.locator(".fm-tile").nth(2)
    tile.locator(".fm-look").click()
    expect(output.locator(".fm-large")).to_contain_text("twelve/")
    expect(output.locator(".fm-large .fm-bar-name")).to_have_count(10)
    shown.page.keyboard.press("Escape")
    expect(output.locator(".fm-large")).to_have_count(0)
    expect(tile.locator(".fm-look")).to_be_focused()


@pytest.mark.parametrize("dark", [False, True])
def test_after_a_retrain_the_difference_has_signs_and_the_items_that_changed(lab: FrontEnd, dark: bool):
    change = "with torch.no_grad(): learn.model[-1].bias[0] -= 3"
    shown = lab.open([SIX, "%confusion learn", change, "%confusion learn"], dark=dark)
    shown.run_all()
    output = opened(shown, 3)
    expect(output.locator(".fm-changes")).to_contain_text("this learner at")
    output.get_by_role("button", name="difference", exact=True).click()
    diagonal = output.locator(".fm-cell.fm-diagonal").first
    expect(diagonal).to_have_text(re.compile("^−[0-9]+$"))
    expect(output.locator(".fm-legend")).to_contain_text("worse")
    wrong = output.get_by_role("button", name="newly wrong")
    count = int(wrong.inner_text().split()[0])
    assert count == int(diagonal.inner_text()[1:])
    wrong.click()
    expect(output.locator(".fm-tile")).to_have_count(min(count, 24))
    expect(output.locator(".fm-tile").first).to_contain_text("before: bright 00")
    shown.screenshot("confusion-difference")
    output.get_by_role("button", name="before", exact=True).click()
    expect(diagonal).not_to_have_text(re.compile("−"))
    assert shown.console == []


def test_forty_classes_are_a_drawing_with_keys_and_a_search(lab: FrontEnd):
    shown = lab.open([f"{LEARNER}\nlearn = colours(40, 'forty')", "%confusion learn --order confusion"])
    shown.run_all()
    output = opened(shown)
    canvas, readout = output.locator("canvas"), output.locator(".fm-readout")
    canvas.focus()
    shown.page.keyboard.press("e")
    expect(readout).to_contain_text(re.compile(r"actual (\w+ \d+) → predicted (?!\1)\w+ \d+: [1-9]"))
    said = readout.inner_text()
    shown.page.keyboard.press("Enter")
    expect(output.locator(".fm-title")).to_contain_text("taken for")
    assert int(re.search(r": (\d+) of", said)[1]) == output.locator(".fm-tile").count()
    before = readout.inner_text()
    shown.page.keyboard.press("ArrowRight")
    expect(readout).not_to_have_text(before)
    shown.page.keyboard.press("0")
    box = canvas.bounding_box()
    for at in (0.4, 0.6):  # the diagonal
        shown.page.mouse.move(box["x"] + box["width"] * at, box["y"] + box["height"] * at)
        expect(readout).to_contain_text(re.compile("actual .* → predicted"))
    find = output.get_by_label("Find a class")
    find.fill("dark 13")
    find.press("Enter")
    expect(output.locator(".fm-title")).to_contain_text("Mistakes about dark 13")
    expect(output.locator(".fm-classes tr.fm-chosen")).to_contain_text("dark 13")
    shown.screenshot("confusion-forty")
    assert shown.console == []


def test_numbers_are_a_scatter_whose_points_open_their_items(lab: FrontEnd):
    regression = """
%load_ext fastmagic
from fastai.tabular.all import *
random = np.random.default_rng(0)
table = pd.DataFrame({"age": random.integers(18, 90, 400).astype(float)})
table["pay"] = table["age"] * 2 + random.normal(0, 9, 400)
dls = TabularDataLoaders.from_df(table, procs=[Normalize], cont_names=["age"], y_names="pay", bs=64, valid_idx=range(200, 400), y_block=RegressionBlock())
learn = tabular_learner(dls, layers=[4], y_range=(0, 200))
with learn.no_bar(), learn.no_logging(): learn.fit(2, 0.1)
"""
    shown = lab.open([regression, "%confusion learn"])
    shown.run_all()
    output = opened(shown)
    expect(output.locator(".fm-side")).to_contain_text("R²")
    output.locator("canvas").focus()
    shown.page.keyboard.press("ArrowRight")
    expect(output.locator(".fm-readout")).to_contain_text("off by")
    shown.page.keyboard.press("Enter")
    expect(output.locator(".fm-tile")).to_have_count(1)
    expect(output.locator(".fm-tile")).to_contain_text("age")
    assert shown.console == []


def test_a_phone_shows_it_without_running_over(lab: FrontEnd):
    shown = lab.open([SIX, "%confusion learn"], width=380)
    shown.page.evaluate("jupyterapp.commands.execute('application:toggle-left-area')")
    shown.run_all()
    output = opened(shown)
    mistake(output).click()
    expect(output.locator(".fm-tile").first).to_be_visible()
    assert output.locator(".fm-panel").evaluate("e => e.scrollWidth <= e.clientWidth + 1")
    shown.screenshot("confusion-phone")


def test_a_saved_notebook_shows_what_was_looked_at_without_a_kernel(lab: FrontEnd):
    shown = lab.open([SIX, "%confusion learn --percent row"])
    shown.run_all()
    output = opened(shown)
    mistake(output).click()
    expect(output.locator(".fm-tile").first).to_be_visible()
    title = output.locator(".fm-title").inner_text().split(":")[0]
    shown.save_until(1, lambda data: title in data["text/plain"] and WIDGET not in data)
    shown.reopen()
    output = shown.output(1)
    expect(output).to_contain_text(title)
    expect(output).to_contain_text("% of the actual class")
    assert output.locator("img").first.evaluate("e => e.naturalWidth") > 0
