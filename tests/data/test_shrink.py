"""One decode: upright, small, RGB, as good as Pillow's own; what is damaged, hostile or no photo is told from what is fine."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from fastmagic.data.gather.shrink import Rejected, shrink


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    """A photo with detail at every scale, 1600 × 1200."""
    random = np.random.default_rng(0)
    picture = np.zeros((1200, 1600, 3))
    for cells in (6, 24, 96):
        noise = Image.fromarray(random.integers(0, 256, (cells, cells * 4 // 3, 3), dtype=np.uint8))
        picture += np.asarray(noise.resize((1600, 1200), Image.Resampling.BICUBIC)) / 3
    return Image.fromarray(picture.astype("u1"))


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pixels(jpeg: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB")).astype("f4")


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / max(((a - b) ** 2).mean(), 1e-9)))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(1600, 1200), (320, 240)], ids=["large", "small"])
def test_photos_stand_upright_and_their_turn_is_used_up(photo, orientation, size):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(photo.resize(size), "JPEG", quality=95, exif=exif)
    small = shrink(data)
    shown = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    wanted = shown.resize((small.stored_width, small.stored_height), Image.Resampling.LANCZOS)
    assert (small.stored_width > small.stored_height) == (orientation <= 4)
    assert psnr(pixels(small.jpeg), np.asarray(wanted).astype("f4")) > 30
    assert Image.open(io.BytesIO(small.jpeg)).getexif().get(0x0112, 1) == 1


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("RGB", "PNG"), ("RGBA", "PNG"), ("P", "PNG"), ("L", "PNG"), ("LA", "PNG"), ("1", "PNG"), ("I;16", "PNG"),
        ("CMYK", "JPEG"), ("L", "JPEG"), ("RGB", "WEBP"), ("RGBA", "WEBP"), ("P", "GIF"), ("RGB", "BMP"), ("RGB", "TIFF"),
    ],
)  # fmt: skip
def test_every_kind_becomes_an_rgb_jpeg_that_shows_the_same(photo, mode, kind):
    source = photo.convert("L").convert("I;16") if mode == "I;16" else photo.convert(mode)
    small = shrink(encoded(source, kind))
    assert (small.width, small.height, small.stored_width, small.stored_height) == (1600, 1200, 400, 300)
    grey = mode in ("L", "LA", "1", "I;16")
    wanted = np.asarray((photo.convert("L") if grey else photo).convert("RGB").resize((400, 300))).astype("f4")
    assert abs(pixels(small.jpeg).mean() - wanted.mean()) < 4
    assert np.corrcoef(pixels(small.jpeg).ravel(), wanted.ravel())[0, 1] > 0.95


def test_sixteen_bits_a_pixel_keep_their_shades():
    ramp = (np.linspace(0, 65535, 300).astype("u2") * np.ones((200, 1), "u2")).astype("u2")
    stored = pixels(shrink(encoded(Image.fromarray(ramp), "PNG")).jpeg)[100, :, 0]
    assert stored[0] < 5
    assert abs(stored[150] - 128) < 5
    assert stored[-1] > 250


def test_transparent_parts_become_white():
    image = Image.new("RGBA", (100, 100), (0, 0, 0, 0))
    assert pixels(shrink(encoded(image, "PNG")).jpeg).min() > 250


def test_a_small_upright_jpeg_stays_as_it_is_and_nothing_is_enlarged(photo):
    data = encoded(photo.resize((300, 200)), "JPEG", quality=70)
    assert shrink(data).jpeg == data
    png = shrink(encoded(photo.resize((30, 20)), "PNG"))
    assert (png.stored_width, png.stored_height) == (30, 20)


@pytest.mark.parametrize("size", [(1600, 1200), (1000, 750), (700, 525), (430, 320)])
@pytest.mark.parametrize("progressive", [False, True])
def test_quality_is_that_of_pillows_reduced_decode_and_lanczos(photo, size, progressive):
    data = encoded(photo.resize(size, Image.Resampling.LANCZOS), "JPEG", quality=92, progressive=progressive)
    full = Image.open(io.BytesIO(data)).convert("RGB")
    small = shrink(data)
    wanted = (small.stored_width, small.stored_height)
    reference = np.asarray(full.resize(wanted, Image.Resampling.LANCZOS)).astype("f4")
    pillow = Image.open(io.BytesIO(data))
    pillow.draft("RGB", wanted)
    again = encoded(pillow.convert("RGB").resize(wanted, Image.Resampling.LANCZOS), "JPEG", quality=90)
    # One decibel for the filter: the reference is Lanczos, and this is noise, where filters differ most.
    assert psnr(pixels(small.jpeg), reference) > psnr(pixels(again), reference) - 1


def test_on_real_photos_quality_is_better_than_pillows_reduced_decode_and_lanczos(shared_data):
    ours, pillows = [], []
    for file in sorted((shared_data / "bears_raw").glob("*/*"))[::6]:
        data = file.read_bytes()
        image = Image.open(io.BytesIO(data))
        if image.format != "JPEG" or image.mode != "RGB" or max(image.size) <= 400:
            continue
        small = shrink(data)
        wanted = (small.stored_width, small.stored_height)
        reference = np.asarray(image.convert("RGB").resize(wanted, Image.Resampling.LANCZOS)).astype("f4")
        reduced = Image.open(io.BytesIO(data))
        reduced.draft("RGB", wanted)
        again = encoded(reduced.convert("RGB").resize(wanted, Image.Resampling.LANCZOS), "JPEG", quality=90)
        ours.append(psnr(pixels(small.jpeg), reference))
        pillows.append(psnr(pixels(again), reference))
    assert len(ours) >= 8
    assert np.median(ours) >= np.median(pillows)
    assert min(ours) >= min(pillows)


def png_bomb(width: int, height: int) -> bytes:
    """A PNG of a few hundred bytes that promises many pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("data", "status", "words"),
    [
        (b"", "broken", "empty"),
        (b"<!DOCTYPE html><html><body>Forbidden</body></html>", "refused", "a web page"),
        (b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>', "refused", "SVG"),
        (b"<?xml version='1.0'?><svg/>", "refused", "SVG"),
        (b"%PDF-1.7 ...", "refused", "PDF"),
        (b"PK\x03\x04....", "refused", "zip"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n", "refused", "no photo"),
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00", "refused", "HEIC"),
        (b"\xff\xd8\xff\xe0abc", "broken", "damaged"),
        (b"\x89PNG\r\n\x1a\n", "broken", "damaged"),
        (png_bomb(50_000, 50_000), "refused", "too many pixels"),
        (png_bomb(11_000, 11_000), "refused", "too many pixels"),
        (png_bomb(600, 600), "broken", "damaged"),
        (encoded(Image.new("RGB", (1, 1)), "GIF"), "refused", "tiny"),
        (encoded(Image.new("RGB", (2000, 2)), "PNG"), "refused", "tiny"),
    ],
)  # fmt: skip
def test_what_is_no_photo_is_refused_and_what_is_damaged_is_broken(data, status, words):
    with pytest.raises(Rejected, match=words) as caught:
        shrink(data)
    assert caught.value.status == status


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
@pytest.mark.parametrize("part", [0.3, 0.6, 0.97])
def test_a_file_that_ends_too_early_is_broken(photo, kind, part):
    data = encoded(photo, kind)
    with pytest.raises(Rejected, match="damaged") as caught:
        shrink(data[: int(len(data) * part)])
    assert caught.value.status == "broken"


def test_a_jpeg_damaged_in_its_middle_is_found_although_pillow_opens_it(photo):
    data = bytearray(encoded(photo, "JPEG", quality=90))
    data[len(data) // 2 : len(data) // 2 + 200] = bytes(200)
    Image.open(io.BytesIO(bytes(data))).load()
    with pytest.raises(Rejected, match="damaged"):
        shrink(bytes(data))


def test_a_jpeg_that_asks_for_endless_passes_is_refused(photo):
    data = encoded(photo, "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    bomb = data[:last] + data[last:-2] * 200 + b"\xff\xd9"
    with pytest.raises(Rejected, match="too many scans"):
        shrink(bomb)


def test_a_broken_exif_block_does_not_make_a_broken_photo(photo):
    data = encoded(photo, "JPEG", exif=b"Exif\x00\x00MM\x00*garbage")
    assert shrink(data).stored_width == 400


def test_the_first_picture_of_an_animation_is_taken(photo):
    frames = [photo.resize((200, 150)), Image.new("RGB", (200, 150))]
    for kind in ("GIF", "WEBP"):
        buffer = io.BytesIO()
        frames[0].save(buffer, kind, save_all=True, append_images=frames[1:], duration=100)
        assert pixels(shrink(buffer.getvalue()).jpeg).mean() > 60
