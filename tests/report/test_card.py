"""The model card: what the Hub reads, and what people do."""

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml

from hamjax.data.classes import CLASSES
from hamjax.report.card import card
from hamjax.report.evidence import Evidence
from tests.helpers import program
from tests.helpers.report_fixture import full_summary

SECTIONS = ["Use", "Data", "Training", "Scores", "Each class", "For whom", "Calibration and thresholds", "Limits",
            "How it was made", "Licence"]  # fmt: skip


def test_the_metadata_block_is_what_the_hub_reads() -> None:
    summary = full_summary()
    _, block, _ = card(Evidence(summary)).split("---\n", 2)
    metadata = yaml.safe_load(block)
    assert metadata["license"] == "cc-by-nc-4.0"
    assert metadata["library_name"] == "hamjax"
    assert metadata["pipeline_tag"] == "image-classification"
    (entry,) = metadata["model-index"]
    (result,) = entry["results"]
    assert result["task"]["type"] == "image-classification"
    assert {"type", "name"} <= result["dataset"].keys()
    values = {metric["type"]: metric["value"] for metric in result["metrics"]}
    assert values["accuracy"] == pytest.approx(summary["accuracy"], abs=1e-4)
    assert values["balanced_accuracy"] == pytest.approx(summary["balanced_accuracy"], abs=1e-4)
    assert set(metadata["metrics"]) == set(values)


def test_every_section_is_there_and_scores_stand_beside_their_intervals() -> None:
    summary = full_summary()
    text = card(Evidence(summary))
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == SECTIONS
    interval = summary["intervals"]["balanced_accuracy"]
    value = summary["balanced_accuracy"]
    assert f"| balanced accuracy | {value:.3f} | {interval['low']:.3f} to {interval['high']:.3f} |" in text
    for dx in CLASSES:
        assert f"{summary['per_class'][dx]['recall']:.3f} (" in text
    for row in summary["subgroups"]["sex"]:
        assert f"| sex | {row['group']} | {row['n']} |" in text
    assert "not a medical device" in text
    assert "CC BY-NC 4.0" in text
    assert summary["command"] in text
    sets = summary["conformal"]["marginal"]
    assert f"hold the true class in {sets['coverage']:.3f} (" in text
    assert f"with {sets['mean_size']:.2f} classes each" in text


def test_a_card_does_not_tell_where_somebody_keeps_files() -> None:
    summary = full_summary()
    summary["command"] = (
        "hamjax train --config '/home/an na/a.py' --workdir=/home/anna/runs/cnn --config.train.epochs=3"
    )
    assert "hamjax train --config a.py --workdir=cnn --config.train.epochs=3" in card(Evidence(summary))


def test_tables_are_whole_whatever_a_value_holds() -> None:
    summary = full_summary()
    summary["command"] = "hamjax train --workdir 'a|b'\n<script>"
    summary["images_note"] = "<b>10</b>"
    text = card(Evidence(summary))
    assert "<script>" not in text
    assert "<b>" not in text
    cells = {
        len(re.findall(r"(?<!\\)\|", line)) for block in text.split("\n\n") if block.startswith("| what")
        for line in block.splitlines()
    }  # fmt: skip
    assert cells == {3}


def test_alarms_are_on_the_card() -> None:
    summary = full_summary() | {"alarms": ["collapse: one class"]}
    assert "- **Alarm:** collapse: one class" in card(Evidence(summary))


def test_a_run_has_a_card_and_the_command_makes_it_anew(finished: Path, tmp_path: Path) -> None:
    workdir = Path(shutil.copytree(finished, tmp_path / "run"))
    written = (workdir / "model_card.md").read_text()
    assert 'license: "apache-2.0"' in written, "a run on drawn images"
    (workdir / "model_card.md").unlink()
    assert program.run("card", "--workdir", workdir) == 0
    assert (workdir / "model_card.md").read_text() == written


@pytest.mark.parametrize(
    ("damage", "message"),
    [(None, "expected a finished run"), ({"params_total": None}, "expected a report of this version"),
     ({"intervals": 3}, "expected a report of this version"), ({"model": "resnet50"}, "got one of model resnet50"),
     ({"seed": 7, "data_fingerprint": "0"}, "got one of seed 7, data_fingerprint 0")],
)  # fmt: skip
def test_a_run_without_a_whole_report_is_refused(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: dict[str, object] | None, message: str
) -> None:
    workdir = Path(shutil.copytree(finished, tmp_path / "run"))
    report = workdir / "report" / "test.json"
    if damage is None:
        report.unlink()
    else:
        report.write_text(json.dumps(json.loads(report.read_text()) | damage))
    assert program.run("card", "--workdir", workdir) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("foreign", ["nothing", "a file", "another program's"])
def test_what_is_no_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], foreign: str) -> None:
    workdir = tmp_path / "run"
    if foreign == "a file":
        workdir.write_text("no folder")
    elif foreign == "another program's":
        workdir.mkdir()
        (workdir / "config.json").write_text('{"architectures": ["BertModel"]}')
    assert program.run("card", "--workdir", workdir) == 2
    said = capsys.readouterr().err
    expected = "expected what a run wrote" if foreign == "another program's" else "expected a run directory"
    assert expected in said
    assert len(said.splitlines()) == 1
