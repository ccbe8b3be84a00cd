"""What a training shows while it runs where no panel can live: one tidy table of epochs, and how far the epoch is."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

from fastai.callback.core import Callback

from ..render import Shown, html_table, text_table

EVERY = 0.5  # seconds between two updates; a training step takes milliseconds, a redrawn cell is not free


class EpochTable(Callback):
    """Shows a table of epochs while a learner trains: losses and metrics, frozen and unfrozen fits in one.

    Args:
        update: called with what to show, at most twice a second and at every epoch.

    Example:
        >>> learn.fit(1, cbs=EpochTable(print))  # doctest: +SKIP
    """

    order = 60  # after Recorder (50), whose log it reads

    def __init__(self, update: Callable[[Shown], None]):
        self.update = update
        self.rows: list[list[str]] = []
        self.started = 0.0
        self.last = 0.0

    @property
    def searching(self) -> bool:
        """Whether this is a fit of `lr_find`, whose epochs are none."""
        return hasattr(self.learn, "lr_finder")

    def before_fit(self) -> None:
        self.started = time.perf_counter()

    def after_batch(self) -> None:
        now = time.perf_counter()
        if now - self.last < EVERY:
            return
        self.last = now
        self._show(f"looking for a learning rate, step {self.train_iter}" if self.searching else self._running(now))

    def after_epoch(self) -> None:
        if self.searching:
            return
        log = list(self.recorder.log)
        self.rows.append([self._epoch_name(), *[number(v) for v in log[1:-1]], str(log[-1])])
        self._show("")

    def after_fit(self) -> None:
        self._show("")

    def _epoch_name(self) -> str:
        frozen = " (body frozen)" if getattr(self.learn, "opt", None) is not None and self.opt.frozen_idx > 0 else ""
        return f"{self.epoch + 1}{frozen}"

    def _running(self, now: float) -> str:
        part = "training" if self.training else "validating"
        left = ""
        if self.training:
            done = self.epoch + (self.iter + 1) / max(self.n_iter, 1)
            seconds = (now - self.started) / done * (self.n_epoch - done)
            left = f", about {duration(seconds)} left"
        loss = (
            f", loss {float(self.smooth_loss):.3f}"
            if self.training and getattr(self.learn, "smooth_loss", None) is not None
            else ""
        )
        return f"epoch {self.epoch + 1} of {self.n_epoch}, {part} batch {self.iter + 1} of {self.n_iter}{loss}{left}"

    def _show(self, running: str) -> None:
        header = ["epoch", *[str(name) for name in list(self.recorder.metric_names)[1:]]]
        html = (html_table(header, self.rows) if self.rows else "") + (
            f'<p class="dim">{running}</p>' if running else ""
        )
        text = (text_table(header, self.rows) if self.rows else "") + (f"\n{running}" if running else "")
        self.update(Shown(html or "<p></p>", text.strip("\n")))


def number(value: Any) -> str:
    """Return a loss or a metric as a table has it, – where there is none."""
    return "–" if value is None else f"{float(value):.4f}"


def duration(seconds: float) -> str:
    """Return a time as people say it.

    >>> duration(75)
    '1 min 15 s'
    """
    minutes, rest = divmod(int(seconds + 0.5), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


_RUNNING = re.compile(r"epoch \d+ of \d+, |looking for a learning rate")  # what a terminal can't take back


def print_lines() -> Callable[[Shown], None]:
    """Return a function that prints what it is shown line by line as lines come to be: for a terminal."""
    printed: list[str] = []

    def show(shown: Shown) -> None:
        rows = [line for line in shown.text.splitlines() if not _RUNNING.match(line)]
        for line in rows[len(printed) :]:
            printed.append(line)
            print(line, flush=True)

    return show
