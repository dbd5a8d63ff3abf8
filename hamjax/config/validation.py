"""The check of a config's values against the choices and bounds in its fields."""

import copy
import math
import os
from collections.abc import Callable
from typing import Any

from hamjax.config.key import Key
from hamjax.config.schema import KEYS, Config, Strategy
from hamjax.runtime.errors import UserError, expected_one_of
from hamjax.runtime.paths import user_path

RESERVED_STATUSES = (2, 3, 75, 134)  # exit statuses that mean something else than a preemption
MOST_WEIGHT = 1_000_000  # of a class; a loss in float32 overflows far beyond
LARGEST_INT = 2**31 - 1  # steps and seeds are int32 on a device


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST_INT


def _is_number(value: Any) -> bool:
    return _is_whole(value) or (isinstance(value, float) and math.isfinite(value))


# The values that a type admits: a config that is read from a file can hold anything.
TYPES: dict[Any, tuple[str, Callable[[Any], bool]]] = {
    bool: ("True or False", lambda value: isinstance(value, bool)),
    int: (f"a whole number up to {LARGEST_INT:,}", _is_whole),
    float: ("a finite number", _is_number),
    str: ("text", lambda value: isinstance(value, str)),
    Strategy: ("text", lambda value: isinstance(value, str)),
    tuple[float, ...]: ("numbers", lambda value: isinstance(value, tuple) and all(map(_is_number, value))),
}


def validate(config: Config, *, began: bool = False) -> None:
    """Check the type and the range of every value.

    Args:
        config: any.
        began: of a run that is there: what only has no effect is let pass, since earlier versions took it.

    Raises:
        UserError: naming each key that is wrong, what was expected, and how to set it.
    """
    values = {name: _get(config, name) for name in KEYS}
    wrong = [
        f"{name}: expected {TYPES[key.type][0]}, got {values[name]!r}"
        for name, key in KEYS.items()
        if not TYPES[key.type][1](values[name])
    ]
    # Values of a wrong type cannot be compared with bounds, so these come second.
    if not wrong:
        wrong = [message for name, key in KEYS.items() if (message := _out_of_range(name, key, values[name]))]
        wrong += _disagreeing(config) + ([] if began else _without_effect(config))
    if wrong:
        raise UserError("\n".join([*wrong, "Set them with --config.KEY=VALUE or in the config file."]))


def with_user_paths(config: Config) -> Config:
    """Return a copy in which `~` at the beginning of a path is the home folder.

    Raises:
        UserError: a path is no text.
    """
    located = copy.deepcopy(config)
    for name, key in KEYS.items():
        given = _get(config, name)
        if key.is_path and isinstance(given, str) and given:
            user_path(given)
            topic, field = name.split(".")
            # Otherwise as it was given: a run whose weights are ./a.npz is resumed with these words alone.
            setattr(getattr(located, topic), field, os.path.expanduser(given))
    return located


def _out_of_range(name: str, key: Key, value: Any) -> str | None:
    if key.choices and value not in key.choices:
        return expected_one_of(name, key.choices, value)
    if key.least is not None and value < key.least:
        return f"{name}: expected at least {key.least:,.10g}, got {value!r}"
    if key.most is not None and value > key.most:
        return f"{name}: expected at most {key.most:,.10g}, got {value!r}"
    if key.below is not None and value >= key.below:
        return f"{name}: expected less than {key.below:,.10g}, got {value!r}"
    return None


def _disagreeing(config: Config) -> list[str]:
    """Return what is wrong with values that are right on their own."""
    wrong = []
    if (code := config.runtime.preempt_exit_code) in RESERVED_STATUSES:
        reserved = ", ".join(map(str, RESERVED_STATUSES))
        wrong.append(f"runtime.preempt_exit_code: expected none of {reserved}, which mean other ends, got {code!r}")
    given = config.sampling.given_weights
    if config.sampling.weight_rule == "given" and (
        len(given) != 7 or min(given) < 0 or not 0 < max(given) < MOST_WEIGHT
    ):
        wrong.append(
            f"sampling.given_weights: expected seven weights from 0 to below {MOST_WEIGHT:,}, not all 0, got {given!r}"
        )
    warmup, epochs = config.optimizer.warmup_epochs, config.train.epochs
    if config.optimizer.schedule == "cosine" and warmup >= epochs:
        wrong.append(f"optimizer.warmup_epochs: expected less than train.epochs={epochs}, got {warmup!r}")
    return wrong


def _without_effect(config: Config) -> list[str]:
    """Return what a run would silently leave out, or do to no purpose."""
    wrong = []
    augment, model, optimizer, epochs = config.augment, config.model, config.optimizer, config.train.epochs
    if not augment.enabled and augment.mix != "none":
        wrong.append(
            f"augment.mix: expected none, since augment.enabled=False mixes no images, got {augment.mix!r}; to mix "
            "alone, leave augment.enabled and set augment.degrees, zoom and shift to 0"
        )
    if model.trainable == "all" and model.freeze_epochs >= epochs:
        wrong.append(
            f"model.freeze_epochs: expected less than train.epochs={epochs}, got {model.freeze_epochs}; to train the "
            "head alone, set model.trainable=head"
        )
    rate, floor, decay = optimizer.learning_rate, optimizer.min_learning_rate, optimizer.weight_decay
    if optimizer.schedule != "none" and floor > rate:
        wrong.append(
            f"optimizer.min_learning_rate: expected at most optimizer.learning_rate={rate:g}, from which "
            f"schedule={optimizer.schedule} falls to it, got {floor!r}; to keep one rate, set optimizer.schedule=none"
        )
    if optimizer.name == "adamw" and rate * decay >= 1:
        wrong.append(
            f"optimizer.weight_decay: expected less than 1 / optimizer.learning_rate, at which a step leaves nothing "
            f"of a kernel, got {decay!r} at a rate of {rate:g}"
        )
    return wrong


def _get(config: Config, name: str) -> Any:
    topic, field = name.split(".")
    return getattr(getattr(config, topic), field)
