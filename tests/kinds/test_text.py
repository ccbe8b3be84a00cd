"""Texts: how they are recognised, checked, learned, written and asked about."""

from __future__ import annotations

import pickle
import random
import warnings
from pathlib import Path

import pandas as pd
import pytest
from IPython.utils.capture import capture_output

import fastmagic
from fastmagic.data.texts import sentence, text_columns
from fastmagic.errors import FastmagicError
from fastmagic.kinds import IMAGE, TABLE, TEXT, kind_of, kind_of_source

GOOD = ["wonderful", "moving", "funny", "brilliant", "charming"]
BAD = ["dull", "boring", "stupid", "awful", "tired"]
REST = [
    "the",
    "a",
    "film",
    "story",
    "plot",
    "with",
    "scenes",
    "actors",
    "and",
    "its",
    "this",
    "of",
    "music",
    "was",
    "very",
    "quite",
    "more",
    "than",
    "never",
]


def review(chance: random.Random, good: bool) -> str:
    words = [chance.choice(REST) for _ in range(chance.randint(6, 14))]
    for _ in range(2):
        words.insert(chance.randrange(len(words)), chance.choice(GOOD if good else BAD))
    return " ".join(words)


def reviews(n: int = 240) -> pd.DataFrame:
    chance = random.Random(0)
    return pd.DataFrame(
        {"review": [review(chance, i % 2 == 0) for i in range(n)], "sentiment": ["good", "bad"] * (n // 2)}
    )


@pytest.fixture(scope="module")
def learn():
    return fastmagic.train(fastmagic.datablock(reviews(), num_workers=0), epochs=8)


@pytest.fixture(scope="module")
def writer():
    return fastmagic.train(fastmagic.datablock(reviews()[["review"]], bs=8, num_workers=0), epochs=2)


def planned(source, **answers):
    from fastmagic.data.datablock import plan as plan_block

    more = {name: answers.pop(name) for name in ("label", "target", "body") if name in answers}
    return plan_block(source, given=answers, **more)


def planned_kind(source, **answered):
    from fastmagic.data.source import resolve_source

    return kind_of_source(resolve_source(source), answered)


# ---------------------------------------------------------------- what is worked out


@pytest.mark.parametrize(
    ("columns", "text", "label"),
    [
        (["review", "sentiment"], "review", "sentiment"),
        (["Unnamed: 0", "text", "label"], "text", "label"),
        (["label", "text"], "text", "label"),
        (["words of a person", "class"], "words of a person", "class"),
        (["cat", "name"], "name", "cat"),
    ],
)
def test_columns_of_texts(columns, text, label):
    frame = reviews()
    made = pd.DataFrame(
        {
            name: frame["review"] if name == text else frame["sentiment"] if name == label else range(240)
            for name in columns
        }
    )
    found = text_columns(made)
    assert found is not None
    assert (found.text, found.columns.label) == (text, label)
    assert planned_kind(made) is TEXT


def test_tables_that_are_none_of_texts():
    frame = reviews()
    people = frame.assign(age=[i % 70 for i in range(240)], city=["a", "b", "c"] * 80, income=range(240)).rename(
        columns={"review": "remarks about them"}
    )
    assert planned_kind(people, target="sentiment") is TABLE
    short = pd.DataFrame({"name": [f"Ann {i}" for i in range(50)], "class": ["a", "b"] * 25})
    assert planned_kind(short) is TABLE
    assert planned_kind(frame, y_names="sentiment") is TABLE
    assert planned_kind(frame, blocks="ImageBlock, CategoryBlock") is IMAGE
    assert planned_kind(people, blocks="TextBlock.from_df('remarks about them'), CategoryBlock") is TEXT


def test_a_table_of_reviews():
    found = planned(reviews())
    assert found.why == "column 'review' holds the texts, column 'sentiment' the class"
    dls = found.build()
    assert kind_of(dls) is TEXT
    names = {"df": reviews()}
    exec(fastmagic.code(dls).replace("# df", "# the"), names)
    assert list(names["dls"].valid_ds.items["sentiment"]) == list(dls.valid_ds.items["sentiment"])
    x, y = dls.one_batch()
    assert x.ndim == 2
    assert set(y.tolist()) == {0, 1}


def test_labels_called_text_and_numbers_and_several(tmp_path):
    frame = reviews()
    odd = pd.DataFrame({"message": frame["review"], "text": frame["sentiment"]})
    assert list(planned(odd, target="text").build().vocab[-1]) == ["bad", "good"]
    stars = frame.assign(sentiment=[4.5 if s == "good" else 1.5 for s in frame["sentiment"]])
    assert "RegressionBlock" in planned(stars).cell()
    tags = frame.assign(sentiment=["good;new", "bad"] * 120).rename(columns={"sentiment": "tags"})
    assert "MultiCategoryBlock" in planned(tags).cell()
    assert list(planned(tags).build().vocab[-1]) == ["bad", "good", "new"]


def test_a_target_has_to_be_named_where_several_may_be():
    frame = reviews().assign(other=["x", "y", "z"] * 80).rename(columns={"sentiment": "feeling", "review": "text"})
    with pytest.raises(
        FastmagicError, match="Which one is to be predicted of them? There are feeling, other".replace("?", r"\?")
    ):
        fastmagic.datablock(frame)
    assert list(planned(frame, target="feeling").build().vocab[-1]) == ["bad", "good"]


def test_rows_without_text_are_named_with_the_lines_that_leave_them_out(tmp_path):
    frame = reviews()
    frame.loc[[3, 7], "review"] = None
    frame.loc[9, "review"] = "  "
    frame.to_csv(tmp_path / "reviews.csv", index=False)
    with pytest.raises(FastmagicError, match="3 of 240 rows have no text in 'review': row 3, 7, 9") as raised:
        fastmagic.datablock(tmp_path / "reviews.csv")
    names = {"pd": pd}
    exec("\n".join(raised.value.fix.splitlines()[1:]), names)
    assert len(names["df"]) == 237
    assert len(fastmagic.datablock(names["df"]).train_ds) == 190


def test_folders_of_texts(tmp_path):
    for i, (text, label) in enumerate(reviews(60).itertuples(index=False)):
        for side in ("train", "test"):
            (tmp_path / "split" / side / label).mkdir(parents=True, exist_ok=True)
        place = tmp_path / "split" / ("train" if i % 3 else "test") / label
        (place / f"{i}.txt").write_text(text, encoding="utf-8")
        (tmp_path / "classes" / label).mkdir(parents=True, exist_ok=True)
        (tmp_path / "classes" / label / f"{i}.txt").write_bytes(text.encode() + b" caf\xe9")
    found = planned(tmp_path / "classes")
    assert "2 folders are the classes" in found.why
    dls = found.build()
    assert (len(dls.train_ds), len(dls.valid_ds)) == (48, 12)
    assert not list(tmp_path.glob("*_tok"))  # nothing is written beside the data
    names: dict = {}
    exec(fastmagic.code(dls), names)
    assert [list(row) for row in names["dls"].valid_ds.items["text"]] == [
        list(row) for row in dls.valid_ds.items["text"]
    ]
    dls = planned(tmp_path / "split").build()
    assert (len(dls.train_ds), len(dls.valid_ds)) == (40, 20)
    assert "60 texts, 2 classes" in fastmagic.check(tmp_path / "classes").headline()
    with pytest.raises(FastmagicError, match="Put each class in a sub-folder"):
        fastmagic.datablock(tmp_path / "classes", label="(.)")


def test_boxes_beside_photos_are_no_texts(tmp_path, shapes):
    import shutil

    shutil.copytree(shapes, tmp_path / "images")
    (tmp_path / "labels").mkdir()
    for i in range(20):
        (tmp_path / f"labels/{i}.txt").write_text("0 0.5 0.5 0.25 0.25\n1 0.1 0.2 0.3 0.4\n")
    assert planned_kind(tmp_path) is not TEXT


def test_captions_and_licences_beside_photos_and_sounds_make_no_texts(tmp_path, shapes):
    import shutil

    shutil.copytree(shapes, tmp_path / "photos")
    (tmp_path / "photos/licences").mkdir()
    for i in range(9):
        (tmp_path / f"photos/licences/{i}.txt").write_text("You may use this photo as you like it, with my name.")
    assert planned_kind(tmp_path / "photos") is IMAGE
    shutil.copytree(shapes / "disc", tmp_path / "captions")
    for file in sorted((tmp_path / "captions").iterdir()):
        file.with_suffix(".txt").write_text("a disc of one colour on the ground of another")
    (tmp_path / "captions/README.txt").write_text("These are the captions of some discs.")
    assert planned_kind(tmp_path / "captions") is IMAGE


def test_features_are_not_thrown_away_for_a_remark():
    frame = reviews()
    shop = pd.DataFrame({
        "description": [" ".join(text.split()[:3]) for text in frame["review"]], "quantity": [i % 40 for i in range(240)],
        "unit_price": [i / 7 for i in range(240)], "country": ["a", "b", "c"] * 80,
    })  # fmt: skip
    assert planned_kind(shop, target="unit_price") is TABLE
    long = frame.assign(
        review=[f"{text} {text} {text} {text}" for text in frame["review"]], points=range(240), price=[1.5, 2.5] * 120
    )
    found = planned(long, target="points")
    assert found.kind is TEXT
    assert "not used: 'sentiment', 'price'" in found.why
    assert "RegressionBlock" in found.cell()  # 240 whole numbers are no classes
    assert planned_kind(frame.rename(columns={"review": 0, "sentiment": 1})) is TABLE
    photos = pd.DataFrame({"image": [f"{i}.jpg" for i in range(240)], "caption": frame["review"]})
    assert planned_kind(photos) is IMAGE


def test_reviews_longer_than_a_name_of_a_file_may_be(tmp_path):
    frame = reviews(40).assign(review=[" ".join([text] * 60) for text in reviews(40)["review"]])
    frame.to_csv(tmp_path / "long.csv", index=False)
    assert len(fastmagic.datablock(tmp_path / "long.csv").train_ds) == 32
    assert fastmagic.check(tmp_path / "long.csv").headline() == "✓ 40 texts, 2 classes: nothing wrong found"
    assert planned_kind(frame.assign(a=1.5, b=[1, 2] * 20, c=[3, 4] * 20), y_names="sentiment") is TABLE
    assert fastmagic.datablock(frame.assign(a=[1.5, 2] * 20), y_names="sentiment").cat_names is not None


def test_the_advice_for_a_language_model_works(tmp_path):
    frame = reviews().rename(columns={"review": "text"}).assign(other=["x", "y", "z"] * 80)
    with pytest.raises(FastmagicError) as raised:
        fastmagic.datablock(frame.rename(columns={"sentiment": "feeling"}))
    advice = raised.value.fix.partition("language model, ")[2].rstrip(".").replace("), get_x", ")\nget_x")
    for made in (frame.rename(columns={"sentiment": "feeling"}), frame):
        dls = planned(made, body=advice).build()
        assert TEXT.writes(dls)


def test_numbers_of_texts_stay_in_their_range():
    frame = reviews().assign(price=[1000.5 + i % 50 for i in range(240)]).drop(columns="sentiment")
    dls = fastmagic.datablock(frame, target="price", num_workers=0)
    learn = fastmagic.train(dls, epochs=1)
    assert "y_range=(998, 1052)" in fastmagic.code(learn) or "y_range=(998.0" in fastmagic.code(learn)
    assert 990 < float(fastmagic.predict("a film", learn).label) < 1060


# ---------------------------------------------------------------- checks


def test_checks():
    frame = reviews()
    frame.loc[1, "review"] = frame.loc[0, "review"]  # of the other class
    frame.loc[11, "review"] = "x" * 300 + " is an address"
    frame.loc[12, "review"] = "word " * 1500
    frame.loc[13, "review"] = None
    report = fastmagic.check(frame)
    assert report["contradicting-texts"].items == [0, 1]
    assert report["endless-word"].items == [11]
    assert "1 text has more than 1,440 words" in report["long-text"].message
    assert report["empty-text"].items == [13]
    good = frame.drop(index=[1, 11, 12, 13])
    assert fastmagic.check(good).ok
    twice = pd.concat([good, good.head(30)], ignore_index=True)
    dls = fastmagic.datablock(twice)
    assert "are both trained and validated on" in fastmagic.check(dls)["text-on-both-sides"].message
    assert "236 texts" not in fastmagic.check(dls).headline()


# ---------------------------------------------------------------- learning and asking


def test_it_learns_and_answers(learn, tmp_path):
    assert fastmagic.results(learn).correct.mean() >= 0.9
    assert "awd_lstm_clas_config, emb_sz=100" in fastmagic.code(learn)
    one = fastmagic.predict("a wonderful and charming film", learn)
    assert one.label == "good"
    many = fastmagic.predict(["boring and awful", "brilliant, moving"], learn)
    assert list(many.frame["label"]) == ["bad", "good"]
    assert list(fastmagic.predict(reviews(8), learn).frame["label"]) == ["good", "bad"] * 4
    (tmp_path / "one.txt").write_text("a stupid plot, dull actors")
    assert fastmagic.predict(tmp_path / "one.txt", learn).label == "bad"
    assert fastmagic.predict(str(tmp_path / "one.txt"), learn).label == "bad"
    with pytest.raises(FastmagicError, match="one"):
        fastmagic.predict(str(tmp_path / "ome.txt"), learn)
    (tmp_path / "two.txt").write_text("wonderful, moving")
    for place in (tmp_path, str(tmp_path), f"{tmp_path}/*.txt"):
        assert list(fastmagic.predict(place, learn).frame["label"]) == ["bad", "good"]
    mixed = fastmagic.predict(["dull and awful", None], learn)
    assert (len(mixed), mixed.failed) == (1, [("text 1", "A NoneType is no text.")])
    row = pd.DataFrame({"title": ["boring and awful"], "review": ["a brilliant, charming film"]})
    assert fastmagic.predict(row.iloc[0], learn).label == "good"
    assert list(fastmagic.predict(row, learn).frame["label"]) == ["good"]
    assert list(fastmagic.predict(row, learn, column="title").frame["label"]) == ["bad"]
    with pytest.raises(FastmagicError, match="The model reads column 'review'; there is title"):
        fastmagic.predict(row[["title"]], learn)
    with pytest.raises(FastmagicError, match="A int is no text"):
        fastmagic.predict([3], learn)
    with pytest.raises(FastmagicError, match="No file"):
        fastmagic.predict(Path("nowhere.txt"), learn)
    found = fastmagic.results(learn)
    assert "xxbos" not in found.look(0)


def test_fastais_own_loaders_are_checked_too(tmp_path):
    from fastai.text.all import TextDataLoaders

    for i, (text, label) in enumerate(reviews(40).itertuples(index=False)):
        (tmp_path / "all" / label).mkdir(parents=True, exist_ok=True)
        (tmp_path / "all" / label / f"{i}.txt").write_text(text)
    (tmp_path / "all/good/40.txt").write_text("")
    report = fastmagic.check(tmp_path / "all")
    assert report["empty-text"].items == [tmp_path / "all/good/40.txt"]
    (tmp_path / "all/good/40.txt").unlink()
    dls = TextDataLoaders.from_folder(tmp_path / "all", valid_pct=0.2, seed=1, bs=4, num_workers=0)
    assert "texts, 2 classes" in fastmagic.check(dls).headline()


def test_another_batch_size_and_wrong_words(learn):
    dls = learn.dls
    from fastmagic.learning import train as training

    assert "dls[0].new(bs=4)" in training.plan(dls, bs=4, epochs=1).code()
    with pytest.raises(FastmagicError, match="resnet18 is no model of texts"):
        fastmagic.train(dls, "resnet18")
    with pytest.raises(FastmagicError, match="file of weights is for images"):
        fastmagic.train(dls, weights="x.pth")


def test_fastais_weights_are_taken_where_they_are(tmp_path, monkeypatch, request):
    """The real loading code, on a folder of weights of the same form that this test makes."""
    import torch
    from fastai.data.external import URLs, fastai_cfg
    from fastai.text.all import AWD_LSTM, awd_lstm_lm_config, get_language_model

    from fastmagic.kinds import text as texts

    monkeypatch.setenv("FASTAI_HOME", str(tmp_path / "fastai"))
    fastai_cfg.cache_clear()
    request.addfinalizer(fastai_cfg.cache_clear)
    assert texts.weights(offline=True) is None
    words = ["xxunk", "xxpad", "xxbos", "xxeos", "xxfld", "xxrep", "xxwrep", "xxup", "xxmaj", *GOOD, *BAD, *REST]
    folder = tmp_path / "fastai" / "models" / Path(URLs.WT103_FWD).stem
    folder.mkdir(parents=True)
    model = get_language_model(AWD_LSTM, len(words), config=awd_lstm_lm_config.copy())
    torch.save(model.state_dict(), folder / "lstm_fwd.pth")
    (folder / "itos_wt103.pkl").write_bytes(pickle.dumps(words))
    assert texts.weights(offline=True) == folder
    dls = fastmagic.datablock(reviews(32), bs=8, num_workers=0)
    learn = fastmagic.train(dls, epochs=0, freeze_epochs=1, offline=True)
    assert "pretrained=False" not in fastmagic.code(learn)
    assert "learn.fine_tune(0, 0.01)" in fastmagic.code(learn)
    # The vectors of words that both know are those of the file: training left them frozen.
    place, row = list(dls.vocab[0]).index("film"), words.index("film")
    vectors = learn.model[0].module.encoder.weight
    assert torch.equal(vectors[place].detach().cpu(), model[0].encoder.weight[row].detach())


def test_a_language_model_writes(writer):
    assert "language_model_learner" in fastmagic.code(writer)
    assert "nothing says what they are: a language model" in planned(reviews()[["review"]]).why
    state = __import__("torch").get_rng_state()
    texts = {fastmagic.predict("the film", writer).text for _ in range(3)}
    assert len(texts) == 3
    assert all(text.lower().startswith("the film") for text in texts)
    assert not any("xxbos" in text for text in texts)
    assert (__import__("torch").get_rng_state() == state).all()
    with pytest.raises(FastmagicError, match="neither right nor wrong"):
        fastmagic.results(writer)
    with pytest.raises(FastmagicError, match="goes on with one text"):
        fastmagic.predict("  ", writer)
    assert fastmagic.check(writer.dls).ok


def test_fastai_shows_them(learn, writer):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        learn.dls.show_batch(max_n=2)
        writer.dls.show_batch(max_n=2)


def test_the_magics(shell):
    shell.user_ns["df"] = reviews()
    with capture_output() as out:
        shell.run("%datablock dls --from df")
        shell.run("%train --epochs 3")
        shell.run("%results --worst 2")
        shell.run("%check dls")
        shell.run("%predict a wonderful film --into one")
        shell.run("%predict 'dull and boring?' 'brilliant music' --into two")
        shell.run("%confusion")
    assert shell.user_ns["one"].source.startswith("a wonderful film")
    assert len(shell.user_ns["two"]) == 2
    shell.user_ns["film"] = "x"
    with capture_output():
        shell.run("%predict a wonderful film --into one")
    assert shell.user_ns["one"].source.startswith("a wonderful film")
    with capture_output() as out:
        shell.run("%predict 'dull and boring?' 'brilliant music' --code")
    names = {"df": reviews()}
    exec(out.stdout, names)
    assert list(names["frame"]["label"]) == list(shell.user_ns["two"].label)
    with capture_output() as out:
        shell.run("%predict a wonderful film --code")
    exec(out.stdout, names)
    assert str(names["label"]) == shell.user_ns["one"].label
    with capture_output():
        shell.run("lm = df[['review']]")
        shell.run("%datablock words --from lm --show 2")
        shell.run("%train words --epochs 1 --into writer")
        shell.run("%predict writer the film --into text")
    assert shell.user_ns["text"].text.lower().startswith("the film")
    with capture_output() as out:
        shell.run("%predict writer the film --code")
    assert "writer.predict('the film', n_words=40, temperature=0.75)" in out.stdout


def test_marks_are_taken_back():
    assert sentence("xxbos xxmaj so xxup ok , xxunk xxpad") == "So OK , xxunk"
