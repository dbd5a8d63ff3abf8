"""One process of `test_distributed`: python tests/distributed_worker.py TASK FOLDER --config.runtime.distributed=...

Every task does what a user's process would, and leaves what the test compares in FOLDER.
"""

import dataclasses
import functools
import json
import shutil
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from hamjax.commands import training_run
from hamjax.commands.training_run import train
from hamjax.config import Config, make_config
from hamjax.data.augment import Augmentation
from hamjax.data.pipeline import TrainSource
from hamjax.evaluation.evaluate import evaluate
from hamjax.models.classifier import Classifier
from hamjax.models.densenet import DenseNet
from hamjax.models.initialization import init_variables
from hamjax.runtime.devices import make_mesh, put_batch, put_replicated, split_batch
from hamjax.runtime.distributed import connect, gather, is_first
from hamjax.training.losses import Loss
from hamjax.training.metrics import empty_metrics
from hamjax.training.optimizers import make_optimizer
from hamjax.training.setup import experiment
from hamjax.training.state import create_train_state
from hamjax.training.step import StepSettings, compile_train_step, make_train_step

STEPS, BATCH = 20, 16


class CountedImages:
    """Stands for a data set's images and notes which rows are opened."""

    def __init__(self, images: np.ndarray) -> None:
        self._images, self.opened = images, list[int]()
        self.shape, self.dtype, self.nbytes = images.shape, images.dtype, images.nbytes

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, rows: Any) -> np.ndarray:
        self.opened.extend(np.atleast_1d(rows).tolist())
        return self._images[rows]


def config(data_dir: str, dtype: str) -> Config:
    """Return a run of 20 steps that saves at the tenth."""
    return make_config(
        model="cnn", strategy="s5", data__name="synthetic", data__synthetic_images=300, data__image_size=16,
        data__data_dir=data_dir, data__split="honest", data__num_threads=0, sampling__threshold=40,
        model__compute_dtype=dtype, train__max_steps=STEPS, train__global_batch_size=BATCH,
        train__log_every_steps=1, train__checkpoint_every_steps=10, eval__batch_size=8,
    )  # fmt: skip


def train_and_count(folder: Path, dtype: str) -> None:
    """Train, or go on with, the run of a data type, without a report; note the rows opened, and each step's."""
    counted: list[CountedImages] = []
    prepare, rows_of = experiment.prepare_data, TrainSource.__getitem__
    steps: dict[int, list[int]] = {}

    def prepare_counted(config: Config, say: Any = print) -> Any:
        dataset = prepare(config, say)
        counted.append(CountedImages(dataset.images))
        return dataclasses.replace(dataset, images=counted[0])

    def note(self: TrainSource, step: int) -> Any:
        steps[step] = self.rows(step)[self.share.rows(self.batch_size)].tolist()
        return rows_of(self, step)

    experiment.prepare_data, TrainSource.__getitem__ = prepare_counted, note
    settings = config(str(folder.parent / "data"), dtype)
    settings.runtime.distributed = "off"  # met already
    result = train(settings, folder / dtype)
    assert result is not None
    everyone = gather({"opened": counted[0].opened, "steps": steps})
    if is_first():
        leaves = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree.leaves_with_path(result.state.params)}
        np.savez(folder / f"{dtype}.npz", **jax.device_get(leaves))
        (folder / f"{dtype}.json").write_text(json.dumps(everyone))
    experiment.prepare_data, TrainSource.__getitem__ = prepare, rows_of


def train_small_densenet(folder: Path, groups: int) -> None:
    """Take 20 steps of a network with BatchNorm, over all devices of all processes.

    Statistics of its own for each of four groups of images are what `per_device` means on four devices.
    """
    model = Classifier(functools.partial(DenseNet, (1, 1)), dtype=jnp.dtype("float64"), groups=groups)
    rng, mesh, tx = np.random.default_rng(1), make_mesh(), make_optimizer("adam")
    source = TrainSource(
        images=rng.integers(0, 255, (64, 16, 16, 3), dtype=np.uint8),
        labels=rng.integers(0, 7, 64).astype(np.int32),
        epoch_rows=np.arange(64), batch_size=BATCH, steps_per_epoch=4, num_steps=STEPS, seed=3,
        augmentation=Augmentation(), share=experiment.own_share(),
    )  # fmt: skip
    state = put_replicated(create_train_state(init_variables(model, image_size=16, seed=2), tx), mesh)
    metrics, settings = put_replicated((empty_metrics(), StepSettings(np.float64(1e-3))), mesh)
    step = compile_train_step(
        make_train_step(model, tx, loss=Loss(), input_scale="unit"),
        unroll=True,
        compiler_options={"xla_backend_optimization_level": "0"},
    )
    for i in range(STEPS):
        batch = {name: source[i][name][None] for name in ("image", "label")}
        state, metrics = step(state, metrics, put_batch(batch, split_batch(mesh, 1)), settings)
    if is_first():
        leaves = jax.device_get(jax.tree.leaves((state.params, state.batch_stats)))
        np.savez(folder / f"densenet_{groups}.npz", **{str(i): leaf for i, leaf in enumerate(leaves)})


def predict_with_one_checkpoint(folder: Path) -> None:
    """Evaluate the float32 run of the layout that came first."""
    judged = folder.parent / "judged"
    if is_first() and not judged.exists():
        shutil.copytree(folder / "float32", judged)
    gather("the checkpoint to judge is there")
    probabilities = evaluate(judged).probabilities
    if is_first():
        np.save(folder / "probabilities.npy", probabilities)


def main(task: str, folder: Path, meeting: str) -> None:
    """Do a task in every process: `both` data types, the `whole` of float64 alone, or `resume` that."""
    connect(meeting.partition("=")[2])
    mock.patch.object(training_run, "_report").start()
    if task == "both":
        train_and_count(folder, "float32")
        predict_with_one_checkpoint(folder)
    with jax.enable_x64(True):
        train_and_count(folder, "float64")
        if task != "resume":
            for groups in (1, 4):
                train_small_densenet(folder, groups)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
