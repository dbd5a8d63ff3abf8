"""The networks, and how to make and initialise one."""

import dataclasses
import functools
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from hamjax.models.classifier import FROZEN, Classifier
from hamjax.models.cnn import CNN
from hamjax.models.densenet import DenseNet
from hamjax.models.head import HEADS
from hamjax.models.inception import InceptionV3
from hamjax.models.resnet import ResNet
from hamjax.runtime.errors import UserError, expected_one_of

Variables = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """What is known of a network beforehand.

    Attributes:
        build: makes the module.
        minimum_size: smallest image side, in pixels (for the published networks, Keras's).
        native_scale: what the pixels of its ImageNet weights went through, a mode of
            `keras/src/applications/imagenet_utils.py`; empty where there are no such weights.
        native_size: image side its ImageNet weights were trained at.
    """

    build: Callable[..., Any]
    minimum_size: int
    native_scale: str = ""
    native_size: int = 224

    @property
    def pretrained(self) -> bool:
        """Whether ImageNet weights exist for it."""
        return bool(self.native_scale)


MODEL_SPECS = {
    "cnn": ModelSpec(CNN, minimum_size=4),
    "resnet50": ModelSpec(functools.partial(Classifier, ResNet), 32, "caffe"),
    "inceptionv3": ModelSpec(functools.partial(Classifier, InceptionV3), 75, "tf", native_size=299),
    "densenet201": ModelSpec(functools.partial(Classifier, DenseNet), 32, "torch"),
}


def create_model(
    name: str,
    *,
    num_classes: int = 7,
    head: str = "paper",
    compute_dtype: str = "float32",
    bn_stats: str = "global",
    num_devices: int | None = None,
    dropout: bool = True,
    frozen: str = "none",
) -> Any:
    """Make a network.

    Args:
        name: a key of `MODEL_SPECS`.
        num_classes: outputs; 1000 with the `imagenet` head.
        head: `paper`, `bn_first`, `linear` or `imagenet`; the CNN has its own.
        compute_dtype: of activations; parameters stay float32 (float64 with float64).
        bn_stats: `global` takes batch statistics over the whole batch on all devices,
            `per_device` over each device's part.
        num_devices: for `per_device`; all of jax's by default.
        dropout: off for comparisons that must be free of chance.
        frozen: `none`, `bn` or `backbone`: see `Classifier`; not for the CNN.

    Returns:
        A Flax module; `module.apply(variables, images, train=False)` gives logits.

    Raises:
        UserError: there is no such network, head or choice.
    """
    for what, value, allowed in (("name", name, MODEL_SPECS), ("head", head, HEADS), ("frozen", frozen, FROZEN)):
        if value not in allowed:
            raise UserError(expected_one_of(f"model.{what}", allowed, value))
    spec = MODEL_SPECS[name]
    options: dict[str, Any] = {
        "num_classes": 1000 if head == "imagenet" else num_classes,
        "dtype": jnp.dtype(compute_dtype),
        "dropout": dropout,
    }
    if spec.pretrained:
        groups = num_devices or jax.device_count() if bn_stats == "per_device" else 1
        options |= {"head": head, "groups": groups, "frozen": frozen}
    return spec.build(**options)


def init_variables(model: Any, *, image_size: int, seed: int) -> Variables:
    """Initialise without compiling or running the network.

    Shapes come from an abstract trace. Values follow Keras: kernels Glorot-uniform,
    biases and means 0, scales and variances 1. Each leaf has its own stream, so the
    values of one do not depend on what other leaves there are.

    Args:
        model: from `create_model`.
        image_size: pixels a side, which the CNN's dense layer depends on.
        seed: of the draw.

    Returns:
        `{"params": ..., "batch_stats": ...}` of numpy arrays; the CNN has no statistics.
    """
    image = jax.ShapeDtypeStruct((1, image_size, image_size, 3), model.dtype)
    # The key's value is never used: nothing is computed here.
    shapes = jax.eval_shape(model.init, jax.ShapeDtypeStruct((2,), jnp.uint32), image)
    leaves = {path: _initial_value(path, shape, seed) for path, shape in traverse_util.flatten_dict(shapes).items()}
    return {"params": {}, "batch_stats": {}} | traverse_util.unflatten_dict(leaves)


def _initial_value(path: tuple[str, ...], leaf: Any, seed: int) -> np.ndarray:
    kind = path[-1]
    if kind in ("bias", "mean"):
        return np.zeros(leaf.shape, leaf.dtype)
    if kind in ("scale", "var"):
        return np.ones(leaf.shape, leaf.dtype)
    receptive = int(np.prod(leaf.shape[:-2]))
    fan_in, fan_out = receptive * leaf.shape[-2], receptive * leaf.shape[-1]
    limit = np.sqrt(6 / (fan_in + fan_out))
    rng = np.random.default_rng((seed, zlib.crc32("/".join(path).encode())))
    draw = rng.random(leaf.shape, dtype=np.float32) * np.float32(2 * limit) - np.float32(limit)
    return draw.astype(leaf.dtype)


def count_parameters(tree: Mapping[str, Any]) -> int:
    """Count the numbers in a tree of arrays."""
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(tree))
