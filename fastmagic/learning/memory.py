"""Out of memory: how it is told from other errors, and what has to be let go."""

from __future__ import annotations

import gc
import traceback
from typing import Any


def in_model(error: BaseException) -> bool:
    """Tell whether an exception came out of a module's forward pass."""
    frames = traceback.walk_tb(error.__traceback__)
    return any(frame.f_code.co_name == "_call_impl" for frame, _ in frames)


def out_of_memory(error: BaseException) -> bool:
    if type(error).__name__ in ("OutOfMemoryError", "MemoryError"):
        return True
    return isinstance(error, RuntimeError) and ("out of memory" in str(error) or "can't allocate memory" in str(error))


def let_go(learn: Any, error: BaseException, names: dict[str, Any]) -> None:
    """Free what a failed batch held: its tensors live on in the traceback's frames and in the learner."""
    import torch

    traceback.clear_frames(error.__traceback__)
    error.__traceback__ = None
    if learn is not None:
        learn._end_cleanup()
        learn.opt = None
        learn.model.zero_grad(set_to_none=True)
        learn.model.cpu()
    names.clear()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
