"""Faults planted in real photos: how many `%clean`'s queues find, beside cleanlab called directly and imagededup.

699 photos of web search (../shared/data/bird_or_not), less the exact and near copies that %check finds. 5 % of the labels are
swapped, and 20 copies added (saved again, cropped by 5 %, mirrored), with three seeds. `python -m benchmarks.bench_faults
FOLDER` also trains a learner on the planted data (seed 0), and leaves contact sheets of what was found unplanted in FOLDER.
The photos have real faults that nobody planted, which count as wrong here: see the sheets.
"""

from __future__ import annotations

import contextlib
import io
import logging
import random
import shutil
import statistics
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "bird_or_not"
SEEDS = (0, 1, 2)
SHARE, COPIES = 0.05, 20


def run(sheets: Path | None = None) -> list[dict]:
    """Return one row a comparison: shares, medians over the seeds."""
    if not DATA.is_dir():
        print(f"faults: the photos (../shared/data/{DATA.name}) are not here.", file=sys.stderr)
        return []
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        clean = _clean(Path(scratch) / "clean")
        rows = _labels(clean, sheets) + _copies(clean, Path(scratch), sheets)
        if sheets is not None:
            _of_learner(clean, Path(scratch))
    return rows


def _row(what: str, ours: Sequence[float], other: Sequence[float] | None) -> dict:
    mine = statistics.median(ours)
    theirs = statistics.median(other) if other is not None else None
    spread = f"share, {min(ours):.2f} … {max(ours):.2f}"
    if other is not None:
        spread += f" against {min(other):.2f} … {max(other):.2f}"
    return {"what": what, "ours": mine, "other": theirs, "ratio": mine / theirs if theirs else None, "unit": spread}


def _clean(folder: Path) -> list[Path]:
    """Copy the photos, less the exact and near copies that `%check --fix` sets aside; return their files."""
    import fastmagic

    shutil.copytree(DATA, folder)
    with contextlib.redirect_stdout(io.StringIO()):
        fastmagic.check(folder, fix=True)
    return _pictures(folder)


def _pictures(folder: Path) -> list[Path]:
    from fastmagic.data.opening import image_files

    return image_files(folder)


def _groups(files: list[Path]) -> dict[Path, int]:
    """Return the group of every photo that `%clean` says shows the same as another."""
    from fastmagic.data.image_files import read_images
    from fastmagic.data.scan import Scan
    from fastmagic.learning import suspects

    photos = list(read_images(files).values())
    queue = suspects.same_queue(photos, Scan(files[0].parent).thumbs, suspects.embedded(photos))
    return {files[i]: int(group) for i, group in zip(queue.positions, queue.groups, strict=True)}


# ---------------------------------------------------------------- labels


def _labels(files: list[Path], sheets: Path | None) -> list[dict]:
    import numpy as np
    from cleanlab.filter import find_label_issues

    import fastmagic
    from fastmagic.learning import suspects

    found = fastmagic.embed(files, progress=None)
    same = _groups(files)
    groups = [same.get(file, -1 - i) for i, file in enumerate(files)]
    names = sorted({file.parent.name for file in files})
    true = np.array([names.index(file.parent.name) for file in files])
    n = round(SHARE * len(files))
    scores: dict[str, list[tuple[float, float]]] = {}
    others: dict[int, int] = {}
    for seed in SEEDS:
        planted = random.Random(seed).sample(range(len(files)), n)
        given = true.copy()
        given[planted] = 1 - given[planted]
        probe = suspects.out_of_fold(found.vectors, given, groups, seed)
        logistic = _logistic(found.vectors, given, seed)
        ours = suspects.label_queue(given, probe, names, "").positions.tolist()
        lists = {
            "ours": ours,
            "cleanlab": find_label_issues(given, probe, return_indices_ranked_by="normalized_margin", n_jobs=1),
            "logistic": find_label_issues(given, logistic, return_indices_ranked_by="normalized_margin", n_jobs=1),
            "datalab": _datalab(given, probe),
        }
        for name, positions in lists.items():
            if positions is not None:
                hits = [i in set(planted) for i in positions]
                scores.setdefault(name, []).append((sum(hits[:n]) / n, sum(hits) / n))
        for i in ours:
            if i not in planted:
                others[i] = others.get(i, 0) + 1
    print(f"{len(files)} photos without exact and near copies, {n} labels swapped, seeds {SEEDS}")
    if sheets is not None:
        unplanted = sorted(others, key=lambda i: -others[i])[:20]
        _sheet(
            [([files[i]], f"{files[i].parent.name}, {others[i]} of 3 seeds") for i in unplanted], sheets / "labels.png"
        )
    beside = {
        "cleanlab": "cleanlab, same probabilities",
        "datalab": "Datalab, same probabilities",
        "logistic": "cleanlab, logistic regression",
    }
    return [
        _row(f"{what}: {beside[name]}", [s[k] for s in scores["ours"]], [s[k] for s in scores[name]])
        for name in beside
        if name in scores
        for k, what in enumerate(("label precision", "label recall"))
    ]


def _logistic(vectors: Any, labels: Any, seed: int) -> Any:
    """Return out-of-fold probabilities as cleanlab's tutorials make them."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    return cross_val_predict(LogisticRegression(max_iter=1000), vectors, labels, cv=folds, method="predict_proba")


def _datalab(labels: Any, probabilities: Any) -> list[int] | None:
    """Return what Datalab's label issues are, worst first; `None` where its dependencies are not installed."""
    try:
        from cleanlab import Datalab

        with contextlib.redirect_stdout(io.StringIO()):
            lab = Datalab({"label": labels.tolist()}, label_name="label", verbosity=0)
            lab.find_issues(pred_probs=probabilities.astype("f8"), issue_types={"label": {}})
    except ImportError:
        return None
    issues = lab.get_issues("label")
    return issues[issues["is_label_issue"]].sort_values("label_score").index.tolist()


# ---------------------------------------------------------------- copies


def _copies(files: list[Path], scratch: Path, sheets: Path | None) -> list[dict]:
    import fastmagic  # noqa: F401  its import settles torch's threads before imagededup's
    from fastmagic.data.image_files import near_pairs, read_images

    scores: dict[str, list[tuple[float, float]]] = {}
    for seed in SEEDS:
        folder = scratch / f"copies_{seed}"
        planted = _plant(files, folder, seed)
        every = _pictures(folder)
        photos = list(read_images(every).values())
        groups: dict[int, list[Path]] = {}
        for file, group in _groups(every).items():
            groups.setdefault(group, []).append(file)
        pairs = {
            "ours": {frozenset((a, b)) for group in groups.values() for a in group for b in group if a < b},
            "hash": {frozenset((every[a], every[b])) for a, b in near_pairs(photos)},
            "imagededup": _imagededup(folder),
        }
        wanted = {frozenset(pair) for pair in planted.items()}
        for name, found in pairs.items():
            if found is not None:
                hits = len(wanted & found)
                scores.setdefault(name, []).append((hits / len(found) if found else 1.0, hits / len(wanted)))
        for name, found in pairs.items():
            if found and seed == 0 and sheets is not None and name != "hash":
                extra = sorted((sorted(pair), "") for pair in found - wanted)[:40]
                print(f"copies, {name}: {len(found)} pairs, {len(found - wanted)} of them not planted")
                if extra:
                    _sheet(extra, sheets / f"copies_{name}.png")
    beside = {"imagededup": "imagededup, PHash", "hash": "%check's hash alone"}
    return [
        _row(f"copies {what}: {beside[name]}", [s[k] for s in scores["ours"]], [s[k] for s in scores[name]])
        for name in beside
        if name in scores
        for k, what in enumerate(("precision", "recall"))
    ]


def _plant(files: list[Path], folder: Path, seed: int) -> dict[Path, Path]:
    """Copy the photos to a folder and add copies of twenty; return the original of each."""
    from PIL import Image, ImageOps

    folder.mkdir()
    names = {file: folder / f"{i:04}{file.suffix.lower()}" for i, file in enumerate(files)}
    for file, copy in names.items():
        shutil.copyfile(file, copy)
    planted = {}
    for i, file in enumerate(random.Random(100 + seed).sample(files, COPIES)):
        with Image.open(file) as opened:
            photo = opened.convert("RGB")
        w, h = photo.size
        # One change, or two: what is mixed is harder.
        if i % 4 in (1, 3):
            photo = photo.crop((int(w * 0.025), int(h * 0.025), int(w * 0.975), int(h * 0.975)))
        if i % 4 in (2, 3):
            photo = ImageOps.mirror(photo)
        copy = folder / f"copy_{i:02}.jpg"
        photo.save(copy, quality=(50, 60, 70, 85)[i % 4])
        planted[copy] = names[file]
    return planted


def _imagededup(folder: Path) -> set[frozenset[Path]] | None:
    """Return the pairs that imagededup finds by PHash, as it comes. Its CNN needs weights from the internet."""
    try:
        from imagededup.methods import PHash
    except ImportError:
        return None
    logging.disable(logging.INFO)
    with contextlib.redirect_stderr(io.StringIO()):
        found = PHash(verbose=False).find_duplicates(image_dir=str(folder), num_enc_workers=0, num_dist_workers=0)
    logging.disable(logging.NOTSET)
    return {frozenset((folder / a, folder / b)) for a, others in found.items() for b in others}


# ---------------------------------------------------------------- with a learner


def _of_learner(files: list[Path], scratch: Path) -> None:
    """Print what is found as `%clean learn` finds it: a learner for its validation set, the probe for its training set."""
    import numpy as np

    import fastmagic
    from fastmagic.learning import suspects
    from fastmagic.learning.train import plan

    names = sorted({file.parent.name for file in files})
    n = round(SHARE * len(files))
    swapped = set(random.Random(0).sample(range(len(files)), n))
    folder, planted = scratch / "learner", set()
    for i, file in enumerate(files):
        name = file.parent.name
        if i in swapped:
            name = names[1 - names.index(name)]
        place = folder / name / f"{i:04}{file.suffix.lower()}"
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place)
        if i in swapped:
            planted.add(place)
    dls = fastmagic.datablock(folder, num_workers=0)
    learn = plan(dls, "tiny", seed=0, checks=False, epochs=3).run(say=lambda line: None, quiet=True)
    valid = fastmagic.results(learn, "valid")
    train = [Path(item) for item in learn.dls.train_ds.items]
    every = [*train, *map(Path, valid.items)]
    vocab = list(learn.dls.vocab)
    given = np.array([vocab.index(file.parent.name) for file in every])
    told = suspects.out_of_fold(fastmagic.embed(every, progress=None).vectors, given)
    alone = told.copy()
    told[len(train) :] = valid.probabilities
    for name, probabilities in (("probe for train, learner for valid", told), ("probe for all", alone)):
        queue = [every[i] for i in suspects.label_queue(given, probabilities, vocab, "").positions]
        first = len(planted & set(queue[:n])) / n
        print(f"{name}: precision {first:.2f}, recall {len(planted & set(queue)) / n:.2f} of {len(queue)}")
    in_valid = planted & set(every[len(train) :])
    losses = {every[len(train) + i]: valid.losses[i] for i in range(len(valid))}
    worst = sorted(losses, key=lambda file: -losses[file])[: len(in_valid)]
    print(f"highest loss in valid: {len(in_valid & set(worst))} of {len(in_valid)} planted there")


def _sheet(rows: list[tuple[list[Path], str]], file: Path, side: int = 150) -> None:
    """Write a contact sheet: one tile, of one picture or several, a row given."""
    from PIL import Image, ImageDraw

    width = side * max(len(paths) for paths, _ in rows) + 6
    across = max(1, 1200 // width)
    sheet = Image.new("RGB", (width * across, (side + 14) * -(-len(rows) // across)), "white")
    draw = ImageDraw.Draw(sheet)
    for k, (paths, text) in enumerate(rows):
        x, y = k % across * width, k // across * (side + 14)
        draw.text((x, y), text, fill="black")
        for j, path in enumerate(paths):
            with Image.open(path) as opened:
                small = opened.convert("RGB")
            small.thumbnail((side - 2, side - 2))
            sheet.paste(small, (x + j * side, y + 12))
    sheet.save(file)


if __name__ == "__main__":
    where = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    if where is not None:
        where.mkdir(parents=True, exist_ok=True)
    for row in run(where):
        print(f"{row['what']:<44} {row['ours']:.2f} {row['other']:.2f}  {row['unit']}")
