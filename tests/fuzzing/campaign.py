"""Running mutants in processes of their own, and what came of them."""

import dataclasses
import json
import os
import re
import selectors
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
LIMIT_S = 30.0  # for one mutant
START_S = 180.0  # for a process to begin
FAILURES = ("defect", "memory", "escaped", "crash", "hang")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How one mutant ended: `accepted`, `refused`, or one of `FAILURES`; whether its outer parser took it."""

    kind: str
    index: int
    parses: bool
    outcome: str
    message: str


def run(module: str, seed: int, count: int, *, start: int = 0, limit_s: float = LIMIT_S) -> list[Outcome]:
    """Try mutants `start` to `start + count` of a kind.

    A process that crashes, or takes longer than `limit_s` for one mutant, is started anew at the next.

    Args:
        module: of the kind, such as `tests.fuzzing.tables`.
        seed: of the draws.
        count: how many.
        start: the first.
        limit_s: seconds for one mutant.
    """
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        root = Path(folder, "root")
        for name in ("home", "work"):
            (root / name).mkdir(parents=True)
        (root / "sentinel").write_text("not to be read or changed")
        while len(outcomes) < count:
            outcomes += _work(module, seed, start + len(outcomes), start + count, root, limit_s)
    return outcomes


def command_line(module: str, seed: int, index: int) -> str:
    """Say how one mutant is tried again."""
    return f"python scripts/fuzz.py --kinds {module.rpartition('.')[2]} --seed {seed} --start {index} --mutants 1"


def histogram(outcomes: Sequence[Outcome]) -> str:
    """Lay out how many of each kind ended how."""
    header = ("kind", "mutants", "past the parser", "accepted", "refused by it", "refused later", "messages", "failed")
    lines: list[tuple[str, ...]] = [header]
    for kind in [*dict.fromkeys(o.kind for o in outcomes), "all"]:
        chosen = [o for o in outcomes if kind in (o.kind, "all")]
        refused = [o for o in chosen if o.outcome == "refused"]
        later = [o for o in refused if o.parses]
        counts = (len(chosen), sum(o.parses for o in chosen), sum(o.outcome == "accepted" for o in chosen),
                  len(refused) - len(later), len(later), len({_form(o.message) for o in later}),
                  sum(o.outcome in FAILURES for o in chosen))  # fmt: skip
        lines.append((kind, *map(str, counts)))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
        for row in lines
    )


def _work(module: str, seed: int, start: int, stop: int, root: Path, limit_s: float) -> list[Outcome]:
    """Let one process try mutants as far as it comes; the last outcome says so if it crashed or hung."""
    kind, outcomes = module.rpartition(".")[2], []
    command = [sys.executable, "-m", "tests.fuzzing.worker", module, str(seed), str(start), str(stop), str(root)]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT.parent), str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "JAX_PLATFORMS": "cpu",
        **dict.fromkeys(("HOME", "XDG_CACHE_HOME", "TMPDIR"), str(root / "home")),
    }
    begun: dict[str, Any] | None = None
    with (root.parent / "log").open("w+") as log:
        worker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, cwd=root / "work", env=environment)
        try:
            for answer in _answers(worker, limit_s):
                begun = answer
                if "outcome" in answer:
                    outcomes.append(Outcome(kind, **answer))
                    begun = None
            failure = ("crash", f"status {worker.wait()}") if worker.wait() else None
        except TimeoutError:
            failure = ("hang", f"more than {limit_s:g} s")
        finally:
            worker.kill()
            worker.wait()
        log.seek(0)
        if failure and not begun:
            raise RuntimeError(f"{module}: the fuzzer itself: {failure}: {log.read()[-3000:]}")
        if failure and begun:
            outcomes.append(Outcome(kind, **begun, outcome=failure[0], message=f"{failure[1]}\n{log.read()[-2000:]}"))
    return outcomes


def _answers(worker: subprocess.Popen[bytes], limit_s: float) -> Iterator[dict[str, Any]]:
    """Yield what a worker says: of each mutant that it begins, and how it ended.

    Raises:
        TimeoutError: it takes longer than `limit_s` for one, or than `START_S` to begin.
    """
    assert worker.stdout is not None
    with worker.stdout as pipe, selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        patience, rest = START_S, b""
        while selector.select(patience):
            content = os.read(pipe.fileno(), 1 << 16)
            if not content:
                return
            *lines, rest = (rest + content).split(b"\n")
            yield from map(json.loads, lines)
            patience = limit_s
        raise TimeoutError


def _form(message: str) -> str:
    """Leave out of a message what belongs to one mutant: names, numbers, places."""
    return re.sub(r"/\S*|'[^']*'|\"[^\"]*\"|[-\d.,]+", "#", message)[:80]
