"""A run as a process of its own, to be disturbed at a moment read off what it says."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import pytest

import hamjax
from hamjax.config import Config
from hamjax.training.run_directory.metrics_log import read_records

Tiny = Callable[..., Config]
CONFIG = """
import hamjax
def get_config():
    return hamjax.Config.from_dict({settings!r})
"""
LAST, BEFORE = 46, 43  # the steps of the finished run's last two checkpoints


@contextlib.contextmanager
def started(tiny: Tiny, workdir: Path, *more: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Start the command on a run directory, on as many devices as `finished` had."""
    config = workdir.with_name("config.py")
    config.write_text(CONFIG.format(settings=tiny().to_dict()))
    command = [sys.executable, "-m", "hamjax.main", "--config", str(config), "--workdir", str(workdir), *more]
    variables = os.environ | {"JAX_NUM_CPU_DEVICES": str(jax.device_count()), "PYTHONUNBUFFERED": "1"} | environment
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=variables) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if text in line:
            return
    pytest.fail(f"{text!r} was not said: {process.communicate()[1]}")


def end(process: subprocess.Popen[str], status: int) -> str:
    """Wait for the end; return what was said on stderr."""
    _, errors = process.communicate(timeout=120)
    assert process.returncode == status, errors
    return errors


@contextlib.contextmanager
def halted(process: subprocess.Popen[str]) -> Iterator[None]:
    """Let a process stand still meanwhile."""
    process.send_signal(signal.SIGSTOP)
    yield
    process.send_signal(signal.SIGCONT)


def sigterm_at(step: int) -> Callable[[int], None]:
    """Return what a run calls after every dispatch, to be told to stop after `step` steps."""

    def stop(taken: int) -> None:
        if taken == step:
            os.kill(os.getpid(), signal.SIGTERM)

    return stop


def steps(workdir: Path) -> set[str]:
    return {path.name for path in (workdir / "checkpoints" / "last").iterdir() if path.name.isdigit()}


def goes_on_as_undisturbed(tiny: Tiny, workdir: Path, finished: Path) -> None:
    assert hamjax.train(tiny(), workdir) is not None
    assert comparable(workdir) == comparable(finished)


def comparable(workdir: Path) -> dict[str, Any]:
    """Return everything that two equal runs must have alike."""
    records = [
        {k: v for k, v in line.items() if k != "wall_s" and not k.startswith("throughput/")}
        for line in read_records(workdir / "metrics.jsonl")
    ]
    texts = {name: (workdir / "report" / name).read_text() for name in ("test.json", "predictions_test.csv")}
    return {"records": records, "split": (workdir / "split.csv").read_text(), **texts}
