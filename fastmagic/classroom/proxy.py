"""The cups under a Jupyter server's own address, where jupyter-server-proxy is installed: `…/fastmagic-cups/`."""

from __future__ import annotations

import sys
from typing import Any


def cups() -> dict[str, Any]:
    """Return how jupyter-server-proxy starts the server of the cups, and leads to it; its entry point names this function."""
    return {
        "command": [sys.executable, "-m", "fastmagic.cli", "cups", "serve", "--port", "{port}"],
        "timeout": 60,
        "launcher_entry": {"title": "Cups: how is the class doing?", "path_info": "fastmagic-cups/"},
    }
