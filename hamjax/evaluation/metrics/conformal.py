"""Prediction sets: the classes that cannot be ruled out, made so that the true one is among them in 90% of the cases.

Split conformal prediction (V. Vovk, A. Gammerman and G. Shafer, Algorithmic Learning in a Random World, 2005): a class
is in the set of an image if its probability is not among the lowest 10% of those that the true classes of calibration
images got. It holds for any network and any probabilities, if calibration and new lesions are exchangeable.

The score is the probability of the class (M. Sadinle, J. Lei and L. Wasserman, "Least ambiguous set-valued classifiers
with bounded error levels", J. Am. Stat. Assoc. 114, 2019): of all scores it makes the smallest sets where the
probabilities are right, and one threshold says all of it. Adaptive sets (Y. Romano, M. Sesia and E. Candès,
"Classification with valid and adaptive coverage", NeurIPS 2020) follow the difficulty of an image more closely, but are
larger on average, and depend on a random number if they are not to be larger still.
"""

import math
from typing import Any

import numpy as np

from hamjax.evaluation.metrics.intervals import FEW, Interval, wilson_interval
from hamjax.evaluation.metrics.resampling import ClusterBootstrap, is_few

LEVEL = 0.9  # at 95% a class would need 19 calibration lesions to be ruled out; of df, validation parts have 7 to 11
EVERY_CLASS = 0.0  # a threshold that no probability is below


def calibrate(
    labels: np.ndarray, probabilities: np.ndarray, lesions: np.ndarray, classes: tuple[str, ...], level: float = LEVEL
) -> dict[str, Any]:
    """Find the thresholds from images that the network did not learn from.

    Args:
        labels: [M] int.
        probabilities: [M, K], as the network gives them: a temperature would be fitted on the same images.
        lesions: [M] int or str, the lesion of each.
        classes: K names.
        level: probability with which a set is to hold the true class: of any lesion by `threshold`, of a lesion of
            each class by those of `per_class` (V. Vovk, "Conditional validity of inductive conformal predictors",
            ACML 2012).

    Returns:
        What sets are made from: `level`, `lesions_needed`, and `images`, `lesions` and `threshold` of all classes
        together and, under `per_class`, of each.
    """
    of_truth = probabilities[np.arange(len(labels)), labels]

    def of(chosen: np.ndarray) -> dict[str, Any]:
        counted = {"images": int(chosen.sum()), "lesions": len(np.unique(lesions[chosen]))}
        return {**counted, "threshold": threshold(of_truth[chosen], lesions[chosen], level)}

    per_class = {name: of(labels == k) for k, name in enumerate(classes)}
    needed = {"level": level, "lesions_needed": lesions_needed(level)}
    return {**needed, **of(np.ones(len(labels), bool)), "per_class": per_class}


def lesions_needed(level: float = LEVEL) -> int:
    """Return from how many calibration lesions on a class can be left out of a set: 9, at 90%."""
    return math.ceil(level / (1 - level) - 1e-9)  # n lesions promise n / (n + 1) at most


def threshold(of_truth: np.ndarray, lesions: np.ndarray, level: float = LEVEL) -> float:
    """Return the highest threshold that promises the level for an image of a new lesion.

    Args:
        of_truth: [M], the probability that each calibration image gives its true class; NaN counts as lower than all.
        lesions: [M] int or str, the lesion of each.
        level: 0 to 1.

    Returns:
        A probability; `EVERY_CLASS` of fewer than `lesions_needed`, which cannot promise the level in another way.
    """
    # Lesions are exchangeable, images of one are not independent. So each lesion weighs 1, and its images share it
    # (Y. Lee, R. Barber and R. Willett, "Distribution-free inference with hierarchical data", arXiv:2306.06342): the
    # promise is then exact for a random image of a new lesion, as if one image of each had been drawn, but nothing
    # is drawn and no image is left out.
    _, lesion, images = np.unique(lesions, return_inverse=True, return_counts=True)
    falling = np.argsort(-np.nan_to_num(of_truth, nan=-np.inf), kind="stable")
    covered = (1 / images[lesion])[falling].cumsum()
    # Plus one: the new lesion may itself be less sure than all. The rounding of the sums must not cost an image.
    enough = np.flatnonzero(covered >= level * (len(images) + 1) - 1e-9)
    found = of_truth[falling[enough[0]]] if len(enough) else np.nan
    return EVERY_CLASS if np.isnan(found) else float(found)


def prediction_sets(probabilities: np.ndarray, thresholds: float | np.ndarray) -> np.ndarray:
    """Return which classes are in the set of each image, [N, K] bool.

    Args:
        probabilities: [N, K]; one that equals its threshold, or is NaN, does not rule its class out.
        thresholds: of all classes, or [K].
    """
    return ~(probabilities < thresholds)


def expected_coverage(calibrated: int, tested: int, level: float = LEVEL) -> list[float] | None:
    """Return between which values the found coverage lies in 95% of the cases where the promise holds.

    The promise is a mean over draws of the calibration lesions. Of one draw the coverage is itself random, with a beta
    distribution (Vovk 2012), and what is found on some lesions has a beta-binomial one. Lesions count as having an
    image each, so where many have several it is somewhat too wide.

    Args:
        calibrated: calibration lesions.
        tested: lesions that coverage is found on.
        level: of the sets.

    Returns:
        The 2.5% and 97.5% points; None where nothing is tested.
    """
    from scipy.stats import betabinom

    if not tested:
        return None
    if calibrated < lesions_needed(level):
        return [1.0, 1.0]  # the class is in every set
    rank = math.ceil(level * (calibrated + 1) - 1e-9)
    return [float(betabinom.ppf(q, tested, rank, calibrated + 1 - rank)) / tested for q in (0.025, 0.975)]


def set_scores(
    sets: np.ndarray, labels: np.ndarray, bootstrap: ClusterBootstrap, classes: tuple[str, ...]
) -> dict[str, Any]:
    """Measure sets where the true class is known.

    Shares and means count each lesion once, its images alike, as calibration does.

    Args:
        sets: [N, K] bool.
        labels: [N] int.
        bootstrap: of the N images' lesions.
        classes: K names.

    Returns:
        `coverage`, the share of sets that hold the true class, and `mean_size`, each with its interval
        (`coverage_interval`, `mean_size_interval`); `sizes`, the images with 0, 1, ... K classes; `per_class` with
        `lesions`, `coverage`, `coverage_interval` and `mean_size`, None where the class does not occur. A mean size of
        fewer than 20 lesions has no interval.
    """
    hits, sizes = sets[np.arange(len(labels)), labels], sets.sum(1)
    everything = np.ones(len(labels), bool)
    sized = bootstrap.cluster_means(sizes, everything)
    per_class = {}
    for k, name in enumerate(classes):
        among = labels == k
        lesions = len(np.unique(bootstrap.cluster[among]))
        mean_size = float(bootstrap.cluster_means(sizes, among)[0]) if lesions else None
        per_class[name] = {"lesions": lesions, **_coverage(bootstrap, hits, among, lesions), "mean_size": mean_size}
    return {
        **_coverage(bootstrap, hits, everything, bootstrap.clusters),
        "mean_size": float(sized[0]),
        "mean_size_interval": bootstrap.interval(sized) if bootstrap.clusters >= FEW else None,
        "sizes": np.bincount(sizes, minlength=len(classes) + 1).tolist(),
        "per_class": per_class,
    }


def _coverage(bootstrap: ClusterBootstrap, hits: np.ndarray, among: np.ndarray, lesions: int) -> dict[str, Any]:
    if not lesions:
        return {"coverage": None, "coverage_interval": None}
    drawn = bootstrap.cluster_means(hits, among)
    held = float(drawn[0]) * lesions
    # Shares within a lesion vary less than a lesion that counts whole, so Wilson's interval is wide enough.
    interval: Interval | None = wilson_interval(held, lesions) if is_few(held, lesions) else bootstrap.interval(drawn)
    return {"coverage": float(drawn[0]), "coverage_interval": interval}
