"""What `%train` costs on top of the plain fastai program it prints: the same training, paired, in turns.

Both do the same arithmetic (the losses are compared), so the difference is checks, the table of epochs, and the
callbacks that listen for a stop. fastai's own progress bar is on in the plain program, as a user has it.
"""

from __future__ import annotations

import contextlib
import io
import statistics
import tempfile
import time
from pathlib import Path

PAIRS = 7


def run() -> list[dict]:
    """Return one row: median seconds of both, and the median of the paired ratios."""
    import numpy as np
    from PIL import Image

    import fastmagic
    from fastmagic.learning.progress import EpochTable
    from fastmagic.learning.train import plan

    with tempfile.TemporaryDirectory() as scratch:
        random = np.random.default_rng(0)
        for i in range(320):
            folder = Path(scratch) / "ab"[i % 2]
            folder.mkdir(exist_ok=True)
            Image.fromarray(random.integers(0, 255, (96, 96, 3)).astype("uint8")).save(folder / f"{i}.png")
        dls = fastmagic.datablock(scratch, bs=16, num_workers=0)
        planned = plan(dls, "resnet18", pretrained=False, epochs=2)
        program = planned.code()

        def ours() -> tuple[float, list[float]]:
            started = time.perf_counter()
            shown: list[str] = []
            training = plan(dls, "resnet18", pretrained=False, epochs=2)
            learn = training.run(watch=[EpochTable(lambda s: shown.append(s.html))], say=shown.append, quiet=True)
            return time.perf_counter() - started, [float(x) for x in learn.recorder.losses]

        def plain() -> tuple[float, list[float]]:
            names: dict = {}
            # The data are made outside the clock: %train gets them ready-made as well.
            head = program.partition("dls = DataLoaders(" if "dls = DataLoaders(" in program else "dls.add_tfms")[0]
            exec(head, names)
            lines = program[len(head) :]
            names["dls"].train.fake_l.num_workers = names["dls"].valid.fake_l.num_workers = 0
            started = time.perf_counter()
            with contextlib.redirect_stdout(io.StringIO()):
                exec(lines, names)
            return time.perf_counter() - started, [float(x) for x in names["learn"].recorder.losses]

        ours(), plain()
        pairs = [(ours(), plain()) for _ in range(PAIRS)]
    assert all(mine[1] == theirs[1] for mine, theirs in pairs), "both must do the same training"
    return [
        {
            "what": "%train, plain program",
            "ours": statistics.median(mine[0] for mine, _ in pairs) * 1e3,
            "other": statistics.median(theirs[0] for _, theirs in pairs) * 1e3,
            "ratio": statistics.median(mine[0] / theirs[0] for mine, theirs in pairs),
            "unit": "ms",
        }
    ]
