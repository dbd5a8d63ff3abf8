"""Devices: one mesh with one axis, `data`, over which batches are split."""

import collections
import contextlib
import queue
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from hamjax.runtime.accelerators import find_devices
from hamjax.runtime.errors import UserError


def make_mesh(devices: Sequence[Any] | None = None) -> Mesh:
    """Return a mesh of devices, by default all of all processes, with one axis `data`.

    The devices of a process lie side by side, in the order of the processes, so each reads one piece of a batch.

    Raises:
        UserError: there is no device of the kind that JAX was asked for; processes have different numbers of them.
    """
    chosen = sorted(devices or find_devices(), key=lambda device: (device.process_index, device.id))
    counts = collections.Counter(device.process_index for device in chosen)
    if len(set(counts.values())) > 1:
        raise UserError(f"expected the same number of devices in every process, got {dict(counts)}; start them alike.")
    return Mesh(np.asarray(chosen), ("data",))


def replicated(mesh: Mesh) -> NamedSharding:
    """Return the sharding in which every device holds the whole."""
    return NamedSharding(mesh, PartitionSpec())


def split_batch(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """Return the sharding in which every device holds its part along `axis`."""
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
    """Return a batch on the devices, given this process's part of it; does not wait for the transfer."""
    return {name: jax.make_array_from_process_local_data(sharding, value) for name, value in batch.items()}


def prefetch(
    batches: Iterator[Mapping[str, np.ndarray]], sharding: NamedSharding, ahead: int = 2
) -> Generator[dict[str, jax.Array]]:
    """Yield batches on the devices, read and sent by a thread that keeps `ahead` of them ready.

    In the caller's thread the reading, stacking and sending of the next batch would come between two dispatches: 0.1 s
    for eight batches of 256 images. Close the iterator to end the thread; an error of the source is raised here.
    """
    ready: queue.Queue[dict[str, jax.Array] | BaseException | None] = queue.Queue(ahead)
    closed = threading.Event()

    def put(item: dict[str, jax.Array] | BaseException | None) -> None:
        while not closed.is_set():  # a plain put would wait for ever once nobody takes anything
            with contextlib.suppress(queue.Full):
                return ready.put(item, timeout=0.1)

    def send() -> None:
        try:
            for batch in batches:
                put(put_batch(batch, sharding))
                if closed.is_set():
                    break
            put(None)
        except BaseException as error:  # handed on, not swallowed: the caller raises it
            put(error)

    sender = threading.Thread(target=send, name="prefetch", daemon=True)
    sender.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            # Handed over, not kept: what this frame still held would be freed inside the caller's next request, and
            # to free 300 MB takes 15 ms.
            handed = [item]
            del item
            yield handed.pop()
    finally:
        closed.set()
        sender.join()


def put_replicated(tree: Any, mesh: Mesh) -> Any:
    """Copy a tree of arrays, the same in every process, to every device."""
    sharding = replicated(mesh)
    # One process: device_put copies without further ado.
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)
    # Several: device_put would send every leaf to every process, to compare them.
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), tree)


def local_copy(tree: Any) -> Any:
    """Return a replicated tree on one device of this process, for what it computes alone."""
    return jax.tree.map(lambda x: x.addressable_data(0), tree)
