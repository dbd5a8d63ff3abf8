"""A study scores the runs that are finished, and compares those that it pairs."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from bench.measure import portable
from bench.print_results import describe_grid, describe_study
from bench.record_run import record_grid
from bench.studies import STUDIES, Study
from bench.study import collect

from hamjax.config.command_line import parse
from hamjax.evaluation.metrics.comparison import compare
from hamjax.paper.reproduce import write_tables
from tests.helpers.grid_runs import cells_of

RUNS: dict[str, tuple[str, ...]] = dict.fromkeys(("first", "second", "to come"), ("quickstart",))


@pytest.mark.parametrize("study", STUDIES.values(), ids=STUDIES)
def test_every_run_of_a_study_is_a_config_of_its_own(study: Study) -> None:
    words = {name: [f"--config={config}", *study.common, *own] for name, (config, *own) in study.runs.items()}
    configs = [parse([word.format(weights="file") for word in each])[0].to_dict() for each in words.values()]
    assert all(one != other for i, one in enumerate(configs) for other in configs[:i])
    assert {name for pair in study.pairs for name in pair} <= set(study.runs)


def test_pairs_of_finished_runs_are_compared_lesion_by_lesion(finished: Path, tmp_path: Path) -> None:
    for name in ("first", "second"):
        shutil.copytree(finished, tmp_path / name)
    study = Study("?", (), RUNS, {("first", "second"): ("val", "test"), ("first", "to come"): ("val",)})
    labels, lesions = np.arange(70) % 7, np.arange(70) // 2
    right = np.eye(7)[labels] * 0.9
    predicted = {"first": right[:, ::-1], "second": right}
    results = collect(study, tmp_path, lambda name, _: (labels, predicted[name], lesions))
    assert list(results["runs"]) == ["first", "second"]
    assert [row["partition"] for row in results["comparisons"]] == ["val", "test"]
    expected = compare(labels, predicted["first"], predicted["second"], lesions)
    row = results["comparisons"][0]
    assert row["balanced_accuracy"] == expected["balanced_accuracy"]
    assert row["balanced_accuracy"]["difference"] == pytest.approx(6 / 7)  # reversed, only the middle class is right
    assert results["runs"]["second"]["val"]["recall"] == dict.fromkeys(results["runs"]["second"]["val"]["recall"], 1.0)
    *_, last = describe_study(results).splitlines()
    assert [cell.strip()[:6] for cell in last.split("|")[1:-1]] == ["second", "+0.857", "+0.857"]


def test_the_test_part_is_looked_at_only_where_a_pair_asks_for_it(finished: Path, tmp_path: Path) -> None:
    for name in RUNS:
        shutil.copytree(finished, tmp_path / name)
    study = Study("?", (), RUNS, {("first", "second"): ("val", "test"), ("first", "to come"): ("val",)})
    labels = np.arange(70) % 7
    results = collect(study, tmp_path, lambda *_: (labels, np.eye(7)[labels], labels))
    assert [name for name, run in results["runs"].items() if "test" in run] == ["first", "second"]
    assert "accuracy" not in results["runs"]["to come"]["run"]
    line = next(line for line in describe_study(results).splitlines() if "| to come" in line)
    assert [cell.strip() for cell in line.split("|")[2:4]] == ["", ""]


def test_a_grid_is_kept_with_its_tables_and_runs(finished: Path, tmp_path: Path) -> None:
    cells = cells_of(tmp_path / "grid", strategies=["s1", "s4"])
    for cell in cells:
        shutil.copytree(finished, cell.workdir)
    write_tables(tmp_path / "grid", cells)
    record_grid(tmp_path / "grid", "hamjax reproduce", tmp_path / "kept.json")
    kept = json.loads((tmp_path / "kept.json").read_text())
    assert kept["settings"] == {"made_by": "hamjax reproduce"}
    assert list(kept["results"]["runs"]) == ["paper/cnn_s1_seed0", "paper/cnn_s4_seed0"]
    assert (tmp_path / "kept.txt").read_text() == (tmp_path / "grid" / "tables.txt").read_text()
    scored = kept["results"]["runs"]["paper/cnn_s4_seed0"]["accuracy"]
    line = next(line for line in describe_grid(kept["results"]).splitlines() if line.startswith("| S4"))
    assert [cell.split()[0] for cell in line.split("|")[2:4]] == ["0.031", f"{scored:.3f}"]


@pytest.mark.parametrize(
    ("word", "expected"),
    [("--key=/a/b", "--key=../b"), ("/a/b", "../b"), ("--key=3", "--key=3"), ("a/b", "a/b"), ("x=/a/b", "x=/a/b")],
)
def test_kept_commands_have_no_absolute_paths(monkeypatch: pytest.MonkeyPatch, word: str, expected: str) -> None:
    monkeypatch.setattr(os.path, "relpath", lambda path: path.replace("/a/", "../"))
    assert portable(word) == expected
