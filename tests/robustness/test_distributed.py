"""Processes and devices share a run, and nothing that comes of it depends on how many there are."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hamjax.commands import launch
from hamjax.training.run_directory.metrics_log import read_records
from tests.helpers.distributed_worker import BATCH, STEPS

# Processes, devices of each; several devices of one process are those of nearly all other tests.
FOUR = pytest.param((4, 1), marks=pytest.mark.long)
LAYOUTS = ((1, 1), (2, 2), FOUR)
RESUMED = ((1, 1), FOUR)
# What float64 shows to nine places in every layout, float32 has to show in one.
NARROW = ((1, 1), (2, 2))
WORKER = ("-m", "tests.helpers.distributed_worker")
pytestmark = pytest.mark.slow


class Folders(dict[tuple[int, int], Path]):
    """What came of each layout, made when a test first asks for it."""

    def __init__(self, make: Callable[[int, int], Path]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, layout: tuple[int, int]) -> Path:
        self[layout] = self._make(*layout)
        return self[layout]


def _work(task: str, folder: Path, processes: int, devices: int) -> None:
    started = launch.start(
        [task, str(folder)],
        processes=processes,
        cpu_devices=devices,
        module=WORKER,
        outputs=[subprocess.PIPE] * processes,
    )
    outputs = [process.communicate(timeout=240)[0].decode() for process in started]
    assert not any(process.returncode for process in started), "\n".join(outputs)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """The same 20 steps in every layout."""
    root = tmp_path_factory.mktemp("layouts")

    def make(processes: int, devices: int) -> Path:
        folder = root / f"{processes}x{devices}"
        folder.mkdir()
        _work("both" if (processes, devices) in NARROW else "whole", folder, processes, devices)
        return folder

    return Folders(make)


@pytest.fixture(scope="module")
def resumed(runs: Folders) -> Folders:
    """The run of 2 x 2 taken up at its tenth step in other layouts."""

    def make(processes: int, devices: int) -> Path:
        folder = runs[2, 2].with_name(f"resumed_{processes}x{devices}")
        shutil.copytree(runs[2, 2] / "float64", folder / "float64")
        for kind in ("last", "best"):
            shutil.rmtree(folder / "float64" / "checkpoints" / kind / str(STEPS))
        _work("resume", folder, processes, devices)
        return folder

    return Folders(make)


def _same(a: Path, b: Path, atol: float) -> None:
    with np.load(a) as ours, np.load(b) as theirs:
        assert set(ours.files) == set(theirs.files)
        for name in ours.files:
            np.testing.assert_allclose(ours[name], theirs[name], rtol=0, atol=atol, err_msg=name)


def _losses(workdir: Path) -> list[float]:
    return [line["train/loss"] for line in read_records(workdir / "metrics.jsonl") if "train/loss" in line]


def _stream(folder: Path, dtype: str) -> dict[int, list[int]]:
    """Return the rows of every step's global batch, those of the processes one after another."""
    everyone: list[Any] = [part["steps"] for part in json.loads((folder / f"{dtype}.json").read_text())]
    return {int(step): [row for part in everyone for row in part[step]] for step in everyone[0]}


@pytest.mark.parametrize("layout", LAYOUTS[1:])
@pytest.mark.parametrize("name", ["float64", "densenet_1", "densenet_4"])
def test_parameters_do_not_depend_on_processes_and_devices(runs: Folders, layout: tuple[int, int], name: str) -> None:
    _same(runs[layout] / f"{name}.npz", runs[1, 1] / f"{name}.npz", 1e-9)


@pytest.mark.parametrize("layout", NARROW[1:])
def test_losses_in_float32_agree(runs: Folders, layout: tuple[int, int]) -> None:
    ours, alone = _losses(runs[layout] / "float32"), _losses(runs[1, 1] / "float32")
    assert len(ours) == STEPS
    np.testing.assert_allclose(ours, alone, rtol=0, atol=1e-3)


@pytest.mark.parametrize("layout", NARROW[1:])
def test_one_checkpoint_gives_the_same_predictions(runs: Folders, layout: tuple[int, int]) -> None:
    ours, alone = (np.load(runs[key] / "probabilities.npy") for key in (layout, (1, 1)))
    np.testing.assert_allclose(ours, alone, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(ours.argmax(1), alone.argmax(1))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_process_opens_only_its_share(runs: Folders, layout: tuple[int, int]) -> None:
    processes, _ = layout
    everyone = json.loads((runs[layout] / "float64.json").read_text())
    val = sum(line.endswith(",val") for line in (runs[layout] / "float64" / "split.csv").read_text().splitlines())
    batch = 8  # of evaluation, which all these layouts can share
    batches = -(-val // batch)
    assert [len(part["opened"]) for part in everyone] == [(STEPS * BATCH + batches * batch) // processes] * processes
    assert _stream(runs[layout], "float64") == _stream(runs[1, 1], "float64")


@pytest.mark.parametrize("layout", RESUMED)
def test_a_run_goes_on_in_another_layout(runs: Folders, resumed: Folders, layout: tuple[int, int]) -> None:
    undisturbed = _stream(runs[2, 2], "float64")
    assert _stream(resumed[layout], "float64") == {step: undisturbed[step] for step in range(10, STEPS)}
    _same(resumed[layout] / "float64.npz", runs[2, 2] / "float64.npz", 1e-9)
    losses = _losses(resumed[layout] / "float64"), _losses(runs[2, 2] / "float64")
    np.testing.assert_allclose(*losses, rtol=0, atol=1e-9)
