"""Seeds and strategies share one compiled train step."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

STRATEGIES = ("s1", "s2", "s3", "s4", "s5")

# A seed's runs in a process of their own, which starts each without what it holds in memory of the one before.
# None is validated or reported on: what is looked at comes before.
WORKER = """
import sys
from unittest import mock
import jax
from hamjax import train
from hamjax.commands import training_run
from hamjax.config import make_config

folder, seed = sys.argv[1], int(sys.argv[2])
mock.patch.object(training_run, "_report").start()
for strategy in sys.argv[3:]:
    jax.clear_caches()
    print("run of", strategy, file=sys.stderr, flush=True)
    config = make_config(
        model="cnn", strategy=strategy, data__name="synthetic", data__synthetic_images=300,
        data__data_dir=f"{folder}/data", data__image_size=16, data__split="honest", sampling__threshold=40,
        train__seed=seed, train__max_steps=1, train__steps_per_dispatch=1, runtime__compilation_cache=f"{folder}/cache",
    )
    train(config, f"{folder}/{strategy}_{seed}")
"""


def _train(folder: Path, seed: int) -> list[list[str]]:
    """Take a step of every strategy; return what each run said of the train step's program: `hit` or `miss`."""
    logged = {"JAX_DEBUG_LOG_MODULES": "jax._src.compiler", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    command = [sys.executable, "-c", WORKER, str(folder), str(seed), *STRATEGIES]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | logged, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    _, *runs = done.stderr.split("run of ")
    found = r"(?i)persistent compilation cache (hit|miss) for 'jit_dispatch'"
    return [[word.lower() for word in re.findall(found, said)] for said in runs]


@pytest.mark.slow
def test_ten_runs_of_two_seeds_and_five_strategies_compile_one_train_step(tmp_path: Path) -> None:
    assert _train(tmp_path, seed=0) == [["miss"]] + 4 * [["hit"]]
    assert _train(tmp_path, seed=1) == 5 * [["hit"]]
    assert len(list((tmp_path / "cache").glob("jit_dispatch-*-cache"))) == 1
