"""Answers to the questions of a data block: read from the body of a cell line by line, and checked before they are used."""

from __future__ import annotations

import ast
import itertools
import linecache
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .. import program
from ..errors import AnswerError, FastmagicError, closest, did_you_mean
from ..kinds import KINDS

QUESTIONS = tuple(dict.fromkeys(question for kind in reversed(KINDS) for question in kind.questions))
LOADER = (
    "bs", "val_bs", "shuffle", "val_shuffle", "drop_last", "num_workers", "pin_memory", "device", "dl_kwargs",
)  # fmt: skip
# What people write for it elsewhere, and what it is called here.
ELSEWHERE = {
    "path": "The source comes first: `datablock(PATH)`",
    "source": "The source comes first: `datablock(PATH)`",
    "valid_pct": "Write splitter = RandomSplitter(valid_pct=0.2, seed=42).",
    "seed": "Write splitter = RandomSplitter(valid_pct=0.2, seed=42).",
    "size": "Write item_tfms = Resize(192, method='squish').",
    "label_func": "fastai's DataBlock calls it get_y.",
    "labels": "fastai's DataBlock calls it get_y.",
    "batch_size": "fastai calls it bs.",
    "target": "A table's is y_names = 'COLUMN'; of pictures it is get_y.",
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

    @property
    def at(self) -> str:
        """How a message begins that is about it: "line 3: ", or nothing."""
        return f"line {self.line}: " if self.line is not None else ""


def evaluate(body: str, namespace: dict[str, Any], first_line: int) -> tuple[dict[str, Answer], list[tuple[str, str]]]:
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
            cause, fix = unknown(name)
            raise AnswerError(f"{shown}\n{cause}", fix, line)
        if name in answers:
            raise AnswerError(
                f"{shown}\n{name} is answered twice (first on line {answers[name].line}).",
                "Keep one of the two.",
                line,
            )
        tree = ast.Expression(statement.value)
        ast.increment_lineno(tree, first_line - 1)
        try:
            value = eval(compile(tree, file_name, "eval"), namespace)
        except NameError as error:
            missing = getattr(error, "name", None) or str(error).split("'")[1]
            raise AnswerError(
                f"{shown}\nThere is no {missing!r}.",
                did_you_mean(missing, [n for n in namespace if not n.startswith("_")])
                or f"Define {missing} in a cell above, or import it there.",
                line,
            ) from error
        except Exception as error:
            raise AnswerError(f"{shown}\n{type(error).__name__}: {error}", _hint(error, name), line) from error
        namespace[name] = value
        assigned.append((name, text))
        if is_answer:
            answers[name] = Answer(text, value, line)
    return answers, assigned


def assigned_texts(body: str) -> dict[str, str]:
    """Return what a body assigns, as it is written, by name; nothing where it is no Python, which is said when it is evaluated."""
    try:
        statements = ast.parse(textwrap.dedent(body)).body
    except SyntaxError:
        return {}
    assigned = [statement for statement in statements if isinstance(statement, ast.Assign)]
    return {
        target.id: ast.unparse(one.value) for one in assigned for target in one.targets if isinstance(target, ast.Name)
    }


def _assignments(body: str, first_line: int) -> list[ast.Assign]:
    lines = body.splitlines()

    def at(line: int) -> str:
        text = lines[line - 1].strip() if 0 < line <= len(lines) else ""
        return f"line {line + first_line - 1}: {text}"

    try:
        statements = ast.parse(body).body
    except SyntaxError as error:
        raise AnswerError(
            f"{at(error.lineno or 1)}\n{error.msg}.",
            "Each line answers one question: name = value.",
            (error.lineno or 1) + first_line - 1,
        ) from None
    for statement in statements:
        shown = at(statement.lineno)
        if isinstance(statement, (ast.FunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)):
            raise AnswerError(
                f"{shown}\nOnly assignments stand in a %%datablock.",
                "Write functions and imports in a cell above and use their names here.",
                statement.lineno + first_line - 1,
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
            raise AnswerError(
                f"{shown}\nOnly assignments stand in a %%datablock: name = value.",
                guess
                or f"The names are {', '.join(('blocks', 'get_items', 'splitter', 'get_y', 'item_tfms', 'batch_tfms', 'bs'))}.",
                statement.lineno + first_line - 1,
            )
    return statements  # type: ignore[return-value]


def unknown(name: str) -> tuple[str, str]:
    cause = f"DataBlock asks no question {name!r}."
    near = closest(name, [*QUESTIONS, *LOADER], 1)
    if name in ELSEWHERE:
        return cause, ELSEWHERE[name]
    return (
        cause,
        f"Did you mean {near[0]!r}?" if near else f"It asks {', '.join(QUESTIONS[:5])}, item_tfms, batch_tfms and bs.",
    )


def _hint(error: Exception, name: str) -> str:
    text = str(error)
    if ".__init__() missing" in text and name in ("item_tfms", "batch_tfms"):
        made = text.split(".")[0]
        return (
            f"Give what it needs: {made}(224)." if "'size'" in text else f"Give what it needs; help({made}) shows it."
        )
    if isinstance(error, TypeError) and "missing" in str(error) and "argument" in str(error):
        return "Give the function itself where fastai calls it: get_y = parent_label, not parent_label()."
    return ""


def check_type(name: str, answer: Answer, vocabulary: Mapping[str, Any]) -> None:
    """Raise where an answer can never work, though Python accepts it."""
    value, text = answer.value, answer.text

    def wrong(cause: str, fix: str) -> FastmagicError:
        line = f"line {answer.line}: {name} = {text}\n" if answer.line is not None else ""
        return AnswerError(line + cause, fix, answer.line)

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
        if name == "item_tfms" and "aug_transforms(" in text:
            raise wrong(
                "aug_transforms work on whole batches, not on one picture at a time.",
                "Write batch_tfms = aug_transforms()",
            )
        for part in _listify(value):
            sides = getattr(part, "size", None)
            if type(part).__name__ in ("Resize", "RandomResizedCrop", "CropPad") and any(
                map(_is_text, _listify(sides))
            ):
                raise wrong(
                    f"{type(part).__name__} takes a number of pixels, not text.", f"For instance {_EXAMPLES[name]}."
                )
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


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _listify(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) or type(value).__name__ == "L" else [value]


def source_of(value: Any, vocabulary: Mapping[str, Any]) -> str | None:
    """Return how to write a value: a literal, a name of fastai's, or a list of these; `None` if it cannot be told."""
    literal = program.literal_source(value)
    if literal is not None:
        return literal
    name = getattr(value, "__name__", None)
    if name and vocabulary.get(name) is value:
        return name
    if isinstance(value, (list, tuple)) or type(value).__name__ == "L":
        parts = [source_of(part, vocabulary) for part in value]
        if all(part is not None for part in parts):
            return f"[{', '.join(str(part) for part in parts)}]"
    return program.constructed(value, vocabulary)
