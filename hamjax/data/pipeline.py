"""Batches: one grain element is one whole batch, a pure function of (seed, step).

A batch is gathered from the memory map by an index row and augmented in place. So
the stream does not depend on the number of threads, the number of processes, or
where a run was resumed.
"""

import dataclasses
import functools
from collections.abc import Iterator
from typing import cast

import cv2
import grain
import numpy as np

from hamjax.data.augment import Augmentation, augment, draw_transforms

# image [B, S, S, 3] uint8, label [B] int32, mask [B] float32 (0 marks padding); a stream without
# pixels has row [B] int32 and float32 `draw_transforms` instead of image
Batch = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Share:
    """Which part of every global batch this process reads."""

    index: int = 0
    count: int = 1

    def rows(self, batch_size: int) -> slice:
        """Return the rows of a global batch that belong to this process."""
        size = batch_size // self.count
        return slice(self.index * size, (self.index + 1) * size)


@dataclasses.dataclass(frozen=True)
class TrainSource:
    """The endless training stream, read by step.

    Attributes:
        images: [N, S, S, 3] uint8.
        labels: [N] int32.
        epoch_rows: [M] int, the strategy's list of rows, shuffled anew each epoch.
        batch_size: over all processes.
        steps_per_epoch: full batches taken from an epoch's order; the rest is dropped.
        num_steps: where the stream ends.
        seed: of the order and of the augmentation.
        augmentation: none to leave the images alone.
        pixels: false to give rows and transforms only, for a device that holds the images.
        share: this process's part.
    """

    images: np.ndarray
    labels: np.ndarray
    epoch_rows: np.ndarray
    batch_size: int
    steps_per_epoch: int
    num_steps: int
    seed: int
    augmentation: Augmentation | None
    pixels: bool = True
    share: Share = Share()

    def __post_init__(self) -> None:
        cv2.setNumThreads(0)  # one image a thread; grain's threads are the parallelism

    def __len__(self) -> int:
        return self.num_steps

    def rows(self, step: int) -> np.ndarray:
        """Return the [B] data-set rows of a step's global batch."""
        epoch, position = divmod(step, self.steps_per_epoch)
        order = _epoch_order(self.seed, epoch, len(self.epoch_rows))
        start = position * self.batch_size
        return self.epoch_rows[order[start : start + self.batch_size]]

    def __getitem__(self, step: int) -> Batch:
        mine = self.share.rows(self.batch_size)
        rows = self.rows(step)[mine]
        transforms = {}
        if self.augmentation is not None:
            rng = np.random.default_rng((self.seed, 3, step))
            drawn = draw_transforms(self.augmentation, self.batch_size, self.images.shape[1], rng)
            transforms = {name: values[mine] for name, values in drawn.items()}
        batch = {"label": self.labels[rows], "mask": np.ones(len(rows), np.float32)}
        if self.pixels:
            return batch | {"image": self._read(rows, transforms)}
        batch["row"] = rows.astype(np.int32)
        return batch | {name: values.astype(np.float32) for name, values in transforms.items()}

    def _read(self, rows: np.ndarray, transforms: dict[str, np.ndarray]) -> np.ndarray:
        if not transforms:
            return self.images[rows]
        image = np.empty((len(rows), *self.images.shape[1:]), np.uint8)
        for i, row in enumerate(rows):
            augment(self.images[row], {name: values[i] for name, values in transforms.items()}, image[i])
        return image


@functools.lru_cache(maxsize=4)
def _epoch_order(seed: int, epoch: int, count: int) -> np.ndarray:
    return np.random.default_rng((seed, 2, epoch)).permutation(count)


@dataclasses.dataclass(frozen=True)
class EvalSource:
    """One pass over some rows, in order; the last batch is padded and masked."""

    images: np.ndarray
    labels: np.ndarray
    rows: np.ndarray
    batch_size: int
    share: Share = Share()

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch_size)

    def __getitem__(self, index: int) -> Batch:
        rows = self.rows[index * self.batch_size : (index + 1) * self.batch_size]
        mask = np.zeros(self.batch_size, np.float32)
        mask[: len(rows)] = 1
        rows = np.resize(rows, self.batch_size)  # padding repeats real rows
        mine = self.share.rows(self.batch_size)
        rows = rows[mine]
        return {"image": self.images[rows], "label": self.labels[rows], "mask": mask[mine]}


def batches(source: TrainSource | EvalSource, *, start: int = 0, num_threads: int) -> Iterator[Batch]:
    """Iterate over a source from an index on.

    Args:
        source: of batches.
        start: the first index, e.g. the step a run resumes at.
        num_threads: that read ahead; 0 reads in the caller's thread, on demand.
    """
    # grain asks for ints and random access, which both sources give.
    dataset = grain.MapDataset.source(cast("grain.sources.RandomAccessDataSource", source))
    options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=max(4, 2 * num_threads))
    iterator = iter(dataset[start:].to_iter_dataset(options))
    try:
        yield from iterator
    finally:
        iterator.close()
