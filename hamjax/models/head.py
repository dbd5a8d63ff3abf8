"""The classifier on top of a backbone, as in Table 3 of the paper."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from hamjax.models.layers.dense import dense
from hamjax.models.layers.normalization import BatchNorm

Array = jax.Array
HEADS = ("paper", "bn_first", "linear", "imagenet")


class Head(nn.Module):
    """Layers from pooled features to logits, computed in float32 or wider.

    Attributes:
        kind: `paper` is Dense 1024 with ReLU, Dropout .5, BatchNorm, Dense. `bn_first` has
            BatchNorm before dropout. `linear` is one Dense. `imagenet` is the Dense layer
            for the 1000 classes of the published network.
        num_classes: number of outputs.
        groups: see `hamjax.models.layers.normalization.batch_statistics`.
        dtype: type of the backbone's computation.
        dropout: False removes dropout.
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
        x = pooled.astype(stored)
        if self.kind in ("paper", "bn_first"):
            x = nn.relu(dense(1024, dtype=stored, name="dense")(x))
            drop = nn.Dropout(0.5, deterministic=not (train and self.dropout))
            # Keras's default epsilon of 1e-3, as for any layer added by hand; ResNet's and DenseNet's backbones differ.
            norm = BatchNorm(groups=self.groups, dtype=stored, name="bn")
            # BatchNorm after dropout sees a larger variance in training than in evaluation (Li et al., CVPR 2019,
            # "variance shift"). It is what Table 3 lists, so `paper` keeps it, and `bn_first` is there to compare.
            x = norm(drop(x), train=train) if self.kind == "paper" else drop(norm(x, train=train))
        return dense(self.num_classes, dtype=stored, name="predictions")(x)
