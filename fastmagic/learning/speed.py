"""How large an architecture is, and how many pictures a second this machine makes of it: found out once, then kept."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from ..data.digits import cache_folder
from .architectures import Architecture, fixed_size

SIZE, BATCH = 192, 16  # px, as `%%datablock` makes photos, and pictures, as `%train` takes a few hundred of them
ROUNDS, ENOUGH = 5, 0.5  # at most, and seconds after which fewer do


class Speed(NamedTuple):
    """Pictures a second, of `SIZE` px (or the only size that the architecture takes), in batches of `BATCH`.

    Attributes:
        forward: predicted.
        training: trained on, all layers.
    """

    forward: float
    training: float


def parameters(arch: Architecture) -> int | None:
    """Return how many parameters an architecture has, `None` where it cannot be made; no memory is taken for them.

    >>> from fastmagic.learning.architectures import find
    >>> parameters(find("resnet18"))
    11689512
    """
    import torch

    key = f"{arch.library} {_versions()}"
    found = _read(key).get(arch.name)
    if found is None:
        try:
            with torch.device("meta"):
                found = sum(parameter.numel() for parameter in _make(arch).parameters())
        except Exception:  # whatever one of a thousand architectures does not bear
            return None
        _keep(key, arch.name, found)
    return int(found)


def speed(arch: Architecture) -> Speed:
    """Measure how many pictures a second this machine makes, and keep it; medians of up to five batches.

    Raises:
        Exception: whatever the architecture raises where it cannot be trained on such pictures, or memory does not suffice.
    """
    import torch
    from fastai.torch_core import default_device
    from torch.nn.functional import cross_entropy

    device, size = default_device(), fixed_size(arch) or SIZE
    with torch.random.fork_rng():
        model = _make(arch).to(device)
        pictures = torch.randn(BATCH, 3, size, size, device=device)
        classes = torch.randint(0, 10, (BATCH,), device=device)

    def forward() -> None:
        with torch.inference_mode():
            model.eval()(pictures)

    def training() -> None:
        answer = model.train()(pictures)
        answer = answer if isinstance(answer, torch.Tensor) else answer[0]  # inception_v3 has two heads
        cross_entropy(answer, classes).backward()
        model.zero_grad()

    found = Speed(*(BATCH / _seconds(once, device) for once in (forward, training)))
    _keep(_machine(), arch.name, list(found))
    return found


def kept_speed(arch: Architecture) -> Speed | None:
    """Return what `speed` measured here before, `None` where it did not."""
    found = _read(_machine()).get(arch.name)
    return Speed(*found) if found is not None else None


def _make(arch: Architecture) -> Any:
    if arch.library != "timm":
        return arch.value(pretrained=False) if arch.library == "fastmagic" else arch.value()
    import timm

    return timm.create_model(arch.name)


def _seconds(once: Any, device: Any) -> float:
    import torch

    taken: list[float] = []
    for _ in range(1 + ROUNDS):  # the first warms up
        began = time.perf_counter()
        once()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - began)
        if len(taken) > 1 and sum(taken) > ENOUGH:
            break
    return median(taken[1:])


def _versions() -> str:
    import timm
    import torchvision

    return f"timm {timm.__version__}, torchvision {torchvision.__version__}"


def _machine() -> str:
    import torch
    from fastai.torch_core import default_device

    device = default_device()
    what = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return f"{platform.node()}, {what}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def _file() -> Path:
    return cache_folder() / "architectures.json"


def _read(key: str) -> dict[str, Any]:
    try:
        kept = json.loads(_file().read_text())
        return dict(kept.get(key, {}))
    except (OSError, ValueError, AttributeError, TypeError):  # not there, cut off, or something else
        return {}


def _keep(key: str, name: str, value: Any) -> None:
    """Keep a number; where nothing can be written it is found out again next time."""
    file = _file()
    with contextlib.suppress(OSError):
        try:
            kept = json.loads(file.read_text())
        except (OSError, ValueError):
            kept = {}
        if not isinstance(kept, dict):
            kept = {}
        kept.setdefault(key, {})[name] = value
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=file.parent) as folder:
            whole = Path(folder) / file.name
            whole.write_text(json.dumps(kept, indent=1))
            os.replace(whole, file)
