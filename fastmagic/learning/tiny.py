"""The backbone in the box: a small convolutional network that arrives knowing what pictures look like, without internet.

A ResNet-D (He et al. 2018, https://arxiv.org/abs/1812.01187; timm's `resnet18d`) with fewer and narrower blocks, trained
on Tiny ImageNet by `python -m training`; `tiny.md` beside this file is its model card. Importing this module tells
fastai how to cut and split it, so that `vision_learner` and `unet_learner` take `tiny` like `resnet18`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import timm
from fastai.imports import L
from fastai.torch_core import params
from fastai.vision.learner import model_meta

ARCHITECTURE = "resnet18d"
SHAPE: dict[str, Any] = {"layers": (1, 2, 2, 1), "channels": (48, 96, 160, 288), "stem_width": 16}
FILE = Path(__file__).with_name("tiny.safetensors")
# Mean and standard deviation of red, green and blue (0 to 1): what pictures are normalised by before they go in.
STATS = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
# Side in px that `%train` shows it; it takes others.
SIZE = 96


def tiny(pretrained: bool = True, num_classes: int = 200, **kwargs: Any) -> Any:
    """Return the backbone in the box: 2.4 million parameters and its weights.

    Args:
        pretrained: with its weights; no internet is needed.
        num_classes: outputs of the last layer; 200 are the classes of Tiny ImageNet, 0 gives 288 features.
        kwargs: what timm's `create_model` takes: `in_chans=1`, `features_only=True`, `drop_rate=…`.

    Returns:
        A timm `ResNet`. Takes float tensors n × 3 × h × w, normalised by `STATS`.

    Example:
        >>> import torch, fastmagic
        >>> model = fastmagic.tiny(num_classes=0).eval()
        >>> model(torch.zeros(1, 3, 96, 96)).shape
        torch.Size([1, 288])
        >>> learn = vision_learner(dls, fastmagic.tiny, metrics=error_rate)  # doctest: +SKIP
    """
    config = {
        "file": str(FILE),
        "num_classes": 200,
        "input_size": (3, SIZE, SIZE),
        "pool_size": (SIZE // 32, SIZE // 32),
        "mean": STATS[0],
        "std": STATS[1],
        "interpolation": "bilinear",
        "first_conv": "conv1.0",
        "classifier": "fc",
        "architecture": ARCHITECTURE,
    }
    return timm.create_model(
        ARCHITECTURE, pretrained=pretrained, pretrained_cfg=config, num_classes=num_classes, **SHAPE, **kwargs
    )


def about() -> dict[str, Any]:
    """Return what the weights' file says of itself: `vocab`, accuracy, photographs seen, settings of the training."""
    from safetensors import safe_open

    with safe_open(str(FILE), "pt") as file:
        header = file.metadata()
    return {key: json.loads(value) if key != "architecture" else value for key, value in header.items()}


def _split(model: Any) -> Any:
    """Return three groups of parameters, as fastai splits any ResNet: early layers, late layers, head."""
    return L(model[0][:6], model[0][6:], model[1:]).map(params)


# The body is the stem (four modules) and layer1 … layer4; what is cut off is pooling and classifier.
model_meta[tiny] = {"cut": -2, "split": _split, "stats": STATS}
