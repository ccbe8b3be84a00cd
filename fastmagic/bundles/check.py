"""Whether a bundle answers as its learner does, in a process that knows nothing but the file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from ..data.items import sources
from ..errors import FastmagicError, RefusedError, number
from ..kinds import TABLE
from .learner import SAME, answers, load
from .tables import rows_of

MOST = 64


def check(learn: Any, file: str | Path, most: int = MOST) -> str:
    """Load a bundle in a fresh process, let it predict items of the validation set, and compare.

    Args:
        learn: the learner that it was exported from, with its data.
        file: the bundle.
        most: pictures or rows at most.

    Returns:
        What was compared, in a sentence.

    Raises:
        FastmagicError: it does not load there, or answers otherwise.
    """
    import numpy as np

    items: list[Any]
    if TABLE.holds(learn.dls):
        rows = rows_of(learn, most)
        items, what = [] if rows is None else json.loads(rows.to_json(orient="records")), "row"
    else:
        found = (source for source in sources(learn.dls.loaders[-1].dataset) if isinstance(source, (str, Path)))
        items, what = [str(Path(one).absolute()) for one in found][:most], "picture"
    if not items:
        raise RefusedError("There is nothing to compare: the learner has no validation set of files or rows.")
    asked = json.dumps({"bundle": str(Path(file).absolute()), "items": items})
    done = subprocess.run([sys.executable, "-m", __name__], input=asked, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise FastmagicError(f"The bundle does not load in a fresh process: {last}")
    there = np.array(json.loads(done.stdout))
    here = np.array([answers(learn, one) for one in items])
    gap = float(np.abs(there - here).max())
    if gap > SAME * max(1.0, float(np.abs(here).max())):
        raise RefusedError(
            f"In a fresh process the bundle answers otherwise, by up to {gap:.2g}.", "Do not pass it on."
        )
    return f"In a fresh process it answers alike to {number(len(items), what)} (largest difference {gap:.1g})."


if __name__ == "__main__":
    wanted = json.load(sys.stdin)
    loaded = load(wanted["bundle"])
    json.dump([answers(loaded, one) for one in wanted["items"]], sys.stdout)
