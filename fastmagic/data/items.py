"""The items behind a fastai `DataLoaders`: file, label and split of each, without opening a single picture.

fastai keeps items as paths, DataFrame rows or whatever `get_items` returned; these helpers read all of them alike,
so that checks, results and the cleaner do not each guess.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

SPLITS = ("train", "valid")


def item_list(dataset: Any) -> list[Any]:
    """Return the raw items of a fastai `Datasets` or `TfmdLists`, DataFrame rows included, in order."""
    items = dataset.items
    if hasattr(items, "iloc"):
        return [items.iloc[i] for i in range(len(items))]
    return list(items)


def item_source(dataset: Any, item: Any) -> Any:
    """Return what the picture of `item` is opened from: usually a `Path`, or the item itself when nothing is known.

    Runs the getters of the input (`get_x`, `ColReader`) and stops before the first transform that opens something.
    """
    value = source_in(_input_transforms(dataset), item)
    return Path(value) if isinstance(value, (str, Path)) else value


def sources(dataset: Any) -> Iterator[Any]:
    """Yield `item_source` for every item of a dataset."""
    for item in item_list(dataset):
        yield item_source(dataset, item)


def targets(dataset: Any) -> list[Any]:
    """Return the decoded target of every item (a class name, a list of names, a number); `None` without targets.

    Only the target's transforms run: no picture is opened.
    """
    lists = list(getattr(dataset, "tls", [dataset]))
    n_inp = getattr(dataset, "n_inp", 1)
    if len(lists) <= n_inp:
        return [None] * len(dataset)
    target = lists[n_inp]
    return [target.decode(target[i]) for i in range(len(target))]


def vocab(dls: Any) -> list[Any] | None:
    """Return the class names of a `DataLoaders` with categories, in the order of the model's outputs, else `None`."""
    found = getattr(dls, "vocab", None)
    if found is None:
        return None
    # Several blocks with a vocab (tabular inputs, say) give a list of them: the target's is the last.
    if (len(found) and isinstance(found[-1], (list, tuple))) or type(found[-1]).__name__ == "CategoryMap":
        found = found[-1]
    return list(found)


def holds_masks(target: Any) -> bool:
    """Tell whether a `TfmdLists` of targets gives masks."""
    from fastai.vision.core import PILMask

    return any(isinstance(kind, type) and issubclass(kind, PILMask) for kind in getattr(target, "types", None) or ())


def source_in(transforms: Any, item: Any) -> Any:
    """Return what the first of some transforms that opens something is given."""
    for transform in transforms:
        if _opens_something(transform):
            break
        item = transform(item)
    return item


def _input_transforms(dataset: Any) -> list[Any]:
    lists = list(getattr(dataset, "tls", [dataset]))
    return list(lists[0].tfms.fs)


def _opens_something(transform: Any) -> bool:
    """Tell whether a type transform is a fastai type's `create` (PILImage.create and the like)."""
    if getattr(type(transform), "opens_files", False):
        return True
    function = getattr(transform, "encodes", transform)
    owner = getattr(function, "__self__", None)
    if isinstance(owner, type):
        return True
    name = f"{getattr(transform, 'name', '')} {getattr(function, '__qualname__', '')} {transform!r}"
    return ".create" in name or "PIL" in name
