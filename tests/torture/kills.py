"""Kills of a run's processes: how they are made, how the processes may end, and what they come to in all."""

import dataclasses
import signal
import statistics
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from hamjax.runtime.errors import PeerLostError, PreemptedError
from scripts.bench.measure import table
from tests.torture.observer import PHASES

WAYS = [(number, whom) for number in (signal.SIGKILL, signal.SIGTERM) for whom in ("one", "all")]

Processes = Sequence[subprocess.Popen[bytes]]


@dataclasses.dataclass(frozen=True)
class Kill:
    """A kill and what came of it.

    Args:
        phase: that the run was in.
        way: one of `WAYS`.
        statuses: of all processes, as `subprocess` gives them.
        seconds: until the last of them had ended.
        helped: how many did not end by themselves.
    """

    phase: str
    way: tuple[signal.Signals, str]
    statuses: list[int]
    seconds: float
    helped: int

    def is_clean(self) -> bool:
        """Say whether no process ended in a way that needs a person: with a message for one, or a traceback."""
        number, _ = self.way
        may = {0, PreemptedError.exit_status, PeerLostError.exit_status, -number, -signal.SIGABRT}
        return set(self.statuses) <= may | ({-signal.SIGKILL} if self.helped else set())

    def __str__(self) -> str:
        number, whom = self.way
        return f"{number.name} to {whom} in {self.phase}: statuses {self.statuses} after {self.seconds:.1f} s"


def kill(
    processes: Processes, victims: Processes, phase: str, way: tuple[signal.Signals, str], *, grace: float
) -> Kill:
    """Signal the victims and wait until all processes have ended; after `grace` seconds, end them."""
    start, helped = time.monotonic(), 0
    for victim in victims:
        victim.send_signal(way[0])
    for process in processes:
        try:
            process.wait(max(start + grace - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            helped += 1
    return Kill(phase, way, [process.wait() for process in processes], round(time.monotonic() - start, 2), helped)


def summarize(kills: Sequence[Kill]) -> dict[str, Any]:
    """Count kills by way and phase, and say how long the processes took to end."""
    found = {}
    for number, whom in WAYS:
        alike = [kill for kill in kills if kill.way == (number, whom)]
        count = Counter(kill.phase for kill in alike)
        found[f"{number.name} to {whom}"] = {
            **{phase: count[phase] for phase in PHASES},
            "all": len(alike),
            "seconds": spread([kill.seconds for kill in alike if not kill.helped]),
            "ended after the grace": sum(kill.helped > 0 for kill in alike),
        }
    return found


def describe(summary: dict[str, Any]) -> str:
    """Lay out what `summarize` returns as Markdown."""
    counted = [*PHASES, "all"]
    rows = []
    for way, found in summary.items():
        seconds = found["seconds"]
        ends = f"{seconds['median']:.1f} ({seconds['most']:.1f})" if seconds else "-"
        rows.append([way, *(str(found[name]) for name in counted), ends, str(found["ended after the grace"])])
    total = [sum(found[name] for found in summary.values()) for name in (*counted, "ended after the grace")]
    rows.append(["all", *map(str, total[:-1]), "", str(total[-1])])
    return table(["", *counted, "s to the end (most)", "ended after the grace"], rows)


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return the median and the most; nothing of nothing."""
    return {"median": statistics.median(values), "most": max(values)} if values else {}
