"""The progress of a run: rates, and what the terminal shows."""

import sys
import time
from typing import Self

from tqdm import tqdm


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
    """A bar on a terminal; elsewhere, as in a log file, one line for each window."""

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
        # From this start alone: what an earlier start of the run took says nothing of this machine.
        spent = time.perf_counter() - self._start
        left = spent / max(step - self._initial, 1) * (self._total - step)
        self.say(f"step {step}/{self._total} {text} ETA {left / 60:.1f} min")

    def say(self, line: str) -> None:
        """Print a line without breaking the bar."""
        if self._is_terminal:
            self._bar.write(line)
        else:
            print(line, flush=True)
