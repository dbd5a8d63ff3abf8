"""Seeds and strategies share one compiled train step."""

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

RUNS = [(strategy, seed) for seed in (0, 1) for strategy in ("s1", "s2", "s3", "s4", "s5")]


def _train(folder: Path, strategy: str, seed: int) -> list[str]:
    """Take a step in a process of its own; return what it said of the train step's program: `hit` or `MISS`."""
    changes = {
        "data.name": "synthetic", "data.synthetic_images": 300, "data.data_dir": folder / "data", "data.image_size": 16,
        "data.split": "honest", "sampling.threshold": 40, "train.seed": seed, "train.max_steps": 1,
        "train.steps_per_dispatch": 1, "runtime.compilation_cache": folder / "cache",
    }  # fmt: skip
    command = [sys.executable, "-m", "hamjax.main", "--config", f"configs/cnn_{strategy}.py"]
    command += ["--workdir", str(folder / f"{strategy}_{seed}"), *(f"--config.{k}={v}" for k, v in changes.items())]
    logged = {"JAX_DEBUG_LOG_MODULES": "jax._src.compiler", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    root = Path(__file__).parents[2]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, env=os.environ | logged, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return re.findall(r"(?i)persistent compilation cache (hit|miss) for 'jit_dispatch'", done.stderr)


@pytest.mark.slow
def test_ten_runs_of_two_seeds_and_five_strategies_compile_one_train_step(tmp_path: Path) -> None:
    first = _train(tmp_path, *RUNS[0])  # alone, so that its program is there when the others look for it
    with ThreadPoolExecutor(2) as pool:
        others = list(pool.map(lambda run: _train(tmp_path, *run), RUNS[1:]))
    assert [word.lower() for word in first] == ["miss"]
    assert [[word.lower() for word in words] for words in others] == [["hit"]] * 9
    assert len(list((tmp_path / "cache").glob("jit_dispatch-*-cache"))) == 1
