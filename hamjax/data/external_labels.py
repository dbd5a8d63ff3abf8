"""The labels of a test set from elsewhere: a table in one of several layouts, or folders named by class.

Files may have the same name in several folders, so an image is found by as much of its path as it takes.
"""

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from hamjax.data.classes import CLASSES
from hamjax.data.image_names import image_id_of
from hamjax.data.layouts import (
    Labels,
    Layout,
    class_of_folder,
    code_of,
    layout_of,
    read_labels_of,
    with_known_names,
)
from hamjax.data.lesions import with_lesions
from hamjax.data.metadata import Metadata, from_rows
from hamjax.data.sources.tree import Entry
from hamjax.data.tables import Row, parse_table, read_content
from hamjax.runtime.errors import UserError, name_some
from hamjax.runtime.paths import as_text

Parts = tuple[str, ...]
# Of the layouts, as reports have called them from the first.
NAMES = {Layout.HAM10000: "ham10000", Layout.ONE_HOT: "isic", Layout.ARCHIVE: "isic archive"}
PAIRS, CLASS_FOLDERS = "pairs", "class folders"


@dataclasses.dataclass(frozen=True)
class ExternalLabels:
    """Labels, before any image is looked for.

    Attributes:
        layout: `isic`, `isic archive`, `ham10000`, `pairs` or `class folders`.
        metadata: a row for each image of the seven classes; one without a lesion_id is a lesion of its own.
        outside: diagnoses of the other images, by id.
        paths: of every image by its id, as far as the labels say where it is.
        content: what was read, byte by byte.
        facts: what a report says of the table, `place`, `sha256` and `rows`.
    """

    layout: str
    metadata: Metadata
    outside: dict[str, str]
    paths: dict[str, Parts]
    content: bytes
    facts: dict[str, Any]

    def namer(self, entries: Sequence[Entry]) -> Callable[[Entry], str]:
        """Return what names the files of a folder: the id of their label, or their place if they have none."""
        return _namer(self.paths, entries)


def read_labels(path: Path) -> ExternalLabels:
    """Read a label file.

    Four layouts are told apart by their columns: `isic` (image and one column a class, one-hot, as the ground truths
    of ISIC 2018 and 2019), `isic archive` (isic_id and diagnoses in words), `ham10000` (image_id, dx) and `pairs`
    (image, label). Any of them may have the other columns of HAM10000. An image may be named with or without path and
    suffix, a class in any case.

    Raises:
        UserError: a column is missing, a row repeated, a diagnosis unknown or contradicted; ids are named.
    """
    content = read_content(path)
    rows = with_known_names(parse_table(content, str(path)))
    columns, layout = set(rows[0]), layout_of(list(rows[0]))
    if layout is not None and layout in NAMES:
        name = NAMES[layout]
    elif {"image", "label"} <= columns:
        layout, name = Layout.HAM10000, PAIRS
        rows = [row | {"image_id": row["image"], "dx": code_of(row["label"]) or row["label"]} for row in rows]
    else:
        raise UserError(
            f"{path}: expected the columns image_id,dx or image,label or isic_id,diagnosis or "
            f"image,{','.join(CLASSES).upper()}, got {', '.join(rows[0])}; rename them."
        )
    column = "isic_id" if layout == Layout.ARCHIVE else "image" if layout == Layout.ONE_HOT else "image_id"
    ids = shortest_ids([row[column] for row in rows])
    labels = read_labels_of(layout, rows, str(path), ids.__getitem__)
    if layout == Layout.HAM10000:  # ISIC 2019's other diagnoses, as its one-hot table has them
        outside = {row["image_id"]: row["dx"] for row in labels.rows if code_of(row["dx"]) == ""}
        labels = Labels([row for row in labels.rows if code_of(row["dx"]) != ""], outside)
    return _labels(name, labels, ids, content, str(path), place=as_text(path))


def labels_of_folders(root: Path, entries: Sequence[Entry]) -> ExternalLabels:
    """Take the name of the folder that an image is in, or of one above it, for its class.

    Names are codes of HAM10000 or ISIC, or the ISIC Archive's words; images that are in no such folder have no label.

    Raises:
        UserError: there is none in a folder of the seven classes.
    """
    classes = {str(entry.place): dx for entry in entries if (dx := class_of_folder(entry.place)) is not None}
    ids = shortest_ids(list(classes))
    rows = [{"image_id": ids[place], "lesion_id": "", "dx": dx} for place, dx in classes.items() if dx]
    outside = {ids[place]: PurePosixPath(place).parent.name for place, dx in classes.items() if not dx}
    content = "".join(f"{place}\n" for place in sorted(classes)).encode("utf-8", "surrogateescape")
    return _labels(CLASS_FOLDERS, Labels(rows, outside), ids, content, str(root), place=".")


def shortest_ids(names: Sequence[str]) -> dict[str, str]:
    """Return an id for each name of an image file: as many of its last parts as no other file has.

    `data/a.jpg` is `a`; `nv/1.jpg` beside `mel/1.jpg` is `nv/1`. The separator may be that of Windows.
    """
    paths = {name: _parts(name) for name in names}
    shared = Counter(path[-k:] for path in set(paths.values()) for k in range(1, len(path) + 1))
    return {name: "/".join(_shortest(path, shared)) for name, path in paths.items()}


def _labels(layout: str, labels: Labels, ids: dict[str, str], content: bytes, where: str, place: str) -> ExternalLabels:
    if not labels.rows:
        count = len(labels.outside)
        raise UserError(f"{where}: expected images of the seven classes, got none among {count:,}; name another set.")
    if twice := sorted({row["image_id"] for row in labels.rows} & set(labels.outside)):
        raise UserError(f"{where}: expected one diagnosis an image, got two for {name_some(twice)}; keep one.")
    rows: list[Row] = with_lesions(labels.rows, None, where, allow_missing=True)
    facts = {
        "place": place,
        "sha256": hashlib.sha256(content).hexdigest(),
        "rows": len(labels.rows) + len(labels.outside),
    }
    paths = {image_id: _parts(name) for name, image_id in ids.items()}
    return ExternalLabels(layout, from_rows(rows, where=where), labels.outside, paths, content, facts)


def _shortest(path: Parts, shared: Counter[Parts]) -> Parts:
    """Return the shortest end of a path that it shares with no other; all of it, if it is the end of another."""
    return next((path[-k:] for k in range(1, len(path) + 1) if shared[path[-k:]] == 1), path)


def _parts(name: str) -> Parts:
    """Return the folders of a name, of Windows too, and the id of its file."""
    folders = name.strip().replace("\\", "/").split("/")[:-1]
    return (*(part for part in folders if part not in ("", ".")), image_id_of(name))


def _namer(paths: dict[str, Parts], entries: Sequence[Entry]) -> Callable[[Entry], str]:
    same_name: dict[str, list[Entry]] = {}
    for entry in entries:
        same_name.setdefault(image_id_of(entry.place.name), []).append(entry)
    owner: dict[int, str] = {}
    for image_id, path in paths.items():
        end = tuple(image_id.split("/"))
        found = [(entry, _parts(str(entry.place))) for entry in same_name.get(end[-1], ())]
        common = {id(entry): _common(place, path) for entry, place in found if place[-len(end) :] == end}
        best = max(common.values(), default=0)
        # The whole place before one that merely ends so; of equal ones all, which are then one image or refused.
        exact = [id(entry) for entry, place in found if place == path]
        owner |= dict.fromkeys(exact or [key for key, length in common.items() if length == best], image_id)
    return lambda entry: owner.get(id(entry), str(entry.place))


def _common(place: Parts, path: Parts) -> int:
    """Return how many last parts two paths share."""
    pairs = zip(reversed(place), reversed(path), strict=False)
    return next((k for k, (a, b) in enumerate(pairs) if a != b), min(len(place), len(path)))
