"""Error rates without pretrained weights: the plain lesson's recipe beside `%train`'s, before and after `%check --fix`.

Runs on the real photos of ../shared/data/bird_or_not, three seeds of split and training; about a quarter of an hour
on two cores. Run it by itself: `python -m benchmarks.bench_scratch`.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from pathlib import Path

PHOTOS = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "bird_or_not"
SEEDS = (0, 1, 2)


def lesson(folder: Path, seed: int) -> float:
    """The lesson's own recipe with random weights: resnet18, batches of 64, 192 px squished, 3 epochs."""
    from fastai.vision.all import (
        CategoryBlock,
        DataBlock,
        ImageBlock,
        RandomSplitter,
        Resize,
        error_rate,
        get_image_files,
        parent_label,
        resnet18,
        set_seed,
        vision_learner,
    )

    dls = DataBlock(
        (ImageBlock, CategoryBlock),
        get_items=get_image_files,
        splitter=RandomSplitter(0.2, seed=seed),
        get_y=parent_label,
        item_tfms=[Resize(192, method="squish")],
    ).dataloaders(folder, bs=64)
    set_seed(seed, reproducible=True)
    dls.rng.seed(seed)
    learn = vision_learner(dls, resnet18, pretrained=False, metrics=error_rate)
    with learn.no_bar(), learn.no_logging():
        learn.fine_tune(3)
    return float(learn.recorder.final_record[-1])


def ours(folder: Path, seed: int) -> float:
    """What `%datablock` and `%train dls resnet18 --no-pretrained` do."""
    import fastmagic
    from fastmagic.learning.train import plan

    dls = fastmagic.datablock(folder, seed=seed)
    learn = plan(dls, "resnet18", pretrained=False, seed=seed, checks=False).run(say=lambda line: None, quiet=True)
    return float(learn.recorder.final_record[-1])


def run() -> list[dict]:
    """Return one row a recipe: error rates by seed, their mean, and seconds a training."""
    import fastmagic

    if not PHOTOS.is_dir():
        return []
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "bird_or_not"
        shutil.copytree(PHOTOS, folder, copy_function=shutil.copyfile)
        fastmagic.check(folder, fix=True)
        for what, recipe, photos in (
            ("lesson's recipe, photos as found", lesson, PHOTOS),
            ("%train, photos as found", ours, PHOTOS),
            ("%train, after %check --fix", ours, folder),
        ):
            started = time.perf_counter()
            errors = [recipe(photos, seed) for seed in SEEDS]
            seconds = (time.perf_counter() - started) / len(SEEDS)
            rows.append({"what": what, "errors": errors, "mean": statistics.mean(errors), "seconds": seconds})
            print(row_text(rows[-1]), flush=True)
    return rows


def row_text(row: dict) -> str:
    errors = ", ".join(f"{error:.1%}" for error in row["errors"])
    return f"{row['what']:<36} {errors}  mean {row['mean']:.1%}  {row['seconds']:.0f} s a training"


if __name__ == "__main__":
    if not run():
        print("The real photos (../shared/data/bird_or_not) are not here.")
