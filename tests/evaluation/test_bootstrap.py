"""Intervals against scipy, scikit-learn and simulated truth."""

import time
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn import metrics

from hamjax.data.classes import CLASSES
from hamjax.evaluation.metrics.bootstrap import accuracy_intervals, bootstrap_intervals, rate_interval, weighted_auc
from hamjax.evaluation.metrics.classification import classification_report
from hamjax.evaluation.metrics.intervals import Interval, wilson_interval
from hamjax.evaluation.metrics.ranking import one_vs_rest
from hamjax.evaluation.metrics.resampling import ClusterBootstrap, correctness_correlation

sk: Any = metrics  # its stubs know of no zero_division=0
LESION_SHARE = np.array([228, 327, 727, 73, 614, 5403, 98]) / 7470  # of the classes, in HAM10000
LESION_IMAGES = np.array([5514, 1423, 490, 34, 5, 4]) / 7470  # lesions there with 1, 2, ... 6 images
LARGE_LESIONS = np.array([0.3, 0.2, 0.2, 0.1, 0.1, 0.1])
FAIR = np.array([0.70, 0.85, 0.75, 0.60, 0.45, 0.97, 0.90])  # recalls, much like the paper's DenseNet201
GOOD = np.full(7, 0.95)
POOR = np.array([0.05, 0.10, 0.10, 0.02, 0.10, 0.99, 0.05])  # nearly always nv


def _lesions(
    rng: np.random.Generator, n: int, images: np.ndarray, recall: np.ndarray, correlation: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw about `n` images: labels, predictions and lesions; lesions differ in how hard they are."""
    number = round(n / float(images @ np.arange(1, len(images) + 1)))
    of_lesion = rng.choice(7, number, p=LESION_SHARE)
    p = recall[of_lesion]
    if correlation:
        spread = 1 / correlation - 1
        p = rng.beta(p * spread, (1 - p) * spread)
    lesions = np.repeat(np.arange(number), rng.choice(len(images), number, p=images) + 1)
    labels, right = of_lesion[lesions], rng.random(len(lesions)) < p[lesions]
    wrong = (labels + rng.integers(1, 7, len(labels))) % 7
    return labels, np.where(right, labels, wrong), lesions


def _case(n: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, probabilities in which one class ties often, and lesions."""
    rng = np.random.default_rng(3)
    labels, _, lesions = _lesions(rng, n, LESION_IMAGES, FAIR, 0.5)
    probabilities = rng.dirichlet(np.ones(7), len(labels)) + 0.4 * np.eye(7)[labels]
    probabilities[:, 4] = probabilities[:, 4].round(1)
    return labels, probabilities, lesions


def _covers(interval: Interval | None, truth: float, rounding: float = 0.0) -> bool:
    return interval is not None and interval["low"] - rounding <= truth <= interval["high"] + rounding


@pytest.mark.parametrize(("successes", "n"), [(0, 8), (8, 8), (1, 8), (7, 19), (440, 1103)])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_wilson_is_scipys(successes: int, n: int, level: float) -> None:
    ours = wilson_interval(successes, n, level=level)
    theirs = binomtest(successes, n).proportion_ci(level, method="wilson")
    assert (ours["low"], ours["high"]) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert ours["method"] == "wilson"


def test_auc_of_weighted_scores_is_scikit_learns() -> None:
    labels, probabilities, _ = _case()
    weights = np.random.default_rng(0).integers(1, 4, (len(labels), 5)).astype(float)
    for k in range(7):
        ours = weighted_auc(probabilities[:, k], labels == k, weights)
        theirs = [sk.roc_auc_score(labels == k, probabilities[:, k], sample_weight=w) for w in weights.T]
        np.testing.assert_allclose(ours, theirs, atol=1e-12)
    assert np.isnan(weighted_auc(probabilities[:, 0], np.zeros(len(labels), bool), weights)).all()


def test_intervals_are_those_of_a_loop_over_resampled_lesions() -> None:
    labels, probabilities, lesions = _case()
    ours = bootstrap_intervals(labels, probabilities, lesions, CLASSES, resamples=50)
    draws: dict[str, list[float]] = {name: [] for name in ("accuracy", "macro_f1", "recall", "precision", "f1", "auc")}
    for counts in ClusterBootstrap(lesions, resamples=50).counts.astype(int):
        rows = np.repeat(np.arange(len(labels)), counts[lesions])
        y, p = labels[rows], probabilities[rows]
        answer = p.argmax(1)
        precision, recall, f1, _ = sk.precision_recall_fscore_support(y, answer, labels=range(7), zero_division=0)
        draws["accuracy"].append(sk.accuracy_score(y, answer))
        draws["macro_f1"].append(sk.f1_score(y, answer, average="macro", zero_division=0))
        for name, values in (("recall", recall), ("precision", precision), ("f1", f1)):
            draws[name].append(values[5])
        draws["auc"].append(sk.roc_auc_score(y == 5, p[:, 5]))
    found = {**ours["intervals"], **ours["per_class"]["nv"]}
    for name, values in draws.items():
        ends = found[name]["low"], found[name]["high"]
        assert ends == pytest.approx(np.quantile(values, [0.025, 0.975]), abs=1e-6), name
    assert ours["bootstrap"] == {"resamples": 50, "level": 0.95, "clusters": len(np.unique(lesions))}


def test_photographing_every_lesion_three_times_makes_nothing_surer() -> None:
    labels, probabilities, _ = _case()
    lesions = np.array([f"HAM_{i:07}" for i in range(len(labels))])
    once = bootstrap_intervals(labels, probabilities, lesions, CLASSES, resamples=200)
    thrice = bootstrap_intervals(
        labels.repeat(3), probabilities.repeat(3, 0), lesions.repeat(3), CLASSES, resamples=200
    )
    for name in ("accuracy", "macro_f1", "macro_auc"):
        assert thrice["intervals"][name] == pytest.approx(once["intervals"][name], abs=1e-6)
    few = once["per_class"]["df"]["recall"]
    assert few["method"] == "wilson"
    assert rate_interval(labels == 3, lesions) == pytest.approx(
        rate_interval((labels == 3).repeat(3), lesions.repeat(3))
    )


def test_the_order_of_images_and_the_names_of_lesions_do_not_matter() -> None:
    labels, probabilities, lesions = _case()
    shuffled = np.random.default_rng(1).permutation(len(labels))
    names = np.char.add("HAM_", np.char.zfill(lesions.astype(str), 7))
    one = bootstrap_intervals(labels, probabilities, lesions, CLASSES, resamples=100)
    other = bootstrap_intervals(labels[shuffled], probabilities[shuffled], names[shuffled], CLASSES, resamples=100)
    for name, interval in one["intervals"].items():
        assert other["intervals"][name] == pytest.approx(interval), name


def test_a_class_of_few_images_shows_wilsons_recall_and_no_f1_and_auc() -> None:
    labels = np.repeat([5, 4, 3], [100, 30, 19])
    predicted = np.where(np.arange(149) % 3 == 0, 5, labels)
    found = bootstrap_intervals(labels, np.eye(7)[predicted], np.arange(149), CLASSES)["per_class"]
    hits = int((predicted[labels == 3] == 3).sum())
    assert found["df"]["recall"] == pytest.approx(wilson_interval(hits, 19))
    assert found["df"]["f1"] is found["df"]["auc"] is None
    assert [found["mel"][name]["method"] for name in ("recall", "f1", "auc")] == ["bootstrap"] * 3
    assert found["nv"]["recall"] == wilson_interval(100, 100), "all alike: resampling would show no doubt at all"
    assert found["bcc"] == {"recall": None, "precision": None, "f1": None, "auc": None}


def test_one_class_and_one_lesion_still_have_intervals() -> None:
    labels = np.full(5, 5)
    found = bootstrap_intervals(labels, np.eye(7)[labels], np.zeros(5, int), CLASSES)
    assert found["intervals"]["accuracy"] == pytest.approx(wilson_interval(1, 1))
    assert found["intervals"]["macro_auc"] is None
    assert found["intervals"]["balanced_accuracy"]["low"] < 0.5


@pytest.mark.parametrize("right", [0.0, 0.1, 0.9, 1.0])
def test_an_interval_holds_its_estimate(right: float) -> None:
    rng = np.random.default_rng(0)
    for size in (7, 12, 40):
        labels = np.r_[np.arange(7), rng.integers(0, 7, size)]
        answer = np.where(rng.random(len(labels)) < right, labels, (labels + 1) % 7)
        probabilities = 0.5 * np.eye(7)[answer] + 0.5 * rng.dirichlet(np.ones(7), len(labels))
        lesions = rng.integers(0, len(labels), len(labels))
        report = classification_report(labels, probabilities, CLASSES)
        ranked = one_vs_rest(labels, probabilities, CLASSES)
        found = bootstrap_intervals(labels, probabilities, lesions, CLASSES, resamples=200)
        estimates = report | {"macro_auc": ranked["macro_auc"]}
        for name, interval in found["intervals"].items():
            assert _covers(interval, estimates[name], 1e-12), (name, interval, estimates[name])
        for name, rows in found["per_class"].items():
            own = report["per_class"][name] | {"auc": ranked["per_class"][name]["auc"]}
            assert all(_covers(interval, own[row], 1e-12) for row, interval in rows.items() if interval is not None), (
                name
            )


def test_a_rate_without_images_has_no_interval() -> None:
    assert rate_interval(np.zeros(0, bool), np.zeros(0, int)) is None


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_correlation_within_lesions_is_found(correlation: float) -> None:
    labels, predicted, lesions = _lesions(np.random.default_rng(0), 20_000, LARGE_LESIONS, FAIR, correlation)
    assert correctness_correlation(labels, predicted, lesions) == pytest.approx(correlation, abs=0.05)


def test_a_thousand_resamples_cost_less_than_twenty_of_scikit_learn() -> None:
    labels, probabilities, lesions = _case(1103)  # as many as in the paper's test part
    counts = ClusterBootstrap(lesions, resamples=20).counts
    start = time.process_time()  # what else runs on the machine does not count
    bootstrap_intervals(labels, probabilities, lesions, CLASSES)
    ours = time.process_time() - start
    for weights in counts:
        sk.classification_report(labels, probabilities.argmax(1), sample_weight=weights[lesions], zero_division=0)
        for k in range(7):
            sk.roc_auc_score(labels == k, probabilities[:, k], sample_weight=weights[lesions])
    assert ours < time.process_time() - start - ours


def _coverage(sets: int, n: int, images: np.ndarray, recall: np.ndarray, correlation: float) -> tuple[float, float]:
    """Return how often intervals hold the population's accuracy and balanced accuracy."""
    rng = np.random.default_rng(0)
    covered = np.zeros((sets, 2))
    truths = float(LESION_SHARE @ recall), float(recall.mean())
    for i in range(sets):
        labels, predicted, lesions = _lesions(rng, n, images, recall, correlation)
        alike = correctness_correlation(labels, predicted, lesions)
        found = accuracy_intervals(ClusterBootstrap(lesions, seed=i), labels, predicted, alike)
        covered[i] = _covers(found["accuracy"], truths[0]), _covers(found["balanced_accuracy"], truths[1])
    accuracy, balanced_accuracy = covered.mean(0).tolist()
    print(f"coverage of {sets}: accuracy {accuracy:.3f}, balanced accuracy {balanced_accuracy:.3f}")
    return accuracy, balanced_accuracy


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    low = 0.92 - 3 * np.sqrt(0.92 * 0.08 / 200)  # what 200 data sets can tell from 92%
    assert min(_coverage(200, 1100, LESION_IMAGES, FAIR, 0.5)) > low


# Before a release: what lies between two others.
@pytest.mark.parametrize(
    ("n", "images", "recall", "correlation"),
    [
        pytest.param(1103, np.ones(1), FAIR, 0.0, id="paper", marks=pytest.mark.long),
        pytest.param(1103, np.ones(1), POOR, 0.0, id="paper-poor", marks=pytest.mark.long),
        pytest.param(1100, LESION_IMAGES, FAIR, 0.5, id="ham", marks=pytest.mark.long),
        pytest.param(1100, LESION_IMAGES, GOOD, 0.5, id="ham-good", marks=pytest.mark.long),
        pytest.param(1100, LARGE_LESIONS, FAIR, 0.2, id="large-lesions", marks=pytest.mark.long),
        pytest.param(1100, LARGE_LESIONS, FAIR, 0.8, id="large-lesions-alike", marks=pytest.mark.slow),
        pytest.param(2000, LESION_IMAGES, FAIR, 0.5, id="fold", marks=pytest.mark.long),
    ],
)
def test_nominal_95_percent_lies_between_92_and_97_5(
    n: int, images: np.ndarray, recall: np.ndarray, correlation: float
) -> None:
    for coverage in _coverage(2000, n, images, recall, correlation):
        assert 0.92 <= coverage <= 0.975
