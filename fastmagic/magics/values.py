"""What an option accepts: how its text becomes a value, and what Tab offers."""

from __future__ import annotations

import ast
import keyword
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..errors import AnswerError, NotFoundError, did_you_mean, few
from .session import Session, is_a


class Value:
    """What an option accepts: how its text becomes a value, and what Tab offers. This one takes any text."""

    metavar = "TEXT"
    example = ""

    def parse(self, text: str, session: Session) -> Any:
        """Return the value of `text`; `$name` is the variable of that name.

        Raises:
            FastmagicError: the text is not of this kind.
        """
        return session.value(text[1:]) if is_reference(text) else self.convert(text, session)

    def convert(self, text: str, session: Session) -> Any:
        return text

    def accepts(self, text: str, session: Session) -> bool:
        """Tell whether a positional word can be meant for this kind: words find their place by what they are."""
        return True

    def complete(self, prefix: str, session: Session) -> Iterable[str]:
        return ()


class Number(Value):
    """A number, a variable that holds one, or one of a few words such as 'auto'."""

    def __init__(self, number: type = int, words: Sequence[str] = (), minimum: float | None = None):
        self.number, self.words, self.minimum = number, tuple(words), minimum
        self.metavar = "|".join([*words, "N" if number is int else "FLOAT"])
        self.example = str(max(3, int(minimum or 0))) if number is int else "1e-3"

    def parse(self, text: str, session: Session) -> Any:
        if text in self.words:
            return text
        value: Any = text
        if is_reference(text):
            value = session.value(text[1:])
        elif text.isidentifier() and text in session.namespace:
            value = session.value(text)
        try:
            number = self.number(value)
            if isinstance(value, float) and number != value:
                raise ValueError
        except (TypeError, ValueError):
            what = "a whole number" if self.number is int else "a number"
            words = f" or {' or '.join(self.words)}" if self.words else ""
            raise AnswerError(f"{text!r} is not {what}{words}.") from None
        if self.minimum is not None and number < self.minimum:
            raise AnswerError(f"{text} is too small: at least {self.minimum}.")
        return number

    def complete(self, prefix: str, session: Session) -> Iterable[str]:
        return [*self.words, *session.variables("int", "float")]


class Choice(Value):
    """One of a few words."""

    def __init__(self, *words: str):
        self.words = words
        self.metavar = "|".join(words)

    def convert(self, text: str, session: Session) -> str:
        if text not in self.words:
            hint = did_you_mean(text, self.words, 1) or f"Choose from {', '.join(self.words)}."
            raise AnswerError(f"{text!r} is not possible here.", hint)
        return text

    def complete(self, prefix: str, session: Session) -> Iterable[str]:
        return self.words


class Variable(Value):
    """A variable of one of some types, told by the names of their classes."""

    def __init__(self, *type_names: str):
        self.type_names = type_names
        self.metavar = "VARIABLE"

    def parse(self, text: str, session: Session) -> Any:
        name = text.removeprefix("$")
        if not all(part.isidentifier() for part in name.split(".")):
            raise AnswerError(f"{text!r} is not a variable name.", f"A {self.wanted} is needed here.")
        if name.split(".")[0] not in session.namespace:
            names = session.variables(*self.type_names)
            have = f"There is {few(names)}." if names else how_to_make(self.type_names[0])
            have = have or f"No {self.wanted} has been made yet."
            raise NotFoundError(f"There is no variable {name!r}.", did_you_mean(name, names) or have)
        value = session.value(name)
        if not is_a(value, self.type_names):
            names = session.variables(*self.type_names)
            raise AnswerError(
                f"{name!r} is a {type(value).__name__}, but a {self.wanted} is needed here.",
                f"There is {few(names)}." if names else how_to_make(self.type_names[0]),
            )
        return value

    @property
    def wanted(self) -> str:
        return " or ".join(self.type_names)

    def accepts(self, text: str, session: Session) -> bool:
        return session.holds(text.removeprefix("$"), self.type_names)

    def complete(self, prefix: str, session: Session) -> Iterable[str]:
        names = session.variables(*self.type_names)
        return [f"${name}" for name in names] if prefix.startswith("$") else names


class Place(Value):
    """A path, URL or glob, or a variable that holds one, a DataFrame, a list or pictures: taken as it is."""

    metavar = "PATH"
    type_names: tuple[str, ...] = (
        "str", "PurePath", "DataFrame", "Series", "Image", "ndarray", "Tensor", "list", "tuple", "dict", "L", "DataLoaders",
    )  # fmt: skip

    def convert(self, text: str, session: Session) -> Any:
        # A variable wins over a file of the same name; ./name is the file. Attributes look like suffixes: a file wins.
        if session.holds(text, self.type_names) and (text.isidentifier() or not os.path.exists(text)):
            return session.value(text)
        if text.isidentifier() and text in session.namespace and not os.path.exists(text):
            kind = type(session.namespace[text]).__name__
            raise AnswerError(
                f"{text!r} is of type {kind}, which cannot be used here.", "Give a path, or ./name for a file."
            )
        return text

    def complete(self, prefix: str, session: Session) -> Iterable[str]:
        names = session.variables(*self.type_names)
        if prefix.startswith("$"):
            return [f"${name}" for name in names]
        return [*names, *paths(prefix)]


class FileName(Value):
    """A file or folder by its name, there already or not."""

    metavar = "PATH"

    def complete(self, prefix: str, session: Session) -> Iterable[str]:
        return paths(prefix)


class NewName(Value):
    """A name for a new variable."""

    metavar = "NAME"

    def parse(self, text: str, session: Session) -> str:
        name = text.removeprefix("$")
        if not name.isidentifier() or keyword.iskeyword(name):
            raise AnswerError(f"{text!r} cannot be a variable name.", "Use letters, digits and _, as in my_dls.")
        return name


class Expression(Value):
    """A Python expression over fastai's names and the user's own, such as `F1Score(average='macro')`."""

    metavar = "EXPR"

    def __init__(self, names: Callable[[], Iterable[str]] = tuple):
        self.names = names

    def parse(self, text: str, session: Session) -> Any:
        text = text.removeprefix("$")
        try:
            ast.parse(text, mode="eval")
        except SyntaxError:
            raise AnswerError(f"{text!r} is not a Python expression.") from None
        return Evaluated(text, session)

    def complete(self, prefix: str, session: Session) -> Iterable[str]:
        before, comma, _ = prefix.rpartition(",")
        return [before + comma + name for name in [*session.variables("Callback", "function"), *self.names()]]


class Evaluated:
    """An expression from a magic line with its source, so that `--code` can print what was typed."""

    def __init__(self, source: str, session: Session):
        self.source, self.namespace = source, session.namespace

    def __repr__(self) -> str:
        return self.source


def how_to_make(type_name: str) -> str:
    """Return how to come by a variable of a type, "" where there are many ways."""
    return {
        "DataLoaders": "Make them first: %datablock dls --from FOLDER",
        "Learner": "Train one first: %train dls",
    }.get(type_name, "")


def is_reference(text: str) -> bool:
    return text.startswith("$") and all(part.isidentifier() for part in text[1:].split("."))


def paths(prefix: str) -> list[str]:
    """Return the files and folders that `prefix` can grow into."""
    import glob

    expanded = os.path.expanduser(prefix)
    found = sorted(glob.glob(glob.escape(expanded) + "*"))
    if expanded != prefix:
        home = os.path.expanduser("~")
        return ["~" + p[len(home) :] + ("/" if os.path.isdir(p) else "") for p in found]
    return [p + ("/" if os.path.isdir(p) else "") for p in found]
