"""A data set under a person's eyes: its items, what the model and the files tell of each, what is decided about them.

What the cleaner shows, without the panel: queues of items that deserve a look, views of them (filtered, sorted), decisions
in the journal beside the data, and carrying them out.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ..data.cleaning import Cleaning, Done
from ..data.decisions import Decision, Item, Journal, Made, Row, data_folder
from ..data.folders import walk
from ..data.items import vocab as vocab_of
from ..data.listing import Listing, count_labels, is_blank, list_files
from ..data.quarantine import HOME
from ..data.scan import Scan
from ..errors import AnswerError, FastmagicError, NotFoundError, did_you_mean, few
from ..kinds import TABLE
from ..progress import Progress
from . import suspects
from .embed import better_or_ours
from .learner_file import as_learner
from .masks import MaskResults, draws_masks, mask_results
from .predictions import label_text
from .results import Results, holds, kept, results
from .suspects import Queue

SOUNDS = (".wav", ".flac", ".mp3", ".ogg", ".oga", ".m4a", ".aac", ".opus")
AT_ONCE = 1_000  # up to so many items what is known of the predictions is worked out before anything is shown
SORTS = ("", "loss", "confidence", "name", "label")


class _Stopped(Exception):
    """Raised in the background when it should end."""


class Curation:
    """The items of a data set as columns, the queues of those that deserve a look, and the decisions about them.

    Attributes:
        listing: the items: file, label and split of each.
        kind: what the labels are: "class", "classes" (several an item), "pixels", "numbers" or "none".
        media: what the items are: "picture", "sound", "row" or "text".
        vocab: the class names.
        found: the predictions, by split.
        queues: what was found so far, by name.
        busy: queues that are still being looked for, and how far that is, 0 … 1.
        trouble: what went wrong in the background.
        journal: the decisions.
        dls: fresh `DataLoaders`, once the decisions were applied.
    """

    def __init__(
        self,
        listing: Listing,
        dls: Any = None,
        learn: Any = None,
        found: Any = None,
        to: Path | None = None,
        unsure: Sequence[str] = (),
    ):
        self.learn, self.found = learn, found or {}
        self.unsure = unsure  # splits whose predictions may be of items that have changed since
        self.source_dls, self.dls = dls, None
        self.listing, self.vocab = listing, _vocab(listing, dls, self.found)
        self.kind, self.media = _kind(listing, self.found), _media(listing, self.found)
        self.items, folder = _items(listing, self.vocab, dls)
        self.journal = Journal(folder)
        self.cleaning = Cleaning(listing, self.items, self.journal, dls, to)
        self.scan = Scan(folder)
        self.queues: dict[str, Queue] = {}
        self.busy: dict[str, float] = {}
        self.trouble = ""
        self._lock = threading.RLock()
        self._names: list[str] | None = None
        self._where: dict[str, list[int]] | None = None
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._columns()
        self._decisions()

    def __len__(self) -> int:
        return len(self.listing)

    # ------------------------------------------------------------ columns

    def _columns(self) -> None:
        """Set codes (−1 where unlabelled), probabilities, predictions, confidence and losses of every item."""
        import numpy as np

        count = len(self)
        self.gone = np.zeros(count, bool)  # moved to quarantine
        code = {name: i for i, name in enumerate(self.vocab)}
        labels = self.listing.labels
        self.codes = np.full(count, -1, "int32")
        if self.kind == "class" and labels is not None:
            self.codes = np.fromiter((code.get(label, -1) for label in labels), "int32", count)
        self.losses = np.full(count, np.nan, "float32")
        self.confidence = np.full(count, np.nan, "float32")
        self.predicted = np.full(count, -1, "int32")
        self.probabilities: Any = None  # the learner's
        self.told: Any = None  # those of a probe that has not seen the label
        self._seen_by = ""  # whose features that probe, and the odd ones, are told by
        self.features: Any = None
        self._starts: dict[str, int] = {}
        start = 0
        for split in self._splits():
            self._starts[split] = start
            some = self.found.get(split)
            size = self.listing.splits.count(split) if self.listing.splits else count
            if some is not None and len(some) == size:
                part = slice(start, start + size)
                self.losses[part] = some.losses
                if self.kind in ("class", "classes"):
                    if self.probabilities is None:
                        self.probabilities = np.full((count, len(self.vocab)), np.nan, "float32")
                    self.probabilities[part] = some.probabilities
                if self.kind == "class":
                    self.predicted[part] = some.probabilities.argmax(1)
                    self.confidence[part] = some.probabilities.max(1)
                if (features := getattr(some, "features", None)) is not None:
                    if self.features is None:
                        self.features = np.full((count, features.shape[1]), np.nan, "float16")
                    self.features[part] = features
            start += size

    def _splits(self) -> list[str]:
        return [s for s in ("train", "valid") if s in set(self.listing.splits or ())] or ["valid"]

    def at(self, position: int) -> tuple[Any, int]:
        """Return the results that an item is in, and its place there; `None` where there are no predictions."""
        split = self.listing.splits[position] if self.listing.splits else "valid"
        found = self.found.get(split)
        if found is None:
            return None, -1
        return found, position - self._starts[split]

    def row(self, position: int) -> list[tuple[str, str]] | None:
        """Return an item as (column, value) where it is the row of a table, else `None`."""
        if self.listing.frame is not None:
            return [(str(name), str(value)) for name, value in self.listing.frame.iloc[position].items()]
        if self.source_dls is None or not TABLE.holds(self.source_dls):
            return None
        split = self.listing.splits[position] if self.listing.splits else "valid"
        table = self.source_dls.loaders[split == "valid"].dataset
        return TABLE.row(table, table.items.iloc[position - self._starts[split]])

    def name(self, position: int) -> str:
        """Return an item's name: its path within the data folder, or its row."""
        path = self.listing.paths[position]
        return str(path).removeprefix(self._base) if path is not None else f"row {self.listing.names[position]}"

    @cached_property
    def _base(self) -> str:
        absolute = next((path.is_absolute() for path in self.listing.paths if path is not None), True)
        folder = str(self.journal.folder) if absolute else os.path.relpath(self.journal.folder)
        return "" if folder == os.curdir else folder + os.sep

    @property
    def names(self) -> list[str]:
        if self._names is None:
            self._names = [self.name(i) for i in range(len(self))]
        return self._names

    def label(self, position: int) -> Any:
        """Return an item's label as it is in the data: a name, a list of names, or `None`."""
        labels = self.listing.labels
        if labels is None:
            return None
        label = labels[position]
        if self.kind == "classes":
            return [str(name) for name in label] if isinstance(label, (tuple, list)) else []
        return None if is_blank(label) else label_text(label)

    def prediction(self, position: int) -> Any:
        """Return what the model says of an item, as `label` does."""
        found, i = self.at(position)
        if found is None or self.kind in ("pixels", "none"):
            return None
        said = found.predictions[i]
        return [str(name) for name in said] if self.kind == "classes" else label_text(said)

    def frequent(self, most: int) -> list[str]:
        """Return the names of the most frequent classes; of as many or fewer all, in the order of the vocab."""
        if len(self.vocab) <= most or self.listing.labels is None:
            return [str(name) for name in self.vocab[:most]]
        counts = count_labels(self.listing.labels, self.kind == "classes")
        return [str(name) for name in sorted(self.vocab, key=lambda name: -counts[name])[:most]]

    # ------------------------------------------------------------ queues

    def look(self, told: Callable[[], object] = lambda: None, background: bool = True) -> None:
        """Fill the queues: at once those that need nothing but predictions, the others in the background.

        Args:
            told: called when a queue was filled or work went on.
            background: read the files and compute features too.
        """
        if self.found:
            self._put(suspects.loss_queue(self.losses))
        if self.listing.labels is not None:
            every = self.kind == "class" and bool((self.codes >= 0).all())
            self._put(suspects.unlabelled_queue([] if every else self.listing.labels))
        files = background and self.media == "picture" and any(path is not None for path in self.listing.paths)
        if len(self) <= AT_ONCE or not background:
            self._look_at_predictions(told)
            if not files and not self.unsure:
                return
        elif self.found:
            self.busy |= {"label": 0.0, "odd": 0.0}
        if files:
            self.busy |= {"same": 0.0, "quality": 0.0}
            if self.kind in ("class", "classes"):
                self.busy["label"] = 0.0
            if self.features is None:
                self.busy["odd"] = 0.0
        self._stopped.clear()
        self._thread = threading.Thread(target=self._look, args=(told,), name="fastmagic-curation", daemon=True)
        self._thread.start()
        # A daemon thread that is inside torch when Python ends would take the process down with an abort.
        weakref.finalize(self, _end, self._stopped, self.scan, self._thread)

    def wait(self) -> Curation:
        """Wait until nothing is looked for in the background any more.

        Raises:
            FastmagicError: that went wrong.
        """
        if self._thread is not None:
            self._thread.join()
        if self.trouble:
            raise FastmagicError(self.trouble)
        return self

    def stop(self) -> None:
        """Stop looking; what was found stays."""
        self._stopped.set()
        self.scan.stop()

    def _look(self, told: Callable[[], object]) -> None:
        try:
            if len(self) > AT_ONCE:
                self._look_at_predictions(told)
            for split in self.unsure:
                if not holds(self.learn, split):
                    self.trouble = "Files or labels have changed since these predictions were made: open it anew."
            if "same" in self.busy:
                self._look_at_files(told)
        except _Stopped:
            pass
        except Exception as error:  # in a thread nobody would see it
            self.trouble = f"Looking at the files went wrong: {type(error).__name__}: {error}"
        finally:
            self.busy = {}
            told()

    def _look_at_predictions(self, told: Callable[[], object]) -> None:
        """Fill the queues that need no file: what the model says of labels, and its own features."""
        if self.probabilities is not None:
            self._put(self._label_queue())
        if self.features is not None:
            whose = "the model's own features"
            self._put(suspects.odd_queue(self.features, whose, progress=self._going("odd", 0, 1, told)))
            self.busy.pop("odd", None)

    def _look_at_files(self, told: Callable[[], object]) -> None:
        paths, splits = self.listing.paths, self.listing.splits
        self._read_files(told)
        photos = self.scan.photos(paths)
        for queue in suspects.quality_queues(photos):
            self._put(queue)
        self._put(suspects.same_queue(photos, self.scan.thumbs, None, splits))
        self.busy.pop("quality", None)
        told()
        vectors = suspects.embedded(photos, self._going("label same odd", 0.3, 0.5, told))
        self._put(suspects.same_queue(photos, self.scan.thumbs, vectors, splits, self._going("same", 0.5, 1, told)))
        self.busy.pop("same", None)
        told()
        if self.busy.keys() & {"label", "odd"}:
            backbone = better_or_ours()
            self._seen_by = f"the features of {backbone.title}"
            vectors = suspects.embedded(photos, self._going("label odd", 0.5, 0.8, told), backbone)
        if "label" in self.busy:
            copies = self._copies()
            self.told = suspects.out_of_fold(
                vectors, self._encoded(), copies, classes=len(self.vocab), progress=self._going("label", 0.8, 1, told)
            )
            self._put(self._label_queue())
            self.busy.pop("label")
            told()
        if "odd" in self.busy:
            self._put(suspects.odd_queue(vectors, self._seen_by, progress=self._going("odd", 0.8, 1, told)))

    def _read_files(self, told: Callable[[], object]) -> None:
        ended = threading.Event()
        self.scan.start(self.listing.paths, self._going("quality label same odd", 0, 0.3, told), ended.set)
        while not ended.wait(0.2):
            if self._stopped.is_set():
                raise _Stopped

    def _going(self, names: str, first: float, last: float, told: Callable[[], object]) -> Callable[[int, int], None]:
        """Return what is called as work on some queues goes on, and ends it once it should stop."""

        def progress(done: int, total: int) -> None:
            self.scan.give_way(self._stopped)
            if self._stopped.is_set():
                raise _Stopped
            share = done / max(total, 1)
            for name in names.split():
                if name in self.busy:
                    self.busy[name] = share if name == "quality" else first + (last - first) * share
            told()

        return progress

    def _copies(self) -> Any:
        """Return a number for each item, the same for copies of one photo."""
        import numpy as np

        number = np.arange(len(self))
        queue = self.queues.get("same")
        if queue is not None and queue.groups is not None:
            number[queue.positions] = len(self) + queue.groups
        return number

    def _encoded(self) -> Any:
        """Return the labels as the queues take them: codes, or booleans for several an item."""
        import numpy as np

        if self.kind == "class":
            return self.codes
        hot = np.zeros((len(self), len(self.vocab)), bool)
        code = {str(name): i for i, name in enumerate(self.vocab)}
        for i in range(len(self)):
            for name in self.label(i) or []:
                hot[i, code[name]] = True
        return hot

    def _label_queue(self) -> Queue:
        """Return the likely wrong labels by what is known so far, each item judged by what has not seen its label."""
        import numpy as np

        count, classes = len(self), len(self.vocab)
        judged = np.full((count, classes), np.nan, "f4")
        how = []

        def known(probabilities: Any) -> Any:
            """Classes that have come up since nobody has been asked about."""
            return np.pad(probabilities[:, :classes], ((0, 0), (0, max(0, classes - probabilities.shape[1]))))

        valid = np.fromiter((s == "valid" for s in self.listing.splits or [""] * count), bool, count)
        if self.probabilities is not None and np.isfinite(self.probabilities[valid]).all(1).any():
            judged[valid] = known(self.probabilities[valid])
            how.append("the learner's probabilities of validation items")
        if self.told is not None:
            rest = ~np.isfinite(judged).all(1)
            judged[rest] = known(self.told[rest])
            whose = f"a linear probe over {self._seen_by}"
            how.append(f"out-of-fold probabilities of {'training items' if how else 'all items'} by {whose}")
        return suspects.label_queue(self._encoded(), judged, self.vocab, " and ".join(how) or "no probabilities")

    def _put(self, queue: Queue) -> None:
        if queue.name == "same" and queue.why is not None:
            torn = {self.names[i] for members in self._groups(queue) if self._is_torn(members) for i, _ in members}
            why = [
                f"{word}, labels differ" if self.names[i] in torn else word
                for i, word in zip(queue.positions, queue.why, strict=True)
            ]
            queue = replace(queue, why=why)
        self.queues[queue.name] = queue

    def _is_torn(self, members: list[tuple[int, bool]]) -> bool:
        """Tell whether copies contradict each other: which label is right, a person has to say."""
        return len({str(self.label(i)) for i, _ in members}) > 1

    def positions(self, queue: str) -> Any:
        """Return the positions of a queue, the most suspicious first."""
        import numpy as np

        if queue == "all":
            positions = np.arange(len(self), dtype="int32")
        elif queue == "decided":
            positions = np.array(sorted(self.decided), dtype="int32")
        elif queue in self.queues:
            positions = self.queues[queue].positions
        else:
            return np.zeros(0, "int32")
        return positions[~self.gone[positions]]

    def view(
        self,
        queue: str = "all",
        label: str = "",
        split: str = "",
        predicted: str = "",
        text: str = "",
        sort: str = "",
        open: bool = False,
    ) -> Any:
        """Return the positions of a queue that pass all filters, in order.

        Args:
            queue: one of `queues`, "all" or "decided".
            label, split, predicted: only items with this label, of this split, taken for this class.
            text: only items with this in their name, whatever its case.
            sort: "" (the most suspicious first), "loss", "confidence" (lowest first), "name" or "label".
            open: only undecided ones.
        """
        import numpy as np

        positions = self.positions(queue)
        if label:
            positions = positions[self._with(label, positions)]
        if split:
            splits = self.listing.splits or []
            positions = positions[np.fromiter((splits[i] == split for i in positions), bool, len(positions))]
        if predicted:
            positions = positions[self._said(predicted, positions)]
        if text:
            wanted, names = text.lower(), self.names
            positions = positions[np.fromiter((wanted in names[i].lower() for i in positions), bool, len(positions))]
        if open:
            positions = positions[~self.is_decided[positions]]
        if sort == "loss":
            positions = positions[np.argsort(-np.nan_to_num(self.losses[positions], nan=-np.inf), kind="stable")]
        elif sort == "confidence":
            positions = positions[np.argsort(np.nan_to_num(self.confidence[positions], nan=np.inf), kind="stable")]
        elif sort in ("name", "label"):
            key = self.name if sort == "name" else lambda i: (str(self.label(i)), self.name(i))
            positions = np.array(sorted(positions.tolist(), key=key), "int32")
        return positions

    def _with(self, label: str, positions: Any) -> Any:
        import numpy as np

        if self.kind == "class":
            code = next((i for i, name in enumerate(self.vocab) if str(name) == label), -2)
            return self.codes[positions] == code
        return np.fromiter((label in (self.label(i) or []) for i in positions), bool, len(positions))

    def _said(self, label: str, positions: Any) -> Any:
        import numpy as np

        if self.kind == "class":
            code = next((i for i, name in enumerate(self.vocab) if str(name) == label), -2)
            return self.predicted[positions] == code
        return np.fromiter((label in (self.prediction(i) or []) for i in positions), bool, len(positions))

    # ------------------------------------------------------------ decisions

    def _decisions(self) -> None:
        import numpy as np

        self.decided: dict[int, Decision] = {}
        self.is_decided = np.zeros(len(self), bool)
        self.journal.changed()
        for i, decision in self.cleaning.decisions().items():
            self.decided[i] = decision
            self.is_decided[i] = True

    def sync(self) -> list[int]:
        """Take in what other views have decided; return the positions it is about."""
        with self._lock:
            changed = self.journal.changed()
            if not changed:
                return []
            if self._where is None:
                self._where = self.cleaning.places()
            now = self.journal.current()
            found = {i: now.get(key) for key in changed for i in self._where.get(str(key), ())}
            positions = sorted(found)
            for i in positions:
                decision = found[i]
                self.is_decided[i] = decision is not None
                if decision is None:
                    self.decided.pop(i, None)
                else:
                    self.decided[i] = decision
            return positions

    def decide(self, positions: Iterable[int], action: str, to: Any = None, by: str = "cleaner") -> list[int]:
        """Write a decision about some items to the journal; it is on the disk when this returns.

        Args:
            positions: of the items.
            action: "relabel", "aside", "keep", "clear", or "toggle", which gives the label `to` to items of several
                labels, or takes it from those that have it.
            to: the new label of "relabel": a name, or a list of names for several labels.

        Returns:
            The positions that have another decision now.

        Raises:
            FastmagicError: no such class, labels that cannot be changed here, or items that are no files or rows.
        """
        made = []
        to = self._checked(action, to)
        for i in positions:
            item, label = self.items[i], self.label(i)
            if item is None:
                raise FastmagicError("These items are neither files nor rows: nothing can be noted about them.")
            if action == "toggle":
                now = self.decided[i].to if i in self.decided and self.decided[i].action == "relabel" else label or []
                new = [name for name in now if name != to] if to in now else [*now, to]
                same = set(new) == set(label or [])
                made.append(Made(item, "clear" if same else "relabel", label, None if same else new))
            elif action == "relabel" and to == label:
                made.append(Made(item, "keep", label))
            else:
                made.append(Made(item, action, label, to if action == "relabel" else None))
        self.journal.note(made, by)
        return self.sync()

    def _checked(self, action: str, to: Any) -> Any:
        if action not in ("relabel", "toggle"):
            return None
        if self.kind not in ("class", "classes"):
            raise FastmagicError("These labels cannot be changed here.", "Set the item aside instead.")
        known = [str(name) for name in self.vocab]
        names = [str(name).strip() for name in (to if isinstance(to, list) else [to] if to is not None else [])]
        for name in names:
            if not name and not isinstance(to, list):
                raise AnswerError("Which label?", f"There are {few(known)}.")
            if name not in known and not self.new_labels:
                hint = did_you_mean(name, known) or f"There are {few(known)}."
                raise NotFoundError(f"No class {name!r}.", hint)
            if any(c in name for c in "/\\\0") or name in (".", "..") or name.startswith("."):
                raise AnswerError(f"{name!r} cannot be the name of a class folder.", "Use letters, digits, _ and -.")
        if action == "relabel" and not names and self.kind == "class":
            raise AnswerError("Which label?", f"There are {few(known)}.")
        return names if isinstance(to, list) else names[0] if names else []

    @property
    def new_labels(self) -> bool:
        """Whether a label may be given that no item has yet: where classes are folders, or columns of a table."""
        return self.kind in ("class", "classes")

    def undo(self) -> tuple[str, list[int]]:
        """Take back what was decided last; return what that was, and the positions it is about."""
        batch = self.journal.undo("cleaner")
        return (f"Taken back: {batch}" if batch else "There is nothing to take back."), self.sync()

    def redo(self) -> tuple[str, list[int]]:
        """Decide again what was taken back last; return what that was, and the positions it is about."""
        batch = self.journal.redo("cleaner")
        return (f"Done again: {batch}" if batch else "There is nothing to do again."), self.sync()

    def keep_one(self, position: int) -> list[int]:
        """Keep one item of its group of copies, and set aside the others."""
        others = [i for i in self.group(position) if i != position]
        if not others:
            raise FastmagicError("This item is in no group of copies.")
        return self._keep([position], others)

    def keep_best(self, positions: Iterable[int] | None = None) -> list[int]:
        """In every group of copies without a decision, keep the best file and set aside the others.

        Groups whose labels differ are left to a person.
        """
        queue = self.queues.get("same")
        if queue is None or queue.groups is None or queue.keep is None:
            return []
        wanted = None if positions is None else set(positions)
        keep, aside = [], []
        for members in self._groups(queue):
            if any(self.is_decided[i] or self.gone[i] for i, _ in members) or self._is_torn(members):
                continue
            if wanted is None or any(i in wanted for i, _ in members):
                keep += [i for i, best in members if best]
                aside += [i for i, best in members if not best]
        return self._keep(keep, aside) if keep else []

    def _keep(self, keep: list[int], aside: list[int]) -> list[int]:
        made = [Made(self.items[i], "keep", self.label(i)) for i in keep]  # type: ignore[arg-type]
        made += [Made(self.items[i], "aside", self.label(i)) for i in aside]  # type: ignore[arg-type]
        self.journal.note(made, "cleaner")
        return self.sync()

    def group(self, position: int) -> list[int]:
        """Return the items of a group of copies, by one of them."""
        queue = self.queues.get("same")
        if queue is None or queue.groups is None:
            return []
        at = (queue.positions == position).nonzero()[0]
        if not len(at):
            return []
        return [int(i) for i in queue.positions[queue.groups == queue.groups[at[0]]] if not self.gone[i]]

    def _groups(self, queue: Queue) -> Iterable[list[tuple[int, bool]]]:
        members: dict[int, list[tuple[int, bool]]] = {}
        for i, group, best in zip(queue.positions, queue.groups, queue.keep, strict=True):
            members.setdefault(int(group), []).append((int(i), bool(best)))
        return members.values()

    def counts(self) -> Counter[str]:
        """Return how many items are to be relabelled, set aside and kept."""
        # Of a copy: the background counts while a person decides.
        return Counter(decision.action for decision in list(self.decided.values()))

    # ------------------------------------------------------------ carrying out

    def apply(self) -> Done:
        """Carry out the decisions (`Cleaning.apply`); the items are then where and what they are said to be."""
        with self._lock:
            done = self.cleaning.apply()
            for position, place in done.places.items():
                self._placed(position, place)
            self._after()
            if done.dls is not None:
                self.dls = done.dls
            return done

    def revert(self) -> list[tuple[Path, Path]]:
        """Bring back what the last `apply` moved (`Cleaning.revert`); `dls` is then made of the files as they are."""
        with self._lock:
            where = {path: i for i, path in enumerate(self.listing.paths) if path is not None}
            back = self.cleaning.revert()
            for stored, place in back:
                position = where.get(stored)
                if position is not None:
                    self._placed(position, place)
            self._after()
            if self.source_dls is not None:
                self.dls = self.cleaning.fresh()
            return back

    def _placed(self, position: int, place: Path) -> None:
        """A file has moved: its folder says its label, or that it is set aside."""
        self.listing.paths[position] = place
        self.items[position] = place
        self.gone[position] = HOME.parts[0] in place.parts
        if not self.gone[position] and self.listing.labels is not None and self.kind == "class":
            name = place.parent.name
            if name not in [str(v) for v in self.vocab]:
                self.vocab.append(name)
            label = next(v for v in self.vocab if str(v) == name)
            self.listing.labels[position] = label
            self.codes[position] = self.vocab.index(label)

    def _after(self) -> None:
        self._names = self._where = None
        self.journal.refresh(again=True)
        self._decisions()


def _end(stopped: threading.Event, scan: Scan, thread: threading.Thread) -> None:
    stopped.set()
    scan.stop()
    if thread is not threading.current_thread():
        thread.join(timeout=10)


def curate(
    what: Any,
    split: str | None = None,
    *,
    path: Any = None,
    to: Any = None,
    predict: bool = True,
    progress: Progress | None = None,
) -> Curation:
    """Return what the cleaner shows of a learner, `DataLoaders`, a folder, a CSV file or a DataFrame.

    Args:
        what, split, path, to, progress: as for `fastmagic.clean`.
        predict: ask a learner about its data; else only the decisions are looked at.
    """
    to = Path(to).expanduser() if to is not None else None
    if isinstance(what, (Results, MaskResults)) or (isinstance(what, (list, tuple)) and _all_results(what)):
        found = {one.split: one for one in (what if isinstance(what, (list, tuple)) else [what])}
        return Curation(_listing_of(found), found=found, to=to)
    if hasattr(what, "model") or _is_learner_file(what):
        return _of_learner(as_learner(what), split, to, predict, progress)
    listing = _folder_of_sounds(what) or list_files(what, path)
    if not len(listing):
        raise FastmagicError(f"There is nothing to clean in '{what}': it holds no pictures.", "Name another folder.")
    if split is not None and split not in set(listing.splits or ()):
        raise FastmagicError(f"There is no {split} set here.", "Leave `split` out.")
    return Curation(listing, what if hasattr(what, "loaders") else None, to=to)


def _of_learner(learn: Any, split: str | None, to: Path | None, predict: bool, progress: Progress | None) -> Curation:
    from ..data.listing import list_dls
    from .train import data_of

    run = mask_results if draws_masks(learn) else results
    sizes = {name: len(loader.dataset) for name, loader in zip(("train", "valid"), learn.dls.loaders, strict=False)}
    wanted = [name for name in ("train", "valid") if sizes.get(name) and split in (None, name)]
    dls, found, unsure = data_of(learn), {}, []
    for name in (wanted or [split or "valid"]) if predict else []:
        known = kept(learn, name) if sum(sizes.values()) > AT_ONCE else None
        if known is not None:
            unsure.append(name)
        found[name] = known if known is not None else run(learn, name, progress=progress)
    # What the predictions are about is a listing already, and at once.
    whole = set(found) == {name for name, size in sizes.items() if size} and not hasattr(dls.train_ds.items, "iloc")
    quick = whole and all(isinstance(one, Results) and isinstance(one.items[0], Path) for one in found.values())
    return Curation(_listing_of(found) if quick else list_dls(dls), dls, learn, found, to, unsure)


def _all_results(what: Sequence[Any]) -> bool:
    return bool(what) and all(isinstance(one, (Results, MaskResults)) for one in what)


def _is_learner_file(what: Any) -> bool:
    return isinstance(what, (str, Path)) and str(what).endswith((".pkl", ".pth")) and Path(what).expanduser().is_file()


def _listing_of(found: dict[str, Any]) -> Listing:
    """Return the items that predictions are about as a listing."""
    paths: list[Path | None] = []
    names: list[Any] = []
    labels: list[Any] = []
    splits: list[str] = []
    for split in ("train", "valid"):
        if (some := found.get(split)) is None:
            continue
        paths += [item if isinstance(item, Path) else None for item in some.items]
        names += [str(item) if isinstance(item, Path) else i for i, item in enumerate(some.items)]
        splits += [split] * len(some)
        if some.kind == "classes":
            labels += [tuple(label) for label in some.targets]
        elif some.kind != "pixels":
            labels += list(some.targets)
    several = any(some.kind == "classes" for some in found.values())
    return Listing("dls", paths, names, labels or None, splits, are_images=any(paths), multi=several)


def _vocab(listing: Listing, dls: Any, found: dict[str, Any]) -> list[Any]:
    for some in found.values():
        return list(some.vocab)
    known = vocab_of(dls) if dls is not None else None
    if known is not None:
        return list(known)
    if listing.labels is None:
        return []
    names = {name for label in listing.labels for name in (label if isinstance(label, tuple) else (label,))}
    return sorted((name for name in names if not is_blank(name)), key=str)


def _kind(listing: Listing, found: dict[str, Any]) -> str:
    for some in found.values():
        return str(some.kind)
    return "none" if listing.labels is None else "classes" if listing.multi else "class"


def _media(listing: Listing, found: dict[str, Any]) -> str:
    first = next((path for path in listing.paths if path is not None), None)
    if first is not None:
        return "sound" if first.suffix.lower() in SOUNDS else "picture"
    for some in found.values():
        look = some.look(0) if len(some) else None
        return "row" if isinstance(look, list) else "text" if isinstance(look, str) else "picture"
    return "row"


def _items(listing: Listing, vocab: list[Any], dls: Any) -> tuple[list[Item | None], Path]:
    """Return what the journal knows each item by, and the folder it lies in."""
    paths = listing.paths
    every = max(1, len(paths) // 500)
    folder = data_folder((path for path in paths[::every] if path is not None), vocab)
    if folder is not None:
        return list(paths), folder
    import pandas as pd

    rows = listing.frame
    if rows is None:
        tables = [getattr(loader.dataset, "items", None) for loader in list(dls.loaders)[:2]] if dls is not None else []
        if not tables or not all(hasattr(table, "iloc") for table in tables):
            return [None] * len(listing), Path.cwd()
        rows = pd.concat(tables)
    table = listing.source.name if listing.source is not None else "table"
    try:
        hashes = pd.util.hash_pandas_object(rows, index=False)
    except TypeError:  # cells that hold lists, such as tokens
        hashes = pd.util.hash_pandas_object(rows.astype(str), index=False)
    return [Row(table, index, f"{value:016x}") for index, value in zip(rows.index, hashes, strict=True)], Path.cwd()


def _folder_of_sounds(what: Any) -> Listing | None:
    """Return a folder without pictures that holds sounds as a listing, labels by folder."""
    if not isinstance(what, (str, os.PathLike)) or not Path(what).expanduser().is_dir():
        return None
    folder = Path(what).expanduser()
    files = [place / name for place, names in walk(folder) for name in names]
    sounds = [file for file in files if file.suffix.lower() in SOUNDS]
    from ..data.names import image_suffixes

    if not sounds or any(file.suffix.lower() in image_suffixes() for file in files):
        return None
    labelled = any(file.parent != folder for file in sounds)
    labels = [file.parent.name for file in sounds] if labelled else None
    return Listing("folder", [*sounds], [str(file) for file in sounds], labels, root=folder, are_images=False)
