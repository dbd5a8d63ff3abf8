"""What the loop sends to the devices: several steps at once, compiled for what is frozen."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from hamjax.compiler import compiler_options
from hamjax.data.pipeline import Batch
from hamjax.experiment import Experiment
from hamjax.metrics.training import TrainMetrics
from hamjax.models.trainable import trainable_mask
from hamjax.network import input_scale
from hamjax.parts import loss_of, mix_of
from hamjax.resident import put_images, read_batch
from hamjax.train_state import TrainState
from hamjax.train_step import compile_train_step, make_train_step


class Dispatcher:
    """The compiled steps of a run, and its images where they live on the devices.

    Raises:
        UserError: they are to, and do not fit.
    """

    def __init__(self, experiment: Experiment) -> None:
        self._experiment = experiment
        self._compiled: dict[str, Callable[..., tuple[TrainState, TrainMetrics]]] = {}
        self._images: tuple[jax.Array, ...] = ()
        if experiment.config.data.augment_on == "device":
            self._images = (put_images(experiment.dataset.images, experiment.mesh),)

    def __call__(
        self, step: int, state: TrainState, metrics: TrainMetrics, batches: dict[str, jax.Array], rate: jax.Array
    ) -> tuple[TrainState, TrainMetrics]:
        """Take the steps after `step`, as many as batches are stacked; state and metrics are donated."""
        frozen = self._experiment.frozen_at(step)  # changes only between epochs
        if frozen not in self._compiled:
            self._compiled[frozen] = self._compile(frozen, state.params)
        return self._compiled[frozen](state, metrics, batches, rate, *self._images)

    def _compile(self, frozen: str, params: Any) -> Callable[..., tuple[TrainState, TrainMetrics]]:
        experiment, config = self._experiment, self._experiment.config
        model, trainable = experiment.model, None
        if frozen != "none":
            model, trainable = model.clone(frozen=frozen), trainable_mask(params, frozen)
        step = make_train_step(
            model,
            experiment.tx,
            loss=loss_of(config, experiment.counts, experiment.class_weights),
            input_scale=input_scale(config),
            seed=config.train.seed,
            trainable=trainable,
            mix=mix_of(config),
            ema_decay=config.train.ema_decay,
        )
        read = functools.partial(read_batch, mesh=experiment.mesh) if self._images else None
        return compile_train_step(
            step,
            unroll=jax.default_backend() == "cpu",
            read=read,
            compiler_options=compiler_options(config.model.name),
        )


def stack_batches(stream: Iterator[Batch], plan: list[int]) -> Iterator[dict[str, np.ndarray]]:
    """Stack as many batches as each dispatch takes, along a new first axis."""
    for count in plan:
        group = [next(stream) for _ in range(count)]
        yield {name: np.stack([batch[name] for batch in group]) for name in group[0] if name != "mask"}
