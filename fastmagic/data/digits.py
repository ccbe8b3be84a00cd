"""The embedded data set: scikit-learn's handwritten digits as a folder of pictures, so that a lesson needs no internet."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ..errors import RefusedError


def digits(to: str | Path | None = None) -> Path:
    """Return a folder of 1,797 handwritten digits, one sub-folder a class ('0' … '9'), writing it the first time.

    Grey PNGs of 32 × 32 pixels, enlarged from the 8 × 8 of the data set by Alpaydin and Kaynak
    (https://doi.org/10.24432/C50P49), which scikit-learn carries as `sklearn.datasets.load_digits`.

    Args:
        to: where to write it; by default `fastmagic/digits` in the user's cache folder.

    Raises:
        FastmagicError: the folder holds something else.

    Example:
        >>> path = digits()
        >>> sorted(folder.name for folder in path.iterdir())
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9']
    """
    path = Path(to).expanduser() if to is not None else cache_folder() / "digits"
    if (path / "0").is_dir():
        return path
    if path.is_dir() and any(path.iterdir()):
        raise RefusedError(f"'{path}' holds something else already.", "Name a new or an empty folder.")
    from PIL import Image
    from sklearn.datasets import load_digits

    data = load_digits()
    # Written beside and renamed, so that an interrupted run never leaves half a data set.
    part = path.with_name(f"{path.name}.part{os.getpid()}")
    for i, (picture, label) in enumerate(zip(data.images, data.target, strict=True)):
        folder = part / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        grey = Image.fromarray((picture * 255 / 16).astype("uint8"))
        grey.resize((32, 32), Image.Resampling.BICUBIC).save(folder / f"digit_{i:04d}.png")
    try:
        part.replace(path)  # an empty folder is taken over
    except OSError:
        # Another process was quicker; its folder is the same.
        shutil.rmtree(part, ignore_errors=True)
        if not (path / "0").is_dir():
            raise
    return path


def cache_folder() -> Path:
    """Return fastmagic's folder in the user's cache (`XDG_CACHE_HOME`, else `~/.cache`)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fastmagic"
