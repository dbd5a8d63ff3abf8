"""Layers with Keras's arithmetic, so that Keras's weights and results carry over."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

Array = jax.Array
KERNEL_INIT = nn.initializers.glorot_uniform()  # Keras's default for Dense and Conv2D
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
    mean = parts.mean(1)
    return Statistics(mean, jnp.maximum((parts * parts).mean(1) - mean * mean, 0))


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


class PointwiseConv(nn.Module):
    """A 1x1 convolution as a matrix product: the same numbers, faster on CPU and GPU."""

    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map [B, H, W, C] to [B, H, W, features]."""
        shape = (1, 1, x.shape[-1], self.features)
        stored = jnp.promote_types(self.dtype, jnp.float32)
        kernel = self.param("kernel", KERNEL_INIT, shape, stored)
        return jnp.einsum("bhwc,cd->bhwd", x.astype(self.dtype), kernel[0, 0].astype(self.dtype))


class Conv3x3(nn.Module):
    """A 3x3 convolution of stride 1 with `same` padding."""

    features: int
    use_bias: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map [B, H, W, C] to [B, H, W, features]."""
        stored = jnp.promote_types(self.dtype, jnp.float32)
        kernel = self.param("kernel", KERNEL_INIT, (3, 3, x.shape[-1], self.features), stored)
        y = conv3x3(x.astype(self.dtype), kernel.astype(self.dtype))
        if self.use_bias:
            y = y + self.param("bias", nn.initializers.zeros, (self.features,), stored).astype(self.dtype)
        return y


@jax.custom_vjp
def conv3x3(x: Array, kernel: Array) -> Array:
    """Convolve [B, H, W, C] with [3, 3, C, D], zero-padded to the same size.

    XLA's CPU backend is slow at one of the three convolutions of a training step, the
    kernel's gradient; there it is taken as matrix products, a few rows at a time.
    """
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _conv3x3_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return conv3x3(x, kernel), (x, kernel)


def _conv3x3_backward(saved: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, kernel = saved
    # The gradient of a convolution is one with the kernel turned round.
    dx = conv3x3(dy, kernel[::-1, ::-1].swapaxes(2, 3))
    return dx, jax.lax.platform_dependent(x, dy, cpu=_kernel_gradient_by_rows, default=_kernel_gradient)


conv3x3.defvjp(_conv3x3_forward, _conv3x3_backward)


def _kernel_gradient(x: Array, dy: Array) -> Array:
    """Correlate input and output gradient: [3, 3, C, D]."""
    return jax.lax.conv_general_dilated(x, dy, (1, 1), ((1, 1), (1, 1)), dimension_numbers=("CHWN", "IHWO", "HWNC"))


def _kernel_gradient_by_rows(x: Array, dy: Array) -> Array:
    """Do the same as a sum over bands of rows of (nine shifted inputs)^T dy."""
    # Without the barrier XLA recomputes what made x and dy inside the loop.
    x, dy = jax.lax.optimization_barrier((x, dy))
    height, width = x.shape[1:3]
    band = math.gcd(height, 4)
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))

    def add_band(total: Array, row: Array) -> tuple[Array, None]:
        rows = jax.lax.dynamic_slice_in_dim(padded, row, band + 2, axis=1)
        shifted = [rows[:, i : i + band, j : j + width] for i in range(3) for j in range(3)]
        given = jax.lax.dynamic_slice_in_dim(dy, row, band, axis=1)
        return total + jnp.einsum("bhwc,bhwd->cd", jnp.concatenate(shifted, -1), given), None

    start = jnp.zeros((9 * x.shape[-1], dy.shape[-1]), x.dtype)
    total, _ = jax.lax.scan(add_band, start, jnp.arange(0, height, band))
    return total.reshape(3, 3, x.shape[-1], dy.shape[-1])


def max_pool_2x2(x: Array) -> Array:
    """Halve both sides; an odd last row or column is dropped.

    Written as selections, whose gradient is one pass: that of a reduce-window is some
    20 times slower on the CPU. Of equal values the first gets the gradient, as there.
    """
    rows, columns = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
    a, b, c, d = (x[:, i:rows:2, j:columns:2] for i in (0, 1) for j in (0, 1))
    top, bottom = jnp.where(a >= b, a, b), jnp.where(c >= d, c, d)
    return jnp.where(top >= bottom, top, bottom)


def average_pool_2x2(x: Array) -> Array:
    """Halve both sides; an odd last row or column is dropped, as Keras's `valid` does."""
    return nn.avg_pool(x, (2, 2), strides=(2, 2))


def zero_padded_max_pool(x: Array) -> Array:
    """3x3 max pooling of stride 2 after one row of zeros all round (Keras's stems)."""
    return nn.max_pool(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), (3, 3), strides=(2, 2))


def global_average_pool(x: Array) -> Array:
    """Average over space: [B, H, W, C] to [B, C], in at least float32."""
    return x.mean((1, 2), dtype=jnp.promote_types(x.dtype, jnp.float32))


class Recorder(dict[str, Array]):
    """Collects stage outputs by name, in the order they are computed."""

    def __call__(self, name: str, value: Array) -> Array:
        """Remember and return a value."""
        self[name] = value
        return value


Record = Callable[[str, Array], Array]
