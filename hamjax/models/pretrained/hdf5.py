"""Reading the weights Keras stores in HDF5, in either of its layouts, with h5py alone."""

import dataclasses
import io
import itertools
import json
import mmap
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hamjax.models.pretrained.reader import Reader, require_sound_heaps
from hamjax.runtime.errors import UserError, name_some

CONVOLUTION, NORM, DENSE, OTHER = "convolution", "norm", "dense", "other"
OPTIMIZER = "optimizer"  # its state has the shapes of the weights
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
        in_order: whether the file has it in its place of Keras's `model.layers`.
    """

    name: str
    tensors: dict[str, np.ndarray]
    in_order: bool = True

    @property
    def kind(self) -> str:
        """What it is, judged by what it holds."""
        if "kernel" in self.tensors:
            return {4: CONVOLUTION, 2: DENSE}.get(self.tensors["kernel"].ndim, OTHER)
        return NORM if set(self.tensors) & set(NORM_LEAVES) else OTHER


@dataclasses.dataclass(frozen=True)
class SourceModel:
    """A model of a file: the whole one, or one that is a layer of another.

    Attributes:
        name: that Keras gave it; empty if it is not known.
        layers: those with weights, in the order of Keras's `model.layers`.
    """

    name: str
    layers: list[SourceLayer]

    def count(self, kind: str) -> int:
        """Return how many layers are of a kind."""
        return sum(layer.kind == kind for layer in self.layers)

    def __str__(self) -> str:
        kinds = {CONVOLUTION: "convolution", NORM: "batch normalization", DENSE: "dense layer", OTHER: "other layer"}
        counts = {word: self.count(kind) for kind, word in kinds.items()}
        said = ", ".join(f"{count} {word}{'s' * (count > 1)}" for word, count in counts.items() if count)
        return f"{self.name or 'a model without a name'} ({said or 'no weights'})"


def read_models(path: Path, content: io.BytesIO | None = None) -> list[SourceModel]:
    """Read every model of a file, the outermost first; in a nested one the backbone is inside.

    Args:
        path: a file in the layout of the official weights (`layer_names` and `weight_names` as attributes), also
            inside a whole model's file, or a `.weights.h5` of Keras 3.
        content: of it, where it is a member of an archive.

    Raises:
        UserError: it cannot be read, is no HDF5, is cut short, holds something else or more than `MAX_BYTES`, or
            speaks of other files.
    """
    if path.is_dir():
        raise UserError(f"{path}: expected a file, got a folder, as TensorFlow's SavedModel is; save it as .keras.")
    try:
        _require_sound(path, content)
        with h5py.File(content or path, "r") as file:
            reader = Reader(path)
            group = reader.group(file, "model_weights") or file
            if "layer_names" in group.attrs or "layer_names0" in group.attrs:
                return _read_legacy(reader, group, _name_of(file.attrs.get("model_config")))
            if models := _read_numbered(reader, file):
                return models
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
        f"{path}: expected Keras weights (an attribute `layer_names`, or groups with `vars`), got an HDF5 file "
        f"with {found}; save them with model.save_weights."
    )


def _require_sound(path: Path, content: io.BytesIO | None) -> None:
    if content is not None:
        require_sound_heaps(content.getvalue(), path)
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        require_sound_heaps(mapped, path)


def _read_legacy(reader: Reader, group: h5py.Group, model: str) -> list[SourceModel]:
    """Read the layout of Keras 1 and 2: a group a layer, named weights; a nested model has its weights in one group."""
    layers: list[SourceLayer] = []
    nested = []
    for name in _attribute(group, "layer_names"):
        layer = reader.group(group, name)
        if layer is None:
            raise UserError(f"{reader.path}: expected the layer {name} that the file lists, got none; fetch it again.")
        owners: dict[str, dict[str, np.ndarray]] = {}
        for weight in _attribute(layer, "weight_names"):
            owner, _, leaf = weight.removesuffix(":0").rpartition("/")
            owners.setdefault(owner, {})[leaf] = reader.tensor(layer, weight)
        if len(owners) > 1:
            nested += _split_nested(name, owners)
        else:
            layers += [SourceLayer(name, tensors) for tensors in owners.values()]
    return [SourceModel(model, layers), *nested]


def _split_nested(model: str, owners: dict[str, dict[str, np.ndarray]]) -> list[SourceModel]:
    """Divide a nested model's layers: its own have its name in their path, those of a model in it do not.

    Keras writes the weights that are trained first, so of a model that is partly frozen they are not in order.
    """
    inner, own = [], []
    for owner, tensors in owners.items():
        above, _, last = owner.rpartition("/")
        if above.rpartition("/")[2] == model:
            own.append(SourceLayer(last, tensors, in_order=False))
        else:
            inner.append(SourceLayer(owner, tensors, in_order=False))
    return [SourceModel(model, layers) for layers in (own, inner) if layers]


def _attribute(group: h5py.Group, name: str) -> list[str]:
    """Return a list of names, which Keras cuts in numbered parts when it is long."""
    attributes: Any = group.attrs
    numbered = itertools.takewhile(attributes.__contains__, (f"{name}{i}" for i in itertools.count()))
    parts = [name] if name in attributes else numbered
    values = [value for part in parts for value in attributes[part]]
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values]


def _read_numbered(reader: Reader, file: h5py.Group) -> list[SourceModel]:
    """Read the layout of Keras 3: `layers/conv2d_12/vars/0`, the layer's name an attribute of `vars`.

    The number counts the layers of a class in `model.layers`, so classes are kept apart. Models may lie in others.
    """
    models: list[SourceModel] = []
    waiting: list[tuple[h5py.Group, str]] = [(file, _given_name(reader.group_or_nothing(file, "vars")))]
    seen: set[h5py.Group] = set()  # hard links may lead in circles
    while waiting:
        group, model = waiting.pop(0)
        if group in seen:
            continue
        seen.add(group)
        layers = []
        for key in sorted(group, key=_natural):
            if key == "vars" or (key == OPTIMIZER and group == file):
                continue
            child = reader.group_or_nothing(group, key)
            variables = None if child is None else reader.group_or_nothing(child, "vars")
            name = _given_name(variables)
            if variables and (values := reader.numbers(variables)):
                leaves = NUMBERED.get((re.sub(r"_\d+$", "", key), len(values)), tuple(values))
                layers.append(SourceLayer(name, dict(zip(leaves, values.values(), strict=True))))
            if child is not None:
                waiting.append((child, name or model))
        if layers:
            models.append(SourceModel(model, layers))
    return models


def _given_name(variables: h5py.Group | None) -> str:
    return "" if variables is None else str(variables.attrs.get("name", ""))


def _name_of(model_config: Any) -> str:
    """Return what Keras called a model, from the JSON beside its weights."""
    try:
        return str(json.loads(model_config)["config"]["name"])
    except (TypeError, ValueError, LookupError, RecursionError):
        return ""


def _natural(key: str) -> tuple[str, int]:
    """Sort conv2d, conv2d_2, conv2d_10 in this order."""
    stem, _, number = key.rpartition("_")
    return (stem, int(number)) if number.isdigit() and stem else (key, 0)
