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

from hamjax.models.freezing import trainable_mask

KERAS_EPSILON = 1e-7


class KerasAdamState(NamedTuple):
    """Steps taken, and the moments."""

    steps: jax.Array
    mu: optax.Updates
    nu: optax.Updates


def scale_by_keras_adam(
    frozen_steps: int = 0, *, b1: float = 0.9, b2: float = 0.999, epsilon: float = KERAS_EPSILON
) -> optax.GradientTransformation:
    """Adam as in keras/src/optimizers/adam.py.

    Its epsilon is the "epsilon hat" of Kingma and Ba: added to sqrt(v) before the bias is
    corrected. `optax.scale_by_adam` adds it after, so equal epsilons give other steps.

        step = sqrt(1 - b2^t) / (1 - b1^t) * m / (sqrt(v) + epsilon)

    Args:
        frozen_steps: steps at the start in which the backbone is frozen. Its t counts from their end, as with a
            fresh optimizer. Counted from the start, t would allow steps of up to 6.6 times the rate.
        b1: decay of m.
        b2: decay of v.
        epsilon: see above.
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

        # No second count in the state: a run knows when its backbone is unfrozen, and old checkpoints stay readable.
        # At least 1: while it is frozen its m is 0, and so is its step.
        since_frozen = jnp.maximum(steps - frozen_steps, 1)

        def step(m: jax.Array, v: jax.Array, from_start: bool) -> jax.Array:
            t = (steps if from_start else since_frozen).astype(m.dtype)
            correction = jnp.sqrt(1 - b2**t) / (1 - b1**t)
            return correction * m / (jnp.sqrt(v) + epsilon)

        from_start = trainable_mask(mu, "backbone" if frozen_steps else "none")
        return jax.tree.map(step, mu, nu, from_start), KerasAdamState(steps, mu, nu)

    return optax.GradientTransformation(init, update)


def _adamw(weight_decay: float, frozen_steps: int) -> optax.GradientTransformation:
    """Adam, and kernels shrunk apart from it (Loshchilov and Hutter, ICLR 2019), as keras/src/optimizers/adamw.py."""
    return optax.chain(scale_by_keras_adam(frozen_steps), optax.add_decayed_weights(weight_decay, mask=_kernels))


def _kernels(params: optax.Params) -> Any:
    """Return which parameters decay: kernels, but neither biases nor the scale and bias of BatchNorm."""
    return jax.tree.map_with_path(lambda path, _: path[-1].key == "kernel", params)


# Made from weight decay and frozen steps. RMSprop: rho .9, epsilon inside the root (keras/src/optimizers/rmsprop.py);
# it corrects no bias, so it counts no steps.
OPTIMIZERS: dict[str, Callable[[float, int], optax.GradientTransformation]] = {
    "adam": lambda _, frozen_steps: scale_by_keras_adam(frozen_steps),
    "adamw": _adamw,
    "rmsprop": lambda *_: optax.scale_by_rms(decay=0.9, eps=KERAS_EPSILON, eps_in_sqrt=True),
}


def make_optimizer(
    name: str, *, weight_decay: float = 0.0, shape: optax.Schedule | None = None, frozen_steps: int = 0
) -> optax.GradientTransformation:
    """Make an optimizer with Keras's constants, for a learning rate of 1.

    Args:
        name: a key of `OPTIMIZERS`.
        weight_decay: of `adamw`.
        shape: a factor of the learning rate for every step; see `Schedule`.
        frozen_steps: steps at the start in which the backbone is frozen; see `scale_by_keras_adam`.
    """
    tx = OPTIMIZERS[name](weight_decay, frozen_steps)
    return tx if shape is None else optax.chain(tx, optax.scale_by_schedule(shape))
