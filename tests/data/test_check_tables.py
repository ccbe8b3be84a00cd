"""Checks of tables that are learned row by row."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import fastmagic
from fastmagic.errors import FastmagicError


def table(n: int = 400) -> pd.DataFrame:
    random = np.random.default_rng(0)
    age, hours = random.normal(40, 10, n).round(1), random.normal(38, 8, n).round(2)
    trade = random.choice(["smith", "baker", "cook"], n)
    rich = (age + hours + random.normal(0, 8, n) > 80).astype(int)
    return pd.DataFrame({"age": age, "hours": hours, "trade": trade, "label": np.where(rich, "rich", "poor")})


def test_a_good_table():
    report = fastmagic.check(table())
    assert report.headline() == "✓ 400 rows, 2 classes: nothing wrong found"
    assert fastmagic.check(fastmagic.datablock(table())).ok


def test_gaps_and_their_disguises():
    frame = table()
    frame.loc[:39, "age"] = np.nan
    frame.loc[50:54, "trade"] = "?"
    frame["wage"] = [str(i) for i in range(400)]
    frame.loc[[3, 8], "wage"] = ["12 pounds", "much"]
    frame["size"] = [str(i % 90) for i in range(400)]
    frame.loc[7, "size"] = "n/a"
    report = fastmagic.check(frame)
    assert report["gaps"].details == {"age": "10%"}
    assert report["hidden-gaps"].details == {"trade": "'?' in 5 rows", "size": "'n/a' in 1 row"}
    assert report["text-among-numbers"].details == {"wage": "'12 pounds' and 1 more", "size": "'n/a'"}
    names = {"df": frame.copy(), "pd": pd}
    exec(report["text-among-numbers"].fix, names)
    assert names["df"]["wage"].isna().sum() == 2
    exec(report["hidden-gaps"].fix.partition(": ")[2], names)
    assert names["df"]["trade"].isna().sum() == 5


def test_columns_that_say_nothing_and_columns_that_say_too_much():
    frame = table().assign(country="here")
    frame["tax class"] = frame["label"].map({"rich": "upper", "poor": "lower"})
    frame["tax"] = np.where(frame["label"] == "rich", 300.5, 100.25) + np.random.default_rng(1).random(400)
    report = fastmagic.check(frame)
    assert report["constant-column"].items == ["country"]
    assert report["leak"].items == ["tax class", "tax"]
    assert report["leak"].message.startswith("Columns 'tax class', 'tax' alone gives 'label' away")
    names = {"df": frame}
    exec(report["leak"].fix.partition(": ")[2], names)
    assert fastmagic.check(names["df"])["leak"] is None
    cost = table().assign(label=lambda df: df["age"] * 3.5).assign(cents=lambda df: df["label"] * 100)
    assert fastmagic.check(fastmagic.datablock(cost, target="label"))["leak"].items == ["age", "cents"]
    # Where nearly all are of one class, every column gives nearly all answers.
    rare = table().assign(label=["a"] * 390 + ["b"] * 10)
    assert "leak" not in fastmagic.check(rare)


def test_a_row_that_stands_on_both_sides():
    frame = pd.concat([table(), table().head(60)], ignore_index=True)
    assert fastmagic.check(frame)["same-row"].severity == "note"
    report = fastmagic.check(fastmagic.datablock(frame))
    assert report["same-row"].severity == "warning"
    assert "60 rows are the same as another in all columns; " in report["same-row"].message
    assert "are both trained and validated on" in report["same-row"].message


def test_infinity_stops_a_training():
    frame = table()
    frame.loc[5, "age"] = np.inf
    dls = fastmagic.datablock(frame)
    assert fastmagic.check(dls, fast=True)["infinite"].details == {"age": "1 row"}
    with pytest.raises(FastmagicError, match="Infinity stands in column 'age'"):
        fastmagic.train(dls)
    names = {"df": frame, "np": np}
    exec(fastmagic.check(frame)["infinite"].fix.partition(": ")[2], names)
    assert fastmagic.train(fastmagic.datablock(names["df"]), epochs=1)


def test_a_target_of_one_value_and_odd_tables():
    assert "one-target" in fastmagic.check(table().assign(label="rich"))
    odd = table().assign(parts=[[1, 2]] * 400)
    odd.columns = ["age", 3, "trade", "label", "parts"]
    assert fastmagic.check(odd).headline().startswith("✓ 400 rows")
    assert fastmagic.check(table().head(1))
    assert "There is not one item" in repr(fastmagic.check(table().head(0)))


def test_the_magic_and_real_tables(shell, shared_data):
    shell.run(f"%check {shared_data}/adult.csv --into report")
    assert shell.user_ns["report"].headline().startswith("✓ 32,561 rows")
    dls = fastmagic.datablock(shared_data / "adult.csv", target="salary")
    report = fastmagic.check(dls)
    assert report["hidden-gaps"].items == ["workclass", "occupation", "native-country"]
    assert "24 rows are the same" in report["same-row"].message
    assert "leak" not in report
