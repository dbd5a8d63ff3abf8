"""The commands as a user gives them: what they refuse, and how their process ends."""

import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from hamjax.runtime.errors import UserError
from hamjax.runtime.preemption import StopRequest
from hamjax.training.run_directory import lock
from tests.conftest import read_rows
from tests.helpers import program

ROOT = Path(__file__).parents[2]


def _command(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], cwd=cwd, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no --config"),
        (["--config", "configs/none.py"], "configs/none.py"),
        (["--config", "configs/cnn_s2.py", "--config.data.nonsense=1"], "nonsense"),
        (["--config", "configs/cnn_s2.py", "--config.train.epochs=many"], "many"),
        (["--config", "configs/cnn_s2.py", "--config.sampling.strategy=s9"], "s9"),
        (["--config", "configs/cnn_s2.py", "--config.data.split=random"], "data.split"),
        (["--config", "configs/cnn_s2.py", "--nonsense"], "nonsense"),
        (["--config", "configs/cnn_s2.py", "extra"], "extra"),
        (["--config", "configs/cnn_s2.py"], "--download"),
        (["--config", "configs/cnn_s2.py", "--config.data.source_dir=nowhere"], "nowhere"),
    ],
)
def test_the_command_line_refuses_with_status_2(tmp_path: Path, words: list[str], message: str) -> None:
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    done = _command("-m", "hamjax.main", *words, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_without_weights_or_a_network_the_command_line_names_random_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("hamjax.runtime.download.time.sleep", lambda seconds: None)
    assert program.run("train", "--config", "densenet_s5") == 2
    assert "--config.model.weights=random" in capsys.readouterr().err


def test_preparing_refuses_with_status_2(copy: Path, tmp_path: Path) -> None:
    gone = sorted(copy.glob("*.jpg"))[0]
    gone.unlink()
    command = (
        "scripts/prepare_data.py",
        "--source",
        str(copy),
        "--data-dir",
        str(tmp_path / "d"),
        "--image-size",
        "16",
    )
    done = _command(*command)
    assert done.returncode == 2
    assert gone.stem in done.stderr
    done = _command(*command, "--allow-missing")
    assert done.returncode == 0
    assert f"{len(read_rows(copy)) - 1} images" in done.stdout
    assert gone.stem in done.stdout


BUSY = (
    "import hashlib, os, signal, time; from hamjax.runtime.preemption import StopRequest\n"
    "with StopRequest() as stop, stop.saving():\n"
    "    os.kill(os.getpid(), signal.{name})\n"
    "    while not stop(): time.sleep(.01)\n"
    "    print('asked', flush=True)\n"
    "    hashlib.pbkdf2_hmac('sha256', b'', b'', {rounds})  # as a compilation: long, and none of it Python\n"
)


def _busy(number: signal.Signals, rounds: int) -> subprocess.Popen[str]:
    code = BUSY.format(name=number.name, rounds=rounds)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_the_run_at_once(number: signal.Signals) -> None:
    with _busy(number, 10**9) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "asked\n"
        process.send_signal(number)
        assert process.wait(20) == 128 + number


def test_the_two_hangups_of_a_terminal_that_goes_away_are_one() -> None:
    with _busy(signal.SIGHUP, 10**6) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "asked\n"
        process.send_signal(signal.SIGHUP)
        assert process.wait(20) == 0


def test_a_stop_request_leaves_signals_as_they_were() -> None:
    def handlers() -> list[object]:
        return [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)]

    before = handlers()
    with StopRequest() as stop:
        assert [new is old for new, old in zip(handlers(), before, strict=True)] == [False, True, True]
        with stop.saving():
            assert [new is old for new, old in zip(handlers(), before, strict=True)] == [False, False, False]
        assert handlers()[1:] == before[1:]
    assert handlers() == before
    assert signal.set_wakeup_fd(-1) == -1


def test_the_lock_ends_with_its_process(tmp_path: Path) -> None:
    code = (
        "import time; from pathlib import Path; from hamjax.training.run_directory.lock import run_lock\n"
        f"with run_lock(Path({str(tmp_path)!r})): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(UserError), lock.run_lock(tmp_path):
            pass
        holder.kill()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            with lock.run_lock(tmp_path):
                return
        except UserError:
            threading.Event().wait(0.1)
    pytest.fail("the lock outlived its process")
