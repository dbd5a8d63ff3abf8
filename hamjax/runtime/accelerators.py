"""The search for devices: what JAX was asked for, what it found, and what to do where that is not the same."""

import contextlib
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from hamjax.runtime.errors import UserError

# Our extras, and the packages that JAX needs of each.
EXTRAS = {"cuda": ("jax_cuda13_plugin", "jax_cuda12_plugin"), "tpu": ("libtpu",)}
# NVIDIA's driver shows its GPUs here; in a container without them, /proc still does.
GPU_SIGNS = ("dev/nvidia[0-9]*", "proc/driver/nvidia/gpus/*")
LOOK = (
    "see with nvidia-smi whether the GPU is there, its driver new enough for CUDA 13, and its memory not filled by "
    "another process (CUDA_VISIBLE_DEVICES=1 chooses another GPU)"
)


def find_devices() -> list[Any]:
    """Return the devices of all processes; `connect` is to be called before.

    Raises:
        UserError: JAX has none of the kind that it was asked for.
    """
    try:
        return jax.devices()
    # JAX raises an assertion if it was asked for CUDA and sees no GPU.
    except (RuntimeError, AssertionError) as error:
        found = (str(error).splitlines() or ["no NVIDIA GPU"])[0].partition(" (set JAX_PLATFORMS")[0]
        raise UserError(f"{_asked()}: expected devices of that kind, JAX found: {found[:300]}. {_advice()}") from error


def unused_gpu(root: Path = Path("/")) -> str | None:
    """Return a warning if this machine has an NVIDIA GPU, and JAX computes on the CPU.

    Args:
        root: of the file system.
    """
    if jax.default_backend() != "cpu" or not any(any(root.glob(sign)) for sign in GPU_SIGNS):
        return None
    why = "JAX_PLATFORMS=cpu asks for that." if jax.config.values["jax_platforms"] == "cpu" else _advice()
    return f"warning: this machine has an NVIDIA GPU, but JAX uses the CPU. {why}"


@contextlib.contextmanager
def memory_needed() -> Iterator[None]:
    """Turn a lack of device memory into a message that says what to do.

    Raises:
        UserError: in place of JAX's error.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise UserError(
            f"{jax.devices()[0].device_kind}: expected enough memory, got {str(error).splitlines()[0][:300]}. See with "
            "nvidia-smi whether another process fills it; else set a smaller --config.train.global_batch_size, "
            "--config.data.image_size or --config.eval.batch_size."
        ) from error


def _asked() -> str:
    for variable, value in (
        ("JAX_PLATFORM_NAME", os.environ.get("JAX_PLATFORM_NAME")),  # of earlier versions, and still in scripts
        ("JAX_PLATFORMS", jax.config.values["jax_platforms"]),
    ):
        if value:
            return f"{variable}={value}"
    return "JAX_PLATFORMS (not set: the best there is)"


def _advice() -> str:
    """Say how JAX gets what it was asked for: CUDA, unless something else was named."""
    asked = _asked().partition("=")[2].partition(",")[0].replace("gpu", "cuda") or "cuda"
    if asked not in EXTRAS:
        return f"JAX_PLATFORMS takes cpu, {' or '.join(EXTRAS)}."
    if not any(importlib.util.find_spec(package) for package in EXTRAS[asked]):
        mend = f'Install the extra {asked} of hamjax: pip install -e ".[{asked}]"'
    else:
        mend = f"The extra {asked} is installed" + (f": {LOOK}" if asked == "cuda" else ", so look at the device")
    return f"{mend}. On the CPU: JAX_PLATFORMS=cpu."
