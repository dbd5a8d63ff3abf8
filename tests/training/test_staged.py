"""One look says what a job would miss without a network, and changes nothing."""

import hashlib
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from hamjax.commands.training_run import train
from hamjax.config import Config, make_config
from hamjax.models.pretrained import official_files as published
from hamjax.models.pretrained.official_files import PublishedFile
from hamjax.runtime.errors import UserError
from hamjax.training.setup.preflight import State, check
from tests.helpers import program

ROOT = Path(__file__).parents[2]
Tiny = Callable[..., Config]


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise AssertionError("the network was asked")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    for name in ("getaddrinfo", "gethostbyname"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def _states(config: Config, workdir: Path) -> dict[str, list[State]]:
    states: dict[str, list[State]] = {}
    for finding in check(config, workdir):
        states.setdefault(finding.what, []).append(finding.state)
    return states


def _note(config: Config, workdir: Path, what: str) -> str:
    return "\n".join(finding.note for finding in check(config, workdir) if finding.what == what)


def _tree(root: Path) -> dict[str, Any]:
    return {str(path): path.stat().st_mtime_ns for path in root.rglob("*")}


def test_what_is_missing_comes_with_the_command_that_brings_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--config", str(ROOT / "configs" / "densenet_s5.py"), "--workdir", str(tmp_path / "run"))
    assert program.run("check", *words, f"--config.data.data_dir={tmp_path / 'data'}") == 2
    printed = capsys.readouterr()
    assert f"hamjax prepare --download --data-dir {tmp_path / 'data'}" in printed.out
    assert "hamjax weights --model densenet201" in printed.out
    assert printed.err == "hamjax: a job could not start, not ready: data, weights\n"
    assert _tree(tmp_path) == {}


def test_a_wrong_command_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.run("check", "--config", str(ROOT / "configs" / "cnn_s1.py"), "--config.model.weights=imagenet") == 2
    assert "hamjax: model.weights=imagenet: expected a network with" in capsys.readouterr().err


def test_a_run_that_was_found_ready_starts_and_nothing_was_changed(
    tmp_path: Path, tiny: Tiny, capsys: pytest.CaptureFixture[str]
) -> None:
    workdir = tmp_path / "run"
    config = tiny(data__data_dir=str(tmp_path / "data"), train__epochs=1, train__max_steps=2)
    words = [f"--config.data.{key}={value}" for key, value in (("data_dir", tmp_path / "data"), ("image_size", 16))]
    command = ("--config", str(ROOT / "configs" / "quickstart.py"), "--workdir", str(workdir), *words)
    later = [State.LATER]
    assert _states(config, workdir) == {
        "data": later * 2, "weights": [State.THERE], "run directory": later, "compiled programs": later
    }  # fmt: skip
    assert program.run("check", *command) == 0
    assert capsys.readouterr().out.endswith("a job could start without a network\n")
    assert _tree(tmp_path) == {}
    train(config, workdir)
    before = _tree(tmp_path)
    assert {state for states in _states(config, workdir).values() for state in states} == {State.THERE}
    assert "finished" in _note(config, workdir, "run directory")
    assert _tree(tmp_path) == before


def test_pixels_of_another_size_are_made_if_there_is_room(
    finished: Path, tmp_path: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny(data__image_size=20)
    assert _states(config, tmp_path / "run")["data"] == [State.THERE, State.LATER]
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=100))
    assert _states(config, tmp_path / "run")["data"] == [State.NOT_READY]
    assert "expected 360,000 bytes of free space" in _note(config, tmp_path / "run", "data")
    assert _states(tiny(), tmp_path / "run")["data"] == [State.THERE] * 2


def test_images_that_a_copy_lacks_are_named(copy: Path, tmp_path: Path, tiny: Tiny) -> None:
    gone = sorted(copy.glob("*.jpg"))[0]
    gone.unlink()
    data = {"data__name": "ham10000", "data__source_dir": str(copy), "data__data_dir": str(tmp_path / "data")}
    assert gone.stem in _note(tiny(**data), tmp_path / "run", "data")
    assert _states(tiny(**data, data__allow_missing=True), tmp_path / "run")["data"] == [State.LATER] * 2


def test_where_the_run_would_go_on_is_said(finished: Path, tmp_path: Path, tiny: Tiny) -> None:
    workdir = Path(shutil.copytree(finished, tmp_path / "run"))
    (workdir / "report" / "test.json").unlink()
    step = max(int(path.name) for path in (workdir / "checkpoints" / "last").iterdir())
    assert _note(tiny(), workdir, "run directory").endswith(f"resumes at step {step}")
    assert _note(tiny(), workdir, "weights") == "in the checkpoint"
    assert "train.seed" in _note(tiny(train__seed=5), workdir, "run directory")
    shutil.rmtree(workdir / "checkpoints")
    assert _note(tiny(), workdir, "run directory").endswith("starts from step 0")


def test_a_place_that_cannot_be_written_to_is_said(tmp_path: Path, tiny: Tiny) -> None:
    (tmp_path / "file").touch()
    inside = str(tmp_path / "file" / "folder")
    assert _states(tiny(), Path(inside))["run directory"] == [State.NOT_READY]
    assert _states(tiny(data__data_dir=inside), tmp_path / "run")["data"] == [State.NOT_READY]
    programs = _states(tiny(runtime__compilation_cache=inside), tmp_path / "run")["compiled programs"]
    assert programs == [State.WITHOUT]  # which costs time alone
    assert _states(tiny(runtime__compilation_cache="off"), tmp_path / "run")["compiled programs"] == [State.WITHOUT]


def test_weights_are_there_as_published_or_as_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = make_config(model="resnet50", strategy="s1")
    kept = tmp_path / "cache" / "hamjax" / "weights" / "resnet50_notop.h5"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"weights")
    file = PublishedFile("resnet", kept.name, hashlib.md5(b"weights").hexdigest())
    monkeypatch.setitem(published.FILES, "resnet50", {False: file})
    assert _note(config, tmp_path / "run", "weights") == str(kept)
    kept.write_bytes(b"damaged")
    assert _states(config, tmp_path / "run")["weights"] == [State.NOT_READY]
    config = make_config(model="resnet50", strategy="s1", model__weights=str(kept))
    assert "HDF5" in _note(config, tmp_path / "run", "weights")


def test_a_network_that_cannot_do_what_is_asked_is_refused(tmp_path: Path, tiny: Tiny) -> None:
    with pytest.raises(UserError, match="set --config.model.weights=random"):
        check(tiny(model__weights="imagenet"), tmp_path)
