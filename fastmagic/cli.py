"""`fastmagic …` on the command line: `demo` runs the first lesson, `slides` presents a notebook, `cups serve` asks a class."""

from __future__ import annotations

import argparse
import os
import sys
import time
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import __version__
from .errors import AnswerError, FastmagicError, NotFoundError, RefusedError, did_you_mean

COMMANDS = ("demo", "slides", "app", "cups")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status.

    Example:
        $ fastmagic demo --no-open --output lesson.html
    """
    parser = argparse.ArgumentParser(prog="fastmagic", description="Jupyter magics that plug into fastai.")
    parser.add_argument("--version", action="version", version=f"fastmagic {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    demo_parser = commands.add_parser(
        "demo",
        help="run the first lesson on the embedded digits and show it as a page",
        description="Run the first lesson (data block, training, predictions) on scikit-learn's handwritten digits, "
        "with no internet, and write the executed notebook as one HTML file.",
    )
    demo_parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("fastmagic-demo.html"),
        help="the page to write (default: %(default)s)",
    )
    demo_parser.add_argument("--no-open", action="store_true", help="do not open the page in a browser")
    _add_slides(commands)
    _add_app(commands)
    _add_cups(commands)
    words = list(sys.argv[1:] if argv is None else argv)
    if words and not words[0].startswith("-") and words[0] not in COMMANDS:
        hint = did_you_mean(words[0], COMMANDS) or f"Commands: {', '.join(COMMANDS)}."
        print(f"fastmagic has no command {words[0]!r}. {hint}", file=sys.stderr)
        return 2
    arguments = parser.parse_args(words)
    if arguments.command is None:
        parser.print_help()
        return 0
    try:
        if arguments.command == "cups":
            _cups(arguments)
        elif arguments.command == "slides":
            _slides(arguments)
        elif arguments.command == "app":
            _app(arguments)
        else:
            demo(arguments.output, open_page=not arguments.no_open)
    except FastmagicError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _add_slides(commands: Any) -> None:
    slides = commands.add_parser(
        "slides",
        help="present a notebook as slides: live, or as one HTML file",
        description="Present a notebook as slides. Live: a Jupyter server of its own and RISE, whose cells run and whose "
        "panels work. With --static: one HTML file of what the notebook was saved with, which opens without internet.",
    )
    slides.add_argument("notebook", type=Path)
    how = slides.add_mutually_exclusive_group()
    how.add_argument("--lab", action="store_true", help="live by jupyterlab-rise, in JupyterLab's looks")
    how.add_argument("--static", action="store_true", help="write NOTEBOOK.slides.html, and start nothing")
    how.add_argument(
        "--propose", action="store_true", help="propose what begins a slide, and save that in the notebook's cells"
    )
    slides.add_argument("-o", "--output", type=Path, help="of --static: the file to write")
    slides.add_argument(
        "--theme", choices=("light", "dark"), default="light", help="of --static (default: %(default)s)"
    )
    slides.add_argument("--no-notes", action="store_true", help="of --static: leave the speaker's notes out")
    slides.add_argument(
        "--live",
        nargs="?",
        const="",
        metavar="MODEL",
        help="of --static, after NOTEBOOK: the page predicts by itself, in the browser, with this bundle of pictures (default: "
        "the one that the notebook exports)",
    )
    slides.add_argument("--port", type=int, default=0, help="of the server (default: a free one)")
    slides.add_argument("--no-open", action="store_true", help="do not open a browser")


def _slides(arguments: argparse.Namespace) -> None:
    from .serve import deck, live, written

    opens = not arguments.no_open and _has_browser()
    if arguments.live is not None and not arguments.static:
        raise AnswerError("--live is for pages without a kernel.", "Add --static, or leave it out.")
    if arguments.propose:
        notebook = deck.read(arguments.notebook)
        if not notebook.cells:
            raise FastmagicError(f"'{arguments.notebook}' has no cells.", "Write some, and save it.")
        if deck.is_deck(notebook):
            raise RefusedError(
                f"'{arguments.notebook}' says already what begins a slide.",
                f"Change it in a notebook: %slides {arguments.notebook}",
            )
        deck.set_types(notebook, deck.proposed(notebook))
        deck.write(notebook, arguments.notebook)
        _say(deck.outline(notebook))
        _say(f"Saved in {arguments.notebook}. Show it with: fastmagic slides {arguments.notebook}")
    elif arguments.static:
        made = written.write(
            arguments.notebook,
            arguments.output,
            theme=arguments.theme,
            notes=not arguments.no_notes,
            live=arguments.live,
        )
        for remark in made.remarks:
            _say(remark)
        size = made.file.stat().st_size / 1e6
        _say(
            f"Written: {made.file} ({deck.counted(made.slides)}, {size:.1f} MB). O shows all slides, S the notes, ?print-pdf prints."
        )
        if opens:
            webbrowser.open(made.file.resolve().as_uri())
    else:
        if arguments.output:
            raise AnswerError("--output names the file of --static.", "Add --static, or leave it out.")
        live.present(
            arguments.notebook,
            lab=arguments.lab,
            port=arguments.port,
            show=webbrowser.open if opens else None,
            say=_say,
        )


def _add_app(commands: Any) -> None:
    app = commands.add_parser(
        "app",
        help="serve a model, or a notebook, as an app to people without Jupyter",
        description="Serve a model's predictor panel, or a notebook, by Voila. The model is loaded once, and each visitor "
        "has a small kernel; what a visitor gives is bounded, and no code is shown.",
    )
    app.add_argument("target", metavar="MODEL|NOTEBOOK", help="birds.fastmagic, export.pkl, or app.ipynb")
    app.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 for others too (default: %(default)s)"
    )
    app.add_argument("--port", type=int, default=8866, help="0 for a free one (default: %(default)s)")
    app.add_argument("--base-url", default="/", metavar="PATH", help="the path before its addresses, behind a proxy")
    app.add_argument(
        "--token",
        nargs="?",
        const="",
        default=os.environ.get("FASTMAGIC_APP_TOKEN"),
        help="what visitors must give; without a word one is made up (default: $FASTMAGIC_APP_TOKEN, or none)",
    )
    app.add_argument("--visitors", type=int, help="how many at a time (default: 50; of a notebook 10)")
    app.add_argument("--preheat", type=int, help="kernels begun before visitors come (default: 2; of a notebook 1)")
    app.add_argument("--theme", choices=("light", "dark"), default="light", help="(default: %(default)s)")
    app.add_argument("--title", default="", help="of a model: above the panel (default: the bundle's)")
    app.add_argument("--description", default="", help="of a model: below the title (default: the bundle's)")
    app.add_argument(
        "--examples", nargs="*", metavar="FILE", help='of a model: offered as "Try one" (default: the bundle\'s)'
    )
    app.add_argument(
        "--allow-url", action="store_true", help="of a model: visitors may give a picture's address; public ones only"
    )
    app.add_argument("--no-open", action="store_true", help="do not open a browser")
    app.add_argument(
        "--write",
        type=Path,
        metavar="DIR",
        help="of a bundle: write what runs elsewhere (pinned requirements, Dockerfile, the head of a Hugging Face Space), "
        "try it in a fresh environment, and serve nothing",
    )
    app.add_argument("--no-proof", action="store_true", help="of --write: do not try it")


def _app(arguments: argparse.Namespace) -> None:
    own = ("command", "target", "no_open", "write", "no_proof")
    options = {key: value for key, value in vars(arguments).items() if key not in own}
    if arguments.write:
        from .serve import deploy

        if arguments.examples is not None:
            raise AnswerError(
                "--examples are files of this machine, and --write takes none.", "The bundle brings its own."
            )
        for name in ("host", "port", "examples"):  # of the machine that it comes to
            del options[name]
        folder = deploy.write(arguments.target, arguments.write, **options)
        _say(f"Written: {folder}: {', '.join(sorted(file.name for file in folder.iterdir()))}")
        if not arguments.no_proof:
            _say(f"It works: {deploy.prove(folder, _say)}.")
        return
    from .serve.app import serve

    opens = not arguments.no_open and _has_browser()
    serve(arguments.target, **options, show=webbrowser.open if opens else None, say=_say)


def _add_cups(commands: Any) -> None:
    key = os.environ.get("FASTMAGIC_CUPS_KEY")
    cups = commands.add_parser(
        "cups",
        help="coloured cups: how is the class doing?",
        description="Green fine, yellow not sure, red lost: students tap a cup on their phones, the teacher sees the class.",
    )
    verbs = cups.add_subparsers(dest="verb", metavar="{serve,room}", required=True)
    serve = verbs.add_parser(
        "serve",
        help="serve rooms to phones and to the teacher's board",
        description="Serve rooms of cups: students open /ROOM on their phones, the teacher's board is /ROOM/teacher.",
    )
    serve.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on; 0.0.0.0 so that phones reach it (default: %(default)s)",
    )
    serve.add_argument("--port", type=int, default=8765, help="0 for a free one (default: %(default)s)")
    serve.add_argument(
        "--store", help="the file that keeps the rooms (default: in your data folder), or redis://HOST:6379"
    )
    serve.add_argument("--workers", type=int, default=1, help="processes, which share rooms through Redis (default: 1)")
    serve.add_argument("--key", default=key, help="whoever makes a room must give it (default: $FASTMAGIC_CUPS_KEY)")
    serve.add_argument(
        "--newcomers",
        type=int,
        default=150,
        help="how many may join a room from one network at once; then two a second (default: %(default)s)",
    )
    serve.add_argument(
        "--proxies",
        default="127.0.0.1",
        help="addresses of proxies whose X-Forwarded-For is believed, with commas (default: %(default)s)",
    )
    serve.add_argument(
        "--idle", type=float, default=0, help="end after that many seconds without anybody (default: never)"
    )
    serve.add_argument(
        "--public", metavar="URL", help="the address by which people reach it, behind a proxy or in a container"
    )
    room = verbs.add_parser("room", help="make a room", description="Make a room and print its links and QR code.")
    room.add_argument("name", nargs="?", help="small letters, digits and hyphens (default: one is made up)")
    room.add_argument("--server", default="http://127.0.0.1:8765/", help="where it is made (default: %(default)s)")
    room.add_argument("--key", default=key, help="what the server wants (default: $FASTMAGIC_CUPS_KEY)")


def _cups(arguments: argparse.Namespace) -> None:
    if arguments.verb == "serve":
        from .classroom.serve import serve

        serve(
            arguments.host,
            arguments.port,
            arguments.store,
            key=arguments.key,
            newcomers=arguments.newcomers,
            proxies=arguments.proxies,
            public=arguments.public,
            idle=arguments.idle,
            workers=arguments.workers,
            say=_say,
        )
        return
    import segno

    from .classroom.client import make_room

    lesson = make_room(arguments.server, arguments.name, arguments.key)
    reach = lesson.look()["reach"]
    link = f"{reach}{lesson.room}/" if reach else lesson.link
    _say(f"Students: {link}")
    _say(f"Board:    {lesson.board}   (yours alone: whoever has it is the teacher)")
    if sys.stdout.isatty():
        segno.make(link, error="m").terminal(compact=True)


def _say(line: str) -> None:
    print(line, flush=True)


def demo(output: Path, open_page: bool = True) -> Path:
    """Execute the first lesson in a kernel of this environment and write it as one self-contained HTML file.

    Args:
        output: the file to write.
        open_page: show it in a browser, where there is one.

    Returns:
        The path written.

    Raises:
        FastmagicError: Jupyter's parts are missing, a cell failed, or the file cannot be written.
    """
    try:
        import nbformat
        from nbclient import NotebookClient
        from nbclient.exceptions import CellExecutionError
        from nbconvert import HTMLExporter
    except ImportError as error:
        raise FastmagicError(
            f"The demo needs {error.name}.", "Install it with: pip install 'fastmagic[demo]'"
        ) from error
    output = output.expanduser()
    if output.is_dir():
        raise AnswerError(
            f"{str(output)!r} is a folder.", f"Name a file in it: --output {output / 'fastmagic-demo.html'}"
        )
    if not output.parent.is_dir():
        raise NotFoundError(
            f"There is no folder {str(output.parent)!r} to write to.", "Choose another place with --output."
        )
    started = time.perf_counter()
    notebook = nbformat.read(lesson(), as_version=4)
    code_cells = sum(cell.cell_type == "code" for cell in notebook.cells)
    print(
        f"Running the first lesson on 1,797 handwritten digits ({code_cells} cells, about a minute) …",
        flush=True,
    )

    done = 0

    def tell(cell: object, cell_index: int) -> None:
        nonlocal done
        if notebook.cells[cell_index].cell_type == "code":
            done += 1
            first = next(
                (line for line in notebook.cells[cell_index].source.splitlines() if line and line[0] != "#"),
                "",
            )
            print(f"  {done}/{code_cells}  {first[:70]}", flush=True)

    # The kernel must be this very interpreter, whatever kernels the machine has registered.
    manager = _kernel_of_this_python()
    client = NotebookClient(
        notebook,
        km=manager,
        timeout=600,
        on_cell_start=tell,
        resources={"metadata": {"path": str(Path.cwd())}},
    )
    try:
        client.execute()
    except CellExecutionError as error:
        last = str(error).strip().splitlines()
        raise FastmagicError(
            f"A cell of the lesson failed: {last[-1] if last else error}",
            "Please report it with the output of: pip list",
        ) from error
    exporter = HTMLExporter(embed_images=True)
    # nbconvert's templates load MathJax, RequireJS and live widgets from the internet; the lesson needs none of them.
    notebook.metadata.pop("widgets", None)
    exporter.mathjax_url = exporter.require_js_url = ""
    page, _ = exporter.from_notebook_node(notebook)
    output.write_text(page, encoding="utf-8")
    print(f"Done in {time.perf_counter() - started:.0f} s: {output.resolve()}")
    if open_page and _has_browser():
        webbrowser.open(output.resolve().as_uri())
    return output


def lesson() -> Path:
    """Return the first lesson's notebook: the installed copy, or the one of a checkout."""
    here = Path(__file__).parent
    for folder in (here / "notebooks", here.parent / "notebooks"):
        if (folder / "01_first_model.ipynb").is_file():
            return folder / "01_first_model.ipynb"
    raise FastmagicError(
        "The lesson notebook is missing from this installation.",
        "Reinstall: pip install --force-reinstall fastmagic",
    )


def _kernel_of_this_python() -> Any:
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    manager = AsyncKernelManager()
    # Only errors: ipykernel warns at every start that a kernel on this machine talks to it unencrypted.
    command = [sys.executable, "-Xfrozen_modules=off", "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    command.append("--log-level=ERROR")
    manager._kernel_spec = KernelSpec(argv=command, display_name="Python 3", language="python")
    return manager


def _has_browser() -> bool:
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False
    try:
        webbrowser.get()
    except webbrowser.Error:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
