"""The ISIC 2018 task 3 metrics against the challenge's own scorer, from files, and against scikit-learn."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from isic_challenge_scoring import metrics as official_metrics
from isic_challenge_scoring.classification import ClassificationMetric, ClassificationScore
from sklearn import metrics

from hamjax.data.classes import CLASSES
from hamjax.evaluation.metrics.classification import softmax
from hamjax.evaluation.metrics.isic import IMAGE_THAT_DOES_NOT_EXIST, isic_scores, submission_csv
from hamjax.runtime.errors import UserError

sk: Any = metrics  # its stubs know of no numeric zero_division
OFFICIAL_ORDER = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")  # written out: the reference


def _case(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw labels, probabilities and image weights; every third file lacks classes, and so on."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(10, 90))
    present = rng.choice(7, size=rng.integers(1, 7), replace=False) if seed % 3 == 0 else np.arange(7)
    labels = rng.choice(present, size=n)
    probabilities = softmax(rng.normal(scale=2, size=(n, 7)) + rng.uniform(0, 4) * np.eye(7)[labels])
    if seed % 2:
        probabilities = probabilities.round(1)  # ties, and values of exactly a half
    if seed % 5 == 0:
        probabilities = np.tile(np.eye(7)[rng.integers(7)], (n, 1))  # collapsed
    if seed % 10 == 3:
        probabilities[: n // 2] = 1 / 7  # undecided
    weights = rng.integers(0, 4, size=n) / 2 if seed % 4 == 3 else np.ones(n)
    weights[0] = 0.0  # the image that does not exist
    weights[1] = 1.0
    return labels, probabilities, weights


def _undecided(probabilities: np.ndarray) -> int:
    highest_two = np.sort(probabilities, 1)[:, -2:]
    return int((highest_two[:, 0] == highest_two[:, 1]).sum())


def _official(folder: Path, case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> ClassificationScore:
    labels, probabilities, weights = case
    ids = [IMAGE_THAT_DOES_NOT_EXIST, *(f"ISIC_{9_000_000 + i}" for i in range(1, len(labels)))]
    truth, submission = folder / "truth.csv", folder / "submission.csv"
    rows = [",".join(("image", *OFFICIAL_ORDER, "score_weight"))]
    written = [1.0, *weights[1:].tolist()]  # the scorer knows by itself that the first does not exist
    for image_id, label, weight in zip(ids, labels, written, strict=True):
        hot = [str(float(CLASSES[label].upper() == name)) for name in OFFICIAL_ORDER]
        rows.append(",".join([image_id, *hot, str(weight)]))
    truth.write_text("\n".join(rows) + "\n")
    shuffled = np.random.default_rng(0).permutation(len(ids))
    submission.write_text(submission_csv([ids[i] for i in shuffled], probabilities[shuffled]))
    return ClassificationScore.from_file(truth, submission, ClassificationMetric.BALANCED_ACCURACY)


@pytest.fixture
def survives_missing_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the scorer go on where a class is missing: it stops interpolating a curve without points."""
    original = official_metrics.auc_above_sensitivity

    def partial_area(truth: Any, prediction: Any, weights: Any, threshold: float) -> float:
        occurs = (truth[weights > 0] > 0.5).any()
        return original(truth, prediction, weights, threshold) if occurs else float("nan")

    monkeypatch.setattr(official_metrics, "auc_above_sensitivity", partial_area)


def _assert_same(ours: dict[str, float | None], theirs: dict[str, float]) -> None:
    numbers = {name: np.nan if value is None else value for name, value in ours.items()}
    assert numbers == pytest.approx(theirs, abs=1e-9, rel=0, nan_ok=True)


@pytest.mark.usefixtures("survives_missing_classes")
@pytest.mark.filterwarnings("ignore:DataFrame.applymap:FutureWarning")
@pytest.mark.filterwarnings("ignore:Only one class is present:sklearn.exceptions.UndefinedMetricWarning")
@pytest.mark.filterwarnings("ignore:No (positive|negative) samples:sklearn.exceptions.UndefinedMetricWarning")
@pytest.mark.filterwarnings("ignore:No positive class found:UserWarning")
@pytest.mark.parametrize("seed", range(50))
def test_scores_are_the_official_scorers(tmp_path: Path, seed: int) -> None:
    case = _case(seed)
    labels, probabilities, weights = case
    ours, theirs = isic_scores(labels, probabilities, CLASSES, weights), _official(tmp_path, case)
    assert json.loads(json.dumps(ours, allow_nan=False)) == ours
    assert ours["undecided"] == _undecided(probabilities[weights > 0])
    assert ours["balanced_accuracy"] == pytest.approx(theirs.overall, abs=1e-9, rel=0)
    _assert_same(ours["macro"], theirs.macro_average.to_dict())
    for dx in CLASSES:
        _assert_same(ours["per_class"][dx], theirs.per_category.loc[dx.upper()].to_dict())


def test_the_fifty_files_hold_ties_missing_classes_and_collapses() -> None:
    cases = [_case(seed) for seed in range(50)]
    assert sum(len(np.unique(labels[w > 0])) < 7 for labels, _, w in cases) >= 15
    assert sum(len(np.unique(labels[w > 0])) == 1 for labels, _, w in cases) >= 1
    assert sum(_undecided(p[w > 0]) > 0 for _, p, w in cases) >= 15
    assert sum((p == p[0]).all() for _, p, _ in cases) >= 10
    assert sum((p == 0.5).any() for _, p, _ in cases) >= 20


@pytest.mark.filterwarnings("ignore:(Only one class|No positive samples)")
@pytest.mark.filterwarnings("ignore:DataFrame.applymap:FutureWarning")
def test_official_scorer_cannot_finish_with_a_missing_class(tmp_path: Path) -> None:
    labels = np.tile(np.arange(6), 5)
    with pytest.raises(ValueError, match="sample points is empty"):
        _official(tmp_path, (labels, np.full((30, 7), 1 / 7), np.ones(30)))


def test_scores_are_scikit_learns_where_they_are_defined_alike() -> None:
    rng = np.random.default_rng(1)
    labels = np.concatenate([np.arange(7), rng.integers(7, size=300)])
    probabilities = softmax(rng.normal(size=(307, 7)) + 2 * np.eye(7)[labels])
    scores, truth, called = isic_scores(labels, probabilities, CLASSES), np.eye(7)[labels] == 1, probabilities > 0.5
    assert scores["undecided"] == 0
    expected = {
        "sensitivity": sk.recall_score(truth, called, average=None, zero_division=1),
        "specificity": sk.recall_score(~truth, ~called, average=None, zero_division=1),
        "dice": sk.f1_score(truth, called, average=None, zero_division=1),
        "ppv": sk.precision_score(truth, called, average=None, zero_division=1),
        "npv": sk.precision_score(~truth, ~called, average=None, zero_division=1),
        "accuracy": (truth == called).mean(0),
        "auc": sk.roc_auc_score(truth, probabilities, average=None),
        "ap": sk.average_precision_score(truth, probabilities, average=None),
    }
    for name, values in expected.items():
        assert [scores["per_class"][dx][name] for dx in CLASSES] == pytest.approx(values.tolist(), abs=1e-9, rel=0)
        assert scores["macro"][name] == pytest.approx(values.mean(), abs=1e-9, rel=0)
    balanced = sk.balanced_accuracy_score(labels, probabilities.argmax(1))
    assert scores["balanced_accuracy"] == pytest.approx(balanced, abs=1e-9, rel=0)


def test_an_image_of_weight_zero_is_as_if_it_were_not_there() -> None:
    labels, probabilities, _ = _case(1)
    weights = np.ones(len(labels))
    weights[5] = 0
    kept = np.arange(len(labels)) != 5
    assert isic_scores(labels, probabilities, CLASSES, weights) == isic_scores(
        labels[kept], probabilities[kept], CLASSES
    )


def test_submission_has_the_challenges_columns_and_every_digit() -> None:
    p = np.arange(1, 8)[None] / 28  # akiec 1/28, bcc 2/28, bkl 3/28, df 4/28, mel 5/28, nv 6/28, vasc 7/28
    header, row, end = submission_csv(["ISIC_1"], p).split("\n")
    assert header == "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC"
    assert [float(cell) for cell in row.split(",")[1:]] == [5 / 28, 6 / 28, 2 / 28, 1 / 28, 3 / 28, 4 / 28, 7 / 28]
    assert row.startswith("ISIC_1,")
    assert end == ""


def test_submission_refuses_what_the_scorer_would() -> None:
    with pytest.raises(UserError, match=r"\[1, 7\] of the classes AKIEC.*got \[1, 6\]"):
        submission_csv(["ISIC_1"], np.full((1, 6), 1 / 6))
    for wrong in (np.nan, -0.1, 1.1):
        with pytest.raises(UserError, match="between 0 and 1"):
            submission_csv(["ISIC_1"], np.full((1, 7), wrong))
