"""What a kind of data is asked: how it is recognised, made into `DataLoaders`, learned, shown and predicted."""

from __future__ import annotations

import contextlib
import importlib
import io
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import program
from ..data.source import Source, Worked
from ..data.targets import Target
from ..errors import FastmagicError, RefusedError

if TYPE_CHECKING:
    from ..data.plan import Plan
    from ..render import Drawing, Shown

# How pretrained weights are trained on: by what was measured to err least, or as fastai does.
RECIPES = ("head_first", "fine_tune")
DATA_BLOCK = (
    "blocks", "get_items", "get_x", "splitter", "get_y", "getters", "n_inp", "item_tfms", "batch_tfms", "dl_type",
)  # fmt: skip


@dataclass
class Asked:
    """What a training was asked for, as `fastmagic.train` takes it; `None` leaves a thing to the kind."""

    arch: str | Callable[..., Any] | None = None
    epochs: int | None = None
    freeze_epochs: int | None = None
    recipe: str | None = None
    bs: int | None = None
    pretrained: bool = True
    weights: str | Path | None = None
    offline: bool = False


@dataclass(kw_only=True)
class Learning:
    """How data are learned: the parts of a training's program that the kind decides.

    Attributes:
        name: of what is trained: "resnet18".
        target: what the model answers.
        learner: the function that makes it, and its arguments before `metrics`: ("vision_learner", ["dls", "resnet18"]).
        metrics: the default metric as an expression, where the data decide it; else that of the kind for its target.
        bs: batch size.
        epochs: passes over the data; with pretrained weights those in which all layers train.
        recipe: "one_cycle" over all layers, or one of `RECIPES` where the weights are pretrained.
        freeze_epochs: passes before those, in which the new layers train alone.
        lr: peak learning rate, `None` for fastai's own.
        data: lines before the learner, which make its view of the data.
        weights: lines after it.
        names: what the lines use beyond the vocabulary.
        before: imports and the like, at the top of the program.
        typed: what the user typed there: expressions whose names come along.
        notes: what is worth saying before it runs.
        needs: asked just before it runs; raises where something cannot be had.
        again: what `%train dls …` says to train such a model again.
    """

    name: str
    target: Target
    learner: tuple[str, list[str]]
    bs: int
    epochs: int
    metrics: str = ""
    recipe: str = "one_cycle"
    freeze_epochs: int = 0
    lr: float | None = None
    data: list[str] = field(default_factory=list)
    weights: list[str] = field(default_factory=list)
    names: dict[str, Any] = field(default_factory=dict)
    before: list[str] = field(default_factory=list)
    typed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    needs: Callable[[], None] | None = None
    again: str = ""


class Kind(ABC):
    """A kind of data, as fastai's `DataBlock` makes it; where another class stands behind one, its kind overrides that.

    Attributes:
        name: what messages call its items: "images".
        module: what its programs import everything from.
        imports: lines that they have besides.
        questions: what a `%%datablock` cell may answer, under fastai's own names.
        target: the question that says what is to be predicted.
        metrics: the default metric for each kind of `Target`.
        lighter: what needs less memory, beside a smaller batch.
        suffixes: of the files that a folder of its items holds; those of images where there are none.
    """

    name = ""
    module = program.VISION
    imports: tuple[str, ...] = ()
    questions: tuple[str, ...] = DATA_BLOCK
    target = "get_y"
    metrics: Mapping[str, str] = {}
    lighter = ""
    suffixes: tuple[str, ...] = ()

    def vocabulary(self) -> dict[str, Any]:
        """Return the names that a program has from its first import."""
        return vars(importlib.import_module(self.module))

    # ------------------------------------------------------------ from a source to `DataLoaders`

    @abstractmethod
    def recognises(self, source: Source, answered: Mapping[str, Any]) -> bool:
        """Tell whether a source is of this kind.

        Args:
            source: where the items come from.
            answered: what was answered about it: the text of a cell's answers, the values of others; `target` and `label`
                among them.
        """

    @abstractmethod
    def infer(self, source: Source, answered: Mapping[str, Any], seed: int | None, target: str | None) -> Worked | None:
        """Work out the questions that nobody answered, as the expressions a person would have written.

        Args:
            source: where the items come from.
            answered: the answers that were given, by question; each has its `value`.
            seed: of a random split.
            target: the column that is to be predicted, where that was said.

        Returns:
            What was worked out, `None` where nothing was left open.

        Raises:
            FastmagicError: it cannot be told, with what was found and what to write.
        """

    def data(self, plan: Plan) -> Any:
        """Return the items of a planned data block, split: fastai `Datasets`, or what takes their place."""
        return plan.block().datasets(plan.source.value)

    def loaders(self, plan: Plan, data: Any) -> Any:
        """Return the `DataLoaders` over what `data` returned: what `DataBlock.dataloaders` does, with items at hand."""
        block = plan.block()
        return _quietly(
            data.dataloaders,
            path=".",
            after_item=block.item_tfms,
            after_batch=block.batch_tfms,
            **{**block.dls_kwargs, **{name: answer.value for name, answer in plan.loader.items()}},
        )

    def lines(
        self, answers: Mapping[str, str], loader: Mapping[str, str], source: str, name: str, free: Callable[[str], str]
    ) -> list[str]:
        """Return the lines of the program that do what `data` and `loaders` did.

        Args:
            answers, loader: the questions' expressions, in order.
            source: the variable that holds the source.
            name: the variable that gets the `DataLoaders`.
            free: gives a name of its own to a variable that the lines need.
        """
        block = free("block")
        return [
            f"{block} = DataBlock(",
            *[f"    {question}={text}," for question, text in answers.items()],
            ")",
            f"{name} = {block}.dataloaders({', '.join([source, *[f'{q}={text}' for q, text in loader.items()]])})",
        ]

    # ------------------------------------------------------------ what `DataLoaders` hold

    @abstractmethod
    def holds(self, dls: Any) -> bool:
        """Tell whether a `DataLoaders`, whoever made it, holds data of this kind."""

    @abstractmethod
    def grid(self, dls: Any, n: int) -> Drawing | Shown | None:
        """Return some items as a model will get them, without touching any random state."""

    # ------------------------------------------------------------ learning

    @abstractmethod
    def learning(self, dls: Any, asked: Asked) -> Learning:
        """Return how these data are learned.

        Raises:
            FastmagicError: they cannot be, or not as was asked.
        """

    def unloadable(self, dls: Any, error: Exception) -> tuple[str, str] | None:
        """Return cause and fix of an exception from loading the items, `None` where it comes from elsewhere."""
        return None

    def misfit(self, learning: Learning, error: Exception) -> tuple[str, str] | None:
        """Return cause and fix of an exception from inside the model, `None` where nothing more is known."""
        return None


def other_block(answered: Mapping[str, Any], *names: str) -> bool:
    """Tell whether `blocks` was answered, as text or as blocks, and none of these names occurs in it."""
    if "blocks" not in answered:
        return False
    value = answered["blocks"]
    if isinstance(value, str):
        return not any(name in value for name in names)
    blocks = value if isinstance(value, (list, tuple)) else [value]
    steps_ = [type(step).__name__ for block in blocks for step in (getattr(block, "type_tfms", None) or ())]
    return not any(name in steps_ for name in names)


def _quietly(function: Callable[..., Any], **arguments: Any) -> Any:
    """Call a function of fastai's, and print what it printed, but for its words about a stack trace that nobody sees."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            return function(**arguments)
    finally:
        print(re.sub(r"Could not do one pass in your dataloader[^\n]*\n", "", said.getvalue()), end="")


def steps(dls: Any, bs: int) -> int:
    """Return the batches of an epoch.

    Raises:
        FastmagicError: there is not one.
    """
    n = len(dls.train.dataset)
    count = n // bs if dls.train.drop_last else math.ceil(n / bs)
    if count == 0:
        raise RefusedError(
            f"{n:,} training items do not fill one batch of {bs}: nothing would be trained.",
            f"Take a smaller batch: `bs={max(1, min(16, n // 4))}`",
        )
    return count


def plain_loaders(dls: Any) -> bool:
    """Tell whether `new` keeps all there is to the loaders; it forgets the weights of a `WeightedDL`, for one."""
    from fastai.data.core import TfmdDL

    return all(type(dl) is TfmdDL for dl in dls.loaders) and len(dls.loaders) > 1


def rebatched(dls: Any, bs: int | None, batch: int, plain: bool, made: str = "DataLoaders") -> list[str]:
    """Return the line that gives loaders another batch size, none where they have it.

    Args:
        bs: the size that was asked for, which validation takes too; `None` where only training wants another.
        batch: the size to train with.
        plain: whether `new` keeps all there is to the loaders.
        made: the class of the new `DataLoaders`.

    Raises:
        FastmagicError: these loaders keep theirs.
    """
    if batch == dls.train.bs:
        return []
    if not plain:
        raise FastmagicError(
            f"These loaders ({type(dls.train).__name__}) cannot be given another batch size.",
            f"Make the DataLoaders with bs={batch}.",
        )
    others = "".join(f", dls[{i}].new(bs={batch if bs else max(batch, dls[i].bs)})" for i in range(1, len(dls.loaders)))
    return [f"dls = {made}(dls[0].new(bs={batch}){others}, path=dls.path, device=dls.device)"]
