"""Scaling of pixels to what a network was trained on."""

from typing import Any

import jax
import jax.numpy as jnp

Array = jax.Array

# Constants of keras/src/applications/imagenet_utils.py, for the modes `caffe` and `torch`.
CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)
TORCH_MEAN, TORCH_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def scale_images(image: Array, input_scale: str, dtype: Any) -> Array:
    """Return scaled pixels [B, S, S, 3] of type `dtype`.

    Args:
        image: [B, S, S, 3] uint8, red, green, blue.
        input_scale: `unit` divides by 255 (section 4.2 of the paper). `caffe`, `tf` and
            `torch` are the modes of Keras's `preprocess_input`, one for each origin of
            ImageNet weights.
        dtype: type of the result.
    """
    # At least float32 until the end, so that the result is rounded once: in bfloat16 the mean 103.939 would be 104.
    x = image.astype(jnp.promote_types(dtype, jnp.float32))
    if input_scale == "caffe":
        # Caffe's networks were trained on blue, green, red.
        x = x[..., ::-1] - jnp.array(CAFFE_MEAN_BGR, x.dtype)
    elif input_scale == "tf":
        x = x / 127.5 - 1
    elif input_scale == "torch":
        x = (x / 255 - jnp.array(TORCH_MEAN, x.dtype)) / jnp.array(TORCH_STD, x.dtype)
    else:
        x = x / 255
    return x.astype(dtype)
