"""Outputs of a network on the way to its logits, by name."""

from collections.abc import Callable

import jax


class Recorder(dict[str, jax.Array]):
    """Collects stage outputs, in the order they are computed."""

    def __call__(self, name: str, value: jax.Array) -> jax.Array:
        """Remember and return a value."""
        self[name] = value
        return value


Record = Callable[[str, jax.Array], jax.Array]
