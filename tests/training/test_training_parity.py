"""Loss, optimizers and schedule do what Keras's do; devices agree."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

from hamjax.models.classifier import Classifier
from hamjax.models.densenet import DenseNet
from hamjax.models.initialization import init_variables
from hamjax.models.registry import create_model
from hamjax.runtime.devices import make_mesh, put_batch, put_replicated, split_batch
from hamjax.training.losses import Loss
from hamjax.training.metrics import compute, empty_metrics
from hamjax.training.mixing import MIXES
from hamjax.training.optimizers import make_optimizer
from hamjax.training.schedules import SCHEDULES, ReduceOnPlateau, ScheduleSettings, restore_schedule
from hamjax.training.state import TrainState, create_train_state
from hamjax.training.step import StepSettings, compile_train_step, make_train_step

pytestmark = pytest.mark.usefixtures("quick_compiler")

WEIGHTS = np.array([1.55, 1.6, 1.68, 1.5, 1.52, 0.31, 1.4], np.float32)  # like those of S5
DECAY = 0.02  # of adamw
QUICK = {"xla_backend_optimization_level": "0"}  # compiling is nearly all there is to do here
LAYERS = ("conv1", "conv2", "conv3", "conv4", "dense", "predictions")


def _batches(steps: int, size: int, count: int) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(5)
    return [
        {
            "image": rng.integers(0, 255, (1, count, size, size, 3), dtype=np.uint8),
            "label": rng.integers(0, 7, (1, count)).astype(np.int32),
        }
        for _ in range(steps)
    ]


def _train(
    model: Any,
    optimizer: str,
    batches: Sequence[dict[str, np.ndarray]],
    devices: Sequence[Any],
    rate: float,
    mix: Any = None,
) -> tuple[TrainState, list[float]]:
    """Take a step a batch on some devices; return the state and the losses."""
    size, mesh = batches[0]["image"].shape[2], make_mesh(devices)
    tx = make_optimizer(optimizer, weight_decay=DECAY)
    state = put_replicated(create_train_state(init_variables(model, image_size=size, seed=2), tx), mesh)
    step = compile_train_step(
        make_train_step(model, tx, loss=Loss(), input_scale="unit", mix=mix),
        unroll=True,
        compiler_options=QUICK,
    )
    losses, settings = [], StepSettings(jnp.asarray(rate), class_weights=WEIGHTS)
    for batch in batches:
        metrics = put_replicated(empty_metrics(), mesh)
        state, metrics = step(state, metrics, put_batch(batch, split_batch(mesh, 1)), settings)
        losses.append(compute(metrics)["loss"])
    return state, losses


def _keras_cnn(size: int) -> keras.Model:
    layers = keras.layers
    conv = functools.partial(layers.Conv2D, kernel_size=3, padding="same", activation="relu")
    return keras.Sequential(
        [layers.Input((size, size, 3)), conv(32), conv(32), layers.MaxPooling2D(), conv(64), conv(64),
         layers.MaxPooling2D(), layers.Flatten(), layers.Dense(128, activation="relu"),
         layers.Dense(7, activation="softmax")]
    )  # fmt: skip


def _as_keras(params: Any) -> list[np.ndarray]:
    return [np.asarray(params[name][leaf]) for name in LAYERS for leaf in ("kernel", "bias")]


def test_weighted_loss_is_keras() -> None:
    model = create_model("cnn", dropout=False)
    params = init_variables(model, image_size=16, seed=2)["params"]
    reference = _keras_cnn(16)
    reference.set_weights(_as_keras(params))
    reference.compile(optimizer=keras.optimizers.SGD(0.0), loss="sparse_categorical_crossentropy")
    (batch,) = _batches(1, 16, 8)
    image, label = batch["image"][0] / np.float32(255), batch["label"][0]
    expected = reference.train_on_batch(image, label, class_weight=dict(enumerate(WEIGHTS.tolist())))
    logits = model.apply({"params": params}, image)
    ours = Loss()(logits, jnp.asarray(label), jnp.asarray(WEIGHTS))
    assert float(ours) == pytest.approx(float(np.squeeze(expected)), rel=1e-6)


def test_loss_reductions() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(9, 7)), rng.integers(0, 7, 9)
    losses = -np.log(np.exp(logits)[np.arange(9), labels] / np.exp(logits).sum(1))
    weights = WEIGHTS[labels]
    for normalize, divisor in (("batch", 9), ("sum_w", weights.sum())):
        loss = Loss(normalize=normalize)(jnp.asarray(logits), jnp.asarray(labels), jnp.asarray(WEIGHTS))
        assert float(loss) == pytest.approx((weights * losses).sum() / divisor, rel=1e-5)


def _keras_adamw(rate: float) -> Any:
    optimizer = keras.optimizers.AdamW(rate, weight_decay=DECAY)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    return optimizer


@pytest.mark.parametrize(
    ("name", "optimizer"),
    [("adam", keras.optimizers.Adam), ("adamw", _keras_adamw), ("rmsprop", keras.optimizers.RMSprop)],
)
def test_five_steps_are_keras(float64: None, name: str, optimizer: Callable[..., Any]) -> None:
    batches = _batches(5, 16, 8)
    reference = _keras_cnn(16)
    model = create_model("cnn", compute_dtype="float64", dropout=False)
    reference.set_weights(_as_keras(init_variables(model, image_size=16, seed=2)["params"]))
    reference.compile(optimizer=optimizer(1e-3), loss="sparse_categorical_crossentropy")
    for batch in batches:
        reference.train_on_batch(
            batch["image"][0] / 255, batch["label"][0], class_weight=dict(enumerate(WEIGHTS.astype(float).tolist()))
        )
    state, _ = _train(model, name, batches, jax.devices()[:1], 1e-3)
    for ours, theirs in zip(_as_keras(state.params), reference.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-9)


ACCURACIES = [0.5, 0.6, 0.60005, 0.6, 0.59, 0.61, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, *[0.5] * 30, 0.9, *[0.5] * 9]


def test_plateau_schedule_is_keras_callback() -> None:
    model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1)])
    model.compile(optimizer=keras.optimizers.SGD(1e-3), loss="mse")
    callback = keras.callbacks.ReduceLROnPlateau(
        monitor="val_accuracy", factor=0.5, patience=3, min_lr=1e-5, mode="max", min_delta=1e-4
    )
    callback.set_model(model)
    callback.on_train_begin()
    schedule = ReduceOnPlateau(1e-3, factor=0.5, floor=1e-5, patience=3, min_delta=1e-4)
    rates = []
    for epoch, accuracy in enumerate(ACCURACIES):
        callback.on_epoch_end(epoch, {"val_accuracy": accuracy})
        before = schedule.learning_rate
        assert schedule.end_epoch(accuracy) == (schedule.learning_rate != before)
        rates.append(schedule.learning_rate)
        assert rates[-1] == pytest.approx(float(model.optimizer.learning_rate), rel=1e-5)  # pyright: ignore
    assert len(set(rates)) > 5
    assert rates[-1] == pytest.approx(1e-5)


def test_other_schedules() -> None:
    settings = ScheduleSettings(
        learning_rate=1e-3, floor=1e-4, factor=0.5, patience=3, min_delta=1e-4, warmup_steps=0, num_steps=100
    )
    step3, constant = (SCHEDULES[name](settings) for name in ("step3", "none"))
    rates = []
    for _ in range(13):
        step3.end_epoch(0.5)
        constant.end_epoch(0.5)
        rates.append(step3.learning_rate)
    assert rates == [1e-3] * 2 + [5e-4] * 3 + [2.5e-4] * 3 + [1.25e-4] * 3 + [1e-4] * 2
    assert constant.learning_rate == 1e-3


def test_a_schedule_goes_on_from_its_state() -> None:
    a, b = (ReduceOnPlateau(1e-3, factor=0.5, floor=1e-5, patience=3, min_delta=1e-4) for _ in range(2))
    for accuracy in ACCURACIES[:9]:
        a.end_epoch(accuracy)
    restore_schedule(b, a.state())
    for accuracy in ACCURACIES[9:]:
        assert a.end_epoch(accuracy) == b.end_epoch(accuracy)
    assert a.learning_rate == b.learning_rate


def _network(name: str, dtype: Any) -> Any:
    if name == "cnn":
        return create_model("cnn", compute_dtype=dtype)
    return Classifier(functools.partial(DenseNet, (2, 2)), dtype=jnp.dtype(dtype))


@pytest.mark.parametrize(
    ("name", "mix"), [("cnn", None), ("densenet", None), pytest.param("cnn", "mixup", marks=pytest.mark.long)]
)
def test_one_device_and_eight_agree_in_float64(float64: None, name: str, mix: str | None) -> None:
    model, batches = _network(name, "float64"), _batches(20, 16, 16)
    mixed = mix and functools.partial(MIXES[mix], alpha=0.4)
    one, eight = (_train(model, "adam", batches, jax.devices()[:n], 1e-3, mixed)[0] for n in (1, 8))
    assert int(one.step) == int(eight.step) == 20
    close = functools.partial(np.testing.assert_allclose, rtol=0, atol=1e-9)
    jax.tree.map(
        close, jax.device_get((one.params, one.batch_stats)), jax.device_get((eight.params, eight.batch_stats))
    )


@pytest.mark.parametrize("name", ["cnn", pytest.param("densenet", marks=pytest.mark.slow)])
def test_one_device_and_eight_agree_in_float32(name: str) -> None:
    model, batches = _network(name, "float32"), _batches(20, 16, 16)
    one, eight = (_train(model, "adam", batches, jax.devices()[:n], 1e-4)[1] for n in (1, 8))
    np.testing.assert_allclose(one, eight, rtol=0, atol=1e-3)


@pytest.mark.parametrize("unroll", [True, False])
def test_several_steps_a_dispatch_are_the_same_steps(float64: None, unroll: bool) -> None:
    model, batches, mesh = _network("cnn", "float64"), _batches(4, 16, 8), make_mesh()
    tx = make_optimizer("adam")
    step = make_train_step(model, tx, loss=Loss(), input_scale="unit")
    stacked = {name: np.concatenate([batch[name] for batch in batches]) for name in ("image", "label")}
    state = put_replicated(create_train_state(init_variables(model, image_size=16, seed=2), tx), mesh)
    settings = StepSettings(jnp.asarray(1e-3), class_weights=WEIGHTS)
    state, metrics = compile_train_step(step, unroll=unroll, compiler_options=QUICK)(
        state, put_replicated(empty_metrics(), mesh), put_batch(stacked, split_batch(mesh, 1)), settings
    )
    expected, losses = _train(model, "adam", batches, jax.devices(), 1e-3)
    close = functools.partial(np.testing.assert_allclose, rtol=0, atol=1e-10)
    jax.tree.map(close, jax.device_get(state.params), jax.device_get(expected.params))
    assert compute(metrics)["loss"] == pytest.approx(np.mean(losses), rel=1e-5)


def test_a_step_compiles_once_and_moves_nothing_unasked() -> None:
    model, batches, mesh = _network("cnn", "float32"), _batches(5, 16, 8), make_mesh()
    tx = make_optimizer("adam")
    step = compile_train_step(
        make_train_step(model, tx, loss=Loss(), input_scale="unit"),
        unroll=True,
    )
    state = put_replicated(create_train_state(init_variables(model, image_size=16, seed=2), tx), mesh)
    metrics, settings = put_replicated((empty_metrics(), StepSettings(np.float32(1e-3))), mesh)
    placed = [put_batch(batch, split_batch(mesh, 1)) for batch in batches]
    for i, batch in enumerate(placed):
        with jax.transfer_guard("disallow" if i > 1 else "allow"):
            state, metrics = step(state, metrics, batch, settings)
    assert step._cache_size() == 1  # pyright: ignore[reportFunctionMemberAccess]
