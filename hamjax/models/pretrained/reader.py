"""HDF5 files that anyone may have made: what lies in one is read within bounds, and nothing outside of it."""

import mmap
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hamjax.runtime.errors import UserError

HEAP = b"GCOL\1\0\0\0"  # how a global heap begins: its signature and version
MAX_BYTES = 2**30  # of all tensors; the largest network has a tenth of it


class Reader:
    """Takes out of a file what lies in it: no link is followed, no other file opened, no more than `MAX_BYTES` read."""

    def __init__(self, path: Path) -> None:
        self.path, self._left = path, MAX_BYTES

    def group(self, parent: h5py.Group, name: str) -> h5py.Group | None:
        """Return a group, or nothing if there is none of that name."""
        found = self._member(parent, name)
        if found is not None and not isinstance(found, h5py.Group):
            raise UserError(f"{self.path}: expected a group {name!r}, got {type(found).__name__}; fetch it again.")
        return found

    def group_or_nothing(self, parent: h5py.Group, name: str) -> h5py.Group | None:
        """Return a group; nothing if something else has its name."""
        found = self._member(parent, name)
        return found if isinstance(found, h5py.Group) else None

    def numbers(self, variables: h5py.Group) -> dict[str, np.ndarray]:
        """Return the numbered arrays of a layer; nothing of one whose state is no weights, such as a seed."""
        names: list[str] = sorted(variables, key=int)
        members = [self._member(variables, name) for name in names]
        if any(isinstance(member, h5py.Dataset) and member.dtype.kind in "iub" for member in members):
            return {}
        return {name: self.tensor(variables, name) for name in names}

    def tensor(self, parent: h5py.Group, name: str) -> np.ndarray:
        """Return an array of floating-point numbers."""
        found = self._member(parent, name)
        if found is None:
            raise UserError(f"{self.path}: expected the tensor {name} in {parent.name}, got none; fetch it again.")
        if not isinstance(found, h5py.Dataset) or found.is_virtual or found.external or found.dtype.kind != "f":
            raise UserError(
                f"{self.path}: expected {name!r} to be an array of floating-point numbers in the file itself, got "
                "something else; do not use this file."
            )
        self._left -= found.nbytes
        if self._left < 0:
            raise UserError(
                f"{self.path}: expected tensors of at most {MAX_BYTES:,} bytes together, got more at {name!r} "
                f"{found.shape}; do not use this file."
            )
        return np.asarray(found)

    def _member(self, parent: h5py.Group, name: str) -> Any:
        found: Any = parent
        for part in filter(None, name.split("/")):
            link = found.get(part, getlink=True) if isinstance(found, h5py.Group) else None
            if link is None:
                return None
            if not isinstance(link, h5py.HardLink):
                raise UserError(f"{self.path}: expected weights without links, got one at {part!r}; do not use it.")
            found = found[part]
        return found


def require_sound_heaps(content: bytes | mmap.mmap, path: Path) -> None:
    """Refuse a file whose texts lie in a heap with impossible sizes: HDF5 itself would search it for ever.

    The form of a global heap is that of the HDF5 File Format Specification, III.E.

    Raises:
        UserError: there is one.
    """
    start = content.find(HEAP)
    while start >= 0:
        end = start + int.from_bytes(content[start + 8 : start + 16], "little")
        place = start + 16
        while place + 16 <= min(end, len(content)):
            is_used, size = any(content[place : place + 2]), int.from_bytes(content[place + 8 : place + 16], "little")
            step = 16 + (size + 7) // 8 * 8 if is_used else size  # free space counts its own header
            if not 16 <= step <= end - place:
                raise UserError(f"{path}: expected a whole HDF5 file, got a damaged heap of texts; fetch it again.")
            place += step
        start = content.find(HEAP, start + len(HEAP))
