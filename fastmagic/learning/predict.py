"""`fastmagic.predict`: what a model says about a file, an address, an array, a folder, a glob or a table."""

from __future__ import annotations

import glob
import os
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data.download import Policy, fetch, is_url
from ..data.items import item_source
from ..data.mask_files import void
from ..data.opening import (
    ACCEPTED_ARRAYS,
    depth,
    files_of,
    image_class,
    lost_in,
    no_images_in,
    no_such_file,
    open_image,
)
from ..data.reading import read_table
from ..data.texts import SUFFIXES as TEXT_FILES
from ..data.texts import read_texts
from ..data.track_files import recording_of
from ..errors import AnswerError, FastmagicError, NotFoundError, UnreadableError, did_you_mean, few, number
from ..kinds import RATING, TABLE, TEXT, TRACK, kind_of
from ..kinds.table import without_fastais_own_warnings
from ..progress import Progress, reporting
from .forward import (
    Target,
    Transforms,
    predict_opened,
    run_loader,
    run_pass,
    runs_on_transforms,
    target_of,
    undisturbed,
)
from .learner_file import as_learner
from .mask_predictions import MaskPrediction, MaskPredictions
from .masks import draw, draws_masks, mask_target
from .predictions import (
    CLASSES_SHOWN,
    ROWS_SHOWN,
    Prediction,
    Predictions,
    check_width,
    short,
    table_of,
)
from .recommend import MOST as RECOMMENDED
from .recommend import Recommendations, classes_name, code_of, known, names_of, recommendations
from .writing import Continuation, continued

if TYPE_CHECKING:
    from fastai.learner import Learner

LONGEST_NAME = 250  # letters of a file's name; more are a text


def predict(
    item: Any,
    learn: Learner | str | Path,
    *,
    column: str | None = None,
    top: int | None = None,
    allow_url: Policy = "any",
    progress: Progress | bool | None = None,
) -> Prediction | Predictions | MaskPrediction | Recommendations | Continuation:
    """Say what a model makes of an item, or of many.

    The learner's own validation transforms run, no augmentation; the probabilities are those of
    `learn.predict` and `learn.get_preds` to 1e-5. The learner is left as it was: modes, recorder,
    dataloaders, random numbers.

    Args:
        item: one item is a picture file, an http(s) address, bytes, a PIL image, an array or tensor (H×W,
            H×W×3 or C×H×W; integers 0…255 or floats 0…1) or a row of a DataFrame. Many are a folder (with
            the folders in it), a glob pattern, the recording of a pointer (in windows as the model was trained on), a DataFrame, or a list of anything above. For models of tables: a
            DataFrame, a CSV file, a row (a Series, a dict) or a list of rows; of ratings also a row with the user alone (the
            items they would rate highest) or the item alone (what is like it); of text: a text or a list of texts;
            of a language model: how a text begins.
        learn: a fastai `Learner`, or the path of one exported with `learn.export`. Such a file is a pickle:
            opening it runs code from it, so open only files from people you trust. It is read once, and again
            when the file changes.
        column: which column of a DataFrame names the files, for models not built from such a DataFrame; left
            out, it is the first column that holds names of existing files.
        top: how many classes are shown for one item (5), or how many items are recommended (10).
        allow_url: "any" http(s) address; "public" refuses private ones, for apps that strangers use; or a
            function that gets each address and raises to refuse it (see `fastmagic.data.download.fetch`).
        progress: for many: `True` for a bar, or a function called with (items done, items in all).

    Returns:
        A `Prediction` for one item, `Predictions` for many; of a segmentation model a `MaskPrediction` (the class of every
        pixel, of the photo's own size) and `MaskPredictions`; `Recommendations`; of a language model a `Continuation`. What cannot be read among many is listed in `failed` and
        skipped.

    Raises:
        FastmagicError: nothing there, no picture (for one item), or no model; names the closest right thing.

    Example:
        >>> fastmagic.predict("bird.jpg", learn)            # doctest: +SKIP
        bird.jpg: bird (98.2%)
        bird    ███████████████████▋ 98.2%
        forest  ▎                     1.8%
        >>> fastmagic.predict("photos/*.jpg", learn).frame  # doctest: +SKIP
    """
    learn = as_learner(learn)
    target = mask_target(learn) if draws_masks(learn) else target_of(learn)
    if RATING.holds(learn.dls) and (isinstance(item, Mapping) or _is_row(item)):
        recommended = recommendations(learn, dict(item), top or RECOMMENDED)
        if recommended is not None:
            return recommended
    if target.kind == "words":
        return continued(learn, _text_in(item))
    top = top or CLASSES_SHOWN
    if not runs_on_transforms(learn.dls):
        with reporting(progress, "Predicting") as report:
            return _predict_by_loader(item, learn, target, top, column, report)
    transforms = Transforms(learn.dls)
    kind = image_class(transforms.dataset)
    known = kind_of(learn.dls)
    many = _many(item, known.suffixes if known is not None else ())
    if known is TRACK:
        many = TRACK.windows(learn.dls, item, many)
    if many is None:
        return _predict_one(item, learn, target, transforms, kind, column, top, allow_url)
    with reporting(progress, "Predicting") as report:
        if target.kind == "pixels":
            return _predict_masks(many, learn, target, transforms, kind, column, allow_url, report)
        found = _predict_many(many, learn, target, transforms, kind, column, allow_url, report)
    if known is TRACK:
        found.headline = _by_recording(found, target)
    return found


def predict_code(
    source_expr: str,
    learn_expr: str,
    many: bool,
    kind: str = "class",
    names: Sequence[str] = (),
    vocab: str = "dls.vocab",
) -> str:
    """Return the plain fastai program that `predict` stands for.

    Args:
        source_expr: a Python expression for the item, or with `many` for the items (a list, a DataFrame).
        learn_expr: a Python expression for the learner, such as `learn` or `load_learner('model.pkl')`.
        many: whether the source stands for many items.
        kind: "class", "classes" (any number of them), "numbers" or "pixels": what the model answers.
        names: the classes of "pixels", which fastai's loaders do not tell.
        vocab: where the learner has the classes; those of texts stand beside the words.

    >>> print(predict_code("'bird.jpg'", "learn", many=False))
    from fastai.vision.all import *
    <BLANKLINE>
    label, index, probabilities = learn.predict('bird.jpg')
    print(label, dict(zip(learn.dls.vocab, probabilities.tolist())))
    """
    lines = ["from fastai.vision.all import *", ""]
    if "track_windows(" in source_expr:
        lines.insert(1, "from fastmagic import track_windows")
    learn = learn_expr
    if not learn_expr.isidentifier():
        lines.append(f"learn = {learn_expr}")
        learn = "learn"
    dl = f"dl={learn}.dls.test_dl(items)"
    if kind == "pixels":
        return "\n".join([*lines, *_mask_lines(source_expr, learn, many, names)])
    if many:
        lines += [f"items = {source_expr}"]
        if kind == "numbers":
            lines += [f"values, _ = {learn}.get_preds({dl})", "frame = pd.DataFrame(values.numpy())"]
        else:
            label = f"{learn}.{vocab}[i] for i in labels"
            if kind == "classes":
                label = f"[name for name, on in zip({learn}.{vocab}, row) if on] for row in labels"
            lines += [
                f"probabilities, _, labels = {learn}.get_preds({dl}, with_decoded=True)",
                f"frame = pd.DataFrame(probabilities.numpy(), columns=list({learn}.{vocab}))",
                f"frame.insert(0, 'label', [{label}])",
            ]
        lines += ["print(frame)"]
    elif kind == "numbers":
        lines += [f"_, values, _ = {learn}.predict({source_expr})", "print(values.tolist())"]
    else:
        lines += [
            f"label, index, probabilities = {learn}.predict({source_expr})",
            f"print(label, dict(zip({learn}.{vocab}, probabilities.tolist())))",
        ]
    return "\n".join(lines)


def _mask_lines(source_expr: str, learn: str, many: bool, names: Sequence[str]) -> list[str]:
    """Return the lines that draw the mask of a photo, or of many: fastai's are as large as the model saw them."""
    lines = [
        f"_, _, scores = {learn}.predict(photo)",
        *(
            [f"scores[{void(names)}] = 0  # nothing is called {names[void(names) or 0]}"]
            if void(names) is not None
            else []
        ),
        "size = PILImage.create(photo).shape",
        "mask = F.interpolate(scores[None], size=size, mode='bilinear')[0].argmax(0)",
        f"shares = {{name: (mask == i).float().mean().item() for i, name in enumerate({list(names)})}}",
        "print(shares)",
    ]
    if not many:
        return [f"photo = {source_expr}", *lines]
    return [f"for photo in {source_expr}:", *[f"    {line}" for line in lines]]


def code_of_items(words: Sequence[str], values: Sequence[Any], learn: Any, column: str | None) -> tuple[str, bool]:
    """Return how a program writes the items that were given, and whether they are many.

    Args:
        words: as typed; the names of variables among them.
        values: what they stand for; a path, address or pattern is text.
        learn: the learner, or the file of one.
        column: of a DataFrame, as for `predict`.
    """
    known = kind_of(learn.dls) if hasattr(learn, "dls") else None
    tables, suffixes = known is not None and TABLE.holds(learn.dls), known.suffixes if known is not None else ()
    parts: list[str] = []
    many = len(words) > 1
    for word, value in zip(words, values, strict=True):
        text = word.removeprefix("$")
        if not isinstance(value, str) or value != word:  # a variable
            if hasattr(value, "columns"):
                name = None if tables or not hasattr(learn, "dls") else _column_of(value, Transforms(learn.dls), column)
                text = text if name is None else f"list({text}[{name!r}])"
                parts.append(text if len(words) == 1 else f"*{text}")
                many = True
            else:
                many = many or isinstance(value, (list, tuple)) or type(value).__name__ == "L"
                parts.append(f"*{text}" if isinstance(value, (list, tuple)) and len(words) > 1 else text)
            continue
        found: str | None = None
        if known is TEXT:
            place = None
            if len(value) < LONGEST_NAME and _matches(value):
                place = f"sorted(glob.glob({value!r}))"
            elif len(value) < LONGEST_NAME and os.path.isdir(value):
                place = f"get_files({value!r}, extensions={list(TEXT_FILES)!r}).sorted()"
            text = repr(_text_in(value)) if place is None else ""
            if place is not None:
                text = f"[Path(file).read_text(encoding='utf-8', errors='replace') for file in {place}]"
            parts.append(f"*{text}" if place is not None and len(words) > 1 else text)
            many = many or place is not None
            continue
        if is_url(value):
            parts.append(f"requests.get({value!r}).content")
            continue
        if tables:
            found = read_table(Path(value).expanduser()).code
        elif known is TRACK and recording_of(value)[1:] == (0, None):
            place = repr(value) if os.path.isdir(value) else f"[Path({value!r})]"
            if any(c in value for c in "*?["):
                place = f"sorted(map(Path, glob.glob({value!r})))"
            found = f"track_windows({place}, events={TRACK.events(learn.dls)})"
        elif any(c in value for c in "*?["):
            found = f"sorted(glob.glob({value!r}))"
        elif os.path.isdir(value):
            found = f"get_image_files({value!r}).sorted()"
            if suffixes:
                found = f"get_files({value!r}, extensions={list(suffixes)!r}).sorted()"
        if found is None:
            parts.append(repr(value))
        else:
            parts.append(found if len(words) == 1 else f"*{found}")
            many = True
    return (f"[{', '.join(parts)}]" if len(parts) > 1 else parts[0]), many


def _many(item: Any, suffixes: tuple[str, ...] = ()) -> Any:
    """Return the items where `item` stands for many (a list, or a DataFrame as it is), else `None`."""
    import pandas as pd

    if item is None:
        raise AnswerError(
            "There is nothing to predict.", "Give a file, an address, a folder, a picture or a DataFrame."
        )
    if isinstance(item, pd.DataFrame):
        return item
    # A row is named by its index and its keys are column names; a column is the other way round.
    named = isinstance(item, pd.Series) and isinstance(item.name, str)
    if named and not any(isinstance(key, str) for key in item.index):
        return list(item)
    if isinstance(item, (str, Path)) and not is_url(item):
        return files_of(item, suffixes=suffixes)
    if isinstance(item, (list, tuple, set, Generator)) or type(item).__name__ == "L":
        return [one for part in item for one in (_many(part, suffixes) if _holds_many(part, suffixes) else [part])]
    if getattr(item, "ndim", None) == 4:
        return list(item)
    return None


def _holds_many(part: Any, suffixes: tuple[str, ...]) -> bool:
    """Tell whether a member of a list stands for several items itself: a folder or a pattern."""
    return (
        isinstance(part, (str, Path)) and not is_url(part) and bool(files_of(part, missing_ok=True, suffixes=suffixes))
    )


def _predict_one(
    item: Any,
    learn: Any,
    target: Target,
    transforms: Transforms,
    kind: Any,
    column: str | None,
    top: int,
    allow_url: Policy,
) -> Any:
    if is_url(item):
        item, source = fetch(item, allow_url), item
    else:
        source = _named(item)
    if _is_row(item):
        item = _row_opener(item.to_frame().T, transforms, column)(item)
    started = time.perf_counter()
    note = lost_in([depth(item)]) if kind is not None else ""
    opened = _open(item, transforms, kind)
    if target.kind == "pixels":
        return draw(learn, target, transforms, opened, source, top, note)
    activations = predict_opened(learn, transforms, opened)
    seconds = time.perf_counter() - started
    check_width(target, len(activations))
    picture = opened[0] if kind is not None and isinstance(opened[0], kind) else None
    if hasattr(opened[0], "picture"):  # what a block of ours draws
        picture = opened[0].picture()
    found = Prediction(target, activations, picture, source, seconds, top, note)
    found.player = opened[0].player() if hasattr(opened[0], "player") else ""
    return found


def _predict_masks(
    items: Any,
    learn: Any,
    target: Target,
    transforms: Transforms,
    kind: Any,
    column: str | None,
    allow_url: Policy,
    progress: Progress | None,
) -> MaskPredictions:
    """Draw the masks of many photos, one after another: each has a size of its own."""
    started = time.perf_counter()
    rows = [items.iloc[i] for i in range(len(items))] if hasattr(items, "iloc") else list(items)
    indices = list(items.index) if hasattr(items, "iloc") else list(range(len(rows)))
    found, failed = [], []
    for done, (index, item) in enumerate(zip(indices, rows, strict=True), 1):
        try:
            found.append((index, _predict_one(item, learn, target, transforms, kind, column, CLASSES_SHOWN, allow_url)))
        except (FastmagicError, OSError) as error:
            failed.append((_named(item, done - 1), _why(error)))
        if progress is not None:
            progress(done, len(rows))
    if failed and not found:
        raise UnreadableError(
            f"None of the {len(failed)} items could be read. {failed[0][0]}: {failed[0][1]}".splitlines()[0],
            "Names with spaces go in quotes.",
        )
    return MaskPredictions(found, failed, target.classes, time.perf_counter() - started)


def _predict_many(
    items: Any,
    learn: Any,
    target: Target,
    transforms: Transforms,
    kind: Any,
    column: str | None,
    allow_url: Policy,
    progress: Progress | None,
) -> Predictions:
    import pandas as pd

    started = time.perf_counter()
    frame_index = None
    source_of: Callable[[Any], Any] = _itself
    if isinstance(items, pd.DataFrame):
        frame_index = items.index
        if kind is not None:
            source_of = _row_opener(items, transforms, column)
        items = [items.iloc[i] for i in range(len(items))]

    def ready(item: Any) -> Any:
        item = source_of(item)
        if is_url(item):
            item = fetch(item, allow_url)
        if kind is not None:
            depths.append(depth(item))
        return _entry(item, kind)

    depths: list[str] = []
    reasons: dict[int, Exception] = {}
    outputs = run_pass(learn, items, opener=ready, on_error=reasons.__setitem__, progress=progress)
    names = [_named(_source_or_item(source_of, item), position) for position, item in enumerate(items)]
    failed = [(names[position], _why(error)) for position, error in sorted(reasons.items())]
    if failed and not outputs.indices:
        first = f"{failed[0][0]}: {failed[0][1]}".splitlines()[0]
        raise UnreadableError(
            f"None of the {len(failed)} items could be read. {first}", "Names with spaces go in quotes."
        )
    if outputs.indices:
        check_width(target, outputs.activations.shape[1])
    table = table_of(target, [names[i] for i in outputs.indices], outputs.activations)
    if frame_index is not None:
        table.index = frame_index[outputs.indices]
    shown = outputs.indices[:ROWS_SHOWN]
    files = {position: _file_of(source_of(items[i])) for position, i in enumerate(shown)}
    return Predictions(table, failed, target, files, time.perf_counter() - started, lost_in(depths))


def _by_recording(found: Predictions, target: Target) -> str:
    """Say what whole recordings are, of whose windows some predictions are."""
    if target.kind != "class" or not len(found):
        return ""
    shares = found.frame[[f"p({name})" for name in target.classes]].groupby(
        [str(recording_of(item)[0]) for item in found.frame["item"]], sort=False
    )
    said = []
    for (name, means), count in zip(shares.mean().iterrows(), shares.size(), strict=True):
        best = int(means.to_numpy().argmax())
        said.append(
            f"{Path(str(name)).name} as a whole: {target.classes[best]} ({means.iloc[best]:.1%}, the mean of {number(count, 'window')})"
        )
    return "; ".join(said[:ROWS_SHOWN]) + (f"; and {len(said) - ROWS_SHOWN} more" if len(said) > ROWS_SHOWN else "")


def _known_only(learn: Any, rows: Any, one: bool) -> Any:
    """Return rows of users and items as the model has them: numbers as it was given numbers.

    Raises:
        FastmagicError: one row names a user or item that it has learned nothing of.
    """
    names = names_of(learn)
    if lacking := [str(name) for name in names if name not in rows.columns]:
        raise AnswerError(
            f"The table lacks {' and '.join(map(repr, lacking))}.",
            f"Give both for ratings: `pd.DataFrame({{{names[0]!r}: …, {names[1]!r}: …}})`; a row of one of them recommends.",
        )
    if one:
        for name in names:
            place = code_of(learn, name, rows[name].iloc[0])
            rows = rows.assign(**{str(name): [classes_name(learn, name, place)]})
        return rows
    for name in names:
        texts = {str(value): value for value in known(learn, name)}
        rows = rows.assign(**{str(name): [texts.get(str(value), value) for value in rows[name]]})
    return rows


def _row_called(learn: Any, rows: Any, position: int) -> str:
    """Return what a row is called: its number, or who rates what."""
    if not RATING.holds(learn.dls):
        return f"row {rows.index[position]}"
    user, item = names_of(learn)
    row = rows.iloc[position]
    return f"{user} {row[user]}, {row[item]}"


def _predict_by_loader(
    item: Any, learn: Any, target: Target, top: int, column: str | None, progress: Progress | None
) -> Prediction | Predictions:
    """Predict for text and tables, whose loaders batch in ways of their own."""
    import pandas as pd

    if item is None:
        raise AnswerError("There is nothing to predict.", "Give a row, a DataFrame, a text or a list of texts.")
    started = time.perf_counter()
    named, failed = list[str](), list[tuple[str, str]]()
    if TABLE.holds(learn.dls):
        items, one = TABLE.rows(item)
    else:
        items, named, failed, one = _texts(item, learn, column)
    if RATING.holds(learn.dls):
        items = _known_only(learn, items, one)
    with undisturbed(learn), without_fastais_own_warnings():  # a loader draws a random number when it is made
        try:
            loader = learn.dls.test_dl(items, num_workers=0)
        except KeyError as error:
            raise FastmagicError(f"The table lacks what the model was trained on: {error}.") from error
        outputs = run_loader(learn, loader, progress=progress)
    check_width(target, outputs.activations.shape[1])
    seconds = time.perf_counter() - started
    if one:
        source = _row_called(learn, items, 0) if isinstance(items, pd.DataFrame) else named[0]
        return Prediction(target, outputs.activations[0], None, source, seconds, top)
    is_frame = isinstance(items, pd.DataFrame)
    names = [_row_called(learn, items, i) for i in range(len(items))] if is_frame else named
    table = table_of(target, names, outputs.activations)
    if is_frame:
        table.index = items.index
    return Predictions(table, failed, target, {}, seconds)


def _texts(item: Any, learn: Any, column: str | None) -> tuple[list[Any], list[str], list[tuple[str, str]], bool]:
    """Return the texts that were given, their names, those that are none with the reason, and whether it is one."""
    one, values = False, item
    if hasattr(item, "columns") or _is_row(item):
        known = column or TEXT.column(learn.dls)
        names = list(item.columns if hasattr(item, "columns") else item.index)
        if known in names:
            one, values = _is_row(item), item[known]
        elif not _is_row(item) or item.name is None or all(isinstance(name, str) for name in names):
            raise AnswerError(
                f"The model reads column {known!r}; there is {few(names, 8)}."
                if known
                else f"Which column holds the texts? There is {few(names, 8)}.",
                "Name it: `predict(df, learn, column='COLUMN')`, or give that column: `predict(df['COLUMN'], learn)`",
            )
    elif isinstance(item, (str, Path)):
        files = None
        if isinstance(item, Path) or len(item) < LONGEST_NAME:
            files = files_of(item, suffixes=TEXT_FILES) if Path(item).is_dir() or _matches(str(item)) else None
        one, values = files is None, item if files is None else files
    given = [values] if one else list(values)
    texts, said, failed = [], [], list[tuple[str, str]]()
    for i, value in enumerate(given):
        name = short(value) if isinstance(value, (str, Path)) else f"text {i}"
        try:
            text = _text_in(value)
        except FastmagicError as error:
            if one:
                raise
            failed.append((name, error.cause))
            continue
        texts.append(text)
        said.append(name)
    if not texts:
        raise UnreadableError(
            f"None of the {len(given)} texts could be read. {failed[0][1]}" if failed else "There is no text.",
            "Give a text.",
        )
    return texts, said, failed, one


def _matches(text: str) -> bool:
    """Tell whether something is a pattern of text files: a question ends in a mark, too."""
    return glob.has_magic(text) and text.endswith(TEXT_FILES)


def _text_in(text: Any) -> Any:
    """Return what a text file says, or the text itself."""
    named = isinstance(text, str) and len(text) < LONGEST_NAME and text.endswith(TEXT_FILES) and " " not in text.strip()
    if isinstance(text, Path) or named:
        path = Path(text).expanduser()
        if path.is_file():
            return read_texts([path])[0]
        raise no_such_file(path.absolute())
    if not isinstance(text, str):
        raise AnswerError(f"A {type(text).__name__} is no text.", "Give a text, a list of texts, or a .txt file.")
    return text


def _entry(item: Any, kind: Any) -> Any:
    """Return an item as the type transforms take it: pictures opened, rows as they are."""
    if isinstance(item, (str, Path)):
        path = Path(item).expanduser()
        if kind is None:
            return path
        if not path.exists():
            raise no_such_file(path.absolute())
        if path.is_dir():
            raise no_images_in(path)
        return open_image(path, kind)
    if kind is None or _is_row(item):
        return item
    looks = any(hasattr(item, trait) for trait in ("ndim", "convert", "read"))  # an array, a PIL image, a file
    if looks or isinstance(item, (bytes, bytearray)):
        return open_image(item, kind)
    raise AnswerError(f"A {type(item).__name__} is nothing this model can look at.", ACCEPTED_ARRAYS)


def _open(item: Any, transforms: Transforms, kind: Any) -> tuple[Any, ...]:
    entry = _entry(item, kind)
    try:
        return transforms.open(entry)
    except FileNotFoundError as error:
        raise no_such_file(Path(error.filename).absolute()) from error
    except AssertionError as error:
        raise AnswerError(f"A {type(item).__name__} is nothing this model can look at.", str(error)) from error


def _is_row(item: Any) -> bool:
    return type(item).__name__ == "Series" and hasattr(item, "to_frame")


def _row_opener(frame: Any, transforms: Transforms, column: str | None) -> Any:
    """Return the function from a row to what is opened: the model's own getters, else a column."""
    name = _column_of(frame, transforms, column)
    return (lambda row: item_source(transforms.dataset, row)) if name is None else (lambda row: row[name])


def _column_of(frame: Any, transforms: Transforms, column: str | None) -> Any:
    """Return the column that names the items; `None` where the model's own getters read the row.

    Raises:
        FastmagicError: there is none.
    """
    if column is not None:
        if column not in frame:
            fix = did_you_mean(column, map(str, frame.columns)) or f"There are {few(frame.columns)}."
            raise NotFoundError(f"No column '{column}'.", fix)
        return column
    if not len(frame):
        raise FastmagicError("The DataFrame has no rows.")
    first = frame.iloc[0]
    try:
        if item_source(transforms.dataset, first) is not first:
            return None
    except Exception:
        pass  # a getter of the user's own fails in its own way on a frame it was not written for
    for name in frame.columns:
        if isinstance(first[name], (str, Path)) and (is_url(first[name]) or Path(first[name]).expanduser().is_file()):
            return name
    raise NotFoundError(
        f"No column names files that exist; there are {few(frame.columns)}.",
        "Name the one that does: `column='file'`.",
    )


def _itself(item: Any) -> Any:
    return item


def _source_or_item(source_of: Callable[[Any], Any], item: Any) -> Any:
    """Return the file or address behind an item; the item where there is none or its getter fails."""
    try:
        source = source_of(item)
    except Exception:
        return item
    return source if isinstance(source, (str, Path)) else item


def _named(item: Any, position: int | None = None) -> str:
    """Return what an item is called in tables: its path or address, or what and which it is."""
    if isinstance(item, (str, Path)):
        return str(item)
    if _is_row(item):
        return f"row {item.name}"
    if getattr(item, "filename", None):
        return str(item.filename)
    what = {"ndim": "array", "convert": "picture"}
    kind = next((name for trait, name in what.items() if hasattr(item, trait)), type(item).__name__)
    return kind if position is None else f"{kind} {position}"


def _file_of(source: Any) -> Any:
    if isinstance(source, (str, Path)):
        return None if is_url(source) else Path(source).expanduser()
    return source if hasattr(source, "convert") else None


def _why(error: Exception) -> str:
    return error.cause if isinstance(error, FastmagicError) else f"{type(error).__name__}: {error}"
