"""Opening a picture from a file, bytes, an array or a tensor, and saying what it is when it is no picture."""

from __future__ import annotations

import glob
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import AnswerError, FastmagicError, NotFoundError, UnreadableError, did_you_mean, few, number

# First bytes of what people mistake for pictures; RIFF and ISO files carry their kind a few bytes in.
_SIGNATURES = (
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a zip archive (or an Office document)"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"SQLite format", "an SQLite database"),
    (b"ID3", "a sound file"),
    (b"OggS", "a sound file"),
    (b"\x1aE\xdf\xa3", "a video"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself (run `git lfs pull`)"),
)
ACCEPTED_ARRAYS = "Pictures are H×W, H×W×1, H×W×3 or H×W×4 arrays (tensors also C×H×W), integers 0…255 or floats 0…1."


def what_is(head: bytes) -> str:
    """Say what kind of file starts with these bytes (256 are enough).

    >>> what_is(b"%PDF-1.7")
    'a PDF document'
    """
    if not head:
        return "an empty file"
    for signature, name in _SIGNATURES:
        if head.startswith(signature):
            return name
    if head[4:8] == b"ftyp":
        return "a HEIC photo" if head[8:11] in (b"hei", b"hev", b"mif") else "a video (or an AVIF picture)"
    if head[:4] == b"RIFF" and head[8:12] != b"WEBP":
        return "a sound file" if head[8:12] == b"WAVE" else "a video"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "a web page"
    if text.startswith((b"<?xml", b"<svg")):
        return "an SVG or XML file"
    if text.startswith((b"{", b"[")):
        return "a JSON file"
    if b"\x00" not in head and all(byte >= 32 or byte in b"\t\r\n\x0c\x1b" for byte in head):
        return "a text file"
    return "of a kind Pillow does not know"


def image_class(dataset: Any) -> Any:
    """Return the fastai class that opens a dataset's pictures (`PILImage`, `PILImageBW`), else `None`."""
    from fastai.vision.core import PILBase

    lists = getattr(dataset, "tls", None)
    for kind in (getattr(lists[0], "types", None) or []) if lists else []:
        if isinstance(kind, type) and issubclass(kind, PILBase):
            return kind
    return None


def open_image(source: Any, kind: Any) -> Any:
    """Return `source` as a loaded fastai picture with exactly the pixels the model was trained on.

    Files and bytes are opened by the fastai class's own `create` (which neither turns by EXIF nor keeps an
    alpha channel); pictures and arrays that are in memory already are converted to the class's mode.

    Args:
        source: a path, bytes, an open binary file, a PIL image, an array or a tensor (see
            `image_of_array`).
        kind: the fastai class, from `image_class`.

    Raises:
        FastmagicError: it is no picture, is cut short, or is too large; says which.
    """
    from PIL import Image

    if isinstance(source, (bytearray, memoryview)):  # an upload widget gives the latter
        source = bytes(source)
    elif hasattr(source, "ndim"):
        source = image_of_array(source)
    elif hasattr(source, "read") and not isinstance(source, Image.Image):
        source = source.read()
    with telling(source):
        if not isinstance(source, Image.Image):
            return kind.create(source)
        source.load()
        mode = kind._open_args.get("mode")
        # fastai casts in place: without a new image around the pixels, the caller's would change its class.
        image = source._new(source.im) if mode in (None, source.mode) else source.convert(mode)
        return kind.create(image)


# By the first letter of Pillow's mode: what is told of pictures of more than 8 bits a channel (of one, of several), and
# what fastai's conversion to RGB does to them.
DEEP = {
    "I": (
        "picture has more than 8 bits a pixel",
        "pictures have more than 8 bits a pixel",
        "converted to RGB every value above 255 is cut to white",
    ),
    "F": (
        "picture holds fractions",
        "pictures hold fractions",
        "converted to RGB they are cut to whole numbers, so that values between 0 and 1 turn black",
    ),
}


def depth(source: Any) -> str:
    """Return which of `DEEP` a path, bytes or PIL image is, "" for 8 bits a channel or no picture; only its head is read."""
    from PIL import Image

    if hasattr(source, "convert"):
        mode = source.mode
    elif not isinstance(source, (str, Path, bytes)):
        return ""
    else:
        if not isinstance(source, bytes) and Path(source).suffix.lower() in (".jpg", ".jpeg", ".webp", ".gif"):
            return ""
        try:
            with Image.open(io.BytesIO(source) if isinstance(source, bytes) else Path(source).expanduser()) as image:
                mode = image.mode
        except Exception:  # whoever opens it says so
            return ""
    return mode[0] if mode[0] in DEEP else ""


def lost_in(depths: Sequence[str]) -> str:
    """Say what is lost in opening pictures of these depths, "" where nothing is.

    >>> lost_in(["", "F"])
    '⚠ 1 picture holds fractions: converted to RGB they are cut to whole numbers, so that values between 0 and 1 turn black.'
    """
    return "\n".join(
        f"⚠ {number(depths.count(mode), one, several)}: {lost}."
        for mode, (one, several, lost) in DEEP.items()
        if mode in depths
    )


@contextmanager
def telling(source: Any) -> Iterator[None]:
    """Say in a `FastmagicError` why Pillow cannot open or read `source` (a path, bytes, an image) in the `with` block."""
    from PIL import Image, UnidentifiedImageError

    try:
        yield
    except FileNotFoundError:
        raise
    except UnidentifiedImageError as error:
        head = source[:256] if isinstance(source, bytes) else _head(source)
        kind_of_file = what_is(head)
        fix = "`pip install pillow-heif` and register its opener, or save it as JPEG." if "HEIC" in kind_of_file else ""
        raise UnreadableError(f"{_called(source)} is not a picture but {kind_of_file}.", fix) from error
    except Image.DecompressionBombError as error:
        raise UnreadableError(f"{_called(source)} is too large: {error}") from error
    except (OSError, SyntaxError, ValueError) as error:  # Pillow says a broken PNG with SyntaxError
        raise UnreadableError(f"{_called(source)} cannot be read: {error}.") from error


def thumbnail(source: Any, size: int) -> Any:
    """Return a picture as RGB, at most `size` px a side, its JPEG decoded no larger than needed; `None` if it is none.

    Args:
        source: a path or a PIL image.
    """
    from PIL import Image

    try:
        if isinstance(source, Path):
            with Image.open(source) as image:
                image.draft("RGB", (size, size))
                image.thumbnail((size, size))
                return image.convert("RGB")
        image = source.convert("RGB")
        image.thumbnail((size, size))
        return image
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None


def image_of_array(array: Any) -> Any:
    """Return a numpy array or a tensor as a PIL image.

    Args:
        array: H×W, H×W×1, H×W×3 or H×W×4, or a C×H×W tensor; integers in 0…255, booleans, or floats in 0…1.

    Raises:
        FastmagicError: another shape, or values outside; says what is accepted.
    """
    import numpy as np
    from PIL import Image

    if hasattr(array, "detach"):
        array = array.detach().cpu().numpy()
    pixels = np.asarray(array)
    shape = "×".join(str(size) for size in pixels.shape) or "one number"
    if pixels.ndim == 3 and pixels.shape[-1] not in (1, 3, 4) and pixels.shape[0] in (1, 3, 4):
        pixels = pixels.transpose(1, 2, 0)
    if pixels.ndim == 3 and pixels.shape[-1] == 1:
        pixels = pixels[..., 0]
    coloured = pixels.ndim == 3 and pixels.shape[-1] in (3, 4)
    if not (pixels.ndim == 2 or coloured) or 0 in pixels.shape:
        raise AnswerError(f"An array of shape {shape} is no picture.", ACCEPTED_ARRAYS)
    if pixels.dtype.kind not in "buif":
        raise AnswerError(f"An array of {pixels.dtype} is no picture.", ACCEPTED_ARRAYS)
    if pixels.dtype != np.uint8:
        low, high = pixels.min(), pixels.max()
        most = 1 if pixels.dtype.kind in "bf" else 255
        if not (low >= 0 and high <= most):
            raise FastmagicError(
                f"The values of this {pixels.dtype} array go from {low:g} to {high:g}.", ACCEPTED_ARRAYS
            )
        pixels = np.round(pixels * (255 // most)).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(pixels))


def image_files(folder: Path) -> list[Path]:
    """Return the picture files of a folder and of the folders in it, sorted, hidden folders left out."""
    from fastai.data.transforms import get_image_files

    return sorted(get_image_files(folder))


def files_of(text: str | Path, missing_ok: bool = False, suffixes: Sequence[str] = ()) -> list[Path] | None:
    """Return the files of a folder or a glob pattern, or `None` for the name of one file.

    Args:
        text: as typed.
        missing_ok: nothing there is no error.
        suffixes: of the files that a folder is looked through for; those of pictures where there are none.
    """
    path = Path(text).expanduser()
    if path.is_dir():
        files = image_files(path) if not suffixes else _files_with(path, suffixes)
        if not files and not missing_ok:
            raise no_images_in(path) if not suffixes else NotFoundError(f"No {few(suffixes, 3)} files in '{path}'.", "")
        return files
    if path.is_file():
        return None
    if glob.has_magic(str(path)):
        found = sorted(Path(name) for name in glob.glob(str(path), recursive=True) if Path(name).is_file())
        if not found and not missing_ok:
            raise _nothing_matches(path)
        return found
    return None


def _files_with(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    from fastai.data.transforms import get_files

    return sorted(get_files(folder, extensions=list(suffixes)))


def _nothing_matches(pattern: Path) -> FastmagicError:
    fixed = Path(*(part for part in _until_magic(pattern.parts)))
    folder = fixed if str(fixed) != "." else Path.cwd()
    if not folder.is_dir():
        return no_such_file(folder.absolute())
    names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    suffixes = Counter(Path(name).suffix for name in names if Path(name).suffix)
    holds = ", ".join(f"{n} {suffix}" for suffix, n in suffixes.most_common(4)) or few(names) or "nothing"
    return NotFoundError(f"No file matches '{pattern}'.", f"'{folder}' holds {holds}.")


def _until_magic(parts: Sequence[str]) -> Sequence[str]:
    return parts[: next((i for i, part in enumerate(parts) if glob.has_magic(part)), len(parts))]


def no_such_file(path: Path) -> FastmagicError:
    """Return the error for a missing file: which part of its path is missing, and the closest name there."""
    folder, missing = path.parent, path.name
    while not folder.is_dir() and folder != folder.parent:
        folder, missing = folder.parent, folder.name
    what = "file" if missing == path.name else "folder"
    names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    holds = f"It holds {few(names)}." if names else "It is empty."
    return NotFoundError(f"No {what} '{missing}' in '{folder}'.", did_you_mean(missing, names, 2) or holds)


def no_images_in(folder: Path) -> FastmagicError:
    """Return the error for a folder without pictures, naming the nearest folder that has some."""
    entries = sorted(entry.name for entry in folder.iterdir())
    cause = f"No pictures in '{folder}'" + (f": it holds {few(entries)}." if entries else ": it is empty.")
    near = _nearest_with_images(folder)
    return FastmagicError(cause, f"The nearest folder with pictures is '{near}'." if near else "")


def _nearest_with_images(folder: Path) -> Path | None:
    from fastai.data.transforms import image_extensions

    def has_images(place: Path) -> bool:
        return any(entry.suffix.lower() in image_extensions and entry.is_file() for entry in place.iterdir())

    # Two floors up at most: further away is not near, and a home folder is too large to go through.
    start = folder.resolve()
    for above in [start.parent, start.parent.parent]:
        siblings = sorted(entry for entry in above.iterdir() if entry.is_dir() and not entry.name.startswith("."))
        for place in [above, *siblings[:200]]:
            try:
                if place != start and has_images(place):
                    return place
            except PermissionError:
                continue
    return None


def _head(path: Any) -> bytes:
    with open(path, "rb") as file:
        return file.read(256)


def _called(source: Any) -> str:
    return f"'{Path(source).name}'" if isinstance(source, (str, Path)) else "This"
