"""How work that takes long tells the user what it does: one line at a time."""

from collections.abc import Callable

Say = Callable[[str], None]
