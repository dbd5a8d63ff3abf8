"""Score predictions on one set of images and assemble the summary written to `report/<partition>.json`."""

import csv
import dataclasses
import io
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from hamjax.data.classes import CLASSES
from hamjax.data.dataset import Dataset
from hamjax.data.lesions import VAL, Leaks, known_lesions, lesion_groups, unit_of_resampling
from hamjax.evaluation.metrics.bootstrap import bootstrap_intervals, rate_interval
from hamjax.evaluation.metrics.calibration import calibration_report
from hamjax.evaluation.metrics.classification import (
    classification_report,
    collapse_warning,
    mean_cross_entropy,
    softmax,
)
from hamjax.evaluation.metrics.isic import isic_scores
from hamjax.evaluation.metrics.ranking import one_vs_rest, operating_points
from hamjax.evaluation.metrics.subgroups import subgroup_tables
from hamjax.evaluation.metrics.worst_errors import worst_errors
from hamjax.evaluation.uncertainty import SET_COLUMNS, Sets, calibrate_on, classes_in, measure_uncertainty

Validation = tuple[np.ndarray, np.ndarray]
LEAKED = {
    "leaked": "test images show a lesion that was learned or chosen from",
    "val_leaked": "validation images show a lesion that was trained on",
}
Explain = Callable[[list[dict[str, Any]]], tuple[np.ndarray, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class EvalReport:
    """The result on one partition.

    Attributes:
        summary: what `report/test.json` holds.
        image_id: [N].
        labels: [N] int32.
        probabilities: [N, 7] float64.
        sets: prediction sets by kind, [N, 7] bool each; none without calibration.
        worst: images and heat maps of the summary's `worst_errors`; see `Predictor.explain`.
    """

    summary: dict[str, Any]
    image_id: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray
    sets: Sets
    worst: tuple[np.ndarray, np.ndarray]

    def summary_json(self) -> str:
        """Return the text of `test.json`."""
        return json.dumps(self.summary, indent=2) + "\n"

    def predictions_csv(self) -> str:
        """Return one row an image: image_id, dx, predicted, a probability a class, and the prediction sets."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        # Sets come last and may be missing: whoever reads the columns before them by their place goes on.
        writer.writerow(("image_id", "dx", "predicted", *CLASSES, *(SET_COLUMNS[kind] for kind in self.sets)))
        for i, (image_id, label, row) in enumerate(zip(self.image_id, self.labels, self.probabilities, strict=True)):
            # Nine digits tell float32 numbers apart, and logits are no finer.
            cells = [f"{p:.9g}" for p in row]
            sets = (" ".join(classes_in(chosen[i], row)) for chosen in self.sets.values())
            writer.writerow((image_id, CLASSES[label], CLASSES[row.argmax()], *cells, *sets))
        return text.getvalue()


def score(logits: np.ndarray, dataset: Dataset, rows: np.ndarray) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """Turn logits into metrics.

    Returns:
        The classification report with the unweighted `loss`; the labels; the probabilities.
    """
    labels, probabilities = dataset.metadata.label[rows], softmax(logits)
    report = classification_report(labels, probabilities, CLASSES)
    return report | {"loss": mean_cross_entropy(labels, probabilities)}, labels, probabilities


def make_report(
    logits: np.ndarray,
    dataset: Dataset,
    rows: np.ndarray,
    partition: str,
    *,
    facts: dict[str, Any],
    leaks: Leaks,
    explain: Explain,
    validation: Validation | None = None,
    calibration: Mapping[str, Any] | None = None,
) -> EvalReport:
    """Assemble the scores of one set of images.

    Args:
        logits: [N, 7] of these rows.
        dataset: prepared images.
        rows: [N] indices into it.
        partition: what the set is called.
        facts: `model`, `split`, `checkpoint`, `params_total` and so on, passed into the summary.
        leaks: of `hamjax.data.lesions.leak_meter`; empty where it does not apply.
        explain: finds the images and heat maps of the worst errors.
        validation: rows [M] of the data set and their logits [M, 7], to fit a temperature and to calibrate prediction
            sets on; without them the summary has no calibration.
        calibration: without validation, what prediction sets were calibrated to before; see `stored_calibration`.
    """
    report, labels, probabilities = score(logits, dataset, rows)
    table, lesions = dataset.metadata.select(rows), lesion_groups(dataset.metadata)[rows]
    known = known_lesions(dataset.metadata.image_id, dataset.metadata.lesion_id)[rows]
    predicted = probabilities.argmax(1)
    if validation is not None:
        calibration = calibrate_on(dataset.metadata, *validation)
    uncertainty, sets = measure_uncertainty(labels, probabilities, lesions, partition, facts, calibration)
    # One flat dictionary: it is written as it is, and whoever reads test.json needs no class of ours.
    summary = {
        "partition": partition,
        "images_note": dataset.images_note,
        "images_dropped": list(dataset.dropped),
        "tables": list(dataset.tables),
        "other_diagnoses": dict(dataset.outside),
        **facts,
        **report,
        **_with_intervals(report["per_class"], labels, probabilities, lesions, known),
        "isic": isic_scores(labels, probabilities, CLASSES),
        "operating_points": _operating_points(labels, probabilities, lesions),
        **uncertainty,
        "subgroups": subgroup_tables(labels, predicted, lesions, known, table.columns(), CLASSES),
        "worst_errors": worst_errors(labels, probabilities, table.image_id, CLASSES),
        "leaks": leaks,
        "alarms": _alarms(report, leaks, dataset, facts),
    }
    if validation is not None:
        fitted_on = dataset.metadata.label[validation[0]], validation[1]
        summary["calibration"] = calibration_report(*fitted_on, labels, logits, same_images=partition == VAL)
    return EvalReport(summary, table.image_id, labels, probabilities, sets, explain(summary["worst_errors"]))


def _with_intervals(
    per_class: dict[str, Any], labels: np.ndarray, probabilities: np.ndarray, lesions: np.ndarray, known: np.ndarray
) -> dict[str, Any]:
    """Return `macro_auc`, `intervals`, `bootstrap`, and `per_class` with what ranking and resampling add."""
    ranked = one_vs_rest(labels, probabilities, CLASSES)
    drawn = bootstrap_intervals(labels, probabilities, lesions, CLASSES)
    drawn["bootstrap"]["resampled"] = unit_of_resampling(known)
    rows = {dx: row | ranked["per_class"][dx] | {"intervals": drawn["per_class"][dx]} for dx, row in per_class.items()}
    return {**drawn, "macro_auc": ranked["macro_auc"], "per_class": rows}


def _operating_points(labels: np.ndarray, probabilities: np.ndarray, lesions: np.ndarray) -> list[dict[str, Any]]:
    """Return the rows of `operating_points`, each with the interval of its sensitivity at its threshold."""
    rows = operating_points(labels, probabilities, CLASSES)
    for row in rows:
        chosen = [CLASSES.index(dx) for dx in row["classes"]]
        positive = np.isin(labels, chosen)
        # Without a threshold nothing is called positive.
        threshold = np.inf if row["threshold"] is None else row["threshold"]
        found = probabilities[positive][:, chosen].sum(1) >= threshold
        row["interval"] = rate_interval(found, lesions[positive])
    return rows


def _alarms(report: dict[str, Any], leaks: Leaks, dataset: Dataset, facts: dict[str, Any]) -> list[str]:
    alarms = []
    overlap = facts.get("external", {}).get("overlap", {"images": 0})
    if overlap["images"]:
        alarms.append(f"overlap: {overlap['images']} images show a lesion that was learned or chosen from")
    if collapsed := collapse_warning(report):
        alarms.append(f"collapse: {collapsed}")
    for key, which in LEAKED.items():
        if leaked := sum(row[key] or 0 for row in leaks.values()):
            alarms.append(f"leak: {leaked} {which}")
    lesions = facts.get("lesions", {"unknown": 0})
    if lesions["unknown"] and leaks:
        alarms.append(
            f"lesions: not known for {lesions['unknown']:,} of {lesions['images']:,} images, and so not whether test "
            "images show lesions that were trained on"
        )
    if dataset.dropped:
        alarms.append(f"incomplete data: {len(dataset.dropped)} images were missing or undecodable")
    return alarms
