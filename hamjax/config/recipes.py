"""The recipes of the paper's networks, a later one for each, and the names of the configs made from them."""

from pathlib import Path
from typing import Any

from hamjax.config.schema import KEYS, Config, Strategy
from hamjax.config.validation import validate
from hamjax.runtime.errors import UserError, expected_one_of, nearest

# Section 4.3 of the paper; learning rates of the transfer networks are not given there
# ("a small learning rate"): 1e-4 is what public code of that time used for them.
TRANSFER: dict[str, Any] = {
    "optimizer.name": "rmsprop",
    "optimizer.learning_rate": 1e-4,
    "train.epochs": 30,
}
MODELS: dict[str, dict[str, Any]] = {
    "cnn": {},  # the defaults are its recipe
    "resnet50": TRANSFER,
    "inceptionv3": TRANSFER,
    "densenet201": TRANSFER,
}
# Options that later work found to help such networks. At 64 px the square-root weights keep the CNN from collapsing,
# and AdamW with cosine is better than Adam with the plateau; of the others no difference was seen
# (hamjax/paper/README.md).
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

SHORT_NAMES = {"densenet201": "densenet"}  # of networks whose configs are not called like them


def config_name(model: str, variant: str) -> str:
    """Return the name of a network's config for a strategy, or `improved`."""
    return f"{SHORT_NAMES.get(model, model)}_{variant}"


# The arguments of `make_config` for each name that `--config` takes. The files in configs/ say the same to readers
# of the repository; a wheel has only these.
CONFIGS: dict[str, dict[str, Any]] = {
    "quickstart": {
        "model": "cnn",
        "strategy": "s2",
        "data__name": "synthetic",
        "data__image_size": 32,
        "data__split": "honest",
        "sampling__threshold": 450,
        "model__dropout": False,  # without it four short epochs scored higher here
        "train__epochs": 4,
    },
    **{config_name(model, s): {"model": model, "strategy": s} for model in MODELS for s in Strategy},
    # s4: the improved recipe replaces the rule of its class weights.
    **{config_name(model, "improved"): {"model": model, "strategy": "s4", "recipe": "improved"} for model in MODELS},
}


def named_config(name: str) -> Config:
    """Make the config of a name in `CONFIGS`.

    Raises:
        UserError: there is no such name.
    """
    if name not in CONFIGS:
        near = nearest(Path(name).stem, CONFIGS)
        raise UserError(
            f"--config {name}: expected a config file, or the name of a config"
            + (f"; did you mean {near}?" if near else ".")
            + f" The names are {', '.join(CONFIGS)}."
        )
    return make_config(**CONFIGS[name])


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
    for what, known, got in (("model", MODELS, model), ("recipe", RECIPES, recipe), ("strategy", Strategy, strategy)):
        if got not in list(known):
            raise UserError(expected_one_of(what, known, got))
    config = Config()
    config.model.name = model
    for key, value in RECIPES[recipe][model].items():
        _set(config, key, value)
    for key, value in changes.items():
        _set(config, key.replace("__", ".", 1), value)
    config.sampling.strategy = Strategy(strategy)
    validate(config)
    return config


def require_key(name: str) -> None:
    """Refuse a name that is not a config key, with the nearest that is.

    Raises:
        UserError: there is no such key.
    """
    if name not in KEYS:
        near = nearest(name, KEYS)
        hint = f"{name}: did you mean {near}?" if near else f"{name}: expected a config key such as data.image_size."
        raise UserError(f"{hint} `hamjax train --help` lists the keys.")


def _set(config: Config, key: str, value: Any) -> None:
    require_key(key)
    topic, _, name = key.partition(".")
    setattr(getattr(config, topic), name, value)
