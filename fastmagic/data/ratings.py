"""Tables of ratings: which column names who rated, which what was rated, and which holds the rating."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from .reading import Table
from .tables import rank

USER_COLUMNS = ("user", "user id", "userid", "user name", "username", "reviewer", "reviewerid", "customer", "customer id", "reader", "member", "person")  # fmt: skip
ITEM_COLUMNS = (
    "title", "item", "movie", "film", "book", "book title", "movie title", "product", "song", "artist", "game", "anime", "recipe",
    "item id", "itemid", "movie id", "movieid", "film id", "isbn", "book id", "bookid", "product id", "productid", "asin",
    "artist id", "artistid", "song id", "anime id", "recipe id", "joke", "joke id", "business id",
)  # fmt: skip
RATING_COLUMNS = ("rating", "ratings", "book rating", "stars", "score", "overall", "preference")
LABELS = ("label", "class", "target", "y")
TWICE = 0.5  # of the rows; where a user has the same item again and again, they are no ratings


@dataclass(frozen=True)
class RatingColumns:
    """The columns of a table of ratings."""

    user: Any
    item: Any
    rating: Any


def rating_columns(frame: Any, target: Any = None) -> RatingColumns | None:
    """Return which columns of a table hold users, items and their ratings; `None` where it is no table of ratings.

    All three have names that say so, the ratings are numbers, users and items come more than once, hardly any pair does, and
    no column is called label or target.

    Args:
        frame: a DataFrame.
        target: the column that is to be predicted, where that was said; then the ratings are in it, or it is no such table.

    Example:
        >>> rating_columns(pd.DataFrame({"userId": [1, 1], "movieId": [7, 9], "rating": [4.0, 3.5]}))  # doctest: +SKIP
        RatingColumns(user='userId', item='movieId', rating='rating')
    """
    found = [_best(frame, known) for known in (USER_COLUMNS, ITEM_COLUMNS, RATING_COLUMNS)]
    if any(column is None for column in found) or len(set(found)) < 3:
        return None
    user, item, rating = found
    if target is not None and target != rating:
        return None
    if frame[rating].dtype.kind not in "iuf" or not len(frame):
        return None
    if any(rank(name, LABELS) < len(LABELS) for name in frame.columns):
        return None  # something else is to be predicted
    if frame[user].nunique() == len(frame) or frame[item].nunique() == len(frame):
        return None
    if frame.duplicated([user, item]).mean() > TWICE:
        return None
    return RatingColumns(user, item, rating)


def _best(frame: Any, known: tuple[str, ...]) -> Any:
    column = min(frame.columns, key=lambda name: rank(name, known), default=None)
    return column if column is not None and rank(column, known) < len(known) else None


def movielens(folder: Path, rows: int | None = None) -> Table | None:
    """Read the ratings in a folder as MovieLens has them, films by their titles; `None` where it holds none.

    Args:
        folder: with `u.data`, or with `ratings.csv`.
        rows: read so many alone, to tell whether it is one.

    Both forms: `u.data` and `u.item` of 1998, without headings; `ratings.csv` and `movies.csv` since.
    """
    import pandas as pd

    old, new = folder / "u.data", folder / "ratings.csv"
    if old.is_file():
        names = ["user", "movie", "rating"]
        code = f"pd.read_csv({str(old)!r}, sep='\\t', header=None, usecols=[0, 1, 2], names={names!r})"
        titles = folder / "u.item"
        read = f"pd.read_csv({str(titles)!r}, sep='|', header=None, usecols=[0, 1], names=['movie', 'title'], encoding='latin-1')"
    elif new.is_file():
        code, titles = f"pd.read_csv({str(new)!r})", folder / "movies.csv"
        read = f"pd.read_csv({str(titles)!r}, usecols=['movieId', 'title'])"
    else:
        return None
    notes = []
    if titles.is_file():
        code = f"{code}.merge({read})"
        notes.append(f"films have their titles from {titles.name!r}")
    try:
        read_csv = pd.read_csv if rows is None else partial(pd.read_csv, nrows=rows)
        frame = eval(code, {"pd": SimpleNamespace(read_csv=read_csv)})
    except (ValueError, OSError):  # other files of these names
        return None
    known = {"rating"} < set(frame.columns) if rows is not None else rating_columns(frame) is not None
    return Table(frame, code, notes) if known else None
