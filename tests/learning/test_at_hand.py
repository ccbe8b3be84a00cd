"""Weights without a hub: those of an installed package, under timm's names, and what is said where there are none."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import fastmagic
from fastmagic.errors import FastmagicError, NotFoundError, WeightsError
from fastmagic.learning import at_hand
from fastmagic.learning.architectures import find

LITE = "tf_efficientnet_lite0"
PACKAGE = at_hand.PACKAGES[0]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache folder of its own: weights are kept there."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A copy of the package that a test may break."""
    site = tmp_path / "site"
    module = PACKAGE.name.replace("-", "_")
    shutil.copytree(PACKAGE.file().parent.parent, site / module)
    monkeypatch.syspath_prepend(str(site))
    assert site in PACKAGE.file().parents
    return PACKAGE.file()


@pytest.fixture
def without(monkeypatch):
    monkeypatch.setattr(at_hand.Package, "file", lambda self: None)


@pytest.fixture(scope="module")
def dls(shapes):
    from fastai.vision.all import Resize

    return fastmagic.datablock(shapes, item_tfms=Resize(64), bs=16)


def test_the_package_has_the_weights_of_that_network(cache):
    """Its own order and timm's are the same: each tensor is in its place, or the answers would be those of chance."""
    import timm
    from safetensors.torch import load_file

    file = PACKAGE.converted()
    assert cache in file.parents
    theirs = torch.load(PACKAGE.file(), weights_only=True)
    ours = load_file(file)
    assert len(ours) == len(theirs) == 296
    model = timm.create_model(LITE, pretrained=True, pretrained_cfg_overlay={"file": str(file)}).eval()
    assert torch.equal(model.state_dict()["classifier.weight"], theirs["_fc.weight"])
    assert torch.equal(model.state_dict()["conv_stem.weight"], theirs["_conv_stem.weight"])
    for name, value in theirs.items():  # and each of a kind: weights, biases, means, variances
        assert any(torch.equal(value, other) for other in ours.values() if other.shape == value.shape), name
    kinds = [(a.rpartition(".")[2], b.rpartition(".")[2]) for a, b in zip(model.state_dict(), theirs, strict=True)]
    assert all(a == b for a, b in kinds)


def test_they_are_converted_once_and_again_where_the_copy_is_cut(cache):
    file = PACKAGE.converted()
    first = file.stat().st_mtime_ns
    assert PACKAGE.converted().stat().st_mtime_ns == first
    whole = file.stat().st_size
    with open(file, "r+b") as opened:
        opened.truncate(whole // 2)
    assert PACKAGE.converted().stat().st_size == whole
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_training_takes_them_without_internet_and_its_program_too(dls, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    learn = fastmagic.train(dls, LITE, epochs=1, offline=True, checks=False)
    stats = next(t for t in learn.dls.train.after_batch.fs if type(t).__name__ == "Normalize")
    assert stats.mean.flatten().tolist() == pytest.approx([0.5] * 3)
    assert stats.std.flatten().tolist() == pytest.approx([0.5] * 3)
    code = fastmagic.code(learn)
    assert "fastmagic." not in code
    program = f"import sys; sys.modules['fastmagic'] = None\n{code}\nprint('loss', learn.recorder.values[-1][1])"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
    again = float(done.stdout.rsplit("loss", 1)[1])
    assert again == pytest.approx(float(learn.recorder.values[-1][1]), rel=1e-3)


def test_grey_pictures_get_them_too(shapes):
    from fastai.vision.all import CategoryBlock, ImageBlock, PILImageBW, Resize

    grey = fastmagic.datablock(shapes, blocks=(ImageBlock(PILImageBW), CategoryBlock), item_tfms=Resize(64), bs=16)
    learn = fastmagic.train(grey, LITE, epochs=1, offline=True, checks=False)
    assert learn.model[0].model.conv_stem.weight.shape[1] == 1


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda file: file.unlink(), "its weights are gone"),
        (lambda file: file.write_bytes(file.read_bytes()[:9_000_000]), "cut off or damaged"),
        (lambda file: file.write_text("<html>404</html>"), "cut off or damaged"),
        (lambda file: torch.save({"a": torch.zeros(3)}, file), "are not those of tf_efficientnet_lite0"),
        (lambda file: torch.save([1, 2], file), "are not those of tf_efficientnet_lite0"),
        (lambda file: torch.save({"a": print}, file), "cut off or damaged"),
    ],
)
def test_a_file_that_is_gone_cut_or_another_is_told_as_that(installed, dls, harm, said):
    harm(installed)
    with pytest.raises(WeightsError, match=said) as caught:
        fastmagic.train(dls, LITE, epochs=1, offline=True, checks=False)
    assert f"pip install --force-reinstall {PACKAGE.name}" in caught.value.fix


def test_a_cache_that_cannot_be_written_is_named(dls, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nothing")
    with pytest.raises(FastmagicError, match=r"/proc/nothing.*cannot be written") as caught:
        fastmagic.train(dls, LITE, epochs=1, offline=True, checks=False)
    assert "XDG_CACHE_HOME" in caught.value.fix


def test_what_is_at_hand_is_listed():
    assert fastmagic.models("lite0", at_hand=True).names == [LITE]
    assert fastmagic.models(at_hand=True).names[-1] == "tiny"
    assert "on this machine (package)" in str(fastmagic.models(LITE))
    assert at_hand.at_hand(find(f"{LITE}.in1k")) == "package"
    with pytest.raises(NotFoundError, match="No weights on this machine fit 'convnext'") as caught:
        fastmagic.models("convnext", at_hand=True)
    assert LITE in caught.value.fix


def test_where_nothing_is_at_hand_the_line_names_what_brings_it(without):
    arch, why = at_hand.default(offline=True)
    assert arch.name == "tiny"
    assert "pip install 'fastmagic[offline]'" in why
    assert fastmagic.models(at_hand=True).names[-1] == "tiny"
    for name, fix in ((LITE, f"pip install {PACKAGE.name}"), ("resnet34", "pip install 'fastmagic[offline]'")):
        with pytest.raises(WeightsError) as caught:
            at_hand.require_weights(find(name), offline=True)
        assert fix in caught.value.fix


def test_the_extra_brings_the_package_that_is_meant():
    listed = [
        line
        for line in (Path(__file__).parents[2] / "pyproject.toml").read_text().splitlines()
        if line.startswith("offline =")
    ]
    assert PACKAGE.name in listed[0]
