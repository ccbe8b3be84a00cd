"""The magic for a model that travels: `%export`."""

from __future__ import annotations

import os
from typing import Any

from ..errors import AnswerError
from .learning import after_learner
from .magic import Call, Option, magic
from .session import Session
from .values import FileName, Value, Variable


class _NewFile(FileName):
    metavar = "FILE"

    def accepts(self, text: str, session: Session) -> bool:
        return "." in text or os.sep in text


@magic(
    Option("learn", "the Learner; default: the newest", Variable("Learner")),
    Option("file", "the file to write; .fastmagic is added to a name without a suffix", _NewFile()),
    Option("--title", "of its model card; default: what it tells apart", Value()),
    Option("--description", "of its model card: what it is for, and what not", Value()),
    Option("--no-example", "put no picture or row of the validation set inside"),
    Option("--onnx", "put it inside as model.onnx too, for where there is no PyTorch; compared with the learner"),
    Option("--check", "load it in a fresh process, and compare what it answers there"),
    examples="""
        %export learn birds.fastmagic
        %export learn birds --title "Bird or forest" --check
        %predict photo.jpg --learn birds.fastmagic      # anywhere, also from a stranger: it runs no code
        learn = fastmagic.load('birds.fastmagic')       # in Python
    """,
)
def export(call: Call) -> Any:
    """
    Write a model to a file that can be passed on: weights, words, a model card and an example, and no code.

    Whoever loads it runs nothing that its maker wrote, as fastai's own export.pkl does. What a bundle has no words for (a
    layer, transform or loss of your own) is refused by its name. Models of pictures and of tables, so far.
    """
    options = call.options
    learn = call.input("learn", "Learner")
    file = options["file"]
    if file is None:
        raise AnswerError("Where to?", "Name the file: %export learn birds.fastmagic")
    if options["code"]:
        from .. import program

        plain = os.path.splitext(file)[0] + ".pkl"
        said = f"# fastai's own form is a pickle, into learn.path; a bundle is fastmagic.export(learn, {file!r})"
        print(after_learner(call, learn, lambda name: f"{program.IMPORT}\n\n{said}\n{name}.export({plain!r})"))
        return None
    from ..bundles.learner import export as write

    given = {name: options[name] for name in ("title", "description") if options[name]}
    made = write(learn, file, example=not options["no_example"], onnx=options["onnx"], **given)
    call.show(made)
    if options["check"]:
        from ..bundles.check import check

        print(check(learn, made.file))
    return None
