"""Old checkpoints go whole: what a kill left half deleted would look like a damaged one."""

from pathlib import Path

import numpy as np
import pytest

from hamjax.checkpoint import Checkpoints

STATE = {"params": np.arange(10.0)}


def _save(folder: Path, *steps: int) -> None:
    with Checkpoints(folder, {}) as checkpoints:
        for step in steps:
            checkpoints.save("last", {"params": STATE["params"] + step}, {}, step=step)


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "last").iterdir())


def test_the_two_newest_are_kept_and_one_of_the_same_step_is_replaced(tmp_path: Path) -> None:
    _save(tmp_path, 1, 2, 3)
    assert _names(tmp_path) == ["2", "3"]
    _save(tmp_path, 3, 4)
    assert _names(tmp_path) == ["3", "4"]


def test_what_is_to_go_is_out_of_sight_before_it_is_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", lambda *_, **__: None)  # killed before it could
        _save(tmp_path, 1, 2, 3)
    assert _names(tmp_path) == ["2", "3", "deleted"]
    with Checkpoints(tmp_path, {}, read_only=True) as checkpoints:
        assert checkpoints.steps("last") == [2, 3]
    assert _names(tmp_path) == ["2", "3", "deleted"]
    _save(tmp_path, 4)
    assert _names(tmp_path) == ["3", "4"]
