"""What the targets of data are, and so what the outputs of a model of them mean: classes or numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import RefusedError
from .items import holds_masks


@dataclass(frozen=True)
class Target:
    """What the model's outputs mean.

    Attributes:
        kind: "class" (exactly one of `classes`), "classes" (any number of them), "numbers", "pixels" (a class for each), or
            "words" (the next one, of a language model).
        classes: the vocab, in the order of the outputs; empty for numbers.
        threshold: the probability above which a label of "classes" is given.
    """

    kind: str
    classes: list[Any]
    threshold: float = 0.5


def target_of(dls: Any) -> Target:
    """Return what the targets of a fastai `DataLoaders` are.

    Raises:
        FastmagicError: masks and others that are neither classes nor numbers.
    """
    from fastai.data.transforms import Categorize, EncodedMultiCategorize, MultiCategorize
    from fastai.vision.core import BBoxLabeler

    if type(dls.train).__name__ == "LMDataLoader":
        return Target("words", [])
    dataset = dls.loaders[-1].dataset
    lists = getattr(dataset, "tls", None)
    if lists is not None:
        transforms = [f for tl in lists[getattr(dataset, "n_inp", 1) :] for f in tl.tfms.fs]
    else:
        transforms = list(getattr(getattr(dataset, "procs", None), "fs", []))
    if any(isinstance(f, BBoxLabeler) for f in transforms) or any(
        holds_masks(tl) for tl in (lists or ())[getattr(dataset, "n_inp", 1) :]
    ):
        raise RefusedError(
            "This model draws masks or boxes; only classes and numbers are answered here.",
            "Masks are drawn by `predict(photo, learn)`, boxes shown by `learn.show_results()`.",
        )
    for transform in transforms:
        if isinstance(transform, Categorize):
            several = isinstance(transform, (MultiCategorize, EncodedMultiCategorize))
            return Target("classes" if several else "class", list(transform.vocab))
    return Target("numbers", [])
