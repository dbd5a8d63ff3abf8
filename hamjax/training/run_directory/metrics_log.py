"""The records of a run: JSON lines, and the same for TensorBoard."""

import contextlib
import json
import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hamjax.runtime.errors import UserError
from hamjax.runtime.files import write_atomically

ALWAYS = ("step", "wall_s")  # in every line


class Records:
    """`metrics.jsonl` and the TensorBoard events beside it.

    A resumed run first drops what was recorded after the checkpoint it resumes from, the
    validation of its step included, so the file reads as if nothing had happened.

    Raises:
        UserError: making, writing or closing them fails, as on a full disk.
    """

    def __init__(self, workdir: Path, resumed_step: int) -> None:
        self._path = workdir / "metrics.jsonl"
        with self._writing():
            # Rewritten whole under another name: a kill in between must not lose the records of days.
            if self._path.exists():
                kept = [line for line in read_records(self._path) if _is_before(line, resumed_step)]
                write_atomically(self._path, "".join(json.dumps(line) + "\n" for line in kept if resumed_step))
            self._file = self._path.open("a", encoding="utf-8")
            self._board = Board(workdir, resumed_step)
        self._start = time.monotonic()

    def write(self, step: int, **values: Any) -> None:
        """Record values at a step; `__` in a name becomes `/`."""
        named = {name.replace("__", "/"): value for name, value in values.items()}
        line = {"step": step, "wall_s": round(time.monotonic() - self._start, 3), **named}
        with self._writing():  # one write a line: a kill leaves whole lines, or an unfinished last one
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
            self._board.write(step, named)

    def close(self) -> None:
        """Finish both files."""
        with self._writing():
            self._file.close()
            self._board.close()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(
                f"{self._path.parent}: expected to record metrics, got {error}; free some space, or bring the "
                "folder back, and start the same command again; it resumes from the last checkpoint."
            ) from error


class Board:
    """TensorBoard's events of a run.

    Written in the caller's thread. tensorboardX's `SummaryWriter` leaves it to another, and when that one
    dies, as of a full disk, its caller waits for ever.
    """

    def __init__(self, workdir: Path, resumed_step: int) -> None:
        # Imported here: tensorboardX imports torch where that is installed, which takes seconds.
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog  # pyright: ignore  protobuf makes them as it runs
        from tensorboardX.summary import scalar

        self._event, self._scalar, self._file = Event, scalar, EventsWriter(str(workdir / "events"))
        if resumed_step:  # what was recorded after it is to be forgotten
            start = SessionLog(status=SessionLog.START)
            self._file.write_event(Event(wall_time=time.time(), step=resumed_step + 1, session_log=start))

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Record the numbers among values with a `/` in their names."""
        for name, value in values.items():
            if isinstance(value, int | float) and "/" in name and math.isfinite(value):
                summary = self._scalar(name, value)
                self._file.write_event(self._event(wall_time=time.time(), step=step, summary=summary))
        self._file.flush()

    def close(self) -> None:
        """Finish the file."""
        self._file.close()


class Unrecorded:
    """The records of all processes but the first: none."""

    def write(self, step: int, **values: Any) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


def _is_before(line: Mapping[str, Any], checkpoint: int) -> bool:
    """Return whether a line precedes the checkpoint of step `checkpoint`.

    Of that step the training line does; validation runs after the save.
    """
    return line["step"] < checkpoint or (line["step"] == checkpoint and any(name.startswith("train/") for name in line))


def read_records(path: Path) -> list[dict[str, Any]]:
    """Read `metrics.jsonl`, leaving out lines that are none: a kill cuts the last one short, a crash of the machine
    leaves bytes of anything.
    """
    records = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        with contextlib.suppress(ValueError, RecursionError):
            record = json.loads(line)
            if isinstance(record, dict) and all(isinstance(record.get(name), int | float) for name in ALWAYS):
                records.append(record)
    return records
