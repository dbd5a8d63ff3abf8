"""Convolutions of 3x3 with half the multiplications: Winograd's F(4, 3), along the rows.

Four rows of an output take twelve products of a row with a row of the kernel. Winograd's form takes six, of sums of
rows with sums of the kernel's rows, and adds them up (Lavin and Gray, Fast Algorithms for Convolutional Neural
Networks, CVPR 2016). Along the rows alone, because then every sum is one of whole rows, which XLA makes with full
vectors; along the columns, too, it would save another half of the products and cost more than that in sums.

On a CPU with AVX2 such a convolution is 1.3 times as fast by the median of the networks' shapes, 0.7 to 2.0 times by
the shape (`bench_convolutions.py`). Its rounding error in float32 is 2.3 times that of the plain form, 7e-7 of the
numbers' size for 64 channels. An accelerator sees plain convolutions: its library chooses for itself.
"""

import functools
import operator

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental.xla_metadata import set_xla_metadata

from hamjax.models.layers import lax_forms
from hamjax.models.layers.lax_forms import Pads, Shape

Array = jax.Array

TILE = 4  # rows of output from six rows of input; with 2 a third of the products is saved, with 6 float32 is too coarse
# Lavin and Gray's matrices for F(4x4, 3x3): sums of the input's rows, of the kernel's, and of the products.
OF_INPUT = np.array([
    [4, 0, -5, 0, 1, 0],
    [0, -4, -4, 1, 1, 0],
    [0, 4, -4, -1, 1, 0],
    [0, -2, -1, 2, 1, 0],
    [0, 2, -1, -2, 1, 0],
    [0, 4, 0, -5, 0, 1],
])  # fmt: skip
OF_KERNEL = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24
OF_PRODUCTS = np.array([
    [1, 1, 1, 1, 1, 0],
    [0, 1, -1, 2, -2, 0],
    [0, 1, 1, 4, 4, 0],
    [0, 1, -1, 8, -8, 1],
])  # fmt: skip
# What is saved grows as the product of the channels in and out, what the sums cost as their sum: 32 to 32 channels gain
# nothing, and DenseNet201's 128 to 32 nothing within its step.
LEAST_CHANNELS, LEAST_FEATURES = 32, 64
# On fewer pixels the sums of the kernel cost more than a batch saves.
LEAST_PIXELS = 64


def saves_products(x: Array, shape: Shape, stride: int) -> bool:
    """Return whether the form pays for an input [B, H, W, C] and a kernel of a shape, and its rounding is harmless."""
    rows, columns, channels, features = shape
    wide = channels >= LEAST_CHANNELS and features >= LEAST_FEATURES
    large = x.shape[1] * x.shape[2] >= LEAST_PIXELS
    return (rows, columns, stride) == (3, 3, 1) and wide and large and jnp.finfo(x.dtype).bits >= 32


def convolve_by_winograd(x: Array, kernel: Array, *, stride: int, pads: Pads) -> Array:
    """Return the convolution with a kernel of three rows.

    Args:
        x: [B, H, W, C].
        kernel: [3, S, C, D].
        stride: 1.
        pads: zeros before and behind the rows and the columns.

    Returns:
        [B, H', W', D].
    """
    assert stride == 1
    # One call that XLA does not take apart: it would compute what comes before again in each sum of the input's rows,
    # and the sums of the products again in each operation behind.
    with set_xla_metadata(inlineable="false"):
        return _convolve(x, kernel, pads)


@functools.partial(jax.jit, static_argnums=2)
def _convolve(x: Array, kernel: Array, pads: Pads) -> Array:
    (above, below), across = pads
    height = x.shape[1] + above + below - len(kernel) + 1
    tiles = -(-height // TILE)
    rows = [_every_fourth_row(x, i - above, tiles) for i in range(OF_INPUT.shape[1])]
    products = [
        lax_forms.convolve(_add(of_input, rows), _add(of_kernel, kernel)[None], stride=1, pads=((0, 0), across))
        for of_input, of_kernel in zip(OF_INPUT, OF_KERNEL, strict=True)
    ]
    y = jnp.stack([_add(weights, products) for weights in OF_PRODUCTS], axis=2)
    return y.reshape(len(x), tiles * TILE, *y.shape[3:])[:, :height]


def _every_fourth_row(x: Array, first: int, count: int) -> Array:
    """Return rows first, first + 4, ... of [B, H, W, C], as many as `count`; outside of x they are zeros."""
    before = min(count, max(0, -(first // TILE)))
    start = first + before * TILE
    taken = x[:, start : first + count * TILE : TILE]
    outside = (before, count - before - taken.shape[1], 0)
    # Not jnp.pad, which is a call of its own.
    return lax.pad(taken, jnp.zeros((), x.dtype), ((0, 0, 0), outside, (0, 0, 0), (0, 0, 0)))


def _add(weights: np.ndarray, arrays: Array | list[Array]) -> Array:
    """Return the sum of arrays times their weights; none is 0 for all."""
    terms = [array * weight.astype(array.dtype) for weight, array in zip(weights, arrays, strict=True) if weight]
    return functools.reduce(operator.add, terms)


def input_gradient_by_winograd(dy: Array, kernel: Array, *, shape: Shape, stride: int, pads: Pads) -> Array:
    """Return the gradient in the input: the convolution of dy with the kernel turned round.

    Args:
        dy: [B, H', W', D], the gradient in the output.
        kernel: [3, S, C, D].
        shape: [B, H, W, C] of the input.
        stride: 1.
        pads: zeros before and behind the rows and the columns of the input.
    """
    (above, below), (left, right) = pads
    down, across = (size - 1 for size in kernel.shape[:2])
    around = (down - above, down - below), (across - left, across - right)
    dx = convolve_by_winograd(dy, kernel[::-1, ::-1].swapaxes(2, 3), stride=stride, pads=around)
    assert dx.shape == shape
    return dx
