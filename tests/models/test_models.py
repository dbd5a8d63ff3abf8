"""The networks count, compute and learn as their originals do."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
from flax import linen as nn

from hamjax.models.classifier import Classifier
from hamjax.models.densenet import BN_EPSILON, DenseNet
from hamjax.models.initialization import count_parameters, init_variables
from hamjax.models.registry import create_model
from hamjax.runtime.errors import UserError
from hamjax.training.losses import Loss
from hamjax.training.metrics import empty_metrics
from hamjax.training.optimizers import make_optimizer
from hamjax.training.state import create_train_state
from hamjax.training.step import StepSettings, make_train_step
from tests.helpers.blank import blank
from tests.helpers.short_networks import shorten

pytestmark = pytest.mark.usefixtures("quick_compiler")


@pytest.mark.parametrize(
    ("name", "total", "trainable"),
    [("cnn", 25_756_711, 25_756_711), ("resnet50", 25_697_159, 25_641_991),
     ("inceptionv3", 23_912_231, 23_875_751), ("densenet201", 20_300_359, 20_069_255)],
)  # fmt: skip
def test_parameter_counts_are_the_papers(name: str, total: int, trainable: int) -> None:
    variables = blank(name, image_size=224)
    assert count_parameters(variables) == total
    assert count_parameters(variables["params"]) == trainable


@pytest.mark.parametrize(
    ("name", "total"), [("resnet50", 23_587_712), ("inceptionv3", 21_802_784), ("densenet201", 18_321_984)]
)
def test_backbones_count_as_keras_without_top(name: str, total: int) -> None:
    variables = blank(name, image_size=224)
    backbone = [variables[kind]["backbone"] for kind in ("params", "batch_stats")]
    assert sum(map(count_parameters, backbone)) == total


def test_initialisation_compiles_nothing(compiled: Callable[[], list[str]]) -> None:
    init_variables(create_model("cnn"), image_size=32, seed=3)
    assert compiled() == []
    jax.jit(lambda x: x + 1)(0)
    assert len(compiled()) == 1, "a compilation would have been seen"


def test_initialisation_is_keras() -> None:
    model = create_model("cnn")
    params = init_variables(model, image_size=32, seed=3)["params"]
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


def test_cnn_is_keras_cnn(float64: None, rng: np.random.Generator) -> None:
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
    images = rng.random((3, 16, 16, 3))
    np.testing.assert_allclose(
        model.apply({"params": params}, images), np.asarray(reference(images)), rtol=1e-10, atol=1e-12
    )


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
def test_densenet_with_shared_statistics_is_the_textbook_densenet(
    float64: None, train: bool, rng: np.random.Generator
) -> None:
    blocks = (2, 3, 2)
    ours = Classifier(functools.partial(DenseNet, blocks), head="linear", dtype=jnp.float64)
    variables = init_variables(ours, image_size=32, seed=1)
    textbook = _TextbookDenseNet(blocks)
    x = jnp.asarray(rng.random((4, 32, 32, 3)))

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


STAGES = {
    "resnet50": ["stem", "conv2", "conv3", "conv4", "conv5", "features", "pooled"],
    "inceptionv3": ["stem", *(f"mixed{i}" for i in range(11)), "features", "pooled"],
    "densenet201": ["stem", "conv2", "pool2", "conv3", "pool3", "conv4", "pool4", "conv5", "features", "pooled"],
}
LAST_MAPS = {"resnet50": (7, 2048), "inceptionv3": (5, 2048), "densenet201": (7, 1920)}


@pytest.mark.parametrize("name", STAGES)
def test_stages_are_named_in_order(name: str) -> None:
    model = create_model(name)
    variables = blank(name, image_size=224)
    image = jax.ShapeDtypeStruct((2, 224, 224, 3), jnp.float32)
    order: list[str] = []

    def run(v: Any, x: Any) -> Any:
        logits, stages = model.apply(v, x, train=False, stages=True)
        order.extend(stages)
        return logits, stages

    logits, stages = jax.eval_shape(run, variables, image)
    assert logits.shape == (2, 7)
    assert order == STAGES[name]
    side, channels = LAST_MAPS[name]
    assert stages["features"].shape == (2, side, side, channels)
    assert stages["pooled"].shape == (2, channels)


@pytest.mark.parametrize("model", [create_model("cnn"), Classifier(functools.partial(DenseNet, (1, 1)))])
def test_a_network_goes_on_from_a_given_stage(model: Any, rng: np.random.Generator) -> None:
    variables = init_variables(model, image_size=32, seed=0)
    image, other = rng.random((2, 1, 32, 32, 3), np.float32)
    logits, stages = model.apply(variables, image, stages=True)
    given = {model.LAST_MAP: stages[model.LAST_MAP]}
    np.testing.assert_array_equal(model.apply(variables, other, given=given), logits)
    assert (model.apply(variables, other) != logits).all()


@pytest.mark.parametrize(
    "name", ["cnn", "resnet50", "inceptionv3", pytest.param("densenet201", marks=pytest.mark.long)]
)
def test_bfloat16_keeps_parameters_and_logits_in_float32(name: str) -> None:
    model = create_model(name, compute_dtype="bfloat16")
    variables = jax.eval_shape(lambda: init_variables(model, image_size=96, seed=0))
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    image = jax.ShapeDtypeStruct((2, 96, 96, 3), jnp.bfloat16)
    logits, stages = jax.eval_shape(lambda v, x: model.apply(v, x, stages=True), variables, image)
    assert logits.dtype == jnp.float32
    assert next(iter(stages.values())).dtype == jnp.bfloat16


@pytest.mark.parametrize(
    "arguments", [{"name": "vgg"}, {"name": "cnn", "head": "big"}, {"name": "resnet50", "frozen": "all"}]
)
def test_an_unknown_network_or_head_is_refused(arguments: dict[str, str]) -> None:
    with pytest.raises(UserError, match="expected one of"):
        create_model(**arguments)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    "name", ["cnn", "resnet50", pytest.param("inceptionv3", marks=pytest.mark.slow), "densenet201"]
)
def test_a_bfloat16_step_keeps_shapes_and_types(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    if name == "densenet201":
        shorten(monkeypatch, name)
    model, tx = create_model(name, compute_dtype="bfloat16"), make_optimizer("rmsprop")
    variables = init_variables(model, image_size=96, seed=0)
    state = jax.eval_shape(lambda start: create_train_state(start, tx), variables)
    step = make_train_step(model, tx, loss=Loss(), input_scale="unit")
    batch = {"image": jnp.zeros((16, 96, 96, 3), jnp.uint8), "label": jnp.zeros(16, jnp.int32)}
    after, _ = jax.eval_shape(step, state, empty_metrics(), batch, StepSettings(jnp.float32(1e-4)))
    kinds = [jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree) for tree in (state, after)]
    assert kinds[0] == kinds[1]
