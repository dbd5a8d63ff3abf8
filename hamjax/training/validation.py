"""The result of a validation, which the loop is handed: it does not know how scores are computed."""

import dataclasses
from collections.abc import Callable, Mapping

from hamjax.training.state import TrainState


@dataclasses.dataclass(frozen=True)
class Validation:
    """The result of one validation.

    Attributes:
        accuracy: for the schedule.
        balanced_accuracy: the best checkpoint has the highest.
        loss: mean cross-entropy.
        values: to be recorded, by name.
        alarm: what is plainly wrong with the predictions, or None.
    """

    accuracy: float
    balanced_accuracy: float
    loss: float
    values: Mapping[str, float]
    alarm: str | None


# Validates a state; asks its second argument whether to stop before every batch, and returns None if it did.
Validate = Callable[[TrainState, Callable[[], bool]], Validation | None]
