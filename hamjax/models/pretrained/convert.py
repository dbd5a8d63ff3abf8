"""Putting the tensors of a file into a network's variables, each in its place, none left over."""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from typing import Any

import numpy as np
from flax import traverse_util

from hamjax.models.pretrained.hdf5 import DENSE, NORM_LEAVES, SourceLayer
from hamjax.models.pretrained.key_maps import KEY_MAPS, TOP
from hamjax.runtime.errors import UserError

# Keras's name of a tensor: the collection and the name it has in Flax. Layouts are the
# same in both: kernels are [rows, columns, in, out].
LEAVES = {
    "kernel": ("params", "kernel"),
    "bias": ("params", "bias"),
    "gamma": ("params", "scale"),
    "beta": ("params", "bias"),
    "moving_mean": ("batch_stats", "mean"),
    "moving_variance": ("batch_stats", "var"),
}
NORM_TARGETS = {LEAVES[leaf][1] for leaf in NORM_LEAVES}
IMAGENET_CLASSES = 1000


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A value on its way: the place it is meant for, what the file calls it, the value."""

    path: str
    source: str
    value: np.ndarray


@dataclasses.dataclass(frozen=True)
class Weights:
    """The tensors of a file, and what it holds, in words, where that is not the network that is asked for."""

    tensors: list[Tensor]
    what: str


def convert_layers(name: str, layers: Sequence[SourceLayer]) -> list[Tensor]:
    """Say of every tensor of a Keras file where it belongs in network `name`.

    Several dense layers are a head of somebody's own, which is left out.
    """
    dense = sum(layer.kind == DENSE for layer in layers)
    tensors = []
    for label, layer in zip(KEY_MAPS[name](layers), layers, strict=True):
        if layer.kind == DENSE and dense > 1 and len(layer.tensors.get("bias", ())) != IMAGENET_CLASSES:
            continue
        room = f"head/{label}" if label == TOP else f"backbone/{label}"
        for leaf, value in layer.tensors.items():
            collection, target = LEAVES.get(leaf, ("params", leaf))
            tensors.append(Tensor(f"{collection}/{room}/{target}", f"{layer.name or label}/{leaf}", value))
    return tensors


def fill(name: str, variables: Mapping[str, Any], weights: Weights, *, where: object) -> dict[str, Any]:
    """Replace the backbone's values, and those of an ImageNet classifier if there is one.

    Args:
        name: of the network, for messages.
        variables: `{"params": ..., "batch_stats": ...}`; not changed.
        weights: a file's. Its classifier may stay unused, and so may batch normalizations of a head.
        where: the file, for messages.

    Returns:
        New variables of the same types; everything else is shared.

    Raises:
        UserError: names the network that it is of, if it is another's; otherwise lists every tensor that is missing,
            left over, doubled, of another shape, or not finite.
    """
    leaves: dict[str, Any] = traverse_util.flatten_dict(dict(variables), sep="/")
    top = f"params/head/{TOP}/"
    classifies = np.shape(leaves.get(f"{top}bias", ())) == (IMAGENET_CLASSES,)
    expected = {path for path in leaves if path.split("/")[1] == "backbone" or (classifies and path.startswith(top))}
    tensors = _without_norms_of_a_head(weights.tensors, expected)
    given = {tensor.path: tensor for tensor in tensors if classifies or not tensor.path.startswith(top)}
    wrong = [f"missing: {path} {np.shape(leaves[path])}" for path in sorted(expected - set(given))]
    wrong += [f"left over: {given[path].source} {given[path].value.shape}" for path in given if path not in expected]
    repeated = Counter(tensor.path for tensor in tensors)
    wrong += [f"more than once: {path}" for path, count in repeated.items() if count > 1]
    for path in sorted(expected & set(given)):
        tensor, shape = given[path], np.shape(leaves[path])
        if tensor.value.shape != shape:
            wrong.append(f"another shape: {tensor.source} {tensor.value.shape}, expected {shape} for {path}")
        elif not np.issubdtype(tensor.value.dtype, np.floating) or not np.isfinite(tensor.value).all():
            wrong.append(f"not finite numbers: {tensor.source} ({tensor.value.dtype})")
    if weights.what in KEY_MAPS or (weights.what and len(wrong) > len(expected) // 2):
        # Of something else, a list of hundreds of differences says no more than its name.
        raise UserError(f"{where}: expected weights of {name}, got those of {weights.what}; use a file of {name}.")
    if wrong:
        raise UserError(
            f"{where}: expected the {len(expected)} tensors of {name}, got {len(given)}{weights.what and ' of '}"
            f"{weights.what} with these differences; use a file of this network:\n  " + "\n  ".join(wrong)
        )
    filled = {path: given[path].value.astype(leaves[path].dtype) for path in expected}
    return traverse_util.unflatten_dict(leaves | filled, sep="/")


def _without_norms_of_a_head(tensors: Sequence[Tensor], expected: Set[str]) -> list[Tensor]:
    """Leave out batch normalizations that the network has no place for: behind a backbone, they do not change it."""
    kept = {_layer(path) for path in expected} | {_layer(t.path) for t in tensors if t.path.endswith("/kernel")}
    return [t for t in tensors if _layer(t.path) in kept or t.path.rpartition("/")[2] not in NORM_TARGETS]


def _layer(path: str) -> str:
    """Return the part of a tensor's path that names its layer."""
    return path.partition("/")[2].rpartition("/")[0]
