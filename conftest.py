"""What every test and lesson runs in: one thread, a home of its own, and a word at the end on each failure."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import pytest

# Before torch is imported, and for the kernels that tests start: processes that share two cores are slower with threads.
os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))

# Settings, caches and sockets of Jupyter, IPython and the model hubs: runs side by side, and their user, do not meet.
_OUTER = os.environ.get("FASTMAGIC_TEST_HOME")  # set by the process that pytest-xdist started this one from
_HOME = Path(tempfile.mkdtemp(prefix="fastmagic-", dir=_OUTER))
os.environ["FASTMAGIC_TEST_HOME"] = str(_HOME)
os.environ.update(
    HOME=str(_HOME),
    USERPROFILE=str(_HOME),
    IPYTHONDIR=str(_HOME / "ipython"),
    **{f"XDG_{name}_HOME": str(_HOME / name.lower()) for name in ("CACHE", "CONFIG", "DATA")},
    **{f"JUPYTER_{name}_DIR": str(_HOME / f"jupyter-{name.lower()}") for name in ("CONFIG", "DATA", "RUNTIME")},
)
for _name in ("TORCH_HOME", "HF_HOME", "HF_HUB_CACHE", "FASTAI_HOME", "MPLCONFIGDIR"):
    os.environ.pop(_name, None)
# Registered first, so done last: IPython's shells still write there when they end.
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Repeat the last lines of every failure: where only the end of a long run is seen, they tell what to mend."""
    failures = [*terminalreporter.getreports("failed"), *terminalreporter.getreports("error")]
    if not failures:
        return
    terminalreporter.write_sep("=", "the last lines of each failure")
    for report in failures:
        terminalreporter.write_line(f"{report.nodeid} ({report.when})" if report.when else report.nodeid)
        for line in report.longreprtext.rstrip().splitlines()[-5:]:
            terminalreporter.write_line(f"    {line[:200]}")
        for text in (text for title, text in report.sections if title == "left behind"):
            terminalreporter.write_line(f"    {text}")
