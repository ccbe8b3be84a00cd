"""A bundle's ONNX file: from pixels to the same answers, by onnxruntime alone."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fastmagic.bundles.learner import answers, export
from fastmagic.errors import FastmagicError


def session_of(file: Path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    return onnxruntime.InferenceSession(zipfile.ZipFile(file).read("model.onnx"), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize(
    ("arch", "y"),
    [("test_resnet", "class"), ("tiny", "class"), ("resnet18", "classes"), ("test_vit", "class"), ("test_convnext", "numbers")],
)  # fmt: skip
def test_it_answers_as_the_learner(learner, tmp_path: Path, arch: str, y: str):
    from fastai.vision.all import Normalize, Resize, imagenet_stats
    from PIL import Image

    pytest.importorskip("onnxscript")
    side = 160 if arch == "test_vit" else 40
    resize = Resize((side, side), method="squish")
    learn = learner(arch, y=y, item_tfms=resize, batch_tfms=Normalize.from_stats(*imagenet_stats))
    made = export(learn, tmp_path / "it", onnx=True)
    session = session_of(made.file)
    files = [Path(file) for file in learn.dls.valid_ds.items["file"]][:20]
    pictures = [Image.open(file).convert("RGB").resize((side, side), Image.Resampling.BILINEAR) for file in files]
    pixels = np.stack([np.asarray(picture, np.float32).transpose(2, 0, 1) / 255 for picture in pictures])
    found = session.run(None, {"pixels": pixels})[0]
    wanted = np.array([answers(learn, file) for file in files])
    np.testing.assert_allclose(found.reshape(wanted.shape), wanted, atol=2e-4)
    said = json.loads(session.get_modelmeta().custom_metadata_map["fastmagic"])
    assert said["target"]["classes"] == made.description["target"]["classes"]
    assert said["item_tfms"][0][1]["size"] == [side, side]


@pytest.mark.parametrize(("given", "size"), [(None, 32), (None, 15), (True, (24, 36)), (None, 80)])
def test_batches_are_resized_in_the_graph(learner, tmp_path: Path, given: bool | None, size):
    from fastai.vision.all import AffineCoordTfm, Normalize, Resize, aug_transforms, imagenet_stats
    from PIL import Image

    pytest.importorskip("onnxscript")
    resizing = [AffineCoordTfm(size=size)] if given is None else [*aug_transforms(size=30), AffineCoordTfm(size=size)]
    learn = learner(
        item_tfms=Resize((48, 40), method="squish"), batch_tfms=[*resizing, Normalize.from_stats(*imagenet_stats)]
    )
    session = session_of(export(learn, tmp_path / "it", onnx=True).file)
    files = [Path(file) for file in learn.dls.valid_ds.items["file"]][:8]
    pictures = [Image.open(file).convert("RGB").resize((40, 48), Image.Resampling.BILINEAR) for file in files]
    pixels = np.stack([np.asarray(picture, np.float32).transpose(2, 0, 1) / 255 for picture in pictures])
    wanted = np.array([answers(learn, file) for file in files])
    np.testing.assert_allclose(session.run(None, {"pixels": pixels})[0].reshape(wanted.shape), wanted, atol=2e-4)


def test_what_has_no_onnx_form_is_told(learner, tmp_path: Path, monkeypatch):
    from fastai.vision.all import AffineCoordTfm, RandomResizedCropGPU, ToTensor

    pytest.importorskip("onnxscript")
    with pytest.raises(FastmagicError, match="any size before the batch transform AffineCoordTfm"):
        export(learner(item_tfms=ToTensor(), batch_tfms=AffineCoordTfm(size=32)), tmp_path / "it", onnx=True)
    with pytest.raises(FastmagicError, match="RandomResizedCropGPU changes the size"):
        export(learner(batch_tfms=RandomResizedCropGPU(32)), tmp_path / "it", onnx=True)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(FastmagicError, match=r"onnxruntime is missing\.\npip install 'fastmagic\[onnx\]'"):
        export(learner(), tmp_path / "it", onnx=True)
    assert list(tmp_path.iterdir()) == []
