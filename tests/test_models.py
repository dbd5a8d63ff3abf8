"""The networks count, compute and learn as their originals do."""

import functools
import time
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
from flax import linen as nn
from flax import traverse_util

from hamjax.errors import UserError
from hamjax.models import count_parameters, create_model, init_variables
from hamjax.models.densenet import BN_EPSILON, DenseNet
from hamjax.models.layers import (
    BatchNorm,
    PointwiseConv,
    _kernel_gradient,
    _kernel_gradient_by_rows,
    conv3x3,
    max_pool_2x2,
)

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("name", "total", "trainable"),
    [("cnn", 25_756_711, 25_756_711), ("densenet201", 20_300_359, 20_069_255)],
)
def test_parameter_counts_are_the_papers(name: str, total: int, trainable: int) -> None:
    variables = init_variables(create_model(name), image_size=224, seed=0)
    assert count_parameters(variables) == total
    assert count_parameters(variables["params"]) == trainable


def test_densenet_backbone_counts_as_keras_without_top() -> None:
    variables = init_variables(create_model("densenet201"), image_size=224, seed=0)
    backbone = [variables[kind]["backbone"] for kind in ("params", "batch_stats")]
    assert sum(map(count_parameters, backbone)) == 18_321_984


def test_densenet_layers_carry_keras_names() -> None:
    no_weights: Any = None
    network = keras.applications.DenseNet201(include_top=False, weights=no_weights, input_shape=(32, 32, 3))
    expected = {layer.name: [w.shape for w in layer.weights] for layer in network.layers if layer.weights}
    variables: Any = init_variables(create_model("densenet201"), image_size=32, seed=0)
    order = ("kernel", "scale", "bias", "mean", "var")
    flatten: Any = traverse_util.flatten_dict
    ours: dict[str, dict[str, tuple[int, ...]]] = {}
    for kind in ("params", "batch_stats"):
        for (layer, leaf), value in flatten(variables[kind]["backbone"]).items():
            ours.setdefault(layer, {})[leaf] = value.shape
    assert {name: [leaves[k] for k in order if k in leaves] for name, leaves in ours.items()} == expected


def test_initialisation_is_keras_and_compiles_nothing() -> None:
    model = create_model("cnn")
    start = time.perf_counter()
    params = init_variables(model, image_size=32, seed=3)["params"]
    assert time.perf_counter() - start < 5
    for name, shape in (("conv2", (3, 3, 32, 32)), ("dense", (8 * 8 * 64, 128))):
        initial = keras.initializers.GlorotUniform(seed=0)(shape)
        limit = float(jnp.abs(initial).max())  # pyright: ignore[reportArgumentType]
        kernel = params[name]["kernel"]
        assert kernel.shape == shape
        assert np.abs(kernel).max() == pytest.approx(limit, rel=0.01)
        assert kernel.std() == pytest.approx(limit / np.sqrt(3), rel=0.03)
        assert not params[name]["bias"].any()
    traced = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))["params"]
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, traced)
    again = init_variables(model, image_size=32, seed=3)["params"]
    jax.tree.map(np.testing.assert_array_equal, params, again)
    other = init_variables(model, image_size=32, seed=4)["params"]
    assert (other["conv1"]["kernel"] != params["conv1"]["kernel"]).any()


def test_cnn_is_keras_cnn(float64: None) -> None:
    layers = keras.layers
    conv = functools.partial(layers.Conv2D, kernel_size=3, padding="same", activation="relu")
    reference = keras.Sequential(
        [layers.Input((16, 16, 3)), conv(32), conv(32), layers.MaxPooling2D(), conv(64), conv(64),
         layers.MaxPooling2D(), layers.Flatten(), layers.Dense(128, activation="relu"), layers.Dense(7)]
    )  # fmt: skip
    model = create_model("cnn", compute_dtype="float64")
    params = init_variables(model, image_size=16, seed=0)["params"]
    weights = [params[name][leaf] for name in ("conv1", "conv2", "conv3", "conv4", "dense", "predictions")
               for leaf in ("kernel", "bias")]  # fmt: skip
    reference.set_weights(weights)
    images = RNG.random((3, 16, 16, 3))
    np.testing.assert_allclose(
        model.apply({"params": params}, images), np.asarray(reference(images)), rtol=1e-10, atol=1e-12
    )


def _plain_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


@pytest.mark.parametrize("height", [7, 8])
def test_convolution_and_its_gradients_are_laxs(float64: None, height: int) -> None:
    x, kernel = RNG.normal(size=(3, height, 9, 5)), RNG.normal(size=(3, 3, 5, 4))
    y, pullback = jax.vjp(_plain_conv, x, kernel)
    ours, our_pullback = jax.vjp(conv3x3, x, kernel)
    np.testing.assert_allclose(ours, y, rtol=1e-12)
    dy = RNG.normal(size=y.shape)
    for a, b in zip(our_pullback(dy), pullback(dy), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11)
    for gradient in (_kernel_gradient, _kernel_gradient_by_rows):
        np.testing.assert_allclose(gradient(jnp.asarray(x), jnp.asarray(dy)), pullback(dy)[1], rtol=1e-11, atol=1e-11)


def test_pooling_and_its_gradient_are_laxs_also_for_ties(float64: None) -> None:
    x = jnp.asarray(RNG.integers(0, 3, (2, 7, 8, 3)).astype(float))  # many equal neighbours
    plain = functools.partial(nn.max_pool, window_shape=(2, 2), strides=(2, 2))
    y, pullback = jax.vjp(plain, x)
    ours, our_pullback = jax.vjp(max_pool_2x2, x)
    np.testing.assert_array_equal(ours, y)
    dy = RNG.normal(size=y.shape)
    np.testing.assert_array_equal(our_pullback(dy)[0], pullback(dy)[0])


@pytest.mark.parametrize("train", [True, False])
def test_batch_norm_is_keras(float64: None, train: bool) -> None:
    x = RNG.normal(3, 2, (4, 5, 5, 6))
    reference = keras.layers.BatchNormalization()
    reference.build(x.shape)
    scale, bias, mean, var = (RNG.uniform(0.5, 2, 6) for _ in range(4))
    reference.set_weights([scale, bias, mean, var])
    variables = {"params": {"scale": scale, "bias": bias}, "batch_stats": {"mean": mean, "var": var}}
    model: Any = BatchNorm(dtype=jnp.float64)
    y, updated = model.apply(variables, jnp.asarray(x), train=train, mutable=["batch_stats"])
    # Keras's layer computes in float32 whatever its policy says.
    np.testing.assert_allclose(y, np.asarray(reference(x, training=train)), rtol=1e-5, atol=5e-6)
    stored = [updated["batch_stats"][name] for name in ("mean", "var")]
    for ours, theirs in zip(stored, reference.get_weights()[2:], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    if train:
        np.testing.assert_allclose(stored[0], 0.99 * mean + 0.01 * x.mean((0, 1, 2)), rtol=1e-12)
        np.testing.assert_allclose(stored[1], 0.99 * var + 0.01 * x.var((0, 1, 2)), rtol=1e-10)


def test_per_device_statistics_are_those_of_each_part(float64: None) -> None:
    x = jnp.asarray(RNG.normal(3, 2, (8, 3, 3, 5)))
    grouped: Any = BatchNorm(groups=4, dtype=jnp.float64)
    alone: Any = BatchNorm(dtype=jnp.float64)
    variables = alone.init(jax.random.key(0), x, train=False)
    y, updated = grouped.apply(variables, x, train=True, mutable=["batch_stats"])
    parts = [alone.apply(variables, part, train=True, mutable=["batch_stats"]) for part in jnp.split(x, 4)]
    np.testing.assert_allclose(y, jnp.concatenate([part[0] for part in parts]), rtol=1e-10)
    for name in ("mean", "var"):
        average = np.mean([part[1]["batch_stats"][name] for part in parts], axis=0)
        np.testing.assert_allclose(updated["batch_stats"][name], average, rtol=1e-10)


class _TextbookDenseNet(nn.Module):
    """The usual form: every layer takes the statistics of all it sees, 1x1 as convolutions."""

    blocks: tuple[int, ...]

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        norm = functools.partial(
            nn.BatchNorm, use_running_average=not train, momentum=0.99, epsilon=BN_EPSILON,
            dtype=jnp.float64, param_dtype=jnp.float64, use_fast_variance=False,
        )  # fmt: skip
        conv = functools.partial(nn.Conv, use_bias=False, dtype=jnp.float64, param_dtype=jnp.float64)
        x = nn.relu(norm(name="conv1_bn")(conv(64, (7, 7), 2, padding=3, name="conv1_conv")(x)))
        x = nn.max_pool(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), (3, 3), strides=(2, 2))
        for i, layers in enumerate(self.blocks):
            for j in range(layers):
                name = f"conv{i + 2}_block{j + 1}"
                y = conv(128, (1, 1), name=f"{name}_1_conv")(nn.relu(norm(name=f"{name}_0_bn")(x)))
                y = conv(32, (3, 3), name=f"{name}_2_conv")(nn.relu(norm(name=f"{name}_1_bn")(y)))
                x = jnp.concatenate([x, y], -1)
            last = i == len(self.blocks) - 1
            x = nn.relu(norm(name="bn" if last else f"pool{i + 2}_bn")(x))
            if not last:
                x = conv(x.shape[-1] // 2, (1, 1), name=f"pool{i + 2}_conv")(x)
                x = nn.avg_pool(x, (2, 2), strides=(2, 2))
        return x.mean((1, 2))


@pytest.mark.parametrize("train", [True, False])
def test_densenet_with_shared_statistics_is_the_textbook_densenet(float64: None, train: bool) -> None:
    blocks = (2, 3, 2)
    ours = DenseNet(blocks=blocks, head="linear", dtype=jnp.float64)
    variables = init_variables(ours, image_size=32, seed=1)
    textbook = _TextbookDenseNet(blocks)
    x = jnp.asarray(RNG.random((4, 32, 32, 3)))

    def run_ours(params: Any) -> Any:
        (_, stages), updated = ours.apply(
            {"params": params, "batch_stats": variables["batch_stats"]},
            x, train=train, stages=True, mutable=["batch_stats"],
        )  # fmt: skip
        return (stages["pooled"] ** 2).sum(), (stages["pooled"], updated["batch_stats"]["backbone"])

    def run_textbook(params: Any) -> Any:
        pooled, updated = textbook.apply(
            {"params": params["backbone"], "batch_stats": variables["batch_stats"]["backbone"]},
            x, train, mutable=["batch_stats"],
        )  # fmt: skip
        return (pooled**2).sum(), (pooled, updated["batch_stats"])

    gradients = []
    results = []
    for run in (run_ours, run_textbook):
        (_, result), gradient = jax.jit(jax.value_and_grad(run, has_aux=True))(variables["params"])
        results.append(result)
        gradients.append(gradient["backbone"])
    close = functools.partial(np.testing.assert_allclose, rtol=1e-8, atol=1e-10)
    jax.tree.map(close, *results)
    jax.tree.map(close, *gradients)


def test_pointwise_convolution_is_a_convolution(float64: None) -> None:
    x = jnp.asarray(RNG.normal(size=(2, 4, 5, 6)))
    layer: Any = PointwiseConv(3, jnp.float64)
    variables = layer.init(jax.random.key(0), x)
    np.testing.assert_allclose(layer.apply(variables, x), _plain_conv(x, variables["params"]["kernel"]), rtol=1e-12)


def test_stages_are_named_in_order() -> None:
    model = create_model("densenet201")
    variables = jax.eval_shape(lambda: init_variables(model, image_size=64, seed=0))
    image = jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.float32)
    logits, stages = jax.eval_shape(lambda v, x: model.apply(v, x, train=False, stages=True), variables, image)
    assert logits.shape == (2, 7)
    assert set(stages) == {"stem", "conv2", "pool2", "conv3", "pool3", "conv4", "pool4", "conv5", "pooled"}
    assert stages["conv4"].shape == (2, 4, 4, 1792)
    assert stages["pooled"].shape == (2, 1920)


@pytest.mark.parametrize("name", ["cnn", "densenet201"])
def test_bfloat16_keeps_parameters_and_logits_in_float32(name: str) -> None:
    model = create_model(name, compute_dtype="bfloat16")
    variables = jax.eval_shape(lambda: init_variables(model, image_size=32, seed=0))
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    image = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.bfloat16)
    logits, stages = jax.eval_shape(lambda v, x: model.apply(v, x, stages=True), variables, image)
    assert logits.dtype == jnp.float32
    assert next(iter(stages.values())).dtype == jnp.bfloat16


@pytest.mark.parametrize("arguments", [{"name": "vgg"}, {"name": "cnn", "head": "big"}])
def test_an_unknown_network_or_head_is_refused(arguments: dict[str, str]) -> None:
    with pytest.raises(UserError, match="expected one of"):
        create_model(**arguments)  # pyright: ignore[reportArgumentType]
