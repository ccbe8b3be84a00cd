"""Texts with a class, several, or a number each; or texts alone, for a language model: fastai's `TextBlock`, AWD-LSTM."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data.items import targets
from ..data.source import Source, Worked, random_split, refuse_untold, split_by
from ..data.tables import read_columns
from ..data.targets import Target, target_of
from ..data.texts import SUFFIXES, folder_table, sentence, text_columns, text_layout
from ..errors import AnswerError, RefusedError, did_you_mean, few
from ..render import Shown, html_table, text_table
from .kind import Asked, Kind, Learning, other_block, rebatched
from .rating import NAMES
from .table import OWN, is_category, y_range

if TYPE_CHECKING:
    from ..data.plan import Plan

TOKENS = "text"  # the column that fastai puts what it made of the texts into
# From scratch: measured on 10,605 sentences of film reviews. fastai's own network, of 23 million weights, tells no more of
# them than one of 0.8 million, and takes ten times as long; with less dropout it is surer of itself, and no better.
SMALL = {"emb_sz": 100, "n_hid": 200, "n_layers": 1}
SCRATCH_LR, SCRATCH_EPOCHS, MOST_EPOCHS, STEPS = 1e-2, 3, 30, 400
LR, EPOCHS = 1e-2, 4  # of pretrained weights, as fastai's own lessons have it
ARCHS = ("awd_lstm",)


class Text(Kind):
    """Texts."""

    name = "texts"
    module = "fastai.text.all"
    suffixes = SUFFIXES
    metrics = {"class": "accuracy", "classes": "accuracy_multi", "numbers": "mae"}  # noqa: RUF012
    lighter = "smaller batches of shorter texts: TextBlock.from_df(…, seq_len=36)"

    def recognises(self, source: Source, answered: Mapping[str, Any]) -> bool:
        if "blocks" in answered:
            return not other_block(answered, "TextBlock", "Tokenizer")
        if answered.keys() & {"get_items", "get_x", "getters", *OWN, *NAMES}:
            return False
        if source.is_table:
            if read_columns(source.value, source.folder or Path()).file is not None:  # with captions beside, say
                return False
            return text_columns(source.value, answered.get("target")) is not None
        return isinstance(source.value, Path) and source.value.is_dir() and text_layout(source.value) is not None

    def infer(self, source: Source, answered: Mapping[str, Any], seed: int | None, target: str | None) -> Worked | None:
        wanted = {"blocks", "splitter", "get_y", "get_x"} - set(answered)
        if "getters" in answered or not wanted or not (source.is_table or isinstance(source.value, Path)):
            return None
        said = ""
        if not source.is_table:
            if "get_items" in answered:  # the user's own way through a folder
                return None
            layout = text_layout(source.value)
            if layout is None:
                raise RefusedError(f"There are no texts (.txt) in '{source.value}'.", "A table of texts is a CSV file.")
            if "get_y" in answered:
                raise AnswerError(
                    "The texts of a folder become a table of texts and labels, and get_y (or label) is asked of files.",
                    "Put each class in a sub-folder, or make a table: pd.DataFrame({'text': texts, 'label': labels})",
                )
            frame, lines, said = folder_table(source.value, layout)
            source = Source(frame, lines, "df", source.value)
        frame = source.value
        given = _column_in(answered)
        found = text_columns(frame, target, given)
        if found is None:
            raise AnswerError(
                f"Which column holds the texts? The table has {few(frame.columns, 8)}.",
                "Name it: blocks = TextBlock.from_df('COLUMN'), CategoryBlock",
            )
        text, columns = found.text, found.columns
        self._refuse_empty(source, text)
        single = "blocks" in answered and len(_blocks(answered["blocks"].value)) == 1
        alone = columns.label is None or single
        if single:
            wanted -= {"get_y"}
        if alone and "get_y" in wanted and found.candidates:
            raise AnswerError(
                f"Column {text!r} holds texts. Which one is to be predicted of them? There are {few(found.candidates, 8)}.",
                f"Name it: `target={found.candidates[0]}`; or, for a language model, "
                f"blocks = TextBlock.from_df({text!r}, is_lm=True), get_x = ColReader({TOKENS!r}).",
            )
        if not alone and "get_y" in wanted:
            refuse_untold(source, columns.label)
        delimiter = columns.delimiter if "blocks" in wanted else None
        numbers = not alone and not delimiter and not is_category(frame[columns.label])
        other = "RegressionBlock" if numbers else "MultiCategoryBlock" if delimiter else "CategoryBlock"
        made = TOKENS if columns.label != TOKENS else "tokens"
        more = f", tok_text_col={made!r}" if made != TOKENS else ""
        answers = {
            "blocks": f"TextBlock.from_df({text!r}, is_lm=True)"
            if alone
            else f"TextBlock.from_df({text!r}{more}), {other}",
            "get_x": f"ColReader({made!r})",
            "splitter": random_split(seed) if not alone else random_split(seed).replace("0.2", "0.1"),
        }
        if not alone:
            label_delim = f", label_delim={delimiter!r}" if delimiter else ""
            answers["get_y"] = f"ColReader({columns.label!r}{label_delim})"
        if alone:
            said = said or f"column {text!r} holds texts and nothing says what they are"
            why = [f"{said}: a language model, which learns to go on writing"]
        else:
            what = "a number" if numbers else f"the classes, separated by {delimiter!r}" if delimiter else "the class"
            why = [said or f"column {text!r} holds the texts, column {columns.label!r} {what}"]
        if columns.split is not None and "splitter" in wanted:
            source, answers["splitter"], left_out = split_by(source, columns)
            if not said:
                why.append(f"column {columns.split!r} is the split{left_out}")
        unused = [name for name in found.unused if name != columns.label]
        if unused and not alone:
            why.append(f"not used: {few(map(repr, unused), 4)}")
        why += source.notes
        answers = {name: answer for name, answer in answers.items() if name in wanted}
        return Worked(answers, "; ".join(why), source)

    def _refuse_empty(self, source: Source, text: Any) -> None:
        frame = source.value
        empty = frame[text].isna() | (frame[text].astype(str).str.strip() == "")
        if not empty.any():
            return
        df = source.name
        rest = f"{df} = {df}[{df}[{text!r}].fillna('').str.strip() != '']"
        rows = [str(row) for row in frame.index[empty]]
        raise RefusedError(
            f"{int(empty.sum()):,} of {len(frame):,} rows have no text in {text!r}: row {few(rows, 4)}.",
            f"Leave them out, and take `datablock({df})`:\n" + "\n".join([*source.lines, rest]),
        )

    def data(self, plan: Plan) -> Any:
        data = super().data(plan)
        if plan.source.is_table and len(data.train) and not len(data.tls[0].tfms.fs[-1].vocab):
            raise RefusedError(
                "No word comes three times in these texts: there is nothing to learn from.", "More texts."
            )
        return data

    def holds(self, dls: Any) -> bool:
        lists: Any = getattr(getattr(dls.train, "dataset", None), "tls", None) or [getattr(dls.train, "dataset", None)]
        steps = getattr(getattr(lists[0], "tfms", None), "fs", ())
        return any(type(step).__name__ == "Numericalize" for step in steps)

    def column(self, dls: Any) -> Any:
        """Return the column of a table that the texts were read from, `None` where there is none."""
        lists = getattr(dls.train.dataset, "tls", None) or [dls.train.dataset]
        return next((_one(step.text_cols) for step in lists[0].tfms.fs if hasattr(step, "text_cols")), None)

    def writes(self, dls: Any) -> bool:
        """Tell whether a model of these data goes on writing: a language model."""
        return type(dls.train).__name__ == "LMDataLoader"

    def grid(self, dls: Any, n: int) -> Shown | None:
        dataset = dls.train.dataset
        n = min(n, len(dataset))
        if n < 1:
            return None
        rows = []
        for i in range(n):
            tokens = dataset.tls[0]
            row = [sentence(str(tokens.decode(tokens[i])))]
            if len(dataset.tls) > 1:
                label = dataset.tls[1].decode(dataset.tls[1][i])
                row.append("; ".join(map(str, label)) if isinstance(label, (list, tuple)) else str(label))
            rows.append(row)
        names = ["text", "label"][: len(rows[0])]
        cut = [[row[0][:300] + ("…" if len(row[0]) > 300 else ""), *row[1:]] for row in rows]
        return Shown(html_table(names, cut, wide=[0]), text_table(names, [[row[0][:80], *row[1:]] for row in cut]))

    def learning(self, dls: Any, asked: Asked) -> Learning:
        if asked.weights is not None:
            raise AnswerError(
                "A file of weights is for images here.", "After training: `learn.load_encoder(FILE)`, and fit again."
            )
        if asked.arch is not None and str(getattr(asked.arch, "__name__", asked.arch)).lower() not in ARCHS:
            raise AnswerError(
                f"{asked.arch} is no model of texts; fastai's is AWD_LSTM.",
                did_you_mean(str(asked.arch), ARCHS) or "Leave it out: `train(dls)`",
            )
        if len(dls.train.dataset) == 0:
            raise RefusedError("The training set is empty.", "`check(dls)` tells why.")
        if asked.recipe == "head_first":
            raise AnswerError("That recipe is for images; texts are fine-tuned as fastai does.", "Leave `recipe` out.")
        import pandas as pd

        writes = self.writes(dls)
        bs = asked.bs or dls.train.bs
        count = len(dls.train) * dls.train.bs // bs
        if count == 0:
            raise RefusedError(
                f"{len(dls.train.dataset):,} training texts do not fill one batch of {bs}: nothing would be trained.",
                f"Take a smaller batch: `bs={max(1, min(8, len(dls.train.dataset)))}`",
            )
        found = None if not asked.pretrained else weights(asked.offline)
        notes, arguments = [], ["dls", "AWD_LSTM"]
        if asked.pretrained and found is None:
            notes.append(
                "The weights of AWD_LSTM are not on this machine, and their host does not answer (on Kaggle: Settings > Internet)."
                if not asked.offline
                else "The weights of AWD_LSTM are not on this machine."
            )
        if found is None:
            settings = ", ".join(f"{name}={value}" for name, value in SMALL.items())
            configuration = "awd_lstm_lm_config" if writes else "awd_lstm_clas_config"
            arguments += [
                "pretrained=False",
                f"config=dict({configuration}, {settings})",
                f"drop_mult={0.3 if writes else 1.0}",
            ]
            epochs = max(SCRATCH_EPOCHS, min(MOST_EPOCHS, math.ceil(STEPS / count)))
            notes.append(
                f"No pretrained weights: {epochs if asked.epochs is None else asked.epochs} epochs of a small network."
            )
        else:
            arguments.append(f"drop_mult={0.3 if writes else 0.5}")
            epochs = EPOCHS
        target = Target("words", []) if writes else target_of(dls)
        if target.kind == "numbers":
            values = pd.Series([float(value) for value in targets(dls.train.dataset)])
            if values.nunique() > 1:
                low, high = y_range(values)
                arguments.append(f"y_range=({low}, {high})")
                notes.append(f"Answers stay between {low} and {high}, a little beyond the training texts (y_range).")
        scratch = found is None
        return Learning(
            name="AWD_LSTM",
            target=target,
            learner=("language_model_learner" if writes else "text_classifier_learner", arguments),
            metrics="[accuracy, Perplexity()]" if writes else "",
            bs=bs,
            epochs=epochs if asked.epochs is None else asked.epochs,
            recipe="one_cycle" if scratch else "fine_tune",
            freeze_epochs=0 if scratch else 1 if asked.freeze_epochs is None else asked.freeze_epochs,
            lr=SCRATCH_LR if scratch else LR,
            data=rebatched(dls, asked.bs, bs, plain=True),
            notes=notes,
        )


def weights(offline: bool) -> Path | str | None:
    """Return where the weights of fastai's language model of Wikipedia are or come from; `None` where they cannot be had."""
    from fastai.data.external import URLs, fastai_path

    from ..learning.at_hand import reachable

    folder = Path(fastai_path("model")) / Path(URLs.WT103_FWD).stem
    if any(folder.glob("*.pth")) and any(folder.glob("*.pkl")):
        return folder
    return URLs.WT103_FWD if not offline and reachable(URLs.WT103_FWD) else None


def _blocks(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) or type(value).__name__ == "L" else [value]


def _column_in(answered: Mapping[str, Any]) -> Any:
    """Return the column that an answered TextBlock reads, `None` where that is not told."""
    if "blocks" not in answered:
        return None
    first = _blocks(answered["blocks"].value)[0]
    return _one(getattr(next(iter(getattr(first, "type_tfms", None) or ()), None), "text_cols", None))


def _one(columns: Any) -> Any:
    """Return the only one of some columns, `None` where there are none or several."""
    named = [columns] if isinstance(columns, str) else list(columns or [])
    return named[0] if len(named) == 1 else None
