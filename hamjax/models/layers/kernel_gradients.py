"""Forms of a convolution's gradient in its kernel, and which of them is fast on a CPU for which shapes."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from hamjax.models.layers import lax_forms
from hamjax.models.layers.lax_forms import Pads, Shape
from hamjax.models.layers.small_maps import is_small
from hamjax.models.layers.winograd import TAPS, kernel_gradient_by_winograd

Array = jax.Array
BAND = 4  # rows at a time: all of them at once would be a copy of x for each position of the kernel


def by_shifts(x: Array, dy: Array, *, shape: Shape, stride: int, pads: Pads) -> Array:
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


def by_rows(x: Array, dy: Array, *, shape: Shape, stride: int, pads: Pads) -> Array:
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


def by_winograd(x: Array, dy: Array, *, shape: Shape, stride: int, pads: Pads) -> Array:
    """Return the gradient in a 3x3 kernel of stride 1; see `hamjax.models.layers.winograd`."""
    assert shape[:2] == (TAPS, TAPS)
    assert stride == 1
    return kernel_gradient_by_winograd(x, dy, pads=pads)


FORMS: dict[str, Callable[..., Array]] = {
    "XLA": lax_forms.kernel_gradient,
    "rows": by_rows,
    "shifts": by_shifts,
    "winograd": by_winograd,
}


def allows(form: str, shape: Shape, stride: int) -> bool:
    """Return whether a form can take the gradient in a kernel of this shape [R, S, C, D]."""
    if form == "winograd":
        return stride == 1 and shape[:2] == (TAPS, TAPS)
    return form != "shifts" or stride == 1


def choose(dy_shape: Shape, shape: Shape, stride: int) -> str:
    """Return the name of the form to take on a CPU.

    XLA's own is fast on maps of about 4x4 to 12x12 pixels, and slower the larger or smaller they are.

    Args:
        dy_shape: [B, H', W', D] of the gradient in the output.
        shape: [R, S, C, D] of the kernel.
        stride: in both directions.
    """
    pixels = dy_shape[1] * dy_shape[2]
    narrows = shape[2] > shape[3]
    # With few channels out, as DenseNet's 128 to 32, the products are too narrow to pay for the sums on a middling map.
    if allows("winograd", shape, stride) and shape[2] >= 16 and pixels >= (28 * 28 if narrows else 14 * 14):
        return "winograd"
    if stride > 1:
        return "rows"
    if is_small(dy_shape, shape):
        # Shifting the smaller of x and dy moves fewer bytes; dy is smaller where channels get fewer.
        return "shifts" if narrows else "rows"
    # ResNet50's 4x4 maps of 256 channels at 64 px.
    return "rows" if pixels <= 16 and shape[3] >= 256 else "XLA"
