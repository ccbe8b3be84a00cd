"""fastmagic: Jupyter magics and panels that plug into fastai. Everything is imported on first use.

>>> import fastmagic
>>> dls = fastmagic.datablock(fastmagic.digits())                             # doctest: +SKIP
>>> learn = fastmagic.train(dls, "resnet18", pretrained=False, epochs=1)     # doctest: +SKIP
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Public name and the module that holds it, so that `import fastmagic` costs nothing (PEP 562).
_PUBLIC = {
    "app": "serve.running",
    "check": "data.check",
    "clean": "panels.cleaner",
    "code": "program",
    "confusion": "panels.confusion",
    "Control": "learning.control",
    "cups": "panels.cups",
    "datablock": "data.datablock",
    "diagram": "diagrams",
    "digits": "data.digits",
    "dot": "diagrams",
    "embed": "learning.embed",
    "explain": "data.explain",
    "export": "bundles.learner",
    "FastmagicError": "errors",
    "fetch": "data.gather.images",
    "images": "data.gather.images",
    "load": "bundles.learner",
    "LossPlot": "panels.loss_plot",
    "models": "learning.models",
    "pixels": "panels.pixels",
    "predict": "learning.predict",
    "predictor": "panels.predictor",
    "RecordingSplitter": "data.track",
    "results": "learning.results",
    "SeriesBlock": "data.series",
    "slides": "panels.slides",
    "SoundBlock": "data.sound",
    "tiny": "learning.tiny",
    "track_windows": "data.track_files",
    "TrackBlock": "data.track",
    "train": "learning.train",
}
_LIGHT = {"FastmagicError", "cups", "diagram", "digits", "dot", "fetch", "images", "slides"}  # what needs no fastai
__all__ = [*_PUBLIC, "load_ipython_extension", "unload_ipython_extension"]

if TYPE_CHECKING:
    from .bundles.learner import export, load
    from .data.check import check
    from .data.datablock import datablock
    from .data.digits import digits
    from .data.explain import explain
    from .data.gather.images import fetch, images
    from .data.series import SeriesBlock
    from .data.sound import SoundBlock
    from .data.track import RecordingSplitter, TrackBlock
    from .data.track_files import track_windows
    from .diagrams import diagram, dot
    from .errors import FastmagicError
    from .learning.control import Control
    from .learning.embed import embed
    from .learning.models import models
    from .learning.predict import predict
    from .learning.results import results
    from .learning.tiny import tiny
    from .learning.train import train
    from .panels.cleaner import clean
    from .panels.confusion import confusion
    from .panels.cups import cups
    from .panels.loss_plot import LossPlot
    from .panels.pixels import pixels
    from .panels.predictor import predictor
    from .panels.slides import slides
    from .program import code
    from .serve.running import app


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'fastmagic' has no attribute {name!r}")
    magics = sys.modules.get(f"{__name__}.magics")
    if magics is not None and name not in _LIGHT:
        magics.wait_for_preload()  # torchvision's circle of imports breaks where two threads enter it at two places
    value = getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})


def load_ipython_extension(shell: Any) -> None:
    """Register the magics: what `%load_ext fastmagic` calls."""
    from . import magics

    magics.load(shell)


def unload_ipython_extension(shell: Any) -> None:
    """Take the magics away: what `%unload_ext fastmagic` calls."""
    from . import magics

    magics.unload(shell)
