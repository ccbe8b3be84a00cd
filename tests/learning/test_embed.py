"""`fastmagic.embed`: what looks alike lies close together, computed once a content."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image, ImageOps

import fastmagic
from fastmagic.errors import WeightsError
from fastmagic.learning import at_hand
from fastmagic.learning import embed as embedding


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(params=[embedding.OWN, embedding.LITE], ids=lambda backbone: backbone.name)
def backbone(request, monkeypatch):
    """Both networks: the one that comes with fastmagic where the other is not installed."""
    if request.param == embedding.OWN:
        monkeypatch.setattr(at_hand.Package, "file", lambda self: None)
    return request.param


@pytest.fixture
def photos(tmp_path):
    """Twelve pictures of random clouds, so that no two are alike."""
    folder = tmp_path / "photos"
    folder.mkdir()
    random = np.random.default_rng(3)
    for i in range(12):
        clouds = Image.fromarray(random.integers(0, 256, (5, 6, 3), dtype=np.uint8))
        clouds.resize((180, 150), Image.Resampling.BICUBIC).save(folder / f"{i:02}.png")
    return folder


def test_vectors_have_length_one_and_the_order_of_the_items(photos, backbone):
    found = fastmagic.embed(photos)
    assert found.backbone == backbone
    assert found.vectors.shape == (12, {"tiny": 288, "tf_efficientnet_lite0": 320}[backbone.name])
    assert found.vectors.dtype == np.float32
    assert np.linalg.norm(found.vectors, axis=1) == pytest.approx(1, abs=2e-3)
    assert [p.name for p in found.items] == sorted(p.name for p in photos.iterdir())
    alone = fastmagic.embed(found.items[7])
    assert alone.vectors[0] == pytest.approx(found.vectors[7], abs=2e-3)


def test_files_pictures_arrays_and_bytes_are_one_to_it(photos):
    file = photos / "03.png"
    with Image.open(file) as picture:
        several = fastmagic.embed([file, str(file), picture.copy(), np.asarray(picture), file.read_bytes()])
    assert len(several) == 5
    assert several.vectors @ several.vectors[0] == pytest.approx(1, abs=2e-3)


def test_a_loader_a_table_and_a_pattern_name_files_too(photos, shapes):
    import pandas as pd

    dls = fastmagic.datablock(shapes)
    assert len(fastmagic.embed(dls)) == 120
    table = pd.DataFrame({"file": [str(p) for p in sorted(photos.iterdir())]})
    assert len(fastmagic.embed(table)) == 12
    assert len(fastmagic.embed(str(photos / "0*.png"))) == 10


def test_what_was_seen_is_not_computed_again_wherever_it_lies(photos, tmp_path, monkeypatch):
    first = fastmagic.embed(photos)

    def never(network):
        raise AssertionError("the network was asked again")

    monkeypatch.setattr(embedding, "_network", never)
    shutil.move(photos, tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "00.png").rename(tmp_path / "elsewhere" / "99.png")
    again = fastmagic.embed(tmp_path / "elsewhere")
    assert np.array_equal(again.vectors, np.roll(first.vectors, -1, axis=0))


def test_a_copy_mirrored_cropped_or_saved_again_is_a_near_duplicate(photos, backbone):
    with Image.open(photos / "05.png") as picture:
        ImageOps.mirror(picture).save(photos / "mirrored.png")
        picture.save(photos / "small.jpg", quality=50)
        picture.crop((4, 4, 176, 146)).save(photos / "cropped.png")
    found = fastmagic.embed(photos)
    pairs = {frozenset((a.name, b.name)) for a, b, _ in found.near_duplicates()}
    assert {frozenset(("05.png", name)) for name in ("mirrored.png", "small.jpg", "cropped.png")} <= pairs
    assert {a.name for a in found.near_duplicates()[0][:2]} == {"05.png", "mirrored.png"}
    assert len(found.near_duplicates(0.98)) < 15  # of 105; clouds are more alike than photos
    assert found.near_duplicates()[0][2] >= found.near_duplicates()[-1][2]


def test_the_most_similar_come_first_and_the_picture_itself_is_not_among_them(photos, backbone):
    with Image.open(photos / "05.png") as picture:
        ImageOps.mirror(picture).save(photos / "mirrored.png")
        stranger = ImageOps.mirror(picture)
    found = fastmagic.embed(photos)
    (first, likeness), *others = found.similar(photos / "05.png", n=3)
    assert first.name == "mirrored.png"
    assert likeness == pytest.approx(1, abs=5e-3)
    assert len(others) == 2
    assert {p.name for p, _ in found.similar(stranger, n=2)} == {"05.png", "mirrored.png"}


def test_broken_files_are_listed_and_the_others_come(photos):
    (photos / "page.jpg").write_text("<html>404</html>")
    (photos / "cut.png").write_bytes((photos / "00.png").read_bytes()[:200])
    found = fastmagic.embed([*sorted(photos.iterdir()), photos / "gone.jpg"])
    assert len(found) == 12
    reasons = {item.name: reason for item, reason in found.failed}
    assert set(reasons) == {"page.jpg", "cut.png", "gone.jpg"}
    assert "web page" in reasons["page.jpg"]
    assert "no file" in reasons["gone.jpg"]
    assert "3 could not be opened" in repr(found)


def test_nothing_to_look_at_is_an_error_with_the_next_step(photos, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(fastmagic.FastmagicError, match="photos"):
        fastmagic.embed(tmp_path / "photoss")
    with pytest.raises(fastmagic.FastmagicError, match="No pictures"):
        fastmagic.embed(tmp_path / "empty")
    with pytest.raises(fastmagic.FastmagicError, match="No file matches"):
        fastmagic.embed(str(photos / "*.gif"))
    with pytest.raises(fastmagic.FastmagicError, match="is no picture"):
        fastmagic.embed(3.5)


def test_a_cache_that_cannot_be_written_costs_time_only(photos, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert len(fastmagic.embed(photos)) == 12


def test_a_cache_that_is_damaged_costs_time_only(photos, tmp_path):
    (tmp_path / "cache" / "fastmagic").mkdir(parents=True)
    (tmp_path / "cache" / "fastmagic" / "embeddings.sqlite").write_bytes(b"no database at all, whatever it is called")
    assert len(fastmagic.embed(photos)) == 12


def test_progress_is_told(photos):
    told: list[tuple[int, int]] = []
    fastmagic.embed(photos, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (12, 12)


def test_photos_of_one_kind_are_neighbours(shared_data, backbone):
    from fastai.vision.all import get_image_files

    files = sorted(get_image_files(shared_data / "bird_or_not"))[::9]
    found = fastmagic.embed(files)
    kinds = np.array([p.parent.name for p in found.items])
    likeness = found.vectors @ found.vectors.T
    np.fill_diagonal(likeness, -1)
    assert (kinds[likeness.argmax(1)] == kinds).mean() > 0.8


def test_the_vectors_of_two_networks_are_kept_apart(photos, monkeypatch):
    lite = fastmagic.embed(photos)
    own = fastmagic.embed(photos, backbone=embedding.OWN)
    assert lite.vectors.shape[1] != own.vectors.shape[1]
    numbers = [embedding.network_id(backbone) for backbone in (embedding.OWN, embedding.LITE)]
    assert numbers[0] != numbers[1]
    embedding.network_id.cache_clear()
    at_hand.PACKAGES[0].converted().unlink()
    assert [embedding.network_id(backbone) for backbone in (embedding.OWN, embedding.LITE)] == numbers
    monkeypatch.setattr(embedding, "_network", lambda network: pytest.fail("computed again"))
    assert np.array_equal(fastmagic.embed(photos).vectors, lite.vectors)
    assert np.array_equal(fastmagic.embed(photos, backbone=embedding.OWN).vectors, own.vectors)


def test_the_network_is_named_as_an_architecture_is(photos, monkeypatch):
    assert fastmagic.embed(photos, backbone="tiny").backbone == embedding.OWN
    assert fastmagic.embed(photos, backbone="tf_efficientnet_lite0").backbone == embedding.LITE
    with pytest.raises(fastmagic.FastmagicError, match="There are tiny and tf_efficientnet_lite0"):
        fastmagic.embed(photos, backbone="resnet18")
    monkeypatch.setattr(at_hand.Package, "file", lambda self: None)
    with pytest.raises(WeightsError, match=r"fastmagic\[offline\]"):
        fastmagic.embed(photos, backbone="tf_efficientnet_lite0")


def test_what_is_like_another_picture_is_asked_of_the_same_network(photos):
    found = fastmagic.embed(photos, backbone=embedding.OWN)
    with Image.open(photos / "05.png") as picture:
        assert found.similar(ImageOps.mirror(picture), n=1)[0][0].name == "05.png"


def test_a_damaged_package_is_told_and_one_that_cannot_be_kept_gives_way(monkeypatch):
    def raises(error):
        def converted(self):
            raise error

        embedding.network_id.cache_clear()
        monkeypatch.setattr(at_hand.Package, "converted", converted)

    try:
        raises(WeightsError("The weights are cut off.", "Install it again"))
        with pytest.raises(WeightsError, match="cut off"):
            embedding.better()
        raises(fastmagic.FastmagicError("'/cache' cannot be written.", ""))
        assert embedding.better() == embedding.OWN
    finally:
        embedding.network_id.cache_clear()


def test_the_default_bar_finds_copies_among_photos_that_have_some_and_none_where_there_are_none(shared_data, backbone):
    folder = shared_data / "bird_or_not" / "forest"
    found = fastmagic.embed(sorted(p for p in folder.iterdir() if p.suffix.lower() in (".jpg", ".png"))[::2])
    strangers = fastmagic.embed(shared_data / "bears_raw" / "teddy")
    assert not strangers.near_duplicates()
    pairs = found.near_duplicates()
    assert min(likeness for *_, likeness in pairs) >= backbone.same
    assert 0 < len(pairs) < 0.02 * len(found) ** 2 / 2
