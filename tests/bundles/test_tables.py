"""Models of tables travel too: columns, what fills, sorts and scales them, and the same answers."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from bundle_files import changed, entries, forge_descriptions, written

import fastmagic
from fastmagic.bundles import archive, tables
from fastmagic.bundles.check import check
from fastmagic.bundles.learner import export, load
from fastmagic.errors import FastmagicError


def people(n: int = 300) -> pd.DataFrame:
    dice = np.random.default_rng(0)
    frame = pd.DataFrame({
        "age": dice.integers(17, 90, n),
        "hours": dice.normal(40, 9, n).round(1),
        "work": dice.choice(["Private", "State", "Größe & <b>"], n),
        "married": dice.choice([True, False], n),
        "rank": dice.integers(1, 5, n),
    })  # fmt: skip
    frame.loc[::7, "hours"] = np.nan
    frame.loc[::11, "work"] = None
    frame["rich"] = np.where(frame.age + frame["rank"] * 9 > 70, "yes", "no")
    frame["pay"] = frame.age * 10.0 + frame["rank"]
    return frame


@pytest.fixture(scope="module", params=["rich", "pay", "rank"])
def learn(request: pytest.FixtureRequest) -> Any:
    """Models of a class in words, of a number, and of a class that is a number."""
    frame = people().drop(columns={"rich": "pay", "pay": "rich", "rank": "pay"}[request.param])
    dls = fastmagic.datablock(frame, target=request.param, bs=32)
    return fastmagic.train(dls, epochs=1, checks=False)


@pytest.fixture(scope="module")
def bundle(learn: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(learn, tmp_path_factory.mktemp("bundle") / "people.fastmagic").file


def test_it_answers_as_before(learn: Any, bundle: Path):
    again, new = load(bundle), people(40).iloc[5:]
    new.loc[8, "work"] = "never seen"
    before, after = fastmagic.predict(new, learn), fastmagic.predict(new, again)
    pd.testing.assert_frame_equal(after.frame, before.frame, atol=1e-5, check_dtype=False)
    row = new.iloc[0]
    assert fastmagic.predict(row, again).label == fastmagic.predict(row, learn).label
    if list(learn.dls.y_names) == ["rich"]:  # fastai's own `predict` of a row fails where a number is predicted
        with learn.no_bar(), again.no_bar():
            np.testing.assert_allclose(again.predict(row)[2], learn.predict(row)[2], atol=1e-5)
    assert "answers alike to 60 rows" in check(learn, bundle)


def test_its_card_and_its_example(learn: Any, bundle: Path, tmp_path: Path):
    with zipfile.ZipFile(bundle) as opened:
        assert sorted(opened.namelist()) == ["README.md", "bundle.json", "model.safetensors"]
        card, said = opened.read("README.md").decode(), json.loads(opened.read("bundle.json"))
    assert "pipeline_tag: tabular-" in card
    assert "rows, and 60 for validation" in card
    assert set(said["example"]["row"]) == set(learn.dls.x_names) - {"hours_na"}
    bare = export(learn, tmp_path / "bare", example=False)
    assert "example" not in bare.description
    load(bare.file)
    with pytest.raises(FastmagicError, match="into ONNX"):
        export(learn, tmp_path / "it", onnx=True)


def test_a_learner_of_plain_fastai_and_what_has_no_words(tmp_path: Path):
    from fastai.tabular.all import (
        Categorify,
        CategoryBlock,
        FillMissing,
        Normalize,
        RandomSplitter,
        TabularDataLoaders,
        TabularPandas,
        TabularProc,
        tabular_learner,
    )

    frame = people()

    def made(procs: list[Any], **config: Any) -> Any:
        table = TabularPandas(
            frame,
            procs,
            ["work", "married"],
            ["age", "hours"],
            "rich",
            CategoryBlock(),
            splits=RandomSplitter(seed=1)(frame),
        )
        return tabular_learner(table.dataloaders(bs=32), layers=[20, 10], config=config)

    def procs() -> list[Any]:
        return [Categorify, FillMissing(add_col=False), Normalize]

    learn = made(procs(), ps=[0.1, 0.2], embed_p=0.1, use_bn=False, bn_cont=False)
    again = load(export(learn, tmp_path / "plain").file)
    new = people(30)
    np.testing.assert_allclose(tables.answers(again, new), tables.answers(learn, new), atol=1e-5)
    only = TabularDataLoaders.from_df(
        frame, procs=[Categorify], cat_names=["work"], cont_names=[], y_names="rich", bs=32
    )
    learn = tabular_learner(only, layers=[8])
    again = load(export(learn, tmp_path / "cats").file)
    np.testing.assert_allclose(tables.answers(again, new), tables.answers(learn, new), atol=1e-5)

    class Doubles(TabularProc):
        def encodes(self, to):
            to["age"] = to["age"] * 2

    with pytest.raises(FastmagicError, match="procs has Doubles"):
        export(made([*procs(), Doubles]), tmp_path / "own")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"columns__cat_names": ["work", "work"]}, "no lists of names"),
        ({"columns__cont_names": "age"}, "no lists of names"),
        ({"procs": [["os.system", {"command": "touch evil"}]]}, "not those that are known"),
        ({"procs": [["Categorify", {"classes": [["nobody", ["a"]]]}]]}, "none of its columns"),
        ({"procs": [["Normalize", {"scales": [["age", 1.0, 0]]}]]}, "no numbers"),
        ({"procs": [["FillMissing", {"fills": [["age", "x"]]}]]}, "no numbers"),
        ({"model__embeds": [[10**12, 10**12]]}, "embeddings make no sense"),
        ({"model__embeds": [[10**7, 10**7]]}, "do not fit"),
        ({"model__conts": -1}, "numbers of columns"),
        ({"model__dropout": 7}, "dropout"),
        ({"target__kind": "classes"}, "answers"),
        ({"example": {"row": {"age": "many"}, "activations": [1.0]}}, "its own example"),
    ],
)
def test_words_that_make_no_sense_are_told(bundle: Path, tmp_path: Path, words: dict[str, Any], said: str):
    with pytest.raises(FastmagicError, match=said):
        load(written(tmp_path / "it.fastmagic", changed(bundle, **words)))
    assert archive.DESCRIPTION in entries(bundle)


def test_forged_descriptions_load_or_say_what_is_wrong(bundle: Path, tmp_path: Path):
    pytest.importorskip("hypothesis")
    forge_descriptions(bundle, tmp_path / "it.fastmagic", 200)


def test_a_first_row_in_a_fresh_process_says_nothing_of_fastais_own(learn, tmp_path: Path):
    file = export(learn, tmp_path / "it.fastmagic").file
    program = f"import fastmagic; print(fastmagic.predictor({str(file)!r}).state()['kind'])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=200)
    assert done.stdout == "row\n"
    assert "not writable" not in done.stderr
