"""Losses are Keras's, optax's, or what their papers' formulas say."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
import optax
import pytest

from hamjax.training.losses import LOSSES, Loss

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


def test_by_default_the_loss_and_its_gradient_are_the_papers() -> None:
    ours, plain = (jax.value_and_grad(loss)(LOGITS, LABELS, WEIGHTS) for loss in (Loss(), _papers_loss))
    jax.tree.map(np.testing.assert_array_equal, ours, plain)


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
