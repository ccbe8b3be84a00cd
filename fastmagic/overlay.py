"""A photo with the classes of its pixels over it, each in a colour that is always the same, and the legend to it."""

from __future__ import annotations

import colorsys
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from .render import figure_png, new_figure

STRENGTH = 0.55  # of the colours over the photo
LEFT_OUT = (128, 128, 128)  # of pixels that count for nothing


def class_colour(i: int) -> tuple[int, int, int]:
    """Return the colour of a class in a mask: hues a golden angle apart, in three lightnesses."""
    red, green, blue = colorsys.hls_to_rgb((i * 0.618) % 1, (0.5, 0.68, 0.34)[i % 3], 0.75)
    return round(255 * red), round(255 * green), round(255 * blue)


def picture_of(tensor: Any) -> Any:
    """Return what a loader's `decode` gives (channels × height × width, 0…1 or 0…255) as a PIL image."""
    import numpy as np
    from PIL import Image

    pixels = tensor.cpu().float().numpy()
    pixels = np.clip(pixels if pixels.max() > 1.5 else pixels * 255, 0, 255).astype("uint8")
    return Image.fromarray(pixels[0] if len(pixels) == 1 else pixels[:3].transpose(1, 2, 0)).convert("RGB")


def colours(mask: Any, count: int) -> Any:
    """Return a mask as a picture: height × width × 3, uint8; what is none of `count` classes is grey."""
    import numpy as np

    palette = np.array([*(class_colour(i) for i in range(count)), LEFT_OUT], dtype="uint8")
    mask = np.asarray(mask)
    return palette[np.where((mask >= 0) & (mask < count), mask, count)]


def overlay(picture: Any, mask: Any, count: int, hidden: Collection[int] = ()) -> Any:
    """Return a photo with a mask over it, as a PIL image.

    Args:
        picture: a PIL image.
        mask: height × width array of class numbers, of the picture's size.
        count: how many classes there are.
        hidden: classes that get no colour.
    """
    import numpy as np
    from PIL import Image

    photo, mask = np.asarray(picture.convert("RGB")).astype("float32"), np.asarray(mask)
    mixed = photo * (1 - STRENGTH) + colours(mask, count) * STRENGTH
    bare = np.isin(mask, list(hidden))[..., None]
    return Image.fromarray(np.where(bare, photo, mixed).astype("uint8"))


def legend(mask: Any, names: Sequence[str]) -> list[tuple[str, tuple[int, int, int], float]]:
    """Return (name, colour, share of the pixels) of every class in a mask, the largest first."""
    import numpy as np

    mask = np.asarray(mask)
    found = [(i, float((mask == i).mean())) for i in range(len(names))]
    return [(str(names[i]), class_colour(i), share) for i, share in sorted(found, key=lambda one: -one[1]) if share]


def overlays(
    drawn: Iterable[tuple[Any, Any, str]], names: Sequence[str], columns: int = 3, colour: str = "black"
) -> bytes:
    """Return photos with their masks over them as one PNG, a legend of the classes that occur below.

    Args:
        drawn: (PIL image, mask, title) of each.
        names: of the classes.
        columns: in a row.
        colour: of the titles.
    """
    import numpy as np
    from matplotlib.patches import Patch

    drawn = list(drawn)
    columns = max(1, min(columns, len(drawn)))
    rows = -(-len(drawn) // columns)
    figure, axes = new_figure(rows, columns, 2.7)
    figure.set_layout_engine("constrained")
    tallest = max((picture.height / picture.width for picture, _, _ in drawn), default=1)
    titled = any(title for _, _, title in drawn)
    figure.set_size_inches(2.7 * columns, rows * (2.7 * tallest + (0.45 if titled else 0.05)) + 0.6)
    seen: set[int] = set()
    for axis, (picture, mask, title) in zip(axes, drawn, strict=False):
        axis.imshow(np.asarray(overlay(picture, mask, len(names))))
        axis.set_title(title.replace("$", r"\$"), fontsize=9, color=colour)
        seen |= {int(value) for value in np.unique(mask) if 0 <= value < len(names)}
    patches = [Patch(color="#{:02x}{:02x}{:02x}".format(*class_colour(i)), label=str(names[i])) for i in sorted(seen)]
    if patches:
        figure.legend(handles=patches, loc="outside lower center", ncols=min(6, 2 * columns), fontsize=8, frameon=False)
    return figure_png(figure)
