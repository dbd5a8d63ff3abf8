"""Predictions for images without labels, from a run directory alone."""

import csv
import json
import re
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hamjax.data.classes import CLASSES
from hamjax.data.sources.synthetic import SyntheticSource
from hamjax.evaluation.evaluate import evaluate_external
from hamjax.evaluation.image_scorer import ImageScorer
from hamjax.evaluation.predict import EXPLAINED, explain, predict
from hamjax.evaluation.scoring import EvalReport
from hamjax.evaluation.unlike import Likeness, read_likeness
from tests.conftest import IMAGES
from tests.helpers import program
from tests.helpers.external_set import CORRUPT, COUNT, write_labels
from tests.helpers.html_reader import Reader

Drawn = tuple[Path, list[tuple[str, str]]]
Other = tuple[Path, EvalReport]


@pytest.fixture(scope="module")
def predicted(finished: Path, drawn: Drawn, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The predictions of the finished run for the external set, by the command."""
    out = tmp_path_factory.mktemp("predicted")
    assert program.run("predict", "--workdir", finished, drawn[0], "--out", out, "--gallery", "3") == 0
    return out


def test_probabilities_are_those_of_an_evaluation_of_the_same_files(
    dataless: Path, drawn: Drawn, tmp_path: Path
) -> None:
    folder, labels = drawn
    table = write_labels(tmp_path / "labels.csv", "pairs", labels)
    report = evaluate_external(dataless, folder, table, say=lambda _: None)
    found = predict(dataless, folder)
    assert sorted(each.file.image_id for each in found.images) == report.image_id.tolist()
    by_id = {each.file.image_id: each.score.probabilities for each in found.images}
    np.testing.assert_allclose([by_id[i] for i in report.image_id], report.probabilities, rtol=0, atol=1e-6)
    assert sorted(Path(each.path).stem for each in found.unreadable) == sorted(CORRUPT)
    assert not (tmp_path / "gone").exists()


def test_several_runs_are_averaged_as_an_evaluation_averages_them(
    finished: Path, other: Other, drawn: Drawn, tmp_path: Path
) -> None:
    folder, labels = drawn
    runs = [finished, other[0]]  # of two sizes
    report = evaluate_external(
        runs, folder, write_labels(tmp_path / "labels.csv", "pairs", labels), tta="d4", say=lambda _: None
    )
    found = predict(runs, folder, tta="d4")
    by_id = {each.file.image_id: each.score for each in found.images}
    expected = report.probabilities
    np.testing.assert_allclose([by_id[i].probabilities for i in report.image_id], expected, rtol=0, atol=1e-6)
    assert {len(score.unlike) for score in by_id.values()} == {2}
    # A mean of runs has no temperature and no thresholds of its own.
    assert found.facts["temperature"] is None
    assert found.facts["operating_points"] == []
    assert found.facts["conformal"] is None
    assert all(score.sets is None for score in by_id.values())


def test_a_table_has_a_row_an_image(finished: Path, predicted: Path, drawn: Drawn) -> None:
    rows = _read(predicted / "predictions.csv")
    assert len(rows) == COUNT
    reported = _read(finished / "report" / "predictions_test.csv")
    probabilities = [name for name in reported[0] if name in CLASSES]
    assert [name for name in rows[0] if name in CLASSES] == probabilities
    summary = json.loads((finished / "report" / "test.json").read_text())
    found = predict(finished, drawn[0])
    for row, each in zip(rows, found.images, strict=True):
        p = np.array([float(row[dx]) for dx in CLASSES])
        assert row["predicted"] == CLASSES[p.argmax()] == each.score.predicted
        assert float(row["melanoma"]) == pytest.approx(p[CLASSES.index("mel")])
        assert float(row["malignant"]) == pytest.approx(sum(float(row[dx]) for dx in ("akiec", "bcc", "mel")))
        assert float(row["margin"]) == pytest.approx(np.sort(p)[-1] - np.sort(p)[-2], abs=1e-8)
        warmed = p ** (1 / summary["calibration"]["temperature"])
        calibrated = [float(row[f"calibrated_{dx}"]) for dx in CLASSES]
        assert calibrated == pytest.approx((warmed / warmed.sum()).tolist(), abs=1e-5)
        for point in summary["operating_points"]:
            cell = row[f"{point['target']}_at_specificity_{point['specificity']:g}"]
            reached = point["threshold"] is not None and float(row[point["target"]]) >= point["threshold"]
            assert cell == ("yes" if reached else "no")
        assert row["unlike"] in ("yes", "no")
        assert ("unlike the training images" in row["notes"]) == (row["unlike"] == "yes")
    unreadable = _read(predicted / "unreadable.csv")
    assert sorted(Path(row["path"]).stem for row in unreadable) == sorted(CORRUPT)
    assert all(row["reason"] for row in unreadable)


def test_the_sets_of_test_images_are_those_of_the_report(finished: Path, tmp_path: Path) -> None:
    source, reported = SyntheticSource(IMAGES), _read(finished / "report" / "predictions_test.csv")
    for row in reported:
        (tmp_path / f"{row['image_id']}.jpg").write_bytes(source.read(row["image_id"]))
    out = tmp_path / "out"
    assert program.run("predict", "--workdir", finished, tmp_path, "--out", out, "--gallery", "0") == 0
    columns = ("set", "set_by_class")
    found = {row["image_id"]: [row[name] for name in columns] for row in _read(out / "predictions.csv")}
    assert found == {row["image_id"]: [row[name] for name in columns] for row in reported}
    assert len({tuple(row) for row in found.values()}) > 1


def test_without_thresholds_there_are_no_sets(dataless: Path, drawn: Drawn, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert program.run("predict", "--workdir", dataless, drawn[0], "--out", out, "--gallery", "0") == 0
    assert not {"set", "set_by_class"} & set(_read(out / "predictions.csv")[0])
    record = json.loads((out / "predictions.json").read_text())
    assert record["conformal"] is None
    assert {each[name] for each in record["images"] for name in ("set", "set_by_class")} == {None}


def test_the_json_says_the_same(predicted: Path) -> None:
    record = json.loads((predicted / "predictions.json").read_text())
    rows = _read(predicted / "predictions.csv")
    for row, each in zip(rows, record["images"], strict=True):
        assert (row["path"], row["image_id"], row["predicted"]) == (each["path"], each["image_id"], each["predicted"])
        for dx in CLASSES:
            assert float(row[dx]) == pytest.approx(each["probabilities"][dx], rel=1e-8)
            assert float(row[f"calibrated_{dx}"]) == pytest.approx(each["calibrated"][dx], rel=1e-8)
        for column in ("set", "set_by_class"):
            assert row[column].split() == each[column]
        (unlike,) = each["unlike"]
        assert unlike["unlike"] == (unlike["distance"] > unlike["threshold"]) == (row["unlike"] == "yes")
        assert "; ".join(each["notes"]) == row["notes"]
    # Images from elsewhere are promised nothing.
    assert (record["conformal"]["promise"], record["conformal"]["because"]) == ("none", ["elsewhere"])
    assert [each["path"] for each in record["unreadable"]] == [
        row["path"] for row in _read(predicted / "unreadable.csv")
    ]


def test_the_page_shows_the_highest_malignant_scores_first(predicted: Path) -> None:
    rows = sorted(_read(predicted / "predictions.csv"), key=lambda row: -float(row["malignant"]))[:3]
    text = (predicted / "index.html").read_text()
    places = [text.index(f"<figcaption>{row['path']}") for row in rows]
    assert places == sorted(places)
    for row, place, end in zip(rows, places, [*places[1:], len(text)], strict=True):
        assert f"not ruled out at 90%: {', '.join(row['set'].split()) or 'no class'}<" in text[place:end]
    reader = Reader(text)
    assert text.count("<article") == 3
    for url in reader.attributes("href") + reader.attributes("src"):
        assert url.startswith("data:image/png;base64,")
    assert not {"script", "link", "iframe", "object", "form"} & {tag for tag, _ in reader.tags}


def test_the_page_may_be_in_the_order_of_doubt(finished: Path, drawn: Drawn) -> None:
    found = predict(finished, drawn[0])
    margins = [each.score.margin for each in found.first(5, "doubt")]
    assert margins == sorted(each.score.margin for each in found.images)[:5]


def test_explaining_keeps_each_image_beside_its_heat_map(finished: Path, drawn: Drawn) -> None:
    scorer = ImageScorer(finished)
    chosen = predict(finished, drawn[0]).images[: EXPLAINED + 1]
    found = list(explain(scorer, chosen))
    assert [each.file.image_id for each, _, _ in found] == [each.file.image_id for each in chosen]
    together = {each.file.image_id: heat for each, _, heat in found}
    (alone,) = (heat for _, _, heat in explain(scorer, chosen[EXPLAINED:]))
    np.testing.assert_allclose(together[chosen[EXPLAINED].file.image_id], alone, atol=1e-5)


def test_a_run_that_has_not_measured_its_images_says_so(dataless: Path, drawn: Drawn, tmp_path: Path) -> None:
    (dataless / "unlike.npz").unlink()
    out = tmp_path / "out"
    assert program.run("predict", "--workdir", dataless, drawn[0], "--out", out, "--gallery", "0") == 0
    assert {row["unlike"] for row in _read(out / "predictions.csv")} == {"not measured"}
    assert not (out / "index.html").exists()
    assert program.run("predict", "--workdir", dataless, drawn[0], "--out", out, "--gallery", "1") == 0
    text = (out / "index.html").read_text()
    assert '<th scope="row">unlike the training images</th><td>not measured</td>' in text
    assert "not ruled out" not in text


@pytest.mark.parametrize(("threshold", "expected"), [(-1.0, True), (np.inf, False)])
def test_an_image_beyond_the_threshold_is_noted(
    dataless: Path, finished: Path, drawn: Drawn, threshold: float, expected: bool
) -> None:
    _replace(dataless, threshold=threshold)
    both = predict([dataless, finished], drawn[0] / "part0")
    alone = predict(finished, drawn[0] / "part0")
    for each, own in zip(both.images, alone.images, strict=True):
        assert each.score.unlike == (expected, own.score.unlike[0]), "of several runs, each its own"


def test_images_that_were_learned_from_are_noted(finished: Path, tmp_path: Path) -> None:
    source = SyntheticSource(IMAGES)
    split = {row["split"]: row["image_id"] for row in _read(finished / "split.csv")}
    for image_id in split.values():
        (tmp_path / f"{image_id}.jpg").write_bytes(source.read(image_id))
    out = tmp_path / "out"
    assert program.run("predict", "--workdir", finished, tmp_path, "--out", out, "--gallery", "0") == 0
    noted = {row["image_id"]: row["notes"] for row in _read(out / "predictions.csv")}
    assert "in the training part: no fair test" in noted[split["train"]]
    assert "in the validation part: no fair test" in noted[split["val"]]
    assert "fair" not in noted[split["test"]]


def test_names_cannot_be_formulas_of_a_spreadsheet(finished: Path, tmp_path: Path, monkeypatch: Any) -> None:
    Image.new("RGB", (20, 20)).save(tmp_path / "=1+1.png")
    monkeypatch.chdir(tmp_path)
    assert program.run("predict", "--workdir", finished, "=1+1.png", "--out", "out", "--gallery", "0") == 0
    (row,) = _read(tmp_path / "out" / "predictions.csv")
    assert (row["path"], row["image_id"]) == ("'=1+1.png", "'=1+1")


@pytest.mark.parametrize("damage", ["cut", "other"])
def test_a_damaged_measurement_is_refused(
    dataless: Path, drawn: Drawn, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    if damage == "cut":
        (dataless / "unlike.npz").write_bytes((dataless / "unlike.npz").read_bytes()[:-100])
    else:
        _replace(dataless, precision=np.eye(3))
    assert program.run("predict", "--workdir", dataless, drawn[0], "--out", dataless / "out") == 2
    assert "unlike.npz: expected what a run wrote" in capsys.readouterr().err


def test_who_has_no_images_can_draw_some_as_the_page_says(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = resources.files("hamjax.evaluation").joinpath("README.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    exec(re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0], {})
    assert len(predict(finished, "drawn").images) == 24


def _replace(workdir: Path, **changes: Any) -> None:
    likeness = read_likeness(workdir, 16)
    assert likeness is not None
    Likeness(**(vars(likeness) | changes)).write(workdir)


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
