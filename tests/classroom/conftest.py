"""Servers of the cups for tests: one a test, or one a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cups_server import Server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    yield server
    server.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for the tests of a file that make rooms of their own."""
    server = Server(tmp_path_factory.mktemp("cups"))
    yield server
    server.close()
