"""MedMNIST's DermaMNIST: HAM10000's images, made small, in one NumPy archive with parts of its own.

`dermamnist.npz`, `dermamnist_64.npz`, `_128` and `_224` (Yang et al., Scientific Data 10:41, 2023). It names neither
images nor lesions.
"""

import functools
import hashlib
import io
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hamjax.data.classes import CLASSES
from hamjax.data.metadata import from_rows
from hamjax.runtime.archive import open_archive, read_member
from hamjax.runtime.errors import UserError, name_some
from hamjax.runtime.files import ARRAY_DAMAGE
from hamjax.runtime.member_file import MemberFile

PARTS = ("train", "val", "test")
MAX_IMAGES, MAX_SIDE = 100_000, 1024
LAYOUT = "DermaMNIST"
# MD5 of the published files, by the side of their images.
PUBLISHED = {
    "0744692d530f8e62ec473284d019b0c7": 28,
    "b70a2f5635c6199aeaa28c31d7202e1f": 64,
    "2defd784463fa5243564e855ed717de1": 128,
    "8974907d8e169bef5f5b96bc506ae45d": 224,
}
# Abhishek, Jain, Hamarneh, Scientific Data 12:196, 2025. It holds for the published parts alone.
PUBLISHED_LEAK = (
    "in its own parts (data.split=source), 886 of 2,005 test images show one of 641 lesions that are also trained on, "
    "as was published"
)


class DermaMnistSource:
    """The images of such a file; an id is a part and a number in it, and the part stands in the column `dataset`.

    No lesion is known, so each image is recorded as one of its own, under its id.

    Args:
        path: the file.

    Raises:
        UserError: it is no NumPy archive, or lacks an array, or one is not as published.
    """

    kind = "images"

    def __init__(self, path: Path) -> None:
        self.path, self.description = path, str(path)
        self.outside: Mapping[str, str] = {}
        self._archive = open_archive(path)
        self._members = {info.filename: info for info in self._archive.infolist()}
        if lacking := [name for part in PARTS for name in _names(part) if name not in self._members]:
            raise UserError(f"{path}: expected the arrays of MedMNIST's DermaMNIST, got none of {name_some(lacking)}.")
        labels = {part: self._read_labels(part) for part in PARTS}
        self._images = {part: self._open_images(part, len(labels[part])) for part in PARTS}
        rows = [
            {"image_id": image_id, "lesion_id": image_id, "dx": CLASSES[label], "dataset": f"{LAYOUT} {part}"}
            for part in PARTS
            for image_id, label in zip(_ids(part, len(labels[part])), labels[part].tolist(), strict=True)
        ]
        self.metadata = from_rows(rows, where=str(path))
        stamps = [f"{name} {info.file_size} {info.CRC}" for name, info in sorted(self._members.items())]
        self.signature = hashlib.sha256("\n".join([LAYOUT, *stamps]).encode()).hexdigest()

    @property
    def tables(self) -> Sequence[dict[str, Any]]:
        """What a report says of the file; `published` where it is a published one. Reads it whole."""
        sha256, md5 = _hashes(self.path)
        facts = {"place": self.path.name, "layout": LAYOUT, "sha256": sha256, "rows": len(self.metadata)}
        return [facts | ({"published": PUBLISHED_LEAK} if md5 in PUBLISHED else {})]

    def missing(self) -> list[str]:
        """Return no id: the file has an image for every label."""
        return []

    def unclaimed(self) -> list[str]:
        """Return no place: the file has a label for every image."""
        return []

    def read(self, image_id: str) -> bytes:
        """Return one image as PNG."""
        part, _, number = image_id.rpartition("_")
        file, start, side = self._images[part]
        size = side * side * 3
        pixels = file.read_at(start + int(number) * size, size)
        return _as_png(np.frombuffer(pixels, np.uint8).reshape(side, side, 3))

    def _read_labels(self, part: str) -> np.ndarray:
        _, name = _names(part)
        content = read_member(self._archive, self._members[name], MAX_IMAGES * 8 + 1000)
        try:
            labels = np.load(io.BytesIO(content), allow_pickle=False)
        except ARRAY_DAMAGE as error:
            raise UserError(f"{self.path}: expected an array in {name}, got {error}; fetch the file again.") from error
        count = len(labels) if labels.ndim else 0
        if labels.dtype.kind not in "iu" or labels.shape not in ((count, 1), (count,)) or not 0 < count <= MAX_IMAGES:
            raise UserError(
                f"{self.path}: expected {name} to be [N, 1] of whole numbers, got {labels.dtype} {list(labels.shape)}."
            )
        if labels.min() < 0 or labels.max() >= len(CLASSES):
            raise UserError(
                f"{self.path}: expected labels 0 to {len(CLASSES) - 1} in {name}, got {labels.min()} to "
                f"{labels.max()}; is it another set of MedMNIST?"
            )
        return labels.reshape(-1)

    def _open_images(self, part: str, count: int) -> tuple[MemberFile, int, int]:
        """Return the array's file, where its pixels begin, and the side of an image; reads its header alone."""
        name, _ = _names(part)
        file = MemberFile(self.path, self._members[name])
        try:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read(file)
        except ARRAY_DAMAGE as error:
            raise UserError(f"{self.path}: expected an array in {name}, got {error}; fetch the file again.") from error
        side = shape[1] if len(shape) == 4 else 0
        expected = file.tell() + count * side * side * 3
        if (
            fortran
            or dtype != np.uint8
            or shape != (count, side, side, 3)
            or not 0 < side <= MAX_SIDE
            or self._members[name].file_size != expected
        ):
            raise UserError(
                f"{self.path}: expected {name} to be uint8 [{count}, S, S, 3] in C order, as long as its labels, got "
                f"{dtype} {list(shape)} in {'Fortran' if fortran else 'C'} order, in a file of "
                f"{self._members[name].file_size:,} bytes; fetch the file again."
            )
        return file, file.tell(), side


def is_dermamnist(path: Path) -> bool:
    """Return whether a source is a file of this kind, by its name."""
    return path.suffix.lower() == ".npz" and path.is_file()


@functools.lru_cache(maxsize=1)
def _hashes(path: Path) -> tuple[str, str]:
    """Return SHA-256 and MD5 of a file."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while piece := file.read(2**20):
            sha256.update(piece)
            md5.update(piece)
    return sha256.hexdigest(), md5.hexdigest()


def _names(part: str) -> tuple[str, str]:
    return f"{part}_images.npy", f"{part}_labels.npy"


def _ids(part: str, count: int) -> list[str]:
    return [f"{part}_{i:05d}" for i in range(count)]


def _as_png(pixels: np.ndarray) -> bytes:
    """Encode [S, S, 3] uint8 without compression, so that the fingerprint does not follow the version of zlib."""
    height, width, _ = pixels.shape
    lines = np.pad(pixels.reshape(height, width * 3), ((0, 0), (1, 0))).tobytes()  # each begins with its filter, none
    blocks = [lines[i : i + 65535] for i in range(0, len(lines), 65535)]
    stored = b"".join(
        struct.pack("<BHH", i == len(blocks) - 1, len(block), len(block) ^ 0xFFFF) + block
        for i, block in enumerate(blocks)
    )
    packed = b"\x78\x01" + stored + struct.pack(">I", zlib.adler32(lines))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", packed), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
