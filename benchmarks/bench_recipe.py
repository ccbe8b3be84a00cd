"""`%train`'s recipe beside a linear probe on the same frozen features, and beside fastai's `fine_tune`.

Four sets (`bears`, `birds`, `digits`, `speech`), the pretrained weights that need no hub, three seeds. Test pictures are held out
before anything is chosen; of the others a fifth validates, for the recipe as for the probe. All copies of a photo lie on one side.
`python -m benchmarks.bench_recipe [SET …] [--arch NAME]` prints each result as it comes; some forty minutes on two cores.
"""

from __future__ import annotations

import contextlib
import io
import random
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .bench_tiny import SEEDS, Grouped, _photos

ARCHITECTURES = ("tf_efficientnet_lite0", "tiny")


def bears(scratch: Path, seed: int) -> tuple[Path, list[Path], list[Path]]:
    """75 photos of three kinds: some 45 to learn from."""
    return _held_out(_photos("bears_raw"), seed, 0.36)


def birds(scratch: Path, seed: int) -> tuple[Path, list[Path], list[Path]]:
    """691 photos of birds and forests, as a search brought them."""
    return _held_out(_photos("bird_or_not"), seed, 0.4)


def digits(scratch: Path, seed: int) -> tuple[Path, list[Path], list[Path]]:
    """300 of scikit-learn's handwritten digits to learn from, the others to test on."""
    import fastmagic

    folder = fastmagic.digits()
    files = sorted(folder.rglob("*.png"))
    random.Random(seed).shuffle(files)
    return folder, sorted(files[:300]), sorted(files[300:])


def speech(scratch: Path, seed: int) -> tuple[Path, list[Path], list[Path]]:
    """600 recordings of spoken digits as spectrograms, 330 to learn from."""
    import numpy as np
    from PIL import Image
    from scipy.io import wavfile
    from scipy.signal import spectrogram

    folder = scratch / "speech"
    for file in sorted(_photos("spoken_digits").glob("*.wav")):
        picture = folder / file.name.partition("_")[0] / f"{file.stem}.png"
        if picture.is_file():
            continue
        rate, sound = wavfile.read(file)
        power = spectrogram(sound.astype("f4"), rate, nperseg=256, noverlap=192)[2]
        decibels = 10 * np.log10(power + 1e-3)
        shade = np.clip((decibels - decibels.max() + 60) / 60, 0, 1)[::-1]
        picture.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((255 * shade).astype("uint8")).resize((128, 128)).save(picture)
    files = sorted(folder.rglob("*.png"))
    random.Random(seed).shuffle(files)
    return folder, sorted(files[:330]), sorted(files[330:])


SETS: dict[str, Callable[[Path, int], tuple[Path, list[Path], list[Path]]]] = {
    f.__name__: f for f in (bears, birds, digits, speech)
}


def run(sets: Sequence[str], archs: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        for name in sets:
            for arch in archs:
                rows: dict[str, list[tuple[float, float]]] = {}
                for seed in SEEDS:
                    for way, wrong, seconds in _measured(*SETS[name](Path(scratch), seed), arch, seed):
                        rows.setdefault(way, []).append((wrong, seconds))
                        print(f"  {name} {arch} seed {seed}: {way:<9} {wrong:6.1%}  {seconds:5.0f} s", flush=True)
                for way, found in rows.items():
                    wrong, seconds = zip(*found, strict=True)
                    each = ", ".join(f"{value:.1%}" for value in wrong)
                    print(
                        f"{name}, {arch}, {way:<9}: {statistics.mean(wrong):.1%} wrong ({each}), "
                        f"{statistics.median(seconds):.0f} s",
                        flush=True,
                    )


def _measured(folder: Path, known: list[Path], test: list[Path], arch: str, seed: int) -> Any:
    """Yield way, share of the test pictures that is wrong, and seconds."""
    import torch
    from fastai.data.transforms import RandomSplitter

    import fastmagic
    from fastmagic.learning.train import fresh_view, plan

    # Copies are a matter of photos: all digits look alike to a network that has seen photos.
    photos = folder.name in ("bears_raw", "bird_or_not")
    train, valid = Grouped(seed)(known) if photos else map(list, RandomSplitter(0.2, seed)(known))
    dls = fastmagic.datablock(folder, get_items=lambda _: known, splitter=lambda _: (train, valid))
    truth = torch.tensor([list(dls.vocab).index(file.parent.name) for file in test])
    given = {"seed": seed, "offline": True, "checks": False}

    began = time.perf_counter()
    planned = plan(dls, arch, **given)
    learn = planned._make({**planned.kind.vocabulary(), **planned.names, "dls": fresh_view(dls)})
    yield "probe", _probe(learn, test, truth), time.perf_counter() - began
    for way, recipe in (("%train", None), ("fine_tune", "fine_tune")):
        began = time.perf_counter()
        learn = plan(dls, arch, recipe=recipe, **given).run(say=lambda line: None, quiet=True)
        seconds = time.perf_counter() - began
        with learn.no_bar(), learn.no_logging():
            answers = learn.get_preds(dl=learn.dls.test_dl(test))[0].argmax(1)
        yield way, float((answers != truth).float().mean()), seconds


def _probe(learn: Any, test: list[Path], truth: Any) -> float:
    """Return the share that logistic regression on the body's pooled features gets wrong; validation picks its penalty."""
    import torch
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    dls = learn.dls
    body = learn.model[0].to(dls.device).eval()

    def features(loader: Any) -> tuple[Any, Any]:
        found, labels = [], []
        with torch.inference_mode():
            for batch in loader:
                found.append(body(batch[0]).mean((2, 3)))
                labels.append(batch[1] if len(batch) > 1 else torch.empty(0))
        return torch.cat(found).cpu().numpy(), torch.cat(labels).cpu().numpy()

    x, y = features(dls.train.new(shuffle=False, drop_last=False))
    x_valid, y_valid = features(dls.valid)
    probes = [
        make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=2000)).fit(x, y) for c in (1e-3, 1e-2, 0.1, 1)
    ]
    best = max(probes, key=lambda probe: probe.score(x_valid, y_valid))
    return float((best.predict(features(dls.test_dl(test))[0]) != truth.numpy()).mean())


def _held_out(folder: Path, seed: int, share: float) -> tuple[Path, list[Path], list[Path]]:
    """Return a folder's pictures without, and with, those of a random share; copies of one photo lie on one side."""
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
    known, test = Grouped(seed + 100, share)(files)
    return folder, [files[i] for i in known], [files[i] for i in test]


if __name__ == "__main__":
    words = sys.argv[1:]
    archs = [words.pop(i + 1) for i in [words.index("--arch")]] if "--arch" in words else ARCHITECTURES
    names = [word for word in words if word != "--arch"]
    if wrong := [name for name in names if name not in SETS]:
        raise SystemExit(f"No set {wrong[0]!r}; there are {', '.join(SETS)}.")
    warnings.filterwarnings("ignore")
    with contextlib.redirect_stderr(io.StringIO()):
        run(names or list(SETS), archs)
