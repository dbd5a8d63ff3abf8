"""The grid: which cells there are, how they run, and how they stop."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from hamjax.data.sources.synthetic import SyntheticSource
from hamjax.paper import reproduce, runner
from hamjax.paper.cells import describe, read_state, require_own_folders
from hamjax.runtime.errors import PreemptedError, UserError
from hamjax.training.setup.plan import make_plan
from tests.helpers import program
from tests.helpers.grid_runs import cells_of, finish, write_records

WAIT = "while :; do sleep 0.05; done"

SCRIPT = Path(__file__).parents[2] / "scripts" / "reproduce.py"


def _fake_python(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    """Let cells run a shell script instead of hamjax; $8 and on hold its words."""
    path = folder / "fake"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    monkeypatch.setattr(runner.sys, "executable", str(path))


def test_cells_are_listed_seed_by_seed_and_know_their_config(tmp_path: Path) -> None:
    cells = cells_of(
        tmp_path,
        "--config.train.epochs=3",
        protocols=["paper", "folds"],
        models=["cnn", "densenet201"],
        strategies=["s1", "s5"],
        seeds=[0, 7],
    )
    assert len(cells) == 2 * 2 * 2 * (1 + 5)
    assert [cell.name for cell in cells[:5]] == [
        "paper/cnn_s1_seed0",
        "paper/cnn_s5_seed0",
        "paper/densenet201_s1_seed0",
        "paper/densenet201_s5_seed0",
        "paper/cnn_s1_seed7",
    ]
    last = cells[-1]
    assert last.name == "folds/densenet201_s5_seed7_fold4"
    assert last.config.data.split == "fold4"
    assert (last.config.model.name, last.config.sampling.strategy, last.config.train.seed) == ("densenet201", "s5", 7)
    assert all(cell.config.train.epochs == 3 for cell in cells)
    assert len({cell.workdir for cell in cells}) == len(cells)


@pytest.mark.parametrize(
    ("words", "asked", "message"),
    [
        ((), {"models": ["vgg"]}, "--models"),
        ((), {"models": ["cnn", "cnn"]}, "each once"),
        ((), {"strategies": [""]}, "--strategies"),
        ((), {"protocols": ["fold0"]}, "--protocols"),
        ((), {"seeds": [1, 1]}, "--seeds"),
        (("--config.train.seed=3",), {}, "--seeds"),
        (("--config.data.split=honest",), {}, "--protocols"),
        (("--config.train.nonsense=3",), {}, "nonsense"),
        (("--config.train.epochs=0",), {}, "train.epochs"),
    ],
)
def test_what_is_no_grid_is_refused(tmp_path: Path, words: tuple[str, ...], asked: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        cells_of(tmp_path, *words, **asked)


def test_a_dry_run_counts_steps_and_writes_nothing(tmp_path: Path) -> None:
    cells = cells_of(tmp_path, strategies=["s1", "s3"])
    lines = reproduce.describe_plan(cells).splitlines()
    metadata = SyntheticSource(300).metadata
    for line, cell in zip(lines[1:3], cells, strict=True):
        assert f" {make_plan(cell.config, metadata).num_steps:,} " in line
        assert "not known" in line
        assert line.endswith("not run")
    assert not list(tmp_path.iterdir())


def test_a_dry_run_without_data_still_lists(tmp_path: Path) -> None:
    text = reproduce.describe_plan(cells_of(tmp_path, "--config.data.name=ham10000"))
    assert "paper/cnn_s1_seed0       0  not known  not known  not run" in text


def test_the_time_left_is_that_of_the_networks_own_steps(tmp_path: Path) -> None:
    cells = cells_of(tmp_path, models=["cnn", "resnet50"], strategies=["s1", "s2"])
    # 30 steps in 6 s; then killed, and 10 more in 6 s: 0.3 s a step
    write_records(cells[0], *({"step": s, "wall_s": w} for s, w in ((10, 2.0), (30, 6.0), (35, 1.0), (40, 6.0))))
    state = read_state(cells[0])
    assert (state.step, state.seconds, state.timed_steps) == (40, 12.0, 40)
    lines = [" ".join(line.split()) for line in describe(cells, [140, 1000, 10, 10]).splitlines()]
    assert lines[1:4] == [
        "paper/cnn_s1_seed0 0 140 30 s stopped at step 40",
        "paper/cnn_s2_seed0 1 1,000 0 h 05 min not run",
        "paper/resnet50_s1_seed0 2 10 not known not run",
    ]
    assert "0 h 06 min for 2 of them, not known for the others" in lines[-1]


def test_finished_cells_are_kept_and_a_failing_one_does_not_stop_the_grid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = cells_of(tmp_path, strategies=["s1", "s2", "s3"])
    finish(cells[0], *[[0, 1]] * 2)
    _fake_python(
        tmp_path, monkeypatch, 'case "$*" in *cnn_s2*) echo start; echo "hamjax: no"; echo luck; exit 3;; esac'
    )
    said: list[str] = []
    failed = runner.run_cells(cells, said.append)
    assert failed == [cells[1]]
    assert said[0] == "[1/3] paper/cnn_s1_seed0: finished before"
    assert "failed with status 3: no\nluck" in said[1]
    assert "finished" in said[2]
    state = read_state(cells[1])
    assert (str(state), state.failure) == ("failed, not run", "no\nluck")
    assert (cells[1].workdir / "log.txt").read_text() == "start\nhamjax: no\nluck\n"
    with pytest.raises(UserError, match="1 cells failed: paper/cnn_s2_seed0"):
        reproduce.require_none(failed)

    _fake_python(tmp_path, monkeypatch, "exit 0")
    assert runner.run_cells(cells, said.append) == []
    assert read_state(cells[1]).failure == ""


def test_a_cell_that_was_preempted_stops_the_grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = cells_of(tmp_path, "--config.runtime.preempt_exit_code=99", strategies=["s1", "s2"])
    _fake_python(tmp_path, monkeypatch, "exit 99")
    with pytest.raises(PreemptedError):
        runner.run_cells(cells, lambda line: None)
    assert not cells[1].workdir.exists()
    assert not read_state(cells[0]).failure


@pytest.mark.parametrize(
    ("number", "expected"),
    [(signal.SIGTERM, PreemptedError), (signal.SIGHUP, PreemptedError), (signal.SIGINT, KeyboardInterrupt)],
)
def test_a_signal_is_passed_on_and_the_cell_may_end_in_peace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, expected: type[BaseException]
) -> None:
    cells = cells_of(tmp_path, strategies=["s1", "s2"])
    started = tmp_path / "started"
    _fake_python(tmp_path, monkeypatch, f'trap "echo saved; exit 143" TERM; touch {started}; {WAIT}')

    def send() -> None:
        while not started.exists():
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    threading.Thread(target=send).start()
    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with pytest.raises(expected):
        runner.run_cells(cells, lambda line: None)
    assert (cells[0].workdir / "log.txt").read_text() == "saved\n"
    assert not cells[1].workdir.exists()
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == handlers


def test_a_folder_of_another_config_is_refused_by_the_key_that_differs(tmp_path: Path) -> None:
    cell = cells_of(tmp_path)[0]
    cell.workdir.mkdir(parents=True)
    record = {"config": cell.config.to_dict(), "data_fingerprint": "0", "split_fingerprint": "0"}
    (cell.workdir / "config.json").write_text(json.dumps(record))
    require_own_folders(cells_of(tmp_path))
    with pytest.raises(UserError, match="train.epochs"):
        require_own_folders(cells_of(tmp_path, "--config.train.epochs=3"))


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["--seeds", "x"], 2, "--seeds"),
        (["--nonsense"], 2, "--nonsense"),
        (["--config.train.epochs", "3"], 2, "KEY=VALUE"),
        (["--cell", "20"], 2, "expected 0 to 19"),
        (["--config.data.source_dir=nowhere"], 2, "nowhere"),
    ],
)
def test_the_command_refuses_with_status_2(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    status: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert program.run("reproduce", "--workdir", "grid", *words) == status
    assert message in capsys.readouterr().err


def _start(root: Path, data_dir: Path) -> subprocess.Popen[str]:
    command = [sys.executable, str(SCRIPT), "--workdir", str(root), "--models", "cnn", "--strategies", "s1,s5",
               "--config.data.name=synthetic", "--config.data.synthetic_images=300",
               "--config.data.image_size=16", f"--config.data.data_dir={data_dir}", "--config.sampling.threshold=40",
               "--config.train.epochs=8", "--config.train.log_every_steps=5"]  # fmt: skip
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def _wait_for_step(workdir: Path, step: int, process: subprocess.Popen[str]) -> None:
    records = workdir / "metrics.jsonl"
    while process.poll() is None and not (records.exists() and f'"step": {step}' in records.read_text()):
        time.sleep(0.02)
    assert process.poll() is None, process.communicate()[0]


@pytest.mark.slow
def test_a_grid_killed_twice_ends_as_one_left_alone(tmp_path: Path, data_dir: Path) -> None:
    alone, output = _start(tmp_path / "alone", data_dir), ""
    output, _ = alone.communicate(timeout=900)
    assert alone.returncode == 0, output
    first, second = (Path("paper", f"cnn_{strategy}_seed0") for strategy in ("s1", "s5"))

    with _start(tmp_path / "killed", data_dir) as process:
        _wait_for_step(tmp_path / "killed" / first, 50, process)
        os.killpg(process.pid, signal.SIGKILL)
    with _start(tmp_path / "killed", data_dir) as process:
        _wait_for_step(tmp_path / "killed" / second, 50, process)
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(300) == PreemptedError.exit_status
    with _start(tmp_path / "killed", data_dir) as process:
        output, _ = process.communicate(timeout=900)
    assert process.returncode == 0, output
    assert "[1/2] paper/cnn_s1_seed0: finished before" in output
    for path in (first / "report" / "predictions_test.csv", second / "report" / "predictions_test.csv",
                 *map(Path, ("tables.txt", "tables.json", "table4.csv", "table7.csv"))):  # fmt: skip
        assert (tmp_path / "killed" / path).read_text() == (tmp_path / "alone" / path).read_text(), path
