"""The confusion view: what a model takes for what, the items behind each cell, and what a retrain has changed."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..data.decisions import Journal, Made, data_folder
from ..data.items import item_source
from ..errors import AnswerError, FastmagicError, NotFoundError, did_you_mean, few
from ..learning.confusion import ORDERS, Snapshot, keys, orders, rates, seen_before
from ..learning.learner_file import as_learner
from ..learning.masks import MaskResults, draws_masks, mask_results
from ..learning.predictions import label_text
from ..learning.results import Results, results
from ..overlay import LEFT_OUT, class_colour, colours
from ..progress import Progress
from ..render import escape, figure_png, html_table, image_tag, item_name, new_figure, short_path, text_table
from .panel import Encoded, Panel, Still, png_tag

TABLE_CLASSES = 25  # up to here the matrix is a table, above a drawing
THUMBNAIL, LARGE = 160, 720
NORMALIZE = (None, "actual", "predicted")
# How a cell is coloured: right is quiet, wrong is strong. As in confusion.css.
RIGHT, WRONG = (0, 114, 178), (230, 120, 0)


class ConfusionView(Panel):
    """A confusion matrix to look into; made by `confusion`.

    Attributes:
        results: the `Results` (for masks `MaskResults`) it shows.
        before: what it compares with, a `Snapshot`, or `None`.
        journal: where decisions about files are noted; `None` for items that are no files.
    """

    module = "confusion"

    def __init__(
        self,
        found: Any,
        folder: Path | None = None,
        normalize: str | None = None,
        order: str | None = None,
        before: Snapshot | None = None,
        label: str = "",
    ):
        import numpy as np

        self.results, self.before, self._before_label = found, before, label
        self.journal = Journal(folder) if folder is not None else None
        self._keys = keys(found)
        counts: Any = None if found.kind == "numbers" else found.confusion_matrix()
        self._counts: Any = (
            counts if found.kind != "classes" else counts[:, ::-1, ::-1]
        )  # yes first: [[TP, FN], [FP, TN]]
        if found.kind in ("class", "pixels"):
            self._orders = orders(found.vocab, counts)
        elif found.kind == "classes":
            wrong = counts[:, 0, 1] + counts[:, 1, 0]
            self._orders = {
                **orders(found.vocab, np.zeros((len(found.vocab),) * 2)),
                "confusion": [int(i) for i in np.argsort(-wrong, kind="stable")],
            }
        else:
            self._orders = {}
        # What is looked at, kept for a reload and for the still.
        self._look: dict[str, Any] = {
            "order": order or ("confusion" if found.kind == "classes" else "vocab"), "percent": normalize or "count", "compare": "after", "selection": None, "label": 0,
        }  # fmt: skip
        if found.kind == "classes" and len(found.vocab):
            self._look["label"] = self._orders["confusion"][0]
        self._selected: tuple[str, str, Any] = ("", "", np.zeros(0, dtype=int))
        self._still: tuple[str, Still] | None = None
        super().__init__()

    @property
    def matrix(self) -> Any:
        """The counts as a DataFrame in the order of the vocab: rows actual, columns predicted.

        For several labels, a row a class: true positives, false negatives, false positives, true negatives. `None` for
        numbers. For masks, pixels.
        """
        import pandas as pd

        if self._counts is None:
            return None
        names = [*self.results.vocab]
        if self.results.kind == "classes":
            columns = ["true positives", "false negatives", "false positives", "true negatives"]
            return pd.DataFrame(self._counts.reshape(-1, 4), index=pd.Index(names, name="class"), columns=columns)
        return pd.DataFrame(
            self._counts, index=pd.Index(names, name="actual"), columns=pd.Index(names, name="predicted")
        )

    @property
    def kind(self) -> str:
        """What is shown: "class", "classes" (a 2 × 2 matrix each), "pixels" or "numbers" (a scatter)."""
        return self.results.kind

    # ------------------------------------------------------------ what the browser gets

    def state(self) -> dict[str, Any]:
        found = self.results
        state: dict[str, Any] = {
            "kind": found.kind,
            "split": found.split,
            "summary": self._summary(),
            "count": len(found),
            "vocab": [str(name) for name in found.vocab],
            "orders": self._orders,
            "look": self._look,
            "notes": self._notes(),
            "before": self._before_state(),
            "journal": self._journal_state(),
            "relabel": self.journal is not None and found.kind in ("class", "classes"),
        }
        if self._counts is not None:
            state["matrix"] = self._counts.astype("float64")
            state["rates"] = self._rates(self._counts)
        else:
            actual, predicted = self._numbers()
            first = found.predictions[0] if len(found) else 0.0
            state |= {"actual": actual, "predicted": predicted, "fit": _fit(actual, predicted)}
            state["outputs"] = len(first) if isinstance(first, list) else 1
        return state

    def on_look(self, **look: Any) -> None:
        """Remember what is looked at."""
        self._look |= {name: value for name, value in look.items() if name in self._look}

    def on_items(self, selection: dict[str, Any], start: int = 0, count: int = 24) -> dict[str, Any]:
        """Return a page of the items of a selection, worst loss first."""
        asked = json.dumps(selection, sort_keys=True)
        if self._selected[0] != asked or start == 0:
            title, positions = self._select(selection)
            self._selected = asked, title, positions
            self._look["selection"] = selection
        _, title, positions = self._selected
        part = [self._item(int(i), selection) for i in positions[start : start + count]]
        return {"title": title, "total": len(positions), "items": part}

    def on_large(self, position: int, selection: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return an item large, with more of what the model said of it."""
        found, item = self.results, self._item(position, selection or {}, size=LARGE)
        item["place"] = str(found.items[position]) if isinstance(found.items[position], Path) else ""
        if found.kind == "pixels":
            item["more"] = self._mask_images(position)
        elif found.kind in ("class", "classes"):
            item["top"] = self._top(position, 10)
        return item

    def on_decide(self, positions: list[int], action: str, to: Any = None) -> dict[str, Any]:
        """Note a decision about items in the journal, and return what is decided about them now."""
        found = self.results
        if self.journal is None:
            raise FastmagicError("These items are no files, so nothing is noted about them.")
        files = [found.items[i] for i in positions]
        if not all(isinstance(file, Path) for file in files):
            raise FastmagicError("Only files can be relabelled or set aside here.")
        if action == "relabel":
            for name in to if isinstance(to, list) else [to]:
                if str(name) not in map(str, found.vocab):
                    hint = did_you_mean(str(name), map(str, found.vocab)) or f"There are {few(found.vocab)}."
                    raise NotFoundError(f"No class {str(name)!r}.", hint)
        was = [_plain(found.targets[i]) if found.kind != "pixels" else None for i in positions]
        action = "clear" if action == "undo" else action
        self.journal.note((Made(file, action, w, to) for file, w in zip(files, was, strict=True)), by="confusion")
        return {"decisions": [self._decision(i) for i in positions], "journal": self._journal_state()}

    def on_numbers(self, output: int) -> dict[str, Any]:
        """Return actual and predicted values of one of several numbers."""
        self._look["label"] = output
        actual, predicted = self._numbers()
        before = self._before_state()
        return {"actual": actual, "predicted": predicted, "fit": _fit(actual, predicted), "before": before}

    # ------------------------------------------------------------ selections

    def _select(self, selection: dict[str, Any]) -> tuple[str, Any]:
        """Return the title and the positions of a selection, in the order they are shown."""
        import numpy as np

        found, kind = self.results, selection.get("kind")
        losses = np.asarray(found.losses)
        everything = np.arange(len(found))

        def worst(positions: Any) -> Any:
            return positions[np.argsort(-losses[positions], kind="stable")]

        if kind == "worst":
            return "Highest losses", worst(everything)
        if kind == "points":
            positions = np.array(selection["positions"], dtype=int)
            return ("The point" if len(positions) == 1 else f"{len(positions)} points"), worst(positions)
        if kind == "changed":
            now, then = self._right(), self._right_before()
            how = selection["how"]
            wanted = {"right": now & (then == 0), "wrong": ~now & (then == 1), "still": ~now & (then == 0)}[how]
            names = {"right": "Newly right", "wrong": "Newly wrong", "still": "Wrong before and after"}
            return names[how], worst(np.flatnonzero(wanted))
        if found.kind == "pixels":
            if kind == "class":
                name = found.vocab[selection["class"]]
                pixels = found.errors(selection["class"])
                title = f"Pixels of {name} missed or taken for it"
            else:
                actual, predicted = selection["actual"], selection["predicted"]
                pixels = found.counts(actual, predicted)
                title = _taken(found.vocab[actual], found.vocab[predicted])
            if self._compares(selection):  # of each picture's pixels before nothing is kept
                title += ", as the model sees it now"
            order = np.argsort(-pixels, kind="stable")
            return f"{title}, most such pixels first", order[pixels[order] > 0]
        if found.kind == "classes":
            name = found.vocab[selection["class"]]
            if kind == "class":
                title, wanted = f"Mistakes about {name}", self._has(name) != self._has(name, "predicted")
            else:
                actual, predicted = selection["actual"] == 0, selection["predicted"] == 0
                title = f"{'Is' if actual else 'Is not'} {name}, model says {'yes' if predicted else 'no'}"
                wanted = (self._has(name) == actual) & (self._has(name, "predicted") == predicted)
                if self._compares(selection):
                    title, wanted = self._changed_cell(title, wanted, *self._cell_before(selection), selection)
            return title, worst(np.flatnonzero(wanted))
        index = {name: i for i, name in enumerate(found.vocab)}
        actual = np.array([index[name] for name in found.targets])
        predicted = np.array([index[name] for name in found.predictions])
        if kind == "class":
            i = selection["class"]
            title = f"Mistakes about {found.vocab[i]}"
            return title, worst(np.flatnonzero(((actual == i) | (predicted == i)) & (actual != predicted)))
        wanted = (actual == selection["actual"]) & (predicted == selection["predicted"])
        title = _taken(found.vocab[selection["actual"]], found.vocab[selection["predicted"]])
        if self._compares(selection):
            title, wanted = self._changed_cell(title, wanted, *self._cell_before(selection), selection)
        return title, worst(np.flatnonzero(wanted))

    def _compares(self, selection: dict[str, Any]) -> bool:
        return self.before is not None and selection.get("which", "after") != "after"

    def _cell_before(self, selection: dict[str, Any]) -> tuple[Any, Any]:
        """Return which items were in a cell before, and which of them can be told at all."""
        import numpy as np

        assert self.before is not None
        vocab = self.results.vocab
        inside, known = np.zeros(len(self.results), bool), np.zeros(len(self.results), bool)
        for i, key in enumerate(self._keys):
            pair = self.before.outcomes.get(key)
            if pair is None:
                continue
            known[i] = True
            if self.kind == "classes":
                name = vocab[selection["class"]]
                inside[i] = [(name in pair[0]) != selection["actual"], (name in pair[1]) != selection["predicted"]] == [
                    True,
                    True,
                ]
            else:
                inside[i] = pair == (vocab[selection["actual"]], vocab[selection["predicted"]])
        return inside, known

    def _changed_cell(self, title: str, now: Any, then: Any, known: Any, selection: dict[str, Any]) -> tuple[str, Any]:
        if selection["which"] == "before":
            return f"Before: {title}", then
        came, went = int((now & ~then & known).sum()), int((then & ~now).sum())
        return f"{title}: {came} came, {went} left", ((now & ~then) | (then & ~now)) & known

    def _has(self, name: Any, what: str = "targets") -> Any:
        import numpy as np

        labels = self.results.targets if what == "targets" else self.results.predictions
        return np.array([name in given for given in labels], dtype=bool)

    def _right(self) -> Any:
        import numpy as np

        return np.asarray(self.results.correct, dtype=bool)

    def _right_before(self) -> Any:
        """Return 1 for items that were right before, 0 for wrong, -1 for those not there."""
        import numpy as np

        outcomes = self.before.outcomes if self.before else {}
        pairs = [outcomes.get(key) for key in self._keys]
        return np.array([-1 if pair is None else int(pair[0] == pair[1]) for pair in pairs])

    # ------------------------------------------------------------ items

    def _item(self, position: int, selection: dict[str, Any], size: int = THUMBNAIL) -> dict[str, Any]:
        found = self.results
        source = found.items[position]
        name = item_name(source) if isinstance(source, (str, Path)) else _row(source, position)
        item: dict[str, Any] = {
            "position": position,
            "name": name if isinstance(source, Path) or len(name) < 60 else f"item {position}",
            "loss": float(found.losses[position]),
            "decision": self._decision(position),
            "decides": self.journal is not None and isinstance(source, Path),
        }
        if found.kind == "pixels":
            item |= self._overlay(position, selection, size)
            return item
        item |= {"actual": label_text(found.targets[position]), "predicted": label_text(found.predictions[position])}
        if found.kind == "classes":
            item["labels"] = [str(label) for label in found.targets[position]]
        if found.kind != "numbers":
            item["right"] = bool(found.correct[position])
            item["top"] = self._top(position, 3)
            pair = self.before.outcomes.get(self._keys[position]) if self.before else None
            if pair is not None and pair != (found.targets[position], found.predictions[position]):
                item["before"] = label_text(pair[1])
                if pair[0] != found.targets[position]:
                    item["label_before"] = label_text(pair[0])
        look = found.look(position, size)
        if look is None:
            item["gone"] = True
        elif isinstance(look, list):
            item["row"] = look
        elif isinstance(look, str):
            item["text"] = look if size == LARGE or len(look) < 400 else f"{look[:400]}…"
        else:
            item["picture"] = _encoded(look)
        return item

    def _top(self, position: int, count: int) -> list[tuple[str, float]]:
        row = self.results.probabilities[position]
        order = sorted(range(len(row)), key=lambda i: -row[i])[:count]
        return [(str(self.results.vocab[i]), float(row[i])) for i in order]

    def _decision(self, position: int) -> dict[str, Any] | None:
        source = self.results.items[position]
        if self.journal is None or not isinstance(source, Path):
            return None
        decision = self.journal.current().get(Path(_absolute(source)))
        if decision is None:
            return None
        return {"action": decision.action, "to": label_text(decision.to) if decision.to is not None else ""}

    def _overlay(self, position: int, selection: dict[str, Any], size: int) -> dict[str, Any]:
        """Return a picture with the pixels of a selection marked, and how many they are."""
        import numpy as np

        found = self.results
        picture, masks = found.image(position), found.masks(position)
        pixels = found.errors(position=selection["class"]) if selection.get("kind") == "class" else found.errors()
        chosen = int(pixels[position])
        if selection.get("kind") == "cell":
            chosen = int(found.counts(selection["actual"], selection["predicted"])[position])
        total = max(found.of(position), 1)
        item: dict[str, Any] = {"share": chosen / total, "pixels": chosen}
        if picture is None:
            return item | {"gone": True}
        if masks is None:
            item["unmarked"] = True
        else:
            actual, predicted = masks
            marked = (actual != predicted) & (actual >= 0)
            if selection.get("kind") == "cell":
                marked = (actual == selection["actual"]) & (predicted == selection["predicted"])
            elif selection.get("kind") == "class":
                marked &= (actual == selection["class"]) | (predicted == selection["class"])
            pixels = np.asarray(picture).astype(float)
            dimmed = pixels * 0.6 + 255 * 0.15
            pixels = np.where(marked[..., None], pixels * 0.3 + np.array([255, 60, 160]) * 0.7, dimmed)
            from PIL import Image

            picture = Image.fromarray(pixels.astype("uint8"))
        picture = picture if size == LARGE else _shrunk(picture, size)
        return item | {"picture": _encoded(picture)}

    def _mask_images(self, position: int) -> list[dict[str, Any]]:
        """Return the picture and both masks of an item, with the names of the colours that are in them."""
        import numpy as np
        from PIL import Image

        found = self.results
        picture, masks = found.image(position), found.masks(position)
        shown: list[dict[str, Any]] = []
        shown += [{"caption": "as the model saw it", "picture": _encoded(picture)}] if picture is not None else []
        for caption, mask in zip(("actual", "predicted"), masks or (), strict=False):
            names = [
                {"name": str(found.vocab[i]), "colour": f"rgb{class_colour(i)}"}
                if i >= 0
                else {"name": "left out", "colour": f"rgb{LEFT_OUT}"}
                for i in sorted(np.unique(mask).tolist(), key=lambda i: (i < 0, i))
            ]
            picture = Image.fromarray(colours(mask, len(found.vocab)))
            shown.append({"caption": caption, "picture": _encoded(picture), "legend": names})
        return shown

    # ------------------------------------------------------------ sums

    def _rates(self, counts: Any) -> Any:
        """Return precision, recall, F1, IoU and support by class, float64 with NaN where unknown."""
        import numpy as np

        if self.kind != "classes":
            return rates(counts)
        return np.stack([rates(one)[0] for one in counts]) if len(counts) else np.zeros((0, 5))

    def _numbers(self, snapshot: Snapshot | None = None) -> tuple[Any, Any]:
        """Return actual and predicted values (float32) of the output looked at."""
        import numpy as np

        pairs: Any = zip(self.results.targets, self.results.predictions, strict=True)
        if snapshot is not None:
            nothing = (float("nan"), float("nan"))
            pairs = [snapshot.outcomes.get(key, nothing) for key in self._keys]
        output = self._look["label"]
        values = [[v[output] if isinstance(v, list) else v for v in pair] for pair in pairs]
        both = np.array(values, dtype="float32").reshape(-1, 2)
        return np.ascontiguousarray(both[:, 0]), np.ascontiguousarray(both[:, 1])

    def _before_state(self) -> dict[str, Any] | None:
        """Return what is compared with, its counts in the order of this vocab."""
        import numpy as np

        before, found = self.before, self.results
        if before is None:
            return None
        known = self._right_before() if self.kind in ("class", "classes") else np.zeros(0)
        state: dict[str, Any] = {
            "label": self._before_label,
            "time": f"{before.made:%H:%M}",
            "matched": sum(key in before.outcomes for key in self._keys),
        }
        if self.kind == "numbers":
            actual, predicted = self._numbers(before)
            return state | {"actual": actual, "predicted": predicted, "fit": _fit(actual, predicted)}
        index = {name: i for i, name in enumerate(before.vocab)}
        places = [index.get(name, -1) for name in found.vocab]
        if self.kind == "classes":
            counts = np.zeros((len(places), 2, 2))
            for i, place in enumerate(places):
                if place >= 0:
                    counts[i] = before.matrix[place][::-1, ::-1]
        else:
            padded = np.zeros((len(before.vocab) + 1,) * 2)  # the last row and column: classes new since
            padded[:-1, :-1] = before.matrix
            counts = padded[np.ix_(places, places)]
        state |= {"matrix": counts.astype("float64"), "rates": self._rates(counts)}
        if len(known):
            now = self._right()
            state["changed"] = {
                "right": int((now & (known == 0)).sum()),
                "wrong": int((~now & (known == 1)).sum()),
                "still": int((~now & (known == 0)).sum()),
            }
        return state

    def _summary(self) -> str:
        return repr(self.results) if self.kind == "pixels" else self.results._summary()

    def _notes(self) -> list[str]:
        found, notes = self.results, []
        if self.kind == "pixels":
            height, width = found.size
            notes.append(f"Counted in pixels, at the {width} × {height} that the model sees.")
            if found.why_left_out:
                notes.append(f"{found.why_left_out}.")
        elif self.kind == "classes":
            notes.append(f"A label is given from a probability of {found.threshold:.2g}.")
        elif self.kind == "class" and self._counts is not None:
            empty = [str(name) for name, row in zip(found.vocab, self._counts, strict=True) if not row.sum()]
            if empty:
                notes.append(f"No {found.split} item is labelled {few(empty)}.")
        if self.before is not None and self.before.vocab != list(found.vocab):
            gone = [name for name in self.before.vocab if name not in found.vocab]
            new = [name for name in found.vocab if name not in self.before.vocab]
            parts = [f"without {few(gone)} then"] * bool(gone) + [f"with {few(new)} new"] * bool(new)
            if parts:
                notes.append(f"The classes differ from those before: {', '.join(parts)}.")
        return notes

    def _journal_state(self) -> dict[str, Any] | None:
        if self.journal is None:
            return None
        mine = {Path(_absolute(item)) for item in self.results.items if isinstance(item, Path)}
        decided = [decision.action for file, decision in self.journal.current().items() if file in mine]
        return {
            "file": short_path(self.journal.file),
            "relabel": decided.count("relabel"),
            "aside": decided.count("aside"),
            "beside": self.journal.beside,
        }

    # ------------------------------------------------------------ the still

    def still(self) -> Still:
        decided = self.journal.current() if self.journal is not None and self._look["selection"] else {}
        asked = json.dumps([self._look, len(decided)], sort_keys=True)
        if self._still is None or self._still[0] != asked:
            self._still = asked, self._new_still()
        return self._still[1]

    def _new_still(self) -> Still:
        lines, parts = [self._summary()], [f"<p><b>{escape(self._summary())}</b></p>"]
        for note in self._notes():
            lines.append(note)
            parts.append(f'<p class="dim">{escape(note)}</p>')
        changed = (self._before_state() or {}).get("changed")
        if changed:
            said = (
                f"Since before ({self._before_label}): {changed['right']} newly right, {changed['wrong']} newly wrong."
            )
            lines.append(said)
            parts.append(f"<p>{escape(said)}</p>")
        if self.kind == "numbers":
            actual, predicted = self._numbers()
            png, words = _scatter(actual, predicted), _fit_words(_fit(actual, predicted))
            lines.append(words)
            parts += [f"<p>{escape(words)}</p>", png_tag(png, f"Predicted against actual. {words}", 420)]
        else:
            png = self._matrix_still(lines, parts)
        selection = self._look["selection"]
        if selection:
            title, positions = self._select(selection)
            lines.append(f"{title}: {len(positions)}")
            parts.append(f"<p><b>{escape(title)}</b>: {len(positions)}</p>{self._pictures(positions[:6], selection)}")
        return Still("".join(parts), "\n".join(lines), png)

    def _matrix_still(self, lines: list[str], parts: list[str]) -> bytes:
        look, found = self._look, self.results
        order = self._orders[look["order"]]
        if self.kind == "classes":
            name = found.vocab[look["label"]]
            names: list[str] = [f"is {name}", f"not {name}"]
            counts = self._counts[look["label"]]
            header = ["class", "precision", "recall", "F1", "support"]
            table = self._rates(self._counts)
            rows = [
                [str(found.vocab[i]), *(_percent(table[i, k]) for k in range(3)), int(table[i, 4])] for i in order[:20]
            ]
            lines.append(text_table(header, rows))
        else:
            names = [str(found.vocab[i]) for i in order]
            counts = self._counts[order][:, order]
        cells, words = _cells(counts, look["percent"])
        caption = {"count": "counts", "actual": "% of the actual class", "predicted": "% of the predicted class"}
        unit = "pixels, " if self.kind == "pixels" else ""
        said = f"Rows actual, columns predicted, {unit}{caption[look['percent']]}."
        png = _matrix_png(cells, words, names, said)
        if len(names) <= TABLE_CLASSES:
            if len(names) <= 12:
                lines += [said, text_table(["", *names], [[n, *row] for n, row in zip(names, words, strict=True)])]
            parts.append(f"{_matrix_html(cells, words, names)}<p class=dim>{escape(said)}</p>")
        else:
            parts.append(png_tag(png, f"Confusion matrix of {len(names)} classes. {said}", 640))
        if self.kind == "classes":
            parts.append(html_table(header, rows))
        elif pairs := _most_confused(self._counts, found.vocab):
            confused = [[a, p, f"{n:,}", f"{share:.1%}"] for a, p, n, share in pairs[:10]]
            header = ["actual", "taken for", "times", "of its class"]
            lines.append("Most confused:\n" + text_table(header, confused))
            parts.append(html_table(header, confused))
        return png

    def _pictures(self, positions: Iterable[int], selection: dict[str, Any]) -> str:
        cells = []
        for position in positions:
            item = self._item(int(position), selection, 96)
            picture = item.get("picture")
            if picture is not None:
                from PIL import Image

                shown = image_tag(Image.open(io.BytesIO(picture.data)), 96, item["name"])
            elif "row" in item:
                shown = html_table(["", ""], item["row"][:6])
            else:
                shown = f"<p style='max-width:16em;white-space:normal'>{escape(item.get('text', 'gone')[:160])}</p>"
            words = [f"{item['pixels']:,} pixels" if "pixels" in item else f"{item['actual']} → {item['predicted']}"]
            words += [f"loss {item['loss']:.2f}", item["name"]]
            if item["decision"]:
                words.append(_decision_words(item["decision"]))
            cells.append(f"<div style='margin:0 1em .6em 0'>{shown}{'<br>'.join(escape(word) for word in words)}</div>")
        return f"<div style='display:flex;flex-wrap:wrap'>{''.join(cells)}</div>"


def confusion(
    learn: Any,
    split: str = "valid",
    *,
    normalize: str | None = None,
    order: str | None = None,
    before: Any = None,
    progress: Progress | None = None,
) -> ConfusionView:
    """Show what a model takes for what: the confusion matrix, and the items behind each cell.

    One pass over the data, that of `results` (masks: `learning.masks.mask_results`). For several labels, a 2 × 2 matrix a
    class; for masks, pixels; for numbers, predicted against actual. Decisions made in it (relabel, set aside) are noted
    in `.fastmagic/decisions.jsonl` beside the data; nothing is moved.

    Args:
        learn: a fastai `Learner`, the file of an exported one, or `Results`.
        split: "valid" or "train".
        normalize: `None` (counts), "actual" (shares of each row) or "predicted" (of each column).
        order: of the classes: "vocab" (default), "name" or "confusion" (similar ones side by side; for several labels, the
            default, most mistakes first).
        before: an earlier `ConfusionView` or `Results` to compare with; by default the last one of this session with the
            same classes and items.
        progress: called with (items done, items in all).

    Returns:
        A panel; `.matrix` has the counts as a DataFrame, `.results` everything else.

    Raises:
        FastmagicError: an option that does not exist, or whatever `results` raises.

    Example:
        >>> view = fastmagic.confusion(learn)             # doctest: +SKIP
        >>> learn.fit_one_cycle(2)                        # doctest: +SKIP
        >>> fastmagic.confusion(learn, before=view)       # doctest: +SKIP
    """
    for name, value, known in (("order", order, (None, *ORDERS)), ("normalize", normalize, NORMALIZE)):
        if value not in known:
            names = ", ".join(repr(word) for word in known)
            raise NotFoundError(f"No {name} {value!r}.", f"There are {names}.")
    if isinstance(learn, (Results, MaskResults)):
        found, folder = learn, _folder(learn.items, learn.vocab)
        learn = None
    else:
        learn = as_learner(learn)
        found = (mask_results if draws_masks(learn) else results)(learn, split, progress=progress)
        folder = _folder(_sources(learn, found), found.vocab)
    snapshot = Snapshot.of(found, learn)
    earlier = seen_before(snapshot)
    label = ""
    if before is not None:
        earlier, label = _snapshot(before), "as given"
        if earlier.kind != snapshot.kind:
            raise FastmagicError("What should be compared is of another kind.", "Compare results of the same data.")
    elif earlier is not None:
        same = learn is not None and earlier.learner == id(learn)
        label = f"{'this learner' if same else 'another learner'} at {earlier.made:%H:%M}"
    return ConfusionView(found, folder, normalize, order, earlier, label)


def kind_of(learn: Any) -> str:
    """Return what a learner's confusion view would show, without a pass over its data."""
    from ..learning.forward import target_of

    return "pixels" if draws_masks(learn) else target_of(learn).kind


def _snapshot(before: Any) -> Snapshot:
    if isinstance(before, ConfusionView):
        return Snapshot.of(before.results)
    if isinstance(before, (Results, MaskResults)):
        return Snapshot.of(before)
    raise AnswerError(
        f"A {type(before).__name__} cannot be compared with.", "Give an earlier confusion view or `results`."
    )


def _sources(learn: Any, found: Any) -> list[Any]:
    """Return some of the files behind all of a learner's loaders: enough to tell the folder they lie in."""
    files = [item for item in found.items[:: max(1, len(found) // 300)] if isinstance(item, Path)]
    if not files:
        return []
    for loader in learn.dls.loaders:
        raw = loader.dataset.items
        for i in range(0, len(raw), max(1, len(raw) // 300)):
            files.append(item_source(loader.dataset, raw.iloc[i] if hasattr(raw, "iloc") else raw[i]))
    return [file for file in files if isinstance(file, Path)]


def _folder(items: Iterable[Any], vocab: list[Any]) -> Path | None:
    return data_folder((item for item in items if isinstance(item, Path)), vocab)


def _absolute(path: Path) -> str:
    import os

    return os.path.abspath(path)


def _plain(label: Any) -> Any:
    """Return a label as JSON has it."""
    if isinstance(label, list):
        return [_plain(part) for part in label]
    return label if isinstance(label, (str, int, float, bool)) or label is None else str(label)


def _row(source: Any, position: int) -> str:
    return f"row {source.name}" if hasattr(source, "iloc") else f"item {position}"


def _taken(actual: Any, predicted: Any) -> str:
    return f"{actual}, rightly seen" if actual == predicted else f"{actual} taken for {predicted}"


def _decision_words(decision: dict[str, Any]) -> str:
    return {"relabel": f"relabel to {decision['to']}", "aside": "set aside", "keep": "kept"}[decision["action"]]


def _shrunk(picture: Any, size: int) -> Any:
    picture = picture.copy()
    picture.thumbnail((size, size))
    return picture


def _encoded(picture: Any) -> Encoded:
    """Return a picture as JPEG; small ones as PNG, whose pixels JPEG would smear."""
    buffer = io.BytesIO()
    if max(picture.size) <= 64 or picture.mode == "P":
        picture.save(buffer, "PNG")
        return Encoded(buffer.getvalue(), "image/png")
    picture.save(buffer, "JPEG", quality=82)
    return Encoded(buffer.getvalue())


def _fit(actual: Any, predicted: Any) -> dict[str, float]:
    """Return how well numbers are predicted; NaN where that cannot be known."""
    import numpy as np

    known = np.isfinite(actual) & np.isfinite(predicted)
    a, p = actual[known].astype(float), predicted[known].astype(float)
    if not len(a):
        return {"n": 0, "r2": float("nan"), "mae": float("nan"), "rmse": float("nan"), "bias": float("nan")}
    spread = ((a - a.mean()) ** 2).sum()
    squares = ((p - a) ** 2).sum()
    return {
        "n": len(a),
        "r2": float(1 - squares / spread) if spread else float("nan"),
        "mae": float(np.abs(p - a).mean()),
        "rmse": float(np.sqrt(squares / len(a))),
        "bias": float((p - a).mean()),
    }


def _fit_words(fit: dict[str, float]) -> str:
    return (
        f"R² {fit['r2']:.3f}, mean absolute error {fit['mae']:.4g}, root mean square error {fit['rmse']:.4g}, "
        f"predicted {abs(fit['bias']):.3g} too {'high' if fit['bias'] > 0 else 'low'} on average ({fit['n']:,} items)"
    )


def _percent(share: float) -> str:
    return "–" if share != share else f"{share:.1%}"


def _most_confused(counts: Any, vocab: list[Any]) -> list[tuple[str, str, int, float]]:
    """Return (actual, predicted, count, share of the actual class) of the wrong pairs, most frequent first."""
    import numpy as np

    wrong = np.array(counts, dtype=float)
    np.fill_diagonal(wrong, 0)
    best = np.argsort(-wrong, axis=None, kind="stable")[:50]
    support = np.asarray(counts).sum(1)
    pairs = [(int(k) // len(vocab), int(k) % len(vocab)) for k in best]
    return [(str(vocab[i]), str(vocab[j]), int(wrong[i, j]), wrong[i, j] / support[i]) for i, j in pairs if wrong[i, j]]


def _cells(counts: Any, percent: str) -> tuple[Any, list[list[str]]]:
    """Return the strength of each cell's colour (negative: wrong) and its words."""
    import numpy as np

    counts = np.asarray(counts, dtype=float)
    rows = counts.sum(1, keepdims=True)
    shares = counts / np.maximum(counts.sum(0, keepdims=True) if percent == "predicted" else rows, 1)
    strength = np.sqrt(shares)
    wrong = ~np.eye(len(counts), dtype=bool)
    most = strength[wrong].max() if wrong.any() else 0
    colour = np.where(wrong, -strength / (most or 1), strength)
    if percent == "count":
        words = [[f"{int(value):,}" for value in row] for row in counts]
    else:
        words = [
            [f"{100 * value:.0f}" if value >= 0.095 or not value else f"{100 * value:.1f}" for value in row]
            for row in shares
        ]
    return colour, words


def _matrix_html(colour: Any, words: list[list[str]], names: list[str]) -> str:
    """Return the matrix as a table; its colours are see-through, so that they do on dark pages too."""
    head = "".join(
        f'<th scope="col" style="text-align:center!important;padding:.2em .4em!important">{escape(name)}</th>'
        for name in names
    )
    rows = []
    for i, name in enumerate(names):
        cells = "".join(
            f'<td style="text-align:center!important;padding:.25em .5em!important;'
            f'background:rgba({",".join(map(str, RIGHT if i == j else WRONG))},{_alpha(colour[i, j]):.2f})!important">'
            f"{words[i][j] if words[i][j] != '0' or i == j else '·'}</td>"
            for j in range(len(names))
        )
        rows.append(f'<tr><th scope="row" style="border:0!important">{escape(name)}</th>{cells}</tr>')
    return f"<table><thead><tr><th>actual ↓ predicted →</th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _alpha(strength: float) -> float:
    return 0.4 * strength if strength > 0 else 0.1 + 0.5 * -strength if strength < 0 else 0.0


def _matrix_png(colour: Any, words: list[list[str]], names: list[str], said: str) -> bytes:
    import numpy as np

    count = len(names)
    figure, (axis,) = new_figure(1, 1, min(9, max(3.2, 0.42 * count + 1.4)))
    axis.axis("on")
    alpha = np.vectorize(_alpha, otypes=[float])(colour)[..., None] * (1.5 if count > TABLE_CLASSES else 1)
    shade = np.where(np.eye(count, dtype=bool)[..., None], RIGHT, WRONG)
    axis.imshow(((1 - alpha) * 255 + alpha * shade).astype("uint8"), interpolation="nearest")
    every = max(1, -(-count // 45))
    shown = [name if len(name) <= 22 else f"{name[:21]}…" for name in names]
    shown = [name.replace("$", r"\$") for name in shown]
    size = 8 if count <= TABLE_CLASSES else 6
    axis.set_xticks(range(0, count, every), shown[::every], rotation=90, fontsize=size)
    axis.set_yticks(range(0, count, every), shown[::every], fontsize=size)
    axis.set_title(said.replace("%", "percent") if "$" in said else said, fontsize=8)
    if count <= TABLE_CLASSES:
        for i in range(count):
            for j in range(count):
                if words[i][j] != "0" or i == j:
                    axis.text(j, i, words[i][j], ha="center", va="center", fontsize=8 if count <= 15 else 6)
    return _small(figure_png(figure))


def _small(png: bytes) -> bytes:
    """Return a drawing in 96 colours, a third of its size; a notebook keeps it twice."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(96, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _scatter(actual: Any, predicted: Any) -> bytes:
    import numpy as np

    figure, (axis,) = new_figure(1, 1, 4.5)
    axis.axis("on")
    known = np.isfinite(actual) & np.isfinite(predicted)
    actual, predicted = actual[known], predicted[known]
    if len(actual) > 3000:
        axis.hexbin(actual, predicted, gridsize=60, bins="log", cmap="Blues", mincnt=1)
    else:
        axis.scatter(actual, predicted, s=8, alpha=0.5, color="#0072b2", linewidths=0)
    if len(actual):
        low, high = min(actual.min(), predicted.min()), max(actual.max(), predicted.max())
        axis.plot([low, high], [low, high], color="#555", linewidth=1, linestyle="--")
        axis.set_aspect("equal")
    axis.set_xlabel("actual")
    axis.set_ylabel("predicted")
    return _small(figure_png(figure))
