"""`%train`: a fastai `Learner` for the data at hand, trained by the schedule that fits its weights.

A training is planned as lines of plain fastai and then runs those very lines, so that `--code` cannot differ from what
happened. Around them stand what a notebook needs: checks before, a graceful stop, a way out of "out of memory".
"""

from __future__ import annotations

import contextlib
import gc
import math
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import program
from ..errors import FastmagicError, did_you_mean
from .architectures import Architecture, find, require_weights

# Training from scratch: measured on photos of birds and forests, where fine-tuning's large batches stay at chance.
SCRATCH_BS, SCRATCH_SIZE, SCRATCH_LR, SCRATCH_EPOCHS, SCRATCH_STEPS = 16, 96, 1e-2, 4, 140
FINE_TUNE_EPOCHS = 3
# Below these, a training has hardly begun; said before it starts.
FEW_STEPS_SCRATCH, FEW_STEPS_FINE_TUNE = 100, 8


def train(
    dls: Any,
    arch: str | Callable[..., Any] = "resnet18",
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
) -> Any:
    """Train a classifier and return its `Learner`.

    Pretrained weights are fine-tuned (`Learner.fine_tune`: a frozen epoch, then all layers). Without them all layers
    train in one cycle, and a view of the data is made that can learn in few epochs: batches of at most 16, pictures of
    at most 96 px, augmentation, normalisation. Your `dls` is never changed.

    Args:
        dls: fastai `DataLoaders` of pictures with a category, several categories or numbers as target.
        arch: a name from fastai, timm or torchvision, or a function that makes a model.
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

    Returns:
        The `Learner`. After an interrupt (Ctrl-C, the kernel's stop button) it holds what was learned so far.

    Raises:
        FastmagicError: unknown architecture, weights that cannot be had, data that cannot be learned from, or memory
            that did not suffice, with what to do.

    Example:
        >>> learn = train(dls, "resnet18", epochs=3)  # doctest: +SKIP
    """
    return plan(
        dls, arch, epochs=epochs, lr=lr, bs=bs, metrics=metrics, freeze_epochs=freeze_epochs, pretrained=pretrained,
        weights=weights, seed=seed, save=save, early_stop=early_stop, mixed=mixed, cbs=cbs, checks=checks, offline=offline,
    ).run()  # fmt: skip


@dataclass
class Training:
    """A planned training: the lines that make the learner, those that train it, and what to say before."""

    dls: Any
    arch: Architecture
    data: list[str]
    learner: list[str]
    fit: list[str]
    namespace: dict[str, Any]
    bs: int
    notes: list[str]
    downloads: bool
    offline: bool

    def code(self, dls_name: str = "dls", learn_name: str = "learn") -> str:
        """Return the plain fastai program, from the data to the trained learner."""
        made = program.known(self.dls)
        if made:
            head = program.rename(made, "dls", dls_name)
        else:
            head = f"{program.IMPORT}\n\n# {dls_name}: your own DataLoaders"
        lines = [*self.data, *self.learner, *self.fit]
        text = program.rename(program.rename("\n".join(lines), "learn", learn_name), "dls", dls_name)
        own = {k: v for k, v in self.namespace.items() if k not in ("dls", "learn")}
        before = program.definitions(lines, own, _vocabulary())
        if self.arch.library == "torchvision":
            before.insert(0, "import torchvision")
        return "\n".join([head, "", *before, text])

    def run(self, watch: Sequence[Any] = (), say: Callable[[str], None] = print, quiet: bool = False) -> Any:
        """Train, and return the learner.

        Args:
            watch: callbacks that show progress; they do not appear in the program.
            say: takes one line at a time for the reader.
            quiet: leave out fastai's own progress bar and table.
        """
        if self.downloads:
            require_weights(self.arch, self.offline)
        for note in self.notes:
            say(note)
        view = fresh_view(self.dls)
        names = {**_vocabulary(), **self.namespace, "dls": view}
        stop = Stop()
        learn = None
        try:
            exec("\n".join([*self.data, *self.learner]), names)
            learn = names["learn"]
            learn.add_cbs([*stop.callbacks(), *watch])
            silent = [learn.no_bar(), learn.no_logging()] if quiet else []
            with contextlib.ExitStack() as stack:
                for context in silent:
                    stack.enter_context(context)
                with stop.listening(), contextlib.suppress(Stopped):
                    exec("\n".join(self.fit), names)
        except Exception as error:
            if not _out_of_memory(error):
                raise
            _let_go(learn, error, names)
            raise FastmagicError(*self._memory_advice()) from None
        finally:
            if learn is not None:
                learn.remove_cbs([*stop.callbacks(), *watch])
        if stop.asked:
            say(stop.message())
        if isinstance(names.get("lr"), float):
            say(f"Learning rate {names['lr']:.1e}, the valley of lr_find.")
        # Without the frame's names, so that the learner alone keeps the data alive.
        program.remember(learn, self.code())
        return learn

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
) -> Training:
    """Plan a training without starting it. Arguments as for `train`; `metrics` and `cbs` may also be source text.

    Args:
        namespace: the user's variables, for names in `metrics` and `cbs`.
    """
    found = find(arch if arch is not None else "resnet18")
    item = first_item(dls)
    target = _target_kind(dls, item)
    notes = [_checked(dls)] if checks else []
    names: dict[str, Any] = dict(namespace or {})
    if found.library == "yours":
        names[found.name] = found.value
    if found.library == "torchvision":
        import torchvision

        names["torchvision"] = torchvision
    scratch = not pretrained and weights is None
    size = picture_size(dls, item)
    data, batch = _data_lines(dls, bs, scratch, size, normalize=not pretrained or weights is not None)
    steps = _steps(dls, batch)
    if epochs is None:
        epochs = max(SCRATCH_EPOCHS, min(20, math.ceil(SCRATCH_STEPS / max(steps, 1)))) if scratch else FINE_TUNE_EPOCHS
    if epochs < 1:
        raise FastmagicError(f"{epochs} epochs train nothing.", "Give at least one: --epochs 3.")
    metric_text = _source("metrics", metrics, names) if metrics is not None else _DEFAULT_METRICS[target]
    _evaluated(metric_text, names, "metrics")
    arguments = ["dls", found.source]
    if not pretrained or weights is not None:
        arguments.append("pretrained=False")
    learner = [] if seed is None else [f"set_seed({seed}, reproducible=True)", f"dls.rng.seed({seed})"]
    learner.append(f"learn = vision_learner({', '.join([*arguments, f'metrics={metric_text}'])})")
    if weights is not None:
        learner += _weights_lines(Path(weights).expanduser(), found)
    if mixed:
        import torch

        if torch.cuda.is_available():
            learner.append("learn.to_fp16()")
        else:
            notes.append("No GPU here, so --mixed is left out: it would change nothing.")
    callbacks = []
    if cbs is not None:
        text = _source("cbs", cbs, names)
        several = isinstance(_evaluated(text, names, "cbs"), (list, tuple))
        callbacks.append(f"*{text}" if several else text)
    if save:
        callbacks.append(f"SaveModelCallback(fname={save!r})")
    if early_stop:
        callbacks.append(f"EarlyStoppingCallback(patience={early_stop})")
    fit = []
    rate = "lr" if lr == "auto" else f"{lr:g}" if lr is not None else ""
    if lr == "auto":
        fit.append("lr = learn.lr_find(show_plot=False).valley")
    extra = f", cbs=[{', '.join(callbacks)}]" if callbacks else ""
    if scratch:
        fit.append(f"learn.fit_one_cycle({epochs}, {rate or f'{SCRATCH_LR:g}'}{extra})")
    else:
        frozen = f", freeze_epochs={freeze_epochs}" if freeze_epochs != 1 else ""
        fit.append(f"learn.fine_tune({epochs}{f', {rate}' if rate else ''}{frozen}{extra})")
    total = steps * (epochs + (0 if scratch else freeze_epochs))
    if scratch:
        notes.append(_scratch_note(epochs, batch, data, size))
    notes += _step_notes(total, steps, scratch, batch, len(dls.train.dataset))
    downloads = pretrained and weights is None
    return Training(dls, found, data, learner, fit, names, batch, notes, downloads, offline)


# ---------------------------------------------------------------- the lines


_DEFAULT_METRICS = {"category": "error_rate", "categories": "accuracy_multi", "numbers": "mae"}


def _data_lines(dls: Any, bs: int | None, scratch: bool, size: int, normalize: bool) -> tuple[list[str], int]:
    """Return the lines that make the view of the data that a training needs, and its batch size."""
    batch = bs or (min(dls.train.bs, SCRATCH_BS) if scratch else dls.train.bs)
    lines = []
    if batch != dls.train.bs:
        if not _plain_loaders(dls):
            raise FastmagicError(
                f"These loaders ({type(dls.train).__name__}) cannot be given another batch size.",
                f"Make the DataLoaders with bs={batch}.",
            )
        lines.append(
            f"dls = DataLoaders(dls.train.new(bs={batch}), dls.valid.new(bs={max(batch, dls.valid.bs)}), path=dls.path, device=dls.device)"
        )
    added = []
    if scratch and not _augmented(dls):
        added.append(f"*aug_transforms(size={SCRATCH_SIZE})" if size > SCRATCH_SIZE else "*aug_transforms()")
    if normalize and not any(type(t).__name__ == "Normalize" for t in dls.train.after_batch.fs):
        added.append("Normalize.from_stats(*imagenet_stats)")
    if added:
        lines.append(f"dls.add_tfms([{', '.join(added)}], 'after_batch')")
    return lines, batch


def _weights_lines(file: Path, arch: Architecture) -> list[str]:
    """Return the lines that load a file into the learner: a whole model as fastai saves it, or a bare architecture.

    Raises:
        FastmagicError: no such file, not a file of weights, or weights of another architecture.
    """
    if not file.is_file():
        folder = file.parent
        near = [p.name for p in folder.iterdir()] if folder.is_dir() else []
        raise FastmagicError(f"There is no file {str(file)!r}.", did_you_mean(file.name, near))
    import torch

    safe = file.suffix == ".safetensors"
    if safe:
        load = ["from safetensors.torch import load_file", f"state = load_file({str(file)!r})"]
    else:
        load = [f"state = torch.load({str(file)!r}, map_location='cpu', weights_only=True)"]
    names: dict[str, Any] = {"torch": torch}
    try:
        exec("\n".join(load), names)
    except Exception as error:
        raise FastmagicError(
            f"{file.name} cannot be read as weights: {type(error).__name__}.",
            "It takes what learn.save wrote (.pth), or .safetensors; an exported .pkl goes to %predict.",
        ) from error
    state = names["state"]
    if not isinstance(state, dict):
        raise FastmagicError(
            f"{file.name} holds a {type(state).__name__}, not weights by name.",
            "Save with learn.save('name').",
        )
    if isinstance(state.get("model"), dict):
        state = state["model"]
        load.append("state = state['model']")
    keys = set(state)
    if any(key.startswith(("0.", "1.")) for key in keys):
        return [*load, "learn.model.load_state_dict(state)"]
    if arch.library == "timm":
        bare, target = _bare(arch), "learn.model[0].model"
        lines = [*load, f"{target}.load_state_dict(state, strict=False)"]
    else:
        bare = _bare(arch)
        lines = [
            *load,
            f"bare = {arch.source}()",
            "bare.load_state_dict({k: v for k, v in state.items() if k in bare.state_dict() and v.shape == bare.state_dict()[k].shape}, strict=False)",
            f"learn.model[0].load_state_dict(create_body(bare, cut=model_meta.get({arch.source}, {{}}).get('cut')).state_dict())",
        ]
    # The classifier may be missing or have other classes; the body may not.
    matching = sum(1 for k, v in bare.items() if k in state and state[k].shape == v.shape)
    if matching < 0.9 * len(bare) - 4:
        raise FastmagicError(
            f"{file.name} does not fit {arch.name}: {matching} of {len(bare)} tensors match.",
            "Name the architecture that these weights belong to.",
        )
    return lines


def _bare(arch: Architecture) -> Mapping[str, Any]:
    if arch.library == "timm":
        import timm

        return timm.create_model(arch.name, pretrained=False, num_classes=0).state_dict()
    return arch.value().state_dict()


def _source(name: str, value: Any, names: dict[str, Any]) -> str:
    """Return how a program writes `metrics` or `cbs`; a value that cannot be written gets a name of its own."""
    source = getattr(value, "source", None)
    if isinstance(value, str) or isinstance(source, str):
        return value if isinstance(value, str) else str(source)
    known = getattr(value, "__name__", None)
    if known and _vocabulary().get(known) is value:
        return known
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_source(f'{name}_{i}', part, names) for i, part in enumerate(value))}]"
    names[name] = value
    return name


def _evaluated(text: str, names: Mapping[str, Any], what: str) -> Any:
    try:
        return eval(text, {**_vocabulary(), **names})
    except NameError as error:
        missing = error.name or ""
        hint = did_you_mean(missing, [n for n in {**_vocabulary(), **names} if not n.startswith("_")])
        raise FastmagicError(
            f"{what}: there is no {missing!r}.",
            hint or "fastai's metrics: accuracy, error_rate, F1Score(), …",
        ) from None
    except Exception as error:
        raise FastmagicError(f"{what}: {text} does not work here: {type(error).__name__}: {error}.") from error


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
    if "TensorCategory" in target:
        return "category"
    if "TensorMultiCategory" in target:
        return "categories"
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

    if not _plain_loaders(dls):
        return dls
    return DataLoaders(*[dl.new() for dl in dls.loaders], path=dls.path, device=dls.device)


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
    wrong = [finding for finding in report if finding.severity == "error"]
    if wrong:
        cause = "\n".join(finding.message for finding in wrong[:2])
        raise FastmagicError(cause, f"{wrong[0].fix} (--no-check trains all the same.)")
    return str(report)


def _step_notes(total: int, steps: int, scratch: bool, bs: int, n: int) -> list[str]:
    least = FEW_STEPS_SCRATCH if scratch else FEW_STEPS_FINE_TUNE
    if total >= least:
        return []
    smaller = next((b for b in (64, 32, 16, 8, 4) if b < bs and n // b * max(1, total // max(steps, 1)) >= least), None)
    ways = [f"--bs {smaller}"] if smaller else []
    ways.append(f"--epochs {math.ceil(least / max(steps, 1))}")
    start = " from scratch" if scratch else ""
    return [f"⚠ {total} steps ({steps} batches an epoch) are too few to learn much{start}: try {' or '.join(ways)}."]


def _scratch_note(epochs: int, bs: int, data: list[str], size: int) -> str:
    what = [f"{epochs} epoch{'s' if epochs > 1 else ''} over all layers", f"batches of {bs}"]
    if any("aug_transforms" in line for line in data):
        what.append(f"augmented to {min(size, SCRATCH_SIZE)} px")
    return f"No pretrained weights: {', '.join(what)} (--code shows it)."


# ---------------------------------------------------------------- stopping


class Stopped(Exception):
    """Ends a schedule of several fits after one of them was stopped; never leaves this module."""


class Stop:
    """Turns the first Ctrl-C into "stop after this batch"; a second one interrupts at once, as ever."""

    def __init__(self) -> None:
        self.asked = False
        self.where = ""
        self._callbacks: list[Any] = []

    def callbacks(self) -> list[Any]:
        """Return the fastai callbacks that watch for the stop."""
        if not self._callbacks:
            from fastai.callback.core import Callback, CancelFitException

            stop = self

            class StopAfterBatch(Callback):
                "Cancel the fit after a batch, when every other callback has seen it"

                order = 1000

                def after_batch(self) -> None:
                    if stop.asked:
                        of = f"batch {self.iter + 1} of {self.n_iter}" if self.training else "validation"
                        stop.where = f"epoch {self.epoch + 1}, {of}"
                        raise CancelFitException

            class StopBeforeFit(Callback):
                "End the schedule before another fit begins and the recorder forgets the last"

                order = -1000

                def before_fit(self) -> None:
                    if stop.asked:
                        raise Stopped("by request")  # fastai rewrites the first argument of what callbacks raise

            self._callbacks = [StopAfterBatch(), StopBeforeFit()]
        return self._callbacks

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Hear Ctrl-C while the block runs. Signals reach only the main thread; elsewhere nothing changes."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.getsignal(signal.SIGINT)

        def hear(number: int, frame: Any) -> None:
            if self.asked:
                signal.signal(signal.SIGINT, before)
                raise KeyboardInterrupt
            self.asked = True

        signal.signal(signal.SIGINT, hear)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def message(self) -> str:
        """Return what to tell the person who stopped it."""
        return f"Stopped in {self.where or 'the first batch'}: learn holds what it learned so far."


# ---------------------------------------------------------------- out of memory


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
