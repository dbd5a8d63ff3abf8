"""The real training loop, timed beside its own step on a held batch."""

import statistics
import time
from typing import Any

import jax
import numpy as np

from hamjax.data.pipeline import batches
from hamjax.runtime.devices import put_batch, split_batch
from hamjax.runtime.errors import UserError
from hamjax.training.compiled_steps import stack_batches
from hamjax.training.dispatch_plan import crosses
from hamjax.training.loop import Loop
from hamjax.training.setup.experiment import Experiment


class Interleaved:
    """Takes the held batch's steps after each window of a loop; what the loop calls after every dispatch.

    Attributes:
        windows: of each window that counts: seconds a step, `real` of the loop and `held` of the held batch,
            `data_wait_share`, and `waits`, the seconds that each of its dispatches waited for its batches.
    """

    def __init__(self, loop: Loop, window: int, per_dispatch: int) -> None:
        experiment = loop.experiment
        (chunk,) = stack_batches(batches(experiment.train_source(), num_threads=0), [per_dispatch])
        self._held = put_batch(chunk, split_batch(experiment.mesh, axis=1))
        self._loop, self._window, self._per_dispatch = loop, window, per_dispatch
        self._last, self._opened_at, self._opened = 0, 0, time.perf_counter()
        self.windows: list[dict[str, Any]] = []
        self._waits: list[float] = []

    def __call__(self, step: int) -> None:
        """Note the dispatch that ends at a step; at the end of a window, take the held batch's steps."""
        self._waits.append(self._loop.meter.last_wait)
        before, self._last = self._last, step
        if not crosses(self._window, before, step):
            return
        jax.block_until_ready(self._loop.state)
        waited = self._loop.meter.rates()["throughput__data_wait_share"]
        taken = step - self._opened_at
        real = (time.perf_counter() - self._opened) / taken
        held = self._take_held(max(1, round(taken / self._per_dispatch)))
        # What is due at the end of an epoch, a save among it, comes after this call: it is in the window that begins
        # there, and not in one that ends there.
        if not crosses(self._loop.experiment.plan.steps_per_epoch, max(self._opened_at - 1, 0), step - 1):
            self.windows.append({"real": real, "held": held, "data_wait_share": waited, "waits": self._waits})
        self._waits, self._opened_at, self._opened = [], step, time.perf_counter()

    def _take_held(self, dispatches: int) -> float:
        """Return the seconds of a step on the held batch."""
        loop, start = self._loop, time.perf_counter()
        for _ in range(dispatches):
            loop.state, loop.metrics = loop.dispatch(0, loop.state, loop.metrics, self._held, loop.settings)
        jax.block_until_ready(loop.state)
        return (time.perf_counter() - start) / (dispatches * self._per_dispatch)


def save_seconds(loop: Loop) -> float:
    """Return how long a loop stands still for a checkpoint, the one before being written out."""
    loop.checkpoints.wait()
    start = time.perf_counter()
    loop.save()
    return time.perf_counter() - start


def summarize(
    experiment: Experiment, timed: Interleaved, saves: list[float], batch_size: int, warm_up: int
) -> dict[str, Any]:
    """Return rates, their ratio, waits and saves; the first `warm_up` windows do not count."""
    windows = timed.windows[warm_up:]
    if not windows:
        raise UserError(
            f"expected windows in which no epoch ends, got epochs of {experiment.plan.steps_per_epoch} steps; use a "
            "smaller --window, a smaller --batch-size or more images."
        )
    waits = [wait for window in windows for wait in window["waits"]]
    seconds = {kind: [window[kind] for window in windows] for kind in ("real", "held")}
    ratios = [held / real for real, held in zip(seconds["real"], seconds["held"], strict=True)]
    return {
        "image_size": experiment.config.data.image_size,
        "images_note": experiment.dataset.images_note,
        "loop_images_per_second": batch_size / statistics.median(seconds["real"]),
        "held_images_per_second": batch_size / statistics.median(seconds["held"]),
        "ratio": {"median": statistics.median(ratios), "least": min(ratios), "most": max(ratios)},
        "data_wait_share": statistics.median(window["data_wait_share"] for window in windows),
        "wait_seconds": {"median": statistics.median(waits), "p95": float(np.quantile(waits, 0.95)), "n": len(waits)},
        "checkpoint_blocking_seconds": statistics.median(saves),
        "seconds_per_step": seconds,
    }
