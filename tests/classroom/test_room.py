"""What events add up to: counts, fading, notes, polls, the history, and when the room shouts."""

from __future__ import annotations

import itertools
import random

from fastmagic.classroom.room import CUPS, Alert, Event, Room, Settings


def room(*events: tuple, fade: float = 0) -> Room:
    made = [Event(kind, seat, value, time, i) for i, (kind, seat, value, time) in enumerate(events, 1)]
    return Room("owl", [Event("settings", "", {"fade": fade}, 0.0, 0), *made])


def test_the_last_cup_of_a_seat_counts():
    owl = room(("cup", "a", "red", 1), ("cup", "a", "green", 2), ("cup", "b", "yellow", 3))
    assert owl.counts(4) == {"green": 1, "yellow": 1, "red": 0}


def test_a_cup_that_nobody_touched_for_long_fades_and_comes_back_with_a_tap():
    owl = room(("cup", "a", "red", 10), ("cup", "b", "green", 20), fade=60)
    assert owl.counts(70) == {"green": 1, "yellow": 0, "red": 1}
    assert owl.counts(75) == {"green": 1, "yellow": 0, "red": 0}
    owl.fold(Event("cup", "a", "red", 78, 9))
    assert owl.counts(79)["red"] == 1
    assert owl.history == [(10, 0, 0, 1), (20, 1, 0, 1), (70, 1, 0, 0), (78, 1, 0, 1)], "the history tells of it"


def test_a_note_goes_with_the_red_cup_and_when_it_was_answered():
    owl = room(
        ("cup", "a", "red", 1), ("note", "a", "what is a batch?", 2), ("cup", "b", "red", 3), ("note", "b", "why?", 4)
    )
    assert [note[2] for note in owl.notes()] == ["what is a batch?", "why?"]
    owl.fold(Event("answered", "", owl.notes()[0][0], 5, 5))
    assert [note[2] for note in owl.notes()] == ["why?"]
    owl.fold(Event("cup", "b", "green", 6, 6))
    assert owl.notes() == []
    owl.fold(Event("note", "b", "too late", 7, 7))
    assert owl.notes() == []


def test_a_paused_room_takes_no_cup_and_a_reset_makes_all_green():
    owl = room(("cup", "a", "red", 1), ("pause", "", None, 2), ("cup", "a", "yellow", 3), ("go", "", None, 4))
    assert owl.counts(5)["red"] == 1
    owl.fold(Event("reset", "", None, 6, 6))
    assert owl.counts(7) == {"green": 1, "yellow": 0, "red": 0}


def test_who_came_after_a_time_can_be_dropped():
    owl = room(*((("cup", f"s{i}", "red", 100 + i)) for i in range(5)), ("drop", "", 102, 200))
    assert owl.counts(300) == {"green": 0, "yellow": 0, "red": 2}


def test_a_vote_counts_once_a_seat_can_be_changed_and_not_after_the_end():
    owl = room(
        ("ask", "", {"question": "Which?", "answers": ["a", "b"]}, 1),
        ("vote", "x", [1, 0], 2), ("vote", "x", [1, 1], 3), ("vote", "y", [1, 1], 4), ("vote", "z", [7, 0], 4),
        ("reveal", "", 1, 5), ("vote", "x", [1, 0], 6),
    )  # fmt: skip
    assert owl.poll is not None
    assert (owl.poll.counts(), owl.poll.revealed, owl.poll.open) == ([0, 2], True, False)
    owl.fold(Event("ask", "", {"question": "And now?", "answers": ["a", "b"]}, 8, 20))
    assert [poll.counts() for poll in owl.polls] == [[0, 2], [0, 0]]


def test_a_replay_that_overlaps_changes_nothing():
    dice = random.Random(0)
    events = [Event("cup", f"s{dice.randrange(30)}", dice.choice(CUPS), float(i), i + 1) for i in range(500)]
    whole, live = Room("owl", events), Room("owl", events[:300])
    for event in events[250:]:
        live.fold(event)
    assert live.counts(600) == whole.counts(600)
    assert live.history == whole.history
    last = {event.seat: event.value for event in events}
    assert sum(whole.counts(600).values()) == len(last)
    assert whole.counts(600)["red"] == sum(cup == "red" for cup in last.values())


def test_the_history_has_a_point_a_second_and_ends_with_what_is():
    owl = room(*(("cup", f"s{i}", "green", i / 10) for i in range(50)), fade=0)
    times = [point[0] for point in owl.history]
    assert len(times) == 5
    assert all(b - a >= 1 for a, b in itertools.pairwise(times))
    assert owl.history[-1][1:] == (50, 0, 0)


def test_the_alert_comes_after_a_while_and_does_not_flutter():
    alert, settings = Alert(), Settings(red=0.3, seconds=10)

    def look(now, red, green=10):
        return alert.look({"green": green, "yellow": 0, "red": red}, settings, now)

    assert not look(0, 5)
    assert not look(9, 5)
    assert look(10, 5)
    assert all(look(10 + i, 3 + i % 2) for i in range(40))  # 23 % to 29 %: below the limit, and not far enough
    assert look(60, 1)
    assert look(65, 4)
    assert look(66, 1)
    assert not look(76, 1)
    assert not look(77, 5)  # and from the beginning
    assert not alert.look({"green": 0, "yellow": 0, "red": 0}, settings, 100)


def test_settings_that_make_no_sense_are_left_as_they_were():
    settings = Settings().changed({"red": 2, "seconds": -1, "fade": "never", "colour": "blue"})
    assert settings == Settings()
    assert Settings().changed({"red": 0.5, "seconds": 3}).red == 0.5
