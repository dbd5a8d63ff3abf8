"""Convolutions of few terms, written out: the first of the CNN and of InceptionV3, 3x3 on three channels.

XLA's CPU backend gathers the pixels below the kernel one number at a time where channels do not fill a vector, which
takes longer than the sums: 3x3 on three channels runs at a quarter of its rate on 32. Written out, it is one loop over
the channels out, and the bias and the ReLU behind it are part of the loop: twice as fast. The 147 terms of a 7x7 kernel
are not (`bench_convolutions.py` measures both).
"""

import jax
import jax.numpy as jnp

from hamjax.models.layers.lax_forms import Pads, Shape

Array = jax.Array

MOST_TERMS = 3 * 3 * 3


def is_few(shape: Shape) -> bool:
    """Return whether each number that a kernel [R, S, C, D] makes is a sum of few terms."""
    rows, columns, channels, _ = shape
    return rows * columns * channels <= MOST_TERMS


def convolve_term_by_term(x: Array, kernel: Array, *, stride: int, pads: Pads) -> Array:
    """Return the convolution as a sum over the kernel's positions and channels in.

    Args:
        x: [B, H, W, C].
        kernel: [R, S, C, D].
        stride: in both directions.
        pads: zeros before and behind the rows and the columns.

    Returns:
        [B, H', W', D]; summed in float32 or wider, and rounded once, as in lax's form.
    """
    rows, columns, channels, _ = kernel.shape
    padded = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    # How far the last position of the kernel's corner is from the first.
    below, right = padded.shape[1] - rows, padded.shape[2] - columns
    wide = jnp.promote_types(x.dtype, jnp.float32)
    total: Array | float = 0.0
    for i in range(rows):
        for j in range(columns):
            shifted = padded[:, i : i + below + 1 : stride, j : j + right + 1 : stride].astype(wide)
            for c in range(channels):
                total = total + shifted[..., c : c + 1] * kernel[i, j, c].astype(wide)
    return jnp.asarray(total, x.dtype)
