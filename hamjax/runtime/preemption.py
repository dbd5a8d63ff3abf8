"""SIGTERM, which schedulers send before they take a machine away."""

import os
import signal
import threading
from types import FrameType

import jax
from jax.experimental import multihost_utils


class StopRequest:
    """Tells when SIGTERM asks the run to save and leave; a second one ends the process at once.

    One process alone takes the signal itself. Of several, JAX's preemption service takes it, and lets all
    of them know at the same one of their calls; Python must then leave the signal alone.
    """

    def __init__(self) -> None:
        self._requested, self._calls = False, 0
        self._shared = jax.process_count() > 1
        # Python takes signals in its main thread alone; in a notebook's worker there is none to take.
        self._takes = not self._shared and threading.current_thread() is threading.main_thread()

    def __enter__(self) -> "StopRequest":
        if self._takes:
            self._previous = signal.signal(signal.SIGTERM, self._on_signal)
            # Python runs a signal handler only between bytecodes, so not before a long compilation ends; the wake-up
            # pipe tells our thread at once.
            reading, self._writing = os.pipe()
            os.set_blocking(self._writing, False)
            self._previous_fd = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
            threading.Thread(target=self._listen, args=(reading,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._takes:
            signal.set_wakeup_fd(self._previous_fd)
            os.close(self._writing)  # ends the thread
            signal.signal(signal.SIGTERM, self._previous)

    def __call__(self) -> bool:
        """Return whether to stop here. Every process must ask equally often, at the same places."""
        if self._shared and not self._requested:
            self._calls += 1
            self._requested = multihost_utils.reached_preemption_sync_point(self._calls)
        return self._requested

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._requested = True

    @staticmethod
    def _listen(reading: int) -> None:
        heard = 0
        with open(reading, "rb", buffering=0) as signals:
            while number := signals.read(1):
                heard += ord(number) == signal.SIGTERM
                # The first one saves; who sends a second one does not want to wait for that.
                if heard > 1:
                    os._exit(128 + signal.SIGTERM)
