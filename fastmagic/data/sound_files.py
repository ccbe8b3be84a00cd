"""Files of sounds: told by their names, and by what stands at their head. Imports neither fastai nor librosa."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path, PurePath
from typing import Any

from ..errors import FastmagicError, UnreadableError
from .folders import walk
from .names import image_suffixes, is_image_name
from .opening import what_is

SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au")
LOOKED_AT = 2000  # files that tell whether a folder holds sounds or pictures


def is_sound_name(name: str | PurePath) -> bool:
    return PurePath(name).suffix.lower() in SUFFIXES


def holds_sounds(folder: Path) -> bool:
    """Tell whether a folder holds recordings, and more of them than pictures."""
    suffixes = image_suffixes()
    sounds = pictures = seen = 0
    for _, names in walk(folder):
        sounds += sum(is_sound_name(name) for name in names)
        pictures += sum(is_image_name(name, suffixes) for name in names)
        seen += len(names)
        if seen > LOOKED_AT:
            break
    return sounds > pictures


def about(file: Path) -> tuple[float, int, int]:
    """Return a recording's length in seconds, samples a second and channels; only its head is read.

    Raises:
        FastmagicError: it is no sound, or the packages for sounds are missing.
    """
    import_soundfile()
    import soundfile

    try:
        info = soundfile.info(os.fspath(file))
    except Exception as error:  # libsndfile's, of many kinds
        raise no_sound(file) from error
    return float(info.frames / info.samplerate), int(info.samplerate), int(info.channels)


def no_sound(source: Any) -> UnreadableError:
    """Return what is told of a file, or of the bytes of one, that is no sound."""
    if isinstance(source, bytes):
        head, called = source[:256], "It"
    else:
        with open(source, "rb") as file:
            head, called = file.read(256), f"'{Path(source).name}'"
    what = what_is(head)
    what = "damaged, or of a kind that libsndfile does not know" if what == "a sound file" or "Pillow" in what else what
    return UnreadableError(f"{called} is no sound: it is {what}.", "WAV, FLAC, OGG and MP3 are read.")


def import_soundfile() -> None:
    """Raise where the packages for sounds are not installed."""
    missing = [name for name in ("soundfile", "librosa") if importlib.util.find_spec(name) is None]
    if missing:
        are = f"s {' and '.join(missing)} are" if len(missing) > 1 else f" {missing[0]} is"
        raise FastmagicError(f"For sounds the package{are} missing.", "pip install 'fastmagic[sound]'")
