"""Weights alone, as safetensors by Flax's names: `params/head/dense/kernel`."""

from pathlib import Path

import jax
import numpy as np

from hamjax.exports.libraries import load_library
from hamjax.exports.network import TrainedNetwork, named_leaves


def write(network: TrainedNetwork, path: Path) -> None:
    """Write every array of the network; the facts are the metadata."""
    arrays = {name: np.ascontiguousarray(leaf) for name, leaf in named_leaves(network.variables)}
    load_library("safetensors.numpy").save_file(arrays, path, metadata=network.facts_as_text())


def run(path: Path, images: np.ndarray, network: TrainedNetwork) -> np.ndarray:
    """Return the probabilities of the network with the arrays that are in the file."""
    arrays = load_library("safetensors.numpy").load_file(path)
    names = [name for name, _ in named_leaves(network.variables)]
    read = jax.tree.unflatten(jax.tree.structure(network.variables), [arrays[name] for name in names])
    return network.probabilities(images, read)
