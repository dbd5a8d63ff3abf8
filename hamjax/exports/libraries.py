"""The libraries of the extra `export`, loaded when a format needs them."""

import os
from typing import Any

from hamjax.runtime.extras import load_extra


def load_library(name: str) -> Any:
    """Return a library by the name that Python imports it by.

    Raises:
        UserError: it is not installed; says how to install it.
    """
    if name == "keras":
        # Keras asks for TensorFlow unless told otherwise; whoever has set a backend keeps it.
        os.environ.setdefault("KERAS_BACKEND", "jax")
    return load_extra(name, "export")
