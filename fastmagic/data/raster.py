"""A picture as the numbers it is: held at full size in the kernel, looked at through windows and reduced views."""

from __future__ import annotations

import io
import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ..errors import AnswerError, FastmagicError, NotFoundError
from .download import fetch, is_url
from .opening import no_such_file, telling

OVERVIEW = 1000  # px of the longer side of what is shown at first
_BANDS = {1: ("L",), 3: ("R", "G", "B"), 4: ("R", "G", "B", "A")}
_AXES = {1: "height × width", 3: "height × width × channels"}
_ACCEPTED = "Give H×W, H×W×3 or H×W×4 arrays, C×H×W tensors, or a batch N×C×H×W and which one: index=0."
_OF_16_BIT = ("I;16", "I;16B", "I;16L", "I;16N")


class Raster:
    """A picture's numbers, and what they look like.

    Attributes:
        name: what the picture is called.
        width, height: in pixels.
        bands: the channels' names, such as ("R", "G", "B").
        dtype: the numbers' own type, "uint8" or "float32" say.
        shape: as its owner has it: height × width × channels, for a tensor channels × height × width.
        axes: the same in words.
        pixels: the numbers, height × width × channels.
        low, high: the smallest and the largest number; for 8-bit pictures what can be, 0 and 255.
        black, white: the numbers shown as black and as white.
        note: what a reader should know besides, or "".
        mode: Pillow's mode, where the numbers came from a picture; "" for arrays.
        place: how an array is indexed for the number at row {y} and column {x}: "[3, :, {y}, {x}]" in a batch of tensors.
    """

    def __init__(
        self,
        name: str,
        pixels: Any,
        *,
        bands: tuple[str, ...],
        size: tuple[int, int],
        dtype: str = "uint8",
        shape: tuple[int, ...] | None = None,
        axes: str = "",
        note: str = "",
        mode: str = "",
        preview: Any = None,
        place: str = "[{y}, {x}]",
    ):
        self.place = place
        self.name, self.bands, self.dtype, self.note, self.mode = name, bands, dtype, note, mode
        self.width, self.height = size
        self.shape = shape or (self.height, self.width, *([len(bands)] if len(bands) > 1 else []))
        self.axes = axes or _AXES[min(len(self.shape), 3) if len(self.shape) > 2 else 1]
        self.pixels = pixels
        self.low, self.high = _range(pixels, dtype)
        self.black, self.white = _shown_range(self.low, self.high)
        self._preview = preview

    @property
    def paintable(self) -> bool:
        """Whether a colour can be put on it and a model be asked: 8-bit grey, RGB and RGBA."""
        return self.dtype == "uint8" and self.mode in ("L", "RGB", "RGBA")

    @property
    def rescaled(self) -> bool:
        """Whether the numbers are not brightness from 0 to 1 or to 255, and so are stretched to be shown."""
        return (self.black, self.white) not in ((0, 255), (0, 1))

    def sentence(self) -> str:
        """Return the shape in words: "256 × 171 × 3 numbers between 0 and 255"."""
        kind = "" if self.dtype == "uint8" else f"{self.dtype} "
        return f"{' × '.join(map(str, self.shape))} {kind}numbers between {number(self.low)} and {number(self.high)}"

    def window(self, x: int, y: int, width: int, height: int) -> Any:
        """Return the numbers of a part, height × width × channels; what lies outside the picture is cut off."""
        import numpy as np

        x, y = max(0, x), max(0, y)
        return np.ascontiguousarray(self.pixels[y : max(y, y + height), x : max(x, x + width)])

    def at(self, x: int, y: int) -> tuple[float, ...]:
        """Return the numbers of a pixel."""
        return tuple(value.item() for value in self.pixels[y, x])

    def colour(self, x: int, y: int) -> str:
        """Return a pixel's colour as in CSS, "#fb3015"; empty where the numbers are not 0…255."""
        values = self.at(x, y)
        if self.dtype != "uint8" or self.bands not in _BANDS.values():
            return ""
        return "#" + "".join(f"{int(v):02x}" for v in (values * 3 if len(values) == 1 else values))

    def says(self, x: int, y: int) -> str:
        """Return a pixel in words: "x 120, y 45: R 251 G 48 B 21 (#fb3015)"."""
        values = " ".join(f"{band} {number(v)}" for band, v in zip(self.bands, self.at(x, y), strict=True))
        colour = self.colour(x, y)
        return f"x {x}, y {y}: {values}{f' ({colour})' if colour else ''}"

    def overview(self, channel: int | None = None, most: int = OVERVIEW) -> Any:
        """Return the whole as a PIL image, its longer side at most `most` px; one channel is shown as grey."""
        if channel is None and self._preview is not None:
            image = self._preview.copy()
            image.thumbnail((most, most))
            return image
        factor = min(1.0, most / max(self.width, self.height))
        size = (max(1, round(self.width * factor)), max(1, round(self.height * factor)))
        return self.view(0, 0, self.width, self.height, size, channel)

    def view(self, x: int, y: int, width: int, height: int, size: tuple[int, int], channel: int | None = None) -> Any:
        """Return a part as a PIL image of at most `size` px; a part that is smaller is not enlarged."""
        from PIL import Image

        x, y = min(max(0, x), self.width - 1), min(max(0, y), self.height - 1)
        width, height = min(width, self.width - x), min(height, self.height - y)
        size = (max(1, min(size[0], width)), max(1, min(size[1], height)))
        part = self.pixels[y : y + height, x : x + width]
        if self.dtype != "uint8" and width * height > 4 * size[0] * size[1]:
            # Numbers of other types are made colours first, and there may be many: take every n-th.
            step = min(width // size[0], height // size[1])
            part = part[::step, ::step]
        image = self._coloured(part, channel)
        return image if image.size == size else image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2)

    def image(self) -> Any:
        """Return the numbers as a PIL image again; only of what is `paintable`."""
        from PIL import Image

        return Image.fromarray(self.pixels[..., 0] if self.mode == "L" else self.pixels)

    def drop_preview(self) -> None:
        """Look at the numbers from now on: they have changed."""
        self._preview = None

    def _coloured(self, part: Any, channel: int | None) -> Any:
        import numpy as np
        from PIL import Image

        if channel is not None:
            part = part[..., channel : channel + 1]
        if part.dtype != np.uint8 or self.white != 255:
            with np.errstate(invalid="ignore"):
                share = (part.astype(np.float32) - self.black) / (self.white - self.black)
            part = (np.nan_to_num(share, nan=0.0).clip(0, 1) * 255 + 0.5).astype(np.uint8)
        if part.shape[2] == 1:
            return Image.fromarray(np.ascontiguousarray(part[..., 0]))
        if self.mode == "LA":
            return Image.fromarray(np.ascontiguousarray(part[..., [0, 0, 0, 1]]))
        if self.mode in ("CMYK", "YCbCr", "HSV", "LAB"):
            height, width = part.shape[:2]
            return Image.frombytes(self.mode, (width, height), np.ascontiguousarray(part).tobytes()).convert("RGB")
        return Image.fromarray(np.ascontiguousarray(part))


def number(value: float) -> str:
    """Return a number as short as it can be read: whole ones whole, others to some three figures, with a true minus.

    >>> number(251), number(-2.117904), number(0.98431)
    ('251', '−2.12', '0.984')
    """
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        text = "∞" if value > 0 else "-∞"
    elif float(value).is_integer():
        text = f"{int(value)}"
    else:
        size = abs(value)
        text = f"{value:.3f}" if size < 1 else f"{value:.2f}" if size < 100 else f"{value:.1f}"
    return text.replace("-", "−")


def raster_of(item: Any, index: int | None = None, name: str = "") -> Raster:
    """Return a picture's numbers as they lie in the file or in memory: nothing is turned, converted or rescaled.

    Args:
        item: a path, an http(s) address, bytes, a PIL image, an array or tensor (H×W, H×W×1/3/4, C×H×W, or a
            batch of these with `index`), or what `fastmagic.predict` returned for a picture.
        index: which picture of a batch.
        name: what it is called; worked out where left out.

    Raises:
        FastmagicError: there is no such file, it is no picture, or an array of another shape.
    """
    if hasattr(item, "image") and hasattr(item, "source"):
        if item.image is None:
            raise FastmagicError("This prediction is of no picture.", "Give a file, a picture or an array.")
        return raster_of(item.image, name=name or _short(str(item.source)))
    if hasattr(item, "ndim"):
        return _of_array(item, index, name)
    if is_url(item):
        return _of_file(fetch(item), name or item.rstrip("/").rsplit("/", 1)[-1].split("?")[0] or item)
    if isinstance(item, (str, os.PathLike)):
        path = Path(item).expanduser()
        if path.is_dir():
            raise AnswerError(f"'{path}' is a folder.", "Name one picture in it.")
        if not path.exists():
            raise no_such_file(path.absolute())
        return _of_file(path, name or path.name)
    if isinstance(item, (bytes, bytearray, memoryview)):
        return _of_file(bytes(item), name or "picture")
    if hasattr(item, "getbands"):
        with telling(item):
            item.load()
        return _of_image(item, name or _short(getattr(item, "filename", "") or "picture"))
    raise AnswerError(
        f"A {type(item).__name__} is no picture.", "Give a file, an address, a PIL image, an array or DataLoaders."
    )


def _short(text: str) -> str:
    return os.path.basename(text.rstrip("/")) or text


def _of_file(source: Any, name: str) -> Raster:
    """Open a file; a JPEG's overview is decoded at a fraction of its size while a thread decodes all of it."""
    from PIL import Image

    def opened() -> Any:
        return Image.open(io.BytesIO(source) if isinstance(source, bytes) else source)

    with telling(source):
        image = opened()
        turned = image.getexif().get(274, 1) if image.format in ("JPEG", "TIFF", "WEBP", "PNG") else 1
        note = ""
        if turned not in (0, 1):
            note = (
                f"The camera was held askew (EXIF orientation {turned}). fastai does not turn such photos, "
                "and the numbers are what it reads."
            )
        if image.format != "JPEG" or image.mode not in ("RGB", "L") or image.width * image.height < 4_000_000:
            image.load()
            return _of_image(image, name, note)
        mode, size, preview = image.mode, image.size, opened()
        with ThreadPoolExecutor(1, "fastmagic-decode") as pool:
            whole: Future[Any] = pool.submit(image.load)
            preview.draft(mode, (OVERVIEW, OVERVIEW))
            preview.thumbnail((OVERVIEW, OVERVIEW), Image.Resampling.BILINEAR, reducing_gap=2)
            whole.result()
    assert image.size == size
    return _of_image(image, name, note, preview)


def _of_image(image: Any, name: str, note: str = "", preview: Any = None) -> Raster:
    import numpy as np

    notes = [note] if note else []
    if getattr(image, "n_frames", 1) > 1:
        notes.append(f"The first of {image.n_frames} frames.")
    if image.mode in ("P", "PA"):
        mode = "RGBA" if image.mode == "PA" or "transparency" in image.info else "RGB"
        notes.append(
            f"The file holds a palette and the number of a colour for each pixel; these are the {mode} colours."
        )
        image = image.convert(mode)
    elif image.mode in ("RGBX", "RGBa", "La"):
        image = image.convert({"RGBX": "RGB", "RGBa": "RGBA", "La": "LA"}[image.mode])
    if image.mode in ("CMYK", "YCbCr", "HSV", "LAB", "RGBA", "LA", "L", "I", "F", "1") or image.mode in _OF_16_BIT:
        notes.append(_seen_by_fastai(image.mode))
    pixels = np.asarray(image)
    if pixels.dtype.byteorder == ">":
        pixels = pixels.astype(pixels.dtype.newbyteorder("="))
    pixels = pixels.reshape(image.height, image.width, -1)
    bands = ("L",) if pixels.shape[2] == 1 else tuple(image.getbands())
    return Raster(
        name,
        pixels if pixels.dtype != bool else pixels.astype(np.uint8),
        bands=bands,
        size=image.size,
        dtype=str(pixels.dtype),
        note=" ".join(part for part in notes if part),
        mode=image.mode,
        preview=preview,
    )


def _seen_by_fastai(mode: str) -> str:
    if mode in ("I", "F", "1") or mode in _OF_16_BIT:
        return "fastai's PILImage makes 8-bit RGB of it."
    return {
        "L": "One number a pixel; fastai's PILImage repeats it for R, G and B.",
        "LA": "fastai's PILImage drops the transparency (A).",
        "RGBA": "fastai's PILImage drops the transparency (A).",
    }.get(mode, "fastai's PILImage converts it to RGB.")


def _of_array(array: Any, index: int | None, name: str) -> Raster:
    import numpy as np

    tensor = hasattr(array, "detach")
    pixels: Any = array.detach().cpu() if tensor else np.asarray(array)
    own = str(pixels.dtype).removeprefix("torch.")
    pixels = (pixels.float() if own == "bfloat16" else pixels).numpy() if tensor else pixels
    shape, batch, what = tuple(pixels.shape), "", type(array).__name__
    said = " × ".join(map(str, shape)) or "one number"
    if pixels.ndim == 4:
        if index is None and shape[0] != 1:
            raise AnswerError(f"This {said} {what} is a batch of {shape[0]} pictures.", "Say which one: index=0.")
        index = index or 0
        if not -shape[0] <= index < shape[0]:
            raise NotFoundError(f"There is no picture {index}.", f"The batch has {shape[0]}: 0 to {shape[0] - 1}.")
        pixels, batch = pixels[index], "batch × "
    axes = "height × width"
    if pixels.ndim == 3:
        first, last = pixels.shape[0] in _BANDS, pixels.shape[2] in _BANDS
        # Tensors have their channels first, arrays last, where both could be.
        if first and (tensor or not last):
            pixels, axes = pixels.transpose(1, 2, 0), "channels × height × width"
        elif last:
            axes = "height × width × channels"
        else:
            raise AnswerError(f"An array of shape {said} is no picture.", _ACCEPTED)
    elif pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or 0 in shape or pixels.dtype.kind not in "buif":
        raise AnswerError(f"An array of shape {said} and type {own} is no picture.", _ACCEPTED)
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[pixels.shape[2]] if own == "uint8" else ""
    note = ""
    if pixels.dtype.kind == "f":
        strange = int(pixels.size - np.isfinite(pixels).sum())
        note = f"{strange:,} of the numbers are NaN or infinite." if strange else ""
        pixels = pixels.astype(np.float32, copy=False)
    elif pixels.dtype == bool:
        pixels = pixels.astype(np.uint8)
    elif pixels.dtype not in (np.uint8, np.uint16):
        pixels = pixels.astype(np.int32 if abs(pixels).max() < 2**31 else np.float32)
    return Raster(
        name or f"{what}{f' {index}' if batch and shape[0] > 1 else ''}",
        pixels.copy() if mode else pixels,
        bands=_BANDS[pixels.shape[2]],
        size=(pixels.shape[1], pixels.shape[0]),
        dtype=own,
        shape=shape,
        axes=batch + axes,
        place=f"[{f'{index}, ' if batch else ''}{':, ' if axes.startswith('channels') else ''}{{y}}, {{x}}]",
        note=note,
        mode=mode,
    )


def _range(pixels: Any, dtype: str) -> tuple[float, float]:
    import numpy as np

    if dtype == "uint8":
        return 0, 255
    if dtype == "bool":
        return 0, 1
    finite = pixels[np.isfinite(pixels)] if pixels.dtype.kind == "f" else pixels
    return (finite.min().item(), finite.max().item()) if finite.size else (0, 0)


def _shown_range(low: float, high: float) -> tuple[float, float]:
    """Return the numbers shown as black and white: those that mean it, else the smallest and the largest."""
    for most in (1, 255):
        if low >= 0 and high <= most:
            return 0, most
    return low, high
