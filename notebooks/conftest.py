"""Lesson 00 searches for photos: in the tests it asks the stand-in, which serves real ones where they are at hand, else digits."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
LESSON = HERE / "00_is_it_a_bird.ipynb"
_running: dict[str, object] = {}


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Send the kernel of that one notebook to the stand-in; nbval starts it with the environment of its first cell."""
    if item.path == LESSON and not _running:
        _start()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    if _running and (nextitem is None or nextitem.path != LESSON):
        _stop()


def _start() -> None:
    import standin

    folder = Path(tempfile.mkdtemp(prefix="fastmagic-lesson-"))
    photos = standin.class_photos(HERE.parent.parent / "shared" / "data", 160)
    running = standin.StandIn(photos, folder)
    running.__enter__()
    before = dict(os.environ)
    os.environ.update(running.environment(), XDG_CACHE_HOME=str(folder / "cache"))
    _running.update(standin=running, before=before, folder=folder)
    shutil.rmtree(HERE / "bird_or_not", ignore_errors=True)


def _stop() -> None:
    running, before, folder = _running["standin"], _running["before"], _running["folder"]
    # The notebook cannot tell where its photos came from; its test can.
    asked = len(running.requests_to("duckduckgo.com"))  # type: ignore[attr-defined]
    photos = {label: len(list((HERE / "bird_or_not" / label).glob("*.jpg"))) for label in ("bird", "forest")}
    running.__exit__()  # type: ignore[attr-defined]
    os.environ.clear()
    os.environ.update(before)  # type: ignore[arg-type]
    _running.clear()
    shutil.rmtree(folder, ignore_errors=True)  # type: ignore[arg-type]
    shutil.rmtree(HERE / "bird_or_not", ignore_errors=True)
    assert asked, "the lesson did not search"
    assert min(photos.values()) >= 5, f"the lesson went on with the digits: {photos}"
