"""The stream depends on the seed and the step, and on nothing else."""

import dataclasses
from collections.abc import Iterator
from itertools import islice

import numpy as np
import pytest

from hamjax.data.augment import Augmentation
from hamjax.data.pipeline import Batch, EvalSource, Share, TrainSource, batches

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 255, (50, 12, 12, 3), dtype=np.uint8)
LABELS = RNG.integers(0, 7, 50).astype(np.int32)
SOURCE = TrainSource(
    images=IMAGES,
    labels=LABELS,
    epoch_rows=np.arange(5, 45),
    batch_size=8,
    steps_per_epoch=5,
    num_steps=17,
    seed=4,
    augmentation=Augmentation(),
)


def _assert_same(a: Batch, b: Batch) -> None:
    for name in ("image", "label", "mask"):
        np.testing.assert_array_equal(a[name], b[name])


@pytest.mark.parametrize("num_threads", [0, 1, 4])
def test_any_number_of_threads_gives_the_same_batches(num_threads: int) -> None:
    read = list(batches(SOURCE, num_threads=num_threads))
    assert len(read) == 17
    for step, batch in enumerate(read):
        _assert_same(batch, SOURCE[step])


def test_a_stream_can_start_anywhere() -> None:
    for batch, step in zip(batches(SOURCE, start=11, num_threads=2), range(11, 17), strict=True):
        _assert_same(batch, SOURCE[step])


@pytest.mark.parametrize("count", [2, 4])
def test_processes_share_every_batch(count: int) -> None:
    parts = [dataclasses.replace(SOURCE, share=Share(i, count)) for i in range(count)]
    for step in (0, 7):
        joined = {name: np.concatenate([part[step][name] for part in parts]) for name in ("image", "label", "mask")}
        _assert_same(joined, SOURCE[step])  # pyright: ignore[reportArgumentType]


def test_an_epoch_shows_every_row_once_and_the_next_in_another_order() -> None:
    epochs = [np.concatenate([SOURCE.rows(5 * epoch + i) for i in range(5)]) for epoch in (0, 1)]
    for rows in epochs:
        assert sorted(rows) == list(range(5, 45))
    assert epochs[0].tolist() != epochs[1].tolist()


def test_another_seed_gives_another_stream() -> None:
    other = dataclasses.replace(SOURCE, seed=5)
    assert other.rows(0).tolist() != SOURCE.rows(0).tolist()


def test_without_augmentation_the_images_are_as_stored() -> None:
    plain = dataclasses.replace(SOURCE, augmentation=None)
    np.testing.assert_array_equal(plain[3]["image"], IMAGES[plain.rows(3)])
    assert (plain[3]["image"] != SOURCE[3]["image"]).any()


@pytest.mark.parametrize("batch_size", [1, 7, 8, 50, 64])
def test_evaluation_shows_every_image_once_and_masks_the_padding(batch_size: int) -> None:
    rows = np.arange(3, 38)
    source = EvalSource(IMAGES, LABELS, rows, batch_size)
    seen: list[np.ndarray] = []
    for batch in batches(source, num_threads=2):
        assert len(batch["image"]) == batch_size
        seen.extend(batch["image"][batch["mask"] > 0])
    np.testing.assert_array_equal(np.stack(seen), IMAGES[rows])


def test_a_stream_left_early_ends_cleanly() -> None:
    stream: Iterator[Batch] = batches(SOURCE, num_threads=4)
    assert len(list(islice(stream, 3))) == 3
    stream.close()  # pyright: ignore[reportAttributeAccessIssue]
