"""One owner of a model at a time: whoever wants it while another thread trains it gets a turn between two batches.

A training owns its model from the start of `fit` to its end, whoever called it. A prediction, a confusion pass or a
panel in another thread would otherwise switch the model to evaluation in the middle of a batch, take its batch away
and draw from its random numbers. So it puts a callback into the learner, and the training waits there, between two
batches, until the other is done.
"""

from __future__ import annotations

import contextlib
import inspect
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

from fastai.callback.core import Callback
from fastai.learner import Learner

from ..errors import FastmagicError

PATIENCE = 60.0  # seconds that the running batch may still take

_FITTING = {inspect.unwrap(function).__code__ for function in (Learner.fit, Learner._do_epoch_validate)}
_mine = threading.local()  # the models whose turn this thread has


class Listener(Callback):
    """A callback that answers the events it has methods for, and costs next to nothing at the others.

    fastai looks a missing one up in the learner and the model, some 10 µs each, a dozen times a batch.
    """

    def __init_subclass__(cls) -> None:
        cls.events = frozenset(name for name in vars(cls) if name.startswith(("before_", "after_")))

    events: frozenset[str] = frozenset()

    def __call__(self, event_name: str) -> None:
        if event_name in self.events and self.run:
            getattr(self, event_name)()


class Turn(Listener):
    """Where a training waits while another thread has its model. Not for fits in the thread that asks."""

    order = 2000  # all others have seen the batch

    def __init__(self) -> None:
        self._asking = threading.get_ident()
        self._waits = threading.Event()
        self._over = threading.Event()

    def come(self, seconds: float) -> bool:
        """Tell whether the training waits, after at most so many seconds."""
        return self._waits.wait(seconds)

    def end(self) -> None:
        """Let the training go on, if it waits."""
        self._over.set()

    def rest(self) -> None:
        """Wait in the thread that trains, until the other is done."""
        if threading.get_ident() != self._asking:
            self._waits.set()
            self._over.wait()

    before_fit = before_epoch = before_train = before_validate = after_batch = after_epoch = rest


def rest(learn: Any) -> None:
    """Between two batches of a training that waits for something else: give those who ask their turn."""
    for callback in list(learn.cbs):
        if isinstance(callback, Turn):
            callback.rest()


@contextlib.contextmanager
def turn(learn: Any) -> Iterator[None]:
    """Have a learner's model to oneself for the length of the block.

    At once when nobody trains it, or who does is this thread (a callback); else when the running batch has ended. A
    training that begins meanwhile waits, unless it does so with another learner of the same model.

    Raises:
        FastmagicError: the running batch, or what callbacks do between two, takes more than a minute.

    Example:
        >>> with turn(learn):                              # doctest: +SKIP
        ...     learn.model.eval()
    """
    held = _mine.__dict__.setdefault("models", [])
    if any(model is learn.model for model in held):
        yield
        return
    asked = Turn()
    asked_in: list[Any] = []
    until = time.monotonic() + PATIENCE
    try:
        while True:
            # Asked first, looked then: who begins to train after this look waits at its `before_fit`.
            _ask(learn, asked, asked_in)
            owner = training(learn.model)
            if owner is None or owner[0] == threading.get_ident():
                break
            _ask(owner[1], asked, asked_in)
            if asked.come(0.02):
                break
            if time.monotonic() > until:
                raise FastmagicError(
                    f"The model is in training, and its batch has not ended for {PATIENCE:.0f} s.",
                    "Ask again later, or stop the training.",
                )
        held.append(learn.model)
        try:
            yield
        finally:
            held.pop()
    finally:
        for each in asked_in:
            each.cbs.remove(asked)
        asked.end()


def training(model: Any) -> tuple[int, Any] | None:
    """Return which thread trains (or validates) this model now, and the learner that it does so with."""
    for thread, top in sys._current_frames().items():
        frame: FrameType | None = top
        while frame is not None:
            if frame.f_code in _FITTING:
                learn = frame.f_locals.get("self")
                if getattr(learn, "model", None) is model:
                    return thread, learn
            frame = frame.f_back
    return None


def _ask(learn: Any, asked: Turn, asked_in: list[Any]) -> None:
    if all(learn is not each for each in asked_in):
        asked_in.append(learn)
        learn.cbs.append(asked)  # in place: the training may be adding its own
