"""The door to the TFDS records, so that a start with a good cache does not import TFDS."""

from collections.abc import Callable, Mapping
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


class Records:
    """Random access to the records of a folder; an example's `image` is still encoded.

    Raises:
        UserError: they are damaged, when it first shows.
    """

    def __init__(self, folder: Path) -> None:
        from hamjax.data.ham10000 import read_tfds

        self._folder = folder
        self._examples = self._guard(read_tfds, folder)

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._guard(self._examples.__getitem__, index)

    def _guard(self, read: Callable[[Any], Any], argument: Any) -> Any:
        try:
            return read(argument)
        except Exception as error:  # TFDS, array_record and protobuf each raise their own kinds
            raise UserError(
                f"{self._folder}: expected TFDS records, got {type(error).__name__}: {error}; "
                "remove that folder and prepare the data again."
            ) from error


def read_columns(records: Records) -> Metadata:
    """Read the table back from the records, ordered by `image_id`."""
    rows = []
    for i in range(len(records)):
        example = records[i]
        row = {name: example[name].decode() for name in TEXT_COLUMNS}
        rows.append(row | {"dx": CLASSES[int(example["label"])], "age": str(example["age"])})
    return from_rows(rows, where="records")
