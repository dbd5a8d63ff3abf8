"""Dense layers with Keras's initial values."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn

KERNEL_INIT = nn.initializers.glorot_uniform()  # Keras's default for Dense and Conv2D


def dense(features: int, *, dtype: Any, name: str) -> nn.Dense:
    """Make a dense layer that computes in `dtype`; its parameters are float32 or wider."""
    stored = jnp.promote_types(dtype, jnp.float32)
    return nn.Dense(features, dtype=dtype, param_dtype=stored, kernel_init=KERNEL_INIT, name=name)
