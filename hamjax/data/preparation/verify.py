"""Verification: every image of a source is read and decoded before anything is made of it."""

import hashlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from hamjax.data.metadata import Metadata
from hamjax.data.preparation.images import decode, is_turned, usable_cores
from hamjax.data.sources.source import Source
from hamjax.runtime.errors import UserError, name_some


def missing_images(source: Source, *, allow_missing: bool) -> list[str]:
    """Return the ids that the table names and no image exists for.

    Raises:
        UserError: there are some, and `allow_missing` is off.
    """
    missing = source.missing()
    if missing and not allow_missing:
        raise UserError(
            f"{source.description}: expected an image for each of the {len(source.metadata):,} rows, "
            f"got none for {len(missing)}: {name_some(missing)}.{_unclaimed(source)} Complete the copy, or continue "
            "with what is there: --allow-missing (--config.data.allow_missing)."
        )
    return missing


def _unclaimed(source: Source) -> str:
    """Name images that no row names: an id that is written otherwise is seen at once beside them."""
    others = source.unclaimed()
    return f" No row names {len(others):,} images there: {name_some(others, 3)}." if others else ""


def verify(source: Source, *, allow_missing: bool) -> tuple[Metadata, dict[str, Any]]:
    """Read and decode every image of the table.

    Returns:
        The table without what is missing, and the details to store: `signature`,
        `fingerprint`, `dropped`, `images_note`, the total `bytes`, and the ids that EXIF asks to be `turned`.

    Raises:
        UserError: an image is missing or undecodable and `allow_missing` is off, or
            none is left.
    """
    missing = missing_images(source, allow_missing=allow_missing)
    absent = set(missing)
    rows = [i for i in source.metadata.image_id.tolist() if i not in absent]
    # Decoding lets go of the interpreter lock, so threads use all cores.
    checked = {}
    with ThreadPoolExecutor(usable_cores()) as pool:
        results = pool.map(lambda image_id: _check(source, image_id), rows)
        for image_id, result in zip(rows, tqdm(results, "verify", len(rows), disable=None), strict=True):
            checked[image_id] = result
    broken = [i for i, result in checked.items() if isinstance(result, str)]
    if broken and not allow_missing:
        raise UserError(
            f"{source.description}: expected images that decode, got {len(broken)} that do not: "
            f"{name_some(f'{i} ({checked[i]})' for i in broken)}. Fetch them again, or continue "
            "without them: --allow-missing (--config.data.allow_missing)."
        )
    good = {i: result for i, result in checked.items() if not isinstance(result, str)}
    if not good:
        why = f"undecodable: {name_some(broken)}" if broken else f"the table names {name_some(missing, 3)}"
        raise UserError(f"{source.description}: expected an image of the table that decodes, got none; {why}.")
    keep = source.metadata.select(np.array([i in good for i in source.metadata.image_id.tolist()]))
    # Over hashes in the order of ids: the fingerprint depends on cells and files, not on names or layout.
    digest = hashlib.sha256(keep.fingerprint().encode())
    for image_id in keep.image_id.tolist():
        digest.update(good[image_id].digest)
    return keep, {
        "signature": source.signature,
        "fingerprint": digest.hexdigest(),
        "dropped": sorted(missing + broken),
        "images_note": _images_note(source, [result.size for result in good.values()]),
        "bytes": sum(result.length for result in good.values()),
        "turned": sorted(i for i, result in good.items() if result.turned),
    }


class _Checked:
    """What verification keeps of one good image."""

    __slots__ = ("digest", "length", "size", "turned")

    def __init__(self, encoded: bytes, image: Image.Image) -> None:
        self.digest, self.length = hashlib.sha256(encoded).digest(), len(encoded)
        self.size, self.turned = image.size, is_turned(image)


def _check(source: Source, image_id: str) -> _Checked | str:
    try:
        encoded = source.read(image_id)
        return _Checked(encoded, decode(encoded))
    except (OSError, ValueError, UserError) as error:
        return str(error)


def _images_note(source: Source, sizes: list[tuple[int, int]]) -> str:
    (width, height), most = Counter(sizes).most_common(1)[0]
    others = f" ({len(sizes) - most:,} of other sizes)" if most < len(sizes) else ""
    return f"{len(sizes):,} {source.kind} of {width}x{height} pixels{others}"
