"""What a model of ratings recommends: the items a user would rate highest, and the items most like one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import AnswerError, NotFoundError, RefusedError, closest, number
from ..render import Displayed, Shown, escape, html_table, text_table
from .forward import undisturbed

MOST = 10


class Recommendations(Displayed):
    """Items in an order, the best first.

    Attributes:
        frame: one row an item: its name, and `rating` (as predicted) or `similarity` (cosine, −1 to 1).
        label: the first item.
        title: what they are, in words.
        note: what was left out, "" where nothing was.
    """

    def __init__(self, frame: Any, title: str, note: str, span: tuple[float, float]):
        self.frame, self.title, self.note = frame, title, note
        self.label = frame.iloc[0, 0] if len(frame) else None
        self._span = span

    def __len__(self) -> int:
        return len(self.frame)

    def __repr__(self) -> str:
        name, value = self.frame.columns
        rows = [[str(row[0]), f"{row[1]:.2f}"] for row in self.frame.itertuples(index=False)]
        return "\n".join([self.title, text_table([str(name), str(value)], rows), *filter(None, [self.note])])

    def forms(self) -> dict[str, Any]:
        name, value = self.frame.columns
        low, high = self._span
        rows = [
            [
                escape(row[0]),
                f'<span style="display:inline-block;width:9em"><span class="bar" '
                f'style="width:{100 * min(1, max(0, (row[1] - low) / (high - low))):.0f}%;min-width:1px"></span></span>',
                f"{row[1]:.2f}",
            ]
            for row in self.frame.itertuples(index=False)
        ]
        note = f'<p class="dim">{escape(self.note)}</p>' if self.note else ""
        table = html_table([str(name), "", str(value)], rows, raw=[0, 1], wide=[0])
        return Shown(f"<p><b>{escape(self.title)}</b></p>{table}{note}", repr(self)).forms()


def recommendations(learn: Any, given: Mapping[Any, Any], top: int = MOST) -> Recommendations | None:
    """Return what is recommended to a user, or what is like an item; `None` where both are given, which is one rating.

    Args:
        learn: a learner of ratings.
        given: a row: the user alone (the items they have not rated, by the rating that is predicted), or the item alone (the
            others by the likeness of what was learned of them).
        top: how many.

    Raises:
        FastmagicError: neither is given, or the model does not know it; names the closest that it knows.
    """
    user, item = names_of(learn)
    has = [name in given for name in (user, item)]
    if all(has):
        return None
    if not any(has):
        raise AnswerError(
            f"For whom, or what is like what? The model knows {user!r} and {item!r}.",
            f"For instance `predict({{{user!r}: {plain(known(learn, user)[0])!r}}}, learn)`",
        )
    return _for_user(learn, given[user], top) if has[0] else _like(learn, given[item], top)


def names_of(learn: Any) -> tuple[Any, Any]:
    """Return the names of the columns of users and items."""
    user, item = list(learn.dls.train.dataset.cat_names)[:2]
    return user, item


def known(learn: Any, column: Any) -> list[Any]:
    """Return the users, or the items, that a model has learned of."""
    return [one for one in learn.dls.classes[column] if one != "#na#"]


def code_of(learn: Any, column: Any, value: Any) -> int:
    """Return the place of a user or item in the model, whether it is given as text or as a number.

    Raises:
        NotFoundError: the model has learned nothing of it.
    """
    classes = list(learn.dls.classes[column])
    places = {str(one): place for place, one in enumerate(classes) if one != "#na#"}
    text = str(value).strip()
    if text not in places and text.endswith(".0") and text[:-2] in places:
        text = text[:-2]
    if text in places:
        return places[text]
    near = closest(text, list(places), 3) or [name for name in places if text.lower() in name.lower()][:3]
    hint = (
        f"Did you mean {' or '.join(map(repr, near))}?"
        if near
        else f"It knows {len(places):,}, such as {next(iter(places))!r}."
    )
    raise NotFoundError(f"The model has learned nothing of {column} {text!r}.", hint)


def _for_user(learn: Any, value: Any, top: int) -> Recommendations:
    import pandas as pd
    import torch

    user, item = names_of(learn)
    place = code_of(learn, user, value)
    classes = list(learn.dls.classes[item])
    rated = _rated_by(learn, place)
    left = [code for code, name in enumerate(classes) if name != "#na#" and code not in rated]
    if not left:
        raise RefusedError(f"{user} {value} has rated every item.", "")
    with undisturbed(learn):
        device = next(learn.model.parameters()).device
        rows = torch.tensor([[place, code] for code in left], device=device)
        scores = (
            learn.model(rows) if not _is_net(learn) else learn.model(rows, torch.zeros(len(rows), 0, device=device))
        )
        values = scores.float().reshape(-1).cpu().numpy()
    best = values.argsort()[::-1][:top]
    frame = pd.DataFrame({item: [classes[left[i]] for i in best], "rating": values[best]})
    note = f"{number(len(rated), 'item')} that they have rated left out" if rated else ""
    if not any(len(loader.dataset) for loader in learn.dls.loaders):
        note = "what they have rated is not known here, and may be among these"
    low, high = getattr(learn.model, "y_range", None) or (float(values.min()) - 1e-6, float(values.max()) + 1e-6)
    return Recommendations(
        frame, f"What {user} {classes_name(learn, user, place)} would rate highest", note, (low, high)
    )


def _like(learn: Any, value: Any, top: int) -> Recommendations:
    import pandas as pd
    import torch

    item = names_of(learn)[1]
    place = code_of(learn, item, value)
    weight = learn.model.embeds[1].weight if _is_net(learn) else learn.model.i_weight.weight
    vectors = torch.nn.functional.normalize(weight.detach().float().cpu(), dim=1)
    likeness = (vectors @ vectors[place]).numpy()
    classes = list(learn.dls.classes[item])
    order = [i for i in likeness.argsort()[::-1] if i != place and classes[i] != "#na#"][:top]
    frame = pd.DataFrame({item: [classes[i] for i in order], "similarity": likeness[order]})
    return Recommendations(frame, f"Most like {classes[place]}, by who rates it how", "", (0.0, 1.0))


def classes_name(learn: Any, column: Any, place: int) -> Any:
    return learn.dls.classes[column][place]


def plain(value: Any) -> Any:
    """Return a value as Python has it."""
    return value.item() if hasattr(value, "item") else value


def recommend_code(learn: Any, given: Mapping[Any, Any], learn_expr: str, table: str | None, top: int = MOST) -> str:
    """Return the plain fastai program that `recommendations` stands for, or a rating where user and item are given.

    Args:
        learn: a learner of ratings.
        given: user, item, or both, as typed.
        learn_expr: a Python expression for the learner.
        table: the variable that holds all ratings; `None` where there is none.
        top: how many.
    """
    user, item = names_of(learn)
    names = {
        name: plain(classes_name(learn, name, code_of(learn, name, given[name])))
        for name in (user, item)
        if name in given
    }
    lines = ["from fastai.vision.all import *", ""]
    if len(names) == 2:  # not by `get_preds`, at which a dot product of one row breaks
        return "\n".join(
            [
                *lines,
                f"users, items = (list({learn_expr}.dls.classes[name]) for name in {[user, item]!r})",
                f"row = tensor([[users.index({names[user]!r}), items.index({names[item]!r})]]).to({learn_expr}.dls.device)",
                f"{learn_expr}.model.eval()",
                f"rating = {learn_expr}.model(row).item()",
                "print(rating)",
            ]
        )
    if item in names:
        weight = "embeds[1]" if _is_net(learn) else "i_weight"
        return "\n".join(
            [
                *lines,
                f"names = list({learn_expr}.dls.classes[{item!r}])",
                f"vectors = F.normalize({learn_expr}.model.{weight}.weight.detach().cpu(), dim=1)",
                f"likeness = pd.Series((vectors @ vectors[names.index({names[item]!r})]).tolist(), names)",
                f"found = likeness.drop(['#na#', {names[item]!r}]).nlargest({top})",
                "print(found)",
            ]
        )
    rated = f"set({table}.loc[{table}[{user!r}] == {names[user]!r}, {item!r}])" if table else "set()"
    return "\n".join(
        [
            *lines,
            f"rated = {rated}",
            f"left = [one for one in {learn_expr}.dls.classes[{item!r}] if one != '#na#' and one not in rated]",
            f"users, items = (list({learn_expr}.dls.classes[name]) for name in {[user, item]!r})",
            f"rows = tensor([[users.index({names[user]!r}), items.index(one)] for one in left]).to({learn_expr}.dls.device)",
            f"{learn_expr}.model.eval()",
            "with torch.no_grad():",
            f"    ratings = {learn_expr}.model(rows).reshape(-1).tolist()",
            f"found = pd.DataFrame({{{item!r}: left, 'rating': ratings}}).nlargest({top}, 'rating')",
            "print(found)",
        ]
    )


def _is_net(learn: Any) -> bool:
    return hasattr(learn.model, "embeds")


def _rated_by(learn: Any, place: int) -> set[int]:
    """Return the places of the items that a user has rated, in training and validation."""
    user, item = names_of(learn)
    found: set[int] = set()
    for loader in learn.dls.loaders:
        rows = loader.dataset.items
        if len(rows):
            found |= {int(code) for code in rows.loc[rows[user] == place, item]}
    return found - {0}
