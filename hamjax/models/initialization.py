"""Initial values of a network, drawn without compiling or running it."""

import zlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

Variables = dict[str, Any]


def init_variables(model: Any, *, image_size: int, seed: int) -> Variables:
    """Initialise without compiling or running the network.

    Shapes come from an abstract trace. Values follow Keras: kernels Glorot-uniform,
    biases and means 0, scales and variances 1. Each leaf has its own stream, so the
    values of one do not depend on what other leaves there are.

    Args:
        model: from `create_model`.
        image_size: pixels a side, which the CNN's dense layer depends on.
        seed: of the draw.

    Returns:
        `{"params": ..., "batch_stats": ...}` of numpy arrays; the CNN has no statistics.
    """
    image = jax.ShapeDtypeStruct((1, image_size, image_size, 3), model.dtype)
    # The key's value is never used: nothing is computed here.
    shapes = jax.eval_shape(model.init, jax.ShapeDtypeStruct((2,), jnp.uint32), image)
    leaves = {path: _initial_value(path, shape, seed) for path, shape in traverse_util.flatten_dict(shapes).items()}
    return {"params": {}, "batch_stats": {}} | traverse_util.unflatten_dict(leaves)


def _initial_value(path: tuple[str, ...], leaf: Any, seed: int) -> np.ndarray:
    kind = path[-1]
    if kind in ("bias", "mean"):
        return np.zeros(leaf.shape, leaf.dtype)
    if kind in ("scale", "var"):
        return np.ones(leaf.shape, leaf.dtype)
    receptive = int(np.prod(leaf.shape[:-2]))
    fan_in, fan_out = receptive * leaf.shape[-2], receptive * leaf.shape[-1]
    limit = np.sqrt(6 / (fan_in + fan_out))
    rng = np.random.default_rng((seed, zlib.crc32("/".join(path).encode())))
    draw = rng.random(leaf.shape, dtype=np.float32) * np.float32(2 * limit) - np.float32(limit)
    return draw.astype(leaf.dtype)


def count_parameters(tree: Mapping[str, Any]) -> int:
    """Count the numbers in a tree of arrays."""
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(tree))
