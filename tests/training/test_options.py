"""Losses, schedules, averages and mixed images are what others, or their formulas, say."""

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

import hamjax
from hamjax.config import Config
from hamjax.models import init_variables
from hamjax.models.classifier import Classifier
from hamjax.models.densenet import DenseNet
from hamjax.runtime.errors import PreemptedError
from hamjax.training.losses import LOSSES, Loss
from hamjax.training.metrics import empty_metrics
from hamjax.training.mixing import MIXES
from hamjax.training.optimizers import make_optimizer
from hamjax.training.run_directory.metrics_log import read_records
from hamjax.training.schedules import SCHEDULES, Cosine, ScheduleSettings
from hamjax.training.state import average, create_train_state
from hamjax.training.step import StepSettings, make_train_step
from tests.helpers.started import sigterm_at

pytestmark = pytest.mark.usefixtures("quick_compiler")

RNG = np.random.default_rng(3)
WEIGHTS = jnp.asarray([1.55, 1.6, 1.68, 1.5, 1.52, 0.31, 1.4], jnp.float32)  # like those of S5
LOGITS = jnp.asarray(RNG.normal(0, 3, (32, 7)), jnp.float32)
LABELS = jnp.asarray(RNG.integers(0, 7, 32))
EVEN = jnp.ones(7)
ONE_HOT = jax.nn.one_hot(LABELS, 7)
PRIOR = jnp.log(jnp.asarray([267, 444, 923, 99, 1021, 4939, 116]) / 7809)


def _papers_loss(logits: jax.Array, labels: jax.Array, weights: jax.Array) -> jax.Array:
    losses = -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1)[:, 0]
    weights = weights.astype(losses.dtype)[labels]
    return (weights * losses).sum() / len(labels)


def test_by_default_the_loss_is_the_papers_operation_by_operation() -> None:
    ours, plain = (str(jax.make_jaxpr(f)(LOGITS, LABELS, WEIGHTS)) for f in (Loss(), _papers_loss))
    assert ours == plain


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(
    ("name", "reference"),
    [("cross_entropy", keras.losses.CategoricalCrossentropy),
     ("focal", functools.partial(keras.losses.CategoricalFocalCrossentropy, alpha=1, gamma=2))],
)  # fmt: skip
def test_losses_are_keras(name: str, reference: Callable[..., Any], smoothing: float) -> None:
    expected = reference(from_logits=True, label_smoothing=smoothing)(ONE_HOT, LOGITS, sample_weight=WEIGHTS[LABELS])
    ours = Loss(name=name, label_smoothing=smoothing, gamma=2)(LOGITS, LABELS, WEIGHTS)
    assert float(ours) == pytest.approx(float(expected), rel=1e-4)  # Keras clips probabilities


def test_label_smoothing_is_optax() -> None:
    expected = optax.losses.softmax_cross_entropy(LOGITS, optax.losses.smooth_labels(ONE_HOT, 0.2)).mean()
    ours = Loss(label_smoothing=0.2)(LOGITS, LABELS, EVEN)
    assert float(ours) == pytest.approx(float(expected), rel=1e-6)


def test_a_focal_loss_of_gamma_0_is_cross_entropy_and_certainty_has_a_gradient() -> None:
    focal = Loss(name="focal", gamma=0.0)(LOGITS, LABELS, WEIGHTS)
    assert float(focal) == pytest.approx(float(Loss()(LOGITS, LABELS, WEIGHTS)), rel=1e-5)
    certain = 200 * ONE_HOT
    for gamma in (0.0, 0.5, 2.0):
        loss = Loss(name="focal", gamma=gamma)
        assert np.isfinite(jax.grad(loss)(certain, LABELS, WEIGHTS)).all()


@pytest.mark.parametrize("tau", [0.0, 1.0, 1.5])
def test_logit_adjustment_is_menons_pairwise_formula(tau: float) -> None:
    loss = Loss(name="logit_adjusted", tau=tau)
    f, prior, y = np.asarray(LOGITS, float), np.exp(np.asarray(PRIOR, float)), np.asarray(LABELS)
    # Equation 11: log(1 + sum over y' != y of (prior[y'] / prior[y])^tau exp(f[y'] - f[y]))
    ratio = (prior / prior[y][:, None]) ** tau * np.exp(f - f[np.arange(32), y][:, None])
    ratio[np.arange(32), y] = 0
    assert float(loss(LOGITS, LABELS, EVEN, PRIOR)) == pytest.approx(np.log1p(ratio.sum(1)).mean(), rel=1e-5)


@pytest.mark.parametrize("normalize", ["batch", "sum_w"])
@pytest.mark.parametrize("name", LOSSES)
def test_a_mixed_target_costs_the_mixture_of_two_weighted_losses(
    name: str, normalize: str, rng: np.random.Generator
) -> None:
    kept, others = jnp.asarray(rng.random((32, 1)), jnp.float32), jnp.roll(LABELS, 1)
    targets = kept * ONE_HOT + (1 - kept) * jnp.roll(ONE_HOT, 1, axis=0)
    loss = Loss(name=name, normalize=normalize, label_smoothing=0.1)
    both = Loss(name=name, label_smoothing=0.1)
    each = [
        jnp.stack([both(LOGITS[i : i + 1], y[i : i + 1], EVEN, PRIOR) for i in range(32)]) for y in (LABELS, others)
    ]
    shares = kept[:, 0] * WEIGHTS[LABELS], (1 - kept[:, 0]) * WEIGHTS[others]
    divisor = sum(map(jnp.sum, shares)) if normalize == "sum_w" else 32
    expected = sum((share * one).sum() for share, one in zip(shares, each, strict=True)) / divisor
    assert float(loss(LOGITS, targets, WEIGHTS, PRIOR)) == pytest.approx(float(expected), rel=1e-5)
    assert float(loss(LOGITS, ONE_HOT, WEIGHTS, PRIOR)) == pytest.approx(
        float(loss(LOGITS, LABELS, WEIGHTS, PRIOR)), rel=1e-5
    )


# Schedule


def test_cosine_is_its_formula_at_every_step_of_the_optimizer() -> None:
    warmup, total, peak, floor = 5, 40, 2e-3, 1e-4
    settings = ScheduleSettings(
        learning_rate=peak, floor=floor, factor=0.5, patience=3, min_delta=0, warmup_steps=warmup, num_steps=total
    )
    schedule = SCHEDULES["cosine"](settings)
    tx, plain = (make_optimizer("adamw", weight_decay=0.1, shape=shape) for shape in (schedule.shape, None))
    params = {"dense": {"kernel": jnp.ones(3)}}
    gradient = {"dense": {"kernel": jnp.asarray([1.0, -2.0, 3.0])}}
    state, plain_state = tx.init(params), plain.init(params)
    for step in range(total):
        progress = (step - warmup) / (total - warmup)
        falling = floor + (peak - floor) * (1 + np.cos(np.pi * progress)) / 2
        expected = peak / (warmup + 1) * (step + 1) if step < warmup else falling
        assert schedule.rate_at(step) == pytest.approx(expected, rel=1e-5)
        update, state = tx.update(gradient, state, params)
        whole, plain_state = plain.update(gradient, plain_state, params)
        jax.tree.map(lambda u, w, e=expected: np.testing.assert_allclose(u * peak, w * e, rtol=1e-5), update, whole)
    assert not schedule.end_epoch(0.5)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_a_run_shorter_than_its_warm_up_still_has_rates(steps: int) -> None:
    rates = [Cosine(1e-3, floor=1e-5, warmup_steps=50, num_steps=steps).rate_at(step) for step in range(steps)]
    assert all(0 < rate <= 1e-3 for rate in rates)
    assert Cosine(0.0, floor=1e-5, warmup_steps=1, num_steps=9).rate_at(3) == 0


# Averages


def test_averages_are_optax_and_leave_what_is_frozen_to_the_bit(rng: np.random.Generator) -> None:
    variables = {"params": {"w": jnp.zeros(4), "frozen": jnp.asarray([0.1, 0.7])}, "batch_stats": {"mean": jnp.ones(2)}}
    ours = expected = variables
    for n in range(1, 60):
        moved = {"w": jnp.asarray(rng.normal(size=4), jnp.float32), "frozen": variables["params"]["frozen"]}
        now = {"params": moved, "batch_stats": {"mean": jnp.full(2, float(n))}}
        ours = average(ours, now, jnp.int32(n), 0.8)
        expected = optax.incremental_update(now, expected, 1 - min(0.8, (1 + n) / (10 + n)))
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7), ours, expected)
        np.testing.assert_array_equal(ours["params"]["frozen"], moved["frozen"])


def test_a_step_averages_what_it_made_and_evaluation_uses_it(rng: np.random.Generator) -> None:
    model, tx = Classifier(functools.partial(DenseNet, (1,))), make_optimizer("adam")
    variables = init_variables(model, image_size=32, seed=0)
    state = create_train_state(variables, tx)
    assert (state.ema, state.eval_params, state.eval_batch_stats) == ({}, state.params, state.batch_stats)
    batch = {"image": jnp.asarray(rng.integers(0, 256, (8, 32, 32, 3), np.uint8)), "label": LABELS[:8]}
    step = jax.jit(
        make_train_step(model, tx, loss=Loss(), input_scale="unit", ema_decay=0.9),
        compiler_options={"xla_backend_optimization_level": 0},
    )
    state, _ = step(
        create_train_state(variables, tx, ema=True),
        empty_metrics(),
        batch,
        StepSettings(jnp.float32(1e-2), class_weights=WEIGHTS),
    )
    for name, averaged in (("params", state.eval_params), ("batch_stats", state.eval_batch_stats)):
        expected = jax.tree.map(lambda a, b: (2 * a + 9 * b) / 11, variables[name], getattr(state, name))
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), averaged, expected)


# Mixed images

COUNT, SIZE = 64, 24
FLAT = np.arange(COUNT, dtype=np.uint8)[:, None, None, None] * np.ones((1, SIZE, SIZE, 3), np.uint8)
EACH = jnp.eye(COUNT)  # every image its own class: targets then say which images were mixed


@functools.cache
def _mix(name: str) -> Callable[..., tuple[jax.Array, jax.Array]]:
    return jax.jit(functools.partial(MIXES[name], alpha=0.4))


def _contents(image: jax.Array) -> np.ndarray:
    """Return the shares [B, B] of the flat images in each mixed one."""
    pixels = np.asarray(image, float)
    own, other = np.arange(COUNT), np.roll(np.arange(COUNT), 1)
    kept = ((pixels - other[:, None, None, None]) / (own - other)[:, None, None, None]).mean((1, 2, 3))
    return kept[:, None] * np.eye(COUNT) + (1 - kept[:, None]) * np.roll(np.eye(COUNT), 1, axis=0)


@pytest.mark.parametrize("name", MIXES)
def test_labels_are_mixed_as_the_images_are(name: str) -> None:
    mix = _mix(name)
    image, targets = mix(jax.random.key(4), FLAT, EACH)
    np.testing.assert_allclose(targets, _contents(image), atol=1e-5)
    again, other = (mix(jax.random.key(key), FLAT, EACH) for key in (4, 5))
    jax.tree.map(np.testing.assert_array_equal, again, (image, targets))
    assert not np.array_equal(other[1], targets)


def test_mixup_draws_from_its_beta() -> None:
    kept = np.concatenate([np.diag(_mix("mixup")(jax.random.key(k), FLAT, EACH)[1]) for k in range(30)])
    assert kept.mean() == pytest.approx(0.5, abs=0.03)
    assert kept.var() == pytest.approx(1 / (4 * (2 * 0.4 + 1)), abs=0.01)  # of Beta(a, a)


def test_cutmix_pastes_one_rectangle_of_the_neighbour() -> None:
    image = np.asarray(_mix("cutmix")(jax.random.key(0), FLAT, EACH)[0])
    assert image.dtype == np.uint8
    for i in range(COUNT):
        pasted = (image[i] == i - 1 if i else image[i] == COUNT - 1).all(-1)
        assert ((image[i] == i).all(-1) | pasted).all()
        rows, columns = pasted.any(1), pasted.any(0)
        np.testing.assert_array_equal(pasted, np.outer(rows, columns))
        for side in (rows, columns):
            assert (np.diff(np.flatnonzero(side)) == 1).all()


# All at once


def _everything(tiny: Callable[..., Config]) -> Config:
    return tiny(
        loss__name="logit_adjusted", loss__label_smoothing=0.1, optimizer__name="adamw", optimizer__schedule="cosine",
        augment__flips=True, augment__colour=0.2, augment__mix="mixup", sampling__weight_rule="sqrt",
        optimizer__warmup_epochs=0.2, train__ema_decay=0.9, train__max_steps=12, train__log_every_steps=2,
        train__steps_per_dispatch=2,
    )  # fmt: skip


def test_a_run_with_every_option_goes_on_as_if_it_had_not_been_stopped(
    tiny: Callable[..., Config], tmp_path: Path
) -> None:
    undisturbed = hamjax.train(_everything(tiny), tmp_path / "undisturbed")
    with pytest.raises(PreemptedError, match="step 6 of 12"):
        hamjax.train(_everything(tiny), tmp_path / "run", on_dispatch=sigterm_at(6))
    resumed = hamjax.train(_everything(tiny), tmp_path / "run")
    assert undisturbed is not None
    assert resumed is not None
    jax.tree.map(np.testing.assert_array_equal, resumed.state, undisturbed.state)
    assert resumed.report.summary_json() == undisturbed.report.summary_json()
    assert hamjax.evaluate(tmp_path / "run").summary["loss"] == undisturbed.report.summary["loss"]  # of the averages
    records = [read_records(tmp_path / name / "metrics.jsonl") for name in ("undisturbed", "run")]
    rates, again = ([line["train/learning_rate"] for line in lines if "train/loss" in line] for lines in records)
    assert rates == again
    assert rates[0] < max(rates) > rates[-1]
    averaged, latest = undisturbed.state.eval_params, undisturbed.state.params
    assert not np.array_equal(averaged["predictions"]["kernel"], latest["predictions"]["kernel"])
