"""A run killed from outside at random times, in every phase, ends as one left alone.

The phase is read off what the run has written, as an onlooker would.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from hamjax.telemetry import read_records

CONFIG = """
import hamjax
def get_config():
    return hamjax.make_config(
        model="cnn", strategy="s5", data__name="synthetic", data__synthetic_images=400, data__image_size=16,
        data__split="honest", sampling__threshold=60, train__epochs=%d, train__log_every_steps=7,
        train__checkpoint_every_steps=5, eval__batch_size=2,
    )
"""
EPOCHS = 14
PHASES = ("train", "checkpoint", "evaluate")
PER_PHASE = 3


def _start(folder: Path, workdir: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "hamjax.main", "--config", str(folder / "config.py"), "--workdir", str(workdir)]
    command.append(f"--config.data.data_dir={folder / 'data'}")
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _phase(workdir: Path, since: float, steps_per_epoch: int) -> str:
    """Say what a run is doing: its files are younger than `since` once it has begun."""
    records = workdir / "metrics.jsonl"
    if list((workdir / "checkpoints").glob("*/*tmp*")):
        return "checkpoint"
    if not records.exists() or records.stat().st_mtime < since:
        return "start"
    lines = read_records(records)
    if lines and lines[-1]["step"] % steps_per_epoch == 0 and "train/loss" in lines[-1]:
        return "evaluate"
    return "train"


def _finish(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


def _outcome(workdir: Path) -> dict[str, Any]:
    records = [
        {k: v for k, v in line.items() if k != "wall_s" and not k.startswith("throughput/")}
        for line in read_records(workdir / "metrics.jsonl")
    ]
    return {
        "records": records,
        "summary": json.loads((workdir / "report" / "test.json").read_text()),
        "predictions": (workdir / "report" / "predictions_test.csv").read_text(),
    }


def _parameters(workdir: Path) -> dict[str, np.ndarray]:
    manager = ocp.CheckpointManager((workdir / "checkpoints" / "last").absolute())
    step = manager.latest_step()
    restored = manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore()))["state"]
    manager.close()
    return restored


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Sharding info not provided")  # orbax, reading without a template
def test_a_run_killed_in_every_phase_ends_as_one_left_alone(tmp_path: Path) -> None:
    (tmp_path / "config.py").write_text(CONFIG % EPOCHS)
    _finish(_start(tmp_path, tmp_path / "alone"))
    expected = _outcome(tmp_path / "alone")
    steps_per_epoch = expected["records"][-1]["step"] // EPOCHS

    rng, kills, workdir = random.Random(0), Counter[str](), tmp_path / "killed"
    deadline = time.monotonic() + 900
    while any(kills[phase] < PER_PHASE for phase in PHASES) and time.monotonic() < deadline:
        # Aim at the phase that has had the fewest kills, some random time after it is seen.
        aim = min(PHASES, key=lambda phase: (kills[phase], rng.random()))
        begun, process = time.time(), _start(tmp_path, workdir)
        pause = rng.uniform(0, 3) if aim == "train" else 0
        while process.poll() is None:
            if _phase(workdir, begun, steps_per_epoch) == aim:
                time.sleep(pause + rng.uniform(0, 0.02))
                hit = _phase(workdir, begun, steps_per_epoch)
                os.kill(process.pid, signal.SIGKILL)
                kills[hit] += 1
                break
            time.sleep(0.001)
        process.communicate()
        if process.returncode == 0:
            break
    print(f"kills per phase: {dict(kills)}")
    output = _finish(_start(tmp_path, workdir))
    assert all(kills[phase] >= PER_PHASE for phase in PHASES), f"{kills}\n{output}"
    assert _outcome(workdir) == expected
    ours, theirs = _parameters(workdir), _parameters(tmp_path / "alone")
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
