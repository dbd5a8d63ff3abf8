"""ResNet50 and DenseNet201 with every kind of layer that they have, and few of each, in Keras and here.

Compiling the whole ones takes a minute or two; that their many layers follow each other as Keras's do, the outputs of
their stages show too.
"""

import dataclasses
import functools
from typing import Any

import pytest
from keras.src.applications import densenet, resnet

from hamjax.models.classifier import Classifier
from hamjax.models.densenet import DenseNet
from hamjax.models.registry import MODEL_SPECS
from hamjax.models.resnet import ResNet
from tests.helpers.keras_networks import ORIGINALS

LAYERS = (2, 3, 2, 2)  # dense layers a block, where DenseNet201 has 6, 12, 48 and 32
STAGES = ((64, 2), (128, 2), (256, 1), (512, 1))  # where ResNet50 has 3, 4, 6 and 3 blocks


def _stages(x: Any) -> Any:
    for i, (features, blocks) in enumerate(STAGES):
        x = resnet.stack_residual_blocks_v1(x, features, blocks, stride1=2 if i else 1, name=f"conv{i + 2}")
    return x


def _residual(**arguments: Any) -> Any:
    return resnet.ResNet(_stages, preact=False, use_bias=True, **arguments)


SHORT = {
    "resnet50": (_residual, functools.partial(ResNet, STAGES)),
    "densenet201": (functools.partial(densenet.DenseNet, LAYERS), functools.partial(DenseNet, LAYERS)),
}


def shorten(patch: pytest.MonkeyPatch, name: str) -> None:
    """Put the short network in the place of the whole one."""
    theirs, backbone = SHORT[name]
    patch.setitem(ORIGINALS, name, theirs)
    build = functools.partial(Classifier, backbone)
    patch.setitem(MODEL_SPECS, name, dataclasses.replace(MODEL_SPECS[name], build=build))
