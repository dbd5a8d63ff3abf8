"""When a run saves, what a save writes, and that it changes no record."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import hamjax
from hamjax.config import Config
from hamjax.runtime.errors import DivergedError
from hamjax.training.run_directory.checkpoints import Checkpoints
from hamjax.training.state import create_train_state
from tests.helpers.started import comparable

Tiny = Callable[..., Config]
EPOCH = 23  # steps; see `tiny`
STATE = {"params": np.arange(1000.0)}


def _files(folder: Path) -> dict[Path, os.stat_result]:
    return {path.relative_to(folder): path.stat() for path in sorted(folder.rglob("*")) if path.is_file()}


def _bytes_on_disk(folder: Path) -> int:
    return sum({stat.st_ino: stat.st_size for stat in _files(folder).values()}.values())


def test_an_epochs_end_that_is_the_best_writes_one_state(tiny: Tiny, tmp_path: Path) -> None:
    hamjax.train(tiny(train__epochs=1, train__checkpoint_every_steps=0), tmp_path / "run")
    checkpoints = tmp_path / "run" / "checkpoints"
    last, best = (_files(checkpoints / kind / str(EPOCH)) for kind in ("last", "best"))
    assert {path: stat.st_ino for path, stat in last.items()} == {path: stat.st_ino for path, stat in best.items()}
    assert _bytes_on_disk(checkpoints) == sum(stat.st_size for stat in last.values())


@pytest.mark.parametrize("links", [True, False])
def test_the_best_stays_when_the_last_ones_are_rotated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    def refuse(source: str, target: str) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    with Checkpoints(tmp_path, {}) as checkpoints:
        for step in range(1, 7):
            checkpoints.save({"params": STATE["params"] + step}, {}, step=step)
            if step in (1, 2, 3):
                checkpoints.mark_best(step)
        checkpoints.mark_best(6)
        checkpoints.mark_best(6)  # of a run that was killed right after the first time
        assert (checkpoints.steps("last"), checkpoints.steps("best")) == ([5, 6], [3, 6])
        for step in (3, 6):
            restored, _ = checkpoints.restore("best", step, STATE)
            np.testing.assert_array_equal(restored["params"], STATE["params"] + step)
    assert not list(tmp_path.rglob("deleted"))


def _saves(tiny: Tiny, workdir: Path, **changes: object) -> list[int]:
    """Return the steps at which a run saves."""
    saved, save = [], Checkpoints.save

    def note(self: Checkpoints, state: object, host: dict[str, object], *, step: int) -> None:
        saved.append(step)
        save(self, state, host, step=step)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoints, "save", note)
        hamjax.train(tiny(**changes), workdir)
    return saved


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({"checkpoint_every_steps": 0}, [23, 46], marks=pytest.mark.long),
        ({"checkpoint_every_steps": 20}, [20, 23, 43, 46]),  # never a few steps after an epoch's end
        ({"checkpoint_every_steps": 7, "steps_per_dispatch": 2}, [7, 15, 21, 23, 30, 38, 44, 46]),
        ({"checkpoint_every_steps": 0, "checkpoint_every_minutes": 1e-9}, [5, 10, 15, 20, 23, 25, 30, 35, 40, 45, 46]),
    ],
)
def test_saves_are_counted_from_an_epochs_start_and_from_the_last_save(
    tiny: Tiny, tmp_path: Path, changes: dict[str, object], expected: list[int]
) -> None:
    assert _saves(tiny, tmp_path / "run", **{f"train__{key}": value for key, value in changes.items()}) == expected


def test_saves_change_no_record(tiny: Tiny, tmp_path: Path, finished: Path) -> None:
    hamjax.train(tiny(train__checkpoint_every_steps=3, train__checkpoint_every_minutes=1e-9), tmp_path / "run")
    assert comparable(tmp_path / "run") == comparable(finished)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_parameter_that_is_not_finite_is_noticed(bad: float) -> None:
    params = {"a": jnp.ones((3, 3)), "b": {"c": jnp.zeros(5)}}
    variables = {"params": params, "batch_stats": {}}
    assert create_train_state(variables, optax.identity()).is_finite()
    variables["params"]["b"]["c"] = variables["params"]["b"]["c"].at[4].set(bad)
    assert not create_train_state(variables, optax.identity()).is_finite()


def test_a_state_that_is_not_finite_is_never_saved(tiny: Tiny, tmp_path: Path) -> None:
    changes = {"train__log_every_steps": 1000, "optimizer__learning_rate": 1e30, "optimizer__schedule": "none"}
    with pytest.raises(DivergedError, match="got parameters that are NaN or infinite"):
        hamjax.train(tiny(**changes), tmp_path / "run")  # the tenth step is to be saved, and ends no window
    assert not list((tmp_path / "run" / "checkpoints" / "last").glob("[0-9]*"))
