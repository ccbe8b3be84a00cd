"""One owner of a model at a time: whoever wants it while another thread trains it gets a turn between two batches.

A prediction, a confusion pass or a panel in another thread would otherwise switch the model to evaluation in the middle
of a batch, take its batch away and draw from its random numbers. So there is one lock a model. A training (any
`Learner.fit`, whoever called it) holds it from its start to its end, and gives it to those who wait between two batches.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from fastai.callback.core import Callback
from fastai.learner import Learner

from ..errors import FastmagicError

PATIENCE = 60.0  # seconds that a running batch may still take


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

    def __reduce__(self) -> Any:  # a learner that a callback exports or copies needs nothing of ours
        return Callback, ()


class Owned:
    """The lock of one model: first come, first served, and a thread that has it may take it again.

    Attributes:
        fits: how many fits (or validations) the owner is in.
    """

    def __init__(self) -> None:
        self.fits = 0
        self._owner: int | None = None
        self._depth = 0
        self._queue: deque[object] = deque()
        self._changed = threading.Condition()

    @property
    def waiting(self) -> int:
        """How many threads wait for the model."""
        return len(self._queue)

    def take(self, patience: float | None = None) -> bool:
        """Wait for the model, and tell whether it is this thread's now."""
        me, place = threading.get_ident(), object()
        with self._changed:
            if self._owner == me:
                self._depth += 1
                return True
            self._queue.append(place)
            got = False
            try:
                got = self._changed.wait_for(lambda: self._owner is None and self._queue[0] is place, patience)
            finally:  # an interrupt as well
                self._queue.remove(place)
                if got:
                    self._owner, self._depth = me, 1
                self._changed.notify_all()
            return got

    def give(self) -> None:
        """Give the model back."""
        with self._changed:
            if self._owner != threading.get_ident():  # interrupted while others had their turn
                return
            self._depth -= 1
            if not self._depth:
                self._owner = None
                self._changed.notify_all()

    def rest(self) -> None:
        """Let everybody who waits now have the model, one after another; for its owner, between two batches."""
        with self._changed:
            if not self._queue or self._owner != threading.get_ident():
                return
            depth, fits = self._depth, self.fits
            self._owner, self.fits = None, 0
            self._changed.notify_all()
        try:
            self.take()
            self._depth = depth
        finally:
            self.fits = fits


_locks: weakref.WeakKeyDictionary[Any, Owned] = weakref.WeakKeyDictionary()
_making = threading.Lock()


def owned(model: Any) -> Owned:
    """Return the one lock of a model; what cannot be a key, having no hash, gets one that nobody shares."""
    with _making, contextlib.suppress(TypeError):
        return _locks.setdefault(model, Owned())
    return Owned()


@contextlib.contextmanager
def turn(learn: Any) -> Iterator[None]:
    """Have a learner's model to oneself for the length of the block.

    At once where nobody has it, or this thread (a callback of a training); else when the running batch, or another's
    pass, has ended. A training that begins meanwhile waits.

    Raises:
        FastmagicError: the running batch, or what callbacks do between two, takes more than a minute.

    Example:
        >>> with turn(learn):                              # doctest: +SKIP
        ...     learn.model.eval()
    """
    lock = owned(learn.model)
    while not lock.take(PATIENCE):
        if lock.fits:
            raise FastmagicError(
                f"The model is in training, and its batch has not ended for {PATIENCE:.0f} s.",
                "Ask again later, or stop the training.",
            )
    try:
        yield
    finally:
        lock.give()


class _Rest(Listener):
    order = 2000  # all others have seen the batch

    def __init__(self, lock: Owned):
        self._lock = lock

    def after_batch(self) -> None:
        self._lock.rest()


def _added(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    """Return the callbacks that a call of `Learner.fit` brings: those of `lr_find` put the weights back."""
    cbs: Any = kwargs.get("cbs", args[3] if len(args) > 3 else None)
    return list(cbs) if hasattr(cbs, "__iter__") else [cbs]


def _holding(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def held(self: Any, *args: Any, **kwargs: Any) -> Any:
        lock = owned(self.model)
        lock.take()
        lock.fits += 1
        rest = None if any(isinstance(callback, _Rest) for callback in self.cbs) else _Rest(lock)
        try:
            if rest is not None:
                self.cbs.append(rest)
            if method.__name__ == "fit" and not any(type(cb).__name__ == "LRFinder" for cb in _added(args, kwargs)):
                self._fits = vars(self).get("_fits", 0) + 1  # `program` tells by it that a program is older
            return method(self, *args, **kwargs)
        finally:
            self.cbs = self.cbs.filter(lambda callback: callback is not rest)
            lock.fits -= 1
            lock.give()

    held.fastmagic = True  # type: ignore[attr-defined]
    return held


for _name in ("fit", "_do_epoch_validate"):
    if not hasattr(getattr(Learner, _name), "fastmagic"):
        setattr(Learner, _name, _holding(getattr(Learner, _name)))
