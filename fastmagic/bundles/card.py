"""The model card of a bundle: what a person reads before using a model, in the form that Hugging Face's hub shows."""

from __future__ import annotations

from typing import Any

from ..errors import few


def card_of(said: dict[str, Any]) -> str:
    """Return the card, as Markdown behind a YAML header (https://huggingface.co/docs/hub/model-cards)."""
    card, model, target, training = said["card"], said["model"], said["target"], said["training"]
    classes = [str(label) for label in target["classes"]]
    pictures = said["kind"] == "images"
    where = "in" if pictures else "by"
    what, item, things = (
        ("a picture", "'photo.jpg'", "pictures") if pictures else ("a row of a table", "'new.csv'", "rows")
    )
    masks = target["kind"] == "pixels"
    answers = "segmentation" if masks else "classification" if classes else "regression"
    tag = f"{'image' if pictures else 'tabular'}-{answers}"
    tells = (
        f"Tells of each pixel what it shows: {few(classes, 12)}; it answers"
        if masks
        else f"Tells apart {few(classes, 12)}"
        if classes
        else f"Gives {model['outputs']} number{'s' if model['outputs'] > 1 else ''}"
    )
    title = card["title"] or (f"{model['name']}: {few(classes, 4)}" if classes else f"{model['name']} of {things}")
    lines = [
        "---", "library_name: fastai", f"pipeline_tag: {tag}",
        "tags: [fastai, fastmagic]", "---", "", f"# {title}", "",
    ]  # fmt: skip
    lines += [card["description"], ""] if card["description"] else []
    lines += [
        f"{tells} {where} {what}. {'A unet on' if masks else 'A'} {model['name']} of {model['library']}.",
        "",
        "## Use it",
        "",
        "```python",
    ]
    lines += ["import fastmagic", "", "learn = fastmagic.load('FILE')  # numbers and words: nothing in it is run", f"fastmagic.predict({item}, learn)", "```", ""]  # fmt: skip
    lines += ["## How good it is", ""]
    if training["validation"]:
        lines += [f"On the {things} that were kept for validation:", "", "```text", training["validation"], "```", ""]
        lines += [f"On {things} unlike these it is worse, and it always answers something.", ""]
    else:
        lines += [f"Not known: it was exported without {things} for validation.", ""]
    if any(training["items"]):
        lines += ["## What it was trained on", "", f"{training['items'][0]:,} {things}, and {sum(training['items'][1:]):,} for validation.", ""]  # fmt: skip
    if gathered := training.get("gathered"):
        lines += [_where_from(gathered), ""]
    if said["answers"]:
        lines += ["| question | answer |", "|---|---|"]
        lines += [f"| {name} | `{text.replace('|', chr(92) + '|')}` |" for name, text in said["answers"].items()] + [""]
    if training["program"]:
        lines += ["## How it was trained", "", "```python", training["program"], "```", ""]
    lines += ["## Versions", "", ", ".join(f"{name} {number}" for name, number in said["versions"].items()), ""]
    return "\n".join(lines)


def _where_from(gathered: dict[str, Any]) -> str:
    """Return where photos came from, as a paragraph."""

    def counted(name: str) -> str:
        return ", ".join(f"{' '.join(str(what).split())} ({count:,})" for what, count in gathered[name].items())

    days = " to ".join(dict.fromkeys(gathered["days"]))
    words = ", ".join(f'"{" ".join(query.split())}"' for query in gathered["queries"])
    return (
        f"{gathered['photos']:,} of them were found on the web{f' ({days})' if days else ''}"
        f"{f' by the words {words}' if words else ''}: {counted('engines')}. Licences: {counted('licenses')}. "
        "The manifest beside the photos names each one's address, page and author."
    )
