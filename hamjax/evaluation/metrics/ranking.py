"""How well probabilities rank images: areas under curves, and points on the ROC curve."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hamjax.runtime.errors import UserError

TARGETS = {"melanoma": ("mel",), "malignant": ("mel", "bcc", "akiec")}
SPECIFICITIES = (0.90, 0.95)


def auc(positive: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> float | None:
    """Return the area under the ROC curve, or None without both positives and negatives.

    Args:
        positive: [N] bool.
        scores: [N], higher is more positive; tied ones count half.
        weights: [N] of the images, above 0.
    """
    from sklearn.metrics import roc_auc_score

    if positive.all() or not positive.any():
        return None
    return float(roc_auc_score(positive, scores, sample_weight=weights))


def average_precision(positive: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> float | None:
    """Return the average precision, or None without positives; arguments as for `auc`."""
    from sklearn.metrics import average_precision_score

    if not positive.any():
        return None
    return float(average_precision_score(positive, scores, sample_weight=weights))


def mean_of_defined(values: Sequence[float | None]) -> float | None:
    """Return the mean of the values that are defined, or None if none is."""
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else None


def one_vs_rest(labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]) -> dict[str, Any]:
    """Rank every class against all others.

    Args:
        labels: [N] int.
        probabilities: [N, K].
        classes: K names.

    Returns:
        `macro_auc`, the mean of the defined ones, and `per_class` with `auc` and
        `average_precision`; each is None where it is not defined.
    """
    per_class = {
        name: {
            "auc": auc(labels == k, probabilities[:, k]),
            "average_precision": average_precision(labels == k, probabilities[:, k]),
        }
        for k, name in enumerate(classes)
    }
    return {"macro_auc": mean_of_defined([row["auc"] for row in per_class.values()]), "per_class": per_class}


def sensitivity_at_specificity(positive: np.ndarray, scores: np.ndarray, specificity: float) -> dict[str, Any]:
    """Find the highest sensitivity whose specificity is at least the asked one.

    An image is called positive if its score is the threshold or more, so tied images are
    called alike and no point between two of the ROC curve is made up. The threshold is the
    lowest score of a positive image at which the specificity still holds: a lower one would
    break it or call only more negatives. It is read off the very images that it is scored on.

    Args:
        positive: [N] bool.
        scores: [N], higher is more positive.
        specificity: 0 to 1.

    Returns:
        `sensitivity, achieved_specificity, threshold, positives, negatives`. Without
        positives or negatives the first three are None. If even the highest score of a
        positive calls too many negatives then nothing is called positive: sensitivity 0,
        specificity 1, and no threshold (None).

    Raises:
        UserError: the specificity is not between 0 and 1.
    """
    if not 0 <= specificity <= 1:
        raise UserError(f"Expected a specificity between 0 and 1, got {specificity}; write 90% as 0.9.")
    # Only scores of positives can be thresholds: any other calls more negatives and no more positives.
    called, rest = np.sort(scores[positive]), np.sort(scores[~positive])
    counts = {"positives": len(called), "negatives": len(rest)}
    if not (len(called) and len(rest)):
        return {"sensitivity": None, "achieved_specificity": None, "threshold": None, **counts}
    # The share of negatives below each positive; a quotient of integers, hence exact at 0.9.
    specificities = np.searchsorted(rest, called, side="left") / len(rest)
    first = int(np.searchsorted(specificities, specificity, side="left"))
    found = first < len(called)
    return {
        "sensitivity": (len(called) - first) / len(called),
        "achieved_specificity": float(specificities[first]) if found else 1.0,
        "threshold": float(called[first]) if found else None,
        **counts,
    }


def operating_points(
    labels: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
    targets: Mapping[str, Sequence[str]] = TARGETS,
    specificities: Sequence[float] = SPECIFICITIES,
) -> list[dict[str, Any]]:
    """Return how many of each target are found at fixed specificities.

    The score of a target is the sum of its classes' probabilities.

    Args:
        labels: [N] int.
        probabilities: [N, K].
        classes: K names.
        targets: names of groups, and the classes of each.
        specificities: each 0 to 1.

    Returns:
        One row a target and specificity: `target, classes, specificity` and what
        `sensitivity_at_specificity` returns.

    Raises:
        UserError: a target has no classes or an unknown one, or see `sensitivity_at_specificity`.
    """
    rows = []
    for target, members in targets.items():
        if not members or not set(members) <= set(classes):
            raise UserError(
                f"Expected target {target} to name some of {', '.join(classes)}, got {list(members)}; correct it."
            )
        columns = [classes.index(name) for name in members]
        # Summed, not the highest: malignant is what any of its classes says.
        positive, scores = np.isin(labels, columns), probabilities[:, columns].sum(1)
        rows += [
            {"target": target, "classes": list(members), "specificity": asked}
            | sensitivity_at_specificity(positive, scores, asked)
            for asked in specificities
        ]
    return rows
