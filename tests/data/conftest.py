"""A small copy of the drawn data set, and its preparation."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hamjax.data.classes import CLASSES
from hamjax.data.dataset import Dataset
from hamjax.data.preparation.prepare import DataRequest, prepare
from tests.conftest import read_rows, write_rows


@pytest.fixture
def few(copy: Path) -> Path:
    """A copy with five images of each class, quick to read whole."""
    rows = sorted(read_rows(copy), key=lambda row: (row["dx"], row["lesion_id"]))
    kept = [row for dx in CLASSES for row in [row for row in rows if row["dx"] == dx][:5]]
    write_rows(copy, kept)
    for row in [row for row in rows if row not in kept]:
        (copy / f"{row['image_id']}.jpg").unlink()
    return copy


Prepare = Callable[..., tuple[Dataset, str]]


@pytest.fixture
def run(copy: Path, tmp_path: Path) -> Prepare:
    """Prepare the copy; return the data set and what was said."""

    def call(**changes: Any) -> tuple[Dataset, str]:
        said: list[str] = []
        request = DataRequest(
            name="ham10000", source_dir=str(copy), data_dir=str(tmp_path / "data"), image_size=24, resize="squash",
            allow_missing=False, synthetic_images=300,
        )  # fmt: skip
        return prepare(dataclasses.replace(request, **changes), said.append), "\n".join(said)

    return call
