"""The learning rate is its formula at every step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hamjax.training.optimizers import make_optimizer
from hamjax.training.schedules import SCHEDULES, Cosine, ScheduleSettings

pytestmark = pytest.mark.usefixtures("quick_compiler")


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
