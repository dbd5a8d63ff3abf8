"""The process: its signals, its run directory's lock, its compilation cache."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import jax
from filelock import FileLock, Timeout

from hamjax.download import user_cache
from hamjax.errors import UserError


@contextmanager
def run_lock(workdir: Path) -> Iterator[None]:
    """Hold a run directory; the system lets go of it however the process ends.

    Raises:
        UserError: another process holds it, or the folder cannot be written to.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        lock = FileLock(workdir / ".lock", timeout=0)
        lock.acquire()
    except Timeout:
        raise UserError(
            f"{workdir}: expected a run directory of our own, got one that another process is "
            "working in; wait for it, or name another one with --workdir."
        ) from None
    except OSError as error:
        raise UserError(
            f"{workdir}: expected a folder that can be written to, got {error}; name another one with --workdir."
        ) from error
    try:
        yield
    finally:
        lock.release()


class StopRequest:
    """Becomes true when SIGTERM asks the run to save and leave; a second one ends at once."""

    def __init__(self) -> None:
        self.requested = False
        self._previous = signal.getsignal(signal.SIGTERM)

    def __enter__(self) -> "StopRequest":
        # Python takes signals in its main thread alone; in a notebook's worker there is none to take.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._previous)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self.requested = True
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def enable_compilation_cache(choice: str) -> str:
    """Keep compiled programs between runs.

    Args:
        choice: `auto` for the user's cache folder, `off`, or a folder.

    Returns:
        The folder in use, or why there is none.
    """
    if choice == "off":
        return "off"
    folder = user_cache() / "xla" if choice == "auto" else Path(choice)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return f"off ({error})"
    jax.config.update("jax_compilation_cache_dir", str(folder))
    return str(folder)
