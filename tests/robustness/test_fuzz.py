"""Mutated input of every kind ends in success or in status 2 with a message; the fuzzer sees it when it does not."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzzing import KINDS
from tests.fuzzing.campaign import FAILURES, Outcome, command_line, histogram, run
from tests.fuzzing.worker import make_mutant

ROOT = Path(__file__).parents[2]
SEED = 0


@pytest.mark.slow
def test_the_fuzzer_sees_defects_crashes_hangs_escapes_and_memory() -> None:
    outcomes = run("tests.helpers.fuzz_stub", SEED, 8, limit_s=10)
    assert [(o.index, o.outcome) for o in outcomes] == list(
        enumerate(["accepted", "refused", "defect", "crash", "hang", "escaped", "memory", "defect"])
    )
    assert [o.parses for o in outcomes] == [False] + 7 * [True]
    *_, row = histogram(outcomes).splitlines()
    assert row.split() == ["all", "8", "7", "1", "0", "1", "1", "6"]


@pytest.mark.parametrize("each", [pytest.param(40, marks=pytest.mark.slow), pytest.param(200, marks=pytest.mark.long)])
def test_mutants_are_accepted_or_refused_with_a_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], each: int
) -> None:
    outcomes = [outcome for kind in KINDS for outcome in run(f"tests.fuzzing.{kind}", SEED, each)]
    with capsys.disabled():
        print(f"\nseed {SEED}\n{histogram(outcomes)}")
    failed = [o for o in outcomes if o.outcome in FAILURES or (o.outcome == "refused" and not o.message)]
    assert not failed, "\n\n".join(f"{o.outcome}: {command_line(o.kind, SEED, o.index)}\n{o.message}" for o in failed)
    for kind in KINDS:
        past = [o.parses for o in outcomes if o.kind == kind]
        assert 2 * sum(past) >= len(past) == each, kind
        _check_command(kind, outcomes, tmp_path / kind)


def _check_command(kind: str, outcomes: list[Outcome], folder: Path) -> None:
    """Give the first mutant that was refused past the parser, and is for a command, to that command."""
    module = importlib.import_module(f"tests.fuzzing.{kind}")
    (folder / "samples").mkdir(parents=True)
    module.make_samples(folder / "samples")
    for outcome in outcomes:
        if outcome.kind == kind and outcome.outcome == "refused" and outcome.parses:
            mutant, _ = make_mutant(module, f"tests.fuzzing.{kind}", SEED, outcome.index, folder)
            if words := module.command(mutant):
                break
    else:
        pytest.fail(f"{kind}: expected a refused mutant for a command")
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2, (words, done.stderr)
    assert "Traceback" not in done.stderr
    assert ": expected" in done.stderr or "Set them with" in done.stderr, done.stderr
