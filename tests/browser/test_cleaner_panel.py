"""The dataset cleaner in real front ends: tiles, decisions by mouse and keys, reloads, two panels, thousands of items."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from front_ends import WIDGET, FrontEnd, Shown
from playwright.sync_api import Locator, expect

# Pictures of coarse patterns, each like no other, in a folder a class.
PICTURES = """
%load_ext fastmagic
import fastmagic
import numpy as np
import shutil
from pathlib import Path
from PIL import Image

CLASSES = {"bird": (90, 140, 230), "forest": (40, 130, 50), "snow": (215, 220, 230)}

def pictures(folder, count, size=64):
    random = np.random.default_rng(0)
    for name, colour in CLASSES.items():
        (Path(folder) / name).mkdir(parents=True, exist_ok=True)
        for k in range(count):
            blocks = random.normal(colour, 40, (*random.integers(2, 9, 2), 3)).clip(0, 255).astype("uint8")
            Image.fromarray(blocks).resize((size, size), Image.NEAREST).save(Path(folder) / name / f"{k:04}.jpg")
"""


def small(folder: str) -> str:
    """A cell that makes nine pictures of each of three classes, without what an earlier try decided about them."""
    return f"{PICTURES}\nshutil.rmtree('{folder}', ignore_errors=True)\npictures('{folder}', 9)"


def faulty(folder: str) -> str:
    """... and then puts a picture of snow among the birds, a copy beside one of the forests, and a black one into the snow."""
    return f"""{small(folder)}
shutil.move("{folder}/snow/0004.jpg", "{folder}/bird/astray.jpg")
shutil.copy("{folder}/forest/0002.jpg", "{folder}/forest/copy.jpg")
Image.new("RGB", (64, 64)).save("{folder}/snow/night.jpg")
"""


def opened(shown: Shown, i: int = 1) -> Locator:
    output = shown.output(i)
    expect(output.locator(".fm-cl-tile:not(.fm-cl-wait)").first).to_be_visible()
    return output


def tiles(output: Locator) -> Locator:
    return output.locator(".fm-cl-tile:visible")


def tile(output: Locator, name: str) -> Locator:
    """The tile of a file, in sight."""
    return output.locator(f".fm-cl-tile[aria-label*='{name}']:visible")


def queue(output: Locator, title: str) -> Locator:
    return output.get_by_role("tab").filter(has_text=title)


def journal(folder: Path) -> list[dict[str, object]]:
    file = folder / ".fastmagic/decisions.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_what_is_decided_by_mouse_is_on_the_disk_and_undone_everywhere(front_end: FrontEnd):
    folder = f"pets_{front_end.name}"
    shown = front_end.open([small(folder), f"fastmagic.clean('{folder}')"])
    shown.run_all()
    shown.show(1)
    output = opened(shown)
    queue(output, "Everything").click()
    expect(queue(output, "Everything")).to_have_attribute("aria-selected", "true")
    first = tile(output, "bird/0000.jpg")
    assert first.locator("img").evaluate("async e => { await e.decode(); return e.naturalWidth }") == 64
    first.click()
    output.get_by_role("button", name="Set aside").click()
    expect(first.locator(".fm-cl-mark")).to_have_text("✕ set aside")
    expect(first).not_to_have_class(re.compile("fm-cl-pending"))
    (line,) = journal(front_end.root / folder)
    assert (line["action"], line["path"]) == ("aside", "bird/0000.jpg")
    expect(tile(output, "bird/0001.jpg")).to_have_class(re.compile("fm-cl-here"))  # it goes on by itself
    output.locator(".fm-cl-give[data-label=forest]").click()
    expect(tile(output, "bird/0001.jpg").locator(".fm-cl-mark")).to_have_text("✎ forest")
    tile(output, "bird/0003.jpg").click(modifiers=["Shift"])
    tile(output, "bird/0002.jpg").click(modifiers=["Control"])
    output.get_by_role("button", name="Keep", exact=True).click()
    expect(output.locator(".fm-cl-counts")).to_have_text(re.compile("1 to relabel · 1 set aside · 1 kept"))
    expect(queue(output, "Everything")).to_contain_text("24 left of 27")
    shown.screenshot("cleaner")
    for left in ("25", "26"):
        output.get_by_role("button", name="Undo").click()
        expect(queue(output, "Everything")).to_contain_text(f"{left} left of 27")
    expect(tile(output, "bird/0001.jpg").locator(".fm-cl-mark")).to_be_hidden()
    expect(first.locator(".fm-cl-mark")).to_be_visible()
    first.dblclick()
    zoom = output.get_by_role("dialog")
    expect(zoom).to_contain_text(re.compile("label.*bird"))
    zoom.get_by_role("button", name="Close").click()
    expect(zoom).to_have_count(0)
    assert shown.foreign == []
    assert shown.console == []


def test_a_set_is_cleaned_from_start_to_end_with_keys_alone(lab: FrontEnd):
    shown = lab.open([faulty("keys"), "fastmagic.clean('keys')"])
    shown.run_all()
    output = opened(shown)
    expect(output.locator(".fm-cl-busy")).to_have_count(0)
    output.get_by_role("button", name="Full screen").focus()
    keys, here, said = (
        shown.page.keyboard,
        output.locator(".fm-cl-tile:focus"),
        output.locator(".fm-cl-foot .fm-cl-said"),
    )
    for _ in range(20):
        keys.press("Tab")
        if here.count():
            break
    expect(here).to_have_count(1)

    def go_to(title: str) -> None:
        for key in ["["] * 15 + ["]"] * 15:
            if queue(output, title).get_attribute("aria-selected") == "true":
                break
            keys.press(key)
            expect(output.locator(".fm-cl-scroll[aria-busy]")).to_have_count(0)
        expect(here).to_have_count(1)

    go_to("Likely mislabelled")
    keys.press("s")
    keys.type("astray")
    keys.press("Enter")
    expect(here).to_have_attribute("aria-label", re.compile("bird/astray.jpg, labelled bird"))
    keys.press("3")
    expect(here.locator(".fm-cl-mark")).to_have_text("✎ snow")
    expect(said).to_contain_text("No undecided item follows here.")
    keys.press("s")
    keys.press("Escape")  # what was searched for goes
    go_to("Duplicates")
    expect(here).to_have_attribute("aria-label", re.compile("forest/(0002|copy).jpg.*1 of 2"))
    kept = "copy.jpg" if "copy.jpg" in (here.get_attribute("aria-label") or "") else "0002.jpg"
    keys.press("g")
    expect(output.locator(".fm-cl-mark:visible")).to_have_text([re.compile("kept|set aside")] * 2)
    go_to("Too dark")
    expect(here).to_have_attribute("aria-label", re.compile("snow/night.jpg"))
    keys.press("Enter")
    expect(output.get_by_role("dialog")).to_contain_text("snow/night.jpg")
    keys.press("x")
    expect(output.get_by_role("dialog").locator(".fm-cl-zoomed-mark")).to_have_text("✕ set aside")
    keys.press("Escape")
    expect(here).to_have_count(1)
    go_to("Everything")
    keys.press("Home")
    keys.press("Space")
    keys.press("ArrowRight")
    keys.press("Shift+End")
    expect(said).to_have_text("29 chosen.")
    keys.press("Escape")
    expect(said).to_have_text("None chosen.")
    keys.press("End")
    keys.press("n")
    expect(said).to_contain_text("No undecided item follows here.")
    keys.press("Home")
    keys.press("k")
    expect(output.locator(".fm-cl-counts")).to_have_text("1 to relabel · 2 set aside · 2 kept")
    keys.press("u")
    expect(said).to_contain_text("1 kept")
    keys.press("Shift+U")
    expect(output.locator(".fm-cl-counts")).to_have_text("1 to relabel · 2 set aside · 2 kept")
    keys.press("?")
    expect(output.get_by_role("dialog", name="Keys")).to_contain_text("next undecided")
    keys.press("Escape")
    keys.press("Control+Enter")
    expect(output.get_by_role("dialog")).to_contain_text(re.compile("bird/astray.jpg.*→.*snow/astray.jpg"))
    keys.press("Enter")
    expect(output.get_by_role("dialog", name="Applied")).to_be_visible()
    keys.press("Enter")
    expect(output.get_by_role("dialog")).to_have_count(0)
    expect(queue(output, "Everything")).to_contain_text("of 27")
    folder = lab.root / "keys"
    assert (folder / "snow/astray.jpg").exists()
    assert not (folder / "bird/astray.jpg").exists()
    assert (folder / "forest" / kept).exists()
    assert not (folder / "snow/night.jpg").exists()
    assert len(list((folder / ".fastmagic").rglob("*.jpg"))) == 2  # set aside, not deleted
    assert shown.console == []


def test_a_new_label_is_asked_for_once_more_and_all_can_be_chosen(lab: FrontEnd):
    shown = lab.open([small("new"), "fastmagic.clean('new')"])
    shown.run_all()
    output = opened(shown)
    keys = shown.page.keyboard
    queue(output, "Everything").click()
    tile(output, "bird/0000.jpg").click()
    keys.press("l")
    keys.type("sno")
    keys.press("Enter")
    expect(tile(output, "bird/0000.jpg").locator(".fm-cl-mark")).to_have_text("✎ snow")
    keys.press("/")
    keys.type("kestrel")
    keys.press("Enter")
    expect(output.get_by_role("dialog", name="A new label?")).to_contain_text(
        "“kestrel” is none of the 3 labels so far."
    )
    keys.press("Enter")
    expect(tile(output, "bird/0001.jpg").locator(".fm-cl-mark")).to_have_text("✎ kestrel")
    keys.press("Control+A")
    expect(output.locator(".fm-cl-about-these")).to_have_text("27 chosen")
    keys.press("1")
    expect(output.locator(".fm-cl-counts")).to_have_text("18 to relabel · 9 kept")  # birds are birds already
    keys.press("u")
    expect(output.locator(".fm-cl-counts")).to_have_text("2 to relabel")


def test_a_reload_shows_the_view_and_the_decisions_as_they_were(lab: FrontEnd):
    shown = lab.open([small("again"), "cleaner = fastmagic.clean('again')\ncleaner"], width=1500, own=True)
    shown.run_all()
    output = opened(shown)
    queue(output, "Everything").click()
    output.get_by_label("Label", exact=True).select_option("forest")
    expect(tile(output, "bird/0000.jpg")).to_have_count(0)
    tile(output, "forest/0003.jpg").click()
    shown.page.keyboard.press("x")
    expect(tile(output, "forest/0003.jpg").locator(".fm-cl-mark")).to_be_visible()
    expect(tile(output, "forest/0003.jpg")).not_to_have_class(re.compile("fm-cl-pending"))
    shown.save_until(1, lambda data: "1 set aside" in data["text/plain"] and WIDGET not in data)
    shown.reload()
    output = opened(shown)
    expect(queue(output, "Everything")).to_have_attribute("aria-selected", "true")
    expect(output.get_by_label("Label", exact=True)).to_have_value("forest")
    expect(tiles(output)).to_have_count(9)
    expect(tile(output, "forest/0003.jpg").locator(".fm-cl-mark")).to_have_text("✕ set aside")
    expect(output.locator(".fm-cl-counts")).to_have_text("1 set aside")
    output.get_by_role("button", name="Undo").click()
    expect(tile(output, "forest/0003.jpg").locator(".fm-cl-mark")).to_be_hidden()


def test_two_panels_on_the_same_data_agree(lab: FrontEnd):
    shown = lab.open([small("two"), "fastmagic.clean('two')", "fastmagic.clean('two')"])
    shown.run_all()
    one, other = opened(shown, 1), opened(shown, 2)
    for output in (one, other):
        queue(output, "Everything").click()
        tile(output, "bird/0000.jpg").click()
    tile(one, "bird/0002.jpg").click()
    shown.page.keyboard.press("2")
    expect(tile(other, "bird/0002.jpg").locator(".fm-cl-mark")).to_have_text("✎ forest")
    expect(other.locator(".fm-cl-counts")).to_have_text("1 to relabel")
    other.get_by_role("button", name="Undo").click()
    expect(tile(one, "bird/0002.jpg").locator(".fm-cl-mark")).to_be_hidden()


def test_thousands_are_scrolled_to_the_end_with_few_elements(lab: FrontEnd):
    shown = lab.open([f"{PICTURES}\npictures('many', 1000, 16)", "fastmagic.clean('many', background=False)"])
    shown.run_all()
    output = opened(shown)
    scroller = output.get_by_role("grid")
    expect(scroller).to_have_attribute("aria-label", "Everything: 3,000 pictures")
    most = scroller.evaluate("""async e => {
        let most = 0;
        for (let i = 1; i <= 40; i++) {
            e.scrollTop = (i / 40) * e.scrollHeight;
            await new Promise(requestAnimationFrame);
            await new Promise(done => setTimeout(done, 30));
            most = Math.max(most, e.querySelectorAll('*').length);
        }
        return most;
    }""")
    assert most < 1500
    last = tile(output, "snow/0999.jpg")
    expect(last).not_to_have_class(re.compile("fm-cl-wait"))
    assert last.locator("img").evaluate("async e => { await e.decode(); return e.naturalWidth }") == 16
    assert int(scroller.get_attribute("aria-rowcount") or 0) >= 3000 / 20
    last.click()
    shown.page.keyboard.press("Control+A")
    expect(output.locator(".fm-cl-about-these")).to_have_text("3,000 chosen")
    shown.page.keyboard.press("x")
    expect(output.locator(".fm-cl-counts")).to_have_text("3,000 set aside")
    expect(last.locator(".fm-cl-mark")).to_be_visible()
    shown.page.keyboard.press("Home")
    expect(tile(output, "bird/0000.jpg").locator(".fm-cl-mark")).to_be_visible()
    assert len(journal(lab.root / "many")) == 3000


@pytest.mark.parametrize("dark", [False, True])
def test_what_a_zoom_shows_and_decides(lab: FrontEnd, dark: bool):
    folder = f"zoom_{dark}"
    shown = lab.open([faulty(folder), f"fastmagic.clean('{folder}')"], dark=dark, width=1500)
    shown.run_all()
    output = opened(shown)
    expect(output.locator(".fm-cl-busy")).to_have_count(0)
    queue(output, "Duplicates").click()
    expect(tile(output, "1 of 2 alike")).to_be_visible()
    shown.screenshot("cleaner-groups")
    queue(output, "Everything").click()
    tile(output, "bird/0000.jpg").dblclick()
    zoom = output.get_by_role("dialog")
    expect(zoom.locator(".fm-px-stage canvas")).to_be_visible()  # the pixel inspector
    shown.page.keyboard.press("ArrowRight")
    expect(zoom).to_contain_text("bird/0001.jpg")
    expect(zoom.locator(".fm-px-head")).to_contain_text("0001.jpg")
    shown.page.keyboard.press("k")
    expect(zoom).to_contain_text("3 of 29")
    expect(zoom.locator(".fm-px-head")).to_contain_text("0002.jpg")
    shown.screenshot("cleaner-zoom")
    shown.page.keyboard.press("Escape")
    expect(tile(output, "bird/0002.jpg")).to_be_focused()
    expect(tile(output, "bird/0001.jpg").locator(".fm-cl-mark")).to_have_text("✓ kept")
    assert shown.console == []


def test_a_phone_shows_it_without_running_over(lab: FrontEnd):
    shown = lab.open([small("phone"), "fastmagic.clean('phone')"], width=380)
    shown.page.evaluate("jupyterapp.commands.execute('application:toggle-left-area')")
    shown.run_all()
    output = opened(shown)
    output.get_by_role("button", name="Filter and sort").click()
    expect(output.get_by_label("Sort", exact=True)).to_be_visible()
    assert output.locator(".fm-panel").evaluate("e => e.scrollWidth <= e.clientWidth + 1")
    shown.screenshot("cleaner-phone")


def test_a_kernel_that_has_ended_is_missed_in_seconds(lab: FrontEnd):
    shown = lab.open([small("ended"), "fastmagic.clean('ended')"])
    shown.run_all()
    output = opened(shown)
    expect(output.locator(".fm-cl-busy")).to_have_count(0)
    expect(output.locator(".fm-lost")).to_be_hidden()
    shown.end_kernel()
    queue(output, "Everything").click()
    expect(output.locator(".fm-lost")).to_be_visible()
    expect(output.get_by_text("run this cell again")).to_be_visible()
    shown.screenshot("cleaner-kernel-ended")


def test_a_saved_notebook_shows_what_was_decided_without_a_kernel(lab: FrontEnd):
    shown = lab.open([small("saved"), "fastmagic.clean('saved')"])
    shown.run_all()
    output = opened(shown)
    queue(output, "Everything").click()
    tile(output, "bird/0000.jpg").click()
    shown.page.keyboard.press("x")
    expect(output.locator(".fm-cl-counts")).to_have_text("1 set aside")
    shown.save_until(1, lambda data: "1 set aside" in data["text/plain"] and WIDGET not in data)
    shown.reopen()
    output = shown.output(1)
    expect(output).to_contain_text("saved: 27 items, 1 set aside")
    assert output.locator("img").first.evaluate("e => e.naturalWidth") > 0


def test_filters_words_and_sorts_choose_what_is_seen_and_groups_keep_their_best(lab: FrontEnd):
    shown = lab.open([faulty("chosen"), "fastmagic.clean('chosen')"], width=1500)
    shown.run_all()
    output = opened(shown)
    expect(output.locator(".fm-cl-busy")).to_have_count(0)
    grid = output.get_by_role("grid")
    queue(output, "Everything").click()
    expect(grid).to_have_attribute("aria-label", "Everything: 29 pictures")
    output.get_by_label("Label", exact=True).select_option("snow")
    expect(grid).to_have_attribute("aria-label", "Everything: 9 pictures")
    output.get_by_label("Sort", exact=True).select_option("name")
    expect(tiles(output).last).to_have_attribute("aria-label", re.compile("snow/night.jpg"))
    search = output.get_by_role("searchbox")
    search.fill("nigh")
    expect(grid).to_have_attribute("aria-label", "Everything: 1 picture")
    expect(output.locator(".fm-cl-said")).to_have_text("Everything: 1 picture matches the filters.")
    tile(output, "snow/night.jpg").click()
    output.get_by_role("button", name="Set aside").click()
    expect(tile(output, "snow/night.jpg").locator(".fm-cl-mark")).to_be_visible()
    search.fill("")
    output.get_by_label("only undecided").check()
    expect(grid).to_have_attribute("aria-label", "Everything: 8 pictures")
    output.get_by_label("Label", exact=True).select_option(label="any label")
    expect(grid).to_have_attribute("aria-label", "Everything: 28 pictures")
    queue(output, "Duplicates").click()
    output.get_by_role("button", name="Keep the best of each group").click()
    expect(output.locator(".fm-cl-counts")).to_have_text(re.compile("2 set aside"))
    made = {line["path"]: line["action"] for line in journal(lab.root / "chosen")}
    assert made.pop("snow/night.jpg") == "aside"
    assert sorted(made) == ["forest/0002.jpg", "forest/copy.jpg"]
    assert sorted(made.values()) == ["aside", "keep"]
    assert shown.console == []


SOUNDS = """
%load_ext fastmagic
import fastmagic
import wave
import numpy as np
from pathlib import Path
for i in range(6):
    file = Path("sounds") / ("low", "high")[i % 2] / f"{i}.wav"
    file.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(file), "wb") as sound:
        sound.setnchannels(1), sound.setsampwidth(2), sound.setframerate(8000)
        sound.writeframes((np.sin(np.arange(80_000) * (i + 1) / 9) * 900).astype("<i2").tobytes())
"""
ROWS = """
import pandas as pd
rows = pd.DataFrame({"age": range(20, 80), "job": ["cook", "<b>clerk</b>", "nurse"] * 20, "pay": ["low", "high"] * 30})
rows.to_csv("rows.csv", index=False)
"""


def test_sounds_are_heard_and_rows_read(lab: FrontEnd):
    table = "fastmagic.clean(fastmagic.datablock('rows.csv', target='pay', bs=16))"
    shown = lab.open([f"{SOUNDS}{ROWS}", "fastmagic.clean('sounds')", table])
    shown.run_all()
    output = opened(shown, 1)
    queue(output, "Everything").click()
    expect(output.get_by_role("grid")).to_have_attribute("aria-label", "Everything: 6 sounds")
    first = tile(output, "0.wav")
    first.locator(".fm-cl-play").click()  # what is heard is what a key is about
    expect(first.locator(".fm-cl-play")).to_have_text("■")
    shown.page.keyboard.press("p")
    expect(first.locator(".fm-cl-play")).to_have_text("▶")
    shown.page.keyboard.press("1")
    expect(first.locator(".fm-cl-mark")).to_be_visible()
    shown.screenshot("cleaner-sounds")
    rows = opened(shown, 2)
    queue(rows, "Everything").click()
    expect(rows.get_by_role("grid")).to_have_attribute("aria-label", "Everything: 60 rows")
    expect(tiles(rows).filter(has_text="<b>clerk</b>").first).to_contain_text("low")
    shown.screenshot("cleaner-rows")
    assert shown.console == []
