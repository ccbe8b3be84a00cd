"""Whether a bundle answers as its learner does, in a process that knows nothing but the file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from ..data.items import sources
from ..errors import FastmagicError, RefusedError, number
from .learner import SAME, answers, load

MOST = 64


def check(learn: Any, file: str | Path, most: int = MOST) -> str:
    """Load a bundle in a fresh process, let it predict pictures of the validation set, and compare.

    Args:
        learn: the learner that it was exported from, with its data.
        file: the bundle.
        most: pictures at most.

    Returns:
        What was compared, in a sentence.

    Raises:
        FastmagicError: it does not load there, or answers otherwise.
    """
    import numpy as np

    files = [str(source) for source in sources(learn.dls.loaders[-1].dataset) if isinstance(source, (str, Path))][:most]
    if not files:
        raise RefusedError("There are no pictures to compare: the learner has no validation set of files.")
    asked = json.dumps({"bundle": str(Path(file).absolute()), "files": [str(Path(one).absolute()) for one in files]})
    done = subprocess.run([sys.executable, "-m", __name__], input=asked, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise FastmagicError(f"The bundle does not load in a fresh process: {last}")
    there = np.array(json.loads(done.stdout))
    here = np.array([answers(learn, one) for one in files])
    gap = float(np.abs(there - here).max())
    if gap > SAME * max(1.0, float(np.abs(here).max())):
        raise RefusedError(
            f"In a fresh process the bundle answers otherwise, by up to {gap:.2g}.", "Do not pass it on."
        )
    return f"In a fresh process it answers alike to {number(len(files), 'picture')} (largest difference {gap:.1g})."


if __name__ == "__main__":
    wanted = json.load(sys.stdin)
    loaded = load(wanted["bundle"])
    json.dump([answers(loaded, one) for one in wanted["files"]], sys.stdout)
