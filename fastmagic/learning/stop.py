"""Stopping a training well: the first Ctrl-C ends it after the running batch, with everything that was learned."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any


class Stopped(Exception):
    """Ends a schedule of several fits after one of them was stopped; `Training.run` takes it for what it is."""


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
        where = f" in {self.where}" if self.where else ""
        return f"Stopped{where}: the learner holds what it learned so far."
