"""Checkpoints, of one run or several, whose probabilities are averaged; usually there is one."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from hamjax.data.dataset import Dataset
from hamjax.data.unlabelled import Shape
from hamjax.evaluation.averaging import average_logits
from hamjax.evaluation.predictor import Predictor, Sent, fetch
from hamjax.evaluation.trained_run import TrainedRun
from hamjax.models.initialization import Variables
from hamjax.training.setup.experiment import parameter_counts

Workdirs = str | Path | Sequence[str | Path]


@dataclasses.dataclass(frozen=True)
class Member:
    """A checkpoint of a run: its variables, its `name` and `step`."""

    run: TrainedRun
    variables: Variables
    checkpoint: dict[str, Any]

    @property
    def shape(self) -> Shape:
        """The images that its network takes."""
        return self.run.config.data.image_size, self.run.config.data.resize


class Ensemble:
    """Checkpoints that predict together, by the mean of their probabilities.

    Args:
        workdirs: one run directory, or several.
        checkpoint: `last`, `best` or a step, or several with commas between them, of each run; by default
            what training reported.
        tta: see `hamjax.evaluation.averaging.views`; by default `eval.tta` of the first run.

    Attributes:
        runs: one for each directory.
        members: the checkpoints, those of a run side by side.
        variables: of the first checkpoint.
        tta: resolved.
        batch_size: images that `send` takes, at most.

    Raises:
        UserError: there is no such run or checkpoint.
    """

    def __init__(self, workdirs: Workdirs, checkpoint: str | None = None, tta: str | None = None) -> None:
        self.runs = [TrainedRun(w) for w in ([workdirs] if isinstance(workdirs, str | Path) else workdirs)]
        asked = [None] if checkpoint is None else [name.strip() for name in checkpoint.split(",")]
        self.members = [Member(run, *run.restore(name)) for run in self.runs for name in asked]
        self.variables = self.members[0].variables
        self.tta = tta or self.runs[0].config.eval.tta
        # One for each run: checkpoints of one run share its compiled program.
        self._predictor_of = functools.cache(lambda run: Predictor(run.resolved, run.model, run.mesh, self.tta))
        self.batch_size = min(self._predictor_of(run).batch_size for run in self.runs)

    def predict(self, dataset_of: Callable[[TrainedRun], Dataset], rows: np.ndarray) -> np.ndarray:
        """Return logits [N, 7]; of several members, the logarithm of their mean probabilities.

        Args:
            dataset_of: the images as a run's network takes them.
            rows: [N] indices into each of these data sets.
        """
        logits = []
        for member in self.members:
            predicted = self._predictor_of(member.run)(member.variables, dataset_of(member.run), rows)
            assert predicted is not None  # nothing asked it to stop
            logits.append(predicted)
        return _mean(logits)

    def send(self, images: Mapping[Shape, np.ndarray], size: int | None = None) -> list[Sent]:
        """Begin to score a batch in memory, without waiting; `fetch` waits.

        Args:
            images: [N, S, S, 3] uint8 in the shape of each member, N at most `size`.
            size: see `Predictor.send`.
        """
        return [self._predictor_of(each.run).send(each.variables, images[each.shape], size) for each in self.members]

    def fetch(self, sent: Sequence[Sent]) -> np.ndarray:
        """Wait for a batch; return logits [N, 7], as `predict` does."""
        return _mean([fetch(each) for each in sent])

    def heat_maps(self, images: np.ndarray, predicted: Sequence[str]) -> np.ndarray:
        """Explain predictions by the first checkpoint alone; see `Predictor.heat_maps`."""
        return self._predictor_of(self.runs[0]).heat_maps(self.variables, images, predicted)

    def explain(self, dataset: Dataset, errors: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
        """Explain errors by the first checkpoint alone; see `Predictor.explain`."""
        return self._predictor_of(self.runs[0]).explain(self.variables, dataset, errors)

    def facts(self) -> dict[str, Any]:
        """Describe the predictor: checkpoint and test-time augmentation; of several members also each, and sums."""
        if len(self.members) == 1:
            return {"checkpoint": self.members[0].checkpoint, "tta": self.tta}
        rows = [self._row(member) for member in self.members]
        names = ("model", "strategy", "seed", "schedule")
        joined = {name: " + ".join(dict.fromkeys(str(r[name]) for r in rows)) for name in names}
        sums = {name: sum(r[name] for r in rows) for name in ("params_total", "params_trainable")}
        kinds = " and ".join(dict.fromkeys(r["checkpoint"]["name"] for r in rows))
        # The latest step: it says how much training has gone into the mean at most.
        steps = [r["checkpoint"]["step"] for r in rows]
        checkpoint = {"name": f"mean of {len(rows)}: {kinds}", "step": max(steps)}
        return {**joined, **sums, "checkpoint": checkpoint, "tta": self.tta, "averaged": rows}

    def _row(self, member: Member) -> dict[str, Any]:
        config = member.run.config
        return {
            "run": member.run.workdir.absolute().name,
            "model": config.model.name,
            "strategy": str(config.sampling.strategy),
            "seed": config.train.seed,
            "schedule": config.optimizer.schedule,
            "checkpoint": member.checkpoint,
            **parameter_counts(config, member.variables),
        }


def _mean(logits: list[np.ndarray]) -> np.ndarray:
    return logits[0] if len(logits) == 1 else np.asarray(average_logits(jnp.stack(logits), axis=0))
