"""Programs carry what the user's cells define, and nothing that cannot be written down."""

from __future__ import annotations

import linecache

import pytest

import fastmagic
from fastmagic import program
from fastmagic.errors import FastmagicError


def test_renaming_touches_the_variable_and_nothing_that_only_looks_like_it():
    text = "dls = block.dataloaders(path)\nother.dls = f(dls=dls, name='dls')  # dls"
    assert (
        program.rename(text, "dls", "mine")
        == "mine = block.dataloaders(path)\nother.dls = f(dls=mine, name='dls')  # dls"
    )


def test_functions_come_with_what_they_use_in_an_order_that_runs():
    source = "def outer(p):\n    return inner(p) + base\n\ndef inner(p):\n    return len(str(p))\n"
    linecache.cache["<cell>"] = (len(source), None, source.splitlines(True), "<cell>")
    namespace: dict = {"__name__": "__main__", "base": 3}
    exec(compile(source, "<cell>", "exec"), namespace)
    names: dict = {}
    exec("\n".join(program.definitions(["outer"], namespace, {})), names)
    assert names["outer"]("abc") == 6


def test_modules_and_library_functions_come_as_imports():
    import json as parser
    from os.path import basename

    lines = program.definitions(["parser.loads(basename(p))"], {"parser": parser, "basename": basename}, {})
    names: dict = {}
    exec("\n".join(lines), names)
    assert names["basename"]("a/b") == "b"
    assert names["parser"].loads("3") == 3


@pytest.mark.parametrize("value", [3, 1.5, "x", None, True, [1, (2,), {"a": 3}], {1, 2}])
def test_plain_values_come_as_literals(value):
    assert eval(program.literal_source(value)) == value


def test_what_cannot_be_written_down_is_named_in_a_comment():
    assert program.definitions(["frame"], {"frame": object()}, {}) == [
        "# frame: a object of your notebook, which this program lacks"
    ]


def test_an_object_made_elsewhere_has_no_program():
    class Dls:
        pass

    with pytest.raises(FastmagicError, match="was not made by fastmagic"):
        fastmagic.code(Dls())
