"""The cups in a notebook: how the class is doing, beside the cells that it is about."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..classroom.client import (
    Lesson,
    address_of,
    end_local_server,
    known_rooms,
    local_server,
    make_room,
    save_secret,
    saved_secret,
)
from ..classroom.room import CUPS
from ..errors import AnswerError, FastmagicError, RefusedError, unwritable
from ..render import escape, figure_png, html_table, new_figure
from .panel import Encoded, Panel, Still, png_tag, small_png

EVERY = 1.0  # seconds between two looks at the room
STILL_EVERY = 60.0  # seconds between two pictures for the saved notebook
LONGEST_MARK = 60
# From the bottom up; of three lightnesses, so that they are told apart without colour too.
COLOURS = {"red": "#b3261e", "yellow": "#f2cf63", "green": "#5fb88a"}
WORDS = {"green": "fine", "yellow": "not sure", "red": "lost"}

_last: Cups | None = None


def cups(
    room: str | None = None,
    *,
    server: str | None = None,
    key: str | None = None,
    secret: str | None = None,
    lan: bool = False,
) -> Cups:
    """Start or join a room of coloured cups, and return its panel: counts, history, questions, QR code and link.

    Without `server` one is started on this machine, where none is running, and stays for the next notebook; it ends an
    hour after the last who looked. A room that was made from here before is joined again, also after a restart. While a
    cell runs, its first line becomes a mark in the history, so that afterwards one sees what lost people.

    Args:
        room: its name, small letters, digits and hyphens; by default this notebook's last one, else one is made up.
        server: the address of a server, as `fastmagic cups serve` runs it.
        key: what that server wants of those who make rooms.
        secret: the teacher's, of a room that was made elsewhere.
        lan: let the phones in this machine's network reach the server that is started here.

    Returns:
        The panel. `.lesson` has the links, `.history` is a DataFrame, `.export(file)` writes a CSV or JSON file.

    Raises:
        FastmagicError: the server cannot be reached or refuses, or nobody could reach one here.

    Example:
        >>> lesson = cups("my-class", lan=True)                                        # doctest: +SKIP
    """
    global _last
    before = _last if _last is not None and not _last.closed else None
    if secret and not room:
        raise AnswerError("A secret opens one room, and none is named.", "Name it: `cups('my-class', secret=…)`")
    if room is None and server is None and before is not None:
        if not lan:
            return before
        room = before.lesson.room if _is_local(before.lesson.link) else None
    if server is None:
        _must_be_reachable()
    else:
        server = address_of(server)
    address = server or local_server(lan)
    known = secret or (saved_secret(server, room) if room else None)
    if room and known:
        lesson = Lesson(address, room, known)
        try:
            lesson.look()
        except RefusedError:
            if secret:
                raise
            lesson = make_room(address, room, key)  # it has ended, and its name is free again
    else:
        lesson = make_room(address, room, key)
    save_secret(lesson, server)
    if before is not None and before.lesson.secret == lesson.secret:
        if before.lesson == lesson and before.board["reach"] == lesson.look()["reach"]:
            return before
        before.close()  # it shows an address by which nobody comes any more
    _last = Cups(lesson)
    return _last


def rooms() -> Any:
    """Return the rooms that were made from here and are still there, the last used first, as a DataFrame.

    Its columns: room, students (how many took a cup), began and last (UTC; missing where nobody came), state, server.

    Raises:
        FastmagicError: the server on this machine does not start.
    """
    import pandas as pd

    rows = []
    for server, room, secret in known_rooms():
        address = server or local_server()
        try:
            board = Lesson(address, room, secret).look()
        except RefusedError:
            continue  # it has expired
        except FastmagicError:
            rows.append({"room": room, "state": "its server does not answer", "server": address})
            continue
        state = "closed" if board["closed"] else "paused" if board["paused"] else "open"
        times = [point[0] for point in board["history"]] or [None]
        rows.append({
            "room": room, "students": board["seats"], "began": times[0], "last": times[-1], "state": state, "server": address,
        })  # fmt: skip
    frame = pd.DataFrame(rows, columns=["room", "students", "began", "last", "state", "server"])
    frame = frame.assign(students=frame.students.astype("Int64"))
    for name in ("began", "last"):
        frame[name] = pd.to_datetime(frame[name].astype(float).round(), unit="s", utc=True)
    return frame.sort_values("last", ascending=False, ignore_index=True)


def end() -> str:
    """Close this notebook's panel and end the server that was started on this machine; returns what was done."""
    global _last
    if _last is not None:
        _last.close()
        _last = None
    ended = end_local_server()
    return "The server has ended. Its rooms stay." if ended else "No server was running on this machine."


def _must_be_reachable() -> None:
    """Raise where no phone could reach a server beside this kernel."""
    place = "Colab" if "google.colab" in sys.modules else "Kaggle" if "KAGGLE_KERNEL_RUN_TYPE" in os.environ else ""
    if place:
        raise RefusedError(
            f"This kernel runs on {place}'s machines: no phone could reach a server here.",
            "Run `fastmagic cups serve` where phones reach it, and join that: `server='https://cups.example.org'`",
        )


class Cups(Panel):
    """A room as its teacher sees it; made by `cups`.

    Attributes:
        lesson: the room's server, name, secret and links.
        closed: whether the panel has stopped looking.
    """

    module = "cups"

    def __init__(self, lesson: Lesson):
        self.lesson, self.closed, self.trouble = lesson, False, ""
        self.board = lesson.look()
        self._mark: str | None = None
        self._stop = threading.Event()
        self._drawn = time.monotonic()
        super().__init__()
        self._unmark = _marks(self.mark)
        self._thread = threading.Thread(target=self._look, name="fastmagic-cups", daemon=True)
        self._thread.start()

    # ------------------------------------------------------------ from Python

    @property
    def link(self) -> str:
        """The address for students, as phones reach it."""
        reach = self.board.get("reach")
        return f"{reach}{self.lesson.room}/" if reach else self.lesson.link

    @property
    def history(self) -> Any:
        """How many active cups of each colour there were, as a DataFrame: time (UTC), green, yellow, red; a row a change."""
        import pandas as pd

        from ..classroom.room import Event, Room

        events = [Event(kind, seat, value, at, i) for i, (kind, seat, value, at) in enumerate(self.lesson.events(), 1)]
        room = Room(self.lesson.room, events)
        room.counts(self.board["now"])  # what has faded since
        frame = pd.DataFrame(room.history, columns=["time", *CUPS])
        return frame.assign(time=pd.to_datetime(frame.time, unit="s", utc=True))

    def mark(self, text: str) -> None:
        """Put a mark into the history, from now on: the name of an exercise, say. It is written within a second."""
        self._mark = " ".join(text.split())[:LONGEST_MARK]

    def ask(self, question: str, *answers: str) -> None:
        """Ask the class a question with two to six answers."""
        self.lesson.act("ask", {"question": question, "answers": list(answers)})

    def export(self, file: str | Path) -> Path:
        """Write the history as CSV, or all there is to know (history, marks, lines, questions) as JSON, by the file's suffix.

        Raises:
            FastmagicError: another suffix, or the file cannot be written.
        """
        file = Path(file).expanduser()
        if file.suffix.lower() not in (".csv", ".json"):
            raise AnswerError(f"'{file.name}' is neither CSV nor JSON.", "Give a file such as lesson.csv")
        board = self.lesson.look()
        try:
            if file.suffix.lower() == ".csv":
                self.history.to_csv(file, index=False)
            else:
                kept = {name: board[name] for name in ("room", "history", "marks", "notes", "polls")}
                file.write_text(json.dumps(kept, ensure_ascii=False, indent=1), encoding="utf-8")
        except OSError as error:
            raise unwritable(file, error, "Give another file.") from error
        return file

    def close(self) -> None:
        """Stop looking, and close the panel; the room goes on."""
        self.closed = True
        self._stop.set()
        self._unmark()
        super().close()

    # ------------------------------------------------------------ the room

    def _look(self) -> None:
        """Look at the room every second, and tell the browser what has changed."""
        while not self._stop.wait(EVERY):
            try:
                if self._mark:
                    text, self._mark = self._mark, None
                    self.lesson.act("mark", text)
                board, trouble = self.lesson.look(), ""
            except FastmagicError as error:
                board, trouble = self.board, str(error)
            if _lasting(board) == _lasting(self.board) and trouble == self.trouble:
                continue
            self.board, self.trouble = board, trouble
            self.tell("board", board=board, trouble=trouble)
            if time.monotonic() - self._drawn > STILL_EVERY:
                self._drawn = time.monotonic()
                self.keep_still()

    # ------------------------------------------------------------ what the browser gets

    def state(self) -> dict[str, Any]:
        link = self.link
        alone = "" if self.board.get("reach") or not _is_local(link) else "Only this machine reaches this address."
        return {
            "room": self.lesson.room,
            "link": link,
            "page": self.lesson.board,
            "code": Encoded(_code(link), "image/svg+xml"),
            "alone": alone and f"{alone} For phones: {'%cups --lan' if _in_shell() else 'cups(lan=True)'}",
            "board": self.board,
            "trouble": self.trouble,
        }

    def on_act(self, do: str, value: Any = None) -> dict[str, Any]:
        """Do what the teacher asks for, and return what the board shows then."""
        self.lesson.act(do, value)
        self.board = self.lesson.look()
        return {"board": self.board}

    def on_title(self, text: str) -> None:
        """Mark the slide that is shown now."""
        self.mark(text)

    def on_at(self, at: float) -> dict[str, Any]:
        """Return what the board showed at an earlier time."""
        return {"board": self.lesson.look(float(at))}

    # ------------------------------------------------------------ the still

    def still(self) -> Still:
        board = self.board
        counts, history = board["counts"], board["history"]
        active = sum(counts.values())
        said = ", ".join(f"{counts[cup]} {WORDS[cup]}" for cup in CUPS)
        text = f"Cups in room {self.lesson.room}: {said}, of {active} active cups. Students: {self.link}"
        rows = [[counts[cup], WORDS[cup], f"{100 * counts[cup] / active:.0f} %" if active else ""] for cup in CUPS]
        notes = "".join(f"<li>{escape(note['text'])}</li>" for note in board["notes"][:8])
        png = small_png(_drawn(history, board["marks"], board["now"])) if history else None
        picture = png_tag(png, f"History of the cups: {said}", 640) if png else ""
        below = f"<p>What lost them:</p><ul>{notes}</ul>" if notes else ""
        title = f"<p><b>Room {escape(self.lesson.room)}</b> {escape(self.link)}</p>"
        return Still(title + html_table(["cups", "", "share"], rows) + picture + below, text, png)


def _lasting(board: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in board.items() if name != "now"}


def _is_local(link: str) -> bool:
    return link.split("/")[2].partition(":")[0] in ("127.0.0.1", "localhost")


def _in_shell() -> bool:
    from IPython.core.getipython import get_ipython

    return get_ipython() is not None


def _code(link: str) -> bytes:
    """Return the QR code of an address as SVG."""
    import segno

    out = io.BytesIO()
    segno.make(link, error="m").save(out, kind="svg", scale=8, border=2)
    return out.getvalue()


def _drawn(history: list[list[float]], marks: list[list[Any]], now: float) -> bytes:
    """Return the history as a PNG: stacked, the lost at the bottom, with the marks of what was being run."""
    figure, (axis,) = new_figure(1, 1)
    figure.set_size_inches(8, 2.8)
    axis.axis("on")
    began = history[0][0]
    points = [*history, [now, *history[-1][1:]]]
    minutes = [(point[0] - began) / 60 for point in points]
    layers = [[point[1 + CUPS.index(cup)] for point in points] for cup in COLOURS]
    axis.stackplot(minutes, *layers, colors=list(COLOURS.values()), labels=[WORDS[cup] for cup in COLOURS], step="post")
    width, high = max(minutes[-1], 1.0), max(1, *(sum(point[1:]) for point in points))
    lines, free = (1.26, 1.15), [0.0, 0.0]  # two lines of labels above the layers, and how far each is written
    for when, label in marks:
        at = (when - began) / 60
        if at < 0:
            continue
        axis.axvline(at, color="#333", linewidth=0.7, linestyle=":")
        line = next((k for k in (0, 1) if free[k] <= at), None)
        if line is not None:
            text = label if len(label) <= 28 else f"{label[:27]}…"
            long = width * 0.0115 * (len(text) + 2)
            side = "right" if at + long > width else "left"
            axis.text(at, high * lines[line], f" {text} ", fontsize=7.5, va="center", ha=side, color="#222")
            free[line] = at + long
    axis.set_xlim(0, width)
    axis.set_ylim(0, high * 1.34)
    axis.set_xlabel("minutes", fontsize=8)
    axis.tick_params(labelsize=8)
    axis.legend(loc="center left", bbox_to_anchor=(1, 0.4), fontsize=8, frameon=False, reverse=True)
    return figure_png(figure)


def _marks(mark: Callable[[str], None]) -> Callable[[], None]:
    """Mark each cell that begins to run by its first line; returns what ends that."""
    from IPython.core.getipython import get_ipython

    shell = get_ipython()
    if shell is None:
        return lambda: None

    def begins(info: Any) -> None:
        lines = [line.strip() for line in str(getattr(info, "raw_cell", "")).splitlines()]
        first = next((line for line in lines if line and not line.startswith("%cups")), "")
        title = next((line.strip("# ") for line in lines if line.startswith("#")), "")
        if first:
            mark(title if first.startswith("#") and title else first)

    shell.events.register("pre_run_cell", begins)

    def end() -> None:
        with contextlib.suppress(ValueError):
            shell.events.unregister("pre_run_cell", begins)

    return end
