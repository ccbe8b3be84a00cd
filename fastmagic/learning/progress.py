"""What a training shows while it runs where no panel can live: one tidy table of epochs, and how far the epoch is."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

from fastai.callback.core import Callback

from ..render import Shown, html_table, text_table
from .history import History, Recording, running_step, searching

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
        self.recording = Recording(History())
        self.started = 0.0
        self.last = 0.0

    def before_fit(self) -> None:
        self.started = time.perf_counter()
        self.recording.before_fit(self.learn)

    def after_batch(self) -> None:
        self.recording.after_batch(self.learn)
        now = time.perf_counter()
        if now - self.last < EVERY:
            return
        self.last = now
        learn = self.learn
        self._show(f"looking for a learning rate, step {learn.train_iter}" if searching(learn) else self._running(now))

    def after_epoch(self) -> None:
        self.recording.after_epoch(self.learn)
        if not searching(self.learn):
            self._show("")

    def after_fit(self) -> None:
        self._show("")

    def _running(self, now: float) -> str:
        step = running_step(self.learn)
        left, loss = "", ""
        if step["part"] == "training":
            done = step["epoch"] - 1 + step["batch"] / max(step["n_batch"], 1)
            left = f", about {duration((now - self.started) / done * (step['n_epoch'] - done))} left"
            if getattr(self.learn, "smooth_loss", None) is not None:
                loss = f", loss {float(self.smooth_loss):.3f}"
        where = f"{step['part']} batch {step['batch']} of {step['n_batch']}"
        return f"epoch {step['epoch']} of {step['n_epoch']}, {where}{loss}{left}"

    def _show(self, running: str) -> None:
        history = self.recording.history
        header = ["epoch", *history.header, "time"]
        rows = [
            [f"{e['number']}{' (body frozen)' if e['frozen'] else ''}", *map(number, e["values"]), e["time"]]
            for e in history.epochs
        ]
        html = (html_table(header, rows) if rows else "") + (f'<p class="dim">{running}</p>' if running else "")
        text = (text_table(header, rows) if rows else "") + (f"\n{running}" if running else "")
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
