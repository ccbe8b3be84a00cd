"""Learners to export: of all kinds of answers and bodies, hardly trained, so that a wrong mode or weight shows."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest


def quiet_fit(learn: Any) -> Any:
    with learn.no_bar(), learn.no_logging(), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        learn.fit(1)
    return learn


@pytest.fixture(scope="session")
def learner(shapes: Path) -> Callable[..., Any]:
    """Make and train a learner: `learner("resnet18", item_tfms=…, y="class")`."""
    from fastai.vision.all import (
        CategoryBlock,
        ColReader,
        DataBlock,
        ImageBlock,
        MultiCategoryBlock,
        PILImageBW,
        RandomSplitter,
        RegressionBlock,
        Resize,
        accuracy,
        set_seed,
        vision_learner,
    )

    from fastmagic.learning.architectures import find

    files = sorted(shapes.rglob("*.png"))
    frame = pd.DataFrame({
        "file": [str(file) for file in files],
        "label": [file.parent.name for file in files],
        "labels": [f"{file.parent.name} odd" if i % 3 else file.parent.name for i, file in enumerate(files)],
        "size": [float(i % 7) for i, _ in enumerate(files)],
    })  # fmt: skip
    blocks = {
        "class": (CategoryBlock, ColReader("label")),
        "classes": (MultiCategoryBlock, ColReader("labels", label_delim=" ")),
        "numbers": (RegressionBlock, ColReader("size")),
    }

    def make(arch: str = "test_resnet", y: str = "class", grey: bool = False, item_tfms: Any = None, batch_tfms: Any = None, **more: Any) -> Any:  # fmt: skip
        set_seed(0)
        block, get_y = blocks[y]
        picture = ImageBlock(cls=PILImageBW) if grey else ImageBlock
        data = DataBlock(
            (picture, block), get_x=ColReader("file"), get_y=get_y, splitter=RandomSplitter(seed=1),
            item_tfms=item_tfms or Resize(40), batch_tfms=batch_tfms,
        )  # fmt: skip
        dls = data.dataloaders(frame, bs=16, num_workers=0)
        if y == "class":
            more.setdefault("metrics", accuracy)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            learn = vision_learner(dls, find(arch).value, pretrained=False, **({"n_in": 1} if grey else {}), **more)
        return quiet_fit(learn)

    return make


@pytest.fixture(scope="session")
def learn(learner: Callable[..., Any]) -> Any:
    return learner()


@pytest.fixture(scope="session")
def bundle(learn: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from fastmagic.bundles.learner import export

    return export(learn, tmp_path_factory.mktemp("bundle") / "shapes.fastmagic").file
