"""The scale of the pixels that a network takes."""

from typing import Any

import jax
import jax.numpy as jnp

Array = jax.Array

# Constants of keras/src/applications/imagenet_utils.py, for the modes `caffe` and `torch`.
CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)
TORCH_MEAN, TORCH_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def scale_images(image: Array, input_scale: str, dtype: Any) -> Array:
    """Turn uint8 pixels [B, S, S, 3] into what the network was made for.

    Args:
        image: red, green, blue.
        input_scale: `unit` divides by 255 (paper, 4.2); `caffe`, `tf` and `torch` are what
            ImageNet weights of those origins expect (Keras's preprocess_input).
        dtype: of the result.
    """
    x = image.astype(jnp.promote_types(dtype, jnp.float32))
    if input_scale == "caffe":
        x = x[..., ::-1] - jnp.array(CAFFE_MEAN_BGR, x.dtype)
    elif input_scale == "tf":
        x = x / 127.5 - 1
    elif input_scale == "torch":
        x = (x / 255 - jnp.array(TORCH_MEAN, x.dtype)) / jnp.array(TORCH_STD, x.dtype)
    else:
        x = x / 255
    return x.astype(dtype)
