"""The journal of decisions: on the disk at once, read by everybody, true only for the file that was looked at."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastmagic.data.decisions import Journal, Made, Row, data_folder
from fastmagic.errors import FastmagicError


@pytest.fixture
def birds(tmp_path) -> Path:
    for name in ("owl/1.jpg", "owl/2.jpg", "tit/3.jpg"):
        file = tmp_path / "birds" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(name.encode())
    return tmp_path / "birds"


def test_a_decision_is_a_line_beside_the_data_and_nothing_is_moved(birds):
    before = sorted(p for p in birds.rglob("*") if p.is_file())
    Journal(birds).note([Made(birds / "owl/1.jpg", "relabel", "owl", "tit")], by="confusion")
    (line,) = (birds / ".fastmagic/decisions.jsonl").read_text().splitlines()
    record = json.loads(line)
    assert {key: record[key] for key in ("path", "action", "from", "to", "by")} == {
        "path": "owl/1.jpg", "action": "relabel", "from": "owl", "to": "tit", "by": "confusion",
    }  # fmt: skip
    assert len(record["sha256"]) == 64
    assert record["time"].endswith("+00:00")
    assert sorted(p for p in birds.rglob("*") if p.is_file() and ".fastmagic" not in p.parts) == before


def test_the_last_decision_counts_and_undo_goes_back_batch_by_batch(birds):
    journal, owl, tit = Journal(birds), birds / "owl/1.jpg", birds / "tit/3.jpg"

    def decided() -> dict[str, str]:
        return {file.name: decision.action for file, decision in journal.current().items()}

    journal.note([Made(owl, "relabel", "owl", "tit")])
    batch = journal.note([Made(owl, "aside", "owl"), Made(tit, "aside", "tit")])
    assert (decided(), str(batch)) == ({"1.jpg": "aside", "3.jpg": "aside"}, "2 set aside")
    journal.undo()
    assert journal.current()[owl].to == "tit"
    assert decided() == {"1.jpg": "relabel"}
    journal.undo()
    assert decided() == {}
    assert journal.undo() is None
    journal.redo()
    journal.redo()
    assert (decided(), journal.redo()) == ({"1.jpg": "aside", "3.jpg": "aside"}, None)
    journal.note([Made(owl, "clear")])
    assert decided() == {"3.jpg": "aside"}
    assert len((birds / ".fastmagic/decisions.jsonl").read_text().splitlines()) == 8  # nothing is ever taken out


def test_what_was_taken_back_cannot_be_done_again_over_something_new(birds):
    journal, owl = Journal(birds), birds / "owl/1.jpg"
    journal.note([Made(owl, "aside", "owl")])
    journal.undo()
    journal.note([Made(owl, "keep", "owl")])
    assert journal.redo() is None
    assert journal.current()[owl].action == "keep"


def test_undo_and_redo_go_on_another_day_and_in_another_view(birds):
    owl, tit = birds / "owl/1.jpg", birds / "tit/3.jpg"
    first, second = Journal(birds), Journal(birds)
    first.note([Made(owl, "aside", "owl")], by="cleaner")
    second.note([Made(tit, "aside", "tit")], by="confusion")
    assert first.undo().by == "confusion"
    assert set(second.current()) == {owl}
    assert Journal(birds).redo().by == "confusion"
    assert set(first.current()) == {owl, tit}


def test_another_process_and_a_second_view_see_it(birds):
    first, second = Journal(birds), Journal(birds)
    assert second.current() == {}
    first.note([Made(birds / "owl/2.jpg", "aside", "owl")])
    assert set(second.current()) == {birds / "owl/2.jpg"}
    code = "import sys; from pathlib import Path; from fastmagic.data.decisions import Journal, Made\n"
    code += "Journal(Path(sys.argv[1])).note([Made(Path(sys.argv[1], 'tit/3.jpg'), 'keep', 'tit')])"
    subprocess.run([sys.executable, "-c", code, str(birds)], check=True)
    assert second.current()[birds / "tit/3.jpg"].action == "keep"


def test_a_file_with_other_content_has_no_decision_and_a_touched_one_keeps_it(birds):
    journal, owl, tit = Journal(birds), birds / "owl/1.jpg", birds / "tit/3.jpg"
    journal.note([Made(owl, "aside", "owl"), Made(tit, "aside", "tit")])
    os.utime(owl, ns=(1, 1))
    tit.write_bytes(b"tit/4.jpg")
    assert set(Journal(birds).current()) == {owl}


def test_a_line_torn_by_a_crash_loses_only_itself(birds):
    journal, owl = Journal(birds), birds / "owl/1.jpg"
    journal.note([Made(owl, "aside", "owl")])
    with open(journal.file, "a") as file:
        file.write('{"time": "2026-')
    journal.note([Made(birds / "tit/3.jpg", "aside", "tit")])
    assert set(Journal(birds).current()) == {owl, birds / "tit/3.jpg"}


def test_where_the_data_cannot_be_written_to_the_journal_is_the_users(birds, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "mine"))
    really = os.access
    monkeypatch.setattr(os, "access", lambda p, mode: not Path(p).is_relative_to(birds) and really(p, mode))
    journal = Journal(birds)
    assert journal.file.is_relative_to(tmp_path / "mine" / "fastmagic")
    journal.note([Made(birds / "owl/1.jpg", "aside", "owl")])
    assert not (birds / ".fastmagic").exists()
    assert set(Journal(birds).current()) == {birds / "owl/1.jpg"}


def test_a_missing_file_is_decided_about_with_the_others_as_long_as_it_is_missing(birds):
    gone, owl = birds / "owl/9.jpg", birds / "owl/1.jpg"
    Journal(birds).note([Made(gone, "aside"), Made(owl, "aside")])
    assert set(Journal(birds).current()) == {gone, owl}
    gone.write_bytes(b"found again")
    assert set(Journal(birds).current()) == {owl}


def test_an_unknown_decision_is_said(birds):
    with pytest.raises(FastmagicError, match="No decision 'delete'"):
        Journal(birds).note([Made(birds / "owl/1.jpg", "delete")])


def test_the_folder_of_a_data_set_is_the_one_above_its_classes(birds):
    owls = [birds / "owl/1.jpg", birds / "owl/2.jpg"]
    assert data_folder([*owls, birds / "tit/3.jpg"], ["owl", "tit"]) == birds
    assert data_folder(owls, ["owl", "tit"]) == birds
    assert data_folder([], ["owl"]) is None
    Journal(birds).note(Made(owl, "aside") for owl in owls)
    (birds / "valid/owl").mkdir(parents=True)
    assert data_folder([birds / "valid/owl/7.jpg", birds / "valid/tit/8.jpg"], ["owl", "tit"]) == birds


def test_a_file_that_went_and_came_back_has_its_decision_again(birds):
    journal, owl = Journal(birds), birds / "owl/1.jpg"
    journal.note([Made(owl, "aside", "owl")])
    os.rename(owl, birds / "elsewhere")
    journal.refresh(again=True)
    assert journal.current() == {}
    os.rename(birds / "elsewhere", owl)
    journal.refresh(again=True)
    assert set(journal.current()) == {owl}


def test_a_journal_put_in_place_of_another_is_read_from_its_beginning(birds):
    journal, owl, tit = Journal(birds), birds / "owl/1.jpg", birds / "tit/3.jpg"
    journal.note([Made(owl, "aside", "owl")])
    old = journal.file.read_text()
    journal.note([Made(tit, "aside", "tit")])
    assert set(journal.current()) == {owl, tit}
    other = journal.file.with_name("other")
    other.write_text(old)
    os.replace(other, journal.file)  # as git does
    assert set(journal.current()) == {owl}
    journal.file.unlink()
    assert journal.current() == {}


def test_decisions_go_to_another_copy_by_path_and_by_content(birds, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(birds, copy)
    os.rename(copy / "owl/2.jpg", copy / "tit/two.jpg")
    (copy / "tit/3.jpg").write_bytes(b"another picture")
    journal = Journal(birds)
    journal.note([Made(birds / "owl/1.jpg", "relabel", "owl", "tit"), Made(birds / "owl/2.jpg", "aside", "owl")])
    journal.note([Made(birds / "tit/3.jpg", "keep", "tit")])
    assert journal.export(tmp_path / "out" / "decisions.csv") == 3
    there = Journal(copy)
    found = there.replay(tmp_path / "out" / "decisions.csv")
    assert (found.noted, found.elsewhere, found.changed, found.missing) == (2, ["owl/2.jpg"], ["tit/3.jpg"], [])
    now = there.current()
    assert (now[copy / "owl/1.jpg"].to, now[copy / "tit/two.jpg"].action) == ("tit", "aside")
    assert there.replay(tmp_path / "out" / "decisions.csv").noted == 0  # doing it twice does no harm


def test_of_exact_copies_each_decision_takes_another(birds, tmp_path):
    import shutil

    shutil.copy(birds / "owl/1.jpg", birds / "owl/again.jpg")
    shutil.copytree(birds, tmp_path / "both")
    shutil.copytree(birds, tmp_path / "one")
    (tmp_path / "one/owl/again.jpg").unlink()
    shutil.copytree(birds, tmp_path / "renamed")
    os.rename(tmp_path / "renamed/owl/again.jpg", tmp_path / "renamed/owl/copy.jpg")
    journal = Journal(birds)
    journal.note([Made(birds / "owl/1.jpg", "keep", "owl"), Made(birds / "owl/again.jpg", "aside", "owl")])
    journal.export(tmp_path / "d.csv")
    for place, aside in (("both", "again.jpg"), ("one", None), ("renamed", "copy.jpg")):
        there = Journal(tmp_path / place)
        assert there.replay(tmp_path / "d.csv").missing == ([] if aside else ["owl/again.jpg"])
        said = {file.name: decision.action for file, decision in there.current().items()}
        assert said == {"1.jpg": "keep"} | ({aside: "aside"} if aside else {})


def test_what_was_decided_where_nothing_can_be_written_goes_to_a_copy(birds, tmp_path, monkeypatch):
    import shutil

    shutil.copytree(birds, tmp_path / "copy")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "mine"))
    really = os.access
    monkeypatch.setattr(os, "access", lambda p, mode: not Path(p).is_relative_to(birds) and really(p, mode))
    journal = Journal(birds)
    journal.note([Made(birds / "owl/1.jpg", "aside", "owl")])
    journal.export(tmp_path / "d.csv")
    there = Journal(tmp_path / "copy")
    assert there.replay(tmp_path / "d.csv").noted == 1
    assert set(there.current()) == {tmp_path / "copy/owl/1.jpg"}


def test_what_is_no_table_of_decisions_is_said(birds, tmp_path):
    journal, file = Journal(birds), tmp_path / "x.csv"
    with pytest.raises(FastmagicError, match="no file"):
        journal.replay(file)
    file.write_text("file,label\n1.jpg,owl\n")
    with pytest.raises(FastmagicError, match="lacks path, action, sha256"):
        journal.replay(file)
    file.write_text("path,action,sha256\nowl/1.jpg,delete,00\n")
    with pytest.raises(FastmagicError, match="action 'delete'"):
        journal.replay(file)


def test_rows_of_a_table_are_decided_about_too(birds, tmp_path):
    journal, row = Journal(birds), Row("adult.csv", 12, "ab" * 32)
    journal.note([Made(row, "relabel", "<=50K", ">50K")])
    assert journal.of(row).to == ">50K"
    assert journal.of(Row("adult.csv", 12, "cd" * 32)) is None  # the row holds something else now
    journal.export(tmp_path / "d.csv")
    other = Journal(tmp_path)
    assert other.replay(tmp_path / "d.csv").noted == 1
    assert other.of(row).to == ">50K"
