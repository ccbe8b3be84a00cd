"""What `fastmagic.predict` costs beside a bare preprocess-and-forward, `learn.predict` and `get_preds`."""

from __future__ import annotations

import contextlib
import io
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

PAIRS = 40
FILES = 256
REPEATS = 5
SIZE = 224


def run() -> list[dict[str, Any]]:
    """Time one picture (medians of alternating runs) and a folder of 256 (medians of interleaved runs).

    Returns:
        Rows of `what`, `ours`, `other`, `ratio` and `unit`: seconds or pictures per second, and
        ours divided by other.
    """
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        paths = _write_pictures(Path(folder))
        learn = _learner(paths)
        with learn.no_bar(), contextlib.redirect_stdout(io.StringIO()):
            return [*_one_picture(learn, paths[0]), _many_pictures(learn, Path(folder), paths)]


def _write_pictures(folder: Path) -> list[Path]:
    """Write 256 JPEG photos of noise smoothed into clouds, 500×375 as photo-sharing sites serve them."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    paths = []
    for i in range(FILES):
        noise = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        paths.append(folder / ("sky" if i % 2 else "sea") / f"{i:03}.jpg")
        paths[-1].parent.mkdir(exist_ok=True)
        noise.resize((500, 375), Image.Resampling.BICUBIC).save(paths[-1], quality=90)
    return paths


def _learner(paths: list[Path]) -> Any:
    from fastai.vision.all import (
        ImageDataLoaders,
        Normalize,
        Resize,
        imagenet_stats,
        resnet18,
        vision_learner,
    )

    dls = ImageDataLoaders.from_path_func(
        paths[0].parent.parent,
        paths,
        lambda path: path.parent.name,
        seed=0,
        item_tfms=Resize(SIZE, method="squish"),
        batch_tfms=[Normalize.from_stats(*imagenet_stats)],
    )
    return vision_learner(dls, resnet18, pretrained=False)


def _bare(learn: Any) -> Callable[[Path], Any]:
    """Return the shortest program with the same answer: Pillow, torch, and the model."""
    import numpy as np
    import torch
    from fastai.vision.all import imagenet_stats
    from PIL import Image

    mean, std = (torch.tensor(stat).view(3, 1, 1) for stat in imagenet_stats)
    model = learn.model.eval()

    def predict(path: Path) -> Any:
        with torch.inference_mode():
            image = Image.open(path).convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR)
            pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float().div_(255)
            return model((pixels - mean).div_(std)[None]).softmax(1)[0].numpy()

    return predict


def _one_picture(learn: Any, path: Path) -> list[dict[str, Any]]:
    import fastmagic

    bare = _bare(learn)
    contenders: list[Callable[[], Any]] = [
        lambda: fastmagic.predict(path, learn),
        lambda: bare(path),
        lambda: learn.predict(path),
    ]
    ours, other, fastai = _alternate(contenders, PAIRS)
    unit = "s, one picture"
    return [
        {"what": "predict / bare forward", **_row(ours, other), "unit": unit},
        {"what": "learn.predict / bare forward", **_row(fastai, other), "unit": unit},
    ]


def _many_pictures(learn: Any, folder: Path, paths: list[Path]) -> dict[str, Any]:
    import fastmagic

    contenders: list[Callable[[], Any]] = [
        lambda: fastmagic.predict(folder, learn),
        lambda: learn.get_preds(dl=learn.dls.test_dl(paths)),
    ]
    ours, other = ([FILES / seconds for seconds in times] for times in _alternate(contenders, REPEATS))
    return {"what": "predict / get_preds, folder", **_row(ours, other), "unit": "pictures/s"}


def _alternate(contenders: list[Callable[[], Any]], times: int) -> list[list[float]]:
    """Time the contenders in turn, after one round to warm up; every other turn goes backwards."""
    for contender in contenders:
        contender()
    found: list[list[float]] = [[] for _ in contenders]
    for turn in range(times):
        for i in range(len(contenders)) if turn % 2 else reversed(range(len(contenders))):
            started = time.perf_counter()
            contenders[i]()
            found[i].append(time.perf_counter() - started)
    return found


def _row(ours: list[float], other: list[float]) -> dict[str, float]:
    """Return both medians and the median of the ratios of runs that stood side by side."""
    ratio = statistics.median(a / b for a, b in zip(ours, other, strict=True))
    return {"ours": statistics.median(ours), "other": statistics.median(other), "ratio": ratio}


if __name__ == "__main__":
    for row in run():
        numbers = f"{row['ours']:10.4g} {row['other']:10.4g}"
        print(f"{row['what']:<30} {numbers} {row['unit']:<16} ×{row['ratio']:.2f}")
