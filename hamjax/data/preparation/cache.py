"""The decode-once cache: every image as uint8 pixels of one size, memory-mapped.

Built from the records and nothing else. A cache carries the fingerprint of the
records and a checksum of its pixels; one that does not match is built again.
"""

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
from hamjax.data.preparation.images import CHUNK, decode_chunks
from hamjax.data.preparation.records import Records, read_columns
from hamjax.runtime.errors import UserError
from hamjax.runtime.say import Say


def load_cache(
    open_records: Callable[[], Records], details: dict[str, Any], folder: Path, *, size: int, how: str, say: Say
) -> Dataset:
    """Map the cache of these records, building it first where there is none.

    Args:
        open_records: gives random access to examples with an encoded `image`; called
            only where something has to be built.
        details: what `prepare_records` stored beside the records.
        folder: where caches are kept.
        size: pixels a side.
        how: `squash` or `crop`.
        say: takes a line for the user.

    Raises:
        UserError: the disk cannot hold the cache.
    """
    pixels, sidecar, expected = _expected(details, folder, size, how)
    why = _why_unusable(pixels, sidecar, expected)
    metadata = folder / f"{details['name']}_{details['fingerprint'][:16]}.npz"
    if why:
        say(f"cache {pixels}: {why}; building it from {details['count']:,} records")
        folder.mkdir(parents=True, exist_ok=True)
        _build(open_records(), pixels, sidecar, expected, size, how)
    return Dataset(
        images=np.load(pixels, mmap_mode="r", allow_pickle=False),
        metadata=_load_columns(open_records, metadata),
        fingerprint=details["fingerprint"],
        dropped=tuple(details["dropped"]),
        images_note=f"{details['images_note']}, {how} to {size}x{size}",
    )


def why_to_build(details: dict[str, Any], folder: Path, *, size: int, how: str) -> str:
    """Return why `load_cache` would build the cache, or nothing; arguments are its."""
    return _why_unusable(*_expected(details, folder, size, how))


def _expected(details: dict[str, Any], folder: Path, size: int, how: str) -> tuple[Path, Path, dict[str, Any]]:
    """Return the files of a cache, and what the second must say of the first."""
    name = f"{details['name']}_{size}x{size}_{how}"
    expected = {"fingerprint": details["fingerprint"], "shape": [details["count"], size, size, 3]}
    return folder / f"{name}.npy", folder / f"{name}.json", expected


def _why_unusable(pixels: Path, sidecar: Path, expected: dict[str, Any]) -> str:
    """Return why a cache cannot serve, or nothing."""
    if not pixels.exists() or not sidecar.exists():
        return "not there yet"
    try:
        stored = json.loads(sidecar.read_text())
        array = np.load(pixels, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        return f"unreadable ({error})"
    if stored.get("fingerprint") != expected["fingerprint"]:
        return "made from other content"
    if list(array.shape) != expected["shape"] or array.dtype != np.uint8:
        return f"holds {array.dtype} {list(array.shape)}, expected uint8 {expected['shape']}"
    if stored.get("crc32") != _crc32(array):
        return "its pixels are not what was written"
    return ""


def _crc32(array: np.ndarray) -> int:
    crc = 0
    for start in range(0, len(array), CHUNK):
        crc = zlib.crc32(array[start : start + CHUNK].tobytes(), crc)
    return crc


def _build(records: Records, pixels: Path, sidecar: Path, expected: dict[str, Any], size: int, how: str) -> None:
    # Plain writes, not a memory map: a full disk must be an error, not a SIGBUS.
    order = np.argsort([records[i]["image_id"] for i in range(len(records))])
    part = pixels.with_suffix(f".part{os.getpid()}")
    # The sidecar vouches for the pixels, so it goes first and comes last.
    sidecar.unlink(missing_ok=True)
    try:
        with part.open("wb") as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": tuple(expected["shape"])}
            np.lib.format.write_array_header_1_0(file, header)
            crc = _write_pixels(file, records, order, size, how)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, pixels)
        part.write_text(json.dumps({**expected, "crc32": crc}))
        os.replace(part, sidecar)
    except OSError as error:
        raise UserError(
            f"{pixels}: expected {np.prod(expected['shape']):,} bytes of room, got {error}; free some "
            "space or name another folder with --config.data.data_dir (--data-dir)."
        ) from error
    finally:
        part.unlink(missing_ok=True)


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
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error):
        metadata = read_columns(open_records())
    part = path.with_suffix(f".part{os.getpid()}.npz")
    columns: dict[str, Any] = {**metadata.columns()}
    np.savez_compressed(part, **columns)
    os.replace(part, path)
    return metadata
