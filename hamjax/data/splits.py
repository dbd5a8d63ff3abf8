"""Splits: the partition of every image, drawn by lesion.

A split is an array of `train`, `val` or `test`, one entry for each image. No lesion, and no known pair of
near-duplicates, is ever in two partitions.
"""

import csv
import dataclasses
import hashlib
import io

import numpy as np

from hamjax.data.classes import CLASSES
from hamjax.data.metadata import Metadata

TRAIN, VAL, TEST = "train", "val", "test"
PARTITIONS = (TRAIN, VAL, TEST)
SPLITS = ("paper", "honest", "fold0", "fold1", "fold2", "fold3", "fold4")

# Pairs of images that show one lesion under two lesion ids: the published list
# `newly_discovered_duplicates.csv` of the corrected skin image data sets
# (Scientific Data 12:196, 2025), as numbers of ISIC_00xxxxx.
NEAR_DUPLICATES = (
    (33481, 33421), (33556, 32634), (29152, 33173), (29036, 27027), (27820, 28209), (27689, 32647),
    (30906, 24879), (33391, 34186), (25226, 30074), (26087, 25664), (24736, 29748), (24770, 27811),
    (27162, 29061), (24602, 32283), (29625, 24629), (30000, 31392), (24437, 31299), (33374, 33417),
)  # fmt: skip


def make_split(metadata: Metadata, name: str, *, seed: int = 101, stratify: bool = True) -> np.ndarray:
    """Assign every image to a partition.

    `paper` (its section 4.2: 7,809 / 1,103 / 1,103): validation and test are each 20%
    of the lesions that have a single image, everything else is trained on. `honest` is
    70/15/15 of all images. `fold0` to `fold4` test on a fifth each; half a fifth
    validates, the rest trains.

    Args:
        metadata: N images.
        name: one of `SPLITS`.
        seed: of the draw.
        stratify: for `paper`, whether each class gives its share, as against a draw
            over all classes at once. The others always stratify.

    Returns:
        [N] of `train`, `val`, `test`.
    """
    rng = np.random.default_rng(seed)
    if name == "paper":
        return _paper(metadata, rng, stratify)
    groups = lesion_groups(metadata)
    if name == "honest":
        # Twentieths: the coarsest parts that make 70, 15 and 15%.
        parts = _deal(metadata.label, groups, 20, rng)
        return np.select([parts < 14, parts < 17], [TRAIN, VAL], TEST)
    fold = int(name.removeprefix("fold"))
    # Tenths, the same for all five folds: each fold tests on two of them, so the five test parts cover the data set.
    parts = _deal(metadata.label, groups, 10, rng)
    is_test, is_val = parts // 2 == fold, parts == (2 * fold + 2) % 10
    return np.select([is_test, is_val], [TEST, VAL], TRAIN)


def lesion_groups(metadata: Metadata) -> np.ndarray:
    """Return the number of each image's lesion, near-duplicates merged: [N] int64."""
    _, groups = np.unique(metadata.lesion_id, return_inverse=True)
    # The whole lesion of one image joins that of the other: a lesion of a pair may have further images.
    for a, b in _duplicate_rows(metadata):
        groups[groups == groups[b]] = groups[a]
    return groups


def leak_meter(metadata: Metadata, split: np.ndarray) -> dict[str, dict[str, int]]:
    """Count per class the test images whose lesion is also trained on.

    Returns:
        For each class `test` (images) and `leaked` (of them); both zero is possible.
    """
    groups = lesion_groups(metadata)
    is_test = split == TEST
    leaked = is_test & np.isin(groups, groups[split == TRAIN])
    return {
        dx: {
            "test": int((is_test & (metadata.label == k)).sum()),
            "leaked": int((leaked & (metadata.label == k)).sum()),
        }
        for k, dx in enumerate(CLASSES)
    }


def overlap(tested: Metadata, metadata: Metadata, split: np.ndarray) -> np.ndarray:
    """Find external images whose lesion is in a run's training or validation part.

    Args:
        tested: M images from elsewhere. Where one is known to the run by its id, the run's lesion id
            counts; otherwise its own.
        metadata: the run's N images.
        split: [N] partition names; `train` and `val` count.

    Returns:
        [M] unicode, the lesion; empty where it is in neither part.
    """
    # A copy of the data set from elsewhere may have no lesion ids; for images that the run knows, the run has them.
    known = dict(zip(metadata.image_id.tolist(), metadata.lesion_id.tolist(), strict=True))
    own = zip(tested.image_id.tolist(), tested.lesion_id.tolist(), strict=True)
    tested = dataclasses.replace(tested, lesion_id=np.array([known.get(image, lesion) for image, lesion in own]))
    columns = {k: np.concatenate([v, metadata.columns()[k]]) for k, v in tested.columns().items()}
    groups = lesion_groups(Metadata(**columns))
    seen = np.isin(groups[: len(tested)], groups[len(tested) :][split != TEST])
    return np.where(seen, tested.lesion_id, "")


def split_counts(metadata: Metadata, split: np.ndarray) -> dict[str, dict[str, int]]:
    """Count images per partition and class."""
    return {
        part: dict(zip(CLASSES, metadata.select(split == part).class_counts().tolist(), strict=True))
        for part in PARTITIONS
    }


def split_csv(metadata: Metadata, split: np.ndarray) -> str:
    """Return the text of `split.csv`: image_id, lesion_id, dx, split."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("image_id", "lesion_id", "dx", "split"))
    dx = np.array(CLASSES)[metadata.label]
    writer.writerows(zip(metadata.image_id, metadata.lesion_id, dx, split, strict=True))
    return text.getvalue()


def fingerprint(metadata: Metadata, split: np.ndarray) -> str:
    """Return a SHA-256 of the partition of every image."""
    return hashlib.sha256(split_csv(metadata, split).encode()).hexdigest()


def _duplicate_rows(metadata: Metadata) -> list[tuple[int, int]]:
    row = {image_id: i for i, image_id in enumerate(metadata.image_id.tolist())}
    pairs = [(f"ISIC_{a:07d}", f"ISIC_{b:07d}") for a, b in NEAR_DUPLICATES]
    return [(row[a], row[b]) for a, b in pairs if a in row and b in row]


def _paper(metadata: Metadata, rng: np.random.Generator, stratify: bool) -> np.ndarray:
    _, lesion, size = np.unique(metadata.lesion_id, return_inverse=True, return_counts=True)
    single = size[lesion] == 1
    # The twin of a near-duplicate may be anywhere, so these images stay in the training part.
    drawable = single.copy()
    drawable[[i for pair in _duplicate_rows(metadata) for i in pair]] = False
    split = np.full(len(metadata), TRAIN, dtype="<U5")
    for stratum in _strata(metadata, stratify):
        # The quota counts all one-image lesions, as the paper did: near-duplicates were not known then.
        wanted = 0.2 * int((single & stratum).sum())
        # Rounded up, it is the paper's 1,103 of 5,514; of single classes, rounding to the nearest adds up to that.
        quota = round(wanted) if stratify else int(np.ceil(wanted))
        rows = rng.permutation(np.flatnonzero(drawable & stratum))
        split[rows[:quota]] = VAL
        split[rows[quota : 2 * quota]] = TEST
    return split


def _strata(metadata: Metadata, stratify: bool) -> list[np.ndarray]:
    """Return the groups of images to draw from, [N] bool each: the classes, or all images at once."""
    if not stratify:
        return [np.ones(len(metadata), bool)]
    return [metadata.label == k for k in range(len(CLASSES))]


def _deal(labels: np.ndarray, groups: np.ndarray, parts: int, rng: np.random.Generator) -> np.ndarray:
    """Deal whole groups to parts so that each part gets the same share of each class.

    Within a class, groups go in random order, large ones first, each to the part that
    has the fewest images so far. Ties fall to a random order of the parts.

    Returns:
        [N] int64, the part of each image.
    """
    part_of_group = np.zeros(groups.max() + 1, dtype=np.int64)
    for k in range(len(CLASSES)):
        members, sizes = np.unique(groups[labels == k], return_counts=True)
        shuffled = rng.permutation(len(members))
        # Large lesions first: dealt last, one of six images would leave its part that much larger than the others.
        shuffled = shuffled[np.argsort(-sizes[shuffled], kind="stable")]
        # Another order of the parts for each class: otherwise the first part would get the odd image of every class.
        preference = rng.permutation(parts)
        filled = np.zeros(parts, dtype=np.int64)
        for i in shuffled:
            part = preference[np.argmin(filled[preference])]
            part_of_group[members[i]] = part
            filled[part] += sizes[i]
    return part_of_group[groups]
