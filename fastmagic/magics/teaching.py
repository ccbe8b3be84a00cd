"""The magic for a class: `%cups`."""

from __future__ import annotations

from typing import Any

from .magic import Call, Option, magic
from .values import FileName, Value


class _Word(Value):
    def __init__(self, metavar: str):
        self.metavar = metavar


@magic(
    Option("room", "its name: small letters, digits, hyphens; default: this notebook's last, else one is made up",
           _Word("ROOM")),
    Option("--lan", "let the phones in this machine's network reach the server that is started here"),
    Option("--server", "join a room on this server, as `fastmagic cups serve` runs it", _Word("URL")),
    Option("--key", "what that server wants of those who make rooms", _Word("WORD")),
    Option("--secret", "the teacher's secret of a room that was made elsewhere", _Word("SECRET")),
    Option("--end", "close the panel, and end the server that was started on this machine; its rooms stay"),
    Option("--rooms", "list the rooms that were made from here: students, when, whether open"),
    Option("--export", "write the history to FILE.csv, or all there is to know to FILE.json", FileName()),
    examples="""
        %cups my-class --lan                        # a room, for the phones in this network
        %cups                                       # the same again, in another cell or on another slide
        %cups my-class --server https://cups.example.org
        %cups --export lesson.csv
        %cups --rooms                               # of earlier lessons too; open one and "Look back"
    """,
    gives="cups",
)  # fmt: skip
def cups(call: Call) -> Any:
    """
    Ask how the class is doing: students tap a green, yellow or red cup on their phones, the panel shows how many of each.

    Starts or joins a room. The panel has the link and its QR code, the history with a mark for each cell that ran, what
    lost people, and quick questions; it shouts when too many are red. NAME holds it: `.history` is a DataFrame.
    """
    from ..panels import cups as panel

    options = call.options
    given = {name: options[name] for name in ("server", "key", "secret", "lan") if options[name]}
    if options["code"]:
        words = [repr(options["room"])] if options["room"] else []
        words += [f"{name}={value!r}" for name, value in given.items() if name not in ("key", "secret")]
        print(f"import fastmagic\n\ncups = fastmagic.cups({', '.join(words)})\ncups")
        return None
    if options["end"]:
        print(panel.end())
        return None
    if options["rooms"]:
        rooms = panel.rooms()
        if len(rooms):
            call.show(rooms)
        else:
            print("No room has been made from here yet. Make one: %cups my-class")
        return None
    found = panel.cups(options["room"], **given)
    if options["export"]:
        print(f"Written: {found.export(options['export'])}")
    else:
        call.show(found)
    return found
