"""The magic of the dataset cleaner: `%clean`."""

from __future__ import annotations

from typing import Any

from ..errors import AnswerError
from ..render import short_path
from .learning import _progress
from .magic import Call, Option, magic
from .values import Choice, FileName, Number, Place


class _Data(Place):
    """What can be cleaned: data, or a learner with its data."""

    metavar = "DATA"
    type_names = (*Place.type_names, "Learner", "Results", "MaskResults")


@magic(
    Option("what", "a Learner, DataLoaders, a folder, a CSV file or a DataFrame; default: the newest of the first two",
           _Data()),
    Option("--split", "of a Learner: predict this set only (default: both)", Choice("train", "valid")),
    Option("--path", "the folder that the file names of a table are relative to", FileName()),
    Option("--to", "write the corrected table to this file", FileName()),
    Option("--status", "say what is decided, and when"),
    Option("--undo", "take back the last N decisions", Number(int, minimum=1)),
    Option("--redo", "decide again what was taken back, N times", Number(int, minimum=1)),
    Option("--export", "write what is decided to this CSV file", FileName()),
    Option("--replay", "decide here what such a file says of another copy of the data", FileName()),
    Option("--apply", "carry out the decisions: move files, or write a corrected table"),
    Option("--revert", "bring back the files that the last --apply moved"),
    examples="""
        %clean                            # the newest Learner, else the newest DataLoaders
        %clean learn
        %clean bird_or_not                # a folder: no model needed
        %clean labels.csv --to labels_clean.csv
        %clean bird_or_not --status
        %clean --undo 2
        %clean --export decisions.csv     # on another copy: %clean FOLDER --replay decisions.csv
        %clean --apply                    # %clean --revert brings the files back
        %clean --code                     # plain Python that does what --apply does
    """,
    gives="cleaner",
)  # fmt: skip
def clean(call: Call) -> Any:
    """
    Look through a data set and decide: relabel, set aside, keep. Nothing is moved before you say so.

    Queues show what deserves a look: likely wrong labels, highest losses, copies, odd ones, bad pictures. Every decision
    is on the disk at once, in .fastmagic/decisions.jsonl beside the data. NAME holds the panel: .queue('label'),
    .decisions, .apply(), .dls.
    """
    from ..learning.curation import curate
    from ..panels import cleaner as panel

    options = call.options
    if options["what"] is None and call.session.newest("Learner", "DataLoaders") is None:
        raise AnswerError(
            "What should be cleaned?", "Name a folder, a CSV file, DataLoaders or a Learner: %clean FOLDER"
        )
    what = call.input("what", "Learner", "DataLoaders")
    tasks = [
        name for name in ("status", "undo", "redo", "export", "replay", "apply", "revert", "code") if options[name]
    ]
    if len(tasks) > 1:
        raise AnswerError(f"--{tasks[0]} and --{tasks[1]} are two things.", "Do one after the other.")
    title = call.words["what"] if isinstance(what, str) else ""
    if tasks:
        found = curate(what, path=options["path"], to=options["to"], predict=False)
        _TASKS[tasks[0]](call, found)
        return None
    progress, done = _progress(call)
    try:
        found = curate(what, options["split"], path=options["path"], to=options["to"], progress=progress)
    finally:
        done()
    shown = panel.Cleaner(found, title.rstrip("/").rpartition("/")[2])
    shown.on_cleaned = lambda dls: _bind(call, dls)
    call.show(shown)
    return shown


def _bind(call: Call, dls: Any) -> str:
    """Give the user the cleaned data, under the name that the data had."""
    word = call.words.get("what", "")
    name = word if word.isidentifier() and call.session.holds(word, ["DataLoaders"]) else "dls"
    call.session.bind(name, dls)
    return name


def _status(call: Call, found: Any) -> None:
    counts, journal = found.counts(), found.journal
    words = (("relabel", "to relabel"), ("aside", "to set aside"), ("keep", "kept"))
    said = [f"{counts[action]:,} {word}" for action, word in words if counts[action]]
    print(f"{len(found):,} items: {', '.join(said) or 'nothing is decided'}.")
    batches = journal.batches
    if batches:
        print(f"Noted in {short_path(journal.file)}:")
    for batch in batches[-6:]:
        when = batch.time[:16].replace("T", " ")
        print(f"  {when}  {batch}{' (taken back)' if batch.undone else ''}{f', in {batch.by}' if batch.by else ''}")
    if len(batches) > 6:
        print(f"  … and {len(batches) - 6:,} before")
    if found.cleaning.reverts:
        print(f"The last --apply moved {found.cleaning.reverts:,} files; --revert brings them back.")


def _again(name: str) -> Any:
    def run(call: Call, found: Any) -> None:
        for _ in range(call.options[name]):
            said, _changed = getattr(found, name)()
            print(said)
            if said.startswith("There is nothing"):
                break
        _status(call, found)

    return run


def _export(call: Call, found: Any) -> None:
    count = found.journal.export(call.options["export"])
    print(f"Wrote {count:,} decisions to {call.options['export']}.")


def _replay(call: Call, found: Any) -> None:
    done = found.journal.replay(call.options["replay"])
    print(f"{done.noted:,} decisions are new here.")
    for names, said in (
        (done.elsewhere, "lie at another place here and were found by their content"),
        (done.changed, "hold something else here: nothing was noted about them"),
        (done.missing, "are not here"),
    ):
        if names:
            print(f"{len(names):,} {said}: {', '.join(names[:5])}{' …' if len(names) > 5 else ''}")


def _apply(call: Call, found: Any) -> None:
    from ..panels.cleaner import carry_out

    said, train = carry_out(found, lambda dls: _bind(call, dls))
    print("\n".join(said))
    if train:
        print(f"Next: {train}")


def _revert(call: Call, found: Any) -> None:
    from ..panels.cleaner import bring_back

    print(bring_back(found, lambda dls: _bind(call, dls)))


def _code(call: Call, found: Any) -> None:
    word = call.words["what"]
    print(found.cleaning.code(word if word.isidentifier() else "dls"))


_TASKS = {
    "status": _status, "undo": _again("undo"), "redo": _again("redo"), "export": _export, "replay": _replay,
    "apply": _apply, "revert": _revert, "code": _code,
}  # fmt: skip
