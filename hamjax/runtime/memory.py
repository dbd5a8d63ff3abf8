"""The process's memory: what is freed stays with it, for the next step to take."""

import ctypes

import jax

# Of glibc's malloc.h: the options, and values by which no block is mapped on its own and none is given back.
KEEP = {"M_MMAP_MAX": (-4, 0), "M_TRIM_THRESHOLD": (-1, -1)}


def keep_freed_memory() -> bool:
    """Have the C library keep memory that was freed, where the CPU is the device.

    XLA's CPU backend takes the memory of a step anew in every step. glibc maps blocks above 32 MiB on their own and
    unmaps them when they are freed, so every page of them is fetched from the system again, at a fault each.
    A GPU's or TPU's memory is kept by JAX.

    Returns:
        Whether it will; another C library than glibc is left as it is.
    """
    if jax.default_backend() != "cpu":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return all(mallopt(option, value) == 1 for option, value in KEEP.values())
