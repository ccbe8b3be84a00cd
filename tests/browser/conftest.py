"""Fixtures for tests in a browser: Chromium, and each front end as a running server."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from front_ends import (
    CHROMIUM,
    CHROMIUM_FLAGS,
    FAILURES,
    KERNELS,
    KINDS,
    PATIENCE,
    ROOT,
    Forks,
    FrontEnd,
    ServerEnded,
    missing,
    need,
)

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Try a failed browser test, and no other, a second time; the summary then lists it as a RERUN."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Iterator[None]:
    """After a failure leave the pages that were open, and say where."""
    report = yield
    front_ends = getattr(item, "funcargs", {}).get("front_ends")
    if report.failed and front_ends and call.when != "teardown":
        folder = FAILURES / re.sub(r"\W+", "-", item.nodeid.removeprefix("tests/browser/"))
        for shown in [shown for front_end in front_ends.running.values() for shown in front_end.shown]:
            shown.evidence(folder)
            report.sections.append((f"console of {shown.front_end.name}", "\n".join(shown.heard[-20:])))
        report.sections.append(("left behind", f"screenshot, console and server's log in {folder.relative_to(ROOT)}"))
    return report


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium, one for all tests."""
    if CHROMIUM is None:
        missing("Chromium is not installed")
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


class FrontEnds:
    """The servers started so far in this session, by name."""

    def __init__(self, browser: Browser, factory: pytest.TempPathFactory) -> None:
        self.browser, self.factory = browser, factory
        self.running: dict[str, FrontEnd] = {}
        self.forks = Forks() if sys.platform == "linux" else None

    def __getitem__(self, name: str) -> FrontEnd:
        """The front end of this name, started if it is not running."""
        if name not in self.running:
            need(KINDS[name].python, (KINDS[name].program, *KINDS[name].needs))
            for last in (False, False, True):
                try:
                    self.running[name] = FrontEnd(name, self.browser, self.factory.mktemp(name), self.forks)
                    break
                except ServerEnded:  # somebody else may have been quicker to take the port
                    if last:
                        raise
        return self.running[name]


@pytest.fixture(scope="session")
def front_ends(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrontEnds]:
    """All front ends by name: front_ends["lab"] starts JupyterLab, or is the one already running."""
    front_ends = FrontEnds(browser, tmp_path_factory)
    yield front_ends
    for wait in (False, True):  # all are told to end before the first is waited for
        for front_end in front_ends.running.values():
            front_end.stop(wait)
    if front_ends.forks:
        front_ends.forks.stop()


@pytest.fixture(scope="session", params=["lab", "notebook", "nbclassic", "rise", "lab_rise", "voila"])
def front_end(request: pytest.FixtureRequest, front_ends: FrontEnds) -> FrontEnd:
    """Each of the six front ends in turn."""
    return front_ends[request.param]


@pytest.fixture(params=[name for name in KERNELS if name.startswith("ipykernel")])
def kernel(request: pytest.FixtureRequest) -> str:
    """The name of a kernel with each ipykernel in turn, for FrontEnd.open."""
    return request.param


def _fixture(name: str):
    @pytest.fixture(scope="session", name=name)
    def one(front_ends: FrontEnds) -> FrontEnd:
        return front_ends[name]

    return one


lab, notebook, nbclassic = _fixture("lab"), _fixture("notebook"), _fixture("nbclassic")
rise, lab_rise, lab_rise_wrong = _fixture("rise"), _fixture("lab_rise"), _fixture("lab_rise_wrong")
voila = _fixture("voila")


@pytest.fixture(autouse=True)
def _close_what_the_test_opened(request: pytest.FixtureRequest) -> Iterator[None]:
    """Notebooks that fixtures of a wider scope opened stay open; those that a test opened do not outlive it."""
    running = request.getfixturevalue("front_ends").running if "front_ends" in request.fixturenames else {}
    before = {id(shown) for front_end in running.values() for shown in front_end.shown}
    yield
    for front_end in running.values():
        for shown in list(front_end.shown):
            if id(shown) not in before:
                shown.close()
