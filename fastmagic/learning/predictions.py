"""What a model said, to look at and to keep: `Prediction` for one item, `Predictions` for many."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from ..errors import FastmagicError, few, unwritable
from ..render import Displayed, Shown, escape, html_table, image_tag, item_name, text_table
from .forward import Target

ROWS_SHOWN = 10
CLASSES_SHOWN = 5


class Prediction(Displayed):
    """What a model says about one item.

    Attributes:
        label: the class; for a multi-label model the list of classes above its threshold; for a model that
            answers numbers the number, or a list of them.
        probability: that of `label`, 0…1; `None` for several labels and for numbers.
        probabilities: of every class by its name, likeliest first; empty for numbers.
        image: the item as a PIL image, with the model's eyes (RGB or grey), or as it is drawn for the model (a spectrogram);
            `None` for text and tables.
        source: where the item came from, as text.
        seconds: from opening the item to its label, download not counted.
        note: what was lost in opening it, "" where nothing was.
    """

    def __init__(
        self, target: Target, activations: Any, picture: Any, source: str, seconds: float, top: int, note: str = ""
    ):
        self.label = label_of(target, activations)
        order = sorted(range(len(target.classes)), key=lambda i: -activations[i])
        self.probabilities: dict[Any, float] = {target.classes[i]: float(activations[i]) for i in order}
        self.probability = self.probabilities[self.label] if target.kind == "class" else None
        self.image, self.source, self.seconds, self.note = picture, source, seconds, note
        self.player = ""  # HTML that plays a sound
        self._top = top

    def __repr__(self) -> str:
        lines = [f"{item_name(self.source)}: {self._decision()}"]
        shown, rest = self._shown_classes()
        width = max((len(str(name)) for name, _ in shown), default=0)
        lines += [f"{name!s:<{width}}  {_text_bar(p)} {p:6.1%}" for name, p in shown]
        return "\n".join([*lines, *filter(None, [rest, self.note])])

    def forms(self) -> dict[str, Any]:
        shown, rest = self._shown_classes()
        bars = "".join(
            f'<tr><td>{escape(name)}</td><td style="width:12em"><span class="bar{"" if first else " other"}" '
            f'style="width:{100 * p:.1f}%;min-width:1px"></span></td><td class="number">{p:.1%}</td></tr>'
            for name, p, first in ((name, p, self._is_given(name)) for name, p in shown)
        )
        picture = image_tag(self.image, 128, item_name(self.source)) if self.image is not None else ""
        html = (
            f'<div style="display:flex;gap:1em;align-items:center;flex-wrap:wrap"><div>{picture}{self.player}</div><div>'
            f'<p><b style="font-size:1.25em">{escape(self._decision())}</b> '
            f'<span class="dim">{escape(item_name(self.source))}</span></p>'
            f"<table><tbody>{bars}</tbody></table>"
            f"{''.join(f'<p class=dim>{escape(text)}</p>' for text in (rest, self.note) if text)}</div></div>"
        )
        return Shown(html, repr(self)).forms()

    def _decision(self) -> str:
        if self.probability is not None:
            return f"{self.label} ({self.probability:.1%})"
        return label_text(self.label) or "none of the labels"

    def _is_given(self, name: Any) -> bool:
        return name in self.label if isinstance(self.label, list) else name == self.label

    def _shown_classes(self) -> tuple[list[tuple[Any, float]], str]:
        # A label that was given is always shown, however many there are.
        top = max(self._top, len(self.label) if isinstance(self.label, list) else 1)
        shown = list(self.probabilities.items())[:top]
        more = len(self.probabilities) - len(shown)
        return shown, f"and {more} more {'class' if more == 1 else 'classes'}" if more else ""


class Predictions(Displayed):
    """What a model says about many items; `frame` is the table.

    Attributes:
        frame: one row an item, in order: `item`, `label` (a list for multi-label models), `probability` of
            the label (single-label models), and `p(NAME)` for every class. For predictions from a DataFrame
            it has that frame's index, so that `df.join(predictions.frame)` puts both side by side.
        failed: (item, reason) for every item that could not be read.
        seconds: for everything.
        note: what was lost in opening some of them, "" where nothing was.
        headline: what they are together: a recording of which these are windows, say.
    """

    def __init__(
        self,
        frame: Any,
        failed: list[tuple[str, str]],
        target: Target,
        files: dict[Any, Any],
        seconds: float,
        note: str = "",
    ):
        self.frame, self.failed, self.seconds, self.note, self.headline = frame, failed, seconds, note, ""
        self._target, self._files = target, files

    def __len__(self) -> int:
        return len(self.frame)

    def to_csv(self, path: str | Path) -> Path:
        """Write the table as CSV (several labels joined by ';', as fastai shows them) and return the path.

        The items that could not be read stand at the end, with an empty label and the reason in `error`.
        """
        import pandas as pd

        frame = self.frame.assign(label=self.frame["label"].map(label_text))
        if self.failed:
            errors = pd.DataFrame(self.failed, columns=["item", "error"])
            frame = pd.concat([frame, errors], ignore_index=True)
        try:
            Path(path).expanduser().parent.mkdir(parents=True, exist_ok=True)
            frame.to_csv(Path(path).expanduser(), index=False)
        except OSError as error:
            raise unwritable(path, error) from error
        return Path(path).expanduser()

    def __repr__(self) -> str:
        lines = [*([self.headline] if self.headline else []), self._summary()]
        if len(self.frame):
            rows = [row for _, row in self._first_rows()]
            lines.append(text_table(self._header(), rows))
            if len(self.frame) > ROWS_SHOWN:
                lines.append(f"… {len(self.frame) - ROWS_SHOWN} more in .frame")
        if self.failed:
            lines += [
                f"Skipped {len(self.failed)}:",
                *(f"  {item_name(item)}: {_one_line(why)}" for item, why in self.failed[:ROWS_SHOWN]),
            ]
            if len(self.failed) > ROWS_SHOWN:
                lines.append(f"  … {len(self.failed) - ROWS_SHOWN} more in .failed")
        lines += [self.note] if self.note else []
        return "\n".join(lines)

    def forms(self) -> dict[str, Any]:
        parts = [f"<p><b>{escape(self.headline)}</b></p>"] if self.headline else []
        parts.append(f"<p>{escape(self._summary())}</p>")
        if len(self.frame):
            thumbnails = {index: _thumbnail(self._files.get(index)) for index, _ in self._first_rows()}
            pictures = any(thumbnails.values())
            rows = [[thumbnails[index], *row] if pictures else row for index, row in self._first_rows()]
            parts.append(html_table([""] * pictures + self._header(), rows, raw=[0] if pictures else []))
            if len(self.frame) > ROWS_SHOWN:
                parts.append(f'<p class="dim">… {len(self.frame) - ROWS_SHOWN} more in <code>.frame</code></p>')
        if self.failed:
            rows = [[item_name(item), _one_line(why)] for item, why in self.failed[:ROWS_SHOWN]]
            parts.append(f"<p><b>Skipped {len(self.failed)}</b></p>{html_table(['item', 'why'], rows, wide=[1])}")
            if len(self.failed) > ROWS_SHOWN:
                parts.append(f'<p class="dim">… {len(self.failed) - ROWS_SHOWN} more in <code>.failed</code></p>')
        parts += [f'<p class="dim">{escape(self.note)}</p>'] if self.note else []
        return Shown("".join(parts), repr(self)).forms()

    def _summary(self) -> str:
        count = f"{len(self.frame)} {'item' if len(self.frame) == 1 else 'items'} in {self.seconds:.1f} s"
        if self._target.kind == "numbers":
            return count
        labels = Counter(
            name for label in self.frame["label"] for name in (label if isinstance(label, list) else [label])
        )
        counts = few((f"{n} × {name}" for name, n in labels.most_common()), 8)
        return f"{count}: {counts}" if counts else count

    def _header(self) -> list[str]:
        return ["item", "label"] + (["probability"] if "probability" in self.frame else [])

    def _first_rows(self) -> list[tuple[Any, list[str]]]:
        rows = []
        for position, (_, row) in enumerate(self.frame.head(ROWS_SHOWN).iterrows()):
            cells = [short(item_name(row["item"])), label_text(row["label"])]
            rows.append((position, cells + ([f"{row['probability']:.1%}"] if "probability" in row else [])))
        return rows


def table_of(target: Target, names: list[str], activations: Any) -> Any:
    import pandas as pd

    columns: dict[str, Any] = {"item": names, "label": [label_of(target, row) for row in activations]}
    if target.kind == "class":
        columns["probability"] = activations.max(axis=1) if len(names) else []
    for i, name in enumerate(target.classes):
        columns[f"p({name})"] = activations[:, i] if len(names) else []
    return pd.DataFrame(columns)


def label_of(target: Target, activations: Any) -> Any:
    if target.kind == "class":
        return target.classes[int(activations.argmax())]
    if target.kind == "classes":
        return [name for name, p in zip(target.classes, activations, strict=True) if p > target.threshold]
    return float(activations[0]) if len(activations) == 1 else [float(number) for number in activations]


def label_text(label: Any) -> str:
    if isinstance(label, list):
        return ";".join(label_text(part) for part in label)
    return f"{label:.4g}" if isinstance(label, float) else str(label)


def check_width(target: Target, width: int) -> None:
    if target.classes and width != len(target.classes):
        raise FastmagicError(
            f"The model gives {width} numbers for {len(target.classes)} classes ({few(target.classes, 3)}).",
            "Build the learner from these dataloaders, so that the last layer fits.",
        )


def _thumbnail(source: Any) -> str:
    from PIL import Image

    if source is None:
        return ""
    try:
        if hasattr(source, "convert"):
            return image_tag(source, 40)
        with Image.open(source) as image:
            image.draft("RGB", (240, 80))  # a JPEG is decoded at an eighth of its size: cheap
            return image_tag(image, 40)
    except (OSError, ValueError):
        return ""  # gone or changed since it was predicted


def _text_bar(share: float, width: int = 20) -> str:
    eighths = round(share * width * 8)
    full, part = divmod(eighths, 8)
    return ("█" * full + ("▏▎▍▌▋▊▉"[part - 1] if part else "")).ljust(width)


def short(text: Any, most: int = 48) -> str:
    text = str(text)
    return text if len(text) <= most else f"…{text[1 - most :]}"


def _one_line(text: str) -> str:
    return " ".join(text.split())
