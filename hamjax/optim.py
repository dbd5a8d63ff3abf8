"""Keras's optimizers as optax transformations, and the learning rate over a run.

The learning rate is an argument of the train step, so a schedule may look at
validation results; the transformations here return the step to take at rate 1.
"""

from typing import Any, NamedTuple, Protocol

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
        steps = state.steps + 1
        mu = jax.tree.map(lambda m, g: m + (g - m) * (1 - b1), state.mu, updates)
        nu = jax.tree.map(lambda v, g: v + (g * g - v) * (1 - b2), state.nu, updates)

        def step(m: jax.Array, v: jax.Array) -> jax.Array:
            t = steps.astype(m.dtype)
            correction = jnp.sqrt(1 - b2**t) / (1 - b1**t)
            return correction * m / (jnp.sqrt(v) + epsilon)

        return jax.tree.map(step, mu, nu), KerasAdamState(steps, mu, nu)

    return optax.GradientTransformation(init, update)


def make_optimizer(name: str) -> optax.GradientTransformation:
    """Make `adam` or `rmsprop` with Keras's constants, for a learning rate of 1.

    RMSprop: rho .9, epsilon inside the root (keras/src/optimizers/rmsprop.py).
    """
    if name == "adam":
        return scale_by_keras_adam()
    return optax.scale_by_rms(decay=0.9, eps=KERAS_EPSILON, eps_in_sqrt=True)


class Schedule(Protocol):
    """A learning rate that may depend on what validation said."""

    learning_rate: float

    def end_epoch(self, accuracy: float) -> bool:
        """Take an epoch's validation accuracy; say whether the rate changed."""
        ...

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint must hold."""
        ...


class Constant:
    """One rate throughout."""

    def __init__(self, learning_rate: float) -> None:
        self.learning_rate = learning_rate

    def end_epoch(self, accuracy: float) -> bool:
        """Change nothing."""
        del accuracy
        return False

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint must hold."""
        return dict(vars(self))


class StepDecay(Constant):
    """Multiply by `factor` every `every` epochs, down to a floor."""

    def __init__(self, learning_rate: float, *, factor: float, floor: float, every: int = 3) -> None:
        super().__init__(learning_rate)
        self.factor, self.floor, self.every, self.epoch = factor, floor, every, 0

    def end_epoch(self, accuracy: float) -> bool:
        """Count the epoch."""
        del accuracy
        self.epoch += 1
        if self.epoch % self.every or self.learning_rate <= self.floor:
            return False
        self.learning_rate = max(self.learning_rate * self.factor, self.floor)
        return True


class ReduceOnPlateau(Constant):
    """keras.callbacks.ReduceLROnPlateau(monitor="val_accuracy", mode="max")."""

    def __init__(self, learning_rate: float, *, factor: float, floor: float, patience: int, min_delta: float) -> None:
        super().__init__(learning_rate)
        self.factor, self.floor, self.patience, self.min_delta = factor, floor, patience, min_delta
        self.best: float | None = None
        self.wait = 0

    def end_epoch(self, accuracy: float) -> bool:
        """Reduce after `patience` epochs that were not better than the best by `min_delta`."""
        if self.best is None or accuracy - self.min_delta > self.best:
            self.best, self.wait = accuracy, 0
            return False
        self.wait += 1
        if self.wait < self.patience or self.learning_rate <= self.floor:
            return False
        self.learning_rate = max(self.learning_rate * self.factor, self.floor)
        self.wait = 0
        return True


def make_schedule(
    name: str, learning_rate: float, *, factor: float, floor: float, patience: int, min_delta: float
) -> Schedule:
    """Make `plateau`, `step3` or `none`."""
    if name == "plateau":
        return ReduceOnPlateau(learning_rate, factor=factor, floor=floor, patience=patience, min_delta=min_delta)
    if name == "step3":
        return StepDecay(learning_rate, factor=factor, floor=floor)
    return Constant(learning_rate)


def restore_schedule(schedule: Schedule, state: dict[str, Any]) -> None:
    """Bring a schedule to where a checkpoint left it."""
    vars(schedule).update(state)
