"""What JAX was asked for and does not have is said in one message, with what to do."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import pytest

import hamjax
from hamjax.config import Config
from hamjax.runtime.accelerators import find_devices, memory_needed, unused_gpu
from hamjax.runtime.errors import UserError

FULL = "Unable to initialize backend 'cuda': INTERNAL: no supported devices found for platform CUDA"
OLD = "Unable to initialize backend 'cuda': CUDA driver version is insufficient for CUDA runtime version"


@pytest.fixture
def asked() -> Iterator[None]:
    """Put back what JAX was asked for."""
    before = jax.config.values["jax_platforms"]
    yield
    jax.config.update("jax_platforms", before)


@pytest.mark.parametrize(
    ("platforms", "installed", "error", "said"),
    [
        ("cuda", False, AssertionError(), r'cuda: .* JAX found: no NVIDIA GPU\. Install the extra cuda .*"\.\[cuda\]"'),
        ("gpu", False, RuntimeError("none"), r"JAX_PLATFORMS=gpu: .* JAX found: none\. Install the extra cuda"),
        ("cuda,cpu", True, RuntimeError(f"{FULL} (set JAX_PLATFORMS='' to ...)"),
         rf"{FULL}\. The extra cuda is installed: .* its memory not filled by another process"),
        ("", True, RuntimeError(OLD), rf"not set: .*{OLD}\. The extra cuda is installed: .* its driver new enough"),
        ("tpu", False, RuntimeError("no libtpu.so"), r'no libtpu.so\. Install the extra tpu .*"\.\[tpu\]"'),
        ("tpu", True, RuntimeError("busy"), "The extra tpu is installed"),
        ("nonsense", True, RuntimeError("unknown"), "JAX_PLATFORMS=nonsense: .*takes cpu, cuda or tpu"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("asked")
def test_a_missing_device_is_said_with_what_was_asked_found_and_to_do(
    platforms: str, installed: bool, error: Exception, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object() if installed else None)
    monkeypatch.setattr(jax, "devices", fail)
    jax.config.update("jax_platforms", platforms)
    with pytest.raises(UserError, match=said):
        find_devices()


def test_a_run_without_the_device_it_was_asked_for_ends_with_status_2(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hamjax.main", "--config", "quickstart", "--workdir", str(tmp_path / "run")]
    hidden = {"JAX_PLATFORMS": "cuda", "CUDA_VISIBLE_DEVICES": "", "JAX_NUM_CPU_DEVICES": "1"}
    done = subprocess.run(command, env=os.environ | hidden, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "hamjax: JAX_PLATFORMS=cuda: expected devices of that kind, JAX found: " in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("sign", ["dev/nvidia0", "proc/driver/nvidia/gpus/0000:01:00.0"])
@pytest.mark.usefixtures("asked")
def test_a_gpu_that_jax_does_not_use_is_said(sign: str, tmp_path: Path) -> None:
    jax.config.update("jax_platforms", "cpu")
    assert unused_gpu(tmp_path) is None
    (tmp_path / sign).mkdir(parents=True)
    assert "NVIDIA GPU, but JAX uses the CPU. JAX_PLATFORMS=cpu asks for that" in str(unused_gpu(tmp_path))
    jax.config.update("jax_platforms", "")
    assert "JAX uses the CPU. " in str(unused_gpu(tmp_path))
    assert "the extra cuda" in str(unused_gpu(tmp_path)).lower()


def test_the_start_says_it(
    tmp_path: Path, tiny: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("hamjax.commands.training_run.unused_gpu", lambda: "warning: a GPU")
    hamjax.train(tiny(train__max_steps=1), tmp_path / "run")
    assert "\nwarning: a GPU\n" in capsys.readouterr().out


def test_a_lack_of_device_memory_is_no_traceback() -> None:
    with pytest.raises(UserError, match="Out of memory allocating 9 bytes. See with nvidia-smi"), memory_needed():
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes\nmore")
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"), memory_needed():
        raise jax.errors.JaxRuntimeError("INTERNAL: a defect")
