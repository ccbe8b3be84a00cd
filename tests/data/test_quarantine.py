"""Nothing is lost: what goes to quarantine comes back, whatever happens in between."""

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from fastmagic.data import quarantine as room
from fastmagic.data.quarantine import HOME, JOURNAL, quarantine, relocate, restore
from fastmagic.errors import FastmagicError


@pytest.fixture
def birds(tmp_path):
    folder = tmp_path / "birds"
    for name in ("owl/1.jpg", "owl/2.jpg", "wren/1.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def contents(folder: Path) -> dict[str, str]:
    """Every file outside the quarantine, with what it holds."""
    files = [Path(place, name) for place, _, names in os.walk(folder, followlinks=True) for name in names]
    return {
        str(file.relative_to(folder)): file.read_text()
        for file in files
        if not file.relative_to(folder).is_relative_to(HOME)
    }


def test_files_go_to_a_hidden_folder_under_their_class_and_come_back_to_their_place(birds):
    before = contents(birds)
    moves = quarantine(birds, [(birds / "owl/1.jpg", "truncated"), (birds / "wren/1.jpg", "copy of 2.jpg")])
    assert moves[0] == (birds / "owl/1.jpg", birds / HOME / "owl/1.jpg")
    assert contents(birds) == {"owl/2.jpg": "owl/2.jpg"}
    assert len(restore(birds)) == 2
    assert contents(birds) == before


def test_get_image_files_does_not_see_the_quarantine(birds):
    from fastai.data.transforms import get_image_files

    quarantine(birds, [(birds / "owl/1.jpg", "truncated")])
    assert sorted(file.name for file in get_image_files(birds)) == ["1.jpg", "2.jpg"]


def test_the_journal_says_what_moved_where_why_and_what_it_held(birds):
    quarantine(birds, [(birds / "owl/1.jpg", "truncated")])
    record = json.loads((birds / HOME / JOURNAL).read_text().splitlines()[0])
    assert (record["from"], record["to"]) == ("owl/1.jpg", ".fastmagic/quarantine/owl/1.jpg")
    assert record["reason"] == "truncated"
    assert record["sha256"] == hashlib.sha256(b"owl/1.jpg").hexdigest()
    assert record["time"].startswith("20")


def test_the_journal_is_written_before_anything_moves(birds, monkeypatch):
    def rename(source, target):
        assert "owl/1.jpg" in (birds / HOME / JOURNAL).read_text()
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(room.os, "rename", rename)
    with pytest.raises(FastmagicError, match="Permission denied"):
        quarantine(birds, [(birds / "owl/1.jpg", "truncated")])


def test_undo_takes_back_the_last_fix_then_the_one_before(birds):
    quarantine(birds, [(birds / "owl/1.jpg", "a")])
    quarantine(birds, [(birds / "owl/2.jpg", "b")])
    assert [place for _, place in restore(birds)] == [birds / "owl/2.jpg"]
    assert [place for _, place in restore(birds)] == [birds / "owl/1.jpg"]
    with pytest.raises(FastmagicError, match="Nothing is in quarantine"):
        restore(birds)


def test_moving_the_same_files_twice_does_nothing_the_second_time(birds):
    files = [(birds / "owl/1.jpg", "truncated")]
    assert len(quarantine(birds, files)) == 1
    assert quarantine(birds, files) == []
    assert quarantine(birds, [(birds / HOME / "owl/1.jpg", "again")]) == []


def test_a_new_file_of_the_same_name_is_kept_apart_going_and_coming(birds):
    quarantine(birds, [(birds / "owl/1.jpg", "a")])
    (birds / "owl/1.jpg").write_text("another owl")
    quarantine(birds, [(birds / "owl/1.jpg", "b")])
    (birds / "owl/1.jpg").write_text("a third owl")
    restore(birds)
    restore(birds)
    owls = {text for name, text in contents(birds).items() if name.startswith("owl")}
    assert owls == {"owl/1.jpg", "another owl", "a third owl", "owl/2.jpg"}
    assert (birds / "owl/1.jpg").read_text() == "a third owl"


@pytest.mark.parametrize("crash_after", [0, 1, 2])
def test_after_a_crash_half_way_undo_brings_back_all_that_moved(birds, monkeypatch, crash_after):
    before, done = contents(birds), []

    def rename(source, target):
        if len(done) == crash_after:
            raise KeyboardInterrupt
        done.append(source)
        os.replace(source, target)

    monkeypatch.setattr(room.os, "rename", rename)
    with pytest.raises(KeyboardInterrupt):
        quarantine(birds, [(birds / name, "x") for name in before])
    monkeypatch.undo()
    if crash_after:
        assert len(restore(birds)) == crash_after
    assert contents(birds) == before


def test_after_a_crash_in_undo_a_second_undo_finishes_it(birds, monkeypatch):
    before = contents(birds)
    quarantine(birds, [(birds / name, "x") for name in before])

    def rename(source, target):
        monkeypatch.undo()
        os.replace(source, target)
        raise KeyboardInterrupt

    monkeypatch.setattr(room.os, "rename", rename)
    with pytest.raises(KeyboardInterrupt):
        restore(birds)
    assert len(restore(birds)) == 2
    assert contents(birds) == before


def test_a_journal_line_torn_by_a_crash_does_not_spoil_what_follows(birds):
    before = contents(birds)
    quarantine(birds, [(birds / "owl/1.jpg", "a")])
    with open(birds / HOME / JOURNAL, "a") as journal:
        journal.write('{"op": "move", "batch": "2')
    quarantine(birds, [(birds / "owl/2.jpg", "b")])
    restore(birds)
    restore(birds)
    assert contents(birds) == before


def test_undo_works_after_the_data_folder_was_moved(birds):
    quarantine(birds, [(birds / "owl/1.jpg", "a")])
    elsewhere = birds.rename(birds.with_name("moved"))
    restore(elsewhere)
    assert (elsewhere / "owl/1.jpg").read_text() == "owl/1.jpg"


def test_files_outside_the_folder_are_never_touched(birds, tmp_path):
    outside = tmp_path / "other" / "mine.jpg"
    outside.parent.mkdir()
    outside.write_text("mine")
    (birds / "linked").symlink_to(outside.parent, target_is_directory=True)
    (birds / "owl/link.jpg").symlink_to(outside)
    asked = [outside, birds / "linked/mine.jpg", birds / "owl/link.jpg", birds / "../other/mine.jpg"]
    assert quarantine(birds, [(file, "x") for file in asked]) == []
    assert outside.read_text() == "mine"
    assert (birds / "owl/link.jpg").is_symlink()


def test_odd_file_names_survive(birds):
    name = "owl/ein „Uhu“\u2028.jpg"
    (birds / name).write_text("odd")
    quarantine(birds, [(birds / name, "x")])
    restore(birds)
    assert (birds / name).read_text() == "odd"


def test_a_folder_that_cannot_be_written_says_so(birds):
    (birds / ".fastmagic").write_text("a file in the way stands for a read-only disk")
    with pytest.raises(FastmagicError, match="cannot be moved out of"):
        quarantine(birds, [(birds / "owl/1.jpg", "a")])
    assert (birds / "owl/1.jpg").exists()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_says_so(birds):
    birds.chmod(0o555)
    try:
        with pytest.raises(FastmagicError, match="you may write to"):
            quarantine(birds, [(birds / "owl/1.jpg", "a")])
    finally:
        birds.chmod(0o755)


# ---------------------------------------------------------------- into other classes


def test_files_go_into_other_classes_and_come_back(birds):
    before = contents(birds)
    moved = relocate(
        birds,
        [
            (birds / "owl/1.jpg", birds / "wren/1.jpg", "owl → wren"),
            (birds / "owl/2.jpg", birds / "tit/2.jpg", "owl → tit"),
        ],
        "clean",
    )
    assert moved[0][1] == birds / "wren/1 (2).jpg"  # the name was taken: kept apart
    assert contents(birds) == {"wren/1 (2).jpg": "owl/1.jpg", "tit/2.jpg": "owl/2.jpg", "wren/1.jpg": "wren/1.jpg"}
    with pytest.raises(FastmagicError, match="nothing to undo"):
        restore(birds)  # that is what check moved
    restore(birds, "clean")
    assert contents(birds) == before


def test_a_file_changed_since_it_moved_stays_where_it_is(birds):
    relocate(
        birds,
        [(birds / "owl/1.jpg", birds / "wren/7.jpg", ""), (birds / "owl/2.jpg", birds / "wren/8.jpg", "")],
        "clean",
    )
    (birds / "wren/7.jpg").write_text("painted over")
    assert [place.name for _, place in restore(birds, "clean")] == ["2.jpg"]
    assert (birds / "wren/7.jpg").read_text() == "painted over"


@pytest.fixture
def two_devices(birds):
    """The folder `wren` lies on another disk."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == birds.stat().st_dev:
        pytest.skip("there is no second file system")
    far = Path(tempfile.mkdtemp(dir=memory))
    shutil.copytree(birds / "wren", far / "wren")
    shutil.rmtree(birds / "wren")
    (birds / "wren").symlink_to(far / "wren", target_is_directory=True)
    yield birds
    shutil.rmtree(far)


def test_a_move_to_another_device_copies_checks_and_only_then_takes_away(two_devices):
    birds, before = two_devices, contents(two_devices)
    relocate(birds, [(birds / "owl/1.jpg", birds / "wren/9.jpg", "")], "clean")
    assert contents(birds) == {"wren/9.jpg": "owl/1.jpg", "wren/1.jpg": "wren/1.jpg", "owl/2.jpg": "owl/2.jpg"}
    restore(birds, "clean")
    assert contents(birds) == before


@pytest.mark.parametrize("step", ["copy2", "unlink"])
def test_a_crash_between_two_devices_leaves_one_whole_file(two_devices, monkeypatch, step):
    birds = two_devices
    where = room.shutil if step == "copy2" else room.os
    really = getattr(where, step)

    def crash(file, *rest):
        if step == "copy2":
            Path(rest[0]).write_text("half of i")
        raise KeyboardInterrupt

    monkeypatch.setattr(where, step, crash)
    with pytest.raises(KeyboardInterrupt):
        relocate(birds, [(birds / "owl/1.jpg", birds / "wren/9.jpg", "")], "clean")
    monkeypatch.setattr(where, step, really)
    relocate(birds, [(birds / "owl/2.jpg", None, "")], "clean")  # whatever comes next finishes it
    files = contents(birds)
    assert sorted(files.values()) == ["owl/1.jpg", "wren/1.jpg"]
    assert not [name for name in files if name.endswith(".part")]


def test_the_journal_is_on_the_disk_before_a_file_moves_and_after(birds, monkeypatch):
    """A power cut may come at any time: what the journal says is waited for, not left to the system's buffers."""
    events = []

    def fsync(descriptor, sync=os.fsync):
        events.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        sync(descriptor)

    def rename(source, target, move=os.rename):
        events.append("move")
        move(source, target)

    monkeypatch.setattr(room.os, "fsync", fsync)
    monkeypatch.setattr(room.os, "rename", rename)
    quarantine(birds, [(birds / "owl/1.jpg", "truncated")])
    assert events == [JOURNAL, "move", JOURNAL]
    restore(birds)
    assert events[3:] == ["move", JOURNAL]
