"""Selective classification against scikit-learn's trapezoid, closed forms and definitions by loops."""

from typing import Any

import numpy as np
import pytest
from sklearn import metrics

from hamjax.evaluation.metrics.classification import softmax
from hamjax.evaluation.metrics.resampling import ClusterBootstrap
from hamjax.evaluation.metrics.selective import aurc, least_aurc, risk_coverage, threshold_at

CLASSES = ("a", "b", "c")


def _drawn(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels, lesion = rng.integers(3, size=n), np.sort(rng.integers(n // 2, size=n))
    return labels, softmax(rng.normal(size=(n, 3)) + 1.5 * np.eye(3)[labels]), lesion


def _found(labels: np.ndarray, probabilities: np.ndarray, lesion: np.ndarray) -> dict[str, Any]:
    return risk_coverage(labels, probabilities, ClusterBootstrap(lesion), CLASSES)


def _area(wrong: np.ndarray, confidence: np.ndarray) -> float:
    return float(aurc(wrong, confidence, np.ones((len(wrong), 1)))[0])


def test_the_area_is_scikit_learns_trapezoid_and_its_two_ends() -> None:
    labels, p, _ = _drawn(300)
    wrong, confidence = labels != p.argmax(1), p.max(1)
    order = np.argsort(-confidence)
    coverage = np.arange(1, 301) / 300
    risk = wrong[order].cumsum() / np.arange(1, 301)
    # The mean of n heights is n - 1 trapezoids, and half of each end.
    expected = metrics.auc(coverage, risk) + (risk[0] + risk[-1]) / 600
    assert _area(wrong, confidence) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(20))
def test_the_area_is_the_mean_risk_over_the_thresholds_of_all_images(seed: int) -> None:
    rng = np.random.default_rng(seed)
    wrong, confidence = rng.random(40) < 0.4, rng.integers(8, size=40) / 8  # ties
    weights = rng.integers(3, size=(40, 5)).astype(np.float32)
    for b, found in enumerate(aurc(wrong, confidence, weights)):
        copies = np.repeat(np.arange(40), weights[:, b].astype(int))
        drawn, sure = wrong[copies], confidence[copies]
        assert found == pytest.approx(np.mean([drawn[sure >= limit].mean() for limit in sure]))


@pytest.mark.parametrize(("n", "errors"), [(10, 0), (10, 3), (10, 10)])
def test_the_best_order_has_the_least_area(n: int, errors: int) -> None:
    wrong = np.arange(n) >= n - errors
    assert least_aurc(errors, n) == pytest.approx(_area(wrong, -np.arange(n, dtype=float)))
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(n)
        assert _area(wrong[order], -np.arange(n, dtype=float)) >= least_aurc(errors, n) - 1e-12


def test_without_any_order_the_area_is_the_share_of_wrong_answers() -> None:
    labels = np.arange(30) % 3
    found = _found(labels, np.tile([0.5, 0.3, 0.2], (30, 1)), np.arange(30))
    assert found["aurc"] == pytest.approx(2 / 3)
    assert [(row["coverage"], row["risk"]) for row in found["curve"]] == [(1.0, pytest.approx(2 / 3))]
    # Tied images are answered together: 80% cannot be had.
    assert (found["at_80"]["coverage"], found["at_80"]["threshold"]) == (1.0, 0.5)
    assert found["aurc_interval"] is None  # ten right answers


def test_at_least_80_percent_are_answered_and_no_image_too_many() -> None:
    labels, p, lesion = _drawn(201)
    found = _found(labels, p, lesion)["at_80"]
    surest = np.argsort(-p.max(1))[:161]  # 160.8 rounded up
    assert found["coverage"] == pytest.approx(161 / 201)
    assert found["accuracy"] == pytest.approx((p.argmax(1) == labels)[surest].mean())
    assert found["threshold"] == p.max(1)[surest].min()
    assert found["interval"]["low"] < found["accuracy"] < found["interval"]["high"]
    for k, name in enumerate(CLASSES):
        counts = {"images": (labels == k).sum(), "answered": (labels[surest] == k).sum()}
        assert found["per_class"][name] == counts


@pytest.mark.parametrize(("n", "percent", "answered"), [(100, 7, 7), (5, 80, 4), (6, 80, 5), (1, 2, 1)])
def test_coverage_is_rounded_up_in_whole_numbers(n: int, percent: int, answered: int) -> None:
    confidence = np.linspace(0.3, 0.9, n)
    assert (confidence >= threshold_at(confidence, percent)).sum() == answered


def test_the_curve_ends_at_all_images_and_has_intervals_that_hold_it() -> None:
    labels, p, lesion = _drawn(300)
    found = _found(labels, p, lesion)
    curve = found["curve"]
    assert [row["coverage"] for row in curve] == sorted({row["coverage"] for row in curve})
    assert (curve[-1]["coverage"], curve[-1]["risk"]) == (1.0, pytest.approx((labels != p.argmax(1)).mean()))
    for row in curve:
        assert row["interval"]["low"] <= row["risk"] <= row["interval"]["high"]
        assert row["interval"]["high"] > 0, "no doubt is never shown, however few are answered"
    assert found["aurc_interval"]["low"] < found["aurc"] < found["aurc_interval"]["high"]
    assert found["aurc_best"] < found["aurc"] < curve[-1]["risk"]


def test_an_image_with_nan_is_the_least_sure_and_a_wrong_answer() -> None:
    labels, p, lesion = _drawn(50)
    labels[:20] = 1
    p[:20] = np.nan
    found = _found(labels, p, lesion)
    assert found["curve"][-1]["risk"] == pytest.approx((labels != p.argmax(1)).mean())
    assert found["at_80"]["threshold"] is None
    assert found["at_80"]["coverage"] == 1.0
    sure = [row for row in found["curve"] if row["coverage"] <= 0.6]
    assert sure[-1]["risk"] == pytest.approx((labels != p.argmax(1))[20:].mean())
