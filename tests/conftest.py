"""What all tests share: an IPython shell with fastmagic, and a small set of pictures."""

from __future__ import annotations

from pathlib import Path

import fastprogress.fastprogress  # noqa: F401  decides at import whether this is a notebook: not yet
import pytest

SHARED = Path(__file__).resolve().parent.parent.parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real data beside the project; tests that need it skip without it."""
    if not SHARED.is_dir():
        pytest.skip("the real data in ../shared/data are not here")
    return SHARED


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 pictures of 48 px in two class folders, 'disc' and 'square', easy to learn but no two alike."""
    import numpy as np
    from PIL import Image, ImageDraw

    random = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("data") / "shapes"
    for i in range(120):
        name = ("disc", "square")[i % 2]
        noise = random.integers(0, 90, (48, 48, 3)).astype("uint8")
        picture = Image.fromarray(noise)
        x, y = random.integers(4, 18, 2)
        size = int(random.integers(16, 26))
        colour = tuple(int(c) for c in random.integers(150, 255, 3))
        draw = ImageDraw.Draw(picture)
        (draw.ellipse if name == "disc" else draw.rectangle)([x, y, x + size, y + size], fill=colour)
        (folder / name).mkdir(parents=True, exist_ok=True)
        picture.save(folder / name / f"{name}_{i:03d}.png")
    return folder


@pytest.fixture
def shell(tmp_path, monkeypatch):
    """A fresh IPython shell with fastmagic loaded, in an empty folder; `run(cell)` fails the test if the cell fails."""
    from IPython.core.interactiveshell import InteractiveShell

    monkeypatch.chdir(tmp_path)
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance()
    shell.run_cell("%load_ext fastmagic")

    def run(cell: str):
        result = shell.run_cell(cell, store_history=True)
        if result.error_before_exec or result.error_in_exec:
            raise result.error_before_exec or result.error_in_exec
        return result

    shell.run = run
    yield shell
    InteractiveShell.clear_instance()


@pytest.fixture
def export():
    """Export a learner to a file, or skip the test where no learner can be."""

    def export(learn, file):
        dls = learn.dls
        try:
            learn.export(file)
        except TypeError as error:  # fastai 2.8.7 with the newest plum-dispatch
            learn.dls = dls  # fastai leaves it without its items
            pytest.skip(f"this fastai cannot export: {error}")

    return export


@pytest.fixture
def internet(tmp_path, monkeypatch):
    """A stand-in for the internet that this process is sent to; its photos are 40 'bird' and 40 'forest' pictures."""
    import standin

    photos = {"bird": standin.pictures(40, seed=1), "forest": standin.pictures(40, seed=2)}
    with standin.StandIn(photos, tmp_path / "standin") as running:
        for name, value in running.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.chdir(tmp_path)
        yield running
