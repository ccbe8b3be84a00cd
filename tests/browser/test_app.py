"""Apps in a browser: what a visitor without Jupyter sees of a model, in daylight and at night, on a desk and on a phone."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from front_ends import PATIENCE, ROOT
from playwright.sync_api import Page, expect

sys.path.append(str(Path(__file__).parent.parent))
from app_visitor import Served, served

import fastmagic
from fastmagic.bundles.learner import export

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PANEL = ".fm-pr-controls"


@pytest.fixture(scope="module")
def bundle(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from fastai.vision.all import ImageDataLoaders, Resize, vision_learner
    from torchvision.models import squeezenet1_1

    dls = ImageDataLoaders.from_folder(shapes, valid_pct=0.2, seed=0, item_tfms=Resize(64), bs=16, num_workers=0)
    file = tmp_path_factory.mktemp("model") / "shapes.fastmagic"
    export(
        vision_learner(dls, squeezenet1_1, pretrained=False), file, title="Disc or square?", description="Two shapes."
    )
    return file


@pytest.fixture(scope="module")
def app(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("app"), bundle, "--visitors", 5) as running:
        yield running


def health(app: Served) -> dict[str, int]:
    with urllib.request.urlopen(f"{app.address}health") as answer:
        return json.load(answer)


def kernels(app: Served) -> list[int]:
    return [number for number, command in app.children().items() if "ipykernel_launcher" in command]


@pytest.fixture
def page(browser: Browser, app: Served) -> Iterator[Page]:
    """The app's page; nothing may be fetched from another host, no script may fail."""
    outside: list[str] = []
    wrong: list[str] = []
    with browser.new_context(viewport={"width": 1000, "height": 800}) as context:
        page = context.new_page()
        page.on(
            "request",
            lambda asked: (
                outside.append(asked.url) if asked.url.startswith("http") and "127.0.0.1" not in asked.url else None
            ),
        )
        page.on("pageerror", lambda error: wrong.append(str(error)))
        yield page
        page.goto("about:blank")
    assert not outside
    assert not wrong


def shown(page: Page, address: str) -> Page:
    page.goto(address)
    expect(page.locator(PANEL)).to_be_visible(timeout=PATIENCE)
    return page


def test_a_picture_is_uploaded_and_judged(page: Page, app: Served, shapes: Path):
    shown(page, app.address)
    expect(page).to_have_title("Disc or square?")
    expect(page.locator(".fm-panel")).to_contain_text("Disc or square?")
    expect(page.locator(".fm-pr-url")).to_have_count(0)
    page.set_input_files(
        ".fm-panel input[type=file]", [next((shapes / "disc").iterdir()), next((shapes / "square").iterdir())]
    )
    expect(page.locator(".fm-pr-decision")).to_have_text(re.compile(r"(disc|square)\s+\d"))
    page.get_by_role("button", name="Clear").click()
    expect(page.locator(".fm-pr-decision")).to_have_count(0)
    page.locator(".fm-pr-tile").first.click()  # "Try one"
    expect(page.locator(".fm-pr-decision")).to_be_visible()
    assert "fastmagic.serve" not in page.content()


def test_reloads_leave_no_kernels(page: Page, app: Served):
    for _ in range(12):
        shown(page, app.address)
    end = time.monotonic() + PATIENCE / 1000
    while health(app) != {"visitors": 1, "places": 5, "ready": 2}:
        assert time.monotonic() < end, health(app)
        page.wait_for_timeout(200)
    assert len(kernels(app)) == 3


def test_a_kernel_that_died_is_said_and_the_page_begins_again(page: Page, app: Served):
    before = {*kernels(app)}
    shown(page, app.address)
    mine = page.evaluate("JSON.parse(document.getElementById('jupyter-config-data').textContent).kernelId")
    expect(page.locator("#app-ended")).to_be_hidden()
    (victim,) = [number for number in before | {*kernels(app)} if f"kernel-{mine}" in app.children().get(number, "")]
    os.kill(victim, signal.SIGKILL)
    expect(page.locator("#app-ended")).to_contain_text("This app has ended here", timeout=20_000)
    page.get_by_role("button", name="Start again").click()
    expect(page.locator(PANEL)).to_be_visible(timeout=PATIENCE)
    expect(page.locator("#app-ended")).to_be_hidden()


@pytest.mark.parametrize("width", [360, 1280])
def test_it_fits_a_phone_and_a_desk(page: Page, app: Served, shapes: Path, width: int):
    page.set_viewport_size({"width": width, "height": 700})
    shown(page, app.address)
    page.set_input_files(".fm-panel input[type=file]", next((shapes / "disc").iterdir()))
    expect(page.locator(".fm-pr-decision")).to_be_visible()
    assert page.evaluate("document.scrollingElement.scrollWidth") <= width
    inside: Any = page.locator(".fm-panel").bounding_box()
    assert inside["x"] >= 0
    assert inside["x"] + inside["width"] <= width


def test_dark_below_a_path_with_a_token(browser: Browser, bundle: Path, tmp_path: Path):
    with served(tmp_path, bundle, "--theme", "dark", "--base-url", "/a/b/", "--token", "--preheat", 1) as app:
        page = browser.new_page()
        page.goto(app.address)
        page.get_by_label("Token").fill("a guess")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_have_text("That is not the token.")
        page.get_by_label("Token").fill(app.token)
        page.keyboard.press("Enter")
        expect(page.locator(PANEL)).to_be_visible(timeout=PATIENCE)
        expect(page.locator(".fm-panel")).to_have_class(re.compile("fm-dark"))
        darkness = page.evaluate(
            "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number)"
        )
        assert max(darkness) < 60
        page.close()


def test_a_table_gets_a_form(browser: Browser, tmp_path: Path):
    import numpy as np
    import pandas as pd
    from fastai.tabular.all import Categorify, FillMissing, Normalize, TabularDataLoaders, tabular_learner

    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "kind": random.choice(["a", "b"], 80),
            "town": [f"town {n % 40}" for n in range(80)],
            "size": random.normal(5, 1, 80),
        }
    )
    frame["dear"] = random.choice(["no", "yes"], 80)
    dls = TabularDataLoaders.from_df(
        frame,
        cat_names=["kind", "town"],
        cont_names=["size"],
        y_names="dear",
        bs=8,
        num_workers=0,
        procs=[Categorify, FillMissing, Normalize],
    )
    export(tabular_learner(dls), tmp_path / "houses.fastmagic")
    with served(tmp_path, tmp_path / "houses.fastmagic", "--preheat", 1) as app:
        page = browser.new_page(viewport={"width": 360, "height": 700})
        page.goto(app.address)
        expect(page.get_by_role("textbox", name="size", exact=True)).to_have_value(re.compile(r"^\d"), timeout=PATIENCE)
        page.get_by_role("combobox", name="kind", exact=True).select_option("b")
        page.get_by_role("combobox", name="town", exact=True).fill("town 7")
        page.get_by_role("textbox", name="size", exact=True).fill("4,5")
        page.keyboard.press("Enter")
        expect(page.locator(".fm-pr-decision")).to_have_text(re.compile(r"(yes|no)\s+\d"))
        expect(page.get_by_role("textbox", name="size", exact=True)).to_have_value("4,5")  # what the reader wrote stays
        page.get_by_role("combobox", name="town", exact=True).fill("twon 7")
        page.get_by_role("button", name="Predict").click()
        expect(page.get_by_role("alert").first).to_contain_text("town: the model does not know 'twon 7'.")
        page.get_by_role("list", name="The last predictions").get_by_role("button").first.click()
        expect(page.get_by_role("combobox", name="town", exact=True)).to_have_value("town 7")
        expect(page.get_by_role("textbox", name="size", exact=True)).to_have_value("4.5")
        assert page.evaluate("document.scrollingElement.scrollWidth") <= 360
        page.close()


# ---------------------------------------------------------------- notebooks that are apps


@pytest.fixture
def beside(tmp_path: Path, shapes: Path) -> Path:
    """A folder with the notebooks, and with photos in folders of their classes."""
    for notebook in ROOT.glob("notebooks/app_*.ipynb"):
        shutil.copy(notebook, tmp_path)
    shutil.copytree(shapes, tmp_path / "my shapes")
    for number, file in enumerate(sorted(shapes.rglob("*.png"))):
        place = tmp_path / "split" / ("valid" if number % 6 == 0 else "train") / file.parent.name
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, place)
    return tmp_path


def test_a_model_is_trained_looked_at_and_taken_home(browser: Browser, beside: Path):
    with served(beside, beside / "app_train.ipynb", "--visitors", 1) as app:
        page = browser.new_page(viewport={"width": 390, "height": 800})
        page.goto(app.address)
        page.get_by_label("Where are the items?").select_option("my shapes", timeout=PATIENCE)
        page.get_by_role("button", name="Look", exact=True).click()
        expect(page.get_by_text("Press Train first.")).to_be_visible()
        page.get_by_role("button", name="Show the data").click()
        expect(page.get_by_text(re.compile(r"\d+ \+ \d+ photos, 2 classes"))).to_be_visible(timeout=PATIENCE)
        page.get_by_label("Which model?").select_option("tiny: small and quick")
        train = page.get_by_role("button", name="Train", exact=True)
        train.click()
        expect(page.locator(".fm-loss")).to_be_visible(timeout=PATIENCE)
        expect(train).to_be_enabled(timeout=PATIENCE)
        page.get_by_role("button", name="Look", exact=True).click()
        expect(page.locator(".fm-confusion")).to_be_visible(timeout=PATIENCE)
        page.get_by_label("What does it tell apart?").fill("Disc, or square?")
        page.get_by_role("button", name="Export").click()
        with page.expect_download() as download:
            page.get_by_role("link", name="Download disc__or_square.fastmagic").click()
        (written,) = beside.glob("disc__or_square-*.fastmagic")
        assert Path(download.value.path()).read_bytes() == written.read_bytes()
        assert page.evaluate("document.scrollingElement.scrollWidth") <= 390
        page.get_by_label("Which class is each?").select_option("how its file name begins")
        page.get_by_label("What is held back?").select_option("what is in the folder called valid")
        page.get_by_role("button", name="Show the data").click()
        expect(page.get_by_text("There are no such folders")).to_be_visible()
        assert "Traceback" not in page.content()
        page.get_by_label("Where are the items?").select_option("split")
        page.get_by_label("Which class is each?").select_option("the folder it is in")
        page.get_by_role("button", name="Show the data").click()
        expect(page.get_by_text("100 + 20 photos, 2 classes")).to_be_visible()
        page.close()
    assert fastmagic.load(written).dls.vocab == ["disc", "square"]


def test_a_folder_is_cleaned(browser: Browser, beside: Path):
    with served(beside, beside / "app_clean.ipynb", "--visitors", 1) as app:
        page = browser.new_page()
        page.goto(app.address)
        page.get_by_label("Photos").select_option("my shapes", timeout=PATIENCE)
        page.get_by_role("button", name="Look through").click()
        expect(page.locator(".fm-panel")).to_contain_text("my shapes", timeout=PATIENCE)
        page.get_by_role("button", name="Set aside").click()
        expect(page.locator(".fm-panel")).to_contain_text("1 set aside")
        page.close()
    assert '"aside"' in (beside / "my shapes" / ".fastmagic" / "decisions.jsonl").read_text()


def test_a_notebook_predicts_with_the_model_beside_it(browser: Browser, beside: Path, bundle: Path):
    shutil.copy(bundle, beside / "digits.fastmagic")  # so that it need not train one
    with served(beside, beside / "app_predict.ipynb", "--visitors", 1) as app:
        page = browser.new_page()
        page.goto(app.address)
        expect(page.locator(PANEL)).to_be_visible(timeout=PATIENCE)
        expect(page.locator(".fm-pr-url")).to_have_count(0)
        page.locator(".fm-pr-tile").first.click()
        expect(page.locator(".fm-pr-decision")).to_have_text(re.compile(r"(disc|square)\s+\d"))
        page.close()
