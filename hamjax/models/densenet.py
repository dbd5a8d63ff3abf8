"""DenseNet201 as in Keras applications (`keras/src/applications/densenet.py`).

It differs from the usual form in one way, with equal results: batch statistics are shared. The
batch mean and variance of a channel do not depend on the layer that normalises it, so they are
computed once, where the channel is made, and reused by every later layer of the block.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from hamjax.models.layers.convolution import Conv
from hamjax.models.layers.normalization import BatchNorm, batch_statistics
from hamjax.models.layers.pooling import average_pool_2x2, zero_padded_max_pool
from hamjax.models.stages import Record

Array = jax.Array
BN_EPSILON = 1.001e-5  # Keras's value for this network; torchvision has 1e-5
GROWTH = 32  # channels that a dense layer adds, k of the DenseNet paper (Huang et al. 2017)
BLOCKS_201 = (6, 12, 48, 32)


class DenseNet(nn.Module):
    """The backbone of DenseNet, up to the pooling. Its layers have Keras's names.

    Attributes:
        blocks: number of dense layers of each block.
        groups: see `batch_statistics`.
        plain: take lax's own convolutions and pooling, for exports.
        dtype: type of the computation.
    """

    blocks: tuple[int, ...] = BLOCKS_201
    groups: int = 1
    plain: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool, record: Record) -> Array:
        """Map images [B, S, S, 3] to features [B, S/32, S/32, C]."""
        norm = functools.partial(BatchNorm, epsilon=BN_EPSILON, groups=self.groups, dtype=self.dtype)
        conv = functools.partial(Conv, use_bias=False, plain=self.plain, dtype=self.dtype)
        # Keras pads explicitly on all sides. XLA's SAME would pad 2 and 3 pixels here and shift the features.
        x = conv(64, (7, 7), stride=2, padding=3, name="conv1_conv")(x)
        x = nn.relu(norm(name="conv1_bn")(x, train=train))
        x = record("stem", zero_padded_max_pool(x, plain=self.plain))
        for i, layers in enumerate(self.blocks):
            x, statistics = self._dense_block(x, f"conv{i + 2}", layers, conv, norm, train)
            x = record(f"conv{i + 2}", x)
            # Keras ends with a BatchNorm named `bn`; the other blocks end with a transition that halves the channels.
            last = i == len(self.blocks) - 1
            name = "bn" if last else f"pool{i + 2}_bn"
            x = nn.relu(norm(name=name)(x, train=train, statistics=statistics))
            if not last:
                # Keras convolves and then averages. Both are linear, a 1x1 kernel sees one pixel, and there is no bias:
                # averaging first gives the same numbers up to rounding, from a quarter of the products.
                features = x.shape[-1] // 2
                x = conv(features, (1, 1), name=f"pool{i + 2}_conv")(average_pool_2x2(x, plain=self.plain))
                x = record(f"pool{i + 2}", x)
        return x

    def _dense_block(
        self, x: Array, name: str, layers: int, conv: Any, norm: Any, train: bool
    ) -> tuple[Array, Array | None]:
        """Add `GROWTH` channels per layer to x; return x and, in training, the statistics of all its channels."""
        take = functools.partial(batch_statistics, epsilon=BN_EPSILON, groups=self.groups)
        statistics = take(x) if train else None
        for i in range(1, layers + 1):
            prefix = f"{name}_block{i}"
            y = nn.relu(norm(name=f"{prefix}_0_bn")(x, train=train, statistics=statistics))
            y = conv(4 * GROWTH, (1, 1), name=f"{prefix}_1_conv")(y)
            y = nn.relu(norm(name=f"{prefix}_1_bn")(y, train=train))
            y = conv(GROWTH, (3, 3), name=f"{prefix}_2_conv")(y)
            x = jnp.concatenate([x, y], -1)
            if statistics is not None:
                # Only the new channels are reduced; a BatchNorm that takes its own statistics would read all channels
                # of the block again in every layer.
                statistics = jnp.concatenate([statistics, take(y)], -1)
        return x, statistics
