"""What the terminal shows of a summary."""

from pathlib import Path
from typing import Any

import pytest

from hamjax.report.terminal import format_summary
from tests.helpers.report_fixture import full_summary


def test_a_summary_shows_intervals_baselines_and_the_isic_score_on_one_screen() -> None:
    summary: dict[str, Any] = full_summary() | {"alarms": ["collapse: everything is nv"]}
    said = format_summary(summary, Path("report"))
    line = next(line for line in said.splitlines() if line.startswith("balanced accuracy "))
    interval = summary["intervals"]["balanced_accuracy"]
    assert line.split() == ["balanced", "accuracy", f"{summary['balanced_accuracy']:.3f}",
                            f"{interval['low']:.3f}", "to", f"{interval['high']:.3f}", "0.143"]  # fmt: skip
    assert "balanced accuracy, ISIC scorer" in said
    assert "ALARM collapse: everything is nv" in said
    conformal = summary["conformal"]
    line = next(line for line in said.splitlines() if line.startswith("90% sets by class: coverage, approximate"))
    assert f"{conformal['by_class']['coverage']:.3f}" in line
    assert len(said.splitlines()) <= 24
    assert max(map(len, said.splitlines())) <= 100


def test_a_summary_without_prediction_sets_says_that_they_were_not_measured() -> None:
    summary = full_summary() | {"conformal": None}
    line = next(line for line in format_summary(summary, Path("report")).splitlines() if "prediction sets" in line)
    assert line.split() == ["prediction", "sets", "not", "measured"]


@pytest.mark.parametrize("key", ["intervals", "macro_auc", "isic", "conformal", "selective"])
def test_a_summary_of_an_older_run_can_still_be_shown(key: str) -> None:
    summary = {name: value for name, value in full_summary().items() if name != key}
    assert "majority baseline" in format_summary(summary, Path("report"))
