"""One process that works through mutants of a kind: `python -m fuzzing.worker MODULE SEED START STOP ROOT`.

Writes a JSON line before each mutant and one after it; what calls it sees by that which one it died or hung at.
"""

import importlib
import json
import logging
import os
import resource
import shutil
import sys
import traceback
import warnings
from pathlib import Path
from random import Random
from typing import Any

from hamjax.runtime.errors import UserError

ADDRESS_SPACE = 3 * 2**30  # bytes a mutant may reserve more than healthy input
MEMORY_KB = 2**20  # that the process may grow by: what this machine would have to have


def rng_of(kind: str, seed: int, index: int) -> Random:
    """Return what a mutant is drawn from."""
    return Random(f"{kind} {seed} {index}")


def make_mutant(kind: Any, name: str, seed: int, index: int, root: Path) -> tuple[Path, Path]:
    """Write a mutant into `root/mutant`; return this folder and what was mutated in it."""
    folder = root / "mutant"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    with warnings.catch_warnings(action="ignore"):  # of zipfile, that a name comes twice
        return folder, kind.mutate(rng_of(name, seed, index), root / "samples", folder)


def outcome_of(kind: Any, folder: Path) -> dict[str, Any]:
    """Use a mutant; say how it ended."""
    try:
        kind.use(folder)
    except UserError as error:
        return {"outcome": "refused", "message": str(error)}
    except Exception:  # of any kind: what the fuzzer looks for
        return {"outcome": "defect", "message": traceback.format_exc()}
    return {"outcome": "accepted", "message": ""}


def surroundings(root: Path) -> list[tuple[str, int]]:
    """List what lies around the mutant, with sizes."""
    outside = (path for place in root.iterdir() if place.name != "mutant" for path in (place, *place.rglob("*")))
    return sorted((str(path), path.stat().st_size if path.is_file() else 0) for path in outside)


def main() -> None:
    """Run the command line."""
    module, seed, start, stop, root = (
        sys.argv[1],
        int(sys.argv[2]),
        int(sys.argv[3]),
        int(sys.argv[4]),
        Path(sys.argv[5]),
    )
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what hamjax prints goes to the standard error stream
    warnings.simplefilter("ignore")
    logging.disable()
    kind = importlib.import_module(module)
    if not (root / "samples").exists():
        (root / "samples").mkdir()
        kind.make_samples(root / "samples")
    before = surroundings(root)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + ADDRESS_SPACE
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    for index in range(start, stop):
        answer: dict[str, Any] = {"index": index, "parses": False}
        print(json.dumps(answer), file=answers)
        folder, mutated = make_mutant(kind, module, seed, index, root)
        answer["parses"] = kind.parses(mutated)
        print(json.dumps(answer), file=answers)
        memory = _peak_memory()
        answer |= outcome_of(kind, folder)
        grown = _peak_memory() - memory
        if grown > MEMORY_KB:
            answer |= {"outcome": "memory", "message": f"grew by {grown:,} kB"}
        if (after := surroundings(root)) != before:
            answer |= {"outcome": "escaped", "message": f"outside its folder: {set(after) ^ set(before)}"}
            before = after
        print(json.dumps(answer), file=answers)


def _peak_memory() -> int:
    """Return the most memory that was in use, in kB; getrusage's begins with that of the process that started us."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


if __name__ == "__main__":
    main()
