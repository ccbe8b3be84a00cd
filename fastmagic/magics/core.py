"""What every magic shares: options, variables, defaults, help, `--into`, `--code` and short errors, built once.

A magic is declared, not written: a function that receives a parsed `Call` and returns what it made, under a decorator
that names its options. The pattern (parse, delegate, return) is that of `IPython/core/magics`; parsers are argparse's,
built on first use.
"""

from __future__ import annotations

import argparse
import ast
import keyword
import os
import re
import sys
import textwrap
import types
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn

from ..errors import FastmagicError, closest, did_you_mean, few
from . import wait_for_preload
from .settings import FastMagic

# ---------------------------------------------------------------- the session: what a shell has seen


class Session:
    """What fastmagic knows of one IPython shell: its variables, its settings, and what was made or used last."""

    _of_shell: ClassVar[weakref.WeakKeyDictionary[Any, Session]] = weakref.WeakKeyDictionary()

    def __init__(self, shell: Any):
        self._shell = weakref.ref(shell)
        self.recent: list[str] = []

    @classmethod
    def of(cls, shell: Any) -> Session:
        """Return the one session of a shell."""
        if shell not in cls._of_shell:
            cls._of_shell[shell] = cls(shell)
        return cls._of_shell[shell]

    @property
    def shell(self) -> Any:
        return self._shell()

    @property
    def namespace(self) -> dict[str, Any]:
        """The user's variables."""
        shell = self._shell()
        return shell.user_ns if shell is not None else {}

    @property
    def settings(self) -> FastMagic:
        return FastMagic.attach(self._shell())

    def variables(self, *type_names: str) -> list[str]:
        """Return the names of the user's variables of the given types (class names along the MRO), newest last."""
        hidden = getattr(self._shell(), "user_ns_hidden", {})
        return [
            name
            for name, value in self.namespace.items()
            if not name.startswith("_") and not (name in hidden and hidden[name] is value) and is_a(value, type_names)
        ]

    def newest(self, *type_names: str) -> tuple[str, Any] | None:
        """Return name and value of the newest variable of a type: one a magic made or used, else the last defined."""
        candidates = self.variables(*type_names)
        for name in [*reversed(self.recent), *reversed(candidates)]:
            if name in candidates:
                return name, self.namespace[name]
        return None

    def holds(self, expression: str, type_names: Sequence[str]) -> bool:
        """Tell whether `name` or `name.attribute` is a value of one of the types."""
        name, *attributes = expression.split(".")
        value = self.namespace.get(name)
        for attribute in attributes:
            value = getattr(value, attribute, None)
        return value is not None and is_a(value, type_names)

    def saw(self, name: str) -> None:
        """Remember that a variable was made or used just now."""
        if name in self.recent:
            self.recent.remove(name)
        self.recent.append(name)

    def bind(self, name: str, value: Any) -> None:
        """Give the user a variable."""
        shell = self._shell()
        if shell is not None:
            shell.push({name: value})
            self.saw(name)

    def value(self, expression: str) -> Any:
        """Return the value of `name` or `name.attribute`.

        Raises:
            FastmagicError: there is no such variable or attribute; names the closest.
        """
        name, *attributes = expression.split(".")
        if name not in self.namespace:
            raise FastmagicError(f"There is no variable {name!r}.", did_you_mean(name, self.variables()))
        value = self.namespace[name]
        for attribute in attributes:
            if not hasattr(value, attribute):
                hint = did_you_mean(attribute, (n for n in dir(value) if not n.startswith("_")))
                raise FastmagicError(f"{name!r} ({type(value).__name__}) has no attribute {attribute!r}.", hint)
            value = getattr(value, attribute)
        self.saw(name)
        return value


def is_a(value: Any, type_names: Sequence[str]) -> bool:
    """Tell whether a value is of a type by the name of its classes, so that nothing is imported to find out."""
    if not type_names:
        return not isinstance(value, types.ModuleType)
    return any(cls.__name__ in type_names for cls in type(value).__mro__)


# ---------------------------------------------------------------- kinds of values an option takes


class Kind:
    """What an option accepts: how its text becomes a value, and what Tab offers. This one takes any text."""

    metavar = "TEXT"

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


class Number(Kind):
    """A number, a variable that holds one, or one of a few words such as 'auto'."""

    def __init__(self, number: type = int, words: Sequence[str] = (), minimum: float | None = None):
        self.number, self.words, self.minimum = number, tuple(words), minimum
        self.metavar = "|".join([*words, "N" if number is int else "FLOAT"])

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
            raise FastmagicError(f"{text!r} is not {what}{words}.") from None
        if self.minimum is not None and number < self.minimum:
            raise FastmagicError(f"{text} is too small: at least {self.minimum}.")
        return number

    def complete(self, prefix: str, session: Session) -> Iterable[str]:
        return [*self.words, *session.variables("int", "float")]


class Choice(Kind):
    """One of a few words."""

    def __init__(self, *words: str):
        self.words = words
        self.metavar = "|".join(words)

    def convert(self, text: str, session: Session) -> str:
        if text not in self.words:
            hint = did_you_mean(text, self.words, 1) or f"Choose from {', '.join(self.words)}."
            raise FastmagicError(f"{text!r} is not possible here.", hint)
        return text

    def complete(self, prefix: str, session: Session) -> Iterable[str]:
        return self.words


class Variable(Kind):
    """A variable of one of some types, told by the names of their classes."""

    def __init__(self, *type_names: str):
        self.type_names = type_names
        self.metavar = "VARIABLE"

    def parse(self, text: str, session: Session) -> Any:
        name = text.removeprefix("$")
        if not all(part.isidentifier() for part in name.split(".")):
            raise FastmagicError(f"{text!r} is not a variable name.", f"A {self.wanted} is needed here.")
        if name.split(".")[0] not in session.namespace:
            names = session.variables(*self.type_names)
            have = f"There is {few(names)}." if names else f"No {self.wanted} has been made yet."
            raise FastmagicError(f"There is no variable {name!r}.", did_you_mean(name, names) or have)
        value = session.value(name)
        if not is_a(value, self.type_names):
            raise FastmagicError(f"{name!r} is a {type(value).__name__}, but a {self.wanted} is needed here.")
        return value

    @property
    def wanted(self) -> str:
        return " or ".join(self.type_names)

    def accepts(self, text: str, session: Session) -> bool:
        return session.holds(text.removeprefix("$"), self.type_names)

    def complete(self, prefix: str, session: Session) -> Iterable[str]:
        names = session.variables(*self.type_names)
        return [f"${name}" for name in names] if prefix.startswith("$") else names


class Place(Kind):
    """A path, URL or glob, or a variable that holds one, a DataFrame, a list or pictures: taken as it is."""

    metavar = "PATH"
    type_names: tuple[str, ...] = (
        "str", "PurePath", "DataFrame", "Series", "Image", "ndarray", "Tensor", "list", "tuple", "L", "DataLoaders",
    )  # fmt: skip

    def convert(self, text: str, session: Session) -> Any:
        # A variable wins over a file of the same name; ./name is the file. Attributes look like suffixes: a file wins.
        if session.holds(text, self.type_names) and (text.isidentifier() or not os.path.exists(text)):
            return session.value(text)
        if text.isidentifier() and text in session.namespace and not os.path.exists(text):
            kind = type(session.namespace[text]).__name__
            raise FastmagicError(
                f"{text!r} is of type {kind}, which cannot be used here.", "Give a path, or ./name for a file."
            )
        return text

    def complete(self, prefix: str, session: Session) -> Iterable[str]:
        names = session.variables(*self.type_names)
        if prefix.startswith("$"):
            return [f"${name}" for name in names]
        return [*names, *paths(prefix)]


class FileName(Kind):
    """A file or folder by its name, there already or not."""

    metavar = "PATH"

    def complete(self, prefix: str, session: Session) -> Iterable[str]:
        return paths(prefix)


class NewName(Kind):
    """A name for a new variable."""

    metavar = "NAME"

    def parse(self, text: str, session: Session) -> str:
        name = text.removeprefix("$")
        if not name.isidentifier() or keyword.iskeyword(name):
            raise FastmagicError(f"{text!r} cannot be a variable name.", "Use letters, digits and _, as in my_dls.")
        return name


class Expression(Kind):
    """A Python expression over fastai's names and the user's own, such as `F1Score(average='macro')`."""

    metavar = "EXPR"

    def __init__(self, names: Callable[[], Iterable[str]] = tuple):
        self.names = names

    def parse(self, text: str, session: Session) -> Any:
        text = text.removeprefix("$")
        try:
            ast.parse(text, mode="eval")
        except SyntaxError:
            raise FastmagicError(f"{text!r} is not a Python expression.") from None
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


# ---------------------------------------------------------------- options and the magics made of them


@dataclass(frozen=True)
class Option:
    """One word a magic understands: `--epochs N`, a flag (`kind=None`), or a positional when the name has no dashes.

    Args:
        name: `--name`, or the name of a positional.
        help: one line; for what it does and what happens without it.
        kind: what its value is; `None` for a flag.
        many: takes any number of values (positionals only).
    """

    name: str
    help: str
    kind: Kind | None = None
    many: bool = False

    @property
    def key(self) -> str:
        return self.name.lstrip("-").replace("-", "_")

    @property
    def positional(self) -> bool:
        return not self.name.startswith("-")


COMMON = (
    Option("--code", "print the plain fastai program this stands for, and run nothing"),
    Option("--help", "show this"),
)


@dataclass
class Call:
    """One use of a magic: the session, its options by name, the words they were given as, and the body of the cell."""

    session: Session
    options: dict[str, Any]
    words: dict[str, Any]
    body: str | None = None

    def input(self, name: str, *type_names: str) -> Any:
        """Return a positional, or the newest variable of a type where it was left out.

        Raises:
            FastmagicError: nothing was named and there is nothing of that type.
        """
        value = self.options.get(name)
        if value is not None:
            return value
        newest = self.session.newest(*type_names)
        if newest is None:
            raise FastmagicError(f"There is no {' or '.join(type_names)} yet.", _how_to_make(type_names[0]))
        self.words[name] = newest[0]
        self.session.saw(newest[0])
        if len(self.session.variables(*type_names)) > 1:
            print(f"Using {newest[0]}.")
        return newest[1]

    def show(self, *things: Any) -> None:
        """Show things below the cell."""
        from IPython.display import display

        display(*things)

    @property
    def has_front_end(self) -> bool:
        """Whether what is shown can be redrawn: in a kernel, not in a terminal."""
        return hasattr(self.session.shell, "kernel")

    def redraw(self) -> Callable[[Any], None]:
        """Return a function that shows a thing below the cell, in place of the one before."""
        from IPython.display import display

        handle: list[Any] = []

        def show(thing: Any) -> None:
            if handle:
                handle[0].update(thing)
            else:
                handle.append(display(thing, display_id=True))

        return show


def _how_to_make(type_name: str) -> str:
    return {
        "DataLoaders": "Make them first: %datablock dls --from FOLDER",
        "Learner": "Train one first: %train dls resnet18",
    }.get(type_name, "")


class Magic:
    """A magic: its name, options, help and the function that does the work.

    Calling it with a shell, a line and a cell body parses the line, runs the function and binds what it returns.
    """

    def __init__(
        self,
        function: Callable[[Call], Any],
        options: Sequence[Option],
        examples: str,
        gives: str | None,
        body: bool,
    ):
        self.function, self.gives, self.body = function, gives, body
        self.name = function.__name__
        self.examples = textwrap.dedent(examples).strip()
        into = (Option("--into", f"name of the variable made (default: {gives or 'none is made'})", NewName()),)
        self.options = (*options, *(into if gives is not None else ()), *COMMON)
        self.positionals = [option for option in options if option.positional]

    def __call__(self, shell: Any, line: str, cell: str | None = None) -> None:
        session = Session.of(shell)
        try:
            words = split(line)
            if "--help" in words or "-h" in words:
                print(self.help())
                return
            if cell is not None and not self.body and _has_statements(cell):
                raise FastmagicError(
                    f"%%{self.name} takes no body.",
                    f"Write %{self.name} with one %, and the code in its own cell.",
                )
            call = self.parse(session, words, cell)
            # Said before the wait, so that a typo is answered at once.
            wait_for_preload()
            value = self.function(call)
            name = call.options.get("into") or self.gives
            if name and value is not None:
                session.bind(name, value)
        except (Exception, KeyboardInterrupt) as error:
            shorten(error, shell)
            raise

    def parse(self, session: Session, words: list[str], cell: str | None = None) -> Call:
        """Return the call that the words of a line make.

        Raises:
            FastmagicError: an unknown option, a missing or wrong value, one word too many.
        """
        known, rest = self._parser().parse_known_args(words)
        free: list[str] = []
        for word in [*rest]:
            if word.startswith("--"):
                name = word.split("=")[0]
                raise FastmagicError(
                    f"%{self.name} has no option {name!r}.",
                    did_you_mean(name, [option.name for option in self.options if not option.positional])
                    or f"%{self.name} --help lists what it has.",
                )
            free.append(word)
        options: dict[str, Any] = {}
        texts: dict[str, Any] = {}
        for option in self.options:
            if option.positional:
                options[option.key] = [] if option.many else None
                continue
            text = getattr(known, option.key)
            options[option.key] = text
            if option.kind is not None and text is not None:
                texts[option.key] = text.removeprefix("$")
                try:
                    options[option.key] = option.kind.parse(text, session)
                except FastmagicError as error:
                    raise FastmagicError(f"{option.name}: {error.cause}", error.fix) from None
        for word in free:
            option, value = self._place(word, options, session)
            if option.many:
                options[option.key].append(value)
                texts.setdefault(option.key, []).append(word.removeprefix("$"))
            else:
                options[option.key] = value
                texts[option.key] = word.removeprefix("$")
        return Call(session, options, texts, cell if cell and cell.strip() else None)

    def _place(self, word: str, options: dict[str, Any], session: Session) -> tuple[Option, Any]:
        """Return the positional a word is meant for, told by what the word is, and its value."""
        open_ = [option for option in self.positionals if option.many or options[option.key] is None]
        for option in open_:
            assert option.kind is not None
            if option.kind.accepts(word, session):
                return option, option.kind.parse(word, session)
        name, equals, value = word.partition("=")
        if equals and any(option.name == f"--{name}" for option in self.options):
            raise FastmagicError(f"{word!r} is written --{name} {value} here.")
        if not open_:
            hint = did_you_mean(f"--{word}", [option.name for option in self.options], 1)
            raise FastmagicError(f"%{self.name}: {word!r} is one word too many.", hint or self.usage())
        if len(open_) == 1:
            assert open_[0].kind is not None
            return open_[0], open_[0].kind.parse(word, session)
        candidates = [name for option in open_ if option.kind for name in option.kind.complete(word, session)]
        first = open_[0].kind
        if isinstance(first, Variable) and not session.variables(*first.type_names):
            raise FastmagicError(f"There is no variable {word!r}.", _how_to_make(first.type_names[0]))
        # Names the user made are meant more often than one of a thousand architectures.
        mine = [name for name in closest(word, candidates, 8) if name in session.namespace]
        hint = did_you_mean(word, mine or candidates)
        wanted = " nor ".join(option.help.split(";")[0] for option in open_)
        raise FastmagicError(f"{word!r} is neither {wanted}.", hint or f"%{self.name} --help shows examples.")

    def _parser(self) -> argparse.ArgumentParser:
        parser = _Parser(prog=f"%{self.name}", add_help=False, allow_abbrev=False)
        parser.magic = self
        for option in self.options:
            if option.positional:
                continue
            if option.kind is None:
                parser.add_argument(option.name, action="store_true")
            else:
                parser.add_argument(option.name)
        return parser

    def usage(self) -> str:
        """Return the one-line usage."""
        words = [f"[{o.name}]" + (" …" if o.many else "") for o in self.positionals]
        return f"Usage: %{self.name} {' '.join([*words, '[options]'])}"

    def help(self) -> str:
        """Return the help page: summary, options, then examples last."""
        about = textwrap.dedent(self.function.__doc__ or "").strip()
        rows = [
            (o.name if o.kind is None or o.positional else f"{o.name} {o.kind.metavar}", o.help)
            for o in [*self.positionals, *(o for o in self.options if not o.positional)]
        ]
        width = max(len(left) for left, _ in rows) + 2
        lines = []
        for left, text in rows:
            folded = textwrap.wrap(text, max(40, 100 - width))
            lines += [f"  {left:<{width}}{folded[0]}"] + [" " * (width + 2) + more for more in folded[1:]]
        return "\n".join(
            [
                self.usage(),
                "",
                about,
                "",
                "Options:",
                *lines,
                "",
                "Examples:",
                textwrap.indent(self.examples, "  "),
            ]
        )


class _Parser(argparse.ArgumentParser):
    magic: Magic

    def error(self, message: str) -> NoReturn:
        text = message.replace("argument ", "").replace("expected one argument", "needs a value")
        raise FastmagicError(f"%{self.magic.name}: {text}.", f"%{self.magic.name} --help shows examples.")


def magic(
    *options: Option, examples: str, gives: str | None = None, body: bool = False
) -> Callable[[Callable[[Call], Any]], Magic]:
    """Declare a magic: the decorated function gets a `Call` and returns what `--into` names.

    Args:
        options: what the line may hold; `--help`, `--code` and (with `gives`) `--into` come by themselves.
        examples: lines shown last by `--help`.
        gives: name of the variable made without --into; empty for none, left out where nothing is made.
        body: the cell form takes a body.
    """

    def declare(function: Callable[[Call], Any]) -> Magic:
        return Magic(function, options, examples, gives, body)

    return declare


def split(line: str) -> list[str]:
    """Split a magic line into words: quotes group, backslashes are ordinary (Windows paths), ` # …` ends the line.

    Raises:
        FastmagicError: a quote is opened and not closed.

    >>> split("dls --from 'my birds' --bs 16  # small")
    ['dls', '--from', 'my birds', '--bs', '16']
    """
    words = []
    for match in _WORD.finditer(line):
        word = match.group()
        if word.startswith("#"):
            break
        option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
        if _QUOTED.fullmatch(value):
            value = value[1:-1]
        elif _QUOTED.sub("", value).count("'") + _QUOTED.sub("", value).count('"'):
            raise FastmagicError(
                "A quote is opened on this line and not closed.", 'Write names with spaces as "my birds".'
            )
        words.append(option + equals + value)
    return words


# Quotes group; inside an expression, as in F1Score(average='macro'), they stay what they are.
_QUOTED = re.compile(r"""'[^']*'|"[^"]*\"""")
_WORD = re.compile(r"""(?:'[^']*'|"[^"]*"|\S)+""")


def _has_statements(cell: str) -> bool:
    return any(line.strip() and not line.strip().startswith("#") for line in cell.splitlines())


# ---------------------------------------------------------------- short errors


def shorten(error: BaseException, shell: Any) -> None:
    """Make IPython show an error in at most five lines; it still fails the cell, and `%tb` shows all of it.

    IPython prints what `_render_traceback_` of an exception returns (`InteractiveShell.showtraceback`). It may ask more
    than once, so the full form is given when `%tb` is the one that asks, not on the second call.
    """

    def render() -> list[str]:
        if _asked_by_tb():
            return list(shell.InteractiveTB.structured_traceback(type(error), error, error.__traceback__))
        return [short_message(error)]

    error._render_traceback_ = render  # type: ignore[attr-defined]


def short_message(error: BaseException) -> str:
    """Return what a person is told: cause and next step, and where in their own code it happened, in five lines."""
    if isinstance(error, FastmagicError):
        what, fix = error.cause.splitlines(), error.fix.splitlines()
        more = ["%tb shows more."] if error.__cause__ else []
        # What is too long loses lines of its cause, never the next step.
        return "\n".join([*what[: max(1, 5 - len(fix) - len(more))], *fix, *more])
    if isinstance(error, KeyboardInterrupt):
        return "Interrupted."
    first = (str(error).strip() or "no message").splitlines()
    cause = f"{type(error).__name__}: {first[0][:300]}"
    lines = [cause, *(line[:300] for line in first[1:3] if line.strip())]
    return "\n".join([*lines, "%tb shows the full traceback."])


def _asked_by_tb() -> bool:
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "tb" and "IPython" in frame.f_code.co_filename:
            return True
        frame = frame.f_back
    return False
