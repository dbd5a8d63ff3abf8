"""A whole run in small: its directory, its second start, its refusals, its evaluation."""

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

import hamjax
from hamjax.config import Config
from hamjax.data.classes import CLASSES
from hamjax.runtime.errors import DivergedError, PreemptedError, UserError
from hamjax.training.run_directory import lock
from hamjax.training.run_directory.checkpoints import sealed
from hamjax.training.run_directory.metrics_log import read_records
from tests.helpers import program
from tests.helpers.started import comparable, sigterm_at

Tiny = Callable[..., Config]
REPORT = ("test.json", "predictions_test.csv", "index.html", "confusion_matrix.png", "training_curves.png",
          "class_histogram.png", "sample_sheet.png", "reliability.png", "risk_coverage.png")  # fmt: skip
ROOT = Path(__file__).parents[2]
EPOCH = 23  # steps; see `tiny`


def test_the_run_directory_is_complete(finished: Path) -> None:
    for name in ("config.json", "split.csv", "metrics.jsonl", *(f"report/{name}" for name in REPORT)):
        assert (finished / name).stat().st_size > 0
    assert list(finished.glob("events.*"))
    assert {p.name for p in (finished / "checkpoints").iterdir()} == {"last", "best"}
    for name in REPORT[3:]:
        with Image.open(finished / "report" / name) as image:
            assert min(image.size) > 400
    stored = json.loads((finished / "config.json").read_text())
    assert stored["environment"]["packages"]["jax"]
    assert Path(stored["config"]["data"]["data_dir"]).is_absolute()


def test_the_summary_holds_what_others_rely_on(finished: Path) -> None:
    summary = json.loads((finished / "report" / "test.json").read_text())
    with (finished / "split.csv").open(newline="") as file:
        tested = {row["image_id"]: row["dx"] for row in csv.DictReader(file) if row["split"] == "test"}
    assert summary["n"] == len(tested) == np.sum(summary["confusion_matrix"])
    assert summary["classes"] == list(CLASSES)
    assert summary["split"]["counts"]["test"] == {dx: list(tested.values()).count(dx) for dx in CLASSES}
    assert (summary["model"], summary["strategy"], summary["seed"]) == ("cnn", "s5", 0)
    assert summary["checkpoint"]["name"] == "best"
    assert summary["params_total"] == summary["params_trainable"]
    assert "drawn" in summary["images_note"]
    with (finished / "report" / "predictions_test.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["image_id"]: row["dx"] for row in rows} == tested
    probabilities = np.array([[float(row[dx]) for dx in CLASSES] for row in rows])
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-7)
    right = [CLASSES[k] == row["dx"] for k, row in zip(probabilities.argmax(1), rows, strict=True)]
    assert np.mean(right) == pytest.approx(summary["accuracy"])


def test_the_page_shows_the_run(finished: Path) -> None:
    text = (finished / "report" / "index.html").read_text()
    summary = json.loads((finished / "report" / "test.json").read_text())
    for said in (summary["data_fingerprint"], summary["split"]["fingerprint"], f"{summary['accuracy']:.3f}"):
        assert said in text
    assert text.count("<img alt=") >= 3


def test_a_finished_run_reprints_its_report(finished: Path, tiny: Tiny, capsys: pytest.CaptureFixture[str]) -> None:
    before = {p: p.stat().st_mtime_ns for p in finished.rglob("*") if p.is_file() and p.name != ".lock"}
    assert hamjax.train(tiny(), finished) is None
    assert "balanced accuracy" in capsys.readouterr().out
    assert before == {p: p.stat().st_mtime_ns for p in before}


def test_another_config_is_refused_by_key(finished: Path, tiny: Tiny) -> None:
    config = tiny()
    config.optimizer.learning_rate = 0.5
    with pytest.raises(UserError, match=r"optimizer.learning_rate \(0.001 there, 0.5 now\)"):
        hamjax.train(config, finished)


@pytest.mark.parametrize("num_threads", [0, 4, pytest.param(1, marks=pytest.mark.slow)])
def test_two_runs_are_the_same_for_any_number_of_threads(
    finished: Path, tiny: Tiny, tmp_path: Path, num_threads: int
) -> None:
    config = tiny()
    config.data.num_threads = num_threads
    hamjax.train(config, tmp_path / "run")
    assert comparable(tmp_path / "run") == comparable(finished)


LATER = [pytest.param(step, marks=pytest.mark.slow) for step in (10, EPOCH - 1, 43)]


@pytest.mark.parametrize("step", [3, EPOCH, 2 * EPOCH, *LATER])
def test_a_run_stopped_by_sigterm_goes_on_as_if_nothing_happened(
    finished: Path, tiny: Tiny, tmp_path: Path, step: int
) -> None:
    with pytest.raises(PreemptedError, match=f"step {step} of"):
        hamjax.train(tiny(), tmp_path / "run", on_dispatch=sigterm_at(step))
    assert not (tmp_path / "run" / "report" / "test.json").exists()
    result = hamjax.train(tiny(), tmp_path / "run")
    assert result is not None
    assert int(result.state.step) == 2 * EPOCH
    assert comparable(tmp_path / "run") == comparable(finished)


class Killed(Exception):
    """Stands for what leaves a run no time for anything."""


def test_a_run_killed_after_a_validation_goes_on_from_the_checkpoint_before_it(
    finished: Path, tiny: Tiny, tmp_path: Path
) -> None:
    workdir = tmp_path / "run"
    checkpoint = workdir / "checkpoints" / "last" / str(EPOCH)
    written = set()

    def kill(step: int) -> None:
        if step > EPOCH:
            raise Killed

    for _ in range(3):
        with pytest.raises(Killed):
            hamjax.train(tiny(), workdir, on_dispatch=kill)
        written.add((checkpoint.stat().st_ino, checkpoint.stat().st_mtime_ns))
    assert len(written) == 1  # to write it anew would be to be without it for a moment
    assert hamjax.evaluate(workdir, split="val").summary["checkpoint"] == {"name": "best", "step": EPOCH}
    assert hamjax.train(tiny(), workdir) is not None
    assert comparable(workdir) == comparable(finished)


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_good_checkpoint(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(DivergedError) as raised:
        hamjax.train(tiny(optimizer__learning_rate=1e30, optimizer__schedule="none"), tmp_path / "run")
    assert raised.value.exit_status == 3
    assert not list((tmp_path / "run" / "checkpoints" / "last").glob("[0-9]*"))


def test_two_jobs_in_one_directory_are_refused(tiny: Tiny, tmp_path: Path) -> None:
    with lock.run_lock(tmp_path), pytest.raises(UserError, match="another process"):
        hamjax.train(tiny(), tmp_path)


def test_a_batch_that_the_devices_cannot_share_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"global_batch_size=18: .* 4 devices.* use 16 or 20"):
        hamjax.train(tiny(train__global_batch_size=18), tmp_path / "run")


def test_a_collapsed_run_raises_its_alarm(tiny: Tiny, tmp_path: Path) -> None:
    result = hamjax.train(
        tiny(optimizer__learning_rate=1e-12, optimizer__schedule="none", train__epochs=1), tmp_path / "run"
    )
    assert result is not None
    assert any(alarm.startswith("collapse") for alarm in result.report.summary["alarms"])
    assert any("alarm" in line for line in read_records(tmp_path / "run" / "metrics.jsonl"))
    assert '<body><section class="alarms"' in (tmp_path / "run" / "report" / "index.html").read_text()


def _windows(workdir: Path) -> list[int]:
    return [line["step"] for line in read_records(workdir / "metrics.jsonl") if "train/loss" in line]


def test_windows_end_at_the_first_end_of_a_dispatch(finished: Path, tiny: Tiny, tmp_path: Path) -> None:
    config = tiny(train__epochs=1, train__steps_per_dispatch=2)  # of 1, 2, 2, ... steps
    result = hamjax.train(config, tmp_path / "run")
    assert result is not None
    assert int(result.state.step) == EPOCH
    assert _windows(tmp_path / "run") == [5, 11, 15, 21, 23]
    assert _windows(finished) == [5, 10, 15, 20, 23, 25, 30, 35, 40, 45, 46]


# The commands, as a user gives them.


def test_evaluating_a_checkpoint_reproduces_the_report(finished: Path, unreported: Path, tmp_path: Path) -> None:
    command = [sys.executable, "scripts/evaluate_checkpoint.py", "--workdir", unreported, "--out", tmp_path / "out"]
    # As many as trained the run: other parts of a batch may be rounded differently.
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": str(jax.device_count())}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    for name in ("test.json", "predictions_test.csv"):
        assert (tmp_path / "out" / name).read_text() == (finished / "report" / name).read_text()
    assert {p.name for p in (tmp_path / "out").iterdir()} == set(REPORT)


@pytest.mark.parametrize(("asked", "name", "step"), [("last", "last", 46), ("43", "last", 43)])
def test_a_checkpoint_can_be_chosen(finished: Path, asked: str, name: str, step: int) -> None:
    report = hamjax.evaluate(finished, checkpoint=asked, split="val")
    assert report.summary["checkpoint"] == {"name": name, "step": step}
    assert report.summary["partition"] == "val"


def _no_checkpoints(workdir: Path) -> None:
    shutil.rmtree(workdir / "checkpoints")


def _truncated(workdir: Path) -> None:
    for file in (workdir / "checkpoints").rglob("*"):
        if file.is_file() and file.stat().st_size > 100:
            os.truncate(file, 50)


def _foreign(workdir: Path) -> None:
    for file in (workdir / "checkpoints").rglob("host/metadata"):
        host = json.loads(file.read_text())
        file.write_text(json.dumps(sealed(host | {"identity": host["identity"] | {"seed": 7}})))


def _edited(workdir: Path) -> None:
    for file in (workdir / "checkpoints").rglob("host/metadata"):
        file.write_text(file.read_text().replace('"best"', '"worst"'))


def _no_run(workdir: Path) -> None:
    shutil.rmtree(workdir)


@pytest.mark.parametrize(
    ("damage", "message"),
    [(_no_checkpoints, "expected the checkpoints of a run, got none"), (_truncated, "whole checkpoint"),
     (_foreign, "belongs to another run"), (_edited, "is not as it was written"),
     (_no_run, "expected a run directory")],
)  # fmt: skip
def test_a_bad_checkpoint_is_refused(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[Path], None], message: str
) -> None:
    workdir = Path(shutil.copytree(finished, tmp_path / "run"))
    damage(workdir)
    assert program.run("evaluate", "--workdir", workdir, "--out", tmp_path / "out") == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert "Traceback" not in errors
