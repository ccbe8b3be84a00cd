"""A learner from a variable, from a bundle, or from the file `learn.export` wrote, read once."""

from __future__ import annotations

import contextlib
import functools
import warnings
from pathlib import Path
from typing import Any

from ..data.opening import no_such_file
from ..errors import AnswerError, FastmagicError, UnreadableError


def as_learner(learn: Any) -> Any:
    """Return a fastai `Learner`: the one given, or the one in the file given.

    A bundle (`fastmagic.export`) runs nothing. What `learn.export` wrote is a pickle, which runs code when it is opened; open
    only what comes from people you trust.

    Raises:
        FastmagicError: neither, or a file that holds no learner.
    """
    if isinstance(learn, (str, Path)):
        path = Path(learn).expanduser()
        if not path.exists():
            raise no_such_file(path.absolute())
        if path.is_dir():
            raise AnswerError(
                f"'{path}' is a folder.", "Give a file made by `export(learn, 'birds.fastmagic')` or `learn.export()`."
            )
        stat = path.stat()
        return _load(path.resolve(), stat.st_mtime_ns, stat.st_size)
    if learn is None:
        raise FastmagicError("There is no learner.", "Train one first: `train(dls, 'resnet18')`")
    if not (hasattr(learn, "dls") and hasattr(learn, "model") and hasattr(learn, "loss_func")):
        raise AnswerError(
            f"A {type(learn).__name__} is no fastai learner.",
            "Give a `Learner`, or the path of an exported one.",
        )
    return learn


def _missing_module(path: Path) -> ModuleNotFoundError | None:
    """Return what a pickle was lacking, by opening it once more."""
    import torch

    try:
        torch.load(path, map_location="cpu", weights_only=False)
    except ModuleNotFoundError as error:
        return error
    return None


@functools.lru_cache(maxsize=4)
def _load(path: Path, mtime_ns: int, size: int) -> Any:
    from ..bundles.archive import SUFFIX, is_bundle, no_bundle

    if is_bundle(path):
        from ..bundles.learner import load_bundle

        return load_bundle(path)
    if path.suffix == SUFFIX:
        raise no_bundle(path)
    import torch
    from fastai.learner import Learner, load_learner

    try:
        with warnings.catch_warnings():  # fastai warns of pickles at every load; the docstrings here say it
            warnings.simplefilter("ignore")
            learn = load_learner(path, cpu=not torch.cuda.is_available())
    except Exception as error:
        if isinstance(error, UnboundLocalError):  # fastai swallows that a module is missing, and trips over it
            with contextlib.suppress(Exception):
                error = _missing_module(path) or error
        if isinstance(error, ModuleNotFoundError):
            raise FastmagicError(
                f"'{path.name}' needs the module {error.name}, which is not here.",
                f"Put {error.name}.py beside the notebook, or install it, as where the model was trained.",
            ) from error
        if "Custom classes" not in str(error):
            fix = "Weights alone (`learn.save`) do not make a learner; export the whole with `learn.export()`."
            raise UnreadableError(f"'{path.name}' is not an exported learner: {error}".splitlines()[0], fix) from error
        cause = f"'{path.name}' uses something that is not defined here: {str(error).splitlines()[-1].strip()}."
        raise FastmagicError(
            cause, "Define it in the notebook as it was where the model was trained, then try again."
        ) from error
    if not isinstance(learn, Learner):
        raise FastmagicError(
            f"'{path.name}' holds a {type(learn).__name__}, not a learner.",
            "Weights alone (`learn.save`) do not make a learner; export the whole with `learn.export()`.",
        )
    return learn
