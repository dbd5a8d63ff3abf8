"""Splits: the partition of every image, drawn by lesion.

A split is an array of `train`, `val` or `test`, one entry for each image. No lesion that is known, and no known pair
of near-duplicates, is ever in two partitions. Images whose lesions are not known are drawn one by one.
"""

import csv
import hashlib
import io

import numpy as np

from hamjax.data.classes import CLASSES
from hamjax.data.lesions import TEST, TRAIN, VAL, duplicate_rows, lesion_groups
from hamjax.data.metadata import Metadata
from hamjax.runtime.errors import UserError

PARTITIONS = (TRAIN, VAL, TEST)
DRAWN = ("paper", "honest", "fold0", "fold1", "fold2", "fold3", "fold4")
SPLITS = (*DRAWN, "source")


def make_split(metadata: Metadata, name: str, *, seed: int = 101, stratify: bool = True) -> np.ndarray:
    """Assign every image to a partition.

    `paper` (its section 4.2: 7,809 / 1,103 / 1,103): validation and test are each 20%
    of the lesions that have a single image, everything else is trained on. `honest` is
    70/15/15 of all images. `fold0` to `fold4` test on a fifth each; half a fifth
    validates, the rest trains. `source` keeps the parts that the publisher made, as DermaMNIST has them.

    Args:
        metadata: N images.
        name: one of `SPLITS`.
        seed: of the draw.
        stratify: for `paper`, whether each class gives its share, as against a draw
            over all classes at once. The others always stratify.

    Returns:
        [N] of `train`, `val`, `test`.

    Raises:
        UserError: the source has no parts of its own, and `source` is asked for.
    """
    if name == "source":
        return _parts_of_source(metadata)
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


def _parts_of_source(metadata: Metadata) -> np.ndarray:
    """Return the parts that stand in the column `dataset`, as in `DermaMNIST val`."""
    parts = np.array([text.rpartition(" ")[2] for text in metadata.dataset.tolist()])
    if not np.isin(parts, PARTITIONS).all():
        raise UserError(
            "data.split=source: expected a source that has parts of its own, as MedMNIST's DermaMNIST has, got one "
            "without; use another split, such as --config.data.split=honest."
        )
    return parts


def _paper(metadata: Metadata, rng: np.random.Generator, stratify: bool) -> np.ndarray:
    _, lesion, size = np.unique(metadata.lesion_id, return_inverse=True, return_counts=True)
    single = size[lesion] == 1
    # The twin of a near-duplicate may be anywhere, so these images stay in the training part.
    drawable = single.copy()
    drawable[[i for pair in duplicate_rows(metadata) for i in pair]] = False
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
