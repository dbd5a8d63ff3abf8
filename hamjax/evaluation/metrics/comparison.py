"""Comparison of two runs on the same images: is one better than chance explains?"""

from typing import Any

import numpy as np

from hamjax.evaluation.metrics.bootstrap import auc_draws, mean, recall_draws
from hamjax.evaluation.metrics.ranking import auc, mean_of_defined
from hamjax.evaluation.metrics.resampling import ClusterBootstrap


def compare(
    labels: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    clusters: np.ndarray,
    *,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Any]:
    """Compare two sets of predictions of the same images, lesion by lesion.

    Both are resampled together, so that what is hard for both cancels. An interval that excludes 0 tells the
    two apart. Balanced accuracy rests on the rarest classes: on a test part with eight images of one, 95% intervals of
    its difference covered 91% in simulations. McNemar's test takes images for independent.

    Args:
        labels: [N] int.
        first: [N, K] probabilities of one run.
        second: [N, K] probabilities of the other.
        clusters: [N] int or str, the lesion of each image.
        resamples: of the clusters.
        seed: of the draws.
        level: nominal coverage.

    Returns:
        `n`, `bootstrap` (`resamples, level, clusters`), `mcnemar` (`only_first, only_second`: images that one
        alone has right; `p_value`), and for each of `accuracy, balanced_accuracy, macro_auc` its `first`, `second`,
        `difference` (second - first; None where undefined) and that one's `interval`.
    """
    bootstrap = ClusterBootstrap(clusters, resamples=resamples, seed=seed, level=level)
    truth = labels[:, None] == np.arange(first.shape[1])
    pair = [first, second]
    # One draw of lesions for both runs: an image that is hard for both then cancels in their difference.
    right = [probabilities.argmax(1) == labels for probabilities in pair]
    accuracy = bootstrap.sums(np.stack(right, axis=1)) / bootstrap.sums(np.ones((len(labels), 1)))
    rows = {
        "accuracy": ([float(hits.mean()) for hits in right], accuracy.T),
        "balanced_accuracy": (
            [_balanced_accuracy(truth, hits) for hits in right],
            [mean(recall_draws(bootstrap, truth, hits)) for hits in right],
        ),
        "macro_auc": (
            [
                mean_of_defined([auc(*column) for column in zip(truth.T, probabilities.T, strict=True)])
                for probabilities in pair
            ],
            [mean(auc_draws(bootstrap, truth, probabilities)) for probabilities in pair],
        ),
    }
    settings = {"resamples": resamples, "level": level, "clusters": bootstrap.clusters}
    compared = {name: _row(bootstrap, *values) for name, values in rows.items()}
    return {"n": len(labels), "bootstrap": settings, **compared, "mcnemar": mcnemar(*right)}


def mcnemar(first: np.ndarray, second: np.ndarray) -> dict[str, Any]:
    """Test exactly whether two classifiers are right equally often.

    Q. McNemar, "Note on the sampling error of the difference between correlated proportions", Psychometrika 12,
    1947; two-sided, from the binomial distribution of the images that one alone has right.

    Args:
        first: [N] bool, where the first is right.
        second: [N] bool.
    """
    from scipy.stats import binomtest  # takes a second to import

    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    differing = only_first + only_second
    # Exact, not chi-squared: the runs may differ in a handful of images. With no difference at all p is 1.
    p_value = float(binomtest(only_first, differing).pvalue) if differing else 1.0
    return {"only_first": only_first, "only_second": only_second, "p_value": p_value}


def _row(bootstrap: ClusterBootstrap, scores: list[Any], draws: list[np.ndarray]) -> dict[str, Any]:
    first, second = scores
    difference = None if None in scores else second - first
    return {
        "first": first,
        "second": second,
        "difference": difference,
        "interval": bootstrap.interval(draws[1] - draws[0]),
    }


def _balanced_accuracy(truth: np.ndarray, right: np.ndarray) -> float:
    occurring = truth[:, truth.any(0)]
    return float(((occurring & right[:, None]).sum(0) / occurring.sum(0)).mean())
