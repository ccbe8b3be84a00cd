"""The scan of a data set's files: what is known stays known, what is looked at comes first, and a broken cache costs only itself."""

import io
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

import fastmagic
from fastmagic.data import scan as scanning
from fastmagic.data.image_files import read_image
from fastmagic.data.scan import Scan


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "fastmagic" / "cleaner"


def picture(seed: int, size: tuple[int, int] = (240, 180)) -> Image.Image:
    random = np.random.default_rng(seed)
    patches = Image.fromarray(random.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    return Image.fromarray(np.clip(np.asarray(patches) + random.normal(0, 9, (*size[::-1], 3)), 0, 255).astype("u1"))


@pytest.fixture
def photos(tmp_path) -> list[Path]:
    """Twelve photos, a small PNG, a text and a photo that was cut off."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(12):
        picture(i).save(folder / f"{i:02}.jpg")
    picture(20, (40, 30)).save(folder / "small.png")
    (folder / "text.jpg").write_text("no picture")
    (folder / "cut.jpg").write_bytes((folder / "00.jpg").read_bytes()[:3000])
    return sorted(folder.iterdir())


def scanned(scan: Scan, paths: list[Path]) -> list[tuple[int, int]]:
    """Scan to the end; return what `progress` was told."""
    told: list[tuple[int, int]] = []
    ended = threading.Event()
    scan.start(paths, lambda done, total: told.append((done, total)), ended.set)
    assert ended.wait(60)
    return told


@pytest.fixture
def opened(monkeypatch) -> list[Path]:
    """The files that were decoded since."""
    seen: list[Path] = []
    real = scanning.open_image_file
    monkeypatch.setattr(scanning, "open_image_file", lambda path, least: seen.append(path) or real(path, least))
    return seen


def by_name(paths, values) -> dict[str, object]:
    return {path.name: value for path, value in zip(paths, values, strict=True)}


def test_thumbnails_are_small_jpegs_small_pictures_lossless_and_what_is_no_picture_none(photos):
    made = by_name(photos, Scan(photos[0].parent).thumbnails(photos))
    image = Image.open(io.BytesIO(made["03.jpg"]))
    assert (image.format, image.size) == ("JPEG", (160, 120))
    assert len(made["03.jpg"]) < 12_000
    small = Image.open(io.BytesIO(made["small.png"]))
    assert small.format == "PNG"
    assert np.array_equal(np.asarray(small), np.asarray(Image.open(photos[0].parent / "small.png")))
    assert made["text.jpg"] is None


def test_a_thumbnail_is_not_turned_by_exif_because_fastai_does_not_turn_it(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(0).save(tmp_path / "turned.jpg", exif=exif)
    (data,) = Scan(tmp_path).thumbnails([tmp_path / "turned.jpg"])
    assert Image.open(io.BytesIO(data)).size == (160, 120)


def test_thumbnails_are_kept_for_the_next_session_and_made_anew_for_a_changed_file(photos, monkeypatch):
    first = Scan(photos[0].parent).thumbnails(photos)
    made: list[bytes] = []
    real = scanning._thumbnail_of
    monkeypatch.setattr(scanning, "_thumbnail_of", lambda file: made.append(file) or real(file))
    assert Scan(photos[0].parent).thumbnails(photos) == first
    assert made == []
    picture(99).save(photos[0])
    again = Scan(photos[0].parent).thumbnails(photos)
    assert made == [os.fsencode(photos[0])]
    assert again[0] != first[0]
    assert again[1:] == first[1:]


def test_what_is_missing_or_no_file_at_all_has_no_thumbnail_and_no_photo(photos):
    scan = Scan(photos[0].parent)
    gone = photos[0].parent / "gone.jpg"
    assert scan.thumbnails([gone, None]) == [None, None]
    scanned(scan, [gone])
    found, nothing = scan.photos([gone, None])
    assert found.problem == "missing"
    assert nothing is None


def test_the_scan_says_of_every_file_what_read_photo_says(photos):
    scan = Scan(photos[0].parent)
    assert scan.photos(photos) == [None] * len(photos)
    scanned(scan, photos)
    for found, path in zip(scan.photos(photos), photos, strict=True):
        alone = read_image(path)
        for name in (
            "path",
            "problem",
            "sha256",
            "format",
            "mode",
            "width",
            "height",
            "frames",
            "turned",
            "transparent",
        ):
            assert getattr(found, name) == getattr(alone, name), (path, name)
        # Decoded at another reduction, a hash may differ by a bit or two.
        assert (found.phash ^ alone.phash).bit_count() <= 4


def test_progress_tells_of_what_can_be_read_and_ends_with_all(photos):
    scan = Scan(photos[0].parent)
    known: list[int] = []
    ended = threading.Event()

    def progress(done: int, total: int) -> None:
        known.append(done)
        assert sum(photo is not None for photo in scan.photos(photos)) == done
        assert total == len(photos)

    scan.start([*photos, None, photos[0]], progress, ended.set)
    assert ended.wait(60)
    assert known[0] == 0
    assert known[-1] == len(photos)


def test_a_second_scan_reads_only_what_changed(photos, opened):
    scanned(Scan(photos[0].parent), photos)
    opened.clear()
    before = by_name(photos, Scan(photos[0].parent).photos(photos))
    picture(99).save(photos[3])
    told = scanned(Scan(photos[0].parent), photos)
    assert opened == [photos[3]]
    assert told == [(len(photos) - 1, len(photos)), (len(photos), len(photos))]
    after = by_name(photos, Scan(photos[0].parent).photos(photos))
    assert after[photos[3].name].sha256 != before[photos[3].name].sha256
    assert after[photos[4].name] == before[photos[4].name]


def test_the_scan_makes_the_thumbnails_in_the_same_decoding(photos, monkeypatch):
    scan = Scan(photos[0].parent)
    scanned(scan, photos)
    monkeypatch.setattr(scanning, "_thumbnail_of", lambda file: pytest.fail(f"{file} was decoded twice"))
    made = by_name(photos, scan.thumbnails(photos))
    assert Image.open(io.BytesIO(made["03.jpg"])).size == (160, 120)
    assert made["cut.jpg"] is None


def test_a_stopped_scan_keeps_what_it_read_and_goes_on_later(photos, opened, monkeypatch):
    monkeypatch.setattr(scanning, "BATCH", 4)
    scan = Scan(photos[0].parent)
    ended = threading.Event()
    scan.start(photos, lambda done, total: scan.stop() if done else None, ended.set)
    scan._thread.join(60)
    assert not ended.is_set()
    assert not scan.running
    known = [photo for photo in scan.photos(photos) if photo is not None]
    assert len(known) == 4
    opened.clear()
    scanned(scan, photos)
    assert len(opened) == len(photos) - 4


def test_the_scan_waits_while_someone_waits_for_thumbnails(photos, monkeypatch):
    scan = Scan(photos[0].parent)
    looking, read = threading.Event(), threading.Event()
    real_look, real_thumbnail = scanning._looked_at, scanning._thumbnail_of

    def look(file):
        read.set()
        return real_look(file)

    def thumbnail(file):
        if not looking.is_set():
            looking.set()
            ended = threading.Event()
            scan.start(photos, done=ended.set)
            assert not read.wait(0.3)  # the scan has begun, and reads nothing
        return real_thumbnail(file)

    monkeypatch.setattr(scanning, "_looked_at", look)
    monkeypatch.setattr(scanning, "_thumbnail_of", thumbnail)
    scan.thumbnails(photos[:1])
    assert read.wait(30)
    scan.stop()


def test_several_scans_of_one_folder_share_what_they_know(photos, opened):
    scans = [Scan(photos[0].parent) for _ in range(4)]
    ended = [threading.Event() for _ in scans]
    for scan, event in zip(scans, ended, strict=True):
        scan.start(photos, done=event.set)
    assert [len(scan.thumbnails(photos)) for scan in scans] == [len(photos)] * 4
    assert all(event.wait(60) for event in ended)
    opened.clear()
    scanned(Scan(photos[0].parent), photos)
    assert opened == []


@pytest.mark.parametrize("damage", [b"", b"this is no database" * 500, None])
def test_a_damaged_cache_is_begun_anew(photos, cache, damage):
    scan = Scan(photos[0].parent)
    scanned(scan, photos)
    (file,) = cache.glob("*.sqlite")
    if damage is None:  # its head is whole, a page behind it is not
        data = bytearray(file.read_bytes())
        data[4096:12288] = os.urandom(8192)
        damage = bytes(data)
    file.write_bytes(damage)
    fresh = Scan(photos[0].parent)
    assert sum(data is not None for data in fresh.thumbnails(photos)) == 13
    scanned(fresh, photos)
    assert all(photo is not None for photo in fresh.photos(photos))


def test_where_nothing_can_be_written_a_temporary_cache_serves(photos, tmp_path, monkeypatch):
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    scan = Scan(photos[0].parent)
    assert sum(data is not None for data in scan.thumbnails(photos)) == 13
    scanned(scan, photos)
    assert all(photo is not None for photo in scan.photos(photos))


def test_names_that_are_no_text_are_scanned_as_well(tmp_path):
    name = os.fsdecode(b"caf\xe9.jpg")
    try:
        picture(0).save(tmp_path / name)
    except (OSError, UnicodeError):
        pytest.skip("this file system takes only names in UTF-8")
    scan = Scan(tmp_path)
    scanned(scan, [tmp_path / name])
    assert scan.photos([tmp_path / name])[0].problem == ""
    assert scan.thumbnails([tmp_path / name])[0]


def test_a_blurred_photo_is_less_sharp_and_a_dark_one_darker_whatever_their_size():
    whole = scanning.measures(picture(1, (400, 300)))
    large = scanning.measures(picture(1, (400, 300)).resize((1600, 1200)))
    blurred = scanning.measures(picture(1, (400, 300)).filter(ImageFilter.GaussianBlur(4)))
    dark = scanning.measures(picture(1, (400, 300)).point(lambda value: value // 8))
    assert large["sharpness"] == pytest.approx(whole["sharpness"], rel=0.35)
    assert blurred["sharpness"] < whole["sharpness"] / 5
    assert dark["brightness"] < whole["brightness"] / 6
    assert dark["highlights"] <= 32 < whole["highlights"]
    one_pixel = scanning.measures(Image.new("RGB", (1, 1), "white"))
    assert one_pixel == {"brightness": 255.0, "highlights": 255.0, "sharpness": 0.0}


def test_thumbs_are_those_that_confirm_near_copies(photos):
    scan = Scan(photos[0].parent)
    thumbs = by_name(photos, scan.thumbs(photos))
    alone = read_image(photos[0].parent / "05.jpg").thumb
    assert thumbs["text.jpg"] is None
    assert thumbs["05.jpg"].shape == (32, 32, 3)
    assert np.abs(thumbs["05.jpg"].astype(int) - alone).mean() < 3


def test_the_digits_are_scanned_in_full():
    files = sorted(fastmagic.digits().rglob("*.png"))[:300]
    scan = Scan(fastmagic.digits())
    scanned(scan, files)
    assert {(photo.problem, photo.width, photo.height) for photo in scan.photos(files)} == {("", 32, 32)}


def test_the_birds_have_thumbnails_of_a_few_kilobytes(shared_data):
    files = sorted((shared_data / "bird_or_not" / "bird").iterdir())[:60]
    sizes = [len(data) for data in Scan(shared_data / "bird_or_not").thumbnails(files) if data]
    assert 2_000 < sum(sizes) / len(sizes) < 8_000
