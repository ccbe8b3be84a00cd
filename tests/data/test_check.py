"""Each thing `%check` looks for is found where it is, and nothing is found where all is well."""

import os
import shutil
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import fastmagic
from fastmagic.data.check import check
from fastmagic.data.image_files import ImageFile, near_pairs
from fastmagic.data.quarantine import HOME
from fastmagic.errors import FastmagicError

SHARED = Path(__file__).parents[3] / "shared" / "data"
needs_birds = pytest.mark.skipif(
    not (SHARED / "bird_or_not").is_dir(), reason="../shared/data/bird_or_not is not there"
)


def picture(seed: int, side: int = 96) -> Image.Image:
    """A picture with texture of its own: coarse coloured patches under fine noise."""
    random = np.random.default_rng(seed)
    patches = Image.fromarray(random.integers(0, 256, (7, 7, 3), dtype=np.uint8)).resize(
        (side, side), Image.Resampling.BICUBIC
    )
    noise = random.normal(0, 6, (side, side, 3))
    return Image.fromarray(np.clip(np.asarray(patches) + noise, 0, 255).astype(np.uint8))


def save(path: Path, seed: int, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(seed).save(path, **options)
    return path


def fill(folder: Path, n: int = 30, classes: tuple[str, ...] = ("bird", "forest"), start: int = 0) -> Path:
    """`n` different pictures of each class, each class in a folder of its own."""
    for c, name in enumerate(classes):
        for i in range(n):
            save(folder / name / f"{i:03}.jpg", start + c * n + i)
    return folder


@pytest.fixture(scope="session")
def healthy_once(tmp_path_factory):
    return fill(tmp_path_factory.mktemp("data") / "photos")


@pytest.fixture
def healthy(healthy_once, tmp_path):
    return Path(shutil.copytree(healthy_once, tmp_path / "photos"))


def table(folder: Path) -> pd.DataFrame:
    files = sorted(folder.rglob("*.jpg"))
    return pd.DataFrame({"file": [str(f.relative_to(folder)) for f in files], "label": [f.parent.name for f in files]})


def loaders(folder: Path, valid: list[int] | float = 0.5, bs: int = 8, get_y=None, **options):
    from fastai.vision.all import (
        CategoryBlock,
        DataBlock,
        ImageBlock,
        IndexSplitter,
        RandomSplitter,
        Resize,
        get_image_files,
        parent_label,
    )

    options = {"item_tfms": Resize(32), "blocks": (ImageBlock, CategoryBlock), **options}
    splitter = RandomSplitter(valid, seed=42) if isinstance(valid, float) else IndexSplitter(valid)
    block = DataBlock(
        get_items=lambda path: sorted(get_image_files(path)),
        splitter=splitter,
        get_y=get_y or parent_label,
        **options,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return block.dataloaders(folder, bs=bs)


# Nothing wrong


def test_a_healthy_folder_a_table_and_its_dataloaders_give_no_finding(healthy):
    for source in (healthy, str(healthy), loaders(healthy)):
        assert list(check(source)) == []
    assert list(check(table(healthy), path=healthy)) == []


def test_the_fast_check_of_healthy_dataloaders_is_one_line(healthy):
    report = check(loaders(healthy), fast=True)
    assert str(report) == "✓ 30 + 30 photos, 2 classes: nothing wrong found (fast checks)"
    assert report.ok


def test_the_fast_check_opens_no_picture(healthy, monkeypatch):
    def no_reading(*args, **kwargs):
        raise AssertionError("a picture was opened")

    dls = loaders(healthy)
    monkeypatch.setattr(Path, "read_bytes", no_reading)
    monkeypatch.setattr(Image, "open", no_reading)
    for source in (healthy, dls):
        assert check(source, fast=True).ok


def test_importing_the_check_brings_neither_torch_nor_pandas():
    heavy = {"torch", "fastai", "pandas", "matplotlib", "PIL"}
    program = f"import sys, fastmagic.data.check; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# Nothing there


def test_a_folder_that_does_not_exist_names_the_closest_one(healthy):
    with pytest.raises(FastmagicError, match="Did you mean 'photos'"):
        check(healthy.parent / "fotos")


def test_a_folder_without_images_names_the_nearest_one_that_has_some(healthy):
    (healthy.parent / "docs").mkdir()
    report = check(healthy.parent / "docs")
    assert report.kinds == ["no-images"]
    assert "photos" in report["no-images"].message
    assert "(30 images)" in report["no-images"].message


def test_a_folder_of_pictures_under_strange_suffixes_says_that_they_are_pictures(tmp_path):
    save(tmp_path / "a.jpg", 1).rename(tmp_path / "a.jpg!d")
    report = check(tmp_path)
    assert "1 file is a picture under another suffix" in report["no-images"].message


def test_pictures_that_get_image_files_leaves_out_are_named(healthy):
    strange = save(healthy / "bird/x.jpg", 500).rename(healthy / "bird/x.jpg!d")
    (healthy / "bird/notes.txt").write_text("no picture")
    for source in (healthy, loaders(healthy)):
        assert check(source)["left-out"].items == [strange]


def test_something_that_cannot_be_checked_is_refused(tmp_path):
    with pytest.raises(FastmagicError, match="A int cannot be checked"):
        check(3)


# Labels


def test_one_class_only_is_an_error(tmp_path):
    report = check(fill(tmp_path, 3, ("bird",)), fast=True)
    assert report["one-class"].severity == "error"


def test_pictures_that_lie_loose_in_one_folder_are_no_fault(tmp_path):
    for i in range(3):
        save(tmp_path / f"{i}.jpg", i)
    report = check(tmp_path, fast=True)
    assert report.ok
    assert report.kinds == ["classes-unknown"]  # a note: %datablock would ask


def test_as_many_classes_as_items_is_an_error(healthy):
    report = check(
        loaders(healthy, [*range(0, 60, 2)], get_y=lambda file: f"{file.parent.name}-{file.stem}"), fast=True
    )
    assert "There are 60 classes for 60 items" in report["class-per-item"].message


@pytest.mark.parametrize("blank", [None, float("nan"), "", "None"])
def test_a_blank_class_is_an_error_with_its_items(healthy, blank):
    frame = table(healthy)
    frame["label"] = frame["label"].astype(object)
    frame.loc[3, "label"] = blank
    report = check(frame, path=healthy, fast=True)
    assert report["blank-class"].items == [healthy / frame.file[3]]
    assert "2 classes" in str(report)


def test_none_from_a_label_function_is_found_in_dataloaders(healthy):
    dls = loaders(healthy, get_y=lambda file: str(None) if file.stem == "004" else file.parent.name)
    assert {file.name for file in check(dls, fast=True)["blank-class"].items} == {"004.jpg"}


def test_strong_imbalance_names_the_rare_class_and_what_guessing_would_score(tmp_path):
    fill(tmp_path, 40, ("bird",))
    fill(tmp_path, 4, ("forest",), start=100)
    finding = check(tmp_path, fast=True)["imbalance"]
    assert finding.items == ["forest"]
    assert "Always answering 'bird' would be right 91% of the time" in finding.message


def test_pictures_beside_the_class_folders_are_named(healthy):
    stray = save(healthy / "stray.jpg", 300)
    assert check(healthy, fast=True)["stray"].items == [stray]


def test_several_labels_an_item_are_counted_one_by_one(healthy):
    frame = table(healthy).rename(columns={"label": "tags"})
    frame["tags"] += " photo"
    assert "60 photos, 3 classes" in str(check(frame, path=healthy, fast=True))


def test_multi_label_dataloaders_are_checked_too(healthy):
    from fastai.vision.all import ImageBlock, MultiCategoryBlock

    dls = loaders(
        healthy,
        blocks=(ImageBlock, MultiCategoryBlock),
        get_y=lambda file: [file.parent.name, "photo"] + ["rare"] * (file.stem == "001"),
    )
    report = check(dls, fast=True)
    assert "4 classes" in report.subject
    assert report["imbalance"].items == ["rare"]


# Split


def test_an_empty_training_set_is_an_error(healthy):
    report = check(table(healthy).assign(is_valid=True), path=healthy, fast=True)
    assert report["empty-train"].severity == "error"


def test_an_empty_validation_set_is_an_error(healthy):
    assert check(loaders(healthy, []), fast=True)["empty-valid"].severity == "error"


def test_a_tiny_validation_set_says_what_a_mistake_costs(healthy):
    finding = check(loaders(healthy, [0, 1, 30, 31]), fast=True)["tiny-valid"]
    assert "each mistake moves error_rate by 25 points" in finding.message


def test_a_class_that_is_not_trained_on_is_an_error(tmp_path):
    fill(tmp_path / "train", 5)
    fill(tmp_path / "valid", 5, ("bird", "forest", "lake"), start=50)
    report = check(tmp_path, fast=True)
    assert report["class-not-in-train"].items == ["lake"]
    assert report["class-not-in-train"].severity == "error"


def test_a_class_that_is_never_validated_is_a_warning(healthy):
    finding = check(loaders(healthy, list(range(30))), fast=True)["class-not-in-train"]
    assert finding.items == ["bird"]
    assert check(loaders(healthy, list(range(30))), fast=True)["class-not-in-valid"].items == ["forest"]


def test_fewer_training_items_than_the_batch_size_is_an_error(healthy):
    dls = loaders(healthy, bs=64)
    assert len(dls.train) == 0
    finding = check(dls, fast=True)["no-batch"]
    assert "30 training items do not fill one batch of 64" in finding.message


# Files


def cut(path: Path, keep: float = 0.6) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    return path


@pytest.mark.parametrize(
    ("suffix", "options"),
    [("jpg", {}), ("jpg", {"progressive": True}), ("png", {}), ("webp", {}), ("bmp", {})],
)
def test_a_truncated_picture_is_found_in_every_format(healthy, suffix, options):
    file = cut(save(healthy / f"bird/cut.{suffix}", 400, **options))
    assert check(healthy)["truncated"].items == [file]


def test_a_jpeg_without_its_last_bytes_is_truncated(healthy):
    file = healthy / "bird/000.jpg"
    file.write_bytes(file.read_bytes()[:-2])
    assert check(healthy)["truncated"].items == [file]


def test_a_web_page_saved_as_jpg_is_unreadable_and_called_a_web_page(healthy):
    file = healthy / "bird/page.jpg"
    file.write_text("<!DOCTYPE html><title>404</title>")
    finding = check(healthy)["unreadable"]
    assert finding.details == {file: "a web page"}


def test_a_zero_byte_file_is_found_even_by_the_fast_check(healthy):
    file = healthy / "bird/empty.jpg"
    file.touch()
    for fast in (True, False):
        report = check(healthy, fast=fast)
        assert report.kinds == ["zero-byte"]
        assert report["zero-byte"].items == [file]


def test_a_wrong_suffix_is_noted(healthy):
    file = save(healthy / "bird/x.png", 400).rename(healthy / "bird/x.jpg")
    report = check(healthy)
    assert report["wrong-suffix"].details == {file: "is PNG"}
    assert report.ok


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_an_animated_file_is_noted(healthy, suffix):
    file = healthy / f"bird/moving.{suffix}"
    picture(400).save(file, save_all=True, append_images=[picture(401)])
    assert check(healthy)["animated"].items == [file]


def test_grayscale_among_colour_is_noted_and_all_gray_is_not(healthy, tmp_path):
    file = healthy / "bird/gray.jpg"
    picture(400).convert("L").save(file)
    assert check(healthy)["grayscale"].items == [file]
    for i in range(3):
        (tmp_path / "gray").mkdir(exist_ok=True)
        picture(i).convert("L").save(tmp_path / f"gray/{i}.png")
    assert check(tmp_path / "gray").kinds == ["classes-unknown"]


def test_grayscale_in_one_class_only_warns_that_the_model_may_learn_it(healthy):
    for i in range(3):
        picture(400 + i).convert("L").save(healthy / f"bird/gray{i}.jpg")
    assert "All are 'bird'" in check(healthy)["grayscale"].message


def test_transparent_parts_are_noted_and_an_opaque_alpha_channel_is_not(healthy):
    opaque, glass = picture(400).convert("RGBA"), picture(401).convert("RGBA")
    glass.putpixel((5, 5), (0, 0, 0, 0))
    opaque.save(healthy / "bird/opaque.png")
    glass.save(healthy / "bird/glass.png")
    assert check(healthy)["alpha"].items == [healthy / "bird/glass.png"]


def test_cmyk_is_noted(healthy):
    picture(400).convert("CMYK").save(healthy / "bird/print.jpg")
    assert check(healthy)["cmyk"].items == [healthy / "bird/print.jpg"]


def test_a_photo_turned_by_exif_is_a_warning(healthy):
    exif = Image.Exif()
    exif[0x0112] = 6
    file = save(healthy / "bird/turned.jpg", 400, exif=exif)
    assert check(healthy)["rotated"].items == [file]
    assert not check(healthy).ok


def test_sixteen_bit_pictures_are_a_warning(healthy):
    values = np.random.default_rng(0).integers(0, 65535, (64, 64), dtype=np.uint16)
    Image.fromarray(values).save(healthy / "bird/deep.png")
    assert check(healthy)["sixteen-bit"].items == [healthy / "bird/deep.png"]


def test_pictures_much_larger_than_the_model_sees_say_what_they_cost(healthy):
    assert "large" not in check(healthy, size=96)
    finding = check(healthy, size=24)["large"]
    assert len(finding.items) == 60
    assert "60 photos are much larger than the model's input of 24 px" in finding.message


def test_the_models_input_size_is_read_from_the_transforms(healthy):
    from fastai.vision.all import Resize, aug_transforms

    assert "of 24 px" in check(loaders(healthy, item_tfms=Resize(24)))["large"].message
    dls = loaders(healthy, item_tfms=Resize(64), batch_tfms=aug_transforms(size=20))
    assert "of 20 px" in check(dls)["large"].message


def test_pictures_of_different_sizes_without_a_resize_are_an_error(healthy):
    picture(400, side=64).save(healthy / "bird/small.jpg")
    assert "no-resize" in check(loaders(healthy, item_tfms=None))
    assert "no-resize" not in check(loaders(healthy))


def test_files_that_a_table_lists_but_are_not_there_are_named(healthy):
    frame = table(healthy)
    (healthy / frame.file[0]).unlink()
    report = check(frame, path=healthy, fast=True)
    assert report["missing-file"].items == [healthy / frame.file[0]]


def test_missing_files_are_found_one_folder_below_or_under_their_suffix(healthy):
    frame = table(healthy)
    frame.loc[len(frame)] = ["000.jpg", "bird"]
    assert "give `path=" in check(frame, path=healthy, fast=True)["missing-file"].fix
    frame = table(healthy)
    frame.loc[len(frame)] = ["bird/000", "bird"]
    assert "'000.jpg' does exist" in check(frame, path=healthy, fast=True)["missing-file"].fix


def test_a_csv_file_is_read_relative_to_its_own_folder(healthy):
    table(healthy).to_csv(healthy / "labels.csv", index=False)
    assert str(check(healthy / "labels.csv")) == "✓ 60 photos, 2 classes: nothing wrong found"


def test_where_files_are_asked_for_a_table_without_their_names_is_refused_with_its_columns():
    with pytest.raises(FastmagicError, match="columns: age, salary"):
        fastmagic.clean(pd.DataFrame({"age": [1, 2], "salary": ["a", "b"]}))


# The same photo twice


def test_exact_copies_are_grouped(healthy):
    for name in ("bird/copy.jpg", "bird/copy2.jpg"):
        shutil.copy(healthy / "bird/000.jpg", healthy / name)
    finding = check(healthy)["duplicate"]
    assert [[file.name for file in group] for group in finding.groups] == [["000.jpg", "copy.jpg", "copy2.jpg"]]
    assert "2 spare files" in finding.message


@pytest.mark.parametrize(
    "change",
    [
        lambda image, path: image.save(path, quality=40),
        lambda image, path: image.resize((70, 70)).save(path),
        lambda image, path: image.point(lambda v: min(255, v + 8)).save(path.with_suffix(".png")),
    ],
    ids=["saved again", "resized", "brightened"],
)
def test_near_copies_are_grouped(healthy, change):
    with Image.open(healthy / "bird/000.jpg") as image:
        change(image, healthy / "bird/again.jpg")
    report = check(healthy)
    assert report.kinds == ["near-duplicate"]
    assert {file.stem for file in report["near-duplicate"].items} == {"000", "again"}


def test_plain_and_smooth_pictures_of_their_own_are_not_taken_for_copies(tmp_path):
    ramp = np.linspace(40, 200, 96)
    for i, colour in enumerate([(90, 140, 230), (120, 120, 120), (230, 140, 90), (250, 250, 250)]):
        sky = np.clip(np.add.outer(ramp, np.zeros(96))[..., None] * np.array(colour) / 160, 0, 255)
        for kind, values in (("plain", np.full((96, 96, 3), colour)), ("sky", sky)):
            (tmp_path / kind).mkdir(exist_ok=True)
            Image.fromarray(values.astype(np.uint8)).save(tmp_path / kind / f"{i}.png")
    assert check(tmp_path)["near-duplicate"] is None


def test_alike_digits_of_eight_pixels_are_not_taken_for_copies(tmp_path):
    for i, values in enumerate([[0, 9], [0, 10]]):
        Image.fromarray(np.tile(np.array(values, dtype=np.uint8) * 20, (8, 4))).save(tmp_path / f"{i}.png")
    assert check(tmp_path).kinds == ["classes-unknown"]


def test_a_copy_with_another_label_is_an_error(healthy):
    shutil.copy(healthy / "bird/000.jpg", healthy / "forest/copy.jpg")
    report = check(healthy)
    assert report.kinds[0] == "conflicting-labels"
    assert report["conflicting-labels"].details == {
        healthy / "bird/000.jpg": "bird",
        healthy / "forest/copy.jpg": "forest",
    }


def test_a_photo_on_both_sides_of_the_split_is_an_error(healthy):
    shutil.copy(healthy / "bird/000.jpg", healthy / "bird/copy.jpg")  # sorted in after bird/029.jpg
    report = check(loaders(healthy, [*range(25), *range(40, 60)]))
    finding = report["both-sides"]
    assert finding.details == {healthy / "bird/000.jpg": "valid", healthy / "bird/copy.jpg": "train"}
    assert "1 of 45 validation photos were seen in training" in finding.message
    assert report["duplicate"].groups


def test_copies_on_one_side_only_are_no_leak(healthy):
    shutil.copy(healthy / "bird/000.jpg", healthy / "bird/copy.jpg")
    report = check(loaders(healthy, [*range(1, 28), *range(40, 60)]))
    assert "both-sides" not in report
    assert "duplicate" in report


def test_a_row_on_both_sides_of_the_split_is_found_without_opening_it(healthy):
    frame = table(healthy)
    frame["is_valid"] = [i % 2 == 0 for i in range(len(frame))]
    frame = pd.concat([frame, frame.iloc[[0]].assign(is_valid=False)], ignore_index=True)
    assert len(check(frame, path=healthy, fast=True)["both-sides"].groups) == 1


def test_a_file_listed_twice_is_a_note_and_no_spare_copy(healthy):
    frame = pd.concat([table(healthy), table(healthy).iloc[[0]]], ignore_index=True)
    for fast in (True, False):
        report = check(frame, path=healthy, fast=fast)
        assert report.kinds == ["listed-twice"]
        assert report.ok


def test_a_file_listed_twice_with_two_labels_is_an_error_that_names_both(healthy):
    frame = pd.concat([table(healthy), table(healthy).iloc[[0]].assign(label="forest")], ignore_index=True)
    finding = check(frame, path=healthy, fast=True)["conflicting-labels"]
    assert finding.details == {healthy / frame.file[0]: "bird and forest"}


def test_a_folder_that_is_not_split_yet_says_what_a_random_split_would_do(healthy):
    for i in range(10):
        shutil.copy(healthy / f"bird/{i:03}.jpg", healthy / f"bird/copy{i}.jpg")
    assert "puts about 3 of them on both sides" in check(healthy)["duplicate"].message


def test_20000_hashes_are_compared_in_seconds():
    random = np.random.default_rng(0)
    thumb = np.zeros((32, 32, 3), np.uint8)
    photos = [ImageFile(Path(), phash=int(h), thumb=thumb) for h in random.integers(0, 2**63, 20_000)]
    start = time.perf_counter()
    near_pairs(photos)
    assert time.perf_counter() - start < 20


# Mending


@pytest.fixture
def messy(healthy):
    (healthy / "bird/empty.jpg").touch()
    cut(save(healthy / "bird/cut.jpg", 400))
    (healthy / "forest/page.jpg").write_text("<html>")
    shutil.copy(healthy / "bird/000.jpg", healthy / "bird/copy.jpg")
    with Image.open(healthy / "bird/001.jpg") as image:
        image.resize((64, 64)).save(healthy / "bird/001small.jpg")
    shutil.copy(healthy / "bird/002.jpg", healthy / "forest/002too.jpg")  # the labels contradict each other
    return healthy


MOVED = {"bird/empty.jpg", "bird/cut.jpg", "forest/page.jpg", "bird/copy.jpg", "bird/001small.jpg"}


def files_of(folder: Path) -> set[str]:
    return {str(f.relative_to(folder)) for f in folder.rglob("*.jpg") if HOME.parts[0] not in f.parts}


def test_fix_moves_bad_files_and_spare_copies_and_undo_brings_them_back(messy):
    before = files_of(messy)
    report = check(messy, fix=True)
    assert before - files_of(messy) == MOVED
    assert {str(f.relative_to(messy)) for f in report["moved"].items} == MOVED
    assert check(messy).kinds == ["conflicting-labels", "duplicate"]  # which a person has to decide
    assert "5 files are back" in str(check(messy, undo=True))
    assert files_of(messy) == before


def test_the_report_after_a_fix_is_about_what_is_left(messy):
    assert check(messy, fix=True).kinds == ["conflicting-labels", "duplicate", "moved"]


def test_fixing_twice_moves_nothing_more(messy):
    check(messy, fix=True)
    left = files_of(messy)
    assert "no file to move" in str(check(messy, fix=True))
    assert files_of(messy) == left


def test_fix_keeps_the_copy_with_most_pixels(healthy):
    big = healthy / "bird/zz_big.jpg"
    with Image.open(healthy / "bird/000.jpg") as image:
        image.resize((192, 192), Image.Resampling.BICUBIC).save(big, quality=95)
    check(healthy, fix=True)
    assert big.exists()
    assert not (healthy / "bird/000.jpg").exists()


def test_after_a_fix_dataloaders_are_said_to_be_stale(messy):
    before = files_of(messy)
    dls = loaders(messy)
    report = check(dls, fix=True)
    assert "Build the dls again" in report["stale"].fix
    assert len(before - files_of(messy)) == len(MOVED)
    check(dls, undo=True)
    assert files_of(messy) == before


def test_a_file_that_is_listed_twice_is_not_moved(healthy):
    frame = table(healthy)
    check(pd.concat([frame, frame]), path=healthy, fix=True)
    assert len(files_of(healthy)) == 60


def test_links_to_a_photo_and_the_photo_stay(healthy):
    os.symlink(healthy / "bird/000.jpg", healthy / "bird/link.jpg")
    check(healthy, fix=True)
    assert (healthy / "bird/link.jpg").read_bytes() == (healthy / "bird/000.jpg").read_bytes()


def test_near_copies_without_labels_to_compare_are_left_for_a_person(tmp_path):
    picture(1).save(tmp_path / "a.png")
    picture(1).save(tmp_path / "a.jpg")
    shutil.copy(tmp_path / "a.png", tmp_path / "b.png")
    report = check(tmp_path, fix=True)
    assert [file.name for file in report["moved"].items] == ["b.png"]
    assert "`fix` leaves them" in report["near-duplicate"].fix


def test_fix_and_undo_together_are_refused(healthy):
    with pytest.raises(FastmagicError, match="opposites"):
        check(healthy, fix=True, undo=True)


def test_undo_without_a_fix_says_that_there_is_nothing_to_undo(healthy):
    with pytest.raises(FastmagicError, match="Nothing is in quarantine"):
        check(healthy, undo=True)


# The report


def test_the_report_is_text_a_table_and_html_with_pictures(messy):
    report = check(messy)
    assert str(report).startswith("✗ 66 photos, 2 classes: ")
    frame = report.to_frame()
    assert set(frame["kind"]) == set(report.kinds)
    assert len(frame[frame["kind"] == "duplicate"]) == 4
    assert frame[frame["kind"] == "duplicate"]["group"].nunique() == 2
    shown = report._repr_mimebundle_()
    assert shown["text/plain"] == str(report)
    assert "data:image/jpeg;base64," in shown["text/html"]
    assert len(shown["text/html"]) < 200_000


def test_text_names_at_most_five_items_and_counts_the_rest(healthy):
    for i in range(12):
        (healthy / f"bird/e{i:02}.jpg").touch()
    text = str(check(healthy, fast=True))
    assert "bird/e04.jpg and 7 more" in text
    assert "bird/e05.jpg" not in text


def test_file_names_are_escaped_in_html(healthy):
    (healthy / "bird/<b>.jpg").touch()
    assert "<b>.jpg" not in check(healthy)._repr_mimebundle_()["text/html"]


# DataLoaders of other kinds


def test_tabular_dataloaders_get_the_checks_of_labels_and_split():
    from fastai.tabular.all import Categorify, TabularDataLoaders

    frame = pd.DataFrame({"kind": ["a", "b"] * 60, "size": range(120), "y": ["yes"] * 115 + ["no"] * 5})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dls = TabularDataLoaders.from_df(
            frame,
            procs=[Categorify],
            cat_names=["kind"],
            cont_names=["size"],
            y_names="y",
            bs=8,
            valid_idx=[*range(0, 120, 4)],
        )
    assert check(dls).kinds == ["imbalance"]


def test_pictures_that_are_no_files_get_the_checks_of_labels_and_split():
    from fastai.vision.all import CategoryBlock, DataBlock, ImageBlock, IndexSplitter

    block = DataBlock(
        (ImageBlock, CategoryBlock),
        get_items=lambda n: [{"image": np.asarray(picture(i, 32)), "label": "ab"[i % 2]} for i in range(n)],
        get_x=lambda item: item["image"],
        get_y=lambda item: item["label"],
        splitter=IndexSplitter(range(30)),
    )
    assert str(check(block.dataloaders(60, bs=8))) == "✓ 30 + 30 items, 2 classes: nothing wrong found"


def test_segmentation_dataloaders_are_checked_without_taking_masks_for_labels(tmp_path):
    from fastai.vision.all import SegmentationDataLoaders

    for i in range(60):
        save(tmp_path / f"images/{i}.png", i)
        (tmp_path / "labels").mkdir(exist_ok=True)
        mask = Image.new("L", (96, 96))
        mask.paste(1, (0, 40, 96, 96))
        mask.save(tmp_path / f"labels/{i}.png")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dls = SegmentationDataLoaders.from_label_func(
            tmp_path,
            sorted((tmp_path / "images").iterdir()),
            lambda file: tmp_path / "labels" / file.name,
            codes=["sky", "road"],
            bs=4,
            valid_pct=0.5,
        )
    assert str(check(dls)) == "✓ 30 + 30 photos: nothing wrong found"
    shutil.rmtree(tmp_path / "labels")
    assert check(dls, fast=True).kinds == ["no-mask"]


# Real data


@needs_birds
def test_photos_of_a_web_search_hold_many_copies(tmp_path):
    report = check(SHARED / "bird_or_not")
    assert report.subject == "691 photos, 2 classes"
    assert len(report["duplicate"].groups) == 212
    assert len(report["near-duplicate"].groups) == 33
    assert len(report["left-out"].items) == 8
    assert "conflicting-labels" not in report


@needs_birds
def test_mending_the_photos_of_a_web_search_leaves_no_copy_and_undo_restores_all(tmp_path):
    folder = Path(shutil.copytree(SHARED / "bird_or_not", tmp_path / "birds", copy_function=shutil.copyfile))
    for place in (folder, *folder.iterdir()):
        place.chmod(0o755)  # the original is read-only
    before = sorted(file.relative_to(folder) for file in folder.rglob("*") if file.is_file())
    assert len(check(folder, fix=True)["moved"].items) == 283
    assert check(folder).kinds == ["left-out"]
    check(folder, undo=True)
    after = sorted(f.relative_to(folder) for f in folder.rglob("*") if f.is_file() and HOME.parts[0] not in f.parts)
    assert after == before


def test_what_a_report_goes_through_it_holds(tmp_path):
    (fill(tmp_path, n=3) / "bird" / "broken.jpg").write_bytes(b"no picture")
    report = check(tmp_path)
    assert report.findings
    assert all(finding in report and finding.kind in report for finding in report)
    assert "no such kind" not in report
