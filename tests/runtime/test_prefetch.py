"""Batches wait for the loop, ready on the devices; the loop does not wait for them."""

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from hamjax.runtime.devices import make_mesh, prefetch, split_batch

BATCH = {"label": np.zeros(8, np.int32)}


def _threads() -> int:
    return sum(thread.name == "prefetch" for thread in threading.enumerate())


def _numbered(count: int, pause: float = 0.0, read: list[int] | None = None) -> Iterator[dict[str, np.ndarray]]:
    for i in range(count):
        time.sleep(pause)
        if read is not None:
            read.append(i)
        yield {"label": BATCH["label"] + i}


def test_batches_come_in_order_and_the_thread_ends() -> None:
    found = [int(batch["label"][0]) for batch in prefetch(_numbered(20), split_batch(make_mesh()))]
    assert found == list(range(20))
    assert _threads() == 0


def test_reading_goes_on_while_a_step_is_taken() -> None:
    batches = prefetch(_numbered(8, pause=0.05), split_batch(make_mesh()))
    next(batches)
    waits = []
    for _ in range(7):
        time.sleep(0.1)  # the step
        start = time.perf_counter()
        next(batches)
        waits.append(time.perf_counter() - start)
    assert sorted(waits)[3] < 0.025  # half of what reading takes; in the caller's thread it would be all of it
    batches.close()


def test_no_more_batches_are_read_than_are_to_be_ready() -> None:
    read: list[int] = []
    batches = prefetch(_numbered(100, read=read), split_batch(make_mesh()), ahead=2)
    next(batches)
    time.sleep(0.3)
    assert len(read) <= 1 + 2 + 1  # taken, ready, and one that waits for room
    batches.close()
    assert _threads() == 0


def test_an_error_of_the_source_reaches_the_caller() -> None:
    def failing() -> Iterator[dict[str, np.ndarray]]:
        yield BATCH
        raise OSError("the disk is gone")

    batches = prefetch(failing(), split_batch(make_mesh()))
    next(batches)
    with pytest.raises(OSError, match="the disk is gone"):
        next(batches)
    assert _threads() == 0
