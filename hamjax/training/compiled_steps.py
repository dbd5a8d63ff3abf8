"""Compile and run training steps: several per dispatch, one program for each set of frozen layers and each length."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from hamjax.data.pipeline import Batch
from hamjax.models.freezing import trainable_mask
from hamjax.runtime.compiler import compiler_options
from hamjax.training.device_dataset import put_images, read_batch
from hamjax.training.setup.experiment import Experiment
from hamjax.training.setup.parts import loss_of, mix_of
from hamjax.training.state import TrainState
from hamjax.training.step import StepSettings, compile_train_step, make_train_step


class Dispatcher:
    """The compiled steps of a run, and its images where they live on the devices.

    Raises:
        UserError: `data.augment_on=device`, and the images do not fit into device memory.
    """

    def __init__(self, experiment: Experiment) -> None:
        self._experiment = experiment
        self._compiled: dict[str, Callable[..., tuple[TrainState, Any]]] = {}
        self._images: tuple[jax.Array, ...] = ()
        if experiment.config.data.augment_on == "device":
            self._images = (put_images(experiment.dataset.images, experiment.mesh),)

    def __call__(
        self, step: int, state: TrainState, metrics: Any, batches: dict[str, jax.Array], settings: StepSettings
    ) -> tuple[TrainState, Any]:
        """Take the steps after `step`, as many as batches are stacked; state and metrics are donated."""
        # Frozen layers change only between epochs, and no dispatch crosses the end of one.
        frozen = self._experiment.frozen_at(step)
        # Compiled when first needed: a run that resumes after its frozen epochs never needs their program.
        if frozen not in self._compiled:
            self._compiled[frozen] = self._compile(frozen, state.params)
        return self._compiled[frozen](state, metrics, batches, settings, *self._images)

    def _compile(self, frozen: str, params: Any) -> Callable[..., tuple[TrainState, Any]]:
        experiment, config = self._experiment, self._experiment.config
        model, trainable = experiment.model, None
        # A module of its own: a frozen BatchNorm runs in inference mode, which is another program.
        if frozen != "none":
            model, trainable = model.clone(frozen=frozen), trainable_mask(params, frozen)
        step = make_train_step(
            model,
            experiment.tx,
            loss=loss_of(config),
            input_scale=experiment.resolved.input_scale,
            trainable=trainable,
            mix=mix_of(config),
            ema_decay=config.train.ema_decay,
        )
        read = functools.partial(read_batch, mesh=experiment.mesh) if self._images else None
        return compile_train_step(
            step,
            # Inside a loop XLA:CPU leaves its fast convolutions; an accelerator does not, and compiles a loop sooner.
            unroll=jax.default_backend() == "cpu",
            read=read,
            compiler_options=compiler_options(config.model.name),
        )


def stack_batches(stream: Iterator[Batch], plan: list[int]) -> Iterator[dict[str, np.ndarray]]:
    """Stack as many batches as each dispatch takes, along a new first axis."""
    # The mask marks padding, which training batches do not have.
    for count in plan:
        group = [next(stream) for _ in range(count)]
        yield {name: np.stack([batch[name] for batch in group]) for name in group[0] if name != "mask"}
