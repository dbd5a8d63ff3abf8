"""`plain=True` computes the same network in convolutions and pooling that other runtimes know."""

import functools
from typing import Any

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest

from hamjax.models.classifier import Classifier
from hamjax.models.cnn import CNN
from hamjax.models.densenet import DenseNet
from hamjax.models.initialization import init_variables
from hamjax.models.layers.pooling import average_pool_3x3
from hamjax.models.registry import MODEL_SPECS, create_model
from hamjax.models.resnet import ResNet
from tests.helpers.short_networks import shorten

# What the forms for a CPU are made of.
OURS = {"custom_vjp_call", "platform_index", "cond", "optimization_barrier", "scan", "gather", "while"}


def _primitives(jaxpr: Any) -> set[str]:
    """Return the names of all operations, those of inner functions too."""
    inner = [part for equation in jaxpr.eqns for part in jax.extend.core.jaxprs_in_params(equation.params)]
    return {equation.primitive.name for equation in jaxpr.eqns}.union(*map(_primitives, inner))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.long if name == "densenet201" else []) for name in MODEL_SPECS]
)
def test_a_plain_network_holds_no_form_of_ours(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "densenet201":
        shorten(monkeypatch, name)

    def used(plain: bool) -> set[str]:
        model = create_model(name, plain=plain)
        images = jax.ShapeDtypeStruct((2, 96, 96, 3), np.float32)
        variables = jax.eval_shape(model.init, jax.random.key(0), images)
        return _primitives(jax.make_jaxpr(model.apply)(variables, images).jaxpr)

    assert used(plain=False) & OURS
    plain = used(plain=True)
    assert not plain & OURS
    # Every network pools somewhere; where it takes maxima, in lax's own form.
    assert "reduce_window_max" in plain
    assert "conv_general_dilated" in plain


@pytest.mark.parametrize(
    "build",
    [CNN, functools.partial(Classifier, functools.partial(ResNet, ((8, 1), (8, 1)))),
     functools.partial(Classifier, functools.partial(DenseNet, (1, 2)))],
)  # fmt: skip
def test_a_plain_network_gives_the_same_numbers(build: Any, float64: None, rng: np.random.Generator) -> None:
    ours, plain = (build(dtype=np.float64, plain=plain) for plain in (False, True))
    variables = init_variables(ours, image_size=32, seed=0)
    images = rng.random((2, 32, 32, 3))
    found, expected = (jax.jit(model.apply)(variables, images) for model in (plain, ours))
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("side", [1, 2, 5])
def test_plain_average_pooling_does_not_count_the_padding_either(
    side: int, float64: None, rng: np.random.Generator
) -> None:
    x = jnp.asarray(rng.normal(size=(2, side, side, 3)))
    np.testing.assert_allclose(average_pool_3x3(x, plain=True), average_pool_3x3(x), rtol=1e-10, atol=1e-12)
