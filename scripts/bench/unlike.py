"""Count the images that a run calls unlike its training images: its own test images, and images that are no lesions.

    python scripts/bench_unlike.py --workdir runs/cnn_s2 --json scripts/results/unlike_cnn_64px.json

The run's data must be there, for its test images. The others are made by code; see scripts/bench/unlike_images.py.
Beside what the run keeps (how images look) stands the same distance on the network's last stage before its head.
"""

import argparse
import functools
from pathlib import Path
from typing import Any

import jax
import numpy as np

from bench.measure import table, write_result
from bench.unlike_images import KINDS, encode
from hamjax.commands import errors_reported
from hamjax.data.splits import TEST, TRAIN, VAL
from hamjax.data.unlabelled import decode_image
from hamjax.evaluation.trained_run import TrainedRun
from hamjax.evaluation.unlike import TRAINED, draw_evenly, fit_likeness, measure, read_likeness
from hamjax.models.preprocessing import scale_images
from hamjax.runtime.devices import local_copy
from hamjax.runtime.errors import UserError
from hamjax.training.setup.experiment import Experiment, build_experiment

BATCH = 64
OWN = "test images of the run"


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", required=True, type=Path, help="a finished run")
    parser.add_argument("--images", type=int, default=200, help="of each kind that is made by code")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with errors_reported("bench_unlike"):
        config, shares = count(args.workdir, args.images)
    names = list(shares)
    rows = [[kind, *(f"{shares[name][kind]:.1%}" for name in names)] for kind in shares[names[0]]]
    print(table(["called unlike", *names], rows))
    run = {"model": config.model.name, "strategy": str(config.sampling.strategy), "image_size": config.data.image_size,
           "data": config.data.name, "split": config.data.split, "epochs": config.train.epochs}  # fmt: skip
    write_result(args.json, {"images": args.images, "run": run}, shares)


def count(workdir: Path, made: int) -> tuple[Any, dict[str, dict[str, float]]]:
    """Return a run's config, and the share of each kind of images that is called unlike, by what is measured."""
    run = TrainedRun(workdir)
    variables, _ = run.restore()
    shape = run.config.data.image_size, run.config.data.resize
    kept = read_likeness(workdir, shape[0])
    if kept is None:
        raise UserError(f"{workdir}: expected a run that has measured its training images, got none; train it anew.")
    experiment = build_experiment(run.config)
    images, labels, rows = experiment.dataset.images, experiment.dataset.metadata.label, experiment.rows(TRAIN)
    rows = rows[draw_evenly(labels[rows], TRAINED, np.random.default_rng(run.config.train.seed))]
    pooled = functools.partial(last_stage, run, local_copy(variables))
    fitted = fit_likeness(pooled(images[rows]), labels[rows], pooled(images[experiment.rows(VAL)]))
    sets = {OWN: images[experiment.rows(TEST)]}
    for kind, draw in KINDS.items():
        rng = np.random.default_rng(0)
        sets[kind] = np.stack([decode_image(encode(draw(rng)), [shape]).pixels[shape] for _ in range(made)])
    return run.config, {
        name: {kind: float((likeness.distances(look(each)) > likeness.threshold).mean()) for kind, each in sets.items()}
        for name, likeness, look in (("how images look", kept, measure), ("stage `pooled`", fitted, pooled))
    }


def last_stage(run: TrainedRun | Experiment, variables: Any, images: np.ndarray) -> np.ndarray:
    """Return what a network makes of images [N, S, S, 3] before its head, the stage `pooled`: [N, D] float64."""

    @jax.jit
    def forward(batch: Any) -> Any:
        scaled = scale_images(batch, run.resolved.input_scale, run.model.dtype)
        return run.model.apply(variables, scaled, train=False, stages=True)[1]["pooled"]

    padded = images[np.resize(np.arange(len(images)), -(-len(images) // BATCH) * BATCH)]
    stages = [forward(padded[start : start + BATCH]) for start in range(0, len(padded), BATCH)]
    return np.concatenate(stages)[: len(images)].astype(np.float64)
