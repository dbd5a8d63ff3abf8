"""Everything that is said of predictions on one set of images: `report/<partition>.json` and its table."""

import csv
import dataclasses
import io
import json
from typing import Any

import numpy as np

from hamjax.data.cache import Dataset
from hamjax.data.metadata import CLASSES
from hamjax.metrics.classification import classification_report, collapse_warning, mean_cross_entropy, softmax

Leaks = dict[str, dict[str, int]]


@dataclasses.dataclass(frozen=True)
class EvalReport:
    """The result on one partition.

    Attributes:
        summary: what `report/test.json` holds.
        image_id: [N].
        labels: [N] int32.
        probabilities: [N, 7] float64.
    """

    summary: dict[str, Any]
    image_id: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray

    def summary_json(self) -> str:
        """Return the text of `test.json`."""
        return json.dumps(self.summary, indent=2) + "\n"

    def predictions_csv(self) -> str:
        """Return one row an image: image_id, dx, predicted, and a probability a class."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("image_id", "dx", "predicted", *CLASSES))
        for image_id, label, row in zip(self.image_id, self.labels, self.probabilities, strict=True):
            cells = [f"{p:.9g}" for p in row]
            writer.writerow((image_id, CLASSES[label], CLASSES[row.argmax()], *cells))
        return text.getvalue()


def judge(logits: np.ndarray, dataset: Dataset, rows: np.ndarray) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """Turn logits into metrics.

    Returns:
        The classification report with the unweighted `loss`; the labels; the probabilities.
    """
    labels, probabilities = dataset.metadata.label[rows], softmax(logits)
    report = classification_report(labels, probabilities, CLASSES)
    return report | {"loss": mean_cross_entropy(labels, probabilities)}, labels, probabilities


def make_report(
    logits: np.ndarray, dataset: Dataset, rows: np.ndarray, partition: str, *, facts: dict[str, Any], leaks: Leaks
) -> EvalReport:
    """Assemble everything that is said of one set of images.

    Args:
        logits: [N, 7] of these rows.
        dataset: prepared images.
        rows: [N] indices into it.
        partition: what the set is called.
        facts: `model`, `split`, `checkpoint`, `params_total` and so on, passed into the summary.
        leaks: of `hamjax.data.splits.leak_meter`; empty where it does not apply.
    """
    report, labels, probabilities = judge(logits, dataset, rows)
    summary = {
        "partition": partition,
        "images_note": dataset.images_note,
        "images_dropped": list(dataset.dropped),
        **facts,
        **report,
        "leaks": leaks,
        "alarms": _alarms(report, leaks, dataset),
    }
    return EvalReport(summary, dataset.metadata.image_id[rows], labels, probabilities)


def _alarms(report: dict[str, Any], leaks: Leaks, dataset: Dataset) -> list[str]:
    alarms = []
    if collapsed := collapse_warning(report):
        alarms.append(f"collapse: {collapsed}")
    if leaked := sum(row["leaked"] for row in leaks.values()):
        alarms.append(f"leak: {leaked} test images show a lesion that was trained on")
    if dataset.dropped:
        alarms.append(f"incomplete data: {len(dataset.dropped)} images were missing or undecodable")
    return alarms
