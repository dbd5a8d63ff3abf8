"""Keeps orbax and its threads from printing what the main thread reports in one message."""

import logging
import sys
import traceback

_previous = sys.unraisablehook


def quiet_orbax() -> None:
    """Leave out the tracebacks that orbax, asyncio and TensorStore print of errors which orbax raises, too.

    Of a full disk they are hundreds of lines around the one that says what to do. For the whole process, once.
    """
    global _previous
    for name in ("absl", "asyncio"):
        logging.getLogger(name).addFilter(_is_news)
    if sys.unraisablehook is not _unraisable:
        _previous, sys.unraisablehook = sys.unraisablehook, _unraisable


def _is_news(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    return error is None or not any("orbax" in frame.filename for frame in traceback.extract_tb(error.__traceback__))


def _unraisable(unraisable: "sys.UnraisableHookArgs") -> None:
    # TensorStore's threads come back to the event loop that orbax closed at the first error.
    if str(unraisable.exc_value) != "Event loop is closed":
        _previous(unraisable)
