"""The queues: what is wrong is in them, what is right is not, and odd data make them short, not fail."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter, ImageOps

import fastmagic
from fastmagic.data.image_files import ImageFile, read_image
from fastmagic.data.scan import Scan, measures
from fastmagic.learning import results as results_module
from fastmagic.learning import suspects
from fastmagic.learning.embed import OWN
from fastmagic.learning.results import results


@pytest.fixture(autouse=True)
def no_warnings_from_queues(request):
    """A warning from a background thread would land below whatever cell runs."""
    if "dls" in request.fixturenames:  # fastai's own
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # What an earlier test left to the garbage collector is none of these queues' doing.
        warnings.simplefilter("ignore", ResourceWarning)
        warnings.simplefilter("ignore", pytest.PytestUnraisableExceptionWarning)
        yield


@pytest.fixture(scope="module")
def digits():
    """600 digits: vectors and encoded labels."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        files = sorted(fastmagic.digits().rglob("*.png"))[::3]
        found = fastmagic.embed(files, None, OWN)
    return found.vectors, np.array([int(file.parent.name) for file in found.items])


def swapped(labels, n: int, seed: int = 0):
    """Give `n` labels another class; return them and which."""
    random = np.random.default_rng(seed)
    chosen = random.choice(len(labels), n, replace=False)
    wrong = labels.copy()
    wrong[chosen] = (wrong[chosen] + random.integers(1, labels.max() + 1, n)) % (labels.max() + 1)
    return wrong, set(chosen.tolist())


# ---------------------------------------------------------------- loss


def test_the_highest_loss_comes_first_and_unknown_losses_are_left_out():
    queue = suspects.loss_queue([0.1, float("nan"), 3.0, 0.5])
    assert queue.positions.tolist() == [2, 3, 0]
    assert queue.positions.dtype == np.int32
    assert queue.scores.tolist() == pytest.approx([3.0, 0.5, 0.1])


# ---------------------------------------------------------------- labels


def test_swapped_labels_of_digits_are_found_by_a_probe_that_has_not_seen_them(digits):
    vectors, labels = digits
    wrong, planted = swapped(labels, 30)
    told = suspects.out_of_fold(vectors, wrong, seed=0)
    queue = suspects.label_queue(wrong, told, range(10), "out-of-fold probabilities")
    found = queue.positions.tolist()
    assert len(planted & set(found[:30])) >= 25
    assert len(planted & set(found)) >= 27
    assert len(found) < 60
    assert (np.diff(queue.scores) >= 0).all()
    right = sum(why.startswith(f"{labels[i]}? ") for i, why in zip(found, queue.why, strict=True) if i in planted)
    assert right >= 25
    assert "out-of-fold probabilities" in queue.about


def test_where_all_labels_are_right_none_is_doubted():
    labels = np.repeat([0, 1, 2], 50)
    told = np.eye(3)[labels] * 0.97 + 0.01
    assert len(suspects.label_queue(labels, told, "abc", "the model's probabilities")) == 0


def test_what_has_no_label_or_no_probabilities_is_not_doubted():
    labels = np.repeat([0, 1], 30)
    told = np.eye(2)[labels] * 0.96 + 0.02
    told[[4, 40, 50]] = told[[40, 4, 4]]
    assert set(suspects.label_queue(labels, told, ["no", "yes"], "").positions.tolist()) == {4, 40, 50}
    told[40] = np.nan
    labels[4] = -1
    queue = suspects.label_queue(labels, told, ["no", "yes"], "")
    assert queue.positions.tolist() == [50]
    assert queue.why == ["no? 0.98"]


@pytest.mark.parametrize("counts", [[], [1], [5], [1, 1], [2, 1], [20, 0, 20], [40, 1, 40, 0], [3] * 200])
def test_classes_without_items_or_with_one_are_no_obstacle(counts):
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(len(counts)), counts)
    vectors = random.normal(size=(len(labels), 16)) + 9 * random.normal(size=(max(len(counts), 1), 16))[labels]
    told = suspects.out_of_fold(vectors, labels, classes=len(counts))
    assert told.shape == (len(labels), len(counts))
    # Alone in its class, an item's own class cannot be told by the others.
    alone = np.isin(labels, [c for c, n in enumerate(counts) if n == 1])
    if len(labels) > 1:
        assert np.isnan(told[alone]).all()
    queue = suspects.label_queue(labels, told, range(len(counts)), "")
    assert not np.isin(queue.positions, np.flatnonzero(alone)).any()
    assert len(queue) <= len(labels) / 4


def test_copies_stay_in_one_fold(digits):
    """A copy of an item in the training folds would tell its label, right or wrong."""
    vectors, labels = digits
    wrong, planted = swapped(labels[:200], 20)
    doubled, groups = np.concatenate([vectors[:200]] * 2), np.tile(np.arange(200), 2)
    given = np.concatenate([wrong, wrong])
    apart, together = (
        np.mean([suspects.out_of_fold(doubled, given, group, seed=1)[i, given[i]] for i in planted])
        for group in (groups, None)
    )
    assert apart < 0.1 < together


def test_the_same_seed_gives_the_same_probabilities(digits):
    vectors, labels = digits
    first, second, other = (suspects.out_of_fold(vectors, labels, seed=seed) for seed in (3, 3, 4))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)
    assert np.allclose(first.sum(1), 1, atol=1e-5)


def test_an_item_without_a_label_is_told_by_all_others_and_one_without_a_vector_by_none(digits):
    vectors, labels = digits[0].copy(), digits[1].copy()
    truth = labels[:50].copy()
    labels[:50] = -1
    vectors[60] = np.nan
    told = suspects.out_of_fold(vectors, labels)
    assert (told[:50].argmax(1) == truth).mean() > 0.9
    assert np.isnan(told[60]).all()
    assert np.isfinite(np.delete(told, 60, 0)).all()


def test_of_several_labels_a_missing_one_and_one_too_many_are_named(digits):
    vectors, labels = digits
    hot = np.stack([labels % 2 == 1, labels >= 5, np.isin(labels, [0, 6, 8, 9])], 1)
    given = hot.copy()
    missing, extra = (np.flatnonzero(hot[:, 0] == has)[[5, 50, 90]] for has in (True, False))
    given[missing, 0], given[extra, 0] = False, True
    told = suspects.out_of_fold(vectors, given)
    queue = suspects.label_queue(given, told, ["odd", "large", "round"], "")
    why = dict(zip(queue.positions.tolist(), queue.why, strict=True))
    assert sum(why.get(i, "").startswith("odd? ") for i in missing.tolist()) >= 2
    assert sum(why.get(i, "").startswith("not odd? ") for i in extra.tolist()) >= 2


# ---------------------------------------------------------------- the same photo


def photo(seed: int, size: tuple[int, int] = (240, 200)) -> Image.Image:
    """A scene of its own: a few large shapes that run into each other, with some grain."""
    random = np.random.default_rng(seed)
    patches = Image.fromarray(random.integers(0, 256, (5, 6, 3), dtype=np.uint8))
    scene = np.asarray(patches.resize(size, Image.Resampling.BICUBIC))
    return Image.fromarray(np.clip(scene + random.normal(0, 8, scene.shape), 0, 255).astype("u1"))


@pytest.fixture
def copies(tmp_path, monkeypatch):
    """30 photos; copies of four of them: exact, saved again smaller, mirrored, cropped."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(30):
        photo(i).save(folder / f"{i:02}.png")
    (folder / "exact.png").write_bytes((folder / "01.png").read_bytes())
    photo(2).resize((150, 125)).save(folder / "again.jpg", quality=60)
    ImageOps.mirror(photo(3)).save(folder / "mirrored.png")
    photo(4).crop((6, 5, 234, 195)).save(folder / "cropped.png")
    return sorted(folder.iterdir())


def same(files, splits=None, vectors=True):
    """Return the queue, and its groups as [(names, the kept one among them, why of the last)…]."""
    photos = [read_image(file) for file in files]
    vectors = suspects.embedded(photos) if vectors else None
    queue = suspects.same_queue(photos, Scan(files[0].parent).thumbs, vectors, splits)
    groups = []
    for number in dict.fromkeys(queue.groups.tolist()):
        members = np.flatnonzero(queue.groups == number)
        names = [files[queue.positions[k]].name for k in members]
        kept = [name for name, k in zip(names, members, strict=True) if queue.keep[k]]
        groups.append((names, kept, queue.why[members[-1]]))
    return queue, groups


def test_exact_near_mirrored_and_cropped_copies_are_grouped_in_that_order_with_the_best_first(copies):
    _, groups = same(copies)
    assert groups[0] == (["01.png", "exact.png"], ["01.png"], "exact copy")
    assert groups[1] == (["02.png", "again.jpg"], ["02.png"], "near copy")
    assert sorted(groups[2:]) == [
        (["03.png", "mirrored.png"], ["03.png"], "mirrored or cropped"),
        (["04.png", "cropped.png"], ["04.png"], "mirrored or cropped"),
    ]


def test_without_vectors_exact_and_near_copies_are_found(copies):
    queue, groups = same(copies, vectors=False)
    assert [names for names, _, _ in groups] == [["01.png", "exact.png"], ["02.png", "again.jpg"]]
    assert "embeddings" not in queue.about


def test_groups_that_straddle_train_and_valid_come_first_and_keep_the_copy_in_valid(copies):
    names = [file.name for file in copies]
    splits = ["valid" if name in ("mirrored.png", "exact.png") else "train" for name in names]
    _, groups = same(copies, splits)
    assert groups[0] == (["exact.png", "01.png"], ["exact.png"], "exact copy, in train and valid")
    assert groups[1] == (["mirrored.png", "03.png"], ["mirrored.png"], "mirrored or cropped, in train and valid")
    assert groups[2] == (["02.png", "again.jpg"], ["02.png"], "near copy")


def test_in_a_chain_only_what_is_a_copy_of_a_kept_one_may_go():
    """Frames of a video: the first and the last differ, though each is like the next."""
    angles = np.arange(5) * np.arccos(0.97)
    vectors = np.zeros((40, 64), "f4")
    vectors[:5, 0], vectors[:5, 1] = np.cos(angles), np.sin(angles)
    vectors[5:] = np.eye(64)[5:40]
    hashes = np.random.default_rng(0).integers(0, 2**62, 40).tolist()
    photos = [ImageFile(Path(f"{i:02}"), sha256=str(i), width=99, height=99, phash=h) for i, h in enumerate(hashes)]
    queue = suspects.same_queue(photos, lambda paths: [None] * len(paths), vectors)
    assert sorted(queue.positions.tolist()) == [0, 1, 2, 3, 4]
    assert sorted(queue.positions[queue.keep].tolist()) == [0, 2, 4]


def test_where_all_pictures_are_alike_they_are_no_copies():
    random = np.random.default_rng(0)
    vectors = 1 + 0.05 * random.normal(size=(300, 64)).astype("f4")
    hashes = random.integers(0, 2**62, 300).tolist()
    photos = [ImageFile(Path(str(i)), sha256=str(i), width=99, height=99, phash=h) for i, h in enumerate(hashes)]
    assert len(suspects.same_queue(photos, lambda paths: [None] * len(paths), vectors)) == 0


def test_small_pictures_are_the_same_only_if_their_bytes_are(digits):
    files = sorted(fastmagic.digits().rglob("*.png"))[:200]
    photos = [read_image(file) for file in files]
    vectors = suspects.embedded(photos)
    assert vectors.shape == (200, 288)
    queue = suspects.same_queue([*photos, photos[7]], Scan(None).thumbs, np.concatenate([vectors, vectors[7:8]]))
    assert sorted(queue.positions.tolist()) == [7, 200]


def test_files_that_were_embedded_before_are_not_read_again(copies, monkeypatch):
    photos = [read_image(file) for file in copies]
    first = suspects.embedded(photos)
    monkeypatch.setattr("fastmagic.learning.embed.embed", lambda *args, **options: pytest.fail("read again"))
    again = suspects.embedded([*photos, None, ImageFile(Path("gone.jpg"), "missing")])
    assert np.array_equal(again[: len(photos)], first)
    assert np.isnan(again[len(photos) :]).all()


def test_a_search_ends_where_its_progress_raises(copies):
    photos = [read_image(file) for file in copies]

    def stop(done: int, total: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        suspects.same_queue(photos, Scan(None).thumbs, progress=stop)


# ---------------------------------------------------------------- odd ones


def test_what_lies_far_from_all_others_is_odd_and_the_farthest_comes_first():
    random = np.random.default_rng(0)
    points = random.normal(size=(300, 32)) * 0.2 + np.repeat(np.eye(32)[:3] * 4, 100, axis=0)
    points[17], points[203] = -points[17], points[203] + 2.5 * random.normal(size=32)
    points[40] = np.nan
    queue = suspects.odd_queue(points, "the model's own features")
    assert queue.positions[:2].tolist() == [17, 203]
    assert len(queue) <= 15
    assert "the model's own features" in queue.about


def test_of_many_items_neighbours_are_looked_for_in_a_part(monkeypatch):
    random = np.random.default_rng(0)
    points = random.normal(size=(3000, 8)) * 0.1 + np.eye(8)[random.integers(0, 3, 3000)]
    points[1234] = -points[1234]
    whole = suspects.odd_queue(points, "")
    monkeypatch.setattr(suspects, "NEIGHBOURS", 500)
    part = suspects.odd_queue(points, "")
    assert part.positions[0] == whole.positions[0] == 1234


@pytest.mark.parametrize("features", [None, np.zeros((0, 0)), np.ones((1, 4)), np.ones((50, 4)), np.zeros((50, 4))])
def test_too_few_or_equal_features_have_no_odd_ones(features):
    assert len(suspects.odd_queue(features, "")) == 0


# ---------------------------------------------------------------- quality


def measured(image: Image.Image, name: str = "a.png", **more) -> ImageFile:
    return ImageFile(Path(name), sha256=name, width=image.width, height=image.height, **measures(image), **more)


def queues(photos) -> dict[str, suspects.Queue]:
    return {queue.name: queue for queue in suspects.quality_queues(photos)}


def test_a_dark_a_blurred_a_tiny_a_long_and_a_broken_picture_are_each_in_their_queue():
    photos = [measured(photo(i)) for i in range(20)]
    photos += [
        measured(photo(20).point(lambda value: value // 12)),
        measured(photo(21).filter(ImageFilter.GaussianBlur(6))),
        measured(photo(22, (60, 50))),
        measured(photo(23, (420, 110))),
        ImageFile(Path("b.jpg"), "truncated", "image file is truncated"),
        None,
    ]
    found = queues(photos)
    assert {name: queue.positions.tolist() for name, queue in found.items()} == {
        "dark": [20],
        "blurred": [21],
        "tiny": [22],
        "shape": [23],
        "unreadable": [24],
    }
    assert found["dark"].why[0].startswith("brightness ")
    assert found["dark"].why[0].endswith(" of 255")
    assert found["tiny"].why == ["60 × 50 px"]
    assert found["unreadable"].why == ["truncated: image file is truncated"]


def test_a_bird_before_a_black_background_is_not_too_dark():
    cut_out = Image.new("RGB", (240, 200))
    cut_out.paste(photo(1).resize((80, 70)), (80, 60))
    assert len(queues([*(measured(photo(i)) for i in range(10)), measured(cut_out)])["dark"]) == 0


@pytest.mark.parametrize(
    "usual",
    [
        lambda image: image.point(lambda value: value // 8),
        lambda image: image.filter(ImageFilter.GaussianBlur(5)),
        lambda image: image.resize((32, 32)),
        lambda image: image.resize((800, 120)),
    ],
    ids=["night", "blurred", "icons", "panoramas"],
)
def test_what_is_usual_in_the_data_is_no_fault(usual):
    assert {name: len(queue) for name, queue in queues([measured(usual(photo(i))) for i in range(20)]).items()} == {
        "dark": 0,
        "blurred": 0,
        "tiny": 0,
        "shape": 0,
        "unreadable": 0,
    }


def test_of_nothing_there_are_empty_queues():
    for photos in ([], [None]):
        assert [len(queue) for queue in suspects.quality_queues(photos)] == [0] * 5
        assert len(suspects.same_queue(photos, lambda paths: [])) == 0


# ---------------------------------------------------------------- unlabelled


def test_items_without_a_label_are_found_also_where_there_may_be_several():
    assert suspects.unlabelled_queue(["bird", None, "", float("nan"), "None", "none"]).positions.tolist() == [
        1,
        2,
        3,
        4,
    ]
    assert suspects.unlabelled_queue([("bird",), (), ("bird", "tree")]).positions.tolist() == [1]
    assert len(suspects.unlabelled_queue(None)) == 0


# ---------------------------------------------------------------- features


def learner(dls, model):
    from fastai.vision.all import Learner

    return Learner(dls, model)


def net(*end):
    from torch import nn

    return nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), *end)


def test_results_keep_what_goes_into_the_last_linear_layer(dls):
    import torch
    from torch import nn

    body, head = net(nn.Linear(5, 7), nn.ReLU()), nn.Linear(7, 2)
    learn = learner(dls, nn.Sequential(body, head))
    found = results(learn, "train")
    assert found.features.shape == (len(dls.train_ds), 7)
    assert found.features.dtype == np.float16
    with torch.no_grad():
        again = torch.softmax(head(torch.from_numpy(found.features.astype("f4"))), 1).numpy()
    assert again == pytest.approx(found.probabilities, abs=1e-3)
    assert not any(module._forward_pre_hooks for module in learn.model.modules())


def test_features_change_no_result_and_the_hook_goes_when_the_pass_fails(dls, monkeypatch):
    from torch import nn

    from fastmagic.learning import forward

    learn = learner(dls, net(nn.Dropout(0.5), nn.Linear(5, 2)))
    found = results(learn)
    results_module._cache.clear()
    with monkeypatch.context() as patch:
        patch.setattr(forward._Features, "__enter__", lambda self: self)
        patch.setattr(forward._Features, "__exit__", lambda self, *error: None)
        without = results(learn)
    assert without.features is None
    assert np.array_equal(found.probabilities, without.probabilities)
    assert np.array_equal(found.losses, without.losses)
    results_module._cache.clear()
    monkeypatch.setattr(forward, "_item_losses", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        results(learn)
    assert not any(module._forward_pre_hooks for module in learn.model.modules())


def test_a_model_without_a_linear_layer_over_rows_has_no_features(dls):
    from torch import nn

    class Positions(nn.Module):
        """A linear layer at every pixel, as in segmentation and transformers."""

        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(3, 2)

        def forward(self, x):
            return self.linear(x.permute(0, 2, 3, 1)).mean((1, 2))

    for model in (net(nn.Unflatten(1, (5, 1, 1)), nn.Conv2d(5, 2, 1), nn.Flatten()), Positions()):
        found = results(learner(dls, model))
        assert found.features is None
        assert len(found.probabilities) == len(found)


# ---------------------------------------------------------------- real photos


def test_the_birds_have_copies_that_a_hash_alone_does_not_find(shared_data):
    folder = shared_data / "bird_or_not"
    photos = [read_image(file) for file in sorted(folder.rglob("*")) if file.is_file()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        vectors = suspects.embedded(photos)
    queue = suspects.same_queue(photos, Scan(folder).thumbs, vectors)
    kinds = {why: queue.why.count(why) for why in set(queue.why)}
    assert kinds["exact copy"] > 400
    assert kinds["mirrored or cropped"] >= 10
    # Of each group one is kept at least, and most may go.
    assert set(queue.groups[queue.keep].tolist()) == set(queue.groups.tolist())
    assert queue.keep.mean() < 0.6
