"""Pooling with Keras's borders, in a form that is fast on a CPU.

XLA's CPU backend computes the gradient of a reduce-window some twenty times slower than the gradient of the same
pooling written with slices. In inference it would hand a reduction and the convolution before it to a library as one,
which then runs on one core. `plain` takes lax's own, for exports to other runtimes.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

Array = jax.Array


def max_pool(x: Array, size: int, stride: int, *, plain: bool = False) -> Array:
    """Return the maxima of size x size windows without padding (Keras's `valid`): [B, H', W', C].

    Of equal values the first one gets the gradient, as in lax.

    Args:
        x: [B, H, W, C].
        size: side of the window.
        stride: step of the window in both directions.
        plain: lax's own form.
    """
    if plain:
        return nn.max_pool(x, window_shape=(size, size), strides=(stride, stride))
    return _max_along(_max_along(x, 2, size, stride), 1, size, stride)


# A maximum over a square is a maximum over rows of maxima over columns: 2 x size comparisons instead of size^2.
def _max_along(x: Array, axis: int, size: int, stride: int) -> Array:
    count = (x.shape[axis] - size) // stride + 1
    best, *others = (jax.lax.slice_in_dim(x, i, i + (count - 1) * stride + 1, stride, axis=axis) for i in range(size))
    for other in others:
        # Not jnp.maximum: it splits the gradient between equal values, and lax gives all of it to the first.
        best = jnp.where(best >= other, best, other)
    return best


def zero_padded_max_pool(x: Array, *, plain: bool = False) -> Array:
    """Return 3x3 maxima of stride 2 after padding with zeros, as in Keras's ResNet and DenseNet stems."""
    # Zeros instead of minus infinity change nothing here: a ReLU comes before, so no value is below zero.
    return max_pool(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), 3, 2, plain=plain)


def average_pool_2x2(x: Array, *, plain: bool = False) -> Array:
    """Return 2x2 means of stride 2; an odd last row or column is dropped, as in Keras's `valid`."""
    if plain:
        return nn.avg_pool(x, window_shape=(2, 2), strides=(2, 2))
    rows, columns = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
    a, b, c, d = (x[:, i:rows:2, j:columns:2] for i in (0, 1) for j in (0, 1))
    return (a + b + c + d) / 4


def average_pool_3x3(x: Array, *, plain: bool = False) -> Array:
    """Return 3x3 means of stride 1 in the same size; pixels outside the image are not counted."""
    # Keras's `same` divides by the number of pixels inside (keras/src/backend/jax/nn.py). PyTorch and Flax divide by
    # nine everywhere by default, which would darken the borders of InceptionV3's feature maps.
    if plain:
        return nn.avg_pool(x, window_shape=(3, 3), padding="SAME", count_include_pad=False)
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
    """Return means over space: [B, H, W, C] to [B, C], float32 or wider."""
    return x.mean((1, 2), dtype=jnp.promote_types(x.dtype, jnp.float32))
