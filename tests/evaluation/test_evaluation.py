"""Evaluation beyond training's own: images from elsewhere, views of an image, means of checkpoints."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

import hamjax
from hamjax.data.classes import CLASSES
from hamjax.data.sources.synthetic import SyntheticSource
from hamjax.evaluation.ensemble import Ensemble
from hamjax.evaluation.evaluate import evaluate_external, evaluate_run
from hamjax.evaluation.scoring import EvalReport
from hamjax.runtime.errors import UserError
from hamjax.training.run_directory.metrics_log import read_records
from tests.conftest import IMAGES
from tests.helpers import program
from tests.helpers.external_set import CORRUPT, COUNT, LAYOUTS, write_labels

Labels = list[tuple[str, str]]
Other = tuple[Path, EvalReport]


def test_an_external_set_scores_alike_in_every_layout_without_the_training_data(
    dataless: Path, drawn: tuple[Path, Labels], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    folder, labels = drawn
    summaries = {}
    for layout in LAYOUTS:
        out = tmp_path / layout
        table = write_labels(tmp_path / f"{layout}.csv", layout, labels)
        assert program.run("evaluate", "--workdir", dataless, "--images", folder, "--labels", table, "--out", out) == 0
        first, *said = capsys.readouterr().out.splitlines()
        assert first.startswith(
            "overlap with training and validation, by image id: none found; not known for 60 images"
        )
        assert f"  unreadable: 2: {', '.join(CORRUPT)}" in said
        summaries[layout] = json.loads((out / "external.json").read_text())
        assert (out / "index.html").stat().st_size > 0
        predictions, submission = (_read(out / f"{name}_external.csv") for name in ("predictions", "submission"))
        assert [row["image_id"] for row in predictions] == [i for i, _ in labels[:COUNT]]
        assert [row["image"] for row in submission] == [i for i, _ in labels]
        for row, sent in zip(predictions, submission, strict=False):
            assert [float(sent[dx.upper()]) for dx in CLASSES] == pytest.approx([float(row[dx]) for dx in CLASSES])
        for sent in submission[COUNT:]:
            assert {sent[dx.upper()] for dx in CLASSES} == {repr(1 / 7)}
    externals = {layout: summary.pop("external") for layout, summary in summaries.items()}
    assert [len(summary.pop("subgroups")["age"]) for summary in summaries.values()] == [
        int(layout == "ham10000") for layout in LAYOUTS
    ], "one layout alone knows ages"
    assert summaries["isic"] == summaries["ham10000"] == summaries["pairs"]
    assert summaries["isic"]["n"] == COUNT
    for layout, external in externals.items():
        assert external["layout"] == layout
        assert external["unreadable"] == list(CORRUPT)
        nothing = {"images": 0, "lesions": None, "unknown": COUNT, "checked_by": "image id", "ids": []}
        assert external["overlap"] == nothing
    assert not (tmp_path / "gone").exists()


def test_what_was_trained_on_is_reported_first_and_raises_an_alarm(finished: Path, tmp_path: Path) -> None:
    source = SyntheticSource(IMAGES)
    split = {row["image_id"]: row for row in _read(finished / "split.csv")}
    known = [next(row for row in split.values() if row["split"] == part) for part in ("train", "val", "test")]
    for row in known:
        (tmp_path / f"{row['image_id']}.jpg").write_bytes(source.read(row["image_id"]))
    table = write_labels(tmp_path / "labels.csv", "pairs", [(row["image_id"], row["dx"]) for row in known])
    said: list[str] = []
    summary = evaluate_external(finished, tmp_path, table, say=said.append).summary
    assert said[0].startswith("overlap with training and validation, by image id: 2 of 3 images, of 2 lesions: ISIC_9")
    assert summary["external"]["overlap"]["ids"] == sorted(row["image_id"] for row in known[:2])
    assert summary["alarms"][0].startswith("overlap: 2 images")


def test_a_split_that_was_changed_is_refused(dataless: Path, drawn: tuple[Path, Labels], tmp_path: Path) -> None:
    folder, labels = drawn
    table = write_labels(tmp_path / "labels.csv", "pairs", labels)
    text = (dataless / "split.csv").read_text()
    (dataless / "split.csv").write_text(text.replace(",train", ",test", 1))
    with pytest.raises(UserError, match="split.csv: expected the split that the run was started with"):
        evaluate_external(dataless, folder, table)


def test_checkpoints_and_runs_are_averaged_by_probability(finished: Path, dataless: Path) -> None:
    names = ("43", "best")
    single = [hamjax.evaluate(finished, checkpoint=name) for name in names]
    both, _ = evaluate_run([finished, finished], checkpoint="43,best")
    expected = np.mean([report.probabilities for report in single], axis=0)
    np.testing.assert_allclose(both.probabilities, expected, rtol=1e-5)
    summary = both.summary
    assert summary["checkpoint"] == {"name": "mean of 4: last and best", "step": 43}
    assert [row["checkpoint"] for row in summary["averaged"]] == 2 * [r.summary["checkpoint"] for r in single]
    assert (summary["model"], summary["seed"]) == ("cnn", "0")
    assert summary["params_total"] == 4 * single[0].summary["params_total"]
    assert not [r for r in single if "averaged" in r.summary]


def test_runs_of_two_splits_are_averaged_only_on_images_from_elsewhere(
    finished: Path, other: Other, drawn: tuple[Path, Labels], tmp_path: Path
) -> None:
    folder, labels = drawn
    both = [finished, other[0]]
    with pytest.raises(UserError, match="expected the split of .*--images"):
        evaluate_run(both)
    table = write_labels(tmp_path / "labels.csv", "isic", labels)
    reports = [evaluate_external(w, folder, table, tta="none", say=lambda _: None) for w in (both, *both)]
    mean, *single = (report.probabilities for report in reports)
    np.testing.assert_allclose(mean, np.mean(single, axis=0), rtol=1e-5)


def test_training_reports_in_the_views_it_is_told_and_validates_plainly(other: Other) -> None:
    workdir, report = other
    assert report.summary["tta"] == "d4"
    assert report.summary == hamjax.evaluate(workdir).summary
    plain = evaluate_run(workdir, split="val", tta="none")[0].summary
    (validated,) = [line for line in read_records(workdir / "metrics.jsonl") if "eval/loss" in line]
    assert (validated["eval/loss"], validated["eval/accuracy"]) == (plain["loss"], plain["accuracy"])
    assert plain["loss"] != hamjax.evaluate(workdir, split="val").summary["loss"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--labels", "x"), "--labels: expected --images beside it"),
        (("--images", "x"), "x: expected a folder of images"),
        (("--images", "x", "--labels", "y", "--split", "val"), "beside it"),
        (("--images", "nowhere", "--labels", "y.csv"), "y.csv: expected a table"),
        (("--checkpoint", "last,first"), "expected last, best or a step, got 'first'"),
    ],
)
def test_the_command_refuses_with_status_2(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...], message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert program.run("evaluate", "--workdir", finished, "--out", "out", *words) == 2
    assert message in capsys.readouterr().err


def test_an_ensemble_needs_no_optimizer_state(finished: Path) -> None:
    assert Ensemble(finished).variables.keys() == {"params", "batch_stats"}


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
