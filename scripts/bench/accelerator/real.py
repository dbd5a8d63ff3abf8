"""The rows that use the whole program: the real loop beside a held batch, and a real training."""

import contextlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

import hamjax
from bench.accelerator import reference
from bench.interleaved import Interleaved, save_seconds, summarize
from bench.ours import Ours, RecentLosses
from hamjax.config import make_config
from hamjax.runtime.devices import put_replicated
from hamjax.runtime.preemption import StopRequest
from hamjax.training.loop import Loop
from hamjax.training.run_directory.checkpoints import Checkpoints
from hamjax.training.setup.experiment import build_experiment
from hamjax.training.validation import Validation

WINDOWS, WARM_UP = 4, 2
SCORES = ("n", "accuracy", "majority_baseline_accuracy", "balanced_accuracy", "images_note")
NOT_VALIDATED = Validation(accuracy=0.0, balanced_accuracy=-1.0, loss=0.0, values={}, alarm=None)


class HeldProgram:
    """The step that part A has compiled, in the place of the loop's own: it then comes from the cache."""

    def __init__(self, spec: dict[str, Any]) -> None:
        problem = reference.Problem(spec["model"], spec["image_size"], spec["batch_size"])
        quick = {"compiler_options": {"xla_backend_optimization_level": "0"}} if spec["options"].get("quick") else {}
        jax.config.update("jax_default_matmul_precision", "highest")  # as part A had it: part of the program
        self._ours = Ours(spec["model"], problem.variables, problem.batch, optimizer=problem.optimizer,
                          dtype=spec["dtype"], learning_rate=problem.rate,
                          steps_per_dispatch=spec["steps_per_dispatch"], **quick)  # fmt: skip
        self._recent = put_replicated(RecentLosses.empty(), self._ours.mesh)

    def __call__(self, step: int, state: Any, metrics: Any, batches: Any, settings: Any) -> tuple[Any, Any]:
        """Take the steps; the loop's metrics count nothing but the steps."""
        del step, settings
        state, self._recent = self._ours.dispatch(state, self._recent, batches)
        return state, jax.tree.map(lambda count: count + 1, metrics)


class TimedDispatch:
    """Takes the loop's steps, and notes the seconds until each call is back: what the host spends to hand them over."""

    def __init__(self, dispatch: Callable[..., Any]) -> None:
        self._dispatch = dispatch
        self._seconds: dict[str, list[float]] = {"real": [], "held": []}

    def __call__(self, step: int, *arguments: Any) -> Any:
        """Take steps; those of the held batch are called with step 0."""
        start = time.perf_counter()
        result = self._dispatch(step, *arguments)
        self._seconds["real" if step else "held"].append(time.perf_counter() - start)
        return result

    def medians(self) -> dict[str, float]:
        """Return the median seconds of a call, of real and of held batches."""
        return {kind: float(np.median(seconds)) for kind, seconds in self._seconds.items()}


def time_loop(spec: dict[str, Any], begun: float) -> dict[str, Any]:
    """Time the real loop, what a save blocks, and the seconds from the process's start to the first steps done.

    No epoch ends in it: S3 makes one long enough. With `augment_on=host` the program is part A's. From device memory
    the step looks its images up, which makes it another program: that row compiles its own.
    """
    per_dispatch, augment_on = spec["steps_per_dispatch"], spec["options"]["augment_on"]
    window = (4 if spec["options"].get("quick") else 8) * per_dispatch
    config = _config(spec, "s3", data__augment_on=augment_on, train__max_steps=(WINDOWS + WARM_UP) * window,
                     train__log_every_steps=window, train__checkpoint_every_minutes=0,
                     data__num_threads=spec["options"].get("num_threads", -1))  # fmt: skip
    experiment = build_experiment(config)
    set_up = time.perf_counter()
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.closing(Checkpoints(Path(folder) / "checkpoints", experiment.identity())) as checkpoints,
        StopRequest() as stop,
    ):
        first: list[float] = []
        hooks: list[Interleaved] = []

        def on_dispatch(step: int) -> None:
            if not first:
                jax.block_until_ready(loop.state)
                first.append(time.perf_counter())
            hooks[0](step)

        loop = Loop(experiment, experiment.initial_state(), checkpoints, Path(folder), stop,
                    validate=lambda state, should_stop: NOT_VALIDATED, on_dispatch=on_dispatch)  # fmt: skip
        if augment_on == "host":
            loop.dispatch = HeldProgram(spec)
        loop.dispatch = timed = TimedDispatch(loop.dispatch)
        loop.restore()
        hooks.append(Interleaved(loop, window, per_dispatch))
        loop.run()
        loop.records.close()
        saves = [save_seconds(loop) for _ in range(3)]
        checkpoints.wait()
    facts = {
        "seconds_until_set_up": set_up - begun,
        "seconds_until_first_steps": first[0] - begun,
        "num_threads": experiment.resolved.num_threads,
        "dispatch_seconds": timed.medians(),
    }
    return facts | summarize(experiment, hooks[0], saves, spec["batch_size"], WARM_UP)


def train(spec: dict[str, Any]) -> dict[str, Any]:
    """Train the CNN with S1 from preparing the images to the report, as many epochs as fit."""
    start = time.perf_counter()
    build_experiment(_config(spec, "s1", train__epochs=1))  # prepares the data
    prepared = time.perf_counter()
    ends: list[float] = []

    def run(epochs: int, folder: str) -> Any:
        return hamjax.train(
            _config(spec, "s1", train__epochs=epochs), Path(folder), on_dispatch=lambda _: ends.append(0.0)
        )

    with tempfile.TemporaryDirectory() as folder:
        run(1, f"{folder}/first")  # compiles, and tells how long an epoch is
        warm = time.perf_counter()
        run(1, f"{folder}/second")
        epoch = time.perf_counter() - warm
        left = spec["left"] - (time.perf_counter() - start)
        epochs = max(1, min(spec["options"]["max_epochs"], int(0.7 * left / epoch)))
        begun = time.perf_counter()
        result = run(epochs, f"{folder}/run")
        assert result is not None  # the folder is new
        summary = result.report.summary
        return {
            "seconds_prepare": prepared - start, "seconds_train": time.perf_counter() - begun, "epochs": epochs,
            **{name: summary[name] for name in SCORES},
        }  # fmt: skip


def _config(spec: dict[str, Any], strategy: str, **changes: Any) -> hamjax.Config:
    source = spec["options"].get("source_dir", "")
    scratch = Path(spec["scratch"])
    drawn = 300 if spec["options"].get("quick") or spec["image_size"] < 224 else 2000
    settings: dict[str, Any] = {
        "model__weights": "random",
        "model__compute_dtype": spec["dtype"],
        "model__dropout": spec["kind"] == "training",
        "data__name": "ham10000" if source else "synthetic",
        "data__source_dir": source,
        "data__synthetic_images": drawn,
        "data__data_dir": str(scratch / "data"),
        "data__image_size": spec["image_size"],
        "data__split": "paper" if source else "honest",
        "train__global_batch_size": spec["batch_size"],
        "train__steps_per_dispatch": spec["steps_per_dispatch"],
        "runtime__compilation_cache": str(scratch / "xla"),
    }
    return make_config(model=spec["model"], strategy=strategy, **(settings | changes))
