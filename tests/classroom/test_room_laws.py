"""What holds for a room whatever happens in it: hypothesis makes lessons up, a plain count checks them."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from fastmagic.classroom.room import CUPS, Event, Room

SEATS = st.sampled_from([f"s{i}" for i in range(6)])
STEPS = st.one_of(
    st.tuples(st.just("cup"), SEATS, st.sampled_from(CUPS)),
    st.tuples(st.just("note"), SEATS, st.text(max_size=5)),
    st.tuples(st.sampled_from(["reset", "pause", "go"]), st.just(""), st.none()),
    st.tuples(st.just("settings"), st.just(""), st.fixed_dictionaries({"fade": st.sampled_from([0, 5, 20, 60])})),
    st.tuples(st.just("vote"), SEATS, st.tuples(st.integers(0, 9), st.integers(-1, 3))),
    st.tuples(st.just("ask"), st.just(""), st.just({"question": "Which?", "answers": ["a", "b"]})),
    st.tuples(st.just("drop"), st.just(""), st.integers(0, 100)),
)
LESSONS = st.lists(st.tuples(STEPS, st.floats(0, 15)), max_size=40)


def events_of(lesson: list[Any]) -> list[Event]:
    events, now = [], 1.0
    for number, ((kind, seat, value), later) in enumerate(lesson, 1):
        now += later
        events.append(Event(kind, seat, value, now, number))
    return events


def counted(room: Room, now: float) -> dict[str, int]:
    """The active cups, counted one by one."""
    fade = room.settings.fade
    active = [seat.cup for seat in room.seats.values() if not fade or seat.time + fade >= now]
    return {cup: active.count(cup) for cup in CUPS}


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(LESSONS, st.floats(0, 100))
def test_the_running_counts_are_those_of_a_count_from_nothing(lesson: list[Any], later: float):
    room, now = Room("owl"), 1.0
    for event in events_of(lesson):
        room.fold(event)
        now = event.time
        assert room.counts(now) == counted(room, now)
    assert room.counts(now + later) == counted(room, now + later)
    if room.history:
        assert dict(zip(CUPS, room.history[-1][1:], strict=True)) == room.counts(now + later), (
            "the history ends with what is"
        )


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(LESSONS, st.integers(0, 40), st.integers(0, 40))
def test_who_reads_in_between_and_some_events_twice_has_the_same_room(lesson: list[Any], cut: int, again: int):
    events = events_of(lesson)
    whole, live = Room("owl", events), Room("owl")
    for event in [*events[:cut], *events[min(cut, again) :]]:
        live.fold(event)
        live.counts(max(event.time, live.history[-1][0] if live.history else 0.0))
    end = events[-1].time + 1000 if events else 0.0
    assert live.counts(end) == whole.counts(end)
    assert live.notes() == whole.notes()
    assert [poll.counts() for poll in live.polls] == [poll.counts() for poll in whole.polls]
    assert live.history == whole.history


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(LESSONS)
def test_the_history_goes_forward_and_has_no_more_cups_than_people(lesson: list[Any]):
    room = Room("owl", events_of(lesson))
    times = [point[0] for point in room.history]
    assert times == sorted(times)
    everybody = {event.seat for event in events_of(lesson) if event.kind == "cup"}
    assert all(0 <= sum(point[1:]) <= len(everybody) and min(point[1:]) >= 0 for point in room.history)
