"""An app in a folder that runs elsewhere: model, notebook, pinned requirements, Dockerfile, the head of a Hugging Face Space.

Nothing is claimed that was not tried: `prove` installs the requirements into a fresh environment, starts the app there and has it
predict once.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import fastmagic

from ..bundles import archive
from ..errors import AnswerError, FastmagicError, RefusedError, unwritable
from .app import checked, installation
from .live import stop

PORT = 7860  # what a Space asks for
PATIENCE = 1800  # seconds for the installation; PyTorch alone is some hundred MB


def write(model: str | Path, folder: str | Path, **options: Any) -> Path:
    """Write an app into a folder.

    Args:
        model: a bundle.
        folder: where to; made if it is not there, and empty otherwise.
        options: of `app.serve`: `title`, `description`, `allow_url`, `visitors`, `preheat`, `theme`, `base_url`, `token`.

    Returns:
        The folder.

    Raises:
        FastmagicError: no bundle, a folder that holds something, or one that cannot be written.
    """
    installation()  # what is not here cannot be pinned
    file, place = checked(model), Path(folder).expanduser().absolute()
    if not archive.is_bundle(file):
        raise RefusedError(
            f"'{file.name}' is no bundle, and only those are written out so far.",
            "Export it first: fastmagic.export(learn, 'birds.fastmagic')",
        )
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise AnswerError(f"'{place}' is there already.", "Give the name of a new folder.")
    said = archive.description_of(archive.read(file, archive.DESCRIPTION)[archive.DESCRIPTION])
    title = str(options.get("title") or (said.get("card") or {}).get("title") or file.stem)
    words = ["fastmagic", "app", file.name, "--host", "0.0.0.0", "--port", str(PORT), "--no-open", *_options(options)]
    try:
        place.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place / file.name)
        wheel = _wheel(place)
        (place / "requirements.txt").write_text("\n".join([f"./{wheel.name}", *pinned(), ""]), encoding="utf-8")
        (place / "app.ipynb").write_text(_notebook(file.name, options), encoding="utf-8")
        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        (place / "Dockerfile").write_text(
            DOCKERFILE.format(python=python, port=PORT, command=json.dumps(words)), encoding="utf-8"
        )
        readme = README.format(title=json.dumps(title), heading=title, port=PORT, command=shlex.join(words))
        (place / "README.md").write_text(readme, encoding="utf-8")
    except OSError as error:
        raise unwritable(place, error) from error
    return place


def _options(options: dict[str, Any]) -> list[str]:
    words = []
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        if name == "token":  # a secret is no part of what is passed on: $FASTMAGIC_APP_TOKEN
            continue
        if value is True:
            words.append(flag)
        elif value not in (None, False, "") and (name, value) not in (("base_url", "/"), ("theme", "light")):
            words += [flag, str(value)]
    return words


def _notebook(model: str, options: dict[str, Any]) -> str:
    import nbformat

    given = {name: options[name] for name in ("title", "description") if options.get(name)}
    more = "".join(f", {name}={value!r}" for name, value in given.items())
    source = f"import fastmagic\n\nfastmagic.predictor({model!r}{more}, allow_url=None)"
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    cell = nbformat.v4.new_code_cell(source, id="panel")
    return str(nbformat.writes(nbformat.v4.new_notebook(cells=[cell], metadata={"kernelspec": kernel})))


def pinned() -> list[str]:
    """Return everything that an app needs, in the versions that are installed here."""
    from packaging.requirements import Requirement

    found: dict[str, str] = {}

    def walk(name: str, extras: Iterable[str]) -> None:
        name = re.sub(r"[-_.]+", "-", name).lower()
        try:
            package = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            return  # for another system, by a marker that cannot be asked from here
        new = name not in found
        found[name] = package.version.partition("+")[0]  # "+cpu" is a build's own, which no registry knows
        if not new and not extras:
            return
        for text in package.requires or []:
            needed = Requirement(text)
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras or [""]):
                walk(needed.name, needed.extras)

    for name, extras in (("fastmagic", ("app",)), ("voila", ()), ("ipykernel", ())):
        walk(name, extras)
    found.pop("fastmagic", None)
    return [f"{name}=={version}" for name, version in sorted(found.items())]


def _wheel(folder: Path) -> Path:
    """Write the fastmagic that runs here as a wheel: it may be newer than any registry's."""
    here = Path(fastmagic.__file__).parent
    info, tag = f"fastmagic-{fastmagic.__version__}.dist-info", "py3-none-any"
    parts = {
        f"fastmagic/{file.relative_to(here).as_posix()}": file.read_bytes()
        for file in sorted(here.rglob("*"))
        if file.is_file() and "__pycache__" not in file.parts
    }
    metadata = importlib.metadata.distribution("fastmagic").read_text("METADATA") or ""
    parts[f"{info}/METADATA"] = metadata.encode()
    parts[f"{info}/WHEEL"] = f"Wheel-Version: 1.0\nGenerator: fastmagic\nRoot-Is-Purelib: true\nTag: {tag}\n".encode()
    parts[f"{info}/entry_points.txt"] = b"[console_scripts]\nfastmagic = fastmagic.cli:main\n"
    record = []
    for name, data in parts.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        record.append(f"{name},sha256={digest},{len(data)}")
    parts[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""]).encode()
    made = folder / f"fastmagic-{fastmagic.__version__}-{tag}.whl"
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as out:
        for name, data in parts.items():
            out.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED)
    return made


# ---------------------------------------------------------------- the proof


def prove(folder: Path, say: Callable[[str], object] = print) -> str:
    """Install what a folder asks for into a fresh environment, start its app there and have it predict once.

    Args:
        folder: as `write` leaves it.
        say: is told each step.

    Returns:
        What the app answered to its model's own example, or that its page came where there is none.

    Raises:
        FastmagicError: a step failed; with its last words.
    """
    with tempfile.TemporaryDirectory(prefix="fastmagic-proof-") as kept:
        place = Path(shutil.copytree(folder, Path(kept) / "app"))
        environment = Path(kept) / "environment"
        # Nothing of this Python may be found there
        clean = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PYTHON", "JUPYTER", "VIRTUAL_ENV", "CONDA"))
        }
        began = time.monotonic()
        say("Installing its requirements into a fresh environment …")
        python = environment / "bin" / "python"
        uv = (
            [sys.executable, "-m", "uv"]
            if importlib.util.find_spec("uv")
            else [found]
            if (found := shutil.which("uv"))
            else []
        )
        if uv:
            _run([*uv, "venv", "--quiet", "--python", sys.executable, str(environment)], place, clean)
            _run([*uv, "pip", "install", "--quiet", "--python", str(python), "-r", "requirements.txt"], place, clean)
        else:
            _run([sys.executable, "-m", "venv", str(environment)], place, clean)
            _run([str(python), "-m", "pip", "install", "--quiet", "-r", "requirements.txt"], place, clean)
        say(f"Installed in {time.monotonic() - began:.0f} s. Starting it …")
        words = json.loads((place / "Dockerfile").read_text("utf8").rpartition("\nCMD ")[2])
        for name, value in (("--host", "127.0.0.1"), ("--port", "0")):
            words[words.index(name) + 1] = value
        return _predicted([str(environment / "bin" / words[0]), *words[1:]], place, clean)


def _run(command: list[str], place: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    if done.returncode:
        last = "\n".join((done.stderr or done.stdout).strip().splitlines()[-8:])
        raise FastmagicError(
            f"{Path(command[0]).name} {' '.join(command[1:4])} failed:\n{last}", "The folder stays as it is."
        )


def _predicted(command: list[str], place: Path, environment: dict[str, str]) -> str:
    log = place.parent / "app.log"
    with log.open("w") as out:
        process = subprocess.Popen(command, cwd=place, env=environment, stdout=out, stderr=subprocess.STDOUT)
    try:
        end = time.monotonic() + 300
        while not (found := re.search(r"^Serving .*: (http://\S+)", log.read_text(errors="replace"), re.M)):
            if process.poll() is not None or time.monotonic() > end:
                last = "\n".join(log.read_text(errors="replace").strip().splitlines()[-8:])
                raise FastmagicError(f"The app did not start:\n{last}", "The folder stays as it is.")
            time.sleep(0.1)
        return _visit(found[1])
    finally:
        stop(process)


def _visit(address: str) -> str:
    """Open an app's page as a browser would, and have its panel predict the example."""
    from jupyter_server.services.kernels.connection.base import deserialize_msg_from_ws_v1, serialize_msg_to_ws_v1
    from websockets.sync.client import connect
    from websockets.typing import Subprotocol

    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # it is on this machine
    with direct.open(address, timeout=120) as answer:
        page = answer.read().decode()
    kernel, model = (re.search(rf'"{name}": "([\w-]+)"', page) for name in ("kernelId", "model_id"))
    if kernel is None or model is None:
        raise FastmagicError("The app's page has no panel.", "Start it from the folder, and look at what it says.")
    channels = f"{address.replace('http', 'ws', 1)}api/kernels/{kernel[1]}/channels?session_id=proof"
    protocol = [Subprotocol("v1.kernel.websocket.jupyter.org")]
    parts = urllib.parse.urlsplit(address)
    line = socket.create_connection((parts.hostname, parts.port or 80), 120)  # itself, so that no proxy is asked
    with connect(channels, sock=line, subprotocols=protocol, max_size=None) as web:

        def ask(what: str, content: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
            header = {"msg_id": what, "msg_type": "comm_msg", "session": "proof", "username": "", "version": "5.3"}
            header["date"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            asked = {"method": "custom", "content": {"id": what, "ask": what, "content": content}}
            message = [header, {}, {}, {"comm_id": model[1], "data": asked}]
            web.send(serialize_msg_to_ws_v1([json.dumps(part).encode() for part in message], "shell"))
            events: list[dict[str, Any]] = []
            while True:
                _, (head, _, _, body, *_) = deserialize_msg_from_ws_v1(web.recv(timeout=120))
                told = json.loads(body).get("data", {}) if json.loads(head)["msg_type"] == "comm_msg" else {}
                if told.get("method") != "custom":
                    continue
                if told["content"].get("re") == what:
                    return told["content"], events
                events.append(told["content"])

        state, _ = ask("hello", {"host": "page"})
        if not state["answer"]["examples"]:
            return "its page and its panel came; there is no example to predict"
        reply, events = ask("example", {"index": 0})
        if "error" in reply:
            raise FastmagicError(f"The app did not predict its example: {reply['error']}")
        shown = next(event["content"]["shown"] for event in reversed(events) if "shown" in event.get("content", {}))
        return f"its example is: {shown['decision']}" + (
            f" ({shown['probability']:.1%})" if shown["probability"] else ""
        )


DOCKERFILE = """\
FROM python:{python}-slim
RUN useradd --create-home app
WORKDIR /home/app
COPY --chown=app . .
RUN pip install --no-cache-dir -r requirements.txt
USER app
EXPOSE {port}
HEALTHCHECK --start-period=120s CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:{port}/health')"]
CMD {command}
"""

README = """\
---
title: {title}
emoji: 🔮
colorFrom: blue
colorTo: indigo
sdk: docker
app_port: {port}
pinned: false
---

# {heading}

A fastai model as an app, written by `fastmagic app … --write`.

- **Anywhere**: `pip install -r requirements.txt`, in this folder, then `{command}`
- **Docker**: `docker build -t app . && docker run -p {port}:{port} app`
- **Hugging Face**: make a Space of the kind Docker and push this folder; the lines above tell it the rest.
- **A token**: set `FASTMAGIC_APP_TOKEN` (in a Space: a secret), and visitors are asked for it.
- **As a notebook**: `app.ipynb`, with the same panel.

Behind nginx, with the camera, which browsers give to https alone:

```nginx
location / {{
    proxy_pass http://127.0.0.1:{port};
    proxy_http_version 1.1;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection "upgrade";
    proxy_set_header Host $host;
    proxy_read_timeout 1h;
    client_max_body_size 1m;
}}
```
"""
