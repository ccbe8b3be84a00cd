"""The predictor panel in the kernel: what it answers the browser, what it keeps, what it looks like without a browser."""

from __future__ import annotations

import io
import threading
from datetime import datetime
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest

import fastmagic
from fastmagic.errors import FastmagicError

PART = 1 << 20


@pytest.fixture(scope="module")
def learn(shapes):
    from fastai.vision.all import Resize

    dls = fastmagic.datablock(shapes, item_tfms=Resize(32), bs=32, num_workers=0)
    return fastmagic.train(dls, "tiny", epochs=1)


@pytest.fixture
def panel(learn):
    return fastmagic.predictor(learn)


def untrained(dls, outputs, loss=None):
    """The smallest model that gives as many numbers a picture."""
    from fastai.vision.all import Learner
    from torch import nn

    model = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.LazyLinear(outputs))
    model(dls.one_batch()[0].cpu())
    return Learner(dls, model, loss_func=loss)


def jpeg(size=(64, 48), seed=0, **options) -> bytes:
    from PIL import Image

    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype="uint8")
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", **{"quality": 90, **options})
    return buffer.getvalue()


def upload(panel, data: bytes, name: str, **options) -> None:
    """Give a file as the browser does."""
    for at in range(0, len(data), PART) or [0]:
        panel.on_upload(upload=name, at=at, size=len(data), buffers=[data[at : at + PART]])
    panel.on_judge(upload=name, name=name, **options)


@pytest.fixture
def asked(panel, monkeypatch):
    """A function that asks the panel as a browser does and returns its answer."""
    sent = []
    monkeypatch.setattr(panel, "send", lambda content, buffers=None: sent.append(content))

    def ask(what, **content):
        panel._receive(None, {"id": 7, "ask": what, "content": content}, [])
        return sent[-1]

    return ask


# ---------------------------------------------------------------- predicting


def test_a_file_sent_in_parts_is_predicted_as_predict_does(panel, learn):
    data = jpeg((1500, 1200), quality=98)
    assert len(data) > 2 * PART
    upload(panel, data, "noise.jpg")
    alone = fastmagic.predict(data, learn)
    assert panel.last.probabilities == pytest.approx(alone.probabilities, abs=1e-6)
    assert (panel.last.label, panel.last.source) == (alone.label, "noise.jpg")
    assert panel._uploads == {}


def test_parts_may_come_in_any_order(panel):
    data = jpeg((1500, 1200), quality=98)
    starts = list(range(0, len(data), PART))
    for at in reversed(starts):
        panel.on_upload(upload="a", at=at, size=len(data), buffers=[data[at : at + PART]])
    panel.on_judge(upload="a", name="noise.jpg")
    assert panel.last.image.size == (1500, 1200)


def test_a_file_too_large_or_out_of_place_is_refused(panel):
    with pytest.raises(FastmagicError, match="up to 50 MB"):
        panel.on_upload(upload="a", at=0, size=60_000_000, buffers=[b""])
    with pytest.raises(FastmagicError, match="out of place"):
        panel.on_upload(upload="a", at=90, size=100, buffers=[b"x" * 20])
    with pytest.raises(FastmagicError, match="did not arrive"):
        panel.on_judge(upload="never", name="x.jpg")


def test_uploads_that_never_end_do_not_pile_up(panel):
    for n in range(10):
        panel.on_upload(upload=str(n), at=0, size=1000, buffers=[b"x"])
    assert len(panel._uploads) <= 4


def test_what_is_no_picture_is_told_by_the_name_of_its_file(asked, panel):
    panel.on_upload(upload="a", at=0, size=8, buffers=[b"%PDF-1.7"])
    assert asked("judge", upload="a", name="notes.pdf")["error"] == "'notes.pdf' is not a picture but a PDF document."
    panel.on_upload(upload="b", at=0, size=0, buffers=[b""])
    assert asked("judge", upload="b", name="none.jpg")["error"] == "'none.jpg' is not a picture but an empty file."
    assert panel.last is None
    assert panel.history == []


def test_an_address_is_fetched(panel, shapes):
    data = next(shapes.rglob("*.png")).read_bytes()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/photos/a.png?size=large"
        panel.on_url(url=f" {url}\n")
        assert panel.last.source == url
        assert panel.state()["shown"]["name"] == "a.png"
        public = fastmagic.predictor(panel.learn, allow_url="public")
        with pytest.raises(FastmagicError, match="private address"):
            public.on_url(url=url)
        assert public.last is None
    finally:
        server.shutdown()


@pytest.mark.parametrize("path", ["/etc/hostname", "~/photos", "file:///etc/hostname", "*.png", "bird"])
def test_an_address_is_never_a_path_on_this_machine(panel, path, shapes):
    for given in (path, str(next(shapes.rglob("*.png")))):
        with pytest.raises(FastmagicError, match="no http or https address"):
            panel.on_url(url=given)


def test_python_can_give_a_picture_too(panel, shapes):
    file = next(shapes.rglob("square*.png"))
    said = panel.predict(file)
    assert panel.last is said
    assert panel.predict(np.zeros((20, 30, 3), "uint8")) is panel.last
    assert [entry["name"] for entry in panel.state()["history"]] == ["array", file.name]


# ---------------------------------------------------------------- photos that phones store on their side


@pytest.fixture
def sideways():
    """A photo whose EXIF tag says: turn by 90° to the right."""
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    return jpeg((60, 40), exif=exif)


def test_a_photo_is_judged_upright_and_as_stored(panel, learn, sideways):
    from PIL import Image, ImageOps

    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(sideways)))
    upload(panel, sideways, "phone.jpg")
    assert panel.last.image.size == (40, 60)
    assert panel.last.probabilities == pytest.approx(fastmagic.predict(upright, learn).probabilities, abs=1e-6)
    assert panel.last.source == "phone.jpg"

    panel.on_settings(upright=False)
    assert panel.last.image.size == (60, 40)
    assert panel.last.probabilities == pytest.approx(fastmagic.predict(sideways, learn).probabilities, abs=1e-6)
    shown = panel.state()["shown"]
    assert shown["other"].startswith(str(fastmagic.predict(upright, learn).label))
    assert Image.open(io.BytesIO(shown["preview"].data)).size == (40, 60)


def test_the_picture_sent_back_is_turned_once_and_carries_no_exif(panel):
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 3
    exif[0x010F] = "a maker of phones"
    upload(panel, jpeg((700, 500), exif=exif), "phone.jpg")
    shown = Image.open(io.BytesIO(panel.state()["shown"]["preview"].data))
    assert shown.size == (640, 457)
    assert dict(shown.getexif()) == {}


def test_a_photo_stored_upright_is_judged_once(panel):
    upload(panel, jpeg(), "plain.jpg")
    assert panel.state()["shown"]["other"] is None


# ---------------------------------------------------------------- history


def test_the_last_twelve_are_kept_and_large_pictures_made_small(panel):
    for n in range(14):
        upload(panel, jpeg((1600, 1200) if n == 12 else (64, 48), seed=n), f"{n}.jpg")
        if n == 12:
            assert panel.last.image.size == (1600, 1200)
    assert [said.source for said in panel.history] == [f"{n}.jpg" for n in range(2, 14)]
    assert panel.history[-2].image.size == (1024, 768)
    assert panel.last is panel.history[-1]


def test_an_older_one_is_shown_again_and_stays_in_its_place(panel):
    for n in range(3):
        upload(panel, jpeg(seed=n), f"{n}.jpg")
    oldest = panel.state()["history"][-1]["number"]
    panel.on_show(number=oldest)
    assert panel.state()["shown"]["name"] == "0.jpg"
    assert panel.last.source == "2.jpg"
    panel.on_show(number=999)
    assert panel.state()["shown"]["name"] == "0.jpg"


def test_one_of_many_files_goes_to_the_history_unshown(panel):
    upload(panel, jpeg(seed=1), "1.jpg")
    upload(panel, jpeg(seed=2), "2.jpg", show=False)
    assert panel.state()["shown"]["name"] == "1.jpg"
    assert [entry["name"] for entry in panel.state()["history"]] == ["2.jpg", "1.jpg"]


def test_clearing_forgets_everything(panel):
    upload(panel, jpeg(), "1.jpg")
    panel.on_clear()
    assert (panel.last, panel.history, panel.state()["shown"], panel.state()["history"]) == (None, [], None, [])
    assert "Nothing has been predicted yet" in panel.still().text


def test_a_browser_gets_each_thumbnail_once_and_all_after_a_reload(panel, monkeypatch):
    told = []
    monkeypatch.setattr(panel, "tell", lambda event, **content: told.append(content))
    for n in range(3):
        upload(panel, jpeg(seed=n), f"{n}.jpg")
    assert [bool(entry["thumbnail"]) for entry in told[-1]["history"]] == [True, False, False]
    assert all(entry["thumbnail"] for entry in panel.state()["history"])


# ---------------------------------------------------------------- what is shown


def test_as_many_classes_are_shown_as_asked_for(panel):
    upload(panel, jpeg(), "1.jpg")
    assert len(panel.state()["shown"]["bars"]) == 2
    panel.on_settings(top=1)
    assert [bar[0] for bar in panel.state()["shown"]["bars"]] == [panel.last.label]
    assert "and 1 more class" in panel.still().text


def test_close_and_low_probabilities_are_told_in_numbers(shapes):
    import torch
    from fastai.vision.all import Resize

    dls = fastmagic.datablock(shapes, item_tfms=Resize(32), bs=8, num_workers=0)
    learn = untrained(dls, 2)
    panel = fastmagic.predictor(learn)

    def hint(difference):
        with torch.no_grad():
            learn.model[-1].weight.zero_()
            learn.model[-1].bias.copy_(torch.tensor([difference, 0.0]))
        upload(panel, jpeg(), "1.jpg")
        return panel.state()["shown"]["hint"]

    assert hint(0.1) == "Not sure: disc (52.5%) and square (47.5%) are close."
    assert hint(1.0) == ""


def test_examples_come_from_the_validation_set_one_of_each_class_first(panel, learn, shapes):
    names = [example["name"] for example in panel.state()["examples"]]
    assert len(names) == 4
    assert {name.split("_")[0] for name in names[:2]} == {"disc", "square"}
    valid = {file.name for file in learn.dls.valid.items}
    assert set(names) <= valid
    panel.on_example(index=0)
    shown = panel.state()["shown"]
    assert shown["label"] == names[0].split("_")[0]
    assert shown["right"] == (panel.last.label == shown["label"])
    assert panel.last.probabilities == pytest.approx(
        fastmagic.predict(next(shapes.rglob(names[0])), learn).probabilities, abs=1e-6
    )


def test_examples_of_ones_own_have_no_label(learn, shapes):
    files = sorted(shapes.rglob("*.png"))[:2]
    panel = fastmagic.predictor(learn, examples=[files[0], str(files[1]), jpeg()])
    assert [example["name"] for example in panel.state()["examples"]] == [files[0].name, files[1].name, "example 3"]
    panel.on_example(index=1)
    assert panel.state()["shown"]["label"] is None
    assert fastmagic.predictor(learn, examples=[]).state()["examples"] == []
    with pytest.raises(FastmagicError, match=r"No file 'disk_000\.png'"):
        fastmagic.predictor(learn, examples=[files[0].with_name("disk_000.png")])


def test_an_exported_learner_is_enough_and_has_no_examples(export, learn, tmp_path):
    export(learn, tmp_path / "model.pkl")
    panel = fastmagic.predictor(tmp_path / "model.pkl")
    assert panel.state()["examples"] == []
    data = jpeg()
    upload(panel, data, "a.jpg")
    assert panel.last.probabilities == pytest.approx(fastmagic.predict(data, learn).probabilities, abs=1e-6)


def test_a_bundle_brings_its_title_and_its_example(learn, tmp_path):
    file = tmp_path / "model.fastmagic"
    fastmagic.export(learn, file, title="Disc or square?", description="Two shapes.")
    state = fastmagic.predictor(file).state()
    assert (state["title"], state["description"]) == ("Disc or square?", "Two shapes.")
    assert len(state["examples"]) == 1
    own = fastmagic.predictor(file, title="Mine", examples=[])
    assert own.state()["title"] == "Mine"
    assert own.state()["examples"] == []
    panel = fastmagic.predictor(fastmagic.load(file))
    panel.on_example(index=0)
    assert panel.last.label in ("disc", "square")


# ---------------------------------------------------------------- other learners


def test_several_labels_a_picture(shapes):
    from fastai.vision.all import DataBlock, ImageBlock, MultiCategoryBlock, Resize, get_image_files

    block = DataBlock(
        (ImageBlock, MultiCategoryBlock),
        get_items=get_image_files,
        get_y=lambda file: [file.parent.name, "shape"],
        item_tfms=Resize(32),
    )
    learn = untrained(block.dataloaders(shapes, bs=8, num_workers=0), 3)
    panel = fastmagic.predictor(learn)
    last = learn.model[-1]
    last.weight.data.zero_()
    last.bias.data[:] = -1
    upload(panel, jpeg(), "a.jpg")
    shown = panel.state()["shown"]
    assert shown["decision"] == "none of the labels"
    assert shown["hint"].startswith("No label reaches the threshold of 0.5; the nearest is")
    last.bias.data[:2] = 1
    panel.on_example(index=0)
    shown = panel.state()["shown"]
    assert [given for _, _, given in shown["bars"]] == [True, True, False]
    assert shown["threshold"] == 0.5
    assert "shape" in shown["label"]


def test_numbers(shapes):
    from fastai.vision.all import DataBlock, ImageBlock, RegressionBlock, Resize, get_image_files

    block = DataBlock(
        (ImageBlock, RegressionBlock(n_out=2)),
        get_items=get_image_files,
        get_y=lambda file: [1.0, 2.0],
        item_tfms=Resize(32),
    )
    learn = untrained(block.dataloaders(shapes, bs=8, num_workers=0), 2)
    learn.model[-1].weight.data.zero_()
    learn.model[-1].bias.data[:] = learn.model[-1].bias.data.new_tensor([1.25, -3])
    panel = fastmagic.predictor(learn)
    upload(panel, jpeg(), "a.jpg")
    shown = panel.state()["shown"]
    assert (shown["decision"], shown["numbers"], shown["bars"]) == ("1.25, -3", [1.25, -3.0], [])
    assert panel.still().png


def test_a_learner_of_texts_takes_texts():
    import pandas as pd
    from fastai.text.all import AWD_LSTM, TextDataLoaders, text_classifier_learner

    frame = pd.DataFrame({"text": ["good film", "bad film"] * 12, "label": ["pos", "neg"] * 12})
    dls = TextDataLoaders.from_df(frame, text_col="text", label_col="label", bs=4, tok_tfm=None, num_workers=0)
    learn = text_classifier_learner(dls, AWD_LSTM, pretrained=False)
    panel = fastmagic.predictor(learn, examples=["a good film"])
    assert panel.state()["kind"] == "text"
    panel.on_text(text="a bad film, and a long one")
    assert panel.last.probabilities == pytest.approx(
        fastmagic.predict("a bad film, and a long one", learn).probabilities, abs=1e-6
    )
    assert panel.state()["shown"]["text"] == "a bad film, and a long one"
    panel.on_example(index=0)
    assert panel.state()["history"][0]["name"] == "a good film"
    assert "a good film" in panel.still().html
    with pytest.raises(FastmagicError, match="nothing to predict"):
        panel.on_text(text="  ")


@pytest.fixture(scope="module")
def of_rows():
    """A learner of a table with a category, one of numbers, a number with gaps and one without."""
    import pandas as pd
    from fastai.tabular.all import Categorify, FillMissing, Normalize, TabularDataLoaders, tabular_learner

    random = np.random.default_rng(0)
    frame = pd.DataFrame({
        "kind of it": random.choice(["a", "b", "c d"], 200), "floor": random.choice([1, 2, 3], 200),
        "size": random.normal(50, 9, 200).round(1), "age": np.where(np.arange(200) % 5, random.normal(30, 4, 200), np.nan),
        "dear": random.choice(["no", "yes"], 200),
    })  # fmt: skip
    dls = TabularDataLoaders.from_df(
        frame, cat_names=["kind of it", "floor"], cont_names=["size", "age"], y_names="dear", bs=32, num_workers=0,
        procs=[Categorify, FillMissing, Normalize], valid_idx=list(range(20)),
    )  # fmt: skip
    return tabular_learner(dls)


def test_a_learner_of_tables_takes_a_form_of_its_columns(of_rows):
    panel = fastmagic.predictor(of_rows)
    state = panel.state()
    assert state["kind"] == "row"
    assert [field["name"] for field in state["fields"]] == ["kind of it", "floor", "size", "age"]
    assert [field["choices"] for field in state["fields"]] == [["a", "b", "c d"], ["1", "2", "3"], None, None]
    assert len(state["examples"]) == 4
    filled = {field["name"]: field["value"] for field in state["fields"]}
    panel.on_row(row=filled)
    panel.on_example(index=0)  # what it was filled with
    first, second = panel.history
    assert first.probabilities == pytest.approx(second.probabilities, abs=1e-6)
    assert max(len(field["value"]) for field in state["fields"]) <= 8  # no digits that 32 bits made up
    row = {"kind of it": "c d", "floor": "2", "size": "41,5", "age": ""}
    panel.on_row(row=row)
    assert panel.last.probabilities == pytest.approx(
        fastmagic.predict({"kind of it": "c d", "floor": 2, "size": 41.5, "age": float("nan")}, of_rows).probabilities,
        abs=1e-6,
    )
    shown = panel.state()["shown"]
    assert shown["row"] == {"kind of it": "c d", "floor": "2", "size": "41.5", "age": ""}
    assert shown["name"] == "c d, 2, 41.5"
    assert "kind of it c d, floor 2, size 41.5" in panel.still().html
    assert panel.still().png


def test_a_row_with_a_gap_where_the_form_has_a_list_is_an_example_too():
    import pandas as pd
    from fastai.tabular.all import Categorify, TabularDataLoaders, tabular_learner

    frame = pd.DataFrame({"kind": ["a", "b"] * 10 + [None], "size": range(21), "dear": ["no", "yes"] * 10 + ["no"]})
    dls = TabularDataLoaders.from_df(
        frame, cat_names=["kind"], cont_names=["size"], y_names="dear", bs=4, num_workers=0, procs=[Categorify],
        valid_idx=[18, 19, 20],
    )  # fmt: skip
    panel = fastmagic.predictor(tabular_learner(dls))
    names = [example["name"] for example in panel.state()["examples"]]
    assert sorted(names) == ["20", "a, 18", "b, 19"]
    panel.on_example(index=names.index("20"))
    assert panel.state()["shown"]["row"] == {"kind": "", "size": "20"}


def test_categories_that_are_numbers_or_begin_with_a_space():
    import pandas as pd
    from fastai.tabular.all import Categorify, Normalize, TabularDataLoaders, tabular_learner

    frame = pd.DataFrame(
        {
            "floor": [1.0, 2.0] * 20,
            "work": [" Private", " State"] * 20,
            "size": np.linspace(0, 2e6, 40),
            "dear": ["no", "yes"] * 20,
        }
    )
    dls = TabularDataLoaders.from_df(
        frame, cat_names=["floor", "work"], cont_names=["size"], y_names="dear", bs=8, num_workers=0,
        procs=[Categorify, Normalize], valid_idx=list(range(8)),
    )  # fmt: skip
    learn = tabular_learner(dls)
    panel = fastmagic.predictor(learn)
    state = panel.state()
    assert len(state["examples"]) == 4
    assert all(field["choices"] is None or field["value"] in field["choices"] for field in state["fields"])
    wanted = fastmagic.predict({"floor": 2.0, "work": " State", "size": 1234567.9}, learn).probabilities
    for work in (" State", "State", "State  "):
        panel.on_row(row={"floor": "2", "work": work, "size": "1234567.9"})
        assert panel.last.probabilities == pytest.approx(wanted, abs=1e-6)
    assert panel.state()["shown"]["row"] == {"floor": "2", "work": " State", "size": "1234567.9"}


def test_examples_of_rows_may_leave_columns_out_but_not_invent_them(of_rows):
    panel = fastmagic.predictor(of_rows, examples=[{"floor": 2}])
    panel.on_example(index=0)
    assert panel.state()["shown"]["row"]["floor"] == "2"
    assert panel.state()["shown"]["row"]["size"]
    with pytest.raises(FastmagicError, match=r"The model has no column 'flor'\.\nDid you mean 'floor'"):
        fastmagic.predictor(of_rows, examples=[{"flor": 2}])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"size": "1e300"}, "size: 1e300 is more than fastai can count to"),
        ({"floor": "9" * 3_000_000}, "floor: 3,000,000 letters are no value of it"),
        ({"size": "big"}, r"size: 'big' is no number\.\nWrite it like 12\.5"),
        ({"size": "inf"}, "size: 'inf' is no number"),
        ({"size": "1,250"}, r"size: '1,250' can be read in two ways\.\nWrite 1250 or 1\.250"),
        ({"size": ""}, r"size is empty, and the model never saw it so\.\nGive a number"),
        ({"kind of it": "cd"}, r"kind of it: the model does not know 'cd'\.\nDid you mean 'c d'"),
        ({"floor": "9"}, r"floor: the model does not know '9'\.\nIt knows 1, 2, 3"),
    ],
)
def test_a_form_that_is_filled_in_wrong_is_told(of_rows, changed, said):
    panel = fastmagic.predictor(of_rows, examples=[])
    filled = {"kind of it": "a", "floor": "1", "size": "50", "age": "30"}
    with pytest.raises(FastmagicError, match=said):
        panel.on_row(row=filled | changed)
    assert panel.last is None
    with pytest.raises(FastmagicError, match="takes a row"):
        panel.on_text(text="a")
    with pytest.raises(FastmagicError, match=r"A str is no row\.\nGive dicts"):
        fastmagic.predictor(of_rows, examples=["a"])


def test_the_program_of_a_form_predicts(of_rows, shell, capsys):
    shell.user_ns["learn"] = of_rows
    from fastmagic.panels.predictor import predictor_code

    shell.run(predictor_code("learn", "row"))
    fields = shell.user_ns["fields"]
    assert list(fields) == ["kind of it", "floor", "size", "age"]
    fields["kind of it"].value, fields["floor"].value, fields["size"].value, fields["age"].value = "b", 3, 40.0, 30.0
    shell.user_ns["go"].click()
    wanted = fastmagic.predict({"kind of it": "b", "floor": 3, "size": 40.0, "age": 30.0}, of_rows)
    assert f"'yes': {wanted.probabilities['yes']:.4f}"[:12] in capsys.readouterr().out


# ---------------------------------------------------------------- the still


def test_before_the_first_prediction_the_still_is_a_sentence(panel):
    still = panel.still()
    assert still.png is None
    assert "Nothing has been predicted yet" in still.html
    assert repr(panel) == still.text


def test_the_still_shows_picture_bars_and_history_in_few_bytes(panel, shapes):
    from PIL import Image

    for n in range(13):
        upload(panel, jpeg((1200, 900), seed=n), f"<b>{n}.jpg")
    still = panel.still()
    assert len(still.html) + len(still.png) < 200_000
    assert "<b>12" not in still.html
    assert still.html.count("<img") == 13
    assert f"{panel.last.probability:.1%}" in still.html
    assert still.text.startswith(f"<b>12.jpg: {panel.last.label}")
    assert "<b>1.jpg" in still.text
    assert Image.open(io.BytesIO(still.png)).size == (700, 364)


# ---------------------------------------------------------------- %predict


def test_predict_without_an_item_is_the_panel(shell, learn, capsys, shapes):
    shell.push({"learn": learn})
    shell.run("%predict --top 1 --into asking")
    panel = shell.user_ns["asking"]
    assert panel.learn is learn
    panel.predict(next(shapes.rglob("*.png")))
    assert len(panel.state()["shown"]["bars"]) == 1
    assert "Nothing has been predicted yet" in capsys.readouterr().out


def test_predict_without_an_item_takes_the_file_of_a_learner(export, shell, learn, tmp_path):
    export(learn, tmp_path / "model.pkl")
    shell.run("%predict --learn model.pkl")
    assert shell.user_ns["preds"].state()["count"] == 2


def test_predict_without_an_item_prints_a_program_that_runs(shell, learn, capsys):
    shell.push({"learn": learn})
    capsys.readouterr()
    shell.run("%predict --code")
    program = capsys.readouterr().out
    assert "preds" not in shell.user_ns
    shell.run(program)
    data = jpeg()
    file = {
        "name": "a.jpg",
        "type": "image/jpeg",
        "size": len(data),
        "content": memoryview(data),
        "last_modified": datetime.now(),
    }
    seven = isinstance(shell.user_ns["upload"].value, dict)  # ipywidgets 7
    shell.user_ns["upload"].set_trait("value", {"a.jpg": file} if seven else (file,))
    assert str(fastmagic.predict(data, learn).label) in capsys.readouterr().out


def test_a_table_still_needs_items(shell, learn):
    shell.push({"learn": learn})
    with pytest.raises(FastmagicError, match="What should be predicted"):
        shell.run("%predict --csv out.csv")


def test_real_photos_are_small_in_the_history(panel, shared_data):
    upload(panel, (shared_data / "lesson_photos" / "bird.jpg").read_bytes(), "bird.jpg")
    state = panel.state()
    assert len(state["shown"]["preview"].data) < 120_000
    assert len(state["history"][0]["thumbnail"].data) < 6_000
