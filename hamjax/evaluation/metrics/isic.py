"""The scores of ISIC 2018 task 3, by the rules of its scorer.

They are those of github.com/ImageMarkup/isic-challenge-scoring, version 5.6.0, and not
scikit-learn's: an image whose highest probability is tied is undecided and counts as wrong; a class
is called at a probability above a half, whatever the others; a quotient of 0 by 0 is 1, which
flatters a class that is never called.
"""

import csv
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from hamjax.evaluation.metrics.ranking import auc, average_precision, mean_of_defined
from hamjax.runtime.errors import UserError

COLUMNS = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")  # of its CSV files, after `image`
IMAGE_THAT_DOES_NOT_EXIST = "ISIC_0035068"  # a row of the test ground truth; its weight is 0
MIN_SENSITIVITY = 0.8  # of `auc_sens_80`


def isic_scores(
    labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str], weights: np.ndarray | None = None
) -> dict[str, Any]:
    """Score predictions as the challenge does.

    Where a class does not occur, its recall is left out of the balanced accuracy, its areas under
    the ROC curve are None and left out of their means, and its average precision is 0. (The
    scorer itself cannot finish there: it looks for a sensitivity of 0.8 on a curve without points.)

    Args:
        labels: [N] int.
        probabilities: [N, K].
        classes: K names.
        weights: [N] of the images, 1 each by default; one of weight 0 is not counted.

    Returns:
        `balanced_accuracy` over the highest probabilities; `undecided`, the images in which
        they are tied; `per_class` with `accuracy, sensitivity, specificity, dice, ppv, npv,
        auc, auc_sens_80, ap`; and `macro`, their means over the classes.
    """
    weights = np.ones(len(labels)) if weights is None else weights.astype(np.float64)
    counted = weights > 0
    labels, probabilities, weights = labels[counted], probabilities[counted], weights[counted]
    # As the scorer: argmax would give the first of two tied classes, which is no prediction.
    undecided = (probabilities == probabilities.max(1, keepdims=True)).sum(1) > 1
    right = ~undecided & (probabilities.argmax(1) == labels)
    recalls = [np.average(right[labels == k], weights=weights[labels == k]) for k in np.unique(labels)]
    per_class = {
        name: _called_above_half(labels == k, probabilities[:, k], weights)
        | _ranked(labels == k, probabilities[:, k], weights)
        for k, name in enumerate(classes)
    }
    rows = list(per_class.values())
    return {
        "balanced_accuracy": float(np.mean(recalls)),
        "undecided": int(undecided.sum()),
        "per_class": per_class,
        "macro": {name: mean_of_defined([row[name] for row in rows]) for name in rows[0]},
    }


def _called_above_half(positive: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> dict[str, float]:
    called = scores > 0.5
    tp, fn = weights[positive & called].sum(), weights[positive & ~called].sum()
    fp, tn = weights[~positive & called].sum(), weights[~positive & ~called].sum()

    def share(part: float, rest: float) -> float:
        # The scorer's choice, kept so that its figures are ours; our own precision and recall are 0 there.
        return float(part / (part + rest)) if part + rest else 1.0

    return {
        "accuracy": share(tp + tn, fp + fn),
        "sensitivity": share(tp, fn),
        "specificity": share(tn, fp),
        "dice": share(2 * tp, fp + fn),
        "ppv": share(tp, fp),
        "npv": share(tn, fn),
    }


def _ranked(positive: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> dict[str, float | None]:
    whole = auc(positive, scores, weights)
    return {
        "auc": whole,
        "auc_sens_80": None if whole is None else _auc_above_sensitivity(positive, scores, weights),
        "ap": average_precision(positive, scores, weights) or 0.0,
    }


def _auc_above_sensitivity(positive: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> float:
    """Return the area below the ROC curve from where it crosses 0.8, without McClish's correction."""
    from sklearn.metrics import auc as area
    from sklearn.metrics import roc_curve

    fpr, tpr, _ = roc_curve(positive, scores, sample_weight=weights, drop_intermediate=False)
    above = int(tpr.searchsorted(MIN_SENSITIVITY))
    crossing = np.interp(MIN_SENSITIVITY, tpr[above - 1 : above + 1], fpr[above - 1 : above + 1])
    return float(area([crossing, *fpr[above:]], [MIN_SENSITIVITY, *tpr[above:]]))


def submission_csv(image_ids: Sequence[str] | np.ndarray, probabilities: np.ndarray) -> str:
    """Return the file the challenge takes: `image`, then the classes in its own order.

    Numbers keep all their digits, so that what is tied here is tied there.

    Args:
        image_ids: [N].
        probabilities: [N, 7], the classes in alphabetical order.

    Raises:
        UserError: not seven columns of numbers between 0 and 1, which the scorer would refuse.
    """
    if probabilities.shape != (len(image_ids), len(COLUMNS)):
        raise UserError(
            f"Expected probabilities [{len(image_ids)}, {len(COLUMNS)}] of the classes "
            f"{', '.join(sorted(COLUMNS))}, got {list(probabilities.shape)}."
        )
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise UserError("Expected probabilities between 0 and 1, got others; pass the softmax of the logits.")
    # Ours are in alphabetical order, the challenge's are not.
    ordered = probabilities[:, [sorted(COLUMNS).index(name) for name in COLUMNS]]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("image", *COLUMNS))
    writer.writerows([image_id, *row] for image_id, row in zip(image_ids, ordered.tolist(), strict=True))
    return text.getvalue()
