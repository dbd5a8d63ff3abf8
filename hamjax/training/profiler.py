"""A profile of some steps, for TensorBoard's profile tab and for Perfetto."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

WARM_UP = 20  # steps: compilation is over, and buffers are full


class Profile:
    """Records `num_steps` steps, once, from `WARM_UP` steps after a start on.

    Args:
        folder: gets `plugins/profile/...` for TensorBoard, and in it `perfetto_trace.json.gz`.
        num_steps: 0 records nothing.
        start: the step the run begins at.
        say: takes a line for the user.
    """

    def __init__(self, folder: Path, num_steps: int, start: int, say: Callable[[str], None]) -> None:
        self._folder, self._say = folder, say
        self._begin, self._end = start + WARM_UP, start + WARM_UP + num_steps
        self._wanted, self._recording = num_steps > 0, False

    def before(self, step: int) -> None:
        """Start recording, if it is time."""
        if self._wanted and step >= self._begin:
            jax.profiler.start_trace(str(self._folder), create_perfetto_trace=True)
            self._wanted, self._recording = False, True

    def after(self, step: int, state: Any) -> None:
        """Stop recording, if it is time, when the device is done."""
        if self._recording and step >= self._end:
            # The device is behind the host: without waiting, the last steps would be cut off.
            jax.block_until_ready(state)
            self.close()

    def close(self) -> None:
        """Write what was recorded."""
        if self._recording:
            jax.profiler.stop_trace()
            self._recording = False
            self._say(
                f"profile in {self._folder}: tensorboard --logdir of the run, or perfetto_trace.json.gz in Perfetto"
            )
        elif self._wanted:
            self._say(f"no profile: expected more than {WARM_UP} steps after a start, got an end before step "
                      f"{self._begin}; lower --config.train.profile_steps or train longer")  # fmt: skip
            self._wanted = False
