"""The kinds of data: each is one object, in a file of its own, asked by everybody who has to tell one kind from another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..data.source import Source
from .image import Image
from .kind import Asked, Kind, Learning
from .mask import Mask
from .rating import Rating
from .series import Series
from .sound import Sound
from .table import Table
from .text import Text
from .track import Track

__all__ = [
    "IMAGE",
    "KINDS",
    "MASK",
    "RATING",
    "SERIES",
    "SOUND",
    "TABLE",
    "TEXT",
    "TRACK",
    "Asked",
    "Kind",
    "Learning",
    "kind_of",
    "kind_of_source",
]

RATING, TEXT, TABLE, MASK, SOUND, TRACK, SERIES, IMAGE = (
    Rating(), Text(), Table(), Mask(), Sound(), Track(), Series(), Image(),
)  # fmt: skip
# In the order they are asked; the last takes every source that fastai's `DataBlock` takes.
KINDS: tuple[Kind, ...] = (RATING, TEXT, TABLE, MASK, SOUND, TRACK, SERIES, IMAGE)


def kind_of(dls: Any) -> Kind | None:
    """Return the kind of what a fastai `DataLoaders` holds, `None` where it is none of ours."""
    return next((kind for kind in KINDS if kind.holds(dls)), None)


def kind_of_source(source: Source, answered: Mapping[str, Any]) -> Kind:
    """Return the kind of a source, by what it is and by the questions that were answered."""
    return next((kind for kind in KINDS if kind.recognises(source, answered)), KINDS[-1])
