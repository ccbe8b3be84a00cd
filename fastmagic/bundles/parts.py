"""What a model is made of, in words: layers, transforms and losses that are known by name, and their numbers.

A bundle names parts; this module makes them. What is not in its tables is neither written nor read, so that no bundle
brings code, and whoever exports is told which part is one of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import RefusedError, UnreadableError

MOST_LAYERS = 200
MOST_PIXELS, MOST_POOLED = 4096, 64  # of a side: of pictures, and of what a layer makes of them
Words = dict[str, Any]


@dataclass(frozen=True)
class Part:
    """A class of parts: where it is, and which of its attributes make it again.

    Attributes:
        module: where its class is.
        names: the arguments of its class, which are attributes of its objects too.
        before: turns an attribute into the argument that makes it, where these differ.
    """

    module: str
    names: tuple[str, ...] = ()
    before: Callable[[str, Any], Any] | None = None

    def words(self, made: Any) -> Words:
        given = {name: getattr(made, name) for name in self.names}
        return {name: plain(self.before(name, value) if self.before else value) for name, value in given.items()}


def _turned(name: str, value: Any) -> Any:
    """fastai keeps sizes as (width, height) and takes (height, width)."""
    return (value[1], value[0]) if name == "size" else value


_BATCH_NORM = Part("torch.nn", ("num_features", "eps", "momentum", "affine", "track_running_stats"))
LAYERS: Mapping[str, Part] = {
    "AdaptiveConcatPool2d": Part("fastai.layers", ("size",)),
    "AdaptiveAvgPool2d": Part("torch.nn", ("output_size",)),
    "AdaptiveMaxPool2d": Part("torch.nn", ("output_size",)),
    "Flatten": Part("fastai.layers", ("full",)),
    "nn.Flatten": Part("torch.nn", ("start_dim", "end_dim")),
    "BatchNorm1d": _BATCH_NORM,
    "BatchNorm2d": _BATCH_NORM,
    "LayerNorm": Part("torch.nn", ("normalized_shape", "eps")),
    "Dropout": Part("torch.nn", ("p",)),
    "Linear": Part("torch.nn", ("in_features", "out_features", "bias"), lambda name, value: value is not None if name == "bias" else value),
    "ReLU": Part("torch.nn"),
    "GELU": Part("torch.nn", ("approximate",)),
    "SiLU": Part("torch.nn"),
    "Mish": Part("torch.nn"),
    "LeakyReLU": Part("torch.nn", ("negative_slope",)),
    "Sigmoid": Part("torch.nn"),
    "Identity": Part("torch.nn"),
    "SigmoidRange": Part("fastai.layers", ("low", "high")),
}  # fmt: skip
# What a picture goes through in validation. Augmentation is of training alone, and stays at home.
TRANSFORMS: Mapping[str, Part] = {
    "Resize": Part("fastai.vision.augment", ("size", "method", "pad_mode", "resamples"), _turned),
    "CropPad": Part("fastai.vision.augment", ("size", "pad_mode"), _turned),
    "RandomCrop": Part("fastai.vision.augment", ("size",), _turned),
    "RatioResize": Part("fastai.vision.augment", ("max_sz", "resamples")),
    "RandomResizedCrop": Part("fastai.vision.augment", ("size", "min_scale", "ratio", "resamples", "val_xtra", "max_scale"), _turned),
    "RandomResizedCropGPU": Part("fastai.vision.augment", ("size", "min_scale", "ratio", "mode", "valid_scale", "max_scale")),
    "AffineCoordTfm": Part("fastai.vision.augment", ("size", "mode", "pad_mode", "mode_mask", "align_corners")),
    "ToTensor": Part("fastai.data.transforms"),
    "IntToFloatTensor": Part("fastai.data.transforms", ("div", "div_mask")),
    "Normalize": Part("fastai.data.transforms", ("mean", "std")),
}  # fmt: skip
LOSSES: Mapping[str, Part] = {
    "CrossEntropyLossFlat": Part("fastai.losses"),
    "LabelSmoothingCrossEntropyFlat": Part("fastai.losses"),
    "LabelSmoothingCrossEntropy": Part("fastai.losses"),
    "FocalLossFlat": Part("fastai.losses"),
    "FocalLoss": Part("fastai.losses"),
    "BCEWithLogitsLossFlat": Part("fastai.losses", ("thresh",)),
    "MSELossFlat": Part("fastai.losses"),
    "L1LossFlat": Part("fastai.losses"),
    "CrossEntropyLoss": Part("torch.nn"),
    "BCEWithLogitsLoss": Part("torch.nn"),
    "MSELoss": Part("torch.nn"),
    "L1Loss": Part("torch.nn"),
}


def plain(value: Any) -> Any:
    """Return a value as JSON has it.

    Raises:
        TypeError: it has none.
    """
    if value is None or isinstance(value, (bool, str)):
        return str(value) if isinstance(value, str) else value
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    if hasattr(value, "tolist"):  # a tensor or an array; Normalize keeps its numbers as 1 x C x 1 x 1
        return plain(value.flatten().tolist() if getattr(value, "ndim", 0) else value.item())
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    raise TypeError(f"a {type(value).__name__}")


# ---------------------------------------------------------------- written


def _known(made: Any, table: Mapping[str, Part]) -> tuple[str, Part] | None:
    """Return the name and the part of an object that is exactly of a class of the table: a subclass may do otherwise."""
    import importlib

    name = type(made).__name__
    for key in (name, f"nn.{name}"):
        if key in table and getattr(importlib.import_module(table[key].module), name, None) is type(made):
            return key, table[key]
    return None


def layers_in_words(module: Any) -> list[Any]:
    """Return a head's layers in words, `[class, words]` each, `["Sequential", [layers]]` where they are grouped.

    Raises:
        FastmagicError: one of them is not known here; it is named.
    """
    from torch import nn

    if isinstance(module, nn.Sequential):  # fastai's blocks are some too, and do nothing else
        return ["Sequential", [layers_in_words(child) for child in module]]
    known = _known(module, LAYERS)
    if known is None:
        raise RefusedError(
            f"The head has a layer {type(module).__name__}, which a bundle has no words for.",
            "A head of PyTorch's and fastai's own layers can travel. With `learn.export('export.pkl')` yours can too, to where its code is.",
        )
    name, part = known
    return [name, part.words(module)]


def transforms_in_words(transforms: Any, where: str) -> list[Any]:
    """Return what items or batches go through in validation, in words.

    Raises:
        FastmagicError: one of them is not known here; it is named.
    """
    from fastai.vision.augment import AffineCoordTfm

    found = []
    for transform in transforms:
        if getattr(transform, "split_idx", None) == 0 or type(transform).__name__ == "noop":
            continue
        if isinstance(transform, AffineCoordTfm) and type(transform).__module__ == AffineCoordTfm.__module__:
            # aug_transforms: turns and flips in training; in validation it changes the size, if that was said.
            if transform.size is not None:
                found.append(["AffineCoordTfm", TRANSFORMS["AffineCoordTfm"].words(transform)])
            continue
        known = _known(transform, TRANSFORMS)
        if known is None or _made_of_a_function(transform):
            raise RefusedError(
                f"{where} has {name_of(transform)}, which a bundle has no words for.",
                "Give only fastai's own transforms (Resize, CropPad, Normalize, aug_transforms()), and train again; or take "
                "`learn.export('export.pkl')`, which works where your code is.",
            )
        name, part = known
        found.append([name, part.words(transform)])
    return found


def _made_of_a_function(transform: Any) -> bool:
    """Whether a transform does what a function does that it was given, as `Transform(lambda x: x / 2)` does."""
    return "enc" in vars(transform) or "encodes" in vars(transform)


def name_of(transform: Any) -> str:
    name = getattr(transform, "__name__", None) or getattr(transform, "name", None) or type(transform).__name__
    return str(name).split(" --")[0]


def loss_in_words(loss: Any) -> list[Any]:
    """Return the loss in words. Weights of classes are left out: they change training, and no prediction.

    Raises:
        FastmagicError: it is not known here; it is named.
    """
    from fastai.losses import BaseLoss

    if type(loss) is BaseLoss and type(loss.func).__name__ in ("MSELoss", "L1Loss"):
        return [f"{type(loss.func).__name__}Flat", {}]  # a function of fastai's that makes a `BaseLoss`
    known = _known(loss, LOSSES)
    if known is None:
        name = getattr(loss, "__name__", type(loss).__name__)
        raise RefusedError(
            f"The loss is {name}, and what its outputs mean is not known.",
            f"Take one of fastai's: `learn.loss_func = {'MSELossFlat' if 'mse' in name.lower() else 'CrossEntropyLossFlat'}()`",
        )
    return [known[0], known[1].words(loss)]


# ---------------------------------------------------------------- read


def wrong(cause: str) -> UnreadableError:
    """Return what is told of a bundle whose description makes no sense."""
    return UnreadableError(
        f"The bundle is broken, or none of ours: {cause}.", "Ask for it again where you had it from."
    )


def _made(words: Any, table: Mapping[str, Part], what: str) -> Any:
    """Make a part from its words."""
    import importlib

    if not (isinstance(words, list) and len(words) == 2 and isinstance(words[0], str) and isinstance(words[1], dict)):
        raise wrong(f"a {what} is no pair of a name and its words")
    name, given = words
    part = table.get(name)
    if part is None or set(given) != set(part.names):
        raise wrong(f"there is no {what} {name[:40]!r} with {', '.join(map(str, given))[:80] or 'nothing'}")
    for key, value in given.items():
        if not _is_sensible(key, value, MOST_POOLED if what == "layer" else MOST_PIXELS):
            raise wrong(f"{key} of {name} is {str(value)[:40]}, which makes no sense")
    try:
        return getattr(importlib.import_module(part.module), name.removeprefix("nn."))(**_arguments(name, given))
    except Exception as error:
        raise wrong(f"{name} cannot be made: {error}") from error


def _arguments(name: str, given: Words) -> Words:
    if name == "Normalize":
        import torch
        from fastai.torch_core import default_device

        return {key: torch.tensor(given[key], device=default_device()).view(1, -1, 1, 1) for key in ("mean", "std")}
    return {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}


_SWITCHES = ("full", "affine", "track_running_stats", "bias", "align_corners")
_WORDS = ("method", "pad_mode", "mode", "mode_mask", "approximate")
_WHOLE = ("in_features", "out_features", "num_features", "start_dim", "end_dim", "div_mask")
_WHOLE_OR_SEVERAL = ("normalized_shape", "resamples")
_SEVERAL = ("mean", "std", "ratio")


def _is_sensible(name: str, value: Any, most: int) -> bool:
    """Tell whether an argument is of its kind, and no size that could make something that no memory holds."""
    if name in ("size", "output_size", "max_sz"):
        sides = value if isinstance(value, list) else [value]
        return 1 <= len(sides) <= 2 and all(type(side) is int and 1 <= side <= most for side in sides)
    if name in _SWITCHES:
        return isinstance(value, bool) or (name == "align_corners" and value is None)  # PyTorch's word for its default
    if name in _WORDS:
        return isinstance(value, str) and len(value) < 40
    if name in _SEVERAL:
        return isinstance(value, list) and 0 < len(value) <= 64 and all(map(is_number, value))
    if name in _WHOLE_OR_SEVERAL and isinstance(value, list):
        return 0 < len(value) <= 4 and all(is_number(part) and isinstance(part, int) for part in value)
    if name in (*_WHOLE, *_WHOLE_OR_SEVERAL):
        return is_number(value) and isinstance(value, int)
    return is_number(value) or (name == "momentum" and value is None)


def is_number(value: Any) -> bool:
    """Tell whether a value is a finite number of a size that is met with."""
    known = isinstance(value, (int, float)) and not isinstance(value, bool)
    return known and math.isfinite(value) and abs(value) <= 1e15


def layers(words: Any, depth: int = 0) -> Any:
    """Make a head from words.

    Raises:
        FastmagicError: they make no sense.
    """
    from torch import nn

    if isinstance(words, list) and len(words) == 2 and words[0] == "Sequential" and isinstance(words[1], list):
        if depth > 8 or len(words[1]) > MOST_LAYERS:
            raise wrong("its head is too deep")
        return nn.Sequential(*(layers(child, depth + 1) for child in words[1]))
    return _made(words, LAYERS, "layer")


def transforms(words: Any) -> list[Any]:
    """Make transforms from words.

    Raises:
        FastmagicError: they make no sense.
    """
    if not isinstance(words, list) or len(words) > 32:
        raise wrong("its transforms are no list")
    return [_made(one, TRANSFORMS, "transform") for one in words]


def loss(words: Any) -> Any:
    """Make a loss from words.

    Raises:
        FastmagicError: they make no sense.
    """
    return _made(words, LOSSES, "loss")
