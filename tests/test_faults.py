"""What goes wrong around a run ends it with a message and loses nothing: the same command then goes on.

Every fault meets a process of its own, at a moment read off what it says. The runs begin as a copy
of a finished one without its last checkpoint: six steps, a validation and a report are left.
"""

import contextlib
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import hamjax
from hamjax.config import Config
from hamjax.errors import UserError
from hamjax.models import create_model, init_variables
from hamjax.network import initial_variables
from hamjax.pretrained import save_weights
from hamjax.telemetry import Records, read_records
from tests.test_end_to_end import comparable

Tiny = Callable[..., Config]
CONFIG = """
import hamjax
def get_config():
    return hamjax.Config.from_dict({settings!r})
"""
LAST, BEFORE = 46, 40  # the steps of the finished run's last two checkpoints
ROOM = 100_000  # bytes: less than a checkpoint's files


@pytest.fixture
def whole(finished: Path, tmp_path: Path) -> Path:
    """A run that has still to write its report."""
    workdir = Path(shutil.copytree(finished, tmp_path / "run"))
    shutil.rmtree(workdir / "report")
    return workdir


@pytest.fixture
def workdir(whole: Path) -> Path:
    """A run that has still to take its last steps."""
    shutil.rmtree(whole / "checkpoints" / "last" / str(LAST))
    return whole


@pytest.fixture
def nowhere(tmp_path: Path) -> dict[str, str]:
    """Variables that name a home which cannot be, not even for root."""
    (tmp_path / "file").write_text("")
    names = ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR")
    return dict.fromkeys(names, str(tmp_path / "file" / "folder"))


@contextlib.contextmanager
def _started(tiny: Tiny, workdir: Path, *more: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Start the command on a run directory, on as many devices as `finished` had."""
    config = workdir.with_name("config.py")
    config.write_text(CONFIG.format(settings=tiny().to_dict()))
    command = [sys.executable, "-m", "hamjax.main", "--config", str(config), "--workdir", str(workdir), *more]
    variables = os.environ | {"JAX_NUM_CPU_DEVICES": "8", "PYTHONUNBUFFERED": "1"} | environment
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=variables) as process:
        try:
            yield process
        finally:
            process.kill()


def _wait_for(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if text in line:
            return
    pytest.fail(f"{text!r} was not said: {process.communicate()[1]}")


def _end(process: subprocess.Popen[str], status: int) -> str:
    """Wait for the end; return what was said on stderr."""
    _, errors = process.communicate(timeout=120)
    assert process.returncode == status, errors
    return errors


@contextlib.contextmanager
def _halted(process: subprocess.Popen[str]) -> Iterator[None]:
    """Let a process stand still meanwhile."""
    process.send_signal(signal.SIGSTOP)
    yield
    process.send_signal(signal.SIGCONT)


def _steps(workdir: Path) -> set[str]:
    return {path.name for path in (workdir / "checkpoints" / "last").iterdir() if path.name.isdigit()}


def _goes_on_as_undisturbed(tiny: Tiny, workdir: Path, finished: Path) -> None:
    assert hamjax.train(tiny(), workdir) is not None
    assert comparable(workdir) == comparable(finished)


@pytest.mark.slow
def test_a_disk_that_is_full_at_a_checkpoint(tiny: Tiny, workdir: Path, finished: Path) -> None:
    with _started(tiny, workdir) as process:
        _wait_for(process, f"step {LAST - 1}/{LAST}")
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (ROOM, ROOM))
        errors = _end(process, 2)
    assert f"hamjax: {workdir}/checkpoints: expected to write a checkpoint, got" in errors
    assert "free some space and start the same command again" in errors
    assert _steps(workdir) == {str(BEFORE)}
    _goes_on_as_undisturbed(tiny, workdir, finished)


@pytest.mark.slow
def test_a_disk_that_is_full_when_metrics_are_recorded(tiny: Tiny, workdir: Path, finished: Path) -> None:
    with _started(tiny, workdir) as process:
        _wait_for(process, f"resumed at step {BEFORE}")
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (0, 0))
        errors = _end(process, 2)
    assert f"hamjax: {workdir}: expected to record metrics, got" in errors
    assert "and start the same command again" in errors
    assert _steps(workdir) == {str(BEFORE)}
    _goes_on_as_undisturbed(tiny, workdir, finished)


def _record_much(records: Records) -> None:
    for step in range(1_000):
        records.write(step, train__loss=1.0, train__accuracy=0.5)


def test_a_full_disk_never_keeps_the_recorder_waiting(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    records = Records(tmp_path, 0)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(UserError, match="expected to record metrics, got"):
            _record_much(records)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    records.close()


@pytest.mark.slow
@pytest.mark.parametrize("vanishing", ["checkpoints", "."])
def test_a_folder_that_vanishes_during_a_run(tiny: Tiny, workdir: Path, finished: Path, vanishing: str) -> None:
    folder, away = workdir / vanishing, workdir.with_name("away")
    with _started(tiny, workdir) as process:
        _wait_for(process, f"step {LAST - 1}/{LAST}")
        folder.rename(away)
        errors = _end(process, 2)
    assert "Traceback" not in errors
    assert "gone; bring the folder back and start the same command again" in errors
    assert not folder.exists()
    away.rename(folder)
    _goes_on_as_undisturbed(tiny, workdir, finished)


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _empty(path: Path) -> None:
    os.truncate(path, 0)


DAMAGES = [("state/ocdbt.process_0/d/*", _empty), ("state/ocdbt.process_0/d/*", Path.unlink),
           ("state/_METADATA", _cut), ("host/metadata", _cut)]  # fmt: skip


def _damage(workdir: Path, step: int, files: str, damage: Callable[[Path], None]) -> None:
    for path in (workdir / "checkpoints" / "last" / str(step)).glob(files):
        damage(path)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # orbax's event loop, after the error
@pytest.mark.parametrize(("files", "damage"), DAMAGES)
def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    tiny: Tiny,
    whole: Path,
    finished: Path,
    files: str,
    damage: Callable[[Path], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    _damage(whole, LAST, files, damage)
    _goes_on_as_undisturbed(tiny, whole, finished)
    said = capsys.readouterr().out
    assert f"skipped a damaged checkpoint: {whole}/checkpoints/last/{LAST}: expected a whole checkpoint" in said
    assert f"resumed at step {BEFORE}" in said


@pytest.mark.slow
def test_without_a_whole_checkpoint_the_run_is_refused(tiny: Tiny, whole: Path) -> None:
    _damage(whole, LAST, "host/metadata", _cut)
    _damage(whole, BEFORE, "state/_METADATA", _cut)
    with _started(tiny, whole) as process:
        errors = _end(process, 2)
    assert "Traceback" not in errors
    for step in (LAST, BEFORE):
        assert f"last/{step}: expected a whole checkpoint" in errors
    assert "No checkpoint is left to go on from; use a new folder." in errors
    assert _steps(whole) == {str(BEFORE), str(LAST)}


def test_a_clock_that_goes_backwards(
    tiny: Tiny, workdir: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, real = time.time() - 1e8, time.monotonic()
    monkeypatch.setattr(time, "time", lambda: start - 100 * (time.monotonic() - real))
    _goes_on_as_undisturbed(tiny, workdir, finished)
    assert min(line["wall_s"] for line in read_records(workdir / "metrics.jsonl")) >= 0


@pytest.mark.slow
def test_a_second_job_on_a_run_directory_leaves_it_alone(tiny: Tiny, workdir: Path, finished: Path) -> None:
    with _started(tiny, workdir) as first:
        _wait_for(first, f"resumed at step {BEFORE}")
        with _halted(first):
            before = {path: path.stat().st_mtime_ns for path in workdir.rglob("*") if path.name != ".lock"}
            with _started(tiny, workdir) as second:
                errors = _end(second, 2)
            assert before == {path: path.stat().st_mtime_ns for path in workdir.rglob("*") if path.name != ".lock"}
        _end(first, 0)
    assert "got one that another process is working in" in errors
    assert comparable(workdir) == comparable(finished)


@pytest.mark.slow
def test_without_a_home_a_run_does_without_its_caches(
    tiny: Tiny, workdir: Path, finished: Path, nowhere: dict[str, str]
) -> None:
    with _started(tiny, workdir, **nowhere) as process:
        _wait_for(process, "compilation cache off (")
        _end(process, 0)
    assert comparable(workdir) == comparable(finished)


def test_without_a_home_weights_come_from_a_file(
    tmp_path: Path, nowhere: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = create_model("resnet50")
    save_weights(tmp_path / "w.npz", "resnet50", init_variables(model, image_size=32, seed=1), source="drawn")
    for name, value in nowhere.items():
        monkeypatch.setenv(name, value)
    config = hamjax.make_config(model="resnet50", strategy="s1", model__weights=str(tmp_path / "w.npz"))
    started, drawn = (initial_variables(config, model, pretrained=pretrained) for pretrained in (True, False))
    assert (
        started["params"]["backbone"]["conv1_conv"]["kernel"] != drawn["params"]["backbone"]["conv1_conv"]["kernel"]
    ).any()
    config.model.weights = "imagenet"
    with pytest.raises(UserError, match="expected a folder for weights, got .*; set XDG_CACHE_HOME"):
        initial_variables(config, model, pretrained=True)


@pytest.mark.slow
def test_sigterm_during_compilation(tiny: Tiny, workdir: Path, finished: Path) -> None:
    with _started(tiny, workdir, "--config.runtime.compilation_cache=off") as process:
        _wait_for(process, f"resumed at step {BEFORE}")
        time.sleep(0.3)
        process.terminate()
        errors = _end(process, 143)
    assert re.search(f"stopped by SIGTERM at step ({BEFORE}|{BEFORE + 1}) of {LAST}", errors)  # before it, or after
    _goes_on_as_undisturbed(tiny, workdir, finished)


@pytest.mark.slow
def test_sigterm_during_evaluation(tiny: Tiny, workdir: Path, finished: Path) -> None:
    with _started(tiny, workdir) as process:
        _wait_for(process, f"step {LAST}/{LAST}")
        process.terminate()
        errors = _end(process, 143)
    assert f"stopped by SIGTERM at step {LAST} of {LAST}" in errors
    _goes_on_as_undisturbed(tiny, workdir, finished)


@pytest.mark.slow
def test_sigterm_during_a_checkpoint(tiny: Tiny, workdir: Path, finished: Path) -> None:
    with _started(tiny, workdir) as process:
        while not list((workdir / "checkpoints" / "last").glob("*tmp*")):
            assert process.poll() is None
            time.sleep(0.001)
        with _halted(process):
            assert list((workdir / "checkpoints" / "last").glob("*tmp*"))
            process.terminate()
        _end(process, 143)
    assert _steps(workdir) == {str(BEFORE), str(LAST)}
    _goes_on_as_undisturbed(tiny, workdir, finished)


@pytest.mark.slow
def test_a_second_sigterm_ends_a_run_at_once(tiny: Tiny, workdir: Path, finished: Path) -> None:
    with _started(tiny, workdir) as process:
        _wait_for(process, f"resumed at step {BEFORE}")
        while process.poll() is None:
            process.terminate()
            time.sleep(0.01)
        _end(process, 128 + signal.SIGTERM)
    assert str(BEFORE) in _steps(workdir)
    _goes_on_as_undisturbed(tiny, workdir, finished)
