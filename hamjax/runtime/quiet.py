"""Silence for orbax and its threads, where the main thread reports the same error in one message."""

import logging
import sys
import traceback

_previous = sys.unraisablehook


def quiet_orbax() -> None:
    """Leave out the tracebacks that orbax, asyncio and TensorStore print of errors which orbax also raises.

    On a full disk they bury our one-line message under hundreds of lines. Affects the whole process; calling it twice
    is harmless.
    """
    # Filters and a hook, not a log level: what orbax logs of anything else must still be seen.
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
