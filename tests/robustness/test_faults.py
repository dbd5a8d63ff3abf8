"""What goes wrong around a run ends it with a message and loses nothing: the same command then goes on.

Every fault meets a process of its own, at a moment read off what it says. The runs begin as a copy
of a finished one without its last checkpoint: six steps, a validation and a report are left.
"""

import contextlib
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import hamjax
from hamjax.models.initialization import init_variables
from hamjax.models.pretrained import save_weights
from hamjax.models.registry import create_model
from hamjax.runtime.errors import UserError
from hamjax.runtime.files import write_atomically
from hamjax.training.run_directory.metrics_log import Records, read_records
from hamjax.training.setup.network import initial_variables, locate_weights
from tests.helpers.started import (
    BEFORE,
    LAST,
    Tiny,
    comparable,
    end,
    goes_on_as_undisturbed,
    halted,
    started,
    steps,
    wait_for,
)

ROOM = 100_000  # bytes: less than a checkpoint's files


@pytest.fixture
def nowhere(tmp_path: Path) -> dict[str, str]:
    """Variables that name a home which cannot be, not even for root."""
    (tmp_path / "file").write_text("")
    names = ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR")
    return dict.fromkeys(names, str(tmp_path / "file" / "folder"))


@contextlib.contextmanager
def _room_for(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond so many bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.slow
def test_a_disk_that_is_full_at_a_checkpoint(tiny: Tiny, unfinished: Path, finished: Path) -> None:
    with started(tiny, unfinished) as process:
        wait_for(process, f"step {LAST - 1}/{LAST}")
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (ROOM, ROOM))
        errors = end(process, 2)
    assert f"hamjax: {unfinished}/checkpoints: expected to write a checkpoint, got" in errors
    assert "Traceback" not in errors, errors  # of orbax's threads
    assert "free some space and start the same command again" in errors
    assert steps(unfinished) == {str(BEFORE)}
    goes_on_as_undisturbed(tiny, unfinished, finished)


@pytest.mark.slow
def test_a_disk_that_is_full_when_metrics_are_recorded(tiny: Tiny, unfinished: Path, finished: Path) -> None:
    with started(tiny, unfinished) as process:
        wait_for(process, f"resumed at step {BEFORE}")
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (0, 0))
        errors = end(process, 2)
    # The disk may be full when the records are taken over from the run before, or at the first line that is added.
    said = (f"{unfinished}/metrics.jsonl: expected to write it, got", f"{unfinished}: expected to record metrics, got")
    assert errors.startswith(tuple(f"hamjax: {text}" for text in said))
    assert "and start the same command again" in errors
    assert steps(unfinished) == {str(BEFORE)}
    goes_on_as_undisturbed(tiny, unfinished, finished)


@pytest.mark.slow
def test_a_disk_that_is_full_at_the_report(tiny: Tiny, unreported: Path, finished: Path) -> None:
    with started(tiny, unreported) as process:
        wait_for(process, f"resumed at step {LAST}")
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (ROOM, ROOM))
        errors = end(process, 2)
    assert "Traceback" not in errors
    assert f"hamjax: {unreported}/report/" in errors
    assert "expected to write it, got" in errors
    assert not (unreported / "report" / "test.json").exists()
    goes_on_as_undisturbed(tiny, unreported, finished)


def test_what_does_not_fit_the_disk_leaves_what_was_there(tmp_path: Path) -> None:
    write_atomically(tmp_path / "file", "before")
    with _room_for(1_000), pytest.raises(UserError, match="file: expected to write it, got .*; free some space"):
        write_atomically(tmp_path / "file", 2_000 * "x")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["before"]


def test_a_report_goes_only_where_there_can_be_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="expected to write it, got .*; .* name another folder"):
        write_atomically(tmp_path / "file" / "report" / "test.json", "")


def _record_much(records: Records) -> None:
    for step in range(1_000):
        records.write(step, train__loss=1.0, train__accuracy=0.5)


def test_a_full_disk_never_keeps_the_recorder_waiting(tmp_path: Path) -> None:
    records = Records(tmp_path, 0)
    with _room_for(10_000), pytest.raises(UserError, match="expected to record metrics, got"):
        _record_much(records)
    records.close()


def test_what_a_crash_left_between_the_records_is_passed_over(tmp_path: Path) -> None:
    records = Records(tmp_path, 0)
    records.write(1, epoch=1, train__loss=1.0)
    records.write(2, epoch=1, train__loss=0.5)
    records.close()
    path = tmp_path / "metrics.jsonl"
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + b'\0\0\xff\n5\n{}\n{"step": "1"}\n' + 9_999 * b"[" + b"\n" + second + second[:20])
    assert [line["train/loss"] for line in read_records(path)] == [1.0, 0.5]
    Records(tmp_path, 1).close()
    assert path.read_bytes() == first


@pytest.mark.slow
@pytest.mark.parametrize("vanishing", ["checkpoints", "."])
def test_a_folder_that_vanishes_during_a_run(tiny: Tiny, unfinished: Path, finished: Path, vanishing: str) -> None:
    folder, away = unfinished / vanishing, unfinished.with_name("away")
    with started(tiny, unfinished) as process:
        wait_for(process, f"step {LAST - 1}/{LAST}")
        folder.rename(away)
        errors = end(process, 2)
    assert "Traceback" not in errors
    assert "gone; bring the folder back and start the same command again" in errors
    assert not folder.exists()
    away.rename(folder)
    goes_on_as_undisturbed(tiny, unfinished, finished)


def test_a_clock_that_goes_backwards(
    tiny: Tiny, unfinished: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, real = time.time() - 1e8, time.monotonic()
    monkeypatch.setattr(time, "time", lambda: start - 100 * (time.monotonic() - real))
    goes_on_as_undisturbed(tiny, unfinished, finished)
    assert min(line["wall_s"] for line in read_records(unfinished / "metrics.jsonl")) >= 0


@pytest.mark.slow
def test_a_second_job_on_a_run_directory_leaves_it_alone(tiny: Tiny, unfinished: Path, finished: Path) -> None:
    with started(tiny, unfinished) as first:
        wait_for(first, f"resumed at step {BEFORE}")
        with halted(first):
            before = {path: path.stat().st_mtime_ns for path in unfinished.rglob("*") if path.name != ".lock"}
            with started(tiny, unfinished) as second:
                errors = end(second, 2)
            assert before == {path: path.stat().st_mtime_ns for path in unfinished.rglob("*") if path.name != ".lock"}
        end(first, 0)
    assert "got one that another process is working in" in errors
    assert comparable(unfinished) == comparable(finished)


@pytest.mark.slow
def test_without_a_home_a_run_does_without_its_caches(
    tiny: Tiny, unfinished: Path, finished: Path, nowhere: dict[str, str]
) -> None:
    with started(tiny, unfinished, **nowhere) as process:
        wait_for(process, "compilation cache off (")
        end(process, 0)
    assert comparable(unfinished) == comparable(finished)


def test_without_a_home_weights_come_from_a_file(
    tmp_path: Path, nowhere: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = create_model("resnet50")
    save_weights(tmp_path / "w.npz", "resnet50", init_variables(model, image_size=32, seed=1), source="drawn")
    for name, value in nowhere.items():
        monkeypatch.setenv(name, value)
    config = hamjax.make_config(model="resnet50", strategy="s1", model__weights=str(tmp_path / "w.npz"))
    started, drawn = (initial_variables(config, model, weights) for weights in (locate_weights(config), None))
    assert (
        started["params"]["backbone"]["conv1_conv"]["kernel"] != drawn["params"]["backbone"]["conv1_conv"]["kernel"]
    ).any()
    config.model.weights = "imagenet"
    with pytest.raises(UserError, match="expected a folder that can be written to, got .*; set XDG_CACHE_HOME"):
        locate_weights(config)
