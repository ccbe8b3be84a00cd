"""Apps in a folder: what is in it, and that it is proved where nothing of this environment is."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import nbformat
import pytest

pytest.importorskip("voila")

from fastmagic import cli
from fastmagic.bundles.learner import export
from fastmagic.errors import FastmagicError
from fastmagic.serve import deploy


@pytest.fixture(scope="module")
def bundle(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from fastai.vision.all import ImageDataLoaders, Resize, vision_learner
    from torchvision.models import squeezenet1_1

    dls = ImageDataLoaders.from_folder(shapes, valid_pct=0.2, seed=0, item_tfms=Resize(64), bs=16, num_workers=0)
    file = tmp_path_factory.mktemp("model") / "shapes.fastmagic"
    export(vision_learner(dls, squeezenet1_1, pretrained=False), file, title='Disc: "yes"? CMD')
    return file


def test_the_folder_is_proved_in_a_fresh_environment(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    words = [
        "app",
        str(bundle),
        "--write",
        str(tmp_path / "out"),
        "--token",
        "hunter2",
        "--visitors",
        "7",
        "--allow-url",
    ]
    assert cli.main(words) == 0
    said = capsys.readouterr().out
    assert "Installed in" in said
    assert "It works: its example is: " in said
    out = tmp_path / "out"
    docker = (out / "Dockerfile").read_text()
    command = json.loads(docker.rpartition("CMD ")[2])
    assert command[:3] == ["fastmagic", "app", "shapes.fastmagic"]
    assert command[-3:] == ["--visitors", "7", "--allow-url"] or command[-3:] == ["--allow-url", "--visitors", "7"]
    assert "USER app" in docker
    assert not any("hunter2" in file.read_text(errors="replace") for file in out.iterdir() if file.suffix != ".whl")
    assert (out / "README.md").read_text().startswith('---\ntitle: "Disc: \\"yes\\"? CMD"\n')
    pins = (out / "requirements.txt").read_text().split()
    assert all("==" in pin for pin in pins[1:])
    assert {"fastai", "torch", "voila", "ipykernel"} <= {pin.partition("==")[0] for pin in pins}
    assert "fastmagic/serve/voila/templates/fastmagic_app/index.html.j2" in zipfile.ZipFile(out / pins[0]).namelist()
    code = nbformat.read(out / "app.ipynb", 4).cells[0].source
    assert "fastmagic.predictor('shapes.fastmagic'" in code
    assert cli.main([*words, "--examples", "a.png"]) == 1
    assert "--write takes none" in capsys.readouterr().err
    assert cli.main(words) == 1  # it is there already
    assert "is there already" in capsys.readouterr().err


def test_what_does_not_work_is_said(bundle: Path, tmp_path: Path):
    out = deploy.write(bundle, tmp_path / "out")
    (out / "requirements.txt").write_text("no-such-package-of-fastmagic==1\n")
    with pytest.raises(FastmagicError, match=r"failed:\n(.|\n)*no-such-package-of-fastmagic"):
        deploy.prove(out, say=lambda line: None)
    (tmp_path / "model.pkl").write_bytes(b"no bundle")
    with pytest.raises(FastmagicError, match="is no bundle"):
        deploy.write(tmp_path / "model.pkl", tmp_path / "other")
    with pytest.raises(FastmagicError, match="No file"):
        deploy.write(tmp_path / "shapes.fastmagc", tmp_path / "other")
    assert not (tmp_path / "other").exists()
