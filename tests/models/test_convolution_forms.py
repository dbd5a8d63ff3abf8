"""Every form of a convolution gives lax's numbers, and the rules take a form that can be taken."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hamjax.models.layers import kernel_gradients, lax_forms, output_forms, winograd
from hamjax.models.layers.convolution import convolve
from hamjax.models.layers.small_maps import input_gradient_by_columns

pytestmark = pytest.mark.usefixtures("quick_compiler")

# Height, width, kernel, stride, padding all round.
MAPS = [
    (7, 9, (3, 3), 1, 1), (8, 9, (3, 3), 1, 0), (6, 9, (1, 7), 1, 3), (9, 6, (7, 1), 1, 3), (7, 9, (5, 5), 1, 2),
    (8, 9, (3, 3), 2, 0), (7, 9, (7, 7), 2, 3), (14, 17, (3, 3), 1, 1), (41, 40, (3, 3), 1, 0),
]  # fmt: skip
# Of fewer pixels than the kernel.
SMALL = [
    (1, 1, (3, 3), 1, 1), (2, 2, (3, 3), 1, 1), (2, 2, (1, 7), 1, 3), (4, 3, (5, 5), 1, 2), (4, 4, (3, 3), 2, 0),
    (3, 2, (3, 3), 2, 1), (5, 4, (7, 7), 2, 3), (1, 2, (3, 1), 1, 1),
]  # fmt: skip


def _draw(rng: np.random.Generator, case: Any, channels: int, features: int) -> tuple[jax.Array, jax.Array, Any]:
    """Return inputs, a kernel, and the stride and the padding."""
    height, width, size, stride, padding = case
    x = jnp.asarray(rng.normal(size=(4, height, width, channels)))
    kernel = jnp.asarray(rng.normal(size=(*size, channels, features)))
    return x, kernel, {"stride": stride, "pads": tuple((min(n // 2, padding),) * 2 for n in size)}


def _near(found: jax.Array, expected: jax.Array) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)


# Three channels are read in a form of their own; from sixteen on, Winograd's is taken on maps of 14x14 and more.
CHOICES = [*((case, 3, 4) for case in MAPS + SMALL), *((case, 16, 17) for case in MAPS[-2:]), (MAPS[-1], 16, 4)]


@pytest.mark.parametrize(("case", "channels", "features"), CHOICES, ids=str)
def test_a_convolution_and_its_gradients_are_laxs(
    float64: None, case: Any, channels: int, features: int, rng: np.random.Generator
) -> None:
    x, kernel, alike = _draw(rng, case, channels, features)
    y, pullback = jax.vjp(functools.partial(lax_forms.convolve, **alike), x, kernel)
    ours, our_pullback = jax.vjp(functools.partial(convolve, **alike), x, kernel)
    dy = jnp.asarray(rng.normal(size=y.shape))
    for found, expected in zip((ours, *our_pullback(dy)), (y, *pullback(dy)), strict=True):
        _near(found, expected)


@pytest.mark.parametrize("case", MAPS + SMALL, ids=str)
def test_every_form_gives_laxs_numbers_also_where_another_is_chosen(
    float64: None, case: Any, rng: np.random.Generator
) -> None:
    x, kernel, alike = _draw(rng, case, 3, 4)
    stride = alike["stride"]
    y, pullback = jax.vjp(functools.partial(lax_forms.convolve, **alike), x, kernel)
    dy = jnp.asarray(rng.normal(size=y.shape))
    dx, dkernel = pullback(dy)
    for name, form in output_forms.FORMS.items():
        if output_forms.allows(name, kernel.shape, stride):
            _near(form(x, kernel, **alike), y)
    _near(input_gradient_by_columns(dy, kernel, shape=x.shape, **alike), dx)
    for name, form in kernel_gradients.FORMS.items():
        if kernel_gradients.allows(name, kernel.shape, stride):
            _near(form(x, dy, shape=kernel.shape, **alike), dkernel)


@pytest.mark.parametrize("images", [1, 2, 4])
def test_winograds_form_may_be_taken_in_parts(
    float64: None, images: int, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    x, kernel, alike = _draw(rng, (10, 13, (3, 3), 1, 1), 5, 6)
    dy = jnp.asarray(rng.normal(size=(4, 10, 13, 6)))
    expected = lax_forms.kernel_gradient(x, dy, shape=kernel.shape, **alike)
    # Padded to whole tiles and two more, 12 x 16 pixels are 14 x 18; they grow to 36 numbers for 16.
    monkeypatch.setattr(winograd, "PART", images * 14 * 18 * 5 * 8 * 36 / 16)
    _near(winograd.kernel_gradient_by_winograd(x, dy, pads=alike["pads"]), expected)


def test_winograds_rounding_in_float32_is_as_its_page_says(rng: np.random.Generator) -> None:
    x, dy = (rng.normal(size=(8, 56, 56, 16)) for _ in range(2))
    alike: dict[str, Any] = {"shape": (3, 3, 16, 16), "stride": 1, "pads": ((1, 1), (1, 1))}
    with jax.enable_x64(True):
        exact = np.asarray(lax_forms.kernel_gradient(jnp.asarray(x), jnp.asarray(dy), **alike))
    narrow = [jnp.asarray(array, jnp.float32) for array in (x, dy)]
    error = np.abs(kernel_gradients.by_winograd(*narrow, **alike) - exact).max() / np.abs(exact).max()
    assert 1e-7 < error < 1e-5


# The side of the map, channels in and out, kernel, stride: of the networks at 64, 96 and 224 px.
CHOSEN = [
    (64, 32, 32, 3, 1, "winograd"), (28, 128, 128, 3, 1, "winograd"), (14, 256, 256, 3, 1, "winograd"),
    (56, 128, 32, 3, 1, "winograd"), (16, 128, 32, 3, 1, "XLA"), (8, 128, 128, 3, 1, "XLA"), (9, 48, 64, 5, 1, "XLA"),
    (224, 3, 32, 3, 1, "XLA"), (4, 256, 256, 3, 1, "rows"), (2, 512, 512, 3, 1, "rows"), (12, 288, 384, 3, 2, "rows"),
    (112, 3, 64, 7, 2, "rows"), (2, 128, 32, 3, 1, "shifts"),
]  # fmt: skip


@pytest.mark.parametrize(("side", "channels", "features", "size", "stride", "form"), CHOSEN)
def test_the_form_of_a_kernel_gradient_goes_by_the_shapes(
    side: int, channels: int, features: int, size: int, stride: int, form: str
) -> None:
    shape = (size, size, channels, features)
    assert kernel_gradients.choose((16, side, side, features), shape, stride) == form
    assert kernel_gradients.allows(form, shape, stride)


@pytest.mark.parametrize(
    ("side", "channels", "pad", "form"),
    [(2, 64, 1, "columns"), (224, 3, 1, "fourth channel"), (111, 32, 0, "cropping"), (22, 80, 0, "XLA"),
     (56, 64, 1, "XLA")],
)  # fmt: skip
def test_the_form_of_an_output_goes_by_the_shapes(side: int, channels: int, pad: int, form: str) -> None:
    shape, pads = (3, 3, channels, 64), ((pad, pad), (pad, pad))
    assert output_forms.choose((16, side, side, channels), shape, stride=1, pads=pads) == form
