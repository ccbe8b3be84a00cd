"""The backbone in the box: it comes with the package, plain fastai takes it, and training falls back on it."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

import fastmagic
from fastmagic.learning import tiny as box


def test_its_file_is_small_in_half_precision_and_says_what_it_is():
    from safetensors.torch import load_file

    assert box.FILE.stat().st_size <= 5_000_000
    kinds = {value.dtype for value in load_file(box.FILE).values()}
    assert kinds == {torch.float16}
    about = box.about()
    assert len(about["vocab"]) == 200
    assert about["accuracy"] > 0.3  # one in 200 by chance


def test_nothing_is_loaded_until_it_is_used():
    code = "import sys, fastmagic; assert 'tiny' in dir(fastmagic); assert not {'torch', 'timm', 'fastai'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_it_is_made_like_any_of_timms_networks(no_internet):
    with torch.inference_mode():
        assert fastmagic.tiny(num_classes=0).eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 288)
        assert fastmagic.tiny(num_classes=5, in_chans=1).eval()(torch.zeros(1, 1, 96, 96)).shape == (1, 5)
        maps = fastmagic.tiny(features_only=True).eval()(torch.zeros(1, 3, 64, 64))
    assert [m.shape[1] for m in maps] == [32, 48, 96, 160, 288]
    trained, random = fastmagic.tiny(), fastmagic.tiny(pretrained=False)
    assert not torch.equal(trained.conv1[0].weight, random.conv1[0].weight)


def test_plain_fastai_cuts_splits_and_normalises_it(dls, no_internet):
    from fastai.vision.all import Normalize, error_rate, vision_learner

    learn = vision_learner(dls, fastmagic.tiny, metrics=error_rate)
    learn.create_opt()
    assert len(learn.opt.param_lists) == 3
    assert not learn.model[0][0][0].weight.requires_grad  # the body is frozen at first
    assert any(isinstance(t, Normalize) for t in learn.dls.after_batch.fs)
    x = learn.dls.one_batch()[0]
    assert learn.model(x).shape == (len(x), learn.dls.c)


def test_a_unet_grows_on_it(shapes, tmp_path, no_internet):
    import numpy as np
    from fastai.vision.all import PILImage, SegmentationDataLoaders, get_image_files, unet_learner
    from PIL import Image

    masks = tmp_path / "masks"
    masks.mkdir()
    files = get_image_files(shapes)[:8]
    for file in files:
        dark = np.asarray(PILImage.create(file).convert("L")) < 128
        Image.fromarray(dark.astype("uint8")).save(masks / f"{file.stem}.png")
    data = SegmentationDataLoaders.from_label_func(
        shapes, files, lambda f: masks / f"{f.stem}.png", codes=["paper", "ink"], bs=2, item_tfms=None, num_workers=0
    )
    learn = unet_learner(data, fastmagic.tiny, n_out=2)
    with learn.no_bar(), learn.no_logging():
        learn.fit(1)
    assert torch.isfinite(torch.tensor(float(learn.recorder.losses[-1])))


def test_an_exported_learner_predicts_the_same(dls, export, tmp_path, shapes):
    from fastai.vision.all import get_image_files, load_learner

    learn = fastmagic.train(dls, "tiny", epochs=1)
    file = sorted(get_image_files(shapes))[0]
    before = fastmagic.predict(file, learn).probabilities
    export(learn, tmp_path / "model.pkl")
    after = fastmagic.predict(file, load_learner(tmp_path / "model.pkl")).probabilities
    assert after == pytest.approx(before, abs=1e-5)


# ---------------------------------------------------------------- %train


def test_without_internet_and_cache_training_takes_it_and_says_so(dls, no_internet, capsys):
    learn = fastmagic.train(dls, epochs=1)
    said = capsys.readouterr().out
    assert "training tiny, which comes with fastmagic and knows pictures this small" in said
    assert "fastmagic.tiny" in fastmagic.code(learn)


def test_cached_weights_of_resnet18_come_first(dls, no_internet, resnet_in_cache, capsys):
    learn = fastmagic.train(dls, epochs=1)
    assert "resnet18" in fastmagic.code(learn)
    assert "tiny" not in capsys.readouterr().out


def test_weights_that_cannot_be_had_point_to_it(dls, no_internet):
    with pytest.raises(fastmagic.FastmagicError, match=r"train\(dls, 'tiny'\)"):
        fastmagic.train(dls, "resnet18")


def test_by_name_and_by_function_are_one_architecture():
    from fastmagic.learning.architectures import find
    from fastmagic.learning.models import models

    assert find("tiny") == find(fastmagic.tiny)
    assert find("tiny").source == "fastmagic.tiny"
    assert models("tiny").names[0] == "tiny"
    assert "in the box" in str(models("tiny"))


def test_three_epochs_tell_birds_from_forests(shared_data, tmp_path):
    from fastai.vision.all import get_image_files

    # A sixth of the photos and a coarse limit: the benchmark measures, this only sees that it transfers.
    files = sorted(get_image_files(shared_data / "bird_or_not"))[::6]
    dls = fastmagic.datablock(shared_data / "bird_or_not", get_items=lambda _: files)
    learn = fastmagic.train(dls, "tiny", epochs=3)
    assert float(learn.recorder.final_record[-1]) < 0.25
