"""Areas under curves and operating points, against scikit-learn and by trying every threshold."""

from typing import Any

import numpy as np
import pytest
from sklearn import metrics

from hamjax.data.classes import CLASSES
from hamjax.evaluation.metrics.classification import softmax
from hamjax.evaluation.metrics.ranking import one_vs_rest, operating_points, sensitivity_at_specificity
from hamjax.runtime.errors import UserError

sk: Any = metrics  # its stubs know of no average=None


def test_one_vs_rest_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    labels = np.concatenate([np.arange(7), rng.integers(7, size=200)])
    probabilities = softmax(rng.normal(size=(207, 7)) + np.eye(7)[labels])
    result, truth = one_vs_rest(labels, probabilities, CLASSES), np.eye(7)[labels]
    aucs = sk.roc_auc_score(truth, probabilities, average=None)
    aps = sk.average_precision_score(truth, probabilities, average=None)
    assert [result["per_class"][dx]["auc"] for dx in CLASSES] == pytest.approx(aucs)
    assert [result["per_class"][dx]["average_precision"] for dx in CLASSES] == pytest.approx(aps)
    assert result["macro_auc"] == pytest.approx(
        sk.roc_auc_score(labels, probabilities, multi_class="ovr", average="macro")
    )


def test_what_is_not_defined_is_none_and_left_out_of_the_mean() -> None:
    result = one_vs_rest(np.array([0, 0, 1]), np.array([[0.9, 0.1, 0], [0.4, 0.6, 0], [0.5, 0.5, 0]]), ("a", "b", "c"))
    assert result["per_class"]["c"] == {"auc": None, "average_precision": None}
    assert result["macro_auc"] == 0.5
    alone = one_vs_rest(np.zeros(3, int), np.full((3, 2), 0.5), ("a", "b"))
    assert alone["macro_auc"] is None
    assert alone["per_class"]["a"] == {"auc": None, "average_precision": 1.0}


def _by_trying(positive: np.ndarray, scores: np.ndarray, specificity: float) -> tuple[float, float]:
    tried = [scores >= threshold for threshold in (*np.unique(scores), np.inf)]
    points = [(called[positive].mean(), (~called[~positive]).mean()) for called in tried]
    return max(point for point in points if point[1] >= specificity)


@pytest.mark.parametrize("seed", range(40))
def test_operating_point_is_the_best_of_all_thresholds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    positive = np.concatenate([[True, False], rng.random(rng.integers(2, 60)) < 0.4])
    scores = (rng.normal(size=len(positive)) + positive).round(seed % 3)  # many ties, some, few
    for asked in (0.0, 0.5, 0.9, 0.95, 1.0):
        found = sensitivity_at_specificity(positive, scores, asked)
        assert (found["sensitivity"], found["achieved_specificity"]) == _by_trying(positive, scores, asked)
        assert (found["positives"], found["negatives"]) == (positive.sum(), (~positive).sum())
        if found["threshold"] is None:
            assert found["sensitivity"] == 0
        else:
            called = scores >= found["threshold"]
            assert (called[positive].mean(), (~called[~positive]).mean()) == _by_trying(positive, scores, asked)


@pytest.mark.parametrize("n", [10, 20, 30, 70, 90, 1000])
def test_a_specificity_that_is_exactly_reached_counts(n: int) -> None:
    scores = np.concatenate([np.arange(n), [0.9 * n]])  # below it 90% of the negatives; one is tied with it
    found = sensitivity_at_specificity(np.arange(n + 1) == n, scores, 0.9)
    assert (found["sensitivity"], found["achieved_specificity"]) == (1.0, 0.9)


def test_nothing_is_called_where_a_negative_is_tied_with_the_best_positive() -> None:
    found = sensitivity_at_specificity(np.array([True, True, False]), np.ones(3), 0.9)
    assert found == {
        "sensitivity": 0.0, "achieved_specificity": 1.0, "threshold": None, "positives": 2, "negatives": 1
    }  # fmt: skip


@pytest.mark.parametrize("positive", [True, False])
def test_without_positives_or_negatives_there_is_no_point(*, positive: bool) -> None:
    found = sensitivity_at_specificity(np.full(4, positive), np.arange(4.0), 0.9)
    assert [found[name] for name in ("sensitivity", "achieved_specificity", "threshold")] == [None] * 3
    assert {found["positives"], found["negatives"]} == {0, 4}


def test_a_group_is_scored_by_the_sum_of_its_classes() -> None:
    # One image each of mel, bcc, akiec and nv; no single malignant class stands out in any.
    probabilities = np.array(
        [
            [0.2, 0.2, 0, 0, 0.2, 0.4, 0],
            [0.2, 0.2, 0, 0, 0.2, 0.4, 0],
            [0.2, 0.2, 0, 0, 0.2, 0.4, 0],
            [0, 0, 0.2, 0, 0.4, 0.4, 0],
        ]
    )
    labels = np.array([CLASSES.index(dx) for dx in ("mel", "bcc", "akiec", "nv")])
    rows = operating_points(labels, probabilities, CLASSES)
    assert [(row["target"], row["classes"], row["specificity"]) for row in rows] == [
        ("melanoma", ["mel"], 0.9),
        ("melanoma", ["mel"], 0.95),
        ("malignant", ["mel", "bcc", "akiec"], 0.9),
        ("malignant", ["mel", "bcc", "akiec"], 0.95),
    ]
    assert [row["sensitivity"] for row in rows] == [0, 0, 1, 1]
    assert rows[2]["threshold"] == pytest.approx(0.6)


def test_targets_and_specificities_are_the_callers() -> None:
    labels, probabilities = np.array([0, 1]), np.array([[0.8, 0.2], [0.3, 0.7]])
    (row,) = operating_points(labels, probabilities, ("a", "b"), {"the a": ("a",)}, (0.5,))
    assert row == {
        "target": "the a", "classes": ["a"], "specificity": 0.5, "sensitivity": 1.0, "achieved_specificity": 1.0,
        "threshold": 0.8, "positives": 1, "negatives": 1,
    }  # fmt: skip
    with pytest.raises(UserError, match=r"Expected target x to name some of a, b, got \['c'\]"):
        operating_points(labels, probabilities, ("a", "b"), {"x": ("c",)})
    with pytest.raises(UserError, match=r"between 0 and 1, got 90"):
        operating_points(labels, probabilities, ("a", "b"), {"x": ("a",)}, (90,))
