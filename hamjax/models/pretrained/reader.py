"""HDF5 files that anyone may have made: what lies in one is read within bounds, and nothing outside of it."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hamjax.runtime.errors import UserError

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
