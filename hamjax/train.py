"""A run from start to report. `train` reads as the list of its phases."""

import contextlib
import dataclasses
from pathlib import Path

from hamjax import report
from hamjax.checkpoint import Checkpoints
from hamjax.config import Config
from hamjax.distributed import StopRequest, enable_compilation_cache, run_lock
from hamjax.experiment import build_experiment
from hamjax.judgement import EvalReport
from hamjax.limits import validate
from hamjax.loop import Loop
from hamjax.network import locate_weights, require_fitting
from hamjax.run_directory import require_own, write_facts
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
        PreemptedError: SIGTERM came; the state is saved.
    """
    workdir = Path(workdir)
    validate(config)
    require_fitting(config)
    with run_lock(workdir), StopRequest() as stop:
        require_own(workdir, config)
        if finished := report.read_finished(workdir):
            print(finished)
            return None
        print(f"run directory {workdir}")
        print(f"compilation cache {enable_compilation_cache(config.runtime.compilation_cache)}")
        fresh = not (workdir / "checkpoints").is_dir()
        if fresh:
            locate_weights(config)  # before the data, which takes longer to find out about
        experiment = build_experiment(config)
        state = experiment.initial_state(pretrained=fresh)
        write_facts(workdir, experiment)
        print(report.describe_start(experiment))
        with contextlib.closing(Checkpoints(workdir / "checkpoints", experiment.identity())) as checkpoints:
            loop = Loop(experiment, state, checkpoints, workdir, stop)
            if not loop.restore() and not fresh:
                loop.state = experiment.initial_state()  # it was stopped before its first checkpoint
            with contextlib.closing(loop.records):
                loop.run()
                return TrainResult(loop.state, loop.report())
