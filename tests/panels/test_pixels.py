"""The pixel inspector without a browser: what it answers, shows in a saved notebook, and leaves alone."""

from __future__ import annotations

import contextlib
import io
import random
import statistics
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image

import fastmagic
from fastmagic.data.raster import raster_of
from fastmagic.errors import FastmagicError


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    """A picture with one known pixel: R 251, G 48, B 21 at x 120, y 45 of 171 × 256."""
    pixels = np.random.default_rng(0).integers(0, 256, (256, 171, 3), dtype=np.uint8)
    pixels[45, 120] = 251, 48, 21
    file = tmp_path_factory.mktemp("photo") / "bird.png"
    Image.fromarray(pixels).save(file)
    return file


@pytest.fixture(scope="module")
def learn(shapes):
    from fastai.vision.all import Flip, Normalize, Resize, imagenet_stats, vision_learner

    torch.manual_seed(0)
    dls = fastmagic.datablock(
        shapes,
        item_tfms=Resize(32, method="squish"),
        batch_tfms=[Flip(p=0.5), Normalize.from_stats(*imagenet_stats)],
        bs=16,
        num_workers=0,
    )
    return vision_learner(dls, fastmagic.tiny, pretrained=False)


def png_size(panel) -> tuple[int, int]:
    return Image.open(io.BytesIO(panel.still().png)).size


# ---------------------------------------------------------------- the numbers


def test_the_pixel_under_the_cursor_is_read_as_the_file_has_it(photo):
    panel = fastmagic.pixels(photo)
    assert panel.at(120, 45) == (251, 48, 21)
    panel.on_look(120.5 / 171, 45.5 / 256, None)
    assert repr(panel) == "bird.png: 256 × 171 × 3 numbers between 0 and 255; at x 120, y 45: R 251 G 48 B 21 (#fb3015)"


def test_a_window_holds_the_numbers_of_its_place_and_ends_with_the_picture(photo):
    whole = np.array(Image.open(photo))
    answer = fastmagic.pixels(photo).on_window(0, 128, 192, 64, 256)
    assert np.array_equal(answer["data"], whole[192:, 128:])


@pytest.mark.parametrize(
    ("make", "sentence", "at"),
    [
        (lambda: Image.new("L", (5, 4), 7), "4 × 5 numbers between 0 and 255", (7,)),
        (lambda: Image.new("RGBA", (5, 4), (1, 2, 3, 4)), "4 × 5 × 4 numbers between 0 and 255", (1, 2, 3, 4)),
        (lambda: Image.new("CMYK", (5, 4), (9, 8, 7, 6)), "4 × 5 × 4 numbers between 0 and 255", (9, 8, 7, 6)),
        (lambda: Image.new("1", (5, 4), 1), "4 × 5 bool numbers between 0 and 1", (1,)),
        (lambda: Image.fromarray(np.full((4, 5), 40_000, np.uint16)), "4 × 5 uint16 numbers between 40000 and 40000", (40_000,)),
        (lambda: np.linspace(-1, 2, 60).reshape(4, 5, 3), "4 × 5 × 3 float64 numbers between −1 and 2", (-1,)),
        (lambda: torch.linspace(0, 1, 60).reshape(3, 4, 5), "3 × 4 × 5 float32 numbers between 0 and 1", (0,)),
        (lambda: torch.full((1, 3, 4, 5), 3), "1 × 3 × 4 × 5 int64 numbers between 3 and 3", (3,)),
        (lambda: np.zeros((4, 5), bool), "4 × 5 bool numbers between 0 and 1", (0,)),
    ],
    ids=["grey", "RGBA", "CMYK", "bits", "16 bit", "floats", "tensor", "batch of one", "mask"],
)  # fmt: skip
def test_pictures_of_every_kind_show_their_own_numbers(make, sentence, at):
    raster = raster_of(make())
    assert raster.sentence() == sentence
    assert raster.at(0, 0)[: len(at)] == pytest.approx(at)
    raster.overview()
    raster.view(0, 0, 3, 3, (3, 3), channel=0)
    assert fastmagic.pixels(make()).still().png is not None


def test_numbers_that_are_no_colours_are_stretched_and_that_is_said():
    raster = raster_of(torch.tensor([[-2.0, 0.0], [1.0, 2.0]]))
    assert raster.rescaled
    assert np.array(raster.overview()).ravel().tolist() == [0, 128, 191, 255]
    assert not raster_of(torch.tensor([[0.0, 0.5]])).rescaled


def test_nan_is_counted_and_does_not_spoil_the_range():
    raster = raster_of(np.array([[np.nan, 0.25], [0.5, np.inf]], np.float32))
    assert (raster.low, raster.high) == (0.25, 0.5)
    assert raster.note == "2 of the numbers are NaN or infinite."
    assert "NaN" in raster.says(0, 0)


def test_a_photo_taken_askew_is_shown_as_fastai_reads_it_and_that_is_said(tmp_path):
    from fastai.vision.core import PILImage

    image = Image.new("RGB", (40, 20), "red")
    exif = image.getexif()
    exif[274] = 6
    image.save(tmp_path / "turned.jpg", exif=exif)
    raster = raster_of(tmp_path / "turned.jpg")
    assert (raster.height, raster.width, 3) == np.array(PILImage.create(tmp_path / "turned.jpg")).shape
    assert "EXIF orientation 6" in raster.note


def test_a_large_photo_has_the_numbers_of_a_full_decode_and_opens_fast(tmp_path):
    size = (6000, 4000)
    noise = Image.effect_noise((750, 500), 60).resize(size)
    Image.merge("RGB", [noise, noise.transpose(Image.Transpose.FLIP_LEFT_RIGHT), noise]).save(tmp_path / "big.jpg")
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        panel = fastmagic.pixels(tmp_path / "big.jpg")
        state = panel.state()
        seconds.append(time.perf_counter() - started)
    assert "data" not in state["picture"]
    assert len(state["picture"]["overview"].data) < 500_000
    whole = np.array(Image.open(tmp_path / "big.jpg"))
    assert np.array_equal(panel.on_window(0, 5888, 3968, 256, 256)["data"], whole[3968:4000, 5888:6000])
    # An order of magnitude above what it takes, for a machine that is busy with other tests.
    assert statistics.median(seconds) < 5


def test_a_zoomed_view_is_exact_where_pixels_show_and_reduced_elsewhere(photo):
    panel = fastmagic.pixels(photo)
    near = panel.on_view(0, None, 100, 40, 30, 10, [900, 300])["picture"]
    assert near.mime == "image/png"
    assert Image.open(io.BytesIO(near.data)).getpixel((20, 5)) == (251, 48, 21)
    far = panel.on_view(0, 1, 0, 0, 171, 256, [57, 85])["picture"]
    assert Image.open(io.BytesIO(far.data)).size == (57, 85)
    assert Image.open(io.BytesIO(far.data)).mode == "L"


# ---------------------------------------------------------------- mistakes


def test_mistakes_name_cause_and_next_step(photo, tmp_path, learn):
    (tmp_path / "notes.jpg").write_text("not a picture")
    with pytest.raises(FastmagicError, match="is not a picture but a text file"):
        fastmagic.pixels(tmp_path / "notes.jpg")
    with pytest.raises(FastmagicError, match=r"Did you mean 'bird.png'"):
        fastmagic.pixels(photo.parent / "brid.png")
    with pytest.raises(FastmagicError, match="is a folder"):
        fastmagic.pixels(tmp_path)
    with pytest.raises(FastmagicError, match="batch of 8 pictures"):
        fastmagic.pixels(torch.zeros(8, 3, 4, 4))
    with pytest.raises(FastmagicError, match="is no picture"):
        fastmagic.pixels(np.zeros((2, 3, 4, 5, 6)))
    with pytest.raises(FastmagicError, match="There is no item 96"):
        fastmagic.pixels(learn.dls, index=96)
    with pytest.raises(FastmagicError, match="Only DataLoaders and batches"):
        fastmagic.pixels(photo, index=3)
    with pytest.raises(FastmagicError, match="There is no pixel x 171"):
        fastmagic.pixels(photo).at(171, 0)


def test_a_number_is_named_as_its_owner_indexes_it(photo):
    batch = fastmagic.pixels(torch.zeros(8, 3, 4, 4), index=3)
    assert batch._raster(0).place.format(y=1, x=2) == "[3, :, 1, 2]"
    assert fastmagic.pixels(np.zeros((4, 4, 3)))._raster(0).place.format(y=1, x=2) == "[1, 2]"
    assert fastmagic.pixels(photo).on_picture(0, None)["picture"]["place"] == "[{y}, {x}]"


def test_one_of_a_batch_is_named_by_its_number():
    assert fastmagic.pixels(torch.arange(8.0)[:, None, None, None].expand(8, 1, 4, 4), index=3).at(0, 0) == (3,)


# ---------------------------------------------------------------- steps


def test_an_item_is_followed_to_exactly_what_the_model_gets(learn):
    panel = fastmagic.pixels(learn.dls, index=5, split="valid")
    steps = [step["name"] for step in panel.state()["walk"]["steps"]]
    assert steps == [
        "as it lies on disk", "PILImage.create", "Resize", "ToTensor", "collate", "IntToFloatTensor", "Flip", "Normalize",
    ]  # fmt: skip
    batch = learn.dls.test_dl([learn.dls.valid_ds.items[5]], num_workers=0).one_batch()[0][0]
    last = panel._raster(len(steps) - 1)
    assert np.allclose(last.pixels, batch.cpu().permute(1, 2, 0), atol=1e-6)
    assert last.sentence().startswith("1 × 3 × 32 × 32 float32 numbers between −")
    assert last.axes == "batch × channels × height × width"


def test_the_steps_say_what_transforms_were_given_and_which_change_nothing(learn):
    walk = fastmagic.pixels(learn.dls, index=5, split="valid").state()["walk"]
    by_name = {step["name"]: step for step in walk["steps"]}
    assert by_name["Resize"]["given"].startswith("size=(32, 32), method='squish'")
    assert by_name["Normalize"]["given"].startswith("mean=(0.4850,0.4560,0.4060)")
    assert by_name["Flip"]["same"]
    assert not by_name["Normalize"]["same"]


def test_tensors_on_another_device_or_in_another_precision_are_told_alike():
    import torch
    from fastai.vision.all import Normalize

    from fastmagic.data.steps import _given

    plain = _given(Normalize(torch.tensor([0.5, 0.25]), torch.tensor([1.0, 2.0])))
    assert plain.startswith("mean=(0.5000,0.2500)")
    assert _given(Normalize(torch.tensor([0.5, 0.25]).double(), torch.tensor([1.0, 2.0]).double())) == plain
    assert _given(Normalize(torch.zeros(2, device="meta"), torch.ones(2))).count("meta") == 0


def test_rolling_again_draws_anew_and_the_same_roll_gives_the_same(learn):
    panel = fastmagic.pixels(learn.dls, index=5)

    def rolled(roll):
        panel.on_walk(5, roll=roll)
        return panel._raster(6).pixels.copy()

    flipped = [rolled(roll) for roll in range(8)]
    assert any(not np.array_equal(flipped[0], other) for other in flipped)
    assert np.array_equal(rolled(0), flipped[0])


def test_an_item_is_found_by_part_of_its_name(learn):
    name = learn.dls.train_ds.items[7].name
    assert fastmagic.pixels(learn.dls, index=name).state()["walk"]["index"] == 7


def test_an_item_of_a_table_is_opened_through_its_getter(shapes):
    import pandas as pd
    from fastai.vision.all import ImageDataLoaders, Resize

    files = sorted(shapes.rglob("*.png"))[:16]
    frame = pd.DataFrame(
        {"name": [f"{f.parent.name}/{f.name}" for f in files], "label": [f.parent.name for f in files]}
    )
    dls = ImageDataLoaders.from_df(frame, shapes, item_tfms=Resize(32), bs=4, num_workers=0)
    panel = fastmagic.pixels(dls, index=1)
    steps = [step["name"] for step in panel.state()["walk"]["steps"]]
    assert steps[:3] == ["as it lies on disk", "PILImage.create", "Resize"]
    assert panel.state()["picture"]["width"] == 48


def test_looking_disturbs_neither_random_numbers_nor_the_learner(learn):
    learn.model.train()
    before = (random.getstate(), torch.get_rng_state(), learn.dls.train.after_batch.fs[1].__dict__.copy())
    weights = {name: value.clone() for name, value in learn.model.state_dict().items()}
    panel = fastmagic.pixels(learn, index=1)
    panel.on_walk(1, roll=3)
    panel.on_paint(0, 9, "#ff0000", [[10, 10]])
    assert random.getstate() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])
    assert learn.dls.train.after_batch.fs[1].__dict__.keys() == before[2].keys()
    assert learn.model.training
    assert all(torch.equal(value, weights[name]) for name, value in learn.model.state_dict().items())


def test_a_transform_that_breaks_is_shown_where_it_breaks(shapes):
    from fastai.vision.all import Resize, Transform

    class Crash(Transform):
        def encodes(self, x: torch.Tensor):
            raise ValueError("too dark")

    dls = fastmagic.datablock(shapes, item_tfms=Resize(32), bs=8, num_workers=0)
    dls.train.after_batch.add(Crash())
    panel = fastmagic.pixels(dls)
    broken = panel.state()["walk"]["steps"][-1]
    assert broken["error"] == "ValueError: too dark"
    assert panel.on_picture(len(panel._subject.views) - 1, None)["picture"] is None
    assert "too dark" in repr(panel)


# ---------------------------------------------------------------- painting


def test_the_prediction_after_painting_is_that_of_the_painted_picture(learn, shapes):
    file = sorted((shapes / "disc").iterdir())[0]
    kept = file.read_bytes()
    panel = fastmagic.pixels(file, learn)
    answer = panel.on_paint(0, 27, "#00ff00", [[20, 20], [30, 20]])
    expected = np.array(Image.open(file))
    expected[7:34, 7:44] = 0, 255, 0
    assert np.array_equal(np.array(panel.painted()), expected)
    truth = fastmagic.predict(Image.fromarray(expected), learn).probabilities
    base = fastmagic.predict(file, learn).probabilities
    for name, now, before in answer["prediction"]["rows"]:
        assert now == pytest.approx(truth[name], abs=1e-5)
        assert before == pytest.approx(base[name], abs=1e-5)
    assert file.read_bytes() == kept


def test_strokes_are_taken_back_one_by_one_and_all_at_once(learn, photo):
    panel = fastmagic.pixels(photo, learn)
    original = np.array(Image.open(photo))
    panel.on_paint(0, 3, "#ff0000", [[10, 10]])
    first = np.array(panel.painted())
    panel.on_paint(1, 9, "#0000ff", [[12, 12]])
    panel.on_paint(1, 9, "#0000ff", [[15, 12]])  # the same stroke goes on
    assert panel.on_undo()["strokes"] == 1
    assert np.array_equal(np.array(panel.painted()), first)
    panel.on_paint(2, 1, "#0000ff", [[0, 0], [170, 255], [500, 500]])  # over the edge
    answer = panel.on_reset()
    assert answer["strokes"] == 0
    assert not answer["prediction"]["painted"]
    assert np.array_equal(np.array(panel.painted()), original)


def test_what_is_painted_goes_on_through_the_steps(learn):
    panel = fastmagic.pixels(learn, index=2, split="valid")
    before = panel._raster(7).pixels.copy()
    panel.on_paint(0, 27, "#ffffff", [[24, 24]])
    panel.on_picture(7, None)
    assert not np.array_equal(panel._raster(7).pixels, before)
    assert np.array_equal(panel._raster(0).pixels, np.array(Image.open(learn.dls.valid_ds.items[2])))
    panel.on_reset()
    panel.on_picture(7, None)
    assert np.array_equal(panel._raster(7).pixels, before)


def test_a_grey_picture_is_painted_grey(learn):
    panel = fastmagic.pixels(Image.new("L", (40, 40), 0), learn)
    panel.on_paint(0, 1, "#ff0000", [[3, 3]])
    assert panel.at(3, 3) == (76,)


def test_what_cannot_be_painted_says_so(learn):
    panel = fastmagic.pixels(torch.rand(3, 8, 8), learn)
    assert panel.state()["canvas"] is None
    with pytest.raises(FastmagicError, match="nothing to paint"):
        panel.on_paint(0, 1, "#ff0000", [[3, 3]])


# ---------------------------------------------------------------- the still and the magic


def test_the_still_is_small_and_holds_picture_numbers_and_sentence(photo):
    bundle = fastmagic.pixels(photo)._repr_mimebundle_()
    assert sum(len(part) for part in bundle.values() if isinstance(part, str)) < 200_000
    assert "256 × 171 × 3 numbers between 0 and 255" in bundle["text/html"]
    assert bundle["text/html"].count("<td") == 25
    assert png_size(fastmagic.pixels(photo))[1] == 265


def test_the_colours_of_the_loupe_in_the_still_are_true(photo):
    panel = fastmagic.pixels(photo)
    panel.on_look(120.5 / 171, 45.5 / 256, None)
    sheet = Image.open(io.BytesIO(panel.still().png)).convert("RGB")
    assert sheet.getpixel((sheet.width - 265 + 5 * 24 + 12, 5 * 24 + 12)) == (251, 48, 21)


def test_the_magic_takes_a_file_an_item_and_the_newest(shell, shapes, photo):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        shell.run(f"%pixels {photo}")
    assert "256 × 171 × 3 numbers" in out.getvalue()
    shell.user_ns["shapes"] = shapes
    shell.run(
        "from fastai.vision.all import *\ndls = ImageDataLoaders.from_folder(shapes, valid_pct=.2, item_tfms=Resize(32), bs=8, num_workers=0)"
    )
    for line, index in (
        ("dls 12", 12),
        ("12", 12),
        ("", 0),
        ("dls --item _01", None),
        ("3 --split valid --into other", 3),
    ):
        with contextlib.redirect_stdout(io.StringIO()) as out:
            shell.run(f"%pixels {line}")
        panel = shell.user_ns["other" if "other" in line else "px"]
        assert index is None or panel.state()["walk"]["index"] == index
        assert "step 1 of" in out.getvalue()
    assert not panel.state()["learn"]


def test_the_magic_finds_the_learner_to_paint_with(shell, learn, photo):
    shell.user_ns.update(learn=learn, dls=learn.dls)
    for line in (str(photo), "learn 3", "dls 3"):
        shell.run(f"%pixels {line}")
        assert shell.user_ns["px"]._learn is learn


@pytest.mark.parametrize("line", ["PHOTO", "dls 3", "dls --item disc_ --split valid"])
def test_the_program_printed_runs_and_nothing_else_does(shell, shapes, photo, line, tmp_path):
    made = (
        "from fastai.vision.all import *\n"
        f"dls = ImageDataLoaders.from_folder({str(shapes)!r}, valid_pct=.2, item_tfms=Resize(32), batch_tfms=Normalize.from_stats(*imagenet_stats), bs=8, num_workers=0)"
    )
    shell.run(made)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        shell.run(f"%pixels {line.replace('PHOTO', str(photo))} --code")
    program = out.getvalue()
    assert "px" not in shell.user_ns
    assert "fastmagic" not in program.replace(str(photo), "")
    if "dls" in line:
        program = f"{made}\n{program}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert ("Normalize" in done.stdout) if "dls" in line else ("(256, 171, 3)" in done.stdout)


def test_the_lessons_bird_reads_as_on_the_website(shared_data):
    panel = fastmagic.pixels(shared_data / "lesson_photos" / "bird.jpg")
    with Image.open(shared_data / "lesson_photos" / "bird.jpg") as image:
        assert panel.at(1000, 300) == image.getpixel((1000, 300))


def test_a_browser_that_asks_as_soon_as_it_hears_of_the_panel_is_answered(photo, monkeypatch):
    """In JupyterLab ipykernel 7 hears it in another thread, while the panel is still being made."""
    from fastmagic.panels.panel import Panel

    sent = []
    monkeypatch.setattr(Panel, "send", lambda self, content, buffers=None: sent.append(content))
    opened = Panel.open

    def open_and_ask(self):
        opened(self)
        self._handle_custom_msg({"id": "1", "ask": "hello", "content": {"host": "page"}}, [])

    monkeypatch.setattr(Panel, "open", open_and_ask)
    fastmagic.pixels(photo)
    assert [(message["re"], "error" in message) for message in sent] == [("1", False)]
