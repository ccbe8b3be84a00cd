"""Models that predict in a page without a kernel: as fastai and PyTorch do, where there is no network."""

from __future__ import annotations

import base64
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
import nbformat.v4 as v4
import numpy as np
import PIL
import pytest
from PIL import Image, ImageOps
from playwright.sync_api import Page, expect
from test_slides import cell, opened, talk

import fastmagic
from fastmagic.panels.panel import source_of
from fastmagic.serve import written

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PANEL = ".fm-predictor"


def pictures(count: int = 20) -> list[bytes]:
    """JPEGs of many sizes and shapes, with discs and squares in noise."""
    from PIL import ImageDraw

    random = np.random.default_rng(1)
    made = []
    for number in range(count):
        width, height = random.integers(60, 900, 2)
        noise = random.integers(0, 90, (height // 6 + 1, width // 6 + 1, 3)).astype("uint8")
        picture = Image.fromarray(noise).resize((int(width), int(height)), Image.Resampling.BICUBIC)
        side = min(width, height)
        x, y = width * 0.5 - side * 0.25, height * 0.5 - side * 0.25
        draw = ImageDraw.Draw(picture)
        shape = draw.ellipse if number % 2 else draw.rectangle
        shape([x, y, x + side * 0.5, y + side * 0.5], fill=tuple(int(c) for c in random.integers(150, 255, 3)))
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=90)
        made.append(file.getvalue())
    return made


@pytest.fixture(scope="module")
def bundle(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from fastai.vision.all import ImageDataLoaders, Resize

    dls = ImageDataLoaders.from_folder(shapes, valid_pct=0.2, seed=0, item_tfms=Resize(64), bs=16, num_workers=0)
    learn = fastmagic.train(dls, "tiny", epochs=2, checks=False)
    file = tmp_path_factory.mktemp("model") / "shapes.fastmagic"
    fastmagic.export(learn, file, title="Disc or </script> square?", onnx=True)
    return file


@pytest.fixture(scope="module")
def deck(npm: None, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written.write(talk(tmp_path_factory.mktemp("talk")), live=bundle).file


@pytest.fixture(scope="module")
def npm() -> None:
    if not shutil.which("npm"):
        pytest.skip("npm, which fetches ONNX Runtime Web, is not installed")


def give(page: Page, name: str, data: bytes) -> dict[str, Any]:
    """Gives the panel a picture; returns what it then shows."""
    page.set_input_files(f"{PANEL} input[type=file]", {"name": name, "mimeType": "image/jpeg", "buffer": data})
    expect(page.locator(".fm-pr-foot")).to_contain_text(name)
    share = page.locator(".fm-pr-decision span").inner_text()
    decision = page.locator(".fm-pr-decision").inner_text().removesuffix(share).strip()
    return {"decision": decision, "probability": float(share.rstrip("%")) / 100}


def last_slide(page: Page) -> None:
    page.evaluate("Reveal.slide(Reveal.getHorizontalSlides().length - 1)")
    expect(page.locator(PANEL)).to_be_visible()


def test_it_answers_as_the_learner_does(browser: Browser, deck: Path, bundle: Path):
    learn = fastmagic.load(bundle)
    with opened(deck, browser) as page:
        last_slide(page)
        expect(page.locator(PANEL)).to_contain_text("Disc or </script> square?")
        gaps, seen = [], set()
        for number, data in enumerate(pictures()):
            said, wanted = give(page, f"{number}.jpg", data), fastmagic.predict(data, learn)
            assert said["decision"] == wanted.label, number
            gaps.append(abs(said["probability"] - wanted.probability))
            seen.add(wanted.label)
        assert max(gaps) < 0.02
        assert seen == {"disc", "square"}
        page.get_by_role("button", name="Clear").click()
        expect(page.locator(".fm-pr-decision")).to_have_count(0)
        page.locator(".fm-pr-tile").first.click()  # the bundle's example
        expect(page.locator(".fm-pr-decision")).to_be_visible()
        before = page.evaluate("JSON.stringify(Reveal.getIndices())")
        page.keyboard.press("ArrowLeft")
        assert page.evaluate("JSON.stringify(Reveal.getIndices())") == before  # the panel's keys are its own


def several(file: Path):  # fastai casts to what an annotation names
    return [file.parent.name]


def share(file: Path) -> float:
    return float(file.parent.name == "disc")


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("kind", ["labels", "numbers"])
def test_several_labels_and_numbers(npm: None, browser: Browser, shapes: Path, tmp_path: Path, kind: str, grey: bool):
    from fastai.vision import all as v

    block, label = {"labels": (v.MultiCategoryBlock, several), "numbers": (v.RegressionBlock, share)}[kind]
    pictures_in = v.ImageBlock(v.PILImageBW) if grey else v.ImageBlock
    dls = v.DataBlock(
        (pictures_in, block), get_items=v.get_image_files, get_y=label, splitter=v.RandomSplitter(0.2, seed=0),
        item_tfms=v.Resize(64, method="squish"),
    ).dataloaders(shapes, bs=16, num_workers=0)  # fmt: skip
    learn = v.vision_learner(dls, v.squeezenet1_1, pretrained=False, n_in=1 if grey else 3, n_out=dls.c or 1)
    fastmagic.export(learn, tmp_path / "it.fastmagic")
    with opened(written.write(talk(tmp_path), live=tmp_path / "it.fastmagic").file, browser) as page:
        last_slide(page)
        for number, data in enumerate(pictures(3)):
            page.set_input_files(f"{PANEL} input[type=file]", {"name": f"{number}.jpg", "mimeType": "", "buffer": data})
            expect(page.locator(".fm-pr-foot")).to_contain_text(f"{number}.jpg")
            wanted = fastmagic.predict(data, learn)
            said = page.locator(".fm-pr-decision").inner_text().strip()
            if kind == "numbers":
                assert float(said) == pytest.approx(wanted.label, abs=0.02)
                continue
            near = [abs(p - 0.5) < 0.01 for p in wanted.probabilities.values()]
            assert said == (", ".join(wanted.label) or "none of the labels") or any(near)
            shares = dict(
                zip(*(page.locator(f".fm-pr-{part}").all_inner_texts() for part in ("name", "share")), strict=True)
            )
            found = {name: float(share.rstrip("%")) / 100 for name, share in shares.items()}
            assert found == pytest.approx(wanted.probabilities, abs=0.02)


def test_a_photo_on_its_side_is_judged_upright(browser: Browser, deck: Path, bundle: Path):
    upright = Image.open(io.BytesIO(pictures(1)[0]))
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    upright.rotate(90, expand=True).save(file, "JPEG", quality=95, exif=exif)
    with opened(deck, browser) as page:
        last_slide(page)
        said = give(page, "side.jpg", file.getvalue())
        wanted = fastmagic.predict(ImageOps.exif_transpose(Image.open(file)), fastmagic.load(bundle))
        assert said == {"decision": wanted.label, "probability": pytest.approx(wanted.probability, abs=0.02)}
        size = page.locator(".fm-pr-picture img").evaluate("img => img.naturalWidth / img.naturalHeight")
        assert size == pytest.approx(upright.width / upright.height, rel=0.02)


def test_what_is_no_picture_is_told_and_the_next_one_is_taken(browser: Browser, deck: Path):
    with opened(deck, browser) as page:
        last_slide(page)
        page.set_input_files(f"{PANEL} input[type=file]", {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": b"no"})
        expect(page.get_by_role("alert")).to_contain_text("'a.jpg' is not a picture that this browser opens.")
        give(page, "b.jpg", pictures(1)[0])
        drawing = b'<svg xmlns="http://www.w3.org/2000/svg" width="90" height="90"><circle cx="45" cy="45" r="30" fill="red"/></svg>'
        page.set_input_files(
            f"{PANEL} input[type=file]", {"name": "c.svg", "mimeType": "image/svg+xml", "buffer": drawing}
        )
        expect(page.locator(".fm-pr-foot")).to_contain_text("c.svg")


def test_the_predictor_among_the_slides_comes_to_life(npm: None, browser: Browser, bundle: Path, tmp_path: Path):
    panel = fastmagic.predictor(bundle)
    output = v4.new_output("display_data", data=panel.forms())
    shown = cell("%predict", "slide")
    shown.outputs = [output]
    file = tmp_path / "with.ipynb"
    nbformat.write(v4.new_notebook(cells=[cell("# One", "slide", v4.new_markdown_cell), shown]), file)
    made = written.write(file, live=bundle, theme="dark")
    assert made.slides == 2
    assert made.remarks == []
    with opened(made.file, browser, width=390, height=800) as page:
        expect(page.locator(PANEL)).to_have_class("fm-panel tex2jax_ignore mathjax_ignore fm-dark fm-predictor")
        expect(page.get_by_text("Nothing has been predicted yet")).to_be_hidden()
        give(page, "a.jpg", pictures(1)[0])
        assert page.evaluate("document.scrollingElement.scrollWidth") <= 390


# ---------------------------------------------------------------- pixels


@pytest.fixture(scope="module")
def transforms(browser: Browser) -> Iterator[Page]:
    """A page with what live.js does to pictures."""
    page = browser.new_page()
    page.set_content("<p></p>")
    page.add_script_tag(
        content=f"{source_of('live')}\nObject.assign(globalThis, {{ drawn, pixelsOf, TRANSFORMS }});", type="module"
    )
    page.wait_for_function("globalThis.TRANSFORMS")
    yield page
    page.close()


SIZES = [(97, 61), (61, 97), (40, 300), (33, 33), (500, 377)]


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize(
    "name", ["crop", "squish", "pad", "borders", "reflection", "lanczos", "nearest", "box", "CropPad"]
)
def test_pictures_are_cut_and_resized_to_the_bit(transforms: Page, name: str, grey: bool):
    from fastai.vision.all import CropPad, PILImage, PILImageBW, Resize

    from fastmagic.bundles.parts import TRANSFORMS

    tfm: Any = {
        "crop": Resize((48, 64)), "squish": Resize(50, method="squish"), "pad": Resize(64, method="pad", pad_mode="zeros"),
        "borders": Resize((70, 40), method="pad", pad_mode="border"), "reflection": Resize(64, method="pad"),
        "lanczos": Resize(48, resamples=(Image.Resampling.LANCZOS, 0)), "nearest": Resize(48, method="squish", resamples=(0, 0)),
        "box": Resize(48, method="squish", resamples=(Image.Resampling.BOX, 0)), "CropPad": CropPad(64),
    }[name]  # fmt: skip
    words = json.loads(json.dumps([type(tfm).__name__, TRANSFORMS[type(tfm).__name__].words(tfm)]))
    random = np.random.default_rng(2)
    for size in SIZES:
        pixels = random.integers(0, 256, (size[1], size[0], 3)).astype("uint8")
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        kind = PILImageBW if grey else PILImage
        try:
            wanted = np.asarray(tfm(kind.create(io.BytesIO(file.getvalue())), split_idx=1))
        except ValueError:  # torchvision's padding gives up where there is less picture than padding
            continue
        found = transforms.evaluate(
            """async ([data, [name, words], channels]) => {
                const file = new Blob([Uint8Array.from(atob(data), c => c.charCodeAt(0))]);
                const image = TRANSFORMS[name](pixelsOf(await drawn(file, "it"), channels), words);
                return [image.height, image.width, [...image.data]];
            }""",
            [base64.b64encode(file.getvalue()).decode(), words, 1 if grey else 3],
        )
        height, width, values = found
        assert (height, width) == wanted.shape[:2]
        found = np.array(values).reshape(wanted.shape)
        rounding = 0 if PIL.__version__.startswith("13.") else 1  # versions differ in which axis comes first
        np.testing.assert_allclose(found, wanted, atol=rounding, rtol=0, err_msg=f"{name} {size}")
