"""Weights without a hub: those of an installed package, under timm's names, and what is said where there are none."""

from __future__ import annotations

import http.server
import os
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

import fastmagic
from fastmagic.errors import FastmagicError, NotFoundError, WeightsError
from fastmagic.learning import at_hand, speed
from fastmagic.learning.architectures import find
from fastmagic.learning.train import plan

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


def test_parameters_are_counted_without_making_them_and_kept(cache):
    import torchvision

    known = {"resnet18": 11_689_512, LITE: 4_652_008, "vit_h_14": 632_045_800}
    assert {name: speed.parameters(find(name)) for name in known} == known
    assert speed.parameters(find("tiny")) == sum(p.numel() for p in fastmagic.tiny(pretrained=False).parameters())
    assert torchvision.__version__ in (cache / "fastmagic" / "architectures.json").read_text()
    assert "11.7 M" in str(fastmagic.models("resnet18"))
    (cache / "fastmagic" / "architectures.json").write_text('{"cut')
    assert speed.parameters(find("resnet18")) == known["resnet18"]


def test_speed_is_measured_when_asked_for_and_shown_from_then_on(cache):
    assert "predicts" not in str(fastmagic.models("tiny"))
    measured = str(fastmagic.models("tiny", limit=1, speed=True))
    found = speed.kept_speed(find("tiny"))
    assert found.forward > found.training > 0
    assert f"{found.forward:,.0f}/s" in measured
    listed = str(fastmagic.models(at_hand=True))
    assert f"{found.training:,.0f}/s" in listed
    lite = next(line for line in listed.splitlines() if line.startswith(LITE))
    assert lite.split()[4:6] == ["–", "–"]


def test_what_cannot_be_measured_is_named_with_the_reason(cache, monkeypatch):
    def out_of_memory(arch):
        raise RuntimeError("not enough memory: you tried to allocate 9 GB")

    monkeypatch.setattr(speed, "_make", out_of_memory)
    shown = str(fastmagic.models("tiny", limit=1, speed=True))
    assert "tiny could not be measured: not enough memory" in shown


def test_where_nothing_can_be_kept_it_is_found_out_again(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nothing")
    assert speed.parameters(find("tiny")) == speed.parameters(find("tiny")) > 2e6


def test_where_nothing_is_at_hand_the_line_names_what_brings_it(without):
    arch, why = at_hand.default(offline=True)
    assert arch.name == "tiny"
    assert "pip install 'fastmagic[offline]'" in why
    assert fastmagic.models(at_hand=True).names[-1] == "tiny"
    for name, fix in ((LITE, f"pip install {PACKAGE.name}"), ("resnet34", "pip install 'fastmagic[offline]'")):
        with pytest.raises(WeightsError) as caught:
            at_hand.require_weights(find(name), offline=True)
        assert fix in caught.value.fix


def test_without_a_name_a_package_comes_before_ours(no_internet):
    arch, why = at_hand.default()
    assert arch.name == LITE
    assert "The weights of resnet18 are not on this machine, and their host does not answer" in why
    assert f"training {LITE}, whose weights came with {PACKAGE.name}" in why
    assert "FastMagic.offline is on" in at_hand.default(offline=True)[1]
    arch, why = at_hand.default(small=True)
    assert arch.name == "tiny"
    assert f"`train(dls, '{LITE}')` trains a larger one" in why


def test_whether_pictures_are_small_is_told_by_their_files(photos_of_two_sizes, no_internet):
    from fastai.vision.all import Resize

    for side, name in ((64, "tiny"), (200, LITE)):
        dls = fastmagic.datablock(photos_of_two_sizes / str(side), item_tfms=Resize(64), bs=16)
        assert plan(dls, epochs=1, checks=False).learning.name == name, side


def test_what_is_cached_comes_before_a_package(no_internet, tmp_path, monkeypatch):
    import torchvision

    weights = torchvision.models.get_model_weights("resnet34").DEFAULT
    file = tmp_path / "torch" / "hub" / "checkpoints" / weights.url.rpartition("/")[2]
    file.parent.mkdir(parents=True)
    file.touch()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    assert at_hand.default()[0].name == "resnet34"


@pytest.fixture
def photos_of_two_sizes(tmp_path):
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(0)
    for side in (64, 200):
        for i in range(24):
            file = tmp_path / str(side) / "ab"[i % 2] / f"{i}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random.integers(0, 255, (side, side + 40, 3)).astype("uint8")).save(file)
    return tmp_path


# ---------------------------------------------------------------- does the host answer?


@pytest.fixture
def proxy(monkeypatch):
    """A proxy that answers any address with what a test sets: a status, or None to hang up."""
    answer: list[int | None] = [200]
    asked: list[str] = []

    class Proxy(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            asked.append(self.path)
            if answer[0] is None:
                self.close_connection = True
            else:
                self.send_response(answer[0])
                self.end_headers()

        do_CONNECT = do_HEAD

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{server.server_address[1]}")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    yield answer, asked
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(("status", "answers"), [(200, True), (404, False), (403, False), (None, False)])
def test_a_proxy_that_takes_the_connection_and_refuses_the_host_is_no_internet(proxy, status, answers):
    answer, asked = proxy
    answer[0] = status
    assert at_hand.reachable("http://download.example/resnet18.pth") is answers
    assert asked == ["http://download.example/resnet18.pth"]
    if not answers:
        assert not at_hand.reachable("https://download.example/resnet18.pth"), "nor through a tunnel"


def test_without_a_proxy_a_connection_is_enough(monkeypatch):
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        assert at_hand.reachable(f"https://127.0.0.1:{port}/x")
    assert not at_hand.reachable(f"https://127.0.0.1:{port}/x", timeout=1)
    assert not at_hand.reachable("")


def test_the_extra_brings_the_package_that_is_meant():
    listed = [
        line
        for line in (Path(__file__).parents[2] / "pyproject.toml").read_text().splitlines()
        if line.startswith("offline =")
    ]
    assert PACKAGE.name in listed[0]
