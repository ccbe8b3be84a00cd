"""The cups under a Jupyter server's own address, as on a Hub: a real server, jupyter-server-proxy, the entry point."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
import requests
from front_ends import ROOT, need
from playwright.sync_api import expect

if TYPE_CHECKING:
    from playwright.sync_api import Browser

HUB = ROOT / ".venv-hub" / "bin" / "python"
TOKEN = "t0ken"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the cups under a Jupyter server, whose own address has a path as under a Hub."""
    need(HUB, ("jupyter_server_proxy",))
    folder = tmp_path_factory.mktemp("jupyter")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JUPYTER")}
    environment |= {"JUPYTER_RUNTIME_DIR": str(folder), "JUPYTER_CONFIG_DIR": str(folder), "XDG_DATA_HOME": str(folder)}
    command = [str(HUB), "-m", "jupyter_server", "--no-browser", "--allow-root", "--port=0", "--port-retries=0"]
    command += [f"--IdentityProvider.token={TOKEN}", "--ServerApp.base_url=/user/ann/"]
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=folder)
    try:
        end = time.monotonic() + 120
        while not (told := list(folder.glob("jpserver-*.json"))) or not told[0].read_text().strip().endswith("}"):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < end
            time.sleep(0.1)
        yield f"{json.loads(told[0].read_text())['url']}fastmagic-cups/"
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture
def ann(place: str) -> Iterator[requests.Session]:
    """Ann's browser, which is logged in to her Jupyter server and says where its pages come from."""
    with requests.Session() as session:
        assert session.get(f"{place}?token={TOKEN}", timeout=120).status_code == 200
        session.headers["Origin"] = "/".join(place.split("/")[:3])
        yield session


def test_a_room_lives_under_the_teachers_own_address(place: str, ann: requests.Session, browser: Browser):
    made = ann.post(f"{place}rooms", data="{}", timeout=60)
    assert made.status_code == 201, made.text
    room, secret = made.json()["room"], made.json()["secret"]
    with browser.new_context() as context:
        context.add_cookies([{"name": one.name, "value": str(one.value), "url": place} for one in ann.cookies])
        student, board = context.new_page(), context.new_page()
        complaints: list[str] = []
        for page in (student, board):
            page.on("console", lambda said: said.type == "error" and complaints.append(said.text))
        student.goto(f"{place}{room}/")
        board.goto(f"{place}{room}/teacher#{secret}")
        student.get_by_role("radio", name="I'm lost").click()
        expect(board.locator(".count b")).to_have_text(["0", "0", "1"])
        student.reload()
        expect(student.get_by_role("radio", name="I'm lost")).to_be_checked()
        board.reload()
        expect(board.locator(".count b")).to_have_text(["0", "0", "1"])  # the cookie holds behind the proxy
        assert complaints == []


def test_who_is_not_logged_in_to_the_jupyter_server_does_not_get_through(place: str):
    answer = requests.post(f"{place}rooms", data="{}", timeout=60, allow_redirects=False)
    assert answer.status_code in (302, 403)


def test_another_sites_page_can_do_nothing_through_the_proxy(place: str, ann: requests.Session):
    answer = ann.post(f"{place}rooms", data="{}", timeout=60, headers={"Origin": "https://evil.example"})
    assert answer.status_code == 403
