"""The rules every magic follows: help, variables, defaults, names, short errors that fail the cell, comments, bodies."""

from __future__ import annotations

import linecache
from pathlib import Path

import pytest
from traitlets.config import Config

from fastmagic.data.plan import plan_of
from fastmagic.errors import FastmagicError
from fastmagic.magics import MAGICS, comments_above_magic, find
from fastmagic.magics.line import split
from fastmagic.magics.session import Session
from fastmagic.magics.short import short_message


@pytest.fixture
def data(shell, shapes):
    """A shell that knows the folder as `photos`."""
    shell.user_ns["photos"] = shapes
    return shell


@pytest.mark.parametrize("name", MAGICS)
def test_help_lists_every_option_and_ends_with_examples(shell, capsys, name):
    shell.run(f"%{name} --help")
    page = capsys.readouterr().out
    options = [option.name for option in find(name).options]
    assert all(option in page for option in [*options, "--code", "--help"])
    assert page.index("Examples:") > page.index("--help")
    assert f"%{name}" in page[page.index("Examples:") :]


def test_a_plain_name_and_a_dollar_name_both_mean_the_variable(data):
    data.run("%datablock a --from photos --show 0")
    data.run("%datablock b --from $photos --show 0")
    assert len(data.user_ns["a"].train_ds) == len(data.user_ns["b"].train_ds) == 96


def test_braces_are_not_expanded_behind_the_users_back(data, capsys):
    data.user_ns["n"] = 3
    with pytest.raises(FastmagicError, match=r"\{n\}"):
        data.run("%datablock dls --from {n}")


def test_an_attribute_of_a_variable_can_be_given(data):
    import types

    data.user_ns["config"] = types.SimpleNamespace(bs=12)
    data.run("%datablock dls --from photos --bs $config.bs --show 0")
    assert data.user_ns["dls"].bs == 12


def test_into_names_the_variable_and_the_default_name_is_used_without_it(data):
    data.run("%datablock --from photos --show 0 --into mine")
    assert "dls" not in data.user_ns
    data.run("%datablock --from photos --show 0")
    assert type(data.user_ns["mine"]) is type(data.user_ns["dls"])


@pytest.mark.parametrize("name", ["2dls", "my-dls", "class", "a b"])
def test_a_name_that_cannot_be_a_variable_is_refused(data, name):
    with pytest.raises(FastmagicError, match="cannot be a variable name"):
        data.run(f"%datablock --from photos --into '{name}'")


def test_an_omitted_input_is_the_newest_that_a_magic_made_or_used(data, capsys):
    data.run("%datablock first --from photos --show 0 --bs 8")
    data.run("%datablock second --from photos --show 0 --bs 16")
    data.run("%train --no-pretrained --code")
    assert "second = block.dataloaders" in capsys.readouterr().out
    data.run("%train first --no-pretrained --code")
    data.run("%train --no-pretrained --code")
    assert capsys.readouterr().out.count("first = block.dataloaders") == 2


def test_a_variable_the_user_made_without_fastmagic_is_found_too(data, capsys):
    data.run(
        "from fastai.vision.all import *\nown = ImageDataLoaders.from_folder(photos, valid_pct=0.2, item_tfms=Resize(32), bs=8)"
    )
    data.run("%train --no-pretrained --code")
    assert "own = ImageDataLoaders.from_folder(photos" in capsys.readouterr().out


def test_a_newer_value_under_the_same_name_is_the_one_used(data):
    data.run("%datablock dls --from photos --show 0 --bs 8")
    data.run("%datablock other --from photos --show 0 --bs 16\ndls = other\ndel other")
    session = Session.of(data)
    assert session.newest("DataLoaders")[1].bs == 16


@pytest.mark.parametrize(
    ("line", "cause", "hint"),
    [
        ("%datablock dls --form photos", "no option '--form'", "--from"),
        ("%datablock dls --from fotos", "no folder or file 'fotos'", ""),
        ("%datablock dls --from photos --bs many", "'many' is not a whole number", ""),
        ("%datablock dls --from photos --bs 0", "too small", ""),
        ("%datablock dls --from", "--from: needs a value", "--help"),
        ("%datablock dls more --from photos", "one word too many", ""),
        ("%datablock dls from=photos", "written --from photos", ""),
        ("%train dsl", "neither", "dls"),
        ("%train dls resnt18 --no-pretrained", "no architecture 'resnt18'", "resnet18"),
        ("%train dls resnet18 --epochs one", "'one' is not a whole number", ""),
        ("%train dls resnet18 --lr fast", "'fast' is not a number or auto", ""),
        ("%train dls resnet18 --no-pretraind", "no option '--no-pretraind'", "--no-pretrained"),
        ("%train photos", "neither", ""),
        ("%results lern", "no variable 'lern'", ""),
        ("%results dls", "'dls' is a DataLoaders, but a Learner is needed", ""),
        ("%results --split valdi", "not possible here", "valid"),
        ("%predict x.jpg 'unclosed", "A quote is opened", ""),
        ("%models resnt18x9", "No architecture fits", ""),
    ],
)
def test_mistakes_are_answered_with_cause_and_next_step_in_five_lines(data, line, cause, hint):
    data.run("%datablock dls --from photos --show 0")
    with pytest.raises(FastmagicError) as caught:
        data.run(line)
    message = short_message(caught.value)
    assert cause in message
    assert hint in message
    assert len(message.splitlines()) <= 5


def test_a_typo_in_a_variable_is_answered_with_the_variable_before_any_architecture(data):
    data.run("%datablock dls --from photos --show 0")
    with pytest.raises(FastmagicError, match="Did you mean 'dls'"):
        data.run("%train dsl resnet18 --no-pretrained")


def test_an_error_is_shown_short_fails_the_cell_and_tb_shows_all_of_it(data, capsys):
    result = data.run_cell("%train dls")
    assert isinstance(result.error_in_exec, FastmagicError)
    short = capsys.readouterr().out
    assert "Traceback" not in short
    assert 1 <= len(short.strip().splitlines()) <= 5
    data.run_cell("%tb")
    full = capsys.readouterr().out
    assert "Traceback" in full
    assert "magic.py" in full


def test_an_error_of_any_other_type_is_short_too_and_keeps_its_type(data, capsys):
    data.run("def explode(*a, **k):\n    raise ZeroDivisionError('one\\ntwo\\nthree\\nfour\\nfive\\nsix')")
    data.run("%datablock dls --from photos --show 0")
    result = data.run_cell("%train dls explode --no-pretrained")
    assert isinstance(result.error_in_exec, ZeroDivisionError)
    shown = capsys.readouterr().out.strip().splitlines()
    started = next(i for i, line in enumerate(shown) if line.startswith("ZeroDivisionError"))
    assert len(shown[started:]) <= 5
    assert shown[-1] == "%tb shows the full traceback."


def test_a_magic_stands_below_comments_and_its_lines_keep_their_numbers(data, capsys):
    data.run("# a comment\n\n# another\n%%datablock dls --from photos --show 0\nbs = 8")
    assert data.user_ns["dls"].bs == 8
    with pytest.raises(FastmagicError, match="line 4: spliter"):
        data.run("# one\n# two\n%%datablock dls --from photos\nspliter = 3")


def test_comments_above_other_cell_magics_stay_as_they_are():
    lines = ["# note\n", "%%time\n", "1\n"]
    assert comments_above_magic(lines) == lines


@pytest.mark.parametrize(
    "cell",
    ["%%datablock dls --from photos --show 0", "%%datablock dls --from photos --show 0\n\n# nothing\n"],
)
def test_an_empty_body_is_no_body(data, cell):
    data.run(cell)
    assert len(data.user_ns["dls"].train_ds) == 96


def test_a_body_where_none_belongs_is_refused(data):
    with pytest.raises(FastmagicError, match="takes no body"):
        data.run("%%train dls\nepochs = 3")


def test_an_attribute_is_found_without_a_dollar_too(data, capsys):
    data.run("import types\n%datablock dls --from photos --show 0\nbox = types.SimpleNamespace(dls=dls, place=photos)")
    data.run("%train box.dls --no-pretrained --code")
    data.run("%datablock other --from box.place --show 0")
    assert len(data.user_ns["other"].train_ds) == 96


def test_a_variable_of_a_type_that_makes_no_sense_is_named(data):
    data.run("number = 3")
    with pytest.raises(FastmagicError, match="'number' is of type int"):
        data.run("%datablock dls --from number")


def test_settings_are_listed_changed_and_checked(shell, capsys):
    shell.run("%config FastMagic")
    assert "FastMagic.preload" in capsys.readouterr().out
    shell.run("%config FastMagic.seed = 7")
    assert Session.of(shell).settings.seed == 7
    with pytest.raises(FastmagicError, match="Did you mean 'seed'"):
        Session.of(shell).settings.update_config(Config({"FastMagic": {"sed": 1}}))


def test_the_seed_setting_is_the_seed_of_the_split(data, capsys):
    data.run("%config FastMagic.seed = 7")
    data.run("%datablock dls --from photos --code")
    assert "seed=7" in capsys.readouterr().out


def test_words_group_by_quotes_and_end_at_a_comment():
    assert split("dls --from 'my birds' --bs 16  # small") == ["dls", "--from", "my birds", "--bs", "16"]
    assert split("--metrics accuracy,F1Score(average='macro')") == [
        "--metrics",
        "accuracy,F1Score(average='macro')",
    ]
    assert split(r"C:\birds\a.jpg") == [r"C:\birds\a.jpg"]
    assert split("https://a.example/b#part") == ["https://a.example/b#part"]


@pytest.mark.parametrize("name", ["datablock", "train"])
def test_every_example_of_the_help_can_be_read(data, capsys, name):
    data.run("%datablock dls --from photos --show 0")
    session = Session.of(data)
    for line in find(name).examples.splitlines():
        if line.startswith(f"%{name}") or line.startswith(f"%%{name}"):
            find(name).parse(session, split(line.split(None, 1)[1] if " " in line else ""))


def test_unloading_takes_the_magics_away(shell):
    shell.run("%unload_ext fastmagic")
    assert shell.find_line_magic("train") is None
    shell.run("%load_ext fastmagic")
    assert shell.find_line_magic("train") is not None


def test_an_assigned_magic_in_a_file_or_a_string_is_only_text(data):
    cell = "learn = %train dls\n"
    data.run(f"%%writefile note.txt\n{cell}")
    assert Path("note.txt").read_text() == cell
    data.run(f'text = """\n{cell}"""\nreport = %check photos')
    assert data.user_ns["text"] == f"\n{cell}"
    assert data.user_ns["report"].subject


def test_an_assigned_magic_below_time_is_one_still(data):
    data.run("%%time\nreport = %check photos")
    assert data.user_ns["report"].subject


def test_names_of_architectures_can_be_assigned_and_are_not_otherwise(shell):
    before = set(shell.user_ns)
    shell.run("%models resnet1*")
    assert set(shell.user_ns) - before <= {"_i", "_i1", "_i2", "_ii", "_iii"}
    shell.run("names = %models resnet1*")
    assert "resnet18" in shell.user_ns["names"]


def test_an_error_that_is_too_long_keeps_its_next_step():
    error = FastmagicError("one\ntwo\nthree\nfour\nfive\nsix", "Do this.")
    assert short_message(error).splitlines() == ["one", "two", "three", "four", "Do this."]
    error.__cause__ = ValueError()
    assert short_message(error).splitlines() == ["one", "two", "three", "Do this.", "%tb shows more."]


def test_a_question_mark_shows_the_whole_help(shell, capsys):
    shell.run("%train?")
    assert "--early-stop" in capsys.readouterr().out


def test_unloaded_magics_leave_the_completer_as_it_was(shell):
    shell.run("%unload_ext fastmagic")
    assert "fastmagic" not in getattr(shell.Completer._jedi_matches, "__module__", "")
    assert not any(name.lstrip("%") in MAGICS for name in shell.strdispatchers["complete_command"].strs)
    shell.run("%load_ext fastmagic")
    shell.run("%reload_ext fastmagic")
    assert len(list(shell.strdispatchers["complete_command"].strs["%train"])) == 1


def test_a_traceback_of_an_earlier_cell_shows_that_cells_own_line(data):
    data.run("%%datablock first --from photos --show 0\nget_y = lambda file: file.parent.name  # the first")
    data.run("%%datablock second --from photos --show 0\nget_y = lambda file: file.stem[0]  # the second")
    for name in ("first", "second"):
        code = plan_of(data.user_ns[name]).answers["get_y"].value.__code__
        assert linecache.getline(code.co_filename, code.co_firstlineno).endswith(f"# the {name}\n")


@pytest.mark.parametrize("what", ["photos", "dls", "FOLDER"])
def test_the_program_of_a_check_opens_every_file(data, capsys, what):
    data.run("%datablock dls --from photos --show 0\nimport shutil\ncopy = shutil.copytree(photos, 'copied')")
    capsys.readouterr()
    data.run(f"%check {what.replace('FOLDER', 'copied')} --code")
    program = capsys.readouterr().out
    names = {"photos": data.user_ns["photos"], "dls": data.user_ns["dls"]}
    exec(program, names)
    assert len(names["files"]) == 120
    assert len(names["failed"]) == 0
