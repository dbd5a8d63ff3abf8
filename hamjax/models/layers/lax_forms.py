"""A convolution and its gradients as lax takes them; the forms for a CPU are compared with these."""

import jax

Array = jax.Array
Shape = tuple[int, ...]
Pads = tuple[tuple[int, int], tuple[int, int]]


def convolve(x: Array, kernel: Array, *, stride: int, pads: Pads) -> Array:
    """Convolve [B, H, W, C] with [R, S, C, D]."""
    return jax.lax.conv_general_dilated(x, kernel, (stride, stride), pads, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def input_gradient(dy: Array, kernel: Array, *, shape: Shape, stride: int, pads: Pads) -> Array:
    """Return the gradient in the input of a shape, from dy in the output."""
    x = jax.ShapeDtypeStruct(shape, dy.dtype)
    (dx,) = jax.linear_transpose(lambda x: convolve(x, kernel, stride=stride, pads=pads), x)(dy)
    return dx


def kernel_gradient(x: Array, dy: Array, *, shape: Shape, stride: int, pads: Pads) -> Array:
    """Return the gradient in the kernel of a shape, from dy in the output."""
    kernel = jax.ShapeDtypeStruct(shape, x.dtype)
    (dkernel,) = jax.linear_transpose(lambda kernel: convolve(x, kernel, stride=stride, pads=pads), kernel)(dy)
    return dkernel
