"""What a segmentation model said of a photo, to look at and to keep: `MaskPrediction` for one, `MaskPredictions` for many."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..data.mask_files import VOID
from ..data.targets import Target
from ..errors import FastmagicError, number, unwritable
from ..overlay import legend, overlay
from ..render import Displayed, Shown, escape, image_tag, item_name, text_table
from .predictions import ROWS_SHOWN, Predictions

HEIGHT = 240  # px of the photos shown


class MaskPrediction(Displayed):
    """What a segmentation model says about one photo.

    Attributes:
        mask: height × width array: the class number of each pixel, of the photo's own size; uint8 up to 256 classes.
        vocab: the classes' names by number.
        shares: the share of the pixels of every class that was found, by its name, the largest first.
        label: the class with the most pixels.
        image: the photo as a PIL image.
        source: where it came from, as text.
        seconds: from opening the photo to its mask, download not counted.
        note: what was lost in opening it, "" where nothing was.
    """

    def __init__(
        self, mask: Any, vocab: Sequence[str], image: Any, source: str, seconds: float, top: int, note: str = ""
    ):
        self.mask, self.vocab, self.image = mask, list(vocab), image
        self.source, self.seconds, self.note = source, seconds, note
        self._legend = legend(mask, self.vocab)
        self.shares = {name: share for name, _, share in self._legend}
        self.label = next(iter(self.shares))
        self._top = max(top, 8)

    def overlay(self) -> Any:
        """Return the photo with the classes of its pixels over it, as a PIL image."""
        return overlay(self.image, self.mask, len(self.vocab))

    def save(self, path: str | Path) -> Path:
        """Write the mask as a PNG of class numbers, as fastai's `PILMask` reads it, and return the path."""
        from PIL import Image

        path = Path(path).expanduser()
        path = path if path.suffix.lower() == ".png" else path.with_name(f"{path.name}.png")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(self.mask).save(path)
        except OSError as error:
            raise unwritable(path, error) from error
        return path

    def __repr__(self) -> str:
        rows = [[name, f"{share:.1%}"] for name, _, share in self._legend[: self._top]]
        height, width = self.mask.shape
        head = f"{item_name(self.source)}: {width} × {height} pixels, {number(len(self.shares), 'class', 'classes')}"
        return "\n".join([head, text_table(["class", "pixels"], rows), *filter(None, [self._rest(), self.note])])

    def forms(self) -> dict[str, Any]:
        rows = "".join(
            f'<tr><td><span style="display:inline-block;width:1em;height:1em;border-radius:2px;vertical-align:-.15em;'
            f'background:rgb{colour}"></span> {escape(name)}</td><td class="number">{share:.1%}</td></tr>'
            for name, colour, share in self._legend[: self._top]
        )
        photo = image_tag(self.image, HEIGHT, item_name(self.source))
        said = f"{item_name(self.source)}, the classes of its pixels over it"
        extra = "".join(f'<p class="dim">{escape(text)}</p>' for text in (self._rest(), self.note) if text)
        html = (
            f'<p><span class="dim">{escape(item_name(self.source))}</span></p>'
            f'<div style="display:flex;gap:1em;align-items:flex-start;flex-wrap:wrap">{photo}'
            f"{image_tag(self.overlay(), HEIGHT, said)}<div><table><tbody>{rows}</tbody></table>{extra}</div></div>"
        )
        return Shown(html, repr(self)).forms()

    def _rest(self) -> str:
        more = len(self._legend) - self._top
        return f"and {number(more, 'more class', 'more classes')} in .shares" if more > 0 else ""


class MaskPredictions(Predictions):
    """What a segmentation model says about many photos.

    Attributes:
        frame: one row a photo: `item`, `label` (the class with the most pixels), and `share(NAME)` of every class.
        masks: the mask of each, as of `MaskPrediction`.
        failed, seconds, note: as of `Predictions`.
    """

    def __init__(
        self, found: list[tuple[Any, MaskPrediction]], failed: list[tuple[str, str]], vocab: list[str], seconds: float
    ):
        import pandas as pd

        rows = [one for _, one in found]
        frame = pd.DataFrame({"item": [one.source for one in rows], "label": [one.label for one in rows]})
        for name in vocab:
            frame[f"share({name})"] = [one.shares.get(name, 0.0) for one in rows]
        frame.index = pd.Index([index for index, _ in found])
        drawn = {i: one.overlay() for i, one in enumerate(rows[:ROWS_SHOWN])}
        notes = list(dict.fromkeys(one.note for one in rows if one.note))
        super().__init__(frame, failed, Target("pixels", vocab), drawn, seconds, "; ".join(notes))
        self.masks = [one.mask for one in rows]

    def save(self, folder: str | Path) -> Path:
        """Write the masks as `NAME.png` into a folder, and return it.

        Raises:
            FastmagicError: two photos have the same name, or it cannot be written.
        """
        from PIL import Image

        folder = Path(folder).expanduser()
        names = [Path(str(item)).stem for item in self.frame["item"]]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise FastmagicError(f"Two photos are called '{twice[0]}'.", "Save each alone: `predictions.masks[0]`")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name, mask in zip(names, self.masks, strict=True):
                Image.fromarray(mask).save(folder / f"{name}.png")
        except OSError as error:
            raise unwritable(folder, error) from error
        return folder

    def _summary(self) -> str:
        said = f"{number(len(self.frame), 'photo')} in {self.seconds:.1f} s"
        means = {name: float(self.frame[f"share({name})"].mean()) for name in self._target.classes} if len(self) else {}
        most = sorted(means.items(), key=lambda one: -one[1])[:5]
        return f"{said}: {', '.join(f'{name} {share:.1%}' for name, share in most if share)}" if most else said


def mask_of(scores: Any, size: tuple[int, int], vocab: Sequence[str], threshold: float) -> Any:
    """Return the class of each pixel of a photo, as an array of a size, from what the model gives.

    Args:
        scores: classes × height × width tensor of probabilities; of one output, that of the second class.
        size: (height, width) px of the mask. Probabilities are resized one class at a time, so that a photo of 12 million
            pixels needs no gigabytes.
        vocab: the classes' names; one that means "not labelled" is never answered.
        threshold: of one output.
    """
    import torch
    from torch.nn.functional import interpolate

    def resized(i: int) -> Any:
        one = scores[i : i + 1][None].float()
        return (one if tuple(one.shape[-2:]) == size else interpolate(one, size, mode="bilinear"))[0, 0]

    if len(scores) == 1:
        return (resized(0) > threshold).to(torch.uint8).cpu().numpy()
    numbers = torch.uint8 if len(scores) <= 256 else torch.int16
    best: Any = None
    most: Any = None
    for i in range(len(scores)):
        if i < len(vocab) and vocab[i].strip().lower() in VOID:
            continue
        one = resized(i)
        if most is None:
            best, most = torch.full_like(one, i, dtype=numbers), one
        else:
            best[one > most] = i
            most = torch.maximum(most, one)
    return best.cpu().numpy()
