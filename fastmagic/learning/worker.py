"""A training in a thread of its own, so that the main thread can hear the browser and the prompt can come back."""

from __future__ import annotations

import contextlib
import contextvars
import threading
from collections.abc import Callable
from typing import Any

from .control import Control


class TrainingRun:
    """A training that runs in another thread: steer it, wait for it, take its learner.

    Args:
        train: trains, and returns the learner.
        control: what steers it.
        hearing: what makes the main thread hear the browser while it waits: a function that gives a context whose
            value is called again and again with seconds it may take, or is `None`.

    Attributes:
        learn: the `Learner`, in training while `running`, and then trained; `None` before it is made, and when it failed.
        error: what it failed with, if it did.

    Example:
        >>> training.pause(); training.resume(); training.scale_lr(0.1)  # doctest: +SKIP
        >>> learn = training.wait()                                      # doctest: +SKIP
    """

    def __init__(
        self,
        train: Callable[[], Any],
        control: Control,
        hearing: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext,
    ):
        self.control = control
        self._hearing = hearing
        self._trained: Any = None
        self.error: BaseException | None = None
        self._done = threading.Event()
        self._then: list[Callable[[TrainingRun], None]] = []
        context = contextvars.copy_context()  # what is printed belongs to the cell that started it

        def work() -> None:
            try:
                self._trained = context.run(train)
            except BaseException as error:
                self.error = error
            finally:
                try:
                    for function in self._then:
                        function(self)
                finally:
                    self._done.set()

        self._thread = threading.Thread(target=work, name="fastmagic-train", daemon=True)

    def start(self, then: Callable[[TrainingRun], None] | None = None) -> TrainingRun:
        """Begin, and return at once; `then` is called in that thread at the end."""
        if then is not None:
            self._then.append(then)
        self._thread.start()
        return self

    @property
    def learn(self) -> Any:
        return self.control.learn if self.running and self.error is None else self._trained

    @property
    def running(self) -> bool:
        return not self._done.is_set()

    def stop(self) -> Any:
        """Stop after the running batch, and return the learner."""
        self.control.stop()
        return self.wait()

    def pause(self) -> None:
        """Wait after the running batch, until `resume`."""
        self.control.pause()

    def resume(self) -> None:
        """Go on after a pause."""
        self.control.resume()

    def scale_lr(self, factor: float) -> None:
        """Multiply the schedule's learning rates by `factor` from the next batch on."""
        self.control.scale_lr(factor)

    def one_more(self) -> None:
        """Train one epoch more at the end."""
        self.control.one_more()

    def wait(self) -> Any:
        """Return the learner when the training has ended.

        The first Ctrl-C stops the training after its batch, the second at once.

        Raises:
            Exception: what the training failed with, as it was raised.
        """
        with self.control.listening(self._thread), self._hearing() as hear:
            while not self._done.is_set():
                if hear is None:
                    self._done.wait(0.2)
                else:
                    hear(0.05)
        if self.error is not None:
            raise self.error
        return self._trained

    def __repr__(self) -> str:
        how = "running" if self.running else "failed" if self.error is not None else "done"
        if self.running and self.control.paused:
            how = "paused"
        return f"<training: {how}; .stop() .pause() .resume() .scale_lr(0.1) .one_more() .wait() .learn>"
