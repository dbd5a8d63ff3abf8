"""XLA: its cache of compiled programs, and the options that were measured to pay.

`scripts/bench_step.py --xla NAME=VALUE` compares one; `scripts/results/` has what came of it.
"""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp

from hamjax.runtime.download import user_cache

# XLA's CPU backend hands sums, products and convolutions to a library, YNNPACK. It computes a convolution on one core
# alone, unless that has 128 channels out or more, and XLA's own code on all cores; sums and products it computes
# faster than XLA does (scripts/results/convolutions.json, step_*.json).
NO_CONVOLUTIONS = ",".join(f"LIBRARY_FUSION_TYPE_{kind}" for kind in ("REDUCE", "INDIVIDUAL_DOT"))
FOR_ALL: dict[str, dict[str, str]] = {"cpu": {"xla_cpu_experimental_ynn_fusion_type": NO_CONVOLUTIONS}}
FASTER: dict[tuple[str, str], dict[str, str]] = {
    # 5,000 kernels, most of them tiny: LLVM's highest level takes longer over them (scripts/results/startup.json) and
    # makes them no faster.
    ("cpu", "densenet201"): {"xla_backend_optimization_level": "1"},
}

# Works around a deadlock in jaxlib 0.11.2: a program that the default CPU scheduler compiled and that is loaded from
# the cache may run its all-reduces in a different order on each device; the devices then wait for each other until
# XLA aborts.
ORDERLY = {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"}


def compiler_options(model: str) -> dict[str, str]:
    """Return the options to compile a network's steps with, as far as this jaxlib knows them."""
    backend = jax.default_backend()
    chosen = FOR_ALL.get(backend, {}) | FASTER.get((backend, model), {})
    chosen |= ORDERLY if backend == "cpu" and jax.device_count() > 1 else {}
    return {name: value for name, value in chosen.items() if is_known(name, value)}


@functools.cache
def is_known(name: str, value: str) -> bool:
    """Ask XLA: options come and go with its versions, and an unknown one would end a run."""
    try:
        jax.jit(jnp.negative).lower(jnp.float32(0)).compile(compiler_options={name: value})
    except jax.errors.JaxRuntimeError:
        return False
    return True


def cache_folder(choice: str) -> Path | None:
    """Return where compiled programs are kept: `auto` for the user's cache folder, `off`, or a folder."""
    if choice == "off":
        return None
    return user_cache() / "xla" if choice == "auto" else Path(choice)


def enable_compilation_cache(choice: str) -> str:
    """Keep compiled programs between runs.

    Args:
        choice: see `cache_folder`.

    Returns:
        The folder in use, or why there is none.
    """
    folder = cache_folder(choice)
    if folder is None:
        return "off"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return f"off ({error})"
    # Set here and not by an environment variable: JAX reads those when it is imported.
    jax.config.update("jax_compilation_cache_dir", str(folder))
    return str(folder)
