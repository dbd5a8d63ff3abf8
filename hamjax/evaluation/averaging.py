"""Averaging predictions: over the eight views of a square image, and over checkpoints."""

import jax
import jax.numpy as jnp

Array = jax.Array
VIEWS = {"none": 1, "d4": 8}  # of `eval.tta`; D4 is the symmetry group of the square


def views(image: Array, tta: str) -> Array:
    """Return what an image is seen as: [B, S, S, C] to [B, V, S, S, C].

    Args:
        image: a batch.
        tta: `none`: as it is; `d4`: the quarter turns of it and of its mirror image. A lesion has no upright side.
    """
    if tta == "none":
        return image[:, None]
    turned = [jnp.rot90(side, k, axes=(1, 2)) for side in (image, image[:, :, ::-1]) for k in range(4)]
    return jnp.stack(turned, axis=1)


def average_logits(logits: Array, axis: int) -> Array:
    """Return the logarithm of the mean of the probabilities along an axis.

    Its softmax is that mean, so that it takes the place of logits in whatever follows.
    """
    log_probabilities = jax.nn.log_softmax(logits, axis=-1)
    return jax.nn.logsumexp(log_probabilities, axis=axis) - jnp.log(logits.shape[axis])
