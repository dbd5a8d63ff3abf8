"""Lesions: which images show one lesion, as far as that is known, and what partitions share.

An image whose lesion is not known is recorded as a lesion of its own, under the image's id. A table without lesions
therefore looks like one in which every lesion has one image, and is told apart by these ids alone.
"""

import dataclasses
import re
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from hamjax.data.classes import CLASSES
from hamjax.data.metadata import Metadata
from hamjax.data.tables import Row
from hamjax.runtime.errors import UserError, name_some

TRAIN, VAL, TEST = "train", "val", "test"

# Pairs of images that show one lesion under two lesion ids: the published list
# `newly_discovered_duplicates.csv` of the corrected skin image data sets
# (Scientific Data 12:196, 2025), as numbers of ISIC_00xxxxx.
NEAR_DUPLICATES = (
    (33481, 33421), (33556, 32634), (29152, 33173), (29036, 27027), (27820, 28209), (27689, 32647),
    (30906, 24879), (33391, 34186), (25226, 30074), (26087, 25664), (24736, 29748), (24770, 27811),
    (27162, 29061), (24602, 32283), (29625, 24629), (30000, 31392), (24437, 31299), (33374, 33417),
)  # fmt: skip

ARCHIVE_ID = re.compile(r"(ISIC_\d{7})(_downsampled)?$")
NOT_KNOWN = " (lesion not known)"
Leaks = dict[str, dict[str, int | None]]


def with_lesions(
    rows: Sequence[Row], groupings: Mapping[str, Row] | None, where: str, *, allow_missing: bool
) -> list[Row]:
    """Give every row a `lesion_id`: its own, that of the groupings, or the image's id where neither has one.

    A lesion of the image's own id is how records say that it is not known. Where lesions are named after images,
    `NOT_KNOWN` at its end says so.

    Raises:
        UserError: a lesion is not known, and `allow_missing` is off.
    """
    known = groupings or {}
    found = [row.get("lesion_id") or known.get(row["image_id"], {}).get("lesion_id", "") for row in rows]
    absent = [row["image_id"] for row, lesion in zip(rows, found, strict=True) if not lesion and row["image_id"]]
    if absent and not allow_missing:
        raise UserError(
            f"{where}: expected a lesion_id for every image, in it or in ISIC2018_Task3_Training_LesionGroupings.csv "
            f"beside it, got none for {name_some(absent)}; without lesion ids no split can be kept "
            "free of leaks. Complete it, or take each of these images as a lesion of its own with --allow-missing."
        )
    named = Counter(found)
    named_after_images = any(
        named[lesion] > 1 and lesion == row["image_id"] for row, lesion in zip(rows, found, strict=True)
    )
    mark = NOT_KNOWN if named_after_images else ""
    return [row | {"lesion_id": lesion or row["image_id"] + mark} for row, lesion in zip(rows, found, strict=True)]


def known_lesions(image_id: np.ndarray, lesion_id: np.ndarray) -> np.ndarray:
    """Return whether the lesion of each image is known, [N] bool.

    An image that is alone under its own id has a known lesion only where all lesions are named after one of their
    images, as some tables do.

    Args:
        image_id: [N] unicode, of a whole data set: a part of it may lack the other images of a lesion.
        lesion_id: [N] unicode.
    """
    _, lesion, images = np.unique(lesion_id, return_inverse=True, return_counts=True)
    own, several = lesion_id == image_id, images[lesion] > 1
    named_after_images = bool((own & several).any()) and bool(np.isin(lesion_id, image_id).all())
    # A lesion may be named after one of its images; that it has another image says that it is known.
    return (~own | several | named_after_images) & ~np.strings.endswith(lesion_id, NOT_KNOWN)


def lesion_facts(metadata: Metadata) -> dict[str, int]:
    """Return the facts on the lesions of a data set: `images`, and those of `unknown` lesion."""
    known = known_lesions(metadata.image_id, metadata.lesion_id)
    return {"images": len(metadata), "unknown": int((~known).sum())}


def count_lesions(groups: np.ndarray, known: np.ndarray) -> int | None:
    """Return how many lesions some images show; None if that of an image is not known.

    Args:
        groups: [N] int or str, the lesion of each.
        known: [N] bool; see `known_lesions`.
    """
    return len(np.unique(groups)) if known.all() else None


def unit_of_resampling(known: np.ndarray) -> str:
    """Return what a bootstrap over `lesion_groups` draws: `lesions`, `images`, or `lesions and images`."""
    return "lesions" if known.all() else "lesions and images" if known.any() else "images"


def lesion_groups(metadata: Metadata) -> np.ndarray:
    """Return the number of each image's lesion, near-duplicates merged: [N] int64."""
    _, groups = np.unique(metadata.lesion_id, return_inverse=True)
    # The whole lesion of one image joins that of the other: a lesion of a pair may have further images.
    for a, b in duplicate_rows(metadata):
        groups[groups == groups[b]] = groups[a]
    return groups


def duplicate_rows(metadata: Metadata) -> list[tuple[int, int]]:
    """Return the rows of both images of each near-duplicate pair that the table has."""
    row = {image_id: i for i, image_id in enumerate(metadata.image_id.tolist())}
    pairs = [(f"ISIC_{a:07d}", f"ISIC_{b:07d}") for a, b in NEAR_DUPLICATES]
    return [(row[a], row[b]) for a, b in pairs if a in row and b in row]


def leak_meter(metadata: Metadata, split: np.ndarray) -> Leaks:
    """Count per class the images that show a lesion which was learned or chosen from.

    Returns:
        For each class `test` (images), `leaked` (of them, of a lesion in the training or validation part), `val`
        and `val_leaked` (of a lesion in the training part). Where none is found and the lesion of any image of the
        data set is not known, it is None: one of them may be in both parts.
    """
    # The whole table is asked: one image of unknown lesion anywhere may be the second of any lesion.
    groups, known = lesion_groups(metadata), known_lesions(metadata.image_id, metadata.lesion_id).all()
    is_test, is_val = split == TEST, split == VAL
    leaked = is_test & np.isin(groups, groups[~is_test])
    val_leaked = is_val & np.isin(groups, groups[split == TRAIN])
    counted: Leaks = {}
    for k, dx in enumerate(CLASSES):
        test, found, val, val_found = (
            int((rows & (metadata.label == k)).sum()) for rows in (is_test, leaked, is_val, val_leaked)
        )
        counted[dx] = {
            "test": test,
            "leaked": found if found or known else None,
            "val": val,
            "val_leaked": val_found if val_found or known else None,
        }
    return counted


def overlap(tested: Metadata, metadata: Metadata, split: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find external images whose lesion is in a run's training or validation part.

    Args:
        tested: M images from elsewhere. Where one is known to the run by its id, the run's lesion id
            counts; otherwise its own.
        metadata: the run's N images.
        split: [N] partition names; `train` and `val` count.

    Returns:
        [M] unicode, the lesion; empty where none is found in either part. [M] bool, whether the lesions of the image
        and of all of both parts are known: only then it is certain that none is there.
    """
    learned, run_known = split != TEST, known_lesions(metadata.image_id, metadata.lesion_id)
    # A copy of the data set from elsewhere may have no lesion ids; for images that the run knows, the run has them.
    row = {image: i for i, image in enumerate(metadata.image_id.tolist())}
    rows = np.array([row.get(image, row.get(_archive_id(image), -1)) for image in tested.image_id.tolist()])
    lesion_id = np.where(rows < 0, tested.lesion_id, metadata.lesion_id[rows])
    known = np.where(rows < 0, known_lesions(tested.image_id, tested.lesion_id), run_known[rows])
    tested = dataclasses.replace(tested, lesion_id=lesion_id)
    columns = {k: np.concatenate([v, metadata.columns()[k]]) for k, v in tested.columns().items()}
    groups = lesion_groups(Metadata(**columns))
    seen = np.isin(groups[: len(tested)], groups[len(tested) :][learned])
    return np.where(seen, lesion_id, ""), known & run_known[learned].all()


def _archive_id(image_id: str) -> str:
    """Return the id of the ISIC Archive at the end of another; ISIC 2019 has smaller copies under a longer name."""
    match = ARCHIVE_ID.search(image_id)
    return match[1] if match else image_id
