"""Evaluation beyond training's own: images from elsewhere, views of an image, means of checkpoints."""

import csv
import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import hamjax
from hamjax.config import Config
from hamjax.data.classes import CLASSES
from hamjax.data.dataset import Dataset
from hamjax.data.external import read_external
from hamjax.data.sources.synthetic import SyntheticSource
from hamjax.evaluation import predictor
from hamjax.evaluation.averaging import average_logits, views
from hamjax.evaluation.ensemble import Ensemble
from hamjax.evaluation.evaluate import evaluate_external, evaluate_run
from hamjax.evaluation.metrics.classification import softmax
from hamjax.evaluation.predictor import Predictor
from hamjax.evaluation.scoring import EvalReport
from hamjax.evaluation.trained_run import TrainedRun
from hamjax.runtime.errors import UserError
from hamjax.training.run_directory.metrics_log import read_records
from tests.conftest import IMAGES
from tests.helpers import program
from tests.helpers.external_set import CORRUPT, COUNT, LAYOUTS, write_images, write_labels

Labels = list[tuple[str, str]]
Other = tuple[Path, EvalReport]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Labels]:
    folder = tmp_path_factory.mktemp("external")
    return folder, write_images(folder)


@pytest.fixture
def dataless(finished: Path, tmp_path: Path) -> Path:
    """The finished run as it is found where its data never was."""
    workdir = Path(shutil.copytree(finished, tmp_path / "run", ignore=shutil.ignore_patterns("report", "*.jsonl")))
    record = json.loads((workdir / "config.json").read_text())
    record["config"]["data"] |= {"data_dir": str(tmp_path / "gone"), "source_dir": str(tmp_path / "gone")}
    (workdir / "config.json").write_text(json.dumps(record))
    return workdir


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory, tiny: Callable[..., Config]) -> Other:
    """A run of another split and input size, with augmented views; and what its training reported."""
    workdir = tmp_path_factory.mktemp("other") / "run"
    result = hamjax.train(tiny(data__split="fold0", data__image_size=12, eval__tta="d4", train__max_steps=2), workdir)
    assert result is not None
    return workdir, result.report


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


def test_views_are_the_eight_symmetries_of_the_square() -> None:
    image = np.random.default_rng(0).integers(0, 256, (2, 5, 5, 3), np.uint8)
    expected = [side if k == 0 else np.rot90(side, k) for side in (image[1], image[1][:, ::-1]) for k in range(4)]
    seen = np.asarray(views(jax.numpy.asarray(image), "d4"))
    np.testing.assert_array_equal(seen[1], expected)
    assert len({view.tobytes() for view in seen[1]}) == 8


def test_augmented_predictions_are_the_mean_of_eight_explicit_ones(
    finished: Path, drawn: tuple[Path, Labels], tmp_path: Path
) -> None:
    folder, labels = drawn
    dataset = read_external(folder, write_labels(tmp_path / "labels.csv", "pairs", labels)).dataset(16, "squash")
    run = TrainedRun(finished)
    variables, _ = run.restore()
    plain, rows = Predictor(run.resolved, run.model, run.mesh), np.arange(len(dataset.images))
    explicit = []
    for mirrored in (False, True):
        for k in range(4):
            turned = np.rot90(dataset.images[:, :, ::-1] if mirrored else dataset.images, k, axes=(1, 2))
            logits = plain(variables, _with_images(dataset, np.ascontiguousarray(turned)), rows)
            assert logits is not None
            explicit.append(softmax(logits))
    together = plain.with_tta("d4")(variables, dataset, rows)
    assert together is not None
    np.testing.assert_allclose(softmax(together), np.mean(explicit, axis=0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(np.exp(together), np.mean(explicit, axis=0), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("count", [1, 16, 17, 53])
def test_a_batch_is_sent_before_the_answers_of_the_one_before_are_fetched(
    finished: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    events: list[str] = []

    def make_eval_step(model: Any, input_scale: str, tta: str) -> Callable[..., jax.Array]:
        del model, input_scale, tta

        def eval_step(params: Any, batch_stats: Any, image: jax.Array) -> jax.Array:
            del params, batch_stats
            events.append("sent")
            return image.astype(np.float32).sum((1, 2))  # [B, 3], of each image alone

        return eval_step

    def device_get(tree: Any) -> Any:
        events.append("fetched")
        return fetch(tree)

    def should_stop() -> bool:
        events.append("asked")
        return False

    fetch = jax.device_get
    monkeypatch.setattr(predictor, "make_eval_step", make_eval_step)
    monkeypatch.setattr(jax, "device_get", device_get)
    run = TrainedRun(finished)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 4, 4, 3), np.uint8)
    dataset = Dataset(images, SyntheticSource(300).metadata.select(np.arange(60)), "", (), "")
    rows = rng.permutation(60)[:count]
    resolved = dataclasses.replace(run.resolved, eval_batch_size=16)
    answers = Predictor(resolved, run.model, run.mesh)(run.restore()[0], dataset, rows, should_stop)
    np.testing.assert_array_equal(answers, images[rows].astype(np.float32).sum((1, 2)))
    events = events[events.index("asked") :]  # restoring fetches, too
    batches = -(-count // 16)
    assert [name for name in events if name != "fetched"] == ["asked", "sent"] * batches
    for i, at in enumerate([at for at, name in enumerate(events) if name == "fetched"]):
        assert events[:at].count("sent") == min(i + 2, batches)  # two in flight, never more
    assert events.count("fetched") == batches


def test_a_prediction_that_is_to_stop_gives_nothing(finished: Path) -> None:
    run = TrainedRun(finished)
    dataset = Dataset(np.zeros((300, 16, 16, 3), np.uint8), SyntheticSource(300).metadata, "", (), "")
    answers = iter([False, False, True])
    resolved = dataclasses.replace(run.resolved, eval_batch_size=16)
    found = Predictor(resolved, run.model, run.mesh)(run.restore()[0], dataset, np.arange(64), lambda: next(answers))
    assert found is None
    assert list(answers) == []


def test_the_batch_of_inference_changes_no_answer_beyond_rounding(finished: Path) -> None:
    run = TrainedRun(finished)
    variables, _ = run.restore()
    source = SyntheticSource(300)
    dataset = Dataset(
        np.random.default_rng(0).integers(0, 256, (300, 16, 16, 3), np.uint8), source.metadata, "", (), ""
    )
    rows = np.arange(100)
    small, large = (
        Predictor(resolved, run.model, run.mesh)(variables, dataset, rows)
        for resolved in (dataclasses.replace(run.resolved, eval_batch_size=size) for size in (8, 256))
    )
    assert small is not None
    assert large is not None
    np.testing.assert_allclose(small, large, rtol=1e-4, atol=1e-5)


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


def test_averaged_logits_keep_the_mean_where_probabilities_vanish() -> None:
    logits = np.array([[[0.0, -200.0]], [[0.0, -300.0]]], np.float32)
    mean = np.asarray(average_logits(jax.numpy.asarray(logits), axis=0))
    np.testing.assert_allclose(mean, [[0.0, -200 - np.log(2)]], rtol=1e-6, atol=1e-6)


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


def _with_images(dataset: Any, images: np.ndarray) -> Any:
    return dataclasses.replace(dataset, images=images)
