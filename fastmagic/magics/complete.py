"""Tab completion of a magic line, from the same declaration of options that parses it."""

from __future__ import annotations

from typing import Any

from .magic import Magic
from .session import Session


def completions(shell: Any, magic: Magic, event: Any) -> list[str]:
    """Return what the word under the cursor can become: options, values of the option before it, or positionals.

    `event` is IPython's: `line`, `symbol` (the word) and `text_until_cursor`. Never raises and prints nothing:
    a completer that fails must not disturb the person typing.
    """
    session = Session.of(shell)
    line = getattr(event, "text_until_cursor", event.line)
    symbol = event.symbol
    words = line.split()[1:]
    # The word being typed is the whole text since the last blank; IPython's symbol may be only its end.
    typed = "" if line[-1:].isspace() else (words.pop() if words else "")
    options = {option.name: option for option in magic.options if not option.positional}
    try:
        if words and words[-1] in options and options[words[-1]].takes is not None:
            takes = options[words[-1]].takes
            found = list(takes.complete(typed, session)) if takes else []
        elif typed.startswith("-"):
            found = [name for name in options if name not in words]
        else:
            found = []
            for option in magic.positionals:
                if option.takes is not None:
                    found += [name for name in option.takes.complete(typed, session) if name not in words]
            if not typed:
                found += [name for name in options if name not in words]
    except Exception:
        return []
    # IPython replaces only `symbol`, the end of the word after its own delimiters ('$', '=', ','…).
    cut = len(typed) - len(symbol)
    return [name[cut:] for name in dict.fromkeys(found) if name.startswith(typed)]
