"""Grad-CAM against closed forms: no automatic differentiation in the references."""

import functools
from collections.abc import Callable
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hamjax.evaluation.gradcam import explained_stage, grad_cam
from hamjax.models.classifier import Classifier
from hamjax.models.densenet import DenseNet
from hamjax.models.initialization import init_variables
from hamjax.models.registry import create_model
from hamjax.models.resnet import ResNet

CLASSES = np.array([5, 2, 4])
SIZE = 171  # the smallest image InceptionV3 makes a 4 x 4 map of


def _variables(model: Any, size: int) -> Any:
    """Draw what initialisation leaves at 0 or 1 too, so that every term of a formula counts."""
    rng = np.random.default_rng(0)
    draw = {"bias": (-0.2, 0.2), "scale": (0.5, 1.5), "mean": (-0.2, 0.2), "var": (0.5, 1.5)}

    def vary(path: Any, leaf: Any) -> Any:
        low_high = draw.get(path[-1].key)
        return leaf if low_high is None else rng.uniform(*low_high, leaf.shape).astype(leaf.dtype)

    return jax.tree_util.tree_map_with_path(vary, init_variables(model, image_size=size, seed=1))


def _explain(model: Any, variables: Any, images: Any) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return heat maps and every stage, compiled as one."""

    def both(variables: Any, images: Any) -> Any:
        return grad_cam(model, variables, images, CLASSES), model.apply(variables, images, stages=True)[1]

    return jax.device_get(jax.jit(both)(variables, images))


def _heat(features: np.ndarray, weights: np.ndarray, size: int = SIZE) -> np.ndarray:
    """Weigh a map [B, H, W, C] by [B, C], enlarged by OpenCV; some must have something to show."""
    low = np.maximum(np.einsum("bhwc,bc->bhw", features, weights), 0)
    enlarged = np.stack([cv2.resize(one, (size, size), interpolation=cv2.INTER_LINEAR) for one in low])
    largest = enlarged.max((1, 2), keepdims=True)
    assert (largest > 0).any()
    return enlarged / np.where(largest > 0, largest, 1)


def _head_slope(head: Any, stats: Any, pooled: np.ndarray) -> np.ndarray:
    """Return the chosen logits' gradients in the pooled features [B, C], by the chain rule, of the paper's head."""
    on = pooled @ head["dense"]["kernel"] + head["dense"]["bias"] > 0
    norm = head["bn"]["scale"] / np.sqrt(stats["bn"]["var"] + 1e-3)  # Keras's default epsilon
    return (on * norm * head["predictions"]["kernel"].T[CLASSES]) @ head["dense"]["kernel"].T


@pytest.mark.parametrize("backbone", [functools.partial(ResNet, ((8, 1), (8, 1))), functools.partial(DenseNet, (2, 2))])
def test_with_a_linear_head_it_is_cam(backbone: Any, rng: np.random.Generator) -> None:
    model = Classifier(backbone, head="linear")
    variables, images = _variables(model, SIZE), rng.random((3, SIZE, SIZE, 3), np.float32)
    heat, stages = _explain(model, variables, images)
    weights = variables["params"]["head"]["predictions"]["kernel"].T[CLASSES]
    np.testing.assert_allclose(heat, _heat(stages["features"], weights), atol=1e-4)


# The map that is weighed, by the name it has in Keras; DenseNet's is what its last stage is normalised to.
LAST = [
    (lambda: create_model("resnet50"), "conv5"),
    pytest.param(lambda: create_model("inceptionv3"), "mixed10", marks=pytest.mark.slow),
    (lambda: Classifier(functools.partial(DenseNet, (2, 3, 2, 2))), "features"),
]


@pytest.mark.parametrize(("make", "last"), LAST, ids=["resnet50", "inceptionv3", "densenet"])
def test_under_the_papers_head_a_channel_weighs_what_the_chain_rule_says(
    make: Callable[[], Any], last: str, rng: np.random.Generator
) -> None:
    model = make()
    variables, images = _variables(model, SIZE), rng.random((3, SIZE, SIZE, 3), np.float32)
    heat, stages = _explain(model, variables, images)
    slope = _head_slope(variables["params"]["head"], variables["batch_stats"]["head"], stages["pooled"])
    np.testing.assert_allclose(heat, _heat(stages[last], slope), atol=1e-3)
    np.testing.assert_allclose(stages[last].mean((1, 2)), stages["pooled"], rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "size", "stage", "side"),
    [("cnn", 7, "conv2", 7), ("cnn", 224, "conv4", 112), ("resnet50", 96, "conv4", 6), ("resnet50", 224, "features", 7),
     ("densenet201", 32, "conv3", 4), ("inceptionv3", 75, "mixed2", 7), ("inceptionv3", 96, "mixed7", 4),
     ("inceptionv3", 224, "features", 5)],
)  # fmt: skip
def test_a_map_of_fewer_than_4x4_places_gives_way_to_an_earlier_one(
    name: str, size: int, stage: str, side: int
) -> None:
    model = create_model(name)
    found: list[tuple[str, int]] = []

    def look(variables: Any, images: Any) -> None:
        stages = model.apply(variables, images, stages=True)[1]
        explained = explained_stage(stages, model.LAST_MAP)
        found.append((explained, stages[explained].shape[1]))

    images = jnp.zeros((1, size, size, 3))
    jax.eval_shape(look, jax.eval_shape(model.init, jax.random.key(0), images), images)
    assert found == [(stage, side)]


def test_an_earlier_map_weighs_what_small_changes_of_it_do(rng: np.random.Generator) -> None:
    size, step = 24, 1e-2
    model = Classifier(functools.partial(ResNet, ((4, 1), (4, 1))), head="linear")
    variables, images = _variables(model, size), rng.random((3, size, size, 3), np.float32)
    heat, stages = _explain(model, variables, images)
    features = stages["conv2"]
    assert (features.shape[1], stages["features"].shape[1]) == (6, 3)

    @jax.jit
    def logits(shift: Any) -> Any:
        found: Any = model.apply(variables, images, given={"conv2": features + shift})
        return found[np.arange(3), CLASSES]

    slopes = [(logits(step * one) - logits(-step * one)) / (2 * step) for one in np.eye(16, dtype=np.float32)]
    expected = _heat(features, np.stack(slopes, axis=1) / features[0, ..., 0].size, size)
    np.testing.assert_allclose(heat, expected, atol=0.02)
    assert (np.ptp(heat, axis=(1, 2)) > 0.5).all()


def test_the_cnns_channels_weigh_what_the_chain_rule_says(rng: np.random.Generator) -> None:
    model = create_model("cnn")
    variables, images = _variables(model, SIZE), rng.random((3, SIZE, SIZE, 3), np.float32)
    heat, stages = _explain(model, variables, images)
    params, features = variables["params"], stages["conv4"]
    slope = (stages["pooled"] > 0) * params["predictions"]["kernel"].T[CLASSES] @ params["dense"]["kernel"].T
    # A maximum hands its gradient to one place, so a channel's sum stays what it was after pooling.
    weights = slope.reshape(3, -1, features.shape[-1]).sum(1)
    np.testing.assert_allclose(heat, _heat(features, weights), atol=1e-4)


@pytest.fixture
def colour_sorter() -> Any:
    """A CNN whose logit 1 is all the red of an image, logit 2 all the green, and logit 3 less the red."""
    model = create_model("cnn")
    params = jax.tree.map(np.zeros_like, init_variables(model, image_size=32, seed=0)["params"])
    for i in range(1, 5):
        params[f"conv{i}"]["kernel"][1, 1, [0, 1], [0, 1]] = 1
    by_place = params["dense"]["kernel"].reshape(-1, 64, 128)
    by_place[:, [0, 1], [0, 1]] = 1
    params["predictions"]["kernel"][[0, 1, 0], [1, 2, 3]] = [1, 1, -1]
    return model, {"params": params}


def test_the_heat_lies_where_the_evidence_is(colour_sorter: Any) -> None:
    model, variables = colour_sorter
    image = np.zeros((32, 32, 3), np.float32)
    red, green = (slice(0, 10), slice(20, 32)), (slice(22, 32), slice(0, 12))
    image[(*red, 0)] = image[(*green, 1)] = 1
    heat = np.asarray(grad_cam(model, variables, np.stack([image] * 3), np.array([1, 2, 3])))
    assert heat[0][red].sum() > 0.9 * heat[0].sum()
    assert heat[1][green].sum() > 0.9 * heat[1].sum()
    np.testing.assert_allclose(heat.max((1, 2))[:2], 1, rtol=1e-6)
    assert not heat[2].any(), "red only speaks against class 3"


def test_maps_are_float32_whatever_the_network_computes_in() -> None:
    model = create_model("cnn", compute_dtype="bfloat16")
    variables = init_variables(model, image_size=32, seed=0)
    heat = jax.eval_shape(
        functools.partial(grad_cam, model), variables, jnp.zeros((2, 32, 32, 3), jnp.bfloat16), CLASSES[:2]
    )
    assert (heat.shape, heat.dtype) == ((2, 32, 32), jnp.float32)
