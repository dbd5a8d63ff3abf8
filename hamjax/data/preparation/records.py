"""The door to the TFDS records, so that a start with a good cache does not import TFDS."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hamjax.data.classes import CLASSES
from hamjax.data.metadata import TEXT_COLUMNS, Metadata, from_rows
from hamjax.data.sources.source import Images
from hamjax.runtime.errors import UserError


def write_records(name: str, source: Images, details: Mapping[str, Any], folder: Path) -> Path:
    """Write a source as records below `folder`; return where they are.

    Raises:
        UserError: they cannot be written, as on a full disk.
    """
    from hamjax.data.preparation.tfds_builder import write_tfds  # takes a second: only where records are made

    try:
        return write_tfds(name, source, details, folder)
    except (OSError, RuntimeError) as error:  # RuntimeError: of array_record, as on a full disk
        raise UserError(
            f"{folder.parent}: expected to write records there, got {type(error).__name__}: {error}; "
            "free some space or name another folder with --config.data.data_dir (--data-dir)."
        ) from error


class Records:
    """Random access to the records of a folder; an example's `image` is still encoded.

    Raises:
        UserError: they are damaged, when it first shows.
    """

    def __init__(self, folder: Path) -> None:
        from hamjax.data.preparation.tfds_builder import DAMAGE, read_tfds

        self._folder, self._damage = folder, DAMAGE
        self._examples = self._guard(read_tfds, folder)

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._guard(self._examples.__getitem__, index)

    def _guard(self, read: Callable[[Any], Any], argument: Any) -> Any:
        try:
            return read(argument)
        except self._damage as error:
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
