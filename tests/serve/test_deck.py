"""What begins a slide: read, proposed, saved; and what a beginner is told."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import nbformat
import nbformat.v4 as v4
import pytest

from fastmagic import cli
from fastmagic.errors import FastmagicError
from fastmagic.serve import deck, live

LESSONS = sorted(Path(__file__).parents[2].glob("notebooks/0*.ipynb"))


def saved(file: Path, *cells: Any) -> Path:
    nbformat.write(v4.new_notebook(cells=list(cells)), file)
    return file


text, code = v4.new_markdown_cell, v4.new_code_cell


def test_headings_begin_slides_and_what_prepares_is_skipped():
    notebook = v4.new_notebook(cells=[
        code("# the usual\n%load_ext fastmagic\nimport torch"), text("# Birds"), text("Words."), code("%train dls"),
        text("### Deeper"), code(""), text("## Next"), v4.new_raw_cell("raw"), code("import os\nprint(os.sep)"),
    ])  # fmt: skip
    said = ["skip", "slide", "fragment", "fragment", "subslide", "skip", "slide", "skip", "fragment"]
    assert deck.proposed(notebook) == said
    without = v4.new_notebook(cells=[text("One."), code("1"), text("Two."), code("#hashtag\n2")])
    assert deck.proposed(without) == ["slide", "fragment", "slide", "fragment"]
    assert deck.proposed(v4.new_notebook(cells=[code("1"), text("# Late")])) == ["slide", "slide"]
    shown = code("import os", outputs=[v4.new_output("stream", text="see me")])
    assert deck.proposed(v4.new_notebook(cells=[text("# A"), shown])) == ["slide", "fragment"]


def test_it_is_saved_in_the_cells_and_nothing_else_changes(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = saved(tmp_path / "talk.ipynb", text("# Ärger", metadata={"tags": ["x"]}), code("1 + 1"), text("## Ende"))
    before = nbformat.read(file, 4)
    assert cli.main(["slides", str(file), "--propose"]) == 0
    told = capsys.readouterr().out
    assert "  1    Ärger\n       then: 1 + 1\n  2    Ende\n" in told
    after = nbformat.read(file, 4)
    nbformat.validate(after)
    assert [deck.slide_type(cell) for cell in after.cells] == ["slide", "fragment", "slide"]
    assert after.cells[0].metadata.tags == ["x"]
    deck.set_types(after, ["", "", ""])
    del after.metadata["rise"]
    assert after == before
    assert [one.name for one in tmp_path.iterdir()] == ["talk.ipynb"]
    assert cli.main(["slides", str(file), "--propose"]) == 1
    assert "says already what begins a slide" in capsys.readouterr().err


@pytest.mark.parametrize("file", LESSONS, ids=lambda file: file.stem)
def test_the_lessons_are_decks(file: Path):
    deck.require_deck(deck.read(file), file)


def test_what_is_no_deck_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    saved(tmp_path / "talk.ipynb", text("# A"))
    saved(tmp_path / "empty.ipynb")
    Path("broken.ipynb").write_text("{")
    Path("photo.ipynb").write_bytes(b"\xff\xd8\xff\x00")

    def told(*words: str) -> str:
        assert cli.main(["slides", "--no-open", *words]) == 1
        return capsys.readouterr().err

    assert "No cell of 'talk.ipynb' begins a slide" in told("talk.ipynb", "--static")
    assert "--propose" in told("talk.ipynb")
    assert "has no cells" in told("empty.ipynb")
    assert "has no cells" in told("empty.ipynb", "--propose")
    assert "'broken.ipynb' is not a notebook" in told("broken.ipynb")
    assert "'photo.ipynb' is not a notebook" in told("photo.ipynb", "--static")
    assert "Did you mean 'talk.ipynb'" in told("tlak.ipynb")
    assert "Name a notebook: broken.ipynb, empty.ipynb" in told(".")
    assert "talk.ipynb" in told("talk")
    assert "of --static" in told("talk.ipynb", "-o", "it.html")
    with pytest.raises(SystemExit):
        cli.main(["slides", "talk.ipynb", "--lab", "--static"])
    assert cli.main(["slide", "talk.ipynb"]) == 2
    assert "Did you mean 'slides'" in capsys.readouterr().err


def test_the_installation_is_looked_at_first(monkeypatch: pytest.MonkeyPatch):
    there: dict[str, str] = {}
    monkeypatch.setattr(live, "_version", there.get)
    with pytest.raises(FastmagicError, match=r"need nbclassic.*\n.*fastmagic\[slides\]"):
        live.installation()
    there |= {"nbclassic": "1.3", "rise": "5.6.1", "jupyterlab": "4.5"}
    with pytest.raises(FastmagicError, match=r"RISE 5\.6\.1 is installed"):
        live.installation()
    there["rise"] = "5.7.1"
    assert "widgetsnbextension" in live.installation()[0]
    there |= {"widgetsnbextension": "4", "jupyterlab-widgets": "3.0.15"}
    assert live.installation() == []
    with pytest.raises(FastmagicError, match=r"need jupyterlab-rise.*\n.*fastmagic\[slides-lab\]"):
        live.installation(lab=True)
    there["jupyterlab-rise"] = "0.43.1"
    assert "no widgets with jupyterlab_widgets 3.0.15" in live.installation(lab=True)[0]
    there["jupyterlab-widgets"] = "3.0.10"
    assert live.installation(lab=True) == []
    there["jupyter-collaboration"] = "4"
    with pytest.raises(FastmagicError, match="--static"):
        live.installation()


def test_a_port_that_is_taken_is_told(tmp_path: Path):
    import socket

    file = saved(tmp_path / "talk.ipynb", text("# A", metadata={"slideshow": {"slide_type": "slide"}}))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(FastmagicError, match="cannot be had"), live.server(file, port=taken.getsockname()[1]):
            pass


def test_settings_of_the_users_own_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "own" / "nbconfig").mkdir(parents=True)
    (tmp_path / "own" / "nbconfig" / "rise.json").write_text('{"center": true, "theme": "sky"}')
    (tmp_path / "made").mkdir()
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(tmp_path / "own"))
    monkeypatch.setenv("JUPYTER_PATH", "/elsewhere")
    environment = live.settings(tmp_path / "made")
    said = json.loads((tmp_path / "made" / "nbconfig" / "rise.json").read_text())
    assert (said["center"], said["theme"], said["margin"]) == (True, "sky", 0.03)
    assert environment["JUPYTER_PATH"].startswith(f"/elsewhere{os.pathsep}")


def test_ctrl_c_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def stopped(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(live, "present", stopped)
    assert cli.main(["slides", "talk.ipynb", "--no-open"]) == 130
    assert capsys.readouterr() == ("", "")
