"""The dataset cleaner: thousands of items to look through, each decision on the disk as it is made, all of it to be undone."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ..data.decisions import Batch
from ..data.opening import thumbnail
from ..errors import FastmagicError, NotFoundError, UnreadableError, did_you_mean, few
from ..learning.curation import SORTS, Curation, curate
from ..learning.improvement import remember
from ..learning.train import line_of
from ..progress import Progress
from ..render import escape, figure_png, image_tag, new_figure, short_path, text_table
from .panel import Encoded, Panel, Still, small_png

FIRST, MOST = 60, 240  # tiles that come with a view, and at most with a window
LARGE = 720  # px a side of an enlarged picture
MANY = 2000  # above this, changes are not listed: the browser asks for what it shows
SHEET = 24  # tiles of the still

# The queues in the order they are shown, with the names of those that are still being looked for.
TITLES = {
    "label": "Likely mislabelled",
    "loss": "Highest loss",
    "same": "Duplicates",
    "odd": "Odd ones out",
    "dark": "Too dark",
    "blurred": "Blurred",
    "tiny": "Tiny",
    "shape": "Strange shape",
    "unreadable": "Unreadable",
    "unlabelled": "Unlabelled",
    "all": "Everything",
    "decided": "Decided",
}
QUALITY = ("dark", "blurred", "tiny", "shape", "unreadable")
NO_VIEW = {"queue": "", "label": "", "split": "", "predicted": "", "text": "", "sort": "", "open": False}


class Cleaner(Panel):
    """A panel to look through a data set and decide about its items; made by `clean`.

    Attributes:
        curation: the items, queues and decisions behind it.
        train_line: the line that trains anew on the cleaned data.
    """

    module = "cleaner"

    def __init__(self, curation: Curation, title: str = "", background: bool = True):
        import numpy as np

        self.curation, self.title = curation, title or curation.journal.folder.name
        self.on_cleaned: Callable[[Any], str] | None = None
        self._view: dict[str, Any] = dict(NO_VIEW)
        self._shown = np.zeros(0, "int32")
        self._number = 0
        self._why: dict[str, tuple[Any, Any, Any]] = {}  # of a queue: where each item is in it, sizes of its groups
        self._inspector: Any = None
        self._told = 0.0
        self._still: tuple[Any, Still] | None = None
        curation.look(self._looked, background)
        self._view["queue"] = self._first_queue()
        super().__init__()
        curation.journal.listen(self._elsewhere)
        self._select()

    def _first_queue(self) -> str:
        return next((name for name in ("label", "loss") if len(self.curation.positions(name))), "all")

    # ------------------------------------------------------------ from Python

    @property
    def dls(self) -> Any:
        """The fresh `DataLoaders` that applying the decisions has made; `None` before, and for a folder."""
        return self.curation.dls

    @property
    def decisions(self) -> Any:
        """What is decided now as a DataFrame: path, action, from, to, by, time, sha256."""
        import pandas as pd

        from ..data.decisions import COLUMNS

        return pd.DataFrame(self.curation.journal.table(), columns=list(COLUMNS))

    def queue(self, name: str = "label") -> Any:
        """Return a queue as a DataFrame: item, label, predicted, confidence, loss, why; the most suspicious first.

        The index is the item's position, which `decide` takes. Waits for the background to finish.

        Raises:
            FastmagicError: no queue of that name.
        """
        import pandas as pd

        if name not in TITLES:
            raise NotFoundError(f"No queue {name!r}.", did_you_mean(name, TITLES) or f"There are {', '.join(TITLES)}.")
        self.curation.wait()
        rows, positions = [], self.curation.positions(name).tolist()
        for i in positions:
            tile = self._facts(i, name)
            rows.append(
                {"item": tile["name"], **{k: tile[k] for k in ("label", "predicted", "confidence", "loss", "why")}}
            )
        columns = ["item", "label", "predicted", "confidence", "loss", "why"]
        return pd.DataFrame(rows, index=positions, columns=columns)

    def decide(self, items: Iterable[int | str], action: str, to: Any = None) -> None:
        """Decide about some items as the buttons do; it is on the disk when this returns, and `undo` takes it back.

        Args:
            items: their names, or their positions (the index of `queue`).
            action: "relabel", "aside", "keep" or "clear".
            to: the new label of "relabel".

        Raises:
            FastmagicError: no such item, decision or label.

        Example:
            >>> cleaner.decide(["bird/007.jpg"], "relabel", "forest")  # doctest: +SKIP
        """
        places = {name: i for i, name in enumerate(self.curation.names)}
        positions = []
        for item in items:
            position = places.get(str(item)) if isinstance(item, (str, Path)) else int(item)
            if position is None or not 0 <= position < len(self.curation):
                hint = did_you_mean(str(item), places) or f"There are {few(self.curation.names)}."
                raise NotFoundError(f"There is no item '{item}'.", hint)
            positions.append(position)
        self.curation.decide(positions, action, to)
        self._elsewhere_too(positions)

    def undo(self) -> str:
        """Take back what was decided last, in whichever view; return what that was."""
        said, positions = self.curation.undo()
        self._elsewhere_too(positions)
        return said

    def redo(self) -> str:
        """Decide again what `undo` took back last; return what that was."""
        said, positions = self.curation.redo()
        self._elsewhere_too(positions)
        return said

    def apply(self) -> str:
        """Carry out the decisions; return what was done. `revert` brings back the files that moved.

        Raises:
            FastmagicError: the folder or the table cannot be written.
        """
        return " ".join(self.on_apply()["said"])

    def revert(self) -> str:
        """Bring back what the last `apply` moved; its decisions count again.

        Raises:
            FastmagicError: nothing was moved, or the folder cannot be written to.
        """
        return str(self.on_revert()["said"])

    def close(self) -> None:
        """Stop looking, and close the panel."""
        self.curation.stop()
        self.curation.journal.listen(None)
        super().close()

    # ------------------------------------------------------------ what the browser gets

    def state(self) -> dict[str, Any]:
        found = self.curation
        self._sync()
        return {
            "source": self.title,
            "kind": found.kind,
            "media": found.media,
            "total": len(found),
            "vocab": [str(name) for name in found.vocab],
            "frequent": found.frequent(9),
            "relabel": found.kind in ("class", "classes"),
            "newlabel": found.new_labels,
            "splits": found._splits() if found.listing.splits else [],
            "predicts": bool(found.found),
            "queues": self._queues(),
            "view": self._view,
            "window": self._window_of_view(),
            "counts": self._counts(),
            "journal": {"file": short_path(found.journal.file), "beside": found.journal.beside},
            "revert": found.cleaning.reverts > 0,
        }

    def on_view(self, at: int = -1, **view: Any) -> dict[str, Any]:
        """Choose what is shown, and return its first window."""
        self._view |= {name: value for name, value in view.items() if name in NO_VIEW}
        if self._view["sort"] not in SORTS:
            self._view["sort"] = ""
        self._sync()
        self._select()
        return self._window_of_view(at)

    def on_window(self, view: int, start: int, count: int) -> dict[str, Any]:
        """Return a part of what is shown; nothing where that has been chosen anew since."""
        if view != self._number:
            return {"view": self._number, "start": start, "tiles": []}
        return {"view": view, "start": start, "tiles": self._tiles(self._shown[start : start + min(count, MOST)])}

    def on_decide(self, view: int, ranges: list[list[int]], action: str, to: Any = None) -> dict[str, Any]:
        """Note a decision about what stands at some ranks (both ends included) of what is shown."""
        if view != self._number:
            raise FastmagicError("What is shown has changed meanwhile.", "Choose again.")
        positions = [int(i) for first, last in ranges for i in self._shown[max(first, 0) : last + 1]]
        if not positions:
            raise FastmagicError("Nothing is chosen.", "Click an item, or press Space on it.")
        changed = self.curation.decide(positions, action, to)
        decided = self.curation.journal.undoable
        return self._changed(changed, f"{decided}." if decided else "")

    def on_keep_one(self, view: int, rank: int) -> dict[str, Any]:
        """Keep one item of its group of copies, set aside the others."""
        if view != self._number or not 0 <= rank < len(self._shown):
            raise FastmagicError("What is shown has changed meanwhile.", "Choose again.")
        changed = self.curation.keep_one(int(self._shown[rank]))
        return self._changed(changed, f"{self.curation.journal.undoable}.")

    def on_keep_best(self, view: int) -> dict[str, Any]:
        """In every undecided group that is shown, keep the best file and set aside the others."""
        changed = self.curation.keep_best(self._shown.tolist())
        said = (
            f"{self.curation.journal.undoable}."
            if changed
            else "Every group shown has a decision already, or labels that differ: decide about those."
        )
        return self._changed(changed, said)

    def on_next_open(self, view: int, rank: int) -> dict[str, Any]:
        """Return the first rank from `rank` on whose item is undecided, -1 where there is none."""
        if view != self._number:
            return {"rank": -1}
        left = (~self.curation.is_decided[self._shown[rank:]]).nonzero()[0]
        return {"rank": rank + int(left[0]) if len(left) else -1}

    def on_undo(self) -> dict[str, Any]:
        """Take back what was decided last, in whichever view."""
        said, changed = self.curation.undo()
        return self._changed(changed, said)

    def on_redo(self) -> dict[str, Any]:
        """Decide again what was taken back last."""
        said, changed = self.curation.redo()
        return self._changed(changed, said)

    def on_large(self, i: int) -> dict[str, Any]:
        """Return an item large, with all that is known of it."""
        found = self.curation
        tile = self._facts(i, self._view["queue"])
        path = found.listing.paths[i]
        tile |= {"place": short_path(path) if path is not None else "", "top": self._top(i), "facts": self._known(i)}
        tile["pixels"] = ""
        if found.media == "picture" and path is not None:
            picture = self._large(i, path)
            if picture is not None:
                tile["picture"] = _encoded(picture)
                tile["pixels"] = self._inspect(path)
        else:
            tile |= self._look(i, LARGE)
        return tile

    def on_close_large(self) -> None:
        """Let go of the pixel inspector."""
        if self._inspector is not None:
            self._inspector.close()
            self._inspector = None

    def on_sound(self, i: int) -> dict[str, Any]:
        """Return a sound as its file holds it."""
        path = self.curation.listing.paths[i]
        if path is None:
            raise FastmagicError("This item is no sound file.")
        kinds = {
            ".mp3": "audio/mpeg",
            ".flac": "audio/flac",
            ".ogg": "audio/ogg",
            ".wav": "audio/wav",
            ".m4a": "audio/mp4",
        }
        try:
            return {"sound": Encoded(path.read_bytes(), kinds.get(path.suffix.lower(), "audio/ogg"))}
        except OSError as error:
            raise UnreadableError(f"'{path.name}' cannot be read: {error.strerror or error}.") from error

    def on_plan(self) -> dict[str, Any]:
        """Return what applying the decisions would do."""
        found = self.curation
        plan = found.cleaning.plan()
        examples = []
        for step in plan.steps[:12]:
            to = str(step.decision.to) if step.decision.action == "relabel" else "set aside"
            if plan.how == "move" and step.place is not None:
                to = os.path.relpath(step.place, found.journal.folder)
            elif isinstance(step.decision.to, list):
                to = ", ".join(step.decision.to)
            examples.append([found.name(step.position), to])
        title = {"move": "Move files", "csv": "Write a corrected table", "map": "Build new DataLoaders"}[plan.how]
        problem = ""
        if plan.how == "map" and found.source_dls is None and plan.steps and not found.cleaning.builds:
            problem = f"{plan.why} Open the cleaner with the DataLoaders, and they are built anew: `clean(dls)`"
        lines = plan.sentences(found.journal.folder)
        more = len(plan.steps) - len(examples)
        return {
            "how": plan.how,
            "title": title,
            "lines": lines if not problem else [],
            "examples": examples,
            "more": max(more, 0),
            "nothing": not plan.steps,
            "problem": problem,
        }

    def on_apply(self) -> dict[str, Any]:
        """Carry out the decisions."""
        said, train = carry_out(self.curation, self.on_cleaned)
        return {"said": said, "train": train, "state": self._anew()}

    def on_revert(self) -> dict[str, Any]:
        """Bring back what the last application moved."""
        said = bring_back(self.curation, self.on_cleaned)
        return {"said": said, "state": self._anew()}

    # ------------------------------------------------------------ what is shown

    def _select(self) -> None:
        view = dict(self._view)
        self._shown = self.curation.view(view.pop("queue") or "all", **view)
        self._number += 1

    def _anew(self) -> dict[str, Any]:
        self._still = None
        self._why.clear()
        self._select()
        return self.state()

    def _window_of_view(self, at: int = -1) -> dict[str, Any]:
        rank = -1
        if at >= 0:
            places = (self._shown == at).nonzero()[0]
            rank = int(places[0]) if len(places) else -1
        start = max(0, rank // FIRST * FIRST)
        queue = self.curation.queues.get(self._view["queue"])
        return {
            "view": self._number,
            "count": len(self._shown),
            "about": queue.about if queue is not None else "",
            "start": start,
            "tiles": self._tiles(self._shown[start : start + FIRST]),
            "rank": rank,
            "labels": self._label_counts(),
        }

    def _label_counts(self) -> list[list[Any]]:
        import numpy as np

        found = self.curation
        if found.kind != "class":
            return []
        codes = found.codes[found.positions(self._view["queue"] or "all")]
        counts = np.bincount(codes[codes >= 0], minlength=len(found.vocab))
        return [[str(name), int(count)] for name, count in zip(found.vocab, counts, strict=False) if count]

    def _tiles(self, positions: Any) -> list[dict[str, Any]]:
        found = self.curation
        tiles = [self._facts(int(i), self._view["queue"]) for i in positions]
        if found.media == "picture":
            paths = [found.listing.paths[int(i)] for i in positions]
            for tile, path, data in zip(tiles, paths, found.scan.thumbnails(paths), strict=True):
                if data is not None:
                    tile["picture"] = Encoded(data, "image/png" if data.startswith(b"\x89PNG") else "image/jpeg")
                elif path is None or path.exists():
                    tile |= self._look(tile["i"], 160)
                else:
                    tile["gone"] = True
        else:
            for tile in tiles:
                tile |= self._look(tile["i"], 160)
        return tiles

    def _facts(self, i: int, queue: str) -> dict[str, Any]:
        found = self.curation
        why, group, size = self._reason(queue, i) or ("", None, 0)
        confidence, loss = float(found.confidence[i]), float(found.losses[i])
        return {
            "i": i,
            "name": found.name(i),
            "label": found.label(i),
            "split": found.listing.splits[i] if found.listing.splits else "",
            "predicted": found.prediction(i),
            "confidence": confidence,
            "loss": loss,
            "decision": self._decision(i),
            "why": why,
            "group": group,
            "of": size,
            "picture": None,
            "gone": False,
            "sound": found.media == "sound",
        }

    def _reason(self, name: str, i: int) -> tuple[str, int | None, int] | None:
        """Return why an item is in a queue, its group and how many are in that; `None` where it is not in it."""
        import numpy as np

        queue = self.curation.queues.get(name)
        if queue is None:
            return None
        known = self._why.get(name)
        if known is None or known[0] is not queue:
            place = np.full(len(self.curation), -1, "int32")
            place[queue.positions] = np.arange(len(queue), dtype="int32")
            known = self._why[name] = queue, place, np.bincount(queue.groups) if queue.groups is not None else None
        _, place, sizes = known
        k = int(place[i])
        if k < 0:
            return None
        why = queue.why[k] if queue.why is not None else ""
        group = int(queue.groups[k]) if queue.groups is not None else None
        return why, group, int(sizes[group]) if group is not None and sizes is not None else 0

    def _decision(self, i: int) -> dict[str, Any] | None:
        decision = self.curation.decided.get(i)
        return None if decision is None else {"action": decision.action, "to": decision.to}

    def _look(self, i: int, size: int) -> dict[str, Any]:
        """Return how an item that is no picture file looks: a row, a text, a drawing."""
        found = self.curation
        path = found.listing.paths[i]
        if found.media == "sound" and path is not None:
            drawn = _waveform(path, size)
            return {"picture": _encoded(drawn)} if drawn is not None else {"gone": not path.exists()}
        results, at = found.at(i)
        if results is not None and hasattr(results, "look"):
            look = results.look(at, size)
            if isinstance(look, list):
                return {"row": [[str(k), v] for k, v in look]}
            if isinstance(look, str):
                return {"text": look if size >= LARGE else look[:300]}
            return {"gone": True} if look is None else {"picture": _encoded(look)}
        if (row := found.row(i)) is not None:
            return {"row": [list(cell) for cell in row]}
        return {"gone": path is not None and not path.exists(), "text": "cannot be opened" if path is not None else ""}

    def _large(self, i: int, path: Path) -> Any:
        """Return a picture large; with a mask's wrong pixels marked."""
        found, at = self.curation.at(i)
        if found is None or self.curation.kind != "pixels" or (masks := found.masks(at)) is None:
            return thumbnail(path, LARGE)
        import numpy as np
        from PIL import Image

        picture = found.image(at)
        if picture is None:
            return None
        actual, predicted = masks
        wrong = ((actual != predicted) & (actual >= 0))[..., None]
        pixels = np.asarray(picture.convert("RGB")).astype(float)
        return Image.fromarray(np.where(wrong, pixels * 0.4 + np.array([255, 60, 160]) * 0.6, pixels).astype("uint8"))

    def _top(self, i: int) -> list[list[Any]]:
        found = self.curation
        rows = [p[i] for p in (found.probabilities, found.told) if p is not None and p[i, 0] == p[i, 0]]
        if not rows:
            return []
        row = rows[0]
        return [[str(found.vocab[k]), float(row[k])] for k in row.argsort()[::-1][:10].tolist() if k < len(found.vocab)]

    def _known(self, i: int) -> list[list[str]]:
        """Return what else is known of an item, word by word."""
        found = self.curation
        path = found.listing.paths[i]
        facts = [["number", f"{i:,}"]]
        photo = found.scan.photos([path])[0] if path is not None and found.media == "picture" else None
        if photo is not None and photo.width:
            facts.append(["size", f"{photo.width} × {photo.height} px"])
        if path is not None:
            try:
                facts.append(["file", f"{path.stat().st_size / 1000:,.0f} kB"])
            except OSError:
                facts.append(["file", "gone"])
        for name in list(found.queues):  # the background adds to them
            if name not in ("loss", self._view["queue"]) and (reason := self._reason(name, i)) is not None:
                facts.append([TITLES[name].lower(), reason[0] or "yes"])
        return facts

    def _inspect(self, path: Path) -> str:
        """Return the id of a living pixel inspector of a picture, "" where none can be had."""
        from .pixels import cannot_see, pixels

        self.on_close_large()
        learn = self.curation.learn
        try:
            self._inspector = pixels(path, learn if learn is not None and not cannot_see(learn) else None)
        except FastmagicError:
            return ""
        return str(self._inspector.panel_id)

    # ------------------------------------------------------------ counts and news

    def _queues(self) -> list[dict[str, Any]]:
        found, queues = self.curation, []
        for name, title in TITLES.items():
            busy = "quality" if name in QUALITY else name
            if name not in found.queues and busy not in found.busy and name not in ("all", "decided"):
                continue
            positions = found.positions(name)
            queue = found.queues.get(name)
            queues.append(
                {
                    "name": name,
                    "title": title,
                    "about": queue.about if queue is not None else "",
                    "count": len(positions),
                    "left": int((~found.is_decided[positions]).sum()),
                    "busy": busy in found.busy,
                    "done": found.busy.get(busy),
                    "grouped": queue is not None and queue.groups is not None,
                }
            )
        return queues

    def _counts(self) -> dict[str, Any]:
        counts, journal = self.curation.counts(), self.curation.journal
        return {
            **{action: counts[action] for action in ("relabel", "aside", "keep")},
            "undo": _batch(journal.undoable),
            "redo": _batch(journal.redoable),
        }

    def _changed(self, positions: list[int], said: str) -> dict[str, Any]:
        changed = [[i, self._decision(i)] for i in positions] if len(positions) <= MANY else None
        return {"changed": changed, "counts": self._counts(), "queues": self._queues(), "said": said}

    def _sync(self) -> None:
        self.curation.sync()

    def _elsewhere(self) -> None:
        """Another view has decided."""
        self._elsewhere_too(self.curation.sync())

    def _elsewhere_too(self, changed: list[int]) -> None:
        if changed:
            news = self._changed(changed, "")
            news.pop("said")
            self.tell("decided", **news)
            self.keep_still_later()

    def _looked(self) -> None:
        """The background work went on: say so, but not more than twice a second."""
        now = time.monotonic()
        if now - self._told > 0.5 or not self.curation.busy:
            self._told = now
            if getattr(self, "panel_id", ""):
                # Counted when it is sent: a decision that is being answered meanwhile must not be followed by older counts.
                with self._lock:
                    self.tell("queues", queues=self._queues(), counts=self._counts(), trouble=self.curation.trouble)

    # ------------------------------------------------------------ the still

    def still(self) -> Still:
        found = self.curation
        state = [
            sorted((i, d.action, str(d.to)) for i, d in found.decided.items()),
            len(found.queues),
            bool(found.busy),
        ]
        if self._still is None or self._still[0] != state:
            self._still = state, self._new_still()
        return self._still[1]

    def _new_still(self) -> Still:
        found, counts = self.curation, self.curation.counts()
        parts = [
            f"{counts[action]:,} {word}"
            for action, word in (("relabel", "to relabel"), ("aside", "set aside"), ("keep", "kept"))
            if counts[action]
        ]
        first = f"{self.title}: {len(found):,} items, {', '.join(parts) or 'nothing decided yet'}"
        rows = [
            [queue["title"], f"{queue['count']:,}", f"{queue['left']:,}"]
            for queue in self._queues()
            if queue["name"] not in ("all", "decided") and queue["count"]
        ]
        text, html = [first], [f"<p><b>{escape(first)}</b></p>"]
        if rows:
            text.append(text_table(["queue", "items", "undecided"], rows))
            html.append(f"<p class=dim>{escape(' · '.join(f'{title}: {count}' for title, count, _ in rows))}</p>")
        order = {"relabel": 0, "aside": 1, "keep": 2}
        decided = sorted(found.decided.items(), key=lambda kv: (order[kv[1].action], kv[0]))
        text += [f"{found.name(i)}: {_decision_words(d)}" for i, d in decided[:SHEET]]
        if len(decided) > SHEET:
            text.append(f"… and {len(decided) - SHEET:,} more (%clean --export FILE)")
        png = None
        if decided:
            pictures = self._sheet(decided[:SHEET])
            html.append(_sheet_html(pictures, found))
            if len(decided) > SHEET:
                html.append(f"<p class=dim>… and {len(decided) - SHEET:,} more</p>")
            png = _sheet_png(pictures, found, first)
        return Still("".join(html), "\n".join(text), png)

    def _sheet(self, decided: list[tuple[int, Any]]) -> list[tuple[int, Any, Any]]:
        from PIL import Image

        found = self.curation
        paths = [found.listing.paths[i] for i, _ in decided]
        data = found.scan.thumbnails(paths) if found.media == "picture" else [None] * len(paths)
        return [
            (i, decision, Image.open(io.BytesIO(one)).convert("RGB") if one else None)
            for (i, decision), one in zip(decided, data, strict=True)
        ]


def clean(
    what: Any,
    split: str | None = None,
    *,
    path: str | Path | None = None,
    to: str | Path | None = None,
    background: bool = True,
    progress: Progress | None = None,
) -> Cleaner:
    """Look through a data set and decide about its items: relabel, set aside, keep.

    Queues show what deserves a look: likely wrong labels, highest losses, copies, odd ones, bad pictures. Each decision is
    in `.fastmagic/decisions.jsonl` beside the data as soon as it is made; nothing is moved before `apply`, and nothing is
    ever deleted.

    Args:
        what: a fastai `Learner`, `DataLoaders`, a folder, a CSV file, a DataFrame, or what `results` returned.
        split: of a learner: predict "train" or "valid" only (default: both).
        path: the folder that the file names of a table are relative to.
        to: the file for a corrected table, where the labels come from one.
        background: read the files and compare what they show, in the background; else only predictions are used.
        progress: called with (items done, items in all) during the pass over a learner's data.

    Returns:
        A panel; `.decisions` and `.queue(name)` are DataFrames, `.apply()` carries out, `.dls` is the cleaned data.

    Raises:
        FastmagicError: there is nothing of that name, nothing in it, or whatever `results` raises.

    Example:
        >>> cleaner = fastmagic.clean("bird_or_not")   # doctest: +SKIP
        >>> cleaner.queue("label").head()              # doctest: +SKIP
        >>> cleaner.apply()                            # doctest: +SKIP
        '3 files went into the folder of another class. 12 files went to quarantine.'
    """
    title = Path(what).name if isinstance(what, (str, os.PathLike)) else ""
    return Cleaner(curate(what, split, path=path, to=to, progress=progress), title, background)


def carry_out(found: Curation, bind: Callable[[Any], str] | None = None) -> tuple[list[str], str]:
    """Apply the decisions; return what to say about it, and the line of the next cell.

    Args:
        bind: gives the user the cleaned `DataLoaders`, and returns their name.
    """
    done = found.apply()
    if not done.plan.steps:
        return done.plan.sentences(None), ""
    said = [str(done)]
    if done.dls is not None:
        name = bind(done.dls) if bind is not None else "dls"
        sizes = [len(loader.dataset) for loader in done.dls.loaders]
        said.append(f"{name} holds the cleaned data: {sizes[0]:,} training and {sizes[-1]:,} validation items.")
        if found.learn is None:
            return said, f"%train {name}"
        remember(done.dls, found.learn)
        return said, line_of(found.learn, name)
    if done.plan.file is not None:
        return said, f"%datablock dls --from {done.plan.file}"
    return said, f"%datablock dls --from {short_path(found.journal.folder)}" if found.listing.kind == "folder" else ""


def bring_back(found: Curation, bind: Callable[[Any], str] | None = None) -> str:
    """Bring back what the last application moved; return what to say about it.

    Args:
        bind: gives the user `DataLoaders` of the files where they are now, and returns their name.
    """
    back = found.revert()
    said = f"{'1 file is' if len(back) == 1 else f'{len(back):,} files are'} back in place; the decisions count again."
    if found.dls is None:
        return said
    name = bind(found.dls) if bind is not None else "dls"
    known = {path for path in found.listing.paths if path is not None}
    unknown = sum(place not in known for _, place in back)
    missing = f", but for {unknown:,} that it did not hold: build it anew to have them in it" if unknown else ""
    return f"{said} {name} reads them there{missing}."


def _batch(batch: Batch | None) -> str:
    return str(batch) if batch is not None else ""


def _decision_words(decision: Any) -> str:
    to = ", ".join(decision.to) if isinstance(decision.to, list) else decision.to
    return {"relabel": f"→ {to}", "aside": "set aside", "keep": "kept"}[decision.action]


def _encoded(picture: Any) -> Encoded:
    """Return a picture as JPEG; small ones as PNG, whose pixels JPEG would smear."""
    buffer = io.BytesIO()
    if max(picture.size) <= 64:
        picture.save(buffer, "PNG")
        return Encoded(buffer.getvalue(), "image/png")
    picture.convert("RGB").save(buffer, "JPEG", quality=85)
    return Encoded(buffer.getvalue())


def _waveform(path: Path, size: int) -> Any:
    """Return a drawing of a sound's wave, `None` where it cannot be read here."""
    import numpy as np
    from PIL import Image, ImageDraw

    samples = _samples(path)
    if samples is None or not len(samples):
        return None
    width, height = size, size // 2
    edges = np.linspace(0, len(samples), width + 1).astype(int)
    drawn = Image.new("RGB", (width, height), (245, 245, 245))
    pen = ImageDraw.Draw(drawn)
    most = np.abs(samples).max() or 1
    for x in range(width):
        part = samples[edges[x] : max(edges[x + 1], edges[x] + 1)] / most
        low, high = (height / 2 * (1 - value) for value in (part.max(), part.min()))
        pen.line([(x, low), (x, max(high, low + 1))], fill=(0, 114, 178))
    return drawn


def _samples(path: Path) -> Any:
    import numpy as np

    try:
        import soundfile

        return soundfile.read(path, always_2d=True)[0].mean(1)
    except ImportError:
        import wave

        try:
            with wave.open(str(path)) as sound:
                kind = {1: "u1", 2: "<i2", 4: "<i4"}.get(sound.getsampwidth())
                if kind is None:
                    return None
                data = np.frombuffer(sound.readframes(sound.getnframes()), kind).astype(float)
                data = data - 128 if kind == "u1" else data
                return data.reshape(-1, sound.getnchannels()).mean(1)
        except (wave.Error, EOFError, OSError):
            return None
    except (RuntimeError, OSError):
        return None


def _sheet_html(pictures: Iterable[tuple[int, Any, Any]], found: Curation) -> str:
    cells = []
    for i, decision, picture in pictures:
        shown = image_tag(picture, 60, found.name(i)) if picture is not None else ""
        label = found.label(i)
        was = ", ".join(label) if isinstance(label, list) else label or ""
        words = [f"{was} {_decision_words(decision)}", found.name(i)]
        cells.append(f"<div style='margin:0 1em .6em 0'>{shown}{'<br>'.join(escape(word) for word in words)}</div>")
    return f"<div style='display:flex;flex-wrap:wrap'>{''.join(cells)}</div>"


def _sheet_png(pictures: list[tuple[int, Any, Any]], found: Curation, title: str) -> bytes:
    columns = min(8, len(pictures))
    figure, axes = new_figure(-(-len(pictures) // columns), columns, 1.1)
    for axis, (i, decision, picture) in zip(axes, pictures, strict=False):
        if picture is not None:
            axis.imshow(picture)
        label = found.label(i)
        was = ", ".join(label) if isinstance(label, list) else str(label or found.name(i))
        colour = {"relabel": "#b85c00", "aside": "#b5305a", "keep": "#00795a"}[decision.action]
        axis.set_title(f"{was}\n{_decision_words(decision)}".replace("$", r"\$"), fontsize=6, color=colour)
    figure.suptitle(title.replace("$", r"\$"), fontsize=8)
    return small_png(figure_png(figure), 64)
