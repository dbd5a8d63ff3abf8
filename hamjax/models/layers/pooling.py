"""Pooling with Keras's borders, written so that its gradient is quick on a CPU.

XLA's CPU backend takes the gradient of a reduce-window some twenty times slower than
that of the same thing said with slices.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def max_pool(x: Array, size: int, stride: int) -> Array:
    """Take maxima of size x size windows that lie wholly inside (Keras's `valid`).

    Of equal values the first gets the gradient, as in lax.

    Args:
        x: [B, H, W, C].
        size: of the window.
        stride: in both directions.
    """
    if size > stride:
        return _select_max(x, size, stride)
    # Where no gradient is asked for, XLA's CPU backend takes these and the convolutions around as one.
    least = jnp.array(-jnp.inf, x.dtype)
    return jax.lax.reduce_window(x, least, jax.lax.max, (1, size, size, 1), (1, stride, stride, 1), "VALID")


def _max_forward(x: Array, size: int, stride: int) -> tuple[Array, Callable[..., tuple[Array]]]:
    return jax.vjp(lambda x: _select_max(x, size, stride), x)


def _max_backward(size: int, stride: int, pullback: Callable[..., tuple[Array]], dy: Array) -> tuple[Array]:
    del size, stride
    return pullback(dy)


max_pool.defvjp(_max_forward, _max_backward)


def _select_max(x: Array, size: int, stride: int) -> Array:
    return _max_along(_max_along(x, 2, size, stride), 1, size, stride)


def _max_along(x: Array, axis: int, size: int, stride: int) -> Array:
    count = (x.shape[axis] - size) // stride + 1
    best, *others = (jax.lax.slice_in_dim(x, i, i + (count - 1) * stride + 1, stride, axis=axis) for i in range(size))
    for other in others:
        best = jnp.where(best >= other, best, other)
    return best


def zero_padded_max_pool(x: Array) -> Array:
    """3x3 max pooling of stride 2 after a border of zeros (Keras's ResNet and DenseNet stems)."""
    return max_pool(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), 3, 2)


def average_pool_2x2(x: Array) -> Array:
    """Halve both sides; an odd last row or column is dropped, as Keras's `valid` does."""
    rows, columns = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
    a, b, c, d = (x[:, i:rows:2, j:columns:2] for i in (0, 1) for j in (0, 1))
    return (a + b + c + d) / 4


def average_pool_3x3(x: Array) -> Array:
    """Average 3x3 windows of stride 1 to the same size; what is outside is not counted.

    So does Keras's `same` (keras/src/backend/jax/nn.py); PyTorch divides by nine everywhere.
    """
    for axis in (1, 2):
        size = x.shape[axis]
        padding = [(0, 0)] * 4
        padding[axis] = (1, 1)
        padded = jnp.pad(x, padding)
        total = sum(jax.lax.slice_in_dim(padded, i, i + size, axis=axis) for i in range(3))
        place = np.arange(size)
        counts = np.minimum(place + 1, size - 1) - np.maximum(place - 1, 0) + 1
        x = total / jnp.asarray(counts.reshape([-1 if i == axis else 1 for i in range(4)]), x.dtype)
    return x


def global_average_pool(x: Array) -> Array:
    """Average over space: [B, H, W, C] to [B, C], in at least float32."""
    return x.mean((1, 2), dtype=jnp.promote_types(x.dtype, jnp.float32))
