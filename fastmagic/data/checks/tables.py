"""Checks of tables that are learned row by row: gaps and their disguises, columns that say nothing, and such as say too much."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...errors import few, number
from ..listing import Listing
from ..report import Finding

GAPS = (
    "?",
    "-",
    "--",
    "na",
    "n/a",
    "nan",
    "none",
    "null",
    "unknown",
    "missing",
    "#n/a",
    ".",
)  # what people write for nothing
DIGITS_AMONG = 0.9  # of a column's texts are numbers; then the others are mistakes
SAMPLE = 5_000  # rows that are looked at for a column that gives the answer away
LEAK, DULL = 0.99, 0.95  # of the answers one column alone gives, where guessing gives no more than the second
LEVELS = 4  # questions that may be asked of that column


def table_checks(listing: Listing, fast: bool) -> Iterator[Finding]:
    """Find what is wrong with the columns of a table."""
    frame = listing.rows
    if frame is None or not len(frame):
        return
    import numpy as np

    frame = frame[[name for name in frame.columns if _plain(frame[name])]]
    numbers = [name for name in frame.columns if frame[name].dtype.kind == "f"]
    endless = {name: number(int(np.isinf(frame[name]).sum()), "row") for name in numbers if np.isinf(frame[name]).any()}
    if endless:
        yield Finding(
            "infinite", "error", f"Infinity stands in {_columns(endless)}: every loss would be nan.",
            "Make gaps of it: df = df.replace([np.inf, -np.inf], np.nan)", list(endless), details=endless,
        )  # fmt: skip
    if fast:
        return
    yield from _gaps(frame)
    yield from _same(listing, frame)
    if listing.target_columns:
        yield from _telling(frame, listing.target_columns)


def _plain(column: Any) -> bool:
    """Tell whether values of a column can be compared: lists cannot."""
    try:
        column.nunique()
    except TypeError:
        return False
    return True


def _columns(names: Any) -> str:
    names = list(names)
    return f"column{'s' if len(names) > 1 else ''} {few(map(repr, map(str, names)), 4)}"


def _gaps(frame: Any) -> Iterator[Finding]:
    shares = frame.isna().mean()
    gaps = {name: f"{share:.0%}" if share >= 0.01 else "below 1%" for name, share in shares.items() if share > 0}
    if gaps:
        yield Finding(
            "gaps", "note", f"There are gaps in {_columns(gaps)}.",
            "`datablock` fills them: numbers with the training median and a column that says so, categories with a class of their own.",
            list(gaps), details=gaps,
        )  # fmt: skip
    hidden: dict[Any, str] = {}
    mixed: dict[Any, str] = {}
    for name in frame.columns:
        if frame[name].dtype.kind in "iufbmM":
            continue
        texts = frame[name].dropna().astype(str).str.strip()
        counts = texts.value_counts()
        said = [text for text in counts.index if text.lower() in GAPS]
        if said:
            hidden[name] = f"{said[0]!r} in {number(int(counts[said].sum()), 'row')}"
        import pandas as pd

        rest = texts[~texts.isin(said)]
        read = pd.to_numeric(rest, errors="coerce").notna()
        if len(rest) and 1 > read.mean() >= DIGITS_AMONG:
            odd = rest[~read]
            mixed[name] = f"{odd.iloc[0]!r} and {len(odd) - 1:,} more" if len(odd) > 1 else repr(odd.iloc[0])
        elif len(rest) and said and read.all() and rest.nunique() > 2:
            mixed[name] = repr(said[0])
    if hidden:
        first = next(iter(hidden))
        mark = hidden[first].split("'")[1]
        yield Finding(
            "hidden-gaps", "note", f"In {_columns(hidden)} a gap has a name, which is learned as a class of its own.",
            f"Make gaps of it: df = df.replace({mark!r}, None)", list(hidden), details=hidden,
        )  # fmt: skip
    if mixed:
        first = next(iter(mixed))
        yield Finding(
            "text-among-numbers", "warning", f"{_columns(mixed).capitalize()} would be numbers but for some text: each number is a class so.",
            f"df[{first!r}] = pd.to_numeric(df[{first!r}], errors='coerce')", list(mixed), details=mixed,
        )  # fmt: skip


def _same(listing: Listing, frame: Any) -> Iterator[Finding]:
    inputs = [name for name in frame.columns if name not in listing.target_columns]
    still = [name for name in inputs if frame[name].nunique(dropna=False) <= 1]
    if still:
        yield Finding(
            "constant-column",
            "note",
            f"The same stands in every row of {_columns(still)}.",
            "`datablock` leaves it out.",
            still,
        )
    for name in listing.target_columns:
        if frame[name].nunique() < 2:
            yield Finding(
                "one-target", "error", f"Column {str(name)!r}, which is to be predicted, is the same in every row.",
                "Name another: `target=COLUMN`", [name],
            )  # fmt: skip
    twice = frame.duplicated(keep=False)
    if not twice.any():
        return
    spare = int(frame.duplicated().sum())
    both = 0
    if listing.splits is not None:
        import pandas as pd

        sides = pd.Series(listing.splits, index=frame.index)[twice]
        groups = frame[twice].groupby(list(frame.columns), dropna=False, sort=False, observed=True).ngroup()
        both = int((sides.groupby(groups).nunique() > 1).sum())
    message = f"{number(spare, 'row is', 'rows are')} the same as another in all columns"
    yield Finding(
        "same-row",
        "warning" if both else "note",
        f"{message}; {both:,} of these are both trained and validated on." if both else f"{message}.",
        "Keep the first: df = df.drop_duplicates()",
    )


def _telling(frame: Any, targets: list[Any]) -> Iterator[Finding]:
    """Find columns that give the answer away alone."""
    from ..tables import measures

    target = targets[0]
    if len(targets) > 1 or measures(frame[target]):
        numbers = [name for name in frame.columns if name not in targets and frame[name].dtype.kind in "iuf"]
        copies = [name for name in numbers if len(targets) == 1 and abs(frame[name].corr(frame[target])) > 1 - 1e-6]
        if copies:
            yield _leak(copies, target)
        return
    some = frame[frame[target].notna()]
    some = some.sample(min(SAMPLE, len(some)), random_state=0)
    answers = some[target].astype(str).to_numpy()
    if len(some) < 20 or _commonest(answers) > DULL:
        return
    found = [name for name in frame.columns if name not in targets and _alone(some[name], answers) >= LEAK]
    if found:
        yield _leak(found, target)


def _leak(names: list[Any], target: Any) -> Finding:
    return Finding(
        "leak",
        "warning",
        f"{_columns(names).capitalize()} alone gives {str(target)!r} away: it may be known only afterwards, or be the answer in other words.",
        f"Where it is not known when somebody asks, leave it out: df = df.drop(columns={names!r})",
        names,
    )


def _alone(column: Any, answers: Any) -> float:
    """Return the share of answers that a column alone gives, on rows that the rule was not made from."""
    import numpy as np
    from sklearn.model_selection import cross_val_score
    from sklearn.tree import DecisionTreeClassifier

    if column.nunique() < 2:
        return 0.0
    codes = column.rank(method="dense").fillna(-1) if column.dtype.kind in "iufb" else None
    if codes is None:
        # Of a category the commonest answer of the other rows; of one that comes once, nothing.
        values = column.astype(str).to_numpy()
        half = np.arange(len(values)) % 2 == 0
        rule: dict[str, str] = {}
        for value in set(values[half]):
            rule[value] = max(set(of := list(answers[half][values[half] == value])), key=of.count)
        return float(
            np.mean([rule.get(value) == answer for value, answer in zip(values[~half], answers[~half], strict=True)])
        )
    folds = min(3, int(min(np.unique(answers, return_counts=True)[1])))
    if folds < 2:
        return 0.0
    tree = DecisionTreeClassifier(max_depth=LEVELS, random_state=0)
    return float(cross_val_score(tree, codes.to_numpy()[:, None], answers, cv=folds).mean())


def _commonest(answers: Any) -> float:
    import numpy as np

    return float(np.unique(answers, return_counts=True)[1].max() / len(answers))
