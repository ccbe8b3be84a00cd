"""What one pass over a picture file tells: whether it opens, how it is stored, which others show the same.

Exact copies share their SHA-256. Near copies (saved again, resized, lightly edited) are found by perceptual
hash (`imagehash.phash`, 64 bits) and confirmed on thumbnails, because hashes of plain or alike pictures
collide.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..progress import Progress
from .opening import what_is

THUMB = 32  # px a side of the thumbnail that confirms a near copy

# Measured on 691 photos of web search and 210 frames of street video. A pair counts as near copies when the
# hashes differ in at most 6 of 64 bits, brightness correlates at 0.99 or more and colours by at most 16 of
# 255 on average. All 43 pairs so found among the photos are the same photo; looser limits add crops of
# one photo, then video frames in which cars have moved.
MAX_BITS, MIN_CORRELATION, MAX_COLOUR = 6, 0.99, 16.0
# Below this side (icons, small digits) pictures of one kind differ by too little to be told apart from copies.
MIN_SIDE = 48

# How pictures begin: a file that begins so and does not open is a damaged picture, not something else.
IMAGE_BEGINS = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"II*\0", b"MM\0*")


@dataclass(frozen=True)
class ImageFile:
    """What was found in one file. `problem` is empty when it decodes, else "missing", "zero-byte", …

    The last three are measured by the scan of a whole data set (scan.py): the mean brightness and the one that 95 % of
    the pixels do not exceed, both 0…255, and the sharpness.
    """

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
    brightness: float = math.nan
    highlights: float = math.nan
    sharpness: float = math.nan

    @property
    def pixels(self) -> int:
        return self.width * self.height


def read_images(paths: Sequence[Path], progress: Progress | None = None) -> dict[Path, ImageFile]:
    """Read and decode every file once, in threads (Pillow decodes outside Python's lock).

    Args:
        paths: the files; each is read once however often it is named.
        progress: called with (files done, files in all) from the calling thread.
    """
    unique = list(dict.fromkeys(paths))
    found: dict[Path, ImageFile] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of large pictures and odd palettes; the report says it better
        with ThreadPoolExecutor(max_workers=min(8, 2 * (os.cpu_count() or 1))) as pool:
            for done, photo in enumerate(pool.map(read_image, unique), 1):
                found[photo.path] = photo
                if progress is not None:
                    progress(done, len(unique))
    return found


def read_image(path: Path) -> ImageFile:
    """Read one file, decode it in full and say what it holds; a broken file is an answer, not an error."""
    return open_image_file(path)[0]


def open_image_file(path: Path, least: int = 128) -> tuple[ImageFile, Any]:
    """Read one file as `read_image` does; return what it holds and the picture itself, `None` for a broken one.

    Args:
        path: the file.
        least: px that neither side of a reduced JPEG falls below.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return ImageFile(path, "missing", "no such file"), None
    except OSError as error:
        return ImageFile(path, "unreadable", error.strerror or str(error)), None
    if not data:
        return ImageFile(path, "zero-byte", "0 bytes"), None
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        image = Image.open(io.BytesIO(data))
    except Exception as error:  # Pillow's plugins raise whatever their parser raised
        begun = data.startswith(IMAGE_BEGINS) or data[8:12] == b"WEBP"
        if begun and not isinstance(error, Image.DecompressionBombError):
            return ImageFile(path, "truncated", "its head is incomplete", sha256), None
        # Pillow's own "cannot identify image file <_io.BytesIO object …>" says nothing to a person.
        known = isinstance(error, UnidentifiedImageError)
        return ImageFile(path, "unreadable", what_is(data[:256]) if known else str(error), sha256), None
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
        image.draft(None, (least, least))
        image.load()
        transparent = _is_transparent(image)
        shown = image.convert("RGB")  # what fastai feeds the model
    except Exception as error:
        return ImageFile(path, "truncated", str(error) or type(error).__name__, sha256, **stored), None
    try:
        # A phone's MPO keeps a second view of the same moment: no animation.
        frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    except Exception as error:
        return ImageFile(path, "truncated", f"a later frame is broken: {error}", sha256, **stored), None
    phash, thumb = _fingerprint(shown)
    photo = ImageFile(
        path,
        sha256=sha256,
        frames=frames,
        turned=turned,
        transparent=transparent,
        phash=phash,
        thumb=thumb,
        **stored,
    )
    return photo, shown


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


def same_image(photos: Sequence[ImageFile]) -> list[list[int]]:
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


def near_pairs(photos: Sequence[ImageFile]) -> list[tuple[int, int]]:
    """Return the pairs of positions whose pictures are near copies of each other."""
    pairs = []
    for first, second, _ in alike(signs(photos), 64 - 2 * MAX_BITS):
        for a, b in zip(first.tolist(), second.tolist(), strict=True):
            if is_near(photos[a], photos[b]):
                pairs.append((a, b))
    return sorted(pairs)


def signs(photos: Sequence[ImageFile]) -> Any:
    """Return the hashes as ±1, photos × 64: a product of two is 64 less twice the number of bits in which they differ."""
    import numpy as np

    hashes = np.array([photo.phash for photo in photos], dtype=">u8")
    return np.unpackbits(hashes.view("u1")).reshape(-1, 64).astype("f4") * 2 - 1


def alike(vectors: Any, least: float, progress: Progress | None = None) -> Iterator[tuple[Any, Any, Any]]:
    """Yield the pairs of rows whose product is at least `least`, as arrays (first, second, product) with first < second.

    The products are made a block at a time, 16 MB each: of 100,000 rows all of them would take 40 GB.

    Args:
        vectors: float32, items × numbers.
        least: the least product.
        progress: called with (blocks done, blocks in all).
    """
    import numpy as np

    starts = range(0, len(vectors), 2048)
    total = len(starts) * (len(starts) + 1) // 2
    done = 0
    for row in starts:
        for column in starts[row // 2048 :]:
            product = vectors[row : row + 2048] @ vectors[column : column + 2048].T
            first, second = np.nonzero(product >= least)
            values = product[first, second]
            first, second = first + row, second + column
            above = first < second
            if above.any():
                yield first[above], second[above], values[above]
            done += 1
            if progress is not None:
                progress(done, total)


def is_near(a: ImageFile, b: ImageFile) -> bool:
    """Tell whether two thumbnails confirm that two pictures are the same photo."""
    return bool(are_near(a.thumb[None], b.thumb[None])[0])


def are_near(first: Any, second: Any) -> Any:
    """Tell of pairs of thumbnails (arrays, pairs × 32 × 32 × 3) which confirm that two pictures are the same photo."""
    import numpy as np

    first, second = first.astype("f4"), second.astype("f4")
    close = np.abs(first - second).mean(axis=(1, 2, 3)) <= MAX_COLOUR
    x, y = (
        values.mean(axis=3).reshape(len(values), -1) - values.mean(axis=(1, 2, 3))[:, None]
        for values in (first, second)
    )
    spread = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    # A plain picture has no pattern to compare.
    return close & (spread > THUMB * THUMB) & ((x * y).sum(axis=1) >= MIN_CORRELATION * spread)


def is_exact_copy(a: ImageFile, b: ImageFile) -> bool:
    """Tell whether two files hold the same bytes."""
    return a.sha256 == b.sha256


def is_copy(a: ImageFile, b: ImageFile) -> bool:
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
    photos: Iterable[ImageFile], prefer: Callable[[ImageFile], Any], same: Callable[[ImageFile, ImageFile], bool]
) -> list[tuple[ImageFile, ImageFile]]:
    """Return (copy, kept one) for every photo of a group that may go: the one with most pixels is kept.

    A photo that is the same as a copy only, not as the one that is kept, stays too (frames of a slow video).

    Args:
        photos: one group of `same_image`.
        prefer: breaks ties between equally large copies; the smallest value is kept.
        same: whether of two photos one may go: `is_copy`, or `is_exact_copy`.
    """
    kept: list[ImageFile] = []
    extra = []
    for photo in sorted(photos, key=lambda photo: (-photo.pixels, prefer(photo))):
        original = next((other for other in kept if same(photo, other)), None)
        if original is None:
            kept.append(photo)
        else:
            extra.append((photo, original))
    return extra
