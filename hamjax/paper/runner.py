"""Cells one after another, each in a process of its own that can be stopped at any time."""

import collections
import functools
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import IO

from hamjax.paper.cells import FAILURE, Cell, read_state
from hamjax.runtime.errors import PreemptedError
from hamjax.runtime.files import hold, write_atomically
from hamjax.runtime.say import Say

say_now: Say = functools.partial(print, flush=True)  # into a file too
LOG = "log.txt"
QUIET_SECONDS = 30  # between two lines of progress where there is no terminal
KEPT_LINES = 20  # of a cell's output, in which the message of a failure is looked for


def run_cells(cells: Sequence[Cell], say: Say = say_now) -> list[Cell]:
    """Run the cells that are not finished; return those that failed.

    A cell that fails is recorded in its folder and the next one starts. SIGTERM, SIGINT and SIGHUP are
    passed on to the running cell, which saves; the same call later resumes there.

    Raises:
        PreemptedError: SIGTERM or SIGHUP came, here or to the cell.
        KeyboardInterrupt: SIGINT came.
    """
    failed = []
    with _Stop() as stop:
        for k, cell in enumerate(cells, 1):
            label = f"[{k}/{len(cells)}] {cell.name}"
            # Twice: the process that was waited for may have finished the cell.
            if not read_state(cell).summary:
                _wait_for_others(cell, label, say)
            if read_state(cell).summary:
                say(f"{label}: finished before")
                continue
            start = time.monotonic()
            message = _run(cell, label, stop, say)
            if message:
                failed.append(cell)
            say(f"{label}: {message or 'finished'} ({time.monotonic() - start:.0f} s, {cell.workdir / LOG})")
    return failed


class _Stop:
    """Passes SIGTERM, SIGINT and SIGHUP on to the running cell as SIGTERM, on which it saves."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._starting = False
        self._got: int | None = None
        self._previous = {}

    def __enter__(self) -> "_Stop":
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup leaves SIGHUP
                self._previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    @contextmanager
    def started(self, command: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
        """Start a cell and wait for its end; raise what a signal stands for, if one came."""
        self._starting = True
        # A group of its own: what a terminal sends to ours is passed on once. Should we be killed, it goes on to its
        # end, and the same command waits for it.
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors="replace", process_group=0,
        ) as self._process:  # fmt: skip
            self._starting = False
            if self._got is not None:
                self._process.terminate()
            yield self._process
        self._process = None
        self._leave_if_asked()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del frame
        if number == signal.SIGHUP and self._got is not None:
            return  # when a terminal goes away, both its shell and the kernel send it
        # Passed on in the handler, not later: the loop may be waiting for the cell's next line for minutes.
        self._got = number
        if self._process is not None:
            self._process.terminate()
        elif not self._starting:
            self._leave_if_asked()

    def _leave_if_asked(self) -> None:
        if self._got == signal.SIGINT:
            raise KeyboardInterrupt
        if self._got is not None:
            raise _stopped()


def _stopped() -> PreemptedError:
    return PreemptedError("stopped; the same command resumes here.")


def _wait_for_others(cell: Cell, label: str, say: Say) -> None:
    """Wait while another process works in the folder: a job of an array, or what a kill left over."""
    waiting = f"{label}: waiting for another process that is working in it"
    with hold(cell.workdir, lambda: say(waiting), remedy="name another one with --workdir"):
        pass  # the cell's own process takes it next


def _run(cell: Cell, label: str, stop: _Stop, say: Say) -> str:
    """Run a cell to its end; return why it failed, or an empty text."""
    (cell.workdir / FAILURE).unlink(missing_ok=True)
    # A process of its own: a crash, or memory that is not given back, costs this cell alone.
    command = [sys.executable, "-m", "hamjax.main", *cell.words]
    last = collections.deque[str](maxlen=KEPT_LINES)
    with (cell.workdir / LOG).open("a", encoding="utf-8") as log, stop.started(command) as process:
        assert process.stdout is not None
        for line in _watched(process.stdout, log, label):
            last.append(line)
    # A scheduler may have stopped the cell and not us: going on to the next one would waste what is left of our time.
    if process.returncode in (cell.config.runtime.preempt_exit_code, -signal.SIGTERM):
        raise _stopped()
    if process.returncode == 0:
        return ""
    message = _reason(list(last))
    failure = {"status": process.returncode, "message": message}
    write_atomically(cell.workdir / FAILURE, json.dumps(failure, indent=2) + "\n")
    return f"failed with status {process.returncode}: {message}"


def _watched(output: IO[str], log: IO[str], label: str) -> Iterator[str]:
    """Yield a process's lines, keep them in the log, show how far it is."""
    # A terminal has one line that is written over; a log file gets a line now and then, not thousands.
    is_terminal, shown = sys.stderr.isatty(), time.monotonic()
    for line in output:
        log.write(line)
        log.flush()
        yield line.rstrip()
        if not line.startswith("step "):
            continue
        text = f"{label}: {line.rstrip()}"
        if is_terminal:
            width = shutil.get_terminal_size().columns - 1
            print(f"{text[:width]:{width}}", end="\r", file=sys.stderr, flush=True)
        elif time.monotonic() - shown > QUIET_SECONDS:
            shown = time.monotonic()
            print(text, file=sys.stderr, flush=True)
    if is_terminal:
        print(" " * (shutil.get_terminal_size().columns - 1), end="\r", file=sys.stderr, flush=True)


def _reason(lines: list[str]) -> str:
    """Return the message at the end of a failed process's output."""
    starts = [i for i, line in enumerate(lines) if line.startswith("hamjax: ")]
    message = "\n".join(lines[starts[-1] :]).removeprefix("hamjax: ") if starts else "".join(lines[-1:])
    return message or "it printed nothing"
