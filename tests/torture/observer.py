"""A run as it is seen from outside: by what process 0 has printed, and by the files that are there."""

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from hamjax.training.run_directory.metrics_log import read_records

PHASES = ("start", "compile", "train", "checkpoint", "evaluate", "report")


class Observer:
    """Tells what one start of a run is doing.

    Args:
        workdir: the run directory.
        output: the file that holds what process 0 prints, unbuffered, from this start alone.
    """

    def __init__(self, workdir: Path, output: Path) -> None:
        self._workdir, self._output = workdir, output
        self._left_over = set(self._temporary())

    def phase(self) -> str:
        """Return one of `PHASES`, or `over` once the report is there."""
        text = self._output.read_text(errors="replace")
        length = re.search(r"(\d[\d,]*) steps an epoch of .* images, (\d[\d,]*) in all", text)
        if length is None or "global batch" not in text:
            return "start"
        written = set(self._temporary())
        self._left_over &= written  # the start removes what a killed one left, and may use the name again
        if written - self._left_over:
            return "checkpoint"
        epoch, total = (int(number.replace(",", "")) for number in length.groups())
        last, begun = last_record(self._workdir), bool(re.search(r"^step \d+/", text, re.MULTILINE))
        step = last.get("step", 0)
        if step and (begun or step == self.resumed()) and (step % epoch == 0 or step == total):
            if "train/loss" in last:
                return "evaluate"
            if step == total:
                return "over" if (self._workdir / "report" / "test.json").exists() else "report"
        return "train" if begun else "compile"

    def resumed(self) -> int | None:
        """Return the step that the start has gone on from; nothing if it has not come so far."""
        text = self._output.read_text(errors="replace")
        if found := re.search(r"^resumed at step (\d+)$", text, re.MULTILINE):
            return int(found[1])
        return 0 if re.search(r"^step \d+", text, re.MULTILINE) else None

    def _temporary(self) -> Iterator[Path]:
        return (self._workdir / "checkpoints").glob("*/*.orbax-checkpoint-tmp*")


def last_record(workdir: Path) -> dict[str, Any]:
    """Return the last whole line of `metrics.jsonl`; nothing if there is none."""
    try:
        whole = (workdir / "metrics.jsonl").read_bytes().rpartition(b"\n")[0]
    except FileNotFoundError:
        return {}
    return json.loads(whole.rpartition(b"\n")[2] or b"{}")


def steps(workdir: Path, kind: str = "last") -> list[int]:
    """Return the steps of the complete checkpoints of a kind, oldest first: a name of digits alone is complete."""
    return sorted(int(path.name) for path in (workdir / "checkpoints" / kind).glob("*") if path.name.isdecimal())


def read_checkpoint(workdir: Path, kind: str, step: int) -> dict[str, Any]:
    """Read all of a checkpoint: every array by its name, and its `host` dictionary; raises what orbax does."""
    handlers = {"state": ocp.StandardCheckpointHandler(), "host": ocp.JsonCheckpointHandler()}
    options = ocp.CheckpointManagerOptions(create=False)
    folder = workdir.absolute() / "checkpoints" / kind
    with contextlib.closing(ocp.CheckpointManager(folder, options=options, item_handlers=handlers)) as manager:
        blank = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), manager.item_metadata(step)["state"])
        items = ocp.args.Composite(state=ocp.args.StandardRestore(blank), host=ocp.args.JsonRestore())
        found = manager.restore(step, args=items)
    leaves = jax.tree_util.tree_leaves_with_path(found["state"])
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves} | found["host"]


def unreadable(workdir: Path) -> list[str]:
    """Return the complete checkpoints that cannot be read in whole, and why."""
    found = []
    for kind in ("last", "best"):
        for step in steps(workdir, kind):
            try:
                read_checkpoint(workdir, kind, step)
            except Exception as error:  # orbax, tensorstore and json each raise their own kinds
                found.append(f"{kind} {step}: {type(error).__name__}: {error}")
    return found


def differences(expected: Path, found: Path) -> list[str]:
    """Return what of two finished runs is not the same, bit for bit; times and rates are left out."""
    ours, theirs = _outcome(expected), _outcome(found)
    return [name for name in ours | theirs if name not in ours or name not in theirs or ours[name] != theirs[name]]


def _outcome(workdir: Path) -> dict[str, Any]:
    """Return all that a run has come to, by name."""
    records = [
        {name: value for name, value in line.items() if name != "wall_s" and not name.startswith("throughput/")}
        for line in read_records(workdir / "metrics.jsonl")
    ]
    outcome: dict[str, Any] = {"metrics.jsonl": records}
    for name in ("test.json", "predictions_test.csv"):
        outcome[name] = (workdir / "report" / name).read_text()
    for kind in ("last", "best"):
        step = steps(workdir, kind)[-1]
        for name, value in read_checkpoint(workdir, kind, step).items():
            outcome[f"{kind} {step} {name}"] = value.tobytes() if isinstance(value, np.ndarray) else value
    return outcome
