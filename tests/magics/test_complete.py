"""Tab completes options, variables by type, paths, architectures and class names, in every IPython through one hook."""

from __future__ import annotations

import warnings

import pytest


@pytest.fixture
def complete(shell, shapes):
    shell.user_ns["photos"] = shapes
    shell.user_ns["number"] = 3
    shell.run("%datablock dls --from photos --show 0")

    def at_end(text: str) -> list[str]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = list(shell.Completer.completions(text, len(text)))
        return [text[: c.start] + c.text for c in found]

    return at_end


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("%train dls --ep", "%train dls --epochs"),
        ("%train dls --no-pre", "%train dls --no-pretrained"),
        ("%train d", "%train dls"),
        ("%train $d", "%train $dls"),
        ("%train dls resnet3", "%train dls resnet34"),
        ("%train dls convnext_tiny.fb_in22", "%train dls convnext_tiny.fb_in22k"),
        ("%train dls --lr au", "%train dls --lr auto"),
        ("%train dls --metrics accur", "%train dls --metrics accuracy"),
        ("%datablock dls --from ph", "%datablock dls --from photos"),
        ("%%datablock dls --from dig", "%%datablock dls --from digits"),
        ("%results --split tr", "%results --split train"),
        ("%results --worst 3 --class sq", "%results --worst 3 --class square"),
        ("%check --f", "%check --fix"),
    ],
)
def test_tab_offers(complete, typed, offered):
    assert offered in complete(typed)


def test_tab_offers_paths(complete, tmp_path):
    (tmp_path / "my_birds").mkdir()
    assert "%datablock dls --from my_birds/" in complete("%datablock dls --from my_b")


def test_tab_offers_no_variable_of_a_wrong_type(complete):
    assert not [text for text in complete("%train n") if text.endswith("number")]


def test_tab_in_other_lines_is_left_alone(complete):
    assert any(text.endswith("photos") for text in complete("print(pho"))


def test_tab_offers_no_python_names_among_the_options(complete):
    assert not [text for text in complete("%train dls --") if "Abstract" in text or text.endswith("--abs")]


def test_tab_offers_architectures_to_models(complete):
    assert "%models resnet34" in complete("%models resnet3")
