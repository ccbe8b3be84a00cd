"""Ratings: how they are recognised, checked, learned, and what is recommended."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from IPython.utils.capture import capture_output

import fastmagic
from fastmagic.data.ratings import RatingColumns, rating_columns
from fastmagic.errors import FastmagicError
from fastmagic.kinds import RATING, TABLE, kind_of
from fastmagic.kinds.rating import wider
from fastmagic.learning.train import plan

FILMS = [f"{kind} {n}" for kind in ("Love", "War") for n in range(20)]


def ratings(users=60, each=25, seed=0) -> pd.DataFrame:
    """Return ratings by users who like one sort of film and not the other, and differ in how kind they are."""
    random = np.random.default_rng(seed)
    rows = []
    for user in range(100, 100 + users):
        likes = FILMS[0].split()[0] if user % 2 else "War"
        for film in random.choice(FILMS, each, replace=False):
            rating = (4.2 if film.startswith(likes) else 1.8) + random.normal(0, 0.5) + (user % 3 - 1) * 0.4
            rows.append((user, film, int(np.clip(round(rating), 1, 5)), 10_000 + len(rows)))
    return pd.DataFrame(rows, columns=["userId", "title", "rating", "timestamp"])


@pytest.fixture(scope="module")
def frame():
    return ratings()


@pytest.fixture(scope="module")
def learn(frame):
    return fastmagic.train(fastmagic.datablock(frame), epochs=20)


def planned(source, **answers):
    from fastmagic.data.datablock import plan as plan_block

    target = answers.pop("target", None)
    return plan_block(source, given=answers, target=target)


# ---------------------------------------------------------------- what is worked out


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        (("user", "movie", "rating", "timestamp"), ("user", "movie", "rating")),
        (("userId", "movieId", "rating", "timestamp"), ("userId", "movieId", "rating")),
        (("User-ID", "ISBN", "Book-Rating", "note"), ("User-ID", "ISBN", "Book-Rating")),
        (("reviewerID", "asin", "overall", "time"), ("reviewerID", "asin", "overall")),
        (("age", "job", "rating", "city"), None),
        (("user", "movie", "genre", "year"), None),
    ],
)
def test_ratings_are_told_by_the_names_of_three_columns(frame, columns, found):
    table = frame.set_axis(columns, axis=1)
    assert rating_columns(table) == (RatingColumns(*found) if found else None)


def test_what_the_columns_mean_is_said(frame):
    found = planned(frame)
    assert found.kind is RATING
    assert (
        "'userId' rates 'title' in 'rating', 1 to 5: 1,500 ratings by 60 users of 40 items, 62.5% of all" in found.why
    )
    assert "not used: 'timestamp'" in found.why
    dls = found.build()
    assert kind_of(dls) is RATING
    assert TABLE.holds(dls)  # whoever asks for rows gets rows
    assert [len(loader.dataset) for loader in dls.loaders] == [1200, 300]
    assert "CollabDataLoaders.from_df(df, user_name='userId', item_name='title'" in fastmagic.code(dls)


def test_another_target_makes_it_a_table(frame):
    found = planned(frame.assign(genre=[t.split()[0] for t in frame.title]), target="genre")
    assert found.kind is TABLE
    assert planned(frame, target="rating").kind is RATING
    assert planned(frame, y_names="rating").kind is TABLE


def test_what_only_looks_like_ratings_is_none(frame, tmp_path):
    one_each = pd.DataFrame({"person": range(50), "product": ["a", "b"] * 25, "score": [1, 2] * 25, "age": range(50)})
    assert rating_columns(one_each) is None
    assert rating_columns(frame.assign(label="x")) is None
    again = frame.assign(userId=frame.userId % 3, title=frame.title.str[:3])
    assert rating_columns(again) is None  # the same pairs again and again


def test_a_file_and_a_folder_of_ratings_are_checked(frame, tmp_path):
    frame.to_csv(tmp_path / "ratings.csv", index=False)
    for source in (tmp_path / "ratings.csv", tmp_path, frame):
        assert fastmagic.check(source).headline().startswith("✓ 1,500 items")
    twice = pd.concat([frame, frame.head(5)], ignore_index=True)
    assert "rated-twice" in fastmagic.check(twice)


def test_columns_can_be_named_and_mistyped(frame):
    odd = frame.rename(columns={"userId": "who", "title": "what", "rating": "how"})
    dls = fastmagic.datablock(odd, user_name="who", item_name="what", rating_name="how")
    assert list(dls.classes) == ["who", "what"]
    with pytest.raises(FastmagicError, match="no column 'whom'") as error:
        fastmagic.datablock(odd, user_name="whom", item_name="what", rating_name="how")
    assert "who" in error.value.fix
    with pytest.raises(FastmagicError, match="Which column says what was rated"):
        fastmagic.datablock(odd, user_name="who", rating_name="how")
    with pytest.raises(FastmagicError, match="One column cannot be two"):
        fastmagic.datablock(odd, user_name="who", item_name="who", rating_name="how")
    with pytest.raises(FastmagicError, match="are no numbers"):
        fastmagic.datablock(odd, user_name="who", item_name="how", rating_name="what")


def test_gaps_and_one_value_are_refused(frame):
    with pytest.raises(FastmagicError, match="3 of 1,500 rows have no 'rating'"):
        fastmagic.datablock(frame.assign(rating=[None] * 3 + list(frame.rating[3:])))
    with pytest.raises(FastmagicError, match="Every rating is 4"):
        fastmagic.datablock(frame.assign(rating=4))


def test_a_splitter_of_ones_own(frame):
    from fastai.data.transforms import EndSplitter

    dls = fastmagic.datablock(frame, splitter=EndSplitter(0.1))
    assert list(dls.valid.dataset.items.index) == list(range(1350, 1500))
    names: dict = {"df": frame}
    exec(fastmagic.code(dls), names)
    assert list(names["dls"].valid.dataset.items.index) == list(dls.valid.dataset.items.index)


def test_a_folder_of_movielens_in_both_forms(tmp_path, frame):
    titles = {title: i for i, title in enumerate(FILMS)}
    rows = frame.assign(movieId=frame.title.map(titles))[["userId", "movieId", "rating", "timestamp"]]
    rows.to_csv(tmp_path / "ratings.csv", index=False)
    pd.DataFrame({"movieId": range(40), "title": FILMS, "genres": "x"}).to_csv(tmp_path / "movies.csv", index=False)
    new = planned(tmp_path)
    assert "'userId' rates 'title'" in new.why
    assert "films have their titles from 'movies.csv'" in new.why
    old = tmp_path / "old"
    old.mkdir()
    rows.to_csv(old / "u.data", sep="\t", header=False, index=False)
    lines = [f"{i}|{title}|01-Jan-1995||http://x|0|1" for i, title in enumerate(FILMS)]
    (old / "u.item").write_text("\n".join(lines), encoding="latin-1")
    for source in (old, old / "u.data", str(old)):
        dls = fastmagic.datablock(source)
        assert len(dls.train.dataset) + len(dls.valid.dataset) == 1500
        assert list(dls.classes) == ["user", "title"]
    names: dict = {}
    exec(fastmagic.code(dls), names)
    assert len(names["df"]) == 1500


def test_movielens(shared_data):
    found = planned(shared_data / "ml-100k")
    assert "944 users of 1,664 items" in found.why
    dls = found.build()
    code = plan(dls).code()
    assert "collab_learner(dls, y_range=(0.5, 5.5), wd=0.1, metrics=mae)" in code
    assert "learn.fit_one_cycle(5, 0.005)" in code


# ---------------------------------------------------------------- checks


def test_checks_of_ratings(frame):
    bad = pd.concat([frame, frame.head(30)], ignore_index=True)
    bad = pd.concat(
        [bad, pd.DataFrame({"userId": [999], "title": ["Rare"], "rating": [99], "timestamp": [0]})], ignore_index=True
    )
    from fastai.data.transforms import IndexSplitter

    dls = fastmagic.datablock(bad, splitter=IndexSplitter([*range(0, 1500, 5), 1530]))
    report = fastmagic.check(dls)
    assert "30 items were rated more than once" in report["rated-twice"].message
    assert report["rated-twice"].severity == "warning"
    assert "both sides" in report["rated-twice"].message
    assert report["unseen-user"].items == [999]
    assert report["unseen-item"].items == ["Rare"]
    assert "1 rating of 99 lies far from all others (1 to 5)" in report["no-rating"].message
    assert fastmagic.check(fastmagic.datablock(frame)).ok


def test_zeros_and_names_as_text_and_number(frame):
    zeros = frame.assign(rating=[0 if i % 2 else r for i, r in enumerate(frame.rating)])
    assert "50% of the ratings are 0" in fastmagic.check(fastmagic.datablock(zeros))["no-rating"].message
    both = frame.assign(userId=[str(u) if i % 2 else u for i, u in enumerate(frame.userId)])
    assert fastmagic.check(fastmagic.datablock(both))["two-spellings"].severity == "error"


def test_the_range_of_answers():
    assert wider(pd.Series([0.5, 5.0, 1.0])) == (0.25, 5.25)
    assert wider(pd.Series([10, 20, 100])) == (5.0, 105.0)
    low, high = wider(pd.Series(np.random.default_rng(0).normal(0, 10, 500)))
    assert low < -25
    assert high > 25


# ---------------------------------------------------------------- learning and asking


def test_it_learns_who_likes_what(learn):
    found = fastmagic.results(learn)
    assert found.kind == "numbers"
    assert found.losses.mean() < 0.8  # guessing the mean is off by 1.9, squared
    assert "userId" in str(found.show(3))
    assert str(found.show(3)).count("Love") + str(found.show(3)).count("War") == 3
    lover = fastmagic.predict({"userId": 101}, learn)
    soldier = fastmagic.predict({"userId": "102"}, learn)  # as text, it is the same one
    assert all(str(title).startswith("Love") for title in lover.frame.title[:5])
    assert all(str(title).startswith("War") for title in soldier.frame.title[:5])


def test_what_was_rated_is_left_out(learn, frame):
    rated = set(frame[frame.userId == 101].title)
    found = fastmagic.predict({"userId": 101}, learn, top=40)
    assert not rated & set(found.frame.title)
    assert len(found) == 40 - len(rated)
    assert found.note == f"{len(rated)} items that they have rated left out"
    assert list(found.frame.rating) == sorted(found.frame.rating, reverse=True)
    for top in (3, 5):
        assert len(fastmagic.predict({"userId": 101}, learn, top=top)) == top
    one = fastmagic.predict({"userId": 101, "title": found.frame.title[0]}, learn)
    assert one.label == pytest.approx(float(found.frame.rating[0]), abs=1e-4)
    assert one.source == f"userId 101, {found.frame.title[0]}"
    assert "bar" in found._repr_mimebundle_()["text/html"]


@pytest.mark.parametrize("arch", ["dot", "net"])
def test_what_is_like_a_film(frame, arch):
    learn = fastmagic.train(fastmagic.datablock(frame), arch, epochs=20)
    found = fastmagic.predict({"title": "War 3"}, learn)
    assert len(found) == 10
    assert "War 3" not in list(found.frame.title)
    if arch == "dot":
        assert sum(str(title).startswith("War") for title in found.frame.title) >= 9
    assert sum(str(t).startswith("Love") for t in fastmagic.predict({"userId": 101}, learn).frame.title[:5]) >= 4


def test_many_ratings_are_a_table(learn, frame):
    rows = frame.head(4)
    found = fastmagic.predict(rows, learn)
    assert list(found.frame.index) == list(rows.index)
    text = fastmagic.predict(rows.assign(userId=rows.userId.astype(str)), learn)
    np.testing.assert_allclose(found.frame.label.astype(float), text.frame.label.astype(float))
    with pytest.raises(FastmagicError, match="lacks 'title'"):
        fastmagic.predict(rows[["userId"]], learn)


def test_who_is_not_known_is_said(learn):
    with pytest.raises(FastmagicError, match="learned nothing of userId '7'"):
        fastmagic.predict({"userId": 7}, learn)
    with pytest.raises(FastmagicError, match="learned nothing of title 'War3'") as error:
        fastmagic.predict({"title": "War3"}, learn)
    assert "'War 3'" in error.value.fix
    with pytest.raises(FastmagicError, match="For whom"):
        fastmagic.predict({"film": "War 3"}, learn)


def test_what_is_for_images_is_refused(frame):
    dls = fastmagic.datablock(frame)
    with pytest.raises(FastmagicError, match=r"'dot' .* and 'net'"):
        fastmagic.train(dls, "resnet18")
    with pytest.raises(FastmagicError, match="pretrained"):
        fastmagic.train(dls, recipe="fine_tune")


def test_the_magics(shell, frame):
    frame.to_csv("ratings.csv", index=False)
    with capture_output() as out:
        shell.run("%datablock dls --from ratings.csv")
        shell.run("%train net --epochs 2")
        shell.run("%train --epochs 10")
        shell.run("%results --worst 3")
        shell.run("%predict userId=101 --top 4 --into best")
        shell.run('%predict title="War 3"')
        shell.run("%predict userId=101 title='War 3' --into one")
        shell.run("%check dls")
    assert "rates 'title' in 'rating'" in out.stdout
    assert any("Most like War 3" in one.data.get("text/plain", "") for one in out.outputs)
    best = shell.user_ns["best"]
    assert len(best) == 4
    for line, expected in (
        ("%predict userId=101 --top 4 --code", list(best.frame.title)),
        ('%predict title="War 3" --code', None),
        ("%predict userId=101 title='War 3' --code", shell.user_ns["one"].label),
    ):
        with capture_output() as out:
            shell.run(line)
        names: dict = {}
        exec(out.stdout, names)
        if isinstance(expected, list):
            assert list(names["found"].title) == expected
        elif expected is None:
            said = fastmagic.predict({"title": "War 3"}, names["learn"]).frame.title
            assert list(names["found"].index) == list(said)
        else:
            assert names["rating"] == pytest.approx(expected, abs=0.01)
    with pytest.raises(FastmagicError, match="no column 'user'") as error:
        shell.run("%predict user=101")
    assert "userId" in str(error.value)


def test_a_row_of_a_table_is_typed(shell):
    from sklearn.datasets import load_wine

    wine = load_wine(as_frame=True)
    table = wine.data.assign(
        kind=[wine.target_names[i] for i in wine.target], place=["north" if i % 3 else "south" for i in range(178)]
    )
    table = table.rename(columns={"proline": "pro line"})
    table.to_csv("wine.csv", index=False)
    with capture_output():
        shell.run("%datablock dls --from wine.csv --target kind")
        shell.run("%train --epochs 20")
        shell.run("%predict alcohol=13.9 place=north 'pro line=1200' flavanoids=3.1 --into one")
    one = shell.user_ns["one"]
    assert one.label == "class_0"
    assert "The others as usual: " in one.note
    assert "malic_acid" in one.note
    assert "alcohol" not in one.note.replace("alcalinity", "")
    with capture_output() as out:
        shell.run("%predict alcohol=13.9 place=north 'pro line=1200' flavanoids=3.1 --code")
    names: dict = {}
    exec(out.stdout, names)
    assert names["learn"].dls.vocab[int(names["index"])] == "class_0"
    for line, message in (
        ("%predict alcool=13", "no column 'alcool'"),
        ("%predict alcohol=lots", "is no number"),
        ("%predict place=west", "does not know 'west'"),
        ("%predict place=north place=south", "said twice"),
    ):
        with pytest.raises(FastmagicError, match=message):
            shell.run(line)
