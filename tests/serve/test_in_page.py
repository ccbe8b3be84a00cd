"""Models in a page: what goes into it, and what is told where it cannot."""

from __future__ import annotations

import io
import json
import re
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import nbformat
import nbformat.v4 as v4
import numpy as np
import pytest

import fastmagic
from fastmagic import cli
from fastmagic.errors import FastmagicError
from fastmagic.serve import in_page

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")


@pytest.fixture
def stands_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime Web is fetched in the browser's tests; here nothing runs it."""
    monkeypatch.setattr(in_page, "runtime", lambda: (b"export const env = {};", b"\\0asm"))


@pytest.fixture(scope="module")
def bundle(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(shapes, tmp_path_factory.mktemp("model") / "shapes.fastmagic", onnx=True)


def made(shapes: Path, file: Path, item_tfms: Any = None, **options: Any) -> Path:
    from fastai.vision.all import ImageDataLoaders, Resize, vision_learner
    from torchvision.models import squeezenet1_1

    item_tfms = item_tfms or Resize(64)
    dls = ImageDataLoaders.from_folder(shapes, valid_pct=0.2, seed=0, item_tfms=item_tfms, bs=16, num_workers=0)
    fastmagic.export(vision_learner(dls, squeezenet1_1, pretrained=False), file, **options)
    return file


def notebook(folder: Path, *sources: str) -> Path:
    cells = [v4.new_code_cell(source, metadata={"slideshow": {"slide_type": "slide"}}) for source in sources]
    nbformat.write(v4.new_notebook(cells=cells), folder / "it.ipynb")
    return folder / "it.ipynb"


def test_weights_in_16_bits_answer_alike(bundle: Path):
    import onnxruntime

    whole = zipfile.ZipFile(bundle).read("model.onnx")
    half = in_page.halved(whole)
    assert len(half) < 0.55 * len(whole)
    pixels = np.random.default_rng(0).random((4, 3, 64, 64), "float32")
    one, other = (
        onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, {"pixels": pixels})[0]
        for data in (whole, half)
    )
    assert np.abs(one - other).max() < 2e-3
    assert np.abs(one - other).max() > 0


@pytest.mark.usefixtures("stands_in")
def test_the_page_says_what_it_needs_and_nothing_that_ends_its_scripts(shapes: Path, tmp_path: Path):
    file = made(shapes, tmp_path / "it.fastmagic", title="</script><script>alert(1)</script>", description="<!-- <b>")
    scripts = in_page.scripts_of(file, "abc")
    said = json.loads(re.search(r'id="fastmagic-live">(.*?)</script>', scripts)[1])  # type: ignore[index]
    assert said["panel"] == "abc"
    assert said["state"]["title"] == "</script><script>alert(1)</script>"
    assert said["model"]["item_tfms"][0][0] == "Resize"
    assert said["example"].startswith("data:image/png;base64,")
    assert scripts.count("</script>") == scripts.count("<script") == 5
    assert str(tmp_path) not in scripts


@pytest.mark.usefixtures("stands_in")
def test_the_model_that_the_notebook_exports_is_taken(bundle: Path, tmp_path: Path, capsys):
    file = notebook(tmp_path, "%export learn birds", "%export --onnx 'my shapes.fastmagic' --check  # at last", "1 + 1")
    assert cli.main(["slides", str(file), "--static", "--live", "--no-open"]) == 1
    assert "'it.ipynb' exports 'my shapes.fastmagic', and no such file is beside it." in capsys.readouterr().err
    (tmp_path / "my shapes.fastmagic").write_bytes(bundle.read_bytes())
    assert cli.main(["slides", str(file), "--static", "--live", "--no-open"]) == 0
    assert "4 slides" in capsys.readouterr().out
    page = (tmp_path / "it.slides.html").read_text()
    assert page.count('data-fastmagic-panel="live"') == 1
    assert 'id="fastmagic-model"' in page
    # Without it, no trace of it
    assert cli.main(["slides", str(file), "--static", "--no-open"]) == 0
    assert "fastmagic-model" not in (tmp_path / "it.slides.html").read_text()


@pytest.mark.usefixtures("stands_in")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--static", "--live"], r"'it\.ipynb' exports no model\.\n.*--live birds\.fastmagic"),
        (["--static", "--live", "nothing.fastmagic"], r"No file 'nothing\.fastmagic'"),
        (["--static", "--live", "it.ipynb"], r"'it\.ipynb' is no bundle\."),
        (["--live", "it.fastmagic"], r"--live is for pages"),
        (["--propose", "--live"], r"--live is for pages"),
    ],
)
def test_what_cannot_be_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, words: list[str], said: str):
    notebook(tmp_path, "1 + 1")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["slides", "it.ipynb", "--no-open", *words]) == 1
    assert re.search(said, capsys.readouterr().err)
    assert [file.name for file in tmp_path.iterdir()] == ["it.ipynb"]


def test_a_panel_that_is_not_among_the_slides_is_left_alone(bundle: Path):
    cells = []
    for kind in ("skip", "notes", "slide"):
        cells.append(v4.new_code_cell("%predict", metadata={"slideshow": {"slide_type": kind}}))
        cells[-1].outputs = [v4.new_output("display_data", data=fastmagic.predictor(bundle).forms())]
    shown = cells[2].outputs[0].data["text/html"]
    assert f'data-fastmagic-panel="{in_page.place(v4.new_notebook(cells=cells))}"' in shown
    found = v4.new_notebook(cells=cells[:2])
    assert in_page.place(found) == "live"
    assert len(found.cells) == 3


@pytest.mark.usefixtures("stands_in")
def test_pictures_that_go_through_what_a_page_cannot_do(shapes: Path, tmp_path: Path):
    from fastai.vision.all import RandomResizedCrop, ToTensor

    crops = made(shapes, tmp_path / "crops.fastmagic", RandomResizedCrop(64))
    with pytest.raises(FastmagicError, match=r"go through RandomResizedCrop, which a page cannot do\.\nTrain with"):
        in_page.scripts_of(crops, "live")
    bare = made(shapes, tmp_path / "bare.fastmagic", ToTensor())
    with pytest.raises(FastmagicError, match="may have any size, and in a page they need one"):
        in_page.scripts_of(bare, "live")


# ---------------------------------------------------------------- the runtime


def fake_npm(folder: Path, script: str) -> Path:
    npm = folder / "npm"
    npm.write_text(f"#!{sys.executable}\nimport sys\n{script}\n")
    npm.chmod(0o755)
    return npm


def test_the_runtime_is_fetched_once_and_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import base64
    import hashlib

    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, data in ((in_page.CODE, b"code"), (in_page.WASM, b"wasm")):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    (tmp_path / "right.tgz").write_bytes(packed.getvalue())
    kept = f"onnxruntime-web-{in_page.VERSION}.tgz"
    copies = f"import shutil; shutil.copyfile({str(tmp_path / 'right.tgz')!r}, sys.argv[-1] + '/{kept}'); open({str(tmp_path / 'asked')!r}, 'a').write('x')"
    fake_npm(tmp_path, copies)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(FastmagicError, match=r"is not onnxruntime-web .* as it was published"):
        in_page.runtime()  # as pinned, it has another hash
    assert not list((tmp_path / "cache").rglob("*.tgz"))
    digest = base64.b64encode(hashlib.sha512(packed.getvalue()).digest()).decode()
    monkeypatch.setattr(in_page, "INTEGRITY", f"sha512-{digest}")
    assert in_page.runtime() == in_page.runtime() == (b"code", b"wasm")
    assert (tmp_path / "asked").read_text() == "xx"  # the wrong one, and the right one once
    (tmp_path / "cache" / "fastmagic" / kept).write_bytes(b"cut off")
    assert in_page.runtime() == (b"code", b"wasm")  # what is broken is fetched again


def test_no_npm_and_one_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(FastmagicError, match=r"npm is not there\.\nInstall Node\.js .*onnxruntime-web-.*\.tgz"):
        in_page.runtime()
    fake_npm(tmp_path, "sys.exit('npm error network getaddrinfo')")
    with pytest.raises(FastmagicError, match=r"npm could not fetch onnxruntime-web:\nnpm error network getaddrinfo"):
        in_page.runtime()
