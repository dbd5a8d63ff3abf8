"""Everything a config determines before the first step: data, split, strategy, network."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import Mesh

from hamjax.config import Config
from hamjax.data import lesions, splits
from hamjax.data.classes import CLASSES
from hamjax.data.dataset import Dataset
from hamjax.data.demographics import demographics
from hamjax.data.metadata import Metadata
from hamjax.data.pipeline import Share, TrainSource
from hamjax.data.sampling import log_prior
from hamjax.models.initialization import Variables, count_parameters
from hamjax.runtime.devices import make_mesh, put_replicated, require_divisible
from hamjax.runtime.say import Say
from hamjax.training.optimizers import make_optimizer
from hamjax.training.run_directory.identity import run_identity
from hamjax.training.schedules import Schedule
from hamjax.training.setup.network import count_trainable, frozen_at, initial_variables, make_network
from hamjax.training.setup.parts import augmentation_of, schedule_of
from hamjax.training.setup.plan import Plan, make_plan, prepare_data
from hamjax.training.setup.resolved import Resolved, resolve
from hamjax.training.state import TrainState, create_train_state
from hamjax.training.step import StepSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment:
    """What a run works with.

    Attributes:
        config: as given.
        resolved: what it leaves to the program.
        dataset: prepared images, N of them.
        plan: of its data: split, epochs, steps.
        mesh: of all devices.
        model: a Flax module.
        tx: an optax transformation.
    """

    config: Config
    resolved: Resolved
    dataset: Dataset
    plan: Plan
    mesh: Mesh
    model: Any
    tx: optax.GradientTransformation

    def initial_state(self, weights: Path | None = None) -> TrainState:
        """Initialise the network and the optimizer, on every device; see `initial_variables`."""
        # Drawn by the host, leaf by leaf: a compiled `init` of DenseNet201 takes half a minute on two cores.
        variables = initial_variables(self.config, self.model, weights)
        return put_replicated(create_train_state(variables, self.tx, ema=self.config.train.ema_decay > 0), self.mesh)

    def frozen_at(self, step: int) -> str:
        """Return which layers are frozen in the step that follows `step`: `none`, `bn` or `backbone`."""
        return frozen_at(self.config, step // self.plan.steps_per_epoch)

    def train_source(self) -> TrainSource:
        """Return the stream of training batches."""
        config = self.config
        return TrainSource(
            images=self.dataset.images,
            labels=self.dataset.metadata.label,
            epoch_rows=self.plan.epoch_rows,
            batch_size=config.train.global_batch_size,
            steps_per_epoch=self.plan.steps_per_epoch,
            num_steps=self.plan.num_steps,
            seed=config.train.seed,
            augmentation=augmentation_of(config),
            pixels=config.data.augment_on == "host",
            share=own_share(),
        )

    def step_settings(self, learning_rate: float) -> StepSettings:
        """Return what the compiled step of this run takes as arguments, on every device."""
        return put_replicated(
            StepSettings(
                learning_rate=np.float32(learning_rate),
                seed=np.uint32(self.config.train.seed),
                class_weights=self.plan.class_weights,
                log_prior=log_prior(self.plan.counts, self.plan.class_weights),
            ),
            self.mesh,
        )

    def schedule(self) -> Schedule:
        """Return the learning rate at its start."""
        return schedule_of(self.config, self.plan.steps_per_epoch, self.plan.num_steps)

    def identity(self) -> dict[str, Any]:
        """Return the values that a checkpoint of this run must hold."""
        return run_identity(self.config, **self.fingerprints())

    def fingerprints(self) -> dict[str, str]:
        """Return the fingerprints of the data and the split."""
        split = splits.fingerprint(self.dataset.metadata, self.plan.split)
        return {"data_fingerprint": self.dataset.fingerprint, "split_fingerprint": split}

    def rows(self, partition: str) -> np.ndarray:
        """Return the data-set rows of `train`, `val` or `test`."""
        return np.flatnonzero(self.plan.split == partition)

    def leaks(self) -> lesions.Leaks:
        """Count the test and validation images of a lesion that was learned from; see `leak_meter`."""
        return lesions.leak_meter(self.dataset.metadata, self.plan.split)

    def facts(self, variables: Variables) -> dict[str, Any]:
        """Return the facts of the set-up that a report holds."""
        facts = run_facts(self.config, self.dataset.metadata, self.plan.split, self.dataset.fingerprint, variables)
        sampling = {
            "epoch_counts": dict(zip(CLASSES, self.plan.counts.tolist(), strict=True)),
            "class_weights": dict(zip(CLASSES, self.plan.class_weights.tolist(), strict=True)),
        }
        whom = {part: self._demographics(part) for part in splits.PARTITIONS}
        return facts | {"sampling": sampling, "demographics": whom}

    def _demographics(self, partition: str) -> dict[str, Any]:
        metadata, rows = self.dataset.metadata, self.rows(partition)
        known = lesions.known_lesions(metadata.image_id, metadata.lesion_id)
        return demographics(lesions.lesion_groups(metadata)[rows], known[rows], metadata.select(rows).columns())


def run_facts(
    config: Config, metadata: Metadata, split: np.ndarray, data_fingerprint: str, variables: Variables
) -> dict[str, Any]:
    """Return the facts of a set-up that need no images and no plan; see `Experiment.facts`."""
    return {
        "model": config.model.name,
        "strategy": str(config.sampling.strategy),
        "seed": config.train.seed,
        "schedule": config.optimizer.schedule,
        "split": {
            "name": config.data.split,
            "fingerprint": splits.fingerprint(metadata, split),
            "counts": splits.split_counts(metadata, split),
        },
        "lesions": lesions.lesion_facts(metadata),
        "data_fingerprint": data_fingerprint,
        **parameter_counts(config, variables),
    }


def parameter_counts(config: Config, variables: Variables) -> dict[str, int]:
    """Count `params_total`, as Keras does with BatchNorm's statistics, and `params_trainable`."""
    return {
        "params_total": count_parameters(variables["params"]) + count_parameters(variables["batch_stats"]),
        "params_trainable": count_trainable(config, variables["params"]),
    }


def build_experiment(config: Config, say: Say = print) -> Experiment:
    """Prepare the data, draw the split, apply the strategy, make the network.

    Raises:
        UserError: anything about the data, the config or the devices does not fit.
    """
    mesh, resolved = make_mesh(), resolve(config)
    require_divisible("train.global_batch_size", config.train.global_batch_size, mesh.size)
    # Before anything is put on a device: what is wrong with the data is then said within seconds.
    dataset = prepare_data(config, say)
    plan = make_plan(config, dataset.metadata)
    tx = make_optimizer(
        config.optimizer.name,
        weight_decay=config.optimizer.weight_decay,
        shape=schedule_of(config, plan.steps_per_epoch, plan.num_steps).shape,
        frozen_steps=config.model.freeze_epochs * plan.steps_per_epoch,
    )
    return Experiment(
        config=config,
        resolved=resolved,
        dataset=dataset,
        plan=plan,
        mesh=mesh,
        model=make_network(config, resolved),
        tx=tx,
    )


def own_share() -> Share:
    """Return the part of every batch that this process reads."""
    return Share(jax.process_index(), jax.process_count())
