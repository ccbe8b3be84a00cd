"""The pass under `predict` and `results`: the learner's own validation transforms and model, nothing else.

fastai's `get_preds` builds a `DataLoader`, starts its workers and fires every callback; the recorder keeps
a row of it. Here the same transforms run as plain functions, in threads (Pillow decodes without Python's
lock), so that one picture costs what its forward costs, a broken file is one broken item, and the learner
is left as it was.
"""

from __future__ import annotations

import copy
import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from types import MethodType
from typing import Any

from ..data import targets
from ..data.opening import image_class
from ..data.targets import Target
from ..errors import FastmagicError
from ..progress import Progress

# Switching a model to evaluation and back must not interleave between threads of one app.
_one_at_a_time = threading.RLock()
# Callbacks that leave validation outputs alone, or (the last two) whose part is done in `Model` itself.
_NEUTRAL_CALLBACKS = {"TrainEvalCallback", "Recorder", "ProgressCallback", "CastToTensor", "MixedPrecision"}


@dataclass(frozen=True)
class Outputs:
    """What a pass gave, as numpy arrays in the order of the items.

    Attributes:
        indices: which items these are (all, unless some could not be opened).
        activations: probabilities (items × classes) or numbers (items × outputs).
        targets: encoded targets, or `None` for items without.
        losses: loss of each item, or `None`.
        loss: fastai's `valid_loss`: the learner's loss of each batch, by its own mean; `None` without targets.
        features: what goes into the model's last linear layer, float16, items × width; `None` where there is no such
            layer or it takes something else than a row an item.
    """

    indices: list[int]
    activations: Any
    targets: Any
    losses: Any
    features: Any = None
    loss: float | None = None


class Transforms:
    """The validation transforms of a fastai `DataLoaders`, run without a loader and without changing it.

    Random transforms keep what they drew on themselves, so each `Transforms` runs on copies of its own: give
    every thread one (`copy`).
    """

    def __init__(self, dls: Any):
        from fastai.data.core import Datasets

        self.loader = dls.loaders[min(1, len(dls.loaders) - 1)]
        self.dataset = self.loader.dataset
        if not isinstance(self.dataset, Datasets):
            raise FastmagicError(
                f"These dataloaders hold a {type(self.dataset).__name__}, not fastai `Datasets`.",
                "Build them with a DataBlock or an ImageDataLoaders factory.",
            )
        self.n_inp = self.dataset.n_inp
        self._lists = [(tl, _copies(tl.tfms.fs)) for tl in self.dataset.tls]
        self._after_item = _copies(self.loader.after_item.fs)
        self._before_batch = _copies(self.loader.before_batch.fs)
        self._after_batch = _copies(self.loader.after_batch.fs)

    def copy(self) -> Transforms:
        """Return the same transforms on copies of their own, for another thread."""
        other = copy.copy(self)
        other._lists = [(tl, _copies(fs)) for tl, fs in self._lists]
        other._after_item = _copies(self._after_item)
        return other

    def open(self, item: Any, with_target: bool = False) -> tuple[Any, ...]:
        """Return an item as its opened input (and encoded target): type transforms only."""
        lists = self._lists if with_target else self._lists[: self.n_inp]
        # `infer_idx` finds where to enter: a row starts at its getter, an opened picture behind the opening.
        return tuple(_compose(item, fs if with_target else fs[tl.infer_idx(item) :]) for tl, fs in lists)

    def sample(self, opened: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return an opened item after the item transforms."""
        return _compose(opened, self._after_item)

    def batch(self, samples: list[tuple[Any, ...]]) -> tuple[Any, ...]:
        """Return samples collated on the loader's device, after the batch transforms."""
        from fastai.torch_core import to_device

        loader = self.loader
        samples = _compose(samples, self._before_batch)
        batch = loader.retain(loader.create_batch(samples), samples)
        if loader.device is not None:
            batch = to_device(batch, loader.device)
        return _compose(batch, self._after_batch)


def _copies(transforms: Iterable[Any]) -> list[Any]:
    copies = []
    for transform in transforms:
        other = copy.copy(transform)
        for name, value in vars(transform).items():
            # fastai's augmentations carry a `before_call` bound to themselves; a copy's must draw for itself.
            if isinstance(value, MethodType) and value.__self__ is transform:
                setattr(other, name, MethodType(value.__func__, other))
        copies.append(other)
    return copies


def _compose(value: Any, transforms: Iterable[Any]) -> Any:
    for transform in transforms:
        value = transform(value, split_idx=1)
    return value


def runs_on_transforms(dls: Any) -> bool:
    """Tell whether items can go one by one through `Transforms`: any plain `TfmdDL`, not text or tables.

    A loader of images that only chooses them otherwise (weighted, sorted, a part) is plain in this.
    """
    from fastai.data.core import Datasets, TfmdDL

    loader = dls.train
    if not isinstance(loader.dataset, Datasets):
        return False
    makes = ("create_item", "create_batch", "do_item", "do_batch")
    chooses_only = all(getattr(type(loader), name, None) is getattr(TfmdDL, name) for name in makes)
    return type(loader) is TfmdDL or (chooses_only and image_class(loader.dataset) is not None)


def target_of(learn: Any) -> Target:
    """Return what the outputs of a learner mean.

    Raises:
        FastmagicError: masks and other outputs that are neither classes nor numbers.
    """
    target = targets.target_of(learn.dls)
    if target.kind != "classes":
        return target
    return replace(target, threshold=float(getattr(learn.loss_func, "thresh", target.threshold)))


def predict_opened(learn: Any, transforms: Transforms, opened: tuple[Any, ...]) -> Any:
    """Return the activations of one opened item as a numpy array of one dimension."""
    with undisturbed(learn):
        model = Model(learn)
        batch = transforms.batch([transforms.sample(opened)])
        return model.activations(model.outputs(inputs_of(batch, transforms.n_inp)))[0]


def run_pass(
    learn: Any,
    items: Sequence[Any],
    *,
    opener: Callable[[Any], Any] | None = None,
    with_target: bool = False,
    on_error: Callable[[int, Exception], None],
    progress: Progress | None = None,
) -> Outputs:
    """Run items through the learner's validation transforms and model, opening them in threads.

    Args:
        learn: a fastai `Learner` whose dataloaders pass `runs_on_transforms`.
        items: what the dataset's getters take; with `opener`, anything it takes.
        opener: makes an item ready for the type transforms; runs in threads.
        with_target: also run the targets' transforms, and compute the loss of every item.
        on_error: called for an item that could not be prepared, in order; raises to stop, returns to skip it.
        progress: called with (items done, items in all) after each batch.
    """
    transforms = Transforms(learn.dls)
    batches = _batches(transforms, items, opener, with_target, on_error)
    return _gather(learn, batches, transforms.n_inp, len(items), with_target, progress)


def each_batch(
    learn: Any, items: Sequence[Any], *, on_error: Callable[[int, Exception], None], progress: Progress | None = None
) -> Generator[tuple[list[int], Any, Any, Any], None, None]:
    """Yield (indices, raw outputs, targets, losses) of one batch after another, for outputs too large to keep.

    Arguments as in `run_pass`. Tensors are on the model's device; losses are one a item.
    """
    from fastai.torch_core import to_device

    transforms = Transforms(learn.dls)
    done = 0
    with undisturbed(learn):
        model = Model(learn)
        for indices, batch in _batches(transforms, items, None, True, on_error):
            outputs = model.outputs(inputs_of(batch, transforms.n_inp))
            targets = to_device(_plain(batch[transforms.n_inp :]), outputs.device)
            yield indices, outputs, targets[0], _item_losses(learn.loss_func, outputs, targets)
            done += len(indices)
            if progress is not None:
                progress(done, len(items))


def run_loader(learn: Any, loader: Any, *, with_target: bool = False, progress: Progress | None = None) -> Outputs:
    """Run a fastai loader (text, tables) through the model, in the order of its dataset's items."""
    with undisturbed(learn):
        order = list(loader.get_idxs())
        loader = loader.new(get_idxs=lambda: order, shuffle=False, drop_last=False, num_workers=0)

        def batches() -> Iterator[tuple[list[int], Any]]:
            done = 0
            for batch in loader:
                size = len(batch[0])
                yield order[done : done + size], batch
                done += size

        outputs = _gather(learn, batches(), loader.n_inp, len(order), with_target, progress)
    sorting = sorted(range(len(outputs.indices)), key=outputs.indices.__getitem__)
    activations, targets, losses, features = (
        part[sorting] if part is not None else None
        for part in (outputs.activations, outputs.targets, outputs.losses, outputs.features)
    )
    return Outputs(sorted(outputs.indices), activations, targets, losses, features, outputs.loss)


@contextmanager
def undisturbed(learn: Any) -> Iterator[None]:
    """Put the model in evaluation mode without gradients; on leaving, put back modes and random states.

    A training in another thread waits between two batches meanwhile (see `turn`).

    fastai's random transforms draw numbers in validation too: without the latter, a prediction between two
    epochs would change the losses of the second. `no_grad` rather than `inference_mode`, because some
    models keep tensors they computed (attention masks, position tables), and those must serve the next
    training step.
    """
    import torch
    from fastai.torch_core import get_random_states, set_random_states

    from .turn import turn

    with turn(learn), _one_at_a_time, torch.no_grad():
        training = [module for module in learn.model.modules() if module.training]
        states = get_random_states()
        try:
            if training:
                learn.model.eval()
            yield
        finally:
            for module in training:
                module.training = True
            set_random_states(**states)


class Model:
    """A learner's model with what its callbacks and loss add to an output: precision, activation."""

    def __init__(self, learn: Any):
        self.learn = learn
        parameter = next(learn.model.parameters(), None)
        self.device = parameter.device if parameter is not None else getattr(learn.dls, "device", None)
        callbacks = learn.cbs.sorted("order")
        self.precision = next((cb for cb in callbacks if type(cb).__name__ == "MixedPrecision"), None)
        self.callbacks = [cb for cb in callbacks if _changes_outputs(cb)]

    def outputs(self, inputs: tuple[Any, ...]) -> Any:
        """Return the model's raw outputs for one batch, in full precision."""
        from fastai.torch_core import to_device, to_float

        if self.device is not None:
            inputs = to_device(inputs, self.device)
            if self.device.type == "cpu":
                inputs = tuple(_channels_last(tensor) for tensor in inputs)
        with self._autocast():
            if self.callbacks:
                return to_float(self._outputs_with_callbacks(inputs))
            outputs = self.learn.model(*inputs)
        return to_float(outputs) if self.precision else outputs

    def activations(self, outputs: Any) -> Any:
        """Return probabilities (or numbers) as a numpy array, items × outputs."""
        activations = activation_of(self.learn.loss_func)(outputs)
        return activations.float().cpu().reshape(len(activations), -1).numpy()

    def _autocast(self) -> Any:
        # The callback's own autocast exists only during `fit`, and on CPU it does nothing.
        if self.precision is None or self.device is None or self.device.type != "cuda":
            return nullcontext()
        import torch

        half = torch.bfloat16 if "bf16" in str(self.precision.amp_mode).lower() else torch.float16
        return torch.autocast("cuda", dtype=half)

    def _outputs_with_callbacks(self, inputs: tuple[Any, ...]) -> Any:
        """Call the model between the events that may change its input or output: RNNs, a user's own."""
        learn = self.learn
        names = ("xb", "yb", "pred", "training")
        before = {name: learn.__dict__[name] for name in names if name in learn.__dict__}
        learn.xb, learn.yb, learn.training = inputs, (), False
        try:
            for callback in self.callbacks:
                callback("before_batch")
            learn.pred = learn.model(*learn.xb)
            for callback in self.callbacks:
                callback("after_pred")
            return learn.pred
        finally:
            for name in names:
                learn.__dict__.pop(name, None)
            learn.__dict__.update(before)


def _channels_last(tensor: Any) -> Any:
    """Return a batch of pictures with channels innermost: convolutions on CPU run 1.2 to 1.4 × as fast.

    Not a single picture, where the reordering costs what it gains.
    """
    import torch

    if getattr(tensor, "ndim", 0) != 4 or len(tensor) == 1:
        return tensor
    return tensor.contiguous(memory_format=torch.channels_last)


def _changes_outputs(callback: Any) -> bool:
    if type(callback).__name__ in _NEUTRAL_CALLBACKS or not (callback.run and callback.run_valid):
        return False
    # Not `hasattr` on the callback: what it lacks, it looks up on the learner.
    events = ("before_batch", "after_pred")
    return any(hasattr(type(callback), event) or event in vars(callback) for event in events)


def activation_of(loss: Any) -> Callable[[Any], Any]:
    """Return what turns outputs into probabilities; plain PyTorch losses do not bring it, fastai's do."""
    import torch

    if hasattr(loss, "activation"):
        return loss.activation
    name = getattr(loss, "__name__", type(loss).__name__).lower().replace("_", "")
    if name.startswith("crossentropy"):
        return lambda outputs: torch.softmax(outputs, dim=1)
    if name in ("bcewithlogitsloss", "binarycrossentropywithlogits"):
        return torch.sigmoid
    if name == "nllloss":
        return torch.exp
    return lambda outputs: outputs


def _on(device: Any, loss: Any) -> Any:
    """Return a copy of a loss whose class weights are on a device."""
    loss = copy.copy(loss)
    if hasattr(loss, "func"):  # fastai's flattened losses keep the reduction on the PyTorch loss inside
        loss.func = copy.copy(loss.func)
    if hasattr(loss, "to"):
        loss.to(device)
    return loss


def _item_losses(loss: Any, outputs: Any, targets: tuple[Any, ...]) -> Any:
    """Return the loss of every item, by the learner's own loss with its class weights and label smoothing."""
    import torch

    loss = _on(outputs.device, loss)
    try:
        if hasattr(loss, "reduction"):
            loss.reduction = "none"
            values = loss(outputs, *targets)
        else:
            values = loss(outputs, *targets, reduction="none")
    except TypeError:
        values = None
    if values is None or values.numel() % len(outputs) or values.numel() < len(outputs):
        # A loss of one's own that only knows the mean: items one by one, then.
        each = range(len(outputs))
        values = torch.stack([loss(outputs[i : i + 1], *(t[i : i + 1] for t in targets)).mean() for i in each])
    return values.reshape(len(outputs), -1).mean(1)


def _gather(
    learn: Any,
    batches: Iterable[tuple[list[int], Any]],
    n_inp: int,
    total: int,
    with_target: bool,
    progress: Progress | None,
) -> Outputs:
    import numpy as np
    from fastai.torch_core import to_device

    indices: list[int] = []
    activations: list[Any] = []
    targets: list[Any] = []
    losses: list[Any] = []
    loss = 0.0
    with undisturbed(learn), _Features(learn.model) as features:
        model = Model(learn)
        for batch_indices, batch in batches:
            outputs = model.outputs(inputs_of(batch, n_inp))
            features.keep(len(batch_indices))
            activations.append(model.activations(outputs))
            if with_target:
                batch_targets = to_device(_plain(batch[n_inp:]), outputs.device)
                losses.append(_item_losses(learn.loss_func, outputs, batch_targets).float().cpu().numpy())
                loss += float(_on(outputs.device, learn.loss_func)(outputs, *batch_targets).mean()) * len(batch_indices)
                targets.append(batch_targets[0].cpu().numpy())
            indices += batch_indices
            if progress is not None:
                progress(len(indices), total)
    if progress is not None and len(indices) < total:
        progress(total, total)
    if not indices:
        return Outputs([], np.zeros((0, 0)), None, None)
    return Outputs(
        indices,
        np.concatenate(activations),
        np.concatenate(targets) if targets else None,
        np.concatenate(losses) if losses else None,
        features.kept(),
        loss / len(indices) if losses else None,
    )


class _Features:
    """What goes into a model's last linear layer, kept batch by batch while in the `with` block."""

    def __init__(self, model: Any):
        from torch import nn

        modules = list(model.modules())
        # A hook would have a compiled model compiled again.
        compiled = any(hasattr(m, "_orig_mod") or getattr(m, "_compiled_call_impl", None) for m in modules)
        self._layer = None if compiled else next((m for m in reversed(modules) if isinstance(m, nn.Linear)), None)
        self._seen: list[Any] = []
        self._rows: list[Any] | None = None if self._layer is None else []

    def __enter__(self) -> _Features:
        if self._layer is not None:
            self._hook = self._layer.register_forward_pre_hook(lambda layer, inputs: self._seen.extend(inputs[:1]))
        return self

    def __exit__(self, *error: Any) -> None:
        if self._layer is not None:
            self._hook.remove()

    def keep(self, size: int) -> None:
        """Keep what the last batch brought, if it is a row an item; else nothing, from now on."""
        seen, self._seen = self._seen, []
        if self._rows is None:
            return
        if len(seen) != 1 or seen[0].ndim != 2 or len(seen[0]) != size:
            self._rows = None
            return
        most = 65504  # the largest number in half precision
        self._rows.append(seen[0].detach().clamp(-most, most).half().cpu().numpy())

    def kept(self) -> Any:
        import numpy as np

        return np.concatenate(self._rows) if self._rows else None


def inputs_of(batch: Any, n_inp: int) -> tuple[Any, ...]:
    return _plain(batch[:n_inp] if isinstance(batch, (tuple, list)) else (batch,))


def _plain(tensors: Iterable[Any]) -> tuple[Any, ...]:
    """Return tensors without their fastai classes, as `CastToTensor` does: those slow every operation."""
    import torch

    return tuple(t.as_subclass(torch.Tensor) if isinstance(t, torch.Tensor) else t for t in tensors)


def _samples(
    transforms: Transforms,
    items: Sequence[Any],
    opener: Callable[[Any], Any] | None,
    with_target: bool,
    ahead: int,
) -> Iterator[tuple[int, Any, Exception | None]]:
    """Yield (index, sample, error) in order, prepared in threads at most `ahead` items ahead of the model."""
    local = threading.local()

    def prepare(index: int) -> tuple[int, Any, Exception | None]:
        if not hasattr(local, "transforms"):
            local.transforms = transforms.copy()
        try:
            item = items[index] if opener is None else opener(items[index])
            return index, local.transforms.sample(local.transforms.open(item, with_target)), None
        except Exception as error:
            return index, None, error

    if not len(items):
        return
    # The first one here: transforms settle their type dispatch on first use, which is not made for threads.
    yield prepare(0)
    pending: deque[Future[tuple[int, Any, Exception | None]]] = deque()
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 16), "fastmagic-open") as pool:
        try:
            for index in range(1, len(items)):
                pending.append(pool.submit(prepare, index))
                if len(pending) > ahead:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:  # an error or Ctrl-C in the model: do not open the rest first
            for future in pending:
                future.cancel()


def _batches(
    transforms: Transforms,
    items: Sequence[Any],
    opener: Callable[[Any], Any] | None,
    with_target: bool,
    on_error: Callable[[int, Exception], None],
) -> Iterator[tuple[list[int], Any]]:
    """Yield (indices, batch) in the order of the items, prepared two batches ahead of the model."""
    size = transforms.loader.bs or 64
    indices: list[int] = []
    samples: list[Any] = []
    for index, sample, error in _samples(transforms, items, opener, with_target, ahead=2 * size):
        if error is not None:
            on_error(index, error)
        else:
            indices.append(index)
            samples.append(sample)
        if samples and (len(samples) == size or index == len(items) - 1):
            yield from _collated(transforms, indices, samples)
            indices, samples = [], []


def _collated(transforms: Transforms, indices: list[int], samples: list[Any]) -> Iterator[tuple[list[int], Any]]:
    """Yield the samples as one batch, or one by one where they are of different sizes."""
    try:
        yield indices, transforms.batch(samples)
    except (RuntimeError, TypeError, ValueError):
        if len({tuple(getattr(part, "shape", ())) for sample in samples for part in sample[:1]}) == 1:
            raise
        for index, sample in zip(indices, samples, strict=True):
            yield [index], transforms.batch([sample])
