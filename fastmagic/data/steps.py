"""The steps of an item through a data block, or through the transforms of a loader: what came out, and where it broke."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from ..errors import NotFoundError, did_you_mean
from .fault import told

if TYPE_CHECKING:
    from .plan import Plan


@dataclass
class Step:
    """One step: what was applied, what came out, and what went wrong."""

    name: str
    part: str
    value: Any = None
    error: str = ""
    given: str = ""  # what the transform was given: "size=(192, 192), method='squish'"


class Said(str):
    """What a step gives in words, where the value itself is too long to show."""


def failing_question(plan: Plan) -> str | None:
    """Return the question whose answer an item breaks at, or `None` where the first item passes every step."""
    try:
        _, steps = steps_of(plan, None)
    except Exception:
        return None
    broken = next((step for step in steps if step.error), None)
    if broken is None:
        return None
    if broken.part == "items":
        return "get_items" if broken.name.startswith("get_items") else "splitter"
    if broken.part.startswith(("input", "target")):
        question = "get_x" if broken.part.startswith("input") else "get_y"
        return question if question in plan.answers else "blocks"
    return {"a batch of one": "item_tfms"}.get(broken.part, broken.part)


def steps_of(plan: Plan, wanted: int | str | None) -> tuple[Any, list[Step]]:
    block = plan.block()
    steps: list[Step] = []
    try:
        items = (block.get_items or (lambda source: source))(plan.source.value)
        count = len(items)
    except Exception as error:
        return None, [Step("get_items", "items", error=_say(error, plan))]
    steps.append(Step(_name(plan, "get_items", "the table's rows"), "items", Said(f"{count:,} items")))
    if count == 0:
        steps[-1].error = "nothing was found"
        return None, steps
    item, index = choose(items, wanted)
    try:
        from fastai.data.transforms import RandomSplitter

        splits = (block.splitter or RandomSplitter())(items)
        sizes = " + ".join(f"{len(s):,}" for s in splits)
        names = ["train", "valid", *[f"split {i}" for i in range(2, len(splits))]]
        where = next((names[i] for i, split in enumerate(splits) if index in set(map(int, split))), "no split")
        steps.append(
            Step(_name(plan, "splitter", "RandomSplitter()"), "items", Said(f"{sizes}; this one is in {where}"))
        )
    except Exception as error:
        steps.append(Step(_name(plan, "splitter", ""), "items", error=_say(error, plan)))
        return item, steps
    parts = _parts(block)
    outputs = []
    for i, (part, transforms) in enumerate(zip(parts, block._combine_type_tfms(), strict=False)):
        value, good = _through(transforms, item, part, plan, steps, items, i, block)
        if not good:
            return item, steps
        outputs.append(value)
    value = tuple(outputs)
    for transform in _ordered(block.item_tfms):
        value, good = _apply(transform, value, "item_tfms", plan, steps)
        if not good:
            return item, steps
    batch = _collated(value, plan, steps)
    if batch is None:
        return item, steps
    for transform in _ordered(block.batch_tfms):
        batch, good = _apply(transform, batch, "batch_tfms", plan, steps)
        if not good:
            break
    return item, steps


def loader_steps(loader: Any, item: Any, *, training: bool, seed: int = 42, opened: Any = None) -> list[Step]:
    """Walk an item through the transforms of a fastai loader, as a batch of one.

    Args:
        loader: a `TfmdDL` over `Datasets`, such as `dls.train`. It is left as it is: copies of its transforms run.
        item: one of `loader.dataset.items`.
        training: with what is only for training (augmentation), or as in validation.
        seed: of the random transforms; the random numbers of everything else go on undisturbed.
        opened: a picture to go on with in place of the one that the item opens as.

    Returns:
        Steps whose values are the input alone; a failure is the last one.
    """
    import copy

    from fastai.torch_core import no_random, to_device

    dataset, steps = loader.dataset, []
    split_idx = 0 if training else 1

    def run(part: str, transforms: Any, value: Any) -> Any:
        for own in transforms:
            try:
                transform = copy.deepcopy(own)
            except Exception:  # holds something that has no copy
                transform = copy.copy(own)
            name = _transform_name(transform)
            if name == "noop":
                continue
            try:
                value = transform(value, split_idx=split_idx)
            except Exception as error:
                steps.append(Step(name, part, error=f"{type(error).__name__}: {error}"))
                raise _Broken from error
            if part == "input" and opened is not None and hasattr(value, "getbands"):
                value = type(value).create(opened)
            steps.append(Step(name, part, value[0] if is_item(value) else value, given=_given(transform)))
        return value

    with no_random(seed, reproducible=False):
        try:
            inputs = run("input", dataset.tls[0].tfms.fs, item)
            # Targets that turn with the picture (points, masks) go with it.
            others = [_through_list(tl, item, split_idx) for tl in dataset.tls[1:]]
            sample = run("item_tfms", loader.after_item.fs, (inputs, *others))
            samples = run("before_batch", loader.before_batch.fs, [sample])
            batch = loader.retain(loader.create_batch(samples), samples)
            if loader.device is not None:
                batch = to_device(batch, loader.device)
            steps.append(Step("collate", "a batch of one", batch[0]))
            run("batch_tfms", loader.after_batch.fs, batch)
        except _Broken:
            pass
        except Exception as error:
            steps.append(Step("collate", "a batch of one", error=f"{type(error).__name__}: {error}"))
    return steps


class _Broken(Exception):
    """A step failed, and has been noted."""


def _through_list(transformed: Any, item: Any, split_idx: int) -> Any:
    for transform in transformed.tfms.fs:
        item = transform(item, split_idx=split_idx)
    return item


def _given(transform: Any) -> str:
    """Return a transform's parameters, from the name that fastai gives it: "size=(192, 192), method='squish'"."""
    # fastai merges neighbouring affine transforms into the first and keeps its name (`compose_batch_tfms`).
    merged = [*getattr(transform, "aff_fs", ()), *getattr(transform, "coord_fs", ())]
    names = [getattr(getattr(f, "func", f), "__name__", type(f).__name__) for f in merged][1:]
    also = [f"with {name.strip('_').removesuffix('_mat').removesuffix('Coord').lower()}" for name in names]
    text = " ".join(str(getattr(transform, "name", "")).partition(" -- ")[2].split()).strip("{}")
    text = re.sub(r",\s*(?:device|dtype)=[^,()]+", "", text)  # of tensors that lie on a GPU or are in double precision
    text = re.sub(r"tensor\(([^()]*)\)", lambda m: f"({re.sub(r'[^0-9.,e+-]', '', m[1]).strip(',')})", text)
    text = re.sub(r"np\.\w+\(([^()]*)\)", r"\1", text)
    text = re.sub(r"<[\w.]*\.(\w+): [^>]*>", r"\1", text)
    return ", ".join([*also, *([re.sub(r"'(\w+)': ", r"\1=", text)] if text else [])])[:240]


def choose(items: Any, wanted: int | str | None) -> tuple[Any, int]:
    at = (lambda i: items.iloc[i]) if hasattr(items, "iloc") else (lambda i: items[i])
    count = len(items)
    text = str(wanted if wanted is not None else 0)
    if text.lstrip("-").isdigit():
        index = int(text)
        if not -count <= index < count:
            raise NotFoundError(f"There is no item {index}.", f"There are {count} items: 0 to {count - 1}.")
        return at(index), index % count
    for i in range(count):
        if text in str(at(i)):
            return at(i), i
    names = [getattr(at(i), "name", str(at(i))) for i in range(min(count, 2000))]
    raise NotFoundError(f"No item has {text!r} in its name.", did_you_mean(text, map(str, names)))


def _parts(block: Any) -> list[str]:
    n = len(block.type_tfms)
    if n == 2 and block.n_inp == 1:
        return ["input", "target"]
    return [f"input {i + 1}" if i < block.n_inp else f"target {i + 1 - block.n_inp}" for i in range(n)]


def _through(
    transforms: Any, item: Any, part: str, plan: Plan, steps: list[Step], items: Any, index: int, block: Any
) -> tuple[Any, bool]:
    """Run getters and type transforms over an item; categories are set up over all items first, as fastai does."""
    from fastai.torch_basics import Pipeline

    pipeline = Pipeline(transforms)
    value = item
    done: list[Any] = []
    for transform in pipeline.fs:
        name = _transform_name(transform)
        if name == "noop":
            done.append(transform)
            continue
        if hasattr(transform, "setups") and _needs_setup(transform):
            try:
                transform.setup(_Before(items, list(done)), True)
            except _ItemError as failed:
                said = f"item {item_name(failed.item)}: {_say(failed.error, plan)}"
                steps.append(Step(failed.step, part, error=said))
                return None, False
            except Exception as error:
                steps.append(Step(name, part, error=_say(error, plan)))
                return None, False
        value, good = _apply(transform, value, part, plan, steps)
        if not good:
            return None, False
        done.append(transform)
    if not steps or steps[-1].part != part:
        steps.append(Step("as it is", part, value))
    return value, True


class _ItemError(Exception):
    """An item that broke while the vocab was collected from all of them."""

    def __init__(self, error: Exception, item: Any, step: str):
        self.error, self.item, self.step = error, item, step


class _Before:
    """The items after the transforms so far: what a `Categorize` collects its vocab from."""

    def __init__(self, items: Any, transforms: list[Any]):
        self.source, self.transforms = items, transforms
        self.items = items
        # OneHotEncode asks for the classes that the transform before it found.
        self.vocab = next((t.vocab for t in reversed(transforms) if hasattr(t, "vocab")), None)

    def __len__(self) -> int:
        return len(self.source)

    def __iter__(self) -> Any:
        at = (lambda i: self.source.iloc[i]) if hasattr(self.source, "iloc") else (lambda i: self.source[i])
        for i in range(len(self.source)):
            value = at(i)
            for transform in self.transforms:
                try:
                    value = transform(value)
                except Exception as error:
                    raise _ItemError(error, at(i), _transform_name(transform)) from error
            yield value


def _needs_setup(transform: Any) -> bool:
    from fastai.data.transforms import Categorize, OneHotEncode, RegressionSetup

    return isinstance(transform, (Categorize, OneHotEncode, RegressionSetup))  # those of several labels are of these


def _apply(transform: Any, value: Any, part: str, plan: Plan, steps: list[Step]) -> tuple[Any, bool]:
    name = _transform_name(transform)
    try:
        # split_idx 0: training, with augmentation, as the batches that a model learns from.
        value = transform(value, split_idx=0) if hasattr(transform, "split_idx") else transform(value)
    except Exception as error:
        steps.append(Step(name, part, error=_say(error, plan)))
        return None, False
    steps.append(Step(name, part, value))
    return value, True


def _collated(value: tuple[Any, ...], plan: Plan, steps: list[Step]) -> Any:
    from fastai.data.load import fa_collate
    from fastai.torch_core import default_device, to_device

    try:
        batch = to_device(fa_collate([value]), default_device())
        from fastai.torch_core import retain_types

        batch = retain_types(batch, value)
    except Exception as error:
        steps.append(Step("collate", "a batch of one", error=_say(error, plan)))
        return None
    steps.append(Step("collate", "a batch of one", batch))
    return batch


def _ordered(transforms: Any) -> list[Any]:
    from fastai.torch_basics import Pipeline

    return list(Pipeline(transforms).fs)


def _transform_name(transform: Any) -> str:
    name = getattr(transform, "name", None)
    if type(transform).__name__ not in ("Transform", "function", "type", "ItemTransform") and not callable(name):
        name = type(transform).__name__
    name = str(name or getattr(transform, "__name__", type(transform).__name__))
    name = name.split(" --")[0]
    if name != "PILBase.create":
        return name
    # Inherited: which class opens is known to the method that fastai wrapped.
    methods = getattr(getattr(transform, "encodes", transform), "methods", [])
    owners = [getattr(getattr(method, "implementation", None), "__self__", None) for method in methods]
    return f"{getattr(next(iter(owners), None), '__name__', 'PILImage')}.create"


def _name(plan: Plan, question: str, default: str) -> str:
    answer = plan.answers.get(question)
    return f"{question} = {answer.text}" if answer else default


def _say(error: Exception, plan: Plan) -> str:
    where, cause, *_ = told(error, plan.namespace)
    return f"{where}: {cause}" if where else cause


def is_item(value: Any) -> bool:
    return isinstance(value, tuple) and bool(value)


def item_name(item: Any) -> str:
    if isinstance(item, PurePath):
        return f"{item.parent.name}/{item.name}"
    if hasattr(item, "to_dict"):
        return ", ".join(f"{k}={v}" for k, v in item.to_dict().items())[:160]
    return str(item)[:160]
