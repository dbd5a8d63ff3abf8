"""Reading the weights Keras stores in HDF5, in either of its layouts, with h5py alone."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hamjax.errors import UserError

CONVOLUTION, NORM, DENSE, OTHER = "convolution", "norm", "dense", "other"
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
        UserError: it cannot be read, is no HDF5, is cut short, or holds something else.
    """
    try:
        with h5py.File(path, "r") as file:
            group: Any = file.get("model_weights", file)
            if "layer_names" in group.attrs or "layer_names0" in group.attrs:
                return _read_legacy(group, path)
            if "layers" in group:
                return _read_numbered(group["layers"], path)
            found = ", ".join(list(group)[:5]) or "nothing"
    except FileNotFoundError:
        raise UserError(f"{path}: expected a weights file, got none; check the path.") from None
    except (OSError, RuntimeError, KeyError, ValueError) as error:  # what h5py raises at damaged files
        raise UserError(
            f"{path}: expected a whole HDF5 file of Keras weights, got {error}; it may be cut short or "
            "something else: fetch it again."
        ) from error
    raise UserError(
        f"{path}: expected Keras weights (an attribute `layer_names` or a group `layers`), got an HDF5 file "
        f"with {found}; save them with model.save_weights."
    )


def _read_legacy(group: Any, path: Path) -> list[SourceLayer]:
    """Read the layout of Keras 1 and 2: a group a layer, named weights."""
    layers = []
    for name in _attribute(group, "layer_names"):
        tensors = {}
        for weight in _attribute(group[name], "weight_names"):
            if weight not in group[name]:
                raise UserError(f"{path}: expected the tensor {weight} that layer {name} lists, got none.")
            leaf = weight.rsplit("/", 1)[-1].removesuffix(":0")
            tensors[leaf] = np.asarray(group[name][weight])
        if tensors:
            layers.append(SourceLayer(name, tensors))
    return layers


def _attribute(group: Any, name: str) -> list[str]:
    """Return a list of names, which Keras cuts in numbered parts when it is long."""
    if name in group.attrs:
        values = list(group.attrs[name])
    else:
        values, part = [], 0
        while f"{name}{part}" in group.attrs:
            values += list(group.attrs[f"{name}{part}"])
            part += 1
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values]


def _read_numbered(group: Any, path: Path) -> list[SourceLayer]:
    """Read the layout of Keras 3: `conv2d_12/vars/0`, the layer's name an attribute of `vars`.

    The number counts the layers of a class in `model.layers`, so classes are kept apart.
    """
    layers = []
    for key in sorted(group, key=_natural):
        variables = group[key].get("vars", {})
        values = {index: np.asarray(variables[index]) for index in sorted(variables, key=int)}
        if not values:
            continue
        leaves = NUMBERED.get((re.sub(r"_\d+$", "", key), len(values)), tuple(values))
        name = variables.attrs.get("name", "")
        layers.append(SourceLayer(str(name), dict(zip(leaves, values.values(), strict=True))))
    if not layers:
        raise UserError(f"{path}: expected layers with weights, got none.")
    return layers


def _natural(key: str) -> tuple[str, int]:
    """Sort conv2d, conv2d_2, conv2d_10 in this order."""
    stem, _, number = key.rpartition("_")
    return (stem, int(number)) if number.isdigit() and stem else (key, 0)
