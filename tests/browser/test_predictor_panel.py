"""The predictor panel in real browsers: every way to give it a picture, what it shows, and what stays without a kernel."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import numpy as np
import pytest

pytest.importorskip("playwright")
from front_ends import CHROMIUM, CHROMIUM_FLAGS, WIDGET, FrontEnd, Shown, missing
from PIL import Image
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Locator

MODEL = """\
import warnings; warnings.simplefilter("ignore")  # torch warns of itself, and a front end looks for the file
import torch, fastmagic
from fastai.vision.all import *
%load_ext fastmagic
dls = fastmagic.datablock(fastmagic.digits(), item_tfms=Resize(64), bs=32, num_workers=0)
torch.manual_seed(1)
body = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten(), torch.nn.Linear(48, 10))
learn = Learner(dls, body, loss_func=CrossEntropyLossFlat())"""
ASK = "[said.source for said in preds.history], preds.last.image.size"


@pytest.fixture(scope="session")
def photo(tmp_path_factory) -> Path:
    """A picture that a browser and Pillow both take, 300 × 200 px."""
    path = tmp_path_factory.mktemp("photos") / "photo.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 300, 3), dtype="uint8")).save(path)
    return path


@pytest.fixture(scope="module")
def opened(lab: FrontEnd) -> Iterator[Shown]:
    """One notebook for the tests that need nothing of their own; its model is made once."""
    shown = lab.open([MODEL, "%predict learn", ASK], name="predictor", height=1100)
    shown.run(0)
    yield shown
    shown.close()


@pytest.fixture
def panel(opened: Shown) -> Locator:
    """A panel to which nothing has been given."""
    opened.run(1)
    panel = opened.output(1).locator(".fm-predictor")
    expect(panel.get_by_text("The model knows 10 classes")).to_be_visible()
    return panel


def give(panel: Locator, *files: Path) -> None:
    panel.locator("input[type=file]").set_input_files(list(files))


def history(panel: Locator) -> Locator:
    return panel.get_by_role("list", name="The last predictions").get_by_role("button")


def decided(panel: Locator, name: str) -> None:
    expect(panel.locator(".fm-pr-foot")).to_contain_text(f"s · {name}")


# ---------------------------------------------------------------- everywhere


def test_a_picture_is_predicted_in_every_front_end(front_end: FrontEnd, photo: Path):
    shown = front_end.open([MODEL, "%predict learn"])
    shown.run_all()
    shown.show(1)
    panel = shown.page.locator(".fm-predictor")
    give(panel, photo)
    decided(panel, "photo.jpg")
    expect(panel.locator(".fm-pr-bars li")).to_have_count(5)
    panel.get_by_role("button", name="Example:").first.click()
    expect(history(panel)).to_have_count(2)
    expect(panel.get_by_text("in the validation set it is labelled")).to_be_visible()
    shown.screenshot("predictor")
    assert shown.foreign == []
    assert shown.console == []


# ---------------------------------------------------------------- ways to give a picture


def test_several_files_and_one_that_is_none(opened, panel, photo, tmp_path):
    notes = tmp_path / "notes.pdf"
    notes.write_bytes(b"%PDF-1.7")
    other = tmp_path / "other.png"
    Image.new("RGB", (40, 40), "red").save(other)
    give(panel, photo, other, notes)
    expect(panel.get_by_role("alert")).to_contain_text("1 of 3 could not be predicted.")
    expect(panel.get_by_role("alert")).to_contain_text("'notes.pdf' is not a picture but a PDF document.")
    decided(panel, "other.png")
    opened.run(2)
    expect(opened.output(2)).to_contain_text("(['photo.jpg', 'other.png'], (40, 40))")


def test_a_photo_larger_than_a_message_may_be_arrives_whole(opened, panel, tmp_path):
    """Jupyter servers cut the connection at messages of 10 MiB."""
    large = tmp_path / "large.jpg"
    small = np.random.default_rng(0).integers(0, 255, (500, 750, 3), dtype="uint8")
    noise = np.random.default_rng(1).integers(-40, 40, (4000, 6000, 1), dtype="int16")
    pixels = (np.kron(small, np.ones((8, 8, 1), "uint8")) + noise).clip(0, 255).astype("uint8")
    Image.fromarray(pixels).save(large, quality=85)
    assert large.stat().st_size > 11_000_000
    give(panel, large)
    expect(panel.locator(".fm-pr-doing")).to_contain_text("MB")
    decided(panel, "large.jpg")
    opened.run(2)
    expect(opened.output(2)).to_contain_text("(['large.jpg'], (6000, 4000))")


def test_forty_files_at_once_all_arrive(panel, tmp_path):
    """Jupyter servers drop what a kernel sends beyond 1 MB a second."""
    files = []
    for n in range(40):
        files.append(tmp_path / f"{n}.jpg")
        Image.fromarray(np.random.default_rng(n).integers(0, 255, (480, 640, 3), dtype="uint8")).save(files[-1])
    give(panel, *files)
    decided(panel, "39.jpg")
    expect(history(panel)).to_have_count(12)
    expect(panel.get_by_role("alert")).to_be_empty()
    expect(panel.locator(".fm-pr-progress")).to_be_hidden()


def test_sending_can_be_cancelled(panel, photo):
    give(panel, *[photo] * 500)
    panel.get_by_role("button", name="Cancel").click()
    expect(panel.locator(".fm-pr-progress")).to_be_hidden()
    assert int(history(panel).first.get_attribute("data-number") or 500) < 500


PICTURE = """async type => {
  const canvas = Object.assign(document.createElement('canvas'), {width: 70, height: 50});
  canvas.getContext('2d').fillRect(0, 0, 70, 50);
  return new Promise(resolve => canvas.toBlob(resolve, type));
}"""


def test_the_clipboard_by_key_and_by_button(opened, panel):
    opened.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    opened.page.evaluate(
        f"async () => navigator.clipboard.write([new ClipboardItem({{'image/png': await ({PICTURE})('image/png')}})])"
    )
    panel.click(position={"x": 3, "y": 3})
    opened.page.keyboard.press("Control+v")
    decided(panel, "pasted picture")
    panel.get_by_role("button", name="Paste", exact=True).click()
    expect(history(panel)).to_have_count(2)
    opened.page.evaluate("navigator.clipboard.writeText('no address')")
    panel.get_by_role("button", name="Paste", exact=True).click()
    expect(panel.get_by_role("alert")).to_contain_text("There is no picture on the clipboard.")
    # What belongs into a field stays there.
    panel.get_by_label("Address of a picture").focus()
    opened.page.keyboard.press("Control+v")
    expect(panel.get_by_label("Address of a picture")).to_have_value("no address")


def test_a_dropped_file_shows_its_target_first(opened, panel):
    drag = opened.page.evaluate_handle(
        f"""async () => {{
          const data = new DataTransfer();
          data.items.add(new File([await ({PICTURE})('image/jpeg')], 'dropped.jpg', {{type: 'image/jpeg'}}));
          return data;
        }}"""
    )
    place = panel.get_by_role("group", name="The picture")
    place.dispatch_event("dragover", {"dataTransfer": drag})
    expect(panel.get_by_text("Drop to predict")).to_be_visible()
    place.dispatch_event("drop", {"dataTransfer": drag})
    expect(panel.get_by_text("Drop to predict")).to_be_hidden()
    decided(panel, "dropped.jpg")


def test_a_dropped_link_is_fetched(opened, panel, photo):
    with served(photo) as url:
        drag = opened.page.evaluate_handle(
            "url => { const data = new DataTransfer(); data.setData('text/uri-list', url); return data; }", url
        )
        panel.get_by_role("group", name="The picture").dispatch_event("drop", {"dataTransfer": drag})
        decided(panel, "photo.jpg")


def test_an_address_is_fetched_and_errors_are_told(panel, photo):
    address = panel.get_by_label("Address of a picture")
    with served(photo) as url:
        address.fill(url)
        address.press("Enter")
        decided(panel, "photo.jpg")
    address.fill(url)
    address.press("Enter")
    expect(panel.get_by_role("alert")).to_contain_text("Connection refused")
    address.fill("/etc/hostname")
    panel.get_by_role("button", name="Get").click()
    expect(panel.get_by_role("alert")).to_contain_text("'/etc/hostname' is no http or https address.")
    panel.get_by_role("button", name="Close this message").click()
    expect(panel.get_by_role("alert")).to_be_empty()


def test_what_only_the_browser_can_open_is_redrawn_by_it(opened, panel, tmp_path):
    drawing = tmp_path / "drawing.svg"
    drawing.write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" width="90" height="60"><rect width="9" height="9"/></svg>'
    )
    give(panel, drawing)
    decided(panel, "drawing.svg")
    opened.run(2)
    expect(opened.output(2)).to_contain_text("(['drawing.svg'], (90, 60))")


# ---------------------------------------------------------------- the camera


@pytest.fixture
def camera_lab(lab: FrontEnd) -> Iterator[FrontEnd]:
    """The same JupyterLab, seen by a Chromium that has a camera and may use it."""
    if CHROMIUM is None:
        missing("Chromium is not installed")
    browser = lab.browser
    flags = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    lab.browser = browser.browser_type.launch(executable_path=CHROMIUM, args=[*CHROMIUM_FLAGS, *flags])
    yield lab
    lab.browser.close()
    lab.browser = browser


LIVE = "() => window.streams.flatMap(s => s.getTracks()).filter(t => t.readyState === 'live').length"
WATCHED = """(() => {
  window.streams = [];
  const get = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = async asked => { const s = await get(asked); window.streams.push(s); return s; };
})()"""


def test_the_camera_takes_a_photo_and_is_off_afterwards(camera_lab):
    with camera_lab.open([MODEL, "%predict learn", ASK], name="camera") as shown:
        shown.run_all()
        shown.page.evaluate(WATCHED)
        panel = shown.output(1).locator(".fm-predictor")
        panel.get_by_role("button", name="Camera", exact=True).click()
        expect(panel.get_by_role("button", name="Take photo")).to_be_focused()
        shown.page.wait_for_function("document.querySelector('.fm-predictor video').videoWidth > 0")
        assert shown.page.evaluate(LIVE) == 1
        shown.screenshot("predictor-camera")
        panel.get_by_role("button", name="Take photo").click()
        decided(panel, "photo ")
        assert shown.page.evaluate(LIVE) == 0
        expect(panel.get_by_role("button", name="Camera", exact=True)).to_be_focused()
        # A cell that runs again takes the panel away: nothing films on.
        panel.get_by_role("button", name="Camera", exact=True).click()
        expect(panel.get_by_role("button", name="Take photo")).to_be_visible()
        shown.run(1)
        shown.page.wait_for_function(f"({LIVE})() === 0")


def test_no_camera_is_told(panel):
    panel.get_by_role("button", name="Camera", exact=True).click()
    expect(panel.get_by_role("alert")).to_contain_text("camera")
    expect(panel.get_by_role("button", name="Take photo")).to_be_hidden()


# ---------------------------------------------------------------- looking


def test_by_keyboard_alone(opened, panel, photo):
    keyboard = opened.page.keyboard
    for _ in range(2):
        give(panel, photo)
        decided(panel, "photo.jpg")
        panel.get_by_role("button", name="Example:").first.focus()
        keyboard.press("ArrowRight")
        keyboard.press("Enter")
        expect(panel.get_by_text("in the validation set it is labelled")).to_be_visible()
    expect(history(panel)).to_have_count(4)
    history(panel).first.focus()
    keyboard.press("ArrowRight")
    keyboard.press("Enter")
    decided(panel, "photo.jpg")
    expect(history(panel).nth(1)).to_be_focused()
    expect(history(panel).nth(1)).to_have_attribute("aria-current", "true")
    panel.get_by_role("button", name="Clear", exact=True).focus()
    keyboard.press("Enter")
    expect(panel.get_by_text("The model knows 10 classes")).to_be_visible()
    assert opened.page.evaluate("fm.code().length") == 3  # the notebook heard none of the keys


def test_the_decision_is_announced(panel, photo):
    give(panel, photo)
    expect(panel.get_by_role("status")).to_contain_text("photo.jpg: ")
    expect(panel.get_by_role("status")).to_contain_text("%")


def test_as_many_classes_as_asked_for(panel, photo):
    give(panel, photo)
    panel.get_by_label("How many classes are shown").select_option("all 10")
    expect(panel.locator(".fm-pr-bars li")).to_have_count(10)


def test_a_photo_on_its_side_is_shown_upright_and_judged_both_ways(panel, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.linear_gradient("L").resize((300, 200)).convert("RGB").save(tmp_path / "phone.jpg", exif=exif)
    give(panel, tmp_path / "phone.jpg")
    expect(panel.get_by_text("was turned for the model")).to_be_visible()
    size = panel.locator(".fm-pr-picture img").evaluate("image => [image.naturalWidth, image.naturalHeight]")
    assert size == [200, 300]
    panel.get_by_role("button", name="Judge photos as stored").click()
    expect(panel.get_by_text("the model sees it so")).to_be_visible()


def test_after_a_reload_everything_is_there_again(lab: FrontEnd, photo):
    shown = lab.open([MODEL, "%predict learn"], name="reloaded", own=True)
    shown.run_all()
    panel = shown.output(1).locator(".fm-predictor")
    give(panel, photo)
    decided(panel, "photo.jpg")
    saved = shown.save_until(1, lambda data: "photo.jpg" in data["text/plain"] and WIDGET not in data)
    assert sum(len(str(value)) for value in saved.values()) < 200_000
    shown.reload()
    # Not by its cell: JupyterLab brings the other notebooks of its workspace back as well, in hidden tabs.
    decided(shown.page.locator(".fm-predictor:visible"), "photo.jpg")
    shown.reopen()
    still = shown.output(1).locator(".fastmagic-still")
    expect(still).to_be_visible()
    expect(still.locator("img").first).to_be_visible()
    expect(shown.output(1).locator(".fm-predictor")).to_have_count(0)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [320, 380, 1100])
def test_it_fits_a_phone_and_a_desk(voila: FrontEnd, photo, width, dark):
    cell = "fastmagic.predictor(learn, title='Which digit?', description='Show it one of yours.', allow_url='public')"
    shown = voila.open([MODEL, cell], width=width, dark=dark, name="app")
    panel = shown.page.locator(".fm-predictor")
    give(panel, photo)
    decided(panel, "photo.jpg")
    panel.get_by_role("button", name="Example:").first.click()
    expect(history(panel)).to_have_count(2)
    assert shown.page.evaluate("document.documentElement.scrollWidth") <= width
    outside = panel.locator(":is(button, input, select, img):visible").evaluate_all(
        "(all, width) => all.filter(e => !e.closest('.fm-pr-strip, .fm-hidden') && e.getBoundingClientRect().right > width).length",
        width,
    )
    assert outside == 0
    shown.screenshot(f"predictor-{width}", full_page=True)


class served:
    """A file on a server of its own, for a `with` block; gives its address."""

    def __init__(self, path: Path) -> None:
        data = path.read_bytes()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/{path.name}"

    def __enter__(self) -> str:
        Thread(target=self.server.serve_forever, daemon=True).start()
        return self.url

    def __exit__(self, *exc: object) -> None:
        self.server.shutdown()
        self.server.server_close()
