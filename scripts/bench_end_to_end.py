"""Time the real training loop beside the same compiled step on a batch that is there already.

    python scripts/bench_end_to_end.py --models cnn densenet201 --data-dir data --image-size 64 --json FILE

After every window of the loop (read, augment, transfer, step, records) the same number of steps is taken
on one held batch, in the same process: images/s of the first as a share of the second. Also the share of
time that the loop waited for data, and how long it stood still to save a checkpoint.
"""

import argparse
import contextlib
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
from bench.measure import rate, ratio, table, write_result

from hamjax.checkpoint import Checkpoints
from hamjax.data.pipeline import batches
from hamjax.dispatch import stack_batches
from hamjax.errors import UserError
from hamjax.experiment import Experiment, build_experiment
from hamjax.loop import Loop
from hamjax.preemption import StopRequest
from hamjax.recipes import make_config
from hamjax.sharding import put_batch, split_batch

WARM_UP = 2  # windows


class TimedLoop(Loop):
    """The loop, with the held batch's steps after each window, and no validation."""

    def __init__(self, experiment: Experiment, workdir: Path, checkpoints: Checkpoints, stop: StopRequest) -> None:
        super().__init__(experiment, experiment.initial_state(), checkpoints, workdir, stop)
        (chunk,) = stack_batches(batches(experiment.train_source(), num_threads=0), [self._per_dispatch])
        self._held = put_batch(chunk, split_batch(experiment.mesh, axis=1))
        self.windows: list[dict[str, float]] = []
        self._opened = time.perf_counter()

    def _end_window(self) -> None:
        jax.block_until_ready(self.state)
        waited = self.meter.rates()["throughput__data_wait_share"]
        super()._end_window()
        real = time.perf_counter() - self._opened
        start = time.perf_counter()
        for _ in range(self.experiment.config.train.log_every_steps // self._per_dispatch):
            self.state, self.metrics = self._dispatch(0, self.state, self.metrics, self._held, self._rate)
        jax.block_until_ready(self.state)
        self.windows.append({"real": real, "held": time.perf_counter() - start, "data_wait_share": waited})
        self.metrics = self._empty_metrics()
        self.meter.reset()
        self._opened = time.perf_counter()

    def _validate_if_due(self) -> bool:
        return False

    def save_seconds(self) -> float:
        """Return how long the loop stands still for a checkpoint, the one before being written out."""
        self.checkpoints.wait()
        start = time.perf_counter()
        self._save("last")
        return time.perf_counter() - start


def main() -> None:
    """Run the command line."""
    args = _arguments()
    if args.device == "cpu":
        jax.config.update("jax_platforms", "cpu")
    results = {}
    try:
        for word in args.models:
            model, _, size = word.partition(":")
            with tempfile.TemporaryDirectory() as workdir:
                results[model] = _time_loop(args, model, int(size or 64), Path(workdir))
    except UserError as error:
        print(f"bench_end_to_end: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
    print(table(
        ["", "loop img/s", "held batch img/s", "loop / held", "data wait", "save blocks, ms"],
        [[f"{model} {r['image_size']} px", f"{r['loop_images_per_second']:,.1f}", f"{r['held_images_per_second']:,.1f}",
          f"{r['ratio']['median']:.3f} ({r['ratio']['least']:.3f}-{r['ratio']['most']:.3f})",
          f"{r['data_wait_share']:.2%}", f"{1e3 * r['checkpoint_blocking_seconds']:.0f}"]
         for model, r in results.items()],
    ))  # fmt: skip
    write_result(args.json, {**vars(args), "json": None, "data_dir": None, "source_dir": None}, results)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", metavar="NAME:SIZE", help="the size is 64 if not given",
                        default=["cnn", "resnet50", "inceptionv3:96", "densenet201"])  # fmt: skip
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--window", type=int, default=20, help="steps; many against the few batches read ahead")
    parser.add_argument("--rounds", type=int, default=7, help="windows that count")
    parser.add_argument("--augment-on", choices=("host", "device"), default="host")
    parser.add_argument("--synthetic", type=int, default=0, help="drawn images instead of HAM10000: how many")
    parser.add_argument("--source-dir", default="")
    parser.add_argument("--data-dir", default="data")
    parser.add_argument("--device", choices=("auto", "cpu"), default="auto")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def _time_loop(args: argparse.Namespace, model: str, size: int, workdir: Path) -> dict[str, Any]:
    config = make_config(
        model=model,
        strategy="s5",
        model__weights="random",
        data__name="synthetic" if args.synthetic else "ham10000",
        data__synthetic_images=args.synthetic or 4000,
        data__source_dir=args.source_dir,
        data__data_dir=args.data_dir,
        data__image_size=size,
        data__augment_on=args.augment_on,
        train__global_batch_size=args.batch_size,
        train__max_steps=args.window * (args.rounds + WARM_UP),
        train__log_every_steps=args.window,
        train__checkpoint_every_steps=0,
    )
    experiment = build_experiment(config)
    with (
        contextlib.closing(Checkpoints(workdir / "checkpoints", experiment.identity())) as checkpoints,
        StopRequest() as stop,
    ):
        loop = TimedLoop(experiment, workdir, checkpoints, stop)
        loop.restore()
        loop.run()
        loop.records.close()
        saves = [loop.save_seconds() for _ in range(3)]
        checkpoints.wait()
    windows = loop.windows[WARM_UP:]
    seconds = {kind: [window[kind] for window in windows] for kind in ("real", "held")}
    images = args.window * args.batch_size
    return {
        "image_size": size,
        "images_note": experiment.dataset.images_note,
        "loop_images_per_second": rate(seconds["real"], images),
        "held_images_per_second": rate(seconds["held"], images),
        "ratio": ratio(seconds, "real", "held"),
        "data_wait_share": statistics.median(window["data_wait_share"] for window in windows),
        "checkpoint_blocking_seconds": statistics.median(saves),
        "seconds": seconds,
    }


if __name__ == "__main__":
    main()
