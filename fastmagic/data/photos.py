"""What one pass over a picture file tells: whether it opens, how it is stored, which others show the same.

Exact copies share their SHA-256. Near copies (saved again, resized, lightly edited) are found by perceptual
hash (`imagehash.phash`, 64 bits) and confirmed on thumbnails, because hashes of plain or alike pictures
collide.
"""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .pictures import what_is

THUMB = 32  # px a side of the thumbnail that confirms a near copy

# Measured on 691 photos of web search and 210 frames of street video. A pair counts as near copies when the
# hashes differ in at most 6 of 64 bits, brightness correlates at 0.99 or more and colours by at most 16 of
# 255 on average. All 43 pairs so found among the photos are the same photo; looser limits add crops of
# one photo, then video frames in which cars have moved.
MAX_BITS, MIN_CORRELATION, MAX_COLOUR = 6, 0.99, 16.0
# Below this side (icons, small digits) pictures of one kind differ by too little to be told apart from copies.
MIN_SIDE = 48

# How pictures begin: a file that begins so and does not open is a damaged picture, not something else.
PICTURE_BEGINS = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"II*\0", b"MM\0*")


@dataclass(frozen=True)
class Photo:
    """What was found in one file. `problem` is empty when it decodes, else "missing", "zero-byte", …"""

    path: Path
    problem: str = ""
    detail: str = ""
    sha256: str = ""
    format: str = ""
    mode: str = ""
    width: int = 0
    height: int = 0
    frames: int = 1
    turned: bool = False
    transparent: bool = False
    phash: int = 0
    thumb: Any = None

    @property
    def pixels(self) -> int:
        return self.width * self.height


def read_photos(paths: Sequence[Path], progress: Callable[[int, int], None] | None = None) -> dict[Path, Photo]:
    """Read and decode every file once, in threads (Pillow decodes outside Python's lock).

    Args:
        paths: the files; each is read once however often it is named.
        progress: called with (files done, files in all) from the calling thread.
    """
    unique = list(dict.fromkeys(paths))
    found: dict[Path, Photo] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of large pictures and odd palettes; the report says it better
        with ThreadPoolExecutor(max_workers=min(8, 2 * (os.cpu_count() or 1))) as pool:
            for done, photo in enumerate(pool.map(read_photo, unique), 1):
                found[photo.path] = photo
                if progress is not None:
                    progress(done, len(unique))
    return found


def read_photo(path: Path) -> Photo:
    """Read one file, decode it in full and say what it holds; a broken file is an answer, not an error."""
    from PIL import Image, UnidentifiedImageError

    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return Photo(path, "missing", "no such file")
    except OSError as error:
        return Photo(path, "unreadable", error.strerror or str(error))
    if not data:
        return Photo(path, "zero-byte", "0 bytes")
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        image = Image.open(io.BytesIO(data))
    except Exception as error:  # Pillow's plugins raise whatever their parser raised
        begun = data.startswith(PICTURE_BEGINS) or data[8:12] == b"WEBP"
        if begun and not isinstance(error, Image.DecompressionBombError):
            return Photo(path, "truncated", "its head is incomplete", sha256)
        # Pillow's own "cannot identify image file <_io.BytesIO object …>" says nothing to a person.
        known = isinstance(error, UnidentifiedImageError)
        return Photo(path, "unreadable", what_is(data[:256]) if known else str(error), sha256)
    width, height = image.size
    stored: dict[str, Any] = {
        "format": image.format or "",
        "mode": image.mode,
        "width": width,
        "height": height,
    }
    try:
        turned = image.getexif().get(0x0112, 1) not in (0, 1)
    except Exception:  # a broken EXIF block does not stop fastai from opening the picture
        turned = False
    try:
        # A JPEG decodes up to 8 times smaller, and faster, yet to its last byte: a cut file still fails.
        image.draft(None, (128, 128))
        image.load()
        transparent = _is_transparent(image)
        shown = image.convert("RGB")  # what fastai feeds the model
    except Exception as error:
        return Photo(path, "truncated", str(error) or type(error).__name__, sha256, **stored)
    try:
        # A phone's MPO keeps a second view of the same moment: no animation.
        frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    except Exception as error:
        return Photo(path, "truncated", f"a later frame is broken: {error}", sha256, **stored)
    phash, thumb = _fingerprint(shown)
    return Photo(
        path,
        sha256=sha256,
        frames=frames,
        turned=turned,
        transparent=transparent,
        phash=phash,
        thumb=thumb,
        **stored,
    )


def _is_transparent(image: Any) -> bool:
    if "transparency" in image.info:
        image = image.convert("RGBA")
    return image.mode in ("RGBA", "LA", "PA") and image.getchannel("A").getextrema()[0] < 255


def _fingerprint(image: Any) -> tuple[int, Any]:
    import imagehash
    import numpy as np
    from PIL import Image

    bits = imagehash.phash(image).hash.ravel()
    thumb = np.asarray(image.resize((THUMB, THUMB), Image.Resampling.BOX))
    return int.from_bytes(np.packbits(bits).tobytes(), "big"), thumb


def same_photo(photos: Sequence[Photo]) -> list[list[int]]:
    """Group the photos that show the same picture; return positions, groups of two or more only.

    Comparing 20,000 photos takes seconds: hashes are compared as a matrix product, a block of rows at a time,
    and only pairs whose hashes are close have their thumbnails compared.
    """
    whole = [i for i, photo in enumerate(photos) if not photo.problem]
    by_content: dict[str, list[int]] = defaultdict(list)
    for i in whole:
        by_content[photos[i].sha256].append(i)
    join = Groups(len(photos))
    for same in by_content.values():
        for other in same[1:]:
            join(same[0], other)
    firsts = [same[0] for same in by_content.values()]
    firsts = [i for i in firsts if min(photos[i].width, photos[i].height) >= MIN_SIDE]
    for a, b in near_pairs([photos[i] for i in firsts]):
        join(firsts[a], firsts[b])
    return join.groups()


def near_pairs(photos: Sequence[Photo]) -> list[tuple[int, int]]:
    """Return the pairs of positions whose pictures are near copies of each other."""
    import numpy as np

    if len(photos) < 2:
        return []
    hashes = np.array([photo.phash for photo in photos], dtype=">u8")
    # As ±1, the product of two hashes is 64 less twice the number of bits in which they differ.
    signs = np.unpackbits(hashes.view("u1")).reshape(-1, 64).astype("f4") * 2 - 1
    pairs = []
    for start in range(0, len(photos), 1024):
        product = signs[start : start + 1024] @ signs[start:].T
        for row, column in np.argwhere(product >= 64 - 2 * MAX_BITS):
            if row < column and is_near(photos[start + row], photos[start + column]):
                pairs.append((int(start + row), int(start + column)))
    return pairs


def is_near(a: Photo, b: Photo) -> bool:
    """Tell whether two thumbnails confirm that two pictures are the same photo."""
    import numpy as np

    first, second = a.thumb.astype("f4"), b.thumb.astype("f4")
    if np.abs(first - second).mean() > MAX_COLOUR:
        return False
    x, y = (values.mean(axis=2).ravel() - values.mean() for values in (first, second))
    spread = float(np.linalg.norm(x) * np.linalg.norm(y))
    # A plain picture has no pattern to compare.
    return spread > THUMB * THUMB and float(x @ y) / spread >= MIN_CORRELATION


def is_exact_copy(a: Photo, b: Photo) -> bool:
    """Tell whether two files hold the same bytes."""
    return a.sha256 == b.sha256


def is_copy(a: Photo, b: Photo) -> bool:
    """Tell whether two photos are copies of each other, exact or near, without going by way of a third."""
    if is_exact_copy(a, b):
        return True
    if min(a.width, a.height, b.width, b.height) < MIN_SIDE:
        return False
    return (a.phash ^ b.phash).bit_count() <= MAX_BITS and is_near(a, b)


class Groups:
    """Union-find over positions 0 … n-1."""

    def __init__(self, n: int):
        self.parent = list(range(n))

    def _root(self, i: int) -> int:
        while self.parent[i] != i:
            self.parent[i] = self.parent[self.parent[i]]
            i = self.parent[i]
        return i

    def __call__(self, a: int, b: int) -> None:
        self.parent[self._root(b)] = self._root(a)

    def groups(self) -> list[list[int]]:
        """Return the groups with more than one member, in order of their first member."""
        members: dict[int, list[int]] = defaultdict(list)
        for i in range(len(self.parent)):
            members[self._root(i)].append(i)
        return sorted(group for group in members.values() if len(group) > 1)


def surplus(
    photos: Iterable[Photo], prefer: Callable[[Photo], Any], same: Callable[[Photo, Photo], bool]
) -> list[tuple[Photo, Photo]]:
    """Return (copy, kept one) for every photo of a group that may go: the one with most pixels is kept.

    A photo that is the same as a copy only, not as the one that is kept, stays too (frames of a slow video).

    Args:
        photos: one group of `same_photo`.
        prefer: breaks ties between equally large copies; the smallest value is kept.
        same: whether of two photos one may go: `is_copy`, or `is_exact_copy`.
    """
    kept: list[Photo] = []
    extra = []
    for photo in sorted(photos, key=lambda photo: (-photo.pixels, prefer(photo))):
        original = next((other for other in kept if same(photo, other)), None)
        if original is None:
            kept.append(photo)
        else:
            extra.append((photo, original))
    return extra
