"""Checksums of a checkpoint: a flipped bit is otherwise read without an error, and resumed from."""

import hashlib
import json
import zlib
from typing import Any

import jax
import numpy as np

SEAL = "sha256"  # of the rest of `host`, in it
CHECKSUMS = "crc32"  # of the arrays, in `host`


def on_host(state: Any) -> Any:
    """Return a state that is alike on all devices, as numpy arrays."""
    own = jax.tree.map(lambda leaf: leaf.addressable_data(0) if isinstance(leaf, jax.Array) else leaf, state)
    # Fetched together: one by one, each of DenseNet201's 1,621 arrays would wait for its own transfer.
    return jax.device_get(own)


def checksums(state: Any) -> dict[str, int]:
    """Return the CRC-32 of every numpy array of a state, by its path in the tree."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): _crc(leaf) for path, leaf in leaves}


def _crc(array: Any) -> int:
    return zlib.crc32(np.ascontiguousarray(array).data)


def sealed(host: dict[str, Any]) -> dict[str, Any]:
    """Return a `host` dictionary with a checksum of the rest of it."""
    rest = {name: value for name, value in host.items() if name != SEAL}
    return rest | {SEAL: hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()}
