"""The backbone in the box beside what a learner has without internet: resnet18 from random weights, perceptual hashes.

`python -m benchmarks.bench_tiny` runs all parts, or those named: `speed`, `birds`, `bears`, `copies`, `photos`. Photos
come from ../shared/data; `photos` needs Tiny ImageNet (`TINY_IMAGENET=folder`). Some quarter of an hour on two cores.
"""

from __future__ import annotations

import os
import random
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
SEEDS = (0, 1, 2)


def speed() -> None:
    """Parameters, bytes, and pictures a second, forward and training, in batches of 32; medians of seven."""
    import torch
    from torch.nn.functional import cross_entropy
    from torchvision.models import resnet18

    from fastmagic.learning import tiny

    print(f"tiny: {tiny.FILE.stat().st_size / 1e6:.2f} MB in half precision")
    for size in (96, 192):
        x, y = torch.randn(32, 3, size, size), torch.randint(0, 10, (32,))
        rows: dict[str, dict[str, list[float]]] = {}
        models = {"tiny": tiny.tiny(num_classes=10), "resnet18": resnet18(num_classes=10)}
        optimizers = {name: torch.optim.Adam(model.parameters()) for name, model in models.items()}

        def forward(name: str, x: Any = x, models: Any = models) -> None:
            with torch.inference_mode():
                models[name].eval()(x)

        def train(name: str, x: Any = x, y: Any = y, models: Any = models, optimizers: Any = optimizers) -> None:
            cross_entropy(models[name].train()(x), y).backward()
            optimizers[name].step()
            optimizers[name].zero_grad()

        for _ in range(8):  # interleaved; the first round warms up
            for name in models:
                for what in (forward, train):
                    started = time.perf_counter()
                    what(name)
                    rows.setdefault(name, {}).setdefault(what.__name__, []).append(time.perf_counter() - started)
        for what in ("forward", "train"):
            ours, other = (32 / statistics.median(rows[name][what][1:]) for name in ("tiny", "resnet18"))
            print(f"{size} px, {what:<8} tiny {ours:6.0f}/s  resnet18 {other:6.0f}/s  ratio {ours / other:.2f}")
    for name, model in models.items():
        print(f"{name}: {sum(p.numel() for p in model.parameters()) / 1e6:.2f} million parameters")


def birds() -> None:
    """`bird_or_not`, three seeds: `%train dls tiny --epochs 3` beside resnet18 from random weights.

    A random fifth is held out by group: copies of a photo stay on one side, be they exact, near, cropped or mirrored.
    """
    import fastmagic
    from fastmagic.learning.train import plan

    folder = _photos("bird_or_not")
    for arch, options in (("tiny", {"epochs": 3}), ("resnet18", {"pretrained": False})):
        wrong, seconds = [], []
        for seed in SEEDS:
            dls = fastmagic.datablock(folder, splitter=Grouped(seed))
            started = time.perf_counter()
            planned = plan(dls, arch, seed=seed, checks=False, **options)
            learn = planned.run(say=lambda line: None, quiet=True)
            seconds.append(time.perf_counter() - started)
            wrong.append(float(learn.recorder.final_record[-1]))
        print(
            f"bird_or_not, {arch:<9} {_percent(wrong)} wrong, {statistics.median(seconds):.0f} s a training", flush=True
        )


def bears() -> None:
    """`bears_raw`, 75 photos in three classes, five folds: linear probe, nearest neighbours, fine-tuning."""
    import numpy as np
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.neighbors import KNeighborsClassifier

    import fastmagic
    from fastmagic.learning.embed import LITE, OWN
    from fastmagic.learning.train import plan

    folder = _photos("bears_raw")
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    for backbone in (OWN, LITE):
        found = fastmagic.embed(folder, None, backbone)
        labels = np.array([item.parent.name for item in found.items])
        for name, model in (
            ("linear probe", LogisticRegression(C=10, max_iter=5000)),
            ("5 nearest", KNeighborsClassifier(5, metric="cosine")),
        ):
            wrong = 1 - cross_val_score(model, found.vectors, labels, cv=folds).mean()
            print(f"bears_raw, {name:<13} on {backbone.name}'s vectors {wrong:.1%} wrong")
    for arch, options in (("tiny", {}), ("resnet18", {"pretrained": False})):
        wrong = []
        for _, valid in folds.split(found.vectors, labels):
            held_out = {found.items[i] for i in valid}
            dls = fastmagic.datablock(folder, splitter=lambda items, out=held_out: _parted(items, out))
            learn = plan(dls, arch, seed=0, checks=False, **options).run(say=lambda line: None, quiet=True)
            wrong.append(float(learn.recorder.final_record[-1]) * len(valid))
        print(f"bears_raw, %train {arch:<9} {sum(wrong) / len(labels):.1%} wrong", flush=True)


def copies() -> None:
    """20 planted near copies (saved again small, cropped by 5 %, mirrored) among 691 photos: precision and recall.

    Pairs that are neither planted nor known to `%check` as copies count as wrong, though some are one photo.
    """
    from PIL import Image, ImageOps

    import fastmagic
    from fastmagic.data.image_files import near_pairs, read_images, same_image
    from fastmagic.learning.embed import LITE, OWN

    with tempfile.TemporaryDirectory() as scratch:
        originals = sorted(
            p for p in _photos("bird_or_not").rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png")
        )
        chosen = random.Random(0).sample(originals, 20)
        planted = {}
        for i, file in enumerate(chosen):
            with Image.open(file) as opened:
                photo = opened.convert("RGB")
            kind = ("saved again", "cropped", "mirrored")[i % 3]
            if kind == "cropped":
                w, h = photo.size
                photo = photo.crop((int(w * 0.025), int(h * 0.025), int(w * 0.975), int(h * 0.975)))
            elif kind == "mirrored":
                photo = ImageOps.mirror(photo)
            else:
                photo.thumbnail((photo.width * 2 // 3, photo.height * 2 // 3))
            copy = Path(scratch) / f"planted_{i}.jpg"
            photo.save(copy, quality=60)
            planted[copy] = (file, kind)
        files = [*originals, *planted]
        read = read_images(files)
        groups = same_image([read[file] for file in originals])
        group = {originals[i]: number for number, members in enumerate(groups) for i in members}

        def report(name: str, pairs: Sequence[tuple[Path, Path]]) -> None:
            same = {frozenset(pair) for pair in pairs}

            def original_of(file: Path) -> Any:
                file = planted[file][0] if file in planted else file
                return group.get(file, file)

            true = sum(original_of(a) == original_of(b) for a, b in map(tuple, same))
            hit = {copy: frozenset((copy, file)) in same for copy, (file, _) in planted.items()}
            by_kind = ", ".join(
                f"{sum(hit[c] for c, (_, k) in planted.items() if k == kind)} of "
                f"{sum(k == kind for _, k in planted.values())} {kind}"
                for kind in ("saved again", "cropped", "mirrored")
            )
            precision = true / len(same) if same else 1.0
            print(
                f"{name:<28} recall {sum(hit.values())}/20 ({by_kind}); precision {precision:.1%} of {len(same)} pairs"
            )

        whole = [read[file] for file in files if not read[file].problem]
        report("perceptual hash (%check)", [(whole[a].path, whole[b].path) for a, b in near_pairs(whole)])
        loose = _hash_pairs(whole, 8)
        report("perceptual hash, ≤ 8 bits", loose)
        for backbone in (OWN, LITE):
            found = fastmagic.embed(files, None, backbone)
            for similarity in (backbone.same, backbone.same + 0.03):
                pairs = [pair[:2] for pair in found.near_duplicates(similarity)]
                report(f"{backbone.name}'s vectors, ≥ {similarity:.2f}", pairs)


def photos() -> None:
    """Share of right answers on the validation photographs of Tiny ImageNet, at 64 px as they are."""
    import torch
    from training.image_files import load

    from fastmagic.learning import tiny

    folder = os.environ.get("TINY_IMAGENET")
    if not folder:
        print("photos: set TINY_IMAGENET to the folder of Tiny ImageNet.")
        return
    with tempfile.TemporaryDirectory() as cache:
        data = load(Path(folder), "val", 64, Path(cache))
    model = tiny.tiny().eval()
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in tiny.STATS)
    for size in (64, 96, 128):
        right = 0
        for part in torch.arange(len(data.pictures)).split(250):
            x = torch.from_numpy(data.pictures[part.numpy()]).permute(0, 3, 1, 2) / 255
            x = torch.nn.functional.interpolate(x, (size, size), mode="bicubic", antialias=True).clamp(0, 1)
            with torch.inference_mode():
                right += int((model((x - mean) / std).argmax(1).numpy() == data.classes[part.numpy()]).sum())
        print(f"Tiny ImageNet's 10,000 validation photos at {size} px: {right / len(data.pictures):.1%} right")


class Grouped:
    """A splitter that holds out a random fifth and keeps copies of one photo on one side."""

    def __init__(self, seed: int, share: float = 0.2):
        self.seed, self.share = seed, share

    def __call__(self, items: Sequence[Path]) -> tuple[list[int], list[int]]:
        import fastmagic
        from fastmagic.data.image_files import Groups, read_images, same_image
        from fastmagic.learning.embed import OWN

        order = sorted(items)  # a folder's own order differs from disk to disk
        read = read_images(order)
        position = {file: i for i, file in enumerate(order)}
        join = Groups(len(order))
        for members in same_image([read[file] for file in order]):
            for other in members[1:]:
                join(members[0], other)
        for a, b, _ in fastmagic.embed(order, None, OWN).near_duplicates():
            join(position[a], position[b])
        group = {file: file for file in order}
        for members in join.groups():
            group |= {order[i]: order[members[0]] for i in members}
        firsts = sorted(set(group.values()))
        random.Random(self.seed).shuffle(firsts)
        held_out: set[Path] = set()
        for first in firsts:
            if len(held_out) >= self.share * len(order):
                break
            held_out |= {file for file in order if group[file] == first}
        return _parted(items, held_out)


def _parted(items: Sequence[Path], held_out: set[Path]) -> tuple[list[int], list[int]]:
    positions = range(len(items))
    return [i for i in positions if items[i] not in held_out], [i for i in positions if items[i] in held_out]


def _hash_pairs(read: Sequence[Any], bits: int) -> list[tuple[Path, Path]]:
    """Return the pairs whose perceptual hashes differ in at most `bits` bits, with nothing to confirm them."""
    return [
        (a.path, b.path) for i, a in enumerate(read) for b in read[i + 1 :] if (a.phash ^ b.phash).bit_count() <= bits
    ]


def _photos(name: str) -> Path:
    if not (DATA / name).is_dir():
        raise SystemExit(f"The real photos (../shared/data/{name}) are not here.")
    return DATA / name


def _percent(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.1%}" for value in values) + f" (mean {statistics.mean(values):.1%})"


PARTS: dict[str, Callable[[], None]] = {f.__name__: f for f in (speed, birds, bears, copies, photos)}

if __name__ == "__main__":
    wrong = [name for name in sys.argv[1:] if name not in PARTS]
    if wrong:
        raise SystemExit(f"No part {wrong[0]!r}; there are {', '.join(PARTS)}.")
    warnings.filterwarnings("ignore")
    for name in sys.argv[1:] or PARTS:
        PARTS[name]()
