"""The scripts that measure predictions: unlike images are counted, `predict` and `serve` are timed."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench.unlike_images import HEIGHT, KINDS, WIDTH, encode

from hamjax.data.preparation.images import decode
from tests.helpers.external_set import COUNT

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("kind", KINDS)
def test_images_that_are_no_lesions_are_made_alike_every_time(kind: str) -> None:
    one, same, other = (encode(KINDS[kind](np.random.default_rng(seed))) for seed in (0, 0, 1))
    assert one == same != other
    width, height = decode(one).size
    assert width / height == pytest.approx(WIDTH / HEIGHT, abs=0.01) or kind == "crops"


def _run(script: str, *words: str | Path) -> dict[str, Any]:
    out = Path(words[-1])
    command = [sys.executable, str(ROOT / "scripts" / script), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text())["results"]


@pytest.mark.slow
def test_predictions_are_timed_beside_an_evaluation_of_the_same_files(finished: Path, tmp_path: Path) -> None:
    words = ("--workdir", finished, "--images", str(COUNT), "--rounds", "1", "--json", tmp_path / "out.json")
    results = _run("bench_predict.py", *words)
    assert results["unreadable"] == ["cut.jpg", "empty.jpeg", "text.png"]
    assert results["largest difference"] <= 1e-6
    assert results["tables over evaluate"]["median"] > 0


@pytest.mark.slow
def test_unlike_images_are_counted_by_what_a_run_keeps_and_by_the_last_stage(finished: Path, tmp_path: Path) -> None:
    words = ("--workdir", finished, "--images", "5", "--json", tmp_path / "out.json")
    results = _run("bench_unlike.py", *words)
    assert list(results) == ["how images look", "stage `pooled`"]
    for shares in results.values():
        assert list(shares) == ["test images of the run", *KINDS]
        assert all(0 <= share <= 1 for share in shares.values())


@pytest.mark.slow
def test_a_served_network_answers_many_clients(finished: Path, tmp_path: Path) -> None:
    words = (
        "--workdir",
        finished,
        "--images",
        "8",
        "--clients",
        "4",
        "--seconds",
        "3",
        "--json",
        tmp_path / "out.json",
    )
    results = _run("bench_serve.py", *words)
    assert results["errors"] == 0
    assert results["answered"] > 0
    assert results["p50 seconds"] <= results["p95 seconds"]
