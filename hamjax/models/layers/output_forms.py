"""Forms of a convolution's output, and which of them is fast on a CPU for which shapes.

XLA's CPU backend computes most convolutions at half of a matrix product's rate. Three kinds it computes at a tenth, and
each has a form here that gives the same numbers up to rounding. `bench_convolutions.py` measures all of them.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from hamjax.models.layers import lax_forms
from hamjax.models.layers.lax_forms import Pads, Shape
from hamjax.models.layers.small_maps import convolve_by_columns, is_small

Array = jax.Array
LARGE_MAP = 40 * 40  # pixels, from which cropping is faster; at 22 x 22 it is not


def with_fourth_channel(x: Array, kernel: Array, *, stride: int, pads: Pads) -> Array:
    """Convolve with a channel of zeros more: XLA reads pixels of four channels at once, and of three one by one."""
    x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, 1)))
    return lax_forms.convolve(x, jnp.pad(kernel, ((0, 0), (0, 0), (0, 1), (0, 0))), stride=stride, pads=pads)


def with_cropping(x: Array, kernel: Array, *, stride: int, pads: Pads) -> Array:
    """Convolve with a zero behind rows and columns, and cut that off: without any padding XLA takes a slow path."""
    assert stride == 1
    (top, bottom), (left, right) = pads
    return lax_forms.convolve(x, kernel, stride=1, pads=((top, bottom + 1), (left, right + 1)))[:, :-1, :-1]


FORMS: dict[str, Callable[..., Array]] = {
    "XLA": lax_forms.convolve,
    "columns": convolve_by_columns,
    "fourth channel": with_fourth_channel,
    "cropping": with_cropping,
}


def allows(form: str, shape: Shape, stride: int) -> bool:
    """Return whether a form can take the output of a kernel of this shape [R, S, C, D]."""
    return {"fourth channel": shape[2] == 3, "cropping": stride == 1}.get(form, True)


def choose(x_shape: Shape, shape: Shape, *, stride: int, pads: Pads) -> str:
    """Return the name of the form to take on a CPU.

    Args:
        x_shape: [B, H, W, C] of the input, without the padding.
        shape: [R, S, C, D] of the kernel.
        stride: in both directions.
        pads: zeros before and behind the rows and the columns.
    """
    if is_small(x_shape, shape):
        return "columns"
    # A 7x7 kernel has 21 numbers in a row of three channels, enough to be read quickly as they are.
    if shape[:3] == (3, 3, 3):
        return "fourth channel"
    if pads == ((0, 0), (0, 0)) and stride == 1 and x_shape[1] * x_shape[2] >= LARGE_MAP:
        return "cropping"
    return "XLA"
