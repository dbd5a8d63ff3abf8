"""The kernel gradient of a 3x3 convolution with a quarter of the products, for large maps on a CPU.

It is a correlation of the inputs with the gradients in the outputs. A tile of 4x4 gradients meets 6x6 inputs.
Winograd's way takes 36 products for it, one for each of 36 sums of inputs and of gradients, where the plain way takes
9 * 16 = 144 (Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural Networks"). XLA's CPU backend has no such
form, and its own runs at a tenth of a product's rate where the map is large. The sums cost memory traffic, so they
do not pay on small maps. They cost digits, too: in float32 a gradient is off by up to 1e-5 of the largest one, in place
of 5e-6.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from hamjax.models.layers.lax_forms import Pads

Array = jax.Array
Matrix = np.ndarray
TILE, TAPS = 4, 3
SIDE = TILE + TAPS - 1  # of the inputs that a tile meets
POINTS = (0.0, 1.0, -1.0, 2.0, -2.0)  # and infinity; the usual ones, small, as their fourth powers are multiplied with
# Bytes of transformed inputs at a time. Larger parts leave the cache and fill the memory, smaller ones make small
# products.
PART = 16 * 2**20


def _powers(count: int) -> Matrix:
    """Return the values of a polynomial of `count` coefficients in all points, as a matrix [SIDE, count]."""
    at_infinity = np.eye(count)[-1:]
    return np.concatenate([np.vander(POINTS, count, increasing=True), at_infinity])


def _scaled_inverse() -> tuple[Matrix, Matrix]:
    """Return the matrix [SIDE, SIDE] of the inputs, in whole numbers, and what each row was multiplied with."""
    rows = np.linalg.inv(_powers(SIDE)).T
    scale = np.array([1 / np.abs(row[np.abs(row) > 1e-9]).min() for row in rows])
    return np.round(rows * scale[:, None]), scale


# A product of polynomials is a product of their values in enough points, and a correlation is its transpose (Toom and
# Cook): sum over i of x[i + k] w[i], for k below TAPS, is OUTPUTS @ ((GRADIENTS @ w) * (INPUTS @ x)).
INPUTS, _SCALE = _scaled_inverse()
GRADIENTS, OUTPUTS = _powers(TILE) / _SCALE[:, None], _powers(TAPS).T


def kernel_gradient_by_winograd(x: Array, dy: Array, *, pads: Pads) -> Array:
    """Return the gradient in the kernel [3, 3, C, D] of a convolution of stride 1.

    Args:
        x: [B, H, W, C], the input.
        dy: [B, H', W', D], the gradient in the output.
        pads: zeros before and behind the rows and the columns of x.
    """
    height, width = dy.shape[1:3]
    rows, columns = -(-height // TILE), -(-width // TILE)
    below, right = rows * TILE - height, columns * TILE - width
    (top, bottom), (left, end) = pads
    padded = jnp.pad(x, ((0, 0), (top, bottom + below), (left, end + right), (0, 0)))
    given = jnp.pad(dy, ((0, 0), (0, below), (0, right), (0, 0)))

    def add(total: Array, part: tuple[Array, Array]) -> tuple[Array, None]:
        x, dy = part
        inputs, gradients = _transform(x, INPUTS, (rows, columns)), _transform(dy, GRADIENTS, (rows, columns))
        return total + jnp.einsum("uvkc,uvkd->uvcd", inputs, gradients), None

    start = jnp.zeros((SIDE, SIDE, x.shape[-1], dy.shape[-1]), x.dtype)
    parts = _split_batch(padded)
    given = given.reshape(*parts.shape[:2], *given.shape[1:])
    total, _ = lax.scan(add, start, (parts, given))
    back = OUTPUTS.astype(x.dtype)
    return jnp.einsum("ru,sv,uvcd->rscd", back, back, total)


def _split_batch(x: Array) -> Array:
    """Return x [B, H, W, C] as [parts, B / parts, H, W, C], so that a part's transformed inputs are near `PART`."""
    # Of 4x4 pixels, 6x6 numbers are made.
    grown = x.nbytes / len(x) * (SIDE / TILE) ** 2
    count = max(n for n in range(1, len(x) + 1) if len(x) % n == 0 and (n == 1 or n * grown <= PART))
    return x.reshape(-1, count, *x.shape[1:])


def _transform(x: Array, matrix: Matrix, tiles: tuple[int, int]) -> Array:
    """Return matrix @ tile @ matrix^T of every tile: [B, H, W, C] to [SIDE, SIDE, B * tiles, C].

    A tile has as many rows and columns as the matrix has columns; they begin `TILE` pixels apart.
    """
    reach = range(matrix.shape[1])
    last_row, last_column = ((count - 1) * TILE + 1 for count in tiles)
    down = [_combine(row, [x[:, i : i + last_row : TILE] for i in reach]) for row in matrix]
    # Rows first, then columns: at once, each of the 36 sums would have up to 16 terms.
    down = lax.optimization_barrier(down)
    both = [[_combine(row, [y[:, :, j : j + last_column : TILE] for j in reach]) for row in matrix] for y in down]
    stacked = jnp.stack([jnp.stack([y.reshape(-1, x.shape[-1]) for y in row]) for row in both])
    return lax.optimization_barrier(stacked)


def _combine(weights: Matrix, terms: list[Array]) -> Array:
    """Return the sum of terms times weights, without those of weight 0."""
    used = [(float(weight), term) for weight, term in zip(weights, terms, strict=True) if weight]
    return sum((weight * term for weight, term in used[1:]), start=used[0][0] * used[0][1])
