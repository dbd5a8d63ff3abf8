"""The Slurm scripts run with stand-ins for srun and scontrol, which set what Slurm sets."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hamjax.runtime.errors import PreemptedError
from hamjax.training.run_directory.metrics_log import read_records

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "scripts" / "cluster"
BEGINS, REQUEUED = "show job 4711", "requeue 4711"


def _batch(stand_ins: Path, script: str, *words: str, **environment: str) -> subprocess.Popen[str]:
    """Start a batch script as Slurm does, on a node of our own."""
    slurm = {"SLURM_JOB_ID": "4711", "SLURM_NTASKS": "1", "SLURM_CPUS_PER_TASK": "1", "SLURM_SUBMIT_DIR": str(ROOT)}
    variables = {
        **os.environ,
        "PYTHON": sys.executable,
        "PATH": f"{stand_ins}:{os.environ['PATH']}",
        **slurm,
        **environment,
    }
    return subprocess.Popen(
        ["bash", str(CLUSTER / script), *words], cwd=ROOT, env=variables, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def _asked(stand_ins: Path) -> list[str]:
    log = stand_ins / "scontrol.log"
    return log.read_text().splitlines() if log.exists() else []


@pytest.fixture
def ending(tmp_path: Path) -> Callable[[str], str]:
    """Make a Python that says its arguments and ends as a line of bash does."""

    def make(how: str) -> str:
        path = tmp_path / "python"
        path.write_text(f'#!/usr/bin/env bash\necho "$@"\n{how}\n')
        path.chmod(0o755)
        return str(path)

    return make


DIES_ALONE = "[[ $SLURM_PROCID == 1 ]] && kill -KILL $$; exit 75"


@pytest.mark.parametrize(
    ("how", "status", "asked"),
    [
        ("exit 0", 0, []),
        ("exit 2", 2, []),
        ("[[ $SLURM_PROCID == 0 ]] || sleep 0.5; exit 2", 2, []),  # not the status of one that srun ended
        ("exit 3", 3, []),
        ("exit 75", 75, [BEGINS, REQUEUED]),
        ("exit 134", 134, [BEGINS, REQUEUED]),
        (DIES_ALONE, 137, [BEGINS, REQUEUED]),
        ("exit 143", 143, [BEGINS, REQUEUED]),
    ],
)
def test_slurm_requeues_what_is_to_go_on_and_nothing_else(
    stand_ins: Path, ending: Callable[[str], str], how: str, status: int, asked: list[str]
) -> None:
    process = _batch(stand_ins, "slurm_run.sbatch", PYTHON=ending(how), SLURM_NTASKS="2")
    output, _ = process.communicate(timeout=30)
    assert (process.returncode, _asked(stand_ins)) == (status, asked), output


@pytest.mark.parametrize(
    ("how", "restarts", "state", "requeued"),
    [
        ("exit 75", "20", "RUNNING", False),  # again and again
        ("exit 143", "99", "RUNNING", True),
        ("exit 143", "0", "CANCELLED", False),  # by scancel
    ],
)
def test_slurm_requeues_within_bounds(
    stand_ins: Path, ending: Callable[[str], str], how: str, restarts: str, state: str, requeued: bool
) -> None:
    (stand_ins / "job_state").write_text(state)
    process = _batch(stand_ins, "slurm_run.sbatch", PYTHON=ending(how), SLURM_RESTART_COUNT=restarts)
    process.communicate(timeout=30)
    assert (REQUEUED in _asked(stand_ins)) == requeued


def test_a_job_of_the_array_runs_its_cell(stand_ins: Path, ending: Callable[[str], str]) -> None:
    process = _batch(stand_ins, "slurm_grid.sbatch", "--workdir", "W", PYTHON=ending(""), SLURM_ARRAY_TASK_ID="7")
    output, _ = process.communicate(timeout=30)
    assert output.split()[:5] == ["scripts/reproduce.py", "--cell", "7", "--workdir", "W"]
    assert "--config.runtime.distributed=off" in output


def test_one_job_of_an_array_is_requeued_alone(stand_ins: Path, ending: Callable[[str], str]) -> None:
    array = {"SLURM_ARRAY_JOB_ID": "4711", "SLURM_ARRAY_TASK_ID": "7"}  # the id of the array is that of a job, too
    process = _batch(stand_ins, "slurm_grid.sbatch", "--workdir", "W", PYTHON=ending("exit 143"), **array)
    process.communicate(timeout=30)
    assert _asked(stand_ins) == ["show job 4711_7", "requeue 4711_7"]


@pytest.mark.parametrize(
    ("asked", "waits"),
    [((), ["--config.runtime.join_seconds=600"]), (("--config.runtime.join_seconds=20",), [])],
)
def test_a_job_waits_long_for_its_processes_unless_asked_otherwise(
    stand_ins: Path, ending: Callable[[str], str], asked: tuple[str, ...], waits: list[str]
) -> None:
    process = _batch(stand_ins, "slurm_run.sbatch", "--config", "C", *asked, PYTHON=ending(""))
    output, _ = process.communicate(timeout=30)
    assert output.split() == ["-m", "hamjax.main", "--config", "C", *asked, *waits]


def _free_job_id() -> str:
    """Return a job's number whose port, as JAX computes it, nobody listens on."""
    for port in range(61440, 65536):
        with socket.socket() as probe:
            try:
                probe.bind(("localhost", port))
            except OSError:
                continue
            return str(port - 61440 + 4096)
    raise OSError("no port is free")


def _wait_for(condition: Callable[[], Any], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 240
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "took too long"
        time.sleep(0.05)


@pytest.mark.slow
def test_a_slurm_job_of_two_processes_is_preempted_requeued_and_finishes(stand_ins: Path, tmp_path: Path) -> None:
    job, workdir = _free_job_id(), tmp_path / "run"
    words = [
        "--config", "configs/quickstart.py", "--workdir", str(workdir), f"--config.data.data_dir={tmp_path / 'data'}",
        "--config.data.synthetic_images=300", "--config.data.image_size=16", "--config.sampling.threshold=40",
        "--config.train.epochs=8", "--config.train.log_every_steps=3",
    ]  # fmt: skip
    variables = {"SLURM_JOB_ID": job, "SLURM_NTASKS": "2", "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"}

    process = _batch(stand_ins, "slurm_run.sbatch", *words, **variables)
    records = workdir / "metrics.jsonl"
    _wait_for(lambda: records.exists() and read_records(records), process)
    for pid in (process.pid, int((stand_ins / "srun.pid").read_text())):  # Slurm signals the step, and maybe the script
        os.kill(pid, signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == PreemptedError.exit_status, output
    assert _asked(stand_ins) == [f"show job {job}", f"requeue {job}"]
    assert "on 2 x" in output
    assert list((workdir / "checkpoints" / "last").iterdir())

    process = _batch(stand_ins, "slurm_run.sbatch", *words, **variables, SLURM_RESTART_COUNT="1")
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    assert "resumed at step" in output
    assert (workdir / "report" / "test.json").exists()
    assert len(_asked(stand_ins)) == 2
