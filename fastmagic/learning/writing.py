"""What a language model writes after a beginning."""

from __future__ import annotations

import os
from typing import Any

from ..data.texts import sentence
from ..errors import AnswerError
from ..render import Displayed, Shown, escape
from .forward import undisturbed

WORDS, TEMPERATURE = 40, 0.75  # that are written; below 1, likely words are taken more often than they are likely


class Continuation(Displayed):
    """A text and how a model went on with it.

    Attributes:
        beginning: what it was given.
        text: all of it, the beginning as the model reads it.
    """

    def __init__(self, beginning: str, text: str):
        self.beginning, self.text = beginning, text

    def __repr__(self) -> str:
        return self.text

    def forms(self) -> dict[str, Any]:
        return Shown(
            f'<p style="max-width:60ch">{escape(self.text)}</p><p class="dim">after “{escape(self.beginning)}”; another one each time</p>',
            repr(self),
        ).forms()


def continued(learn: Any, beginning: Any, words: int = WORDS) -> Continuation:
    """Return what a language model writes after a beginning: another text each time, whatever the seed of a training is.

    Raises:
        FastmagicError: there is no beginning, or it is no text.
    """
    import torch

    if not isinstance(beginning, str) or not beginning.strip():
        raise AnswerError(
            "A language model goes on with one text.", "Give it a beginning: `predict('The film', learn)`"
        )
    with undisturbed(learn), learn.no_bar():
        torch.manual_seed(int.from_bytes(os.urandom(4), "little"))
        text = learn.predict(beginning, n_words=words, temperature=TEMPERATURE, no_bar=True)
    return Continuation(beginning, sentence(str(text)))


def continued_code(beginning: str, learn: str) -> str:
    """Return the plain fastai program that `continued` stands for, from Python expressions of both."""
    lines = ["from fastai.text.all import *", ""]
    if not learn.isidentifier():
        lines.append(f"learn = {learn}")
        learn = "learn"
    lines.append(f"text = {learn}.predict({beginning}, n_words={WORDS}, temperature={TEMPERATURE})")
    return "\n".join([*lines, "print(text)"])
