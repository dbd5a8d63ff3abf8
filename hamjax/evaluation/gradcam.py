"""Where in an image a network sees the evidence for a class."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from hamjax.models.stages import Stages

Array = jax.Array


# Fewer places a side name none: InceptionV3's last map of a 96-pixel image is a single one.
LEAST_SIDE = 4


def explained_stage(stages: Stages, last: str) -> str:
    """Return the name of the last stage, up to `last`, whose map has at least 4x4 places.

    Args:
        stages: outputs by name, in the order of computation.
        last: name of the last feature map.
    """
    names = list(stages)
    maps = names[: names.index(last) + 1]
    return next((name for name in reversed(maps) if min(stages[name].shape[1:3]) >= LEAST_SIDE), maps[0])


@functools.partial(jax.jit, static_argnums=0)
def grad_cam(model: Any, variables: Mapping[str, Any], images: Array, classes: Array) -> Array:
    """Weigh the last feature map that still has places by what its channels do for a class.

    Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
    Localization" (ICCV 2017), equations 1 and 2: a channel's weight is the spatial mean of
    the logit's gradient in it, and what is negative of the weighted sum is cut off. The map
    is the last convolution's, after its ReLU: `conv4` of the CNN, what is pooled of the others. Where
    that is too small to tell places apart, it is an earlier one: see `explained_stage`.
    The CNN weighs every place of a channel differently, which the mean evens out: its maps can
    light up places it made no use of (Draelos and Carin, arXiv:2011.08891).

    Args:
        model: from `create_model`; it runs in inference mode.
        variables: its `params` and `batch_stats`.
        images: [B, S, S, 3], scaled as the network expects (`scale_images`).
        classes: [B] int, the class to explain in each image.

    Returns:
        [B, S, S] float32 in [0, 1], upsampled bilinearly; the largest of an image is 1, or
        all are 0 where nothing in the map speaks for the class.
    """
    _, stages = model.apply(variables, images, train=False, stages=True)
    name = explained_stage(stages, model.LAST_MAP)
    features = stages[name]

    def evidence(features: Array) -> Array:
        logits = model.apply(variables, images, train=False, given={name: features})
        # No image touches another's logits, so the gradient of the sum is each one's own.
        return jnp.take_along_axis(logits, classes[:, None], axis=1).sum()

    weights = jax.grad(evidence)(features).mean((1, 2), dtype=jnp.float32)
    heat = jax.nn.relu(jnp.einsum("bhwc,bc->bhw", features.astype(jnp.float32), weights))
    heat = jax.image.resize(heat, images.shape[:3], "bilinear")
    largest = heat.max((1, 2), keepdims=True)
    return heat / jnp.where(largest > 0, largest, 1)
