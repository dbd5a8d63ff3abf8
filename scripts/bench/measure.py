"""Measuring on a machine that others share: things are timed in turn, and ratios quoted."""

import json
import os
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from bench.disturbance import vector_bits
from hamjax.runtime.environment import environment

PEER_PACKAGES = ("keras", "torch", "torchvision", "scipy")
Times = dict[str, list[float]]


def in_turn(contenders: Mapping[str, Callable[[], Any]], rounds: int) -> Times:
    """Time each contender once a round, every other round in reverse order.

    Args:
        contenders: by name; each does the same amount of work, and returns when it is done.
        rounds: how often.

    Returns:
        Seconds by name, one a round.
    """
    seconds: Times = {name: [] for name in contenders}
    names = list(contenders)
    for i in range(rounds):
        for name in names if i % 2 == 0 else reversed(names):
            start = time.perf_counter()
            contenders[name]()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def ratio(seconds: Times, ours: str, theirs: str) -> dict[str, float]:
    """Return how many times as fast as theirs ours is: the median over rounds, and the range."""
    ratios = [b / a for a, b in zip(seconds[ours], seconds[theirs], strict=True)]
    return {"median": statistics.median(ratios), "least": min(ratios), "most": max(ratios)}


def rate(seconds: list[float], items: int) -> float:
    """Return items a second, by the median."""
    return items / statistics.median(seconds)


def table(header: list[str], rows: list[list[str]]) -> str:
    """Lay a table out as Markdown, aligned."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]

    def line(cells: list[str]) -> str:
        first = cells[0].ljust(widths[0])
        return "| " + " | ".join([first, *(c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True))]) + " |"

    rule = "|".join(["", "-" * (widths[0] + 2), *("-" * (w + 1) + ":" for w in widths[1:]), ""])
    return "\n".join([line(header), rule, *map(line, rows)])


def write_result(path: Path | None, settings: Mapping[str, Any], results: Mapping[str, Any]) -> None:
    """Keep a measurement with what it ran on; nowhere if there is no path."""
    if path is None:
        return
    record = {
        "command": shlex.join(["python", *map(portable, sys.argv)]),
        "settings": dict(settings),
        "environment": {
            **environment(),
            "cpu": _cpu(),
            "vector_bits": vector_bits(),
            "cores": os.cpu_count(),
            "peers": _peers(),
        },
        "results": dict(results),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n")
    print(f"wrote {path}")


def portable(word: str) -> str:
    """Return a word of a command line with its path, if it is an absolute one, relative to the working directory."""
    key, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    return key + equals + (os.path.relpath(value) if os.path.isabs(value) else value)


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _peers() -> dict[str, str]:
    versions = {}
    for name in PEER_PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions
