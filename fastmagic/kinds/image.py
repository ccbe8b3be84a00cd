"""Images with one class, several, or numbers as target: folders and tables of files, `vision_learner`."""

from __future__ import annotations

import errno
import importlib
import inspect
import math
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from ..data.folders import Layout, classes_unknown, no_images, read_folder
from ..data.image_files import read_images
from ..data.items import item_list, sources, targets, vocab
from ..data.names import sides
from ..data.opening import image_class
from ..data.reading import found_fix
from ..data.source import Source, Worked, random_split, refuse_untold, source_of_table, split_by
from ..data.tables import Columns, read_columns
from ..data.targets import Target, target_of
from ..errors import (
    AnswerError,
    FastmagicError,
    NotFoundError,
    RefusedError,
    UnreadableError,
    did_you_mean,
    few,
    number,
)
from ..learning.architectures import find, fixed_size
from ..learning.at_hand import DEFAULT, default, require_weights, weights_argument
from ..learning.weights import weights_lines
from ..render import Drawing, figure_png, new_figure, short_path
from .kind import Asked, Kind, Learning, plain_loaders, rebatched, steps
from .table import y_range

if TYPE_CHECKING:
    from ..data.plan import Plan


class Image(Kind):
    """Images, and what becomes one on its way to the model.

    Attributes:
        thing: what messages call an item.
        finds: how a program finds the files.
    """

    name = "images"
    thing = "image"
    finds = "get_image_files"
    metrics = {"class": "error_rate", "classes": "accuracy_multi", "numbers": "mae"}  # noqa: RUF012
    lighter = "smaller pictures: item_tfms=Resize(128)"

    def recognises(self, source: Source, answered: Mapping[str, Any]) -> bool:
        return True

    def infer(self, source: Source, answered: Mapping[str, Any], seed: int | None, target: str | None) -> Worked | None:
        wanted = _open_questions(answered, source)
        if not wanted:
            return None
        if source.is_table:
            columns = read_columns(source.value, source.folder or Path(), target)
            worked = from_table(source, columns, seed, wanted)
        elif isinstance(source.value, Path):
            worked = self._from_folder(source, seed, wanted, target)
        else:
            worked = Worked({"splitter": random_split(seed)}, "", source)
        if worked.source.is_table and not source.is_table:
            # A table of labels beside the images took the folder's place: it names the files itself.
            wanted = wanted - {"get_items"} | {"get_x"}
        if "item_tfms" in wanted:
            worked.answers["item_tfms"] = _resize(worked.images)
        worked.answers = {name: text for name, text in worked.answers.items() if name in wanted}
        return worked

    def layout(self, folder: Path) -> Layout:
        """Return how the files of a folder are laid out."""
        return read_folder(folder)

    def _from_folder(self, source: Source, seed: int | None, wanted: set[str], target: str | None) -> Worked:
        layout = self.layout(source.value)
        asked = "get_y" in wanted
        # Where the user's own get_items finds the files, only the split can be told from them.
        own = "get_items" not in wanted
        if layout.table is not None and asked and not own:
            file, table, columns = layout.table
            if target is not None:
                columns = read_columns(table.frame, file.parent, target)
            return from_table(source_of_table(file, table), columns, seed, wanted)
        if target is not None:
            raise AnswerError(
                f"A column {target!r} is to be predicted, but no table of labels lies in {source.value}.",
                "Leave `target` out: folders are the classes.",
            )
        if asked and not own:
            self._refuse(source.value, layout)
        answers = {
            "blocks": "ImageBlock, CategoryBlock",
            "get_items": _get_items(source.value, layout, self.finds),
            "splitter": random_split(seed),
            "get_y": "parent_label",
        }
        why = ""
        if layout.kind == "split":
            train, valid = layout.folder_of("train"), layout.folder_of("valid")
            arguments = "" if (train, valid) == ("train", "valid") else f"train_name={train!r}, valid_name={valid!r}"
            answers["splitter"] = f"GrandparentSplitter({arguments})"
            why = f"folders {train!r} and {valid!r} give the split, their sub-folders the classes"
            if others := sum(layout.split_of(image) == "other" for image in layout.images):
                why += f"; {number(others, self.thing)} in other folders left out"
        elif layout.kind == "upper":
            train, valid = layout.folder_of("train"), layout.folder_of("valid")
            answers["splitter"] = f"FuncSplitter(lambda file: file.parent.name == {valid!r})"
            answers["get_y"] = r"RegexLabeller(r'([^/]+)/[^/]+/[^/]+$')"
            why = f"folders {train!r} and {valid!r} give the split, those above them the classes"
        elif layout.kind == "classes":
            names = sorted({image.parent.name for image in layout.images})
            why = f"{len(names)} folders are the classes: {few(names)}"
        if layout.unlabelled and not own:
            place = os.path.relpath(layout.unlabelled[0], source.value).split(os.sep)[0]
            why += f"; {number(len(layout.unlabelled), self.thing)} in {place!r} left out: no class is known"
        if layout.circular and not own:
            why += "; links are not followed, since one leads back"
        return Worked(answers, why, source, layout.images)

    def _refuse(self, folder: Path, layout: Layout) -> None:
        """Raise where the classes cannot be told from the folders."""
        if layout.kind == "none":
            cause, fix, _ = no_images(folder, layout.left_out)
            raise FastmagicError(cause, fix)
        if layout.kind == "masks":
            raise RefusedError(
                f"Beside the images in '{folder}' lie masks of them, which are no classes.",
                "Answer blocks with a MaskBlock, or leave it out: `blocks=(ImageBlock, MaskBlock(codes))`",
            )
        unknown = classes_unknown(folder, layout, self.thing)
        if unknown is not None:
            raise RefusedError(*unknown)

    def data(self, plan: Plan) -> Any:
        _check_columns(plan)
        _check_split_column(plan)
        data = super().data(plan)
        _check_labels(plan, data)
        return data

    def holds(self, dls: Any) -> bool:
        dataset = getattr(dls.train, "dataset", None)
        if image_class(dataset) is not None:
            return True
        if not hasattr(dls.train, "do_item") or not len(dataset or ()):
            return False
        from fastai.vision.core import TensorImageBase

        return isinstance(first_item(dls)[0], TensorImageBase)  # something that becomes an image: a spectrogram

    def grid(self, dls: Any, n: int) -> Drawing | None:
        from fastai.torch_core import no_random

        n = min(n, dls.train.bs, len(dls.train.dataset))
        if n < 1 or len(dls.train) == 0:
            return None
        columns = min(n, 6)
        figure, axes = new_figure(-(-n // columns), columns)
        state = dls.train.rng.getstate()
        with no_random():
            dls.show_batch(max_n=n, ctxs=axes[:n])
        # show_batch moves the loader's own generator on; a training must not depend on who looked first.
        dls.train.rng.setstate(state)
        return Drawing(figure_png(figure), f"[{n} pictures of the training set, with their labels]")

    def learning(self, dls: Any, asked: Asked) -> Learning:
        item = first_item(dls)
        target = _target(dls, item)
        drawn = not shows_photos(dls)  # a spectrogram is not turned, nor made smaller
        notes: list[str] = []
        if drawn and asked.arch is None and asked.pretrained and asked.weights is None:
            asked = replace(asked, pretrained=False)
            notes.append(
                f"What a block draws is no photo: {DEFAULT} learns it from scratch. `arch` takes pretrained weights."
            )
        scratch = not asked.pretrained and asked.weights is None
        if asked.arch is None and not scratch and asked.weights is None:
            arch, why = default(asked.offline, small=_small(dls))
            notes += [why] if why else []
        else:
            arch = find(asked.arch if asked.arch is not None else DEFAULT)
        shown, channels = max(image_size(dls, item)), int(item[0].shape[0])
        wanted = SCRATCH_SIZE if scratch else TINY_SIZE if arch.library == "fastmagic" else None
        size = wanted if wanted is not None and shown > wanted and not fixed_size(arch) else None
        own_weights = not asked.pretrained or asked.weights is not None
        bs = asked.bs or _batch(dls, scratch)
        if scratch and drawn and asked.bs is None and plain_loaders(dls) and len(dls.train.dataset) < FEW_DRAWN:
            bs = min(bs, SMALLEST_DRAWN)
        data = [
            *rebatched(dls, asked.bs, bs, plain_loaders(dls)),
            *([] if drawn else added_lines(dls, size, augment=scratch, normalize=channels == 3 and own_weights)),
        ]
        count = steps(dls, bs)
        arguments = ["dls", arch.source]
        if own_weights:
            arguments.append("pretrained=False")
        elif argument := weights_argument(arch):
            arguments.append(argument)
        if channels != 3:
            arguments.append(f"n_in={channels}")
        # Measured on 600 digits, numbers from 5 to 95: off by 13 in place of 35 with `tiny`, but by 14 in place of 9 from scratch.
        if target.kind == "numbers" and not scratch and (found := _range(dls)) is not None:
            arguments.append(f"y_range={found}")
            notes.append(
                f"Answers stay between {found[0]} and {found[1]}, a little beyond the training items (y_range)."
            )
        if scratch:
            recipe, frozen, lr = "one_cycle", 0, SCRATCH_LR
            usual = max(SCRATCH_EPOCHS, min(40 if drawn else 20, math.ceil(SCRATCH_STEPS / count)))
        elif asked.recipe == "fine_tune":
            recipe, frozen, lr, usual = "fine_tune", 1, None, EPOCHS
        else:
            recipe, lr, usual = "head_first", HEAD_LR, EPOCHS
            frozen = max(HEAD_EPOCHS, min(MOST_HEAD_EPOCHS, math.ceil(HEAD_STEPS / count)))
            if asked.epochs:  # who asks for one epoch does not wait for ten
                frozen = min(frozen, asked.epochs)
            # The statistics of the body's batch norms stay those of its own photos.
            arguments += ["train_bn=False", "cbs=BnFreeze()"]
        epochs = usual if asked.epochs is None else asked.epochs
        if scratch and epochs > 0:
            notes.append(_scratch_note(epochs, bs, data, None if drawn else size or shown))
        library = [arch.library] if arch.library in ("fastmagic", "torchvision") else []
        return Learning(
            name=arch.name,
            target=target,
            learner=("vision_learner", arguments),
            bs=bs,
            epochs=epochs,
            recipe=recipe,
            freeze_epochs=frozen if asked.freeze_epochs is None else asked.freeze_epochs,
            lr=lr,
            data=data,
            weights=weights_lines(Path(asked.weights).expanduser(), arch) if asked.weights is not None else [],
            names={
                **({arch.name: arch.value} if arch.library == "yours" else {}),
                **{name: importlib.import_module(name) for name in library},
            },
            before=[f"import {name}" for name in library],
            typed=[arch.source] if arch.library == "yours" else [],
            notes=notes,
            needs=None if own_weights else partial(require_weights, arch, asked.offline),
            again="" if arch.library == "yours" else arch.name,
        )

    def unloadable(self, dls: Any, error: Exception) -> tuple[str, str] | None:
        text = str(error)
        if "equal size" in text or "not the same size" in text:
            return (
                "The pictures have different sizes and no item transform makes them alike: fastai cannot stack them into a batch.",
                "Add item_tfms=Resize(224).",
            )
        # Pillow's own have no number; a full disk has.
        opening = isinstance(error, OSError) and error.errno in (None, errno.ENOENT)
        if not opening and not re.search(
            r"Caught (OSError|FileNotFoundError|UnidentifiedImageError|SyntaxError|Decompr)", text
        ):
            return None
        from ..data.listing import common_folder

        files = [source for loader in dls.loaders for source in sources(loader.dataset) if isinstance(source, Path)]
        broken = [file for file in read_images(files).values() if file.problem]
        if not broken:
            return None
        first, others = broken[0], len(broken) - 1
        more = f", and {number(others, 'other file')} like it" if others else ""
        place = repr(short_path(root)) if (root := common_folder(files)) else "dls"
        return (
            f"'{short_path(first.path)}' cannot be read: {first.detail}{more}.",
            f"`check({place}, fix=True)` sets such files aside; then build the DataLoaders again.",
        )

    def misfit(self, learning: Learning, error: Exception) -> tuple[str, str] | None:
        if "more than 1 value per channel" in str(error):
            return (
                f"Batches of {learning.bs} are too small for {learning.name}, which normalizes over a batch.",
                f"Take larger ones: `bs={max(8, 2 * learning.bs)}`",
            )
        first = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        wanted = fixed_size(find(learning.names.get(learning.name, learning.name)))
        size = f"item_tfms = Resize({wanted})" if wanted else "item_tfms = Resize(224)"
        return (
            f"{learning.name} does not work with these pictures: {first}",
            f"Give it the size it was made for ({size}), or another architecture: `models('resnet')`",
        )


# ---------------------------------------------------------------- questions


def _open_questions(answered: Mapping[str, Any], source: Source) -> set[str]:
    """Return the questions to work out: those an image classifier needs and nobody answered."""
    from fastai.data.transforms import Categorize
    from fastcore.foundation import L

    if "getters" in answered:
        return {"splitter"} - set(answered)
    if not isinstance(source.value, Path) and not source.is_table:
        if not answered.keys() & {"blocks", "get_items"} and isinstance(source.value, (list, tuple, L)):
            raise RefusedError(
                "The source is a list, of which nothing can be worked out.",
                "Give the folder of the files, or a table: pd.DataFrame({'file': files, 'label': labels})",
            )
        return set()
    wanted = {"blocks", "splitter", "get_y", "item_tfms", "get_x" if source.is_table else "get_items"}
    if "blocks" in answered:
        value = answered["blocks"].value
        blocks = [_transforms(block) for block in (value if isinstance(value, (list, tuple, L)) else [value])]
        if not blocks or not any(_opens_images(transform) for transform in blocks[0]):
            wanted -= {"item_tfms", "get_x", "get_items"}
        if len(blocks) < 2 or not any(type(transform) is Categorize for transform in blocks[1]):
            wanted -= {"get_y"}
    return wanted - set(answered)


def _transforms(block: Any) -> list[Any]:
    """Return the type transforms of a block: of `ImageBlock`, or of what calling it gave."""
    try:
        return list((block if hasattr(block, "type_tfms") else block()).type_tfms)
    except Exception:  # a block of somebody's own that wants arguments; fastai says so
        return []


def _opens_images(transform: Any) -> bool:
    from fastai.vision.core import PILBase, PILMask

    opened = getattr(transform, "__self__", None)
    return isinstance(opened, type) and issubclass(opened, PILBase) and not issubclass(opened, PILMask)


# ---------------------------------------------------------------- folders


def _get_items(folder: Path, layout: Layout, finds: str = "get_image_files") -> str:
    """Return how a program finds the files: in the order of their names, since the disk's differs between machines."""
    if layout.circular and finds == "get_image_files":
        finds = "partial(get_files, extensions=image_extensions, followlinks=False)"
    if layout.folders and layout.kind != "split":
        given = f"folders={layout.folders!r}"
        finds = f"{finds[:-1]}, {given})" if layout.circular else f"partial({finds}, {given})"
    if len(layout.folders) > 20 and not layout.circular:  # the one that stays out is the shorter list
        place = layout.unlabelled[0].relative_to(folder).parts[0]
        return f"lambda path: get_image_files(path).filter(lambda file: {place!r} not in file.relative_to(path).parts).sorted()"
    if layout.kind == "upper" and "test" in layout.sides.values():
        out = [name for name, side in layout.sides.items() if side == "test"]
        return f"lambda path: {finds}(path).filter(lambda file: file.parent.name not in {out!r}).sorted()"
    return f"compose({finds}, sorted)"


# ---------------------------------------------------------------- tables


def from_table(source: Source, columns: Columns, seed: int | None, wanted: set[str]) -> Worked:
    frame = source.value
    if not columns.exist and {"get_x", "get_items"} & wanted:
        raise NotFoundError(
            f"No column of the table names image files that exist (columns: {few(frame.columns, 8)}).",
            found_fix(frame, source.folder or Path(), source.name)
            or "Give the folder in its place, or say where they lie: `get_x=ColReader('file', pref='photos/')`",
        )
    if columns.label is None and "get_y" in wanted:
        raise AnswerError(
            f"Which column holds the label? The table has {few(frame.columns, 8)}.",
            "Name it: `target=COLUMN`, or `get_y=ColReader(COLUMN)`",
        )
    if "get_y" in wanted:
        refuse_untold(source, columns.label)
    # Who asks for one category gets the whole text, whatever stands between its words.
    delimiter = columns.delimiter if "blocks" in wanted else None
    target = "RegressionBlock" if columns.numbers else "MultiCategoryBlock" if delimiter else "CategoryBlock"
    answers = {
        "blocks": f"ImageBlock, {target}",
        "get_x": _reader(columns.file, pref=columns.prefix, suff=columns.suffix),
        "splitter": random_split(seed),
        "get_y": _reader(columns.label, label_delim=delimiter),
    }
    what = "a number" if columns.numbers else f"the classes, separated by {delimiter!r}" if delimiter else "the class"
    why = f"column {columns.file!r} names the files, column {columns.label!r} {what}"
    if columns.split is not None and "splitter" in wanted:
        source, answers["splitter"], left_out = split_by(source, columns)
        why += f", column {columns.split!r} the split{left_out}"
    if columns.heads:  # of a DataFrame; a file is read again without one
        why += (
            f"; the heading {columns.file!r} names a file itself: read the table with header=None, or that row is lost"
        )
    why = "; ".join([why, *source.notes])
    images = columns.files(source.value.sample(min(SAMPLE, len(source.value)), random_state=0)) if columns.exist else []
    return Worked(answers, why, source, [image for image in images if image is not None])


def _reader(column: Any, **arguments: str | None) -> str:
    given = "".join(f", {name}={value!r}" for name, value in arguments.items() if value)
    return f"ColReader({column!r}{given})"


def _check_columns(plan: Plan) -> None:
    """Raise where a `ColReader` reads a column that the table has not."""
    for question in ("get_x", "get_y"):
        answer = plan.answers.get(question)
        if answer is None or not plan.source.is_table:
            continue
        for part in answer.value if isinstance(answer.value, (list, tuple)) else [answer.value]:
            for column in getattr(part, "cols", ()):
                if isinstance(column, str) and column not in plan.source.value.columns:
                    names = list(map(str, plan.source.value.columns))
                    raise AnswerError(
                        f"{answer.at}The table has no column {column!r}.",
                        did_you_mean(column, names) or f"There are {few(names, 8)}.",
                        answer.line,
                    )


def _check_split_column(plan: Plan) -> None:
    """Raise where `ColSplitter(column)` takes for validation what was not meant: it takes all that is not 0 or False."""
    answer = plan.answers.get("splitter")
    if answer is None or not inspect.isfunction(answer.value):
        return
    given = inspect.getclosurevars(answer.value).nonlocals
    if set(given) != {"col", "on"} or given["on"] is not None or not plan.source.is_table:
        return
    frame, column = plan.source.value, given["col"]
    if isinstance(column, int) or column not in frame.columns:
        return
    values = frame[column]
    found = list(dict.fromkeys(values.dropna().tolist()))
    if not values.isna().any() and all(isinstance(v, (bool, int, float)) and v in (0, 1) for v in found):
        return
    side = sides(found) or {}
    on = next((value for value in found if side.get(value) == "valid"), min(found, key=str, default=None))
    blank = "blank cells and " if values.isna().any() else ""
    raise AnswerError(
        f"{answer.at}ColSplitter({column!r}) validates on all that is not 0 or False; here {blank}{few(map(repr, found))}.",
        f"Say which rows validate: `splitter=ColSplitter({column!r}, on={on!r})`",
        answer.line,
    )


def _check_labels(plan: Plan, data: Any) -> None:
    """Raise where several labels an item are expected and something else is given, whose letters or digits fastai takes."""
    from fastai.data.transforms import MultiCategorize

    n_inp = getattr(data, "n_inp", 1)
    lists = getattr(data, "tls", [])
    if len(lists) <= n_inp or not len(data):
        return
    transforms = list(lists[n_inp].tfms.fs)
    position = next((i for i, transform in enumerate(transforms) if isinstance(transform, MultiCategorize)), None)
    if position is None:
        return
    value: Any = item_list(data)[0]
    for transform in transforms[:position]:
        value = transform(value)
    answer = plan.answers.get("get_y")
    where = answer.at if answer is not None else ""
    line = answer.line if answer is not None else None
    columns = list(getattr(answer.value if answer is not None else None, "cols", []))
    if isinstance(value, str):
        fix = "For one label an item: `blocks=(ImageBlock, CategoryBlock)`"
        if columns:
            mark = next((mark for mark in ";|, " if mark in value), " ")
            fix = f"Say what stands between them: `get_y=ColReader({columns[0]!r}, label_delim={mark!r})`"
        raise AnswerError(
            f"{where}MultiCategoryBlock takes a list of labels an item, and get_y gives text ({value!r}): its letters would be the classes.",
            fix, line,
        )  # fmt: skip
    if len(columns) > 1 and all(v in (0, 1) for v in value):
        raise AnswerError(
            f"{where}The columns {few(columns, 4)} hold 0 and 1 for each class, which would be the classes themselves.",
            f"Say so: `blocks=(ImageBlock, MultiCategoryBlock(encoded=True, vocab={columns!r}))`", line,
        )  # fmt: skip


# ---------------------------------------------------------------- sizes

SAMPLE = 40


def _resize(images: list[Path]) -> str:
    """Return a `Resize` for some images: 192 px as in the lesson, less where the images are smaller."""
    images = sorted(images)
    sides = [min(size) for size in sizes(images[:: max(1, len(images) // SAMPLE)])]
    size = 192
    if sides and median(sides) < 192:
        size = max(32, min(192, -(-int(median(sides)) // 32) * 32))
    return f"Resize({size}, method='squish')"


def sizes(images: Iterable[Path]) -> Iterable[tuple[int, int]]:
    from PIL import Image

    for file in images:
        try:
            with Image.open(file) as picture:
                yield picture.size
        except (OSError, Image.DecompressionBombError):
            continue


# ---------------------------------------------------------------- recipes


# Pretrained weights. The new layers learn first, on features that stay as they came, batch-norm statistics included; then
# all layers at small rates. Fine-tuning a few photos otherwise distorts good features (Kumar et al. 2022,
# https://arxiv.org/abs/2202.10054). `python -m benchmarks.bench_recipe` measures it beside a linear probe and `fine_tune`.
EPOCHS = 3  # of all layers
HEAD_LR = 3e-3
HEAD_EPOCHS, MOST_HEAD_EPOCHS, HEAD_STEPS = 3, 10, 120  # a few photos make few steps an epoch
BATCHES = 20  # an epoch has, until batches are down to:
SMALLEST_BATCH = 16
TINY_SIZE, SMALL = 96, 64  # px; the backbone in the box was trained at 48 to 80, on photos of 64
# Training from scratch: measured on photos of birds and forests, where fine-tuning's large batches stay at chance.
SCRATCH_SIZE, SCRATCH_BATCH, SCRATCH_LR = 96, 16, 1e-2
# Small sets get more epochs from scratch, until there are some 240 steps: with 140, one seed of three made twice the
# mistakes.
SCRATCH_EPOCHS, SCRATCH_STEPS = 4, 240


# Of what a block draws there are often few: with batches of 16 and 40 steps the statistics of the batch norms were not there yet.
FEW_DRAWN, SMALLEST_DRAWN = 160, 8


def _small(dls: Any) -> bool:
    """Tell whether the pictures' files are as small as those that the backbone in the box was trained on."""
    files = [source for source in islice(sources(dls.train.dataset), 20 * SAMPLE) if isinstance(source, Path)]
    sides = [min(size) for size in sizes(files[:: max(1, len(files) // SAMPLE)])]
    return bool(sides) and median(sides) <= SMALL


def _batch(dls: Any, scratch: bool) -> int:
    """Return the batch size to train with: that of the loaders, or smaller ones where these make few steps an epoch."""
    bs = int(dls.train.bs)
    if not plain_loaders(dls):
        return bs
    if scratch:
        return min(bs, SCRATCH_BATCH)
    while bs > SMALLEST_BATCH and len(dls.train.dataset) // bs < BATCHES:
        bs = max(SMALLEST_BATCH, bs // 2)
    return bs


def first_item(dls: Any) -> tuple[Any, ...]:
    """Return the first training item as the model's loader makes it, without moving any random state.

    Raises:
        FastmagicError: there are no items, or the first cannot be loaded.
    """
    from fastai.torch_core import no_random

    if len(dls.train.dataset) == 0:
        raise RefusedError("The training set is empty.", "`check(dls)` tells why.")
    try:
        with no_random():
            item = dls.train.do_item(0)
    except Exception as error:
        raise UnreadableError(
            f"The first training item cannot be loaded: {item_list(dls.train.dataset)[0]}\n{type(error).__name__}: {error}",
            "`check(dls, fix=True)` sets files aside that cannot be read.",
        ) from error
    return item if isinstance(item, tuple) else (item,)


def shows_photos(dls: Any) -> bool:
    """Tell whether a model sees photos, rather than pictures that a block of ours draws."""
    lists = getattr(dls.train.dataset, "tls", None)
    return not lists or not any(getattr(type(step), "opens_files", False) for step in lists[0].tfms.fs)


def _target(dls: Any, item: tuple[Any, ...]) -> Target:
    """Return what the targets are.

    Raises:
        FastmagicError: the items are no images, or their targets are none that a classifier or regressor has.
    """
    from fastai.torch_core import TensorCategory, TensorMultiCategory
    from fastai.vision.core import TensorBBox, TensorImageBase, TensorMask, TensorPoint

    if len(item) != 2:
        raise FastmagicError(
            f"An item has {len(item)} parts, where a picture and a target are expected.",
            "`explain(source)` shows them.",
        )
    if isinstance(item[1], (TensorMask, TensorImageBase, TensorPoint, TensorBBox)):
        raise RefusedError(
            f"`train` does not train on targets like these yet ({type(item[1]).__name__}).",
            "fastai's unet_learner does, for masks.",
        )
    target = target_of(dls)
    if target.kind == "numbers" and isinstance(item[1], (TensorCategory, TensorMultiCategory)):
        # Categories that a transform of somebody's own made.
        return Target("classes" if isinstance(item[1], TensorMultiCategory) else "class", vocab(dls) or [])
    return target


def _range(dls: Any) -> tuple[float, float] | None:
    """Return the range that answers of one number an item are bent into, `None` where there are several or none."""
    import pandas as pd

    values = targets(dls.train.dataset)
    if not values or not all(getattr(value, "ndim", 0) == 0 for value in values):
        return None
    numbers = pd.Series([float(value) for value in values])
    return y_range(numbers) if numbers.notna().all() and numbers.nunique() > 1 else None


def added_lines(dls: Any, size: int | tuple[int, int] | None, augment: bool, normalize: bool) -> list[str]:
    """Return the line that adds to the transforms of a batch what a recipe wants and the data have not.

    Args:
        size: side in px that pictures are made, `None` for as they are.
        augment: whether they are augmented; what the user augments is left as it is, its size too.
        normalize: whether nobody else will normalise them.
    """
    from fastai.data.transforms import Normalize

    added = []
    if (augment or size) and not _augmented(dls):
        given = f"size={size}" if size else ""
        added.append(f"*aug_transforms({given})" if augment else f"AffineCoordTfm({given})")
    if normalize and not any(isinstance(t, Normalize) for t in dls.train.after_batch.fs):
        added.append("Normalize.from_stats(*imagenet_stats)")
    return [f"dls.add_tfms([{', '.join(added)}], 'after_batch')"] if added else []


def image_size(dls: Any, item: tuple[Any, ...]) -> tuple[int, int]:
    """Return the (height, width) in pixels of the pictures a model gets."""
    from fastai.vision.augment import AffineCoordTfm, RandomResizedCropGPU

    for transform in reversed(list(dls.train.after_batch.fs)):
        size = getattr(transform, "size", None)
        if size is not None and isinstance(transform, (AffineCoordTfm, RandomResizedCropGPU)):
            return (int(size[0]), int(size[1])) if isinstance(size, (tuple, list)) else (int(size), int(size))
    return tuple(item[0].shape[-2:])  # type: ignore[return-value]


def _augmented(dls: Any) -> bool:
    from fastai.vision.augment import AffineCoordTfm, CropPad, RandTransform, Resize, SpaceTfm

    batch = any(isinstance(t, (AffineCoordTfm, SpaceTfm, RandTransform)) for t in dls.train.after_batch.fs)
    return batch or any(
        isinstance(t, RandTransform) and not isinstance(t, (Resize, CropPad)) for t in dls.train.after_item.fs
    )


def _scratch_note(epochs: int, bs: int, data: list[str], size: int | None) -> str:
    what = [f"{epochs} epoch{'s' if epochs > 1 else ''} over all layers", f"batches of {bs}"]
    if any("aug_transforms" in line for line in data):
        what.append(f"augmented to {size} px")
    return f"No pretrained weights: {', '.join(what)} (`code(learn)` shows it)."
