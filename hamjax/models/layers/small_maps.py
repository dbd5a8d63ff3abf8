"""Convolutions and their gradients as matrix products, for maps of fewer pixels than the kernel has.

XLA's CPU backend takes its fast convolution only where its input has at least as many pixels as the kernel. Below that
it loops over them one by one: 3x3, 512 to 512 channels on 2x2 pixels runs at 2 GFLOP/s, and as a product at 180 or
more (`bench_convolutions.py` measures it). The last stages of ResNet50 and DenseNet201 at 64 px are such maps. An
accelerator has no such limit and sees plain convolutions.
"""

import jax
import jax.numpy as jnp
from jax import lax

from hamjax.models.layers.lax_forms import Pads, Shape

Array = jax.Array


def is_small(x_shape: Shape, shape: Shape) -> bool:
    """Return whether XLA's CPU backend would loop over the pixels of a convolution's input one by one.

    Args:
        x_shape: [B, H, W, C] of the convolution's input, without the padding.
        shape: [R, S, C, D] of the kernel.
    """
    # On a 1x7 kernel, too: what is compared is 7 pixels with H * W, not each side with its own.
    return x_shape[1] * x_shape[2] < shape[0] * shape[1]


def convolve_by_columns(x: Array, kernel: Array, *, stride: int, pads: Pads) -> Array:
    """Return the convolution as one product: the pixels below the kernel side by side (im2col), times the kernel.

    Args:
        x: [B, H, W, C].
        kernel: [R, S, C, D].
        stride: in both directions.
        pads: zeros before and behind the rows and the columns.

    Returns:
        [B, H', W', D].
    """
    rows, columns, _, features = kernel.shape
    return _make_columns(x, (rows, columns), stride, pads) @ kernel.reshape(-1, features)


def kernel_gradient_by_columns(x: Array, dy: Array, *, shape: Shape, stride: int, pads: Pads) -> Array:
    """Return the gradient in the kernel as one product: the pixels below the kernel, times dy.

    Args:
        x: [B, H, W, C], the input.
        dy: [B, H', W', D], the gradient in the output.
        shape: [R, S, C, D] of the kernel.
        stride: in both directions.
        pads: zeros before and behind the rows and the columns of x.
    """
    rows, columns, _, features = shape
    below = _make_columns(x, (rows, columns), stride, pads)
    # Of flat arrays: XLA's CPU backend transposes a product over three axes first.
    return (below.reshape(-1, below.shape[-1]).T @ dy.reshape(-1, features)).reshape(shape)


def _make_columns(x: Array, size: tuple[int, int], stride: int, pads: Pads) -> Array:
    """Return the pixels that a kernel of this size meets, side by side: [B, H', W', rows * columns * C]."""
    rows, columns = size
    padded = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    # How far the last position of the kernel's corner is from the first.
    below, right = padded.shape[1] - rows, padded.shape[2] - columns
    shifted = [
        padded[:, i : i + below + 1 : stride, j : j + right + 1 : stride] for i in range(rows) for j in range(columns)
    ]
    # Without the barrier XLA makes the columns anew inside the product, once for each of its blocks.
    return lax.optimization_barrier(jnp.concatenate(shifted, -1))


def input_gradient_by_columns(dy: Array, kernel: Array, *, shape: Shape, stride: int, pads: Pads) -> Array:
    """Return the gradient in the input: each pixel of dy times the kernel, added up where it came from (col2im).

    Args:
        dy: [B, H', W', D], the gradient in the output.
        kernel: [R, S, C, D].
        shape: [B, H, W, C] of the input.
        stride: in both directions.
        pads: zeros before and behind the rows and the columns of the input.
    """
    rows, columns = kernel.shape[:2]
    # One product for all positions of the kernel; each alone would be too narrow to be fast.
    parts = lax.optimization_barrier(jnp.einsum("bhwd,rscd->rsbhwc", dy, kernel))
    zero = jnp.zeros((), dy.dtype)

    def edges(at: int, pad: int, size: int, count: int) -> tuple[int, int, int]:
        # Where a part goes along one side: zeros before, zeros behind, zeros between; below 0 they cut off.
        low = at - pad
        return low, size - low - (count - 1) * stride - 1, stride - 1

    total = jnp.zeros(shape, dy.dtype)
    for i in range(rows):
        for j in range(columns):
            down = edges(i, pads[0][0], shape[1], dy.shape[1])
            across = edges(j, pads[1][0], shape[2], dy.shape[2])
            total = total + lax.pad(parts[i, j], zero, ((0, 0, 0), down, across, (0, 0, 0)))
    return total
