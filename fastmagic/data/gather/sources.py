"""Photos that need no search: a file of addresses, a CSV, a folder, or the manifest of an earlier set."""

from __future__ import annotations

import csv
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ...errors import AnswerError, FastmagicError, NotFoundError, UnreadableError, did_you_mean, few
from ..folders import walk
from ..names import image_suffixes, is_image_name
from ..tables import label_columns
from . import manifest
from .manifest import Record
from .pipeline import Candidate, Shelf
from .web import is_address

SAMPLE = 50  # rows that tell which column holds addresses

# The classes of a source, and how to go through the photos of one of them.
Source = tuple[list[str], Callable[[str], Iterator[Candidate]]]


def shelves_from(source: str | Path, classes: Sequence[str], n: int | None) -> list[Shelf]:
    """Return one shelf for each class that a source names.

    Args:
        source: a text file of addresses, a CSV with a column of addresses, a folder of photos, or a `manifest.jsonl`.
        classes: which of its classes to take (all by default); for a source that names none, the one for all photos.
        n: photos a class; `None` for all.

    Raises:
        FastmagicError: there is no such source, it holds no addresses, or not those classes.
    """
    path = Path(source).expanduser()
    if not path.exists():
        names = os.listdir(path.parent) if path.parent.is_dir() else []
        raise NotFoundError(f"There is no file or folder '{source}'.", did_you_mean(path.name, names))
    suffix = path.suffix.lower()
    if path.is_dir():
        labels, photos = _folder(path)
    elif suffix in (".jsonl", ".ndjson"):
        labels, photos = _manifest(path)
    elif suffix in (".csv", ".tsv"):
        labels, photos = _table(path)
    else:
        labels, photos = _addresses(path)
    if labels == [""] and not path.is_dir():
        if len(classes) > 1:
            raise FastmagicError(f"'{path}' does not say the class of a photo.", "Name one class, for all of them.")
        label = class_name(classes[0] if classes else path.stem)
        return [Shelf(label, (_labelled(candidate, label) for candidate in photos("")), n)]
    missing = [name for name in classes if name not in labels]
    if missing:
        hint = did_you_mean(missing[0], labels, 1) or f"It has {few(labels)}."
        raise NotFoundError(f"'{path}' has no class {missing[0]!r}.", hint)
    return [Shelf(label, photos(label), n) for label in classes or labels]


def folder_of(labels: Iterable[str], source: str | Path | None = None) -> Path:
    """Return the folder that is named after some classes, or after the set that a manifest fetches again.

    >>> str(folder_of(["bird", "black bear"])), str(folder_of("abcd"))
    ('bird_or_black_bear', 'photos')
    """
    if source is not None and Path(source).name == "manifest.jsonl" and Path(source).resolve().parent != Path.cwd():
        return Path(f"{Path(source).resolve().parent.name}_again")
    names = [label.replace(" ", "_") for label in labels]
    return Path("_or_".join(names) if 1 <= len(names) <= 3 and all(names) else "photos")


def class_name(text: str) -> str:
    """Return a class's name as a folder can carry it.

    >>> class_name("grizzly bear"), class_name("../etc"), class_name("a/b:c")
    ('grizzly bear', '_etc', 'a_b_c')

    Raises:
        FastmagicError: nothing is left of it.
    """
    name = re.sub(r'[\x00-\x1f\x7f/\\:*?"<>|]+', "_", text).strip(" .")[:80].strip(" .")
    if re.fullmatch(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?", name):  # names that Windows keeps for devices
        name = f"_{name}"
    if not name:
        raise AnswerError(f"{text!r} cannot be the name of a class.", "Use letters and digits.")
    return name


def _labelled(candidate: Candidate, label: str) -> Candidate:
    return Candidate(replace(candidate.record, label=label), candidate.then)


def _addresses(path: Path) -> Source:
    def photos(label: str) -> Iterator[Candidate]:
        with open(path, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                url = line.strip()
                if is_address(url):
                    yield Candidate(Record(label=label, url=url))

    if next(photos(""), None) is None:
        raise FastmagicError(
            f"'{path}' holds no addresses.",
            "One address (https://…) a line, a CSV with a column of them, or a manifest.jsonl.",
        )
    return [""], photos


def _table(path: Path) -> Source:
    columns, heading, address, label_column = _columns(path)
    urls: dict[str, list[str]] = defaultdict(list)
    for line in _lines(path)[heading:]:
        row = dict(zip(columns, line, strict=False))
        if is_address(row.get(address)):
            text = (row.get(label_column) or "").strip() if label_column else ""
            urls[class_name(text) if text else ""].append(row[address].strip())
    return sorted(urls), lambda label: (Candidate(Record(label=label, url=url)) for url in urls[label])


def _lines(path: Path) -> list[list[str]]:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    with open(path, encoding="utf-8-sig", errors="replace", newline="") as file:
        return [line for line in csv.reader(file, delimiter=delimiter) if line]


def _columns(path: Path) -> tuple[list[str], bool, str, str | None]:
    """Return the columns of a table, whether it names them, and which hold addresses and classes."""
    lines = _lines(path)
    first = lines[0] if lines else []
    # Without a heading the first line is a photo like the others.
    heading = not any(map(is_address, first))
    columns = first if heading else [f"column {i + 1}" for i in range(len(first))]
    head = [dict(zip(columns, line, strict=False)) for line in lines[heading : heading + SAMPLE]]
    found = {name: sum(is_address(row.get(name)) for row in head) for name in columns}
    address = max(found, key=lambda name: found[name], default=None)
    if address is None or not found[address]:
        raise NotFoundError(
            f"No column of '{path}' holds addresses (columns: {few(columns)}).",
            "One column must hold addresses (https://…), another may hold the classes: url,label.",
        )
    others = [name for name in columns if name != address]
    label_column = next(label_columns(others), None)
    if label_column is None and not heading and len(columns) == 2:
        label_column = others[0]
    return columns, heading, address, label_column


def _folder(path: Path) -> Source:
    suffixes = image_suffixes()
    files: dict[str, list[Path]] = defaultdict(list)
    for place, names in walk(path):
        found = [place / name for name in names if is_image_name(name, suffixes)]
        if found:
            files[class_name(place.name) if place != path else ""] += found
    if not files:
        raise FastmagicError(f"'{path}' holds no photos.", "A folder of class folders, or of photos, is needed.")
    return sorted(files), lambda label: (
        Candidate(Record(label=label, url=file.resolve().as_uri())) for file in files[label]
    )


def _manifest(path: Path) -> Source:
    def photos(label: str) -> Iterator[Candidate]:
        for then in manifest.read_file(path):
            if then.status == "kept" and then.label == label and _may_be_fetched(then.url):
                known = ("label", "query", "engine", "url", "page", "title", "author", "license", "license_url")
                yield Candidate(Record(**{name: getattr(then, name) for name in known}), then)

    labels = sorted(
        {then.label for then in manifest.read_file(path) if then.status == "kept" and _may_be_fetched(then.url)}
    )
    if not labels:
        raise UnreadableError(f"'{path}' is no manifest of fastmagic, or names no photo that was kept.")
    if any(label and class_name(label) != label for label in labels):
        raise FastmagicError(
            f"'{path}' names a class that is no folder name.", "It was changed by hand, or comes from elsewhere."
        )
    return labels, photos


def _may_be_fetched(url: str) -> bool:
    """Tell whether a manifest, which may be somebody else's, names an address, or a picture file of this machine."""
    return is_address(url) or (url.startswith("file://") and is_image_name(url, image_suffixes()))


def code_of(source: str | Path, classes: Sequence[str], n: int | None, max_size: int, to: str | None) -> str:
    """Return a plain program that fetches the photos of a source with fastai; arguments as of `shelves_from`.

    Raises:
        FastmagicError: as `shelves_from` does.
    """
    labels = [shelf.label for shelf in shelves_from(source, classes, n)]
    path, most = Path(source).expanduser(), f"[:{n}]" if n else ""
    to = to or str(folder_of(labels, source))
    if path.is_dir():
        return f"""from fastai.vision.all import *

source, path = Path({str(source)!r}), Path({to!r})
for label in {labels!r}:
    folder = source/label if (source/label).is_dir() else source
    for photo in get_image_files(folder){most}:
        resize_image(photo.relative_to(folder), path/label, folder, max_size={max_size})
failed = verify_images(get_image_files(path))
failed.map(Path.unlink)"""
    more = ""
    if path.suffix.lower() in (".jsonl", ".ndjson"):
        more = "import json\n"
        read = f"rows = [row for row in map(json.loads, open({str(source)!r})) if row['status'] == 'kept']\n"
        urls = "[row['url'] for row in rows if row['label'] == label]"
    elif path.suffix.lower() in (".csv", ".tsv"):
        columns, heading, address, label_column = _columns(path)
        arguments = ", sep='\\t'" if path.suffix.lower() == ".tsv" else ""
        arguments += "" if heading else f", names={columns!r}"
        read = f"df = pd.read_csv({str(source)!r}{arguments})\n"
        which = f"df.loc[df[{label_column!r}] == label, {address!r}]" if label_column else f"df[{address!r}]"
        urls = f"{which}.dropna().tolist()"
    else:
        read = f"lines = [line.strip() for line in open({str(source)!r}) if '://' in line]\n"
        urls = "lines"
    return f"""{more}from fastai.vision.all import *

path = Path({to!r})
{read}for label in {labels!r}:
    dest = path/label
    dest.mkdir(exist_ok=True, parents=True)
    download_images(dest, urls={urls}{most})
    resize_images(dest, max_size={max_size}, dest=dest)
failed = verify_images(get_image_files(path))
failed.map(Path.unlink)"""
