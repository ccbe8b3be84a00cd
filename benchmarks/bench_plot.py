"""What watching a training costs: a batch with the loss plot, beside fastai's own callbacks and livelossplot.

A trivial model, so that the loop does little else, in a real kernel with a client that reads what it shows. All variants
run in turns in one kernel; a row gives medians of milliseconds added to a batch, between the first and the last one.
What is done once, at the end (the picture that stays in the notebook), has a row of its own. livelossplot is measured by
the update, which is what it does once an epoch, and left out where it is not installed.
"""

from __future__ import annotations

import json
import statistics
import sys

BATCHES, ROUNDS = 5000, 5

SETUP = f"""
import time, threading, torch, fastmagic, contextlib
from fastai.basics import *
from fastai.callback.progress import ProgressCallback, ShowGraphCallback
from fastmagic.learning.control import Control
from fastmagic.learning.worker import TrainingRun
from fastmagic.panels.kernel import pumping
torch.set_num_threads(1)
torch.manual_seed(0)
batches = [(torch.randn(16, 8), torch.randn(16, 1)) for _ in range({BATCHES})]
dls = DataLoaders(DataLoader(batches, bs=None), DataLoader(batches[:2], bs=None))

class Clock(Callback):
    order = 2000
    def before_train(self): self.began = time.perf_counter()
    def after_train(self): self.spent = time.perf_counter() - self.began

def fit(*cbs):
    learn = Learner(dls, nn.Linear(8, 1), loss_func=nn.MSELoss(), opt_func=SGD)
    learn.remove_cbs([cb for cb in learn.cbs if isinstance(cb, ProgressCallback)])
    learn.logger = noop
    learn.add_cbs([*cbs, Clock()])
    learn.fit(1, 0.01)
    return learn.clock.spent

def alone():
    return fit()

def progress():
    return fit(ProgressCallback())

def graph():
    return fit(ProgressCallback(), ShowGraphCallback())

def plot():
    "In the main thread: LossPlot() as a plain callback"
    global last
    last = fastmagic.LossPlot()
    return fit(last)

def magic():
    "In a worker thread, the main thread listening: what %train does"
    control = Control()
    shown = fastmagic.LossPlot("", control, whole=False)
    shown.show()
    return TrainingRun(lambda: fit(shown, *control.callbacks()), control, pumping).start().wait()

def still():
    "What the end costs, once"
    began = time.perf_counter()
    last.panel.keep_still()
    return time.perf_counter() - began
"""
ROUND = """
import json
from IPython.display import clear_output
times = {f.__name__: f() for f in (alone, progress, graph, plot, magic, still)}
clear_output()
print("TIMES", json.dumps(times))
"""
PEER = """
import json, statistics, time
try:
    from livelossplot import PlotLosses
except ImportError:
    print("TIMES", json.dumps({}))
else:
    peer, spent = PlotLosses(), []
    for i in range(12):
        began = time.perf_counter()
        peer.update({"loss": 1 / (i + 1), "val_loss": 1.1 / (i + 1)})
        peer.send()
        spent.append(time.perf_counter() - began)
    print("TIMES", json.dumps({"livelossplot": statistics.median(spent[2:])}))
"""


def run() -> list[dict]:
    """Return one row a comparison, in milliseconds added to a batch (an update, for livelossplot)."""
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(kernel_name="python3")
    try:
        _execute(client, SETUP)
        _execute(client, ROUND)  # imports and caches
        rounds = [_execute(client, ROUND) for _ in range(ROUNDS)]
        peer = _execute(client, PEER).get("livelossplot")
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    added = {
        name: statistics.median((times[name] - times["alone"]) / BATCHES * 1000 for times in rounds)
        for name in ("progress", "graph", "plot", "magic")
    }
    loop = statistics.median(times["alone"] / BATCHES * 1000 for times in rounds)
    end = statistics.median(times["still"] * 1000 for times in rounds)
    rows = [
        _row("%train's plot, against ProgressCallback", added["magic"], added["progress"]),
        _row("LossPlot(), against ProgressCallback", added["plot"], added["progress"]),
        _row("LossPlot(), against ShowGraphCallback", added["plot"], added["graph"]),
        _row("LossPlot(), against the loop alone", added["plot"], loop),
        {"what": "its picture at the end, once", "ours": end, "other": None, "ratio": None, "unit": "ms"},
    ]
    if peer is not None:
        rows.insert(3, _row("LossPlot() a batch, livelossplot an update", added["plot"], peer * 1000))
    return rows


def _row(what: str, ours: float, other: float) -> dict:
    return {"what": what, "ours": ours, "other": other, "ratio": ours / other if other else None, "unit": "ms a batch"}


def _execute(client, code: str) -> dict:
    printed: list[str] = []

    def hear(message) -> None:
        if message["msg_type"] == "stream":
            printed.append(message["content"]["text"])

    reply = client.execute_interactive(code, timeout=600, output_hook=hear, store_history=False)
    if reply["content"]["status"] != "ok":
        raise RuntimeError("\n".join([reply["content"]["evalue"], *reply["content"]["traceback"][-2:]]))
    found = [json.loads(line[6:]) for line in "".join(printed).splitlines() if line.startswith("TIMES ")]
    if not found and "TIMES" in code:
        print("".join(printed), file=sys.stderr)
    return found[0] if found else {}
