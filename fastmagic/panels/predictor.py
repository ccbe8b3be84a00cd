"""The predictor: give a model a picture, by file, drop, paste, camera or address, a text or a row, and see what it decides."""

from __future__ import annotations

import base64
import contextlib
import io
import random
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

from ..bundles.tables import rows_of
from ..data.download import Policy, is_url
from ..data.items import item_list, item_source
from ..data.opening import image_class, no_such_file, open_image
from ..errors import AnswerError, FastmagicError, RefusedError, did_you_mean, few
from ..kinds import TABLE
from ..learning.columns import Column, columns_of, is_gap, row_of, written
from ..learning.forward import Target, Transforms, runs_on_transforms, target_of
from ..learning.learner_file import as_learner
from ..learning.predict import predict
from ..learning.predictions import CLASSES_SHOWN, Prediction, label_text, short
from ..render import escape, figure_png
from .panel import Encoded, Panel, Still, small_png

HISTORY = 12
EXAMPLES = 4
# What `fastmagic.data.download.fetch` reads of an address at most, too.
LARGEST_UPLOAD = 50_000_000
UNSURE, CLOSE = 0.5, 0.1
# Pixels along the longer side.
PREVIEW, THUMBNAIL, IN_STILL, KEPT = 640, 96, 320, 1024


@dataclass
class _Example:
    """What is offered as "Try one"; `label` is its own in the validation set."""

    item: Any
    name: str
    label: Any = None
    thumbnail: Encoded | None = None


@dataclass(eq=False)
class _Entry:
    """One line of the history: a prediction and what the browser shows of it.

    `stored` is what the model says of a photo as it is stored, where EXIF says that it is to be shown turned.
    """

    number: int
    prediction: Prediction
    stored: Prediction | None
    name: str
    text: str = ""
    label: Any = None
    row: dict[Any, Any] | None = None
    preview: Encoded | None = None
    thumbnail: Encoded | None = None

    def says(self, upright: bool) -> Prediction:
        return self.prediction if upright or self.stored is None else self.stored


def predictor(
    learn: Any,
    *,
    top: int = CLASSES_SHOWN,
    title: str = "",
    description: str = "",
    examples: Iterable[Any] | None = None,
    allow_url: Policy | None = "any",
    upright: bool = True,
) -> Predictor:
    """Return a panel that predicts what it is given: files, a drop, the clipboard, a photo by the camera, an address.

    It shows the picture, the decision, the likeliest classes, the time it took, and the last 12 predictions. All
    of it goes through `fastmagic.predict`.

    Args:
        learn: a fastai `Learner` of pictures, of texts or of a table, or the path of one: a bundle, or what `learn.export`
            wrote (a pickle: open only files from people you trust). A table gets a form of its columns.
        top: how many classes are shown; the panel's reader can change it.
        title, description: plain text above the panel; of what comes from a bundle by default what that says.
        examples: what is offered as "Try one": files, bytes, PIL images or arrays; for models of texts, texts, of tables,
            rows as dicts, a column left out being as usual. Left out, 4 pictures or rows of the learner's validation set,
            where it has its data, else the bundle's example; `[]` for none.
        allow_url: as in `fastmagic.predict`. Where strangers use the panel, "public": else they can have this
            machine ask addresses inside its network. `None` fetches nothing.
        upright: phones store photos on their side, with an EXIF tag that says how to turn them. fastai ignores the
            tag; the panel turns the photo before the model sees it, so that it judges what is shown, and says what
            it makes of the photo as stored, which is what `fastmagic.predict(file)` answers. `False` judges photos
            as stored.

    Returns:
        A `Predictor`: `last` is the newest `Prediction`, `history` the last 12.

    Raises:
        FastmagicError: no learner, or one that takes neither pictures nor texts nor rows.

    Example:
        >>> panel = fastmagic.predictor(learn)   # doctest: +SKIP
        >>> panel                                # doctest: +SKIP
        >>> panel.last.label                     # doctest: +SKIP
        'bird'
    """
    return Predictor(
        learn,
        top=top,
        title=title,
        description=description,
        examples=examples,
        allow_url=allow_url,
        upright=upright,
    )


def predictor_code(learn_expr: str, takes: str = "picture") -> str:
    """Return the plain fastai and ipywidgets program that the panel stands for.

    Args:
        learn_expr: a Python expression for the learner, such as `learn` or `load_learner('model.pkl')`.
        takes: "picture", "text" or "row".
    """
    named = learn_expr.isidentifier()
    learn = learn_expr if named else "learn"
    program = {"picture": _IMAGES_PROGRAM, "text": _TEXTS_PROGRAM, "row": _ROWS_PROGRAM}[takes]
    return program.format(start="" if named else f"learn = {learn_expr}\n\n", learn=learn)


_IMAGES_PROGRAM = """\
from fastai.vision.all import *
from ipywidgets import FileUpload, Output, VBox

{start}upload, answer = FileUpload(accept='image/*', multiple=True), Output()

def judge(change):
    answer.clear_output()
    files = upload.value.values() if isinstance(upload.value, dict) else upload.value  # ipywidgets 7 or 8
    for file in files:
        picture = PILImage.create(bytes(file['content']))
        label, index, probabilities = {learn}.predict(picture)
        with answer:
            display(picture.to_thumb(256))
            print(label, dict(zip({learn}.dls.vocab, probabilities.tolist())))

upload.observe(judge, 'value')
display(VBox([upload, answer]))"""

_TEXTS_PROGRAM = """\
from fastai.text.all import *
from ipywidgets import Button, Output, Textarea, VBox

{start}text, go, answer = Textarea(), Button(description='Predict'), Output()

def judge(button):
    label, index, probabilities = {learn}.predict(text.value)
    answer.clear_output()
    with answer:
        print(label, dict(zip({learn}.dls.vocab[-1], probabilities.tolist())))

go.on_click(judge)
display(VBox([text, go, answer]))"""


_ROWS_PROGRAM = """\
from fastai.tabular.all import *
from ipywidgets import Button, Dropdown, FloatText, Output, VBox

{start}go, answer = Button(description='Predict'), Output()
filled = [f'{{name}}_na' for name in getattr({learn}.dls.procs, 'na_dict', {{}})]  # FillMissing's own columns
fields = {{name: Dropdown(description=name, options=list({learn}.dls.classes[name])[1:])
          for name in {learn}.dls.cat_names if name not in filled}}
fields |= {{name: FloatText(description=name) for name in {learn}.dls.cont_names}}

def judge(button):
    row = pd.DataFrame([{{name: field.value for name, field in fields.items()}}])
    outputs, _ = {learn}.get_preds(dl={learn}.dls.test_dl(row))
    answer.clear_output()
    with answer:
        names = getattr({learn}.dls, 'vocab', None)
        print(dict(zip(names, outputs[0].tolist())) if names else outputs[0].tolist())

go.on_click(judge)
display(VBox([*fields.values(), go, answer]))"""


class Predictor(Panel):
    """The panel that `predictor` makes.

    Attributes:
        last: the newest `Prediction`, or `None`.
        history: the last 12 `Prediction`s, oldest first. All but the newest keep their picture at 1024 px at most.
        top: how many classes are shown.
        upright: whether photos are turned upright as their EXIF tag says before the model sees them.
    """

    module = "predictor"
    largest_upload = LARGEST_UPLOAD
    uploads_at_once = 4

    def __init__(
        self,
        learn: Any,
        *,
        top: int,
        title: str,
        description: str,
        examples: Iterable[Any] | None,
        allow_url: Policy | None,
        upright: bool,
    ):
        self.learn = as_learner(learn)
        self._target = target_of(self.learn)
        self._takes = takes(self.learn)
        self._kind = image_class(Transforms(self.learn.dls).dataset) if self._takes == "picture" else None
        self._columns = columns_of(self.learn) if self._takes == "row" else []
        self.top, self.upright = top, upright
        card = getattr(self.learn, "bundle", {}).get("card")
        said = card if isinstance(card, dict) else {}
        self._title = title or str(said.get("title") or "")
        self._description = description or str(said.get("description") or "")
        self._allow_url = allow_url
        self._entries: list[_Entry] = []
        self._count = 0
        self._shown: _Entry | None = None
        self._uploads: dict[str, bytearray] = {}
        if examples is None:
            self._examples = self._from_validation() or self._fitting([getattr(self.learn, "bundle_example", None)])
        else:
            self._examples = [*self._given(examples)]
        super().__init__()

    @property
    def last(self) -> Prediction | None:
        return self._entries[-1].says(self.upright) if self._entries else None

    @property
    def history(self) -> list[Prediction]:
        return [entry.says(self.upright) for entry in self._entries]

    def predict(self, item: Any) -> Prediction:
        """Predict one item and show it, as if it had been given to the panel.

        Args:
            item: a file, an address, bytes, a PIL image or an array; for models of texts, a text.

        Raises:
            FastmagicError: there is nothing to see; says why.
        """
        return self._add(item, str(item) if isinstance(item, str) else "").says(self.upright)

    def clear(self) -> None:
        """Forget what was predicted."""
        self._entries, self._shown = [], None
        self._tell_changes()

    # ------------------------------------------------------------ what the browser asks

    def state(self) -> dict[str, Any]:
        names = [str(name) for name in self._target.classes]
        return {
            "kind": self._takes,
            "fields": [self._field(column) for column in self._columns],
            "answers": self._target.kind,
            "title": self._title,
            "description": self._description,
            "classes": names[:HISTORY],
            "count": len(names),
            "largest": self.largest_upload,
            "urls": self._allow_url is not None,
            "examples": [{"name": example.name, "thumbnail": example.thumbnail} for example in self._examples],
            **self._changes(self._entries),
        }

    def on_upload(self, upload: str, at: int, size: int, buffers: list[bytes]) -> None:
        """Take a part of a file: `buffers[0]` begins at byte `at` of `size`. Front ends limit the size of messages."""
        if not 0 <= size <= self.largest_upload:
            raise FastmagicError(f"Files are taken up to {self.largest_upload / 1e6:g} MB.", "Give a smaller picture.")
        if upload not in self._uploads:
            while len(self._uploads) >= self.uploads_at_once:  # what was begun and not ended: a page closed meanwhile
                self._uploads.pop(next(iter(self._uploads)))
            self._uploads[upload] = bytearray(size)
        whole = self._uploads[upload]
        part = buffers[0]
        if at < 0 or at + len(part) > len(whole):
            raise FastmagicError("A part of the file is out of place.", "Send it again.")
        whole[at : at + len(part)] = part

    def on_judge(self, upload: str, name: str, show: bool = True, buffers: Iterable[bytes] = ()) -> None:
        """Predict a file of which all parts have come, or that comes along (`buffers[0]`) as it is small.

        One of many goes to the history without being shown.
        """
        if self._takes != "picture":
            raise AnswerError(f"This model takes a {self._takes}, and this is a file.", "Reload the page.")
        for whole in buffers:
            self.on_upload(upload, 0, len(whole), [whole])
        if upload not in self._uploads:
            raise FastmagicError("The file did not arrive as a whole.", "Send it again.")
        try:
            self._add(bytes(self._uploads.pop(upload)), name, show=show)
        except FastmagicError as error:
            # Bytes have no name, files do.
            if error.cause.startswith("This "):
                raise FastmagicError(f"'{name}' {error.cause.removeprefix('This ')}", error.fix) from error
            raise

    def on_forget(self, upload: str) -> None:
        self._uploads.pop(upload, None)

    def on_url(self, url: str) -> None:
        if self._allow_url is None or self._kind is None:
            raise RefusedError("Addresses are not fetched here.", "Save the picture, and give its file.")
        url = url.strip()
        if re.match(r"[\w-]+(\.[\w-]+)+/", url):  # as copied from where browsers leave out https://
            url = f"https://{url}"
        if not is_url(url):  # a path would be one on this machine, which is no visitor's business
            raise AnswerError(f"'{short(url)}' is no http or https address.", "Give the picture's own address.")
        self._add(url, url)

    def _field(self, column: Column) -> dict[str, Any]:
        usual = self._examples[0].item.get(column.name, column.usual) if self._examples else column.usual
        return {
            "name": str(column.name),
            "choices": None if column.choices is None else [written(choice) for choice in column.choices],
            "value": written(usual),
        }

    def on_row(self, row: dict[str, Any]) -> None:
        if self._takes != "row":
            raise AnswerError(f"This model takes a {self._takes}.", "Reload the page.")
        self._add(row_of(self._columns, row), "")

    def on_text(self, text: str) -> None:
        if self._takes != "text":  # of pictures it would be the name of a file on this machine, or an address
            raise AnswerError(f"This model takes a {self._takes}, and this is a text.", "Reload the page.")
        if not text.strip():
            raise AnswerError("There is nothing to predict.", "Write a text first.")
        self._add(text, "")

    def on_example(self, index: int) -> None:
        example = self._examples[index]
        self._add(example.item, example.name, example.label)

    def on_show(self, number: int) -> None:
        self._shown = next((entry for entry in self._entries if entry.number == number), self._shown)
        self._tell_changes()

    def on_settings(self, top: int | None = None, upright: bool | None = None) -> None:
        self.top = self.top if top is None else max(1, int(top))
        self.upright = self.upright if upright is None else upright
        for said in (said for entry in self._entries for said in (entry.prediction, entry.stored) if said is not None):
            said._top = self.top
        self._tell_changes()

    def on_clear(self) -> None:
        self.clear()

    # ------------------------------------------------------------ predicting

    def _add(self, item: Any, name: str, label: Any = None, show: bool = True) -> _Entry:
        said = self._said(item)
        text = item if self._takes == "text" else _row_text(item) if self._takes == "row" else ""
        said.source = name or said.source
        stored = None
        if _turned(said.image):
            stored = said
            said = self._said(_upright(stored.image))
            said.source, said.seconds = stored.source, stored.seconds + said.seconds
        for entry in self._entries[-1:]:
            _shrink(entry)
        self._count += 1
        called = {"picture": _name(said.source), "text": short(text)}.get(self._takes) or _row_name(item)
        entry = _Entry(self._count, said, stored, called, text, label)
        entry.row = item if self._takes == "row" else None
        if said.image is not None:
            entry.preview = _encoded(said.image, PREVIEW)
            entry.thumbnail = _encoded(said.image, THUMBNAIL)
        self._entries = [*self._entries, entry][-HISTORY:]
        self._shown = entry if show or self._shown is None else self._shown
        self._tell_changes(entry, show)
        return entry

    def _said(self, item: Any) -> Prediction:
        said = predict(item, self.learn, top=self.top, allow_url=self._allow_url or "public")
        if not isinstance(said, Prediction):
            raise FastmagicError("These are many items, and this panel takes one.", "Use `predict`.")
        return said

    def _tell_changes(self, new: _Entry | None = None, show: bool = True) -> None:
        changes = self._changes([new] if new else [])
        if not show:
            del changes["shown"]
        self.tell("changed", added=new is not None and show, **changes)

    def _changes(self, new: list[_Entry]) -> dict[str, Any]:
        """Return what changes as the panel is used, for the browser, which gets the thumbnails of new entries only.

        A Jupyter server drops messages beyond 1 MB a second (`iopub_data_rate_limit`), and a dozen small files come
        faster than that with all their pictures.
        """
        return {
            "top": self.top,
            "upright": self.upright,
            "shown": self._described(self._shown) if self._shown else None,
            "history": [
                {
                    "number": entry.number,
                    "name": entry.name,
                    "decision": _decision(entry.says(self.upright)),
                    "thumbnail": entry.thumbnail if entry in new else None,
                }
                for entry in reversed(self._entries)
            ],
        }

    def _described(self, entry: _Entry) -> dict[str, Any]:
        said = entry.says(self.upright)
        other = None if entry.stored is None else entry.prediction if said is entry.stored else entry.stored
        label = right = None
        if entry.label is not None:
            several = isinstance(entry.label, list)
            label = _words(entry.label)
            right = set(entry.label) == set(said.label) if several else entry.label == said.label
        return {
            "number": entry.number,
            "name": entry.name,
            "text": entry.text,
            "row": None if entry.row is None else {str(name): written(value) for name, value in entry.row.items()},
            "preview": entry.preview,
            "decision": _words(said.label),
            "probability": said.probability,
            "bars": [[str(c), p, said._is_given(c)] for c, p in said._shown_classes()[0]],
            "threshold": self._target.threshold if self._target.kind == "classes" else None,
            "numbers": said.label if self._target.kind == "numbers" and isinstance(said.label, list) else None,
            "hint": _hint(said, self._target),
            "seconds": said.seconds,
            "label": label,
            "right": right,
            "other": _decision(other) if other else None,
        }

    # ------------------------------------------------------------ examples

    def _given(self, examples: Iterable[Any]) -> Iterator[_Example]:
        if isinstance(examples, (str, bytes)):
            raise AnswerError("`examples` is a list.", "Write examples=['bird.jpg'].")
        for number, item in enumerate(examples, 1):
            if self._takes == "row":
                if not isinstance(item, Mapping):
                    raise AnswerError(f"A {type(item).__name__} is no row.", "Give dicts: examples=[{'age': 30}].")
                usual = {str(column.name): column.usual for column in self._columns}
                given = {str(name): value for name, value in item.items()}
                for name in given.keys() - usual.keys():
                    raise AnswerError(
                        f"The model has no column {name!r}.", did_you_mean(name, usual) or f"It has {few(usual, 8)}."
                    )
                row = row_of(self._columns, {**usual, **given})
                yield _Example(row, _row_name(row))
                continue
            if self._kind is None:
                yield _Example(item, short(item))
                continue
            path = Path(item).expanduser() if isinstance(item, (str, Path)) else None
            if path is not None and not path.is_file():
                raise no_such_file(path.absolute())
            opened = _upright(open_image(path or item, self._kind))
            yield _Example(path or item, path.name if path else f"example {number}", None, _encoded(opened, THUMBNAIL))

    def _fitting(self, examples: list[Any]) -> list[_Example]:
        """Return those that nobody gave by hand, without what the form cannot show, such as a category unseen in training."""
        found: list[_Example] = []
        for example in examples:
            if isinstance(example, Mapping):
                example = {column.name: example.get(column.name) for column in self._columns}
            with contextlib.suppress(FastmagicError):
                found += self._given([] if example is None else [example])
        return found

    def _from_validation(self) -> list[_Example]:
        """Return a few items of the validation set, of as many classes as there are places."""
        if self._takes == "row":
            rows = rows_of(self.learn, EXAMPLES)
            return [] if rows is None else self._fitting(rows.to_dict("records"))
        if self._kind is None or len(self.learn.dls.loaders) < 2:
            return []
        dataset = self.learn.dls.valid.dataset
        items = item_list(dataset)
        labelled = len(dataset.tls) == 2 and self._target.kind != "numbers"
        by_label: dict[str, list[tuple[int, Any]]] = {}
        # 200 are enough to meet the classes, and no large set is gone through.
        for index in random.Random(0).sample(range(len(items)), min(len(items), 200)):
            label = dataset.tls[1].decode(dataset.tls[1][index]) if labelled else None
            if label is not None and self._target.kind == "classes":
                label = list(label)
            by_label.setdefault(str(label), []).append((index, label))
        of_each_class = [pair for pairs in zip_longest(*by_label.values()) for pair in pairs if pair is not None]
        found: list[_Example] = []
        for index, label in of_each_class[: 3 * EXAMPLES]:
            try:
                item = item_source(dataset, items[index])
                opened = _upright(open_image(item, self._kind))
            except Exception:
                continue  # a file that is broken or was moved is no example
            name = item.name if isinstance(item, Path) else f"item {index}"
            found.append(_Example(item, name, label, _encoded(opened, THUMBNAIL)))
            if len(found) == EXAMPLES:
                break
        return found

    # ------------------------------------------------------------ the still

    def still(self) -> Still:
        entry = self._shown
        heading = f"<p><b>{escape(self._title)}</b></p>" if self._title else ""
        if entry is None:
            what = f"a {self._takes}"
            sentence = f"Nothing has been predicted yet: give this panel {what} where its notebook runs."
            return Still(f"{heading}<p>{sentence}</p>", sentence)
        said = entry.says(self.upright)
        shown, rest = said._shown_classes()
        bars = "".join(
            f'<tr><td class="wide">{escape(name)}</td><td style="width:12em"><span class="bar{"" if given else " other"}" '
            f'style="width:{100 * p:.1f}%;min-width:1px"></span></td><td class="number">{p:.1%}</td></tr>'
            for name, p, given in ((name, p, said._is_given(name)) for name, p in shown)
        )
        picture = (
            _tag(_smaller(entry.preview), entry.name, IN_STILL)
            if entry.preview
            else f"<p>{escape(short(entry.text, 400))}</p>"
        )
        past = "".join(
            f'<div style="width:72px;font-size:11px;overflow-wrap:anywhere">'
            f"{_tag(old.thumbnail, old.name, 72) if old.thumbnail else ''}{escape(_decision(old.says(self.upright)))}</div>"
            for old in reversed(self._entries)
        )
        strip = f'<div style="display:flex;gap:8px;flex-wrap:wrap;margin-top:8px">{past}</div>'
        hint = _hint(said, self._target)
        html = (
            f'{heading}<div style="display:flex;gap:1.2em;align-items:center;flex-wrap:wrap">{picture}<div>'
            f'<p><b style="font-size:1.6em">{escape(_decision(said))}</b></p>'
            f'<p class="dim">{escape(entry.name)}, {said.seconds * 1000:.0f} ms</p>'
            f"<table><tbody>{bars}</tbody></table>"
            f"{f'<p class=dim>{escape(rest)}</p>' if rest else ''}{f'<p>{escape(hint)}</p>' if hint else ''}</div></div>"
            f"{strip if len(self._entries) > 1 else ''}"
        )
        older = [f"  {old.name}: {_decision(old.says(self.upright))}" for old in reversed(self._entries[:-1])]
        text = "\n".join([repr(said), *([hint] if hint else []), *(["Before:", *older] if older else [])])
        return Still(html, text, self._drawn(entry))

    def _drawn(self, entry: _Entry) -> bytes:
        """Return the still as a PNG: picture, decision, bars, history."""
        from matplotlib.figure import Figure
        from PIL import Image

        said = entry.says(self.upright)
        past = [old for old in reversed(self._entries) if old.thumbnail] if len(self._entries) > 1 else []
        width, height = 700, 280 + (84 if past else 0)
        figure = Figure(figsize=(width / 100, height / 100), dpi=100, facecolor="white")

        def room(left: float, top: float, wide: float, high: float) -> Any:
            axis = figure.add_axes((left / width, 1 - (top + high) / height, wide / width, high / height))
            axis.axis("off")
            return axis

        left = 20
        if entry.preview:
            picture = Image.open(io.BytesIO(entry.preview.data)).convert("RGB")
            room(10, 15, 250, 250).imshow(picture, interpolation="nearest" if max(picture.size) < 250 else None)
            left = 280
        words: dict[str, Any] = {"parse_math": False, "va": "center"}  # a "$" in a class name is a dollar sign
        side = room(left, 10, width - left - 15, 260)
        side.set(xlim=(0, 1), ylim=(0, 1))
        side.text(0, 0.9, short(_decision(said), 30), fontsize=17, weight="bold", **words)
        side.text(0, 0.78, f"{short(entry.name, 40)}, {said.seconds * 1000:.0f} ms", fontsize=8, color="#666", **words)
        for row, (name, p) in enumerate(said._shown_classes()[0][:8]):
            y = 0.66 - row * 0.085
            side.text(0, y, short(name, 22), fontsize=9, **words)
            side.barh(y, p * 0.42, left=0.42, height=0.05, color="#0072b2" if said._is_given(name) else "#aaa")
            side.text(1, y, f"{p:.1%}", fontsize=9, ha="right", **words)
        for place, old in enumerate(past):
            assert old.thumbnail is not None
            thumbnail = Image.open(io.BytesIO(old.thumbnail.data)).convert("RGB")
            room(10 + place * 57, 285, 52, 52).imshow(thumbnail, interpolation="nearest")
            label = short(_words(old.says(self.upright).label), 10)
            room(10 + place * 57, 338, 52, 16).text(0.5, 0.5, label, fontsize=6, ha="center", **words)
        # 256 colours: a photo takes one byte a pixel instead of three, and the notebook stays small.
        return small_png(figure_png(figure), 256)


def takes(learn: Any) -> Literal["picture", "text", "row"]:
    """Return what a learner is given.

    Raises:
        FastmagicError: none of these.
    """
    if TABLE.holds(learn.dls):
        return "row"
    if not runs_on_transforms(learn.dls):
        if type(learn.dls.train).__name__ == "LMDataLoader":
            raise FastmagicError(
                "This learner writes texts; it decides nothing about them.",
                "Continue a text with `learn.predict('…', 20)`.",
            )
        return "text"
    if image_class(Transforms(learn.dls).dataset) is None:
        raise FastmagicError(
            "This learner takes neither pictures nor texts nor rows.", "Predict its items: `predict(item, learn)`."
        )
    return "picture"


def _row_text(row: Mapping[Any, Any]) -> str:
    return ", ".join(f"{name} {written(value)}" for name, value in row.items() if not is_gap(value))


def _row_name(row: Mapping[Any, Any]) -> str:
    """Return the beginning of a row, as its name."""
    words = ", ".join(written(value) for value in row.values() if not is_gap(value))
    return words if len(words) <= 48 else f"{words[:47].rstrip(', ')}…"


def _turned(picture: Any) -> bool:
    try:
        return picture.getexif().get(0x0112, 1) in range(2, 9)
    except Exception:  # a broken EXIF block does not make a broken photo
        return False


def _upright(picture: Any) -> Any:
    from PIL import ImageOps

    return ImageOps.exif_transpose(picture) if _turned(picture) else picture


def _smaller(preview: Encoded) -> Encoded:
    """Return a preview as small as the still shows it: a notebook of many outputs is opened as a whole."""
    from PIL import Image

    if preview.mime == "image/png":
        return preview
    return _encoded(Image.open(io.BytesIO(preview.data)), IN_STILL, quality=75)


def _encoded(picture: Any, side: int, quality: int = 85) -> Encoded:
    """Return a picture for the browser, at most `side` px; small ones keep every pixel."""
    from PIL import Image

    picture = picture if picture.mode in ("L", "RGB") else picture.convert("RGB")
    scale = side / max(picture.size)
    small = max(picture.size) <= THUMBNAIL
    if scale < 1:
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        picture = picture.resize(size, Image.Resampling.BOX if min(size) < 4 else Image.Resampling.BICUBIC, None, 2.0)
    buffer = io.BytesIO()
    picture = picture.copy()
    picture.info = {}  # neither EXIF, which would turn it once more, nor where the photo was taken
    picture.save(buffer, "PNG" if small else "JPEG", **({} if small else {"quality": quality}))
    return Encoded(buffer.getvalue(), "image/png" if small else "image/jpeg")


def _shrink(entry: _Entry) -> None:
    """Keep a picture of the past small: twelve photos of 24 MP would take 860 MB."""
    for said in (entry.prediction, entry.stored):
        if said is not None and said.image is not None and max(said.image.size) > KEPT:
            small = said.image.copy()
            small.thumbnail((KEPT, KEPT))
            said.image = small


def _hint(said: Prediction, target: Target) -> str:
    """Return a sentence where the numbers ask for care, else an empty string."""
    if target.kind == "numbers":
        return ""
    ranked = list(said.probabilities.items())
    (best, p), rest = ranked[0], ranked[1:]
    if target.kind == "classes":
        if said.label:
            return ""
        return f"No label reaches the threshold of {target.threshold:g}; the nearest is {best} with {p:.1%}."
    if rest and p - rest[0][1] < CLOSE:
        return f"Not sure: {best} ({p:.1%}) and {rest[0][0]} ({rest[0][1]:.1%}) are close."
    if p < UNSURE:
        return f"Not sure: the likeliest class has {p:.1%}, the others together {1 - p:.1%}."
    return ""


def _words(label: Any) -> str:
    if isinstance(label, list):
        return few((label_text(part) for part in label), 8) if label else "none of the labels"
    return label_text(label)


def _decision(said: Prediction) -> str:
    words = _words(said.label)
    return f"{words} ({said.probability:.1%})" if said.probability is not None else words


def _name(source: str) -> str:
    """Return the last part of a path or an address, short."""
    return short(source.split("?")[0].rstrip("/").replace("\\", "/").rsplit("/", 1)[-1] or source)


def _tag(picture: Encoded, alt: str, side: int) -> str:
    data = base64.b64encode(picture.data).decode()
    style = f"max-width:{side}px;max-height:{side}px"
    if picture.mime == "image/png":  # small: every pixel is shown
        style += f";width:{min(side, 192)}px;image-rendering:pixelated"
    return f'<img src="data:{picture.mime};base64,{data}" alt="{escape(alt)}" style="{style}">'
