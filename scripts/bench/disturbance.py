"""How much of the machine other processes took while something was measured."""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Self

# A tenth of the cores taken by others moves the ratio of two programs by about as much, as they suffer differently.
ALLOWED_SHARE = 0.1


@dataclasses.dataclass(frozen=True)
class Ticks:
    """Processor time since the machine started, in seconds: that of all cores, of it busy, and this process's own."""

    total: float
    busy: float
    own: float

    @classmethod
    def now(cls) -> Self | None:
        """Return the present counts; None where the system does not tell."""
        try:
            words = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
        except OSError:
            return None
        user, nice, system, idle, waiting, interrupts, soft, stolen = (int(word) for word in words)
        # Stolen is what the host of a virtual machine gave to other machines.
        busy = user + nice + system + interrupts + soft + stolen
        tick = os.sysconf("SC_CLK_TCK")
        times = os.times()
        own = times.user + times.system + times.children_user + times.children_system
        return cls((busy + idle + waiting) / tick, busy / tick, own)


class OthersWatch:
    """Counts what other processes take from its making on.

    Args:
        read: returns the counts of the moment.
    """

    def __init__(self, read: Callable[[], Ticks | None] = Ticks.now) -> None:
        self._read, self._start = read, read()

    def share(self) -> float | None:
        """Return the share of all cores that others took since the start, 0 to 1; None where it is not known."""
        end = self._read()
        if self._start is None or end is None or end.total <= self._start.total:
            return None
        others = (end.busy - self._start.busy) - (end.own - self._start.own)
        return max(0.0, others / (end.total - self._start.total))


def describe_share(share: float | None) -> str:
    """Return a sentence on what others took, which says so where a measurement was disturbed."""
    if share is None:
        return "others' share of the CPU: not known"
    verdict = f"DISTURBED (above {ALLOWED_SHARE:.0%}): measure again" if share > ALLOWED_SHARE else "undisturbed"
    return f"other processes took {share:.1%} of the CPU: {verdict}"


def vector_bits() -> int | None:
    """Return the widest vectors of this CPU, in bits; None where it is not known."""
    try:
        words = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return None
    # Arm names its vectors `asimd`, of 128 bits; what SVE has cannot be read here.
    widths = {"avx512f": 512, "avx2": 256, "avx": 256, "sse2": 128, "asimd": 128}
    return next((bits for flag, bits in widths.items() if flag in words), None)
