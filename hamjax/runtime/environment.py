"""The environment of a run or a benchmark: machine, versions, revision."""

import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

PACKAGES = ("hamjax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy",
            "tensorflow-datasets", "opencv-python-headless", "pillow", "scikit-learn")  # fmt: skip


def environment() -> dict[str, Any]:
    """Describe what the run runs on."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": jax.devices()[0].device_kind,
        "devices": jax.device_count(),
        "processes": jax.process_count(),
        "revision": _revision(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _revision() -> str:
    """Return the git revision of the code, with + if it was changed, or `unknown`."""
    folder = Path(__file__).parent
    try:
        command = ["git", "-C", str(folder), "describe", "--always", "--dirty=+", "--abbrev=12"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"
