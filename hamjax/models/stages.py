"""Stages: named intermediate outputs of a network, for parity tests and Grad-CAM."""

from collections.abc import Callable, Mapping

import jax

Stages = Mapping[str, jax.Array]


class Recorder(dict[str, jax.Array]):
    """A dictionary of stage outputs in the order of computation; given outputs replace computed ones."""

    def __init__(self, given: Stages | None = None) -> None:
        super().__init__()
        self._given = given or {}

    def __call__(self, name: str, value: jax.Array) -> jax.Array:
        """Store and return `value`, or the output given for this name."""
        self[name] = self._given.get(name, value)
        return self[name]


Record = Callable[[str, jax.Array], jax.Array]
