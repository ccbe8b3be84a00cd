"""A model that predicts inside a written page: its ONNX file, ONNX Runtime Web, and the predictor panel, which asks nobody else."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import re
import shlex
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from ..data.digits import cache_folder
from ..data.opening import no_such_file
from ..errors import AnswerError, FastmagicError, NotFoundError, RefusedError
from . import deck

# ONNX Runtime Web, MIT licence, from the npm registry: of its 130 MB, the one build that needs WebAssembly alone.
RUNTIME, VERSION = "onnxruntime-web", "1.30.0"
INTEGRITY = "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
CODE, WASM = "package/dist/ort.wasm.bundle.min.mjs", "package/dist/ort-wasm-simd-threaded.wasm"
KNOWN = ("Resize", "CropPad", "ToTensor")  # as in live.js
MOST = 100_000_000  # bytes of a model
PANEL = re.compile(r'data-fastmagic-panel="([0-9a-f]+)" data-fastmagic-module="predictor"')


def runtime() -> tuple[bytes, bytes]:
    """Return ONNX Runtime Web's code and its WebAssembly, fetched by npm the first time and kept in the user's cache.

    Raises:
        FastmagicError: npm is missing or failed, or gave something else.
    """
    kept = cache_folder() / f"{RUNTIME}-{VERSION}.tgz"
    if not (kept.is_file() and _is_it(kept.read_bytes())):
        _fetch(kept)
    with tarfile.open(fileobj=io.BytesIO(kept.read_bytes())) as packed:
        code, wasm = (packed.extractfile(name) for name in (CODE, WASM))
        assert code is not None
        assert wasm is not None
        return code.read(), wasm.read()


def _is_it(data: bytes) -> bool:
    return f"sha512-{base64.b64encode(hashlib.sha512(data).digest()).decode()}" == INTEGRITY


def _fetch(to: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise FastmagicError(
            f"A model in a page needs {RUNTIME}, which npm fetches, once; npm is not there.",
            f"Install Node.js (nodejs.org), or put {to.name} of the npm registry into {to.parent}.",
        )
    with tempfile.TemporaryDirectory() as folder:
        try:
            command = [npm, "pack", f"{RUNTIME}@{VERSION}", "--silent", "--pack-destination", folder]
            done = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=folder)
        except subprocess.TimeoutExpired:
            raise FastmagicError(f"npm did not fetch {RUNTIME} within ten minutes.", "Try it again.") from None
        found = Path(folder) / to.name
        if not found.is_file():
            said = "\n".join((done.stderr or done.stdout).strip().splitlines()[-3:])
            raise FastmagicError(
                f"npm could not fetch {RUNTIME}:\n{said}", f"Try it by hand: npm pack {RUNTIME}@{VERSION}"
            )
        if not _is_it(found.read_bytes()):
            raise FastmagicError(
                f"What npm fetched is not {RUNTIME} {VERSION} as it was published.", "Look at npm's settings."
            )
        to.parent.mkdir(parents=True, exist_ok=True)
        part = to.with_name(f"{to.name}.{Path(folder).name}")
        shutil.copyfile(found, part)
        part.replace(to)


def model_of(notebook: Any, notebook_file: Path) -> Path:
    """Return the bundle that a notebook's last `%export` wrote, where it is there.

    Raises:
        FastmagicError: there is none; says how to name one.
    """
    lines = [line for cell in notebook.cells if cell.cell_type == "code" for line in cell.source.splitlines()]
    for line in reversed(lines):
        if not (found := re.match(r"\s*%export\s+(.*)", line)):
            continue
        try:
            words = [word for word in shlex.split(found[1], comments=True) if not word.startswith("-")]
        except ValueError:  # a quote that is not closed
            continue
        named = next((word for word in words if "." in word or "/" in word), None) or (words[1] if words[1:] else None)
        if named is None:
            continue
        file = notebook_file.parent / Path(named).expanduser()
        file = file if file.suffix else file.with_suffix(".fastmagic")
        if file.is_file():
            return file
        raise NotFoundError(
            f"'{notebook_file.name}' exports '{file.name}', and no such file is beside it.",
            "Run the notebook, or name the model: --live birds.fastmagic",
        )
    raise AnswerError(f"'{notebook_file.name}' exports no model.", "Name one: --live birds.fastmagic")


def place(notebook: Any) -> str:
    """Return the panel whose place a model takes in a notebook's slides: the predictor's, or a new one on a slide at the end."""
    import nbformat.v4 as v4

    for cell in notebook.cells:
        for output in cell.get("outputs", []) if deck.slide_type(cell) not in ("skip", "notes") else ():
            if found := PANEL.search("".join(output.get("data", {}).get("text/html", ""))):
                return found[1]
    made = '<div class="fastmagic" data-fastmagic-panel="live"><div class="fastmagic-still">This slide needs JavaScript.</div></div>'
    slide = {"slideshow": {"slide_type": "slide"}}
    notebook.cells.append(v4.new_markdown_cell(f"## Try it\n\n{made}", metadata=slide))
    return "live"


def halved(model: bytes) -> bytes:
    """Return an ONNX model of ours whose large weights are kept in 16 bits, and widened to 32 where they are used.

    Where it would answer otherwise by more than a half percent, it is returned as it is.
    """
    import numpy as np
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    made = onnx.load_model_from_string(model)
    widened = []
    for weights in made.graph.initializer:
        values = numpy_helper.to_array(weights) if weights.data_type == TensorProto.FLOAT else None
        if values is None or values.size < 1000 or np.abs(values).max() > np.finfo("float16").max:
            continue
        name = weights.name
        weights.CopyFrom(numpy_helper.from_array(values.astype("float16"), f"{name}.half"))
        widened.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    nodes = [*widened, *made.graph.node]
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    half = bytes(made.SerializeToString())
    shape = [part.dim_value or 2 for part in made.graph.input[0].type.tensor_type.shape.dim]
    pixels = np.random.default_rng(0).random(shape, "float32")
    sessions = [onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]) for data in (model, half)]
    one, other = (session.run(None, {"pixels": pixels})[0] for session in sessions)
    return half if float(np.abs(one - other).max()) <= 0.005 * max(1.0, float(np.abs(one).max())) else model


def scripts_of(model: str | Path, panel: str) -> str:
    """Return the scripts that hold a model in a page and predict with it.

    Args:
        model: a bundle of pictures.
        panel: whose place in the page it takes.

    Raises:
        FastmagicError: it is no bundle, its ONNX file cannot be made, or the browser cannot do what its pictures go through.
    """
    from ..bundles import archive
    from ..bundles.learner import load
    from ..bundles.onnx_file import onnx_of
    from ..learning.forward import target_of
    from ..panels.panel import Encoded, source_of
    from ..panels.predictor import predictor

    file = Path(model).expanduser()
    if not file.is_file():
        raise no_such_file(file.absolute())
    if not archive.is_bundle(file):
        raise AnswerError(f"'{file.name}' is no bundle.", "Write one: %export learn birds.fastmagic")
    learn = load(file)
    said = learn.bundle
    if said["kind"] != "images":
        raise RefusedError("Only models of pictures predict in a page so far.", "Serve it instead: fastmagic app MODEL")
    if said["target"]["kind"] == "pixels":
        raise RefusedError("A model that draws masks does not predict in a page so far.", "Leave --live out.")
    transforms = [name for name, _ in said["item_tfms"]]
    if strange := [name for name in transforms if name not in KNOWN]:
        raise RefusedError(
            f"Its pictures go through {strange[0]}, which a page cannot do.", "Train with item_tfms=Resize(224)."
        )
    if not {"Resize", "CropPad"} & {*transforms}:
        raise RefusedError(
            "Its pictures may have any size, and in a page they need one.", "Train with item_tfms=Resize(224)."
        )
    # Made here and compared with the learner: what a stranger's bundle brings as model.onnx is nobody's word.
    inside = halved(onnx_of(learn, said))
    example = archive.read(file, archive.EXAMPLE).get(archive.EXAMPLE)
    if len(inside) > MOST:
        raise RefusedError(
            f"The model has {len(inside) / 1e6:.0f} MB; pages take {MOST / 1e6:.0f}.",
            "Train a smaller one, such as resnet18.",
        )

    def shown(value: Any) -> Any:
        if isinstance(value, Encoded):
            return {"url": f"data:{value.mime};base64,{base64.b64encode(value.data).decode()}", "mime": value.mime}
        if isinstance(value, dict):
            return {key: shown(part) for key, part in value.items()}
        return [shown(part) for part in value] if isinstance(value, list) else value

    page = {
        "panel": panel,
        "state": shown(predictor(learn, allow_url=None).state()),
        "model": {
            "channels": 1 if said["opened"] == "PILImageBW" else 3,
            "item_tfms": said["item_tfms"],
            "target": {**said["target"], "threshold": target_of(learn).threshold},
        },
        "example": f"data:image/png;base64,{base64.b64encode(example).decode()}" if example else None,
    }
    code, wasm = runtime()
    parts = {"fastmagic-onnxruntime": code, "fastmagic-wasm": wasm, "fastmagic-model": inside}
    packed = [
        f'<script type="text/plain" id="{name}">{base64.b64encode(gzip.compress(data, 9, mtime=0)).decode()}</script>'
        for name, data in parts.items()
    ]
    own = source_of("live").replace("</script", r"<\/script")
    licence = f"<!-- Inside: ONNX Runtime Web {VERSION}, Copyright (c) Microsoft Corporation, MIT licence. -->"
    said_here = json.dumps(page, ensure_ascii=False).replace("<", r"\u003c")
    told = f'<script type="application/json" id="fastmagic-live">{said_here}</script>'
    return "\n".join([licence, *packed, told, f'<script type="module">{own}</script>'])
