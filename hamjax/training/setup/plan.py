"""The data plan of a run: its split, the rows of a training epoch, the class weights and the number of steps.

Needs the metadata table, but no images and no device.
"""

import dataclasses

import numpy as np

from hamjax.config import Config
from hamjax.data import sampling, splits
from hamjax.data.classes import CLASSES
from hamjax.data.dataset import Dataset
from hamjax.data.metadata import Metadata
from hamjax.data.preparation.prepare import DataRequest, Outlook, look_ahead, prepare
from hamjax.runtime.errors import UserError
from hamjax.runtime.say import Say


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """The data plan of a run; see the module.

    Attributes:
        split: [N] partition names.
        epoch_rows: [M] data-set rows of a training epoch, the strategy applied.
        counts: [7] of them per class.
        class_weights: [7] float32.
        steps_per_epoch: full batches.
        num_steps: of the whole run.
    """

    split: np.ndarray
    epoch_rows: np.ndarray
    counts: np.ndarray
    class_weights: np.ndarray
    steps_per_epoch: int
    num_steps: int


def data_request(config: Config) -> DataRequest:
    """Return which data set a config names."""
    return DataRequest(**{field.name: getattr(config.data, field.name) for field in dataclasses.fields(DataRequest)})


def prepare_data(config: Config, say: Say = print) -> Dataset:
    """Return the images that a config names; prepare those that are not there yet."""
    return prepare(data_request(config), say)


def look_ahead_at_data(config: Config) -> Outlook:
    """Return what `prepare_data` would do; see `hamjax.data.preparation.prepare.look_ahead`."""
    return look_ahead(data_request(config))


def make_plan(config: Config, metadata: Metadata) -> Plan:
    """Draw the split, apply the strategy, count the steps; no image and no device is needed.

    Raises:
        UserError: a partition or an epoch would be empty.
    """
    split = splits.make_split(metadata, config.data.split, seed=config.data.split_seed, stratify=config.data.stratify)
    epoch_rows, counts, class_weights = _apply_strategy(config, metadata, split)
    train_size = int((split == splits.TRAIN).sum())
    # `fixed` makes strategies comparable: as many steps an epoch as without oversampling.
    taken = len(epoch_rows) if config.sampling.epoch_size == "natural" else train_size
    # The rest of an epoch is dropped, as in the Keras code of that time; another order is drawn every epoch.
    steps_per_epoch = taken // config.train.global_batch_size
    _require_enough(config, split, steps_per_epoch)
    num_steps = config.train.epochs * steps_per_epoch
    return Plan(
        split=split,
        epoch_rows=epoch_rows,
        counts=counts,
        class_weights=class_weights,
        steps_per_epoch=steps_per_epoch,
        num_steps=min(num_steps, config.train.max_steps) if config.train.max_steps else num_steps,
    )


def require_unfrozen_steps(config: Config, plan: Plan) -> None:
    """Refuse a run that `train.max_steps` ends before the backbone is trained at all.

    Raises:
        UserError: names the steps that are frozen, and what to set.
    """
    frozen = config.model.freeze_epochs * plan.steps_per_epoch
    if config.model.trainable == "all" and 0 < plan.num_steps <= frozen:
        raise UserError(
            f"train.max_steps={config.train.max_steps}: expected more than the {frozen:,} steps of "
            f"model.freeze_epochs={config.model.freeze_epochs}, after which the backbone is trained, too; to train the "
            "head alone, set --config.model.trainable=head."
        )


def _apply_strategy(config: Config, metadata: Metadata, split: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the rows of an epoch, their counts per class, and the class weights."""
    chosen, strategy = config.sampling, sampling.STRATEGIES[config.sampling.strategy]
    # Training images alone: oversampling before the split would put copies of test images into training.
    train_rows = np.flatnonzero(split == splits.TRAIN)
    labels = metadata.label[train_rows]
    original = np.bincount(labels, minlength=len(CLASSES))
    counts = sampling.target_counts(
        strategy.oversample,
        original,
        metadata.class_counts(),
        threshold=chosen.threshold,
        threshold_on=chosen.threshold_on,
    )
    weights = np.ones(len(CLASSES), np.float32)
    if strategy.weighted:
        weights = sampling.class_weights(
            chosen.weight_rule,
            counts if chosen.weights_from == "effective" else original,
            beta=chosen.effective_beta,
            given=chosen.given_weights,
        )
    index = sampling.resample(labels, counts, seed=config.train.seed, draw=chosen.draw)
    return train_rows[index], counts, weights


def _require_enough(config: Config, split: np.ndarray, steps_per_epoch: int) -> None:
    empty = [part for part in splits.PARTITIONS if not (split == part).any()]
    if empty:
        raise UserError(f"data.split={config.data.split}: got no image for {', '.join(empty)}; use more data.")
    if steps_per_epoch == 0:
        raise UserError(
            f"train.global_batch_size={config.train.global_batch_size}: expected at most the "
            f"{(split == splits.TRAIN).sum()} training images; set --config.train.global_batch_size."
        )
