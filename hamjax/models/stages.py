"""Outputs of a network on the way to its logits, by name."""

from collections.abc import Callable, Mapping

import jax

Stages = Mapping[str, jax.Array]


class Recorder(dict[str, jax.Array]):
    """Collects stage outputs, in the order they are computed, or puts given ones in their place."""

    def __init__(self, given: Stages | None = None) -> None:
        super().__init__()
        self._given = given or {}

    def __call__(self, name: str, value: jax.Array) -> jax.Array:
        """Remember and return a value, or the one given for it."""
        self[name] = self._given.get(name, value)
        return self[name]


Record = Callable[[str, jax.Array], jax.Array]
