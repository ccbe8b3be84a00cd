"""How results are shown: small tables, bars and pictures, as HTML where there is a front end and as text everywhere."""

from __future__ import annotations

import base64
import html
import io
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

# Jupyter's own colour variables, so that dark themes work; the fallbacks are for exported HTML.
# Colours of meaning are Okabe and Ito's, told apart by colour-blind people too: https://jfly.uni-koeln.de/color/
CSS = """<style>
.fastmagic{font:13px/1.45 var(--jp-ui-font-family,system-ui,sans-serif);color:var(--jp-ui-font-color1,inherit);max-width:100%;overflow-x:auto}
.fastmagic table{border-collapse:collapse;margin:.3em 0;font-variant-numeric:tabular-nums}
.fastmagic tr{background:none!important}
.fastmagic th,.fastmagic td{padding:.2em .9em .2em 0!important;text-align:left!important;vertical-align:middle;white-space:nowrap;border:0;background:none!important}
.fastmagic th{font-weight:600;border-bottom:1px solid var(--jp-border-color1,#9995)!important}
.fastmagic td.number,.fastmagic th.number{text-align:right!important}
.fastmagic td.wide{white-space:normal;max-width:34em;overflow-wrap:anywhere}
.fastmagic .dim{opacity:.7}
.fastmagic .bar{display:inline-block;height:.75em;border-radius:2px;background:#0072b2;vertical-align:baseline}
.fastmagic .bar.other{background:#9998}
.fastmagic img{display:block;border-radius:3px;max-width:100%;background:none}
.fastmagic code{font-family:var(--jp-code-font-family,ui-monospace,monospace);font-size:.95em}
.fastmagic p{margin:.25em 0}
@media (max-width:480px){.fastmagic th,.fastmagic td{padding-right:.5em!important}}
</style>"""


class Displayed(ABC):
    """What front ends show in the form they like best: a base that answers IPython's `_repr_mimebundle_`."""

    @abstractmethod
    def forms(self) -> dict[str, Any]:
        """Return every form by its MIME type, text and base64."""

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return chosen(self.forms(), include, exclude)


def chosen(forms: dict[str, Any], include: Any = None, exclude: Any = None) -> dict[str, Any]:
    """Return the forms that are asked for: of the types in `include` (all without), and not in `exclude`.

    >>> chosen({"text/plain": "6 birds", "text/html": "<p>6 birds</p>"}, exclude={"text/html"})
    {'text/plain': '6 birds'}
    """
    return {
        kind: form for kind, form in forms.items() if (not include or kind in include) and kind not in (exclude or ())
    }


class Shown(Displayed):
    """Something to look at: HTML for front ends that show it, the same as text for those that do not.

    >>> print(Shown("<p>6 birds</p>", "6 birds"))
    6 birds
    """

    def __init__(self, html: str, text: str):
        self.html, self.text = html, text

    def __str__(self) -> str:
        return self.text

    __repr__ = __str__

    def forms(self) -> dict[str, Any]:
        return {"text/html": f'{CSS}<div class="fastmagic">{self.html}</div>', "text/plain": self.text}


class Drawing(Displayed):
    """A PNG with a sentence that stands in for it where pictures cannot be shown."""

    def __init__(self, png: bytes, text: str):
        self.png, self.text = png, text

    def __repr__(self) -> str:
        return self.text

    def forms(self) -> dict[str, Any]:
        return {"image/png": base64.b64encode(self.png).decode(), "text/plain": self.text}


def escape(value: object) -> str:
    """Return `value` as text that is safe inside HTML."""
    return html.escape(str(value))


def item_name(source: object) -> str:
    """Return what an item is called in a table: the folder and name of a local file, anything else as it is.

    >>> item_name("/home/me/photos/bird/a.jpg")
    'bird/a.jpg'
    """
    text = str(source)
    if "://" in text or not os.path.isabs(text):
        return text
    return os.path.join(*text.split(os.sep)[-2:])


def short_path(path: Path) -> str:
    """Return a path as people would type it here: relative to the current folder, or with `~`."""
    for base, sign in ((Path.cwd(), ""), (Path.home(), "~/")):
        if path.is_relative_to(base):
            return sign + path.relative_to(base).as_posix()
    return str(path)


def html_table(
    header: Sequence[str], rows: Iterable[Sequence[object]], raw: Sequence[int] = (), wide: Sequence[int] = ()
) -> str:
    """Return an HTML table; numbers stand right. Columns in `raw` hold HTML already, those in `wide` may wrap."""
    rows = [list(row) for row in rows]
    number = [bool(rows) and all(_is_number(row[i]) for row in rows) for i in range(len(header))]

    def cell(tag: str, i: int, value: object) -> str:
        kind = "number" if number[i] else "wide" if i in wide and tag == "td" else ""
        text = str(value) if i in raw and tag == "td" else escape(value)
        return f"<{tag}{f' class={kind}' if kind else ''}>{text}</{tag}>"

    head = "".join(cell("th", i, name) for i, name in enumerate(header))
    body = "".join(f"<tr>{''.join(cell('td', i, v) for i, v in enumerate(row))}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def text_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return the same table as aligned text.

    >>> print(text_table(["class", "items"], [["bird", 12], ["forest", 8]]))
    class   items
    bird       12
    forest      8
    """
    cells = [[str(v) for v in row] for row in rows]
    number = [bool(cells) and all(_is_number(row[i]) for row in cells) for i in range(len(header))]
    widths = [
        max(len(str(name)), *(len(row[i]) for row in cells), 0) if cells else len(str(name))
        for i, name in enumerate(header)
    ]
    lines = [
        "  ".join(v.rjust(w) if right else v.ljust(w) for v, w, right in zip(row, widths, number, strict=True)).rstrip()
        for row in [[str(h) for h in header], *cells]
    ]
    return "\n".join(lines)


def _is_number(value: object) -> bool:
    if value == "–":  # a number that cannot be known
        return True
    try:
        float(str(value).rstrip("%").replace(",", ""))
    except ValueError:
        return False
    return True


def image_tag(image: Any, height: int = 96, alt: str = "") -> str:
    """Return an `<img>` with the picture inside it: a thumbnail of a PIL image, at most `height` px high.

    A picture smaller than that is shown enlarged with its pixels visible, as far as whole factors go.
    """
    image = image.convert("RGB")
    factor = max(1, height // max(image.height, 1))
    image.thumbnail((height * 3, height))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    data = base64.b64encode(buffer.getvalue()).decode()
    size = f' width="{image.width * factor}" style="image-rendering:pixelated"' if factor > 1 else ""
    return f'<img src="data:image/jpeg;base64,{data}" alt="{escape(alt)}"{size}>'


def new_figure(rows: int, columns: int, size: float = 2.2) -> tuple[Any, list[Any]]:
    """Return a matplotlib figure without pyplot (no global state, any thread) and its axes, frames off.

    Args:
        rows, columns: the grid.
        size: inches a picture.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import TightLayoutEngine

    room = TightLayoutEngine(h_pad=1.6)  # for two lines of title between the rows
    figure = Figure(figsize=(columns * size, rows * (size + 0.3)), dpi=80, layout=room, facecolor="white")
    axes = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for axis in axes:
        axis.axis("off")
    return figure, axes


def figure_png(figure: Any) -> bytes:
    """Return a matplotlib figure as PNG bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()
