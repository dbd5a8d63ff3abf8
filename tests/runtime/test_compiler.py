"""XLA options that a jaxlib does not know are left out."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest

from hamjax.models.layers import lax_forms
from hamjax.models.registry import MODEL_SPECS
from hamjax.runtime import compiler
from hamjax.runtime.compiler import ORDERLY, compiler_options, is_known


def test_an_option_that_is_not_known_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"xla_of_another_age": "1", "xla_backend_optimization_level": "1"}
    monkeypatch.setitem(compiler.FASTER, ("cpu", "cnn"), given)
    monkeypatch.setattr(compiler, "ORDERLY", {})
    monkeypatch.setattr(compiler, "FOR_ALL", {})
    assert compiler_options("cnn") == {"xla_backend_optimization_level": "1"}
    assert not is_known("xla_backend_optimization_level", "much")


def test_a_cpu_hands_its_convolutions_to_no_library() -> None:
    image, kernel = jnp.zeros((2, 8, 8, 32)), jnp.zeros((3, 3, 32, 32))
    program = jax.jit(lambda *x: lax_forms.convolve(*x, stride=1, pads=((1, 1), (1, 1)))).lower(image, kernel)
    options: Any = compiler_options("cnn")
    compiled = program.compile(compiler_options=options).as_text() or ""
    assert "ynn_fusion" not in compiled
    assert " convolution(" in compiled


def test_options_are_for_networks_that_exist() -> None:
    assert {model for _, model in compiler.FASTER} <= set(MODEL_SPECS)


def test_only_several_devices_of_a_cpu_need_an_order(monkeypatch: pytest.MonkeyPatch) -> None:
    for model in MODEL_SPECS:
        assert compiler_options(model).items() >= ORDERLY.items()
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    assert compiler_options("resnet50") == compiler.FOR_ALL["cpu"]
    assert not compiler_options("cnn").keys() & ORDERLY.keys()
    monkeypatch.setattr(jax, "device_count", lambda: 8)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert compiler_options("resnet50") == {}
