"""How pretrained weights are trained on: the new layers, then all, then the better of the two."""

from __future__ import annotations

import pytest
import torch

import fastmagic
from fastmagic.errors import AnswerError, FastmagicError, RefusedError, WeightsError
from fastmagic.learning.control import Control
from fastmagic.learning.train import plan


def body(learn) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in learn.model[0].state_dict().items()}


def fresh(dls) -> dict[str, torch.Tensor]:
    from fastai.vision.all import vision_learner

    return body(vision_learner(dls, fastmagic.tiny))


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], part: str = "") -> bool:
    return all(torch.equal(one[name], other[name]) for name in one if part in name)


def validation_loss(learn) -> float:
    with learn.no_bar(), learn.no_logging():
        return float(learn.validate()[0])


def spoil(learn_epochs: list[int]):
    """A callback that counts epochs, and turns the head's last layer to noise while all layers train."""
    from fastai.callback.core import Callback

    class Spoil(Callback):
        def after_epoch(self):
            learn_epochs.append(self.opt.frozen_idx)

        def after_batch(self):
            if self.training and self.opt.frozen_idx == 0:
                with torch.no_grad():
                    self.model[1][-1].weight.normal_(0, 10)

    return Spoil()


def test_the_new_layers_learn_alone_and_the_pretrained_ones_stay_as_they_came(dls):
    learn = fastmagic.train(dls, "tiny", epochs=0, freeze_epochs=2, checks=False)
    assert len(learn.recorder.values) == 2
    assert same(body(learn), fresh(dls)), "running statistics and all"


def test_then_all_layers_learn_but_the_statistics_of_the_pretrained_ones_stay(dls):
    learn = fastmagic.train(dls, "tiny", epochs=3, freeze_epochs=1, checks=False)
    before, after = fresh(dls), body(learn)
    assert same(before, after, "running_")
    weights = [name for name in before if name.endswith(".weight") and before[name].ndim == 4]
    assert len(weights) > 10
    assert not any(torch.equal(before[name], after[name]) for name in weights), "the first layers too"
    head = [m for m in learn.model[1].modules() if isinstance(m, torch.nn.BatchNorm1d)]
    assert all(int(m.num_batches_tracked) > 0 for m in head), "those of the new layers are learned"


def test_the_better_of_the_two_is_kept_and_said(dls, capsys):
    seen: list[int] = []
    learn = fastmagic.train(dls, "tiny", epochs=1, freeze_epochs=2, cbs=spoil(seen), checks=False)
    said = capsys.readouterr().out
    assert "Training all layers did not help (validation loss" in said
    assert [frozen > 0 for frozen in seen] == [True, True, False]
    assert same(body(learn), fresh(dls)), "the pretrained layers are as they were before all were trained"
    spoiled = float(learn.recorder.values[-1][1])
    assert validation_loss(learn) < spoiled / 2
    alone = fastmagic.train(dls, "tiny", epochs=0, freeze_epochs=2, checks=False)
    assert validation_loss(learn) == pytest.approx(validation_loss(alone), rel=1e-4)


def test_a_loss_that_is_no_number_is_not_the_better_one(dls, capsys):
    from fastai.callback.core import Callback

    class Lost(Callback):
        def after_batch(self):
            if self.training and self.opt.frozen_idx == 0:
                with torch.no_grad():
                    self.model[1][-1].weight.fill_(float("nan"))

    learn = fastmagic.train(dls, "tiny", epochs=1, cbs=Lost(), checks=False)
    assert "did not help" in capsys.readouterr().out
    assert torch.isfinite(torch.tensor(validation_loss(learn)))


def test_nothing_is_said_where_all_layers_are_better(dls, capsys):
    learn = fastmagic.train(dls, "tiny", epochs=3, freeze_epochs=1, checks=False)
    assert "did not help" not in capsys.readouterr().out
    recorded = float(learn.recorder.values[-1][1])
    assert validation_loss(learn) == pytest.approx(recorded, rel=1e-3)


def test_the_best_epoch_that_is_saved_may_be_one_of_the_new_layers(dls, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    learn = fastmagic.train(dls, "tiny", epochs=1, freeze_epochs=2, save="best", cbs=spoil([]), checks=False)
    assert (tmp_path / "models" / "best.pth").is_file()
    assert same(body(learn), fresh(dls))


def test_stopping_early_ends_one_part_not_both(dls, capsys):
    from fastai.callback.core import Callback

    seen: list[int] = []

    class Worse(Callback):
        order = 55  # after the recorder, before the one that stops

        def after_epoch(self):
            seen.append(self.opt.frozen_idx)
            with torch.no_grad():
                self.model[1][-1].weight.normal_(0, 10 * len(seen))

    fastmagic.train(dls, "tiny", epochs=6, freeze_epochs=6, early_stop=1, cbs=Worse(), checks=False)
    frozen = [index for index in seen if index > 0]
    assert 2 <= len(frozen) < 6
    assert 2 <= len(seen) - len(frozen) < 6


def test_the_valley_is_looked_for_once_and_used_by_both(dls, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    learn = fastmagic.train(dls, "tiny", epochs=1, lr="auto", checks=False)
    assert "the valley of lr_find" in capsys.readouterr().out
    code = fastmagic.code(learn)
    assert code.count("lr_find") == 1
    assert "slice(lr / 300, lr / 3)" in code


@pytest.mark.parametrize("after", [1, 4], ids=["new layers", "all layers"])
def test_a_stop_keeps_what_was_learned_and_begins_nothing_more(dls, after, capsys):
    from fastai.callback.core import Callback

    control, seen = Control(), []

    class Stop(Callback):
        def after_batch(self):
            if self.training:
                seen.append(self.opt.frozen_idx)
            if self.training and sum(index == 0 for index in seen) + (after == 1) == 1:
                control.stop()

    learn = plan(dls, "tiny", epochs=2, freeze_epochs=1, cbs=Stop(), checks=False).run(control=control, quiet=True)
    said = capsys.readouterr().out
    assert "Stopped in" in said
    assert "did not help" not in said
    if after == 1:
        assert seen == [seen[0]]
        assert seen[0] > 0
        assert same(body(learn), fresh(dls))
    else:
        assert seen.count(0) == 1


def test_one_epoch_more_is_a_small_one_of_all_layers(dls):
    control = Control()
    control.one_more()
    learn = plan(dls, "tiny", epochs=1, checks=False).run(control=control, quiet=True)
    assert len(learn.recorder.values) == 1
    assert max(learn.recorder.lrs) < 1.1e-4
    assert fastmagic.code(learn).rstrip().endswith("learn.fit_one_cycle(1, slice(1e-06, 0.0001))")
    assert same(body(learn), fresh(dls), "running_")


def test_without_validation_nothing_is_compared(shapes):
    from fastai.vision.all import CategoryBlock, DataBlock, ImageBlock, IndexSplitter, Resize, get_image_files

    block = DataBlock(
        (ImageBlock, CategoryBlock),
        get_items=get_image_files,
        get_y=lambda file: file.parent.name,
        splitter=IndexSplitter([]),
        item_tfms=Resize(32),
    )
    whole = block.dataloaders(shapes, bs=32, num_workers=0)
    planned = plan(whole, "tiny", epochs=1, checks=False)
    assert "head_loss" not in planned.code()
    learn = planned.run(quiet=True)
    assert not same(body(learn), fresh(whole), ".weight"), "all layers were trained"
    assert same(body(learn), fresh(whole), "running_")


def test_several_labels_and_numbers_are_compared_by_loss_too(shapes):
    from fastai.vision.all import ImageBlock, RegressionBlock, Resize

    numbers = fastmagic.datablock(
        shapes, blocks=(ImageBlock, RegressionBlock), get_y=lambda file: float(len(file.parent.name)), item_tfms=Resize(32)
    )  # fmt: skip
    learn = fastmagic.train(numbers, "tiny", epochs=1, checks=False)
    assert "head_loss" in fastmagic.code(learn)


def test_few_photos_get_small_batches_and_more_epochs_of_the_new_layers(shapes, dls):
    from fastai.vision.all import Resize

    large = fastmagic.datablock(shapes, item_tfms=Resize(32), bs=64, num_workers=0)
    planned = plan(large, "tiny", checks=False)
    assert planned.learning.bs == 16
    assert 3 <= planned.learning.freeze_epochs <= 10
    assert planned.title == f"tiny, {planned.learning.freeze_epochs} + 3 epochs"
    assert plan(large, "tiny", bs=64, checks=False).learning.bs == 64
    assert plan(large, "tiny", epochs=1, checks=False).title == "tiny, 1 + 1 epochs"
    assert plan(large, "tiny", epochs=0, freeze_epochs=1, checks=False).title == "tiny, 1 epoch"


def test_fine_tune_is_one_option_away(dls):
    planned = plan(dls, "tiny", recipe="fine_tune", epochs=2, lr=1e-3, freeze_epochs=2, checks=False)
    code = planned.code()
    assert "learn.fine_tune(2, 0.001, freeze_epochs=2)" in code
    assert "BnFreeze" not in code
    assert len(planned.run(quiet=True).recorder.values) == 2


@pytest.mark.parametrize("given", [{"recipe": "fine_tune"}, {"recipe": "head_first"}, {"freeze_epochs": 2}])
def test_what_has_no_pretrained_weights_is_told_that_nothing_is_frozen(dls, given):
    import pandas as pd

    table = fastmagic.datablock(pd.DataFrame({"a": ["p", "q", "q", "r"] * 10, "y": ["u", "v"] * 20}), target="y")
    for refused in (lambda: plan(dls, "tiny", pretrained=False, **given), lambda: plan(table, **given)):
        with pytest.raises(RefusedError, match="train in one cycle") as caught:
            refused()
        assert f"`{next(iter(given))}`" in caught.value.fix


def test_an_unknown_recipe_is_answered_with_the_closest(dls):
    with pytest.raises(AnswerError) as caught:
        plan(dls, "tiny", recipe="finetune")
    assert "fine_tune" in caught.value.fix


@pytest.mark.parametrize(
    "given", [{"epochs": 0, "freeze_epochs": 0}, {"epochs": 0, "pretrained": False}, {"epochs": -1}]
)
def test_no_epoch_at_all_is_refused(dls, given):
    with pytest.raises(FastmagicError, match="train nothing"):
        plan(dls, "tiny", checks=False, **given)


def test_a_file_of_weights_is_trained_on_in_the_same_way(dls, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = fastmagic.train(dls, "tiny", epochs=1, checks=False)
    first.save("mine")
    learn = fastmagic.train(dls, "tiny", weights=first.path / "models" / "mine.pth", epochs=0, checks=False)
    assert same(body(learn), body(first))


def test_a_download_that_breaks_off_is_told_with_a_way_on(dls, tmp_path, monkeypatch):
    """A host that takes the connection and hangs up: the weights could be had, until they could not."""
    import http.server
    import threading

    from fastmagic.learning import at_hand

    class HangsUp(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(503)

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), HangsUp)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}/resnet34-b627a593.pth"
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    monkeypatch.setattr(at_hand, "_torchvision_url", lambda arch: address)
    import torchvision

    weights = torchvision.models.get_model_weights("resnet34").DEFAULT
    object.__setattr__(weights.value, "url", address)
    try:
        with pytest.raises(WeightsError, match=r"weights of resnet34 broke off.*503") as caught:
            fastmagic.train(dls, "resnet34", epochs=1, checks=False)
        assert "train(dls, 'tiny')" in caught.value.fix
    finally:
        server.shutdown()
