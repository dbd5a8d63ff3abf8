"""A run from start to report. `train` reads as the list of its phases."""

import contextlib
import dataclasses
from pathlib import Path

from hamjax import report
from hamjax.checkpoint import Checkpoints
from hamjax.compiler import enable_compilation_cache
from hamjax.config import Config
from hamjax.distributed import (
    all_or_none,
    connect,
    from_first,
    is_first,
    only_first_speaks,
    peers_needed,
    require_alike,
    require_shared,
)
from hamjax.experiment import Experiment, build_experiment
from hamjax.judgement import EvalReport
from hamjax.limits import validate
from hamjax.loop import Loop
from hamjax.network import locate_weights, require_fitting
from hamjax.preemption import StopRequest
from hamjax.run_directory import require_own, run_lock, write_facts
from hamjax.train_state import TrainState


@dataclasses.dataclass(frozen=True)
class TrainResult:
    """What `train` returns: the last state, and the report on the test partition."""

    state: TrainState
    report: EvalReport


def train(config: Config, workdir: str | Path) -> TrainResult | None:
    """Train, evaluate on the test partition, and write the report.

    Started again on the same directory it goes on where it was. On a finished one it only
    prints the report.

    Args:
        config: of the run.
        workdir: the run directory.

    Returns:
        The last state and the report; nothing if the run was finished before.

    Raises:
        UserError: bad input; the directory is another run's.
        DivergedError: the loss became NaN or infinite.
        PreemptedError: SIGTERM came, to any process; the state is saved.
        PeerLostError: another process of the run went away.
    """
    workdir = Path(workdir)
    validate(config)
    require_fitting(config)
    connect(config.runtime.distributed, config.runtime.join_seconds)
    with contextlib.ExitStack() as held:
        held.enter_context(only_first_speaks())
        held.enter_context(peers_needed())
        with all_or_none():
            if is_first():
                held.enter_context(run_lock(workdir))
            require_own(workdir, config)
        require_shared(workdir)
        stop = held.enter_context(StopRequest())
        if finished := from_first(report.read_finished(workdir)):
            print(finished)
            return None
        print(f"run directory {workdir}")
        print(f"compilation cache {enable_compilation_cache(config.runtime.compilation_cache)}")
        fresh = from_first(not (workdir / "checkpoints").is_dir())
        experiment, state = _set_up(config, workdir, fresh=fresh)
        print(report.describe_start(experiment))
        checkpoints = held.enter_context(Checkpoints(workdir / "checkpoints", experiment.identity()))
        loop = Loop(experiment, state, checkpoints, workdir, stop)
        if not loop.restore() and not fresh:
            loop.state = experiment.initial_state()  # it was stopped before its first checkpoint
        held.enter_context(contextlib.closing(loop.records))
        loop.run()
        return TrainResult(loop.state, loop.report())


def _set_up(config: Config, workdir: Path, *, fresh: bool) -> tuple[Experiment, TrainState]:
    """Make everything that a run needs before its first step, alike on all processes."""
    with all_or_none():
        if fresh:
            locate_weights(config)  # before the data, which takes longer to find out about
        experiment = build_experiment(config)
        state = experiment.initial_state(pretrained=fresh)
    keys = {f"{topic}.{key}": value for topic, keys in config.result_keys().items() for key, value in keys.items()}
    require_alike(keys | experiment.identity())
    with all_or_none():
        write_facts(workdir, experiment)
    return experiment, state
