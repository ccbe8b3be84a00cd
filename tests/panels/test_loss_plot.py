"""The loss plot: honest curves however long, steering from the browser while a cell trains, and what stays in the notebook."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from fastmagic.learning.history import BUCKETS, Curve, History, summary

# ---------------------------------------------------------------- curves


def test_a_million_batches_fit_a_plot_and_no_spike_is_lost():
    random = np.random.default_rng(0)
    values = random.normal(1, 0.1, 1_000_000).astype(np.float32)
    values[[123_456, 777_777]] = 50, -9
    curve = Curve()
    for start in range(0, len(values), 997):
        curve.extend(values[start : start + 997])
    view = curve.view()
    assert len(curve) == 1_000_000
    assert len(view["mean"]) == curve.buckets <= BUCKETS
    assert view["high"].max() == 50
    assert view["low"].min() == -9
    low, high, mean = summary(values, curve.width)
    assert np.array_equal(view["low"], low)
    assert np.array_equal(view["high"], high)
    assert np.allclose(view["mean"], mean)


def test_what_is_sent_from_the_first_changed_bucket_on_makes_the_whole_curve():
    random, curve, browser = np.random.default_rng(1), Curve(), np.empty(0, np.float32)
    for _ in range(300):
        first = curve.extend(random.normal(size=random.integers(1, 60)).astype(np.float32))
        browser = np.concatenate([browser[:first], curve.view(first)["high"]])
    assert curve.width > 1
    assert np.array_equal(browser, curve.view()["high"])


def test_a_part_is_shown_as_fine_as_it_is_there():
    curve = Curve()
    curve.extend(np.arange(100_000, dtype=np.float32))
    part = curve.part(5_000, 6_000)
    assert part["start"] == 5_000
    assert part["width"] == 1
    assert part["mean"].tolist() == list(range(5_000, 6_000))


def test_a_loss_that_is_not_a_number_is_a_gap_and_is_named():
    history = History()
    losses = np.array([1, 2, np.nan, 4, np.inf, 6], np.float32)
    history.extend(losses, np.zeros(6, np.float32), np.zeros(6, np.float32))
    assert history.first_bad == 2
    assert np.isnan(history.loss.view()["mean"]).tolist() == [False, False, True, False, True, False]
    assert history.smooth[-1] < 6


# ---------------------------------------------------------------- in a kernel


@pytest.fixture(scope="module")
def trained(kernel):
    """A kernel with small data; each test trains on it."""
    kernel.run(
        "%datablock dls --from digits --bs 64\n"
        "from fastai.vision.all import *\nimport time, fastmagic\n"
        "class Slow(Callback):\n    def after_batch(self): time.sleep(0.03)\n"
    )
    return kernel


def panel_of(kernel, cell):
    """Return the id of the panel that a running cell shows, once its curve has begun."""
    before = len(kernel.heard)
    kernel.until(
        lambda m: (
            m["msg_type"] == "comm_msg"
            and kernel.heard.index(m) >= min(before, len(kernel.heard) - 1)
            and m["parent_header"].get("msg_id") == cell
            and m["content"]["data"].get("content", {}).get("event") == "update"
        )
    )
    opened = [m for m in kernel.heard if m["msg_type"] == "comm_open" and m["parent_header"].get("msg_id") == cell]
    return next(
        m["content"]["comm_id"] for m in opened if m["content"]["data"]["state"].get("_model_name") == "AnyModel"
    )


def shown(kernel, cell):
    """Return what the cell's output holds in the end."""
    kinds = ("display_data", "update_display_data")
    return [m["content"]["data"] for m in kernel.heard if m["msg_type"] in kinds and m["parent_header"].get("msg_id") == cell]  # fmt: skip


def status(kernel, panel):
    return kernel.ask(panel, "hello", host="page")["answer"]


def test_a_training_is_paused_resumed_rerated_lengthened_and_stopped_from_the_browser(trained):
    cell = trained.start("%train dls tiny --epochs 30 --no-check --cbs Slow()")
    later = trained.queue("print('then', len(learn.recorder.losses) > 0)")
    panel = panel_of(trained, cell)
    trained.ask(panel, "control", action="pause")
    first = status(trained, panel)
    assert first["status"]["paused"]
    trained.ask(panel, "control", action="resume")
    trained.ask(panel, "control", action="scale", value=0.1)
    trained.ask(panel, "control", action="more")
    steered = status(trained, panel)["status"]
    assert (steered["paused"], steered["factor"], steered["more"]) == (False, 0.1, 1)
    trained.ask(panel, "control", action="stop")
    assert "Stopped in epoch" in trained.finish(cell)
    assert "then True" in trained.finish(later)


def test_the_output_keeps_picture_table_and_text(trained):
    cell = trained.start("%train dls tiny --epochs 1 --no-check")
    trained.finish(cell)
    bundle = shown(trained, cell)[-1]
    assert set(bundle) - {"application/vnd.jupyter.widget-view+json"} == {"text/plain", "text/html", "image/png"}
    assert sum(len(part) for part in bundle.values()) < 200_000
    assert "valid_loss" in bundle["text/plain"]
    assert "<table" in bundle["text/html"]
    assert 'data-fastmagic-panel="' in bundle["text/html"]


def test_a_notebook_that_a_program_runs_holds_stills_and_no_widgets(tmp_path):
    """nbconvert --execute would keep the state of widgets, and its page would load them from the internet."""
    import nbformat

    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    cells = "%load_ext fastmagic", "%datablock dls --from digits --bs 64", "%train dls tiny --epochs 1 --no-check"
    notebook.cells = [nbformat.v4.new_code_cell(source) for source in cells]
    nbformat.write(notebook, tmp_path / "run.ipynb")
    command = ["jupyter", "nbconvert", "--execute", "--to", "notebook", "--inplace", str(tmp_path / "run.ipynb")]
    subprocess.run([sys.executable, "-m", *command], check=True, capture_output=True)
    executed = nbformat.read(tmp_path / "run.ipynb", 4)
    assert "widgets" not in executed.metadata
    data = [output["data"] for output in executed.cells[2].outputs if "data" in output]
    assert set(data[-1]) == {"text/plain", "text/html", "image/png"}


def test_a_browser_that_comes_later_gets_the_whole_curve(trained):
    cell = trained.start("%train dls tiny --epochs 1 --no-check")
    panel = panel_of(trained, cell)
    trained.finish(cell)
    state = status(trained, panel)
    batches = int(trained.run("print(2 * len(learn.dls.train))"))  # an epoch of the new layers, and one of all
    assert state["curve"]["count"] == batches
    assert len(state["epochs"]) == 2
    assert [text for _, text in state["phases"]] == ["body frozen", "all layers"]
    assert not state["status"]["running"]
    assert state["earlier"], "the trainings before are kept for comparison"


def test_the_kernels_interrupt_stops_the_thread_and_leaves_the_learner(trained):
    trained.run("learn = None")
    cell = trained.start("%train dls tiny --epochs 30 --no-check --cbs Slow()")
    panel_of(trained, cell)
    trained.manager.interrupt_kernel()
    assert "Stopped in epoch" in trained.finish(cell)
    assert "True" in trained.run("print(learn.validate()[0] > 0)")


def test_an_error_of_the_users_own_fails_the_cell_as_theirs(trained):
    trained.run("class Breaks(Callback):\n    def after_batch(self):\n        raise LookupError('no such thing')")
    cell = trained.start("%train dls tiny --epochs 1 --no-check --cbs Breaks()")
    reply = trained.reply(cell)
    assert reply["ename"] == "LookupError"
    assert "no such thing" in reply["evalue"]
    trained.until_idle(cell)
    assert "failed: LookupError" in shown(trained, cell)[-1]["text/plain"]


def test_detached_it_gives_the_prompt_back_and_a_handle(trained):
    assert "in the background" in trained.run("%train dls tiny --epochs 1 --no-check --detach --into mine --cbs Slow()")
    assert "running" in trained.run("print(training)")
    cell = trained.start("print(training.wait() is training.learn, mine is training.learn)")
    assert "True True" in trained.finish(cell)
    cell = trained.start("%train dls tiny --epochs 30 --no-check --detach --cbs Slow()")
    panel = panel_of(trained, cell)
    trained.finish(cell)
    trained.run("while training.learn is None: time.sleep(0.05)\nphoto = dls.valid_ds.items[0]")
    trained.run("answer = %predict photo --learn training.learn")  # between two batches
    assert "True running" in trained.run("print(answer.label in dls.vocab, 'running' if training.running else 'over')")
    cell = trained.start("training.wait()\nprint('stopped by its button')")
    trained.ask(panel, "control", action="stop")
    assert "stopped by its button" in trained.finish(cell)


def test_inline_it_trains_in_the_main_thread_and_can_still_be_steered(trained):
    trained.run(
        "import threading\nclass Where(Callback):\n    def before_fit(self): print('in', threading.current_thread().name)"
    )
    cell = trained.start("%train dls tiny --epochs 30 --no-check --inline --cbs Where(),Slow()")
    panel = panel_of(trained, cell)
    trained.ask(panel, "control", action="pause")
    assert status(trained, panel)["status"]["paused"]
    trained.ask(panel, "control", action="resume")
    trained.ask(panel, "control", action="stop")
    said = trained.finish(cell)
    assert "in MainThread" in said
    assert "Stopped" in said


def test_detach_and_inline_exclude_each_other(trained):
    reply = trained.reply(trained.start("%train dls tiny --detach --inline"))
    assert "Choose one of them." in reply["evalue"]


def test_as_a_plain_callback_it_takes_the_place_of_fastais_bar(trained):
    cell = trained.start(
        "plain = vision_learner(dls, fastmagic.tiny, metrics=error_rate)\n"
        "before = plain.logger\nplain.fit_one_cycle(1, 1e-3, cbs=fastmagic.LossPlot('mine'))\n"
        "print(plain.logger is before, plain.progress.run)"
    )
    printed = trained.finish(cell)
    assert printed.strip() == "True True"
    displays = shown(trained, cell)
    assert all("data-fastmagic-panel" in bundle["text/html"] for bundle in displays)
    assert displays[-1]["text/plain"].startswith("mine: ")


def test_a_plain_callback_can_be_stopped(trained):
    cell = trained.start("plain.fit(30, 1e-3, cbs=[fastmagic.LossPlot(), Slow()])\nprint('came back')")
    panel = panel_of(trained, cell)
    assert not status(trained, panel)["extend"]
    trained.ask(panel, "control", action="stop")
    assert "came back" in trained.finish(cell)
    assert trained.run("print([cb.name for cb in plain.cbs])").count("between_batches") == 0


def test_a_stop_in_the_frozen_epoch_ends_fine_tune_and_the_next_cell_begins_anew(trained):
    trained.run("plot = fastmagic.LossPlot()")
    cell = trained.start("plain.fine_tune(30, freeze_epochs=20, cbs=[plot, Slow()])\nprint(len(plain.recorder.losses))")
    first = panel_of(trained, cell)
    trained.ask(first, "control", action="stop")
    assert int(trained.finish(cell)) > 0  # of the epoch that was stopped: no other has begun
    assert [text for _, text in status(trained, first)["phases"]] == ["body frozen"]
    cell = trained.start("plain.fit(1, 1e-3, cbs=plot)\nprint(len(plain.recorder.losses) == len(dls.train))")
    second = panel_of(trained, cell)
    assert trained.finish(cell).strip() == "True"
    assert second != first
    batches = int(trained.run("print(len(dls.train))"))
    assert status(trained, second)["curve"]["count"] == batches


def test_after_an_interrupt_in_a_pause_the_learner_trains_again_with_nothing_left_in_it(trained):
    cell = trained.start("plain.fit(30, 1e-3, cbs=[fastmagic.LossPlot(), Slow()])")
    panel = panel_of(trained, cell)
    trained.ask(panel, "control", action="pause")
    assert status(trained, panel)["status"]["paused"]
    trained.manager.interrupt_kernel()
    assert trained.reply(cell)["ename"] == "KeyboardInterrupt"
    trained.until_idle(cell)
    assert "ended early" in shown(trained, cell)[-1]["text/plain"]
    before = trained.run("print(sorted(cb.name for cb in vision_learner(dls, fastmagic.tiny).cbs))")
    said = trained.run("plain.fit(1, 1e-3)\nprint(sorted(cb.name for cb in plain.cbs), plain.progress.run)")
    assert before.strip() in said  # a pause left behind would hold the next fit, and keep an export from pickling
    assert "True" in said


def test_the_picture_that_stays_shows_the_validation_loss_however_high():
    import io

    from PIL import Image

    from fastmagic.learning.control import Control
    from fastmagic.panels.loss_plot import LossPanel

    history = History(name="over-fitted")
    losses = np.linspace(0.3, 0.1, 200, dtype=np.float32)
    history.extend(losses, np.zeros(200, np.float32), np.zeros(200, np.float32))
    history.header = ["train_loss", "valid_loss"]
    history.epochs = [{"batch": b, "values": [0.2, 1.2], "time": "", "frozen": False} for b in (100, 200)]
    pixels = np.asarray(Image.open(io.BytesIO(LossPanel(history, Control(), [])._png())).convert("RGB")).astype(int)
    orange = np.abs(pixels - (0xD5, 0x5E, 0x00)).sum(2) < 60
    assert orange.sum() > 400  # a curve across half of it; its place in the legend has some sixty


def test_a_browser_that_cannot_be_reached_does_not_end_a_training(trained):
    cell = trained.start(
        "from fastmagic.panels.loss_plot import LossPanel\n"
        "def torn(self, *args): raise OSError('no comm')\n"
        "LossPanel.send = torn\n"
        "plain.fit(1, 1e-3, cbs=fastmagic.LossPlot())\n"
        "print(len(plain.recorder.losses) == len(dls.train))\n"
        "del LossPanel.send"
    )
    assert trained.finish(cell).strip().endswith("True")


def test_when_the_cell_of_a_plain_callback_fails_the_panel_says_it_ended(trained):
    cell = trained.start("plain.fit(1, 1e-3, cbs=[fastmagic.LossPlot(), Breaks()])")
    assert trained.reply(cell)["ename"] == "LookupError"
    trained.until_idle(cell)
    assert "ended early" in shown(trained, cell)[-1]["text/plain"]
    assert "True" in trained.run("plain.fit(1, 1e-3)\nprint(True)")


def test_in_a_terminal_it_prints_the_table_line_by_line(shapes, capsys):
    import fastmagic

    dls = fastmagic.datablock(shapes, bs=16, num_workers=0)
    from fastai.vision.all import resnet18, vision_learner

    learn = vision_learner(dls, resnet18, pretrained=False)
    with learn.no_bar(), learn.no_logging():
        learn.fit(2, 1e-3, cbs=fastmagic.LossPlot())
    lines = capsys.readouterr().out.strip().splitlines()
    assert lines[0].split() == ["epoch", "train_loss", "valid_loss", "time"]
    assert [line.split()[0] for line in lines[1:]] == ["1", "2"]
