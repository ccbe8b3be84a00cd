"""Carrying out what was decided: files move, a table is corrected, or new `DataLoaders` read the old files differently.

Nothing is ever deleted: what is set aside goes to quarantine, and `Cleaning.revert` brings everything back.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import FastmagicError, RefusedError, few
from .decisions import Decision, Item, Journal, Made
from .items import holds_masks
from .listing import Listing
from .quarantine import HOME, inside_of, last_batch, relocate, restore

BY = "clean"


class Step(NamedTuple):
    """What will happen to one item.

    Attributes:
        position: of the item in the listing.
        decision: why.
        place: where its file goes, `None` where no file moves.
    """

    position: int
    decision: Decision
    place: Path | None


@dataclass
class Plan:
    """What applying the decisions will do.

    Attributes:
        how: "move" (files between class folders and into quarantine), "csv" (a corrected table) or "map" (nothing is
            touched: new `DataLoaders` leave out and relabel).
        steps: one an item, in the order of the items.
        why: why nothing is moved, for "csv" and "map".
        file: the table that will be written.
    """

    how: str
    steps: list[Step] = field(default_factory=list)
    why: str = ""
    file: Path | None = None

    @property
    def counts(self) -> Counter[str]:
        return Counter(step.decision.action for step in self.steps)

    def sentences(self, folder: Path | None) -> list[str]:
        """Return what will happen, for people."""
        relabel, aside = self.counts["relabel"], self.counts["aside"]
        if not self.steps:
            return ["There is nothing to do: no item is relabelled or set aside."]
        said = []
        if self.how == "move":
            if relabel:
                said.append(f"{_files(relabel)} into the folder of another class.")
            if aside:
                said.append(f"{_files(aside)} to quarantine: {(folder or Path()).name}/{HOME.as_posix()}.")
            said.append("Nothing is deleted or overwritten; it can all be brought back.")
        else:
            what = [f"{relabel:,} relabelled"] * bool(relabel) + [f"{aside:,} left out"] * bool(aside)
            where = f"A new table, {self.file}," if self.how == "csv" else "New DataLoaders"
            said.append(f"{where} with {' and '.join(what)}. {self.why} No file is touched.")
        return said

    def __str__(self) -> str:
        return " ".join(self.sentences(None))


@dataclass
class Done:
    """What applying did.

    Attributes:
        plan: what was planned.
        moved: old place → new place of every file that moved.
        places: new place by position in the listing, of the same files.
        stayed: files that could not be moved: links, and what lies outside the folder.
        dls: fresh `DataLoaders`, where there were some, or where only they can tell of the decisions.
    """

    plan: Plan
    moved: dict[Path, Path] = field(default_factory=dict)
    places: dict[int, Path] = field(default_factory=dict)
    stayed: list[Path] = field(default_factory=list)
    dls: Any = None

    def __str__(self) -> str:
        counts, said = self.plan.counts, []
        if self.plan.how == "move":
            aside = sum(HOME.parts[0] in new.parts for new in self.moved.values())
            if len(self.moved) > aside:
                said.append(f"{_files(len(self.moved) - aside, 'went')} into the folder of another class.")
            if aside:
                said.append(f"{_files(aside, 'went')} to quarantine.")
        else:
            where = f"in '{self.plan.file}'" if self.plan.file else "in the new DataLoaders"
            said.append(f"{counts['relabel']:,} relabelled and {counts['aside']:,} left out {where}.")
        if self.stayed:
            names = few([file.name for file in self.stayed])
            said.append(f"{_files(len(self.stayed), 'stayed')} (links, or outside the folder): {names}.")
        return " ".join(said)


class Cleaning:
    """The items of a data set, what was decided about them, and how to carry it out.

    Args:
        listing: the items.
        items: what the journal knows each of them by; `None` for those that it cannot know.
        journal: the decisions.
        dls: the `DataLoaders` that the listing is of.
        to: the file of a corrected table.
    """

    def __init__(
        self,
        listing: Listing,
        items: Sequence[Item | None],
        journal: Journal,
        dls: Any = None,
        to: Path | None = None,
    ):
        self.listing, self.items, self.journal, self.dls, self.to = listing, items, journal, dls, to
        self._first = list(listing.paths)  # where `dls` has its files

    def decisions(self) -> dict[int, Decision]:
        """Return what is decided now, by position."""
        now = self.journal.current()
        if not now:
            return {}
        where = self.places()
        return {i: decision for key, decision in now.items() for i in where.get(str(key), ())}

    def places(self) -> dict[str, list[int]]:
        """Return the positions of each item by its key in the journal, as text: hashing 100,000 paths takes a second.

        A file that stands in several rows of a table has several; what is decided about it goes for all of them.
        """
        first = next((path for path in self.items if isinstance(path, Path)), None)
        absolute = first is not None and first.is_absolute() and ".." not in first.parts
        base = "" if absolute else os.getcwd()
        where: dict[str, list[int]] = {}
        for i, item in enumerate(self.items):
            if isinstance(item, Path):
                key = str(item) if absolute else os.path.normpath(os.path.join(base, item))
            elif item is not None:
                key = str(self.journal.key(item))
            else:
                continue
            where.setdefault(key, []).append(i)
        return where

    def plan(self) -> Plan:
        """Return what `apply` will do."""
        self.journal.refresh(again=True)
        decided = {i: d for i, d in self.decisions().items() if d.action in ("relabel", "aside")}
        decided = {i: d for i, d in decided.items() if d.action == "aside" or not self._has_label(i, d.to)}
        how, why = self._how([i for i, d in decided.items() if d.action == "relabel"])
        plan = Plan(how, why=why, file=self._file() if how == "csv" else None)
        for position, decision in decided.items():
            place = None
            if how == "move" and decision.action == "relabel":
                file = self.listing.paths[position]
                assert file is not None
                place = file.parent.parent / str(decision.to) / file.name
            plan.steps.append(Step(position, decision, place))
        return plan

    def _how(self, relabelled: list[int]) -> tuple[str, str]:
        listing = self.listing
        if listing.frame is not None:
            return "csv", "The labels are in a table."
        if any(path is None for path in listing.paths):
            return "map", "These items are no files."
        if not self.journal.beside:
            return "map", "The data's folder cannot be written to."
        if not all(self._in_class_folder(i) for i in relabelled):
            return "map", "The labels are not the names of the folders."
        if listing.kind == "table":
            return "map", "The table is not at hand."
        return "move", ""

    def _has_label(self, position: int, wanted: Any) -> bool:
        """Tell whether an item has a label already: what was decided is carried out, here in a table or in `dls`."""
        label = self.listing.labels[position] if self.listing.labels is not None else None
        if isinstance(wanted, list):
            return isinstance(label, (tuple, list)) and {str(name) for name in label} == set(wanted)
        return label is not None and not isinstance(label, (tuple, list)) and str(label) == str(wanted)

    def _in_class_folder(self, position: int) -> bool:
        path, labels = self.listing.paths[position], self.listing.labels
        return path is not None and labels is not None and path.parent.name == str(labels[position])

    def _file(self) -> Path:
        if self.to is not None:
            return self.to
        source = self.listing.source
        name = f"{source.stem if source else 'items'}_cleaned"
        folder = source.parent if source is not None and os.access(source.parent, os.W_OK) else Path()
        number, file = 2, folder / f"{name}.csv"
        while file.exists():
            file, number = folder / f"{name}_{number}.csv", number + 1
        return file

    def apply(self) -> Done:
        """Carry out what is decided; return what was done, with fresh `DataLoaders` where there were some.

        Raises:
            FastmagicError: the folder or the table cannot be written. What has moved till then can be brought back.
        """
        plan = self.plan()
        done = Done(plan)
        if not plan.steps:
            return done
        drop = {step.position for step in plan.steps if step.decision.action == "aside"}
        if self.dls is not None:
            _sides(self.dls, drop | self._gone())  # before anything moves: of an empty side no `dls` can be made
        if plan.how == "move":
            done.moved, done.stayed = self._move(plan)
            for step in plan.steps:
                if (new := done.moved.get(self.listing.paths[step.position])) is not None:  # type: ignore[arg-type]
                    self.listing.paths[step.position] = done.places[step.position] = new
        elif plan.how == "csv":
            self._write(plan)
        if self.dls is None and plan.how == "map" and self.builds:
            done.dls = self._built(plan)
        elif self.dls is not None:
            done.dls = self.fresh() if plan.how == "move" else self.fresh(drop, self._labels(plan))
        return done

    def _gone(self) -> set[int]:
        """Return the positions whose files are in quarantine."""
        gone = enumerate(zip(self._first, self.listing.paths, strict=True))
        return {i for i, (first, now) in gone if now is not first and now is not None and HOME.parts[0] in now.parts}

    def fresh(self, drop: Iterable[int] = (), labels: dict[int, Any] | None = None) -> Any:
        """Return `DataLoaders` as the first ones, with every file where it is now, less those in quarantine.

        Args:
            drop: positions of further items to leave out.
            labels: new labels by position, of what is relabelled without moving.
        """
        places = zip(self._first, self.listing.paths, strict=True)
        moved = {first: now for first, now in places if now is not first and first is not None and now is not None}
        return cleaned(self.dls, {*drop, *self._gone()}, labels or {}, moved)

    @property
    def builds(self) -> bool:
        """Whether `DataLoaders` can be built from a folder that may only be read."""
        return self.listing.kind == "folder" and self.listing.are_images and self.listing.labels is not None

    def _built(self, plan: Plan) -> Any:
        """Return `DataLoaders` of a folder as `datablock` builds them, less what is set aside and relabelled."""
        from .datablock import datablock
        from .listing import list_dls

        dls = datablock(self.listing.root)
        where = {os.path.abspath(path): i for i, path in enumerate(list_dls(dls).paths) if path is not None}
        labels = self._labels(plan)
        drop, new = set(), {}
        for step in plan.steps:
            position = where.get(os.path.abspath(self.listing.paths[step.position] or ""))
            if position is not None and step.decision.action == "aside":
                drop.add(position)
            elif position is not None:
                new[position] = labels[step.position]
        return cleaned(dls, drop, new, {})

    def _move(self, plan: Plan) -> tuple[dict[Path, Path], list[Path]]:
        folder = self.journal.folder
        asked = []
        for step in plan.steps:
            file = self.listing.paths[step.position]
            assert file is not None
            word = "set aside" if step.place is None else f"{step.decision.was} → {step.decision.to}"
            asked.append((file, step.place, word))
        moved = dict(relocate(folder, asked, BY))
        # A person has said what these are: they are not to be asked about again.
        kept = [
            Made(moved[file], "keep", step.decision.to)
            for step, (file, place, _) in zip(plan.steps, asked, strict=True)
            if place is not None and file in moved
        ]
        if kept:
            self.journal.note(kept, BY)
        stayed = [file for file, _, _ in asked if file not in moved and inside_of(file, folder) is None]
        return moved, stayed

    def _labels(self, plan: Plan) -> dict[int, Any]:
        """Return the new labels by position, as the data have them: the journal knows classes by their names only."""
        flat = (n for label in self.listing.labels or () for n in (label if isinstance(label, tuple) else (label,)))
        known = {str(name): name for name in flat}

        def original(to: Any) -> Any:
            return [original(name) for name in to] if isinstance(to, list) else known.get(str(to), to)

        return {s.position: original(s.decision.to) for s in plan.steps if s.decision.action == "relabel"}

    def _write(self, plan: Plan) -> None:
        frame, column = self.listing.frame, self.listing.label_column
        labels = self._labels(plan)
        drop = {step.position for step in plan.steps if step.decision.action == "aside"}
        corrected = _corrected(frame, column, labels, drop, self.listing.delimiter)
        assert plan.file is not None
        part = plan.file.with_name(f".{plan.file.name}.part")
        try:
            plan.file.parent.mkdir(parents=True, exist_ok=True)
            corrected.to_csv(part, index=False)
            os.replace(part, plan.file)
        except OSError as error:
            raise FastmagicError(
                f"'{plan.file}' cannot be written: {error.strerror or error}.", "Name another file: `to=FILE`"
            ) from error

    @property
    def reverts(self) -> int:
        """How many files `revert` would bring back."""
        return len(last_batch(self.journal.folder, BY)) if self.journal.beside else 0

    def revert(self) -> list[tuple[Path, Path]]:
        """Bring the files of the last application back to where they were; their decisions count again.

        Raises:
            FastmagicError: nothing was moved, or the folder cannot be written to.
        """
        if not self.reverts:
            raise FastmagicError("Nothing was moved here that could be brought back.")
        back = restore(self.journal.folder, BY)
        self.journal.refresh(again=True)
        return back

    def code(self, name: str = "dls") -> str:
        """Return plain Python that does what `apply` does.

        Args:
            name: of the `DataLoaders`, where there are some.
        """
        plan = self.plan()
        listing, folder = self.listing, self.journal.folder
        relabel = self._labels(plan)
        aside = [s.position for s in plan.steps if s.decision.action == "aside"]

        def key(position: int) -> Any:
            file = listing.paths[position]
            if file is None or plan.how == "csv":
                return listing.names[position]
            return Path(os.path.relpath(file, folder)).as_posix()

        renamed = "\n".join(f"    {key(i)!r}: {to!r}," for i, to in relabel.items())
        left_out = "\n".join(f"    {key(i)!r}," for i in aside)
        given = [f"relabel = {{\n{renamed}\n}}" if relabel else "relabel = {}"]
        given += [f"aside = [\n{left_out}\n]" if aside else "aside = []"]
        if plan.how == "move":
            return "\n".join(["from pathlib import Path", "", f"path = Path({str(folder)!r})", *given, "", _MOVES])
        if plan.how == "csv":
            source = f"pd.read_csv({str(listing.source)!r})" if listing.source else "df  # the table as it is"
            column, delimiter = listing.label_column, listing.delimiter
            value = f"{delimiter!r}.join(label)" if delimiter else "label"
            lines = ["import pandas as pd", "", f"df = {source}", *given, ""]
            lines += ["for row, label in relabel.items():", f"    df.loc[row, {column!r}] = {value}"]
            lines += ["df = df.drop(index=aside)", f"df.to_csv({str(plan.file)!r}, index=False)"]
            return "\n".join(lines)
        if all(path is not None for path in listing.paths):
            lines = ["from fastai.vision.all import *", "", f"path = Path({str(folder)!r})", *given, "", _MAP]
            return "\n".join(lines)
        return "\n".join(
            [*given, "", f"# rows of {name}: leave out those of aside, and give those of relabel their label"]
        )


_MOVES = """def free(place):
    number, first = 2, place
    while place.exists():
        place, number = first.with_name(f"{first.stem} ({number}){first.suffix}"), number + 1
    place.parent.mkdir(parents=True, exist_ok=True)
    return place

for name, label in relabel.items():
    file = path/name
    file.rename(free(file.parent.parent/label/file.name))
for name in aside:
    (path/name).rename(free(path/".fastmagic/quarantine"/name))"""

_MAP = """def name(file): return file.relative_to(path).as_posix()

# In the DataBlock:
#   get_items = get_clean_files
#   get_y = clean_label
def get_clean_files(folder): return get_image_files(folder).sorted().filter(lambda file: name(file) not in aside)
def clean_label(file): return relabel[name(file)] if name(file) in relabel else parent_label(file)"""


def _files(count: int, verb: str = "goes") -> str:
    if verb == "goes":
        return "1 file goes" if count == 1 else f"{count:,} files go"
    return f"{count:,} {'file' if count == 1 else 'files'} {verb}"


def _corrected(frame: Any, column: Any, labels: dict[int, Any], drop: set[int], delimiter: str | None) -> Any:
    """Return a table with other labels and without some rows; positions are those of its rows."""
    frame = frame.copy()
    if labels:
        values = list(frame[column])
        for position, label in labels.items():
            values[position] = (delimiter or " ").join(map(str, label)) if isinstance(label, list) else label
        frame[column] = values
    return frame.iloc[[i for i in range(len(frame)) if i not in drop]]


# ---------------------------------------------------------------- fresh DataLoaders


class Relabelled:
    """Gives some items another label than their getters do: the first transform of a cleaned target.

    Args:
        getters: the transforms that gave the label.
        labels: label by item (a file) or by index label (a row).
    """

    def __init__(self, getters: Sequence[Any], labels: dict[Any, Any]):
        self.getters, self.labels = list(getters), labels

    def __call__(self, item):  # type: ignore[no-untyped-def]  # fastai casts to what an annotation names
        key = _key(item)
        if key in self.labels:
            return self.labels[key]
        for getter in self.getters:
            item = getter(item)
        return item


def _key(item: Any) -> Any:
    return item.name if hasattr(item, "iloc") else item


def cleaned(dls: Any, drop: set[int], labels: dict[int, Any], moved: dict[Path, Path]) -> Any:
    """Return `DataLoaders` over the same split and transforms, less some items, with other labels and places for some.

    A class that no item has any more is gone from the vocab; one that is new is in it. `dls` is not changed.

    Args:
        dls: fastai `DataLoaders`.
        drop: positions of items to leave out; they count through all loaders (training, then validation).
        labels: new labels by position.
        moved: new place of files that moved.

    Raises:
        FastmagicError: nothing would be left, or the loaders are of a kind that cannot be made anew.
    """
    from fastai.data.core import DataLoaders

    parts, first = [], 0
    for loader, keep in zip(dls.loaders, _sides(dls, drop), strict=False):
        count = len(loader.dataset)
        parts.append((loader, keep, {i: labels[first + i] for i in range(count) if first + i in labels}))
        first += count
    if hasattr(dls.train_ds, "y_names"):
        fresh = [loader.new(dataset=_table(loader.dataset, keep, new)) for loader, keep, new in parts]
        return DataLoaders(*fresh, path=dls.path, device=dls.device)
    datasets = [_dataset(loader.dataset, keep, new, moved) for loader, keep, new in parts]
    _share_vocab(datasets)
    try:
        fresh = [loader.new(dataset=ds) for (loader, _, _), ds in zip(parts, datasets, strict=True)]
    except Exception as error:
        kind = type(dls.train).__name__
        raise FastmagicError(
            f"Loaders of the kind {kind} cannot be made anew ({error}).", "Build them again as you built them."
        ) from error
    return DataLoaders(*fresh, path=dls.path, device=dls.device)


def _sides(dls: Any, drop: set[int]) -> list[list[int]]:
    """Return what is kept of training and of validation set; an error where that is nothing."""
    sides, first = [], 0
    for loader in list(dls.loaders)[:2]:
        count = len(loader.dataset)
        keep = [i for i in range(count) if first + i not in drop]
        if not keep and count:
            raise RefusedError("Everything of one side of the split is set aside.", "Keep some, or split anew.")
        sides.append(keep)
        first += count
    return sides


def _dataset(dataset: Any, keep: list[int], labels: dict[int, Any], moved: dict[Path, Path]) -> Any:
    lists = []
    for position, old in enumerate(dataset.tls):
        items = old.items.iloc[keep] if hasattr(old.items, "iloc") else [_moved(old.items[i], moved) for i in keep]
        new = old._new(items, split_idx=old.split_idx)
        if position >= dataset.n_inp and not holds_masks(old):
            transforms = list(old.tfms.fs)
            end = next((i for i, t in enumerate(transforms) if _makes_target(t)), len(transforms))
            getters, rest = transforms[:end], transforms[end:]
            if labels:
                where = {_key(_moved(_item(old.items, i), moved)): label for i, label in labels.items()}
                getters = [Relabelled(getters, where)]
            new.tfms = _pipeline([*getters, *rest], old)
        lists.append(new)
    return type(dataset)(tls=lists, n_inp=dataset.n_inp)


def _item(items: Any, i: int) -> Any:
    return items.iloc[i] if hasattr(items, "iloc") else items[i]


def _moved(item: Any, moved: dict[Path, Path]) -> Any:
    if not moved or not isinstance(item, (str, Path)):
        return item
    new = moved.get(Path(item))
    return item if new is None else type(item)(new)


def _makes_target(transform: Any) -> bool:
    from fastai.data.transforms import Categorize, EncodedMultiCategorize, RegressionSetup

    return isinstance(transform, (Categorize, EncodedMultiCategorize, RegressionSetup))


def _pipeline(transforms: list[Any], of: Any) -> Any:
    from fastai.torch_basics import Pipeline

    return Pipeline(transforms, split_idx=of.split_idx)


def _share_vocab(datasets: list[Any]) -> None:
    """Give both sides one vocab: the classes that occur, in their old order, then new ones by name."""
    from fastai.data.transforms import Categorize, EncodedMultiCategorize, MultiCategorize, OneHotEncode

    for position in range(datasets[0].n_inp, len(datasets[0].tls)):
        lists = [dataset.tls[position] for dataset in datasets]
        at = next((i for i, t in enumerate(lists[0].tfms.fs) if isinstance(t, Categorize)), None)
        if at is None or isinstance(lists[0].tfms.fs[at], EncodedMultiCategorize):
            continue
        old = lists[0].tfms.fs[at]
        several = isinstance(old, MultiCategorize)
        found: set[Any] = set()
        for part in lists:
            for item in range(len(part.items)):
                value = _item(part.items, item)
                for getter in part.tfms.fs[:at]:
                    value = getter(value)
                found |= set(value) if several else {value}
        known = [name for name in old.vocab if name != "#na#"]
        vocab = [name for name in known if name in found] + sorted(found - set(known), key=str)
        if vocab == known:
            continue
        new = type(old)(vocab=vocab, add_na=old.add_na, **({} if several else {"sort": False}))
        new.c = len(new.vocab)
        for part in lists:
            transforms = [*part.tfms.fs[:at], new, *part.tfms.fs[at + 1 :]]
            part.tfms = _pipeline(
                [OneHotEncode(len(vocab)) if isinstance(t, OneHotEncode) else t for t in transforms], part
            )


def _table(dataset: Any, keep: list[int], labels: dict[int, Any]) -> Any:
    """Return a fastai `Tabular` less some rows, with other classes for some."""
    from .items import vocab

    items = dataset.items
    if labels:
        items = items.copy()
        (name,) = dataset.y_names
        names = list(vocab(dataset) or [])
        codes = list(items[name])
        for i, label in labels.items():
            codes[i] = names.index(label)
        items[name] = codes
    return dataset.new(items.iloc[keep])
