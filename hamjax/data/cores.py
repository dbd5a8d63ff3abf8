"""The cores that this process may use."""

import os


def usable_cores() -> int:
    """Count the cores that the scheduler grants this process: on a shared node, fewer than it has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
