"""What an export says of a run, and what it refuses: nothing is left then but what was there."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hamjax
from hamjax.config import make_config
from hamjax.exports import network as network_room
from hamjax.exports.libraries import load_library
from hamjax.runtime.errors import UserError
from tests.helpers import program
from tests.helpers.untrained_run import random_variables, write_run


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("cnn") / "run"
    config = make_config(model="cnn", strategy="s1", data__name="synthetic", data__image_size=4,
                         data__source_dir="/home/somebody/images")  # fmt: skip
    write_run(workdir, config, random_variables(config))
    return workdir


@pytest.fixture
def workdir(whole: Path, tmp_path: Path) -> Path:
    """A run of the CNN, free to be damaged."""
    return Path(shutil.copytree(whole, tmp_path / "run"))


def _facts(path: Path) -> dict[str, str]:
    with load_library("safetensors").safe_open(path, "numpy") as file:
        return file.metadata()


def _report(workdir: Path, **changes: Any) -> None:
    """Write what a report leaves of its scores."""
    summary = {"model": "cnn", "strategy": "s1", "seed": 0, "split": {}, "data_fingerprint": "", "per_class": {},
               "alarms": [], "checkpoint": {"name": "last", "step": 1}, "tta": "none", "accuracy": 0.75,
               "calibration": {"temperature": 1.25}}  # fmt: skip
    (workdir / "report").mkdir()
    (workdir / "report" / "test.json").write_text(json.dumps(summary | changes))


def test_scores_and_temperature_are_those_of_the_report(workdir: Path, tmp_path: Path) -> None:
    _report(workdir)
    facts = _facts(hamjax.export(workdir, tmp_path / "a", format="safetensors"))
    assert json.loads(facts["test_scores"]) == {"accuracy": 0.75}
    assert json.loads(facts["temperature"]) == 1.25


@pytest.mark.parametrize(
    "changes", [{"checkpoint": {"name": "best", "step": 1}}, {"tta": "d4"}, {"alarms": 3}, {"tta": ["none"]}]
)
def test_scores_of_something_else_are_left_out(workdir: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    _report(workdir, **changes)
    assert not {"test_scores", "temperature"} & set(
        _facts(hamjax.export(workdir, tmp_path / "a", format="safetensors"))
    )


def test_no_path_of_the_machine_is_passed_on(workdir: Path, tmp_path: Path) -> None:
    path = hamjax.export(workdir, tmp_path / "a", format="safetensors")
    assert not any("/" in value for name, value in _facts(path).items() if name != "class_names")


def test_a_file_that_computes_something_else_is_refused(
    workdir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out" / "a.safetensors"
    hamjax.export(workdir, out, format="safetensors")
    before = out.read_bytes()
    named = network_room.named_leaves
    factors = {"params/predictions/kernel": 1.1}
    monkeypatch.setattr(
        "hamjax.exports.safetensors_format.named_leaves",
        lambda tree: ((name, leaf * np.float32(factors.get(name, 1))) for name, leaf in named(tree)),
    )
    with pytest.raises(
        UserError, match=r"expected the probabilities of the run to 0\.0001, got a difference of 0\.[1-9]"
    ):
        hamjax.export(workdir, out, format="safetensors")
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    assert out.read_bytes() == before


@pytest.mark.parametrize(
    ("format", "library"),
    [
        ("onnx", "jax2onnx"),
        ("onnx", "onnxruntime"),
        ("stablehlo", "flatbuffers"),
        ("keras", "keras"),
        ("safetensors", "safetensors.numpy"),
    ],
)
def test_a_missing_library_is_answered_with_how_to_install_it(
    workdir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str, library: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(
        UserError, match=r"expected this library of hamjax's extra `export`.*pip install \"hamjax\[export\]\""
    ):
        hamjax.export(workdir, tmp_path / "out" / "a.keras", format=format)
    assert not list((tmp_path / "out").glob("*"))


def _damage_arrays(workdir: Path) -> None:
    for path in workdir.glob("checkpoints/**/d/*"):
        path.write_bytes(b"")


DAMAGES: list[tuple[Callable[[Path], object], str]] = [
    (shutil.rmtree, "expected a run directory with a config.json"),
    (lambda run: (run / "config.json").write_text('{"model": "bert"}'), "expected what a run wrote"),
    (lambda run: shutil.rmtree(run / "checkpoints"), "expected the checkpoints of a run"),
    (_damage_arrays, "checkpoint"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGES)
def test_a_damaged_or_foreign_run_is_refused_with_status_2(
    workdir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[Path], object], message: str
) -> None:
    damage(workdir)
    out = tmp_path / "out" / "a.safetensors"
    assert program.run("export", "--workdir", workdir, "--format", "safetensors", "--out", out) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--format", "onx", "--out", "a"), "did you mean onnx?"),
        (("--format", "keras", "--out", "a.h5"), "a name that ends in .keras or .weights.h5"),
        (("--format", "safetensors", "--out", "a", "--checkpoint", "7"), "7"),
    ],
)
def test_what_cannot_be_written_is_refused_with_status_2(
    workdir: Path, words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program.run("export", "--workdir", workdir, *words) == 2
    assert message in capsys.readouterr().err


def test_the_command_says_what_it_has_written(
    workdir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "a.safetensors"
    assert program.run("export", "--workdir", workdir, "--format", "safetensors", "--out", out) == 0
    assert f"{out}: cnn, checkpoint last of step 1, as safetensors" in capsys.readouterr().out
    assert out.is_file()
