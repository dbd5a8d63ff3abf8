"""A run directory: its `config.json`, and the JSON, manifests and arrays of its checkpoints."""

import json
import shutil
from pathlib import Path
from random import Random

import jax
import numpy as np

from hamjax.config import make_config
from hamjax.evaluation.trained_run import TrainedRun
from hamjax.training.run_directory.record import read_facts
from hamjax.training.setup.network import initial_variables, make_network
from hamjax.training.setup.resolved import resolve
from tests.fuzzing.hostile import damage, damage_json
from tests.helpers.untrained_run import write_run


def make_samples(folder: Path) -> None:
    """Write a run that was stopped, without training it."""
    config = make_config(model="cnn", strategy="s1", data__name="synthetic", data__image_size=16, data__split="honest")
    variables = initial_variables(config, make_network(config, resolve(config)))
    # Zeros: they are kept in few bytes, which mutants are then aimed at.
    write_run(folder / "run", config, jax.tree.map(np.zeros_like, variables), steps=(1, 2))


def mutate(rng: Random, samples: Path, folder: Path) -> Path:
    """Damage one file: in one of three `config.json`, mostly another JSON else."""
    run = Path(shutil.copytree(samples / "run", folder / "run"))
    files = [path for path in sorted(run.rglob("*")) if path.is_file() and path.suffix != ".csv"]
    texts = [path for path in files if _is_json(path)]
    mutant = run / "config.json" if rng.random() < 0.3 else rng.choice(texts if rng.random() < 0.8 else files)
    if mutant not in texts or rng.random() < 0.15:
        mutant.write_bytes(damage(rng, mutant.read_bytes()))
    elif rng.random() < 0.03:
        mutant.write_text("[" * 100_000)
    else:
        mutant.write_text(damage_json(rng, mutant.read_text()))
    return mutant


def parses(mutated: Path) -> bool:
    """Say whether it is JSON."""
    return _is_json(mutated)


def use(folder: Path) -> None:
    """Restore what predicts, and say what the run was."""
    run = TrainedRun(folder / "run")
    state, _ = run.restore()
    run.facts(state)
    read_facts(folder / "run")


def command(folder: Path) -> list[str]:
    """Judge it on its validation images."""
    where = ["--data-dir", str(folder / "data"), "--out", str(folder / "out")]
    return ["scripts/evaluate_checkpoint.py", "--workdir", str(folder / "run"), "--split", "val", *where]


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return False
    return True
