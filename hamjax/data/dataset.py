"""What training and evaluation work on: prepared images and their table."""

import dataclasses

import numpy as np

from hamjax.data.metadata import Metadata


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Prepared images and their table.

    Attributes:
        images: [N, S, S, 3] uint8 RGB, read-only, mapped from disk.
        metadata: N rows in the same order.
        fingerprint: SHA-256 of the source's images and table.
        dropped: ids the table named and the source could not give.
        images_note: what the pixels are, for reports.
    """

    images: np.ndarray
    metadata: Metadata
    fingerprint: str
    dropped: tuple[str, ...]
    images_note: str
