"""The values that the published networks start from, drawn once for several tests."""

import functools
from typing import Any

from hamjax.models.initialization import init_variables
from hamjax.models.registry import create_model


# Three networks of 100 MB are kept: tests go through them by turns.
@functools.lru_cache(3)
def blank(name: str, *, head: str = "paper", image_size: int = 96) -> Any:
    """Return the initial variables of a network; not to be changed."""
    return init_variables(create_model(name, head=head), image_size=image_size, seed=0)
