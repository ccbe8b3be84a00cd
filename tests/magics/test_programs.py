"""`--code`: what every magic prints runs in a fresh process, and gives what the magic gave."""

from __future__ import annotations

import functools
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest
from IPython.utils.capture import capture_output

import fastmagic
from fastmagic import program

# What a program and a magic are compared by, of DataLoaders.
SAME = "([str(i) for i in {0}.valid_ds.items], list({0}.vocab), {0}.bs, {0}.valid.bs)"
ROWS = "(list({0}.valid_ds.items.index), list({0}.vocab), len({0}.train_ds))"
TRAINED = "[float(v) for v in {0}.recorder.values[-1][:2]]"


@dataclass
class Case:
    """A cell, what is run before it, and what is compared: of the shell after it, and of the program."""

    before: str
    cell: str
    shown: str
    printed: str = ""


CASES = {
    "answers that use answers": Case("", "%%datablock d --from photos\nbs = 8\nval_bs = bs * 2", SAME.format("d")),
    "answers that use answers, beside a variable of that name": Case(
        "bs = 4\ndef first(f): return f.parent.name[:bs]",
        "%%datablock d --from photos\nbs = 8\nval_bs = bs * 2\nget_y = first",
        SAME.format("d"),
    ),
    "a helper in the body, of the name of a variable that a function uses": Case(
        "size = 2\ndef short(f): return f.parent.name[:size]",
        "%%datablock d --from photos\nsize = 24\nitem_tfms = Resize(size)\nget_y = short",
        SAME.format("d") + " + (list(d.one_batch()[0].shape),)",
    ),
    "a variable called path": Case(
        "from pathlib import Path\npath = Path('photos/disc')\ndef inside(f): return str(f.parent.relative_to(path.parent))",
        "%%datablock d --from photos\nget_y = inside",
        SAME.format("d"),
    ),
    "a variable called block": Case(
        "block = 'a '\ndef named(f): return block + f.parent.name",
        "%%datablock d --from photos\nget_y = named",
        SAME.format("d"),
    ),
    "a variable called df beside a file": Case(
        "df = {'disc': 'round', 'square': 'edgy'}\ndef looked(row): return df[row.label]",
        "%%datablock d --from labels.csv\nget_y = looked",
        ROWS.format("d"),
    ),
    "an enum, a partial and a lambda": Case(
        "import enum, functools\nclass Kind(enum.Enum):\n    A = 1\nkind = Kind.A\n"
        "def marked(f, kind=None): return f.parent.name + str(kind)\nmark = functools.partial(marked, kind=kind)\n"
        "flat = lambda f: mark(f).lower()",
        "%%datablock d --from photos\nget_y = flat",
        SAME.format("d"),
    ),
    "a table that several cells made": Case(
        "import pandas as pd\nfrom fastai.vision.all import *\n"
        "df = pd.DataFrame({'file': sorted(str(f) for f in get_image_files('photos'))})\n"
        "df['label'] = [Path(f).parent.name for f in df.file]\ndf = df[df.index % 3 > 0]\ndf.insert(0, 'n', 1)",
        "%datablock d --from df",
        ROWS.format("d"),
    ),
    "an attribute": Case(
        "class Box: pass\nbox = Box()\nbox.dls = fastmagic.datablock('photos', num_workers=0)",
        "%train box.dls resnet18 --no-pretrained --epochs 1 --into other",
        TRAINED.format("other"),
    ),
    "a learner of data that fastmagic did not make": Case(
        "from fastai.vision.all import *\n"
        "own = ImageDataLoaders.from_folder('photos', valid_pct=0.2, seed=1, item_tfms=Resize(32), bs=32, num_workers=0)",
        "%train own resnet18 --no-pretrained --epochs 1 --into other",
        TRAINED.format("other"),
    ),
    "one item": Case("", "%predict photos/disc/disc_000.png", "preds.label", "label"),
    "a pattern": Case("", "%predict 'photos/disc/disc_00*.png'", "list(preds.label)", "list(frame.label)"),
    "two folders": Case("", "%predict photos/square photos/disc", "list(preds.label)", "list(frame.label)"),
    "a table": Case(
        "import pandas as pd\nsome = pd.DataFrame({'n': [1, 2], 'f': ['photos/disc/disc_000.png', 'photos/square/square_001.png']})",
        "%predict some",
        "list(preds.label)",
        "list(frame.label)",
    ),
    "a learner from a file": Case(
        "learn.export('learn.pkl')",
        "%predict photos/disc/disc_000.png --learn learn.pkl",
        "preds.label",
        "label",
    ),
    "numbers": Case(
        "import pandas as pd\nfrom fastai.vision.all import *\n"
        "tall = pd.DataFrame({'file': sorted(str(f) for f in get_image_files('photos'))})\n"
        "tall['target'] = [i / 100 for i in range(len(tall))]\n"
        "%datablock high --from tall --show 0\n"
        "%train high resnet18 --no-pretrained --epochs 1 --no-check --into numbers",
        "%predict numbers photos/disc/disc_000.png",
        "round(float(preds.label[0] if isinstance(preds.label, list) else preds.label), 3)",
        "round(float(values[0]), 3)",
    ),
    "a folder of images and masks": Case(
        "",
        "%datablock d --from scenes",
        "([i.name for i in d.valid_ds.items], d.after_item.fs[0].codes, d.bs, d.one_batch()[1].max().item())",
    ),
    "a unet": Case(
        "seen = fastmagic.datablock('scenes', num_workers=0)",
        "%train seen tiny --epochs 1 --freeze-epochs 1 --no-check --into other",
        TRAINED.format("other"),
    ),
    "the mask of a photo": Case(
        "seen = fastmagic.datablock('scenes', num_workers=0)\n"
        "unet = fastmagic.train(seen, 'tiny', epochs=1, freeze_epochs=1, checks=False)",
        "%predict unet scenes/images/3.png",
        "round(preds.shares['square'], 2)",
        "round(shares['square'], 2)",
    ),
    "ratings": Case(
        "rated = fastmagic.datablock('ratings.csv')", "%train rated --epochs 2 --into other", TRAINED.format("other")
    ),
    "what a user would like": Case(
        "fans = fastmagic.train(fastmagic.datablock('ratings.csv'), epochs=2)",
        "%predict fans user=3 --top 2",
        "list(preds.frame.title)",
        "list(found.title)",
    ),
    "results": Case("", "%results learn", "round(float(res.losses.mean()), 2)", "round(losses.mean().item(), 2)"),
    "a confusion": Case("", "%confusion learn", "conf.matrix.values.tolist()", "interp.confusion_matrix().tolist()"),
    "pixels of an item": Case("", "%pixels dls 3", "64", "sample[0].shape[-1]"),
    "a check of files": Case("", "%check photos", "120", "len(files)"),
    "a check of data": Case("", "%check dls", "120", "len(files)"),
    "a check of data from a table": Case(
        "tabled = fastmagic.datablock('labels.csv')", "%check tabled", "120", "len(files)"
    ),
    "a check of a table": Case("", "%check labels.csv", "120", "len(files)"),
    "the track of a pointer": Case(
        "hands = fastmagic.datablock('hands', num_workers=0)\nhand = fastmagic.train(hands, epochs=2, checks=False)",
        "%predict hand hands/round/0.csv",
        "[round(p, 3) for p in preds['p(round)']]",
        "[round(p, 3) for p in frame['round'].tolist()]",
    ),
    "texts": Case(
        "said = fastmagic.datablock('reviews.csv', num_workers=0)",
        "%train said --epochs 1 --no-check --into other",
        TRAINED.format("other"),
    ),
    "a text": Case(
        "said = fastmagic.datablock('reviews.csv', num_workers=0)\n"
        "critic = fastmagic.train(said, epochs=1, checks=False)",
        "%predict critic 'a film of great charm'",
        "preds.label",
        "str(label)",
    ),
    "tracks of a pointer": Case(
        "",
        "%datablock d --from hands",
        "([str(item) for item in d.valid_ds.items], list(d.vocab), round(d.one_batch()[0].sum().item()) > 0)",
    ),
    "a list of architectures": Case("", "%models esnet34 --into names", "'resnet34' in names"),
}

RUN = """
import json, runpy, sys
out = {}
for name, (file, expression) in json.load(open("programs.json")).items():
    try:
        out[name] = eval(expression, runpy.run_path(file, run_name="__main__"))
    except BaseException as error:
        out[name] = f"{type(error).__name__}: {error}"
json.dump(out, open("answers.json", "w"))
"""


def _scenes(folder: Path) -> None:
    """Write twenty photos of a bright square on dark ground, with masks."""
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(1)
    for k in range(20):
        mask = np.zeros((48, 64), np.uint8)
        y, x = random.integers(4, 24, 2)
        mask[y : y + 20, x : x + 20] = 1
        photo = (np.where(mask, 190, 60)[..., None] + random.normal(0, 20, (48, 64, 3))).clip(0, 255).astype("uint8")
        for place, pixels in (("images", photo), ("labels", mask)):
            (folder / place).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / place / f"{k}.png")
    (folder / "codes.txt").write_text("ground\nsquare\n")


def _hands(folder: Path) -> None:
    """Write two recordings each of a pointer that goes in circles and of one that goes along a line."""
    import math

    for hand, across in (("round", 1), ("flat", 0)):
        (folder / hand).mkdir(parents=True)
        for k in range(2):
            rows = [
                f"{t / 20},{400 + int(300 * math.cos(t / (9 + k)))},{300 + int(200 * across * math.sin(t / (9 + k)))},Move"
                for t in range(2400)
            ]
            (folder / hand / f"{k}.csv").write_text("\n".join(["time,x,y,state", *rows]))


def _can_export(learn) -> bool:
    dls = learn.dls
    try:
        learn.export(Path("try.pkl").absolute())
    except TypeError:  # fastai 2.8.7 with the newest plum-dispatch
        learn.dls = dls  # it leaves the learner without its data
        return False
    return True


@pytest.fixture(scope="module")
def answers(shapes, tmp_path_factory):
    """Return what the magics gave, and what their programs gave in a process of their own."""
    from IPython.core.interactiveshell import InteractiveShell

    folder = tmp_path_factory.mktemp("programs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        shutil.copytree(shapes, "photos")
        files = sorted(Path("photos").rglob("*.png"))
        Path("labels.csv").write_text("file,label\n" + "".join(f"{file},{file.parent.name}\n" for file in files))
        _scenes(Path("scenes"))
        _hands(Path("hands"))
        texts = [
            f"a {'fine' if i % 2 else 'dull'} film of {'great charm' if i % 2 else 'no charm'} {i}" for i in range(60)
        ]
        Path("reviews.csv").write_text(
            "text,label\n" + "".join(f"{t},{'good' if 'fine' in t else 'bad'}\n" for t in texts)
        )
        rows = [f"{u},film {f},{1 + (u * f + u + f) % 5}\n" for u in range(20) for f in range(12) if (u + f) % 4]
        Path("ratings.csv").write_text("user,title,rating\n" + "".join(rows))
        InteractiveShell.clear_instance()
        shell = InteractiveShell.instance()

        def run(cell: str) -> str:
            with capture_output() as out:
                shell.run_cell(cell, store_history=True).raise_error()
            return out.stdout

        run("%load_ext fastmagic\nimport fastmagic")
        run("dls = fastmagic.datablock('photos', num_workers=0)")
        run("learn = fastmagic.train(dls, 'resnet18', pretrained=False, epochs=1, checks=False)")
        given, programs = {}, {}
        for i, (name, case) in enumerate(CASES.items()):
            if ".pkl" in case.cell and not _can_export(shell.user_ns["learn"]):
                continue
            before = set(shell.user_ns)
            for statement in case.before.split("\ndf"):  # some of them in cells of their own
                run(statement if statement == case.before.split("\ndf")[0] else f"df{statement}")
            first, _, body = case.cell.partition("\n")
            more = " --show 0" if "datablock" in first else ""
            text = run(f"{first} --code" + (f"\n{body}" if body else ""))
            run(f"{first}{more}" + (f"\n{body}" if body else ""))
            given[name] = json.loads(json.dumps(eval(case.shown, shell.user_ns)))
            Path(f"program{i}.py").write_text(text)
            programs[name] = (f"program{i}.py", case.printed or case.shown)
            for added in set(shell.user_ns) - before - {"In", "Out"}:
                shell.user_ns.pop(added)
        InteractiveShell.clear_instance()
        Path("programs.json").write_text(json.dumps(programs))
        done = subprocess.run([sys.executable, "-W", "ignore", "-c", RUN], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return given, json.loads(Path("answers.json").read_text()), folder


@pytest.mark.parametrize("name", CASES)
def test_the_program_gives_what_the_magic_gave(answers, name):
    given, printed, folder = answers
    if name not in given:
        pytest.skip("this fastai cannot export a learner")
    text = (folder / f"program{list(CASES).index(name)}.py").read_text()
    assert printed[name] == given[name], text


def test_an_address_is_fetched_by_the_program(shell, shapes):
    """The magic itself refuses addresses of this machine, so its program is compared with the file."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=shapes)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        shell.user_ns["photos"] = shapes
        shell.run("%datablock dls --from photos --show 0")
        shell.run("%train resnet18 --no-pretrained --epochs 1 --no-check")
        with capture_output() as out:
            shell.run(f"%predict http://127.0.0.1:{server.server_port}/disc/disc_000.png --code")
        names: dict = {}
        os.environ["no_proxy"] = "127.0.0.1"
        exec(out.stdout, names)
        server.shutdown()
    assert names["label"] == fastmagic.predict(shapes / "disc/disc_000.png", shell.user_ns["learn"]).label


def test_what_a_program_lacks_is_said_in_its_first_line(shell, shapes):
    """An object that no cell made and no call makes."""

    class Own:
        def __call__(self, file):
            return file.parent.name

    dls = fastmagic.datablock(shapes, get_y=Own())
    assert fastmagic.code(dls).splitlines()[0] == "# get_y: a Own of your notebook, which this program lacks"


def test_what_is_given_from_python_is_written_down(shapes):
    from fastai.vision.all import GrandparentSplitter, RandomSplitter, Resize, Rotate

    dls = fastmagic.datablock(
        shapes, item_tfms=Resize(24, method="pad"), get_y=lambda f: f.parent.name, splitter=RandomSplitter(0.3, seed=5)
    )
    names: dict = {}
    exec(fastmagic.code(dls), names)
    assert list(names["dls"].valid_ds.items) == list(dls.valid_ds.items)
    assert names["dls"].train.after_item.fs[0].method == "pad"
    # One whose arguments are out of sight is not guessed.
    import fastai.vision.all as vision

    assert program.constructed(Rotate(max_deg=5), vars(vision)) is None
    text = program.constructed(GrandparentSplitter("Train", "Valid"), vars(vision))
    assert text == "GrandparentSplitter(train_name='Train', valid_name='Valid')"


def test_a_learner_that_was_trained_on_says_that_its_program_is_older(shapes):
    dls = fastmagic.datablock(shapes, num_workers=0)
    learn = fastmagic.train(dls, "resnet18", pretrained=False, epochs=1, checks=False)
    assert "Older" not in fastmagic.code(learn)
    fastmagic.predict(dls.valid_ds.items[0], learn)
    fastmagic.results(learn)
    learn.lr_find(show_plot=False)
    assert "Older" not in fastmagic.code(learn)
    learn.fit(1)
    assert fastmagic.code(learn).startswith("# Older than the learner")


def test_code_runs_nothing_that_training_need_not_know(shell, shapes):
    shell.user_ns["photos"] = shapes
    shell.run("%datablock dls --from photos --show 0")
    shell.run("from fastai.vision.all import *\nran = []\nclass See(Callback):\n    def __init__(self): ran.append(1)")
    shell.run("def measured(*args):\n    ran.append(2)\n    return 0.")
    for line in ("--cbs See() --metrics measured", "--cbs [See()]"):
        with capture_output() as out:
            shell.run(f"%train dls resnet18 --no-pretrained {line} --code")
        assert "See()" in out.stdout
    assert shell.user_ns["ran"] == []


def test_a_traceback_shows_the_line_of_the_program(shell, shapes):
    import traceback

    shell.user_ns["photos"] = shapes
    shell.run("%datablock dls --from photos --show 0")
    shell.run(
        "from fastai.vision.all import *\nclass Wrong(Callback):\n    def before_fit(self): raise KeyError('mine')"
    )
    with pytest.raises(KeyError) as error:
        shell.run("%train dls resnet18 --no-pretrained --epochs 1 --no-check --cbs Wrong()")
    assert "learn.fit_one_cycle(1" in "".join(traceback.format_exception(error.value))
