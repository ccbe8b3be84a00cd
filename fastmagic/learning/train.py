"""`%train`: a fastai `Learner` for the data at hand, trained by the schedule that fits its weights.

A training is planned as lines of plain fastai and then runs those very lines, so that `--code` cannot differ from what
happened. Around them stand what a notebook needs: checks before, a graceful stop, a way out of "out of memory".
"""

from __future__ import annotations

import ast
import contextlib
import copy
import gc
import importlib
import math
import traceback
import warnings
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import program
from ..data.items import vocab
from ..errors import FastmagicError, did_you_mean
from .architectures import DEFAULT, Architecture, default, find, fixed_size, require_weights
from .control import Control
from .weights import weights_lines


@dataclass(frozen=True)
class _Recipe:
    """How a network learns best; `None` leaves a thing as the data or fastai have it.

    Attributes:
        bs: largest batch.
        size: largest side in px; pictures are augmented too.
        lr: peak learning rate.
    """

    bs: int | None = None
    size: int | None = None
    lr: float | None = None


FINE_TUNE = _Recipe()
# Training from scratch: measured on photos of birds and forests, where fine-tuning's large batches stay at chance.
SCRATCH = _Recipe(bs=16, size=96, lr=1e-2)
# The backbone in the box: a narrow network, seen here on a few hundred photos, wants more steps than batches of 64
# give, and a higher rate. It was trained at 48 to 80 px.
TINY = _Recipe(bs=32, size=96, lr=5e-3)
FINE_TUNE_EPOCHS = 3
# Small sets get more epochs from scratch, until there are some 240 steps: with 140, one seed of three made twice the
# mistakes.
SCRATCH_EPOCHS, SCRATCH_STEPS = 4, 240
# Below these, a training has hardly begun; said before it starts.
FEW_STEPS_SCRATCH, FEW_STEPS_FINE_TUNE = 100, 8


def train(
    dls: Any,
    arch: str | Callable[..., Any] | None = None,
    *,
    epochs: int | None = None,
    lr: float | str | None = None,
    bs: int | None = None,
    metrics: Any = None,
    freeze_epochs: int = 1,
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
) -> Any:
    """Train a classifier and return its `Learner`.

    Pretrained weights are fine-tuned (`Learner.fine_tune`: a frozen epoch, then all layers). Without them all layers
    train in one cycle, and a view of the data is made that can learn in few epochs: batches of at most 16, pictures of
    at most 96 px, augmentation, normalisation. Your `dls` is never changed.

    Args:
        dls: fastai `DataLoaders` of pictures with a category, several categories or numbers as target.
        arch: a name from fastai, timm or torchvision, `tiny` (the backbone that comes with fastmagic), or a function
            that makes a model. By default resnet18; where its weights cannot be had, `tiny`.
        epochs: passes over the training set; 3 when fine-tuning, at least 4 from scratch.
        lr: peak learning rate; 'auto' takes the valley `lr_find` suggests; by default 2e-3, or 1e-2 from scratch.
        bs: batch size for this training, other than that of `dls`.
        metrics: one or several fastai metrics; by default `error_rate` (or `accuracy_multi`, `mae`).
        freeze_epochs: epochs with a frozen body before fine-tuning.
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
        dls, arch, epochs=epochs, lr=lr, bs=bs, metrics=metrics, freeze_epochs=freeze_epochs, pretrained=pretrained,
        weights=weights, seed=seed, save=save, early_stop=early_stop, mixed=mixed, cbs=cbs, checks=checks, offline=offline,
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
    if training is None or training.arch.library == "yours":
        return f"%train {dls}"
    epochs = f" --epochs {training.epochs}" if training.epochs else ""
    return f"%train {dls} {training.arch.name}{epochs}"


@dataclass
class Training:
    """A planned training: the lines that make the learner, those that train it, and what to say before."""

    dls: Any
    arch: Architecture
    data: list[str]
    learner: list[str]
    fit: list[str]
    namespace: dict[str, Any]
    typed: list[str]
    user: Mapping[str, Any]
    bs: int
    notes: list[str]
    downloads: bool
    offline: bool
    more: str  # the line that trains one epoch more
    total: int  # batches in all
    title: str
    epochs: int | None = None  # as asked for

    @property
    def draws(self) -> bool:
        """Whether a callback draws into fastai's own progress bar, and refuses to work without."""
        return any("ShowGraphCallback" in line for line in self.fit)

    def to_program(self, dls_name: str = "dls", learn_name: str = "learn") -> program.Program:
        """Return the plain fastai program, from the data to the trained learner."""
        dls_name = dls_name.rpartition(".")[2]  # `box.dls` is a variable of its own
        made = program.known(self.dls)
        if made:
            made = made.renamed("dls", dls_name)
        else:
            made = program.Program(program.definitions([dls_name], {**self.user, dls_name: self.dls}, _vocabulary()))
        text = "\n".join([*self.data, *self.learner, *self.fit])
        text = program.rename(program.rename(text, "learn", learn_name), "dls", dls_name)
        before = program.definitions(self.typed, {**self.user, **self.namespace}, _vocabulary())
        if self.arch.library in ("fastmagic", "torchvision"):
            before.insert(0, f"import {self.arch.library}")
        return made.then(before, text)

    def code(self, dls_name: str = "dls", learn_name: str = "learn") -> str:
        return str(self.to_program(dls_name, learn_name))

    def announce(self, say: Callable[[str], None] = print) -> None:
        """Say what is worth knowing before it runs, once.

        Raises:
            FastmagicError: the weights cannot be had.
        """
        if self.downloads:
            require_weights(self.arch, self.offline)
        notes, self.notes, self.downloads = self.notes, [], False
        for note in notes:
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
        made = self.to_program()
        # Only the vocabulary and the names that were typed: a user's own `error_rate = 0.1` is no metric.
        names = {**_vocabulary(), **self.namespace, "dls": fresh_view(self.dls)}
        control = control or Control()
        control.can_extend = True
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
            elif _out_of_memory(error):
                _let_go(learn, error, names)
                raise FastmagicError(*self._memory_advice()) from None
            elif learn is not None and not vars(learn.recorder).get("losses") and _in_model(error):
                raise FastmagicError(*self._misfit(error)) from error
            else:
                raise
        if control.asked:
            learn._end_cleanup()
            say(control.message())
        elif "lr" in names and self.fit[0].startswith("lr ="):
            say(f"Learning rate {names['lr']:.1e}, the valley of lr_find.")
        for where, factor in control.changes:
            made.body[-1] += f"\n# by hand, from {where}: the schedule's learning rates times {factor:g}"
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
                program.run("\n".join([*self.data, *self.learner]), names, "%train")
            except StopIteration as error:
                raise FastmagicError(
                    f"fastai cannot cut {self.arch.name} into body and head: it has no pooling layer.",
                    f"timm's architectures work as they are: %models {self.arch.name.split('_')[0]}",
                ) from error
            except RuntimeError as error:
                if "loading state_dict" not in str(error):
                    raise
                raise FastmagicError(
                    f"The weights do not fit {self.arch.name} with these classes.",
                    "Name the architecture that they were saved from, and the same classes.",
                ) from error
        return names["learn"]

    def _misfit(self, error: Exception) -> tuple[str, str]:
        first = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        wanted = fixed_size(self.arch)
        size = f"item_tfms = Resize({wanted})" if wanted else "item_tfms = Resize(224)"
        return (
            f"{self.arch.name} does not work with these pictures: {first}",
            f"Give it the size it was made for ({size}), or another architecture: %models resnet",
        )

    def _memory_advice(self) -> tuple[str, str]:
        smaller = max(1, self.bs // 2)
        cause = f"Out of memory with batches of {self.bs} ({self.arch.name}); what was held is free again."
        if self.bs > 1:
            return cause, f"Try --bs {smaller} (bs={smaller}), or smaller pictures: item_tfms = Resize(128)."
        return cause, "Try a smaller architecture or smaller pictures: item_tfms = Resize(128)."


def plan(
    dls: Any,
    arch: str | Callable[..., Any] | None = None,
    *,
    epochs: int | None = None,
    lr: float | str | None = None,
    bs: int | None = None,
    metrics: Any = None,
    freeze_epochs: int = 1,
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
        dry: only the program is wanted: ask no host for weights, look at no data but the first item, and try no metric.
    """
    asked = epochs
    item = first_item(dls)
    target = _target_kind(dls, item)
    notes = [_checked(dls)] if checks and not dry else []
    if arch is None and pretrained and weights is None:
        found, why = default(offline, ask=not dry)
        notes += [why] if why else []
    else:
        found = find(arch if arch is not None else DEFAULT)
    user = namespace or {}
    names: dict[str, Any] = {}
    if found.library == "yours":
        names[found.name] = found.value
    if found.library in ("fastmagic", "torchvision"):
        names[found.library] = importlib.import_module(found.library)
    scratch = not pretrained and weights is None
    size, channels = picture_size(dls, item), int(item[0].shape[0])
    recipe = SCRATCH if scratch else TINY if found.library == "fastmagic" else FINE_TUNE
    shrink = recipe.size is not None and size > recipe.size and not fixed_size(found)
    normalize = channels == 3 and (not pretrained or weights is not None)
    data, batch = _data_lines(dls, bs, recipe, shrink, normalize)
    steps = _steps(dls, batch)
    if steps == 0:
        n = len(dls.train.dataset)
        raise FastmagicError(
            f"{n:,} training items do not fill one batch of {batch}: nothing would be trained.",
            f"Take a smaller batch: --bs {max(1, min(16, n // 4))}",
        )
    if epochs is None:
        epochs = max(SCRATCH_EPOCHS, min(20, math.ceil(SCRATCH_STEPS / max(steps, 1)))) if scratch else FINE_TUNE_EPOCHS
    if epochs < 1:
        raise FastmagicError(f"{epochs} epochs train nothing.", "Give at least one: --epochs 3.")
    typed = [found.source] if found.library == "yours" else []
    metric_text = _DEFAULT_METRICS[target]
    if metrics is not None:
        metric_text = _source("metrics", metrics, names)
        typed.append(metric_text)
        if not dry:
            _try_metrics(_evaluated(metric_text, names, user, "metrics"), target, len(vocab(dls) or ()))
    arguments = ["dls", found.source]
    if not pretrained or weights is not None:
        arguments.append("pretrained=False")
    if channels != 3:
        arguments.append(f"n_in={channels}")
    learner = [] if seed is None else [f"set_seed({seed}, reproducible=True)", f"dls.rng.seed({seed})"]
    learner.append(f"learn = vision_learner({', '.join([*arguments, f'metrics={metric_text}'])})")
    if weights is not None:
        learner += weights_lines(Path(weights).expanduser(), found)
    if mixed:
        import torch

        if torch.cuda.is_available():
            learner.append("learn.to_fp16()")
        else:
            notes.append("No GPU here, so --mixed is left out: it would change nothing.")
    callbacks: list[str] = []
    if cbs is not None:
        text = _source("cbs", cbs, names)
        typed.append(text)
        several = _is_list(text, {**user, **names}) if dry else _holds_several(_evaluated(text, names, user, "cbs"))
        callbacks.append(f"*{text}" if several else text)
    own = f", cbs=[{', '.join(callbacks)}]" if callbacks else ""
    if save:
        callbacks.append(f"SaveModelCallback(fname={save!r})")
    if early_stop:
        callbacks.append(f"EarlyStoppingCallback(patience={early_stop})")
    fit = []
    rate = "lr" if lr == "auto" else repr(lr) if lr is not None else f"{recipe.lr:g}" if recipe.lr else ""
    if isinstance(lr, str) and lr != "auto":
        raise FastmagicError(f"lr={lr!r} is no learning rate.", "Give a number such as 2e-3, or 'auto'.")
    if lr == "auto":
        fit.append("lr = learn.lr_find(show_plot=False).valley")
    extra = f", cbs=[{', '.join(callbacks)}]" if callbacks else ""
    if scratch:
        fit.append(f"learn.fit_one_cycle({epochs}, {rate}{extra})")
    else:
        frozen = f", freeze_epochs={freeze_epochs}" if freeze_epochs != 1 else ""
        fit.append(f"learn.fine_tune({epochs}{f', {rate}' if rate else ''}{frozen}{extra})")
    title = f"{found.name}, {epochs} epoch{'s' if epochs > 1 else ''}"
    # A schedule ends near zero. One epoch more is a small cycle, at a tenth of the peak.
    more = f"learn.fit_one_cycle(1, {rate or '2e-3'} / 10{own})"
    total = steps * (epochs + (0 if scratch else freeze_epochs))
    if scratch:
        notes.append(_scratch_note(epochs, batch, data, recipe.size if shrink else size))
    notes += _step_notes(total, steps, scratch, batch, len(dls.train.dataset))
    downloads = pretrained and weights is None
    for text in typed:
        names |= {name: user[name] for name in program.free_names(text) if name in user and name not in names}
    return Training(
        dls, found, data, learner, fit, names, typed, user, batch, notes, downloads, offline, more, total, title, asked
    )


# ---------------------------------------------------------------- the lines


_DEFAULT_METRICS = {"category": "error_rate", "categories": "accuracy_multi", "numbers": "mae"}


def _data_lines(dls: Any, bs: int | None, recipe: _Recipe, shrink: bool, normalize: bool) -> tuple[list[str], int]:
    """Return the lines that make the view of the data that a training needs, and its batch size."""
    batch = bs or (min(dls.train.bs, recipe.bs) if recipe.bs and _plain_loaders(dls) else dls.train.bs)
    lines = []
    if batch != dls.train.bs:
        if not _plain_loaders(dls):
            raise FastmagicError(
                f"These loaders ({type(dls.train).__name__}) cannot be given another batch size.",
                f"Make the DataLoaders with bs={batch}.",
            )
        others = "".join(
            f", dls[{i}].new(bs={batch if bs else max(batch, dls[i].bs)})" for i in range(1, len(dls.loaders))
        )
        lines.append(f"dls = DataLoaders(dls[0].new(bs={batch}){others}, path=dls.path, device=dls.device)")
    added = []
    if recipe.size and not _augmented(dls):
        added.append(f"*aug_transforms(size={recipe.size})" if shrink else "*aug_transforms()")
    if normalize and not any(type(t).__name__ == "Normalize" for t in dls.train.after_batch.fs):
        added.append("Normalize.from_stats(*imagenet_stats)")
    if added:
        lines.append(f"dls.add_tfms([{', '.join(added)}], 'after_batch')")
    return lines, batch


def _source(name: str, value: Any, names: dict[str, Any]) -> str:
    """Return how a program writes `metrics` or `cbs`; a value that cannot be written gets a name of its own."""
    source = getattr(value, "source", None)
    if isinstance(value, str) or isinstance(source, str):
        text = value if isinstance(value, str) else str(source)
        with contextlib.suppress(SyntaxError):  # said when it is evaluated
            if isinstance(ast.parse(text.strip(), mode="eval").body, ast.Tuple) and not text.strip().startswith("("):
                return f"[{text.strip()}]"  # "accuracy, error_rate"
        return text
    known = getattr(value, "__name__", None)
    if known and _vocabulary().get(known) is value:
        return known
    if known and known.isidentifier() and known not in _vocabulary():
        names[known] = value
        return known
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_source(f'{name}_{i}', part, names) for i, part in enumerate(value))}]"
    names[name] = value
    return name


def _holds_several(value: Any) -> bool:
    return isinstance(value, (list, tuple)) or type(value).__name__ == "L"


def _is_list(text: str, known: Mapping[str, Any]) -> bool:
    """Tell without running it whether an expression gives several callbacks."""
    with contextlib.suppress(SyntaxError):
        tree = ast.parse(text.strip(), mode="eval").body
        return isinstance(tree, (ast.List, ast.Tuple)) or _holds_several(known.get(text.strip()))
    return False


def _evaluated(text: str, names: Mapping[str, Any], user: Mapping[str, Any], what: str) -> Any:
    known = {**_vocabulary(), **user, **names}
    try:
        return eval(text, known)
    except NameError as error:
        missing = error.name or ""
        hint = did_you_mean(missing, [name for name in known if not name.startswith("_")])
        example = "For instance accuracy, or F1Score()." if what == "metrics" else "Make it in a cell above."
        raise FastmagicError(f"{what}: there is no {missing!r}.", hint or example) from None
    except Exception as error:
        raise FastmagicError(f"{what}: {text} does not work here: {type(error).__name__}: {error}.") from error


def _try_metrics(metrics: Any, target: str, classes: int) -> None:
    """Try metrics on made-up predictions of every class, so that they do not fail after an epoch of training."""

    import torch

    if target != "category" or not classes:
        return
    for metric in metrics if isinstance(metrics, (list, tuple)) else [metrics]:
        if not callable(metric):
            raise FastmagicError(f"metrics: a {type(metric).__name__} is no metric.", "For instance --metrics accuracy")
        try:
            # scikit-learn's metrics, wrapped by fastai, take classes; the others take scores.
            wrapped = getattr(metric, "dim_argmax", None) is not None
            metric(torch.arange(classes) if wrapped else torch.eye(classes), torch.arange(classes))
        except ValueError as error:
            if "average" in str(error):
                raise FastmagicError(
                    f"metrics: one of them needs to know how to average {classes} classes.",
                    "For instance F1Score(average='macro').",
                ) from error
        except Exception:
            continue  # it may want more than made-up numbers; the training will tell


def _vocabulary() -> dict[str, Any]:
    import fastai.vision.all as vision

    return vars(vision)


# ---------------------------------------------------------------- what the data are


def first_item(dls: Any) -> tuple[Any, ...]:
    """Return the first training item as the model's loader makes it, without moving any random state.

    Raises:
        FastmagicError: there are no items, or the first cannot be loaded.
    """
    from fastai.torch_core import no_random

    if len(dls.train.dataset) == 0:
        raise FastmagicError("The training set is empty.", "%check dls tells why.")
    try:
        with no_random():
            item = dls.train.do_item(0)
    except Exception as error:
        from ..data.items import item_list

        raise FastmagicError(
            f"The first training item cannot be loaded: {item_list(dls.train.dataset)[0]}\n{type(error).__name__}: {error}",
            "%check dls --fix sets files aside that cannot be read.",
        ) from error
    return item if isinstance(item, tuple) else (item,)


def _target_kind(dls: Any, item: tuple[Any, ...]) -> str:
    """Return 'category', 'categories' or 'numbers'.

    Raises:
        FastmagicError: the items are no pictures, or their targets are none that a classifier or regressor has.
    """
    kinds = [cls.__name__ for cls in type(item[0]).__mro__]
    if "TensorImageBase" not in kinds:
        raise FastmagicError(
            f"%train trains on pictures; the first item of these data is a {type(item[0]).__name__}.",
            "For other data use fastai's own learners: tabular_learner, collab_learner, text_classifier_learner.",
        )
    if len(item) != 2:
        raise FastmagicError(
            f"An item has {len(item)} parts, where a picture and a target are expected.",
            "%datablock … --explain shows them.",
        )
    target = [cls.__name__ for cls in type(item[1]).__mro__]
    if "TensorMultiCategory" in target:  # before TensorCategory, from which fastai derives it
        return "categories"
    if "TensorCategory" in target:
        return "category"
    if "TensorMask" in target or "TensorImageBase" in target or "TensorPoint" in target or "TensorBBox" in target:
        raise FastmagicError(
            f"%train does not train on targets like these yet ({type(item[1]).__name__}).",
            "fastai's unet_learner does, for masks.",
        )
    return "numbers"


def picture_size(dls: Any, item: tuple[Any, ...]) -> int:
    """Return the longer side in pixels of the pictures a model gets."""
    for transform in reversed(list(dls.train.after_batch.fs)):
        size = getattr(transform, "size", None)
        if size is not None and type(transform).__name__ in (
            "AffineCoordTfm",
            "RandomResizedCropGPU",
            "Warp",
            "Zoom",
            "Rotate",
            "Flip",
        ):
            return max(size) if isinstance(size, (tuple, list)) else int(size)
    return max(item[0].shape[-2:])


def _augmented(dls: Any) -> bool:
    from fastai.vision.augment import AffineCoordTfm, CropPad, RandTransform, Resize, SpaceTfm

    batch = any(isinstance(t, (AffineCoordTfm, SpaceTfm, RandTransform)) for t in dls.train.after_batch.fs)
    return batch or any(
        isinstance(t, RandTransform) and not isinstance(t, (Resize, CropPad)) for t in dls.train.after_item.fs
    )


def _plain_loaders(dls: Any) -> bool:
    """Tell whether `new` keeps all there is to the loaders; it forgets the weights of a `WeightedDL`, for one."""
    from fastai.data.core import TfmdDL

    return all(type(dl) is TfmdDL for dl in dls.loaders) and len(dls.loaders) > 1


def fresh_view(dls: Any) -> Any:
    """Return loaders over the same data that can be changed (normalisation, order) without changing `dls`."""
    from fastai.data.core import DataLoaders

    plain = _plain_loaders(dls)
    return DataLoaders(*[dl.new() if plain else _twin(dl) for dl in dls.loaders], path=dls.path, device=dls.device)


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


def _steps(dls: Any, bs: int) -> int:
    n = len(dls.train.dataset)
    return n // bs if dls.train.drop_last else math.ceil(n / bs)


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
        raise FastmagicError(cause, f"{wrong[0].fix} (--no-check trains all the same.)")
    return report.headline()


def _step_notes(total: int, steps: int, scratch: bool, bs: int, n: int) -> list[str]:
    least = FEW_STEPS_SCRATCH if scratch else FEW_STEPS_FINE_TUNE
    if total >= least:
        return []
    smaller = next((b for b in (64, 32, 16, 8, 4) if b < bs and n // b * max(1, total // max(steps, 1)) >= least), None)
    ways = [f"--bs {smaller}"] if smaller else []
    ways.append(f"--epochs {math.ceil(least / max(steps, 1))}")
    start = " from scratch" if scratch else ""
    return [f"⚠ {total} steps ({steps} batches an epoch) are too few to learn much{start}: try {' or '.join(ways)}."]


def _scratch_note(epochs: int, bs: int, data: list[str], size: int | None) -> str:
    what = [f"{epochs} epoch{'s' if epochs > 1 else ''} over all layers", f"batches of {bs}"]
    if any("aug_transforms" in line for line in data):
        what.append(f"augmented to {size} px")
    return f"No pretrained weights: {', '.join(what)} (--code shows it)."


# ---------------------------------------------------------------- out of memory


def _in_model(error: BaseException) -> bool:
    """Tell whether an exception came out of a module's forward pass."""
    frames = traceback.walk_tb(error.__traceback__)
    return any(frame.f_code.co_name == "_call_impl" for frame, _ in frames)


def _out_of_memory(error: BaseException) -> bool:
    if type(error).__name__ in ("OutOfMemoryError", "MemoryError"):
        return True
    return isinstance(error, RuntimeError) and ("out of memory" in str(error) or "can't allocate memory" in str(error))


def _let_go(learn: Any, error: BaseException, names: dict[str, Any]) -> None:
    """Free what a failed batch held: its tensors live on in the traceback's frames and in the learner."""
    import torch

    traceback.clear_frames(error.__traceback__)
    error.__traceback__ = None
    if learn is not None:
        learn._end_cleanup()
        learn.opt = None
        learn.model.zero_grad(set_to_none=True)
        learn.model.cpu()
    names.clear()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
