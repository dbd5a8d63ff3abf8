"""What scripts/cluster/ does: linted, validated, dry-run, and run with stand-ins for Slurm's and Google's commands."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from hamjax.errors import DivergedError, PeerLostError, PreemptedError, UserError
from hamjax.main import parse
from hamjax.telemetry import read_records

ROOT = Path(__file__).parents[1]
CLUSTER = ROOT / "scripts" / "cluster"
STAND_INS = Path(__file__).parent / "stand_ins"
SHELL = [*ROOT.glob("scripts/**/*.sh"), *CLUSTER.glob("*.sbatch"), ROOT / ".ci" / "run", *STAND_INS.glob("*.sh")]
BEGINS, REQUEUED = "show job 4711", "requeue 4711"
KUBERNETES = CLUSTER / "kubernetes.yaml"


def _run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in command], cwd=ROOT, env=os.environ | environment, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of stand-ins, to be put first on PATH; what they are asked is kept in it."""
    (tmp_path / "bin").mkdir()
    for file in STAND_INS.iterdir():
        (tmp_path / "bin" / file.stem).symlink_to(file)
    return tmp_path / "bin"


def _lint(tool: str, *words: str | Path) -> None:
    done = _run(Path(sys.executable).with_name(tool), *words)
    assert done.returncode == 0, done.stdout + done.stderr


def test_shell_scripts_pass_shellcheck() -> None:
    assert len(SHELL) > 6
    _lint("shellcheck", *SHELL)


def test_yaml_passes_its_linter_and_kubernetes_schema() -> None:
    _lint("yamllint", "--strict", "scripts", ".pre-commit-config.yaml")
    _lint("kubernetes-validate", "--strict", KUBERNETES)


def test_kubernetes_pods_meet_at_pod_0_and_statuses_are_settled() -> None:
    service, job = yaml.safe_load_all(KUBERNETES.read_text())
    spec = job["spec"]
    pod = spec["template"]["spec"]
    [container] = pod["containers"]
    environment = {variable["name"]: variable["value"] for variable in container["env"]}
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"]
    assert service["spec"]["selector"] == {"batch.kubernetes.io/job-name": job["metadata"]["name"]}
    assert pod["subdomain"] == service["metadata"]["name"]
    assert spec["completionMode"] == "Indexed"
    assert pod["restartPolicy"] == "Never"
    assert spec["completions"] == spec["parallelism"] == int(environment["COUNT"])

    words = [word.replace("$(COUNT)", "4").replace("$(JOB_COMPLETION_INDEX)", "3") for word in container["args"]]
    config, _ = parse(["main", *[word.replace("=configs/", f"={ROOT}/configs/") for word in words]])
    port = container["ports"][0]["containerPort"]
    assert config.runtime.distributed == f"{job['metadata']['name']}-0.{pod['subdomain']}:{port},4,3"

    rules = spec["podFailurePolicy"]["rules"]
    by_status = {status: rule["action"] for rule in rules for status in rule.get("onExitCodes", {}).get("values", ())}
    stop, go_on = (UserError, DivergedError), (PeerLostError, PreemptedError)
    assert by_status == {e.exit_status: "FailJob" for e in stop} | {e.exit_status: "Ignore" for e in go_on}
    assert all(rule["onExitCodes"]["containerName"] == container["name"] for rule in rules if "onExitCodes" in rule)


def _launch_tpu(folder: Path, *words: str, **answers: list[str] | list[int]) -> tuple[int, list[list[str]], str]:
    """Return status, the calls of gcloud, and stderr."""
    (folder / "answers.json").write_text(json.dumps(answers))
    variables = {"NAME": "slice", "ZONE": "zone-b", "TYPE": "v5litepod-16", "SHARED": "/mnt/shared", "POLL": "0"}
    done = _run(CLUSTER / "tpu_vm.sh", *words, **variables, PATH=f"{folder}:{os.environ['PATH']}")
    log = folder / "gcloud.log"
    calls = [shlex.split(line) for line in log.read_text().splitlines()] if log.exists() else []
    return done.returncode, calls, done.stderr


WORDS = ("--config", "configs/cnn_s1.py", "--workdir=/mnt/shared/runs/a b")


def test_the_tpu_launcher_prints_what_it_would_do(folder: Path) -> None:
    status, calls, printed = _launch_tpu(folder, "--dry-run", *WORDS)
    assert (status, calls) == (0, [])
    status, calls, _ = _launch_tpu(folder, *WORDS, describe=["", "ACTIVE"])
    assert status == 0
    assert [call[4] for call in calls] == ["describe", "create", "describe", "ssh", "ssh"]
    del calls[2]  # a dry run does not wait for the slice
    assert [shlex.split(line)[1:] for line in printed.splitlines()] == calls
    *_, run = calls[-1][:-1]
    assert run.startswith("--command=cd hamjax && XDG_CACHE_HOME=/mnt/shared/cache .venv/bin/python -m hamjax.main ")
    assert shlex.split(run)[-len(WORDS) :] == list(WORDS)


def test_a_tpu_slice_that_was_taken_back_is_asked_for_again(folder: Path) -> None:
    states = ["", "WAITING_FOR_RESOURCES", "ACTIVE", "SUSPENDING", "SUSPENDED", "", "ACTIVE", "ACTIVE"]
    status, calls, _ = _launch_tpu(folder, *WORDS, describe=states, ssh=[0, 143, 0, 255, 0, 0])
    assert status == 0
    done = [call[4] for call in calls if call[4] != "describe"]
    assert done == ["create", "ssh", "ssh", "delete", "create", "ssh", "ssh", "ssh", "ssh"]


@pytest.mark.parametrize("status", [UserError.exit_status, DivergedError.exit_status])
def test_the_tpu_launcher_ends_with_what_is_to_be_mended(folder: Path, status: int) -> None:
    got, calls, _ = _launch_tpu(folder, *WORDS, describe=["ACTIVE"], ssh=[0, status])
    assert got == status
    assert [call[4] for call in calls] == ["describe", "ssh", "ssh"]


def _batch(folder: Path, script: str, *words: str, **environment: str) -> subprocess.Popen[str]:
    """Start a batch script as Slurm does, on a node of our own."""
    slurm = {"SLURM_JOB_ID": "4711", "SLURM_NTASKS": "1", "SLURM_CPUS_PER_TASK": "1", "SLURM_SUBMIT_DIR": str(ROOT)}
    variables = {
        **os.environ,
        "PYTHON": sys.executable,
        "PATH": f"{folder}:{os.environ['PATH']}",
        **slurm,
        **environment,
    }
    return subprocess.Popen(
        ["bash", str(CLUSTER / script), *words], cwd=ROOT, env=variables, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def _asked(folder: Path) -> list[str]:
    log = folder / "scontrol.log"
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
    folder: Path, ending: Callable[[str], str], how: str, status: int, asked: list[str]
) -> None:
    process = _batch(folder, "slurm_run.sbatch", PYTHON=ending(how), SLURM_NTASKS="2")
    output, _ = process.communicate(timeout=30)
    assert (process.returncode, _asked(folder)) == (status, asked), output


@pytest.mark.parametrize(
    ("how", "restarts", "state", "requeued"),
    [
        ("exit 75", "20", "RUNNING", False),  # again and again
        ("exit 143", "99", "RUNNING", True),
        ("exit 143", "0", "CANCELLED", False),  # by scancel
    ],
)
def test_slurm_requeues_within_bounds(
    folder: Path, ending: Callable[[str], str], how: str, restarts: str, state: str, requeued: bool
) -> None:
    (folder / "job_state").write_text(state)
    process = _batch(folder, "slurm_run.sbatch", PYTHON=ending(how), SLURM_RESTART_COUNT=restarts)
    process.communicate(timeout=30)
    assert (REQUEUED in _asked(folder)) == requeued


def test_a_job_of_the_array_runs_its_cell(folder: Path, ending: Callable[[str], str]) -> None:
    process = _batch(folder, "slurm_grid.sbatch", "--workdir", "W", PYTHON=ending(""), SLURM_ARRAY_TASK_ID="7")
    output, _ = process.communicate(timeout=30)
    assert output.split()[:5] == ["scripts/reproduce.py", "--cell", "7", "--workdir", "W"]
    assert "--config.runtime.distributed=off" in output


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
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "took too long"
        time.sleep(0.05)


@pytest.mark.slow
def test_a_slurm_job_of_two_processes_is_preempted_requeued_and_finishes(folder: Path, tmp_path: Path) -> None:
    job, workdir = _free_job_id(), tmp_path / "run"
    words = [
        "--config", "configs/quickstart.py", "--workdir", str(workdir), f"--config.data.data_dir={tmp_path / 'data'}",
        "--config.data.synthetic_images=300", "--config.data.image_size=16", "--config.sampling.threshold=40",
        "--config.train.epochs=8", "--config.train.log_every_steps=3",
    ]  # fmt: skip
    variables = {"SLURM_JOB_ID": job, "SLURM_NTASKS": "2", "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"}

    process = _batch(folder, "slurm_run.sbatch", *words, **variables)
    records = workdir / "metrics.jsonl"
    _wait_for(lambda: records.exists() and read_records(records), process)
    for pid in (process.pid, int((folder / "srun.pid").read_text())):  # Slurm signals the step, and maybe the script
        os.kill(pid, signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == PreemptedError.exit_status, output
    assert _asked(folder) == [f"show job {job}", f"requeue {job}"]
    assert "on 2 x" in output
    assert list((workdir / "checkpoints" / "last").iterdir())

    process = _batch(folder, "slurm_run.sbatch", *words, **variables, SLURM_RESTART_COUNT="1")
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert "resumed at step" in output
    assert (workdir / "report" / "test.json").exists()
    assert len(_asked(folder)) == 2
