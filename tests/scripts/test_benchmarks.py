"""The benchmarks run, refuse what they cannot do, and have their peers do the same work."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench import input_peers
from bench import step as bench_step

from hamjax.data.augment import Augmentation
from hamjax.data.pipeline import TrainSource
from hamjax.data.preparation.images import decode, resize
from hamjax.data.sources.synthetic import SyntheticSource

ROOT = Path(__file__).parents[2]
SIZE, COUNT = 64, 16


def _bench(name: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / f"bench_{name}.py"), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def _bench_input(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return _bench("input", "--data-dir", str(folder / "data"), *words)


def test_every_input_pipeline_is_timed_in_every_round(tmp_path: Path) -> None:
    out = tmp_path / "input.json"
    few = ("--image-size", "32", "--images", "32", "--rounds", "2")
    done = _bench_input(tmp_path, "--synthetic", "300", *few, "--json", str(out))
    assert done.returncode == 0, done.stderr
    record = json.loads(out.read_text())
    assert record["settings"]["dataset"]["images_note"].startswith("300 drawn images")
    results = record["results"]
    expected = {f"ours, {n}" for n in ("0 threads", "1 thread", "2 threads")}
    expected |= {f"torch DataLoader, PIL transforms, {n}" for n in ("0 workers", "1 worker", "2 workers")}
    expected |= {
        "bare OpenCV loop",
        "bare loop of our warp",
        "ours on the device (jax)",
        "scipy as Keras's ImageDataGenerator",
        "grain defaults, an image an element",
    }
    timed, missing = set(results["images_per_second"]), set(results["not_installed"])
    assert expected <= timed | missing
    assert all("torch" in name for name in missing)
    assert all(value > 0 for value in results["images_per_second"].values())
    assert {len(values) for values in results["seconds_per_image"].values()} == {2}
    assert [claim["target"] for claim in results["claims"]] == [8.0, 0.9, 0.9, 1.4, *([] if missing else [3.0])]
    assert all(f"| {name} " in done.stdout for name in expected)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--source-dir", "nowhere"), "nowhere"),
        (("--synthetic", "30", "--image-size", "16", "--batch-size", "64"), "--batch-size: expected at most the 30"),
        (("--images", "8"), "--images: expected at least a batch of 16"),
    ],
)
def test_bench_input_refuses_with_status_2(tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    done = _bench_input(tmp_path, *words)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def source() -> TrainSource:
    drawn = SyntheticSource(COUNT)
    images = [resize(decode(drawn.read(i)), SIZE, "squash") for i in drawn.metadata.image_id.tolist()]
    return TrainSource(
        images=np.stack(images),
        labels=drawn.metadata.label,
        epoch_rows=np.arange(COUNT),
        batch_size=COUNT,
        steps_per_epoch=1,
        num_steps=2,
        seed=0,
        augmentation=Augmentation(),
    )


def test_the_floor_gives_ours_pixels(source: TrainSource) -> None:
    out = np.empty_like(source.images)
    input_peers.bare_batch(source, 1, input_peers.opencv_warp, out)
    np.testing.assert_array_equal(out, source[1]["image"])


def test_peers_transform_as_ours_does(source: TrainSource) -> None:
    rows, affines = input_peers.draw(source, 0)
    grid = np.stack([*np.mgrid[:SIZE, :SIZE], np.ones((SIZE, SIZE))])
    for row, affine, ours in zip(rows, affines, source[0]["image"].astype(np.float32), strict=True):
        keras = input_peers.keras_transform(source.images[row], affine)
        assert np.abs(keras - ours).max() <= 1
        # Pillow leaves black what Keras takes from the edge.
        read = np.tensordot(affine, grid, 1)
        inside = ((read >= 1) & (read <= SIZE - 2)).all(axis=0)
        pillow = input_peers.pil_transform(source.images[row], affine).astype(np.float32)
        assert inside.mean() > 0.5
        assert np.abs(pillow - ours)[inside].max() <= 2


def _results(done: subprocess.CompletedProcess[str], path: Path) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    record = json.loads(path.read_text())
    assert {"command", "settings", "environment", "results"} <= set(record)
    assert record["environment"]["packages"]["jax"]
    return record["results"]


@pytest.mark.slow
def test_a_peer_counts_only_if_its_losses_are_ours(tmp_path: Path) -> None:
    out = tmp_path / "step.json"
    few = ("--batch-size", "4", "--image-size", "16", "--rounds", "2", "--steps", "1", "--json", str(out))
    done = _bench("step", "--model", "cnn", "--device", "cpu", "--peers", "textbook", "keras", "torch", *few, "--xla")
    results = _results(done, out)
    timed = set(results["train_images_per_second"])
    assert timed | set(results["not_counted"]) == {"ours", "ours with XLA defaults", "textbook", "keras", "torch"}
    assert {"ours", "textbook", "keras"} <= timed
    assert set(results["train_ratio"]) == set(results["inference_ratio"]) == timed - {"ours"}
    assert 0 < results["flop_per_second"] < results["roof"]["flop_per_second"]
    assert all(len(seconds) == 2 for seconds in results["train_seconds"].values())


def test_a_peer_with_other_losses_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fake:
        def __init__(self, losses: list[float]) -> None:
            self._losses = losses

        def losses(self, steps: int) -> list[float]:
            return self._losses[:steps]

    near, far = [1.0, 0.5, 0.25, 0.2, 0.1], [1.0, 0.5, 0.25, 0.2, 0.1002]
    made = {"ours": near, "textbook": near, "keras": far}

    def make(name: str, dtype: str, **_: Any) -> Fake:
        if name == "torch":
            raise ImportError(name="torch")
        return Fake(made[name])

    contenders, notes = bench_step._checked(make, make, ["textbook", "keras", "torch"], "float32")  # pyright: ignore
    assert set(contenders) == {"ours", "textbook"}
    assert notes == {"keras": "its losses are off by 2.0e-04, more than 1e-04", "torch": "not installed (torch)"}


@pytest.mark.slow
def test_the_loop_is_timed_beside_its_own_step(tmp_path: Path) -> None:
    out = tmp_path / "end.json"
    few = ("--models", "cnn:16", "--synthetic", "300", "--window", "4", "--rounds", "2", "--batch-size", "8")
    done = _bench("end_to_end", *few, "--data-dir", str(tmp_path / "data"), "--json", str(out))
    (found,) = _results(done, out).values()
    assert len(found["seconds_per_step"]["real"]) == len(found["seconds_per_step"]["held"]) == 2
    assert 0 <= found["data_wait_share"] <= 1
    assert found["checkpoint_blocking_seconds"] > 0


@pytest.mark.long
def test_a_loop_of_steps_of_a_fixed_length_reaches_the_rate_of_a_held_batch(tmp_path: Path) -> None:
    out = tmp_path / "end.json"
    few = ("--models", "cnn:16", "--synthetic", "300", "--rounds", "3", "--batch-size", "16", "--window", "20")
    # Two seconds a window: what the loop does at its end is then small, also beside the tests of another worker.
    stand_in = ("--steps-per-dispatch", "8", "--stand-in-ms", "100")
    done = _bench("end_to_end", *few, *stand_in, "--data-dir", str(tmp_path / "data"), "--json", str(out))
    (found,) = _results(done, out).values()
    assert found["ratio"]["median"] == pytest.approx(1.0, abs=0.03)  # 16 and 24 real steps, each billed as taken


@pytest.mark.slow
def test_starts_are_timed_cold_and_warm(tmp_path: Path) -> None:
    out = tmp_path / "start.json"
    done = _bench("startup", "--model", "cnn", "--image-size", "16", "--rounds", "1", "--json", str(out))
    results = _results(done, out)
    for phases in results["median_seconds"].values():
        assert set(phases) == {"imports", "init", "trace", "compile", "first step", "total"}
        assert all(seconds > 0 for seconds in phases.values())


STAND_IN = """#!/bin/sh
case "$1" in
  -c) echo "$DEVICE" ;;
  *) echo "$@" >> "$CALLS"; case "$*" in *resnet50*) exit 3 ;; esac ;;
esac
"""


@pytest.mark.parametrize(
    ("device", "folder"), [("", "scripts/results/"), ("NVIDIA_H100", "scripts/results/NVIDIA_H100/")]
)
def test_bench_all_goes_on_after_a_failure_and_keeps_devices_apart(tmp_path: Path, device: str, folder: str) -> None:
    python = tmp_path / "python"
    python.write_text(STAND_IN)
    python.chmod(0o755)
    variables = os.environ | {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "CALLS": str(tmp_path / "calls"),
        "DEVICE": device,
    }
    command = ["bash", str(ROOT / "scripts" / "bench_all.sh"), str(tmp_path)]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "failed, and not written: step_resnet50_64px_batch16.json" in done.stderr
    calls = (tmp_path / "calls").read_text().splitlines()
    assert len(calls) == 11
    assert all(
        f"--json {folder}" in call and call.split("--json ")[1].count("/") == folder.count("/") for call in calls
    )
