"""Intervals of a report's figures: percentile bootstrap, clustered by lesion.

B. Efron and R. J. Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13; whole clusters are drawn,
as A. C. Davison and D. V. Hinkley, Bootstrap Methods and their Application, 1997, section 3.8.
"""

from typing import Any

import numpy as np

from hamjax.evaluation.metrics.intervals import FEW, Interval
from hamjax.evaluation.metrics.resampling import ClusterBootstrap, correctness_correlation, is_few, ratio


def bootstrap_intervals(
    labels: np.ndarray,
    probabilities: np.ndarray,
    clusters: np.ndarray,
    classes: tuple[str, ...],
    *,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Any]:
    """Return an interval for every figure of a report.

    A class of fewer than 20 images has no interval of its F1 and its AUC: neither is a proportion, so there
    is no formula to fall back on, and resampling a handful of images gives one that is much too narrow.
    Its recall has Wilson's, as has its precision if it is predicted fewer than 20 times.

    Args:
        labels: [N] int.
        probabilities: [N, K].
        clusters: [N] int or str, the lesion of each image.
        classes: K names.
        resamples: of the clusters.
        seed: of the draws.
        level: nominal coverage.

    Returns:
        `intervals` (`accuracy, balanced_accuracy, macro_f1, macro_auc`), `bootstrap` (`resamples, level,
        clusters`) and `per_class` with `recall, precision, f1, auc` of each; None where there is no interval.
    """
    bootstrap = ClusterBootstrap(clusters, resamples=resamples, seed=seed, level=level)
    predicted = probabilities.argmax(1)
    indices = np.arange(len(classes))
    truth, called = labels[:, None] == indices, predicted[:, None] == indices
    # F1 and AUC of fewer are left without an interval; see above.
    enough = truth.sum(0) >= FEW
    f1 = f1_draws(bootstrap, truth, called)
    auc = auc_draws(bootstrap, truth, probabilities)
    # Estimated once, from all classes: a class of eight images cannot tell how alike two of a lesion are.
    correlation = correctness_correlation(labels, predicted, clusters)
    per_class = {
        name: {
            "recall": bootstrap.rate(called[:, k], truth[:, k], correlation=correlation),
            "precision": bootstrap.rate(truth[:, k], called[:, k], correlation=correlation),
            "f1": bootstrap.interval(f1[:, k]) if enough[k] else None,
            "auc": bootstrap.interval(auc[:, k]) if enough[k] else None,
        }
        for k, name in enumerate(classes)
    }
    overall = accuracy_intervals(bootstrap, labels, predicted, correlation)
    overall |= {"macro_f1": bootstrap.interval(mean(f1)), "macro_auc": bootstrap.interval(mean(auc))}
    settings = {"resamples": resamples, "level": level, "clusters": bootstrap.clusters}
    return {"intervals": overall, "bootstrap": settings, "per_class": per_class}


def accuracy_intervals(
    bootstrap: ClusterBootstrap, labels: np.ndarray, predicted: np.ndarray, correlation: float
) -> dict[str, Interval | None]:
    """Return the intervals of `accuracy` and `balanced_accuracy`, the mean recall of the classes that occur.

    Balanced accuracy is mostly the recall of the rarest classes. Resampling their few images understates how
    unsure it is (of eight that are all right every resample is all right), so that nominal 95% covers as
    little as 75%. The recall of such a class is drawn from its Wilson intervals instead, each percentile of the
    draws being an end of one, and so enters the mean of every resample.

    Args:
        bootstrap: of the images' lesions.
        labels: [N] int.
        predicted: [N] int.
        correlation: of being right, within a lesion; see `correctness_correlation`.
    """
    right = labels == predicted
    occurring, counts = np.unique(labels, return_counts=True)
    truth = labels[:, None] == occurring
    hits = (truth & right[:, None]).sum(0)
    recalls = recall_draws(bootstrap, truth, right)
    for k, (hit, n) in enumerate(zip(hits.tolist(), counts.tolist(), strict=True)):
        if is_few(hit, n):
            size = bootstrap.effective_size(truth[:, k], correlation)
            recalls[:, k] = bootstrap.rate_draws(hit, n, size)
    return {
        "accuracy": bootstrap.rate(right, np.ones_like(right), correlation=correlation),
        "balanced_accuracy": bootstrap.interval(mean(recalls)),
    }


def rate_interval(
    successes: np.ndarray,
    clusters: np.ndarray,
    *,
    correlation: float = 1.0,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval | None:
    """Return the interval of a share of successes, such as the sensitivity at a threshold, which is taken as given.

    Args:
        successes: [N] bool, of the positives alone; fewer than 20, or all alike, get Wilson's interval.
        clusters: [N] int or str, the lesion of each.
        correlation: of two successes in a lesion, for Wilson's; 1, the cautious choice, counts a lesion once.
        resamples: of the clusters.
        seed: of the draws.
        level: nominal coverage.
    """
    if not len(successes):
        return None
    bootstrap = ClusterBootstrap(clusters, resamples=resamples, seed=seed, level=level)
    return bootstrap.rate(successes, np.ones(len(successes), bool), correlation=correlation)


def recall_draws(bootstrap: ClusterBootstrap, truth: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return recalls and resampled ones, [1 + B, K], from `truth` [N, K] bool and `right` [N] bool."""
    hits, images = np.split(bootstrap.sums(np.hstack([truth & right[:, None], truth])), 2, axis=1)
    return ratio(hits, images)


def f1_draws(bootstrap: ClusterBootstrap, truth: np.ndarray, called: np.ndarray) -> np.ndarray:
    """Return F1 and resampled ones, [1 + B, K], from `truth` and `called`, both [N, K] bool."""
    hits, either = np.split(bootstrap.sums(np.hstack([truth & called, 1 * truth + called])), 2, axis=1)
    return ratio(2 * hits, either)


def auc_draws(bootstrap: ClusterBootstrap, truth: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return one-against-all AUC and resampled ones, [1 + B, K], from `truth` [N, K] bool."""
    weights = bootstrap.image_weights()
    columns = zip(probabilities.T, truth.T, strict=True)
    return np.stack([weighted_auc(scores, positive, weights) for scores, positive in columns], axis=1)


def weighted_auc(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the share of (positive, negative) pairs in which the positive scores higher; ties count half.

    By rank sums (Mann and Whitney): scores are sorted once, and each weighting then costs a running sum.

    Args:
        scores: [N] float.
        positive: [N] bool.
        weights: [N, B] whole numbers in a float type, how often an image counts.

    Returns:
        [B] float64, NaN where no positive or no negative has a weight.
    """
    # Ranks go by the sorted scores; tied ones share the middle of their ranks, so that a tied pair counts half.
    order = np.argsort(scores, kind="stable")
    ascending = scores[order]
    starts = np.flatnonzero(np.r_[True, ascending[1:] != ascending[:-1]])
    # One row for each distinct score, with the weights of all images that have it.
    tied = weights[order]
    if len(starts) < len(scores):
        tied = np.add.reduceat(tied, starts)
    midranks = tied.cumsum(0)
    total = midranks[-1].copy()
    midranks -= tied / 2
    positives = weights[positive]
    # Back to the positives, one row each.
    midranks = midranks[np.searchsorted(ascending[starts], scores[positive])]
    rank_sum = np.einsum("pb,pb->b", positives, midranks, dtype=np.float64)
    # In float64 from here on: products of counts pass 2^24, which float32 holds exactly.
    count = positives.sum(0, dtype=np.float64)
    pairs = count * (total - count)
    return np.divide(rank_sum - count**2 / 2, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)


def mean(values: np.ndarray) -> np.ndarray:
    """Average over the classes that are defined in each resample: [B, K] to [B]."""
    defined = ~np.isnan(values)
    return ratio(np.where(defined, values, 0).sum(1), defined.sum(1))
