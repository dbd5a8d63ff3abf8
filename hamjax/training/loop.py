"""The training loop, one dispatch after another, and what happens at its boundaries."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import jax
import numpy as np

from hamjax.data.pipeline import batches
from hamjax.runtime.devices import prefetch, put_replicated, split_batch
from hamjax.runtime.distributed import from_first, is_first
from hamjax.runtime.errors import DivergedError, PreemptedError
from hamjax.runtime.preemption import StopRequest
from hamjax.training.compiled_steps import Dispatcher, stack_batches
from hamjax.training.dispatch_plan import crosses, plan_dispatches
from hamjax.training.metrics import compute, empty_metrics
from hamjax.training.profiler import Profile
from hamjax.training.progress import Meter, Progress
from hamjax.training.run_directory.checkpoints import Checkpoints
from hamjax.training.run_directory.metrics_log import Records, Unrecorded
from hamjax.training.schedules import restore_schedule
from hamjax.training.setup.experiment import Experiment
from hamjax.training.state import TrainState
from hamjax.training.validation import Validate


class Loop:
    """The training loop. Every boundary is a function of the step, so a resumed run
    does at each step what an undisturbed one would.

    Args:
        experiment: the run.
        state: to start from.
        checkpoints: of the run directory.
        workdir: the run directory.
        stop: tells when to save and leave.
        validate: called at the end of every epoch.
        on_dispatch: called with the number of steps taken after every dispatch, before anything is recorded or saved.

    Attributes:
        state: after `step` steps.
        step: number of steps taken.
        best: `balanced_accuracy` and `step` of the best validation so far.
        dispatch: the compiled steps.
        settings: what they take as arguments.
        records: to be closed by the caller.
    """

    def __init__(
        self,
        experiment: Experiment,
        state: TrainState,
        checkpoints: Checkpoints,
        workdir: Path,
        stop: StopRequest,
        validate: Validate,
        on_dispatch: Callable[[int], object] = lambda step: None,
    ) -> None:
        self.experiment, self.checkpoints, self.workdir, self.stop = experiment, checkpoints, workdir, stop
        self.state = state
        self.schedule = experiment.schedule()
        self.best: dict[str, Any] = {"balanced_accuracy": -1.0, "step": 0}
        self.step = 0
        self.saved_step: int | None = None
        self.metrics, self.meter = self._empty_metrics(), Meter()
        self._saved_at = time.monotonic()
        self._set_rate()
        self._validate_state, self._on_dispatch = validate, on_dispatch
        self.dispatch: Callable[..., tuple[TrainState, Any]] = Dispatcher(experiment)

    def restore(self) -> bool:
        """Resume from the newest readable checkpoint; return whether there is one."""
        restored = self.checkpoints.restore_newest(self.saved())
        if restored is not None:
            saved, host, skipped = restored
            self.state, self.metrics = put_replicated((saved["state"], saved["window"]), self.experiment.mesh)
            for message in skipped:
                print(f"skipped a damaged checkpoint: {message}")
            restore_schedule(self.schedule, host["schedule"])
            self.best = host["best"]
            self.step = self.saved_step = int(self.state.step)
            self._set_rate()
            print(f"resumed at step {self.step}")
        self.records = Records(self.workdir, self.step) if is_first() else Unrecorded()
        return restored is not None

    def run(self) -> None:
        """Take every step that is left."""
        experiment, resolved = self.experiment, self.experiment.resolved
        with Progress(experiment.plan.num_steps, self.step, shown=is_first()) as self.progress:
            if self.stop():  # before the step is compiled
                self._preempt()
            # The end of an epoch is saved before it is validated, so a run can be resumed in between.
            if self.step and self._epoch_ends():
                self._validate()
            plan = plan_dispatches(
                self.step, experiment.plan.num_steps, experiment.plan.steps_per_epoch, resolved.steps_per_dispatch
            )
            stream = batches(experiment.train_source(), start=self.step, num_threads=resolved.num_threads)
            chunks = prefetch(stack_batches(stream, plan), split_batch(experiment.mesh, axis=1))
            profile_steps = experiment.config.train.profile_steps
            profile = Profile(self.workdir / "profile", profile_steps, self.step, self.progress.say)
            self.meter.reset()
            with contextlib.closing(profile), contextlib.closing(chunks):
                for count in plan:
                    profile.before(self.step)
                    self._advance(chunks, count)
                    profile.after(self.step, self.state)
                    self._on_dispatch(self.step)
                    self._end_dispatch(before=self.step - count)
        self.checkpoints.wait()

    def saved(self) -> dict[str, Any]:
        """Return what a checkpoint holds: an open window of metrics, too, so that a run
        stopped inside one records the same averages as one that was not.
        """
        return {"state": self.state, "window": self.metrics}

    def _advance(self, chunks: Iterator[dict[str, jax.Array]], count: int) -> None:
        start = time.perf_counter()
        batch = next(chunks)
        wait = time.perf_counter() - start
        with jax.profiler.StepTraceAnnotation("train", step_num=self.step):
            self.state, self.metrics = self.dispatch(self.step, self.state, self.metrics, batch, self.settings)
        self.step += count
        self.meter.add(count * self.experiment.config.train.global_batch_size, count, wait)
        self.progress.advance(count)

    def _end_dispatch(self, before: int) -> None:
        """Do what is due after the steps of a dispatch, which began at step `before`."""
        train, epoch_ends = self.experiment.config.train, self._epoch_ends()
        # In this order: the records of a step are there before its checkpoint, which a resumed run relies on.
        window_ends = epoch_ends or crosses(train.log_every_steps, before, self.step)
        if window_ends:
            self._end_window()
        if epoch_ends or self._save_is_due(before) or (window_ends and self._minutes_are_over()):
            self.save()
        if epoch_ends:
            self._validate()
        if self.stop():
            self._preempt()

    def _epoch_ends(self) -> bool:
        return self.step % self.experiment.plan.steps_per_epoch == 0 or self.step == self.experiment.plan.num_steps

    def _save_is_due(self, before: int) -> bool:
        """Return whether `checkpoint_every_steps` are over. They are counted from the epoch's start, since the end of
        an epoch is saved anyway: counted from the run's, a save could follow it by a few steps.
        """
        begin = before - before % self.experiment.plan.steps_per_epoch
        return crosses(self.experiment.config.train.checkpoint_every_steps, before - begin, self.step - begin)

    def _minutes_are_over(self) -> bool:
        """Return whether the last save is `checkpoint_every_minutes` ago by the clock of process 0; waits for all.

        Asked at the end of a window only, where the loop waits for the devices anyway.
        """
        minutes = self.experiment.config.train.checkpoint_every_minutes
        return minutes > 0 and from_first(time.monotonic() - self._saved_at >= 60 * minutes)

    def _end_window(self) -> None:
        """Record the averages since the last window, and start the next one."""
        means = compute(self.metrics)
        if not np.isfinite(means["loss"]):
            self._stop_diverged(f"a loss of {means['loss']}")
        epoch, rates = self._epoch(), self.meter.rates()
        self.records.write(
            self.step,
            epoch=epoch,
            train__loss=means["loss"],
            train__accuracy=means["accuracy"],
            train__learning_rate=self.schedule.rate_at(self.step - 1),
            **rates,
        )
        self.progress.window(self.step, epoch, means["loss"], means["accuracy"], rates)
        self.metrics = self._empty_metrics()
        self.meter.reset()

    def _validate(self) -> None:
        """At the end of an epoch: validate, let the schedule see the accuracy, keep the best.

        The step is saved by then, and is not saved again: a run that resumes from it does all of this anew.
        """
        result = self._validate_state(self.state, self.stop)
        if result is None:
            self._preempt()
        changed = self.schedule.end_epoch(result.accuracy)
        self.records.write(
            self.step, epoch=self._epoch(), **{f"eval__{name}": value for name, value in result.values.items()}
        )
        self.progress.say(
            f"step {self.step} epoch {self._epoch()} validation: loss {result.loss:.4f} accuracy "
            f"{result.accuracy:.3f} balanced accuracy {result.balanced_accuracy:.3f}"
        )
        if result.alarm:
            self.progress.say(f"warning: validation shows a {result.alarm}")
            self.records.write(self.step, epoch=self._epoch(), alarm=result.alarm)
        if changed:
            self._set_rate()
            self.progress.say(f"learning rate reduced to {self.schedule.learning_rate:g}")
        if result.balanced_accuracy > self.best["balanced_accuracy"]:
            self.best = {"balanced_accuracy": result.balanced_accuracy, "step": self.step}
            self.checkpoints.mark_best(self.step)
        # A validation is no part of the rate of training steps.
        self.meter.reset()

    def save(self) -> None:
        """Save the state, unless it is of no use to anybody."""
        # A checkpoint of NaN would be restored for ever; the one before is worth more.
        if not self.state.is_finite():
            self._stop_diverged("parameters that are NaN or infinite")
        host = {"schedule": self.schedule.state(), "best": self.best}
        self.checkpoints.save(self.saved(), host, step=self.step)
        self.saved_step, self._saved_at = self.step, time.monotonic()

    def _stop_diverged(self, found: str) -> NoReturn:
        raise DivergedError(
            f"expected a finite loss and finite parameters up to step {self.step}, got {found}; the last good "
            "checkpoint is kept. Start in a new folder with a smaller --config.optimizer.learning_rate."
        )

    def _preempt(self) -> NoReturn:
        """Save where we are and leave."""
        if self.step != self.saved_step:
            self.save()
        self.checkpoints.wait()
        raise PreemptedError(
            f"stopped by {self.stop.reason} at step {self.step} of {self.experiment.plan.num_steps}; the state is "
            "saved. Start the same command again to resume."
        )

    def _set_rate(self) -> None:
        """Put the learning rate on every device once, not at every step."""
        self.settings = self.experiment.step_settings(self.schedule.learning_rate)

    def _empty_metrics(self) -> Any:
        return put_replicated(empty_metrics(), self.experiment.mesh)

    def _epoch(self) -> int:
        """Return the epoch of the last step taken, from 1."""
        return max(self.step - 1, 0) // self.experiment.plan.steps_per_epoch + 1
