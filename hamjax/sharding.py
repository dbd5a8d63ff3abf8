"""Devices: one mesh with one axis, `data`, over which batches are split."""

import collections
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from hamjax.errors import UserError


def make_mesh(devices: Sequence[Any] | None = None) -> Mesh:
    """Put devices, by default all of all processes, on the axis `data`.

    Those of a process lie side by side, in the order of the processes: each then reads one piece of a batch.

    Raises:
        UserError: processes have different numbers of devices.
    """
    chosen = sorted(devices or jax.devices(), key=lambda device: (device.process_index, device.id))
    counts = collections.Counter(device.process_index for device in chosen)
    if len(set(counts.values())) > 1:
        raise UserError(f"expected the same number of devices in every process, got {dict(counts)}; start them alike.")
    return Mesh(np.asarray(chosen), ("data",))


def replicated(mesh: Mesh) -> NamedSharding:
    """Every device holds the whole."""
    return NamedSharding(mesh, PartitionSpec())


def split_batch(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """Every device holds its part along `axis`."""
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, "data"))


def require_divisible(key: str, batch_size: int, num_devices: int) -> None:
    """Refuse a batch that the devices cannot share evenly.

    Raises:
        UserError: names the nearest sizes that fit.
    """
    rest = batch_size % num_devices
    if rest:
        fitting = sorted({max(batch_size - rest, num_devices), batch_size - rest + num_devices})
        raise UserError(
            f"{key}={batch_size}: expected a multiple of the {num_devices} devices, got a rest of "
            f"{rest}; use {' or '.join(map(str, fitting))}."
        )


def put_batch(batch: Mapping[str, np.ndarray], sharding: NamedSharding) -> dict[str, jax.Array]:
    """Send this process's part of a batch to its devices, without waiting."""
    return {name: jax.make_array_from_process_local_data(sharding, value) for name, value in batch.items()}


def prefetch(
    batches: Iterator[Mapping[str, np.ndarray]], sharding: NamedSharding, ahead: int = 2
) -> Iterator[dict[str, jax.Array]]:
    """Keep `ahead` batches on their way to the devices while one is worked on."""
    queue: collections.deque[dict[str, jax.Array]] = collections.deque()
    for batch in batches:
        queue.append(put_batch(batch, sharding))
        if len(queue) > ahead:
            yield queue.popleft()
    yield from queue


def put_replicated(tree: Any, mesh: Mesh) -> Any:
    """Copy a tree of arrays, the same in every process, to every device."""
    sharding = replicated(mesh)
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)
    # device_put would send every leaf to every process, to compare.
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), tree)


def local_copy(tree: Any) -> Any:
    """Return a replicated tree on one device of this process, for what it computes alone."""
    return jax.tree.map(lambda x: x.addressable_data(0), tree)
