"""Memory that was freed stays with a process that computes on a CPU."""

import subprocess
import sys

import pytest

from hamjax.runtime import memory

FAULTS = """
import resource, sys
from hamjax.runtime.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def take(): b"x" * (64 * 2**20)
take()
before = faults()
for _ in range(5): take()
print((faults() - before) * resource.getpagesize() / (5 * 64 * 2**20))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
def test_blocks_that_are_freed_and_taken_again_cost_no_fault() -> None:
    def share_of_pages(word: str) -> float:
        command = [sys.executable, "-c", FAULTS, word]
        return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert share_of_pages("keep") < 0.1
    # One fault may bring several pages, so not all of them.
    assert share_of_pages("as it is") > 0.3


def test_another_device_and_another_c_library_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.jax, "default_backend", lambda: "gpu")
    assert not memory.keep_freed_memory()
    monkeypatch.setattr(memory.jax, "default_backend", lambda: "cpu")
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    assert not memory.keep_freed_memory()
