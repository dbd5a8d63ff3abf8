"""What the processes of a run do when one of them is stopped, dies, fails or is another run's."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hamjax.commands import launch
from hamjax.models.initialization import init_variables
from hamjax.models.pretrained import save_weights
from hamjax.models.registry import create_model
from hamjax.runtime.distributed import connect
from hamjax.runtime.errors import PeerLostError, UserError
from hamjax.training.run_directory.lock import run_lock

CONFIG = """
import hamjax
def get_config():
    return hamjax.make_config(
        model="cnn", strategy="s5", data__name="synthetic", data__synthetic_images=300, data__image_size=16,
        data__data_dir={data!r}, data__split="honest", sampling__threshold=40, train__epochs=500,
        train__log_every_steps=1,
    )
"""
REPORTED_SECONDS = 120


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("peers")
    (folder / "config.py").write_text(CONFIG.format(data=str(folder / "data")))
    return folder / "config.py"


def _start(config: Path, workdir: Path) -> list[subprocess.Popen[bytes]]:
    """Start two processes."""
    workdir.parent.mkdir(exist_ok=True)
    words = ["--config", str(config), "--workdir", str(workdir)]
    with workdir.with_suffix(".0.log").open("w") as first, workdir.with_suffix(".1.log").open("w") as second:
        return launch.start(words, processes=2, cpu_devices=1, outputs=[first, second])


def _wait_for(text: str, log: Path) -> None:
    deadline = time.monotonic() + 120
    while text not in log.read_text():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize(("told", "number"), [(0, signal.SIGTERM), (1, signal.SIGTERM), (1, signal.SIGINT)])
def test_a_signal_to_one_process_saves_on_all_at_one_step(
    config: Path, tmp_path: Path, told: int, number: signal.Signals
) -> None:
    workdir = tmp_path / "run"
    processes = _start(config, workdir)
    _wait_for("step 3/", tmp_path / "run.0.log")
    processes[told].send_signal(number)
    assert [process.wait(60) for process in processes] == [143, 143]
    said = [re.findall(r"stopped by \w+ at step (\d+)", (tmp_path / f"run.{i}.log").read_text()) for i in (0, 1)]
    assert said[0] == said[1]
    assert (workdir / "checkpoints" / "last" / said[0][0]).is_dir()


@pytest.mark.slow
@pytest.mark.parametrize(("dies", "how"), [(0, signal.SIGKILL), (1, signal.SIGKILL), (1, signal.SIGSTOP)])
def test_survivors_report_a_dead_worker(config: Path, tmp_path: Path, dies: int, how: signal.Signals) -> None:
    processes = _start(config, tmp_path / "run")
    _wait_for("step 3/", tmp_path / "run.0.log")
    processes[dies].send_signal(how)  # stopped, it says nothing and keeps its connections: as a machine that hangs
    begun = time.monotonic()
    try:
        status = processes[1 - dies].wait(REPORTED_SECONDS)
    finally:
        processes[dies].kill()
        processes[dies].wait()
    print(f"reported after {time.monotonic() - begun:.0f} s")
    said = (tmp_path / f"run.{1 - dies}.log").read_text()
    # A failed computation is ours to report; where none fails, JAX ends the process when heartbeats stay away.
    assert status in (PeerLostError.exit_status, -signal.SIGABRT)
    assert "most likely one has ended" in said or "another task died" in said


def _run(config: Path, workdir: Path, *words: str, cwd: Path | None = None) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "hamjax.main", "--config", str(config), "--workdir", str(workdir), *words]
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"}
    return subprocess.Popen(
        command, env=environment, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("host", ["localhost", ""])
def test_a_port_that_is_taken_is_refused(host: str) -> None:
    with socket.socket() as taken:
        taken.bind((host, 0))
        taken.listen()
        with pytest.raises(UserError, match=r"expected a port of this machine to listen at, got Address .* in use"):
            connect(f"localhost:{taken.getsockname()[1]},2,0")


def test_a_process_that_meets_nobody_says_so(config: Path, tmp_path: Path) -> None:
    meeting = f"--config.runtime.distributed=localhost:{launch.free_port()},2,0"
    process = _run(config, tmp_path / "run", meeting, "--config.runtime.join_seconds=1")
    _, said = process.communicate(timeout=60)
    assert process.returncode == PeerLostError.exit_status
    assert "expected to meet the other processes within 1 s" in said


@pytest.mark.slow
def test_processes_of_different_runs_refuse_each_other(config: Path, tmp_path: Path) -> None:
    port = launch.free_port()
    processes = [
        _run(
            config, tmp_path / "run", f"--config.runtime.distributed=localhost:{port},2,{i}", f"--config.train.seed={i}"
        )
        for i in range(2)
    ]
    for process in processes:
        _, said = process.communicate(timeout=120)
        assert process.returncode == UserError.exit_status, said
        assert "process 1: expected the same train.seed, seed as process 0" in said


@pytest.mark.slow
def test_processes_that_start_from_other_weights_refuse_each_other(config: Path, tmp_path: Path) -> None:
    model, port = create_model("resnet50"), launch.free_port()
    for i in range(2):
        (tmp_path / f"{i}").mkdir()
        variables = init_variables(model, image_size=32, seed=i)
        save_weights(tmp_path / f"{i}" / "start.npz", "resnet50", variables, source="drawn")
    words = ["--config.model.name=resnet50", "--config.model.weights=start.npz", "--config.data.image_size=32"]
    processes = [
        _run(
            config,
            tmp_path / "run",
            f"--config.runtime.distributed=localhost:{port},2,{i}",
            *words,
            cwd=tmp_path / f"{i}",
        )
        for i in range(2)
    ]
    for process in processes:
        _, said = process.communicate(timeout=120)
        assert process.returncode == UserError.exit_status, said
        assert "process 1: expected the same starting weights as process 0, got another" in said
    assert not (tmp_path / "run" / "config.json").exists()


@pytest.mark.slow
def test_a_run_directory_that_the_processes_do_not_share_is_refused_at_the_start(config: Path, tmp_path: Path) -> None:
    port = launch.free_port()
    processes = [
        _run(config, tmp_path / f"{i}", f"--config.runtime.distributed=localhost:{port},2,{i}") for i in (0, 1)
    ]
    for process in processes:
        _, said = process.communicate(timeout=120)
        assert process.returncode == UserError.exit_status, said
        assert "expected the run directory of process 0, got one that lacks what process 0 wrote" in said
    assert not (tmp_path / "0" / "config.json").exists()


@pytest.mark.slow
def test_what_one_process_cannot_do_ends_all(config: Path, tmp_path: Path) -> None:
    with run_lock(tmp_path / "run"):  # process 0 finds it taken
        processes = _start(config, tmp_path / "run")
        assert [process.wait(120) for process in processes] == [2, 2]
    for index in range(2):
        assert "another process is working in" in (tmp_path / f"run.{index}.log").read_text()


@pytest.mark.parametrize(
    "words", ["yes", "host:1,2", "host,2,0", "host:1,2,2", "host:1,two,0", ":1,2,0", "host:99999,2,0"]
)
def test_a_meeting_point_must_be_spelled_right(words: str) -> None:
    with pytest.raises(UserError, match="expected auto, off, or HOST:PORT,COUNT,INDEX"):
        connect(words)
