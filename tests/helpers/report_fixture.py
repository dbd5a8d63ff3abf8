"""A summary as `report/test.json` holds it, with everything in it, assembled as a run does from random predictions."""

import copy
import functools
from typing import Any

import numpy as np
import optax

from hamjax.config import Config
from hamjax.data import splits
from hamjax.data.classes import CLASSES
from hamjax.data.dataset import Dataset
from hamjax.data.metadata import Metadata
from hamjax.evaluation.scoring import make_report
from hamjax.runtime.devices import make_mesh
from hamjax.training.setup.experiment import Experiment
from hamjax.training.setup.plan import Plan
from hamjax.training.setup.resolved import resolve

SUPPORTS = {"akiec": 30, "bcc": 35, "bkl": 88, "df": 8, "mel": 46, "nv": 883, "vasc": 13}
SITES = ("abdomen", "back", "chest", "face", "lower extremity", "scalp", "trunk", "upper extremity")
SOURCES = ("rosendahl", "vidir_modern", "vidir_molemax", "vienna_dias")
# The parts, and how many images each has of one in the test part.
PARTS = {"test": 1, "val": 1, "train": 2}
FIRST_ID = 9_000_000  # beyond HAM10000's, among which are near-duplicates that would count as leaks
YOUNGEST = 20  # years, of a melanoma: the row below has none


def full_summary() -> dict[str, Any]:
    """Return a summary in which no part is missing, free to be changed."""
    return copy.deepcopy(_summary())


@functools.cache
def _summary() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    experiment = _experiment(rng)
    labels = experiment.dataset.metadata.label
    logits = rng.normal(size=(len(labels), len(CLASSES))) + 2.2 * np.eye(len(CLASSES))[labels]
    tested, validated = experiment.rows(splits.TEST), experiment.rows(splits.VAL)
    variables = {"params": {"dense": np.zeros((10, 7))}, "batch_stats": {}}
    report = make_report(
        logits[tested],
        experiment.dataset,
        tested,
        splits.TEST,
        facts=experiment.facts(variables) | {"checkpoint": {"name": "last", "step": 34000}, "tta": "none"},
        leaks=experiment.leaks(),
        explain=lambda errors: (np.zeros((len(errors), 1, 1, 3), np.uint8), np.zeros((len(errors), 1, 1))),
        validation=(validated, 2 * logits[validated]),
    )
    # What `report.write` adds of `config.json`.
    return report.summary | {
        "config": experiment.config.to_dict(),
        "environment": {"python": "3.11.9", "platform": "Linux", "device": "cpu", "devices": 1, "processes": 1,
                        "revision": "0123456789ab", "packages": {"hamjax": "0.1.0", "jax": "0.10.2"}},
        "command": "python -m hamjax.main --config configs/cnn_s2.py --workdir runs/cnn_s2",
    }  # fmt: skip


def _experiment(rng: np.random.Generator) -> Experiment:
    """Make an experiment of a table and a split alone: its images are one pixel, and it has no network."""
    config = Config()
    config.model.weights = "random"
    # The test part's labels as often as the shares say.
    one = np.repeat(np.arange(len(CLASSES)), list(SUPPORTS.values()))
    label = np.tile(one, sum(PARTS.values()))
    split = np.repeat(list(PARTS), [share * len(one) for share in PARTS.values()])
    count, melanoma = len(label), CLASSES.index("mel")
    ages = rng.choice(np.array([5, 25, 45, 65, 85, np.nan], np.float32), count)
    metadata = Metadata(
        image_id=np.array([f"ISIC_{FIRST_ID + i:07d}" for i in range(count)]),
        lesion_id=np.array([f"HAM_{i:07d}" for i in range(count)]),
        label=label.astype(np.int32),
        age=np.where(label == melanoma, np.maximum(ages, YOUNGEST), ages),
        dx_type=rng.choice(np.array(["confocal", "consensus", "follow_up", "histo"]), count),
        sex=rng.choice(np.array(["female", "male", "unknown"]), count),
        localization=rng.choice(np.array(SITES), count),
        dataset=rng.choice(np.array(SOURCES), count),
    )
    trained = np.flatnonzero(split == splits.TRAIN)
    plan = Plan(split=split, epoch_rows=trained, counts=np.bincount(label[trained]),
                class_weights=np.ones(len(CLASSES), np.float32), steps_per_epoch=100, num_steps=500)  # fmt: skip
    images = np.zeros((count, 1, 1, 3), np.uint8)
    note = "10,015 images of 600x450 pixels, squash to 224x224"
    dataset = Dataset(images=images, metadata=metadata, fingerprint="cd" * 32, dropped=(), images_note=note)
    return Experiment(config=config, resolved=resolve(config), dataset=dataset, plan=plan, mesh=make_mesh(), model=None,
                      tx=optax.identity())  # fmt: skip


def external_overlap() -> dict[str, Any]:
    """Return what a summary says of an external set that shares lesions with training."""
    overlap = {
        "images": 3,
        "lesions": 2,
        "unknown": 0,
        "checked_by": "image and lesion id",
        "ids": ["ISIC_0024306", "ISIC_0024307"],
    }
    return {
        "layout": "ham10000", "labelled": 60, "scored": 57, "unreadable": ["ISIC_0000001", "ISIC_0000002"],
        "without_image": ["ISIC_0035068"], "unlabelled": [], "overlap": overlap,
    }  # fmt: skip


def full_records(epochs: int = 5, steps_per_epoch: int = 100) -> list[dict[str, Any]]:
    """Return lines of `metrics.jsonl`."""
    records: list[dict[str, Any]] = []
    for step in range(50, epochs * steps_per_epoch + 1, 50):
        line = {"step": step, "epoch": (step - 1) // steps_per_epoch + 1}
        trained = {"train/loss": 1 / (1 + step / 100), "train/accuracy": 0.6, "train/learning_rate": 1e-3}
        records.append(line | trained)
        if step % steps_per_epoch == 0:
            scores = {"loss": 0.9, "accuracy": 0.8, "balanced_accuracy": 0.3 + step / 2000, "macro_f1": 0.3}
            records.append(line | {f"eval/{name}": score for name, score in scores.items()})
    return records
