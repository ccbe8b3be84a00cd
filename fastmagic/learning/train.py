"""`%train`: a fastai `Learner` for the data at hand, trained by the schedule that fits its weights.

A training is planned as lines of plain fastai and then runs those very lines, so that `--code` cannot differ from what
happened. Around them stand what a notebook needs: checks before, a graceful stop, a way out of "out of memory".
"""

from __future__ import annotations

import contextlib
import copy
import math
import tempfile
import warnings
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import program
from ..errors import (
    AnswerError,
    FastmagicError,
    OutOfMemoryError,
    RefusedError,
    UnreadableError,
    WeightsError,
    did_you_mean,
    few,
    number,
    unwritable,
)
from ..kinds import Asked, Kind, Learning, kind_of
from ..kinds.image import first_item
from ..kinds.kind import RECIPES, plain_loaders, steps
from .at_hand import broken_off
from .control import Control
from .given import evaluated, holds_several, is_list, source_of, try_metrics
from .memory import in_model, let_go, out_of_memory

if TYPE_CHECKING:
    from fastai.data.core import DataLoaders
    from fastai.learner import Learner


# Below these, a training has hardly begun; said before it starts.
FEW_STEPS_SCRATCH, FEW_STEPS_FINE_TUNE = 100, 8
BLIND = 30.0  # a cross-entropy that no guess among a billion classes has


def train(
    dls: DataLoaders,
    arch: str | Callable[..., Any] | None = None,
    *,
    epochs: int | None = None,
    lr: float | str | None = None,
    bs: int | None = None,
    metrics: Any = None,
    recipe: str | None = None,
    freeze_epochs: int | None = None,
    pretrained: bool = True,
    weights: str | Path | None = None,
    seed: int | None = 42,
    save: str | None = None,
    early_stop: int | None = None,
    mixed: bool = False,
    cbs: Any = None,
    checks: bool = True,
    offline: bool = False,
    control: Control | None = None,
) -> Learner:
    """Train a model of images, of masks or of a table, and return its `Learner`.

    With pretrained weights the new layers learn first, on features that stay as they came (batch-norm statistics too);
    then all layers, at small rates; then the better of the two by validation loss is kept, which is said where that is
    the first (Kumar et al. 2022, https://arxiv.org/abs/2202.10054, why). Where an epoch has fewer than 20 batches these are
    made smaller, down to 16. Without pretrained weights all layers train in one cycle, and a view of the data is made that can
    learn in few epochs: batches of at most 16, pictures of at most 96 px, augmentation, normalisation. A table is
    learned by `tabular_learner` in one cycle, with more epochs where it is small. Photos with masks are learned by
    `unet_learner`, augmented, in batches of at most 8, the class called Void left out of loss and accuracy; by `tiny`, and from
    scratch, at 128 px on the longer side. Ratings are learned by `collab_learner`. Your `dls` is never changed.

    Args:
        dls: fastai `DataLoaders` of pictures or of a table, with a category, several categories or numbers as target; or of
            pictures with masks, or of ratings.
        arch: a name from fastai, timm or torchvision, `tiny` (the backbone that comes with fastmagic), or a function
            that makes a model. By default resnet18; where its weights cannot be had, the best of what is at hand. Of ratings
            'dot' (a dot product, the default) or 'net'.
        epochs: passes over the training set; with pretrained weights those of all layers, 3, and 0 leaves these as they
            came; at least 4 from scratch, at least 3 for a table.
        lr: peak learning rate, of the new layers where there are some: all layers then take a third of it at most, and the
            first of them a 300th. 'auto' takes the valley `lr_find` suggests. By default 3e-3, 1e-2 from scratch.
        bs: batch size for this training, other than that of `dls`.
        metrics: one or several fastai metrics; by default `error_rate` (`accuracy` for a table), `accuracy_multi` or `mae`.
        recipe: with pretrained weights, 'head_first' as above, or 'fine_tune': fastai's `Learner.fine_tune`.
        freeze_epochs: passes before, in which the new layers learn alone; by default 1 with `fine_tune`, else 3 to 10, so
            that there are some 120 steps, but not more than `epochs` where that was said.
        pretrained: start from the library's weights for ImageNet and the like.
        weights: start from this file instead: what `learn.save` or `save=` wrote, or weights of the bare architecture.
        seed: seeds Python, NumPy and torch and the order of batches; `None` leaves them alone.
        save: keep the weights of the epoch with the lowest validation loss in `models/<save>.pth`, and end with them.
        early_stop: stop when the validation loss has not improved for this many epochs.
        mixed: train in mixed precision on a GPU.
        cbs: fastai callbacks.
        checks: look for mistakes in the data before training (`fastmagic.check`, fast checks only).
        offline: do not try to download weights.
        control: what another thread stops, pauses and re-rates the training with, and asks its model through (`learn`).

    Returns:
        The `Learner`. After an interrupt (Ctrl-C, the kernel's stop button) it holds what was learned so far. What
        fastai itself shows is a bar and a table; for curves and buttons give `cbs=fastmagic.LossPlot()`.

    Raises:
        FastmagicError: unknown architecture, weights that cannot be had, data that cannot be learned from, or memory
            that did not suffice, with what to do.

    Example:
        >>> learn = train(dls, "resnet18", epochs=3)  # doctest: +SKIP
    """
    return plan(
        dls, arch, epochs=epochs, lr=lr, bs=bs, metrics=metrics, recipe=recipe, freeze_epochs=freeze_epochs,
        pretrained=pretrained, weights=weights, seed=seed, save=save, early_stop=early_stop, mixed=mixed, cbs=cbs,
        checks=checks, offline=offline,
    ).run(control=control)  # fmt: skip


# How each learner came to be. The training holds the data it was given, which lives as long as the learner's view of it.
_trained: weakref.WeakKeyDictionary[Any, Training] = weakref.WeakKeyDictionary()


def data_of(learn: Any) -> Any:
    """Return the `DataLoaders` that a learner was trained on, as they were given: `learn.dls` may be a view of them."""
    training = _trained.get(learn)
    return learn.dls if training is None else training.dls


def line_of(learn: Any, dls: str = "dls") -> str:
    """Return the `%train` line that trains such a learner again on `dls`."""
    training = _trained.get(learn)
    if training is None:
        return f"%train {dls}"
    again = f" {training.learning.again}" if training.learning.again else ""
    epochs = f" --epochs {training.asked_epochs}" if training.asked_epochs and again else ""
    return f"%train {dls}{again}{epochs}"


@dataclass(kw_only=True)
class Training:
    """A planned training: the lines that make the learner, those that train it, and what to say before.

    Attributes:
        kind, learning: of the data.
        learner, fit, more: lines that make it, train it, and train it one epoch more.
        keep: lines after `fit` that keep the better of two.
        tune: lines after all that choose from which probability a label is given.
        names: what the lines use beyond the vocabulary.
        typed: what the user typed there.
        user: the user's variables.
        notes: what to say before it runs.
        total: batches in all.
        asked_epochs: as asked for, `None` where that was left open.
        keeps: it writes weights, into the folder `models` of `dls.path`.
    """

    dls: Any
    kind: Kind
    learning: Learning
    learner: list[str]
    fit: list[str]
    keep: list[str]
    tune: list[str]
    more: str
    names: dict[str, Any]
    typed: list[str]
    user: Mapping[str, Any]
    notes: list[str]
    total: int
    asked_epochs: int | None = None
    keeps: bool = False
    _announced: bool = False

    @property
    def title(self) -> str:
        frozen, epochs = self.learning.freeze_epochs, self.learning.epochs
        parts = " + ".join(str(n) for n in (frozen, epochs) if n)
        return f"{self.learning.name}, {parts} epoch{'s' if frozen + epochs > 1 else ''}"

    @property
    def draws(self) -> bool:
        """Whether a callback draws into fastai's own progress bar, and refuses to work without."""
        return any("ShowGraphCallback" in line for line in self.fit)

    def to_program(self, dls_name: str = "dls", learn_name: str = "learn", tuned: bool = True) -> program.Program:
        """Return the plain fastai program, from the data to the trained learner; without what comes after all for not `tuned`."""
        dls_name = dls_name.rpartition(".")[2]  # `box.dls` is a variable of its own
        vocabulary = self.kind.vocabulary()
        made = program.known(self.dls)
        if made:
            made = made.renamed("dls", dls_name)
        else:
            before = program.definitions([dls_name], {**self.user, dls_name: self.dls}, vocabulary)
            made = program.Program(before, module=self.kind.module)
        text = "\n".join([*self.learning.data, *self.learner, *self.fit, *self.keep, *(self.tune if tuned else ())])
        text = program.rename(program.rename(text, "learn", learn_name), "dls", dls_name)
        before = program.definitions(self.typed, {**self.user, **self.names}, vocabulary)
        return made.then([*self.learning.before, *before], text)

    def code(self, dls_name: str = "dls", learn_name: str = "learn") -> str:
        return str(self.to_program(dls_name, learn_name))

    def announce(self, say: Callable[[str], None] = print) -> None:
        """Say what is worth knowing before it runs, once.

        Raises:
            FastmagicError: the weights cannot be had.
        """
        if not self._announced:
            if self.learning.needs is not None:
                self.learning.needs()
            self._announced = True
            for note in self.notes:
                say(note)

    def run(
        self,
        watch: Sequence[Any] = (),
        say: Callable[[str], None] = print,
        quiet: bool = False,
        control: Control | None = None,
    ) -> Any:
        """Train, and return the learner.

        Args:
            watch: callbacks that show progress; they do not appear in the program.
            say: takes one line at a time for the reader.
            quiet: leave out fastai's own progress bar and table.
            control: what steers it while it runs.
        """
        self.announce(say)
        made = self.to_program(tuned=False)
        # Only the vocabulary and the names that were typed: a user's own `error_rate = 0.1` is no metric.
        names = {**self.kind.vocabulary(), **self.names, "dls": fresh_view(self.dls)}
        control = control or Control()
        control.can_extend = True
        if self.keeps:
            _must_write(Path(getattr(self.dls, "path", None) or ".") / "models")
        learn = None
        try:
            learn = control.learn = self._make(names)
            extra = [*control.callbacks(), *(() if self.draws else watch)]
            learn.add_cbs(extra)
            with contextlib.ExitStack() as stack:
                for context in [learn.no_bar(), learn.no_logging()] if quiet and not self.draws else []:
                    stack.enter_context(context)
                stack.callback(learn.remove_cbs, extra)
                with control.listening():
                    program.run("\n".join(self.fit), names, "%train")
                    if self.keep and not control.asked:
                        program.run("\n".join(self.keep), names, "%train")
                        _say_kept(names, say)
                    while control.take_one():
                        program.run(self.more, names, "%train, one epoch more")
                        made.body[-1] += f"\n{self.more}"
        except KeyboardInterrupt:
            if learn is None:
                raise
            # A second Ctrl-C did not wait for the batch; what the batches before it taught is in the model.
            control.asked = True
        except Exception as error:
            if learn is not None and control.asked:
                pass  # what follows a stop, such as looking for the valley of too few points, may fail
            elif out_of_memory(error):
                let_go(learn, error, names)
                raise OutOfMemoryError(*self._memory_advice()) from None
            elif isinstance(error, IndexError) and VALLEY in self.fit and "lr" not in names:
                raise FastmagicError(
                    "lr_find broke off before there was a valley: the loss rose at once.",
                    f"Give a learning rate: `lr={self.learning.lr or 2e-3:g}`",
                ) from error
            elif told := self.kind.unloadable(self.dls, error):
                raise UnreadableError(*told) from error
            elif (
                learn is not None
                and not vars(learn.recorder).get("losses")
                and in_model(error)
                and (told := self.kind.misfit(self.learning, error))
            ):
                raise FastmagicError(*told) from error
            else:
                raise
        for where, factor in control.changes:
            made.body[-1] += f"\n# by hand, from {where}: the schedule's learning rates times {factor:g}"
        if control.asked:
            learn._end_cleanup()
            say(control.message())
        elif self.tune:
            program.run("\n".join(self.tune), names, "%train")
            made.body[-1] += "\n" + "\n".join(self.tune)
            chosen, f1 = learn.loss_func.thresh, names["f1"]
            say(
                f"A label is given from a probability of {chosen:g}: F1 {f1(chosen):.3f} on the validation set, {f1(0.5):.3f} with 0.5."
            )
        if not control.asked and (lost := _ran_away(learn, self.learning.target.kind == "numbers")) is not None:
            say(
                f"⚠ The loss ran away (to {lost:.1e}): the learning rate is too high. Try `lr={self.learning.lr or 2e-3:g}`."
            )
        elif not control.asked and "lr" in names and VALLEY in self.fit:
            say(f"Learning rate {names['lr']:.1e}, the valley of lr_find.")
        program.remember(learn, made)
        _trained[learn] = self
        return learn

    def _make(self, names: dict[str, Any]) -> Any:
        """Run the lines that make the learner.

        Raises:
            FastmagicError: fastai cannot make a body and a head of the architecture, or weights do not fit it.
        """
        with warnings.catch_warnings():
            # torchvision warns of how fastai calls it; nothing a reader can act on.
            warnings.filterwarnings("ignore", category=UserWarning, module="torchvision")
            try:
                program.run("\n".join([*self.learning.data, *self.learner]), names, "%train")
            except StopIteration as error:
                raise FastmagicError(
                    f"fastai cannot cut {self.learning.name} into body and head: it has no pooling layer.",
                    f"timm's architectures work as they are: `models({self.learning.name.split('_')[0]!r})`",
                ) from error
            except Exception as error:
                if isinstance(error, RuntimeError) and "loading state_dict" in str(error):
                    raise WeightsError(
                        f"The weights do not fit {self.learning.name} with these classes.",
                        "Name the architecture that they were saved from, and the same classes.",
                    ) from error
                if self.learning.needs is not None and (told := broken_off(self.learning.name, error)):
                    raise told from error
                raise
        return names["learn"]

    def _memory_advice(self) -> tuple[str, str]:
        smaller = max(1, self.learning.bs // 2)
        cause = f"Out of memory with batches of {self.learning.bs} ({self.learning.name}); what was held is free again."
        if self.learning.bs > 1:
            return cause, f"Try `bs={smaller}`, or {self.kind.lighter}."
        return cause, f"Try a smaller model or {self.kind.lighter}."


def plan(
    dls: Any,
    arch: str | Callable[..., Any] | None = None,
    *,
    epochs: int | None = None,
    lr: float | str | None = None,
    bs: int | None = None,
    metrics: Any = None,
    recipe: str | None = None,
    freeze_epochs: int | None = None,
    pretrained: bool = True,
    weights: str | Path | None = None,
    seed: int | None = 42,
    save: str | None = None,
    early_stop: int | None = None,
    mixed: bool = False,
    cbs: Any = None,
    checks: bool = True,
    offline: bool = False,
    namespace: Mapping[str, Any] | None = None,
    dry: bool = False,
) -> Training:
    """Plan a training without starting it. Arguments as for `train`; `metrics` and `cbs` may also be source text.

    Args:
        namespace: the user's variables, for names in `metrics` and `cbs`.
        dry: only the program is wanted: look at no data but the first item, and try no metric. What is trained where no
            architecture is named depends on which weights can be had, which is asked all the same.
    """
    kind = _kind(dls)
    # Mistakes in the data first: they are why the first item cannot be opened.
    notes = [_checked(dls)] if checks and not dry else []
    if recipe is not None and recipe not in RECIPES:
        raise AnswerError(
            f"There is no recipe {recipe!r}.", did_you_mean(recipe, RECIPES) or f"There are {few(RECIPES)}."
        )
    asked = Asked(
        arch=arch, epochs=epochs, freeze_epochs=freeze_epochs, recipe=recipe, bs=bs, pretrained=pretrained,
        weights=weights, offline=offline,
    )  # fmt: skip
    learning = kind.learning(dls, asked)
    notes += learning.notes
    if learning.epochs + learning.freeze_epochs < 1 or min(learning.epochs, learning.freeze_epochs) < 0:
        raise AnswerError(f"{learning.epochs} epochs train nothing.", "Give at least one: `epochs=3`")
    user, names, typed = namespace or {}, dict(learning.names), list(learning.typed)
    scratch = learning.recipe == "one_cycle"
    if scratch and (recipe is not None or freeze_epochs is not None):
        raise RefusedError(
            f"{learning.name} has no pretrained weights here: all its layers train in one cycle, none is frozen.",
            f"Leave {'`recipe`' if recipe is not None else '`freeze_epochs`'} out.",
        )
    metric_text = learning.metrics or kind.metrics[learning.target.kind]
    if metrics is not None:
        metric_text = source_of("metrics", metrics, names, kind)
        typed.append(metric_text)
        if not dry and checks:
            try_metrics(evaluated(metric_text, names, user, "metrics", kind), learning.target)
    maker, arguments = learning.learner
    learner = [] if seed is None else [f"set_seed({seed}, reproducible=True)", f"dls.rng.seed({seed})"]
    learner += [f"learn = {maker}({', '.join([*arguments, f'metrics={metric_text}'])})", *learning.weights]
    if mixed:
        import torch

        if torch.cuda.is_available():
            learner.append("learn.to_fp16()")
        else:
            notes.append("No GPU here, so `mixed` is left out: it would change nothing.")
    callbacks: list[str] = []
    if cbs is not None:
        text = source_of("cbs", cbs, names, kind)
        typed.append(text)
        several = is_list(text, {**user, **names}) if dry else holds_several(evaluated(text, names, user, "cbs", kind))
        callbacks.append(f"*{text}" if several else text)
    own = f", cbs=[{', '.join(callbacks)}]" if callbacks else ""
    if save:
        # Several fits, one best: it may be an epoch in which the new layers learned alone.
        again = "" if scratch else ", reset_on_fit=False"
        callbacks.append(f"SaveModelCallback(fname={save!r}{again})")
    if early_stop:
        callbacks.append(f"EarlyStoppingCallback(patience={early_stop})")
    if isinstance(lr, str) and lr != "auto":
        raise AnswerError(f"lr={lr!r} is no learning rate.", "Give a number such as 2e-3, or 'auto'.")
    validated = len(dls.loaders) > 1 and len(dls.loaders[1].dataset) > 0
    fit, keep, more = _fit_lines(learning, lr, callbacks, own, keeps=validated and not save)
    an_epoch = steps(dls, learning.bs)
    total = an_epoch * (learning.epochs + learning.freeze_epochs)
    notes += _step_notes(total, an_epoch, scratch, learning.bs, len(dls.train.dataset))
    for text in typed:
        names |= {name: user[name] for name in program.free_names(text) if name in user and name not in names}
    return Training(
        dls=dls,
        kind=kind,
        learning=learning,
        learner=learner,
        fit=fit,
        keep=keep,
        tune=TUNE if validated and learning.target.kind == "classes" else [],
        more=more,
        names=names,
        typed=typed,
        user=user,
        notes=notes,
        total=total,
        asked_epochs=epochs,
        keeps=bool(save) or lr == "auto",
    )


# Of several labels an item: from which probability each is given, by the F1 of all of them (of equal ones that nearest to 0.5).
TUNE = [
    "with learn.no_bar():",
    "    probabilities, targets = learn.get_preds()  # of the validation set",
    "def f1(share):",
    "    given = probabilities > share",
    "    return 2 * (given & targets.bool()).sum().item() / max(1, given.sum().item() + targets.sum().item())",
    "shares = [share / 100 for share in range(5, 100, 5)]",
    "learn.loss_func.thresh = max(shares, key=lambda share: (f1(share), -abs(share - 0.5)))",
]
VALLEY = "lr = learn.lr_find(show_plot=False).valley"


def _fit_lines(
    learning: Learning, lr: float | str | None, callbacks: list[str], own: str, keeps: bool
) -> tuple[list[str], list[str], str]:
    """Return the lines that train a learner, those that keep the better of two, and the one for an epoch more.

    Args:
        lr: as asked for.
        callbacks: of the fits, as expressions.
        own: `callbacks` that the user gave, as an argument.
        keeps: whether there is a validation loss to compare by, and nobody else compares.
    """
    epochs, frozen = learning.epochs, learning.freeze_epochs
    valley = [VALLEY] if lr == "auto" else []
    peak = "lr" if lr == "auto" else learning.lr if lr is None else lr
    rate = "" if peak is None else f", {_number(peak)}"
    extra = f", cbs=[{', '.join(callbacks)}]" if callbacks else ""
    # A schedule ends near zero. One epoch more is a small cycle, at a tenth of the peak.
    more = f"learn.fit_one_cycle(1, {_number(peak, 10) if peak is not None else '2e-3 / 10'}{own})"
    if learning.recipe == "one_cycle":
        return [*valley, f"learn.fit_one_cycle({epochs}{rate}{extra})"], [], more
    if learning.recipe == "fine_tune":
        before = f", freeze_epochs={frozen}" if frozen != 1 else ""
        return [*valley, f"learn.fine_tune({epochs}{rate}{before}{extra})"], [], more
    assert peak is not None
    fit = [*(["learn.freeze()"] if frozen else []), *valley]
    if callbacks and frozen and epochs:  # one set of them for both fits, as fine_tune has it: one best epoch
        fit.append(f"callbacks = [{', '.join(callbacks)}]")
        extra = ", cbs=callbacks"
    if frozen:
        fit.append(f"learn.fit_one_cycle({frozen}{rate}{extra})  # the new layers")
    if not epochs:
        return fit, [], more
    keep = []
    if frozen and keeps:
        fit.append("head_loss, head = learn.recorder.values[-1][1], deepcopy(learn.model.state_dict())")
        keep = ["if not learn.recorder.values[-1][1] < head_loss:", "    learn.model.load_state_dict(head)"]
    fit += [
        "learn.unfreeze()",
        "for layer in learn.model[0].modules():",
        "    if isinstance(layer, bn_types):",
        "        layer.requires_grad_(False)  # and BnFreeze leaves its statistics alone",
        f"learn.fit_one_cycle({epochs}, slice({_number(peak, 300)}, {_number(peak, 3)}){extra})  # all layers",
    ]
    return fit, keep, f"learn.fit_one_cycle(1, slice({_number(peak, 3000)}, {_number(peak, 30)}){own})"


def _number(rate: float | str, divisor: int = 1) -> str:
    """Return how a program writes a learning rate, or a part of it."""
    if isinstance(rate, str):
        return rate if divisor == 1 else f"{rate} / {divisor}"
    return repr(rate) if divisor == 1 else f"{rate / divisor:.3g}"


def _say_kept(names: Mapping[str, Any], say: Callable[[str], None]) -> None:
    """Say it where training all layers did not help."""
    before, after = names["head_loss"], names["learn"].recorder.values[-1][1]
    if not after < before:
        say(
            f"Training all layers did not help (validation loss {before:.3g} before, {after:.3g} after): "
            "kept what the new layers had learned alone."
        )


def _must_write(folder: Path) -> None:
    """Raise where weights cannot be kept in a folder, rather than after the epochs that were to be kept."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise unwritable(
            folder, error, f"Name another place for the weights: dls.path = Path({tempfile.gettempdir()!r})"
        ) from error


def _ran_away(learn: Any, numbers: bool) -> float | None:
    """Return the last training loss where it is no number any more, or far above that of a blind guess; else `None`."""
    losses = [float(loss) for loss in vars(learn.recorder).get("losses") or []]
    if not losses or (math.isfinite(losses[-1]) and (numbers or losses[-1] < BLIND)):
        return None
    return losses[-1]


def _kind(dls: Any) -> Kind:
    """Return what kind of data these are.

    Raises:
        FastmagicError: none that is trained on here.
    """
    kind = kind_of(dls)
    if kind is None:
        raise RefusedError(
            f"`train` does not know such data; the first item of them is a {type(first_item(dls)[0]).__name__}.",
            "For other data use fastai's own `Learner(dls, model)`.",
        )
    return kind


def fresh_view(dls: Any) -> Any:
    """Return loaders over the same data that can be changed (normalisation, order) without changing `dls`."""
    plain = plain_loaders(dls)
    view = copy.copy(dls)  # of its own class: that of a table knows how to take new rows
    view.loaders = [loader.new() if plain else _twin(loader) for loader in dls.loaders]
    return view


def _twin(loader: Any) -> Any:
    """Return a copy of a loader of any type with transforms of its own; `new` would forget what its type adds."""
    from fastai.torch_basics import Pipeline

    twin = copy.copy(loader)
    for event in ("after_item", "before_batch", "after_batch"):
        if isinstance(getattr(loader, event), Pipeline):
            setattr(twin, event, Pipeline(getattr(loader, event).fs))
    twin.fake_l = copy.copy(loader.fake_l)
    twin.fake_l.d = twin.fake_l.default = twin
    twin.fake_l.dataset = twin.fake_l
    return twin


def _checked(dls: Any) -> str:
    """Return what the fast checks say: one line when all is well.

    Raises:
        FastmagicError: something that training would fail at, or learn nothing from.
    """
    from ..data.check import check

    report = check(dls, fast=True)
    # Whether a batch fills is told later, of the batch size that is trained with.
    wrong = [finding for finding in report if finding.severity == "error" and finding.kind != "no-batch"]
    if wrong:
        cause = "\n".join(finding.message for finding in wrong[:2])
        raise RefusedError(cause, f"{wrong[0].fix} (`checks=False` trains all the same.)")
    return report.headline()


def _step_notes(total: int, steps: int, scratch: bool, bs: int, n: int) -> list[str]:
    least = FEW_STEPS_SCRATCH if scratch else FEW_STEPS_FINE_TUNE
    if total >= least:
        return []
    smaller = next((b for b in (64, 32, 16, 8, 4) if b < bs and n // b * max(1, total // max(steps, 1)) >= least), None)
    ways = [f"`bs={smaller}`"] if smaller else []
    ways.append(f"`epochs={math.ceil(least / max(steps, 1))}`")
    start = " from scratch" if scratch else ""
    few = f"{number(total, 'step')} ({number(steps, 'batch', 'batches')} an epoch) {'is' if total == 1 else 'are'} too few"
    return [f"⚠ {few} to learn much{start}: try {' or '.join(ways)}."]
