"""A config key: the meaning, choices and bounds in its dataclass field."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Key:
    """What is known of a key, such as `data.image_size`.

    Attributes:
        type: of its value.
        default: its value in the paper's recipe for the CNN.
        meaning: one line for `hamjax train --help`.
        choices: the values it may have; empty: any value of its type.
        least: the smallest value it may have, if there is one.
        most: the largest value it may have, if there is one.
        below: values must be smaller than this, if there is such a bound.
        is_path: whether a value that is no word of its meaning is a path.
        affects_result: False where files lie, and for what only changes how fast or how safely a run gets there.
    """

    type: Any
    default: Any
    meaning: str
    choices: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None
    below: float | None = None
    affects_result: bool = True
    is_path: bool = False


def key(default: Any, meaning: str, **rules: Any) -> Any:
    """Make the dataclass field of a key, which carries its meaning and the rules of `Key`."""
    return dataclasses.field(default=default, metadata={"meaning": meaning, **rules})
