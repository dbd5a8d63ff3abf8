"""One pass over a partition, every image once, and the report of it."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from hamjax.checkpoint import Checkpoints
from hamjax.config import Config
from hamjax.data.cache import Dataset
from hamjax.data.pipeline import EvalSource, batches
from hamjax.data.splits import PARTITIONS, TEST, VAL
from hamjax.errors import UserError
from hamjax.experiment import Experiment, build_experiment, eval_batch_size, num_threads
from hamjax.judgement import EvalReport, make_report
from hamjax.metrics.training import empty_metrics
from hamjax.network import input_scale
from hamjax.run_directory import read_config, write_facts
from hamjax.sharding import prefetch, put_replicated, split_batch
from hamjax.train_state import TrainState
from hamjax.train_step import make_eval_step

EvalStep = Callable[[Any, Any, jax.Array], jax.Array]


def predict(
    eval_step: EvalStep,
    state: TrainState,
    dataset: Dataset,
    rows: np.ndarray,
    *,
    batch_size: int,
    num_threads: int,
    mesh: Mesh,
    should_stop: Callable[[], bool] = lambda: False,
) -> np.ndarray | None:
    """Return the logits of some rows, [N, K], in their order.

    The last batch is padded, and the padding cut off by its mask.

    Args:
        eval_step: from `make_eval_step`.
        state: its params and batch_stats are used.
        dataset: prepared images.
        rows: [N] indices into it.
        batch_size: over all devices.
        num_threads: that read ahead.
        mesh: of the devices.
        should_stop: asked before every batch; if it says so the result is nothing.
    """
    source = EvalSource(dataset.images, dataset.metadata.label, rows, batch_size)
    logits = []
    for batch in prefetch(batches(source, num_threads=num_threads), split_batch(mesh)):
        if should_stop():
            return None
        result = jax.device_get(eval_step(state.params, state.batch_stats, batch["image"]))
        logits.append(result[jax.device_get(batch["mask"]) > 0])
    return np.concatenate(logits)


def predict_partition(
    experiment: Experiment,
    eval_step: EvalStep,
    state: TrainState,
    partition: str,
    should_stop: Callable[[], bool] = lambda: False,
) -> np.ndarray | None:
    """Return the logits of a partition, [N, 7]; nothing if `should_stop` said so."""
    return predict(
        eval_step,
        state,
        experiment.dataset,
        experiment.rows(partition),
        batch_size=eval_batch_size(experiment.config, experiment.mesh),
        num_threads=num_threads(experiment.config),
        mesh=experiment.mesh,
        should_stop=should_stop,
    )


def report_partition(
    experiment: Experiment,
    eval_step: EvalStep,
    state: TrainState,
    partition: str,
    *,
    checkpoint: dict[str, Any],
    should_stop: Callable[[], bool] = lambda: False,
) -> EvalReport | None:
    """Judge a state on a partition.

    Args:
        experiment: the run's.
        eval_step: from `make_eval_step`.
        state: to judge.
        partition: `test`, `val` or `train`.
        checkpoint: where the state is from: its `name` and `step`.
        should_stop: asked before every batch; if it says so the result is nothing.
    """
    logits = predict_partition(experiment, eval_step, state, partition, should_stop)
    validation = logits if partition == VAL else predict_partition(experiment, eval_step, state, VAL, should_stop)
    if logits is None or validation is None:
        return None
    return make_report(
        logits,
        experiment.dataset,
        experiment.rows(partition),
        partition,
        facts=experiment.facts(state) | {"checkpoint": checkpoint},
        leaks=experiment.leaks() if partition == TEST else {},
        validation=(experiment.dataset.metadata.label[experiment.rows(VAL)], validation),
    )


def choose_checkpoint(config: Config, best_step: int, last_step: int) -> tuple[str, int]:
    """Resolve `eval.checkpoint`: the paper reports the last epoch, everyone else the best."""
    kind = config.eval.checkpoint
    if kind == "auto":
        kind = "last" if config.data.split == "paper" else "best"
    return kind, last_step if kind == "last" else best_step


def evaluate(workdir: str | Path, *, checkpoint: str | None = None, split: str = TEST) -> EvalReport:
    """Judge a checkpoint of a run on one of its partitions; see `evaluate_run`."""
    return evaluate_run(workdir, checkpoint=checkpoint, split=split)[0]


def evaluate_run(
    workdir: str | Path,
    *,
    checkpoint: str | None = None,
    split: str = TEST,
    source_dir: str | None = None,
    data_dir: str | None = None,
) -> tuple[EvalReport, Experiment]:
    """Judge a checkpoint of a run on one of its partitions.

    Args:
        workdir: the run directory.
        checkpoint: `last`, `best` or a step; by default what training reported.
        split: `test`, `val` or `train`.
        source_dir: where the images are now, if they have moved.
        data_dir: where the prepared data is now, if it has moved.

    Returns:
        The report, and the experiment that was set up for it.

    Raises:
        UserError: there is no such run, checkpoint or partition, or the data is other data.
    """
    workdir = Path(workdir)
    config = read_config(workdir)
    config.data.source_dir = config.data.source_dir if source_dir is None else source_dir
    config.data.data_dir = data_dir or config.data.data_dir
    if split not in PARTITIONS:
        raise UserError(f"--split: expected one of {', '.join(PARTITIONS)}, got {split!r}.")
    experiment = build_experiment(config)
    write_facts(workdir, experiment)
    folder = workdir / "checkpoints"
    if not folder.is_dir():
        raise UserError(f"{folder}: expected the checkpoints of a run, got none; train first.")
    template = {
        "state": experiment.initial_state(pretrained=False),
        "window": put_replicated(empty_metrics(), experiment.mesh),
    }
    with contextlib.closing(Checkpoints(folder, experiment.identity(), read_only=True)) as checkpoints:
        kind, step = _find_checkpoint(checkpoints, config, checkpoint)
        saved, _ = checkpoints.restore(kind, step, template)
    state = saved["state"]
    report = report_partition(
        experiment,
        make_eval_step(experiment.model, input_scale(config)),
        state,
        split,
        checkpoint={"name": kind, "step": step},
    )
    assert report is not None  # nothing asked it to stop
    return report, experiment


def _find_checkpoint(checkpoints: Checkpoints, config: Config, asked: str | None) -> tuple[str, int]:
    last = checkpoints.steps("last")
    if not last:
        raise UserError(f"{checkpoints.folder}: expected a checkpoint, got none; train first.")
    if asked is not None and asked.isdigit():
        kind = "last" if int(asked) in last else "best"
        return kind, int(asked)
    if asked not in (None, "last", "best"):
        raise UserError(f"--checkpoint: expected last, best or a step, got {asked!r}.")
    host = checkpoints.read_host("last", last[-1])
    kind, _ = choose_checkpoint(config, 0, 0) if asked is None else (asked, 0)
    return kind, last[-1] if kind == "last" else int(host["best"]["step"])
