"""Checkpoints that were damaged: the one before is taken, or the run is refused; none is replaced unasked."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import hamjax
from hamjax.commands import training_run
from hamjax.runtime.errors import UserError
from tests.helpers.started import (
    BEFORE,
    LAST,
    Tiny,
    end,
    goes_on_as_undisturbed,
    started,
    steps,
)


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _empty(path: Path) -> None:
    os.truncate(path, 0)


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x55
    path.write_bytes(content)


ARRAYS = "state/ocdbt.process_0/d/*"


DAMAGES = [
    *((ARRAYS, damage) for damage in (_flip, _cut, _empty, Path.unlink)),
    *(("state/_METADATA", _cut), ("host/metadata", _cut)),
]


def _damage(workdir: Path, step: int, files: str, damage: Callable[[Path], None]) -> None:
    for path in (workdir / "checkpoints" / "last" / str(step)).glob(files):
        damage(path)


@pytest.mark.parametrize(("files", "damage"), DAMAGES)
def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    tiny: Tiny,
    unreported: Path,
    finished: Path,
    files: str,
    damage: Callable[[Path], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    _damage(unreported, LAST, files, damage)
    goes_on_as_undisturbed(tiny, unreported, finished)
    said = capsys.readouterr().out
    assert f"skipped a damaged checkpoint: {unreported}/checkpoints/last/{LAST}: expected a whole checkpoint" in said
    assert f"resumed at step {BEFORE}" in said


def test_a_damaged_checkpoint_to_report_on_is_not_replaced_by_another_unasked(
    tiny: Tiny, unreported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_run, "_chosen", lambda *_: ("last", BEFORE))  # the best may be of any step
    _damage(unreported, BEFORE, "host/metadata", _cut)
    with pytest.raises(UserError, match=rf"{BEFORE}: expected a whole checkpoint.*\nAll steps .* --checkpoint last"):
        hamjax.train(tiny(), unreported)


@pytest.mark.slow
def test_without_a_whole_checkpoint_the_run_is_refused(tiny: Tiny, unreported: Path) -> None:
    _damage(unreported, LAST, "host/metadata", _cut)
    _damage(unreported, BEFORE, "state/_METADATA", _cut)
    with started(tiny, unreported) as process:
        errors = end(process, 2)
    assert "Traceback" not in errors
    for step in (LAST, BEFORE):
        assert f"last/{step}: expected a whole checkpoint" in errors
    assert "No checkpoint is left to resume from; use a new folder." in errors
    assert steps(unreported) == {str(BEFORE), str(LAST)}
