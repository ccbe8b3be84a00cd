"""The files of bundles, taken apart and put together again as a forger would."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

from fastmagic.bundles import archive


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
