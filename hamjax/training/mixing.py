"""Mixed images with mixed labels, made on the device inside the step.

An image is mixed with its neighbour in the batch: the order of an epoch is random, and a
neighbour is the next device's at most. Every image draws for itself.
"""

from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array


class Mix(Protocol):
    """A way to make one image of two."""

    def __call__(self, key: Array, image: Array, targets: Array, *, alpha: float) -> tuple[Array, Array]:
        """Mix a batch.

        Args:
            key: of the draws, which are float32 whatever is computed in.
            image: [B, S, S, 3] of any type.
            targets: [B, K] float, shares of the classes.
            alpha: the kept share is drawn from Beta(alpha, alpha).

        Returns:
            image [B, S, S, 3] and targets [B, K], of the same shares of the same images.
        """
        ...


def mixup(key: Array, image: Array, targets: Array, *, alpha: float) -> tuple[Array, Array]:
    """Average images pixel by pixel (Zhang et al., ICLR 2018); they come out in the targets' dtype."""
    # A share for each image, where the authors' code draws one a batch: weakly and strongly mixed images in each.
    kept = jax.random.beta(key, alpha, alpha, (len(image),), jnp.float32).astype(targets.dtype)
    return _blend(kept[:, None, None, None], image.astype(targets.dtype)), _blend(kept[:, None], targets)


def cutmix(key: Array, image: Array, targets: Array, *, alpha: float) -> tuple[Array, Array]:
    """Paste a box of the neighbour (Yun et al., ICCV 2019); labels are mixed in proportion to the areas.

    The box has 1 - Beta(alpha, alpha) of the area and its centre anywhere, cut off at the edges.
    """
    share_key, place_key = jax.random.split(key)
    count, size = image.shape[:2]
    # A square of that share of the area: the paper scales both sides by the same root.
    side = size * jnp.sqrt(1 - jax.random.beta(share_key, alpha, alpha, (count, 1), jnp.float32))
    centre = size * jax.random.uniform(place_key, (count, 2), jnp.float32)
    low, high = (jnp.clip(jnp.round(centre + half), 0, size)[:, :, None] for half in (-side / 2, side / 2))
    pixels = np.arange(size)
    inside = (pixels >= low) & (pixels < high)  # [B, 2, S], rows and columns
    box = inside[:, 0, :, None] & inside[:, 1, None, :]
    kept = 1 - box.mean(axis=(1, 2), dtype=targets.dtype)
    return jnp.where(box[..., None], _neighbour(image), image), _blend(kept[:, None], targets)


MIXES: dict[str, Mix] = {"mixup": mixup, "cutmix": cutmix}


def _neighbour(x: Array) -> Array:
    # A roll sends one image to the next device; a random pairing would send most of them.
    return jnp.roll(x, 1, axis=0)


def _blend(kept: Array, x: Array) -> Array:
    return kept * x + (1 - kept) * _neighbour(x)
