"""Two runs on one test part, and the script that compares them."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics

from hamjax.data.classes import CLASSES
from hamjax.evaluation.metrics.comparison import compare, mcnemar
from hamjax.evaluation.metrics.resampling import ClusterBootstrap
from tests.helpers import program

PREDICTIONS = "report/predictions_test.csv"


def _pair(n: int = 200) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Labels, a poor and a better run's probabilities, and lesions of two images."""
    rng = np.random.default_rng(0)
    lesions = np.arange(n) // 2
    labels = rng.choice(7, n)[lesions]
    noise = rng.dirichlet(np.ones(7), n)
    return labels, noise + 0.1 * np.eye(7)[labels], noise + 0.3 * np.eye(7)[labels], lesions


def test_differences_are_scikit_learns_and_their_intervals_those_of_a_loop() -> None:
    labels, poor, better, lesions = _pair()
    result = compare(labels, poor, better, lesions, resamples=10)

    def score(rows: np.ndarray, p: np.ndarray) -> dict[str, float]:
        y, answer = labels[rows], p[rows].argmax(1)
        return {
            "accuracy": float(metrics.accuracy_score(y, answer)),
            "balanced_accuracy": float(metrics.balanced_accuracy_score(y, answer)),
            "macro_auc": float(np.mean([metrics.roc_auc_score(y == k, p[rows, k]) for k in range(7)])),
        }

    everyone = np.arange(len(labels))
    samples = [everyone.repeat(c[lesions]) for c in ClusterBootstrap(lesions, resamples=10).counts.astype(int)]
    for name, value in score(everyone, poor).items():
        row, other = result[name], score(everyone, better)[name]
        assert (row["first"], row["second"], row["difference"]) == pytest.approx((value, other, other - value))
        draws = [score(rows, better)[name] - score(rows, poor)[name] for rows in samples]
        ends = row["interval"]["low"], row["interval"]["high"]
        assert ends == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=1e-6), name
    assert result["bootstrap"] == {"resamples": 10, "level": 0.95, "clusters": 100}


def test_a_run_equals_itself() -> None:
    labels, poor, _, lesions = _pair()
    result = compare(labels, poor, poor, lesions, resamples=10)
    assert result["mcnemar"] == {"only_first": 0, "only_second": 0, "p_value": 1.0}
    assert result["accuracy"]["interval"] == {"low": 0, "high": 0, "method": "bootstrap"}


def test_mcnemar_is_exact() -> None:
    first, second = np.array([True] * 8 + [False] * 2 + [True] * 5), np.array([False] * 8 + [True] * 2 + [True] * 5)
    tail = 1 + 10 + 45  # of 2^10 ways, those with at most two heads
    assert mcnemar(first, second) == {"only_first": 8, "only_second": 2, "p_value": pytest.approx(2 * tail / 2**10)}


def _write(path: Path, rows: list[tuple[object, ...]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    labels, poor, better, lesions = _pair(60)
    for name, probabilities in (("poor", poor), ("better", better)):
        report = tmp_path / name / "report"
        report.mkdir(parents=True)
        summary = {"model": "cnn", "strategy": name, "seed": 0, "data_fingerprint": "data", "split": {}, "alarms": [],
                   "checkpoint": {}, "per_class": {}}  # fmt: skip
        (report / "test.json").write_text(json.dumps(summary))
        images = [f"ISIC_{i:07}" for i in range(60)]
        dx = [CLASSES[label] for label in labels]
        answers = [CLASSES[answer] for answer in probabilities.argmax(1)]
        rows = [*zip(images, dx, answers, *probabilities.T, strict=True)]
        rows = rows if name == "poor" else rows[::-1]
        _write(report / "predictions_test.csv", [("image_id", "dx", "predicted", *CLASSES), *rows])
        split = [(i, f"HAM_{lesion:07}", d, "test") for i, lesion, d in zip(images, lesions, dx, strict=True)]
        _write(tmp_path / name / "split.csv", [("image_id", "lesion_id", "dx", "split"), *split])
    return tmp_path / "poor", tmp_path / "better"


def test_the_command_matches_images_by_id_and_writes_what_it_prints(
    runs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program.run("compare", *runs, "--json", tmp_path / "comparison.json") == 0
    labels, poor, better, lesions = _pair(60)
    expected = compare(labels, poor, better, lesions)
    expected["bootstrap"]["resampled"] = "lesions"
    written = json.loads((tmp_path / "comparison.json").read_text())
    assert written == {"first": "cnn poor, seed 0", "second": "cnn better, seed 0", **expected}
    printed = capsys.readouterr().out
    assert f"{expected['accuracy']['difference']:+.3f}" in printed
    assert "60 test images of 30 lesions" in printed


def test_the_command_says_where_lesions_are_not_known(
    runs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for run in runs:
        rows = list(csv.reader((run / "split.csv").read_text().splitlines()))
        _write(run / "split.csv", [tuple(rows[0]), *((image, image, *rest) for image, _, *rest in rows[1:])])
    assert program.run("compare", *runs, "--json", tmp_path / "comparison.json") == 0
    assert json.loads((tmp_path / "comparison.json").read_text())["bootstrap"]["resampled"] == "images"
    assert "60 test images of lesions that are not known; the intervals resample images" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("files", "old", "new", "message"),
    [
        ((PREDICTIONS, "split.csv"), "ISIC_0000007,", "ISIC_9999999,", "2 are in one run alone: ISIC_0000007"),
        ((PREDICTIONS,), ",vasc,", ",nv,", "expected the labels of"),
        ((PREDICTIONS,), "akiec,bcc", "akiec,abc", "expected a finished run"),
        (("split.csv",), "ISIC_0000007,", "ISIC_9999999,", "expected a finished run"),
        (("report/test.json",), "{", "", "expected a finished run"),
    ],
    ids=["images", "labels", "columns", "lesions", "summary"],
)
def test_the_command_refuses_runs_that_cannot_be_compared(
    runs: tuple[Path, Path],
    files: tuple[str, ...],
    old: str,
    new: str,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for path in (runs[1] / file for file in files):
        path.write_text(path.read_text().replace(old, new, 1))
    assert program.run("compare", *runs) == 2
    assert message in capsys.readouterr().err


def test_the_command_refuses_an_unfinished_run(runs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(runs[1] / "report")
    assert program.run("compare", *runs) == 2
    assert "let it end" in capsys.readouterr().err
