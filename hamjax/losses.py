"""Cross-entropy with class weights, reduced as Keras reduces it."""

import jax
import jax.numpy as jnp

Array = jax.Array


def weighted_cross_entropy(logits: Array, labels: Array, class_weights: Array, *, normalize: str = "batch") -> Array:
    """Return the training loss.

    `batch`: sum_i w[y_i] l_i / B, which is what Keras computes from `class_weight`
    (keras/src/losses/loss.py, `reduce_weighted_values`: it divides by the batch size,
    not by the weights). `sum_w`: divided by sum_i w[y_i], as PyTorch does.

    Args:
        logits: [B, K] float32 or wider.
        labels: [B] int.
        class_weights: [K].
        normalize: `batch` or `sum_w`.

    Returns:
        A scalar.
    """
    log_probabilities = jax.nn.log_softmax(logits)
    losses = -jnp.take_along_axis(log_probabilities, labels[:, None], axis=1)[:, 0]
    weights = class_weights.astype(losses.dtype)[labels]
    total = (weights * losses).sum()
    return total / (weights.sum() if normalize == "sum_w" else len(labels))
