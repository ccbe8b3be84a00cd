"""Recordings, drawn as mel spectrograms: `SoundBlock`, `vision_learner`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data.folders import Layout, read_folder
from ..data.sound_files import SUFFIXES, about, holds_sounds, is_sound_name
from ..data.source import Source, Worked
from ..data.tables import read_columns
from ..errors import FastmagicError, RefusedError, few, number
from ..render import Shown, escape, image_tag
from .image import Image, from_table
from .kind import other_block

if TYPE_CHECKING:
    from ..data.plan import Plan

SAMPLE = 200  # recordings whose heads are read
MOST_RATE = 22_050  # Hz; what lies higher is seldom what tells sounds apart
COLUMNS = 256  # of a picture; longer recordings are drawn in larger steps


class Sound(Image):
    """Recordings."""

    name = "sounds"
    thing = "recording"
    finds = f"partial(get_files, extensions={list(SUFFIXES)!r})"
    imports = ("from fastmagic import SoundBlock",)
    lighter = "shorter recordings: SoundBlock(seconds=1)"
    suffixes = SUFFIXES

    def vocabulary(self) -> dict[str, Any]:
        from ..data.sound import SoundBlock

        return {**super().vocabulary(), "SoundBlock": SoundBlock}

    def recognises(self, source: Source, answered: Mapping[str, Any]) -> bool:
        if other_block(answered, "SoundBlock", "OpenSound"):
            return False
        if source.is_table:
            columns = read_columns(source.value, source.folder or Path())
            names = source.value[columns.file].dropna().astype(str).head(20) if columns.file is not None else []
            return len(names) > 0 and all(is_sound_name(f"{name}{columns.suffix}") for name in names)
        return isinstance(source.value, Path) and holds_sounds(source.value)

    def infer(self, source: Source, answered: Mapping[str, Any], seed: int | None, target: str | None) -> Worked | None:
        wanted = {"blocks", "splitter", "get_y", "get_x" if source.is_table else "get_items"} - set(answered)
        if "getters" in answered:
            wanted &= {"splitter"}
        if not wanted:
            return None
        if source.is_table:
            columns = read_columns(source.value, source.folder or Path(), target)
            worked = from_table(source, columns, seed, wanted)
        else:
            worked = self._from_folder(source, seed, wanted, target)
        if worked.source.is_table and not source.is_table:
            wanted = wanted - {"get_items"} | {"get_x"}
        if "get_items" in worked.answers:
            ends = sorted({image.suffix.lower() for image in worked.images})
            worked.answers["get_items"] = worked.answers["get_items"].replace(repr(list(SUFFIXES)), repr(ends))
        if "blocks" in wanted:
            block, said = _block(worked.images)
            worked.answers["blocks"] = worked.answers["blocks"].replace("ImageBlock", block)
            worked.why = "; ".join(filter(None, [worked.why, said]))
        worked.answers = {name: text for name, text in worked.answers.items() if name in wanted}
        return worked

    def layout(self, folder: Path) -> Layout:
        return read_folder(folder, SUFFIXES)

    def _refuse(self, folder: Path, layout: Layout) -> None:
        if layout.kind == "flat" and layout.unused is None and (asked := _by_name(layout.images)) is not None:
            raise RefusedError(*asked)
        super()._refuse(folder, layout)

    def data(self, plan: Plan) -> Any:
        from ..data.sound import import_soundfile

        import_soundfile()
        return super().data(plan)

    def holds(self, dls: Any) -> bool:
        lists: Any = getattr(getattr(dls.train, "dataset", None), "tls", None)
        return bool(lists) and any(type(step).__name__ == "OpenSound" for step in lists[0].tfms.fs)

    def grid(self, dls: Any, n: int) -> Shown | None:  # type: ignore[override]
        dataset = dls.train.dataset
        n = min(n, len(dataset))
        if n < 1:
            return None
        cells, names = [], []
        for i in range(n):
            sound, label = dataset.tls[0][i], ""
            if len(dataset.tls) > 1:
                label = str(dataset.tls[1].decode(dataset.tls[1][i]))
            names.append(f"{label} ({sound.seconds:.2f} s)".strip())
            cells.append(
                f'<figure style="margin:0;width:200px">{image_tag(sound.picture(), 96, f"the spectrogram of {label}")}'
                f"{sound.player()}<figcaption>{escape(names[-1])}</figcaption></figure>"
            )
        html = f'<div style="display:flex;flex-wrap:wrap;gap:12px">{"".join(cells)}</div>'
        return Shown(html, f"[{number(n, 'recording')} of the training set: {few(names, 8)}]")

    def unloadable(self, dls: Any, error: Exception) -> tuple[str, str] | None:
        if isinstance(error, FastmagicError) and "is no sound" in error.cause:
            return error.cause, "`check(dls)` finds all such files."
        return super().unloadable(dls, error)


def _block(files: Sequence[Path]) -> tuple[str, str]:
    """Return a `SoundBlock` that fits some recordings, and what is told of them."""
    some = sorted(files)[:: max(1, len(files) // SAMPLE)]
    heads = []
    for file in some:
        try:
            heads.append(about(file))
        except FastmagicError as error:
            if "missing" in error.cause:
                raise
    if not heads:
        raise RefusedError("None of the recordings can be opened.", "`check(FOLDER)` tells why.")
    lengths = sorted(head[0] for head in heads)
    rates = Counter(head[1] for head in heads)
    longest, middle = lengths[-1], lengths[len(lengths) // 2]
    wanted = longest if longest <= 2 * middle else lengths[int(0.95 * (len(lengths) - 1))]
    seconds = max(0.1, -(-int(wanted * 1000) // 100) / 10)
    cut = sum(length > seconds for length in lengths) / len(lengths)
    usual = rates.most_common(1)[0][0]
    rate = min(usual, MOST_RATE)
    given = [f"seconds={seconds:g}", f"sample_rate={rate}"]
    hop = -(-int(seconds * 1000) // COLUMNS)
    if hop > 10:
        given.append(f"hop={hop}")
    said = [f"recordings of {lengths[0]:.2g} to {longest:.2g} s become {seconds:g} s, ending in silence"]
    if cut:
        said.append(f"{cut:.0%} are longer and cut")
    if len(rates) > 1 or rate != usual:
        said.append(f"sample rates are {few(sorted(rates), 4)}, and become {rate:,} Hz")
    channels = {head[2] for head in heads}
    if channels != {1}:
        said.append("several channels become one")
    return f"SoundBlock({', '.join(given)})", ", ".join(said)


def _by_name(files: Sequence[Path]) -> tuple[str, str] | None:
    """Ask which part of the files' names is the class, where all are made alike: `0_george_12.wav`."""
    for mark in "_-":
        parts = [file.stem.split(mark) for file in files]
        if len({len(part) for part in parts}) != 1 or len(parts[0]) < 2:
            continue
        counts = [len({part[i] for part in parts}) for i in range(len(parts[0]))]
        fits = [i for i, count in enumerate(counts) if 2 <= count <= len(files) / 2]
        if not fits:
            return None
        ways = [f"`label={_pattern(i, mark)!r}` takes {parts[0][i]!r}" for i in fits[:3]]
        said = ", ".join(f"{parts[0][i]!r} ({counts[i]} different)" for i in range(len(counts)))
        return (
            f"Which part of the names is the class? In {files[0].name} there are {said}.",
            f"{'; '.join(ways)}.",
        )
    return None


def _pattern(position: int, mark: str) -> str:
    before = f"[^{mark}]+{mark}"
    return f"^{before * position}([^{mark}.]+)"
