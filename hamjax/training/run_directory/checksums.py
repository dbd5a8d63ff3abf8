"""Checksums of a checkpoint: a flipped bit is otherwise read without an error, and resumed from."""

import hashlib
import json
import zlib
from typing import Any

import jax
import numpy as np

SEAL = "sha256"  # of the rest of `host`, in it
CHECKSUMS = "crc32"  # of the arrays, in `host`


def checksums(state: Any) -> dict[str, int]:
    """Return the CRC-32 of every array of a state that is alike on all devices, by its path in the tree."""
    paths, leaves = zip(*jax.tree_util.tree_leaves_with_path(state), strict=True)
    # Fetched together: one by one, each of DenseNet201's 1,621 arrays would wait for its own transfer.
    arrays = jax.device_get([leaf.addressable_data(0) if isinstance(leaf, jax.Array) else leaf for leaf in leaves])
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path in paths]
    return {name: _crc(array) for name, array in zip(names, arrays, strict=True)}


def _crc(array: Any) -> int:
    return zlib.crc32(np.ascontiguousarray(array).data)


def sealed(host: dict[str, Any]) -> dict[str, Any]:
    """Return a `host` dictionary with a checksum of the rest of it."""
    rest = {name: value for name, value in host.items() if name != SEAL}
    return rest | {SEAL: hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()}
