"""A learner of tables in words, and back: its columns, what fills, sorts and scales them, and fastai's `TabularModel`."""

from __future__ import annotations

import warnings
from typing import Any

from ..errors import RefusedError
from ..kinds.table import without_fastais_own_warnings
from . import parts
from .parts import Words, plain, wrong

MOST_COLUMNS = 10_000
PROCS = ("Categorify", "FillMissing", "Normalize")


def said_of(learn: Any) -> Words:
    """Return model, columns and procs of a learner of a table in words.

    Raises:
        FastmagicError: something of it has none; it is named.
    """
    table = learn.dls.train_ds
    return {
        "model": _model_in_words(learn.model),
        "columns": {name: [_label(one) for one in getattr(table, name)] for name in ("cat_names", "cont_names", "y_names")},
        "procs": _procs_in_words(table),
    }  # fmt: skip


def _label(value: Any) -> Any:
    found = value.item() if hasattr(value, "item") else value
    if isinstance(found, (str, int, float, bool)):
        return found
    raise RefusedError(
        f"A column or category is a {type(value).__name__}, which a bundle has no words for.", "Make it text."
    )


def _model_in_words(model: Any) -> Words:
    from fastai.tabular.model import TabularModel

    if type(model) is not TabularModel:
        raise RefusedError(
            f"The model is a {type(model).__name__} of your own, which a bundle has no words for.",
            "Models of `train` and `tabular_learner` can travel; yours can by `learn.export('export.pkl')`, to where its code is.",
        )
    return {
        "library": "fastai",
        "name": "tabular_learner",
        "embeds": [[embed.num_embeddings, embed.embedding_dim] for embed in model.embeds],
        "dropout": float(model.emb_drop.p),
        "bn_cont": model.bn_cont is not None,
        "conts": int(model.n_cont),
        "head": parts.layers_in_words(model.layers),
    }


def _procs_in_words(table: Any) -> list[Any]:
    from fastai.data.transforms import Categorize, Normalize, RegressionSetup
    from fastai.tabular.core import Categorify, FillMissing

    found: list[Any] = []
    for proc in table.procs.fs:
        if type(proc) is Categorify:
            classes = [[_label(name), [_label(one) for one in items.items]] for name, items in proc.classes.items()]
            found.append(["Categorify", {"classes": classes}])
        elif type(proc) is FillMissing:
            fills = [[_label(name), plain(_label(value))] for name, value in proc.na_dict.items()]
            found.append(["FillMissing", {"fills": fills, "add_col": bool(proc.add_col)}])
        elif type(proc) is Normalize:
            scales = [[_label(name), float(proc.means[name]), float(proc.stds[name])] for name in proc.means]
            found.append(["Normalize", {"scales": scales}])
        elif not isinstance(proc, (Categorize, RegressionSetup)):
            raise RefusedError(
                f"procs has {parts.name_of(proc)}, which a bundle has no words for.",
                "Give only Categorify, FillMissing and Normalize, and train again; or take `learn.export('export.pkl')`.",
            )
    return found


# ---------------------------------------------------------------- back again


def model_of(words: Words, weights: dict[str, Any]) -> Any:
    """Make the untrained model of words.

    Raises:
        FastmagicError: they make no sense, or do not fit the weights.
    """
    import torch
    from fastai.tabular.model import TabularModel
    from torch import nn

    embeds, conts, dropout, batch_norm = (words.get(key) for key in ("embeds", "conts", "dropout", "bn_cont"))
    if not isinstance(embeds, list) or len(embeds) > MOST_COLUMNS or not all(map(_is_shape, embeds)):
        raise wrong("its embeddings make no sense")
    if type(conts) is not int or not 0 <= conts <= MOST_COLUMNS or not isinstance(batch_norm, bool):
        raise wrong("its numbers of columns make no sense")
    if not isinstance(dropout, (int, float)) or isinstance(dropout, bool) or not 0 <= dropout <= 1:
        raise wrong("its dropout makes no sense")

    def make() -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of layers without inputs, which are replaced at once
            made = TabularModel([], conts, 1, [], embed_p=float(dropout), bn_cont=batch_norm and conts > 0)
        made.embeds = nn.ModuleList(nn.Embedding(count, width) for count, width in embeds)
        made.n_emb = sum(width for _, width in embeds)
        if batch_norm and not conts:  # fastai makes one of no columns, which has nothing to say
            made.bn_cont = nn.BatchNorm1d(0)
        made.layers = parts.layers(words.get("head"))
        return made

    with torch.device("meta"):  # takes no memory, however large its parts claim to be
        claimed = {key: value.shape for key, value in make().state_dict().items()}
    if {key: value.shape for key, value in weights.items()} != claimed:
        raise wrong("its weights do not fit its layers")
    return make()


def _is_shape(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(type(n) is int and 1 <= n <= 10_000_000 for n in value)


def loaders(said: Words, target: Words) -> Any:
    """Return `DataLoaders` without rows that prepare a table as the model wants it.

    Raises:
        FastmagicError: the words make no sense.
    """
    import pandas as pd
    from fastai.data.transforms import Categorize, RegressionSetup
    from fastai.tabular.core import TabDataLoader, TabularPandas
    from fastai.tabular.data import TabularDataLoaders
    from fastai.torch_core import default_device
    from torch import Tensor

    columns = said.get("columns")
    if not isinstance(columns, dict) or not all(
        _are_labels(columns.get(key)) for key in ("cat_names", "cont_names", "y_names")
    ):
        raise wrong("its columns are no lists of names")
    cats, conts, ys = (list(columns[key]) for key in ("cat_names", "cont_names", "y_names"))
    kind, classes = target.get("kind"), target.get("classes")
    if kind == "class" and isinstance(classes, list) and _are_labels(classes) and len(ys) == 1:
        answer: Any = Categorize(vocab=classes, sort=False)
        answer.c = len(classes)
    elif kind == "numbers" and ys:
        answer = RegressionSetup(c=len(ys))
    else:
        raise wrong("what it answers is not known")
    procs = [*_procs(said.get("procs"), cats, conts), answer]
    empty = pd.DataFrame({name: pd.Series(dtype="float32") for name in [*cats, *conts, *ys]})
    table = TabularPandas(empty, procs, cats, conts, ys, do_setup=False, reduce_memory=False, device=default_device())
    loader = TabDataLoader(table, bs=64, num_workers=0, device=default_device())
    loader._n_inp, loader._types = 2, {tuple: [Tensor, Tensor, Tensor]}  # what a pass over a batch would have told it
    return TabularDataLoaders(loader, loader, device=default_device())


def _are_labels(value: Any) -> bool:
    known = isinstance(value, list) and all(isinstance(one, (str, int, float)) for one in value)
    return known and len(set(map(repr, value))) == len(value)


def _procs(words: Any, cats: list[Any], conts: list[Any]) -> list[Any]:
    from collections import defaultdict

    from fastai.data.transforms import CategoryMap, Normalize
    from fastai.tabular.core import Categorify, FillMissing

    if not isinstance(words, list) or not all(
        isinstance(one, list) and len(one) == 2 and one[0] in PROCS and isinstance(one[1], dict) for one in words
    ):
        raise wrong("its procs are not those that are known")
    made: list[Any] = []
    for name, given in words:
        if name == "Categorify":
            pairs = _pairs(given.get("classes"), 2, cats)
            if not all(_are_labels(items) for items in pairs.values()) or set(pairs) != set(cats):
                raise wrong("its categories are no lists")
            proc: Any = Categorify()
            proc.classes = {column: CategoryMap(items, sort=False) for column, items in pairs.items()}
        elif name == "FillMissing":
            fills = _pairs(given.get("fills"), 2, conts)
            if not all(map(parts.is_number, fills.values())):
                raise wrong("what it fills gaps with are no numbers")
            proc = FillMissing(add_col=given.get("add_col") is True, fill_vals=defaultdict(int))
            proc.na_dict = fills
        else:
            scales = _pairs(given.get("scales"), 3, conts)
            if not all(parts.is_number(mean) and parts.is_number(std) and std for mean, std in scales.values()):
                raise wrong("its scales are no numbers")
            proc = Normalize()
            proc.means = {column: mean for column, (mean, _) in scales.items()}
            proc.stds = {column: std for column, (_, std) in scales.items()}
        made.append(proc)
    return made


def _pairs(value: Any, width: int, known: list[Any]) -> dict[Any, Any]:
    """Return a list of [column, value] or [column, value, value] as a dict, of columns that are known."""
    fine = isinstance(value, list) and all(isinstance(one, list) and len(one) == width for one in value)
    if not fine or not all(isinstance(one[0], (str, int, float)) and one[0] in known for one in value):
        raise wrong("a column of its procs is none of its columns")
    return {one[0]: one[1] if width == 2 else tuple(one[1:]) for one in value}


# ---------------------------------------------------------------- answers


def rows_of(learn: Any, most: int) -> Any:
    """Return rows of the validation set as they came, as a DataFrame."""
    table = learn.dls.loaders[-1].dataset
    if not len(table):
        return None
    part = table.new(table.items.iloc[:most].copy())
    return part.decode().items[[name for name in table.x_names if not _is_added(table, name)]]


def _is_added(table: Any, name: Any) -> bool:
    """Whether `FillMissing` has added a column, which no row brings."""
    return isinstance(name, str) and name.endswith("_na") and name.removesuffix("_na") in list(table.cont_names)


def answers(learn: Any, rows: Any) -> list[list[float]]:
    """Return what a model answers to rows: a list of probabilities, or numbers, for each."""
    import pandas as pd

    from ..learning.forward import run_loader, undisturbed

    with undisturbed(learn), without_fastais_own_warnings():
        loader = learn.dls.test_dl(rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(rows), num_workers=0)
        found = run_loader(learn, loader).activations
    return [[float(value) for value in row] for row in found]


def example_of(learn: Any) -> Words | None:
    """Return a row of the validation set, by column; `None` where there is none."""
    rows = rows_of(learn, 1)
    if rows is None:
        return None
    return {str(name): None if value != value else plain(_label(value)) for name, value in rows.iloc[0].items()}
