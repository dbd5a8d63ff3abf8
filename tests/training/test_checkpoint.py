"""Old checkpoints go whole: what a kill left half deleted would look like a damaged one."""

import contextlib
from pathlib import Path

import numpy as np
import pytest

from hamjax.runtime.errors import UserError
from hamjax.training.run_directory.checkpoints import Checkpoints

STATE = {"params": np.arange(10.0)}


def _save(folder: Path, *steps: int) -> None:
    with Checkpoints(folder, {}) as checkpoints:
        for step in steps:
            checkpoints.save({"params": STATE["params"] + step}, {}, step=step)


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


def test_no_flipped_bit_is_read_as_what_was_written(tmp_path: Path, rng: np.random.Generator) -> None:
    state = {"params": rng.normal(size=1000).astype(np.float32), "step": np.int32(7)}
    with Checkpoints(tmp_path, {}) as checkpoints:
        checkpoints.save(state, {}, step=7)
        checkpoints.wait()
        harmless = []
        file = max((tmp_path / "last" / "7").rglob("d/*"), key=lambda path: path.stat().st_size)
        whole = file.read_bytes()
        for place in range(0, len(whole), len(whole) // 20):
            changed = bytearray(whole)
            changed[place] ^= 1 << int(rng.integers(8))
            file.write_bytes(changed)
            with contextlib.suppress(UserError):
                found, _ = checkpoints.restore("last", 7, state)
                np.testing.assert_array_equal(found["params"], state["params"])
                harmless.append(place)
    # The numbers come first, and hardly compress; behind them are a few bytes that nobody reads.
    assert min(harmless, default=len(whole)) > 0.9 * state["params"].nbytes
