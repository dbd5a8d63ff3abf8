"""How much better the answers get if the least sure ones are left to a person.

Y. Geifman and R. El-Yaniv, "Selective classification for deep neural networks", NeurIPS 2017: images are answered
whose confidence, the probability of the predicted class, reaches a threshold. Their share is the coverage, the share
of wrong answers among them the risk. The area under the curve (AURC) and its least value: Y. Geifman, G. Uziel and
R. El-Yaniv, "Bias-reduced uncertainty estimation for deep neural classifiers", ICLR 2019.
"""

from typing import Any

import numpy as np

from hamjax.evaluation.metrics.intervals import FEW
from hamjax.evaluation.metrics.resampling import ClusterBootstrap, correctness_correlation, ratio

PERCENTS = range(2, 101, 2)  # of coverage: enough points for a smooth curve
ANSWERED = 80  # percent of coverage


def risk_coverage(
    labels: np.ndarray, probabilities: np.ndarray, bootstrap: ClusterBootstrap, classes: tuple[str, ...]
) -> dict[str, Any]:
    """Measure selective classification.

    Images of one confidence are answered together or not at all, and one with a NaN is the least sure. Thresholds are
    read off the very images that they are scored on, and taken as given by the intervals.

    Args:
        labels: [N] int.
        probabilities: [N, K].
        bootstrap: of the N images' lesions.
        classes: K names.

    Returns:
        `aurc`, lower is better, with `aurc_interval` (None with fewer than 20 wrong or 20 right answers); `aurc_best`,
        of an order in which every wrong answer is less sure than every right one (of a random order it is the share of
        wrong answers); `curve`, rows of `coverage`, `risk` and its `interval`; and at a coverage of at least 80%
        `coverage`, `threshold`, `accuracy`, `interval` and `per_class` with the `images` and those `answered`, under
        `at_80`.
    """
    predicted, confidence = probabilities.argmax(1), np.nan_to_num(probabilities.max(1), nan=-np.inf)
    wrong = labels != predicted
    correlation = correctness_correlation(labels, predicted, bootstrap.cluster)
    drawn = aurc(wrong, confidence, bootstrap.image_weights())
    few = min(wrong.sum(), (~wrong).sum()) < FEW
    curve = []
    for limit in dict.fromkeys(threshold_at(confidence, percent) for percent in PERCENTS):
        chosen = confidence >= limit
        interval = bootstrap.rate(wrong, chosen, correlation=correlation)
        curve.append({"coverage": float(chosen.mean()), "risk": float(wrong[chosen].mean()), "interval": interval})
    limit = threshold_at(confidence, ANSWERED)
    chosen = confidence >= limit
    return {
        "aurc": float(drawn[0]),
        "aurc_interval": None if few else bootstrap.interval(drawn),
        "aurc_best": least_aurc(int(wrong.sum()), len(wrong)),
        "at_80": {
            "coverage": float(chosen.mean()),
            # JSON knows no infinity: an image with a NaN was needed to answer as many.
            "threshold": float(limit) if np.isfinite(limit) else None,
            "accuracy": float((~wrong)[chosen].mean()),
            "interval": bootstrap.rate(~wrong, chosen, correlation=correlation),
            "per_class": {
                name: {"images": int((labels == k).sum()), "answered": int((chosen & (labels == k)).sum())}
                for k, name in enumerate(classes)
            },
        },
        "curve": curve,
    }


def threshold_at(confidence: np.ndarray, percent: int) -> float:
    """Return the highest threshold that answers at least so many percent of the images, [N] float."""
    needed = -(-percent * len(confidence) // 100)  # rounded up, in whole numbers: 0.07 * 100 is more than 7
    return float(np.sort(confidence)[-needed])


def aurc(wrong: np.ndarray, confidence: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the area under the risk-coverage curve: the mean over images of the risk at each one's confidence.

    Args:
        wrong: [N] bool.
        confidence: [N] float.
        weights: [N, B] whole numbers in a float type, how often an image counts.

    Returns:
        [B] float64.
    """
    order = np.argsort(-confidence, kind="stable")
    falling = confidence[order]
    # One row for each distinct confidence: tied images share the risk of all that are at least as sure.
    starts = np.flatnonzero(np.r_[True, falling[1:] != falling[:-1]])
    tied = np.add.reduceat(weights[order], starts)
    missed = np.add.reduceat(weights[order] * wrong[order, None], starts)
    answered = tied.cumsum(0, dtype=np.float64)
    risk = ratio(missed.cumsum(0, dtype=np.float64), answered)
    # Before the first image of a resample there is no risk yet, and no image to count it.
    return np.where(tied > 0, tied * risk, 0).sum(0) / answered[-1]


def least_aurc(wrong: int, n: int) -> float:
    """Return the least AURC that so many wrong answers among `n` allow: all of them come last."""
    later = np.arange(1, wrong + 1)
    return float((later / (n - wrong + later)).sum() / n)
