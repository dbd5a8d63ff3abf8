"""Batch normalisation with Keras's arithmetic."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

Array = jax.Array
KERAS_BN_EPSILON = 1e-3  # keras.layers.BatchNormalization
BN_MOMENTUM = 0.99  # likewise


class Statistics(NamedTuple):
    """Mean and biased variance of a batch, [G, C] float32 or wider.

    G is 1 for statistics over the global batch, else the number of devices: each
    part of the batch then has its own.
    """

    mean: Array
    var: Array


def batch_statistics(x: Array, groups: int = 1) -> Statistics:
    """Take the statistics of every channel over all but the last axis.

    One pass, E[x^2] - E[x]^2, in at least float32.

    Args:
        x: [B, ..., C]; B divides by `groups`.
        groups: parts of the batch that keep to themselves.
    """
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    parts = wide.reshape(groups, -1, x.shape[-1])
    share = 1 / parts.shape[1]  # a division would be a kernel of its own
    mean = parts.sum(1) * share
    return Statistics(mean, jnp.maximum((parts * parts).sum(1) * share - mean * mean, 0))


class BatchNorm(nn.Module):
    """Batch normalisation as in Keras: momentum .99, running variance biased.

    Attributes:
        epsilon: added to the variance.
        use_scale: whether there is a gamma (InceptionV3 has none).
        groups: see `Statistics`; the running ones average over the groups.
        dtype: of the output.
    """

    epsilon: float = KERAS_BN_EPSILON
    use_scale: bool = True
    groups: int = 1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool, statistics: Statistics | None = None) -> Array:
        """Normalise.

        Args:
            x: [B, ..., C].
            train: use the batch's statistics and update the running ones.
            statistics: of `x`, where the caller has them already.
        """
        channels = (x.shape[-1],)
        stored = jnp.promote_types(self.dtype, jnp.float32)
        mean = self.variable("batch_stats", "mean", jnp.zeros, channels, stored)
        var = self.variable("batch_stats", "var", jnp.ones, channels, stored)
        bias = self.param("bias", nn.initializers.zeros, channels, stored)
        gain = self.param("scale", nn.initializers.ones, channels, stored) if self.use_scale else 1.0
        used = Statistics(mean.value[None], var.value[None])
        if train:
            used = statistics or batch_statistics(x, self.groups)
            if not self.is_initializing():
                mean.value = BN_MOMENTUM * mean.value + (1 - BN_MOMENTUM) * used.mean.mean(0)
                var.value = BN_MOMENTUM * var.value + (1 - BN_MOMENTUM) * used.var.mean(0)
        slope = gain * jax.lax.rsqrt(used.var + self.epsilon)
        shift = bias - used.mean * slope
        return _affine(x, slope, shift).astype(self.dtype)


def _affine(x: Array, slope: Array, shift: Array) -> Array:
    """Return x * slope + shift, with one row of [G, C] a part of the batch."""
    if slope.shape[0] == 1:
        return x * slope[0] + shift[0]
    parts = x.reshape(slope.shape[0], -1, x.shape[-1])
    return (parts * slope[:, None] + shift[:, None]).reshape(x.shape)
