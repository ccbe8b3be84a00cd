"""A table: rows learned from rows, by the same magics as images."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import fastmagic
from fastmagic.errors import FastmagicError
from fastmagic.kinds import IMAGE, TABLE, kind_of
from fastmagic.kinds.table import y_range
from fastmagic.learning import train as training


@pytest.fixture(scope="module")
def people() -> pd.DataFrame:
    """400 made-up people: who is over thirty and works long earns more, of some the hours are not known."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "id": range(1000, 1400),
            "name": [f"person {i}" for i in random.permutation(400)],
            "age": random.integers(18, 80, 400),
            "hours": random.normal(38, 6, 400).round(1),
            "work": random.choice(["office", "field", "none"], 400),
            "children": random.integers(0, 4, 400),
            "planet": "earth",
            "seen": pd.Timestamp("2026-01-01") + pd.to_timedelta(random.integers(0, 90, 400), "D"),
        }
    )
    frame["rich"] = np.where((frame.age > 30) & (frame.hours > 36), "yes", "no")
    frame["income"] = frame.age * 50 + frame.hours * 20 + random.normal(0, 20, 400)
    frame.loc[::9, "hours"] = np.nan
    return frame


@pytest.fixture
def data(shell, people):
    people.to_csv("people.csv", index=False)
    return shell


def last_losses(learn) -> list[float]:
    return [float(value) for value in learn.recorder.values[-1]]


# ---------------------------------------------------------------- from a table to `DataLoaders`


def test_columns_are_sorted_and_those_that_say_nothing_left_out_aloud(data, capsys):
    data.run("%datablock dls --from people.csv --target rich --show 3")
    said = " ".join(capsys.readouterr().out.split())
    dls = data.user_ns["dls"]
    assert kind_of(dls) is TABLE
    assert [n for n in dls.cat_names if n != "hours_na"] == ["work", "children"]
    assert list(dls.cont_names) == ["age", "hours", "income"]
    assert "column 'rich' is to be predicted: 2 classes: no, yes" in said
    assert "left out: 'id', 'name' (another value in every row" in said
    assert "left out: 'planet' (the same in every row)" in said
    assert "'seen' (a date; add_datepart(df, …)" in said
    assert "train 320" in said
    assert "work children" in said  # the first rows, as people read them


def test_a_column_that_is_called_label_needs_no_name(people):
    dls = fastmagic.datablock(people.rename(columns={"rich": "label"}))
    assert list(dls.y_names) == ["label"]


def test_a_column_of_the_split_is_obeyed(people):
    dls = fastmagic.datablock(people.assign(is_valid=[i % 4 == 0 for i in range(400)]), target="rich")
    assert (len(dls.train_ds), len(dls.valid_ds)) == (300, 100)
    assert "is_valid" not in [*dls.cat_names, *dls.cont_names]


@pytest.mark.parametrize(
    ("answers", "cause", "fix"),
    [
        ({}, "Which column is to be predicted?", "`target=COLUMN`"),
        ({"target": "ritch"}, "has no column 'ritch'", "Did you mean 'rich'?"),
        ({"target": "planet"}, "'planet' is the same in every row", "Name another"),
        ({"target": "hours"}, "45 of 400 rows have no 'hours'", "dropna"),
        ({"y_names": "rich", "cat_names": ["work", "rich"]}, "'rich' is to be predicted, and cannot be", "Take it out"),
        ({"y_names": "rich", "cat_names": ["wrok"]}, "has no column 'wrok'", "Did you mean 'work'"),
        ({"target": "rich", "cat_names": [], "cont_names": []}, "No column is left", "Name some"),
        (
            {"target": "rich", "cat_names": ["work"], "item_tfms": []},
            "item_tfms is no question about tables",
            "y_names",
        ),
    ],
)
def test_what_cannot_be_is_said_with_the_way_out(people, answers, cause, fix):
    with pytest.raises(FastmagicError) as error:
        fastmagic.datablock(people, **answers)
    assert cause in error.value.cause
    assert fix in error.value.fix


def test_questions_about_tables_are_not_asked_of_a_folder(shapes):
    with pytest.raises(FastmagicError, match="cat_names is asked of a table"):
        fastmagic.datablock(shapes, cat_names=["work"])


def test_a_table_of_files_is_still_one_of_images(shapes):
    files = sorted(shapes.glob("*/*.png"))
    frame = pd.DataFrame({"file": map(str, files), "label": [f.parent.name for f in files], "other": range(len(files))})
    assert kind_of(fastmagic.datablock(frame)) is IMAGE
    dls = fastmagic.datablock(frame, y_names="label", cat_names=[], cont_names=["other"])
    assert kind_of(dls) is TABLE  # who asks its questions gets a table


def test_the_column_of_labels_of_images_can_be_named_too(shapes):
    files = sorted(shapes.glob("*/*.png"))
    frame = pd.DataFrame({"file": map(str, files), "who": "me", "what": [f.parent.name for f in files]})
    with pytest.raises(FastmagicError, match="Which column holds the label"):
        fastmagic.datablock(frame)
    assert list(fastmagic.datablock(frame, target="what").vocab) == ["disc", "square"]


def test_lists_and_table_of_the_user_are_left_as_they_are(people):
    cats, conts, before = ["work"], ["hours"], people.copy()
    dls = fastmagic.datablock(people, y_names="rich", cat_names=cats, cont_names=conts)
    assert "hours_na" in dls.cat_names
    assert (cats, conts) == (["work"], ["hours"])
    pd.testing.assert_frame_equal(people, before)


# ---------------------------------------------------------------- learning


@pytest.mark.parametrize("target", ["rich", "income"])
def test_the_program_gives_the_same_losses_in_a_fresh_process(data, tmp_path, target):
    body = "hidden = ['income', 'rich']\ncont_names = [n for n in ('age', 'hours') if n not in hidden]"
    data.run(f"%%datablock dls --from people.csv --target {target} --show 0\n{body}")
    data.run("%train dls --epochs 2")
    learn = data.user_ns["learn"]
    file = tmp_path / "program.py"
    file.write_text(fastmagic.code(learn) + "\nprint([float(value) for value in learn.recorder.values[-1]])")
    assert "from fastai.tabular.all import *" in file.read_text()
    done = subprocess.run([sys.executable, "-W", "ignore", str(file)], capture_output=True, text=True, timeout=500)
    assert done.stdout.strip().splitlines()[-1] == str(last_losses(learn)), done.stderr


def test_classes_are_learned_by_default(people):
    learn = fastmagic.train(fastmagic.datablock(people.drop(columns="income"), target="rich"))
    assert fastmagic.results(learn).correct.mean() > 0.85
    assert [m.name for m in learn.metrics] == ["accuracy"]


def test_numbers_are_learned_by_default_and_stay_near_what_was_seen(people, capsys):
    frame = people.drop(columns="rich")
    dls = fastmagic.datablock(frame, target="income")
    learn = fastmagic.train(dls)
    _, _, mae = last_losses(learn)
    income = frame.income
    assert mae < (income - income.median()).abs().mean() / 3
    assert "Answers stay between" in capsys.readouterr().out
    said = fastmagic.predict(frame.assign(age=1000), learn).frame.label
    assert said.max() < income.max() + 0.1 * (income.max() - income.min())


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ([25, 346], (9, 362)),
        ([0.0, 1.0], (-0.05, 1.05)),
        ([1_000_000.0, 1_000_001.0], (999_999.95, 1_000_001.05)),
        ([0, 5_000_000], (-250_000, 5_250_000)),
    ],
)
def test_the_range_holds_all_numbers_however_large_or_close(numbers, expected):
    low, high = y_range(pd.Series(numbers))
    assert (low, high) == pytest.approx(expected)
    assert low < min(numbers)
    assert high > max(numbers)


def test_the_real_census_is_learned(shared_data):
    dls = fastmagic.datablock(shared_data / "adult.csv", target="salary")
    learn = fastmagic.train(dls, epochs=1)
    assert last_losses(learn)[-1] >= 0.84


def test_another_batch_size_keeps_what_a_model_of_tables_can(people):
    dls = fastmagic.datablock(people, target="rich", cont_names=["age", "hours"])
    learn = fastmagic.train(dls, epochs=1, bs=20)
    assert (learn.dls.bs, dls.bs) == (20, 32)
    assert fastmagic.predict(people.iloc[0], learn).label in ("yes", "no")


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({"arch": "resnet18"}, "resnet18 is an architecture for images"),
        ({"weights": "w.pth"}, "w.pth is a file of weights for images"),
        ({"metrics": "acuracy"}, "Did you mean 'accuracy'"),
        ({"epochs": 0}, "train nothing"),
    ],
)
def test_what_is_for_images_is_refused(people, options, cause):
    dls = fastmagic.datablock(people, target="rich")
    with pytest.raises(FastmagicError, match=cause):
        training.plan(dls, **options)


# ---------------------------------------------------------------- the magics after it


def test_the_same_magics_go_on_from_it(data, capsys):
    data.run("%datablock dls --from people.csv --target rich --show 0")
    data.run("%train --epochs 1")
    data.run("import pandas as pd\ndf = pd.read_csv('people.csv')\nrow = df.iloc[3]")
    data.run("%predict row")
    assert data.user_ns["preds"].label in ("yes", "no")
    data.run("%predict people.csv")
    assert len(data.user_ns["preds"]) == 400
    data.run("%results")
    assert data.user_ns["res"].look(0)[0][0] in data.user_ns["dls"].cat_names
    data.run("%check dls")
    capsys.readouterr()
    with pytest.raises(FastmagicError, match="`explain` walks an item of a DataBlock"):
        data.run("%datablock --explain")
    data.run("%train dls --code")
    assert "tabular_learner(dls, metrics=accuracy)" in capsys.readouterr().out
