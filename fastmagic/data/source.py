"""Where the items of a data block come from, and what was worked out about them, as a person would have written it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from .. import program
from ..errors import AnswerError, NotFoundError, RefusedError, did_you_mean, few, number
from .reading import Table, read_table
from .tables import Columns, is_table_name

if TYPE_CHECKING:
    from .plan import Plan

SEARCHED = 20_000  # items that are looked through for one without a label


@dataclass
class Source:
    """Where the items come from.

    Attributes:
        value: what `DataBlock.dataloaders` gets: a `Path` or a DataFrame (or the user's own object).
        lines: source lines that make it, ending in the variable called `name`.
        name: the variable's name in the program.
        folder: the folder that files lie in, where there is one.
        notes: what is worth saying of how a table was read.
    """

    value: Any
    lines: list[str]
    name: str
    folder: Path | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def is_table(self) -> bool:
        return hasattr(self.value, "columns") and hasattr(self.value, "iloc")


@dataclass
class Worked:
    """What was worked out: a source expression for each open question, and a sentence on how it was told.

    `source` is another one than was given where a table of labels lies beside images, or rows stay out.
    """

    answers: dict[str, str]
    why: str
    source: Source
    images: list[Path] = field(default_factory=list)  # some of the files, to measure


def resolve_source(source: Any, name: str = "") -> Source:
    """Return a source from a path, a CSV file, `'digits'`, a DataFrame or any object.

    Raises:
        FastmagicError: a path that does not exist; names the closest that does.
    """
    if isinstance(source, (str, PurePath)):
        path = Path(source).expanduser()
        if str(source) == "digits" and not path.exists():
            from .digits import digits

            return Source(digits(), ["from fastmagic import digits", "path = digits()"], "path", digits())
        if path.name == "u.data" and path.is_file():
            return resolve_source(path.parent)  # MovieLens, whose titles lie beside
        if path.is_file() and is_table_name(path):
            return source_of_table(path, read_table(path))
        if re.match(r"https?://", str(source)):
            raise AnswerError(
                f"{source} is an address.",
                f"Fetch it first: path = untar_data({str(source)!r}) for an archive; `images(source=FILE)` for addresses of photos.",
            )
        if not path.exists():
            raise NotFoundError(f"There is no folder or file {str(source)!r}.", beside(path))
        if path.suffix.lower() in (".zip", ".tgz", ".gz", ".tar", ".7z", ".rar"):
            raise AnswerError(
                f"{path} is an archive.",
                f"Unpack it first: import shutil; shutil.unpack_archive({str(path)!r}, {path.name.split('.')[0]!r})",
            )
        if path.is_file():
            raise AnswerError(f"{path} is a file.", "The source is a folder of photos, a CSV file or a DataFrame.")
        return Source(path, [f"path = Path({str(path)!r})"], "path", path)
    if hasattr(source, "columns") and hasattr(source, "iloc"):
        name = name or "df"
        return Source(
            source,
            [f"# {name}: your DataFrame, {len(source):,} rows: {few(source.columns, 6)}"],
            name,
            Path(),
        )
    name = name or "source"
    literal = program.literal_source(source)
    line = f"{name} = {literal}" if literal and len(literal) < 2000 else f"# {name}: your {type(source).__name__}"
    return Source(source, [line], name)


def beside(place: Path) -> str:
    """Say which folder or table beside a missing `place` may have been meant, or what there is."""
    parent = place.parent
    while not parent.is_dir() and parent != parent.parent:
        place, parent = parent, parent.parent
    if not parent.is_dir():
        return ""
    names = sorted(p.name for p in parent.iterdir() if not p.name.startswith(".") and (p.is_dir() or is_table_name(p)))
    folder = "this folder" if parent == Path() else f"'{parent}'"
    return did_you_mean(place.name, names) or (
        f"In {folder} there is {few(names)}." if names else f"In {folder} there is neither a folder nor a table."
    )


def source_of_table(file: Path, table: Table) -> Source:
    """Return a table that was read from a file as a source."""
    return Source(table.frame, [f"df = {table.code}"], "df", file.parent, table.notes)


def rows_that_are_there(source: Source, columns: Columns) -> str:
    """Return what reads a table and keeps the rows whose files are there, in one line: none of it but the last for a DataFrame."""
    read = [line for line in source.lines if not line.startswith("#")]
    return "; ".join([*read, columns.leave_out(source.name)])


def refuse_untold(source: Source, column: Any) -> None:
    """Raise where rows of a table do not say what is to be predicted.

    Raises:
        FastmagicError: with the lines that leave them out.
    """
    frame = source.value
    missing, empty = frame[column].isna(), frame[column].astype(str).str.strip() == ""
    if not (missing | empty).any():
        return
    df = source.name
    rest = f"{df} = {df}.dropna(subset=[{column!r}])" if missing.any() else f"{df} = {df}[{df}[{column!r}] != '']"
    read = source.lines[0] if source.lines[0].startswith(f"{df} = ") else ""
    fix = f"Leave them out: {rest}" if not read else f"Leave them out, and take `datablock({df})`:\n{read}\n{rest}"
    raise RefusedError(
        f"{int((missing | empty).sum()):,} of {len(frame):,} rows have no {str(column)!r}, which is to be predicted.",
        fix,
    )


def unlabelled(plan: Plan) -> AnswerError | None:
    """Say for which items get_y gives no label, `None` or NaN, alone or among several."""
    answer = plan.answers.get("get_y")
    if answer is None or not callable(answer.value) or "blocks" not in plan.kind.questions:
        return None
    try:
        items = (plan.answers["get_items"].value if "get_items" in plan.answers else list)(plan.source.value)
        if hasattr(plan.source.value, "iloc"):
            items = [plan.source.value.iloc[i] for i in range(min(len(plan.source.value), SEARCHED))]
        found = [(item, answer.value(item)) for item in items[:SEARCHED]]
    except Exception:  # that is another fault
        return None
    missing = [(item, label) for item, label in found if any(one is None or one != one for one in _labels(label))]
    if not missing:
        return None
    item, label = missing[0]
    called = item if isinstance(item, (str, Path)) else f"row {getattr(item, 'name', item)}"
    return AnswerError(
        f"{answer.at}get_y gives {label!r} for {called}: a label is missing in {len(missing):,} of {number(len(found), 'item')}.",
        "Leave them out of get_items, or give them a label.",
        answer.line,
    )


def _labels(label: Any) -> list[Any]:
    return list(label) if isinstance(label, (list, tuple, set)) or type(label).__name__ == "L" else [label]


def default_bs(n_train: int) -> int:
    """Return a batch size that leaves a small set enough steps: fastai's 64 from 1,600 items on, 32, 16, and 8 below 32.

    fastai drops the last incomplete training batch, so a batch larger than the set would train on nothing at all.
    """
    for bs, least in ((64, 1600), (32, 320), (16, 32), (8, 8)):
        if n_train >= least:
            return bs
    return max(1, n_train)


def random_split(seed: int | None) -> str:
    return f"RandomSplitter(0.2, seed={seed})" if seed is not None else "RandomSplitter(0.2)"


def split_by(source: Source, columns: Columns) -> tuple[Source, str, str]:
    """Return the rows that are trained and validated on, the splitter that a column says, and what stays out."""
    sides = columns.sides or {}
    by_side = {side: [value for value in sides if sides[value] == side] for side in ("valid", "test")}
    column = source.value[columns.split]
    if column.dtype.kind == "b" or (column.dtype.kind in "iu" and by_side["valid"] == [1]):
        splitter = f"ColSplitter({columns.split!r})"
    else:
        splitter = f"ColSplitter({columns.split!r}, on={_one_or_list(by_side['valid'])})"
    if not by_side["test"]:
        return source, splitter, ""
    out = column.isin(by_side["test"])
    line = f"{source.name} = {source.name}[~{source.name}[{columns.split!r}].isin({by_side['test']!r})]"
    rest = replace(source, value=source.value[~out], lines=[*source.lines, line])
    return rest, splitter, f" (the {int(out.sum()):,} rows of {few(map(repr, by_side['test']))} stay out)"


def _one_or_list(values: list[Any]) -> str:
    return repr(values[0]) if len(values) == 1 else repr(values)
