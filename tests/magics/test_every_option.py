"""Every option of every magic, through a shell: each does what its help says, and leaving it out does not.

A case is a function under `@heeds(magic, option)`; it gets a `Cell` that runs lines and returns what they printed and
showed. The last test finds options that have no case.
"""

from __future__ import annotations

import asyncio
import copy
import json
import shutil
import socketserver
import sys
import threading
import types
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from IPython.utils.capture import capture_output

import fastmagic
from fastmagic.errors import FastmagicError
from fastmagic.magics import MAGICS, find

CASES: dict[tuple[str, str], Callable[[Cell], None]] = {}
# Magics whose options have a test file of their own, which tries each of them.
# Options that mean nothing without a kernel are tried in one, by the file that is named.
IN_A_KERNEL = {("train", "--inline"): "test_loss_plot.py"}
ELSEWHERE = {
    "images": ("test_images_magic.py", "test_images.py"),
    "clean": ("test_clean_magic.py",),
    "cups": ("test_cups_magic.py",),
}


def heeds(magic: str, *options: str):
    def keep(case: Callable[[Cell], None]) -> Callable[[Cell], None]:
        case.about = " ".join([magic, *options])  # type: ignore[attr-defined]
        for option in options:
            CASES[magic, option] = case
        return case

    return keep


class Cell:
    """A shell with `photos` (a folder of its own), `dls` and `learn`; `cell(line)` runs one and returns what was said."""

    def __init__(self, shell: Any, dls: Any, learn: Any, shapes: Path, export: Callable[[Any, Path], None]):
        self.shell, self.names, self.export = shell, shell.user_ns, export
        self.photos = Path(shutil.copytree(shapes, "photos"))
        self.shown: list[Any] = []
        self.names.update(dls=dls, learn=learn, photos=self.photos)

    def __call__(self, line: str) -> str:
        with capture_output() as out:
            self.shell.run(line)
        self.shown = out.outputs
        return out.stdout + "".join(one.data.get("text/plain", "") for one in self.shown)

    def program(self, line: str, **names: Any) -> dict[str, Any]:
        """Run what `--code` prints, in a namespace of its own, and return that."""
        text = self(f"{line} --code")
        names |= {"__name__": "__main__"}
        with capture_output():
            exec(compile(text, "<program>", "exec"), names)
        return names


@pytest.fixture(scope="module")
def loaded(shapes):
    return fastmagic.datablock(shapes, bs=16, num_workers=0)


@pytest.fixture(scope="module")
def trained(loaded):
    return fastmagic.train(loaded, "resnet18", pretrained=False, epochs=2, checks=False)


@pytest.fixture
def cell(shell, loaded, trained, shapes, export):
    return Cell(shell, loaded, trained, shapes, export)


# ---------------------------------------------------------------- %check


@heeds("check", "what")
def _(cell):
    assert "120 photos, 2 classes" in cell("%check photos")
    cell.names["table"] = pd.DataFrame({"file": [str(f) for f in cell.photos.rglob("*.png")], "label": "a"})
    assert "one class only" in cell("%check table")
    assert "96 + 24 photos" in cell("%check --fast")  # the newest DataLoaders


@heeds("check", "--fast")
def _(cell):
    (cell.photos / "disc/disc_000.png").write_text("no picture")
    assert "no picture" in cell("%check photos")
    assert "no picture" not in cell("%check photos --fast")


@heeds("check", "--fix", "--undo")
def _(cell):
    broken = cell.photos / "disc/disc_000.png"
    broken.write_text("no picture")
    cell("%check photos")
    assert broken.exists()
    assert "moved to" in cell("%check photos --fix")
    assert not broken.exists()
    assert "back from quarantine" in cell("%check photos --undo")
    assert broken.read_text() == "no picture"


@heeds("check", "--path")
def _(cell):
    names = [file.name for file in (cell.photos / "disc").iterdir()]
    shutil.move(cell.photos, "a/b/c/d")
    cell.names["table"] = pd.DataFrame({"file": names, "label": ["a", "b"] * (len(names) // 2)})
    assert f"{len(names)} listed files do not exist" in cell("%check table --fast")
    assert "do not exist" not in cell("%check table --fast --path a/b/c/d/disc")
    assert cell.program("%check table --path a/b/c/d/disc", table=cell.names["table"])["failed"] == []


@heeds("check", "--into")
def _(cell):
    cell("%check photos --fast --into found")
    assert cell.names["found"].ok


@heeds("check", "--code")
def _(cell):
    (cell.photos / "disc/disc_000.png").write_text("no picture")
    failed = cell.program("%check photos", photos=cell.photos)["failed"]
    assert [file.name for file in failed] == ["disc_000.png"]


# ---------------------------------------------------------------- %datablock


@heeds("datablock", "dls")
def _(cell):
    cell("%datablock mine --from photos --show 0")
    assert len(cell.names["mine"].train_ds) == 96


@heeds("datablock", "--into")
def _(cell):
    cell("%datablock --from photos --show 0 --into mine")
    assert len(cell.names["mine"].train_ds) == 96


@heeds("datablock", "--from")
def _(cell):
    shutil.rmtree(cell.photos / "square")
    (cell.photos / "disc").rename(cell.photos / "round")
    shutil.copytree(cell.photos / "round", cell.photos / "flat")
    cell("%datablock mine --from photos --show 0")
    assert list(cell.names["mine"].vocab) == ["flat", "round"]


@heeds("datablock", "--bs")
def _(cell):
    cell("%datablock mine --from photos --bs 7 --show 0")
    assert cell.names["mine"].bs == 7


@heeds("datablock", "--target")
def _(cell):
    cell("import pandas as pd\nrows = pd.DataFrame({'a': list('xy') * 20, 'b': range(1, 80, 2), 'c': list('uv') * 20})")
    for target in "ac":
        cell(f"%datablock by_{target} --from rows --target {target} --show 0")
        assert list(cell.names[f"by_{target}"].y_names) == [target]


@heeds("datablock", "--label")
def _(cell):
    shutil.copytree(cell.photos / "disc", cell.photos / "flat")
    shutil.rmtree(cell.photos / "disc")
    for i, file in enumerate(sorted((cell.photos / "flat").iterdir())):
        file.rename(file.with_name(f"{'ab'[i % 2]}_{file.name}"))
    cell("%datablock mine --from photos/flat --label '^([ab])_' --show 0")
    assert list(cell.names["mine"].vocab) == ["a", "b"]


@heeds("datablock", "--show")
def _(cell):
    cell("%datablock mine --from photos --show 0")
    assert pictures(cell) == 0
    cell("%datablock mine --from photos --show 2")
    assert pictures(cell) == 1


@heeds("datablock", "--seed")
def _(cell):
    for seed in (1, 2):
        cell(f"%datablock d{seed} --from photos --show 0 --seed {seed}")
    cell("%datablock again --from photos --show 0 --seed 2")
    one, two, again = (list(cell.names[name].valid_ds.items) for name in ("d1", "d2", "again"))
    assert one != two
    assert two == again


@heeds("datablock", "--explain")
def _(cell):
    assert "parent_label" in cell("%datablock mine --from photos --explain")
    assert "mine" not in cell.names


@heeds("datablock", "--item")
def _(cell):
    assert "square_001" in cell("%datablock mine --from photos --explain --item square_001")


@heeds("datablock", "--code")
def _(cell):
    made = cell.program("%datablock mine --from photos --bs 8")["mine"]
    cell("%datablock mine --from photos --bs 8 --show 0")
    assert list(made.valid_ds.items) == list(cell.names["mine"].valid_ds.items)
    assert made.bs == 8


# ---------------------------------------------------------------- %train: what is printed is what is run

TRAIN = "%train dls resnet18 --no-pretrained --no-check"


def planned(option: str, *parts: str):
    @heeds("train", option.split()[0])
    def _(cell):
        text = cell(f"{TRAIN} {option} --code")
        assert all(part in text for part in parts), text
        assert any(part not in cell(f"{TRAIN} --code") for part in parts)


planned("--lr 0.0123", "0.0123")
planned("--bs 8", "bs=8")
planned("--metrics accuracy,F1Score()", "metrics=[accuracy,F1Score()]")
planned("--seed 7", "set_seed(7", "dls.rng.seed(7)")
planned("--save best", "SaveModelCallback(fname='best')")
planned("--early-stop 2", "EarlyStoppingCallback(patience=2)")


@heeds("train", "--freeze-epochs", "--recipe")
def _(cell):
    assert "learn.fit_one_cycle(2, 0.003)  # the new layers" in cell("%train dls tiny --freeze-epochs 2 --code")
    assert "learn.fit_one_cycle(2, 0.003)" not in cell("%train dls tiny --code")
    assert "freeze_epochs=2" in cell("%train dls tiny --recipe fine_tune --freeze-epochs 2 --code")
    assert "learn.fine_tune(3)" in cell("%train dls tiny --recipe fine_tune --code")
    with pytest.raises(FastmagicError, match="train in one cycle"):
        cell("%train dls resnet18 --no-pretrained --recipe fine_tune --code")
    with pytest.raises(FastmagicError, match="finetune"):
        cell("%train dls tiny --recipe finetune")


@heeds("train", "--no-pretrained")
def _(cell):
    assert "pretrained=False" in cell("%train dls resnet18 --no-pretrained --code")
    assert "pretrained=False" not in cell("%train dls resnet18 --code")


@heeds("train", "dls", "arch")
def _(cell):
    cell("%datablock small --from photos --bs 32 --show 0")
    text = cell("%train small resnet34 --no-pretrained --code")
    assert "bs=32" in text or "bs=16" in text
    assert "resnet34" in text
    with pytest.raises(FastmagicError, match="resnet34"):
        cell("%train dls resnett34")


@heeds("train", "--weights")
def _(cell):
    import torch
    import torchvision

    torch.manual_seed(3)
    torch.save(torchvision.models.resnet18().state_dict(), "mine.pth")
    assert "mine.pth" in cell("%train dls resnet18 --weights mine.pth --code")
    with pytest.raises(FastmagicError, match=r"mined\.pth"):
        cell("%train dls resnet18 --weights mined.pth")


@heeds("train", "--mixed")
def _(cell):
    import torch

    told = "--mixed is left out" in cell(f"{TRAIN} --epochs 1 --mixed")
    assert told != torch.cuda.is_available()
    assert "--mixed" not in cell(f"{TRAIN} --epochs 1")


@heeds("train", "--epochs", "--into")
def _(cell):
    cell(f"{TRAIN} --epochs 1 --into other")
    assert len(cell.names["other"].recorder.values) == 1
    cell(f"{TRAIN} --epochs 2 --into other")
    assert len(cell.names["other"].recorder.values) == 2


@heeds("train", "--cbs")
def _(cell):
    cell("seen = []")
    cell(
        "from fastai.callback.core import Callback\nclass See(Callback):\n    def after_epoch(self): seen.append(self.epoch)"
    )
    cell(f"{TRAIN} --epochs 2 --cbs See()")
    assert cell.names["seen"] == [0, 1]


@heeds("train", "--no-check")
def _(cell):
    shutil.rmtree(cell.photos / "square")
    cell.names["one"] = fastmagic.datablock(cell.photos, get_y=lambda file: "disc", bs=8, num_workers=0)
    with pytest.raises(FastmagicError, match="one class only"):
        cell("%train one resnet18 --no-pretrained --epochs 1")
    cell("%train one resnet18 --no-pretrained --epochs 1 --no-check --into single")
    assert cell.names["single"].dls is not None


@heeds("train", "--detach")
def _(cell):
    cell(f"{TRAIN} --epochs 2 --detach --into later")
    cell.names["training"].wait()
    assert len(cell.names["later"].recorder.values) == 2


@heeds("train", "--code")
def _(cell):
    text = cell(f"{TRAIN} --epochs 1 --code --into mine")
    assert "mine = vision_learner(dls, resnet18" in text


# ---------------------------------------------------------------- %models


@heeds("models", "pattern")
def _(cell):
    text = cell("%models resnet3*")
    assert "resnet34" in text
    assert "resnet18" not in text


@heeds("models", "--at-hand")
def _(cell):
    text = cell("%models --at-hand")
    assert "tiny" in text
    assert "in the box" in text
    assert "to download" not in text
    assert cell.program("%models tiny --at-hand")["names"] == ["tiny"]


@heeds("models", "--speed")
def _(cell):
    assert "trains" not in cell("%models tiny --at-hand")
    measured = cell("%models tiny --at-hand --speed")
    assert "trains" in measured
    assert "/s" in measured
    assert "trains" in cell("%models tiny --at-hand")


@heeds("models", "--into")
def _(cell):
    cell("%models resnet3* --into names")
    assert "resnet34" in cell.names["names"]


@heeds("models", "--code")
def _(cell):
    for pattern in ("resnet3*", "esnet34"):  # a word without wildcards matches anywhere
        assert "resnet34" in cell.program(f"%models {pattern}")["names"]


# ---------------------------------------------------------------- %predict


@heeds("predict", "learn")
def _(cell):
    # One that always says 'square', and another that always says 'disc'.
    for name, answer in (("squares", 1), ("discs", 0)):
        cell.names[name] = constant(cell.names["learn"], answer)
    for line, label in (
        ("%predict squares photos/disc/disc_000.png", "square"),
        ("%predict discs photos/disc/disc_000.png", "disc"),
        ("%predict photos/disc/disc_000.png --learn squares", "square"),
        ("%predict photos/disc/disc_000.png --learn discs", "disc"),
    ):
        cell(line)
        assert cell.names["preds"].label == label, line


@heeds("predict", "--learn")
def _(cell):
    cell.export(constant(cell.names["learn"], 1), Path("squares.pkl").absolute())
    cell("%predict photos/disc/disc_000.png --learn squares.pkl")
    assert cell.names["preds"].label == "square"


def constant(learn, answer: int):
    """Return a learner whose every answer is the class of that number."""
    import torch

    other = copy.copy(learn)
    other.model, other.opt = copy.deepcopy(learn.model), None
    last = [module for module in other.model.modules() if isinstance(module, torch.nn.Linear)][-1]
    last.weight.data.zero_()
    last.bias = torch.nn.Parameter(last.weight.new_tensor([9.0 if i == answer else 0.0 for i in range(2)]))
    return other


@heeds("predict", "items")
def _(cell):
    cell("%predict photos/disc/disc_000.png photos/square/square_001.png")
    assert [Path(file).name for file in cell.names["preds"].iloc[:, 0]] == ["disc_000.png", "square_001.png"]
    cell("%predict 'photos/disc/disc_00*.png'")
    assert len(cell.names["preds"]) == 5
    cell("%predict photos")
    assert len(cell.names["preds"]) == 120


@heeds("predict", "--csv")
def _(cell):
    assert "Wrote 60 rows" in cell("%predict photos/disc --csv out.csv")
    assert len(pd.read_csv("out.csv")) == 60
    with pytest.raises(FastmagicError, match="table of many items"):
        cell("%predict photos/disc/disc_000.png --csv one.csv")


@heeds("predict", "--column")
def _(cell):
    files = sorted(str(file) for file in cell.photos.rglob("*.png"))
    cell.names["table"] = pd.DataFrame({"first": files[:5], "second": files[-5:]})
    for column in ("first", "second"):
        cell(f"%predict table --column {column}")
        assert list(cell.names["preds"].iloc[:, 0].map(str)) == list(cell.names["table"][column])


@heeds("predict", "--top")
def _(cell):
    both = cell("%predict photos/disc/disc_000.png")
    one = cell("%predict photos/disc/disc_000.png --top 1")
    assert "more class" not in both
    assert "and 1 more class" in one


@heeds("predict", "--into")
def _(cell):
    cell("%predict photos/disc/disc_000.png --into said")
    assert cell.names["said"].label in ("disc", "square")


@heeds("predict", "--code")
def _(cell):
    cell("%predict photos/disc/disc_000.png")
    found = cell.program("%predict photos/disc/disc_000.png", learn=cell.names["learn"])
    assert str(found["label"] if "label" in found else found["pred"]) == cell.names["preds"].label


# ---------------------------------------------------------------- %export


@heeds("export", "learn", "file")
def _(cell):
    with pytest.raises(FastmagicError, match="Name the file"):
        cell("%export learn")
    cell.names["squares"] = constant(cell.names["learn"], 1)
    for line, file in (
        ("%export squares it.fastmagic", "it.fastmagic"),
        ("%export squares models/it", "models/it.fastmagic"),
    ):
        assert "no code" in cell(line)
        cell(f"%predict photos/disc/disc_000.png --learn {file}")
        assert cell.names["preds"].label == "square"
    assert "fastmagic.load('it.fastmagic')" in cell("%predict photos/disc/disc_000.png --learn it.fastmagic --code")
    found = cell.program("%predict photos/disc/disc_000.png --learn it.fastmagic")
    assert str(found["label"] if "label" in found else found["pred"]) == "square"


@heeds("export", "--title", "--description")
def _(cell):
    cell('%export learn it --title "Disc or square" --description "A toy, for tests."')
    card = zipfile.ZipFile("it.fastmagic").read("README.md").decode()
    assert "# Disc or square" in card
    assert "A toy, for tests." in card


@heeds("export", "--no-example")
def _(cell):
    cell("%export learn it")
    assert "example.png" in zipfile.ZipFile("it.fastmagic").namelist()
    cell("%export learn it --no-example")
    assert "example.png" not in zipfile.ZipFile("it.fastmagic").namelist()


@heeds("export", "--onnx")
def _(cell):
    onnxruntime = pytest.importorskip("onnxruntime")
    cell("%export learn it --onnx")
    session = onnxruntime.InferenceSession(zipfile.ZipFile("it.fastmagic").read("model.onnx"))
    assert session.get_outputs()[0].name == "answers"


@heeds("export", "--check")
def _(cell):
    assert "fresh process" not in cell("%export learn it")
    assert "In a fresh process it answers alike to 24 pictures" in cell("%export learn it --check")


@heeds(
    "app",
    "learn",
    "--title",
    "--description",
    "--allow-url",
    "--visitors",
    "--token",
    "--public",
    "--port",
    "--stop",
    "--into",
)
def _(cell):
    pytest.importorskip("voila")
    assert cell("%app --stop") == "No app runs here.\n"
    with socketserver.TCPServer(("127.0.0.1", 0), None) as free:
        port = free.server_address[1]
    words = f'--title "Disc?" --description "A toy." --allow-url --visitors 3 --token word --public --port {port} --into mine'
    said = cell(f"%app {words}")  # the newest Learner
    mine = cell.names["mine"]
    assert mine.address == f"http://127.0.0.1:{port}/?token=word"
    assert f"App: {mine.address}" in said
    assert mine.reach is None or f":{port}/?token=word" in mine.reach
    assert json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/health"))["places"] == 3

    async def visit() -> dict[str, Any]:
        from app_visitor import visiting

        async with visiting(f"http://127.0.0.1:{port}/", "word") as visitor:
            return (await visitor.ask("hello", {"host": "page"}))["answer"]

    state = asyncio.run(visit())
    assert (state["title"], state["description"], state["urls"]) == ("Disc?", "A toy.", True)
    with pytest.raises(FastmagicError, match=f"Port {port} cannot be had"):
        fastmagic.app(cell.names["learn"], port=port)
    assert mine.running
    assert cell("%app --stop") == "The app has ended.\n"
    assert repr(mine) == "App: ended."
    with pytest.raises(FastmagicError, match=r"no variable or file 'leran'\.\n.*learn"):
        cell("%app leran")


@heeds("app", "--code")
def _(cell):
    pytest.importorskip("voila")
    cell("%export learn it")
    cell.program("%app it.fastmagic --token auto")["served"].stop()


@heeds("export", "--code")
def _(cell):
    learn = copy.copy(cell.names["learn"])
    learn.path = Path.cwd()
    cell.export(learn, Path("it.pkl").absolute())  # or skip
    cell.program("%export learn it", learn=learn)
    assert Path("it.pkl").exists()
    assert not Path("it.fastmagic").exists()


# ---------------------------------------------------------------- %results


@heeds("results", "learn")
def _(cell):
    cell.names["squares"] = constant(cell.names["learn"], 1)
    cell("%results squares")
    assert set(cell.names["res"].predictions) == {"square"}


@heeds("results", "--split")
def _(cell):
    for split, n in (("valid", 24), ("train", 96)):
        cell(f"%results learn --split {split}")
        assert (cell.names["res"].split, len(cell.names["res"])) == (split, n)


def pictures(cell) -> int:
    return sum("image/png" in one.data for one in cell.shown)


@heeds("results", "--show", "--worst")
def _(cell):
    found = fastmagic.results(cell.names["learn"])
    cell("%results learn")
    assert not pictures(cell)
    cell("%results learn --show 2")
    assert pictures(cell) == 1
    text = cell("%results learn --worst 2")
    assert pictures(cell) == 1
    assert [Path(found.items[i]).name in text for i in found.top_losses(3).index] == [True, True, False]


@heeds("results", "--class")
def _(cell):
    found = fastmagic.results(cell.names["learn"])
    text = cell("%results learn --worst 3 --class square")
    assert all(Path(found.items[i]).name in text for i in found.top_losses(3, actual="square").index)
    assert "disc_" not in text
    with pytest.raises(FastmagicError, match="Did you mean 'square'"):
        cell("%results learn --class squar")


@heeds("results", "--into")
def _(cell):
    cell("%results learn --into r")
    assert cell.names["r"].confusion_matrix().sum() == 24


@heeds("results", "--code")
def _(cell):
    found = fastmagic.results(cell.names["learn"])
    losses = cell.program("%results learn", learn=cell.names["learn"])["losses"]
    assert losses.tolist() == pytest.approx(list(found.losses), rel=1e-4, abs=1e-4)


# ---------------------------------------------------------------- %confusion and %pixels


@heeds("confusion", "learn")
def _(cell):
    cell.names["squares"] = constant(cell.names["learn"], 1)
    cell("%confusion squares")
    assert cell.names["conf"].matrix["disc"].sum() == 0


@heeds("confusion", "--split")
def _(cell):
    for split, n in (("valid", 24), ("train", 96)):
        cell(f"%confusion learn --split {split}")
        assert cell.names["conf"].matrix.to_numpy().sum() == n


@heeds("confusion", "--order")
def _(cell):
    for order in ("vocab", "name", "confusion"):
        cell(f"%confusion learn --order {order}")
        assert cell.names["conf"]._look["order"] == order
    with pytest.raises(FastmagicError, match="Did you mean 'confusion'"):
        cell("%confusion learn --order confuson")


@heeds("confusion", "--percent")
def _(cell):
    for option, percent in (("", "count"), ("--percent row", "actual"), ("--percent column", "predicted")):
        cell(f"%confusion learn {option}")
        assert cell.names["conf"]._look["percent"] == percent


@heeds("confusion", "--before")
def _(cell):
    def never_said_before() -> list[int]:
        matrix = cell.names["conf"].state()["before"]["matrix"]
        return [column for column in (0, 1) if matrix[:, column].sum() == 0]

    for name, answer in (("squares", 1), ("discs", 0)):
        cell.names[name] = constant(cell.names["learn"], answer)
        cell(f"%confusion {name} --into {name}_view")
    cell("%confusion learn")
    assert never_said_before() == [1]  # left out, it is the last one: that of `discs`
    cell("%confusion learn --before squares_view")
    assert never_said_before() == [0]


@heeds("confusion", "--into")
def _(cell):
    cell("%confusion learn --into mine")
    assert cell.names["mine"].matrix.to_numpy().sum() == 24


@heeds("confusion", "--code")
def _(cell):
    assert "interp" in cell.program("%confusion learn", learn=cell.names["learn"])


@heeds("pixels", "what")
def _(cell):
    assert "48" in cell("%pixels photos/disc/disc_000.png")
    with pytest.raises(FastmagicError, match="disc_000"):
        cell("%pixels photos/disc/disc_0000.png")


@heeds("pixels", "index", "--split")
def _(cell):
    for line, item in (
        ("%pixels dls", cell.names["dls"].train_ds.items[0]),
        ("%pixels dls 5", cell.names["dls"].train_ds.items[5]),
        ("%pixels dls 5 --split valid", cell.names["dls"].valid_ds.items[5]),
    ):
        assert Path(item).name in cell(line), line


@heeds("pixels", "--item")
def _(cell):
    name = Path(cell.names["dls"].train_ds.items[17]).name
    assert name in cell(f"%pixels dls --item {name}")


@heeds("pixels", "--learn")
def _(cell):
    cell.names["squares"] = constant(cell.names["learn"], 1)
    cell("%pixels photos/disc/disc_000.png --learn squares")
    assert cell.names["px"]._learn is cell.names["squares"]
    cell("%pixels photos/disc/disc_000.png --learn learn")
    assert cell.names["px"]._learn is cell.names["learn"]


@heeds("pixels", "--into")
def _(cell):
    cell("%pixels photos/disc/disc_000.png --into mine")
    assert len(cell.names["mine"].at(3, 4)) == 3


@heeds("pixels", "--code")
def _(cell):
    cell.program("%pixels photos/disc/disc_000.png")


# ---------------------------------------------------------------- %%dot, %diagram


@heeds("dot", "--layout")
def _(cell):
    pytest.importorskip("pygraphviz")
    cell("%%dot --into right\na -> b -> c")
    cell("%%dot --layout circo --into round\na -> b -> c -> a")
    assert cell.names["right"].text == "a → b → c"
    assert cell.names["right"].svg != cell.names["round"].svg
    with pytest.raises(FastmagicError, match="Did you mean 'dot'"):
        cell("%%dot --layout dott\na -> b")


@heeds("dot", "--save", "--into")
def _(cell):
    pytest.importorskip("pygraphviz")
    assert "Written: it.svg" in cell("%%dot --save it.svg --into it\na -> b")
    assert Path("it.svg").read_text() == cell.names["it"].svg


@heeds("dot", "--code")
def _(cell):
    found: dict[str, Any] = {}
    module = types.SimpleNamespace(Source=lambda source, engine: found.update(source=source, engine=engine))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "graphviz", module)
        exec(cell("%%dot --code\na -> b"), {})
    assert "a -> b" in found["source"]
    assert found["engine"] == "dot"


def _talk() -> Path:
    import nbformat
    from nbformat import v4

    file = Path("talk.ipynb")
    nbformat.write(v4.new_notebook(cells=[v4.new_markdown_cell("# Birds"), v4.new_code_cell("6 * 7")]), file)
    return file


@heeds("slides", "notebook", "--into", "--code")
def slides_of_a_notebook(cell: Cell) -> None:
    before = _talk().read_bytes()
    assert "talk.ipynb: 1 slide" in cell("%slides talk.ipynb --into mine")
    assert cell.names["mine"].types == ["slide", "fragment"]
    assert Path("talk.ipynb").read_bytes() == before
    exec(cell("%slides talk.ipynb --code"), {})
    assert fastmagic.slides("talk.ipynb").saved
    with pytest.raises(FastmagicError, match=r"Did you mean 'talk\.ipynb'"):
        cell("%slides tlak.ipynb")


@heeds("slides", "--save")
def slides_save(cell: Cell) -> None:
    _talk()
    assert "Saved in talk.ipynb." in cell("%slides talk.ipynb --save")
    assert "Saved" not in cell("%slides talk.ipynb --save")


@heeds("slides", "--check")
def slides_check(cell: Cell) -> None:
    _talk()
    cell("%slides talk.ipynb --into mine")
    assert cell.names["mine"].state()["check"] is False
    cell("%slides talk.ipynb --check --into mine")  # the browser does it: tests/browser/test_slides.py
    assert cell.names["mine"].state()["check"] is True


@heeds("diagram", "name")
def _(cell):
    pytest.importorskip("pygraphviz")
    assert "inputs → program → results" in cell("%diagram program")
    assert "loss → parameters (update)" in cell("%diagram training")
    with pytest.raises(FastmagicError, match="Did you mean 'model'"):
        cell("%diagram modell")
    with pytest.raises(FastmagicError, match="Which diagram"):
        cell("%diagram")


@heeds("diagram", "--save", "--into")
def _(cell):
    pytest.importorskip("pygraphviz")
    cell("%diagram model --save it.svg --into it")
    assert Path("it.svg").read_text() == cell.names["it"].svg


@heeds("diagram", "--code")
def _(cell):
    assert "weights -> model" in cell("%diagram model --code")


# ---------------------------------------------------------------- settings


class Knocks(socketserver.BaseRequestHandler):
    """A host that hangs up on everybody."""

    def handle(self):
        self.server.knocks += 1


def test_offline_asks_no_host_for_weights(cell, tmp_path, monkeypatch):
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Knocks) as server:
        server.knocks = 0
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{server.server_address[1]}")
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        try:
            cell("%config FastMagic.offline = True")
            with pytest.raises(FastmagicError, match=r"FastMagic\.offline is on"):
                cell("%train dls resnet18 --epochs 1")
            assert server.knocks == 0
            cell("%config FastMagic.offline = False")
            assert "resnet18" in cell("%train dls resnet18 --epochs 1 --code")
            assert server.knocks == 0, "a program that names its model asks nobody"
            assert "resnet18" not in cell("%train dls --epochs 1 --code"), "what would be trained here"
            with pytest.raises(FastmagicError, match="does not answer"):
                cell("%train dls resnet18 --epochs 1")
            assert server.knocks > 0
        finally:
            server.shutdown()


# ---------------------------------------------------------------- all of them


@pytest.mark.parametrize("case", dict.fromkeys(CASES.values()), ids=lambda case: case.about)
def test_the_option_does_what_its_help_says(cell, case):
    case(cell)


@pytest.mark.parametrize("magic", MAGICS)
def test_every_option_has_a_case(magic):
    known = [option.name for option in find(magic).options if option.name != "--help"]

    def tests(name: str) -> str:
        return next(Path(__file__).parents[1].rglob(name)).read_text()

    if magic in ELSEWHERE:
        text = "".join(map(tests, ELSEWHERE[magic]))
        missing = [name for name in known if name.startswith("--") and name not in text]
    else:
        missing = [name for name in known if (magic, name) not in (CASES | IN_A_KERNEL)]
    assert not missing
    assert all(name in tests(file) for (of, name), file in IN_A_KERNEL.items() if of == magic)
