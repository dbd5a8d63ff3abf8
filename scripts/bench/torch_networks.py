# pyright: reportMissingImports=false
"""The same four networks as an ordinary PyTorch port has them, without any of hamjax's tricks.

What is Keras's stays Keras's: strides, biases, epsilons, momentum, borders of pools. The
running variance is torch's (unbiased, hamjax's is biased), which no training loss depends on.
"""

import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from flax import traverse_util
from torch import Tensor, nn
from torch.nn import functional as F

from hamjax.models.inception import AVERAGE, BLOCKS, Unit

Layers = dict[str, nn.Module]
CLASSES = 7
BN_MOMENTUM = 0.01  # of the new value; Keras's .99 is of the old
BN_EPSILON = 1.001e-5  # of ResNet and DenseNet
KERAS_BN_EPSILON = 1e-3  # of InceptionV3 and the head
LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}


def make_network(name: str, image_size: int, dtype: torch.dtype) -> nn.Module:
    """Make a network from uint8 images [B, S, S, 3] to logits; dropout is left out.

    Its parameters are of `dtype`, float32 or float64.
    """
    if name == "cnn":
        return _cnn(image_size, Scale(dtype)).to(dtype)
    backbone, channels = {"resnet50": _resnet50, "inceptionv3": _inceptionv3, "densenet201": _densenet201}[name]()
    pool: Layers = {"pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()}
    return _sequence({"scale": Scale(dtype), "backbone": backbone, **pool, "head": _head(channels)}).to(dtype)


def load_variables(network: nn.Module, variables: Mapping[str, Any]) -> None:
    """Copy hamjax's variables; a network without a place for one of them is an error."""
    state = network.state_dict()  # of InceptionV3's BatchNorm this keeps the gammas, which are 1
    for collection in ("params", "batch_stats"):
        for path, value in traverse_util.flatten_dict(variables[collection]).items():
            *modules, leaf = path
            state[".".join([*map(_module_path, modules), LEAVES[leaf]])] = _to_torch(value)
    network.load_state_dict(state)


def _module_path(name: str) -> str:
    """Turn `conv2_block1_1_bn` into `conv2_block1.bn1`, `mixed9_3x3_2a_conv` into `mixed9.3x3.2.a.conv`."""
    if name.startswith(("stem", "mixed")):
        return re.sub(r"(\d)([ab])_", r"\1.\2.", name).replace("_", ".")
    return re.sub(r"_(\d)_(conv|bn)$", r".\2\1", name)


def _to_torch(value: Any) -> Tensor:
    axes = {2: (1, 0), 4: (3, 2, 0, 1)}.get(value.ndim, (0,))
    return torch.tensor(value.transpose(axes))


class Scale(nn.Module):
    """uint8 [B, S, S, 3] to [0, 1], [B, 3, S, S]; the permutation is what torch calls channels_last."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, images: Tensor) -> Tensor:  # noqa: D102
        return images.permute(0, 3, 1, 2).to(self.dtype) / 255


class FlattenNHWC(nn.Module):
    """Flatten in Keras's order, which channels_last tensors lie in already."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return x.permute(0, 2, 3, 1).flatten(1)


def _sequence(layers: Layers) -> nn.Sequential:
    return nn.Sequential(OrderedDict(layers))


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, BN_EPSILON, BN_MOMENTUM)


def _cnn(image_size: int, scale: Scale) -> nn.Sequential:
    """Table 2 of the paper."""
    layers: Layers = {"scale": scale}
    channels = 3
    for i, features in enumerate((32, 64)):
        for j in (2 * i + 1, 2 * i + 2):
            layers |= {f"conv{j}": nn.Conv2d(channels, features, 3, padding=1), f"relu{j}": nn.ReLU(inplace=True)}
            channels = features
        layers[f"pool{i + 1}"] = nn.MaxPool2d(2)
    dense = nn.Linear(channels * (image_size // 2 // 2) ** 2, 128)
    layers |= {"flatten": FlattenNHWC(), "dense": dense, "relu": nn.ReLU(inplace=True)}
    return _sequence({**layers, "predictions": nn.Linear(128, CLASSES)})


def _head(channels: int) -> nn.Sequential:
    """Table 3 of the paper."""
    dense: Layers = {"dense": nn.Linear(channels, 1024), "relu": nn.ReLU(inplace=True)}
    norm = nn.BatchNorm1d(1024, KERAS_BN_EPSILON, BN_MOMENTUM)
    return _sequence({**dense, "bn": norm, "predictions": nn.Linear(1024, CLASSES)})


def _stem(*, bias: bool) -> Layers:
    return {
        "conv1_conv": nn.Conv2d(3, 64, 7, 2, 3, bias=bias),
        "conv1_bn": _norm(64),
        "conv1_relu": nn.ReLU(inplace=True),
        "pool1": nn.MaxPool2d(3, 2, 1),  # Keras pads with zeros: the same after a ReLU
    }


class Bottleneck(nn.Module):
    """Three convolutions and a shortcut; unlike torchvision's, the first has the stride, and all a bias."""

    def __init__(self, channels: int, features: int, stride: int, *, projected: bool) -> None:
        super().__init__()
        self.projected = projected
        if projected:
            self.conv0, self.bn0 = nn.Conv2d(channels, 4 * features, 1, stride), _norm(4 * features)
        self.conv1, self.bn1 = nn.Conv2d(channels, features, 1, stride), _norm(features)
        self.conv2, self.bn2 = nn.Conv2d(features, features, 3, padding=1), _norm(features)
        self.conv3, self.bn3 = nn.Conv2d(features, 4 * features, 1), _norm(4 * features)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        shortcut = self.bn0(self.conv0(x)) if self.projected else x
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = F.relu(self.bn2(self.conv2(x)), inplace=True)
        x = self.bn3(self.conv3(x))
        x += shortcut
        return F.relu(x, inplace=True)


def _resnet50() -> tuple[nn.Module, int]:
    layers, channels = _stem(bias=True), 64
    for i, (features, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3))):
        for j in range(1, blocks + 1):
            stride = 2 if i > 0 and j == 1 else 1
            layers[f"conv{i + 2}_block{j}"] = Bottleneck(channels, features, stride, projected=j == 1)
            channels = 4 * features
    return _sequence(layers), channels


class DenseLayer(nn.Module):
    """Append 32 channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn0, self.conv1 = _norm(channels), nn.Conv2d(channels, 128, 1, bias=False)
        self.bn1, self.conv2 = _norm(128), nn.Conv2d(128, 32, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        y = self.conv1(F.relu(self.bn0(x), inplace=True))
        y = self.conv2(F.relu(self.bn1(y), inplace=True))
        return torch.cat([x, y], 1)


def _densenet201() -> tuple[nn.Module, int]:
    layers, channels = _stem(bias=False), 64
    for i, count in enumerate((6, 12, 48, 32), 2):
        for j in range(1, count + 1):
            layers[f"conv{i}_block{j}"] = DenseLayer(channels)
            channels += 32
        if i < 5:
            layers |= {f"pool{i}_bn": _norm(channels), f"pool{i}_relu": nn.ReLU(inplace=True)}
            layers[f"pool{i}_conv"] = nn.Conv2d(channels, channels // 2, 1, bias=False)
            layers[f"pool{i}"] = nn.AvgPool2d(2)
            channels //= 2
    return _sequence({**layers, "bn": _norm(channels), "relu": nn.ReLU(inplace=True)}), channels


class ConvNorm(nn.Module):
    """A convolution, BatchNorm without gamma, and ReLU."""

    def __init__(self, channels: int, unit: Unit) -> None:
        super().__init__()
        padding = "same" if unit.padding == "SAME" else int(unit.padding)
        kernel = (unit.rows, unit.columns)
        self.conv = nn.Conv2d(channels, unit.features, kernel, unit.stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(unit.features, KERAS_BN_EPSILON, BN_MOMENTUM)
        self.bn.weight.requires_grad_(False)  # stays 1

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return F.relu(self.bn(self.conv(x)), inplace=True)


class Join(nn.Module):
    """Apply all to the same input, and join their outputs."""

    def __init__(self, branches: Iterable[tuple[str, nn.Module]]) -> None:
        super().__init__()
        for name, branch in branches:
            self.add_module(name, branch)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return torch.cat([branch(x) for branch in self.children()], 1)


def _inception_branch(channels: int, steps: Iterable[Any]) -> tuple[nn.Sequential, int]:
    layers: Layers = {}
    number = 0
    for step in steps:
        if isinstance(step, str):
            average = nn.AvgPool2d(3, 1, 1, count_include_pad=False)
            layers[f"pool{number}"] = average if step == AVERAGE else nn.MaxPool2d(3, 2)
            continue
        number += 1
        if isinstance(step, Unit):
            layers[str(number)], channels = ConvNorm(channels, step), step.features
        else:
            layers[str(number)] = Join((name, ConvNorm(channels, unit)) for name, unit in zip("ab", step, strict=True))
            channels = sum(unit.features for unit in step)
    return _sequence(layers), channels


def _inceptionv3() -> tuple[nn.Module, int]:
    """Read the network off hamjax's table of blocks."""
    layers, channels = {}, 3
    for name, block in BLOCKS.items():
        branches = {kind: _inception_branch(channels, steps) for kind, steps in block.items()}
        layers[name] = Join((kind, branch) for kind, (branch, _) in branches.items())
        channels = sum(features for _, features in branches.values())
    return _sequence(layers), channels
