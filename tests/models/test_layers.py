"""Convolution layers, pooling and normalisation compute and learn as lax's and Keras's do."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
from flax import linen as nn

from hamjax.models.layers.convolution import Conv
from hamjax.models.layers.normalization import BatchNorm
from hamjax.models.layers.pooling import average_pool_2x2, average_pool_3x3, max_pool

pytestmark = pytest.mark.usefixtures("quick_compiler")

SHAPES = [((3, 3), 1, "SAME"), ((1, 7), 1, "SAME"), ((5, 5), 1, "SAME"), ((3, 3), 2, 0), ((7, 7), 2, 3), ((1, 1), 2, 0)]


@pytest.mark.parametrize(("size", "stride", "padding"), SHAPES)
@pytest.mark.parametrize("use_bias", [True, False])
def test_convolution_layer_is_keras(
    float64: None, size: tuple[int, int], stride: int, padding: int | str, use_bias: bool, rng: np.random.Generator
) -> None:
    x = rng.normal(size=(2, 9, 8, 3))
    pad = 0 if padding == "SAME" else int(padding)
    reference = keras.layers.Conv2D(4, size, stride, "same" if padding == "SAME" else "valid", use_bias=use_bias)
    expected = np.asarray(reference(np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))))
    layer: Any = Conv(4, size, stride, padding, use_bias=use_bias, dtype=jnp.float64)
    weights = reference.get_weights()
    params = dict(zip(("kernel", "bias"), weights, strict=False))
    np.testing.assert_allclose(layer.apply({"params": params}, jnp.asarray(x)), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("size", "stride"), [(2, 2), (3, 2), (3, 1)])
def test_max_pooling_and_its_gradient_are_laxs_also_for_ties(
    float64: None, size: int, stride: int, rng: np.random.Generator
) -> None:
    x = jnp.asarray(rng.integers(0, 3, (2, 7, 8, 3)).astype(float))  # many equal neighbours
    plain = functools.partial(nn.max_pool, window_shape=(size, size), strides=(stride, stride))
    y, pullback = jax.vjp(plain, x)
    ours, our_pullback = jax.vjp(lambda x: max_pool(x, size, stride), x)
    np.testing.assert_array_equal(ours, y)
    np.testing.assert_array_equal(max_pool(x, size, stride), y)  # without a gradient it is another form
    dy = rng.normal(size=y.shape)
    np.testing.assert_allclose(our_pullback(dy)[0], pullback(dy)[0], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("side", [1, 2, 3, 8])
def test_average_pooling_is_keras_and_does_not_count_what_is_outside(
    float64: None, side: int, rng: np.random.Generator
) -> None:
    x = rng.normal(size=(2, side, side + 1, 3))
    expected = np.asarray(keras.layers.AveragePooling2D((3, 3), (1, 1), "same")(x))
    np.testing.assert_allclose(average_pool_3x3(jnp.asarray(x)), expected, rtol=1e-10, atol=1e-12)


def test_average_pooling_by_two_is_keras(float64: None, rng: np.random.Generator) -> None:
    x = rng.normal(size=(2, 7, 8, 3))
    expected = np.asarray(keras.layers.AveragePooling2D(2, strides=2)(x))
    np.testing.assert_allclose(average_pool_2x2(jnp.asarray(x)), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("train", [True, False])
def test_batch_norm_is_keras(float64: None, train: bool, rng: np.random.Generator) -> None:
    x = rng.normal(3, 2, (4, 5, 5, 6))
    reference = keras.layers.BatchNormalization()
    reference.build(x.shape)
    scale, bias, mean, var = (rng.uniform(0.5, 2, 6) for _ in range(4))
    reference.set_weights([scale, bias, mean, var])
    variables = {"params": {"scale": scale, "bias": bias}, "batch_stats": {"mean": mean, "var": var}}
    model: Any = BatchNorm(dtype=jnp.float64)
    y, updated = model.apply(variables, jnp.asarray(x), train=train, mutable=["batch_stats"])
    np.testing.assert_allclose(y, np.asarray(reference(x, training=train)), rtol=1e-10, atol=1e-12)
    stored = [updated["batch_stats"][name] for name in ("mean", "var")]
    for ours, theirs in zip(stored, reference.get_weights()[2:], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10)
    if train:
        np.testing.assert_allclose(stored[0], 0.99 * mean + 0.01 * x.mean((0, 1, 2)), rtol=1e-12)
        np.testing.assert_allclose(stored[1], 0.99 * var + 0.01 * x.var((0, 1, 2)), rtol=1e-10)


@pytest.mark.parametrize("train", [True, False])
def test_a_bias_before_normalization_may_be_left_to_it(float64: None, train: bool, rng: np.random.Generator) -> None:
    x, bias, towards = (jnp.asarray(rng.normal(size=size)) for size in ((6, 5, 4, 3), (3,), (6, 5, 4, 3)))
    layer: Any = BatchNorm(dtype=jnp.float64)
    variables = jax.tree.map(
        lambda zeros: jnp.asarray(rng.uniform(0.5, 2, zeros.shape)), layer.init(jax.random.key(0), x, train=False)
    )

    def run(bias: jax.Array, apart: bool) -> Any:
        given, rest = (x, bias) if apart else (x + bias, 0)
        y, updated = layer.apply(variables, given, train=train, bias_before=rest, mutable=["batch_stats"])
        return (y * towards).sum(), (y, updated)

    (_, found), gradient = jax.value_and_grad(run, has_aux=True)(bias, True)
    (_, expected), expected_gradient = jax.value_and_grad(run, has_aux=True)(bias, False)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-10), found, expected)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-10, atol=1e-12)


def test_per_device_statistics_are_those_of_each_part(float64: None, rng: np.random.Generator) -> None:
    x = jnp.asarray(rng.normal(3, 2, (8, 3, 3, 5)))
    grouped: Any = BatchNorm(groups=4, dtype=jnp.float64)
    alone: Any = BatchNorm(dtype=jnp.float64)
    variables = alone.init(jax.random.key(0), x, train=False)
    y, updated = grouped.apply(variables, x, train=True, mutable=["batch_stats"])
    parts = [alone.apply(variables, part, train=True, mutable=["batch_stats"]) for part in jnp.split(x, 4)]
    np.testing.assert_allclose(y, jnp.concatenate([part[0] for part in parts]), rtol=1e-10)
    for name in ("mean", "var"):
        average = np.mean([part[1]["batch_stats"][name] for part in parts], axis=0)
        np.testing.assert_allclose(updated["batch_stats"][name], average, rtol=1e-10)
