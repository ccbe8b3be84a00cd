"""Errors, notes and reports speak Python; a magic puts them into its own words, and every word is one it has."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import fastmagic
from fastmagic import errors
from fastmagic.errors import AnswerError, FastmagicError, NotFoundError, OutOfMemoryError, RefusedError, WeightsError
from fastmagic.magics import MAGICS, find
from fastmagic.magics.line import split
from fastmagic.magics.short import short_message
from fastmagic.magics.words import in_words_of


@pytest.mark.parametrize(
    ("magic", "python", "words"),
    [
        ("train", "Try `bs=8`, or `epochs=20`.", "Try --bs 8, or --epochs 20."),
        ("train", "`pretrained=False` trains", "--no-pretrained trains"),
        ("train", "(`checks=False` trains all the same.)", "(--no-check trains all the same.)"),
        ("train", "`train(dls, 'tiny')`", "%train dls tiny"),
        ("train", "`models('resnet*')`", "%models 'resnet*'"),
        ("train", "`code(learn)` shows it", "--code shows it"),
        ("check", "`check('my birds', fix=True)`", "%check 'my birds' --fix"),
        ("datablock", "`datablock('adult.csv')`", "%datablock --from adult.csv"),
        ("datablock", "`target=COLUMN`", "--target COLUMN"),
        ("datablock", "`get_y=parent_label`", "get_y = parent_label in a %%datablock cell"),
        ("datablock", "`explain(source)`", "%datablock … --explain"),
        ("images", "`source='urls.txt'`", "--from urls.txt"),
        ("images", "`proxy='http://host:80'`", "%config FastMagic.proxy = 'http://host:80'"),
        ("predict", "Look at `learn.summary()`; `n_out=3`", "Look at `learn.summary()`; `n_out=3`"),
        ("predict", "`check` finds them", "%check finds them"),
    ],
)
def test_python_becomes_the_words_of_the_magic(magic, python, words):
    assert find(magic).in_words(python) == words


def test_in_a_cell_with_a_body_questions_are_answered_where_they_stand():
    said = in_words_of("datablock", ["--from"], "`get_y=parent_label`; `datablock(PATH)`", cell=True)
    assert said == "get_y = parent_label; %%datablock --from PATH"


def texts_with_python() -> list[str]:
    """Every text of the floors below the magics that holds Python in backticks, docstrings left out."""
    found = []
    for file in sorted(Path(fastmagic.__file__).parent.rglob("*.py")):
        if "magics" in file.parts:
            continue
        tree = ast.parse(file.read_text(encoding="utf-8"))
        docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "16" for part in node.values]
                docs |= {id(part) for part in node.values}
                found.append("".join(map(str, parts)))
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
                found.append(node.value)
    return [text for text in found if text.count("`") >= 2 and "\n\n" not in text]


def test_every_line_that_is_advised_is_one_that_its_magic_understands(shell):
    """Such as `train(dls, pretrained=False)`, said by the checks: all its words have to be options of %train."""
    advised = 0
    for text in texts_with_python():
        for name in MAGICS:
            said = find(name).in_words(text)
            for line in (piece for piece in said.split("%") if piece.split(" ")[0] in MAGICS and said != text):
                called = find(line.split(" ")[0].strip(".,;)"))
                options = [option.name for option in called.options]
                assert all(word.strip(".,;)") in options for word in split(line) if word.startswith("--")), said
                advised += 1
    assert advised > 20


def test_no_floor_below_speaks_in_options():
    """`--bs 8` is nothing for who calls a function or visits an app."""
    said = {text for text in texts_with_python() if " --" in text.replace("--export FILE", "").replace("git lfs", "")}
    assert not said


def test_a_magic_says_in_its_words_what_the_function_says_in_python(shell, shapes):
    shell.user_ns["photos"] = shapes
    flat = shapes / "disc"
    with pytest.raises(RefusedError) as caught:
        fastmagic.datablock(flat)
    assert "`label=r'^(.+)_" in caught.value.fix
    shown = short_message(caught.value, find("datablock").in_words)
    assert "--label ^(.+)_" in shown
    assert "label=" not in shown
    assert "`" not in shown


def test_what_a_cell_shows_of_an_error_is_in_its_words(shell, shapes, capsys):
    shell.user_ns["photos"] = shapes
    shell.run("%datablock dls --from photos --bs 64 --show 0")
    with pytest.raises(FastmagicError) as caught:
        shell.run("%train dls --bs 200 --epochs 1 --no-pretrained")
    assert "`bs=16`" in str(caught.value)
    assert "--bs 16" in "".join(caught.value._render_traceback_())
    assert "`" not in "".join(caught.value._render_traceback_())


def test_a_report_is_in_python_from_the_function_and_in_words_from_the_magic(shell, shapes):
    import shutil

    folder = Path("spare")
    shutil.copytree(shapes, folder)
    shutil.copy(next((folder / "disc").glob("*.png")), folder / "disc" / "again.png")
    assert "`check('spare', fix=True)` moves" in str(fastmagic.check("spare"))
    shell.run("%check spare")
    assert "%check spare --fix moves" in str(shell.user_ns["report"])


def test_errors_can_be_told_apart(shell, shapes, monkeypatch):
    dls = fastmagic.datablock(shapes, bs=8)
    cases = {
        NotFoundError: lambda: fastmagic.datablock("no_such_folder"),
        AnswerError: lambda: fastmagic.train(dls, "tiny", epochs=-1),
        RefusedError: lambda: fastmagic.datablock(shapes / "disc"),
        WeightsError: lambda: fastmagic.train(dls, weights=__file__),
        errors.UnreadableError: lambda: fastmagic.predict(b"no picture", fastmagic.train(dls, "tiny", epochs=1)),
    }
    for wanted, does in cases.items():
        with pytest.raises(FastmagicError) as caught:
            does()
        assert type(caught.value) is wanted, caught.value
    assert issubclass(OutOfMemoryError, FastmagicError)


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("get_y = parent_label\nsplitter = nothing", 2),
        ("get_y = parent_label\n\nitem_tfms = 3", 3),
        ("get_y = (", 1),
        ("import os", 1),
        ("get_y = parent_label\nget_y = parent_label", 2),
        ("item_tfms = Resize(64)\nget_y = lambda file: 1 / 0", 2),
    ],
)
def test_a_wrong_answer_knows_its_line(shapes, body, line):
    with pytest.raises(AnswerError) as caught:
        fastmagic.datablock(shapes, body=body)
    assert caught.value.line == line
