"""The live loss plot: what a training does while it does it, and the buttons that steer it."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from fastai.callback.core import CancelFitException

from ..learning.control import Control
from ..learning.history import History, Recording, frozen, running_step, searching, smoothed
from ..learning.progress import EpochTable, duration, number, print_lines
from ..learning.turn import Listener
from ..render import escape, figure_png, html_table, text_table
from .kernel import in_kernel, pumping
from .panel import Panel, Still, png_tag, small_png

EVERY = 0.1  # seconds between two messages to the browser
EARLIER = 4  # trainings kept for comparison
THIN = 400  # buckets an earlier curve is drawn from

_earlier: deque[History] = deque(maxlen=EARLIER)


class LossPanel(Panel):
    """The panel of a training: curves, table of epochs and controls; `LossPlot` feeds it."""

    module = "loss_plot"

    def __init__(self, history: History, control: Control, earlier: list[History]):
        self.history, self.control, self.earlier = history, control, earlier
        self.status: dict[str, Any] = {"running": True, "text": "Starting…"}
        self.notes: list[str] = []
        self._sent_epochs = 0
        super().__init__()

    # ------------------------------------------------------------ to the browser

    def state(self) -> dict[str, Any]:
        history = self.history
        return {
            "name": history.name,
            "curve": self._curve(0),
            "header": history.header,
            "epochs": history.epochs,
            "phases": history.phases,
            "bad": history.first_bad,
            "status": self._status(),
            "notes": self.notes,
            "extend": self.control.can_extend,
            "earlier": [_thin(run) for run in self.earlier],
        }

    def update(self, first: int) -> None:
        """Send what is new: the curve from bucket `first` on, epochs that ended, the status."""
        history = self.history
        fresh = history.epochs[self._sent_epochs :]
        self.tell(
            "update",
            curve=self._curve(first),
            header=history.header,
            epochs=fresh,
            epochs_before=self._sent_epochs,
            phases=history.phases,
            bad=history.first_bad,
            status=self._status(),
            notes=self.notes,
        )
        self._sent_epochs = len(history.epochs)

    def _curve(self, first: int) -> dict[str, Any]:
        history = self.history
        loss = history.loss.view(first)
        # At one batch a bucket the three are one; what is the same is not sent three times.
        if history.loss.width == 1:
            loss = {"mean": loss["mean"]}
        return {
            "first": first,
            "width": history.loss.width,
            "count": len(history.loss),
            **loss,
            "lr": history.lr.view(first)["mean"],
            "mom": history.mom.view(first)["mean"],
        }

    def _status(self) -> dict[str, Any]:
        control = self.control
        return {
            **self.status,
            "paused": control.paused,
            "stopping": control.asked,
            "factor": control.factor,
            "more": control.more,
        }

    # ------------------------------------------------------------ from the browser

    def on_control(self, action: str, value: float = 0.0) -> dict[str, Any]:
        """Stop, pause, resume, scale the learning rate by `value`, or train one epoch more."""
        steps: dict[str, Callable[[], None]] = {
            "stop": self.control.stop,
            "pause": self.control.pause,
            "resume": self.control.resume,
            "more": self.control.one_more,
            "scale": lambda: self.control.scale_lr(value),
        }
        if self.status["running"]:
            steps[action]()
        self.tell("status", status=self._status())
        return {}

    def on_part(self, start: int, end: int) -> dict[str, Any]:
        """Return the curve between two batches, as fine as a plot can show it."""
        history = self.history
        return {
            **history.loss.part(start, end),
            "lr": history.lr.part(start, end)["mean"],
            "mom": history.mom.part(start, end)["mean"],
        }

    # ------------------------------------------------------------ the still

    def still(self) -> Still:
        history = self.history
        header, rows = self.table()
        summary = self.summary()
        text = "\n".join([summary, *([text_table(header, rows)] if rows else []), *self.notes])
        if not len(history.loss):
            return Still(f"<p>{escape(summary)}</p>", text)
        notes = "".join(f"<p class=dim>{escape(note)}</p>" for note in self.notes)
        table = html_table(header, rows) if rows else ""
        if self.status["running"]:
            # Drawn when it ends: on a busy machine the buttons would wait for a picture, for seconds.
            return Still(f"<p>{escape(summary)}</p>{table}{notes}", text)
        png = self._png()
        return Still(f"<p>{escape(summary)}</p>{png_tag(png, summary, 640)}{table}{notes}", text, png)

    def summary(self) -> str:
        """Return one line: what was trained, how far, with what loss."""
        history, status = self.history, self.status
        name = f"{history.name}: " if history.name else ""
        done = f"{len(history.loss):,} batches in {duration(history.seconds)}"
        if not len(history.loss):
            return f"{name}{status['text']}"
        loss = history.smooth[-1]
        return f"{name}{done}, train loss {loss:.4f}{'' if not status['text'] else ' · ' + status['text']}"

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Return header and rows of the table of epochs."""
        rows = [
            [
                f"{i + 1}{' (body frozen)' if epoch['frozen'] else ''}",
                *[number(v) for v in epoch["values"]],
                epoch["time"],
            ]
            for i, epoch in enumerate(self.history.epochs)
        ]
        return ["epoch", *self.history.header, "time"], rows

    def _png(self) -> bytes:
        from matplotlib.figure import Figure

        history = self.history
        figure = Figure(figsize=(8, 4.2), dpi=90, facecolor="white", layout="constrained")
        loss, rate = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        for run in self.earlier:
            loss.plot(
                np.arange(run.loss.buckets) * run.loss.width,
                run.smooth,
                color="#999",
                linewidth=1,
                alpha=0.7,
                label=run.name or "earlier",
            )
        view = history.loss.view()
        x = np.asarray(np.arange(history.loss.buckets) + 0.5) * history.loss.width
        if history.loss.width == 1:
            loss.plot(x, view["mean"], color="#0072b2", linewidth=0.8, alpha=0.3)
        else:
            loss.fill_between(x, view["low"], view["high"], color="#0072b2", alpha=0.2, linewidth=0)
        loss.plot(x, history.smooth, color="#0072b2", linewidth=2, label="train")
        valid: list[float] = []
        for column, name in enumerate(history.header):
            if "valid" in name and "loss" in name:
                points = [(e["batch"], e["values"][column]) for e in history.epochs if e["values"][column] is not None]
                valid += [y for _, y in points]
                if points:
                    loss.plot(*zip(*points, strict=True), color="#d55e00", marker="o", markersize=5, label="valid")
        for batch, text in history.phases[1:]:
            loss.axvline(batch, color="#555", linestyle="--", linewidth=1)
            loss.annotate(text, (batch, 1), xycoords=("data", "axes fraction"), xytext=(3, -11), textcoords="offset points", fontsize=8)  # fmt: skip
        for epoch in history.epochs:
            loss.axvline(epoch["batch"], color="#bbb", linewidth=0.5)
        loss.set_ylabel("loss")
        loss.legend(frameon=False, fontsize=9)
        # The first batches of a new head tower over the rest; what towers is cut off, as the live plot does.
        finite = view["mean"][np.isfinite(view["mean"])]
        if len(finite):
            top = max([float(np.quantile(finite, 0.99)), *(y for y in valid if np.isfinite(y))])
            loss.set_ylim(bottom=min(0.0, float(finite.min())), top=top * 1.15 or 1)
        rate.plot(x, history.lr.view()["mean"], color="#00795a", linewidth=1.2)
        rate.set_ylabel("lr")
        rate.set_xlabel("training batches")
        for axis in (loss, rate):
            axis.spines[["top", "right"]].set_visible(False)
        return small_png(figure_png(figure))


class LossPlot(Listener):
    """Draws the loss while a fastai learner trains, and lets the reader stop, pause and re-rate it.

    In a notebook it shows the panel; in a terminal, the table of epochs line by line. It reads the loss batch by batch,
    sends what is new ten times a second, and takes the place of fastai's own progress bar and table. Fits of one cell
    (`fine_tune` has two) are one training: one curve, and a stop ends them all. In another cell it begins anew.

    Args:
        name: what the training is called in the legend and in later plots, where its curve is kept for comparison.
        control: what the panel's buttons write into; by default a `Control` of its own.
        total: training batches planned in all, for the time left; by default those of the fit that runs.
        whole: whether the end of a fit is the end of the training; otherwise `finish` says so.

    Example:
        >>> learn.fine_tune(3, cbs=LossPlot())  # doctest: +SKIP
    """

    order = 55  # after Recorder (50), whose numbers it reads; before ProgressCallback (60), which it silences

    def __init__(self, name: str = "", control: Control | None = None, total: int | None = None, whole: bool = True):
        self.control = control or Control()
        self._title, self.history = name, History(name=name)
        self.total, self.whole = total, whole
        self.panel: LossPanel | None = None
        self._own = control is None
        self._table: Any = None
        self._recording = Recording(self.history)
        self._begun = self._last = 0.0
        self._before = 0.0
        self._fit_from = 0
        self._searching = self._fitting = False
        self._place: Any = None
        self._logger: Any = None

    _learn: Any = None

    @property
    def learn(self) -> Any:
        """The learner it is in. fastai sets it when a fit begins, and to `None` when one has ended, however it did."""
        return self._learn

    @learn.setter
    def learn(self, learn: Any) -> None:
        if learn is None:
            self._leave()
            if self._fitting:  # an error, or an interrupt: fastai then calls no callback
                self._ended_badly()
        self._learn = learn
        if learn is not None:
            self._join()

    def _join(self) -> None:
        """Put what heeds the buttons into the learner; in another cell than before, with a curve of its own."""
        if not self._own:
            return
        place = _place()
        if self._place not in (None, place):
            self._leave()
            self.control, self.history, self.panel = Control(), History(name=self._title), None
            self._recording = Recording(self.history)
        self._place = place
        self._learn.add_cbs([cb for cb in self.control.callbacks(quiet=True) if cb not in self._learn.cbs])

    def _leave(self) -> None:
        """Take out of the learner what was put into it."""
        learn = self._learn
        if learn is None:
            return
        if self._logger is not None:
            learn.logger, self._logger = self._logger, None
        if self._own:
            self.control.resume()
            learn.remove_cbs([cb for cb in self.control.callbacks() if cb in learn.cbs])

    def show(self) -> LossPanel:
        """Show the panel below the cell, before the training begins."""
        from IPython.display import display

        if self.panel is None:
            self.panel = LossPanel(self.history, self.control, list(_earlier))
            display(self.panel)
        return self.panel

    # ------------------------------------------------------------ the events of a fit

    def before_fit(self) -> None:
        self._join()
        if self._own and self.control.asked:
            raise CancelFitException
        if not in_kernel():
            if self._table is None:
                self._table = EpochTable(print_lines())
            self._table.learn = self.learn
            self._table.before_fit()
            return
        panel = self.show()
        self._fitting, self._searching = True, searching(self.learn)
        if self._inline():
            self.control.wait = self._wait  # type: ignore[method-assign]
            _after_this_cell(self._ended_badly)
        if hasattr(self.learn, "progress"):
            self.learn.progress.run = False  # for this fit; fastai sets it again at its end
            self._logger, self.learn.logger = self.learn.logger, lambda *_: None
        self._before, self._begun = self.history.seconds, time.perf_counter() - self.control.paused_for
        self._fit_from = len(self.history.loss)
        panel.status["running"] = True
        self._recording.before_fit(self.learn)

    def after_batch(self) -> None:
        if self.panel is None:
            self._table.after_batch()
            return
        self._recording.after_batch(self.learn)
        now = time.perf_counter()
        if now - self._last < EVERY:
            return
        self._last = now
        self._flush(now)
        if self._inline():
            with pumping() as pump:
                if pump:
                    pump()

    def after_epoch(self) -> None:
        if self.panel is None:
            self._table.after_epoch()
            return
        if not self._searching:
            self._flush()
            self._recording.after_epoch(self.learn)
            self._flush()

    def after_fit(self) -> None:
        if self.panel is None:
            self._leave()
            if self._table is not None:
                self._table.after_fit()
            return
        self._leave()
        if self._fitting:
            self._flush()
        self._fitting = False
        if self.whole:
            self.finish("stopped" if self.control.asked else "")

    def finish(self, text: str = "") -> None:
        """Say that the training is over, and keep its looks in the notebook and its curve for the next one.

        Args:
            text: what is worth saying of the end: "stopped", or what went wrong.
        """
        if self.panel is None:
            return
        self.panel.status = {**self.panel.status, "running": False, "text": text, "left": None, "part": ""}
        self.panel.update(max(0, self.history.loss.buckets - 1))
        self.panel.keep_still()
        if len(self.history.loss) and self.history not in _earlier:
            if not self.history.name:
                self.history.name = f"training {len(_earlier) + 1}"
            _earlier.append(self.history)

    def note(self, text: str) -> None:
        """Show a line below the panel."""
        if self.panel is None:
            print(text)
            return
        self.panel.notes.append(text)
        self.panel.update(max(0, self.history.loss.buckets - 1))

    # ------------------------------------------------------------ inside

    def _flush(self, now: float | None = None) -> None:
        """Bring history and panel up to date."""
        panel, history = self.panel, self.history
        assert panel is not None
        first = self._recording.flush()
        now = time.perf_counter() if now is None else now
        history.seconds = self._before + now - self._begun - self.control.paused_for
        panel.status = self._status()
        panel.update(first)

    def _status(self) -> dict[str, Any]:
        history, learn = self.history, self.learn
        if self._searching:
            return {"running": True, "text": f"looking for a learning rate, step {getattr(learn, 'train_iter', 0)}"}
        n_train = max(len(learn.dls.train), 1)
        total = self.total or self._fit_from + learn.n_epoch * n_train
        total += self.control.more * n_train
        done = len(history.loss)
        return {
            "running": True,
            "text": "",
            **running_step(learn),
            "frozen": frozen(learn),
            "total": total,
            "rate": history.items / history.seconds if history.seconds > 0 else None,
            "left": history.seconds / done * max(0, total - done) if done else None,
            "seconds": history.seconds,
            "memory": _memory(),
            "lr": float(self.opt.hypers[-1]["lr"]) if getattr(learn, "opt", None) is not None else None,
        }

    def _inline(self) -> bool:
        return threading.current_thread() is threading.main_thread()

    def _wait(self, rest: Callable[[], None]) -> None:
        """Wait out a pause in the main thread, hearing the browser meanwhile."""
        self._flush()
        with pumping() as pump:
            while self.control.paused:
                rest()
                if pump:
                    pump(0.05)
                else:
                    time.sleep(0.05)

    def _ended_badly(self) -> None:
        if not self._fitting:
            return
        self._fitting = False
        if self._learn is not None and hasattr(self._learn, "progress"):
            self._learn.progress.run = True
        self._leave()
        if self.panel is not None and self.panel.status["running"] and self.whole:
            self.finish("ended early")


def _place() -> tuple[Any, Any]:
    """Return what tells one training from the next: the thread, and in the main one the cell that runs."""
    from IPython.core.getipython import get_ipython

    thread = threading.current_thread()
    shell = get_ipython() if thread is threading.main_thread() else None
    return thread, shell.execution_count if shell is not None else None


def _thin(run: History) -> dict[str, Any]:
    """Return an earlier training as its faint curve needs it."""
    part = run.loss.part(0, len(run.loss), THIN)
    column = next((i for i, name in enumerate(run.header) if "valid" in name and "loss" in name), None)
    valid = [] if column is None else [[e["batch"], e["values"][column]] for e in run.epochs]
    mean = smoothed(part["mean"], 0.98 ** part["width"]).astype(np.float32)
    return {"name": run.name, "width": part["width"], "mean": mean, "valid": valid}


def _memory() -> dict[str, Any] | None:
    """Return what the training holds: of the GPU where there is one, else of this process."""
    torch = sys.modules["torch"]
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        return {"what": "GPU", "used": total - free, "total": total}
    try:
        import psutil
    except ImportError:
        return None
    return {"what": "memory", "used": psutil.Process().memory_info().rss, "total": psutil.virtual_memory().total}


def _after_this_cell(function: Callable[[], None]) -> None:
    """Call a function when the running cell ends, once."""
    from IPython.core.getipython import get_ipython

    shell = get_ipython()
    if shell is None:
        return

    def once(*_: Any) -> None:
        shell.events.unregister("post_run_cell", once)
        function()

    shell.events.register("post_run_cell", once)
