"""A run, its checkpoint and its prepared data, made before the modules moved, are still read."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import hamjax
from hamjax.config import Config
from hamjax.data.classes import CLASSES
from hamjax.evaluation.evaluate import evaluate_run

FIXTURE = Path(__file__).parents[1] / "helpers" / "run_419d696"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FIXTURE, tmp_path / "old"))


def _predictions(path: Path) -> dict[str, list[float]]:
    with path.open(newline="") as file:
        return {row["image_id"]: [float(row[dx]) for dx in CLASSES] for row in csv.DictReader(file)}


def _require_equal(found: dict[str, list[float]], expected: dict[str, list[float]]) -> None:
    assert found.keys() == expected.keys()
    ours, theirs = (np.array([values[image] for image in expected]) for values in (found, expected))
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    np.testing.assert_array_equal(ours.argmax(1), theirs.argmax(1))


def _files(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


def test_an_old_checkpoint_is_evaluated(old: Path) -> None:
    prepared = _files(old / "data")
    report, _ = evaluate_run(old / "run", checkpoint="33", source_dir="", data_dir=str(old / "data"))
    found = dict(zip(report.image_id.tolist(), report.probabilities.tolist(), strict=True))
    _require_equal(found, _predictions(old / "predictions_step_33.csv"))
    assert _files(old / "data") == prepared  # read, not made anew


def test_an_old_run_is_resumed_and_reported_on(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored = json.loads((old / "run" / "config.json").read_text())
    split = (old / "run" / "split.csv").read_text()
    config = Config.from_dict(stored["config"])
    config.data.source_dir, config.data.data_dir = "", str(old / "data")
    assert "resolved" not in stored
    assert config.eval.batch_size == 64
    config.eval.batch_size = 0  # today's default
    config.train.global_batch_size = 16  # of the eight devices of the tests; it was made on one
    result = hamjax.train(config, old / "run")
    assert result is not None
    assert int(result.state.step) == 36
    assert "resumed at step 33" in capsys.readouterr().out
    _require_equal(
        _predictions(old / "run" / "report" / "predictions_test.csv"), _predictions(old / "predictions_step_36.csv")
    )
    assert json.loads((old / "run" / "config.json").read_text()) == stored
    summary = result.report.summary
    assert summary["data_fingerprint"] == stored["data_fingerprint"]
    assert summary["split"]["fingerprint"] == stored["split_fingerprint"]
    assert (old / "run" / "split.csv").read_text() == split
