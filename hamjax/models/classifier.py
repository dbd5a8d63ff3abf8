"""A published network under the classifier of this task."""

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
    """A backbone, global average pooling, and a head (paper, 4.3.2).

    Attributes:
        backbone: makes a module `(images, train=, record=) -> features [B, H, W, C]` from
            `groups`, `dtype` and `name`.
        num_classes: outputs.
        head: see `Head`.
        groups: parts of the batch with BatchNorm statistics of their own.
        dtype: of the computation; parameters are float32 or wider.
        dropout: off for comparisons that must be free of chance.
        frozen: `bn` or `backbone` keeps the backbone's BatchNorm in inference mode, as
            Keras does with layers that are not trainable; what gradients leave alone is
            `hamjax.models.freezing`'s part.
        LAST_MAP: the stage that is the backbone's output, after its last ReLU.
    """

    LAST_MAP: ClassVar[str] = "features"

    backbone: Callable[..., nn.Module]
    num_classes: int = 7
    head: str = "paper"
    groups: int = 1
    dtype: Any = jnp.float32
    dropout: bool = True
    frozen: str = "none"

    @nn.compact
    def __call__(self, images: Array, *, train: bool = False, stages: bool = False, given: Stages | None = None) -> Any:
        """Classify images; see `CNN.__call__` for arguments and result."""
        record = Recorder(given)
        backbone = self.backbone(groups=self.groups, dtype=self.dtype, name="backbone")
        x = backbone(images.astype(self.dtype), train=train and self.frozen == "none", record=record)
        pooled = record("pooled", global_average_pool(record(self.LAST_MAP, x)))
        head = Head(self.head, self.num_classes, self.groups, self.dtype, self.dropout, name="head")
        logits = head(pooled, train=train)
        return (logits, dict(record)) if stages else logits
