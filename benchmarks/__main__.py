"""Run every benchmark and print one table: `python -m benchmarks`, or `python -m benchmarks load` for one."""

from __future__ import annotations

import importlib
import sys
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

BENCHMARKS = ("load", "train", "plot", "predict", "faults")


def main(names: list[str]) -> int:
    wrong = [name for name in names if name not in BENCHMARKS]
    if wrong:
        print(f"No benchmark {wrong[0]!r}; there are {', '.join(BENCHMARKS)}.", file=sys.stderr)
        return 2
    print(f"{'what, against what':<44} {'ours':>10} {'other':>10} {'ours / other':>13}")
    for name in names or BENCHMARKS:
        for row in importlib.import_module(f"benchmarks.bench_{name}").run():
            ours, other = (_number(row[key]) for key in ("ours", "other"))
            ratio = f"{row['ratio']:.2f}" if row["ratio"] is not None else "–"
            print(f"{row['what']:<44} {ours:>10} {other:>10} {ratio:>13}  {row['unit']}", flush=True)
    return 0


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
