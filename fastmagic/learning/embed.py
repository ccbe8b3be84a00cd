"""Pictures as points: the features of a pretrained network, so that what looks alike lies close together.

The common ground of near copies, odd ones out and "more like this". Each picture is computed once: vectors are kept on
disk by the content of the file, so that a moved, renamed or copied file costs a look-up.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import os
import sqlite3
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..data.digits import cache_folder
from ..errors import AnswerError, FastmagicError, UnreadableError, WeightsError
from ..progress import Progress, reporting
from .architectures import OURS
from .at_hand import EXTRA, PACKAGES

BATCH = 64  # pictures a forward pass


@dataclass(frozen=True)
class Backbone:
    """A network by whose features pictures are compared.

    Attributes:
        name: its architecture.
        size: px a side that pictures are squeezed to.
        features: how many numbers a picture becomes.
        same: two photos at least this similar (cosine) are one: saved again, cropped, mirrored.
    """

    name: str
    size: int
    features: int
    same: float

    @property
    def title(self) -> str:
        """What a person is told whose features these are."""
        return "the backbone that comes with fastmagic" if self.name == OURS else self.name


# Measured on 468 photos of web search and planted copies of them, every pair above these looked at: they show one photo.
# Between 0.92 and 0.94 of our own network most do not. Lite0's last stage is taken before it is widened to 1,280 features:
# what shows one photo is at 0.905 or more, what does not at 0.882 or less.
OWN = Backbone(OURS, 96, 288, same=0.95)
LITE = Backbone(PACKAGES[0].arch, 128, 320, same=0.9)


def better() -> Backbone:
    """Return the better of the networks that are at hand: EfficientNet-Lite0 where its package is installed, else ours.

    Raises:
        WeightsError: the package is damaged.
    """
    if PACKAGES[0].file() is None:
        return OWN
    try:
        network_id(LITE)
    except WeightsError:
        raise
    except FastmagicError:  # its weights cannot be kept: a disk that is full or may not be written
        return OWN
    return LITE


def better_or_ours() -> Backbone:
    """Return `better`, and ours where a package is damaged: for work that goes on in the background."""
    with contextlib.suppress(WeightsError):
        return better()
    return OWN


@dataclass(frozen=True)
class Embeddings:
    """Pictures and their vectors.

    Attributes:
        items: what was embedded, in the order given.
        vectors: float32, items × features, each of length 1: the product of two is their cosine similarity.
        failed: what could not be opened, with the reason.
        backbone: the network that made them.
    """

    items: list[Any]
    vectors: Any
    failed: list[tuple[Any, str]] = field(default_factory=list)
    backbone: Backbone = OWN

    def __len__(self) -> int:
        return len(self.items)

    def __repr__(self) -> str:
        failed = f", {len(self.failed)} could not be opened (.failed)" if self.failed else ""
        return f"Embeddings of {len(self):,} pictures{failed}: .vectors is {len(self):,} × {self.vectors.shape[1]}"

    def similar(self, item: Any, n: int = 9) -> list[tuple[Any, float]]:
        """Return the `n` items most like another (one of these, or any picture), with their similarity, 1 at most.

        Example:
            >>> embed("photos").similar("photos/bird/001.jpg", n=3)  # doctest: +SKIP
        """
        place = Path(item).expanduser() if isinstance(item, str) else item
        own = next((i for i, one in enumerate(self.items) if one is place or _same_file(one, place)), None)
        if own is None:
            query = embed([place], progress=None, backbone=self.backbone).vectors[0]
        else:
            query = self.vectors[own]
        likeness = self.vectors @ query
        order = [int(i) for i in likeness.argsort()[::-1] if i != own][:n]
        return [(self.items[i], float(likeness[i])) for i in order]

    def near_duplicates(self, similarity: float | None = None) -> list[tuple[Any, Any, float]]:
        """Return the pairs at least this similar, the most similar first: copies saved again, cropped, mirrored.

        What a perceptual hash finds is mostly here too, and so are mirrored and cropped copies, which it misses. Two
        photos of one scene can be as similar: look before setting anything aside.

        Args:
            similarity: the least cosine similarity of a pair; by default `backbone.same`, where nearly all that is found
                is one photo.
        """
        import numpy as np

        similarity = self.backbone.same if similarity is None else similarity
        pairs = []
        for start in range(0, len(self), 1024):
            likeness = self.vectors[start : start + 1024] @ self.vectors[start:].T
            for row, column in np.argwhere(likeness >= similarity):
                if row < column:
                    a, b = self.items[start + row], self.items[start + column]
                    pairs.append((a, b, float(likeness[row, column])))
        return sorted(pairs, key=lambda pair: -pair[2])


def _same_file(a: Any, b: Any) -> bool:
    return isinstance(a, Path) and isinstance(b, Path) and a.absolute() == b.absolute()


def embed(items: Any, progress: Progress | bool | None = True, backbone: Backbone | str | None = None) -> Embeddings:
    """Return the vectors of pictures, computed by a pretrained network and kept in the user's cache folder.

    The mean of a picture's features and of its mirror image's, pooled over the last stage, so that mirrored copies
    fall together; the picture is squeezed to a square.

    Args:
        items: a folder (with the folders in it), a CSV file, a DataFrame, `DataLoaders`, a glob pattern, one file, or
            a list of files, PIL images, arrays (H×W, H×W×3) or bytes.
        progress: a bar where it takes longer than a second; or a function called with (done, all); `None` for neither.
        backbone: 'tf_efficientnet_lite0' (320 features of 128 × 128 px) or 'tiny' (288 of 96 × 96 px, some three times as
            fast); by default the former where `fastmagic[offline]` is installed. No host is asked.

    Raises:
        FastmagicError: there is nothing of that name, or no pictures in it, or the network's package is damaged or missing.

    Example:
        >>> import fastmagic
        >>> threes = fastmagic.embed(fastmagic.digits() / "3", progress=None)
        >>> threes.vectors.shape == (183, threes.backbone.features)
        True
    """
    import numpy as np

    network = _named(backbone) if isinstance(backbone, str) else backbone or better()
    listed = _listed(items)
    vectors: dict[str, Any] = {}
    workers = min(8, 2 * (os.cpu_count() or 1))
    with warnings.catch_warnings(), ThreadPoolExecutor(workers) as pool, store() as disk:
        warnings.simplefilter("ignore")  # Pillow's of odd palettes, tqdm's of a notebook without ipywidgets
        keys = list(pool.map(functools.partial(_key, network), listed))
        vectors |= disk.read(keys)
        # One item a content: exact copies are computed once.
        missing = {key: item for key, item in zip(keys, listed, strict=True) if key and key not in vectors}
        with reporting(progress) as report:
            for batch in _batches(network, pool, missing, report):
                disk.write(batch)
                vectors |= batch
    kept = [i for i, key in enumerate(keys) if key in vectors]
    failed = [(item, _why(item)) for item, key in zip(listed, keys, strict=True) if key not in vectors]
    if failed and not kept:
        raise UnreadableError(f"None of {len(failed)} pictures can be opened: {failed[0][1]}", "`check` tells which.")
    stacked = np.stack([vectors[keys[i]] for i in kept]) if kept else np.empty((0, network.features))
    return Embeddings([listed[i] for i in kept], stacked.astype("f4"), failed, network)


def _named(name: str) -> Backbone:
    found = next((backbone for backbone in (OWN, LITE) if backbone.name == name), None)
    if found is None:
        raise AnswerError(f"No vectors are made by {name!r}.", f"There are {OWN.name} and {LITE.name}.")
    if found == LITE and PACKAGES[0].file() is None:
        raise WeightsError(f"{PACKAGES[0].name} is not installed.", f"pip install '{EXTRA}' brings it.")
    return found


def _listed(items: Any) -> list[Any]:
    """Return the single items that `items` stands for."""
    from ..data.listing import list_files
    from ..data.opening import files_of, no_such_file

    if isinstance(items, (str, os.PathLike)):
        path = Path(items).expanduser()
        if path.suffix.lower() in (".csv", ".tsv"):
            return [file for file in list_files(path).paths if file is not None]
        files = files_of(path)
        if files is None and not path.is_file():
            raise no_such_file(path.absolute())
        return [path] if files is None else list(files)
    if hasattr(items, "loaders") or hasattr(items, "iloc"):
        return [path for path in list_files(items).paths if path is not None]
    if isinstance(items, (Sequence, Iterator)) and not isinstance(items, (bytes, bytearray)):
        return [Path(item).expanduser() if isinstance(item, str) else item for item in items]
    if type(items).__name__ == "L":
        return list(items)
    return [items]


def _content(item: Any) -> bytes:
    if isinstance(item, os.PathLike):
        return Path(item).read_bytes()
    if isinstance(item, bytes):
        return item
    image = _image(item)
    return f"{image.mode}{image.size}".encode() + image.tobytes()


def _key(network: Backbone, item: Any) -> str:
    """Return what an item is stored by: its content and the network that looks at it; "" where it cannot be read."""
    try:
        return hashlib.sha256(_content(item)).hexdigest() + network_id(network)
    except (OSError, FastmagicError):
        return ""


def _image(item: Any, size: int = 0) -> Any:
    """Return an item as a PIL image in RGB, a large JPEG decoded at a fraction of its size where `size` px suffice."""
    from PIL import Image

    from ..data.opening import image_of_array

    if isinstance(item, (os.PathLike, bytes)):
        with Image.open(io.BytesIO(_content(item))) as opened:
            if size:
                opened.draft("RGB", (2 * size, 2 * size))
            return opened.convert("RGB")
    if isinstance(item, Image.Image):
        return item.convert("RGB")
    return image_of_array(item).convert("RGB")


def _pixels(size: int, item: Any) -> Any:
    """Return an item's pixels, size × size × 3 bytes, or `None` where it cannot be opened."""
    import numpy as np
    from PIL import Image

    try:
        return np.asarray(_image(item, size).resize((size, size), Image.Resampling.BILINEAR))
    except Exception:  # Pillow's plugins raise whatever their parser raised
        return None


def _why(item: Any) -> str:
    """Return why an item could not be opened, in the words that `predict` uses."""
    from fastai.vision.core import PILImage

    from ..data.opening import open_image

    try:
        open_image(item, PILImage) if isinstance(item, (os.PathLike, bytes)) else _image(item)
    except FileNotFoundError:
        return f"There is no file '{item}'."
    except Exception as error:
        return str(error).splitlines()[0] if str(error) else type(error).__name__
    return "It could not be opened, but now it can: it changed meanwhile."


def _batches(
    network: Backbone, pool: ThreadPoolExecutor, items: dict[str, Any], report: Progress | None
) -> Iterator[dict[str, Any]]:
    """Yield the vectors of items by key, a batch at a time; what cannot be opened is missing."""
    import numpy as np
    import torch

    if not items:
        return
    model, device = _network(network)
    mean, std = (torch.tensor(model.default_cfg[key], device=device).view(1, 3, 1, 1) for key in ("mean", "std"))
    pixels_of = functools.partial(_pixels, network.size)
    keys = list(items)
    done = 0
    for start in range(0, len(keys), BATCH):
        chosen = keys[start : start + BATCH]
        opened = list(zip(chosen, pool.map(pixels_of, map(items.get, chosen)), strict=True))
        whole = [(key, pixels) for key, pixels in opened if pixels is not None]
        done += len(chosen)
        if whole:
            x = torch.from_numpy(np.stack([pixels for _, pixels in whole])).to(device).permute(0, 3, 1, 2) / 255
            x = (x - mean) / std
            with torch.inference_mode():
                vectors = sum(_features(model, side) for side in (x, x.flip(3)))
            vectors = torch.nn.functional.normalize(vectors, dim=1).cpu().numpy().astype("f2")
            yield {key: vector for (key, _), vector in zip(whole, vectors, strict=True)}
        if report is not None:
            report(done, len(items))


def _features(model: Any, pictures: Any) -> Any:
    """Return what the last stage of a network of timm's makes of pictures, pooled: pictures × features."""
    return model.forward_intermediates(pictures, indices=1, intermediates_only=True)[0].mean((2, 3))


@functools.cache
def _network(network: Backbone) -> tuple[Any, Any]:
    """Return a network without its classifier, and the device it is on."""
    import timm
    import torch

    from .tiny import tiny

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if network == OWN:
        model = tiny(num_classes=0)
    else:
        file = {"file": str(PACKAGES[0].converted())}
        model = timm.create_model(network.name, pretrained=True, pretrained_cfg_overlay=file, num_classes=0)
    return model.eval().to(device, memory_format=torch.channels_last), device


@functools.cache
def network_id(network: Backbone) -> str:
    """Return eight letters that change with the weights and the size of the pictures: what vectors are stored under.

    Raises:
        WeightsError: the package with the weights is damaged.
    """
    from .tiny import FILE

    if network == OWN:
        weights = FILE.read_bytes()
    else:  # the file's name holds the hash of the package's; its own bytes differ each time that it is written
        weights = PACKAGES[0].converted().name.encode()
    return hashlib.sha256(weights + bytes([network.size])).hexdigest()[:8]


# ---------------------------------------------------------------- what is kept on disk


class _Store:
    """Vectors by key in one SQLite file, which several notebooks may use at once."""

    def __init__(self, connection: sqlite3.Connection | None):
        self.connection = connection
        if connection is not None:
            with connection:
                connection.execute(
                    "CREATE TABLE IF NOT EXISTS vectors (key TEXT PRIMARY KEY, vector BLOB) WITHOUT ROWID"
                )

    def read(self, keys: Sequence[str]) -> dict[str, Any]:
        import numpy as np

        found: dict[str, Any] = {}
        unique = sorted({key for key in keys if key})
        for start in range(0, len(unique) if self.connection is not None else 0, 500):
            some = unique[start : start + 500]
            rows = self.connection.execute(  # type: ignore[union-attr]
                f"SELECT key, vector FROM vectors WHERE key IN ({','.join('?' * len(some))})", some
            )
            found |= {key: np.frombuffer(blob, "f2") for key, blob in rows}
        return found

    def write(self, vectors: dict[str, Any]) -> None:
        if self.connection is None:
            return
        # A full or read-only disk costs the cache, not the vectors.
        with contextlib.suppress(sqlite3.Error), self.connection:
            rows = [(key, vector.tobytes()) for key, vector in vectors.items()]
            self.connection.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?)", rows)


@contextlib.contextmanager
def store() -> Iterator[_Store]:
    file = cache_folder() / "embeddings.sqlite"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(file, timeout=30)
        store = _Store(connection)
    except (OSError, sqlite3.Error):
        yield _Store(None)
        return
    try:
        yield store
    finally:
        connection.close()
