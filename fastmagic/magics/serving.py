"""The magic that makes a model an app: `%app`."""

from __future__ import annotations

from typing import Any

from .learning import _LearnerOrFile
from .magic import Call, Option, magic
from .values import Number, Value


@magic(
    Option("learn", "the Learner, or the file of one; default: the newest", _LearnerOrFile()),
    Option("--title", "above the panel; default: the bundle's", Value()),
    Option("--description", "below the title; default: the bundle's", Value()),
    Option("--allow-url", "visitors may give a picture's address; public ones only"),
    Option("--visitors", "how many at a time; default: 50", Number(minimum=1)),
    Option("--token", "what visitors must give: a word, or auto for one that is made up", Value()),
    Option("--public", "other machines reach it, too"),
    Option("--port", "default: a free one", Number(minimum=0)),
    Option("--stop", "end it"),
    examples="""
        %app learn --title "Bird or forest?"
        %app birds.fastmagic --public --token auto     # for everybody in this network who has the link
        %app --stop
    """,
    gives="served",
)
def app(call: Call) -> Any:
    """
    Serve a model as an app for people without Jupyter: upload, paste or photograph, and see what it decides.

    It runs beside this notebook and ends with its kernel; a second one takes its place. NAME holds it: `.address`, `.log`,
    `.stop()`. Without a notebook, in a terminal: fastmagic app birds.fastmagic
    """
    from ..serve import running

    options = call.options
    if options["stop"]:
        many = running.stop_all()
        print("The app has ended." if many else "No app runs here.")
        return None
    learn = call.input("learn", "Learner")
    given = {name: options[name] for name in ("title", "description", "visitors", "port") if options[name] is not None}
    if options["token"] is not None:
        given["token"] = "" if options["token"] == "auto" else options["token"]
    if options["public"]:
        given["host"] = "0.0.0.0"
    if options["allow_url"]:
        given["allow_url"] = True
    if options["code"]:
        from .learning import after_learner

        more = "".join(f", {name}={value!r}" for name, value in given.items())
        print(after_learner(call, learn, lambda name: f"import fastmagic\n\nserved = fastmagic.app({name}{more})"))
        return None
    running.stop_all()
    served = running.app(learn, **given)
    call.show(served)
    return served
