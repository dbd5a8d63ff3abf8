"""The door to the TFDS records, so that a start with a good cache does not import TFDS."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hamjax.data.metadata import CLASSES, Metadata, from_rows
from hamjax.data.sources import Source
from hamjax.errors import UserError

RECORDS_VERSION = "1.0.0"
TEXT_COLUMNS = ("image_id", "lesion_id", "dx_type", "sex", "localization", "dataset")


def write_records(name: str, source: Source, details: Mapping[str, Any], folder: Path) -> Path:
    """Write a source as records below `folder`; return where they are."""
    from hamjax.data.ham10000 import write_tfds  # takes a second: only where records are made

    return write_tfds(name, source, details, folder)


def open_records(folder: Path) -> Any:
    """Open records for random access.

    Raises:
        UserError: they are damaged.
    """
    from hamjax.data.ham10000 import read_tfds

    try:
        return read_tfds(folder)
    except Exception as error:  # TFDS, array_record and protobuf each raise their own kinds
        raise UserError(
            f"{folder}: expected TFDS records, got {type(error).__name__}: {error}; "
            "remove that folder and prepare the data again."
        ) from error


def read_columns(records: Any) -> Metadata:
    """Read the table back from the records, ordered by `image_id`."""
    rows = []
    for i in range(len(records)):
        example = records[i]
        row = {name: example[name].decode() for name in TEXT_COLUMNS}
        rows.append(row | {"dx": CLASSES[int(example["label"])], "age": str(example["age"])})
    return from_rows(rows, where="records")
