"""Bundles from strangers: cut off, swollen, forged, from the future. A clear error, nothing run, nothing written."""

from __future__ import annotations

import os
import pickle
import random
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from bundle_files import changed, entries, forge_descriptions, written

from fastmagic.bundles import archive
from fastmagic.bundles.learner import load
from fastmagic.errors import FastmagicError


@pytest.fixture(autouse=True)
def nothing_is_run_or_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """No pickle is opened, and the only files that there are afterwards are the bundles."""
    monkeypatch.chdir(tmp_path)
    for place, name in ((torch, "load"), (pickle, "load"), (pickle, "loads")):
        monkeypatch.setattr(place, name, lambda *_, **__: pytest.fail("a pickle was opened"))
    yield
    written = [file.relative_to(tmp_path) for file in tmp_path.rglob("*") if file.is_file()]
    assert {file.suffix for file in written if file.parts[0] != ".hypothesis"} <= {".fastmagic"}
    assert not (tmp_path.parent / "evil").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"format": 99, "versions": {"fastmagic": "7.0"}}, "fastmagic 7.0"),
        ({"format": "1"}, "broken"),
        ({"model__name": "os.system"}, "not known here"),
        ({"model__name": "hf-hub:evil/model", "model__library": "timm"}, "not known here"),
        ({"model__library": "yours"}, "no library"),
        ({"model__name": "resnet18", "model__library": "timm"}, "weights do not fit|broken"),
        ({"model__channels": 10**9}, "make no sense"),
        ({"model__outputs": 3}, "3 outputs for 2 classes"),
        ({"model__head": ["Sequential", [["Linear", {"in_features": 10**6, "out_features": 10**6, "bias": True}]]]}, "do not fit"),
        ({"model__head": ["os.system", {"command": "touch ../evil"}]}, "there is no layer"),
        ({"item_tfms": [["Resize", {"size": [10**9, 10**9], "method": "squish", "pad_mode": "zeros", "resamples": [2, 0]}]]}, "makes no sense"),
        ({"batch_tfms": [["Lambda", {"func": "print"}]]}, "there is no transform"),
        ({"batch_tfms": [["Normalize", {"mean": ["x"], "std": [1]}]]}, "makes no sense"),
        ({"loss": ["eval", {}]}, "there is no loss"),
        ({"opened": "PILMask"}, "opens pictures"),
        ({"target__kind": "boxes"}, "answers"),
        ({"target__classes": [["a"], ["b"]]}, "no list"),
        ({"target__classes": ["a", "a"]}, "outputs"),
        ({"kind": "texts"}, "no model that is known"),
        ({"example": {"activations": "many"}}, "missing"),
        ({"example": {"activations": [None, {}]}}, "no list of numbers"),
    ],
)  # fmt: skip
def test_words_that_make_no_sense_are_told(bundle: Path, tmp_path: Path, words: dict[str, Any], said: str):
    with pytest.raises(FastmagicError, match=said):
        load(written(tmp_path / "it.fastmagic", changed(bundle, **words)))


def test_what_a_model_answered_elsewhere_is_compared(bundle: Path, tmp_path: Path):
    parts = changed(bundle, example={"activations": [0.0, 1.0]}, versions={"torch": "1.0"})
    with pytest.warns(UserWarning, match=r"answers otherwise here.*torch 1\.0"):
        load(written(tmp_path / "it.fastmagic", parts))


def test_weights_that_are_forged_are_told(bundle: Path, tmp_path: Path):
    from safetensors.torch import load as tensors_of
    from safetensors.torch import save

    parts = entries(bundle)
    weights = tensors_of(parts[archive.WEIGHTS])
    name = next(key for key, value in weights.items() if value.ndim == 4)
    for forged, said in (
        ({**weights, name: torch.full_like(weights[name], float("nan"))}, "no numbers"),
        ({**weights, name: weights[name][:1].clone()}, "do not fit"),
        ({key: value for key, value in weights.items() if key != name}, "do not fit"),
        ({**weights, "more": weights[name].clone()}, "do not fit"),
    ):
        with pytest.raises(FastmagicError, match=said):
            load(written(tmp_path / "it.fastmagic", {**parts, archive.WEIGHTS: save(forged)}))
    with pytest.raises(FastmagicError, match="cannot be read"):
        load(written(tmp_path / "it.fastmagic", {**parts, archive.WEIGHTS: b"\x80\x05cos\nsystem\n."}))


def test_a_bomb_is_not_unpacked(bundle: Path, tmp_path: Path):
    parts = entries(bundle)
    parts[archive.WEIGHTS] = bytes(300_000_000)
    with pytest.raises(FastmagicError, match="300,000,000 bytes"):
        load(written(tmp_path / "it.fastmagic", parts, zipfile.ZIP_DEFLATED))
    parts = {**entries(bundle), archive.DESCRIPTION: b" " * 5_000_000}
    with pytest.raises(FastmagicError, match="5,000,000 bytes"):
        load(written(tmp_path / "it.fastmagic", parts, zipfile.ZIP_DEFLATED))
    parts = {**entries(bundle), archive.DESCRIPTION: b"[" * 1_000_000}
    with pytest.raises(FastmagicError, match="cannot be read"):
        load(written(tmp_path / "it.fastmagic", parts))


def test_names_that_lead_elsewhere_and_pickles_beside_it_are_left_alone(bundle: Path, tmp_path: Path):
    evil = pickle.dumps(os.system)
    parts = {**entries(bundle), "../evil": b"x", "/tmp/evil": b"x", "data.pkl": evil, "archive/data.pkl": evil}
    load(written(tmp_path / "it.fastmagic", parts))
    parts = {f"{i}": b"" for i in range(100)} | parts
    with pytest.raises(FastmagicError, match="list of files"):
        load(written(tmp_path / "it.fastmagic", parts))
    with (
        zipfile.ZipFile(written(tmp_path / "it.fastmagic", entries(bundle)), "a") as out,
        pytest.warns(UserWarning, match="Duplicate"),
    ):
        out.writestr(archive.DESCRIPTION, b"{}")
    with pytest.raises(FastmagicError, match="list of files"):
        load(tmp_path / "it.fastmagic")
    for missing in (archive.WEIGHTS, archive.DESCRIPTION):
        parts = entries(bundle)
        del parts[missing]
        with pytest.raises(FastmagicError, match=r"missing|not opened"):
            load(written(tmp_path / "it.fastmagic", parts))
    (tmp_path / "it.fastmagic").write_bytes(evil)
    with pytest.raises(FastmagicError, match="was not opened"):
        load(tmp_path / "it.fastmagic")


def test_a_file_that_is_cut_off_or_damaged_says_so(bundle: Path, tmp_path: Path):
    whole, file, dice, loaded = bundle.read_bytes(), tmp_path / "it.fastmagic", random.Random(0), 0
    for i in range(500):
        damaged = bytearray(whole)
        how, at = (
            i % 4,
            dice.randrange(len(whole)) if i % 3 else dice.choice([dice.randrange(3000), -1 - dice.randrange(600)]),
        )
        if how == 0:
            damaged = damaged[:at]
        elif how == 1:
            damaged[at] ^= 1 << dice.randrange(8)
        elif how == 2:
            damaged[at:at] = dice.randbytes(dice.randrange(1, 9))
        else:
            del damaged[at : at + dice.randrange(1, 9)]
        file.write_bytes(damaged)
        try:
            load(file)
            loaded += 1  # what was hit is in the card, or in a part of the zip that nobody reads
        except FastmagicError:
            pass
    assert loaded < 250


def test_five_hundred_forged_descriptions_load_or_say_what_is_wrong(bundle: Path, tmp_path: Path):
    forge_descriptions(bundle, tmp_path / "it.fastmagic", 500)
