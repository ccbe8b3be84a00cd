"""`%%datablock`: five answers, under fastai's own names, become a fastai `DataLoaders`.

The answers are expressions. They come from the body of a cell, from keyword arguments or from the kind of data, and are
evaluated once; the program that `--code` prints holds the same text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import AnswerError
from ..kinds import kind_of_source
from .answers import LOADER, QUESTIONS, Answer, assigned_texts, check_type, evaluate, source_of, unknown
from .plan import Plan
from .source import resolve_source

if TYPE_CHECKING:
    from fastai.data.core import DataLoaders


def datablock(
    source: Any,
    *,
    body: str | None = None,
    seed: int | None = 42,
    target: str | None = None,
    label: str | None = None,
    **answers: Any,
) -> DataLoaders:
    """Make a fastai `DataLoaders` from a source; questions left open are worked out from it.

    Args:
        source: a folder of photos, one with `images` and masks, a CSV file or DataFrame with a file column and a label column, a table whose rows
            are learned from themselves, or whatever your own `get_items` takes.
        body: answers as Python assignments, one a line, as in a `%%datablock` cell.
        seed: seed of the split where `splitter` is left out; `None` for a new split every time.
        target: the column of a table that is to be predicted.
        label: a regular expression that finds the class in a file's name: its group, or all that it matches. It answers
            `get_y`.
        **answers: arguments of `fastai.data.block.DataBlock` (blocks, get_items, get_x, get_y, splitter, item_tfms,
            batch_tfms, …) or, for a table, of `fastai.tabular.core.TabularPandas` (y_names, cat_names, cont_names,
            procs, y_block; `splitter` gets the table), for ratings of `fastai.collab.CollabDataLoaders.from_df` (user_name,
            item_name, rating_name), and of its `dataloaders` (bs, val_bs, num_workers, …).

    Returns:
        An ordinary `DataLoaders`. `fastmagic.code(dls)` is the plain program that makes it.

    Raises:
        FastmagicError: the source does not exist or fits no known layout, or an answer is wrong.

    Example:
        >>> dls = datablock("bird_or_not", item_tfms=Resize(96), bs=16)  # doctest: +SKIP
        >>> dls = datablock("adult.csv", target="salary")                # doctest: +SKIP
    """
    return plan(source, body=body, seed=seed, target=target, label=label, given=answers).build()


def plan(
    source: Any,
    *,
    body: str | None = None,
    namespace: Mapping[str, Any] | None = None,
    given: Mapping[str, Any] | None = None,
    seed: int | None = 42,
    first_line: int = 1,
    source_name: str = "",
    target: str | None = None,
    label: str | None = None,
) -> Plan:
    """Answer the questions of a data block, without building it.

    Args:
        source: as for `datablock`.
        body: assignments, one question each.
        namespace: the user's variables, on top of fastai's names.
        given: answers as values; they win over the body.
        seed: seed of a split that is worked out.
        first_line: the number the body's first line has for its reader.
        source_name: the user's own name for a source that cannot be written down (a DataFrame).
        target: the column of a table that is to be predicted.
        label: as for `datablock`.
    """
    user = dict(namespace or {})
    where = resolve_source(source, source_name)
    told = {name: value for name, value in (("target", target), ("label", label)) if value is not None}
    kind = kind_of_source(where, {**assigned_texts(body or ""), **(given or {}), **told})
    vocabulary = kind.vocabulary()
    answered, assigned = evaluate(body, {**vocabulary, **user}, first_line) if body else ({}, [])
    for name, value in (given or {}).items():
        if name not in (*QUESTIONS, *LOADER):
            raise AnswerError(*unknown(name))
        text = source_of(value, vocabulary)
        if text is None:
            # A function of the user's own goes by its name; what has none goes by the question's.
            own = getattr(value, "__name__", "")
            text = own if own.isidentifier() and own not in vocabulary else name
            user[text] = value
        answered[name] = Answer(text, value)
    if "get_items" in answered and _in_disk_order(answered["get_items"].value):
        # The order of a disk differs between machines, and with it the photos that a seed splits off.
        given_items = answered["get_items"]
        text = f"compose({given_items.text}, sorted)"
        answered["get_items"] = replace(given_items, text=text, value=vocabulary["compose"](given_items.value, sorted))
        assigned = [(name, text if name == "get_items" else told) for name, told in assigned]
    if label is not None:
        if "get_y" in answered or target is not None:
            raise AnswerError("`label` says how the class is found, and so does another answer.", "Leave one out.")
        answered["get_y"] = _label_in_names(label, vocabulary)
    for name, answer in answered.items():
        if name not in (*kind.questions, *LOADER):
            raise AnswerError(
                f"{answer.at}{name} is no question about {kind.name}.",
                f"About {kind.name} the questions are {', '.join(kind.questions)}.",
                answer.line,
            )
        check_type(name, answer, vocabulary)
    questions = {name: answered[name] for name in kind.questions if name in answered}
    if target is not None and kind.target in questions:
        raise AnswerError(
            f"{questions[kind.target].at}{kind.target} says already what is to be predicted.",
            "Leave `target` out.",
            questions[kind.target].line,
        )
    if target is not None and not (where.is_table or isinstance(where.value, Path)):
        raise AnswerError("`target` names a column, and the source is no table.", "Leave `target` out.")
    worked = kind.infer(where, questions, seed, target)
    if worked:
        where = worked.source
        for name, text in worked.answers.items():
            if name not in questions:
                questions[name] = Answer(text, eval(text, dict(vocabulary)))
    if where.is_table and "get_items" in answered:
        raise AnswerError(
            answered["get_items"].at + "get_items reads a folder, but the source is a table.",
            "Leave get_items out, and let get_x = ColReader('…') name the file.",
            answered["get_items"].line,
        )
    return Plan(
        kind=kind,
        source=where,
        answers={name: questions[name] for name in kind.questions if name in questions},
        loader={name: answered[name] for name in LOADER if name in answered},
        worked=dict(worked.answers) if worked else {},
        why=worked.why if worked else "",
        namespace=user,
        body=assigned,
    )


def _label_in_names(pattern: str, vocabulary: Mapping[str, Any]) -> Answer:
    """Return the answer to `get_y` that finds the class in a file's name.

    Raises:
        AnswerError: it is no regular expression.
    """
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise AnswerError(
            f"{pattern!r} is no regular expression: {error}.", r"For instance `label=r'^([^_]+)_'`"
        ) from error
    text = f"using_attr(RegexLabeller({pattern if groups else f'({pattern})'!r}), 'name')"
    return Answer(text, eval(text, dict(vocabulary)))


def _in_disk_order(get_items: Any) -> bool:
    """Tell whether a `get_items` is fastai's own, which gives files in the order that the disk does."""
    from fastai.data.transforms import get_files, get_image_files

    found = get_items.func if isinstance(get_items, partial) else get_items
    return found is get_files or found is get_image_files
