"""A run that is told to stop, or whose output nobody reads any more.

SIGTERM, Ctrl-C and a terminal that goes away, at any moment: the run saves and ends, and the same command then goes
on; a second signal ends it at once. A lost reader changes nothing.
"""

import os
import re
import signal
import time
from pathlib import Path

import pytest

import hamjax
from hamjax.runtime.errors import PreemptedError
from tests.helpers.started import (
    BEFORE,
    LAST,
    Tiny,
    comparable,
    end,
    goes_on_as_undisturbed,
    halted,
    started,
    steps,
    wait_for,
)

SAVING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@pytest.mark.parametrize("number", SAVING)
def test_a_run_saves_and_goes_on_as_undisturbed(
    number: signal.Signals, tiny: Tiny, unfinished: Path, finished: Path
) -> None:
    def send(step: int) -> None:
        if step == BEFORE + 1:
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    with pytest.raises(PreemptedError, match=f"stopped by {number.name} at step {BEFORE + 1} of {LAST}"):
        hamjax.train(tiny(), unfinished, on_dispatch=send)
    assert signal.getsignal(number) is before
    goes_on_as_undisturbed(tiny, unfinished, finished)


def test_a_run_under_nohup_outlives_its_terminal(tiny: Tiny, unfinished: Path, finished: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        hamjax.train(tiny(), unfinished, on_dispatch=lambda _: os.kill(os.getpid(), signal.SIGHUP))
    finally:
        signal.signal(signal.SIGHUP, before)
    assert comparable(unfinished) == comparable(finished)


@pytest.mark.slow
def test_ctrl_c_before_there_is_anything_to_save_ends_a_run_at_once(tiny: Tiny, unfinished: Path) -> None:
    with started(tiny, unfinished) as process:
        wait_for(process, "run directory")
        process.send_signal(signal.SIGINT)
        assert "hamjax: interrupted" in end(process, 130)


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(number, marks=pytest.mark.slow if number == signal.SIGTERM else pytest.mark.long)
        for number in SAVING
    ],
)
def test_a_signal_during_compilation(number: signal.Signals, tiny: Tiny, unfinished: Path, finished: Path) -> None:
    with started(tiny, unfinished, "--config.runtime.compilation_cache=off") as process:
        wait_for(process, f"resumed at step {BEFORE}")
        time.sleep(0.3)
        process.send_signal(number)
        errors = end(process, 143)
    assert f"{number.name}: saves, then ends" in errors
    # Before it, or after.
    assert re.search(f"stopped by {number.name} at step ({BEFORE}|{BEFORE + 1}) of {LAST}", errors)
    goes_on_as_undisturbed(tiny, unfinished, finished)


@pytest.mark.slow
def test_a_run_that_lost_its_reader_in_mid_epoch_ends_as_one_that_is_read(
    tiny: Tiny, unfinished: Path, finished: Path
) -> None:
    with started(tiny, unfinished, "--config.train.steps_per_dispatch=1") as process:
        wait_for(process, f"resumed at step {BEFORE}")
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stderr.close()
        assert process.wait(120) == 0
    assert comparable(unfinished) == comparable(finished)


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
def test_a_second_signal_ends_a_run_at_once(tiny: Tiny, unfinished: Path, finished: Path) -> None:
    with started(tiny, unfinished) as process:
        wait_for(process, f"resumed at step {BEFORE}")
        while process.poll() is None:
            process.terminate()
            time.sleep(0.01)
        process.communicate()
        # Once it has saved, the system's own handler is back, and ends it by the signal: 143, too, for a shell.
        assert process.returncode in (128 + signal.SIGTERM, -signal.SIGTERM)
    assert str(BEFORE) in steps(unfinished)
    goes_on_as_undisturbed(tiny, unfinished, finished)
