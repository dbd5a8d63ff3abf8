"""The decode-once cache: every image as uint8 pixels of one size, memory-mapped.

Built from the records and nothing else. A cache carries the fingerprint of the
records and a checksum of its pixels; one that does not match is built again.
"""

import contextlib
import dataclasses
import json
import os
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from hamjax.data.dataset import Dataset
from hamjax.data.metadata import Metadata
from hamjax.data.preparation.images import CHUNK, DECODING, decode_chunks, is_deep_or_transparent
from hamjax.data.preparation.records import Records, read_columns
from hamjax.runtime.errors import UserError
from hamjax.runtime.files import ARRAY_DAMAGE, replacing


@dataclasses.dataclass(frozen=True)
class Cache:
    """The pixels of a data set at one size: an array, and a sidecar that vouches for it.

    Attributes:
        folder: where caches are kept.
        name: of the data set.
        size: pixels a side.
        how: `squash` or `crop`.
    """

    folder: Path
    name: str
    size: int
    how: str

    @property
    def pixels(self) -> Path:
        """The array, [N, S, S, 3] uint8."""
        return self.folder / f"{self.name}_{self.size}x{self.size}_{self.how}.npy"

    @property
    def sidecar(self) -> Path:
        """What the array was made from, and its checksum."""
        return self.pixels.with_suffix(".json")

    def why_to_build(self, details: dict[str, Any], open_records: Callable[[], Records]) -> str:
        """Return why it cannot serve records with these details, or nothing. Reads all pixels.

        Args:
            details: what is stored beside the records.
            open_records: gives random access to them; called only for the cache of an earlier version.
        """
        if not self.pixels.exists() or not self.sidecar.exists():
            return "not there yet"
        try:
            stored = json.loads(self.sidecar.read_text())
            array = np.load(self.pixels, mmap_mode="r", allow_pickle=False)
        except ARRAY_DAMAGE as error:
            return f"unreadable ({error})"
        expected = self._expected(details)
        if stored.get("fingerprint") != expected["fingerprint"]:
            return "made from other content"
        if list(array.shape) != expected["shape"] or array.dtype != np.uint8:
            return f"holds {array.dtype} {list(array.shape)}, expected uint8 {expected['shape']}"
        if stored.get("crc32") != _crc32(array):
            return "its pixels are not what was written"
        # Of an earlier version, all records are read, which takes seconds at each start; a JPEG's pixels are the same.
        if stored.get("decoding") != DECODING and _has_deep_or_transparent(open_records()):
            return "made by a version that decoded 16 bits of gray, or transparency, otherwise"
        return ""

    def build(self, records: Records, details: dict[str, Any]) -> None:
        """Decode all records; the array is there whole or not at all.

        Raises:
            UserError: the disk cannot hold it.
        """
        # Plain writes, not a memory map: a full disk must be an error, not a SIGBUS.
        order = np.argsort([records[i]["image_id"] for i in range(len(records))])
        expected = self._expected(details)
        part = self.pixels.with_suffix(f".part{os.getpid()}")
        # The sidecar vouches for the pixels, so it goes first and comes last.
        self.sidecar.unlink(missing_ok=True)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                header = {"descr": "|u1", "fortran_order": False, "shape": tuple(expected["shape"])}
                np.lib.format.write_array_header_1_0(file, header)
                crc = _write_pixels(file, records, order, self.size, self.how)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, self.pixels)
            part.write_text(json.dumps({**expected, "crc32": crc, "decoding": DECODING}))
            os.replace(part, self.sidecar)
        except OSError as error:
            raise UserError(
                f"{self.pixels}: expected {np.prod(expected['shape']):,} bytes of room, got {error}; free some "
                "space or name another folder with --config.data.data_dir (--data-dir)."
            ) from error
        finally:
            part.unlink(missing_ok=True)

    def open(self, open_records: Callable[[], Records], details: dict[str, Any]) -> Dataset:
        """Map it from disk.

        Args:
            open_records: gives random access to the records; called only where the copy of the table is missing.
            details: what is stored beside the records.
        """
        return Dataset(
            images=np.load(self.pixels, mmap_mode="r", allow_pickle=False),
            metadata=_load_columns(open_records, self.folder / f"{self.name}_{details['fingerprint'][:16]}.npz"),
            fingerprint=details["fingerprint"],
            dropped=tuple(details["dropped"]),
            images_note=f"{details['images_note']}, {self.how} to {self.size}x{self.size}",
            tables=tuple(details.get("tables", ())),
            outside=details.get("outside", {}),
        )

    def _expected(self, details: dict[str, Any]) -> dict[str, Any]:
        """Return what the sidecar must say of the array."""
        return {"fingerprint": details["fingerprint"], "shape": [details["count"], self.size, self.size, 3]}


def _crc32(array: np.ndarray) -> int:
    crc = 0
    for start in range(0, len(array), CHUNK):
        crc = zlib.crc32(array[start : start + CHUNK].tobytes(), crc)
    return crc


def _has_deep_or_transparent(records: Records) -> bool:
    return any(is_deep_or_transparent(records[i]["image"]) for i in range(len(records)))


def _write_pixels(file: BinaryIO, records: Records, order: np.ndarray, size: int, how: str) -> int:
    crc = 0
    for chunk in decode_chunks(lambda row: records[row]["image"], order.tolist(), size, how):
        encoded = chunk.tobytes()
        crc = zlib.crc32(encoded, crc)
        file.write(encoded)
    return crc


def _load_columns(open_records: Callable[[], Records], path: Path) -> Metadata:
    """Read the table from a small copy beside the cache: 10,015 records take seconds."""
    try:
        with np.load(path, allow_pickle=False) as columns:
            return Metadata(**columns)
    except (*ARRAY_DAMAGE, zipfile.BadZipFile, zlib.error):
        metadata = read_columns(open_records())
    columns: dict[str, Any] = {**metadata.columns()}
    # Where nothing can be written, or no more, every start reads the records.
    with contextlib.suppress(UserError), replacing(path) as part:
        np.savez_compressed(part, **columns)
    return metadata
