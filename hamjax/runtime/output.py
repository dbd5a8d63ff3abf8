"""Output that may lose its reader, or its disk, before the run ends."""

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast

# What the system says of a pipe whose reader has ended, and of a terminal that is gone.
UNREAD = (errno.EPIPE, errno.EIO)


@contextlib.contextmanager
def outlives_its_readers() -> Iterator[None]:
    """Let this process go on when its stdout or stderr can no longer be written, as after `| head -3`.

    A run of hours must not end because the `tee` beside it was killed: its records are in its folder.
    """
    with (
        open(os.devnull, "w", encoding="utf-8") as nothing,  # for a process that was started without them
        contextlib.redirect_stdout(_lasting(sys.stdout or nothing, sys.__stdout__)),
        contextlib.redirect_stderr(_lasting(sys.stderr or nothing, sys.__stderr__)),
    ):
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()


def _lasting(stream: TextIO, own: TextIO | None) -> TextIO:
    """Return a stream to the same file that drops what cannot be written.

    Args:
        stream: in use.
        own: what Python began with; any other stream, as a notebook's, is returned as it is.
    """
    if stream is not own or not isinstance(stream, io.TextIOWrapper):
        return stream
    with contextlib.suppress(OSError):
        stream.flush()
    raw = _Unread(stream.fileno(), "w", closefd=False)
    text = _Unclosed(
        raw if isinstance(stream.buffer, io.RawIOBase) else io.BufferedWriter(raw),  # raw with PYTHONUNBUFFERED
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
    return cast(TextIO, text)


class _Unclosed(io.TextIOWrapper):
    """A stream that stays open to the end of the process."""

    def close(self) -> None:
        """Flush alone: absl closes the stream that it logs to, and what threads log after that would be an error."""
        self.flush()


class _Unread(io.FileIO):
    """A file that takes everything, also when its reader is gone or its disk full."""

    # At the lowest layer, and for the whole process: what is buffered above it, C++ code, and Python at its exit then
    # meet no error either.
    _is_told = False

    def write(self, data: Any, /) -> int | None:
        """Write bytes; return how many were taken."""
        try:
            return super().write(data)
        except OSError as error:
            if error.errno in UNREAD:
                nothing = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nothing, self.fileno())
                os.close(nothing)
            elif not self._is_told:  # there may be room again later, and somebody to read how much is missing
                self._is_told = True
                with contextlib.suppress(OSError):
                    os.write(2, f"hamjax: some of the output is lost: {error}\n".encode())
            return len(data)
