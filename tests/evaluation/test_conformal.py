"""Prediction sets: the coverage that they promise by simulation, and the sets themselves against brute force."""

import functools
from fractions import Fraction

import numpy as np
import pytest
from scipy.stats import binom

from hamjax.evaluation.metrics.classification import softmax
from hamjax.evaluation.metrics.conformal import (
    EVERY_CLASS,
    calibrate,
    expected_coverage,
    lesions_needed,
    prediction_sets,
    set_scores,
    threshold,
)
from hamjax.evaluation.metrics.resampling import ClusterBootstrap

CLASSES = ("a", "b", "c")
DRAWS = 2000
PRIOR = np.array([0.7, 0.2, 0.1])


def _lesions(rng: np.random.Generator, labels: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw 1 to `most` images of each lesion; those of lesions with many images are the harder ones.

    Returns:
        Probabilities, lesion and label of each image.
    """
    images = rng.integers(1, most + 1, len(labels))
    lesion = np.repeat(np.arange(len(labels)), images)
    # Common to the images of a lesion, and large: they are far from independent.
    shared = rng.normal(size=(len(labels), 3))[lesion]
    signal = (3.0 / images)[lesion, None] * np.eye(3)[labels[lesion]] - np.array([0.0, 0.5, 1.0])
    return softmax(shared + signal + 0.3 * rng.normal(size=shared.shape)), lesion, labels[lesion]


def _simulate(most: int, *, pooled: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Calibrate on 59 lesions, and look at an image of one more, again and again.

    Returns:
        The new image's class, and whether its set by one threshold and its set by class hold it, [2000] each.
    """
    rng = np.random.default_rng(0)
    classes, marginal, by_class = (np.empty(DRAWS, int) for _ in range(3))
    for i in range(DRAWS):
        probabilities, lesion, label = _lesions(rng, rng.choice(3, 60, p=PRIOR), most)
        new = rng.choice(np.flatnonzero(lesion == 59))  # a random image of the new lesion
        old = lesion < 59
        units = np.arange(old.sum()) if pooled else lesion[old]
        found = calibrate(label[old], probabilities[old], units, CLASSES)
        own = np.array([found["per_class"][name]["threshold"] for name in CLASSES])
        classes[i] = label[new]
        marginal[i] = prediction_sets(probabilities[[new]], found["threshold"])[0, label[new]]
        by_class[i] = prediction_sets(probabilities[[new]], own)[0, label[new]]
    return classes, marginal, by_class


simulated = functools.cache(_simulate)


def test_sets_of_one_image_a_lesion_cover_as_often_as_the_formula_says() -> None:
    _, marginal, _ = simulated(1)
    # The rank of the new lesion among 60 is uniform: 54 of 60 ranks are covered.
    low, high = binom.interval(0.999, DRAWS, 54 / 60)
    assert low <= marginal.sum() <= high


@pytest.mark.parametrize("most", [1, 5])
def test_sets_cover_a_new_lesion_of_any_class(most: int) -> None:
    _, marginal, _ = simulated(most)
    assert marginal.sum() >= binom.ppf(0.001, DRAWS, 0.9)
    assert marginal.mean() < 0.94, "nor is everything in every set"


@pytest.mark.parametrize("most", [1, 5])
@pytest.mark.parametrize("k", range(3))
def test_sets_by_class_cover_a_new_lesion_of_each_class(most: int, k: int) -> None:
    classes, _, by_class = simulated(most)
    of_it = by_class[classes == k]
    assert of_it.sum() >= binom.ppf(0.001, len(of_it), 0.9)


def test_one_threshold_leaves_a_rare_class_uncovered() -> None:
    classes, marginal, _ = simulated(5)
    of_it = marginal[classes == 2]
    assert of_it.sum() < binom.ppf(0.001, len(of_it), 0.9)


def test_images_of_a_lesion_taken_for_lesions_would_promise_something_else() -> None:
    _, marginal, _ = _simulate(5, pooled=True)
    # Hard lesions have more images here, and would count too much: sets of a random lesion get too large.
    assert marginal.mean() > simulated(5)[1].mean() + 0.01


@pytest.mark.parametrize("seed", range(20))
def test_a_class_is_in_the_set_as_its_p_value_says(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 60))
    labels, probabilities = rng.integers(3, size=n), softmax(rng.integers(-2, 3, (n, 3)).astype(float))  # with ties
    found = calibrate(labels, probabilities, np.arange(n), CLASSES)
    new = softmax(rng.integers(-2, 3, (50, 3)).astype(float))
    sets = prediction_sets(new, found["threshold"])
    own = prediction_sets(new, np.array([found["per_class"][name]["threshold"] for name in CLASSES]))
    of_truth = probabilities[np.arange(n), labels]
    for row, chosen, chosen_by_class in zip(new, sets, own, strict=True):
        for k in range(3):
            # Vovk's p-value, in whole numbers: the calibration lesions that are no surer, and the new one.
            assert chosen[k] == (10 * ((of_truth <= row[k]).sum() + 1) > n + 1)
            same = of_truth[labels == k]
            assert chosen_by_class[k] == (10 * ((same <= row[k]).sum() + 1) > len(same) + 1)


@pytest.mark.parametrize("seed", range(20))
def test_images_of_a_lesion_share_its_weight(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lesion = np.repeat(np.arange(40), rng.integers(1, 7, 40))
    of_truth = rng.integers(1, 30, len(lesion)) / 30
    sizes = np.bincount(lesion)

    def mass(limit: float) -> Fraction:
        return sum((Fraction(1, int(sizes[lesion[i]])) for i in np.flatnonzero(of_truth >= limit)), Fraction())

    # In fractions, by trying every value: the highest that 90% of 41 lesions reach.
    expected = max((p for p in np.unique(of_truth) if mass(p) >= Fraction(9, 10) * 41), default=EVERY_CLASS)
    assert threshold(of_truth, lesion) == expected


@pytest.mark.parametrize(("lesions", "expected"), [(0, 0.0), (8, 0.0), (9, 0.1), (18, 0.1), (19, 0.15)])
def test_fewer_than_nine_lesions_rule_nothing_out(lesions: int, expected: float) -> None:
    of_truth = 0.1 + 0.05 * np.arange(lesions)
    assert threshold(of_truth, np.arange(lesions)) == pytest.approx(expected)
    # The images of one lesion are no further ones.
    assert threshold(np.repeat(of_truth, 3), np.repeat(np.arange(lesions), 3)) == pytest.approx(expected)
    assert lesions_needed() == 9
    assert lesions_needed(0.95) == 19


@pytest.mark.parametrize(("calibrated", "tested"), [(9, 40), (33, 33), (200, 15)])
def test_found_coverage_varies_as_much_as_expected(calibrated: int, tested: int) -> None:
    rng = np.random.default_rng(0)
    # Probabilities of the true class of lesions of one image: uniform ones stand for all that are distinct.
    draws = np.array(
        [(rng.random(tested) >= threshold(rng.random(calibrated), np.arange(calibrated))).mean() for _ in range(DRAWS)]
    )
    expected = expected_coverage(calibrated, tested)
    assert expected is not None
    low, high = expected
    assert np.mean((draws >= low) & (draws <= high)) >= binom.ppf(0.001, DRAWS, 0.95) / DRAWS
    # No end can move inwards: what lies beyond is 2.5% at most.
    assert np.mean(draws < low) <= binom.ppf(0.999, DRAWS, 0.025) / DRAWS
    assert np.mean(draws <= low) >= binom.ppf(0.001, DRAWS, 0.025) / DRAWS
    assert draws.mean() == pytest.approx(np.ceil(0.9 * (calibrated + 1)) / (calibrated + 1), abs=0.01)


def test_nothing_is_expected_of_no_lesion_and_all_of_a_class_that_is_in_every_set() -> None:
    assert expected_coverage(100, 0) is None
    assert expected_coverage(8, 5) == [1.0, 1.0]


def test_ties_stay_in_and_nan_rules_nothing_out() -> None:
    constant = np.full(30, 0.25)
    assert threshold(constant, np.arange(30)) == 0.25
    assert prediction_sets(np.array([[0.25, 0.2, np.nan]]), 0.25).tolist() == [[True, False, True]]
    # Calibration images with a NaN count as the least sure: 3 of 39 do no harm, 4 leave no threshold.
    rising = np.linspace(0.2, 0.9, 39)
    assert threshold(np.where(np.arange(39) < 3, np.nan, rising), np.arange(39)) == rising[3]
    assert threshold(np.where(np.arange(39) < 4, np.nan, rising), np.arange(39)) == EVERY_CLASS


def test_scores_count_every_lesion_once() -> None:
    sets = np.array([[1, 1, 0], [0, 0, 1], [0, 0, 0], [1, 0, 0]], bool)
    labels, lesion = np.array([0, 0, 0, 2]), np.array([5, 5, 5, 9])
    found = set_scores(sets, labels, ClusterBootstrap(lesion), CLASSES)
    # A third of the images of one lesion, and none of the other.
    assert found["coverage"] == pytest.approx(1 / 6)
    assert found["mean_size"] == pytest.approx(1)
    assert found["sizes"] == [1, 2, 1, 0]
    assert found["coverage_interval"]["method"] == "wilson"
    assert found["mean_size_interval"] is None
    assert found["per_class"]["a"] | {"coverage_interval": None} == {
        "lesions": 1, "coverage": pytest.approx(1 / 3), "coverage_interval": None, "mean_size": pytest.approx(1)
    }  # fmt: skip
    assert found["per_class"]["b"] == {"lesions": 0, "coverage": None, "coverage_interval": None, "mean_size": None}


def test_intervals_are_those_of_a_loop_over_resampled_lesions() -> None:
    rng = np.random.default_rng(1)
    lesion = np.repeat(np.arange(60), rng.integers(1, 4, 60))
    labels, sets = rng.integers(3, size=len(lesion)), rng.random((len(lesion), 3)) < 0.7
    bootstrap = ClusterBootstrap(lesion, resamples=200)
    found = set_scores(sets, labels, bootstrap, CLASSES)
    hits = sets[np.arange(len(lesion)), labels]
    of_lesion = np.array([[hits[lesion == i].mean(), sets[lesion == i].sum(1).mean()] for i in range(60)])
    drawn = np.array([of_lesion[np.repeat(np.arange(60), row.astype(int))].mean(0) for row in bootstrap.counts])
    for j, name in enumerate(("coverage", "mean_size")):
        assert found[name] == pytest.approx(of_lesion[:, j].mean())
        interval = found[f"{name}_interval"]
        assert [interval["low"], interval["high"]] == pytest.approx(np.quantile(drawn[:, j], [0.025, 0.975]))
