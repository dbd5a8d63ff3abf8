"""Batch normalisation with Keras's arithmetic."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

Array = jax.Array
KERAS_BN_EPSILON = 1e-3  # keras.layers.BatchNormalization
BN_MOMENTUM = 0.99  # likewise


def batch_statistics(x: Array, *, epsilon: float, groups: int) -> Array:
    """Take the statistics of every channel over all but the last axis.

    One pass, E[x^2] - E[x]^2, in at least float32.

    Args:
        x: [B, ..., C]; B divides by `groups`.
        epsilon: added to the variance in the third of them.
        groups: parts of the batch that keep to themselves: 1 for the global batch, else
            the number of devices.

    Returns:
        [3, G, C]: mean, biased variance, 1 / sqrt(variance + epsilon).
    """
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    parts = wide.reshape(groups, -1, x.shape[-1])
    share = 1 / parts.shape[1]  # a division would be a kernel of its own
    mean = parts.sum(1) * share
    var = jnp.maximum((parts * parts).sum(1) * share - mean * mean, 0)
    return jnp.stack([mean, var, jax.lax.rsqrt(var + epsilon)])


class BatchNorm(nn.Module):
    """Batch normalisation as in Keras: momentum .99, running variance biased.

    Attributes:
        epsilon: added to the variance.
        use_scale: whether there is a gamma (InceptionV3 has none).
        groups: see `batch_statistics`; the running ones average over the groups.
        dtype: of the output.
    """

    epsilon: float = KERAS_BN_EPSILON
    use_scale: bool = True
    groups: int = 1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool, statistics: Array | None = None) -> Array:
        """Normalise.

        Args:
            x: [B, ..., C].
            train: use the batch's statistics and update the running ones.
            statistics: of `x`, where the caller has them already; see `batch_statistics`.
        """
        channels = (x.shape[-1],)
        stored = jnp.promote_types(self.dtype, jnp.float32)
        mean = self.variable("batch_stats", "mean", jnp.zeros, channels, stored)
        var = self.variable("batch_stats", "var", jnp.ones, channels, stored)
        bias = self.param("bias", nn.initializers.zeros, channels, stored)
        gain = self.param("scale", nn.initializers.ones, channels, stored) if self.use_scale else 1.0
        if train:
            if statistics is None:
                statistics = batch_statistics(x, epsilon=self.epsilon, groups=self.groups)
            used_mean, used_var, inverse_std = statistics
            if not self.is_initializing():
                mean.value = BN_MOMENTUM * mean.value + (1 - BN_MOMENTUM) * used_mean.mean(0)
                var.value = BN_MOMENTUM * var.value + (1 - BN_MOMENTUM) * used_var.mean(0)
        else:
            used_mean, inverse_std = mean.value[None], jax.lax.rsqrt(var.value[None] + self.epsilon)
        slope = gain * inverse_std
        shift = bias - used_mean * slope
        return _affine(x, slope, shift).astype(self.dtype)


def _affine(x: Array, slope: Array, shift: Array) -> Array:
    """Return x * slope + shift, with one row of [G, C] a part of the batch."""
    if slope.shape[0] == 1:
        return x * slope[0] + shift[0]
    parts = x.reshape(slope.shape[0], -1, x.shape[-1])
    return (parts * slope[:, None] + shift[:, None]).reshape(x.shape)
