"""Errors that a user can meet, and the exit status with which each one ends a command.

`hamjax.commands` turns them into one message and a status. Any other exception is a defect and keeps its traceback.
"""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A problem that the user can fix; the message says what was expected, what was found, and what to do."""

    # As argparse and shells have it for wrong usage.
    exit_status = 2


class DivergedError(UserError):
    """The loss became NaN or infinite; the last good checkpoint is kept."""

    # A status of its own: a scheduler must not start the run again, as it would diverge again.
    exit_status = 3


class PeerLostError(UserError):
    """Another process of the job went away; the same command resumes from the last checkpoint."""

    # EX_TEMPFAIL of sysexits.h: try again.
    exit_status = 75


class PreemptedError(UserError):
    """A signal asked the run to stop; it saved first and continues when restarted."""

    # What a shell reports of a process that SIGTERM ended (128 + 15): schedulers know it.
    exit_status = 143


def name_some(items: Iterable[str], limit: int = 10) -> str:
    """Join up to `limit` items for a message, and count the rest."""
    listed = list(items)
    rest = len(listed) - limit
    return ", ".join(listed[:limit]) + (f" and {rest} more" if rest > 0 else "")


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that a misspelled one is most like, or None if none is like it."""
    return next(iter(difflib.get_close_matches(word.lower(), list(known), n=1)), None)


def expected_one_of(what: str, known: Iterable[str], got: object) -> str:
    """Return the message for a word that is none of the known ones, with the nearest of them."""
    known = list(known)
    near = nearest(str(got), known)
    return f"{what}: expected one of {', '.join(known)}, got {got!r}" + (f"; did you mean {near}?" if near else "")
