"""A run from start to report. `train` reads as the list of its phases."""

import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hamjax.commands.figure_data import figure_data
from hamjax.commands.start import describe_start
from hamjax.config import Config, validate
from hamjax.config.validation import with_user_paths
from hamjax.data import splits
from hamjax.evaluation.evaluate import report_partition
from hamjax.evaluation.metrics.classification import collapse_warning
from hamjax.evaluation.predictor import Predictor
from hamjax.evaluation.scoring import EvalReport, score
from hamjax.evaluation.unlike import measure_likeness
from hamjax.report.card import write_card
from hamjax.report.terminal import format_summary
from hamjax.report.write import write_report
from hamjax.runtime.accelerators import find_devices, memory_needed, unused_gpu
from hamjax.runtime.compiler import enable_compilation_cache
from hamjax.runtime.devices import local_copy, put_replicated
from hamjax.runtime.distributed import (
    all_or_none,
    connect,
    from_first,
    is_first,
    only_first_speaks,
    peers_needed,
    require_alike,
    require_shared,
)
from hamjax.runtime.errors import PreemptedError, UserError
from hamjax.runtime.memory import keep_freed_memory
from hamjax.runtime.paths import user_path
from hamjax.runtime.preemption import StopRequest
from hamjax.training.dispatch_plan import require_usable
from hamjax.training.loop import Loop
from hamjax.training.run_directory.best import steps_in
from hamjax.training.run_directory.checkpoints import Checkpoints
from hamjax.training.run_directory.finished import read_summary
from hamjax.training.run_directory.lock import run_lock
from hamjax.training.run_directory.record import (
    read_origin,
    require_own,
    require_same_data,
    require_same_dtype,
    write_facts,
)
from hamjax.training.setup.experiment import Experiment, build_experiment
from hamjax.training.setup.network import locate_weights, require_fitting, weights_fingerprint, weights_origin
from hamjax.training.setup.plan import require_unfrozen_steps
from hamjax.training.setup.resolved import starting_weights
from hamjax.training.state import TrainState
from hamjax.training.validation import Validate, Validation


@dataclasses.dataclass(frozen=True)
class TrainResult:
    """What `train` returns: the last state, and the report on the test partition."""

    state: TrainState
    report: EvalReport


def train(
    config: Config, workdir: str | Path, *, on_dispatch: Callable[[int], object] = lambda step: None
) -> TrainResult | None:
    """Train, evaluate on the test partition, and write the report.

    Started again on the same directory it resumes where it was. On a finished one it only
    prints the report.

    Args:
        config: of the run.
        workdir: the run directory.
        on_dispatch: called with the number of steps taken after every dispatch, e.g. to plot or to stop.

    Returns:
        The last state and the report; None if the run was finished before.

    Raises:
        UserError: bad input; the directory is another run's.
        DivergedError: the loss became NaN or infinite.
        PreemptedError: SIGTERM, SIGINT or SIGHUP came, to any process; the state is saved.
        PeerLostError: another process of the run went away.
    """
    # A start meets one of four cases:
    # 1. nothing is there, or a run that was stopped before its first checkpoint: it starts from step 0;
    # 2. there is a checkpoint: it resumes from the newest one that can be read;
    # 3. all steps are taken, but there is no report: the loop has no step left, and the report is made;
    # 4. there is a report: it is printed, and nothing else happens.
    workdir, config = user_path(workdir), with_user_paths(config)
    validate(config, began=(workdir / "config.json").exists())
    require_fitting(config)
    keep_freed_memory()
    connect(config.runtime.distributed, config.runtime.join_seconds)
    find_devices()
    with contextlib.ExitStack() as held:
        held.enter_context(only_first_speaks())
        held.enter_context(peers_needed())
        held.enter_context(memory_needed())
        with all_or_none():
            # A finished run is only read, and may lie where nothing can be written.
            if is_first() and read_summary(workdir) is None:
                held.enter_context(run_lock(workdir))
            require_own(workdir, config)
        if finished := from_first(read_summary(workdir)):
            print(format_summary(finished, workdir / "report"))
            return None
        require_shared(workdir)
        return _run(config, workdir, on_dispatch)


def _run(config: Config, workdir: Path, on_dispatch: Callable[[int], object]) -> TrainResult:
    """Take the steps that are left and write the report, in a run directory that is held."""
    with contextlib.ExitStack() as held:
        stop = held.enter_context(StopRequest())
        print(f"run directory {workdir}")
        if warning := unused_gpu():
            print(warning)
        print(f"compilation cache {enable_compilation_cache(config.runtime.compilation_cache)}")
        fresh = from_first(not steps_in(workdir / "checkpoints" / "last"))
        experiment, state = _set_up(config, workdir, fresh=fresh)
        print(describe_start(experiment))
        checkpoints = held.enter_context(Checkpoints(workdir / "checkpoints", experiment.identity()))
        # One predictor for validation and the report: inference is compiled once.
        predictor = Predictor(experiment.resolved, experiment.model, experiment.mesh)
        loop = Loop(experiment, state, checkpoints, workdir, stop, _validation_of(experiment, predictor), on_dispatch)
        held.enter_context(stop.saving())
        loop.restore()
        held.enter_context(contextlib.closing(loop.records))
        loop.run()
        return TrainResult(loop.state, _report(experiment, loop, predictor))


def _validation_of(experiment: Experiment, predictor: Predictor) -> Validate:
    """Return how the loop validates: on the validation partition, without test-time augmentation."""
    rows = experiment.rows(splits.VAL)

    def validate_state(state: TrainState, should_stop: Callable[[], bool]) -> Validation | None:
        logits = predictor(state.eval_variables, experiment.dataset, rows, should_stop)
        if logits is None:
            return None
        result, _, _ = score(logits, experiment.dataset, rows)
        values = {name: result[name] for name in ("loss", "accuracy", "balanced_accuracy", "macro_f1")}
        values |= {f"recall__{dx}": row["recall"] for dx, row in result["per_class"].items()}
        collapsed = collapse_warning(result)
        return Validation(
            accuracy=result["accuracy"],
            balanced_accuracy=result["balanced_accuracy"],
            loss=result["loss"],
            values=values,
            alarm=f"collapse: {collapsed}" if collapsed else None,
        )

    return validate_state


def _report(experiment: Experiment, loop: Loop, predictor: Predictor) -> EvalReport:
    """Evaluate the chosen checkpoint on the test partition; process 0 writes the report, and what predictions need."""
    # The state at hand is the one to report on, unless a better one was validated before the end.
    kind, step = _chosen(experiment, loop)
    state = loop.state
    if step != loop.step:
        with all_or_none():
            saved = _restore_chosen(loop, kind, step)
        state = put_replicated(saved["state"], experiment.mesh)
    result = report_partition(
        experiment,
        predictor.with_tta(experiment.config.eval.tta),
        state.eval_variables,
        splits.TEST,
        checkpoint={"name": kind, "step": step},
        should_stop=loop.stop,
    )
    if result is None:  # all steps are taken and saved
        raise PreemptedError(
            f"stopped by {loop.stop.reason} at step {loop.step} of {experiment.plan.num_steps}, before the report; the "
            "state is saved. Start the same command again to resume."
        )
    with all_or_none():
        if is_first():
            measure_likeness(experiment).write(loop.workdir)
            write_card(loop.workdir, result.summary)
            # Last: its test.json marks a finished run.
            write_report(loop.workdir / "report", result, loop.workdir, figure_data(experiment))
    print(format_summary(result.summary, loop.workdir / "report"))
    return result


def _chosen(experiment: Experiment, loop: Loop) -> tuple[str, int]:
    """Return which checkpoint the report is on."""
    kind = experiment.resolved.checkpoint
    return kind, loop.step if kind == "last" else loop.best["step"]


def _restore_chosen(loop: Loop, kind: str, step: int) -> dict[str, Any]:
    try:
        return loop.checkpoints.restore(kind, step, loop.saved())[0]
    except UserError as error:
        raise UserError(
            f"{error}\nAll steps are taken, but this is the checkpoint to report on. For a report on the last one: "
            f"hamjax evaluate --workdir {loop.workdir} --checkpoint last --out FOLDER"
        ) from error


def _set_up(config: Config, workdir: Path, *, fresh: bool) -> tuple[Experiment, TrainState]:
    """Make everything that a run needs before its first step, alike on all processes."""
    with all_or_none():
        # Before the data, which takes longer to find out about. A run that resumes has its values in a checkpoint.
        file = locate_weights(config) if fresh else None
        origin = weights_origin(config) if fresh else read_origin(workdir) or starting_weights(config)
        print(f"weights: {'' if fresh else 'those of a checkpoint; the run began from '}{origin}")
        experiment = build_experiment(config)
        state = experiment.initial_state(file)
    if fresh:  # earlier versions took it
        require_unfrozen_steps(config, experiment.plan)
    require_usable(config.train.steps_per_dispatch, experiment.plan.steps_per_epoch, experiment.plan.num_steps)
    # All of `train` and `eval`, though not all of it changes a result: with another K or batch a process would wait
    # for the others.
    topics = config.result_keys() | {name: config.to_dict()[name] for name in ("train", "eval")}
    keys = {f"{topic}.{key}": value for topic, keys in topics.items() for key, value in keys.items()}
    require_alike(keys | experiment.identity())
    weights = None
    with all_or_none():
        if fresh:
            values = local_copy((state.params, state.batch_stats))
            weights = {"origin": origin, "sha256": weights_fingerprint(*values)}
        else:
            require_same_dtype(workdir, config, experiment.resolved.compute_dtype)
        require_same_data(workdir, experiment.fingerprints())
    if weights:  # put on the devices as each process has them: nothing else would tell that they differ
        require_alike({"starting weights": weights["sha256"]})
    with all_or_none():
        if is_first():
            split = splits.split_csv(experiment.dataset.metadata, experiment.plan.split)
            resolved = experiment.resolved.record(weights)
            write_facts(workdir, config, experiment.fingerprints(), split, resolved, experiment.dataset.tables)
    return experiment, state
