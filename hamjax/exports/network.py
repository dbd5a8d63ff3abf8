"""The network of a run as it is exported: float32, plain forms, and what is known of it."""

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import hamjax
from hamjax.config import Config
from hamjax.data.classes import CLASS_NAMES, CLASSES
from hamjax.evaluation.eval_step import make_eval_step
from hamjax.evaluation.metrics.classification import softmax
from hamjax.evaluation.trained_run import TrainedRun
from hamjax.models.initialization import Variables
from hamjax.models.preprocessing import scale_images
from hamjax.training.run_directory.finished import read_summary

SCORES = ("n", "accuracy", "majority_baseline_accuracy", "balanced_accuracy", "macro_f1", "macro_auc", "intervals")
INPUT, OUTPUT = "images", "probabilities"


@dataclasses.dataclass(frozen=True)
class TrainedNetwork:
    """A run's network at one checkpoint.

    Attributes:
        config: of the run.
        input_scale: see `scale_images`.
        model: the Flax module, in float32.
        variables: `params` and `batch_stats`, float32 numpy arrays by the names of Flax.
        facts: what the metadata of an export says, JSON values.
    """

    config: Config
    input_scale: str
    model: Any
    variables: Variables
    facts: dict[str, Any]

    @property
    def image_size(self) -> int:
        """Return the side of an image in pixels."""
        return self.config.data.image_size

    def probabilities(self, images: np.ndarray, variables: Variables | None = None) -> np.ndarray:
        """Return what `hamjax evaluate` computes for images [N, S, S, 3] uint8: [N, 7] float64.

        Args:
            images: red, green, blue.
            variables: values that take the place of the run's.
        """
        values = variables or self.variables
        step = make_eval_step(self.model, self.input_scale)
        return softmax(np.asarray(step(values["params"], values["batch_stats"], jnp.asarray(images))))

    def forward(self) -> Callable[[jax.Array], jax.Array]:
        """Return the function [N, S, S, 3] uint8 to [N, 7] float32, of plain convolutions and poolings alone."""
        # The forms that are fast on a CPU are many small operations, which other programs run slowly or not at all.
        plain = self.model.clone(plain=True)

        def forward(images: jax.Array) -> jax.Array:
            scaled = scale_images(images, self.input_scale, jnp.float32)
            return jax.nn.softmax(plain.apply(self.variables, scaled, train=False))

        return forward

    def facts_as_text(self) -> dict[str, str]:
        """Return the facts for formats whose metadata is text: a text as it is, anything else as JSON."""
        return {name: fact if isinstance(fact, str) else json.dumps(fact) for name, fact in self.facts.items()}


def load_network(workdir: str | Path, checkpoint: str | None = None) -> TrainedNetwork:
    """Load the network of a run; its data is not needed.

    Args:
        workdir: the run directory.
        checkpoint: `last`, `best` or a step; by default what training reports.

    Raises:
        UserError: there is no such run or checkpoint, or it is damaged.
    """
    run = TrainedRun(workdir)
    restored, found = run.restore(checkpoint)
    # A run in bfloat16 has parameters in float32, too: exported in float32 it only rounds less.
    variables = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), jax.device_get(restored))
    model = run.model.clone(dtype=jnp.float32)
    return TrainedNetwork(run.config, run.resolved.input_scale, model, variables, _facts(run, found))


def named_leaves(tree: Variables) -> Iterator[tuple[str, np.ndarray]]:
    """Yield every array of a tree with its name, such as `params/head/dense/kernel`."""
    for path, leaf in jax.tree.leaves_with_path(tree):
        yield jax.tree_util.keystr(path, simple=True, separator="/"), leaf


def _facts(run: TrainedRun, checkpoint: dict[str, Any]) -> dict[str, Any]:
    config, size = run.config, run.config.data.image_size
    asked = config.result_keys()
    # A path says where something lay on the machine of the training, and an export is made to be passed on.
    asked["model"]["weights"] = Path(asked["model"]["weights"]).name
    facts = {
        "made_by": f"hamjax {hamjax.__version__}",
        "network": config.model.name,
        "classes": list(CLASSES),
        "class_names": CLASS_NAMES,
        "input": f"{INPUT}: uint8 [N, {size}, {size}, 3], red green blue, any N; the scaling is inside",
        "output": f"{OUTPUT}: float32 [N, {len(CLASSES)}] in the order of `classes`, before any temperature",
        "image_size": size,
        "resize": config.data.resize,
        "input_scale": run.resolved.input_scale,
        "checkpoint": checkpoint,
        "config": asked,
        "notice": "Research software, not a medical device. HAM10000, which it is made for, is CC BY-NC 4.0.",
    }
    summary = read_summary(run.workdir) or {}
    # Scores of another checkpoint, or of averages over turned images, would not be those of what is exported.
    if summary.get("checkpoint") == checkpoint and summary.get("tta") == "none":
        facts["test_scores"] = {name: summary[name] for name in SCORES if name in summary}
        calibration = summary.get("calibration")
        if isinstance(calibration, dict) and isinstance(calibration.get("temperature"), float):
            facts["temperature"] = calibration["temperature"]
    return facts
