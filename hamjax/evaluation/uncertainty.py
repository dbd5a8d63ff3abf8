"""How sure the answers are: prediction sets, what they promise, and the risk of the surest answers.

Sets are calibrated on validation. How often they hold the true class is measured, and beside it stands whether the
promise applies at all.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hamjax.data.classes import CLASSES
from hamjax.data.lesions import TRAIN, VAL, known_lesions, lesion_groups, unit_of_resampling
from hamjax.data.metadata import Metadata
from hamjax.evaluation.metrics.classification import softmax
from hamjax.evaluation.metrics.conformal import calibrate, expected_coverage, prediction_sets, set_scores
from hamjax.evaluation.metrics.resampling import ClusterBootstrap
from hamjax.evaluation.metrics.selective import risk_coverage
from hamjax.training.run_directory.finished import read_summary

# Sets for all lesions by one threshold; for the lesions of each class by its own.
KINDS = ("marginal", "by_class")
# Of the tables of predictions.
SET_COLUMNS = {"marginal": "set", "by_class": "set_by_class"}
Sets = dict[str, np.ndarray]


def calibrate_on(metadata: Metadata, rows: np.ndarray, logits: np.ndarray) -> dict[str, Any]:
    """Return the thresholds of prediction sets, and what they rest on.

    Args:
        metadata: of a whole data set.
        rows: [M] indices of its validation images.
        logits: [M, 7] of these.

    Returns:
        What `hamjax.evaluation.metrics.conformal.calibrate` does, and the `unit` that is exchangeable: `lesions`,
        `images`, or `lesions and images`; see `unit_of_resampling`.
    """
    known = known_lesions(metadata.image_id, metadata.lesion_id)[rows]
    found = calibrate(metadata.label[rows], softmax(logits), lesion_groups(metadata)[rows], CLASSES)
    return {**found, "unit": unit_of_resampling(known)}


def stored_calibration(workdir: Path, facts: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the thresholds that a run's own report has, for images from elsewhere: they need no validation images.

    Args:
        workdir: the run directory.
        facts: of what predicts: `checkpoint`, `tta`, perhaps `averaged`.

    Returns:
        As `calibrate_on`; None if there is no report, or it is on another checkpoint or other views.
    """
    summary = read_summary(workdir)
    asked = {name: facts[name] for name in ("checkpoint", "tta")}
    # Thresholds are of one network's probabilities: an average of several has others.
    if summary is None or "averaged" in facts or asked != {name: summary.get(name) for name in asked}:
        return None
    try:
        stored = summary["conformal"]["calibration"]
        per_class = {dx: _counted(stored["per_class"][dx]) for dx in CLASSES}
        said = {"level": float(stored["level"]), "lesions_needed": int(stored["lesions_needed"])}
        return {**said, **_counted(stored), "per_class": per_class, "unit": str(stored["unit"])}
    except (KeyError, TypeError, ValueError, OverflowError):  # of a version without sets, or damaged
        return None


def _counted(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"images": int(row["images"]), "lesions": int(row["lesions"]), "threshold": float(row["threshold"])}


def measure_uncertainty(
    labels: np.ndarray,
    probabilities: np.ndarray,
    lesions: np.ndarray,
    partition: str,
    facts: Mapping[str, Any],
    calibration: Mapping[str, Any] | None,
) -> tuple[dict[str, Any], Sets]:
    """Return what the summary says of how sure the answers are, and the sets.

    Args:
        labels: [N] int.
        probabilities: [N, 7].
        lesions: [N] int, the lesion of each image.
        partition: what the images are called.
        facts: see `make_report`.
        calibration: of `calibrate_on`; None where there is none.

    Returns:
        `conformal`: `calibration`, `promise` and `because` (see `promise`), and by kind of set, `marginal` and
        `by_class`, what `set_scores` returns, with `expected` of `marginal` and of each class in `by_class` (see
        `expected_coverage`); None without calibration. `selective`: see `risk_coverage`. And the sets
        by kind, [N, 7] bool each; none without calibration.
    """
    bootstrap = ClusterBootstrap(lesions)
    selective = risk_coverage(labels, probabilities, bootstrap, CLASSES)
    if calibration is None:
        return {"conformal": None, "selective": selective}, {}
    sets = make_sets(probabilities, calibration)
    scores = {kind: set_scores(sets[kind], labels, bootstrap, CLASSES) for kind in KINDS}
    # Beside what is found: few lesions, of validation or here, miss 90% by chance alone.
    scores["marginal"]["expected"] = expected_coverage(calibration["lesions"], bootstrap.clusters)
    for dx, row in scores["by_class"]["per_class"].items():
        row["expected"] = expected_coverage(calibration["per_class"][dx]["lesions"], row["lesions"])
    said = promise(partition, facts, calibration["unit"])
    return {"conformal": {"calibration": dict(calibration), **said, **scores}, "selective": selective}, sets


def make_sets(probabilities: np.ndarray, calibration: Mapping[str, Any]) -> Sets:
    """Return the prediction sets of images by kind, [N, 7] bool each.

    Args:
        probabilities: [N, 7].
        calibration: of `calibrate_on`.
    """
    by_class = np.array([calibration["per_class"][dx]["threshold"] for dx in CLASSES])
    thresholds = dict(zip(KINDS, (calibration["threshold"], by_class), strict=True))
    return {kind: prediction_sets(probabilities, limit) for kind, limit in thresholds.items()}


def classes_in(chosen: np.ndarray, probabilities: np.ndarray) -> list[str]:
    """Return the classes of a set [7] bool, the most probable first."""
    return [CLASSES[k] for k in np.argsort(-probabilities, kind="stable") if chosen[k]]


def promise(partition: str, facts: Mapping[str, Any], unit: str) -> dict[str, Any]:
    """Say whether sets promise their level on some images, `exact`, `approximate` or `none`, and `because` of what."""
    # Calibration and new images have to be exchangeable, given the network.
    if "external" in facts:
        return {"promise": "none", "because": ["elsewhere"]}
    if partition in (TRAIN, VAL):
        return {"promise": "none", "because": [partition]}
    # What the network was chosen by, it suits better than it suits new images.
    found = {
        "checkpoint": "best" in facts["checkpoint"]["name"].split(),
        "schedule": "plateau" in facts["schedule"].split(),
        "parts": facts["split"]["name"] == "source",
        "lesions": unit != "lesions",
    }
    because = [reason for reason, applies in found.items() if applies]
    return {"promise": "approximate" if because else "exact", "because": because}
