"""Run rows within a budget, and keep what comes of them; go on with what an earlier call kept."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from bench.accelerator.rows import PARTS, Row

SCRIPTS = Path(__file__).parents[2]
TAIL = 2000  # characters of a failed row's output that its reason keeps
GRACE = 10  # seconds beyond the budget that a row which has begun may take


class Runner:
    """Runs rows one after another, each in a process of its own.

    Args:
        out: the folder of results; is made.
        scratch: an empty folder, for the compilation cache and prepared data that rows share.
        minutes: the budget, from now on.
        smoke: on a CPU, whatever there is.

    Attributes:
        results: of every row, by part and name; those of earlier calls that were done are in it from the start.

    Raises:
        ValueError: the folder holds results that this call cannot go on with.
    """

    def __init__(self, out: Path, scratch: Path, *, minutes: float, smoke: bool) -> None:
        self.results: dict[str, dict[str, Any]] = {part: {} for part in PARTS}
        self._out, self._scratch, self._smoke, self._minutes = out, scratch, smoke, minutes
        self._deadline = time.monotonic() + 60 * minutes
        command = " ".join(["python", "scripts/bench_accelerator.py", *sys.argv[1:]])
        self._calls: list[dict[str, Any]] = []
        self._read()
        self._calls.append({"command": command, "minutes": minutes, "environment": {}})
        out.mkdir(parents=True, exist_ok=True)
        self._log = (out / "log.txt").open("a", encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._log.close()

    def run(self, row: Row) -> None:
        """Run a row that is not done yet, or say why not, and write its part's file anew."""
        if row.name in self.results[row.part] and row.kind != "roof":  # that describes the machine of each call
            return
        left = self._deadline - time.monotonic()
        if row.estimate > left:
            found: dict[str, Any] = {"status": "not run: no time left", "estimate_s": row.estimate, "left_s": left}
        else:
            self.say(f"{row.part} {row.name} ...", end=" ")
            found = self._measure(row, left)
        self._describe_call(found.pop("environment", {}))
        self.results[row.part][row.name] = {**dataclasses.asdict(row), **found, "call": len(self._calls) - 1}
        self.say(found["status"] if "reason" not in found else f"{found['status']}: {found['reason']}"[:300])
        self._write(row.part)

    def count(self, status: str) -> int:
        """Return how many rows have a status."""
        return sum(row["status"] == status for rows in self.results.values() for row in rows.values())

    def say(self, text: str, end: str = "\n") -> None:
        """Print, and keep it in the log."""
        for file in (sys.stdout, self._log):
            print(text, end=end, file=file, flush=True)

    def _measure(self, row: Row, left: float) -> dict[str, Any]:
        answer = self._scratch / "answer.json"
        answer.unlink(missing_ok=True)
        spec = json.dumps({**dataclasses.asdict(row), "scratch": str(self._scratch), "left": left - 5})
        command = [sys.executable, "-m", "bench.accelerator.worker", spec, str(answer)]
        start = time.monotonic()
        process = subprocess.Popen(
            command, env=self._variables(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace", start_new_session=True,
        )  # fmt: skip
        # Twice its estimate, since that is a guess; but never much beyond the budget.
        limit = min(2 * row.estimate + 20, left + GRACE)
        try:
            printed, _ = process.communicate(timeout=limit)
            reason = _reason(process.returncode)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            printed, _ = process.communicate()
            reason = f"took longer than {limit:.0f} s"
        seconds = round(time.monotonic() - start, 1)
        print(f"\n{printed}", file=self._log, flush=True)
        if reason is None and answer.exists():
            return {"status": "done", "seconds": seconds, **json.loads(answer.read_text())}
        return {"status": "failed", "seconds": seconds, "reason": f"{reason}: {_last_line(printed)}",
                "output": printed[-TAIL:]}  # fmt: skip

    def _variables(self) -> Mapping[str, str]:
        paths = os.pathsep.join([str(SCRIPTS.parent), str(SCRIPTS), os.environ.get("PYTHONPATH", "")])
        ours = {
            "PYTHONPATH": paths,
            "JAX_COMPILATION_CACHE_DIR": str(self._scratch / "xla"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "TORCHINDUCTOR_CACHE_DIR": str(self._scratch / "inductor"),
        }
        return os.environ | ours | ({"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""} if self._smoke else {})

    def _read(self) -> None:
        """Keep the rows that earlier calls have done."""
        for path in sorted(self._out.glob("part_*.json")):
            record = json.loads(path.read_text())
            if "calls" not in record:
                raise ValueError(f"{path}: expected results with their calls, got an older file; name another folder")
            if record["smoke"] != self._smoke:
                raise ValueError(
                    f"{path}: expected results {'with' if self._smoke else 'without'} --smoke; name another"
                )
            self._calls = max(self._calls, record["calls"], key=len)
            done = (row for row in record["rows"] if row["status"] == "done")
            self.results[record["name"]] = {row["name"]: row for row in done}

    def _describe_call(self, environment: dict[str, Any]) -> None:
        """Keep what a call ran on, once it is known."""
        if not environment:
            return
        for earlier in self._calls[:-1]:
            expected = earlier["environment"].get("device", environment["device"])
            if expected != environment["device"]:
                raise ValueError(f"{self._out}: expected the device of its results, {expected}, got "
                                 f"{environment['device']}; name another folder")  # fmt: skip
        self._calls[-1]["environment"] = environment

    def _write(self, part: str) -> None:
        record = {
            "name": part,
            "part": PARTS[part],
            "smoke": self._smoke,
            "calls": self._calls,
            "rows": list(self.results[part].values()),
        }
        temporary = self._out / ".part"
        temporary.write_text(json.dumps(record, indent=1) + "\n")
        os.replace(temporary, self._out / f"part_{part}.json")


def _reason(status: int) -> str | None:
    if status == 0:
        return None
    return f"ended by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"


def _last_line(printed: str) -> str:
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    return lines[-1][:500] if lines else "it printed nothing"
