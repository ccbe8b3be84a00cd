"""The magics about learning: `%train`, `%models`, `%predict` and `%results`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import AnswerError, NotFoundError, did_you_mean
from .magic import Call, Option, magic
from .session import Session
from .short import short_message
from .values import Choice, Expression, FileName, Number, Place, Value, Variable, how_to_make, is_reference, paths


class _Architecture(Expression):
    """An architecture: `tiny`, a name of fastai's, timm's or torchvision's, or a variable that makes a model."""

    metavar = "ARCH"

    def parse(self, text: str, session: Session) -> Any:
        value = session.value(text[1:]) if is_reference(text) else session.namespace.get(text, text)
        if isinstance(value, str):
            return value
        # `from fastai.vision.all import *` brings torchvision's functions; a name means the same with it as without.
        if getattr(value, "__name__", "") == text and str(getattr(value, "__module__", "")).startswith("torchvision."):
            return text
        if not callable(value) or hasattr(value, "dls") or hasattr(value, "state_dict"):
            fix = "Give a name such as resnet18, or a function that makes a model."
            raise AnswerError(f"{text!r} is a {type(value).__name__}, not an architecture.", fix)
        session.saw(text.removeprefix("$"))
        return value

    def accepts(self, text: str, session: Session) -> bool:
        from ..kinds.rating import MODELS
        from ..learning.architectures import find

        if text in MODELS or callable(session.namespace.get(text.removeprefix("$"))):
            return True
        try:
            find(text)
        except Exception:
            return "." in text
        return True

    def complete(self, prefix: str, session: Session) -> Iterable[str]:
        from ..learning.architectures import known_names

        return known_names()


class _Pattern(Value):
    metavar = "PATTERN"

    def complete(self, prefix: str, session: Session) -> Iterable[str]:
        from ..learning.architectures import known_names

        return known_names()


class _Word(Value):
    metavar = "NAME"


class _Rate(Number):
    def __init__(self) -> None:
        super().__init__(float, words=("auto",))


class _LearnerOrFile(Place):
    metavar = "LEARN|FILE"

    def convert(self, text: str, session: Session) -> Any:
        if not session.holds(text, ["Learner"]) and text.isidentifier() and not os.path.exists(text):
            hint = did_you_mean(text, session.variables("Learner")) or how_to_make("Learner")
            raise NotFoundError(f"There is no variable or file {text!r}.", hint)
        return session.value(text) if session.holds(text, ["Learner"]) else text

    def complete(self, prefix: str, session: Session) -> Iterable[str]:
        return [*session.variables("Learner"), *paths(prefix)]


class _ClassName(Value):
    """The name of a class that the newest model or data know."""

    metavar = "CLASS"

    def complete(self, prefix: str, session: Session) -> Iterable[str]:
        from ..data.items import vocab

        newest = session.newest("Learner") or session.newest("DataLoaders")
        if newest is None:
            return ()
        return [str(name) for name in vocab(getattr(newest[1], "dls", newest[1])) or ()]


def _metric_names() -> list[str]:
    import fastai.metrics

    return [name for name in fastai.metrics.__all__ if name[:1].isalpha()]


@magic(
    Option("dls", "the DataLoaders; default: the newest", Variable("DataLoaders")),
    Option(
        "arch",
        "an architecture of fastai, timm or torchvision, tiny, or a variable; default: resnet18, and where its weights "
        "cannot be had the best of what is at hand; of ratings dot (default) or net",
        _Architecture(),
    ),
    Option(
        "--epochs",
        "passes over the data, of all layers (default: 3; from scratch, or of a small table, more; "
        "0 trains the new layers of a pretrained network alone)",
        Number(int, minimum=0),
    ),
    Option("--lr", "peak learning rate; auto takes the valley of lr_find", _Rate()),
    Option("--bs", "batch size of this training (default: that of the DataLoaders)", Number(int, minimum=1)),
    Option(
        "--metrics",
        "fastai metrics, separated by commas (default: error_rate; accuracy of a table)",
        Expression(_metric_names),
    ),
    Option(
        "--recipe",
        "with pretrained weights: head_first (default: the new layers, then all, then the better of the two), or fastai's "
        "fine_tune",
        Choice("head_first", "fine_tune"),
    ),
    Option(
        "--freeze-epochs",
        "epochs before, of the new layers alone (default: 3 to 10, not more than --epochs; 1 with fine_tune)",
        Number(int, minimum=0),
    ),
    Option(
        "--seed",
        "seed of the whole run (default: 42; none leaves randomness alone)",
        Number(int, words=("none",)),
    ),
    Option("--no-pretrained", "start from random weights and train all layers in one cycle"),
    Option("--weights", "start from this file of weights (.pth, .safetensors)", Place()),
    Option("--save", "keep the best epoch's weights in models/NAME.pth: --save best", _Word()),
    Option("--early-stop", "stop when the validation loss has not improved for N epochs", Number(int, minimum=1)),
    Option("--mixed", "mixed precision, on a GPU"),
    Option("--cbs", "fastai callbacks: variables or expressions, separated by commas", Expression()),
    Option("--no-check", "skip the look at the data before training"),
    Option("--detach", "give the prompt back at once; NAME is bound at its end, training steers it and has .learn"),
    Option("--inline", "train in the main thread, for callbacks that insist on it"),
    examples="""
        %train                                    # the newest DataLoaders, the best weights at hand
        %train dls resnet18 --epochs 3 --into learn
        %train dls convnext_tiny.in22k --lr auto --metrics accuracy,F1Score(average='macro')
        %train dls tiny                           # needs no internet: it comes with fastmagic
        %train dls resnet18 --no-pretrained       # from random weights
        %train dls resnet34 --save best --early-stop 3
        %train dls --recipe fine_tune --epochs 3  # fastai's own, as its lessons teach it
        %train dls --epochs 20 --detach           # then: training.pause(), .resume(), .stop(), .wait()
        %train dls --code                         # the plain fastai program
    """,
    gives="learn",
    elsewhere={
        "--batch-size": "It is called --bs.",
        "--learning-rate": "It is called --lr.",
        "--model": "The architecture needs no option: %train dls resnet18",
        "--arch": "The architecture needs no option: %train dls resnet18",
        "--freeze": "It is called --freeze-epochs.",
        "--pretrained": "It is so by itself where weights can be had; --no-pretrained starts from random ones.",
    },
)
def train(call: Call) -> Any:
    """
    Train a model on DataLoaders and get an ordinary fastai Learner.

    With pretrained weights the new layers learn first, then all, and the better of the two by validation
    loss is kept; without them all layers train in one cycle, by a recipe that learns in few epochs. A table is learned by fastai's tabular_learner, photos with masks by
    its unet_learner. The panel below the cell draws the loss and steers: stop, pause, learning rate, one epoch
    more. Stopping or interrupting ends after the running batch and keeps what was learned.
    """
    from ..learning.improvement import improvement
    from ..learning.train import plan

    settings, options = call.session.settings, call.options
    dls = call.input("dls", "DataLoaders")
    seed = options["seed"] if options["seed"] is not None else settings.seed
    planned = plan(
        dls,
        options["arch"],
        epochs=options["epochs"],
        lr=options["lr"],
        bs=options["bs"],
        metrics=options["metrics"],
        recipe=options["recipe"],
        freeze_epochs=options["freeze_epochs"],
        pretrained=not options["no_pretrained"],
        weights=options["weights"],
        seed=None if seed == "none" else seed,
        save=options["save"],
        early_stop=options["early_stop"],
        mixed=options["mixed"],
        cbs=options["cbs"],
        checks=not options["no_check"],
        offline=settings.offline,
        namespace=call.session.namespace,
        dry=options["code"],
    )
    if options["code"]:
        print(planned.code(call.words["dls"].removeprefix("$"), options["into"] or "learn"))
        return None
    if options["detach"] and options["inline"]:
        raise AnswerError("--detach trains in a thread of its own, --inline in none.", "Choose one of them.")
    learn = _trained(call, planned)
    if learn is not None and (said := improvement(learn, dls)):
        print(said)
    return learn


def _trained(call: Call, planned: Any) -> Any:
    """Run a training where it can be watched and steered; return its learner, or nothing where it goes on by itself."""
    from ..learning.control import Control
    from ..learning.progress import EpochTable, print_lines
    from ..learning.worker import TrainingRun

    options, control = call.options, Control()
    if not call.has_front_end or planned.draws:
        watch = [EpochTable(print_lines())]

        def plain() -> Any:
            return planned.run(watch, call.say, quiet=True, control=control)

        return _detached(call, TrainingRun(plain, control)) if options["detach"] else plain()
    from ..panels.kernel import pumping
    from ..panels.loss_plot import LossPlot

    plot = LossPlot(planned.title, control, planned.total, whole=False)

    def note(text: str) -> None:
        plot.note(call.said(text))

    def train() -> Any:
        try:
            learn = planned.run([plot], note if options["detach"] else call.say, quiet=True, control=control)
        except BaseException as error:
            if options["detach"]:  # no cell to fail
                plot.note(short_message(error, call.said))
            plot.finish(f"failed: {type(error).__name__}")
            raise
        plot.finish("stopped" if control.asked else "")
        return learn

    control.can_extend = True
    planned.announce(call.say)
    plot.show()
    if options["inline"]:
        return train()
    run = TrainingRun(train, control, pumping)
    return _detached(call, run) if options["detach"] else run.start().wait()


def _detached(call: Call, run: Any) -> None:
    name = call.options["into"] or "learn"

    def bind(run: Any) -> None:
        if run.learn is not None:
            call.session.bind(name, run.learn)

    run.start(then=bind)
    call.session.bind("training", run)
    print(
        f"Training in the background; {name} is bound when it ends. training.stop(), .pause(), .wait() steer it, "
        "training.learn may be asked at any time."
    )


def _live(call: Call) -> Any:
    """Return a function that shows a thing in place of the one before: redrawn in a front end, by lines in a terminal."""
    from ..learning.progress import print_lines

    return call.redraw() if call.has_front_end else print_lines()


@magic(
    Option("pattern", "shell wildcards, as in 'convnext*'; a plain word matches anywhere", _Pattern()),
    Option("--at-hand", "only those whose pretrained weights are on this machine: they train without internet"),
    Option("--speed", "measure how many pictures a second this machine predicts and trains on; it takes seconds each"),
    examples="""
        %models --at-hand --speed
        %models resnet
        %models 'convnext_tiny*'
        names = %models resnet                  # a list of names
    """,
    gives="",
)
def models(call: Call) -> Any:
    """List architectures of fastai, timm and torchvision by pattern: parameters, speed, and whether weights are at hand."""
    from ..learning.models import models as list_models

    pattern = str(call.options["pattern"] or "*")
    if call.options["code"]:
        if call.options["at_hand"]:  # which no library can say
            print(f"import fastmagic\n\nnames = fastmagic.models({pattern!r}, at_hand=True).names\nprint(names)")
            return
        wild = pattern if any(c in pattern for c in "*?[") else f"*{pattern}*"
        print(f"import timm\n\nnames = timm.list_models({wild!r}) + timm.list_pretrained({wild!r})\nprint(names)")
        return
    found = list_models(pattern, at_hand=call.options["at_hand"], speed=call.options["speed"])
    call.show(found)
    return found.names


class _Items(Place):
    """What can be predicted; `learn` itself is not among it."""

    metavar = "ITEM"


@magic(
    Option("learn", "the Learner; default: the newest", Variable("Learner")),
    Option(
        "items",
        "files, URLs, folders, globs or variables (pictures, arrays, lists, DataFrames); of a model of tables COLUMN=VALUE",
        _Items(),
        many=True,
    ),
    Option("--learn", "the Learner, or the file of one: a bundle, or an export.pkl that you trust", _LearnerOrFile()),
    Option("--csv", "write the table of many predictions to this file", FileName()),
    Option("--column", "the column of a DataFrame that names the files", _Word()),
    Option("--top", "how many classes to show for one item (default: 5)", Number(int, minimum=1)),
    examples="""
        %predict bird.jpg                       # the newest Learner
        %predict learn photos/                  # a folder: a table
        %predict 'photos/*.jpg' --csv preds.csv
        %predict https://example.com/bird.jpg
        %predict my_array --learn birds.fastmagic
        %predict age=49 workclass=Private       # a row of a table; what is left out is as usual
        %predict user=13 --top 10               # what a user would rate highest; title="Star Wars (1977)": what is like it
        %predict                                # a panel: upload, drop, paste, camera, address
    """,
    gives="preds",
)
def predict(call: Call) -> Any:
    """
    Say what a model makes of an item: picture, decision and probability by class name; or of many, as a table.

    A model of masks lays the class of every pixel over the photo: NAME.mask, NAME.shares, NAME.save(FILE).

    For many items NAME is a DataFrame, and what cannot be read is listed and skipped. Without an item, a panel asks
    for pictures: by upload, drop, paste, camera or address. NAME is the panel then: NAME.last, NAME.history.
    """
    from ..learning import predict as predicting
    from ..learning.predictions import Prediction, Predictions

    options = call.options
    items = options["items"]
    if not items:
        return _predictor(call)
    learn = options["learn"] if options["learn"] is not None else call.input("learn", "Learner")
    item = items[0] if len(items) == 1 else list(items)
    row, note = _typed_row(call, learn)
    if (sentence := _typed_text(call, learn)) is not None:
        item, items[:], call.words["items"][:] = sentence, [sentence], [sentence]
    if options["code"]:
        print(_predict_code(call, learn, row))
        return None
    if row is not None:
        item = row
    arguments = {"top": options["top"]} if options["top"] else {}
    progress, done = _progress(call)
    try:
        found = predicting.predict(item, learn, column=options["column"], progress=progress, **arguments)
    finally:
        done()
    if note and isinstance(found, (Prediction, Predictions)):
        found.note = note
    call.show(found)
    if options["csv"]:
        if not isinstance(found, Predictions):
            raise AnswerError(
                "--csv writes a table of many items, and this is one.",
                "Give a folder, a glob or several items.",
            )
        print(f"Wrote {len(found)} rows to {found.to_csv(options['csv'])}.")
    return found.frame if isinstance(found, Predictions) else found


def _typed_row(call: Call, learn: Any) -> tuple[dict[Any, Any] | None, str]:
    """Return the row that words such as `age=49 workclass=Private` say, `None` where other things are to be predicted."""
    from ..kinds import TABLE
    from ..learning.columns import typed_row
    from ..learning.learner_file import as_learner

    words = [word for word in call.options["items"] if isinstance(word, str)]
    if len(words) < len(call.options["items"]) or not all("=" in word and not os.path.exists(word) for word in words):
        return None, ""
    learn = as_learner(learn)
    if not TABLE.holds(learn.dls):
        return None, ""
    return typed_row(learn, words)


def _typed_text(call: Call, learn: Any) -> str | None:
    """Return the sentence that words without quotes make, `None` where other things are to be predicted."""
    from ..kinds import TEXT
    from ..learning.learner_file import as_learner

    words, values = call.words["items"], call.options["items"]
    if len(words) < 2 or any(" " in word or word.startswith("$") for word in words):
        return None
    if all(word.endswith(".txt") for word in words) or all(
        not isinstance(value, str) or word != value for word, value in zip(words, values, strict=True)
    ):
        return None  # files, or variables
    return " ".join(words) if TEXT.holds(as_learner(learn).dls) else None


def _predictor(call: Call) -> Any:
    from ..panels.predictor import predictor, predictor_code, takes

    options = call.options
    if options["csv"] or options["column"]:
        raise AnswerError("What should be predicted?", "Name a file, URL, folder or variable: %predict bird.jpg")
    learn = options["learn"] if options["learn"] is not None else call.input("learn", "Learner")
    if options["code"]:
        given = "picture" if isinstance(learn, str) else takes(learn)
        print(after_learner(call, learn, lambda name: predictor_code(name, given)))
        return None
    panel = predictor(learn, **({"top": options["top"]} if options["top"] else {}))
    call.show(panel)
    return panel


def after_learner(call: Call, learn: Any, text_of: Callable[[str], str], names: Sequence[str] = ()) -> str:
    """Return a program after the one that makes the learner it uses, or loads it.

    Args:
        learn: the learner, or the file of one.
        text_of: the program, from a Python expression for the learner.
        names: further variables that it uses.
    """
    from .. import program

    if isinstance(learn, str):
        import fastmagic

        from ..bundles.archive import is_bundle

        bundle = is_bundle(Path(learn).expanduser())
        used: dict[str, Any] = {"fastmagic": fastmagic} if bundle else {}
        text = text_of(f"{'fastmagic.load' if bundle else 'load_learner'}({learn!r})")
    else:
        name = call.words.get("learn", "learn").removeprefix("$").rpartition(".")[2]
        used, text = {name: learn}, text_of(name)
    namespace = call.session.namespace
    used |= {name: namespace[name] for name in names if name in namespace}
    return program.preceded(text, used, namespace)


def _predict_code(call: Call, learn: Any, row: dict[Any, Any] | None = None) -> str:
    from ..data.plan import plan_of
    from ..kinds import RATING, TEXT
    from ..learning.forward import target_of
    from ..learning.learner_file import as_learner
    from ..learning.masks import draws_masks, mask_target
    from ..learning.predict import code_of_items, predict_code
    from ..learning.writing import continued_code

    words, values = call.words["items"], call.options["items"]
    if row is None and len(values) == 1 and isinstance(values[0], dict):
        row = values[0]
    if row is not None:
        from ..learning.recommend import plain, recommend_code
        from ..learning.train import data_of

        known = as_learner(learn)
        if RATING.holds(known.dls):
            made = plan_of(data_of(known)) if not isinstance(learn, str) else None
            table, top = made.source.name if made is not None else None, call.options["top"] or 10
            return after_learner(call, learn, lambda name: recommend_code(known, row, name, table, top))
        given = {name: plain(value) for name, value in row.items()}
        given = {name: value for name, value in given.items() if value is not None and value == value}
        kind = target_of(known).kind
        return after_learner(call, learn, lambda name: predict_code(f"pd.Series({given!r})", name, False, kind))
    known = as_learner(learn) if isinstance(learn, str) and Path(learn).expanduser().is_file() else learn
    expression, many = code_of_items(words, values, known, call.options["column"])
    names = [word.removeprefix("$").partition(".")[0] for word in words]
    kind, classes = "class", list[str]()
    if hasattr(known, "dls"):
        target = mask_target(known) if draws_masks(known) else target_of(known)
        kind, classes = target.kind, target.classes if target.kind == "pixels" else []
    if kind == "words":
        return after_learner(call, learn, lambda name: continued_code(expression, name), names)
    vocab = "dls.vocab[1]" if hasattr(known, "dls") and TEXT.holds(known.dls) else "dls.vocab"
    return after_learner(call, learn, lambda name: predict_code(expression, name, many, kind, classes, vocab), names)


def _progress(call: Call) -> tuple[Any, Any]:
    """Return a function that shows how far a pass is, and one that clears it again."""
    import time

    from ..render import Shown

    update = _live(call) if hasattr(call.session.shell, "kernel") else None
    started, last = time.perf_counter(), [time.perf_counter()]
    used: list[bool] = []

    def progress(done: int, total: int) -> None:
        now = time.perf_counter()
        # Nothing flickers by for a pass that takes less than a second.
        if update is None or now - started < 1 or now - last[0] < 0.5:
            return
        last[0] = now
        used.append(True)
        update(Shown(f'<p class="dim">{done:,} of {total:,}</p>', f"{done:,} of {total:,}"))

    def clear() -> None:
        if used and update is not None:
            update(Shown("", ""))

    return progress, clear


@magic(
    Option("learn", "the Learner; default: the newest", Variable("Learner")),
    Option("--split", "valid (default) or train", Choice("valid", "train")),
    Option("--show", "how many pictures with prediction and label to show", Number(int, minimum=1)),
    Option("--worst", "how many items with the highest loss to show", Number(int, minimum=1)),
    Option("--class", "the worst of one class only", _ClassName()),
    examples="""
        %results                       # the newest Learner, its validation set
        %results learn --split train
        %results --worst 9 --class bird
        %results --into r              # r.confusion_matrix(), r.top_losses(), r.to_frame() …
    """,
    gives="res",
)
def results(call: Call) -> Any:
    """
    Show what a model gets right and wrong: error rate, precision and recall by class, the most confused classes.

    One pass over the data, kept until the model or the data change. NAME holds it: items, targets,
    predictions, probabilities and losses.
    """
    from ..learning import results as resulting
    from ..learning.masks import draws_masks, mask_results_code

    options = call.options
    learn = call.input("learn", "Learner")
    split = options["split"] or "valid"
    if options["code"]:
        masks = draws_masks(learn)
        text_of = partial(mask_results_code, learn) if masks else resulting.results_code
        print(after_learner(call, learn, lambda name: text_of(name, split)))
        return None
    progress, done = _progress(call)
    try:
        found = resulting.results(learn, split, progress=progress)
    finally:
        done()
    if options["worst"] or options["class"]:
        count = options["worst"] or 9
        call.show(found.show(count, rows=found.top_losses(count, actual=options["class"])))
    elif options["show"]:
        call.show(found.show(options["show"]))
    else:
        call.show(found)
    return found
