"""A run killed from outside at random times, in every phase, ends as one left alone: the short form of scripts/torture.py."""

from pathlib import Path

import pytest
import torture
from onlooker import PHASES


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_run_killed_in_every_phase_ends_as_one_left_alone(tmp_path: Path, processes: int) -> None:
    run = torture.Torture(
        tmp_path, wanted=6, per_phase=1, processes=processes, seed=0, grace=90, cache=str(tmp_path / "xla")
    )
    run.run()
    print(torture.describe(run.outcome()))
    made = run.outcome()["kills"]
    assert all(sum(way[phase] for way in made.values()) for phase in PHASES)
    assert all(way["all"] for way in made.values())
