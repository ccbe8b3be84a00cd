"""A room: what its events add up to. Everything that happens is an event; whoever folds the same events has the same room.

The store keeps events in order and a server folds them, so that a board, a reload, another worker and a replay of last
week's lesson agree. Nothing here reads a clock, a file or a socket.
"""

from __future__ import annotations

import json
from collections import Counter, OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

CUPS = ("green", "yellow", "red")
MOST_SEATS, MOST_NOTE, MOST_QUESTION, MOST_ANSWERS, MOST_LABEL = 6000, 140, 200, 6, 80
FADES_AFTER = 15 * 60.0  # seconds after which a cup that nobody touched counts no more
EVERY = 1.0  # seconds between two points of the history


class Event(NamedTuple):
    """One thing that happened in a room.

    Attributes:
        kind: of a student "cup", "note" or "vote"; of the teacher "reset", "pause", "go", "close", "mark", "ask", "reveal",
            "answered" (a note), "settings", "lock", "unlock" or "drop" (those who came after a time).
        seat: the student, as a hash of a random token; empty for the teacher.
        value: what is said: a cup, a text, a poll; JSON.
        time: seconds since 1970, by the clock of the server that took it.
        seq: its place in the room, from 1; 0 until the store has given it one.
    """

    kind: str
    seat: str = ""
    value: Any = None
    time: float = 0.0
    seq: int = 0

    def line(self) -> str:
        """Return the event as JSON, without its place."""
        return json.dumps([self.kind, self.seat, self.value, round(self.time, 3)], separators=(",", ":"))

    @classmethod
    def parse(cls, text: str, seq: int = 0) -> Event:
        """Return the event of a line."""
        kind, seat, value, time = json.loads(text)
        return cls(kind, seat, value, time, seq)


@dataclass
class Settings:
    """When a room shouts, and when a cup fades.

    Attributes:
        red: share of the active cups that may be red, 0 to 1.
        seconds: for how long more than that must be red.
        fade: seconds after which an untouched cup counts no more; 0 for never.
    """

    red: float = 0.3
    seconds: float = 20.0
    fade: float = FADES_AFTER

    def changed(self, values: dict[str, Any]) -> Settings:
        """Return settings with some values changed; what makes no sense is left as it was."""
        limits = {"red": (0.01, 1.0), "seconds": (0.0, 3600.0), "fade": (0.0, 86400.0)}
        known = dict(vars(self))
        for name, (least, most) in limits.items():
            value = values.get(name)
            if isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value <= most:
                known[name] = float(value)
        return Settings(**known)


@dataclass
class Seat:
    """A student: the cup, since when, since when in the room, and what lost them."""

    cup: str
    time: float
    joined: float
    note: str = ""
    note_seq: int = 0


@dataclass
class Poll:
    """A question with up to six answers.

    Attributes:
        id: the `seq` of the event that asked it.
        votes: seat → number of the answer. One row a seat: who votes again has changed their mind.
        open: whether votes count.
        revealed: whether students see the bars. Running results sway voters.
    """

    id: int
    question: str
    answers: list[str]
    votes: dict[str, int] = field(default_factory=dict)
    open: bool = True
    revealed: bool = False

    def counts(self) -> list[int]:
        found = Counter(self.votes.values())
        return [found[i] for i in range(len(self.answers))]


class Room:
    """The fold of a room's events.

    Args:
        name: of the room.
        events: to begin with.

    Example:
        >>> room = Room("blue-owl", [Event("cup", "a", "red", 1.0, 1), Event("cup", "b", "green", 2.0, 2)])
        >>> room.counts(3.0)
        {'green': 1, 'yellow': 0, 'red': 1}
    """

    def __init__(self, name: str, events: Iterable[Event] = ()):
        self.name = name
        self.seq = 0
        self.seats: dict[str, Seat] = {}
        self.settings = Settings()
        self.paused = self.closed = self.locked = False
        self.marks: list[tuple[float, str]] = []
        self.history: list[tuple[float, int, int, int]] = []
        self.poll: Poll | None = None
        self.polls: list[Poll] = []
        self.began = 0.0
        self._active: OrderedDict[str, None] = (
            OrderedDict()
        )  # seats whose cups count, the one untouched for longest first
        self._now: Counter[str] = Counter()
        for event in events:
            self.fold(event)

    def fold(self, event: Event) -> None:
        """Add an event. What was folded already changes nothing, so that a replay may overlap with what came live."""
        if event.seq <= self.seq and event.seq:
            return
        self.seq = event.seq or self.seq
        self.began = self.began or event.time
        fold = getattr(self, f"_{event.kind}", None)
        if fold is not None:
            self._fade(event.time)
            fold(event)

    def counts(self, now: float) -> dict[str, int]:
        """Return the active cups of each colour at a time, not before the last event: those touched within `settings.fade` seconds."""
        self._fade(now)
        return {cup: self._now[cup] for cup in CUPS}

    def _fade(self, now: float) -> None:
        """Let the cups fade that nobody has touched, each at its time."""
        fade = self.settings.fade
        while fade and self._active:
            seat = self.seats[next(iter(self._active))]
            if seat.time + fade >= now:
                break
            self._active.popitem(last=False)
            self._now[seat.cup] -= 1
            self._point(seat.time + fade)

    def _touch(self, name: str, time: float) -> None:
        """Count a seat's cup, which was touched at a time."""
        seat = self.seats[name]
        if name not in self._active:
            self._now[seat.cup] += 1
        self._active[name] = None
        self._active.move_to_end(name)
        seat.time = max(seat.time, time)

    def notes(self) -> list[tuple[int, str, str, float]]:
        """Return (number, cup, what lost them, when) of the notes, the oldest first."""
        return sorted((seat.note_seq, seat.cup, seat.note, seat.time) for seat in self.seats.values() if seat.note)

    # ------------------------------------------------------------ events

    def _cup(self, event: Event) -> None:
        if self.paused or self.closed:
            return
        cup = event.value
        seat = self.seats.get(event.seat)
        if seat is None:
            self.seats[event.seat] = Seat(cup, event.time, event.time)
        else:
            self._leave(event.seat)
            seat.cup = cup
            if cup != "red":
                seat.note, seat.note_seq = "", 0
        self._touch(event.seat, event.time)
        self._point(event.time)

    def _leave(self, name: str) -> None:
        """Count a seat's cup no more."""
        if name in self._active:
            del self._active[name]
            self._now[self.seats[name].cup] -= 1

    def _note(self, event: Event) -> None:
        seat = self.seats.get(event.seat)
        if seat is not None and seat.cup == "red" and not self.closed:
            seat.note, seat.note_seq = event.value, event.seq
            self._touch(event.seat, event.time)
            self._point(event.time)

    def _answered(self, event: Event) -> None:
        for seat in self.seats.values():
            if seat.note_seq == event.value:
                seat.note, seat.note_seq = "", 0

    def _reset(self, event: Event) -> None:
        self._active.clear()
        self._now.clear()
        for name, seat in self.seats.items():
            seat.cup, seat.note, seat.note_seq = "green", "", 0
            self._touch(name, event.time)
        self._point(event.time, at_once=True)

    def _pause(self, event: Event) -> None:
        self.paused = True

    def _go(self, event: Event) -> None:
        self.paused = False

    def _close(self, event: Event) -> None:
        self.closed = True

    def _lock(self, event: Event) -> None:
        self.locked = True

    def _unlock(self, event: Event) -> None:
        self.locked = False

    def _drop(self, event: Event) -> None:
        for name, seat in list(self.seats.items()):
            if seat.joined >= event.value:
                self._leave(name)
                del self.seats[name]
        self._point(event.time, at_once=True)

    def _settings(self, event: Event) -> None:
        before, self.settings = self.settings.fade, self.settings.changed(event.value)
        if self.settings.fade != before:
            self._active.clear()
            self._now.clear()
            since = event.time - self.settings.fade if self.settings.fade else float("-inf")
            for name, seat in sorted(self.seats.items(), key=lambda item: item[1].time):
                if seat.time >= since:
                    self._touch(name, seat.time)
            if self.seats:
                self._point(event.time, at_once=True)

    def _mark(self, event: Event) -> None:
        if not self.marks or self.marks[-1][1] != event.value:
            self.marks.append((event.time, event.value))

    def _ask(self, event: Event) -> None:
        if self.poll is not None:
            self.poll.open = False
        self.poll = Poll(event.seq, event.value["question"], list(event.value["answers"]))
        self.polls.append(self.poll)

    def _vote(self, event: Event) -> None:
        id, answer = event.value
        poll = self.poll
        if poll is not None and poll.id == id and poll.open and not self.closed and 0 <= answer < len(poll.answers):
            poll.votes[event.seat] = answer

    def _reveal(self, event: Event) -> None:
        if self.poll is not None and self.poll.id == event.value:
            self.poll.open, self.poll.revealed = False, True

    def _point(self, time: float, at_once: bool = False) -> None:
        point = (time, self._now["green"], self._now["yellow"], self._now["red"])
        if self.history and time - self.history[-1][0] < EVERY and not at_once:
            self.history[-1] = (self.history[-1][0], *point[1:])
        else:
            self.history.append(point)


class Alert:
    """Tells when too many are lost: the share of red cups above a limit for some seconds, with hysteresis.

    It ends when the share has been a quarter below the limit for as long: a share that dances around the limit does not
    make it go on and off.
    """

    def __init__(self) -> None:
        self.on = False
        self._since: float | None = None

    def look(self, counts: dict[str, int], settings: Settings, now: float) -> bool:
        """Look at the counts of a moment; returns whether the alert is on."""
        active = sum(counts.values())
        share = counts["red"] / active if active else 0.0
        turning = share <= settings.red * 0.75 if self.on else share > settings.red
        if not turning:
            self._since = None
        elif self._since is None:
            self._since = now
        if self._since is not None and now - self._since >= settings.seconds:
            self.on, self._since = not self.on, None
        return self.on
