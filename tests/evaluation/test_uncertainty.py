"""What a report says of prediction sets: where they are calibrated, what they promise, and what is written of them."""

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hamjax
from hamjax.data.classes import CLASSES
from hamjax.evaluation.evaluate import evaluate_external, evaluate_run
from hamjax.evaluation.uncertainty import promise
from tests.helpers.external_set import write_labels

Labels = list[tuple[str, str]]
FACTS = {"checkpoint": {"name": "last", "step": 1}, "schedule": "cosine", "split": {"name": "paper"}}


@pytest.mark.parametrize(
    ("partition", "changes", "unit", "expected"),
    [
        ("test", {}, "lesions", ("exact", [])),
        ("test", {"checkpoint": {"name": "best"}}, "lesions", ("approximate", ["checkpoint"])),
        ("test", {"checkpoint": {"name": "mean of 2: last and best"}}, "lesions", ("approximate", ["checkpoint"])),
        ("test", {"schedule": "none + plateau"}, "lesions", ("approximate", ["schedule"])),
        ("test", {"split": {"name": "source"}}, "images", ("approximate", ["parts", "lesions"])),
        ("val", {}, "lesions", ("none", ["val"])),
        ("train", {}, "lesions", ("none", ["train"])),
        ("external", {"external": {}}, "lesions", ("none", ["elsewhere"])),
    ],
)
def test_sets_promise_their_level_where_validation_and_new_images_are_alike(
    partition: str, changes: dict[str, Any], unit: str, expected: tuple[str, list[str]]
) -> None:
    said = promise(partition, FACTS | changes, unit)
    assert (said["promise"], said["because"]) == expected


def test_a_run_reports_sets_that_were_calibrated_on_its_validation_part(finished: Path) -> None:
    summary = json.loads((finished / "report" / "test.json").read_text())
    conformal = summary["conformal"]
    validated = hamjax.evaluate(finished, split="val")
    counts = {dx: int((validated.labels == k).sum()) for k, dx in enumerate(CLASSES)}
    calibration = conformal["calibration"]
    assert {dx: row["images"] for dx, row in calibration["per_class"].items()} == counts
    # The tests' run has few lesions of a class, so most are in every set by class.
    for row in calibration["per_class"].values():
        assert (row["threshold"] == 0) == (row["lesions"] < calibration["lesions_needed"])
    assert conformal["promise"] == "approximate"
    assert "checkpoint" in conformal["because"]
    # Sets hold what they were calibrated to hold on the images they were calibrated on.
    again = validated.summary["conformal"]
    assert again["calibration"] == calibration
    assert again["promise"] == "none"
    assert min(again[kind]["coverage"] for kind in ("marginal", "by_class")) >= 0.9


def test_the_predictions_name_the_sets_most_probable_class_first(finished: Path) -> None:
    report = hamjax.evaluate(finished)
    rows = list(csv.DictReader(io.StringIO(report.predictions_csv())))
    assert list(rows[0]) == ["image_id", "dx", "predicted", *CLASSES, "set", "set_by_class"]
    for column, kind in (("set", "marginal"), ("set_by_class", "by_class")):
        held = [row["dx"] in row[column].split() for row in rows]
        lesions = report.summary["conformal"][kind]
        assert [len(row[column].split()) for row in rows].count(1) == lesions["sizes"][1]
        assert held == report.sets[kind][np.arange(len(rows)), report.labels].tolist()
    for row in rows:
        named = row["set_by_class"].split()
        assert named == sorted(named, key=lambda dx: -float(row[dx]))


def test_images_from_elsewhere_get_the_thresholds_of_the_runs_own_report(
    finished: Path, drawn: tuple[Path, Labels], tmp_path: Path
) -> None:
    folder, labels = drawn
    table = write_labels(tmp_path / "labels.csv", "pairs", labels)

    def elsewhere(workdirs: Path | list[Path], **asked: Any) -> dict[str, Any]:
        return evaluate_external(workdirs, folder, table, say=lambda _: None, **asked).summary

    stored = json.loads((finished / "report" / "test.json").read_text())["conformal"]
    summary = elsewhere(finished)
    assert summary["conformal"]["calibration"] == stored["calibration"]
    assert (summary["conformal"]["promise"], summary["conformal"]["because"]) == ("none", ["elsewhere"])
    assert summary["selective"]["aurc"] >= 0
    # Thresholds are of the probabilities of that checkpoint and those views.
    assert elsewhere(finished, checkpoint="43")["conformal"] is None
    assert elsewhere(finished, tta="d4")["conformal"] is None
    assert elsewhere([finished, finished])["conformal"] is None


@pytest.mark.parametrize("text", ["{", '{"per_class": {}}', '{"per_class": {"mel": 3}}', "[]", "null"])
def test_a_damaged_calibration_counts_as_none(
    finished: Path, drawn: tuple[Path, Labels], tmp_path: Path, text: str
) -> None:
    folder, labels = drawn
    workdir = Path(shutil.copytree(finished, tmp_path / "run", ignore=shutil.ignore_patterns("*.jsonl", "*.png")))
    summary = json.loads((workdir / "report" / "test.json").read_text())
    damaged = json.dumps(summary | {"conformal": {"calibration": "CALIBRATION"}}).replace('"CALIBRATION"', text)
    (workdir / "report" / "test.json").write_text(damaged)
    table = write_labels(tmp_path / "labels.csv", "pairs", labels)
    assert evaluate_external(workdir, folder, table, say=lambda _: None).summary["conformal"] is None


def test_several_runs_and_views_are_calibrated_on_their_mean(finished: Path) -> None:
    alone = hamjax.evaluate(finished).summary["conformal"]["calibration"]
    together, _ = evaluate_run([finished, finished], checkpoint="43,best")
    assert together.summary["conformal"]["calibration"]["threshold"] != alone["threshold"]
    views, _ = evaluate_run(finished, tta="d4")
    assert views.summary["conformal"]["calibration"]["threshold"] != alone["threshold"]
