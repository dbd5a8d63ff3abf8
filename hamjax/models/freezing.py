"""Which parameters are trained."""

from collections.abc import Mapping
from typing import Any

from flax import traverse_util


def trainable_mask(params: Mapping[str, Any], frozen: str) -> dict[str, Any]:
    """Return a tree like `params` that is True where a parameter is trained, else False.

    Args:
        params: the parameters of a `Classifier`.
        frozen: `none` trains everything, `bn` all but the backbone's BatchNorm, `backbone`
            only the head.
    """

    def trained(path: tuple[str, ...]) -> bool:
        if frozen == "none" or path[0] != "backbone":
            return True
        # Keras's names end all BatchNorm layers with "bn", and no other layer.
        return frozen == "bn" and not path[1].endswith("bn")

    return traverse_util.unflatten_dict({path: trained(path) for path in traverse_util.flatten_dict(dict(params))})
