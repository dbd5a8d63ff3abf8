"""The short form of scripts/torture.py: killed at random times in every phase, a run ends as one left alone."""

from pathlib import Path

import pytest

from tests.torture import campaign as torture
from tests.torture.__main__ import describe
from tests.torture.observer import PHASES


@pytest.mark.parametrize(
    ("processes", "wanted", "per_phase"),
    [pytest.param(2, 6, 1, marks=pytest.mark.slow), pytest.param(1, 4, 0, marks=pytest.mark.long)],
)
def test_a_run_killed_at_random_ends_as_one_left_alone(
    tmp_path: Path, processes: int, wanted: int, per_phase: int
) -> None:
    run = torture.Torture(tmp_path, wanted=wanted, per_phase=per_phase, processes=processes, seed=0, grace=90)
    run.run()
    print(describe(run.outcome()))
    ways = run.outcome()["kills"].values()
    assert all(way["all"] and not way["ended after the grace"] for way in ways)
    assert all(sum(way[phase] for way in ways) >= per_phase for phase in PHASES)
