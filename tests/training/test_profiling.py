"""A profile is recorded when asked for, of the steps asked for, and opens in Perfetto."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from hamjax import train
from hamjax.config import Config
from hamjax.training.profiler import WARM_UP

Make = Callable[..., Config]


def _steps(workdir: Path) -> list[int]:
    (trace,) = workdir.glob("profile/plugins/profile/*/perfetto_trace.json.gz")
    events = json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
    return sorted({int(e["args"]["step_num"]) for e in events if e.get("name") == "train" and "args" in e})


def test_the_steps_asked_for_are_recorded_once(tiny: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(tiny(train__profile_steps=2, train__max_steps=23), tmp_path / "run")
    assert _steps(tmp_path / "run") == [WARM_UP, WARM_UP + 1]
    assert list((tmp_path / "run").glob("profile/plugins/profile/*/*.xplane.pb"))  # TensorBoard's
    assert "perfetto_trace.json.gz" in capsys.readouterr().out


def test_a_run_too_short_to_profile_says_so(tiny: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(tiny(train__profile_steps=3, train__max_steps=5), tmp_path / "run")
    assert not (tmp_path / "run" / "profile").exists()
    assert f"expected more than {WARM_UP} steps" in capsys.readouterr().out
