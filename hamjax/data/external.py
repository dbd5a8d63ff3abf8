"""A test set from elsewhere: images of any size in a folder, and their labels.

What cannot be scored is listed and left out, and the rest goes on; labels that contradict themselves are refused.
"""

import dataclasses
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hamjax.data.dataset import Dataset
from hamjax.data.external_labels import labels_of_folders, read_labels
from hamjax.data.image_names import IMAGE_SUFFIXES
from hamjax.data.metadata import Metadata
from hamjax.data.preparation.images import decode_chunks
from hamjax.data.preparation.verify import verify
from hamjax.data.sources.folder import FolderSource, ImageFolder, require_there
from hamjax.data.sources.tree import find_entries
from hamjax.runtime.errors import name_some
from hamjax.runtime.paths import user_path

# The ISIC 2018 task 3 ground truth has this row and no image; the official scorer gives it weight 0
# (isic-challenge-scoring, load_csv.py).
WEIGHTLESS = ("ISIC_0035068",)
NOT_SCORED = ("unreadable", "without_image", "weightless", "unlabelled")


@dataclasses.dataclass(frozen=True)
class ExternalSet:
    """Labelled images whose every byte has been read once.

    Attributes:
        source: the images that are scored, N of them.
        facts: what a report says of the set: `layout, table, labelled, scored, outside, unreadable, without_image,
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


def read_external(images: str | Path, labels: str | Path | None = None) -> ExternalSet:
    """Read labels, find their images, and decode each once.

    Args:
        images: a folder, nested in any way, of .jpg, .jpeg or .png files or zip archives of them.
        labels: a table, see `read_labels`; without one, folders are named by class, see `labels_of_folders`.

    Raises:
        UserError: the folder or table is not what it should be, or no image can be scored.
    """
    root = user_path(images)
    read = None if labels is None else read_labels(user_path(labels))
    require_there(root)
    entries = find_entries(root, IMAGE_SUFFIXES)
    read = read or labels_of_folders(root, entries)
    folder, metadata = ImageFolder(root, entries, read.namer(entries)), read.metadata
    ids = metadata.image_id.tolist()
    # Listed apart from the unreadable ones: the first are for the labels' author to mend, the others for the images'.
    without_image = [i for i in ids if i not in folder]
    asked = FolderSource(metadata.select(~np.isin(metadata.image_id, WEIGHTLESS)), [read.content], folder)
    scored, details = verify(asked, allow_missing=True)
    facts = {
        "layout": read.layout,
        "table": read.facts,
        "labelled": len(metadata) + len(read.outside),
        "scored": len(scored),
        "outside": read.outside,
        "unreadable": sorted(set(details["dropped"]) - set(without_image)),
        "without_image": without_image,
        "unlabelled": sorted(folder.file_name(i) for i in set(folder) - set(ids) - set(read.outside)),
        "weightless": sorted(set(ids) & set(WEIGHTLESS)),
        "fingerprint": details["fingerprint"],
    }
    return ExternalSet(FolderSource(scored, [read.content], folder), facts, details["images_note"])


def describe_external(facts: dict[str, Any]) -> str:
    """Say first what was trained on, too, and then what is not scored.

    Args:
        facts: of an `ExternalSet`, and of its `overlap`: `images, lesions, unknown, checked_by, ids`.
    """
    overlap = facts["overlap"]
    of_lesions = "" if overlap["lesions"] is None else f", of {overlap['lesions']} lesions"
    found = f"{overlap['images']} of {facts['scored']} images{of_lesions}: "
    table = facts["table"]
    lines = [
        f"overlap with training and validation, by {overlap['checked_by']}: "
        + (found + name_some(overlap["ids"]) if overlap["images"] else "none found")
        + (f"; not known for {overlap['unknown']:,} images, as lesions are not known" if overlap["unknown"] else ""),
        f"external set, {facts['layout']} labels: {facts['scored']:,} of {facts['labelled']:,} images are scored",
        f"  labels read from {table['place']}: {table['rows']:,} rows, SHA-256 {table['sha256']}",
    ]
    if facts["outside"]:
        lines.append(f"  outside the seven classes, left out: {describe_outside(facts['outside'])}")
    for name in NOT_SCORED:
        if facts[name]:
            lines.append(f"  {name.replace('_', ' ')}: {len(facts[name])}: {name_some(facts[name])}")
    return "\n".join(lines)


def describe_outside(outside: Mapping[str, str]) -> str:
    """Count images of other diagnoses, and name some.

    Args:
        outside: diagnoses by image id.
    """
    counts = ", ".join(f"{diagnosis} {count:,}" for diagnosis, count in Counter(outside.values()).most_common())
    return f"{len(outside):,} ({counts}): {name_some(sorted(outside))}"
