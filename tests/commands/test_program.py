"""The program `hamjax`: its commands, their help, and the statuses that errors become."""

import contextlib
import importlib
import os
import runpy
import shutil
import subprocess
import sys
import tomllib
from importlib import resources
from pathlib import Path

import pytest

import hamjax
from hamjax.commands import COMMANDS
from hamjax.config import KEYS, make_config
from hamjax.runtime.errors import DivergedError, PeerLostError, PreemptedError, UserError
from tests.helpers import program

ROOT = Path(__file__).parents[2]
SCRIPTS = {  # what commands were called before there was a program
    "evaluate_checkpoint": "evaluate",
    "compare_runs": "compare",
    "prepare_data": "prepare",
    "convert_weights": "weights",
    "check_staged": "check",
    "reproduce": "reproduce",
    "launch_local": "launch",
    "print_networks": "networks",
}
LONGEST_SCRIPT = 10


def test_the_installed_program_is_the_one_tested_here() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    module, _, function = project["scripts"]["hamjax"].partition(":")
    assert getattr(importlib.import_module(module), function) is program.main
    assert project["version"] == hamjax.__version__


def test_a_wheel_holds_what_the_package_reads() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    folders = {path.parent for path in (ROOT / "hamjax").rglob("*.*") if path.suffix not in (".py", ".pyc")}
    assert {folder.relative_to(ROOT).as_posix().replace("/", ".") for folder in folders} == set(declared)
    for package, names in declared.items():
        assert all(resources.files(package).joinpath(name).is_file() for name in names)


@pytest.mark.parametrize("words", [("--help",), ("-h",)])
def test_help_lists_the_commands_with_a_line_each(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert program.run(*words) == 0
    printed = capsys.readouterr().out
    for command, summary in COMMANDS.items():
        assert f"  {command:10} {summary}\n" in printed


def test_without_a_command_the_help_is_printed_and_the_status_is_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.run() == 2
    assert "usage: hamjax COMMAND" in capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert program.run(command, "--help") == 0
    printed = capsys.readouterr().out
    assert f"hamjax {command}" in printed
    assert "scripts/" not in printed
    if command in ("train", "check"):
        assert all(f"--config.{key}=" in printed for key in KEYS)


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.run("--version") == 0
    assert capsys.readouterr().out == f"hamjax {hamjax.__version__}\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("trian",), "got 'trian'; did you mean train?"),
        (("--config", "quikstart"), "did you mean quickstart?"),
        (
            ("train", "--config", "quickstart", "--config.data.imagesize=3"),
            "data.imagesize: did you mean data.image_size?",
        ),
        (("weights", "--model", "densenet21"), "did you mean densenet201?"),
        (("reproduce", "--workdir", "x", "--models", "cnn,resnet5"), "did you mean resnet50?"),
    ],
)
def test_a_misspelled_word_is_answered_with_the_nearest_and_status_2(
    words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program.run(*words) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (UserError("mend this"), 2, "hamjax: mend this\n"),
        (DivergedError("NaN"), 3, "hamjax: NaN\n"),
        (PeerLostError("gone"), 75, "hamjax: gone\n"),
        (PreemptedError("saved"), 143, "hamjax: saved\n"),
        (KeyboardInterrupt(), 130, "hamjax: interrupted"),
        (ZeroDivisionError("a defect"), 1, "Traceback"),
    ],
    ids=["user", "diverged", "peer", "preempted", "interrupted", "defect"],
)
def test_an_error_ends_a_command_with_its_message_and_status(
    error: BaseException, status: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: object) -> None:
        raise error

    monkeypatch.setattr("hamjax.commands.networks.main", fail)
    assert program.run("networks") == status
    assert capsys.readouterr().err.startswith(said)


def test_a_preempted_run_ends_with_the_status_that_its_config_says(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise PreemptedError("saved")

    monkeypatch.setattr("hamjax.commands.training_run.train", stop)
    assert program.run("train", "--config", "quickstart", "--config.runtime.preempt_exit_code=99") == 99


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_is_its_command(
    script: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = ROOT / "scripts" / f"{script}.py"
    assert len(path.read_text().splitlines()) <= LONGEST_SCRIPT
    monkeypatch.setattr(sys, "argv", [str(path), "--help"])
    assert program.run(SCRIPTS[script], "--help") == 0
    expected = capsys.readouterr().out
    with contextlib.suppress(SystemExit):  # argparse's end after help
        runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out == expected


def test_a_script_gives_its_own_name_with_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = ROOT / "scripts" / "compare_runs.py"
    monkeypatch.setattr(sys, "argv", [str(path), "none", "neither"])
    with pytest.raises(SystemExit, match="2"):
        runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().err.startswith("compare_runs: none: expected a finished run")


def test_the_name_that_config_files_import_stays() -> None:
    from hamjax import recipes

    assert recipes.make_config is make_config is hamjax.make_config


def test_messages_name_commands_and_no_files_that_a_wheel_lacks() -> None:
    documented = {"compiler.py"}  # its comments say which benchmark shows it
    for path in (ROOT / "hamjax").rglob("*.py"):
        assert path.name in documented or "scripts/" not in path.read_text(), path


@pytest.mark.slow
def test_a_wheel_works_in_an_empty_folder(tmp_path: Path) -> None:
    source = tmp_path / "source"  # setuptools leaves its files beside what it builds
    shutil.copytree(ROOT / "hamjax", source / "hamjax", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    where = ("--no-deps", "--no-build-isolation", "--no-index", "-q", "--disable-pip-version-check")
    pip = [sys.executable, "-m", "pip", "install", *where, "--target", str(tmp_path / "site"), str(source)]
    subprocess.run(pip, check=True, capture_output=True)
    folder = tmp_path / "empty"
    folder.mkdir()
    quick = {"XLA_FLAGS": os.environ["XLA_FLAGS"]}  # how these tests compile

    def hamjax_says(*words: str, status: int = 0) -> str:
        command = [sys.executable, str(tmp_path / "site" / "bin" / "hamjax"), *words]
        variables = {"PYTHONPATH": str(tmp_path / "site"), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"} | quick
        done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=600)
        assert done.returncode == status, done.stderr
        return done.stdout + done.stderr

    assert "reproduce" in hamjax_says("--help")
    assert "--config.data.image_size=224" in hamjax_says("train", "--help")
    assert "25,756,711" in hamjax_says("networks")
    assert "data.image_size" in hamjax_says("train", "--config", "quickstart", "--config.data.imagesize=3", status=2)
    small = ("--config.data.synthetic_images=300", "--config.train.epochs=1", "--config.data.image_size=16",
             "--config.sampling.threshold=20")  # fmt: skip
    assert "balanced accuracy" in hamjax_says("train", "--config", "quickstart", *small)
    assert "balanced accuracy" in hamjax_says("evaluate", "--workdir", "runs/quickstart", "--out", "e")
    assert (folder / "e" / "index.html").stat().st_size > 0
