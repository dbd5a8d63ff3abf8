"""The networks by name: what is known of each beforehand, and how to make one."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from hamjax.models.classifier import FROZEN, Classifier
from hamjax.models.cnn import CNN
from hamjax.models.densenet import DenseNet
from hamjax.models.head import HEADS
from hamjax.models.inception import InceptionV3
from hamjax.models.resnet import ResNet
from hamjax.runtime.errors import UserError, expected_one_of


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
    plain: bool = False,
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
        plain: take lax's own convolutions and pooling everywhere, which converters to other
            runtimes know, in place of the forms that are fast on a CPU; the numbers differ by
            rounding alone.
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
        "plain": plain,
        "dropout": dropout,
    }
    if spec.pretrained:
        groups = num_devices or jax.device_count() if bn_stats == "per_device" else 1
        options |= {"head": head, "groups": groups, "frozen": frozen}
    return spec.build(**options)
