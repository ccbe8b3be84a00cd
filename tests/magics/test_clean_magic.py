"""`%clean` on the line: opening, status, undo, export and replay, apply and revert, and its words for what is wrong."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from fastmagic.errors import FastmagicError


@pytest.fixture
def data(shell, shapes, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shutil.copytree(shapes, tmp_path / "shapes")
    return shell


def decide(shell, rank: int, action: str, to=None) -> None:
    cleaner = shell.user_ns["cleaner"]
    cleaner.on_decide(cleaner.on_view(queue="all")["view"], [[rank, rank]], action, to)


def test_a_folder_is_opened_decided_about_and_applied_from_the_line(data, capsys):
    data.run("%clean shapes")
    assert "shapes: 120 items, nothing decided yet" in capsys.readouterr().out
    decide(data, 0, "relabel", "square")
    decide(data, 1, "aside")
    data.run("%clean shapes --status")
    told = capsys.readouterr().out
    assert "120 items: 1 to relabel, 1 to set aside." in told
    assert "1 set aside, in cleaner" in told
    data.run("%clean shapes --undo 5")
    assert "There is nothing to take back." in capsys.readouterr().out
    data.run("%clean shapes --redo 2")
    data.run("%clean shapes --apply")
    told = capsys.readouterr().out
    assert "1 file went into the folder of another class. 1 file went to quarantine." in told
    assert "Next: %datablock dls --from shapes" in told
    assert Path("shapes/square/disc_000.png").is_file()
    data.run("%clean shapes --revert")
    assert "2 files are back in place" in capsys.readouterr().out
    assert Path("shapes/disc/disc_000.png").is_file()


def test_decisions_go_to_another_copy(data, capsys):
    shutil.copytree("shapes", "copy")
    data.run("%clean shapes")
    decide(data, 0, "relabel", "square")
    decide(data, 1, "aside")
    data.run("%clean shapes --export out/decisions.csv")
    assert "Wrote 2 decisions" in capsys.readouterr().out
    Path("copy/disc/disc_002.png").unlink()
    data.run("%clean copy --replay out/decisions.csv")
    told = capsys.readouterr().out
    assert "1 decisions are new here." in told
    assert "1 are not here: disc/disc_002.png" in told


def test_data_and_learner_are_cleaned_and_trained_again_with_the_change_shown(data, capsys):
    data.run("%datablock dls --from shapes --show 0")
    data.run("%train dls tiny --epochs 2 --no-check")
    old = data.user_ns["dls"]
    data.run("%clean learn")
    decide(data, 0, "aside")
    decide(data, 1, "relabel", "square" if data.user_ns["cleaner"].curation.label(1) == "disc" else "disc")
    capsys.readouterr()
    data.run("%clean learn --apply")
    told = capsys.readouterr().out
    assert "dls holds the cleaned data: 95 training and 24 validation items." in told
    assert "Next: %train dls tiny --epochs 2" in told
    assert data.user_ns["dls"] is not old
    data.run("%train dls tiny --epochs 2 --no-check")
    assert "Wrong on the 24 cleaned validation items:" in capsys.readouterr().out


def test_the_newest_learner_or_data_are_meant_when_nothing_is_named(data, capsys):
    with pytest.raises(FastmagicError, match="What should be cleaned"):
        data.run("%clean")
    data.run("%datablock mine --from shapes --show 0")
    data.run("%clean --into c")
    assert data.user_ns["c"].curation.source_dls is data.user_ns["mine"]
    c = data.user_ns["c"]
    c.on_decide(c.on_view()["view"], [[0, 0]], "aside")
    c.on_apply()
    assert len(data.user_ns["mine"].train_ds) == 95  # the cleaned data, under the name they had


def test_code_is_plain_python(data, capsys):
    data.run("%clean shapes")
    decide(data, 0, "relabel", "square")
    capsys.readouterr()
    data.run("%clean shapes --code")
    program = capsys.readouterr().out
    assert "fastmagic" not in program.replace(".fastmagic/quarantine", "")
    exec(program, {})
    assert Path("shapes/square/disc_000.png").is_file()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("%clean shape", "Did you mean"),
        ("%clean shapes --undo 0", "at least 1"),
        ("%clean shapes --status --apply", "two things"),
        ("%clean shapes --replay nothing.csv", "no file 'nothing.csv'"),
        ("%clean shapes --revert", "Nothing was moved"),
        ("%clean shapes --split valid", "no valid set"),
        ("%clean shapes --stat", "--status"),
    ],
)
def test_what_is_wrong_is_said_with_the_next_step(data, line, said):
    with pytest.raises(FastmagicError, match=said):
        data.run(line)


def test_the_folder_of_a_tables_files_and_the_file_of_the_corrected_one_are_given(data):
    files = sorted(Path("shapes").rglob("*.png"))
    rows = {"file": [file.name for file in files], "label": [file.parent.name for file in files]}
    for file in files:
        file.rename(Path("shapes") / file.name)
    data.user_ns["table"] = pd.DataFrame(rows)
    data.run("%clean table --path shapes --to right.csv")
    decide(data, 0, "relabel", "square")
    data.run("%clean table --path shapes --to right.csv --apply")
    assert list(pd.read_csv("right.csv").label) == ["square", *rows["label"][1:]]
