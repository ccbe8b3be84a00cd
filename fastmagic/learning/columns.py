"""What a model of tables is asked with: its columns, each a choice or a number, and a row out of what a person filled in."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import AnswerError, did_you_mean, few
from ..kinds import RATING
from .predictions import short

LONGEST = 200  # letters of a value
MOST = 3e38  # of numbers of 32 bits


@dataclass(frozen=True)
class Column:
    """A column that a model looks at.

    Attributes:
        name: as in the table that it was trained on.
        choices: the categories that it knows; `None` for a number.
        usual: the value to begin with: a row's own, the commonest, the mean.
        gaps: whether the model was told what to do where it is empty.
    """

    name: Any
    choices: tuple[Any, ...] | None
    usual: Any
    gaps: bool


def columns_of(learn: Any) -> list[Column]:
    """Return the columns of a learner of tables, categories first, as it was told them.

    Example:
        >>> columns_of(learn)   # doctest: +SKIP
        [Column(name='workclass', choices=('Private', …), usual='Private', gaps=True), …]
    """
    from fastai.data.transforms import Normalize
    from fastai.tabular.core import Categorify, FillMissing

    table = learn.dls.train_ds
    procs = {type(proc): proc for proc in table.procs.fs}
    filled = getattr(procs.get(FillMissing), "na_dict", {})
    classes = getattr(procs.get(Categorify), "classes", {})
    means = getattr(procs.get(Normalize), "means", {})
    columns = []
    for name in table.cat_names:
        if isinstance(name, str) and name.removesuffix("_na") in filled and name.endswith("_na"):
            continue  # fastai's own note of what was empty
        known = tuple(one for one in classes.get(name, ()) if one != "#na#")
        columns.append(Column(name, known, known[0] if known else None, True))
    for name in table.cont_names:
        usual = filled.get(name, means.get(name, 0))
        columns.append(Column(name, None, float(f"{float(usual):.3g}"), name in filled))
    return columns


def row_of(columns: list[Column], given: Mapping[str, Any]) -> dict[Any, Any]:
    """Return a row as the model takes it, out of texts by the columns' names; an empty one is a gap.

    Raises:
        AnswerError: a number is none, or a category is not one that the model knows; names the column.
    """
    row: dict[Any, Any] = {}
    for column in columns:
        text = written(given.get(str(column.name)))
        if len(text) > LONGEST:
            raise AnswerError(f"{column.name}: {len(text):,} letters are no value of it.", "Give a number or a name.")
        if column.choices is None:
            row[column.name] = _number(column, text.strip())
            continue
        exact = {written(choice): choice for choice in column.choices}
        known = {name.strip(): choice for name, choice in exact.items()} | exact  # " Private" is typed as "Private"
        text = text if text in known else text.strip()
        if text and text not in known:
            hint = did_you_mean(text, known) or f"It knows {few(exact, 8)}."
            raise AnswerError(f"{column.name}: the model does not know {short(text)!r}.", hint)
        row[column.name] = known[text] if text else None
    return row


def typed_row(learn: Any, words: Sequence[str]) -> tuple[dict[Any, Any], str]:
    """Return a row out of words such as `age=49 workclass=Private`, and what is told of the columns that were left out.

    These have the value that is usual: the mean, the commonest category. Of a model of ratings the row has what was named.

    Raises:
        AnswerError: a word names no column, or says what is no value of it.
    """
    from .recommend import names_of

    ratings = RATING.holds(learn.dls)
    columns = [] if ratings else columns_of(learn)
    names = {str(name): name for name in (names_of(learn) if ratings else [column.name for column in columns])}
    given: dict[str, str] = {}
    for word in words:
        name, _, value = word.partition("=")
        if name not in names:
            raise AnswerError(
                f"The model looks at no column {name!r}.", did_you_mean(name, names) or f"It looks at {few(names, 8)}."
            )
        if name in given:
            raise AnswerError(f"{name} is said twice.", "Say it once.")
        quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
        given[name] = value[1:-1] if quoted else value
    if ratings:
        return {names[name]: value for name, value in given.items()}, ""
    usual = {str(column.name): written(column.usual) for column in columns if str(column.name) not in given}
    row = row_of(columns, {**usual, **given})
    note = f"The others as usual: {few((f'{name} {value}' for name, value in usual.items()), 6)}" if usual else ""
    return row, note


def is_gap(value: Any) -> bool:
    """Tell whether a value of a row stands for none: `None`, NaN, and fastai's own word for it."""
    return value is None or value != value or (isinstance(value, str) and value == "#na#")


def written(value: Any) -> str:
    """Return a value as a form has it: a number in the fewest digits that are the same number to fastai, in 32 bits.

    >>> written(4.62243652344), written(2.0), written(None)
    ('4.6224365', '2', '')
    """
    if is_gap(value):
        return ""
    import numpy as np

    if isinstance(value, np.generic):
        value = value.item()
    if not isinstance(value, float) or not abs(value) < 1e15:
        return str(value)
    return str(np.format_float_positional(np.float32(value), trim="-"))


def _number(column: Column, text: str) -> float:
    if not text:
        if column.gaps:
            return math.nan
        raise AnswerError(f"{column.name} is empty, and the model never saw it so.", "Give a number.")
    if re.fullmatch(r"[+-]?[1-9]\d{0,2},\d{3}", text):
        whole, rest = text.split(",")
        raise AnswerError(
            f"{column.name}: {text!r} can be read in two ways.", f"Write {whole}{rest} or {whole}.{rest}."
        )
    try:
        number = float(text.replace(",", ".") if text.count(",") == 1 and "." not in text else text)
    except ValueError:
        number = math.nan
    if MOST < abs(number) < math.inf:
        raise AnswerError(f"{column.name}: {short(text)} is more than fastai can count to.", "Write it like 12.5.")
    if not math.isfinite(number):
        raise AnswerError(f"{column.name}: {short(text)!r} is no number.", "Write it like 12.5.")
    return number
