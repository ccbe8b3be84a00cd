"""The magics about learning: `%train`, `%models`, `%predict` and `%results`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from .core import Call, Expression, Kind, Number, Option, Place, Session, Variable, is_reference, magic


class _Architecture(Expression):
    """An architecture: a name of fastai's, timm's or torchvision's, or a variable that makes a model."""

    metavar = "ARCH"

    def parse(self, text: str, session: Session) -> Any:
        if is_reference(text):
            return session.value(text[1:])
        if text.isidentifier() and callable(session.namespace.get(text)):
            return session.value(text)
        return text

    def accepts(self, text: str, session: Session) -> bool:
        from ..learning.architectures import find

        value = self.parse(text, session)
        if callable(value):
            return True
        try:
            find(text)
        except Exception:
            return "." in text
        return True

    def complete(self, prefix: str, session: Session) -> Iterable[str]:
        from ..learning.architectures import known_names

        return known_names()


class _Rate(Number):
    def __init__(self) -> None:
        super().__init__(float, words=("auto",))


def _metric_names() -> list[str]:
    import fastai.metrics

    return [name for name in fastai.metrics.__all__ if name[:1].isalpha()]


@magic(
    Option("dls", "the DataLoaders; default: the newest", Variable("DataLoaders")),
    Option("arch", "an architecture of fastai, timm or torchvision, or a variable; default: resnet18", _Architecture()),
    Option("--epochs", "passes over the data (default: 3; from scratch at least 4)", Number(int, minimum=1)),
    Option("--lr", "peak learning rate; auto takes the valley of lr_find", _Rate()),
    Option("--bs", "batch size of this training (default: that of the DataLoaders)", Number(int, minimum=1)),
    Option("--metrics", "fastai metrics, separated by commas (default: error_rate)", Expression(_metric_names)),
    Option("--freeze-epochs", "epochs with a frozen body before fine-tuning (default: 1)", Number(int, minimum=0)),
    Option("--seed", "seed of the whole run (default: 42; none leaves randomness alone)", Number(int, words=("none",))),
    Option("--no-pretrained", "start from random weights and train all layers in one cycle"),
    Option("--weights", "start from this file of weights (.pth, .safetensors)", Place()),
    Option("--save", "keep the best epoch's weights in models/NAME.pth: --save best", Kind()),
    Option("--early-stop", "stop when the validation loss has not improved for N epochs", Number(int, minimum=1)),
    Option("--mixed", "mixed precision, on a GPU"),
    Option("--cbs", "fastai callbacks: variables or expressions, separated by commas", Expression()),
    Option("--no-check", "skip the look at the data before training"),
    examples="""
        %train                                    # the newest DataLoaders, resnet18
        %train dls resnet18 --epochs 3 --into learn
        %train dls convnext_tiny.in22k --lr auto --metrics accuracy,F1Score()
        %train dls resnet18 --no-pretrained       # no internet, no cached weights
        %train dls resnet34 --save best --early-stop 3
        %train dls --code                         # the plain fastai program
    """,
    gives="learn",
)
def train(call: Call) -> Any:
    """
    Train a model on DataLoaders and get an ordinary fastai Learner.

    Pretrained weights are fine-tuned; without them all layers train in one cycle, by a recipe that
    learns in few epochs. Interrupting stops after the running batch and keeps what was learned.
    """
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
        metrics=_listed(options["metrics"]),
        freeze_epochs=1 if options["freeze_epochs"] is None else options["freeze_epochs"],
        pretrained=not options["no_pretrained"],
        weights=options["weights"],
        seed=None if seed == "none" else seed,
        save=options["save"],
        early_stop=options["early_stop"],
        mixed=options["mixed"],
        cbs=_listed(options["cbs"]),
        checks=not (options["no_check"] or options["code"]),
        offline=settings.offline,
        namespace=call.session.namespace,
    )
    if options["code"]:
        print(planned.code(call.words["dls"], options["into"] or "learn"))
        return None
    from ..learning.progress import EpochTable

    return planned.run(watch=[EpochTable(_live(call))], quiet=True)


def _listed(expression: Any) -> str | None:
    """Return `a,b` as the source of a list, and one name as it is."""
    if expression is None:
        return None
    import ast

    tree = ast.parse(expression.source, mode="eval").body
    return f"[{expression.source}]" if isinstance(tree, ast.Tuple) else expression.source


def _live(call: Call) -> Any:
    """Return a function that shows a thing in place of the one before: redrawn in a front end, by lines in a terminal."""
    if not hasattr(call.session.shell, "kernel"):
        printed: list[str] = []

        def lines(shown: Any) -> None:
            rows = [line for line in shown.text.splitlines() if not line.startswith("epoch ") or "of" not in line]
            for line in rows[len(printed) :]:
                printed.append(line)
                print(line, file=sys.stdout, flush=True)

        return lines
    from IPython.display import display

    handle: list[Any] = []

    def redraw(shown: Any) -> None:
        if handle:
            handle[0].update(shown)
        else:
            handle.append(display(shown, display_id=True))

    return redraw


@magic(
    Option("pattern", "shell wildcards, as in 'convnext*'; a plain word matches anywhere", Kind()),
    examples="""
        %models resnet
        %models 'convnext_tiny*'
    """,
)
def models(call: Call) -> Any:
    """List architectures of fastai, timm and torchvision by pattern, and whether weights are at hand."""
    from ..learning.architectures import models as list_models

    pattern = call.options["pattern"] or "*"
    if call.options["code"]:
        print(f"import timm\n\ntimm.list_models({str(pattern)!r}) + timm.list_pretrained({str(pattern)!r})")
        return
    call.show(list_models(str(pattern)))


