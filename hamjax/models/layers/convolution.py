"""Two-dimensional convolution: lax's numbers, with gradients that a CPU takes quickly."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from hamjax.models.layers import few_terms, lax_forms, narrow_kernels, small_maps, winograd
from hamjax.models.layers.dense import KERNEL_INIT
from hamjax.models.layers.few_terms import is_few
from hamjax.models.layers.lax_forms import Pads
from hamjax.models.layers.narrow_kernels import is_narrow
from hamjax.models.layers.small_maps import is_small
from hamjax.models.layers.winograd import saves_products

Array = jax.Array


class Conv(nn.Module):
    """A convolution with Keras's kernel layout [rows, columns, in, out].

    Attributes:
        features: channels out.
        kernel_size: rows and columns.
        stride: in both directions.
        padding: zeros all round, or `SAME` (only for odd kernels of stride 1, where all
            frameworks agree what it is).
        use_bias: add one.
        bias_apart: return it beside the output, for a BatchNorm, in place of adding it.
        plain: lax's own convolution, for exports; gives the same numbers up to rounding.
        dtype: of the computation; parameters are float32 or wider.
    """

    features: int
    kernel_size: tuple[int, int] = (3, 3)
    stride: int = 1
    padding: int | str = "SAME"
    use_bias: bool = True
    bias_apart: bool = False
    plain: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Any:
        """Map [B, H, W, C] to [B, H', W', features]; with `bias_apart` return a pair of that and of the bias."""
        stored = jnp.promote_types(self.dtype, jnp.float32)
        kernel = self.param("kernel", KERNEL_INIT, (*self.kernel_size, x.shape[-1], self.features), stored)
        rows, columns = (self._pad(size) for size in self.kernel_size)
        form = lax_forms.convolve if self.plain else convolve
        y = form(x.astype(self.dtype), kernel.astype(self.dtype), stride=self.stride, pads=(rows, columns))
        if not self.use_bias:
            return y
        bias = self.param("bias", nn.initializers.zeros, (self.features,), stored)
        return (y, bias) if self.bias_apart else y + bias.astype(self.dtype)

    def _pad(self, size: int) -> tuple[int, int]:
        if self.padding == "SAME":
            assert self.stride == 1, "frameworks differ in what SAME is for a stride"
            assert size % 2 == 1, "and for an even kernel"
            return size // 2, size // 2
        return int(self.padding), int(self.padding)


def convolve(x: Array, kernel: Array, stride: int, pads: Pads) -> Array:
    """Convolve [B, H, W, C] with [R, S, C, D]; a 1x1 kernel is a matrix product."""
    if kernel.shape[:2] == (1, 1) and pads == ((0, 0), (0, 0)):
        return _multiply_pixels(x[:, ::stride, ::stride], kernel[0, 0])
    return _convolve(x, kernel, stride, pads)


def _multiply_pixels(x: Array, kernel: Array) -> Array:
    """Return each pixel of [B, H, W, C] times a matrix [C, D]."""
    # Flat, and not by einsum: XLA's CPU backend transposes the gradients of a product over three axes, which costs as
    # much again as the product of a large map.
    return (x.reshape(-1, x.shape[-1]) @ kernel).reshape(*x.shape[:-1], kernel.shape[-1])


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _convolve(x: Array, kernel: Array, stride: int, pads: Pads) -> Array:
    """Convolve, on a CPU in other forms where XLA's backend for it is slow; so are the gradients."""
    on_cpu = lax_forms.convolve
    if is_small(x.shape, kernel.shape):
        on_cpu = small_maps.convolve_by_columns
    elif is_few(kernel.shape):
        on_cpu = few_terms.convolve_term_by_term
    elif saves_products(x, kernel.shape, stride):
        on_cpu = winograd.convolve_by_winograd
    return _choose(on_cpu, lax_forms.convolve, x, kernel, stride=stride, pads=pads)


def _choose(on_cpu: Callable[..., Array], plain: Callable[..., Array], *arrays: Array, **alike: Any) -> Array:
    """Call one form on a CPU, and lax's own elsewhere: accelerators know plain convolutions best."""
    if on_cpu is plain:
        return plain(*arrays, **alike)
    on_cpu, plain = (functools.partial(form, **alike) for form in (on_cpu, plain))
    return jax.lax.platform_dependent(*arrays, cpu=on_cpu, default=plain)


def _forward(x: Array, kernel: Array, stride: int, pads: Pads) -> tuple[Array, tuple[Array, Array]]:
    y: Any = _convolve(x, kernel, stride, pads)
    if is_few(kernel.shape):
        # Else XLA takes a loop's sums again in the backward pass, in place of keeping them.
        y = _choose(jax.lax.optimization_barrier, jnp.asarray, y)
    return y, (x, kernel)


def _backward(stride: int, pads: Pads, saved: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, kernel = saved
    # The input's gradient is a convolution of dy, and the kernel's of x with a kernel as large as dy.
    of_input, of_kernel = lax_forms.input_gradient, lax_forms.kernel_gradient
    if is_small(dy.shape, kernel.shape):
        of_input, of_kernel = small_maps.input_gradient_by_columns, small_maps.kernel_gradient_by_columns
    elif is_narrow(kernel.shape, stride):
        of_kernel = narrow_kernels.kernel_gradient_from_output
    if saves_products(dy, kernel.shape, stride):
        of_input = winograd.input_gradient_by_winograd
    dx = _choose(of_input, lax_forms.input_gradient, dy, kernel, shape=x.shape, stride=stride, pads=pads)
    return dx, _choose(of_kernel, lax_forms.kernel_gradient, x, dy, shape=kernel.shape, stride=stride, pads=pads)


_convolve.defvjp(_forward, _backward)
