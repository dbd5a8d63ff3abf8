"""Reading the weights Keras stores in HDF5, in either of its layouts, with h5py alone."""

import dataclasses
import itertools
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hamjax.runtime.errors import UserError, name_some

CONVOLUTION, NORM, DENSE, OTHER = "convolution", "norm", "dense", "other"
MAX_BYTES = 2**30  # of all tensors; the largest network has a tenth of it
NORM_LEAVES = ("gamma", "beta", "moving_mean", "moving_variance")
# Keras 3 numbers a layer's variables instead of naming them; without gamma the others move up.
NUMBERED = {
    ("dense", 1): ("kernel",),
    ("dense", 2): ("kernel", "bias"),
    ("conv2d", 1): ("kernel",),
    ("conv2d", 2): ("kernel", "bias"),
    ("batch_normalization", 3): NORM_LEAVES[1:],
    ("batch_normalization", 4): NORM_LEAVES,
}


@dataclasses.dataclass(frozen=True)
class SourceLayer:
    """A layer of a file.

    Attributes:
        name: as in the file; empty where it has none.
        tensors: by Keras's name: kernel, bias, gamma, beta, moving_mean, moving_variance.
    """

    name: str
    tensors: dict[str, np.ndarray]

    @property
    def kind(self) -> str:
        """What it is, judged by what it holds."""
        if "kernel" in self.tensors:
            return {4: CONVOLUTION, 2: DENSE}.get(self.tensors["kernel"].ndim, OTHER)
        return NORM if set(self.tensors) & set(NORM_LEAVES) else OTHER


def read_layers(path: Path) -> list[SourceLayer]:
    """Read every layer that has weights, in the order of Keras's `model.layers`.

    Args:
        path: a file in the layout of the official weights (`layer_names` and
            `weight_names` as attributes), also inside a whole model's file, or a
            `.weights.h5` of Keras 3.

    Raises:
        UserError: it cannot be read, is no HDF5, is cut short, holds something else or more than `MAX_BYTES`, or
            speaks of other files.
    """
    try:
        with h5py.File(path, "r") as file:
            reader = _Reader(path)
            group = reader.group(file, "model_weights") or file
            if "layer_names" in group.attrs or "layer_names0" in group.attrs:
                return _read_legacy(reader, group)
            layers = reader.group(group, "layers")
            if layers is not None:
                return _read_numbered(reader, layers)
            found = name_some(group, 5) or "nothing"
    except FileNotFoundError:
        raise UserError(f"{path}: expected a weights file, got none; check the path.") from None
    # What h5py raises at damaged files, MemoryError where a damaged size is allocated.
    except (OSError, RuntimeError, LookupError, ValueError, TypeError, MemoryError) as error:
        raise UserError(
            f"{path}: expected a whole HDF5 file of Keras weights, got {error}; it may be cut short or "
            "something else: fetch it again."
        ) from error
    raise UserError(
        f"{path}: expected Keras weights (an attribute `layer_names` or a group `layers`), got an HDF5 file "
        f"with {found}; save them with model.save_weights."
    )


class _Reader:
    """Takes out of a file what lies in it: no link is followed, no other file opened, no more than `MAX_BYTES` read."""

    def __init__(self, path: Path) -> None:
        self.path, self._left = path, MAX_BYTES

    def group(self, parent: h5py.Group, name: str) -> h5py.Group | None:
        """Return a group, or nothing if there is none of that name."""
        found = self._member(parent, name)
        if found is not None and not isinstance(found, h5py.Group):
            raise UserError(f"{self.path}: expected a group {name!r}, got {type(found).__name__}; fetch it again.")
        return found

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


def _read_legacy(reader: _Reader, group: h5py.Group) -> list[SourceLayer]:
    """Read the layout of Keras 1 and 2: a group a layer, named weights."""
    layers = []
    for name in _attribute(group, "layer_names"):
        layer = reader.group(group, name)
        if layer is None:
            raise UserError(f"{reader.path}: expected the layer {name} that the file lists, got none; fetch it again.")
        weights = _attribute(layer, "weight_names")
        tensors = {weight.rsplit("/", 1)[-1].removesuffix(":0"): reader.tensor(layer, weight) for weight in weights}
        if tensors:
            layers.append(SourceLayer(name, tensors))
    return layers


def _attribute(group: h5py.Group, name: str) -> list[str]:
    """Return a list of names, which Keras cuts in numbered parts when it is long."""
    attributes: Any = group.attrs
    numbered = itertools.takewhile(attributes.__contains__, (f"{name}{i}" for i in itertools.count()))
    parts = [name] if name in attributes else numbered
    values = [value for part in parts for value in attributes[part]]
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values]


def _read_numbered(reader: _Reader, group: h5py.Group) -> list[SourceLayer]:
    """Read the layout of Keras 3: `conv2d_12/vars/0`, the layer's name an attribute of `vars`.

    The number counts the layers of a class in `model.layers`, so classes are kept apart.
    """
    layers = []
    for key in sorted(group, key=_natural):
        layer = reader.group(group, key)
        variables = layer and reader.group(layer, "vars")
        if not variables:
            continue
        values = {index: reader.tensor(variables, index) for index in sorted(variables, key=int)}
        leaves = NUMBERED.get((re.sub(r"_\d+$", "", key), len(values)), tuple(values))
        name = variables.attrs.get("name", "")
        layers.append(SourceLayer(str(name), dict(zip(leaves, values.values(), strict=True))))
    if not layers:
        raise UserError(f"{reader.path}: expected layers with weights, got none; save them with model.save_weights.")
    return layers


def _natural(key: str) -> tuple[str, int]:
    """Sort conv2d, conv2d_2, conv2d_10 in this order."""
    stem, _, number = key.rpartition("_")
    return (stem, int(number)) if number.isdigit() and stem else (key, 0)
