"""The libraries of the extra `export`, loaded when a format needs them."""

import importlib
import os
from typing import Any

from hamjax.runtime.errors import UserError


def load_library(name: str) -> Any:
    """Return a library by the name that Python imports it by.

    Raises:
        UserError: it is not installed; says how to install it.
    """
    if name == "keras":
        # Keras asks for TensorFlow unless told otherwise; whoever has set a backend keeps it.
        os.environ.setdefault("KERAS_BACKEND", "jax")
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(
            f"{name}: expected this library of hamjax's extra `export`, got {error}; install the extra: "
            'pip install "hamjax[export]", or in a clone pip install -e ".[export]"'
        ) from error
