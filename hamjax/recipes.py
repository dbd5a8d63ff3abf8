"""The paper's experiments as two tables: what a network needs, what a strategy changes; and a recipe of today's."""

from typing import Any

from hamjax.config import KEYS, Config, Strategy
from hamjax.errors import UserError
from hamjax.limits import validate

# Section 4.3 of the paper; learning rates of the transfer networks are not given there
# ("a small learning rate"): 1e-4 is what public code of that time used for them.
TRANSFER: dict[str, Any] = {
    "model.weights": "imagenet",
    "optimizer.name": "rmsprop",
    "optimizer.learning_rate": 1e-4,
    "train.epochs": 30,
}
MODELS: dict[str, dict[str, Any]] = {
    "cnn": {
        "model.weights": "random",
        "optimizer.name": "adam",
        "optimizer.learning_rate": 1e-3,
        "train.epochs": 50,
    },
    "resnet50": TRANSFER,
    "inceptionv3": TRANSFER,
    "densenet201": TRANSFER,
}
# What later work found to help such networks, as far as an option here does it. Measured here: nothing yet.
IMPROVED: dict[str, Any] = {
    "data.split": "honest",
    "sampling.weight_rule": "sqrt",
    "augment.flips": True,
    "augment.colour": 0.2,
    "loss.label_smoothing": 0.1,
    "optimizer.name": "adamw",
    "optimizer.schedule": "cosine",
    "train.ema_decay": 0.999,
}
NATIVE: dict[str, Any] = {"model.input_scale": "native"}
RECIPES: dict[str, dict[str, dict[str, Any]]] = {
    "paper": MODELS,
    "improved": {
        "cnn": MODELS["cnn"] | IMPROVED,
        "resnet50": TRANSFER | IMPROVED | NATIVE,
        "inceptionv3": TRANSFER | IMPROVED | NATIVE | {"data.image_size": 299},  # its ImageNet size
        "densenet201": TRANSFER | IMPROVED | NATIVE,
    },
}


def make_config(*, model: str, strategy: str, recipe: str = "paper", **changes: Any) -> Config:
    """Make the config of a network, a strategy and a recipe, by default a cell of the paper's grid.

    Args:
        model: a key of `MODELS`.
        strategy: `s1` to `s5`.
        recipe: a key of `RECIPES`.
        **changes: further keys, written with two underscores for the dot:
            `data__image_size=64`.

    Raises:
        UserError: there is no such model, strategy, recipe, key or value.
    """
    if model not in MODELS:
        raise UserError(f"model: expected one of {', '.join(MODELS)}, got {model!r}.")
    if recipe not in RECIPES:
        raise UserError(f"recipe: expected one of {', '.join(RECIPES)}, got {recipe!r}.")
    config = Config()
    config.model.name = model
    for key, value in RECIPES[recipe][model].items():
        _set(config, key, value)
    for key, value in changes.items():
        _set(config, key.replace("__", ".", 1), value)
    if strategy not in list(Strategy):
        raise UserError(f"strategy: expected one of {', '.join(Strategy)}, got {strategy!r}.")
    config.sampling.strategy = Strategy(strategy)
    validate(config)
    return config


def _set(config: Config, key: str, value: Any) -> None:
    if key not in KEYS:
        raise UserError(f"expected a config key such as data.image_size, got {key!r}.")
    topic, _, name = key.partition(".")
    setattr(getattr(config, topic), name, value)
