"""Photographs as one array of bytes in memory: decoded once, so that two cores spend their time on the network."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

SUFFIXES = {".jpeg", ".jpg", ".png", ".webp", ".bmp"}


@dataclass
class Photos:
    """Photographs of one size with their classes.

    Attributes:
        pictures: uint8, n × side × side × 3.
        classes: int64, n; index into `vocab`.
        vocab: the classes' names.
    """

    pictures: np.ndarray
    classes: np.ndarray
    vocab: list[str]


def load(folder: Path, part: str, side: int, cache: Path) -> Photos:
    """Return the photographs of a part ('train' or 'val') of a folder, from the cache if they were decoded before.

    A part holds one folder a class (photographs at any depth in it), or, as Tiny ImageNet's validation part does,
    photographs and `val_annotations.txt` with their classes.

    Args:
        side: px; photographs of other sizes are cropped in the middle and resized.

    Raises:
        FileNotFoundError: the folder holds no such photographs.
    """
    vocab = sorted(p.name for p in (folder / "train").iterdir() if p.is_dir())
    index = {name: i for i, name in enumerate(vocab)}
    files = _files(folder / part)
    if not files:
        raise FileNotFoundError(f"No photographs in {folder / part}: one folder a class is expected there.")
    classes = np.array([index[name] for _, name in files], dtype=np.int64)
    # Named by what is in it, so that another folder of as many files is not taken for this one.
    names = "\n".join(str(file.absolute()) for file, _ in files)
    stored = cache / f"{part}_{side}_{hashlib.sha256(names.encode()).hexdigest()[:8]}.npy"
    if stored.exists():
        return Photos(np.load(stored), classes, vocab)
    pictures = np.empty((len(files), side, side, 3), dtype=np.uint8)
    with ThreadPoolExecutor() as pool:
        for i, picture in enumerate(pool.map(lambda f: _decode(f[0], side), files)):
            pictures[i] = picture
    cache.mkdir(parents=True, exist_ok=True)
    whole = stored.with_suffix(".part.npy")  # renamed when it is whole: an interrupted run leaves no half cache
    np.save(whole, pictures)
    whole.replace(stored)
    return Photos(pictures, classes, vocab)


def _files(folder: Path) -> list[tuple[Path, str]]:
    annotations = folder / "val_annotations.txt"
    if annotations.is_file():
        rows = [line.split("\t")[:2] for line in annotations.read_text().splitlines()]
        return [(folder / "images" / file, name) for file, name in rows]
    classes = sorted(p for p in folder.iterdir() if p.is_dir())
    return [(p, c.name) for c in classes for p in sorted(c.rglob("*")) if p.suffix.lower() in SUFFIXES]


def _decode(file: Path, side: int) -> np.ndarray:
    with Image.open(file) as photo:
        photo.draft("RGB", (side, side))
        return np.asarray(ImageOps.fit(photo.convert("RGB"), (side, side), Image.Resampling.LANCZOS))
