"""A process goes on when nobody reads what it prints."""

import io
import os
import pty
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from hamjax.runtime.output import outlives_its_readers


def _pipe() -> tuple[int, int]:
    return os.pipe()


def _terminal() -> tuple[int, int]:
    return pty.openpty()


@contextmanager
def _printing_to(writing: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[io.TextIOWrapper]:
    """Let a file be the stdout that Python began with."""
    raw: Any = io.FileIO(writing, "w")  # as with PYTHONUNBUFFERED
    stdout = io.TextIOWrapper(raw, write_through=True)
    monkeypatch.setattr(sys, "stdout", stdout)
    monkeypatch.setattr(sys, "__stdout__", stdout)
    yield stdout


@pytest.mark.parametrize("opened", [_pipe, _terminal])
def test_what_is_read_arrives_and_the_rest_is_dropped(
    opened: Callable[[], tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, writing = opened()
    with _printing_to(writing, monkeypatch) as stdout, outlives_its_readers():
        assert sys.stdout.isatty() == (opened is _terminal)
        print("grüße")
        assert os.read(reading, 99).decode().rstrip() == "grüße"
        os.close(reading)
        for _ in range(3):
            print("unread" * 10_000)
        os.write(writing, b"code that is not Python's")
    assert sys.stdout is stdout
    stdout.close()


def test_what_is_said_after_a_library_has_closed_the_stream_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = _pipe()
    with _printing_to(writing, monkeypatch) as stdout, outlives_its_readers():
        stream = sys.stdout
    stream.close()  # as absl does at a process's end, once the stream is not `sys.stderr` any more
    print("late", file=stream, flush=True)
    assert os.read(reading, 100) == b"late\n"
    os.close(reading)
    stdout.close()


def test_a_full_disk_is_said_once(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    with _printing_to(os.open("/dev/full", os.O_WRONLY), monkeypatch) as stdout, outlives_its_readers():
        print("one", flush=True)
        print("two", flush=True)
    stdout.close()
    assert capfd.readouterr().err.count("some of the output is lost: [Errno 28] No space left on device") == 1


def test_a_process_without_an_output_prints_into_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    with outlives_its_readers():
        print("nobody", file=sys.stderr)
        assert not sys.stderr.isatty()


def test_a_notebooks_output_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with outlives_its_readers():
        print("kept")
    assert capsys.readouterr().out == "kept\n"
