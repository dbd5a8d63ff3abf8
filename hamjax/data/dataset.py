"""What training and evaluation work on: prepared images and their table."""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hamjax.data.metadata import Metadata
from hamjax.runtime.errors import name_some


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Prepared images and their table.

    Attributes:
        images: [N, S, S, 3] uint8 RGB, read-only, mapped from disk.
        metadata: N rows in the same order.
        fingerprint: SHA-256 of the source's images and table.
        dropped: ids the table named and the source could not give.
        images_note: what the pixels are, for reports.
        tables: of each file that labels were read from, `place`, `layout`, `sha256` and `rows`; empty where that
            was not recorded.
        outside: diagnoses of images of the table that are in none of the seven classes, by id.
    """

    images: np.ndarray
    metadata: Metadata
    fingerprint: str
    dropped: tuple[str, ...]
    images_note: str
    tables: Sequence[dict[str, Any]] = ()
    outside: Mapping[str, str] = dataclasses.field(default_factory=dict)


def describe_tables(tables: Sequence[dict[str, Any]], outside: Mapping[str, str]) -> list[str]:
    """Return a line for each file that labels were read from, and one for the diagnoses of no class."""
    lines = [
        f"table {table['place']}: {table['layout']}, {table['rows']:,} rows, SHA-256 {table['sha256']}"
        + (f"; {table['published']}" if "published" in table else "")
        for table in tables
    ]
    if outside:
        counts = ", ".join(f"{words} {count}" for words, count in Counter(outside.values()).most_common())
        lines.append(f"left out {len(outside):,} images that are of no class ({counts}): {name_some(outside)}")
    return lines
