"""The learning rate over a run.

A schedule may look at validation results, so the rate is an argument of the train step. A factor that changes from
step to step is applied by the optimizer, which counts the steps itself.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

import jax.numpy as jnp
import optax


class Schedule(Protocol):
    """A learning rate that may depend on what validation said.

    Attributes:
        learning_rate: until the next epoch ends, for a factor of 1.
    """

    learning_rate: float

    @property
    def shape(self) -> optax.Schedule | None:
        """Return the factor of the rate at every step, which the optimizer applies; none is 1."""
        ...

    def rate_at(self, step: int) -> float:
        """Return the rate of the step after `step`."""
        ...

    def end_epoch(self, accuracy: float) -> bool:
        """Take the validation accuracy of an epoch; return whether the rate changed."""
        ...

    def state(self) -> dict[str, Any]:
        """Return the values that a checkpoint must hold."""
        ...


class Constant:
    """One rate throughout."""

    def __init__(self, learning_rate: float) -> None:
        self.learning_rate = learning_rate

    @property
    def shape(self) -> optax.Schedule | None:
        """Leave the rate as it is within an epoch."""
        return None

    def rate_at(self, step: int) -> float:
        """Return the rate of the step after `step`."""
        return self.learning_rate * (1 if self.shape is None else jnp.asarray(self.shape(step)).item())

    def end_epoch(self, accuracy: float) -> bool:
        """Change nothing."""
        del accuracy
        return False

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint must hold."""
        return dict(vars(self))


class Cosine(Constant):
    """A linear rise over `warmup_steps`, then half a cosine down to a floor at the last step of the run."""

    def __init__(self, learning_rate: float, *, floor: float, warmup_steps: int, num_steps: int) -> None:
        super().__init__(learning_rate)
        self.floor, self.warmup_steps, self.num_steps = floor, min(warmup_steps, num_steps - 1), num_steps

    @property
    def shape(self) -> optax.Schedule:
        """Return the rate as a share of its peak."""
        return optax.schedules.warmup_cosine_decay_schedule(
            init_value=1 / (self.warmup_steps + 1),  # 0 would waste the first step
            peak_value=1.0,
            warmup_steps=self.warmup_steps,
            decay_steps=self.num_steps,
            end_value=self.floor / self.learning_rate if self.learning_rate else 1.0,
        )


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
        # Keras's own order of operations: 0.5 + 0.1 > 0.6 and 0.6 - 0.1 > 0.5 round differently.
        if self.best is None or accuracy - self.min_delta > self.best:
            self.best, self.wait = accuracy, 0
            return False
        self.wait += 1
        if self.wait < self.patience or self.learning_rate <= self.floor:
            return False
        self.learning_rate = max(self.learning_rate * self.factor, self.floor)
        self.wait = 0
        return True


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScheduleSettings:
    """What schedules are made of; each takes what it needs.

    Attributes:
        learning_rate: at the start, or at the peak.
        floor: the least.
        factor: of `plateau` and `step3`.
        patience: of `plateau`, epochs.
        min_delta: of `plateau`, accuracy.
        warmup_steps: of `cosine`.
        num_steps: of the run, for `cosine`.
    """

    learning_rate: float
    floor: float
    factor: float
    patience: int
    min_delta: float
    warmup_steps: int
    num_steps: int


SCHEDULES: dict[str, Callable[[ScheduleSettings], Schedule]] = {
    "plateau": lambda s: ReduceOnPlateau(
        s.learning_rate, factor=s.factor, floor=s.floor, patience=s.patience, min_delta=s.min_delta
    ),
    "none": lambda s: Constant(s.learning_rate),
    "cosine": lambda s: Cosine(s.learning_rate, floor=s.floor, warmup_steps=s.warmup_steps, num_steps=s.num_steps),
    "step3": lambda s: StepDecay(s.learning_rate, factor=s.factor, floor=s.floor),
}


def restore_schedule(schedule: Schedule, state: dict[str, Any]) -> None:
    """Bring a schedule to where a checkpoint left it."""
    # Attributes by their names: a schedule has no others than those it must remember.
    vars(schedule).update(state)
