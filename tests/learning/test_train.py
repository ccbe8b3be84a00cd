"""`%train`: what the printed program does, stopped well, started from weights that are at hand, and told before it hurts."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path

import pytest

import fastmagic
from fastmagic.errors import FastmagicError
from fastmagic.learning import train as training


@pytest.fixture
def timm_in_cache(tmp_path, monkeypatch):
    """The hub's cache with weights of timm's resnet10t in it, laid out as huggingface_hub lays them out."""
    import timm
    from huggingface_hub import constants
    from safetensors.torch import save_file

    name, revision = "resnet10t.c3_in1k", "a" * 40
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    base = tmp_path / "hub" / f"models--timm--{name}"
    (base / "refs").mkdir(parents=True)
    (base / "refs" / "main").write_text(revision)
    file = base / "snapshots" / revision / "model.safetensors"
    file.parent.mkdir(parents=True)
    save_file(timm.create_model(name, pretrained=False).state_dict(), file)
    return name


def losses(learn) -> list[float]:
    return [float(loss) for loss in learn.recorder.losses]


REPORT = "\nimport json\nprint(json.dumps([list(dls.vocab), [p.name for p in dls.valid_ds.items], [float(l) for l in learn.recorder.losses]]))"


def run_program(program: str, tmp_path: Path) -> list:
    file = tmp_path / "program.py"
    file.write_text(program + REPORT)
    done = subprocess.run([sys.executable, "-W", "ignore", str(file)], capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.strip().splitlines()[-1])


# ---------------------------------------------------------------- the program is what ran


@pytest.mark.parametrize(
    "options",
    [
        {"pretrained": False, "epochs": 1},
        {
            "pretrained": False,
            "epochs": 1,
            "seed": 7,
            "lr": 3e-3,
            "bs": 24,
            "metrics": "[accuracy, F1Score()]",
            "save": "best",
        },
        {"epochs": 1, "seed": 3},
    ],
    ids=["from scratch", "with options", "fine-tuned"],
)
def test_the_printed_program_gives_the_same_losses_in_a_fresh_process(
    shapes, tmp_path, monkeypatch, resnet_in_cache, options
):
    monkeypatch.chdir(tmp_path)
    dls = fastmagic.datablock(shapes)
    fastmagic.train(dls, "resnet18", **options)  # a training before must not change the one that counts
    learn = fastmagic.train(dls, "resnet18", **options)
    program = fastmagic.code(learn)
    assert "fastmagic" not in program
    vocab, valid, same = run_program(program, tmp_path)
    assert vocab == list(dls.vocab)
    assert valid == [p.name for p in dls.valid_ds.items]
    assert same == losses(learn)


def test_the_recipe_fine_tune_is_what_the_plain_lesson_does(shapes, tmp_path, monkeypatch, resnet_in_cache):
    from fastai.vision.all import (
        CategoryBlock,
        DataBlock,
        ImageBlock,
        RandomSplitter,
        Resize,
        error_rate,
        get_image_files,
        parent_label,
        resnet18,
        set_seed,
        vision_learner,
    )  # fmt: skip

    monkeypatch.chdir(tmp_path)
    block = DataBlock(
        (ImageBlock, CategoryBlock), get_items=get_image_files, splitter=RandomSplitter(0.2, seed=42), get_y=parent_label,
        item_tfms=[Resize(32, method="squish")],
    )  # fmt: skip
    plain_dls = block.dataloaders(shapes, bs=32)
    set_seed(42, reproducible=True)
    plain_dls.rng.seed(42)
    plain = vision_learner(plain_dls, resnet18, metrics=error_rate)
    with plain.no_bar(), plain.no_logging():
        plain.fine_tune(1)
    ours = fastmagic.train(block.dataloaders(shapes, bs=32), "resnet18", epochs=1, bs=32, recipe="fine_tune")
    assert losses(ours) == losses(plain)


def test_training_leaves_the_dataloaders_alone(dls):
    before = [str(t) for t in dls.train.after_batch.fs]
    learn = fastmagic.train(dls, "resnet18", pretrained=False, epochs=1)
    assert [str(t) for t in dls.train.after_batch.fs] == before
    assert dls.bs == 32
    assert learn.dls.bs == 16
    assert any("Normalize" in str(t) for t in learn.dls.train.after_batch.fs)


def test_the_same_seed_gives_the_same_run_and_another_seed_another(dls):
    first, same, other = (
        losses(fastmagic.train(dls, "resnet18", pretrained=False, epochs=1, seed=s)) for s in (5, 5, 6)
    )
    assert first == same
    assert first != other


def test_what_the_user_augmented_is_left_as_it_is(shapes):
    from fastai.vision.all import Resize, aug_transforms

    dls = fastmagic.datablock(shapes, item_tfms=Resize(128), batch_tfms=aug_transforms(do_flip=False))
    lines = "\n".join(training.plan(dls, "resnet18", pretrained=False).learning.data)
    assert "aug_transforms" not in lines
    assert "Normalize.from_stats" in lines


def test_large_pictures_are_trained_smaller_from_scratch(shapes):
    from fastai.vision.all import Resize

    plan = training.plan(fastmagic.datablock(shapes, item_tfms=Resize(192)), "resnet18", pretrained=False)
    assert "aug_transforms(size=96)" in plan.code()


def test_training_from_scratch_learns(dls):
    learn = fastmagic.train(dls, "resnet18", pretrained=False)
    assert learn.recorder.final_record[-1] <= 0.1


def test_dataloaders_from_plain_fastai_train_too(shapes):
    from fastai.vision.all import ImageDataLoaders, Resize

    dls = ImageDataLoaders.from_folder(shapes, valid_pct=0.2, item_tfms=Resize(24), bs=16, num_workers=0)
    learn = fastmagic.train(dls, "resnet18", pretrained=False, epochs=1)
    assert "# dls: a DataLoaders of your notebook" in fastmagic.code(learn)
    assert len(learn.recorder.losses) > 0


# ---------------------------------------------------------------- weights


def test_without_internet_the_answer_comes_at_once_and_names_what_is_cached(dls, no_internet, resnet_in_cache):
    started = time.perf_counter()
    with pytest.raises(FastmagicError) as caught:
        fastmagic.train(dls, "resnet34")
    with pytest.raises(FastmagicError):
        fastmagic.train(dls, "convnext_tiny.in22k")
    # huggingface_hub alone retries for 46 s; generous, so that a busy machine does not fail this.
    assert time.perf_counter() - started < 20
    assert "resnet18" in str(caught.value)
    assert "pretrained=False" in str(caught.value)


def test_cached_weights_are_used_without_internet(dls, no_internet, resnet_in_cache):
    learn = fastmagic.train(dls, "resnet18", epochs=1)
    import torch

    assert learn.opt is not None
    assert "learn.freeze()" in fastmagic.code(learn)
    # The stem is among the layers trained least; it still is what the file holds, not a random start.
    stem = torch.load(resnet_in_cache, weights_only=True)["conv1.weight"]
    assert torch.allclose(learn.model[0][0].weight.cpu(), stem, atol=1e-2)


def test_timm_weights_come_from_the_hubs_cache(dls, no_internet, timm_in_cache):
    learn = fastmagic.train(dls, "resnet10t", epochs=1)
    assert "vision_learner(dls, 'resnet10t'" in fastmagic.code(learn)


def test_a_function_that_makes_a_model_is_an_architecture(shell, shapes, tmp_path):
    shell.user_ns["photos"] = shapes
    shell.run(
        "from fastai.vision.all import xresnet18\ndef small(pretrained=False):\n    return xresnet18(act_cls=nn.ReLU)\nfrom torch import nn"
    )
    shell.run("%datablock dls --from photos --show 0")
    shell.run("%train dls small --no-pretrained --epochs 1")
    assert len(shell.user_ns["learn"].recorder.losses) > 0


@pytest.mark.parametrize("kind", ["fastai", "bare", "safetensors"])
def test_a_file_of_weights_is_the_start_of_fine_tuning(dls, tmp_path, monkeypatch, kind, resnet_in_cache):
    import torch

    monkeypatch.chdir(tmp_path)
    if kind == "fastai":
        before = fastmagic.train(dls, "resnet18", pretrained=False, epochs=1, save="best")
        file = Path("models/best.pth")
        stem = before.model[0][0].weight.detach().cpu().clone()
    else:
        state = torch.load(resnet_in_cache, weights_only=True)
        stem, file = state["conv1.weight"], resnet_in_cache
        if kind == "safetensors":
            from safetensors.torch import save_file

            file = tmp_path / "w.safetensors"
            save_file(state, file)
    plan = training.plan(dls, "resnet18", weights=file, epochs=1, lr=1e-6)
    learn = plan.run()
    assert torch.allclose(learn.model[0][0].weight.cpu(), stem, atol=1e-4)
    assert "learn.freeze()" in plan.code()


def test_weights_that_do_not_fit_are_refused(dls, tmp_path, resnet_in_cache):
    with pytest.raises(FastmagicError, match="does not fit resnet34"):
        fastmagic.train(dls, "resnet34", weights=resnet_in_cache)
    with pytest.raises(FastmagicError, match=r"Did you mean 'resnet18-f37072fd\.pth'"):
        fastmagic.train(dls, "resnet18", weights=resnet_in_cache.with_name("resnet18.pth"))
    (tmp_path / "junk.pth").write_text("no weights")
    with pytest.raises(FastmagicError, match="cannot be read as weights"):
        fastmagic.train(dls, "resnet18", weights=tmp_path / "junk.pth")


@pytest.mark.parametrize(
    ("typed", "means"),
    [
        ("resnet18", "resnet18"),
        ("convnext_tiny.in22k", "convnext_tiny.fb_in22k"),
        ("convnext_tiny_in22k", "convnext_tiny.fb_in22k"),
        ("vit_b_16", "vit_b_16"),
    ],
)
def test_names_of_all_three_libraries_are_understood(typed, means):
    from fastmagic.learning.architectures import find

    assert find(typed).name == means


def test_models_lists_by_pattern():
    names = list(fastmagic.models("convnext_tiny*"))
    assert "convnext_tiny.fb_in22k" in names
    assert all(name.startswith("convnext_tiny") for name in names)
    with pytest.raises(FastmagicError, match="Did you mean"):
        fastmagic.models("resnett18")


# ---------------------------------------------------------------- told before


def test_too_few_steps_are_pointed_out_before_training(dls):
    notes = training.plan(dls, "resnet18", pretrained=False, epochs=1, bs=32).notes
    assert any("3 steps" in note and "`epochs=" in note for note in notes)
    assert not any("too few" in note for note in training.plan(dls, "resnet18", pretrained=False).notes)


def test_the_fast_checks_say_one_line_when_all_is_well(shapes, capsys):
    from fastai.vision.all import RandomSplitter, Resize

    dls = fastmagic.datablock(shapes, item_tfms=Resize(32), splitter=RandomSplitter(0.3, seed=1))
    notes = training.plan(dls, "resnet18", pretrained=False).notes
    assert notes[0].splitlines() == ["✓ 84 + 36 photos, 2 classes: nothing wrong found (fast checks)"]
    assert not training.plan(dls, "resnet18", pretrained=False, checks=False).notes[0].startswith("✓")


def test_hopeless_data_are_refused_with_the_fix_and_no_check_trains_all_the_same(tmp_path):
    import numpy as np
    from PIL import Image

    for i in range(20):
        (tmp_path / f"class{i}").mkdir()
        noise = np.random.default_rng(i).integers(0, 255, (32, 32, 3)).astype("uint8")
        Image.fromarray(noise).save(tmp_path / f"class{i}" / "a.png")
    dls = fastmagic.datablock(tmp_path, bs=4)
    with pytest.raises(FastmagicError, match="class"):
        fastmagic.train(dls, "resnet18", pretrained=False, epochs=1)
    assert training.plan(dls, "resnet18", pretrained=False, epochs=1, checks=False).fit


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({"arch": "resnt18"}, "Did you mean 'resnet18'"),
        ({"epochs": 0}, "train nothing"),
        ({"metrics": "acuracy"}, "Did you mean 'accuracy'"),
        ({"metrics": "F1Score(averag='macro')"}, "does not work here"),
    ],
)
def test_wrong_arguments_are_answered_before_anything_is_trained(dls, options, cause):
    with pytest.raises(FastmagicError, match=cause):
        training.plan(dls, **{"arch": "resnet18", "pretrained": False, **options})


def test_categories_that_a_transform_of_ones_own_makes_are_categories(shapes):
    from fastai.vision.all import Datasets, PILImage, Resize, TensorCategory, ToTensor, get_image_files

    def code(file):
        return TensorCategory(int(file.parent.name == "disc"))

    items = get_image_files(shapes).sorted()
    sets = Datasets(items, [[PILImage.create], [code]], splits=[range(0, 100), range(100, 120)])
    dls = sets.dataloaders(bs=10, after_item=[Resize(48), ToTensor()])
    dls.c = 2
    assert "metrics=error_rate" in training.plan(dls, "resnet18", pretrained=False).code()


def test_data_of_no_known_kind_are_refused():
    from fastai.data.core import DataLoaders, Datasets

    sets = Datasets(list(range(40)), [[lambda i: i / 10], [lambda i: i / 5]], splits=[range(30), range(30, 40)])
    dls: DataLoaders = sets.dataloaders(bs=4, num_workers=0)
    with pytest.raises(FastmagicError, match="does not know such data; the first item of them is a float"):
        fastmagic.train(dls)


# ---------------------------------------------------------------- while it runs


class InterruptAt:
    """Sends Ctrl-C while a given batch of a training runs."""

    def __new__(cls, batch: int):
        from fastai.callback.core import Callback

        class Interrupt(Callback):
            def after_pred(self):
                if self.training and self.learn.recorder.iters is not None and len(self.learn.recorder.losses) == batch:
                    os.kill(os.getpid(), signal.SIGINT)

        return Interrupt()


def test_an_interrupt_stops_after_the_batch_and_keeps_what_was_learned(dls, capsys):
    before = signal.getsignal(signal.SIGINT)  # a job in the background ignores it
    learn = fastmagic.train(dls, "resnet18", pretrained=False, epochs=5, cbs=InterruptAt(8))
    assert len(learn.recorder.losses) == 9
    assert "Stopped in epoch 2, batch 3 of 6" in capsys.readouterr().out
    assert signal.getsignal(signal.SIGINT) is before
    assert learn.validate()[0] > 0
    learn.fit(1)
    assert len(learn.recorder.losses) == 6


def test_an_interrupt_in_the_frozen_epoch_ends_the_whole_schedule(dls, resnet_in_cache):
    learn = fastmagic.train(dls, "resnet18", epochs=3, cbs=InterruptAt(1))
    assert len(learn.recorder.losses) == 2


def test_workers_survive_an_interrupt_of_the_whole_process_group(shapes, tmp_path):
    """Jupyter interrupts the kernel's process group, its loader workers included."""
    program = f"""
import fastmagic, os, signal
from fastai.callback.core import Callback
class Interrupt(Callback):
    def after_pred(self):
        if self.training and len(self.learn.recorder.losses) == 3: os.killpg(os.getpgrp(), signal.SIGINT)
if __name__ == "__main__":
    from fastai.vision.all import Resize
    dls = fastmagic.datablock({str(shapes)!r}, item_tfms=Resize(24), bs=16, num_workers=2)
    learn = fastmagic.train(dls, 'resnet18', pretrained=False, epochs=3, cbs=Interrupt())
    print('learned', len(learn.recorder.losses))
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        capture_output=True,
        text=True,
        timeout=300,
        start_new_session=True,
        cwd=tmp_path,
    )
    assert "learned 4" in done.stdout, done.stderr


def test_out_of_memory_names_a_batch_size_and_leaves_everything_usable(dls, capsys):
    from fastai.callback.core import Callback

    class Full(Callback):
        def before_backward(self):
            raise RuntimeError(
                "[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
            )

    with pytest.raises(FastmagicError, match="`bs=8`"):
        fastmagic.train(dls, "resnet18", pretrained=False, epochs=1, cbs=Full())
    assert len(fastmagic.train(dls, "resnet18", pretrained=False, epochs=1).recorder.losses) == 6


def test_what_did_not_fit_into_memory_is_freed(dls):
    """What the failed batch and the optimizer held lives on in a traceback, and a smaller batch would not fit either."""
    import torch
    from fastai.callback.core import Callback

    held = []

    class TooMuch(Callback):
        def after_step(self):
            batch, gradient = torch.zeros(64), next(self.model.parameters()).grad
            held.extend(map(weakref.ref, [batch, self.learn.loss, gradient, self.learn.opt]))
            raise RuntimeError("CUDA out of memory")

    with pytest.raises(FastmagicError, match="memory") as error:
        fastmagic.train(dls, "resnet18", pretrained=False, epochs=1, cbs=TooMuch())
    gc.collect()
    assert error.value.__cause__ is None
    assert [one() for one in held] == [None] * 4


def test_a_users_own_error_in_a_callback_comes_through(dls):
    from fastai.callback.core import Callback

    class Wrong(Callback):
        def after_batch(self):
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        fastmagic.train(dls, "resnet18", pretrained=False, epochs=1, cbs=Wrong())


def test_callbacks_and_metrics_by_variable_from_a_cell(shell, shapes, capsys):
    shell.user_ns["photos"] = shapes
    shell.run("""
from fastai.callback.core import Callback
seen = []
class Count(Callback):
    def after_epoch(self): seen.append(self.epoch)
counter = Count()
def half(input, target): return (input.argmax(-1) == target).float().mean() / 2
""")
    shell.run("%datablock dls --from photos --show 0")
    shell.run(
        "%train dls resnet18 --no-pretrained --epochs 2 --cbs counter,Count() --metrics half,accuracy --into mine"
    )
    assert shell.user_ns["seen"] == [0, 0, 1, 1]
    values = shell.user_ns["mine"].recorder.final_record
    assert values[-2] * 2 == pytest.approx(values[-1])
    out = capsys.readouterr().out
    assert "half" in out
    assert out.count("epoch") >= 1


def test_the_best_epoch_is_kept_and_early_stopping_stops(dls, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    import torch

    learn = fastmagic.train(dls, "resnet18", pretrained=False, epochs=2, save="best")
    best = torch.load(tmp_path / "models" / "best.pth", weights_only=True)
    assert torch.equal(best["0.0.weight"], learn.model[0][0].weight)
    # A rate at which nothing improves: the losses are not even numbers.
    stopped = fastmagic.train(dls, "resnet18", pretrained=False, epochs=6, early_stop=1, lr=1e6)
    assert len(stopped.recorder.values) < 6


def test_lr_auto_takes_the_valley_of_lr_find(dls, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    learn = fastmagic.train(dls, "tiny", pretrained=False, epochs=1, lr="auto")
    assert "lr = learn.lr_find(show_plot=False).valley" in fastmagic.code(learn)
    assert "the valley of lr_find" in capsys.readouterr().out


def test_the_table_of_epochs_tells_frozen_epochs_from_the_others(dls, resnet_in_cache):
    from fastmagic.learning.progress import EpochTable

    shown = []
    training.plan(dls, "resnet18", epochs=2).run(watch=[EpochTable(shown.append)], quiet=True)
    lines = shown[-1].text.splitlines()
    assert lines[0].split() == ["epoch", "train_loss", "valid_loss", "error_rate", "time"]
    assert [line.split("  ")[0].strip() for line in lines[1:]] == ["1 (body frozen)", "2 (body frozen)", "1", "2"]


# ---------------------------------------------------------------- typed in a notebook


@pytest.fixture
def notebook(shell, shapes):
    shell.user_ns["photos"] = shapes
    shell.run("%%datablock dls --from photos --show 0\nitem_tfms = Resize(24)")
    return shell


def test_lr_auto_works_with_the_table_of_epochs(notebook, capsys):
    notebook.run("%train dls tiny --no-pretrained --epochs 1 --lr auto")
    out = capsys.readouterr().out
    assert "the valley of lr_find" in out
    assert len(notebook.user_ns["learn"].recorder.losses) == 6


def test_an_assignment_is_another_way_to_name_the_result(notebook):
    notebook.run("mine = %train dls resnet18 --no-pretrained --epochs 1")
    assert len(notebook.user_ns["mine"].recorder.losses) == 6


def test_a_users_own_names_do_not_change_what_fastais_mean(notebook, capsys):
    notebook.run("error_rate = 0.3\nlr = 0.5\nvision_learner = None")
    notebook.run("%train dls resnet18 --no-pretrained --epochs 1")
    assert "valley" not in capsys.readouterr().out
    assert notebook.user_ns["learn"].recorder.metric_names[3] == "error_rate"


def test_a_second_interrupt_at_once_keeps_the_learner_too(dls, capsys):
    from fastai.callback.core import Callback

    class Twice(Callback):
        def after_pred(self):
            if self.training and len(self.learn.recorder.losses) == 2:
                os.kill(os.getpid(), signal.SIGINT)
                os.kill(os.getpid(), signal.SIGINT)

    learn = fastmagic.train(dls, "resnet18", pretrained=False, epochs=2, cbs=Twice())
    assert len(learn.recorder.losses) == 2
    assert "Stopped" in capsys.readouterr().out


def test_an_interrupt_while_looking_for_the_learning_rate_gives_a_learner(dls):
    from fastai.callback.core import Callback
    from fastai.learner import Learner

    class AtOnce(Callback):
        def after_pred(self):
            os.kill(os.getpid(), signal.SIGINT)

    stopped = training.plan(dls, "tiny", pretrained=False, epochs=2, lr="auto").run(watch=[AtOnce()])
    assert isinstance(stopped, Learner)


def test_several_labels_have_their_own_metric(shapes):
    from fastai.vision.all import ImageBlock, MultiCategoryBlock, Resize

    dls = fastmagic.datablock(
        shapes, blocks=(ImageBlock, MultiCategoryBlock), get_y=lambda p: [p.parent.name, "shape"], item_tfms=Resize(24)
    )
    learn = fastmagic.train(dls, "resnet18", pretrained=False, epochs=1)
    assert learn.recorder.metric_names[3] == "accuracy_multi"


def test_from_which_probability_a_label_is_given_is_chosen_by_validation(shapes, capsys):
    from fastai.vision.all import ImageBlock, MultiCategoryBlock, Resize
    from sklearn.metrics import f1_score

    dls = fastmagic.datablock(
        shapes,
        blocks=(ImageBlock, MultiCategoryBlock),
        get_y=lambda p: [p.parent.name] + (["tenth"] if p.stem.endswith("0") else []),
        item_tfms=Resize(24),
    )
    learn = fastmagic.train(dls, "resnet18", pretrained=False, epochs=3)
    assert "A label is given from a probability of" in capsys.readouterr().out
    found = fastmagic.results(learn)
    assert found.threshold == learn.loss_func.thresh
    actual = found._hot(found.targets)
    scores = {t / 100: f1_score(actual, found.probabilities > t / 100, average="micro") for t in range(5, 100, 5)}
    assert scores[found.threshold] == pytest.approx(max(scores.values()))
    assert fastmagic.code(learn).rstrip().splitlines()[-1].startswith("learn.loss_func.thresh = max(")
    one = fastmagic.predict(dls.train.items[0], learn)
    assert one.label == [name for name, share in one.probabilities.items() if share > found.threshold]


def test_numbers_stay_in_their_range_with_pretrained_weights(shapes):
    import pandas as pd
    from fastai.vision.all import get_image_files

    files = [str(file) for file in sorted(get_image_files(shapes))]
    dls = fastmagic.datablock(pd.DataFrame({"file": files, "target": [20.0 + i % 50 for i in range(len(files))]}))
    plan = training.plan(dls, "tiny", epochs=1)
    assert "y_range=(17.6, 71.5)" in plan.code()
    assert "y_range" not in training.plan(dls, "resnet18", pretrained=False).code()
    learn = plan.run()
    assert 17 <= float(fastmagic.predict(files[0], learn).label) <= 72


def test_a_metric_that_cannot_work_is_refused_before_training(tmp_path):
    import numpy as np
    from PIL import Image

    for i in range(60):
        (tmp_path / "abc"[i % 3]).mkdir(exist_ok=True)
        noise = np.random.default_rng(i).integers(0, 255, (32, 32, 3)).astype("uint8")
        Image.fromarray(noise).save(tmp_path / "abc"[i % 3] / f"{i}.png")
    dls = fastmagic.datablock(tmp_path)
    with pytest.raises(FastmagicError, match="average='macro'"):
        training.plan(dls, "resnet18", pretrained=False, metrics="F1Score()")
    assert training.plan(dls, "resnet18", pretrained=False, metrics="F1Score(average='macro')").fit


def test_what_learn_save_writes_can_be_the_start(dls, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    learn = fastmagic.train(dls, "resnet18", pretrained=False, epochs=1)
    file = learn.save("with_optimizer")
    again = fastmagic.train(dls, "resnet18", weights=file, epochs=1)
    assert "weights_only=True" in fastmagic.code(again)


def test_whole_models_of_another_architecture_are_refused(dls, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = fastmagic.train(dls, "resnet18", pretrained=False, epochs=1).save("w")
    with pytest.raises(FastmagicError, match="do not fit resnet34"):
        fastmagic.train(dls, "resnet34", weights=file, epochs=1)


def test_architectures_that_cannot_be_used_are_answered_in_words(dls):
    with pytest.raises(FastmagicError, match="cannot cut vit_b_16"):
        fastmagic.train(dls, "vit_b_16", pretrained=False, epochs=1)
    with pytest.raises(FastmagicError, match=r"Resize\(224\)"):
        fastmagic.train(dls, "vit_tiny_patch16_224", pretrained=False, epochs=1)


def test_a_model_of_one_size_is_not_given_smaller_pictures(shapes):
    from fastai.vision.all import Resize

    dls = fastmagic.datablock(shapes, item_tfms=Resize(224))
    assert "size=96" not in training.plan(dls, "vit_tiny_patch16_224", pretrained=False).code()


def test_loaders_of_another_type_are_not_changed_and_train_the_same_twice(shapes):
    from fastai.callback.data import WeightedDL
    from fastai.data.core import DataLoaders
    from fastai.vision.all import Resize

    plain = fastmagic.datablock(shapes, item_tfms=Resize(24), bs=16, num_workers=0)
    weighted = WeightedDL(
        plain.train_ds, bs=16, wgts=[1.0] * 90 + [5.0] * 6, num_workers=0, shuffle=True, drop_last=True,
        after_item=plain.train.after_item, after_batch=plain.train.after_batch,
    )  # fmt: skip
    dls = DataLoaders(weighted, plain.valid, path=".", device=plain.device)
    before = [str(t) for t in dls.train.after_batch.fs]
    first = fastmagic.train(dls, "resnet18", pretrained=False, epochs=1)
    assert [str(t) for t in dls.train.after_batch.fs] == before
    assert type(first.dls.train) is WeightedDL
    again = fastmagic.train(dls, "resnet18", pretrained=False, epochs=1)
    assert fastmagic.code(first) == fastmagic.code(again)


def test_a_test_set_among_the_loaders_stays(shapes):
    from fastai.data.core import DataLoaders
    from fastai.vision.all import Resize

    two = fastmagic.datablock(shapes, item_tfms=Resize(24), bs=32, num_workers=0)
    dls = DataLoaders(*two.loaders, two.valid.new(), path=".", device=two.device)
    learn = fastmagic.train(dls, "resnet18", pretrained=False, epochs=1)
    assert len(learn.dls.loaders) == 3


def test_the_batch_size_that_counts_is_the_one_trained_with(shapes):
    from fastai.vision.all import RandomSplitter, Resize

    dls = fastmagic.datablock(shapes, item_tfms=Resize(24), splitter=RandomSplitter(0.6, seed=1), bs=64, num_workers=0)
    assert len(dls.train) == 0
    assert len(fastmagic.train(dls, "resnet18", pretrained=False, epochs=1).recorder.losses) == 3
    with pytest.raises(FastmagicError, match="do not fill one batch of 500"):
        training.plan(dls, "resnet18", pretrained=False, bs=500)


def test_grey_pictures_train_with_one_channel(shapes):
    from fastai.vision.all import CategoryBlock, ImageBlock, PILImageBW, Resize

    dls = fastmagic.datablock(shapes, blocks=(ImageBlock(cls=PILImageBW), CategoryBlock), item_tfms=Resize(24), bs=16)
    learn = fastmagic.train(dls, "resnet18", pretrained=False, epochs=1)
    assert learn.model[0][0].in_channels == 1


def test_metrics_are_one_text_as_on_a_magics_line(dls):
    planned = training.plan(dls, "resnet18", pretrained=False, metrics="accuracy, error_rate")
    assert "metrics=[accuracy, error_rate]" in planned.code()
    assert "metrics=(accuracy, error_rate)" in training.plan(dls, "resnet18", pretrained=False, metrics="(accuracy, error_rate)").code()  # fmt: skip


def test_the_terminals_table_keeps_its_header_whatever_a_metric_is_called(capsys):
    from fastmagic.learning.progress import print_lines
    from fastmagic.render import Shown

    show = print_lines()
    table = "epoch  train_loss  proof\n1      0.5         0.1"
    show(Shown("", "epoch 1 of 3, training batch 2 of 9"))
    show(Shown("", table))
    assert capsys.readouterr().out == table + "\n"
