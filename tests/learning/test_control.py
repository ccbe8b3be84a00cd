"""A training can be stopped, paused, re-rated and lengthened from another thread while it runs."""

from __future__ import annotations

import threading
import time

import pytest

import fastmagic
from fastmagic.learning import train as training
from fastmagic.learning.control import Control
from fastmagic.learning.worker import TrainingRun


@pytest.fixture(scope="module")
def dls(shapes):
    return fastmagic.datablock(shapes, bs=16, num_workers=0)


class At:
    """Does something when the training has seen a given number of batches."""

    def __new__(cls, batch: int, action):
        from fastai.callback.core import Callback

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

    def wait():
        held.set()
        really_wait()

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
    assert "learn.fit_one_cycle(1, 0.01 / 10)" in program
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
