"""The pixel inspector in real front ends: the cursor, the loupe, the steps, the brush, keys and touch."""

from __future__ import annotations

import re

import pytest
from front_ends import FrontEnd, Shown
from playwright.sync_api import Locator, expect

PICTURE = """
%load_ext fastmagic
import numpy as np
from PIL import Image
pixels = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
pixels[20, 40] = 251, 48, 21
Image.fromarray(pixels).save("bird.png")
big = Image.effect_noise((1500, 1000), 60).resize((6000, 4000))
Image.merge("RGB", [big, big.transpose(0), big]).save("big.jpg", quality=90)
"""
LEARNER = """
%load_ext fastmagic
import torch
from fastai.vision.all import *
torch.manual_seed(0)
import fastmagic
dls = fastmagic.datablock(fastmagic.digits(), item_tfms=Resize(32), batch_tfms=[*aug_transforms(), Normalize.from_stats(*imagenet_stats)], bs=32, num_workers=0)
learn = vision_learner(dls, fastmagic.tiny, pretrained=False)
"""


def part(output: Locator, name: str) -> Locator:
    return output.locator(f"[data-fm={name}]")


def at(output: Locator, x: int, y: int, width: int, height: int) -> tuple[float, float]:
    """Where on the page pixel x, y of a picture is that is seen whole."""
    canvas = part(output, "picture")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    scale = min(box["width"] / width, box["height"] / height)
    left = box["x"] + (box["width"] - width * scale) / 2
    top = box["y"] + (box["height"] - height * scale) / 2
    return left + (x + 0.5) * scale, top + (y + 0.5) * scale


def hover(output: Locator, x: int, y: int, width: int, height: int) -> None:
    """Move the mouse there, once a slide has stopped moving."""
    part(output, "picture").hover(trial=True)
    output.page.mouse.move(*at(output, x, y, width, height))


def narrow(shown: Shown) -> None:
    """Put JupyterLab's file browser away."""
    shown.page.evaluate("jupyterapp.commands.execute('application:toggle-left-area')")


def colour_at(output: Locator, name: str, x: float, y: float) -> list[int]:
    """The colour a canvas shows at a share of its width and height."""
    script = """(canvas, [x, y]) => [...canvas.getContext("2d").getImageData(
        Math.floor(x * canvas.width), Math.floor(y * canvas.height), 1, 1).data].slice(0, 3)"""
    return part(output, name).evaluate(script, [x, y])


def opened(shown: Shown, i: int = 1) -> Locator:
    output = shown.output(i)
    expect(part(output, "picture")).to_be_visible()
    expect(part(output, "readout")).not_to_contain_text("…")
    return output


def test_hovering_reads_the_pixel_everywhere(front_end: FrontEnd):
    shown = front_end.open([PICTURE, "%pixels bird.png"])
    shown.run_all()
    shown.show(1)
    output = opened(shown)
    expect(part(output, "shape")).to_have_text("60 × 90 × 3 numbers between 0 and 255")
    hover(output, 40, 20, 90, 60)
    expect(part(output, "readout")).to_contain_text(re.compile(r"x 40\s+y 20"))
    expect(part(output, "readout")).to_contain_text(re.compile(r"R 251\s*G 48\s*B 21\s*#fb3015"))
    expect(part(output, "numbers").locator("td.fm-px-here")).to_have_text("251\n48\n21")
    expect(part(output, "numbers").locator("td.fm-px-here")).to_have_css("background-color", "rgb(251, 48, 21)")
    # In the corner of the middle cell: its middle has the mark around it.
    assert colour_at(output, "loupe", 0.5, 0.5) == [251, 48, 21]
    shown.screenshot("pixels")
    assert shown.foreign == []
    assert shown.console == []


def test_keys_move_the_cursor_and_choose_channels(lab: FrontEnd):
    shown = lab.open([PICTURE, "%pixels bird.png"])
    shown.run_all()
    output = opened(shown)
    part(output, "picture").focus()
    keys = shown.page.keyboard
    for key in ("Home", "Control+Home", "Shift+ArrowRight", "ArrowRight", "ArrowDown"):
        keys.press(key)
    expect(part(output, "readout")).to_contain_text(re.compile(r"x 11\s+y 1\D"))
    expect(part(output, "live")).to_contain_text("x 11, y 1: R ")
    keys.press("2")
    expect(output.get_by_role("button", name="G", exact=True)).to_have_attribute("aria-pressed", "true")
    expect(part(output, "numbers").locator("td.fm-px-here")).to_have_text(re.compile(r"^\d+$"))
    red, green, blue = colour_at(output, "loupe", 0.5, 0.5)
    assert red == green == blue
    keys.press("0")
    expect(output.get_by_role("button", name="All")).to_have_attribute("aria-pressed", "true")
    for key in ("End", "Control+End"):
        keys.press(key)
    expect(part(output, "readout")).to_contain_text(re.compile(r"x 89\s+y 59"))
    assert shown.console == []


def test_a_click_holds_the_cursor_and_escape_lets_go(lab: FrontEnd):
    shown = lab.open([PICTURE, "%pixels bird.png"])
    shown.run_all()
    output = opened(shown)
    mouse = shown.page.mouse
    mouse.click(*at(output, 40, 20, 90, 60))
    expect(output.get_by_text("held", exact=True)).to_be_visible()
    mouse.move(*at(output, 60, 30, 90, 60))
    expect(part(output, "readout")).to_contain_text(re.compile(r"x 40\s+y 20"))
    shown.page.keyboard.press("Escape")
    mouse.move(*at(output, 61, 31, 90, 60))
    expect(part(output, "readout")).to_contain_text(re.compile(r"x 61\s+y 31"))


def test_of_a_large_photo_only_what_is_looked_at_comes(lab: FrontEnd):
    shown = lab.open([PICTURE, "%pixels big.jpg", "print(px.at(4321, 1234), px.at(5999, 3999))"], own=True)
    received: list[int] = []
    shown.page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: received.append(len(frame))))
    shown.reload()
    shown.run_all()
    output = opened(shown)
    picture = part(output, "picture")
    picture.focus()
    for _ in range(9):
        shown.page.keyboard.press("+")
    shown.page.keyboard.press("End")
    shown.page.keyboard.press("Control+End")
    expect(part(output, "readout")).to_contain_text(re.compile(r"x 5999\s+y 3999"))
    expect(part(output, "readout")).not_to_contain_text("…")
    read = [int(n) for n in re.findall(r"[RGB] (\d+)", part(output, "readout").inner_text().replace("\n", " "))]
    assert sum(received) < 4_000_000  # of 72,000,000 bytes of numbers
    shown.screenshot("pixels-big")
    shown.show(2)  # what is out of sight may not be drawn
    expect(shown.output(2)).to_contain_text(str(tuple(read)))
    assert shown.console == []


@pytest.mark.parametrize(("dark", "width"), [(False, 1280), (True, 1280), (False, 380)])
def test_an_item_is_stepped_through_and_painted(lab: FrontEnd, dark: bool, width: int):
    shown = lab.open([LEARNER, "%pixels learn 12"], dark=dark, width=width)
    if width < 700:
        narrow(shown)
    shown.run_all()
    output = opened(shown)
    expect(part(output, "shape")).to_have_text("32 × 32 numbers between 0 and 255")
    names = part(output, "step").locator("option")
    while output.get_by_label("Next step").is_enabled():
        output.get_by_label("Next step").click()
        shown.wait_idle()
    expect(names.last).to_contain_text("Normalize")
    expect(part(output, "shape")).to_contain_text("1 × 3 × 32 × 32 float32 numbers between −")
    expect(output.get_by_text("Shown rescaled")).to_be_visible()
    expect(part(output, "paint")).to_be_disabled()
    before = part(output, "readout").inner_text()
    part(output, "step").select_option(label="2. PILImage.create")
    expect(part(output, "shape")).to_have_text("32 × 32 × 3 numbers between 0 and 255")
    part(output, "paint").click()
    rows = part(output, "prediction").locator("tr")
    expect(rows).to_have_count(5)
    expect(part(output, "prediction")).to_contain_text("the picture as it is")
    output.get_by_role("button", name="9", exact=True).click()
    x, y = at(output, 8, 8, 32, 32)
    shown.page.mouse.move(x, y)
    shown.page.mouse.down()
    shown.page.mouse.move(*at(output, 16, 16, 32, 32), steps=6)
    shown.page.mouse.up()
    expect(part(output, "prediction")).to_contain_text("painted, against the picture as it was")
    expect(part(output, "prediction")).to_contain_text(re.compile("[▲▼]"))
    expect(part(output, "readout")).to_contain_text("#ff0000")
    shown.screenshot(f"pixels-paint-{width}")
    part(output, "step").select_option(str(names.count() - 1))
    expect(part(output, "shape")).to_contain_text("float32")
    assert part(output, "readout").inner_text() != before
    part(output, "step").select_option("1")
    expect(part(output, "paint")).to_have_attribute("aria-pressed", "true")
    part(output, "picture").focus()
    shown.page.keyboard.press("Control+z")
    expect(part(output, "prediction")).to_contain_text("the picture as it is")
    expect(part(output, "readout")).not_to_contain_text("#ff0000")
    shown.page.keyboard.press("Space")
    expect(part(output, "prediction")).to_contain_text("painted, against")
    panel = output.locator(".fm-panel")
    assert panel.evaluate("e => e.scrollWidth <= e.clientWidth + 1")
    assert shown.console == []


def test_a_finger_moves_the_cursor_and_two_fingers_zoom(lab: FrontEnd):
    shown = lab.open([PICTURE, "%pixels bird.png"], width=420)
    narrow(shown)
    shown.run_all()
    output = opened(shown)
    touch = shown.page.context.new_cdp_session(shown.page)

    def fingers(kind: str, *points: tuple[float, float]) -> None:
        touch.send(
            "Input.dispatchTouchEvent",
            {"type": kind, "touchPoints": [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]},
        )

    fingers("touchStart", at(output, 10, 10, 90, 60))
    fingers("touchMove", at(output, 40, 20, 90, 60))
    expect(part(output, "readout")).to_contain_text(re.compile(r"x 40\s+y 20"))
    shown.screenshot("pixels-touch")
    fingers("touchEnd")
    a, b = at(output, 30, 30, 90, 60), at(output, 60, 30, 90, 60)
    fingers("touchStart", a, b)
    fingers("touchMove", (a[0] - 60, a[1]), (b[0] + 60, b[1]))
    fingers("touchEnd")
    box = part(output, "picture").bounding_box()
    shown.page.mouse.move(box["x"] + 2, box["y"] + box["height"] / 2)
    # The left edge is no longer the picture's.
    expect(part(output, "readout")).not_to_contain_text(re.compile(r"x 0\D"))


def test_a_saved_notebook_keeps_picture_and_numbers_of_the_place_last_looked_at(lab: FrontEnd):
    shown = lab.open([PICTURE, "%pixels bird.png"])
    shown.run_all()
    output = opened(shown)
    hover(output, 40, 20, 90, 60)
    expect(part(output, "readout")).to_contain_text("#fb3015")
    data = shown.save_until(1, lambda data: "at x 40, y 20" in data["text/plain"])
    assert data["text/plain"].endswith("at x 40, y 20: R 251 G 48 B 21 (#fb3015)")
    assert "image/png" in data
    shown.reopen()
    expect(shown.output(1)).to_contain_text("x 40, y 20: R 251 G 48 B 21")
    shown.screenshot("pixels-still")
