"""The gradient in a kernel with at most half as many channels out as in, taken from the gradient in its output.

lax takes a kernel's gradient as a convolution of x with dy. XLA's CPU backend gathers, for each value of the result's
channels in, all pixels of x below it, and multiplies these columns with the few channels of dy. The same sums are a
convolution of dy with x: fewer columns, and each is multiplied with more. For 128 channels in and 32 out, all 3x3
kernels of DenseNet201, that is 1.0 to 1.8 times as fast; for 448 in and 384 out it is slower (`bench_convolutions.py`).
"""

import jax
from jax import lax

from hamjax.models.layers.lax_forms import Pads, Shape

Array = jax.Array


def is_narrow(shape: Shape, stride: int) -> bool:
    """Return whether a kernel [R, S, C, D] is one of these; with a stride dy would be full of gaps."""
    return stride == 1 and 2 * shape[3] <= shape[2]


def kernel_gradient_from_output(x: Array, dy: Array, *, shape: Shape, stride: int, pads: Pads) -> Array:
    """Return the gradient in the kernel.

    Args:
        x: [B, H, W, C], the input.
        dy: [B, H', W', D], the gradient in the output.
        shape: [R, S, C, D] of the kernel.
        stride: 1.
        pads: zeros before and behind the rows and the columns of x.
    """
    assert stride == 1
    rows, columns = shape[:2]
    (above, below), (left, right) = pads
    around = ((rows - 1 - above, rows - 1 - below), (columns - 1 - left, columns - 1 - right))
    layout = ("NHWC", "HWIO", "NHWC")
    turned = lax.conv_general_dilated(
        dy.transpose(3, 1, 2, 0), x.transpose(1, 2, 0, 3), (1, 1), around, dimension_numbers=layout
    )
    # [D, R, S, C], from the kernel's last position to its first.
    return turned[:, ::-1, ::-1].transpose(1, 2, 3, 0)
