"""What a run says while it runs: JSON lines, TensorBoard, and the terminal."""

import contextlib
import json
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from tqdm import tqdm

from hamjax.errors import UserError

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
            if self._path.exists():
                kept = [line for line in read_records(self._path) if _is_before(line, resumed_step)]
                part = self._path.with_suffix(".part")
                part.write_text("".join(json.dumps(line) + "\n" for line in kept if resumed_step))
                os.replace(part, self._path)
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
                "folder back, and start the same command again, it goes on from the last checkpoint."
            ) from error


class Board:
    """TensorBoard's events of a run.

    Written in the caller's thread. tensorboardX's `SummaryWriter` leaves it to another, and when that one
    dies, as of a full disk, its caller waits for ever.
    """

    def __init__(self, workdir: Path, resumed_step: int) -> None:
        # This imports torch where that is installed.
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
    """Stands for `Records` in all processes but the first."""

    def write(self, step: int, **values: Any) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


def _is_before(line: Mapping[str, Any], checkpoint: int) -> bool:
    """Say whether a line was recorded before the checkpoint of a step: of its own step, only the training is."""
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


class Meter:
    """Images a second and the wait for data, over a window.

    Attributes:
        last_wait: seconds that the last dispatch waited for its batches.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start a window."""
        self._start, self._wait, self._images, self._steps = time.perf_counter(), 0.0, 0, 0
        self.last_wait = 0.0

    def add(self, images: int, steps: int, wait: float) -> None:
        """Count images and steps, and the seconds that the loop waited for them."""
        self._images, self._steps, self._wait = self._images + images, self._steps + steps, self._wait + wait
        self.last_wait = wait

    def rates(self) -> dict[str, float]:
        """Return `throughput__*` values of the window."""
        seconds = max(time.perf_counter() - self._start, 1e-9)
        steps = max(self._steps, 1)
        return {
            "throughput__images_per_second": round(self._images / seconds, 1),
            "throughput__step_ms": round(1e3 * seconds / steps, 2),
            "throughput__data_wait_ms": round(1e3 * self._wait / steps, 3),
            "throughput__data_wait_share": round(self._wait / seconds, 4),
        }


class Progress:
    """A bar on a terminal, a line a window elsewhere."""

    def __init__(self, total: int, initial: int, *, shown: bool = True) -> None:
        self._is_terminal = shown and sys.stderr.isatty()
        self._total, self._initial, self._start = total, initial, time.perf_counter()
        self._bar = tqdm(total=total, initial=initial, unit="step", disable=not self._is_terminal, dynamic_ncols=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def advance(self, steps: int) -> None:
        """Move the bar."""
        self._bar.update(steps)

    def window(self, step: int, epoch: int, loss: float, accuracy: float, rates: dict[str, float]) -> None:
        """Show the averages of a window."""
        rate, step_ms, wait = (rates[f"throughput__{k}"] for k in ("images_per_second", "step_ms", "data_wait_share"))
        text = f"epoch {epoch} loss {loss:.4f} accuracy {accuracy:.3f} "
        text += f"{rate:,.0f} img/s {step_ms:,.0f} ms/step data-wait {wait:.1%}"
        if self._is_terminal:
            self._bar.set_postfix_str(text)
            return
        spent = time.perf_counter() - self._start
        left = spent / max(step - self._initial, 1) * (self._total - step)
        self.say(f"step {step}/{self._total} {text} ETA {left / 60:.1f} min")

    def say(self, line: str) -> None:
        """Print a line without breaking the bar."""
        if self._is_terminal:
            self._bar.write(line)
        else:
            print(line, flush=True)
