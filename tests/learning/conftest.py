"""What the tests of learning share: data, a machine without internet, and weights in a cache made here."""

from __future__ import annotations

import pytest

import fastmagic


@pytest.fixture
def dls(shapes):
    from fastai.vision.all import Resize

    return fastmagic.datablock(shapes, item_tfms=Resize(32), bs=32, num_workers=0)


@pytest.fixture
def no_internet(tmp_path, monkeypatch):
    """Proxies that do not answer, and an empty cache, stand for a fresh machine without internet."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def resnet_in_cache(tmp_path, monkeypatch):
    """torch's own cache with a file of resnet18 weights in it, made here: random, but loaded as the real one is."""
    import torch
    import torchvision

    torch.manual_seed(1)
    file = tmp_path / "torch" / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    file.parent.mkdir(parents=True)
    torch.save(torchvision.models.resnet18().state_dict(), file)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return file
