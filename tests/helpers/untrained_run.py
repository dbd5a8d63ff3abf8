"""A run directory with checkpoints, made without training."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from hamjax.config import Config
from hamjax.data import splits
from hamjax.data.sources.synthetic import SyntheticSource
from hamjax.evaluation.eval_step import make_eval_step
from hamjax.models.initialization import Variables
from hamjax.models.layers.normalization import BN_MOMENTUM
from hamjax.models.preprocessing import scale_images
from hamjax.training.run_directory.checkpoints import Checkpoints
from hamjax.training.run_directory.identity import run_identity
from hamjax.training.setup.network import initial_variables, make_network
from hamjax.training.setup.resolved import resolve
from hamjax.training.state import create_train_state


def write_run(workdir: Path, config: Config, variables: Variables, steps: Sequence[int] = (1,)) -> None:
    """Write a run of drawn images that was stopped; each of its checkpoints holds `variables`, the last is the best."""
    metadata = SyntheticSource(300).metadata
    split = splits.split_csv(metadata, splits.make_split(metadata, "honest"))
    facts = {"data_fingerprint": "0" * 64, "split_fingerprint": hashlib.sha256(split.encode()).hexdigest()}
    record = {
        "config": config.to_dict(),
        "resolved": resolve(config).record({"origin": "random", "sha256": "0" * 64}),
        **facts,
        "command": "python",
        "environment": {"packages": {"jax": "0"}},
    }
    workdir.mkdir()
    (workdir / "split.csv").write_text(split)
    (workdir / "config.json").write_text(json.dumps(record))
    state = create_train_state(variables, optax.identity(), ema=False)
    host = {"schedule": {}, "best": {"balanced_accuracy": 0.5, "step": steps[-1]}}
    identity = run_identity(config, facts["data_fingerprint"], facts["split_fingerprint"])
    with Checkpoints(workdir / "checkpoints", identity) as checkpoints:
        for step in steps:
            checkpoints.save({"state": state}, host, step=step)
        checkpoints.mark_best(steps[-1])


def varied_images(count: int, size: int) -> np.ndarray:
    """Draw images [count, size, size, 3] uint8, each of a few patches of one colour under noise."""
    rng = np.random.default_rng(count)
    side = -(-size // 3)
    patches = rng.integers(0, 200, (count, 3, 3, 3)).repeat(side, 1).repeat(side, 2)[:, :size, :size]
    return (patches + rng.integers(0, 56, patches.shape)).astype(np.uint8)


def random_variables(config: Config) -> Variables:
    """Draw every value of a network, also those that begin as 0 or 1, as training would have moved them.

    The statistics are those of varied images, and over them the logits have mean 0 and deviation 1. Statistics drawn at
    random would give a network that sees little difference between images, and makes much of what rounding adds.
    """
    rng = np.random.default_rng(0)

    def draw(path: Any, value: np.ndarray) -> np.ndarray:
        kind = path[-1].key
        if kind == "bias":
            value = rng.normal(0, 0.1, value.shape)
        elif kind == "scale":
            value = rng.uniform(0.5, 1.5, value.shape)
        return np.asarray(value, np.float32)

    resolved = resolve(config)
    model = make_network(config, resolved).clone(dropout=False)
    variables: Any = jax.tree.map_with_path(draw, initial_variables(config, model))
    images = jnp.asarray(varied_images(16, config.data.image_size))
    variables["batch_stats"] = _statistics(model, variables, scale_images(images, resolved.input_scale, jnp.float32))
    step = make_eval_step(model, resolved.input_scale)
    logits = np.asarray(step(variables["params"], variables["batch_stats"], images))
    last = variables["params"].get("head", variables["params"])["predictions"]
    last["bias"] = (last["bias"] - logits.mean(0)) / logits.std(0)
    last["kernel"] = last["kernel"] / logits.std(0)
    return variables


def _statistics(model: Any, variables: Variables, images: jax.Array) -> Any:
    """Return the statistics of one batch, read off how far it moves the running ones."""
    _, moved = jax.jit(lambda *given: model.apply(*given, train=True, mutable=["batch_stats"]))(variables, images)

    def of_batch(path: Any, after: jax.Array, before: np.ndarray) -> np.ndarray:
        value = (np.asarray(after) - BN_MOMENTUM * before) / (1 - BN_MOMENTUM)
        # A channel of hardly any variance among these images would multiply what others differ by.
        return value + 0.1 if path[-1].key == "var" else value

    return jax.tree.map_with_path(of_batch, moved.get("batch_stats", {}), variables["batch_stats"])
