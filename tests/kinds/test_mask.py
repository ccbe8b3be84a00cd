"""Images with masks: how they are recognised, checked, learned, drawn and counted."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from IPython.utils.capture import capture_output
from PIL import Image

import fastmagic
from fastmagic.data.folders import read_folder
from fastmagic.data.mask_files import read_masks
from fastmagic.errors import FastmagicError
from fastmagic.kinds import MASK, kind_of
from fastmagic.kinds.mask import codes_of
from fastmagic.learning.train import plan

CODES = ["ground", "square", "Void"]


def scene(random, height=48, width=64):
    """Return a picture of a bright square on dark ground, and its mask; the uppermost rows are Void."""
    mask = np.zeros((height, width), np.uint8)
    y, x, side = random.integers(6, height - 24), random.integers(2, width - 24), random.integers(12, 20)
    mask[y : y + side, x : x + side] = 1
    noise = random.normal(0, 25, (height, width, 3))
    picture = np.where(mask[..., None] == 1, [200, 170, 60], [60, 70, 90]) + noise
    mask[:4] = 2
    return Image.fromarray(picture.clip(0, 255).astype("uint8")), mask


def make(folder: Path, n=40, name="{}.png", values=None, codes=CODES, inside="{}", mode=None):
    """Write a folder of scenes; `values` are what the masks hold for the classes, `inside` a folder for each number."""
    random = np.random.default_rng(0)
    for k in range(n):
        photo, mask = scene(random)
        image = (
            folder / "images" / inside.format(k) / f"{k:03d}.jpg" if inside != "{}" else folder / f"images/{k:03d}.jpg"
        )
        place = folder / "masks" / image.parent.relative_to(folder / "images") / name.format(image.stem)
        image.parent.mkdir(parents=True, exist_ok=True)
        place.parent.mkdir(parents=True, exist_ok=True)
        photo.save(image, quality=95)
        drawn = Image.fromarray(np.array(values, np.uint8)[mask] if values else mask)
        (drawn.convert(mode) if mode else drawn).save(place)
    if codes:
        (folder / "codes.txt").write_text("\n".join(codes) + "\n")
    return folder


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return make(tmp_path_factory.mktemp("scenes") / "scenes")


@pytest.fixture(scope="module")
def trained(scenes):
    """A learner of scenes by the backbone in the box, whose weights need no internet."""
    dls = fastmagic.datablock(scenes, num_workers=0)
    return fastmagic.train(dls, "tiny", epochs=1, freeze_epochs=3, offline=True)


def said(planned) -> str:
    return f"{planned.why}\n{planned.cell()}"


def errors(report) -> list:
    return [finding for finding in report if finding.severity == "error"]


def planned(folder, **answers):
    from fastmagic.data.datablock import plan as plan_block

    return plan_block(folder, given=answers)


# ---------------------------------------------------------------- what is worked out


def test_a_folder_of_images_and_masks_is_worked_out(scenes):
    found = planned(scenes)
    assert found.kind is MASK
    assert "blocks    = ImageBlock, MaskBlock(codes=['ground', 'square', 'Void'])" in said(found)
    assert "3 classes (codes.txt): ground, square, Void" in found.why
    assert "Void counts for nothing" in found.why
    dls = found.build()
    assert kind_of(dls) is MASK
    x, y = dls.one_batch()
    assert tuple(x.shape[-2:]) == tuple(y.shape[-2:]) == (48, 64)
    assert set(np.unique(y.cpu())) == {0, 1, 2}
    assert [len(loader.dataset) for loader in dls.loaders] == [32, 8]


@pytest.mark.parametrize("name", ["{}.png", "{}_P.png", "{}_mask.png", "{}.bmp"])
def test_a_mask_is_found_by_the_name_of_its_image(tmp_path, name):
    folder = make(tmp_path / "it", 10, name)
    layout = read_masks(folder, read_folder(folder))
    assert layout.suffix == name[2:]
    assert all(mask is not None and mask.stem.startswith(image.stem) for image, mask in layout.pairs)
    dls = fastmagic.datablock(folder, num_workers=0)
    assert set(np.unique(dls.one_batch()[1].cpu())) == {0, 1, 2}


def test_ten_does_not_take_the_mask_of_one(tmp_path):
    folder = make(tmp_path / "it", 4, "{}_m.png")
    for place, suffix in (("images", ".jpg"), ("masks", "_m.png")):
        for k, name in enumerate(("1", "11", "111", "1_m")):
            os.rename(folder / place / f"{k:03d}{suffix}", folder / place / f"{name}{suffix}")
    layout = read_masks(folder, read_folder(folder))
    assert {image.stem: mask.name for image, mask in layout.pairs} == {
        "1": "1_m.png", "11": "11_m.png", "111": "111_m.png", "1_m": "1_m_m.png",
    }  # fmt: skip


def test_masks_of_0_and_255_become_0_and_1(tmp_path):
    found = planned(make(tmp_path / "it", 20, values=[0, 255, 0], codes=None))
    assert "masks hold 0, 255, which become 0 to 1" in found.why
    assert "batch_tfms = IntToFloatTensor(div_mask=255)" in said(found)
    dls = found.build()
    assert set(np.unique(dls.one_batch()[1].cpu())) == {0, 1}
    assert dls.one_batch()[0].max() <= 1  # the photo is still divided by its own 255
    assert not errors(fastmagic.check(dls))
    picture = np.asarray(Image.open(_png(MASK.grid(dls, 2))).convert("RGB")).astype(int)
    # Both classes have a colour: fastai's own map draws 0 and 1 alike (fastai#3404).
    assert ((picture.max(-1) - picture.min(-1)) > 60).mean() > 0.4


def _png(drawing):
    import io

    return io.BytesIO(drawing.png)


def test_three_greys_and_ones_and_zeros_of_one_bit(tmp_path):
    three = planned(make(tmp_path / "three", 12, values=[0, 128, 255], codes=None))
    assert set(np.unique(three.build().one_batch()[1].cpu())) == {0, 1, 2}
    bits = planned(make(tmp_path / "bits", 12, values=[0, 255, 0], codes=["no", "yes"], mode="1"))
    assert set(np.unique(bits.build().one_batch()[1].cpu())) == {0, 1}
    assert "codes=['no', 'yes']" in said(bits)


def test_classes_without_names_are_their_numbers_and_255_counts_for_nothing(tmp_path):
    found = planned(make(tmp_path / "it", 12, values=[0, 1, 255], codes=None))
    assert "codes=['0', '1']" in said(found)
    assert "255 counts for nothing" in found.why
    dls = found.build()
    assert not errors(fastmagic.check(dls))
    assert "ignore_index=255" in plan(dls, "tiny", offline=True).code()


def test_a_palette_is_read_by_its_numbers(tmp_path):
    folder = make(tmp_path / "it", 12, codes=None)
    for file in (folder / "masks").iterdir():
        mask = Image.open(file).convert("P")
        mask.putpalette([0, 0, 0, 200, 0, 0, 0, 120, 0])
        mask.save(file)
    found = planned(folder)
    assert "indices of a palette" in found.why
    dls = found.build()
    assert set(np.unique(dls.one_batch()[1].cpu())) == {0, 1, 2}
    assert not errors(fastmagic.check(folder))
    own = fastmagic.datablock(folder, get_y=lambda file: file.parents[1] / "masks" / f"{file.stem}.png", num_workers=0)
    finding = fastmagic.check(own)["mask-palette"]
    assert finding.severity == "error"
    assert "Image.open" in finding.fix


def test_colours_and_shades_are_refused_with_the_reason(tmp_path):
    folder = make(tmp_path / "colours", 8)
    for file in (folder / "masks").iterdir():
        Image.fromarray(np.array([[0, 0, 0], [200, 0, 0], [0, 120, 0]], np.uint8)[np.asarray(Image.open(file))]).save(
            file
        )
    with pytest.raises(FastmagicError, match="is in colours"):
        fastmagic.datablock(folder)
    blurred = make(tmp_path / "blurred", 8, "{}.jpg", values=[0, 120, 255], codes=None)
    with pytest.raises(FastmagicError, match="different values: JPEG blurs them"):
        fastmagic.datablock(blurred)


def test_names_that_do_not_reach_are_said(tmp_path):
    folder = make(tmp_path / "it", 12, values=[0, 1, 7], codes=["a", "b"])
    with pytest.raises(FastmagicError, match=r"'codes.txt' names 2 classes, 0 to 1, and masks hold 7 too"):
        fastmagic.datablock(folder)


def test_images_without_a_mask_are_left_out_and_named(tmp_path):
    folder = make(tmp_path / "it", 20)
    (folder / "masks/003.png").unlink()
    (folder / "images/005.jpg").unlink()
    found = planned(folder)
    assert "1 image without a mask left out" in found.why
    assert "1 mask without an image left out" in found.why
    dls = found.build()
    assert "003.jpg" not in [file.name for file in [*dls.train.items, *dls.valid.items]]
    report = fastmagic.check(folder)
    assert [item.name for item in report["no-mask"].items] == ["003.jpg"]
    assert [item.name for item in report["mask-alone"].items] == ["005.png"]


def test_folders_for_the_split_within_images(tmp_path):
    folder = tmp_path / "it"
    random = np.random.default_rng(0)
    for part, n in (("train", 12), ("val", 4)):
        for k in range(n):
            photo, mask = scene(random)
            for place, what in (("images", photo), ("masks", Image.fromarray(mask))):
                (folder / place / part).mkdir(parents=True, exist_ok=True)
                what.save(folder / place / part / f"{k}.png")
    (folder / "codes.txt").write_text("\n".join(CODES))
    dls = fastmagic.datablock(folder, num_workers=0)
    assert {file.parent.name for file in dls.valid.items} == {"val"}
    assert {file.parent.name for file in dls.train.items} == {"train"}


def test_what_is_no_mask_is_said(tmp_path):
    folder = make(tmp_path / "it", 8)
    for file in (folder / "masks").iterdir():
        file.rename(file.with_suffix(".txt"))
    with pytest.raises(FastmagicError, match="'masks' holds no picture"):
        fastmagic.datablock(folder)
    other = make(tmp_path / "other", 8, "of-{}.png")
    with pytest.raises(FastmagicError, match="Which mask belongs to which image") as error:
        fastmagic.datablock(other)
    assert "get_y" in error.value.fix


def test_own_answers_stand_beside_what_is_worked_out(scenes):
    from fastai.vision.all import ImageBlock, MaskBlock, RandomSplitter, Resize

    dls = fastmagic.datablock(
        scenes, blocks=(ImageBlock, MaskBlock(codes=["a", "b", "c"])), splitter=RandomSplitter(0.5, seed=1),
        item_tfms=Resize(32, method="squish"), num_workers=0,
    )  # fmt: skip
    assert codes_of(dls) == ["a", "b", "c"]
    assert len(dls.valid_ds) == 20
    assert tuple(dls.one_batch()[1].shape[-2:]) == (32, 32)


def test_who_asks_for_a_class_a_photo_gets_one(tmp_path):
    """As in fastai's lesson on pets: `images` and `annotations`, and the class in the name."""
    from fastai.vision.all import RegexLabeller

    folder = make(tmp_path / "pets", 20)
    (folder / "masks").rename(folder / "annotations")
    for i, file in enumerate(sorted((folder / "images").iterdir())):
        file.rename(file.with_name(f"{'cat' if i % 2 else 'dog'}_{file.name}"))
    named = planned_with_label(folder / "images", r"^(cat|dog)_")
    assert list(named.build().vocab) == ["cat", "dog"]
    assert "CategoryBlock" in planned_with_label(folder, r"^(cat|dog)_").cell()
    own = planned(folder, get_y=RegexLabeller(r"/(cat|dog)_[^/]+$"))
    assert "ImageBlock, CategoryBlock" in own.cell()


def planned_with_label(folder, label):
    from fastmagic.data.datablock import plan as plan_block

    return plan_block(folder, label=label)


def test_a_void_class_beside_255(tmp_path):
    """Both say "no label"; what would stop the training is what the loss leaves out."""
    folder = make(tmp_path / "it", 20, values=[0, 255, 2])
    dls = fastmagic.datablock(folder, num_workers=0)
    assert "ignore_index=255" in plan(dls, "tiny", offline=True).code()
    fastmagic.train(dls, "tiny", epochs=0, freeze_epochs=1, offline=True)


# ---------------------------------------------------------------- checks


def test_masks_of_another_size_and_values_beyond_are_found(tmp_path):
    folder = make(tmp_path / "it", 60)
    dls = fastmagic.datablock(folder, num_workers=0)
    Image.new("L", (10, 10)).save(folder / "masks/002.png")
    mask = np.array(Image.open(folder / "masks/004.png"))
    mask[0, 0] = 9
    Image.fromarray(mask).save(folder / "masks/004.png")
    (folder / "masks/006.png").write_bytes(b"nothing")
    report = fastmagic.check(dls)
    assert [item.name for item in report["mask-size"].items] == ["002.jpg"]
    assert [item.name for item in report["mask-values"].items] == ["004.jpg"]
    assert report["mask-values"].details[report["mask-values"].items[0]] == "9"
    assert [item.name for item in report["mask-unreadable"].items] == ["006.jpg"]
    assert not report.ok


def test_training_does_not_begin_on_masks_that_would_end_it(tmp_path):
    folder = make(tmp_path / "it", 20)
    dls = fastmagic.datablock(folder, num_workers=0)
    for file in (folder / "masks").iterdir():
        Image.fromarray(np.asarray(Image.open(file)) * 100).save(file)
    with pytest.raises(FastmagicError, match="values beyond the 3 classes"):
        fastmagic.train(dls, "tiny", epochs=1, offline=True)


def test_a_class_that_no_mask_shows_is_named(tmp_path):
    folder = make(tmp_path / "it", 12, codes=["ground", "square", "Void", "boat"])
    dls = fastmagic.datablock(folder, num_workers=0)
    assert fastmagic.check(dls)["class-not-in-train"].items == ["boat"]


# ---------------------------------------------------------------- learning


def test_a_unet_learns_and_its_numbers_are_those_of_sklearn(trained):
    from sklearn.metrics import jaccard_score

    assert "unet_learner(dls, fastmagic.tiny" in fastmagic.code(trained)
    assert "ignore_index=2" in fastmagic.code(trained)
    assert trained.recorder.metric_names[-2] == "foreground_acc"
    found = fastmagic.results(trained)
    assert found.matrix.trace() / found.pixels == pytest.approx(trained.recorder.values[-1][2], abs=0.02)
    assert found.matrix.trace() / found.pixels > 0.9
    masks = [found.masks(i) for i in range(len(found))]
    actual = np.concatenate([mask[0].ravel() for mask in masks])
    drawn = np.concatenate([mask[1].ravel() for mask in masks])[actual >= 0]
    expected = jaccard_score(actual[actual >= 0], drawn, labels=[0, 1], average=None)
    np.testing.assert_allclose(found.per_class()["IoU"][:2], expected)
    assert "Void" not in repr(found).replace(found.why_left_out, "")
    assert "% of" in repr(found)
    assert list(found.top_losses(2)["loss"]) == sorted(found.losses, reverse=True)[:2]
    assert len(found.top_losses(3, actual="square")) <= 3
    with pytest.raises(FastmagicError, match="Did you mean 'square'"):
        found.top_losses(actual="sqare")
    assert found.show(2).png[:4] == b"\x89PNG"


def test_from_scratch_and_by_fine_tune(scenes):
    dls = fastmagic.datablock(scenes, num_workers=0)
    scratch = plan(dls, "tiny", pretrained=False).code()
    assert "pretrained=False" in scratch
    assert "Normalize.from_stats(*imagenet_stats)" in scratch
    assert "fit_one_cycle" in scratch
    assert "fine_tune(3" in plan(dls, "tiny", recipe="fine_tune").code()


def test_what_a_unet_cannot_be_built_on_is_refused(scenes):
    dls = fastmagic.datablock(scenes, num_workers=0)
    with pytest.raises(FastmagicError, match="unet_learner cannot build on convnext_tiny, of timm") as error:
        fastmagic.train(dls, "convnext_tiny", pretrained=False)
    assert "tiny" in error.value.fix


def test_weights_of_a_unet_are_taken_again(trained, scenes, tmp_path):
    trained.path = tmp_path
    file = trained.save("mine")
    dls = fastmagic.datablock(scenes, num_workers=0)
    again = fastmagic.train(dls, "tiny", weights=file, epochs=1, freeze_epochs=0, lr=1e-9)
    before, after = (fastmagic.results(one).matrix for one in (trained, again))
    assert abs(before - after).sum() < before.sum() / 50


# ---------------------------------------------------------------- predictions


def test_a_photo_of_odd_size_gets_a_mask_of_its_size(trained, tmp_path):
    random = np.random.default_rng(9)
    photo, mask = scene(random, 97, 131)
    photo.save(tmp_path / "odd.png")
    said = fastmagic.predict(tmp_path / "odd.png", trained)
    assert said.mask.shape == (97, 131)
    assert said.mask.dtype == np.uint8
    assert ((said.mask == 1) == (mask == 1)).mean() > 0.9
    assert 2 not in said.mask  # nothing is called Void
    assert sum(said.shares.values()) == pytest.approx(1)
    assert said.shares["square"] == pytest.approx((said.mask == 1).mean())
    assert said.label == "ground"
    assert said.overlay().size == (131, 97)
    assert "131 × 97 pixels" in repr(said)
    html = said._repr_mimebundle_()["text/html"]
    assert html.count("<img") == 2
    assert "square" in html
    kept = said.save(tmp_path / "kept")
    np.testing.assert_array_equal(np.asarray(Image.open(kept)), said.mask)
    np.testing.assert_array_equal(fastmagic.predict(np.asarray(photo), trained).mask, said.mask)


def test_predictions_disturb_no_training(trained, scenes):
    import torch

    before = torch.random.get_rng_state()
    fastmagic.predict(scenes / "images/000.jpg", trained)
    assert torch.equal(before, torch.random.get_rng_state())


def test_many_photos_are_a_table_and_files(trained, scenes, tmp_path):
    from fastai.vision.core import PILMask

    (tmp_path / "broken.jpg").write_bytes(b"no photo")
    items = [*sorted((scenes / "images").iterdir())[:3], tmp_path / "broken.jpg"]
    found = fastmagic.predict(items, trained)
    assert list(found.frame.columns) == ["item", "label", "share(ground)", "share(square)", "share(Void)"]
    assert len(found) == 3
    assert len(found.failed) == 1
    assert found.frame["share(square)"].tolist() == [pytest.approx((mask == 1).mean()) for mask in found.masks]
    folder = found.save(tmp_path / "masks")
    assert sorted(file.name for file in folder.iterdir()) == ["000.png", "001.png", "002.png"]
    np.testing.assert_array_equal(np.asarray(PILMask.create(folder / "000.png")), found.masks[0])
    assert "3 photos in" in repr(found)
    assert "ground" in repr(found)
    found.to_csv(tmp_path / "shares.csv")
    assert "share(square)" in (tmp_path / "shares.csv").read_text()
    twice = fastmagic.predict([items[0], items[0]], trained)
    with pytest.raises(FastmagicError, match="Two photos are called"):
        twice.save(tmp_path / "twice")


def test_a_cut_photo_is_answered_for_the_part_that_the_model_sees(scenes, trained):
    from fastai.vision.all import Resize

    dls = fastmagic.datablock(scenes, item_tfms=Resize(48), num_workers=0)
    own = trained.dls
    try:
        trained.dls = dls
        said = fastmagic.predict(scenes / "images/000.jpg", trained)
    finally:
        trained.dls = own
    assert said.mask.shape == (48, 48)
    assert said.image.size == (48, 48)
    assert "a part of the photo" in said.note


def test_a_bundle_draws_the_same_masks(trained, scenes, tmp_path):
    import json
    import zipfile

    from fastmagic.bundles.check import check as check_bundle

    file = tmp_path / "squares.fastmagic"
    fastmagic.export(trained, file)
    again = fastmagic.load(file)
    for photo in sorted((scenes / "images").iterdir())[:3]:
        here, there = fastmagic.predict(photo, trained), fastmagic.predict(photo, again)
        assert (here.mask == there.mask).mean() > 0.999
        assert here.vocab == there.vocab == CODES
    assert "answers alike" in check_bundle(trained, file, most=3)
    with zipfile.ZipFile(file) as archive:
        card = archive.read("README.md").decode()
        said = json.loads(archive.read("bundle.json"))
    assert "image-segmentation" in card
    assert "A unet on tiny" in card
    assert said["target"] == {"kind": "pixels", "classes": CODES, "ignored": 2}
    again.dls = fastmagic.datablock(scenes, num_workers=0)  # it can be trained on, and counted
    assert fastmagic.results(again).matrix.trace() > 0
    with pytest.raises(FastmagicError, match="ONNX"):
        fastmagic.export(trained, file, onnx=True)


def test_a_bundle_whose_words_do_not_fit_is_refused(trained, tmp_path):
    from fastmagic.bundles.learner import _said, built

    said = _said(trained)
    weights = trained.model.state_dict()
    for change in (
        {"model": {**said["model"], "outputs": 7}},
        {"model": {**said["model"], "head": said["model"]["head"] + "s"}},
        {"model": {**said["model"], "library": "timm", "name": "resnet18"}},
        {"target": {**said["target"], "kind": "class"}},
        {"target": {**said["target"], "ignored": "2"}},
        {"loss": ["MSELossFlat", {}]},
    ):
        with pytest.raises(FastmagicError):
            built({**said, **change}, weights)


def test_the_panel_says_that_masks_are_not_its(trained):
    with pytest.raises(FastmagicError, match="draws masks") as error:
        fastmagic.predictor(trained)
    assert "predict(photo, learn)" in error.value.fix


def test_a_step_says_which_class_opens_what(scenes):
    text = str(fastmagic.explain(scenes))
    assert "PILImage.create" in text
    assert "PILMask.create" in text


def test_the_magics(shell, scenes):
    shell.user_ns["scenes"] = scenes
    with capture_output() as out:
        shell.run("%datablock dls --from scenes --show 2")
        shell.run("%train tiny --epochs 1 --freeze-epochs 1")
        shell.run("%results")
        shell.run("%results --worst 2")
        shell.run("%results --worst 2 --class square")
        shell.run("%results --show 2")
        shell.run(f"%predict {scenes}/images/001.jpg --into one")
        shell.run(f"%predict {scenes}/images --csv many.csv --into many")
    assert "codes.txt" in out.stdout
    assert shell.user_ns["one"].mask.shape == (48, 64)
    assert len(shell.user_ns["many"]) == 40
    assert Path("many.csv").is_file()
    with capture_output() as out:
        shell.run("%results --code")
    names: dict = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(out.stdout, names)
    matrix = names["matrix"]
    np.testing.assert_array_equal(matrix, shell.user_ns["res"].matrix)


def test_road_scenes(shared_data):
    found = planned(shared_data / "camvid_small")
    assert "12 classes (codes.txt): Sky" in found.why
    assert "0001TP_006690.jpg → 0001TP_006690_P.png" in found.why
    assert "Resize((180, 240), method='squish')" in said(found)
    report = fastmagic.check(shared_data / "camvid_small")
    assert not errors(report)
