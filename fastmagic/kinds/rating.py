"""Ratings: who rated what and how; `collab_learner`."""

from __future__ import annotations

import importlib
import itertools
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data.ratings import RatingColumns, movielens, rating_columns
from ..data.source import Source, Worked, random_split, refuse_untold, source_of_table
from ..data.tables import column_named, read_columns
from ..data.targets import Target
from ..errors import AnswerError, NotFoundError, RefusedError, did_you_mean, few
from .kind import Asked, Learning, rebatched, steps
from .table import OWN, Table, called, unweighted, without_fastais_own_warnings, y_range

if TYPE_CHECKING:
    from ..data.plan import Plan

NAMES = ("user_name", "item_name", "rating_name")
MODELS = ("dot", "net")
# As in fastai's course; small tables get more epochs, until there are some 300 steps.
EPOCHS, MOST_EPOCHS, STEPS, LR, DECAY = 5, 30, 300, 5e-3, 0.1
_RANDOM = re.compile(r"RandomSplitter\((?:valid_pct=)?([0-9.]+)(?:, seed=(\d+))?\)")


class Rating(Table):
    """Ratings of items by users."""

    name = "ratings"
    questions = (*NAMES, "splitter")
    metrics = {"numbers": "mae"}  # noqa: RUF012
    target = "rating_name"
    lighter = "fewer ratings"
    imports = ("from fastai.collab import *",)

    def vocabulary(self) -> dict[str, Any]:
        return {**super().vocabulary(), **vars(importlib.import_module("fastai.collab"))}

    def recognises(self, source: Source, answered: Mapping[str, Any]) -> bool:
        if any(question in answered for question in NAMES):
            return True
        others = {*OWN, "blocks", "get_items", "get_x", "get_y", "getters", "item_tfms", "batch_tfms"}
        if others & set(answered):
            return False
        if source.is_table:
            found = rating_columns(source.value, answered.get("target"))
            if found is None:
                return False
            # Numbers of users may be names of photos by accident; another column that names some is none.
            columns = read_columns(source.value, source.folder or Path())
            return not columns.exist or columns.file in (found.user, found.item, found.rating)
        return source.folder is not None and source.value == source.folder and movielens(source.folder, 50) is not None

    def infer(self, source: Source, answered: Mapping[str, Any], seed: int | None, target: str | None) -> Worked | None:
        if not source.is_table:
            table = movielens(source.folder) if source.folder is not None else None
            if table is None or source.folder is None:
                question = next(name for name in NAMES if name in answered)
                raise AnswerError(
                    f"{question} is asked of a table of ratings, and {source.value} is none.",
                    "Give a CSV file or a DataFrame with a column of users, one of items, and one of ratings.",
                )
            source = source_of_table(source.folder / "ratings.csv", table)
        frame = source.value
        given = {name: answered[name].value for name in NAMES if name in answered}
        if target is not None:
            given["rating_name"] = target
        known = rating_columns(frame) or RatingColumns(None, None, None)
        found = {
            name: column_named(frame, given[name]) if name in given else column
            for name, column in zip(NAMES, (known.user, known.item, known.rating), strict=True)
        }
        for name, column in found.items():
            if column is None:
                what = {"user_name": "who rated", "item_name": "what was rated", "rating_name": "the rating"}[name]
                raise NotFoundError(
                    f"Which column says {what}? The table has {few(frame.columns, 8)}.", f"Name it: `{name}=COLUMN`"
                )
        user, item, rating = found.values()
        for column in (user, item, rating):
            refuse_untold(source, column)
        if len({user, item, rating}) < 3:
            raise AnswerError(
                f"One column cannot be two of user, item and rating: {few(map(repr, found.values()))}.", "Name three."
            )
        if frame[rating].dtype.kind not in "iuf":
            raise AnswerError(
                f"The ratings in {rating!r} are no numbers: {few(frame[rating].unique(), 4)}.", "Make numbers of them."
            )
        if frame[rating].nunique() < 2:
            raise RefusedError(f"Every rating is {frame[rating].iloc[0]:g}: there is nothing to predict.", "")
        answers = {name: repr(column) for name, column in found.items() if name not in answered}
        if "splitter" not in answered:
            answers["splitter"] = random_split(seed)
        users, items = frame[user].nunique(), frame[item].nunique()
        rest = [column for column in frame.columns if column not in found.values()]
        why = [
            f"{user!r} rates {item!r} in {rating!r}, {frame[rating].min():g} to {frame[rating].max():g}: {len(frame):,} ratings by "
            f"{users:,} users of {items:,} items, {len(frame) / (users * items):.1%} of all that there could be",
            *([f"not used: {few(map(repr, rest), 4)}"] if rest else []),
            *source.notes,
        ]
        return Worked(answers, "; ".join(why), source)

    def data(self, plan: Plan) -> Any:
        from fastai.collab import TabularCollab
        from fastai.data.block import TransformBlock
        from fastai.tabular.core import Categorify

        user, item, rating, splitter = (plan.answers[question].value for question in self.questions)
        frame = plan.source.value
        with without_fastais_own_warnings():
            return TabularCollab(
                frame,
                [Categorify],
                [user, item],
                y_names=[rating],
                y_block=TransformBlock(),
                splits=splitter(range(len(frame))),
            )

    def lines(
        self, answers: Mapping[str, str], loader: Mapping[str, str], source: str, name: str, free: Callable[[str], str]
    ) -> list[str]:
        user, item, rating, splitter = (answers[question] for question in self.questions)
        more = [f"{question}={text}" for question, text in loader.items()]
        drawn = _RANDOM.fullmatch(splitter)
        if drawn:
            seed = [f"seed={drawn[2]}"] if drawn[2] else []
            columns = [f"{question}={answers[question]}" for question in NAMES]
            given = ", ".join([source, *columns, f"valid_pct={drawn[1]}", *seed, *more])
            return [f"{name} = CollabDataLoaders.from_df({given})"]
        table = free("table")
        return [
            f"{table} = TabularCollab(",
            f"    {source}, [Categorify], [{user}, {item}], y_names=[{rating}], y_block=TransformBlock(),",
            f"    splits={called(splitter)}(range(len({source}))),",
            ")",
            f"{name} = {table}.dataloaders({', '.join(more)})",
        ]

    def holds(self, dls: Any) -> bool:
        return type(getattr(dls.train, "dataset", None)).__name__ == "TabularCollab"

    def learning(self, dls: Any, asked: Asked) -> Learning:
        if asked.weights is not None:
            raise AnswerError("A file of weights is for images; ratings are learned from nothing.", "Leave it out.")
        if asked.arch not in (None, *MODELS):
            raise AnswerError(
                f"{asked.arch} is no model of ratings; there are 'dot' (a dot product) and 'net' (a neural network).",
                did_you_mean(str(asked.arch), MODELS) or "Leave it out: `train(dls)`",
            )
        if len(dls.train.dataset) == 0:
            raise RefusedError("The training set is empty.", "`check(dls)` tells why.")
        bs = asked.bs or dls.train.bs
        count = steps(dls, bs)
        low, high = wider(dls.train.dataset.ys.iloc[:, 0])
        arguments = ["dls", f"y_range=({low}, {high})", f"wd={DECAY}"]
        if asked.arch == "net":
            arguments[1:1] = ["use_nn=True", "layers=[100, 50]"]
        return Learning(
            name="a neural network" if asked.arch == "net" else "a dot product",
            target=Target("numbers", []),
            learner=("collab_learner", arguments),
            bs=bs,
            epochs=max(EPOCHS, min(MOST_EPOCHS, math.ceil(STEPS / count))) if asked.epochs is None else asked.epochs,
            lr=LR,
            data=rebatched(dls, asked.bs, bs, unweighted(dls), "TabularDataLoaders"),
            before=list(self.imports),
            notes=[f"Ratings are predicted between {low} and {high}, a little beyond those given (y_range)."],
            again=str(asked.arch or ""),
        )


def wider(ratings: Any) -> tuple[float, float]:
    """Return the range that predictions are bent into: half a step of the ratings beyond the lowest and the highest.

    The bend only comes near its ends: a model whose range ends at 5 never says 5.

    >>> import pandas as pd
    >>> wider(pd.Series([1, 2, 5])), wider(pd.Series([0.5, 1.0, 4.5]))
    ((0.5, 5.5), (0.25, 4.75))
    """
    values = sorted(set(map(float, ratings.unique())))
    steps_ = [b - a for a, b in itertools.pairwise(values)]
    if not steps_ or len(values) > 101:
        return y_range(ratings)
    half = round(min(steps_), 6) / 2
    return round(values[0] - half, 6), round(values[-1] + half, 6)
