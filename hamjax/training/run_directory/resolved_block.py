"""The block `resolved` of `config.json`: what ran, where `config` says what was asked.

It holds what is settled when a run begins: `compute_dtype`, `input_scale`, `checkpoint` (of the report), and of the
starting weights their `origin` and `sha256`. The rest may change when a run is resumed: `steps_per_dispatch`,
`num_threads`, `eval_batch_size`, `device`, `devices`, `processes`. They are in `starts`, a list: a start with other
values than the one before is added, so the list tells on what all of a run was computed.

A run of an earlier version has no such block and is resumed without one: how it began is not known.
"""

from collections.abc import Mapping
from typing import Any

# What the block must hold, and what it may.
NEEDED = {"compute_dtype": str, "input_scale": str, "checkpoint": str, "starts": list}
OPTIONAL = {"weights": dict}


def differing_dtype(record: Mapping[str, Any], compute_dtype: str) -> str | None:
    """Return the dtype that a run began in, if it is another one."""
    began = record["resolved"]["compute_dtype"] if "resolved" in record else compute_dtype
    return None if began == compute_dtype else began


def with_start(record: dict[str, Any], resolved: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record of a run that is resumed.

    Args:
        record: what `config.json` holds.
        resolved: the block with this start alone.
    """
    if "resolved" not in record:
        return record
    block = record["resolved"]
    if block["starts"][-1:] == resolved["starts"]:
        return record
    return record | {"resolved": block | {"starts": block["starts"] + resolved["starts"]}}


def wrong_names(given: Mapping[str, Any], needed: Mapping[str, type], optional: Mapping[str, type]) -> list[str]:
    """Return the names of what is missing, or of another type."""
    wrong = [name for name, kind in needed.items() if not isinstance(given.get(name), kind)]
    return wrong + [name for name, kind in optional.items() if not isinstance(given.get(name, kind()), kind)]
