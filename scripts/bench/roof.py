"""What the device can do at most: a large matrix product, and a large copy."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def measure_roof(dtype: str, repeats: int = 7) -> dict[str, float]:
    """Return FLOP/s of a matrix product in `dtype`, and bytes/s of adding one to an array (read and written)."""
    on_cpu = jax.default_backend() == "cpu"
    side, length = (2048, 2**26) if on_cpu else (16384, 2**30)
    # Random values: on constant ones a GPU draws less power and runs faster than any network will.
    key = jax.random.key(0)
    a = jax.random.normal(key, (side, side), dtype)
    x = jax.random.normal(key, (length,), jnp.float32)
    product = _seconds(jax.jit(lambda a: a @ a), a, repeats)
    copy = _seconds(jax.jit(lambda x: x + 1), x, repeats)
    return {"flop_per_second": 2 * side**3 / product, "bytes_per_second": 2 * x.nbytes / copy}


def _seconds(function: Callable[..., Any], argument: jax.Array, repeats: int) -> float:
    jax.block_until_ready(function(argument))
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(function(argument))
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)
