"""What scripts/cluster/ holds is linted and validated; the TPU launcher runs with a stand-in for Google's command."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from hamjax.config.command_line import parse
from hamjax.runtime.errors import DivergedError, PeerLostError, PreemptedError, UserError

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "scripts" / "cluster"
STAND_INS = Path(__file__).parents[1] / "helpers" / "stand_ins"
SHELL = [*ROOT.glob("scripts/**/*.sh"), *CLUSTER.glob("*.sbatch"), ROOT / ".ci" / "run", *STAND_INS.glob("*.sh")]
KUBERNETES = CLUSTER / "kubernetes.yaml"


def _run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in command], cwd=ROOT, env=os.environ | environment, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip


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
    config, _ = parse([*[word.replace("=configs/", f"={ROOT}/configs/") for word in words]])
    port = container["ports"][0]["containerPort"]
    assert config.runtime.distributed == f"{job['metadata']['name']}-0.{pod['subdomain']}:{port},4,3"

    rules = spec["podFailurePolicy"]["rules"]
    by_status = {status: rule["action"] for rule in rules for status in rule.get("onExitCodes", {}).get("values", ())}
    stop, go_on = (UserError, DivergedError), (PeerLostError, PreemptedError)
    assert by_status == {e.exit_status: "FailJob" for e in stop} | {e.exit_status: "Ignore" for e in go_on}
    assert all(rule["onExitCodes"]["containerName"] == container["name"] for rule in rules if "onExitCodes" in rule)


def _launch_tpu(stand_ins: Path, *words: str, **answers: list[str] | list[int]) -> tuple[int, list[list[str]], str]:
    """Return status, the calls of gcloud, and stderr."""
    (stand_ins / "answers.json").write_text(json.dumps(answers))
    variables = {"NAME": "slice", "ZONE": "zone-b", "TYPE": "v5litepod-16", "SHARED": "/mnt/shared", "POLL": "0"}
    done = _run(CLUSTER / "tpu_vm.sh", *words, **variables, PATH=f"{stand_ins}:{os.environ['PATH']}")
    log = stand_ins / "gcloud.log"
    calls = [shlex.split(line) for line in log.read_text().splitlines()] if log.exists() else []
    return done.returncode, calls, done.stderr


WORDS = ("--config", "configs/cnn_s1.py", "--workdir=/mnt/shared/runs/a b")


def test_the_tpu_launcher_prints_what_it_would_do(stand_ins: Path) -> None:
    status, calls, printed = _launch_tpu(stand_ins, "--dry-run", *WORDS)
    assert (status, calls) == (0, [])
    status, calls, _ = _launch_tpu(stand_ins, *WORDS, describe=["", "ACTIVE"])
    assert status == 0
    assert [call[4] for call in calls] == ["describe", "create", "describe", "ssh", "ssh"]
    del calls[2]  # a dry run does not wait for the slice
    assert [shlex.split(line)[1:] for line in printed.splitlines()] == calls
    *_, run = calls[-1][:-1]
    assert run.startswith("--command=cd hamjax && XDG_CACHE_HOME=/mnt/shared/cache .venv/bin/python -m hamjax.main ")
    assert shlex.split(run)[-len(WORDS) :] == list(WORDS)


def test_a_tpu_slice_that_was_taken_back_is_asked_for_again(stand_ins: Path) -> None:
    states = ["", "WAITING_FOR_RESOURCES", "ACTIVE", "SUSPENDING", "SUSPENDED", "", "ACTIVE", "ACTIVE"]
    status, calls, _ = _launch_tpu(stand_ins, *WORDS, describe=states, ssh=[0, 143, 0, 255, 0, 0])
    assert status == 0
    done = [call[4] for call in calls if call[4] != "describe"]
    assert done == ["create", "ssh", "ssh", "delete", "create", "ssh", "ssh", "ssh", "ssh"]


@pytest.mark.parametrize("status", [UserError.exit_status, DivergedError.exit_status])
def test_the_tpu_launcher_ends_with_what_is_to_be_mended(stand_ins: Path, status: int) -> None:
    got, calls, _ = _launch_tpu(stand_ins, *WORDS, describe=["ACTIVE"], ssh=[0, status])
    assert got == status
    assert [call[4] for call in calls] == ["describe", "ssh", "ssh"]
