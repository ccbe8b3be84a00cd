"""Servers of the cups for tests: one a test, or one a file; each test on both stores."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from cups_server import Server


@pytest.fixture(scope="session", params=["sqlite", "redis"])
def store(request: pytest.FixtureRequest) -> str:
    """Where rooms are kept."""
    if request.param == "redis" and shutil.which("redis-server") is None:
        if os.environ.get("CI"):
            pytest.fail("redis-server is not installed")
        pytest.skip("redis-server is not installed")
    return str(request.param)


@pytest.fixture
def server(tmp_path: Path, store: str) -> Iterator[Server]:
    server = Server(tmp_path, "--newcomers", "100000", store=store)
    yield server
    server.close()


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, store: str) -> Iterator[Server]:
    """One server for the tests that make rooms of their own."""
    server = Server(tmp_path_factory.mktemp("cups"), store=store)
    yield server
    server.close()
