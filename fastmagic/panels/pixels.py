"""`fastmagic.pixels`: the pixel inspector, a loupe over the numbers that a picture is, and over those a model gets."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from typing import Any

from ..data.items import item_list, item_source
from ..data.raster import Raster, number, raster_of
from ..data.steps import choose, loader_steps
from ..errors import AnswerError, FastmagicError, few
from ..render import escape
from .panel import Encoded, Panel, Still, png_tag

WHOLE = 600_000  # bytes of numbers up to which a picture goes to the browser in one piece
CLASSES = 5
BRUSH = 200  # px, the widest


def pixels(item: Any, learn: Any = None, *, index: int | str | None = None, split: str = "train") -> Pixels:
    """Show a picture as numbers: a loupe, the coordinates, R, G and B of every pixel, single channels.

    Of `DataLoaders` (or a `Learner`), an item is walked through every item and batch transform, as the model gets it.
    With a learner at hand, pixels can be painted over and the prediction be seen to move. No file is changed.

    Args:
        item: a picture file, an http(s) address, bytes, a PIL image, an array or tensor (H×W, H×W×3, C×H×W, or a
            batch with `index`), what `fastmagic.predict` returned, `DataLoaders` or a `Learner`.
        learn: the fastai `Learner` that says what it sees while one paints; none, no painting.
        index: of `DataLoaders` or a batch, which picture: a number, or for items part of the file's name.
        split: whether `index` counts in the "train" or in the "valid" set.

    Returns:
        The panel; `at(x, y)` gives the numbers of a pixel, `painted()` the painted picture.

    Raises:
        FastmagicError: there is no such file, item or picture.

    Example:
        >>> fastmagic.pixels("bird.jpg")         # doctest: +SKIP
        bird.jpg: 256 × 171 × 3 numbers between 0 and 255; at x 85, y 128: R 251 G 48 B 21 (#fb3015)
        >>> fastmagic.pixels(dls, index=12)      # doctest: +SKIP
    """
    if learn is not None and (why := cannot_see(learn)):
        raise FastmagicError(why, "Give a learner for pictures, or none.")
    if hasattr(item, "dls") and hasattr(item, "model"):
        learn = learn if learn is not None or cannot_see(item) else item
        item = item.dls
    if hasattr(item, "loaders"):
        return Pixels(_Walk(item, index, split), learn)
    if index is not None and not isinstance(index, int):
        raise AnswerError(f"{index!r} is no number of a picture.", "Names go with DataLoaders: pixels(dls, index=…).")
    if index is not None and getattr(item, "ndim", 0) != 4:
        raise FastmagicError("Only DataLoaders and batches hold several pictures.", "Leave the number out.")
    return Pixels(_One(raster_of(item, index)), learn)


def cannot_see(learn: Any) -> str:
    """Return why a learner cannot say what it sees in a picture, or "" where it can."""
    from ..data.opening import image_class
    from ..learning.forward import runs_on_transforms, target_of

    if not hasattr(learn, "dls") or not hasattr(learn, "model"):
        return f"A {type(learn).__name__} is no learner."
    if not runs_on_transforms(learn.dls) or image_class(learn.dls.loaders[-1].dataset) is None:
        return "This learner was not trained on pictures."
    try:
        target_of(learn)
    except FastmagicError as error:
        return error.cause
    return ""


def pixels_code(source: str, dls: str | None = None, index: int | str | None = None, split: str = "train") -> str:
    """Return the plain fastai program that shows the same numbers.

    Args:
        source: a Python expression for the picture; unused with `dls`.
        dls: a Python expression for `DataLoaders`, to walk item `index` of `split`.

    >>> print(pixels_code("'bird.jpg'"))
    from fastai.vision.all import *
    <BLANKLINE>
    im = PILImage.create('bird.jpg')
    a = np.array(im)
    y, x = a.shape[0] // 2, a.shape[1] // 2
    print(a.shape, a.min(), a.max(), a[y, x])
    """
    lines = ["from fastai.vision.all import *", ""]
    if dls is None:
        return "\n".join(
            [
                *lines,
                f"im = PILImage.create({source})",
                "a = np.array(im)",
                "y, x = a.shape[0] // 2, a.shape[1] // 2",
                "print(a.shape, a.min(), a.max(), a[y, x])",
            ]
        )
    number, split_idx = index if isinstance(index, int) else 0, 0 if split == "train" else 1
    loader = f"{dls}.{split}"
    lines += [f"sample = {loader}.dataset[{number}]"]
    if isinstance(index, str):
        lines[-1:] = [
            f"number = next(i for i, item in enumerate({loader}.dataset.items) if {index!r} in str(item))",
            f"sample = {loader}.dataset[number]",
        ]
    return "\n".join(
        [
            *lines,
            f"for transform in {loader}.after_item.fs:",
            f"    sample = transform(sample, split_idx={split_idx})",
            "    print(transform.name, np.array(sample[0]).shape)",
            f"batch = to_device({loader}.retain({loader}.create_batch([sample]), [sample]), {loader}.device)",
            f"for transform in {loader}.after_batch.fs:",
            f"    batch = transform(batch, split_idx={split_idx})",
            "    print(transform.name, batch[0].shape, batch[0].min().item(), batch[0].max().item())",
        ]
    )


# ---------------------------------------------------------------- what is looked at


@dataclass
class View:
    """One picture to look at: the only one, or an item after one of its steps."""

    raster: Raster | None
    name: str = ""
    part: str = ""
    given: str = ""
    error: str = ""


class _One:
    """A picture by itself."""

    walk: dict[str, Any] | None = None

    def __init__(self, raster: Raster):
        self.name = raster.name
        self.views = [View(raster)]
        self.canvas = 0 if raster.paintable else None

    def repaint(self) -> None:
        """Nothing follows from this picture."""


class _Walk:
    """An item of `DataLoaders`, step by step."""

    name: str
    views: list[View]
    canvas: int | None
    index: int
    split: str
    training: bool

    def __init__(self, dls: Any, index: int | str | None, split: str):
        from ..data.opening import image_class

        if split not in ("train", "valid"):
            raise AnswerError(f"{split!r} is not a set here.", "Choose from train, valid.")
        loaders = [loader for loader in dls.loaders if hasattr(getattr(loader, "dataset", None), "tls")]
        if not loaders or image_class(loaders[0].dataset) is None:
            raise FastmagicError(
                "The items of these dataloaders are no pictures.", "Give DataLoaders of an ImageBlock."
            )
        self.dls = dls
        self.go(index if index is not None else 0, split)

    def go(self, index: int | str, split: str = "", training: bool | None = None, roll: int = 0) -> None:
        """Turn to an item, with what is only for training or without, random transforms drawn anew by `roll`."""
        split = split or self.split
        loader = self.dls.train if split == "train" else self.dls.valid
        items = item_list(loader.dataset)
        if not items:
            raise FastmagicError(
                f"The {split} set holds no items.", "An exported learner carries none: give a picture."
            )
        item, found = choose(items, index)
        self.loader, self.item, self.index, self.split, self.count = loader, item, found, split, len(items)
        self.training = training if training is not None else split == "train"
        self.roll = roll
        self._steps(None)

    def repaint(self) -> None:
        """Let the painted picture go through the steps that follow it."""
        assert self.canvas is not None
        self._steps(self.views[self.canvas])

    def _steps(self, painted: View | None) -> None:
        opened = painted.raster.image() if painted is not None and painted.raster is not None else None
        if painted is None:
            disk = View(None, "as it lies on disk", "input")
            try:  # a getter of the user's own fails in its own way, and the steps below say so
                disk.raster = raster_of(item_source(self.loader.dataset, self.item))
            except Exception as error:
                disk.error = str(error)
            self.views = [disk]
            self.name = disk.raster.name if disk.raster is not None else str(self.item)
        self.views, self.canvas = self.views[:1], None
        steps = loader_steps(self.loader, self.item, training=self.training, seed=42 + self.roll, opened=opened)
        for step in steps:
            shown = View(None, step.name, step.part, step.given, step.error)
            if isinstance(step.value, (str, os.PathLike, bytes)):
                continue  # what a getter gives on the way to the picture
            if not step.error:
                try:
                    shown.raster = raster_of(step.value, name=self.name)
                except FastmagicError:
                    continue
            if hasattr(step.value, "getbands") and self.canvas is None and shown.raster is not None:
                if painted is not None:
                    shown = painted
                if shown.raster is not None and shown.raster.paintable:
                    self.canvas = len(self.views)
            self.views.append(shown)

    @property
    def walk(self) -> dict[str, Any]:
        """What a browser needs to know to show where it is."""
        before: Raster | None = None
        steps = []
        for view in self.views:
            same = view.part != "input" and before is not None and _same(before, view.raster)
            told = {"name": view.name, "part": view.part, "given": view.given, "error": view.error}
            steps.append({**told, "same": same})
            before = view.raster or before
        where = {"index": self.index, "count": self.count, "split": self.split, "training": self.training}
        return {"steps": steps, "roll": self.roll, **where}


def _same(one: Raster, other: Raster | None) -> bool:
    import numpy as np

    if other is None or one.shape != other.shape or one.dtype != other.dtype:
        return False
    # fastai's affine transforms interpolate in validation too, over a grid that leaves all but the last bits alone.
    return bool(np.allclose(one.pixels, other.pixels, atol=1e-5, equal_nan=True))


class Painting:
    """A picture that is painted on, and how it was: strokes can be taken back one by one."""

    def __init__(self, raster: Raster):
        self.raster, self.original = raster, raster.pixels
        self.strokes: list[tuple[int, list[tuple[Any, Any]]]] = []

    def add(self, stroke: int, size: int, colour: str, dabs: Any) -> None:
        """Put squares of `size` px around points; those of one number are one stroke."""
        value = self._value(colour)
        areas = [(self._area(int(x), int(y), size), value) for x, y in dabs]
        if not self.strokes:
            self.raster.pixels = self.original.copy()
            self.raster.drop_preview()
        if not self.strokes or self.strokes[-1][0] != stroke:
            self.strokes.append((stroke, []))
        self.strokes[-1][1].extend(areas)
        self._fill(areas)

    def undo(self) -> None:
        """Take the last stroke back."""
        if not self.strokes:
            return
        _, gone = self.strokes.pop()
        for area, _ in gone:
            self.raster.pixels[area] = self.original[area]
        for _, areas in self.strokes:
            self._fill(areas)

    def reset(self) -> None:
        """Take every stroke back."""
        self.strokes.clear()
        self.raster.pixels = self.original

    def _fill(self, areas: list[tuple[Any, Any]]) -> None:
        for area, value in areas:
            self.raster.pixels[area] = value

    def _area(self, x: int, y: int, size: int) -> tuple[slice, slice]:
        left, top = x - (size - 1) // 2, y - (size - 1) // 2
        return slice(max(0, top), max(0, top + size)), slice(max(0, left), max(0, left + size))

    def _value(self, colour: str) -> Any:
        import numpy as np

        rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        if len(self.raster.bands) == 1:
            # Luma as Pillow's own conversion to grey has it (ITU-R 601).
            return np.uint8((rgb[0] * 299 + rgb[1] * 587 + rgb[2] * 114) // 1000)
        return np.array([*rgb, 255][: len(self.raster.bands)], np.uint8)


# ---------------------------------------------------------------- the panel


class Pixels(Panel):
    """The pixel inspector; made by `fastmagic.pixels`."""

    module = "pixels"

    def __init__(self, subject: _One | _Walk, learn: Any = None):
        self._subject, self._learn = subject, learn
        self._step = 0
        self._channel: int | None = None
        self._place = (0.5, 0.5)  # of the width and the height: it is kept from step to step
        self._painting: Painting | None = None
        self._stale = False
        self._unpainted: Any = None
        super().__init__()

    def at(self, x: int, y: int, step: int | None = None) -> tuple[float, ...]:
        """Return the numbers of a pixel, of the step that is shown or another."""
        raster = self._raster(self._step if step is None else step)
        if not (0 <= x < raster.width and 0 <= y < raster.height):
            raise AnswerError(
                f"There is no pixel x {x}, y {y}.", f"The picture is {raster.width} wide and {raster.height} high."
            )
        return raster.at(x, y)

    def painted(self) -> Any:
        """Return the picture with what was painted on it, as a PIL image."""
        if self._subject.canvas is None:
            raise FastmagicError("This picture cannot be painted.", "Only 8-bit grey, RGB and RGBA pictures can.")
        return self._raster(self._subject.canvas).image()

    # ------------------------------------------------------------ what the browser asks

    def state(self) -> dict[str, Any]:
        return {
            "name": self._subject.name,
            "step": self._step,
            "channel": self._channel,
            "place": list(self._place),
            "walk": self._subject.walk,
            "learn": self._learn is not None,
            "canvas": self._subject.canvas,
            "strokes": len(self._painting.strokes) if self._painting else 0,
            **self._shown(),
        }

    def on_picture(self, step: int, channel: int | None) -> dict[str, Any]:
        """Give what is needed to begin looking at a step."""
        self._follow()
        view = self._subject.views[step]
        self._step = step
        bands = view.raster.bands if view.raster is not None else ()
        self._channel = channel if channel is not None and channel < len(bands) > 1 else None
        return {"step": step, "channel": self._channel, **self._shown()}

    def _shown(self) -> dict[str, Any]:
        view = self._subject.views[self._step]
        raster = view.raster
        if raster is None:
            return {"picture": None}
        whole = raster.pixels.nbytes <= WHOLE
        picture: dict[str, Any] = {
            "width": raster.width,
            "height": raster.height,
            "bands": list(raster.bands),
            "dtype": raster.dtype,
            "coloured": raster.mode not in ("CMYK", "YCbCr", "HSV", "LAB"),
            "black": raster.black,
            "white": raster.white,
            "rescaled": raster.rescaled,
            "sentence": raster.sentence(),
            "axes": raster.axes,
            "place": raster.place,
            "note": raster.note,
        }
        if whole:
            picture["data"] = raster.window(0, 0, raster.width, raster.height)
        if not whole or not picture["coloured"]:
            picture["overview"] = _encoded(raster.overview(self._channel))
        return {"picture": picture}

    def on_window(self, step: int, x: int, y: int, width: int, height: int) -> dict[str, Any]:
        """Give the numbers of a part of the picture, at most 256 × 256 of them."""
        self._follow()
        return {"x": x, "y": y, "data": self._raster(step).window(x, y, min(width, 256), min(height, 256))}

    def on_view(
        self, step: int, channel: int | None, x: int, y: int, width: int, height: int, size: list[int]
    ) -> dict[str, Any]:
        """Give a part of the picture to look at, reduced to `size` where it is larger."""
        self._follow()
        most = (min(size[0], 2000), min(size[1], 2000))
        image = self._raster(step).view(x, y, width, height, most, channel)
        exact = image.width >= width
        return {"x": x, "y": y, "width": width, "height": height, "picture": _encoded(image, exact)}

    def on_look(self, x: float, y: float, channel: int | None) -> None:
        """Note where the reader looks, and at what, for the still."""
        self._place, self._channel = (x, y), channel

    def on_walk(self, index: int | str, split: str = "", training: bool | None = None, roll: int = 0) -> dict[str, Any]:
        """Turn to another item, or to the same one under other random numbers."""
        subject = self._subject
        assert isinstance(subject, _Walk)
        other = (index, split or subject.split) != (subject.index, subject.split)
        painted = not other and self._painting is not None and bool(self._painting.strokes)
        if painted:
            subject.training = training if training is not None else subject.training
            subject.roll = roll
            subject.repaint()
        else:
            subject.go(index, split, training, roll)
            self._painting = self._unpainted = None
        self._stale = False
        self._step = min(self._step, len(subject.views) - 1)
        return self.state()

    def on_paint(self, stroke: int, size: int, colour: str, dabs: list[list[int]]) -> dict[str, Any]:
        """Paint a stroke, or more of it, and say what the model sees now."""
        if self._subject.canvas is None or self._learn is None:
            raise FastmagicError("There is nothing to paint here.", "A learner and an 8-bit picture are needed.")
        before = self._before()
        if self._painting is None:
            self._painting = Painting(self._raster(self._subject.canvas))
        self._painting.add(stroke, max(1, min(size, BRUSH)), colour, dabs)
        return self._changed(before)

    def on_undo(self) -> dict[str, Any]:
        """Take the last stroke back."""
        if self._painting is not None:
            self._painting.undo()
        return self._changed(self._before())

    def on_reset(self) -> dict[str, Any]:
        """Take all strokes back."""
        if self._painting is not None:
            self._painting.reset()
        return self._changed(self._before())

    def on_predict(self) -> dict[str, Any]:
        """Say what the model sees in the picture as it is now."""
        return {"prediction": self._compared(self._before())}

    # ------------------------------------------------------------ the model

    def _before(self) -> Any:
        """Return the prediction for the unpainted picture, made once."""
        if self._unpainted is None:
            self._unpainted = self._predicted()
        return self._unpainted

    def _predicted(self) -> Any:
        from ..learning.predict import predict

        if self._learn is None:
            raise FastmagicError("There is no learner here.", "Give one: pixels(…, learn).")
        raster = self._raster(self._subject.canvas or 0)
        return predict(raster.image(), self._learn)

    def _changed(self, before: Any) -> dict[str, Any]:
        self._stale = True
        strokes = len(self._painting.strokes) if self._painting else 0
        return {"strokes": strokes, "prediction": self._compared(before)}

    def _compared(self, before: Any) -> dict[str, Any]:
        painted = self._painting is not None and bool(self._painting.strokes)
        now = self._predicted() if painted else before
        if not now.probabilities:
            values = [v if isinstance(v, list) else [v] for v in (now.label, before.label)]
            rows = [
                [f"output {i + 1}" if len(values[0]) > 1 else "", a, b]
                for i, (a, b) in enumerate(zip(*values, strict=True))
            ]
            return {"kind": "numbers", "label": "", "rows": rows, "seconds": now.seconds, "painted": painted}
        most = sorted(now.probabilities, key=lambda c: -max(now.probabilities[c], before.probabilities[c]))
        # In the order of the unpainted picture, so that bars move and names stay.
        names = sorted(most[:CLASSES], key=lambda c: -before.probabilities[c])
        rows = [[str(c), now.probabilities[c], before.probabilities[c]] for c in names]
        return {
            "kind": "classes",
            "label": _label(now),
            "before": _label(before),
            "rows": rows,
            "more": len(now.probabilities) - len(names),
            "seconds": now.seconds,
            "painted": painted,
        }

    # ------------------------------------------------------------ helpers and the still

    def _raster(self, step: int) -> Raster:
        raster = self._subject.views[step].raster
        if raster is None:
            raise FastmagicError(f"Step {step} has no picture: {self._subject.views[step].error}")
        return raster

    def _follow(self) -> None:
        """Bring the steps after the painted one up to date, when one looks at them."""
        if self._stale:
            self._subject.repaint()
            self._stale = False

    def still(self) -> Still:
        self._follow()
        subject = self._subject
        view = subject.views[self._step]
        head = subject.name
        if isinstance(subject, _Walk):
            head = f"{subject.name} (item {subject.index} of {subject.split}), step {self._step + 1} of "
            head += f"{len(subject.views)}, {view.name}"
        if view.raster is None:
            text = f"{head}: {view.error}"
            return Still(f"<p>{escape(text)}</p>", text)
        raster = view.raster
        x = min(int(self._place[0] * raster.width), raster.width - 1)
        y = min(int(self._place[1] * raster.height), raster.height - 1)
        text = f"{head}: {raster.sentence()}; at {raster.says(x, y)}"
        lines = [text]
        if len(subject.views) > 1:
            lines += [
                f"{i + 1}. {v.name}: {v.raster.sentence() if v.raster else '✗ ' + v.error}"
                for i, v in enumerate(subject.views)
            ]
        picture = _drawn(raster, x, y, self._channel)
        steps = "".join(f"<li>{escape(line.split('. ', 1)[1])}</li>" for line in lines[1:])
        html = (
            f"<p><b>{escape(head)}</b>: {escape(raster.sentence())} "
            f'<span class="dim">({escape(raster.axes)})</span></p>'
            f'<div style="display:flex;flex-wrap:wrap;gap:12px;align-items:flex-start">'
            f"{png_tag(picture, text)}"
            f"<div><p>{escape(raster.says(x, y))}</p>{_numbers(raster, x, y)}</div></div>"
            f"{f'<ol>{steps}</ol>' if steps else ''}{f'<p class=dim>{escape(raster.note)}</p>' if raster.note else ''}"
        )
        return Still(html, "\n".join(lines), picture)


def _label(prediction: Any) -> str:
    label = prediction.label
    return few(label) if isinstance(label, list) else str(label)


def _encoded(image: Any, exact: bool = False) -> Encoded:
    """Return a picture for the browser; `exact` ones, whose pixels are looked at, without loss."""
    buffer = io.BytesIO()
    if exact or image.mode not in ("RGB", "L"):
        image.save(buffer, "PNG", compress_level=1)
        return Encoded(buffer.getvalue(), "image/png")
    image.save(buffer, "JPEG", quality=88)
    return Encoded(buffer.getvalue())


def _drawn(raster: Raster, x: int, y: int, channel: int | None, cells: int = 11) -> bytes:
    """Return a PNG of the picture with a crosshair, and the pixels around it enlarged; at most some 70 KB.

    The PNG has a palette: 120 colours for the picture, the loupe's own besides, so that those are true.
    """
    from PIL import Image, ImageDraw

    cell, half, shades = 24, cells // 2, 120
    side = cells * cell + 1
    image = _on_white(raster.overview(channel, most=3 * side))
    factor = min(side / image.height, 1.5 * side / image.width)
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    image = image.resize(size, Image.Resampling.NEAREST if factor > 1 else Image.Resampling.LANCZOS)
    around = {
        (column, row): _on_white(raster.view(x + column - half, y + row - half, 1, 1, (1, 1), channel)).getpixel((0, 0))
        for column in range(cells)
        for row in range(cells)
        if 0 <= x + column - half < raster.width and 0 <= y + row - half < raster.height
    }
    colours = list(dict.fromkeys([(255, 255, 255), (0, 0, 0), (128, 128, 128), *around.values()]))
    white, black, line = range(shades, shades + 3)
    for few_shades in (shades, 40, 12):  # noise takes many bytes
        picture = image.quantize(few_shades, dither=Image.Dither.NONE)
        sheet = Image.new("P", (size[0] + 12 + side, max(size[1], side)), white)
        palette = (picture.getpalette() or [])[: 3 * shades]
        sheet.putpalette([*palette, *[0] * (3 * shades - len(palette)), *(v for rgb in colours for v in rgb)])
        sheet.paste(picture, (0, 0))
        draw = ImageDraw.Draw(sheet)
        cx, cy = (x + 0.5) / raster.width * size[0], (y + 0.5) / raster.height * size[1]
        for ink, width in ((black, 3), (white, 1)):
            for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1)):
                draw.line([cx + 5 * dx, cy + 5 * dy, cx + 16 * dx, cy + 16 * dy], fill=ink, width=width)
        left = size[0] + 12
        for (column, row), rgb in around.items():
            box = [left + column * cell, row * cell, left + (column + 1) * cell, (row + 1) * cell]
            draw.rectangle(box, fill=shades + colours.index(rgb), outline=line)
        middle = [left + half * cell, half * cell, left + (half + 1) * cell, (half + 1) * cell]
        draw.rectangle(middle, outline=black, width=3)
        draw.rectangle([middle[0] + 1, middle[1] + 1, middle[2] - 1, middle[3] - 1], outline=white)
        buffer = io.BytesIO()
        sheet.save(buffer, "PNG")
        if buffer.tell() < 68_000:
            break
    return buffer.getvalue()


def _on_white(image: Any) -> Any:
    from PIL import Image

    if image.mode != "RGBA":
        return image.convert("RGB")
    ground = Image.new("RGB", image.size, "white")
    ground.paste(image, mask=image.getchannel("A"))
    return ground


def _numbers(raster: Raster, x: int, y: int, half: int = 2) -> str:
    """Return the numbers around a pixel as an HTML table whose cells have the pixels' colours."""
    columns = [c for c in range(x - half, x + half + 1) if 0 <= c < raster.width]
    head = "".join(f'<th class="number">x {c}</th>' for c in columns)
    rows = ""
    for r in range(max(0, y - half), min(raster.height, y + half + 1)):
        cells = ""
        for c in columns:
            red, green, blue = _on_white(raster.view(c, r, 1, 1, (1, 1))).getpixel((0, 0))
            ink = "#000" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "#fff"
            mark = ";outline:2px solid #0072b2" if (c, r) == (x, y) else ""
            values = " ".join(number(v) for v in raster.at(c, r))
            cells += (
                f'<td class="number" style="background:rgb({red},{green},{blue})!important;color:{ink};'
                f'padding:2px 6px!important{mark}">{values}</td>'
            )
        rows += f"<tr><th>y {r}</th>{cells}</tr>"
    return f"<table><thead><tr><th></th>{head}</tr></thead><tbody>{rows}</tbody></table>"
