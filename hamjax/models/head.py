"""The classifier on top of a pretrained network, as in the paper's Table 3."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from hamjax.models.layers.convolution import KERNEL_INIT
from hamjax.models.layers.normalization import BatchNorm

Array = jax.Array
HEADS = ("paper", "bn_first", "linear", "imagenet")


class Head(nn.Module):
    """Pooled features to logits, in at least float32.

    `paper` is Dense 1024 with ReLU, Dropout .5, BatchNorm, Dense; `bn_first` swaps
    dropout and normalisation; `linear` is one Dense; `imagenet` likewise, for the 1000
    classes the network was published with.
    """

    kind: str
    num_classes: int
    groups: int = 1
    dtype: Any = jnp.float32
    dropout: bool = True

    @nn.compact
    def __call__(self, pooled: Array, *, train: bool) -> Array:
        """Map [B, C] to [B, num_classes]."""
        stored = jnp.promote_types(self.dtype, jnp.float32)

        def dense(features: int, name: str) -> nn.Dense:
            return nn.Dense(features, dtype=stored, param_dtype=stored, kernel_init=KERNEL_INIT, name=name)

        x = pooled.astype(stored)
        if self.kind in ("paper", "bn_first"):
            x = nn.relu(dense(1024, "dense")(x))
            drop = nn.Dropout(0.5, deterministic=not (train and self.dropout))
            norm = BatchNorm(groups=self.groups, dtype=stored, name="bn")
            x = norm(drop(x), train=train) if self.kind == "paper" else drop(norm(x, train=train))
        return dense(self.num_classes, "predictions")(x)
