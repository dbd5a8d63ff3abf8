"""A state starts where optax says, and knows when it is no longer fit to be saved."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hamjax.models.initialization import init_variables
from hamjax.models.registry import create_model
from hamjax.training.optimizers import OPTIMIZERS, make_optimizer
from hamjax.training.state import create_train_state

VARIABLES = init_variables(create_model("cnn"), image_size=8, seed=0)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_optimizer_starts_as_optax_starts_it(name: str) -> None:
    tx = make_optimizer(name, weight_decay=0.1, shape=optax.schedules.constant_schedule(1.0))
    state, started = create_train_state(VARIABLES, tx), tx.init(VARIABLES["params"])
    assert jax.tree.structure(state.opt_state) == jax.tree.structure(started)
    for ours, theirs in zip(jax.tree.leaves(state.opt_state), jax.tree.leaves(started), strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_one_number_that_is_none_is_found(wrong: float) -> None:
    state = create_train_state(VARIABLES, make_optimizer("adam"))
    assert state.is_finite()
    params = jax.tree.map(jnp.copy, state.params)
    params["dense"]["kernel"] = params["dense"]["kernel"].at[1, 2].set(wrong)
    assert not dataclasses.replace(state, params=params).is_finite()
