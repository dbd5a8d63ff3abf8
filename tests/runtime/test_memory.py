"""Memory that was freed stays with a process that computes on a CPU."""

import subprocess
import sys
from types import SimpleNamespace

import jax
import pytest

from hamjax.runtime import memory

FAULTS = """
import resource, sys
import jax, jax.numpy as jnp
from hamjax.runtime.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
    assert not jax.config.values["jax_cpu_enable_async_dispatch"]
def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
x = jnp.zeros(32 * 2**20)  # 128 MiB
take = jax.jit(jnp.negative).lower(x).compile()
# Two at a time: a result may be given back only after the next one has its block.
for _ in range(3): jax.block_until_ready([take(x), take(x)])
before = faults()
for _ in range(5): jax.block_until_ready(take(x))
print((faults() - before) * resource.getpagesize() / (5 * x.nbytes))
"""


DISPATCH = """
import jax
from hamjax.runtime.memory import keep_freed_memory
keep_freed_memory()
print(jax.config.values["jax_cpu_enable_async_dispatch"])
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
    with monkeypatch.context() as patch:
        patch.setattr(memory.importlib.util, "find_spec", lambda package: object())
        # Asked for the CPU, as these tests are, JAX takes it on any machine.
        assert memory.keep_freed_memory()
        patch.setattr(memory.jax, "config", SimpleNamespace(values={"jax_platforms": None}))
        assert not memory.keep_freed_memory()
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    assert not memory.keep_freed_memory()


def test_several_devices_of_a_cpu_are_asked_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    # They wait for each other in a step. These tests have four devices.
    before = jax.config.values["jax_cpu_enable_async_dispatch"]
    memory.keep_freed_memory()
    assert before
    assert jax.config.values["jax_cpu_enable_async_dispatch"]
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=8")
    found = subprocess.run([sys.executable, "-c", DISPATCH], capture_output=True, text=True, check=True).stdout
    assert found.split() == ["True"]
