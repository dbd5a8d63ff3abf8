"""On data whose lesions are not known, or not all, nothing that is printed or written claims the absence of a leak."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hamjax.commands.figure_data import figure_data
from hamjax.commands.training_run import train
from hamjax.config import Config
from hamjax.evaluation.evaluate import evaluate_external, evaluate_run
from hamjax.paper import reproduce
from hamjax.report.evidence import Evidence
from hamjax.report.page import page
from hamjax.report.write import write_report
from tests.conftest import write_one_hot
from tests.helpers.external_set import write_labels
from tests.helpers.grid_runs import cells_of
from tests.helpers.report_fixture import full_summary

GROUPINGS = "ISIC2018_Task3_Training_LesionGroupings.csv"
# A count of leaks that is 0, and every way of saying that parts share no lesion.
CLAIMS = (
    r"\b0 of [\d,]+ (test|val|images)", r"leaked \w+ images\s+0", "no lesion is in two", "[Dd]rawn by lesion",
    r"[\d,]+ lesions\b", "lesions? (with|that have) (one|a single) image", ", by lesion", "grouped by lesion",
    "resamples of [\\d,]+ lesions", "near-duplicates? merged", "free of leaks", "without a leak", "none found$",
)  # fmt: skip


def _claims(text: str) -> list[str]:
    return [found.group() for claim in CLAIMS for found in re.finditer(claim, text, re.MULTILINE)]


def _numbers(value: Any, *names: str) -> list[Any]:
    """Return what any level of a summary holds under these names."""
    if isinstance(value, dict):
        here = [entry for key, entry in value.items() if key in names and not isinstance(entry, dict)]
        return here + [number for entry in value.values() for number in _numbers(entry, *names)]
    return [number for entry in value for number in _numbers(entry, *names)] if isinstance(value, list) else []


def _plain(html: str) -> str:
    text = re.sub(r"<style>.*?</style>|base64,[^\"]*", " ", html, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " | ", text).split())


@pytest.fixture(params=["none", "some"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def source(copy: Path, kind: str) -> Path:
    """A one-hot table without lesion groupings, or with those of half its images."""
    write_one_hot(copy)
    lines = (copy / GROUPINGS).read_text().splitlines()
    (copy / GROUPINGS).unlink()
    if kind == "some":
        (copy / GROUPINGS).write_text("\n".join(lines[: len(lines) // 2]) + "\n")
    return copy


@pytest.mark.usefixtures("quick_compiler")
def test_nothing_claims_that_lesions_are_apart(
    source: Path, kind: str, tiny: Callable[..., Config], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # As a cell of a grid, whose page is then made of it.
    (cell,) = cells_of(tmp_path, protocols=["honest"])
    data = {"data__name": "ham10000", "data__source_dir": str(source), "data__data_dir": str(tmp_path / "data")}
    assert train(tiny(**data, data__allow_missing=True, train__epochs=1), cell.workdir)
    started = capsys.readouterr().out
    grid = reproduce.write_tables(tmp_path, [cell])
    report = cell.workdir / "report"
    summary = json.loads((report / "test.json").read_text())
    said = {
        "start and report": started,
        "page": _plain((report / "index.html").read_text()),
        "grid": grid,
        "grid's page": _plain((tmp_path / "index.html").read_text()),
        "tables.json": (tmp_path / "tables.json").read_text(),
    }
    for where, text in said.items():
        assert not _claims(text), where
        assert "not known" in text, where
    for name in ("page", "grid", "grid's page"):
        assert re.search(r"resample[sd]? (of )?(single )?(lesions and )?images|or of single images", said[name]), name
    unit = {"none": "images", "some": "lesions and images"}[kind]
    assert summary["bootstrap"]["resampled"] == unit
    assert summary["lesions"]["unknown"] == {"none": 300, "some": 151}[kind]
    assert set(_numbers(summary, "leaked", "val_leaked")) == {None}
    assert None in _numbers(summary["demographics"], "lesions")
    assert any(alarm.startswith("lesions: not known") for alarm in summary["alarms"])

    # The other reports of the same run: on validation, and on images from elsewhere.
    for_val, experiment = evaluate_run(cell.workdir, split="val")
    write_report(tmp_path / "val", for_val, cell.workdir, figure_data(experiment))
    labels = [(row["image_id"], row["dx"]) for row in _ham_rows(source)[:20]]
    table = write_labels(tmp_path / "labels.csv", "pairs", labels)
    external = evaluate_external(cell.workdir, source, table, say=print)
    write_report(tmp_path / "external", external, cell.workdir)
    assert set(_numbers(for_val.summary, "leaked", "val_leaked")) == {None}
    assert for_val.summary["calibration"]["fitted_on_scored_images"]
    assert not summary["calibration"]["fitted_on_scored_images"]
    assert external.summary["external"]["overlap"]["unknown"] > 0
    for name in ("val", "external"):
        shown = _plain((tmp_path / name / "index.html").read_text())
        assert not _claims(shown), name
        assert "not known" in shown
    assert not _claims(capsys.readouterr().out)


def _ham_rows(source: Path) -> list[dict[str, str]]:
    truth = (source / "ISIC2018_Task3_Training_GroundTruth.csv").read_text().splitlines()
    codes = truth[0].split(",")[1:]
    rows = [line.split(",") for line in truth[1:]]
    return [{"image_id": first, "dx": codes[cells.index("1.0")].lower()} for first, *cells in rows]


def test_the_search_for_claims_finds_those_of_a_run_whose_lesions_are_known() -> None:
    said = _plain(page(Evidence(full_summary())))
    assert len(_claims(said)) > 4
    assert "not known" not in said
