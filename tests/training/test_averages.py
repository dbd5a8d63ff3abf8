"""Averages of the weights are optax's, and evaluation uses them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hamjax.models.classifier import Classifier
from hamjax.models.densenet import DenseNet
from hamjax.models.initialization import init_variables
from hamjax.training.losses import Loss
from hamjax.training.metrics import empty_metrics
from hamjax.training.optimizers import make_optimizer
from hamjax.training.state import average, create_train_state
from hamjax.training.step import StepSettings, make_train_step

pytestmark = pytest.mark.usefixtures("quick_compiler")

RNG = np.random.default_rng(3)
WEIGHTS = jnp.asarray([1.55, 1.6, 1.68, 1.5, 1.52, 0.31, 1.4], jnp.float32)  # like those of S5
LABELS = jnp.asarray(RNG.integers(0, 7, 32))


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
    assert (state.ema, state.eval_variables) == ({}, {"params": state.params, "batch_stats": state.batch_stats})
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
    for name, averaged in state.eval_variables.items():
        expected = jax.tree.map(lambda a, b: (2 * a + 9 * b) / 11, variables[name], getattr(state, name))
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), averaged, expected)
