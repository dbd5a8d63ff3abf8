"""Keras's optimizers as optax transformations, and the learning rate over a run.

The learning rate is an argument of the train step, so a schedule may look at
validation results; the transformations here return the step to take at rate 1. What
changes from step to step is a factor inside the transformation, counted by its own state.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

KERAS_EPSILON = 1e-7


class KerasAdamState(NamedTuple):
    """Steps taken, and the moments."""

    steps: jax.Array
    mu: optax.Updates
    nu: optax.Updates


def scale_by_keras_adam(
    b1: float = 0.9, b2: float = 0.999, epsilon: float = KERAS_EPSILON
) -> optax.GradientTransformation:
    """Adam as in keras/src/optimizers/adam.py.

    Its epsilon is the "epsilon hat" of Kingma and Ba: added to sqrt(v) before the bias is
    corrected. `optax.scale_by_adam` adds it after, so equal epsilons give other steps.

        step = sqrt(1 - b2^t) / (1 - b1^t) * m / (sqrt(v) + epsilon)
    """

    def init(params: optax.Params) -> KerasAdamState:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return KerasAdamState(jnp.zeros([], jnp.int32), zeros, jax.tree.map(jnp.zeros_like, params))

    def update(
        updates: optax.Updates, state: optax.OptState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, optax.OptState]:
        del params
        assert isinstance(state, KerasAdamState)
        # Counted from 1, as Keras does: the correction divides by 1 - b1^t.
        steps = state.steps + 1
        mu = jax.tree.map(lambda m, g: m + (g - m) * (1 - b1), state.mu, updates)
        nu = jax.tree.map(lambda v, g: v + (g * g - v) * (1 - b2), state.nu, updates)

        def step(m: jax.Array, v: jax.Array) -> jax.Array:
            t = steps.astype(m.dtype)
            correction = jnp.sqrt(1 - b2**t) / (1 - b1**t)
            return correction * m / (jnp.sqrt(v) + epsilon)

        return jax.tree.map(step, mu, nu), KerasAdamState(steps, mu, nu)

    return optax.GradientTransformation(init, update)


def _adamw(weight_decay: float) -> optax.GradientTransformation:
    """Adam, and kernels shrunk apart from it (Loshchilov and Hutter, ICLR 2019), as keras/src/optimizers/adamw.py."""
    return optax.chain(scale_by_keras_adam(), optax.add_decayed_weights(weight_decay, mask=_kernels))


def _kernels(params: optax.Params) -> Any:
    """Return which parameters decay: kernels, but neither biases nor the scale and bias of BatchNorm."""
    return jax.tree.map_with_path(lambda path, _: path[-1].key == "kernel", params)


# RMSprop: rho .9, epsilon inside the root (keras/src/optimizers/rmsprop.py).
OPTIMIZERS: dict[str, Callable[[float], optax.GradientTransformation]] = {
    "adam": lambda _: scale_by_keras_adam(),
    "adamw": _adamw,
    "rmsprop": lambda _: optax.scale_by_rms(decay=0.9, eps=KERAS_EPSILON, eps_in_sqrt=True),
}


def make_optimizer(
    name: str, *, weight_decay: float = 0.0, shape: optax.Schedule | None = None
) -> optax.GradientTransformation:
    """Make an optimizer with Keras's constants, for a learning rate of 1.

    Args:
        name: a key of `OPTIMIZERS`.
        weight_decay: of `adamw`.
        shape: a factor of the learning rate for every step; see `Schedule`.
    """
    tx = OPTIMIZERS[name](weight_decay)
    return tx if shape is None else optax.chain(tx, optax.scale_by_schedule(shape))
