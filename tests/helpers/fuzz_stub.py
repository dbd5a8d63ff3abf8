"""A kind of input at which the program does everything that it must not; see `tests/fuzzing/__init__.py`."""

import os
import time
from pathlib import Path
from random import Random

from hamjax.runtime.errors import UserError
from tests.fuzzing.worker import rng_of

NUMBERS = {rng_of("tests.helpers.fuzz_stub", 0, i).random(): str(i) for i in range(8)}


def make_samples(folder: Path) -> None:
    pass


def mutate(rng: Random, samples: Path, folder: Path) -> Path:
    (folder / "number").write_text(NUMBERS[rng.random()])
    return folder / "number"


def parses(mutated: Path) -> bool:
    return int(mutated.read_text()) > 0


def use(folder: Path) -> None:
    number = int((folder / "number").read_text())
    if number == 1:
        raise UserError("expected another file, got '/x/1'; remove it.")
    if number == 2:
        raise KeyError("a defect")
    if number == 3:
        os.abort()
    if number == 4:
        time.sleep(600)
    if number == 5:
        (folder.parent / "escaped").write_text("")
    if number == 6:
        len(b"x" * (2**30 + 2**28))
    if number == 7:
        len(b"x" * 2**40)
