"""Libraries that only some users need: each belongs to an extra, and is loaded when it is asked for."""

import importlib
from typing import Any

from hamjax.runtime.errors import UserError


def load_extra(name: str, extra: str) -> Any:
    """Return a library by the name that Python imports it by.

    Args:
        name: of the library.
        extra: of hamjax, to which it belongs.

    Raises:
        UserError: it is not installed; says how to install it.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(
            f"{name}: expected this library of hamjax's extra `{extra}`, got {error}; install the extra: "
            f'pip install "hamjax[{extra}]", or in a clone pip install -e ".[{extra}]"'
        ) from error
