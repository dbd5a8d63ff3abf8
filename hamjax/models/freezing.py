"""Which parameters gradients may change."""

from collections.abc import Mapping
from typing import Any

from flax import traverse_util


def trainable_mask(params: Mapping[str, Any], frozen: str) -> dict[str, Any]:
    """Return a tree like `params` of true (trained) and false.

    Args:
        params: of a `Classifier`.
        frozen: `none`; `bn`: the backbone's BatchNorm is left as it is; `backbone`: all of
            the backbone is.
    """

    def trained(path: tuple[str, ...]) -> bool:
        if frozen == "none" or path[0] != "backbone":
            return True
        return frozen == "bn" and not path[1].endswith("bn")

    return traverse_util.unflatten_dict({path: trained(path) for path in traverse_util.flatten_dict(dict(params))})
