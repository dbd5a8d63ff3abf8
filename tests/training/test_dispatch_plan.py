"""A run is divided into few dispatches of two lengths at most, and epochs end exactly."""

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest

import hamjax
from hamjax.config import Config
from hamjax.runtime.errors import PreemptedError, UserError
from hamjax.training import compiled_steps as dispatch
from hamjax.training.dispatch_plan import crosses, plan_dispatches
from hamjax.training.run_directory.metrics_log import read_records
from tests.helpers.started import sigterm_at

IMAGES = 7809  # of the paper's training part
PAPER = [(IMAGES // batch, k) for batch in (16, 256) for k in (1, 8, 16, 32) if k <= IMAGES // batch]
OTHERS = [(135, 8), (680, 16), (2160, 32), (29, 16), (7, 7), (1, 1), (43, 32), (23, 2), (61, 3), (1251, 8)]
Tiny = Callable[..., Config]


def _ends(sizes: list[int], start: int = 0) -> list[int]:
    return list(itertools.accumulate(sizes, initial=start))


@pytest.mark.parametrize(("steps_per_epoch", "most"), [*PAPER, *OTHERS])
def test_an_epoch_takes_few_dispatches_of_two_lengths(steps_per_epoch: int, most: int) -> None:
    sizes = plan_dispatches(0, 3 * steps_per_epoch, steps_per_epoch, most)
    assert len(set(sizes)) <= 2
    assert max(sizes) <= most
    ends = _ends(sizes)
    for epoch in (1, 2, 3):
        assert epoch * steps_per_epoch in ends
        taken = sum((epoch - 1) * steps_per_epoch < end <= epoch * steps_per_epoch for end in ends)
        assert taken <= math.ceil(steps_per_epoch / most) + 3


@pytest.mark.parametrize(("steps_per_epoch", "most"), [*PAPER, *OTHERS])
def test_a_resumed_run_ends_its_dispatches_where_an_undisturbed_one_does(steps_per_epoch: int, most: int) -> None:
    num_steps = 2 * steps_per_epoch + steps_per_epoch // 3
    sizes = plan_dispatches(0, num_steps, steps_per_epoch, most)
    for done, end in enumerate(_ends(sizes)):
        assert plan_dispatches(end, num_steps, steps_per_epoch, most) == sizes[done:]


@pytest.mark.parametrize("step", [1, 5, 100, 487, 488, 970])
@pytest.mark.parametrize("most", [8, 16, 32])
def test_a_run_that_was_stopped_under_another_k_needs_two_programs_too(step: int, most: int) -> None:
    sizes = plan_dispatches(step, 3 * 488, 488, most)
    assert len(set(sizes)) <= 2
    assert {488, 976, 1464} - set(range(step + 1)) <= set(_ends(sizes, step))


def test_both_programs_are_met_at_the_start() -> None:
    sizes = plan_dispatches(0, 976, 488, 32)
    assert set(sizes[:5]) == set(sizes) == {8, 32}


def test_a_multiple_is_crossed_once() -> None:
    assert [step for step in range(4, 41, 4) if crosses(10, step - 4, step)] == [12, 20, 32, 40]
    assert not crosses(0, 0, 100)


def test_a_k_that_no_epoch_has_room_for_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"steps_per_dispatch=32: expected at most 23, .*dispatch=23 or less"):
        hamjax.train(tiny(train__steps_per_dispatch=32), tmp_path / "run")


def test_a_run_compiles_two_programs_and_may_be_resumed_with_another_k(tiny: Tiny, tmp_path: Path) -> None:
    compiled, lengths = [], set()
    compile_train_step = dispatch.compile_train_step

    def counted(*args: object, **options: object) -> Callable[..., object]:
        step = compile_train_step(*args, **options)  # pyright: ignore[reportArgumentType]
        compiled.append(step)

        def call(state: object, metrics: object, batches: dict[str, list[int]], *rest: object) -> object:
            lengths.add(len(batches["label"]))
            return step(state, metrics, batches, *rest)

        return call

    with mock.patch.object(dispatch, "compile_train_step", counted):
        with pytest.raises(PreemptedError, match="step 11 of 46"):
            hamjax.train(tiny(train__steps_per_dispatch=2), tmp_path / "run", on_dispatch=sigterm_at(11))
        assert lengths == {1, 2}
        assert [step._cache_size() for step in compiled] == [2]  # pyright: ignore[reportFunctionMemberAccess]
        result = hamjax.train(tiny(train__steps_per_dispatch=1), tmp_path / "run")
    assert result is not None
    assert int(result.state.step) == 46
    steps = [line["step"] for line in read_records(tmp_path / "run" / "metrics.jsonl") if "train/loss" in line]
    assert steps == [5, 11, 15, 20, 23, 25, 30, 35, 40, 45, 46]
