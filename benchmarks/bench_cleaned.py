"""What half an hour of cleaning buys: errors on photos that were used neither for cleaning nor for training.

The photos of ../shared/data/bird_or_not, copies of one photo together. Two fifths are held out; of the others 5 % (or 15 %) of the
labels are swapped. A training before; then a person who takes three seconds a decision goes through the queues of `%clean learn`
for half an hour at most (600 decisions: the likely mislabelled, then the highest losses, then the copies), knowing the label of
each photo by its folder; then a training after, with the same seed. Three seeds.
`python -m benchmarks.bench_cleaned`; a quarter of an hour on two cores.
"""

from __future__ import annotations

import contextlib
import io
import random
import shutil
import statistics
import sys
import tempfile
import warnings
from pathlib import Path

DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "bird_or_not"
SEEDS, SHARES, DECISIONS = (0, 1, 2), (0.05, 0.15), 600


def run() -> list[dict]:
    """Return a row a share of swapped labels: wrong on held-out photos after and before, medians over the seeds."""
    if not DATA.is_dir():
        print(f"cleaned: the photos (../shared/data/{DATA.name}) are not here.", file=sys.stderr)
        return []
    rows = []
    for share in SHARES:
        pairs = []
        for seed in SEEDS:
            with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                before, after, told = _round(Path(scratch), seed, share)
            pairs.append((before, after))
            print(
                f"  {share:.0%} swapped, seed {seed}: {before:.1%} wrong before, {after:.1%} after; {told}", flush=True
            )
        then, now = (statistics.median(values) for values in zip(*pairs, strict=True))
        rows.append(
            {
                "what": f"wrong after cleaning, before ({share:.0%} swapped)",
                "ours": now,
                "other": then,
                "ratio": now / then if then else None,
                "unit": "share of held-out photos",
            }
        )
    return rows


def _round(scratch: Path, seed: int, share: float) -> tuple[float, float, str]:
    import fastmagic
    from fastmagic.learning.curation import curate

    work, test = _split(scratch, seed)
    files, chance = sorted(work.rglob("*.*")), random.Random(seed)
    swapped = chance.sample(files, round(share * len(files)))
    for file in swapped:
        other = "forest" if file.parent.name == "bird" else "bird"
        file.rename(file.parent.parent / other / file.name)
    true = {file.name: file.parent.name for file in files}
    with contextlib.redirect_stdout(io.StringIO()):
        dls = fastmagic.datablock(work, seed=seed)
        learn = fastmagic.train(dls, "tiny", epochs=3, seed=seed, checks=False)
        before = _wrong(learn, test)
        found = curate(learn)
        found.look()
        found.wait()
        left, mended = DECISIONS, 0
        for queue in ("label", "loss"):
            for i in found.view(queue, open=True).tolist()[:left]:
                right = true[Path(found.name(i)).name]
                mended += right != found.label(i)
                found.decide([i], "relabel", right)  # a label that is right already is kept
                left -= 1
            if queue == "label":
                looked = DECISIONS - left
                early = mended
        found.keep_best()
        done = found.apply()
        fresh = fastmagic.train(done.dls, "tiny", epochs=3, seed=seed, checks=False)
    told = f"{early} of {len(swapped)} swapped ones in the first {looked} decisions, {mended} in all {DECISIONS - left}"
    return before, _wrong(fresh, test), told


def _split(scratch: Path, seed: int) -> tuple[Path, Path]:
    """Copy the photos into a folder to work on and one to test on, all copies of a photo into the same."""
    from fastmagic.learning.curation import curate

    found = curate(DATA)
    found.look()
    found.wait()
    number = found._copies()
    groups = sorted(set(number.tolist()))
    random.Random(seed).shuffle(groups)
    held = set(groups[: round(0.4 * len(groups))])
    for i, path in enumerate(found.listing.paths):
        folder = scratch / ("test" if int(number[i]) in held else "work") / path.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder)
    return scratch / "work", scratch / "test"


def _wrong(learn: object, test: Path) -> float:
    import fastmagic

    files = sorted(test.rglob("*.*"))
    said = fastmagic.predict(files, learn).frame
    return float((said["label"] != [file.parent.name for file in files]).mean())


if __name__ == "__main__":
    for row in run():
        print(f"{row['what']}: {row['ours']:.1%} beside {row['other']:.1%}")
