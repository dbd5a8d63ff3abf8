"""Files written whole or not at all, folders held by one process, room on the disk."""

import contextlib
import os
import shutil
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from hamjax.runtime.errors import UserError

# What NumPy raises at damaged arrays; the first two of the text in their header.
ARRAY_DAMAGE = (
    tokenize.TokenError, SyntaxError, ValueError, TypeError, OSError, EOFError, OverflowError, MemoryError,
)  # fmt: skip


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path to write to, which takes the place of `path` if the block ends without an error.

    The folder is made where it is missing.

    Raises:
        UserError: the disk is full, or there can be no such file.
    """
    # One name, without a number of the process: what a killed process left is written over, and does not fill the disk.
    # The end of the name stays as it is: libraries go by it, Keras by `.weights.h5`.
    part = path.with_name(f".part.{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        os.replace(part, path)
    except OSError as error:
        raise UserError(
            f"{path}: expected to write it, got {error}; free some space, or name another folder, and start the "
            "same command again."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file so that it is there whole or not at all; see `replacing`."""
    with replacing(path) as part:
        part.write_bytes(content if isinstance(content, bytes) else content.encode())


@contextlib.contextmanager
def hold(folder: Path, if_taken: Callable[[], object], *, remedy: str) -> Iterator[None]:
    """Hold a folder, alone among processes; the system lets go of it however the process ends.

    Args:
        folder: is made where it is missing.
        if_taken: called once if another process holds it. It may raise; if it returns, we wait.
        remedy: what the user can do where it cannot be written to, such as "set --workdir".

    Raises:
        UserError: the folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        try:
            # Not 0: a process that was just killed may take a moment to let go.
            lock.acquire(timeout=1)
        except Timeout:
            if_taken()
            lock.acquire()
    except OSError as error:
        raise UserError(f"{folder}: expected a folder that can be written to, got {error}; {remedy}.") from error
    try:
        yield
    finally:
        lock.release()


def require_room(folder: Path, needed: int, *, remedy: str) -> None:
    """Check that the disk of a folder has room.

    Args:
        folder: exists.
        needed: bytes.
        remedy: what the user can do besides freeing some, such as "set --workdir".

    Raises:
        UserError: there is less.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(f"{folder}: expected {needed:,} bytes of free space, got {free:,}; free some, or {remedy}.")
