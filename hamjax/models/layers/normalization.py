"""Batch normalization with Keras's arithmetic."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

Array = jax.Array
# Defaults of keras.layers.BatchNormalization. Flax and PyTorch have 1e-5; PyTorch calls this momentum .01.
KERAS_BN_EPSILON = 1e-3
BN_MOMENTUM = 0.99


def batch_statistics(x: Array, *, epsilon: float, groups: int) -> Array:
    """Return the batch statistics of every channel, over all axes but the last.

    Args:
        x: [B, ..., C]; B must be divisible by `groups`.
        epsilon: added to the variance before the root.
        groups: number of parts of the batch that have statistics of their own: 1 for the
            global batch, or the number of devices.

    Returns:
        [3, G, C] float32 or wider: mean, biased variance, 1 / sqrt(variance + epsilon).
    """
    # E[x^2] - E[x]^2 needs one pass over x, the usual form two. The difference loses digits where the mean is large
    # beside the deviation, so it is computed in float32 or wider, and the maximum below keeps rounding from making it
    # negative.
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    parts = wide.reshape(groups, -1, x.shape[-1])
    share = 1 / parts.shape[1]  # a product fuses with the sum; a division would be a kernel of its own
    mean = parts.sum(1) * share
    var = jnp.maximum((parts * parts).sum(1) * share - mean * mean, 0)
    # The root is part of the statistics so that DenseNet computes it once per channel, and not once per layer.
    return jnp.stack([mean, var, jax.lax.rsqrt(var + epsilon)])


class BatchNorm(nn.Module):
    """Batch normalization as in Keras: momentum .99, biased running variance.

    Attributes:
        epsilon: added to the variance before the root.
        use_scale: multiply by a gamma; InceptionV3 has none.
        groups: see `batch_statistics`; running statistics average over the groups.
        dtype: type of the output.
    """

    epsilon: float = KERAS_BN_EPSILON
    use_scale: bool = True
    groups: int = 1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Array, *, train: bool, statistics: Array | None = None, bias_before: Array | float = 0
    ) -> Array:
        """Return normalized x, of the same shape.

        Args:
            x: [B, ..., C].
            train: use the statistics of the batch, and update the running ones.
            statistics: those of `x`, if the caller already has them; see `batch_statistics`.
            bias_before: [C], the bias of the convolution before, if x is still without it.
        """
        channels = (x.shape[-1],)
        stored = jnp.promote_types(self.dtype, jnp.float32)
        mean = self.variable("batch_stats", "mean", jnp.zeros, channels, stored)
        var = self.variable("batch_stats", "var", jnp.ones, channels, stored)
        bias = self.param("bias", nn.initializers.zeros, channels, stored)
        gain = self.param("scale", nn.initializers.ones, channels, stored) if self.use_scale else 1.0
        # A bias moves x and its mean alike, so the difference is taken without it: to add it would read and write x.
        if train:
            if statistics is None:
                statistics = batch_statistics(x, epsilon=self.epsilon, groups=self.groups)
            used_mean, used_var, inverse_std = statistics
            if not self.is_initializing():
                # Keras keeps the biased variance; PyTorch multiplies it by n / (n - 1) first.
                mean.value = BN_MOMENTUM * mean.value + (1 - BN_MOMENTUM) * (used_mean.mean(0) + bias_before)
                var.value = BN_MOMENTUM * var.value + (1 - BN_MOMENTUM) * used_var.mean(0)
        else:
            used_mean, inverse_std = (mean.value - bias_before)[None], jax.lax.rsqrt(var.value[None] + self.epsilon)
        # Two numbers per channel first, so that x is read once: x * slope + shift.
        slope = gain * inverse_std
        shift = bias - used_mean * slope
        return _affine(x, slope, shift).astype(self.dtype)


def _affine(x: Array, slope: Array, shift: Array) -> Array:
    """Return x * slope + shift; each row of slope and shift [G, C] belongs to one part of the batch."""
    if slope.shape[0] == 1:
        return x * slope[0] + shift[0]
    parts = x.reshape(slope.shape[0], -1, x.shape[-1])
    return (parts * slope[:, None] + shift[:, None]).reshape(x.shape)
