"""Pointer tracks, drawn as pictures window by window: `TrackBlock`, `vision_learner`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..data.folders import Layout
from ..data.series_files import series_layout
from ..data.source import Source, Worked
from ..data.track_files import (
    SUFFIXES,
    WINDOWS,
    holds_tracks,
    recording_of,
    screen_of,
    screens_alike,
    track_windows,
    windows_of,
)
from ..errors import FastmagicError, RefusedError, number
from .image import Image
from .kind import other_block

SAMPLE = 30  # recordings that are opened to tell screens and speeds


class Track(Image):
    """Pointer tracks, a CSV a recording, cut into windows."""

    name = "pointer tracks"
    thing = "recording"
    finds = f"partial(get_files, extensions={list(SUFFIXES)!r})"
    imports = ("from fastmagic import RecordingSplitter, TrackBlock, track_windows",)
    lighter = "smaller pictures: TrackBlock(size=32)"
    suffixes = SUFFIXES

    def vocabulary(self) -> dict[str, Any]:
        from ..data.track import RecordingSplitter, TrackBlock

        ours = {"RecordingSplitter": RecordingSplitter, "TrackBlock": TrackBlock, "track_windows": track_windows}
        return {**super().vocabulary(), **ours}

    def recognises(self, source: Source, answered: Mapping[str, Any]) -> bool:
        if other_block(answered, "TrackBlock", "OpenTrack") or not isinstance(source.value, Path):
            return False
        return source.value.is_dir() and holds_tracks(source.value)

    def infer(self, source: Source, answered: Mapping[str, Any], seed: int | None, target: str | None) -> Worked | None:
        wanted = {"blocks", "splitter", "get_y", "get_items"} - set(answered)
        if "getters" in answered:
            wanted &= {"splitter"}
        if not wanted:
            return None
        worked = self._from_folder(source, seed, wanted, target)
        if worked.source.is_table:
            raise RefusedError(
                f"A table in '{source.value}' names the recordings, and these are cut into windows, which no row names.",
                r"Put each class in a sub-folder, or let the name tell it: `label=r'^([^_]+)_'`",
            )
        if "blocks" in wanted:
            block, said = _block(worked.images)
            worked.answers["blocks"] = worked.answers["blocks"].replace("ImageBlock", block)
            worked.why = "; ".join(filter(None, [worked.why, said]))
        if "get_items" in wanted:
            windows, whole = f"partial(track_windows, events={WINDOWS})", f"compose({self.finds}, sorted)"
            found = worked.answers["get_items"]
            worked.answers["get_items"] = windows if found == whole else f"compose({found}, {windows})"
        if worked.answers["splitter"].startswith("RandomSplitter"):
            given = ["0.2", *([f"seed={seed}"] if seed is not None else [])]
            if "get_y" in answered:
                given.append(f"label={answered['get_y'].text}")
            worked.answers["splitter"] = f"RecordingSplitter({', '.join(given)})"
            if "splitter" in wanted:
                worked.why += "; whole recordings are kept for validation, some of each class"
        worked.answers = {name: text for name, text in worked.answers.items() if name in wanted}
        return worked

    def layout(self, folder: Path) -> Layout:
        return series_layout(folder)

    def _refuse(self, folder: Path, layout: Layout) -> None:
        if layout.kind == "flat":
            raise RefusedError(
                f"{number(len(layout.images), 'recording')} of a pointer lie in '{layout.images[0].parent}', and nothing says whose.",
                r"Put each class in a sub-folder, or let the name tell it: `label=r'^([^_]+)_'`",
            )
        super()._refuse(folder, layout)

    def holds(self, dls: Any) -> bool:
        lists: Any = getattr(getattr(dls.train, "dataset", None), "tls", None)
        return bool(lists) and any(type(step).__name__ == "OpenTrack" for step in lists[0].tfms.fs)

    def events(self, dls: Any) -> int:
        """Return how many events a window has that a model was trained on."""
        found = next(step for step in dls.train.dataset.tls[0].tfms.fs if type(step).__name__ == "OpenTrack")
        return found.events or WINDOWS

    def windows(self, dls: Any, item: Any, many: Any) -> Any:
        """Return what is predicted one after another: the windows of recordings, a window as it is; `None` for one alone."""
        given = [item] if many is None else many
        if hasattr(given, "iloc"):
            return many
        found: list[Any] = []
        for one in given:
            whole = isinstance(one, (str, Path)) and recording_of(one)[1:] == (0, None)
            found += windows_of(Path(one).expanduser(), self.events(dls)) if whole else [one]
        if many is None and len(found) == 1 and found[0] is item:
            return None
        if not found:
            raise RefusedError("There is no pointer track in what was given.", "`check(FOLDER)` tells why.")
        return found


def _block(files: Sequence[Path]) -> tuple[str, str]:
    """Return a `TrackBlock` that fits some recordings, and what is told of them."""
    import numpy as np

    from ..data.track import Track as Opened

    opened = []
    for file in sorted(files)[:: max(1, len(files) // SAMPLE)]:
        try:
            opened.append(Opened.create(file))
        except FastmagicError:
            continue
    opened = [track for track in opened if len(track) > 1]
    if not opened:
        raise RefusedError("None of the recordings holds a pointer track.", "`check(FOLDER)` tells why.")
    speeds = [np.percentile(found, 95) for track in opened if len(found := track.speeds()[~np.isnan(track.speeds())])]
    fastest = float(f"{np.median(speeds):.1g}") if speeds else 0.0
    given = [f"events={WINDOWS}", *([f"fastest={fastest:g}"] if fastest else [])]
    said = f"recordings are cut into windows of {WINDOWS} events: path, speed and clicks are the colours of a picture"
    screens = [screen_of(track.x, track.y) for track in opened]
    if screens_alike(screens):
        width, height = max(w for w, _ in screens), max(h for _, h in screens)
        given.append(f"screen=({width:g}, {height:g})")
        said += f" of the whole screen, {width:g} × {height:g}"
    else:
        said += (
            ", each as large as fits: the screens differ, and where on it a pointer was would tell the screen "
            "(TrackBlock(screen=(width, height)) shows it)"
        )
    return f"TrackBlock({', '.join(given)})", said
