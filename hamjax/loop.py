"""The training loop, one dispatch after another, and what happens at its boundaries."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from hamjax import report
from hamjax.checkpoint import Checkpoints
from hamjax.data import splits
from hamjax.data.pipeline import batches
from hamjax.dispatch import Dispatcher, stack_batches
from hamjax.distributed import all_or_none, is_first
from hamjax.errors import DivergedError, PreemptedError, UserError
from hamjax.evaluate import report_partition
from hamjax.experiment import Experiment, num_threads, steps_per_dispatch
from hamjax.judgement import EvalReport, judge
from hamjax.metrics.classification import collapse_warning
from hamjax.metrics.training import compute, empty_metrics
from hamjax.optim import restore_schedule
from hamjax.predict import Predictor
from hamjax.preemption import StopRequest
from hamjax.profiling import Profile
from hamjax.sharding import prefetch, put_replicated, split_batch
from hamjax.telemetry import Meter, Progress, Records, Unrecorded
from hamjax.train_state import TrainState
from hamjax.trained import choose_checkpoint


class Loop:
    """The training loop. Every boundary is a function of the step, so a resumed run
    does at each step what an undisturbed one would.
    """

    def __init__(
        self, experiment: Experiment, state: TrainState, checkpoints: Checkpoints, workdir: Path, stop: StopRequest
    ) -> None:
        config = experiment.config
        self.experiment, self.checkpoints, self.workdir, self.stop = experiment, checkpoints, workdir, stop
        self.state = state
        self.schedule = experiment.schedule()
        self.best: dict[str, Any] = {"balanced_accuracy": -1.0, "step": 0}
        self.step = 0
        self.saved_step: int | None = None
        self.metrics, self.meter = self._empty_metrics(), Meter()
        self._set_rate()
        self._predict = Predictor(config, experiment.model, experiment.mesh)
        self._dispatch = Dispatcher(experiment)
        self._per_dispatch = steps_per_dispatch(config)

    def restore(self) -> bool:
        """Go on from the newest readable checkpoint; say whether there is one."""
        restored = self.checkpoints.restore_newest(self._saved())
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
        config, total = self.experiment.config, self.experiment.num_steps
        with Progress(total, self.step, shown=is_first()) as self.progress:
            if self.stop():  # before the step is compiled
                self._preempt()
            if self.step and self._validation_due(self.step):  # it comes after the checkpoint of its step
                self._validate()
            plan = list(self._plan())
            stream = batches(self.experiment.train_source(), start=self.step, num_threads=num_threads(config))
            chunks = prefetch(stack_batches(stream, plan), split_batch(self.experiment.mesh, axis=1))
            profile = Profile(self.workdir / "profile", config.train.profile_steps, self.step, self.progress.say)
            self.meter.reset()
            with contextlib.closing(profile):
                for count in plan:
                    profile.before(self.step)
                    self._advance(chunks, count)
                    profile.after(self.step, self.state)
                    self._end_dispatch()
        self.checkpoints.wait()

    def report(self) -> EvalReport:
        """Judge the chosen checkpoint on the test partition; process 0 writes the report."""
        experiment = self.experiment
        kind, step = choose_checkpoint(experiment.config, self.best["step"], self.step)
        state = self.state
        if step != self.step:
            with all_or_none():
                saved = self._restore_chosen(kind, step)
            state = put_replicated(saved["state"], experiment.mesh)
        result = report_partition(
            experiment,
            self._predict.with_tta(experiment.config.eval.tta),
            state,
            splits.TEST,
            checkpoint={"name": kind, "step": step},
            should_stop=self.stop,
        )
        if result is None:
            self._preempt()
        with all_or_none():
            if is_first():
                report.write_report(self.workdir / "report", result, experiment, self.workdir)
        print(report.format_summary(result.summary, self.workdir / "report"))
        return result

    def _restore_chosen(self, kind: str, step: int) -> dict[str, Any]:
        try:
            return self.checkpoints.restore(kind, step, self._saved())[0]
        except UserError as error:
            raise UserError(
                f"{error}\nAll steps are taken, but this is the checkpoint to report on. For a report on the last one: "
                f"python scripts/evaluate_checkpoint.py --workdir {self.workdir} --checkpoint last --out FOLDER"
            ) from error

    def _plan(self) -> Iterator[int]:
        """Yield how many steps each dispatch takes: K, or one where K would cross a boundary."""
        step, total, most = self.step, self.experiment.num_steps, self._per_dispatch
        while step < total:
            crosses = step + most > total or any(map(self._at_boundary, range(step + 1, step + most)))
            count = 1 if crosses else most
            yield count
            step += count

    def _advance(self, chunks: Iterator[dict[str, jax.Array]], count: int) -> None:
        start = time.perf_counter()
        batch = next(chunks)
        wait = time.perf_counter() - start
        with jax.profiler.StepTraceAnnotation("train", step_num=self.step):
            self.state, self.metrics = self._dispatch(self.step, self.state, self.metrics, batch, self._rate)
        self.step += count
        self.meter.add(count * self.experiment.config.train.global_batch_size, count, wait)
        self.progress.advance(count)

    def _end_dispatch(self) -> None:
        """Do what is due after the steps of a dispatch."""
        if self._at_boundary(self.step):
            self._end_window()
            if self._checkpoint_due(self.step):
                self._save("last")
            if self._validation_due(self.step):
                self._validate()
        if self.stop():
            self._preempt()

    def _at_boundary(self, step: int) -> bool:
        """Say whether a window of metrics ends here."""
        log_every = self.experiment.config.train.log_every_steps
        return step % log_every == 0 or self._checkpoint_due(step)

    def _checkpoint_due(self, step: int) -> bool:
        every = self.experiment.config.train.checkpoint_every_steps
        return self._validation_due(step) or (every > 0 and step % every == 0)

    def _validation_due(self, step: int) -> bool:
        return step % self.experiment.steps_per_epoch == 0 or step == self.experiment.num_steps

    def _finite_means(self, *, saved: bool) -> dict[str, float]:
        """Fetch the averages of the steps since the last boundary; stop on NaN."""
        means = compute(self.metrics)
        if not np.isfinite(means["loss"]) or (saved and not self.state.is_finite()):
            raise DivergedError(
                f"expected a finite loss and parameters up to step {self.step}, got a loss of {means['loss']} and "
                f"parameters that are {'' if self.state.is_finite() else 'not '}finite; the last good "
                "checkpoint is kept. Start in a new folder with a smaller --config.optimizer.learning_rate."
            )
        return means

    def _end_window(self) -> None:
        """Record the averages and start anew."""
        means = self._finite_means(saved=self._checkpoint_due(self.step))
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
        """At the end of an epoch: judge, let the schedule see it, keep the best.

        The step is saved by then, and is not saved again: a run that goes on from it does all of this anew.
        """
        dataset, rows = self.experiment.dataset, self.experiment.rows(splits.VAL)
        logits = self._predict(self.state, dataset, rows, self.stop)
        if logits is None:
            self._preempt()
        result, _, _ = judge(logits, dataset, rows)
        changed = self.schedule.end_epoch(result["accuracy"])
        names = ("loss", "accuracy", "balanced_accuracy", "macro_f1")
        values = {f"eval__{name}": result[name] for name in names}
        values |= {f"eval__recall__{dx}": row["recall"] for dx, row in result["per_class"].items()}
        self.records.write(self.step, epoch=self._epoch(), **values)
        self.progress.say(
            f"step {self.step} epoch {self._epoch()} validation: loss {result['loss']:.4f} accuracy "
            f"{result['accuracy']:.3f} balanced accuracy {result['balanced_accuracy']:.3f}"
        )
        if collapsed := collapse_warning(result):
            self.progress.say(f"warning: validation has collapsed: {collapsed}")
            self.records.write(self.step, epoch=self._epoch(), alarm=f"collapse: {collapsed}")
        if changed:
            self._set_rate()
            self.progress.say(f"learning rate reduced to {self.schedule.learning_rate:g}")
        if result["balanced_accuracy"] > self.best["balanced_accuracy"]:
            self.best = {"balanced_accuracy": result["balanced_accuracy"], "step": self.step}
            self._save("best")
        self.meter.reset()

    def _save(self, kind: str) -> None:
        host = {"schedule": self.schedule.state(), "best": self.best}
        self.checkpoints.save(kind, self._saved(), host, step=self.step)
        self.saved_step = self.step

    def _saved(self) -> dict[str, Any]:
        """Return what a checkpoint holds: an open window of metrics, too, so that a run
        stopped inside one records the same averages as one that was not.
        """
        return {"state": self.state, "window": self.metrics}

    def _preempt(self) -> NoReturn:
        """Save where we are and leave."""
        if self.step != self.saved_step:
            if not self._at_boundary(self.step):
                self._finite_means(saved=True)
            self._save("last")
        self.checkpoints.wait()
        raise PreemptedError(
            f"stopped by SIGTERM at step {self.step} of {self.experiment.num_steps}; the state is saved. "
            "Start the same command again to go on."
        )

    def _set_rate(self) -> None:
        """Put the learning rate on every device once, not at every step."""
        self._rate = put_replicated(jnp.float32(self.schedule.learning_rate), self.experiment.mesh)

    def _empty_metrics(self) -> Any:
        return put_replicated(empty_metrics(), self.experiment.mesh)

    def _epoch(self) -> int:
        """Return the epoch of the last step taken, from 1."""
        return max(self.step - 1, 0) // self.experiment.steps_per_epoch + 1
