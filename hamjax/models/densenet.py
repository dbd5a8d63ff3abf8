"""DenseNet201 as in Keras applications (`keras/src/applications/densenet.py`).

Two things are done differently from the textbook, with the same results. A feature chunk's
batch mean and variance do not depend on which later layer normalises it, so each is
taken once and shared by all of them. And 1x1 convolutions are matrix products.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from hamjax.models.head import Head
from hamjax.models.layers import (
    KERNEL_INIT,
    BatchNorm,
    Conv3x3,
    PointwiseConv,
    Record,
    Recorder,
    Statistics,
    average_pool_2x2,
    batch_statistics,
    global_average_pool,
    zero_padded_max_pool,
)

Array = jax.Array
BN_EPSILON = 1.001e-5
GROWTH = 32
BLOCKS_201 = (6, 12, 48, 32)


class Backbone(nn.Module):
    """Everything below the pooling. Layers carry the names of Keras's.

    Attributes:
        blocks: dense layers a block.
        groups: see `Statistics`.
        dtype: of the computation.
    """

    blocks: tuple[int, ...] = BLOCKS_201
    groups: int = 1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool, record: Record) -> Array:
        """Map images [B, S, S, 3] to features [B, S/32, S/32, C]."""
        norm = functools.partial(BatchNorm, epsilon=BN_EPSILON, groups=self.groups, dtype=self.dtype)
        stem = nn.Conv(
            64, (7, 7), strides=2, padding=3, use_bias=False, dtype=self.dtype,
            param_dtype=jnp.promote_types(self.dtype, jnp.float32), kernel_init=KERNEL_INIT, name="conv1_conv",
        )  # fmt: skip
        x = stem(x)
        x = nn.relu(norm(name="conv1_bn")(x, train=train))
        x = record("stem", zero_padded_max_pool(x))
        for i, layers in enumerate(self.blocks):
            x, statistics = self._dense_block(x, f"conv{i + 2}", layers, norm, train)
            record(f"conv{i + 2}", x)
            last = i == len(self.blocks) - 1
            name = "bn" if last else f"pool{i + 2}_bn"
            x = nn.relu(norm(name=name)(x, train=train, statistics=statistics))
            if not last:
                x = PointwiseConv(x.shape[-1] // 2, self.dtype, name=f"pool{i + 2}_conv")(x)
                x = record(f"pool{i + 2}", average_pool_2x2(x))
        return x

    def _dense_block(self, x: Array, name: str, layers: int, norm: Any, train: bool) -> tuple[Array, Statistics | None]:
        """Grow x by 32 channels a layer; return it with the statistics of all its channels."""
        statistics = batch_statistics(x, self.groups) if train else None
        for i in range(1, layers + 1):
            prefix = f"{name}_block{i}"
            y = nn.relu(norm(name=f"{prefix}_0_bn")(x, train=train, statistics=statistics))
            y = PointwiseConv(4 * GROWTH, self.dtype, name=f"{prefix}_1_conv")(y)
            y = nn.relu(norm(name=f"{prefix}_1_bn")(y, train=train))
            y = Conv3x3(GROWTH, use_bias=False, dtype=self.dtype, name=f"{prefix}_2_conv")(y)
            x = jnp.concatenate([x, y], -1)
            if statistics is not None:
                new = batch_statistics(y, self.groups)
                statistics = Statistics(*(jnp.concatenate(pair, -1) for pair in zip(statistics, new, strict=True)))
        return x, statistics


class DenseNet(nn.Module):
    """A DenseNet with the paper's head or ImageNet's; see `Backbone` and `Head`."""

    num_classes: int = 7
    head: str = "paper"
    blocks: tuple[int, ...] = BLOCKS_201
    groups: int = 1
    dtype: Any = jnp.float32
    dropout: bool = True

    @nn.compact
    def __call__(self, images: Array, *, train: bool = False, stages: bool = False) -> Any:
        """Classify images; see `CNN.__call__` for arguments and result."""
        record = Recorder()
        backbone = Backbone(self.blocks, self.groups, self.dtype, name="backbone")
        x = backbone(images.astype(self.dtype), train=train, record=record)
        pooled = record("pooled", global_average_pool(x))
        head = Head(self.head, self.num_classes, self.groups, self.dtype, self.dropout, name="head")
        logits = head(pooled, train=train)
        return (logits, dict(record)) if stages else logits
