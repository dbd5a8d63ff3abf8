"""Every form of a convolution gives lax's numbers, and is taken on a CPU for the shapes that it is for."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hamjax.models.layers import few_terms, lax_forms, small_maps, winograd
from hamjax.models.layers.convolution import convolve
from hamjax.runtime.devices import make_mesh, replicated, split_batch

pytestmark = pytest.mark.usefixtures("quick_compiler")

# Height, width, kernel, stride, padding all round.
MAPS = [
    (7, 9, (3, 3), 1, 1), (8, 9, (3, 3), 1, 0), (6, 9, (1, 7), 1, 3), (9, 6, (7, 1), 1, 3), (7, 9, (5, 5), 1, 2),
    (8, 9, (3, 3), 2, 0), (7, 9, (7, 7), 2, 3), (14, 17, (3, 3), 1, 1), (41, 40, (3, 3), 1, 0),
]  # fmt: skip
# Of fewer pixels than the kernel, in the input or in the output.
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


@pytest.mark.parametrize(("channels", "features"), [(3, 4), (5, 2)])
@pytest.mark.parametrize("case", MAPS + SMALL, ids=str)
def test_a_convolution_and_its_gradients_are_laxs_in_every_form(
    float64: None, case: Any, channels: int, features: int, rng: np.random.Generator
) -> None:
    x, kernel, alike = _draw(rng, case, channels, features)
    dy = jnp.asarray(rng.normal(size=jax.eval_shape(functools.partial(lax_forms.convolve, **alike), x, kernel).shape))

    @jax.jit  # operation by operation, many more programs would be compiled
    def run(x: jax.Array, kernel: jax.Array, dy: jax.Array) -> list[tuple[jax.Array, ...]]:
        found = []
        for form in (lax_forms.convolve, convolve):
            y, pullback = jax.vjp(functools.partial(form, **alike), x, kernel)
            found.append((y, *pullback(dy)))
        # Also where `convolve` takes another.
        by_columns = (
            small_maps.convolve_by_columns(x, kernel, **alike),
            small_maps.input_gradient_by_columns(dy, kernel, shape=x.shape, **alike),
            small_maps.kernel_gradient_by_columns(x, dy, shape=kernel.shape, **alike),
        )
        found += [by_columns, (few_terms.convolve_term_by_term(x, kernel, **alike),)]
        if (len(kernel), alike["stride"]) == (3, 1):
            dx = winograd.input_gradient_by_winograd(dy, kernel, shape=x.shape, **alike)
            found.append((winograd.convolve_by_winograd(x, kernel, **alike), dx))
        return found

    laxs, *others = run(x, kernel, dy)
    for each in others:
        for found, expected in zip(each, laxs, strict=False):  # not every form has all gradients
            np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("case", MAPS + SMALL, ids=str)
def test_products_are_taken_for_small_maps_alone(case: Any, rng: np.random.Generator) -> None:
    x, kernel, alike = _draw(rng, case, 16, 4)
    program = jax.jit(functools.partial(convolve, **alike)).lower(x, kernel).as_text()
    height, width, (rows, columns), *_ = case
    assert ("stablehlo.convolution" in program) == (height * width >= rows * columns)


@pytest.mark.parametrize(("channels", "features", "stride"), [(4, 2, 1), (4, 3, 1), (4, 2, 2)])
def test_gradients_in_narrow_kernels_are_taken_from_the_output_on_a_cpu_alone(
    channels: int, features: int, stride: int
) -> None:
    x, kernel = jnp.zeros((2, 9, 9, channels)), jnp.zeros((3, 3, channels, features))

    def loss(kernel: jax.Array) -> jax.Array:
        return convolve(x, kernel, stride, ((1, 1), (1, 1))).sum()

    def is_turned(platform: str) -> bool:
        program = jax.jit(jax.grad(loss)).trace(kernel).lower(lowering_platforms=(platform,)).as_text()
        return "stablehlo.reverse" in program  # the result's positions are in the opposite order

    assert not is_turned("cuda")
    assert is_turned("cpu") == (stride == 1 and features == 2)


@pytest.mark.parametrize("platform", ["cpu", "cuda"])
@pytest.mark.parametrize(("channels", "stride"), [(3, 1), (3, 2), (4, 1)])
def test_a_convolution_of_few_terms_is_written_out_on_a_cpu_alone(channels: int, stride: int, platform: str) -> None:
    x, kernel = jnp.zeros((2, 9, 9, channels)), jnp.zeros((3, 3, channels, 8))
    form = functools.partial(convolve, stride=stride, pads=((1, 1), (1, 1)))
    program = jax.jit(form).trace(x, kernel).lower(lowering_platforms=(platform,)).as_text()
    assert ("stablehlo.convolution" in program) == (platform == "cuda" or channels == 4)


def test_terms_are_summed_in_float32_and_rounded_once(rng: np.random.Generator) -> None:
    x, kernel = (jnp.asarray(rng.normal(size=shape), jnp.bfloat16) for shape in ((2, 9, 9, 3), (3, 3, 3, 8)))
    alike: Any = {"stride": 1, "pads": ((1, 1), (1, 1))}
    exact = lax_forms.convolve(x.astype(jnp.float32), kernel.astype(jnp.float32), **alike)
    found = few_terms.convolve_term_by_term(x, kernel, **alike)
    assert found.dtype == jnp.bfloat16
    np.testing.assert_allclose(found.astype(jnp.float32), exact, rtol=2**-8, atol=1e-6)  # half of bfloat16's last bit


@pytest.mark.parametrize("platform", ["cpu", "cuda"])
@pytest.mark.parametrize(
    ("shape", "stride", "dtype", "pays"),
    [
        ((9, 8, 32, 64), 1, jnp.float32, True),
        ((9, 8, 32, 64), 2, jnp.float32, False),
        ((9, 8, 32, 64), 1, jnp.bfloat16, False),
        ((9, 7, 32, 64), 1, jnp.float32, False),
        ((9, 8, 31, 64), 1, jnp.float32, False),
        ((9, 8, 32, 63), 1, jnp.float32, False),
    ],
)
def test_winograds_form_is_taken_on_a_cpu_where_it_pays(
    shape: tuple[int, ...], stride: int, dtype: Any, pays: bool, platform: str
) -> None:
    height, width, channels, features = shape
    x, kernel = jnp.zeros((2, height, width, channels), dtype), jnp.zeros((3, 3, channels, features), dtype)

    def both(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        y, pullback = jax.vjp(lambda x: convolve(x, kernel, stride, ((1, 1), (1, 1))), x)
        return y, pullback(y)[0]

    program = jax.jit(both).trace(x).lower(lowering_platforms=(platform,)).as_text()
    # An output and a gradient in an input: one convolution each, or six.
    assert program.count("stablehlo.convolution") == (12 if pays and platform == "cpu" else 2)


def test_winograds_form_stays_one_call(rng: np.random.Generator) -> None:
    x, kernel = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((2, 9, 8, 32), (3, 3, 32, 64)))

    def around(x: jax.Array) -> jax.Array:
        return jnp.tanh(convolve(jnp.tanh(x), kernel, 1, ((1, 1), (1, 1))))

    # In each sum of the rows XLA would else take the first tanh again.
    assert " call(" in str(jax.jit(around).lower(x).compile().as_text())


def test_each_of_several_devices_makes_winograds_form_of_its_part(rng: np.random.Generator) -> None:
    mesh = make_mesh()
    x = jax.device_put(rng.normal(size=(2 * mesh.size, 9, 8, 32)).astype(np.float32), split_batch(mesh))
    kernel = jax.device_put(rng.normal(size=(3, 3, 32, 64)).astype(np.float32), replicated(mesh))
    alike: Any = {"stride": 1, "pads": ((1, 1), (1, 1))}
    compiled = jax.jit(functools.partial(winograd.convolve_by_winograd, **alike)).lower(x, kernel).compile()
    assert mesh.size > 1
    assert "all-gather" not in str(compiled.as_text())
    np.testing.assert_allclose(compiled(x, kernel), lax_forms.convolve(x, kernel, **alike), atol=1e-4)


def test_winograds_form_rounds_three_times_as_coarsely_at_most(rng: np.random.Generator) -> None:
    x, kernel = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((2, 28, 28, 128), (3, 3, 128, 128)))
    alike: Any = {"stride": 1, "pads": ((1, 1), (1, 1))}
    found = [form(x, kernel, **alike) for form in (winograd.convolve_by_winograd, lax_forms.convolve)]
    with jax.enable_x64(True):
        exact = lax_forms.convolve(x.astype(jnp.float64), kernel.astype(jnp.float64), **alike)
        coarse, plain = (float(jnp.sqrt(jnp.mean((y - exact) ** 2))) for y in found)
    assert 0 < coarse < 3 * plain
