"""A published network as backbone, with a new classifier on top."""

from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from hamjax.models.head import Head
from hamjax.models.layers.pooling import global_average_pool
from hamjax.models.stages import Recorder, Stages

Array = jax.Array
FROZEN = ("none", "bn", "backbone")


class Classifier(nn.Module):
    """A backbone, global average pooling, and a head (section 4.3.2 of the paper).

    Attributes:
        backbone: a function that makes the module `(images, train=, record=) -> features
            [B, H, W, C]` from `groups`, `plain`, `dtype` and `name`.
        num_classes: number of outputs.
        head: the kind of head, see `Head`.
        groups: number of parts of the batch that have BatchNorm statistics of their own.
        plain: take lax's own convolutions and pooling, for exports.
        dtype: type of the computation; parameters are float32 or wider.
        dropout: False removes dropout, for comparisons that must not depend on chance.
        frozen: `bn` or `backbone` keeps the backbone's BatchNorm in inference mode; which
            parameters get no gradient is decided in `hamjax.models.freezing`.
        LAST_MAP: name of the stage that is the backbone's output, after its last ReLU.
    """

    LAST_MAP: ClassVar[str] = "features"

    backbone: Callable[..., nn.Module]
    num_classes: int = 7
    head: str = "paper"
    groups: int = 1
    plain: bool = False
    dtype: Any = jnp.float32
    dropout: bool = True
    frozen: str = "none"

    @nn.compact
    def __call__(self, images: Array, *, train: bool = False, stages: bool = False, given: Stages | None = None) -> Any:
        """Return logits [B, num_classes]; see `CNN.__call__` for the arguments and the other results."""
        record = Recorder(given)
        backbone = self.backbone(groups=self.groups, plain=self.plain, dtype=self.dtype, name="backbone")
        # Keras runs a BatchNormalization layer with trainable=False in inference mode. Batch statistics would
        # still move the outputs of layers whose parameters are frozen.
        x = backbone(images.astype(self.dtype), train=train and self.frozen == "none", record=record)
        pooled = record("pooled", global_average_pool(record(self.LAST_MAP, x)))
        # The head trains with batch statistics even where the backbone is frozen: its BatchNorm starts from nothing.
        head = Head(self.head, self.num_classes, self.groups, self.dtype, self.dropout, name="head")
        logits = head(pooled, train=train)
        return (logits, dict(record)) if stages else logits
