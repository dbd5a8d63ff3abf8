"""The process's memory: what is freed stays with it, for the next step to take."""

import ctypes
import importlib.util
import os

import jax

# Of glibc's malloc.h: the options, and values by which no block is mapped on its own and none is given back.
KEEP = {"M_MMAP_MAX": (-4, 0), "M_TRIM_THRESHOLD": (-1, -1)}
# JAX finds accelerators through these packages.
PLUGINS = ("jax_plugins", "libtpu")


def keep_freed_memory() -> bool:
    """Have the C library keep memory that was freed, where JAX will compute on the CPU.

    XLA's CPU backend takes the memory of a step anew in every step. glibc maps blocks above 32 MiB on their own and
    unmaps them when they are freed, so every page of them is fetched from the system again, at a fault each: a fifth
    of a step of ResNet50 at 224 px. A GPU's or TPU's memory is kept by JAX.

    Call it before JAX looks for devices.

    Returns:
        Whether it will; another C library than glibc is left as it is.
    """
    # Not jax.default_backend(), which would look for them.
    asked = jax.config.values["jax_platforms"]
    if asked != "cpu" and any(importlib.util.find_spec(package) for package in PLUGINS):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    kept = all(mallopt(option, value) == 1 for option, value in KEEP.values())
    if kept and _one_device():
        # A step then takes its memory in the thread that asks for the step. A thread of JAX's would have a heap of its
        # own, which ends at 64 MiB: larger blocks would be mapped all the same. One heap for all threads (M_ARENA_MAX)
        # cures that, too, but they wait for each other at it.
        jax.config.update("jax_cpu_enable_async_dispatch", False)
    return kept


def _one_device() -> bool:
    """Return whether the CPU is one device: several wait for each other in a step, and are left to JAX's threads."""
    several = "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    return not several and jax.config.values["jax_num_cpu_devices"] <= 1
