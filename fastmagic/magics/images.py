"""The magic that gathers photos: `%images`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..errors import AnswerError
from .magic import Call, Option, magic
from .session import Session
from .values import Choice, FileName, Number, Value, is_reference, paths


class _Class(Value):
    """The name of a class, `name="one search; another"`, or `$variable` with names."""

    metavar = "CLASS"

    def parse(self, text: str, session: Session) -> Any:
        if is_reference(text):
            value = session.value(text[1:])
            if isinstance(value, (str, list, tuple, dict)):
                return value
            raise AnswerError(f"{text[1:]!r} is a {type(value).__name__}; names of classes are needed.")
        name, equals, queries = text.partition("=")
        if not equals:
            return text
        queries = queries.strip("\"'")
        if not name.strip() or not queries.strip():
            raise AnswerError(f"{text!r} is half a search.", 'Write bird="bird photo; bird sun photo".')
        return {name.strip(): queries}

    def complete(self, prefix: str, session: Session) -> Iterable[str]:
        return [f"${name}" for name in session.variables("list", "dict")] if prefix.startswith("$") else ()


class _Engine(Value):
    """One or several search services, separated by commas."""

    metavar = "NAME,…"

    def complete(self, prefix: str, session: Session) -> Iterable[str]:
        from ..data.gather.search import engines

        before, comma, _ = prefix.rpartition(",")
        return [before + comma + name for name in engines()]


class _Words(Value):
    metavar = "WORDS"


class _Fallback(FileName):
    metavar = "FOLDER|digits"

    def complete(self, prefix: str, session: Session) -> Iterable[str]:
        return ["digits", *paths(prefix)]


@magic(
    Option(
        "classes",
        'names of classes to search for; with searches of your own: bird="robin photo; owl photo"',
        _Class(),
        many=True,
    ),
    Option("--n", "photos of each class (default: 200 from a search, all with --from)", Number(int, minimum=1)),
    Option("--to", "the folder (default: named after the classes, as bird_or_forest)", FileName()),
    Option("--suffix", "a word added to each class's name for the search (default: photo)", _Words()),
    Option(
        "--from", "search nothing: a file of addresses, a CSV (url,label), a folder, or a manifest.jsonl", FileName()
    ),
    Option("--engine", "search services, in order (default: all, one after another until there are enough)", _Engine()),
    Option(
        "--license",
        "open: only public domain, CC0, CC BY and CC BY-SA, as a search or a manifest says, with credits (default: any)",
        Choice("any", "open"),
    ),
    Option("--max-size", "px of the longer side of a stored photo (default: 400)", Number(int, minimum=16)),
    Option(
        "--keep-duplicates",
        "keep photos that show the same as another, and those that two classes find (else in neither)",
    ),
    Option("--fallback", "a folder to go on with where no photo can be had, or digits", _Fallback()),
    examples="""
        %images bird forest                                # 200 photos of each, in bird_or_forest
        %images bird forest --n 100 --to bird_or_not
        %images bird="bird photo; bird sun photo" forest
        %images robin wren --license open                  # freely licensed only, with CREDITS.md
        %images robin --engine inaturalist,commons
        %images bird --from urls.txt
        %images --from bird_or_not/manifest.jsonl --to again
    """,
    gives="path",
)
def images(call: Call) -> Any:
    """
    Search for photos of each class and make a folder of them, one sub-folder a class.

    Each photo is checked, turned upright, made small and kept once. manifest.jsonl says where each
    came from and what became of it; rejected ones lie in .fastmagic/quarantine. Nothing is fetched
    twice: run the line again to go on, or with a larger --n for more.
    """
    from ..data.gather.images import images as gather

    options, settings = call.options, call.session.settings
    if options["code"]:
        print(_code(call))
        return None
    return gather(
        *options["classes"],
        n=options["n"],
        to=options["to"],
        suffix="photo" if options["suffix"] is None else options["suffix"],
        source=options["from"],
        engine=options["engine"],
        license=options["license"] or "any",
        max_size=options["max_size"] or 400,
        keep_duplicates=options["keep_duplicates"],
        proxy=settings.proxy or None,
        ca_bundle=settings.ca_bundle or None,
        fallback=options["fallback"],
        update=_live(call),
    )


def _live(call: Call) -> Any:
    """Return a function that fills one display below the cell; in a terminal it prints what came of it, at the end."""
    return call.redraw() if call.has_front_end else lambda progress: None if progress.running else print(progress)


def _code(call: Call) -> str:
    """Return the lesson's own program: search with ddgs, then fastai's download, verify and resize."""
    from ..data.gather.images import searches
    from ..data.gather.sources import code_of, folder_of

    options = call.options
    if options["from"]:
        return code_of(
            options["from"],
            list(searches(options["classes"], "")),
            options["n"],
            options["max_size"] or 400,
            options["to"],
        )
    wanted = searches(options["classes"], "photo" if options["suffix"] is None else options["suffix"])
    folder = options["to"] or folder_of(wanted)
    listed = ",\n".join(f"    {label!r}: {[query for query, _ in queries]!r}" for label, queries in wanted.items())
    return f"""from ddgs import DDGS
from fastai.vision.all import *

searches = {{
{listed},
}}
path = Path({str(folder)!r})
for label, queries in searches.items():
    dest = path/label
    dest.mkdir(exist_ok=True, parents=True)
    for query in queries:
        found = DDGS().images(query, max_results={options["n"] or 200} // len(queries))
        download_images(dest, urls=L(found).itemgot('image'))
    resize_images(dest, max_size={options["max_size"] or 400}, dest=dest)
failed = verify_images(get_image_files(path))
failed.map(Path.unlink)"""
