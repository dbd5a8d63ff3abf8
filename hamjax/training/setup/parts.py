"""Build the loss, schedule, augmentation and image mixing that a config selects."""

import functools
from collections.abc import Callable

import jax

from hamjax.config import Config
from hamjax.data.augment import Augmentation
from hamjax.training.losses import Loss
from hamjax.training.mixing import MIXES
from hamjax.training.schedules import SCHEDULES, Schedule, ScheduleSettings


def augmentation_of(config: Config) -> Augmentation | None:
    """Return the ranges of the augmentation, or None."""
    chosen = config.augment
    if not chosen.enabled:
        return None
    return Augmentation(
        rotation=chosen.rotation,
        degrees=chosen.degrees,
        zoom=chosen.zoom,
        isotropic_zoom=chosen.isotropic_zoom,
        shift=chosen.shift,
        flips=chosen.flips,
        colour=chosen.colour,
    )


def mix_of(config: Config) -> Callable[..., tuple[jax.Array, jax.Array]] | None:
    """Return how the step mixes images, see `hamjax.training.mixing.Mix`, or None."""
    chosen = config.augment
    if not chosen.enabled or chosen.mix == "none":
        return None
    return functools.partial(MIXES[chosen.mix], alpha=chosen.mix_alpha)


def loss_of(config: Config) -> Loss:
    """Return the training loss."""
    chosen = config.loss
    return Loss(
        name=chosen.name,
        normalize=chosen.normalize,
        label_smoothing=chosen.label_smoothing,
        gamma=chosen.gamma,
        tau=chosen.tau,
    )


def schedule_of(config: Config, steps_per_epoch: int, num_steps: int) -> Schedule:
    """Return the learning rate at its start."""
    chosen = config.optimizer
    settings = ScheduleSettings(
        learning_rate=chosen.learning_rate,
        floor=chosen.min_learning_rate,
        factor=chosen.factor,
        patience=chosen.patience,
        min_delta=chosen.min_delta,
        warmup_steps=round(chosen.warmup_epochs * steps_per_epoch),
        num_steps=num_steps,
    )
    return SCHEDULES[chosen.schedule](settings)
