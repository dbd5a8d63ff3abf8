"""Training losses with class weights, reduced as Keras reduces them.

A loss gives each class a score, as if that class were the label. The loss of an image is minus the score of its label.
Label smoothing and the soft targets of mixed images are then averages of scores.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

Array = jax.Array
KERAS_EPSILON = 1e-7


@dataclasses.dataclass(frozen=True, kw_only=True)
class Loss:
    """A training loss, called with logits [B, K], targets and class weights; returns a scalar.

    `normalize="batch"`: sum_i w[y_i] l_i / B, which is what Keras computes from `class_weight`
    (keras/src/losses/loss.py, `reduce_weighted_values`: it divides by the batch size,
    not by the weights). `sum_w`: divided by sum_i w[y_i], as PyTorch does.

    Attributes:
        name: a key of `LOSSES`.
        normalize: `batch` or `sum_w`.
        label_smoothing: share of a label that is spread evenly over all classes (Szegedy et al., CVPR 2016).
        gamma: of the focal loss.
        tau: of logit adjustment.
    """

    name: str = "cross_entropy"
    normalize: str = "batch"
    label_smoothing: float = 0.0
    gamma: float = 2.0
    tau: float = 1.0

    def __call__(self, logits: Array, targets: Array, class_weights: Array, log_prior: Array | None = None) -> Array:
        """Return the loss of a batch.

        Args:
            logits: [B, K] float32 or wider.
            targets: labels [B] int, or shares of classes [B, K], each share with its class's weight.
            class_weights: [K]; the weight of an image is that of its label, smoothed or not.
            log_prior: [K] for logit adjustment, see `hamjax.data.sampling.log_prior`.
        """
        scores = LOSSES[self.name](logits, self, log_prior)
        if self.label_smoothing:
            even = scores.mean(axis=1, keepdims=True)
            scores = (1 - self.label_smoothing) * scores + self.label_smoothing * even
        # Of the label, not of the smoothed target: smoothing is to soften a label, and not to change what it weighs.
        weights = jnp.asarray(class_weights).astype(scores.dtype)
        if targets.ndim == 1:
            losses, weights = -jnp.take_along_axis(scores, targets[:, None], axis=1)[:, 0], weights[targets]
        else:
            losses, weights = -scores, targets * weights
        total = (weights * losses).sum()
        return total / (weights.sum() if self.normalize == "sum_w" else len(targets))


def _cross_entropy(logits: Array, loss: Loss, log_prior: Array | None) -> Array:
    del loss, log_prior
    return jax.nn.log_softmax(logits)


def _focal(logits: Array, loss: Loss, log_prior: Array | None) -> Array:
    """(1 - p)^gamma log p (Lin et al., ICCV 2017), with Keras's floor under 1 - p."""
    del log_prior
    log_probabilities = jax.nn.log_softmax(logits)
    # Without a floor the gradient of (1 - p)^gamma is NaN where p is 1 and gamma below 1.
    missed = jnp.maximum(-jnp.expm1(log_probabilities), KERAS_EPSILON)
    return missed**loss.gamma * log_probabilities


def _logit_adjusted(logits: Array, loss: Loss, log_prior: Array | None) -> Array:
    """Cross-entropy of logits + tau log prior (Menon et al., ICLR 2021, equation 10)."""
    assert log_prior is not None, "logit_adjusted needs log_prior"
    return jax.nn.log_softmax(logits + loss.tau * jnp.asarray(log_prior).astype(logits.dtype))


LOSSES: dict[str, Callable[[Array, Loss, Array | None], Array]] = {
    "cross_entropy": _cross_entropy,
    "focal": _focal,
    "logit_adjusted": _logit_adjusted,
}
