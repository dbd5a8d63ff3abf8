"""Two-dimensional convolution: lax's numbers, with gradients that a CPU takes quickly."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from hamjax.models.layers.small_maps import Pads, convolve_by_columns, input_gradient_by_columns, is_small

Array = jax.Array
KERNEL_INIT = nn.initializers.glorot_uniform()  # Keras's default for Dense and Conv2D
DIMENSIONS = ("NHWC", "HWIO", "NHWC")
BAND = 4  # rows at a time: all of them at once would be a copy of x for each position of the kernel


class Conv(nn.Module):
    """A convolution with Keras's kernel layout [rows, columns, in, out].

    Attributes:
        features: channels out.
        kernel_size: rows and columns.
        stride: in both directions.
        padding: zeros all round, or `SAME` (only for odd kernels of stride 1, where all
            frameworks agree what it is).
        use_bias: add one.
        plain: lax's own convolution, for exports; gives the same numbers up to rounding.
        dtype: of the computation; parameters are float32 or wider.
    """

    features: int
    kernel_size: tuple[int, int] = (3, 3)
    stride: int = 1
    padding: int | str = "SAME"
    use_bias: bool = True
    plain: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map [B, H, W, C] to [B, H', W', features]."""
        stored = jnp.promote_types(self.dtype, jnp.float32)
        kernel = self.param("kernel", KERNEL_INIT, (*self.kernel_size, x.shape[-1], self.features), stored)
        rows, columns = (self._pad(size) for size in self.kernel_size)
        form = _plain if self.plain else convolve
        y = form(x.astype(self.dtype), kernel.astype(self.dtype), self.stride, (rows, columns))
        if self.use_bias:
            y = y + self.param("bias", nn.initializers.zeros, (self.features,), stored).astype(self.dtype)
        return y

    def _pad(self, size: int) -> tuple[int, int]:
        if self.padding == "SAME":
            assert self.stride == 1, "frameworks differ in what SAME is for a stride"
            assert size % 2 == 1, "and for an even kernel"
            return size // 2, size // 2
        return int(self.padding), int(self.padding)


def convolve(x: Array, kernel: Array, stride: int, pads: Pads) -> Array:
    """Convolve [B, H, W, C] with [R, S, C, D]; a 1x1 kernel is a matrix product."""
    if kernel.shape[:2] == (1, 1) and pads == ((0, 0), (0, 0)):
        return jnp.einsum("bhwc,cd->bhwd", x[:, ::stride, ::stride], kernel[0, 0])
    return _convolve(x, kernel, stride, pads)


def _plain(x: Array, kernel: Array, stride: int, pads: Pads) -> Array:
    return jax.lax.conv_general_dilated(x, kernel, (stride, stride), pads, dimension_numbers=DIMENSIONS)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _convolve(x: Array, kernel: Array, stride: int, pads: Pads) -> Array:
    """Convolve, in forms of our own where XLA's CPU backend is slow.

    That is one of the three convolutions of a training step, the kernel's gradient: it is taken as matrix products, a
    few rows at a time. And it is all three where the map is small: see `hamjax.models.layers.small_maps`.
    """
    plain = functools.partial(_plain, stride=stride, pads=pads)
    if not is_small(x, kernel):
        return plain(x, kernel)
    by_columns = functools.partial(convolve_by_columns, stride=stride, pads=pads)
    return jax.lax.platform_dependent(x, kernel, cpu=by_columns, default=plain)


def _forward(x: Array, kernel: Array, stride: int, pads: Pads) -> tuple[Array, tuple[Array, Array]]:
    return _convolve(x, kernel, stride, pads), (x, kernel)


def _backward(stride: int, pads: Pads, saved: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, kernel = saved
    gradient = functools.partial(input_gradient, shape=x.shape, stride=stride, pads=pads)
    # The input's gradient is a convolution of dy.
    if is_small(dy, kernel):
        by_columns = functools.partial(input_gradient_by_columns, shape=x.shape, stride=stride, pads=pads)
        dx = jax.lax.platform_dependent(dy, kernel, cpu=by_columns, default=gradient)
    else:
        dx = gradient(dy, kernel)
    # Shifting the smaller of x and dy moves fewer bytes; dy is smaller where channels get fewer.
    narrows = kernel.shape[2] > kernel.shape[3] and stride == 1
    on_cpu, elsewhere = (
        functools.partial(form, shape=kernel.shape, stride=stride, pads=pads)
        for form in (kernel_gradient_by_shifts if narrows else kernel_gradient_by_rows, kernel_gradient)
    )
    return dx, jax.lax.platform_dependent(x, dy, cpu=on_cpu, default=elsewhere)


_convolve.defvjp(_forward, _backward)


def input_gradient(dy: Array, kernel: Array, *, shape: tuple[int, ...], stride: int, pads: Pads) -> Array:
    """Return the gradient in the input as lax takes it."""
    x = jax.ShapeDtypeStruct(shape, dy.dtype)
    (dx,) = jax.linear_transpose(lambda x: _plain(x, kernel, stride, pads), x)(dy)
    return dx


def kernel_gradient(x: Array, dy: Array, *, shape: tuple[int, ...], stride: int, pads: Pads) -> Array:
    """Return the gradient in the kernel as lax takes it."""
    kernel = jax.ShapeDtypeStruct(shape, x.dtype)
    (dkernel,) = jax.linear_transpose(lambda kernel: _plain(x, kernel, stride, pads), kernel)(dy)
    return dkernel


def kernel_gradient_by_shifts(x: Array, dy: Array, *, shape: tuple[int, ...], stride: int, pads: Pads) -> Array:
    """Return the gradient in the kernel as x^T (shifted dy), for stride 1 and fewer channels out than in.

    The shifts are one gather: it compiles faster than slices do, and DenseNet has 98 of these.
    """
    assert stride == 1
    rows, columns, channels, features = shape
    # dkernel[r, s, c, d] = sum over b, i, j of x[b, i, j, c] dy[b, i - r + top, j - s + left, d].
    batch, height, width, _ = x.shape
    # x[i] meets dy[i - r + top], so dy is padded by what is left of the kernel.
    (top, _), (left, _) = pads
    bottom, right = (height - dy.shape[1] + top, width - dy.shape[2] + left)
    grid = jnp.pad(dy, ((0, 0), (rows - 1 - top, bottom), (columns - 1 - left, right), (0, 0)))
    # Places in the flattened grid: of each pixel of x, and how far from it each kernel position looks.
    first = np.arange(height)[:, None] * grid.shape[2] + np.arange(width)
    shift = np.arange(rows)[::-1, None] * grid.shape[2] + np.arange(columns)[::-1]
    places = first.reshape(-1, 1) + shift.reshape(1, -1)
    # [B, pixels, positions, D]: beside each pixel, every gradient that it meets.
    shifted = grid.reshape(batch, -1, features).at[:, places].get(mode="promise_in_bounds")
    total = jnp.einsum("bpc,bpsd->scd", x.reshape(batch, -1, channels), shifted)
    return total.reshape(shape)


def kernel_gradient_by_rows(x: Array, dy: Array, *, shape: tuple[int, ...], stride: int, pads: Pads) -> Array:
    """Return the gradient in the kernel as a sum over bands of rows of (shifted inputs)^T dy."""
    # Without the barrier XLA recomputes what made x and dy inside the loop.
    x, dy = jax.lax.optimization_barrier((x, dy))
    rows, columns, channels, features = shape
    height, width = dy.shape[1:3]
    # Bands that divide the height, so that all are alike and one loop body serves them.
    band = math.gcd(height, BAND)
    # dkernel = sum over bands of (columns of the kernel's positions)^T dy: im2col, a few rows of it at a time.
    padded = jnp.pad(x, ((0, 0), *pads, (0, 0)))

    def add_band(total: Array, row: Array) -> tuple[Array, None]:
        used = (band - 1) * stride + rows
        window = jax.lax.dynamic_slice_in_dim(padded, row * stride, used, axis=1)
        last, right = (band - 1) * stride + 1, (width - 1) * stride + 1
        shifted = [
            window[:, i : i + last : stride, j : j + right : stride] for i in range(rows) for j in range(columns)
        ]
        given = jax.lax.dynamic_slice_in_dim(dy, row, band, axis=1)
        return total + jnp.einsum("bhwc,bhwd->cd", jnp.concatenate(shifted, -1), given), None

    start = jnp.zeros((rows * columns * channels, features), x.dtype)
    total, _ = jax.lax.scan(add_band, start, jnp.arange(0, height, band))
    return total.reshape(shape)
