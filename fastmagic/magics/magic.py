"""What every magic shares, built once: options, defaults, help, `--into` and `--code`.

A magic is declared, not written: a function that receives a parsed `Call` and returns what it made, under a decorator
that names its options. The pattern (parse, delegate, return) is that of `IPython/core/magics`; parsers are argparse's,
built on first use.
"""

from __future__ import annotations

import argparse
import os
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from ..errors import AnswerError, FastmagicError, NotFoundError, closest, did_you_mean
from . import wait_for_preload
from .line import has_statements, split
from .session import Session
from .short import shorten
from .values import FileName, NewName, Place, Value, Variable, how_to_make
from .words import in_words_of


@dataclass(frozen=True)
class Option:
    """One word a magic understands: `--epochs N`, a flag (`takes=None`), or a positional when the name has no dashes.

    Args:
        name: `--name`, or the name of a positional.
        help: one line; for what it does and what happens without it.
        takes: what its value is; `None` for a flag.
        many: takes any number of values (positionals only).
    """

    name: str
    help: str
    takes: Value | None = None
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
    magic: Magic | None = None

    def said(self, text: str) -> str:
        """Return what the floors below say in Python in the words of the magic."""
        return self.magic.in_words(text, self.body is not None) if self.magic is not None else text

    def say(self, text: str) -> None:
        print(self.said(text))

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
            raise AnswerError(f"There is no {' or '.join(type_names)} yet.", how_to_make(type_names[0]))
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
        elsewhere: Mapping[str, str],
    ):
        self.function, self.gives, self.body, self.elsewhere = function, gives, body, elsewhere
        self.name = function.__name__
        self.examples = textwrap.dedent(examples).strip()
        into = (Option("--into", f"name of the variable made (default: {gives or 'none is made'})", NewName()),)
        self.options = (*options, *(into if gives is not None else ()), *COMMON)
        self.positionals = [option for option in options if option.positional]

    def __call__(self, shell: Any, line: str, cell: str | None = None) -> None:
        session = Session.of(shell)
        call: Call | None = None
        try:
            words = split(line)
            if "--help" in words or "-h" in words:
                print(self.help())
                return
            if cell is not None and not self.body and has_statements(cell):
                raise AnswerError(
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
            name = (call.options.get("into") or self.gives) if call is not None else None
            old = f"{name} is still what it was before." if name and name in session.namespace else ""
            shorten(error, shell, lambda text: self.in_words(text, cell is not None), old)
            raise

    def in_words(self, text: str, cell: bool = False) -> str:
        """Return what the floors below say in Python in the words of this magic; see `words`."""
        return in_words_of(self.name, [option.name for option in self.options], text, cell)

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
                raise AnswerError(
                    f"%{self.name} has no option {name!r}.",
                    self.elsewhere.get(name, "")
                    or did_you_mean(name, [option.name for option in self.options if not option.positional])
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
            if option.takes is not None and text is not None:
                texts[option.key] = text.removeprefix("$")
                try:
                    options[option.key] = option.takes.parse(text, session)
                except FastmagicError as error:
                    fix = error.fix or (
                        f"For instance {option.name} {example}" if (example := option.takes.example) else ""
                    )
                    raise type(error)(f"{option.name}: {error.cause}", fix) from None
        for word in free:
            option, value = self._place(word, options, session, words)
            if option.many:
                options[option.key].append(value)
                texts.setdefault(option.key, []).append(word.removeprefix("$"))
            else:
                options[option.key] = value
                texts[option.key] = word.removeprefix("$")
        return Call(session, options, texts, cell if cell and cell.strip() else None, self)

    def _place(self, word: str, options: dict[str, Any], session: Session, words: Sequence[str]) -> tuple[Option, Any]:
        """Return the positional a word is meant for, told by what the word is, and its value."""
        open_ = [option for option in self.positionals if option.many or options[option.key] is None]
        for option in open_:
            assert option.takes is not None
            if option.takes.accepts(word, session):
                return option, option.takes.parse(word, session)
        name, equals, value = word.partition("=")
        if equals and any(option.name == f"--{name}" for option in self.options):
            raise AnswerError(f"{word!r} is written --{name} {value} here.")
        if not open_:
            hint = self._too_many(word, words)
            hint = hint or did_you_mean(f"--{word}", [option.name for option in self.options], 1)
            raise AnswerError(f"%{self.name}: {word!r} is one word too many.", hint or self.usage())
        if len(open_) == 1:
            assert open_[0].takes is not None
            return open_[0], open_[0].takes.parse(word, session)
        candidates = [name for option in open_ if option.takes for name in option.takes.complete(word, session)]
        first = open_[0].takes
        if isinstance(first, Variable) and not session.variables(*first.type_names):
            raise NotFoundError(f"There is no variable {word!r}.", how_to_make(first.type_names[0]))
        # Names the user made are meant more often than one of a thousand architectures.
        mine = [name for name in closest(word, candidates, 8) if name in session.namespace]
        hint = did_you_mean(word, mine or candidates)
        wanted = " nor ".join(option.help.split(";")[0] for option in open_)
        raise AnswerError(f"{word!r} is neither {wanted}.", hint or f"%{self.name} --help shows examples.")

    def _too_many(self, word: str, words: Sequence[str]) -> str:
        """Return what was most likely meant with a word for which there is no place, "" where nobody knows."""
        options = {option.name: option for option in self.options}
        position = words.index(word)
        before = words[position - 1] if position else ""
        opened = options.get(words[position - 2]) if position > 1 else None
        if opened is not None and isinstance(opened.takes, NewName):
            return f"Names have no blanks: {opened.name} {before}_{word}"
        if opened is not None and isinstance(opened.takes, (Place, FileName)):
            return f'A name with blanks stands in quotes: {opened.name} "{before} {word}"'
        if word.isdigit() and "--epochs" in options:
            return f"Did you mean --epochs {word}?"
        if "--from" in options and "--from" not in words and (os.path.exists(word) or not word.isidentifier()):
            return f"Did you mean --from {word}?"
        if self.positionals and isinstance(self.positionals[0].takes, NewName) and position == 1:
            source = f", or a source: --from {word}" if "--from" in options and "--from" not in words else ""
            return f"Names have no blanks: {before}_{word}{source}"
        return ""

    def _parser(self) -> argparse.ArgumentParser:
        parser = _Parser(prog=f"%{self.name}", add_help=False, allow_abbrev=False)
        parser.magic = self
        for option in self.options:
            if option.positional:
                continue
            if option.takes is None:
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
            (o.name if o.takes is None or o.positional else f"{o.name} {o.takes.metavar}", o.help)
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
        raise AnswerError(f"%{self.magic.name}: {text}.", f"%{self.magic.name} --help shows examples.")


def magic(
    *options: Option,
    examples: str,
    gives: str | None = None,
    body: bool = False,
    elsewhere: Mapping[str, str] | None = None,
) -> Callable[[Callable[[Call], Any]], Magic]:
    """Declare a magic: the decorated function gets a `Call` and returns what `--into` names.

    Args:
        options: what the line may hold; `--help`, `--code` and (with `gives`) `--into` come by themselves.
        examples: lines shown last by `--help`.
        gives: name of the variable made without --into; empty for none, left out where nothing is made.
        body: the cell form takes a body.
        elsewhere: options that people expect and that there are not, and what to write in their place.
    """

    def declare(function: Callable[[Call], Any]) -> Magic:
        return Magic(function, options, examples, gives, body, elsewhere or {})

    return declare
