"""What names mean: the parts of a split, and which files are images."""

from __future__ import annotations

import mimetypes
import re
import sys
from collections.abc import Hashable, Iterable

# What people call the parts of a split, in the order in which one is taken for validation.
TRAIN = ("train", "training")
VALID = ("valid", "val", "validation", "dev")
TEST = ("test", "testing")
# A folder of images that nobody has labelled: what a model is asked about at the end.
UNLABELLED = re.compile(r"(test|testing|unlabell?ed)([ _-]?(images?|imgs?|set|data|photos?|pictures?|x))?", re.I)


def sides(values: Iterable[Hashable]) -> dict[Hashable, str] | None:
    """Tell which names or values of a split mean "train", "valid" and "test".

    Where nothing is called validation, the test set is what is validated on. `None` where one of the values means
    nothing of the kind.

    >>> sides(["Training", "test"])
    {'Training': 'train', 'test': 'valid'}
    >>> sides([False, True])
    {False: 'train', True: 'valid'}
    >>> sides(["red", "train"])
    """
    said: dict[Hashable, str] = {}
    for value in values:
        text = str(value).strip().lower().removesuffix(".0")
        if text in (*TRAIN, "false", "no", "f", "n", "0"):
            said[value] = "train"
        elif text in (*VALID, "true", "yes", "t", "y", "1"):
            said[value] = "valid"
        elif text in TEST:
            said[value] = "test"
        else:
            return None
    if "valid" not in said.values():
        said = {value: "valid" if side == "test" else side for value, side in said.items()}
    return said


def image_suffixes() -> set[str]:
    """Return the suffixes that fastai's `get_image_files` picks up, without importing fastai.

    The set depends on the machine's MIME tables (`.webp` is missing on some), so once fastai is loaded its
    own is used.
    """
    transforms = sys.modules.get("fastai.data.transforms")
    if transforms is not None:
        return set(transforms.image_extensions)
    mimetypes.guess_type("a.jpg")  # reads the machine's tables once, as an import behind fastai does
    return {suffix for suffix, kind in mimetypes.types_map.items() if kind.startswith("image/")}


def is_image_name(name: str, suffixes: set[str]) -> bool:
    """Tell whether `get_image_files` takes a file of that name (what stands behind the last dot decides)."""
    return f".{name.rsplit('.', 1)[-1].lower()}" in suffixes
