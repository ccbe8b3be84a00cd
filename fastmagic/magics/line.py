"""A magic line, split into words."""

from __future__ import annotations

import re

from ..errors import AnswerError


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
            raise AnswerError(
                "A quote is opened on this line and not closed.", 'Write names with spaces as "my birds".'
            )
        words.append(option + equals + value)
    return words


# Quotes group; inside an expression, as in F1Score(average='macro'), they stay what they are.
_QUOTED = re.compile(r"""'[^']*'|"[^"]*\"""")
_WORD = re.compile(r"""(?:'[^']*'|"[^"]*"|\S)+""")


def has_statements(cell: str) -> bool:
    return any(line.strip() and not line.strip().startswith("#") for line in cell.splitlines())
