"""How well tables are learned by default: `%datablock` and `%train` beside the lines of fastai's documentation.

    python -m benchmarks.bench_tables

The tables are those that scikit-learn brings, and `../shared/data/adult.csv` where it is: whole, and two samples of it. Both
sides get the same rows to validate on. fastai's lines are those of its tabular tutorial: `TabularDataLoaders.from_df` with
the columns that `cont_cat_split` sorts, batches of 64, `fit_one_cycle(3)`.
"""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median
from typing import Any

SEEDS = (1, 2, 3)


def main() -> None:
    import warnings

    warnings.filterwarnings("ignore")
    for name, frame, target in tables():
        dls = datablock(frame, target)
        actual, seen = dls.valid.dataset.ys.iloc[:, 0], dls.train.dataset.ys.iloc[:, 0]
        numbers = frame[target].dtype.kind == "f"
        guess = (actual - seen.median()).abs().mean() if numbers else (actual == seen.mode()[0]).mean()
        ours, theirs = [], []
        for seed in SEEDS:
            ours.append(timed(fastmagic_way, frame, target, seed))
            theirs.append(timed(fastai_way, frame, target, seed, numbers))
        print(line([name, len(frame), "mean error" if numbers else "accuracy", guess, ours, theirs]), flush=True)


def line(row: list[Any]) -> str:
    name, n, what, guess, ours, theirs = row
    shown = [
        f"{', '.join(f'{score:.3g}' if score > 1 else f'{score:.3f}' for score, _ in side)} ({median(s for _, s in side):.1f} s)"
        for side in (ours, theirs)
    ]
    return f"| {name} ({n:,} rows), {what} | {guess:.3g} | {shown[0]} | {shown[1]} |"


def tables() -> Any:
    import pandas as pd
    from sklearn import datasets

    for name in ("iris", "wine", "breast_cancer", "diabetes"):
        made = getattr(datasets, f"load_{name}")(as_frame=True)
        frame = made.frame.copy()
        if hasattr(made, "target_names"):
            frame["target"] = [str(made.target_names[i]) for i in frame["target"]]
        yield name, frame, "target"
    adult = Path(__file__).resolve().parents[2] / "shared" / "data" / "adult.csv"
    if adult.is_file():
        whole = pd.read_csv(adult)
        for n in (1000, 6000, len(whole)):
            yield "census, salary", whole.sample(n, random_state=0).reset_index(drop=True), "salary"
        for n in (1000, 6000):
            sample = whole.sample(n, random_state=0).reset_index(drop=True)
            yield "census, age", sample.assign(age=sample.age.astype(float)), "age"


def datablock(frame: Any, target: str) -> Any:
    import fastmagic

    return fastmagic.datablock(frame, target=target)


def fastmagic_way(frame: Any, target: str, seed: int) -> float:
    import fastmagic

    learn = fastmagic.train(datablock(frame, target), seed=seed)
    return float(learn.recorder.values[-1][-1])


def fastai_way(frame: Any, target: str, seed: int, numbers: bool) -> float:
    from fastai.tabular import all as tab

    cont, cat = tab.cont_cat_split(frame, dep_var=target)
    _, valid = tab.RandomSplitter(0.2, seed=42)(frame)
    tab.set_seed(seed, reproducible=True)
    dls = tab.TabularDataLoaders.from_df(
        frame,
        procs=[tab.Categorify, tab.FillMissing, tab.Normalize],
        cat_names=cat,
        cont_names=cont,
        y_names=target,
        valid_idx=list(valid),
    )
    learn = tab.tabular_learner(dls, metrics=tab.mae if numbers else tab.accuracy)
    with learn.no_bar(), learn.no_logging():
        learn.fit_one_cycle(3)
    return float(learn.recorder.values[-1][-1])


def timed(train: Any, *given: Any) -> tuple[float, float]:
    import contextlib
    import io

    began = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        score = train(*given)
    return score, time.perf_counter() - began


if __name__ == "__main__":
    main()
