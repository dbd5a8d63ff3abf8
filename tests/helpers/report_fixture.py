"""A summary as `report/test.json` holds it, with everything in it, from random predictions."""

import copy
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from hamjax.config import Config
from hamjax.data.classes import CLASSES
from hamjax.evaluation.metrics.calibration import calibration_report
from hamjax.evaluation.metrics.classification import classification_report, mean_cross_entropy, softmax
from hamjax.evaluation.metrics.isic import isic_scores
from hamjax.evaluation.metrics.ranking import one_vs_rest, operating_points

SUPPORTS = {"akiec": 30, "bcc": 35, "bkl": 88, "df": 8, "mel": 46, "nv": 883, "vasc": 13}
GROUPS = {
    "age": ("0-19", "20-39", "40-59", "60-79", "80 and over", "unknown"),
    "sex": ("female", "male", "unknown"),
    "localization": ("abdomen", "back", "chest", "face", "lower extremity", "scalp", "trunk", "upper extremity"),
    "dataset": ("rosendahl", "vidir_modern", "vidir_molemax", "vienna_dias"),
    "dx_type": ("confocal", "consensus", "follow_up", "histo"),
}


def full_summary() -> dict[str, Any]:
    """Return a summary in which no part is missing, free to be changed; intervals and groups are made up."""
    return copy.deepcopy(_summary())


@functools.cache
def _summary() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(len(CLASSES)), list(SUPPORTS.values()))
    logits = rng.normal(size=(len(labels), len(CLASSES))) + 2.2 * np.eye(len(CLASSES))[labels]
    probabilities = softmax(logits)
    report, ranks = classification_report(labels, probabilities, CLASSES), one_vs_rest(labels, probabilities, CLASSES)
    for name, row in report["per_class"].items():
        few = row["support"] < 20
        row |= ranks["per_class"][name]
        row["intervals"] = {score: _interval(row[score], few and score == "recall") for score in ("recall", "f1")}
        row["intervals"] |= {"auc": _interval(row["auc"]), "precision": None if name == "df" else _interval(0.5)}
    scores = ("accuracy", "balanced_accuracy", "macro_f1", "macro_auc")
    report["macro_auc"] = ranks["macro_auc"]
    points = operating_points(labels, probabilities, CLASSES)
    return {
        **_facts(),
        **report,
        "loss": mean_cross_entropy(labels, probabilities),
        "intervals": {name: _interval(report[name]) for name in scores},
        "bootstrap": {"resamples": 1000, "level": 0.95, "clusters": 1103, "resampled": "lesions"},
        "isic": isic_scores(labels, probabilities, CLASSES),
        "operating_points": [point | {"interval": _interval(point["sensitivity"])} for point in points],
        "calibration": calibration_report(labels, logits, labels, 2 * logits, same_images=False),
        "subgroups": {key: [_subgroup(rng, name) for name in names] for key, names in GROUPS.items()},
        "demographics": {part: _demographics(rng, n) for part, n in (("train", 7809), ("val", 1103), ("test", 1103))},
        "worst_errors": [_error(k) for k in range(12)],
        "leaks": {dx: {"test": n, "leaked": 0, "val": n, "val_leaked": 0} for dx, n in SUPPORTS.items()},
        "alarms": [],
    }


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


def _facts() -> dict[str, Any]:
    config = Config()
    config.sampling.strategy = type(config.sampling.strategy)("s2")
    counts = {"akiec": 267, "bcc": 444, "bkl": 923, "df": 99, "mel": 1021, "nv": 4939, "vasc": 116}
    packages = {"hamjax": "0.1.0", "jax": "0.10.2", "numpy": "2.4.0"}
    return {
        "partition": "test",
        "model": "cnn",
        "strategy": "s2",
        "seed": 0,
        "images_note": "10,015 images of 600x450 pixels, squash to 224x224",
        "images_dropped": [],
        "split": {"name": "paper", "fingerprint": "ab" * 32,
                  "counts": {"train": counts, "val": dict(SUPPORTS), "test": dict(SUPPORTS)}},
        "lesions": {"images": 10_015, "unknown": 0},
        "data_fingerprint": "cd" * 32,
        "sampling": {"epoch_counts": counts, "class_weights": dict.fromkeys(CLASSES, 1.0)},
        "params_total": 25_756_711,
        "params_trainable": 25_756_711,
        "checkpoint": {"name": "last", "step": 34000},
        "config": config.to_dict(),
        "environment": {"python": "3.11.9", "platform": "Linux", "device": "cpu", "devices": 1, "processes": 1,
                        "revision": "0123456789ab", "packages": packages},
        "command": "python -m hamjax.main --config configs/cnn_s2.py --workdir runs/cnn_s2",
    }  # fmt: skip


def _interval(value: float, wilson: bool = False) -> dict[str, Any]:
    width = 0.2 if wilson else 0.05
    method = "wilson" if wilson else "bootstrap"
    return {"low": max(value - width, 0.0), "high": min(value + width, 1.0), "method": method}


def _subgroup(rng: np.random.Generator, name: str) -> dict[str, Any]:
    n, melanomas = int(rng.integers(8, 500)), 0 if name == "0-19" else int(rng.integers(1, 30))
    accuracy, balanced, found = (float(rng.uniform(0.3, 0.95)) for _ in range(3))
    return {
        "group": name, "n": n, "lesions": n, "accuracy": accuracy, "accuracy_interval": _interval(accuracy),
        "balanced_accuracy": balanced, "balanced_accuracy_interval": _interval(balanced), "melanomas": melanomas,
        "melanoma_sensitivity": found if melanomas else None,
        "melanoma_interval": _interval(found, wilson=True) if melanomas else None,
    }  # fmt: skip


def _demographics(rng: np.random.Generator, images: int) -> dict[str, Any]:
    def deal(names: Sequence[str]) -> dict[str, int]:
        return dict(zip(names, rng.multinomial(images, np.full(len(names), 1 / len(names))).tolist(), strict=True))

    groups = {key: deal(names) for key, names in GROUPS.items() if key != "age"}
    return {"images": images, "lesions": images, "age": {"mean": 51.9, "sd": 16.9, "unknown": 6}, **groups}


def _error(k: int) -> dict[str, Any]:
    return {"image_id": f"ISIC_{24306 + k:07d}", "truth": "mel", "predicted": "nv",
            "probability_of_truth": 0.001 * (k + 1), "probability_of_predicted": 0.99 - 0.01 * k}  # fmt: skip
