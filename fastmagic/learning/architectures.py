"""Architectures by name: ours, fastai's, timm's, then torchvision's; and where their pretrained weights are."""

from __future__ import annotations

import fnmatch
import functools
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from ..errors import NotFoundError, WeightsError, did_you_mean
from ..render import Displayed, Shown, html_table, text_table

# The backbone in the box, and what a training takes where it is free to choose.
OURS, DEFAULT = "tiny", "resnet18"


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
        library = "fastai" if _fastai_names().get(name) is arch else "yours"
        return Architecture(name, library, arch, library == "yours" or _has_weights(name))
    if arch in _fastai_names():
        return Architecture(arch, "fastai", _fastai_names()[arch], _has_weights(arch))
    timm_name = _timm_name(arch)
    if timm_name:
        import timm

        return Architecture(timm_name, "timm", timm_name, timm.is_model_pretrained(timm_name))
    if arch in _torchvision_names():
        import torchvision

        return Architecture(arch, "torchvision", getattr(torchvision.models, arch), True)
    hint = did_you_mean(arch, known_names()) or "`models('resnet*')` lists names that fit a pattern."
    raise NotFoundError(f"There is no architecture {arch!r} in fastai, timm or torchvision.", hint)


def models(pattern: str = "*", limit: int | None = None) -> Models:
    """List the architectures that fit a pattern, with where they come from and whether weights are at hand.

    Args:
        pattern: shell wildcards, as in `convnext*`; a word without wildcards matches anywhere in a name.
        limit: list at most this many.

    Raises:
        FastmagicError: nothing fits; names the closest.

    Example:
        >>> models("resnet1*").names[:2]
        ['resnet18', 'resnet101']
    """
    wild = pattern if any(c in pattern for c in "*?[") else f"*{pattern}*"
    names = [name for name in known_names() if fnmatch.fnmatch(name.lower(), wild.lower())]
    if not names:
        raise NotFoundError(f"No architecture fits {pattern!r}.", did_you_mean(pattern.strip("*"), known_names()))
    return Models(names[:limit], len(names))


class Models(Displayed, Sequence[str]):
    """Names of architectures; looks like a table. `names` is the plain list."""

    SHOWN = 40

    def __init__(self, names: list[str], total: int):
        self.names, self.total = names, total

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, i: Any) -> Any:
        return self.names[i]

    def _shown(self) -> Shown:
        header = ["name", "from", "pretrained weights"]
        rows = []
        for name in self.names[: self.SHOWN]:
            found = find(name)
            has = "none" if not found.pretrained else "on this machine" if cached_file(found) else "to download"
            rows.append([name, found.library, has])
        more = self.total - len(rows)
        note = f"… and {more} more: narrow the pattern." if more > 0 else ""
        return Shown(
            html_table(header, rows) + (f"<p>{note}</p>" if note else ""),
            text_table(header, rows) + ("\n" + note if note else ""),
        )

    def __repr__(self) -> str:
        return str(self._shown())

    def forms(self) -> dict[str, Any]:
        return self._shown().forms()


@functools.cache
def _fastai_names() -> dict[str, Callable[..., Any]]:
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
    return list(dict.fromkeys([OURS, *_fastai_names(), *with_tags, *_torchvision_names()]))


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


# ---------------------------------------------------------------- pretrained weights


def cached_file(arch: Architecture) -> Path | None:
    """Return the file of pretrained weights in the library's own cache, or `None` where it would be downloaded."""
    if arch.library == "fastmagic":
        from .tiny import FILE

        return FILE
    if arch.library == "timm":
        return _timm_cached(arch.name)
    if arch.library in ("fastai", "torchvision") and arch.pretrained:
        import torch

        url = _torchvision_url(arch)
        if url is None:
            return None
        file = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name
        return file if file.is_file() else None
    return None


def cached_names() -> list[str]:
    """Return the architectures of fastai and timm whose weights are on this machine, and last our own."""
    names = [name for name in _fastai_names() if cached_file(find(name))]
    hub = _hub_folder()
    if hub.is_dir():
        names += [
            p.name.removeprefix("models--timm--")
            for p in sorted(hub.glob("models--timm--*"))
            if any(p.glob("snapshots/*/*"))
        ]
    return [*names, OURS]


def default(offline: bool = False, timeout: float = 2.0, ask: bool = True) -> tuple[Architecture, str]:
    """Return the architecture to fine-tune where none is named, and why, if it is not resnet18.

    Args:
        offline: do not try the internet.
        timeout: seconds to wait for the host that has the weights.
        ask: see whether that host answers; else it is taken to.
    """
    usual = find(DEFAULT)
    if cached_file(usual) or (not offline and (not ask or reachable(_torchvision_url(usual) or "", timeout))):
        return usual, ""
    silent = "FastMagic.offline is on" if offline else "their host does not answer (on Kaggle: Settings > Internet)"
    why = f"The weights of {DEFAULT} are not on this machine, and {silent}"
    for name in ("resnet34", "resnet50"):
        if cached_file(find(name)):
            return find(name), f"{why}: training {name}, whose weights are here."
    return find(OURS), f"{why}: training {OURS}, the backbone that comes with fastmagic."


def require_weights(arch: Architecture, offline: bool = False, timeout: float = 2.0) -> None:
    """Return if the pretrained weights are cached or can be downloaded; say so at once if not.

    Asking first is what saves the wait: without internet the download functions of torch and `huggingface_hub` retry
    for up to 46 s before they give up.

    Args:
        offline: do not try the internet.
        timeout: seconds to wait for the host that has the weights.

    Raises:
        FastmagicError: there are none, or they cannot be had from here; names what is cached.
    """
    if not arch.pretrained:
        raise WeightsError(
            f"{arch.library} has no pretrained weights for {arch.name}.",
            "Train from scratch with `pretrained=False`, or choose another: `models('resnet')`",
        )
    if arch.library == "yours" or cached_file(arch):
        return
    url = _torchvision_url(arch) if arch.library != "timm" else os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    if os.environ.get("HF_HUB_OFFLINE") in ("1", "true", "TRUE") and arch.library == "timm":
        offline = True
    if not offline and url and reachable(url, timeout):
        return
    have = [name for name in cached_names() if name != arch.name]
    at_hand = f"On this machine there are weights for {', '.join([*have[:-1][:4], OURS])}."
    host = urlparse(url or "").hostname or "its host"
    why = "FastMagic.offline is on" if offline else f"{host} does not answer (on Kaggle: Settings > Internet)"
    raise WeightsError(
        f"The pretrained weights of {arch.name} are not on this machine, and {why}.\n{at_hand}",
        f"Train the backbone that comes with fastmagic: `train(dls, {OURS!r})`. Or `weights=FILE`, or `pretrained=False`.",
    )


def reachable(url: str, timeout: float = 2.0) -> bool:
    """Tell within `timeout` seconds whether a connection to the host of a URL, or to the proxy for it, can be made."""
    import threading
    import urllib.request

    parts = urlparse(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and parts.hostname and not urllib.request.proxy_bypass(parts.hostname):
        parts = urlparse(proxy if "//" in proxy else f"http://{proxy}")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    answer: list[bool] = []

    def ask() -> None:
        try:
            with socket.create_connection((parts.hostname or "", port), timeout=timeout):
                answer.append(True)
        except OSError:
            answer.append(False)

    # Looking up a name has no timeout of its own, so the whole attempt gets a thread that may be left behind.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(timeout)
    return bool(answer and answer[0])


def _torchvision_url(arch: Architecture) -> str | None:
    import torchvision

    if arch.name == "xresnet50":
        return "https://s3.amazonaws.com/fast-ai-modelzoo/xrn50_940.pth"
    try:
        return torchvision.models.get_model_weights(arch.value).DEFAULT.url
    except (ValueError, AttributeError):
        return None


def _hub_folder() -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def _timm_cached(name: str) -> Path | None:
    import timm
    import torch
    from huggingface_hub import try_to_load_from_cache

    config = timm.get_pretrained_cfg(name)
    if config is None:
        return None
    if config.hf_hub_id:
        files = [config.hf_hub_filename] if config.hf_hub_filename else ["model.safetensors", "pytorch_model.bin"]
        for file in files:
            found = try_to_load_from_cache(config.hf_hub_id, file)
            if isinstance(found, str):
                return Path(found)
    if config.url:
        file_path = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(str(config.url)).path).name
        return file_path if file_path.is_file() else None
    return None
