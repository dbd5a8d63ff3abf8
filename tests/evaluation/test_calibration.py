"""Calibration against scikit-learn, closed forms, and a simulation whose temperature is known."""

from typing import Any

import numpy as np
import pytest
from sklearn import metrics

from hamjax.evaluation.metrics.calibration import calibration, calibration_report, fit_temperature
from hamjax.evaluation.metrics.classification import softmax


def _drawn(n: int, temperature: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw labels from softmax(logits / temperature)."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=3, size=(n, 7))
    cumulative = softmax(logits / temperature).cumsum(1)
    return (rng.random((n, 1)) > cumulative).sum(1).clip(max=6), logits.astype(np.float32)


def test_scores_are_scikit_learns() -> None:
    labels, logits = _drawn(500, 2.0)
    p = softmax(logits)
    result: Any = calibration(labels, p)
    assert result["brier"] == pytest.approx(sum(metrics.brier_score_loss(labels == k, p[:, k]) for k in range(7)))
    assert result["nll"] == pytest.approx(metrics.log_loss(labels, p, labels=range(7)))


@pytest.mark.parametrize(
    ("right", "expected"),
    [(8, {"ece": 0.0, "brier": 0.32}), (4, {"ece": 0.4, "brier": 0.8}), (10, {"ece": 0.2, "brier": 0.08})],
)
def test_confidence_of_80_percent(right: int, expected: dict[str, float]) -> None:
    labels = np.repeat([0, 1], [right, 10 - right])
    result = calibration(labels, np.tile([0.8, 0.2], (10, 1)))
    assert {name: result[name] for name in expected} == pytest.approx(expected)
    (row,) = [row for row in result["bins"] if row["n"]]
    assert row == pytest.approx({"low": 11 / 15, "high": 12 / 15, "n": 10, "confidence": 0.8, "accuracy": right / 10})


def test_bins_are_fifteen_and_hold_every_image_once() -> None:
    labels, logits = _drawn(300, 1.0)
    p = softmax(logits)
    p[:2] = np.eye(7)[:2]  # certain
    result = calibration(labels, p)
    bins, confidence = result["bins"], p.max(1)
    assert [row["low"] for row in bins] == pytest.approx(np.arange(15) / 15)
    assert [row["high"] for row in bins] == pytest.approx(np.arange(1, 16) / 15)
    assert sum(row["n"] for row in bins) == 300
    assert {"confidence": None, "accuracy": None, "n": 0}.items() <= bins[0].items()
    gap = 0.0
    for i in range(15):
        inside = (confidence > i / 15) & (confidence <= (i + 1) / 15)
        assert bins[i]["n"] == inside.sum()
        gap += abs((confidence[inside] - (p.argmax(1) == labels)[inside]).sum()) / 300
    assert result["ece"] == pytest.approx(gap)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_the_temperature_labels_were_drawn_at_is_found(temperature: float) -> None:
    labels, logits = _drawn(20_000, temperature)
    assert fit_temperature(labels, logits) == pytest.approx(temperature, rel=0.04)


def test_temperature_scales_with_the_logits_and_takes_log_probabilities() -> None:
    labels, logits = _drawn(400, 1.5)
    fitted = fit_temperature(labels, logits)
    assert fit_temperature(labels, 8 * logits) == pytest.approx(8 * fitted, rel=1e-4)
    assert fit_temperature(labels, np.log(softmax(logits))) == pytest.approx(fitted, rel=1e-4)


def test_temperature_of_two_classes_has_a_closed_form() -> None:
    # Three of four right at logits (2, 0): softmax(2 / T) = 3/4, so T = 2 / ln 3.
    assert fit_temperature(np.array([0, 0, 0, 1]), np.tile([2.0, 0], (4, 1))) == pytest.approx(2 / np.log(3), rel=1e-5)


@pytest.mark.parametrize(
    ("labels", "logits", "expected"),
    [
        ([0, 1, 2], np.zeros((3, 3)), 1.0),  # any temperature is as good
        ([0, 1, 2], 1e4 * np.eye(3), 1.0),  # certain and right already
        ([0, 1, 2], np.tile([1e4, 0, 0], (3, 1)), 100.0),  # certain of one class: the bound
        ([0], np.array([[1.0, 0, 0]]), 0.01),  # one image, right: the other bound
        ([1], np.array([[1.0, 0, 0]]), 100.0),  # one image, wrong
        ([0, 1], np.array([[3e38, -3e38], [3e38, -3e38]], np.float32), 100.0),
    ],
)
def test_temperature_survives_the_extremes(labels: list[int], logits: np.ndarray, expected: float) -> None:
    fitted = fit_temperature(np.array(labels), logits)
    assert 0.01 <= fitted <= 100
    if expected == 0.01:  # certain enough long before the bound
        assert fitted < 0.05
    else:
        assert fitted == pytest.approx(expected, rel=1e-3)


def test_report_is_better_calibrated_after_than_before() -> None:
    report = calibration_report(*_drawn(2000, 3.0), *_drawn(2000, 3.0, seed=1), same_images=False)
    assert (report["fitted_on"], report["fitted_on_scored_images"]) == ("val", False)
    assert report["temperature"] == pytest.approx(3, rel=0.1)
    for score in ("ece", "brier", "nll"):
        assert report["after"][score] < report["before"][score]
    assert report["after"]["ece"] < 0.04
