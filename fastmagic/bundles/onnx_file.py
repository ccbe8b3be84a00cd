"""A model as ONNX, for where there is no PyTorch: from pixels to answers in one file, compared with the learner."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from typing import Any

from ..errors import FastmagicError, RefusedError
from .learner import SAME

OPSET = 18


def onnx_of(learn: Any, said: dict[str, Any]) -> bytes:
    """Return a learner's model as an ONNX file that was run by onnxruntime, and answered as the learner does.

    Its input `pixels` is float32, n x channels x height x width, 0 to 1, RGB, after what `item_tfms` say; resizing of
    batches, normalisation and what makes probabilities of outputs are in the graph, so that its output `answers` is what
    `predict` says, n x classes. The file's metadata `fastmagic` has the classes and the item transforms.

    Raises:
        FastmagicError: a package is missing, the model has no ONNX form, or answers otherwise there.
    """
    try:
        import numpy as np
        import onnxruntime
        import onnxscript  # noqa: F401
        import torch
    except ImportError as error:
        raise FastmagicError(
            f"For ONNX the package {error.name} is missing.", "pip install 'fastmagic[onnx]'"
        ) from error

    from ..learning.forward import activation_of, undisturbed

    strange = [
        name for name, _ in said["batch_tfms"] if name not in ("IntToFloatTensor", "AffineCoordTfm", "Normalize")
    ]
    if strange:
        raise RefusedError(
            f"The batch transform {strange[0]} changes the size, which the ONNX file cannot.",
            "Give the size to item_tfms: item_tfms=Resize(224)",
        )
    side = _side(said)
    whole = _Whole(learn.model, said, activation_of(learn.loss_func), side)
    device = next(learn.model.parameters()).device
    pixels = torch.rand(3, said["model"]["channels"], *side, generator=torch.Generator().manual_seed(0))
    with undisturbed(learn), contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(), _quiet():
        warnings.simplefilter("ignore")
        whole.eval()
        try:
            made = torch.onnx.export(
                whole, (pixels[:2].to(device),), input_names=["pixels"], output_names=["answers"], opset_version=OPSET,
                dynamo=True, external_data=False, dynamic_shapes=({0: torch.export.Dim("n")},), verbose=False,
            )  # fmt: skip
        except Exception as error:
            raise FastmagicError(
                f"{said['model']['name']} has no ONNX form: {str(error).strip().splitlines()[0][:160]}",
                "Leave `onnx` out.",
            ) from error
        assert made is not None
        proto = made.model_proto
        note = proto.metadata_props.add()
        note.key = "fastmagic"
        note.value = json.dumps({"target": said["target"], "item_tfms": said["item_tfms"], "opened": said["opened"]})
        data = proto.SerializeToString()
        session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        for batch in (pixels[:1], pixels):
            there = session.run(None, {"pixels": batch.numpy()})[0]
            here = whole(batch.to(device)).cpu().numpy()
            gap = float(np.abs(there - here).max())
            if there.shape != here.shape or not gap <= SAME * max(1.0, float(np.abs(here).max())):
                raise RefusedError(f"As ONNX the model answers otherwise, by up to {gap:.2g}.", "Leave `onnx` out.")
    return bytes(data)


def _side(said: dict[str, Any]) -> tuple[int, int]:
    """Return height and width of the pictures that the file takes."""
    return _sized(said) or (224, 224)


def _sized(said: dict[str, Any]) -> tuple[int, int] | None:
    """Return height and width that the item transforms give, `None` where these leave pictures as they are."""
    for name, words in reversed(said["item_tfms"]):
        if name != "ToTensor" and isinstance(words.get("size"), list):
            height, width = words["size"]
            return int(height), int(width)
    return None


@contextlib.contextmanager
def _quiet() -> Any:
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _resizing(said: dict[str, Any], side: tuple[int, int]) -> list[Any]:
    """Return what fastai's resizing of batches multiplies pictures with: from the left, and from the right; nothing without.

    In validation it moves nothing, and makes each row of weights of the old rows, each column of the old columns. What
    these are, pictures of one row and of one column tell.
    """
    import torch
    from fastai.torch_core import TensorImage

    from .parts import transforms

    found = transforms([one for one in said["batch_tfms"] if one[0] == "AffineCoordTfm"])
    if not found:
        return []
    if not _sized(said):
        raise RefusedError(
            "The pictures may have any size before the batch transform AffineCoordTfm, and the ONNX file needs one.",
            "Give a size to item_tfms: item_tfms=Resize(224)",
        )

    def resized(pictures: Any) -> Any:
        for resize in found:
            pictures = resize(TensorImage(pictures), split_idx=1)
        return torch.Tensor(pictures)

    height, width = side
    rows = [resized(part[:, None, :, None].expand(-1, 1, -1, width)) for part in torch.eye(height).split(16)]
    columns = [resized(part[:, None, None, :].expand(-1, 1, height, -1)) for part in torch.eye(width).split(16)]
    left, right = torch.cat(rows)[:, 0, :, 0].T.contiguous(), torch.cat(columns)[:, 0, 0, :].contiguous()
    tried = torch.rand(1, 1, height, width, generator=torch.Generator().manual_seed(0))
    gap = float((left @ tried @ right - resized(tried)).abs().max())
    if not gap < SAME:
        raise RefusedError(f"As ONNX pictures are resized otherwise, by up to {gap:.2g}.", "Leave `onnx` out.")
    return [left, right]


def _Whole(model: Any, said: dict[str, Any], activation: Any, side: tuple[int, int]) -> Any:
    """Return a module from pixels to answers."""
    import torch
    from torch import nn

    words = dict(said["batch_tfms"]).get("Normalize")
    resizing = _resizing(said, side)

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model
            for name in ("mean", "std"):
                value = torch.tensor(words[name]).view(1, -1, 1, 1) if words else None
                self.register_buffer(name, value.to(next(model.parameters()).device) if value is not None else None)
            for name, value in zip(("left", "right"), resizing, strict=False):
                self.register_buffer(name, value.to(next(model.parameters()).device))

        def forward(self, pixels: Any) -> Any:
            if resizing:
                pixels = self.left @ pixels @ self.right
            if words:
                pixels = (pixels - self.mean) / self.std
            return activation(self.model(pixels))

    return Whole()
