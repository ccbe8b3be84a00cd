"""Fetched bytes to a checked, upright, small photo: decoded once, at reduced scale.

A JPEG is decoded by libjpeg-turbo at 1/2, 1/4 or 1/8 of its size, at least one and a half times the wanted one, down to
its last byte; its warnings count, so that a file damaged in its middle, which Pillow opens without a word, is found.
PyTorch's antialiased bicubic filter does the rest. On 75 web photos this is closer to a full decode than Pillow's reduced
decode with Lanczos, and quicker (`python -m benchmarks.bench_images quality`).
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import threading
from dataclasses import dataclass
from typing import Any

from ..opening import what_is

QUALITY = 90
MARGIN = 1.5  # a JPEG is decoded at that many times the wanted size, or more
LEAST_SIDE = 16  # px; what is smaller is a spacer or a tracking pixel
# Pillow formats that are opened: what photos on the web come as (JPEG includes a phone's MPO). Others have parsers nobody needs here.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
# Decoding without reduction takes 3–8 bytes a pixel: one such giant at a time.
HUGE = 24_000_000
MOST_SCANS = 100  # of a progressive JPEG; usual are 10. Each costs a pass over all pixels, and takes but a few bytes.
_one_giant = threading.Lock()


class Rejected(Exception):
    """A photo that is not kept.

    Args:
        status: "broken" or "refused".
        reason: why, in a few words.
        data: what was fetched, to be set aside.
        passing: it may be otherwise another day (a host that does not answer), so that the next run tries again.
    """

    def __init__(self, status: str, reason: str, data: bytes = b"", passing: bool = False):
        super().__init__(reason)
        self.status, self.reason, self.data, self.passing = status, reason, data, passing


@dataclass
class Small:
    """A photo as it is stored.

    Attributes:
        jpeg: the file.
        width, height: px as fetched (before turning).
        stored_width, stored_height: px of the file, upright.
        phash: 16 hex digits.
    """

    jpeg: bytes
    width: int
    height: int
    stored_width: int
    stored_height: int
    phash: str


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def shrink(data: bytes, max_size: int = 400, max_pixels: int = 100_000_000) -> Small:
    """Return a photo upright, in RGB, its longer side at most `max_size` px, as a JPEG; never enlarged.

    A JPEG that is small and upright already is kept byte by byte.

    Args:
        data: a file's bytes, of any kind.
        max_size: px.
        max_pixels: width × height that is decoded at most.

    Raises:
        Rejected: "refused" for what is no photo, too large or tiny; "broken" for a damaged one.
    """
    from PIL import Image

    if not data:
        raise Rejected("broken", "an empty file")
    Image.init()
    try:
        image = Image.open(io.BytesIO(data), formats=[name for name in FORMATS if name in Image.OPEN])
        width, height = image.size
    except Image.DecompressionBombError as error:
        raise Rejected("refused", "too many pixels (more than Pillow opens)", data) from error
    except Exception as error:  # Pillow's plugins raise whatever their parser raised
        begun = data.startswith((b"\xff\xd8\xff", b"\x89PNG", b"GIF8")) or data[8:12] == b"WEBP"
        if begun:
            raise Rejected("broken", "damaged: its head is incomplete", data) from error
        raise Rejected("refused", f"no photo but {what_is(data[:256])}", data) from error
    if width * height > max_pixels:
        raise Rejected("refused", f"too many pixels ({width} × {height})", data)
    if min(width, height) < LEAST_SIDE:
        raise Rejected("refused", f"tiny ({width} × {height})", data)
    turn = _orientation(image)
    try:
        if image.format in ("JPEG", "MPO") and data.count(b"\xff\xda") > MOST_SCANS:
            raise Rejected("refused", "a JPEG of too many scans", data)
        if image.format in ("JPEG", "MPO") and image.mode in ("RGB", "L"):
            if max(width, height) <= max_size and turn == 1 and image.format == "JPEG":
                pixels = _decode_jpeg(data, width, height, max(width, height))
                return _small(data, pixels, width, height)
            # A progressive one keeps all its coefficients in memory, whatever its reduction.
            giant = width * height > HUGE and image.info.get("progressive")
            with _one_giant if giant else contextlib.nullcontext():
                pixels = _decode_jpeg(data, width, height, max_size)
        elif width * height > HUGE:
            with _one_giant:
                pixels = _decode(image, data)
        else:
            pixels = _decode(image, data)
    except Rejected:
        raise
    except Exception as error:
        raise Rejected("broken", f"damaged: {_reason(error)}", data) from error
    pixels = _turned(_resized(pixels, *fit(width, height, max_size)), turn)
    import simplejpeg

    return _small(simplejpeg.encode_jpeg(pixels, QUALITY, "RGB", "420"), pixels, width, height)


def fit(width: int, height: int, max_size: int) -> tuple[int, int]:
    """Return width and height brought to at most `max_size`, in proportion.

    >>> fit(800, 600, 400), fit(80, 60, 400), fit(4000, 3, 400)
    ((400, 300), (80, 60), (400, 1))
    """
    ratio = max(width, height) / max_size
    return (width, height) if ratio <= 1 else (max(1, round(width / ratio)), max(1, round(height / ratio)))


def _small(jpeg: bytes, pixels: Any, width: int, height: int) -> Small:
    import imagehash
    from PIL import Image

    picture = Image.fromarray(pixels).convert("L")
    factor = min(picture.size) // 64  # the hash looks at 32 × 32: averaging down first costs less and changes little
    if factor > 1:
        picture = picture.reduce(factor)
    return Small(bytes(jpeg), width, height, pixels.shape[1], pixels.shape[0], str(imagehash.phash(picture)))


def _decode_jpeg(data: bytes, width: int, height: int, max_size: int) -> Any:
    """Decode a JPEG at the largest reduction that leaves `MARGIN` × the wanted size; its warnings are errors."""
    import simplejpeg

    scale = 1
    # Of libjpeg's sixteen scales the powers of two are the quick ones.
    while scale < 8 and max(width, height) / (scale * 2) >= MARGIN * max_size:
        scale *= 2
    least = {} if scale == 1 else {"min_height": -(-height // scale), "min_width": -(-width // scale)}
    return simplejpeg.decode_jpeg(data, "RGB", strict=True, **least)


def _decode(image: Any, data: bytes) -> Any:
    """Decode anything else at full size; transparent parts become white, as on the page it stood on."""
    import numpy as np
    from PIL import Image

    if image.format == "WEBP" and image.mode == "RGB" and getattr(image, "n_frames", 1) == 1:
        pixels = _decode_webp(data)
        if pixels is not None:
            return pixels
    image.load()
    if image.mode.startswith(("I", "F")):  # 16 bits a pixel, which Pillow would clip to white
        values = np.asarray(image).astype("f4")
        top = 65535 if values.max() > 255 else 255
        return np.repeat((values.clip(0, top) * (255 / top)).astype("u1")[..., None], 3, axis=2)
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, "white")
        ground.alpha_composite(image)
        image = ground
    return np.asarray(image.convert("RGB"))


def _decode_webp(data: bytes) -> Any:
    """Decode a WebP by torchvision, twice as fast as Pillow's decoder for animations; `None` where it cannot."""
    import torch

    try:
        from torchvision.io import ImageReadMode, decode_webp
    except ImportError:
        return None
    with torch.inference_mode():
        pixels = decode_webp(torch.frombuffer(bytearray(data), dtype=torch.uint8), ImageReadMode.RGB)
    return pixels.permute(1, 2, 0).numpy()


def _resized(pixels: Any, width: int, height: int) -> Any:
    import torch
    from torch.nn.functional import interpolate

    if pixels.shape[:2] == (height, width):
        return pixels
    with torch.inference_mode():
        planes = torch.from_numpy(_writable(pixels)).permute(2, 0, 1)[None]
        planes = interpolate(planes, size=(height, width), mode="bicubic", antialias=True)
        return planes[0].permute(1, 2, 0).contiguous().numpy()


def _writable(pixels: Any) -> Any:
    # torch warns of memory that it might write to; a view of it costs nothing where it may.
    return pixels if pixels.flags.writeable and pixels.flags.c_contiguous else pixels.copy()


def _turned(pixels: Any, orientation: int) -> Any:
    """Turn and mirror by EXIF's orientation, 1 … 8 (CIPA DC-008, 4.6.5)."""
    import numpy as np

    if orientation == 1:
        return pixels
    if orientation in (2, 4, 5, 7):
        pixels = pixels[:, ::-1]
    quarter = {3: 2, 4: 2, 5: 1, 6: 3, 7: 3, 8: 1}.get(orientation, 0)
    return np.ascontiguousarray(np.rot90(pixels, quarter))


def _orientation(image: Any) -> int:
    try:
        found = image.getexif().get(0x0112, 1)
    except Exception:  # a broken EXIF block does not make a broken photo
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _reason(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    low = text.lower()
    if "truncated" in low or "premature end of jpeg" in low or "image file is truncated" in low:
        return "it ends too early"
    if "decode_webp" in low:
        return "its WebP data do not decode"
    return text.splitlines()[0][:120]
