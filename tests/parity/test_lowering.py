"""What an accelerator would be given, seen on a CPU: every network's steps, lowered for TPU and for CUDA."""

import functools
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hamjax
from hamjax.data.dataset import Dataset
from hamjax.data.sources.synthetic import SyntheticSource
from hamjax.evaluation.eval_step import make_eval_step
from hamjax.runtime.devices import replicated, split_batch
from hamjax.training.compiled_steps import Dispatcher
from hamjax.training.metrics import empty_metrics
from hamjax.training.setup import experiment as experiment_room
from hamjax.training.setup.experiment import Experiment, build_experiment
from hamjax.training.state import TrainState, create_train_state
from tests.helpers.short_networks import shorten

PLATFORMS = ("tpu", "cuda")
# Name, and whether a short form of it will do.
NETWORKS = [("cnn", False), ("resnet50", False), ("densenet201", True),
            pytest.param(("inceptionv3", False), marks=pytest.mark.slow),
            pytest.param(("densenet201", False), marks=pytest.mark.long)]  # fmt: skip
BATCH = 64
Build = Callable[..., Experiment]


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> Build:
    """Set up a run on blank images."""
    source = SyntheticSource(300)

    def blank(config: hamjax.Config, say: object) -> Dataset:
        size = config.data.image_size
        return Dataset(np.zeros((len(source.metadata), size, size, 3), np.uint8), source.metadata, "", (), "")

    def build(model: str, **changes: Any) -> Experiment:
        return build_experiment(
            hamjax.make_config(model=model, strategy="s4", train__global_batch_size=BATCH, **changes)
        )

    monkeypatch.setattr(experiment_room, "prepare_data", blank)
    return build


@pytest.fixture
def on_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks which backend a run is for is told: no CPU."""
    monkeypatch.setattr(jax, "default_backend", lambda: PLATFORMS[0])


@pytest.fixture(params=NETWORKS, ids=lambda each: f"{each[0]}-{'short' if each[1] else 'whole'}")
def experiment(
    request: pytest.FixtureRequest, build: Build, on_accelerator: None, monkeypatch: pytest.MonkeyPatch
) -> Experiment:
    """Set up every network, for an accelerator."""
    name, short = request.param
    if short:
        shorten(monkeypatch, name)
    return build(name)


def _placed(tree: Any, sharding: jax.sharding.Sharding) -> Any:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree)


def _state(experiment: Experiment) -> TrainState:
    """Shapes alone: no weight is drawn."""
    size, model = experiment.config.data.image_size, experiment.model

    def start() -> TrainState:
        variables = model.init(jax.random.key(0), jnp.zeros((1, size, size, 3), model.dtype))
        return create_train_state({"batch_stats": {}, **variables}, experiment.tx)

    return _placed(jax.eval_shape(start), replicated(experiment.mesh))


def _lower_train_step(experiment: Experiment, platforms: tuple[str, ...]) -> jax.export.Exported:
    """Lower what the loop would dispatch."""
    mesh, count = experiment.mesh, experiment.resolved.steps_per_dispatch
    batch = {name: value for name, value in experiment.train_source()[0].items() if name != "mask"}
    batches = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((count, *leaf.shape), leaf.dtype), batch)
    dispatch = functools.partial(Dispatcher(experiment), 0)
    return jax.export.export(jax.jit(dispatch), platforms=platforms)(
        _state(experiment),
        _placed(jax.eval_shape(empty_metrics), replicated(mesh)),
        _placed(batches, split_batch(mesh, axis=1)),
        _placed(experiment.step_settings(1e-3), replicated(mesh)),
    )


def _results(module: str, operation: str) -> list[str]:
    """Return the number types that an operation's results have, each time it is done."""
    return re.findall(rf"stablehlo\.{operation}\b.*-> tensor<[x\d]*x(\w+)>", module)


def _kernels(experiment: Experiment) -> int:
    """Count the convolutions; those of 1x1 are matrix products."""
    shapes = [leaf.shape for leaf in jax.tree.leaves(_state(experiment).params)]
    return sum(len(shape) == 4 and shape[:2] != (1, 1) for shape in shapes)


def test_the_train_step_lowers_as_an_accelerator_takes_it(experiment: Experiment) -> None:
    exported = _lower_train_step(experiment, PLATFORMS)
    assert exported.nr_devices == jax.device_count() == 4
    (_, _, batches, _), _ = jax.tree.unflatten(exported.in_tree, exported.in_shardings_jax(experiment.mesh))
    assert batches["image"].is_equivalent_to(split_batch(experiment.mesh, axis=1), 5)
    (_, _, batches, _), _ = jax.tree.unflatten(exported.in_tree, exported.in_avals)
    assert batches["image"].shape[:2] == (8, BATCH)
    module = exported.mlir_module()
    assert module.count("stablehlo.while") == 1  # eight steps are a loop, not laid out
    # Each convolution forwards, for its kernel's gradient, and, but for the first, for its input's.
    assert _results(module, "convolution") == ["bf16"] * len(PLATFORMS) * (3 * _kernels(experiment) - 1)
    products = _results(module, "dot_general")
    assert products.count("f32") <= len(PLATFORMS) * 3 * 2  # the head's two layers
    assert {*products} <= {"bf16", "f32"}


def test_only_a_cpu_takes_convolutions_in_other_forms(build: Build, on_accelerator: None) -> None:
    experiment = build("cnn", data__image_size=4)
    module = _lower_train_step(experiment, ("cpu",)).mlir_module()
    # Two of the four work on maps of 2x2, with kernels of 3x3: products. The first, of three channels, is written out
    # and needs no gradient in its input.
    assert len(_results(module, "convolution")) == 3 + 1


def test_the_evaluation_lowers(experiment: Experiment) -> None:
    size, state = experiment.config.data.image_size, _state(experiment)
    image = jax.ShapeDtypeStruct((BATCH, size, size, 3), jnp.uint8, sharding=split_batch(experiment.mesh))
    step: Any = make_eval_step(experiment.model, experiment.resolved.input_scale)
    exported = jax.export.export(step, platforms=PLATFORMS)(state.params, state.batch_stats, image)
    assert _results(exported.mlir_module(), "convolution") == ["bf16"] * len(PLATFORMS) * _kernels(experiment)


def test_images_in_device_memory_are_augmented_in_the_step(build: Build, on_accelerator: None) -> None:
    changes = {"augment__flips": True, "augment__colour": 0.2, "augment__mix": "cutmix", "data__image_size": 32}
    module = _lower_train_step(build("cnn", data__augment_on="device", **changes), PLATFORMS).mlir_module()
    assert "stablehlo.reduce_scatter" in module  # each device gives the others what it holds of the batch
