"""Who works in a run directory: one job at a time."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from hamjax.runtime.errors import UserError


@contextlib.contextmanager
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
