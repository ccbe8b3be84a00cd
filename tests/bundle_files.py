"""The files of bundles, taken apart and put together again as a forger would."""

from __future__ import annotations

import contextlib
import copy
import json
import warnings
import zipfile
from pathlib import Path
from typing import Any

from fastmagic.bundles import archive
from fastmagic.bundles.learner import load
from fastmagic.errors import FastmagicError


def entries(bundle: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(bundle) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def written(file: Path, parts: dict[str, bytes], how: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(file, "w", how) as out:
        for name, data in parts.items():
            out.writestr(name, data)
    return file


def changed(bundle: Path, **words: Any) -> dict[str, bytes]:
    """The entries of a bundle with some of its words changed, `model__name="x"` those within others."""
    parts = entries(bundle)
    said = json.loads(parts[archive.DESCRIPTION])
    for path, value in words.items():
        *above, last = path.split("__")
        place = said
        for key in above:
            place = place[key]
        place[last] = value
    return {**parts, archive.DESCRIPTION: json.dumps(said).encode()}


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, part in inner for place in places(part, (*path, key)))]


def forge_descriptions(bundle: Path, file: Path, times: int) -> None:
    """Load a bundle with one of its words replaced or left out, each time another: it loads, or says what is wrong."""
    from hypothesis import HealthCheck, Phase, given, settings  # not there where the oldest versions are tried
    from hypothesis import strategies as st

    json_values = st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=20)),
        lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=9), inside, max_size=3),
        max_leaves=5,
    )  # fmt: skip
    parts = entries(bundle)
    said = json.loads(parts[archive.DESCRIPTION])
    everywhere = [place for place in places(said) if place and place[0] not in ("training", "card", "answers")]

    @settings(max_examples=times, deadline=None, derandomize=True, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(st.sampled_from(everywhere), json_values, st.booleans())
    def forged(place: tuple[Any, ...], value: Any, away: bool) -> None:
        told = copy.deepcopy(said)
        inner = told
        for key in place[:-1]:
            inner = inner[key]
        if away:
            del inner[place[-1]]
        else:
            inner[place[-1]] = value
        written(file, {**parts, archive.DESCRIPTION: json.dumps(told).encode()})
        with warnings.catch_warnings(), contextlib.suppress(FastmagicError):
            warnings.simplefilter("ignore")
            load(file)

    forged()
