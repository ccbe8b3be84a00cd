"""What goes into a bundle comes out again: the same answers, for every kind of them, and nothing of one's own gets in unsaid."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fastmagic
from fastmagic.bundles.check import check
from fastmagic.bundles.learner import answers, export, load
from fastmagic.errors import FastmagicError
from fastmagic.learning.predict import predict


def both(learn, again, files) -> None:
    for file in files:
        np.testing.assert_allclose(answers(again, file), answers(learn, file), atol=1e-5)


def validation(learn) -> list[Path]:
    items = learn.dls.valid_ds.items
    return [Path(file) for file in (items["file"] if hasattr(items, "columns") else items)]


@pytest.mark.parametrize("y", ["class", "classes", "numbers"])
def test_it_answers_as_before(learner, tmp_path: Path, y: str):
    learn = learner(y=y)
    again = load(export(learn, tmp_path / "it.fastmagic").file)
    both(learn, again, validation(learn)[:6])
    file = validation(learn)[0]
    assert predict(file, again).label == predict(file, learn).label
    with learn.no_bar(), again.no_bar():
        np.testing.assert_allclose(again.predict(file)[2], learn.predict(file)[2], atol=1e-5)
        assert str(again.predict(file)[0]) == str(learn.predict(file)[0])
    frame = fastmagic.predict(validation(learn)[:9], again).frame
    assert frame.equals(fastmagic.predict(validation(learn)[:9], learn).frame)


@pytest.mark.parametrize(
    "arch",
    ["tiny", "resnet18", "squeezenet1_1", "xresnet18", "test_vit", "test_convnext", "test_efficientnet", "mobilenet_v3_small"],
)  # fmt: skip
def test_bodies_of_every_library(learner, tmp_path: Path, arch: str):
    from fastai.vision.all import Resize

    learn = learner(arch, item_tfms=Resize(160) if arch == "test_vit" else Resize(64))
    again = load(export(learn, tmp_path / "it.fastmagic", example=False).file)
    both(learn, again, validation(learn)[:2])
    again.freeze()
    again.unfreeze()


def item_transforms():
    from fastai.vision.all import CropPad, RandomResizedCrop, Resize

    return {
        "squish": Resize((40, 56), method="squish"),
        "pad": Resize(40, method="pad", pad_mode="zeros"),
        "crop": [Resize(60), CropPad((40, 52))],
        "random": RandomResizedCrop(40, min_scale=0.5),
    }


@pytest.mark.parametrize("name", ["squish", "pad", "crop", "random"])
def test_what_pictures_go_through(learner, tmp_path: Path, name: str):
    wide = tmp_path / "wide.png"
    Image.effect_noise((90, 50), 80).convert("RGB").save(wide)
    learn = learner(item_tfms=item_transforms()[name])
    both(learn, load(export(learn, tmp_path / "it").file), [wide])


def test_what_batches_go_through_and_augmentation_stays_at_home(learner, tmp_path: Path):
    from fastai.vision.all import Normalize, Resize, aug_transforms, imagenet_stats

    tfms = [*aug_transforms(size=32, flip_vert=True), Normalize.from_stats(*imagenet_stats)]
    learn = learner(item_tfms=Resize(48), batch_tfms=tfms)
    made = export(learn, tmp_path / "it.fastmagic")
    assert [name for name, _ in made.description["batch_tfms"]] == ["IntToFloatTensor", "AffineCoordTfm", "Normalize"]
    both(learn, load(made.file), validation(learn)[:4])


def test_what_was_trained_on_smaller_pictures_than_it_is_given(shapes: Path, tmp_path: Path):
    from fastai.vision.all import Resize

    dls = fastmagic.datablock(shapes, item_tfms=Resize(128))
    learn = fastmagic.train(dls, "tiny", epochs=1, checks=False)
    made = export(learn, tmp_path / "it.fastmagic")
    assert ["AffineCoordTfm", 96] in [[name, words.get("size")] for name, words in made.description["batch_tfms"]]
    both(learn, load(made.file), validation(learn)[:4])


def test_grey_pictures_a_head_of_ones_own_layers_and_another_loss(learner, tmp_path: Path):
    from fastai.vision.all import FocalLossFlat
    from torch import nn

    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(96), nn.GELU(), nn.Linear(96, 2))
    learn = learner(custom_head=head)
    both(learn, load(export(learn, tmp_path / "own").file), validation(learn)[:3])
    learn = learner(grey=True, loss_func=FocalLossFlat(), lin_ftrs=[32, 16], concat_pool=False, ps=0.1)
    both(learn, load(export(learn, tmp_path / "it").file), validation(learn)[:3])


def test_a_learner_of_train_brings_its_answers_and_its_program(shapes: Path, tmp_path: Path, monkeypatch):
    from fastai.vision.all import Resize

    monkeypatch.setenv("HOME", str(shapes.parent))
    dls = fastmagic.datablock(shapes, item_tfms=Resize(32), bs=32, num_workers=0)
    learn = fastmagic.train(dls, "tiny", epochs=1)
    made = export(learn, tmp_path / "shapes", title="Discs & squares", description="A toy.")
    assert made.file.name == "shapes.fastmagic"
    with zipfile.ZipFile(made.file) as archive:
        assert sorted(archive.namelist()) == ["README.md", "bundle.json", "example.png", "model.safetensors"]
        texts = {name: archive.read(name).decode() for name in ("README.md", "bundle.json")}
        example = Image.open(io.BytesIO(archive.read("example.png")))
    card = texts["README.md"]
    assert "# Discs & squares" in card
    assert "A toy." in card
    assert "Tells apart disc, square" in card
    assert "valid: " in card, "how many it gets wrong, of the validation set"
    assert "vision_learner(dls, fastmagic.tiny" in card
    assert json.loads(texts["bundle.json"])["answers"]["get_y"] == "parent_label"
    assert all(str(shapes.parent) not in text for text in texts.values()), "whose machine it was is nobody's business"
    assert max(example.size) <= 512
    again = load(made.file)
    assert again.bundle["card"]["title"] == "Discs & squares"
    twice = export(again, tmp_path / "twice.fastmagic")
    assert twice.description["training"] == made.description["training"], "passed on, it still says how it came to be"


def test_the_card_says_where_the_photos_came_from(shapes: Path, tmp_path: Path):
    from fastai.vision.all import Resize

    from fastmagic.data.gather.manifest import Record, Writer, of_files

    folder = Path(shutil.copytree(shapes, tmp_path / "shapes"))
    files = sorted(folder.rglob("*.png"))
    notes = Writer(folder / "manifest.jsonl")
    for i, file in enumerate(files[:-2]):
        inside, bing = file.relative_to(folder).as_posix(), i % 4 == 0
        license = "CC BY 4.0" if bing else ""
        notes.add(Record(file.parent.name, "kept", inside, query="disc photo", engine="Bing" if bing else "Openverse", license=license, fetched=f"2026-11-{20 + i % 2}T10:00:00"))  # fmt: skip
    notes.add(Record("disc", "broken", "disc/gone.png", engine="nobody"))
    notes.close()
    assert len(of_files(files)) == len(files) - 2
    dls = fastmagic.datablock(folder, item_tfms=Resize(32), bs=32, num_workers=0)
    made = export(fastmagic.train(dls, "tiny", epochs=1, checks=False), tmp_path / "shapes")
    with zipfile.ZipFile(made.file) as archive:
        card = archive.read("README.md").decode()
    bing = len(range(0, len(files) - 2, 4))
    rest = len(files) - 2 - bing
    assert (
        f'{len(files) - 2} of them were found on the web (2026-11-20 to 2026-11-21) by the words "disc photo": '
        f"Openverse ({rest}), Bing ({bing}). Licences: not known ({rest}), CC BY 4.0 ({bing})."
    ) in card
    assert "nobody" not in card
    load(made.file)


def test_the_example_has_no_metadata_of_the_photo(learner, tmp_path: Path):
    learn = learner()
    for file in validation(learn)[:1]:
        photo = tmp_path / "photo.jpg"
        exif = Image.Exif()
        exif[0x010F] = "ACME camera 4711"
        Image.open(file).convert("RGB").save(photo, exif=exif)
        learn.dls.valid_ds.items.iloc[0, 0] = str(photo)
    data = zipfile.ZipFile(export(learn, tmp_path / "it").file).read("example.png")
    assert b"ACME" not in data
    assert not Image.open(io.BytesIO(data)).getexif()
    bare = export(learn, tmp_path / "bare", example=False).file
    assert "example.png" not in zipfile.ZipFile(bare).namelist()
    load(bare)


def test_in_a_fresh_process_it_answers_alike(learn, bundle: Path, learner):
    assert "answers alike to 24 pictures" in check(learn, bundle)
    other = learner(lin_ftrs=[8])
    with pytest.raises(FastmagicError, match="answers otherwise"):
        check(other, bundle)


def test_a_bundle_of_the_oldest_versions_is_loaded_by_the_newest(learn, bundle: Path, monkeypatch):
    newest = Path(__file__).parents[2] / ".venv" / "bin" / "python"
    if "oldest" not in sys.prefix or not newest.exists():
        pytest.skip("runs with the oldest versions, beside the newest")
    monkeypatch.setattr(sys, "executable", str(newest))
    assert "answers alike to 24 pictures" in check(learn, bundle)


def test_it_trains_on(learn, bundle: Path):
    again = load(bundle)
    again.dls = learn.dls
    with again.no_bar(), again.no_logging():
        again.fit(1)
    assert np.isfinite(float(again.recorder.losses[-1]))


def own_learners(learner):
    from fastai.vision.all import Callback, Learner, Resize, Transform
    from torch import nn

    class Doubles(Transform):
        def encodes(self, x):
            return x

    class Mine(nn.Linear):
        pass

    class Shifts(Callback):
        def before_batch(self):
            self.learn.xb = (self.xb[0] + 1,)

    def my_loss(given, wanted):
        return nn.functional.cross_entropy(given, wanted)

    learn = learner()
    own = Learner(learn.dls, nn.Sequential(nn.Flatten(), nn.LazyLinear(2)))
    shifted = learner()
    shifted.add_cb(Shifts())
    hooked = learner()
    hooked.model[1].register_forward_hook(lambda module, given, made: made * 2)
    return {
        "transform": (learner(item_tfms=[Resize(40), Doubles()]), "item_tfms has Doubles"),
        "function": (learner(batch_tfms=[Transform(lambda x: x)]), "batch_tfms has"),
        "layer": (
            learner(custom_head=nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), Mine(96, 2))),
            "a layer Mine",
        ),
        "loss": (learner(loss_func=my_loss), "The loss is my_loss"),
        "model": (own, "a Sequential of your own"),
        "callback": (shifted, "The callback Shifts"),
        "hook": (hooked, "answers otherwise"),
    }


@pytest.mark.parametrize("what", ["transform", "function", "layer", "loss", "model", "callback", "hook"])
def test_what_it_has_no_words_for_is_refused_by_its_name(learner, tmp_path: Path, what: str):
    learn, said = own_learners(learner)[what]
    with pytest.raises(FastmagicError, match=said) as told:
        export(learn, tmp_path / "it")
    assert "export" in str(told.value) or "learn." in str(told.value), "and the way out"
    assert list(tmp_path.iterdir()) == []


def test_weights_that_are_no_numbers_and_files_that_cannot_be_are_told(learner, tmp_path: Path):
    import torch

    learn = learner()
    with pytest.raises(FastmagicError, match=r"it\.fastmagic"):
        export(learn, tmp_path / "it.pkl")
    (tmp_path / "file").touch()
    with pytest.raises(FastmagicError, match="cannot be written"):
        export(learn, tmp_path / "file" / "it")
    with torch.no_grad():
        learn.model[1][-1].weight[0, 0] = float("nan")
    with pytest.raises(FastmagicError, match="no numbers"):
        export(learn, tmp_path / "it")
    with pytest.raises(FastmagicError, match="no fastai learner"):
        export(42, tmp_path / "it")


def test_fastais_pickle_is_taken_with_a_warning_and_no_other_name_opens_one(learner, tmp_path: Path, export):
    learn = learner()
    learn.path = tmp_path
    export(learn, "it.pkl")
    with pytest.warns(UserWarning, match="runs whatever code its maker put in"):
        both(learn, load(tmp_path / "it.pkl"), validation(learn)[:1])
    for name in ("it.fastmagic", "it.zip"):
        os.rename(next(tmp_path.glob("it.*")), tmp_path / name)
        with pytest.raises(FastmagicError, match="was not opened"):
            load(tmp_path / name)
    os.rename(tmp_path / "it.zip", tmp_path / "it.fastmagic")
    with pytest.raises(FastmagicError, match="was not opened"):
        fastmagic.predict("a.png", tmp_path / "it.fastmagic")


def test_predict_takes_a_bundle_as_it_takes_a_learner(learn, bundle: Path):
    file = validation(learn)[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert predict(file, bundle).label == predict(file, learn).label
    with pytest.raises(FastmagicError, match="No file"):
        load(bundle.with_name("nothing.fastmagic"))
