"""StableHLO in the form that `jax.export` writes: a program for CPU, CUDA and TPU with its weights inside."""

import json
from pathlib import Path

import jax
import jax.export
import numpy as np

from hamjax.exports.libraries import load_library
from hamjax.exports.network import TrainedNetwork

PLATFORMS = ("cpu", "cuda", "tpu")


def write(network: TrainedNetwork, path: Path) -> None:
    """Write what `jax.export` serializes, and behind it the facts as a line of JSON."""
    load_library("flatbuffers")  # JAX serializes with it, and does not ask for it when it is installed
    size = network.image_size
    shape = jax.export.symbolic_shape(f"N, {size}, {size}, 3")
    exported = jax.export.export(jax.jit(network.forward()), platforms=PLATFORMS)(jax.ShapeDtypeStruct(shape, np.uint8))
    # A flatbuffer is read from its beginning by offsets: what comes after it is no part of it, and harms no reader.
    path.write_bytes(bytes(exported.serialize()) + b"\n" + json.dumps(network.facts).encode())


def run(path: Path, images: np.ndarray, network: TrainedNetwork) -> np.ndarray:
    """Return the probabilities that the read program computes."""
    del network  # the file says all
    return np.asarray(jax.export.deserialize(bytearray(path.read_bytes())).call(images))
