"""`%datablock --explain`: one item walked through every step of a data block, with pictures, shapes and where it broke.

What `DataBlock.summary` prints, but to look at; and it goes on to say which item and which step failed.
"""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from ..errors import AnswerError
from ..render import Shown, escape, html_table, image_tag, text_table
from .datablock import plan as plan_block
from .plan import Plan
from .steps import Said, Step, is_item, item_name, steps_of


def explain(source: Any, *, item: int | str | None = None, **answers: Any) -> Shown:
    """Walk one item through every step of a data block.

    Args:
        source, **answers: as for `fastmagic.datablock`.
        item: a number, or part of the item's name; 0 by default.

    Returns:
        A table to look at: step, type, shape, values and picture; the first failure ends it.

    Example:
        >>> explain("bird_or_not", item=12)  # doctest: +SKIP
    """
    return walk(plan_block(source, given=answers), item)


def walk(plan: Plan, item: int | str | None = None) -> Shown:
    """Walk an item of a planned data block; see `explain`.

    Raises:
        FastmagicError: what stands behind these data is no `DataBlock`.
    """
    if "blocks" not in plan.kind.questions:
        raise AnswerError(
            f"`explain` walks an item of a DataBlock, and {plan.kind.name} are made otherwise.",
            "Without `explain` the first rows are shown; dls.show_batch() and dls.xs show more.",
        )
    from fastai.torch_core import no_random

    with no_random():
        return _table(*steps_of(plan, item))


def _table(item: Any, steps: list[Step]) -> Shown:
    header = ["", "step", "", "gives", "values"]
    rows, plain = [], []
    broken = None
    last_part = ""
    before: list[tuple[str, str]] = []
    for step in steps:
        part = step.part if step.part != last_part else ""
        last_part = step.part
        if step.error:
            broken = step
            gives, values, picture = "✗ broke here", step.error, ""
        else:
            pairs = [_describe(value) for value in (step.value if is_item(step.value) else [step.value])]
            # Of an item's parts, only those that this step changed.
            changed = [pair for pair in pairs if pair not in before] or pairs[:1]
            before = pairs
            gives, values, picture = (
                ", ".join(p[0] for p in changed),
                "; ".join(p[1] for p in changed),
                _thumbnail(step.value),
            )
        rows.append([escape(part), f"<code>{escape(step.name)}</code>", picture, escape(gives), escape(values)])
        plain.append([part, step.name, gives, values])
    what = item_name(item)
    ending = f"✗ It breaks in {broken.name}: see above." if broken else "✓ Every step works for this item."
    html = f"<p>Item <code>{escape(what)}</code></p>{html_table(header, rows, raw=range(5), wide=[1, 3, 4])}<p>{escape(ending)}</p>"
    text = f"Item {what}\n{text_table(('', 'step', 'gives', 'values'), plain)}\n{ending}"
    return Shown(html, text)


def _describe(value: Any) -> tuple[str, str]:
    """Return type with shape, and the range or the value itself."""
    if isinstance(value, Said):
        return value, ""
    name = type(value).__name__
    if hasattr(value, "getbands"):
        low, high = value.convert("L").getextrema()
        return f"{name} {value.size[0]} × {value.size[1]} px, {value.mode}", f"{low} … {high}"
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        shape = " × ".join(str(n) for n in value.shape) or "one number"
        kind = str(value.dtype).removeprefix("torch.")
        numbers = value.float()
        if numbers.numel() == 1:
            return f"{name} {kind}", f"{numbers.item():g}"
        return (
            f"{name} {shape}, {kind}",
            f"{numbers.min().item():.3g} … {numbers.max().item():.3g}, mean {numbers.mean().item():.3g}",
        )
    if isinstance(value, PurePath):
        return name, f"{value.parent.name}/{value.name}"
    return name, str(value)[:120]


def _thumbnail(value: Any) -> str:
    if is_item(value):
        return _thumbnail(value[0])
    if hasattr(value, "getbands"):
        return image_tag(value.copy(), alt="the picture after this step")
    if hasattr(value, "dtype") and getattr(value, "ndim", 0) in (3, 4):
        picture = value[0] if value.ndim == 4 else value
        if picture.shape[0] not in (1, 3):
            return ""
        from PIL import Image

        numbers = picture.detach().cpu().float()
        low, high = (
            (0.0, 255.0)
            if numbers.max() > 4
            else (0.0, 1.0)
            if numbers.min() >= 0 and numbers.max() <= 1
            else (numbers.min().item(), numbers.max().item())
        )
        array = ((numbers - low) / max(high - low, 1e-6)).clamp(0, 1).mul(255).byte().permute(1, 2, 0).numpy()
        return image_tag(Image.fromarray(array.squeeze()), alt="the picture after this step")
    return ""
