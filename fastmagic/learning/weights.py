"""Weights from a file of the user's own: the lines that load them, whatever wrote them, and a check that they fit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import NotFoundError, WeightsError, did_you_mean
from .architectures import Architecture


def weights_lines(file: Path, arch: Architecture) -> list[str]:
    """Return the lines that load a file into the learner: a whole model as fastai saves it, or a bare architecture.

    Raises:
        FastmagicError: no such file, not a file of weights, or weights of another architecture.
    """
    if not file.is_file():
        folder = file.parent
        near = [p.name for p in folder.iterdir()] if folder.is_dir() else []
        raise NotFoundError(f"There is no file {str(file)!r}.", did_you_mean(file.name, near))
    safe = file.suffix == ".safetensors"
    if safe:
        load = ["from safetensors.torch import load_file", f"state = load_file({str(file)!r})"]
    else:
        # What learn.save writes holds the optimizer's state too: fastcore's lists and NumPy's numbers, no code.
        load = [
            "safe = [L, np.dtype, np.dtypes.Float64DType, np._core.multiarray.scalar]",
            "with torch.serialization.safe_globals(safe):",
            f"    state = torch.load({str(file)!r}, map_location='cpu', weights_only=True)",
        ]
    import fastai.vision.all as vision

    names: dict[str, Any] = dict(vars(vision))
    try:
        exec("\n".join(load), names)
    except Exception as error:
        raise WeightsError(
            f"{file.name} cannot be read as weights: {type(error).__name__}.",
            "It takes what learn.save wrote (.pth), or .safetensors; an exported .pkl goes to `predict`.",
        ) from error
    state = names["state"]
    if not isinstance(state, dict):
        raise WeightsError(
            f"{file.name} holds a {type(state).__name__}, not weights by name.",
            "Save with learn.save('name').",
        )
    if isinstance(state.get("model"), dict):
        state = state["model"]
        load.append("state = state['model']")
    keys = set(state)
    unet = any(key.startswith("layers.0.") for key in keys) and any(key.startswith("layers.1.") for key in keys)
    if unet or (any(key.startswith("1.") for key in keys) and any(key.startswith("0.") for key in keys)):
        return [*load, "learn.model.load_state_dict(state)"]
    if arch.library == "timm":
        bare, target = _bare(arch), "learn.model[0].model"
        lines = [*load, f"{target}.load_state_dict(state, strict=False)"]
    else:
        bare = _bare(arch)
        lines = [
            *load,
            f"bare = {arch.source}()",
            "bare.load_state_dict({k: v for k, v in state.items() if k in bare.state_dict() and v.shape == bare.state_dict()[k].shape}, strict=False)",
            f"learn.model[0].load_state_dict(create_body(bare, cut=model_meta.get({arch.source}, {{}}).get('cut')).state_dict())",
        ]
    # The classifier may be missing or have other classes; the body may not.
    matching = sum(1 for k, v in bare.items() if k in state and state[k].shape == v.shape)
    if matching < 0.9 * len(bare) - 4:
        raise WeightsError(
            f"{file.name} does not fit {arch.name}: {matching} of {len(bare)} tensors match.",
            "Name the architecture that these weights belong to.",
        )
    return lines


def _bare(arch: Architecture) -> Mapping[str, Any]:
    if arch.library == "timm":
        import timm

        return timm.create_model(arch.name, pretrained=False, num_classes=0).state_dict()
    return arch.value().state_dict()
