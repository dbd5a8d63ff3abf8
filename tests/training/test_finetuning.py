"""What is trained of a pretrained network, from which values, on which pixels."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
import optax
import pytest
from flax import traverse_util

import hamjax
from hamjax.config import Config
from hamjax.models.classifier import Classifier
from hamjax.models.freezing import trainable_mask
from hamjax.models.initialization import init_variables
from hamjax.models.preprocessing import scale_images
from hamjax.models.pretrained import save_weights
from hamjax.models.registry import MODEL_SPECS, ModelSpec
from hamjax.models.resnet import ResNet
from hamjax.runtime.errors import PreemptedError, UserError
from hamjax.training.losses import Loss
from hamjax.training.metrics import empty_metrics
from hamjax.training.optimizers import make_optimizer
from hamjax.training.setup.experiment import build_experiment
from hamjax.training.setup.network import count_trainable, require_fitting
from hamjax.training.setup.resolved import resolve
from hamjax.training.state import TrainState, create_train_state
from hamjax.training.step import StepSettings, make_train_step
from tests.helpers.started import sigterm_at

pytestmark = pytest.mark.usefixtures("quick_compiler")

Tiny = Callable[..., Config]
SMALL = functools.partial(Classifier, functools.partial(ResNet, ((4, 1),)), head="linear")


def _flat(tree: Any) -> dict[str, np.ndarray]:
    return {path: np.asarray(leaf) for path, leaf in traverse_util.flatten_dict(dict(tree), sep="/").items()}


def _changed(before: TrainState, after: TrainState) -> set[str]:
    """Paths of the leaves that are not what they were, bit for bit."""
    old, new = ({**_flat({"params": s.params}), **_flat({"batch_stats": s.batch_stats})} for s in (before, after))
    return {path for path in old if not np.array_equal(old[path], new[path])}


@pytest.mark.parametrize(("frozen", "optimizer"), [("none", "adam"), ("bn", "adamw"), ("backbone", "rmsprop")])
def test_what_is_frozen_stays_to_the_bit_and_the_rest_moves(frozen: str, optimizer: str) -> None:
    model, tx = SMALL(frozen=frozen), make_optimizer(optimizer, weight_decay=0.1)
    before = create_train_state(init_variables(model, image_size=32, seed=0), tx)
    step = make_train_step(
        model, tx, loss=Loss(), input_scale="unit",
        trainable=trainable_mask(before.params, frozen),
    )  # fmt: skip
    rng = np.random.default_rng(0)
    batch = {
        "image": jnp.asarray(rng.integers(0, 256, (8, 32, 32, 3), np.uint8)),
        "label": jnp.asarray(rng.integers(0, 7, 8)),
    }
    after, _ = jax.jit(step)(before, empty_metrics(), batch, StepSettings(jnp.float32(1e-2)))
    leaves = {*_flat({"params": before.params}), *_flat({"batch_stats": before.batch_stats})}
    still = {
        path for path in leaves
        if "/backbone/" in path and (frozen == "backbone" or (frozen == "bn" and "_bn/" in path))
    }  # fmt: skip
    # A bias before a BatchNorm that takes the batch's statistics has no effect, so its gradient is 0, and not noise.
    idle = {path for path in leaves if frozen == "none" and path.endswith("_conv/bias")}
    assert _changed(before, after) == leaves - still - idle
    assert before.params.keys() == after.params.keys()
    assert jax.tree.structure(before.batch_stats) == jax.tree.structure(after.batch_stats)


def test_a_frozen_backbone_trains_on_the_features_of_inference() -> None:
    frozen, free = SMALL(frozen="backbone"), SMALL()
    variables = init_variables(free, image_size=32, seed=0)
    x = jnp.asarray(np.random.default_rng(0).random((4, 32, 32, 3), np.float32))
    free_outputs: Any = free.apply(variables, x, train=False, stages=True)
    frozen_outputs: Any = frozen.apply(variables, x, train=True, stages=True, mutable=["batch_stats"])
    (_, stages), _ = frozen_outputs
    np.testing.assert_allclose(stages["pooled"], free_outputs[1]["pooled"], rtol=1e-6)


MODES = {"resnet50": keras.applications.resnet50, "inceptionv3": keras.applications.inception_v3,
         "densenet201": keras.applications.densenet}  # fmt: skip


@pytest.mark.parametrize("name", MODES)
def test_native_scale_is_keras_preprocessing(name: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 5, 5, 3), np.uint8)
    expected = MODES[name].preprocess_input(pixels.astype(np.float32))
    config = hamjax.make_config(model=name, strategy="s1", model__input_scale="native")
    ours = scale_images(jnp.asarray(pixels), resolve(config).input_scale, jnp.float32)
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)


def test_unit_scale_is_the_papers_default() -> None:
    pixels = jnp.arange(256, dtype=jnp.uint8)
    assert resolve(hamjax.make_config(model="resnet50", strategy="s1")).input_scale == "unit"
    np.testing.assert_allclose(scale_images(pixels, "unit", jnp.float32), np.arange(256) / 255, rtol=1e-6)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny: Tiny) -> Callable[..., Config]:
    """Make configs of a ResNet of one block that starts from a file of known weights."""
    monkeypatch.setitem(MODEL_SPECS, "resnet50", ModelSpec(SMALL, 16, "caffe"))
    save_weights(tmp_path / "start.npz", "resnet50", init_variables(SMALL(), image_size=16, seed=9), source="a test")

    def make(**changes: object) -> Config:
        config = tiny(model__weights=str(tmp_path / "start.npz"), model__head="linear", **changes)
        config.model.name = "resnet50"
        return config

    return make


def _start(tmp_path: Path) -> dict[str, np.ndarray]:
    with np.load(tmp_path / "start.npz") as file:
        return {path: file[path] for path in file.files if path.startswith("params/backbone")}


def _backbone(state: TrainState) -> dict[str, np.ndarray]:
    return _flat({"params": {"backbone": state.params["backbone"]}})


def test_head_only_training_keeps_the_weights_it_started_from(small: Tiny, tmp_path: Path) -> None:
    config = small(model__trainable="head", train__epochs=1)
    result = hamjax.train(config, tmp_path / "run")
    assert result is not None
    jax.tree.map(np.testing.assert_array_equal, _backbone(result.state), _start(tmp_path))
    head = result.state.params["head"]
    assert result.report.summary["params_trainable"] == sum(leaf.size for leaf in jax.tree.leaves(head))
    assert result.report.summary["params_total"] > result.report.summary["params_trainable"]


def test_the_backbone_joins_in_after_freeze_epochs_also_when_resumed(small: Tiny, tmp_path: Path) -> None:
    two = hamjax.train(small(model__freeze_epochs=1), tmp_path / "two")
    assert two is not None
    kernels = {path: value for path, value in _backbone(two.state).items() if path.endswith("kernel")}
    assert all(not np.array_equal(value, _start(tmp_path)[path]) for path, value in kernels.items())
    assert two.report.summary["params_trainable"] == sum(leaf.size for leaf in jax.tree.leaves(two.state.params))

    # Stopped within the first epoch; the weights file is gone when it goes on.
    with pytest.raises(PreemptedError):
        hamjax.train(small(model__freeze_epochs=1), tmp_path / "stopped", on_dispatch=sigterm_at(1))
    config = small(model__freeze_epochs=1)
    (tmp_path / "start.npz").unlink()
    again = hamjax.train(config, tmp_path / "stopped")
    assert again is not None
    jax.tree.map(np.testing.assert_array_equal, again.state.params, two.state.params)
    # Nor does judging a checkpoint need it.
    assert hamjax.evaluate(tmp_path / "stopped").summary["accuracy"] == again.report.summary["accuracy"]


def test_a_run_that_ends_before_its_backbone_is_trained_is_refused(small: Tiny, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"max_steps=1: expected more than the \d+ steps of model.freeze_epochs=1"):
        hamjax.train(small(model__freeze_epochs=1, train__max_steps=1), tmp_path / "run")
    assert not (tmp_path / "run" / "config.json").exists()


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_an_unfrozen_backbone_has_a_fresh_adam(small: Tiny, optimizer: str) -> None:
    experiment = build_experiment(small(model__freeze_epochs=1, optimizer__name=optimizer, optimizer__weight_decay=0.0))
    frozen, params = experiment.plan.steps_per_epoch, jax.device_get(experiment.initial_state().params)
    rng = np.random.default_rng(0)

    def drawn(path: Any, leaf: np.ndarray) -> np.ndarray:
        values = rng.choice(np.array([-2, -1, 1, 2], np.float32), (frozen + 5, *leaf.shape))
        values[: frozen * (path[0].key == "backbone")] = 0
        return values

    def updates(tx: optax.GradientTransformation, gradients: Any) -> Any:
        def step(state: Any, gradient: Any) -> Any:
            update, state = tx.update(gradient, state, params)
            return state, update

        return jax.jit(lambda: jax.lax.scan(step, tx.init(params), gradients)[1])()

    gradients = jax.tree.map_with_path(drawn, params)
    ours, whole = updates(experiment.tx, gradients), updates(optax.scale_by_adam(), gradients)
    fresh = updates(optax.scale_by_adam(), jax.tree.map(lambda g: g[frozen:], gradients))
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4)
    jax.tree.map(close, ours["head"], whole["head"])
    jax.tree.map(lambda u, f: close(u[frozen:], f), ours["backbone"], fresh["backbone"])
    assert not any(update[:frozen].any() for update in jax.tree.leaves(ours["backbone"]))


def test_another_networks_weights_leave_no_run_behind(small: Tiny, tmp_path: Path) -> None:
    config = small(train__epochs=1)
    save_weights(tmp_path / "start.npz", "densenet201", init_variables(SMALL(), image_size=16, seed=9), source="a test")
    with pytest.raises(UserError, match="of resnet50, got 'hamjax weights 1' of densenet201"):
        hamjax.train(config, tmp_path / "run")
    assert not (tmp_path / "run" / "config.json").exists()


def test_trainable_counts() -> None:
    config = hamjax.make_config(model="resnet50", strategy="s1", model__freeze_bn=True)
    params = init_variables(hamjax.create_model("resnet50"), image_size=96, seed=0)["params"]
    bn = 2 * 26_560  # gamma and beta of Keras's 53 layers: half of its 106,240 BatchNorm numbers
    assert count_trainable(config, params) == 25_641_991 - bn


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model__weights": "imagenet"}, "model.weights=imagenet"),
        ({"model__input_scale": "native"}, "model.input_scale=native"),
        ({"model__freeze_epochs": 1, "model__freeze_bn": True}, "model.freeze_epochs=1, model.freeze_bn=True"),
    ],
)
def test_the_cnn_has_nothing_to_start_from_or_freeze(changes: dict[str, Any], message: str) -> None:
    config = hamjax.make_config(model="cnn", strategy="s1", **changes)
    with pytest.raises(UserError, match=f"{message}: expected a network with ImageNet weights"):
        require_fitting(config)


@pytest.mark.parametrize(("name", "size"), [("inceptionv3", 74), ("resnet50", 31), ("densenet201", 31)])
def test_images_too_small_for_a_network_are_refused(tmp_path: Path, name: str, size: int) -> None:
    config = hamjax.make_config(model=name, strategy="s4", data__image_size=size, model__weights="random")
    with pytest.raises(UserError, match=f"data.image_size={size}: expected at least {size + 1} for {name}"):
        hamjax.train(config, tmp_path / "run")


def test_a_weights_file_that_is_not_there_is_said_before_anything_else(tmp_path: Path) -> None:
    config = hamjax.make_config(model="resnet50", strategy="s1", model__weights=str(tmp_path / "none.h5"))
    with pytest.raises(UserError, match="expected auto, imagenet, random or a file"):
        hamjax.train(config, tmp_path / "run")
    assert not (tmp_path / "data").exists()
