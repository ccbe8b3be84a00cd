"""`%images` as it is typed: the folder is bound, mistakes are answered, the display below the cell fills up."""

from __future__ import annotations

import ast
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from fastmagic.errors import FastmagicError
from fastmagic.magics import find
from fastmagic.magics.complete import completions
from fastmagic.magics.short import short_message


def files(folder: str) -> list[str]:
    return sorted(str(file) for file in Path(folder).glob("*/*.jpg"))


@pytest.fixture
def online(internet, shell, tmp_path, monkeypatch):
    """A shell in an empty folder, sent to the stand-in for the internet."""
    monkeypatch.chdir(tmp_path)
    return shell


def test_the_lessons_own_line(online, capsys):
    online.run("%images bird forest --n 5 --to bird_or_not")
    assert online.user_ns["path"] == Path("bird_or_not")
    assert len(files("bird_or_not")) == 10
    out = capsys.readouterr().out
    assert re.search(r"bird +5 of 5", out)
    assert out.count("In 'bird_or_not'") == 1


def test_the_folder_is_the_newest_source_of_what_follows(online):
    online.run("%images bird forest --n 6")
    online.run("%datablock dls --show 0")
    assert sorted(online.user_ns["dls"].vocab) == ["bird", "forest"]


def test_without_to_the_folder_is_named_after_the_classes_and_into_names_the_variable(online):
    online.run("photos = %images bird forest --n 1")
    assert online.user_ns["photos"] == Path("bird_or_forest")
    assert "path" not in online.user_ns


def test_size_and_copies_are_as_asked(online):
    online.run("%images bird --n 2 --to small --max-size 64 --into here")
    assert online.user_ns["here"] == Path("small")
    assert {max(Image.open(file).size) for file in files("small")} == {64}
    Path("twice/bird").mkdir(parents=True)
    for name in "ab":
        shutil.copy(files("small")[0], f"twice/bird/{name}.jpg")
    online.run("%images --from twice --to once")
    assert len(files("once")) == 1
    online.run("%images --from twice --to both --keep-duplicates")
    assert len(files("both")) == 2


def test_searches_of_ones_own_and_variables(online):
    online.run('%images bird="bird photo; forest photo" --n 4 --to one')
    assert {Path(file).parent.name for file in files("one")} == {"bird"}
    online.run('kinds = ["bird", "forest"]\n%images $kinds --n 1 --to two')
    assert len(files("two")) == 2
    online.run("%images bird --suffix '' --n 1 --to three")
    assert '"query": "bird"' in Path("three/manifest.jsonl").read_text()


def test_the_settings_proxy_and_certificates_are_used(online, internet, monkeypatch):
    for name in internet.environment():
        monkeypatch.delenv(name)
    with pytest.raises(FastmagicError, match="can be reached"):
        online.run("%images bird --n 1 --engine openverse")
    online.run(f"%config FastMagic.proxy = {internet.proxy!r}\n%config FastMagic.ca_bundle = {str(internet.ca_file)!r}")
    online.run("%images bird --n 1 --engine openverse")
    assert len(files("bird")) == 1


def test_fallback_goes_on_with_the_digits_and_says_so(online, internet, capsys):
    internet.photos.clear()
    online.run("%images bird forest --fallback digits")
    assert online.user_ns["path"].name == "digits"
    assert "Going on with the handwritten digits" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "cause", "hint"),
    [
        ("%images", "No class was named", "bird"),
        ("%images bird=", "half a search", "bird photo"),
        ("%images bird --engine gogle", "no search engine 'gogle'", "duckduckgo"),
        ("%images bird --license opn", "not possible here", "open"),
        ("%images bird --license open --engine bing", "does not say licences", "openverse"),
        ("%images bird --form urls.txt", "no option '--form'", "--from"),
        ("%images bird --from urls.txt", "no file or folder 'urls.txt'", ""),
        ("%images bird --n many", "'many' is not a whole number", ""),
        ("%images bird --n 0", "too small", ""),
        ("%images bird bird", "named twice", ""),
        ("%images ..", "cannot be the name of a class", ""),
        ("%images zebra", "No photo of 'zebra' could be had", "Try other words"),
        ("%images $n", "names of classes are needed", ""),
    ],
)
def test_mistakes_are_answered_with_cause_and_next_step(online, line, cause, hint):
    online.user_ns["n"] = 3
    with pytest.raises(FastmagicError) as caught:
        online.run(line)
    message = short_message(caught.value)
    assert cause in message
    assert hint in message
    assert len(message.splitlines()) <= 5


def test_code_prints_the_lessons_program(online, capsys):
    online.run('%images bird="robin photo; owl photo" "black bear" --n 50 --to set --code')
    program = capsys.readouterr().out
    ast.parse(program)
    assert "'bird': ['robin photo', 'owl photo']" in program
    assert "'black bear': ['black bear photo']" in program
    assert not Path("set").exists()


def test_the_printed_program_runs(online, internet, capsys, tmp_path):
    """It is the lesson's: fastai's own downloader needs no certificates here, since the photos are asked for by http."""
    internet.found = lambda words: [
        url.replace("https:", "http:") for url in internet.urls("bird" if "bird" in words else "forest")
    ]
    online.run("%images bird forest --n 3 --code")
    program = capsys.readouterr().out.replace(
        "DDGS()", f"DDGS(verify={str(internet.ca_file)!r}, proxy={internet.proxy!r})"
    )
    exec(program, {})
    assert len(files("bird_or_forest")) == 6


def test_tab_completes_options_engines_and_paths(online):
    def complete(line: str) -> list[str]:
        word = line.rpartition(" ")[2]
        event = SimpleNamespace(line=line, symbol=word, text_until_cursor=line, command="%images")
        return completions(online, find("images"), event)

    assert "--license" in complete("%images bird --li")
    assert complete("%images bird --engine open") == ["openverse"]
    assert complete("%images bird --engine openverse,co") == ["openverse,commons"]
    assert complete("%images bird --license ") == ["any", "open"]
    assert "digits" in complete("%images bird --fallback d")


def test_in_a_kernel_one_display_fills_up_below_the_cell(internet, tmp_path, monkeypatch):
    from jupyter_client.manager import start_new_kernel

    internet.latency = 1.0
    manager, client = start_new_kernel(kernel_name="python3", cwd=str(tmp_path))
    shown, updates = [], []

    def collect(message):
        if message["msg_type"] == "display_data":
            shown.append(message["content"]["data"])
        if message["msg_type"] == "update_display_data":
            updates.append(message["content"]["data"])

    try:
        for cell in ("%load_ext fastmagic", "%images bird forest --n 40 --to set"):
            reply = client.execute_interactive(cell, timeout=120, output_hook=collect)
            assert reply["content"]["status"] == "ok", reply["content"].get("evalue")
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert len(shown) == 1
    assert len(updates) >= 2
    assert "on the way" in shown[0]["text/plain"]
    assert updates[-1]["text/html"].count("<img ") == 32
    assert "40 of 40" in updates[-1]["text/plain"]


@pytest.mark.parametrize("kind", ["addresses", "table", "table without heading", "folder", "manifest"])
def test_the_program_of_a_source_fetches_what_the_magic_fetches(online, internet, capsys, tmp_path, kind):
    urls = {name: [url.replace("https:", "http:") for url in internet.urls(name)[:4]] for name in ("bird", "forest")}
    if kind == "addresses":
        Path("urls.txt").write_text("\n".join(["# mine", *urls["bird"]]))
        line, labels = "%images bird --from urls.txt --to set", ["bird"]
    elif kind == "folder":
        online.run("%images bird forest --n 4 --to mine")
        line, labels = "%images --from mine --to set", ["bird", "forest"]
    elif kind == "manifest":
        online.run("%images bird forest --n 4 --to mine")
        line, labels = "%images --from mine/manifest.jsonl --to set", ["bird", "forest"]
    else:
        rows = [f"{url},{name}" for name, addresses in urls.items() for url in addresses]
        Path("urls.csv").write_text("\n".join([*(["url,label"] if kind == "table" else []), *rows]))
        line, labels = "%images --from urls.csv --to set", ["bird", "forest"]
    capsys.readouterr()
    online.run(f"{line} --code")
    program = capsys.readouterr().out
    assert not Path("set").exists()
    exec(program, {})
    online.run(line.replace("--to set", "--to again"))
    assert [len(files(folder)) for folder in ("set", "again")] == [4 * len(labels)] * 2
    assert {Path(file).parent.name for file in files("set")} == set(labels)
