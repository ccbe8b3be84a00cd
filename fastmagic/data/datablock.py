"""`%%datablock`: five answers, under fastai's own names, become a fastai `DataLoaders`.

The answers are expressions. They come from the body of a cell, from keyword arguments or from `infer`, and are
evaluated once; the program that `--code` prints holds the same text.
"""

from __future__ import annotations

import ast
import itertools
import linecache
import textwrap
import types
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from .. import program
from ..errors import FastmagicError, closest, did_you_mean
from ..kinds import KINDS, Kind, kind_of_source
from .source import Source, default_bs, resolve_source

QUESTIONS = tuple(dict.fromkeys(question for kind in reversed(KINDS) for question in kind.questions))
LOADER = (
    "bs", "val_bs", "shuffle", "val_shuffle", "drop_last", "num_workers", "pin_memory", "device", "dl_kwargs",
)  # fmt: skip
# What people write for it elsewhere, and what it is called here.
ELSEWHERE = {
    "path": "The source goes on the first line: %%datablock dls --from PATH",
    "source": "The source goes on the first line: %%datablock dls --from PATH",
    "valid_pct": "Write splitter = RandomSplitter(valid_pct=0.2, seed=42).",
    "seed": "Write splitter = RandomSplitter(valid_pct=0.2, seed=42).",
    "size": "Write item_tfms = Resize(192, method='squish').",
    "label_func": "fastai's DataBlock calls it get_y.",
    "labels": "fastai's DataBlock calls it get_y.",
    "batch_size": "fastai calls it bs.",
    "transforms": "Write item_tfms (one picture at a time) or batch_tfms (a whole batch).",
    "tfms": "Write item_tfms (one picture at a time) or batch_tfms (a whole batch).",
}

_bodies = itertools.count(1)


@dataclass
class Answer:
    """One answered question: the expression, its value, and the cell line it stands on (`None`: not from a cell)."""

    text: str
    value: Any
    line: int | None = None


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
            raise FastmagicError(f"get_items found nothing{where}.", "%check FOLDER tells where the images are.")
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
        before = program.definitions([*needed, *loose], self.namespace, vocabulary)
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


def datablock(
    source: Any, *, body: str | None = None, seed: int | None = 42, target: str | None = None, **answers: Any
) -> Any:
    """Make a fastai `DataLoaders` from a source; questions left open are worked out from it.

    Args:
        source: a folder of photos, a CSV file or DataFrame with a file column and a label column, a table whose rows
            are learned from themselves, or whatever your own `get_items` takes.
        body: answers as Python assignments, one a line, as in a `%%datablock` cell.
        seed: seed of the split where `splitter` is left out; `None` for a new split every time.
        target: the column of a table that is to be predicted.
        **answers: arguments of `fastai.data.block.DataBlock` (blocks, get_items, get_x, get_y, splitter, item_tfms,
            batch_tfms, …) or, for a table, of `fastai.tabular.core.TabularPandas` (y_names, cat_names, cont_names,
            procs, y_block; `splitter` gets the table), and of its `dataloaders` (bs, val_bs, num_workers, …).

    Returns:
        An ordinary `DataLoaders`. `fastmagic.code(dls)` is the plain program that makes it.

    Raises:
        FastmagicError: the source does not exist or fits no known layout, or an answer is wrong.

    Example:
        >>> dls = datablock("bird_or_not", item_tfms=Resize(96), bs=16)  # doctest: +SKIP
        >>> dls = datablock("adult.csv", target="salary")                # doctest: +SKIP
    """
    return plan(source, body=body, seed=seed, target=target, given=answers).build()


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
    """
    user = dict(namespace or {})
    where = resolve_source(source, source_name)
    kind = kind_of_source(where, dict.fromkeys([*_assigned_names(body or ""), *(given or {})]))
    vocabulary = kind.vocabulary()
    answered, assigned = _evaluate(body, {**vocabulary, **user}, first_line) if body else ({}, [])
    for name, value in (given or {}).items():
        if name not in (*QUESTIONS, *LOADER):
            raise FastmagicError(*_unknown(name))
        text = _source_of(value, vocabulary)
        if text is None:
            # A function of the user's own goes by its name; what has none goes by the question's.
            own = getattr(value, "__name__", "")
            text = own if own.isidentifier() and own not in vocabulary else name
            user[text] = value
        answered[name] = Answer(text, value)
    for name, answer in answered.items():
        if name not in (*kind.questions, *LOADER):
            raise FastmagicError(
                f"{_at(answer)}{name} is no question about {kind.name}.",
                f"About {kind.name} the questions are {', '.join(kind.questions)}.",
            )
        _check_type(name, answer, vocabulary)
    questions = {name: answered[name] for name in kind.questions if name in answered}
    if target is not None and kind.target in questions:
        raise FastmagicError(
            f"{_at(questions[kind.target])}{kind.target} says already what is to be predicted.", "Leave --target out."
        )
    if target is not None and not (where.is_table or isinstance(where.value, Path)):
        raise FastmagicError("--target names a column, and the source is no table.", "Leave --target out.")
    worked = kind.infer(where, questions, seed, target)
    if worked:
        where = worked.source
        for name, text in worked.answers.items():
            if name not in questions:
                questions[name] = Answer(text, eval(text, dict(vocabulary)))
    if where.is_table and "get_items" in answered:
        raise FastmagicError(
            _at(answered["get_items"]) + "get_items reads a folder, but the source is a table.",
            "Leave get_items out, and let get_x = ColReader('…') name the file.",
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


# ---------------------------------------------------------------- reading a body


def _evaluate(body: str, namespace: dict[str, Any], first_line: int) -> tuple[dict[str, Answer], list[tuple[str, str]]]:
    """Return the answers of a body, and all of its assignments in order, helpers (`size = 192`) among them.

    Raises:
        FastmagicError: with the number and the text of the line that is wrong.
    """
    body = textwrap.dedent(body)
    statements = _assignments(body, first_line)
    lines = body.splitlines()
    file_name = f"<%%datablock {next(_bodies)}>"  # of its own: a traceback of an earlier cell shows its own lines
    # So that tracebacks, and the user's own line in a message, can show the body.
    padded = "\n" * (first_line - 1) + body
    linecache.cache[file_name] = (len(padded), None, [line + "\n" for line in padded.splitlines()], file_name)
    used = {node.id for s in statements for node in ast.walk(s.value) if isinstance(node, ast.Name)}
    answers: dict[str, Answer] = {}
    assigned: list[tuple[str, str]] = []
    for statement in statements:
        name = statement.targets[0].id  # type: ignore[attr-defined]
        line = statement.lineno + first_line - 1
        text = ast.get_source_segment(body, statement.value) or ast.unparse(statement.value)
        # A tuple or a call may run over lines; in a program and in a message it stands on one.
        text = ast.unparse(statement.value) if "\n" in text else text
        shown = f"line {line}: {lines[statement.lineno - 1].strip()}"
        is_answer = name in QUESTIONS or name in LOADER
        if not is_answer and name not in used:
            cause, fix = _unknown(name)
            raise FastmagicError(f"{shown}\n{cause}", fix)
        if name in answers:
            raise FastmagicError(
                f"{shown}\n{name} is answered twice (first on line {answers[name].line}).",
                "Keep one of the two.",
            )
        tree = ast.Expression(statement.value)
        ast.increment_lineno(tree, first_line - 1)
        try:
            value = eval(compile(tree, file_name, "eval"), namespace)
        except NameError as error:
            missing = getattr(error, "name", None) or str(error).split("'")[1]
            raise FastmagicError(
                f"{shown}\nThere is no {missing!r}.",
                did_you_mean(missing, [n for n in namespace if not n.startswith("_")])
                or f"Define {missing} in a cell above, or import it there.",
            ) from error
        except Exception as error:
            raise FastmagicError(f"{shown}\n{type(error).__name__}: {error}", _hint(error)) from error
        namespace[name] = value
        assigned.append((name, text))
        if is_answer:
            answers[name] = Answer(text, value, line)
    return answers, assigned


def _assigned_names(body: str) -> list[str]:
    """Return the names that a body assigns; none where it is no Python, which is said when it is evaluated."""
    try:
        nodes = list(ast.walk(ast.parse(textwrap.dedent(body))))
    except SyntaxError:
        return []
    return [node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]


def _assignments(body: str, first_line: int) -> list[ast.Assign]:
    lines = body.splitlines()

    def at(line: int) -> str:
        text = lines[line - 1].strip() if 0 < line <= len(lines) else ""
        return f"line {line + first_line - 1}: {text}"

    try:
        statements = ast.parse(body).body
    except SyntaxError as error:
        raise FastmagicError(
            f"{at(error.lineno or 1)}\n{error.msg}.", "Each line answers one question: name = value."
        ) from None
    for statement in statements:
        shown = at(statement.lineno)
        if isinstance(statement, (ast.FunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)):
            raise FastmagicError(
                f"{shown}\nOnly assignments stand in a %%datablock.",
                "Write functions and imports in a cell above and use their names here.",
            )
        if not (
            isinstance(statement, ast.Assign)
            and len(statement.targets) == 1
            and isinstance(statement.targets[0], ast.Name)
        ):
            guess = (
                f"Did you mean {shown.split(': ', 1)[1].replace(':', ' =', 1)}?"
                if isinstance(statement, ast.AnnAssign)
                else ""
            )
            raise FastmagicError(
                f"{shown}\nOnly assignments stand in a %%datablock: name = value.",
                guess
                or f"The names are {', '.join(('blocks', 'get_items', 'splitter', 'get_y', 'item_tfms', 'batch_tfms', 'bs'))}.",
            )
    return statements  # type: ignore[return-value]


def _unknown(name: str) -> tuple[str, str]:
    cause = f"DataBlock asks no question {name!r}."
    near = closest(name, [*QUESTIONS, *LOADER], 1)
    if name in ELSEWHERE:
        return cause, ELSEWHERE[name]
    return (
        cause,
        f"Did you mean {near[0]!r}?" if near else f"It asks {', '.join(QUESTIONS[:5])}, item_tfms, batch_tfms and bs.",
    )


def _hint(error: Exception) -> str:
    if isinstance(error, TypeError) and "missing" in str(error) and "argument" in str(error):
        return "Give the function itself where fastai calls it: get_y = parent_label, not parent_label()."
    return ""


def _at(answer: Answer) -> str:
    return f"line {answer.line}: " if answer.line is not None else ""


def _check_type(name: str, answer: Answer, vocabulary: Mapping[str, Any]) -> None:
    """Raise where an answer can never work, though Python accepts it."""
    value, text = answer.value, answer.text

    def wrong(cause: str, fix: str) -> FastmagicError:
        line = f"line {answer.line}: {name} = {text}\n" if answer.line is not None else ""
        return FastmagicError(line + cause, fix)

    if name in ("get_items", "splitter", "get_x", "get_y"):
        for part in _listify(value) if name in ("get_x", "get_y") else [value]:
            if isinstance(part, str):
                raise wrong(
                    f"{name} is a function, not text.",
                    f"For a column of a table: {name} = ColReader({part!r}).",
                )
            if not callable(part):
                what = f"{name} is a function, not a {type(part).__name__}"
                fix = "Give the function itself, without calling it: get_items = get_image_files."
                raise wrong(f"{what}.", fix if name == "get_items" else f"For instance {_EXAMPLES[name]}.")
            factory = getattr(part, "__name__", "")
            if factory and vocabulary.get(factory) is part and factory[0].isupper() and factory != "noop":
                raise wrong(
                    f"{factory} makes the function that {name} needs: call it.",
                    f"For instance {_EXAMPLES.get(name, '')}.",
                )
    if name == "blocks":
        for part in _listify(value):
            if not (callable(part) or hasattr(part, "type_tfms")):
                raise wrong(
                    f"blocks takes blocks, not a {type(part).__name__}.",
                    "For instance blocks = ImageBlock, CategoryBlock.",
                )
    if name in ("item_tfms", "batch_tfms"):
        for part in _listify(value):
            if (isinstance(part, type) and _needs_arguments(part)) or part is vocabulary.get("aug_transforms", _NEVER):
                raise wrong(f"{part.__name__} has to be called.", f"For instance {_EXAMPLES[name]}.")
            for option, right in _TRANSFORM_WORDS.items():
                word = getattr(part, option, None)
                if isinstance(word, str) and type(part).__name__ in ("Resize", "CropPad") and word not in right:
                    hint = did_you_mean(word, right, 1) or f"Choose from {', '.join(right)}."
                    raise wrong(f"There is no {option} {word!r}.", hint)
            if not callable(part):
                raise wrong(
                    f"{name} takes transforms, not a {type(part).__name__}.",
                    f"For instance {_EXAMPLES[name]}.",
                )
    if name in ("bs", "val_bs") and not (isinstance(value, int) and not isinstance(value, bool) and value > 0):
        raise wrong(f"{name} is how many items make a batch: a whole number above 0.", f"For instance {name} = 16.")


_NEVER = object()
_TRANSFORM_WORDS = {
    "method": ("squish", "crop", "pad"),
    "pad_mode": ("zeros", "border", "reflection"),
}


def _needs_arguments(transform: type) -> bool:
    import inspect

    try:
        parameters = list(inspect.signature(transform).parameters.values())
    except (TypeError, ValueError):
        return False
    return any(p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters)


_EXAMPLES = {
    "get_items": "get_items = get_image_files",
    "splitter": "splitter = RandomSplitter(0.2, seed=42)",
    "get_x": "get_x = ColReader('file', pref='photos/')",
    "get_y": "get_y = parent_label",
    "item_tfms": "item_tfms = Resize(192, method='squish')",
    "batch_tfms": "batch_tfms = aug_transforms()",
}


# ---------------------------------------------------------------- errors while building


class reworded:
    """Reword what an answer raised while fastai used it: the user's own line, and the item it was given."""

    def __init__(self, plan: Plan):
        self.plan = plan

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if not isinstance(error, Exception) or isinstance(error, FastmagicError):
            return
        raise FastmagicError(*explain_error(error, self.plan)) from error


def explain_error(error: Exception, plan: Plan) -> tuple[str, str]:
    """Return cause and fix of an exception from inside fastai: the last line of the user's own, and its item."""
    cause = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no message'}"
    frame = _user_frame(error)
    if frame is None:
        return (
            f"{_failing_line(plan)}\n{cause}",
            "%datablock … --explain walks one item through every step.",
        )
    code, line, local = frame
    text = linecache.getline(code.co_filename, line).strip()
    where = f"line {line}: {text}" if code.co_filename.startswith("<%%datablock") else f"in {code.co_name}: {text}"
    argument = local.get(code.co_varnames[0]) if code.co_argcount else None
    item = f", for {_short(argument)}" if argument is not None else ""
    names = [name for name in (*plan.namespace, *local) if not name.startswith("_")]
    hint = did_you_mean(error.name, names) if isinstance(error, NameError) and error.name else ""
    return f"{where}\n{cause}{item}", hint or "%datablock … --explain walks one item through every step."


def _failing_line(plan: Plan) -> str:
    """Return the answer that a data block breaks at, by walking an item through it."""
    from .explain import failing_question

    if "blocks" not in plan.kind.questions:
        return "Building the DataLoaders failed."
    name = failing_question(plan)
    answer = plan.answers.get(name) if name else None
    if answer is None:
        return "Building the data block failed."
    return f"line {answer.line}: {name} = {answer.text}" if answer.line is not None else f"{name} = {answer.text}"


def _user_frame(error: BaseException) -> tuple[types.CodeType, int, dict[str, Any]] | None:
    """Return code, line and variables of the innermost frame the user wrote: in a body, a cell or `__main__`."""
    found = None
    traceback = error.__traceback__
    while traceback is not None:
        frame = traceback.tb_frame
        file_name = frame.f_code.co_filename
        if file_name.startswith("<%%datablock") or (
            frame.f_globals.get("__name__") == "__main__" and frame.f_code.co_name != "<module>"
        ):
            found = (frame.f_code, traceback.tb_lineno, dict(frame.f_locals))
        traceback = traceback.tb_next
    return found


# ---------------------------------------------------------------- small things


def _short(value: Any, width: int = 90) -> str:
    text = str(value) if isinstance(value, PurePath) else repr(value)
    text = " ".join(text.split())
    return text if len(text) <= width else "…" + text[-width:] if isinstance(value, PurePath) else text[:width] + "…"


def _listify(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) or type(value).__name__ == "L" else [value]


def _as_argument(text: str) -> str:
    """Return an expression for use as an argument: a bare tuple gets its parentheses."""
    tree = ast.parse(text, mode="eval").body
    return f"({text})" if isinstance(tree, ast.Tuple) and not text.startswith("(") else text


def _source_of(value: Any, vocabulary: Mapping[str, Any]) -> str | None:
    """Return how to write a value: a literal, a name of fastai's, or a list of these; `None` if it cannot be told."""
    literal = program.literal_source(value)
    if literal is not None:
        return literal
    name = getattr(value, "__name__", None)
    if name and vocabulary.get(name) is value:
        return name
    if isinstance(value, (list, tuple)) or type(value).__name__ == "L":
        parts = [_source_of(part, vocabulary) for part in value]
        if all(part is not None for part in parts):
            return f"[{', '.join(str(part) for part in parts)}]"
    return program.constructed(value, vocabulary)
