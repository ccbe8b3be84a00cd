"""Steering a training while it runs: stop, pause, another learning rate, one more epoch; and the first Ctrl-C as a stop.

Whoever steers (a panel's button, a signal, another thread) writes what is wanted into a `Control`; callbacks read it
between two batches, in the thread that trains. Nothing else works on every kernel and front end.
"""

from __future__ import annotations

import contextlib
import ctypes
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from fastai.callback.core import CancelFitException

from .turn import Listener, owned


class Stopped(Exception):
    """Ends a schedule of several fits after one of them was stopped; `Training.run` takes it for what it is."""


class Control:
    """What is wanted of a running training. Every method may be called from any thread, at any time.

    Attributes:
        asked: a stop is wanted, after the running batch.
        factor: what the schedule's learning rates are multiplied by.
        changes: (where, factor) for every change of the learning rate that took effect.
        paused_for: seconds spent in pauses.
        can_extend: whether whoever runs the schedule heeds `one_more`.
        learn: the learner in training, from when it is made. It may be asked at any time: `fastmagic.predict` and the
            rest wait for the end of the running batch, and the training for them.

    Example:
        >>> control = Control()
        >>> fastmagic.train(dls, control=control)        # in one thread  # doctest: +SKIP
        >>> control.scale_lr(0.1)                        # in another     # doctest: +SKIP
        >>> fastmagic.predict("bird.jpg", control.learn)                  # doctest: +SKIP
    """

    def __init__(self) -> None:
        self.asked = False
        self.where = ""
        self.factor = 1.0
        self.changes: list[tuple[str, float]] = []
        self.paused_for = 0.0
        self.can_extend = False
        self.learn: Any = None
        self.more = 0
        self._go = threading.Event()
        self._go.set()
        self._callbacks: list[Any] = []

    def stop(self) -> None:
        """Stop after the running batch."""
        self.asked = True
        self._go.set()

    def pause(self) -> None:
        """Wait after the running batch, until `resume` or `stop`."""
        if not self.asked:
            self._go.clear()

    def resume(self) -> None:
        """Go on after a pause."""
        self._go.set()

    @property
    def paused(self) -> bool:
        return not self._go.is_set()

    def scale_lr(self, factor: float) -> None:
        """Multiply the learning rates of the schedule by `factor` from the next batch on; 1 is the schedule itself."""
        self.factor = float(factor)

    def one_more(self) -> None:
        """Ask for one epoch more at the end of the schedule."""
        self.more += 1

    def take_one(self) -> bool:
        """Tell whether an epoch more is wanted, and count it as taken."""
        if self.asked or self.more <= 0:
            return False
        self.more -= 1
        return True

    def callbacks(self, quiet: bool = False) -> list[Any]:
        """Return the fastai callbacks that heed this control.

        Args:
            quiet: a fit that would follow a stop ends at once as a cancelled one, instead of raising `Stopped`.
        """
        if not self._callbacks:
            self._callbacks = [StopBeforeFit(self, quiet), ScaleRate(self), BetweenBatches(self)]
        return self._callbacks

    def wait(self, rest: Callable[[], None]) -> None:
        """Block while paused, and call `rest` again and again. Who hears the browser in this thread replaces this."""
        while not self._go.wait(0.05):
            rest()

    @contextlib.contextmanager
    def listening(self, worker: threading.Thread | None = None) -> Iterator[None]:
        """Hear Ctrl-C while the block runs: the first stops after the batch, the second interrupts at once, as ever.

        Signals reach only the main thread; elsewhere nothing changes.

        Args:
            worker: the thread that trains, where it is another: the second Ctrl-C is passed on to it.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.getsignal(signal.SIGINT)

        def hear(number: int, frame: Any) -> None:
            if not self.asked:
                self.stop()
                return
            if worker is not None:
                interrupt(worker)
                return
            signal.signal(signal.SIGINT, before)
            raise KeyboardInterrupt

        signal.signal(signal.SIGINT, hear)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def message(self) -> str:
        """Return what to tell the person who stopped it."""
        where = f" in {self.where}" if self.where else ""
        return f"Stopped{where}: the learner holds what it learned so far."


class StopBeforeFit(Listener):
    """Ends the schedule before another fit begins and the recorder forgets the last."""

    order = -1000

    def __init__(self, control: Control, quiet: bool = False):
        self.control, self.quiet = control, quiet

    def before_fit(self) -> None:
        if self.control.asked:
            if self.quiet:
                raise CancelFitException
            raise Stopped("by request")  # fastai rewrites the first argument of what callbacks raise


class ScaleRate(Listener):
    """Multiplies the learning rates, after the schedule (60) has set them and before the step."""

    order = 70

    def __init__(self, control: Control):
        self.control = control
        self.given: tuple[float, ...] = ()
        self.factor = 1.0

    def before_fit(self) -> None:
        self.given, self.factor = (), 1.0

    def before_batch(self) -> None:
        control = self.control
        if (control.factor == 1.0 and self.factor == 1.0) or not self.training:
            return
        hypers = self.opt.hypers
        # Without a schedule the rates are still those given to the batch before: undo that factor first.
        ours = tuple(h["lr"] for h in hypers) == self.given
        for h in hypers:
            h["lr"] = h["lr"] * (control.factor / self.factor if ours else control.factor)
        self.given = tuple(h["lr"] for h in hypers)
        if self.factor != control.factor:
            control.changes.append((f"epoch {self.epoch + 1}, batch {self.iter + 1}", control.factor))
        self.factor = control.factor


class BetweenBatches(Listener):
    """Waits while paused, and cancels the fit when a stop is wanted, after every other callback has seen the batch."""

    order = 1000

    def __init__(self, control: Control):
        self.control = control

    def after_batch(self) -> None:
        control = self.control
        if control.paused:
            began = time.perf_counter()
            control.wait(owned(self.learn.model).rest)
            control.paused_for += time.perf_counter() - began
        if control.asked:
            of = f"batch {self.iter + 1} of {self.n_iter}" if self.training else "validation"
            control.where = f"epoch {self.epoch + 1}, {of}"
            raise CancelFitException


def interrupt(thread: threading.Thread) -> None:
    """Raise `KeyboardInterrupt` in another thread, as soon as it runs Python again."""
    if thread.ident is not None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(KeyboardInterrupt))
