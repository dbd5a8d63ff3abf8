"""Metrics against scikit-learn and by hand."""

from typing import Any

import numpy as np
import pytest
from sklearn import metrics

from hamjax.data.classes import CLASSES
from hamjax.evaluation.metrics.classification import (
    classification_report,
    collapse_warning,
    mean_cross_entropy,
    softmax,
)

sk: Any = metrics  # its stubs know of no zero_division=0


def _case(n: int, shares: list[float]) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.choice(7, size=n, p=shares)
    return labels, softmax(rng.normal(size=(n, 7)) + 2 * np.eye(7)[labels])


@pytest.mark.parametrize("shares", [[1 / 7] * 7, [0.05, 0.05, 0.1, 0.02, 0.1, 0.66, 0.02], [0.5, 0, 0, 0, 0, 0.5, 0]])
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")  # scikit-learn's, wanted here
def test_report_is_scikit_learns(shares: list[float]) -> None:
    labels, probabilities = _case(300, shares)
    report, predicted = classification_report(labels, probabilities, CLASSES), probabilities.argmax(1)
    assert report["n"] == 300
    assert report["accuracy"] == pytest.approx(sk.accuracy_score(labels, predicted))
    assert report["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(labels, predicted))
    assert report["macro_f1"] == pytest.approx(sk.f1_score(labels, predicted, average="macro", zero_division=0))
    assert report["confusion_matrix"] == sk.confusion_matrix(labels, predicted, labels=range(7)).tolist()
    assert report["majority_baseline_accuracy"] == np.bincount(labels).max() / 300
    precision, recall, f1, support = sk.precision_recall_fscore_support(
        labels, predicted, labels=range(7), zero_division=0
    )
    for k, dx in enumerate(CLASSES):
        row = report["per_class"][dx]
        assert [row["precision"], row["recall"], row["f1"], row["support"]] == pytest.approx(
            [precision[k], recall[k], f1[k], support[k]]
        )
    assert mean_cross_entropy(labels, probabilities) == pytest.approx(
        sk.log_loss(labels, probabilities, labels=range(7))
    )


def test_majority_answers_score_the_baseline() -> None:
    labels = np.repeat([5, 4, 0], [80, 15, 5])
    report = classification_report(labels, np.eye(7)[np.full(100, 5)], CLASSES)
    assert report["accuracy"] == report["majority_baseline_accuracy"] == 0.8
    assert report["balanced_accuracy"] == report["majority_baseline_balanced_accuracy"] == pytest.approx(1 / 3)


def test_collapse_is_reported() -> None:
    labels = np.repeat(np.arange(7), 20)
    all_nv = classification_report(labels, np.eye(7)[np.full(140, 5)], CLASSES)
    assert (
        collapse_warning(all_nv) == "100% of the predictions are nv; akiec, bcc, bkl, df, mel, vasc are never predicted"
    )
    never_df = classification_report(labels, np.eye(7)[np.where(labels == 3, 5, labels)], CLASSES)
    assert collapse_warning(never_df) == "df is never predicted"
    assert collapse_warning(classification_report(labels, np.eye(7)[labels], CLASSES)) == ""


def test_softmax_survives_large_logits() -> None:
    p = softmax(np.array([[1e4, 0, -1e4], [-1e4, -1e4, -1e4]], np.float32))
    np.testing.assert_allclose(p, [[1, 0, 0], [1 / 3] * 3])
