"""The page that `fastmagic demo` writes, in a real browser: complete, without asking the network, also on a phone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from front_ends import SCREENSHOTS


@pytest.fixture(scope="module")
def page_file(tmp_path_factory) -> Path:
    """The page: one that CI has just had the README's command write, or one made here."""
    if made := os.environ.get("FASTMAGIC_DEMO"):
        return Path(made)
    folder = tmp_path_factory.mktemp("demo")
    done = subprocess.run(
        [sys.executable, "-m", "fastmagic.cli", "demo", "--no-open", "--output", "page.html"],
        capture_output=True,
        text=True,
        timeout=900,
        cwd=folder,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "page.html"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1100, 390], ids=["desk", "phone"])
def test_the_page_is_whole_and_asks_nobody(page_file, browser, scheme, width):
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(page_file.as_uri())
    page.wait_for_load_state("networkidle")
    text = page.inner_text("body")
    SCREENSHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"demo-{scheme}-{width}.png", full_page=True)
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    assert re.search(r"\d+ of 359 wrong", text)
    assert "Warning" not in text
    assert "vision_learner(dls, fastmagic.tiny" in text
    sizes = page.eval_on_selector_all("img", "images => images.map(i => i.naturalWidth)")
    assert len(sizes) >= 3
    assert all(size > 0 for size in sizes)
    # Nothing makes the whole page scroll sideways; a wide table scrolls by itself.
    assert page.evaluate("document.documentElement.scrollWidth") <= width + 1
    context.close()


def test_the_lesson_learns(page_file):
    wrong = int(re.search(r"(\d+) of 359 wrong", page_file.read_text(encoding="utf-8")).group(1))
    assert wrong <= 36


def test_a_misspelt_command_names_the_right_one():
    done = subprocess.run([sys.executable, "-m", "fastmagic.cli", "dmo"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "Did you mean 'demo'?" in done.stderr


def test_a_folder_that_is_not_there_is_told_before_anything_runs(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "fastmagic.cli", "demo", "--no-open", "-o", str(tmp_path / "no" / "page.html")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "There is no folder" in done.stderr


def test_a_folder_in_place_of_a_file_is_told_before_anything_runs(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "fastmagic.cli", "demo", "--no-open", "-o", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "is a folder" in done.stderr
    assert "fastmagic-demo.html" in done.stderr
