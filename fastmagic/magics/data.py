"""The magics about data: `%datablock` and `%check`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import AnswerError, NotFoundError, did_you_mean
from .magic import Call, Option, magic
from .session import is_a
from .values import NewName, Number, Place, Value, how_to_make


class _DlsName(NewName):
    """The name that a data block gets: any name, not only one that is taken."""

    def complete(self, prefix: str, session: Any) -> list[str]:
        return session.variables("DataLoaders")


class _Source(Place):
    type_names = ("str", "PurePath", "DataFrame", "list", "L")

    def complete(self, prefix: str, session: Any) -> list[str]:
        return [*super().complete(prefix, session), "digits"]


@magic(
    Option("dls", "name of the DataLoaders made (default: dls)", _DlsName()),
    Option(
        "--from",
        "a folder of photos (or of images and masks, or of recordings), a table (CSV file or DataFrame) of files or of rows, or digits; default: the newest path",
        _Source(),
    ),
    Option("--target", "the column of a table that is to be predicted; default: told by its name", Value()),
    Option("--label", "a regular expression that finds the class in a file's name: its (group)", Value()),
    Option("--bs", "batch size; default: worked out from the number of items", Number(int, minimum=1)),
    Option("--show", "how many items to show (default: 6; 0 for none)", Number(int, minimum=0)),
    Option("--seed", "seed of the split that is worked out (default: 42)", Number(int)),
    Option("--explain", "walk one item through every step, with pictures and shapes; build nothing"),
    Option("--item", "the item that --explain walks: a number or part of its name (default: 0)", Value()),
    examples="""
        %datablock dls --from bird_or_not           # works the five questions out
        %datablock dls --from labels.csv --bs 32
        %datablock dls --from adult.csv --target salary
        %datablock dls --from camvid_small          # images/, labels/ and codes.txt
        %datablock dls --from ml-100k               # ratings: columns of users, items and ratings
        %datablock dls --from spoken_digits --label '^([^_]+)_'   # recordings, the class in their names
        %datablock dls --from digits --explain
        %%datablock dls --from bird_or_not --bs 64
        blocks    = ImageBlock, CategoryBlock
        get_items = get_image_files
        splitter  = RandomSplitter(0.2, seed=42)
        get_y     = parent_label
        item_tfms = Resize(192, method='squish')
    """,
    gives="dls",
    body=True,
    elsewhere={
        "--size": "Write item_tfms = Resize(64) in the body of a %%datablock cell.",
        "--path": "The source is --from PATH.",
        "--source": "The source is --from PATH.",
        "--valid-pct": "Write splitter = RandomSplitter(0.2, seed=42) in the body of a %%datablock cell.",
        "--batch-size": "It is called --bs.",
        **{
            f"--{name.replace('_', '-')}": f"Write {name} = … in the body of a %%datablock cell."
            for name in ("blocks", "get_items", "get_x", "get_y", "splitter", "item_tfms", "batch_tfms", "num_workers")
        },
    },
)
def datablock(call: Call) -> Any:
    """
    Make fastai DataLoaders from five answers: one assignment a line, under DataBlock's own names.

    What is left out is worked out from the source and said aloud. Your own functions and variables
    work in the answers; names assigned there stay there.
    """
    from ..data import describe
    from ..data.datablock import plan
    from ..data.explain import walk
    from ..data.listing import list_dls

    settings = call.session.settings
    options = call.options
    if options["explain"] and options["from"] is None and call.body is None:
        made = _plan_of_newest(call)
        if made is not None:
            call.show(walk(made, options["item"]))
            return None
    source = options["from"]
    if source is None:
        source = _newest_source(call)
    # %datablock NAME is the name to bind, as --into is.
    call.options["into"] = options.get("into") or options["dls"] or "dls"
    planned = plan(
        source,
        body=call.body,
        namespace=call.session.namespace,
        given={"bs": options["bs"]} if options["bs"] else None,
        seed=options["seed"] if options["seed"] is not None else settings.seed,
        first_line=2,
        source_name=call.words.get("from", "") if call.words.get("from", "").isidentifier() else "",
        target=options["target"],
        label=options["label"],
    )
    if options["code"]:
        print(planned.code_for(call.options["into"]))
        return None
    if options["explain"]:
        call.show(walk(planned, options["item"]))
        return None
    dls = planned.build()
    _tell_worked_out(planned, call)
    listing = list_dls(dls)
    call.show(describe.summary(listing))
    wanted = options["show"] if options["show"] is not None else settings.show
    items = planned.kind.grid(dls, wanted) if wanted else None
    if items is not None:
        call.show(items)
    _warn(call, listing)
    return dls


def _plan_of_newest(call: Call) -> Any:
    """Return the plan of the `DataLoaders` named, or of the newest; `None` where fastmagic did not make them."""
    from ..data.plan import plan_of

    name = call.options["dls"]
    if name in call.session.variables("DataLoaders"):
        return plan_of(call.session.value(name))
    newest = call.session.newest("DataLoaders")
    return plan_of(newest[1]) if newest and name is None else None


def _newest_source(call: Call) -> Any:
    newest = call.session.newest("PurePath")
    if newest is None:
        raise AnswerError("Which data? No source was given.", "Write --from FOLDER, or --from digits to try it.")
    call.words["from"] = newest[0]
    print(f"From {newest[0]} = {newest[1]}")
    return newest[1]


def _tell_worked_out(planned: Any, call: Call) -> None:
    if planned.worked:
        why = f" ({planned.why})" if planned.why else ""
        print(f"Worked out{why}:")
        print(planned.cell() if call.body is None else planned.cell(planned.worked))


def _warn(call: Call, listing: Any) -> None:
    """Say at once what the fast checks find; nothing where all is well."""
    from ..data.check import check_listing

    report = check_listing(listing, fast=True)
    if len(report):
        report.words = call.said
        print(report)


@magic(
    Option("what", "a folder, CSV file, DataFrame or DataLoaders; default: the newest DataLoaders", Place()),
    Option("--fast", "only what needs no picture opened: labels, splits, empty files"),
    Option("--fix", "move unreadable files and second copies to quarantine (nothing is deleted)"),
    Option("--undo", "bring back what the last --fix moved"),
    Option("--path", "the folder that the file names of a table begin in (default: its own)", Place()),
    examples="""
        %check                       # the newest DataLoaders
        %check bird_or_not           # a folder
        %check dls --fix
        %check dls --undo
    """,
    gives="report",
)
def check(call: Call) -> Any:
    """
    Find what will go wrong in training, and how to mend it.

    Looks for missing, unreadable and duplicate pictures (also across the split), labels that make no
    sense, and splits that cannot be trusted. --fix sets files aside; --undo brings them back.
    """
    from ..data.check import check as run_check
    from ..data.source import beside

    what = call.options["what"]
    if what is None:
        newest = call.session.newest("DataLoaders") or call.session.newest("PurePath")
        if newest is None:
            raise AnswerError("What should be checked? There are no DataLoaders yet.", "Name a folder: %check FOLDER")
        call.words["what"], what = newest
    if isinstance(what, str) and what.isidentifier() and what != "digits" and not Path(what).exists():
        have = call.session.variables(*Place.type_names)
        near = did_you_mean(
            what, [*have, *(entry.name for entry in Path().iterdir() if not entry.name.startswith("."))]
        )
        raise NotFoundError(
            f"There is no variable, folder or CSV file {what!r}.",
            near or (how_to_make("DataLoaders") if what.startswith("dl") else beside(Path(what))),
        )
    if call.options["code"]:
        print(_check_code(call, what))
        return None
    options = call.options
    report = run_check(what, fast=options["fast"], fix=options["fix"], undo=options["undo"], path=options["path"])
    report.words = call.said
    call.show(report)
    return report


def _check_code(call: Call, what: Any) -> str:
    """Return the program that opens every file: all that fastai itself checks."""
    from .. import program
    from ..data.reading import read_table
    from ..data.tables import is_table_name, read_columns

    folder = Path(call.options["path"]).expanduser() if call.options["path"] is not None else None
    word = call.words.get("what", "dls").removeprefix("$")
    name, names, lines = word.rpartition(".")[2], {}, []
    if is_a(what, ["DataLoaders"]):
        names, files = {name: what}, f"[file for loader in {name}.loaders for file in loader.items]"
        table = getattr(what.train_ds, "items", None)
        if hasattr(table, "iloc"):
            files = f"[file for loader in {name}.loaders for file in {_files_of(read_columns(table, Path()), 'loader.items')}]"
    elif is_a(what, ["DataFrame"]):
        names, files = {name: what}, _files_of(read_columns(what, folder or Path()), name)
    elif is_table_name(str(what)):
        place = Path(str(what)).expanduser()
        table = read_table(place)
        lines, files = [f"df = {table.code}"], _files_of(read_columns(table.frame, folder or place.parent), "df")
    else:
        files = f"get_image_files({str(what)!r})"
    text = [program.IMPORT, "", *lines, f"files = {files}", "failed = verify_images(files)", "print(failed)"]
    return program.preceded("\n".join(text), names, call.session.namespace)


def _files_of(columns: Any, table: str) -> str:
    if columns.file is None:
        raise NotFoundError("No column of this table names files, so there is nothing to open.", "")
    return f"[Path(f{columns.prefix + '{name}' + columns.suffix!r}) for name in {table}[{columns.file!r}]]"
