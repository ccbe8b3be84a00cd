"""`fastmagic.export` and `fastmagic.load`: a learner of pictures or of a table as a file from which it is built again, and nothing is run."""

from __future__ import annotations

import contextlib
import io
import platform
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data.items import sources
from ..data.opening import image_class, no_such_file, open_image
from ..data.plan import plan_of
from ..errors import AnswerError, FastmagicError, RefusedError, UnreadableError, few, number
from ..kinds import TABLE
from ..learning.architectures import Architecture, find
from ..learning.train import data_of
from ..render import escape
from . import archive, parts, tables
from .card import card_of
from .parts import wrong

if TYPE_CHECKING:
    from fastai.learner import Learner

PICKLES = (".pkl", ".pickle", ".pth", ".pt")  # what fastai and PyTorch call theirs
PICTURES = ("PILImage", "PILImageBW")
LIBRARIES = ("fastmagic", "fastai", "timm", "torchvision")
EXAMPLE_SIDE = 512  # px of the longer side of the example
SAME, DRIFTED = 1e-4, 1e-2  # of a probability: what rounding makes, and what a reader should hear of
MOST_CLASSES = 200_000
MOST_MASK_CLASSES, MOST_TENSORS = 1000, 2000
UNET_SIZE = (128, 128)  # px of the picture that tells fastai where an architecture's layers halve it


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        file: the bundle.
        size: bytes.
        description: what it says of itself.
    """

    file: Path
    size: int
    description: dict[str, Any]

    def __repr__(self) -> str:
        pictures = self.description["kind"] == "images"
        example = f"numbers, words and one {'small validation picture' if pictures else 'row of the validation set'}"
        holds = example if "example" in self.description else "numbers and words"
        item = "photo.jpg" if pictures else "new.csv"
        return (
            f"Written: {self.file} ({self.size / 1e6:,.1f} MB): {_told(self.description)}. It holds {holds}, no code.\n"
            f"Anywhere with fastmagic: fastmagic.load({self.file.name!r}), or %predict {item} --learn {self.file.name}"
        )

    def _repr_html_(self) -> str:
        return f'<div class="fastmagic"><pre style="white-space: pre-wrap; word-break: normal; overflow-wrap: anywhere; background: none">{escape(repr(self))}</pre></div>'


def _told(description: dict[str, Any]) -> str:
    target = description["target"]
    what = {"class": "one of", "classes": "any of"}.get(target["kind"], "")
    said = f"{what} {few(target['classes'])}" if what else number(description["model"]["outputs"], "number")
    return f"{description['model']['name']}, {said}"


def export(
    learn: Any, file: str | Path, *, title: str = "", description: str = "", example: bool = True, onnx: bool = False
) -> Exported:
    """Write a learner of pictures or of a table to a file that can be passed on: weights, words, a model card, an example.

    The file is a zip of JSON, safetensors, text and, of pictures, a PNG. `load` builds the learner from it without
    unpickling, so that a bundle from a stranger runs no code. What is told to training alone stays out: augmentation,
    optimiser, callbacks.

    Args:
        learn: a fastai `Learner` made by `fastmagic.train`, `vision_learner` or `tabular_learner`, or the file of one.
        file: where to; `.fastmagic` is added to a name without a suffix.
        title: of the model card; by default what it tells apart.
        description: of the model card: what it is for, and what not.
        example: put a picture of the validation set inside, small and without its metadata, or one row of its table, and
            what the model answers to that.
        onnx: put the model inside as `model.onnx` too, from pixels to answers, for where there is no PyTorch. It was run by
            onnxruntime and compared with the learner; `pip install 'fastmagic[onnx]'`.

    Returns:
        What was written.

    Raises:
        FastmagicError: something of it cannot be said in words (a layer, transform or loss of your own), with its name; or
            the file cannot be written.

    Example:
        >>> fastmagic.export(learn, "birds.fastmagic")  # doctest: +SKIP
    """
    from ..learning.learner_file import as_learner

    file = Path(file).expanduser()
    if file.suffix.lower() in PICKLES:
        raise AnswerError(
            f"'{file.name}' is what fastai calls a pickle, and a bundle is none.",
            f"Give another name: {file.with_suffix(archive.SUFFIX).name}. For a pickle: learn.export({file.name!r})",
        )
    if not file.suffix:
        file = file.with_suffix(archive.SUFFIX)
    learn = as_learner(learn)
    said = _said(learn)
    weights = {name: value.detach().cpu().contiguous() for name, value in learn.model.state_dict().items()}
    _all_finite(weights, "The model holds weights that are no numbers: its training ran away.")
    again = built(said, weights)
    table = TABLE.holds(learn.dls)
    picture = _example(learn.dls.loaders[-1].dataset) if example and not table else None
    if not (_same_rows(learn, again) if table else _same(learn, again, picture)):
        raise RefusedError(
            "A model built from the words of this one answers otherwise: something of it is not in its layers (a hook, a "
            "changed activation).",
            "`learn.export('export.pkl')` takes it as it is, to where its code is.",
        )
    row = tables.example_of(learn) if example and table else None
    if picture is not None:
        said["example"] = {"activations": answers(again, picture)}
    elif row is not None:
        said["example"] = {"row": row, "activations": answers(again, row)}
    said["card"] = {"title": " ".join(title.split())[:120], "description": description.strip()[:4000]}
    said["training"] = _training(learn)
    from safetensors.torch import save

    more = {archive.EXAMPLE: _png(picture)} if picture is not None else {}
    if onnx and (table or said["target"]["kind"] == "pixels"):
        raise RefusedError(
            "Only models that answer classes or numbers to pictures can be put into ONNX so far.", "Leave `onnx` out."
        )
    if onnx:
        from .onnx_file import onnx_of

        more[archive.ONNX] = onnx_of(learn, said)
    size = archive.write(file, said, save(weights), card_of(said), more)
    return Exported(file, size, said)


def _said(learn: Any) -> dict[str, Any]:
    """Return a learner in words.

    Raises:
        FastmagicError: something of it has none.
    """
    from ..learning.forward import Model, target_of
    from ..learning.masks import draws_masks, mask_target

    if callbacks := Model(learn).callbacks:
        raise RefusedError(
            f"The callback {type(callbacks[0]).__name__} changes what goes into the model or comes out, and it is code.",
            f"Take it away: `learn.remove_cb({type(callbacks[0]).__name__})`; or `learn.export('export.pkl')`.",
        )
    if TABLE.holds(learn.dls):
        target = target_of(learn)
        if target.kind == "classes":
            raise RefusedError(
                "Models that give several labels to a row cannot be exported so far.",
                "For these: `learn.export('export.pkl')`, a pickle.",
            )
        said = {"format": archive.FORMAT, "kind": "tables", **tables.said_of(learn), **_common(learn, target)}
        said["model"]["outputs"] = _outputs(learn.model, target)
        return said
    dataset = getattr(learn.dls.loaders[-1], "dataset", None)
    opened = image_class(dataset)
    if opened is None or opened.__name__ not in PICTURES or opened.__module__ != "fastai.vision.core":
        raise RefusedError(
            "Only models of pictures and of tables can be exported so far.",
            "For other data: `learn.export('export.pkl')`, a pickle.",
        )
    _only_opens(dataset)
    masks = draws_masks(learn)
    target, arch = mask_target(learn) if masks else target_of(learn), _architecture(learn)
    loader, model = learn.dls.loaders[-1], learn.model
    named = [one for one in loader.after_item.fs if type(one).__name__ != "AddMaskCodes"]
    return {
        "format": archive.FORMAT,
        "kind": "images",
        "model": {
            "library": arch.library,
            "name": arch.name,
            "channels": int(getattr(learn, "n_in", 3)),
            "outputs": len(target.classes) if masks else _outputs(model, target),
            "head": "unet" if masks else parts.layers_in_words(model[1]),
        },
        "opened": opened.__name__,
        "item_tfms": parts.transforms_in_words(named, "item_tfms"),
        "batch_tfms": parts.transforms_in_words(loader.after_batch.fs, "batch_tfms"),
        **_common(learn, target),
    }


def _common(learn: Any, target: Any) -> dict[str, Any]:
    """Return what is said of every learner."""
    for label in target.classes:
        if not isinstance(label, (str, int, float, bool)) and not hasattr(label, "item"):
            raise RefusedError(
                f"A class is a {type(label).__name__}, which a bundle has no words for.", "Classes are text or numbers."
            )
    plan = plan_of(data_of(learn))
    told = {} if plan is None else {question: _at_home(answer.text) for question, answer in plan.answers.items()}
    loss = {"loss": parts.loss_in_words(learn.loss_func)}
    said: dict[str, Any] = {"kind": target.kind, "classes": [parts.plain(label) for label in target.classes]}
    if target.kind == "pixels":
        if loss["loss"][0] != "CrossEntropyLossFlat":
            raise RefusedError(
                f"The loss is {loss['loss'][0]}; of models that draw masks those with CrossEntropyLossFlat can be exported.",
                "`learn.loss_func = CrossEntropyLossFlat(axis=1)`, or `learn.export('export.pkl')`.",
            )
        said["ignored"] = int(learn.loss_func.func.ignore_index)
    return {
        "target": said,
        **loss,
        "answers": told,
        "versions": _versions(),
    }


def _outputs(model: Any, target: Any) -> int:
    from torch import nn

    last = next((m for m in reversed(list(model.modules())) if isinstance(m, nn.Linear)), None)
    return last.out_features if last is not None else max(1, len(target.classes))


def _architecture(learn: Any) -> Architecture:
    from fastai.vision.models.unet import DynamicUnet
    from torch import nn

    known = type(learn.model) is DynamicUnet or (isinstance(learn.model, nn.Sequential) and len(learn.model) == 2)
    if not known or getattr(learn, "arch", None) is None:
        raise RefusedError(
            f"The model is a {type(learn.model).__name__} of your own, which a bundle has no words for.",
            "Models of `train`, `vision_learner` and `unet_learner` can travel; yours can by `learn.export('export.pkl')`, to where its code is.",
        )
    arch = find(learn.arch)
    if arch.library == "yours":
        raise RefusedError(
            f"The architecture {arch.name} is a function of your own, which a bundle has no words for.",
            "Those of fastai, timm and torchvision can travel; yours can by `learn.export('export.pkl')`, to where its code is.",
        )
    return arch


def _only_opens(dataset: Any) -> None:
    """Raise where a function makes the picture of an item, as one that draws a spectrogram does: a bundle takes pictures."""
    from fastai.vision.core import PILBase

    steps = list(dataset.tls[0].tfms.fs)
    opens = [i for i, step in enumerate(steps) if _is_opening(step, PILBase)]
    if not opens:
        raise RefusedError("What opens the pictures is not known.", "For such data: `learn.export('export.pkl')`.")
    behind = steps[opens[-1] + 1 :]
    if behind:
        raise RefusedError(
            f"{parts.name_of(behind[0])} changes each picture after it was opened, and a bundle has no words for it.",
            "For such data: `learn.export('export.pkl')`, a pickle.",
        )
    if opens[0] and len(dataset):
        item = dataset.items.iloc[0] if hasattr(dataset.items, "iloc") else dataset.items[0]
        for step in steps[: opens[0]]:
            item = step(item)
        if not isinstance(item, (str, Path)):
            raise RefusedError(
                f"{parts.name_of(steps[opens[0] - 1])} makes a {type(item).__name__} of each item, and a bundle has no words for it.",
                "For such data: `learn.export('export.pkl')`, a pickle.",
            )


def _is_opening(step: Any, base: type) -> bool:
    made = getattr(getattr(step, "encodes", None), "__self__", None)
    names = {str(getattr(step, "name", "")), str(getattr(step, "__name__", ""))}
    return any(name.endswith(".create") for name in names) or (isinstance(made, type) and issubclass(made, base))


def _all_finite(weights: dict[str, Any], cause: str) -> None:
    import torch

    for name, value in weights.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise RefusedError(cause, f"It begins at {name[:80]}. Train again, at a lower rate.")


def _example(dataset: Any) -> Any:
    """Return the first picture of the validation set, small and without what its file says of it; `None` without one."""
    from PIL import Image

    for source in list(sources(dataset))[:5]:
        if isinstance(source, (str, Path)):
            try:
                with Image.open(source) as opened:
                    picture = opened.convert("RGB")
            except OSError:
                continue
            picture.thumbnail((EXAMPLE_SIDE, EXAMPLE_SIDE))
            clean = Image.new("RGB", picture.size)
            clean.paste(picture)
            return clean
    return None


def answers(learn: Any, item: Any) -> list[float]:
    """Return what a model answers to a picture, or to a row of a table: its probabilities, or numbers.

    Of a model that draws masks, the probability of each class in each sixteenth of the picture.
    """
    from ..learning.forward import Transforms, predict_opened
    from ..learning.masks import draws_masks, scores_of

    if TABLE.holds(learn.dls):
        return tables.answers(learn, [item])[0]
    transforms = Transforms(learn.dls)
    opened = transforms.open(open_image(item, image_class(transforms.dataset)))
    if draws_masks(learn):
        from torch.nn.functional import adaptive_avg_pool2d

        scores, _ = scores_of(learn, transforms, opened)
        return [float(value) for value in adaptive_avg_pool2d(scores.float(), 4).flatten()]
    return [float(value) for value in predict_opened(learn, transforms, opened)]


def _png(picture: Any) -> bytes:
    out = io.BytesIO()
    picture.save(out, "PNG", optimize=True)
    return out.getvalue()


def _same(learn: Any, again: Any, example: Any) -> bool:
    """Tell whether two learners answer alike, from the picture on: to an example, and to noise."""
    import numpy as np
    from PIL import Image

    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8))
    return all(
        np.allclose(answers(learn, picture), answers(again, picture), rtol=SAME, atol=SAME)
        for picture in (noise, example)
        if picture is not None
    )


def _same_rows(learn: Any, again: Any) -> bool:
    """Tell whether two learners answer alike to rows of the validation set, where there is one."""
    import numpy as np

    rows = tables.rows_of(learn, 64)
    if rows is None:
        return True
    return bool(np.allclose(tables.answers(learn, rows), tables.answers(again, rows), rtol=SAME, atol=SAME))


def _training(learn: Any) -> dict[str, Any]:
    """Return how a learner came to be, for the card."""
    from .. import program
    from ..learning.results import results

    items = [len(loader.dataset) for loader in learn.dls.loaders]
    if not any(items) and isinstance(getattr(learn, "bundle", None), dict):
        return dict(learn.bundle["training"])  # it came from a bundle itself
    validation = ""
    if len(items) > 1 and items[1]:
        with contextlib.suppress(FastmagicError):  # its files may be gone
            validation = repr(results(learn))
    made = program.known(learn)
    return {
        "items": items,
        "validation": validation,
        "program": _at_home(str(made)) if made is not None else "",
        "gathered": _gathered(learn),
    }


def _gathered(learn: Any) -> dict[str, Any]:
    """Return where a learner's photos came from, counted, as the manifest of `fastmagic.images` beside them says."""
    from collections import Counter

    from ..data.gather import manifest

    if TABLE.holds(learn.dls):
        return {}
    files = [one for loader in learn.dls.loaders for one in sources(loader.dataset) if isinstance(one, Path)]
    known = manifest.of_files(files)
    if not known:
        return {}
    days = sorted(record.fetched[:10] for record in known if record.fetched)
    return {
        "photos": len(known),
        "days": [days[0], days[-1]] if days else [],
        "queries": sorted({record.query for record in known if record.query})[:50],
        "engines": dict(Counter(record.engine or "a list of addresses" for record in known).most_common()),
        "licenses": dict(Counter(record.license or "not known" for record in known).most_common(20)),
    }


def _at_home(text: str) -> str:
    """Return text without the name of whose machine it was."""
    return text.replace(str(Path.home()), "~")


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    from .. import __version__

    found = {"fastmagic": __version__, "python": platform.python_version()}
    for package in ("torch", "fastai", "timm", "torchvision"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


# ---------------------------------------------------------------- back again


def load(file: str | Path) -> Learner:
    """Return the learner of a bundle, ready to predict, without running anything that the file brings.

    Args:
        file: what `export` wrote. What fastai's `learn.export` wrote is taken too, with a warning: it is a pickle, which
            runs code when it is opened.

    Returns:
        A fastai `Learner` without items: `fastmagic.predict(picture, learn)` and `learn.predict(picture)` work, and with
        `learn.dls = dls` it trains on. `learn.bundle` is what the bundle says of itself, `learn.bundle_example` the
        picture or row that it brings.

    Raises:
        FastmagicError: there is no such file, it is damaged, from a later version, or no bundle.

    Example:
        >>> learn = fastmagic.load("birds.fastmagic")        # doctest: +SKIP
        >>> fastmagic.predict("robin.jpg", learn).label      # doctest: +SKIP
        'bird'
    """
    file = Path(file).expanduser()
    if not file.exists():
        raise no_such_file(file.absolute())
    if archive.is_bundle(file):
        return load_bundle(file)
    from ..learning.learner_file import as_learner

    if file.suffix.lower() in PICKLES:
        warnings.warn(
            f"'{file.name}' is a pickle: opening it runs whatever code its maker put in. Open only those of people you trust. "
            "`fastmagic.export` writes a bundle, which runs none.",
            stacklevel=2,
        )
    elif file.is_file():
        raise archive.no_bundle(file)
    return as_learner(file)


def load_bundle(file: Path) -> Learner:
    """Return the learner of a bundle; see `load`."""
    from safetensors import SafetensorError
    from safetensors.torch import load as tensors_of

    entries = archive.read(file, archive.DESCRIPTION, archive.WEIGHTS, archive.EXAMPLE)
    if len(entries.keys() & {archive.DESCRIPTION, archive.WEIGHTS}) < 2:
        raise wrong("its description or its weights are missing")
    said = archive.description_of(entries[archive.DESCRIPTION])
    try:
        weights = tensors_of(entries.pop(archive.WEIGHTS))
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise wrong(f"its weights cannot be read ({error})") from error
    import torch

    if any(value.is_floating_point() and not torch.isfinite(value).all() for value in weights.values()):
        raise wrong("its weights are no numbers")
    learn = built(said, weights)
    learn.bundle = said
    example = said.get("example")
    learn.bundle_example = None
    if archive.EXAMPLE in entries and said["kind"] == "images":
        learn.bundle_example = archive.picture_of(entries[archive.EXAMPLE])
    elif isinstance(example, dict) and isinstance(example.get("row"), dict):
        learn.bundle_example = example["row"]
    if learn.bundle_example is not None:
        _compare(learn, said, learn.bundle_example)
    return learn


def _compare(learn: Any, said: dict[str, Any], item: Any) -> None:
    """Warn where the model answers otherwise to the example than where it was exported."""
    import numpy as np

    expected = said.get("example")
    expected = expected.get("activations") if isinstance(expected, dict) else None
    try:
        found = answers(learn, item)
    except Exception as error:  # whatever fastai and PyTorch raise at parts that do not fit each other
        raise wrong(
            f"it cannot answer to its own example ({str(error).splitlines()[0][:120] if str(error) else error!r})"
        ) from error
    if not isinstance(expected, list) or len(expected) != len(found):
        raise wrong("what it should answer to its example is missing")
    try:
        gap = float(np.abs(np.array(expected, float) - np.array(found)).max())
    except (TypeError, ValueError) as error:
        raise wrong("what it should answer to its example is no list of numbers") from error
    if not gap <= DRIFTED * max(1.0, float(np.abs(found).max())):
        told = said.get("versions")
        versions = told if isinstance(told, dict) else {}
        now = _versions()
        other = [
            f"{name} {str(versions[name])[:20]} → {now[name]}"
            for name in now
            if name in versions and versions[name] != now[name]
        ]
        warnings.warn(
            f"The model answers otherwise here than where it was exported (by {gap:.2g}, to its own example)."
            + (f" Other versions: {', '.join(other)}." if other else ""),
            stacklevel=4,
        )


def built(said: dict[str, Any], weights: dict[str, Any]) -> Any:
    """Build a learner from words and weights.

    Raises:
        FastmagicError: they make no sense, or do not fit each other.
    """
    import torch
    from fastai.learner import Learner
    from fastai.vision.learner import default_split, model_meta

    model_words, target = said.get("model"), said.get("target")
    if (
        said.get("kind") not in ("images", "tables")
        or not isinstance(model_words, dict)
        or not isinstance(target, dict)
    ):
        raise wrong("it holds no model that is known")
    if said["kind"] == "tables":
        model = tables.model_of(model_words, weights)
        model.load_state_dict(weights)
        dls = tables.loaders(said, target)
        from fastai.tabular.learner import TabularLearner

        learn = TabularLearner(dls, model.to(dls.device), loss_func=parts.loss(said.get("loss")))
        learn.model.eval()
        return learn
    library, name, channels, outputs = (model_words.get(key) for key in ("library", "name", "channels", "outputs"))
    if library not in LIBRARIES or not isinstance(name, str) or len(name) > 100:
        raise wrong("its architecture is of no library that is known")
    if (
        type(channels) is not int
        or not 1 <= channels <= 64
        or type(outputs) is not int
        or not 1 <= outputs <= MOST_CLASSES
    ):
        raise wrong("its channels or outputs make no sense")
    arch = _named(library, name)
    head = model_words.get("head")
    if (head == "unet") != (target.get("kind") == "pixels"):
        raise wrong("its model does not answer what it says")
    if head == "unet":
        return _unet(said, target, arch, channels, weights)
    with torch.device("meta"):  # takes no memory, however large its layers claim to be
        claimed = {f"1.{key}": value.shape for key, value in parts.layers(head).state_dict().items()}
    if any(key not in weights or weights[key].shape != shape for key, shape in claimed.items()):
        raise wrong("its weights do not fit its head")
    model = _model(arch, channels, head)
    _must_fit(model, weights, name)
    model.load_state_dict(weights)
    loss = parts.loss(said.get("loss"))
    dls = _loaders(said, target, outputs)
    meta = model_meta.get(arch.value, {}) if arch.library != "timm" else {}
    learn = Learner(dls, model.to(dls.device), loss_func=loss, splitter=meta.get("split", default_split))
    learn.model.eval()
    learn.arch, learn.n_in, learn.n_out = arch.value, channels, outputs
    return learn


def _unet(
    said: dict[str, Any], target: dict[str, Any], arch: Architecture, channels: int, weights: dict[str, Any]
) -> Any:
    """Build a learner that draws masks."""
    from fastai.learner import Learner
    from fastai.losses import CrossEntropyLossFlat
    from fastai.vision.learner import create_unet_model, default_split, model_meta

    if arch.library not in ("fastai", "fastmagic"):
        raise wrong(f"no unet is built on {arch.name}")
    outputs, ignored = said["model"]["outputs"], target.get("ignored")
    if type(ignored) is not int or abs(ignored) > MOST_CLASSES or said.get("loss") != ["CrossEntropyLossFlat", {}]:
        raise wrong("what its loss counts makes no sense")
    dls = _loaders(said, target, outputs)
    if len(weights) > MOST_TENSORS or outputs > MOST_MASK_CLASSES:
        raise wrong("it is larger than any unet")
    try:
        model = create_unet_model(arch.value, outputs, UNET_SIZE, pretrained=False, n_in=channels)
    except Exception as error:
        raise wrong(f"a unet on {arch.name} cannot be made with {channels} channels ({error})") from error
    _must_fit(model, weights, f"a unet on {arch.name}")
    model.load_state_dict(weights)
    loss = CrossEntropyLossFlat(axis=1, ignore_index=ignored)
    split = model_meta.get(arch.value, {}).get("split", default_split)
    learn = Learner(dls, model.to(dls.device), loss_func=loss, splitter=split)
    learn.model.eval()
    learn.arch, learn.n_in, learn.n_out = arch.value, channels, outputs
    return learn


def _named(library: str, name: str) -> Architecture:
    try:
        arch = find(name)
    except FastmagicError as error:
        raise UnreadableError(
            f"The bundle's model is a {name} of {library}, which is not known here.",
            f"Upgrade: pip install -U {library}",
        ) from error
    if arch.library != library:
        raise wrong(f"{library} has no {name}")
    return arch


def _model(arch: Architecture, channels: int, head: Any) -> Any:
    """Return the untrained model of an architecture with a head."""
    from torch import nn

    made = parts.layers(head)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if arch.library == "timm":
                import timm
                from fastai.vision.learner import TimmBody

                body = TimmBody(
                    timm.create_model(arch.value, pretrained=False, num_classes=0, in_chans=channels),
                    False,
                    None,
                    channels,
                )
            else:
                from fastai.vision.learner import create_vision_model

                return create_vision_model(arch.value, 1, pretrained=False, n_in=channels, custom_head=made, init=None)
        except FastmagicError:
            raise
        except Exception as error:
            raise wrong(f"{arch.name} cannot be made with {channels} channels ({error})") from error
    return nn.Sequential(body, made)


def _must_fit(model: Any, weights: dict[str, Any], name: str) -> None:
    wanted = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    given = {key: tuple(value.shape) for key, value in weights.items()}
    if wanted == given:
        return
    odd = next((key for key in [*wanted, *given] if wanted.get(key) != given.get(key)), "")
    raise UnreadableError(
        f"The weights do not fit {name}: {odd[:80]} is {given.get(odd, 'missing')}, and should be {wanted.get(odd, 'absent')}.",
        "It was built with other arguments than the architecture's own, or the bundle is broken.",
    )


def _loaders(said: dict[str, Any], target: dict[str, Any], outputs: int) -> Any:
    """Return `DataLoaders` without items that prepare pictures as the model wants them."""
    from fastai.data.core import DataLoaders, Datasets, TfmdDL
    from fastai.data.transforms import Categorize, MultiCategorize, OneHotEncode, RegressionSetup
    from fastai.torch_core import TensorCategory, TensorMultiCategory, default_device
    from fastai.vision import core
    from fastcore.foundation import L
    from torch import Tensor

    opened, kind, classes = said.get("opened"), target.get("kind"), target.get("classes")
    if opened not in PICTURES:
        raise wrong("what it opens pictures as is not known")
    if not isinstance(classes, list) or not all(isinstance(one, (str, int, float)) for one in classes):
        raise wrong("its classes are no list")
    if kind in ("class", "classes", "pixels") and (len(classes) != outputs or len(set(map(repr, classes))) != outputs):
        raise wrong(f"it has {outputs} outputs for {len(classes)} classes")
    picture = getattr(core, opened)
    if kind == "class":
        answer, types = [Categorize(vocab=classes, sort=False)], [object, TensorCategory]
    elif kind == "classes":
        answer = [MultiCategorize(vocab=classes), OneHotEncode(c=len(classes))]
        types = [L, TensorMultiCategory, TensorMultiCategory]
    elif kind == "pixels":
        answer, types = [core.PILMask.create], [object, core.PILMask]
    elif kind == "numbers" and not classes:
        answer, types = [RegressionSetup(c=outputs)], [object, Tensor]
    else:
        raise wrong("what it answers is not known")
    dataset = Datasets([], tfms=[[picture.create], answer], n_inp=1, do_setup=False)
    opens = dataset.tls[0].tfms[0].input_types  # what a first item would have told: paths, arrays, bytes, pictures
    dataset.tls[0].types, dataset.tls[1].types = [opens, picture], types
    loader = TfmdDL(
        dataset,
        bs=64,
        after_item=[
            *([core.AddMaskCodes(codes=[str(one) for one in classes])] if kind == "pixels" else []),
            *parts.transforms(said.get("item_tfms")),
        ],
        after_batch=parts.transforms(said.get("batch_tfms")),
        num_workers=0,
        device=default_device(),
    )
    # What a pass over a first batch would have told it.
    made = core.TensorMask if kind == "pixels" else types[-1]
    loader._n_inp, loader._types = 1, {tuple: [getattr(core, picture.__name__.replace("PIL", "Tensor")), made]}
    return DataLoaders(loader, loader, path=Path("."), device=default_device())
