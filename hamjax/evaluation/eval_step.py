"""The compiled forward pass in inference mode."""

import functools
from collections.abc import Callable
from typing import Any

import jax

from hamjax.evaluation.averaging import average_logits, views
from hamjax.models.preprocessing import scale_images

Array = jax.Array


def make_eval_step(
    model: Any, input_scale: str, tta: str = "none", *, compiler_options: dict[str, str] | None = None
) -> Callable[[Any, Any, Array], Array]:
    """Make the compiled `(params, batch_stats, image) -> logits [B, K]`.

    Args:
        model: a Flax module.
        input_scale: see `scale_images`.
        tta: see `hamjax.evaluation.averaging.views`; of several views the logits are averaged.
        compiler_options: of XLA.
    """

    @functools.partial(jax.jit, compiler_options=compiler_options)
    def eval_step(params: Any, batch_stats: Any, image: Array) -> Array:
        seen = views(image, tta)
        images = scale_images(seen.reshape(-1, *image.shape[1:]), input_scale, model.dtype)
        logits = model.apply({"params": params, "batch_stats": batch_stats}, images, train=False)
        return logits if tta == "none" else average_logits(logits.reshape(*seen.shape[:2], -1), axis=1)

    return eval_step
