"""A data block as answered: what `--code` prints, what is built, and what is walked through to explain it."""

from __future__ import annotations

import ast
import inspect
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import program
from ..errors import AnswerError, FastmagicError, RefusedError, few, number
from ..kinds import Kind
from .answers import Answer
from .fault import told
from .source import Source, default_bs, rows_that_are_there, unlabelled
from .steps import failing_question
from .tables import read_by


@dataclass
class Plan:
    """A data block as answered: what `--code` prints, `build` makes and `--explain` walks through."""

    kind: Kind
    source: Source
    answers: dict[str, Answer]
    loader: dict[str, Answer]
    worked: dict[str, str]
    why: str
    namespace: Mapping[str, Any]
    body: list[tuple[str, str]] = field(default_factory=list)  # the assignments of the cell, in their order

    def block(self) -> Any:
        """Return the fastai `DataBlock`."""
        from fastai.data.block import DataBlock

        return DataBlock(**{name: answer.value for name, answer in self.answers.items()})

    def build(self) -> Any:
        """Return the `DataLoaders`, and keep the program that makes it.

        Raises:
            FastmagicError: there are no items, or an answer raised; says on which line and for which item.
        """
        with reworded(self):
            data = self.kind.data(self)
        if len(data) == 0:
            where = f" in {self.source.value}" if isinstance(self.source.value, Path) else ""
            raise RefusedError(f"get_items found nothing{where}.", "`check(FOLDER)` tells where the images are.")
        if "bs" not in self.loader:
            bs = default_bs(len(data.train))
            self.loader["bs"] = Answer(str(bs), bs)
            self.worked["bs"] = str(bs)
        with reworded(self):
            dls = self.kind.loaders(self, data)
        program.remember(dls, self.to_program())
        self.namespace = {}  # the user's variables are not to live as long as the data
        _plans[dls] = self
        return dls

    def to_program(self, name: str = "dls") -> program.Program:
        """Return the plain fastai program that makes the `DataLoaders` under a name.

        The user's own variables come first, as they are; where one of them has a name that the program gives to
        something of its own (`path`, `block`, an answer), the latter gets another.
        """
        vocabulary = self.kind.vocabulary()
        texts = {question: answer.text for question, answer in [*self.answers.items(), *self.loader.items()]}
        loose = [texts[q] for q, a in [*self.answers.items(), *self.loader.items()] if a.line is None]
        bound: set[str] = set()
        needed: list[str] = []
        for variable, text in self.body:
            needed += [free for free in program.free_names(text) if free not in bound]
            bound.add(variable)
        made_here = self.source.lines[0].startswith("#")  # the cells that made it, where they are known
        before = [*self.kind.imports, *program.definitions([*needed, *loose], self.namespace, vocabulary)]
        source = list(self.source.lines)
        if made_here:
            own = program.definitions([self.source.name], self.namespace, vocabulary) or source[:1]
            before += [text for text in own if text not in before]
            source = source[1:]
        taken = program.names_in(before) | {name}
        called: dict[str, str] = {}
        lines = []
        for i, (variable, text) in enumerate(self.body):
            for old, new in called.items():
                text = program.rename(text, old, new)
            later = {free for _, other in self.body[i + 1 :] for free in program.free_names(other)}
            if variable not in texts or variable in later:
                called[variable] = program.free_name(variable, taken)
                lines.append(f"{called[variable]} = {text}")
                text = called[variable]
            answer = self.answers.get(variable) or self.loader.get(variable)
            if answer is not None and answer.line is not None:
                texts[variable] = text
        taken |= set(called.values())
        where = self.source.name if made_here else program.free_name(self.source.name, taken)
        source = [program.rename(line, self.source.name, where) for line in source]
        taken |= {where, name}
        built = self.kind.lines(
            {question: _as_argument(texts[question]) for question in self.answers},
            {question: _as_argument(texts[question]) for question in self.loader},
            where,
            name,
            lambda wanted: program.free_name(wanted, taken),
        )
        return program.Program(before, ["\n".join([*source, *lines, *built])], self.kind.module)

    def code_for(self, name: str) -> str:
        """Return the program with the `DataLoaders` under a name, its batch size worked out."""
        if "bs" not in self.loader:
            with reworded(self):
                n_train = len(self.kind.data(self).train)
            self.loader["bs"] = Answer(str(default_bs(n_train)), default_bs(n_train))
        return str(self.to_program(name))

    def cell(self, names: Mapping[str, Any] | None = None) -> str:
        """Return the answers as lines of a `%%datablock` cell, aligned, ready to paste."""
        shown = {
            **{k: a.text for k, a in self.answers.items()},
            **{k: a.text for k, a in self.loader.items()},
        }
        if names is not None:
            shown = {name: text for name, text in shown.items() if name in names}
        width = max((len(name) for name in shown), default=0)
        return "\n".join(f"{name:<{width}} = {text}" for name, text in shown.items())


_plans: weakref.WeakKeyDictionary[Any, Plan] = weakref.WeakKeyDictionary()


def plan_of(dls: Any) -> Plan | None:
    """Return the plan that `dls` was built from, or `None` where it was made without fastmagic."""
    return _plans.get(dls)


class reworded:
    """Reword what an answer raised while fastai used it: the user's own line, and the item it was given."""

    def __init__(self, plan: Plan):
        self.plan = plan

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if not isinstance(error, Exception) or isinstance(error, FastmagicError):
            return
        raise _explained(error, self.plan) from error


def _explained(error: Exception, plan: Plan) -> AnswerError:
    """Return what is told of an exception from inside fastai: the last line of the user's own, and its item."""
    where, cause, hint, line = told(error, plan.namespace)
    if not where and (empty := _nothing_to_train_on(plan)) is not None:
        return empty
    if isinstance(error, (TypeError, ValueError, AttributeError)) and (untold := unlabelled(plan)) is not None:
        return untold
    if isinstance(error, FileNotFoundError) and (gone := _files_gone(plan)) is not None:
        return gone
    if not where:
        where, line = _failing_line(plan)
    return AnswerError(f"{where}\n{cause}", hint or "`explain(source)` walks one item through every step.", line)


def _nothing_to_train_on(plan: Plan) -> AnswerError | None:
    """Say that no item was found, or that the splitter leaves none for training; `None` where it is not so."""
    if "blocks" not in plan.kind.questions:
        return None
    block = plan.block()
    try:
        items = (block.get_items or (lambda source: source))(plan.source.value)
        train = block.splitter(items)[0] if block.splitter is not None and len(items) else items
    except Exception:  # that is another fault
        return None
    if len(train):
        return None
    answer = plan.answers.get("get_items" if not len(items) else "splitter")
    begins, line = (f"{answer.at}{answer.text}", answer.line) if answer is not None else ("get_items", None)
    if not len(items):
        return AnswerError(
            f"{begins} finds nothing in {plan.source.value}.", "`check(FOLDER)` tells where the images are.", line
        )
    given = (
        inspect.getclosurevars(answer.value).nonlocals
        if answer is not None and inspect.isfunction(answer.value)
        else {}
    )
    fix = "For instance `splitter=RandomSplitter(0.2, seed=42)`"
    if "valid_pct" in given:
        fix = f"valid_pct is a share between 0 and 1: {fix}"
    elif "train_name" in given:
        above = sorted({file.parent.parent.name for file in items if isinstance(file, Path)})
        fix = f"The folders above those of the classes are {few(map(repr, above))}: name them with train_name and valid_name."
        if len(above) < 2:
            fix = "There are no such folders above those of the classes: `splitter=RandomSplitter(0.2, seed=42)`"
    return AnswerError(f"{begins} leaves none of the {len(items):,} items for training.", fix, line)


def _files_gone(plan: Plan) -> AnswerError | None:
    """Say how many of the files that a table names are not there, and how these rows are left out."""
    answer = plan.answers.get("get_x")
    columns = read_by(answer.value) if answer is not None and plan.source.is_table else None
    if answer is None or columns is None or columns.file not in plan.source.value.columns:
        return None
    files = columns.files(plan.source.value)
    gone = [file for file in files if file is None or not file.is_file()]
    if not gone:
        return None
    return AnswerError(
        f"{answer.at}{len(gone):,} of {number(len(files), 'listed file does', 'listed files do')} not exist: {few(gone, 3)}.",
        f"Leave them out, and take `datablock({plan.source.name})`: {rows_that_are_there(plan.source, columns)}",
        answer.line,
    )


def _failing_line(plan: Plan) -> tuple[str, int | None]:
    """Return the answer that a data block breaks at, by walking an item through it, and its line."""
    if "blocks" not in plan.kind.questions:
        return "Building the DataLoaders failed.", None
    name = failing_question(plan)
    answer = plan.answers.get(name) if name else None
    if answer is None:
        return "Building the data block failed.", None
    return f"{answer.at}{name} = {answer.text}", answer.line


def _as_argument(text: str) -> str:
    """Return an expression for use as an argument: a bare tuple gets its parentheses."""
    tree = ast.parse(text, mode="eval").body
    return f"({text})" if isinstance(tree, ast.Tuple) and not text.startswith("(") else text
