"""Other ways to augment the images of a training stream: a floor, and what people use instead.

Each `Read` below goes through the steps of one `TrainSource`, so that all of them show the
same rows; all but grain's own also take the transforms that `TrainSource` draws.
"""

import dataclasses
import functools
import importlib
import importlib.util
from collections.abc import Callable
from typing import Any, cast

import cv2
import grain
import jax
import numpy as np
from PIL import Image
from scipy import ndimage

from hamjax.data.augment import draw_affines, warp
from hamjax.data.pipeline import TrainSource
from hamjax.runtime.devices import make_mesh, put_batch, split_batch
from hamjax.training.device_dataset import put_images, read_batch

Read = Callable[[range], None]  # makes every batch of these steps, and drops it
Transform = Callable[[np.ndarray, np.ndarray, np.ndarray], None]  # image, affine, where to write


def draw(source: TrainSource, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a step's [B] rows and [B, 2, 3] affines, the same as `TrainSource` draws."""
    assert source.augmentation is not None
    rng = np.random.default_rng((source.seed, 3, step))
    affines = draw_affines(source.augmentation, source.batch_size, source.images.shape[1], rng)
    return source.rows(step), affines


def opencv_warp(image: np.ndarray, affine: np.ndarray, out: np.ndarray) -> None:
    """Transform one image with nothing but OpenCV, as anybody would write it."""
    matrix = affine[::-1, (1, 0, 2)]  # OpenCV counts (x, y)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    cv2.warpAffine(image, matrix, out.shape[:2], out, flags, cv2.BORDER_REPLICATE)


def bare_batch(source: TrainSource, step: int, transform: Transform, out: np.ndarray) -> None:
    """Make one batch in a plain loop.

    Args:
        source: of images, rows and transforms.
        step: which batch.
        transform: `opencv_warp` or hamjax's own.
        out: [B, S, S, 3] uint8, written.
    """
    for row, affine, image in zip(*draw(source, step), out, strict=True):
        transform(source.images[row], affine, image)


def bare_loop(source: TrainSource, transform: Transform) -> Read:
    """Read in a plain loop into one batch that is there already: the floor of the CPU's work."""
    out = np.empty((source.batch_size, *source.images.shape[1:]), np.uint8)

    def read(steps: range) -> None:
        for step in steps:
            bare_batch(source, step, transform, out)

    return read


def device_reader(source: TrainSource) -> Read:
    """Read with `data.augment_on=device`: rows and transforms from the host, pixels made by jax."""
    mesh = make_mesh()
    images = put_images(source.images, mesh)
    make = jax.jit(functools.partial(read_batch, mesh=mesh))
    rows = dataclasses.replace(source, pixels=False)

    def read(steps: range) -> None:
        for step in steps:
            batch = {name: value for name, value in rows[step].items() if name != "mask"}
            jax.block_until_ready(make(images, put_batch(batch, split_batch(mesh))))

    return read


def keras_transform(image: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Transform as keras-preprocessing 1.1.2's `apply_affine_transform` does, given its matrix.

    Args:
        image: [S, S, 3] uint8.
        affine: [2, 3], from output (row, column) to input.

    Returns:
        [S, S, 3] float32.
    """
    affine_transform: Any = ndimage.affine_transform  # its stubs want one offset for all axes
    channels = [
        affine_transform(channel, affine[:, :2], affine[:, 2], order=1, mode="nearest")
        for channel in np.moveaxis(image.astype(np.float32), 2, 0)
    ]
    return np.moveaxis(np.stack(channels), 0, 2)


def keras_generator(source: TrainSource) -> Read:
    """Read as Keras's `ImageDataGenerator.flow` does, in float32, without its own small draws."""

    def read(steps: range) -> None:
        for step in steps:
            batch = np.zeros((source.batch_size, *source.images.shape[1:]), np.float32)
            for i, (row, affine) in enumerate(zip(*draw(source, step), strict=True)):
                batch[i] = keras_transform(source.images[row], affine)

    return read


def pil_transform(image: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Transform as torchvision's `RandomAffine` does a PIL image; what lies outside is black.

    Args:
        image: [S, S, 3] uint8.
        affine: [2, 3], from output (row, column) to input.

    Returns:
        [S, S, 3] uint8.
    """
    matrix = affine[::-1, (1, 0, 2)].copy()
    matrix[:, 2] += 0.5 - 0.5 * matrix[:, :2].sum(axis=1)  # Pillow counts from a pixel's corner
    picture = Image.fromarray(image)
    size, data = (picture.width, picture.height), matrix.ravel().tolist()
    moved = picture.transform(size, Image.Transform.AFFINE, data, Image.Resampling.BILINEAR)
    return np.array(moved)


def torch_installed() -> bool:
    """Say whether `torch_loader` can be had."""
    return importlib.util.find_spec("torch") is not None


def torch_loader(source: TrainSource, workers: int) -> Read:
    """Read with torch's `DataLoader`, default collation, Pillow's transform in its workers.

    The workers live from here on, so their start is no reader's cost; fork, or each of
    them would get a copy of the images.
    """
    torch = importlib.import_module("torch")
    torch.set_num_threads(1)  # in the caller's process; the loader does it in its workers
    stretch = _Stretch()
    loader = importlib.import_module("torch.utils.data").DataLoader(
        _Examples(source, torch.from_numpy),
        batch_size=source.batch_size,
        sampler=stretch,
        num_workers=workers,
        persistent_workers=workers > 0,
        multiprocessing_context="fork" if workers else None,
    )

    def read(steps: range) -> None:
        stretch.items = range(steps.start * source.batch_size, steps.stop * source.batch_size)
        for _ in loader:
            pass

    read(range(1))
    return read


class _Stretch:
    """A torch sampler: which items the loader's next epoch is."""

    items = range(0)

    def __iter__(self) -> Any:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


class _Examples:
    """A torch data set: the whole stream, one image an item; its draws are made beforehand."""

    def __init__(self, source: TrainSource, to_tensor: Callable[[np.ndarray], Any]) -> None:
        drawn = [draw(source, step) for step in range(len(source))]
        self._rows = np.concatenate([rows for rows, _ in drawn])
        self._affines = np.concatenate([affines for _, affines in drawn])
        self._source, self._to_tensor = source, to_tensor

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, item: int) -> tuple[Any, int]:
        row = self._rows[item]
        image = pil_transform(self._source.images[row], self._affines[item])
        return self._to_tensor(image), int(self._source.labels[row])


def grain_defaults(source: TrainSource) -> Read:
    """Read as the first pipeline of grain's "Plugging Grain into JAX training" does.

    An element is an image until it is batched; grain keeps its own order and draws, and its
    default of 16 threads. It is given OpenCV's warp, as hamjax has it.
    """
    augmentation, size = source.augmentation, source.images.shape[1]
    assert augmentation is not None

    def augment(element: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
        image = np.empty_like(element["image"])
        warp(element["image"], draw_affines(augmentation, 1, size, rng)[0], image)
        return {"image": image, "label": element["label"]}

    def read(steps: range) -> None:
        rows = np.concatenate([source.rows(step) for step in steps])
        dataset = (
            grain.MapDataset.source(cast("grain.sources.RandomAccessDataSource", _Images(source, rows)))
            .seed(source.seed)
            .shuffle()
            .random_map(augment)
            .batch(source.batch_size, drop_remainder=True)
            .to_iter_dataset()
        )
        for _ in dataset:
            pass

    return read


class _Images:
    """A grain source: these rows, one image an element."""

    def __init__(self, source: TrainSource, rows: np.ndarray) -> None:
        self._source, self._rows = source, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, item: int) -> dict[str, np.ndarray]:
        row = self._rows[item]
        return {"image": self._source.images[row], "label": self._source.labels[row]}
