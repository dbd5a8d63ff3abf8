"""The custom CNN of the paper (Table 2): 25,756,711 parameters at 224 x 224."""

from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from hamjax.models.layers.convolution import Conv
from hamjax.models.layers.dense import dense
from hamjax.models.layers.pooling import max_pool
from hamjax.models.stages import Recorder, Stages

Array = jax.Array


class CNN(nn.Module):
    """Two blocks of two 3x3 convolutions, max pooling and dropout, followed by two dense layers.

    Attributes:
        num_classes: number of outputs.
        dtype: type of the computation; parameters are float32 or wider.
        plain: take lax's own convolutions and pooling, for exports.
        dropout: False removes dropout, for comparisons that must not depend on chance.
        LAST_MAP: name of the stage that is the last convolution's feature map.
    """

    LAST_MAP: ClassVar[str] = "conv4"

    num_classes: int = 7
    plain: bool = False
    dtype: Any = jnp.float32
    dropout: bool = True

    @nn.compact
    def __call__(self, images: Array, *, train: bool = False, stages: bool = False, given: Stages | None = None) -> Any:
        """Classify images.

        Args:
            images: [B, S, S, 3] float, scaled to [0, 1].
            train: apply dropout; needs a `dropout` rng.
            stages: also return the output of every stage by its name.
            given: stage outputs to use in place of computed ones; jit then drops the layers
                below them.

        Returns:
            The logits [B, num_classes], float32 or wider. With `stages`, a pair of the
            logits and the dictionary of stages.
        """
        stored = jnp.promote_types(self.dtype, jnp.float32)
        record = Recorder(given)
        x = images.astype(self.dtype)
        for i, (features, rate) in enumerate(((32, 0.25), (64, 0.4))):
            for j in (1, 2):
                name = f"conv{2 * i + j}"
                x = record(name, nn.relu(Conv(features, plain=self.plain, dtype=self.dtype, name=name)(x)))
            x = record(f"pool{i + 1}", max_pool(x, 2, 2, plain=self.plain))
            # Table 2 of the paper has dropout after each pooling; its text says after each convolution. The table
            # agrees with the public Kaggle kernel that this network comes from.
            x = self._drop(rate, train)(x)
        x = x.reshape(x.shape[0], -1)  # not len(x): an export leaves the size of the batch open
        x = record("pooled", nn.relu(dense(128, dtype=self.dtype, name="dense")(x)))
        # The logits are computed in float32 even under bfloat16: the loss takes differences of them.
        x = self._drop(0.5, train)(x).astype(stored)
        logits = dense(self.num_classes, dtype=stored, name="predictions")(x)
        return (logits, dict(record)) if stages else logits

    def _drop(self, rate: float, train: bool) -> Callable[[Array], Array]:
        return nn.Dropout(rate, deterministic=not (train and self.dropout))
