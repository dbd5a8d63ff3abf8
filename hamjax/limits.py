"""Which values a config may have."""

import math
from collections.abc import Callable
from typing import Any

from hamjax.config import KEYS, Config, Strategy
from hamjax.errors import UserError
from hamjax.losses import LOSSES
from hamjax.mixing import MIXES
from hamjax.optim import OPTIMIZERS, SCHEDULES

CHOICES: dict[str, tuple[str, ...]] = {
    "data.name": ("ham10000", "synthetic"),
    "data.resize": ("squash", "crop"),
    "data.split": ("paper", "honest", "fold0", "fold1", "fold2", "fold3", "fold4"),
    "data.augment_on": ("host", "device"),
    "sampling.strategy": ("s1", "s2", "s3", "s4", "s5"),
    "sampling.threshold_on": ("all", "train"),
    "sampling.draw": ("top_up", "replace"),
    "sampling.epoch_size": ("natural", "fixed"),
    "sampling.weight_rule": ("balanced", "sqrt", "effective_number", "given"),
    "sampling.weights_from": ("effective", "original"),
    "augment.rotation": ("uniform", "rot90"),
    "augment.mix": ("none", *MIXES),
    "model.name": ("cnn", "resnet50", "inceptionv3", "densenet201"),
    "model.trainable": ("all", "head"),
    "model.head": ("paper", "bn_first", "linear"),
    "model.input_scale": ("unit", "native"),
    "model.compute_dtype": ("auto", "float32", "bfloat16", "float64"),
    "model.bn_stats": ("global", "per_device"),
    "loss.name": tuple(LOSSES),
    "loss.normalize": ("batch", "sum_w"),
    "optimizer.name": tuple(OPTIMIZERS),
    "optimizer.schedule": tuple(SCHEDULES),
    "eval.checkpoint": ("auto", "last", "best"),
    "eval.tta": ("none", "d4"),
}
AT_LEAST: dict[str, float] = {
    "data.image_size": 4,
    "data.num_threads": -1,
    "data.split_seed": 0,
    "data.synthetic_images": 300,
    "sampling.threshold": 0,
    "augment.colour": 0,
    "augment.mix_alpha": 0.01,
    "model.freeze_epochs": 0,
    "loss.label_smoothing": 0,
    "loss.gamma": 0,
    "loss.tau": 0,
    "train.epochs": 1,
    "train.max_steps": 0,
    "train.global_batch_size": 1,
    "train.steps_per_dispatch": 0,
    "train.seed": 0,
    "train.ema_decay": 0,
    "train.log_every_steps": 1,
    "train.checkpoint_every_minutes": 0,
    "train.checkpoint_every_steps": 0,
    "train.profile_steps": 0,
    "eval.batch_size": 1,
    "runtime.join_seconds": 1,
    "optimizer.learning_rate": 0,
    "optimizer.weight_decay": 0,
    "optimizer.warmup_epochs": 0,
    "optimizer.patience": 0,
    "optimizer.min_learning_rate": 0,
}
BELOW: dict[str, float] = {
    "data.image_size": 4096,
    "data.num_threads": 1024,
    "data.synthetic_images": 1e6,
    "sampling.threshold": 1e6,
    "augment.colour": 1,
    "loss.label_smoothing": 1,
    "train.ema_decay": 1,
    "eval.batch_size": 1e5,
}
MEANING = (2, 3, 75, 134)  # exit statuses of something else than a preemption
LARGEST_INT = 2**31 - 1  # what a device counts with


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST_INT


def _is_number(value: Any) -> bool:
    return _is_whole(value) or (isinstance(value, float) and math.isfinite(value))


# What a key of a type takes; a config that is read from a file can hold anything.
TYPES: dict[Any, tuple[str, Callable[[Any], bool]]] = {
    bool: ("True or False", lambda value: isinstance(value, bool)),
    int: (f"a whole number up to {LARGEST_INT:,}", _is_whole),
    float: ("a finite number", _is_number),
    str: ("text", lambda value: isinstance(value, str)),
    Strategy: ("text", lambda value: isinstance(value, str)),
    tuple[float, ...]: ("numbers", lambda value: isinstance(value, tuple) and all(map(_is_number, value))),
}


def validate(config: Config) -> None:
    """Check every value: its type, and its range where it has one.

    Raises:
        UserError: naming all that are wrong, what was expected, and the key to set.
    """
    values = {key: _get(config, key) for key in KEYS}
    wrong = [
        f"{key}: expected {TYPES[kind][0]}, got {values[key]!r}"
        for key, kind in KEYS.items()
        if not TYPES[kind][1](values[key])
    ]
    if not wrong:
        wrong = _out_of_range(config, values)
    if wrong:
        raise UserError("\n".join([*wrong, "Set them with --config.KEY=VALUE or in the config file."]))


def _out_of_range(config: Config, values: dict[str, Any]) -> list[str]:
    wrong = []
    for key, allowed in CHOICES.items():
        value = values[key]
        if value not in allowed:
            wrong.append(f"{key}: expected one of {', '.join(allowed)}, got {value!r}")
    for key, least in AT_LEAST.items():
        value = values[key]
        if value < least:
            wrong.append(f"{key}: expected at least {least:g}, got {value!r}")
    for key, limit in BELOW.items():
        value = values[key]
        if value >= limit:
            wrong.append(f"{key}: expected less than {limit:g}, got {value!r}")
    if (code := config.runtime.preempt_exit_code) in MEANING or not 0 < code < 256:
        others = ", ".join(map(str, MEANING))
        wrong.append(f"runtime.preempt_exit_code: expected 1 to 255, but not {others}, which mean others, got {code!r}")
    given = config.sampling.given_weights
    if config.sampling.weight_rule == "given" and (len(given) != 7 or min(given) < 0 or max(given) == 0):
        wrong.append(f"sampling.given_weights: expected seven weights of at least 0, not all 0, got {given!r}")
    warmup, epochs = config.optimizer.warmup_epochs, config.train.epochs
    if config.optimizer.schedule == "cosine" and not wrong and warmup >= epochs:
        wrong.append(f"optimizer.warmup_epochs: expected less than train.epochs={epochs}, got {warmup!r}")
    return wrong


def _get(config: Config, key: str) -> Any:
    topic, name = key.split(".")
    return getattr(getattr(config, topic), name)
