"""The magics that open panels: `%confusion` and `%pixels`."""

from __future__ import annotations

from typing import Any

from ..errors import AnswerError
from .learning import _progress, after_learner
from .magic import Call, Option, magic
from .session import Session
from .values import Choice, Number, Place, Value, Variable


@magic(
    Option("learn", "the Learner; default: the newest", Variable("Learner")),
    Option("--split", "valid (default) or train", Choice("valid", "train")),
    Option("--order", "of the classes: vocab (default), name, or confusion: similar ones side by side",
           Choice("vocab", "name", "confusion")),
    Option("--percent", "shares of each row (actual) or column (predicted) in place of counts",
           Choice("row", "column")),
    Option("--before", "an earlier view or results to compare with (default: the one before a retrain)",
           Variable("ConfusionView", "Results", "MaskResults")),
    examples="""
        %confusion                          # the newest Learner, its validation set
        %confusion learn --order confusion --percent row
        %confusion learn --before old       # two matrices and their difference
        %confusion learn --code             # the plain fastai program
    """,
    gives="conf",
)  # fmt: skip
def confusion(call: Call) -> Any:
    """
    Show what a model takes for what: click a cell to see its items, worst loss first; relabel them or set them aside.

    Works for classes, several labels, masks (pixels) and numbers (predicted against actual). NAME holds the panel:
    `.matrix` is a DataFrame.
    """
    from ..panels import confusion as panel

    options = call.options
    learn = call.input("learn", "Learner")
    split = options["split"] or "valid"
    normalize = {"row": "actual", "column": "predicted"}.get(options["percent"] or "")
    if options["code"]:
        from ..learning.confusion import confusion_code

        kind = panel.kind_of(learn)
        print(after_learner(call, learn, lambda name: confusion_code(kind, name, split, normalize)))
        return None
    progress, done = _progress(call)
    try:
        view = panel.confusion(
            learn,
            split,
            normalize=normalize,
            order=options["order"],
            before=options["before"],
            progress=progress,
        )
    finally:
        done()
    call.show(view)
    return view


class _Image(Place):
    """A picture, or what has pictures for items."""

    metavar = "ITEM"
    type_names = (*Place.type_names, "Learner", "Prediction", "bytes")

    def accepts(self, text: str, session: Session) -> bool:
        return not _is_number(text, session)


class _Index(Number):
    def accepts(self, text: str, session: Session) -> bool:
        return _is_number(text, session)


def _is_number(text: str, session: Session) -> bool:
    return text.lstrip("-").isdigit() or session.holds(text.removeprefix("$"), ["int"])


@magic(
    Option(
        "what",
        "a picture (file, URL, variable), DataLoaders or a Learner; default: the newest of these two",
        _Image(),
    ),
    Option("index", "of DataLoaders, a Learner or a batch: the number of the item (default: 0)", _Index()),
    Option("--item", "of DataLoaders or a Learner: part of the item's name, in place of its number", Value()),
    Option("--split", "the set in which to count: train (default) or valid", Choice("train", "valid")),
    Option("--learn", "the Learner to ask while painting; default: the newest", Variable("Learner")),
    examples="""
        %pixels bird.jpg                  # a loupe over the numbers
        %pixels dls 12                    # item 12 after each item and batch transform
        %pixels learn 3 --split valid     # the same, to paint on and see the prediction move
        %pixels dls --item bird/00012
        %pixels my_array --into px        # px.at(120, 45)
    """,
    gives="px",
)
def pixels(call: Call) -> Any:
    """
    Look at a picture as the numbers it is: a loupe, R, G and B of every pixel, single channels.

    Of DataLoaders, an item is followed through every transform to what the model gets. With a Learner, paint over
    pixels and see the prediction move; no file is changed. NAME holds the panel.
    """
    from ..panels import pixels as panel

    options, session = call.options, call.session
    if options["what"] is None and session.newest("Learner", "DataLoaders") is None:
        raise AnswerError("What should be looked at?", "Name a picture, or data: %pixels bird.jpg")
    what = call.input("what", "Learner", "DataLoaders")
    index = options["index"] if options["index"] is not None else options["item"]
    if options["code"]:
        print(_pixels_code(call, what, index))
        return None
    shown = panel.pixels(
        what, options["learn"] or _seeing(session, what), index=index, split=options["split"] or "train"
    )
    call.show(shown)
    return shown


def _seeing(session: Session, what: Any) -> Any:
    """Return the learner to ask about a picture: of the data it is from, else the newest, else none."""
    from ..panels.pixels import cannot_see

    newest = session.newest("Learner")
    learners = [session.namespace[name] for name in session.variables("Learner")]
    own = [learn for learn in learners if learn is what or getattr(learn, "dls", None) is what]
    for learn in [*reversed(own), *([newest[1]] if newest else [])]:
        if not cannot_see(learn):
            return learn
    return None


def _pixels_code(call: Call, what: Any, index: Any) -> str:
    from .. import program
    from ..panels.pixels import pixels_code

    word = call.words["what"].removeprefix("$")
    name, split = word.rpartition(".")[2], call.options["split"] or "train"
    if hasattr(what, "loaders") or hasattr(what, "dls"):
        text = pixels_code("", f"{name}.dls" if hasattr(what, "dls") else name, index, split)
        return program.preceded(text, {name: what}, call.session.namespace)
    if isinstance(what, str) and what == call.words["what"]:
        return pixels_code(repr(what))
    own = word.partition(".")[0]
    text = pixels_code(f"{word}[{index}]" if index is not None else word)
    return program.preceded(text, {own: call.session.namespace[own]}, call.session.namespace)
