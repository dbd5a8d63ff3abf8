"""The network a config asks for: its module, the values it starts from, what of it is trained."""

import hashlib
from pathlib import Path
from typing import Any

import jax
import numpy as np

from hamjax.config import Config
from hamjax.data.classes import CLASSES
from hamjax.models.freezing import trainable_mask
from hamjax.models.initialization import count_parameters, init_variables
from hamjax.models.pretrained import load_pretrained
from hamjax.models.pretrained.official_files import FILES, published_weights
from hamjax.models.registry import MODEL_SPECS, create_model
from hamjax.runtime.errors import UserError
from hamjax.runtime.say import Say
from hamjax.training.setup.resolved import Resolved, starting_weights


def require_fitting(config: Config) -> None:
    """Check that the network can do what is asked of it.

    Raises:
        UserError: the images are too small, or there are no ImageNet weights to use.
    """
    spec, chosen = MODEL_SPECS[config.model.name], config.model
    if config.data.image_size < spec.minimum_size:
        raise UserError(
            f"data.image_size={config.data.image_size}: expected at least {spec.minimum_size} for "
            f"{chosen.name}; set --config.data.image_size."
        )
    if spec.pretrained:
        return
    wanted = {
        f"model.weights={chosen.weights}": starting_weights(config) != "random",
        f"model.input_scale={chosen.input_scale}": chosen.input_scale != "unit",
        f"model.trainable={chosen.trainable}": chosen.trainable != "all",
        f"model.freeze_epochs={chosen.freeze_epochs}": chosen.freeze_epochs > 0,
        f"model.freeze_bn={chosen.freeze_bn}": chosen.freeze_bn,
    }
    if asked := [key for key, is_asked in wanted.items() if is_asked]:
        raise UserError(
            f"{', '.join(asked)}: expected a network with ImageNet weights, got {chosen.name}, which has none; "
            "leave these keys out and set --config.model.weights=random."
        )


def make_network(config: Config, resolved: Resolved) -> Any:
    """Make the Flax module."""
    return create_model(
        config.model.name,
        num_classes=len(CLASSES),
        head=config.model.head,
        compute_dtype=resolved.compute_dtype,
        bn_stats=config.model.bn_stats,
        num_devices=resolved.devices,
        dropout=config.model.dropout,
    )


def locate_weights(config: Config, say: Say = print) -> Path | None:
    """Return the weights file to start from, fetched if it is the official one; nothing for random.

    Raises:
        UserError: there is no such file, or it cannot be fetched.
    """
    weights = starting_weights(config)
    if weights == "random":
        return None
    if weights == "imagenet":
        return published_weights(config.model.name, say=say)
    if not Path(weights).is_file():
        raise UserError(
            f"model.weights={weights}: expected auto, imagenet, random or a file, got none of that name; "
            "check --config.model.weights."
        )
    return Path(weights)


def initial_variables(config: Config, model: Any, weights: Path | None = None) -> dict[str, Any]:
    """Return the values a run starts from.

    Args:
        config: of the run.
        model: from `make_network`.
        weights: from `locate_weights`; None for random values, or where only shapes matter.

    Raises:
        UserError: the file is not of this network.
    """
    variables = init_variables(model, image_size=config.data.image_size, seed=config.train.seed)
    return variables if weights is None else load_pretrained(config.model.name, variables, weights)


def weights_origin(config: Config) -> str:
    """Say where the values come from that a run starts from; a file is named with its hash.

    Raises:
        UserError: the file can no longer be read.
    """
    weights = starting_weights(config)
    if weights == "random":
        return f"random, seed {config.train.seed}"
    if weights == "imagenet":
        published = FILES[config.model.name][False]
        return f"{published.name}, MD5 {published.md5}"
    try:
        with open(weights, "rb") as file:
            return f"{weights}, SHA-256 {hashlib.file_digest(file, 'sha256').hexdigest()}"
    except OSError as error:
        raise UserError(
            f"{weights}: expected the weights that were just read, got {error}; bring them back."
        ) from error


def weights_fingerprint(params: Any, batch_stats: Any) -> str:
    """Return the SHA-256 over all values of a network, in the order of their names.

    Args:
        params: nested dictionaries of arrays.
        batch_stats: the same, of BatchNorm.
    """
    leaves = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree.leaves_with_path((params, batch_stats))}
    digest = hashlib.sha256()
    for name, leaf in sorted(leaves.items()):
        value = np.asarray(leaf)
        digest.update(f"{name} {value.dtype} {value.shape}\n".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def frozen_at(config: Config, epoch: int) -> str:
    """Return what is left as it is in an epoch, from 0: see `Classifier.frozen`."""
    chosen = config.model
    if chosen.trainable == "head" or epoch < chosen.freeze_epochs:
        return "backbone"
    return "bn" if chosen.freeze_bn else "none"


def count_trainable(config: Config, params: Any) -> int:
    """Count the parameters that are trained in some epoch."""
    mask = trainable_mask(params, frozen_at(config, config.model.freeze_epochs))
    return count_parameters(jax.tree.map(lambda p, trained: p if trained else (), params, mask))
