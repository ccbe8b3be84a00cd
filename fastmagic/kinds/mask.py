"""Images with masks, a class for every pixel: folders `images` and `labels`, `unet_learner`."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from ..data.folders import Layout, images_with_masks, read_folder
from ..data.items import holds_masks
from ..data.mask_files import NO_LABEL, MaskLayout, Meaning, masks_of, meaning, read_masks, void
from ..data.names import sides
from ..data.source import Source, Worked, random_split
from ..data.targets import Target
from ..errors import AnswerError, RefusedError, few, number
from ..learning.architectures import OURS, Architecture, find
from ..learning.at_hand import DEFAULT, cached_file, default, require_weights
from ..learning.weights import weights_lines
from ..overlay import overlays, picture_of
from ..render import Drawing
from .image import HEAD_LR, HEAD_STEPS, MOST_HEAD_EPOCHS, SAMPLE, Image, added_lines, first_item, image_size, sizes
from .kind import Asked, Learning, other_block, plain_loaders, rebatched, steps

SIDE = 256  # px; the longer side that a photo is made, where it is larger
SMALL_SIDE = 128  # px; that which the backbone in the box sees, and a model from scratch


class Mask(Image):
    """Images, and a class for every pixel of them."""

    name = "images with masks"
    metrics = {"pixels": "foreground_acc"}  # noqa: RUF012

    def recognises(self, source: Source, answered: Mapping[str, Any]) -> bool:
        if "label" in answered or other_block(answered, "MaskBlock", "PILMask", "Transform"):
            return False  # a class for each photo
        return isinstance(source.value, Path) and images_with_masks(source.value) is not None

    def infer(self, source: Source, answered: Mapping[str, Any], seed: int | None, target: str | None) -> Worked | None:
        codes = _codes_answered(answered)
        if codes is None or {"getters", "get_x"} & set(answered):
            return super().infer(source, answered, seed, target)
        wanted = {"blocks", "get_items", "splitter", "get_y", "item_tfms", "batch_tfms"} - set(answered)
        if target is not None:
            raise AnswerError("`target` names a column, and masks are files.", "Leave `target` out.")
        if not {"get_items", "get_y", "blocks"} & wanted:
            answers = {"splitter": random_split(seed)} if "splitter" in wanted else {}
            return Worked(answers, "", source) if answers else None
        layout = read_folder(source.value)
        if "get_y" in answered and "blocks" not in answered and not _gives_masks(answered["get_y"].value, layout):
            return super().infer(source, answered, seed, target)
        found = read_masks(source.value, layout)
        means = meaning(found, codes)
        answers = {
            "blocks": f"ImageBlock, MaskBlock(codes={means.codes!r})",
            "get_items": _get_items(found, layout),
            "splitter": _splitter(found, seed),
            "get_y": f"lambda file: {f'np.array(Image.open({found.get_y}))' if means.indices else found.get_y}",
            "item_tfms": _resize([image for image, _ in found.pairs]),
        }
        if means.divide != 1:
            answers["batch_tfms"] = f"IntToFloatTensor(div_mask={means.divide})"
        answers = {name: text for name, text in answers.items() if name in wanted}
        return Worked(answers, "; ".join(_why(found, means, "get_items" in wanted)), source)

    def holds(self, dls: Any) -> bool:
        dataset = getattr(dls.train, "dataset", None)
        lists = list(getattr(dataset, "tls", None) or [])
        n_inp = getattr(dataset, "n_inp", 1)
        return len(lists) == n_inp + 1 and holds_masks(lists[n_inp])

    def grid(self, dls: Any, n: int) -> Drawing | None:
        from fastai.torch_core import no_random

        n = min(n, len(dls.train.dataset))
        if n < 1 or len(dls.train) == 0:
            return None
        state = dls.train.rng.getstate()
        with no_random():
            batch = dls.train.new(shuffle=False, num_workers=0, drop_last=False, bs=n).one_batch()
        dls.train.rng.setstate(state)
        names = codes_of(dls)
        names = names or [str(i) for i in range(int(batch[1].max()) + 1)]
        masks = [mask.cpu().numpy().reshape(mask.shape[-2:]) for mask in batch[1]]
        drawn = [(picture_of(photo), mask, "") for photo, mask in zip(dls.train.decode(batch)[0], masks, strict=True)]
        return Drawing(
            overlays(drawn, names),
            f"[{number(n, 'photo')} of the training set, with their masks: {few(names, 8)}]",
        )

    def learning(self, dls: Any, asked: Asked) -> Learning:
        item = first_item(dls)
        names, ignored = codes_of(dls), ignored_by(dls)
        scratch = not asked.pretrained and asked.weights is None
        notes: list[str] = []
        if asked.arch is None and not scratch and asked.weights is None:
            arch, why = _default(asked.offline)
            notes += [why] if why else []
        else:
            arch = find(asked.arch if asked.arch is not None else OURS if scratch else DEFAULT)
        if arch.library in ("timm", "torchvision"):
            raise RefusedError(
                f"fastai's unet_learner cannot build on {arch.name}, of {arch.library}.",
                f"Take one that fastai knows how to cut: `train(dls, {OURS!r})`, `train(dls, {DEFAULT!r})`",
            )
        height, width = image_size(dls, item)
        small = min(1.0, SMALL_SIDE / max(height, width)) if scratch or arch.library == "fastmagic" else 1.0
        size = (round(height * small), round(width * small))
        channels, own_weights = int(item[0].shape[0]), not asked.pretrained or asked.weights is not None
        bs = asked.bs or _batch(dls)
        data = [
            *rebatched(dls, asked.bs, bs, plain_loaders(dls)),
            *added_lines(dls, size, augment=True, normalize=channels == 3 and own_weights),
        ]
        count = steps(dls, bs)
        arguments = ["dls", arch.source]
        if own_weights:
            arguments.append("pretrained=False")
        if channels != 3:
            arguments.append(f"n_in={channels}")
        if not names:
            arguments.append(f"n_out={_outputs(dls)}")
        if ignored is not None:
            arguments.append(f"loss_func=CrossEntropyLossFlat(axis=1, ignore_index={ignored})")
        if scratch:
            recipe, frozen, lr = "one_cycle", 0, SCRATCH_LR
            epochs = max(SCRATCH_EPOCHS, min(MOST_EPOCHS, math.ceil(SCRATCH_STEPS / count)))
        elif asked.recipe == "fine_tune":
            recipe, frozen, lr, epochs = "fine_tune", 1, None, EPOCHS
        else:
            recipe, lr, epochs = "head_first", HEAD_LR, EPOCHS
            frozen = max(EPOCHS, min(MOST_HEAD_EPOCHS, math.ceil(HEAD_STEPS / count)))
            if asked.epochs:
                frozen = min(frozen, asked.epochs)
            arguments += ["train_bn=False", "cbs=BnFreeze()"]
        epochs = epochs if asked.epochs is None else asked.epochs
        return Learning(
            name=f"unet on {arch.name}",
            target=Target("pixels", names),
            learner=("unet_learner", arguments),
            metrics="foreground_acc"
            if ignored == 0
            else f"partial(foreground_acc, bkg_idx={-1 if ignored is None else ignored})",
            bs=bs,
            epochs=epochs,
            recipe=recipe,
            freeze_epochs=frozen if asked.freeze_epochs is None else asked.freeze_epochs,
            lr=lr,
            data=data,
            weights=weights_lines(Path(asked.weights).expanduser(), arch) if asked.weights is not None else [],
            names={
                **({arch.name: arch.value} if arch.library == "yours" else {}),
                **({"fastmagic": importlib.import_module("fastmagic")} if arch.library == "fastmagic" else {}),
            },
            before=["import fastmagic"] if arch.library == "fastmagic" else [],
            typed=[arch.source] if arch.library == "yours" else [],
            notes=notes,
            needs=None if own_weights else partial(require_weights, arch, asked.offline),
            again="" if arch.library == "yours" else arch.name,
        )

    def misfit(self, learning: Learning, error: Exception) -> tuple[str, str] | None:
        if "out of bounds" in str(error):
            return (
                f"A mask holds a value beyond the {number(len(learning.target.classes), 'class', 'classes')}: {error}",
                "`check(dls)` finds it.",
            )
        return super().misfit(learning, error)


# ---------------------------------------------------------------- questions


def _codes_answered(answered: Mapping[str, Any]) -> list[str] | None:
    """Return the codes of a `MaskBlock` that was answered, [] where the blocks are left open; `None` for other blocks."""
    if "blocks" not in answered:
        return []
    value = answered["blocks"].value
    for block in value if isinstance(value, (list, tuple)) else [value]:
        try:
            transforms = (block if hasattr(block, "type_tfms") else block()).item_tfms
        except Exception:  # a block of somebody's own that wants arguments; fastai says so
            continue
        for transform in transforms:
            if type(transform).__name__ == "AddMaskCodes":
                return [str(name) for name in (() if transform.codes is None else transform.codes)]
    return None


def _gives_masks(get_y: Any, layout: Layout) -> bool:
    """Tell whether a function gives masks of photos, as files or as pixels, rather than classes."""
    try:
        given = get_y(layout.images[0])
    except Exception:  # said where the data are built
        return False
    return (
        hasattr(given, "shape")
        or hasattr(given, "convert")
        or (isinstance(given, (str, Path)) and Path(given).is_file())
    )


def _get_items(found: MaskLayout, layout: Layout) -> str:
    """Return how a program finds the images, those without a mask left out."""
    where = f"folders={found.images!r}"
    if all(mask is not None for _, mask in found.pairs):
        return f"compose(partial(get_image_files, {where}), sorted)"
    return f"lambda path: get_image_files(path, {where}).filter(lambda file: ({found.get_y}).exists()).sorted()"


def _splitter(found: MaskLayout, seed: int | None) -> str:
    """Return the split: that of folders `train` and `valid` within the images' own, else a random one."""
    folders = {image.parent.name for image, _ in found.pairs} if found.depth else set()
    named = sides(sorted(folders)) if folders else None
    valid = [name for name, side in (named or {}).items() if side == "valid"]
    if len(valid) != 1 or len(set((named or {}).values())) != 2:
        return random_split(seed)
    return f"FuncSplitter(lambda file: file.parent.name == {valid[0]!r})"


def _resize(images: list[Path]) -> str:
    """Return a `Resize` for photos: as they are, or of 256 px on the longer side; its shape is the commonest of theirs."""
    found = list(sizes(sorted(images)[:: max(1, len(images) // SAMPLE)]))
    width, height = (median(size[i] for size in found) for i in (0, 1)) if found else (SIDE, SIDE)
    scale = min(1.0, SIDE / max(width, height))
    rows, columns = (max(32, round(side * scale)) for side in (height, width))
    return f"Resize(({rows}, {columns}), method='squish')"


def _why(found: MaskLayout, means: Meaning, own: bool) -> list[str]:
    """Say what was worked out, and from what."""
    listed = f" ({found.listed.name})" if found.listed is not None else ""
    first, mask = next((image, mask) for image, mask in found.pairs if mask is not None)
    said = [
        f"'{found.masks}' holds a mask for each image in '{found.images}': {first.name} → {mask.name}",
        f"{len(means.codes)} classes{listed}: {few(means.codes, 12)}",
        *means.said,
    ]
    if means.ignored is not None:
        name = means.codes[means.ignored] if means.ignored < len(means.codes) else means.ignored
        said.append(f"{name} counts for nothing, in training and in the accuracy")
    missing = sum(mask is None for _, mask in found.pairs)
    if missing and own:
        said.append(f"{number(missing, 'image')} without a mask left out")
    if found.alone:
        said.append(f"{number(len(found.alone), 'mask')} without an image left out")
    return said


# ---------------------------------------------------------------- what loaders hold


def codes_of(dls: Any) -> list[str]:
    """Return the classes' names by value; empty where the masks have none."""
    for transform in getattr(dls.loaders[-1], "after_item", None) or ():
        if type(transform).__name__ == "AddMaskCodes" and transform.codes is not None:
            return [str(name) for name in transform.codes]
    return []


def ignored_by(dls: Any) -> int | None:
    """Return the value that counts for nothing: the class called Void and the like, or a value beyond all classes."""
    names = codes_of(dls)
    if not names:
        return None
    above = {value for one in _sampled(dls) for value in one if value >= len(names)}
    return NO_LABEL if above == {NO_LABEL} else void(names)


def _sampled(dls: Any) -> Iterable[tuple[int, ...]]:
    """Yield the values in some masks of the training set, as the loss gets them."""
    for one in masks_of(dls.train, SAMPLE).values():
        yield one.values


def _outputs(dls: Any) -> int:
    """Return how many classes masks without names hold."""
    return max((value for one in _sampled(dls) for value in one), default=0) + 1


# ---------------------------------------------------------------- recipes

EPOCHS = 3  # of all layers, with pretrained weights
SCRATCH_EPOCHS, MOST_EPOCHS, SCRATCH_STEPS, SCRATCH_LR = 4, 20, 240, 3e-3
BATCH = 8


def _default(offline: bool) -> tuple[Architecture, str]:
    """Return the architecture to train where none is named, and why: one that `unet_learner` can build on."""
    usual = find(DEFAULT)
    if cached_file(usual):
        return usual, ""
    arch, why = default(offline)
    if arch.library == "timm":  # of a package, which unet_learner cannot cut
        said = why.partition(": training ")[0]
        return find(OURS), f"{said}: training {OURS}, the backbone that comes with fastmagic."
    return arch, why


def _batch(dls: Any) -> int:
    """Return the batch size to train with: that of the loaders, or a smaller one; a unet keeps every layer's pictures."""
    return min(int(dls.train.bs), BATCH) if plain_loaders(dls) else int(dls.train.bs)
