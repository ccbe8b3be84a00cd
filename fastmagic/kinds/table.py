"""Rows of a table, one column to be predicted from the others: fastai's `TabularPandas` and `tabular_learner`."""

from __future__ import annotations

import ast
import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data.items import vocab
from ..data.opening import no_such_file
from ..data.reading import read_table
from ..data.source import Source, Worked, random_split, refuse_untold, split_by
from ..data.tables import column_named, measures, read_columns
from ..data.targets import target_of
from ..errors import AnswerError, NotFoundError, RefusedError, few
from ..render import Shown, html_table, text_table
from .kind import Asked, Kind, Learning, rebatched, steps

if TYPE_CHECKING:
    from ..data.plan import Plan

OWN = ("y_names", "cat_names", "cont_names", "procs", "y_block")
# Whole numbers with no more different values than this are categories, as fastai's `cont_cat_split` has it.
FEW_VALUES = 20
# Measured on eight tables of 150 to 6,000 rows and one of 32,561: with fewer steps than some 240 the small ones are not
# learned well, and with fastai's own 1e-3 less well.
EPOCHS, MOST_EPOCHS, STEPS, LR = 3, 30, 240, 3e-3


class Table(Kind):
    """Rows of a table."""

    name = "tables"
    module = "fastai.tabular.all"
    questions: tuple[str, ...] = ("y_names", "cat_names", "cont_names", "procs", "splitter", "y_block")
    metrics = {"class": "accuracy", "classes": "accuracy_multi", "numbers": "mae"}  # noqa: RUF012
    target = "y_names"
    lighter = "fewer columns"

    def recognises(self, source: Source, answered: Mapping[str, Any]) -> bool:
        if any(question in answered for question in OWN):
            return True
        images = {"blocks", "get_items", "get_x", "get_y", "getters", "item_tfms", "batch_tfms"}
        if not source.is_table or images & set(answered):
            return False
        return read_columns(source.value, source.folder or Path()).file is None

    def infer(self, source: Source, answered: Mapping[str, Any], seed: int | None, target: str | None) -> Worked | None:
        if not source.is_table:
            question = next(name for name in OWN if name in answered)
            raise AnswerError(
                f"{question} is asked of a table, and {source.value} is none.",
                "Give a CSV file or a DataFrame: `datablock('adult.csv')`",
            )
        frame, columns = source.value, read_columns(source.value, source.folder or Path(), target)
        y = answered["y_names"].value if "y_names" in answered else columns.label
        ys = [
            column_named(frame, name) for name in (y if isinstance(y, (list, tuple)) else [y] if y is not None else [])
        ]
        if not ys:
            raise NotFoundError(
                "No column names image files, so the rows themselves are learned. Which column is to be predicted? "
                f"The table has {few(frame.columns, 8)}.",
                "Name it: `target=COLUMN`, or `y_names=COLUMN`",
            )
        for name in ys:
            refuse_untold(source, name)
            if frame[name].nunique() < 2:
                raise AnswerError(
                    f"Column {str(name)!r} is the same in every row: there is nothing to predict.",
                    "Name another: `target=COLUMN`",
                )
        category = len(ys) == 1 and is_category(frame[ys[0]])
        given = [n for q in ("cat_names", "cont_names") if q in answered for n in _names(answered[q].value, frame)]
        if clash := [name for name in given if name in ys]:
            raise AnswerError(
                f"Column {str(clash[0])!r} is to be predicted, and cannot be what it is predicted from.",
                "Take it out of cat_names and cont_names.",
            )
        answers = {"y_names": repr(ys[0]) if len(ys) == 1 else repr(ys)}
        why = [f"column {ys[0]!r} is to be predicted: {_what(frame[ys[0]], category)}"] if len(ys) == 1 else []
        out: dict[str, list[str]] = {}
        cats, conts = _features(frame, [*ys, columns.split, *given], out)
        answers["cat_names"], answers["cont_names"] = repr(cats), repr(conts)
        if not ("cat_names" in answered and "cont_names" in answered):
            why += _left_out(out)
        answers["procs"] = "[Categorify, FillMissing, Normalize]"
        answers["splitter"] = random_split(seed)
        if columns.split is not None and "splitter" not in answered:
            source, answers["splitter"], left_out = split_by(source, columns)
            why.append(f"column {columns.split!r} is the split{left_out}")
        why += source.notes
        several = f"RegressionBlock(n_out={len(ys)})" if len(ys) > 1 else "RegressionBlock"
        answers["y_block"] = "CategoryBlock" if category else several
        worked = [*(cats if "cat_names" not in answered else []), *(conts if "cont_names" not in answered else [])]
        if not given and not worked:
            raise NotFoundError(
                "; ".join([f"No column is left to predict {ys[0]!r} from", *_left_out(out)]) + ".",
                "Name some: cat_names = ['…'], cont_names = ['…']. Or, where a column names photos, give their folder.",
            )
        answers = {question: text for question, text in answers.items() if question not in answered}
        return Worked(answers, "; ".join(why), source)

    def data(self, plan: Plan) -> Any:
        from fastai.tabular.core import TabularPandas

        answers = {question: answer.value for question, answer in plan.answers.items()}
        frame, splitter = plan.source.value, answers.pop("splitter")
        # Copies: fastai adds the columns that say what was filled in to the lists it is given.
        own = {q: list(v) if isinstance(v, (list, tuple)) else v for q, v in answers.items()}
        with without_fastais_own_warnings():
            return TabularPandas(frame, **own, splits=splitter(frame))

    def loaders(self, plan: Plan, data: Any) -> Any:
        with without_fastais_own_warnings():
            return data.dataloaders(path=".", **{name: answer.value for name, answer in plan.loader.items()})

    def lines(
        self, answers: Mapping[str, str], loader: Mapping[str, str], source: str, name: str, free: Callable[[str], str]
    ) -> list[str]:
        table = free("table")
        return [
            f"{table} = TabularPandas(",
            f"    {source},",
            *[f"    {question}={text}," for question, text in answers.items() if question != "splitter"],
            f"    splits={called(answers['splitter'])}({source}),",
            ")",
            f"{name} = {table}.dataloaders({', '.join(f'{q}={text}' for q, text in loader.items())})",
        ]

    def holds(self, dls: Any) -> bool:
        from fastai.tabular.core import TabDataLoader

        return isinstance(dls.train, TabDataLoader)

    def grid(self, dls: Any, n: int) -> Shown | None:
        table = dls.train.dataset
        n = min(n, len(table))
        if n < 1:
            return None
        rows = [self.row(table, table.items.iloc[i], [*table.y_names, *table.x_names]) for i in range(n)]
        names, cells = [name for name, _ in rows[0]], [[text for _, text in row] for row in rows]
        return Shown(html_table(names, cells), text_table(names, cells))

    def row(self, table: Any, row: Any, names: Any = None) -> list[tuple[str, str]]:
        """Return an encoded row of a `TabularPandas` as people read it: (column, value) of its inputs, or of `names`."""
        decoded = table.decode_row(row)
        return [(name, _cell(decoded[name])) for name in (table.x_names if names is None else names)]

    def learning(self, dls: Any, asked: Asked) -> Learning:
        for given, what in ((asked.arch, "an architecture"), (asked.weights, "a file of weights")):
            if given is not None:
                raise AnswerError(
                    f"{given} is {what} for images; a table is learned by fastai's tabular_learner.",
                    "Leave it out: `train(dls)`",
                )
        if len(dls.train.dataset) == 0:
            raise RefusedError("The training set is empty.", "`check(dls)` tells why.")
        bs = asked.bs or dls.train.bs
        count = steps(dls, bs)
        target, arguments, notes = target_of(dls), ["dls"], []
        if target.kind == "numbers" and len(dls.train.dataset.y_names) == 1:
            low, high = y_range(dls.train.dataset.ys.iloc[:, 0])
            arguments.append(f"y_range=({low}, {high})")
            notes.append(f"Answers stay between {low} and {high}, a little beyond the training rows (y_range).")
        return Learning(
            name="tabular_learner",
            target=target,
            learner=("tabular_learner", arguments),
            bs=bs,
            epochs=max(EPOCHS, min(MOST_EPOCHS, math.ceil(STEPS / count))) if asked.epochs is None else asked.epochs,
            lr=LR,
            data=rebatched(dls, asked.bs, bs, unweighted(dls), "TabularDataLoaders"),
            notes=notes,
        )

    def rows(self, item: Any) -> tuple[Any, bool]:
        """Return what a model of tables is given as a DataFrame, and whether it is one row: a file, a row, rows."""
        import pandas as pd

        if isinstance(item, pd.DataFrame):
            return item, False
        if isinstance(item, (str, Path)):
            path = Path(item).expanduser()
            if not path.exists():
                raise no_such_file(path.absolute())
            return read_table(path).frame, False
        rows = [item] if (one := isinstance(item, (pd.Series, Mapping))) else list(item)
        for row in rows:
            if not isinstance(row, (pd.Series, Mapping)):
                raise AnswerError(
                    f"A {type(row).__name__} is no row of a table.",
                    "Give a DataFrame, a CSV file, or rows of a DataFrame.",
                )
        # Only through a frame do the columns get their own types back.
        return pd.DataFrame(rows).infer_objects(), one

    def labels(self, dls: Any, dataset: Any) -> list[Any] | None:
        """Return the class of every row of a dataset, `None` where numbers or several columns are predicted."""
        names = vocab(dls)
        if not names or len(dataset.y_names) != 1 or dataset.ys.iloc[:, 0].dtype.kind not in "iu":
            return None
        # A class that is only in the validation set has a code, but no name.
        return [names[code] if 0 <= code < len(names) else None for code in dataset.ys.iloc[:, 0]]


@contextmanager
def without_fastais_own_warnings() -> Iterator[None]:
    """Leave out what pandas and torch say of how fastai calls them; nothing a reader can act on."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        warnings.filterwarnings("ignore", category=FutureWarning, module="fastai.tabular")
        yield


def y_range(numbers: Any) -> tuple[float, float]:
    """Return the range that a network's answers are bent into: that of the numbers, and a twentieth of it on each side.

    Without, answers begin near zero: a table of 442 patients, whose numbers lie between 25 and 346, was off by 141 after
    22 epochs, and by 40 with it (61 is what the median is off by).
    """
    low, high = float(numbers.min()), float(numbers.max())
    margin = (high - low) / 20
    if not margin:
        return low, high
    digits = 1 - math.floor(math.log10(margin))  # of the margin two: few enough to read, enough for any range
    rounded = round(low - margin, digits), round(high + margin, digits)
    return rounded if digits > 0 else (int(rounded[0]), int(rounded[1]))


def unweighted(dls: Any) -> bool:
    """Tell whether `new`, which forgets the weights of rows, would forget any."""
    from fastai.tabular.core import TabDataLoader

    return all(isinstance(dl, TabDataLoader) and len(set(getattr(dl, "wgts", ()))) <= 1 for dl in dls.loaders)


def called(text: str) -> str:
    """Return an expression as something that can be called: a lambda gets its parentheses."""
    plain = isinstance(ast.parse(text, mode="eval").body, (ast.Name, ast.Attribute, ast.Call))
    return text if plain else f"({text})"


def _names(value: Any, frame: Any) -> list[Any]:
    return [column_named(frame, name) for name in ([value] if isinstance(value, str) else value)]


def is_category(series: Any) -> bool:
    """Tell whether a target is one of several classes: text, yes and no, or few whole numbers."""
    if series.dtype.kind in "iu":
        return bool(series.nunique() <= FEW_VALUES)
    return not measures(series)


def _what(series: Any, category: bool) -> str:
    if not category:
        return f"a number, {series.min():g} to {series.max():g}"
    return f"{series.nunique()} classes: {few(sorted(map(str, series.unique())), 4)}"


def _features(frame: Any, taken: list[Any], out: dict[str, list[str]]) -> tuple[list[Any], list[Any]]:
    """Return the columns that hold categories and those that hold numbers; what is neither goes to `out`, by reason."""
    cats, conts = [], []
    for name in frame.columns:
        if name in taken:
            continue
        series = frame[name]
        values = int(series.nunique())
        text = series.dtype.kind not in "iufb" and str(series.dtype) != "category"
        reason = ""
        if values <= 1:
            reason = "the same in every row"
        elif series.dtype.kind in "mM" or (text and _dates(series)):
            reason = "a date; add_datepart(df, …) makes columns of it"
        elif values == len(frame) and (text or series.dtype.kind in "iu") and _runs(series):
            reason = "another value in every row, as a number or a name of the row has"
        elif text and values > len(frame) / 2:
            reason = "text with hardly a value twice"
        if reason:
            out.setdefault(reason, []).append(name)
        elif series.dtype.kind == "f" or (series.dtype.kind in "iu" and values > FEW_VALUES):
            conts.append(name)
        else:
            cats.append(name)
    return cats, conts


def _left_out(out: Mapping[str, list[str]]) -> list[str]:
    return [f"left out: {few(map(repr, names), 4)} ({reason})" for reason, names in out.items()]


_DATE = re.compile(r"\d{4}-\d\d?-\d\d?([ T].*)?|\d\d?[/.]\d\d?[/.]\d{2,4}")


def _dates(series: Any) -> bool:
    return all(isinstance(value, str) and _DATE.fullmatch(value.strip()) for value in series.dropna().head(50))


def _runs(series: Any) -> bool:
    """Tell whether values number the rows: texts, or whole numbers that follow one another without gaps."""
    if series.dtype.kind not in "iu":
        return True
    return bool(series.max() - series.min() == len(series) - 1)


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, Real) and not isinstance(value, (bool, Integral)) else str(value)
