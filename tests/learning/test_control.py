"""A training can be stopped, paused, re-rated and lengthened from another thread while it runs, and its model asked."""

from __future__ import annotations

import pickle
import threading
import time
from contextlib import contextmanager

import pytest
import torch
from fastai.callback.core import Callback

import fastmagic
from fastmagic.learning import train as training
from fastmagic.learning import turn as turns
from fastmagic.learning.control import Control
from fastmagic.learning.forward import undisturbed
from fastmagic.learning.worker import TrainingRun


@pytest.fixture(scope="module")
def dls(shapes):
    return fastmagic.datablock(shapes, bs=16, num_workers=0)


class At:
    """Does something when the training has seen a given number of batches."""

    def __new__(cls, batch: int, action):
        class DoAt(Callback):
            seen = 0

            def after_batch(self):
                if self.training:
                    self.seen += 1
                    if self.seen == batch:
                        action()

        return DoAt()


def run(dls, control, *watch, epochs=3, **options):
    planned = training.plan(dls, "resnet18", pretrained=False, epochs=epochs, **options)
    said: list[str] = []
    learn = planned.run(watch, say=said.append, quiet=True, control=control)
    return learn, said


def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def test_stop_ends_after_the_batch_and_leaves_a_usable_learner(dls):
    control = Control()
    learn, said = run(dls, control, At(8, control.stop))
    assert len(learn.recorder.losses) == 8
    assert any("Stopped in epoch 2" in line for line in said)
    assert learn.validate()[0] > 0


def test_a_pause_holds_the_training_until_it_is_resumed(dls):
    control, held, trained = Control(), threading.Event(), []
    really_wait = control.wait

    def wait(rest):
        held.set()
        really_wait(rest)

    control.wait = wait
    counting = [At(batch, lambda batch=batch: trained.append(batch)) for batch in range(1, 13)]
    worker = TrainingRun(lambda: run(dls, control, At(5, control.pause), *counting, epochs=2)[0], control).start()
    assert held.wait(60)
    assert trained == [1, 2, 3, 4, 5]
    assert "paused" in repr(worker)
    assert worker.running
    worker.resume()
    learn = worker.wait()
    assert len(learn.recorder.losses) == 12
    assert trained == list(range(1, 13))
    assert control.paused_for > 0


def test_a_stop_ends_a_pause(dls):
    control = Control()
    worker = TrainingRun(lambda: run(dls, control, At(5, control.pause))[0], control).start()
    until(lambda: control.paused)
    assert len(worker.stop().recorder.losses) == 5
    assert not worker.running


def test_the_schedules_learning_rates_are_multiplied_from_the_next_batch_on(dls):
    plain, _ = run(dls, Control(), epochs=2)
    control = Control()
    steered, _ = run(dls, control, At(6, lambda: control.scale_lr(0.1)), epochs=2)
    before, after = plain.recorder.lrs, steered.recorder.lrs
    assert after[:6] == pytest.approx(before[:6])
    assert after[6:] == pytest.approx([rate / 10 for rate in before[6:]])
    assert control.changes == [("epoch 2, batch 1", 0.1)]


def test_a_rate_without_a_schedule_is_multiplied_once_not_every_batch(dls):
    control = Control()
    learn, _ = run(dls, Control(), epochs=1)
    learn.fit(
        1, 1e-3, cbs=[*control.callbacks(), At(2, lambda: control.scale_lr(0.5)), At(4, lambda: control.scale_lr(2))]
    )
    assert learn.recorder.lrs == pytest.approx([1e-3] * 2 + [5e-4] * 2 + [2e-3] * 2)


def test_one_more_epoch_is_trained_at_the_end_and_stands_in_the_program(dls):
    control = Control()
    learn, _ = run(dls, control, At(3, control.one_more), At(4, lambda: control.scale_lr(0.5)), epochs=1)
    assert len(learn.recorder.losses) == 6  # of the last fit
    program = fastmagic.code(learn)
    assert "learn.fit_one_cycle(1, 0.001)" in program
    assert "# by hand, from epoch 1, batch 5: the schedule's learning rates times 0.5" in program


def test_an_error_in_the_thread_is_the_users_own_error(dls):
    def fail():
        raise ZeroDivisionError("my own callback")

    control = Control()
    worker = TrainingRun(lambda: run(dls, control, At(2, fail))[0], control).start()
    with pytest.raises(ZeroDivisionError, match="my own callback"):
        worker.wait()
    assert worker.learn is None
    assert "failed" in repr(worker)


def test_training_in_a_thread_gives_the_losses_of_training_in_none(dls):
    plain, _ = run(dls, Control(), epochs=1)
    control = Control()
    worker = TrainingRun(lambda: run(dls, control, epochs=1)[0], control).start()
    assert [float(x) for x in worker.wait().recorder.losses] == [float(x) for x in plain.recorder.losses]


# ------------------------------------------------------- whoever asks gets a turn between two batches


@pytest.fixture
def learn(shapes):
    return learner(shapes)


def learner(shapes):
    from fastai.vision.all import Learner, RandomErasing, accuracy, set_seed

    set_seed(0)
    dls = fastmagic.datablock(shapes, bs=8, num_workers=0, batch_tfms=[RandomErasing(p=0.5)])
    # Batch normalisation and dropout: a batch in the wrong mode shows in the losses.
    from torch import nn

    model = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Dropout(), nn.Linear(128, dls.c))  # fmt: skip
    return Learner(dls, model, metrics=accuracy)


def losses(learn) -> list[float]:
    return [float(loss) for loss in learn.recorder.losses] + [v for row in learn.recorder.values for v in row]


def train(learn):
    with learn.no_bar(), learn.no_logging():
        learn.fit_one_cycle(4, 1e-2)


@contextmanager
def asking(ask):
    """Another thread asks again and again while the block runs; gives the list of its answers."""
    answers, errors, over = [], [], threading.Event()

    def work():
        while not over.is_set():
            try:
                answers.append(ask())
            except Exception as error:
                errors.append(error)
                return

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield answers
    finally:
        over.set()
        thread.join()
    assert not errors


@pytest.mark.parametrize("ask", ["predict", "results", "activations"])
def test_who_asks_all_the_time_changes_no_digit_of_the_losses(shapes, ask):
    alone = learner(shapes)
    train(alone)
    asked = learner(shapes)
    picture = asked.dls.train_ds.items[0]
    ways = {
        "predict": lambda: fastmagic.predict(picture, asked),
        "results": lambda: fastmagic.results(asked),
        "activations": lambda: fastmagic.predict([picture] * 3, asked),
    }
    with asking(ways[ask]) as answers:
        train(asked)
        during = len(answers)
    assert during > 2
    assert losses(asked) == losses(alone)
    assert all(torch.equal(a, b) for a, b in zip(asked.model.parameters(), alone.model.parameters(), strict=True))
    assert not any(isinstance(callback, turns.Listener) for callback in asked.cbs)


def test_a_table_is_asked_in_the_same_way():
    import pandas as pd
    from fastai.tabular.all import Categorify, Normalize, TabularDataLoaders, set_seed, tabular_learner

    frame = pd.DataFrame({"a": list("xyzw") * 40, "b": range(160), "y": [0.0, 1.0] * 80})

    def make():
        set_seed(0)
        dls = TabularDataLoaders.from_df(
            frame, procs=[Categorify, Normalize], cat_names=["a"], cont_names=["b"], y_names="y", bs=16,
            valid_idx=list(range(32)),
        )  # fmt: skip
        return tabular_learner(dls, layers=[8])

    alone, asked = make(), make()
    torch.manual_seed(1)
    asked.model.load_state_dict(alone.model.state_dict())
    set_seed(3)
    train(alone)
    set_seed(3)
    with asking(lambda: fastmagic.predict(frame.iloc[:5], asked)) as answers:
        train(asked)
    assert answers
    assert losses(asked) == losses(alone)


def test_a_training_that_begins_during_a_pass_waits_for_its_end(learn):
    begun, go_on = threading.Event(), threading.Event()

    def ask():
        with undisturbed(learn):
            begun.set()
            assert go_on.wait(60)
            assert not learn.model.training

    asking = threading.Thread(target=ask)
    asking.start()
    assert begun.wait(60)
    thread = threading.Thread(target=train, args=[learn])
    thread.start()
    until(lambda: turns.owned(learn.model).waiting)
    assert not hasattr(learn, "iter") or learn.iter is None  # no batch has begun
    go_on.set()
    asking.join(60)
    thread.join(60)
    assert len(learn.recorder.values) == 4


def test_a_paused_training_answers(dls):
    control = Control()
    found, paused = [], threading.Event()

    def pause():
        control.pause()
        paused.set()

    class Keep(turns.Listener):
        def before_fit(self):
            found.append(self.learn)

    thread = threading.Thread(target=run, args=[dls, control, Keep(), At(3, pause)])
    thread.start()
    assert paused.wait(120)
    answer = fastmagic.predict(dls.train_ds.items[0], found[0])
    assert control.paused
    assert answer.label in dls.vocab
    control.stop()
    thread.join(60)
    assert not thread.is_alive()


def test_a_callback_asks_the_model_that_its_own_thread_trains(learn):
    answers = []

    class Ask(turns.Listener):
        def after_epoch(self):
            answers.append(fastmagic.predict(self.learn.dls.train_ds.items[0], self.learn).label)

    learn.add_cb(Ask())
    train(learn)
    assert len(answers) == 4


def test_a_batch_that_does_not_end_is_said_instead_of_waited_for(learn, monkeypatch):
    held, go_on = threading.Event(), threading.Event()

    class Hold(turns.Listener):
        def after_pred(self):
            held.set()
            go_on.wait(60)

    Hold.events = frozenset({"after_pred"})
    learn.add_cb(Hold())
    thread = threading.Thread(target=train, args=[learn])
    thread.start()
    assert held.wait(60)
    monkeypatch.setattr(turns, "PATIENCE", 0.2)
    with pytest.raises(fastmagic.FastmagicError, match="in training") as said:
        fastmagic.predict(learn.dls.train_ds.items[0], learn)
    assert "stop the training" in str(said.value)
    go_on.set()
    thread.join(60)
    assert len(learn.recorder.values) == 4


def test_another_learner_of_the_same_model_has_the_same_owner(learn, shapes):
    from fastai.vision.all import Learner

    other = Learner(learn.dls, learn.model)
    with asking(lambda: fastmagic.predict(learn.dls.train_ds.items[0], other)) as answers:
        train(learn)
    assert answers
    alone = learner(shapes)
    train(alone)
    assert losses(learn) == losses(alone)


def test_a_learner_exported_by_a_callback_needs_nothing_of_ours(learn):
    exported = []

    def export():
        exported.extend(pickle.dumps(cb) for cb in learn.cbs if isinstance(cb, turns.Listener))

    learn.add_cb(At(1, export))
    train(learn)
    assert [type(pickle.loads(callback)) for callback in exported] == [Callback]


class Exporting(Callback):
    """Exports its learner in the middle of a training, as people do to keep what they have so far."""

    order = 100  # after the recorder

    def __init__(self, place=None):
        self.place = place

    def after_epoch(self):
        if self.epoch == 0:
            self.learn.export(self.place)


def test_a_learner_is_exported_in_the_middle_of_our_training(dls, export, tmp_path):
    from fastai.learner import load_learner

    export(run(dls, Control(), epochs=1)[0], tmp_path / "whole.pkl")
    run(dls, Control(), fastmagic.LossPlot(), cbs=Exporting(tmp_path / "half.pkl"))
    half = load_learner(tmp_path / "half.pkl")
    assert not [cb for cb in half.cbs if isinstance(cb, turns.Listener)]
    assert fastmagic.predict(dls.valid_ds.items[0], half).label in dls.vocab


def test_a_callback_that_takes_away_callbacks_leaves_no_model_locked(learn):
    def clear():
        learn.cbs = learn.cbs.filter(lambda callback: not isinstance(callback, turns.Listener))

    learn.add_cb(At(1, clear))
    train(learn)
    done = []
    other = threading.Thread(target=lambda: done.append(fastmagic.predict(learn.dls.valid_ds.items[0], learn)))
    other.start()
    other.join(60)
    assert done
