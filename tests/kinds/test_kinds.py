"""What every kind of data owes those who ask it."""

from __future__ import annotations

import pytest

from fastmagic.kinds import KINDS, Kind


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_kind_answers_everything_it_is_asked(kind):
    assert isinstance(kind, Kind)  # which cannot be made without an answer to each of its abstract methods
    assert kind.target in kind.questions
    assert kind.name
    assert kind.lighter
    expected = {
        "ratings": {"numbers"},
        "images with masks": {"pixels"},
    }
    assert set(kind.metrics) == expected.get(kind.name, {"class", "classes", "numbers"})
    assert set(kind.metrics.values()) <= set(kind.vocabulary())
    assert "splitter" in kind.questions


def test_the_last_kind_takes_every_source():
    from fastmagic.data.source import Source

    assert KINDS[-1].recognises(Source([1, 2, 3], ["source = [1, 2, 3]"], "source"), {})
    assert not any(kind.recognises(Source([1, 2, 3], [], "source"), {}) for kind in KINDS[:-1])
