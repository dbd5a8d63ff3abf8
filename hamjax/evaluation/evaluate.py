"""Evaluation of checkpoints, on a partition of their run or on images from elsewhere."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hamjax.config import Config
from hamjax.config.validation import with_user_paths
from hamjax.data import lesions, splits
from hamjax.data.dataset import Dataset
from hamjax.data.external import ExternalSet, describe_external, read_external
from hamjax.evaluation.ensemble import Ensemble, Workdirs
from hamjax.evaluation.predictor import Predictor
from hamjax.evaluation.scoring import EvalReport, Explain, make_report
from hamjax.evaluation.trained_run import TrainedRun
from hamjax.evaluation.uncertainty import stored_calibration
from hamjax.models.initialization import Variables
from hamjax.runtime.errors import UserError
from hamjax.runtime.say import Say
from hamjax.training.run_directory.record import read_split, require_same_data
from hamjax.training.setup.experiment import Experiment, build_experiment


def report_partition(
    experiment: Experiment,
    predictor: Predictor,
    variables: Variables,
    partition: str,
    *,
    checkpoint: dict[str, Any],
    should_stop: Callable[[], bool] = lambda: False,
) -> EvalReport | None:
    """Evaluate a network on a partition.

    Args:
        experiment: the run's.
        predictor: of its network.
        variables: `params` and `batch_stats`, on every device.
        partition: `test`, `val` or `train`.
        checkpoint: where they are from: its `name` and `step`.
        should_stop: asked before every batch; if it returns true the result is None.
    """
    logits = {}
    # Validation as well, for the temperature and the prediction sets. In one order on every process: each pass waits
    # for all.
    for part in dict.fromkeys((partition, splits.VAL)):
        predicted = predictor(variables, experiment.dataset, experiment.rows(part), should_stop)
        if predicted is None:
            return None
        logits[part] = predicted
    facts = experiment.facts(variables) | {"checkpoint": checkpoint, "tta": predictor.tta}
    return _report(
        experiment, logits, partition, facts, functools.partial(predictor.explain, variables, experiment.dataset)
    )


def evaluate(workdir: str | Path, *, checkpoint: str | None = None, split: str = splits.TEST) -> EvalReport:
    """Evaluate a checkpoint of a run on one of its partitions; see `evaluate_run`."""
    return evaluate_run(workdir, checkpoint=checkpoint, split=split)[0]


def evaluate_run(
    workdirs: Workdirs,
    *,
    checkpoint: str | None = None,
    split: str = splits.TEST,
    tta: str | None = None,
    source_dir: str | None = None,
    data_dir: str | None = None,
) -> tuple[EvalReport, Experiment]:
    """Evaluate checkpoints on a partition of their run.

    Args:
        workdirs: see `Ensemble`; several must share one split.
        checkpoint: see `Ensemble`.
        split: `test`, `val` or `train`.
        tta: see `Ensemble`.
        source_dir: where the images are now, if they have moved.
        data_dir: where the prepared data is now, if it has moved.

    Returns:
        The report, and the experiment that was set up for it; of several runs, the first's.

    Raises:
        UserError: there is no such run, checkpoint or partition, or the data is other data.
    """
    if split not in splits.PARTITIONS:
        raise UserError(f"--split: expected one of {', '.join(splits.PARTITIONS)}, got {split!r}.")
    # All checkpoints are read before the data: a wrong --checkpoint is then answered at once.
    ensemble = Ensemble(workdirs, checkpoint, tta)
    _require_one_split(ensemble.runs)

    @functools.cache
    def set_up(run: TrainedRun) -> Experiment:
        experiment = build_experiment(_with_data_at(run.config, source_dir, data_dir))
        require_same_data(run.workdir, experiment.fingerprints())
        return experiment

    experiment = set_up(ensemble.runs[0])
    parts = dict.fromkeys((split, splits.VAL))  # in one order on every process
    logits = {part: ensemble.predict(lambda run: set_up(run).dataset, experiment.rows(part)) for part in parts}
    facts = experiment.facts(ensemble.variables) | ensemble.facts()
    explain = functools.partial(ensemble.explain, experiment.dataset)
    return _report(experiment, logits, split, facts, explain), experiment


def evaluate_external(
    workdirs: Workdirs,
    images: str | Path,
    labels: str | Path | None = None,
    *,
    checkpoint: str | None = None,
    tta: str | None = None,
    say: Say = print,
) -> EvalReport:
    """Evaluate checkpoints on images from elsewhere; the data of the runs is not needed.

    Args:
        workdirs: see `Ensemble`; several may differ in anything.
        images: see `read_external`.
        labels: a table, see `hamjax.data.external_labels.read_labels`; without one, folders named by class.
        checkpoint: see `Ensemble`.
        tta: see `Ensemble`.
        say: takes a line for the user: the overlap with what was trained on, before any score.

    Raises:
        UserError: there is no such run or checkpoint, or images or labels are not what they should be.
    """
    ensemble = Ensemble(workdirs, checkpoint, tta)
    external = read_external(images, labels)
    facts = external.facts | {"overlap": _overlap(ensemble.runs, external)}
    say(describe_external(facts))
    # Once for each size: the runs of an ensemble may take images of different sizes.
    decoded = functools.cache(external.dataset)

    def dataset_of(run: TrainedRun) -> Dataset:
        return decoded(run.config.data.image_size, run.config.data.resize)

    first, rows = ensemble.runs[0], np.arange(len(external.metadata))
    logits = ensemble.predict(dataset_of, rows)
    facts = first.facts(ensemble.variables) | ensemble.facts() | {"external": facts}
    dataset = dataset_of(first)
    explain = functools.partial(ensemble.explain, dataset)
    calibration = stored_calibration(first.workdir, facts)
    return make_report(
        logits, dataset, rows, "external", facts=facts, leaks={}, explain=explain, calibration=calibration
    )


def _report(
    experiment: Experiment, logits: dict[str, np.ndarray], partition: str, facts: dict[str, Any], explain: Explain
) -> EvalReport:
    """Report on a partition, given its logits and those of validation."""
    return make_report(
        logits[partition],
        experiment.dataset,
        experiment.rows(partition),
        partition,
        facts=facts,
        leaks=experiment.leaks(),
        explain=explain,
        validation=(experiment.rows(splits.VAL), logits[splits.VAL]),
    )


def _with_data_at(config: Config, source_dir: str | None, data_dir: str | None) -> Config:
    """Return a copy of a run's config for data that may have moved since; None is where it was."""
    moved = Config.from_dict(config.to_dict())
    moved.data.source_dir = config.data.source_dir if source_dir is None else source_dir
    moved.data.data_dir = data_dir or config.data.data_dir
    return with_user_paths(moved)


def _require_one_split(runs: list[TrainedRun]) -> None:
    for run in runs:
        if run.record.split_fingerprint != runs[0].record.split_fingerprint:
            raise UserError(
                f"{run.workdir}: expected the split of {runs[0].workdir}, got another: what one was trained on, the "
                "other is tested on. Average runs of one split, or evaluate them on images from elsewhere (--images)."
            )


def _overlap(runs: list[TrainedRun], external: ExternalSet) -> dict[str, Any]:
    """Return which images show a lesion in the training or validation part of any of the runs."""
    metadata = external.metadata
    # Over all runs: averaged predictions have seen what any of them has.
    lesion, certain = np.full(len(metadata), ""), np.ones(len(metadata), bool)
    for run in runs:
        found, known = lesions.overlap(metadata, *read_split(run.workdir))
        lesion, certain = np.where(lesion == "", found, lesion), certain & known
    seen = lesion != ""
    by_lesion = lesions.known_lesions(metadata.image_id, metadata.lesion_id).any()
    return {
        "images": int(seen.sum()),
        "lesions": len(set(lesion[seen].tolist())) if certain.all() else None,
        "unknown": int((~seen & ~certain).sum()),
        "checked_by": "image and lesion id" if by_lesion else "image id",
        "ids": metadata.image_id[seen].tolist(),
    }
