"""Time the real training loop beside the same compiled step on a batch that is there already.

    python scripts/bench_end_to_end.py --models cnn densenet201 --data-dir data --json FILE

After every window of the loop (read, augment, transfer, step, records) about as many steps are taken on one held
batch, in the same process: images/s of the first as a share of the second, each by the steps it took. A window in
which an epoch ends is left out, as it holds a save. Also how long a dispatch waits for its batches, and how long the
loop stands still to save a checkpoint.

`--stand-in-ms 250` puts a wait of that length in the place of each training step: a loop that costs nothing beside its
steps then reaches 1.00, whatever the machine.
"""

import argparse
import contextlib
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from bench.interleaved import Interleaved, save_seconds, summarize
from bench.measure import table, write_result
from hamjax.commands import errors_reported
from hamjax.config import make_config
from hamjax.runtime.preemption import StopRequest
from hamjax.training.loop import Loop
from hamjax.training.run_directory.checkpoints import Checkpoints
from hamjax.training.setup.experiment import build_experiment
from hamjax.training.validation import Validation

WARM_UP = 2  # windows
NOT_VALIDATED = Validation(accuracy=0.0, balanced_accuracy=-1.0, loss=0.0, values={}, alarm=None)


class StandIn:
    """Stands for the compiled steps: waits, and counts."""

    def __init__(self, milliseconds: float) -> None:
        self._seconds = milliseconds / 1e3

    def __call__(self, step: int, state: Any, metrics: Any, batches: Any, settings: Any) -> tuple[Any, Any]:
        """Wait as long as the steps of these batches take."""
        del step, settings
        count = len(batches["label"])
        time.sleep(count * self._seconds)
        return state.replace(step=state.step + jnp.int32(count)), jax.tree.map(lambda x: x + count, metrics)


def main() -> None:
    """Run the command line."""
    args = _arguments()
    if args.device == "cpu":
        jax.config.update("jax_platforms", "cpu")
    results = {}
    with errors_reported("bench_end_to_end"):
        for word in args.models:
            model, _, size = word.partition(":")
            with tempfile.TemporaryDirectory() as workdir:
                results[model] = _time_loop(args, model, int(size or 64), Path(workdir))
    print(table(
        ["", "loop img/s", "held batch img/s", "loop / held", "wait for a batch, ms (95%)", "save blocks, ms"],
        [[f"{model} {r['image_size']} px", f"{r['loop_images_per_second']:,.1f}", f"{r['held_images_per_second']:,.1f}",
          f"{r['ratio']['median']:.3f} ({r['ratio']['least']:.3f}-{r['ratio']['most']:.3f})",
          f"{1e3 * r['wait_seconds']['median']:.2f} ({1e3 * r['wait_seconds']['p95']:.2f})",
          f"{1e3 * r['checkpoint_blocking_seconds']:.0f}"]
         for model, r in results.items()],
    ))  # fmt: skip
    write_result(args.json, {**vars(args), "json": None, "data_dir": None, "source_dir": None}, results)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", metavar="NAME:SIZE", help="the size is 64 if not given",
                        default=["cnn", "resnet50", "inceptionv3:96", "densenet201"])  # fmt: skip
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--window", type=int, default=20, help="steps; many against the few batches read ahead")
    parser.add_argument("--rounds", type=int, default=7, help="windows that count, less those in which an epoch ends")
    parser.add_argument("--steps-per-dispatch", type=int, default=0, help="0: as the training loop chooses")
    parser.add_argument("--stand-in-ms", type=float, help="wait so long instead of taking a training step")
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
        train__steps_per_dispatch=args.steps_per_dispatch,
        train__checkpoint_every_minutes=0,
    )
    experiment = build_experiment(config)
    with (
        contextlib.closing(Checkpoints(workdir / "checkpoints", experiment.identity())) as checkpoints,
        StopRequest() as stop,
    ):
        hooks: list[Interleaved] = []
        loop = Loop(
            experiment, experiment.initial_state(), checkpoints, workdir, stop,
            validate=lambda state, should_stop: NOT_VALIDATED, on_dispatch=lambda step: hooks[0](step),
        )  # fmt: skip
        if args.stand_in_ms is not None:
            loop.dispatch = StandIn(args.stand_in_ms)
        loop.restore()
        hooks.append(Interleaved(loop, args.window, experiment.resolved.steps_per_dispatch))
        loop.run()
        loop.records.close()
        saves = [save_seconds(loop) for _ in range(3)]
        checkpoints.wait()
    return summarize(experiment, hooks[0], saves, args.batch_size, WARM_UP)


if __name__ == "__main__":
    main()
