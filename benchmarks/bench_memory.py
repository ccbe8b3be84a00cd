"""Memory that a large table takes: `%datablock` beside fastai's `TabularDataLoaders.from_csv`, a process each.

    python -m benchmarks.bench_memory [ROWS]

A CSV of five million rows (by default) is made in a temporary folder: four columns of numbers, four of categories, a class.
Peak memory is that of the whole process (`ru_maxrss`), less that of one that has only imported fastai and pandas; seconds
are from the file to the `DataLoaders`, imports left out. Both sides are told the same columns.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

ROUNDS = 3
CATS, CONTS = [f"cat{i}" for i in range(4)], [f"num{i}" for i in range(4)]
PROCS = "[Categorify, FillMissing, Normalize]"
SIDES = {
    "nothing": "",
    "pandas.read_csv": "frame = pd.read_csv(file)",
    "from_csv": f"dls = TabularDataLoaders.from_csv(file, path='.', y_names='label', cat_names={CATS}, cont_names={CONTS}, "
    f"procs={PROCS}, y_block=CategoryBlock, valid_idx=None, bs=1024)",
    "%datablock": f"dls = fastmagic.datablock(file, target='label', cat_names={CATS}, cont_names={CONTS}, bs=1024)",
    "%datablock, nothing said": "dls = fastmagic.datablock(file, target='label', bs=1024)",
}
RUN = """
import json, resource, sys, time, warnings
warnings.filterwarnings("ignore")
import pandas as pd
from fastai.tabular.all import *
import fastmagic; fastmagic.datablock
file, started = sys.argv[1], time.perf_counter()
{line}
seconds = time.perf_counter() - started
print(json.dumps([resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, seconds]))
"""


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 5_000_000
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "large.csv"
        write(file, rows)
        print(f"{rows:,} rows, {file.stat().st_size / 2**20:,.0f} MiB as CSV\n")
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in SIDES}
        for _ in range(ROUNDS):
            for name, line in SIDES.items():
                found[name].append(measured(file, line))
        report(found)


def report(found: dict[str, list[tuple[float, float]]]) -> None:
    nothing = median(peak for peak, _ in found.pop("nothing"))
    theirs = median(peak for peak, _ in found["from_csv"]) - nothing
    print("| | peak memory | beside from_csv | seconds |\n|---|---|---|---|")
    for name, runs in found.items():
        peak, seconds = median(peak for peak, _ in runs) - nothing, median(seconds for _, seconds in runs)
        print(f"| {name} | {peak:.2f} GiB | {peak / theirs:.2f} | {seconds:.1f} |")


def measured(file: Path, line: str) -> tuple[float, float]:
    done = subprocess.run(
        [sys.executable, "-c", RUN.format(line=line), str(file)], capture_output=True, text=True, check=True
    )
    peak, seconds = json.loads(done.stdout.splitlines()[-1])
    return peak, seconds


def write(file: Path, rows: int) -> None:
    """Write the table in parts, so that making it needs no more memory than reading it."""
    import numpy as np
    import pandas as pd

    random, part = np.random.default_rng(0), 500_000
    for start in range(0, rows, part):
        n = min(part, rows - start)
        columns: dict[str, Any] = {name: random.choice([f"{name} {k}" for k in range(12)], n) for name in CATS}
        columns |= {name: random.normal(0, 1, n).round(3) for name in CONTS}
        columns["label"] = np.where(columns["num0"] + columns["num1"] > 0, "yes", "no")
        pd.DataFrame(columns).to_csv(file, mode="a", index=False, header=start == 0)


if __name__ == "__main__":
    main()
