"""From words to a folder: what is kept, what is not and why, where it came from, and that nothing is asked for twice."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest
import standin as net
from PIL import Image

import fastmagic
from fastmagic.data.gather import manifest
from fastmagic.data.gather.pipeline import REJECTS
from fastmagic.errors import FastmagicError


def images(*classes, **options):
    said = []
    options = {"update": lambda progress: None, "say": said.append, **options}
    path = fastmagic.images(*classes, **options)
    return path, said


def records(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]


def kept(folder: Path) -> dict[str, str]:
    """Every photo in the class folders with a hash of what it holds."""
    return {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*.jpg"))
        if ".fastmagic" not in file.parts
    }


def jpeg(image: Image.Image, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **{"quality": 90, **options})
    return buffer.getvalue()


def test_a_folder_of_class_folders_that_fastai_and_check_are_content_with(internet):
    from fastai.data.transforms import get_image_files

    path, said = images("bird", "forest", n=12, to="bird_or_not")
    assert path == Path("bird_or_not")
    assert said == []
    files = get_image_files(path)
    assert sorted(file.parent.name for file in files) == ["bird"] * 12 + ["forest"] * 12
    assert all(max(Image.open(file).size) == 400 for file in files)
    assert list(fastmagic.check(path)) == []


def test_the_manifest_says_of_each_photo_what_it_is_and_where_it_came_from(internet):
    path, _ = images("bird", n=5, to="birds")
    rows = records(path)
    assert [row["url"] for row in rows] == internet.urls("bird")[:5]
    for row in rows:
        original = internet.photos["bird"][internet.urls("bird").index(row["url"])]
        stored = (path / row["file"]).read_bytes()
        assert (row["label"], row["status"], row["engine"], row["query"]) == (
            "bird",
            "kept",
            "duckduckgo",
            "bird photo",
        )
        assert row["page"].startswith("https://pages.example.org/")
        assert row["sha256"] == hashlib.sha256(original).hexdigest()
        assert (row["width"], row["height"], row["bytes"]) == (480, 360, len(original))
        assert (row["stored_width"], row["stored_height"], row["stored_bytes"]) == (400, 300, len(stored))
        assert len(row["phash"]) == 16
    import pandas as pd

    assert len(pd.read_json(path / "manifest.jsonl", lines=True)) == 5


def test_a_second_run_asks_nobody_and_more_photos_cost_only_the_new_ones(internet):
    path, _ = images("bird", "forest", n=10, to="set")
    before, asked = kept(path), len(internet.asked)
    images("bird", "forest", n=10, to="set")
    assert len(internet.asked) == asked
    images("bird", "forest", n=20, to="set")
    assert kept(path).items() >= before.items()
    assert len(kept(path)) == 40
    fetched = [where for host, where in internet.asked if host.endswith("example.org")]
    assert len(fetched) == len(set(fetched))


def test_the_same_search_for_another_folder_asks_no_search_service(internet):
    images("bird", n=5, to="one")
    services = len(internet.requests_to("duckduckgo", "bing"))
    images("bird", n=5, to="two")
    assert len(internet.requests_to("duckduckgo", "bing")) == services


def test_services_are_tried_until_there_are_enough(internet):
    internet.faults["duckduckgo.com"] = net.status(403)
    internet.photos["owl"] = net.pictures(25, seed=3)
    notes = []
    path, said = images("owl", n=30, to="owls", update=lambda progress: notes.append(progress.notes))
    engines = [row["engine"] for row in records(path) if row["status"] == "kept"]
    assert engines[0] == "bing"
    assert len(engines) == 25
    assert "DuckDuckGo refuses requests from here (answers 403)." in notes[-1]
    assert said == ["Only 25 of 30 photos of 'owl': there were no more."]


def test_copies_are_kept_once_and_set_aside_with_the_reason(internet):
    original = Image.open(io.BytesIO(internet.photos["bird"][0]))
    internet.photos["bird"][1:4] = [
        internet.photos["bird"][0],
        jpeg(original, quality=60),
        jpeg(original.resize((960, 720), Image.Resampling.LANCZOS)),
    ]
    path, _ = images("bird", n=10, to="birds")
    rows = records(path)
    assert [row["status"] for row in rows[:5]] == ["kept", "duplicate", "duplicate", "duplicate", "kept"]
    assert all(row["of"] == rows[0]["file"] and row["reason"] == "the same photo" for row in rows[1:4])
    assert all((path / row["file"]).is_file() and Path(row["file"]).is_relative_to(REJECTS) for row in rows[1:4])
    assert len(kept(path)) == 10


def test_a_photo_found_for_two_classes_is_in_neither(internet):
    seen = []
    # The second one is found when the first class has enough: that gets another.
    internet.photos["forest"][2], internet.photos["forest"][5] = internet.photos["bird"][1], internet.photos["bird"][0]
    path, _ = images("bird", "forest", n=6, to="set", update=seen.append)
    assert sorted(Path(name).parent.name for name in kept(path)) == ["bird"] * 6 + ["forest"] * 6
    twins = [row for row in records(path) if row.get("reason") == manifest.AMBIGUOUS]
    assert sorted((row["label"], row["status"], row["url"][-5:]) for row in twins) == [
        ("bird", "refused", "0.jpg"), ("bird", "refused", "1.jpg"),
        ("forest", "refused", "2.jpg"), ("forest", "refused", "5.jpg"),
    ]  # fmt: skip
    assert all((path / row["file"]).is_file() and Path(row["file"]).is_relative_to(REJECTS) for row in twins)
    assert Image.open(path / twins[0]["file"]).size[0] == 400  # to be looked at
    assert not any((path / row["of"]).exists() for row in twins if row["label"] == "bird")
    assert len({(row["label"], row["url"]) for row in records(path)}) == len(records(path))
    assert "Not kept: 4 × found for several classes" in str(seen[-1])
    before = kept(path)
    images("bird", "forest", n=7, to="set")
    assert len(kept(path)) == 14
    assert before.items() <= kept(path).items()
    path, _ = images("bird", "forest", n=6, to="both", keep_duplicates=True)
    assert len({hashlib.sha256((path / name).read_bytes()).hexdigest() for name in kept(path)}) == 10


def test_killed_before_such_a_photo_was_moved_the_next_run_moves_it(internet):
    internet.photos["forest"][2] = internet.photos["bird"][1]
    path, _ = images("bird", "forest", n=6, to="set")
    row = next(row for row in records(path) if row["label"] == "bird" and row.get("of"))
    (path / row["file"]).rename(path / row["of"])
    images("bird", "forest", n=7, to="set")
    assert (path / row["file"]).is_file()
    assert sorted(Path(name).parent.name for name in kept(path)) == ["bird"] * 7 + ["forest"] * 7
    assert row["of"] not in kept(path)


def test_a_class_that_an_earlier_run_fetched_loses_nothing_to_another_one(internet):
    internet.photos["forest"][2] = internet.photos["bird"][1]
    path, _ = images("bird", n=6, to="set")
    birds = kept(path)
    images("forest", n=6, to="set")
    assert birds.items() <= kept(path).items()
    assert [row["of"] for row in records(path) if row["status"] == "duplicate"] == [records(path)[1]["file"]]


def test_words_that_find_the_same_photos_are_told(internet):
    internet.photos["kitten"] = internet.photos["cat"] = net.pictures(5, seed=3)
    with pytest.raises(FastmagicError, match="could be had: 20 were found for several classes") as error:
        images("kitten", "cat", n=5, to="cats")
    assert "set the classes apart" in error.value.fix


def test_duplicates_are_kept_when_asked_for(internet):
    internet.photos["bird"] = internet.photos["bird"][:3] * 2
    path, _ = images("bird", to="birds", n=6, keep_duplicates=True)
    assert len(kept(path)) == 6


HTML = b"<!DOCTYPE html><html><body>Sign in</body></html>"


@pytest.mark.parametrize(
    ("answer", "status", "reason"),
    [
        (net.status(404), "broken", "answers 404"),
        (net.status(410), "broken", "answers 410"),
        (net.body(HTML), "refused", "no photo but a web page"),
        (net.body(b'<svg xmlns="http://www.w3.org/2000/svg"/>', "image/png"), "refused", "SVG"),
        (net.body(b"", "image/jpeg"), "broken", "an empty file"),
        (net.cut(jpeg(Image.new("RGB", (300, 200), "red"))), "broken", "cut short"),
        (net.body(jpeg(Image.effect_noise((500, 400), 90))[:9000]), "broken", "too early"),
        (net.gzip_bomb(30), "refused", "larger than 20 MB"),
        (net.body(bytes(21_000_000)), "refused", "larger than 20 MB"),
        (net.redirect("https://photos9.example.org/loop"), "refused", "circle"),
        (net.redirect("http://127.0.0.1:1/secret"), "refused", "private address"),
        (net.redirect("http://[::1]/secret"), "refused", "private address"),
        (net.redirect("http://169.254.169.254/latest/meta-data/"), "refused", "private address"),
        (net.redirect("http://2130706433/"), "refused", "private address"),
        (net.redirect("http://127.1/"), "refused", "private address"),
        (net.redirect("http://0177.0.0.1/"), "refused", "private address"),
        (net.redirect("http://①②⑦.⓪.⓪.①/".encode().decode("latin-1")), "refused", "private address"),
        (net.redirect("http://localhost./"), "refused", "private address"),
        (net.redirect("http://[oops/x"), "broken", "no address"),
        (net.redirect("http://photos0.example.org:99999/"), "broken", "no address"),
        (net.redirect("file:///etc/passwd"), "refused", "no http or https address"),
        (net.redirect("ftp://example.org/a.jpg"), "refused", "no http or https address"),
        (net.status(503, Retry_After="86400"), "broken", "busy"),
        (net.body(b"", X_Robots_Tag="nosnippet, noai"), "refused", "its owner does not want it used"),
        (net.body(b"", X_Robots_Tag="fastmagic: noimageai"), "refused", "its owner does not want it used"),
        (net.body(b"\x00" * 100, Content_Encoding="br"), "broken", "packed in a way"),
        (net.body(b"no gzip", Content_Encoding="gzip"), "broken", "damaged"),
        (net.hang, "broken", "does not answer in time"),
        (net.slow(bytes(100_000), 30), "broken", "slower than"),
    ],
)  # fmt: skip
def test_what_cannot_be_kept_is_told_apart_and_costs_nothing_else(internet, answer, status, reason):
    internet.extra["photos1.example.org/bird/1.jpg"] = answer
    internet.extra["photos9.example.org/loop"] = net.redirect("https://photos1.example.org/bird/1.jpg")
    path, _ = images("bird", n=6, to="birds", timeout=3)
    row = records(path)[1]
    assert row["status"] == status
    assert reason in row["reason"]
    assert "file" not in row or Path(row["file"]).is_relative_to(REJECTS)
    assert len(kept(path)) == 6


def test_rejected_bytes_lie_in_quarantine_under_a_name_that_nothing_opens(internet):
    internet.extra["photos1.example.org/bird/1.jpg"] = net.body(HTML)
    path, _ = images("bird", n=3, to="birds")
    file = path / records(path)[1]["file"]
    assert file.suffix == ".bin"
    assert file.read_bytes() == HTML


@pytest.mark.parametrize(
    "answer",
    [
        net.redirect("https://photos2.example.org/bird/39.jpg"),
        net.busy_then(1, net.photo),
        net.gzipped(jpeg(Image.effect_noise((500, 400), 90).convert("RGB"))),
        net.slow(jpeg(Image.effect_noise((300, 200), 90).convert("RGB")), 1.5),
    ],
    ids=["redirect", "busy once", "gzip", "slow"],
)
def test_what_only_takes_a_detour_is_kept(internet, answer):
    internet.extra["photos1.example.org/bird/1.jpg"] = answer
    path, _ = images("bird", n=3, to="birds")
    assert [row["status"] for row in records(path)] == ["kept"] * 3


def test_a_server_that_fails_once_and_a_known_host_that_hangs_once_are_asked_again(internet):
    fine = jpeg(Image.effect_noise((300, 200), 90).convert("RGB"))
    for i, first in ((1, net.status(500)), (2, net.status(502)), (9, net.hang)):
        internet.extra[f"photos{i % 8}.example.org/bird/{i}.jpg"] = net.first(first, net.body(jpeg_of(i)))
    internet.extra["photos3.example.org/bird/3.jpg"] = net.status(404)
    internet.extra["photos4.example.org/bird/4.jpg"] = net.body(fine, X_Robots_Tag="otherbot: noai")
    path, _ = images("bird", n=20, to="birds", timeout=9)
    assert [row["url"][-10:] for row in records(path) if row["status"] != "kept"] == ["bird/3.jpg"]
    tries = {i: internet.tries[f"photos{i % 8}.example.org/bird/{i}.jpg"] for i in (1, 2, 9, 3, 4)}
    assert tries == {1: 2, 2: 2, 9: 2, 3: 1, 4: 1}


def jpeg_of(seed: int) -> bytes:
    return net.pictures(1, seed=900 + seed)[0]


def test_wikimedias_photos_are_fetched_two_at_a_time(internet):
    from fastmagic.data.gather.transfer import FEWER

    now, most, lock = [0], [0], threading.Lock()
    pair = threading.Barrier(FEWER["upload.wikimedia.org"])

    def answer(handler):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        pair.wait(30)  # nobody is answered alone
        time.sleep(0.1)  # a third one, were it let in, would be here by now
        with lock:
            now[0] -= 1
        handler.send(jpeg_of(int(handler.where.strip("/.jpg"))), "image/jpeg")

    internet.faults["upload.wikimedia.org"] = answer
    path = fastmagic.fetch(
        [f"https://upload.wikimedia.org/{i}.jpg" for i in range(8)], "photos", say=lambda line: None, update=print
    )
    assert (len(kept(path)), most[0]) == (8, FEWER["upload.wikimedia.org"])


def test_a_blank_that_ddgs_wrote_as_a_plus_is_tried_as_a_blank(internet):
    internet.photos["red bird"] = net.pictures(2, seed=5)
    urls = [url.replace("%20", "+") for url in internet.urls("red bird")]
    Path("urls.txt").write_text("\n".join(urls))
    path, _ = images(source="urls.txt", to="plus")
    assert len(kept(path)) == 2


def test_hosts_that_are_slow_hold_nothing_up(internet):
    internet.faults["photos0.example.org"] = net.hang
    path, _ = images("bird", n=35, to="birds", timeout=6)
    assert len(kept(path)) == 35
    reasons = [row["reason"] for row in records(path) if row["status"] == "broken"]
    assert len(reasons) == 5
    assert len(internet.requests_to("photos0.example.org")) <= 8


def test_a_photo_that_is_late_loses_its_turn_but_not_its_place(internet):
    internet.extra["photos1.example.org/bird/1.jpg"] = net.slow(
        jpeg(Image.effect_noise((300, 200), 90).convert("RGB")), 5
    )
    path, _ = images("bird", n=40, to="birds", engine="duckduckgo")
    assert [row["status"] for row in records(path)] == ["kept"] * 40
    assert records(path)[-1]["url"].endswith("bird/1.jpg")


def test_many_late_photos_do_not_stop_the_run(internet):
    for i in range(10):
        picture = net.pictures(1, seed=100 + i)[0]
        internet.extra[f"photos{i % 8}.example.org/bird/{i}.jpg"] = net.slow(picture, 4)
    path, _ = images("bird", n=20, to="birds", engine="duckduckgo")
    assert len(kept(path)) == 20


def test_a_host_that_asks_for_an_hour_is_not_asked_again(internet):
    internet.faults["photos1.example.org"] = net.status(429, Retry_After="3600")
    path, _ = images("bird", n=35, to="birds", engine="duckduckgo")
    assert len(kept(path)) == 35
    assert len(internet.requests_to("photos1.example.org")) <= 5


def test_a_host_that_failed_is_tried_again_by_the_next_run(internet):
    internet.faults["photos1.example.org"] = net.status(500)
    path, _ = images("bird", n=40, to="birds", engine="duckduckgo")
    assert len(kept(path)) == 35
    internet.faults.clear()
    path, _ = images("bird", n=40, to="birds", engine="duckduckgo")
    assert len(kept(path)) == 40
    assert len({row["url"] for row in records(path)}) == len(records(path)) == 40


def test_a_photo_that_was_taken_away_is_not_brought_back_but_replaced(internet):
    path, _ = images("bird", n=10, to="birds")
    gone = sorted(kept(path))[3]
    (path / gone).unlink()
    images("bird", n=10, to="birds")
    assert gone not in kept(path)
    assert len(kept(path)) == 10


def test_a_photo_that_was_edited_in_place_stays_as_it_is(internet):
    path, _ = images("bird", n=4, to="birds")
    file = path / sorted(kept(path))[0]
    Image.open(file).rotate(90).save(file, quality=50)
    edited = file.read_bytes()
    images("bird", n=8, to="birds")
    assert file.read_bytes() == edited
    assert len(kept(path)) == 8
    (path / "manifest.jsonl").unlink()
    images("bird", n=8, to="birds")
    assert file.read_bytes() == edited


def test_an_address_that_a_list_names_twice_is_fetched_once(internet):
    path = fastmagic.fetch(internet.urls("bird")[:3] * 2, "birds", update=lambda progress: None)
    assert len(kept(path)) == 3
    assert len(internet.requests_to("example.org")) == 3


def test_broken_unicode_in_titles_and_addresses_does_no_harm(internet):
    from fastmagic.data.gather.pipeline import Candidate, Pass, Shelf
    from fastmagic.data.gather.web import Web

    found = [manifest.Record(label="bird", url=url, title="half an emoji \ud83d") for url in internet.urls("bird")[:2]]
    found += [
        manifest.Record(label="bird", url=url)
        for url in ("http://[bad/x", "http://x:port/", "https://\udce9.example.org/")
    ]
    shelf = Shelf("bird", [Candidate(record) for record in found])
    Pass(Path("birds"), [shelf], Web()).run()
    assert [row.status for row in manifest.read(Path("birds"))] == ["kept", "kept", "broken", "broken", "broken"]


def test_a_whole_last_line_without_its_end_is_kept(internet):
    path, _ = images("bird", n=3, to="birds")
    text = (path / "manifest.jsonl").read_text()
    (path / "manifest.jsonl").write_text(text.rstrip("\n"))
    images("bird", n=5, to="birds")
    assert (path / "manifest.jsonl").read_text().startswith(text)
    (path / "manifest.jsonl").write_text(text + '{"label": "bi')
    images("bird", n=5, to="birds")
    assert [row["status"] for row in records(path)] == ["kept"] * 5


def test_who_empties_a_class_folder_to_start_anew_is_told_how(internet):
    path, _ = images("bird", n=40, to="birds", engine="duckduckgo")
    for name in kept(path):
        (path / name).unlink()
    with pytest.raises(FastmagicError, match="No photo of 'bird' could be had") as caught:
        images("bird", n=40, to="birds", engine="duckduckgo")
    assert "40 that were taken away are not fetched again" in caught.value.fix
    (path / "manifest.jsonl").unlink()
    assert len(kept(images("bird", n=40, to="birds", engine="duckduckgo")[0])) == 40


def test_a_class_may_be_called_like_an_option_but_a_slip_may_not(internet):
    path, _ = images(toy="bird photo", engineer="forest photo", n=2, to="set")
    assert {Path(name).parent.name for name in kept(path)} == {"toy", "engineer"}


def test_names_are_ours_and_nothing_is_written_outside_the_folder(internet, tmp_path):
    nasty = '../../evil/<b>"x":*?'
    internet.photos[nasty] = net.pictures(3, seed=9)
    internet.found = lambda words: [f"https://photos0.example.org/bird/{i}.jpg?name=../../{i}.php" for i in range(3)]
    before = {file for file in tmp_path.rglob("*") if "set" not in file.parts and "cache" not in file.parts}
    path, _ = images({nasty: "bird photo"}, n=3, to="set")
    after = {file for file in tmp_path.rglob("*") if "set" not in file.parts and "cache" not in file.parts}
    assert after == before
    (folder,) = (place for place in path.iterdir() if place.is_dir() and place.name != ".fastmagic")
    assert "/" not in folder.name
    assert not folder.name.startswith(".")
    assert all(file.suffix == ".jpg" and file.stem.rpartition("_")[2].isalnum() for file in folder.iterdir())


def test_open_licences_only_and_credits(internet):
    path, said = images("bird", n=12, to="birds", license="open")
    rows = [row for row in records(path) if row["status"] == "kept"]
    assert len(rows) == 12
    assert {row["license"].split(" ")[0] for row in rows} <= {"CC", "CC0", "public"}
    assert not any("NC" in row["license"] or "ND" in row["license"] for row in rows)
    credits = (path / "CREDITS.md").read_text()
    assert all(row["file"] in credits and row["author"] in credits and row["page"] in credits for row in rows)
    assert any("CREDITS.md" in line for line in said)


def test_a_manifest_is_fetched_again_without_what_is_not_free(internet):
    path, _ = images("bird", n=8, to="all", engine="openverse")
    again, _ = images(source=path / "manifest.jsonl", to="free", license="open")
    free = [row["url"] for row in records(path) if "NC" not in row["license"]]
    assert 0 < len(free) < 8
    assert [row["url"] for row in records(again)] == free
    path, _ = images("bird", n=3, to="unknown", engine="bing")
    with pytest.raises(FastmagicError, match="No photo of 'bird' is freely licensed"):
        images(source=path / "manifest.jsonl", to="none", license="open")
    Path("urls.txt").write_text("\n".join(internet.urls("bird")))
    with pytest.raises(FastmagicError, match="Licences are told by a search only"):
        images(source="urls.txt", to="none", license="open")


def test_open_licences_do_not_hide_others_that_are_there(internet):
    path, _ = images("bird", n=3, to="birds")
    with pytest.raises(FastmagicError, match="3 photos that are not freely licensed"):
        images("bird", n=3, to="birds", license="open")
    (path / "CREDITS.md").write_text("My own list.\n")
    images("forest", n=3, to="birds", license="open")
    assert (path / "CREDITS.md").read_text() == "My own list.\n"
    assert "Photographer" in (path / "CREDITS.fastmagic.md").read_text()


def test_credits_are_no_place_to_smuggle_something_in(tmp_path):
    from fastmagic.data.gather.manifest import Record, Writer, write_credits

    writer = Writer(tmp_path / "manifest.jsonl")
    author = "<img src=x onerror=alert(1)> [me](javascript:alert(1))\n# Title"
    writer.add(
        Record(status="kept", file="a.jpg", license="CC BY", author=author, page="javascript:alert(1)", title="`a`")
    )
    writer.close()
    assert write_credits(tmp_path) == 1
    line = (tmp_path / "CREDITS.md").read_text().splitlines()[-1]
    assert line.startswith("- `a.jpg`: \\`a\\` by \\<img")
    assert "](" not in line.replace("\\](", "")


# ---------------------------------------------------------------- sources that need no search


def test_a_text_file_a_csv_and_a_folder(internet, tmp_path):
    birds, forests = internet.urls("bird")[:6], internet.urls("forest")[:4]
    Path("bird.txt").write_text("# my birds\n" + "\n".join(birds) + "\n\n")
    assert set(kept(images(source="bird.txt", to="a")[0])) == set(kept(images("bird", source="bird.txt", to="b")[0]))
    rows = [f"{url},bird" for url in birds] + [f"{url},forest" for url in forests]
    for head in ("address,class\n", ""):  # with and without a heading
        Path("list.csv").write_text(head + "\n".join(rows))
        path, _ = images(source="list.csv", to=f"c{len(head)}")
        assert sorted(Path(name).parent.name for name in kept(path)) == ["bird"] * 6 + ["forest"] * 4
    path, _ = images("forest", source="list.csv", to="d")
    assert {Path(name).parent.name for name in kept(path)} == {"forest"}
    path, _ = images(source="c0", to="e", max_size=64, n=3)
    assert len(kept(path)) == 6
    assert all(max(Image.open(path / name).size) == 64 for name in kept(path))


def test_a_set_fetched_again_from_its_manifest_is_the_very_same(internet):
    internet.photos["bird"][1] = internet.photos["bird"][0]
    path, _ = images("bird", "forest", n=10, to="first")
    again, said = images(source=path / "manifest.jsonl", to="again")
    assert kept(again) == kept(path)
    assert said == [
        "20 photos are the same as then, 0 have other bytes but show the same, 0 show something else, 0 have vanished."
    ]
    row = records(again)[0]
    assert (row["engine"], row["query"], row["page"]) == (
        "duckduckgo",
        "bird photo",
        "https://pages.example.org/0.html",
    )


def test_what_has_vanished_or_changed_since_then_is_told(internet):
    path, _ = images("bird", n=10, to="first")
    photos = internet.photos["bird"]
    internet.extra["photos0.example.org/bird/0.jpg"] = net.status(404)
    internet.extra["photos1.example.org/bird/1.jpg"] = net.body(photos[30])
    internet.extra["photos2.example.org/bird/2.jpg"] = net.body(jpeg(Image.open(io.BytesIO(photos[2])), quality=70))
    again, said = images(source=path / "manifest.jsonl", to="again")
    assert said[0].startswith(
        "7 photos are the same as then, 1 have other bytes but show the same, 1 show something else, 1 have vanished"
    )
    assert "bird/0.jpg (answers 404" in said[1]
    assert "bird/1.jpg (changed" in said[2]
    assert len(kept(again)) == 8


def test_a_manifest_of_somebody_else_cannot_take_files_of_this_machine(internet, tmp_path):
    secret = tmp_path / "secret.jpg"
    secret.write_text("no picture")
    rows = [
        {"label": "bird", "status": "kept", "url": url, "phash": "0" * 16}
        for url in ("file:///etc/passwd", secret.as_uri())
    ]
    Path("theirs.jsonl").write_text(
        "\n".join(json.dumps(row) for row in [*rows, {**rows[0], "url": internet.urls("bird")[0]}])
    )
    with pytest.raises(FastmagicError, match="No photo of 'bird'"):
        images(source="theirs.jsonl", to="mine")
    stored = [file.read_bytes() for file in Path("mine").rglob("*") if file.is_file()]
    assert not any(b"no picture" in data or b"root:" in data for data in stored)


def test_photos_are_not_written_into_where_they_come_from(internet):
    path, _ = images("bird", n=3, to="set")
    for source, to in ((path, path), (path, path / "more"), (path / "manifest.jsonl", path)):
        with pytest.raises(FastmagicError, match="what the photos come from"):
            images(source=source, to=to)


def test_fetch_brings_a_list_of_addresses_into_one_folder(internet):
    path = fastmagic.fetch(internet.urls("bird")[:7], "birds", update=lambda progress: None)
    assert len(kept(path)) == 7
    assert all("/" not in name for name in kept(path))
    assert all(row.label == "" and row.url for row in manifest.read(path))


def test_addresses_that_a_person_names_may_be_on_this_machine(tmp_path):
    from functools import partial
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *words):
            return

    (tmp_path / "served").mkdir()
    Path(tmp_path / "served" / "a.jpg").write_bytes(net.pictures(1)[0])
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "served")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://localhost:{server.server_address[1]}/a.jpg"
    try:
        assert len(kept(fastmagic.fetch([url], tmp_path / "out", update=lambda progress: None))) == 1
        # A search result may not lead there, not even by a name.
        from fastmagic.data.gather.manifest import Record
        from fastmagic.data.gather.pipeline import Candidate, Pass, Shelf
        from fastmagic.data.gather.web import Web

        found = [url, url.replace("localhost", "127.0.0.1"), url.replace("localhost", f"{os.uname().nodename}")]
        shelf = Shelf("bird", [Candidate(Record(label="bird", url=address)) for address in found])
        job = Pass(tmp_path / "other", [shelf], Web(), public_only=True)
        job.run()
        assert shelf.counts["kept"] == 0
        assert [row.reason for row in manifest.read(tmp_path / "other")][:2] == ["a private address"] * 2
    finally:
        server.shutdown()


# ---------------------------------------------------------------- when it goes wrong


def test_without_photos_it_fails_with_the_cause_and_leaves_nothing_behind(internet):
    with pytest.raises(FastmagicError, match=r"No photo of 'zebra' could be had: no search found any") as caught:
        images("zebra", to="zebras")
    assert "Try other words" in caught.value.fix
    assert not Path("zebras").exists()


def test_when_every_service_refuses_the_next_step_is_told(internet):
    for host in ("duckduckgo.com", "www.bing.com", "api.openverse.org", "commons.wikimedia.org", "api.inaturalist.org"):
        internet.faults[host] = net.status(403)
    with pytest.raises(FastmagicError, match="every search service refused") as caught:
        images("bird")
    assert "source='urls.txt'" in caught.value.fix
    path, said = images("bird", fallback="digits")
    assert sorted(place.name for place in path.iterdir())[:2] == ["0", "1"]
    assert "Going on with the handwritten digits" in said[-1]


def test_when_every_photo_fails_the_reasons_are_counted(internet):
    for i in range(net.HOSTS):
        internet.faults[f"photos{i}.example.org"] = net.status(403)
    with pytest.raises(FastmagicError, match=r"40 were tried \(40 × answers 403"):
        images("bird", engine="duckduckgo")


def test_a_second_failure_is_told_like_the_first(internet):
    for host in range(net.HOSTS):
        internet.faults[f"photos{host}.example.org"] = net.status(404)
    for _ in range(2):
        with pytest.raises(FastmagicError, match=r"3 were tried \(3 × answers 404"):
            fastmagic.fetch(internet.urls("bird")[:3], "birds", update=lambda progress: None)


def test_a_proxy_that_never_opens_costs_its_time_limit_and_no_more(internet, tmp_path):
    import socket

    listener = socket.create_server(("127.0.0.1", 0))
    proxy = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(FastmagicError, match="does not answer"):
        fastmagic.fetch(
            ["https://photos0.example.org/bird/0.jpg"], "birds", proxy=proxy, timeout=2, update=lambda p: None
        )
    listener.close()


def test_without_a_proxy_none_is_blamed(tmp_path, monkeypatch):
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(FastmagicError, match=r"the host cannot be reached\)"):
        fastmagic.fetch(["http://127.0.0.1:1/a.jpg"], tmp_path / "out", update=lambda progress: None)


def test_a_full_disk_stops_the_run_and_what_is_there_stays(internet, tmp_path):
    import subprocess

    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(small)], capture_output=True)
    if mounted.returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        with pytest.raises(FastmagicError, match="The disk is full") as caught:
            images("bird", n=40, to=small / "birds")
        assert "Run the same again" in caught.value.fix
        there = kept(small / "birds")
        assert there
        subprocess.run(["mount", "-o", "remount,size=9m", str(small)], check=True)
        images("bird", n=40, to=small / "birds")
        assert len(kept(small / "birds")) == 40
        assert kept(small / "birds").items() >= there.items()
    finally:
        subprocess.run(["umount", str(small)], check=True)


@pytest.mark.parametrize(
    ("classes", "options", "cause"),
    [
        ((), {}, "No class was named"),
        (("bird", "bird"), {}, "named twice"),
        (("..",), {}, "cannot be the name of a class"),
        (("bird",), {"n": 0}, "too few"),
        (("bird",), {"max_size": 3}, "makes no sense"),
        (("bird",), {"license": "free"}, "license is 'free'"),
        (("bird",), {"engine": "gogle"}, "no search engine 'gogle'"),
        (("bird",), {"source": "nowhere.txt"}, "no file or folder 'nowhere.txt'"),
        (("bird",), {"proxy": "nonsense"}, "no address of a proxy"),
        (("bird",), {"proxy": "socks5://127.0.0.1:9"}, "SOCKS proxy"),
        (("bird",), {"licence": "open"}, "no option 'licence'"),
        (("bird",), {"max_sise": 300}, "no option 'max_sise'"),
        (("bird",), {"ca_bundle": "nowhere.pem"}, "no file of certificates"),
        ((3,), {}, "no name of a class"),
        (({"bird": 3},), {}, "no search for 'bird'"),
    ],
)  # fmt: skip
def test_mistakes_are_told_before_anybody_is_asked(internet, classes, options, cause):
    with pytest.raises(FastmagicError, match=cause):
        images(*classes, **options)
    assert internet.asked == []


def test_two_runs_into_one_folder_do_not_get_in_each_others_way(internet):
    internet.latency = 0.3
    first = threading.Thread(target=images, args=("bird",), kwargs={"n": 40, "to": "birds"})
    first.start()
    while first.is_alive() and not Path("birds/manifest.jsonl").exists():
        time.sleep(0.01)
    with pytest.raises(FastmagicError, match="Another run is filling 'birds'"):
        images("bird", n=40, to="birds")
    first.join()
    assert len(kept(Path("birds"))) == 40


# ---------------------------------------------------------------- in a notebook


def test_it_works_in_a_running_event_loop(internet):
    async def cell():
        return images("bird", n=3, to="birds")

    path, _ = asyncio.run(cell())
    assert len(kept(path)) == 3


def test_an_interrupt_stops_it_cleanly_and_the_next_run_goes_on(internet):
    internet.latency = 0.5

    def interrupt(progress):
        if sum(shelf.counts["kept"] for shelf in progress.shelves) >= 1 and progress.running:
            signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        path, said = images("bird", "forest", n=40, to="set", update=interrupt)
    finally:
        signal.signal(signal.SIGINT, before)
    assert said[-1].startswith("Stopped: ")
    assert "Run the same again to go on" in said[-1]
    there = kept(path)
    assert 0 < len(there) < 80
    assert not [thread for thread in threading.enumerate() if thread.name == "fastmagic-images"]
    internet.latency = 0
    images("bird", "forest", n=40, to="set")
    assert len(kept(path)) == 80
    assert kept(path).items() >= there.items()


def test_the_gallery_fills_up_and_stays_small(internet):
    seen = []
    images("bird", "forest", n=30, to="set", update=lambda p: seen.append((p.html, str(p))))
    page, text = seen[-1]
    assert page.count("<img ") == 32
    assert page.count('alt="bird: bird_') == 16
    assert len(page) < 200_000
    assert "bird    30 of 30" in text
    assert "on the way" not in text


def test_why_photos_fail_and_whose_fault_it_is_is_told_while_it_runs(internet):
    seen = []
    internet.faults["photos1.example.org"] = net.status(403)
    internet.extra["photos6.example.org/bird/38.jpg"] = net.slow(jpeg_of(38), 4)  # the others are decided by then
    images("bird", n=35, to="set", engine="duckduckgo", update=lambda p: seen.append((str(p), p.html)))
    text = next(text for text, _ in seen if "Not kept so far" in text)
    assert "× answers 403 Forbidden" in text
    assert "5 × answers 403 Forbidden (all from photos1.example.org)." in seen[-1][0]
    assert "(all from photos1.example.org)." in seen[-1][1]


def test_twenty_thousand_candidates_are_not_held_in_memory(internet):
    """Candidates are drawn as they are needed, never many more than are under way."""
    from fastmagic.data.gather.manifest import Record
    from fastmagic.data.gather.pipeline import Candidate, Pass, Shelf
    from fastmagic.data.gather.web import Web

    drawn = 0

    def candidates():
        nonlocal drawn
        for i in range(20_000):
            drawn += 1
            yield Candidate(Record(label="bird", url=f"https://photos{i % 8}.example.org/bird/{i % 40}.jpg?{i}"))

    Pass(Path("set"), [Shelf("bird", candidates(), wanted=30)], Web()).run()
    assert drawn <= 30 * 1.1 + 6


def test_photos_of_noise_are_no_copies_of_each_other():
    """What the other tests rely on: the stand-in's pictures are far apart."""
    import imagehash

    hashes = [imagehash.phash(Image.open(io.BytesIO(photo))) for photo in net.pictures(40, seed=1)]
    assert min(a - b for i, a in enumerate(hashes) for b in hashes[:i]) > 10
