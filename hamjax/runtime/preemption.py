"""Signals that ask a run to stop.

SIGTERM comes from a scheduler that takes the machine away, SIGINT from Ctrl-C, SIGHUP where the terminal goes away.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

import jax
from jax.experimental import multihost_utils

# When a terminal goes away, both its shell and the kernel send SIGHUP. Two within this time are one.
HANGUP_SECONDS = 2


class StopRequest:
    """Tells when a signal asks the run to save and leave; a second one ends the process at once.

    SIGTERM is taken from the start, SIGINT and SIGHUP inside `saving`. One process alone takes SIGTERM itself. Of
    several, JAX's preemption service takes it, and lets all of them know at the same one of their calls; Python must
    then leave that signal alone, and passes the other two on as SIGTERM.

    Attributes:
        reason: name of the signal that came.
    """

    def __init__(self) -> None:
        self.reason = signal.SIGTERM.name
        self._requested, self._calls = False, 0
        self._shared = jax.process_count() > 1
        self._taken: set[int] = set()
        # Python takes signals in its main thread alone; in a notebook's worker there is none to take.
        self._is_main = threading.current_thread() is threading.main_thread()

    def __enter__(self) -> "StopRequest":
        self._held = contextlib.ExitStack()
        if self._is_main:
            self._held.enter_context(self._heard())
        if not self._shared:
            self._held.enter_context(self._taking(signal.SIGTERM))
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    @contextlib.contextmanager
    def saving(self) -> Iterator[None]:
        """Take SIGINT and SIGHUP as well, while there is something to save."""
        # One that is ignored stays so: under nohup a run outlives its terminal.
        wanted = [n for n in (signal.SIGINT, signal.SIGHUP) if signal.getsignal(n) not in (signal.SIG_IGN, None)]
        with self._taking(*wanted):
            yield

    def __call__(self) -> bool:
        """Return whether to stop here. Every process must ask equally often, at the same places."""
        if self._shared and not self._requested:
            self._calls += 1
            self._requested = multihost_utils.reached_preemption_sync_point(self._calls)
        return self._requested

    @contextlib.contextmanager
    def _taking(self, *numbers: signal.Signals) -> Iterator[None]:
        if not self._is_main:
            yield
            return
        previous = {number: signal.signal(number, self._on_signal) for number in numbers}
        self._taken |= previous.keys()
        try:
            yield
        finally:
            self._taken -= previous.keys()
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.reason = signal.Signals(number).name
        self._requested = not self._shared  # of several processes, JAX's service says when

    @contextlib.contextmanager
    def _heard(self) -> Iterator[None]:
        """Hear of signals in a thread.

        Python runs a signal handler only between bytecodes, so not before a long compilation ends; the wake-up pipe
        tells our thread at once.
        """
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        previous = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        threading.Thread(target=self._listen, args=(reading,), daemon=True).start()
        try:
            yield
        finally:
            signal.set_wakeup_fd(previous)
            os.close(writing)  # ends the thread

    def _listen(self, reading: int) -> None:
        first = None
        with open(reading, "rb", buffering=0) as signals:
            while byte := signals.read(1):
                number, now = ord(byte), time.monotonic()
                if number not in self._taken:
                    continue
                if first is None:
                    first = now
                    self._acknowledge(signal.Signals(number))
                # Who sends a second one does not want to wait until it is saved.
                elif number != signal.SIGHUP or now - first > HANGUP_SECONDS:
                    os._exit(128 + number)

    def _acknowledge(self, number: signal.Signals) -> None:
        print(f"{number.name}: saves, then ends; a second one ends it at once", file=sys.stderr, flush=True)
        if self._shared:
            os.kill(os.getpid(), signal.SIGTERM)
