"""Architectures by name: ours, fastai's, timm's, then torchvision's."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..errors import NotFoundError, did_you_mean

OURS = "tiny"  # the backbone in the box


@dataclass(frozen=True)
class Architecture:
    """An architecture `vision_learner` takes.

    Attributes:
        name: as typed and printed (`resnet18`, `convnext_tiny.fb_in22k`, `tiny`).
        library: 'fastmagic', 'fastai', 'timm', 'torchvision' or 'yours'.
        value: what `vision_learner` gets: a function, or timm's name.
        pretrained: whether its library has weights for it.
    """

    name: str
    library: str
    value: Any
    pretrained: bool

    @property
    def source(self) -> str:
        """How a program writes it, after `from fastai.vision.all import *`."""
        if self.library == "timm":
            return repr(self.name)
        return {"fastmagic": "fastmagic.", "torchvision": "torchvision.models."}.get(self.library, "") + self.name


def find(arch: str | Callable[..., Any]) -> Architecture:
    """Return the architecture of a name; a function that makes a model is taken as it is.

    Old timm names (`convnext_tiny_in22k`) and short tags (`convnext_tiny.in22k`) find the name timm has now.

    Raises:
        FastmagicError: no library has it; names the closest ones.
    """
    if arch == OURS or _is_ours(arch):
        from .tiny import tiny

        return Architecture(OURS, "fastmagic", tiny, True)
    if not isinstance(arch, str):
        name = getattr(arch, "__name__", type(arch).__name__)
        library = "fastai" if fastai_names().get(name) is arch else "yours"
        if library == "yours" and name in _torchvision_names():
            import torchvision

            library = "torchvision" if getattr(torchvision.models, name) is arch else "yours"
        return Architecture(name, library, arch, library != "fastai" or _has_weights(name))
    if arch in fastai_names():
        return Architecture(arch, "fastai", fastai_names()[arch], _has_weights(arch))
    timm_name = _timm_name(arch)
    if timm_name:
        import timm

        return Architecture(timm_name, "timm", timm_name, timm.is_model_pretrained(timm_name))
    if arch in _torchvision_names():
        import torchvision

        return Architecture(arch, "torchvision", getattr(torchvision.models, arch), True)
    hint = did_you_mean(arch, known_names()) or "`models('resnet*')` lists names that fit a pattern."
    raise NotFoundError(f"There is no architecture {arch!r} in fastai, timm or torchvision.", hint)


@functools.cache
def fastai_names() -> dict[str, Callable[..., Any]]:
    """Return the architectures that fastai knows how to cut and split."""
    from fastai.vision.learner import model_meta

    # Ours is in that table too, once it is imported.
    return {arch.__name__: arch for arch in model_meta if not _is_ours(arch)}


def _is_ours(arch: Any) -> bool:
    return getattr(arch, "__module__", "") == f"{__package__}.tiny"


def _has_weights(name: str) -> bool:
    # One file serves fastai's xresnets, and it fits only the one with 50 layers.
    return not name.startswith("xresnet") or name == "xresnet50"


@functools.cache
def _torchvision_names() -> list[str]:
    import torchvision

    return torchvision.models.list_models(module=torchvision.models)


@functools.cache
def known_names() -> list[str]:
    """Return every name `find` takes: ours, then fastai's first."""
    import timm

    with_tags = timm.list_models() + timm.list_pretrained()
    return list(dict.fromkeys([OURS, *fastai_names(), *with_tags, *_torchvision_names()]))


def _timm_name(arch: str) -> str | None:
    """Return the name timm has for `arch`, or `None`."""
    import timm
    from timm.models import _registry

    # timm answers to its old names too, with a warning and without their weights: say the new name instead.
    renamed = getattr(_registry, "_deprecated_models", {}).get(arch)
    if renamed:
        return renamed
    if timm.is_model(arch) and "." not in arch:
        return arch
    base, dot, tag = arch.partition(".")
    if not (dot and timm.is_model(base)):
        return None
    tags = timm.list_pretrained(f"{base}.*")
    if arch in tags:
        return arch
    # 'in22k' is meant for 'fb_in22k' where only one tag ends so.
    ends = [name for name in tags if name.endswith(f"_{tag}")]
    if len(ends) == 1:
        return ends[0]
    have = f"There are {', '.join(tags[:6])}." if tags else f"timm has no weights for {base}."
    raise NotFoundError(f"timm's {base} has no weights called {tag!r}.", did_you_mean(arch, tags) or have)


def fixed_size(arch: Architecture) -> int | None:
    """Return the side in px of the only pictures an architecture takes, or `None` where it takes many sizes."""
    if arch.library != "timm":
        return 299 if arch.name == "inception_v3" else None
    import timm

    config = timm.get_pretrained_cfg(arch.name)
    return config.input_size[-1] if config is not None and config.fixed_input_size else None
