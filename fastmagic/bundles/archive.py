"""The file of a bundle: a zip of a description, weights and words, read within limits and never unpacked onto the disk.

bundle.json          what the model is (`parts` makes it), its classes, versions, how good it was, what it answered to the example
model.safetensors    its weights: numbers, and nothing that could be run
README.md            the model card, for people
example.png          a picture to try
model.onnx           the model for where there is no PyTorch, if that was asked for; `load` does not look at it
"""

from __future__ import annotations

import io
import json
import os
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from ..errors import FastmagicError, RefusedError, UnreadableError, unwritable
from .parts import wrong

FORMAT, SUFFIX = 1, ".fastmagic"
DESCRIPTION, WEIGHTS, CARD, EXAMPLE, ONNX = "bundle.json", "model.safetensors", "README.md", "example.png", "model.onnx"
# Bytes of each entry at most, unpacked. The largest that timm has are some 10 GB.
LIMITS = {DESCRIPTION: 4_000_000, WEIGHTS: 20_000_000_000, CARD: 1_000_000, EXAMPLE: 20_000_000}


def is_bundle(file: Path) -> bool:
    """Tell by its content whether a file is a bundle. (What `learn.export` writes is a zip too, with a pickle in it.)"""
    try:
        with zipfile.ZipFile(file) as archive:
            return DESCRIPTION in archive.namelist()
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError):
        return False


def no_bundle(file: Path) -> FastmagicError:
    """Return what is told of a file that says it is a bundle and is none: a pickle under that name would run code."""
    return UnreadableError(
        f"'{file.name}' is no bundle of fastmagic, or only a part of one. It was not opened: a pickle has to be called .pkl.",
        "Fetch it again, or have it written again: `export(learn, 'birds.fastmagic')`",
    )


def write(file: Path, description: dict[str, Any], weights: bytes, card: str, more: dict[str, bytes]) -> int:
    """Write a bundle whole or not at all, and return its size in bytes.

    Raises:
        FastmagicError: the place cannot be written.
    """
    parts: dict[str, bytes] = {
        DESCRIPTION: json.dumps(description, ensure_ascii=False, indent=1, allow_nan=False).encode(),
        CARD: card.encode(),
        WEIGHTS: weights,
    }
    parts |= more
    if len(parts[DESCRIPTION]) > LIMITS[DESCRIPTION]:
        raise RefusedError(
            "The columns hold more categories than a bundle can carry.", "Leave out those that name single rows."
        )
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
        try:
            with os.fdopen(handle, "wb") as out, zipfile.ZipFile(out, "w") as archive:
                for name, data in parts.items():
                    # Weights hardly shrink, and are read in one go where they lie as they are.
                    how = zipfile.ZIP_DEFLATED if name in (DESCRIPTION, CARD) else zipfile.ZIP_STORED
                    archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data, how)
            os.chmod(part, 0o666 & ~_umask())
            os.replace(part, file)
        except BaseException:
            Path(part).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise unwritable(file, error) from error
    return file.stat().st_size


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def read(file: Path, *names: str) -> dict[str, bytes]:
    """Return entries of a bundle by their names; one that is not there is left out.

    Raises:
        FastmagicError: it cannot be opened, is cut off, or larger than it may be.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            there = archive.infolist()
            if len(there) > 64 or len({one.filename for one in there}) < len(there):
                raise wrong("its list of files makes no sense")
            return {name: _entry(archive, name) for name in names if name in archive.namelist()}
    except FastmagicError:
        raise
    except OSError as error:
        raise UnreadableError(f"'{file}' cannot be read: {error.strerror or error}.") from error
    except Exception as error:  # zipfile and zlib raise a dozen kinds for files that are damaged
        raise wrong(str(error) or type(error).__name__) from error


def _entry(archive: zipfile.ZipFile, name: str) -> bytes:
    limit, told = LIMITS[name], archive.getinfo(name).file_size
    # Of the packed size too: an entry may be a thousand times what the file on the disk is.
    packed = archive.getinfo(name).compress_size
    if told > limit or (name == WEIGHTS and told > packed * 20 + 1_000_000):
        raise wrong(f"{name} has {told:,} bytes")
    with archive.open(name) as entry:
        data = entry.read(min(limit, told) + 1)
    if len(data) > min(limit, told):
        raise wrong(f"{name} is larger than it says")
    return data


def description_of(data: bytes) -> dict[str, Any]:
    """Return what a bundle says of itself.

    Raises:
        FastmagicError: it makes no sense, or is of a later format.
    """
    try:
        found = json.loads(data, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise wrong(f"its description cannot be read ({error})") from error
    if not isinstance(found, dict) or type(found.get("format")) is not int:
        raise wrong("its description is none")
    if found["format"] > FORMAT:
        made = str(
            found.get("versions", {}).get("fastmagic", "a later version")
            if isinstance(found.get("versions"), dict)
            else "a later version"
        )
        raise UnreadableError(
            f"The bundle was written by fastmagic {made[:20]}, in a format that this one does not know.",
            "Upgrade: pip install -U fastmagic",
        )
    if found["format"] < 1:
        raise wrong("its format is none")
    return found


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number")


def picture_of(data: bytes) -> Any:
    """Return the example as a Pillow picture.

    Raises:
        FastmagicError: it is none, or has more than 16 million pixels.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as picture:
            if picture.width * picture.height > 16_000_000:
                raise wrong("its example is too large")
            picture.load()
            return picture.copy()
    except FastmagicError:
        raise
    except Exception as error:
        raise wrong(f"its example is no picture ({error})") from error
