"""SIGTERM at any moment: the run saves and ends, and the same command then goes on; a second one ends it at once."""

import re
import signal
import time
from pathlib import Path

import pytest

from tests.helpers.started import BEFORE, LAST, Tiny, end, goes_on_as_undisturbed, halted, started, steps, wait_for

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.mark.slow
def test_sigterm_during_compilation(tiny: Tiny, unfinished: Path, finished: Path) -> None:
    with started(tiny, unfinished, "--config.runtime.compilation_cache=off") as process:
        wait_for(process, f"resumed at step {BEFORE}")
        time.sleep(0.3)
        process.terminate()
        errors = end(process, 143)
    assert re.search(f"stopped by SIGTERM at step ({BEFORE}|{BEFORE + 1}) of {LAST}", errors)  # before it, or after
    goes_on_as_undisturbed(tiny, unfinished, finished)


@pytest.mark.slow
def test_sigterm_during_evaluation(tiny: Tiny, unfinished: Path, finished: Path) -> None:
    with started(tiny, unfinished) as process:
        wait_for(process, f"step {LAST}/{LAST}")
        process.terminate()
        errors = end(process, 143)
    assert f"stopped by SIGTERM at step {LAST} of {LAST}" in errors
    goes_on_as_undisturbed(tiny, unfinished, finished)


@pytest.mark.slow
def test_sigterm_during_a_checkpoint(tiny: Tiny, unfinished: Path, finished: Path) -> None:
    with started(tiny, unfinished) as process:
        while not list((unfinished / "checkpoints" / "last").glob("*tmp*")):
            assert process.poll() is None
            time.sleep(0.001)
        with halted(process):
            assert list((unfinished / "checkpoints" / "last").glob("*tmp*"))
            process.terminate()
        end(process, 143)
    assert steps(unfinished) == {str(BEFORE), str(LAST)}
    goes_on_as_undisturbed(tiny, unfinished, finished)


@pytest.mark.slow
def test_a_second_sigterm_ends_a_run_at_once(tiny: Tiny, unfinished: Path, finished: Path) -> None:
    with started(tiny, unfinished) as process:
        wait_for(process, f"resumed at step {BEFORE}")
        while process.poll() is None:
            process.terminate()
            time.sleep(0.01)
        end(process, 128 + signal.SIGTERM)
    assert str(BEFORE) in steps(unfinished)
    goes_on_as_undisturbed(tiny, unfinished, finished)
