"""How long `%load_ext` takes and what it imports, beside jupysql and bigquery-magics, each in a fresh interpreter.

The peers come from the `bench` extra; those that are not installed are left out of the table.
"""

from __future__ import annotations

import importlib.util
import json
import statistics
import subprocess
import sys

EXTENSIONS = {"fastmagic": "fastmagic", "jupysql": "sql", "bigquery-magics": "bigquery_magics"}
RUNS = 7

MEASURE = """
import json, sys, time
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
before = len(sys.modules)
started = time.perf_counter()
shell.extension_manager.load_extension({name!r})
seconds = time.perf_counter() - started
print(json.dumps([seconds, len(sys.modules) - before]))
"""


def measure(module: str) -> tuple[float, int]:
    """Return seconds and the number of modules that loading an extension takes in a fresh interpreter."""
    command = [sys.executable, "-W", "ignore", "-c", MEASURE.format(name=module)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, modules = json.loads(done.stdout.strip().splitlines()[-1])
    return seconds, modules


def run() -> list[dict]:
    """Return rows: what was measured, our median, the other's median, and ours / other."""
    found = {name: module for name, module in EXTENSIONS.items() if importlib.util.find_spec(module)}
    times: dict[str, list[float]] = {name: [] for name in found}
    for turn in range(RUNS + 1):
        for name, module in found.items():
            seconds, _ = measure(module)
            if turn:  # the first run of each warms the disk cache
                times[name].append(seconds)
    ours = statistics.median(times.pop("fastmagic"))
    rows = []
    for name, values in times.items():
        other = statistics.median(values)
        rows.append(
            {
                "what": f"%load_ext, {name}",
                "ours": ours * 1e3,
                "other": other * 1e3,
                "ratio": ours / other,
                "unit": "ms",
            }
        )
    return rows or [{"what": "%load_ext", "ours": ours * 1e3, "other": None, "ratio": None, "unit": "ms"}]
