"""ResNet50 as in Keras applications (`keras/src/applications/resnet.py`, version 1).

It differs from torchvision's ResNet50 in two ways: its convolutions have a bias, and the stride of
a stage is on the first 1x1 convolution of its first block, not on the 3x3.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from hamjax.models.layers.convolution import Conv
from hamjax.models.layers.normalization import BatchNorm
from hamjax.models.layers.pooling import zero_padded_max_pool
from hamjax.models.stages import Record

Array = jax.Array
BN_EPSILON = 1.001e-5  # Keras's value for this network; torchvision has 1e-5
# Channels of the bottleneck, and number of blocks.
STAGES_50 = ((64, 3), (128, 4), (256, 6), (512, 3))


class ResNet(nn.Module):
    """The backbone of ResNet, up to the pooling. Its layers have Keras's names.

    Attributes:
        stages: channels of the bottleneck and number of blocks, for each stage.
        groups: see `hamjax.models.layers.normalization.batch_statistics`.
        plain: take lax's own convolutions and pooling, for exports.
        dtype: type of the computation.
    """

    stages: tuple[tuple[int, int], ...] = STAGES_50
    groups: int = 1
    plain: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool, record: Record) -> Array:
        """Map images [B, S, S, 3] to features [B, S/32, S/32, C]."""
        # Keras pads explicitly on all sides. XLA's SAME would pad 2 and 3 pixels here and shift the features.
        x = nn.relu(self._conv_norm(x, "conv1", 64, 7, train, stride=2, padding=3))
        x = record("stem", zero_padded_max_pool(x, plain=self.plain))
        for i, (features, blocks) in enumerate(self.stages):
            for j in range(1, blocks + 1):
                stride = 2 if i > 0 and j == 1 else 1
                x = self._block(x, f"conv{i + 2}_block{j}", features, stride, train, projected=j == 1)
            x = record(f"conv{i + 2}", x)
        return x

    def _block(self, x: Array, name: str, features: int, stride: int, train: bool, *, projected: bool) -> Array:
        """Return the bottleneck block: three convolutions of x, added to x or to a projection of x."""
        conv_norm = functools.partial(self._conv_norm, train=train)
        shortcut = conv_norm(x, f"{name}_0", 4 * features, 1, stride=stride) if projected else x
        # The stride is here in version 1, the one that Keras's weights were trained with.
        x = nn.relu(conv_norm(x, f"{name}_1", features, 1, stride=stride))
        x = nn.relu(conv_norm(x, f"{name}_2", features, 3, padding=1))
        return nn.relu(shortcut + conv_norm(x, f"{name}_3", 4 * features, 1))

    def _conv_norm(
        self, x: Array, name: str, features: int, size: int, train: bool, *, stride: int = 1, padding: int = 0
    ) -> Array:
        conv = functools.partial(Conv, bias_apart=True, plain=self.plain, dtype=self.dtype, name=f"{name}_conv")
        norm = BatchNorm(epsilon=BN_EPSILON, groups=self.groups, dtype=self.dtype, name=f"{name}_bn")
        y, bias = conv(features, (size, size), stride, padding)(x)
        return norm(y, train=train, bias_before=bias)
