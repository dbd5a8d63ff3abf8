"""One training step of each published network is Keras's, number by number."""

import functools
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
from flax import traverse_util
from keras.src.backend.jax import trainer

from hamjax.models.initialization import init_variables
from hamjax.models.layers import normalization
from hamjax.models.pretrained import load_pretrained, read_tensors
from hamjax.models.registry import create_model
from hamjax.training.losses import Loss
from hamjax.training.metrics import empty_metrics
from hamjax.training.optimizers import make_optimizer
from hamjax.training.state import TrainState, create_train_state
from hamjax.training.step import StepSettings, make_train_step
from tests.helpers.keras_networks import make_network
from tests.helpers.short_networks import shorten

WEIGHTS = np.array([1.55, 1.6, 1.68, 1.5, 1.52, 0.31, 1.4])  # like those of S5
RATE, SIZE = 1e-4, 96
QUICK = {"xla_backend_optimization_level": 1}  # at 0 float64 convolutions take longer than is saved in compiling
Flat = dict[str, np.ndarray]


def _flat(tree: Any) -> Flat:
    return {path: np.asarray(value) for path, value in traverse_util.flatten_dict(dict(tree), sep="/").items()}


def _paper_network(name: str) -> tuple[Any, Any]:
    """Return Keras's network under the paper's head, without dropout, and the part below the head."""
    network = make_network(name)
    x = keras.layers.Dense(1024, activation="relu", name="dense")(network.output)
    x = keras.layers.BatchNormalization(name="head_bn")(x)
    return keras.Model(network.inputs, keras.layers.Dense(7, activation="softmax", name="predictions")(x)), network


def _weights(complete: Any, backbone: Any, name: str, folder: Path) -> Flat:
    """Return Keras's variables under our names."""
    path = folder / "now.weights.h5"
    backbone.save_weights(path)
    values = {tensor.path: tensor.value for tensor in read_tensors(name, path).tensors}
    for layer, leaves in (("dense", ("kernel", "bias")), ("bn", ("scale", "bias", "mean", "var")),
                          ("predictions", ("kernel", "bias"))):  # fmt: skip
        for leaf, value in zip(
            leaves, complete.get_layer("head_bn" if layer == "bn" else layer).get_weights(), strict=True
        ):
            values[f"{'batch_stats' if leaf in ('mean', 'var') else 'params'}/head/{layer}/{leaf}"] = value
    return values


def _step(name: str, start: Flat, images: np.ndarray, labels: np.ndarray) -> TrainState:
    """Take one step of ours from Keras's values."""
    model = create_model(name, compute_dtype="float64", dropout=False)
    tx = make_optimizer("rmsprop")
    step = make_train_step(model, tx, loss=Loss(), input_scale="unit")
    state = create_train_state(traverse_util.unflatten_dict(start, sep="/"), tx)
    batch = {"image": jnp.asarray(images), "label": jnp.asarray(labels)}
    compiled = jax.jit(step, compiler_options=QUICK)
    return compiled(state, empty_metrics(), batch, StepSettings(jnp.asarray(RATE), class_weights=WEIGHTS))[0]


def _assert_close(ours: Flat, theirs: Flat, what: str) -> None:
    assert ours.keys() == theirs.keys()
    for path, expected in theirs.items():
        error = np.abs(ours[path] - expected).max()
        assert error <= 1e-6 * np.abs(expected).max() + 1e-9, f"{what} of {path}: {error}"


# InceptionV3 has no short form in Keras. Its layers are those of the other two; the outputs of its stages are compared
# in tests that are run more often.
@pytest.mark.parametrize(
    ("name", "short"),
    [
        *(pytest.param(name, True, marks=pytest.mark.slow) for name in ("resnet50", "densenet201")),
        *(pytest.param(name, False, marks=pytest.mark.long) for name in ("resnet50", "inceptionv3", "densenet201")),
    ],
)
def test_a_training_step_is_keras(
    float64: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, short: bool
) -> None:
    if short:
        shorten(monkeypatch, name)
    rng = np.random.default_rng(3)
    images, labels = rng.integers(0, 256, (4, SIZE, SIZE, 3), dtype=np.uint8), np.array([0, 5, 6, 5], np.int32)
    complete, backbone = _paper_network(name)
    start = _weights(complete, backbone, name, tmp_path)
    complete.compile(optimizer=keras.optimizers.RMSprop(RATE), loss="sparse_categorical_crossentropy")
    with mock.patch.object(trainer, "jit", functools.partial(jax.jit, compiler_options=QUICK)):
        complete.train_on_batch(images / 255, labels, class_weight=dict(enumerate(WEIGHTS.tolist())))
    after = _weights(complete, backbone, name, tmp_path)
    optimizer: Any = complete.optimizer
    for variable, velocity in zip(complete.trainable_variables, optimizer._velocities, strict=True):
        variable.assign(velocity)
    squares = _weights(complete, backbone, name, tmp_path)
    assert {value.dtype for value in start.values()} == {np.dtype("float64")}
    state = _step(name, start, images, labels)
    ours = _flat({"params": state.params, "batch_stats": state.batch_stats})
    _assert_close(ours, after, "value")
    _assert_close({k: v - start[k] for k, v in ours.items()}, {k: v - start[k] for k, v in after.items()}, "change")
    # RMSprop's first average of squares is a tenth of the squared gradient.
    gradients = {k: np.sqrt(v * 10) for k, v in squares.items() if k.startswith("params/")}
    moments = [s.nu for s in jax.tree.leaves(state.opt_state, is_leaf=lambda s: hasattr(s, "nu")) if hasattr(s, "nu")]
    assert len(moments) == 1
    _assert_close({k: np.sqrt(v * 10) for k, v in _flat({"params": moments[0]}).items()}, gradients, "gradient")
    assert max(v.max() for v in gradients.values()) > 1e-3


@pytest.mark.parametrize("momentum", [0.99, 0.9])
def test_running_statistics_move_by_keras_momentum(monkeypatch: pytest.MonkeyPatch, momentum: float) -> None:
    monkeypatch.setattr(normalization, "BN_MOMENTUM", momentum)
    x = np.random.default_rng(0).normal(3, 2, (4, 5, 5, 6)).astype(np.float32)
    reference = keras.layers.BatchNormalization()
    reference(x, training=True)
    layer: Any = normalization.BatchNorm()
    variables = layer.init(jax.random.key(0), jnp.asarray(x), train=False)
    _, updated = layer.apply(variables, jnp.asarray(x), train=True, mutable=["batch_stats"])
    same = [
        np.allclose(updated["batch_stats"][name], expected, rtol=1e-5)
        for name, expected in zip(("mean", "var"), reference.get_weights()[2:], strict=True)
    ]
    assert same == [momentum == 0.99] * 2


def test_pretrained_variables_keep_their_types(float64: None, keras_files: Any) -> None:
    model = create_model("resnet50", compute_dtype="float64")
    variables = load_pretrained(
        "resnet50", init_variables(model, image_size=96, seed=0), keras_files("resnet50") / "notop.h5"
    )
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float64")}
