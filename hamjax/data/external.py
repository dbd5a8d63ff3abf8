"""A test set from elsewhere: images of any size in a folder, labels in one of three layouts.

What cannot be scored is listed and left out, and the rest goes on; labels that contradict themselves are refused.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from hamjax.data.classes import CLASSES
from hamjax.data.dataset import Dataset
from hamjax.data.image_names import image_id_of
from hamjax.data.layouts import from_one_hot, is_one_hot
from hamjax.data.metadata import Metadata, from_rows
from hamjax.data.preparation.images import decode_chunks
from hamjax.data.preparation.verify import verify
from hamjax.data.sources.folder import FolderSource, ImageFolder
from hamjax.data.tables import Row, read_table
from hamjax.runtime.errors import UserError, name_some
from hamjax.runtime.paths import as_text, user_path

# The ISIC 2018 task 3 ground truth has this row and no image; the official scorer gives it weight 0
# (isic-challenge-scoring, load_csv.py).
WEIGHTLESS = ("ISIC_0035068",)
NOT_SCORED = ("unreadable", "without_image", "weightless", "unlabelled")


@dataclasses.dataclass(frozen=True)
class ExternalSet:
    """Labelled images whose every byte has been read once.

    Attributes:
        source: the images that are scored, N of them.
        facts: what a report says of the set: `layout, labelled, scored, unreadable, without_image,
            unlabelled, weightless, fingerprint`.
        images_note: what the pixels are, for reports.
    """

    source: FolderSource
    facts: dict[str, Any]
    images_note: str

    @property
    def metadata(self) -> Metadata:
        """The N rows that are scored."""
        return self.source.metadata

    def dataset(self, image_size: int, resize: str) -> Dataset:
        """Decode all images into memory.

        Args:
            image_size: pixels a side.
            resize: `squash` or `crop`.
        """
        chunks = decode_chunks(self.source.read, self.metadata.image_id.tolist(), image_size, resize)
        lacking = sorted({*self.facts["unreadable"], *self.facts["without_image"]} - set(WEIGHTLESS))
        return Dataset(
            images=np.concatenate(list(chunks)),
            metadata=self.metadata,
            fingerprint=self.facts["fingerprint"],
            dropped=tuple(lacking),
            images_note=f"{self.images_note}, {resize} to {image_size}x{image_size}",
        )


def read_external(images: str | Path, labels: str | Path) -> ExternalSet:
    """Read labels, find their images, and decode each once.

    Args:
        images: a folder, nested in any way, of .jpg, .jpeg or .png files or zip archives of them.
        labels: a table; see `read_labels`.

    Raises:
        UserError: the folder or table is not what it should be, or no image can be scored.
    """
    images, labels = user_path(images), user_path(labels)
    layout, labelled = read_labels(labels)
    folder, read_from = ImageFolder(images), [labels.read_bytes()]
    ids = labelled.image_id.tolist()
    without_image = [i for i in ids if i not in folder]
    asked = FolderSource(labelled.select(~np.isin(labelled.image_id, WEIGHTLESS)), read_from, folder)
    scored, details = verify(asked, allow_missing=True)
    facts = {
        "layout": layout,
        "labelled": len(labelled),
        "scored": len(scored),
        "unreadable": sorted(set(details["dropped"]) - set(without_image)),
        "without_image": without_image,
        "unlabelled": sorted(as_text(folder.file_name(i)) for i in set(folder) - set(ids)),
        "weightless": sorted(set(ids) & set(WEIGHTLESS)),
        "fingerprint": details["fingerprint"],
    }
    return ExternalSet(FolderSource(scored, read_from, folder), facts, details["images_note"])


def describe_external(facts: dict[str, Any]) -> str:
    """Say first what was trained on, too, and then what is not scored.

    Args:
        facts: of an `ExternalSet`, and of its `overlap`: `images, lesions, unknown, checked_by, ids`.
    """
    overlap = facts["overlap"]
    of_lesions = "" if overlap["lesions"] is None else f", of {overlap['lesions']} lesions"
    found = f"{overlap['images']} of {facts['scored']} images{of_lesions}: "
    lines = [
        f"overlap with training and validation, by {overlap['checked_by']}: "
        + (found + name_some(overlap["ids"]) if overlap["images"] else "none found")
        + (f"; not known for {overlap['unknown']:,} images, as lesions are not known" if overlap["unknown"] else ""),
        f"external set, {facts['layout']} labels: {facts['scored']:,} of {facts['labelled']:,} images are scored",
    ]
    for name in NOT_SCORED:
        if facts[name]:
            lines.append(f"  {name.replace('_', ' ')}: {len(facts[name])}: {name_some(facts[name])}")
    return "\n".join(lines)


def read_labels(path: Path) -> tuple[str, Metadata]:
    """Read a label file.

    Three layouts are told apart by their columns: `isic` (image and one column a class, one-hot, as the
    ISIC 2018 task 3 ground truth), `ham10000` (image_id, dx) and `pairs` (image, label). Any of them may have
    the other columns of HAM10000. An image may be named with or without path and suffix, a class in any case.

    Returns:
        The name of the layout, and the table; an image without a lesion_id is a lesion of its own.

    Raises:
        UserError: a column is missing, a row repeated, a diagnosis unknown or contradicted; ids are named.
    """
    rows = read_table(path)
    columns = set(rows[0])
    if is_one_hot(list(columns)):
        read = from_one_hot(rows, str(path))
        if read.outside:
            others = name_some(f"{image_id} ({dx})" for image_id, dx in read.outside.items())
            raise UserError(f"{path}: expected the seven classes alone, got {others}; remove these rows.")
        layout, rows = "isic", read.rows
    elif {"image_id", "dx"} <= columns:
        layout = "ham10000"
    elif {"image", "label"} <= columns:
        layout, rows = "pairs", [row | {"image_id": row["image"], "dx": row["label"]} for row in rows]
    else:
        raise UserError(
            f"{path}: expected the columns image_id,dx or image,label or image,{','.join(CLASSES).upper()}, "
            f"got {', '.join(rows[0])}; rename them."
        )
    return layout, from_rows([_tidy(row) for row in rows], where=str(path))


def _tidy(row: Row) -> Row:
    image_id = image_id_of(row["image_id"])
    lesion_id = row.get("lesion_id", "")
    if lesion_id in ("", row["image_id"]):
        lesion_id = image_id
    return row | {"image_id": image_id, "lesion_id": lesion_id, "dx": row["dx"].lower()}
